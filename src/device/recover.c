#include "device-steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "lost.h"

#define RECOVER_RETRY	 0.002 /* s between tries to take a device over ... */
#define RECOVER_PATIENCE 1.0   /* s: after that */
#define RECOVER_SLOWLY	 0.1

#define LOST_PAUSE_MAX 60.0 /* s between tries of a lost device, at most */

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

/*
 * What the kernel may be short of comes first: after the driver has given the
 * device out, some drivers do not take it back (is_broken()).
 */
void recover_enter(struct device *device)
{
	int error = create_open_queues(device);
	char why[80];

	if (error) {
		snprintf(why, sizeof(why), "no ring for its requests: %s",
			 strerror(-error));
		recover_lose(device, why);
		return;
	}
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

/* The driver has given it out. */
static void begin_work(struct device *device)
{
	device->taken = TAKEN_BEGUN;
	resume(device);
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
		begin_work(device);
}

/* ---- END_RECOVER ---- */

void recover_enter_end(struct device *device)
{
	device_ask_simple(device, MESSAGE_END_RECOVER);
}

/* ---- LOST ---- */

/*
 * A driver that does not abort on close (6.12) does not give a device out again
 * to this server once it has seen a FETCH of it.
 */
static int can_try(const struct device *device)
{
	if (lost_is(device->spec.target))
		return device->reopen && device->set->channel->fd >= 0;
	return device->taken != TAKEN_FETCHED || device_aborts_on_close(device);
}

static void tell_lost(const struct device *device, const char *why)
{
	if (can_try(device))
		log_error("%s: cannot be taken over: %s; its users wait, and "
			  "it is tried again",
			  device->disk, why);
	else
		log_error("%s: cannot be taken over: %s; its users wait until "
			  "it is deleted, or another server tries",
			  device->disk, why);
}

void recover_lose(struct device *device, const char *why)
{
	/* Each reason once: it may be tried for days. */
	if (strncmp(device->why, why, sizeof(device->why) - 1) != 0)
		tell_lost(device, why);
	snprintf(device->why, sizeof(device->why), "%s", why);
	device_enter(device, DEVICE_LOST);
}

void recover_wait(struct device *device)
{
	double left = device->next_try - loop_now();

	if (can_try(device) && !device->reopening)
		device_start_timer(device, left > 0 ? left : 0);
}

double device_retry_in(const struct device *device)
{
	double left = device->next_try - loop_now();

	return can_try(device) && !device->reopening && left > 0 ? left : -1;
}

/* Without queues of ours the driver holds its I/O; `del` ends that. */
void recover_enter_lost(struct device *device)
{
	double pause = device->pause;

	if (device->doomed) {
		device_enter(device, DEVICE_STOP);
		return;
	}
	device_close_queues(device);
	device->refusal = 0; /* of their FETCHes */
	resize_forget(device);
	device->set->seq++;
	device->next_try = loop_now() + pause;
	device->pause = pause == 0		     ? LOST_PAUSE
			: pause * 2 < LOST_PAUSE_MAX ? pause * 2
						     : LOST_PAUSE_MAX;
	recover_wait(device);
}

/* From where the last try has come to, as far as the driver allows that. */
void recover_try_again(struct device *device)
{
	device_set_patience(device, RECOVER_PATIENCE);
	if (lost_is(device->spec.target)) {
		device->reopening = 1;
		device->reopen(device);
	} else if (device->taken == TAKEN_BEGUN) {
		resume(device);
	} else {
		device_enter(device, DEVICE_RECOVER);
	}
}

/* ---- a target that could not be opened ---- */

void device_reopen_later(struct device *device, device_reopen *reopen,
			 const char *why)
{
	device->reopen = reopen;
	snprintf(device->why, sizeof(device->why), "%s", why);
	if (!why[0])
		device->pause = 0;
}

void device_reopen_failed(struct device *device, const char *why)
{
	device->reopening = 0;
	/* Somebody has a command for it: then recover_wait() comes. */
	if (device->step == DEVICE_LOST)
		recover_lose(device, why);
}

static void drop_files(struct device *device)
{
	int fds[MESSAGE_MAX_FDS];
	int count = target_give_up(device->spec.target, fds);

	while (count > 0)
		opener_close(device->set->loop, fds[--count], NULL, NULL, NULL);
}

static void fail_give(struct device *device, int error)
{
	char why[100] = "another file lies in the place of the one that it "
			"was made on";

	if (error != -ESTALE)
		snprintf(why, sizeof(why),
			 "the keeper cannot have its file: %s",
			 strerror(-error));
	drop_files(device);
	recover_lose(device, why);
}

void recover_enter_give(struct device *device)
{
	int error = device_send_note(device);

	if (error)
		fail_give(device, error);
}

void recover_answer_give(struct device *device, const struct message *message)
{
	if (device->doomed) {
		device_enter(device, DEVICE_STOP);
	} else if (message->result < 0) {
		fail_give(device, message->result);
	} else {
		device->step = DEVICE_LOST;
		recover_try_again(device);
	}
}

void device_give(struct device *device, int fd)
{
	device->reopening = 0;
	if (device->step == DEVICE_LOST) {
		lost_take(device->spec.target, &fd, 1);
		device_enter(device, DEVICE_GIVE);
	} else {
		opener_close(device->set->loop, fd, NULL, NULL, NULL);
	}
}
