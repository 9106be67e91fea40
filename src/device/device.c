#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/feature.h"
#include "base/log.h"
#include "base/node.h"
#include "base/page.h"
#include "io/late.h"
#include "io/recorder.h"

/* ---- the set ---- */

static void set_insert(struct device *device)
{
	struct device **at = &device->set->first;

	while (*at && (*at)->spec.id <= device->spec.id)
		at = &(*at)->next;
	device->next = *at;
	*at = device;
}

static void set_remove(struct device *device)
{
	struct device **at = &device->set->first;

	while (*at != device)
		at = &(*at)->next;
	*at = device->next;
}

void device_changed(const struct device *device, enum device_change what)
{
	struct device_set *set = device->set;

	set->seq++;
	if (set->on_change)
		set->on_change(set->watcher, device, what);
}

/* Of the number that it has, if anybody was told of that. */
static void tell_gone(struct device *device)
{
	if (device->told_state)
		device_changed(device, DEVICE_CHANGE_GONE);
	device->told_state = NULL;
}

void device_set_id(struct device *device, uint32_t id)
{
	tell_gone(device);
	set_remove(device);
	device->spec.id = id;
	device->disk[0] = '\0';
	if (id != DEVICE_ID_ANY)
		snprintf(device->disk, sizeof(device->disk), "ublkb%u", id);
	set_insert(device);
}

unsigned device_set_size(const struct device_set *set)
{
	const struct device *device;
	unsigned size = 0;

	for (device = set->first; device; device = device->next)
		size++;
	return size;
}

struct device *device_find(struct device_set *set, uint32_t id)
{
	struct device *device;

	for (device = set->first; device; device = device->next)
		if (device->spec.id == id && id != DEVICE_ID_ANY)
			return device;
	return NULL;
}

struct device *device_find_serial(struct device_set *set, uint64_t serial)
{
	struct device *device = set->first;

	while (device && device->serial != serial)
		device = device->next;
	return device;
}

struct device *device_find_name(struct device_set *set, const char *name)
{
	struct device *device, *deleted = NULL;

	for (device = set->first; device; device = device->next) {
		if (!name[0] || (strcmp(device_name(device), name) != 0 &&
				 strcmp(device->disk, name) != 0))
			continue;
		if (device->is_counted)
			return device;
		deleted = device;
	}
	return deleted;
}

const char *device_name(const struct device *device)
{
	return device->spec.name[0] ? device->spec.name : device->disk;
}

unsigned device_owned(const struct device *device)
{
	unsigned owned = 0, i;

	for (i = 0; i < device->open_queues; i++)
		owned += device->queues[i].port.owned;
	return owned;
}

unsigned device_late(const struct device *device)
{
	unsigned late = 0, i;

	for (i = 0; i < device->open_queues; i++)
		late += late_count(&device->queues[i].port);
	return late;
}

uint64_t device_disk_size(uint32_t id)
{
	unsigned long long sectors = 0;
	char path[48];
	FILE *file;

	node_attribute(id, "size", path, sizeof(path));
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%llu", &sectors) != 1)
		sectors = 0;
	fclose(file);
	return (uint64_t)sectors * SECTOR;
}

double device_retry_in(const struct device *device)
{
	double left = device->next_try - loop_now();

	return loop_timer_is_active(&device->timer) && left > 0 ? left : -1;
}

unsigned device_close_files(struct device_spec *spec, struct ev_loop *loop,
			    opener_ended *closed, void *context)
{
	int fds[MESSAGE_MAX_FDS], count = 0;
	unsigned begun = 0;

	if (spec->target)
		count = target_give_up(spec->target, fds);
	/* The add has failed. */
	if (spec->new_file)
		begun +=
			opener_close(loop, -1, spec->new_file, closed, context);
	free(spec->new_file);
	spec->new_file = NULL;
	while (count > 0)
		begun +=
			opener_close(loop, fds[--count], NULL, closed, context);
	return begun;
}

unsigned device_close_spec(struct device_spec *spec, struct ev_loop *loop,
			   opener_ended *closed, void *context)
{
	unsigned begun = device_close_files(spec, loop, closed, context);

	layers_close(&spec->layers);
	if (spec->target)
		spec->target->ops->close(spec->target);
	free(spec->words);
	memset(spec, 0, sizeof(*spec));
	return begun;
}

/* ---- the driver ---- */

static const uint64_t mode_flags[IO_MODES] = {
	[IO_USER_COPY] = UBLK_F_USER_COPY,
	/* Pages that cannot be registered are copied. */
	[IO_ZERO_COPY] = UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG |
			 UBLK_F_USER_COPY,
	[IO_NEED_GET_DATA] = UBLK_F_NEED_GET_DATA,
	[IO_COPY] = 0, /* what the driver does without being told */
};

uint64_t device_mode_flags(enum io_mode mode)
{
	return mode_flags[mode];
}

enum io_mode device_mode(uint64_t flags)
{
	if (flags & UBLK_F_AUTO_BUF_REG)
		return IO_ZERO_COPY;
	if (flags & UBLK_F_USER_COPY)
		return IO_USER_COPY;
	return flags & UBLK_F_NEED_GET_DATA ? IO_NEED_GET_DATA : IO_COPY;
}

int device_batch(uint64_t flags)
{
	return (flags & UBLK_F_BATCH_IO) != 0;
}

int device_aborts_on_close(const struct device *device)
{
	return features_abort_on_close(device->set->features);
}

void device_driver_failure(int error, struct failure *failure)
{
	enum symbol symbol = failure_symbol(error);
	const char *text = strerror(-error);

	if (error == -ENOENT || error == -ENODEV || error == -ENXIO) {
		symbol = SYMBOL_UNSUPPORTED;
		text = "the ublk driver is not loaded, run 'modprobe ublk_drv'";
	}
	failure_set(failure, symbol, error, NULL, "cannot use %s: %s",
		    UBLK_CONTROL_PATH, text);
}

int device_driver_lacks(struct failure *failure, const char *arg,
			const char *why)
{
	return failure_set(failure, SYMBOL_UNSUPPORTED, EOPNOTSUPP, arg,
			   "the ublk driver of this kernel %s", why);
}

int device_set_features(struct device_set *set, uint64_t features,
			struct failure *failure)
{
	const char *missing = features_required_missing(features);
	char why[200];

	if (!missing) {
		set->features = features;
		return 0;
	}
	snprintf(why, sizeof(why),
		 "lacks %s (Linux 6.5 and newer have what is needed)", missing);
	return device_driver_lacks(failure, NULL, why);
}

/* ---- what the keeper is told ---- */

int device_send_rings(const struct device *device, struct channel *channel)
{
	struct message message = device_message(device, MESSAGE_RING);
	int error = 0;
	unsigned i;

	if (device_aborts_on_close(device))
		return 0;
	for (i = 0; i < device->open_queues && !error; i++) {
		message.number = (uint64_t)queue_ring_fd(&device->queues[i]);
		error = channel_send(channel, &message, NULL, 0);
	}
	return error;
}

int device_send_tally(const struct device *device, struct channel *channel)
{
	struct message message = device_message(device, MESSAGE_TALLY);

	message.number = device->spec.target->tally;
	return message.number ? channel_send(channel, &message, NULL, 0) : 0;
}

/*
 * The keeper is told when the tally changes; again only when the keeper has
 * answered: there may be more errors than can be written down.
 */
static void tell_tally(struct device *device)
{
	struct message message = device_message(device, MESSAGE_TALLY);
	uint64_t tally = device->spec.target->tally;

	message.number = tally;
	if (device->telling || tally == device->told_tally ||
	    channel_send(device->set->channel, &message, NULL, 0) < 0)
		return;
	device->told_tally = tally;
	device->telling = 1;
}

static void on_tally(struct target *target)
{
	tell_tally(target->owner);
}

void device_tally_is_told(struct device *device)
{
	device->telling = 0;
	tell_tally(device);
}

void device_take_tally(struct device_set *set, uint32_t id, uint64_t tally)
{
	struct device *device = device_find(set, id);

	if (device)
		device->spec.target->tally = device->told_tally = tally;
}

/* ---- beginning and end ---- */

static void on_refused(const struct target *target, uint64_t used)
{
	const struct device *device = target->owner;

	log_warning("device %u (%s): no memory for a write, which gets ENOSPC; "
		    "so will others until there is some; %llu MiB are held",
		    device->spec.id, device_name(device),
		    (unsigned long long)(used >> 20));
}

static void own_target(struct device *device)
{
	device->spec.target->changed = on_tally;
	device->spec.target->refused = on_refused;
	device->spec.target->owner = device;
}

struct device *device_new(struct device_set *set,
			  const struct device_spec *spec,
			  void (*fire)(struct loop_timer *timer),
			  struct failure *failure)
{
	struct device *device = calloc(1, sizeof(*device));
	struct device_spec unused = *spec;

	if (!device) {
		device_close_spec(&unused, set->loop, NULL, NULL);
		failure_no_memory(failure);
		return NULL;
	}
	device->set = set;
	device->spec = *spec;
	device->fd = -1;
	device->serial = ++set->next_serial;
	own_target(device);
	loop_timer_init(&device->timer, fire, device);
	set_insert(device);
	set->count++;
	device->is_counted = 1;
	return device;
}

void device_take_target(struct device *device, const struct device_spec *spec)
{
	struct target *stand_in = device->spec.target;

	layers_close(&device->spec.layers);
	spec->target->tally = stand_in->tally;
	stand_in->ops->close(stand_in);
	device->spec.target = spec->target;
	device->spec.layers = spec->layers;
	device->spec.geometry = spec->geometry;
	own_target(device);
}

static struct failure shared; /* see device_failure() */

struct failure *device_failure(struct device *device)
{
	if (!device->failure)
		device->failure = malloc(sizeof(*device->failure));
	if (!device->failure)
		device->failure = &shared;
	return device->failure;
}

void device_forget_failure(struct device *device)
{
	if (device->failure != &shared)
		free(device->failure);
	device->failure = NULL;
}

enum device_step device_fail(struct device *device, int error)
{
	failure_set(device_failure(device), failure_symbol(error), error, NULL,
		    "%s", "");
	return DEVICE_FAILED;
}

void device_tell(struct device *device, const struct failure *failure)
{
	device_done *done = device->done;
	void *context = device->context;

	device->done = device->also_done;
	device->context = device->also_context;
	device->also_done = NULL;
	if (done)
		done(context, device, failure);
}

enum device_step device_rest(struct device *device)
{
	struct failure failure = { .symbol = SYMBOL_NONE };
	int force = device->force;

	if (device->failure)
		failure = *device->failure;
	device_forget_failure(device);
	device->new_size = 0;
	free(device->new_words);
	device->new_words = NULL;
	if (force)
		device->step = DEVICE_STOP; /* nothing else may begin */
	/* Whoever is told may delete the device, unless that is forced. */
	device_tell(device, failure.symbol == SYMBOL_NONE ? NULL : &failure);
	return force ? DEVICE_STOP : DEVICE_STAY;
}

void device_tell_end(struct device *device)
{
	struct device_set *set = device->set;

	set->count -= (unsigned)device->is_counted;
	device->is_counted = 0;
	if (device->disk[0])
		log_info("device %u (%s) is deleted", device->spec.id,
			 device_name(device));
	device_tell(device, device->failure);
	device_tell(device, device->failure);
	if (set->count == 0 && set->on_empty)
		set->on_empty(set);
}

enum device_step device_free(struct device *device)
{
	tell_gone(device); /* as it was */
	layers_close(&device->spec.layers);
	device->spec.target->ops->close(device->spec.target);
	recorder_forget(device->recorder);
	set_remove(device);
	if (device->is_counted)
		device_tell_end(device);
	device_forget_failure(device);
	free(device->spec.words);
	free(device->new_words);
	free(device->why);
	free(device);
	return DEVICE_STAY;
}

/* ---- asking the keeper ---- */

struct message device_message(const struct device *device, uint32_t type)
{
	struct message message = { .magic = MESSAGE_MAGIC };

	message.type = type;
	message.id = device->spec.id;
	message.serial = device->serial;
	return message;
}

static enum device_step send_question(struct device *device,
				      const struct message *message,
				      const int *fds, int fd_count)
{
	device->unsent =
		channel_send(device->set->channel, message, fds, fd_count);
	return device->unsent ? DEVICE_UNSENT : DEVICE_STAY;
}

enum device_step device_ask(struct device *device,
			    const struct message *message)
{
	return send_question(device, message, NULL, 0);
}

enum device_step device_ask_simple(struct device *device, uint32_t type)
{
	struct message message = device_message(device, type);

	return device_ask(device, &message);
}

static struct message note_message(const struct device *device,
				   const char *words)
{
	struct message message = device_message(device, MESSAGE_NOTE);

	if (device->spec.recovery != RECOVERY_NO)
		message.number |= NOTE_RECOVERABLE;
	if (device->spec.target->ops->is_private)
		message.number |= NOTE_PRIVATE;
	if (device->spec.configured || device->claims)
		message.number |= NOTE_CONFIGURED;
	snprintf(message.text, sizeof(message.text), "%s", words);
	return message;
}

enum device_step device_ask_note(struct device *device)
{
	struct message message = note_message(device, device->spec.words);
	int fds[MESSAGE_MAX_FDS];
	int count = target_hold(device->spec.target, fds);

	if (count >= 0)
		return send_question(device, &message, fds, count);
	device->unsent = count;
	return DEVICE_UNSENT;
}

enum device_step device_ask_new_words(struct device *device)
{
	struct message message = note_message(device, device->new_words);

	return device_ask(device, &message);
}

void device_cancel_command(struct device *device)
{
	struct message cancel = device_message(device, MESSAGE_CANCEL);

	channel_send(device->set->channel, &cancel, NULL, 0);
}

/* ---- its queues ---- */

/* What the driver says about tags: all given up, or a FETCH was refused. */
static void on_queue(struct queue *queue, int error)
{
	struct device *device = queue->owner;

	if (error) {
		log_error("%s: the driver refused a request slot: %s",
			  device->disk, strerror(-error));
		device->refusal = error;
		/* The device cannot start: START's answer rolls back. */
		if (device->step == DEVICE_START ||
		    device->step == DEVICE_RECOVER_END)
			device_cancel_command(device);
	} else if (device->step == DEVICE_DRAIN) {
		device_start_timer(device, 0);
	}
}

int device_open_queues(struct device *device)
{
	struct device_spec *spec = &device->spec;
	struct queue_shape shape = { .depth = spec->depth,
				     .mode = spec->mode,
				     .batch = spec->batch,
				     .defer = device_aborts_on_close(device),
				     .max_io = spec->max_io };
	int error;

	if (!device->queues)
		device->queues = calloc(spec->queues, sizeof(*device->queues));
	if (!device->queues)
		return -ENOMEM;
	if (!device->recorder)
		device->recorder = recorder_open(spec->id, !device->adopted,
						 spec->queues, spec->depth,
						 spec->target->ops->name);
	shape.recorder = device->recorder;
	while (device->open_queues < spec->queues) {
		error = queue_open(&device->queues[device->open_queues],
				   (uint16_t)device->open_queues, &shape,
				   &spec->target->backend, on_queue, device);
		if (error)
			return error;
		device->queues[device->open_queues++].top =
			layers_first(&spec->layers, &spec->target->backend);
	}
	return layers_can_time_out(&spec->layers) ? device_allow_late(device)
						  : 0;
}

void device_close_queues(struct device *device)
{
	while (device->open_queues)
		queue_close(&device->queues[--device->open_queues]);
	free(device->queues);
	device->queues = NULL;
	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
}

/* ---- waiting ---- */

void device_start_timer(struct device *device, double after)
{
	loop_timer_start(device->set->loop, &device->timer, after);
}

int device_retry(struct device *device, double interval)
{
	if (loop_now() >= device->deadline)
		return -1;
	device_start_timer(device, interval);
	return 0;
}
