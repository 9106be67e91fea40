#include "workers.h"

static int expected;

/*
 * How many there are of two generations. A drain begins a new one, and sees by
 * the old one whether what stood in workers moves at all.
 */
static unsigned inside[2];
static uint8_t generation; /* of those that enter now */
static int draining, held;

static unsigned for_pages; /* of those inside */

int workers_expect(struct ring *ring, int more)
{
	unsigned limit;

	expected += more;
	if (!ring)
		return 0;
	limit = WORKERS_BASE + WORKERS_PAGES + WORKERS_IDLE +
		(unsigned)expected;
	return ring_allow_workers(ring,
				  limit < WORKERS_MAX ? limit : WORKERS_MAX);
}

uint8_t workers_enter(void)
{
	inside[generation]++;
	return (uint8_t)(generation + 1);
}

void workers_leave(uint8_t mark)
{
	inside[mark - 1]--;
}

uint8_t workers_enter_pages(unsigned *has)
{
	if (*has >= WORKERS_PAGES - for_pages)
		return 0;
	++*has;
	for_pages++;
	return workers_enter();
}

void workers_leave_pages(uint8_t mark, unsigned *has)
{
	workers_leave(mark);
	for_pages--;
	--*has;
}

int workers_drain(void)
{
	/* Some may be left from a drain that was given up. */
	if (!draining && inside[!generation] == 0) {
		generation = !generation;
		draining = 1;
	}
	if (!draining || inside[!generation])
		return 0;
	held = 1;
	return inside[generation] == 0;
}

int workers_are_held(void)
{
	return held;
}

void workers_resume(void)
{
	draining = held = 0;
}
