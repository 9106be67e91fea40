/* How much memory there is, read from files of the test's own. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "support.h"

#define MIB (1ULL << 20)

static uint64_t total = 9999999 * 1024ULL; /* bytes of the host's memory */

static void write_host(uint64_t available, uint64_t dirty, uint64_t writeback)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "MemTotal:       %llu kB\n"
		 "MemFree:        8888888 kB\n"
		 "MemAvailable:   %llu kB\n"
		 "SwapCached:     7777777 kB\n"
		 "Dirty:          %llu kB\n"
		 "Writeback:      %llu kB\n"
		 "WritebackTmp:   6666666 kB\n",
		 (unsigned long long)total / 1024,
		 (unsigned long long)available / 1024,
		 (unsigned long long)dirty / 1024,
		 (unsigned long long)writeback / 1024);
	test_file("proc/meminfo", text);
}

static void set_host(uint64_t available, uint64_t dirty, uint64_t writeback)
{
	write_host(available, dirty, writeback);
	move_clock(0.02); /* a refusal stands for a moment */
}

/* A cgroup's file; `folder` is "" or "/a/b". */
static void set_group(const char *folder, const char *file, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "sys/fs/cgroup%s/%s", folder, file);
	test_file(path, text);
}

static void set_bytes(const char *folder, const char *file, uint64_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)bytes);
	set_group(folder, file, text);
}

int before_each(void **state)
{
	memory_set_root(test_folder());
	return 0;
}

int after_each(void **state)
{
	test_folder_remove();
	return 0;
}

static void expect(uint64_t bytes)
{
	uint64_t room = memory_room(0);

	if (room != bytes)
		fail_msg("room for %llu bytes, not for %llu",
			 (unsigned long long)room, (unsigned long long)bytes);
}

TEST_CASE(test_host)
{
	set_host(500 * MIB, 0, 0);
	expect(500 * MIB);
	set_host(500 * MIB, 30 * MIB, 20 * MIB);
	expect(450 * MIB);
	set_host(500 * MIB, 400 * MIB, 200 * MIB);
	expect(0);
	set_host(0, 0, 0);
	expect(0);
}

TEST_CASE(test_no_files)
{
	expect(UINT64_MAX);
	assert_int_equal(memory_take(1ULL << 60, 0), 0);
}

/* A host of more than 4 TiB: numbers of more than 32 bits. */
TEST_CASE(test_large_host)
{
	set_host(6ULL << 40, 1ULL << 30, 0);
	expect((6ULL << 40) - (1ULL << 30));
}

TEST_CASE(test_group)
{
	set_host(500 * MIB, 0, 0);
	test_file("proc/self/cgroup", "0::/a/b\n");
	expect(500 * MIB);
	set_group("/a/b", "memory.max", "max\n");
	set_group("/a/b", "memory.high", "max\n");
	set_bytes("/a/b", "memory.current", 400 * MIB);
	expect(500 * MIB);
	set_bytes("/a/b", "memory.max", 450 * MIB);
	expect(50 * MIB);
	set_bytes("/a/b", "memory.high", 420 * MIB);
	expect(20 * MIB);
	set_group("/a/b", "memory.max", "max\n");
	expect(20 * MIB);
	set_bytes("/a/b", "memory.high", 300 * MIB);
	expect(0);
	set_bytes("/a/b", "memory.max", 450 * MIB);
	set_bytes("/a/b", "memory.high", 4000 * MIB);
	expect(50 * MIB);
	set_group("/a/b", "memory.max", "max\n");
	/* The host is what runs short first. */
	set_bytes("/a/b", "memory.high", 4000 * MIB);
	expect(500 * MIB);
}

TEST_CASE(test_droppable)
{
	char text[256];

	set_host(500 * MIB, 0, 0);
	test_file("proc/self/cgroup", "0::/a\n");
	set_bytes("/a", "memory.max", 400 * MIB);
	set_bytes("/a", "memory.current", 390 * MIB);
	expect(10 * MIB);
	snprintf(text, sizeof(text),
		 "anon 1\nfile 999999999\ninactive_anon 888888888\n"
		 "active_anon 777777777\ninactive_file %llu\n"
		 "active_file %llu\nfile_dirty %llu\nfile_writeback %llu\n",
		 100 * MIB, 50 * MIB, 20 * MIB, 10 * MIB);
	set_group("/a", "memory.stat", text);
	expect(130 * MIB);
	/* More dirty than droppable. */
	set_group("/a", "memory.stat",
		  "inactive_file 1\nactive_file 1\nfile_dirty 99999999\n");
	expect(10 * MIB);
	/* More droppable than in use: at most the limit. */
	set_group("/a", "memory.stat", "inactive_file 999999999999\n");
	expect(400 * MIB);
}

TEST_CASE(test_nested_groups)
{
	set_host(900 * MIB, 0, 0);
	test_file("proc/self/cgroup", "0::/a/b/c\n");
	set_bytes("/a/b/c", "memory.max", 600 * MIB);
	set_bytes("/a/b/c", "memory.current", 100 * MIB);
	expect(500 * MIB);
	set_bytes("/a/b", "memory.max", 500 * MIB);
	set_bytes("/a/b", "memory.current", 450 * MIB);
	expect(50 * MIB);
	set_bytes("/a", "memory.high", 480 * MIB);
	set_bytes("/a", "memory.current", 460 * MIB);
	expect(20 * MIB);
	/* One beside ours is none of our business. */
	set_bytes("/a/x", "memory.max", 1);
	set_bytes("/a/x", "memory.current", 1);
	expect(20 * MIB);
}

/*
 * In a container the root of what is mounted is a group with limits, whether
 * we live in it or below.
 */
TEST_CASE(test_mount_root)
{
	set_host(900 * MIB, 0, 0);
	test_file("proc/self/cgroup", "0::/\n");
	set_bytes("", "memory.max", 300 * MIB);
	set_bytes("", "memory.current", 100 * MIB);
	expect(200 * MIB);
	test_file("proc/self/cgroup", "0::/init.scope\n");
	expect(200 * MIB);
}

/* Version 1 beside version 2, and a line that is cut. */
TEST_CASE(test_cgroup_file)
{
	set_host(900 * MIB, 0, 0);
	set_bytes("/a", "memory.max", 300 * MIB);
	set_bytes("/a", "memory.current", 100 * MIB);
	test_file("proc/self/cgroup",
		  "12:memory:/x\n1:name=systemd:/y\n0::/a\n");
	expect(200 * MIB);
	test_file("proc/self/cgroup", "0::/a");
	expect(200 * MIB);
	test_file("proc/self/cgroup", "12:memory:/x\n1:name=systemd:/a\n");
	expect(900 * MIB);
	test_file("proc/self/cgroup", "");
	expect(900 * MIB);
}

/* A limit without the rest of its files is not a limit of zero. */
TEST_CASE(test_half_a_group)
{
	set_host(900 * MIB, 0, 0);
	test_file("proc/self/cgroup", "0::/a\n");
	set_bytes("/a", "memory.max", 300 * MIB);
	expect(900 * MIB);
}

static void expect_taken(uint64_t bytes, uint64_t reserve)
{
	assert_int_equal(memory_take(bytes, reserve), 0);
}

static void expect_refused(uint64_t bytes, uint64_t reserve)
{
	assert_int_equal(memory_take(bytes, reserve), -ENOMEM);
}

/* One look a step: what is granted once is not looked for again. */
TEST_CASE(test_steps)
{
	unsigned i;

	set_host(100 * MIB, 0, 0);
	expect_taken(4096, 50 * MIB);
	set_host(0, 0, 0);
	for (i = 1; i < MEMORY_STEP / 4096; i++)
		expect_taken(4096, 50 * MIB);
	expect_refused(4096, 50 * MIB);
	expect_refused(4096, 0);
	set_host(100 * MIB, 0, 0);
	expect_taken(4096, 50 * MIB);
}

/* Less than two steps are left: half of that is granted, at least one page. */
TEST_CASE(test_small_steps)
{
	set_host(16384 + 50 * MIB, 0, 0);
	expect_taken(4096, 50 * MIB);
	set_host(0, 0, 0);
	expect_taken(4096, 50 * MIB);
	expect_refused(4096, 50 * MIB);
	set_host(4096 + 50 * MIB, 0, 0);
	expect_taken(4096, 50 * MIB);
	set_host(0, 0, 0);
	expect_refused(1, 50 * MIB);
}

TEST_CASE(test_reserve)
{
	set_host(80 * MIB, 0, 0);
	expect_taken(4096, 72 * MIB);
	/* Granted for 72 MiB: that says nothing for another reserve. */
	set_host(80 * MIB, 0, 0);
	expect_refused(4096, 80 * MIB);
	set_host(72 * MIB + 4096, 0, 0);
	expect_refused(4097, 72 * MIB);
	move_clock(0.02);
	expect_taken(4096, 72 * MIB);
	expect_refused(4096, 72 * MIB + 1);
	/* The refusal ended the credit: the next one looks. */
	set_host(4096 + 72 * MIB - 1, 0, 0);
	expect_refused(4096, 72 * MIB);
	expect_taken(4096, 71 * MIB);
}

/* For a moment, of as much or more, with the same reserve. */
TEST_CASE(test_refusal_stands)
{
	set_host(10 * MIB, 0, 0);
	expect_refused(6 * MIB, 8 * MIB);
	write_host(20 * MIB, 0, 0);
	expect_refused(6 * MIB, 8 * MIB);
	expect_refused(7 * MIB, 8 * MIB);
	expect_taken(5 * MIB, 8 * MIB);
	expect_taken(6 * MIB, 8 * MIB);
}

/* An eighth of each that can run short, and at most 72 MiB. */
TEST_CASE(test_reserve_follows)
{
	static const struct {
		unsigned total, available, limit, used, room; /* MiB */
	} cases[] = {
		{ 64, 20, 0, 0, 12 },	   { 64, 8, 0, 0, 0 },
		{ 576, 100, 0, 0, 28 },	   { 8192, 100, 0, 0, 28 },
		{ 8192, 4000, 48, 8, 34 }, { 8192, 4000, 48, 44, 0 },
		{ 64, 20, 48, 40, 2 },	   { 64, 20, 4096, 1024, 12 },
	};
	const uint64_t before = total;
	unsigned i;

	test_file("proc/self/cgroup", "0::/a\n");
	for (i = 0; i < COUNT(cases); i++) {
		total = cases[i].total * MIB;
		set_host(cases[i].available * MIB, 0, 0);
		set_bytes("/a", "memory.current", cases[i].used * MIB);
		if (cases[i].limit)
			set_bytes("/a", "memory.max", cases[i].limit * MIB);
		assert_int_equal(memory_room(MEMORY_RESERVE_AUTO),
				 cases[i].room * MIB);
	}
	total = before;
}

TEST_CASE(test_large_take)
{
	set_host(100 * MIB, 0, 0);
	expect_refused(100 * MIB + 1, 0);
	expect_refused(100 * MIB, 1);
	expect_taken(100 * MIB, 0);
	/* All of it is taken, nothing left over. */
	set_host(0, 0, 0);
	expect_refused(1, 0);
	expect_refused(UINT64_MAX, 0);
}

int main(void)
{
	return tests_run();
}
