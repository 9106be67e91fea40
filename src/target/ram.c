/*
 * ram: a disk in memory. Memory is taken when it is written, not when it is
 * read, and given back by discard and write-zeroes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "store.h"
#include "base/syntax.h"
#include "target.h"

enum { SIZE, OVERCOMMIT, MEMORY_LIMIT, MEMORY_RESERVE, KEEP };

/* In the order of keep's choices. */
enum { KEEP_NO, KEEP_YES };
static const char *const keep_names[] = { "no", "yes", NULL };

static const struct option options[] = {
	[SIZE] = { .name = "size",
		   .type = OPTION_SIZE,
		   .min = 512,
		   .max = OPTION_SIZE_MAX,
		   .required = 1,
		   .help = "size of the device in bytes" },
	[OVERCOMMIT] = { .name = "overcommit",
			 .type = OPTION_FLAG,
			 .fallback = "no",
			 .help = "allow a size above the memory that is "
				 "available now" },
	[MEMORY_LIMIT] = { .name = "memory-limit",
			   .type = OPTION_SIZE,
			   .max = OPTION_SIZE_MAX,
			   .help = "memory that the data may take; more is "
				   "ENOSPC to the writer (default: the size)" },
	[MEMORY_RESERVE] = { .name = "memory-reserve",
			     .type = OPTION_SIZE,
			     .max = OPTION_SIZE_MAX,
			     .help = "memory that must stay available on the "
				     "host; below it the writer gets ENOSPC "
				     "(default: an eighth of the memory, at "
				     "most 72M)" },
	[KEEP] = { .name = "keep",
		   .type = OPTION_PATH,
		   .choices = keep_names,
		   .fallback = "no",
		   .help = "hold the data in a file there (a tmpfs; yes: "
			   "/dev/shm), so that they outlive all of ublkd's "
			   "processes; del removes it" },
	{ .name = NULL },
};

/* Bounded, because freeing pages takes the one thread's time; bytes. */
#define CLEAR_MAX (8U << 20)

struct ram {
	struct target target;
	struct store store;
	int overcommit;
	uint64_t allowed; /* bytes: no smaller size is asked about */
};

/* The driver moves each byte once in the first two. */
static const enum io_mode modes[] = { IO_NEED_GET_DATA, IO_USER_COPY, IO_COPY,
				      IO_MODES };

/* Whether there is memory for a size, of which `used` is there already. */
static int check_room(uint64_t size, uint64_t used, struct failure *failure)
{
	uint64_t room = memory_room(0);
	char text[32];

	if (size <= used || size - used <= room)
		return 0;
	syntax_format_size(text, sizeof(text), size);
	return failure_set(failure, SYMBOL_LIMIT, ENOMEM, "size",
			   "size=%s is more than the %llu MiB of memory that "
			   "are available; overcommit=yes allows it",
			   text, (unsigned long long)(room >> 20));
}

static const char *keep_folder(const struct option_value *values)
{
	if (values[KEEP].number == OPTION_IS_PATH)
		return values[KEEP].text;
	return values[KEEP].number == KEEP_YES ? "/dev/shm" : NULL;
}

/* A new store, or the one that outlived a server. */
static int open_store(struct ram *ram, struct target_args *args)
{
	const struct option_value *values = args->values;
	uint64_t reserve = MEMORY_RESERVE_AUTO, limit = UINT64_MAX;
	struct store *store = &ram->store;
	int error;

	if (values[MEMORY_RESERVE].given)
		reserve = values[MEMORY_RESERVE].number;
	if (values[MEMORY_LIMIT].given)
		limit = values[MEMORY_LIMIT].number;
	if (!args->adopted && values[KEEP].number == KEEP_NO)
		return store_open(store, values[SIZE].number, limit, reserve);
	if (!args->adopted)
		return store_open_in(store, keep_folder(values),
				     values[OVERCOMMIT].number != 0,
				     values[SIZE].number, limit, reserve);
	if (args->fd_count != 1)
		return -EBADF; /* never an empty one in its place */
	error = store_adopt(store, args->fds[0], values[SIZE].number, limit,
			    reserve);
	if (!error)
		args->fds[0] = -1;
	return error;
}

static int fail_open(const struct option_value *values, int error,
		     struct failure *failure)
{
	const char *folder = keep_folder(values);

	if (error == -EOPNOTSUPP)
		return failure_set(failure, SYMBOL_ARG, error, "keep",
				   "keep: %s is not in a tmpfs", folder);
	if (folder)
		return failure_set(failure, failure_symbol(error), error,
				   "keep",
				   "a RAM disk of %s cannot be kept in %s: %s",
				   values[SIZE].text, folder, strerror(-error));
	return failure_set(failure, SYMBOL_LIMIT, error, "size",
			   "a RAM disk of %s cannot be made: %s",
			   values[SIZE].text, strerror(-error));
}

static __attribute__((cold)) struct target *ram_open(struct target_args *args,
						     struct geometry *geometry,
						     struct failure *failure)
{
	const struct option_value *values = args->values;
	uint64_t size = values[SIZE].number;
	struct ram *ram;
	int error;

	if (target_check_size(size, geometry->block_size, failure) < 0 ||
	    (!args->adopted && !values[OVERCOMMIT].number &&
	     check_room(size, 0, failure) < 0))
		return NULL;
	ram = calloc(1, sizeof(*ram));
	error = ram ? open_store(ram, args) : -ENOMEM;
	if (error) {
		fail_open(values, error, failure);
		free(ram);
		return NULL;
	}
	target_init(&ram->target, &target_ram);
	ram->overcommit = values[OVERCOMMIT].number != 0;
	ram->allowed = ram->store.length;
	geometry->size = size;
	geometry->physical_block_size = STORE_PAGE;
	geometry->discard_granularity = STORE_PAGE;
	geometry->max_discard = CLEAR_MAX;
	geometry->max_write_zeroes = CLEAR_MAX;
	/*
	 * A file of others can be cut short or its file system full: only in
	 * user copy a page that is not to be had is an error. In the other
	 * modes addresses must stay what they are.
	 */
	if (!keep_folder(values) && store_is_whole(&ram->store))
		geometry->modes = modes;
	return &ram->target;
}

static int ram_hold(struct target *target, int *fds)
{
	struct ram *ram = (struct ram *)target;

	fds[0] = ram->store.fd;
	return 1;
}

static int ram_resume(struct target *target)
{
	return store_resume(&((struct ram *)target)->store);
}

/*
 * A shrunk disk's file stays as long as it was, but what was given back may be
 * missed when it grows again: that is asked about like the rest.
 */
static int ram_resize(struct target *target, uint64_t size,
		      struct failure *failure)
{
	struct ram *ram = (struct ram *)target;
	int error;

	if (size > ram->allowed && !ram->overcommit &&
	    check_room(size, ram->store.used, failure) < 0)
		return -1;
	error = store_resize(&ram->store, size, ram->overcommit);
	if (error)
		return failure_set(failure, SYMBOL_LIMIT, error, "size",
				   "the RAM disk cannot have %llu bytes: %s",
				   (unsigned long long)size, strerror(-error));
	if (size > ram->allowed)
		ram->allowed = size;
	return 0;
}

static uint64_t ram_room(const struct target *target)
{
	return store_room(&((const struct ram *)target)->store);
}

static int ram_trim(struct target *target)
{
	struct ram *ram = (struct ram *)target;
	int result = store_trim(&ram->store, CLEAR_MAX);

	if (result <= 0)
		ram->allowed = ram->store.size;
	return result;
}

/* In pieces: what is there from the store, holes from the zero page. */
static int ram_read(struct ram *ram, struct io *io)
{
	uint32_t at = 0;
	int error = 0;

	while (at < io->length && !error) {
		uint64_t offset = io->offset + at;
		int is_there;
		uint64_t run = store_run(&ram->store, offset, io->length - at,
					 &is_there);
		const uint8_t *bytes =
			is_there ? store_at(&ram->store, offset, &run) : NULL;

		if (bytes)
			error = io_put(io, bytes, at, (uint32_t)run);
		else if (is_there)
			error = -ENOMEM;
		else
			error = io_put_zeroes(io, at, (uint32_t)run);
		at += (uint32_t)run;
	}
	return error;
}

/*
 * In user copy the driver makes the pages while it copies. In the other modes
 * they are there before.
 */
static int ram_write(struct ram *ram, struct io *io)
{
	int error = store_grow(&ram->store, io->offset, io->length,
			       io->port->mode != IO_USER_COPY);

	if (!error) {
		error = store_take(&ram->store, io);
		if (error < 0)
			store_review(&ram->store, io->offset, io->length);
	}
	/* -EFAULT: the file system that keeps the store is full. */
	if (error == -ENOMEM || error == -EFAULT)
		return target_refuse_write(&ram->target, ram->store.used);
	return error;
}

/*
 * On its way while the disk shrank. Where the driver has written some of it all
 * the same, that is found here, and goes before the disk can grow again.
 */
static int fail_beyond(struct ram *ram, const struct io *io)
{
	if (io->op == IO_WRITE && io->offset + io->length <= ram->store.length)
		store_review(&ram->store, io->offset, io->length);
	return -EIO;
}

static int ram_serve(struct ram *ram, struct io *io)
{
	if (io->op == IO_FLUSH)
		return 0;
	if (io->offset + io->length > ram->store.size)
		return fail_beyond(ram, io);
	switch (io->op) {
	case IO_READ:
		return ram_read(ram, io);
	case IO_WRITE:
		return ram_write(ram, io);
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		/* IO_KEEP_SPACE as well: no space is promised to anybody here. */
		return store_clear(&ram->store, io->offset, io->length);
	default:
		return 0; /* a flush: memory is as durable as it gets */
	}
}

static void ram_submit(struct backend *backend, struct io *io)
{
	int result = ram_serve((struct ram *)backend, io);

	if (result != IO_LATER)
		io_done(io, result);
}

static void ram_describe(const struct target *target, char *text, size_t size)
{
	const struct ram *ram = (const struct ram *)target;

	snprintf(text, size, " used=%llu", (unsigned long long)ram->store.used);
}

static int ram_release(struct target *target)
{
	return store_release(&((struct ram *)target)->store, CLEAR_MAX);
}

static void ram_close(struct target *target)
{
	struct ram *ram = (struct ram *)target;

	store_close(&ram->store);
	free(ram);
}

const struct target_ops target_ram = {
	.name = "ram",
	.help = "a sparse disk in memory",
	.options = options,
	.open = ram_open,
	.hold = ram_hold,
	.is_private = 1,
	.resume = ram_resume,
	.resize = ram_resize,
	.room = ram_room,
	.trim = ram_trim,
	.io = { .submit = ram_submit },
	.describe = ram_describe,
	.release = ram_release,
	.close = ram_close,
};
