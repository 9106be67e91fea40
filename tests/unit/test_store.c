/* The RAM store: holes, growth and its limits, and giving memory back. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "io/io.h"
#include "base/memory.h"
#include "target/store.h"
#include "support.h"

#define PAGE  ((uint64_t)STORE_PAGE)
#define PAGES 200
#define TAIL  1536	     /* bytes in the last page */
#define LAST  (PAGES * PAGE) /* where that begins */
#define SIZE  (LAST + TAIL)

/* ---- calls that fail when told to ---- */

static struct {
	int memfd, truncate, fallocate; /* the errno to fail with */
	int map;			/* the map that fails, from 1 */
	int maps;			/* that are there */
	unsigned punched;
	unsigned interrupts; /* of fallocate(), before it does it */
	int seek;	     /* the errno of lseek() */
	unsigned holes;	     /* how often one was looked for */
} fake;

int __real_memfd_create(const char *name, unsigned flags);
int LARGE(__real_ftruncate)(int fd, off_t length);
int LARGE(__real_fallocate)(int fd, int mode, off_t offset, off_t length);
void *LARGE(__real_mmap)(void *at, size_t length, int prot, int flags, int fd,
			 off_t offset);
int __real_munmap(void *at, size_t length);
off_t LARGE(__real_lseek)(int fd, off_t offset, int whence);

static int fails(int error)
{
	errno = error;
	return error ? -1 : 0;
}

off_t LARGE(__wrap_lseek)(int fd, off_t offset, int whence)
{
	fake.holes += whence == SEEK_HOLE;
	if (fails(fake.seek))
		return -1;
	return LARGE(__real_lseek)(fd, offset, whence);
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
	return fails(fake.memfd) ? -1 : __real_memfd_create(name, flags);
}

int LARGE(__wrap_ftruncate)(int fd, off_t length)
{
	return fails(fake.truncate) ? -1 : LARGE(__real_ftruncate)(fd, length);
}

int LARGE(__wrap_fallocate)(int fd, int mode, off_t offset, off_t length)
{
	fake.punched++;
	if (fake.interrupts) {
		fake.interrupts--;
		return fails(EINTR);
	}
	return fails(fake.fallocate)
		       ? -1
		       : LARGE(__real_fallocate)(fd, mode, offset, length);
}

void *LARGE(__wrap_mmap)(void *at, size_t length, int prot, int flags, int fd,
			 off_t offset)
{
	void *map = MAP_FAILED;

	errno = ENOMEM;
	if (!fake.map || --fake.map)
		map = LARGE(__real_mmap)(at, length, prot, flags, fd, offset);
	/* What takes the place of another one is not one more. */
	fake.maps += map != MAP_FAILED && !(flags & MAP_FIXED);
	return map;
}

int __wrap_munmap(void *at, size_t length)
{
	int result = __real_munmap(at, length);

	fake.maps -= result == 0;
	return result;
}

/* ---- a store, and a host with as much memory as the test says ---- */

static struct store store;
static unsigned fds;	   /* that were open before */
static uint64_t whole_max; /* what store_whole_max is but in a test */

static void set_available(uint64_t bytes)
{
	char text[64];

	snprintf(text, sizeof(text), "MemAvailable: %llu kB\n",
		 (unsigned long long)bytes / 1024);
	test_file("proc/meminfo", text);
	memory_set_root(test_folder());
}

int before_each(void **state)
{
	assert_int_equal(io_initialise(), 0);
	memset(&fake, 0, sizeof(fake));
	set_available(1ULL << 40);
	whole_max = store_whole_max;
	fds = count_fds();
	return store_open(&store, SIZE, UINT64_MAX, 0);
}

int after_each(void **state)
{
	store_close(&store);
	store_whole_max = whole_max;
	test_folder_remove();
	assert_int_equal(count_fds(), fds);
	return fake.maps;
}

/* Bytes of memory that the store has taken from the kernel. */
static uint64_t taken(void)
{
	struct stat status;

	assert_int_equal(fstat(store.fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

static void write_bytes(uint64_t offset, uint64_t length, int byte)
{
	assert_int_equal(store_grow(&store, offset, length, 0), 0);
	memset(store.bytes + offset, byte, length);
}

static void expect_run(uint64_t offset, uint64_t length, int there,
		       uint64_t run)
{
	int is_there = -1;

	assert_int_equal(store_run(&store, offset, length, &is_there), run);
	assert_int_equal(is_there, there);
}

/* What a reader gets, holes from nowhere. */
static void read_bytes(uint8_t *to, uint64_t offset, uint64_t length)
{
	while (length) {
		int is_there;
		uint64_t run = store_run(&store, offset, length, &is_there);

		assert_true(run > 0 && run <= length);
		if (is_there)
			memcpy(to, store.bytes + offset, run);
		else
			memset(to, 0, run);
		to += run;
		offset += run;
		length -= run;
	}
}

static void expect_bytes(uint64_t offset, uint64_t length, int byte)
{
	static uint8_t bytes[SIZE];
	uint64_t i;

	read_bytes(bytes, offset, length);
	for (i = 0; i < length; i++)
		if (bytes[i] != byte)
			fail_msg("byte %llu is %d, not %d",
				 (unsigned long long)(offset + i), bytes[i],
				 byte);
}

TEST_CASE(test_empty)
{
	assert_int_equal(store.used, 0);
	assert_int_equal(store.size, SIZE);
	expect_run(0, SIZE, 0, SIZE);
	expect_run(SIZE - 1, 1, 0, 1);
	expect_run(5, 1, 0, 1);
	expect_bytes(0, SIZE, 0);
	assert_int_equal(taken(), 0);
}

/* A store that is too large to be mapped whole, as many are on 32 bits. */
TEST_CASE(test_window)
{
	const uint64_t edge = 2ULL * STORE_WINDOW, size = edge + SIZE;
	struct store large;
	uint64_t length = 9;
	uint8_t byte;
	uint8_t *at;

	store_whole_max = size - 1;
	assert_int_equal(store_open(&large, size, UINT64_MAX, 0), 0);
	assert_false(store_is_whole(&large));
	assert_int_equal(store_grow(&large, edge - PAGE, SIZE + PAGE, 1), 0);
	/* To the edge of the window, and no further. */
	at = store_at(&large, edge - 4, &length);
	assert_int_equal(length, 4);
	memset(at, 1, 4);
	length = 9;
	at = store_at(&large, edge, &length);
	assert_int_equal(length, 9);
	memset(at, 2, 9);
	at = store_at(&large, size - 1, &length);
	*at = 3;
	/* It is the file's bytes that have changed. */
	assert_int_equal(pread(large.fd, &byte, 1, (off_t)edge - 1), 1);
	assert_int_equal(byte, 1);
	assert_int_equal(pread(large.fd, &byte, 1, (off_t)edge + 8), 1);
	assert_int_equal(byte, 2);
	assert_int_equal(pread(large.fd, &byte, 1, (off_t)size - 1), 1);
	assert_int_equal(byte, 3);
	/* A window that cannot be had leaves the old one. */
	fake.map = 1;
	assert_null(store_at(&large, 0, &length));
	length = 1;
	assert_int_equal(*store_at(&large, edge, &length), 2);
	store_close(&large);
	store_whole_max = size;
	assert_int_equal(store_open(&large, size, UINT64_MAX, 0), 0);
	assert_true(store_is_whole(&large));
	store_close(&large);
}

/* Pages that are to be there are, and what there was stays. */
TEST_CASE(test_grow_allocates)
{
	struct stat status;

	assert_int_equal(store_grow(&store, 4 * PAGE, PAGE, 1), 0);
	store.bytes[4 * PAGE] = 7;
	assert_int_equal(store_grow(&store, 3 * PAGE + 1, 4 * PAGE, 1), 0);
	assert_int_equal(fstat(store.fd, &status), 0);
	assert_int_equal(status.st_blocks * 512, 5 * PAGE);
	assert_int_equal(store.used, 5 * PAGE);
	assert_int_equal(store.bytes[4 * PAGE], 7);
	/* Its last page, which is no whole one: it does not become longer. */
	assert_int_equal(store_grow(&store, SIZE - 1, 1, 1), 0);
	assert_int_equal(fstat(store.fd, &status), 0);
	assert_int_equal(status.st_size, SIZE);
	/* A failure changes nothing. */
	fake.fallocate = ENOMEM;
	assert_int_equal(store_grow(&store, 9 * PAGE, PAGE, 1), -ENOMEM);
	assert_int_equal(store.used, 6 * PAGE);
	expect_run(9 * PAGE, PAGE, 0, PAGE);
	/* What is there needs nothing more. */
	assert_int_equal(store_grow(&store, 4 * PAGE, PAGE, 1), 0);
}

/* Nobody can make it shorter under a mapping. */
TEST_CASE(test_seal)
{
	assert_true(fcntl(store.fd, F_GET_SEALS) & F_SEAL_SHRINK);
	assert_true(fcntl(store.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(ftruncate(store.fd, 0), -1);
}

TEST_CASE(test_grow)
{
	assert_int_equal(store_grow(&store, 4 * PAGE, 1, 0), 0);
	assert_int_equal(store.used, PAGE);
	expect_run(0, SIZE, 0, 4 * PAGE);
	expect_run(4 * PAGE, SIZE - 4 * PAGE, 1, PAGE);
	expect_run(4 * PAGE + 100, 50, 1, 50);
	expect_run(5 * PAGE, PAGE, 0, PAGE);
	/* Two bytes on both sides of an edge are two pages. */
	assert_int_equal(store_grow(&store, 8 * PAGE - 1, 2, 0), 0);
	assert_int_equal(store.used, 3 * PAGE);
	expect_run(7 * PAGE, 8 * PAGE, 1, 2 * PAGE);
	/* Only what is missing counts. */
	assert_int_equal(store_grow(&store, 4 * PAGE, 5 * PAGE, 0), 0);
	assert_int_equal(store.used, 5 * PAGE);
	assert_int_equal(store_grow(&store, 4 * PAGE, 5 * PAGE, 0), 0);
	assert_int_equal(store.used, 5 * PAGE);
	/* To be there is not yet to take memory. */
	assert_int_equal(taken(), 0);
}

/* Runs that begin, end and go on at every bit of the words of the bitmap. */
TEST_CASE(test_runs)
{
	uint64_t first, end;

	for (first = 0; first < 130; first += 3) {
		for (end = first + 1; end < 195; end += 7) {
			assert_int_equal(store_grow(&store, first * PAGE,
						    (end - first) * PAGE, 0),
					 0);
			if (first)
				expect_run(0, SIZE, 0, first * PAGE);
			expect_run(first * PAGE + 1, SIZE - first * PAGE - 1, 1,
				   (end - first) * PAGE - 1);
			expect_run(end * PAGE, SIZE - end * PAGE, 0,
				   SIZE - end * PAGE);
			assert_int_equal(store.used, (end - first) * PAGE);
			assert_int_equal(store_clear(&store, 0, SIZE), 0);
			assert_int_equal(store.used, 0);
		}
	}
}

TEST_CASE(test_write_takes_memory)
{
	write_bytes(10 * PAGE + 5, 20, 7);
	assert_int_equal(taken(), PAGE);
	expect_bytes(10 * PAGE + 5, 20, 7);
	expect_bytes(10 * PAGE, 5, 0);
	/* Reading everything takes no more. */
	expect_run(0, SIZE, 0, 10 * PAGE);
	read_bytes((uint8_t[20]){ 0 }, 50 * PAGE, 20);
	assert_int_equal(taken(), PAGE);
}

TEST_CASE(test_limit)
{
	store.limit = 0;
	assert_int_equal(store_grow(&store, 0, 1, 0), -ENOSPC);
	store.limit = PAGE - 1;
	assert_int_equal(store_grow(&store, 0, 1, 0), -ENOSPC);
	store.limit = 3 * PAGE;
	assert_int_equal(store_grow(&store, 0, 2 * PAGE, 0), 0);
	assert_int_equal(store_grow(&store, PAGE, 3 * PAGE, 0), -ENOSPC);
	assert_int_equal(store.used, 2 * PAGE);
	expect_run(2 * PAGE, 2 * PAGE, 0, 2 * PAGE);
	assert_int_equal(store_grow(&store, PAGE, 2 * PAGE, 0), 0);
	assert_int_equal(store.used, 3 * PAGE);
	assert_int_equal(store_grow(&store, 3 * PAGE, 1, 0), -ENOSPC);
	/* What is there can be written again, at any time. */
	assert_int_equal(store_grow(&store, 0, 3 * PAGE, 0), 0);
	/* And what is given back can be taken elsewhere. */
	assert_int_equal(store_clear(&store, PAGE, PAGE), 0);
	assert_int_equal(store_grow(&store, 9 * PAGE, 1, 0), 0);
	assert_int_equal(store_grow(&store, 10 * PAGE, 1, 0), -ENOSPC);
}

TEST_CASE(test_host_is_short)
{
	write_bytes(0, PAGE, 1);
	set_available(0);
	assert_int_equal(store_grow(&store, PAGE, PAGE, 0), -ENOMEM);
	assert_int_equal(store_grow(&store, 0, 2 * PAGE, 0), -ENOMEM);
	assert_int_equal(store.used, PAGE);
	expect_run(PAGE, PAGE, 0, PAGE);
	/* The disk goes on with what it has. */
	store.reserve = 72 << 20;
	write_bytes(0, PAGE, 2);
	expect_bytes(0, PAGE, 2);
	set_available((72 << 20) + PAGE - 1024);
	assert_int_equal(store_grow(&store, PAGE, PAGE, 0), -ENOMEM);
	set_available((72 << 20) + PAGE);
	assert_int_equal(store_grow(&store, PAGE, PAGE, 0), 0);
	assert_int_equal(store.used, 2 * PAGE);
}

/* What it could hold: by its size, its limit, and memory. */
TEST_CASE(test_room)
{
	assert_int_equal(store_room(&store), SIZE);
	write_bytes(0, 3 * PAGE, 1);
	store.limit = 10 * PAGE;
	assert_int_equal(store_room(&store), 10 * PAGE);
	store.limit = 2 * PAGE; /* less than it holds */
	assert_int_equal(store_room(&store), 2 * PAGE);
	store.limit = UINT64_MAX;
	store.reserve = 1 << 20;
	set_available((1 << 20) + 5 * PAGE);
	assert_int_equal(store_room(&store), 8 * PAGE);
	set_available(0);
	assert_int_equal(store_room(&store), 3 * PAGE);
}

/* Whole pages are given back; of others only the bytes become zero. */
TEST_CASE(test_clear)
{
	static const struct clearing {
		const char *name;
		uint64_t first, length; /* of what was written */
		uint64_t offset, count; /* of what is cleared */
		uint64_t pages;		/* that are left */
	} cases[] = {
		{ "whole pages", 0, 10 * PAGE, 2 * PAGE, 3 * PAGE, 7 },
		{ "and parts of both neighbours", 0, 4 * PAGE, PAGE - 512,
		  2 * PAGE + 1024, 2 },
		{ "within a page", 0, 4 * PAGE, 512, 1024, 4 },
		{ "over an edge", 0, 4 * PAGE, 2 * PAGE - 512, 1024, 4 },
		{ "the last page", LAST, TAIL, LAST, TAIL, 0 },
		{ "its end", LAST, TAIL, SIZE - 512, 512, 1 },
		{ "its beginning", LAST, TAIL, LAST, 512, 1 },
		{ "the last page and a part of the one before", LAST - PAGE,
		  PAGE + TAIL, LAST - 512, TAIL + 512, 1 },
	};
	const struct clearing *at;

	for (at = cases; at < cases + COUNT(cases); at++) {
		uint64_t end = at->offset + at->count;

		about(at->name);
		write_bytes(at->first, at->length, 1);
		assert_int_equal(store_clear(&store, at->offset, at->count), 0);
		assert_int_equal(store.used, at->pages * PAGE);
		assert_int_equal(taken(), at->pages * PAGE);
		expect_bytes(at->first, at->offset - at->first, 1);
		expect_bytes(at->offset, at->count, 0);
		expect_bytes(end, at->first + at->length - end, 1);
		assert_int_equal(store_clear(&store, 0, SIZE), 0);
	}
}

TEST_CASE(test_clear_a_hole)
{
	write_bytes(0, 10 * PAGE, 1);
	assert_int_equal(store_clear(&store, 2 * PAGE, 3 * PAGE), 0);
	expect_run(2 * PAGE, 8 * PAGE, 0, 3 * PAGE);
	/* It is no work. */
	fake.punched = 0;
	assert_int_equal(store_clear(&store, 2 * PAGE, 3 * PAGE), 0);
	assert_int_equal(fake.punched, 0);
	assert_int_equal(store.used, 7 * PAGE);
}

/* At the end memory goes in pieces, wherever it lies. */
TEST_CASE(test_release)
{
	write_bytes(3 * PAGE, 10 * PAGE, 1);
	write_bytes(100 * PAGE, PAGE, 1);
	write_bytes(LAST, TAIL, 1);
	assert_int_equal(store_release(&store, 4 * PAGE), 1);
	assert_int_equal(taken(), 8 * PAGE);
	assert_int_equal(store_release(&store, 4 * PAGE), 1);
	assert_int_equal(store_release(&store, 4 * PAGE), 1);
	assert_int_equal(taken(), 2 * PAGE);
	/* The next piece begins where something is. */
	assert_int_equal(store_release(&store, 4 * PAGE), 1);
	assert_int_equal(taken(), PAGE);
	assert_int_equal(store_release(&store, 4 * PAGE), 0);
	assert_int_equal(taken(), 0);
	assert_int_equal(store.used, 0);
	assert_int_equal(store_release(&store, 4 * PAGE), 0);
}

TEST_CASE(test_release_fails)
{
	write_bytes(0, 10 * PAGE, 1);
	fake.fallocate = EIO;
	assert_int_equal(store_release(&store, PAGE), 0);
}

/* A limit of the process cuts a write short: that is no success. */
TEST_CASE(test_zero_cut_short)
{
	struct rlimit old, low;
	int error;

	write_bytes(0, 4 * PAGE, 1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 2 * PAGE;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	error = store_zero(&store, 0, 4 * PAGE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(error, -EFBIG);
	expect_bytes(0, 2 * PAGE, 0);
	expect_bytes(2 * PAGE, 2 * PAGE, 1);
}

/* ---- another process' store ---- */

/* What is there is looked at when the other one writes no more. */
TEST_CASE(test_adopt)
{
	struct store other;
	int is_there;

	write_bytes(2 * PAGE, 3 * PAGE, 1);
	assert_int_equal(store_adopt(&other, dup(store.fd), SIZE, 6 * PAGE, 0),
			 0);
	write_bytes(150 * PAGE, PAGE, 2);
	write_bytes(LAST, TAIL, 3);
	assert_int_equal(store_clear(&store, 2 * PAGE, PAGE), 0);
	assert_int_equal(store_resume(&other), 0);
	assert_int_equal(other.used, 4 * PAGE);
	/* A take-over that failed later is tried again. */
	assert_int_equal(store_resume(&other), 0);
	assert_int_equal(other.size, SIZE);
	assert_int_equal(other.used, 4 * PAGE);
	assert_int_equal(store_run(&other, 0, SIZE, &is_there), 3 * PAGE);
	assert_int_equal(is_there, 0);
	assert_int_equal(store_run(&other, 3 * PAGE, SIZE, &is_there),
			 2 * PAGE);
	assert_int_equal(is_there, 1);
	assert_int_equal(other.bytes[150 * PAGE], 2);
	assert_int_equal(other.bytes[SIZE - 1], 3);
	assert_int_equal(store_grow(&other, 0, 2 * PAGE, 0), 0);
	assert_int_equal(store_grow(&other, 10 * PAGE, PAGE, 0), -ENOSPC);
	store_close(&other);
}

TEST_CASE(test_adopt_fails)
{
	struct store other;

	fake.map = 2;
	assert_int_equal(store_adopt(&other, store.fd, SIZE, UINT64_MAX, 0),
			 -ENOMEM);
	assert_int_equal(store_adopt(&other, -1, SIZE, UINT64_MAX, 0), -EBADF);
	assert_int_equal(store_adopt(&other, store.fd, SIZE + 1, 0, 0),
			 -ESTALE);
	/* Not taken: still ours. */
	assert_true(fcntl(store.fd, F_GETFD) >= 0);
	fake.seek = EIO;
	assert_int_equal(store_resume(&store), -EIO);
}

/* A write that failed half way: what it did not reach is a hole again. */
TEST_CASE(test_half_a_write)
{
	write_bytes(0, 2 * PAGE, 1);
	assert_int_equal(store_grow(&store, PAGE, 10 * PAGE, 0), 0);
	memset(store.bytes + PAGE, 2, 3 * PAGE);
	store_review(&store, PAGE + 5, 10 * PAGE - 5);
	assert_int_equal(store.used, 4 * PAGE);
	expect_run(0, SIZE, 1, 4 * PAGE);
	expect_run(4 * PAGE, SIZE - 4 * PAGE, 0, SIZE - 4 * PAGE);
	/* The kernel would look through all of the file for one. */
	assert_int_equal(fake.holes, 0);
}

/* ---- in a file ---- */

TEST_CASE(test_file_store)
{
	struct stat status;
	struct store kept;

	if (!host_has_shm())
		skip_without("files in " HOST_SHM);
	assert_int_equal(store_open_in(&kept, HOST_SHM, 1, SIZE, UINT64_MAX, 0),
			 0);
	assert_int_equal(fstat(kept.fd, &status), 0);
	assert_int_equal(status.st_size, SIZE);
	assert_int_equal(status.st_mode & 07777, 0600);
	/* Nobody finds it before it is noted. */
	assert_int_equal(status.st_nlink, 0);
	assert_int_equal(store_grow(&kept, 0, 3 * PAGE, 0), 0);
	memset(kept.bytes, 1, 3 * PAGE);
	assert_int_equal(store_clear(&kept, 100, 2 * PAGE), 0);
	assert_int_equal(kept.used, 2 * PAGE);
	assert_int_equal(kept.bytes[99], 1);
	assert_int_equal(kept.bytes[100], 0);
	assert_int_equal(kept.bytes[2 * PAGE + 99], 0);
	assert_int_equal(kept.bytes[2 * PAGE + 100], 1);
	/* Somebody cuts it short: an errno, not a signal. */
	assert_int_equal(ftruncate(kept.fd, PAGE), 0);
	assert_int_equal(store_clear(&kept, 2 * PAGE + 5, 10), 0);
	store_close(&kept);
}

static void check_no_file(const char *folder, uint64_t size, int error)
{
	unsigned before = count_fds();
	struct store kept;

	assert_int_equal(store_open_in(&kept, folder, 0, size, UINT64_MAX, 0),
			 error);
	assert_int_equal(count_fds(), before);
}

TEST_CASE(test_no_file)
{
	struct statfs status;

	check_no_file("/nowhere", SIZE, -ENOENT);
	check_no_file("/dev/null", SIZE, -ENOTDIR);
	if (statfs(test_folder(), &status) == 0 && status.f_type != TMPFS_MAGIC)
		check_no_file(test_folder(), SIZE, -EOPNOTSUPP);
	if (!host_has_shm())
		skip_without("files in " HOST_SHM);
	assert_int_equal(statfs(HOST_SHM, &status), 0);
	if (status.f_blocks)
		check_no_file(HOST_SHM, 1ULL << 60, -ENOSPC);
	fake.truncate = EFBIG;
	check_no_file(HOST_SHM, SIZE, -EFBIG);
	fake.truncate = 0;
	fake.map = 1;
	check_no_file(HOST_SHM, SIZE, -ENOMEM);
}

/* ---- the rest ---- */

TEST_CASE(test_interrupted_allocation)
{
	fake.interrupts = 2;
	assert_int_equal(store_grow(&store, 0, 2 * PAGE, 1), 0);
	assert_int_equal(taken(), 2 * PAGE);
}

/* What lies before its beginning counts as well when it grows. */
TEST_CASE(test_shared_grows_behind_its_base)
{
	int fd = memfd_create("shared", MFD_CLOEXEC);
	uint64_t length = PAGE, end = 10 * PAGE;
	struct store shared;

	assert_int_equal(ftruncate(fd, (off_t)end), 0);
	assert_int_equal(
		store_open_shared(&shared, fd, 0, 4 * PAGE, 4 * PAGE, PAGE), 0);
	assert_int_equal(store_resize_shared(&shared, 6 * PAGE), 0);
	assert_int_equal(shared.mapped, end);
	assert_int_equal(shared.extent, end);
	/* The host keeps its reserve, which is an eighth of all. */
	test_file("proc/meminfo",
		  "MemTotal: 65536 kB\nMemAvailable: 8195 kB\n");
	assert_int_equal(store_grow(&shared, 0, PAGE, 0), -ENOMEM);
	/* A hole may be one no more: clearing asks the file, not the bits. */
	assert_int_equal(pwrite(fd, "x", 1, (off_t)(9 * PAGE)), 1);
	assert_int_equal(store_clear(&shared, 5 * PAGE, PAGE), 0);
	assert_int_equal(*store_at(&shared, 5 * PAGE, &length), 0);
	store_close(&shared);
	close(fd);
}

TEST_CASE(test_fallocate_fails)
{
	write_bytes(0, 4 * PAGE, 1);
	fake.fallocate = EIO;
	assert_int_equal(store_clear(&store, PAGE, 2 * PAGE), -EIO);
	/* Still there, and still counted. */
	assert_int_equal(store.used, 4 * PAGE);
	expect_run(0, 4 * PAGE, 1, 4 * PAGE);
	fake.fallocate = 0;
	assert_int_equal(store_clear(&store, PAGE, 2 * PAGE), 0);
	assert_int_equal(store.used, 2 * PAGE);
}

/* Every step of opening can fail; after_each() sees what is left. */
TEST_CASE(test_open_fails)
{
	static const struct {
		const char *name;
		int memfd, truncate, map;
		uint64_t size;
		int error;
	} cases[] = {
		{ "no descriptor", EMFILE, 0, 0, SIZE, -EMFILE },
		{ "no such size", 0, EFBIG, 0, SIZE, -EFBIG },
		{ "no map of the data", 0, 0, 1, SIZE, -ENOMEM },
		{ "no map of the pages", 0, 0, 2, SIZE, -ENOMEM },
		{ "too large", 0, 0, 0, 1ULL << 62, -ENOMEM },
		{ "none of these", 0, 0, 0, PAGE, 0 },
	};
	struct store other;
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		about(cases[i].name);
		fake.memfd = cases[i].memfd;
		fake.truncate = cases[i].truncate;
		fake.map = cases[i].map;
		assert_int_equal(store_open(&other, cases[i].size, 0, 0),
				 cases[i].error);
		assert_true(!cases[i].error || other.fd < 0);
		store_close(&other);
		store_close(&other);
	}
}

/* ---- another size ---- */

static uint64_t file_length(void)
{
	struct stat status;

	assert_int_equal(fstat(store.fd, &status), 0);
	return (uint64_t)status.st_size;
}

/* Give back all there is behind the end; returns in how many pieces. */
static int trim(uint64_t piece)
{
	int pieces = 0, result;

	while ((result = store_trim(&store, piece)) > 0)
		pieces++;
	assert_int_equal(result, 0);
	return pieces;
}

TEST_CASE(test_resize_grows)
{
	write_bytes(LAST, TAIL, 1);
	write_bytes(0, PAGE, 2);
	assert_int_equal(store_resize(&store, 8 * SIZE, 0), 0);
	assert_int_equal(store.size, 8 * SIZE);
	assert_int_equal(file_length(), 8 * SIZE);
	expect_bytes(LAST, TAIL, 1);
	expect_bytes(SIZE, PAGE, 0);
	expect_bytes(0, PAGE, 2);
	expect_run(SIZE + PAGE, 7 * SIZE - PAGE, 0, 7 * SIZE - PAGE);
	write_bytes(8 * SIZE - 512, 512, 3);
	expect_bytes(8 * SIZE - 512, 512, 3);
	assert_int_equal(store.used, 3 * PAGE);
}

/* Where a mapping cannot grow, what the driver was given stays good. */
TEST_CASE(test_resize_moves)
{
	uint8_t *old = store.bytes, *in_the_way;
	int maps = fake.maps;

	write_bytes(0, PAGE, 1);
	in_the_way = LARGE(__real_mmap)(old + (PAGES + 1) * PAGE, PAGE,
					PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
					-1, 0);
	assert_int_equal(store_resize(&store, 2 * SIZE, 0), 0);
	if (in_the_way == old + (PAGES + 1) * PAGE)
		assert_ptr_not_equal(store.bytes, old);
	old[0] = 7;
	assert_int_equal(store.bytes[0], 7);
	expect_bytes(1, PAGE - 1, 1);
	write_bytes(2 * SIZE - 512, 512, 2);
	__real_munmap(in_the_way, PAGE);
	assert_int_equal(store_resize(&store, 512 * SIZE, 0), 0);
	/* One old mapping is kept at most; after_each() counts them again. */
	assert_in_range(fake.maps, maps, maps + 1);
	expect_bytes(2 * SIZE - 512, 512, 2);
}

TEST_CASE(test_resize_shrinks)
{
	write_bytes(0, SIZE, 1);
	assert_int_equal(store_resize(&store, 10 * PAGE + 512, 0), 0);
	assert_int_equal(file_length(), SIZE);
	assert_int_equal(store.used, (PAGES + 1) * PAGE);
	/* In pieces, each with something in it. */
	assert_int_equal(trim(50 * PAGE), 4);
	assert_int_equal(store.used, 11 * PAGE);
	assert_int_equal(taken(), 11 * PAGE);
	expect_bytes(0, 10 * PAGE + 512, 1);
	assert_int_equal(trim(PAGE), 0);
	/* Grown again it has nothing of what was there. */
	assert_int_equal(store_resize(&store, SIZE, 0), 0);
	expect_bytes(10 * PAGE + 512, SIZE - 10 * PAGE - 512, 0);
	expect_bytes(0, 10 * PAGE + 512, 1);
	assert_int_equal(taken(), 11 * PAGE);
}

/* Within the last page: the file may end there as well. */
TEST_CASE(test_resize_in_a_page)
{
	write_bytes(LAST, TAIL, 1);
	assert_int_equal(store_resize(&store, SIZE - 512, 0), 0);
	assert_int_equal(trim(PAGE), 0);
	assert_int_equal(file_length(), SIZE);
	assert_int_equal(store_resize(&store, SIZE + 512, 0), 0);
	expect_bytes(LAST, TAIL - 512, 1);
	expect_bytes(SIZE - 512, 1024, 0);
}

TEST_CASE(test_resize_fails)
{
	write_bytes(0, PAGE, 1);
	fake.truncate = ENOMEM;
	assert_int_equal(store_resize(&store, 2 * SIZE, 0), -ENOMEM);
	assert_int_equal(store.size, SIZE);
	fake.truncate = 0;
	/* It is mapped whole, and cannot be any more. */
	store_whole_max = 4 * SIZE - 1;
	assert_int_equal(store_resize(&store, 4 * SIZE, 1), -ENOMEM);
	store_whole_max = whole_max;
	assert_int_equal(store.size, SIZE);
	/* Nothing of it may stay: the file cannot become shorter. */
	assert_int_equal(file_length(), SIZE);
	/* Shrinking needs none of it. */
	fake.truncate = EIO;
	fake.map = 1;
	assert_int_equal(store_resize(&store, PAGE, 0), 0);
	assert_int_equal(store_resize(&store, SIZE, 0), 0);
	fake.truncate = fake.map = 0;
	expect_bytes(0, PAGE, 1);
	assert_int_equal(store_resize(&store, 2 * SIZE, 0), 0);
	assert_int_equal(file_length(), 2 * SIZE);
	assert_int_equal(store_resize(&store, 3 * SIZE, 0), 0);
	write_bytes(3 * SIZE - 512, 512, 1);
}

TEST_CASE(test_trim_fails)
{
	write_bytes(0, SIZE, 1);
	assert_int_equal(store_resize(&store, PAGE, 0), 0);
	fake.fallocate = EIO;
	assert_int_equal(store_trim(&store, PAGE), -EIO);
	fake.fallocate = 0;
	assert_int_equal(trim(PAGES * PAGE), 1);
	assert_int_equal(store.used, PAGE);
}

/* The next server's store is as large as it is told, whatever the file is. */
TEST_CASE(test_adopt_a_shrunk_one)
{
	struct store other;

	write_bytes(0, SIZE, 1);
	assert_int_equal(store_resize(&store, 5 * PAGE, 0), 0);
	assert_int_equal(
		store_adopt(&other, dup(store.fd), 5 * PAGE, UINT64_MAX, 0), 0);
	assert_int_equal(store_resume(&other), 0);
	assert_int_equal(other.size, 5 * PAGE);
	/* What was not given back yet is there to be. */
	assert_int_equal(other.used, (PAGES + 1) * PAGE);
	while (store_trim(&other, 100 * PAGE) > 0)
		;
	assert_int_equal(other.used, 5 * PAGE);
	assert_int_equal(taken(), 5 * PAGE);
	assert_int_equal(store_resize(&other, 2 * SIZE, 0), 0);
	assert_int_equal(file_length(), 2 * SIZE);
	/* The end gives back all of it. */
	while (store_release(&other, 100 * PAGE) > 0)
		;
	assert_int_equal(taken(), 0);
	store_close(&other);
}

/* ---- the same steps done on a plain array ---- */

static struct {
	uint8_t bytes[SIZE];
	uint8_t there[PAGES + 1];
} model;

static void model_write(uint64_t offset, uint64_t length)
{
	uint64_t i;

	for (i = offset; i < offset + length; i++) {
		model.there[i / PAGE] = 1;
		model.bytes[i] = (uint8_t)(1 + random_number(255));
	}
	assert_int_equal(store_grow(&store, offset, length, 0), 0);
	memcpy(store.bytes + offset, model.bytes + offset, length);
}

static void model_clear(uint64_t offset, uint64_t length)
{
	uint64_t page, end = offset + length;

	memset(model.bytes + offset, 0, length);
	for (page = 0; page <= PAGES; page++) {
		uint64_t from = page * PAGE, to = from + PAGE;

		if (to > SIZE)
			to = SIZE;
		if (offset <= from && to <= end)
			model.there[page] = 0;
	}
	assert_int_equal(store_clear(&store, offset, length), 0);
}

static void compare_with_model(void)
{
	static uint8_t bytes[SIZE];
	uint64_t page, used = 0, before = taken();

	for (page = 0; page <= PAGES; page++) {
		uint64_t left = SIZE - page * PAGE;
		int is_there;

		store_run(&store, page * PAGE, left < PAGE ? left : PAGE,
			  &is_there);
		assert_int_equal(is_there, model.there[page]);
		used += model.there[page] * PAGE;
	}
	assert_int_equal(store.used, used);
	read_bytes(bytes, 0, SIZE);
	assert_memory_equal(bytes, model.bytes, SIZE);
	assert_int_equal(taken(), before);
	assert_true(before <= used);
}

TEST_CASE(test_model)
{
	uint64_t offset, length;
	int i;

	random_seed(6);
	memset(&model, 0, sizeof(model));
	for (i = 0; i < 4000; i++) {
		/* In blocks as a kernel sends them, sometimes to the end. */
		offset = random_number(SIZE / 512) * 512;
		length = (1 + random_number(i % 7 ? 24 : 400)) * 512;
		if (offset + length > SIZE)
			length = SIZE - offset;
		if (random_number(2))
			model_write(offset, length);
		else
			model_clear(offset, length);
		if (i % 20 == 0)
			compare_with_model();
	}
	compare_with_model();
}

/* ---- somebody else's file that is too large to be mapped whole ---- */

static void put_byte(struct store *shared, uint64_t offset, uint8_t byte)
{
	uint64_t length = 1;
	uint8_t *at = store_at(shared, offset, &length), seen = 0;

	assert_non_null(at);
	*at = byte;
	assert_int_equal(
		pread(shared->fd, &seen, 1, (off_t)(shared->base + offset)), 1);
	assert_int_equal(seen, byte);
}

TEST_CASE(test_shared_window)
{
	const uint64_t base = 3 * PAGE, edge = 2ULL * STORE_WINDOW - base;
	const uint64_t size = edge + SIZE;
	int fd = memfd_create("shared", MFD_CLOEXEC), maps = fake.maps;
	struct store shared;
	uint64_t length = 9;

	assert_int_equal(ftruncate(fd, (off_t)(2 * (base + size))), 0);
	store_whole_max = base + size - 1;
	assert_int_equal(store_open_shared(&shared, fd, 0, base, size, PAGE),
			 0);
	assert_false(store_is_whole(&shared));
	put_byte(&shared, 0, 1);
	assert_non_null(store_at(&shared, edge - 4, &length));
	assert_int_equal(length, 4);
	put_byte(&shared, edge - 1, 2);
	put_byte(&shared, edge, 3);
	put_byte(&shared, size - 1, 4);
	/* What is new lies in the same window. */
	assert_int_equal(store_resize_shared(&shared, size + SIZE), 0);
	put_byte(&shared, size + SIZE - 1, 5);
	store_close(&shared);
	/* One that was small enough. */
	store_whole_max = base + SIZE;
	assert_int_equal(store_open_shared(&shared, fd, 0, base, SIZE, PAGE),
			 0);
	assert_true(store_is_whole(&shared));
	put_byte(&shared, SIZE - 1, 6);
	fake.map = 1;
	assert_int_equal(store_resize_shared(&shared, size), -ENOMEM);
	put_byte(&shared, SIZE - 1, 7);
	assert_int_equal(store_resize_shared(&shared, size), 0);
	assert_false(store_is_whole(&shared));
	put_byte(&shared, 0, 8);
	put_byte(&shared, size - 1, 9);
	store_close(&shared);
	assert_int_equal(fake.maps, maps);
	/* A window has to be of whole pages. */
	assert_int_equal(store_open_shared(&shared, fd, 0, base, size,
					   2 * STORE_WINDOW),
			 -ENOMEM);
	close(fd);
}

TEST_CASE(test_shared_window_to_read)
{
	const uint64_t size = 2ULL * STORE_WINDOW;
	int fd = memfd_create("shared", MFD_CLOEXEC), reader;
	struct store shared;
	uint64_t length = 1;
	char path[64];

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(reader >= 0);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)size - 1), 1);
	store_whole_max = size - 1;
	assert_int_equal(store_open_shared(&shared, reader, 1, 0, size, PAGE),
			 0);
	assert_int_equal(*store_at(&shared, size - 1, &length), 'x');
	store_close(&shared);
	close(reader);
	close(fd);
}

/* ---- huge pages ---- */

/* A file of them, or -1 if there cannot be any. None is taken here. */
static int open_huge(uint64_t *unit)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	struct stat status;
	void *probe;

	if (fd < 0)
		return -1; /* a kernel without */
	assert_int_equal(fstat(fd, &status), 0);
	*unit = (uint64_t)status.st_blksize;
	/* An emulator may not know that none is to be reserved. */
	probe = mmap(NULL, *unit, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (probe == MAP_FAILED) {
		close(fd);
		return -1;
	}
	munmap(probe, *unit);
	return fd;
}

/* A part of one cannot be unmapped. */
TEST_CASE(test_huge_pages)
{
	uint64_t unit = 0;
	int fd = open_huge(&unit), maps;
	struct store huge;

	if (fd < 0)
		skip_without("huge pages");
	assert_int_equal(ftruncate(fd, (off_t)(8 * unit)), 0);
	maps = fake.maps;
	assert_int_equal(store_open_shared(&huge, fd, 0, PAGE, unit / 2,
					   (uint32_t)unit),
			 0);
	assert_int_equal(huge.mapped, unit);
	/* What is mapped already, then more, twice. */
	assert_int_equal(store_resize_shared(&huge, unit - PAGE), 0);
	assert_int_equal(huge.mapped, unit);
	assert_int_equal(fake.maps, maps + 2);
	assert_int_equal(store_resize_shared(&huge, unit + PAGE), 0);
	assert_int_equal(store_resize_shared(&huge, 3 * unit + PAGE), 0);
	assert_int_equal(huge.mapped, 4 * unit);
	assert_true(store_is_whole(&huge));
	assert_int_equal(huge.size, 3 * unit + PAGE);
	store_close(&huge);
	assert_int_equal(fake.maps, maps);
	close(fd);
}

/* Whoever maps more of such a file than there is makes it longer. */
TEST_CASE(test_window_of_huge_pages)
{
	uint64_t unit = 0, size, length = 1;
	int fd = open_huge(&unit), maps = fake.maps;
	struct store huge;
	struct stat status;

	if (fd < 0 || unit > STORE_WINDOW)
		skip_without("huge pages");
	size = STORE_WINDOW + unit;
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	store_whole_max = size - 1;
	assert_int_equal(store_open_shared(&huge, fd, 0, PAGE, size - PAGE,
					   (uint32_t)unit),
			 0);
	assert_false(store_is_whole(&huge));
	assert_non_null(store_at(&huge, STORE_WINDOW, &length));
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, size);
	store_close(&huge);
	assert_int_equal(fake.maps, maps);
	close(fd);
}

int main(void)
{
	return tests_run();
}
