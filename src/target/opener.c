#include "opener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/log.h"
#include "io/loop.h"
#include "io/ring.h"
#include "io/workers.h"

#define RING_ENTRIES 64
#define REAP_MAX     16

/* A file to open, to make longer, or to close. */
struct opening {
	struct opener_wish wish;
	char *path; /* NULL: of a file to close, nobody knows it */
	struct opener_result result;
	int error; /* why nothing is to be left open, and what was made goes */
	int outcome; /* for `ended`: 0, or a negative errno */
	int (*next)(struct opening *opening, int32_t result);
	opener_next *run;  /* what it does, if that is not ours to know */
	opener_done *done; /* NULL: nobody waits any more */
	opener_ended *ended;
	void *context;
	struct loop_timer patience;
	uint8_t mark; /* in a worker */
};

/* The ring, while there is anything to do. */
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

/*
 * Make a file at least so long. Unlike ftruncate() this can never cut off what
 * somebody else has written meanwhile, and it changes no byte.
 */
static int put_extend(struct opening *opening, uint64_t length)
{
	struct ring_transfer extend = { .op = RING_FALLOCATE,
					.fd = opening->result.fd,
					.wait = 1,
					.offset = length - 1,
					.length = 1 };

	return ring_put_transfer(opener.ring, &extend, data_of(opening));
}

static int end_last_byte(struct opening *opening, int32_t result)
{
	(void)opening;
	return result == 0 ? -EIO : result;
}

/* Not every file system has fallocate(). Of a new file no byte is anybody's. */
static int end_length(struct opening *opening, int32_t result)
{
	struct ring_transfer last_byte = { .op = RING_WRITE,
					   .fd = opening->result.fd,
					   .wait = 1,
					   .bytes = (void *)"",
					   .offset = opening->wish.length - 1,
					   .length = 1 };

	if (result != -EOPNOTSUPP)
		return result < 0 ? result : 1;
	opening->next = end_last_byte;
	return ring_put_transfer(opener.ring, &last_byte, data_of(opening));
}

static int end_create(struct opening *opening, int32_t result)
{
	if (result < 0)
		return result;
	opening->result.fd = result;
	opening->result.is_new = 1;
	opening->next = end_length;
	return put_extend(opening, opening->wish.length);
}

static int end_open(struct opening *opening, int32_t result)
{
	if (result >= 0) {
		opening->result.fd = result;
		return 1;
	}
	if (result != -ENOENT || !opening->wish.create)
		return result;
	opening->next = end_create;
	return ring_put_open(opener.ring, opening->path,
			     opening->wish.flags | O_CREAT | O_EXCL, 0600,
			     data_of(opening));
}

/* ---- what was made goes again, and what is open is closed ---- */

static int undo_opening(struct opening *opening, int32_t result)
{
	struct opener_result *mine = &opening->result;
	int fd = mine->fd;

	(void)result;
	opening->next = undo_opening;
	if (mine->is_new) {
		mine->is_new = 0;
		if (ring_put_unlink(opener.ring, opening->path,
				    data_of(opening)) == 0)
			return 0;
		unlink(opening->path);
	}
	if (fd >= 0) {
		mine->fd = -1;
		if (ring_put_close(opener.ring, fd, data_of(opening)) == 0)
			return 0;
		close(fd);
	}
	return 1;
}

static void tell_opening(struct opening *opening,
			 const struct opener_result *result)
{
	opener_done *done = opening->done;
	opener_ended *ended = opening->ended;

	opening->done = NULL;
	opening->ended = NULL;
	loop_timer_stop(opener.loop, &opening->patience);
	if (done)
		done(opening->context, result);
	if (ended)
		ended(opening->context, opening->outcome);
}

static void free_opening(struct opening *opening)
{
	free(opening->path);
	free(opening);
}

/* Nothing is under way for it; perhaps something has to be undone. */
static void end_opening(struct opening *opening, int error)
{
	uint8_t mark = opening->mark;

	if (!opening->error)
		opening->error = error || opening->done ? error : -ECANCELED;
	if (opening->error) {
		if (undo_opening(opening, 0) == 0)
			return;
		opening->result.fd = opening->error;
	}
	tell_opening(opening, &opening->result);
	free_opening(opening);
	workers_expect(opener.ring, -1);
	workers_leave(mark);
	opener.count--;
}

static void continue_opening(struct opening *opening, int32_t result)
{
	int state = opening->next(opening, result);

	if (state == 0)
		return; /* the next request is under way */
	end_opening(opening, state < 0 ? state : 0);
}

static void submit_openings(void)
{
	if (ring_submit(opener.ring) < 0)
		ring_raise_event(opener.ring);
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
				continue_opening(
					(struct opening *)(uintptr_t)done[i]
						.data,
					done[i].result);
	} while (count == REAP_MAX);
	if (opener.count == 0)
		close_ring();
	else
		submit_openings();
}

/* Whatever becomes of it, nobody waits for it now. */
static void on_patience(struct loop_timer *timer)
{
	struct opening *opening = timer->data;
	struct opener_result late = { .fd = -ETIMEDOUT };

	if (opening->done) {
		log_warning("%s cannot be opened within %g s", opening->path,
			    OPENER_PATIENCE);
		ring_put_cancel(opener.ring, data_of(opening), 0);
		submit_openings();
	} else {
		opening->outcome = -ETIMEDOUT;
		log_warning("%s is not closed within %g s: its file system or "
			    "disk stands still, and until then it is in use",
			    opening->path ? opening->path : "a file",
			    OPENER_PATIENCE);
	}
	tell_opening(opening, &late);
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

/* Its first request is in the ring. */
static void begin_opening(struct opening *opening)
{
	opener.count++;
	workers_expect(opener.ring, 1);
	opening->mark = workers_enter();
	if (!opening->wish.patient)
		loop_timer_start(opener.loop, &opening->patience,
				 OPENER_PATIENCE);
	submit_openings();
}

static struct opening *new_opening(const char *path, void *context)
{
	struct opening *opening = calloc(1, sizeof(*opening));

	if (!opening)
		return NULL;
	opening->result.fd = -1;
	opening->context = context;
	opening->path = path ? strdup(path) : NULL;
	loop_timer_init(&opening->patience, on_patience, opening);
	if (opening->path || !path)
		return opening;
	free(opening);
	return NULL;
}

static void end_ring_if_idle(void)
{
	if (opener.ring && opener.count == 0)
		close_ring();
}

int opener_open(struct ev_loop *loop, const struct opener_wish *wish,
		opener_done *done, void *context)
{
	struct opening *opening = new_opening(wish->path, context);
	int error = opening ? open_ring(loop) : -ENOMEM;

	if (!error) {
		opening->wish = *wish;
		opening->next = end_open;
		opening->done = done;
		error = ring_put_open(opener.ring, opening->path, wish->flags,
				      0, data_of(opening));
	}
	if (!error) {
		begin_opening(opening);
		return 0;
	}
	end_ring_if_idle();
	if (opening)
		free_opening(opening);
	return error;
}

/* ---- making a file longer ---- */

/* The close of our descriptor may wait; who asked need not. */
static int end_growth(struct opening *opening, int32_t result)
{
	opening->outcome = result;
	tell_opening(opening, &opening->result);
	return undo_opening(opening, 0);
}

/*
 * By a descriptor of its own: a worker may look at the number only when the
 * caller's is closed already, and names another file.
 */
static int start_growth(struct opening *opening, int fd, uint64_t size)
{
	opening->result.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (opening->result.fd < 0)
		return -errno;
	opening->next = end_growth;
	return put_extend(opening, size);
}

struct opening *opener_grow(struct ev_loop *loop, int fd, uint64_t size,
			    opener_ended *ended, void *context, int *error)
{
	struct opening *opening = new_opening(NULL, context);

	*error = opening ? open_ring(loop) : -ENOMEM;
	if (!*error)
		*error = start_growth(opening, fd, size);
	if (!*error) {
		opening->error = -ECANCELED; /* nothing is left open */
		opening->ended = ended;
		opening->wish.patient = 1;
		begin_opening(opening);
		return opening;
	}
	end_ring_if_idle();
	if (opening && opening->result.fd >= 0)
		close(opening->result.fd);
	if (opening)
		free_opening(opening);
	return NULL;
}

void opener_forget(struct opening *opening)
{
	if (opening)
		opening->ended = NULL;
}

/* ---- what others read and write ---- */

static int run_next(struct opening *opening, int32_t result)
{
	struct ring_transfer transfer = { .fd = -1, .wait = 1 };
	int state = opening->run(opening->context, result, &transfer);

	if (state > 0) {
		state = ring_put_transfer(opener.ring, &transfer,
					  data_of(opening));
		if (state == 0)
			return 0;
	}
	opening->outcome = state;
	return state < 0 ? state : 1;
}

int opener_run(struct ev_loop *loop, opener_next *next, opener_ended *ended,
	       void *context)
{
	struct opening *opening = new_opening(NULL, context);
	int error = opening ? open_ring(loop) : -ENOMEM;

	if (!error) {
		opening->wish.patient = 1;
		opening->next = run_next;
		opening->run = next;
		opening->ended = ended;
		opening->error = -ECANCELED; /* nothing is left open */
		error = run_next(opening, 0);
		if (error == 0) {
			begin_opening(opening);
			return 0;
		}
	}
	end_ring_if_idle();
	free(opening);
	return error;
}

/* ---- closing ---- */

/* What it is called, for the log. */
static const char *name_of(int fd, char *name, size_t size)
{
	char link[40];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, name, size - 1);
	name[length > 0 ? length : 0] = '\0';
	return name[0] ? name : NULL;
}

/* Nobody else can, so it is done here, whatever that takes. */
static void close_now(int fd, const char *path)
{
	if (path)
		unlink(path);
	if (fd >= 0)
		close(fd);
}

static unsigned close_file(struct ev_loop *loop, int fd, const char *path,
			   int patient, opener_ended *ended, void *context)
{
	char name[512];
	struct opening *opening = new_opening(
		path ? path : name_of(fd, name, sizeof(name)), context);

	if (!opening || open_ring(loop) < 0) {
		close_now(fd, path);
		if (opening)
			free_opening(opening);
		return 0;
	}
	opening->wish.patient = patient;
	opening->error = -ECANCELED;
	opening->result.fd = fd;
	opening->result.is_new = path != NULL;
	opening->ended = ended;
	if (undo_opening(opening, 0) == 0) {
		begin_opening(opening);
		return 1;
	}
	end_ring_if_idle();
	free_opening(opening);
	return 0;
}

unsigned opener_close(struct ev_loop *loop, int fd, const char *path,
		      opener_ended *ended, void *context)
{
	return close_file(loop, fd, path, 0, ended, context);
}

unsigned opener_close_patiently(struct ev_loop *loop, int fd,
				opener_ended *ended, void *context)
{
	return close_file(loop, fd, NULL, 1, ended, context);
}
