/*
 * The verdict on a device: a sentence that says what its requests wait for, and
 * why, from what the server knows and what the kernel shows. It asks nobody.
 */
#ifndef UBLKD_VERDICT_H
#define UBLKD_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#include "sight.h"
#include "view.h"

/* Those of a device's requests that wait in one place. */
struct verdict_wait {
	uint32_t count;
	/* Of the oldest: */
	uint64_t age; /* us; VERDICT_NO_AGE: no one's is known */
	uint8_t op;   /* enum sight_op; SIGHT_OPS: no more is known of it */
	uint32_t length;
	uint64_t offset;
};

#define VERDICT_NO_AGE UINT64_MAX

/* The age `one` is above `other`; an age that is not known is below every one. */
static inline int verdict_is_older(uint64_t one, uint64_t other)
{
	return one != VERDICT_NO_AGE &&
	       (other == VERDICT_NO_AGE || one > other);
}

/* In this place are those of which nobody has written down where they wait. */
#define VERDICT_NO_PLACE SIGHT_NOWHERE

enum verdict_state {
	VERDICT_LIVE,
	VERDICT_ADDING,
	VERDICT_DELETING,
	VERDICT_TAKING_OVER,
	VERDICT_DEAD_SERVER, /* the server before has not ended yet */
	VERDICT_LOST,	     /* nobody serves it, see why */
};

struct verdict_facts {
	uint32_t id;
	enum verdict_state state;
	const char *step;    /* of its life, for a state that passes */
	const char *why;     /* it is lost, or "" */
	int retry_in;	     /* s to the next try; negative: there is none */
	const char *backing; /* the path of what is behind it, or "" */
	int is_file;	     /* which is a regular file */
	int has_rivals;	     /* other devices with requests have files on other
			      * file systems; said only if one is frozen */
	uint32_t tags;	     /* of all queues */
	uint32_t owned; /* requests that the server has, those too that are not
			 * among the waits */
	int moves;	/* some were answered since the kernel was asked */
	struct verdict_wait waits[SIGHT_PLACES];
	const struct view_head *views;
	const struct view *view;
};

#define VERDICT_BYTES 640 /* enough for any */

/* Returns text. */
const char *verdict(const struct verdict_facts *facts, char *text, size_t size)
	__attribute__((cold)); /* compiled for size */

/* The requests that wait, in all places: late ones do not. */
uint32_t verdict_count(const struct verdict_facts *facts);

/* Of the oldest of them; 0 if there is none, or no age is known. */
uint64_t verdict_age(const struct verdict_facts *facts);

/*
 * The requests that the kernel has, and has not delivered to the server; 0 while
 * some are answered, for those come and go.
 */
uint32_t verdict_undelivered(const struct verdict_facts *facts);

#endif
