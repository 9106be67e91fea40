/* A queue with commands for many requests: lists that come, lists that go. */
#include <errno.h>
#include <string.h>

#include "fakequeue.h"

#define DEPTH 100

static uint64_t fetch_data; /* of the queue's FETCH */

static const struct fake_command *next(uint32_t op)
{
	const struct fake_command *put = fake_next_command();

	assert_non_null(put);
	assert_int_equal(put->op, op);
	assert_int_equal(put->fd, -1);
	assert_int_equal(put->batch.q_id, QUEUE_ID);
	assert_in_range(put->data, 0, IO_OWN - 1);
	return put;
}

static void expect_fetch(void)
{
	const struct fake_command *put = next(UBLK_IO_FETCH_IO_CMDS);

	assert_true(put->is_lasting);
	assert_int_equal(put->batch.flags, 0);
	assert_int_equal(put->batch.elem_bytes, 2);
	fetch_data = put->data;
}

static int start_closed(void **state)
{
	start_device(DEPTH, 1);
	return 0;
}

static int start(void **state)
{
	start_closed(state);
	assert_int_equal(open_queue(), 0);
	next(UBLK_IO_PREP_IO_CMDS);
	expect_fetch();
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

/* ---- the driver ---- */

/* Requests under these tags, the sector of each being its tag. */
static void deliver(const uint16_t *tags, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		describe(tags[i], UBLK_IO_OP_READ, tags[i], 8);
	fake_bring(fetch_data, tags, count);
}

/* Tags from, from + 1 and so on, to the end of the queue and on. */
static void deliver_some(unsigned from, unsigned count)
{
	uint16_t tags[DEPTH];
	unsigned i;

	for (i = 0; i < count; i++)
		tags[i] = (uint16_t)((from + i) % DEPTH);
	deliver(tags, count);
}

/* And the queue's turn has come. */
static void bring(unsigned from, unsigned count)
{
	deliver_some(from, count);
	turn(1);
}

static struct ublk_batch_element element(const struct fake_command *put,
					 unsigned index)
{
	struct ublk_batch_element element = { .tag = UINT16_MAX };
	size_t size = put->batch.elem_bytes;

	assert_in_range(index, 0, put->batch.nr_elem - 1);
	memcpy(&element, put->list + index * size, size);
	return element;
}

/* A COMMIT of so many, of which the first is this tag. Returns its data. */
static uint64_t expect_commit(unsigned count, uint16_t tag, int32_t result)
{
	const struct fake_command *put = next(UBLK_IO_COMMIT_IO_CMDS);

	assert_true(put->is_immediate);
	assert_int_equal(put->batch.flags, 0);
	assert_int_equal(put->batch.elem_bytes, 8);
	assert_int_equal(put->batch.nr_elem, count);
	/* Else a list that is taken in part would not be noticed. */
	assert_int_equal(put->is_quiet, count == 1);
	assert_int_equal(element(put, 0).tag, tag);
	assert_int_equal(element(put, 0).buf_index, tag);
	assert_int_equal(element(put, 0).result, result);
	return put->data;
}

/* So many of a list are taken. */
static void answer(uint64_t data, unsigned count)
{
	fake_complete(data, (int32_t)count * 8);
	turn(2);
}

/* All that is committed is taken, until there is nothing more to be done. */
static void answer_all(void)
{
	const struct fake_command *put;

	while ((put = fake_next_command())) {
		assert_int_equal(put->op, UBLK_IO_COMMIT_IO_CMDS);
		if (!put->is_quiet)
			fake_complete(put->data,
				      (int32_t)put->batch.nr_elem * 8);
		turn(2);
	}
}

static const struct fake_command *last_put(void)
{
	return &fake_ring.put[fake_ring.put_count - 1];
}

static void nothing_else(void)
{
	assert_null(fake_next_command());
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
}

/* ---- beginning ---- */

static void check_start(enum io_mode mode, uint16_t flags, uint8_t size)
{
	const struct fake_command *put;
	struct ublk_batch_element one;
	uint64_t last = 0;
	unsigned tag;

	shape.mode = mode;
	assert_int_equal(open_queue(), 0);
	put = next(UBLK_IO_PREP_IO_CMDS);
	assert_true(put->is_quiet);
	assert_int_equal(put->batch.flags, flags);
	assert_int_equal(put->batch.elem_bytes, size);
	assert_int_equal(put->batch.nr_elem, DEPTH);
	for (tag = 0; tag < DEPTH; tag++) {
		one = element(put, tag);
		assert_int_equal(one.tag, tag);
		assert_int_equal(one.buf_index, tag);
		assert_int_equal(one.result, 0);
		assert_true(mode == IO_COPY ? one.addr > last : !one.addr);
		last = one.addr;
	}
	expect_fetch();
	nothing_else();
	assert_int_equal(fake_ring.registered, device);
	assert_true(fake_ring.entries >= DEPTH);
	assert_int_equal(fake_ring.buffers, mode == IO_ZERO_COPY ? DEPTH : 0);
	assert_false(queue_is_retired(&queue));
	queue_close(&queue);
}

static void test_tags_are_prepared(void **state)
{
	check_start(IO_USER_COPY, 0, 8);
	check_start(IO_COPY, UBLK_BATCH_F_HAS_BUF_ADDR, 16);
	check_start(IO_ZERO_COPY, UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK, 8);
}

static void check_fails(int error)
{
	static const struct queue zero;
	unsigned fds = count_fds();

	assert_int_equal(open_queue(), error);
	assert_memory_equal(&queue, &zero, sizeof(zero));
	assert_int_equal(fake_ring.created, fake_ring.destroyed);
	assert_int_equal(count_fds(), fds);
}

static void test_open_fails(void **state)
{
	fake_ring.intake_error = -EINVAL;
	check_fails(-EINVAL);
	fake_ring.intake_error = 0;
	fake_ring.put_error = -EBUSY;
	check_fails(-EBUSY);
	fake_ring.put_error = 0;
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 1;
	check_fails(-EAGAIN);
}

/* ---- requests ---- */

static void test_lists_come(void **state)
{
	static const uint16_t tags[] = { 7, 99, 0, 41 };
	unsigned i;

	deliver(tags, COUNT(tags));
	turn(2);
	assert_int_equal(got.count, COUNT(tags));
	assert_int_equal(queue.port.owned, COUNT(tags));
	for (i = 0; i < COUNT(tags); i++) {
		assert_int_equal(got.ios[i]->tag, tags[i]);
		assert_true(got.ios[i]->offset == tags[i] * 512ULL);
		assert_int_equal(got.ios[i]->length, 4096);
	}
	nothing_else();
	assert_int_equal(fake_ring.reaped, fake_ring.event_count);
	assert_int_equal(fake_ring.unclean, 0);
}

/* What is done in a turn goes as one list at its end. */
static void test_lists_go(void **state)
{
	static const uint16_t tags[] = { 7, 99, 0 };
	uint64_t data;

	got.at_once = 1;
	fake_ring.submits = 0;
	deliver(tags, COUNT(tags));
	bring(50, 2);
	data = expect_commit(5, 7, 4096);
	assert_int_equal(element(last_put(), 4).tag, 51);
	nothing_else();
	assert_int_equal(fake_ring.submits, 1);
	assert_int_equal(queue.port.owned, 0);
	assert_int_equal(queue.port.count[IO_READ], 5);
	answer(data, 5);
	nothing_else();
	assert_int_equal(told.refused, 0);
}

static void test_buffers_go_along(void **state)
{
	const struct fake_command *put;

	shape.mode = IO_COPY;
	assert_int_equal(open_queue(), 0);
	next(UBLK_IO_PREP_IO_CMDS);
	expect_fetch();
	bring(4, 2);
	io_done(got.ios[0], -EIO);
	put = next(UBLK_IO_COMMIT_IO_CMDS);
	assert_int_equal(put->batch.flags, UBLK_BATCH_F_HAS_BUF_ADDR);
	assert_int_equal(put->batch.elem_bytes, 16);
	assert_true(element(put, 0).addr == (uintptr_t)got.ios[0]->address);
	assert_int_equal(element(put, 0).result, -EIO);
	queue.port.owned = 0;
	queue_close(&queue);
}

/* Those that come later go at once, one by one, and none waits for another. */
static void test_late_answers(void **state)
{
	bring(10, 3);
	io_done(got.ios[1], 0);
	expect_commit(1, 11, 4096);
	nothing_else();
	io_done(got.ios[2], -EIO);
	expect_commit(1, 12, -EIO);
	io_done(got.ios[0], 0);
	expect_commit(1, 10, 4096);
	nothing_else();
	assert_int_equal(queue.port.owned, 0);
}

/* A second list waits for the answer to the first, and goes then. */
static void test_two_lists(void **state)
{
	uint64_t first, second;

	got.at_once = 1;
	bring(0, 3);
	first = expect_commit(3, 0, 4096);
	bring(10, 4);
	nothing_else();
	/* What comes meanwhile joins it; a single one would, too. */
	bring(20, 1);
	nothing_else();
	answer(first, 3);
	second = expect_commit(5, 10, 4096);
	nothing_else();
	bring(30, 1);
	expect_commit(1, 30, 4096);
	answer(second, 5);
	bring(40, 2);
	expect_commit(2, 40, 4096);
	nothing_else();
}

/* ---- what goes wrong with a commit ---- */

/* Three requests are done, and the list of them is sent. Returns its data. */
static uint64_t send_three(void)
{
	got.at_once = 1;
	bring(5, 3);
	return expect_commit(3, 5, 4096);
}

static void test_list_is_taken_in_part(void **state)
{
	uint64_t data = send_three();

	answer(data, 1);
	data = expect_commit(2, 6, 4096);
	nothing_else();
	answer(data, 2);
	nothing_else();
	assert_int_equal(told.refused, 0);
	assert_int_equal(queue.port.owned, 0);
}

/* It joins what is done meanwhile; the last of a list is one like any other. */
static void test_rest_joins_others(void **state)
{
	uint64_t data = send_three();

	bring(60, 2);
	nothing_else();
	answer(data, 1);
	data = expect_commit(4, 60, 4096);
	assert_int_equal(element(last_put(), 2).tag, 6);
	assert_int_equal(element(last_put(), 3).tag, 7);
	answer(data, 3);
	expect_commit(1, 7, 4096);
	nothing_else();
}

static void test_list_is_sent_again(void **state)
{
	static const int passing[] = { -EAGAIN, -ENOMEM, -EINTR };
	uint64_t data = send_three();
	unsigned i;

	for (i = 0; i < COUNT(passing); i++) {
		fake_complete(data, passing[i]);
		turn(2);
		data = expect_commit(3, 5, 4096);
		nothing_else();
	}
	answer(data, 3);
	nothing_else();
	assert_int_equal(told.refused, 0);
}

/* The first of a list is what is refused; the others are not lost by it. */
static void test_list_is_refused(void **state)
{
	uint64_t data = send_three();

	fake_complete(data, -EINVAL);
	turn(2);
	data = expect_commit(2, 6, 4096);
	assert_true(log_has("tag 5 of queue 3"));
	assert_int_equal(told.refused, 1);
	assert_int_equal(told.error, -EINVAL);
	fake_complete(data, 0);
	turn(2);
	assert_true(log_has("tag 6 of queue 3"));
	expect_commit(1, 7, 4096);
	nothing_else();
	assert_int_equal(told.refused, 1);
}

static void test_one_is_sent_again(void **state)
{
	uint64_t data, list = send_three();

	/* Not from where the next list is filled. */
	bring(0, 1);
	data = expect_commit(1, 0, 4096);
	bring(1, 1);
	expect_commit(1, 1, 4096);
	fake_complete(data, -EAGAIN);
	turn(2);
	assert_int_equal(expect_commit(1, 0, 4096), data);
	answer(list, 3);
	bring(5, 1);
	data = expect_commit(1, 5, 4096);
	/* Others come and go in between. */
	bring(6, 1);
	assert_true(expect_commit(1, 6, 4096) != data);
	fake_complete(data, -EAGAIN);
	turn(2);
	assert_int_equal(expect_commit(1, 5, 4096), data);
	fake_complete(data, -EBUSY);
	turn(2);
	nothing_else();
	assert_true(log_has("tag 5 of queue 3"));
	assert_int_equal(told.error, -EBUSY);
}

/* The ring takes nothing: it is tried again, and nothing is forgotten. */
static void test_commit_cannot_be_put(void **state)
{
	bring(5, 3);
	fake_ring.put_error = -EBUSY;
	io_done(got.ios[0], 0);
	io_done(got.ios[1], 0);
	nothing_else();
	fake_ring.put_error = 0;
	io_done(got.ios[2], 0);
	expect_commit(3, 5, 4096);
	nothing_else();
}

/* ---- the intake ---- */

/* It has two halves, which are given back as soon as they are read. */
static void test_halves(void **state)
{
	unsigned round, done = 0;

	got.at_once = 1;
	assert_int_equal(fake_ring.half, DEPTH);
	for (round = 0; round < 40; round++) {
		deliver_some(done, 1 + round * 7 % 60);
		done += 1 + round * 7 % 60;
		turn(2);
		assert_int_equal(queue.port.count[IO_READ], done);
		answer_all();
		nothing_else();
	}
}

/* All tags at once, wherever the half ends, find room. */
static void test_room_for_all(void **state)
{
	unsigned i;

	got.at_once = 1;
	bring(0, 33);
	answer_all();
	for (i = 1; i <= 5; i++) {
		deliver_some(i, DEPTH);
		turn(2);
		answer_all();
		assert_int_equal(queue.port.count[IO_READ], i * DEPTH + 33);
	}
	assert_int_equal(fake_ring.reaped, fake_ring.event_count);
}

/* The driver was out of room, and has used some of it for nothing. */
static void check_no_room(unsigned before, unsigned wasted)
{
	unsigned had = got.count;

	if (before)
		deliver_some(had, before);
	if (wasted)
		fake_waste(wasted);
	fake_complete(fetch_data, -ENOBUFS);
	turn(2);
	assert_int_equal(got.count, had + before);
	expect_fetch();
	nothing_else();
	assert_false(queue_is_retired(&queue));
	bring(had + before, 10);
	assert_int_equal(got.count, had + before + 10);
	assert_int_equal(got.ios[had + before]->tag, had + before);
	assert_int_equal(told.refused, 0);
}

static void test_no_room(void **state)
{
	check_no_room(30, 0);  /* up to 40 of 100 in the first half, */
	check_no_room(0, 20);  /* 70, */
	check_no_room(10, 20); /* and to its end */
	assert_int_equal(fake_ring.fill, DEPTH + 10);
	assert_true(fake_ring.is_free[0]);
}

/* It should not, but a command that ends without an error is begun anew. */
static void test_fetch_just_ends(void **state)
{
	deliver_some(0, 3);
	fake_ring.events[fake_ring.event_count - 1].flags = 0;
	turn(2);
	assert_int_equal(got.count, 3);
	expect_fetch();
	nothing_else();
	bring(3, 3);
	assert_int_equal(got.count, 6);
	assert_int_equal(got.ios[5]->tag, 5);
}

/* The kernel has no memory for it just now. */
static void test_fetch_is_put_again(void **state)
{
	fake_complete(fetch_data, -ENOMEM);
	fake_ring.put_error = -EBUSY;
	turn(1);
	nothing_else();
	fake_ring.put_error = 0;
	ring_raise_event(queue.port.ring);
	turn(1);
	expect_fetch();
	nothing_else();
	assert_int_equal(told.refused, 0);
	assert_false(queue_is_retired(&queue));
}

/* A long list is more than a turn, and what is left of it is not lost. */
static void test_turn_is_bounded(void **state)
{
	uint64_t data;
	unsigned count;

	got.at_once = 1;
	bring(0, DEPTH);
	count = (unsigned)queue.port.count[IO_READ];
	assert_in_range(count, 1, DEPTH - 1);
	assert_int_equal(fake_ring.reaped, 0);
	data = expect_commit(count, 0, 4096);
	fake_complete(data, (int32_t)count * 8);
	turn(3);
	assert_int_equal(queue.port.count[IO_READ], DEPTH);
	assert_int_equal(fake_ring.reaped, fake_ring.event_count);
	expect_commit(DEPTH - count, (uint16_t)count, 4096);
	nothing_else();
}

/* ---- the end ---- */

static void test_retired(void **state)
{
	bring(0, 2);
	io_done(got.ios[0], 0);
	io_done(got.ios[1], 0);
	assert_false(queue_is_retired(&queue));
	fake_complete(fetch_data, -ENODEV);
	turn(2);
	assert_true(queue_is_retired(&queue));
	assert_int_equal(told.retired, 1);
	assert_int_equal(told.refused, 0);
	turn(3);
	assert_int_equal(told.retired, 1);
}

/* A refusal is told of once. */
static void test_refused(void **state)
{
	fake_complete(fake_ring.put[0].data, -EINVAL); /* PREP */
	turn(2);
	assert_int_equal(told.refused, 1);
	assert_int_equal(told.error, -EINVAL);
	assert_false(queue_is_retired(&queue));
	fake_complete(fetch_data, -EINVAL);
	turn(2);
	assert_int_equal(told.refused, 1);
	assert_true(queue_is_retired(&queue));
	assert_int_equal(told.retired, 1);
	nothing_else();
}

/* What is in hand then is committed all the same. */
static void test_refused_with_requests(void **state)
{
	bring(0, 3);
	io_done(got.ios[2], 0);
	expect_commit(1, 2, 4096);
	fake_complete(fake_ring.put[fake_ring.put_count - 1].data, -EAGAIN);
	fake_complete(fetch_data, -EINVAL);
	turn(2);
	assert_int_equal(told.refused, 1);
	expect_commit(1, 2, 4096);
	nothing_else();
	io_done(got.ios[0], 0);
	io_done(got.ios[1], 0);
	expect_commit(1, 0, 4096);
	expect_commit(1, 1, 4096);
	nothing_else();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define TEST_CLOSED(name) \
	cmocka_unit_test_setup_teardown(name, start_closed, stop_closed)
		TEST_CLOSED(test_tags_are_prepared),
		TEST_CLOSED(test_open_fails),
		TEST(test_lists_come),
		TEST(test_lists_go),
		TEST_CLOSED(test_buffers_go_along),
		TEST(test_late_answers),
		TEST(test_two_lists),
		TEST(test_list_is_taken_in_part),
		TEST(test_rest_joins_others),
		TEST(test_list_is_sent_again),
		TEST(test_list_is_refused),
		TEST(test_one_is_sent_again),
		TEST(test_commit_cannot_be_put),
		TEST(test_halves),
		TEST(test_room_for_all),
		TEST(test_no_room),
		TEST(test_fetch_just_ends),
		TEST(test_fetch_is_put_again),
		TEST(test_turn_is_bounded),
		TEST(test_retired),
		TEST(test_refused),
		TEST(test_refused_with_requests),
#undef TEST
#undef TEST_CLOSED
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
