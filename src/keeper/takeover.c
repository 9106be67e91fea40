#include "takeover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/channel.h"

#define PATIENCE     5 /* s that a server may take for an answer, or to leave */
#define END_PATIENCE 2000 /* ms from there to the end of its process */

static int set_handover_address(struct sockaddr_un *address, const char *folder)
{
	int length;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	length = snprintf(address->sun_path, sizeof(address->sun_path),
			  "%s/server.sock", folder);
	return length < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

/* A stale one is replaced: nobody answers there. Returns it or -errno. */
static int make_handover(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);
	mode_t old = umask(0177);
	int error;

	unlink(address->sun_path);
	error = fd < 0 ||
				bind(fd, (const struct sockaddr *)address,
				     sizeof(*address)) < 0 ||
				listen(fd, 1) < 0
			? -errno
			: 0;
	umask(old);
	if (error && fd >= 0)
		close(fd);
	return error ? error : fd;
}

/* Returns a socket, or -errno. */
static int connect_handover(const struct sockaddr_un *address)
{
	struct timeval patience = { .tv_sec = PATIENCE };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) ==
	    0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

/*
 * The process number means the server as long as the server has not gone, which the
 * socket tells. A server that cannot be held is not waited for at its end.
 */
static void hold_server(struct takeover *takeover, pid_t pid)
{
	struct pollfd end = { .fd = takeover->fd, .events = POLLRDHUP };

	if (proc_open(&takeover->server, pid) == 0 && poll(&end, 1, 0) != 0)
		proc_close(&takeover->server);
}

/* Returns 1 when that was the last, 0 to go on, -1 for nonsense. */
static int take_message(struct takeover *takeover,
			const struct message *message, const int *fds,
			int fd_count)
{
	switch (message->type) {
	case MESSAGE_BEGIN:
		if (fd_count != 2 || takeover->listener >= 0)
			break;
		takeover->listener = fds[0];
		takeover->handover = fds[1];
		hold_server(takeover, (pid_t)message->number);
		return 0;
	case MESSAGE_DEVICE:
	case MESSAGE_TALLY:
		return entry_from_message(&takeover->found, message, fds,
					  fd_count);
	case MESSAGE_RING:
		channel_close_fds(fds, fd_count);
		/* Without the ring that server's end is as risky as it was. */
		rings_take(&takeover->rings, &takeover->server, message->id,
			   (int)message->number);
		return 0;
	case MESSAGE_TABLE_END:
		channel_close_fds(fds, fd_count);
		return takeover->listener >= 0 ? 1 : -1;
	default:
		break;
	}
	channel_close_fds(fds, fd_count);
	return -1;
}

int takeover_read_table(struct takeover *takeover, int fd)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count, got;

	do {
		got = channel_receive_now(fd, &message, fds, &count);
		if (got <= 0)
			return got;
		got = take_message(takeover, &message, fds, count);
	} while (got == 0);
	return got;
}

static void close_server(struct takeover *takeover)
{
	if (takeover->fd >= 0)
		close(takeover->fd);
	if (takeover->listener >= 0)
		close(takeover->listener);
	takeover->fd = takeover->listener = -1;
}

/*
 * Ask a server for its table. One that is dying does not tell all of it; its end is
 * waited for before anybody is asked again, for it takes no question any more.
 * Returns 1 for a whole table, 0 when nobody is there, or a negative errno.
 */
static int ask_for_table(struct takeover *takeover,
			 const struct sockaddr_un *address, struct dying *dying)
{
	int fd, got, error = 0;
	pid_t server;

	do {
		fd = connect_handover(address);
		if (fd == -ENOENT || fd == -ECONNREFUSED)
			return 0;
		/* A full backlog, for instance, is somebody. */
		if (fd < 0)
			return fd;
		takeover->fd = fd;
		server = proc_peer(fd);
		while (!error && proc_is_dying(server))
			error = dying_wait(dying, server);
		got = error ? error : takeover_read_table(takeover, fd);
		if (got > 0)
			return 1;
		if (takeover->handover >= 0)
			close(takeover->handover);
		takeover->handover = -1;
		close_server(takeover);
		rings_drop(&takeover->rings);
		proc_close(&takeover->server);
		if (got == 0)
			error = -ETIMEDOUT;
		else if (!error)
			error = dying_wait(dying, server);
	} while (!error);
	return error;
}

int takeover_begin(struct takeover *takeover, const char *folder,
		   struct failure *failure)
{
	struct dying dying = { .what = folder, .grace = DYING_GRACE };
	struct sockaddr_un address;
	int error = set_handover_address(&address, folder), got = 0;

	takeover->fd = takeover->listener = takeover->handover = -1;
	if (!error)
		got = ask_for_table(takeover, &address, &dying);
	if (got < 0 && dying.looks == DYING_LOOKS)
		return dying_failure(&dying, got, failure);
	if (got < 0)
		return failure_set(failure, SYMBOL_BUSY, got, NULL,
				   "a server without a keeper does not answer "
				   "(%s); its disks stay up until it is killed",
				   strerror(-got));
	if (got == 0)
		takeover->handover = error ? error : make_handover(&address);
	if (takeover->handover >= 0)
		return 0;
	error = takeover->handover;
	takeover->handover = -1;
	return failure_set(failure, failure_symbol(error), error, NULL,
			   "cannot listen on %s: %s", address.sun_path,
			   strerror(-error));
}

void takeover_leave(struct takeover *takeover)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_LEAVE };

	/* If that fails the server is gone already. */
	channel_send_now(takeover->fd, &message, NULL, 0);
}

int takeover_end(struct takeover *takeover,
		 void (*hand_on)(void *context, const struct message *tally),
		 void *context)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count, got;

	while ((got = channel_receive_now(takeover->fd, &message, fds,
					  &count)) > 0) {
		channel_close_fds(fds, count);
		if (message.type == MESSAGE_TALLY)
			hand_on(context, &message);
	}
	/* No child of ours: see rings.h. */
	if (takeover->rings.first)
		proc_wait(&takeover->server, END_PATIENCE);
	rings_drop(&takeover->rings);
	return got == 0 ? -ETIMEDOUT : 0;
}

void takeover_remove(struct takeover *takeover, const char *folder)
{
	struct sockaddr_un address;

	if (takeover->handover >= 0 &&
	    set_handover_address(&address, folder) == 0)
		unlink(address.sun_path);
}

void takeover_close(struct takeover *takeover)
{
	close_server(takeover);
	rings_drop(&takeover->rings);
	proc_close(&takeover->server);
	while (takeover->found)
		entry_forget(&takeover->found, takeover->found);
}
