/*
 * delay: requests are kept for a while before they go to the target.
 *
 * Those that are kept form a pairing heap through the requests themselves, the
 * next one due at its root: no memory is taken, and both putting one in and
 * taking out the next are quick however many there are. One timer runs, while
 * there are any.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "layer-options.h"
#include "io/late.h"
#include "io/loop.h"
#include "io/recorder.h"

#define TURN_MAX 64 /* requests let go before others get a turn */
#define TAIL_MAX 10 /* without a delay-max: so many times the mean */

struct delay {
	struct layer layer;
	struct layer_filter filter;
	double time, max, mean; /* s */
	uint64_t random;
	int hurried;	 /* it keeps none any longer */
	struct io *kept; /* the root of the heap */
	uint64_t keeping, delayed;
	struct ev_loop *loop;
	struct loop_timer timer;
};

/* ---- the heap ---- */

/* Of two heaps, either of which may be empty. */
static struct io *meld(struct io *one, struct io *other)
{
	struct io *first = one, *second = other;

	if (!one || !other)
		return one ? one : other;
	if (other->due < one->due) {
		first = other;
		second = one;
	}
	second->sibling = first->child;
	first->child = second;
	return first;
}

/* The heaps of a list in pairs, then all of these, from the last one on. */
static struct io *meld_all(struct io *list)
{
	struct io *pairs = NULL, *heap = NULL, *next;

	while (list) {
		struct io *one = list, *other = one->sibling;

		list = other ? other->sibling : NULL;
		one->sibling = NULL;
		if (other)
			other->sibling = NULL;
		one = meld(one, other);
		one->sibling = pairs;
		pairs = one;
	}
	for (; pairs; pairs = next) {
		next = pairs->sibling;
		pairs->sibling = NULL;
		heap = meld(heap, pairs);
	}
	return heap;
}

static void keep_delayed(struct delay *delay, struct io *io, double due)
{
	io->due = due;
	io->child = io->sibling = NULL;
	recorder_kept(io, SIGHT_DELAY);
	late_note_kept(io);
	delay->kept = meld(delay->kept, io);
	delay->keeping++;
}

static void release_due(struct delay *delay)
{
	struct io *io = delay->kept;

	delay->kept = meld_all(io->child);
	delay->keeping--;
	recorder_passed(io);
	late_note_passed(io);
	layer_hand_down(&delay->layer, io);
}

/* ---- the timer ---- */

static int is_on(const struct delay *delay)
{
	return !delay->hurried &&
	       (delay->time > 0 || delay->max > 0 || delay->mean > 0);
}

/* For the one that is due next; with none, nothing wakes up. */
static void plan_release(struct delay *delay)
{
	double after = 0;

	if (delay->kept && is_on(delay))
		after = delay->kept->due - loop_now();
	if (delay->kept)
		loop_timer_start(delay->loop, &delay->timer, after);
	else
		loop_timer_stop(delay->loop, &delay->timer);
}

static void on_delay_timer(struct loop_timer *timer)
{
	struct delay *delay = timer->data;
	double until = is_on(delay) ? loop_now() : INFINITY;
	int count;

	for (count = 0; count < TURN_MAX; count++) {
		if (!delay->kept || delay->kept->due > until)
			break;
		release_due(delay);
	}
	plan_release(delay);
}

/* ---- the layer ---- */

static struct layer *delay_open(struct ev_loop *loop)
{
	struct delay *delay = calloc(1, sizeof(*delay));

	if (!delay)
		return NULL;
	layer_init(&delay->layer, &layer_delay);
	delay->loop = loop;
	loop_timer_init(&delay->timer, on_delay_timer, delay);
	return &delay->layer;
}

static int delay_check(const struct option_value *values,
		       struct failure *failure)
{
	uint64_t max = values[DELAY_MAX].number;

	if (max == 0 || max >= values[DELAY_TIME].number)
		return 0;
	return failure_set(failure, SYMBOL_RANGE, 0, "delay-max",
			   "delay-max=%s is less than delay-time=%s",
			   values[DELAY_MAX].text, values[DELAY_TIME].text);
}

/* Who is kept stays as long as was drawn, unless there is no delay any more. */
static void delay_change(struct layer *layer, const struct option_value *values)
{
	struct delay *delay = (struct delay *)layer;

	layer_filter_set(&delay->filter, &values[DELAY_OP]);
	delay->time = (double)values[DELAY_TIME].number / 1e6;
	delay->max = (double)values[DELAY_MAX].number / 1e6;
	delay->mean = (double)values[DELAY_MEAN].number / 1e6;
	delay->random = values[DELAY_SEED].number;
	plan_release(delay);
}

/* From 0 to just below 1. */
static double draw(struct delay *delay)
{
	return (double)(layer_random(&delay->random) >> 11) * 0x1p-53;
}

/*
 * Exponentially distributed, with the mean 1: von Neumann's way, by comparisons.
 * Of numbers that are drawn as long as each is less than the one before, x being
 * the first, an odd count comes with the probability exp(-x); then x is what comes
 * after the point, and how often the count was even what comes before it. So no
 * library of functions has to be in the memory of everybody.
 */
static double draw_exponential(struct delay *delay)
{
	double whole = 0;

	for (;; whole++) {
		double first = draw(delay), last = first, next;
		int is_odd = 1;

		while ((next = draw(delay)) < last) {
			last = next;
			is_odd = !is_odd;
		}
		if (is_odd)
			return whole + first;
	}
}

static double draw_time(struct delay *delay)
{
	double time = delay->time, most = delay->max;

	if (delay->mean > 0) {
		if (most == 0)
			most = time + TAIL_MAX * delay->mean;
		time += delay->mean * draw_exponential(delay);
		return time < most ? time : most;
	}
	return most > time ? time + draw(delay) * (most - time) : time;
}

static void delay_submit(struct backend *backend, struct io *io)
{
	struct delay *delay = (struct delay *)backend;

	if (!is_on(delay) || !layer_filter_match(&delay->filter, io)) {
		layer_hand_down(&delay->layer, io);
		return;
	}
	delay->delayed++;
	keep_delayed(delay, io, loop_now() + draw_time(delay));
	if (delay->kept == io)
		plan_release(delay);
}

static void delay_hurry(struct layer *layer)
{
	struct delay *delay = (struct delay *)layer;

	delay->hurried = 1;
	plan_release(delay);
}

static unsigned delay_keeps(const struct layer *layer)
{
	return (unsigned)((const struct delay *)layer)->keeping;
}

static void delay_describe(const struct layer *layer, char *text, size_t size)
{
	const struct delay *delay = (const struct delay *)layer;

	snprintf(text, size, " delayed=%llu waiting=%llu",
		 (unsigned long long)delay->delayed,
		 (unsigned long long)delay->keeping);
}

static void delay_close(struct layer *layer)
{
	struct delay *delay = (struct delay *)layer;

	loop_timer_stop(delay->loop, &delay->timer);
	free(delay);
}

const struct layer_ops layer_delay = {
	.name = "delay",
	.io = { .submit = delay_submit },
	.first = DELAY_TIME,
	.last = DELAY_SEED,
	.open = delay_open,
	.check = delay_check,
	.change = delay_change,
	.hurry = delay_hurry,
	.keeps = delay_keeps,
	.describe = delay_describe,
	.close = delay_close,
};
