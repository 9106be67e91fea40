/*
 * The recorder: what becomes of a request, in a file that the next server opens
 * again. The file has no name here; the clock is the test's.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "support.h"
#include "base/memory.h"
#include "io/recorder.h"
#include "keeper/sight-file.h"

#define QUEUES 2
#define DEPTH  16

static int file;
static struct recorder *recorder;
static struct io_port ports[QUEUES];
static struct io ios[QUEUES][DEPTH];
static int no_room;	     /* for what is allocated */
static int no_memory;	     /* the host is short of it */
static unsigned allocations; /* of a part */

int __wrap_fallocate(int fd, int mode, off_t at, off_t size);
int LARGE(__real_fallocate)(int fd, int mode, off_t at, off_t size);
int __wrap_fallocate64(int fd, int mode, off_t at, off_t size);

int __wrap_memory_take(uint64_t bytes, uint64_t reserve);

int __wrap_memory_take(uint64_t bytes, uint64_t reserve)
{
	assert_int_equal(bytes, 16384);
	assert_true(reserve == MEMORY_RESERVE_AUTO);
	return no_memory ? -ENOMEM : 0;
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t size)
{
	allocations += !mode;
	if (no_room && !mode) {
		errno = ENOSPC;
		return -1;
	}
	return LARGE(__real_fallocate)(fd, mode, at, size);
}

int __wrap_fallocate64(int fd, int mode, off_t at, off_t size)
{
	return __wrap_fallocate(fd, mode, at, size);
}

static void open_as(uint32_t id, int is_new)
{
	unsigned queue, tag;

	recorder = recorder_open(id, is_new, QUEUES, DEPTH, "file");
	for (queue = 0; queue < QUEUES; queue++) {
		ports[queue] = (struct io_port){ .queue_id = (uint16_t)queue,
						 .recorder = recorder,
						 .ios = ios[queue],
						 .depth = DEPTH };
		for (tag = 0; tag < DEPTH; tag++)
			ios[queue][tag] = (struct io){ .port = &ports[queue],
						       .tag = (uint16_t)tag };
	}
}

int before_each(void **state)
{
	const char *why;

	test_loop_open();
	log_forget();
	no_room = no_memory = 0;
	allocations = 0;
	file = sight_file_make(-1, &why);
	assert_true(file >= 0);
	turns_share(file, 0, NULL, NULL);
	turns_server->watched = 1;
	assert_int_equal(recorder_begin(file, test_loop), 0);
	open_as(7, 1);
	assert_non_null(recorder);
	recorder_enter(&ports[0]);
	recorder_enter(&ports[1]);
	return 0;
}

int after_each(void **state)
{
	recorder_close(recorder);
	recorder_end();
	close(file);
	test_loop_close();
	return 0;
}

/* ---- requests ---- */

static void end_turn(void)
{
	unsigned queue;

	for (queue = 0; queue < QUEUES; queue++)
		recorder_turned(&ports[queue]);
}

/* The loop does what else it has to do. */
static void rest(void)
{
	end_turn();
	settle();
}

/* Another turn of the queues begins so many us later. */
static void begin_turn(unsigned us)
{
	end_turn();
	move_clock(us / 1e6);
	turns_enter(SIGHT_TURNS, recorder->slot);
	turns_server->since = turns_server->since / 1000 * 1000;
}

static struct io *deliver(unsigned queue, unsigned tag, enum io_op op)
{
	struct io *io = &ios[queue][tag];

	io->op = (uint8_t)op;
	io->offset = (uint64_t)tag * 4096;
	io->length = 4096;
	io->owned = 1;
	io->port->owned++;
	recorder_delivered(io);
	return io;
}

static void answer(struct io *io, int error)
{
	recorder_answered(io, error);
	io->owned = 0;
	io->port->owned--;
}

/* So many requests, one after the other, that wait for so many us. */
static void wait_for(unsigned count, unsigned us)
{
	struct io *io;

	while (count--) {
		rest();
		begin_turn(1000);
		io = deliver(0, count % DEPTH, IO_READ);
		recorder_left(io);
		begin_turn(us);
		answer(io, 0);
	}
}

static uint64_t count_of(enum sight_op op, enum sight_kind kind)
{
	struct sight_histogram histogram;

	recorder_histogram(recorder, op, kind, &histogram);
	return sight_histogram_total(&histogram);
}

static uint64_t percentile(enum sight_kind kind, unsigned millionths)
{
	struct sight_histogram histogram;

	recorder_histogram(recorder, SIGHT_OP_READ, kind, &histogram);
	return sight_percentile(&histogram, millionths);
}

static struct sight_event event_at(int64_t number)
{
	uint64_t events = recorder->small->events;
	struct sight_event event;

	if (number < 0)
		number += (int64_t)events;
	assert_int_equal(recorder_event(recorder, (uint64_t)number, &event), 0);
	return event;
}

/* ---- times ---- */

TEST_CASE(test_buckets_follow_each_other)
{
	unsigned bucket;
	uint64_t begin;

	for (bucket = 0; bucket < SIGHT_BUCKETS; bucket++) {
		begin = sight_bucket_begin(bucket);
		assert_int_equal(sight_bucket(begin), bucket);
		if (bucket)
			assert_int_equal(sight_bucket(begin - 1), bucket - 1);
		/* An eighth at most. */
		if (bucket > 8)
			assert_true(sight_bucket_begin(bucket + 1) <=
				    begin + begin / 8);
	}
	assert_int_equal(sight_bucket(UINT64_MAX), SIGHT_BUCKETS - 1);
}

TEST_CASE(test_percentiles)
{
	struct sight_histogram histogram = { .high[3] = 0 };

	assert_int_equal(sight_percentile(&histogram, 500000), 0);
	histogram.low[sight_bucket(5000)] = 90;
	histogram.low[sight_bucket(80000)] = 10;
	assert_in_range(sight_percentile(&histogram, 500000), 4600, 5200);
	assert_in_range(sight_percentile(&histogram, 990000), 75000, 85000);
	assert_int_equal(sight_histogram_total(&histogram), 100);
	histogram.high[sight_bucket(5000)] = 1;
	assert_int_equal(sight_histogram_total(&histogram), 100 + (1ull << 32));
}

/* A bucket that has 32 bits full goes on. */
TEST_CASE(test_many)
{
	wait_for(100, 5000);
	assert_non_null(recorder->large);
	recorder->large->histograms[SIGHT_OP_READ][0].low[sight_bucket(5000)] =
		UINT32_MAX;
	wait_for(1, 5000);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD), 1ull << 32);
}

/* ---- what becomes of a request ---- */

/* One event in place of two, and no entry. */
TEST_CASE(test_in_turn)
{
	uint64_t before = recorder->small->events;

	begin_turn(1000);
	answer(deliver(0, 1, IO_WRITE), 0);
	assert_int_equal(recorder->small->events, before + 1);
	assert_int_equal(event_at(-1).what, SIGHT_SERVED);
	assert_int_equal(event_at(-1).number, 4096);
	assert_int_equal(recorder->small->counts[SIGHT_OP_WRITE].in_turn, 1);
	assert_int_equal(recorder->small->counts[SIGHT_OP_WRITE].bytes, 4096);
	assert_int_equal(recorder_tag(&ios[0][1])->place, SIGHT_NOWHERE);
	assert_int_equal(count_of(SIGHT_OP_WRITE, SIGHT_IN_UBLKD), 1);
}

/* Another event lies between the two. */
TEST_CASE(test_in_turn_with_an_error)
{
	begin_turn(1000);
	answer(deliver(0, 1, IO_READ), -EIO);
	assert_int_equal(event_at(-2).what, SIGHT_DELIVERED);
	assert_int_equal(event_at(-1).what, SIGHT_COMMITTED);
	assert_int_equal((int64_t)event_at(-1).number, -EIO);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].errors, 1);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].in_turn, 0);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].bytes, 0);
}

static void look_at_places(void)
{
	struct io *io;

	begin_turn(1000);
	io = deliver(1, 3, IO_READ);
	recorder_kept(io, SIGHT_DELAY);
	assert_int_equal(recorder_tag(io)->place, SIGHT_DELAY);
	assert_int_equal(recorder_tag(io)->tag, 3);
	assert_int_equal(recorder_tag(io)->queue, 1);
	begin_turn(2000);
	recorder_passed(io);
	assert_int_equal(recorder_tag(io)->place, SIGHT_TARGET);
	recorder_place(io, SIGHT_WORKER);
	assert_int_equal(recorder_tag(io)->place, SIGHT_WORKER);
	begin_turn(4000);
	recorder_submitted(io);
	assert_int_equal(recorder_tag(io)->place, SIGHT_READ);
	begin_turn(8000);
	recorder_completed(io, 4096);
	assert_int_equal(recorder_tag(io)->place, SIGHT_TARGET);
	answer(io, 0);
	assert_int_equal(recorder_tag(io)->place, SIGHT_COMMIT);
	assert_in_range(
		recorder->small->counts[SIGHT_OP_READ].longest[SIGHT_IN_UBLKD],
		13000, 15000);
	assert_in_range(
		recorder->small->counts[SIGHT_OP_READ].longest[SIGHT_IN_BACKING],
		7000, 9000);
	assert_in_range(percentile(SIGHT_IN_BACKING, 500000), 7000, 9000);
	assert_int_equal(event_at(-6).what, SIGHT_DELIVERED);
	assert_int_equal(event_at(-5).what, SIGHT_KEPT);
	assert_int_equal(event_at(-4).what, SIGHT_PASSED);
	assert_int_equal(event_at(-3).what, SIGHT_SUBMITTED);
	assert_int_equal(event_at(-2).what, SIGHT_COMPLETED);
	assert_int_equal(event_at(-1).what, SIGHT_COMMITTED);
	assert_in_range(event_at(-1).length, 13000, 15000);
}

/* A device that is used. */
static void become_large(void)
{
	struct io *io;

	wait_for(100, 5000);
	io = deliver(0, 0, IO_READ);
	recorder_left(io);
	end_turn();
	answer(io, 0);
	assert_non_null(ports[0].entries);
	recorder_reset(recorder);
}

TEST_CASE(test_places)
{
	look_at_places();
	become_large();
	look_at_places();
}

/* What most writes do, which the recorder has a short way for. */
static void write_one(unsigned us)
{
	struct io *io;
	struct sight_event event;

	begin_turn(1000);
	io = deliver(0, 9, IO_WRITE);
	recorder_asked(io);
	assert_int_equal(recorder_entry(io)->place, SIGHT_DATA);
	recorder_left(io);
	begin_turn(us);
	answer(io, 0);
	recorder_left_again(io);
	assert_int_equal(recorder_tag(io)->place, SIGHT_COMMIT);
	event = event_at(-1);
	assert_int_equal(event.what, SIGHT_COMMITTED);
	assert_int_equal(event.tag, 9);
	assert_int_equal(event.op, IO_WRITE);
	assert_int_equal(event.number, 0);
	assert_in_range(event.length, us, us + 1000);
	assert_int_equal(sight_event_queue(&event), 0);
	event = event_at(-2);
	assert_int_equal(event.what, SIGHT_DELIVERED);
	assert_int_equal(event.number, 9 * 4096);
	assert_int_equal(event.length, 4096);
}

static void write_some(void)
{
	const struct sight_counts *counts =
		&recorder->small->counts[SIGHT_OP_WRITE];

	write_one(7000);
	write_one(300000000); /* longer than any bucket knows */
	assert_int_equal(counts->count, 2);
	assert_int_equal(counts->bytes, 2 * 4096);
	assert_in_range(counts->sum[SIGHT_IN_UBLKD], 300007000, 300010000);
	assert_in_range(counts->longest[SIGHT_IN_UBLKD], 300000000, 300001000);
	assert_int_equal(counts->longest[SIGHT_IN_BACKING], 0);
	assert_int_equal(count_of(SIGHT_OP_WRITE, SIGHT_IN_UBLKD), 2);
}

TEST_CASE(test_writes)
{
	write_some();
	become_large();
	write_some();
}

/* Its data has come, and the target has not answered. */
TEST_CASE(test_data_came)
{
	struct io *io;

	begin_turn(1000);
	io = deliver(1, 2, IO_WRITE);
	recorder_asked(io);
	begin_turn(1000);
	recorder_left_again(io);
	assert_int_equal(recorder_entry(io)->place, SIGHT_TARGET);
	recorder_place(io, SIGHT_TURN);
	recorder_left_again(io);
	assert_int_equal(recorder_entry(io)->place, SIGHT_TURN);
}

/* Several pieces: the first look at the backing counts. */
TEST_CASE(test_pieces)
{
	struct io *io;

	begin_turn(1000);
	io = deliver(0, 3, IO_READ);
	recorder_submitted(io);
	begin_turn(5000);
	recorder_completed(io, 4096);
	recorder_submitted(io);
	begin_turn(5000);
	recorder_completed(io, 4096);
	answer(io, 0);
	assert_in_range(
		recorder->small->counts[SIGHT_OP_READ].longest[SIGHT_IN_BACKING],
		9000, 11000);
}

TEST_CASE(test_left_without_a_word)
{
	struct io *io;

	begin_turn(1000);
	io = deliver(0, 0, IO_READ);
	recorder_left(io);
	assert_int_equal(recorder_tag(io)->place, SIGHT_TARGET);
	recorder_place(io, SIGHT_BUFFER);
	recorder_left(io);
	assert_int_equal(recorder_tag(io)->place, SIGHT_BUFFER);
	recorder_taken_back(io);
	assert_int_equal(recorder_tag(io)->place, SIGHT_NOWHERE);
	assert_int_equal(event_at(-1).what, SIGHT_TAKEN_BACK);
}

TEST_CASE(test_depth_reached)
{
	struct io *some[3];
	unsigned i;

	begin_turn(1000);
	for (i = 0; i < 3; i++) {
		some[i] = deliver(0, i, IO_READ);
		recorder_left(some[i]);
	}
	begin_turn(1000);
	for (i = 0; i < 3; i++)
		answer(some[i], 0);
	assert_int_equal(recorder->small->most, 3);
}

/* ---- from small to large ---- */

/* Nothing of the first requests is lost from what has been counted. */
TEST_CASE(test_grows)
{
	wait_for(SIGHT_FIRST_TIMES, 5000);
	assert_null(recorder->large);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD),
			 SIGHT_FIRST_TIMES);
	wait_for(12, 5000);
	assert_non_null(recorder->large);
	assert_int_equal(recorder->small->is_large, 1);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD),
			 SIGHT_FIRST_TIMES + 12);
	assert_in_range(percentile(SIGHT_IN_UBLKD, 10000), 4500, 5500);
	assert_in_range(percentile(SIGHT_IN_UBLKD, 990000), 4500, 5500);
	/* The last ones before, and all after that. */
	assert_int_equal(event_at(SIGHT_FIRST_TIMES * 2 - 2).what,
			 SIGHT_DELIVERED);
	assert_int_equal(event_at(SIGHT_FIRST_TIMES * 2 - 1).what,
			 SIGHT_COMMITTED);
	assert_int_equal(event_at(-1).what, SIGHT_COMMITTED);
}

/* Two at a time that would have the same entry. */
TEST_CASE(test_grows_for_an_entry)
{
	struct io *one, *other;

	begin_turn(1000);
	one = deliver(0, 1, IO_READ);
	recorder_kept(one, SIGHT_LIMIT);
	begin_turn(1000);
	other = deliver(1, 1 + SIGHT_SLOTS, IO_READ);
	recorder_kept(other, SIGHT_DELAY);
	recorder_left(other);
	assert_null(recorder_entry(other));
	rest();
	assert_non_null(recorder->large);
	assert_ptr_not_equal(recorder_tag(one), recorder_tag(other));
	assert_int_equal(recorder_entry(one)->place, SIGHT_LIMIT);
	/* Where it was is known; its time is from now on. */
	assert_int_equal(recorder_entry(other)->place, SIGHT_DELAY);
	assert_true(recorder_entry(other)->since > recorder_entry(one)->since);
	begin_turn(1000);
	recorder_submitted(other);
	assert_int_equal(recorder_entry(other)->place, SIGHT_READ);
	begin_turn(2000);
	answer(one, 0);
	assert_in_range(recorder->small->counts[SIGHT_OP_READ].longest[0], 3500,
			4500);
	answer(other, 0);
	assert_in_range(recorder->small->counts[SIGHT_OP_READ].longest[0], 3500,
			4500);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD), 2);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].in_turn, 0);
}

/* The tag's first one is late (late.h): another one serves the tag. */
TEST_CASE(test_grows_with_a_late_one)
{
	struct io spare = { .port = &ports[1], .tag = 3, .owned = 1 };
	struct io *current[DEPTH], *one;
	struct late late = { .current = current };
	unsigned tag;

	for (tag = 0; tag < DEPTH; tag++)
		current[tag] = &ios[1][tag];
	current[3] = &spare;
	ports[1].late = &late;
	begin_turn(1000);
	one = deliver(0, 3, IO_READ);
	recorder_kept(one, SIGHT_LIMIT);
	ports[1].owned++;
	recorder_delivered(&spare);
	recorder_kept(&spare, SIGHT_DELAY);
	rest();
	assert_non_null(recorder->large);
	assert_int_equal(spare.owned, IO_PARKED);
	assert_int_equal(recorder_entry(&spare)->place, SIGHT_DELAY);
	assert_int_equal(recorder_entry(one)->place, SIGHT_LIMIT);
}

/*
 * The kernel that has no memory left may wait for the request that is being
 * delivered: the part grows when none is in hand, and counts until then.
 */
TEST_CASE(test_delivery_takes_no_memory)
{
	struct io *held[DEPTH];
	unsigned before = allocations, i;

	for (i = 0; i < DEPTH; i++) {
		begin_turn(1000);
		held[i] = deliver(0, i, IO_WRITE);
		recorder_left(held[i]);
	}
	for (i = 0; i < SIGHT_ENOUGH; i++) {
		begin_turn(1000);
		answer(deliver(1, i % DEPTH, IO_READ), 0);
	}
	assert_int_equal(allocations, before);
	assert_null(recorder->large);
	rest();
	assert_non_null(recorder->large);
	for (i = 0; i < DEPTH; i++)
		answer(held[i], 0);
	assert_int_equal(recorder->small->counts[SIGHT_OP_WRITE].count, DEPTH);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].in_turn,
			 SIGHT_ENOUGH);
	assert_int_equal(count_of(SIGHT_OP_WRITE, SIGHT_IN_UBLKD), DEPTH);
}

/* Where the host is short of memory the next request asks again, a second later. */
TEST_CASE(test_short_of_memory)
{
	struct recorder *other = recorder_open(8, 1, QUEUES, DEPTH, "file");
	unsigned before = allocations;

	no_memory = 1;
	wait_for(SIGHT_FIRST_TIMES, 5000);
	recorder_step(other, "add");
	rest();
	pass_time(3);
	assert_false(timer_is_set());
	assert_int_equal(allocations, before);
	assert_int_equal(log_count("recorder"), 0);
	wait_for(1, 5000);
	rest();
	no_memory = 0;
	pass_time(0.5);
	assert_null(recorder->large);
	wait_for(1, 5000);
	rest();
	assert_null(recorder->large);
	pass_time(1.5);
	assert_non_null(recorder->large);
	assert_false(timer_is_set());
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].count,
			 SIGHT_FIRST_TIMES + 2);
	recorder_forget(other);
}

/* One that goes away before it has grown is forgotten, the other one is not. */
TEST_CASE(test_gone_before_it_grows)
{
	struct recorder *first = recorder;
	unsigned before;

	wait_for(SIGHT_FIRST_TIMES - 1, 5000);
	open_as(8, 1);
	wait_for(SIGHT_FIRST_TIMES - 1, 5000);
	before = allocations;
	begin_turn(1000);
	recorder_left(deliver(0, 0, IO_READ));
	answer(&ios[0][0], 0);
	ports[0].recorder = first;
	recorder_left(deliver(0, 0, IO_READ));
	answer(&ios[0][0], 0);
	recorder_forget(first);
	ports[0].recorder = NULL; /* its queue is closed before that */
	rest();
	assert_int_equal(allocations, before + 1);
	assert_non_null(recorder->large);
}

/* A device that never waits gets a longer ring, too. */
TEST_CASE(test_grows_by_events)
{
	unsigned i;

	for (i = 0; i < SIGHT_ENOUGH + SIGHT_FIRST_EVENTS; i++) {
		begin_turn(1000);
		answer(deliver(0, i % DEPTH, IO_READ), 0);
	}
	rest();
	assert_non_null(recorder->large);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD),
			 SIGHT_ENOUGH + SIGHT_FIRST_EVENTS);
}

/* Told once; it counts on. */
TEST_CASE(test_cannot_grow)
{
	no_room = 1;
	wait_for(200, 5000);
	assert_null(recorder->large);
	assert_int_equal(log_count("device 7: no memory for its recorder"), 1);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].count, 200);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD),
			 SIGHT_FIRST_TIMES);
}

/*
 * Then the one that waits for longer keeps the entry, whatever becomes of the
 * other one, which has no time.
 */
TEST_CASE(test_cannot_grow_for_an_entry)
{
	struct io *one, *other, *last;

	no_room = 1;
	begin_turn(1000);
	one = deliver(0, 1, IO_READ);
	recorder_kept(one, SIGHT_LIMIT);
	begin_turn(90000);
	other = deliver(1, 1, IO_READ);
	recorder_kept(other, SIGHT_DELAY);
	recorder_left(other);
	rest();
	assert_int_equal(other->owned, IO_UNSEEN + SIGHT_DELAY);
	recorder_passed(other);
	recorder_submitted(other);
	recorder_completed(other, 4096);
	begin_turn(1000);
	last = deliver(0, 9, IO_READ);
	answer(other, 0);
	recorder_taken_back(last);
	assert_int_equal(recorder_entry(one)->place, SIGHT_LIMIT);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].longest[0], 0);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].in_turn, 0);
	recorder_refused(other);
	assert_int_equal(recorder_entry(one)->place, SIGHT_LIMIT);
	answer(one, 0);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].count, 2);
	assert_in_range(recorder->small->counts[SIGHT_OP_READ].longest[0],
			90000, 92000);
	recorder_refused(other);
	assert_int_equal(recorder_entry(other)->place, SIGHT_REFUSED);
}

TEST_CASE(test_no_slot)
{
	no_room = 1;
	assert_null(recorder_open(8, 1, QUEUES, DEPTH, "file"));
	assert_true(log_has("device 8 has no recorder: no memory in the state "
			    "folder"));
}

/* ---- servers ---- */

/* Another process has the file, and the same device. */
static void next_server(int is_new)
{
	recorder_close(recorder);
	recorder_end();
	assert_int_equal(recorder_begin(file, test_loop), 0);
	open_as(7, is_new);
	assert_non_null(recorder);
}

TEST_CASE(test_next_server)
{
	uint64_t events;

	wait_for(SIGHT_FIRST_TIMES / 2, 5000);
	next_server(0);
	wait_for(100, 5000);
	begin_turn(1000);
	recorder_kept(deliver(0, 5, IO_WRITE), SIGHT_DELAY);
	events = recorder->small->events;
	next_server(0);
	assert_non_null(recorder->large);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].count,
			 100 + SIGHT_FIRST_TIMES / 2);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD),
			 100 + SIGHT_FIRST_TIMES / 2);
	/* What the last one did can be read; its requests come again. */
	assert_int_equal(recorder->small->events, events);
	assert_int_equal(event_at(-1).what, SIGHT_KEPT);
	assert_int_equal(recorder_tag(&ios[0][5])->place, SIGHT_DELAY);
	recorder_enter(&ports[1]);
	assert_int_equal(recorder_tag(&ios[0][5])->place, SIGHT_DELAY);
	recorder_enter(&ports[0]);
	assert_int_equal(recorder_tag(&ios[0][5])->place, SIGHT_NOWHERE);
	recorder_step(recorder, "end-recover-and-more");
	assert_string_equal(event_at(-1).text, "end-recover");
	assert_int_equal(event_at(-2).what, SIGHT_KEPT);
}

/* A number that comes again is another device. */
TEST_CASE(test_new_device)
{
	wait_for(100, 5000);
	next_server(1);
	assert_null(recorder->large);
	assert_int_equal(recorder->small->events, 0);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD), 0);
	wait_for(100, 5000);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD), 100);
}

static int is_even(void *context, uint32_t id)
{
	return id % 2 == 0;
}

TEST_CASE(test_slots_are_given_back)
{
	struct recorder *other = recorder_open(8, 1, 1, 1, "null");
	uint32_t slot = recorder->slot;

	assert_int_not_equal(other->slot, slot);
	recorder_forget(recorder);
	open_as(9, 1);
	assert_int_equal(recorder->slot, slot);
	recorder_close(recorder);
	recorder_forget_others(is_even, NULL);
	open_as(11, 1);
	assert_int_equal(recorder->slot, slot);
	recorder_close(other);
	other = recorder_open(8, 0, 1, 1, "null");
	assert_string_equal(other->small->target, "null");
	recorder_close(other);
}

TEST_CASE(test_reset)
{
	wait_for(100, 5000);
	recorder_reset(recorder);
	assert_int_equal(count_of(SIGHT_OP_READ, SIGHT_IN_UBLKD), 0);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].count, 0);
	assert_int_equal(recorder->small->counts[SIGHT_OP_READ].longest[0], 0);
	/* What happened is no statistics. */
	assert_int_equal(event_at(-1).what, SIGHT_COMMITTED);
}

/* ---- who has none ---- */

TEST_CASE(test_without)
{
	static struct io_port port;
	struct io io = { .port = &port, .owned = 1 };

	recorder_delivered(&io);
	recorder_place(&io, SIGHT_DELAY);
	recorder_left(&io);
	recorder_answered(&io, 0);
	assert_int_equal(io.owned, 1);
	recorder_step(NULL, "live");
	recorder_enter(&port);
	recorder_leave(&port);
	recorder_forget(NULL);
	recorder_end();
	assert_false(recorder_is_on());
	assert_null(recorder_open(9, 1, 1, 1, "null"));
	recorder_forget_others(is_even, NULL);
	assert_int_equal(recorder_begin(-1, test_loop), -EBADF);
	assert_false(recorder_is_on());
}

int main(void)
{
	return tests_run();
}
