/* error: some requests fail, and never reach the target. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "layer-options.h"
#include "base/syntax.h"

/* In the order of layer_errno_names. */
static const int errnos[] = { EIO,    ENOSPC,	 ETIMEDOUT, ENODATA,
			      EILSEQ, EREMOTEIO, ENOLINK,   EOPNOTSUPP };

struct error {
	struct layer layer;
	struct layer_filter filter;
	uint64_t rate;	       /* in billionths */
	uint64_t every, limit; /* 0: none */
	uint64_t seen;	       /* requests that could fail */
	uint64_t failed;       /* since the last change; */
	uint64_t total;	       /* and since it was put on */
	uint64_t random;
	int error;
};

static struct layer *error_open(struct ev_loop *loop)
{
	struct error *error = calloc(1, sizeof(*error));

	(void)loop;
	if (!error)
		return NULL;
	layer_init(&error->layer, &layer_error);
	return &error->layer;
}

static void error_change(struct layer *layer, const struct option_value *values)
{
	struct error *error = (struct error *)layer;

	layer_filter_set(&error->filter, &values[ERROR_OP]);
	error->rate = values[ERROR_RATE].number;
	error->every = values[ERROR_EVERY].number;
	error->limit = values[ERROR_COUNT].number;
	error->error = errnos[values[ERROR_ERRNO].number];
	error->random = values[ERROR_SEED].number;
	error->seen = error->failed = 0;
}

/* The random number is taken each time: what fails depends on nothing else. */
static int is_to_fail(struct error *error, const struct io *io)
{
	int fails;

	if (!layer_filter_match(&error->filter, io))
		return 0;
	error->seen++;
	fails = layer_random(&error->random) % SYNTAX_RATE_ONE < error->rate ||
		(error->every && error->seen % error->every == 0);
	if (!fails || (error->limit && error->failed == error->limit))
		return 0;
	error->failed++;
	error->total++;
	return 1;
}

static void error_submit(struct backend *backend, struct io *io)
{
	struct error *error = (struct error *)backend;

	if (is_to_fail(error, io))
		io_done(io, -error->error);
	else
		layer_hand_down(&error->layer, io);
}

static void error_describe(const struct layer *layer, char *text, size_t size)
{
	const struct error *error = (const struct error *)layer;

	snprintf(text, size, " failed=%llu", (unsigned long long)error->total);
}

static void error_close(struct layer *layer)
{
	free(layer);
}

const struct layer_ops layer_error = {
	.name = "error",
	.io = { .submit = error_submit },
	.first = ERROR_RATE,
	.last = ERROR_SEED,
	.open = error_open,
	.change = error_change,
	.describe = error_describe,
	.close = error_close,
};
