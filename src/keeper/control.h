/*
 * The control device's commands, one function each.
 *
 * Only the keeper uses these: START, STOP and DEL wait for I/O, so the process
 * that serves I/O must never issue them. Every command is asynchronous; its
 * result comes as a completion with `data` on the ring. Arguments must live
 * until then. All return 0 or a negative errno if it could not be submitted.
 */
#ifndef UBLKD_CONTROL_H
#define UBLKD_CONTROL_H

#include <stdint.h>

#include "io/ring.h"
#include "base/uapi.h"

struct control {
	struct ring *ring;
	int fd; /* of the control device, -1 until opened */
};

/*
 * Open /dev/ublk-control if it is not open yet. Returns 0 or a negative errno;
 * -ENOENT where the driver is not loaded.
 */
int control_open(struct control *control);

/* Fills *features. -EOPNOTSUPP and the like before Linux 6.5. */
int control_get_features(struct control *control, uint64_t *features,
			 uint64_t data);

/*
 * Create the char device. The driver writes back what it accepted: it clamps
 * the queues to the CPUs and silently drops flags that it does not know.
 */
int control_add(struct control *control, struct ublk_dev_info *info,
		uint64_t data);

int control_get_info(struct control *control, uint32_t id,
		     struct ublk_dev_info *info, uint64_t data);
int control_set_params(struct control *control, uint32_t id,
		       struct ublk_params *params, uint64_t data);

/* Waits until every tag is fetched; on 6.12 for the partition scan as well. */
int control_start(struct control *control, uint32_t id, int server_pid,
		  uint64_t data);

/*
 * Begin to take a quiesced device over: -EBUSY until the dead server's last
 * descriptor, mapping and ring are gone.
 */
int control_start_recovery(struct control *control, uint32_t id, uint64_t data);

/* End it: waits until the new server has fetched every tag. */
int control_end_recovery(struct control *control, uint32_t id, int server_pid,
			 uint64_t data);

/* Waits for writeback and for all I/O in flight. Always succeeds. */
int control_stop(struct control *control, uint32_t id, uint64_t data);

/* 7.x: the same, or -EBUSY at once while anybody has the disk open. */
int control_try_stop(struct control *control, uint32_t id, uint64_t data);

/*
 * 6.16 and newer: change the size of a live disk, in sectors of 512 bytes. The
 * driver checks neither range nor alignment. Does not wait for I/O.
 */
int control_update_size(struct control *control, uint32_t id, uint64_t sectors,
			uint64_t data);

/*
 * Waits until the id is free: until the char device and, after a STOP under
 * load, the dead disk have been closed by whoever has them open.
 */
int control_delete(struct control *control, uint32_t id, uint64_t data);

/* 6.7 and newer: removes the nodes and does not wait for the id. */
int control_delete_async(struct control *control, uint32_t id, uint64_t data);

#endif
