/*
 * Helpers: short-lived processes of the keeper that do what can hang with a disk
 * or a file server, or takes a time that grows with the host. Neither keeper nor
 * server may do that itself, and neither waits: the answer comes to the loop.
 *
 * A helper is this program, started anew. It opens no device, and has no
 * descriptor of one: it gets one MESSAGE_ASK with all that its job needs, and
 * sends that back as the answer. One that does not answer in time is killed; if
 * it cannot die it is left behind.
 */
#ifndef UBLKD_HELPER_H
#define UBLKD_HELPER_H

#include <signal.h>
#include <stdint.h>

#include "base/message.h"

#define HELPER_NAME	"ublkd-helper" /* in ps */
#define HELPER_PATIENCE 10.0	       /* s for an answer, once it runs */
#define HELPER_TURN	30.0	       /* s for that to begin */
#define HELPERS_BUSY	4  /* at work at a time: they share the CPUs; */
#define HELPERS_CONNECT 16 /* and on HELPER_CONNECT: those wait for servers */
#define HELPERS_MAX	64 /* processes, those too that cannot die */
#define HELPERS_LOOK	2  /* of those that anybody may ask for often */

struct ev_loop;
struct helper;

struct helpers {
	struct ev_loop *loop;
	const sigset_t *signals; /* the signal mask of every child */
	int is_spared;	      /* as the keeper, by the last kill at shutdown */
	struct helper *first; /* in the order in which they were asked */
	unsigned running;     /* how many of them have a process, */
	unsigned busy;	      /* and of those have not answered yet: */
	unsigned connecting;  /* of HELPER_CONNECT, which busy has not */
};

/*
 * The answer, whose result is the job's: or -ETIMEDOUT, or -ECHILD when the
 * helper has ended without one. fd came with the answer, and is the receiver's;
 * -1: none.
 */
typedef void helper_done(void *context, const struct message *answer, int fd);

void helpers_open(struct helpers *helpers, struct ev_loop *loop,
		  const sigset_t *signals, int is_spared);

/* Kill all, and answer what they were asked with -ECANCELED. */
void helpers_close(struct helpers *helpers);

/*
 * Start a helper for a question, of which job, text and at most one descriptor
 * count; that stays the caller's. Returns 0, and done is called later, once; or
 * a negative errno: then the answer is not known either.
 */
int helper_ask(struct helpers *helpers, const struct message *question,
	       const int *fds, int fd_count, helper_done *done, void *context)
	__attribute__((cold));

/* The helper itself: do one job and answer. Returns the exit status. */
int helper_run(void);

#endif
