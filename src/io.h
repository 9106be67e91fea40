/*
 * One request in flight: its data, and its completion exactly once.
 *
 * A target gets a struct io and owns the request until it calls io_done().
 * Data moves in user copy: the driver copies between the request's pages and
 * our memory when asked to, by pread and pwrite on the char device.
 */
#ifndef UBLKD_IO_H
#define UBLKD_IO_H

#include <stdint.h>

#include "ring.h"

enum io_op {
	IO_READ,
	IO_WRITE,
	IO_FLUSH,
	IO_DISCARD,
	IO_WRITE_ZEROES,
	IO_OPS,
};

#define IO_FUA	      1u /* durable before it is done */
#define IO_KEEP_SPACE 2u /* write zeroes without giving space back */

/* What the requests of one queue share. */
struct io_port {
	struct ring *ring; /* its fixed file 0 is the char device */
	int fd;		   /* the char device */
	uint16_t queue_id;
	int in_turn;	/* the queue submits when its turn ends */
	unsigned owned; /* requests that are ours at the moment */
	uint64_t count[IO_OPS], bytes[IO_OPS], errors;
};

struct io {
	struct io_port *port;
	uint64_t offset; /* bytes from the start of the device */
	uint32_t length; /* bytes */
	uint16_t tag;
	uint8_t op;
	uint8_t flags;
	uint8_t owned; /* ours: delivered and not yet done */

	/* The delay or limit layer's, while it keeps the request. */
	struct io *child, *sibling;
	double due; /* s, of the monotonic clock */
};

/*
 * Ask the driver for the tag's first request. Returns 0 or a negative errno;
 * it is under way after the next submit of the port's ring.
 */
int io_fetch(struct io *io);

/* The driver delivered a request: it is ours now. */
void io_begin(struct io *io);

/*
 * The request is done in full (0) or failed (a negative errno). The io must
 * not be touched afterwards. A request is never done in part: the driver takes
 * a short count for success on 7.x.
 */
void io_done(struct io *io, int error);

/*
 * READ: put `length` bytes into the request at byte `at` of it. WRITE: take
 * them out. Return 0 or a negative errno (-EFAULT for memory that cannot be
 * touched). Both copy at once; neither waits for anything but memory.
 */
int io_put(const struct io *io, const void *from, uint32_t at, uint32_t length);
int io_take(const struct io *io, void *to, uint32_t at, uint32_t length);

/* READ: put zeroes, from the kernel's one zero page. Else like io_put(). */
int io_put_zeroes(const struct io *io, uint32_t at, uint32_t length);

/*
 * Prepare what all requests share; before any other call. Returns 0 or
 * -ENOMEM.
 */
int io_initialise(void);

#endif
