/*
 * The server's side of a take-over: without its keeper it serves on, and gives
 * what it holds to the next keeper that asks on the hand-over socket.
 */
#ifndef UBLKD_HANDOVER_H
#define UBLKD_HANDOVER_H

#include "base/channel.h"
#include "admin/command.h"

struct handover {
	struct ev_loop *loop;
	int fd;	      /* the hand-over socket, listening */
	int listener; /* the admin socket */
	ev_io watcher;
	struct channel channel; /* to the next keeper */
	struct command_host *host;
	void (*leave)(struct handover *handover); /* it was told to */
};

/*
 * Begin to answer. The sockets and the host stay the caller's; fd, listener,
 * loop, host and leave are set by it.
 */
void handover_open(struct handover *handover);

void handover_close(struct handover *handover);

#endif
