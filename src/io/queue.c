#include "queue.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "batch.h"
#include "late.h"
#include "base/log.h"
#include "base/page.h"
#include "pool.h"
#include "recorder.h"
#include "turns.h"

/*
 * What one queue may do before others get a turn: so many completions, and so
 * many bytes of data. It looks at both after each batch.
 */
#define TURN_MAX   64
#define TURN_BYTES (8u << 20)
#define BATCH	   16

/* A ring that is full would end the FETCH: the loop has some requests, too. */
#define BATCH_ENTRIES 16

static size_t map_length(uint16_t depth)
{
	return page_round_up(depth * sizeof(struct ublk_io_desc));
}

static int map_descriptors(struct queue *queue)
{
	size_t span = map_length(UBLK_MAX_QUEUE_DEPTH);
	void *map = mmap(NULL, map_length(queue->depth), PROT_READ,
			 MAP_SHARED | MAP_POPULATE, queue->port.fd,
			 (off_t)(queue->port.queue_id * span));

	if (map == MAP_FAILED)
		return -errno;
	queue->descriptors = map;
	return 0;
}

/* ---- memory goes back when a queue is idle ---- */

static void start_trim(struct queue *queue, unsigned ms)
{
	loop_timer_start(queue->wake.ev, &queue->trim, ms / 1000.0);
}

static void on_trim(struct loop_timer *timer)
{
	struct queue *queue = timer->data;
	unsigned next = io_trim(&queue->port);

	if (next)
		start_trim(queue, next);
}

/* ---- requests ---- */

static uint8_t request_flags(uint32_t op_flags)
{
	uint8_t flags = 0;

	if (op_flags & UBLK_IO_F_FUA)
		flags |= IO_FUA;
	if (op_flags & UBLK_IO_F_NOUNMAP)
		flags |= IO_KEEP_SPACE;
	if (op_flags & UBLK_IO_F_NEED_REG_BUF)
		flags |= IO_NO_BUFFER;
	return flags;
}

/* Hand the request that the driver put under this tag to a backend. */
static inline void dispatch(struct queue *queue, struct io *io, uint16_t tag)
{
	static const uint8_t ops[] = {
		[UBLK_IO_OP_READ] = 1 + IO_READ,
		[UBLK_IO_OP_WRITE] = 1 + IO_WRITE,
		[UBLK_IO_OP_FLUSH] = 1 + IO_FLUSH,
		[UBLK_IO_OP_DISCARD] = 1 + IO_DISCARD,
		[UBLK_IO_OP_WRITE_ZEROES] = 1 + IO_WRITE_ZEROES,
	};
	const struct ublk_io_desc *from = &queue->descriptors[tag];
	uint32_t op = from->op_flags & 0xff, flags = from->op_flags & ~0xffu;
	uint8_t known = op < sizeof(ops) ? ops[op] : 0;

	io->offset = from->start_sector * SECTOR;
	io->length = from->nr_sectors * SECTOR;
	io->flags = flags ? request_flags(flags) : 0;
	io->op = known ? (uint8_t)(known - 1) : IO_FLUSH;
	queue->turn_bytes += io->length;
	io_begin(io);
	recorder_delivered(io);
	turns_phase(SIGHT_SUBMITS);
	if (known)
		queue->top->ops->submit(queue->top, io);
	else
		io_done(io, -EOPNOTSUPP);
	recorder_left(io);
}

/* It waited for its data, and does not come to the backend again. */
static void forget_data(struct queue *queue, struct io *io)
{
	struct backend *bottom = queue->port.bottom;

	if (io->data == IO_DATA_ASKED && bottom->ops->forget)
		bottom->ops->forget(bottom, io);
}

/*
 * The event of a request that waits for its data. If its pages could not be
 * reached the driver has queued it again, perhaps under another tag, and this
 * is the next one of this tag: returns 1 then, else 0.
 */
static int take_data(struct queue *queue, struct io *io, uint16_t tag,
		     int32_t result)
{
	const struct ublk_io_desc *from = &queue->descriptors[tag];
	struct backend *bottom = queue->port.bottom;
	int is_short;

	if (result == UBLK_IO_RES_NEED_GET_DATA ||
	    (from->op_flags & 0xff) != UBLK_IO_OP_WRITE) {
		forget_data(queue, io);
		io_forget(io);
		return 1;
	}
	/* A part of the pages could be reached: it has been cut short. */
	is_short = from->nr_sectors * SECTOR != io->length;
	if (is_short)
		forget_data(queue, io);
	if (!io_resume(io))
		return 0;
	if (is_short)
		io_done(io, -EIO);
	else
		bottom->ops->submit(bottom, io);
	recorder_left_again(io);
	return 0;
}

/* The driver does not take what we ask: told once. */
static void tell_refused(struct queue *queue, int error)
{
	if (queue->refused)
		return;
	queue->refused = 1;
	loop_poke(queue->wake.ev);
	queue->event(queue, error);
}

/* The kernel was short of something, and the driver has not seen the command. */
static int is_passing(int32_t result)
{
	return result == -ENOMEM || result == -EAGAIN;
}

/*
 * A completion of what is no command of the queue's. Apart, so that take_event()
 * need not save registers for it.
 */
static void __attribute__((noinline))
take_other(struct queue *queue, const struct ring_event *event)
{
	struct backend *bottom = queue->port.bottom;
	struct ring_op *op;

	if (event->data < RING_OP_FIRST) {
		turns_phase(SIGHT_COMPLETES);
		bottom->ops->completed(bottom,
				       &queue->ios[event->data - IO_OWN],
				       event->result);
		return;
	}
	op = (struct ring_op *)(uintptr_t)event->data;
	op->done(op, event->result);
}

/*
 * A completion of FETCH or COMMIT is the tag's next request, one of GET_DATA
 * its data; -ENODEV says that the device is stopping and this tag is given up.
 */
static void take_event(struct queue *queue, const struct ring_event *event)
{
	uint16_t tag = (uint16_t)event->data;
	struct io *io;

	if (event->data >= IO_OWN) {
		take_other(queue, event);
		return;
	}
	io = queue_io(queue, tag);
	queue->wake.taken++;
	if (event->result >= 0) {
		if (io->data == IO_DATA_HERE ||
		    take_data(queue, io, tag, event->result))
			dispatch(queue, io, tag);
		return;
	}
	if (is_passing(event->result) && io_again(io))
		return;
	if (io->data != IO_DATA_HERE) {
		forget_data(queue, io);
		io_forget(io);
	}
	queue->retired++;
	if (event->result != -ENODEV) {
		recorder_refused(io);
		tell_refused(queue, event->result);
	}
}

/* Adds how many were taken to *count. Returns whether there are more. */
static int take_batch(struct queue *queue, unsigned *count)
{
	const struct ring_event *events;
	unsigned got = ring_peek(queue->port.ring, &events), i;

	if (got > BATCH)
		got = BATCH;
	for (i = 0; i < got; i++)
		take_event(queue, &events[i]);
	*count += got;
	return got && ring_seen(queue->port.ring, got);
}

/* ---- the same with commands for many tags ---- */

/*
 * Returns 1 if nothing of the event is left: a list may be longer than a turn.
 */
static int take_list(struct queue *queue, const struct ring_event *event)
{
	struct batch *batch = queue->port.batch;
	const uint16_t *tags;
	unsigned count = batch_tags(batch, event, &tags), i;
	int error;

	for (i = 0; i < count && queue->wake.taken < TURN_MAX &&
		    queue->turn_bytes < TURN_BYTES;
	     i++) {
		queue->wake.taken++;
		dispatch(queue, queue_io(queue, tags[i]), tags[i]);
	}
	if (count)
		return batch_taken(batch, event, i);
	error = batch_answer(batch, event);
	if (batch_has_ended(batch))
		queue->retired = queue->depth;
	if (error && error != -ENODEV)
		tell_refused(queue, error);
	return 1;
}

/* Returns 1 if there may be more. Apart, so that on_turn() is short. */
static int __attribute__((noinline))
take_lists(struct queue *queue, unsigned *count)
{
	const struct ring_event *events;
	unsigned got = ring_peek(queue->port.ring, &events), i;
	int is_done = 1;

	for (i = 0; i < got && is_done; i++) {
		if (events[i].data >= IO_OWN)
			take_event(queue, &events[i]);
		else
			is_done = take_list(queue, &events[i]);
	}
	*count += i;
	ring_seen(queue->port.ring, is_done ? i : i - 1);
	return got != 0;
}

/* ---- turns ---- */

/* The clock is read for the recorder: once, whatever the turn does. */
static void begin_turn(const struct queue *queue)
{
	const struct recorder *recorder = queue->port.recorder;

	turns_count();
	if (recorder)
		turns_enter_at(SIGHT_TURNS, recorder->slot, sight_clock_now());
	else
		turns_enter_untimed(SIGHT_TURNS);
}

/* The driver has given up the last tag: nothing is left to be done here. */
static int tell_retired(struct queue *queue)
{
	/* If the FETCH of a batch failed, there may be requests that are done. */
	io_submit(&queue->port);
	loop_poke(queue->wake.ev);
	/* See struct loop_ring; it is looked at once more, whatever has raced. */
	ring_signal(queue->port.ring, 1);
	ring_raise_event(queue->port.ring);
	queue->event(queue, 0);
	return -1;
}

static int on_turn(struct loop_ring *wake)
{
	struct queue *queue = wake->data;
	struct io_port *port = &queue->port;
	unsigned count = 0;
	int more = 1;

	begin_turn(queue);
	port->in_turn = 1;
	queue->turn_bytes = 0;
	wake->taken = 0;
	while (more && count < TURN_MAX && wake->taken < TURN_MAX &&
	       queue->turn_bytes < TURN_BYTES &&
	       (!port->lent || io_settle(port) == 0))
		more = port->batch ? take_lists(queue, &count)
				   : take_batch(queue, &count);
	turns_phase(SIGHT_TURNS);
	/* Others may wait for what was lent, and no other turn may come. */
	if (port->lent && io_settle(port) < 0)
		more = 1;
	if (port->batch)
		batch_flush(port->batch);
	port->in_turn = 0;
	recorder_turned(port);
	wake->more = more;
	if (port->holds && !loop_timer_is_active(&queue->trim))
		start_trim(queue, IO_TRIM_TIME);
	return count && queue->retired == queue->depth ? tell_retired(queue)
						       : 0;
}

/* ---- opening and closing ---- */

/*
 * The requests have pages of their own, which go back with the queue: free()
 * cannot give back locked memory that lies between other pieces. Behind them is
 * room for those that are needed while requests are late.
 */
static uint32_t ios_size(const struct queue *queue, uint32_t spares)
{
	return (queue->depth + spares) * (uint32_t)sizeof(*queue->ios);
}

static int fetch_all(struct queue *queue)
{
	uint16_t tag;
	int error;

	for (tag = 0; tag < queue->depth; tag++) {
		error = io_fetch(&queue->ios[tag]);
		if (error)
			return error;
	}
	return ring_submit(queue->port.ring);
}

static int start_batch(struct queue *queue)
{
	int error;

	queue->port.batch = batch_open(&queue->port, &error);
	if (!queue->port.batch)
		return error;
	queue->port.is_special = 1;
	error = batch_start(queue->port.batch);
	return error ? error : ring_submit(queue->port.ring);
}

/* Each tag has one command there, and a target that puts nothing there no more. */
static int has_one_each(const struct backend *bottom,
			const struct queue_shape *shape)
{
	return !shape->batch && !bottom->ops->start && !bottom->ops->completed;
}

static int open_ring(struct queue *queue, const struct queue_shape *shape)
{
	int is_small = shape->batch && shape->depth < BATCH_ENTRIES, error;
	unsigned flags = shape->defer ? RING_DEFER : 0;

	if (has_one_each(queue->port.bottom, shape))
		flags |= RING_ONE_EACH;
	queue->port.ring = ring_create(is_small ? BATCH_ENTRIES : shape->depth,
				       flags, &error);
	return queue->port.ring ? 0 : error;
}

int queue_open(struct queue *queue, uint16_t id,
	       const struct queue_shape *shape, struct backend *bottom,
	       queue_event *event, void *owner)
{
	int error;

	memset(queue, 0, sizeof(*queue));
	queue->port.fd = -1;
	queue->port.queue_id = id;
	queue->port.mode = (uint8_t)shape->mode;
	queue->port.recorder = shape->recorder;
	queue->top = queue->port.bottom = bottom;
	queue->depth = queue->retired = shape->depth;
	queue->is_batch = shape->batch;
	queue->event = event;
	queue->owner = owner;
	loop_timer_init(&queue->trim, on_trim, queue);
	queue->wake.turn = on_turn;
	queue->wake.data = queue;
	queue->ios = pool_reserve(ios_size(queue, late_spares(queue->depth)),
				  ios_size(queue, 0));
	error = queue->ios ? io_open(&queue->port, queue->ios, shape->depth,
				     shape->max_io)
			   : -ENOMEM;
	if (!error)
		error = open_ring(queue, shape);
	if (error)
		queue_close(queue);
	return error;
}

int queue_start(struct queue *queue, struct ev_loop *loop, int fd)
{
	struct backend *bottom = queue->port.bottom;
	struct ring *ring = queue->port.ring;
	int error;

	queue->port.fd = fd;
	queue->retired = 0;
	recorder_enter(&queue->port);
	error = map_descriptors(queue);
	if (!error)
		error = ring_register_file(ring, fd);
	if (!error && queue->port.mode == IO_ZERO_COPY)
		error = ring_make_buffers(ring, queue->depth);
	if (!error && bottom->ops->start)
		error = bottom->ops->start(bottom, &queue->port);
	if (!error)
		error = queue->is_batch ? start_batch(queue) : fetch_all(queue);
	if (error) {
		queue->retired = queue->depth; /* the loop sees none */
		return error;
	}
	queue->wake.ring = ring;
	loop_ring_open(loop, &queue->wake);
	return 0;
}

static void stop_bottom(struct io_port *port)
{
	struct backend *bottom = port->bottom;

	if (port->ring && bottom->ops->stop)
		bottom->ops->stop(bottom, port);
}

void queue_close(struct queue *queue)
{
	unsigned held = queue->port.owned + late_count(&queue->port);

	if (held)
		log_error("queue %u is closed with %u requests in hand",
			  queue->port.queue_id, held);
	loop_timer_stop(queue->wake.ev, &queue->trim);
	loop_ring_close(&queue->wake);
	stop_bottom(&queue->port);
	ring_destroy(queue->port.ring);
	batch_close(queue->port.batch);
	late_close(&queue->port);
	recorder_leave(&queue->port);
	io_close(&queue->port);
	if (queue->descriptors)
		munmap((void *)queue->descriptors, map_length(queue->depth));
	pool_unreserve(queue->ios, ios_size(queue, late_spares(queue->depth)));
	memset(queue, 0, sizeof(*queue));
}

int queue_ring_fd(const struct queue *queue)
{
	return ring_fd(queue->port.ring);
}

int queue_is_retired(const struct queue *queue)
{
	return queue->retired == queue->depth;
}
