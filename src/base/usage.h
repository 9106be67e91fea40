/*
 * Who uses a disk: what the kernel does not say in one place.
 *
 * Read from /proc and /sys only, never from the disk or its node. A look takes
 * a time that grows with the processes of the host and the files that they have
 * open, and some of what is read can hang: it is a helper's job (helper.h).
 */
#ifndef UBLKD_USAGE_H
#define UBLKD_USAGE_H

#include <stddef.h>

enum usage_kind {
	USAGE_NONE,
	USAGE_OPEN,    /* a program has it open: that may pass */
	USAGE_LASTING, /* a mount, swap, a device stacked on it */
};

/* A disk, and the first user that was found of it or of its partitions. */
struct usage {
	char disk[32]; /* "ublkb0" */
	enum usage_kind kind;
	char who[300]; /* a phrase such as "mounted on /mnt", or "" */
};

/*
 * Look for a user of each of `count` disks, whose names are given, in one go.
 * This process and its parent do not count. `root` goes before /proc and /sys:
 * "", but in tests.
 */
void usage_find(const char *root, struct usage *usages, unsigned count)
	__attribute__((cold));

/*
 * The same in two parts, for those who walk over the processes for more than that:
 * what lasts, and then each file that a process has open.
 */
void usage_find_lasting(const char *root, struct usage *usages, unsigned count)
	__attribute__((cold));
void usage_note_open(const char *root, struct usage *usages, unsigned count,
		     const char *process, const char *file)
	__attribute__((cold));

/* Whether name is the disk or a partition of it: ublkb1, ublkb1p2, sda, sda1. */
int usage_is_part(const char *name, const char *disk) __attribute__((cold));

#endif
