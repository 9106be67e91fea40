/*
 * The steps of a device's life, for the table in life.c: a function is called
 * when the step begins, when the keeper answers, or when the device's timer
 * fires, and returns what follows. What calls somebody else's function (done,
 * reopen) does that last: the device may be freed by then.
 */
#ifndef UBLKD_STEPS_H
#define UBLKD_STEPS_H

#include "device.h"

/* Once a device: compiled for size. */
#define STEP __attribute__((cold))

typedef enum device_step step_go(struct device *device);
typedef enum device_step step_answer(struct device *device,
				     const struct message *message);

/* ---- create.c: making a device, up to its node in /dev ---- */

STEP step_go create_enter_features, create_enter_owner;
STEP step_go create_enter_number, create_enter_add;
STEP step_go create_enter_params, create_enter_timeout;
STEP step_go create_try_open, create_try_node;
STEP step_answer create_answer_features, create_answer_owner;
STEP step_answer create_answer_add, create_answer;
STEP step_answer create_answer_timeout;

/* ---- recover.c: taking a device over ---- */

/* The device is prepared, and nobody else serves it any more. */
STEP step_go recover_begin;

STEP step_go recover_enter, recover_enter_lose;
STEP step_go recover_enter_lost, recover_try_again;
STEP step_answer recover_answer_give, recover_answer;

/* Whether this server can try to take a lost device over. */
int recover_can_try(const struct device *device) __attribute__((cold));

/* The device cannot be taken over now, for that reason. */
enum device_step recover_fail(struct device *device, const char *why)
	__attribute__((cold));

/* ---- resize.c: another size ---- */

/*
 * Check whether the device can have that size, and prepare to give it.
 * Returns 0, or -1 with *failure filled.
 */
int resize_prepare(struct device *device, uint64_t size,
		   struct failure *failure) __attribute__((cold));

/*
 * Nobody else serves the device any more, and it is not served yet: its size is
 * what the kernel has, whatever its command says.
 */
void resize_settle(struct device *device);

/* The answer to RESIZE will not come. */
void resize_keeper_gone(struct device *device);

STEP step_go resize_enter_trim, resize_enter;
STEP step_answer resize_answer, resize_answer_note;

/* ---- quiesce.c: a device that rests ---- */

/* Whether the device can be quiesced now. Returns 0, or -1 with *failure filled. */
int quiesce_prepare(const struct device *device, struct failure *failure)
	__attribute__((cold));

STEP step_go quiesce_enter, quiesce_drain;
STEP step_answer quiesce_answer;

/* ---- remove.c: looking who uses a device, stopping and deleting it ---- */

STEP step_go remove_enter_try_stop, remove_enter_stop, remove_poll_drain;
STEP step_go remove_enter_delete, remove_poll_delete;
STEP step_go remove_enter_release, remove_enter_close;
STEP step_answer remove_answer_busy, remove_answer_try_stop;
STEP step_answer remove_answer_stop, remove_answer_delete;

/* ---- abandon.c: a backing that does not answer ---- */

/*
 * A device that is deleted by force waits for its I/O, from now on no longer than
 * its backing answers: abandon_look() is the step's timer.
 */
void abandon_watch(struct device *device);

STEP step_go abandon_look, abandon_enter_linger, abandon_poll_linger;

#endif
