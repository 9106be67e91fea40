/*
 * Who uses a disk: what the kernel does not say in one place.
 *
 * Read from /proc and /sys only, never from the disk or its node, so that a
 * look cannot block on I/O. Used by the keeper; a look at all of /proc takes
 * milliseconds.
 */
#ifndef UBLKD_USAGE_H
#define UBLKD_USAGE_H

#include <stddef.h>

/*
 * Look for a user of the disk named `disk` ("ublkb0") or of its partitions: a
 * mount, swap, a device stacked on it, a loop device, a program that has it
 * open (this process aside). Returns 1 and a phrase such as "mounted on /mnt"
 * in *who, or 0 if none was seen.
 */
int usage_find(const char *disk, char *who, size_t size);

#endif
