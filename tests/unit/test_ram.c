/*
 * The target ram: what it opens with, and what becomes of each request. Memory
 * and the driver's part of a request are the test's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "target/store.h"
#include "support.h"
#include "base/syntax.h"
#include "target/target.h"

#define PAGE  ((uint64_t)STORE_PAGE)
#define SIZE  (1ULL << 20)
#define MIB   (1ULL << 20)
#define PARTS 16
#define NEVER 1000 /* io_done() was not called */

/* ---- a request's data ---- */

static struct part {
	uint32_t at, length;
	int is_zero; /* it came from the zero page */
} parts[PARTS];

static struct {
	unsigned parts;
	uint8_t data[8 * PAGE]; /* of the request */
	int error;		/* that the driver's copy ends with */
	int result;		/* as io_done() was told */
	unsigned told;		/* refused writes that the owner heard of */
	uint64_t told_used;
} seen;

static struct io_port port = { .mode = IO_USER_COPY };
static struct target *ram;
static struct geometry geometry;
static struct failure failure;

static void note(struct io *io, uint32_t at, uint32_t length, int is_zero)
{
	assert_true(at + length <= io->length);
	assert_true(seen.parts < PARTS);
	parts[seen.parts++] = (struct part){ at, length, is_zero };
}

int __wrap_io_put(struct io *io, const void *from, uint32_t at, uint32_t length)
{
	note(io, at, length, 0);
	memcpy(seen.data + at, from, length);
	return seen.error;
}

int __wrap_io_put_zeroes(struct io *io, uint32_t at, uint32_t length)
{
	note(io, at, length, 1);
	memset(seen.data + at, 0, length);
	return seen.error;
}

int __wrap_io_take(struct io *io, void *to, uint32_t at, uint32_t length)
{
	note(io, at, length, 0);
	if (!seen.error)
		memcpy(to, seen.data + at, length);
	return seen.error;
}

void __wrap_io_done(struct io *io, int error)
{
	assert_int_equal(seen.result, NEVER);
	seen.result = error;
}

/* What becomes of a request: io_done()'s error, or NEVER. */
static int submit(enum io_op op, uint64_t offset, uint32_t length)
{
	struct io io = { .port = &port,
			 .op = (uint8_t)op,
			 .offset = offset,
			 .length = length };

	seen.parts = 0;
	seen.result = NEVER;
	ram->backend.ops->submit(&ram->backend, &io);
	return seen.result;
}

static int write_bytes(uint64_t offset, uint32_t length, int byte)
{
	memset(seen.data, byte, length);
	return submit(IO_WRITE, offset, length);
}

static void expect_part(unsigned i, uint32_t at, uint32_t length, int is_zero)
{
	assert_true(i < seen.parts);
	assert_int_equal(parts[i].at, at);
	assert_int_equal(parts[i].length, length);
	assert_int_equal(parts[i].is_zero, is_zero);
}

static void expect_bytes(uint64_t offset, uint32_t length, int byte)
{
	uint32_t i;

	memset(seen.data, ~byte, length);
	assert_int_equal(submit(IO_READ, offset, length), 0);
	for (i = 0; i < length; i++)
		assert_int_equal(seen.data[i], byte);
}

/* ---- a RAM disk ---- */

static void set_available(uint64_t bytes)
{
	char text[96];

	snprintf(text, sizeof(text),
		 "MemTotal: %llu kB\nMemAvailable: %llu kB\n", 64 * MIB / 1024,
		 (unsigned long long)bytes / 1024);
	test_file("proc/meminfo", text);
	memory_set_root(test_folder());
}

/* As `add ram WORDS`, or as the take-over of one whose data is in fds[0]. */
static struct target *open_as(const char *words, int adopted, int *fds,
			      int fd_count)
{
	static struct option_value values[OPTION_MAX];
	static struct target_args args;

	args = (struct target_args){ .values = values,
				     .adopted = adopted,
				     .fds = fds,
				     .fd_count = fd_count };
	test_values(target_ram.options, values, words);
	failure.symbol = SYMBOL_NONE;
	geometry = (struct geometry){ .block_size = 512 };
	return target_ram.open(&args, &geometry, &failure);
}

static void on_refused(const struct target *target, uint64_t used)
{
	assert_ptr_equal(target, ram);
	seen.told++;
	seen.told_used = used;
}

static void open_ram(const char *words)
{
	if (ram)
		target_ram.close(ram);
	ram = open_as(words, 0, NULL, 0);
	assert_non_null(ram);
	ram->refused = on_refused;
}

static void refuses(const char *words, enum symbol symbol, const char *text)
{
	assert_null(open_as(words, 0, NULL, 0));
	assert_int_equal(failure.symbol, symbol);
	if (!strstr(failure.text, text))
		fail_msg("'%s' has no '%s'", failure.text, text);
}

/* Bytes that it holds, as `list` shows it. */
static uint64_t used(void)
{
	char text[64];

	target_ram.describe(ram, text, sizeof(text));
	assert_memory_equal(text, " used=", 6);
	return strtoull(text + 6, NULL, 10);
}

int before_each(void **state)
{
	memset(&seen, 0, sizeof(seen));
	port.mode = IO_USER_COPY;
	set_available(1ULL << 40);
	open_ram("size=1M");
	return 0;
}

int after_each(void **state)
{
	if (ram)
		target_ram.close(ram);
	ram = NULL;
	test_folder_remove();
	return 0;
}

/* ---- opening ---- */

TEST_CASE(test_geometry)
{
	assert_int_equal(geometry.size, SIZE);
	assert_int_equal(geometry.block_size, 512);
	assert_int_equal(geometry.physical_block_size, PAGE);
	assert_int_equal(geometry.discard_granularity, PAGE);
	assert_int_equal(geometry.max_discard, 8 << 20);
	assert_int_equal(geometry.max_write_zeroes, 8 << 20);
	assert_int_equal(geometry.volatile_cache, 0);
	assert_int_equal(used(), 0);
}

/* Where a page may be missing, or an address move, only user copy will do. */
TEST_CASE(test_modes)
{
	const uint64_t whole = store_whole_max;

	assert_int_equal(geometry.modes[0], IO_NEED_GET_DATA);
	assert_int_equal(geometry.modes[1], IO_USER_COPY);
	assert_int_equal(geometry.modes[2], IO_COPY);
	assert_int_equal(geometry.modes[3], IO_MODES);
	store_whole_max = STORE_WINDOW;
	open_ram("size=64M");
	assert_non_null(geometry.modes);
	open_ram("size=65M");
	store_whole_max = whole;
	assert_null(geometry.modes);
	if (!host_has_shm())
		skip_without("files in " HOST_SHM);
	open_ram("size=1M keep=yes");
	assert_null(geometry.modes);
	open_ram("size=1M keep=" HOST_SHM);
	assert_null(geometry.modes);
}

TEST_CASE(test_refused)
{
	static const struct {
		const char *words;
		enum symbol symbol;
		const char *text;
	} cases[] = {
		{ "size=1000", SYMBOL_RANGE, "multiple" },
		{ "size=16388K", SYMBOL_LIMIT, "overcommit=yes" },
		{ "size=1M keep=/proc", SYMBOL_UNSUPPORTED, "/proc" },
		{ "size=1M keep=/nowhere", SYMBOL_NOTFOUND, "/nowhere" },
	};
	unsigned i;

	set_available(16 * MIB);
	for (i = 0; i < 2; i++)
		refuses(cases[i].words, cases[i].symbol, cases[i].text);
	for (; i < COUNT(cases); i++) {
		assert_null(open_as(cases[i].words, 0, NULL, 0));
		assert_string_equal(failure.arg, "keep");
		if (!strstr(failure.text, cases[i].text))
			fail_msg("%s", failure.text);
	}
	open_ram("size=16M");
	open_ram("size=16388K overcommit=yes");
}

/* ---- the data ---- */

/* Holes from the zero page, what is there from the store. */
TEST_CASE(test_read_in_parts)
{
	assert_int_equal(write_bytes(2 * PAGE, 2 * PAGE, 7), 0);
	assert_int_equal(submit(IO_READ, PAGE + 512, 4 * PAGE), 0);
	assert_int_equal(seen.parts, 3);
	expect_part(0, 0, PAGE - 512, 1);
	expect_part(1, PAGE - 512, 2 * PAGE, 0);
	expect_part(2, 3 * PAGE - 512, PAGE + 512, 1);
	assert_int_equal(used(), 2 * PAGE);
	expect_bytes(0, 2 * PAGE, 0);
	expect_bytes(2 * PAGE, 2 * PAGE, 7);
	expect_bytes(4 * PAGE, 2 * PAGE, 0);
}

/* After an error nothing more is tried. */
TEST_CASE(test_read_fails)
{
	assert_int_equal(write_bytes(0, PAGE, 7), 0);
	seen.error = -EFAULT;
	assert_int_equal(submit(IO_READ, 0, 3 * PAGE), -EFAULT);
	assert_int_equal(seen.parts, 1);
	assert_int_equal(submit(IO_READ, PAGE, 3 * PAGE), -EFAULT);
}

static uint64_t allocated(void)
{
	struct stat status;
	int fd;

	assert_int_equal(target_ram.hold(ram, &fd), 1);
	assert_int_equal(fstat(fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

/* The driver makes the pages in user copy; else they must be there before. */
TEST_CASE(test_pages_before_data)
{
	enum io_mode mode;

	for (mode = IO_USER_COPY; mode < IO_MODES; mode++) {
		port.mode = (uint8_t)mode;
		open_ram("size=1M");
		seen.error = IO_LATER; /* its data does not come yet */
		assert_int_equal(submit(IO_WRITE, 0, 2 * PAGE), NEVER);
		assert_int_equal(used(), 2 * PAGE);
		assert_int_equal(allocated(),
				 mode == IO_USER_COPY ? 0 : 2 * PAGE);
	}
}

/* What a failed write leaves is looked at, and counted as it is. */
TEST_CASE(test_write_fails)
{
	seen.error = -EIO;
	assert_int_equal(submit(IO_WRITE, 0, 2 * PAGE), -EIO);
	assert_int_equal(used(), 0);
	/* A file system that is full: no page for the driver. */
	seen.error = -EFAULT;
	assert_int_equal(submit(IO_WRITE, 0, 2 * PAGE), -ENOSPC);
	assert_int_equal(used(), 0);
	assert_int_equal(seen.told, 1);
	seen.error = 0;
	expect_bytes(0, 2 * PAGE, 0);
}

TEST_CASE(test_clear)
{
	static const enum io_op ops[] = { IO_DISCARD, IO_WRITE_ZEROES };
	unsigned i;

	for (i = 0; i < COUNT(ops); i++) {
		assert_int_equal(write_bytes(0, 4 * PAGE, 7), 0);
		assert_int_equal(submit(ops[i], PAGE, 2 * PAGE), 0);
		assert_int_equal(used(), 2 * PAGE);
		expect_bytes(0, PAGE, 7);
		expect_bytes(PAGE, 2 * PAGE, 0);
		expect_bytes(3 * PAGE, PAGE, 7);
	}
}

/* A flush has no place: whatever stands there is no reason to fail. */
TEST_CASE(test_flush)
{
	assert_int_equal(submit(IO_FLUSH, 0, 0), 0);
	assert_int_equal(submit(IO_FLUSH, 10 * SIZE, PAGE), 0);
}

/* ---- its end ---- */

static int resize(uint64_t size)
{
	failure.symbol = SYMBOL_NONE;
	return target_ram.resize(ram, size, &failure);
}

static void trim_all(void)
{
	int result;

	while ((result = target_ram.trim(ram)) > 0)
		;
	assert_int_equal(result, 0);
}

/* Requests beyond the end after a shrink: an error, and they leave nothing. */
TEST_CASE(test_beyond_the_end)
{
	static const enum io_op ops[] = { IO_READ, IO_WRITE, IO_DISCARD,
					  IO_WRITE_ZEROES };
	unsigned i;

	assert_int_equal(write_bytes(SIZE / 2 - PAGE, 2 * PAGE, 7), 0);
	assert_int_equal(resize(SIZE / 2), 0);
	for (i = 0; i < COUNT(ops); i++) {
		assert_int_equal(submit(ops[i], SIZE / 2, PAGE), -EIO);
		assert_int_equal(submit(ops[i], SIZE / 2 - 512, 1024), -EIO);
		assert_int_equal(submit(ops[i], SIZE, PAGE), -EIO);
		assert_int_equal(submit(ops[i], 2 * SIZE, PAGE), -EIO);
		assert_int_equal(seen.parts, 0);
		assert_int_equal(used(), 2 * PAGE);
	}
	expect_bytes(SIZE / 2 - PAGE, PAGE, 7);
	assert_int_equal(write_bytes(SIZE / 2 - PAGE, PAGE, 8), 0);
}

/* What the driver has written behind the end is found, and goes. */
TEST_CASE(test_written_behind_the_end)
{
	int fd;

	port.mode = IO_NEED_GET_DATA;
	assert_int_equal(resize(SIZE / 2), 0);
	assert_int_equal(target_ram.hold(ram, &fd), 1);
	assert_int_equal(pwrite(fd, "data", 4, SIZE - PAGE), 4);
	assert_int_equal(submit(IO_WRITE, SIZE - 2 * PAGE, 2 * PAGE), -EIO);
	assert_int_equal(used(), PAGE);
	trim_all();
	assert_int_equal(used(), 0);
	assert_int_equal(resize(SIZE), 0);
	expect_bytes(SIZE - PAGE, PAGE, 0);
}

TEST_CASE(test_resize)
{
	assert_int_equal(write_bytes(0, PAGE, 7), 0);
	set_available(0);
	assert_int_equal(resize(SIZE), 0);
	set_available(2 * MIB);
	/* What it holds is not asked for again. */
	assert_int_equal(resize(2 * MIB + 2 * PAGE), -1);
	assert_int_equal(failure.symbol, SYMBOL_LIMIT);
	assert_string_equal(failure.arg, "size");
	assert_int_equal(submit(IO_READ, SIZE, PAGE), -EIO);
	assert_int_equal(resize(2 * MIB + PAGE), 0);
	assert_int_equal(submit(IO_READ, SIZE, PAGE), 0);
	/* Until its memory was given back a former size is free. */
	set_available(0);
	assert_int_equal(resize(SIZE), 0);
	assert_int_equal(resize(2 * MIB), 0);
	assert_int_equal(resize(SIZE), 0);
	trim_all();
	assert_int_equal(resize(2 * MIB), -1);
	open_ram("size=1M overcommit=yes");
	assert_int_equal(resize(4 * MIB), 0);
}

/* ---- memory ---- */

TEST_CASE(test_memory_limit)
{
	open_ram("size=1M memory-limit=8K");
	assert_int_equal(target_room(ram), 2 * PAGE);
	assert_int_equal(write_bytes(0, 2 * PAGE, 7), 0);
	assert_int_equal(write_bytes(2 * PAGE, 512, 7), -ENOSPC);
	/* That is as it was asked for: no word of memory. */
	assert_int_equal(seen.told, 0);
	open_ram("size=1M memory-limit=0");
	assert_int_equal(write_bytes(0, PAGE, 7), -ENOSPC);
}

/* As given, or an eighth of the host's memory, which is 8 MiB here. */
TEST_CASE(test_memory_reserve)
{
	static const struct {
		const char *words;
		uint64_t reserve;
	} cases[] = {
		{ "size=1M overcommit=yes", 8 * MIB },
		{ "size=1M overcommit=yes memory-reserve=0", 0 },
		{ "size=1M overcommit=yes memory-reserve=9M", 9 * MIB },
	};
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		set_available(cases[i].reserve + PAGE);
		open_ram(cases[i].words);
		assert_int_equal(target_room(ram), PAGE);
		assert_int_equal(write_bytes(0, 2 * PAGE, 7), -ENOSPC);
		assert_int_equal(write_bytes(0, PAGE, 7), 0);
		set_available(cases[i].reserve);
		assert_int_equal(write_bytes(PAGE, PAGE, 7), -ENOSPC);
		assert_int_equal(used(), PAGE);
	}
	set_available(1ULL << 40);
	assert_int_equal(target_room(ram), SIZE);
}

/* Of many refused writes the first is told, until memory came back. */
TEST_CASE(test_refusals_told)
{
	unsigned i;

	assert_int_equal(write_bytes(0, PAGE, 7), 0);
	set_available(0);
	for (i = 0; i < 100; i++) {
		assert_int_equal(write_bytes(PAGE, PAGE, 7), -ENOSPC);
		move_clock(1);
	}
	assert_int_equal(seen.told, 1);
	assert_int_equal(seen.told_used, PAGE);
	set_available(1ULL << 40);
	assert_int_equal(write_bytes(PAGE, PAGE, 7), 0);
	set_available(0);
	assert_int_equal(write_bytes(2 * PAGE, PAGE, 7), -ENOSPC);
	assert_int_equal(seen.told, 2);
	assert_int_equal(seen.told_used, 2 * PAGE);
	/* Not again within a minute, however it goes back and forth. */
	for (i = 0; i < 59; i++) {
		assert_int_equal(submit(IO_DISCARD, 0, (i % 2 + 1) * PAGE), 0);
		assert_int_equal(write_bytes(2 * PAGE, PAGE, 7), -ENOSPC);
		move_clock(1);
	}
	assert_int_equal(seen.told, 2);
}

/* ---- another process ---- */

TEST_CASE(test_adopt)
{
	struct target *old = ram;
	int fds[2];

	assert_int_equal(write_bytes(3 * PAGE, PAGE, 7), 0);
	assert_int_equal(target_ram.hold(old, fds), 1);
	fds[0] = fds[1] = dup(fds[0]);
	/* Never an empty one in its place, nor one of two. */
	assert_null(open_as("size=1M", 1, fds, 0));
	assert_int_equal(failure.symbol, SYMBOL_LIMIT);
	assert_null(open_as("size=1M", 1, fds, 2));
	/* Its memory is there already: nobody asks for it. */
	set_available(0);
	ram = open_as("size=1M memory-limit=8K", 1, fds, 1);
	assert_non_null(ram);
	assert_int_equal(fds[0], -1);
	/* Until the old server is gone nothing is known. */
	assert_int_equal(used(), 0);
	assert_int_equal(target_ram.resume(ram), 0);
	assert_int_equal(used(), PAGE);
	expect_bytes(3 * PAGE, PAGE, 7);
	set_available(1ULL << 40);
	assert_int_equal(write_bytes(0, PAGE, 7), 0);
	assert_int_equal(write_bytes(PAGE, PAGE, 7), -ENOSPC);
	target_ram.close(old);
}

/* A descriptor that it does not take stays the caller's. */
TEST_CASE(test_adopt_fails)
{
	int fds[1];

	assert_int_equal(target_ram.hold(ram, fds), 1);
	fds[0] = dup(fds[0]);
	assert_null(open_as("size=2M", 1, fds, 1));
	assert_int_equal(failure.symbol, SYMBOL_LIMIT);
	assert_int_equal(close(fds[0]), 0);
}

TEST_CASE(test_release)
{
	open_ram("size=32M");
	assert_int_equal(target_ram.release(ram), 0);
	assert_int_equal(write_bytes(0, PAGE, 7), 0);
	assert_int_equal(write_bytes(9 * MIB, PAGE, 7), 0);
	assert_int_equal(target_ram.release(ram), 1);
	assert_int_equal(used(), PAGE);
	assert_int_equal(target_ram.release(ram), 0);
	assert_int_equal(used(), 0);
}

/* Closing leaves no descriptor. */
TEST_CASE(test_close)
{
	unsigned fds;

	target_ram.close(ram);
	fds = count_fds();
	ram = open_as("size=1M", 0, NULL, 0);
	assert_int_equal(count_fds(), fds + 1);
	target_ram.close(ram);
	ram = NULL;
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
	return tests_run();
}
