#include "control.h"

#include <errno.h>
#include <fcntl.h>

#include "base/probe.h"

#define NO_QUEUE 0xffff

int control_open(struct control *control)
{
	if (control->fd >= 0)
		return 0;
	control->fd = open(UBLK_CONTROL_PATH, O_RDWR | O_CLOEXEC);
	return control->fd < 0 ? -errno : 0;
}

static int put_command(struct control *control, uint32_t op,
		       const struct ublk_ctrl_cmd *command, uint64_t data)
{
	if (control->fd < 0)
		return -ENODEV;
	PROBE(command, command->dev_id, _IOC_NR(op));
	return ring_put_command(control->ring, control->fd, op, command,
				sizeof(*command), data);
}

int control_put(struct control *control, uint32_t op, uint32_t id,
		uint64_t number, uint64_t data)
{
	struct ublk_ctrl_cmd command = { .dev_id = id,
					 .queue_id = NO_QUEUE,
					 .data = number };

	return put_command(control, op, &command, data);
}

int control_put_buffer(struct control *control, uint32_t op, uint32_t id,
		       void *buffer, size_t size, uint64_t data)
{
	struct ublk_ctrl_cmd command = { .dev_id = id,
					 .queue_id = NO_QUEUE,
					 .addr = (uintptr_t)buffer,
					 .len = (uint16_t)size };

	return put_command(control, op, &command, data);
}
