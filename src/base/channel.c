#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

#define TURN_MAX 32 /* messages read before others get a turn */

struct channel_item {
	struct channel_item *next;
	struct message message;
	int fds[MESSAGE_MAX_FDS]; /* our own */
	int fd_count;
};

union control_space {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int) * MESSAGE_MAX_FDS)];
};

int channel_send_now(int fd, const struct message *message, const int *fds,
		     int fd_count)
{
	struct iovec vector = { (void *)message, message_length(message) };
	struct msghdr header = { .msg_iov = &vector, .msg_iovlen = 1 };
	size_t length = sizeof(int) * (size_t)fd_count;
	union control_space control;

	if (fd_count) {
		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(length);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(length);
		memcpy(CMSG_DATA(&control.header), fds, length);
	}
	if (sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	/* ECONNRESET: the other end left with messages unread. */
	return errno == ECONNRESET ? -EPIPE : -errno;
}

void channel_close_fds(const int *fds, int fd_count)
{
	while (fd_count)
		close(fds[--fd_count]);
}

static void item_free(struct channel_item *item)
{
	channel_close_fds(item->fds, item->fd_count);
	free(item);
}

static int keep_unsent(struct channel *channel, const struct message *message,
		       const int *fds, int fd_count)
{
	struct channel_item *item = malloc(sizeof(*item));

	if (!item)
		return -ENOMEM;
	item->next = NULL;
	item->fd_count = 0;
	item->message = *message;
	for (; item->fd_count < fd_count; item->fd_count++) {
		int fd = fcntl(fds[item->fd_count], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			item_free(item);
			return -errno;
		}
		item->fds[item->fd_count] = fd;
	}
	*channel->last = item;
	channel->last = &item->next;
	ev_io_start(channel->loop, &channel->writer);
	return 0;
}

int channel_send(struct channel *channel, const struct message *message,
		 const int *fds, int fd_count)
{
	int error;

	if (channel->fd < 0)
		return -EPIPE;
	if (channel->first)
		return keep_unsent(channel, message, fds, fd_count);
	error = channel_send_now(channel->fd, message, fds, fd_count);
	if (error == -EAGAIN || error == -ENOBUFS)
		return keep_unsent(channel, message, fds, fd_count);
	return error;
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct channel *channel = watcher->data;
	struct channel_item *item;

	(void)events;
	while ((item = channel->first)) {
		int error = channel_send_now(channel->fd, &item->message,
					     item->fds, item->fd_count);

		if (error == -EAGAIN || error == -ENOBUFS)
			return;
		/* A message is lost: no answer to it may be waited for. */
		if (error)
			shutdown(channel->fd, SHUT_RDWR);
		channel->first = item->next;
		if (!channel->first)
			channel->last = &channel->first;
		item_free(item);
	}
	ev_io_stop(loop, watcher);
}

static int take_fds(struct msghdr *header, int *fds)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(header);
	size_t length;

	if (!control || control->cmsg_level != SOL_SOCKET ||
	    control->cmsg_type != SCM_RIGHTS)
		return 0;
	length = control->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(control), length);
	return (int)(length / sizeof(int));
}

/*
 * Returns 1 for a message, 0 when there is none just now, -1 at the end; the
 * type is 0 when there was nothing but an end of the other side to tell.
 */
static int receive_message(int fd, int flags, struct message *message, int *fds,
			   int *count)
{
	struct iovec vector = { .iov_len = sizeof(*message) };
	union control_space control;
	struct msghdr header = { .msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control) };
	ssize_t got;

	memset(message, 0, sizeof(*message));
	vector.iov_base = message;
	*count = 0;
	got = recvmsg(fd, &header, flags | MSG_CMSG_CLOEXEC);
	/* ECONNRESET is told once; what the other end had sent comes after it. */
	if (got < 0 && errno == ECONNRESET)
		return 1;
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (got == 0)
		return -1;
	*count = take_fds(&header, fds);
	if (got >= (ssize_t)offsetof(struct message, info) &&
	    !(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
	    message->magic == MESSAGE_MAGIC)
		return 1;
	log_error("a message of the other process is not whole, or of another "
		  "version");
	channel_close_fds(fds, *count);
	*count = 0;
	return -1;
}

static int receive_one(struct channel *channel)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count;
	int got = receive_message(channel->fd, MSG_DONTWAIT, &message, fds,
				  &count);

	if (got > 0 && message.type)
		channel->receive(channel, &message, fds, count);
	return got;
}

int channel_receive_now(int fd, struct message *message, int *fds,
			int *fd_count)
{
	int got;

	do
		got = receive_message(fd, 0, message, fds, fd_count);
	while (got > 0 && !message->type);
	return got;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct channel *channel = watcher->data;
	int turn, got = 1;

	(void)loop;
	(void)events;
	for (turn = 0; turn < TURN_MAX && got > 0; turn++) {
		got = receive_one(channel);
		if (channel->fd < 0)
			return;
	}
	if (got < 0) {
		channel_close(channel);
		channel->gone(channel);
	}
}

void channel_open(struct channel *channel, struct ev_loop *loop, int fd,
		  channel_receive *receive, channel_gone *gone, void *owner)
{
	memset(channel, 0, sizeof(*channel));
	channel->loop = loop;
	channel->fd = fd;
	channel->last = &channel->first;
	channel->receive = receive;
	channel->gone = gone;
	channel->owner = owner;
	ev_io_init(&channel->reader, on_readable, fd, EV_READ);
	ev_io_init(&channel->writer, on_writable, fd, EV_WRITE);
	channel->reader.data = channel;
	channel->writer.data = channel;
	ev_io_start(loop, &channel->reader);
}

void channel_close(struct channel *channel)
{
	struct channel_item *item;

	if (channel->fd < 0)
		return;
	ev_io_stop(channel->loop, &channel->reader);
	ev_io_stop(channel->loop, &channel->writer);
	close(channel->fd);
	channel->fd = -1;
	while ((item = channel->first)) {
		channel->first = item->next;
		item_free(item);
	}
	channel->last = &channel->first;
}

void channel_finish(struct channel *channel)
{
	while (channel->fd >= 0 && receive_one(channel) > 0)
		;
	channel_close(channel);
}
