#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/syntax.h"
#include "client.h"
#include "doctor.h"
#include "list.h"
#include "path.h"
#include "progress.h"
#include "reference.h"
#include "screen.h"
#include "show.h"
#include "signals.h"
#include "still.h"
#include "top.h"

#define INDENT	  4   /* of a line that goes on in the next */
#define RETRY	  250 /* ms between two looks for the next server, */
#define RETRY_FOR 40  /* of which there are so many */

/* A command, and what becomes of its answer. */
struct answer {
	const struct run *run;
	char **words;
	int count;
	char line[SYNTAX_LINE_MAX + 1]; /* the words as one */
	struct list *list;		/* it is a table, or NULL */
	size_t columns;			/* it is folded into them; 0: not */
	int follows;			/* events come behind its OK, */
	int is_watch;			/* of all devices */
	int is_done;			/* the OK has come */
	struct progress progress;
};

int run_fail_usage(const char *what)
{
	fprintf(stderr, "ublkctl: %s\nTry 'ublkctl --help'.\n", what);
	return RUN_USAGE;
}

/* ---- a daemon that does not answer ---- */

/* These are about what is wrong: without an answer, it is what they print. */
static int wants_verdict(const char *verb)
{
	return strcmp(verb, "inspect") == 0 || strcmp(verb, "stuck") == 0;
}

/* fd: of the connection, or -1 without one. Returns the exit status. */
static int tell_silence(const struct run *run, const char *verb, int fd,
			int error)
{
	struct still still = { .root = "", .folder = run->state };

	if (error == -EINTR) {
		fputs("ublkctl: interrupted; the daemon goes on with what it "
		      "has begun\n",
		      stderr);
		return RUN_SILENT;
	}
	if (error == -ECONNRESET) {
		fprintf(stderr,
			"ublkctl: %s: the connection has ended before the answer: "
			"the server was replaced, or ends; whether the command "
			"was carried out is not known\n",
			run->socket);
		return RUN_SILENT;
	}
	if (error == -EACCES || error == -EPERM) {
		fprintf(stderr,
			"ublkctl: %s: permission denied: it is for root "
			"and members of group ublk\n",
			run->socket);
		return RUN_SILENT;
	}
	still.is_heard = error == -ETIMEDOUT;
	still.listener = fd < 0 ? 0 : proc_peer(fd);
	still_look(&still);
	if (wants_verdict(verb))
		still_print(&still, stdout, (size_t)list_width(stdout));
	else
		fprintf(stderr, "ublkctl: %s: %s: %s\n", run->socket,
			error == -ETIMEDOUT ? "no answer" : strerror(-error),
			still.verdict);
	still_close(&still);
	return RUN_SILENT;
}

/* ---- a command ---- */

/* The words as one line. Returns 0, or -1 if that is too long. */
static int make_line(struct answer *answer)
{
	static char text[2 * SYNTAX_LINE_MAX];
	size_t length = 0, size = sizeof(answer->line);
	int i;

	for (i = 0; i < answer->count && length < size; i++) {
		if (i)
			answer->line[length++] = ' ';
		length += syntax_quote(answer->line + length, size - length,
				       path_word(answer->words[i], text,
						 sizeof(text)));
	}
	return length < size && answer->count <= SYNTAX_WORDS_MAX ? 0 : -1;
}

/* Whether a trace is to follow its device. */
static int is_following(int count, char **words)
{
	int i, value;

	for (i = 1; i < count; i++)
		if (strncmp(words[i], "follow=", 7) == 0 &&
		    syntax_flag(words[i] + 7, &value) == 0 && value)
			return 1;
	return 0;
}

static int is_watch(int count, char **words)
{
	return strcmp(words[0], "watch") == 0 &&
	       (count < 2 || strcmp(words[1], "none") != 0);
}

/* The sentence of an ERR, or all of that when there is none; an object is told whole. */
static void print_failure(const char *line)
{
	char text[SYNTAX_LINE_MAX];

	fields_find(line, "text", text, sizeof(text));
	screen_hide_control(text);
	if (*line == '{')
		puts(line);
	fflush(stdout);
	fprintf(stderr, "ublkctl: %s\n", text[0] ? text : line);
}

static int take_nothing(const char *line, void *context)
{
	(void)line;
	(void)context;
	return 0;
}

/* Within a shell, or a watch, that may be another one than before. */
static void note_server(const char *greeting)
{
	static char before[24];
	char pid[24];

	fields_find(greeting, "pid", pid, sizeof(pid));
	if (before[0] && strcmp(before, pid) != 0)
		fprintf(stderr,
			"ublkctl: another server answers now, process %s\n",
			pid);
	memcpy(before, pid, sizeof(before));
}

/* For a client_ask(). */
static int take_line(const char *line, void *context)
{
	struct answer *answer = context;
	enum fields_frame frame = fields_frame(line);

	if (frame == FIELDS_WAIT) {
		progress_tell(&answer->progress);
		return 0;
	}
	progress_hide(&answer->progress);
	answer->is_done |= frame == FIELDS_OK;
	if (answer->list)
		return table_add(&answer->list->table, line);
	if (answer->run->json || !show_is(answer->words[0]))
		screen_print(stdout, line, 0, INDENT, answer->columns);
	else if (frame == FIELDS_DATA)
		show_line(stdout, line, answer->columns);
	return 0;
}

/* Print events until the connection ends, or somebody has had enough. */
static int print_events(struct client *client)
{
	const char *line;
	int error;

	do {
		fflush(stdout);
		error = client_line(client, &line, CLIENT_FOREVER);
	} while (!error && puts(line) >= 0);
	return error;
}

/* Whoever looks for one device is told by the status whether there is one. */
static int print_list(struct list *list)
{
	unsigned count;

	list->table.width = list_width(stdout);
	count = list_print(list, stdout);
	if (count || !(list->id || list->file))
		return RUN_OK;
	fflush(stdout);
	if (list->id)
		fprintf(stderr, "ublkctl: there is no device %s\n", list->id);
	else
		fprintf(stderr, "ublkctl: no device serves %s\n", list->file);
	return RUN_ERR;
}

/* Returns the exit status, or a negative errno. */
static int converse(struct answer *answer, struct client *client)
{
	const char *line;
	int status = client_begin(client, answer->run->socket, &line);

	progress_begin(&answer->progress, answer->line);
	if (!status)
		note_server(line);
	if (!status && answer->run->json)
		status = client_ask(client, "format json", 0, take_nothing,
				    NULL, &line);
	if (!status)
		status = client_ask(client, answer->line, !answer->follows,
				    take_line, answer, &line);
	progress_hide(&answer->progress);
	if (status > 0) {
		print_failure(line);
		return RUN_ERR;
	}
	if (!status && answer->list)
		status = print_list(answer->list);
	if (!status && answer->follows)
		status = print_events(client);
	return status;
}

/* The server has been replaced, perhaps: go on with the next one. As converse(). */
static int watch_on(struct answer *answer, struct client *client, int status)
{
	int tries;

	for (tries = 0; status < 0 && tries < RETRY_FOR; tries++) {
		if (answer->is_done) {
			fputs("ublkctl: the connection has ended; waiting for "
			      "the next server\n",
			      stderr);
			answer->is_done = 0;
			tries = 0;
		}
		client_close(client);
		signals_wait(-1, RETRY);
		if (signals_end())
			return -EINTR;
		status = converse(answer, client);
		if (status == -EINTR)
			return status;
	}
	return status;
}

/* It ends with its server, or when somebody has had enough. */
static int follow(struct answer *answer, struct client *client)
{
	int status, has_begun;

	signals_catch();
	status = converse(answer, client);
	has_begun = answer->is_done;
	if (status < 0 && has_begun && answer->is_watch && !signals_end())
		status = watch_on(answer, client, status);
	if (status == -EINTR && has_begun)
		status = RUN_OK;
	signals_release();
	return status;
}

static int run_command(const struct run *run, int count, char **words,
		       struct list *list)
{
	struct answer answer = {
		.run = run,
		.words = words,
		.count = count,
		.list = list,
		.is_watch = is_watch(count, words),
	};
	struct client client;
	int status;

	if (make_line(&answer) < 0)
		return run_fail_usage("a command has at most 64 words and 4096 "
				      "bytes");
	answer.follows = answer.is_watch || (strcmp(words[0], "trace") == 0 &&
					     is_following(count, words));
	if (!run->json && (wants_verdict(words[0]) || show_is(words[0])))
		answer.columns = (size_t)list_width(stdout);
	status = answer.follows ? follow(&answer, &client)
				: converse(&answer, &client);
	fflush(stdout);
	if (status == -ECONNRESET && answer.is_done) {
		fprintf(stderr,
			"ublkctl: %s: the connection has ended: the server was "
			"replaced, or ends\n",
			run->socket);
		status = RUN_SILENT;
	}
	if (status < 0)
		status = tell_silence(run, words[0], client.fd, status);
	client_close(&client);
	if (list)
		table_close(&list->table);
	return status;
}

static int run_top(const struct run *run, int count, char **words)
{
	struct top_options options;
	const char *text;
	int status;

	if (top_read(&options, count, words, &text) < 0)
		return run_fail_usage(text);
	status = top_run(&options, run->socket, &text);
	if (status < 0)
		return tell_silence(run, words[0], -1, status);
	if (status)
		print_failure(text);
	return status ? RUN_ERR : RUN_OK;
}

/* Whatever is no command of our own is the daemon's. */
static int run_list(const struct run *run, int count, char **words)
{
	static struct list list;
	const char *why;
	int is_ours = list_read(&list, count, words, &why);

	if (is_ours < 0)
		return run_fail_usage(why);
	if (!is_ours)
		return run_command(run, count, words, NULL);
	list.table.as_lines = run->json;
	/* A list of all is printed as it comes, with its OK. */
	return run_command(run, list.count, list.words,
			   run->json && !list.id && !list.file ? NULL : &list);
}

/* Without --json, wherever that stands. Returns whether it was there. */
static int take_json(int *count, char **words)
{
	int i, kept = 0, found = 0;

	for (i = 0; i < *count; i++) {
		if (strcmp(words[i], "--json") == 0)
			found = 1;
		else
			words[kept++] = words[i];
	}
	words[kept] = NULL;
	*count = kept;
	return found;
}

int run_words(const struct run *run, int count, char **words)
{
	static struct reference reference;
	struct run chosen = *run;
	const char *why;
	int is_ours;

	chosen.json |= take_json(&count, words);
	if (count == 0)
		return run_fail_usage("which command?");
	if (chosen.json &&
	    (strcmp(words[0], "doctor") == 0 || strcmp(words[0], "top") == 0))
		return run_fail_usage("doctor and top are for people: they "
				      "have no --json");
	if (strcmp(words[0], "doctor") == 0)
		return count == 1 ? doctor_run(run->socket, run->state)
				  : run_fail_usage("doctor has no words");
	if (strcmp(words[0], "top") == 0)
		return run_top(run, count, words);
	is_ours = reference_translate(&reference, count, words, &why);
	if (is_ours < 0)
		return run_fail_usage(why);
	if (!is_ours)
		return run_list(&chosen, count, words);
	return run_command(&chosen, reference.count, (char **)reference.words,
			   NULL);
}
