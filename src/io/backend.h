/*
 * A backend serves requests: a target, or a layer before one. Both have this as
 * the head of their own structure; a queue knows no more of them.
 */
#ifndef UBLKD_BACKEND_H
#define UBLKD_BACKEND_H

#include "request.h"

struct backend;

struct backend_ops {
	/*
	 * Begin one request; io_done() follows now or later, exactly once. A
	 * request that io_take() answered with IO_LATER comes again, or goes
	 * to forget().
	 */
	void (*submit)(struct backend *backend, struct io *io);

	/*
	 * In place of that: the request's data does not come, and somebody else
	 * answers it. What the backend has for it can be used for others. May be
	 * NULL; a layer has none.
	 */
	void (*forget)(struct backend *backend, struct io *io);

	/*
	 * What it put into the port's ring for that request, with the data
	 * io_own_data(), has completed with the kernel's result. NULL: it puts
	 * nothing there; a layer does not.
	 */
	void (*completed)(struct backend *backend, struct io *io,
			  int32_t result);

	/*
	 * Answer those of the requests that io_is_due() and that wait here, not
	 * in the backing. The others that are due become late then: for those,
	 * too, io_done() follows once, when nothing of theirs is in use any
	 * more. NULL: none ever waits; a layer has none.
	 */
	void (*expire)(struct backend *backend);

	/* See io_done_lent(); NULL: it does not call that; a layer does not. */
	void (*copied)(struct backend *backend, struct io *io);

	/*
	 * A queue's ring is there, and has seen no request: the target's file
	 * can become its fixed file 1. Returns 0 or a negative errno; may be
	 * NULL; a layer has none.
	 */
	int (*start)(struct backend *backend, struct io_port *port);

	/*
	 * The ring goes, and none of its requests is the backend's: nor may
	 * anything else be that the backend has put there (struct ring_op). May
	 * be NULL; a layer has none. Also without start().
	 */
	void (*stop)(struct backend *backend, struct io_port *port);
};

struct backend {
	const struct backend_ops *ops;
};

#endif
