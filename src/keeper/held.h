/*
 * The record of a thing that a target holds for as long as its device exists:
 * the descriptor, and the file that stands behind it. The keeper's table, and
 * the state folder with it, have one for each.
 *
 * How a file is opened follows from the command that made the device, so that
 * is not here: whoever opens one again does so as the first time.
 */
#ifndef UBLKD_HELD_H
#define UBLKD_HELD_H

#include <stdint.h>
#include <sys/types.h>

struct held_file {
	int fd;		/* -1: it is not open just now */
	char path[512]; /* "": of a memfd, or a file that has no name any more */
	/*
	 * Which file it is. A file made anew in its place may get the number of
	 * the old one, but not when that was made, nor its generation.
	 */
	dev_t device;
	ino_t inode;
	uint64_t born; /* ns since 1970; 0: its file system does not say */
	uint64_t generation; /* of the inode, or of the disk; 0: not known */
};

/*
 * Fill in the record of what fd is, and put fd into it. One that was made
 * without a name in some folder (O_TMPFILE) has the path that held_link() will
 * give it. No file server is asked.
 */
void held_describe(struct held_file *file, int fd) __attribute__((cold));

/*
 * Put fd into the record, which gets what is known better now. Returns 0, or
 * -ESTALE if fd is another file than the record tells of: then the record is as
 * it was, and fd the caller's.
 */
int held_take(struct held_file *file, int fd);

/*
 * Open a file of our own again, by its path. Returns 0, -ENOENT if it is gone
 * or never had one, -ESTALE when another one lies there, or another negative
 * errno.
 */
int held_open(struct held_file *file);

/* Whether it still lies at its path. */
int held_is_there(const struct held_file *file);

/* Give an open file without a name its path. Returns 0 or a negative errno. */
int held_link(const struct held_file *file);

/* Remove it, if it is still there and no other. */
void held_remove(const struct held_file *file);

/* Close the descriptors that there are. */
void held_close(const struct held_file *files, int count);

/*
 * Copy out the descriptors, which stay the record's. Returns how many: count, or
 * 0 if one of them is not there, because none is of use alone.
 */
int held_fds(const struct held_file *files, int count, int *fds);

#endif
