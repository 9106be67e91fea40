/*
 * I/O of files and disks, in the ring of the queue that a request came from.
 *
 * A request goes in pieces through a buffer, of the pool or, when that has
 * none for it, the device's own. In need-get-data the driver moves all of it at
 * once: there it has one buffer, as large, from its start to its end, and the
 * data of a write lies in it before anything else is begun.
 *
 * What may end in a worker of the kernel has a token for that: workers belong to
 * the whole process, and a file system that stands still would take them all. A
 * write with a token goes to io_uring as it is, which tries it without a wait, and
 * gives it to a worker if need be. Without a token, and a read in any case, it is
 * but tried, and waits for a token if that was in vain. A read that the page cache
 * cannot answer waits for its pages without a worker, as long as the disk takes
 * readahead; those have tokens of their own.
 */
#include <errno.h>
#include <stddef.h>

#include "base/compat.h"
#include "io/pool.h"
#include "io/recorder.h"
#include "io/workers.h"
#include "file.h"

#define ZERO_PIECE (1u << 20) /* bytes written at a time from the zero page */
#define TRIES_MAX  100	      /* of what says EAGAIN to a worker */

#define COUNT_BITS 48 /* of the tally's number */
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

/* What a request's own request in the ring is for. */
enum stage { TRANSFER, ALLOCATE, ZERO, SYNC };

static void enter(struct file *file, struct io *io, enum stage stage);
static void issue(struct file *file, struct io *io);
static void proceed(struct file *file, struct io *io);

/* ---- lines of requests ---- */

void file_line_up(struct file_line *line, struct io *io, enum sight_place place)
{
	recorder_place(io, place);
	io->next = NULL;
	if (line->first)
		line->last->next = io;
	else
		line->first = io;
	line->last = io;
}

struct io *file_line_due(struct file_line *line)
{
	struct io **at = &line->first, *io, *due = NULL;

	line->last = NULL;
	while ((io = *at)) {
		if (!io_is_due(io)) {
			line->last = io;
			at = &io->next;
			continue;
		}
		*at = io->next;
		io->next = due;
		due = io;
	}
	return due;
}

struct io *file_line_next(struct file_line *line)
{
	struct io *io = line->first;

	if (io)
		line->first = io->next;
	return io;
}

/* ---- buffers ---- */

/* What is asked of the file for it reads; not always what the request does. */
static int is_read(const struct io *io)
{
	return io->is_asked ? io->asks_read : io->op == IO_READ;
}

/*
 * Its data is to be durable before it is done. A target that is made of files sees
 * to that itself.
 */
static int is_durable(const struct file *file, const struct io *io)
{
	return io->flags & IO_FUA && !file->target.ended;
}

/* Its pages themselves are read into, or written from. */
static int uses_pages(const struct io *io)
{
	return io_is_registered(io) && !io->is_copied;
}

/* Its data needs no other buffer, and is not moved. */
static int is_in_place(const struct io *io)
{
	return uses_pages(io) || io->port->mode == IO_COPY;
}

/* The driver moves all of its data at once, to or from one place. */
static int is_whole(const struct io *io)
{
	return io->port->mode == IO_NEED_GET_DATA;
}

static int get_buffer(struct file *file, struct io *io)
{
	if (io->buffer || is_in_place(io))
		return 1;
	io->buffer = pool_get(&file->pooled, io->length - io->at, &io->room);
	if (io->buffer)
		return 1;
	if (file->reserve_is_used)
		return 0;
	file->reserve_is_used = 1;
	io->buffer = file->reserve;
	io->room = file->reserve_size;
	return 1;
}

static void drop_buffer(struct file *file, struct io *io)
{
	if (io->buffer == file->reserve) {
		file->reserve_is_used = 0;
	} else if (io->buffer) {
		pool_put(&file->pooled, io->buffer, io->room);
	}
	io->buffer = NULL;
}

/* ---- one request ---- */

/* Only tried, for it may not wait. */
static int is_try(const struct io *io)
{
	return !io->token;
}

/*
 * A durable write through the page cache waits for the disk, and so does
 * whatever is no transfer.
 */
static int has_to_wait(const struct file *file, const struct io *io)
{
	if (io->stage == ALLOCATE || io->stage == SYNC || io->must_wait ||
	    file->backing.waits)
		return 1;
	return !is_read(io) &&
	       (file->write_waits || (is_durable(file, io) && !file->direct));
}

/* In a worker it may hold the file's lock, which reads share. */
static int takes_lock(const struct io *io)
{
	return !is_read(io) && io->stage != SYNC;
}

static void end_wait(struct file *file, struct io *io)
{
	if (!io->token)
		return;
	file->lock_takers -= takes_lock(io);
	workers_give_back(&file->share, io->token);
	io->token = 0;
}

void file_copied(struct backend *backend, struct io *io)
{
	struct file *file = (struct file *)backend;

	drop_buffer(file, io);
	file_go_on(file);
}

static void finish_request(struct file *file, struct io *io, int32_t error)
{
	end_wait(file, io);
	if (is_whole(io) && io->op == IO_READ && !io->is_asked && !error) {
		io_done_lent(io);
		return;
	}
	if (io->buffer)
		drop_buffer(file, io);
	target_done(&file->target, io, error);
}

static uint32_t least(uint32_t one, uint32_t other)
{
	return one < other ? one : other;
}

static int transfer_flags(const struct file *file, const struct io *io)
{
	return (is_try(io) ? RWF_NOWAIT : 0) |
	       (is_durable(file, io) ? RWF_DSYNC : 0);
}

static int prepare_transfer(const struct file *file, struct io *io,
			    struct ring_transfer *transfer)
{
	int is_read = io->op == IO_READ;

	transfer->op = is_read ? RING_READ : RING_WRITE;
	transfer->flags = transfer_flags(file, io);
	transfer->length = io->length - io->at;
	if (uses_pages(io)) {
		transfer->buffer = io->tag + 1u;
		transfer->at = io->at;
	} else if (is_in_place(io)) {
		transfer->bytes = (uint8_t *)io_place(io) + io->at;
	} else if (is_whole(io)) {
		transfer->bytes = (uint8_t *)io->buffer + io->at;
	} else {
		transfer->length = least(io->length - io->at, io->room);
		transfer->bytes = io->buffer;
	}
	if (is_read || is_in_place(io) || is_whole(io))
		return 0;
	return io_take(io, io->buffer, io->at, (uint32_t)transfer->length);
}

/* Zeroes that are to keep their space are allocated, others are a hole. */
static void prepare_allocation(const struct io *io,
			       struct ring_transfer *transfer)
{
	int keeps = io->op == IO_WRITE_ZEROES && io->flags & IO_KEEP_SPACE;

	transfer->op = RING_FALLOCATE;
	transfer->flags = FALLOC_FL_KEEP_SIZE |
			  (keeps ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
	transfer->length = io->length;
}

static void prepare_zeroes(const struct file *file, struct io *io,
			   struct ring_transfer *transfer)
{
	transfer->op = RING_WRITE;
	transfer->flags = transfer_flags(file, io);
	transfer->bytes = (void *)io_zeroes();
	transfer->length = least(io->length - io->at, ZERO_PIECE);
}

/*
 * At once; others io_uring tries itself before it gives them to a worker, and
 * before Linux 7 only then has it the writes of one file go one after the other.
 */
static int goes_to_worker(const struct file *file, const struct io *io)
{
	enum workers_kind kind;

	if (!io->token)
		return 0;
	kind = workers_kind_of(io->token);
	return kind != WORKERS_PAGES && kind != WORKERS_LINED &&
	       has_to_wait(file, io);
}

static int prepare_request(const struct file *file, struct io *io,
			   struct ring_transfer *transfer)
{
	transfer->fd = -1;
	transfer->slot = file->slot;
	transfer->wait = goes_to_worker(file, io);
	transfer->offset = file->base + io->offset + io->at;
	if (io->is_asked) {
		file->ask(file, io, transfer);
		if (io->stage == TRANSFER)
			transfer->flags = transfer_flags(file, io);
		return 0;
	}
	switch ((enum stage)io->stage) {
	case TRANSFER:
		return prepare_transfer(file, io, transfer);
	case ALLOCATE:
		prepare_allocation(io, transfer);
		break;
	case ZERO:
		prepare_zeroes(file, io, transfer);
		break;
	case SYNC:
		transfer->op = RING_FDATASYNC;
		break;
	}
	return 0;
}

/* ---- what comes of it ---- */

/*
 * A read that waits for its pages takes the file's lock again when they come, on
 * some file systems (xfs): in this very thread, which then waits for whoever has
 * it. So such reads are not under way together with what may hold it in a worker;
 * those that come meanwhile are worker's work as well.
 */
static int may_be_locked(const struct file *file)
{
	const struct io *next = file->for_turn[0].first;

	return file->backing.locks_reads &&
	       (file->lock_takers || file->growth ||
		(next && takes_lock(next)));
}

static int can_wait_for_pages(const struct file *file, const struct io *io)
{
	return is_read(io) && !file->direct && !file->backing.waits &&
	       !may_be_locked(file);
}

/*
 * A write that is but copied to the page cache of a regular file. Where none can
 * be tried the file system may be one that io_uring asks in this thread whether it
 * is ready (FUSE), which is answered by a program: there all go to workers.
 */
static int is_cached_write(const struct file *file, const struct io *io)
{
	return file->backing.kind == BACKING_FILE && !file->direct &&
	       !file->backing.waits && !is_read(io) && !is_durable(file, io) &&
	       (io->stage == TRANSFER || io->stage == ZERO);
}

static enum workers_kind kind_of(const struct file *file, const struct io *io)
{
	if (can_wait_for_pages(file, io))
		return WORKERS_PAGES;
	return is_cached_write(file, io) ? WORKERS_LINED : WORKERS_ANY;
}

/* Reads that wait for pages have to end before. */
static int is_locked_out(const struct file *file, const struct io *io)
{
	return takes_lock(io) && file->backing.locks_reads &&
	       file->share.has[WORKERS_PAGES];
}

/* Returns 1 if it may wait now. */
static int take_token(struct file *file, struct io *io)
{
	if (is_locked_out(file, io))
		return 0;
	io->token = workers_take(&file->share, kind_of(file, io));
	if (!io->token)
		return 0;
	file->lock_takers += takes_lock(io);
	return 1;
}

/*
 * It cannot be done without: once more, or for the first time, with a wait. For
 * those in a line some request of this file is under way, and when that ends they
 * are looked at.
 */
static void wait_for_turn(struct file *file, struct io *io)
{
	if (take_token(file, io)) {
		issue(file, io);
		return;
	}
	if (!is_whole(io))
		drop_buffer(file, io);
	file_line_up(&file->for_turn[is_read(io)], io,
		     is_locked_out(file, io) ? SIGHT_TURN : SIGHT_WORKER);
}

static void serve(struct file *file, struct file_line *line)
{
	while (line->first && take_token(file, line->first))
		issue(file, file_line_next(line));
}

static void retry(struct file *file, struct io *io)
{
	io->must_wait = 1;
	if (io->tries++ < TRIES_MAX)
		wait_for_turn(file, io);
	else
		finish_request(file, io, -EIO);
}

/* The number has the count in its lower 48 bits, and the errno above, positive. */
struct file_tally file_tally(const struct file *file)
{
	const uint64_t number = file->target.tally;

	return (struct file_tally){ .flush_errors = number & COUNT_MASK,
				    .unsynced = -(int)(number >> COUNT_BITS) };
}

static void set_tally(struct file *file, struct file_tally tally)
{
	target_set_tally(&file->target,
			 (tally.flush_errors & COUNT_MASK) |
				 (uint64_t)-tally.unsynced << COUNT_BITS);
}

/* The next flush fails, and so do those that are under way. */
static void fail_next_flush(struct file *file, int error)
{
	struct file_tally tally = file_tally(file);

	tally.flush_errors++;
	tally.unsynced = error;
	set_tally(file, tally);
}

/*
 * The kernel tells a failed writeback to one who asks for durability, once. A
 * write that was to be durable may have taken that from the flush after it.
 */
static void note_unsynced(struct file *file, const struct io *io, int error)
{
	if (is_durable(file, io))
		fail_next_flush(file, error);
}

/* So many bytes were read. */
static int put_read(struct io *io, uint32_t bytes)
{
	if (is_in_place(io))
		return 0;
	if (!is_whole(io))
		return io_put(io, io->buffer, io->at, bytes);
	return io->at + bytes < io->length
		       ? 0
		       : io_put(io, io->buffer, 0, io->length);
}

static void end_transfer(struct file *file, struct io *io, int32_t result)
{
	int error = 0;

	if (result < 0 && io->op != IO_READ)
		note_unsynced(file, io, result);
	/* Nothing where there should be something: the file was cut short. */
	if (result <= 0) {
		finish_request(file, io, result ? result : -EIO);
		return;
	}
	if (io->op == IO_READ)
		error = put_read(io, (uint32_t)result);
	io->at += (uint32_t)result;
	io->tries = io->must_wait = 0;
	if (error || io->at == io->length)
		finish_request(file, io, error);
	else
		enter(file, io, io->stage);
}

static void end_allocation(struct file *file, struct io *io, int32_t result)
{
	if (result == 0 && is_durable(file, io))
		enter(file, io, SYNC);
	else if (io->op == IO_WRITE_ZEROES &&
		 (result == -EOPNOTSUPP || result == -EINVAL))
		enter(file, io, ZERO);
	else
		finish_request(file, io, result);
}

static void end_sync(struct file *file, struct io *io, int32_t result)
{
	struct file_tally tally = file_tally(file);
	int error = result;

	if (error && io->op != IO_FLUSH) {
		note_unsynced(file, io, error);
	} else if (error) {
		tally.flush_errors++;
		set_tally(file, tally);
	} else if (io->flush_errors != (uint32_t)tally.flush_errors) {
		/* Of several that wait at a time the kernel tells one. */
		error = -EIO;
	} else if (io->op == IO_FLUSH) {
		error = tally.unsynced;
		tally.unsynced = 0;
		set_tally(file, tally);
	}
	finish_request(file, io, error);
}

/* It was tried without a wait, and that is not to be had. */
static int was_try(const struct io *io)
{
	return is_try(io) && (io->stage == ZERO || io->stage == TRANSFER);
}

/* Whether it has to be asked for again. */
static int is_undone(struct file *file, struct io *io, int32_t result)
{
	if (result == -EINTR || result == -EAGAIN)
		return 1;
	/* Direct I/O may be particular about where pages lie; ours is not. */
	if (result == -EINVAL && io->stage == TRANSFER && !io->is_asked &&
	    uses_pages(io)) {
		io->is_copied = 1;
		return 1;
	}
	if (result != -EOPNOTSUPP || !was_try(io))
		return 0;
	if (is_read(io))
		file->backing.waits = 1;
	else
		file->write_waits = 1;
	return 1;
}

static void end_request(struct file *file, struct io *io, int32_t result)
{
	int again = is_undone(file, io, result);

	end_wait(file, io);
	if (again) {
		retry(file, io);
		return;
	}
	if (io->is_asked) {
		finish_request(file, io, result);
		return;
	}
	switch ((enum stage)io->stage) {
	case TRANSFER:
	case ZERO:
		end_transfer(file, io, result);
		break;
	case ALLOCATE:
		end_allocation(file, io, result);
		break;
	case SYNC:
		end_sync(file, io, result);
		break;
	}
}

void file_go_on(struct file *file)
{
	while (file->for_buffer.first &&
	       get_buffer(file, file->for_buffer.first))
		proceed(file, file_line_next(&file->for_buffer));
	file->reads_first = !file->reads_first;
	serve(file, &file->for_turn[file->reads_first]);
	serve(file, &file->for_turn[!file->reads_first]);
}

/*
 * Its sender has an error already: nothing else is begun for it. What the kernel
 * has told of a writeback that failed is the next flush's to tell.
 */
static void end_late(struct file *file, struct io *io, int32_t result)
{
	if (result < 0 && (io->stage == SYNC || is_durable(file, io)))
		fail_next_flush(file, result);
	finish_request(file, io, -ETIMEDOUT);
}

void file_completed(struct backend *backend, struct io *io, int32_t result)
{
	struct file *file = (struct file *)backend;

	if (io_is_late(io)) {
		end_late(file, io, result);
	} else {
		recorder_completed(io, result);
		end_request(file, io, result);
	}
	file_go_on(file);
}

/* What waits for a buffer or a worker is not in the backing. */
static void expire_line(struct file *file, struct file_line *line)
{
	struct io *io = file_line_due(line), *next;

	for (; io; io = next) {
		next = io->next;
		finish_request(file, io, -EIO);
	}
}

void file_expire(struct backend *backend)
{
	struct file *file = (struct file *)backend;

	expire_line(file, &file->for_turn[0]);
	expire_line(file, &file->for_turn[1]);
	expire_line(file, &file->for_buffer);
	file_go_on(file);
}

/* ---- its beginning ---- */

/* Of the request's own data. */
static int is_transfer(const struct io *io)
{
	return io->stage == TRANSFER && !io->is_asked;
}

/*
 * Not where a read that waits for pages takes the file's lock: there a write that
 * needs no wait is not to keep reads from that. Nor a direct write to a disk, for
 * which Linux has no use for a worker.
 */
static int begins_with_token(const struct file *file, const struct io *io)
{
	return is_try(io) && !is_read(io) && !file->backing.locks_reads &&
	       !(file->backing.kind == BACKING_DISK && file->direct);
}

static void issue(struct file *file, struct io *io)
{
	struct ring_transfer transfer = { .fd = -1 };
	struct io_port *port = io->port;
	int error;

	if (is_transfer(io) && !get_buffer(file, io)) {
		file_line_up(&file->for_buffer, io, SIGHT_BUFFER);
		return;
	}
	if (begins_with_token(file, io))
		take_token(file, io);
	error = prepare_request(file, io, &transfer);
	if (!error)
		error = ring_put_transfer(port->ring, &transfer,
					  io_own_data(io));
	if (error) {
		finish_request(file, io, error == -EBUSY ? -EIO : error);
		return;
	}
	recorder_submitted(io);
	if (!port->in_turn)
		io_submit(port);
}

/*
 * Need-get-data: before a worker, which one that has a buffer may wait for, and
 * not the other way round. Returns 1 if it has the buffer, and in that a write
 * its data.
 */
static int has_all(struct file *file, struct io *io)
{
	int result;

	if (!get_buffer(file, io)) {
		file_line_up(&file->for_buffer, io, SIGHT_BUFFER);
		return 0;
	}
	if (io->op != IO_WRITE)
		return 1;
	result = io_take(io, io->buffer, 0, io->length);
	if (result < 0)
		finish_request(file, io, result == -EBUSY ? -EIO : result);
	return !result;
}

static void proceed(struct file *file, struct io *io)
{
	if (is_whole(io) && is_transfer(io) && !has_all(file, io))
		return;
	if (is_try(io) && has_to_wait(file, io))
		wait_for_turn(file, io);
	else
		issue(file, io);
}

static void enter(struct file *file, struct io *io, enum stage stage)
{
	io->stage = (uint8_t)stage;
	if (stage == SYNC)
		io->flush_errors = (uint32_t)file_tally(file).flush_errors;
	proceed(file, io);
}

void file_forget(struct backend *backend, struct io *io)
{
	struct file *file = (struct file *)backend;

	drop_buffer(file, io);
	file_go_on(file);
}

/*
 * What the page cache has is read at once, which takes less than a request in
 * the ring. Returns 1 if the request is done; if not, it has a buffer already, or
 * there is none.
 */
static int read_cached(struct file *file, struct io *io)
{
	void *bytes;
	int is_there;

	if (file->direct || file->backing.waits || uses_pages(io) ||
	    !get_buffer(file, io))
		return 0;
	if (io->buffer && io->room < io->length)
		return 0;
	bytes = is_in_place(io) ? io_place(io) : io->buffer;
	is_there = backing_read_cached(file->fd, bytes, io->length,
				       file->base + io->offset);
	if (is_there <= 0) {
		file->backing.waits = is_there == -EOPNOTSUPP;
		io->must_wait = 1;
		return 0;
	}
	finish_request(file, io,
		       io->buffer ? io_put(io, bytes, 0, io->length) : 0);
	return 1;
}

void file_transfer(struct file *file, struct io *io)
{
	static const enum stage stages[] = {
		[IO_READ] = TRANSFER,
		[IO_WRITE] = TRANSFER,
		[IO_FLUSH] = SYNC,
		[IO_DISCARD] = ALLOCATE,
		[IO_WRITE_ZEROES] = ALLOCATE,
	};

	if (io_is_again(io)) {
		proceed(file, io);
		return;
	}
	io->buffer = NULL;
	io->at = 0;
	io->tries = io->token = io->must_wait = io->is_copied = 0;
	io->is_asked = 0;
	if (io->op == IO_READ && read_cached(file, io))
		return;
	enter(file, io, stages[io->op]);
}

void file_ask(struct file *file, struct io *io, enum ring_file_op op)
{
	static const enum stage stages[] = {
		[RING_READ] = TRANSFER,
		[RING_WRITE] = TRANSFER,
		[RING_FDATASYNC] = SYNC,
		[RING_FALLOCATE] = ALLOCATE,
	};

	io->buffer = NULL;
	io->at = 0;
	io->tries = io->token = io->must_wait = io->is_copied = 0;
	io->is_asked = 1;
	io->asks_read = op == RING_READ;
	io->stage = (uint8_t)stages[op];
	proceed(file, io);
}
