#include "layer.h"

#include <errno.h>
#include <string.h>

static const struct layer_ops *const layer_table[LAYER_KINDS] = {
	[LAYER_TIMEOUT] = &layer_timeout,
	[LAYER_ERROR] = &layer_error,
	[LAYER_DELAY] = &layer_delay,
	[LAYER_LIMIT] = &layer_limit,
};

/* ---- those of one device ---- */

int layers_check(const struct option_value *values, struct failure *failure)
{
	int i;

	for (i = 0; i < LAYER_KINDS; i++)
		if (layer_table[i]->check &&
		    layer_table[i]->check(values, failure) < 0)
			return -1;
	return 0;
}

static int is_needed(const struct layer_ops *ops,
		     const struct option_value *values)
{
	unsigned i;

	for (i = ops->first; i <= ops->last; i++)
		if (!option_is_default(&layer_options[i], &values[i]))
			return 1;
	return 0;
}

/* Whatever was put on first, their order is the same. */
static void link_all(struct layers *layers, struct backend *bottom)
{
	int i;

	for (i = 0; i < LAYER_KINDS; i++) {
		if (!layers->layer[i])
			continue;
		layers->layer[i]->below = bottom;
		bottom = &layers->layer[i]->backend;
	}
}

int layers_put_on(struct layers *layers, struct ev_loop *loop,
		  struct backend *bottom, const struct option_value *values)
{
	int i, error = 0;

	for (i = 0; i < LAYER_KINDS; i++) {
		if (layers->layer[i] || !is_needed(layer_table[i], values))
			continue;
		layers->layer[i] = layer_table[i]->open(loop);
		if (!layers->layer[i])
			error = -ENOMEM;
	}
	link_all(layers, bottom);
	return error;
}

static int is_given(const struct layer_ops *ops,
		    const struct option_value *values)
{
	unsigned i;

	for (i = ops->first; i <= ops->last; i++)
		if (values[i].given)
			return 1;
	return 0;
}

void layers_change(struct layers *layers, const struct option_value *values,
		   const struct option_value *given)
{
	int i;

	for (i = 0; i < LAYER_KINDS; i++)
		if (layers->layer[i] && is_given(layer_table[i], given))
			layer_table[i]->change(layers->layer[i], values);
}

struct backend *layers_top(const struct layers *layers, struct backend *bottom)
{
	int i;

	for (i = LAYER_KINDS - 1; i >= 0; i--)
		if (layers->layer[i])
			return &layers->layer[i]->backend;
	return bottom;
}

void layers_hurry(struct layers *layers)
{
	int i;

	for (i = 0; i < LAYER_KINDS; i++)
		if (layers->layer[i] && layer_table[i]->hurry)
			layer_table[i]->hurry(layers->layer[i]);
}

unsigned layers_keep(const struct layers *layers)
{
	unsigned count = 0;
	int i;

	for (i = 0; i < LAYER_KINDS; i++)
		if (layers->layer[i] && layer_table[i]->keeps)
			count += layer_table[i]->keeps(layers->layer[i]);
	return count;
}

void layers_close(struct layers *layers)
{
	int i;

	for (i = 0; i < LAYER_KINDS; i++) {
		if (layers->layer[i])
			layer_table[i]->close(layers->layer[i]);
		layers->layer[i] = NULL;
	}
}

/* ---- for the layers themselves ---- */

void layer_filter_set(struct layer_filter *filter,
		      const struct option_value *values)
{
	uint64_t first = values[1].number, length = values[2].number;

	filter->ops = (unsigned)values[0].number;
	filter->first = first;
	filter->last = length ? first + length - 1 : UINT64_MAX;
}

/* A flush has no place: it is for the whole device only. */
int layer_filter_match(const struct layer_filter *filter, const struct io *io)
{
	if (!(filter->ops & 1u << io->op))
		return 0;
	if (io->length == 0)
		return filter->first == 0 && filter->last == UINT64_MAX;
	return io->offset <= filter->last &&
	       io->offset + io->length > filter->first;
}

/* splitmix64 */
uint64_t layer_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}
