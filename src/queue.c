#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

/*
 * What one queue may do before others get a turn: so many completions, and so
 * many bytes of data. It looks at both after each batch.
 */
#define TURN_MAX   64
#define TURN_BYTES (8u << 20)
#define BATCH	   16

#define SECTOR 512u

static size_t map_length(uint16_t depth)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = depth * sizeof(struct ublk_io_desc);

	return (bytes + page - 1) / page * page;
}

static int map_descriptors(struct queue *queue)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	off_t offset = (off_t)(queue->port.queue_id * UBLK_DESC_SPAN(page));
	void *map = mmap(NULL, map_length(queue->depth), PROT_READ,
			 MAP_SHARED | MAP_POPULATE, queue->port.fd, offset);

	if (map == MAP_FAILED)
		return -errno;
	queue->descriptors = map;
	return 0;
}

static int op_of(uint32_t op_flags)
{
	switch (op_flags & 0xff) {
	case UBLK_IO_OP_READ:
		return IO_READ;
	case UBLK_IO_OP_WRITE:
		return IO_WRITE;
	case UBLK_IO_OP_FLUSH:
		return IO_FLUSH;
	case UBLK_IO_OP_DISCARD:
		return IO_DISCARD;
	case UBLK_IO_OP_WRITE_ZEROES:
		return IO_WRITE_ZEROES;
	default:
		return -1;
	}
}

/* Hand the request that the driver put under this tag to the target. */
static void dispatch(struct queue *queue, uint16_t tag)
{
	const struct ublk_io_desc *from = &queue->descriptors[tag];
	struct io *io = &queue->ios[tag];
	int op = op_of(from->op_flags);

	io_begin(io);
	io->offset = from->start_sector * SECTOR;
	io->length = from->nr_sectors * SECTOR;
	queue->turn_bytes += io->length;
	io->flags = 0;
	if (from->op_flags & UBLK_IO_F_FUA)
		io->flags |= IO_FUA;
	if (from->op_flags & UBLK_IO_F_NOUNMAP)
		io->flags |= IO_KEEP_SPACE;
	io->op = op < 0 ? IO_FLUSH : (uint8_t)op;
	if (op < 0)
		io_done(io, -EOPNOTSUPP);
	else
		target_submit(queue->target, io);
}

/*
 * A completion of FETCH or COMMIT is the tag's next request; -ENODEV says that
 * the device is stopping and this tag is given up. Others are a target's.
 */
static void take(struct queue *queue, const struct ring_event *event)
{
	if (event->data >= RING_OP_FIRST) {
		struct ring_op *op = (struct ring_op *)(uintptr_t)event->data;

		op->done(op, event->result);
		return;
	}
	if (event->result == 0) {
		dispatch(queue, (uint16_t)event->data);
		return;
	}
	queue->retired++;
	if (event->result == -ENODEV || queue->refused)
		return;
	queue->refused = 1;
	loop_poke(queue->wake.ev);
	queue->event(queue, event->result);
}

static unsigned take_batch(struct queue *queue)
{
	struct ring_event done[BATCH];
	unsigned count = ring_reap(queue->port.ring, done, BATCH), i;

	for (i = 0; i < count; i++)
		take(queue, &done[i]);
	return count;
}

/* The driver has given up the last tag: nothing is left to be done here. */
static int tell_retired(struct queue *queue)
{
	loop_poke(queue->wake.ev);
	queue->event(queue, 0);
	return -1;
}

static int on_turn(struct loop_ring *wake)
{
	struct queue *queue = wake->data;
	unsigned count = 0, got;

	queue->port.in_turn = 1;
	queue->turn_bytes = 0;
	do {
		got = take_batch(queue);
		count += got;
	} while (got == BATCH && count < TURN_MAX &&
		 queue->turn_bytes < TURN_BYTES);
	queue->port.in_turn = 0;
	wake->taken = count;
	wake->more = got == BATCH;
	return count && queue_is_retired(queue) ? tell_retired(queue) : 0;
}

static int fetch_all(struct queue *queue)
{
	uint16_t tag;
	int error;

	for (tag = 0; tag < queue->depth; tag++) {
		queue->ios[tag].port = &queue->port;
		queue->ios[tag].tag = tag;
		error = io_fetch(&queue->ios[tag]);
		if (error)
			return error;
	}
	return ring_submit(queue->port.ring);
}

static int open_ring(struct queue *queue)
{
	int error;

	queue->port.ring = ring_create(queue->depth, 0, &error);
	if (!queue->port.ring)
		return error;
	return ring_register_file(queue->port.ring, queue->port.fd);
}

int queue_open(struct queue *queue, struct ev_loop *loop, int fd, uint16_t id,
	       uint16_t depth, struct target *target, queue_event *event,
	       void *owner)
{
	int error;

	memset(queue, 0, sizeof(*queue));
	queue->port.fd = fd;
	queue->port.queue_id = id;
	queue->target = target;
	queue->depth = depth;
	queue->event = event;
	queue->owner = owner;
	queue->ios = calloc(depth, sizeof(*queue->ios));
	error = queue->ios ? map_descriptors(queue) : -ENOMEM;
	if (!error)
		error = open_ring(queue);
	if (!error)
		error = fetch_all(queue);
	if (error) {
		queue_close(queue);
		return error;
	}
	queue->wake.ring = queue->port.ring;
	queue->wake.turn = on_turn;
	queue->wake.data = queue;
	loop_ring_open(loop, &queue->wake);
	return 0;
}

void queue_close(struct queue *queue)
{
	if (queue->port.owned)
		log_error("queue %u is closed with %u requests in hand",
			  queue->port.queue_id, queue->port.owned);
	loop_ring_close(&queue->wake);
	ring_destroy(queue->port.ring);
	if (queue->descriptors)
		munmap((void *)queue->descriptors, map_length(queue->depth));
	free(queue->ios);
	memset(queue, 0, sizeof(*queue));
}

int queue_is_retired(const struct queue *queue)
{
	return queue->retired == queue->depth;
}
