#include "life.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/probe.h"
#include "io/recorder.h"
#include "lost.h"
#include "steps.h"

/* ---- steps of a device that is served ---- */

/*
 * From now on through the layers. Not earlier: START and TIMEOUT wait for the
 * requests that come before.
 */
static void route_requests(struct device *device)
{
	const struct device_spec *spec = &device->spec;
	unsigned i;

	/* Its requests are refused. */
	if (device->abandoned)
		return;
	for (i = 0; i < device->open_queues; i++)
		device->queues[i].top =
			layers_top(&spec->layers, &spec->target->backend);
}

static enum device_step enter_serve(struct device *device)
{
	free(device->spec.new_file);
	device->spec.new_file = NULL; /* it is somebody's data now */
	route_requests(device);
	if (!device->adopted) {
		log_info("device %u (%s): %s, %llu bytes, is live",
			 device->spec.id, device_name(device),
			 device->spec.target->ops->name,
			 (unsigned long long)device->spec.geometry.size);
		return DEVICE_LIVE;
	}
	log_notice("device %u (%s): taken over", device->spec.id,
		   device_name(device));
	/* What the server before has begun is finished. */
	return device->new_size ? DEVICE_NOTE_SIZE : DEVICE_TRIM;
}

static enum device_step enter_live(struct device *device)
{
	/* Lost ones can be changed, looked at and deleted as well. */
	if (!device->open_queues)
		return DEVICE_LOST;
	device_send_rings(device, device->set->channel);
	return device_rest(device);
}

static enum device_step answer_note_again(struct device *device,
					  const struct message *message)
{
	int claims = device->claims;

	device->claims = 0;
	if (message->result < 0)
		return device_fail(device, message->result);
	device->spec.configured |= claims;
	free(device->spec.words);
	device->spec.words = device->new_words;
	device->new_words = NULL;
	return DEVICE_NEXT;
}

/* ---- the table ---- */

/* What several steps are to users. */
enum phase {
	ADDING,
	TAKING_OVER,
	LIVE,
	LOST,
	CHANGING,
	RESIZING,
	CHECKING,
	QUIESCING,
	DELETING,
};

static const struct {
	const char *state; /* NULL: live, or quiesced if the device is lost */
	const char *work;  /* for whoever comes meanwhile: "it is ..." */
} phases[] = {
	[ADDING] = { "adding", "being added" },
	[TAKING_OVER] = { "quiesced", "being taken over" },
	[LIVE] = { "live", NULL },
	[LOST] = { "quiesced", NULL },
	[CHANGING] = { NULL, "being changed" },
	[RESIZING] = { NULL, "being resized" },
	[CHECKING] = { NULL, "being checked" },
	[QUIESCING] = { NULL, "being quiesced" },
	[DELETING] = { "deleting", "being deleted" },
};

struct step {
	char name[12]; /* as users see it */
	uint8_t phase;
	uint8_t next;	  /* step, */
	uint8_t failed;	  /* or that one; likewise if the device is doomed */
	uint8_t patience; /* s that device_retry() goes on; 0: as before */
	uint8_t asks;	  /* type of the message that the step begins with */
	const char *what; /* in messages: "cannot ..." */
	step_go *enter;	  /* instead of asks, or NULL */
	step_answer *answer;
	step_go *timer; /* instead of beginning again, or NULL */
};

static const struct step steps[DEVICE_STEPS] = {
	[DEVICE_FEATURES] = { "features", ADDING, DEVICE_OWNER, DEVICE_RELEASE,
			      .what = "learn the driver's features",
			      .enter = create_enter_features,
			      .answer = create_answer_features },
	[DEVICE_OWNER] = { "owner", ADDING, DEVICE_ADD, DEVICE_RELEASE,
			   .what = "look for the owner",
			   .enter = create_enter_owner,
			   .answer = create_answer_owner },
	[DEVICE_NUMBER] = { "add", ADDING, DEVICE_ADD, DEVICE_RELEASE,
			    .what = "add a ublk device",
			    .enter = create_enter_number },
	[DEVICE_ADD] = { "add", ADDING, DEVICE_PARAMS, DEVICE_DELETE,
			 .what = "add a ublk device", .enter = create_enter_add,
			 .answer = create_answer_add },
	[DEVICE_PARAMS] = { "params", ADDING, DEVICE_NOTE, DEVICE_DELETE,
			    .what = "set the device's parameters",
			    .enter = create_enter_params,
			    .answer = create_answer },
	[DEVICE_NOTE] = { "note", ADDING, DEVICE_OPEN, DEVICE_DELETE,
			  .what = "note the device", .enter = device_ask_note,
			  .answer = create_answer },
	[DEVICE_OPEN] = { "open", ADDING, DEVICE_START, DEVICE_STOP,
			  .patience = 5, .what = "open the char device",
			  .enter = create_try_open },
	[DEVICE_START] = { "start", ADDING, DEVICE_TIMEOUT, DEVICE_STOP,
			   .what = "start the device", .asks = MESSAGE_START,
			   .answer = create_answer, .timer = abandon_look },
	[DEVICE_TIMEOUT] = { "timeout", ADDING, DEVICE_NODE, DEVICE_STOP,
			     .what = "set the I/O timeout",
			     .enter = create_enter_timeout,
			     .answer = create_answer_timeout,
			     .timer = abandon_look },
	[DEVICE_NODE] = { "node", ADDING, DEVICE_SERVE, DEVICE_STOP,
			  .patience = 5,
			  .what = "find the block device's node in /dev",
			  .enter = create_try_node },

	[DEVICE_PREPARED] = { "prepared", TAKING_OVER, DEVICE_RECOVER,
			      DEVICE_LOSE, .what = "take the device over" },
	[DEVICE_GIVE] = { "give", TAKING_OVER, DEVICE_LOST, DEVICE_LOSE,
			  .what = "give the keeper its file",
			  .enter = device_ask_note,
			  .answer = recover_answer_give },
	[DEVICE_RECOVER] = { "recover", TAKING_OVER, DEVICE_RECOVER_OPEN,
			     DEVICE_LOSE, .patience = 1,
			     .what = "take the device over",
			     .enter = recover_enter, .answer = recover_answer },
	[DEVICE_RECOVER_OPEN] = { "open", TAKING_OVER, DEVICE_RECOVER_END,
				  DEVICE_LOSE, .patience = 5,
				  .what = "open the char device",
				  .enter = create_try_open },
	[DEVICE_RECOVER_END] = { "end-recover", TAKING_OVER,
				 DEVICE_RECOVER_TIMEOUT, DEVICE_LOSE,
				 .what = "take the device over",
				 .asks = MESSAGE_END_RECOVER,
				 .answer = create_answer,
				 .timer = abandon_look },
	[DEVICE_RECOVER_TIMEOUT] = { "timeout", TAKING_OVER, DEVICE_SERVE,
				     DEVICE_LOSE, .what = "set the I/O timeout",
				     .enter = create_enter_timeout,
				     .answer = create_answer_timeout,
				     .timer = abandon_look },

	[DEVICE_SERVE] = { "live", LIVE, .what = "serve",
			   .enter = enter_serve },
	[DEVICE_LOSE] = { "lost", TAKING_OVER, DEVICE_LOST, DEVICE_STOP,
			  .what = "serve", .enter = recover_enter_lose },
	[DEVICE_LIVE] = { "live", LIVE, .what = "serve", .enter = enter_live },
	[DEVICE_LOST] = { "lost", LOST, DEVICE_RECOVER_OPEN, DEVICE_LOSE,
			  .what = "serve", .enter = recover_enter_lost,
			  .timer = recover_try_again },

	[DEVICE_NOTE_AGAIN] = { "note", CHANGING, DEVICE_LIVE, DEVICE_LIVE,
				.what = "note the change",
				.enter = device_ask_new_words,
				.answer = answer_note_again },
	[DEVICE_TRIM] = { "trim", RESIZING, DEVICE_RESIZE, DEVICE_LIVE,
			  .what = "give back what it had",
			  .enter = resize_enter_trim },
	[DEVICE_RESIZE] = { "resize", RESIZING, DEVICE_NOTE_SIZE, DEVICE_LIVE,
			    .what = "change the size", .enter = resize_enter,
			    .answer = resize_answer },
	[DEVICE_NOTE_SIZE] = { "note", RESIZING, DEVICE_TRIM, DEVICE_TRIM,
			       .what = "note the change",
			       .enter = device_ask_new_words,
			       .answer = resize_answer_note },
	[DEVICE_QUIESCE] = { "quiesce", QUIESCING, DEVICE_LOST, DEVICE_LIVE,
			     .what = "quiesce the device",
			     .enter = quiesce_enter, .answer = quiesce_answer,
			     .timer = quiesce_drain },
	[DEVICE_CHECK] = { "users", CHECKING, DEVICE_LIVE, DEVICE_LIVE,
			   .what = "look who uses it", .asks = MESSAGE_BUSY,
			   .answer = remove_answer_busy },

	[DEVICE_BUSY] = { "users", CHECKING, DEVICE_TRY_STOP, DEVICE_LIVE,
			  .what = "look who uses it", .asks = MESSAGE_BUSY,
			  .answer = remove_answer_busy },
	[DEVICE_TRY_STOP] = { "try-stop", DELETING, DEVICE_DRAIN, DEVICE_LIVE,
			      .what = "stop the device",
			      .enter = remove_enter_try_stop,
			      .answer = remove_answer_try_stop,
			      .timer = abandon_look },
	[DEVICE_STOP] = { "stop", DELETING, DEVICE_DRAIN, DEVICE_DRAIN,
			  .what = "stop the device", .enter = remove_enter_stop,
			  .answer = remove_answer_stop, .timer = abandon_look },
	[DEVICE_DRAIN] = { "drain", DELETING, DEVICE_DELETE, DEVICE_DELETE,
			   .patience = 2, .what = "drain the queues",
			   .enter = remove_poll_drain },
	[DEVICE_DELETE] = { "delete", DELETING, DEVICE_RELEASE, DEVICE_RELEASE,
			    .what = "delete the device",
			    .enter = remove_enter_delete,
			    .answer = remove_answer_delete,
			    .timer = remove_poll_delete },
	[DEVICE_LINGER] = { "linger", DELETING, DEVICE_RELEASE, DEVICE_RELEASE,
			    .what = "wait for its backing",
			    .enter = abandon_enter_linger,
			    .timer = abandon_poll_linger },
	[DEVICE_RELEASE] = { "release", DELETING, DEVICE_CLOSE, DEVICE_CLOSE,
			     .what = "release its memory",
			     .enter = remove_enter_release },
	[DEVICE_CLOSE] = { "close", DELETING, DEVICE_GONE, DEVICE_GONE,
			   .what = "close its files",
			   .enter = remove_enter_close },
	[DEVICE_GONE] = { "close", DELETING, .what = "forget it",
			  .enter = device_free },
};

const char *device_step_name(const struct device *device)
{
	return steps[device->step].name;
}

const char *device_state(const struct device *device)
{
	const char *state = phases[steps[device->step].phase].state;

	if (state)
		return state;
	return device->open_queues ? "live" : "quiesced";
}

const char *device_work(const struct device *device)
{
	return phases[device->doomed ? DELETING : steps[device->step].phase]
		.work;
}

/* ---- from step to step ---- */

static enum device_step begin_step(struct device *device)
{
	const struct step *step = &steps[device->step];

	return step->enter ? step->enter(device)
			   : device_ask_simple(device, step->asks);
}

/* What has no number yet is nobody's to know. */
static void tell_state(struct device *device)
{
	const char *state = device_state(device);

	if (!device->disk[0] ||
	    (device->told_state && strcmp(device->told_state, state) == 0)) {
		device->set->seq++;
		return;
	}
	device->told_state = state;
	device_changed(device, DEVICE_CHANGE_STATE);
}

static enum device_step enter_step(struct device *device, enum device_step step)
{
	log_debug("%s: %s", device->disk[0] ? device->disk : "a new device",
		  steps[step].what);
	loop_timer_stop(device->set->loop, &device->timer);
	device->step = step;
	recorder_step(device->recorder, steps[step].name);
	PROBE(step, device->spec.id, steps[step].name);
	tell_state(device);
	if (steps[step].patience > 0)
		device->deadline = loop_now() + steps[step].patience;
	return begin_step(device);
}

/*
 * What the driver has of a new device is undone, which the log tells; a device
 * without a number is none of the driver's yet.
 */
static enum device_step fail_step(struct device *device)
{
	const struct step *step = &steps[device->step];
	struct failure *failure = device_failure(device);
	enum device_step failed = device->disk[0] ? step->failed
						  : DEVICE_RELEASE;

	if (!failure->text[0])
		failure_set(failure, failure->symbol, failure->error, NULL,
			    "cannot %s: %s", step->what,
			    strerror(failure->error));
	if (device->disk[0] && failed >= DEVICE_STOP)
		log_error("%s: %s", device->disk, failure->text);
	/* Somebody deletes the device: that it fails is no failure of his. */
	if (device->disowned)
		device_forget_failure(device);
	return failed;
}

/* A step that has asked nothing waits on. */
static enum device_step answer_step(struct device *device,
				    const struct message *message)
{
	step_answer *answer = steps[device->step].answer;

	return answer ? answer(device, message) : DEVICE_STAY;
}

static enum device_step answer_unsent(struct device *device)
{
	struct message message = { .result = device->unsent };

	return answer_step(device, &message);
}

/*
 * Do what follows from a step, and from that. The device may be freed when this
 * returns.
 */
static void __attribute__((cold))
proceed(struct device *device, enum device_step follows)
{
	while (follows != DEVICE_STAY) {
		const struct step *step = &steps[device->step];

		if (follows == DEVICE_UNSENT)
			follows = answer_unsent(device);
		else if (follows == DEVICE_FAILED)
			follows = fail_step(device);
		else if (follows == DEVICE_NEXT)
			follows = device->doomed ? step->failed : step->next;
		else
			follows = enter_step(device, follows);
	}
}

static void __attribute__((cold)) on_timer(struct loop_timer *timer)
{
	struct device *device = timer->data;
	step_go *go_on = steps[device->step].timer;

	proceed(device, go_on ? go_on(device) : begin_step(device));
}

void device_answer(struct device_set *set, const struct message *message)
{
	struct device *device = device_find_serial(set, message->serial);

	if (device && message->type == MESSAGE_TALLY)
		device_tally_is_told(device);
	else if (device)
		proceed(device, answer_step(device, message));
}

/* ---- from outside ---- */

int device_add(struct device_set *set, const struct device_spec *spec,
	       device_done *done, void *context, struct failure *failure)
{
	struct device *device = device_new(set, spec, on_timer, failure);

	if (!device)
		return -1;
	device->done = done;
	device->context = context;
	device->number = spec->id;
	device->picks_number = spec->id == DEVICE_ID_ANY;
	proceed(device, DEVICE_FEATURES);
	return 0;
}

int device_adopt(struct device_set *set, const struct device_spec *spec,
		 struct failure *failure)
{
	struct device *device = device_new(set, spec, on_timer, failure);

	if (!device)
		return -1;
	device->adopted = 1;
	device->rests = spec->rests;
	device->can_rest = spec->can_rest;
	device->step = DEVICE_PREPARED;
	snprintf(device->disk, sizeof(device->disk), "ublkb%u", spec->id);
	return 0;
}

void device_reopen_later(struct device *device, device_reopen *reopen,
			 const char *why)
{
	device->reopen = reopen;
	device->why = why[0] ? strndup(why, DEVICE_WHY_MAX) : NULL;
}

void device_reopened(struct device *device, struct device_spec *spec)
{
	device->reopening = 0;
	device_take_target(device, spec);
	proceed(device, DEVICE_RECOVER);
}

void device_reopen_failed(struct device *device, const char *why)
{
	device->reopening = 0;
	/* A command may be at work on the device: LOST comes again then. */
	if (device->step == DEVICE_LOST)
		proceed(device, recover_fail(device, why));
}

void device_give(struct device *device, int *fds, int fd_count)
{
	device->reopening = 0;
	if (device->step != DEVICE_LOST)
		return;
	lost_take(device->spec.target, fds, fd_count);
	proceed(device, DEVICE_GIVE);
}

void device_recover_all(struct device_set *set)
{
	struct device *device, *next;

	for (device = set->first; device; device = next) {
		next = device->next;
		if (device->step == DEVICE_PREPARED)
			proceed(device, recover_begin(device));
	}
}

int device_put_on(struct device *device, const struct option_value *values)
{
	struct device_spec *spec = &device->spec;
	int error = layers_put_on(&spec->layers, device->set->loop,
				  &spec->target->backend, values);

	if (!error && layers_can_time_out(&spec->layers))
		error = device_allow_late(device);
	if (device->step >= DEVICE_LIVE)
		route_requests(device);
	return error;
}

int device_check_idle(const struct device *device, const char *arg,
		      struct failure *failure)
{
	const char *work = device_work(device);

	/* Somebody resumes the device, and waits until its file is open. */
	if (device->step == DEVICE_LOST && device->done)
		work = phases[TAKING_OVER].work;
	if (!work)
		return 0;
	return failure_set(failure, SYMBOL_BUSY, EBUSY, arg,
			   "device %u is %s just now", device->spec.id, work);
}

static void begin_work(struct device *device, enum device_step step,
		       device_done *done, void *context)
{
	device->done = done;
	device->context = context;
	device->seen_busy = 0;
	proceed(device, step);
}

int device_note(struct device *device, char *words, device_done *done,
		void *context, struct failure *failure)
{
	if (device_check_idle(device, "id", failure) < 0) {
		free(words);
		return -1;
	}
	device->new_words = words;
	begin_work(device, DEVICE_NOTE_AGAIN, done, context);
	return 0;
}

int device_claim(struct device *device, device_done *done, void *context,
		 struct failure *failure)
{
	char *words;

	if (device_check_idle(device, "id", failure) < 0)
		return -1;
	words = strdup(device->spec.words);
	if (!words)
		return failure_no_memory(failure);
	device->claims = 1;
	return device_note(device, words, done, context, failure);
}

int device_resize(struct device *device, uint64_t size, device_done *done,
		  void *context, struct failure *failure)
{
	if (device_check_idle(device, "id", failure) < 0 ||
	    resize_prepare(device, size, failure) < 0)
		return -1;
	begin_work(device, DEVICE_TRIM, done, context);
	return 0;
}

int device_quiesce(struct device *device, device_done *done, void *context,
		   struct failure *failure)
{
	if (device_check_idle(device, "id", failure) < 0 ||
	    quiesce_prepare(device, failure) < 0)
		return -1;
	begin_work(device, DEVICE_QUIESCE, done, context);
	return 0;
}

int device_resume(struct device *device, device_done *done, void *context,
		  struct failure *failure)
{
	if (device_check_idle(device, "id", failure) < 0)
		return -1;
	if (!device->rests)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "device %u is not quiesced",
				   device->spec.id);
	if (!recover_can_try(device))
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "device %u cannot be taken over by this "
				   "server: %s",
				   device->spec.id,
				   device->why ? device->why
					       : "it cannot open its target");
	device->rests = 0;
	device->done = done;
	device->context = context;
	proceed(device, recover_try_again(device));
	return 0;
}

int device_check(struct device *device, device_done *done, void *context,
		 struct failure *failure)
{
	if (device_check_idle(device, "id", failure) < 0)
		return -1;
	begin_work(device, DEVICE_CHECK, done, context);
	return 0;
}

/* Delete whoever uses the device; its I/O is not waited for either. */
static void use_force(struct device *device)
{
	device->force = 1;
	layers_hurry(&device->spec.layers);
}

/*
 * Wait for the device's end, perhaps beside whoever waits for that already or for
 * what comes first. Returns 0, or -1 if two wait.
 */
static int wait_for_end(struct device *device, device_done *done, void *context)
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

/* The device will not become live: it is deleted once that is possible. */
static void doom_device(struct device *device)
{
	const struct step *step = &steps[device->step];

	device->doomed = 1;
	/* A node that is waited for is not needed any more. */
	if (device->step < DEVICE_LIVE && step->patience && !step->answer)
		proceed(device, step->failed);
}

/*
 * The device does not become live, and whoever adds it is told so now: why that
 * has failed already, or that somebody deletes it.
 */
static void disown_add(struct device *device)
{
	struct failure failure;

	if (device->failure)
		failure = *device->failure;
	else
		failure_set(&failure, SYMBOL_STATE, ECANCELED, NULL,
			    "device %u is deleted by force before it is live",
			    device->spec.id);
	device_forget_failure(device);
	device->disowned = 1;
	device_tell(device, &failure);
}

/*
 * Delete by force a device with which something else is under way: the next
 * answer, or the next look, of that goes on to delete the device.
 */
static int delete_at_work(struct device *device, device_done *done,
			  void *context, struct failure *failure)
{
	int is_new = device->step < DEVICE_LIVE && !device->doomed;
	/* Before its release only a device whose add failed has a failure. */
	int has_failed = device->step >= DEVICE_STOP &&
			 device->step < DEVICE_RELEASE && device->failure;

	/* It is deleted already, and whoever waited for that was told. */
	if (!device->is_counted) {
		done(context, device, NULL);
		return 0;
	}

	if (is_new || has_failed)
		disown_add(device);
	if (wait_for_end(device, done, context) < 0)
		return device_check_idle(device, "id", failure);
	use_force(device);
	device->abandons = 1;
	if (steps[device->step].timer == abandon_look)
		abandon_watch(device);
	if (is_new)
		doom_device(device);
	/* DELETE may wait for somebody who has the dead disk open. */
	else if (device->step == DEVICE_DELETE)
		device_cancel_command(device);
	return 0;
}

int device_delete(struct device *device, int force, device_done *done,
		  void *context, struct failure *failure)
{
	if (force && device_work(device))
		return delete_at_work(device, done, context, failure);
	if (!force && device_check_idle(device, "id", failure) < 0)
		return -1;
	if (force)
		use_force(device);
	device->abandons = force;
	/* Whoever resumes the device is told when it is gone. */
	if (device->done) {
		wait_for_end(device, done, context);
		proceed(device, DEVICE_STOP);
		return 0;
	}
	begin_work(device, force ? DEVICE_STOP : DEVICE_BUSY, done, context);
	return 0;
}

void device_delete_all(struct device_set *set)
{
	struct device *device, *next;

	for (device = set->first; device; device = next) {
		next = device->next;
		use_force(device);
		if (!device_work(device)) {
			proceed(device, DEVICE_STOP);
		} else if (device->step < DEVICE_LIVE && !device->doomed) {
			/* The adder is told when the device is gone. */
			failure_set(device_failure(device), SYMBOL_STATE, 0,
				    NULL, "ublkd is stopping");
			doom_device(device);
		}
	}
	if (set->count == 0 && set->on_empty)
		set->on_empty(set);
}

void device_keeper_gone(struct device_set *set)
{
	struct device *device, *next;
	struct failure failure;

	failure_set(&failure, SYMBOL_STATE, EPIPE, NULL,
		    "the keeper is gone, so nothing can be changed");
	for (device = set->first; device; device = next) {
		next = device->next;
		if (device->step > DEVICE_DELETE)
			continue; /* that needs no keeper */
		loop_timer_stop(set->loop, &device->timer);
		if (device->step == DEVICE_RESIZE)
			resize_keeper_gone(device);
		device_tell(device, &failure);
		device_tell(device, &failure);
	}
}
