/* Verdicts: a row for each, the facts and the sentence. */
#include <string.h>

#include "base/verdict.h"
#include "support.h"

#define EVERYTHING                                                   \
	(VIEW_INFLIGHT | VIEW_WAITERS | VIEW_BACKING | VIEW_SERVER | \
	 VIEW_QUEUE | VIEW_HOLDER | VIEW_BLK_MQ)
#define KNOWN .known = EVERYTHING
#define ONE_WRITE                                                  \
	{                                                          \
		.count = 1, .age = 12400000, .op = SIGHT_OP_WRITE, \
		.offset = 1ull << 30, .length = 4096               \
	}
#define THREE_WRITES                                               \
	{                                                          \
		.count = 3, .age = 12400000, .op = SIGHT_OP_WRITE, \
		.offset = 1ull << 30, .length = 4096               \
	}

static const struct row {
	const char *about;
	struct verdict_facts facts;
	struct view view;
	struct view_head head;
	const char *verdict;
} rows[] = {
	{ "idle",
	  { .id = 3 },
	  { KNOWN },
	  { .known = VIEW_WAITERS },
	  "no request waits" },
	{ "idle, and nobody has answered",
	  { .id = 3 },
	  { .known = 0 },
	  { 0 },
	  "the server has no request; what the kernel has is unknown" },
	{ "the disk itself",
	  { .backing = "/srv/a.img",
	    .is_file = 1,
	    .waits[SIGHT_WRITE] = THREE_WRITES },
	  { KNOWN, .writes = 3, .behind = { .name = "sda", .writes = 3 } },
	  { 0 },
	  "3 requests wait for the disk behind /srv/a.img, the oldest for 12.4 s: a "
	  "write of 4096 bytes at 1 GiB; the disk itself answers nothing "
	  "(sda: 3 in flight)" },
	{ "a device mapper",
	  { .backing = "/dev/dm-0", .waits[SIGHT_WRITE] = ONE_WRITE },
	  { KNOWN, .writes = 1,
	    .behind = { .name = "dm-0", .mapped = "slow0", .suspended = 1 } },
	  { 0 },
	  "1 request waits for /dev/dm-0, for 12.4 s: a write of "
	  "4096 bytes at 1 GiB; dm-0 (slow0) behind it is suspended: 'dmsetup "
	  "resume slow0' lets it go on" },
	{ "a frozen file system",
	  { .backing = "/m/a", .is_file = 1, .waits[SIGHT_WRITE] = ONE_WRITE },
	  { KNOWN, .mount = "/m", .kind = "ext4",
	    .behind = { .name = "ram0" } },
	  { .workers = 1, .frozen = 1 },
	  "1 request waits for /m/a, for 12.4 s: a write of 4096 "
	  "bytes at 1 GiB; the file system on /m (ext4) is frozen: 'fsfreeze "
	  "--unfreeze /m' lets it go on" },
	{ "a discard, or zeroes, for a frozen file system",
	  { .backing = "/m/a",
	    .is_file = 1,
	    .waits[SIGHT_DISCARD] = { .count = 2,
				      .age = 2000000,
				      .op = SIGHT_OP_DISCARD,
				      .length = 65536 } },
	  { KNOWN, .mount = "/m", .kind = "ext4",
	    .behind = { .name = "ram0" } },
	  { .workers = 1, .frozen = 1 },
	  "2 requests wait for /m/a, the oldest for 2.0 s: a discard of 65536 "
	  "bytes at byte 0; the file system on /m (ext4) is frozen: 'fsfreeze "
	  "--unfreeze /m' lets it go on" },
	{ "a file system is frozen, and of two devices' nobody knows which",
	  { .backing = "/m/a",
	    .is_file = 1,
	    .has_rivals = 1,
	    .waits[SIGHT_WRITE] = ONE_WRITE },
	  { KNOWN, .mount = "/m", .kind = "ext4",
	    .behind = { .name = "ram0" } },
	  { .workers = 1, .frozen = 1 },
	  "1 request waits for /m/a, for 12.4 s: a write of 4096 "
	  "bytes at 1 GiB; the file system on /m (ext4) is frozen: 'fsfreeze "
	  "--unfreeze /m' lets it go on; or another device's is, in whose line "
	  "this one waits, see CAVEATS of ublkd(8)" },
	{ "another one is frozen, this one's disk is slow",
	  { .backing = "/m/a", .is_file = 1, .waits[SIGHT_WRITE] = ONE_WRITE },
	  { KNOWN, .mount = "/m", .kind = "ext4",
	    .behind = { .name = "sda", .reads = 1 } },
	  { .workers = 1, .frozen = 1 },
	  "1 request waits for the disk behind /m/a, for 12.4 s: a write of "
	  "4096 bytes at 1 GiB; the disk itself answers nothing (sda: 1 in "
	  "flight)" },
	{ "another ublk server is stopped, and no tag is left",
	  { .backing = "/dev/ublkb5",
	    .tags = 4,
	    .waits[SIGHT_WRITE] = THREE_WRITES,
	    .waits[SIGHT_WORKER] = { .count = 1, .age = 13000000 } },
	  { KNOWN, .behind = { .name = "ublkb5",
			       .writes = 3,
			       .server = { 812, 'T', "kublk" } } },
	  { 0 },
	  "3 requests wait for /dev/ublkb5, the oldest for 12.4 s: "
	  "a write of 4096 bytes at 1 GiB; ublkb5 behind it is served by "
	  "kublk, process 812, which is stopped: 'kill -CONT 812' lets it go "
	  "on; 1 more waits elsewhere or behind; all 4 tags are taken, so "
	  "whatever else comes waits in the kernel" },
	{ "another ublk server is gone",
	  { .backing = "/dev/ublkb5", .waits[SIGHT_WRITE] = ONE_WRITE },
	  { KNOWN, .behind = { .name = "ublkb5" } },
	  { 0 },
	  "1 request waits for /dev/ublkb5, for 12.4 s: a write of "
	  "4096 bytes at 1 GiB; ublkb5 behind it has no server: nobody has its "
	  "char device open" },
	{ "another ublk server waits itself",
	  { .backing = "/dev/ublkb5", .waits[SIGHT_WRITE] = ONE_WRITE },
	  { KNOWN, .behind = { .name = "ublkb5",
			       .writes = 1,
			       .server = { 812, 'S', "kublk" } } },
	  { 0 },
	  "1 request waits for /dev/ublkb5, for 12.4 s: a write of "
	  "4096 bytes at 1 GiB; ublkb5 behind it answers nothing (1 in "
	  "flight): it is served by kublk, process 812, state S" },
	{ "a file server",
	  { .backing = "/net/a",
	    .is_file = 1,
	    .waits[SIGHT_READ] = { .count = 2,
				   .age = 2500000,
				   .op = SIGHT_OP_READ,
				   .offset = 1537,
				   .length = 512 } },
	  { KNOWN, .mount = "/net", .kind = "nfs4" },
	  { .workers = 2, .frozen = 1 },
	  "2 requests wait for /net/a, the oldest for 2.5 s: a "
	  "read of 512 bytes at byte 1537; /net is a nfs4, whose server does "
	  "not answer" },
	{ "too young to accuse anybody",
	  { .backing = "/net/a",
	    .is_file = 1,
	    .waits[SIGHT_READ] = { .count = 1,
				   .age = 250000,
				   .op = SIGHT_OP_READ,
				   .length = 512 } },
	  { KNOWN, .mount = "/net", .kind = "nfs4" },
	  { 0 },
	  "1 request waits for /net/a, for 250 ms: a read of 512 bytes at byte "
	  "0" },
	{ "a read does not wait for a frozen file system",
	  { .backing = "/m/a",
	    .is_file = 1,
	    .waits[SIGHT_READ] = { .count = 1,
				   .age = 2000000,
				   .op = SIGHT_OP_READ,
				   .length = 512 } },
	  { KNOWN, .mount = "/m", .kind = "btrfs" },
	  { .workers = 1, .frozen = 1 },
	  "1 request waits for /m/a, for 2.0 s: a read of 512 bytes at byte "
	  "0; why is unknown: the kernel did not tell what is behind it" },
	{ "above the disk",
	  { .backing = "/m/a",
	    .is_file = 1,
	    .waits[SIGHT_FLUSH] = { .count = 1,
				    .age = 1000000,
				    .op = SIGHT_OP_FLUSH } },
	  { KNOWN, .mount = "/m", .kind = "xfs", .behind = { .name = "sda" } },
	  { .workers = 1, .worker = { .pid = 5, .wchan = "xlog_wait" } },
	  "1 request waits for /m/a, for 1.0 s: a flush; sda behind it has "
	  "nothing in flight: the cause is above it, where a worker of the "
	  "kernel is in xlog_wait" },
	{ "nobody tells",
	  { .backing = "/m/a", .is_file = 1, .waits[SIGHT_WRITE] = ONE_WRITE },
	  { .known = 0 },
	  { 0 },
	  "1 request waits for /m/a, for 12.4 s: a write of 4096 "
	  "bytes at 1 GiB; why is unknown: the kernel did not tell what is "
	  "behind it" },
	{ "a layer",
	  { .id = 7, .waits[SIGHT_DELAY] = THREE_WRITES },
	  { KNOWN },
	  { 0 },
	  "3 requests wait for the layer delay, the oldest for 12.4 s: a write "
	  "of 4096 bytes at 1 GiB; its own delay keeps them: 'set 7 "
	  "delay-time=0 delay-max=0 delay-mean=0' lets them go" },
	{ "the other layer",
	  { .id = 7,
	    .waits[SIGHT_LIMIT] = { .count = 1,
				    .age = 1000,
				    .op = SIGHT_OP_WRITE,
				    .length = 512,
				    .offset = 0 } },
	  { KNOWN },
	  { 0 },
	  "1 request waits for the layer limit, for 1 ms: a write of 512 bytes "
	  "at byte 0; its own limit keeps them: 'set 7 limit-iops=0 "
	  "limit-bandwidth=0' lets them go" },
	{ "in two places: the oldest counts",
	  { .id = 7,
	    .waits[SIGHT_DELAY] = { .count = 1,
				    .age = 13000000,
				    .op = SIGHT_OP_READ,
				    .length = 512 },
	    .waits[SIGHT_LIMIT] = ONE_WRITE },
	  { KNOWN },
	  { 0 },
	  "1 request waits for the layer delay, for 13.0 s: a read of 512 bytes "
	  "at byte 0; its own delay keeps them: 'set 7 delay-time=0 "
	  "delay-max=0 delay-mean=0' lets them go; 1 more waits elsewhere or "
	  "behind" },
	{ "other devices have what it needs",
	  { .waits[SIGHT_WORKER] = ONE_WRITE },
	  { KNOWN },
	  { 0 },
	  "1 request waits for a free worker of the kernel, for 12.4 s: a "
	  "write of 4096 bytes at 1 GiB; requests that came before have what "
	  "it needs: 'stuck' shows which stand still" },
	{ "the driver refused a commit",
	  { .id = 7, .waits[SIGHT_REFUSED] = ONE_WRITE },
	  { KNOWN },
	  { 0 },
	  "1 request waits for nobody: the driver refused the answer, for 12.4 "
	  "s: a write of 4096 bytes at 1 GiB; that is a fault: 'trace 7' "
	  "shows what came before" },
	{ "one, and no recorder",
	  { .waits[VERDICT_NO_PLACE] = { .count = 1,
					 .age = VERDICT_NO_AGE,
					 .op = SIGHT_OP_FLUSH } },
	  { KNOWN },
	  { 0 },
	  "1 request is in the server, a flush; where it waits, and since "
	  "when, is not recorded" },
	{ "several, and no recorder",
	  { .backing = "/dev/dm-0",
	    .waits[VERDICT_NO_PLACE] = { .count = 2,
					 .age = VERDICT_NO_AGE,
					 .op = SIGHT_OP_READ,
					 .length = 512 } },
	  { KNOWN, .reads = 2,
	    .behind = { .name = "dm-0", .mapped = "slow0", .suspended = 1 } },
	  { 0 },
	  "2 requests are in the server, one a read of 512 bytes at byte 0; "
	  "where they wait, and since when, is not recorded; dm-0 (slow0) "
	  "behind it is suspended: 'dmsetup resume slow0' lets it go on" },
	{ "some are recorded, and some are not",
	  { .waits[VERDICT_NO_PLACE] = { .count = 2, .age = VERDICT_NO_AGE },
	    .waits[SIGHT_TARGET] = ONE_WRITE },
	  { KNOWN },
	  { 0 },
	  "1 request waits for the target, for 12.4 s: a write of 4096 bytes "
	  "at 1 GiB; 2 more wait elsewhere or behind" },
	{ "not all are delivered",
	  { .tags = 8, .owned = 3, .waits[SIGHT_TARGET] = ONE_WRITE },
	  { KNOWN, .writes = 5 },
	  { 0 },
	  "1 request waits for the target, for 12.4 s: a write of 4096 bytes "
	  "at 1 GiB; 2 more in the kernel, not delivered to the server" },
	{ "others come and go",
	  { .tags = 8, .moves = 1, .waits[SIGHT_TARGET] = ONE_WRITE },
	  { KNOWN, .writes = 5 },
	  { 0 },
	  "1 request waits for the target, for 12.4 s: a write of 4096 bytes "
	  "at 1 GiB" },
	{ "those that are too young to be told of have tags, too",
	  { .tags = 4, .owned = 4, .waits[SIGHT_TARGET] = ONE_WRITE },
	  { KNOWN, .tags_busy = 4, .sched_busy = 6 },
	  { 0 },
	  "1 request waits for the target, for 12.4 s: a write of 4096 bytes "
	  "at 1 GiB; all 4 tags are taken, so whatever else comes waits in the "
	  "kernel" },
	{ "fast, and asked in between",
	  { .id = 1, .moves = 1 },
	  { KNOWN, .reads = 1 },
	  { 0 },
	  "requests come and go; none waits in the server" },
	{ "not delivered",
	  { .id = 1 },
	  { KNOWN, .reads = 1, .writes = 1, .state = "STATS|QUIESCED|X",
	    .waiters = 1,
	    .tasks[0] = { .pid = 9, .comm = "dd", .wchan = "bio_await" } },
	  { 0 },
	  "2 requests are in the kernel and not delivered to the server: its "
	  "queue is quiesced; 1 task in D: dd, process 9, in bio_await" },
	{ "nothing is in flight, and yet somebody waits",
	  { .id = 1 },
	  { KNOWN, .waiters = 2,
	    .tasks[0] = { .pid = 9, .comm = "dd", .wchan = "blk_queue_enter" } },
	  { 0 },
	  "no request waits; 2 tasks in D: dd, process 9, in "
	  "blk_queue_enter" },
	{ "the server before lives",
	  { .state = VERDICT_DEAD_SERVER },
	  { KNOWN, .writes = 1 },
	  { 0 },
	  "it waits for the end of the server before, which has died and still "
	  "has it; 1 request waits for that" },
	{ "its file is gone",
	  { .state = VERDICT_LOST,
	    .why = "/m/a cannot be opened: No such file or directory",
	    .retry_in = 3 },
	  { KNOWN, .writes = 2 },
	  { 0 },
	  "nobody serves it: /m/a cannot be opened: No such file or directory; "
	  "the next try is in 3 s; 2 requests wait for that" },
	{ "lost, and what waits is not even in flight",
	  { .state = VERDICT_LOST, .why = "it is away", .retry_in = -1 },
	  { KNOWN, .tags = 128, .tags_busy = 1, .sched_busy = 2 },
	  { 0 },
	  "nobody serves it: it is away; 2 requests wait for that" },
	{ "lost, and nothing is tried",
	  { .state = VERDICT_LOST, .why = "", .retry_in = -1 },
	  { .known = 0 },
	  { 0 },
	  "nobody serves it: it could not be taken over" },
	{ "late ones alone",
	  { .backing = "/m/a", .is_file = 1, .waits[SIGHT_LATE] = THREE_WRITES },
	  { KNOWN, .mount = "/m", .kind = "ext4" },
	  { .workers = 1, .frozen = 1 },
	  "no request waits; 3 requests were answered with EIO and are still "
	  "with /m/a, the oldest for 12.4 s: a write of 4096 bytes at 1 GiB; the "
	  "file system on /m (ext4) is frozen: 'fsfreeze --unfreeze /m' lets "
	  "it go on" },
	{ "late ones behind others",
	  { .backing = "/dev/dm-0",
	    .waits[SIGHT_WRITE] = ONE_WRITE,
	    .waits[SIGHT_LATE] = { .count = 1,
				   .age = 62000000,
				   .op = SIGHT_OP_FLUSH } },
	  { KNOWN,
	    .behind = { .name = "dm-0", .mapped = "a", .suspended = 1 } },
	  { 0 },
	  "1 request waits for /dev/dm-0, for 12.4 s: a write of 4096 bytes at "
	  "1 GiB; dm-0 (a) behind it is suspended: 'dmsetup resume a' lets it "
	  "go on; 1 request was answered with EIO and is still with its "
	  "backing, for 62.0 s: a flush" },
	{ "a late one of which nobody knows since when",
	  { .backing = "",
	    .state = VERDICT_DELETING,
	    .step = "linger",
	    .waits[SIGHT_LATE] = { .count = 1, .age = VERDICT_NO_AGE } },
	  { KNOWN, .behind = { .name = "sda", .reads = 1 } },
	  { 0 },
	  "it is being deleted (linger); 1 request was answered with EIO and "
	  "is still with its backing, a read of 0 bytes at byte 0; the disk "
	  "itself answers nothing (sda: 1 in flight)" },
	{ "those that have come since when nobody knows",
	  { .backing = "/dev/sdb",
	    .waits[SIGHT_WRITE] = { .count = 12,
				    .age = VERDICT_NO_AGE,
				    .op = SIGHT_OP_WRITE,
				    .length = 512 } },
	  { KNOWN, .writes = 12, .behind = { .name = "sdb", .writes = 12 } },
	  { 0 },
	  "12 requests wait for /dev/sdb, one a write of 512 bytes at byte 0; "
	  "the disk itself answers nothing (sdb: 12 in flight)" },
	{ "a known age is told before one that is not known",
	  { .waits[SIGHT_TARGET] = { .count = 3, .age = VERDICT_NO_AGE },
	    .waits[SIGHT_COMMIT] = { .count = 1,
				     .age = 1000,
				     .op = SIGHT_OP_FLUSH } },
	  { KNOWN },
	  { 0 },
	  "1 request waits for the kernel to take the answer, for 1 ms: a "
	  "flush; 3 more wait elsewhere or behind" },
	{ "taken over",
	  { .state = VERDICT_TAKING_OVER, .step = "recover" },
	  { KNOWN },
	  { 0 },
	  "it is being taken over (recover)" },
	{ "being deleted",
	  { .state = VERDICT_DELETING, .step = "drain" },
	  { KNOWN },
	  { 0 },
	  "it is being deleted (drain)" },
};

TEST_CASE(test_sentences)
{
	char text[VERDICT_BYTES];
	size_t i;

	for (i = 0; i < COUNT(rows); i++) {
		struct verdict_facts facts = rows[i].facts;

		about(rows[i].about);
		facts.view = &rows[i].view;
		facts.views = &rows[i].head;
		if (!facts.backing)
			facts.backing = "";
		assert_string_equal(verdict(&facts, text, sizeof(text)),
				    rows[i].verdict);
	}
}

/* No sentence is longer than the room that there is. */
TEST_CASE(test_room)
{
	const struct view view = { KNOWN, .behind = { .name = "sda" } };
	const struct view_head head = { 0 };
	const struct verdict_facts facts = {
		.backing = "/srv/a.img",
		.waits[SIGHT_WRITE] = ONE_WRITE,
		.view = &view,
		.views = &head,
	};
	char text[2 * VERDICT_BYTES];
	size_t i;

	memset(text, 'x', sizeof(text));
	verdict(&facts, text, 30);
	assert_int_equal(strlen(text), 29);
	for (i = 30; i < sizeof(text); i++)
		assert_int_equal(text[i], 'x');
}

TEST_CASE(test_sums)
{
	const struct verdict_facts facts = {
		.waits[SIGHT_WRITE] = THREE_WRITES,
		.waits[SIGHT_DELAY] = { .count = 2, .age = 13000000 },
		.waits[VERDICT_NO_PLACE] = { .count = 1,
					     .age = VERDICT_NO_AGE },
		.waits[SIGHT_LATE] = { .count = 7, .age = 99000000 },
	};

	assert_int_equal(verdict_count(&facts), 6);
	assert_int_equal(verdict_age(&facts), 13000000);
}

int main(void)
{
	return tests_run();
}
