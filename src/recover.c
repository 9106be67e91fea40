#include "device-steps.h"

#include <errno.h>

#include "log.h"
#include "lost.h"

#define RECOVER_RETRY	 0.002 /* s between tries to take a device over ... */
#define RECOVER_PATIENCE 1.0   /* s: after that */
#define RECOVER_SLOWLY	 0.1

/* ---- PREPARED ---- */

/* Until recover_begin(). */
void recover_enter_prepared(struct device *device)
{
	(void)device;
}

void recover_begin(struct device *device)
{
	device_set_patience(device, RECOVER_PATIENCE);
	device_enter(device, lost_is(device->spec.target) ? DEVICE_LOST
							  : DEVICE_RECOVER);
}

/* ---- RECOVER ---- */

/*
 * Look often at first: users wait. If it lasts, the old server cannot finish
 * dying, and the admin should know.
 */
static void wait_for_dead(struct device *device)
{
	int is_late = loop_now() >= device->deadline;

	if (is_late && !device->waited) {
		log_warning("%s: waits for the dead server's last request",
			    device->disk);
		device->set->seq++;
	}
	device->waited = is_late;
	device_start_timer(device, is_late ? RECOVER_SLOWLY : RECOVER_RETRY);
}

void recover_enter(struct device *device)
{
	device_ask_simple(device, MESSAGE_RECOVER);
}

/* Nobody else serves it any more. */
static void resume(struct device *device)
{
	struct target *target = device->spec.target;
	int error = target->ops->resume ? target->ops->resume(target) : 0;

	if (error) {
		device_roll_back(device, DEVICE_LOST, failure_symbol(error),
				 error, NULL);
		return;
	}
	resize_settle(device);
	device_enter(device, DEVICE_OPEN);
}

/*
 * The keeper keeps a device away from here of which a server died between the
 * two commands of a take-over, on the drivers that cannot do it twice. Did the
 * keeper die as well before it had noted that, the driver says so.
 */
static int is_broken(const struct device *device, int result)
{
	return result == -EINVAL && !device_aborts_on_close(device);
}

static void give_up(struct device *device)
{
	log_error("%s: an earlier server was killed while it took it over, and "
		  "this kernel's driver cannot give it out again: it is "
		  "deleted, and its users get errors",
		  device->disk);
	device->doomed = 1;
	device_enter(device, DEVICE_STOP);
}

/* The driver waits for the dead server's last descriptor, ring and mapping. */
void recover_answer(struct device *device, const struct message *message)
{
	if (device->doomed)
		device_enter(device, DEVICE_STOP);
	else if (message->result == -EBUSY)
		wait_for_dead(device);
	else if (message->result == -ENODEV)
		/* It was being deleted when the server died. */
		device_enter(device, DEVICE_RELEASE);
	else if (is_broken(device, message->result))
		give_up(device);
	else if (message->result < 0)
		device_roll_back(device, DEVICE_LOST,
				 failure_symbol(message->result),
				 message->result, NULL);
	else
		resume(device);
}

/* ---- END_RECOVER ---- */

void recover_enter_end(struct device *device)
{
	device_ask_simple(device, MESSAGE_END_RECOVER);
}

/* ---- LOST ---- */

/* Without queues of ours the driver holds its I/O; `del` ends that. */
void recover_enter_lost(struct device *device)
{
	device_close_queues(device);
	resize_forget(device);
	device->set->seq++;
	log_error("%s: cannot be taken over; its users wait until it is "
		  "deleted, or another server tries",
		  device->disk);
}
