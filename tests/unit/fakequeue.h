/*
 * A queue on a ring that only remembers: its target keeps what it gets or answers
 * at once, its char device is a file, and what its owner is told is counted.
 */
#ifndef UBLKD_TEST_FAKEQUEUE_H
#define UBLKD_TEST_FAKEQUEUE_H

#include "fakering.h"
#include "io/queue.h"

#define QUEUE_ID 3

extern struct queue queue;
extern struct queue_shape shape; /* that open_queue() gives it */
extern int device;		 /* the file */

struct got {
	struct io *ios[128];
	unsigned count;
	int at_once;
	int error; /* to answer with */
	int takes; /* the data of writes; then error may be IO_LATER */
	int lends; /* memory to reads */
	unsigned laters, forgotten, back;
	unsigned expires;
	int in_line; /* what is due waits in the target, not in its backing */
	uint8_t data[4096];
};
extern struct got got;

extern struct backend target;

struct told {
	unsigned retired, refused;
	int error;
	int close; /* close the queue from within */
};
extern struct told told;

/* A loop, a ring and a device, without a queue. */
void start_device(uint16_t depth, int batch);
void stop_device(void);

/* And the queue; requests that are still there are nobody's. */
int open_queue(void);
void stop_queue(void);

/* What the driver says of a request under that tag. */
void describe(uint16_t tag, uint32_t op_flags, uint64_t sector,
	      uint32_t sectors);

#endif
