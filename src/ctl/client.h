/*
 * A client of the admin socket, which never waits for longer than it is told: the
 * server at the other end may stand still.
 */
#ifndef UBLKD_CLIENT_H
#define UBLKD_CLIENT_H

#include <stddef.h>

#define CLIENT_REPLY_MAX 8192 /* bytes of a line, its LF not counted */
#define CLIENT_FOREVER	 (-1) /* ms */
#define CLIENT_PATIENCE	 2000 /* ms: a server that works speaks earlier */

struct client {
	int fd;
	size_t used, taken; /* bytes in the buffer; those of the last line */
	char buffer[CLIENT_REPLY_MAX + 1];
};

/*
 * Connect. Returns 0 or a negative errno: -ETIMEDOUT if as many wait to be heard
 * as can. To be closed when it is 0.
 */
int client_open(struct client *client, const char *path, int ms);
void client_close(struct client *client);

/*
 * Send a line, to which LF is added; the last one if `last`. Returns 0 or a
 * negative errno.
 */
int client_send(struct client *client, const char *line, int last);

/*
 * The next line, without its LF, until the next call. Returns 0, or a negative
 * errno: -ETIMEDOUT if nothing has come for so long, -ECONNRESET at the end.
 */
int client_line(struct client *client, const char **line, int ms);

/* Whether that is the first word of a line: OK, ERR, dev. */
int client_begins(const char *line, const char *word);

/*
 * The value of a key of a line, into room for size bytes, "" if it has none.
 * Returns value.
 */
const char *client_value(const char *line, const char *key, char *value,
			 size_t size);

#endif
