/* quiesce and resume: a device rests for a while, and nothing of it fails. */
#include <errno.h>
#include <string.h>

#include "command.h"
#include "verbs.h"

static void on_done(void *context, struct device *device,
		    const struct failure *failure)
{
	struct request *request = context;
	struct failure lost;

	if (failure) {
		request_fail(request, failure);
		return;
	}
	/* Whoever is to be served again may be lost: that is no device's failure,
	   for it is tried again. */
	if (device->force) {
		failure_set(&lost, SYMBOL_STATE, ECANCELED, NULL,
			    "device %u is deleted by force", device->spec.id);
		request_fail(request, &lost);
		return;
	}
	if (!device->rests && !device->open_queues) {
		failure_set(&lost, SYMBOL_IO, 0, NULL,
			    "device %u is not served yet: %s", device->spec.id,
			    device->why ? device->why : "it is tried again");
		request_fail(request, &lost);
		return;
	}
	request_ok(request, " id=%u", device->spec.id);
}

int verb_quiesce(struct request *request, struct failure *failure)
{
	struct device *device = verb_find_device(request, failure);

	return device ? device_quiesce(device, on_done, request, failure) : -1;
}

int verb_resume(struct request *request, struct failure *failure)
{
	struct device *device = verb_find_device(request, failure);

	return device ? device_resume(device, on_done, request, failure) : -1;
}
