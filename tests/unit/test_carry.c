/* Descriptors that go along over an exec. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper/carry.h"
#include "base/message.h"
#include "support.h"

static int goes_along(int fd)
{
	return !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static int open_one(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* In their order, with nothing left for children. */
static void test_put_and_take(void **state)
{
	int one = open_one(), other = open_one();
	const char *name;

	(void)state;
	assert_int_equal(carry_put("device-7-0", one), 0);
	assert_int_equal(carry_put("device-7-1", other), 0);
	assert_true(goes_along(one) && goes_along(other));
	assert_int_equal(carry_take(&name), one);
	assert_string_equal(name, "device-7-0");
	assert_false(goes_along(one));
	assert_null(getenv("UBLKD_CARRIED"));
	assert_int_equal(carry_take(&name), other);
	assert_string_equal(name, "device-7-1");
	assert_false(goes_along(other));
	assert_int_equal(carry_take(&name), -1);
	assert_int_equal(carry_take(&name), -1);
	close(one);
	close(other);
}

static void test_undo(void **state)
{
	int fd = open_one();
	const char *name;

	(void)state;
	carry_undo();
	assert_int_equal(carry_put("device-7-0", fd), 0);
	carry_undo();
	assert_false(goes_along(fd));
	assert_int_equal(carry_take(&name), -1);
	close(fd);
}

static void take_from(int pid, const char *words, int expected)
{
	char text[200];
	const char *name;

	snprintf(text, sizeof(text), "%d%s", pid, words);
	setenv("UBLKD_CARRIED", text, 1);
	assert_int_equal(carry_take(&name), expected);
	while (expected >= 0 && carry_take(&name) >= 0)
		;
	assert_null(getenv("UBLKD_CARRIED"));
}

/* Of another process, or of no use. */
static void test_nonsense(void **state)
{
	int fd = open_one(), pid = (int)getpid();
	char words[40];

	(void)state;
	snprintf(words, sizeof(words), " %d:device-7-0", fd);
	take_from(1, words, -1);
	take_from(pid, "", -1);
	take_from(pid, " x", -1);
	take_from(pid, " 99999:device-7-0", -1);
	snprintf(words, sizeof(words), " 99999:a %d:device-7-0", fd);
	take_from(pid, words, fd);
	close(fd);
}

/* As many devices as there may be have room. */
static void test_too_many(void **state)
{
	int fd = open_one(), error = 0, i;
	const char *name;

	(void)state;
	for (i = 0; i < (int)DEVICES_MAX; i++)
		assert_int_equal(carry_put("device-1048575-3", fd), 0);
	for (i = 0; !error && i < 4 * (int)DEVICES_MAX; i++)
		error = carry_put("device-1048575-3", fd);
	assert_int_equal(error, -E2BIG);
	for (i = 0; carry_take(&name) == fd; i++)
		assert_string_equal(name, "device-1048575-3");
	assert_true(i >= (int)DEVICES_MAX);
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_and_take),
		cmocka_unit_test(test_undo),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
