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

enum usage {
	USAGE_NONE,
	USAGE_OPEN,    /* a program has it open: that may pass */
	USAGE_LASTING, /* a mount, swap, a device stacked on it */
};

/*
 * Look for a user of the disk named `disk` ("ublkb0") or of its partitions;
 * this process does not count. Where there is one, *who gets a phrase such as
 * "mounted on /mnt".
 */
enum usage usage_find(const char *disk, char *who, size_t size);

#endif
