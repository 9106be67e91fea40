#include "device-steps.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

#define BUSY_RETRY     0.1 /* s between looks at who uses a disk */
#define BUSY_PATIENCE  1.0 /* s: udev and blkid are gone by then */
#define DRAIN_PATIENCE 2.0 /* s for the tags after a STOP */

/* ---- BUSY and TRY_STOP ---- */

static void refuse_busy(struct device *device, const char *who)
{
	struct failure failure;

	failure_set(&failure, SYMBOL_BUSY, EBUSY, NULL, "%s is in use: %s",
		    device->disk, who[0] ? who : "somebody has it open");
	device_back_to_work(device);
	device_finish(device, &failure);
}

/*
 * Look again whether it is in use. Who has it for a moment is waited for from the
 * first time that he is seen: on a busy host a look may take a while. Returns -1
 * if that has been long enough.
 */
static int look_again(struct device *device)
{
	if (!device->seen_busy)
		device_set_patience(device, BUSY_PATIENCE);
	device->seen_busy = 1;
	return device_retry(device, BUSY_RETRY);
}

/* Whether the kernel stops a disk only if nobody has it open. */
static int has_try_stop(const struct device *device)
{
	return (device->set->features & UBLK_F_SAFE_STOP_DEV) != 0;
}

/*
 * Nobody can tell: a host without room for a process, or one where what tells of
 * users stands still. A kernel with TRY_STOP knows all the same.
 */
static void go_on_unknown(struct device *device, int error)
{
	struct failure failure;

	if (!device->check_only && has_try_stop(device)) {
		device_enter(device, DEVICE_TRY_STOP);
		return;
	}
	failure_set(&failure, SYMBOL_BUSY, error, NULL,
		    "%s may be in use: who uses it cannot be found out (%s); "
		    "force=yes does not ask",
		    device->disk, strerror(-error));
	device_back_to_work(device);
	device_finish(device, &failure);
}

void remove_enter_busy(struct device *device)
{
	device_ask_simple(device, MESSAGE_BUSY);
}

void remove_answer_busy(struct device *device, const struct message *message)
{
	if (device->force) {
		device_enter(device, DEVICE_STOP);
	} else if (message->result == -EBUSY) {
		if (message->number || look_again(device) < 0)
			refuse_busy(device, message->text);
	} else if (message->result < 0) {
		go_on_unknown(device, message->result);
	} else if (device->check_only) {
		device_back_to_work(device);
		device_finish(device, NULL);
	} else {
		device_enter(device, has_try_stop(device) ? DEVICE_TRY_STOP
							  : DEVICE_STOP);
	}
}

void remove_enter_try_stop(struct device *device)
{
	device->set->seq++;
	device_ask_simple(device, MESSAGE_TRY_STOP);
}

/* The kernel's own word. Somebody may have opened it since the look. */
void remove_answer_try_stop(struct device *device,
			    const struct message *message)
{
	if (message->result == -EBUSY && !device->force) {
		device->step = DEVICE_BUSY;
		if (look_again(device) < 0)
			refuse_busy(device, "");
	} else if (message->result == 0) {
		device_enter(device, DEVICE_DRAIN);
	} else {
		device_enter(device, DEVICE_STOP);
	}
}

/* ---- STOP, DRAIN, DELETE ---- */

void remove_enter_stop(struct device *device)
{
	device->set->seq++;
	device_ask_simple(device, MESSAGE_STOP);
}

void remove_answer_stop(struct device *device, const struct message *message)
{
	if (message->result < 0 && message->result != -ENODEV)
		log_error("%s: cannot stop: %s", device->disk,
			  strerror(-message->result));
	device_enter(device, DEVICE_DRAIN);
}

static int is_retired(const struct device *device)
{
	unsigned i;

	for (i = 0; i < device->open_queues; i++)
		if (!queue_is_retired(&device->queues[i]))
			return 0;
	return 1;
}

/*
 * Each tag is given up in its own time. Once STOP has ended the disk is gone
 * and no request is left, so a tag that stays silent is no reason to hang.
 */
void remove_poll_drain(struct device *device)
{
	if (!is_retired(device)) {
		int is_late = device_retry(device, BUSY_RETRY) < 0;

		if (!is_late)
			return;
		if (device_owned(device)) {
			device_start_timer(device, BUSY_RETRY);
			return;
		}
		log_warning("%s: the driver still holds request slots",
			    device->disk);
	}
	loop_timer_stop(device->set->loop, &device->timer);
	device_enter(device, DEVICE_DELETE);
}

void remove_enter_drain(struct device *device)
{
	device_set_patience(device, DRAIN_PATIENCE);
	remove_poll_drain(device);
}

void remove_enter_delete(struct device *device)
{
	struct message message = device_message(device, MESSAGE_DELETE);

	device_close_queues(device);
	message.number = device->force != 0;
	device_ask(device, &message);
}

void remove_answer_delete(struct device *device, const struct message *message)
{
	if (message->result < 0 && message->result != -ENODEV &&
	    device->failure.symbol == SYMBOL_NONE)
		failure_set(&device->failure, SYMBOL_IO, message->result, NULL,
			    "%s is stopped but cannot be deleted: %s",
			    device->disk, strerror(-message->result));
	if (device->skips && !device->force)
		create_skip_number(device);
	else
		device_enter(device, DEVICE_RELEASE);
}

/* ---- RELEASE ---- */

/* In pieces, and others get their turns between them. */
void remove_enter_release(struct device *device)
{
	const struct target_ops *ops = device->spec.target->ops;

	device_close_queues(device); /* they hold its files as well */
	if (ops->release && ops->release(device->spec.target))
		device_start_timer(device, 0);
	else
		device_enter(device, DEVICE_CLOSE);
}

/* ---- CLOSE ---- */

/* Those that were waited for in vain have been told to the log. */
static void on_closed(void *context, int error)
{
	struct device *device = context;

	(void)error;
	if (--device->open_files == 0)
		device_forget(device);
}

/* What it held is free when who waits is told. */
void remove_enter_close(struct device *device)
{
	device->open_files = device_close_files(
		&device->spec, device->set->loop, on_closed, device);
	if (device->open_files == 0)
		device_forget(device);
}
