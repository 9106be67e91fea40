#include "pool.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "loop.h"

/* Newer than the C library of the oldest supported distribution. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Sizes are powers of two, from a page to POOL_PIECE. */
#define LEAST_SHIFT 12
#define CLASSES	    8

/* An idle buffer, in its own first bytes. */
struct idle {
	struct idle *next;
};

static struct {
	struct ev_loop *loop;
	struct loop_timer timer;
	uint64_t size; /* bytes of all */
	uint64_t used; /* bytes of those that somebody has */
	struct {
		struct idle *first;
		unsigned count;
		unsigned least; /* that were idle all the time lately */
	} idle[CLASSES];
} pool;

static uint32_t class_size(unsigned class)
{
	return 1u << (LEAST_SHIFT + class);
}

static unsigned class_of(uint32_t size)
{
	unsigned class = 0;

	while (class < CLASSES - 1 && class_size(class) < size)
		class ++;
	return class;
}

/*
 * Its pages are taken at once, and locked as everything is. If there are none
 * that is known here; later the driver would look for them again and again.
 */
static void *map_buffer(size_t size, size_t there)
{
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		return NULL;
	if (madvise(bytes, there, MADV_POPULATE_WRITE) == 0 || errno == EINVAL)
		return bytes;
	munmap(bytes, size);
	return NULL;
}

static void *take_idle(unsigned class)
{
	struct idle *idle = pool.idle[class].first;

	if (!idle)
		return NULL;
	pool.idle[class].first = idle->next;
	pool.idle[class].count--;
	if (pool.idle[class].count < pool.idle[class].least)
		pool.idle[class].least = pool.idle[class].count;
	return idle;
}

static void free_idle(unsigned class, unsigned count)
{
	while (count--) {
		void *bytes = take_idle(class);

		munmap(bytes, class_size(class));
		pool.size -= class_size(class);
	}
}

/* What has been idle for a whole period goes. */
static void on_pool_timer(struct loop_timer *timer)
{
	unsigned class, left = 0;

	for (class = 0; class < CLASSES; class ++) {
		free_idle(class, pool.idle[class].least);
		pool.idle[class].least = pool.idle[class].count;
		left += pool.idle[class].count;
	}
	if (left)
		loop_timer_start(pool.loop, timer, POOL_PERIOD);
}

void pool_open(struct ev_loop *loop)
{
	pool.loop = loop;
	loop_timer_init(&pool.timer, on_pool_timer, NULL);
}

void pool_close(void)
{
	unsigned class;

	if (!pool.loop)
		return;
	loop_timer_stop(pool.loop, &pool.timer);
	for (class = 0; class < CLASSES; class ++)
		free_idle(class, pool.idle[class].count);
	pool.loop = NULL;
}

/* Another size's idle buffers make room for this one. */
static void make_room(uint32_t size)
{
	unsigned class;

	for (class = CLASSES; class -- > 0;)
		while (pool.idle[class].count && pool.size + size > POOL_MAX)
			free_idle(class, 1);
}

/*
 * In submit: there is memory to be had before it is touched, or the touch would wait
 * for the kernel to reclaim some, which may wait for this very request.
 */
static void *make(unsigned class)
{
	uint32_t size = class_size(class);
	void *bytes;

	make_room(size);
	if (memory_take(size, MEMORY_RESERVE_AUTO) < 0)
		return NULL;
	bytes = map_buffer(size, size);
	if (bytes)
		pool.size += size;
	return bytes;
}

void *pool_get(uint64_t *has, uint32_t size, uint32_t *room)
{
	unsigned class = class_of(size);
	void *bytes;

	*room = class_size(class);
	if (*has + *room + pool.used + *room > POOL_MAX)
		return NULL;
	bytes = take_idle(class);
	if (!bytes)
		bytes = make(class);
	if (!bytes)
		return NULL;
	pool.used += *room;
	*has += *room;
	return bytes;
}

void pool_put(uint64_t *has, void *buffer, uint32_t room)
{
	unsigned class = class_of(room);
	struct idle *idle = buffer;

	pool.used -= room;
	*has -= room;
	idle->next = pool.idle[class].first;
	pool.idle[class].first = idle;
	pool.idle[class].count++;
	if (!loop_timer_is_active(&pool.timer))
		loop_timer_start(pool.loop, &pool.timer, POOL_PERIOD);
}

void *pool_reserve(uint32_t size, uint32_t there)
{
	return map_buffer(size, there);
}

void pool_unreserve(void *buffer, uint32_t size)
{
	if (buffer)
		munmap(buffer, size);
}

uint64_t pool_size(void)
{
	return pool.size;
}
