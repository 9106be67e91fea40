/*
 * The keeper's table of devices: what is known of each, and what it holds for
 * the next server and, written down in the state folder, for the next keeper.
 *
 * What a device holds travels as messages: to a server, from a server that has
 * lost its keeper, and in the copy that goes along over an exec. A service manager
 * has it under names. All of that is written and read here.
 */
#ifndef UBLKD_ENTRY_H
#define UBLKD_ENTRY_H

#include <stdint.h>

#include "base/channel.h"
#include "base/message.h"
#include "base/uapi.h"
#include "io/ring.h"
#include "state.h"

struct job;

/* How far the life of a device is, in that order. */
enum entry_state {
	ENTRY_NEW,	 /* it was added, or is about to be: it is not live */
	ENTRY_LIVE,	 /* a server answers its requests */
	ENTRY_QUIESCED,	 /* the driver holds its requests for the next server */
	ENTRY_TAKEN,	 /* a server takes it over, and with an old driver no
			    other one could do that again */
	ENTRY_DELETING,	 /* its server began to stop it: that is finished */
	ENTRY_TO_STOP,	 /* no server will have it: it is to be stopped next, */
	ENTRY_TO_DELETE, /* or to be deleted next */
	ENTRY_SPARED,	 /* of a keeper's start: it is left alone, and what it
			    held stays for somebody later */
};

/* A device that exists in the driver, or is about to. */
struct entry {
	struct entry *next;
	enum entry_state state;
	struct job *job; /* the command under way for it (jobs.h), or NULL */
	struct ublk_dev_info info; /* as the driver accepted it */
	struct state_device noted; /* no words: nothing is, yet */
};

struct entry *entry_find(struct entry *first, uint32_t id);

/* A new device in front of the list, or NULL without memory. */
struct entry *entry_new(struct entry **first, uint32_t id);

/*
 * A keeper's start: an entry is told of by a MESSAGE_DEVICE or MESSAGE_TALLY,
 * whose descriptors are taken, also on failure. What a message tells of a
 * device's files counts more than what was there. Returns 0 or -ENOMEM.
 */
int entry_from_message(struct entry **first, const struct message *message,
		       const int *fds, int fd_count) __attribute__((cold));

/*
 * The same by the name under which a service manager had the descriptor. Takes
 * fd on success. Returns 0, -ENOMEM, or -EINVAL for what is no device's, or
 * lacks the descriptor before it.
 */
int entry_from_store(struct entry **first, const char *name, int fd)
	__attribute__((cold));

/*
 * The device is gone, and let go of what it held: take it out of the list and
 * out of the state folder.
 */
void entry_free(struct entry **first, struct entry *entry,
		const struct state *state) __attribute__((cold));

/*
 * A keeper's start: an earlier keeper's device, one that the next server takes
 * over, or a doomed one that is to be stopped and deleted. `noted` may be NULL
 * then. The descriptors of its files are taken, also on failure. Returns 0 or
 * -ENOMEM.
 */
int entry_restore(struct entry **first, const struct ublk_dev_info *info,
		  const struct state_device *noted, int is_doomed)
	__attribute__((cold));

/* Only what this process knows of the device goes; the device stays. */
void entry_forget(struct entry **first, struct entry *entry);

/* Whether the next server can take the device over, with nothing lost. */
int entry_can_wait(const struct entry *entry);

/*
 * Keep what the next server and the next keeper will need: a MESSAGE_NOTE and
 * what came with it, which stays the caller's. A later note brings new words,
 * or descriptors for files that were away. Returns 0; or a negative errno, and
 * the words are as before: -ESTALE if a descriptor is of another file than the
 * one that was noted.
 */
int entry_note(struct entry *entry, const struct state *state,
	       const struct message *message, const int *fds, int fd_count)
	__attribute__((cold));

/*
 * A MESSAGE_TALLY: a device has another tally (target.h), for the next server and
 * the next keeper. Returns 0 or a negative errno, -ENODEV when there is no such
 * device; the tally is kept also if it cannot be written down.
 */
int entry_take_tally(struct entry *first, const struct state *state,
		     const struct message *tally);

/*
 * Whether the device rests until somebody resumes it, for the next server and the
 * next keeper. What cannot be written down is told to the log.
 */
void entry_quiesce(struct entry *entry, const struct state *state, int quiesced)
	__attribute__((cold));

/*
 * Tell a new server of the device: a MESSAGE_DEVICE, with what its target holds,
 * and its tally. Returns 0 or a negative errno.
 */
int entry_hand_over(const struct entry *entry, struct channel *channel)
	__attribute__((cold));

/*
 * Close what the device held, on the ring, and remove what is its own. Returns
 * how many completions with that data tell that something is closed.
 */
unsigned entry_let_go(struct entry *entry, struct ring *ring, uint64_t data)
	__attribute__((cold));

/* The same of one descriptor: returns 1, or 0 if it is closed already. */
unsigned entry_close(struct ring *ring, int fd, uint64_t data);

#endif
