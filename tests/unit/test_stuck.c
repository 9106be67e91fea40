/* The watch for requests that wait for long, with a helper that is the test's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "device/device.h"
#include "device/stuck.h"
#include "device/waits.h"
#include "io/recorder.h"
#include "support.h"

#define DEPTH 4

static struct device_set set;
static struct device devices[3];
static struct queue queues[3];
static struct io ios[3][DEPTH];
static struct sight_tag tags[3][DEPTH];
static struct sight_small small[3];
static struct recorder recorders[3];
static struct sight_event rings[3][8];
static struct target_ops ops;
static struct target target = { .ops = &ops };

/* ---- the helper ---- */

static struct {
	int is_gone;
	unsigned asked, count;
	struct view_wish wishes[3]; /* the first of them */
	int fd;
	ask_done *done;
	void *context;
} helper;

int __wrap_waits_ask(const struct view_wish *wishes, unsigned count,
		     ask_done *done, void *context);
int __wrap_waits_ask(const struct view_wish *wishes, unsigned count,
		     ask_done *done, void *context)
{
	const struct view_head head = { .magic = VIEW_MAGIC,
					.count = count,
					.size = sizeof(struct view) };

	helper.asked++;
	if (helper.is_gone)
		return -EPIPE;
	memcpy(helper.wishes, wishes,
	       (count < 3 ? count : 3) * sizeof(*wishes));
	helper.count = count;
	helper.done = done;
	helper.context = context;
	helper.fd = view_file(&head, wishes);
	return helper.fd;
}

/* The kernel has that many requests of each device. */
static void answer_views(uint32_t writes)
{
	const struct view view = { .known = VIEW_INFLIGHT, .writes = writes };
	const struct message answer = { .result = 0 };
	off_t at = (off_t)(sizeof(struct view_head) +
			   helper.count * sizeof(struct view_wish));
	unsigned i;

	for (i = 0; i < helper.count; i++)
		assert_int_equal(pwrite(helper.fd, &view, sizeof(view),
					at + (off_t)(i * sizeof(view))),
				 sizeof(view));
	helper.done(helper.context, &answer);
}

/* ---- memory ---- */

static int is_out_of_memory;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return is_out_of_memory ? NULL : __real_calloc(count, size);
}

/* ---- devices ---- */

static void make_device(unsigned i)
{
	uint16_t tag;

	devices[i].next = i < 2 ? &devices[i + 1] : NULL;
	devices[i].set = &set;
	devices[i].step = DEVICE_LIVE;
	devices[i].spec.id = i * 10;
	devices[i].spec.queues = 1;
	devices[i].spec.depth = DEPTH;
	devices[i].spec.target = &target;
	devices[i].spec.stuck_after = 30000000;
	devices[i].queues = &queues[i];
	devices[i].open_queues = 1;
	devices[i].recorder = &recorders[i];
	snprintf(devices[i].disk, sizeof(devices[i].disk), "ublkb%u", i * 10);
	recorders[i] = (struct recorder){ .small = &small[i],
					  .tags = tags[i],
					  .mask = DEPTH - 1,
					  .ring = rings[i],
					  .ring_end = rings[i] + 8,
					  .newest = rings[i] };
	queues[i].depth = DEPTH;
	queues[i].ios = queues[i].port.ios = ios[i];
	queues[i].port.recorder = &recorders[i];
	for (tag = 0; tag < DEPTH; tag++)
		ios[i][tag] =
			(struct io){ .port = &queues[i].port, .tag = tag };
}

int before_each(void **state)
{
	unsigned i;

	test_loop_open();
	memset(&helper, 0, sizeof(helper));
	memset(devices, 0, sizeof(devices));
	memset(queues, 0, sizeof(queues));
	memset(tags, 0, sizeof(tags));
	memset(rings, 0, sizeof(rings));
	for (i = 0; i < COUNT(devices); i++)
		make_device(i);
	memset(&set, 0, sizeof(set));
	set.loop = test_loop;
	set.first = devices;
	set.count = COUNT(devices);
	log_forget();
	stuck_watch(&set);
	return 0;
}

int after_each(void **state)
{
	test_loop_close();
	return 0;
}

static void hold(unsigned i, uint16_t tag)
{
	struct io *io = &ios[i][tag];

	turns_enter(SIGHT_TURNS, 0);
	io->owned = 1;
	io->op = IO_WRITE;
	io->length = 512;
	queues[i].port.owned++;
	recorder_kept(io, SIGHT_DELAY);
	recorder_turned(&queues[i].port);
}

static void let_go(unsigned i, uint16_t tag)
{
	ios[i][tag].owned = 0;
	tags[i][tag].place = SIGHT_NOWHERE;
	queues[i].port.owned--;
}

/* Until nothing is watched any more. */
static void park(void)
{
	pass_time(3);
	assert_false(timer_is_set());
	assert_non_null(recorder_parked);
}

/* Nothing waits: nobody wakes up. What comes back soon is not told of. */
TEST_CASE(test_sleeps)
{
	pass_time(100);
	assert_false(timer_is_set());
	hold(0, 1);
	turn(2);
	assert_true(timer_is_set());
	pass_time(29);
	let_go(0, 1);
	park();
	assert_int_equal(log_count("stuck"), 0);
	assert_int_equal(helper.asked, 0);
}

TEST_CASE(test_told)
{
	hold(1, 1);
	pass_time(29.5);
	assert_int_equal(helper.asked, 0);
	pass_time(2);
	assert_int_equal(helper.asked, 1);
	assert_int_equal(helper.count, 1);
	assert_string_equal(helper.wishes[0].disk, "ublkb10");
	assert_int_equal(log_count("stuck"), 0);
	answer_views(3);
	pass_time(60);
	assert_int_equal(log_count("stuck"), 1);
	assert_true(log_has("ublkb10 is stuck: 1 request waits for the layer "
			    "delay, for 3"));
	assert_true(log_has("; 2 more in the kernel, not delivered"));
	assert_string_equal(recorders[1].newest->text, "stuck");
	/* Once, though another of its requests gets old as well. */
	hold(1, 2);
	let_go(1, 1);
	pass_time(2);
	assert_true(log_has("ublkb10 is not stuck any more"));
	assert_string_equal(recorders[1].newest->text, "unstuck");
	pass_time(31);
	assert_int_equal(helper.asked, 2);
	/* It is over before the helper has answered: nobody needs to know. */
	let_go(1, 2);
	pass_time(2);
	answer_views(0);
	park();
	assert_int_equal(log_count("stuck"), 2);
}

/* Several at a time are one question; what one of them has answered meanwhile. */
TEST_CASE(test_two)
{
	devices[1].spec.stuck_after = 0;
	hold(0, 1);
	hold(1, 1);
	hold(2, 3);
	pass_time(31.5);
	assert_int_equal(helper.asked, 1);
	assert_int_equal(helper.count, 2);
	assert_string_equal(helper.wishes[1].disk, "ublkb20");
	queues[2].port.count[IO_READ]++;
	answer_views(2);
	pass_time(1);
	assert_int_equal(log_count("is stuck"), 2);
	assert_int_equal(log_count("1 more in the kernel"), 1);
	let_go(0, 1);
	let_go(1, 1);
	let_go(2, 3);
	park();
	assert_int_equal(log_count("not stuck any more"), 2);
}

/* Those that linger (LINGER) do not count, and are told of as well. */
TEST_CASE(test_lingers)
{
	enum { MANY = 300 };
	static struct device many[MANY];
	unsigned i;

	hold(0, 1);
	for (i = 0; i < MANY; i++) {
		many[i] = devices[0];
		many[i].spec.id = i;
		many[i].next = i + 1 < MANY ? &many[i + 1] : NULL;
	}
	set.first = many;
	set.count = 0;
	pass_time(32);
	assert_int_equal(helper.count, MANY);
	answer_views(0);
	pass_time(1);
	assert_int_equal(log_count("stuck"), MANY);
	let_go(0, 1);
	park();
}

/* The one that was to be told of is gone when the helper answers. */
TEST_CASE(test_gone)
{
	hold(0, 1);
	hold(2, 1);
	pass_time(31.5);
	set.first = &devices[1];
	set.count = 2;
	answer_views(0);
	pass_time(1);
	assert_int_equal(log_count("stuck"), 1);
	assert_true(log_has("ublkb20 is stuck"));
	let_go(2, 1);
	park();
}

/* Without a helper it is told all the same, with what the server knows. */
TEST_CASE(test_no_helper)
{
	helper.is_gone = 1;
	hold(0, 1);
	pass_time(33);
	assert_true(log_has("ublkb0 is stuck: 1 request waits for the layer "
			    "delay"));
	let_go(0, 1);
	park();
}

/* There is no memory to ask with: the log hears of it when there is. */
TEST_CASE(test_no_memory)
{
	hold(0, 1);
	pass_time(29);
	is_out_of_memory = 1;
	pass_time(4);
	assert_int_equal(helper.asked, 0);
	is_out_of_memory = 0;
	pass_time(1.5);
	assert_int_equal(helper.asked, 1);
	answer_views(0);
	pass_time(1);
	assert_int_equal(log_count("ublkb0 is stuck"), 1);
	let_go(0, 1);
	park();
}

/* In a small part some have an entry, and more have none: it is stuck. */
TEST_CASE(test_some_ages)
{
	hold(0, 1);
	hold(0, 2);
	ios[0][2].owned = IO_UNSEEN + SIGHT_DELAY;
	pass_time(32);
	assert_int_equal(helper.asked, 1);
	answer_views(0);
	pass_time(1);
	assert_true(log_has("ublkb0 is stuck: 2 requests wait for the layer "
			    "delay, the oldest for 3"));
	let_go(0, 1);
	let_go(0, 2);
	park();
}

/* Of a request that is not written down nobody knows how long it waits. */
TEST_CASE(test_no_age)
{
	hold(0, 1);
	hold(1, 1);
	tags[0][1].tag = 9;
	pass_time(33);
	assert_int_equal(helper.count, 1);
	assert_string_equal(helper.wishes[0].disk, "ublkb10");
	answer_views(0);
	let_go(0, 1);
	let_go(1, 1);
	park();
}

/* More tags than one turn looks at: the look goes on where it was. */
TEST_CASE(test_many_tags)
{
	enum { MANY = 3000 };
	static struct io many[MANY];
	unsigned tag;

	for (tag = 0; tag < MANY; tag++)
		many[tag] = (struct io){ .port = &queues[0].port,
					 .tag = (uint16_t)tag };
	queues[0].depth = MANY;
	queues[0].ios = queues[0].port.ios = many;
	hold(2, 2);
	many[MANY - 1].owned = 1;
	queues[0].port.owned = 1;
	recorders[0].mask = 0;
	recorder_place(&many[MANY - 1], SIGHT_LIMIT);
	pass_time(32);
	assert_int_equal(helper.count, 2);
	answer_views(0);
	pass_time(1);
	assert_true(log_has("ublkb20 is stuck"));
	queues[0].port.owned = 0;
	let_go(2, 2);
	park();
}

/* The server ends: while a helper works, and while there is more to be told. */
TEST_CASE(test_ends)
{
	hold(0, 1);
	pass_time(31.5);
	stuck_end();
	assert_null(recorder_parked);
	answer_views(0);
	pass_time(3);
	assert_int_equal(log_count("stuck"), 0);
	let_go(0, 1);
}

int main(void)
{
	return tests_run();
}
