/*
 * limit: so many requests and so many bytes a second, and no more.
 *
 * Of each limit there is one figure: the time up to which what has been let go
 * has used it up. A request may go while that time is no more than BURST ahead,
 * and moves it on by its own cost; so a large one goes at once and those behind
 * it pay. Those over a limit wait in order, in a list through the requests
 * themselves, and one timer runs while there are any.
 *
 * That the timer is late is made up for, so that a busy host gets what the limit
 * says: requests are let go along a line of time that is behind the clock then.
 * Without any that waited lately the line is the clock, and idle time is lost.
 *
 * A clock is read when the limit seems to be reached, not for each request: by
 * an old time fewer may go than by the present one, never more.
 */
#include <stdio.h>
#include <stdlib.h>

#include "layer-options.h"
#include "io/late.h"
#include "io/loop.h"
#include "io/recorder.h"

#define TURN_MAX 64   /* requests let go before others get a turn */
#define BURST	 0.05 /* s worth of a limit that may go at once */
#define CATCH_UP 1.0  /* s: no more than this is made up for */

struct limit {
	struct layer layer;
	double requests, bytes;		    /* a second; 0: no limit */
	double requests_until, bytes_until; /* s: used up to then */
	double time;			    /* s, when a clock was last read */
	double line;			    /* s, up to time */
	double waited;			    /* s, when one last had to wait */
	int hurried;			    /* it keeps none any longer */
	struct io *first, **last;	    /* those that wait */
	uint64_t waiting, limited;
	struct ev_loop *loop;
	struct loop_timer timer;
};

/* Only these move bytes; whatever else is a request like others. */
static int has_data(const struct io *io)
{
	return io->op == IO_READ || io->op == IO_WRITE;
}

static int is_on(const struct limit *limit)
{
	return !limit->hurried && (limit->requests > 0 || limit->bytes > 0);
}

static double later(double one, double other)
{
	return one > other ? one : other;
}

static void read_clock(struct limit *limit)
{
	int is_late;

	limit->time = loop_now();
	is_late = limit->time - limit->waited < CATCH_UP;
	limit->line =
		later(limit->line, limit->time - (is_late ? CATCH_UP : 0));
}

/* When it may go, in seconds. */
static double time_of(const struct limit *limit, const struct io *io)
{
	double until = limit->requests > 0 ? limit->requests_until : 0;

	if (limit->bytes > 0 && has_data(io) && limit->bytes_until > until)
		until = limit->bytes_until;
	return until - BURST;
}

/* By the time that was last read. */
static int can_go(const struct limit *limit, const struct io *io)
{
	return !is_on(limit) || time_of(limit, io) <= limit->time;
}

static void release(struct limit *limit, struct io *io)
{
	double due = time_of(limit, io);

	limit->line = later(limit->line, due < limit->time ? due : limit->time);
	if (limit->requests > 0)
		limit->requests_until =
			later(limit->requests_until, limit->line) +
			1 / limit->requests;
	if (limit->bytes > 0 && has_data(io))
		limit->bytes_until = later(limit->bytes_until, limit->line) +
				     io->length / limit->bytes;
	late_note_passed(io);
	layer_hand_down(&limit->layer, io);
}

/* ---- those that wait ---- */

static void keep_limited(struct limit *limit, struct io *io)
{
	recorder_kept(io, SIGHT_LIMIT);
	late_note_kept(io);
	io->sibling = NULL;
	*limit->last = io;
	limit->last = &io->sibling;
	limit->waited = limit->time;
	limit->waiting++;
	limit->limited++;
}

static struct io *take_first(struct limit *limit)
{
	struct io *io = limit->first;

	limit->first = io->sibling;
	if (!limit->first)
		limit->last = &limit->first;
	limit->waiting--;
	recorder_passed(io);
	return io;
}

/* For the first one; with none, nothing wakes up. */
static void plan_next(struct limit *limit)
{
	double after = 0;

	if (limit->first && is_on(limit))
		after = time_of(limit, limit->first) - limit->time;
	if (limit->first)
		loop_timer_start(limit->loop, &limit->timer, after);
	else
		loop_timer_stop(limit->loop, &limit->timer);
}

static void on_limit_timer(struct loop_timer *timer)
{
	struct limit *limit = timer->data;
	int count;

	read_clock(limit);
	limit->waited = limit->time;
	for (count = 0; count < TURN_MAX && limit->first; count++) {
		if (!can_go(limit, limit->first))
			break;
		release(limit, take_first(limit));
	}
	plan_next(limit);
}

/* ---- the layer ---- */

static struct layer *limit_open(struct ev_loop *loop)
{
	struct limit *limit = calloc(1, sizeof(*limit));

	if (!limit)
		return NULL;
	layer_init(&limit->layer, &layer_limit);
	limit->last = &limit->first;
	limit->loop = loop;
	loop_timer_init(&limit->timer, on_limit_timer, limit);
	return &limit->layer;
}

/* What was used up by the old limit says nothing of the new one. */
static void limit_change(struct layer *layer, const struct option_value *values)
{
	struct limit *limit = (struct limit *)layer;

	limit->requests = (double)values[LIMIT_IOPS].number;
	limit->bytes = (double)values[LIMIT_BANDWIDTH].number;
	limit->time = limit->line = loop_now();
	limit->requests_until = limit->bytes_until = limit->time;
	limit->waited = limit->time - CATCH_UP;
	plan_next(limit);
}

static void limit_submit(struct backend *backend, struct io *io)
{
	struct limit *limit = (struct limit *)backend;

	/* Behind those that wait, even when there is no limit any more. */
	if (limit->first) {
		keep_limited(limit, io);
		return;
	}
	if (!can_go(limit, io))
		read_clock(limit);
	if (can_go(limit, io)) {
		release(limit, io);
		return;
	}
	keep_limited(limit, io);
	plan_next(limit);
}

static void limit_hurry(struct layer *layer)
{
	struct limit *limit = (struct limit *)layer;

	limit->hurried = 1;
	plan_next(limit);
}

static unsigned limit_keeps(const struct layer *layer)
{
	return (unsigned)((const struct limit *)layer)->waiting;
}

static void limit_describe(const struct layer *layer, char *text, size_t size)
{
	const struct limit *limit = (const struct limit *)layer;

	snprintf(text, size, " limited=%llu waiting=%llu",
		 (unsigned long long)limit->limited,
		 (unsigned long long)limit->waiting);
}

static void limit_close(struct layer *layer)
{
	struct limit *limit = (struct limit *)layer;

	loop_timer_stop(limit->loop, &limit->timer);
	free(limit);
}

const struct layer_ops layer_limit = {
	.name = "limit",
	.io = { .submit = limit_submit },
	.first = LIMIT_IOPS,
	.last = LIMIT_BANDWIDTH,
	.open = limit_open,
	.change = limit_change,
	.hurry = limit_hurry,
	.keeps = limit_keeps,
	.describe = limit_describe,
	.close = limit_close,
};
