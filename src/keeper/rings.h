/*
 * The server's rings, which the keeper holds open as well, for old drivers.
 *
 * When a task ends, the kernel works off what is queued for it after it has
 * closed its files, and on Linux 6.12 the driver may have queued a request that
 * the cancelling of a closed ring completes beside it: if the ring is freed
 * before the task gets there, the kernel uses freed memory (a null pointer in
 * io_fallback_tw()). Under load that took one server's end in three. With a ring
 * that somebody else has open nothing is cancelled before the task has ended.
 * Where the keeper dies with its server, deferred task work (RING_DEFER) makes
 * that far more likely, so a queue of such a driver goes without.
 */
#ifndef UBLKD_RINGS_H
#define UBLKD_RINGS_H

#include <stdint.h>

#include "base/proc.h"

struct rings_item;

/* Starts as zeroes. */
struct rings {
	struct rings_item *first;
};

/*
 * Hold one of a device's rings as well: what descriptor `fd` of that process is.
 * The kernel passes no rings over sockets. Returns 0 or a negative errno: -ESRCH
 * or -EBADF if the process has ended, -EPERM or -ENOSYS where it is not allowed.
 */
int rings_take(struct rings *rings, const struct proc *server, uint32_t id,
	       int fd);

/*
 * Let go of a device's rings. To be called before any command for it that may
 * wait for its I/O: a process with such a command cannot end while it waits, and
 * with the rings open that I/O could not end either.
 */
void rings_release(struct rings *rings, uint32_t id);

/* Let go of all; to be called once the server's process has ended. */
void rings_drop(struct rings *rings);

#endif
