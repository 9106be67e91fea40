/*
 * How the server sleeps: timers, and rings that the thread sleeps in. The rings
 * are fakes with what matters of real ones: what was put counts once it is
 * submitted, completions are signalled or not, a poll of libev's descriptor is a
 * real one. Each sleep, in libev or in a ring, asks the test what happens next,
 * after a look that nothing would be slept through.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io/loop.h"
#include "support.h"

#define RINGS 2
#define ROOM  256
#define BATCH 16
#define TAG   1 /* data of a request: below RING_OP_FIRST */

enum put_kind { PUT_POLL, PUT_TIMEOUT, PUT_CANCEL };

struct put {
	enum put_kind kind;
	uint64_t data, victim;
	int fd;
	double due;
};

struct ring {
	int event_fd;
	/* What it signals through: that one, or a warm ring's; or -1. */
	int signal_fd;
	int can_stay;
	int is_signalled, is_registered;
	struct put puts[ROOM], armed[ROOM]; /* prepared, and with the kernel */
	unsigned put_count, armed_count;
	struct ring_event events[ROOM];
	unsigned event_count;

	int unsent; /* the last submit has failed */
	/* What the kernel completes when it is looked at only, and not signals. */
	unsigned deferred;

	/* What goes wrong. */
	unsigned submit_failures, poll_failures, signal_failures;
	int races; /* a request comes just before signals are on again */

	/* What was seen. */
	unsigned sleeps, submits, polls, timeouts, cancels, raises, turns;
	unsigned signals;  /* so often they were turned on */
	unsigned requests; /* that were taken */
};

static struct ring rings[RINGS];
static struct loop_ring wakes[RINGS];
static struct ring *asleep_in; /* NULL: libev */
static unsigned sleeps;
static int no_epoll; /* epoll_ctl() says that it is no epoll descriptor */

/* What happens in the next sleep; or, with run_hot(), in those in a hot ring. */
static void (*next)(void);
static void (*when_hot)(unsigned count);
static unsigned step;	    /* of `next` */
static unsigned hot_sleeps; /* of `when_hot` */
static unsigned iterations; /* of libev, when ring 1 had long been warm */

/* ---- the fake rings ---- */

int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	if (!no_epoll)
		return __real_epoll_ctl(epoll, op, fd, event);
	errno = EINVAL;
	return -1;
}

/* In place of the C library's, for libev. */
static int longest; /* ms that it would have slept; -1: for ever */

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
	if (longest >= 0 && (timeout < 0 || timeout > longest))
		longest = timeout;
	return epoll_pwait(epoll, events, count, timeout, NULL);
}

static void post(struct ring *ring, uint64_t data, int32_t result)
{
	assert_true(ring->event_count < ROOM);
	ring->events[ring->event_count].data = data;
	ring->events[ring->event_count++].result = result;
	if (ring->is_signalled && ring->signal_fd >= 0)
		eventfd_write(ring->signal_fd, 1);
}

/* So many requests come. */
static void deliver(unsigned number, unsigned count)
{
	while (count-- > 0)
		post(&rings[number], TAG, 0);
}

static void forget_armed(struct ring *ring, unsigned index)
{
	ring->armed[index] = ring->armed[--ring->armed_count];
}

/* Polls and timeouts that have come true. */
static void look_at_armed(struct ring *ring)
{
	unsigned i = 0;

	look_at_timer();
	while (i < ring->armed_count) {
		const struct put put = ring->armed[i];

		if (put.kind == PUT_POLL ? is_readable(put.fd)
					 : loop_now() >= put.due) {
			forget_armed(ring, i);
			post(ring, put.data,
			     put.kind == PUT_POLL ? POLLIN : -ETIME);
		} else {
			i++;
		}
	}
}

static void cancel(struct ring *ring, const struct put *put)
{
	unsigned i;

	for (i = 0; i < ring->armed_count; i++)
		if (ring->armed[i].data == put->victim) {
			forget_armed(ring, i);
			post(ring, put->victim, -ECANCELED);
			post(ring, put->data, 0);
			return;
		}
	post(ring, put->data, -ENOENT);
}

static void take_puts(struct ring *ring)
{
	unsigned i;

	for (i = 0; i < ring->put_count; i++)
		if (ring->puts[i].kind == PUT_CANCEL)
			cancel(ring, &ring->puts[i]);
		else
			ring->armed[ring->armed_count++] = ring->puts[i];
	ring->put_count = 0;
}

static void put(struct ring *ring, const struct put *put)
{
	assert_true(ring->put_count < ROOM);
	ring->puts[ring->put_count++] = *put;
}

int __wrap_ring_event_fd(const struct ring *ring)
{
	return ring->event_fd;
}

void __wrap_ring_clear_event(struct ring *ring)
{
	eventfd_t count;

	eventfd_read(ring->event_fd, &count);
}

void __wrap_ring_raise_event(struct ring *ring)
{
	ring->raises++;
	eventfd_write(ring->event_fd, 1);
}

int __wrap_ring_submit(struct ring *ring)
{
	ring->submits++;
	ring->unsent = ring->submit_failures > 0;
	if (ring->unsent) {
		ring->submit_failures--;
		return -EBUSY;
	}
	take_puts(ring);
	look_at_armed(ring);
	return 0;
}

int __wrap_ring_can_stay(const struct ring *ring)
{
	return ring->can_stay;
}

void __wrap_ring_signal(struct ring *ring, int is_on)
{
	ring->signals += is_on != 0;
	if (is_on && ring->races) {
		ring->races = 0;
		post(ring, TAG, 0);
	}
	ring->is_signalled = is_on;
}

int __wrap_ring_signal_by(struct ring *ring, int fd)
{
	if (ring->signal_failures) {
		ring->signal_failures--;
		ring->signal_fd = -1;
		return -ENOMEM;
	}
	ring->signal_fd = fd;
	return 0;
}

int __wrap_ring_has_events(const struct ring *ring)
{
	return ring->event_count > 0;
}

int __wrap_ring_has_unsent(const struct ring *ring)
{
	return ring->unsent;
}

int __wrap_ring_look(struct ring *ring)
{
	int error = __wrap_ring_submit(ring);

	for (; ring->deferred; ring->deferred--)
		post(ring, TAG, 0);
	return error;
}

void __wrap_ring_register_self(struct ring *ring)
{
	ring->is_registered++;
}

void __wrap_ring_unregister_self(struct ring *ring)
{
	ring->is_registered--;
}

int __wrap_ring_put_poll(struct ring *ring, int fd, uint64_t data)
{
	struct put this = { .kind = PUT_POLL, .data = data, .fd = fd };

	if (ring->poll_failures) {
		ring->poll_failures--;
		return -EBUSY;
	}
	ring->polls++;
	put(ring, &this);
	return 0;
}

int __wrap_ring_put_timeout(struct ring *ring, unsigned ms, uint64_t data)
{
	struct put this = { .kind = PUT_TIMEOUT,
			    .data = data,
			    .due = loop_now() + ms / 1000.0 };

	ring->timeouts++;
	put(ring, &this);
	return 0;
}

int __wrap_ring_put_cancel(struct ring *ring, uint64_t victim, uint64_t data)
{
	struct put this = { .kind = PUT_CANCEL,
			    .data = data,
			    .victim = victim };

	ring->cancels++;
	put(ring, &this);
	return 0;
}

/* ---- sleeping ---- */

static struct ring *hot(void)
{
	unsigned i;

	for (i = 0; i < RINGS; i++)
		/* In a turn through libev it is off as well. */
		if (!rings[i].is_signalled && rings[i].is_registered)
			return &rings[i];
	return NULL;
}

static unsigned armed_polls(const struct ring *ring)
{
	unsigned i, count = 0;

	for (i = 0; i < ring->armed_count; i++)
		count += ring->armed[i].kind == PUT_POLL;
	return count;
}

static unsigned any_warm(void)
{
	unsigned i, count = 0;

	for (i = 0; i < RINGS; i++)
		count |= wakes[i].is_warm != 0;
	return count;
}

/* The thread goes to sleep: nothing may lie there that nobody tells it of. */
static void fall_asleep(struct ring *ring)
{
	unsigned i;

	asleep_in = ring;
	if (ring)
		assert_in_range(armed_polls(ring), 1 + any_warm(), 2);
	for (i = 0; i < RINGS; i++) {
		assert_true(&rings[i] == ring || rings[i].is_signalled);
		if (&rings[i] == ring)
			continue;
		if (rings[i].unsent || rings[i].signal_fd < 0)
			assert_true(timer_is_set());
		else if (rings[i].event_count)
			assert_true(is_readable(rings[i].signal_fd));
	}
	assert_true(++sleeps < 10000);
	next();
	look_at_timer();
}

void __wrap_ring_sleep(struct ring *ring)
{
	ring->sleeps++;
	take_puts(ring);
	look_at_armed(ring);
	while (!ring->event_count) {
		fall_asleep(ring);
		look_at_armed(ring);
	}
}

/*
 * libev is about to poll. It is only a sleep if no ring is hot, and if nothing
 * is there: the server's own first look after a change does not count.
 */
static ev_prepare before_poll;

static void on_before_poll(struct ev_loop *ev, ev_prepare *watcher, int events)
{
	unsigned i;

	for (i = 0; i < RINGS; i++)
		if (!rings[i].is_signalled || is_readable(rings[i].event_fd))
			return;
	fall_asleep(NULL);
}

static void end(void)
{
	loop_break(test_loop);
	/* Something must end the sleep, as a command does that ends the server. */
	eventfd_write(rings[0].event_fd, 1);
	if (asleep_in)
		post(asleep_in, RING_OP_FIRST - 1, 0);
}

/* ---- turns of a ring ---- */

static struct {
	void (*in_turn)(unsigned number); /* also done in each turn */
	int closes;			  /* it closes its ring */
} turns;

static unsigned take(struct ring *ring, struct ring_event *events)
{
	unsigned count = ring->event_count < BATCH ? ring->event_count : BATCH;

	memcpy(events, ring->events, count * sizeof(*events));
	ring->event_count -= count;
	memmove(ring->events, ring->events + count,
		ring->event_count * sizeof(*events));
	return count;
}

static int on_turn(struct loop_ring *wake)
{
	struct ring_event events[BATCH];
	struct ring *ring = wake->ring;
	unsigned count = take(ring, events), i;

	assert_ptr_equal(wake->data, &rings);
	ring->turns++;
	wake->taken = 0;
	wake->more = count == BATCH;
	for (i = 0; i < count; i++) {
		struct ring_op *op =
			(struct ring_op *)(uintptr_t)events[i].data;

		if (events[i].data >= RING_OP_FIRST)
			op->done(op, events[i].result);
		else
			wake->taken += events[i].data == TAG;
	}
	ring->requests += wake->taken;
	if (turns.in_turn)
		turns.in_turn((unsigned)(ring - rings));
	if (!turns.closes)
		return 0;
	turns.closes = 0;
	loop_ring_close(wake);
	ring->is_signalled = 1; /* nobody sleeps there */
	return -1;
}

/* ---- something else that libev watches ---- */

static ev_io other;
static int other_fd;
static unsigned other_count;
static int other_never_ends, other_closes;

static void on_other(struct ev_loop *ev, ev_io *watcher, int events)
{
	eventfd_t count;

	other_count++;
	if (!other_never_ends)
		eventfd_read(watcher->fd, &count);
	if (other_closes)
		loop_ring_close(&wakes[0]);
}

static void open_other(void)
{
	other_count = 0;
	other_never_ends = other_closes = 0;
	other_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ev_io_init(&other, on_other, other_fd, EV_READ);
}

static void close_other(void)
{
	ev_io_stop(test_loop, &other);
	close(other_fd);
}

/* ---- before and after ---- */

static void nothing(void)
{
}

static void start_as(unsigned flags, int can_stay)
{
	unsigned i;

	test_loop_open_as(flags);
	memset(rings, 0, sizeof(rings));
	memset(wakes, 0, sizeof(wakes));
	memset(&turns, 0, sizeof(turns));
	sleeps = step = hot_sleeps = iterations = 0;
	next = nothing;
	for (i = 0; i < RINGS; i++) {
		rings[i].event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		rings[i].signal_fd = rings[i].event_fd;
		rings[i].is_signalled = 1;
		rings[i].can_stay = can_stay;
		wakes[i].ring = &rings[i];
		wakes[i].turn = on_turn;
		wakes[i].data = &rings;
		loop_ring_open(test_loop, &wakes[i]);
	}
	open_other();
	ev_prepare_init(&before_poll, on_before_poll);
	ev_set_priority(&before_poll, EV_MINPRI);
	ev_prepare_start(test_loop, &before_poll);
}

static int start_old(void **state)
{
	start_as(0, 0);
	return 0;
}

static int start_new(void **state)
{
	start_as(0, 1);
	return 0;
}

static int start_plain(void **state)
{
	start_as(LOOP_PLAIN, 1);
	return 0;
}

static int stop(void **state)
{
	unsigned i;

	ev_prepare_stop(test_loop, &before_poll);
	close_other();
	for (i = 0; i < RINGS; i++) {
		loop_ring_close(&wakes[i]);
		loop_ring_close(&wakes[i]);
		/* Also of one that was hot to the end, or deaf. */
		assert_int_equal(rings[i].is_registered, 0);
		assert_false(loop_timer_is_active(&wakes[i].retry));
		close(rings[i].event_fd);
	}
	test_loop_close();
	log_forget();
	return 0;
}

/* A script: what is done in the first sleep, the second... */
static void run(void (*script)(void))
{
	next = script;
	loop_run(test_loop);
}

/* ---- timers ---- */

static struct loop_timer timers[4];
static char fired[64];

static void fire(struct loop_timer *timer)
{
	const char name[2] = { (char)('a' + (timer - timers)), '\0' };

	assert_false(loop_timer_is_active(timer));
	add_text(fired, sizeof(fired), name);
	if (timer->data)
		((void (*)(void))timer->data)();
}

static void init_timers(void)
{
	unsigned i;

	fired[0] = '\0';
	for (i = 0; i < COUNT(timers); i++)
		loop_timer_init(&timers[i], fire, NULL);
}

static void start_timer(unsigned number, double after)
{
	loop_timer_start(test_loop, &timers[number], after);
}

static int start_timers(void **state)
{
	test_loop_open();
	init_timers();
	return 0;
}

static int stop_timers(void **state)
{
	unsigned i;

	for (i = 0; i < COUNT(timers); i++)
		loop_timer_stop(test_loop, &timers[i]);
	test_loop_close();
	return 0;
}

static void test_timers_fire_in_order(void **state)
{
	start_timer(2, 3);
	start_timer(0, 1);
	start_timer(1, 2);
	assert_true(loop_timer_is_active(&timers[1]));
	pass_time(0.5);
	assert_string_equal(fired, "");
	pass_time(1);
	assert_string_equal(fired, "a");
	pass_time(1);
	assert_string_equal(fired, "ab");
	pass_time(5);
	assert_string_equal(fired, "abc");
	assert_false(timer_is_set());
}

/* When several are due at once, they come in the order of their time. */
static void test_timers_fire_late(void **state)
{
	start_timer(3, 0.4);
	start_timer(1, 0.2);
	start_timer(2, 0.3);
	start_timer(0, 0.1);
	move_clock(10);
	settle();
	assert_string_equal(fired, "abcd");
	start_timer(0, -5); /* as 0 */
	settle();
	assert_string_equal(fired, "abcda");
}

static void test_timers_stop(void **state)
{
	start_timer(0, 1);
	start_timer(1, 2);
	start_timer(2, 3);
	loop_timer_stop(test_loop, &timers[1]);
	assert_false(loop_timer_is_active(&timers[1]));
	loop_timer_stop(test_loop, &timers[1]);
	loop_timer_stop(test_loop, &timers[0]);
	pass_time(5);
	assert_string_equal(fired, "c");
	start_timer(0, 1);
	settle();
	assert_true(timer_is_set());
	loop_timer_stop(test_loop, &timers[0]);
	settle();
	assert_false(timer_is_set());
}

/* Whatever it was set to before, earlier or later. */
static void test_timers_start_again(void **state)
{
	start_timer(0, 1);
	start_timer(1, 2);
	start_timer(0, 3);
	pass_time(2.5);
	assert_string_equal(fired, "b");
	start_timer(0, 0.1);
	pass_time(0.2);
	assert_string_equal(fired, "ba");
	pass_time(5);
	assert_string_equal(fired, "ba");
}

static void stop_b_and_start(void)
{
	loop_timer_stop(test_loop, &timers[1]);
	start_timer(0, 1);
	start_timer(3, 0);
}

/* Within a call: stop the next one, start itself, start one that is due. */
static void test_timers_change_timers(void **state)
{
	timers[0].data = (void *)(uintptr_t)stop_b_and_start;
	start_timer(0, 1);
	start_timer(1, 1.001);
	start_timer(2, 1.002);
	settle();
	move_clock(1.5);
	turn(1);
	assert_string_equal(fired, "ac");
	settle();
	assert_string_equal(fired, "acd");
	pass_time(3.2);
	assert_string_equal(fired, "acdadadad");
}

/* ---- how long libev sleeps ---- */

#define DAY_MS (24 * 3600 * 1000)

static void assert_sleeps_long(void)
{
	/* Without it the test sees nothing of what libev does. */
	assert_int_not_equal(longest, 0);
	if (longest > 0)
		assert_true(longest > DAY_MS);
}

static void one_request(void)
{
	if (step++)
		end();
	else
		deliver(0, 1);
}

static void test_sleeps_long(void **state)
{
	longest = 0;
	run(one_request);
	assert_null(asleep_in);
	assert_sleeps_long();
}

static void on_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
	ev_io_stop(ev, watcher);
}

/* As the keeper does. */
static void test_bare_sleeps_long(void **state)
{
	int fd = eventfd(1, EFD_CLOEXEC);
	struct ev_loop *ev = loop_new_bare();
	ev_io watcher;

	assert_non_null(ev);
	ev_io_init(&watcher, on_readable, fd, EV_READ);
	ev_io_start(ev, &watcher);
	longest = 0;
	/* Nothing of its own keeps it from an end. */
	ev_run(ev, 0);
	assert_sleeps_long();
	ev_loop_destroy(ev);
	close(fd);
}

/* ---- when a ring becomes hot ---- */

/* Requests come, one a wake, as many wakes as the test wants. */
static unsigned wakes_wanted, per_wake;
static double gap;

static void trickle(void)
{
	if (step++ == wakes_wanted) {
		end();
		return;
	}
	move_clock(gap);
	deliver(0, per_wake);
}

static void run_trickle(unsigned count, unsigned each, double seconds)
{
	wakes_wanted = count;
	per_wake = each;
	gap = seconds;
	run(trickle);
	assert_int_equal(rings[0].requests, count * each);
	assert_int_equal(rings[0].event_count, 0);
}

/* Four wakes in a row; where a ring cannot stay they must come quickly. */
static void test_when_a_ring_becomes_hot(void **state)
{
	enum { CANNOT_STAY, CAN_STAY, NO_EPOLL };
	enum { COLD, HOT };
	static const struct {
		const char *name;
		unsigned flags;
		int kernel;
		unsigned wakes, each; /* requests a wake */
		double gap;	      /* s between wakes */
		int is_hot;
	} cases[] = {
		{ "four wakes, slow", 0, CAN_STAY, 8, 1, 1, HOT },
		{ "three wakes", 0, CAN_STAY, 3, 1, 1, COLD },
		{ "plain", LOOP_PLAIN, CAN_STAY, 100, 20, 0, COLD },
		{ "quick", 0, CANNOT_STAY, 3, 4, 0.0005, HOT },
		{ "too slow", 0, CANNOT_STAY, 50, 3, 0.0015, COLD },
		{ "no descriptor", 0, NO_EPOLL, 20, 1, 0, COLD },
	};
	const struct ring *expected;
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		about(cases[i].name);
		no_epoll = cases[i].kernel == NO_EPOLL;
		start_as(cases[i].flags, cases[i].kernel != CANNOT_STAY);
		no_epoll = 0;
		run_trickle(cases[i].wakes, cases[i].each, cases[i].gap);
		expected = cases[i].is_hot ? &rings[0] : NULL;
		assert_ptr_equal(asleep_in, expected);
		assert_ptr_equal(hot(), expected);
		assert_int_equal(rings[0].is_registered, cases[i].is_hot);
		assert_int_equal(rings[0].polls, cases[i].is_hot);
		assert_int_equal(rings[0].sleeps > 0, cases[i].is_hot);
		assert_int_equal(rings[0].timeouts,
				 cases[i].is_hot &&
					 cases[i].kernel == CANNOT_STAY);
		assert_int_equal(rings[1].turns, 0);
		assert_int_equal(log_has("epoll descriptor is not found"),
				 cases[i].kernel == NO_EPOLL);
		/* The fifth wake is the first that finds the ring hot. */
		if (cases[i].kernel == CAN_STAY && cases[i].is_hot)
			assert_true(rings[0].turns - rings[0].sleeps >= 4);
		stop(state);
	}
}

/* A request comes while libev's turn of the ring has its signals off. */
static void race_in_plain_turn(void)
{
	if (++step > 3) {
		end();
		return;
	}
	rings[0].races = 1;
	deliver(0, 1);
}

static void test_plain_loses_no_wake(void **state)
{
	run(race_in_plain_turn);
	assert_int_equal(rings[0].races, 0);
	assert_int_equal(rings[0].event_count, 0);
	assert_int_equal(rings[0].requests, 6);
}

/* ---- when it is left ---- */

/* Hot by eight requests at once, then whatever the test does. */
static void heat_up(void)
{
	if (asleep_in)
		when_hot(hot_sleeps++);
	else if (!hot_sleeps && step++ < 4)
		deliver(0, 8);
	else
		end(); /* of a ring that was hot and is no more */
}

static void run_hot(void (*script)(unsigned count))
{
	when_hot = script;
	run(heat_up);
}

/* The tick comes, with nothing done in it; then libev has the sleep. */
static void wait_for_tick(unsigned count)
{
	move_clock(0.0021);
}

static void test_old_leaves_when_idle(void **state)
{
	run_hot(wait_for_tick);
	assert_null(asleep_in);
	assert_null(hot());
	assert_int_equal(rings[0].is_registered, 0);
	assert_int_equal(hot_sleeps, 1);
	assert_int_equal(rings[0].armed_count, 0);
	assert_int_equal(rings[0].event_count, 0);
}

/* One request a third of a millisecond: more than six a tick. */
static void keep_busy(unsigned count)
{
	if (count == 100) {
		end();
		return;
	}
	move_clock(0.0003);
	deliver(0, 1);
}

static void test_old_stays_while_busy(void **state)
{
	run_hot(keep_busy);
	assert_ptr_equal(asleep_in, &rings[0]);
	assert_int_equal(rings[0].requests, 100 + 2 * 8);
	/* A tick each 2 ms, not one each sleep; the same poll all the time. */
	assert_in_range(rings[0].timeouts, 10, 16);
	assert_int_equal(rings[0].polls, 1);
}

static void wait_long(unsigned count)
{
	move_clock(1000);
	if (count == 5)
		end();
}

/* Nothing wakes it: it sleeps once. */
static void test_new_stays_when_idle(void **state)
{
	run_hot(wait_long);
	assert_ptr_equal(asleep_in, &rings[0]);
	assert_int_equal(rings[0].timeouts, 0);
	assert_int_equal(hot_sleeps, 6);
	/* All six looks were within one system call. */
	assert_int_equal(rings[0].sleeps, 1);
}

/* What happens when the ring is left. */
static struct leaving {
	const char *name;
	/* As in struct ring; `came` says what is there in the end. */
	int races;
	unsigned deferred, submit_failures, came;
} leaving;

static void leave(unsigned count)
{
	if (count == 0) {
		rings[0].races = leaving.races;
		rings[0].deferred = leaving.deferred;
		rings[0].submit_failures = leaving.submit_failures;
	}
	move_clock(0.0021);
}

static void test_nothing_is_lost_when_a_ring_is_left(void **state)
{
	static const struct leaving cases[] = {
		{ "a request comes just before the signals are on", .races = 1,
		  .came = 1 },
		{ "the kernel has deferred work, and has told of it before",
		  .deferred = 1, .came = 1 },
		{ "the kernel takes nothing at first", .submit_failures = 2 },
	};
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		leaving = cases[i];
		about(leaving.name);
		start_as(0, 0);
		run_hot(leave);
		assert_null(hot());
		assert_int_equal(rings[0].races, 0);
		assert_int_equal(rings[0].deferred, 0);
		assert_int_equal(rings[0].submit_failures, 0);
		assert_int_equal(rings[0].put_count, 0);
		assert_int_equal(rings[0].armed_count, 0);
		assert_int_equal(rings[0].event_count, 0);
		assert_int_equal(rings[0].requests % 8, leaving.came);
		stop(state);
	}
}

/* ---- while it is hot: whatever else there is ---- */

static void client_comes(unsigned count)
{
	if (count)
		assert_int_equal(other_count, count);
	if (count == 10)
		end();
	else
		eventfd_write(other_fd, 1);
}

/* The poll is armed again each time that it has told of something. */
static void test_hot_serves_libev(void **state)
{
	ev_io_start(test_loop, &other);
	run_hot(client_comes);
	assert_ptr_equal(asleep_in, &rings[0]);
	assert_int_equal(other_count, 10);
	assert_int_equal(rings[0].polls, 11);
}

static void timers_come(unsigned count)
{
	if (count == 0) {
		start_timer(0, 0.1);
		start_timer(1, 0.2);
		deliver(0, 1); /* a turn of the ring: what starts timers */
	} else if (count == 1) {
		assert_true(timer_is_set());
		move_clock(0.15);
	} else if (count == 2) {
		assert_string_equal(fired, "a");
		move_clock(0.15);
	} else {
		assert_string_equal(fired, "ab");
		end();
	}
}

static void test_hot_serves_timers(void **state)
{
	init_timers();
	run_hot(timers_come);
	assert_int_equal(hot_sleeps, 4);
	assert_ptr_equal(asleep_in, &rings[0]);
}

/* A turn starts a watcher of what is there: it is seen before the sleep. */
static void start_other(unsigned number)
{
	if (!hot() || number || ev_is_active(&other))
		return;
	eventfd_write(other_fd, 1);
	ev_io_start(test_loop, &other);
	loop_poke(test_loop);
}

static void was_seen(unsigned count)
{
	assert_int_equal(other_count, 1);
	end();
}

static void test_poke(void **state)
{
	turns.in_turn = start_other;
	run_hot(was_seen);
	assert_int_equal(hot_sleeps, 1);
}

/* Started just before it is hot again, by whoever: that is due anyway. */
static void start_other_early(unsigned number)
{
	if (hot() || number || rings[0].requests < 32 || ev_is_active(&other))
		return;
	eventfd_write(other_fd, 1);
	ev_io_start(test_loop, &other);
}

static void heat_twice(void)
{
	if (asleep_in && hot_sleeps++) {
		was_seen(1);
	} else if (asleep_in) {
		move_clock(0.0021);
	} else {
		assert_true(step++ < 4);
		deliver(0, 8);
	}
}

static void test_hot_looks_first(void **state)
{
	turns.in_turn = start_other_early;
	run(heat_twice);
	assert_int_equal(hot_sleeps, 2);
}

/* libev has work without an end: the ring gets its turns all the same. */
static void deliver_in_turn(unsigned number)
{
	if (rings[number].turns > 50)
		end();
	else
		deliver(number, 1);
}

static void never(unsigned count)
{
	fail_msg("it sleeps, with work to do");
}

static void test_libev_is_bounded(void **state)
{
	other_never_ends = 1;
	eventfd_write(other_fd, 1);
	ev_io_start(test_loop, &other);
	turns.in_turn = deliver_in_turn;
	deliver(0, 8);
	run_hot(never);
	assert_ptr_equal(hot(), &rings[0]);
	assert_in_range(other_count, 40, 500);
}

/* There is no room for the poll: it must not sleep without one. */
static void no_room(unsigned count)
{
	if (count == 0) {
		rings[0].poll_failures = 3;
		eventfd_write(other_fd, 1);
	} else {
		assert_int_equal(other_count, 1);
		assert_int_equal(rings[0].poll_failures, 0);
		end();
	}
}

static void test_no_room_for_poll(void **state)
{
	ev_io_start(test_loop, &other);
	run_hot(no_room);
	assert_int_equal(hot_sleeps, 2);
}

/* ---- several rings ---- */

static void second_comes(unsigned count)
{
	assert_int_equal(rings[1].requests, count);
	if (count == 10)
		end();
	else
		deliver(1, 1);
}

/* It is served, and after four in a row the thread sleeps there. */
static void test_migrates(void **state)
{
	run_hot(second_comes);
	assert_ptr_equal(asleep_in, &rings[1]);
	assert_true(rings[0].is_signalled);
	assert_int_equal(rings[0].is_registered, 0);
	assert_int_equal(rings[0].armed_count, 0);
	assert_int_equal(rings[1].is_registered, 1);
	assert_int_equal(rings[1].sleeps, 7);
	/* And the first is served from there. */
	deliver(0, 3);
	assert_true(is_readable(rings[0].event_fd));
}

/* As above, with a request for the first in the moment that it is left. */
static void second_comes_in_a_race(unsigned count)
{
	rings[0].races = count == 3;
	second_comes(count);
}

/* Nothing is cancelled then that would wake the thread by chance. */
static void test_no_wake_is_lost_on_the_way(void **state)
{
	run_hot(second_comes_in_a_race);
	assert_int_equal(rings[0].races, 0);
	assert_int_equal(rings[0].cancels, 0);
	assert_int_equal(rings[0].requests % 8, 1);
}

/* Two of the second, one of the first: the hot one has the smaller share. */
static void share(unsigned count)
{
	if (count == 200)
		end();
	move_clock(0.004); /* too slow for a warm one */
	deliver(count % 3 == 0 ? 0 : 1, 1);
}

static void test_balance(void **state)
{
	run_hot(share);
	assert_null(hot());
	assert_in_range(hot_sleeps, 32, 60);
	assert_int_equal(rings[0].armed_count, 0);
	assert_int_equal(rings[0].put_count, 0);
}

/* ---- a ring that is busy beside the hot one ---- */

/* Both in turn, so that neither is the only one. */
static void both_come(unsigned count)
{
	if (count == 20)
		iterations = ev_iteration(test_loop);
	if (count == 39 && iterations)
		assert_int_equal(ev_iteration(test_loop), iterations);
	if (count == 40)
		end();
	else
		deliver(count % 2, 1 + count % 3);
}

/* Neither libev nor its own eventfd has a part in it any more. */
static void test_warm(void **state)
{
	run_hot(both_come);
	assert_ptr_equal(asleep_in, &rings[0]);
	assert_true(wakes[1].is_warm);
	assert_int_not_equal(rings[1].signal_fd, rings[1].event_fd);
	assert_int_equal(rings[1].is_registered, 1);
	assert_int_equal(rings[1].requests, 39);
	assert_int_equal(rings[1].event_count, 0);
}

/* The second as often as one of sixteen, and the first between. */
static void seldom_comes(unsigned count)
{
	if (count == 160)
		end();
	move_clock(0.0002);
	deliver(count % 15 == 0, 1);
}

static void test_warm_is_one_of_many(void **state)
{
	run_hot(seldom_comes);
	assert_ptr_equal(asleep_in, &rings[0]);
	assert_true(wakes[1].is_warm);
}

/* What comes while its signals are off, and just before they are on. */
static void warm_race(unsigned count)
{
	rings[1].races = wakes[1].is_warm;
	both_come(count);
}

static void test_warm_loses_no_wake(void **state)
{
	run_hot(warm_race);
	assert_true(wakes[1].is_warm);
	assert_true(rings[1].requests > 39);
	assert_int_equal(rings[1].event_count, 0);
}

/* More than it takes in a turn. */
static void warm_has_more(unsigned count)
{
	if (count == 30) {
		assert_true(wakes[1].is_warm);
		rings[1].signals = 0;
		deliver(1, 3 * BATCH);
		return;
	}
	if (count == 31) {
		assert_int_equal(rings[1].event_count, 0);
		assert_int_equal(rings[1].signals, 1);
	}
	both_come(count);
}

/* As long as there is something to do, nobody need tell of it. */
static void test_warm_has_more(void **state)
{
	run_hot(warm_has_more);
	assert_true(wakes[1].is_warm);
}

/* Then nothing comes any more: only the clock goes on. */
static void warm_submit_fails(unsigned count)
{
	if (count < 39) {
		both_come(count);
	} else if (count == 39) {
		assert_true(wakes[1].is_warm);
		rings[1].submit_failures = 4;
		rings[1].submits = 0;
		deliver(1, 1);
	} else if (rings[1].unsent) {
		assert_true(count < 50);
		move_clock(0.01);
	} else {
		end();
	}
}

/* What could not be submitted goes soon, and is not tried without a pause. */
static void test_warm_submit_fails(void **state)
{
	run_hot(warm_submit_fails);
	assert_int_equal(rings[1].submit_failures, 0);
	assert_int_equal(rings[1].unsent, 0);
	assert_in_range(rings[1].submits, 5, 10);
	assert_true(wakes[1].is_warm);
	assert_false(timer_is_set());
}

/* A request of the warm ring is done in a turn of the other one. */
static void submit_other(unsigned number)
{
	if (number == 0 && rings[1].submit_failures == 2)
		__wrap_ring_submit(&rings[1]);
}

static void late_submit_fails(unsigned count)
{
	if (count < 40 && !rings[1].submit_failures) {
		both_come(count);
	} else if (count == 40) {
		assert_true(wakes[1].is_warm);
		rings[1].submit_failures = 2;
		deliver(0, 1);
	} else if (rings[1].unsent) {
		assert_true(count < 50);
		move_clock(0.01);
	} else {
		end();
	}
}

static void test_warm_late_submit_fails(void **state)
{
	turns.in_turn = submit_other;
	run_hot(late_submit_fails);
	assert_int_equal(rings[1].submit_failures, 0);
	assert_int_equal(rings[1].unsent, 0);
	assert_true(wakes[1].is_warm);
}

static void expect_back_in_libev(unsigned number)
{
	assert_false(wakes[number].is_warm);
	assert_int_equal(rings[number].is_registered, 0);
	assert_int_equal(rings[number].signal_fd, rings[number].event_fd);
	assert_int_equal(rings[number].event_count, 0);
	/* It is watched there. */
	deliver(number, 3);
	turn(3);
	assert_int_equal(rings[number].event_count, 0);
}

/* The hot ring is closed under it: libev serves it again. */
static void close_hot_one(unsigned count)
{
	turns.closes = wakes[1].is_warm;
	if (turns.closes)
		deliver(0, 1);
	else
		both_come(count);
}

static void test_warm_outlives_hot(void **state)
{
	run_hot(close_hot_one);
	assert_null(asleep_in);
	expect_back_in_libev(1);
}

/* In the very turn of libev in which the ring became warm. */
static void close_hot_at_once(struct ev_loop *ev, ev_io *watcher, int events)
{
	eventfd_t count;

	eventfd_read(watcher->fd, &count);
	if (!wakes[1].is_warm || !wakes[0].ev)
		return;
	loop_ring_close(&wakes[0]);
	rings[0].is_signalled = 1;
}

static void both_and_other(unsigned count)
{
	if (!wakes[0].ev) {
		end();
		return;
	}
	eventfd_write(other_fd, 1);
	deliver(count % 2, 1);
}

static void test_warm_and_back(void **state)
{
	ev_set_cb(&other, close_hot_at_once);
	ev_set_priority(&other, EV_MINPRI);
	ev_io_start(test_loop, &other);
	run_hot(both_and_other);
	assert_null(wakes[0].ev);
	expect_back_in_libev(1);
}

static void close_warm_one(unsigned count)
{
	assert_true(count < 50);
	if (wakes[1].is_warm) {
		loop_ring_close(&wakes[1]);
		deliver(0, 1);
	} else if (wakes[1].ev) {
		both_come(count);
	} else {
		end();
	}
}

static void test_close_warm(void **state)
{
	run_hot(close_warm_one);
	assert_false(wakes[1].is_warm);
	assert_null(wakes[1].ev);
	assert_int_equal(rings[1].is_registered, 0);
}

/* A warm ring is nobody's when the hot one is left: it goes back to libev. */
static void warm_until_tick(unsigned count)
{
	assert_true(count < 100);
	if (wakes[1].is_warm)
		wait_for_tick(count);
	else
		deliver(count % 2, 1);
}

static void test_old_leaves_a_warm_one(void **state)
{
	run_hot(warm_until_tick);
	assert_null(asleep_in);
	expect_back_in_libev(1);
}

/* A warm one's turn may close it: nobody touches its ring afterwards. */
static void close_when_warm(unsigned number)
{
	turns.closes = number == 1 && wakes[1].is_warm;
	if (turns.closes)
		rings[1].submits = 0;
}

static void both_until_closed(unsigned count)
{
	assert_true(count < 50);
	if (wakes[1].ev)
		both_come(count);
	else
		end();
}

static void test_warm_closes_itself(void **state)
{
	turns.in_turn = close_when_warm;
	run_hot(both_until_closed);
	assert_null(wakes[1].ev);
	assert_int_equal(rings[1].submits, 0);
}

/* It has nothing for long: it goes back to libev, and works there. */
static void one_is_idle(unsigned count)
{
	/* What comes while it goes back is not lost. */
	rings[1].races = wakes[1].is_warm && wakes[1].idle == 1024;
	if (rings[1].races)
		move_clock(1);
	if (count < 12)
		deliver(count % 2, 1);
	else if (count < 2000)
		deliver(0, 1);
	else if (count > 2000)
		end();
	else {
		move_clock(1);
		deliver(1, 1);
	}
}

static void test_warm_is_idle(void **state)
{
	run_hot(one_is_idle);
	assert_ptr_equal(asleep_in, &rings[0]);
	assert_int_equal(rings[1].requests, 8);
	expect_back_in_libev(1);
}

/* One that has no eventfd yet is closed like any other. */
static void end_when_deaf(unsigned count)
{
	if (count == 0)
		rings[1].signal_failures = 1000;
	if (rings[1].signal_fd < 0)
		end();
	else
		both_come(count);
}

static void test_close_deaf(void **state)
{
	run_hot(end_when_deaf);
	assert_true(loop_timer_is_active(&wakes[1].retry));
}

/* Without an eventfd it is looked at now and then, until it has one again. */
static void lose_eventfd(unsigned count)
{
	if (count == 0)
		rings[1].signal_failures = 3;
	if (count < 40 && rings[1].signal_fd >= 0) {
		both_come(count);
	} else if (rings[1].signal_fd < 0) {
		assert_true(count < 50);
		deliver(1, 1);
		move_clock(0.01);
	} else {
		end();
	}
}

static void test_warm_loses_eventfd(void **state)
{
	run_hot(lose_eventfd);
	assert_true(log_has("lost its eventfd"));
	assert_true(wakes[1].is_warm);
	assert_int_equal(rings[1].signal_failures, 0);
	assert_int_not_equal(rings[1].signal_fd, rings[1].event_fd);
	assert_int_equal(rings[1].event_count, 0);
	assert_false(timer_is_set());
}

/* The same on its way back to libev. */
static void close_and_lose(void)
{
	if (asleep_in || hot_sleeps == 0) {
		heat_up();
	} else if (rings[1].signal_fd < 0) {
		assert_true(step++ < 20);
		deliver(1, 1);
		move_clock(0.01);
	} else {
		end();
	}
}

static void close_hot_and_lose(unsigned count)
{
	if (wakes[1].is_warm)
		rings[1].signal_failures = 3;
	close_hot_one(count);
}

static void test_cold_loses_eventfd(void **state)
{
	when_hot = close_hot_and_lose;
	run(close_and_lose);
	assert_null(asleep_in);
	assert_true(log_has("lost its eventfd"));
	assert_int_equal(rings[1].signal_failures, 0);
	assert_false(timer_is_set());
	expect_back_in_libev(1);
}

static unsigned closing;

static void close_hot(unsigned number)
{
	turns.closes = hot() == &rings[number] && closing;
}

static void request_and_close(unsigned count)
{
	assert_int_equal(count, 0);
	closing = 1;
	deliver(0, 1);
}

/* The turn of the hot one ends it: libev has the sleep from then on. */
static void second_then_end(void)
{
	if (asleep_in) {
		when_hot(hot_sleeps++);
	} else if (!closing && step++ < 4) {
		deliver(0, 8);
	} else if (step++ < 8) {
		assert_null(wakes[0].ev);
		turns.in_turn = NULL;
		turns.closes = 0;
		deliver(1, 1);
	} else {
		end();
	}
}

static void test_hot_closes_itself(void **state)
{
	closing = 0;
	turns.in_turn = close_hot;
	when_hot = request_and_close;
	/* What is left of it is no ring that anybody sleeps in. */
	run(second_then_end);
	assert_int_equal(hot_sleeps, 1);
	assert_int_equal(rings[0].is_registered, 0);
	assert_true(rings[1].requests > 0);
}

/* It would be hot next, and is closed before that, in the same turn. */
static void close_next(void)
{
	if (step++ == 2) {
		end();
		return;
	}
	deliver(0, 8);
	if (step == 2)
		eventfd_write(other_fd, 1);
}

static void test_next_is_closed(void **state)
{
	other_closes = 1;
	ev_set_priority(&other, EV_MINPRI);
	ev_io_start(test_loop, &other);
	run(close_next);
	assert_int_equal(rings[0].requests, 16);
	assert_int_equal(rings[0].sleeps, 0);
	assert_int_equal(rings[0].is_registered, 0);
	assert_null(hot());
}

/* ---- what a turn leaves ---- */

static struct left {
	const char *name;
	unsigned requests, submit_failures, raises;
} left;

static void come_at_once(void)
{
	if (step++) {
		end();
		return;
	}
	rings[0].submit_failures = left.submit_failures;
	deliver(0, left.requests);
}

/* The ring comes back by itself, without another signal. */
static void test_what_a_turn_leaves(void **state)
{
	static const struct left cases[] = {
		{ "more than two turns take", 2 * BATCH + 3, 0, 2 },
		{ "what a turn takes: there may be more", BATCH, 0, 1 },
		{ "what could not be submitted", 1, 2, 2 },
	};
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		left = cases[i];
		about(left.name);
		start_as(0, 1);
		run(come_at_once);
		assert_int_equal(rings[0].requests, left.requests);
		assert_int_equal(rings[0].submit_failures, 0);
		assert_int_equal(rings[0].raises, left.raises);
		assert_true(rings[0].turns > left.raises);
		stop(state);
	}
}

/* ---- no descriptors ---- */

static void test_no_descriptors(void **state)
{
	unsigned before = count_fds(), lowest;
	struct rlimit limit, old;
	unsigned room;

	lowest = (unsigned)dup(STDIN_FILENO);
	close((int)lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (room = 0; room < 2; room++) {
		limit = (struct rlimit){ lowest + room, old.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		assert_null(loop_new(0));
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		assert_int_equal(count_fds(), before);
	}
}

#define TIMERS(name) \
	cmocka_unit_test_setup_teardown(name, start_timers, stop_timers)
#define ON_NEW(name)   cmocka_unit_test_setup_teardown(name, start_new, stop)
#define ON_PLAIN(name) cmocka_unit_test_setup_teardown(name, start_plain, stop)
#define ON_OLD(name)   cmocka_unit_test_setup_teardown(name, start_old, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TIMERS(test_timers_fire_in_order),
		TIMERS(test_timers_fire_late),
		TIMERS(test_timers_stop),
		TIMERS(test_timers_start_again),
		TIMERS(test_timers_change_timers),
		ON_PLAIN(test_sleeps_long),
		cmocka_unit_test(test_bare_sleeps_long),
		cmocka_unit_test(test_when_a_ring_becomes_hot),
		ON_PLAIN(test_plain_loses_no_wake),
		ON_OLD(test_old_leaves_when_idle),
		ON_OLD(test_old_stays_while_busy),
		cmocka_unit_test(test_nothing_is_lost_when_a_ring_is_left),
		ON_NEW(test_new_stays_when_idle),
		ON_NEW(test_hot_serves_libev),
		ON_NEW(test_hot_serves_timers),
		ON_NEW(test_poke),
		ON_OLD(test_hot_looks_first),
		ON_NEW(test_libev_is_bounded),
		ON_NEW(test_no_room_for_poll),
		ON_NEW(test_migrates),
		ON_NEW(test_no_wake_is_lost_on_the_way),
		ON_NEW(test_balance),
		ON_NEW(test_warm),
		ON_NEW(test_warm_is_one_of_many),
		ON_NEW(test_warm_loses_no_wake),
		ON_NEW(test_warm_has_more),
		ON_NEW(test_warm_submit_fails),
		ON_NEW(test_warm_late_submit_fails),
		ON_NEW(test_warm_outlives_hot),
		ON_NEW(test_warm_and_back),
		ON_NEW(test_close_warm),
		ON_OLD(test_old_leaves_a_warm_one),
		ON_NEW(test_warm_closes_itself),
		ON_NEW(test_close_deaf),
		ON_NEW(test_warm_is_idle),
		ON_NEW(test_warm_loses_eventfd),
		ON_NEW(test_cold_loses_eventfd),
		ON_NEW(test_hot_closes_itself),
		ON_NEW(test_next_is_closed),
		cmocka_unit_test(test_what_a_turn_leaves),
		cmocka_unit_test(test_no_descriptors),
	};

	alarm(120); /* a loop that never sleeps again fails as well */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
