#include "device-steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/feature.h"
#include "base/log.h"

/* What a step does when it begins and when the keeper answers. */
struct step {
	const char *state; /* as users see it */
	const char *work;  /* for whoever comes meanwhile: "it is ..." */
	const char *what;  /* in messages: "the driver cannot ..." */
	void (*enter)(struct device *device);
	void (*answer)(struct device *device, const struct message *message);
	void (*timer)(struct device *device);
};
static const struct step steps[];

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

void device_set_id(struct device *device, uint32_t id)
{
	set_remove(device);
	device->spec.id = id;
	device->disk[0] = '\0';
	if (id != DEVICE_ID_ANY)
		snprintf(device->disk, sizeof(device->disk), "ublkb%u", id);
	set_insert(device);
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
	struct device *device;

	for (device = set->first; device; device = device->next)
		if (name[0] && (strcmp(device_name(device), name) == 0 ||
				strcmp(device->disk, name) == 0))
			return device;
	return NULL;
}

const char *device_name(const struct device *device)
{
	return device->spec.name[0] ? device->spec.name : device->disk;
}

const char *device_state(const struct device *device)
{
	int is_served = device->open_queues || device->step > DEVICE_BUSY;

	if (device->adopted && (device->step < DEVICE_LIVE || !is_served))
		return "quiesced";
	return steps[device->step].state;
}

const char *device_work(const struct device *device)
{
	if (device->doomed)
		return "being deleted";
	if (device->adopted && device->step < DEVICE_LIVE)
		return steps[DEVICE_RECOVER].work;
	if (device->step == DEVICE_NOTE_AGAIN && device->new_size)
		return steps[DEVICE_RESIZE].work;
	return steps[device->step].work;
}

unsigned device_owned(const struct device *device)
{
	unsigned owned = 0, i;

	for (i = 0; i < device->open_queues; i++)
		owned += device->queues[i].port.owned;
	return owned;
}

int device_set_features(struct device_set *set, uint64_t features,
			struct failure *failure)
{
	const char *missing = features_required_missing(features);

	if (missing)
		return failure_set(failure, SYMBOL_UNSUPPORTED, EOPNOTSUPP,
				   NULL,
				   "the ublk driver of this kernel lacks %s "
				   "(Linux 6.5 and newer have what is needed)",
				   missing);
	set->features = features;
	return 0;
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

/* ---- the end of an operation ---- */

void device_finish(struct device *device, const struct failure *failure)
{
	device_done *done = device->done, *also_done = device->also_done;

	device->done = device->also_done = NULL;
	if (done)
		done(device->context, device, failure);
	if (also_done)
		also_done(device->also_context, device, failure);
}

void device_finish_and_stop(struct device *device,
			    const struct failure *failure)
{
	device_done *deleted = device->also_done;

	device->step = DEVICE_STOP; /* nothing else may begin */
	device->also_done = NULL;
	device_finish(device, failure);
	device->done = deleted;
	device->context = device->also_context;
	device_enter(device, DEVICE_STOP);
}

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
 * The keeper is told when it changes; again only when it has answered: there may
 * be more errors than it can write down.
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

static void tally_is_told(struct device *device)
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

void device_forget(struct device *device)
{
	struct device_set *set = device->set;
	int failed = device->failure.symbol != SYMBOL_NONE;

	loop_timer_stop(set->loop, &device->timer);
	layers_close(&device->spec.layers);
	device->spec.target->ops->close(device->spec.target);
	set_remove(device);
	set->count--;
	set->seq++;
	if (device->disk[0])
		log_info("device %u (%s) is deleted", device->spec.id,
			 device_name(device));
	device_finish(device, failed ? &device->failure : NULL);
	free(device->spec.words);
	free(device->new_words);
	free(device);
	if (set->count == 0 && set->on_empty)
		set->on_empty(set);
}

void device_give_up(struct device *device, enum device_step to,
		    const struct failure *failure)
{
	/* Who deletes it gets what was asked for. */
	if (!device->disowned)
		device->failure = *failure;
	if (device->adopted && !device->doomed) {
		recover_lose(device, failure->text);
		return;
	}
	log_error("%s: %s", device->disk[0] ? device->disk : "a new device",
		  failure->text);
	device_enter(device, to);
}

void device_roll_back(struct device *device, enum device_step to,
		      enum symbol symbol, int error, const char *arg)
{
	struct failure failure;

	failure_set(&failure, symbol, error, arg, "cannot %s: %s",
		    steps[device->step].what, strerror(abs(error)));
	device_give_up(device, to, &failure);
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

void device_ask(struct device *device, struct message *message)
{
	int error = channel_send(device->set->channel, message, NULL, 0);

	if (error == 0)
		return;
	message->result = error;
	steps[device->step].answer(device, message);
}

void device_ask_simple(struct device *device, uint32_t type)
{
	struct message message = device_message(device, type);

	device_ask(device, &message);
}

struct message device_note_message(const struct device *device,
				   const char *words)
{
	struct message message = device_message(device, MESSAGE_NOTE);

	if (device->spec.recovery != RECOVERY_NO)
		message.number |= NOTE_RECOVERABLE;
	if (device->spec.target->ops->is_private)
		message.number |= NOTE_PRIVATE;
	snprintf(message.text, sizeof(message.text), "%s", words);
	return message;
}

int device_send_note(struct device *device)
{
	struct message message =
		device_note_message(device, device->spec.words);
	int fds[MESSAGE_MAX_FDS];
	int count = target_hold(device->spec.target, fds);

	return count < 0 ? count
			 : channel_send(device->set->channel, &message, fds,
					count);
}

void device_cancel_command(struct device *device)
{
	struct message cancel = device_message(device, MESSAGE_CANCEL);

	channel_send(device->set->channel, &cancel, NULL, 0);
}

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

void device_set_patience(struct device *device, double patience)
{
	device->deadline = loop_now() + patience;
}

/* ---- LIVE ---- */

/*
 * From now on through the layers. Not earlier: START and TIMEOUT wait for the
 * requests that come before.
 */
static void route(struct device *device)
{
	const struct device_spec *spec = &device->spec;
	unsigned i;

	for (i = 0; i < device->open_queues; i++)
		device->queues[i].top =
			layers_top(&spec->layers, &spec->target->backend);
}

static void enter_live(struct device *device)
{
	free(device->spec.new_file);
	device->spec.new_file = NULL; /* it is somebody's data now */
	route(device);
	device_send_rings(device, device->set->channel);
	device->set->seq++;
	if (device->adopted)
		log_notice("device %u (%s): taken over", device->spec.id,
			   device_name(device));
	else
		log_info("device %u (%s): %s, %llu bytes, is live",
			 device->spec.id, device_name(device),
			 device->spec.target->ops->name,
			 (unsigned long long)device->spec.geometry.size);
	device_finish(device, NULL);
	if (device->adopted && device->step == DEVICE_LIVE)
		resize_after_recovery(device);
}

/* ---- NOTE_AGAIN ---- */

void device_back_to_work(struct device *device)
{
	device->step = device->open_queues ? DEVICE_LIVE : DEVICE_LOST;
	if (device->step == DEVICE_LOST)
		recover_wait(device);
	device_send_rings(device, device->set->channel);
}

static void enter_note_again(struct device *device)
{
	struct message message = device_note_message(device, device->new_words);

	device_ask(device, &message);
}

/* A new size is a fact already, whether it could be noted or not. */
static void take_new_words(struct device *device, int is_noted)
{
	if (is_noted || device->new_size) {
		free(device->spec.words);
		device->spec.words = device->new_words;
	} else {
		free(device->new_words);
	}
	device->new_words = NULL;
}

static void answer_note_again(struct device *device,
			      const struct message *message)
{
	int is_noted = message->result == 0;
	struct failure failure;

	if (!is_noted)
		failure_set(&failure, failure_symbol(message->result),
			    message->result, NULL, "cannot %s: %s",
			    steps[DEVICE_NOTE_AGAIN].what,
			    strerror(-message->result));
	take_new_words(device, is_noted);
	if (device->new_size) {
		resize_noted(device, is_noted ? NULL : &failure);
	} else if (device->force) {
		device_finish_and_stop(device, is_noted ? NULL : &failure);
	} else {
		device_back_to_work(device);
		device_finish(device, is_noted ? NULL : &failure);
	}
}

static const struct step steps[] = {
	[DEVICE_FEATURES] = { "adding", "being added",
			      "learn the driver's features",
			      create_enter_features, create_answer_features,
			      NULL },
	[DEVICE_ADD] = { "adding", "being added", "add a ublk device",
			 create_enter_add, create_answer_add, NULL },
	[DEVICE_PARAMS] = { "adding", "being added",
			    "set the device's parameters", create_enter_params,
			    create_answer_params, NULL },
	[DEVICE_NOTE] = { "adding", "being added", "note the device",
			  create_enter_note, create_answer_note, NULL },
	[DEVICE_PREPARED] = { "quiesced", "being taken over",
			      "wait for the word to go", recover_enter_prepared,
			      NULL, NULL },
	[DEVICE_GIVE] = { "quiesced", "being taken over",
			  "give the keeper its file", recover_enter_give,
			  recover_answer_give, NULL },
	[DEVICE_RECOVER] = { "quiesced", "being taken over",
			     "take the device over", recover_enter,
			     recover_answer, recover_enter },
	[DEVICE_END_RECOVER] = { "quiesced", "being taken over",
				 "take the device over", recover_enter_end,
				 create_answer_start, NULL },
	[DEVICE_LOST] = { "quiesced", NULL, "serve", recover_enter_lost, NULL,
			  recover_try_again },
	[DEVICE_OPEN] = { "adding", "being added", "open the char device",
			  create_enter_open, NULL, create_try_open },
	[DEVICE_START] = { "adding", "being added", "start the device",
			   create_enter_start, create_answer_start, NULL },
	[DEVICE_TIMEOUT] = { "adding", "being added", "set the I/O timeout",
			     create_enter_timeout, create_answer_timeout,
			     NULL },
	[DEVICE_NODE] = { "adding", "being added",
			  "find the block device's node in /dev",
			  create_enter_node, NULL, create_try_node },
	[DEVICE_LIVE] = { "live", NULL, "serve", enter_live, NULL, NULL },
	[DEVICE_NOTE_AGAIN] = { "live", "being changed", "note the change",
				enter_note_again, answer_note_again, NULL },
	[DEVICE_TRIM] = { "live", "being resized", "give back what it had",
			  resize_enter_trim, NULL, resize_enter_trim },
	[DEVICE_RESIZE] = { "live", "being resized", "change the size",
			    resize_enter, resize_answer, NULL },
	[DEVICE_BUSY] = { "live", "being checked", "look who uses it",
			  remove_enter_busy, remove_answer_busy,
			  remove_enter_busy },
	[DEVICE_TRY_STOP] = { "deleting", "being deleted", "stop the device",
			      remove_enter_try_stop, remove_answer_try_stop,
			      NULL },
	[DEVICE_STOP] = { "deleting", "being deleted", "stop the device",
			  remove_enter_stop, remove_answer_stop, NULL },
	[DEVICE_DRAIN] = { "deleting", "being deleted", "drain the queues",
			   remove_enter_drain, NULL, remove_poll_drain },
	[DEVICE_DELETE] = { "deleting", "being deleted", "delete the device",
			    remove_enter_delete, remove_answer_delete, NULL },
	[DEVICE_RELEASE] = { "deleting", "being deleted", "release its memory",
			     remove_enter_release, NULL, remove_enter_release },
	[DEVICE_CLOSE] = { "deleting", "being deleted", "close its files",
			   remove_enter_close, NULL, NULL },
};

void device_enter(struct device *device, enum device_step step)
{
	log_debug("%s: %s", device->disk[0] ? device->disk : "a new device",
		  steps[step].what);
	device->step = step;
	steps[step].enter(device);
}

static void on_timer(struct loop_timer *timer)
{
	struct device *device = timer->data;

	if (steps[device->step].timer)
		steps[device->step].timer(device);
}

/* ---- from outside ---- */

static struct device *new_device(struct device_set *set,
				 const struct device_spec *spec,
				 struct failure *failure)
{
	struct device *device = calloc(1, sizeof(*device));
	struct device_spec unused = *spec;

	if (!device) {
		device_close_spec(&unused, set->loop, NULL, NULL);
		failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
			    "out of memory");
		return NULL;
	}
	device->set = set;
	device->spec = *spec;
	device->fd = -1;
	device->serial = ++set->next_serial;
	own_target(device);
	loop_timer_init(&device->timer, on_timer, device);
	set_insert(device);
	set->count++;
	return device;
}

int device_add(struct device_set *set, const struct device_spec *spec,
	       device_done *done, void *context, struct failure *failure)
{
	struct device *device = new_device(set, spec, failure);

	if (!device)
		return -1;
	device->done = done;
	device->context = context;
	device->number = spec->id;
	device->picks_number = spec->id == DEVICE_ID_ANY;
	device_enter(device, DEVICE_FEATURES);
	return 0;
}

int device_adopt(struct device_set *set, const struct device_spec *spec,
		 struct failure *failure)
{
	struct device *device = new_device(set, spec, failure);

	if (!device)
		return -1;
	device->adopted = 1;
	device->pause = LOST_PAUSE;
	snprintf(device->disk, sizeof(device->disk), "ublkb%u", spec->id);
	device_enter(device, DEVICE_PREPARED);
	return 0;
}

void device_reopened(struct device *device, struct device_spec *spec)
{
	struct target *stand_in = device->spec.target;

	layers_close(&device->spec.layers);
	spec->target->tally = stand_in->tally;
	stand_in->ops->close(stand_in);
	device->spec.target = spec->target;
	device->spec.layers = spec->layers;
	device->spec.geometry = spec->geometry;
	own_target(device);
	device->reopening = 0;
	device_enter(device, DEVICE_RECOVER);
}

void device_recover_all(struct device_set *set)
{
	struct device *device, *next;

	for (device = set->first; device; device = next) {
		next = device->next;
		if (device->step == DEVICE_PREPARED)
			recover_begin(device);
	}
}

/* Only a live device can be asked for something. */
static int check_live(const struct device *device, struct failure *failure)
{
	const char *work = device_work(device);

	if (!work)
		return 0;
	return failure_set(failure, SYMBOL_BUSY, EBUSY, "id",
			   "device %u is %s just now", device->spec.id, work);
}

int device_begin(struct device *device, device_done *done, void *context,
		 struct failure *failure)
{
	if (check_live(device, failure) < 0)
		return -1;
	loop_timer_stop(device->set->loop, &device->timer);
	device->done = done;
	device->context = context;
	/* That it is lost, if so, is no failure of this. */
	device->failure = (struct failure){ .symbol = SYMBOL_NONE };
	device->seen_busy = 0;
	return 0;
}

int device_put_on(struct device *device, const struct option_value *values)
{
	struct device_spec *spec = &device->spec;
	int error = layers_put_on(&spec->layers, device->set->loop,
				  &spec->target->backend, values);

	if (device->step >= DEVICE_LIVE)
		route(device);
	return error;
}

int device_note(struct device *device, char *words, device_done *done,
		void *context, struct failure *failure)
{
	if (device_begin(device, done, context, failure) < 0) {
		free(words);
		return -1;
	}
	device->new_words = words;
	device_enter(device, DEVICE_NOTE_AGAIN);
	return 0;
}

/* Whoever uses it: its I/O is not to be waited for either. */
static void use_force(struct device *device)
{
	device->force = 1;
	layers_hurry(&device->spec.layers);
}

/*
 * Wait for the device's end, perhaps beside whoever waits for that already or for
 * what comes first. Returns 0, or -1 if two wait.
 */
static int join(struct device *device, device_done *done, void *context)
{
	int is_first_changed = device->step > DEVICE_LOST &&
			       device->step < DEVICE_BUSY;

	if (device->also_done)
		return -1;
	if (device->done || is_first_changed) {
		device->also_done = done;
		device->also_context = context;
	} else {
		device->done = done;
		device->context = context;
	}
	return 0;
}

/* It will not become live: delete it once that is possible. */
static void doom(struct device *device)
{
	device->doomed = 1;
	if (device->step == DEVICE_NODE)
		device_enter(device, DEVICE_STOP);
}

/*
 * The device does not become live, and whoever adds it is told so now: why that
 * has failed already, or that somebody deletes it.
 */
static void disown(struct device *device)
{
	struct failure failure = device->failure;

	if (failure.symbol == SYMBOL_NONE)
		failure_set(&failure, SYMBOL_STATE, ECANCELED, NULL,
			    "device %u is deleted by force before it is live",
			    device->spec.id);
	device->failure.symbol = SYMBOL_NONE;
	device->disowned = 1;
	device_finish(device, &failure);
}

/*
 * By force, while something else is under way with it. The next answer, or look,
 * of that goes on to delete it.
 */
static int delete_at_work(struct device *device, device_done *done,
			  void *context, struct failure *failure)
{
	int is_new = device->step < DEVICE_LIVE && !device->doomed;
	/* Before its release only a device whose add failed has a failure. */
	int has_failed = device->step >= DEVICE_STOP &&
			 device->step < DEVICE_RELEASE &&
			 device->failure.symbol != SYMBOL_NONE;

	if (is_new || has_failed)
		disown(device);
	if (join(device, done, context) < 0)
		return check_live(device, failure);
	use_force(device);
	if (is_new)
		doom(device);
	/* It may wait for somebody who has the dead disk open. */
	else if (device->step == DEVICE_DELETE)
		device_cancel_command(device);
	return 0;
}

int device_delete(struct device *device, int force, device_done *done,
		  void *context, struct failure *failure)
{
	if (force && device_work(device))
		return delete_at_work(device, done, context, failure);
	if (device_begin(device, done, context, failure) < 0)
		return -1;
	if (force)
		use_force(device);
	device->check_only = 0;
	device_enter(device, force ? DEVICE_STOP : DEVICE_BUSY);
	return 0;
}

int device_check(struct device *device, device_done *done, void *context,
		 struct failure *failure)
{
	if (device_begin(device, done, context, failure) < 0)
		return -1;
	device->check_only = 1;
	device_enter(device, DEVICE_BUSY);
	return 0;
}

/* All of ublkd ends: whoever adds it hears that when it is gone. */
static void doom_add(struct device *device)
{
	failure_set(&device->failure, SYMBOL_STATE, 0, NULL,
		    "ublkd is stopping");
	doom(device);
}

void device_delete_all(struct device_set *set)
{
	struct device *device, *next;

	for (device = set->first; device; device = next) {
		next = device->next;
		use_force(device);
		if (!device_work(device))
			device_enter(device, DEVICE_STOP);
		else if (device->step < DEVICE_LIVE && !device->doomed)
			doom_add(device);
	}
	if (set->count == 0 && set->on_empty)
		set->on_empty(set);
}

void device_answer(struct device_set *set, const struct message *message)
{
	struct device *device = device_find_serial(set, message->serial);

	if (device && message->type == MESSAGE_TALLY)
		tally_is_told(device);
	else if (device && steps[device->step].answer)
		steps[device->step].answer(device, message);
}

void device_keeper_gone(struct device_set *set)
{
	struct device *device, *next;
	struct failure failure;

	failure_set(&failure, SYMBOL_STATE, EPIPE, NULL,
		    "the keeper is gone, so nothing can be changed");
	for (device = set->first; device; device = next) {
		next = device->next;
		if (device->step >= DEVICE_RELEASE)
			continue; /* that needs no keeper */
		loop_timer_stop(set->loop, &device->timer);
		if (device->step == DEVICE_RESIZE)
			resize_keeper_gone(device);
		device_finish(device, &failure);
	}
}
