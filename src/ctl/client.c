#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "signals.h"

#define TRY_AGAIN 50 /* ms */

/* A socket that is not blocking answers EAGAIN when its queue is full. */
static int connect_within(int fd, const struct sockaddr_un *address, int ms)
{
	while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) <
	       0) {
		if (errno != EAGAIN)
			return -errno;
		if (ms <= 0)
			return -ETIMEDOUT;
		signals_wait(-1, TRY_AGAIN);
		if (signals_end())
			return -EINTR;
		ms -= TRY_AGAIN;
	}
	return 0;
}

int client_open(struct client *client, const char *path, int ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	int error;

	client->fd = -1;
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length);
	client->used = client->taken = 0;
	client->fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (client->fd < 0)
		return -errno;
	error = connect_within(client->fd, &address, ms);
	if (error)
		client_close(client);
	return error;
}

void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
}

/* A line is less than what any socket takes at once. */
int client_send(struct client *client, const char *line, int last)
{
	struct iovec pieces[] = {
		{ .iov_base = (void *)line, .iov_len = strlen(line) },
		{ .iov_base = (void *)"\n", .iov_len = 1 },
	};
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };

	if (sendmsg(client->fd, &message, MSG_NOSIGNAL) < 0)
		return -errno;
	if (last)
		shutdown(client->fd, SHUT_WR);
	return 0;
}

/* Returns 0 or a negative errno. */
static int receive(struct client *client, int ms)
{
	size_t room = sizeof(client->buffer) - client->used;
	ssize_t got;

	if (room == 0)
		return -EPROTO;
	if (signals_wait(client->fd, ms) == 0)
		return -ETIMEDOUT;
	if (signals_end())
		return -EINTR;
	got = recv(client->fd, client->buffer + client->used, room, 0);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	client->used += (size_t)got;
	return got ? 0 : -ECONNRESET;
}

int client_line(struct client *client, const char **line, int ms)
{
	char *end;
	int error = 0;

	client->used -= client->taken;
	memmove(client->buffer, client->buffer + client->taken, client->used);
	client->taken = 0;
	while (!(end = memchr(client->buffer, '\n', client->used)) && !error)
		error = receive(client, ms);
	if (error)
		return error;
	*end = '\0';
	*line = client->buffer;
	client->taken = (size_t)(end + 1 - client->buffer);
	return 0;
}

/* ---- conversations ---- */

int client_begin(struct client *client, const char *path, const char **line)
{
	int error = client_open(client, path, CLIENT_PATIENCE);

	if (error)
		return error;
	error = client_line(client, line, CLIENT_PATIENCE);
	return error ? error : fields_frame(*line) == FIELDS_ERR;
}

/* While a server works at it, WAIT comes four times a second. */
int client_ask(struct client *client, const char *command, int last,
	       client_taker *take, void *context, const char **line)
{
	int error = client_send(client, command, last);
	enum fields_frame frame = FIELDS_DATA;

	while (!error && frame != FIELDS_OK) {
		error = client_line(client, line, CLIENT_PATIENCE);
		if (error)
			break;
		frame = fields_frame(*line);
		if (frame == FIELDS_ERR)
			return 1;
		error = take(*line, context);
	}
	return error;
}
