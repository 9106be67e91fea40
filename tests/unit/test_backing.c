/* What stands behind a path: kinds of files, their sizes, and locks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target/backing.h"
#include "support.h"

static struct backing backing;
static char who[128];

/* ---- a /sys in the folder ---- */

static int has_sys;

DIR *__real_opendir(const char *path);
FILE *LARGE(__real_fopen)(const char *path, const char *mode);
ssize_t __real_readlink(const char *path, char *link, size_t size);

static const char *place_of(const char *path)
{
	return has_sys && strncmp(path, "/sys/", 5) == 0 ? test_path(path + 1)
							 : path;
}

DIR *__wrap_opendir(const char *path)
{
	return __real_opendir(place_of(path));
}

FILE *LARGE(__wrap_fopen)(const char *path, const char *mode)
{
	return LARGE(__real_fopen)(place_of(path), mode);
}

ssize_t __wrap_readlink(const char *path, char *link, size_t size)
{
	return __real_readlink(place_of(path), link, size);
}

static void link_disk(const char *number, const char *disk)
{
	char link[100], folder[100];

	snprintf(link, sizeof(link), "sys/dev/block/%s", number);
	snprintf(folder, sizeof(folder), "../../devices/block/%s", disk);
	assert_int_equal(symlink(folder, test_path(link)), 0);
}

static int open_file(void)
{
	int fd = open(test_path("file"), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

int before_each(void **state)
{
	test_file("file", "0123456789");
	return 0;
}

int after_each(void **state)
{
	test_folder_remove();
	return 0;
}

TEST_CASE(test_kinds)
{
	int fd = open(test_folder(), O_RDONLY | O_CLOEXEC);

	assert_int_equal(backing_look(&backing, fd), -ENOTBLK);
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(backing_look(&backing, fd), -ENOTBLK);
	close(fd);
	assert_int_equal(backing_look(&backing, -1), -EBADF);
	fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, 123456), 0);
	assert_int_equal(backing_look(&backing, fd), 0);
	assert_int_equal(backing.kind, BACKING_MEMORY);
	assert_int_equal(backing.size, 123456);
	assert_int_equal(backing.direct, 0);
	close(fd);
}

TEST_CASE(test_size)
{
	int fd = open_file();
	uint64_t size;

	assert_int_equal(backing_look(&backing, fd), 0);
	assert_int_equal(backing.size, 10);
	assert_int_equal(backing.least, 512);
	assert_int_equal(ftruncate(fd, 5000), 0);
	assert_int_equal(backing_size(&backing, fd, &size), 0);
	assert_int_equal(size, 5000);
	assert_int_equal(backing_size(&backing, -1, &size), -EBADF);
	assert_int_equal(backing_used(-1), 0);
	close(fd);
}

/* All of it or nothing; what was written just now is in the page cache. */
TEST_CASE(test_read_cached)
{
	static const char text[] = "0123456789abcdef";
	int fd = open_file(), is_there;
	char bytes[sizeof(text)] = "";

	assert_int_equal(pwrite(fd, text, sizeof(text), 4096), sizeof(text));
	assert_int_equal(backing_look(&backing, fd), 0);
	is_there = backing_read_cached(fd, bytes, sizeof(text), 4096);
	if (is_there > 0)
		assert_string_equal(bytes, text);
	else
		assert_int_equal(is_there, -EOPNOTSUPP); /* e.g. a tmpfs */
	assert_true(backing_read_cached(fd, bytes, sizeof(text), 4097) <= 0);
	assert_true(backing_read_cached(-1, bytes, sizeof(text), 4096) <= 0);
	close(fd);
}

/* One writer, or any readers; and it belongs to the open file. */
TEST_CASE(test_lock)
{
	int one = open_file(), other = open_file(), again = dup(one);

	assert_int_equal(backing_lock(one, 0, who, sizeof(who)), 0);
	assert_int_equal(backing_lock(again, 0, who, sizeof(who)), 0);
	assert_int_equal(backing_lock(other, 0, who, sizeof(who)), -EBUSY);
	assert_string_equal(who, "it is locked by another program");
	assert_int_equal(backing_lock(other, 1, who, sizeof(who)), -EBUSY);
	close(one);
	assert_int_equal(backing_lock(other, 1, who, sizeof(who)), -EBUSY);
	close(again);
	one = open_file();
	assert_int_equal(backing_lock(other, 1, who, sizeof(who)), 0);
	assert_int_equal(backing_lock(one, 1, who, sizeof(who)), 0);
	assert_int_equal(backing_lock(one, 0, who, sizeof(who)), -EBUSY);
	close(one);
	close(other);
	assert_int_equal(backing_lock(-1, 0, who, sizeof(who)), -EBADF);
}

/* A process' own lock tells whose it is. */
TEST_CASE(test_locked_by_process)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char byte = 0, expected[64];
	int fd = open_file(), ready[2];
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		int mine = open_file();

		if (fcntl(mine, F_SETLK, &lock) == 0 &&
		    write(ready[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(backing_lock(fd, 0, who, sizeof(who)), -EBUSY);
	snprintf(expected, sizeof(expected), "process %d has it locked",
		 (int)pid);
	assert_string_equal(who, expected);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(backing_lock(fd, 0, who, sizeof(who)), 0);
	close(ready[0]);
	close(ready[1]);
	close(fd);
}

/* ---- is it one of our own? ---- */

static uint32_t asked_for;

static int is_own(void *context, uint32_t id)
{
	asked_for = id;
	return context != NULL;
}

static void expect_own(dev_t device, int64_t id)
{
	backing.device = device;
	asked_for = 0;
	assert_int_equal(backing_find_own(&backing, is_own, &backing), id);
	assert_int_equal(asked_for, id < 0 ? 0 : id);
	/* It is another ublkd's. */
	assert_int_equal(backing_find_own(&backing, is_own, NULL), -1);
}

/* A disk, a partition, what lies on either; and what only has such a name. */
TEST_CASE(test_find_own)
{
	has_sys = 1;
	test_file("sys/dev/block/none", "");
	test_file("sys/devices/block/dm-0/slaves/sda", "");
	test_file("sys/devices/block/dm-1/slaves/ublkb71p2", "");
	test_file("sys/class/block/ublkb71p2/dev", "259:2\n");
	link_disk("259:1", "ublkb71");
	link_disk("259:2", "ublkb71/ublkb71p2");
	link_disk("8:0", "sda");
	link_disk("8:1", "ublkbx");
	link_disk("253:0", "dm-0");
	link_disk("253:1", "dm-1");
	expect_own(makedev(259, 1), 71);
	expect_own(makedev(259, 2), 71);
	expect_own(makedev(253, 1), 71);
	expect_own(makedev(253, 0), -1);
	expect_own(makedev(8, 0), -1);
	expect_own(makedev(8, 1), -1);
	expect_own(makedev(8, 2), -1);
	has_sys = 0;
}

int main(void)
{
	return tests_run();
}
