#include "workers.h"

static int expected;

/*
 * How many there are of two generations. A drain begins a new one, and sees by
 * the old one whether what stood in workers moves at all.
 */
static unsigned inside[2];
static uint8_t generation; /* of those that enter now */
static int draining, held;

static unsigned lent[WORKERS_KINDS]; /* tokens, to all devices */

int workers_expect(struct ring *ring, int more)
{
	unsigned limit;

	expected += more;
	if (!ring)
		return 0;
	limit = WORKERS_BASE + 2 * WORKERS_POOL + WORKERS_IDLE +
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

static int is_to_be_had(const struct workers_share *share,
			enum workers_kind kind)
{
	const unsigned *has = share->has;

	if (kind == WORKERS_ANY || kind == WORKERS_PAGES)
		return has[kind] < WORKERS_POOL - lent[kind];
	if (kind == WORKERS_LINED && has[kind])
		return has[kind] < WORKERS_LINE;
	return has[WORKERS_DEVICE] + (has[WORKERS_LINED] > 0) < WORKERS_OWN;
}

/* A token is its kind, and the mark of its generation. */
enum workers_kind workers_kind_of(uint8_t token)
{
	return (enum workers_kind)((token - 1) / 2);
}

uint8_t workers_take(struct workers_share *share, enum workers_kind kind)
{
	if (held)
		return 0;
	if (kind != WORKERS_LINED && !is_to_be_had(share, kind))
		kind = WORKERS_DEVICE;
	if (!is_to_be_had(share, kind))
		return 0;
	share->has[kind]++;
	lent[kind]++;
	return (uint8_t)(workers_enter() + kind * 2);
}

void workers_give_back(struct workers_share *share, uint8_t token)
{
	enum workers_kind kind = workers_kind_of(token);

	lent[kind]--;
	share->has[kind]--;
	workers_leave((uint8_t)(token - kind * 2));
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
