/*
 * What stands behind a device on a file: a regular file, a disk, or a file
 * whose pages are memory. How large it is, what it can do, and who has it.
 *
 * Nothing here asks a file server, the lock aside.
 */
#ifndef UBLKD_BACKING_H
#define UBLKD_BACKING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum backing_kind {
	BACKING_FILE,
	BACKING_DISK,
	BACKING_MEMORY, /* in a tmpfs, or a memfd */
	BACKING_HUGE,	/* the same of huge pages */
};

struct backing {
	enum backing_kind kind;
	dev_t device; /* a disk's own number, else that of the file system */
	ino_t inode;
	uint64_t size;	 /* bytes */
	uint32_t least;	 /* bytes of a disk's block; 512 for files */
	uint32_t unit;	 /* bytes in which space is taken, a power of 2 */
	uint32_t direct; /* direct I/O's units in bytes; 0: it has none */
	int waits;	 /* nothing can be tried without waiting */
	int locks_reads; /* a read may wait for the file's lock */
	int can_punch;	 /* space can be given back; of files a try tells */
};

/*
 * Look at an open file. Returns 0 or a negative errno: -ENOTBLK when it is none
 * of the kinds above.
 */
int backing_look(struct backing *backing, int fd) __attribute__((cold));

/*
 * By which a file is known again, on any host. What its file system does not say
 * is 0, and of a disk only the size is known.
 */
struct backing_identity {
	uint64_t size;	     /* bytes */
	uint64_t modified;   /* ns since 1970 */
	uint64_t generation; /* of the inode */
};

/* Returns 0 or a negative errno. */
int backing_identify(const struct backing *backing, int fd,
		     struct backing_identity *identity);

/* Its size now. Returns 0 or a negative errno. */
int backing_size(const struct backing *backing, int fd, uint64_t *size);

/*
 * Read what the page cache has, without waiting for anything. Returns 1 if that
 * was all of it, -EOPNOTSUPP if that cannot be tried with this file, or 0 for any
 * other reason: the ring will find out.
 */
int backing_read_cached(int fd, void *bytes, size_t length, uint64_t offset);

/* Bytes of space that a file takes. */
uint64_t backing_used(int fd);

/*
 * The kernel's name of the disk or partition with that number, whatever its node
 * is called. Returns 0 or a negative errno.
 */
int backing_name(dev_t device, char *name, size_t size);

/* Whether it is a disk, which is locked by the way it is opened. */
int backing_is_disk(int fd);

/*
 * Lock a file against other writers, or with read_only against any; what
 * belongs to the open file, so that every process that shares it has it. On
 * -EBUSY who gets a phrase that says who has it.
 */
int backing_lock(int fd, int read_only, char *who, size_t size);

/*
 * Whether it is, or lies on, a ublk disk for which `is_own` says so. Returns
 * its number, or -1.
 */
int64_t backing_find_own(const struct backing *backing,
			 int (*is_own)(void *context, uint32_t id),
			 void *context);

#endif
