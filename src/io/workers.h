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
#define WORKERS_BASE  32u  /* for what nobody counts */
#define WORKERS_PAGES 64u  /* for reads that wait for pages, see below */
#define WORKERS_IDLE  192u /* so many may have nothing to do */
#define WORKERS_MAX   416u /* in all: 64 devices that stand still, 2 each */

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
 * The same for a read that waits for pages of the page cache. It needs no worker
 * as long as the disk takes readahead, but one that a device mapper has suspended
 * does not. So there can be many, but never more of one file's than are left for
 * others. *has is how many this file has, and is kept. Returns the mark, or 0 if
 * it may not.
 */
uint8_t workers_enter_pages(unsigned *has);
void workers_leave_pages(uint8_t mark, unsigned *has);

/*
 * Have none in workers: to be called again and again. Once all that were there
 * at the first call have ended, new ones are to be held back until
 * workers_resume(). Returns 1 when none is left, else 0.
 */
int workers_drain(void);
int workers_are_held(void);
void workers_resume(void);

#endif
