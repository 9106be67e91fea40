/*
 * Other processes: held by a pidfd (Linux 5.3), so that nobody is signalled or
 * waited for whose number has been given to another one since; and those that
 * are dying, whose files, locks and devices come free in a moment.
 */
#ifndef UBLKD_PROC_H
#define UBLKD_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "failure.h"

/* ---- a process that is held ---- */

struct proc {
	pid_t pid; /* 0: nobody, and fd means nothing */
	int fd;
};

/*
 * Hold a process that cannot have been reaped yet: a child, or one that is heard
 * from after this call. Returns 0 or a negative errno, and nobody is held.
 */
int proc_open(struct proc *proc, pid_t pid);

/* SIGKILL. Harmless when it has ended, or nobody is held. */
void proc_kill(const struct proc *proc);

/* Wait so many ms for its end. */
void proc_wait(const struct proc *proc, int ms);

void proc_close(struct proc *proc);

/* ---- a look ---- */

struct proc_look {
	char name[16];
	char state;		    /* as in proc(5): R, S, D, T, t, Z ... */
	unsigned flags;		    /* PF_... of the kernel */
	uint64_t ticks;		    /* of CPU time that it has used */
	unsigned long long signals; /* that it will get: SIGKILL, too */
};

/* Returns 0, or a negative errno when there is no such process. */
int proc_look(pid_t pid, struct proc_look *look) __attribute__((cold));

/* Whether there is such a process, and it was killed, or ends. */
int proc_is_dying(pid_t pid);

/*
 * The process at the other end of a socket: for one that was connected, whoever
 * called listen() last. 0: it cannot be told.
 */
pid_t proc_peer(int fd);

/* ---- the end of one that is dying ---- */

struct dying {
	const char *what; /* it still has, for the log */
	unsigned grace;	  /* looks that one is given which seems well */
	unsigned looks;	  /* so far, of DYING_LOOKS */
	char who[64];	  /* the process at the last look */
};

#define DYING_LOOKS 300 /* of 100 ms */
#define DYING_GRACE 30	/* for a server: its end may be its own will */

/*
 * Something is still taken, by that process (0: it cannot be told): wait 100 ms
 * if it is dying, or has just ended. At a keeper's start only, when nobody is
 * held up by that. Returns 0 to look again, -EBUSY for one that lives on,
 * -ETIMEDOUT after DYING_LOOKS, -EINTR when a signal tells this process to end.
 */
int dying_wait(struct dying *dying, pid_t pid) __attribute__((cold));

/* Lock a file as flock() does, with such a wait for whoever has it. */
int dying_lock(struct dying *dying, int fd);

/* Say why a wait came to nothing, other than by -EBUSY. Returns -1. */
int dying_failure(const struct dying *dying, int error,
		  struct failure *failure);

#endif
