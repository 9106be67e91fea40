/*
 * The server's loop: libev's, with timers that are a descriptor, and rings that
 * the thread can sleep in while they are busy (see loop.c).
 *
 * All functions take the libev loop that loop_new() made.
 */
#ifndef UBLKD_LOOP_H
#define UBLKD_LOOP_H

#include <ev.h>

#include "loop-timer.h"
#include "ring.h"

/* Never sleep in a ring: plain libev. */
#define LOOP_PLAIN 1u

/* Returns a new loop, or NULL without memory or descriptors. */
struct ev_loop *loop_new(unsigned flags) __attribute__((cold));

/*
 * libev's own loop, without what loop_new() adds, for who needs none of that.
 * The caller's to destroy; NULL without memory or descriptors.
 */
struct ev_loop *loop_new_bare(void);

/* Free it. Its rings are closed and its timers stopped by their owners. */
void loop_free(struct ev_loop *ev);

/* Run until loop_break(). */
void loop_run(struct ev_loop *ev);
void loop_break(struct ev_loop *ev);

/* ---- rings ---- */

/* What has come by a ring's eventfd within some time. */
struct loop_window {
	double begin; /* s */
	unsigned wakes, taken;
};

/* One ring, and what is done when it has completions. */
struct loop_ring {
	struct ring *ring;
	/*
	 * Take some completions: fills `taken` with how many requests came,
	 * and `more` if there may be others. What it puts into the ring is
	 * submitted afterwards. The ring's signals may be off meanwhile.
	 * Returns 0, or -1 if it may have closed the ring; then it has turned
	 * the signals on before, for as long as the ring stays.
	 */
	int (*turn)(struct loop_ring *ring);
	void *data;
	unsigned taken;
	int more;

	/* The loop's. */
	struct ev_loop *ev;
	int can_stay; /* see ring_can_stay() */
	ev_io watcher;
	int is_warm;   /* see loop.c */
	unsigned idle; /* so many sleeps, while warm */
	int is_deaf;   /* it has lost its eventfd */
	struct loop_timer retry;
	struct ring_op poll, tick, cancel;
	int is_polling, is_ticking;
	struct loop_window quick, warm;
};

/*
 * Serve a ring from now on. `ring`, `turn` and `data` are set, the rest is
 * zero.
 */
void loop_ring_open(struct ev_loop *ev, struct loop_ring *ring)
	__attribute__((cold));

/* Serve it no more; before the ring is destroyed. Harmless if not open. */
void loop_ring_close(struct loop_ring *ring) __attribute__((cold));

/*
 * A turn of a ring has started or stopped watchers of libev: let it see them
 * before the thread sleeps.
 */
void loop_poke(struct ev_loop *ev);

#endif
