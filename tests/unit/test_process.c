/*
 * Safe under memory pressure: what is denied is left out, and told. The calls
 * are faked: a test must not protect itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/process.h"
#include "support.h"

#define MOUNTS_FD 99

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

static struct {
	int lock_error, map_error;
	int locked; /* flags */
	rlim_t limit;
	size_t mapped, unmapped;
	int mounts_opened;
	int score_fd; /* takes what is written to oom_score_adj; 0: denied */
} fake;

int LARGE(__wrap_open)(const char *path, int flags, ...)
{
	if (strcmp(path, "/proc/self/ns/mnt") == 0) {
		fake.mounts_opened++;
		return MOUNTS_FD;
	}
	assert_string_equal(path, "/proc/self/oom_score_adj");
	errno = EACCES;
	return fake.score_fd ? fake.score_fd : -1;
}

int __wrap_prctl(int option, ...)
{
	return option == 58; /* PR_GET_IO_FLUSHER */
}

int __wrap_mlockall(int flags)
{
	errno = fake.lock_error;
	if (fake.lock_error)
		return -1;
	fake.locked = flags;
	return 0;
}

int __wrap_munlockall(void)
{
	fake.locked = 0;
	return 0;
}

int LARGE(__wrap_getrlimit)(int resource, struct rlimit *limit)
{
	assert_int_equal(resource, RLIMIT_MEMLOCK);
	limit->rlim_cur = limit->rlim_max = fake.limit;
	return 0;
}

void *LARGE(__wrap_mmap)(void *address, size_t length, int protection,
			 int flags, int fd, off_t offset)
{
	assert_int_equal(protection, PROT_NONE);
	assert_true(flags & MAP_NORESERVE);
	/* The kernel looks at the limit only of what is to be locked. */
	assert_true(fake.locked);
	fake.mapped = length;
	errno = fake.map_error;
	return fake.map_error ? MAP_FAILED : &fake;
}

int __wrap_munmap(void *address, size_t length)
{
	assert_ptr_equal(address, &fake);
	fake.unmapped = length;
	return 0;
}

int before_each(void **state)
{
	memset(&fake, 0, sizeof(fake));
	fake.limit = 8 << 20;
	log_forget();
	return 0;
}

/* Opened at the start, once: this test is the first one. */
TEST_CASE(test_mounts)
{
	process_protect(LOG_LEVEL_WARNING);
	assert_int_equal(process_mounts(), MOUNTS_FD);
	assert_int_equal(fake.mounts_opened, 1);
}

TEST_CASE(test_locked)
{
	process_protect(LOG_LEVEL_WARNING);
	assert_int_equal(fake.locked, MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	assert_int_equal(fake.mapped, (8 << 20) + PAGE);
	assert_int_equal(fake.unmapped, fake.mapped);
	assert_false(log_has("lock memory"));
	assert_true(log_has("oom_score_adj to -1000: Permission denied"));
}

/* Nothing is: what is mapped later could not be. */
TEST_CASE(test_limited)
{
	fake.map_error = EAGAIN;
	process_protect(LOG_LEVEL_WARNING);
	assert_int_equal(fake.locked, 0);
	assert_int_equal(fake.unmapped, 0);
	assert_int_equal(log_count("cannot lock memory: RLIMIT_MEMLOCK"), 1);
}

/* Helpers are killed like any other process when memory runs out. */
TEST_CASE(test_oom_scores)
{
	char score[8];
	int ends[2], i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
		fake.score_fd = ends[1];
		if (i == 0)
			process_protect(LOG_LEVEL_WARNING);
		else
			process_be_ordinary();
		memset(score, 0, sizeof(score));
		assert_true(read(ends[0], score, sizeof(score) - 1) > 0);
		assert_string_equal(score, i == 0 ? "-1000" : "0");
		/* The other end is closed. */
		assert_int_equal(read(ends[0], score, sizeof(score)), 0);
		close(ends[0]);
	}
	assert_false(log_has("oom_score_adj"));
}

/* There is no room for such a mapping, so none can be in the way. */
TEST_CASE(test_no_room)
{
	fake.map_error = ENOMEM;
	process_protect(LOG_LEVEL_WARNING);
	assert_true(fake.locked);
	assert_false(log_has("lock memory"));
}

TEST_CASE(test_unlimited)
{
	fake.limit = RLIM_INFINITY;
	process_protect(LOG_LEVEL_WARNING);
	assert_true(fake.locked);
	assert_int_equal(fake.mapped, 0);
}

TEST_CASE(test_denied)
{
	fake.lock_error = EPERM;
	process_protect(LOG_LEVEL_WARNING);
	assert_int_equal(fake.mapped, 0);
	assert_int_equal(log_count("cannot lock memory"), 1);
}

/* What is in use behind it does not keep the pages of what is freed. */
TEST_CASE(test_freed_memory)
{
	volatile char *bytes, *behind;
	unsigned char here;
	uintptr_t page;

	process_protect(LOG_LEVEL_WARNING);
	bytes = malloc(2 * PAGE);
	behind = malloc(PAGE / 2);
	assert_true(bytes && behind);
	page = ((uintptr_t)bytes + PAGE) & ~(PAGE - 1);
	*(volatile char *)page = *behind = 1;
	assert_int_equal(mincore((void *)page, 1, &here), 0);
	free((void *)bytes);
	assert_int_equal(mincore((void *)page, 1, &here), -1);
	assert_int_equal(errno, ENOMEM);
	free((void *)behind);
}

int main(void)
{
#ifdef __SANITIZE_ADDRESS__
	return 77; /* such a build locks nothing */
#endif
	return tests_run();
}
