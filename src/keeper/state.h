/*
 * The state folder: what a later keeper needs when keeper and server have both
 * been killed. A small file for each device, in the grammar of the admin
 * protocol, written before the device can go live.
 */
#ifndef UBLKD_STATE_H
#define UBLKD_STATE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/failure.h"
#include "held.h"
#include "base/message.h"

struct state {
	char path[108];
	int fd;		   /* of the folder, locked as long as this lives */
	int made;	   /* by us */
	const char *names; /* NAMES_FOLDER, or NULL: none are written */
};

/*
 * The names that users gave their devices, and who gets their nodes, for the rule of
 * udev that makes the links in /dev/ublk/by-name (contrib/udev). A file ublkbN for
 * each disk that has one of these comes and goes with the device's note, and so is there before the kernel
 * tells udev of the disk. The folder is the host's, like the devices' numbers: all
 * its ublkds share it.
 */
#define NAMES_FOLDER "/run/ublkd-names" /* the rule names it, too */

/* What is noted of a device, and what it holds. */
struct state_device {
	uint32_t id;
	int recoverable; /* the driver holds it for another server, */
	char *words;	 /* which gets the command that made it; */
	int private;	 /* its files are ours to remove with it */
	int configured;	 /* it came from the configuration file */
	int quiesced;	 /* it rests until somebody resumes it */
	int deleting;	 /* somebody began to stop it: that is finished */
	uint64_t mark;	 /* in the driver's server_flags; 0: not noted */
	uint64_t tally;	 /* of its target (target.h) */
	struct held_file *files; /* what its target holds */
	int file_count;
};

/*
 * Make the folder (mode 0700) if it is not there, and lock it. Refuses one
 * that others can write to. Returns 0, or -1 with *failure filled.
 */
int state_open(struct state *state, const char *path, struct failure *failure)
	__attribute__((cold));

/* Unlock it. A folder that we made is removed, if it is empty. */
void state_close(struct state *state);

/*
 * Write a device's file, or replace it, at once or not at all; but for `deleting`,
 * which it is not. Returns 0 or a negative errno.
 */
int state_write(const struct state *state, const struct state_device *device)
	__attribute__((cold));

/*
 * For udev, write down the name, the owner and the mode that the command `words`
 * gives device `id`, or forget what was written if it gives none. state_write() does
 * that, too. Only the log is told of a failure: no device depends on these.
 */
void state_write_name(const struct state *state, uint32_t id, const char *words)
	__attribute__((cold));

/* Note that the device is being deleted. Returns 0 or a negative errno. */
int state_doom(const struct state *state, uint32_t id);

/* A device that was being deleted stays. Returns 0 or a negative errno. */
int state_spare(const struct state *state, uint32_t id);

/* Whether there is a file of the device that can be read. */
int state_has(const struct state *state, uint32_t id);

/* Forget the device. Harmless if there is none. */
void state_remove(const struct state *state, uint32_t id);

/*
 * Read every device's file, in no order; take() may change what it is given. Until
 * it returns there are words, and room for MESSAGE_MAX_FDS files, none of which is
 * open. A device that cannot be read is told to the log and left where it is.
 * Returns 0 or a negative errno.
 */
int state_read_all(const struct state *state,
		   void (*take)(void *context, struct state_device *device),
		   void *context) __attribute__((cold));

#endif
