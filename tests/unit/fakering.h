/*
 * A ring that only remembers: what was put into it, and the completions that
 * the test wants to come out. Its eventfd is real, so that a loop sees it.
 *
 * Programs are linked with the wraps that Makefile.inc calls unit_ring.
 */
#ifndef UBLKD_TEST_FAKERING_H
#define UBLKD_TEST_FAKERING_H

#include "io/io.h"
#include "io/ring.h"
#include "support.h"
#include "base/uapi.h"

#define FAKE_COMMANDS 8192
#define FAKE_ELEMENTS 128
#define FAKE_LISTS    64

struct fake_command {
	uint32_t op;
	int fd;
	uint64_t data, address;
	union {
		struct ublk_io_cmd command;
		struct ublk_batch_io batch;
	};
	int is_immediate, is_quiet, is_lasting;
	const uint8_t *list; /* of a batch command, as it was put */
};

struct fake_ring {
	/* What was asked for. */
	struct fake_command put[FAKE_COMMANDS];
	unsigned put_count, submitted; /* of them */
	unsigned submits, raises, created, destroyed;
	unsigned entries, flags; /* of the last one that was created */
	int registered;		 /* the fixed file */
	unsigned buffers;
	unsigned most; /* completions that were taken at a time */
	uint8_t lists[FAKE_LISTS]
		     [FAKE_ELEMENTS * sizeof(struct ublk_batch_element)];
	unsigned list_count;

	/* What goes wrong. */
	int create_error, register_error, put_error, intake_error;
	int submit_error;	  /* of the next submits... */
	unsigned submit_failures; /* ...that many of them */

	/* What comes out. */
	struct ring_event events[FAKE_COMMANDS];
	unsigned event_count, reaped;
	unsigned unclean; /* reaps without a clear before them */

	/* The intake: what of its halves can be filled, and from where. */
	uint16_t intake[2 * FAKE_ELEMENTS];
	unsigned half; /* tags in one */
	unsigned fill; /* that was filled up to there */
	int is_free[2];
};

extern struct fake_ring fake_ring;

void fake_ring_start(void);
void fake_ring_stop(void);

/* A completion comes, and makes the eventfd readable. */
void fake_complete(uint64_t data, int32_t result);

/*
 * The driver brings tags, by a lasting command with that data; in two pieces if
 * a half of the intake ends between them. Never into a half that was not given
 * back to it.
 */
void fake_bring(uint64_t data, const uint16_t *tags, unsigned count);

/* So many of them it has brought in vain, as when it finds no room to tell. */
void fake_waste(unsigned count);

/* What was put since the last call of this, or NULL: one after the other. */
const struct fake_command *fake_next_command(void);

#endif
