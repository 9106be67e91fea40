#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/syntax.h"

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
		poll(NULL, 0, TRY_AGAIN);
		ms -= TRY_AGAIN;
	}
	return 0;
}

int client_open(struct client *client, const char *path, int ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	int error;

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
	struct pollfd wait = { .fd = client->fd, .events = POLLIN };
	size_t room = sizeof(client->buffer) - client->used;
	ssize_t got;

	if (room == 0)
		return -EPROTO;
	if (poll(&wait, 1, ms) == 0)
		return -ETIMEDOUT;
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

/* ---- lines ---- */

int client_begins(const char *line, const char *word)
{
	size_t length = strlen(word);

	return strncmp(line, word, length) == 0 &&
	       (line[length] == ' ' || line[length] == '\0');
}

const char *client_value(const char *line, const char *key, char *value,
			 size_t size)
{
	static struct syntax_line split;
	const char *why, *found;
	size_t length;
	int i;

	value[0] = '\0';
	if (syntax_split(&split, line, strlen(line), &why) < 0)
		return value;
	for (i = 1; i < split.count; i++) {
		found = syntax_value(split.words[i], &length);
		if (found && length == strlen(key) &&
		    strncmp(split.words[i], key, length) == 0)
			snprintf(value, size, "%s", found);
	}
	return value;
}
