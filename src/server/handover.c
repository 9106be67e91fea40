#include "handover.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* The table, as a keeper gives one to a server. */
static __attribute__((cold)) int send_table(struct handover *handover)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_BEGIN,
				   .number = (uint64_t)getpid() };
	int fds[MESSAGE_MAX_FDS] = { handover->listener, handover->fd };
	int error = channel_send(&handover->channel, &message, fds, 2);
	const struct device *device = handover->host->devices.first;

	for (; device && !error; device = device->next) {
		int count = target_hold(device->spec.target, fds);

		/* It is deleted, or was never held. */
		if (device->step > DEVICE_DELETE || count < 0)
			continue;
		message.type = MESSAGE_DEVICE;
		message.id = device->spec.id;
		error = channel_send(&handover->channel, &message, fds, count);
		if (!error)
			error = device_send_tally(device, &handover->channel);
		if (!error)
			error = device_send_rings(device, &handover->channel);
	}
	message.type = MESSAGE_TABLE_END;
	return error ? error
		     : channel_send(&handover->channel, &message, NULL, 0);
}

/* Tallies may have changed since the table was sent. */
static void send_tallies(struct handover *handover)
{
	const struct device *device = handover->host->devices.first;

	for (; device; device = device->next)
		device_send_tally(device, &handover->channel);
}

static void on_message(struct channel *channel, const struct message *message,
		       const int *fds, int fd_count)
{
	struct handover *handover = channel->owner;

	channel_close_fds(fds, fd_count);
	if (message->type != MESSAGE_LEAVE)
		return;
	send_tallies(handover);
	handover->leave(handover);
}

/* That keeper could not begin, or changed its mind: the next one may try. */
static void on_gone(struct channel *channel)
{
	struct handover *handover = channel->owner;

	log_warning("a keeper asked for the devices but did not take them");
	ev_io_start(handover->loop, &handover->watcher);
}

static int is_trusted(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void on_connection(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct handover *handover = watcher->data;
	int fd =
		accept4(handover->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	if (!is_trusted(fd)) {
		close(fd);
		return;
	}
	/* One at a time. */
	ev_io_stop(loop, watcher);
	channel_open(&handover->channel, loop, fd, on_message, on_gone,
		     handover);
	if (send_table(handover) < 0) {
		channel_close(&handover->channel);
		ev_io_start(loop, watcher);
	}
}

void handover_open(struct handover *handover)
{
	handover->channel.fd = -1;
	ev_io_init(&handover->watcher, on_connection, handover->fd, EV_READ);
	handover->watcher.data = handover;
	ev_io_start(handover->loop, &handover->watcher);
}

void handover_close(struct handover *handover)
{
	if (!handover->host)
		return;
	ev_io_stop(handover->loop, &handover->watcher);
	channel_close(&handover->channel);
}
