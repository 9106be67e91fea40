#include "takeover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/channel.h"
#include "notify.h"

#define PATIENCE 5 /* s that a server may take for an answer, or to leave */

static int set_address(struct sockaddr_un *address, const char *folder)
{
	int length;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	length = snprintf(address->sun_path, sizeof(address->sun_path),
			  "%s/server.sock", folder);
	return length < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

/* A stale one is replaced: nobody answers there. Returns it or -errno. */
static int make_socket(const struct sockaddr_un *address)
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

/* Returns a socket, or -errno; see is_nobody(). */
static int connect_to(const struct sockaddr_un *address)
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

/* Everything else, a full backlog for instance, is somebody. */
static int is_nobody(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED;
}

static struct held *find(struct takeover *takeover, uint32_t id)
{
	struct held *held = takeover->held;

	while (held && held->id != id)
		held = held->next;
	return held;
}

static struct held *find_or_make(struct takeover *takeover, uint32_t id)
{
	struct held *held = find(takeover, id);

	if (held)
		return held;
	held = calloc(1, sizeof(*held));
	if (!held)
		return NULL;
	held->id = id;
	held->next = takeover->held;
	takeover->held = held;
	return held;
}

static int keep(struct takeover *takeover, const struct message *message,
		const int *fds, int fd_count)
{
	struct held *held = find_or_make(takeover, message->id);

	if (!held)
		return -1;
	channel_close_fds(held->fds, held->fd_count);
	memcpy(held->fds, fds, sizeof(int) * (size_t)fd_count);
	held->fd_count = fd_count;
	return 0;
}

void takeover_take_table(struct takeover *takeover, int fd)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count;

	while (channel_receive_now(fd, &message, fds, &count) > 0)
		if (message.type != MESSAGE_DEVICE ||
		    keep(takeover, &message, fds, count) < 0)
			channel_close_fds(fds, count);
}

void takeover_name(char *name, size_t size, uint32_t id, int index)
{
	snprintf(name, size, "device-%u-%d", (unsigned)id, index);
}

int takeover_keep(struct takeover *takeover, const char *name, int fd)
{
	struct held *held;
	unsigned id, index;
	char end;

	if (sscanf(name, "device-%u-%u%c", &id, &index, &end) != 2)
		return -EINVAL;
	held = find_or_make(takeover, id);
	if (!held)
		return -ENOMEM;
	/* They come in the order in which they were left. */
	if (index != (unsigned)held->fd_count || index >= MESSAGE_MAX_FDS)
		return -EINVAL;
	held->fds[held->fd_count++] = fd;
	return 0;
}

static int take_tally(struct takeover *takeover, const struct message *message)
{
	struct held *held = find_or_make(takeover, message->id);

	if (!held)
		return -1;
	held->tally = message->number;
	return 0;
}

/*
 * The number means the server as long as that has not gone, which the socket
 * tells. Without it nobody is held, and its end is not waited for.
 */
static void hold_server(struct takeover *takeover, pid_t pid)
{
	struct pollfd end = { .fd = takeover->fd, .events = POLLRDHUP };

	if (proc_open(&takeover->server, pid) == 0 && poll(&end, 1, 0) != 0)
		proc_close(&takeover->server);
}

/* Returns 1 when that was the last, 0 to go on, -1 for nonsense. */
static int take_message(struct takeover *takeover, int *handover,
			const struct message *message, const int *fds,
			int fd_count)
{
	switch (message->type) {
	case MESSAGE_BEGIN:
		if (fd_count != 2 || takeover->listener >= 0)
			break;
		takeover->listener = fds[0];
		*handover = fds[1];
		hold_server(takeover, (pid_t)message->number);
		return 0;
	case MESSAGE_DEVICE:
		if (keep(takeover, message, fds, fd_count) == 0)
			return 0;
		break;
	case MESSAGE_TALLY:
		if (take_tally(takeover, message) == 0 && fd_count == 0)
			return 0;
		break;
	case MESSAGE_RING:
		channel_close_fds(fds, fd_count);
		/* Without it that server's end is as risky as it was. */
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

/* Returns 1 for a whole table, 0 when it does not answer, -1 at its end. */
static int read_table(struct takeover *takeover, int *handover)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count, got;

	for (;;) {
		got = channel_receive_now(takeover->fd, &message, fds, &count);
		if (got <= 0)
			return got;
		got = take_message(takeover, handover, &message, fds, count);
		if (got)
			return got;
	}
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
 * Ask for the table. Who is dying does not tell it, or not to its end, and is
 * not asked again before: nobody takes what has been asked. Returns 1 for a whole
 * table, 0 when nobody is there, or a negative errno.
 */
static int ask_for_table(struct takeover *takeover,
			 const struct sockaddr_un *address, int *handover,
			 struct dying *dying)
{
	int fd, got, error = 0;
	pid_t server;

	do {
		fd = connect_to(address);
		if (fd < 0)
			return is_nobody(fd) ? 0 : fd;
		takeover->fd = fd;
		server = proc_peer(fd);
		while (!error && proc_is_dying(server))
			error = dying_wait(dying, server);
		got = error ? error : read_table(takeover, handover);
		if (got > 0)
			return 1;
		if (*handover >= 0)
			close(*handover);
		*handover = -1;
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

int takeover_begin(struct takeover *takeover, const char *folder, int *handover,
		   struct failure *failure)
{
	struct dying dying = { .what = folder, .grace = DYING_GRACE };
	struct sockaddr_un address;
	int error = set_address(&address, folder), got = 0;

	takeover->fd = takeover->listener = *handover = -1;
	if (!error)
		got = ask_for_table(takeover, &address, handover, &dying);
	if (got < 0 && dying.looks == DYING_LOOKS)
		return dying_failure(&dying, got, failure);
	if (got < 0)
		return failure_set(failure, SYMBOL_BUSY, got, NULL,
				   "a server without a keeper does not answer "
				   "(%s); its disks stay up until it is killed",
				   strerror(-got));
	if (got == 0)
		*handover = error ? error : make_socket(&address);
	if (*handover >= 0) {
		takeover->owned = 1;
		return 0;
	}
	return failure_set(failure, failure_symbol(*handover), *handover, NULL,
			   "cannot listen on %s: %s", address.sun_path,
			   strerror(-*handover));
}

int takeover_fds(struct takeover *takeover, uint32_t id, int *fds)
{
	struct held *held = find(takeover, id);
	int count;

	if (!held)
		return 0;
	count = held->fd_count;
	memcpy(fds, held->fds, sizeof(int) * (size_t)count);
	held->fd_count = 0;
	return count;
}

uint64_t takeover_tally(struct takeover *takeover, uint32_t id)
{
	const struct held *held = find(takeover, id);

	return held ? held->tally : 0;
}

void takeover_leave(struct takeover *takeover)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_LEAVE };

	/* If that fails it is gone already. */
	channel_send_now(takeover->fd, &message, NULL, 0);
}

int takeover_end(struct takeover *takeover)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count, got;

	while ((got = channel_receive_now(takeover->fd, &message, fds,
					  &count)) > 0) {
		if (message.type == MESSAGE_TALLY)
			take_tally(takeover, &message);
		channel_close_fds(fds, count);
	}
	return got == 0 ? -ETIMEDOUT : 0;
}

void takeover_remove(struct takeover *takeover, const char *folder)
{
	struct sockaddr_un address;

	if (takeover->owned && set_address(&address, folder) == 0)
		unlink(address.sun_path);
	takeover->owned = 0;
}

static void drop(struct held *held, void (*let_go)(void *context, int fd),
		 void *context)
{
	char name[40];

	while (held->fd_count) {
		let_go(context, held->fds[--held->fd_count]);
		takeover_name(name, sizeof(name), held->id, held->fd_count);
		notify_unstore(name);
	}
}

void takeover_spare(struct takeover *takeover, uint32_t id)
{
	struct held *held = find(takeover, id);

	if (held)
		held->is_spared = 1;
}

void takeover_spare_all(struct takeover *takeover)
{
	struct held *held;

	for (held = takeover->held; held; held = held->next)
		held->is_spared = 1;
}

void takeover_drop_rest(struct takeover *takeover,
			void (*let_go)(void *context, int fd), void *context)
{
	struct held *held;

	for (held = takeover->held; held; held = held->next)
		if (!held->is_spared)
			drop(held, let_go, context);
}

void takeover_close(struct takeover *takeover)
{
	struct held *held;

	close_server(takeover);
	rings_drop(&takeover->rings);
	proc_close(&takeover->server);
	while ((held = takeover->held)) {
		takeover->held = held->next;
		channel_close_fds(held->fds, held->fd_count);
		free(held);
	}
}
