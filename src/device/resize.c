/*
 * Another size for a live device.
 *
 * The size that counts is the kernel's: whoever takes a device over after a
 * crash looks there, so it does not matter between which steps one of the
 * processes died. What must hold at every moment is that the target serves at
 * least as much as the kernel may ask for. So the target grows before the kernel
 * knows, and shrinks after it; the command that made the device follows, and
 * memory is given back last.
 */
#include "steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/page.h"
#include "base/words.h"

/* How often a target is asked whether it has grown, in s. */
#define GROW_INTERVAL 0.01

static int is_growing(const struct device *device)
{
	return device->new_size > device->spec.geometry.size;
}

static int refuse_resize(struct failure *failure)
{
	return device_driver_lacks(failure, NULL,
				   "cannot change the size of a live device: "
				   "that needs the feature update-size (Linux "
				   "6.16 and newer)");
}

/* ---- TRIM ---- */

/*
 * What an earlier shrinking has left is gone now, or cannot go: `error`. The
 * backing may have to wait for what has to be done before it is larger.
 */
static enum device_step grow_target(struct device *device, int error)
{
	struct target *target = device->spec.target;
	struct failure failure;
	int result;

	if (error) {
		failure_set(device_failure(device), failure_symbol(error),
			    error, NULL,
			    "what %s had behind its end before cannot be "
			    "cleared: %s",
			    device->disk, strerror(-error));
		return DEVICE_FAILED;
	}
	result = target->ops->resize(target, device->new_size, &failure);
	if (result == 0)
		return DEVICE_NEXT;
	if (result == TARGET_LATER) {
		device_start_timer(device, GROW_INTERVAL);
		return DEVICE_STAY;
	}
	*device_failure(device) = failure;
	return DEVICE_FAILED;
}

/* In pieces, and others get their turns between them. */
enum device_step resize_enter_trim(struct device *device)
{
	struct target *target = device->spec.target;
	int result = 0;

	if (device->force && device->new_size) {
		failure_set(device_failure(device), SYMBOL_STATE, 0, NULL, "%s",
			    device->also_done ? "the device is being deleted"
					      : "ublkd is stopping");
		return DEVICE_FAILED;
	}
	if (target->ops->trim && !device->force)
		result = target->ops->trim(target);
	if (result > 0) {
		device_start_timer(device, 0);
		return DEVICE_STAY;
	}
	if (result < 0)
		log_warning("%s: what lies behind its end is not given back: "
			    "%s",
			    device->disk, strerror(-result));
	if (!device->new_size)
		return DEVICE_LIVE;
	return is_growing(device) ? grow_target(device, result) : DEVICE_NEXT;
}

/* ---- RESIZE ---- */

enum device_step resize_enter(struct device *device)
{
	struct message message = device_message(device, MESSAGE_RESIZE);

	message.number = device->new_size / SECTOR;
	return device_ask(device, &message);
}

/* The kernel has the old size still: so has the target again. */
static enum device_step undo_resize(struct device *device, int error)
{
	struct target *target = device->spec.target;
	struct failure failure;

	if (is_growing(device))
		target->ops->resize(target, device->spec.geometry.size,
				    &failure);
	if (error == -EOPNOTSUPP)
		refuse_resize(device_failure(device));
	else
		failure_set(device_failure(device), failure_symbol(error),
			    error, NULL,
			    "the driver cannot change the size of %s: %s",
			    device->disk, strerror(-error));
	return DEVICE_FAILED;
}

/* The target is to serve what the kernel has, and no more. */
static void accept_size(struct device *device, uint64_t size)
{
	struct target *target = device->spec.target;
	struct failure failure;

	failure_set(&failure, SYMBOL_UNSUPPORTED, 0, NULL,
		    "its target cannot change its size");
	if (!target->ops->resize ||
	    target->ops->resize(target, size, &failure) < 0)
		log_warning("%s has %llu bytes: %s", device->disk,
			    (unsigned long long)size, failure.text);
	device->spec.geometry.size = size;
}

enum device_step resize_answer(struct device *device,
			       const struct message *message)
{
	if (message->result < 0)
		return undo_resize(device, message->result);
	if (is_growing(device))
		device->spec.geometry.size = device->new_size;
	else
		accept_size(device, device->new_size);
	device->spec.geometry.unserved = device->new_unserved;
	log_info("device %u (%s): %llu bytes from now on", device->spec.id,
		 device_name(device), (unsigned long long)device->new_size);
	device_changed(device, DEVICE_CHANGE_SIZE);
	return DEVICE_NEXT;
}

/* ---- NOTE_SIZE ---- */

/* Whatever came of the note, the size has changed. */
enum device_step resize_answer_note(struct device *device,
				    const struct message *message)
{
	free(device->spec.words);
	device->spec.words = device->new_words;
	device->new_words = NULL;
	device->new_size = 0;
	if (message->result < 0) {
		failure_set(device_failure(device),
			    failure_symbol(message->result), message->result,
			    NULL, "cannot note the change: %s",
			    strerror(-message->result));
		log_warning("%s: %s", device->disk, device->failure->text);
	}
	return DEVICE_NEXT;
}

/* ---- taking over ---- */

/* Its words are right again once they have been noted. */
void resize_settle(struct device *device)
{
	struct device_spec *spec = &device->spec;
	uint64_t size = device_disk_size(device->spec.id);
	int must = spec->target->ops->measure == NULL;

	if (size == 0 || size == spec->geometry.size)
		return;
	accept_size(device, size);
	device->new_words = words_set_size(spec->words, size, must);
	if (device->new_words)
		device->new_size = size;
}

void resize_keeper_gone(struct device *device)
{
	uint64_t size = device_disk_size(device->spec.id);

	if (!size || size == device->spec.geometry.size)
		return;
	device->spec.geometry.size = size;
	device_changed(device, DEVICE_CHANGE_SIZE);
}

/* ---- before anything is done ---- */

/*
 * What can be said before anything is done. DEVICE_SIZE_AUTO becomes the whole
 * blocks that are behind the device now, and *rest the bytes behind these.
 */
static int check_size(const struct device *device, uint64_t *size,
		      uint32_t *rest, struct failure *failure)
{
	struct target *target = device->spec.target;
	uint64_t features = device->set->features;
	uint32_t block = device->spec.geometry.block_size;

	if (!target->ops->resize)
		return failure_set(failure, SYMBOL_UNSUPPORTED, 0, NULL,
				   "a device of the target %s has one size for "
				   "ever",
				   target->ops->name);
	/* Without the features' answer the driver says it itself. */
	if (features && !(features & UBLK_F_UPDATE_SIZE))
		return refuse_resize(failure);
	if (device->step == DEVICE_LOST)
		return failure_set(failure, SYMBOL_STATE, 0, "id",
				   "device %u is not served, so its size "
				   "cannot change",
				   device->spec.id);
	if (*size == DEVICE_SIZE_AUTO) {
		if (!target->ops->measure)
			return failure_set(failure, SYMBOL_ARG, 0, "size",
					   "size=auto: a device of the target "
					   "%s has no size but the one that it "
					   "is given",
					   target->ops->name);
		if (target->ops->measure(target, size, failure) < 0)
			return -1;
		*rest = (uint32_t)(*size % block);
		*size -= *rest;
	}
	return target_check_size(*size, block, failure);
}

int resize_prepare(struct device *device, uint64_t size,
		   struct failure *failure)
{
	int is_auto = size == DEVICE_SIZE_AUTO;
	uint32_t rest = 0;
	char *words;

	if (check_size(device, &size, &rest, failure) < 0)
		return -1;
	words = is_auto ? words_drop_size(device->spec.words, size)
			: words_set_size(device->spec.words, size, 1);
	if (!words)
		return failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
				   "out of memory, or the device's add line "
				   "would be too long");
	device->new_size = size;
	device->new_unserved = rest;
	device->new_words = words;
	return 0;
}
