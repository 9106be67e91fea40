/*
 * Before a server leaves, no request may be in a worker of the kernel: a process
 * cannot end before those have, and until it has ended nobody serves its
 * devices. Nor may a command be half done.
 *
 * The end of a process also closes its files, and of some (NFS, FUSE) that asks
 * their server: one that does not answer is found out before.
 *
 * Only once the requests that were in workers at the beginning have ended are
 * new ones held back: a file system that stands still makes the others wait for
 * nothing.
 */
#ifndef UBLKD_DRAIN_H
#define UBLKD_DRAIN_H

#include "admin/command.h"

#define DRAIN_PATIENCE	    5.0	 /* s for it all; in ublkd(8) */
#define DRAIN_HOLD_PATIENCE 1.0	 /* s of that in which new ones are held */
#define DRAIN_HOLD	    10.0 /* s to leave in, then they go on */

struct drain;

/* The server may leave, or not: *failure says why, and all goes on. */
typedef void drain_done(struct drain *drain, const struct failure *failure);

struct drain {
	struct command_host *host;
	drain_done *done;
	struct loop_timer timer;
	int active;	 /* the answer is not known yet */
	unsigned asked;	 /* closes that have not ended */
	double deadline; /* as loop_now(): of the answer, or of the hold */
	double hold_deadline;
};

/*
 * Begin; done is called once, at once if nothing is in the way. After success
 * requests that may need a worker wait for drain_end(), DRAIN_HOLD at most.
 */
void drain_begin(struct drain *drain, struct command_host *host,
		 drain_done *done);

/* The server does not leave after all. Harmless at any time. */
void drain_end(struct drain *drain);

#endif
