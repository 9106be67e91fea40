/*
 * A stand-in for the target of a device that cannot be opened here: the device
 * is shown and can be deleted, and what it had is there for the next server.
 */
#ifndef UBLKD_LOST_H
#define UBLKD_LOST_H

#include "target/target.h"

/*
 * A target of that name which serves nothing. It takes the descriptors, at most
 * MESSAGE_MAX_FDS, and sets them to -1. NULL: out of memory.
 */
struct target *lost_new(const struct target_ops *ops, int *fds, int fd_count);

/* Whether the target is such a stand-in. */
int lost_is(const struct target *target);

/* The stand-in has these descriptors as well; they are set to -1. */
void lost_take(struct target *target, int *fds, int fd_count);

#endif
