/*
 * One end of the socketpair between keeper and server, on a libev loop.
 */
#ifndef UBLKD_CHANNEL_H
#define UBLKD_CHANNEL_H

#include <ev.h>

#include "message.h"

struct channel_item;
struct channel;

/* A message has come. The descriptors are the receiver's to close. */
typedef void channel_receive(struct channel *channel,
			     const struct message *message, const int *fds,
			     int fd_count);

/* The other end is gone, or talks nonsense. The channel is closed already. */
typedef void channel_gone(struct channel *channel);

struct channel {
	struct ev_loop *loop;
	int fd; /* -1: closed */
	ev_io reader, writer;
	struct channel_item *first, **last; /* what the socket did not take */
	channel_receive *receive;
	channel_gone *gone;
	void *owner;
};

/* Begin to read fd, which the channel owns from now on. */
void channel_open(struct channel *channel, struct ev_loop *loop, int fd,
		  channel_receive *receive, channel_gone *gone, void *owner);

/*
 * Send a message; the descriptors are duplicated by the kernel. Never waits:
 * what the socket does not take is kept and sent later, in order. Returns 0,
 * -EPIPE if the other end is gone, or -ENOMEM.
 */
int channel_send(struct channel *channel, const struct message *message,
		 const int *fds, int fd_count);

void channel_close(struct channel *channel);

/*
 * The process at the other end has ended: take what it had sent, and close;
 * somebody else may still have that end. gone() is not called.
 */
void channel_finish(struct channel *channel);

/* Close what came with a message. */
void channel_close_fds(const int *fds, int fd_count);

/*
 * The same without a loop, on a socket that is no channel's. To send never
 * waits: 0 or a negative errno. To receive waits as long as the socket does
 * (SO_RCVTIMEO): 1 for a message, 0 after that time, -1 at the end.
 */
int channel_send_now(int fd, const struct message *message, const int *fds,
		     int fd_count);
int channel_receive_now(int fd, struct message *message, int *fds,
			int *fd_count);

#endif
