/*
 * The tests themselves: they can write to their own folder, and to nothing else
 * on the host (see tests/unit/isolate).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "support.h"

static void need_isolation(void)
{
	if (!getenv("ISOLATED"))
		skip_without("private mount namespace");
}

static void check_read_only(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int error = errno;

	if (fd >= 0) {
		close(fd);
		unlink(path);
		fail_msg("%s can be made", path);
	}
	assert_int_equal(error, EROFS);
}

TEST_CASE(test_read_only)
{
	need_isolation();
	check_read_only("/ublkd-test-isolate");
	check_read_only("/dev/ublkd-test-isolate");
	check_read_only("ublkd-test-isolate"); /* the build folder */
}

/* /dev/null is there, and nobody's disk. */
TEST_CASE(test_devices)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	need_isolation();
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	assert_int_equal(access("/dev/ublk-control", F_OK), -1);
}

TEST_CASE(test_own_folder)
{
	test_file("a/file", "text");
	assert_int_equal(access(test_path("a/file"), F_OK), 0);
	test_folder_remove();
}

int main(void)
{
	return tests_run();
}
