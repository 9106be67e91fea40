/*
 * Opens files, makes, closes and removes them without waiting: on a dead
 * network file system, or a frozen one, each of that can block for ever, and
 * the last close of a disk writes back what is dirty. A ring of its own does
 * it, which exists while there is anything to do.
 */
#ifndef UBLKD_OPENER_H
#define UBLKD_OPENER_H

#include <ev.h>
#include <stdint.h>

#define OPENER_PATIENCE 30.0 /* s; then it is -ETIMEDOUT */

struct opener_wish {
	const char *path;
	int flags;	 /* of open(2) */
	int create;	 /* make a file where there is none, */
	uint64_t length; /* of so many bytes */
	char lock;	 /* 'r' or 'w': the receiver is to lock it; 0: no */
	int punch;	 /* find out whether holes can be made in it */
	int patient;	 /* wait for as long as it takes, not OPENER_PATIENCE */
};

struct opener_result {
	int fd; /* or a negative errno */
	int is_new;
	int can_punch;
};

/*
 * The descriptor is the receiver's. A file that was made is there, whatever
 * becomes of it; if it was made in vain it is gone again.
 */
typedef void opener_done(void *context, const struct opener_result *result);

/*
 * Begin; done is called later, once. The wish is copied. Returns 0 or a
 * negative errno.
 */
int opener_open(struct ev_loop *loop, const struct opener_wish *wish,
		opener_done *done, void *context);

/* Files are free, or error is -ETIMEDOUT: they will be, nobody knows when. */
typedef void opener_closed(void *context, int error);

/*
 * Remove the file at path (NULL: none), and close fd (-1: none), which is the
 * opener's from now on. Returns 1 if that is under way, and closed, which may be
 * NULL, is called later, once; or 0 if it is done already: by a close that may
 * wait, where there is no memory for anything else.
 */
unsigned opener_close(struct ev_loop *loop, int fd, const char *path,
		      opener_closed *closed, void *context);

#endif
