/*
 * Whether a server may leave: requests in workers, new ones that are held back,
 * commands under way. The loop's clock is only moved by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/drain.h"
#include "io/loop.h"
#include "support.h"
#include "io/workers.h"

static struct command_host host;
static struct device device;
static struct target target;
static struct target_ops ops;
static struct drain drain;
static unsigned in_workers; /* of the device's requests */
static unsigned went_on;    /* the device was told to */
static int answers, yes;
static char why[200];

/* The device's file, and the close of another descriptor of it. */
static struct {
	int held, fd; /* -1: none */
	unsigned count;
	uint8_t mark;
	opener_ended *ended;
	void *context;
} file;

unsigned __wrap_opener_close_patiently(struct ev_loop *loop, int fd,
				       opener_ended *ended, void *context)
{
	assert_ptr_equal(loop, test_loop);
	assert_int_equal(file.fd, -1);
	file.count++;
	file.fd = fd;
	file.mark = workers_enter();
	file.ended = ended;
	file.context = context;
	return 1;
}

static void end_close(void)
{
	assert_int_equal(close(file.fd), 0);
	file.fd = -1;
	file.ended(file.context, 0);
	workers_leave(file.mark);
}

static int hold(struct target *asked, int *fds)
{
	assert_ptr_equal(asked, &target);
	fds[0] = file.held;
	return 1;
}

static int give_up(struct target *asked, int *fds)
{
	return 0;
}

static unsigned count(const struct target *asked)
{
	assert_ptr_equal(asked, &target);
	return in_workers;
}

static void go_on(struct target *asked)
{
	assert_ptr_equal(asked, &target);
	assert_false(workers_are_held());
	went_on++;
}

static void on_done(struct drain *done, const struct failure *failure)
{
	assert_ptr_equal(done, &drain);
	answers++;
	yes = !failure;
	why[0] = '\0';
	if (failure) {
		assert_int_equal(failure->symbol, SYMBOL_BUSY);
		snprintf(why, sizeof(why), "%.199s", failure->text);
	}
}

static uint8_t enter(void)
{
	in_workers++;
	return workers_enter();
}

static void leave(uint8_t mark)
{
	in_workers--;
	workers_leave(mark);
}

static void ask(void)
{
	drain_begin(&drain, &host, on_done);
}

int before_each(void **state)
{
	test_loop_open();
	memset(&host, 0, sizeof(host));
	memset(&device, 0, sizeof(device));
	memset(&drain, 0, sizeof(drain));
	memset(&ops, 0, sizeof(ops));
	memset(&file, 0, sizeof(file));
	file.held = file.fd = -1;
	ops.in_workers = count;
	ops.go_on = go_on;
	target.ops = &ops;
	device.spec.target = &target;
	device.spec.id = 7;
	strcpy(device.spec.name, "slow");
	device.step = DEVICE_LIVE;
	host.devices.loop = test_loop;
	host.devices.first = &device;
	in_workers = went_on = 0;
	answers = yes = 0;
	return 0;
}

int after_each(void **state)
{
	drain_end(&drain);
	test_loop_close();
	return 0;
}

/* It may, and what begins meanwhile waits: for a while, should it stay. */
TEST_CASE(test_nothing_in_the_way)
{
	ask();
	assert_int_equal(answers, 1);
	assert_true(yes);
	assert_true(workers_are_held());
	pass_time(DRAIN_HOLD - 0.5);
	assert_true(workers_are_held());
	went_on = 0;
	pass_time(1);
	assert_false(workers_are_held());
	assert_int_equal(went_on, 1);
	assert_int_equal(answers, 1);
	assert_false(timer_is_set());
}

TEST_CASE(test_told_to_stay)
{
	ask();
	went_on = 0;
	drain_end(&drain);
	assert_false(workers_are_held());
	assert_int_equal(went_on, 1);
	settle();
	assert_false(timer_is_set());
}

/* What stands still is waited for, and nothing else waits with it. */
TEST_CASE(test_stands_still)
{
	uint8_t mark = enter(), other;

	ask();
	pass_time(DRAIN_PATIENCE - 1);
	assert_int_equal(answers, 0);
	assert_false(workers_are_held());
	other = enter();
	pass_time(0.5);
	leave(other);
	assert_false(workers_are_held());
	pass_time(1);
	assert_int_equal(answers, 1);
	assert_false(yes);
	assert_non_null(strstr(why, "device 7 (slow)"));
	assert_false(timer_is_set());
	/* The next one is no better off, until it has ended. */
	ask();
	pass_time(1);
	assert_int_equal(answers, 1);
	assert_false(workers_are_held());
	leave(mark);
	pass_time(0.1);
	assert_int_equal(answers, 2);
	assert_true(yes);
}

/* Requests come and go: there is a moment without once new ones wait. */
TEST_CASE(test_busy_device)
{
	uint8_t mark = enter(), next;

	ask();
	pass_time(0.1);
	next = enter();
	leave(mark);
	pass_time(0.1);
	assert_true(workers_are_held());
	assert_int_equal(answers, 0);
	leave(next);
	pass_time(0.1);
	assert_int_equal(answers, 1);
	assert_true(yes);
}

/* It stands still while new ones are held: those wait for a second at most. */
TEST_CASE(test_stops_meanwhile)
{
	uint8_t mark = enter(), next;

	ask();
	next = enter();
	leave(mark);
	pass_time(0.1);
	assert_true(workers_are_held());
	went_on = 0;
	pass_time(DRAIN_HOLD_PATIENCE);
	assert_int_equal(answers, 1);
	assert_false(yes);
	assert_false(workers_are_held());
	assert_int_equal(went_on, 1);
	leave(next);
}

/* An open is nobody's request yet. */
TEST_CASE(test_opening)
{
	uint8_t mark = workers_enter();

	ask();
	pass_time(DRAIN_PATIENCE + 0.1);
	assert_false(yes);
	assert_non_null(strstr(why, "being opened"));
	workers_leave(mark);
}

/* Between two of a command's steps nothing else shows it. */
TEST_CASE(test_command)
{
	device.step = DEVICE_DRAIN;
	ask();
	pass_time(1);
	assert_int_equal(answers, 0);
	assert_false(workers_are_held());
	device.step = DEVICE_LIVE;
	pass_time(0.1);
	assert_true(yes);
	device.step = DEVICE_NODE;
	ask();
	pass_time(DRAIN_PATIENCE + 0.1);
	assert_int_equal(answers, 2);
	assert_false(yes);
	assert_non_null(strstr(why, "device 7"));
}

/* The next server would wait for what the backing has. */
TEST_CASE(test_late_requests)
{
	struct late late = { .count = 2 };
	struct queue queue = { .port.late = &late };

	ops.name = "file";
	device.queues = &queue;
	device.open_queues = 1;
	ask();
	pass_time(1);
	assert_int_equal(answers, 0);
	late.count = 0;
	pass_time(0.1);
	assert_true(yes);
	late.count = 2;
	ask();
	pass_time(DRAIN_PATIENCE + 0.1);
	assert_int_equal(answers, 2);
	assert_false(yes);
	assert_non_null(strstr(why, "device 7 (slow) has requests that its "
				    "file has not answered in time (2)"));
}

/* A stop needs every worker. */
TEST_CASE(test_stop)
{
	ask();
	host.stopping = 1;
	pass_time(0.1);
	assert_false(workers_are_held());
	ask();
	assert_int_equal(answers, 2);
	assert_false(yes);
}

/* ---- what the end of the process would ask ---- */

static void have_file(void)
{
	file.held = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(file.held >= 0);
	ops.hold = hold;
	ops.give_up = give_up;
}

/* A descriptor is closed that is nobody else's, and then it may leave. */
TEST_CASE(test_file_server_answers)
{
	have_file();
	ask();
	assert_int_equal(file.count, 1);
	assert_int_not_equal(file.fd, file.held);
	pass_time(1);
	assert_int_equal(answers, 0);
	end_close();
	pass_time(0.1);
	assert_int_equal(answers, 1);
	assert_true(yes);
	drain_end(&drain);
	/* It is asked anew each time. */
	ask();
	assert_int_equal(file.count, 2);
	end_close();
	pass_time(0.1);
	assert_int_equal(answers, 2);
	assert_true(yes);
	close(file.held);
}

/* It stays, and asks no second time before the first answer. */
TEST_CASE(test_file_server_is_silent)
{
	have_file();
	ask();
	pass_time(DRAIN_PATIENCE + 0.1);
	assert_int_equal(answers, 1);
	assert_false(yes);
	assert_non_null(strstr(why, "does not answer"));
	pass_time(OPENER_PATIENCE);
	ask();
	pass_time(DRAIN_PATIENCE + 0.1);
	assert_int_equal(answers, 2);
	assert_false(yes);
	assert_int_equal(file.count, 1);
	/* Once it has answered, it is asked like the others. */
	end_close();
	ask();
	assert_int_equal(file.count, 2);
	assert_int_equal(answers, 2);
	end_close();
	pass_time(0.1);
	assert_int_equal(answers, 3);
	assert_true(yes);
	close(file.held);
}

/* What no close can wait for is not closed. */
TEST_CASE(test_no_file_server)
{
	have_file();
	ops.give_up = NULL;
	ask();
	assert_int_equal(file.count, 0);
	assert_true(yes);
	close(file.held);
}

int main(void)
{
	return tests_run();
}
