/*
 * What can be known of a ublkd that does not answer: from the file of sight, in
 * which its server has written what it does, and from /proc and /sys.
 */
#ifndef UBLKD_STILL_H
#define UBLKD_STILL_H

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/sight.h"
#include "base/host.h"

#define STILL_TEXT 400

struct still {
	const char *root;   /* as for host_read() */
	const char *folder; /* ublkd's state folder */
	int is_heard;	    /* somebody listens at its socket: */
	pid_t listener;	    /* one of its processes, 0: not known */

	/* What still_look() finds. */
	struct sight_file sight; /* if sight_error is 0 */
	int sight_error;
	pid_t server; /* 0: not known, or none */
	unsigned count;
	struct host_device devices[HOST_DEVICES_MAX];
	char verdict[STILL_TEXT]; /* one sentence, without a full stop */
};

/* Fill in the rest from the first four. To be closed. */
void still_look(struct still *still) __attribute__((cold));
void still_close(struct still *still) __attribute__((cold));

/*
 * Whether a device is known to have no server: root alone sees who has it, and
 * while ublkd's server is there, which may not answer, it is taken for served.
 */
int still_is_orphan(const struct still *still,
		    const struct host_device *device);

/*
 * Print the verdict, and a line for each device, with its own verdict behind it if
 * requests wait, folded as screen_print() does. Takes the time of a look at the
 * host's processes.
 */
void still_print(const struct still *still, FILE *out, size_t columns)
	__attribute__((cold));

#endif
