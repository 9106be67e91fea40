/*
 * Late requests: answered with EIO before their backing has answered. The sender
 * knows the end of such a request, and the driver gives its tag another one; but
 * the backing may still read or write the request's buffer. So its struct io, with
 * all that its target has for it, stays until the target says io_done() for it,
 * and the tag goes on with another struct io.
 *
 * What the backing has of a late request is named by its struct io (io_own_data()),
 * not by its tag: no late answer reaches the request that has the tag now.
 */
#ifndef UBLKD_LATE_H
#define UBLKD_LATE_H

#include <stdint.h>

#include "io.h"
#include "backend.h"

/* A queue has at least so many more struct io than tags, or one for each tag. */
#define LATE_LEAST 16u

static inline uint32_t late_spares(uint16_t depth)
{
	return depth < LATE_LEAST ? LATE_LEAST : depth;
}

/*
 * Make a queue's port ready for late requests; harmless if it is. Returns 0 or
 * -ENOMEM. In a build without a target that waits there are none, and port->late
 * stays NULL.
 */
int late_allow(struct io_port *port);

/* Its ring is gone, and no request is late. Harmless without late_allow(). */
void late_close(struct io_port *port);

/* How many requests are late. */
static inline unsigned late_count(const struct io_port *port)
{
	return port->late ? port->late->count : 0;
}

/* One of these; the order changes when one ends. */
static inline const struct io *late_io(const struct io_port *port, unsigned at)
{
	return &port->ios[port->late->which[at]];
}

/* When a late request was delivered, in us; 0: nobody has written that down. */
static inline uint64_t late_since(const struct io *io)
{
	return io->port->late->since[io - io->port->ios];
}

/*
 * Whether a request can be answered before its backing has. Not while the backing
 * has its pages themselves. In copy the tag's buffer is the next request's as well.
 */
static inline int late_is_possible(enum io_mode mode)
{
	return mode == IO_USER_COPY || mode == IO_NEED_GET_DATA;
}

/*
 * Whether a queue's requests can all be given up: not if so many are late that there
 * is no struct io for another one.
 */
static inline int late_has_room(const struct io_port *port)
{
	return port->late->count + port->owned <= port->late->spares;
}

/* The request is with its target from the time `tick` on, 1 or more. */
static inline void late_note_given(const struct io *io, uint32_t tick)
{
	const struct io_port *port = io->port;

	port->late->given[io - port->ios] = tick;
}

/* A layer keeps the request, for which no time of the target's counts. */
static inline void late_note_kept(struct io *io)
{
	io->flags |= IO_KEPT;
	if (io->port->late)
		late_note_given(io, 0);
}

static inline void late_note_passed(struct io *io)
{
	io->flags &= (uint8_t)~IO_KEPT;
}

/*
 * All that no layer keeps are with the target, from the time `tick` on if that was
 * not noted.
 */
void late_note_all(struct io_port *port, uint32_t tick);

#define LATE_ALL 0u /* all that are not answered; no layer keeps any */

/*
 * First: the port's requests that came to the target at the time `until` or before
 * are due; the backend's expire() may ask io_is_due(). Then: those that are still
 * there are answered with EIO, and late. Both return how many; late_mark() puts
 * the first of them into *first. A write whose data is on its way from the
 * driver is left for the next time. In zero copy none is answered here, for the
 * driver ends no request whose pages somebody has: only those end that wait in the
 * backend, by its expire().
 *
 * In copy a late request's buffer is the tag's, so no other request may go to the
 * target then, see late_refuses.
 */
unsigned late_mark(struct io_port *port, uint32_t until,
		   const struct io **first);
unsigned late_answer(struct io_port *port);

/* Requests that are under way count as given at `tick`; how many. */
unsigned late_restamp(struct io_port *port, uint32_t tick);

/* Requests of the port that are with the target. */
unsigned late_watched(const struct io_port *port);

/* Whether a late write may still change what the request is about. */
int late_overlaps(const struct io_port *port, const struct io *io);

/* It answers every request with EIO. */
extern struct backend late_refuses;

#endif
