/*
 * A backing that does not answer: a device whose requests time out, or that is
 * deleted by force, goes on without. What the backing has until it answers is late
 * (io/late.h), and a device that is deleted stays with it.
 */
#include <errno.h>

#include "base/log.h"
#include "base/sight.h"
#include "io/late.h"
#include "steps.h"

/* ---- requests that time out ---- */

#define TIMEOUT_PAUSE 60 /* s between two lines of the log about them */

static void on_timed_out(void *owner, const struct io *io, unsigned count)
{
	struct device *device = owner;
	double now = loop_now();

	if (device->timed_out_at && now - device->timed_out_at < TIMEOUT_PAUSE)
		return;
	device->timed_out_at = now;
	log_error("%s: its %s has not answered within io-timeout: %u requests "
		  "get EIO, one of them a %s of %u bytes at %llu",
		  device->disk, device->spec.target->ops->name, count,
		  sight_op_name((enum sight_op)io->op), io->length,
		  (unsigned long long)io->offset);
}

/* Its rings can go, though not in a turn of theirs. */
static void on_none_late(void *owner)
{
	struct device *device = owner;

	if (device->step == DEVICE_DELETE || device->step == DEVICE_LINGER)
		device_start_timer(device, 0);
}

int device_allow_late(struct device *device)
{
	unsigned i;
	int error;

	for (i = 0; i < device->open_queues; i++) {
		struct io_port *port = &device->queues[i].port;

		error = late_allow(port);
		if (error)
			return error;
		port->late->timed_out = on_timed_out;
		port->late->ended = on_none_late;
		port->late->owner = device;
		layers_watch(&device->spec.layers, port);
	}
	return 0;
}

/* ---- a delete by force ---- */

#define SILENCE	     2.0  /* s without an answer: it is not waited for */
#define SILENCE_LOOK 0.25 /* s between looks */

static void refuse_requests(struct device *device)
{
	unsigned i;

	for (i = 0; i < device->open_queues; i++)
		device->queues[i].top = &late_refuses;
	if (device->abandoned)
		return;
	device->abandoned = 1;
	log_warning("%s: its %s does not answer: %u requests get EIO, and so "
		    "do all that come",
		    device->disk, device->spec.target->ops->name,
		    device_owned(device));
}

/* Answer what is there, and what comes, in the place of the backing. */
static void abandon_all(struct device *device)
{
	struct backend *bottom = &device->spec.target->backend;
	const struct io *first = NULL;
	unsigned i, count = 0;

	/* Without memory: at the next look. */
	if (device_allow_late(device) < 0)
		return;
	refuse_requests(device);
	if (layers_keep(&device->spec.layers))
		return; /* they let go of them now */
	for (i = 0; i < device->open_queues; i++)
		count += late_mark(&device->queues[i].port, LATE_ALL, &first);
	if (count && bottom->ops->expire)
		bottom->ops->expire(bottom);
	for (i = 0; count && i < device->open_queues; i++)
		late_answer(&device->queues[i].port);
}

/* Requests that were served: an error may be our own. */
static uint64_t count_served(const struct device *device)
{
	uint64_t count = 0;
	unsigned i, op;

	for (i = 0; i < device->open_queues; i++)
		for (op = 0; op < IO_OPS; op++)
			count += device->queues[i].port.count[op];
	return count;
}

static int is_silent(struct device *device)
{
	uint64_t served = count_served(device);

	if (served != device->served || !device_owned(device)) {
		device->served = served;
		device->served_at = loop_now();
	}
	return device->abandoned || loop_now() - device->served_at >= SILENCE;
}

/*
 * The driver ends no request whose pages themselves somebody has, whatever the
 * server answers (7.x), and STOP waits for all. Whoever deletes the device is not
 * kept that long.
 */
static void tell_pages_are_held(struct device *device)
{
	struct failure failure;

	if (device->spec.mode != IO_ZERO_COPY || !device_owned(device) ||
	    loop_now() - device->served_at < SILENCE + 1)
		return;
	failure_set(&failure, SYMBOL_TIMEOUT, ETIMEDOUT, NULL,
		    "%s is being deleted, but its disk and its users wait "
		    "until its %s has answered %u requests: with "
		    "mode=zero-copy that has their pages, and the kernel ends "
		    "none of them before; 'inspect %u' tells what to cure",
		    device->disk, device->spec.target->ops->name,
		    device_owned(device), device->spec.id);
	device_tell(device, &failure);
	device_tell(device, &failure);
}

void abandon_watch(struct device *device)
{
	device->served = count_served(device);
	device->served_at = loop_now();
	device_start_timer(device, SILENCE_LOOK);
}

enum device_step abandon_look(struct device *device)
{
	if (is_silent(device))
		abandon_all(device);
	device_start_timer(device, SILENCE_LOOK);
	if (device->abandoned)
		tell_pages_are_held(device);
	return DEVICE_STAY;
}

/* ---- LINGER ---- */

/* Its rings hold the char device, and the driver so the number. */
enum device_step abandon_enter_linger(struct device *device)
{
	log_notice("%s: is deleted; %u requests are still with its %s, and its "
		   "number is not free before that has answered",
		   device->disk, device_late(device),
		   device->spec.target->ops->name);
	device_tell_end(device);
	return DEVICE_STAY;
}

/* No request of one of its queues is late any more. */
enum device_step abandon_poll_linger(struct device *device)
{
	return device_late(device) ? DEVICE_STAY : DEVICE_NEXT;
}
