#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 512
#define TEXT_BYTES 8192

static const char *root = "";

/* What the last look granted and nobody has taken yet. */
static struct {
	uint64_t left;
	uint64_t reserve; /* for which it was granted */
} credit;

/* The last refusal: a full disk's writer comes back at once, many times. */
static struct {
	uint64_t bytes, reserve;
	int64_t time; /* ms, 0: none */
} refusal;

#define REFUSAL_TIME 10 /* ms for which a refusal stands */

void memory_set_root(const char *path)
{
	root = path;
	credit.left = 0;
	refusal.time = 0;
}

/* The start of a small file. Returns its length, or -1. */
static ssize_t read_text(const char *path, char *text, size_t size)
{
	char full[PATH_BYTES];
	ssize_t length;
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	length = read(fd, text, size - 1);
	close(fd);
	if (length >= 0)
		text[length] = '\0';
	return length;
}

/* The number behind `name` at the start of a line, or 0. */
static uint64_t number_of(const char *text, const char *name)
{
	size_t length = strlen(name);
	const char *at = text;

	while (at) {
		if (strncmp(at, name, length) == 0)
			return strtoull(at + length, NULL, 10);
		at = strchr(at, '\n');
		if (at)
			at++;
	}
	return 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* What can be taken where `available` of `total` bytes are. */
static uint64_t room_of(uint64_t available, uint64_t total, uint64_t reserve)
{
	if (reserve == MEMORY_RESERVE_AUTO)
		reserve = total / 8 < MEMORY_RESERVE_MAX ? total / 8
							 : MEMORY_RESERVE_MAX;
	return less(available, reserve);
}

static uint64_t host_room(uint64_t reserve)
{
	char text[TEXT_BYTES];
	uint64_t busy, available;

	if (read_text("/proc/meminfo", text, sizeof(text)) <= 0)
		return UINT64_MAX;
	busy = number_of(text, "Dirty:") + number_of(text, "Writeback:");
	available = less(number_of(text, "MemAvailable:"), busy) * 1024;
	return room_of(available, number_of(text, "MemTotal:") * 1024, reserve);
}

/* Page cache of a cgroup that can be dropped without writing. */
static uint64_t droppable(const char *folder)
{
	char path[PATH_BYTES], text[TEXT_BYTES];
	uint64_t clean;

	snprintf(path, sizeof(path), "%.400s/memory.stat", folder);
	if (read_text(path, text, sizeof(text)) <= 0)
		return 0;
	clean = number_of(text, "active_file ") +
		number_of(text, "inactive_file ");
	return less(clean, number_of(text, "file_dirty ") +
				   number_of(text, "file_writeback "));
}

/* The lower of memory.max and memory.high; UINT64_MAX without a limit. */
static uint64_t limit_of(const char *folder)
{
	static const char *const names[] = { "memory.max", "memory.high" };
	char path[PATH_BYTES], text[64];
	uint64_t limit = UINT64_MAX, value;
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%.400s/%s", folder, names[i]);
		if (read_text(path, text, sizeof(text)) <= 0 ||
		    strncmp(text, "max", 3) == 0)
			continue;
		value = strtoull(text, NULL, 10);
		if (value < limit)
			limit = value;
	}
	return limit;
}

static uint64_t folder_room(const char *folder, uint64_t reserve)
{
	char path[PATH_BYTES], text[64];
	uint64_t limit = limit_of(folder), used;

	if (limit == UINT64_MAX)
		return UINT64_MAX;
	snprintf(path, sizeof(path), "%.400s/memory.current", folder);
	if (read_text(path, text, sizeof(text)) <= 0)
		return UINT64_MAX;
	used = less(strtoull(text, NULL, 10), droppable(folder));
	return room_of(less(limit, used), limit, reserve);
}

/* Our cgroup and each above it: any of them can run short. */
static uint64_t cgroup_room(uint64_t reserve)
{
	static const char mount[] = "/sys/fs/cgroup";
	char text[TEXT_BYTES], folder[PATH_BYTES], *end;
	uint64_t least = UINT64_MAX, room;
	const char *own;

	if (read_text("/proc/self/cgroup", text, sizeof(text)) <= 0)
		return UINT64_MAX;
	own = strstr(text, "0::/");
	if (!own)
		return UINT64_MAX;
	snprintf(folder, sizeof(folder), "%s%.380s", mount, own + 3);
	folder[strcspn(folder, "\n")] = '\0';
	do {
		room = folder_room(folder, reserve);
		if (room < least)
			least = room;
		end = strrchr(folder, '/');
		*end = '\0';
	} while (strlen(folder) >= strlen(mount));
	return least;
}

uint64_t memory_room(uint64_t reserve)
{
	uint64_t host = host_room(reserve), cgroup = cgroup_room(reserve);

	return host < cgroup ? host : cgroup;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + 1;
}

/* Fills the credit with at least `bytes`. Returns 0 or -ENOMEM. */
static int __attribute__((cold))
look_at_memory(uint64_t bytes, uint64_t reserve)
{
	int64_t now = now_ms();
	uint64_t room;

	credit.left = 0;
	if (refusal.time && now - refusal.time < REFUSAL_TIME &&
	    bytes >= refusal.bytes && reserve == refusal.reserve)
		return -ENOMEM;
	refusal.time = 0;
	room = memory_room(reserve);
	if (room < bytes) {
		refusal.time = now;
		refusal.bytes = bytes;
		refusal.reserve = reserve;
		return -ENOMEM;
	}
	credit.left = room / 2 < MEMORY_STEP ? room / 2 : MEMORY_STEP;
	if (credit.left < bytes)
		credit.left = bytes;
	credit.reserve = reserve;
	return 0;
}

int memory_take(uint64_t bytes, uint64_t reserve)
{
	if ((credit.left < bytes || credit.reserve != reserve) &&
	    look_at_memory(bytes, reserve) < 0)
		return -ENOMEM;
	credit.left -= bytes;
	return 0;
}
