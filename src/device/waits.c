#include "waits.h"

#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io/late.h"
#include "io/recorder.h"
#include "life.h"

/*
 * A small part of sight has entries for a few tags only: that of this one may be
 * another request's, and without a recorder there is none.
 */
struct wait wait_of(const struct io *io, uint64_t now)
{
	struct wait wait = { VERDICT_NO_PLACE, VERDICT_NO_AGE };
	const struct sight_tag *tag;

	if (io_is_late(io)) {
		uint64_t since = late_since(io);

		wait.place = SIGHT_LATE;
		if (since)
			wait.age = now > since ? now - since : 0;
		return wait;
	}
	tag = recorder_entry(io);
	if (io->owned >= IO_UNSEEN)
		wait.place = (enum sight_place)(io->owned - IO_UNSEEN);
	if (!tag)
		return wait;
	/* The file is not this server's alone. */
	wait.place = SIGHT_TARGET;
	if (tag->place > SIGHT_NOWHERE && tag->place < SIGHT_PLACES)
		wait.place = (enum sight_place)tag->place;
	wait.age = now > tag->since ? now - tag->since : 0;
	return wait;
}

/* Ours, or one whose answer the driver did not take. */
static int is_waiting(const struct queue *queue, const struct io *io)
{
	const struct sight_tag *tag;

	if (io->owned || !queue->refused)
		return io->owned;
	tag = recorder_entry(io);
	return tag && tag->place == SIGHT_REFUSED;
}

/* The request of a tag; and behind all tags those that are late. */
static const struct io *io_at(const struct queue *queue, unsigned at)
{
	return at < queue->depth ? queue_io(queue, (uint16_t)at)
				 : late_io(&queue->port, at - queue->depth);
}

/* A queue whose requests are with the driver, all of them, costs nothing. */
const struct io *waits_next(const struct device *device,
			    struct waits_cursor *cursor, unsigned *budget)
{
	for (; cursor->queue < device->open_queues; cursor->queue++) {
		const struct queue *queue = &device->queues[cursor->queue];
		unsigned end = queue->depth + late_count(&queue->port);

		if (!queue->port.owned && !queue->refused &&
		    cursor->tag < queue->depth)
			cursor->tag = queue->depth;
		while (cursor->tag < end) {
			const struct io *io = io_at(queue, cursor->tag);

			if (*budget == 0)
				return NULL;
			--*budget;
			cursor->tag++;
			if (io_is_late(io) || is_waiting(queue, io))
				return io;
		}
		cursor->tag = 0;
	}
	return NULL;
}

static void add(struct verdict_facts *facts, const struct io *io,
		const struct wait *wait)
{
	struct verdict_wait *waits = &facts->waits[wait->place];

	if (waits->count++ && !verdict_is_older(wait->age, waits->age))
		return;
	waits->age = wait->age;
	waits->op = io->op;
	waits->offset = io->offset;
	waits->length = io->length;
}

uint64_t waits_answered(const struct device *device)
{
	uint64_t count = 0;
	unsigned queue, op;

	for (queue = 0; queue < device->open_queues; queue++) {
		const struct io_port *port = &device->queues[queue].port;

		count += port->errors;
		for (op = 0; op < IO_OPS; op++)
			count += port->count[op];
	}
	return count;
}

int waits_count(const struct device *device, struct waits_cursor *cursor,
		unsigned *budget, uint64_t now, uint64_t least,
		struct verdict_facts *facts)
{
	const struct io *io;
	struct wait wait;

	while ((io = waits_next(device, cursor, budget))) {
		wait = wait_of(io, now);
		if (!least || wait.age > least)
			add(facts, io, &wait);
	}
	return *budget == 0;
}

static enum verdict_state state_of(const struct device *device)
{
	const char *state = device_state(device);

	if (device->step == DEVICE_LOST)
		return VERDICT_LOST;
	if (device->step == DEVICE_RECOVER && device->waited)
		return VERDICT_DEAD_SERVER;
	if (strcmp(state, "adding") == 0)
		return VERDICT_ADDING;
	if (strcmp(state, "deleting") == 0)
		return VERDICT_DELETING;
	return strcmp(state, "live") == 0 ? VERDICT_LIVE : VERDICT_TAKING_OVER;
}

static int get_backing(const struct device *device,
		       struct target_backing *backing)
{
	const struct target *target = device->spec.target;

	return target->ops->backing && target->ops->backing(target, backing);
}

static int has_requests(const struct device *device)
{
	return device_owned(device) || device_late(device);
}

/* Whether a file system that is frozen may be that of another device's file. */
static int has_rivals(const struct device *device,
		      const struct target_backing *own)
{
	const struct device *other = device->set->first;
	struct target_backing backing;

	for (; other; other = other->next)
		if (has_requests(other) && get_backing(other, &backing) &&
		    backing.is_file && backing.device != own->device)
			return 1;
	return 0;
}

void waits_describe(const struct device *device, struct verdict_facts *facts)
{
	const struct device_spec *spec = &device->spec;
	struct target_backing backing = { .path = "" };

	get_backing(device, &backing);
	facts->has_rivals = facts->views->frozen &&
			    has_rivals(device, &backing);
	facts->id = spec->id;
	facts->state = state_of(device);
	facts->step = device_step_name(device);
	facts->why = device->rests ? "it was quiesced, and resume ends that"
		     : device->why ? device->why
				   : "";
	facts->retry_in = (int)device_retry_in(device);
	facts->backing = backing.path;
	facts->is_file = backing.is_file;
	facts->tags = (uint32_t)spec->queues * spec->depth;
	facts->owned = device_owned(device);
}

void waits_wish(const struct device *device, struct view_wish *wish)
{
	struct target_backing backing;

	memset(wish, 0, sizeof(*wish));
	memcpy(wish->disk, device->disk, sizeof(wish->disk));
	if (!get_backing(device, &backing))
		return;
	wish->backing = 1;
	wish->major = major(backing.device);
	wish->minor = minor(backing.device);
}

int waits_ask(const struct view_wish *wishes, unsigned count, ask_done *done,
	      void *context)
{
	const struct view_head head = { .magic = VIEW_MAGIC,
					.count = count,
					.size = sizeof(struct view),
					.server = getpid(),
					.walk = VIEW_WALK };
	int fd = view_file(&head, wishes), error;

	if (fd < 0)
		return fd;
	error = ask(HELPER_VIEW, "", fd, done, context);
	if (!error)
		return fd;
	close(fd);
	return error;
}
