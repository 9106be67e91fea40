/* What the kernel shows of disks: /proc and /sys are folders that a test makes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/view.h"
#include "support.h"

/* As Linux 7.3 has them while a device mapper behind the disk is suspended. */
#define BUSY                                                             \
	"00000000a42b1279 {.op=WRITE, .cmd_flags=SYNC|IDLE, .rq_flags="  \
	"STARTED|SCHED_TAGS|USE_SCHED|IO_STAT|STATS, .state=in_flight, " \
	".tag=0, .internal_tag=3}\n"                                     \
	"00000000e9581d70 {.op=READ, .cmd_flags=RAHEAD|ALLOC_CACHE, "    \
	".rq_flags=STARTED, .state=in_flight, .tag=1, .internal_tag=1}\n"
#define TAGS                                                             \
	"nr_tags=4\nnr_reserved_tags=0\nactive_queues=0\n\nbitmap_tags:" \
	"\ndepth=4\nbusy=2\ncleared=0\nbits_per_word=1\n"
#define SCHED_TAGS                                                       \
	"nr_tags=8\nnr_reserved_tags=0\nactive_queues=0\n\nbitmap_tags:" \
	"\ndepth=8\nbusy=3\ncleared=0\n"
#define DD_STAT "166 (dd) D 135 135 135 0 -1 4194624 28 0 0 0 0 0\n"
#define DD_STACK                            \
	"[<0>] bio_await+0x7b/0xb0\n"       \
	"[<0>] submit_bio_wait+0x16/0x20\n" \
	"[<0>] __blkdev_direct_IO_simple+0x155/0x280\n"

static const struct view_wish wish = { .disk = "ublkb1",
				       .backing = 1,
				       .major = 254 };
static struct view_head head;
static struct view view;

static void make_link(const char *path, const char *target)
{
	char folder[300];

	/* Its folder is there then. */
	snprintf(folder, sizeof(folder), "%s.x", path);
	test_file(folder, "");
	unlink(test_path(path));
	assert_int_equal(symlink(target, test_path(path)), 0);
}

int before_each(void **state)
{
	test_file("proc/self/mountinfo",
		  "25 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
		  "26 1 259:0 / /m rw shared:1 - xfs /dev/ublkb1p1 rw\n"
		  "27 1 254:0 / /srv rw - ext4 /dev/dm-0 rw\n");
	test_file("sys/class/block/ublkb1/inflight", "       1        3\n");
	test_file("sys/class/block/ublkb1/dev", "259:1\n");
	return 0;
}

int after_each(void **state)
{
	test_folder_remove();
	return 0;
}

/* A task of a process; `link` is what it has open, "": nothing. */
static void make_task(int pid, const char *stat, const char *comm,
		      const char *wchan, const char *stack, const char *link)
{
	static const char *const names[] = { "stat", "comm", "wchan", "stack" };
	const char *const texts[] = { stat, comm, wchan, stack };
	char path[120];
	size_t i;

	for (i = 0; i < COUNT(names); i++) {
		snprintf(path, sizeof(path), "proc/%d/task/%d/%s", pid, pid,
			 names[i]);
		test_file(path, texts[i]);
	}
	snprintf(path, sizeof(path), "proc/%d/stat", pid);
	test_file(path, stat);
	snprintf(path, sizeof(path), "proc/%d/comm", pid);
	test_file(path, comm);
	if (!link[0])
		return;
	snprintf(path, sizeof(path), "proc/%d/task/%d/fd/3", pid, pid);
	make_link(path, link);
	snprintf(path, sizeof(path), "proc/%d/fd/3", pid);
	make_link(path, link);
}

static void look_for(int server, uint32_t walk)
{
	const struct view_head asked = { .magic = VIEW_MAGIC,
					 .count = 1,
					 .size = sizeof(view),
					 .server = server,
					 .walk = walk };
	int fd = view_file(&asked, &wish);

	assert_true(fd >= 0);
	assert_int_equal(view_fill(test_folder(), fd), 0);
	assert_int_equal(view_read_head(fd, &head), 0);
	assert_int_equal(view_read(fd, &head, 0, &view), 0);
	assert_int_equal(view_read(fd, &head, 1, &view), -EINVAL);
	close(fd);
}

static void look_as(int server)
{
	look_for(server, VIEW_WALK);
}

TEST_CASE(test_inflight)
{
	look_as(0);
	assert_true(view.known & VIEW_INFLIGHT);
	assert_int_equal(view.reads, 1);
	assert_int_equal(view.writes, 3);
	/* A disk that is gone: that is known of nothing. */
	test_file("sys/class/block/ublkb1/inflight", "");
	look_as(0);
	assert_false(view.known & VIEW_INFLIGHT);
}

/* Nobody has answered: no word of a view is taken for an answer. */
TEST_CASE(test_unanswered)
{
	const struct view_head asked = { .magic = VIEW_MAGIC,
					 .count = 1,
					 .size = sizeof(view) };
	int fd = view_file(&asked, &wish);

	memset(&view, 1, sizeof(view));
	assert_int_equal(view_read_head(fd, &head), 0);
	assert_int_equal(view_read(fd, &head, 0, &view), 0);
	assert_int_equal(view.known, 0);
	assert_int_equal(head.known, 0);
	close(fd);
}

/* A keeper of another version understands nothing of it. */
TEST_CASE(test_other_version)
{
	struct view_head other = { .magic = VIEW_MAGIC + 1,
				   .size = sizeof(view) };
	int fd = view_file(&other, &wish);

	assert_int_equal(view_fill(test_folder(), fd), -EINVAL);
	close(fd);
	other.magic = VIEW_MAGIC;
	other.count = VIEWS_MAX + 1;
	fd = view_file(&(struct view_head){ .count = 0 }, &wish);
	assert_int_equal(pwrite(fd, &other, sizeof(other), 0), sizeof(other));
	assert_int_equal(view_fill(test_folder(), fd), -EINVAL);
	assert_int_equal(view_fill(test_folder(), -1), -EIO);
	close(fd);
}

TEST_CASE(test_waiters)
{
	make_task(166, DD_STAT, "dd\n", "bio_await", DD_STACK, "/dev/ublkb1");
	/* Another disk; one that runs; one whose file lies on the disk. */
	make_task(167, "167 (dd) D 1\n", "dd\n", "bio_await", "",
		  "/dev/ublkb11");
	make_task(168, "168 (dd) S 1\n", "dd\n", "0", "", "/dev/ublkb1");
	make_task(169, "169 (a) b) D 1\n", "a) b\n", "x", "", "/m/file");
	make_task(170, "170 (cat) D 1\n", "cat\n", "x", "", "/mm/file");
	look_as(0);
	assert_true(view.known & head.known & VIEW_WAITERS);
	assert_int_equal(view.waiters, 2);
	if (view.tasks[0].pid != 166)
		view.tasks[0] = view.tasks[1];
	assert_int_equal(view.tasks[0].pid, 166);
	assert_int_equal(view.tasks[0].state, 'D');
	assert_string_equal(view.tasks[0].comm, "dd");
	assert_string_equal(view.tasks[0].wchan, "bio_await");
	assert_string_equal(view.tasks[0].stack,
			    "bio_await < submit_bio_wait < "
			    "__blkdev_direct_IO_simple");
}

/* Threads of the kernel say in their names what they work for. */
TEST_CASE(test_kernel_threads)
{
	make_task(20, "20 (kworker/u8:2+fl) D 2\n",
		  "kworker/u8:2+flush-259:1\n", "x", "", "");
	make_task(21, "21 (kworker/u8:3+fl) D 2\n",
		  "kworker/u8:3+flush-259:10\n", "x", "", "");
	make_task(22, "22 (jbd2/ublkb1-8) D 2\n", "jbd2/ublkb1-8\n", "x", "",
		  "");
	make_task(23, "23 (jbd2/ublkb11-8) D 2\n", "jbd2/ublkb11-8\n", "x", "",
		  "");
	make_task(24, "24 (xfsaild/ublkb1) D 2\n", "xfsaild/ublkb1\n", "x", "",
		  "");
	look_as(0);
	assert_int_equal(view.waiters, 3);
}

/* More than are kept are counted. */
TEST_CASE(test_many_waiters)
{
	int i;

	for (i = 0; i < VIEW_TASKS + 2; i++)
		make_task(300 + i, "300 (dd) D 1\n", "dd\n", "x", "",
			  "/dev/ublkb1");
	look_as(0);
	assert_int_equal(view.waiters, VIEW_TASKS + 2);
	assert_string_equal(view.tasks[VIEW_TASKS - 1].comm, "dd");
}

/* The server's own threads wait for the backing, not for the disk. */
TEST_CASE(test_workers)
{
	make_task(50, "50 (iou-wrk-49) D 1\n", "iou-wrk-49\n", "io_schedule",
		  "", "/dev/ublkb1");
	look_as(50);
	assert_int_equal(view.waiters, 0);
	assert_int_equal(head.workers, 1);
	assert_int_equal(head.frozen, 0);
	assert_string_equal(head.worker.wchan, "io_schedule");
	make_task(50, "50 (iou-wrk-49) D 1\n", "iou-wrk-49\n",
		  "percpu_rwsem_wait", "", "");
	look_as(50);
	assert_int_equal(head.frozen, 1);
	/* Where a kernel names another function, the stack tells. */
	make_task(50, "50 (iou-wrk-49) D 1\n", "iou-wrk-49\n", "0",
		  "[<0>] x+0x1/0x2\n[<0>] __percpu_down_read+0x1/0x2\n", "");
	look_as(50);
	assert_int_equal(head.frozen, 1);
	look_as(51);
	assert_int_equal(head.workers, 0);
	assert_int_equal(view.waiters, 1);
}

static void make_mapper(const char *suspended)
{
	make_link("sys/dev/block/254:0", "../../devices/virtual/block/dm-0");
	test_file("sys/class/block/dm-0/inflight", "0 0\n");
	test_file("sys/class/block/dm-0/dm/name", "slow0\n");
	test_file("sys/class/block/dm-0/dm/suspended", suspended);
}

TEST_CASE(test_suspended)
{
	make_mapper("1\n");
	look_as(0);
	assert_true(view.known & VIEW_BACKING);
	assert_string_equal(view.behind.name, "dm-0");
	assert_string_equal(view.behind.mapped, "slow0");
	assert_int_equal(view.behind.suspended, 1);
	assert_string_equal(view.mount, "/srv");
	assert_string_equal(view.kind, "ext4");
}

/* What tells most lies below: another mapping that is suspended, or a disk. */
TEST_CASE(test_below)
{
	make_mapper("0\n");
	test_file("sys/class/block/dm-0/slaves/sda1", "");
	test_file("sys/class/block/sda1/dev", "8:1\n");
	make_link("sys/dev/block/8:1",
		  "../../devices/pci0/host0/block/sda/sda1");
	test_file("sys/class/block/sda/inflight", "2 1\n");
	look_as(0);
	assert_string_equal(view.behind.name, "sda");
	assert_int_equal(view.behind.reads, 2);
	assert_int_equal(view.behind.writes, 1);
	test_file("sys/class/block/sda/inflight", "0 0\n");
	look_as(0);
	assert_string_equal(view.behind.name, "dm-0");
	test_file("sys/class/block/sda/slaves/dm-7", "");
	test_file("sys/class/block/dm-7/dm/suspended", "1\n");
	look_as(0);
	assert_string_equal(view.behind.name, "dm-7");
	/* A circle, which there cannot be, has an end. */
	test_file("sys/class/block/dm-7/dm/suspended", "0\n");
	test_file("sys/class/block/dm-7/slaves/dm-7", "");
	look_as(0);
	assert_string_equal(view.behind.name, "dm-0");
}

/* A disk of another ublk server: who has its char device open. */
TEST_CASE(test_server)
{
	make_link("sys/dev/block/254:0", "../../devices/virtual/block/ublkb5");
	test_file("sys/class/block/ublkb5/inflight", "0 4\n");
	look_as(0);
	assert_true(view.known & VIEW_SERVER);
	assert_int_equal(view.behind.server.pid, 0);
	make_task(811, "811 (other) S 1\n", "other\n", "0", "", "/dev/ublkc55");
	make_task(812, "812 (kublk) T 1\n", "kublk\n", "0", "", "/dev/ublkc5");
	look_as(0);
	assert_string_equal(view.behind.name, "ublkb5");
	assert_int_equal(view.behind.server.pid, 812);
	assert_int_equal(view.behind.server.state, 'T');
	assert_string_equal(view.behind.server.comm, "kublk");
}

TEST_CASE(test_queue)
{
	look_as(0);
	assert_false(view.known & VIEW_QUEUE);
	assert_false(view.known & VIEW_BLK_MQ);
	test_file("sys/class/block/ublkb1/queue/scheduler",
		  "none [mq-deadline] kyber\n");
	test_file("sys/class/block/ublkb1/queue/nr_requests", "8\n");
	test_file("sys/class/block/ublkb1/queue/io_timeout", "30000\n");
	test_file("sys/kernel/debug/block/ublkb1/state",
		  "SAME_COMP|INIT_DONE|QUIESCED\n");
	test_file("sys/kernel/debug/block/ublkb1/hctx0/busy", BUSY);
	test_file("sys/kernel/debug/block/ublkb1/hctx0/tags", TAGS);
	test_file("sys/kernel/debug/block/ublkb1/hctx0/sched_tags", SCHED_TAGS);
	test_file("sys/kernel/debug/block/ublkb1/hctx1/busy", BUSY);
	test_file("sys/kernel/debug/block/ublkb1/hctx1/tags", TAGS);
	look_as(0);
	assert_true(view.known & VIEW_QUEUE);
	assert_string_equal(view.scheduler, "mq-deadline");
	assert_int_equal(view.nr_requests, 8);
	assert_int_equal(view.timeout, 30000);
	assert_true(view.known & VIEW_BLK_MQ);
	assert_string_equal(view.state, "SAME_COMP|INIT_DONE|QUIESCED");
	assert_int_equal(view.busy, 4);
	assert_int_equal(view.tags, 8);
	assert_int_equal(view.tags_busy, 4);
	assert_int_equal(view.sched_tags, 8);
	assert_int_equal(view.sched_busy, 3);
}

TEST_CASE(test_holder)
{
	look_as(0);
	assert_true(view.known & VIEW_HOLDER);
	assert_string_equal(view.holder, "mounted on /m");
	test_file("proc/self/mountinfo", "");
	look_as(0);
	assert_true(view.known & VIEW_HOLDER);
	assert_string_equal(view.holder, "");
	make_task(800, "800 (dd) S 1\n", "dd\n", "0", "", "/dev/ublkb1");
	look_as(0);
	assert_string_equal(view.holder, "opened by dd, process 800");
}

/* A host with more processes than there is time for: the rest is known. */
TEST_CASE(test_large_host)
{
	make_link("sys/dev/block/254:0", "../../devices/virtual/block/ublkb5");
	test_file("sys/class/block/ublkb5/inflight", "0 4\n");
	test_file("sys/class/block/ublkb1/queue/scheduler", "[none]\n");
	test_file("sys/kernel/debug/block/ublkb1/hctx0/busy", BUSY);
	make_task(166, DD_STAT, "dd\n", "bio_await", "", "/dev/ublkb1");
	make_task(812, "812 (kublk) T 1\n", "kublk\n", "0", "", "/dev/ublkc5");
	look_for(0, 0);
	assert_int_equal(view.known, VIEW_INFLIGHT | VIEW_BACKING |
					     VIEW_HOLDER | VIEW_QUEUE |
					     VIEW_BLK_MQ);
	assert_string_equal(view.holder, "mounted on /m");
	assert_string_equal(view.scheduler, "none");
	assert_int_equal(view.busy, 2);
	/* Nothing lasts that holds it: that nobody does is not known then. */
	test_file("proc/self/mountinfo", "");
	look_for(0, 0);
	assert_false(view.known & VIEW_HOLDER);
}

int main(void)
{
	return tests_run();
}
