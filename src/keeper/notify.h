/*
 * What the service manager hears from us and gives to us: sd_notify(3)'s
 * datagrams, and the descriptors of sd_listen_fds(3). The protocol is stable
 * and small, so no library is needed. Nothing here waits, and all of it does
 * nothing where no manager has said, in the environment, that it listens.
 */
#ifndef UBLKD_NOTIFY_H
#define UBLKD_NOTIFY_H

/*
 * Look at the environment, once, before any other of these. LISTEN_FDS and its
 * like are removed from it; NOTIFY_SOCKET stays for a program that this process
 * becomes by exec. The descriptors received are close-on-exec from then on.
 */
void notify_open(void);

/* Forget the manager, and close the descriptors that nobody has taken. */
void notify_close(void);

/* For a child between fork and exec: it does not speak for the service. */
void notify_disown(void);

/*
 * Tell the manager lines such as "READY=1\nSTATUS=...", at most 1 KiB; what is
 * longer is cut. Returns 0, also without a manager, or a negative errno:
 * -EAGAIN where the manager is too busy to take it now.
 */
int notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Have the manager keep a copy of fd under that name (the caller sees to it that
 * it is printable, has no colon and at most 255 bytes) until notify_unstore(); the
 * next process of the service gets the descriptor from notify_take(). A name can
 * be used more than once. fd stays the caller's. Returns as notify_send() does.
 * That the store is full, or that the unit has none, is not told.
 */
int notify_store(const char *name, int fd);

/* The manager lets go of all that it keeps under that name. */
int notify_unstore(const char *name);

/*
 * The next descriptor that the manager has given us, -1 after the last. It is
 * the caller's. One below `floor` is moved there or above, if a number is free; the
 * one that it had stays taken. *name is valid until the next call.
 */
int notify_take(const char **name, int floor);

#endif
