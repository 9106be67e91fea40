/* Where a device's requests wait: queues and recorder are the test's. */
#include <string.h>
#include <sys/sysmacros.h>

#include "device/waits.h"
#include "io/recorder.h"
#include "support.h"

#define DEPTH 4

static struct device device;
static struct queue queues[2];
static struct io ios[2][DEPTH];
static struct sight_tag tags[2 * DEPTH];
static struct recorder recorder;
static struct view_head head;
static struct verdict_facts facts;

int before_each(void **state)
{
	unsigned i;
	uint16_t tag;

	memset(&device, 0, sizeof(device));
	memset(queues, 0, sizeof(queues));
	memset(ios, 0, sizeof(ios));
	memset(tags, 0, sizeof(tags));
	head = (struct view_head){ .frozen = 0 };
	facts = (struct verdict_facts){ .views = &head };
	recorder =
		(struct recorder){ .tags = tags, .stride = DEPTH, .mask = 7 };
	device.queues = queues;
	device.open_queues = 2;
	for (i = 0; i < 2; i++) {
		queues[i].depth = DEPTH;
		queues[i].ios = queues[i].port.ios = ios[i];
		queues[i].port.queue_id = (uint16_t)i;
		queues[i].port.recorder = &recorder;
		for (tag = 0; tag < DEPTH; tag++)
			ios[i][tag] = (struct io){ .port = &queues[i].port,
						   .tag = tag };
	}
	return 0;
}

int after_each(void **state)
{
	return 0;
}

/* A request of ours since that many us. */
static void hold(unsigned queue, uint16_t tag, enum sight_place place,
		 uint64_t since)
{
	ios[queue][tag].owned = 1;
	ios[queue][tag].op = IO_READ;
	ios[queue][tag].offset = (uint64_t)4096 * (queue * DEPTH + tag);
	ios[queue][tag].length = 4096;
	queues[queue].port.owned++;
	tags[queue * DEPTH + tag] = (struct sight_tag){
		.since = since,
		.tag = tag,
		.queue = (uint8_t)queue,
		.place = (uint8_t)place,
	};
}

/* As of 1 s. Returns how many pieces it took. */
static unsigned count(uint64_t least, unsigned at_a_time)
{
	struct waits_cursor cursor = { 0, 0 };
	unsigned pieces = 0, budget;

	do {
		budget = at_a_time;
		pieces++;
	} while (
		waits_count(&device, &cursor, &budget, 1000000, least, &facts));
	return pieces;
}

/* In a small part another request has the entry: of this one the place is known. */
TEST_CASE(test_unseen)
{
	struct wait wait;

	hold(0, 2, SIGHT_DELAY, 500000);
	ios[0][2].owned = IO_UNSEEN + SIGHT_LIMIT;
	wait = wait_of(&ios[0][2], 1000000);
	assert_int_equal(wait.place, SIGHT_LIMIT);
	assert_true(wait.age == VERDICT_NO_AGE);
}

/* Nor is one of them the oldest of its place, whenever the look comes to it. */
TEST_CASE(test_unseen_among_others)
{
	uint16_t tag;

	for (tag = 0; tag < 3; tag++) {
		hold(0, tag, SIGHT_WRITE, (uint64_t)100000 * (tag + 1));
		if (tag != 1)
			ios[0][tag].owned = IO_UNSEEN + SIGHT_WRITE;
	}
	assert_int_equal(count(0, 100), 1);
	assert_int_equal(facts.waits[SIGHT_WRITE].count, 3);
	assert_int_equal(facts.waits[SIGHT_WRITE].age, 800000);
	assert_int_equal(facts.waits[SIGHT_WRITE].offset, 4096);
	assert_int_equal(verdict_age(&facts), 800000);
}

TEST_CASE(test_places)
{
	hold(0, 1, SIGHT_DELAY, 400000);
	hold(1, 0, SIGHT_WRITE, 700000);
	hold(1, 3, SIGHT_WRITE, 600000);
	assert_int_equal(count(0, 100), 1);
	assert_int_equal(verdict_count(&facts), 3);
	assert_int_equal(facts.waits[SIGHT_DELAY].count, 1);
	assert_int_equal(facts.waits[SIGHT_WRITE].count, 2);
	assert_int_equal(facts.waits[SIGHT_WRITE].age, 400000);
	assert_int_equal(facts.waits[SIGHT_WRITE].offset, 7 * 4096);
	assert_int_equal(facts.waits[SIGHT_WRITE].op, SIGHT_OP_READ);
	assert_int_equal(verdict_age(&facts), 600000);
}

/* It is not ours any more, and nobody else's: only that place is told of. */
TEST_CASE(test_refused)
{
	hold(1, 2, SIGHT_REFUSED, 400000);
	ios[1][2].owned = 0;
	queues[1].port.owned = 0;
	hold(1, 3, SIGHT_COMMIT, 400000);
	ios[1][3].owned = 0;
	queues[1].port.owned = 0;
	assert_int_equal(count(0, 100), 1);
	assert_int_equal(verdict_count(&facts), 0);
	queues[1].refused = 1;
	assert_int_equal(count(0, 100), 1);
	assert_int_equal(verdict_count(&facts), 1);
	assert_int_equal(facts.waits[SIGHT_REFUSED].count, 1);
	assert_int_equal(facts.waits[SIGHT_REFUSED].age, 600000);
}

/* Other processes may write to the file of sight. */
TEST_CASE(test_place_that_is_none)
{
	hold(0, 1, SIGHT_PLACES, 400000);
	hold(0, 2, SIGHT_NOWHERE, 400000);
	assert_int_equal(count(0, 100), 1);
	assert_int_equal(facts.waits[SIGHT_TARGET].count, 2);
}

/* A tag whose last request is late has another struct io. */
TEST_CASE(test_current)
{
	struct io spare = { .port = &queues[0].port, .tag = 2, .owned = 1 };
	struct io *current[DEPTH] = { &ios[0][0], &ios[0][1], &spare,
				      &ios[0][3] };
	struct late late = { .current = current };

	hold(0, 2, SIGHT_WRITE, 400000);
	ios[0][2].owned = 0;
	spare.length = 512;
	queues[0].port.late = &late;
	assert_int_equal(count(0, 100), 1);
	assert_int_equal(verdict_count(&facts), 1);
	assert_int_equal(facts.waits[SIGHT_WRITE].length, 512);
}

/* Late ones are told of behind those that wait, also where none does. */
TEST_CASE(test_late)
{
	uint16_t which[] = { 3, 1 };
	uint64_t since[DEPTH] = { 0, 400000, 0, 0 };
	struct io *current[DEPTH] = { &ios[0][0], &ios[0][1], &ios[0][2],
				      &ios[0][3] };
	struct late late = {
		.current = current, .which = which, .since = since, .count = 2
	};
	unsigned at_a_time;

	ios[0][1].data = ios[0][3].data = IO_DATA_LATE;
	ios[0][1].length = 512;
	queues[0].port.late = &late;
	for (at_a_time = 1; at_a_time < 12; at_a_time++) {
		memset(&facts, 0, sizeof(facts));
		count(0, at_a_time);
		assert_int_equal(facts.waits[SIGHT_LATE].count, 2);
		assert_int_equal(verdict_count(&facts), 0);
	}
	/* Of one nobody knows since when. */
	assert_int_equal(facts.waits[SIGHT_LATE].age, 600000);
	since[3] = 700000;
	memset(&facts, 0, sizeof(facts));
	hold(1, 0, SIGHT_READ, 100000);
	count(0, 100);
	assert_int_equal(facts.waits[SIGHT_LATE].age, 600000);
	assert_int_equal(facts.waits[SIGHT_LATE].length, 512);
	assert_int_equal(verdict_count(&facts), 1);
	assert_int_equal(verdict_age(&facts), 900000);
	memset(&facts, 0, sizeof(facts));
	count(500000, 100);
	assert_int_equal(facts.waits[SIGHT_LATE].count, 1);
	queues[0].port.late = NULL;
}

TEST_CASE(test_answered)
{
	queues[0].port.count[IO_READ] = 5;
	queues[1].port.count[IO_FLUSH] = 2;
	queues[1].port.errors = 1;
	assert_int_equal(waits_answered(&device), 8);
}

/* Each once, in however small pieces. */
TEST_CASE(test_pieces)
{
	unsigned at_a_time;

	hold(0, 0, SIGHT_READ, 1);
	hold(0, 3, SIGHT_READ, 1);
	hold(1, 2, SIGHT_READ, 1);
	for (at_a_time = 1; at_a_time < 10; at_a_time++) {
		memset(&facts, 0, sizeof(facts));
		assert_true(count(0, at_a_time) >= 8 / at_a_time);
		assert_int_equal(verdict_count(&facts), 3);
	}
}

/* A queue that has none is not looked through. */
TEST_CASE(test_idle_queue)
{
	hold(1, 2, SIGHT_READ, 1);
	assert_int_equal(count(0, 5), 1);
	assert_int_equal(verdict_count(&facts), 1);
}

TEST_CASE(test_least)
{
	hold(0, 0, SIGHT_READ, 900000);
	hold(0, 1, SIGHT_READ, 500000);
	count(500000, 100);
	assert_int_equal(verdict_count(&facts), 0);
	count(499999, 100);
	assert_int_equal(verdict_count(&facts), 1);
	assert_int_equal(facts.waits[SIGHT_READ].age, 500000);
}

/* Another request has the entry, or there is none: it waits all the same. */
TEST_CASE(test_no_age)
{
	hold(0, 0, SIGHT_WRITE, 1);
	tags[0].tag = 8;
	hold(0, 1, SIGHT_WRITE, 1);
	tags[1].queue = 2;
	count(0, 100);
	assert_int_equal(facts.waits[VERDICT_NO_PLACE].count, 2);
	assert_true(facts.waits[VERDICT_NO_PLACE].age == VERDICT_NO_AGE);
	assert_int_equal(verdict_age(&facts), 0);
	memset(&facts, 0, sizeof(facts));
	queues[0].port.recorder = NULL;
	count(0, 100);
	assert_int_equal(facts.waits[VERDICT_NO_PLACE].count, 2);
	/* Whoever asks for old ones hears of them. */
	memset(&facts, 0, sizeof(facts));
	count(UINT64_MAX - 1, 100);
	assert_int_equal(verdict_count(&facts), 2);
	hold(1, 0, SIGHT_TARGET, 999000);
	count(0, 100);
	assert_int_equal(facts.waits[SIGHT_TARGET].age, 1000);
	assert_int_equal(facts.waits[SIGHT_TARGET].offset, 4 * 4096);
}

/* The clock of the turn may be behind that of a request. */
TEST_CASE(test_future)
{
	hold(0, 0, SIGHT_READ, 2000000);
	count(0, 100);
	assert_int_equal(facts.waits[SIGHT_READ].age, 0);
}

static int has_backing;
static struct target rival;
static struct target_backing rival_backing;

static int get_backing(const struct target *target,
		       struct target_backing *backing)
{
	*backing = (struct target_backing){ "/srv/a", makedev(8, 3), 1 };
	if (target == &rival)
		*backing = rival_backing;
	return has_backing;
}

TEST_CASE(test_describe)
{
	struct target_ops ops = { .backing = get_backing };
	struct target target = { .ops = &ops };
	struct view_wish wish;

	has_backing = 1;
	device.step = DEVICE_LIVE;
	device.spec.target = &target;
	device.spec.id = 7;
	device.spec.queues = 2;
	device.spec.depth = DEPTH;
	strcpy(device.disk, "ublkb7");
	queues[0].port.owned = 1;
	queues[1].port.owned = 2;
	waits_describe(&device, &facts);
	assert_int_equal(facts.id, 7);
	assert_int_equal(facts.state, VERDICT_LIVE);
	assert_int_equal(facts.tags, 2 * DEPTH);
	assert_int_equal(facts.owned, 3);
	assert_string_equal(facts.backing, "/srv/a");
	assert_int_equal(facts.is_file, 1);
	assert_string_equal(facts.why, "");
	waits_wish(&device, &wish);
	assert_string_equal(wish.disk, "ublkb7");
	assert_int_equal(wish.backing, 1);
	assert_int_equal(wish.major, 8);
	assert_int_equal(wish.minor, 3);
	ops.backing = NULL;
	device.why = (char[]){ "it is gone" };
	waits_wish(&device, &wish);
	assert_int_equal(wish.backing, 0);
	waits_describe(&device, &facts);
	assert_string_equal(facts.backing, "");
	assert_string_equal(facts.why, "it is gone");
	device.rests = 1;
	waits_describe(&device, &facts);
	assert_string_equal(facts.why, "it was quiesced, and resume ends that");
}

/*
 * A file system is frozen. It may be another device's that has requests, for its
 * file, and on another one.
 */
TEST_CASE(test_rivals)
{
	static const struct {
		unsigned minor;
		int is_file, owned, frozen, has_rivals;
	} rows[] = {
		{ 4, 1, 1, 1, 1 }, { 3, 1, 1, 1, 0 }, { 4, 0, 1, 1, 0 },
		{ 4, 1, 0, 1, 0 }, { 4, 1, 1, 0, 0 },
	};
	struct target_ops ops = { .backing = get_backing };
	struct target target = { .ops = &ops };
	struct device other = { .queues = &queues[1], .open_queues = 1 };
	struct device_set set = { .first = &device };
	size_t i;

	has_backing = 1;
	device.spec.target = &target;
	device.set = other.set = &set;
	device.next = &other;
	device.open_queues = 1;
	queues[0].port.owned = 1;
	rival.ops = &ops;
	other.spec.target = &rival;
	for (i = 0; i < COUNT(rows); i++) {
		rival_backing = (struct target_backing){
			"/m/a", makedev(8, rows[i].minor), rows[i].is_file
		};
		queues[1].port.owned = (unsigned)rows[i].owned;
		head.frozen = (unsigned)rows[i].frozen;
		waits_describe(&device, &facts);
		assert_int_equal(facts.has_rivals, rows[i].has_rivals);
	}
}

TEST_CASE(test_states)
{
	static const struct {
		enum device_step step;
		int waited;
		enum verdict_state state;
	} rows[] = {
		{ DEVICE_ADD, 0, VERDICT_ADDING },
		{ DEVICE_LIVE, 0, VERDICT_LIVE },
		{ DEVICE_RECOVER, 0, VERDICT_TAKING_OVER },
		{ DEVICE_RECOVER, 1, VERDICT_DEAD_SERVER },
		{ DEVICE_LOST, 0, VERDICT_LOST },
		{ DEVICE_STOP, 0, VERDICT_DELETING },
	};
	struct target_ops ops = { .backing = NULL };
	struct target target = { .ops = &ops };
	size_t i;

	device.spec.target = &target;
	device.open_queues = 0;
	for (i = 0; i < COUNT(rows); i++) {
		device.step = rows[i].step;
		device.waited = rows[i].waited;
		waits_describe(&device, &facts);
		assert_int_equal(facts.state, rows[i].state);
	}
}

int main(void)
{
	return tests_run();
}
