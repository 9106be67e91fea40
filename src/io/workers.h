/*
 * Requests that block wait in kernel threads, the workers of io_uring. Those
 * belong to the process, not to a ring: who adds requests that may block for
 * long says so, or they would take every worker from the others.
 */
#ifndef UBLKD_WORKERS_H
#define UBLKD_WORKERS_H

#include <stdint.h>

#include "ring.h"

/*
 * Linux 6.12 starts new workers while others are idle, which they stay for 5 s;
 * those that it may have are allowed for as well.
 */
#define WORKERS_BASE 32u  /* for what nobody counts */
#define WORKERS_OWN  2u	  /* every device may always have so many */
#define WORKERS_POOL 64u  /* of each pool that devices borrow from, see below */
#define WORKERS_LINE 32u  /* requests of a device that share one worker */
#define WORKERS_IDLE 192u /* so many may have nothing to do */
#define WORKERS_MAX  480u /* in all: 64 devices that stand still, 2 each */

/*
 * What a request may occupy; a token is held for each that may end in a worker.
 * One device borrows never more of a pool than are left for others: 32 the first
 * that stands still, the next one 16. Beyond that it has its own.
 */
enum workers_kind {
	/* A worker for each: one of a pool, or one of the device's own. */
	WORKERS_ANY,
	/*
	 * A read that waits for pages of the page cache. It needs no worker as long
	 * as the disk takes readahead, but one that a device mapper has suspended
	 * does not.
	 */
	WORKERS_PAGES,
	/*
	 * A write that io_uring itself gives to a worker: it has those of one file
	 * go one after the other, so that many are in line for one worker, which
	 * is one of the device's own.
	 */
	WORKERS_LINED,
	WORKERS_DEVICE, /* in place of the first two: one of the device's own */
	WORKERS_KINDS,
};

/* The tokens that one device has, by kind; all 0 at first. */
struct workers_share {
	unsigned has[WORKERS_KINDS];
};

/*
 * Up to `more` requests can block beside those that were told of before; fewer
 * if it is negative. Any ring will do; with NULL the limit follows with the next
 * call. Returns 0 or a negative errno.
 */
int workers_expect(struct ring *ring, int more);

/*
 * A request goes into a worker. Returns a mark, never 0, that is to be given
 * back when it has ended.
 */
uint8_t workers_enter(void);
void workers_leave(uint8_t mark);

/*
 * Take a token for a request that may go into a worker. Returns the token, or 0
 * if there is none now: then one that has a token has to end first.
 */
uint8_t workers_take(struct workers_share *share, enum workers_kind kind);
enum workers_kind workers_kind_of(uint8_t token);
void workers_give_back(struct workers_share *share, uint8_t token);

/*
 * Have none in workers: to be called again and again. Once all that were there
 * at the first call have ended, new ones are to be held back until
 * workers_resume(). Returns 1 when none is left, else 0.
 */
int workers_drain(void);
int workers_are_held(void);
void workers_resume(void);

#endif
