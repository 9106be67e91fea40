#include "lost.h"

#include <errno.h>
#include <stdlib.h>

#include "base/message.h"

struct lost {
	struct target target;
	struct target_ops ops; /* the name of the true one */
	int fds[MESSAGE_MAX_FDS];
	int fd_count;
};

static void lost_submit(struct backend *backend, struct io *io)
{
	(void)backend;
	io_done(io, -EIO);
}

static int lost_hold(struct target *target, int *fds)
{
	const struct lost *lost = (struct lost *)target;
	int i;

	for (i = 0; i < lost->fd_count; i++)
		fds[i] = lost->fds[i];
	return lost->fd_count;
}

static int lost_give_up(struct target *target, int *fds)
{
	int count = lost_hold(target, fds);

	((struct lost *)target)->fd_count = 0;
	return count;
}

static void lost_close(struct target *target)
{
	free(target);
}

int lost_is(const struct target *target)
{
	return target->backend.ops->submit == lost_submit;
}

void lost_take(struct target *target, int *fds, int fd_count)
{
	struct lost *lost = (struct lost *)target;
	int i;

	for (i = 0; i < fd_count && lost->fd_count < MESSAGE_MAX_FDS; i++) {
		if (fds[i] < 0)
			continue; /* the true target had taken it */
		lost->fds[lost->fd_count++] = fds[i];
		fds[i] = -1;
	}
}

struct target *lost_new(const struct target_ops *ops, int *fds, int fd_count)
{
	struct lost *lost = calloc(1, sizeof(*lost));

	if (!lost)
		return NULL;
	lost->ops = (struct target_ops){ .name = ops->name,
					 .is_private = ops->is_private,
					 .io.submit = lost_submit,
					 .hold = lost_hold,
					 .give_up = lost_give_up,
					 .close = lost_close };
	target_init(&lost->target, &lost->ops);
	lost_take(&lost->target, fds, fd_count);
	return &lost->target;
}
