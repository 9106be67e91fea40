/*
 * One request in flight: its data, and its completion exactly once.
 *
 * A target gets a struct io and owns the request until it calls io_done(). How
 * its data moves is the device's mode; targets use the same calls in each.
 */
#ifndef UBLKD_IO_H
#define UBLKD_IO_H

#include <stddef.h>
#include <stdint.h>

#include "request.h"

/*
 * Give the `depth` requests at ios what their mode needs; the rest of *port is
 * filled. Returns 0 or a negative errno, with nothing to be closed.
 */
int io_open(struct io_port *port, struct io *ios, uint16_t depth,
	    uint32_t max_io) __attribute__((cold));

/* The ring is gone. Harmless on a port that is all zero. */
void io_close(struct io_port *port);

/*
 * Ask the driver for the tag's first request. Returns 0 or a negative errno;
 * it is under way after the next submit of the port's ring.
 */
int io_fetch(struct io *io);

/* The driver delivered a request, and it is filled in: it is ours now. */
void io_begin(struct io *io);

/*
 * Whether the request's pages are a registered buffer of the port's ring, at
 * the index `tag`. If not, io_put() and io_take() copy also in zero copy.
 */
static inline int io_is_registered(const struct io *io)
{
	return io->port->mode == IO_ZERO_COPY && !(io->flags & IO_NO_BUFFER);
}

/* The data of a request that the bottom backend puts into the port's ring. */
static inline uint64_t io_own_data(const struct io *io)
{
	return IO_OWN + (uint64_t)(io - io->port->ios);
}

/* It was answered already (late.h): its target ends it, and moves no data of it. */
static inline int io_is_late(const struct io *io)
{
	return io->data == IO_DATA_LATE;
}

/* For expire(): the request's time is over. */
static inline int io_is_due(const struct io *io)
{
	const struct io_port *port = io->port;

	return port->late->given[io - port->ios] == LATE_DUE;
}

/*
 * The data that it waited for is there. Returns 1 if the target is to have the
 * request once more, 0 if it was done already.
 */
int io_resume(struct io *io);

/*
 * The tag's last command never came to the driver: it is put once more. Returns
 * 0 if that cannot be, as of a FETCH; else 1, and it is under way after the next
 * submit.
 */
int io_again(struct io *io);

/* The driver took back a request that waits; nobody commits it. */
void io_forget(struct io *io);

/*
 * It waited for its data, and was submitted once already: all that its target
 * knows of it stands.
 */
static inline int io_is_again(const struct io *io)
{
	return io->port->mode == IO_NEED_GET_DATA && io->op == IO_WRITE &&
	       io->data == IO_DATA_HERE;
}

/*
 * The request is done in full (0) or failed (a negative errno). The io must
 * not be touched afterwards. A request is never done in part: the driver takes
 * a short count for success on 7.x.
 */
void io_done(struct io *io, int error);

/*
 * A READ in need-get-data is done, and its bytes lie in memory that is wanted
 * back: the bottom backend's copied() is called when the driver has copied them.
 * Until then what is the target's in *io stays as it is. That can be at once.
 */
void io_done_lent(struct io *io);

/*
 * Give all such memory back: submits for that. To be called before events are
 * taken from the ring, for the next request of a tag that was lent may be among
 * them. Returns 0 or a negative errno; then it has to be called again.
 */
int io_settle(struct io_port *port);

/*
 * The target has to return, and is given the same request once more, unless its
 * forget() is called.
 */
#define IO_LATER 1

/*
 * READ: put `length` bytes into the request at byte `at` of it. Returns 0 or a
 * negative errno (-EFAULT for memory that cannot be touched). The bytes at
 * `from` must stay what they are until the request is done and the port's ring
 * is submitted. In need-get-data the pages of all of a request's bytes must be
 * there, and a request in pieces gets them in one call of submit().
 */
int io_put(struct io *io, const void *from, uint32_t at, uint32_t length);

/*
 * WRITE: take the bytes out. Returns 0 or a negative errno as io_put(), or
 * IO_LATER: then nothing is done to the request until the target's submit() has
 * it again, and takes the same bytes to the same place. In need-get-data only a
 * whole request can be taken, and the pages at `to` must be there.
 */
int io_take(struct io *io, void *to, uint32_t at, uint32_t length);

/*
 * Copy: where the data of all of the request lies, or is to be put, until it is
 * done.
 */
void *io_place(struct io *io);

/* Where the driver may put data that nobody wants. */
const void *io_nowhere(struct io_port *port);

/* READ: put zeroes, from the kernel's one zero page. Else like io_put(). */
int io_put_zeroes(struct io *io, uint32_t at, uint32_t length);

#define IO_TRIM_TIME 2000 /* ms */

/*
 * Give memory back that idle requests do not need, a bounded piece of it. To be
 * called IO_TRIM_TIME after a request has begun if `holds` is set. Returns the
 * time to the next call in ms, or 0 if there is nothing left to do before the
 * next request begins.
 */
unsigned io_trim(struct io_port *port);

/* "user-copy" and so on; IO_MODES is "auto". */
const char *io_mode_name(enum io_mode mode);

/*
 * What was put into the port's ring goes to the kernel. To be called when
 * something was put there while the port is not `in_turn`.
 */
void io_submit(struct io_port *port);

/* UBLK_MAX_IO_BYTES of zeroes, never to be written to. */
const void *io_zeroes(void);

/*
 * Prepare what all requests share; before any other call. Returns 0 or
 * -ENOMEM.
 */
int io_initialise(void);

#endif
