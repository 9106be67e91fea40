/*
 * Where a device's requests wait, for a verdict (base/verdict.h): counted in
 * pieces, for there can be many tags, and what a helper is asked beside that.
 */
#ifndef UBLKD_WAITS_H
#define UBLKD_WAITS_H

#include "target/ask.h"
#include "base/verdict.h"
#include "device.h"

/* One request that is ours, or late, and where it waits. */
struct wait {
	enum sight_place place;
	uint64_t age; /* us, or VERDICT_NO_AGE */
};

struct wait wait_of(const struct io *io, uint64_t now);

/* Where a count, or a listing, of a device's requests has come to. */
struct waits_cursor {
	unsigned queue;
	unsigned tag; /* from the depth on: of those that are late */
};

/*
 * The next request that the server has, or that is late; or NULL: there is none, or
 * *budget tags have been looked at; that is 0 then, and to be called again.
 */
const struct io *waits_next(const struct device *device,
			    struct waits_cursor *cursor, unsigned *budget)
	__attribute__((cold));

/*
 * Add the requests from the cursor on to those in *facts, as of `now` (us), but
 * those that have waited for less than `least` us. One with VERDICT_NO_AGE may have
 * waited for ever. Returns 1 if the budget was not enough.
 */
int waits_count(const struct device *device, struct waits_cursor *cursor,
		unsigned *budget, uint64_t now, uint64_t least,
		struct verdict_facts *facts);

/* How many requests were answered since the queues were opened. */
uint64_t waits_answered(const struct device *device);

/*
 * All of *facts but waits, moves, views and view. They are valid for this turn.
 */
void waits_describe(const struct device *device, struct verdict_facts *facts)
	__attribute__((cold));

/* Of which disk, and of what behind it, a helper is to have a view. */
void waits_wish(const struct device *device, struct view_wish *wish);

/*
 * Ask a helper for so many views. Returns the file of them (base/view.h), which is
 * to be closed after done was called; or a negative errno, and done never is.
 */
int waits_ask(const struct view_wish *wishes, unsigned count, ask_done *done,
	      void *context);

#endif
