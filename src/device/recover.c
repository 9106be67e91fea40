#include "steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lost.h"

#define RECOVER_RETRY  0.002 /* s between tries to take a device over ... */
#define RECOVER_SLOWLY 0.1   /* ... and once they have been in vain for long */

#define LOSE_LOOK      0.1  /* s between looks at requests that it has */
#define LOST_PAUSE     1.0  /* s until a lost device is tried again, doubled */
#define LOST_PAUSE_MAX 60.0 /* with each try in vain, up to that */

/* ---- PREPARED ---- */

enum device_step recover_begin(struct device *device)
{
	int is_lost = lost_is(device->spec.target);

	/* Without a reason nobody has tried to open its target yet. */
	device->pause = is_lost && !device->why ? 0 : LOST_PAUSE;
	if (device->rests)
		return DEVICE_LOST;
	return is_lost ? DEVICE_LOSE : DEVICE_RECOVER;
}

enum device_step recover_fail(struct device *device, const char *why)
{
	failure_set(device_failure(device), SYMBOL_IO, 0, NULL, "%s", why);
	return DEVICE_FAILED;
}

/* ---- RECOVER ---- */

/*
 * Look often at first: users wait. If it lasts, the old server cannot finish
 * dying, and the admin should know.
 */
static enum device_step wait_for_dead(struct device *device)
{
	int is_late = loop_now() >= device->deadline;

	if (is_late && !device->waited) {
		log_warning("%s: waits for the dead server's last request",
			    device->disk);
		device->set->seq++;
	}
	device->waited = is_late;
	device_start_timer(device, is_late ? RECOVER_SLOWLY : RECOVER_RETRY);
	return DEVICE_STAY;
}

/*
 * What the kernel may be short of comes first: after the driver has given the
 * device out, some drivers do not take it back (is_broken()).
 */
enum device_step recover_enter(struct device *device)
{
	int error = device_open_queues(device);
	char why[80];

	if (!error)
		return device_ask_simple(device, MESSAGE_RECOVER);
	snprintf(why, sizeof(why), "no ring for its requests: %s",
		 strerror(-error));
	return recover_fail(device, why);
}

/* The driver has given the device out, so nobody else serves it any more. */
static enum device_step resume_target(struct device *device)
{
	struct target *target = device->spec.target;
	int error = target->ops->resume ? target->ops->resume(target) : 0;

	if (error)
		return device_fail(device, error);
	resize_settle(device);
	return DEVICE_NEXT;
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

static enum device_step delete_broken(struct device *device)
{
	log_error("%s: an earlier server was killed while it took it over, and "
		  "this kernel's driver cannot give it out again: it is "
		  "deleted, and its users get errors",
		  device->disk);
	device->doomed = 1;
	return DEVICE_STOP;
}

/* The driver waits for the dead server's last descriptor, ring and mapping. */
enum device_step recover_answer(struct device *device,
				const struct message *message)
{
	if (device->doomed)
		return DEVICE_STOP;
	if (message->result == -EBUSY)
		return wait_for_dead(device);
	/* The device was being deleted when the server died. */
	if (message->result == -ENODEV)
		return DEVICE_RELEASE;
	if (is_broken(device, message->result))
		return delete_broken(device);
	if (message->result < 0)
		return device_fail(device, message->result);
	device->taken = TAKEN_BEGUN;
	return resume_target(device);
}

/* ---- LOSE and LOST ---- */

/*
 * A driver that does not abort on close (6.12) does not give a device out again
 * to this server once it has seen a FETCH of it.
 */
int recover_can_try(const struct device *device)
{
	if (lost_is(device->spec.target))
		return device->reopen && device->set->channel->fd >= 0;
	return device->taken != TAKEN_FETCHED || device_aborts_on_close(device);
}

static void tell_lost(const struct device *device, const char *why)
{
	if (recover_can_try(device))
		log_error("%s: cannot be taken over: %s; its users wait, and "
			  "it is tried again",
			  device->disk, why);
	else
		log_error("%s: cannot be taken over: %s; its users wait until "
			  "it is deleted, or another server tries",
			  device->disk, why);
}

/* Each reason is told once: it may be tried for days. */
static void remember_why(struct device *device)
{
	const char *why = device->failure ? device->failure->text : NULL;

	if (why &&
	    (!device->why || strncmp(device->why, why, DEVICE_WHY_MAX) != 0)) {
		tell_lost(device, why);
		free(device->why);
		device->why = strndup(why, DEVICE_WHY_MAX);
	}
	device_forget_failure(device);
}

/* Without queues of ours the driver holds its I/O; `del` ends that. */
enum device_step recover_enter_lose(struct device *device)
{
	double pause = device->pause;

	if (device->doomed)
		return DEVICE_STOP;
	remember_why(device);
	/* The driver may have delivered some, whose buffers the backing has. */
	if (device_owned(device) || device_late(device)) {
		device_start_timer(device, LOSE_LOOK);
		return DEVICE_STAY;
	}
	device_close_queues(device);
	device->refusal = 0; /* of their FETCHes */
	device->next_try = loop_now() + pause;
	device->pause = pause == 0		     ? LOST_PAUSE
			: pause * 2 < LOST_PAUSE_MAX ? pause * 2
						     : LOST_PAUSE_MAX;
	return DEVICE_NEXT;
}

/* Also behind a command for the device: the wait for the next try goes on. */
enum device_step recover_enter_lost(struct device *device)
{
	double left = device->next_try - loop_now();

	if (recover_can_try(device) && !device->reopening && !device->rests)
		device_start_timer(device, left > 0 ? left : 0);
	return device_rest(device);
}

/* From where the last try has come to, as far as the driver allows that. */
enum device_step recover_try_again(struct device *device)
{
	if (device->taken == TAKEN_BEGUN)
		return resume_target(device);
	if (!lost_is(device->spec.target))
		return DEVICE_RECOVER;
	device->reopening = 1;
	device->reopen(device);
	return DEVICE_STAY;
}

/* ---- GIVE ---- */

enum device_step recover_answer_give(struct device *device,
				     const struct message *message)
{
	char why[100] = "another file lies in the place of the one that it "
			"was made on";
	int fds[MESSAGE_MAX_FDS], count;

	if (message->result == 0) {
		device->next_try = loop_now();
		return DEVICE_NEXT;
	}
	if (message->result != -ESTALE)
		snprintf(why, sizeof(why),
			 "the keeper cannot have its file: %s",
			 strerror(-message->result));
	count = target_give_up(device->spec.target, fds);
	while (count > 0)
		opener_close(device->set->loop, fds[--count], NULL, NULL, NULL);
	return recover_fail(device, why);
}
