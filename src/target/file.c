/*
 * file: a regular file or a disk. What it is made of, and the options; its I/O
 * is in file-io.c and, for files whose pages are memory, in file-memory.c.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/pool.h"
#include "base/syntax.h"

enum { PATH, SIZE, OFFSET, CREATE, DIRECT, LOCK, DISCARD };

/* In the order of direct's choices. */
enum { DIRECT_AUTO, DIRECT_YES, DIRECT_NO };
static const char *const direct_names[] = { "auto", "yes", "no", NULL };

static const struct option options[] = {
	[PATH] = { .name = "path",
		   .type = OPTION_PATH,
		   .required = 1,
		   .help = "the file, or the disk" },
	[SIZE] = { .name = "size",
		   .type = OPTION_SIZE,
		   .min = 512,
		   .max = OPTION_SIZE_MAX,
		   .help = "size of the device in bytes (default: all there "
			   "is from the offset on)" },
	[OFFSET] = { .name = "offset",
		     .type = OPTION_SIZE,
		     .max = OPTION_SIZE_MAX,
		     .fallback = "0",
		     .help = "where in the file the device begins" },
	[CREATE] = { .name = "create",
		     .type = OPTION_FLAG,
		     .fallback = "no",
		     .help = "make a sparse file of that size if there is "
			     "none" },
	[DIRECT] = { .name = "direct",
		     .type = OPTION_CHOICE,
		     .choices = direct_names,
		     .fallback = "auto",
		     .help = "past the page cache, or through it; auto: disks "
			     "directly, files through it" },
	[LOCK] = { .name = "lock",
		   .type = OPTION_FLAG,
		   .fallback = "yes",
		   .help = "keep others that ask for it from writing to it" },
	[DISCARD] = { .name = "discard",
		      .type = OPTION_FLAG,
		      .fallback = "yes",
		      .help = "give space back that is discarded or zeroed" },
	{ .name = NULL },
};

/* What one request may give back, in bytes. */
#define PUNCH_MAX	 (256U << 20)
#define PUNCH_MEMORY_MAX (8U << 20) /* takes the one thread's time */

#define PAGE 4096u

/* All that are open, to say who has one. */
static struct file *open_files;

int file_is_memory(const struct file *file)
{
	return file->backing.kind == BACKING_MEMORY ||
	       file->backing.kind == BACKING_HUGE;
}

/* ---- open ---- */

static int file_opens(const struct target_args *args, struct opener_wish *wish,
		      struct failure *failure)
{
	const struct option_value *values = args->values;
	int create = values[CREATE].number != 0;

	if (create && (!values[SIZE].given || args->read_only))
		return failure_set(failure, SYMBOL_ARG, 0, "create",
				   args->read_only
					   ? "create=yes: a new file could "
					     "never be written to with ro=yes"
					   : "create=yes needs size=");
	wish->path = values[PATH].text;
	wish->option = "path";
	wish->flags = O_CLOEXEC | O_NOCTTY |
		      (args->read_only ? O_RDONLY : O_RDWR);
	/* Of disks alone: nobody else may want it for himself. */
	if (values[LOCK].number) {
		wish->flags |= O_EXCL;
		wish->lock = args->read_only ? 'r' : 'w';
	}
	wish->create = create;
	wish->length = values[OFFSET].number + values[SIZE].number;
	return 1;
}

static const struct file *find_open(const struct file *file)
{
	const struct file *other;

	for (other = open_files; other; other = other->next)
		if (other->backing.device == file->backing.device &&
		    other->backing.inode == file->backing.inode)
			return other;
	return NULL;
}

/* Whoever has opened it has locked it as well, if it could. */
static int check_lock(const struct file *file, const struct target_args *args,
		      struct failure *failure)
{
	const char *who = args->who;
	int error = args->lock;

	if (!error)
		return 0;
	if (error == -EBUSY && find_open(file))
		who = "another device serves it";
	return failure_set(failure, failure_symbol(error), error, file->option,
			   "%.200s cannot be locked: %s; lock=no does without",
			   file->path,
			   error == -EBUSY	 ? who
			   : error == -ETIMEDOUT ? "its file server does not "
						   "answer"
						 : strerror(-error));
}

static int check_own(const struct file *file, const struct target_args *args,
		     struct failure *failure)
{
	int64_t id = -1;

	if (args->is_own)
		id = backing_find_own(&file->backing, args->is_own,
				      args->context);
	if (id < 0)
		return 0;
	return failure_set(failure, SYMBOL_ARG, ELOOP, file->option,
			   "%.200s lies on /dev/ublkb%lld, which this ublkd "
			   "serves: it would wait for itself",
			   file->path, (long long)id);
}

static int look_at_file(struct file *file, const struct target_args *args,
			struct failure *failure)
{
	int error = backing_look(&file->backing, file->fd);

	if (error == -ENOTBLK)
		return failure_set(failure, SYMBOL_ARG, EINVAL, file->option,
				   "%.200s is no regular file and no disk",
				   file->path);
	if (error)
		return failure_set(failure, failure_symbol(error), error,
				   file->option, "cannot look at %.200s: %s",
				   file->path, strerror(-error));
	if (check_own(file, args, failure) < 0)
		return -1;
	return check_lock(file, args, failure);
}

static int fail_direct(const struct file *file, struct failure *failure)
{
	return failure_set(failure, SYMBOL_UNSUPPORTED, EINVAL, "direct",
			   "direct=yes: there is no direct I/O on %.200s",
			   file->path);
}

/* Disks are not cached twice by default. */
static int set_direct(struct file *file, uint64_t choice,
		      struct failure *failure)
{
	uint32_t unit = file->backing.direct;
	int flags = fcntl(file->fd, F_GETFL);
	int wanted = choice == DIRECT_YES ||
		     (choice == DIRECT_AUTO &&
		      file->backing.kind == BACKING_DISK && unit <= PAGE);

	if (wanted && (unit == 0 || unit > PAGE || file_is_memory(file)))
		return fail_direct(file, failure);
	flags = wanted ? flags | O_DIRECT : flags & ~O_DIRECT;
	/* Without the time of each read, which only its owner may ask for. */
	if (fcntl(file->fd, F_SETFL, flags | O_NOATIME) < 0 &&
	    fcntl(file->fd, F_SETFL, flags) < 0)
		return fail_direct(file, failure);
	file->direct = wanted;
	if (wanted)
		file->backing.locks_reads = 0; /* none waits for pages */
	return 0;
}

/* The smallest block that the device can have. */
static int set_block_size(const struct file *file, struct geometry *geometry,
			  struct failure *failure)
{
	uint32_t least = file->backing.least;

	if (file->direct && file->backing.direct > least)
		least = file->backing.direct;
	if (geometry->block_size == 0)
		geometry->block_size = least;
	if (geometry->block_size >= least)
		return 0;
	return failure_set(failure, SYMBOL_ARG, EINVAL, "block-size",
			   "block-size=%u: %.200s cannot be %s in less than "
			   "%u bytes",
			   geometry->block_size, file->path,
			   file->direct ? "accessed directly" : "accessed",
			   least);
}

static int check_offset(const struct file *file, uint32_t block_size,
			const struct option_value *offset,
			struct failure *failure)
{
	uint32_t unit = file_is_memory(file) ? PAGE : block_size;

	if (offset->number % unit)
		return failure_set(failure, SYMBOL_RANGE, 0, "offset",
				   "offset=%s is not a multiple of %u",
				   offset->text, unit);
	if (offset->number >= file->backing.size)
		return failure_set(failure, SYMBOL_RANGE, 0, "offset",
				   "offset=%s: %.200s has only %llu bytes",
				   offset->text, file->path,
				   (unsigned long long)file->backing.size);
	return 0;
}

/* All of the file, or the part that was asked for. */
static int set_place(struct file *file, const struct target_args *args,
		     struct geometry *geometry, struct failure *failure)
{
	const struct option_value *values = args->values;
	uint32_t block_size = geometry->block_size;
	uint64_t there;

	/* A file that was cut short is no reason to let the device go. */
	if (args->adopted && args->size) {
		file->base = values[OFFSET].number;
		file->size = args->size;
		return 0;
	}
	if (check_offset(file, block_size, &values[OFFSET], failure) < 0)
		return -1;
	file->base = values[OFFSET].number;
	there = file->backing.size - file->base;
	if (values[SIZE].given) {
		file->size = values[SIZE].number;
	} else {
		geometry->unserved = (uint32_t)(there % block_size);
		file->size = there - geometry->unserved;
	}
	if (file->size > there)
		return failure_set(failure, SYMBOL_RANGE, 0, "size",
				   "size=%s: %.200s has only %llu bytes "
				   "from there on",
				   values[SIZE].text, file->path,
				   (unsigned long long)there);
	return target_check_size(file->size, block_size, failure);
}

/*
 * What is in memory of others is copied where a page may be missing. The last
 * one takes most memory, and a second command of a write.
 */
static const enum io_mode modes[] = { IO_ZERO_COPY, IO_USER_COPY, IO_COPY,
				      IO_NEED_GET_DATA, IO_MODES };

/*
 * In need-get-data a request has one buffer for all of its bytes; also when
 * there is none but the device's own.
 */
static int check_mode(const struct target_args *args, struct failure *failure)
{
	if (args->mode == IO_NEED_GET_DATA && args->max_io > POOL_PIECE)
		return failure_set(failure, SYMBOL_RANGE, EINVAL, "max-io",
				   "max-io=%u: with mode=need-get-data a file "
				   "or disk takes at most %u bytes at a time",
				   args->max_io, POOL_PIECE);
	return 0;
}

static int check_file_mode(const struct file *file,
			   const struct target_args *args,
			   struct failure *failure)
{
	if (file_is_memory(file) && args->mode != IO_MODES &&
	    args->mode != IO_USER_COPY)
		return failure_set(
			failure, SYMBOL_ARG, EINVAL, "mode",
			"mode=%s: %.200s lies in memory, where pages that are "
			"not to be had are an error in user-copy only",
			io_mode_name(args->mode), file->path);
	return check_mode(args, failure);
}

static void set_geometry(const struct file *file,
			 const struct target_args *args,
			 struct geometry *geometry)
{
	const struct backing *backing = &file->backing;
	int memory = file_is_memory(file);

	geometry->size = file->size;
	geometry->physical_block_size = backing->unit <= PAGE ? backing->unit
							      : PAGE;
	geometry->volatile_cache = !memory;
	geometry->modes = memory ? NULL : modes;
	if (!args->values[DISCARD].number || args->read_only ||
	    (!memory && !backing->can_punch))
		return;
	geometry->discard_granularity = backing->unit > geometry->block_size
						? backing->unit
						: geometry->block_size;
	geometry->max_discard = memory ? PUNCH_MEMORY_MAX : PUNCH_MAX;
	/* Of huge pages, none can be zeroed and kept. */
	if (backing->kind != BACKING_HUGE)
		geometry->max_write_zeroes = geometry->max_discard;
}

static uint32_t page_size(const struct file *file)
{
	return file->backing.kind == BACKING_HUGE ? file->backing.unit
						  : STORE_PAGE;
}

static int reserve(struct file *file, const struct target_args *args)
{
	file->reserve_size = POOL_RESERVE;
	if (args->mode == IO_NEED_GET_DATA && args->max_io > POOL_RESERVE)
		file->reserve_size = args->max_io;
	file->reserve = pool_reserve(file->reserve_size, file->reserve_size);
	return file->reserve ? 0 : -ENOMEM;
}

static int prepare_file(struct file *file, const struct target_args *args,
			struct failure *failure)
{
	int error;

	if (file_is_memory(file))
		error = store_open_shared(&file->store, file->fd,
					  file->read_only, file->base,
					  file->size, page_size(file));
	else
		error = reserve(file, args);
	if (!error)
		return 0;
	return failure_set(failure, failure_symbol(error), error, NULL,
			   "%.200s cannot be served: %s", file->path,
			   strerror(-error));
}

static int set_up(struct file *file, const struct target_args *args,
		  struct geometry *geometry, struct failure *failure)
{
	if (look_at_file(file, args, failure) < 0 ||
	    check_file_mode(file, args, failure) < 0 ||
	    set_direct(file, args->values[DIRECT].number, failure) < 0 ||
	    set_block_size(file, geometry, failure) < 0 ||
	    set_place(file, args, geometry, failure) < 0 ||
	    prepare_file(file, args, failure) < 0)
		return -1;
	set_geometry(file, args, geometry);
	return 0;
}

static struct file *new_file(const struct target_args *args,
			     struct failure *failure)
{
	struct file *file = calloc(1, sizeof(*file));

	if (file)
		file->path = strdup(args->values[PATH].text);
	if (!file || !file->path || args->fd_count != 1) {
		failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
			    args->fd_count == 1 ? "out of memory"
						: "its file is gone");
		if (file)
			free(file->path);
		free(file);
		return NULL;
	}
	target_init(&file->target, &target_file);
	file->fd = args->fds[0];
	file->slot = RING_FILE;
	file->option = "path";
	file->read_only = args->read_only;
	file->loop = args->loop;
	file->store.fd = -1;
	return file;
}

static void enlist(struct file *file)
{
	file->next = open_files;
	open_files = file;
	workers_expect(NULL, WORKERS_OWN);
}

static struct target *file_open(struct target_args *args,
				struct geometry *geometry,
				struct failure *failure)
{
	struct file *file = new_file(args, failure);

	if (!file || set_up(file, args, geometry, failure) < 0) {
		if (file) {
			free(file->path);
			free(file);
		}
		return NULL;
	}
	args->fds[0] = -1;
	enlist(file);
	return &file->target;
}

int file_join(struct file *file, const struct target_args *args,
	      struct geometry *geometry, struct failure *failure)
{
	int error;

	file->store.fd = -1;
	if (look_at_file(file, args, failure) < 0 ||
	    check_mode(args, failure) < 0 ||
	    set_direct(file, DIRECT_NO, failure) < 0 ||
	    set_block_size(file, geometry, failure) < 0)
		return -1;
	error = reserve(file, args);
	if (error)
		return failure_no_memory(failure);
	enlist(file);
	return 0;
}

/* ---- the rest ---- */

static int file_hold(struct target *target, int *fds)
{
	fds[0] = ((struct file *)target)->fd;
	return fds[0] >= 0;
}

int file_start_ring(struct file *file, struct ring *ring)
{
	int error = ring_set_file(ring, file->slot, file->fd);

	return error ? error : workers_expect(ring, 0);
}

static int file_start(struct backend *backend, struct io_port *port)
{
	struct file *file = (struct file *)backend;

	return file_is_memory(file) ? 0 : file_start_ring(file, port->ring);
}

/* On its way while the device shrank; a flush has no place. */
static int is_beyond(const struct file *file, const struct io *io)
{
	return io->op != IO_FLUSH && io->offset + io->length > file->size;
}

static void file_submit(struct backend *backend, struct io *io)
{
	struct file *file = (struct file *)backend;

	if (!io_is_again(io) && is_beyond(file, io))
		io_done(io, -EIO);
	else if (file_is_memory(file))
		io_done(io, file_serve_memory(file, io));
	else
		file_transfer(file, io);
}

unsigned file_waiting(const struct file *file)
{
	unsigned kind, count = 0;

	for (kind = 0; kind < WORKERS_KINDS; kind++)
		count += file->share.has[kind];
	return count;
}

static unsigned file_in_workers(const struct target *target)
{
	const struct file *file = (const struct file *)target;

	return file_waiting(file) + (file->growth != NULL);
}

static void file_continue(struct target *target)
{
	struct file *file = (struct file *)target;

	if (!file_is_memory(file))
		file_go_on(file);
}

static int file_backing(const struct target *target,
			struct target_backing *backing)
{
	const struct file *file = (const struct file *)target;

	backing->path = file->path;
	backing->device = file->backing.device;
	backing->is_file = file->backing.kind != BACKING_DISK;
	return 1;
}

static void file_describe(const struct target *target, char *text, size_t size)
{
	static const char *const kinds[] = {
		[BACKING_FILE] = "file",
		[BACKING_DISK] = "disk",
		[BACKING_MEMORY] = "memory",
		[BACKING_HUGE] = "huge-pages",
	};
	const struct file *file = (const struct file *)target;
	char path[OPTION_PATH_MAX * 4 + 3];
	int at;

	syntax_quote(path, sizeof(path), file->path);
	at = snprintf(text, size, " path=%s backing=%s direct=%s", path,
		      kinds[file->backing.kind], file->direct ? "yes" : "no");
	if (file->backing.kind != BACKING_DISK && (size_t)at < size)
		at += snprintf(text + at, size - (size_t)at, " used=%llu",
			       (unsigned long long)backing_used(file->fd));
	if ((size_t)at < size)
		snprintf(text + at, size - (size_t)at,
			 " waiting=%u flush-errors=%llu", file_waiting(file),
			 (unsigned long long)file_tally(file).flush_errors);
}

static int file_give_up(struct target *target, int *fds)
{
	struct file *file = (struct file *)target;
	int count = file_hold(target, fds);

	store_close(&file->store); /* a mapping holds a file as well */
	file->fd = -1;
	return count;
}

void file_leave(struct file *file)
{
	struct file **at = &open_files;

	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	opener_forget(file->growth);
	workers_expect(NULL, -(int)WORKERS_OWN);
	pool_unreserve(file->reserve, file->reserve_size);
	free(file->path);
}

static void file_close(struct target *target)
{
	file_leave((struct file *)target);
	free(target);
}

const struct target_ops target_file = {
	.name = "file",
	.help = "a file or a disk",
	.options = options,
	.opens = file_opens,
	.open = file_open,
	.picks_block_size = 1,
	.hold = file_hold,
	.resize = file_resize,
	.measure = file_measure,
	.io = { .submit = file_submit,
		.forget = file_forget,
		.completed = file_completed,
		.expire = file_expire,
		.copied = file_copied,
		.start = file_start },
	.in_workers = file_in_workers,
	.go_on = file_continue,
	.backing = file_backing,
	.describe = file_describe,
	.give_up = file_give_up,
	.close = file_close,
};
