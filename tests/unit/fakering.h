/*
 * A ring that only remembers: what was put into it, and the completions that
 * the test wants to come out. Its eventfd is real, so that a loop sees it.
 *
 * Programs are linked with the wraps that Makefile.inc calls unit_ring.
 */
#ifndef UBLKD_TEST_FAKERING_H
#define UBLKD_TEST_FAKERING_H

#include "io.h"
#include "ring.h"
#include "support.h"
#include "uapi.h"

#define FAKE_COMMANDS 8192

struct fake_command {
	uint32_t op;
	int fd;
	uint64_t data, address;
	struct ublk_io_cmd command;
};

struct fake_ring {
	/* What was asked for. */
	struct fake_command put[FAKE_COMMANDS];
	unsigned put_count, submitted; /* of them */
	unsigned submits, raises, created, destroyed;
	unsigned entries;
	int registered; /* the fixed file */
	unsigned buffers;
	unsigned most; /* completions that were taken at a time */

	/* What goes wrong. */
	int create_error, register_error, put_error;
	int submit_error;	  /* of the next submits... */
	unsigned submit_failures; /* ...that many of them */

	/* What comes out. */
	struct ring_event events[FAKE_COMMANDS];
	unsigned event_count, reaped;
	unsigned unclean; /* reaps without a clear before them */
};

extern struct fake_ring fake_ring;

void fake_ring_start(void);
void fake_ring_stop(void);

/* A completion comes, and makes the eventfd readable. */
void fake_complete(uint64_t data, int32_t result);

/* What was put since the last call of this, or NULL: one after the other. */
const struct fake_command *fake_next_command(void);

#endif
