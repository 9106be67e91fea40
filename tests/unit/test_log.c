/* The log: what is told, how a line looks, and lines that nobody took. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "support.h"

static int own_stderr, ends[2]; /* of the pipe in place of stderr */
static char text[1 << 17];
static int syslog_ends[2] = { -1, -1 }; /* [0]: of who reads; -1: none runs */
static int has_kernel_log;

int __real_open(const char *path, int flags, ...);

/* /dev/log; the socket that connects becomes one end of a pair. */
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
	if (syslog_ends[1] < 0) {
		errno = ENOENT;
		return -1;
	}
	return dup2(syslog_ends[1], fd) < 0 ? -1 : 0;
}

/* The kernel's log is the pipe, too. */
int __wrap_open(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/kmsg") != 0)
		return __real_open(path, flags);
	assert_int_equal(flags & O_ACCMODE, O_WRONLY);
	assert_true(flags & O_NONBLOCK);
	if (has_kernel_log)
		return dup(ends[1]);
	errno = ENOENT;
	return -1;
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags);
}

static void start_syslog(void)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0,
				    syslog_ends),
			 0);
}

static void end_syslog(void)
{
	close(syslog_ends[0]);
	close(syslog_ends[1]);
	syslog_ends[0] = syslog_ends[1] = -1;
}

int before_each(void **state)
{
	own_stderr = dup(STDERR_FILENO);
	if (pipe2(ends, O_NONBLOCK) < 0)
		return -1;
	dup2(ends[1], STDERR_FILENO);
	log_open("me", LOG_LEVEL_NOTICE, 0);
	return 0;
}

int after_each(void **state)
{
	dup2(own_stderr, STDERR_FILENO);
	close(own_stderr);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

/* What came, and whether that is the end of it. */
static const char *take(void)
{
	ssize_t got = read(ends[0], text, sizeof(text) - 1);

	text[got > 0 ? got : 0] = '\0';
	return text;
}

TEST_CASE(test_levels)
{
	char line[64];

	log_info("not told");
	log_notice("n %d", 1);
	log_error("e");
	snprintf(line, sizeof(line), "me[%d]: notice: n 1\nme[%d]: error: e\n",
		 (int)getpid(), (int)getpid());
	assert_string_equal(take(), line);
	log_open("me", LOG_LEVEL_DEBUG, 0);
	log_debug("d");
	assert_non_null(strstr(take(), "]: debug: d\n"));
}

TEST_CASE(test_names)
{
	enum log_level level;

	for (level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
		assert_int_equal(log_level_parse(log_level_name(level)), level);
	assert_int_equal(log_level_parse("loud"), -1);
}

/* Nobody can make two lines of one. */
TEST_CASE(test_controls)
{
	log_error("a\nb\033c\177d\xc3\xbc\xc2\x9b\xc2\xa0");
	assert_non_null(
		strstr(take(), "]: error: a?b?c?d\xc3\xbc??\xc2\xa0\n"));
}

TEST_CASE(test_long_line)
{
	char word[3000];

	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	log_error("%s", word);
	assert_true(strlen(take()) < 1200);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

/* A reader that stands still: nothing waits for it, and it is told later. */
TEST_CASE(test_lost_lines)
{
	char block[4096] = "";
	unsigned lost = 0;

	while (write(ends[1], block, sizeof(block)) > 0)
		;
	for (; lost < 3; lost++)
		log_error("lost");
	while (read(ends[0], text, sizeof(text)) > 0)
		;
	log_error("told");
	take();
	assert_null(strstr(text, "error: lost"));
	assert_non_null(strstr(text, "]: warning: 3 lines of this log were "
				     "lost\n"));
	assert_non_null(strstr(text, "]: error: told\n"));
	/* Once. */
	log_error("again");
	assert_null(strstr(take(), "lost"));
}

static const char *take_syslog(void)
{
	ssize_t got = recv(syslog_ends[0], text, sizeof(text) - 1, 0);

	text[got > 0 ? got : 0] = '\0';
	return text;
}

/*
 * A daemon's lines: to the kernel's log until a syslog is there, and again when that
 * has gone.
 */
TEST_CASE(test_daemon)
{
	char line[64];

	has_kernel_log = 1;
	log_open("me", LOG_LEVEL_NOTICE, 1);
	log_error("early");
	snprintf(line, sizeof(line), "<27>me[%d]: early\n", (int)getpid());
	assert_string_equal(take(), line);

	start_syslog();
	log_notice("in between");
	assert_string_equal(take(), "");
	snprintf(line, sizeof(line), "<29>me[%d]: in between", (int)getpid());
	assert_string_equal(take_syslog(), line);
	end_syslog();

	log_notice("late");
	snprintf(line, sizeof(line), "<29>me[%d]: late\n", (int)getpid());
	assert_string_equal(take(), line);
}

/* The kernel refuses lines that are longer. */
TEST_CASE(test_long_kernel_line)
{
	char word[3000];

	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	has_kernel_log = 1;
	log_open("me", LOG_LEVEL_NOTICE, 1);
	log_error("%s", word);
	assert_in_range(strlen(take()), 900, 976);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

/* Neither is there: lines are counted, and that is told to the first that comes. */
TEST_CASE(test_no_log)
{
	has_kernel_log = 0;
	log_open("me", LOG_LEVEL_NOTICE, 1);
	log_error("lost");
	has_kernel_log = 1;
	log_error("told");
	take();
	assert_non_null(strstr(text, ": 1 lines of this log were lost\n<27>"));
	assert_non_null(strstr(text, ": told\n"));
	assert_null(strstr(text, ": lost\n"));
}

/* A syslog that is there and takes nothing does not fill the kernel's log. */
TEST_CASE(test_busy_syslog)
{
	char block[4096] = "";

	has_kernel_log = 1;
	start_syslog();
	log_open("me", LOG_LEVEL_NOTICE, 1);
	while (send(syslog_ends[1], block, sizeof(block), 0) > 0)
		;
	log_error("lost");
	assert_string_equal(take(), "");
	while (recv(syslog_ends[0], block, sizeof(block), 0) > 0)
		;
	log_error("told");
	assert_non_null(strstr(take_syslog(), ": 1 lines of this log were"));
	assert_non_null(strstr(take_syslog(), ": told"));
	end_syslog();
	log_error("the end");
}

int main(void)
{
	return tests_run();
}
