/*
 * null: writes vanish, reads give zeroes. With fill=no nothing is moved at
 * all, and a reader sees whatever its pages held: for measuring only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

enum { SIZE, FILL };

static const struct option options[] = {
	[SIZE] = { .name = "size",
		   .type = OPTION_SIZE,
		   .min = 512,
		   .max = OPTION_SIZE_MAX,
		   .fallback = "250G",
		   .help = "size of the device in bytes" },
	[FILL] = { .name = "fill",
		   .type = OPTION_FLAG,
		   .fallback = "yes",
		   .help = "answer reads with zeroes; with no, nothing is "
			   "moved and the reader sees old memory" },
	{ .name = NULL },
};

/*
 * A read takes one command in the first two and the zeroes are copied once; a
 * system call of its own, in user copy, is a quarter more CPU for one of 32 at a
 * time. copy saves the second command of a write, a fifth of its CPU, but takes
 * memory for each slot: where that cannot be had, the driver tries without end.
 */
static const enum io_mode modes[] = { IO_NEED_GET_DATA, IO_COPY, IO_USER_COPY,
				      IO_MODES };

struct null {
	struct target target;
	int fill;
};

static struct target *null_open(struct target_args *args,
				struct geometry *geometry,
				struct failure *failure)
{
	const struct option_value *values = args->values;
	struct null *null;

	if (target_check_size(values[SIZE].number, geometry->block_size,
			      failure) < 0)
		return NULL;
	null = calloc(1, sizeof(*null));
	if (!null) {
		failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
			    "null: out of memory");
		return NULL;
	}
	target_init(&null->target, &target_null);
	null->fill = values[FILL].number != 0;
	geometry->size = values[SIZE].number;
	geometry->shows_memory = !null->fill;
	geometry->discard_granularity = 4096;
	geometry->max_discard = 1U << 30;
	geometry->max_write_zeroes = 1U << 30;
	/* In user copy what is not moved costs nothing; the others always do. */
	geometry->modes = null->fill ? modes : NULL;
	return &null->target;
}

/* There is nothing to make longer, and nothing to lose. */
static int null_resize(struct target *target, uint64_t size,
		       struct failure *failure)
{
	(void)target;
	(void)size;
	(void)failure;
	return 0;
}

static void null_submit(struct backend *backend, struct io *io)
{
	const struct null *null = (const struct null *)backend;
	int error = 0;

	if (io->op == IO_READ && null->fill)
		error = io_put_zeroes(io, 0, io->length);
	io_done(io, error);
}

static void null_describe(const struct target *target, char *text, size_t size)
{
	const struct null *null = (const struct null *)target;

	snprintf(text, size, " fill=%s", null->fill ? "yes" : "no");
}

static void null_close(struct target *target)
{
	free(target);
}

const struct target_ops target_null = {
	.name = "null",
	.help = "writes vanish, reads give zeroes",
	.options = options,
	.open = null_open,
	.resize = null_resize,
	.io = { .submit = null_submit },
	.describe = null_describe,
	.close = null_close,
};
