/* The log: what is told, how a line looks, and lines that nobody took. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "support.h"

static int own_stderr, ends[2]; /* of the pipe in place of stderr */
static char text[1 << 17];

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

int main(void)
{
	return tests_run();
}
