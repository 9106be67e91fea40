/*
 * Another size of a device on a file. A file that is too short is made longer,
 * and never shorter: what lies behind the device's end is not the device's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/syntax.h"
#include "file.h"

static int fail_size(const struct file *file, uint64_t size, int error,
		     struct failure *failure)
{
	const char *why = strerror(-error);
	char text[32];

	syntax_format_size(text, sizeof(text), size);
	if (error == -EOPNOTSUPP)
		why = "its file system has no fallocate(); make it longer "
		      "yourself, and use size=auto";
	return failure_set(failure, failure_symbol(error), error, "size",
			   "size=%s: %.200s cannot be made so long: %s", text,
			   file->path, why);
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

static void on_grown(void *context, int error)
{
	struct file *file = context;

	file->growth = NULL;
	file->growth_error = error == -EINTR || error == -EAGAIN ? 0 : error;
}

/*
 * Returns 0 once it is long enough, or TARGET_LATER, or a negative errno. Others
 * may have changed its length in the meantime.
 */
static int grow(struct file *file, uint64_t size, uint64_t there)
{
	int error = file->growth_error;

	if (file->growth)
		return TARGET_LATER;
	file->growth_error = 0;
	if (error)
		return error;
	if (size <= there)
		return 0;
	file->growth = opener_grow(file->loop, file->fd, file->base + size,
				   on_grown, file, &error);
	return file->growth ? TARGET_LATER : error;
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
