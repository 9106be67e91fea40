/*
 * The path of the admin socket, or of the read-only one: one owner, safe modes, no
 * stale leftovers.
 */
#ifndef UBLKD_LISTENER_H
#define UBLKD_LISTENER_H

#include <sys/types.h>

#include "base/failure.h"

struct listener {
	char path[108]; /* what fits a sockaddr_un */
	int fd;		/* listens, non-blocking */
	int lock;	/* path.lock, locked; has our process number */
	dev_t device;	/* of the socket that we bound */
	ino_t inode;
	int is_hidden; /* it listens, but is not at its path yet */
};

/* Lock path.lock: one ublkd a path. Returns 0, or -1 with *failure. */
int listener_lock(struct listener *listener, const char *path,
		  struct failure *failure) __attribute__((cold));

/*
 * With the lock, bind and listen on the path with mode 0660 and group `ublk`
 * where there is one. A stale socket is replaced; one that still answers, or a
 * file that is no socket, is left alone. Returns 0, or -1 with *failure.
 */
int listener_bind(struct listener *listener, struct failure *failure)
	__attribute__((cold));

/*
 * The same for a socket that nobody hands over: until listener_show() it listens
 * beside the path, at which an earlier server may answer. With mode 0666.
 */
int listener_bind_hidden(struct listener *listener, struct failure *failure)
	__attribute__((cold));

/*
 * That server is to leave: put ours in the place of its socket, at once, so that
 * there always is one. Returns 0 or a negative errno.
 */
int listener_show(struct listener *listener) __attribute__((cold));

/*
 * With the lock, go on with the socket of an earlier keeper, if it listens at
 * the path already: 0, and fd is the listener's from now on. It is ours to
 * remove unless `borrowed`. -ENOENT: it listens elsewhere.
 */
int listener_use(struct listener *listener, int fd, int borrowed);

/*
 * Begin with a Unix stream socket that listens already, as a service manager
 * passes one: its path is locked, its modes are left alone, and it is not
 * removed at the end. fd is the listener's from now on, and closed on failure.
 */
int listener_adopt(struct listener *listener, int fd, struct failure *failure)
	__attribute__((cold));

/* Remove the socket, if it is still ours, and the lock; close both. */
void listener_close(struct listener *listener) __attribute__((cold));

/* Close both, and leave the socket to those who still have it. */
void listener_leave(struct listener *listener);

#endif
