/*
 * The driver's control device, /dev/ublk-control.
 *
 * Only the keeper has it: START, STOP and DEL wait for I/O, so the process that
 * serves I/O must never issue them. Every command is asynchronous; its result
 * comes as a completion with `data` on the ring.
 */
#ifndef UBLKD_CONTROL_H
#define UBLKD_CONTROL_H

#include <stddef.h>
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

/*
 * Submit a command, UBLK_CMD_..., for a device, with a number where the command
 * takes one. Returns 0 or a negative errno if it could not be submitted.
 */
int control_put(struct control *control, uint32_t op, uint32_t id,
		uint64_t number, uint64_t data);

/*
 * The same of a command that reads or fills a buffer, at most 65535 bytes, which
 * must live until the completion.
 */
int control_put_buffer(struct control *control, uint32_t op, uint32_t id,
		       void *buffer, size_t size, uint64_t data);

#endif
