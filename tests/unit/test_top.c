/* ublkctl top: what it prints, and the terminal that it gives back. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <utmp.h>
#include <unistd.h>

#include "ctl/top.h"
#include "support.h"

static struct top_sample before, now;
static char *printed;
static size_t printed_size;

int before_each(void **state)
{
	setlocale(LC_CTYPE, "C.UTF-8");
	alarm(60); /* what waits for ever is a failure */
	return 0;
}

int after_each(void **state)
{
	top_free(&before);
	top_free(&now);
	free(printed);
	printed = NULL;
	test_folder_remove();
	return 0;
}

static void take(struct top_sample *sample, const char *line)
{
	assert_int_equal(top_take(sample, line), 0);
}

static const char *print(unsigned lines, unsigned columns)
{
	FILE *out;

	free(printed);
	out = open_memstream(&printed, &printed_size);
	top_print(&before, &now, lines, columns, "\n", out);
	fclose(out);
	return printed;
}

static void fill(void)
{
	before.at = 10;
	take(&before, "stats id=0 name=ublkb0 seconds=1 in-flight=0 "
		      "depth-reached=1");
	take(&before, "op id=0 op=read count=100 bytes=409600 errors=1 "
		      "time=1000us in-turn=1 p50=1us");
	take(&before, "stats id=3 name=scratch seconds=1 in-flight=0 "
		      "depth-reached=1");
	take(&before, "op id=3 op=write count=90000 bytes=0 errors=0 "
		      "time=9s in-turn=1");
	now.at = 12;
	take(&now, "stats id=0 name=ublkb0 seconds=3 in-flight=4 "
		   "depth-reached=4");
	take(&now, "op id=0 op=read count=300 bytes=1228800 errors=3 "
		   "time=21ms in-turn=1 p50=1us");
	take(&now, "op id=0 op=flush count=10 bytes=0 errors=0 time=20ms "
		   "in-turn=0");
	take(&now, "stats id=3 name=scratch seconds=3 in-flight=32 "
		   "depth-reached=64");
	take(&now, "op id=3 op=write count=190000 bytes=409600000 errors=0 "
		   "time=19s in-turn=1");
	take(&now, "stats id=4 name=\"a very long name \xc3\xa4\" seconds=0 "
		   "in-flight=0 depth-reached=0");
	take(&now, "op id=4 op=read count=7 bytes=7 errors=0 time=1us");
	take(&now, "OK");
}

/* The busiest first; a disk that is new begins with the next look. */
TEST_CASE(test_rates)
{
	fill();
	assert_string_equal(
		print(0, 80),
		"  ID  NAME          READ/S WRITE/S OTHER/S READ B WRITE B "
		"LATENCY  ERR/S PENDING\n"
		"   3  scratch            0   50.0K       0      0    195M "
		"  100us      0      32\n"
		"   0  ublkb0           100       0       5   400K       0 "
		"  190us      1       4\n"
		"   4  a very long ~      0       0       0      0       0 "
		"      -      0       0\n");
	assert_string_equal(
		print(3, 100),
		"  ID  NAME                             READ/S WRITE/S OTHER/S "
		"READ B WRITE B LATENCY  ERR/S PENDING\n"
		"   3  scratch                               0   50.0K       0 "
		"     0    195M   100us      0      32\n"
		"2 more\n");
}

/* `stats reset`, or another server without the file: counted from 0 on. */
TEST_CASE(test_counted_anew)
{
	before.at = 1;
	take(&before, "stats id=0 name=a");
	take(&before, "op id=0 op=read count=1000 bytes=4096 errors=0 time=1s");
	now.at = 2;
	take(&now, "stats id=0 name=a");
	take(&now, "op id=0 op=read count=10 bytes=40 errors=0 time=1ms");
	assert_non_null(strstr(print(0, 80), "10       0       0     40"));
}

TEST_CASE(test_words)
{
	static const struct {
		const char *words[6];
		int result, batch;
		unsigned count;
		double every;
	} rows[] = {
		{ { "top" }, 0, 0, 0, 1 },
		{ { "top", "-b", "-n", "2" }, 0, 1, 2, 1 },
		{ { "top", "-d5" }, 0, 0, 0, 5 },
		{ { "top", "-d", "500ms" }, 0, 0, 0, 0.5 },
		{ { "top", "-d", "1us" }, -1, 0, 0, 0 },
		{ { "top", "-d", "0" }, -1, 0, 0, 0 },
		{ { "top", "-n", "x" }, -1, 0, 0, 0 },
		{ { "top", "-q" }, -1, 0, 0, 0 },
		{ { "top", "more" }, -1, 0, 0, 0 },
	};
	struct top_options options;
	const char *why;
	char *words[6];
	size_t i;
	int count;

	for (i = 0; i < COUNT(rows); i++) {
		for (count = 0; rows[i].words[count]; count++)
			words[count] = (char *)rows[i].words[count];
		words[count] = NULL;
		assert_int_equal(top_read(&options, count, words, &why),
				 rows[i].result);
		assert_non_null(why);
		if (rows[i].result)
			continue;
		assert_int_equal(options.batch, rows[i].batch);
		assert_int_equal(options.count, rows[i].count);
		assert_true(options.every == rows[i].every);
	}
}

/* ---- with a daemon and a terminal ---- */

/* A child that says the same to every question of each client. */
static pid_t start_daemon(const char *greeting, const char *answer)
{
	int fd = test_listen(test_path("socket"), 4), end;
	pid_t child = fork();
	char question[100];

	assert_true(child >= 0);
	if (child) {
		close(fd);
		return child;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		end = accept(fd, NULL, NULL);
		if (end < 0 || write(end, greeting, strlen(greeting)) < 0)
			_exit(1);
		while (read(end, question, sizeof(question)) > 0)
			if (write(end, answer, strlen(answer)) < 0)
				break;
		close(end);
	}
}

static void stop(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

#define ANSWER                               \
	"stats id=0 name=disk in-flight=2\n" \
	"op id=0 op=read count=5 bytes=5 errors=0 time=5us in-turn=0\nOK\n"

static int top_ends(double every)
{
	struct top_options options = { .every = every };
	const char *refusal;

	return top_run(&options, test_path("socket"), &refusal) == 0 ? 0 : 1;
}

/* A shell's part: a job of its own, which goes on when it is stopped. */
static int top_as_job(void)
{
	pid_t job = fork();
	int status;

	if (job == 0) {
		setpgid(0, 0);
		while (tcgetpgrp(STDIN_FILENO) != getpid())
			usleep(1000);
		return top_ends(1000);
	}
	setpgid(job, job);
	tcsetpgrp(STDIN_FILENO, job);
	while (waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status))
		kill(job, SIGCONT);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}

/* Something with a terminal of its own; returns the terminal's other end. */
static int start_on_terminal(pid_t *child, struct termios *was, unsigned rows,
			     int (*run)(void))
{
	struct winsize size = { .ws_row = (unsigned short)rows,
				.ws_col = rows ? 80 : 0 };
	int terminal, other;

	if (openpty(&terminal, &other, NULL, NULL, &size) < 0)
		skip_without("pseudo-terminal");
	assert_int_equal(tcgetattr(other, was), 0);
	*child = fork();
	assert_true(*child >= 0);
	if (*child) {
		close(other);
		return terminal;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(terminal);
	if (login_tty(other) < 0)
		_exit(9);
	_exit(run());
}

static int top_until_ended(void)
{
	return top_ends(1000);
}

static int start_top(pid_t *child, struct termios *was)
{
	return start_on_terminal(child, was, 24, top_until_ended);
}

static int top_without_keys(void)
{
	close(STDIN_FILENO);
	if (open("/dev/null", O_RDONLY) != STDIN_FILENO)
		return 9;
	return top_ends(0.01);
}

/* What is shown, until it has this text. */
static void expect_shown(int terminal, char *text, size_t size,
			 const char *part)
{
	size_t at = strlen(text);
	ssize_t n;

	while (!strstr(text, part)) {
		n = read(terminal, text + at, size - 1 - at);
		if (n <= 0)
			fail_msg("'%s' is not shown: %s", part, text);
		at += (size_t)n;
		text[at] = '\0';
	}
}

/* Every way out gives back the screen, the cursor and the keys. */
static void check_way_out(int number, const char *key)
{
	static char text[1 << 16];
	struct termios was, is;
	pid_t daemon, top;
	int terminal, status;

	text[0] = '\0';
	daemon = start_daemon("HELLO ublkd\n", ANSWER);
	terminal = start_top(&top, &was);
	expect_shown(terminal, text, sizeof(text), "\033[?25l");
	if (number) {
		/* The first page comes after a look; a resize is a look. */
		kill(top, SIGWINCH);
		expect_shown(terminal, text, sizeof(text), "PENDING");
		expect_shown(terminal, text, sizeof(text), "\033[J");
		assert_non_null(strstr(text, "1 devices, every 1000s; q ends"));
		kill(top, number);
	} else {
		assert_int_equal(write(terminal, key, 1), 1);
	}
	expect_shown(terminal, text, sizeof(text), "\033[?25h\033[?1049l");
	assert_int_equal(waitpid(top, &status, 0), top);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(tcgetattr(terminal, &is), 0);
	assert_int_equal(is.c_lflag, was.c_lflag);
	close(terminal);
	stop(daemon);
	test_folder_remove();
}

TEST_CASE(test_ways_out)
{
	check_way_out(SIGTERM, NULL);
	check_way_out(SIGINT, NULL);
	check_way_out(SIGHUP, NULL);
	check_way_out(SIGQUIT, NULL);
	check_way_out(0, "q");
}

/* Ctrl-Z: the terminal is the shell's until it goes on; all begins anew then. */
TEST_CASE(test_stop)
{
	static char text[1 << 16];
	struct termios was;
	pid_t daemon, shell;
	int terminal, status;

	text[0] = '\0';
	daemon = start_daemon("HELLO ublkd\n", ANSWER);
	terminal = start_on_terminal(&shell, &was, 24, top_as_job);
	expect_shown(terminal, text, sizeof(text), "\033[?25l");
	assert_int_equal(write(terminal, "\032", 1), 1);
	expect_shown(terminal, text, sizeof(text), "\033[?25h\033[?1049l");
	expect_shown(terminal, text, sizeof(text),
		     "\033[?25h\033[?1049l\033[?1049h\033[?25l");
	expect_shown(terminal, text, sizeof(text), "PENDING");
	assert_int_equal(write(terminal, "q", 1), 1);
	assert_int_equal(waitpid(shell, &status, 0), shell);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(terminal);
	stop(daemon);
}

/* A terminal that does not tell its size, and one without a keyboard. */
TEST_CASE(test_poor_terminals)
{
	static char text[1 << 16];
	struct termios was;
	pid_t daemon, top;
	int terminal, status;

	text[0] = '\0';
	daemon = start_daemon("HELLO ublkd\n", ANSWER);
	terminal = start_on_terminal(&top, &was, 0, top_without_keys);
	expect_shown(terminal, text, sizeof(text), "PENDING");
	expect_shown(terminal, text, sizeof(text), "\033[J");
	assert_non_null(strstr(text, " disk "));
	assert_null(strstr(text, "1 more"));
	kill(top, SIGTERM);
	expect_shown(terminal, text, sizeof(text), "\033[?1049l");
	assert_int_equal(waitpid(top, &status, 0), top);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(terminal);
	stop(daemon);
}

/* One that is not heard, and one that refuses. */
TEST_CASE(test_no_answer)
{
	struct top_options options = { .batch = 1, .count = 1, .every = 0.01 };
	const char *refusal;
	pid_t daemon;

	assert_int_equal(top_run(&options, test_path("socket"), &refusal),
			 -ENOENT);
	daemon = start_daemon("HELLO ublkd\n",
			      "ERR unsupported text=\"no recorder\"\n");
	assert_int_equal(top_run(&options, test_path("socket"), &refusal), 1);
	assert_non_null(strstr(refusal, "no recorder"));
	stop(daemon);
}

int main(void)
{
	return tests_run();
}
