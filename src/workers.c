#include "workers.h"

static int expected;

int workers_expect(struct ring *ring, int more)
{
	unsigned limit;

	expected += more;
	if (!ring)
		return 0;
	limit = WORKERS_BASE + (unsigned)expected;
	return ring_allow_workers(ring,
				  limit < WORKERS_MAX ? limit : WORKERS_MAX);
}
