/* Who uses a disk: /proc and /sys are folders that a test makes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"
#include "base/usage.h"

int before_each(void **state)
{
	test_file("proc/self/mountinfo",
		  "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
		  "31 25 0:26 / /sys rw - sysfs sysfs rw\n");
	test_file("proc/swaps",
		  "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n");
	test_file("sys/class/block/ublkb1/size", "8\n");
	test_file("sys/block/loop0/size", "8\n");
	return 0;
}

int after_each(void **state)
{
	test_folder_remove();
	return 0;
}

/* A process with one descriptor that leads to `target`. */
static void make_process(long pid, const char *comm, const char *target)
{
	char path[100], link[200];

	snprintf(path, sizeof(path), "proc/%ld/comm", pid);
	test_file(path, comm);
	snprintf(path, sizeof(path), "proc/%ld/fd/none", pid);
	test_file(path, "");
	snprintf(link, sizeof(link), "%s/proc/%ld/fd/3", test_folder(), pid);
	assert_int_equal(symlink(target, link), 0);
}

static void find(struct usage *usages, unsigned count)
{
	usage_find(test_folder(), usages, count);
}

static void expect(const char *disk, enum usage_kind kind, const char *who)
{
	struct usage usage = { .kind = USAGE_LASTING, .who = "old" };

	add_text(usage.disk, sizeof(usage.disk), disk);
	find(&usage, 1);
	assert_int_equal(usage.kind, kind);
	assert_string_equal(usage.who, who);
}

TEST_CASE(test_nobody)
{
	expect("ublkb1", USAGE_NONE, "");
	/* No name is no disk: it is not the beginning of all of them. */
	expect("", USAGE_NONE, "");
}

TEST_CASE(test_mount)
{
	test_file("proc/self/mountinfo",
		  "25 1 254:1 / /b rw shared:1 - ext4 /dev/ublkb10 rw\n"
		  "nonsense\n"
		  "26 1 254:1 / /m\\040x rw - ext4 /dev/ublkb1 rw\n"
		  "27 1 254:1 / /p rw - ext4 /dev/ublkb2p12 rw\n"
		  "28 1 254:1 / /second rw - ext4 /dev/ublkb1 rw\n"
		  "29 1 254:1 / /s rw master:2 - ext4 /dev/sdb3 rw\n");
	expect("ublkb1", USAGE_LASTING, "mounted on /m\\040x");
	expect("ublkb10", USAGE_LASTING, "mounted on /b");
	expect("ublkb2", USAGE_LASTING, "mounted on /p");
	expect("ublkb2p12", USAGE_LASTING, "mounted on /p");
	expect("ublkb2p1", USAGE_NONE, "");
	/* Where a disk's name ends in a letter, partitions have no p. */
	expect("sdb", USAGE_LASTING, "mounted on /s");
	expect("sd", USAGE_NONE, "");
}

TEST_CASE(test_swap)
{
	test_file("proc/swaps", "Filename Type Size Used Priority\n"
				"/dev/ublkb1p2 partition 16380 0 -2\n"
				"/swapfile file 16380 0 -3\n");
	expect("ublkb1", USAGE_LASTING, "in use as swap");
	expect("ublkb2", USAGE_NONE, "");
}

/* The folder is there, and mostly empty. */
TEST_CASE(test_holders)
{
	test_file("sys/class/block/ublkb1/holders/.x", "");
	test_file("sys/class/block/ublkb1/ublkb1p1/size", "8\n");
	expect("ublkb1", USAGE_NONE, "");
	test_file("sys/class/block/ublkb1p1/holders/md0", "");
	expect("ublkb1", USAGE_LASTING, "held by md0");
	test_file("sys/class/block/ublkb2/holders/dm-3", "");
	expect("ublkb2", USAGE_LASTING, "held by dm-3");
	expect("ublkb1p1", USAGE_LASTING, "held by md0");
	/* Another disk's folder in that of this one is no partition of it. */
	test_file("sys/class/block/ublkb3/ublkb1p1/size", "8\n");
	expect("ublkb3", USAGE_NONE, "");
}

TEST_CASE(test_loops)
{
	test_file("sys/block/loop0/loop/backing_file", "/dev/ublkb1\n");
	test_file("sys/block/loop7/loop/backing_file", "/home/ublkb2\n");
	test_file("sys/block/vda/loop/backing_file", "/dev/ublkb3\n");
	expect("ublkb1", USAGE_LASTING, "behind /dev/loop0");
	expect("ublkb2", USAGE_NONE, "");
	expect("ublkb3", USAGE_NONE, "");
}

TEST_CASE(test_openers)
{
	make_process(1000001, "sleep\n", "/dev/ublkb1");
	make_process(1000002, "cat\n", "/dev/ublkb2p1");
	make_process(1000003, "dd\n", "/dev/ublkb3 (deleted)");
	make_process(1000004, "dd\n", "/tmp/dev/ublkb4");
	test_file("proc/other/comm", "x\n");
	expect("ublkb1", USAGE_OPEN, "opened by sleep, process 1000001");
	expect("ublkb2", USAGE_OPEN, "opened by cat, process 1000002");
	expect("ublkb3", USAGE_NONE, "");
	expect("ublkb4", USAGE_NONE, "");
}

/* A helper, and the keeper that has started it. */
TEST_CASE(test_ourselves)
{
	make_process(getpid(), "ublkd-helper\n", "/dev/ublkb1");
	make_process(getppid(), "ublkd\n", "/dev/ublkb1");
	expect("ublkb1", USAGE_NONE, "");
}

/* What lasts is told, and not an opener, who may be its process. */
TEST_CASE(test_order)
{
	make_process(1000001, "swapon\n", "/dev/ublkb1");
	expect("ublkb1", USAGE_OPEN, "opened by swapon, process 1000001");
	test_file("sys/block/loop0/loop/backing_file", "/dev/ublkb1\n");
	expect("ublkb1", USAGE_LASTING, "behind /dev/loop0");
	test_file("sys/class/block/ublkb1/holders/dm-0", "");
	expect("ublkb1", USAGE_LASTING, "held by dm-0");
	test_file("proc/swaps", "/dev/ublkb1 partition 16380 0 -2\n");
	expect("ublkb1", USAGE_LASTING, "in use as swap");
	test_file("proc/self/mountinfo",
		  "26 1 254:1 / /m rw - ext4 /dev/ublkb1 rw\n");
	expect("ublkb1", USAGE_LASTING, "mounted on /m");
}

/* Of many disks each has its own user. */
TEST_CASE(test_many)
{
	struct usage usages[4] = { { .disk = "ublkb0" },
				   { .disk = "ublkb1" },
				   { .disk = "ublkb2" },
				   { .disk = "ublkb3" } };

	make_process(1000001, "sleep\n", "/dev/ublkb3");
	make_process(1000002, "cat\n", "/dev/ublkb0");
	test_file("sys/class/block/ublkb1/holders/dm-0", "");
	find(usages, 4);
	assert_string_equal(usages[0].who, "opened by cat, process 1000002");
	assert_int_equal(usages[1].kind, USAGE_LASTING);
	assert_string_equal(usages[1].who, "held by dm-0");
	assert_int_equal(usages[2].kind, USAGE_NONE);
	assert_int_equal(usages[3].kind, USAGE_OPEN);
	find(usages, 0);
}

/* A host without any of it, such as a container. */
TEST_CASE(test_nothing_there)
{
	test_folder_remove();
	expect("ublkb1", USAGE_NONE, "");
}

int main(void)
{
	return tests_run();
}
