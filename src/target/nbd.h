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

#define NBD_LINKS      16u	   /* connections of a device at most */
#define NBD_BATCH      64u	   /* pieces that one message sends */
#define NBD_BATCH_DATA (1u << 20)  /* bytes of writes in it, or a little more */
#define NBD_RECEIVE    (64u << 10) /* bytes that are received at a time */
#define NBD_CHUNK      64u	   /* requests that are allocated at a time */
#define NBD_CHUNKS     1024u /* the lower 16 bits of a cookie are an index */

/* A request from submit() to io_done(). */
struct nbd_request {
	struct io *io;		  /* NULL: nobody has it */
	struct nbd_request *next; /* in a line, or of those that are free */
	struct nbd_link *link;	  /* that it goes by; NULL: it waits for one */
	/* By which a reply names it; 0: not sent. None is ever used twice. */
	uint64_t cookie;
	uint64_t writes; /* of a flush: what nbd->writes was when it was sent */
	uint32_t at;	 /* bytes of its data that are sent, or received */
	int error;	 /* of moving those that were received */
	uint16_t index;
	uint8_t is_queued;   /* in a line: not all of it is in a message */
	uint8_t is_flushing; /* a durable write is done, and its flush is not */
	uint8_t mark;	     /* of workers_enter(), with a cookie */
};

/* Requests that are to be sent. */
struct nbd_line {
	struct nbd_request *first, *last; /* last: only if there is a first */
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

/*
 * A connection of a device, one after the other, and the transmission on it, in the
 * ring of one of the queues.
 */
struct nbd_link {
	struct nbd *nbd;
	int fd;		      /* -1: there is none */
	struct io_port *port; /* NULL: no queue has begun */
	int is_broken;	      /* it ends when the kernel lets go of it */
	int is_left;	/* by us: what the server has answered is still there */
	int is_again;	/* it had a connection before */
	uint64_t size;	/* bytes of the export, as this connection has it */
	uint64_t begun; /* nbd->serial when it was made */
	uint64_t since; /* see nbd_link_ended() */
	unsigned count; /* requests that go by it */
	struct nbd_line line;
	struct nbd_send send;
	struct nbd_receive receive;
	void *reserve; /* POOL_RESERVE bytes */
	int reserve_is_used;
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

	/* Queues that have begun, as many as can have a connection; and those. */
	struct io_port *ports[NBD_LINKS];
	struct nbd_link *links[NBD_LINKS];
	unsigned port_count, link_count;
	unsigned connected; /* links with a descriptor */
	unsigned wants;	    /* connections that were asked for; 0: as suits */
	uint64_t pooled;    /* bytes of the pool's buffers that it has */

	/* Requests. */
	struct nbd_request *chunks[NBD_CHUNKS], *spare;
	unsigned chunk_count, count; /* count: that are not done */
	uint64_t serial;	     /* of the last cookie, or the last link */
	struct nbd_line waiting;     /* for a connection */
	struct loop_timer silence; /* runs while some may be late, and then: */
	int has_said; /* the server: anything, since the timer was started */

	/*
	 * Writes that were answered, and may not be durable; so many of them were
	 * when the last flush that has succeeded was sent.
	 */
	uint64_t writes, flushed;

	/*
	 * What nbd->serial was when a connection broke last, and when the oldest
	 * one's server is known to have lived.
	 */
	uint64_t broken, alive;

	/* Connecting again; see nbd.c. */
	struct nbd_attempt *attempt;
	struct loop_timer timer; /* to the next attempt */
	double pause;		 /* s before that */
	struct loop_timer lasts; /* since the newest connection was made */
	int has_lasted;		 /* there is a connection, a good one */
	int is_told;		 /* the log knows that there is none, */
	int is_fewer_told;	 /* or that there are fewer than wanted */
	uint64_t reconnected;	 /* so many times */
	char why[200]; /* one is missing; "": none, or nobody has tried */
};

/* ---- nbd-io.c: requests and replies on a connection ---- */

/* Returns a link without a connection, or NULL without memory. */
struct nbd_link *nbd_link_new(struct nbd *nbd);

/* Closed, and the kernel has nothing of it. */
void nbd_link_free(struct nbd_link *link);

/* Whether requests can go by it. */
static inline int nbd_link_is_live(const struct nbd_link *link)
{
	return link->fd >= 0 && !link->is_broken;
}

/* Whether the kernel has memory of it. */
static inline int nbd_link_is_busy(const struct nbd_link *link)
{
	return link->send.is_busy || link->receive.is_busy;
}

/* Send what is lined up; and receive what comes. Harmless if it is not live. */
void nbd_link_send(struct nbd_link *link);
void nbd_link_receive(struct nbd_link *link);

/* It ends: nbd_link_ended() follows, now or later. Harmless if it is not live. */
void nbd_link_break(struct nbd_link *link, const char *why);

/* All end: nothing that one of them had goes by another one. */
void nbd_break_all(struct nbd *nbd, const char *why);

/* The same: nobody comes any more, which the server hears if it listens. */
void nbd_link_leave(struct nbd_link *link);

/* ---- nbd-flight.c: requests, and what becomes of them ---- */

/* The backend's. */
void nbd_submit(struct backend *backend, struct io *io);
void nbd_expire(struct backend *backend);
int nbd_start(struct backend *backend, struct io_port *port);
void nbd_stop(struct backend *backend, struct io_port *port);

/* The target's: what a server has, and may do later, is as if in a worker. */
unsigned nbd_in_workers(const struct target *target);
void nbd_go_on(struct target *target);

/*
 * fd, which is the target's from now on, is a connection that has seen no request;
 * the link has none.
 */
void nbd_use(struct nbd_link *link, int fd, uint64_t size);

/* The kernel has let go of the connection, which is closed. */
void nbd_link_ended(struct nbd_link *link);

/* All that waits gets -EIO. */
void nbd_fail_all(struct nbd *nbd);

/* All that was allocated for requests. */
void nbd_free_requests(struct nbd *nbd);

/* The one that a reply is for, or NULL: nobody has asked for such a thing. */
struct nbd_request *nbd_find_request(const struct nbd_link *link,
				     uint64_t cookie);

/* It goes by that name from now on. */
void nbd_name_request(struct nbd_request *request);

/* The server has answered with 0, and all data is there, or with a negative errno. */
void nbd_take_answer(struct nbd_request *request, int error);

/* The first of the link's line cannot be sent, nor was any of it. */
void nbd_refuse_first(struct nbd_link *link, int error);

/* The sender wants it on the disk before it is answered. */
int nbd_is_durable(const struct nbd *nbd, const struct io *io);

/* A flush, or the flush that follows a durable write. */
static inline int nbd_flushes(const struct nbd_request *request)
{
	return request->is_flushing || request->io->op == IO_FLUSH;
}

/* The timer of a server that says nothing. */
void nbd_on_silence(struct loop_timer *timer);

/* ---- nbd.c ---- */

/* Why there is no connection. */
void nbd_say_why(struct nbd *nbd, const char *why);

/* A connection has ended, by no doing of ours. */
void nbd_disconnected(struct nbd *nbd);

/* The device is told what the export can do, of which the next server hears. */
void nbd_note_flags(struct nbd *nbd);

/* Connect, unless that is under way, or done. */
void nbd_connect_now(struct nbd *nbd);

/* Nor is an attempt that is under way of any use. */
void nbd_connect_no_more(struct nbd *nbd);

/* Whether writes that were answered may be lost: the next flush fails. */
int nbd_has_lost(const struct nbd *nbd);
void nbd_set_lost(struct nbd *nbd, int has_lost);

#endif
