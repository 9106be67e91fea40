#include "steps.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

#define BUSY_RETRY    0.1 /* s between looks at who uses a disk */
#define BUSY_PATIENCE 1.0 /* s: udev and blkid are gone by then */

/* ---- CHECK, BUSY and TRY_STOP ---- */

static enum device_step refuse_busy(struct device *device, const char *who)
{
	failure_set(device_failure(device), SYMBOL_BUSY, EBUSY, NULL,
		    "%s is in use: %s", device->disk,
		    who[0] ? who : "somebody has it open");
	return DEVICE_FAILED;
}

/*
 * Look again whether the disk is in use. Somebody who has it for a moment is
 * waited for from the first time that he is seen: on a busy host a look may
 * take a while. Returns -1 if that has been long enough.
 */
static int look_again(struct device *device)
{
	if (!device->seen_busy)
		device->deadline = loop_now() + BUSY_PATIENCE;
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
static enum device_step go_on_unknown(struct device *device, int error)
{
	if (device->step == DEVICE_BUSY && has_try_stop(device))
		return DEVICE_NEXT;
	failure_set(device_failure(device), SYMBOL_BUSY, error, NULL,
		    "%s may be in use: who uses it cannot be found out (%s); "
		    "force=yes does not ask",
		    device->disk, strerror(-error));
	return DEVICE_FAILED;
}

enum device_step remove_answer_busy(struct device *device,
				    const struct message *message)
{
	if (device->force)
		return DEVICE_STOP;
	if (message->result == -EBUSY) {
		if (message->number || look_again(device) < 0)
			return refuse_busy(device, message->text);
		return DEVICE_STAY;
	}
	if (message->result < 0)
		return go_on_unknown(device, message->result);
	return DEVICE_NEXT;
}

enum device_step remove_enter_try_stop(struct device *device)
{
	if (!has_try_stop(device))
		return DEVICE_STOP;
	return device_ask_simple(device, MESSAGE_TRY_STOP);
}

/* The kernel's own word. Somebody may have opened it since the look. */
enum device_step remove_answer_try_stop(struct device *device,
					const struct message *message)
{
	if (message->result == 0)
		return DEVICE_NEXT;
	if (message->result != -EBUSY || device->force)
		return DEVICE_STOP;
	device->step = DEVICE_BUSY; /* whose timer looks again who has it */
	return look_again(device) < 0 ? refuse_busy(device, "") : DEVICE_STAY;
}

/* ---- STOP, DRAIN, DELETE ---- */

/* It waits for all I/O. */
enum device_step remove_enter_stop(struct device *device)
{
	if (device->abandons)
		abandon_watch(device);
	return device_ask_simple(device, MESSAGE_STOP);
}

enum device_step remove_answer_stop(struct device *device,
				    const struct message *message)
{
	if (message->result < 0 && message->result != -ENODEV)
		log_error("%s: cannot stop: %s", device->disk,
			  strerror(-message->result));
	return DEVICE_NEXT;
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
enum device_step remove_poll_drain(struct device *device)
{
	if (is_retired(device))
		return DEVICE_NEXT;
	if (device_retry(device, BUSY_RETRY) == 0)
		return DEVICE_STAY;
	if (device_owned(device)) {
		device_start_timer(device, BUSY_RETRY);
		return DEVICE_STAY;
	}
	log_warning("%s: the driver still holds request slots", device->disk);
	return DEVICE_NEXT;
}

enum device_step remove_enter_delete(struct device *device)
{
	struct message message = device_message(device, MESSAGE_DELETE);

	remove_poll_delete(device);
	message.number = device->force || device->open_queues;
	return device_ask(device, &message);
}

/*
 * The backing may still have buffers, so that the rings stay until it has
 * answered. They hold the char device, for whose end kernels before 6.7 wait.
 */
enum device_step remove_poll_delete(struct device *device)
{
	if (!device_late(device))
		device_close_queues(device);
	return DEVICE_STAY;
}

enum device_step remove_answer_delete(struct device *device,
				      const struct message *message)
{
	if (message->result < 0 && message->result != -ENODEV &&
	    !device->failure)
		failure_set(device_failure(device), SYMBOL_IO, message->result,
			    NULL, "%s is stopped but cannot be deleted: %s",
			    device->disk, strerror(-message->result));
	if (device_late(device))
		return DEVICE_LINGER;
	return device->skips && !device->force ? DEVICE_NUMBER : DEVICE_NEXT;
}

/* ---- RELEASE ---- */

static void tell_unfinished(const struct device *device, int error)
{
	if (error)
		log_error("%s: what was written since the last flush may be "
			  "lost: %s",
			  device->disk, strerror(-error));
}

static void on_finished(void *context, int error)
{
	tell_unfinished(context, error);
	device_start_timer(context, 0);
}

static int next_to_finish(void *context, int32_t result,
			  struct ring_transfer *transfer)
{
	struct target *target = ((struct device *)context)->spec.target;

	return target->ops->finish(target, result, transfer);
}

/* Once, if there is anything to do. Returns 1 if that is under way. */
static int begin_finish(struct device *device)
{
	int error;

	if (!TARGETS_PREPARE || device->finished ||
	    !device->spec.target->ops->finish)
		return 0;
	device->finished = 1;
	error = opener_run(device->set->loop, next_to_finish, on_finished,
			   device);
	if (!error)
		return 1;
	tell_unfinished(device, error < 0 ? error : 0);
	return 0;
}

/* In pieces, and others get their turns between them. */
enum device_step remove_enter_release(struct device *device)
{
	const struct target_ops *ops = device->spec.target->ops;

	device_close_queues(device); /* they hold its files as well */
	if (begin_finish(device))
		return DEVICE_STAY;
	if (!ops->release || !ops->release(device->spec.target))
		return DEVICE_NEXT;
	device_start_timer(device, 0);
	return DEVICE_STAY;
}

/* ---- CLOSE ---- */

/* The log has been told of files whose close was waited for in vain. */
static void on_closed(void *context, int error)
{
	struct device *device = context;

	(void)error;
	if (--device->open_files == 0)
		device_start_timer(device, 0);
}

/* Again when the files are closed: they are free when the deleter is told. */
enum device_step remove_enter_close(struct device *device)
{
	device->open_files = device_close_files(
		&device->spec, device->set->loop, on_closed, device);
	return device->open_files ? DEVICE_STAY : DEVICE_NEXT;
}
