/* ublkctl: one command of the admin socket, and what is known without it. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "run.h"
#include "shell.h"

#define DEFAULT_SOCKET "/run/ublk.sock"
#define DEFAULT_STATE  "/run/ublkd"

static const char usage[] =
	"Usage: ublkctl [OPTION]... COMMAND [WORD]...\n"
	"Send a command to ublkd and print its answer.\n"
	"\n"
	"  -j FILE            as 'ublkctl find FILE': the devices that serve it\n"
	"      --json         answers as objects of JSON, one a line\n"
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
	"'ublkctl shell' reads commands from the terminal.\n"
	"'ublkctl top [-b] [-n COUNT] [-d SECONDS]' shows what devices do.\n";

enum { OPTION_STATE = 256, OPTION_JSON };

static const struct option long_options[] = {
	{ "socket", required_argument, NULL, 's' },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct choice {
	struct run run;
	char state[300];
	char **words;
	int count;
	char *find; /* the file whose devices are wanted, or NULL */
};

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
		case OPTION_JSON:
			choice->run.json = 1;
			break;
		case OPTION_STATE:
			state = optarg;
			break;
		case 'V':
			puts("ublkctl " PACKAGE_VERSION);
			return RUN_OK;
		case 'h':
			fputs(usage, stdout);
			return RUN_OK;
		default:
			fputs("Try 'ublkctl --help'.\n", stderr);
			return RUN_USAGE;
		}
	}
	choice->words = argv + optind;
	choice->count = argc - optind;
	choice->run.socket = socket ? socket : DEFAULT_SOCKET;
	if (!state && strcmp(choice->run.socket, DEFAULT_SOCKET) == 0)
		state = DEFAULT_STATE;
	/* As ublkd does, so that two of a host are not taken for each other. */
	snprintf(choice->state, sizeof(choice->state), "%s%s",
		 state ? state : choice->run.socket, state ? "" : ".state");
	choice->run.state = choice->state;
	if (choice->find && choice->count)
		return run_fail_usage("-j FILE is a command of its own");
	return choice->count || choice->find ? -1
					     : run_fail_usage("which command?");
}

static int run(struct choice *choice)
{
	static char verb[] = "find";
	char *find[] = { verb, choice->find, NULL };

	if (choice->find)
		return run_words(&choice->run, 2, find);
	if (strcmp(choice->words[0], "shell") == 0)
		return shell_run(&choice->run, choice->count);
	return run_words(&choice->run, choice->count, choice->words);
}

int main(int argc, char **argv)
{
	struct choice choice = { .count = 0 };
	int status;

	setlocale(LC_CTYPE, "");
	status = read_options(&choice, argc, argv);
	if (status < 0)
		status = run(&choice);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "ublkctl: the output: %s\n", strerror(errno));
		return RUN_USAGE;
	}
	return status;
}
