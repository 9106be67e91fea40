/*
 * kill-probe PID DISK: kills a server with SIGKILL and reads a block of one of
 * its disks. It waits a moment for requests to be in flight, which come and go.
 * Prints how many requests of the disk were in flight at the kill,
 * and how long the read took: "inflight=32 resumed-ms=41".
 *
 * -s: stops the server first, and kills it when at least so many requests are
 * in flight: kill-probe -s 16 PID DISK
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK	 4096
#define PATIENCE 10000 /* ms for requests to come in flight */
#define MOMENT	 500   /* ms, without stopping the server */

static void die(const char *what)
{
	fprintf(stderr, "kill-probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static unsigned in_flight(const char *disk)
{
	char path[100];
	unsigned reads = 0, writes = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/%s/inflight", disk);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%u %u", &reads, &writes) != 2)
		die(path);
	fclose(file);
	return reads + writes;
}

static void wait_in_flight(const char *disk, unsigned wanted)
{
	double begun = now_ms();

	while (in_flight(disk) < wanted) {
		if (now_ms() - begun > PATIENCE) {
			errno = ETIMEDOUT;
			die("requests in flight");
		}
		usleep(1000);
	}
}

/* Returns how many there are, perhaps none. */
static unsigned catch_some(const char *disk)
{
	double begun = now_ms();
	unsigned held;

	do
		held = in_flight(disk);
	while (!held && now_ms() - begun < MOMENT);
	return held;
}

static int open_disk(const char *disk)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", disk);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

/* What O_DIRECT needs. */
static char block[BLOCK] __attribute__((aligned(BLOCK)));

int main(int argc, char **argv)
{
	unsigned wanted = 0, held;
	double begun;
	pid_t pid;
	int fd;

	if (argc > 2 && strcmp(argv[1], "-s") == 0) {
		wanted = (unsigned)atoi(argv[2]);
		argc -= 2;
		argv += 2;
	}
	if (argc != 3)
		return 2;
	pid = atoi(argv[1]);
	fd = open_disk(argv[2]);
	if (wanted) {
		kill(pid, SIGSTOP);
		wait_in_flight(argv[2], wanted);
	}
	held = catch_some(argv[2]);
	begun = now_ms();
	if (kill(pid, SIGKILL) < 0)
		die("kill");
	if (pread(fd, block, BLOCK, 0) != BLOCK)
		die("read");
	printf("inflight=%u resumed-ms=%.0f\n", held, now_ms() - begun);
	return 0;
}
