/*
 * The nodes in /dev that the kernel, udev or mdev makes for a ublk device, and
 * what may lie in their place: a "dd of=/dev/ublkbN" after a del, for instance,
 * makes a file there, and no node comes to it any more.
 */
#ifndef UBLKD_NODE_H
#define UBLKD_NODE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "failure.h"
#include "owner.h"

enum node {
	NODE_CHAR,  /* /dev/ublkcN */
	NODE_BLOCK, /* /dev/ublkbN */
};

#define NODE_PATH_BYTES 32

void node_path(enum node node, uint32_t id, char *path, size_t size);

/* Where sysfs has an attribute of a device's disk, such as "queue/io_timeout". */
void node_attribute(uint32_t id, const char *attribute, char *path,
		    size_t size);

#define NODE_DEVICES "/sys/class/ublk-char" /* one "ublkcN" for each device */

/*
 * Look for a device's node. Returns 0 when it is there, or with *failure filled:
 * -ENOENT while there is nothing, -ESTALE for another device's node, which may
 * still be replaced, -EEXIST for anything else.
 */
int node_look(enum node node, uint32_t id, struct failure *failure)
	__attribute__((cold));

/*
 * Whether the nodes of a device that does not exist yet can come. Returns 0, or
 * -1 with *failure filled.
 */
int node_check_free(uint32_t id, struct failure *failure);

/*
 * Give a device's node to its owner, with those permission bits; 0: they stay as
 * they are. Harmless if that is so already. Returns 0 or a negative errno.
 */
int node_give(uint32_t id, const struct owner *owner, mode_t mode)
	__attribute__((cold));

/* Read a number as sysfs has it, "259:3". Returns 0 or a negative errno. */
int node_read_number(const char *path, dev_t *number);

#endif
