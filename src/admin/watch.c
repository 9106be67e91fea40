#include "watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "verbs.h"

/* The classes that can be watched, a bit of a session's each. */
enum { WATCH_DEV, WATCH_SIZE, WATCH_FAULT, WATCH_STALL, WATCH_CLASSES };

static const char *const class_names[WATCH_CLASSES] = { "dev", "size", "fault",
							"stall" };

static const unsigned char classes[] = {
	[DEVICE_CHANGE_STATE] = WATCH_DEV,
	[DEVICE_CHANGE_GONE] = WATCH_DEV,
	[DEVICE_CHANGE_SIZE] = WATCH_SIZE,
	[DEVICE_CHANGE_FAULTS] = WATCH_FAULT,
	[DEVICE_CHANGE_STALL] = WATCH_STALL,
};

/* What the device was then, which may be another one, or gone, when that is told. */
struct change {
	uint64_t seq, size;
	const char *state, *target;
	uint32_t id;
	unsigned char class;
	unsigned char is_stuck;
	char name[DEVICE_NAME_MAX + 1];
};

/* The last ones, of all devices and classes. */
struct changes {
	uint64_t count; /* that there were */
	struct change ring[WATCH_QUEUE];
};

void watch_note(struct command_host *host, const struct device *device,
		enum device_change what)
{
	struct changes *changes = host->changes;
	struct change *change;

	if (!changes)
		return;
	change = &changes->ring[changes->count++ % WATCH_QUEUE];
	change->seq = device->set->seq;
	change->size = device->spec.geometry.size;
	change->state = what == DEVICE_CHANGE_GONE ? "gone"
						   : device_state(device);
	change->target = device->spec.target->ops->name;
	change->id = device->spec.id;
	change->class = classes[what];
	change->is_stuck = device->stuck != STUCK_NOT;
	snprintf(change->name, sizeof(change->name), "%s", device_name(device));
}

static void print_change(struct request *request, const struct change *change)
{
	char more[80] = "";
	unsigned long long size = change->size;

	if (change->class == WATCH_DEV)
		snprintf(more, sizeof(more),
			 " state=%s target=%s size=%llu dev=/dev/ublkb%u",
			 change->state, change->target, size, change->id);
	else if (change->class == WATCH_SIZE)
		snprintf(more, sizeof(more), " size=%llu", size);
	else if (change->class == WATCH_STALL)
		snprintf(more, sizeof(more), " stuck=%s",
			 change->is_stuck ? "yes" : "no");
	request_print(request, "EVENT seq=%llu %s id=%u name=%s%s",
		      (unsigned long long)change->seq,
		      class_names[change->class], change->id, change->name,
		      more);
}

int watch_has_more(const struct request *request)
{
	const struct session *session = request->session;

	return session->watched &&
	       session->next_change < request->host->changes->count;
}

void watch_tell(struct request *request)
{
	const struct changes *changes = request->host->changes;
	struct session *session = request->session;
	const struct change *change;
	uint64_t lost;

	if (!watch_has_more(request))
		return;
	lost = changes->count - session->next_change;
	lost = lost > WATCH_QUEUE ? lost - WATCH_QUEUE : 0;
	session->next_change += lost;
	if (lost)
		request_print(request, "EVENT overflow lost=%llu",
			      (unsigned long long)lost);
	for (; session->next_change < changes->count; session->next_change++) {
		change = &changes->ring[session->next_change % WATCH_QUEUE];
		if (session->watched & 1u << change->class)
			print_change(request, change);
	}
}

void watch_end(struct command_host *host)
{
	free(host->changes);
	host->changes = NULL;
}

/* The bits of the words, or of all classes; -1 with *failure filled. */
static int read_classes(const struct syntax_line *line, struct failure *failure)
{
	int bits = 0, i, class;

	if (line->count == 1)
		return (1 << WATCH_CLASSES) - 1;
	if (line->count == 2 && strcmp(line->words[1], "none") == 0)
		return 0;
	for (i = 1; i < line->count; i++) {
		for (class = 0; class < WATCH_CLASSES; class ++)
			if (strcmp(line->words[i], class_names[class]) == 0)
				break;
		if (class == WATCH_CLASSES)
			return failure_set(failure, SYMBOL_ARG, 0,
					   line->words[i],
					   "watch takes dev, size, fault and "
					   "stall, or none");
		bits |= 1 << class;
	}
	return bits;
}

int verb_watch(struct request *request, struct failure *failure)
{
	struct command_host *host = request->host;
	int bits = read_classes(&request->line, failure);

	if (bits < 0)
		return -1;
	if (!host->changes)
		host->changes = calloc(1, sizeof(*host->changes));
	if (!host->changes)
		return failure_no_memory(failure);
	/* What the session has watched until now is told first. */
	watch_tell(request);
	request->session->watched = (unsigned)bits;
	request->session->next_change = host->changes->count;
	request_ok(request, " seq=%llu", (unsigned long long)request->seq);
	return 0;
}
