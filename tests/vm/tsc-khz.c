/*
 * Prints how fast this host's time stamp counter runs, in kHz. An emulated x86
 * CPU shows that counter to its kernel, which would measure it at boot: wrongly,
 * now and then, on a busy host, and then every clock in the guest runs fast by
 * that factor.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct reading {
	uint64_t ticks, ns, width; /* ticks that the reading took */
};

static struct reading read_both(void)
{
	struct timespec now;
	uint64_t begin = __rdtsc(), end;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = __rdtsc();
	return (struct reading){ begin + (end - begin) / 2,
				 (uint64_t)now.tv_sec * 1000000000 +
					 (uint64_t)now.tv_nsec,
				 end - begin };
}

/* The one in which nobody came between. */
static struct reading read_best(void)
{
	struct reading best = read_both();
	int i;

	for (i = 0; i < 1000; i++) {
		struct reading next = read_both();

		if (next.width < best.width)
			best = next;
	}
	return best;
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	struct reading begin = read_best(), end;

	nanosleep(&pause, NULL);
	end = read_best();
	printf("%.0f\n", (double)(end.ticks - begin.ticks) * 1e6 /
				 (double)(end.ns - begin.ns));
	return 0;
}
