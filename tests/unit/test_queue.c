/* One queue: FETCH, dispatch, COMMIT, and the end of its tags. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/page.h"
#include "fakequeue.h"
#include "io/turns.h"

#define DEPTH 128

/* The driver delivers a request under a tag. */
static void deliver(uint16_t tag, uint32_t op_flags, uint64_t sector,
		    uint32_t sectors)
{
	describe(tag, op_flags, sector, sectors);
	fake_complete(tag, 0);
}

/* And its turn has come. */
static void bring(uint16_t tag, uint32_t op_flags)
{
	deliver(tag, op_flags, 0, 8);
	turn(2);
}

/* A command of a tag ends, and the queue's turn has come; or one of each tag. */
static void complete(uint16_t tag, int32_t result)
{
	fake_complete(tag, result);
	turn(2);
}

static void complete_all(int32_t result)
{
	uint16_t tag;

	for (tag = 0; tag < DEPTH; tag++)
		fake_complete(tag, result);
	turn(20);
}

static int start_closed(void **state)
{
	start_device(DEPTH, 0);
	return 0;
}

static int start_in(enum io_mode mode)
{
	start_device(DEPTH, 0);
	shape.mode = mode;
	assert_int_equal(io_initialise(), 0);
	assert_int_equal(open_queue(), 0);
	while (fake_next_command())
		;
	return 0;
}

static int start(void **state)
{
	return start_in(IO_USER_COPY);
}

static int start_need_get_data(void **state)
{
	start_in(IO_NEED_GET_DATA);
	got.takes = 1;
	return 0;
}

static int stop_closed(void **state)
{
	stop_device();
	return 0;
}

static int stop(void **state)
{
	stop_queue();
	return 0;
}

/* The next one that was put into the ring. */
static const struct fake_command *expect_command(uint32_t op, uint16_t tag,
						 int32_t result)
{
	const struct fake_command *put = fake_next_command();

	assert_non_null(put);
	assert_int_equal(put->op, op);
	assert_int_equal(put->fd, -1);
	assert_int_equal(put->data, tag);
	assert_int_equal(put->command.q_id, QUEUE_ID);
	assert_int_equal(put->command.tag, tag);
	assert_int_equal(put->command.result, result);
	return put;
}

static void expect_commit(uint16_t tag, int32_t result)
{
	const struct fake_command *put =
		expect_command(UBLK_IO_COMMIT_AND_FETCH_REQ, tag, result);

	assert_int_equal(put->command.addr, 0);
}

/* Returns its address. */
static const void *expect_get_data(uint16_t tag)
{
	const struct fake_command *put =
		expect_command(UBLK_IO_NEED_GET_DATA, tag, 0);

	return (const void *)(uintptr_t)put->command.addr;
}

static void test_every_tag_is_fetched(void **state)
{
	const struct fake_command *put;
	uint16_t tag;

	assert_int_equal(open_queue(), 0);
	assert_int_equal(fake_ring.registered, device);
	assert_true(fake_ring.entries >= DEPTH);
	for (tag = 0; tag < DEPTH; tag++) {
		put = expect_command(UBLK_IO_FETCH_REQ, tag, 0);
		assert_int_equal(put->command.addr, 0);
	}
	assert_null(fake_next_command());
	assert_int_equal(fake_ring.submitted, DEPTH);
	assert_int_equal(fake_ring.submits, 1);
	assert_int_equal(queue.port.owned, 0);
	assert_false(queue_is_retired(&queue));
	queue_close(&queue);
	assert_int_equal(fake_ring.destroyed, 1);
}

/* The ring is small if nobody but the queue puts anything there. */
static void test_ring_is_small(void **state)
{
	static const struct backend_ops none;
	const struct backend_ops *usual = target.ops;

	assert_int_equal(open_queue(), 0);
	assert_int_equal(fake_ring.flags & RING_ONE_EACH, 0);
	queue_close(&queue);
	target.ops = &none;
	assert_int_equal(open_queue(), 0);
	assert_int_equal(fake_ring.flags & RING_ONE_EACH, RING_ONE_EACH);
	queue_close(&queue);
	target.ops = usual;
}

/* Every step of opening can fail, and is undone. */
static void check_open_fails(int error, unsigned rings)
{
	static const struct queue zero;
	unsigned fds = count_fds();

	fake_ring.created = fake_ring.destroyed = 0;
	assert_int_equal(open_queue(), error);
	assert_int_equal(fake_ring.created, rings);
	assert_int_equal(fake_ring.destroyed, rings);
	assert_memory_equal(&queue, &zero, sizeof(zero));
	assert_int_equal(count_fds(), fds);
	turn(2);
}

static void test_open_fails(void **state)
{
	int memory = device;

	fake_ring.create_error = -EMFILE;
	check_open_fails(-EMFILE, 0);
	fake_ring.create_error = 0;
	fake_ring.register_error = -ENOMEM;
	check_open_fails(-ENOMEM, 1);
	fake_ring.register_error = 0;
	fake_ring.put_error = -EBUSY;
	check_open_fails(-EBUSY, 1);
	fake_ring.put_error = 0;
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 1;
	check_open_fails(-EAGAIN, 1);
	device = open("/dev/null", O_RDWR); /* cannot be mapped */
	check_open_fails(-ENODEV, 1);
	close(device);
	device = memory;
	assert_int_equal(open_queue(), 0);
	queue_close(&queue);
}

static void test_close_is_harmless(void **state)
{
	memset(&queue, 0, sizeof(queue));
	queue_close(&queue);
	assert_int_equal(open_queue(), 0);
	queue_close(&queue);
	queue_close(&queue);
	assert_int_equal(fake_ring.destroyed, 1);
	/* Nothing of it is left in the loop. */
	fake_complete(0, 0);
	turn(3);
	assert_int_equal(fake_ring.reaped, 0);
}

/* Memory that its requests had goes back to the system with it. */
static void test_close_gives_memory_back(void **state)
{
	unsigned char here;
	void *ios;

	assert_int_equal(open_queue(), 0);
	ios = queue.ios;
	assert_int_equal((uintptr_t)ios % page_round_up(1), 0);
	assert_int_equal(mincore(ios, 1, &here), 0);
	queue_close(&queue);
	assert_int_equal(mincore(ios, 1, &here), -1);
	assert_int_equal(errno, ENOMEM);
}

static void test_dispatch(void **state)
{
	static const struct {
		uint32_t op_flags;
		uint8_t op, flags;
	} cases[] = {
		{ UBLK_IO_OP_READ, IO_READ, 0 },
		{ UBLK_IO_OP_WRITE, IO_WRITE, 0 },
		{ UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, IO_WRITE, IO_FUA },
		{ UBLK_IO_OP_FLUSH, IO_FLUSH, 0 },
		{ UBLK_IO_OP_DISCARD, IO_DISCARD, 0 },
		{ UBLK_IO_OP_WRITE_ZEROES, IO_WRITE_ZEROES, 0 },
		{ UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP, IO_WRITE_ZEROES,
		  IO_KEEP_SPACE },
		/* Hints that mean nothing here. */
		{ UBLK_IO_OP_READ | 1 << 8 | 1 << 14, IO_READ, 0 },
	};
	const struct io *io;
	size_t tag;

	for (tag = 0; tag < COUNT(cases); tag++)
		deliver((uint16_t)tag, cases[tag].op_flags, (1ULL << 33) + tag,
			8 + (uint32_t)tag);
	turn(2);
	assert_int_equal(got.count, COUNT(cases));
	assert_int_equal(queue.port.owned, COUNT(cases));
	for (tag = 0; tag < COUNT(cases); tag++) {
		io = got.ios[tag];
		assert_ptr_equal(io->port, &queue.port);
		assert_int_equal(io->tag, tag);
		assert_int_equal(io->op, cases[tag].op);
		assert_int_equal(io->flags, cases[tag].flags);
		assert_true(io->offset == ((1ULL << 33) + tag) * 512);
		assert_int_equal(io->length, (8 + tag) * 512);
		assert_int_equal(io->owned, 1);
	}
	/* Nothing is committed before it is done. */
	assert_null(fake_next_command());
	assert_int_equal(fake_ring.unclean, 0);
}

/* The flags of the tag's last request do not stick to it. */
static void test_dispatch_again(void **state)
{
	deliver(5, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 1, 1);
	turn(2);
	io_done(got.ios[0], 0);
	expect_commit(5, 512);
	deliver(5, UBLK_IO_OP_READ, 2, 3);
	turn(2);
	assert_int_equal(got.count, 2);
	assert_int_equal(got.ios[1]->flags, 0);
	assert_int_equal(got.ios[1]->op, IO_READ);
	assert_int_equal(got.ios[1]->length, 3 * 512);
}

/* What is not known is answered, at once and not by the target. */
static void test_unknown_op(void **state)
{
	static const uint32_t ops_unknown[] = { 4, 10, 15, 0xff };
	unsigned i;

	for (i = 0; i < COUNT(ops_unknown); i++) {
		deliver((uint16_t)i, ops_unknown[i], 0, 8);
		turn(2);
		expect_commit((uint16_t)i, -EOPNOTSUPP);
	}
	assert_int_equal(got.count, 0);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
}

/* Answers given within a turn go to the kernel together. */
static void test_one_submit_a_turn(void **state)
{
	uint16_t tag;

	got.at_once = 1;
	for (tag = 0; tag < 50; tag++)
		deliver(tag, UBLK_IO_OP_READ, tag, 8);
	fake_ring.submits = 0;
	turn(2);
	for (tag = 0; tag < 50; tag++)
		expect_commit(tag, 4096);
	assert_null(fake_next_command());
	assert_int_equal(fake_ring.submits, 1);
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(queue.port.count[IO_READ], 50);
	assert_int_equal(queue.port.bytes[IO_READ], 50 * 4096);
	/* There is nothing to give back: nothing wakes up for it. */
	assert_false(loop_timer_is_active(&queue.trim));
}

/* Those given later go at once. */
static void test_late_answers(void **state)
{
	deliver(1, UBLK_IO_OP_WRITE, 0, 8);
	bring(2, UBLK_IO_OP_WRITE);
	io_done(got.ios[1], 0);
	expect_commit(2, 4096);
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	io_done(got.ios[0], -EIO);
	expect_commit(1, -EIO);
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	assert_int_equal(queue.port.owned, 0);
}

/* What a target has put into the ring is told to it, and is no request. */
static void test_own_request(void **state)
{
	deliver(3, UBLK_IO_OP_WRITE, 0, 8);
	turn(2);
	assert_int_equal(io_own_data(got.ios[0]), IO_OWN + 3);
	fake_complete(io_own_data(got.ios[0]), -ENOSPC);
	turn(2);
	assert_int_equal(got.count, 1);
	expect_commit(3, -ENOSPC);
	assert_int_equal(queue.port.owned, 0);
}

/* What is not taken is tried again, without anything else to wake us. */
static void test_submit_fails(void **state)
{
	got.at_once = 1;
	deliver(1, UBLK_IO_OP_READ, 0, 8);
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 3;
	turn(1);
	assert_int_equal(fake_ring.submitted, DEPTH);
	assert_int_equal(fake_ring.raises, 1);
	turn(5);
	assert_int_equal(fake_ring.submitted, DEPTH + 1);
	/* And then it sleeps again. */
	fake_ring.submits = 0;
	turn(5);
	assert_int_equal(fake_ring.submits, 0);
}

static void test_late_submit_fails(void **state)
{
	bring(1, UBLK_IO_OP_WRITE);
	fake_ring.submit_error = -EBUSY;
	fake_ring.submit_failures = 1;
	io_done(got.ios[0], 0);
	assert_int_equal(fake_ring.submitted, DEPTH);
	assert_int_equal(fake_ring.raises, 1);
	turn(2);
	assert_int_equal(fake_ring.submitted, DEPTH + 1);
}

/* One queue has a bounded turn, and comes back for the rest. */
static void test_turn_is_bounded(void **state)
{
	uint16_t tag;

	got.at_once = 1;
	for (tag = 0; tag < DEPTH; tag++)
		deliver(tag, UBLK_IO_OP_READ, 0, 8);
	for (tag = 0; tag < DEPTH; tag++)
		deliver(tag, UBLK_IO_OP_READ, 0, 8);
	turn(1);
	assert_true(fake_ring.reaped > 0 && fake_ring.reaped < DEPTH);
	assert_true(fake_ring.most < DEPTH);
	assert_int_equal(fake_ring.submitted - DEPTH, fake_ring.reaped);
	turn(20);
	assert_int_equal(fake_ring.reaped, 2 * DEPTH);
	assert_int_equal(fake_ring.submitted, 3 * DEPTH);
	assert_int_equal(fake_ring.unclean, 0);
}

/* By requests, and by bytes: counted anew in each turn, looked at now and then. */
static void test_what_bounds_a_turn(void **state)
{
	static const struct {
		uint32_t sectors;
		unsigned a_turn;
	} cases[] = { { 8, 64 }, { 1024, 16 } };
	unsigned i, before, turns;
	uint16_t tag;

	got.at_once = 1;
	for (i = 0; i < COUNT(cases); i++) {
		for (tag = 0; tag < DEPTH; tag++)
			deliver(tag, UBLK_IO_OP_READ, 0, cases[i].sectors);
		for (turns = 128 / cases[i].a_turn / 2; turns; turns--) {
			before = fake_ring.reaped;
			turn(1);
			assert_in_range(fake_ring.reaped - before,
					cases[i].a_turn, cases[i].a_turn + 15);
			assert_int_equal(fake_ring.reaped - before,
					 queue.wake.taken);
		}
		turn(20);
	}
}

static unsigned busy;

static void on_busy(void *of)
{
	busy++;
}

/* The keeper sees by them that the server goes on. */
static void test_turns_are_counted(void **state)
{
	assert_int_equal(turns_share(device, 0, on_busy, NULL), 0);
	busy = 0;
	got.at_once = 1;
	bring(1, UBLK_IO_OP_READ);
	assert_int_equal(busy, 1);
}

static void test_retired(void **state)
{
	uint16_t tag;

	for (tag = 0; tag < DEPTH - 1; tag++)
		fake_complete(tag, -ENODEV);
	turn(5);
	assert_false(queue_is_retired(&queue));
	assert_int_equal(told.retired, 0);
	/* The last one has a request of its own to end first. */
	bring(DEPTH - 1, UBLK_IO_OP_WRITE);
	assert_int_equal(got.count, 1);
	io_done(got.ios[0], -EIO);
	expect_commit(DEPTH - 1, -EIO);
	fake_complete(DEPTH - 1, -ENODEV);
	turn(2);
	assert_true(queue_is_retired(&queue));
	assert_int_equal(told.retired, 1);
	assert_int_equal(told.refused, 0);
	ring_raise_event(queue.port.ring);
	turn(5);
	assert_int_equal(told.retired, 1);
	/* A tag that was given up is not fetched again. */
	assert_null(fake_next_command());
}

/* The owner may close the queue when it is told. */
static void test_close_when_retired(void **state)
{
	told.close = 1;
	complete_all(-ENODEV);
	assert_int_equal(told.retired, 1);
	assert_int_equal(fake_ring.destroyed, 1);
}

/* A refusal is told of once, not for each of thousands of tags. */
static void test_refused(void **state)
{
	complete_all(-EINVAL);
	assert_int_equal(told.refused, 1);
	assert_int_equal(told.error, -EINVAL);
	assert_int_equal(got.count, 0);
	/* No tag is the driver's any more. */
	assert_true(queue_is_retired(&queue));
	assert_int_equal(told.retired, 1);
	assert_null(fake_next_command());
}

/*
 * The kernel had no memory for a COMMIT: the driver has not seen it, and waits
 * for it still.
 */
static void test_commit_again(void **state)
{
	deliver(1, UBLK_IO_OP_READ, 0, 8);
	deliver(2, UBLK_IO_OP_FLUSH, 0, 0);
	bring(3, UBLK_IO_OP_WRITE);
	io_done(got.ios[0], 0);
	io_done(got.ios[1], 0);
	io_done(got.ios[2], -ENOSPC);
	expect_commit(1, 4096);
	expect_commit(2, 0);
	expect_commit(3, -ENOSPC);
	fake_complete(1, -ENOMEM);
	fake_complete(2, -EAGAIN);
	complete(3, -ENOMEM);
	expect_commit(1, 4096);
	expect_commit(2, 0);
	expect_commit(3, -ENOSPC);
	assert_null(fake_next_command());
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	complete(3, -EAGAIN);
	expect_commit(3, -ENOSPC);
	assert_int_equal(queue.retired, 0);
	assert_int_equal(told.refused, 0);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(queue.port.count[IO_READ], 1);
	/* And then its next request comes. */
	got.at_once = 1;
	deliver(3, UBLK_IO_OP_READ, 0, 16);
	turn(2);
	expect_commit(3, 8192);
	complete(3, -ENODEV);
	assert_int_equal(queue.retired, 1);
	assert_null(fake_next_command());
}

/* Who adds the device is told, and can try again. */
static void test_fetch_not_again(void **state)
{
	complete(1, -ENOMEM);
	assert_int_equal(told.refused, 1);
	assert_int_equal(told.error, -ENOMEM);
	assert_null(fake_next_command());
}

/* ---- need-get-data ---- */

/* A write is there, and its data is with the driver. */
static void announce(uint16_t tag)
{
	describe(tag, UBLK_IO_OP_WRITE, 8, 8);
	complete(tag, UBLK_IO_RES_NEED_GET_DATA);
}

static unsigned layered;

static void submit_layer(struct backend *layer, struct io *io)
{
	layered++;
	target.ops->submit(&target, io);
}

static const struct backend_ops layer_ops = { .submit = submit_layer };
static struct backend layer = { .ops = &layer_ops };

/* It comes to the target twice, but through its layers once. */
static void test_data_is_asked_for(void **state)
{
	layered = 0;
	queue.top = &layer;
	announce(7);
	assert_int_equal(layered, 1);
	assert_int_equal(got.laters, 1);
	assert_ptr_equal(expect_get_data(7), got.data);
	assert_null(fake_next_command());
	assert_int_equal(queue.port.owned, 1);
	complete(7, 0);
	assert_int_equal(layered, 1);
	expect_commit(7, 4096);
	assert_null(fake_next_command());
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(queue.port.count[IO_WRITE], 1);
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	/* The tag's next request is one like any other. */
	got.takes = 0;
	deliver(7, UBLK_IO_OP_FLUSH, 0, 0);
	turn(2);
	assert_int_equal(got.ios[0]->op, IO_FLUSH);
	io_done(got.ios[0], 0);
	expect_commit(7, 0);
}

static void test_data_is_asked_for_again(void **state)
{
	const void *sink;

	announce(7);
	assert_ptr_equal(expect_get_data(7), got.data);
	complete(7, -ENOMEM);
	assert_ptr_equal(expect_get_data(7), got.data);
	assert_null(fake_next_command());
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	assert_int_equal(queue.port.owned, 1);
	complete(7, 0);
	expect_commit(7, 4096);
	complete(7, -ENOMEM);
	expect_commit(7, 4096);
	/* Of one that has failed. */
	got.takes = 0;
	got.at_once = 1;
	got.error = -ENOSPC;
	announce(7);
	sink = expect_get_data(7);
	complete(7, -EAGAIN);
	assert_ptr_equal(expect_get_data(7), sink);
	complete(7, 0);
	expect_commit(7, -ENOSPC);
	assert_int_equal(queue.retired, 0);
	assert_int_equal(told.refused, 0);
}

/* A write that fails at once: its data is taken all the same, once. */
static void test_data_is_not_wanted(void **state)
{
	got.takes = 0;
	got.at_once = 1;
	got.error = -ENOSPC;
	announce(7);
	assert_non_null(expect_get_data(7));
	assert_null(fake_next_command());
	complete(7, 0);
	expect_commit(7, -ENOSPC);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(queue.port.errors, 1);
}

/* The device stops while the data is on its way. */
static void test_retired_without_data(void **state)
{
	announce(0);
	expect_get_data(0);
	complete_all(-ENODEV);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(got.forgotten, 1);
	assert_int_equal(told.retired, 1);
	assert_int_equal(told.refused, 0);
	assert_null(fake_next_command());
}

/* The driver queues the request again: what comes now is a request of its own. */
static void test_data_is_taken_back(void **state)
{
	announce(3);
	expect_get_data(3);
	announce(3);
	assert_int_equal(got.laters, 2);
	assert_int_equal(got.forgotten, 1);
	assert_int_equal(queue.port.owned, 1);
	expect_get_data(3);
	got.takes = 0;
	bring(3, UBLK_IO_OP_READ);
	assert_int_equal(queue.port.owned, 1);
	assert_int_equal(got.count, 1);
	assert_int_equal(got.ios[0]->op, IO_READ);
	assert_int_equal(got.forgotten, 2);
	assert_null(fake_next_command());
	io_done(got.ios[0], -EIO);
	assert_int_equal(fake_next_command()->command.result, -EIO);
}

/* One that was done already is nobody's to forget. */
static void test_dropped_is_taken_back(void **state)
{
	got.takes = 0;
	got.at_once = 1;
	got.error = -ENOSPC;
	announce(3);
	expect_get_data(3);
	complete(3, -ENODEV);
	assert_int_equal(queue.retired, 1);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(got.forgotten, 0);
}

/* Memory that was lent is back before the next request of its tag. */
static void test_lent_is_back(void **state)
{
	unsigned submits;

	got.lends = 1;
	deliver(3, UBLK_IO_OP_READ, 0, 8);
	turn(1);
	assert_int_equal(got.count, 1);
	assert_int_equal(got.back, 1);
	/* It cannot be submitted: nothing is taken until it can. */
	deliver(3, UBLK_IO_OP_READ, 0, 8);
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 3;
	submits = fake_ring.submits;
	turn(1);
	assert_int_equal(got.count, 2);
	assert_int_equal(got.back, 1);
	deliver(3, UBLK_IO_OP_READ, 0, 8);
	turn(5);
	assert_true(fake_ring.submits > submits + 3);
	assert_int_equal(got.count, 3);
	assert_int_equal(got.back, 3);
	assert_true(loop_timer_is_active(&queue.trim));
}

/* A part of the data would be taken for all of it. */
static void test_data_is_short(void **state)
{
	announce(3);
	expect_get_data(3);
	deliver(3, UBLK_IO_OP_WRITE, 8, 4);
	turn(2);
	expect_commit(3, -EIO);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(got.forgotten, 1);
}

/* ---- zero copy ---- */

static void expect_addressed(uint32_t op, uint16_t tag, int32_t result)
{
	const struct fake_command *put = expect_command(op, tag, result);

	assert_int_equal(put->command.addr, 0);
	/* The index, and that one which cannot be registered comes as well. */
	assert_int_equal(put->address, 0x10000u | tag);
}

/* Each tag's pages are registered under its number. */
static void test_zero_copy(void **state)
{
	uint16_t tag;

	shape.mode = IO_ZERO_COPY;
	assert_int_equal(open_queue(), 0);
	assert_int_equal(fake_ring.buffers, DEPTH);
	for (tag = 0; tag < DEPTH; tag++)
		expect_addressed(UBLK_IO_FETCH_REQ, tag, 0);
	bring(2, UBLK_IO_OP_READ);
	assert_true(io_is_registered(&queue.ios[2]));
	io_done(&queue.ios[2], 0);
	expect_addressed(UBLK_IO_COMMIT_AND_FETCH_REQ, 2, 4096);
	bring(2, UBLK_IO_OP_READ | UBLK_IO_F_NEED_REG_BUF);
	assert_false(io_is_registered(&queue.ios[2]));
	io_done(&queue.ios[2], 0);
	expect_addressed(UBLK_IO_COMMIT_AND_FETCH_REQ, 2, 4096);
	queue_close(&queue);
}

/* ---- memory that is given back ---- */

static void test_trim(void **state)
{
	const struct fake_command *put;
	unsigned char here;
	uint8_t *buffer;

	if (!memory_goes_back())
		skip_without("memory that goes back at once");
	shape.mode = IO_COPY;
	assert_int_equal(open_queue(), 0);
	put = fake_next_command();
	buffer = (uint8_t *)(uintptr_t)put->command.addr;
	assert_non_null(buffer);
	/* Nothing has been asked of it: it does nothing by itself. */
	assert_false(loop_timer_is_active(&queue.trim));
	memset(buffer, 7, 4096);
	got.at_once = 1;
	bring(0, UBLK_IO_OP_WRITE);
	assert_true(loop_timer_is_active(&queue.trim));
	pass_time(1.5);
	bring(1, UBLK_IO_OP_READ);
	pass_time(1.5);
	assert_int_equal(buffer[0], 7);
	pass_time(3);
	assert_int_equal(mincore(buffer, 1, &here), 0);
	assert_false(here & 1);
	assert_false(loop_timer_is_active(&queue.trim));
	queue_close(&queue);
	/* Nor has it a timer any more when it is closed. */
	assert_int_equal(open_queue(), 0);
	bring(0, UBLK_IO_OP_WRITE);
	assert_true(timer_is_set());
	queue_close(&queue);
	turn(2);
	assert_false(timer_is_set());
}

static void test_close_with_requests(void **state)
{
	bring(1, UBLK_IO_OP_WRITE);
	queue_close(&queue);
	assert_true(log_has("1 request"));
}

/* An eventfd that is readable for nothing does no harm. */
static void test_spurious_wake(void **state)
{
	ring_raise_event(queue.port.ring);
	turn(3);
	assert_int_equal(got.count, 0);
	assert_int_equal(told.retired, 0);
	assert_int_equal(told.refused, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define TEST_CLOSED(name) \
	cmocka_unit_test_setup_teardown(name, start_closed, stop_closed)
#define TEST_DATA(name) \
	cmocka_unit_test_setup_teardown(name, start_need_get_data, stop)
		TEST_CLOSED(test_every_tag_is_fetched),
		TEST_CLOSED(test_ring_is_small),
		TEST_CLOSED(test_open_fails),
		TEST_CLOSED(test_close_is_harmless),
		TEST_CLOSED(test_close_gives_memory_back),
		TEST(test_dispatch),
		TEST(test_dispatch_again),
		TEST(test_unknown_op),
		TEST(test_one_submit_a_turn),
		TEST(test_late_answers),
		TEST(test_own_request),
		TEST(test_submit_fails),
		TEST(test_late_submit_fails),
		TEST(test_turn_is_bounded),
		TEST(test_what_bounds_a_turn),
		TEST(test_turns_are_counted),
		TEST(test_retired),
		TEST(test_close_when_retired),
		TEST(test_refused),
		TEST(test_commit_again),
		TEST(test_fetch_not_again),
		TEST_DATA(test_data_is_asked_for),
		TEST_DATA(test_data_is_asked_for_again),
		TEST_DATA(test_data_is_not_wanted),
		TEST_DATA(test_retired_without_data),
		TEST_DATA(test_data_is_taken_back),
		TEST_DATA(test_dropped_is_taken_back),
		TEST_DATA(test_lent_is_back),
		TEST_DATA(test_data_is_short),
		TEST_CLOSED(test_zero_copy),
		TEST_CLOSED(test_trim),
		TEST(test_close_with_requests),
		TEST(test_spurious_wake),
#undef TEST
#undef TEST_CLOSED
#undef TEST_DATA
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
