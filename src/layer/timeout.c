/*
 * timeout: a request that the target has not answered in time is answered with an
 * error, and is late from then on (io/late.h). What overlaps a late write fails at
 * once, until the backing has answered that.
 *
 * It lies next to the target, so that the time in other layers does not count. No
 * clock is read for it: while requests are under way one timer looks at them all,
 * LOOKS times within the time that they have, and the looks are what is counted. So
 * a server that was stopped for a while does not blame the backing for that. A look
 * takes a turn of the loop for each queue, so that others are not kept waiting.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "layer-options.h"
#include "io/late.h"
#include "io/loop.h"
#include "io/workers.h"

#define LOOKS 8		  /* an error comes up to an eighth of the time late */
#define FIRST (LOOKS + 2) /* so that a time that is over is never 0 */

struct timeout {
	struct layer layer;
	double period; /* s between looks; 0: there is no limit */
	uint32_t tick; /* looks, from FIRST on */
	struct late *watched;
	uint64_t timed_out, refused;

	/* The look that is under way. */
	unsigned queues_done;
	int is_busy;	 /* some requests are not due yet, or have come since */
	unsigned due;	 /* requests, and */
	struct io first; /* one of them as it was */

	struct ev_loop *loop;
	struct loop_timer timer;
};

/* ---- the timer ---- */

static void look_later(struct timeout *timeout)
{
	timeout->is_busy = 1;
	if (timeout->period > 0 && !loop_timer_is_active(&timeout->timer))
		loop_timer_start(timeout->loop, &timeout->timer,
				 timeout->period);
}

/* Requests that are under way have all of their time from now on; how many. */
static unsigned begin_anew(struct timeout *timeout)
{
	struct late *late;
	unsigned count = 0;

	timeout->tick = FIRST;
	for (late = timeout->watched; late; late = late->next)
		count += late_restamp(late->port, timeout->tick);
	return count;
}

static void begin_look(struct timeout *timeout)
{
	timeout->is_busy = 0;
	timeout->due = 0;
	if (++timeout->tick == INT32_MAX)
		begin_anew(timeout);
}

/* Those of a queue that have been there for LOOKS periods are answered. */
static void look_at(struct timeout *timeout, struct late *late)
{
	struct backend *below = timeout->layer.below;
	const struct io *first = NULL;
	unsigned count;

	count = late_mark(late->port, timeout->tick - LOOKS - 1, &first);
	if (count && !timeout->due)
		timeout->first = *first;
	timeout->due += count;
	timeout->timed_out += count;
	if (count && below->ops->expire)
		below->ops->expire(below);
	late_answer(late->port);
	if (late_watched(late->port))
		timeout->is_busy = 1;
}

static void end_look(struct timeout *timeout)
{
	const struct late *teller = timeout->watched;

	timeout->queues_done = 0;
	if (timeout->due && teller && teller->timed_out)
		teller->timed_out(teller->owner, &timeout->first, timeout->due);
	if (timeout->is_busy)
		look_later(timeout);
}

/* NULL: the look has seen all. One that is opened or closed meanwhile may be seen
 * twice, or only by the next look. */
static struct late *next_queue(const struct timeout *timeout)
{
	struct late *late = timeout->watched;
	unsigned i;

	for (i = 0; late && i < timeout->queues_done; i++)
		late = late->next;
	return late;
}

static void on_timeout_look(struct loop_timer *timer)
{
	struct timeout *timeout = timer->data;
	struct late *late;

	/* Requests wait for a worker that a drain keeps from the target. */
	if (workers_are_held()) {
		look_later(timeout);
		return;
	}
	if (!timeout->queues_done)
		begin_look(timeout);
	late = next_queue(timeout);
	if (late) {
		look_at(timeout, late);
		timeout->queues_done++;
	}
	if (next_queue(timeout))
		loop_timer_start(timeout->loop, timer, 0);
	else
		end_look(timeout);
}

/* ---- the layer ---- */

static struct layer *timeout_open(struct ev_loop *loop)
{
	struct timeout *timeout = calloc(1, sizeof(*timeout));

	if (!timeout)
		return NULL;
	layer_init(&timeout->layer, &layer_timeout);
	timeout->tick = FIRST;
	timeout->loop = loop;
	loop_timer_init(&timeout->timer, on_timeout_look, timeout);
	return &timeout->layer;
}

static int timeout_check(const struct option_value *values,
			 struct failure *failure)
{
	uint64_t time = values[IO_TIMEOUT].number;

	if (time == 0 || time >= LAYER_TIMEOUT_MIN)
		return 0;
	return failure_set(failure, SYMBOL_RANGE, 0, "io-timeout",
			   "io-timeout=%s is less than 100ms; 0: no limit",
			   values[IO_TIMEOUT].text);
}

static void timeout_change(struct layer *layer,
			   const struct option_value *values)
{
	struct timeout *timeout = (struct timeout *)layer;

	timeout->period = (double)values[IO_TIMEOUT].number / 1e6 / LOOKS;
	loop_timer_stop(timeout->loop, &timeout->timer);
	timeout->queues_done = 0;
	if (begin_anew(timeout))
		look_later(timeout);
}

static int is_in_the_way(const struct timeout *timeout, const struct io *io)
{
	const struct late *late;

	if (!late_has_room(io->port))
		return 1;
	for (late = timeout->watched; late; late = late->next)
		if (late->count && late_overlaps(late->port, io))
			return 1;
	return 0;
}

static void timeout_submit(struct backend *backend, struct io *io)
{
	struct timeout *timeout = (struct timeout *)backend;

	if (!io->port->late) {
		layer_hand_down(&timeout->layer, io);
		return;
	}
	if (is_in_the_way(timeout, io)) {
		timeout->refused++;
		io_done(io, -EIO);
		return;
	}
	late_note_given(io, timeout->tick);
	look_later(timeout);
	layer_hand_down(&timeout->layer, io);
}

void layers_watch(struct layers *layers, struct io_port *port)
{
	struct timeout *timeout =
		(struct timeout *)layers->layer[LAYER_TIMEOUT];
	struct late *late = port->late;

	if (!timeout || !late)
		return;
	if (!late->link) {
		late->next = timeout->watched;
		if (late->next)
			late->next->link = &late->next;
		late->link = &timeout->watched;
		timeout->watched = late;
	}
	late_note_all(port, timeout->tick);
	if (late_watched(port))
		look_later(timeout);
}

int layers_check_mode(const struct option_value *values, enum io_mode mode,
		      struct failure *failure)
{
	if (!values[IO_TIMEOUT].number || mode == IO_MODES ||
	    late_is_possible(mode))
		return 0;
	return failure_set(
		failure, SYMBOL_ARG, 0, "io-timeout",
		"io-timeout= is not to be had with mode=%s, in which "
		"the target uses memory that the next request needs; "
		"add the device with mode=user-copy, or mode=auto",
		io_mode_name(mode));
}

static void timeout_describe(const struct layer *layer, char *text, size_t size)
{
	const struct timeout *timeout = (const struct timeout *)layer;
	const struct late *late;
	unsigned count = 0;

	for (late = timeout->watched; late; late = late->next)
		count += late->count;
	snprintf(text, size, " timed-out=%llu late=%u refused=%llu%s",
		 (unsigned long long)timeout->timed_out, count,
		 (unsigned long long)timeout->refused,
		 timeout->timed_out ? " last-error=ETIMEDOUT" : "");
}

static void timeout_close(struct layer *layer)
{
	struct timeout *timeout = (struct timeout *)layer;
	struct late *late;

	while ((late = timeout->watched)) {
		timeout->watched = late->next;
		late->next = NULL;
		late->link = NULL;
	}
	loop_timer_stop(timeout->loop, &timeout->timer);
	free(timeout);
}

const struct layer_ops layer_timeout = {
	.name = "timeout",
	.io = { .submit = timeout_submit },
	.first = IO_TIMEOUT,
	.last = IO_TIMEOUT,
	.open = timeout_open,
	.check = timeout_check,
	.change = timeout_change,
	.describe = timeout_describe,
	.close = timeout_close,
};
