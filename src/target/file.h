/* What the parts of the file target share. */
#ifndef UBLKD_TARGET_FILE_H
#define UBLKD_TARGET_FILE_H

#include "io/workers.h"
#include "backing.h"
#include "store.h"
#include "target.h"

#define FILE_SLOT 1 /* the file's, of a ring's fixed files */

/* Requests that wait, the first one first. */
struct file_line {
	struct io *first, *last;
};

struct file {
	struct target target;
	struct file *next; /* of all that are open */
	int fd;
	char *path;
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
};

/* What must not be forgotten: what the target's tally, a number, says. */
struct file_tally {
	uint64_t flush_errors; /* so many flushes have failed */
	int unsynced; /* of a durable write, the next flush tells it; or 0 */
};

struct file_tally file_tally(const struct file *file);

int file_is_memory(const struct file *file);

/* Begin one request, by the ring; or go on with one that has its data now. */
void file_transfer(struct file *file, struct io *io);

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
