/* Layers: which requests fail, how long others are kept, and never for good. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakering.h"
#include "layer/layer.h"

#define DEPTH 256

/* ---- memory that runs out ---- */

static int calloc_fails;

void *__real_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	return calloc_fails ? NULL : __real_calloc(count, size);
}

/* ---- a target that answers at once, and remembers the order ---- */

static uint16_t served[4096];
static unsigned serves;

static void submit(struct backend *backend, struct io *io)
{
	served[serves++ % COUNT(served)] = io->tag;
	io_done(io, 0);
}

static const struct backend_ops ops = { .submit = submit };
static struct backend bottom = { .ops = &ops };

/* ---- requests ---- */

static struct io_port port;
static struct io ios[DEPTH];
static struct layers layers;

/* One request; it must be answered now or later. */
static void request(uint16_t tag, uint8_t op, uint64_t offset, uint32_t length)
{
	struct io *io = &ios[tag];

	assert_false(io->owned);
	io->port = &port;
	io->tag = tag;
	io->op = op;
	io->offset = offset;
	io->length = length;
	io_begin(io);
	layers_top(&layers, &bottom)
		->ops->submit(layers_top(&layers, &bottom), io);
}

static void read_block(uint16_t tag)
{
	request(tag, IO_READ, 4096ull * tag, 4096);
}

/* One with each tag below `count` that is not in use. */
static void read_blocks(uint16_t count)
{
	uint16_t tag;

	for (tag = 0; tag < count; tag++)
		if (!ios[tag].owned)
			read_block(tag);
}

/* The last answer was this errno, or 0. */
static int last_error(void)
{
	int32_t result = fake_ring.put[fake_ring.put_count - 1].command.result;

	return result < 0 ? -result : 0;
}

/* How many of so many reads fail. */
static unsigned failures(unsigned count)
{
	uint64_t before = port.errors;

	/* The fake ring does not forget by itself. */
	fake_ring.put_count = fake_ring.submitted = 0;
	while (count--)
		read_block(0);
	return (unsigned)(port.errors - before);
}

/* ---- values ---- */

static struct failure failure;

static void set(const char *text)
{
	struct option_value values[LAYER_OPTIONS];

	test_values(layer_options, values, text);
	assert_int_equal(layers_check(values, &failure), 0);
	assert_int_equal(layers_put_on(&layers, test_loop, &bottom, values), 0);
	layers_change(&layers, values, values);
}

/* What `show` tells of a layer. */
static const char *told(enum layer_kind kind)
{
	const struct layer *layer = layers.layer[kind];
	static char text[100];

	layer->ops->describe(layer, text, sizeof(text));
	return text;
}

int before_each(void **state)
{
	int error;

	calloc_fails = 0;
	test_loop_open();
	fake_ring_start();
	memset(&layers, 0, sizeof(layers));
	memset(&port, 0, sizeof(port));
	memset(ios, 0, sizeof(ios));
	memset(&failure, 0, sizeof(failure));
	port.ring = ring_create(DEPTH, 0, &error);
	serves = 0;
	return 0;
}

int after_each(void **state)
{
	layers_close(&layers);
	ring_destroy(port.ring);
	fake_ring_stop();
	test_loop_close();
	assert_false(log_has("twice"));
	log_forget();
	return 0;
}

/* ---- putting them on ---- */

TEST_CASE(test_none)
{
	set("");
	assert_null(layers.layer[LAYER_ERROR]);
	assert_null(layers.layer[LAYER_DELAY]);
	assert_ptr_equal(layers_top(&layers, &bottom), &bottom);
	/* A place alone makes no fault, but it is kept for what may come. */
	set("error-offset=4K");
	assert_non_null(layers.layer[LAYER_ERROR]);
	assert_int_equal(failures(100), 0);
}

/* Whatever comes first, a request is kept and then fails. */
TEST_CASE(test_order)
{
	set("delay-time=1s");
	set("error-rate=1");
	assert_ptr_equal(layers_top(&layers, &bottom),
			 &layers.layer[LAYER_DELAY]->backend);
	read_block(1);
	assert_int_equal(port.owned, 1);
	pass_time(1.1);
	assert_int_equal(port.owned, 0);
	assert_int_equal(last_error(), EIO);
	assert_int_equal(serves, 0);
}

TEST_CASE(test_out_of_memory)
{
	struct option_value values[LAYER_OPTIONS];

	test_values(layer_options, values, "delay-time=1s error-rate=1");
	calloc_fails = 1;
	assert_int_equal(layers_put_on(&layers, test_loop, &bottom, values),
			 -ENOMEM);
	assert_ptr_equal(layers_top(&layers, &bottom), &bottom);
	read_block(1);
	assert_int_equal(serves, 1);
}

/* One that is put on does nothing before it has values. */
TEST_CASE(test_put_on_alone)
{
	struct option_value values[LAYER_OPTIONS];

	test_values(layer_options, values, "delay-time=1s error-rate=1");
	assert_int_equal(layers_put_on(&layers, test_loop, &bottom, values), 0);
	read_block(1);
	assert_int_equal(serves, 1);
	assert_int_equal(port.owned, 0);
}

/* Only a layer that is spoken of changes, and counts anew. */
TEST_CASE(test_change_one)
{
	struct option_value values[LAYER_OPTIONS], given[LAYER_OPTIONS];

	set("error-every=3");
	assert_int_equal(failures(2), 0);
	test_values(layer_options, values, "error-every=3 delay-time=1s");
	test_values(layer_options, given, "delay-time=1s");
	layers_change(&layers, values, given);
	assert_int_equal(failures(1), 1);
	assert_int_equal(failures(2), 0);
	test_values(layer_options, given, "error-every=3");
	layers_change(&layers, values, given);
	assert_int_equal(failures(2), 0);
	assert_int_equal(failures(1), 1);
}

/* ---- error ---- */

TEST_CASE(test_every)
{
	unsigned i;

	set("error-every=4");
	for (i = 1; i <= 20; i++)
		assert_int_equal(failures(1), i % 4 == 0);
	assert_int_equal(serves, 15);
	assert_string_equal(told(LAYER_ERROR), " failed=5");
	set("error-every=1");
	assert_int_equal(failures(10), 10);
	set("error-every=0");
	assert_int_equal(failures(10), 0);
	assert_string_equal(told(LAYER_ERROR), " failed=15");
}

TEST_CASE(test_count)
{
	set("error-every=2 error-count=3");
	assert_int_equal(failures(5), 2);
	assert_int_equal(failures(1), 1);
	assert_int_equal(failures(50), 0);
	set("error-every=2 error-count=3");
	assert_int_equal(failures(50), 3);
}

TEST_CASE(test_rate)
{
	unsigned first, second, other;

	set("error-rate=10%");
	first = failures(2000);
	second = failures(2000);
	assert_true(first > 150 && first < 250);
	assert_true(second > 150 && second < 250);
	set("error-rate=10% error-seed=1");
	assert_int_equal(failures(2000), first);
	assert_int_equal(failures(2000), second);
	set("error-rate=10% error-seed=2");
	other = failures(2000);
	assert_true(other > 150 && other < 250 && other != first);
	set("error-rate=1");
	assert_int_equal(failures(200), 200);
	set("error-rate=0");
	assert_int_equal(failures(200), 0);
	/* Either is enough. */
	set("error-rate=0.000000001 error-every=2");
	assert_int_equal(failures(10), 5);
}

TEST_CASE(test_errno)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = { { "EIO", EIO },
		      { "ENOSPC", ENOSPC },
		      { "ETIMEDOUT", ETIMEDOUT },
		      { "ENODATA", ENODATA },
		      { "EILSEQ", EILSEQ },
		      { "EREMOTEIO", EREMOTEIO },
		      { "ENOLINK", ENOLINK },
		      { "EOPNOTSUPP", EOPNOTSUPP } };
	char text[80];
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		snprintf(text, sizeof(text), "error-every=1 error-errno=%s",
			 cases[i].text);
		set(text);
		assert_int_equal(failures(1), 1);
		assert_int_equal(last_error(), cases[i].error);
	}
	assert_int_equal(layer_options[ERROR_ERRNO].choices[i] == NULL, 1);
}

/* Whether one request fails. */
static int fails(uint8_t op, uint64_t offset, uint32_t length)
{
	uint64_t before = port.errors;

	request(0, op, offset, length);
	return port.errors > before;
}

TEST_CASE(test_op)
{
	static const char *const names[IO_OPS] = { "read", "write", "flush",
						   "discard", "write-zeroes" };
	char text[80];
	int set_op, op;

	for (set_op = 0; set_op < IO_OPS; set_op++) {
		snprintf(text, sizeof(text), "error-every=1 error-op=%s",
			 names[set_op]);
		set(text);
		for (op = 0; op < IO_OPS; op++)
			assert_int_equal(fails((uint8_t)op, 0,
					       op == IO_FLUSH ? 0 : 4096),
					 op == set_op);
	}
	set("error-every=1 error-op=write,discard");
	assert_true(fails(IO_WRITE, 0, 512) && fails(IO_DISCARD, 0, 512));
	assert_false(fails(IO_READ, 0, 512) || fails(IO_FLUSH, 0, 0));
	/* Those of another kind do not count. */
	set("error-every=2 error-op=write");
	assert_false(fails(IO_WRITE, 0, 512) || fails(IO_READ, 0, 512));
	assert_true(fails(IO_WRITE, 0, 512));
}

TEST_CASE(test_place)
{
	set("error-every=1 error-offset=8K error-length=4K");
	assert_false(fails(IO_READ, 0, 8192));
	assert_true(fails(IO_READ, 0, 8192 + 512));
	assert_true(fails(IO_READ, 8192, 4096));
	assert_true(fails(IO_WRITE, 8192 + 3584, 512));
	assert_true(fails(IO_READ, 4096, 65536));
	assert_false(fails(IO_READ, 12288, 4096));
	/* A flush has no place. */
	assert_false(fails(IO_FLUSH, 0, 0));
	set("error-every=1 error-offset=8K");
	assert_false(fails(IO_READ, 4096, 4096));
	assert_true(fails(IO_READ, 1ull << 50, 4096));
	assert_false(fails(IO_FLUSH, 0, 0));
	set("error-every=1 error-length=8K");
	assert_true(fails(IO_READ, 7680, 512));
	assert_false(fails(IO_READ, 8192, 512) || fails(IO_FLUSH, 0, 0));
	set("error-every=1 error-offset=7E error-length=7E");
	assert_true(fails(IO_READ, (7ull << 60) + 512, 512));
	assert_false(fails(IO_READ, 0, 512));
}

/* ---- delay ---- */

TEST_CASE(test_fixed)
{
	set("delay-time=500ms");
	read_blocks(10);
	assert_int_equal(port.owned, 10);
	assert_string_equal(told(LAYER_DELAY), " delayed=10 waiting=10");
	pass_time(0.48);
	assert_int_equal(serves, 0);
	read_block(20);
	pass_time(0.04);
	assert_int_equal(serves, 10);
	assert_int_equal(port.owned, 1);
	/* What is answered outside of a queue's turn goes at once. */
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	pass_time(0.5);
	assert_int_equal(serves, 11);
	assert_int_equal(port.owned, 0);
	assert_string_equal(told(LAYER_DELAY), " delayed=11 waiting=0");
}

/* Nothing wakes up while nothing is kept. */
TEST_CASE(test_idle)
{
	set("delay-time=10ms");
	settle();
	assert_false(timer_is_set());
	read_block(1);
	settle();
	assert_true(timer_is_set());
	pass_time(0.1);
	assert_int_equal(serves, 1);
	assert_false(timer_is_set());
}

/* How long a request is kept, in steps of 10 ms. */
static unsigned steps(void)
{
	unsigned count = 0, before = serves;

	read_block(0);
	while (serves == before) {
		pass_time(0.01);
		assert_true(++count < 100000);
	}
	return count;
}

TEST_CASE(test_uniform)
{
	unsigned seen[60] = { 0 }, first[200], i, distinct = 0;

	set("delay-time=100ms delay-max=500ms");
	for (i = 0; i < COUNT(first); i++) {
		first[i] = steps();
		assert_true(first[i] >= 10 && first[i] <= 51);
		distinct += seen[first[i]]++ == 0;
	}
	assert_true(distinct > 30);
	set("delay-time=100ms delay-max=500ms delay-seed=1");
	for (i = 0; i < COUNT(first); i++)
		assert_in_range(steps(), first[i] - 1, first[i] + 1);
}

TEST_CASE(test_exponential)
{
	unsigned i, sum = 0, most = 0, below = 0, taken;

	set("delay-time=50ms delay-mean=100ms");
	for (i = 0; i < 2000; i++) {
		taken = steps();
		assert_true(taken >= 5);
		sum += taken;
		below += taken < 5 + 7; /* the median: 69 ms */
		if (taken > most)
			most = taken;
	}
	assert_in_range(sum / 2000, 14, 17);
	assert_in_range(below, 850, 1150);
	assert_in_range(most, 45, 106);
	set("delay-mean=100ms delay-max=150ms");
	for (i = 0, most = 0; i < 300; i++) {
		taken = steps();
		if (taken > most)
			most = taken;
	}
	assert_in_range(most, 15, 16);
}

/* The next one is always the one that is due, however many there are. */
TEST_CASE(test_heap)
{
	unsigned round, i;

	set("delay-time=0 delay-max=900ms");
	for (round = 0; round < 8; round++) {
		read_blocks(DEPTH);
		pass_time(round % 2 ? 0.3 : 2);
	}
	pass_time(2);
	assert_int_equal(port.owned, 0);
	set("delay-time=0 delay-max=900ms");
	serves = 0;
	read_blocks(DEPTH);
	pass_time(2);
	assert_int_equal(serves, DEPTH);
	for (i = 1; i < DEPTH; i++)
		assert_true(ios[served[i - 1]].due <= ios[served[i]].due);
}

/* Many that are due at once leave others their turn. */
TEST_CASE(test_turn_is_bounded)
{
	set("delay-time=1s");
	read_blocks(DEPTH);
	settle();
	move_clock(2);
	turn(1);
	assert_in_range(serves, 1, DEPTH / 2);
	settle();
	assert_int_equal(serves, DEPTH);
}

TEST_CASE(test_delay_of_some)
{
	set("delay-time=1s delay-op=write delay-offset=4K");
	request(0, IO_WRITE, 4096, 4096);
	request(1, IO_READ, 4096, 4096);
	request(2, IO_WRITE, 0, 4096);
	request(3, IO_FLUSH, 0, 0);
	assert_int_equal(port.owned, 1);
	assert_int_equal(ios[0].owned, 1);
	pass_time(1.1);
	assert_int_equal(port.owned, 0);
}

/* A change is for those that come; no delay at all is for everybody. */
TEST_CASE(test_change_while_kept)
{
	set("delay-time=2s");
	read_block(1);
	set("delay-time=1s");
	read_block(2);
	pass_time(1.1);
	assert_int_equal(serves, 1);
	assert_int_equal(served[0], 2);
	set("delay-time=3600s");
	read_block(3);
	pass_time(1);
	assert_int_equal(serves, 2);
	set("delay-time=0");
	settle();
	assert_int_equal(serves, 3);
	read_block(4);
	assert_int_equal(serves, 4);
}

TEST_CASE(test_hurry)
{
	set("delay-time=3600s");
	read_blocks(DEPTH);
	layers_hurry(&layers);
	settle();
	assert_int_equal(serves, DEPTH);
	assert_int_equal(port.owned, 0);
	/* From now on none is kept. */
	read_block(0);
	assert_int_equal(port.owned, 0);
	set("delay-time=1s");
	read_block(0);
	assert_int_equal(port.owned, 0);
	layers_hurry(&layers);
}

/* A timer of one that is closed does not fire. */
TEST_CASE(test_close_while_kept)
{
	set("delay-time=1s");
	read_block(1);
	layers_close(&layers);
	pass_time(2);
	assert_int_equal(serves, 0);
}

TEST_CASE(test_check)
{
	struct option_value values[LAYER_OPTIONS];

	test_values(layer_options, values, "delay-time=5ms delay-max=4ms");
	assert_int_equal(layers_check(values, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_RANGE);
	assert_string_equal(failure.arg, "delay-max");
	assert_non_null(strstr(failure.text, "delay-time=5ms"));
	test_values(layer_options, values, "delay-time=5ms delay-max=5ms");
	assert_int_equal(layers_check(values, &failure), 0);
	test_values(layer_options, values, "delay-time=5ms delay-max=0");
	assert_int_equal(layers_check(values, &failure), 0);
}

/* ---- limit ---- */

/*
 * As many requests as can be had for so long a time, with 64 in flight; of this
 * kind and length. Returns how many were done.
 */
static unsigned saturate(double seconds, uint8_t op, uint32_t length)
{
	unsigned before = serves;
	int steps = (int)(seconds * 100 + 0.5);
	uint16_t tag;

	while (steps-- > 0) {
		fake_ring.put_count = fake_ring.submitted = 0;
		for (tag = 0; tag < 64; tag++)
			if (!ios[tag].owned)
				request(tag, op, 0, length);
		pass_time(0.01);
	}
	return serves - before;
}

static void drain(double seconds)
{
	pass_time(seconds);
	assert_int_equal(port.owned, 0);
}

#define BOTH "limit-bandwidth=1M limit-iops=100"

/*
 * So much a second, however little that is, and nothing is saved up while idle.
 * What moves no bytes does not count as such; of two limits the stricter one
 * counts. A little more goes through: a burst, or what a time step lets go.
 */
TEST_CASE(test_limits)
{
	static const struct limit {
		const char *set;
		double idle, seconds; /* before, and of requests */
		uint8_t op;
		uint32_t length;
		unsigned least, most; /* that are done in these seconds */
	} cases[] = {
		{ "limit-iops=200", 100, 5, IO_WRITE, 4096, 1000, 1025 },
		{ "limit-iops=200", 0, 5, IO_FLUSH, 0, 1000, 1025 },
		{ "limit-iops=200", 0, 2, IO_DISCARD, 1 << 20, 400, 425 },
		{ "limit-iops=3", 0, 10, IO_READ, 512, 30, 31 },
		{ "limit-iops=5000", 0, 3, IO_READ, 512, 14700, 15600 },
		{ "limit-bandwidth=1M", 0, 4, IO_READ, 64 << 10, 64, 67 },
		{ "limit-bandwidth=1M", 5, 1, IO_DISCARD, 1 << 20, 6400, 6400 },
		{ BOTH, 0, 2, IO_READ, 512, 200, 212 },
		{ BOTH, 3, 2, IO_READ, 32 << 10, 64, 68 },
	};
	const struct limit *is;

	for (is = cases; is < cases + COUNT(cases); is++) {
		about(is->set);
		set(is->set);
		pass_time(is->idle);
		assert_in_range(saturate(is->seconds, is->op, is->length),
				is->least, is->most);
		layers_hurry(&layers);
		settle();
		layers_close(&layers);
	}
}

/* A host that has no time for us is not to make the disk slower still. */
TEST_CASE(test_limit_catches_up)
{
	unsigned before;
	int i;

	set("limit-iops=200");
	saturate(1, IO_READ, 512);
	before = serves;
	for (i = 0; i < 20; i++) {
		fake_ring.put_count = fake_ring.submitted = 0;
		read_blocks(64);
		move_clock(0.25);
		settle();
	}
	assert_in_range(serves - before, 990, 1020);
	/* Not for ever, and not what nobody has asked for. */
	move_clock(100);
	settle();
	move_clock(100);
	assert_in_range(saturate(0.5, IO_READ, 512), 100, 130);
}

/* A large request goes at once, and the next one waits for all of it. */
TEST_CASE(test_limit_large_request)
{
	set("limit-bandwidth=1M");
	request(0, IO_WRITE, 0, 2 << 20);
	assert_int_equal(port.owned, 0);
	request(1, IO_WRITE, 0, 512);
	pass_time(1.9);
	assert_int_equal(port.owned, 1);
	pass_time(0.2);
	assert_int_equal(port.owned, 0);
}

TEST_CASE(test_limit_in_order)
{
	uint16_t tag;

	set("limit-iops=20");
	for (tag = 0; tag < 64; tag++)
		request(tag, tag % 3 ? IO_WRITE : IO_FLUSH, 0,
			tag % 3 ? 4096 : 0);
	assert_in_range(serves, 1, 3);
	assert_non_null(strstr(told(LAYER_LIMIT), "waiting=6"));
	drain(4);
	assert_int_equal(serves, 64);
	for (tag = 0; tag < 64; tag++)
		assert_int_equal(served[tag], tag);
	assert_non_null(strstr(told(LAYER_LIMIT), "waiting=0"));
}

/* Nothing wakes up for a limit that is not reached. */
TEST_CASE(test_limit_idle)
{
	set("limit-iops=1000 limit-bandwidth=1G");
	read_block(0);
	turn(2);
	assert_int_equal(ev_pending_count(test_loop), 0);
	assert_string_equal(told(LAYER_LIMIT), " limited=0 waiting=0");
}

/* Without a limit those that wait go first, then who comes. */
TEST_CASE(test_limit_change)
{
	uint16_t tag;

	set("limit-bandwidth=1");
	request(0, IO_WRITE, 0, 512);
	for (tag = 1; tag < 200; tag++)
		request(tag, IO_WRITE, 0, 512);
	assert_int_equal(serves, 1);
	/* What the old limit had used up is forgotten. */
	set("limit-bandwidth=0 limit-iops=100");
	pass_time(0.1);
	assert_in_range(serves, 10, 18);
	set("limit-iops=0");
	request(200, IO_WRITE, 0, 512);
	drain(0.1);
	assert_int_equal(serves, 201);
	for (tag = 0; tag <= 200; tag++)
		assert_int_equal(served[tag], tag);
	read_block(0);
	assert_int_equal(port.owned, 0);
}

TEST_CASE(test_limit_hurry)
{
	set("limit-iops=1");
	read_blocks(DEPTH);
	assert_in_range(port.owned, DEPTH - 2, DEPTH - 1);
	/* A turn lets so many go, then others have theirs. */
	layers_hurry(&layers);
	while (port.owned >= DEPTH - 2)
		turn(1);
	assert_in_range(port.owned, DEPTH - 70, DEPTH - 60);
	settle();
	assert_int_equal(port.owned, 0);
	assert_int_equal(saturate(0.01, IO_READ, 512), 64);
	assert_int_equal(port.owned, 0);
}

TEST_CASE(test_limit_close_while_kept)
{
	set("limit-iops=1");
	read_block(0);
	read_block(1);
	read_block(2);
	assert_true(port.owned > 0);
	layers_close(&layers);
	pass_time(5);
	assert_in_range(serves, 1, 2);
}

/* Requests are counted before they are delayed or fail. */
TEST_CASE(test_limit_is_on_top)
{
	set("delay-time=1s error-rate=1");
	set("limit-iops=10");
	assert_ptr_equal(layers_top(&layers, &bottom),
			 &layers.layer[LAYER_LIMIT]->backend);
	read_block(0);
	assert_string_equal(told(LAYER_DELAY), " delayed=1 waiting=1");
	drain(1.1);
	assert_int_equal(last_error(), EIO);
}

int main(void)
{
	return tests_run();
}
