/*
 * The life of a device: a table of steps from ADD_DEV to DEL_DEV.
 *
 * Every step asks the keeper for one control command, or waits for one thing,
 * and the life goes on when the answer comes; I/O is served meanwhile.
 */
#ifndef UBLKD_LIFE_H
#define UBLKD_LIFE_H

#include "device.h"

/*
 * Begin to add a device. Takes the spec's target, layers and words, also on failure.
 * Returns 0 and calls done later, or returns -1 with *failure filled.
 */
int device_add(struct device_set *set, const struct device_spec *spec,
	       device_done *done, void *context, struct failure *failure)
	__attribute__((cold));

/*
 * Prepare to take over a device that another server serves, or that the driver
 * holds since it died; device_recover_all() begins it. The
 * spec's id, queues, depth and max_io are the driver's. Takes the spec's target
 * and words, also on failure. Returns 0, or -1 with *failure filled.
 */
int device_adopt(struct device_set *set, const struct device_spec *spec,
		 struct failure *failure) __attribute__((cold));

/*
 * A device that was adopted has a stand-in as its target, for the reason `why`;
 * "": nobody has tried yet. reopen may be NULL: there is no way to open it here.
 */
void device_reopen_later(struct device *device, device_reopen *reopen,
			 const char *why);

/* A lost device's target has been opened: the device takes it, and goes on. */
void device_reopened(struct device *device, struct device_spec *spec);

/* The target could not be opened, for that reason; the next try comes later. */
void device_reopen_failed(struct device *device, const char *why);

/*
 * Its files are open again: those that the device takes are set to -1. reopen() is
 * called again when the keeper has them as well, and agrees that they are the right
 * ones.
 */
void device_give(struct device *device, int *fds, int fd_count);

/* Begin to take over every device that is prepared. */
void device_recover_all(struct device_set *set);

/*
 * Put on the layers that the values need, see layers_put_on(); requests go
 * through them from now on. Returns 0 or -ENOMEM.
 */
int device_put_on(struct device *device, const struct option_value *values)
	__attribute__((cold));

/*
 * Begin to replace the command that a live device is said to be made by, for
 * the next server as well. Takes the words, also on failure; they are the
 * device's once done is called without a failure. Returns 0, or -1 with
 * *failure filled.
 */
int device_note(struct device *device, char *words, device_done *done,
		void *context, struct failure *failure) __attribute__((cold));

/*
 * Begin to note that a live device came from the configuration file. Returns 0 and
 * calls done later, or returns -1 with *failure filled.
 */
int device_claim(struct device *device, device_done *done, void *context,
		 struct failure *failure) __attribute__((cold));

/*
 * Begin to change the size of a live device, in bytes; DEVICE_SIZE_AUTO: to
 * what its backing has now. The command that it is said to be made by changes
 * likewise. Returns 0 and calls done later, or returns -1 with *failure filled.
 */
int device_resize(struct device *device, uint64_t size, device_done *done,
		  void *context, struct failure *failure) __attribute__((cold));

/*
 * Begin to delete a live device; without force it fails with SYMBOL_BUSY, and
 * the device goes on, if it is still in use after a second. With force it is
 * deleted whatever is under way with it: an add fails, a take-over ends in that,
 * a delete without force is forced from then on, and a resize that waits for its
 * backing ends. Returns 0 and calls done later, or returns -1 with *failure
 * filled, also when two wait for the same.
 */
int device_delete(struct device *device, int force, device_done *done,
		  void *context, struct failure *failure) __attribute__((cold));

/*
 * Begin to quiesce a live device: its users' requests wait in the driver, and
 * nobody serves it, until device_resume(); also by the next servers. Whoever
 * resumes it is told when it is live, or lost. Both return 0 and call done later,
 * or return -1 with *failure filled.
 */
int device_quiesce(struct device *device, device_done *done, void *context,
		   struct failure *failure) __attribute__((cold));
int device_resume(struct device *device, device_done *done, void *context,
		  struct failure *failure) __attribute__((cold));

/*
 * Only ask whether a live device is in use: done gets SYMBOL_BUSY if so, and
 * the device stays either way.
 */
int device_check(struct device *device, device_done *done, void *context,
		 struct failure *failure) __attribute__((cold));

/* Stop and delete every device, whatever it is doing. on_empty tells the end. */
void device_delete_all(struct device_set *set) __attribute__((cold));

/* The keeper's answer to a device's message. */
void device_answer(struct device_set *set, const struct message *message)
	__attribute__((cold));

/* The keeper is gone: what waits for its answer gets a failure. */
void device_keeper_gone(struct device_set *set);

/* adding, live, quiesced or deleting. */
const char *device_state(const struct device *device);

/* The step, finer than the state: "node", "recover", "drain". */
const char *device_step_name(const struct device *device);

/*
 * What is under way with it, for a sentence: "being added", "being taken over".
 * NULL if it can be asked for something.
 */
const char *device_work(const struct device *device);

/*
 * Only a live device, or a lost one, can be asked for something. Returns 0, or
 * -1 with *failure filled, which names arg unless that is NULL.
 */
int device_check_idle(const struct device *device, const char *arg,
		      struct failure *failure) __attribute__((cold));

#endif
