/*
 * What keeper and server say to each other, over one SEQPACKET socketpair.
 *
 * Messages have one form; descriptors travel beside them. The server
 * asks for control commands and the keeper answers each with the same type,
 * id and serial. A pair that does not speak the same version does not start.
 */
#ifndef UBLKD_MESSAGE_H
#define UBLKD_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "uapi.h"

#define MESSAGE_MAGIC 0x75626b01u /* the last byte is the version */
#define MESSAGE_TEXT  4200	  /* more than a line of a command */

enum message_type {
	/* keeper to server */
	MESSAGE_BEGIN = 1, /* first; fds: admin and hand-over socket; text: the
			      configuration file; number: BEGIN_... */
	MESSAGE_DEVICE,	   /* one to take over; id, info (state: whether a
			      server has it), text: the command that made it;
			      number: NOTE_CONFIGURED, NOTE_QUIESCED;
			      fds: what its target holds, none if its file is
			      not open just now */
	MESSAGE_TABLE_END, /* that were all -> PREPARED or FAILED */
	MESSAGE_GO,	   /* take them over, and begin to work; fd: to the
			      server that is to leave, if there is one */
	MESSAGE_STOP_ALL,  /* stop and delete every device, then leave */

	/* server to keeper, and answered with a result */
	MESSAGE_FEATURES, /* -> number */
	MESSAGE_ADD,	  /* info -> info as the driver accepted it */
	MESSAGE_PARAMS,	  /* params */
	MESSAGE_NOTE,	  /* what MESSAGE_DEVICE will give to the next server;
			     number: NOTE_...; another one replaces the text, or
			     brings what was not open */
	MESSAGE_START,
	MESSAGE_RECOVER,     /* begin to take it over; -EBUSY: not yet */
	MESSAGE_END_RECOVER, /* every tag is fetched: it goes on */
	MESSAGE_TIMEOUT,     /* number: the disk's I/O timeout in ms */
	MESSAGE_BUSY,	     /* -> result -EBUSY, text: who uses it, number 1:
				a use that lasts, such as a mount; another
				error: it is not known who does */
	MESSAGE_TRY_STOP,
	MESSAGE_STOP,
	MESSAGE_DELETE, /* number 1: whoever still has the dead disk open */

	/* server to keeper: its START, END_RECOVER or DELETE that waits ends;
	   no answer of its own */
	MESSAGE_CANCEL,

	/* server to keeper, not answered */
	MESSAGE_PREPARED, /* all of the table can be served; number 1: as a
			     keeper this program takes a copy of the table */
	MESSAGE_READY,	  /* the configuration has been run */
	MESSAGE_FAILED,	  /* it has failed; text: why. The server leaves */
	MESSAGE_SHUTDOWN, /* somebody asked for it on the admin socket;
			     number: seconds that it may take, 0: as usual */

	/* server to keeper, answered only if it fails: else the keeper becomes
	   the program that text names, and that takes over */
	MESSAGE_UPGRADE,

	/*
	 * Between a server that has lost its keeper and the next keeper, on the
	 * hand-over socket: the server begins with BEGIN (number: its process),
	 * DEVICE ... TABLE_END.
	 */
	MESSAGE_LEAVE, /* keeper to server: end, the devices stay */

	/* server to keeper, and answered with a result; here so that those
	   before have the numbers that they always had */
	MESSAGE_RESIZE, /* number: the disk's new size in sectors */

	/* keeper to server */
	MESSAGE_SIGHT, /* fd: where it writes down what it does (sight.h);
			  number: SIGHT_SECOND, SIGHT_RECORDED */
	MESSAGE_PING,  /* take a turn */

	/* server to keeper, not answered */
	MESSAGE_ACTIVE, /* it has begun to work, so it is worth a look */

	/* server to keeper and next keeper, not answered */
	MESSAGE_RING, /* of a device's queue, to be held (rings.h): id; number:
			 the server's descriptor */

	/* keeper to server, and answered with a result; -EBUSY: text says why */
	MESSAGE_MAY_LEAVE, /* is nothing half done that a take-over would wait
			      for? Then nothing begins for a while; number 1:
			      it is only asked */

	/*
	 * Behind a DEVICE, and server to keeper when it changes, and then answered
	 * with a result; and from a server that leaves to the next keeper.
	 */
	MESSAGE_TALLY, /* id; number: the tally of its target (target.h) */

	/*
	 * Server to keeper, and keeper to a helper; answered with a result.
	 * number: an enum helper_job, which says what the rest is.
	 */
	MESSAGE_ASK,

	/* keeper to server */
	MESSAGE_RELOAD, /* SIGHUP: read the configuration again */
	/* Server to keeper, and answered with a result: -EBUSY after so many ms
	   (number). A RECOVER ends it */
	MESSAGE_QUIESCE,

	/* Server to keeper, and answered with a result; text: who is to own a
	   device -> number: the user's above the group's, see owner.h; on failure
	   text says why */
	MESSAGE_OWNER,

	/* keeper to server */
	MESSAGE_READER, /* before GO; fd: the read-only socket. BEGIN has no room
			   for it: an earlier program takes two there */
};

/* The number of a MESSAGE_ASK: what its text is, and what the answer has. */
enum helper_job {
	/* A disk's name: -EBUSY if it has a user, and text is who, number 1 for
	   a use that lasts. */
	HELPER_DISK_USER,
	/* The path of a disk's node: the same. */
	HELPER_NODE_USER,
	/* Disks' names with blanks between them: number is how many have a user,
	   text a line for each that fits: the name, a blank and who. */
	HELPER_DISK_USERS,
	/* "r" or "w", and a file: as backing_lock() in target/backing.h, and
	   text is who has it. The lock is that of all who share the open file;
	   a lock that comes too late ends with the last of their
	   descriptors. */
	HELPER_LOCK,
	/* A file of memory with wishes for views (view.h): they are in it then,
	   and as far as they are known before that. */
	HELPER_VIEW,
	/* The path of the configuration file, and an empty file of memory: the
	   text is in that then (config.h). On failure text says why. */
	HELPER_CONFIG,
	/* The same, and its mistakes are in the file then, a data line each. */
	HELPER_CHECK,
	/* The path of the configuration file, and a file of memory with the text
	   that it is to have; text[0] is '!' before the path if that may replace
	   files that it includes (save.h). On failure text says why. */
	HELPER_SAVE,
	/* As a MESSAGE_OWNER. */
	HELPER_OWNER,
	/* The URI of an NBD export, and its name in a second line if that is not
	   the URI's: a connection that is negotiated (nbd-connect.h) comes with
	   the answer, and text is what the server says of the export. On failure
	   text says why. */
	HELPER_CONNECT,
};

/* On the wire without the zero bytes at its end. */
struct message {
	uint32_t magic;
	uint32_t type;
	uint32_t id;	 /* the device */
	int32_t result;	 /* of an answer: 0 or a negative errno */
	uint64_t serial; /* chosen by the server, comes back */
	uint64_t number;
	struct ublk_dev_info info;
	struct ublk_params params;
	char text[MESSAGE_TEXT];
};

/* What travels: the head, and the rest up to its last byte that is not 0. */
static inline size_t message_length(const struct message *message)
{
	const char *bytes = (const char *)message;
	size_t length = sizeof(*message);

	while (length > offsetof(struct message, info) && !bytes[length - 1])
		length--;
	return length;
}

#define MESSAGE_MAX_FDS 4

#define DEVICES_MAX 1024u /* that one ublkd serves */

#define SIGHT_SECOND   1u /* it has the second of the servers' parts */
#define SIGHT_RECORDED 2u /* it has a recorder */

#define BEGIN_CONFIGURE	 1u /* run the configuration, */
#define BEGIN_KEEP_GOING 2u /* also after a line that fails */

#define NOTE_RECOVERABLE 1u /* the driver holds it for another server */
#define NOTE_PRIVATE	 2u /* the descriptors' files go with the device */
#define NOTE_CONFIGURED	 4u /* it came from the configuration file */
#define NOTE_QUIESCED	 8u /* it rests until somebody resumes it */

#endif
