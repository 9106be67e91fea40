/* What a target holds: which file it is, and whether it is the same again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compat.h"
#include "keeper/held.h"
#include "support.h"

/* ---- the kernel's answers, as the test wants them ---- */

static struct {
	int is_disk;	  /* statx: every file is one */
	int has_no_birth; /* statx */
	int moves_birth;  /* statx: all are born later */
	int has_no_flags; /* statx: no flags of inodes */
	int flags;	  /* of the last statx */
	uint32_t generation;
	uint64_t disk_number;
	unsigned asked; /* ioctls */
} fake;

int __real_statx(int folder, const char *path, int flags, unsigned mask,
		 struct statx *status);
int __wrap_statx(int folder, const char *path, int flags, unsigned mask,
		 struct statx *status);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_statx(int folder, const char *path, int flags, unsigned mask,
		 struct statx *status)
{
	int result = __real_statx(folder, path, flags, mask, status);

	fake.flags = flags;
	if (fake.is_disk)
		status->stx_mode = S_IFBLK | 0600;
	status->stx_mask |= STATX_BTIME;
	status->stx_btime.tv_sec = 1700000000 + fake.moves_birth;
	status->stx_btime.tv_nsec = 5;
	if (fake.has_no_birth)
		status->stx_mask &= ~STATX_BTIME;
	status->stx_attributes_mask |= STATX_ATTR_NODUMP;
	if (fake.has_no_flags)
		status->stx_attributes_mask &= ~(uint64_t)STATX_ATTR_NODUMP;
	return result;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *answer;

	(void)fd;
	va_start(args, request);
	answer = va_arg(args, void *);
	va_end(args);
	fake.asked++;
	errno = ENOTTY;
	if (request == FS_IOC_GETVERSION && fake.generation) {
		memcpy(answer, &fake.generation, sizeof(fake.generation));
		return 0;
	}
	if (request == _IOR(0x12, 128, uint64_t) && fake.disk_number) {
		memcpy(answer, &fake.disk_number, sizeof(fake.disk_number));
		return 0;
	}
	return -1;
}

static int start(void **state)
{
	memset(&fake, 0, sizeof(fake));
	log_forget();
	return 0;
}

static int stop(void **state)
{
	test_folder_remove();
	return 0;
}

/* The record of a file of that name, which is closed again. */
static struct held_file record(const char *name)
{
	struct held_file file;
	int fd;

	test_file(name, "12345");
	fd = open(test_path(name), O_RDWR | O_CLOEXEC);
	held_describe(&file, fd);
	assert_int_equal(file.fd, fd);
	assert_string_equal(file.path, test_path(name));
	close(fd);
	file.fd = -1;
	return file;
}

static void expect_open(struct held_file *file)
{
	assert_int_equal(held_open(file), 0);
	assert_true(file->fd >= 0);
	assert_int_equal(lseek(file->fd, 0, SEEK_END), 5);
	assert_int_equal(close(file->fd), 0);
	file->fd = -1;
}

static void expect_other(struct held_file *file)
{
	unsigned fds = count_fds();

	assert_int_equal(held_open(file), -ESTALE);
	assert_false(held_is_there(file));
	held_remove(file);
	assert_int_equal(access(file->path, F_OK), 0);
	assert_int_equal(file->fd, -1);
	assert_int_equal(count_fds(), fds);
}

/* ---- which file it is ---- */

static void test_memfd(void **state)
{
	struct held_file file;
	int fd = memfd_create("x", MFD_CLOEXEC);

	assert_true(fd >= 0);
	held_describe(&file, fd);
	assert_string_equal(file.path, "");
	assert_int_equal(held_open(&file), -ENOENT);
	assert_false(held_is_there(&file));
	assert_int_equal(held_link(&file), 0);
	held_remove(&file);
	assert_int_equal(log_count("cannot"), 0);
	close(fd);
}

/* A file server that is dead is not to be asked. */
static void test_not_synchronous(void **state)
{
	record("data");
	assert_int_equal(fake.flags & AT_STATX_DONT_SYNC, AT_STATX_DONT_SYNC);
	assert_int_equal(fake.asked, 1);
	fake.has_no_flags = 1;
	record("data");
	assert_int_equal(fake.asked, 1);
}

static void test_again(void **state)
{
	struct held_file file = record("data");
	int fd;

	expect_open(&file);
	assert_true(held_is_there(&file));
	/* Another one in its place; ours is open, so its inode is taken. */
	fd = open(file.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(unlink(file.path), 0);
	assert_int_equal(held_open(&file), -ENOENT);
	assert_false(held_is_there(&file));
	test_file("data", "12345");
	expect_other(&file);
	assert_int_equal(unlink(file.path), 0);
	assert_int_equal(symlink("/dev/zero", file.path), 0);
	assert_int_equal(held_open(&file), -ELOOP);
	held_remove(&file);
	assert_int_equal(unlink(file.path), 0);
	close(fd);
}

/* Made anew under the same number. */
static void test_birth(void **state)
{
	struct held_file file = record("data");

	assert_true(file.born == 1700000000000000005ULL);
	fake.moves_birth = 1;
	expect_other(&file);
	/* Who does not say is believed. */
	fake.has_no_birth = 1;
	expect_open(&file);
	file = record("data");
	assert_true(file.born == 0);
	fake.has_no_birth = 0;
	expect_open(&file);
	assert_true(file.born != 0);
}

static void test_generation(void **state)
{
	struct held_file file;

	fake.has_no_birth = 1;
	fake.generation = 7;
	file = record("data");
	assert_true(file.generation == 7);
	expect_open(&file);
	fake.generation = 8;
	assert_int_equal(held_open(&file), -ESTALE);
	fake.generation = 0;
	expect_open(&file);
}

/* Of a disk: its number, and no birth, because a node may be made anew. */
static void test_disk(void **state)
{
	struct held_file file;

	fake.is_disk = 1;
	fake.disk_number = 7;
	file = record("data");
	assert_true(file.generation == 7);
	assert_true(file.born == 0);
	expect_open(&file);
	fake.disk_number = 8;
	assert_int_equal(held_open(&file), -ESTALE);
}

/* The descriptor of somebody else's open. */
static void test_take(void **state)
{
	struct held_file file = record("data"), before = file;
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);
	int other = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(held_take(&file, other), -ESTALE);
	assert_memory_equal(&file, &before, sizeof(file));
	close(other);
	assert_int_equal(held_take(&file, fd), 0);
	assert_int_equal(file.fd, fd);
	close(fd);
}

/* ---- files of ours ---- */

/* One gets its name later, and is known by it from the start. */
static void test_gets_a_name(void **state)
{
	struct held_file before, after;
	int fd = open(test_folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	held_describe(&before, fd);
	assert_non_null(strstr(before.path, "/ublkd-ram-"));
	assert_false(held_is_there(&before));
	assert_int_equal(held_link(&before), 0);
	assert_int_equal(held_link(&before), 0);
	assert_true(held_is_there(&before));
	held_describe(&after, fd);
	assert_string_equal(after.path, before.path);
	close(fd);
	assert_int_equal(held_open(&after), 0);
	close(after.fd);
	held_remove(&after);
	assert_int_equal(held_open(&after), -ENOENT);
}

/* One that somebody named so; only a file without a name gets one from us. */
static void test_odd_name(void **state)
{
	struct held_file file = record("#12");

	expect_open(&file);
	held_remove(&file);
	assert_int_equal(access(test_path("#12"), F_OK), -1);
}

static void test_removed(void **state)
{
	struct held_file file;
	int fd;

	test_file("data", "12345");
	fd = open(test_path("data"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(unlink(test_path("data")), 0);
	held_describe(&file, fd);
	assert_string_equal(file.path, "");
	close(fd);
}

/* All of them, or none. */
static void test_fds(void **state)
{
	struct held_file files[2] = { { .fd = 5 }, { .fd = 7 } };
	int fds[2];

	assert_int_equal(held_fds(files, 2, fds), 2);
	assert_int_equal(fds[0], 5);
	assert_int_equal(fds[1], 7);
	files[1].fd = -1;
	assert_int_equal(held_fds(files, 2, fds), 0);
	assert_int_equal(held_fds(files, 1, fds), 1);
	assert_int_equal(held_fds(NULL, 0, fds), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_memfd),      TEST(test_not_synchronous),
		TEST(test_again),      TEST(test_birth),
		TEST(test_generation), TEST(test_disk),
		TEST(test_take),       TEST(test_gets_a_name),
		TEST(test_odd_name),   TEST(test_removed),
		TEST(test_fds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
