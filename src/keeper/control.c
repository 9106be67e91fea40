#include "control.h"

#include <errno.h>
#include <fcntl.h>

#define NO_QUEUE 0xffff

static int put(struct control *control, uint32_t op,
	       const struct ublk_ctrl_cmd *command, uint64_t data)
{
	if (control->fd < 0)
		return -ENODEV;
	return ring_put_command(control->ring, control->fd, op, command,
				sizeof(*command), data);
}

static int put_simple(struct control *control, uint32_t op, uint32_t id,
		      uint64_t data)
{
	struct ublk_ctrl_cmd command = { .dev_id = id, .queue_id = NO_QUEUE };

	return put(control, op, &command, data);
}

static int put_buffer(struct control *control, uint32_t op, uint32_t id,
		      const void *buffer, size_t size, uint64_t data)
{
	struct ublk_ctrl_cmd command = { .dev_id = id,
					 .queue_id = NO_QUEUE,
					 .addr = (uintptr_t)buffer,
					 .len = (uint16_t)size };

	return put(control, op, &command, data);
}

int control_open(struct control *control)
{
	if (control->fd >= 0)
		return 0;
	control->fd = open(UBLK_CONTROL_PATH, O_RDWR | O_CLOEXEC);
	return control->fd < 0 ? -errno : 0;
}

int control_get_features(struct control *control, uint64_t *features,
			 uint64_t data)
{
	return put_buffer(control, UBLK_CMD_GET_FEATURES, 0, features,
			  sizeof(*features), data);
}

int control_add(struct control *control, struct ublk_dev_info *info,
		uint64_t data)
{
	return put_buffer(control, UBLK_CMD_ADD_DEV, info->dev_id, info,
			  sizeof(*info), data);
}

int control_get_info(struct control *control, uint32_t id,
		     struct ublk_dev_info *info, uint64_t data)
{
	return put_buffer(control, UBLK_CMD_GET_DEV_INFO, id, info,
			  sizeof(*info), data);
}

int control_set_params(struct control *control, uint32_t id,
		       struct ublk_params *params, uint64_t data)
{
	return put_buffer(control, UBLK_CMD_SET_PARAMS, id, params,
			  sizeof(*params), data);
}

static int put_number(struct control *control, uint32_t op, uint32_t id,
		      uint64_t number, uint64_t data)
{
	struct ublk_ctrl_cmd command = { .dev_id = id,
					 .queue_id = NO_QUEUE,
					 .data = number };

	return put(control, op, &command, data);
}

int control_start(struct control *control, uint32_t id, int server_pid,
		  uint64_t data)
{
	return put_number(control, UBLK_CMD_START_DEV, id, (uint64_t)server_pid,
			  data);
}

int control_start_recovery(struct control *control, uint32_t id, uint64_t data)
{
	return put_simple(control, UBLK_CMD_START_USER_RECOVERY, id, data);
}

int control_end_recovery(struct control *control, uint32_t id, int server_pid,
			 uint64_t data)
{
	return put_number(control, UBLK_CMD_END_USER_RECOVERY, id,
			  (uint64_t)server_pid, data);
}

int control_stop(struct control *control, uint32_t id, uint64_t data)
{
	return put_simple(control, UBLK_CMD_STOP_DEV, id, data);
}

int control_try_stop(struct control *control, uint32_t id, uint64_t data)
{
	return put_simple(control, UBLK_CMD_TRY_STOP_DEV, id, data);
}

int control_update_size(struct control *control, uint32_t id, uint64_t sectors,
			uint64_t data)
{
	return put_number(control, UBLK_CMD_UPDATE_SIZE, id, sectors, data);
}

int control_delete(struct control *control, uint32_t id, uint64_t data)
{
	return put_simple(control, UBLK_CMD_DEL_DEV, id, data);
}

int control_delete_async(struct control *control, uint32_t id, uint64_t data)
{
	return put_simple(control, UBLK_CMD_DEL_DEV_ASYNC, id, data);
}
