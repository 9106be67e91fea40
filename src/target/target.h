/*
 * Targets: what serves a device's I/O. One file each, one ops table each.
 */
#ifndef UBLKD_TARGET_H
#define UBLKD_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/failure.h"
#include "io/backend.h"
#include "io/io.h"
#include "opener.h"
#include "base/option.h"

/* What a device on this target looks like to the kernel. */
struct geometry {
	uint64_t size;	     /* bytes, a multiple of block_size */
	uint32_t unserved;   /* bytes behind that which are no whole block */
	uint32_t block_size; /* logical; set by the caller */
	uint32_t physical_block_size; /* 0: as block_size */
	uint32_t discard_granularity; /* bytes; 0: cannot discard */
	uint32_t max_discard;	      /* bytes in one request */
	uint32_t chunk; /* bytes: no read or write goes over a multiple; or 0 */
	uint32_t max_write_zeroes; /* bytes; 0: the kernel writes zeroes */
	int shows_memory;   /* a read may give what the host's memory had */
	int volatile_cache; /* a write is durable after a FLUSH only */
	/* The ways to move data, best first, IO_MODES behind; NULL: user copy. */
	const enum io_mode *modes;
};

struct target_ops;

/*
 * The head of every target's own structure. The tally is a number of the
 * target's own that outlives the server: at first it is 0, or what a server
 * before had, and target_set_tally() changes it.
 */
struct target {
	struct backend backend;
	const struct target_ops *ops;
	uint64_t tally;
	void (*changed)(struct target *target); /* the owner's; may be NULL */
	void *owner;
	/*
	 * Of one that is a part of another target, its owner: what has become of
	 * a request, 0 or a negative errno, or of what file_ask() was called
	 * for, the kernel's result. NULL: io_done(). See target_done().
	 */
	void (*ended)(struct target *target, struct io *io, int32_t result);
	/* The owner's, for target_refuse_write(); may be NULL. */
	void (*refused)(const struct target *target, uint64_t used);
	double refused_at;     /* when that was told last, as loop_now() */
	uint64_t refused_used; /* and what the target held then */
};

/* What a target is opened with. */
struct target_args {
	const struct option_value *values; /* of its options */
	int read_only;
	/*
	 * When a dead server's device is taken over: what its target gave to
	 * hold(). Else what was opened for it. Descriptors that the target
	 * takes are set to -1.
	 */
	int adopted;
	uint64_t size; /* then: the disk's, in bytes; 0: not known */
	int *fds;
	int fd_count;
	int lock;	   /* 0, or why the last is not locked as it wants, */
	const char *who;   /* and who has it then, or "" */
	const char *told;  /* what a helper has told of fds[0], or NULL */
	enum io_mode mode; /* that was asked for, or IO_MODES */
	uint32_t max_io;   /* bytes of the largest request */
	int (*is_own)(void *context, uint32_t id); /* a disk served here? */
	void *context;
	struct ev_loop *loop; /* for what has to wait */
};

/* What is behind a target, outside of this process. */
struct target_backing {
	const char *path; /* the target's */
	dev_t device;	  /* of the disk, or of the file's file system */
	int is_file;	  /* a regular file */
};

#define TARGET_LATER 1

/* Whether a target of this build has prepare() or finish(). */
#if defined(WITHOUT_COW) || defined(WITHOUT_FILE)
#define TARGETS_PREPARE 0
#else
#define TARGETS_PREPARE 1
#endif

struct target_ops {
	const char *name;
	const char *help;	      /* one sentence */
	const struct option *options; /* ends with a NULL name */
	struct backend_ops io;	      /* how requests are served */

	/*
	 * What must be open before it is, one after the other: opening a path
	 * can block, so that is not the target's to do. Returns how many of the
	 * wishes, of which there are OPENER_FILES, it has filled in; or -1 with
	 * *failure filled. NULL: nothing.
	 */
	int (*opens)(const struct target_args *args, struct opener_wish *wishes,
		     struct failure *failure);

	/*
	 * Only for a new device: one that is adopted opens with nothing, and gets
	 * what it needs by itself.
	 */
	int adopts_alone;

	/*
	 * Open; geometry->block_size is given, or 0 where the target may choose
	 * it (picks_block_size). Fills the rest of *geometry.
	 * For a new device nothing exists in the kernel yet. Returns the target
	 * or NULL with *failure filled.
	 */
	struct target *(*open)(struct target_args *args,
			       struct geometry *geometry,
			       struct failure *failure);

	int picks_block_size;

	/*
	 * Of a new device, after that: what is read and written in its files
	 * before it can serve, see opener_run(). Returns as next() of that; at
	 * the end *geometry is complete, and on failure *failure filled. NULL:
	 * nothing.
	 */
	int (*prepare)(struct target *target, struct geometry *geometry,
		       int32_t result, struct ring_transfer *transfer,
		       struct failure *failure);

	/*
	 * The same of a device that is deleted: what its files lack before they
	 * are closed. NULL: nothing.
	 */
	int (*finish)(struct target *target, int32_t result,
		      struct ring_transfer *transfer);

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
	 * Serve so many bytes from now on, a multiple of the block size; before
	 * the kernel knows of it when growing, and after that when shrinking:
	 * requests beyond the end that were on their way get an error.
	 *
	 * Growing checks what `add` checks, and what is new reads as zeroes
	 * where the data are the target's own. It must be harmless if a larger
	 * size than the device's stays behind in the backing: the server may
	 * die before the kernel knows, and the next one opens the target with
	 * the old size. When it died after that, the next one calls this after
	 * resume(), with the size that the kernel has.
	 *
	 * Returns 0, or -1 with *failure filled and nothing changed, or
	 * TARGET_LATER when growing has begun: it is called again with the same
	 * size a little later. NULL: its size cannot be changed.
	 */
	int (*resize)(struct target *target, uint64_t size,
		      struct failure *failure);

	/*
	 * The bytes that its backing has now, for size=auto. Returns 0, or -1
	 * with *failure filled. NULL: it has none of its own.
	 */
	int (*measure)(struct target *target, uint64_t *size,
		       struct failure *failure);

	/*
	 * The bytes that it could hold as things stand, what it holds included.
	 * NULL: all of its size.
	 */
	uint64_t (*room)(const struct target *target);

	/*
	 * Give back some of what lies behind the end of a device that was
	 * shrunk, no more than a request might; also after a take-over. Returns
	 * 1 to be called again, 0 at the end or a negative errno; may be NULL.
	 */
	int (*trim)(struct target *target);

	/*
	 * Requests in workers of the kernel, or with a server that may do them
	 * after this process has ended; and go on with those that were held back
	 * from them, see workers.h. NULL: there are never any.
	 */
	unsigned (*in_workers)(const struct target *target);
	void (*go_on)(struct target *target);

	/*
	 * What its requests wait for. Returns 1, or 0 if there is nothing now;
	 * NULL: there never is.
	 */
	int (*backing)(const struct target *target,
		       struct target_backing *backing);

	/* Append " key=value..." about the present state; may be NULL. */
	void (*describe)(const struct target *target, char *text, size_t size);

	/*
	 * The device is deleted: give back some of what it took, no more than
	 * a request might. Returns 1 to be called again, at once; may be NULL.
	 */
	int (*release)(struct target *target);

	/*
	 * No request is under way, and none will come. The descriptors of which
	 * a close may wait, for a disk or for a server, are the caller's from
	 * now on: at most MESSAGE_MAX_FDS. Returns how many; NULL: there are
	 * none.
	 */
	int (*give_up)(struct target *target, int *fds);

	/* Frees the target, which has given up what it had. */
	void (*close)(struct target *target);
};

extern const struct target_ops target_cow, target_file, target_nbd, target_null,
	target_ram;

/* The head of a new target, for its open(). */
static inline void target_init(struct target *target,
			       const struct target_ops *ops)
{
	target->ops = ops;
	target->backend.ops = &ops->io;
}

/* All targets, ending with NULL. */
extern const struct target_ops *const target_table[];

/* The target of that name or NULL. */
const struct target_ops *target_find(const char *name);

/* Say that there is no target of that name. Returns -1. */
int target_fail_unknown(const char *name, struct failure *failure);

/* As the target's hold(), or 0 for one that has none. */
static inline int target_hold(struct target *target, int *fds)
{
	return target->ops->hold ? target->ops->hold(target, fds) : 0;
}

/* As the target's give_up(), or 0 for one that has none. */
static inline int target_give_up(struct target *target, int *fds)
{
	return target->ops->give_up ? target->ops->give_up(target, fds) : 0;
}

/* A request is done, of a target that can be a part of another one. */
static inline void target_done(struct target *target, struct io *io,
			       int32_t result)
{
	if (target->ended)
		target->ended(target, io, result);
	else
		io_done(io, result);
}

static inline void target_set_tally(struct target *target, uint64_t tally)
{
	if (tally == target->tally)
		return;
	target->tally = tally;
	if (target->changed)
		target->changed(target);
}

/* As the target's room(), or UINT64_MAX for one that has none. */
static inline uint64_t target_room(const struct target *target)
{
	return target->ops->room ? target->ops->room(target) : UINT64_MAX;
}

/*
 * There is no memory for a write to the target, which holds `used` bytes of it.
 * The owner hears of the first such write, and of another one only when `used`
 * has changed since, so memory came back, and a minute has passed. Returns
 * -ENOSPC, for the writer.
 */
int target_refuse_write(struct target *target, uint64_t used);

/*
 * Check a size that was asked for: above 0, a multiple of the block size, not
 * more than the kernel can address. Returns 0 or -1 with *failure filled.
 */
int target_check_size(uint64_t size, uint32_t block_size,
		      struct failure *failure);

#endif
