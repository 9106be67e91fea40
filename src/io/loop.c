/*
 * How the server sleeps.
 *
 * With libev alone a request at depth 1 costs four system calls: wait for the
 * eventfd, read it, submit, wait. So while requests come quickly the thread
 * sleeps inside the busiest queue's ring, the hot one: a single call submits all
 * commits and waits for the next requests. Its eventfd is off meanwhile. A poll of
 * libev's own epoll descriptor lies in that ring, so that anything else (another
 * queue, a client, a timer) ends the wait, and libev gets a turn. The poll is
 * one-shot and armed again before each sleep: arming looks at what is there, so
 * nothing is missed; a multishot poll of an epoll descriptor behaves like an edge.
 *
 * Other rings that are busy at the same time are warm: they are looked at in
 * memory after each wake, without libev. They share one eventfd, which is on only
 * while the thread sleeps, and is polled from the hot ring as well. What the
 * kernel would not take of one is tried again by a timer: no event need come.
 *
 * A task that sleeps in a ring counts as waiting for I/O. Where the kernel
 * cannot be told otherwise (before 6.15), the thread leaves the ring after 2 ms
 * with little to do; elsewhere it stays, which is cheaper than libev at any rate.
 */
#include "loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "turns.h"

#define WINDOW	     0.002 /* s in which requests must come quickly: */
#define WINDOW_WAKES 2
#define WINDOW_TAKEN 8
#define TICK_MS	     2	/* between looks whether they still do ... */
#define TICK_TAKEN   6	/* ... with at least so many of them */
#define STREAK	     4	/* wakes in a row by one ring: it is the one */
#define BALANCE	     32 /* wakes after which the hot ring's share is looked at */
#define LIBEV_TURNS  8	/* of libev, before rings get theirs */
#define WARM_MAX     32
#define WARM_STREAK  64	   /* as STREAK, of one that is warm */
#define WARM_WINDOW  0.016 /* s in which a ring must wake us so often ... */
#define WARM_WAKES   5	   /* ... to become warm: one of many is seldom next */
#define WARM_IDLE    1024  /* sleeps without work, to be so no more */
#define RETRY	     0.001 /* s, after the kernel has refused something */

struct loop {
	struct loop_timers timers; /* first: see there */
	struct ev_loop *ev;
	int epoll_fd; /* libev's, or -1: never sleep in a ring */
	struct loop_ring *hot, *next_hot;
	struct loop_ring *warm[WARM_MAX]; /* while there is a hot one */
	unsigned warm_count;
	int warm_fd;		/* their eventfd */
	struct ring_op warm_op; /* its poll ... */
	struct loop_ring *home; /* ... in the ring of this one, or NULL */
	int libev_due;		/* it must have a turn before we sleep */
	int libev_found;	/* its last turn had something to do */
	int broken;

	/* Who wakes us. */
	struct loop_ring *streak_ring;
	unsigned streak, own, foreign;
	unsigned tick_taken;

	ev_prepare prepare;
	ev_check check;
};

static struct loop *loop_of(struct ev_loop *ev)
{
	return ev_userdata(ev);
}

/* ---- libev's turns ---- */

static void on_prepare(struct ev_loop *ev, ev_prepare *watcher, int events)
{
	(void)watcher;
	(void)events;
	loop_timers_arm(&loop_of(ev)->timers);
	turns_phase(SIGHT_SLEEPS);
}

/* The first of what is pending, by its priority. */
static void on_check(struct ev_loop *ev, ev_check *watcher, int events)
{
	(void)watcher;
	(void)events;
	turns_phase(SIGHT_OTHERS);
	if (ev_pending_count(ev))
		loop_of(ev)->libev_found = 1;
}

/*
 * Until it has found nothing to do: libev looks at watchers that a callback has
 * started in its next turn only.
 */
static void run_libev(struct loop *loop)
{
	int turns = LIBEV_TURNS;

	do {
		loop->libev_found = 0;
		ev_run(loop->ev, EVRUN_NOWAIT);
	} while (loop->libev_found && --turns && !loop->broken);
	loop->libev_due = loop->libev_found;
}

void loop_poke(struct ev_loop *ev)
{
	loop_of(ev)->libev_due = 1;
}

/* ---- warm rings ---- */

static void on_warm(struct ring_op *op, int32_t result)
{
	struct loop *loop =
		(struct loop *)((char *)op - offsetof(struct loop, warm_op));
	eventfd_t count;

	(void)result;
	loop->home = NULL;
	(void)eventfd_read(loop->warm_fd, &count);
}

static void retry_soon(struct loop_ring *ring)
{
	if (!loop_timer_is_active(&ring->retry))
		loop_timer_start(ring->ev, &ring->retry, RETRY);
}

/* By the common eventfd from now on, or by its own again. */
static void signal_by(struct loop_ring *ring, int fd)
{
	int error = ring_signal_by(ring->ring, fd);

	/* It cannot wake us: it is looked at until it can. */
	if (error && !ring->is_deaf)
		log_error("a ring has lost its eventfd: %s", strerror(-error));
	ring->is_deaf = error != 0;
	if (error)
		retry_soon(ring);
}

static void warm_up(struct loop *loop, struct loop_ring *ring)
{
	int fd = ring_event_fd(ring->ring);

	if (loop->warm_count == WARM_MAX || loop->warm_fd < 0)
		return;
	ev_io_stop(loop->ev, &ring->watcher);
	/* libev would leave it there until it is readable. */
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	ring_signal(ring->ring, 0);
	signal_by(ring, loop->warm_fd);
	ring_register_self(ring->ring);
	loop->warm[loop->warm_count++] = ring;
	ring->is_warm = 1;
	ring->idle = 0;
	/* Its wakes count as libev's no more. */
	loop->own = loop->foreign = 0;
}

static void leave_warm(struct loop *loop, struct loop_ring *ring)
{
	unsigned i = 0;

	while (loop->warm[i] != ring)
		i++;
	loop->warm[i] = loop->warm[--loop->warm_count];
	ring->is_warm = 0;
	ring_unregister_self(ring->ring);
}

/* Back to libev. */
static void cool_down(struct loop *loop, struct loop_ring *ring)
{
	leave_warm(loop, ring);
	signal_by(ring, ring_event_fd(ring->ring));
	ring_signal(ring->ring, 1);
	/* It is looked at in libev's next turn, whatever has raced. */
	ring_raise_event(ring->ring);
	/*
	 * Set anew: libev, which may not have looked since the watcher was
	 * stopped, would take it for one that epoll still has.
	 */
	ev_io_set(&ring->watcher, ring_event_fd(ring->ring), EV_READ);
	ev_io_start(loop->ev, &ring->watcher);
	loop_poke(loop->ev);
}

static void cool_all_down(struct loop *loop)
{
	while (loop->warm_count)
		cool_down(loop, loop->warm[0]);
}

/* Another than the hot ring has had work: if it alone has, it is the one. */
static void note_foreign(struct loop *loop, struct loop_ring *ring,
			 unsigned enough)
{
	loop->streak = loop->streak_ring == ring ? loop->streak + 1 : 1;
	loop->streak_ring = ring;
	if (loop->hot && loop->streak >= enough)
		loop->next_hot = ring;
}

static void serve_warm(struct loop *loop, struct loop_ring *ring)
{
	ring->idle = 0;
	if (ring->turn(ring) < 0)
		return;
	ring_submit(ring->ring); /* or see watch_all_warm() */
	if (ring->taken)
		note_foreign(loop, ring, WARM_STREAK);
}

static void on_retry(struct loop_timer *timer)
{
	struct loop_ring *ring = timer->data;
	struct loop *loop = loop_of(ring->ev);

	/* Before the look: from here on it is signalled. */
	if (ring->is_deaf)
		signal_by(ring, ring->is_warm ? loop->warm_fd
					      : ring_event_fd(ring->ring));
	if (ring->is_warm)
		serve_warm(loop, ring);
	else
		ring_raise_event(ring->ring);
}

/* From the last one on: it may leave, and another one takes its place. */
static void serve_all_warm(struct loop *loop)
{
	unsigned i = loop->warm_count;

	while (i-- > 0)
		if (i < loop->warm_count &&
		    ring_has_events(loop->warm[i]->ring))
			serve_warm(loop, loop->warm[i]);
}

/* Returns whether there is something to do. */
static int look_at_warm(struct loop *loop)
{
	unsigned i;
	int busy = 0;

	for (i = 0; i < loop->warm_count; i++) {
		busy |= ring_has_events(loop->warm[i]->ring);
		if (ring_has_unsent(loop->warm[i]->ring))
			retry_soon(loop->warm[i]);
	}
	return busy;
}

/*
 * Before the sleep. Returns 0, or 1 if there is something to do already: then
 * they are not signalled, which would cost a read and a poll for nothing.
 */
static int watch_all_warm(struct loop *loop)
{
	unsigned i = loop->warm_count;

	if (look_at_warm(loop))
		return 1;
	while (i-- > 0) {
		if (++loop->warm[i]->idle > WARM_IDLE)
			cool_down(loop, loop->warm[i]);
		else
			ring_signal(loop->warm[i]->ring, 1);
	}
	if (!loop->home && ring_put_poll(loop->hot->ring, loop->warm_fd,
					 (uintptr_t)&loop->warm_op) == 0)
		loop->home = loop->hot;
	/* As when the ring cools. */
	atomic_thread_fence(memory_order_seq_cst);
	return look_at_warm(loop) || loop->home != loop->hot;
}

static void mute_all_warm(struct loop *loop)
{
	unsigned i;

	for (i = 0; i < loop->warm_count; i++)
		ring_signal(loop->warm[i]->ring, 0);
}

/* ---- the hot ring ---- */

static void on_poll(struct ring_op *op, int32_t result)
{
	struct loop_ring *ring =
		(struct loop_ring *)((char *)op -
				     offsetof(struct loop_ring, poll));

	ring->is_polling = 0;
	if (result != -ECANCELED)
		loop_poke(ring->ev);
}

static void on_tick(struct ring_op *op, int32_t result)
{
	struct loop_ring *ring =
		(struct loop_ring *)((char *)op -
				     offsetof(struct loop_ring, tick));

	(void)result;
	ring->is_ticking = 0;
}

static void on_cancel(struct ring_op *op, int32_t result)
{
	(void)op;
	(void)result;
}

static void heat(struct loop *loop, struct loop_ring *ring)
{
	ring_signal(ring->ring, 0);
	ring_register_self(ring->ring);
	loop->hot = ring;
	loop->own = loop->foreign = 0;
	loop->tick_taken = TICK_TAKEN;
	/* What libev has not looked at since the last callback. */
	loop->libev_due = 1;
}

/* What completes from here on is signalled; what has completed must be seen. */
static void cool(struct loop *loop)
{
	struct loop_ring *ring = loop->hot;

	cool_all_down(loop);
	loop->hot = NULL;
	if (ring->is_polling)
		ring_put_cancel(ring->ring, (uintptr_t)&ring->poll,
				(uintptr_t)&ring->cancel);
	if (ring->is_ticking)
		ring_put_cancel(ring->ring, (uintptr_t)&ring->tick,
				(uintptr_t)&ring->cancel);
	if (loop->home == ring)
		ring_put_cancel(ring->ring, (uintptr_t)&loop->warm_op,
				(uintptr_t)&ring->cancel);
	ring_signal(ring->ring, 1);
	/* Without it a wakeup is lost within seconds. */
	atomic_thread_fence(memory_order_seq_cst);
	if (ring_look(ring->ring) < 0 || ring_has_events(ring->ring))
		ring_raise_event(ring->ring);
	ring_unregister_self(ring->ring);
}

/* Whether the hot ring is still the right one to sleep in. */
static void judge(struct loop *loop)
{
	struct loop_ring *hot = loop->hot;

	if (hot->taken) {
		loop->own++;
		loop->tick_taken += hot->taken;
		loop->streak_ring = hot;
		loop->streak = 0;
	}
	if (loop->own + loop->foreign >= BALANCE) {
		if (loop->foreign > loop->own && loop->next_hot == hot)
			loop->next_hot = NULL;
		loop->own = loop->foreign = 0;
	}
	if (hot->is_ticking || hot->can_stay)
		return;
	if (loop->tick_taken < TICK_TAKEN && loop->next_hot == hot)
		loop->next_hot = NULL;
	loop->tick_taken = 0;
}

/* Sleep in the hot ring, then serve it and whatever else there is. */
static void run_hot(struct loop *loop)
{
	struct loop_ring *hot = loop->hot;
	int busy = loop->warm_count && watch_all_warm(loop);

	if (loop->timers.armed != loop->timers.due)
		loop_timers_arm(&loop->timers);
	/* Sleep or not: rings that are never idle must not keep libev out. */
	if (!loop->libev_due) {
		if (!hot->is_polling)
			hot->is_polling = !ring_put_poll(hot->ring,
							 loop->epoll_fd,
							 (uintptr_t)&hot->poll);
		if (!hot->is_ticking && !hot->can_stay)
			hot->is_ticking = !ring_put_timeout(
				hot->ring, TICK_MS, (uintptr_t)&hot->tick);
		/* Without the poll the thread must not sleep. */
		loop->libev_due = !hot->is_polling;
	}
	if (busy || loop->libev_due) {
		ring_submit(hot->ring);
	} else {
		turns_phase(SIGHT_SLEEPS);
		ring_sleep(hot->ring);
	}
	if (loop->warm_count)
		mute_all_warm(loop);
	if (hot->turn(hot) == 0)
		judge(loop);
	if (loop->warm_count)
		serve_all_warm(loop);
	if (loop->libev_due)
		run_libev(loop);
}

/* ---- rings through libev ---- */

static void look_through(struct loop_window *window, double length, double now,
			 unsigned taken)
{
	if (now - window->begin > length || now < window->begin) {
		window->begin = now;
		window->wakes = window->taken = 0;
	}
	window->wakes++;
	window->taken += taken;
}

/* A ring has woken us by its eventfd: should we rather sleep in it? */
static void consider(struct loop *loop, struct loop_ring *ring)
{
	double now = ev_now(loop->ev);

	if (loop->epoll_fd < 0 || !ring->taken)
		return;
	loop->foreign += loop->hot != NULL;
	note_foreign(loop, ring, STREAK);
	look_through(&ring->quick, WINDOW, now, ring->taken);
	look_through(&ring->warm, WARM_WINDOW, now, ring->taken);
	if ((loop->streak >= STREAK && ring->can_stay) ||
	    (!loop->hot && ring->quick.wakes >= WINDOW_WAKES &&
	     ring->quick.taken >= WINDOW_TAKEN))
		loop->next_hot = ring;
	else if (loop->hot && loop->hot != ring && !ring->is_warm &&
		 ring->warm.wakes >= WARM_WAKES)
		warm_up(loop, ring);
	if (loop->next_hot != loop->hot)
		ev_break(loop->ev, EVBREAK_ONE);
}

static void on_ring(struct ev_loop *ev, ev_io *watcher, int events)
{
	struct loop_ring *ring = watcher->data;
	int error;

	(void)events;
	/*
	 * Off while we look by ourselves: each commit would signal. Emptied
	 * before, and looked at after it is on: no wakeup is lost.
	 */
	ring_signal(ring->ring, 0);
	ring_clear_event(ring->ring);
	if (ring->turn(ring) < 0)
		return;
	error = ring_submit(ring->ring);
	/* That of the hot ring stays off: this was a wake from before. */
	ring_signal(ring->ring, loop_of(ev)->hot != ring);
	atomic_thread_fence(memory_order_seq_cst);
	if (error || ring->more || ring_has_events(ring->ring))
		ring_raise_event(ring->ring);
	consider(loop_of(ev), ring);
}

void loop_ring_open(struct ev_loop *ev, struct loop_ring *ring)
{
	ring->ev = ev;
	ring->can_stay = loop_of(ev)->epoll_fd >= 0 &&
			 ring_can_stay(ring->ring);
	ring->poll.done = on_poll;
	ring->tick.done = on_tick;
	ring->cancel.done = on_cancel;
	loop_timer_init(&ring->retry, on_retry, ring);
	ev_io_init(&ring->watcher, on_ring, ring_event_fd(ring->ring), EV_READ);
	ring->watcher.data = ring;
	ev_io_start(ev, &ring->watcher);
	loop_poke(ev);
}

void loop_ring_close(struct loop_ring *ring)
{
	struct loop *loop;

	if (!ring->ev)
		return;
	loop = loop_of(ring->ev);
	if (loop->home == ring)
		loop->home = NULL; /* the poll goes with it */
	if (ring->is_warm)
		leave_warm(loop, ring);
	if (loop->hot == ring) {
		cool_all_down(loop);
		loop->hot = NULL;
		ring_unregister_self(ring->ring);
	}
	ev_io_stop(ring->ev, &ring->watcher);
	loop_timer_stop(ring->ev, &ring->retry);
	if (loop->next_hot == ring)
		loop->next_hot = NULL;
	if (loop->streak_ring == ring)
		loop->streak_ring = NULL;
	loop_poke(ring->ev);
	ring->ev = NULL;
}

/* ---- the loop ---- */

/* Also ends libev's own run, for those who call that. */
void loop_break(struct ev_loop *ev)
{
	loop_of(ev)->broken = 1;
	ev_break(ev, EVBREAK_ALL);
}

void loop_run(struct ev_loop *ev)
{
	struct loop *loop = loop_of(ev);

	while (!loop->broken) {
		if (loop->hot != loop->next_hot) {
			if (loop->hot)
				cool(loop);
			if (loop->next_hot)
				heat(loop, loop->next_hot);
		}
		if (loop->hot)
			run_hot(loop);
		else
			ev_run(ev, 0);
	}
}

/*
 * libev wakes up once a minute to see whether the time of day has been set,
 * unless a timerfd tells it (4.32 and newer). That it makes for its first
 * periodic watcher, and keeps.
 */
struct ev_loop *loop_new_bare(void)
{
	struct ev_loop *ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	ev_periodic first;

	if (!ev)
		return NULL;
	ev_periodic_init(&first, NULL, 0, 0, NULL);
	ev_periodic_start(ev, &first);
	ev_periodic_stop(ev, &first);
	return ev;
}

/* Whether fd is an epoll descriptor: others answer EINVAL. */
static int is_epoll(int fd, int other)
{
	return epoll_ctl(fd, EPOLL_CTL_DEL, other, NULL) < 0 && errno == ENOENT;
}

/*
 * libev does not tell its epoll descriptor: it is the lowest that was free
 * before.
 */
static int open_ev(struct loop *loop)
{
	int lowest = dup(loop->timers.fd);

	if (lowest < 0)
		return -1;
	close(lowest);
	loop->ev = loop_new_bare();
	if (!loop->ev)
		return -1;
	loop->epoll_fd = is_epoll(lowest, loop->timers.fd) ? lowest : -1;
	if (loop->epoll_fd < 0)
		log_warning("libev's epoll descriptor is not found: the "
			    "server sleeps in libev only");
	return 0;
}

struct ev_loop *loop_new(unsigned flags)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->warm_op.done = on_warm;
	loop->warm_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop_timers_open(&loop->timers) < 0 || open_ev(loop) < 0) {
		loop_timers_close(&loop->timers);
		if (loop->warm_fd >= 0)
			close(loop->warm_fd);
		free(loop);
		return NULL;
	}
	if (flags & LOOP_PLAIN)
		loop->epoll_fd = -1;
	ev_set_userdata(loop->ev, loop);
	loop_timers_watch(&loop->timers, loop->ev);
	ev_prepare_init(&loop->prepare, on_prepare);
	ev_prepare_start(loop->ev, &loop->prepare);
	ev_check_init(&loop->check, on_check);
	ev_set_priority(&loop->check, EV_MAXPRI);
	ev_check_start(loop->ev, &loop->check);
	return loop->ev;
}

void loop_free(struct ev_loop *ev)
{
	struct loop *loop = loop_of(ev);

	ev_loop_destroy(ev);
	loop_timers_close(&loop->timers);
	if (loop->warm_fd >= 0)
		close(loop->warm_fd);
	free(loop);
}
