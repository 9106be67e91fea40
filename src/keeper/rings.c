#include "rings.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct rings_item {
	struct rings_item *next;
	uint32_t id;
	int fd;
};

/* Of one device, or of all with id NULL. */
static void drop_rings(struct rings *rings, const uint32_t *id)
{
	struct rings_item **at = &rings->first, *item;

	while ((item = *at)) {
		if (id && item->id != *id) {
			at = &item->next;
			continue;
		}
		*at = item->next;
		close(item->fd);
		free(item);
	}
}

int rings_take(struct rings *rings, const struct proc *server, uint32_t id,
	       int fd)
{
	struct rings_item *item;
	int got;

	if (!server->pid)
		return -ESRCH;
	got = (int)syscall(SYS_pidfd_getfd, server->fd, fd, 0u);
	if (got < 0)
		return -errno;
	item = malloc(sizeof(*item));
	if (!item) {
		close(got);
		return -ENOMEM;
	}
	item->id = id;
	item->fd = got;
	item->next = rings->first;
	rings->first = item;
	return 0;
}

void rings_release(struct rings *rings, uint32_t id)
{
	drop_rings(rings, &id);
}

void rings_drop(struct rings *rings)
{
	drop_rings(rings, NULL);
}
