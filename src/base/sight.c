#include "sight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"

#define US_PER_S 1000000u

/* ---- names ---- */

static const struct {
	const char *name, *text;
} places[SIGHT_PLACES] = {
	[SIGHT_NOWHERE] = { "none", "nothing" },
	[SIGHT_TARGET] = { "target", "the target" },
	[SIGHT_DATA] = { "data", "data on its way from the driver" },
	[SIGHT_DELAY] = { "delay", "the layer delay" },
	[SIGHT_LIMIT] = { "limit", "the layer limit" },
	[SIGHT_WORKER] = { "worker", "a free worker of the kernel" },
	[SIGHT_BUFFER] = { "buffer", "a buffer" },
	[SIGHT_TURN] = { "turn", "a turn behind other requests" },
	[SIGHT_READ] = { "backing-read", "a read of the backing" },
	[SIGHT_WRITE] = { "backing-write", "a write to the backing" },
	[SIGHT_FLUSH] = { "backing-flush", "a flush of the backing" },
	[SIGHT_DISCARD] = { "backing-discard", "a discard in the backing" },
	[SIGHT_COMMIT] = { "commit", "the kernel to take the answer" },
	[SIGHT_REFUSED] = { "refused",
			    "nobody: the driver refused the answer" },
	[SIGHT_LATE] = { "late", "nothing" },
};

const char *sight_place_name(enum sight_place place)
{
	return place < SIGHT_PLACES ? places[place].name : "unknown";
}

const char *sight_place_text(enum sight_place place)
{
	return place < SIGHT_PLACES ? places[place].text : "something unknown";
}

const char *sight_what_name(enum sight_what what)
{
	static const char *const names[SIGHT_WHATS] = {
		[SIGHT_NO_EVENT] = "none",
		[SIGHT_DELIVERED] = "delivered",
		[SIGHT_KEPT] = "kept",
		[SIGHT_PASSED] = "passed",
		[SIGHT_SUBMITTED] = "submitted",
		[SIGHT_COMPLETED] = "completed",
		[SIGHT_SERVED] = "served",
		[SIGHT_COMMITTED] = "committed",
		[SIGHT_TAKEN_BACK] = "taken-back",
		[SIGHT_STEP] = "step",
	};

	return what < SIGHT_WHATS ? names[what] : "unknown";
}

const char *sight_op_name(enum sight_op op)
{
	static const char *const names[SIGHT_OPS] = {
		[SIGHT_OP_READ] = "read",
		[SIGHT_OP_WRITE] = "write",
		[SIGHT_OP_FLUSH] = "flush",
		[SIGHT_OP_DISCARD] = "discard",
		[SIGHT_OP_WRITE_ZEROES] = "write-zeroes",
	};

	return op < SIGHT_OPS ? names[op] : "unknown";
}

const char *sight_phase_name(enum sight_phase phase)
{
	static const char *const names[SIGHT_PHASES] = {
		[SIGHT_STARTS] = "its start",
		[SIGHT_SLEEPS] = "sleep",
		[SIGHT_TURNS] = "a queue's turn",
		[SIGHT_SUBMITS] = "submit",
		[SIGHT_COMPLETES] = "completion",
		[SIGHT_TIMERS] = "a timer",
		[SIGHT_CLIENTS] = "a client's command",
		[SIGHT_KEEPERS] = "a message of the keeper",
		[SIGHT_OTHERS] = "its loop",
	};

	return phase < SIGHT_PHASES ? names[phase] : "something unknown";
}

/* ---- events ---- */

uint64_t sight_event_time(const struct sight_event *event)
{
	return event->when & ((1ull << SIGHT_TIME_BITS) - 1);
}

unsigned sight_event_queue(const struct sight_event *event)
{
	return event->when >> SIGHT_TIME_BITS & 0xff;
}

enum sight_place sight_event_place(const struct sight_event *event)
{
	return (enum sight_place)(event->when >> (SIGHT_TIME_BITS + 8));
}

/* ---- histograms ---- */

uint64_t sight_bucket_begin(unsigned bucket)
{
	unsigned power = bucket / 8 + 2;
	uint64_t units = bucket < 8
				 ? bucket
				 : (8 + (uint64_t)(bucket & 7)) << (power - 3);

	return units * SIGHT_UNIT;
}

uint64_t sight_histogram_total(const struct sight_histogram *of)
{
	uint64_t total = 0;
	unsigned i;

	for (i = 0; i < SIGHT_BUCKETS; i++)
		total += sight_bucket_count(of, i);
	return total;
}

uint64_t sight_percentile(const struct sight_histogram *of, unsigned millionths)
{
	uint64_t total = sight_histogram_total(of), before = 0, begin, count;
	double wanted = (double)total * millionths / 1e6, share;
	unsigned i;

	for (i = 0; i < SIGHT_BUCKETS; i++) {
		count = sight_bucket_count(of, i);
		if (count && (double)(before + count) >= wanted)
			break;
		before += count;
	}
	if (i == SIGHT_BUCKETS)
		return 0;
	begin = sight_bucket_begin(i);
	share = (wanted - (double)before) / (double)count;
	return begin +
	       (uint64_t)((double)(sight_bucket_begin(i + 1) - begin) * share);
}

/* ---- the head ---- */

void sight_head_init(struct sight_head *head)
{
	head->magic = SIGHT_MAGIC;
	head->version = SIGHT_VERSION;
	head->head_size = sizeof(struct sight_head);
	head->small_size = sizeof(struct sight_small);
	head->large_size = sizeof(struct sight_large);
	head->tag_size = sizeof(struct sight_tag);
	head->event_size = sizeof(struct sight_event);
}

int sight_head_check(const struct sight_head *head)
{
	return head->magic == SIGHT_MAGIC && head->version == SIGHT_VERSION &&
			       head->head_size == sizeof(struct sight_head) &&
			       head->small_size == sizeof(struct sight_small) &&
			       head->large_size == sizeof(struct sight_large) &&
			       head->tag_size == sizeof(struct sight_tag) &&
			       head->event_size == sizeof(struct sight_event)
		       ? 0
		       : -EPROTO;
}

/* Whether it is one of ublkd's, and not another process that has its number. */
static int __attribute__((cold)) is_alive(const struct sight_server *server)
{
	struct proc_look look;

	return server->pid && proc_look((pid_t)server->pid, &look) == 0 &&
	       look.state != 'Z' && look.state != 'X' &&
	       strncmp(look.name, "ublkd", 5) == 0;
}

int sight_living(const struct sight_head *head)
{
	unsigned last = head->current & 1;

	if (is_alive(&head->servers[last]))
		return (int)last;
	return is_alive(&head->servers[!last]) ? !last : -1;
}

uint64_t sight_clock(void)
{
	return sight_clock_now();
}

/* Since when the server does what it does, is known. */
static int has_age(const struct sight_server *server, uint64_t now)
{
	switch ((enum sight_phase)server->phase) {
	case SIGHT_TURNS:
	case SIGHT_SUBMITS:
	case SIGHT_COMPLETES:
	case SIGHT_TIMERS:
	case SIGHT_CLIENTS:
	case SIGHT_KEEPERS:
		return server->since && server->since <= now;
	default:
		return 0;
	}
}

const char *sight_describe(const struct sight_server *server,
			   const struct sight_small *small, uint64_t now,
			   char *text, size_t size)
{
	char device[64] = "", age[32] = "";
	uint32_t used = small ? small->used : 0;
	uint64_t us = now - server->since;

	if (has_age(server, now))
		snprintf(age, sizeof(age), "%llu.%llu s ",
			 (unsigned long long)(us / US_PER_S),
			 (unsigned long long)(us % US_PER_S / 100000));
	if (used)
		snprintf(device, sizeof(device), " of target %.*s, device %u",
			 (int)sizeof(small->target) - 1, small->target,
			 used - 1);
	snprintf(text, size, "%sin %s%s", age, sight_phase_name(server->phase),
		 device);
	return text;
}

/* ---- for readers ---- */

/* Returns 0 or a negative errno, -EPROTO if the file ends before. */
static int read_at(int fd, void *to, size_t size, uint64_t at)
{
	ssize_t got = pread(fd, to, size, (off_t)at);

	if (got < 0)
		return -errno;
	return (size_t)got == size ? 0 : -EPROTO;
}

int sight_file_open(struct sight_file *file, const char *folder)
{
	char path[4096];
	int error;

	snprintf(path, sizeof(path), "%s/" SIGHT_NAME, folder);
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (file->fd < 0)
		return -errno;
	error = read_at(file->fd, &file->head, sizeof(file->head), 0);
	if (!error)
		error = sight_head_check(&file->head);
	if (!error && file->head.slots > SIGHT_DEVICES)
		error = -EPROTO;
	if (error)
		sight_file_close(file);
	return error;
}

void sight_file_close(struct sight_file *file)
{
	close(file->fd);
	file->fd = -1;
}

int sight_file_small(const struct sight_file *file, unsigned slot,
		     struct sight_small *small)
{
	int error =
		read_at(file->fd, small, sizeof(*small), sight_small_at(slot));

	if (error)
		return error;
	small->target[sizeof(small->target) - 1] = '\0';
	return small->used ? 0 : -ENOENT;
}

struct sight_large *sight_file_large(const struct sight_file *file,
				     unsigned slot,
				     const struct sight_small *small)
{
	uint64_t size = sight_large_size(small->queues, small->depth);
	struct sight_large *large;

	if (!small->is_large ||
	    (uint32_t)small->queues * small->depth > SIGHT_TAGS_MAX)
		return NULL;
	large = malloc((size_t)size);
	if (large &&
	    read_at(file->fd, large, (size_t)size, sight_large_at(slot)) < 0) {
		free(large);
		large = NULL;
	}
	return large;
}

/* What comes after such a phase leaves the slot as it was. */
static int has_device(enum sight_phase phase)
{
	return phase == SIGHT_TURNS || phase == SIGHT_SUBMITS ||
	       phase == SIGHT_COMPLETES;
}

const char *sight_file_describe(const struct sight_file *file,
				const struct sight_server *server, uint64_t now,
				char *text, size_t size)
{
	struct sight_small small;
	int has_part = has_device((enum sight_phase)server->phase) &&
		       server->slot < SIGHT_DEVICES &&
		       sight_file_small(file, server->slot, &small) == 0;

	return sight_describe(server, has_part ? &small : NULL, now, text,
			      size);
}
