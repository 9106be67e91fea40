#include "opener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"
#include "ring.h"
#include "workers.h"

#define RING_ENTRIES 64
#define REAP_MAX     16
#define PROBE_STEP   (1ull << 20)

struct opening {
	struct opener_wish wish;
	char *path;
	struct opener_result result;
	int (*next)(struct opening *opening, int32_t result);
	opener_done *done; /* NULL: nobody waits any more */
	void *context;
	struct loop_timer patience;
	uint8_t mark; /* in a worker */
};

/* The ring, while there is anything to open. */
static struct {
	struct ev_loop *loop;
	struct ring *ring;
	ev_io watcher;
	unsigned count;
} opener;

static uint64_t data_of(const struct opening *opening)
{
	return (uint64_t)(uintptr_t)opening;
}

static void close_ring(void)
{
	ev_io_stop(opener.loop, &opener.watcher);
	ring_destroy(opener.ring);
	opener.ring = NULL;
}

/* Each step begins a request, or returns what ends it: 1, or a negative errno. */

static int end_probe(struct opening *opening, int32_t result)
{
	opening->result.can_punch = result == 0;
	return 1;
}

/* A hole behind the end of the file changes nothing. */
static int begin_probe(struct opening *opening)
{
	struct ring_transfer probe = { .op = RING_FALLOCATE,
				       .fd = opening->result.fd,
				       .wait = 1,
				       .flags = FALLOC_FL_PUNCH_HOLE |
						FALLOC_FL_KEEP_SIZE,
				       .length = 4096 };
	struct statx status;

	/* What the kernel knows already: asking a server could block. */
	if (!opening->wish.punch ||
	    statx(opening->result.fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_BASIC_STATS, &status) < 0 ||
	    !S_ISREG(status.stx_mode))
		return 1;
	probe.offset = (status.stx_size / PROBE_STEP + 2) * PROBE_STEP;
	opening->next = end_probe;
	return ring_put_transfer(opener.ring, &probe, data_of(opening));
}

static int end_create(struct opening *opening, int32_t result)
{
	struct opener_result *mine = &opening->result;

	if (result < 0)
		return result;
	mine->fd = result;
	mine->is_new = 1;
	if (ftruncate(mine->fd, (off_t)opening->wish.length) < 0)
		return -errno;
	return begin_probe(opening);
}

static int end_open(struct opening *opening, int32_t result)
{
	if (result >= 0) {
		opening->result.fd = result;
		return begin_probe(opening);
	}
	if (result != -ENOENT || !opening->wish.create)
		return result;
	opening->next = end_create;
	return ring_put_open(opener.ring, opening->path,
			     opening->wish.flags | O_CREAT | O_EXCL, 0600,
			     data_of(opening));
}

static void tell(struct opening *opening, const struct opener_result *result)
{
	opener_done *done = opening->done;

	opening->done = NULL;
	loop_timer_stop(opener.loop, &opening->patience);
	if (done)
		done(opening->context, result);
	else if (result->fd >= 0)
		close(result->fd);
}

/* It is over. A file that was made in vain goes again. */
static void end(struct opening *opening, int error)
{
	struct opener_result *result = &opening->result;
	uint8_t mark = opening->mark;

	if (error || !opening->done) {
		if (result->is_new)
			unlink(opening->path);
		if (result->fd >= 0)
			close(result->fd);
		result->fd = error ? error : -ECANCELED;
	}
	tell(opening, result);
	free(opening->path);
	free(opening);
	workers_expect(opener.ring, -1);
	workers_leave(mark);
	opener.count--;
}

static void go_on(struct opening *opening, int32_t result)
{
	int state = opening->next(opening, result);

	if (state == 0)
		return; /* the next request is under way */
	end(opening, state < 0 ? state : 0);
}

static void on_event(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct ring_event done[REAP_MAX];
	unsigned count, i;

	(void)loop;
	(void)watcher;
	(void)events;
	ring_clear_event(opener.ring);
	do {
		count = ring_reap(opener.ring, done, REAP_MAX);
		for (i = 0; i < count; i++)
			if (done[i].data) /* 0: a cancellation's own */
				go_on((struct opening *)(uintptr_t)done[i].data,
				      done[i].result);
	} while (count == REAP_MAX);
	if (opener.count == 0)
		close_ring();
	else if (ring_submit(opener.ring) < 0)
		ring_raise_event(opener.ring);
}

/* Whatever becomes of it, nobody waits for it now. */
static void on_patience(struct loop_timer *timer)
{
	struct opening *opening = timer->data;
	struct opener_result late = { .fd = -ETIMEDOUT };

	log_warning("%s cannot be opened within %g s", opening->path,
		    OPENER_PATIENCE);
	ring_put_cancel(opener.ring, data_of(opening), 0);
	ring_submit(opener.ring);
	tell(opening, &late);
}

static int open_ring(struct ev_loop *loop)
{
	int error;

	if (opener.ring)
		return 0;
	opener.ring = ring_create(RING_ENTRIES, 0, &error);
	if (!opener.ring)
		return error;
	opener.loop = loop;
	ev_io_init(&opener.watcher, on_event, ring_event_fd(opener.ring),
		   EV_READ);
	ev_io_start(loop, &opener.watcher);
	return 0;
}

static int begin(struct opening *opening)
{
	int error = ring_put_open(opener.ring, opening->path,
				  opening->wish.flags, 0, data_of(opening));

	if (error)
		return error;
	opener.count++;
	workers_expect(opener.ring, 1);
	opening->mark = workers_enter();
	loop_timer_start(opener.loop, &opening->patience, OPENER_PATIENCE);
	if (ring_submit(opener.ring) < 0)
		ring_raise_event(opener.ring);
	return 0;
}

int opener_open(struct ev_loop *loop, const struct opener_wish *wish,
		opener_done *done, void *context)
{
	struct opening *opening = calloc(1, sizeof(*opening));
	int error = -ENOMEM;

	if (!opening)
		return error;
	opening->wish = *wish;
	opening->path = strdup(wish->path);
	opening->result.fd = -1;
	opening->next = end_open;
	opening->done = done;
	opening->context = context;
	loop_timer_init(&opening->patience, on_patience, opening);
	if (opening->path)
		error = open_ring(loop);
	if (!error)
		error = begin(opening);
	if (!error)
		return 0;
	if (opener.ring && opener.count == 0)
		close_ring();
	free(opening->path);
	free(opening);
	return error;
}
