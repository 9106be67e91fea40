/*
 * Opens files, makes, lengthens, closes and removes them without waiting: on a
 * dead network file system, or a frozen one, each of that can block for ever,
 * and the last close of a disk writes back what is dirty. A ring of its own does
 * it, which exists while there is anything to do, whatever becomes of the device
 * that it is for.
 */
#ifndef UBLKD_OPENER_H
#define UBLKD_OPENER_H

#include <ev.h>
#include <stdint.h>

#define OPENER_PATIENCE 30.0 /* s; then it is -ETIMEDOUT */
#define OPENER_FILES	2    /* of one device */

struct opener_wish {
	const char *path;
	const char *option; /* that names it */
	int flags;	    /* of open(2) */
	int create;	    /* make a file where there is none, */
	uint64_t length;    /* of so many bytes, at least 1 */
	char lock;	    /* 'r' or 'w': the receiver is to lock it; 0: no */
	int patient; /* wait for as long as it takes, not OPENER_PATIENCE */
	/*
	 * Not for opener_open(): it is no file, but what a helper has to be asked
	 * for (HELPER_CONNECT), with this as the text. NULL: a file.
	 */
	const char *connect;
};

struct opener_result {
	int fd; /* or a negative errno */
	int is_new;
};

/*
 * Opening a file that is there changes nothing about it. The descriptor is the
 * receiver's. A file that was made is there, whatever becomes of it; if it was
 * made in vain it is gone again.
 */
typedef void opener_done(void *context, const struct opener_result *result);

/*
 * Begin; done is called later, once. The wish is copied. Returns 0 or a
 * negative errno.
 */
int opener_open(struct ev_loop *loop, const struct opener_wish *wish,
		opener_done *done, void *context) __attribute__((cold));

/*
 * The end of something else. error is 0, or negative; -ETIMEDOUT of a close: the
 * file will be free, nobody knows when.
 */
typedef void opener_ended(void *context, int error);

/*
 * Remove the file at path (NULL: none), and close fd (-1: none), which is the
 * opener's from now on. Returns 1 if that is under way, and ended, which may be
 * NULL, is called later, once; or 0 if it is done already: by a close that may
 * wait, where there is no memory for anything else.
 */
unsigned opener_close(struct ev_loop *loop, int fd, const char *path,
		      opener_ended *ended, void *context) __attribute__((cold));

/* Close fd: the same, but ended is called when it is closed, and not before. */
unsigned opener_close_patiently(struct ev_loop *loop, int fd,
				opener_ended *ended, void *context)
	__attribute__((cold));

struct opening;
struct ring_transfer;

/*
 * Read and write what is open, where that may block: next() is called with 0, and
 * then with the result of each transfer that it has filled in, by descriptor. It
 * returns 1 when it has, 0 at the end or a negative errno. ended is called later,
 * once, however long that takes; context must live until then. Returns 0, 1 if
 * next() has ended at once, or a negative errno; then ended is not called.
 */
typedef int opener_next(void *context, int32_t result,
			struct ring_transfer *transfer);
int opener_run(struct ev_loop *loop, opener_next *next, opener_ended *ended,
	       void *context) __attribute__((cold));

/*
 * Make a file at least `size` bytes long. It never becomes shorter, and no byte
 * of it changes, whatever others do to it meanwhile; -EOPNOTSUPP where the file
 * system has no fallocate(). fd stays the caller's, who may close it at any
 * time. ended is called later, once, however long that takes. Returns what
 * opener_forget() needs, which is good until then, or NULL with *error a
 * negative errno.
 */
struct opening *opener_grow(struct ev_loop *loop, int fd, uint64_t size,
			    opener_ended *ended, void *context, int *error);

/* Do not call ended for it any more. NULL: nothing. */
void opener_forget(struct opening *opening);

#endif
