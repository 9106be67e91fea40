/*
 * Opens paths without waiting for them: on a dead network file system, or a
 * frozen one, open(2) and fallocate(2) can block for ever. A ring of its own
 * does it, which exists while something is being opened.
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
	int punch;	 /* find out whether holes can be made in it */
};

struct opener_result {
	int fd; /* or a negative errno */
	int is_new;
	int can_punch;
};

/*
 * The descriptor is the receiver's. A file that was made is there, whatever
 * becomes of it.
 */
typedef void opener_done(void *context, const struct opener_result *result);

/*
 * Begin; done is called later, once. The wish is copied. Returns 0 or a
 * negative errno.
 */
int opener_open(struct ev_loop *loop, const struct opener_wish *wish,
		opener_done *done, void *context);

#endif
