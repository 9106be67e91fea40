/*
 * The server's turns, counted in a page that it shares with the keeper, who
 * sees by it that the server goes on. The server's side; see watchdog.h.
 */
#ifndef UBLKD_TURNS_H
#define UBLKD_TURNS_H

#include <stdatomic.h>
#include <stdint.h>

struct turns {
	_Atomic uint64_t count;
	_Atomic uint32_t watched; /* the keeper looks, or was told to */
};

/*
 * Count in the page of fd (owned by the caller) from now on, and call busy once
 * when a turn is counted while nobody looks. Returns 0, or a negative errno: then
 * as before, in a page that nobody sees.
 */
int turns_open(int fd, void (*busy)(void *owner), void *owner);

/* A turn: the server has answered, or taken, something. Cheap. */
void turns_count(void);

#endif
