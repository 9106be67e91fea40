/*
 * A client of the admin socket, which never waits for longer than it is told: the
 * server at the other end may stand still.
 */
#ifndef UBLKD_CLIENT_H
#define UBLKD_CLIENT_H

#include <stddef.h>

#include "fields.h"

#define CLIENT_FOREVER	(-1) /* ms */
#define CLIENT_PATIENCE 2000 /* ms: a server that works speaks earlier */

struct client {
	int fd;		    /* -1: there is no connection */
	size_t used, taken; /* bytes in the buffer; those of the last line */
	char buffer[FIELDS_LINE_MAX + 1];
};

/*
 * Connect. Returns 0 or a negative errno: -ETIMEDOUT if as many wait to be heard
 * as can. To be closed when it is 0.
 */
int client_open(struct client *client, const char *path, int ms)
	__attribute__((cold));
void client_close(struct client *client);

/*
 * Send a line, to which LF is added; the last one if `last`. Returns 0 or a
 * negative errno.
 */
int client_send(struct client *client, const char *line, int last)
	__attribute__((cold));

/*
 * The next line, without its LF, until the next call. Returns 0, or a negative
 * errno: -ETIMEDOUT if nothing has come for so long, -ECONNRESET at the end, -EINTR
 * if a signal has (signals.h).
 */
int client_line(struct client *client, const char **line, int ms)
	__attribute__((cold));

/*
 * Connect and be greeted. Returns 0, and *line is the greeting; 1, and it is the ERR
 * that refuses; or a negative errno. To be closed in any case.
 */
int client_begin(struct client *client, const char *path, const char **line)
	__attribute__((cold));

/* Takes a line of an answer. Returns 0, or a negative errno that ends it. */
typedef int client_taker(const char *line, void *context);

/*
 * Send a command, the last one if `last`, and hand every line of its answer to
 * `take`, the OK and each WAIT as well. Returns 0; 1, and *line is the ERR, which is
 * not handed over; or a negative errno.
 */
int client_ask(struct client *client, const char *command, int last,
	       client_taker *take, void *context, const char **line)
	__attribute__((cold));

#endif
