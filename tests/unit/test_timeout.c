/* The layer timeout: when an error comes, and for what else; and when it sleeps. */
#include <errno.h>
#include <string.h>

#include "fakequeue.h"
#include "io/late.h"
#include "io/workers.h"
#include "layer/layer.h"

#define DEPTH 32

static struct layers layers;
static struct failure failure;

static struct {
	unsigned calls, count;
	const struct io *first;
} heard;

static void on_timed_out(void *owner, const struct io *io, unsigned count)
{
	assert_ptr_equal(owner, &heard);
	heard.calls++;
	heard.count += count;
	heard.first = io;
}

static void set(const char *text)
{
	struct option_value values[LAYER_OPTIONS];

	test_values(layer_options, values, text);
	assert_int_equal(layers_check(values, &failure), 0);
	assert_int_equal(layers_put_on(&layers, test_loop, &target, values), 0);
	layers_watch(&layers, &queue.port);
	layers_change(&layers, values, values);
	queue.top = layers_top(&layers, &target);
}

int before_each(void **state)
{
	memset(&layers, 0, sizeof(layers));
	memset(&heard, 0, sizeof(heard));
	start_device(DEPTH, 0);
	assert_int_equal(open_queue(), 0);
	assert_int_equal(late_allow(&queue.port), 0);
	queue.port.late->timed_out = on_timed_out;
	queue.port.late->owner = &heard;
	while (fake_next_command())
		;
	return 0;
}

int after_each(void **state)
{
	assert_false(log_has("twice"));
	workers_resume();
	layers_close(&layers);
	stop_queue();
	return 0;
}

static void bring_at(uint16_t tag, uint32_t op, uint64_t page)
{
	describe(tag, op, 8 * page, 8);
	fake_complete(tag, 0);
	turn(2);
}

static void bring(uint16_t tag, uint32_t op)
{
	bring_at(tag, op, tag);
}

static struct io *last(void)
{
	return got.ios[got.count - 1];
}

/* The target's backing has answered. */
static void answer(struct io *io)
{
	fake_complete(io_own_data(io), 0);
	turn(2);
}

static unsigned answers(void)
{
	unsigned count = 0;

	while (fake_next_command())
		count++;
	return count;
}

static void expect_told(const char *text)
{
	const struct layer *layer = layers.layer[LAYER_TIMEOUT];
	char more[100];

	layer->ops->describe(layer, more, sizeof(more));
	assert_string_equal(more, text);
}

TEST_CASE(test_error_in_time)
{
	set("io-timeout=800ms");
	bring(3, UBLK_IO_OP_READ);
	pass_time(0.79);
	assert_int_equal(answers(), 0);
	pass_time(0.13);
	assert_int_equal(answers(), 1);
	assert_int_equal(queue.port.errors, 1);
	expect_told(" timed-out=1 late=1 refused=0 last-error=ETIMEDOUT");
	assert_int_equal(heard.calls, 1);
	assert_int_equal(heard.count, 1);
	assert_int_equal(got.expires, 1);
	answer(last());
	assert_int_equal(answers(), 0);
	expect_told(" timed-out=1 late=0 refused=0 last-error=ETIMEDOUT");
}

/*
 * Of many queues each has a turn of its own, and one line tells of all. Their
 * requests still wait for data, so that none of these has an answer.
 */
TEST_CASE(test_queue_by_queue)
{
	struct io ios[3][2] = { 0 };
	struct io_port ports[3] = { 0 };
	unsigned i, seen = 0, most = 0, before = 0;

	set("io-timeout=800ms");
	for (i = 0; i < 3; i++) {
		ios[i][0] = (struct io){ .port = &ports[i],
					 .owned = 1,
					 .data = IO_DATA_WAITS };
		ports[i] = (struct io_port){ .ios = ios[i],
					     .depth = 1,
					     .mode = IO_USER_COPY,
					     .owned = 1 };
		assert_int_equal(late_allow(&ports[i]), 0);
		ports[i].late->timed_out = on_timed_out;
		ports[i].late->owner = &heard;
		layers_watch(&layers, &ports[i]);
	}
	pass_time(0.85);
	move_clock(0.1);
	while (heard.calls == 0) {
		turn(1);
		for (seen = i = 0; i < 3; i++)
			seen += ports[i].late->given[0] == LATE_DUE;
		if (seen - before > most)
			most = seen - before;
		before = seen;
	}
	assert_int_equal(most, 1);
	assert_int_equal(seen, 3);
	assert_int_equal(heard.count, 3);
	for (i = 0; i < 3; i++)
		late_close(&ports[i]);
}

/* A request that comes to a queue which the look has seen already has a timer. */
TEST_CASE(test_comes_during_a_look)
{
	struct io io = { .owned = 1, .data = IO_DATA_WAITS };
	struct io_port port = { .ios = &io, .depth = 1, .mode = IO_USER_COPY };

	io.port = &port;
	set("io-timeout=800ms");
	bring(3, UBLK_IO_OP_READ);
	assert_int_equal(late_allow(&port), 0);
	port.late->timed_out = on_timed_out;
	port.late->owner = &heard;
	layers_watch(&layers, &port);
	answer(last());
	assert_int_equal(answers(), 1);
	move_clock(0.11);
	turn(1); /* it has seen the queue that was opened last */
	port.owned = 1;
	layers_watch(&layers, &port);
	pass_time(1);
	assert_int_equal(heard.count, 1);
	late_close(&port);
}

/* Each has its own time, also one that comes later under the same tag. */
TEST_CASE(test_each_has_its_time)
{
	struct io *first;

	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_READ);
	first = last();
	pass_time(0.5);
	bring(1, UBLK_IO_OP_READ);
	pass_time(0.2);
	answer(first);
	assert_int_equal(answers(), 1);
	bring(0, UBLK_IO_OP_READ);
	pass_time(0.5); /* 0.7 s of tag 1 */
	assert_int_equal(answers(), 0);
	pass_time(0.25);
	assert_int_equal(answers(), 1);
	expect_told(" timed-out=1 late=1 refused=0 last-error=ETIMEDOUT");
	pass_time(0.2);
	assert_int_equal(answers(), 1);
	assert_int_equal(queue.port.count[IO_READ], 1);
}

/* Nobody has less, between whatever looks he came. */
TEST_CASE(test_never_too_early)
{
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_READ);
	pass_time(0.09);
	bring(1, UBLK_IO_OP_READ);
	pass_time(0.75);
	assert_int_equal(answers(), 0);
	pass_time(0.1);
	assert_int_equal(answers(), 2);
}

/* Nothing wakes up for a device with nothing under way. */
TEST_CASE(test_idle)
{
	set("io-timeout=800ms");
	assert_false(timer_is_set());
	bring(0, UBLK_IO_OP_READ);
	assert_true(timer_is_set());
	answer(last());
	pass_time(0.2);
	assert_false(timer_is_set());
	bring(0, UBLK_IO_OP_READ);
	pass_time(1);
	/* A late one alone is nobody's time. */
	assert_int_equal(queue.port.late->count, 1);
	assert_false(timer_is_set());
}

TEST_CASE(test_not_without_a_time)
{
	set("io-timeout=800ms");
	set("io-timeout=0");
	bring(0, UBLK_IO_OP_READ);
	assert_false(timer_is_set());
	pass_time(10);
	assert_int_equal(answers(), 0);
}

/* What was under way has all of the new time. */
TEST_CASE(test_change)
{
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_READ);
	pass_time(0.7);
	set("io-timeout=8s");
	pass_time(7.9);
	assert_int_equal(answers(), 0);
	pass_time(1.2);
	assert_int_equal(answers(), 1);
	bring(0, UBLK_IO_OP_READ);
	pass_time(3);
	set("io-timeout=800ms");
	pass_time(0.7);
	assert_int_equal(answers(), 0);
	pass_time(0.3);
	assert_int_equal(answers(), 1);
}

/* Put on for what stands still already. */
TEST_CASE(test_put_on_late)
{
	bring(0, UBLK_IO_OP_READ);
	pass_time(5);
	set("io-timeout=800ms");
	pass_time(0.7);
	assert_int_equal(answers(), 0);
	pass_time(0.3);
	assert_int_equal(answers(), 1);
}

/* The same while another layer keeps one, which has its time from then on. */
TEST_CASE(test_put_on_while_kept)
{
	bring(0, UBLK_IO_OP_READ);
	set("delay-time=3s");
	bring(1, UBLK_IO_OP_READ);
	set("io-timeout=800ms");
	pass_time(0.7);
	assert_int_equal(answers(), 0);
	pass_time(0.3);
	assert_int_equal(answers(), 1);
	assert_int_equal(got.count, 1);
	pass_time(2.7);
	assert_int_equal(got.count, 2);
	assert_int_equal(answers(), 0);
	pass_time(0.4);
	assert_int_equal(answers(), 1);
}

/* What nobody has noted has all of its time, however long others have had. */
TEST_CASE(test_noted_behind_others)
{
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_READ);
	pass_time(0.75);
	queue.top = &target;
	bring(1, UBLK_IO_OP_READ);
	set("error-every=1000");
	pass_time(0.2);
	assert_int_equal(answers(), 1);
	pass_time(0.5);
	assert_int_equal(answers(), 0);
	pass_time(0.3);
	assert_int_equal(answers(), 1);
}

/* What is said of other layers changes nobody's time. */
TEST_CASE(test_change_of_another)
{
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_READ);
	pass_time(0.5);
	set("error-every=1000");
	pass_time(0.25);
	assert_int_equal(answers(), 0);
	set("error-every=1001");
	pass_time(0.2);
	assert_int_equal(answers(), 1);
}

/* Kept by another layer, under a tag whose last request was with the target. */
TEST_CASE(test_kept_again)
{
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_READ);
	answer(last());
	assert_int_equal(answers(), 1);
	bring(1, UBLK_IO_OP_READ);
	set("delay-time=5s");
	bring(0, UBLK_IO_OP_READ);
	pass_time(4.8);
	assert_int_equal(answers(), 1); /* that of tag 1 */
	set("delay-time=0 limit-iops=1");
	pass_time(0.1);
	answer(last());
	assert_int_equal(answers(), 1);
	bring(0, UBLK_IO_OP_READ);
	answer(last());
	bring(1, UBLK_IO_OP_READ);
	pass_time(0.5);
	assert_int_equal(answers(), 1);
}

/* The time in a layer is not the target's. */
TEST_CASE(test_delayed)
{
	set("io-timeout=800ms delay-time=2s");
	bring(0, UBLK_IO_OP_READ);
	pass_time(1.9);
	assert_int_equal(answers(), 0);
	assert_int_equal(got.count, 0);
	pass_time(0.8);
	assert_int_equal(got.count, 1);
	assert_int_equal(answers(), 0);
	pass_time(0.4);
	assert_int_equal(answers(), 1);
}

/* While the server is drained, what needs a worker waits: that is its own doing. */
TEST_CASE(test_drained)
{
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_FLUSH);
	pass_time(0.5);
	assert_int_equal(workers_drain(), 1);
	pass_time(10);
	bring(1, UBLK_IO_OP_FLUSH);
	pass_time(10);
	assert_int_equal(answers(), 0);
	workers_resume();
	pass_time(0.25);
	assert_int_equal(answers(), 0);
	pass_time(0.2);
	assert_int_equal(answers(), 1);
	pass_time(0.5);
	assert_int_equal(answers(), 1);
}

/* What waits in the target leaves nothing behind. */
TEST_CASE(test_in_line)
{
	got.in_line = 1;
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_WRITE);
	pass_time(1);
	assert_int_equal(answers(), 1);
	expect_told(" timed-out=1 late=0 refused=0 last-error=ETIMEDOUT");
	bring(0, UBLK_IO_OP_READ);
	assert_int_equal(got.count, 2);
}

/* What overlaps a late write fails, until the backing has answered that. */
TEST_CASE(test_overlap)
{
	struct io *late;

	set("io-timeout=800ms");
	bring_at(0, UBLK_IO_OP_WRITE, 100);
	late = last();
	pass_time(1);
	assert_int_equal(answers(), 1);
	bring_at(1, UBLK_IO_OP_WRITE, 100);
	bring_at(2, UBLK_IO_OP_READ, 100);
	assert_int_equal(answers(), 2);
	assert_int_equal(got.count, 1);
	expect_told(" timed-out=1 late=1 refused=2 last-error=ETIMEDOUT");
	bring_at(0, UBLK_IO_OP_READ, 101);
	assert_int_equal(got.count, 2);
	/* Without a limit it is as true. */
	set("io-timeout=0");
	bring_at(3, UBLK_IO_OP_WRITE, 100);
	assert_int_equal(answers(), 1);
	answer(late);
	bring_at(4, UBLK_IO_OP_WRITE, 100);
	assert_int_equal(got.count, 3);
	assert_int_equal(answers(), 0);
	expect_told(" timed-out=1 late=0 refused=3 last-error=ETIMEDOUT");
}

/* Nor is more taken than can be given up. */
TEST_CASE(test_full)
{
	uint16_t tag;

	set("io-timeout=800ms");
	for (tag = 0; tag < DEPTH; tag++)
		bring(tag, UBLK_IO_OP_READ);
	pass_time(1);
	assert_int_equal(answers(), DEPTH);
	assert_int_equal(heard.count, DEPTH);
	assert_int_equal(heard.calls, 1);
	bring(0, UBLK_IO_OP_READ);
	assert_int_equal(answers(), 1);
	answer(got.ios[7]);
	got.count = 0;
	bring(0, UBLK_IO_OP_READ);
	assert_int_equal(got.count, 1);
	assert_int_equal(answers(), 0);
}

/* Its queue is closed, or the layer, while the other is there. */
TEST_CASE(test_ends)
{
	set("io-timeout=800ms");
	bring(0, UBLK_IO_OP_READ);
	answer(last());
	queue_close(&queue);
	expect_told(" timed-out=0 late=0 refused=0");
	pass_time(1);
	assert_int_equal(open_queue(), 0);
	assert_int_equal(late_allow(&queue.port), 0);
	layers_watch(&layers, &queue.port);
	queue.top = layers_top(&layers, &target);
	bring(0, UBLK_IO_OP_READ);
	answer(last());
	layers_close(&layers);
	queue.top = &target;
	bring(0, UBLK_IO_OP_READ);
}

static void expect_refused(const char *text, const char *part)
{
	struct option_value values[LAYER_OPTIONS];

	test_values(layer_options, values, text);
	assert_int_equal(layers_check(values, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_RANGE);
	assert_string_equal(failure.arg, "io-timeout");
	assert_non_null(strstr(failure.text, part));
}

TEST_CASE(test_bad_values)
{
	expect_refused("io-timeout=99ms", "less than 100ms");
	set("io-timeout=100ms");
}

TEST_CASE(test_modes)
{
	static const struct {
		enum io_mode mode;
		int result;
	} modes[] = { { IO_USER_COPY, 0 },
		      { IO_NEED_GET_DATA, 0 },
		      { IO_MODES, 0 },
		      { IO_ZERO_COPY, -1 },
		      { IO_COPY, -1 } };
	struct option_value values[LAYER_OPTIONS];
	unsigned i;

	for (i = 0; i < COUNT(modes); i++) {
		test_values(layer_options, values, "io-timeout=1s");
		assert_int_equal(layers_check_mode(values, modes[i].mode,
						   &failure),
				 modes[i].result);
		test_values(layer_options, values, "io-timeout=0");
		assert_int_equal(
			layers_check_mode(values, modes[i].mode, &failure), 0);
	}
	assert_int_equal(failure.symbol, SYMBOL_ARG);
	assert_non_null(strstr(failure.text, "mode=copy"));
}

int main(void)
{
	return tests_run();
}
