#include "io.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend.h"
#include "batch.h"
#include "base/log.h"
#include "base/page.h"
#include "base/uapi.h"
#include "recorder.h"

/* Newer than the C library of the oldest supported distribution. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

/* Freeing pages takes the one thread's time; bytes. */
#define TRIM_MAX (8u << 20)

/*
 * A private mapping that is only ever read: every page of it is the kernel's
 * zero page, so that it takes no memory whatever its size.
 */
static const uint8_t *zeroes;

/*
 * For need-get-data, each as large as a request can be: where the pieces of a
 * READ are gathered, and where the data goes that nobody wants. Not the same
 * memory: the driver may write to the sink at any time.
 */
static uint8_t *scratch, *sink;

/* Whose READ lies in the scratch; it may not have been submitted yet. */
static struct io *gathered;

static void *map_memory(size_t size, int protection)
{
	void *memory = mmap(NULL, size, protection,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	/* A page that is touched shall take 4 KiB, not 2 MiB. */
	madvise(memory, size, MADV_NOHUGEPAGE);
	return memory;
}

/* Give the pages back: the memory is all zero afterwards. */
static void free_pages(void *memory, size_t size)
{
	/* The plain advice fails on locked memory. */
	if (madvise(memory, size, MADV_DONTNEED_LOCKED) < 0)
		madvise(memory, size, MADV_DONTNEED);
}

int io_initialise(void)
{
	if (!zeroes)
		zeroes = map_memory(UBLK_MAX_IO_BYTES, PROT_READ);
	if (!scratch)
		scratch = map_memory(UBLK_MAX_IO_BYTES, PROT_READ | PROT_WRITE);
	if (!sink)
		sink = map_memory(UBLK_MAX_IO_BYTES, PROT_READ | PROT_WRITE);
	return zeroes && scratch && sink ? 0 : -ENOMEM;
}

const char *io_mode_name(enum io_mode mode)
{
	static const char *const names[] = {
		[IO_USER_COPY] = "user-copy",
		[IO_ZERO_COPY] = "zero-copy",
		[IO_NEED_GET_DATA] = "need-get-data",
		[IO_COPY] = "copy",
		[IO_MODES] = "auto",
	};

	return names[mode];
}

static size_t buffers_length(const struct io_port *port)
{
	return (size_t)port->buffer_size * port->depth;
}

static uint8_t *buffer_of(const struct io *io)
{
	return io->port->buffers + (size_t)io->tag * io->port->buffer_size;
}

int io_open(struct io_port *port, struct io *ios, uint16_t depth,
	    uint32_t max_io)
{
	uint16_t tag;

	port->ios = ios;
	port->depth = depth;
	port->is_special = port->mode == IO_ZERO_COPY;
	/* A page has bytes of one tag only. */
	port->buffer_size = (uint32_t)page_round_up(max_io);
	if (port->mode == IO_COPY) {
		if (port->buffer_size > SIZE_MAX / depth)
			return -ENOMEM;
		port->buffers = map_memory(buffers_length(port),
					   PROT_READ | PROT_WRITE);
		if (!port->buffers)
			return -ENOMEM;
	}
	for (tag = 0; tag < depth; tag++) {
		ios[tag].port = port;
		ios[tag].tag = tag;
		if (port->mode == IO_COPY)
			ios[tag].address = buffer_of(&ios[tag]);
	}
	return 0;
}

/* The driver has copied what lay there. */
static void give_lent_back(struct io_port *port)
{
	struct io *io;

	while ((io = port->lent)) {
		port->lent = io->next;
		port->bottom->ops->copied(port->bottom, io);
	}
}

void io_close(struct io_port *port)
{
	give_lent_back(port);
	if (gathered && gathered->port == port) {
		gathered = NULL;
		free_pages(scratch, UBLK_MAX_IO_BYTES);
	}
	if (port->holds)
		free_pages(sink, UBLK_MAX_IO_BYTES);
	if (port->buffers)
		munmap(port->buffers, buffers_length(port));
	port->buffers = NULL;
}

/*
 * Put a command on the request's tag: with the address of its data, and a COMMIT
 * with its outcome.
 */
static inline int put_command(const struct io *io, uint32_t op)
{
	struct io_port *port = io->port;
	int is_data = io->op == IO_READ || io->op == IO_WRITE;
	struct ublk_io_cmd command = { .q_id = port->queue_id,
				       .tag = io->tag,
				       .addr = (uintptr_t)io->address };
	uint64_t buffer = 0;

	if (op == UBLK_IO_COMMIT_AND_FETCH_REQ)
		command.result = io->outcome ? io->outcome
				 : is_data   ? (int32_t)io->length
					     : 0;
	if (port->is_special) {
		if (port->batch) {
			batch_commit(port->batch, io, command.result);
			return 0;
		}
		buffer = UBLK_AUTO_BUF_REG(io->tag);
	}
	return ring_put_addressed(port->ring, op, &command, buffer, io->tag);
}

int io_fetch(struct io *io)
{
	io->outcome = IO_FETCHED;
	return put_command(io, UBLK_IO_FETCH_REQ);
}

void io_submit(struct io_port *port)
{
	if (port->batch)
		batch_flush(port->batch);
	if (ring_submit(port->ring) < 0)
		ring_raise_event(port->ring);
}

/* ---- need-get-data ---- */

/*
 * The data of a WRITE comes by a command of its own, and its completion tells
 * that it is there; 7.x does it inline, 6.12 a little later.
 */
static int ask_for_data(struct io *io, void *to)
{
	int error;

	if (io->data == IO_DATA_HERE)
		return 0;
	if (io_is_late(io))
		return -ETIMEDOUT;
	io->address = to;
	error = put_command(io, UBLK_IO_NEED_GET_DATA);
	if (error)
		return error;
	io->data = IO_DATA_ASKED;
	recorder_asked(io);
	if (!io->port->in_turn)
		io_submit(io->port);
	return IO_LATER;
}

const void *io_nowhere(struct io_port *port)
{
	port->holds = 1;
	return sink;
}

/*
 * Done before its data was taken. The driver refuses a COMMIT then (6.12 and
 * 7.x: EINVAL), so the data goes where nobody looks first.
 */
static void drop_data(struct io *io, int error)
{
	io->outcome = (int16_t)error;
	if (io->data == IO_DATA_WAITS &&
	    ask_for_data(io, (void *)io_nowhere(io->port)) < 0)
		log_error("the data of tag %u of queue %u cannot be taken",
			  io->tag, io->port->queue_id);
	io->data = IO_DATA_DROPPED;
}

/*
 * The scratch, for this READ alone. Who had it before must have been copied by
 * the driver, which it does when the ring is submitted.
 */
static int own_scratch(struct io *io)
{
	if (io->address == scratch)
		return 0;
	if (gathered && ring_submit(gathered->port->ring) < 0)
		return -EIO;
	gathered = io;
	io->address = scratch;
	io->port->holds = 1;
	return 0;
}

static int __attribute__((noinline))
gather(struct io *io, const void *from, uint32_t at, uint32_t length)
{
	int error = own_scratch(io);

	if (error)
		return error;
	if (from == zeroes)
		memset(scratch + at, 0, length);
	else
		memcpy(scratch + at, from, length);
	return 0;
}

/* ---- copy ---- */

static void note_dirty(struct io *io, uint32_t end)
{
	io->port->holds = 1;
	if (end > io->dirty)
		io->dirty = end;
}

/* Apart, so that io_put() need not save registers for it. */
static int __attribute__((noinline))
fill_buffer(struct io *io, const void *from, uint32_t at, uint32_t length)
{
	memcpy(buffer_of(io) + at, from, length);
	note_dirty(io, at + length);
	return 0;
}

void *io_place(struct io *io)
{
	note_dirty(io, io->length);
	return buffer_of(io);
}

/* Only what may not be zero is touched: the rest takes no memory. */
static int __attribute__((noinline))
zero_buffer(struct io *io, uint32_t at, uint32_t length)
{
	uint32_t end = at + length;

	if (at >= io->dirty)
		return 0;
	if (end < io->dirty) {
		memset(buffer_of(io) + at, 0, length);
		return 0;
	}
	memset(buffer_of(io) + at, 0, io->dirty - at);
	io->dirty = at;
	return 0;
}

/* ---- giving memory back ---- */

static void trim_shared(const struct io_port *port)
{
	free_pages(sink, UBLK_MAX_IO_BYTES);
	if (!gathered || gathered->port != port)
		return;
	gathered = NULL;
	free_pages(scratch, UBLK_MAX_IO_BYTES);
}

/*
 * Copy: free the buffers of some more tags in place. The driver fills a buffer,
 * and the ring tells of that, whenever this thread leaves the kernel. So the
 * buffers are read-only meanwhile: what was in one before that, the ring tells of
 * now, and what the driver cannot put there it brings again 3 ms later.
 */
static unsigned trim_buffers(struct io_port *port)
{
	struct io *first = &port->ios[port->trimmed];
	unsigned left = port->depth - port->trimmed;
	unsigned count = TRIM_MAX / port->buffer_size + 1, i;
	uint8_t *memory = buffer_of(first);
	size_t size;
	int is_free;

	if (count > left)
		count = left;
	size = (size_t)count * port->buffer_size;
	is_free = mprotect(memory, size, PROT_READ) == 0 &&
		  !ring_has_events(port->ring);
	if (is_free)
		free_pages(memory, size);
	if (mprotect(memory, size, PROT_READ | PROT_WRITE) < 0 || !is_free)
		return IO_TRIM_TIME;
	for (i = 0; i < count; i++)
		first[i].dirty = 0;
	port->trimmed += (uint16_t)count;
	if (port->trimmed < port->depth)
		return 1;
	port->trimmed = 0;
	port->holds = 0;
	return 0;
}

unsigned io_trim(struct io_port *port)
{
	if (port->lent && io_settle(port) < 0)
		return 1;
	if (!port->holds)
		return 0;
	/* The backing may have the tags' buffers. */
	if (port->active || port->owned || (port->late && port->late->count)) {
		port->active = 0;
		port->trimmed = 0;
		return IO_TRIM_TIME;
	}
	/* The driver reads what a COMMIT points to when it gets that. */
	if (ring_submit(port->ring) < 0)
		return 1;
	if (port->mode == IO_COPY)
		return trim_buffers(port);
	port->holds = 0;
	trim_shared(port);
	return 0;
}

/* ---- any mode ---- */

void io_begin(struct io *io)
{
	struct io_port *port = io->port;

	io->owned = IO_IN_HAND;
	port->owned++;
	port->active = 1;
	if (port->mode == IO_NEED_GET_DATA) {
		io->data = io->op == IO_WRITE ? IO_DATA_WAITS : IO_DATA_HERE;
		/* A READ has one also when it fails, or the driver refuses. */
		io->address = io->op == IO_READ ? zeroes : NULL;
	} else if (port->mode == IO_COPY && io->op == IO_WRITE) {
		note_dirty(io, io->length);
	}
}

const void *io_zeroes(void)
{
	return zeroes;
}

/* The backing has answered at last: the struct io can serve a tag again. */
static void end_late(struct io *io)
{
	struct late *late = io->port->late;
	uint32_t index = (uint32_t)(io - io->port->ios), i = 0;

	while (late->which[i] != index)
		i++;
	late->which[i] = late->which[--late->count];
	io->data = IO_DATA_HERE;
	io->next = late->spare;
	late->spare = io;
	if (!late->count && late->ended)
		late->ended(late->owner);
}

/* The request has been answered before. */
static void __attribute__((cold)) end_answered(struct io *io)
{
	if (io_is_late(io))
		end_late(io);
	else
		log_error("tag %u of queue %u was completed twice", io->tag,
			  io->port->queue_id);
}

void io_done(struct io *io, int error)
{
	struct io_port *port = io->port;

	if (!io->owned || io->data == IO_DATA_DROPPED) {
		end_answered(io);
		return;
	}
	if (io->data != IO_DATA_HERE) {
		drop_data(io, error);
		return;
	}
	recorder_answered(io, error);
	io->owned = 0;
	port->owned--;
	io->outcome = (int16_t)error;
	if (error) {
		port->errors++;
	} else {
		port->count[io->op]++;
		port->bytes[io->op] += io->length;
	}
	/* The ring has an entry for every tag: there is room. */
	if (put_command(io, UBLK_IO_COMMIT_AND_FETCH_REQ) < 0)
		log_error("tag %u of queue %u cannot be committed", io->tag,
			  port->queue_id);
	if (!port->in_turn)
		io_submit(port);
}

void io_done_lent(struct io *io)
{
	struct io_port *port = io->port;

	io->next = port->lent;
	port->lent = io;
	io_done(io, 0);
	/* A layer's timer: no turn may come that settles it. */
	if (!port->in_turn)
		io_settle(port);
}

int io_settle(struct io_port *port)
{
	int error = ring_submit(port->ring);

	if (error)
		port->holds = 1; /* if no turn comes, io_trim() does it */
	else
		give_lent_back(port);
	return error;
}

int io_resume(struct io *io)
{
	int is_done = io->data == IO_DATA_DROPPED;

	io->data = IO_DATA_HERE;
	io->address = NULL;
	if (is_done)
		io_done(io, io->outcome);
	return !is_done;
}

/* Since its COMMIT was put others may have had the memory of its data. */
static int is_stale(const struct io *io)
{
	return io->op == IO_READ && io->port->mode == IO_NEED_GET_DATA &&
	       io->address != zeroes;
}

int io_again(struct io *io)
{
	if (io->data != IO_DATA_HERE)
		return put_command(io, UBLK_IO_NEED_GET_DATA) == 0;
	if (io->outcome == IO_FETCHED)
		return 0;
	if (io->outcome == 0 && is_stale(io))
		io->outcome = -EIO;
	return put_command(io, UBLK_IO_COMMIT_AND_FETCH_REQ) == 0;
}

void io_forget(struct io *io)
{
	recorder_taken_back(io);
	io->data = IO_DATA_HERE;
	io->owned = 0;
	io->port->owned--;
}

/* Copy between the request and our memory, by the driver's file. */
static int copy_by_file(const struct io *io, char *bytes, uint32_t at,
			uint32_t length, int into_request)
{
	off_t where =
		(off_t)(UBLK_DATA_OFFSET(io->port->queue_id, io->tag) + at);

	/* The tag's data is another request's now. */
	if (io_is_late(io))
		return -ETIMEDOUT;
	while (length) {
		ssize_t n = into_request
				    ? pwrite(io->port->fd, bytes, length, where)
				    : pread(io->port->fd, bytes, length, where);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		where += n;
		length -= (uint32_t)n;
	}
	return 0;
}

int io_put(struct io *io, const void *from, uint32_t at, uint32_t length)
{
	switch (io->port->mode) {
	case IO_NEED_GET_DATA:
		if (at || length != io->length)
			return gather(io, from, at, length);
		io->address = from;
		return 0;
	case IO_COPY:
		return fill_buffer(io, from, at, length);
	default:
		return copy_by_file(io, (char *)from, at, length, 1);
	}
}

int io_take(struct io *io, void *to, uint32_t at, uint32_t length)
{
	switch (io->port->mode) {
	case IO_NEED_GET_DATA:
		if (at || length != io->length)
			return -EINVAL;
		return ask_for_data(io, to);
	case IO_COPY:
		memcpy(to, buffer_of(io) + at, length);
		return 0;
	default:
		return copy_by_file(io, to, at, length, 0);
	}
}

int io_put_zeroes(struct io *io, uint32_t at, uint32_t length)
{
	if (io->port->mode == IO_COPY)
		return zero_buffer(io, at, length);
	return io_put(io, zeroes, at, length);
}
