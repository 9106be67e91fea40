/*
 * The recorder: what becomes of each request, in the parts of sight that devices
 * have (base/sight.h). A request is stamped in two places, when it is delivered
 * and when it is answered; whoever keeps it meanwhile says where it waits.
 *
 * A build without sight, or a server without a recorder, has none: what is given a
 * request of such a device does nothing.
 */
#ifndef UBLKD_RECORDER_H
#define UBLKD_RECORDER_H

#include "request.h"
#include "turns.h"

struct ev_loop;

/* Where what one operation has cost is counted. */
struct recorder_op {
	struct sight_counts *counts;
	struct sight_histogram *histograms; /* SIGHT_KINDS, or NULL */
};

/* That of one device. */
struct recorder {
	struct sight_small *small;
	struct sight_large *large; /* NULL: not yet */
	struct sight_tag *tags;	   /* of one of the two, as the ring is */
	uint32_t stride, mask;	   /* see recorder_tag() */
	struct sight_event *ring, *ring_end, *newest;
	struct recorder_op ops[SIGHT_OPS];
	uint32_t id; /* the device's */
	uint32_t slot;
	uint32_t laps;	       /* that the ring has been through */
	int cannot_grow;       /* there was no room for the large part */
	int is_crowded;	       /* its small part is too small */
	int is_asking;	       /* waits for its large part, */
	struct recorder *next; /* and is linked to others that do */
	struct io_port *ports; /* of the queues that are open */
};

/* Called when requests wait at the end of a turn; NULL: nobody wants to know. */
extern void (*recorder_parked)(void);

/* ---- the file ---- */

/*
 * Record into the file fd (owned by the caller), which is that of turns_share(),
 * from now on. What takes memory is done by a timer of the loop, which is one that
 * loop_new() made. Returns 0 or a negative errno: then nothing is recorded.
 */
int recorder_begin(int fd, struct ev_loop *loop) __attribute__((cold));

/* Nothing more is recorded: no device has a recorder. */
void recorder_end(void) __attribute__((cold));

/* Whether devices that come have a recorder. */
int recorder_is_on(void);

/*
 * Parts of an earlier server's devices that are not known any more are given
 * back.
 */
void recorder_forget_others(int (*is_known)(void *context, uint32_t id),
			    void *context) __attribute__((cold));

/*
 * The recorder of a device: a new one, or one that an earlier server had, with
 * what that has counted. NULL: nothing is recorded, and the log knows why.
 */
struct recorder *recorder_open(uint32_t id, int is_new, uint16_t queues,
			       uint16_t depth, const char *target)
	__attribute__((cold));

/* What is recorded stays, for the next server; or goes with the device. */
void recorder_close(struct recorder *recorder) __attribute__((cold));
void recorder_forget(struct recorder *recorder) __attribute__((cold));

/* Count anew: counters, histograms, depth reached. */
void recorder_reset(struct recorder *recorder) __attribute__((cold));

/* What has been counted of one operation's times. */
void recorder_histogram(const struct recorder *recorder, enum sight_op op,
			enum sight_kind kind, struct sight_histogram *to)
	__attribute__((cold));

/*
 * Events are numbered from 0 on; the last is before small->events. Of the oldest
 * that is still there, the number; and a copy of one: 0, or -ENOENT.
 */
uint64_t recorder_first_event(const struct recorder *recorder)
	__attribute__((cold));
int recorder_event(const struct recorder *recorder, uint64_t number,
		   struct sight_event *event) __attribute__((cold));

/* A step in the device's life, by its name. Harmless on NULL. */
void recorder_step(struct recorder *recorder, const char *name);

/* ---- a queue ---- */

/*
 * The queue begins, and none of its requests is ours: those that a dead server had
 * come again. Until recorder_leave(). Both are harmless on one without a recorder.
 */
void recorder_enter(struct io_port *port) __attribute__((cold));
void recorder_leave(struct io_port *port) __attribute__((cold));

/* ---- a request ---- */

void recorder_note_turned(const struct io_port *port);
void recorder_note_delivered(const struct io *io);
void recorder_note_refused(const struct io *io) __attribute__((cold));
void recorder_note_served(const struct io *io);
void recorder_note_waited(const struct io *io);
void recorder_note_late(const struct io *io, int error);
void recorder_note_taken_back(const struct io *io) __attribute__((cold));
void recorder_note_kept(struct io *io, enum sight_place place);
void recorder_note_passed(struct io *io);
void recorder_note_submitted(struct io *io);
void recorder_note_completed(struct io *io, int32_t result);
void recorder_park(struct io *io, enum sight_place place);

static inline int recorder_has(const struct io *io)
{
#ifdef WITHOUT_SIGHT
	(void)io;
	return 0;
#else
	return io->port->recorder != NULL;
#endif
}

/*
 * The tag's entry. In a small part all queues share a few, and another request may
 * have it; in a large part there is one for each tag.
 */
static inline struct sight_tag *recorder_tag(const struct io *io)
{
	const struct recorder *recorder = io->port->recorder;

	return &recorder->tags[(io->port->queue_id * recorder->stride + io->tag) &
			       recorder->mask];
}

/* The same, or NULL if that is another request's, or there is no recorder. */
static inline struct sight_tag *recorder_entry(const struct io *io)
{
	struct sight_tag *tag;

	if (!recorder_has(io) || io->owned >= IO_UNSEEN)
		return NULL;
	tag = recorder_tag(io);
	return tag->tag == io->tag && tag->queue == io->port->queue_id ? tag
								       : NULL;
}

/* The queue's turn has ended. */
static inline void recorder_turned(const struct io_port *port)
{
#ifdef WITHOUT_SIGHT
	(void)port;
#else
	const struct recorder *recorder = port->recorder;

	if (recorder && (port->owned || recorder->is_crowded))
		recorder_note_turned(port);
#endif
}

/* The entry becomes that of a request, which is in that place since this turn. */
static inline void recorder_take(const struct io *io, struct sight_tag *tag,
				 enum sight_place place)
{
	tag->since = turns_now();
	tag->backing = 0;
	tag->tag = io->tag;
	tag->queue = (uint8_t)io->port->queue_id;
	tag->place = (uint8_t)place;
}

/* It is delivered, in a queue's turn. */
static inline void recorder_delivered(const struct io *io)
{
	if (recorder_has(io))
		recorder_note_delivered(io);
}

/* It is answered, with 0 or a negative errno; it is still ours. */
static inline void recorder_answered(const struct io *io, int error)
{
	if (!recorder_has(io))
		return;
	if (error)
		recorder_note_late(io, error);
	else if (io->owned == IO_PARKED)
		recorder_note_waited(io);
	else
		recorder_note_served(io);
}

/* The driver took it back: nobody answers it. */
static inline void recorder_taken_back(const struct io *io)
{
	if (recorder_has(io))
		recorder_note_taken_back(io);
}

/*
 * Here it waits from now on: no event comes of it. Only a request that waits
 * somewhere has an entry. One that submit() has left without a word is in the
 * target.
 */
static inline void recorder_place(struct io *io, enum sight_place place)
{
	if (recorder_has(io))
		recorder_park(io, place);
}

/* The same of one that waits for its data, as a write to most targets does. */
static inline void recorder_asked(struct io *io)
{
#ifdef WITHOUT_SIGHT
	(void)io;
#else
	struct sight_tag *entries = io->port->entries;

	if (!entries || io->owned != IO_IN_HAND) {
		recorder_place(io, SIGHT_DATA);
		return;
	}
	recorder_take(io, &entries[io->tag], SIGHT_DATA);
	io->owned = IO_PARKED;
#endif
}

static inline void recorder_left(struct io *io)
{
	if (io->owned == IO_IN_HAND && recorder_has(io))
		recorder_park(io, SIGHT_TARGET);
}

/*
 * The same, of one whose data has come: most are answered, so that its place is
 * looked at only now.
 */
static inline void recorder_left_again(struct io *io)
{
	if (io->owned && recorder_has(io) &&
	    recorder_tag(io)->place == SIGHT_DATA)
		recorder_park(io, SIGHT_TARGET);
}

/* The driver refused its answer, and gives the tag no other request. */
static inline void recorder_refused(const struct io *io)
{
	if (recorder_has(io))
		recorder_note_refused(io);
}

/* A layer keeps it, in that place; and lets it go to what is below. */
static inline void recorder_kept(struct io *io, enum sight_place place)
{
	if (recorder_has(io))
		recorder_note_kept(io, place);
}

static inline void recorder_passed(struct io *io)
{
	if (recorder_has(io))
		recorder_note_passed(io);
}

/* The target has asked its backing for something, and has an answer. */
static inline void recorder_submitted(struct io *io)
{
	if (recorder_has(io))
		recorder_note_submitted(io);
}

static inline void recorder_completed(struct io *io, int32_t result)
{
	if (recorder_has(io))
		recorder_note_completed(io, result);
}

#endif
