/* What the parts of the NBD target share. */
#ifndef UBLKD_TARGET_NBD_H
#define UBLKD_TARGET_NBD_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "io/loop.h"
#include "io/ring.h"
#include "nbd-connect.h"
#include "target.h"

#define NBD_WIRE_REQUEST 28u /* bytes of a request's head, */
#define NBD_WIRE_REPLY	 16u /* and of a reply's */

#define NBD_BATCH      64u	   /* pieces that one message sends */
#define NBD_BATCH_DATA (1u << 20)  /* bytes of writes in it, or a little more */
#define NBD_RECEIVE    (64u << 10) /* bytes that are received at a time */
#define NBD_CHUNK      64u	   /* requests that are allocated at a time */
#define NBD_CHUNKS     1024u /* the lower 16 bits of a cookie are an index */

/* A request from submit() to io_done(). */
struct nbd_request {
	struct io *io;		  /* NULL: nobody has it */
	struct nbd_request *next; /* in the queue, or of those that are free */
	/* By which a reply names it; 0: not sent. None is ever used twice. */
	uint64_t cookie;
	uint64_t writes; /* of a flush: what nbd->writes was when it was sent */
	uint32_t at;	 /* bytes of its data that are sent, or received */
	int error;	 /* of moving those that were received */
	uint16_t index;
	uint8_t is_queued;   /* not all of it is in the message, or was */
	uint8_t is_flushing; /* a durable write is done, and its flush is not */
	uint8_t mark;	     /* of workers_enter(), with a cookie */
};

/* A piece of the message: a head, data or both, in two of its iovecs. */
struct nbd_piece {
	uint8_t head[NBD_WIRE_REQUEST];
	void *buffer; /* of the pool, or the reserve; NULL: none */
	uint32_t room;
};

/*
 * The message that is being sent. What is put behind its end while the kernel has
 * it goes with the next one, unless the kernel has not looked yet: the result says
 * how many bytes went.
 */
struct nbd_send {
	struct ring_op op;
	int is_busy;
	unsigned first, count; /* pieces that have to go: from first to count */
	size_t bytes;	       /* of data in them */
	struct msghdr message;
	struct nbd_piece pieces[NBD_BATCH];
	struct iovec vectors[2 * NBD_BATCH];
};

struct nbd_receive {
	struct ring_op op;
	int is_busy;
	int is_direct;		     /* into the request's own buffer */
	struct nbd_request *request; /* whose data comes; NULL: a head does */
	uint32_t have;		     /* bytes at the start of the buffer */
	uint8_t *buffer;	     /* NBD_RECEIVE bytes */
};

/* An attempt to connect, which may outlive its target. */
struct nbd_attempt {
	struct nbd *nbd; /* NULL: it is closed */
};

struct nbd {
	struct target target;
	struct ev_loop *loop;
	char *uri;		  /* as given */
	char *question;		  /* for the helper, who connects */
	struct nbd_export export; /* as the last connection has it */
	uint64_t size;		  /* bytes that are served */
	uint32_t block_size;
	uint32_t max_io; /* bytes of the largest request */
	int read_only, durable, reconnects;
	int discards; /* the device may discard and zero, if the server can */

	/* The connection, in the ring of the first queue. */
	int fd;		      /* -1: there is none */
	struct io_port *port; /* NULL: that queue has not begun */
	int is_broken;	      /* it ends when the kernel lets go of it */
	int is_left; /* by us: what the server has answered is still there */
	struct loop_timer silence; /* runs while some may be late, and then: */
	int has_said; /* the server: anything, since the timer was started */
	struct nbd_send send;
	struct nbd_receive receive;
	void *reserve; /* POOL_RESERVE bytes */
	int reserve_is_used;
	uint64_t pooled; /* bytes of the pool's buffers that it has */

	/* Requests. */
	struct nbd_request *chunks[NBD_CHUNKS], *spare;
	unsigned chunk_count, count;	  /* count: that are not done */
	uint64_t serial;		  /* of the last cookie */
	struct nbd_request *first, *last; /* to be sent */

	/*
	 * Writes that were answered, and may not be durable; so many of them were
	 * when the last flush that has succeeded was sent.
	 */
	uint64_t writes, flushed;

	/* Connecting again; see nbd.c. */
	struct nbd_attempt *attempt;
	struct loop_timer timer; /* to the next attempt, or of a connection */
	double pause;		 /* s before the next attempt */
	int is_told;		 /* the log knows that there is no connection */
	uint64_t connections;
	char why[200]; /* there is none; "": there is, or nobody has tried */
};

/* ---- nbd-io.c ---- */

/* The backend's; the timer of a server that says nothing. */
void nbd_submit(struct backend *backend, struct io *io);
void nbd_expire(struct backend *backend);
void nbd_on_silence(struct loop_timer *timer);
int nbd_start(struct backend *backend, struct io_port *port);
void nbd_stop(struct backend *backend, struct io_port *port);

/* The target's: what a server has, and may do later, is as if in a worker. */
unsigned nbd_in_workers(const struct target *target);
void nbd_go_on(struct target *target);

/* fd, which is the target's, is a connection that has seen no request. */
void nbd_use(struct nbd *nbd, int fd);

/* The server is told that nobody comes any more, if it listens; fd is closed. */
void nbd_leave(struct nbd *nbd);

/* All that waits gets -EIO. */
void nbd_fail_all(struct nbd *nbd);

/* ---- nbd.c ---- */

/* Why there is no connection. */
void nbd_say_why(struct nbd *nbd, const char *why);

/* There is no connection any more, and requests may wait for another one. */
void nbd_disconnected(struct nbd *nbd);

/* The device is told what the export can do, of which the next server hears. */
void nbd_note_flags(struct nbd *nbd);

/* Connect, unless that is under way, or done. */
void nbd_connect_now(struct nbd *nbd);

/* Whether writes that were answered may be lost: the next flush fails. */
int nbd_has_lost(const struct nbd *nbd);
void nbd_set_lost(struct nbd *nbd, int has_lost);

#endif
