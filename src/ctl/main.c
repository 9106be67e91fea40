/* ublkctl: one command of the admin socket, and what is known without it. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/syntax.h"
#include "client.h"
#include "doctor.h"
#include "list.h"
#include "reference.h"
#include "screen.h"
#include "still.h"
#include "top.h"

#define DEFAULT_SOCKET "/run/ublk.sock"
#define DEFAULT_STATE  "/run/ublkd"
#define INDENT	       4 /* of a line that goes on in the next */

enum { EXIT_OK, EXIT_ERR, EXIT_USAGE, EXIT_SILENT };

static const char usage[] =
	"Usage: ublkctl [OPTION]... COMMAND [WORD]...\n"
	"Send a command to ublkd and print its answer.\n"
	"\n"
	"  -j FILE            as 'ublkctl find FILE': the devices that serve it\n"
	"  -s, --socket=PATH  the admin socket (" DEFAULT_SOCKET ")\n"
	"      --state=DIR    ublkd's state folder (" DEFAULT_STATE
	"; beside a\n"
	"                     socket of your own: PATH.state)\n"
	"  -V, --version      show the version and exit\n"
	"  -h, --help         show this and exit\n"
	"\n"
	"'ublkctl help' lists ublkd's commands. 'ublkctl doctor' looks at this host,\n"
	"also without ublkd. When ublkd does not answer, ublkctl says why.\n"
	"\n"
	"'ublkctl list' prints a table:\n"
	"  -o, --columns=COLUMN,...  these columns: keys of a device, such as\n"
	"                            id,name,size,path\n"
	"  -n, --noheadings          no headings\n"
	"  -b, --bytes               sizes in bytes\n"
	"'ublkctl top [-b] [-n COUNT] [-d SECONDS]' shows what devices do.\n";

enum { OPTION_STATE = 256 };

static const struct option long_options[] = {
	{ "socket", required_argument, NULL, 's' },
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct choice {
	const char *socket;
	char state[300];
	char **words;
	int count;
	char *find;	     /* the file whose devices are wanted, or NULL; */
	char *find_words[3]; /* -j FILE as a command */
	struct list *list;   /* of the commands that end in a table, or NULL */
};

static int fail_usage(const char *what)
{
	fprintf(stderr, "ublkctl: %s\nTry 'ublkctl --help'.\n", what);
	return EXIT_USAGE;
}

/* Returns -1, or the status with which to exit at once. */
static int read_options(struct choice *choice, int argc, char **argv)
{
	const char *socket = NULL, *state = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "+j:s:Vh", long_options, NULL)) !=
	       -1) {
		switch (c) {
		case 'j':
			choice->find = optarg;
			break;
		case 's':
			socket = optarg;
			break;
		case OPTION_STATE:
			state = optarg;
			break;
		case 'V':
			puts("ublkctl " PACKAGE_VERSION);
			return EXIT_OK;
		case 'h':
			fputs(usage, stdout);
			return EXIT_OK;
		default:
			fputs("Try 'ublkctl --help'.\n", stderr);
			return EXIT_USAGE;
		}
	}
	choice->words = argv + optind;
	choice->count = argc - optind;
	choice->socket = socket ? socket : DEFAULT_SOCKET;
	if (!state && strcmp(choice->socket, DEFAULT_SOCKET) == 0)
		state = DEFAULT_STATE;
	/* As ublkd does, so that two of a host are not taken for each other. */
	snprintf(choice->state, sizeof(choice->state), "%s%s",
		 state ? state : choice->socket, state ? "" : ".state");
	if (choice->find && choice->count)
		return fail_usage("-j FILE is a command of its own");
	return choice->count || choice->find ? -1
					     : fail_usage("which command?");
}

/* ---- a daemon that does not answer ---- */

/* These are about what is wrong: without an answer, it is what they print. */
static int wants_verdict(const char *verb)
{
	return strcmp(verb, "inspect") == 0 || strcmp(verb, "stuck") == 0;
}

/* What is about what is wrong is read by people. */
static size_t columns(const struct choice *choice)
{
	return wants_verdict(choice->words[0]) ? (size_t)list_width(stdout) : 0;
}

/* fd: of the connection, or -1 without one. Returns the exit status. */
static int tell_silence(const struct choice *choice, int fd, int error)
{
	struct still still = { .root = "", .folder = choice->state };

	if (error == -ECONNRESET) {
		fprintf(stderr,
			"ublkctl: %s: the connection has ended before the answer: "
			"the server was replaced, or ends; whether the command "
			"was carried out is not known\n",
			choice->socket);
		return EXIT_SILENT;
	}
	if (error == -EACCES || error == -EPERM) {
		fprintf(stderr,
			"ublkctl: %s: permission denied: it is for root "
			"and members of group ublk\n",
			choice->socket);
		return EXIT_SILENT;
	}
	still.is_heard = error == -ETIMEDOUT;
	still.listener = fd < 0 ? 0 : proc_peer(fd);
	still_look(&still);
	if (wants_verdict(choice->words[0]))
		still_print(&still, stdout, columns(choice));
	else
		fprintf(stderr, "ublkctl: %s: %s: %s\n", choice->socket,
			error == -ETIMEDOUT ? "no answer" : strerror(-error),
			still.verdict);
	still_close(&still);
	return EXIT_SILENT;
}

/* ---- a command ---- */

/* The server has another working directory: path=x is the x of this one. */
static const char *make_absolute(const char *word, char *text, size_t size)
{
	char folder[SYNTAX_LINE_MAX];

	if (strncmp(word, "path=", 5) != 0 || word[5] == '/' || !word[5] ||
	    !getcwd(folder, sizeof(folder)))
		return word;
	snprintf(text, size, "path=%s/%s", folder, word + 5);
	return text;
}

/* The words as one line. Returns 0, or -1 if that is too long. */
static int make_line(const struct choice *choice, char *line, size_t size)
{
	static char text[2 * SYNTAX_LINE_MAX];
	size_t length = 0;
	int i;

	for (i = 0; i < choice->count && length < size; i++) {
		if (i)
			line[length++] = ' ';
		length += syntax_quote(line + length, size - length,
				       make_absolute(choice->words[i], text,
						     sizeof(text)));
	}
	return length < size && choice->count <= SYNTAX_WORDS_MAX ? 0 : -1;
}

/* Events follow the OK, until we go. */
static int follows(const struct choice *choice)
{
	int i, value;

	if (strcmp(choice->words[0], "trace") != 0)
		return 0;
	for (i = 1; i < choice->count; i++)
		if (strncmp(choice->words[i], "follow=", 7) == 0 &&
		    syntax_flag(choice->words[i] + 7, &value) == 0 && value)
			return 1;
	return 0;
}

/* The sentence of an ERR, or all of that when there is none. */
static void print_failure(const char *line)
{
	char text[CLIENT_REPLY_MAX];

	client_value(line, "text", text, sizeof(text));
	fprintf(stderr, "ublkctl: %s\n", text[0] ? text : line);
}

/* Print events until the connection ends. */
static void print_events(struct client *client)
{
	const char *line;

	do {
		fflush(stdout);
		if (client_line(client, &line, CLIENT_FOREVER) < 0)
			return;
	} while (puts(line) >= 0);
}

/*
 * Print what comes until the command has been answered, folded into so many
 * columns (0: not at all). Returns the exit status, or a negative errno.
 */
static int print_answer(struct client *client, size_t columns,
			struct list *list)
{
	const char *line;
	int error;

	for (;;) {
		error = client_line(client, &line, CLIENT_PATIENCE);
		if (error)
			return error;
		if (client_begins(line, "ERR")) {
			fflush(stdout);
			print_failure(line);
			return EXIT_ERR;
		}
		if (client_begins(line, "WAIT"))
			continue;
		if (!list)
			screen_print(stdout, line, 0, INDENT, columns);
		else if (table_add(&list->table, line) < 0)
			return -ENOMEM;
		if (client_begins(line, "OK"))
			return EXIT_OK;
	}
}

/* Whoever looks for one device is told by the status whether there is one. */
static int print_list(struct list *list)
{
	list->table.width = list_width(stdout);
	if (list_print(list, stdout) || !(list->id || list->file))
		return EXIT_OK;
	if (list->id)
		fprintf(stderr, "ublkctl: there is no device %s\n", list->id);
	else
		fprintf(stderr, "ublkctl: no device serves %s\n", list->file);
	return EXIT_ERR;
}

/* As print_answer(). While a server works at it, WAIT comes four times a second. */
static int converse(struct client *client, const char *line, int will_follow,
		    size_t columns, struct list *list)
{
	const char *greeting;
	int status = client_line(client, &greeting, CLIENT_PATIENCE);

	if (status)
		return status;
	if (client_begins(greeting, "ERR")) {
		print_failure(greeting);
		return EXIT_ERR;
	}
	status = client_send(client, line, !will_follow);
	if (status)
		return status;
	status = print_answer(client, columns, list);
	if (status == EXIT_OK && list)
		status = print_list(list);
	if (status == EXIT_OK && will_follow)
		print_events(client);
	return status;
}

static int run_command(const struct choice *choice)
{
	char line[SYNTAX_LINE_MAX + 1];
	struct client client;
	int status;

	if (make_line(choice, line, sizeof(line)) < 0)
		return fail_usage("a command has at most 64 words and 4096 "
				  "bytes");
	status = client_open(&client, choice->socket, CLIENT_PATIENCE);
	if (status)
		return tell_silence(choice, -1, status);
	status = converse(&client, line, follows(choice), columns(choice),
			  choice->list);
	fflush(stdout);
	if (status < 0)
		status = tell_silence(choice, client.fd, status);
	client_close(&client);
	return status;
}

static int run_top(const struct choice *choice)
{
	struct top_options options;
	const char *text;
	int error;

	if (top_read(&options, choice->count, choice->words, &text) < 0)
		return fail_usage(text);
	error = top_run(&options, choice->socket, &text);
	if (!error)
		return EXIT_OK;
	if (error != -EPROTO)
		return tell_silence(choice, -1, error);
	print_failure(text);
	return EXIT_ERR;
}

/* Whatever is no command of our own is the daemon's. */
static int run_list(struct choice *choice)
{
	static struct list list;
	const char *why;
	int is_ours = list_read(&list, choice->count, choice->words, &why);

	if (is_ours < 0)
		return fail_usage(why);
	if (is_ours) {
		choice->list = &list;
		choice->words = list.words;
		choice->count = list.count;
	}
	return run_command(choice);
}

static int run_find(struct choice *choice)
{
	static char verb[] = "find";

	choice->find_words[0] = verb;
	choice->find_words[1] = choice->find;
	choice->words = choice->find_words;
	choice->count = 2;
	return run_list(choice);
}

/* Our own spellings of commands. Returns the exit status. */
static int run_words(struct choice *choice)
{
	static struct reference reference;
	const char *why;
	int is_ours;

	if (strcmp(choice->words[0], "doctor") == 0)
		return choice->count == 1
			       ? doctor_run(choice->socket, choice->state)
			       : fail_usage("doctor has no words");
	if (strcmp(choice->words[0], "top") == 0)
		return run_top(choice);
	is_ours = reference_translate(&reference, choice->count, choice->words,
				      &why);
	if (is_ours < 0)
		return fail_usage(why);
	if (!is_ours)
		return run_list(choice);
	choice->words = (char **)reference.words;
	choice->count = reference.count;
	return run_command(choice);
}

int main(int argc, char **argv)
{
	struct choice choice = { .count = 0 };
	int status;

	setlocale(LC_CTYPE, "");
	status = read_options(&choice, argc, argv);
	if (status < 0)
		status = choice.find ? run_find(&choice) : run_words(&choice);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("ublkctl: the output");
		return EXIT_USAGE;
	}
	return status;
}
