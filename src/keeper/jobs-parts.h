/*
 * Between the files of the keeper's jobs, and for nobody else: jobs.c has the
 * table of devices and the jobs, operations.c what is done in one.
 */
#ifndef UBLKD_JOBS_PARTS_H
#define UBLKD_JOBS_PARTS_H

#include <ev.h>
#include <stdint.h>

#include "jobs.h"

/* What becomes of a device that no server will take over. */
enum clean_up { CLEAN_UP_NO, CLEAN_UP_STOP, CLEAN_UP_DELETE };

/*
 * A device that exists in the driver, or is about to. At most one job of a
 * device is under way, except that a START can be cancelled.
 */
struct entry {
	struct entry *next;
	uint32_t id;
	struct job *job;
	enum clean_up clean_up; /* the next step, when its server is dead */
	int live;		/* it has been started, */
	int served;		/* and a server answers its requests now */
	int deleting;	 /* somebody began to stop it: that is finished */
	int taking;	 /* its take-over began, and no tag may be fetched */
	int private;	 /* its files are removed with it */
	int recoverable; /* the driver holds it for the next server ... */
	char *words;	 /* ... which gets the command that made it, */
	struct held_file *files; /* what its target holds, */
	int file_count;
	struct ublk_dev_info info; /* and what the driver accepted */
	uint64_t tally;		   /* of its target */
};

/* One request of the server, or of the clean-up, until its answer. */
struct job {
	struct jobs *jobs;
	struct entry *entry;	/* NULL for FEATURES and ASK */
	unsigned generation;	/* of the server that asked; 0: the clean-up */
	struct message message; /* arguments live here while it runs */
	int stage;
	int fd;
	char path[64];
	char bytes[16];
	const int *fds; /* beside the message, only while the job begins */
	int fd_count;
	unsigned closing;  /* of what the device held, when it is deleted */
	int result;	   /* then: of the command itself; of a BUSY: why a
			      helper could not tell */
	ev_timer patience; /* then */
};

struct operation {
	/* Returns 0 under way, 1 done at once, or a negative errno. */
	int (*begin)(struct job *job);
	/* NULL: the result as it is. Returns 1 while the job goes on. */
	int (*end)(struct job *job, int result);
};

/* That of a type of message, or NULL for one that is no request. */
const struct operation *jobs_operation(uint32_t type);

/* What a job waited for, not on the ring, has come: it goes on, or ends. */
void jobs_go_on(struct job *job, int result);

/* What the ring's completions for it bring. */
static inline uint64_t job_data(struct job *job)
{
	return (uint64_t)(uintptr_t)job;
}

/*
 * The operation of a NOTE: keep what the next server will need. Done at once,
 * or refused with nothing changed. Later notes bring new words, or descriptors
 * for files that were away: -ESTALE if one is of another file.
 */
int jobs_note(struct job *job);

#endif
