/*
 * The server's own part of sight (base/sight.h): its turns, by which the keeper
 * sees that it goes on, and what its thread does at the moment.
 */
#ifndef UBLKD_TURNS_H
#define UBLKD_TURNS_H

#include "base/sight.h"

/* This server's part: until turns_share() one that nobody sees. */
extern struct sight_server *turns_server;

/*
 * Write to the part `which` (0 or 1) of the head in the file fd (owned by the
 * caller) from now on, and call busy once when a turn is counted while nobody
 * looks. Returns 0, or a negative errno: then as before.
 */
int turns_share(int fd, unsigned which, void (*busy)(void *owner), void *owner);

/* The server has answered, or taken, something; queues count theirs. Cheap. */
void turns_count(void);

/* us: the last reading of the clock, of this process alone. */
extern uint64_t turns_clock;

/* The thread does something else now. */
static inline void turns_phase(enum sight_phase phase)
{
	turns_server->phase = (uint32_t)phase;
}

/*
 * The same, with the slot of the device's part that the phase is about, or
 * SIGHT_NO_SLOT; and the clock is read: not for what is done for each request.
 */
static inline void turns_enter_at(enum sight_phase phase, uint32_t slot,
				  uint64_t now)
{
	turns_clock = now;
	turns_server->since = now;
	turns_server->slot = slot;
	turns_phase(phase);
}

static inline void turns_enter(enum sight_phase phase, uint32_t slot)
{
	turns_enter_at(phase, slot, sight_clock());
}

/* The same, of nothing known, and since nobody knows when. */
static inline void turns_enter_untimed(enum sight_phase phase)
{
	turns_server->since = 0;
	turns_server->slot = SIGHT_NO_SLOT;
	turns_phase(phase);
}

/* us: the last reading, which is the time of all that a turn does. */
static inline uint64_t turns_now(void)
{
	return turns_clock;
}

#endif
