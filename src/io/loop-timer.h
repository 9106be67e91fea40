/*
 * Timers of the server's loop, in place of libev's, for which a ring could not be
 * left: all of them are one descriptor, a timerfd that libev watches.
 */
#ifndef UBLKD_LOOP_TIMER_H
#define UBLKD_LOOP_TIMER_H

#include <ev.h>

/* Seconds, of the monotonic clock, which nobody can set. */
double loop_now(void);

struct loop_timer {
	void (*fire)(struct loop_timer *timer);
	void *data;
	/* The loop's: a list in the order of what is due. */
	struct loop_timer *next, **link;
	double due;
};

void loop_timer_init(struct loop_timer *timer,
		     void (*fire)(struct loop_timer *timer), void *data);

/*
 * Fire once in so many seconds, whatever it was set to before. The loop is one
 * that loop_new() made.
 */
void loop_timer_start(struct ev_loop *ev, struct loop_timer *timer,
		      double after);
void loop_timer_stop(struct ev_loop *ev, struct loop_timer *timer);
int loop_timer_is_active(const struct loop_timer *timer);

/* ---- for the loop ---- */

/* What the userdata of its libev loop begins with. */
struct loop_timers {
	int fd;
	double due;   /* when the first one is, 0: there is none */
	double armed; /* what fd is set to, 0: nothing */
	struct loop_timer *first;
	ev_io watcher;
};

/* Makes the descriptor. Returns 0 or a negative errno. */
int loop_timers_open(struct loop_timers *timers);

/* Let libev watch it, until it is destroyed. */
void loop_timers_watch(struct loop_timers *timers, struct ev_loop *ev);

/*
 * Before each sleep: let the descriptor tell of the first timer. There is nothing
 * to do if due and armed are the same.
 */
void loop_timers_arm(struct loop_timers *timers);

/* Harmless if it is not open. */
void loop_timers_close(struct loop_timers *timers);

#endif
