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
#include "rings.h"

/* What a server's target holds for a device. */
struct held {
	struct held *next;
	uint32_t id;
	int fds[MESSAGE_MAX_FDS];
	int fd_count;
	int is_spared;	/* its device is there, and was left alone */
	uint64_t tally; /* of the target, see target.h; 0: not told */
};

struct takeover {
	int fd; /* to the server that is to leave, -1: there is none */
	struct proc server; /* its process */
	int listener;	    /* its admin socket, -1: taken or none */
	int owned;	    /* the hand-over socket's path is ours to remove */
	struct held *held;
	struct rings rings; /* of the server that is to leave */
};

/*
 * Ask whoever answers on the hand-over socket in the state folder. Returns 0,
 * with fd -1 when nobody is there, or -1 with *failure when a server is, but
 * does not answer; then its socket is left alone. *handover is the listening
 * hand-over socket to go on with: the old server's or a new one.
 */
int takeover_begin(struct takeover *takeover, const char *folder, int *handover,
		   struct failure *failure);

/*
 * Keep a descriptor that an earlier keeper has left elsewhere, under the name
 * that takeover_name() makes. Before takeover_begin(), whose server knows
 * better. Takes fd on success. Returns 0 or a negative errno.
 */
int takeover_keep(struct takeover *takeover, const char *name, int fd);

/*
 * Keep what a copy of the table tells, a MESSAGE_DEVICE for each device, to the
 * end of that socket. When there is no server that tells its own.
 */
void takeover_take_table(struct takeover *takeover, int fd);

/* What a device's descriptor number `index` is called elsewhere. */
void takeover_name(char *name, size_t size, uint32_t id, int index);

/* Take a device's descriptors, now the caller's. Returns how many. */
int takeover_fds(struct takeover *takeover, uint32_t id, int *fds);

/* What a living server has told of the device's tally last. */
uint64_t takeover_tally(struct takeover *takeover, uint32_t id);

/* A device is left alone, for somebody later: its descriptors stay kept. */
void takeover_spare(struct takeover *takeover, uint32_t id);

/* All of them are: it cannot be found out what there is. */
void takeover_spare_all(struct takeover *takeover);

/*
 * Every device has been seen: what none of them took is given to let_go, to be
 * closed, and kept by a service manager no longer, but for those that were
 * spared.
 */
void takeover_drop_rest(struct takeover *takeover,
			void (*let_go)(void *context, int fd), void *context);

/* Tell the old server to leave. */
void takeover_leave(struct takeover *takeover);

/*
 * Wait until it has, which may tell of other tallies before. Returns 0, or
 * -ETIMEDOUT when it is still there after some seconds.
 */
int takeover_end(struct takeover *takeover);

/*
 * Remove the hand-over socket from the folder: nobody will answer there. It
 * stays if takeover_begin() has not succeeded: it is another's.
 */
void takeover_remove(struct takeover *takeover, const char *folder);

/* Let go of everything; a server that was not told to leave serves on. */
void takeover_close(struct takeover *takeover);

#endif
