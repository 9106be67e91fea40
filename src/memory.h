/*
 * How much memory may still be taken for stores.
 *
 * Neither a touched page nor fallocate on a memfd fails when the host's memory
 * runs out: the OOM killer shoots bystanders, or the call spins. So whoever
 * stores data asks here first.
 */
#ifndef UBLKD_MEMORY_H
#define UBLKD_MEMORY_H

#include <stdint.h>

#define MEMORY_STEP (8ULL << 20) /* bytes granted by one look */

/*
 * The bytes that can be taken before the host or our cgroup (v2, and those
 * above it) runs short: MemAvailable less Dirty and Writeback, which cannot be
 * given back at once, or the cgroup's headroom if that is smaller. UINT64_MAX
 * where /proc/meminfo cannot be read.
 */
uint64_t memory_headroom(void);

/*
 * Ask for `bytes` more while `reserve` bytes stay free. Looks once for each
 * MEMORY_STEP that is granted, to whomever. Returns 0 or -ENOSPC.
 */
int memory_take(uint64_t bytes, uint64_t reserve);

/* Read below `root` in place of "/": for tests. */
void memory_set_root(const char *root);

#endif
