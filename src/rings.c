#include "rings.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATIENCE 2000 /* ms */

struct rings_item {
	struct rings_item *next;
	uint32_t id;
	int fd;
};

/* Of one device, or of all with id NULL. */
static void drop(struct rings *rings, const uint32_t *id)
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

/* Returns its pidfd, or -1 with errno. */
static int open_process(pid_t process)
{
	return (int)syscall(SYS_pidfd_open, process, 0u);
}

/* Descriptor `fd` of that process, as one of ours. Returns it or -errno. */
static int fetch(pid_t server, int fd)
{
	int process = open_process(server), got;

	if (process < 0)
		return -errno;
	got = (int)syscall(SYS_pidfd_getfd, process, fd, 0u);
	if (got < 0)
		got = -errno;
	close(process);
	return got;
}

int rings_take(struct rings *rings, pid_t server, uint32_t id, int fd)
{
	struct rings_item *item;
	int got = fetch(server, fd);

	if (got < 0)
		return got;
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
	drop(rings, &id);
}

void rings_drop(struct rings *rings)
{
	drop(rings, NULL);
}

void rings_drop_after(struct rings *rings, pid_t server)
{
	struct pollfd end = { .events = POLLIN };

	if (!rings->first)
		return;
	end.fd = open_process(server);
	if (end.fd >= 0) {
		poll(&end, 1, PATIENCE);
		close(end.fd);
	}
	rings_drop(rings);
}
