/*
 * Files whose pages are memory: in a tmpfs, a hugetlbfs, or a memfd. io_uring
 * can only wait for them in a worker, which costs more than all the rest, so
 * they are served as a RAM disk is: the driver copies into and out of the
 * mapping. What it cannot touch, because the file was cut short or its file
 * system is full, is an errno to it and would be SIGBUS to us.
 *
 * The file is not ours: others may write to it, or make holes. So a page that
 * was there may be a hole by now, which reads as zeroes all the same; and
 * before a hole is answered from the zero page, the file is asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "file.h"

#define PIECE (16u << 10)

/* Whether the file still reaches so far; `end` in bytes of the device. */
static int check_end(const struct file *file, uint64_t end)
{
	uint64_t size;
	int error = backing_size(&file->backing, file->fd, &size);

	if (error)
		return error;
	return size >= file->base + end ? 0 : -EIO;
}

/*
 * What the driver could not copy out of the mapping: a hole for which there is
 * no page, a broken page, or nothing at all. read(2) takes no page for a hole.
 */
static int read_aside(struct file *file, struct io *io, uint32_t at,
		      uint32_t length)
{
	static char bytes[PIECE];
	uint64_t from = file->base + io->offset + at;
	int error = 0;

	while (length && !error) {
		size_t want = length < PIECE ? length : PIECE;
		ssize_t n = pread(file->fd, bytes, want, (off_t)from);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		error = io_put(io, bytes, at, (uint32_t)n);
		at += (uint32_t)n;
		from += (uint64_t)n;
		length -= (uint32_t)n;
	}
	return error;
}

static int read_run(struct file *file, struct io *io, uint32_t at,
		    uint32_t *run)
{
	struct store *store = &file->store;
	uint64_t offset = io->offset + at, length = io->length - at;
	const uint8_t *bytes;
	int is_there, error;

	*run = (uint32_t)store_run(store, offset, length, &is_there);
	if (!is_there) {
		store_review(store, offset, *run);
		*run = (uint32_t)store_run(store, offset, *run, &is_there);
	}
	if (is_there) {
		length = *run;
		bytes = store_at(store, offset, &length);
		*run = (uint32_t)length;
		return bytes ? io_put(io, bytes, at, *run) : -ENOMEM;
	}
	error = check_end(file, offset + *run);
	return error ? error : io_put_zeroes(io, at, *run);
}

static int read_memory(struct file *file, struct io *io)
{
	uint32_t at = 0, run;
	int error = 0;

	while (at < io->length && !error) {
		error = read_run(file, io, at, &run);
		if (error == -EFAULT)
			error = read_aside(file, io, at, run);
		at += run;
	}
	return error;
}

static int write_memory(struct file *file, struct io *io)
{
	struct store *store = &file->store;
	int is_there, error;

	if (store_run(store, io->offset, io->length, &is_there) < io->length ||
	    !is_there)
		store_review(store, io->offset, io->length);
	error = store_grow(store, io->offset, io->length, 0);
	if (!error) {
		error = store_take(store, io);
		if (error)
			store_review(store, io->offset, io->length);
	}
	if (error == -EFAULT) {
		error = check_end(file, io->offset + io->length);
		if (!error)
			error = -ENOMEM; /* its file system is full */
	}
	return error == -ENOMEM
		       ? target_refuse_write(&file->target, store->used)
		       : error;
}

/* The page that both ends lie in is zeroed by it. */
static int punch(struct file *file, struct io *io)
{
	if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(file->base + io->offset), (off_t)io->length) < 0)
		return -errno;
	store_review(&file->store, io->offset, io->length);
	return 0;
}

static int zero_memory(struct file *file, struct io *io)
{
	int error = check_end(file, io->offset + io->length);

	if (error)
		return error;
	if (!(io->flags & IO_KEEP_SPACE) || io->op == IO_DISCARD)
		return punch(file, io);
	store_review(&file->store, io->offset, io->length);
	return store_zero(&file->store, io->offset, io->length);
}

int file_serve_memory(struct file *file, struct io *io)
{
	switch (io->op) {
	case IO_READ:
		return read_memory(file, io);
	case IO_WRITE:
		return write_memory(file, io);
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		return zero_memory(file, io);
	default:
		return 0; /* a flush: memory is as durable as it gets */
	}
}
