/*
 * The keeper's watch over a server that may hang: one whose turns
 * (base/sight.h) stand still though it was asked for one is killed, so that the next one can
 * answer its requests. It looks once a second, and only while there is a
 * reason: idle costs no wakeup.
 */
#ifndef UBLKD_WATCHDOG_H
#define UBLKD_WATCHDOG_H

#include <ev.h>
#include <stdint.h>

#include "base/proc.h"
#include "base/sight.h"

struct watchdog;

/* Whether anything waits for the server: a command, a request. */
typedef int watchdog_reason(struct watchdog *watchdog);

/* Send the server something that makes it take a turn. */
typedef void watchdog_ask(struct watchdog *watchdog);

struct watchdog {
	struct ev_loop *loop;
	ev_timer timer;
	int fd; /* the file of sight, the caller's */
	struct sight_head *head;
	struct sight_server *page; /* the server's; NULL: nobody is watched */
	const struct proc *server; /* whoever began holds it */
	uint64_t seen;		   /* turns at the last look */
	uint64_t ticks;		   /* of CPU time that it had used by then */
	unsigned still; /* looks without a turn since it was asked for one */
	int reported;	/* that it is stopped */
	watchdog_reason *reason;
	watchdog_ask *ask;
	void *owner;
};

void watchdog_open(struct watchdog *watchdog, struct ev_loop *loop,
		   watchdog_reason *reason, watchdog_ask *ask, void *owner)
	__attribute__((cold));

/*
 * A new server, which is to be held, as the file of sight is, until
 * watchdog_end(). Returns which of the two parts of the file's head is the
 * server's, or a negative errno: then it is not watched.
 */
int watchdog_begin(struct watchdog *watchdog, const struct proc *server, int fd)
	__attribute__((cold));

/* There may be a reason now. Harmless at any time. */
void watchdog_look(struct watchdog *watchdog) __attribute__((cold));

/* The server is gone, or none of our business any more. */
void watchdog_end(struct watchdog *watchdog) __attribute__((cold));

#endif
