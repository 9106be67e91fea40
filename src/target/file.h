/* What the parts of the file target share. */
#ifndef UBLKD_TARGET_FILE_H
#define UBLKD_TARGET_FILE_H

#include "base/sight.h"
#include "io/ring.h"
#include "io/workers.h"
#include "backing.h"
#include "store.h"
#include "target.h"

/* Requests that wait, the first one first. */
struct file_line {
	struct io *first, *last;
};

struct file {
	struct target target;
	struct file *next; /* of all that are open */
	int fd;
	unsigned slot; /* its place among a ring's fixed files */
	char *path;
	const char *option; /* that names it */
	struct backing backing;
	uint64_t base, size; /* of the device, in bytes of the file */
	int direct, read_only;

	/* I/O by the ring; see file-io.c. */
	void *reserve; /* a buffer of its own */
	uint32_t reserve_size;
	int reserve_is_used;
	uint64_t pooled; /* bytes of the pool's buffers that it has */
	int write_waits; /* it cannot even try to write without waiting */
	struct workers_share share;
	unsigned lock_takers;	      /* of those that have a token */
	struct file_line for_turn[2]; /* of others, and of reads */
	struct file_line for_buffer;
	uint8_t reads_first;

	/* Of a file whose pages are memory. */
	struct store store;

	/* Becoming longer; see file-size.c. */
	struct ev_loop *loop;
	struct opening *growth; /* under way, or NULL */
	int growth_error;	/* of the last one: negative, or 0 */

	/* Says what file_ask() asks for: all but the file, flags and wait. */
	void (*ask)(const struct file *file, const struct io *io,
		    struct ring_transfer *transfer);
};

/*
 * Begin with a file that is one of several of a target: its fd, slot, path and
 * what follows from the options are given. It is read and written through the
 * page cache. Chooses the block size if that is 0. Returns 0 or -1 with *failure
 * filled, and then file_leave() is not to be called.
 */
int file_join(struct file *file, const struct target_args *args,
	      struct geometry *geometry, struct failure *failure);

/* No request is under way: all but its fd goes. */
void file_leave(struct file *file);

/* The ring's fixed file is this one. Returns 0 or a negative errno. */
int file_start_ring(struct file *file, struct ring *ring);

/* So many requests wait in the kernel, or might. */
unsigned file_waiting(const struct file *file);

/* What must not be forgotten: what the target's tally, a number, says. */
struct file_tally {
	uint64_t flush_errors; /* so many flushes have failed */
	int unsynced; /* of a durable write, the next flush tells it; or 0 */
};

struct file_tally file_tally(const struct file *file);

int file_is_memory(const struct file *file);

/* Begin one request, by the ring; or go on with one that has its data now. */
void file_transfer(struct file *file, struct io *io);

/*
 * In place of that: something else of the file that has to be done for the request,
 * in a worker if need be as the request itself. The file's ask() says what, perhaps
 * several times, and ended() gets the result.
 */
void file_ask(struct file *file, struct io *io, enum ring_file_op op);

/* Lines of requests: put one behind, */
void file_line_up(struct file_line *line, struct io *io,
		  enum sight_place place);
/* take the first one, or NULL, */
struct io *file_line_next(struct file_line *line);
/* or take those that are due, linked by `next`. */
struct io *file_line_due(struct file_line *line);

/* The target's forget(), completed(), expire() and copied(). */
void file_forget(struct backend *backend, struct io *io);
void file_completed(struct backend *backend, struct io *io, int32_t result);
void file_expire(struct backend *backend);
void file_copied(struct backend *backend, struct io *io);

/* Go on with those that wait for what has become free. */
void file_go_on(struct file *file);

/*
 * Serve a request of a file of memory, at once. Returns 0 or a negative errno.
 */
int file_serve_memory(struct file *file, struct io *io);

/* The target's resize() and measure(). */
int file_resize(struct target *target, uint64_t size, struct failure *failure);
int file_measure(struct target *target, uint64_t *size,
		 struct failure *failure);

#endif
