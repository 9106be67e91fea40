/*
 * How the keeper starts a process: a server, a program that is tried as one, a
 * helper.
 *
 * After a plain fork() the child has all that the keeper has open until exec
 * closes it: a disk that is open exclusively, a server's ring. And to close a file
 * may wait for that file's server (FUSE, NFS), without which nothing could be
 * started then. So the child begins in the keeper's own table of descriptors, and
 * leaves it for one in which only the numbers below SPAWN_FLOOR are copied.
 * Whatever is a user's must lie above: the keeper keeps the rest taken.
 */
#ifndef UBLKD_SPAWN_H
#define UBLKD_SPAWN_H

#include <signal.h>

#include "base/proc.h"

/* close_range() copies whole words of the kernel's bitmap, and 64 bits at least. */
#define SPAWN_FLOOR 64

/*
 * Take every number below SPAWN_FLOOR that is free, before any file of a user's
 * is there; these are copies of descriptor 0.
 */
void spawn_reserve(void);

/*
 * Start a program. ours, theirs: the ends of a SEQPACKET socketpair, both of which
 * stay the caller's; the child has its own as SERVER_FD, and has sent nothing yet.
 * A program that cannot be executed says so by a MESSAGE_FAILED. Returns 0 and holds
 * the process, or a negative errno; a child that there was then is killed, and to
 * be reaped all the same. Waits until the child has left this process' table: some
 * system calls, and none of them closes anything.
 */
int spawn_program(struct proc *proc, int ours, int theirs, const char *program,
		  char *const arguments[], const sigset_t *signals)
	__attribute__((cold));

#endif
