/*
 * A device rests: the driver holds what its users ask for, and nobody serves it,
 * until somebody resumes it; which is a take-over from ourselves (recover.c).
 */
#include "steps.h"

#include <errno.h>

#include "base/log.h"

#define PATIENCE     5000 /* ms that the driver waits for an idle tag a queue */
#define REQUEST_LOOK 0.05 /* s between looks at the requests that are left */

int quiesce_prepare(const struct device *device, struct failure *failure)
{
	if (device->rests)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "device %u is quiesced already",
				   device->spec.id);
	if (!device->open_queues)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "device %u is not served just now",
				   device->spec.id);
	if (device->can_rest)
		return 0;
	return failure_set(failure, SYMBOL_UNSUPPORTED, 0, NULL,
			   "device %u cannot be quiesced: %s", device->spec.id,
			   device->set->features & UBLK_F_QUIESCE
				   ? "it has recovery=no, or an earlier ublkd "
				     "made it"
				   : "the driver has not the feature quiesce");
}

enum device_step quiesce_enter(struct device *device)
{
	struct message message = device_message(device, MESSAGE_QUIESCE);

	message.number = PATIENCE;
	return device_ask(device, &message);
}

/* Somebody deletes the device, and waits behind whoever wants it to rest. */
static enum device_step give_way(struct device *device)
{
	struct failure failure;

	failure_set(&failure, SYMBOL_STATE, ECANCELED, NULL,
		    "device %u is deleted by force", device->spec.id);
	device_tell(device, &failure);
	return DEVICE_STOP;
}

/*
 * The driver gives out no requests any more. Those that it gave are answered as
 * ever; only behind the last one may the queues be closed.
 */
enum device_step quiesce_drain(struct device *device)
{
	if (device->force)
		return give_way(device);
	if (device_owned(device) || device_late(device)) {
		device_start_timer(device, REQUEST_LOOK);
		return DEVICE_STAY;
	}
	device_close_queues(device);
	device->next_try = loop_now();
	if (device->rests)
		log_notice("device %u (%s) is quiesced", device->spec.id,
			   device_name(device));
	return DEVICE_NEXT;
}

/*
 * A driver that has waited in vain (-EBUSY) does not give requests out again: the
 * device is resumed, as soon as the requests that it had are answered.
 */
enum device_step quiesce_answer(struct device *device,
				const struct message *message)
{
	struct failure failure;

	if (message->result < 0 && message->result != -EBUSY)
		return device_fail(device, message->result);
	device->rests = message->result == 0;
	if (!device->rests) {
		failure_set(&failure, SYMBOL_TIMEOUT, ETIMEDOUT, NULL,
			    "device %u: all of a queue's requests wait for "
			    "their %s; it goes on when they are answered",
			    device->spec.id, device->spec.target->ops->name);
		device_tell(device, &failure);
	}
	return quiesce_drain(device);
}
