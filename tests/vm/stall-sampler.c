/*
 * stall-sampler [-n LOOKS] [-t SECONDS] PID
 *
 * Watches a server for lost wakeups. Every 200 ms it looks at the server's
 * serving task, which is its first one, and at every ublk disk. A disk has
 * stalled when two looks in a row both saw requests of it in flight and the
 * server asleep, and neither the disk's completions nor the server's voluntary
 * context switches have moved in between: nobody is at work on those requests,
 * and nothing that was going to wake the server has done so.
 *
 *   -n LOOKS     so many; default: until SIGTERM or SIGINT
 *   -t SECONDS   for so long
 *
 * It is for disks whose target answers at once: a disk that waits for a slow
 * backend looks the same. A server that is stopped (SIGSTOP, a debugger) is not
 * asleep. What it saw of a stall is printed, and at the end a line
 *
 *   looks=N stalls=N loaded=N     loaded: looks that saw requests in flight
 *
 * Exit status: 0 no stall, 1 stalls, 2 it could not look.
 */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DISKS_MAX   1024
#define STALLS_TOLD 10 /* in full; more would only repeat them */

#define NS_PER_S INT64_C(1000000000)
#define INTERVAL (NS_PER_S / 5)

struct disk {
	unsigned id;
	uint64_t inflight;
	uint64_t completed;
	uint64_t stalled_at; /* completions of a stall that was told already */
};

struct look {
	int64_t time;	   /* ns */
	int asleep;	   /* from its beginning to its end */
	uint64_t switches; /* voluntary ones */
	unsigned count;
	struct disk disks[DISKS_MAX];
};

static struct {
	int pid;
	int64_t end;	   /* ns, 0: none */
	unsigned long max; /* looks, 0: any number */
	unsigned long looks, stalls, loaded;
} sampler;

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

static void sleep_until(int64_t when)
{
	struct timespec time = { .tv_sec = when / NS_PER_S,
				 .tv_nsec = when % NS_PER_S };

	while (!stopped && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME,
					   &time, NULL) == EINTR)
		;
}

/* ---- one look ---- */

/* Returns 0, or -1 if there is no such task (a zombie is none). */
static int read_task(char *state, uint64_t *switches)
{
	char path[64], line[256];
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", sampler.pid,
		 sampler.pid);
	file = fopen(path, "r");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		found += sscanf(line, "State: %c", state) == 1;
		found += sscanf(line, "voluntary_ctxt_switches: %" SCNu64,
				switches) == 1;
	}
	fclose(file);
	return found == 2 && *state != 'Z' && *state != 'X' ? 0 : -1;
}

/* The numbers of /sys/block/ublkbID/NAME. Returns how many there are. */
static int read_numbers(unsigned id, const char *name, uint64_t *numbers,
			int max)
{
	char path[64];
	int count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/ublkb%u/%s", id, name);
	file = fopen(path, "r");
	if (!file)
		return 0;
	while (count < max && fscanf(file, "%" SCNu64, &numbers[count]) == 1)
		count++;
	fclose(file);
	return count;
}

/* Returns 0, or -1 for a disk that is on its way out. */
static int read_disk(struct disk *disk)
{
	uint64_t inflight[2], stat[17];

	if (read_numbers(disk->id, "inflight", inflight, 2) != 2 ||
	    read_numbers(disk->id, "stat", stat, 17) != 17)
		return -1;
	disk->inflight = inflight[0] + inflight[1];
	/* Reads, writes (and write-zeroes), discards, flushes. */
	disk->completed = stat[0] + stat[4] + stat[11] + stat[15];
	return 0;
}

static int read_disks(struct look *look)
{
	DIR *folder = opendir("/sys/block");
	struct dirent *entry;

	if (!folder)
		return -1;
	look->count = 0;
	while ((entry = readdir(folder)) && look->count < DISKS_MAX) {
		struct disk *disk = &look->disks[look->count];

		memset(disk, 0, sizeof(*disk));
		if (sscanf(entry->d_name, "ublkb%u", &disk->id) == 1 &&
		    read_disk(disk) == 0)
			look->count++;
	}
	closedir(folder);
	return 0;
}

/*
 * The task is looked at before and after the disks: a look counts as asleep
 * only if it slept all the while that we read their numbers.
 */
static int take_look(struct look *look)
{
	char before = '?', after = '?';
	uint64_t switches = 0;

	look->time = now();
	if (read_task(&before, &switches) < 0 || read_disks(look) < 0 ||
	    read_task(&after, &look->switches) < 0)
		return -1;
	look->asleep = before == 'S' && after == 'S' &&
		       switches == look->switches;
	return 0;
}

/* ---- two looks ---- */

static const struct disk *find_disk(const struct look *look, unsigned id)
{
	unsigned i;

	for (i = 0; i < look->count; i++)
		if (look->disks[i].id == id)
			return &look->disks[i];
	return NULL;
}

/* What the kernel says of the requests that nobody serves. */
static void print_busy(unsigned id)
{
	char pattern[96], line[512];
	glob_t found;
	size_t i;

	snprintf(pattern, sizeof(pattern),
		 "/sys/kernel/debug/block/ublkb%u/hctx*/busy", id);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (i = 0; i < found.gl_pathc; i++) {
		FILE *file = fopen(found.gl_pathv[i], "r");

		while (file && fgets(line, sizeof(line), file))
			printf("  %s: %s", found.gl_pathv[i], line);
		if (file)
			fclose(file);
	}
	globfree(&found);
}

static void tell_stall(const struct look *a, const struct look *b,
		       const struct disk *disk)
{
	sampler.stalls++;
	if (sampler.stalls > STALLS_TOLD)
		return;
	printf("stall: at %.1f s, for %.1f s at least: ublkb%u has %" PRIu64
	       " requests in flight and %" PRIu64 " completed; the server, "
	       "process %d, sleeps since its voluntary switch %" PRIu64 "\n",
	       (double)b->time / NS_PER_S,
	       (double)(b->time - a->time) / NS_PER_S, disk->id, disk->inflight,
	       disk->completed, sampler.pid, b->switches);
	print_busy(disk->id);
	fflush(stdout);
}

/* A stall that goes on is the same one: it counts once. */
static void compare(const struct look *a, struct look *b)
{
	int slept = a->asleep && b->asleep && a->switches == b->switches;
	unsigned i;

	for (i = 0; i < b->count; i++) {
		struct disk *disk = &b->disks[i];
		const struct disk *before = find_disk(a, disk->id);

		if (!slept || !before || !before->inflight || !disk->inflight ||
		    before->completed != disk->completed)
			continue;
		disk->stalled_at = disk->completed + 1;
		if (before->stalled_at != disk->stalled_at)
			tell_stall(a, b, disk);
	}
}

static int is_loaded(const struct look *look)
{
	unsigned i;

	for (i = 0; i < look->count; i++)
		if (look->disks[i].inflight)
			return 1;
	return 0;
}

static int is_done(void)
{
	return stopped || (sampler.end && now() >= sampler.end) ||
	       (sampler.max && sampler.looks == sampler.max);
}

/* Returns 0 at the end, or -1 if it could not look. */
static int watch(void)
{
	static struct look looks[2];

	while (!is_done()) {
		struct look *look = &looks[sampler.looks % 2];

		if (take_look(look) < 0)
			return -1;
		sampler.loaded += (unsigned long)is_loaded(look);
		if (sampler.looks++)
			compare(&looks[sampler.looks % 2], look);
		/* From its end: two looks must not come closer. */
		sleep_until(now() + INTERVAL);
	}
	return 0;
}

static long read_number(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (*end || end == text || number <= 0) {
		fprintf(stderr, "stall-sampler: not a number: %s\n", text);
		exit(2);
	}
	return number;
}

static void read_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "n:t:")) != -1) {
		if (c == 't')
			sampler.end = now() + read_number(optarg) * NS_PER_S;
		else if (c == 'n')
			sampler.max = (unsigned long)read_number(optarg);
		else
			exit(2);
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: stall-sampler [-n LOOKS] [-t SECONDS] "
				"PID\n");
		exit(2);
	}
	sampler.pid = (int)read_number(argv[optind]);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };
	int status;

	read_options(argc, argv);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	status = watch();
	if (status < 0)
		printf("stall-sampler: no task %d to look at\n", sampler.pid);
	printf("looks=%lu stalls=%lu loaded=%lu\n", sampler.looks,
	       sampler.stalls, sampler.loaded);
	return status < 0 ? 2 : sampler.stalls ? 1 : 0;
}
