/*
 * The admin socket: clients, framing, and their limits. Protocol: see
 * ublkd-protocol(7).
 */
#ifndef UBLKD_ADMIN_H
#define UBLKD_ADMIN_H

#include <ev.h>

#include "command.h"

struct admin;

/* Of each socket: */
#define ADMIN_CLIENTS_MAX 32  /* connections of users other than root */
#define ADMIN_UID_MAX	  8   /* of one such user */
#define ADMIN_ROOT_MAX	  128 /* connections of root */
#define ADMIN_REFUSED_MAX 32  /* connections that are over these limits */

#define ADMIN_OUTPUT_MAX 65536 /* bytes unread before a client is not read */
#define ADMIN_DRAIN_TIME 30.0  /* s above that before it is closed */
#define ADMIN_WAIT_TIME	 0.25  /* s between WAITs to a half-closed client */

/*
 * Serve clients on a listening socket, and on another one, `reader` (-1: there is
 * none), clients that can only read. Both stay the caller's. Returns NULL without
 * memory.
 */
COLD struct admin *admin_open(struct ev_loop *loop, int listener, int reader,
			      struct command_host *host);

/* Drop every client; what the sockets have taken still reaches them. */
COLD void admin_close(struct admin *admin);

#endif
