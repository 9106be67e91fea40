/*
 * Targets: what serves a device's I/O. One file each, one ops table each.
 */
#ifndef UBLKD_TARGET_H
#define UBLKD_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "io.h"
#include "option.h"

/* What a device on this target looks like to the kernel. */
struct geometry {
	uint64_t size;		      /* bytes, a multiple of block_size */
	uint32_t block_size;	      /* logical; set by the caller */
	uint32_t physical_block_size; /* 0: as block_size */
	uint32_t discard_granularity; /* bytes; 0: cannot discard */
	uint32_t max_discard;	      /* bytes in one request */
	uint32_t max_write_zeroes;    /* bytes; 0: the kernel writes zeroes */
	int volatile_cache; /* a write is durable after a FLUSH only */
	/* The ways to move data, best first, IO_MODES behind; NULL: user copy. */
	const enum io_mode *modes;
};

struct target_ops;

/* The head of every target's own structure. */
struct target {
	const struct target_ops *ops;
};

/* What a target is opened with. */
struct target_args {
	const struct option_value *values; /* of its options */
	/*
	 * When a dead server's device is taken over: what its target gave to
	 * hold(). Descriptors that the target takes are set to -1.
	 */
	int adopted;
	int *fds;
	int fd_count;
};

struct target_ops {
	const char *name;
	const char *help;	      /* one sentence */
	const struct option *options; /* ends with a NULL name */

	/*
	 * Open; geometry->block_size is given. Fills the rest of *geometry.
	 * For a new device nothing exists in the kernel yet. Returns the target
	 * or NULL with *failure filled.
	 */
	struct target *(*open)(struct target_args *args,
			       struct geometry *geometry,
			       struct failure *failure);

	/*
	 * The descriptors that must outlive this process for the next server
	 * to go on: at most MESSAGE_MAX_FDS, still the target's. From the
	 * first call on, files that are the target's own (is_private) are the
	 * keeper's to remove. Returns how many, or a negative errno; NULL:
	 * none.
	 */
	int (*hold)(struct target *target, int *fds);
	int is_private;

	/*
	 * A device that was adopted: the server that had it is gone, and has
	 * changed what it liked until now. Before the first request. Returns 0
	 * or a negative errno; may be NULL.
	 */
	int (*resume)(struct target *target);

	/*
	 * Begin one request; io_done() follows now or later, exactly once. A
	 * request that io_take() answered with IO_LATER comes again.
	 */
	void (*submit)(struct target *target, struct io *io);

	/* Append " key=value..." about the present state; may be NULL. */
	void (*describe)(const struct target *target, char *text, size_t size);

	/*
	 * The device is deleted: give back some of what it took, no more than
	 * a request might. Returns 1 to be called again; may be NULL.
	 */
	int (*release)(struct target *target);

	/* No request is under way. Frees the target. */
	void (*close)(struct target *target);
};

extern const struct target_ops target_null, target_ram;

/* All targets, ending with NULL. */
extern const struct target_ops *const target_table[];

/* The target of that name or NULL. */
const struct target_ops *target_find(const char *name);

/* As the target's hold(), or 0 for one that has none. */
static inline int target_hold(struct target *target, int *fds)
{
	return target->ops->hold ? target->ops->hold(target, fds) : 0;
}

static inline void target_submit(struct target *target, struct io *io)
{
	target->ops->submit(target, io);
}

/*
 * Check a size that was asked for: above 0, a multiple of the block size, not
 * more than the kernel can address. Returns 0 or -1 with *failure filled.
 */
int target_check_size(uint64_t size, uint32_t block_size,
		      struct failure *failure);

#endif
