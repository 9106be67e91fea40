/*
 * Between the files of a device's state machine, and for nobody else: device.c
 * has the machine, create.c makes a device, recover.c takes one over from a dead
 * server, resize.c changes its size, remove.c stops and deletes one.
 */
#ifndef UBLKD_DEVICE_STEPS_H
#define UBLKD_DEVICE_STEPS_H

#include "device.h"

/* ---- the machine ---- */

/* The number that the driver has given it; DEVICE_ID_ANY: it has none again. */
void device_set_id(struct device *device, uint32_t id);

/* Begin a step. The device may be freed when this returns. */
void device_enter(struct device *device, enum device_step step);

/*
 * The driver or the system refused: remember why (a negative errno, and the
 * argument that is to blame or NULL), and go to a later step. A device that was
 * taken over is somebody's data: it is kept.
 */
void device_roll_back(struct device *device, enum device_step to,
		      enum symbol symbol, int error, const char *arg);

/* The same with a sentence of its own. */
void device_give_up(struct device *device, enum device_step to,
		    const struct failure *failure);

/*
 * It is gone from the kernel, and its files are closed: tell who waits, and free
 * it.
 */
void device_forget(struct device *device);

/* Tell who waits, if anybody does; failure is NULL on success. */
void device_finish(struct device *device, const struct failure *failure);

/*
 * Tell who waits for what was under way; then the device is stopped, and who
 * deletes it by force is told when it is gone.
 */
void device_finish_and_stop(struct device *device,
			    const struct failure *failure);

/*
 * Begin something that somebody asked of a live device. Returns 0, or -1 with
 * *failure filled.
 */
int device_begin(struct device *device, device_done *done, void *context,
		 struct failure *failure);

/* It stays what it was before somebody asked something of it. */
void device_back_to_work(struct device *device);

/* Close its queues and the char device, as far as they are open. */
void device_close_queues(struct device *device);

/* ---- asking the keeper ---- */

/* A message about the device, to be filled in. */
struct message device_message(const struct device *device, uint32_t type);

/* Send it; the answer goes to the step, and so does a failure to send. */
void device_ask(struct device *device, struct message *message);

/* The same with nothing to fill in. */
void device_ask_simple(struct device *device, uint32_t type);

/*
 * The keeper is to note the device, and to have what its target holds. Returns 0
 * or a negative errno.
 */
int device_send_note(struct device *device);

/* The message by which the keeper notes the command that makes the device. */
struct message device_note_message(const struct device *device,
				   const char *words);

/* The command that the keeper runs for it ends with -EINTR. */
void device_cancel_command(struct device *device);

/* ---- waiting ---- */

/* Call the step's timer after so many seconds. */
void device_start_timer(struct device *device, double after);

/* From now on device_retry() goes on for so many seconds. */
void device_set_patience(struct device *device, double patience);

/*
 * Call the step's timer after interval seconds. Returns 0, or -1 and does not
 * once the patience is over.
 */
int device_retry(struct device *device, double interval);

/* As features_abort_on_close(), of the device's driver. */
int device_aborts_on_close(const struct device *device);

/* ---- create.c: making a device, up to its node in /dev ---- */

void create_enter_features(struct device *device);
void create_answer_features(struct device *device,
			    const struct message *message);
void create_enter_add(struct device *device);
void create_answer_add(struct device *device, const struct message *message);

/* Its number is taken, or was given back: try a later one. */
void create_skip_number(struct device *device);

void create_enter_params(struct device *device);
void create_answer_params(struct device *device, const struct message *message);
void create_enter_note(struct device *device);
void create_answer_note(struct device *device, const struct message *message);
void create_enter_open(struct device *device);
/* The queues, but for what needs the char device. Returns 0 or a negative errno. */
int create_open_queues(struct device *device);
void create_try_open(struct device *device);
void create_enter_start(struct device *device);
void create_answer_start(struct device *device, const struct message *message);
void create_enter_timeout(struct device *device);
void create_answer_timeout(struct device *device,
			   const struct message *message);
void create_enter_node(struct device *device);
void create_try_node(struct device *device);

/* ---- recover.c: taking a device over ---- */

/* s until a lost device is tried again; doubled with each try in vain. */
#define LOST_PAUSE 1.0

/* It is prepared, and nobody else serves it any more. */
void recover_begin(struct device *device);

/* It cannot be taken over now, for that reason: it is kept, and tried again. */
void recover_lose(struct device *device, const char *why);

/* It is lost still, after a command for it: the wait for the next try goes on. */
void recover_wait(struct device *device);

void recover_enter_prepared(struct device *device);
void recover_enter_give(struct device *device);
void recover_answer_give(struct device *device, const struct message *message);
void recover_enter(struct device *device);
void recover_answer(struct device *device, const struct message *message);
void recover_enter_end(struct device *device);
void recover_enter_lost(struct device *device);
void recover_try_again(struct device *device);

/* ---- resize.c: another size ---- */

/*
 * Nobody else serves it any more, and it is not served yet: its size is what
 * the kernel has, whatever its command says.
 */
void resize_settle(struct device *device);

/* It cannot be taken over: what resize_settle() has begun is not done. */
void resize_forget(struct device *device);

/* It is live again: finish what the one before has begun. */
void resize_after_recovery(struct device *device);

/* The answer to RESIZE will not come. */
void resize_keeper_gone(struct device *device);

void resize_enter_trim(struct device *device);
void resize_enter(struct device *device);
void resize_answer(struct device *device, const struct message *message);

/* The keeper has the new command; failure is NULL if it could note it. */
void resize_noted(struct device *device, const struct failure *failure);

/* ---- remove.c: looking who uses a device, stopping and deleting it ---- */

/* Also whenever the driver has given up a tag. */
void remove_poll_drain(struct device *device);

void remove_enter_busy(struct device *device);
void remove_answer_busy(struct device *device, const struct message *message);
void remove_enter_try_stop(struct device *device);
void remove_answer_try_stop(struct device *device,
			    const struct message *message);
void remove_enter_stop(struct device *device);
void remove_answer_stop(struct device *device, const struct message *message);
void remove_enter_drain(struct device *device);
void remove_enter_delete(struct device *device);
void remove_answer_delete(struct device *device, const struct message *message);
void remove_enter_release(struct device *device);
void remove_enter_close(struct device *device);

#endif
