/*
 * Descriptors that go along when this process becomes another program by exec:
 * the environment names them. Like what a service manager keeps, they are for
 * the case that nobody else has them in the end.
 */
#ifndef UBLKD_CARRY_H
#define UBLKD_CARRY_H

/*
 * Have fd, which stays the caller's, go along under a name without blanks.
 * Returns 0 or a negative errno.
 */
int carry_put(const char *name, int fd);

/* There was no exec: nothing goes along any more. */
void carry_undo(void);

/*
 * The next descriptor that the program before has left, -1 after the last. It
 * is the caller's, and close-on-exec. *name is valid until the next call.
 */
int carry_take(const char **name);

#endif
