/*
 * One request in flight, and what the requests of one queue share.
 */
#ifndef UBLKD_REQUEST_H
#define UBLKD_REQUEST_H

#include <stdint.h>

#include "ring.h"

struct batch;
struct backend;
struct late;
struct recorder;
struct sight_tag;

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
#define IO_NO_BUFFER  4u /* zero copy: its pages could not be registered */
#define IO_KEPT	      8u /* a layer keeps it */

/* How data moves between a request and us; `add` has them in this order. */
enum io_mode {
	IO_USER_COPY,	  /* by pread and pwrite on the char device */
	IO_ZERO_COPY,	  /* not at all, the target uses the pages themselves */
	IO_NEED_GET_DATA, /* by the driver, at an address told per request */
	IO_COPY,	  /* by the driver, from and to a buffer a tag */
	IO_MODES,
};

/* Where the data of a write is, in need-get-data. */
enum io_data {
	IO_DATA_HERE,	 /* nothing to be taken, or it has been */
	IO_DATA_WAITS,	 /* with the driver */
	IO_DATA_ASKED,	 /* on its way to where the target wants it */
	IO_DATA_DROPPED, /* the same, and the request is done already */
	IO_DATA_LATE, /* none: the request was answered without its backing */
};

/*
 * Data of what is put into a port's ring. Below IO_OWN are the queue's commands:
 * the tag, or what batch.c makes of it. IO_OWN and the index of a struct io is a
 * request that the bottom backend has put there for that one; above are others',
 * see ring.h.
 */
#define IO_OWN 32768u

/*
 * What a queue needs for requests that are late (late.h). The arrays but `current`
 * are by the index of a struct io in the port's ios.
 */
struct late {
	struct io_port *port;
	struct late *next, **link; /* in the list of who watches it, or NULL */
	struct io **current;	   /* by tag: the one that serves it now */
	struct io *spare;	   /* those that have been used, by `next` */
	uint32_t fresh;		   /* from here on none has been used */
	uint32_t spares;	   /* in all: late ones, and what is left */
	uint32_t count;		   /* requests that are late, */
	uint16_t *which;	   /* and their indexes */
	uint32_t *given;	   /* when it came to the target; 0: not yet; */
#define LATE_DUE UINT32_MAX	   /* its time is over */
	uint64_t *since; /* us: a late one was delivered; 0: unknown */

	/*
	 * Tell of requests that have timed out, the first of them *io; and that
	 * no request is late any more. NULL: no.
	 */
	void (*timed_out)(void *owner, const struct io *io, unsigned count);
	void (*ended)(void *owner);
	void *owner;
};

/* What the requests of one queue share. */
struct io_port {
	struct ring *ring; /* its fixed file 0 is the char device */
	int fd;		   /* the char device */
	uint16_t queue_id;
	uint8_t mode;	     /* enum io_mode */
	uint8_t active;	     /* a request has begun since io_trim() */
	uint8_t is_special;  /* commands need more than its tag and address */
	int in_turn;	     /* the queue submits when its turn ends */
	unsigned owned;	     /* requests that are ours at the moment */
	int holds;	     /* memory that io_trim() may give back */
	struct batch *batch; /* commits go there, or NULL */
	struct recorder *recorder; /* the device's, or NULL */
	struct sight_tag *entries; /* the tags' in its large part, or NULL */
	struct io_port *next;	   /* of those that the recorder has */
	struct backend *bottom;	   /* that moves the data */
	struct io *lent;   /* done by io_done_lent(), linked by `next` */
	struct late *late; /* NULL: none can be late (late.h) */

	/* Copy: the tags' buffers, one behind the other. */
	uint8_t *buffers;
	uint32_t buffer_size; /* bytes of one */
	uint16_t depth;
	uint16_t trimmed; /* so many tags' have been freed by io_trim() */
	struct io *ios;	  /* depth of them, and spare ones (late.h) */

	uint64_t count[IO_OPS], bytes[IO_OPS], errors;
};

/*
 * A cache line. There is one for every tag of every queue, whether it is used or
 * not, so what is never needed at the same time lies in the same place.
 */
struct io {
	struct io_port *port;
	uint64_t offset; /* bytes from the start of the device */
	uint32_t length; /* bytes */
	uint16_t tag;
	uint8_t op;
	uint8_t flags;
	uint8_t owned; /* ours: delivered and not yet done; one of: */
#define IO_IN_HAND 1   /* its first submit() has it */
#define IO_PARKED  2   /* it waits, and has the tag's entry (recorder.h) */
#define IO_UNSEEN \
	64		 /* it waits in the place (base/sight.h) that is added
			  * to this, and another request has the entry */
	uint8_t data;	 /* enum io_data */
	int16_t outcome; /* of the last COMMIT, or of the next one if it waits
			  * for the data: 0 or a negative errno; or this: */
#define IO_FETCHED 1	 /* it has had no request yet */
	union {
		uint32_t dirty; /* copy: bytes of its buffer not known zero */
		uint32_t room;	/* other modes: bytes of the file's buffer */
	};
	const void *address; /* of the data, for the driver */

	union {
		/* The delay or limit layer's, while it keeps the request. */
		struct {
			struct io *child, *sibling;
			double due; /* s, of the monotonic clock */
		};
		/* The file target's, while it has the request. */
		struct {
			struct io *next; /* of those that wait, or are lent */
			void *buffer;	 /* from the pool, or NULL */
			union {
				uint32_t at; /* bytes that are done */
				/* A flush: the file's, when it began. */
				uint32_t flush_errors;
			};
			uint8_t tries;
			uint8_t token; /* of workers.h, or 0 */
			uint8_t stage : 2;
			/* It was tried without a wait, in vain. */
			uint8_t must_wait : 1;
			/* Its data is, though its pages are registered. */
			uint8_t is_copied : 1;
			/* Of a file something else is asked for it (file_ask()), */
			uint8_t is_asked : 1;
			uint8_t asks_read : 1; /* which reads */
			uint8_t in_base : 1;   /* cow: the file is the base */
			uint8_t work;	       /* cow: 1 + the index, or 0 */
		};
	};
};
_Static_assert(sizeof(struct io) <= 64, "one cache line");

/* The one that serves a tag now: not always that with the tag's index. */
static inline struct io *io_of_tag(const struct io_port *port, uint16_t tag)
{
	return port->late ? port->late->current[tag] : &port->ios[tag];
}

#endif
