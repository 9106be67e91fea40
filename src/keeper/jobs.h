/*
 * The keeper's jobs: control commands under way, and the devices they are for.
 */
#ifndef UBLKD_JOBS_H
#define UBLKD_JOBS_H

#include <ev.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/channel.h"
#include "control.h"
#include "entry.h"
#include "helper.h"
#include "base/message.h"
#include "state.h"

struct jobs;

/* The answer to a server's request. */
typedef void jobs_answer(struct jobs *jobs, const struct message *message,
			 int fd);

/* Nothing is under way any more. */
typedef void jobs_idle(struct jobs *jobs);

struct jobs {
	struct ev_loop *loop;
	struct control control;
	ev_io watcher;
	struct state *state; /* where devices are noted */
	struct helpers *helpers;
	uint64_t mark; /* our devices carry it, see jobs_open() */
	struct entry *entries;
	struct job *spare;   /* one that has ended, for the next; or NULL */
	uint64_t features;   /* of the driver, once somebody has asked */
	pid_t server;	     /* who serves what is started now */
	unsigned generation; /* of that server; answers go to no other */
	unsigned unclosed;   /* devices that are deleted, and what they held is
				still being closed */
	jobs_answer *answer;
	jobs_idle *idle;
	void *owner;
};

/*
 * Begin. `path` is the socket's: the devices are marked with it, so that a
 * later keeper on the same socket knows what a killed one left. Returns 0 or
 * a negative errno.
 */
int jobs_open(struct jobs *jobs, struct ev_loop *loop, const char *path,
	      struct state *state, struct helpers *helpers, jobs_answer *answer,
	      jobs_idle *idle, void *owner) __attribute__((cold));

/* Let go of everything; devices that are left stay as they are. */
void jobs_close(struct jobs *jobs);

/* A new server: what the old one had asked for is answered to nobody. */
void jobs_set_server(struct jobs *jobs, pid_t server);

/* Whether a message is a request for jobs_run(). */
int jobs_can_run(uint32_t type);

/* Run a server's request. Descriptors stay the caller's. */
void jobs_run(struct jobs *jobs, const struct message *message, const int *fds,
	      int fd_count) __attribute__((cold));

/*
 * The server is dead. If it is replaced, the devices that the driver holds for
 * the next one stay (*kept of them); the others are stopped and deleted.
 */
void jobs_server_gone(struct jobs *jobs, int replaced, unsigned *kept,
		      unsigned *deleted) __attribute__((cold));

/*
 * Before the devices are stopped all the same: ask a helper who uses them, and
 * tell the log. Returns 0, and done will be called; or a negative errno.
 */
int jobs_ask_users(struct jobs *jobs, helper_done *done, void *context);
void jobs_log_users(const struct message *answer);

/* Nobody waits for the users of dead disks any more: their ids come later. */
void jobs_hurry(struct jobs *jobs);

/*
 * Tell a new server which devices it takes over, a MESSAGE_DEVICE each.
 * Returns 0 or a negative errno.
 */
int jobs_hand_over(struct jobs *jobs, struct channel *channel)
	__attribute__((cold));

/* Close a file that no device has; nobody waits for that. */
void jobs_close_file(struct jobs *jobs, int fd);

/* Close all that a device held which is none of ours; the same. */
void jobs_let_go(struct jobs *jobs, struct entry *entry);

/* Whether a command is under way. */
int jobs_are_busy(const struct jobs *jobs);

/* Whether the driver has requests that a server must answer. */
int jobs_have_requests(const struct jobs *jobs);

/* Whether there are devices that are not to be deleted. */
int jobs_have_devices(const struct jobs *jobs);

/* Begin to delete what was restored for that: see entry_restore(). */
void jobs_clean_up(struct jobs *jobs);

#endif
