/*
 * The keeper's jobs: control commands under way, and the devices they are for.
 */
#ifndef UBLKD_JOBS_H
#define UBLKD_JOBS_H

#include <ev.h>
#include <stdint.h>
#include <sys/types.h>

#include "control.h"
#include "message.h"

struct entry;
struct jobs;

/* The answer to a server's request. */
typedef void jobs_answer(struct jobs *jobs, const struct message *message);

/* The last device is gone. */
typedef void jobs_idle(struct jobs *jobs);

struct jobs {
	struct ev_loop *loop;
	struct control control;
	ev_io watcher;
	uint64_t mark; /* our devices carry it, see jobs_open() */
	struct entry *entries;
	pid_t server;	     /* who serves what is started now */
	unsigned generation; /* of that server; answers go to no other */
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
	      jobs_answer *answer, jobs_idle *idle, void *owner);

/* Nothing is under way any more. */
void jobs_close(struct jobs *jobs);

/* A new server: what the old one had asked for is answered to nobody. */
void jobs_set_server(struct jobs *jobs, pid_t server);

/* Run a server's request, MESSAGE_FEATURES to MESSAGE_CANCEL. */
void jobs_run(struct jobs *jobs, const struct message *message);

/*
 * The server is dead: stop and delete its devices. Returns how many there are.
 */
unsigned jobs_orphan_all(struct jobs *jobs);

/*
 * Delete devices of an earlier ublkd on this socket that was killed, server
 * and keeper. Only for a keeper that holds the socket's lock, at its start: it
 * waits for the driver's answers.
 */
void jobs_delete_leftovers(struct jobs *jobs);

#endif
