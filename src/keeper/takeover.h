/*
 * The next keeper's side of a take-over: it asks a server that has lost its
 * keeper for what it holds, and tells it to leave. At a keeper's start only,
 * when there is nobody whom a wait would hold up.
 */
#ifndef UBLKD_TAKEOVER_H
#define UBLKD_TAKEOVER_H

#include <stdint.h>
#include <sys/types.h>

#include "base/failure.h"
#include "base/message.h"
#include "base/proc.h"
#include "entry.h"
#include "rings.h"

struct takeover {
	int fd; /* to the server that is to leave, -1: there is none */
	struct proc server; /* its process */
	int listener;	    /* its admin socket, -1: taken or none */
	int handover; /* the hand-over socket to go on with, which listens: the
			 old server's or a new one */
	struct entry *found; /* what devices held, from whoever had that */
	struct rings rings;  /* of the server that is to leave */
};

/*
 * Ask whoever answers on the hand-over socket in the state folder. Returns 0,
 * with fd -1 when nobody is there, or -1 with *failure when a server is, but
 * does not answer; then its socket is left alone.
 */
int takeover_begin(struct takeover *takeover, const char *folder,
		   struct failure *failure) __attribute__((cold));

/*
 * Read a table from a socket into what was found: a server's, or the copy that an
 * earlier program of this process has left for when no server tells its own.
 * Returns 1 for a server's whole table, 0 when nothing comes for some seconds, and
 * a negative number when the socket ends before, as that of a copy does.
 */
int takeover_read_table(struct takeover *takeover, int fd)
	__attribute__((cold));

/* Tell the old server to leave. */
void takeover_leave(struct takeover *takeover);

/*
 * Wait until the old server has left, and hand on each MESSAGE_TALLY that comes
 * before; the server's rings are let go of when its process has ended. Returns 0,
 * or -ETIMEDOUT when the server is still there after some seconds.
 */
int takeover_end(struct takeover *takeover,
		 void (*hand_on)(void *context, const struct message *tally),
		 void *context);

/*
 * Remove the hand-over socket from the folder: nobody will answer there. It
 * stays if takeover_begin() has not succeeded: it is another's.
 */
void takeover_remove(struct takeover *takeover, const char *folder)
	__attribute__((cold));

/* Let go of everything; a server that was not told to leave serves on. */
void takeover_close(struct takeover *takeover) __attribute__((cold));

#endif
