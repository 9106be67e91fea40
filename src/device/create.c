#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/feature.h"
#include "base/log.h"
#include "base/node.h"
#include "base/page.h"
#include "io/late.h"

#define NUMBER_TRIES 64	   /* of which a node cannot come, for one add */
#define NODE_RETRY   0.010 /* s between looks for a node in /dev */
#define DISK_TIMEOUT 1000  /* ms, where the kernel needs it */

/* ---- FEATURES ---- */

enum device_step create_enter_features(struct device *device)
{
	if (device->set->features)
		return DEVICE_NEXT;
	return device_ask_simple(device, MESSAGE_FEATURES);
}

enum device_step create_answer_features(struct device *device,
					const struct message *message)
{
	struct failure failure;

	if (message->result < 0)
		device_driver_failure(message->result, &failure);
	else if (device_set_features(device->set, message->number, &failure) ==
		 0)
		return DEVICE_NEXT;
	*device_failure(device) = failure;
	return DEVICE_FAILED;
}

/* ---- OWNER ---- */

/* Others than root may have a device, but give none away. */
static enum device_step refuse_owner(struct device *device, const char *arg)
{
	failure_set(device_failure(device), SYMBOL_DENIED, EPERM, arg,
		    "who is not root can own a device himself, without a "
		    "group, and none that shows the host's memory");
	return DEVICE_FAILED;
}

enum device_step create_enter_owner(struct device *device)
{
	const struct device_spec *spec = &device->spec;
	struct message message = device_message(device, MESSAGE_OWNER);

	device->owner = (struct owner){ (uid_t)-1, (gid_t)-1 };
	if (spec->owner[0]) {
		snprintf(message.text, sizeof(message.text), "%s", spec->owner);
		return device_ask(device, &message);
	}
	return spec->node_mode && spec->asked_by
		       ? refuse_owner(device, "node-mode")
		       : DEVICE_NEXT;
}

enum device_step create_answer_owner(struct device *device,
				     const struct message *message)
{
	const struct device_spec *spec = &device->spec;
	struct owner *owner = &device->owner;

	if (message->result < 0) {
		failure_set(device_failure(device),
			    failure_symbol(message->result), message->result,
			    "owner", "owner=%s: %.200s", spec->owner,
			    message->text[0] ? message->text
					     : strerror(-message->result));
		return DEVICE_FAILED;
	}
	owner->user = (uid_t)(message->number >> 32);
	owner->group = (gid_t)(uint32_t)message->number;
	if (spec->asked_by &&
	    (owner->user != spec->asked_by || owner->group != (gid_t)-1 ||
	     spec->geometry.shows_memory))
		return refuse_owner(device, "owner");
	return DEVICE_NEXT;
}

/* ---- NUMBER ---- */

/* Returns 0, or -1 with the device's failure filled after enough tries. */
static int find_number(struct device *device, uint32_t after)
{
	struct failure unused;

	while (device->tries++ < NUMBER_TRIES) {
		device->number = ++after;
		if (!device_find(device->set, after) &&
		    node_check_free(after, &unused) == 0)
			return 0;
	}
	return failure_set(device_failure(device), SYMBOL_EXISTS, EEXIST, "id",
			   "no number is free up to %u: others have them, or "
			   "something lies in the place of their nodes in "
			   "/dev (ls -l /dev/ublk*); name one with id=",
			   after);
}

enum device_step create_enter_number(struct device *device)
{
	uint32_t after = device->skips ? device->spec.id : device->number;

	device->skips = 0;
	device_set_id(device, DEVICE_ID_ANY);
	if (device->doomed)
		return DEVICE_RELEASE;
	return find_number(device, after) < 0 ? DEVICE_FAILED : DEVICE_NEXT;
}

/* ---- ADD ---- */

/* The first of the target's list that can be had; user copy always can. */
static enum io_mode best_mode(const struct device *device)
{
	const enum io_mode *mode = device->spec.geometry.modes;

	for (; mode && *mode != IO_MODES; mode++) {
		/* The driver takes one from the other. */
		if (device->spec.batch && *mode == IO_NEED_GET_DATA)
			continue;
		if (layers_can_time_out(&device->spec.layers) &&
		    !late_is_possible(*mode))
			continue;
		if (!(device_mode_flags(*mode) & ~device->set->features))
			return *mode;
	}
	return IO_USER_COPY;
}

/* What the driver must accept for this device. */
static uint64_t device_flags(const struct device *device)
{
	static const uint64_t recovery[] = {
		[RECOVERY_REISSUE] = UBLK_F_USER_RECOVERY |
				     UBLK_F_USER_RECOVERY_REISSUE,
		[RECOVERY_QUEUE] = UBLK_F_USER_RECOVERY,
		[RECOVERY_FAIL] = UBLK_F_USER_RECOVERY |
				  UBLK_F_USER_RECOVERY_FAIL_IO,
		[RECOVERY_NO] = 0,
	};

	return UBLK_F_CMD_IOCTL_ENCODE | device_mode_flags(device->spec.mode) |
	       (device->spec.no_partscan ? UBLK_F_NO_AUTO_PART_SCAN : 0) |
	       (device->spec.batch ? UBLK_F_BATCH_IO : 0) |
	       (device->spec.recovery != RECOVERY_NO
			? device->set->features & UBLK_F_QUIESCE
			: 0) |
	       recovery[device->spec.recovery];
}

/*
 * Drivers that do not abort on close notice a server's death by an idle tag of
 * the queue, and else by the disk's I/O timeout only; that is 30 s while START
 * reads the partition table, one request at a time. So there are always two
 * tags. With lists of tags no driver has fewer (7.3: EINVAL).
 */
static uint16_t least_depth(const struct device *device)
{
	int needs_two = !device_aborts_on_close(device) || device->spec.batch;
	uint16_t least = needs_two ? 2 : 1;

	return device->spec.depth < least ? least : device->spec.depth;
}

/* Older drivers drop unknown flags silently. */
static int check_flags(const struct device *device, struct failure *failure)
{
	enum io_mode mode = device->spec.mode;
	uint64_t missing = device_flags(device) & ~device->set->features;
	char why[100];

	if (missing & device_mode_flags(mode)) {
		snprintf(why, sizeof(why),
			 "does not have mode=%s; 'features' shows what it has",
			 io_mode_name(mode));
		return device_driver_lacks(failure, "mode", why);
	}
	if (missing & UBLK_F_BATCH_IO)
		return device_driver_lacks(failure, "batch",
					   "does not have batch=yes; it needs "
					   "the feature batch");
	if (missing & UBLK_F_NO_AUTO_PART_SCAN)
		return device_driver_lacks(failure, "partscan",
					   "always looks for partitions: "
					   "partscan=no needs the feature "
					   "no-partscan");
	if (missing)
		return device_driver_lacks(failure, "recovery",
					   "does not have that kind of "
					   "recovery; 'features' shows what "
					   "it has");
	return 0;
}

/*
 * The driver does not look into /dev when it chooses a number. One whose nodes
 * cannot come is given back: this device is deleted, and made with a later one.
 */
static int must_skip(struct device *device)
{
	struct failure failure;

	if (!device->picks_number ||
	    node_check_free(device->spec.id, &failure) == 0)
		return 0;
	log_warning("%s; the number %u is left out", failure.text,
		    device->spec.id);
	device->skips = 1;
	return 1;
}

enum device_step create_enter_add(struct device *device)
{
	struct message message = device_message(device, MESSAGE_ADD);
	struct failure failure;

	if (device->spec.mode == IO_MODES)
		device->spec.mode = best_mode(device);
	if (check_flags(device, &failure) < 0 ||
	    (device->spec.id != DEVICE_ID_ANY &&
	     node_check_free(device->spec.id, &failure) < 0)) {
		*device_failure(device) = failure;
		return DEVICE_FAILED;
	}
	message.info.dev_id = device->number;
	message.info.nr_hw_queues = device->spec.queues;
	message.info.queue_depth = least_depth(device);
	message.info.max_io_buf_bytes = device->spec.max_io;
	message.info.flags = device_flags(device);
	return device_ask(device, &message);
}

enum device_step create_answer_add(struct device *device,
				   const struct message *message)
{
	const struct ublk_dev_info *info = &message->info;
	struct device_spec *spec = &device->spec;

	if (message->result == -EEXIST && device->picks_number &&
	    device->number != DEVICE_ID_ANY)
		return DEVICE_NUMBER;
	if (message->result == -EEXIST) {
		failure_set(
			device_failure(device), SYMBOL_EXISTS, EEXIST, "id",
			"the id %u is in use by another ublk device, or by a "
			"deleted one that somebody still has open",
			spec->id);
		return DEVICE_FAILED;
	}
	if (message->result < 0)
		return device_fail(device, message->result);
	device_set_id(device, info->dev_id);
	spec->queues = info->nr_hw_queues;
	spec->depth = info->queue_depth;
	spec->max_io = info->max_io_buf_bytes;
	device->can_rest = (info->flags & UBLK_F_QUIESCE) != 0;
	if (device_flags(device) & ~info->flags)
		return device_fail(device, -EOPNOTSUPP);
	return !device->doomed && must_skip(device) ? DEVICE_DELETE
						    : DEVICE_NEXT;
}

/* ---- PARAMS ---- */

static void set_basic(const struct device_spec *spec,
		      struct ublk_param_basic *basic)
{
	const struct geometry *geometry = &spec->geometry;
	uint32_t physical = geometry->physical_block_size;

	if (physical < geometry->block_size)
		physical = geometry->block_size;
	if (spec->read_only)
		basic->attrs |= UBLK_ATTR_READ_ONLY;
	if (geometry->volatile_cache)
		basic->attrs |= UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
	basic->logical_bs_shift = (uint8_t)__builtin_ctz(geometry->block_size);
	basic->physical_bs_shift = (uint8_t)__builtin_ctz(physical);
	basic->io_min_shift = basic->io_opt_shift = basic->physical_bs_shift;
	basic->max_sectors = spec->max_io / SECTOR;
	basic->chunk_sectors = geometry->chunk / SECTOR;
	basic->dev_sectors = geometry->size / SECTOR;
}

enum device_step create_enter_params(struct device *device)
{
	struct message message = device_message(device, MESSAGE_PARAMS);
	const struct geometry *geometry = &device->spec.geometry;
	struct ublk_params *params = &message.params;
	struct ublk_param_discard *discard = &params->discard;

	params->len = sizeof(*params);
	params->types = UBLK_PARAM_TYPE_BASIC;
	set_basic(&device->spec, &params->basic);
	if (geometry->discard_granularity) {
		params->types |= UBLK_PARAM_TYPE_DISCARD;
		discard->discard_granularity = geometry->discard_granularity;
		discard->max_discard_sectors = geometry->max_discard / SECTOR;
		discard->max_write_zeroes_sectors =
			geometry->max_write_zeroes / SECTOR;
		discard->max_discard_segments = geometry->max_discard ? 1 : 0;
	}
	return device_ask(device, &message);
}

/* Of PARAMS and NOTE; and of START, which a refused FETCH may have cancelled. */
enum device_step create_answer(struct device *device,
			       const struct message *message)
{
	int refusal = device->refusal;

	if (message->result == 0)
		return DEVICE_NEXT;
	return device_fail(device, refusal ? refusal : message->result);
}

/* ---- OPEN ---- */

/* When all are open: what the kernel is short of shows before the first FETCH. */
static int start_queues(struct device *device)
{
	int error = device_open_queues(device);
	unsigned i;

	for (i = 0; i < device->open_queues && !error; i++) {
		device->taken = TAKEN_FETCHED;
		error = queue_start(&device->queues[i], device->set->loop,
				    device->fd);
	}
	return error;
}

static int open_char(struct device *device)
{
	char path[NODE_PATH_BYTES];

	node_path(NODE_CHAR, device->spec.id, path, sizeof(path));
	device->fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	return device->fd < 0 ? -errno : 0;
}

/*
 * devtmpfs has the node at once; other kinds of /dev need a moment, and some have
 * an old one of that name until then.
 */
static int can_wait(int error)
{
	return error == -ENOENT || error == -ESTALE || error == -EACCES;
}

enum device_step create_try_open(struct device *device)
{
	struct failure failure;
	int missing = node_look(NODE_CHAR, device->spec.id, &failure);
	int error = missing ? missing : open_char(device);

	if (can_wait(error) && device_retry(device, NODE_RETRY) == 0)
		return DEVICE_STAY;
	if (!error)
		error = start_queues(device);
	if (error)
		device_fail(device, error);
	if (missing)
		*device_failure(device) = failure;
	return error ? DEVICE_FAILED : DEVICE_NEXT;
}

/* ---- TIMEOUT ---- */

enum device_step create_enter_timeout(struct device *device)
{
	struct message message = device_message(device, MESSAGE_TIMEOUT);

	if (device_aborts_on_close(device))
		return DEVICE_NEXT;
	message.number = DISK_TIMEOUT;
	return device_ask(device, &message);
}

enum device_step create_answer_timeout(struct device *device,
				       const struct message *message)
{
	if (message->result < 0)
		log_warning("%s: cannot set its I/O timeout: %s; if the server "
			    "dies, its users wait for up to 30 s",
			    device->disk, strerror(-message->result));
	return DEVICE_NEXT;
}

/* ---- NODE ---- */

/*
 * udev does the same, if it runs, by our rule: the keeper has written down what it
 * needs. Whoever of the two comes second finds it done; one that is overtaken by
 * udev in the midst of it looks again.
 */
static enum device_step give_node(struct device *device)
{
	const struct device_spec *spec = &device->spec;
	int error = 0;

	if (spec->owner[0] || spec->node_mode)
		error = node_give(spec->id, &device->owner, spec->node_mode);
	if (!error)
		return DEVICE_NEXT;
	if (device_retry(device, NODE_RETRY) == 0)
		return DEVICE_STAY;
	failure_set(device_failure(device), failure_symbol(error), error,
		    spec->owner[0] ? "owner" : "node-mode",
		    "cannot change the owner or the mode of /dev/%s: %s",
		    device->disk, strerror(-error));
	return DEVICE_FAILED;
}

enum device_step create_try_node(struct device *device)
{
	struct failure failure;
	int error = node_look(NODE_BLOCK, device->spec.id, &failure);

	if (!error)
		return give_node(device);
	if (can_wait(error) && device_retry(device, NODE_RETRY) == 0)
		return DEVICE_STAY;
	*device_failure(device) = failure;
	return DEVICE_FAILED;
}
