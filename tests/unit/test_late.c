/*
 * Requests that are answered before their backing has: once, and its late answer
 * reaches nobody; what it may still use is not used for another one.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/sight.h"
#include "fakequeue.h"
#include "io/late.h"
#include "io/recorder.h"

#define DEPTH 32

static int calloc_left; /* calls that go well, or all if negative */

void *__real_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	if (calloc_left == 0)
		return NULL;
	calloc_left -= calloc_left > 0;
	return __real_calloc(count, size);
}

static void start_in(enum io_mode mode)
{
	start_device(DEPTH, 0);
	shape.mode = mode;
	assert_int_equal(io_initialise(), 0);
	assert_int_equal(open_queue(), 0);
	assert_int_equal(late_allow(&queue.port), 0);
	while (fake_next_command())
		;
}

static void restart_in(enum io_mode mode)
{
	stop_queue();
	start_in(mode);
}

int before_each(void **state)
{
	calloc_left = -1;
	start_in(IO_USER_COPY);
	return 0;
}

int after_each(void **state)
{
	assert_false(log_has("twice"));
	stop_queue();
	return 0;
}

/* The driver brings a request of a page; returns what its target has got. */
static struct io *bring_at(uint16_t tag, uint32_t op, uint64_t page)
{
	unsigned before = got.count;

	describe(tag, op, 8 * page, 8);
	fake_complete(tag, 0);
	turn(2);
	assert_int_equal(got.count, before + 1);
	return got.ios[before];
}

static struct io *bring(uint16_t tag, uint32_t op)
{
	return bring_at(tag, op, tag);
}

static void expect_answer(uint16_t tag, int32_t result)
{
	const struct fake_command *put = fake_next_command();

	assert_non_null(put);
	assert_int_equal(put->op, UBLK_IO_COMMIT_AND_FETCH_REQ);
	assert_int_equal(put->command.tag, tag);
	assert_int_equal(put->command.result, result);
}

static void expect_no_answer(void)
{
	assert_null(fake_next_command());
}

/* All that are with the target are answered in its place. Returns how many. */
static unsigned give_up(void)
{
	const struct io *first = NULL;
	unsigned due = late_mark(&queue.port, LATE_ALL, &first);
	unsigned late = late_answer(&queue.port);

	assert_true(!due == !first);
	assert_int_equal(due, late);
	return late;
}

TEST_CASE(test_answered_once)
{
	struct io *io = bring(3, UBLK_IO_OP_READ);

	assert_int_equal(give_up(), 1);
	expect_answer(3, -EIO);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(queue.port.errors, 1);
	assert_int_equal(queue.port.late->count, 1);
	assert_true(io_is_late(io));
	assert_int_equal(give_up(), 0);
	/* The backing's own answer is none any more. */
	fake_complete(io_own_data(io), 4096);
	turn(2);
	expect_no_answer();
	assert_int_equal(queue.port.late->count, 0);
	assert_false(io_is_late(io));
	assert_int_equal(queue.port.count[IO_READ], 0);
}

static unsigned ends;

static void on_ended(void *owner)
{
	assert_ptr_equal(owner, &ends);
	ends++;
}

/* The end of the last one is told, and of no other. */
TEST_CASE(test_told_of_the_end)
{
	ends = 0;
	queue.port.late->ended = on_ended;
	queue.port.late->owner = &ends;
	bring(3, UBLK_IO_OP_READ);
	bring(4, UBLK_IO_OP_READ);
	give_up();
	io_done(got.ios[1], 0);
	assert_int_equal(ends, 0);
	io_done(got.ios[0], -EIO);
	assert_int_equal(ends, 1);
	bring(3, UBLK_IO_OP_READ);
	give_up();
	io_done(got.ios[2], 0);
	assert_int_equal(ends, 2);
}

/* However many they are, they are submitted once; in a turn not before its end. */
TEST_CASE(test_answered_at_once)
{
	unsigned submits;
	uint16_t tag;

	for (tag = 0; tag < 8; tag++)
		bring(tag, UBLK_IO_OP_WRITE);
	submits = fake_ring.submits;
	assert_int_equal(give_up(), 8);
	assert_int_equal(fake_ring.submits, submits + 1);
	assert_int_equal(queue.port.in_turn, 0);
	assert_int_equal(give_up(), 0);
	assert_int_equal(fake_ring.submits, submits + 1);
	bring(9, UBLK_IO_OP_WRITE);
	submits = fake_ring.submits;
	queue.port.in_turn = 1;
	assert_int_equal(give_up(), 1);
	assert_int_equal(fake_ring.submits, submits);
	assert_int_equal(queue.port.in_turn, 1);
	queue.port.in_turn = 0;
}

#ifndef WITHOUT_SIGHT
/* Since when they are ours is known still, where it was. */
TEST_CASE(test_since)
{
	static struct sight_small small;
	static struct sight_tag tags[DEPTH];
	struct recorder recorder = {
		.small = &small,
		.tags = tags,
		.mask = DEPTH - 1,
		.ring = small.ring,
		.ring_end = small.ring + SIGHT_FIRST_EVENTS,
		.newest = small.ring,
		.ops[SIGHT_OP_WRITE].counts = &small.counts[SIGHT_OP_WRITE],
	};
	const struct io *unknown = bring(2, UBLK_IO_OP_WRITE);
	const struct io *known = bring(3, UBLK_IO_OP_WRITE);
	const struct io *first = NULL;

	tags[3] = (struct sight_tag){ .since = 12345,
				      .tag = 3,
				      .queue = (uint8_t)queue.port.queue_id };
	late_mark(&queue.port, LATE_ALL, &first);
	queue.port.recorder = &recorder;
	assert_int_equal(late_answer(&queue.port), 2);
	queue.port.recorder = NULL;
	assert_true(late_since(known) == 12345);
	assert_true(late_since(unknown) == 0);
	assert_ptr_equal(late_io(&queue.port, 0), unknown);
	assert_ptr_equal(late_io(&queue.port, 1), known);
}
#endif

/* Each has the name that its backing answers to. */
TEST_CASE(test_late_answer_reaches_nobody)
{
	struct io *late = bring(3, UBLK_IO_OP_WRITE), *io;

	give_up();
	expect_answer(3, -EIO);
	io = bring(3, UBLK_IO_OP_READ);
	assert_ptr_not_equal(io, late);
	assert_int_equal(io->tag, 3);
	assert_int_equal(io->op, IO_READ);
	assert_int_equal(late->op, IO_WRITE);
	fake_complete(io_own_data(late), 4096);
	turn(2);
	expect_no_answer();
	assert_true(io->owned);
	fake_complete(io_own_data(io), 0);
	turn(2);
	expect_answer(3, 4096);
	expect_no_answer();
}

/* The late one's struct io serves nobody before its backing has answered. */
TEST_CASE(test_late_one_is_not_used_again)
{
	struct io *late = bring(0, UBLK_IO_OP_WRITE), *io;
	unsigned i;

	late->buffer = got.data;
	late->token = 7;
	give_up();
	for (i = 0; i < 3 * DEPTH; i++) {
		got.count = 0;
		io = bring(0, UBLK_IO_OP_READ);
		assert_ptr_not_equal(io, late);
		io_done(io, 0);
	}
	assert_ptr_equal(late->buffer, got.data);
	assert_int_equal(late->token, 7);
	assert_true(io_is_late(late));
	/* Afterwards it does. */
	fake_complete(io_own_data(late), 4096);
	turn(2);
	bring(0, UBLK_IO_OP_READ);
	give_up();
	assert_ptr_equal(bring(0, UBLK_IO_OP_READ), late);
	late->owned = 0;
}

/* A late request's tag is another request's: nothing is copied to or from that. */
TEST_CASE(test_no_data_of_a_late_one)
{
	uint8_t bytes[4096], before[4096];
	off_t at = (off_t)UBLK_DATA_OFFSET(QUEUE_ID, 3);
	struct io *late = bring(3, UBLK_IO_OP_READ);

	give_up();
	memset(before, 0x11, sizeof(before));
	memset(bytes, 0x22, sizeof(bytes));
	assert_int_equal(ftruncate(device, at + 4096), 0);
	assert_int_equal(pwrite(device, before, sizeof(before), at), 4096);
	assert_int_equal(io_put(late, bytes, 0, sizeof(bytes)), -ETIMEDOUT);
	assert_int_equal(io_put_zeroes(late, 0, 4096), -ETIMEDOUT);
	assert_int_equal(io_take(late, bytes, 0, sizeof(bytes)), -ETIMEDOUT);
	assert_int_equal(bytes[0], 0x22);
	assert_int_equal(pread(device, bytes, sizeof(bytes), at), 4096);
	assert_memory_equal(bytes, before, sizeof(bytes));
	io_done(late, -ETIMEDOUT);
}

/* Those that came by then are due, whatever their number; others are not. */
TEST_CASE(test_those_that_came_before)
{
	const struct io *first = NULL;
	struct io *io[3];
	unsigned i;

	for (i = 0; i < 3; i++) {
		io[i] = bring((uint16_t)(2 - i), UBLK_IO_OP_READ);
		late_note_given(io[i], 10 + i);
	}
	bring(9, UBLK_IO_OP_READ); /* that has not come to the target */
	assert_int_equal(late_watched(&queue.port), 3);
	assert_int_equal(late_mark(&queue.port, 9, &first), 0);
	assert_null(first);
	assert_int_equal(late_mark(&queue.port, 11, &first), 2);
	assert_ptr_equal(first, io[1]); /* of the least tag */
	assert_true(io_is_due(io[0]) && io_is_due(io[1]));
	assert_false(io_is_due(io[2]));
	assert_int_equal(late_restamp(&queue.port, 20), 3);
	assert_int_equal(late_mark(&queue.port, 19, &first), 0);
	assert_int_equal(late_answer(&queue.port), 0);
	assert_int_equal(late_mark(&queue.port, 20, &first), 3);
	assert_int_equal(late_answer(&queue.port), 3);
	assert_int_equal(late_watched(&queue.port), 0);
	assert_int_equal(queue.port.owned, 1);
	/* The tag's next request is new. */
	assert_false(io_is_due(bring(2, UBLK_IO_OP_READ)));
	assert_int_equal(late_watched(&queue.port), 0);
	assert_int_equal(late_mark(&queue.port, 1000, &first), 0);
}

/* As many as there are struct io for; the rest waits. */
TEST_CASE(test_room)
{
	uint16_t tag;
	unsigned i;

	assert_int_equal(late_spares(DEPTH), DEPTH);
	assert_int_equal(late_spares(1), LATE_LEAST);
	for (tag = 0; tag < DEPTH - 1; tag++)
		bring(tag, UBLK_IO_OP_WRITE);
	assert_true(late_has_room(&queue.port));
	assert_int_equal(give_up(), DEPTH - 1);
	bring(0, UBLK_IO_OP_WRITE);
	assert_true(late_has_room(&queue.port));
	bring(1, UBLK_IO_OP_WRITE);
	assert_false(late_has_room(&queue.port));
	{
		const struct io *first = NULL;

		assert_int_equal(late_mark(&queue.port, LATE_ALL, &first), 2);
		assert_int_equal(late_answer(&queue.port), 1);
		assert_int_equal(late_answer(&queue.port), 0);
		assert_int_equal(queue.port.owned, 1);
	}
	/* One has ended: there is room for the other. */
	fake_complete(io_own_data(got.ios[5]), 4096);
	turn(2);
	assert_int_equal(late_answer(&queue.port), 1);
	/* In whatever order they end. */
	for (i = got.count; i-- > 0;)
		if (i != 5)
			io_done(got.ios[i], 0);
	assert_int_equal(queue.port.late->count, 0);
	for (tag = 0; tag < DEPTH; tag++)
		bring(tag, UBLK_IO_OP_READ);
	assert_int_equal(give_up(), DEPTH);
	/* Each tag has one of its own. */
	got.count = 0;
	for (tag = 0; tag < DEPTH; tag++)
		bring(tag, UBLK_IO_OP_READ);
	for (tag = 0; tag < DEPTH; tag++)
		assert_int_equal(got.ios[tag]->tag, tag);
}

TEST_CASE(test_overlap)
{
	static const struct {
		uint32_t op;
		int is_write;
	} ops[] = {
		{ UBLK_IO_OP_READ, 0 },		{ UBLK_IO_OP_FLUSH, 0 },
		{ UBLK_IO_OP_WRITE, 1 },	{ UBLK_IO_OP_DISCARD, 1 },
		{ UBLK_IO_OP_WRITE_ZEROES, 1 },
	};
	struct io *late, *io;
	unsigned i;

	for (i = 0; i < COUNT(ops); i++) {
		got.count = 0;
		late = bring_at(0, ops[i].op, 10);
		give_up();
		io = bring_at(1, UBLK_IO_OP_READ, 10);
		assert_int_equal(late_overlaps(&queue.port, io),
				 ops[i].is_write);
		io->length = 512;
		io->offset = 45056;
		assert_false(late_overlaps(&queue.port, io));
		io->offset -= 512;
		assert_int_equal(late_overlaps(&queue.port, io),
				 ops[i].is_write);
		io->offset = 40960 - 512;
		assert_false(late_overlaps(&queue.port, io));
		io->length = 1024;
		assert_int_equal(late_overlaps(&queue.port, io),
				 ops[i].is_write);
		/* A flush has no place. */
		io->offset = 40960;
		io->length = 0;
		assert_false(late_overlaps(&queue.port, io));
		io_done(late, 0);
		io->length = 4096;
		assert_false(late_overlaps(&queue.port, io));
		io_done(io, 0);
	}
}

/*
 * Need-get-data: a write that waits for its buffer is done with as others are, and
 * its data is taken first; one whose data is on its way waits for that.
 */
TEST_CASE(test_data_of_writes)
{
	const struct io *first = NULL;
	struct io *waits, *asked;

	restart_in(IO_NEED_GET_DATA);
	waits = bring(0, UBLK_IO_OP_WRITE);
	asked = bring(1, UBLK_IO_OP_WRITE);
	assert_int_equal(io_take(asked, got.data, 0, 4096), IO_LATER);
	assert_int_equal(fake_next_command()->op, UBLK_IO_NEED_GET_DATA);
	assert_int_equal(late_mark(&queue.port, LATE_ALL, &first), 1);
	assert_ptr_equal(first, waits);
	assert_int_equal(late_answer(&queue.port), 0);
	got.in_line = 1;
	target.ops->expire(&target);
	assert_int_equal(fake_next_command()->op, UBLK_IO_NEED_GET_DATA);
	fake_complete(0, 0);
	turn(2);
	expect_answer(0, -EIO);
	assert_true(asked->owned);
	/* It has its data; now its backing has it. */
	fake_complete(1, 0);
	turn(2);
	assert_int_equal(give_up(), 1);
	expect_answer(1, -EIO);
	assert_int_equal(io_take(asked, got.data, 0, 4096), -ETIMEDOUT);
	io_done(asked, 0);
	expect_no_answer();
}

/*
 * Copy: the tag's buffer is the backing's, so what comes under that tag goes to
 * another place, and the buffer's memory is not given back.
 */
TEST_CASE(test_buffer_of_a_tag)
{
	const struct fake_command *put;
	const void *buffer;
	struct io *late;
	uint8_t *bytes;

	restart_in(IO_COPY);
	late = bring(2, UBLK_IO_OP_WRITE);
	buffer = late->address;
	bytes = io_place(late);
	assert_ptr_equal(bytes, buffer);
	memset(bytes, 0x33, 4096);
	assert_int_equal(give_up(), 1);
	put = fake_next_command();
	assert_int_equal(put->command.result, -EIO);
	assert_true(put->command.addr &&
		    put->command.addr != (uintptr_t)buffer);
	pass_time(3 * IO_TRIM_TIME / 1e3);
	assert_int_equal(bytes[0], 0x33);
	io_done(late, 0);
	pass_time(3 * IO_TRIM_TIME / 1e3);
	/* Emulators of programs keep what is given back. */
	if (memory_goes_back())
		assert_int_equal(bytes[0], 0);
}

/* Zero copy: the driver ends no request whose pages somebody has; others it does. */
TEST_CASE(test_pages_of_a_request)
{
	const struct io *first = NULL;

	restart_in(IO_ZERO_COPY);
	bring(2, UBLK_IO_OP_WRITE);
	assert_int_equal(late_mark(&queue.port, LATE_ALL, &first), 1);
	assert_true(io_is_due(first));
	assert_int_equal(late_answer(&queue.port), 0);
	expect_no_answer();
	assert_false(late_is_possible(IO_ZERO_COPY));
	assert_false(late_is_possible(IO_COPY));
	assert_true(late_is_possible(IO_USER_COPY));
	assert_true(late_is_possible(IO_NEED_GET_DATA));
}

TEST_CASE(test_refusing)
{
	queue.top = &late_refuses;
	describe(5, UBLK_IO_OP_WRITE, 0, 8);
	fake_complete(5, 0);
	turn(2);
	expect_answer(5, -EIO);
	assert_int_equal(got.count, 0);
}

TEST_CASE(test_no_memory)
{
	int left;

	late_close(&queue.port);
	for (left = 0; left < 5; left++) {
		calloc_left = left;
		assert_int_equal(late_allow(&queue.port), -ENOMEM);
		assert_null(queue.port.late);
	}
	calloc_left = -1;
	assert_int_equal(late_allow(&queue.port), 0);
	bring(1, UBLK_IO_OP_READ);
	give_up();
	/* It is harmless, and nothing is forgotten. */
	assert_int_equal(late_allow(&queue.port), 0);
	assert_int_equal(queue.port.late->count, 1);
}

TEST_CASE(test_closed_too_early)
{
	bring(1, UBLK_IO_OP_READ);
	give_up();
	queue_close(&queue);
	assert_true(log_has("closed with 1 requests in hand"));
	assert_int_equal(open_queue(), 0);
}

int main(void)
{
	return tests_run();
}
