/*
 * One queue of a device: a ring that FETCHes requests, hands them to the
 * target and COMMITs what is done.
 */
#ifndef UBLKD_QUEUE_H
#define UBLKD_QUEUE_H

#include <stdint.h>

#include "backend.h"
#include "io.h"
#include "loop.h"
#include "base/uapi.h"

struct queue;

/*
 * Told once every tag has been given up by the driver, after a STOP (error 0),
 * and for the first tag that the driver refused (a negative errno).
 */
typedef void queue_event(struct queue *queue, int error);

struct queue {
	struct io_port port;
	struct loop_ring wake;	/* its ring in the loop */
	struct loop_timer trim; /* gives memory back once it is idle */
	struct backend *top;	/* that requests are handed to */
	const struct ublk_io_desc *descriptors; /* depth of them, mapped */
	struct io *ios;				/* depth of them */
	uint64_t turn_bytes; /* of requests taken in this turn */
	uint16_t depth;
	uint16_t retired; /* tags that the driver does not have, or gave up */
	int refused;	  /* it refused one, and that has been told */
	int is_batch;	  /* with the commands of batch.h */
	queue_event *event;
	void *owner;
};

/* What the queues of a device have in common. */
struct queue_shape {
	uint16_t depth;
	enum io_mode mode;
	int batch;		   /* with the commands of batch.h */
	int defer;		   /* its ring may be one with RING_DEFER */
	uint32_t max_io;	   /* bytes */
	struct recorder *recorder; /* the device's, or NULL */
};

/*
 * Open queue `id` of a device: its memory and its ring, of which the kernel may
 * be short. The driver is not involved yet. The bottom is the backend that moves
 * the data; others may be put before it in queue->top. Returns 0 or a negative
 * errno, with everything undone.
 */
int queue_open(struct queue *queue, uint16_t id,
	       const struct queue_shape *shape, struct backend *bottom,
	       queue_event *event, void *owner) __attribute__((cold));

/*
 * Ask for its requests on the char device fd (not owned). Returns 0 or a negative
 * errno: then no tag is waited for, and it is to be closed.
 */
int queue_start(struct queue *queue, struct ev_loop *loop, int fd);

/*
 * Close it. No request may be ours any more, or late. Harmless on a queue that is all
 * zero or closed.
 */
void queue_close(struct queue *queue) __attribute__((cold));

/* The request that the tag has now, or had last. */
static inline struct io *queue_io(const struct queue *queue, uint16_t tag)
{
	return io_of_tag(&queue->port, tag);
}

/* Its ring's descriptor, which stays its own. */
int queue_ring_fd(const struct queue *queue);

/* Whether the driver has given up every tag. */
int queue_is_retired(const struct queue *queue);

#endif
