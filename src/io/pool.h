/*
 * Buffers for requests in flight, shared by all devices.
 *
 * There are as many as are needed at the moment, up to POOL_MAX bytes, while the host
 * has memory to spare (base/memory.h): without that whoever wants one goes on with
 * what was reserved. Those that nobody has needed for a while are given back to the
 * system.
 *
 * Nobody has more of them than are left when he has got them: half of all if he
 * alone has some, a third each if there are two who want more. So of any number
 * whose backings stand still each leaves as much as it has to those after it;
 * with what is reserved besides, the last ones go on as well.
 */
#ifndef UBLKD_POOL_H
#define UBLKD_POOL_H

#include <ev.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_PIECE   (512u << 10) /* bytes of the largest buffer */
#define POOL_RESERVE (4u << 10)	  /* bytes of a device's own one, or more */
#define POOL_MAX     (64ull << 20)
#define POOL_PERIOD  1.0 /* s that a buffer is kept for the next one */

/*
 * Begin on that loop. To be called before the rest, once; the loop must live
 * until the last buffer has been put back and POOL_PERIOD twice is over, or
 * until pool_close().
 */
void pool_open(struct ev_loop *loop);
void pool_close(void);

/*
 * A buffer of `size` bytes, or of POOL_PIECE if that is less, for one who has
 * *has bytes of them. Page aligned, and its pages are there; its contents are
 * somebody's old data. *room gets its size, which *has becomes more. NULL when
 * there is none to be had.
 */
void *pool_get(uint64_t *has, uint32_t size, uint32_t *room);

/*
 * Nobody, the kernel included, uses the buffer any more. `room` as it came from
 * pool_get(), of which *has becomes less.
 */
void pool_put(uint64_t *has, void *buffer, uint32_t room);

/*
 * A buffer of `size` bytes, of which the first `there` are there whatever happens,
 * their memory touched and locked. NULL: out of memory.
 */
void *pool_reserve(uint32_t size, uint32_t there);
void pool_unreserve(void *buffer, uint32_t size);

/* Bytes of all buffers, in use and idle; reserves aside. */
uint64_t pool_size(void);

#endif
