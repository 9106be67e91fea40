/*
 * How much memory may still be taken for what grows: stores, the recorder's parts.
 *
 * Neither a touched page nor fallocate on a memfd fails when the host's memory
 * runs out: the OOM killer shoots bystanders, or the call spins. So whoever
 * stores data asks here first.
 */
#ifndef UBLKD_MEMORY_H
#define UBLKD_MEMORY_H

#include <stdint.h>

#define MEMORY_STEP (8ULL << 20) /* bytes granted by one look, at most */

/*
 * A reserve that follows the host and each cgroup: an eighth of what the one or
 * the other may use in all, and at most MEMORY_RESERVE_MAX. With a sixteenth the
 * OOM killer came in a guest of 58 MB (Linux 7.3): at any time the kernel may
 * withhold 2 MiB more in each zone (the "boost" of /proc/zoneinfo), which
 * MemAvailable does not know.
 */
#define MEMORY_RESERVE_AUTO UINT64_MAX
#define MEMORY_RESERVE_MAX  (72ULL << 20) /* bytes */

/*
 * The bytes that can be taken while `reserve` bytes stay free on the host and
 * in our cgroup (v2) and those above it. What is free is MemAvailable less Dirty
 * and Writeback, which cannot be given back at once, and a cgroup's headroom.
 * UINT64_MAX where /proc/meminfo cannot be read.
 */
uint64_t memory_room(uint64_t reserve) __attribute__((cold));

/*
 * Ask for `bytes` more while `reserve` bytes stay free. One look grants half of
 * the room that there is, up to MEMORY_STEP, to whoever comes with the same
 * reserve: so the looks become more frequent as memory runs low. Returns 0 or
 * -ENOMEM.
 */
int memory_take(uint64_t bytes, uint64_t reserve);

/* Read below `root` in place of "/": for tests. */
void memory_set_root(const char *root);

#endif
