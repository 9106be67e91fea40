/*
 * Layers: faults on demand and limits, between a device's queues and its
 * target.
 *
 * A layer is a backend on another one: it keeps a request for a while, or
 * answers it in the target's place, and hands it down otherwise. A device
 * without layers does not come through here.
 */
#ifndef UBLKD_LAYER_H
#define UBLKD_LAYER_H

#include <ev.h>

#include "base/option.h"
#include "io/backend.h"
#include "io/io.h"

/* From the bottom to the top. */
enum layer_kind {
	LAYER_TIMEOUT,
	LAYER_ERROR,
	LAYER_DELAY,
	LAYER_LIMIT,
	LAYER_KINDS
};

/* Indexes into the options of all layers. */
enum layer_option {
	ERROR_RATE,
	ERROR_EVERY,
	ERROR_COUNT,
	ERROR_ERRNO,
	ERROR_OP,
	ERROR_OFFSET,
	ERROR_LENGTH,
	ERROR_SEED,
	DELAY_TIME,
	DELAY_MAX,
	DELAY_MEAN,
	DELAY_OP,
	DELAY_OFFSET,
	DELAY_LENGTH,
	DELAY_SEED,
	LIMIT_IOPS,
	LIMIT_BANDWIDTH,
	IO_TIMEOUT,
	LAYER_OPTIONS,
};

/* These alone. `add` and `set` have them behind their own. */
extern const struct option layer_options[];

struct layer_ops;

/* The head of every layer's own structure. */
struct layer {
	struct backend backend;
	const struct layer_ops *ops;
	struct backend *below; /* what it hands requests down to */
};

static inline void layer_hand_down(const struct layer *layer, struct io *io)
{
	layer->below->ops->submit(layer->below, io);
}

/* Values of the layers' options come as an array of LAYER_OPTIONS. */
struct layer_ops {
	const char *name;
	struct backend_ops io;
	enum layer_option first, last;

	/* Without effect until change(). Returns NULL without memory. */
	struct layer *(*open)(struct ev_loop *loop);

	/* Whether the values fit together; may be NULL. Returns 0 or -1. */
	int (*check)(const struct option_value *values,
		     struct failure *failure);

	/* Take new values, and begin to count anew. */
	void (*change)(struct layer *layer, const struct option_value *values);

	/* Keep no request any longer, from now on; may be NULL. */
	void (*hurry)(struct layer *layer);

	/* How many it keeps; NULL: none, ever. */
	unsigned (*keeps)(const struct layer *layer);

	/* Put " key=value..." about the present state into text. */
	void (*describe)(const struct layer *layer, char *text, size_t size);

	/* No request is kept. Frees it. */
	void (*close)(struct layer *layer);
};

extern const struct layer_ops layer_timeout, layer_error, layer_delay,
	layer_limit;

/* Those of one device; all zero: none. */
struct layers {
	struct layer *layer[LAYER_KINDS]; /* NULL: not there */
};

/* Whether values fit together. Returns 0, or -1 with *failure filled. */
int layers_check(const struct option_value *values, struct failure *failure);

/* The same with the device's mode; IO_MODES: it is not chosen yet. */
int layers_check_mode(const struct option_value *values, enum io_mode mode,
		      struct failure *failure);

/*
 * Put on the layers that the values need and that are not there yet; they do
 * nothing until layers_change(). Returns 0 or -ENOMEM.
 */
int layers_put_on(struct layers *layers, struct ev_loop *loop,
		  struct backend *bottom, const struct option_value *values);

/*
 * Take the values for each layer that has one among those that are given.
 * given may be the values themselves.
 */
void layers_change(struct layers *layers, const struct option_value *values,
		   const struct option_value *given);

/* What a device's requests are handed to. */
struct backend *layers_top(const struct layers *layers, struct backend *bottom);

/* Let every request go that is kept, and keep none from now on. */
void layers_hurry(struct layers *layers);

/* How many requests they keep: the others are the target's. */
unsigned layers_keep(const struct layers *layers);

/* Whether requests may be answered before their backing has (io/late.h). */
static inline int layers_can_time_out(const struct layers *layers)
{
	return layers->layer[LAYER_TIMEOUT] != NULL;
}

/*
 * Then: those of that port, for which late_allow() was called. Requests that the
 * target has unnoted have all of their time from now on.
 */
void layers_watch(struct layers *layers, struct io_port *port);

/*
 * What the requests go to of which START and the like wait, which no layer keeps.
 */
static inline struct backend *layers_first(const struct layers *layers,
					   struct backend *bottom)
{
	return layers_can_time_out(layers)
		       ? &layers->layer[LAYER_TIMEOUT]->backend
		       : bottom;
}

/* No request is under way. Frees them. */
void layers_close(struct layers *layers);

/* ---- for the layers themselves ---- */

/* The head of a new layer, for its open(). */
static inline void layer_init(struct layer *layer, const struct layer_ops *ops)
{
	layer->ops = ops;
	layer->backend.ops = &ops->io;
}

/* Which requests a layer is for. */
struct layer_filter {
	unsigned ops;	      /* a bit for each enum io_op */
	uint64_t first, last; /* bytes */
};

/* The values of an op=, an offset= and a length=, which follow each other. */
void layer_filter_set(struct layer_filter *filter,
		      const struct option_value *values);

int layer_filter_match(const struct layer_filter *filter, const struct io *io);

/* The next of the numbers that follow from a seed: 64 random bits. */
uint64_t layer_random(uint64_t *state);

#endif
