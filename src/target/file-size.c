/*
 * Another size of a device on a file. A file that is too short is made longer,
 * and never shorter: what lies behind the device's end is not the device's.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../syntax.h"
#include "../workers.h"
#include "file.h"

static int fail_size(const struct file *file, uint64_t size, int error,
		     struct failure *failure)
{
	char text[32];

	syntax_format_size(text, sizeof(text), size);
	return failure_set(failure, failure_symbol(error), error, "size",
			   "size=%s: %.200s cannot be made so long: %s", text,
			   file->path, strerror(-error));
}

/* What can never be made longer. */
static int check_end(const struct file *file, uint64_t size, uint64_t there,
		     struct failure *failure)
{
	const char *why = NULL;

	if (file->backing.kind == BACKING_DISK)
		why = "is a disk";
	else if (file->read_only)
		why = "is read-only";
	else if (file->base + size > INT64_MAX)
		why = "cannot be so long";
	if (!why)
		return 0;
	return failure_set(failure, SYMBOL_RANGE, 0, "size",
			   "size=%llu: %.200s %s, and has %llu bytes from the "
			   "offset on",
			   (unsigned long long)size, file->path, why,
			   (unsigned long long)there);
}

/* Bytes that the file has from the device's beginning on. */
static int measure(const struct file *file, uint64_t *there,
		   struct failure *failure)
{
	uint64_t size;
	int error = backing_size(&file->backing, file->fd, &size);

	if (error)
		return failure_set(failure, failure_symbol(error), error, NULL,
				   "the size of %.200s cannot be told: %s",
				   file->path, strerror(-error));
	*there = size > file->base ? size - file->base : 0;
	return 0;
}

int file_measure(struct target *target, uint64_t *size, struct failure *failure)
{
	return measure((struct file *)target, size, failure);
}

/* ---- longer ---- */

static void on_grown(struct ring_op *op, int32_t result)
{
	struct file *file =
		(struct file *)((char *)op - offsetof(struct file, growth));

	file->growing = 0;
	workers_leave(file->growth_mark);
	file->growth_error = result == -EINTR || result == -EAGAIN ? 0 : result;
}

/* By a worker: whoever writes to the file may make it wait. */
static int begin_growth(struct file *file, uint64_t size)
{
	struct ring_transfer transfer = { .op = RING_TRUNCATE,
					  .fd = -1,
					  .slot = FILE_SLOT,
					  .length = file->base + size };
	int error;

	file->growth.done = on_grown;
	error = ring_put_transfer(file->ring, &transfer,
				  (uint64_t)(uintptr_t)&file->growth);
	if (!error)
		error = ring_submit(file->ring);
	if (!error) {
		file->growing = 1;
		file->growth_mark = workers_enter();
	}
	return error;
}

/* Returns 0 once it is long enough, or TARGET_LATER, or a negative errno. */
static int grow(struct file *file, uint64_t size, uint64_t there)
{
	int error = file->growth_error;

	if (file->growing)
		return TARGET_LATER;
	file->growth_error = 0;
	if (error)
		return error;
	if (size <= there)
		return 0;
	if (file_is_memory(file))
		return ftruncate(file->fd, (off_t)(file->base + size)) < 0
			       ? -errno
			       : 0;
	error = begin_growth(file, size);
	return error ? error : TARGET_LATER;
}

int file_resize(struct target *target, uint64_t size, struct failure *failure)
{
	struct file *file = (struct file *)target;
	uint64_t there = 0;
	int result = 0;

	if (size > file->size) {
		if (measure(file, &there, failure) < 0 ||
		    (size > there && check_end(file, size, there, failure) < 0))
			return -1;
		result = grow(file, size, there);
	}
	if (!result && file_is_memory(file))
		result = store_resize_shared(&file->store, size);
	if (result < 0)
		return fail_size(file, size, result, failure);
	if (result == 0)
		file->size = size;
	return result;
}
