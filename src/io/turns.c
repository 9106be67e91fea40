#include "turns.h"

#include <errno.h>
#include <sys/mman.h>

static struct sight_server unseen = { .watched = 1 };
struct sight_server *turns_server = &unseen;
uint64_t turns_clock;

static struct sight_head *head;
static void (*tell_busy)(void *owner);
static void *tell_whom;

int turns_share(int fd, unsigned which, void (*busy)(void *owner), void *owner)
{
	struct sight_head *map;

	map = mmap(NULL, sizeof(*map), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   0);
	if (map == MAP_FAILED)
		return -errno;
	if (head)
		munmap(head, sizeof(*head));
	head = map;
	turns_server = &head->servers[which & 1];
	tell_busy = busy;
	tell_whom = owner;
	return 0;
}

/*
 * The keeper that ends its watch writes and reads in the opposite order, so one
 * of the two sees what the other has written.
 */
void turns_count(void)
{
	struct sight_server *server = turns_server;

	atomic_fetch_add(&server->turns, 1);
	if (!atomic_load(&server->watched) &&
	    !atomic_exchange(&server->watched, 1))
		tell_busy(tell_whom);
}
