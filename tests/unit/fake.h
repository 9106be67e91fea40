/*
 * A keeper and a driver for the device state machine: the keeper is the other
 * end of a real channel and answers what it is told to; of the driver, the
 * char device, its queues and the node in /dev are faked.
 *
 * Programs are linked with the wraps that Makefile.inc calls unit_fake.
 */
#ifndef UBLKD_TEST_FAKE_H
#define UBLKD_TEST_FAKE_H

#include "admin/command.h"
#include "base/message.h"
#include "support.h"

#define FAKE_TYPES 40 /* more than there are types of messages */

#define FAKE_RING 1000 /* the descriptor of queue 0's ring, and so on */

/* Linux 6.12 and 7.x, as far as the server looks at them. */
#define FAKE_FEATURES_OLD 0x1feULL
#define FAKE_FEATURES_NEW 0x1fffffULL

struct fake {
	/* The keeper. */
	int32_t result[FAKE_TYPES]; /* what it answers */
	int hold[FAKE_TYPES];	    /* keep it unanswered */
	uint64_t features;
	uint64_t dropped_flags; /* that ADD does not hand back */
	unsigned max_queues;	/* the driver's clamp */
	uint32_t next_id;
	int use_lasts;	/* of a disk that is busy: no use to wait */
	uint64_t owner; /* the user's number above the group's */
	unsigned gives; /* of nodes to owners, */
	char given[40]; /* and the last one: "ID USER:GROUP MODE" */
	int give_error;
	int unsendable; /* type of which only `sendable` can be sent; or 0 */
	unsigned sendable;
	struct message last[FAKE_TYPES]; /* as they came */
	unsigned count[FAKE_TYPES];

	/* The driver. */
	int open_error;
	unsigned open_failures; /* that many opens fail, then none */
	unsigned opens;
	int batch;	 /* the last queue that was opened has its commands */
	int defer;	 /* its ring may defer the kernel's task work */
	int queue_error; /* of queue number queue_fails */
	unsigned queue_fails;
	int start_error;     /* of every queue's start */
	int silent;	     /* it gives up no tag at a STOP */
	unsigned node_after; /* that many looks find no node */
	unsigned looks;
	const char *in_the_way;	 /* lies in /dev in the place of a node */
	unsigned way_mode;	 /* its type */
	const char *node_number; /* "259:3", in sysfs */
	uint64_t disk_size;	 /* bytes, in sysfs; 0: there is no such file */

	/*
	 * The opener: it opens when the keeper serves, and closes at once unless
	 * it is to wait.
	 */
	int close_waits;
	int disk_error; /* that it opens nothing with */
	unsigned closing;
	unsigned opened; /* files that it was asked to open; the last one: */
	struct opener_wish wish; /* but for its path */
	int open_waits;		 /* it does not end */
	int is_new;		 /* it says that it has made the file */
	int runs;		 /* it reads and writes; else that fails */
	int run_waits;		 /* that does not end */
};

extern struct fake fake;

/* A host with an empty set of devices, its keeper at hand. */
extern struct command_host fake_host;

void fake_start(void);
void fake_stop(void);

/* So much memory is available on it, and nothing else is known of that. */
void fake_have_memory(unsigned mib);

/* Let loop and keeper go on until nobody has anything to say. */
void fake_serve(void);

/* Let the time pass, served every hundredth of a second. */
void fake_pass_time(double seconds);

/* Answer what was held of a type, and hold it no longer. */
void fake_release(uint32_t type);

/* How many messages are held. */
unsigned fake_held(void);

/* The files are closed that are being closed; or waited for in vain. */
void fake_end_closing(int error);

/* The keeper goes; what is held is lost. */
void fake_end_keeper(void);

/*
 * The same, and what a test has left is deleted, also when it failed half way. A
 * device that waits for a node when the keeper goes stays as it is.
 */
void fake_delete_all(void);

/* The backing has answered all that is late of a queue. */
void fake_end_late(struct device *device, unsigned queue);

/* The driver gives up every tag, or reports an error on one. */
void fake_retire(uint32_t id);
void fake_refuse_fetch(uint32_t id, int error);

/*
 * What happened, a word each: the messages in the order they were sent, "open",
 * "q0+" and "q0-" for the queues, "q1!" for one that could not be opened, "q1?" started, "close". Forgets
 * it. A node is looked for silently.
 */
void fake_expect(const char *trace);
void fake_forget(void);
const char *fake_trace(void);

/*
 * A line that was sent is one that src/admin/records.c has: its record and every key
 * of it; or it is an object of JSON, or a line of metrics or dump. No newline.
 */
void fake_check_line(const char *line, size_t length);

#endif
