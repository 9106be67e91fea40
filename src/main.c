/* Options, and which of the two processes this is. Nothing else lives here. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "keeper/helper.h"
#include "keeper/keeper.h"
#include "keeper/state.h"
#include "base/log.h"
#include "admin/check.h"
#include "base/process.h"
#include "server/server.h"

#define DEFAULT_SOCKET "/run/ublk.sock"
#define DEFAULT_STATE  "/run/ublkd"
#define DEFAULT_CONFIG SYSCONFDIR "/ublkd.conf"

static const char usage[] =
	"Usage: ublkd [OPTION]...\n"
	"Serve Linux block devices from user space (ublk): all of a host's devices\n"
	"from one thread, made and deleted through one socket.\n"
	"\n"
	"  -s, --socket=PATH      the admin socket (" DEFAULT_SOCKET ")\n"
	"  -c, --config=FILE      the configuration: admin commands to run before\n"
	"                         being ready (" DEFAULT_CONFIG ", if\n"
	"                         there is one; none with a socket of your own)\n"
	"      --keep-going       a line of it that fails ends nothing\n"
#ifndef WITHOUT_RELOAD
	"      --check-config [FILE]  tell what is wrong in it, and exit\n"
#endif
	"      --read-socket=PATH one more socket, on which nothing can be changed\n"
	"      --state=DIR        where devices are noted for when all of ublkd is\n"
	"                         killed (/run/ublkd; beside a socket of your own:\n"
	"                         PATH.state)\n"
	"      --delete-leftovers also delete live devices of a killed ublkd of\n"
	"                         which nothing is noted\n"
	"      --stop-timeout=N   seconds that the end waits for requests in flight\n"
	"                         before they fail (60)\n"
	"      --hot=no           sleep in libev only, not in a busy queue's ring\n"
	"      --recorder=no      record nothing of requests: no stats, trace, metrics\n"
	"  -f, --foreground       do not become a daemon; log to stderr\n"
	"      --ready-fd=N       write a newline to descriptor N when ready\n"
	"  -l, --log-level=LEVEL  error, warning, notice, info (default) or debug\n"
	"  -V, --version          show the version and exit\n"
	"  -h, --help             show this and exit\n"
	"\n"
	"Talk to it with: socat - UNIX:" DEFAULT_SOCKET "   (type help)\n";

enum {
	OPTION_READY_FD = 256,
	OPTION_SERVER,
	OPTION_HELPER,
	OPTION_SYSLOG,
	OPTION_CONTINUE,
	OPTION_BORROWED_SOCKET,
	OPTION_STATE,
	OPTION_STOP_TIMEOUT,
	OPTION_DELETE_LEFTOVERS,
	OPTION_HOT,
	OPTION_RECORDER,
	OPTION_KEEP_GOING,
	OPTION_CHECK_CONFIG,
	OPTION_READ_SOCKET,
};

static const struct option long_options[] = {
	{ "socket", required_argument, NULL, 's' },
	{ "config", required_argument, NULL, 'c' },
	{ "keep-going", no_argument, NULL, OPTION_KEEP_GOING },
#ifndef WITHOUT_RELOAD
	{ "check-config", no_argument, NULL, OPTION_CHECK_CONFIG },
#endif
	{ "stop-timeout", required_argument, NULL, OPTION_STOP_TIMEOUT },
	{ "read-socket", required_argument, NULL, OPTION_READ_SOCKET },
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "delete-leftovers", no_argument, NULL, OPTION_DELETE_LEFTOVERS },
	{ "hot", required_argument, NULL, OPTION_HOT },
	{ "recorder", required_argument, NULL, OPTION_RECORDER },
	{ "foreground", no_argument, NULL, 'f' },
	{ "log-level", required_argument, NULL, 'l' },
	{ "ready-fd", required_argument, NULL, OPTION_READY_FD },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	/* For the keeper, when it starts a server or a helper. */
	{ "server", no_argument, NULL, OPTION_SERVER },
	{ "syslog", no_argument, NULL, OPTION_SYSLOG },
	{ "helper", no_argument, NULL, OPTION_HELPER },
	/* For a keeper that becomes another program. */
	{ "continue", no_argument, NULL, OPTION_CONTINUE },
	{ "borrowed-socket", no_argument, NULL, OPTION_BORROWED_SOCKET },
	{ NULL, 0, NULL, 0 },
};

struct choice {
	const char *socket, *reader, *config, *state;
	int foreground, server, helper, level, continues, delete_leftovers,
		ready_fd;
	int borrowed_socket, stop_timeout, is_plain, is_unrecorded;
	int keeps_going, checks;
};

static void fail_usage(const char *what, const char *argument)
{
	fprintf(stderr, "ublkd: %s%s\nTry 'ublkd --help'.\n", what, argument);
	exit(2);
}

static void read_level(struct choice *choice, const char *name)
{
	choice->level = log_level_parse(name);
	if (choice->level < 0)
		fail_usage("unknown log level: ", name);
}

/* Above those that a daemon redirects, and open. */
static void read_ready_fd(struct choice *choice, const char *number)
{
	char *end;
	long fd = strtol(number, &end, 10);

	if (end == number || *end || fd <= STDERR_FILENO || fd > INT_MAX ||
	    fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		fail_usage("--ready-fd needs an open descriptor above 2, not ",
			   number);
	choice->ready_fd = (int)fd;
}

static void read_stop_timeout(struct choice *choice, const char *number)
{
	char *end;
	long seconds = strtol(number, &end, 10);

	if (end == number || *end || seconds < 1 || seconds > 86400)
		fail_usage("--stop-timeout needs 1 to 86400 seconds, not ",
			   number);
	choice->stop_timeout = (int)seconds;
}

/* Whether the word is no, and not yes. */
static int read_no(const char *what, const char *word)
{
	int is_no = strcmp(word, "no") == 0;

	if (!is_no && strcmp(word, "yes") != 0)
		fail_usage(what, word);
	return is_no;
}

static void read_options(struct choice *choice, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "s:c:fl:Vh", long_options, NULL)) !=
	       -1) {
		switch (c) {
		case 's':
			choice->socket = optarg;
			break;
		case 'c':
			choice->config = optarg;
			break;
		case 'f':
			choice->foreground = 1;
			break;
		case 'l':
			read_level(choice, optarg);
			break;
		case OPTION_READY_FD:
			read_ready_fd(choice, optarg);
			break;
		case 'V':
			puts("ublkd " PACKAGE_VERSION);
			if (BUILD_WITHOUT[0])
				puts("built without: " BUILD_WITHOUT);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case OPTION_SERVER:
			choice->server = 1;
			break;
		case OPTION_HELPER:
			choice->helper = 1;
			break;
		case OPTION_STOP_TIMEOUT:
			read_stop_timeout(choice, optarg);
			break;
		case OPTION_READ_SOCKET:
			choice->reader = optarg;
			break;
		case OPTION_STATE:
			choice->state = optarg;
			break;
		case OPTION_DELETE_LEFTOVERS:
			choice->delete_leftovers = 1;
			break;
		case OPTION_BORROWED_SOCKET:
			choice->borrowed_socket = 1;
			break;
		case OPTION_CONTINUE:
			choice->continues = 1;
			break;
		case OPTION_HOT:
			choice->is_plain =
				read_no("--hot is yes or no, not ", optarg);
			break;
		case OPTION_RECORDER:
			choice->is_unrecorded = read_no(
				"--recorder is yes or no, not ", optarg);
			break;
		case OPTION_KEEP_GOING:
			choice->keeps_going = 1;
			break;
		case OPTION_CHECK_CONFIG:
			choice->checks = 1;
			break;
		case OPTION_SYSLOG:
			choice->foreground = 0;
			break;
		default:
			fprintf(stderr, "Try 'ublkd --help'.\n");
			exit(2);
		}
	}
	if (choice->checks && optind < argc)
		choice->config = argv[optind++];
	if (optind < argc)
		fail_usage("unexpected argument: ", argv[optind]);
}

/* An absolute path, because a daemon lives in "/". Never freed. */
static const char *absolute(const char *path)
{
	char *folder, *full;

	if (!path || path[0] == '/')
		return path;
	folder = getcwd(NULL, 0);
	if (!folder || asprintf(&full, "%s/%s", folder, path) < 0) {
		fprintf(stderr, "ublkd: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	free(folder);
	return full;
}

/*
 * What was executed, as it was named: with an upgrade the last link of the path
 * may lead elsewhere, or another file be there. Whoever executes a descriptor
 * names none that lasts; then it is the file. Never freed.
 */
static const char *started_program(void)
{
	const char *path = (const char *)getauxval(AT_EXECFN);

	if (path && strncmp(path, "/dev/fd/", 8) != 0 &&
	    strncmp(path, "/proc/", 6) != 0)
		return absolute(path);
	path = realpath("/proc/self/exe", NULL);
	return path ? path : "/proc/self/exe";
}

/* Two daemons of one host share neither socket nor state. Never freed. */
static const char *default_state(const char *socket)
{
	char *path;

	if (strcmp(socket, DEFAULT_SOCKET) == 0)
		return DEFAULT_STATE;
	if (asprintf(&path, "%s.state", socket) < 0) {
		fprintf(stderr, "ublkd: out of memory\n");
		exit(1);
	}
	return path;
}

/*
 * The configuration file, as of config_gather(). A second daemon on a socket of
 * its own is not to make the devices of the first. Never freed.
 */
static const char *find_config(const struct choice *choice)
{
	static const char missing_is_fine[] = "-" DEFAULT_CONFIG;

	if (choice->config)
		return absolute(choice->config);
	return choice->checks || strcmp(choice->socket, DEFAULT_SOCKET) == 0
		       ? missing_is_fine
		       : "";
}

/* What the program before an upgrade had, or NULL. Never freed. */
static const char *inherited(const char *variable)
{
	const char *value = getenv(variable);

	value = value ? strdup(value) : NULL;
	unsetenv(variable);
	return value;
}

static const char *inherited_config(void)
{
	const char *config = inherited(KEEPER_CONFIG);

	return config ? config : "";
}

/*
 * The process that was started waits for the daemon's word and passes it on:
 * an empty string when it is ready, else why it is not.
 */
static int wait_for_daemon(int fd)
{
	char text[1024];
	size_t length = 0;
	ssize_t n;

	while (length < sizeof(text) - 1 &&
	       (n = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)n;
	text[length] = '\0';
	if (length == 1)
		return 0;
	fprintf(stderr, "ublkd: %s\n",
		length ? text : "ended before it was ready; see the log");
	return 1;
}

/* Returns in the daemon, with the descriptor to tell when it is ready. */
static int become_daemon(void)
{
	int pair[2], null;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "ublkd: cannot start: %s\n", strerror(errno));
		exit(1);
	}
	if (pid > 0) {
		close(pair[1]);
		exit(wait_for_daemon(pair[0]));
	}
	close(pair[0]);
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || chdir("/") < 0 || dup2(null, 0) < 0 ||
	    dup2(null, 1) < 0 || dup2(null, 2) < 0)
		exit(1);
	return pair[1];
}

/* Descriptors 0 to 2 must be taken, or a socket becomes somebody's stderr. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/*
 * A keeper of an earlier build let what its devices hold go along over the exec,
 * and named it in the environment: "PID FD:NAME FD:NAME ...". The server has all
 * of that, and is asked.
 */
static void drop_carried(void)
{
	const char *at = getenv("UBLKD_CARRIED");
	int fd;

	while (at && (at = strchr(at, ' '))) {
		at++;
		if (sscanf(at, "%d:", &fd) == 1 && fd > STDERR_FILENO)
			close(fd);
	}
	unsetenv("UBLKD_CARRIED");
}

int __attribute__((cold)) main(int argc, char **argv)
{
	struct choice choice = { .socket = DEFAULT_SOCKET,
				 .level = LOG_LEVEL_INFO,
				 .stop_timeout = 60,
				 .ready_fd = -1 };
	/* Static, so that its paths are no leak at the end. */
	static struct keeper_options options = { .ready_fd = -1 };

	fill_standard_descriptors();
	read_options(&choice, argc, argv);
	if (choice.helper) {
		process_set_name(HELPER_NAME);
		return helper_run();
	}
	if (choice.server) {
		process_set_name(SERVER_NAME);
		log_open(SERVER_NAME, (enum log_level)choice.level,
			 !choice.foreground);
		return server_run(!choice.is_plain);
	}
#ifndef WITHOUT_RELOAD
	if (choice.checks)
		return check_run(find_config(&choice));
#endif
	options.program = started_program();
	options.socket = absolute(choice.socket);
	options.reader = absolute(choice.reader);
	if (choice.continues)
		options.reader = inherited(KEEPER_READER);
	if (options.reader && strcmp(options.reader, options.socket) == 0)
		fail_usage("the admin socket is at the same path: ",
			   options.reader);
	options.config = choice.continues ? inherited_config()
					  : find_config(&choice);
	options.keeps_going = choice.keeps_going;
	options.is_configured = choice.continues;
	options.state = choice.state ? absolute(choice.state)
				     : default_state(options.socket);
	options.names = NAMES_FOLDER;
	options.delete_leftovers = choice.delete_leftovers;
	options.log_level = (enum log_level)choice.level;
	options.foreground = choice.foreground;
	options.stop_timeout = choice.stop_timeout;
	options.is_plain = choice.is_plain;
	options.is_unrecorded = choice.is_unrecorded ||
				(choice.continues && getenv(KEEPER_UNRECORDED));
	unsetenv(KEEPER_UNRECORDED);
#ifdef WITHOUT_SIGHT
	options.is_unrecorded = 1;
#endif
	options.borrowed_socket = choice.borrowed_socket;
	options.newline_fd = choice.ready_fd;
	options.is_spared = argv[0] && argv[0][0] == '@';
	if (choice.continues)
		drop_carried();
	else if (!choice.foreground)
		options.ready_fd = become_daemon();
	log_open("ublkd", options.log_level, !choice.foreground);
	return keeper_run(&options);
}
