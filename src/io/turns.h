/*
 * The server's turns, counted in a page that it shares with the keeper, who
 * sees by it that the server goes on: see queue.h and watchdog.h.
 */
#ifndef UBLKD_TURNS_H
#define UBLKD_TURNS_H

#include <stdatomic.h>
#include <stdint.h>

struct turns {
	_Atomic uint64_t count;
	_Atomic uint32_t watched; /* the keeper looks, or was told to */
};

#endif
