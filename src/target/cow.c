/*
 * cow: a read-only base, which any number of devices share, and a layer of the
 * device's own that has what was written. What it is made of, and the options; its
 * I/O is in cow-io.c, and what becomes of the layer in cow-load.c.
 */
#include "cow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/syntax.h"
#include "io/pool.h"

enum { BASE, PATH, CLUSTER, COMMIT, CREATE, FILL, LOCK, REBASE };

static const char *const fill_names[] = { "write", "read", NULL };

static const struct option options[] = {
	[BASE] = { .name = "base",
		   .type = OPTION_SOURCE,
		   .required = 1,
		   .help = "what is only read, and what nobody may change: a "
			   "file or disk, or the export of an NBD server" },
	[PATH] = { .name = "path",
		   .type = OPTION_PATH,
		   .required = 1,
		   .help = "the layer: a file that has what is written" },
	[CLUSTER] = { .name = "cluster",
		      .type = OPTION_SIZE,
		      .min = COW_CLUSTER_MIN,
		      .max = COW_CLUSTER_MAX,
		      .help = "bytes that the layer takes at a time, a power "
			      "of 2 (default: 64K, or what the layer has)" },
	[COMMIT] = { .name = "commit",
		     .type = OPTION_FLAG,
		     .fallback = "no",
		     .help = "write what the layer has to the base first, "
			     "which nobody else may have then" },
	[CREATE] = { .name = "create",
		     .type = OPTION_FLAG,
		     .fallback = "yes",
		     .help = "make the layer if there is none" },
	[FILL] = { .name = "fill",
		   .type = OPTION_CHOICE,
		   .choices = fill_names,
		   .fallback = "write",
		   .help = "what goes to the layer: what is written, or what "
			   "is read of the base as well" },
	[LOCK] = { .name = "lock",
		   .type = OPTION_FLAG,
		   .fallback = "yes",
		   .help = "keep others that ask for it from using the layer, "
			   "or writing to the base" },
	[REBASE] = { .name = "rebase",
		     .type = OPTION_FLAG,
		     .fallback = "no",
		     .help = "take a base that is another one than the layer "
			     "knows, of the same size" },
	{ .name = NULL },
};

#define PUNCH_CLUSTERS 2048u /* what one request may give back */

enum { LAYER_FILE, BASE_FILE, FILES };

/* ---- open ---- */

static int cow_opens(const struct target_args *args, struct opener_wish *wishes,
		     struct failure *failure)
{
	const struct option_value *values = args->values;
	int flags = O_CLOEXEC | O_NOCTTY;

	if (values[CLUSTER].number & (values[CLUSTER].number - 1))
		return failure_set(failure, SYMBOL_RANGE, 0, "cluster",
				   "cluster=%s is no power of 2",
				   values[CLUSTER].text);
	if (values[FILL].number && args->read_only)
		return failure_set(failure, SYMBOL_ARG, 0, "fill",
				   "fill=read: with ro=yes nothing is written "
				   "to the layer");
	if (values[COMMIT].number &&
	    (args->read_only || cow_is_uri(values[BASE].text)))
		return failure_set(failure, SYMBOL_ARG, 0, "commit",
				   "commit=yes: %s",
				   args->read_only
					   ? "with ro=yes nothing is written"
					   : "a server's export is only read");
	wishes[LAYER_FILE] = (struct opener_wish){
		.path = values[PATH].text,
		.option = "path",
		.flags = flags | (args->read_only ? O_RDONLY : O_RDWR),
		.create = values[CREATE].number && !args->read_only,
		.length = COW_DATA_AT,
	};
	if (values[LOCK].number)
		wishes[LAYER_FILE].lock = args->read_only ? 'r' : 'w';
	wishes[BASE_FILE] = (struct opener_wish){ .path = NULL };
	if (cow_is_uri(values[BASE].text))
		return cow_base_wish(values[BASE].text, &wishes[BASE_FILE],
				     failure) < 0
			       ? -1
			       : FILES;
	wishes[BASE_FILE] = (struct opener_wish){
		.path = values[BASE].text,
		.option = "base",
		.flags = flags | (values[COMMIT].number ? O_RDWR : O_RDONLY),
	};
	if (values[LOCK].number)
		wishes[BASE_FILE].lock = values[COMMIT].number ? 'w' : 'r';
	return FILES;
}

/* Returns 0, or -1 with *failure filled. */
static int join(struct cow *cow, struct file *file,
		const struct target_args *args, int which,
		struct geometry *geometry, struct failure *failure)
{
	struct target_args own = *args;

	*file = (struct file){ .fd = args->fds[which],
			       .slot = RING_FILE + (unsigned)which,
			       .option = which == BASE_FILE ? "base" : "path",
			       .loop = args->loop,
			       .ask = cow_ask };
	file->target.owner = cow;
	file->target.ended = cow_ended;
	file->read_only = args->read_only || which == BASE_FILE;
	file->base = which == BASE_FILE ? 0 : COW_DATA_AT;
	file->path =
		strdup(args->values[which == BASE_FILE ? BASE : PATH].text);
	if (!file->path)
		return failure_no_memory(failure);
	/* Of those that are open the last one is not locked. */
	if (which != args->fd_count - 1)
		own.lock = 0;
	if (file_join(file, &own, geometry, failure) == 0) {
		args->fds[which] = -1;
		return 0;
	}
	free(file->path);
	file->path = NULL;
	return -1;
}

static int check_layer(const struct cow *cow, struct failure *failure)
{
	const struct backing *layer = &cow->layer.backing;

	if (layer->kind == BACKING_DISK)
		return failure_set(failure, SYMBOL_ARG, EINVAL, "path",
				   "%.200s is a disk: a layer is a file",
				   cow->layer.path);
	if (cow->base.path && layer->device == cow->base.backing.device &&
	    layer->inode == cow->base.backing.inode)
		return failure_set(failure, SYMBOL_ARG, EINVAL, "base",
				   "the base %.200s is the layer itself",
				   cow->base.path);
	return 0;
}

/* Each has the blocks of that which needs the larger ones. */
static int join_both(struct cow *cow, const struct target_args *args,
		     struct geometry *geometry, struct failure *failure)
{
	struct geometry wanted = *geometry;

	if (join(cow, &cow->layer, args, LAYER_FILE, geometry, failure) < 0)
		return -1;
	if (args->fd_count < FILES && !cow->uri)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "its base is gone");
	if ((cow->uri ? cow_base_open(cow, args, &wanted, failure)
		      : join(cow, &cow->base, args, BASE_FILE, &wanted,
			     failure)) < 0 ||
	    check_layer(cow, failure) < 0)
		return -1;
	if (wanted.block_size > geometry->block_size)
		geometry->block_size = wanted.block_size;
	if (cow->uri || cow->base.backing.size >= geometry->block_size)
		return 0;
	return failure_set(failure, SYMBOL_RANGE, 0, "base",
			   "the base %.200s has no block of %u bytes",
			   cow->base.path, geometry->block_size);
}

static const enum io_mode modes[] = { IO_ZERO_COPY, IO_USER_COPY, IO_COPY,
				      IO_NEED_GET_DATA, IO_MODES };

/* As the target nbd has them. */
static const enum io_mode server_modes[] = { IO_COPY, IO_USER_COPY, IO_MODES };

static void set_geometry(const struct cow *cow, struct geometry *geometry)
{
	geometry->size = cow->size;
	geometry->physical_block_size = 4096;
	geometry->volatile_cache = 1;
	geometry->modes = cow->uri ? server_modes : modes;
	if (!cow->shift)
		return;
	geometry->chunk = cow_cluster(cow);
	if (cow->read_only)
		return;
	geometry->discard_granularity = cow_cluster(cow);
	geometry->max_discard = geometry->max_write_zeroes =
		PUNCH_CLUSTERS * cow_cluster(cow);
}

static void free_cow(struct cow *cow)
{
	cow_base_close(cow);
	if (cow->layer.path)
		file_leave(&cow->layer);
	cow_map_close(&cow->map);
	free(cow->commit.buffer);
	pool_unreserve(cow->reserve, POOL_RESERVE);
	free(cow);
}

/* A disk cannot be locked, so other layers on it would not be seen. */
static int check_commit(const struct cow *cow, struct failure *failure)
{
	if (!cow->commits || !backing_is_disk(cow->base.fd))
		return 0;
	return failure_set(failure, SYMBOL_UNSUPPORTED, 0, "commit",
			   "commit=yes: %.200s is a disk, of which nobody can "
			   "tell whether another layer is on it; copy the "
			   "device's data there",
			   cow->base.path);
}

static struct target *cow_open(struct target_args *args,
			       struct geometry *geometry,
			       struct failure *failure)
{
	struct cow *cow = calloc(1, sizeof(*cow));
	int is_whole;

	if (!cow) {
		failure_no_memory(failure);
		return NULL;
	}
	target_init(&cow->target, &target_cow);
	cow->base.fd = cow->layer.fd = -1;
	cow->read_only = args->read_only;
	cow->adopted = args->adopted;
	cow->size = args->size;
	cow->wanted = (uint32_t)args->values[CLUSTER].number;
	cow->takes_base = args->values[REBASE].number != 0;
	cow->fills = args->values[FILL].number != 0;
	cow->commits = args->values[COMMIT].number != 0;
	cow->reserve = pool_reserve(POOL_RESERVE, POOL_RESERVE);
	if (cow_is_uri(args->values[BASE].text))
		cow->uri = strdup(args->values[BASE].text);
	is_whole = cow->reserve &&
		   (cow->uri || !cow_is_uri(args->values[BASE].text));
	if (!is_whole)
		failure_no_memory(failure);
	if (!is_whole || join_both(cow, args, geometry, failure) < 0 ||
	    check_commit(cow, failure) < 0) {
		if (cow->layer.path)
			args->fds[LAYER_FILE] = cow->layer.fd;
		if (cow->base.path)
			args->fds[BASE_FILE] = cow->base.fd;
		free_cow(cow);
		return NULL;
	}
	cow->block_size = geometry->block_size;
	set_geometry(cow, geometry);
	return &cow->target;
}

static int fail_load(const struct cow *cow, int error, struct failure *failure)
{
	if (cow->wrong)
		return failure_set(failure, SYMBOL_ARG, EINVAL, cow->option,
				   "the layer %.200s %s", cow->layer.path,
				   cow->wrong);
	if (cow->commit.step != COMMIT_NOT)
		return failure_set(
			failure, failure_symbol(error), error, "commit",
			"what the layer %.200s has cannot be "
			"written to %.200s: %s; nothing is lost, and "
			"commit=yes goes on with it",
			cow->layer.path, cow->base.path, strerror(-error));
	return failure_set(failure, failure_symbol(error), error, "path",
			   "the layer %.200s cannot be %s: %s", cow->layer.path,
			   cow->is_loaded ? "written" : "read",
			   strerror(-error));
}

static int cow_prepare(struct target *target, struct geometry *geometry,
		       int32_t result, struct ring_transfer *transfer,
		       struct failure *failure)
{
	struct cow *cow = (struct cow *)target;
	int state = 0;

	if (cow->commit.step == COMMIT_NOT) {
		state = cow_load(cow, result, transfer);
		transfer->fd = cow->layer.fd;
		result = 0;
	}
	if (state == 0 && cow->commits)
		state = cow_commit(cow, result, transfer);
	if (state < 0) {
		fail_load(cow, state, failure);
		return state;
	}
	if (state == 0) {
		set_geometry(cow, geometry);
		geometry->unserved =
			(uint32_t)(cow->header.base.file.size - cow->size);
	}
	return state;
}

/* ---- the rest ---- */

/* All that was written is durable, whether or not anybody has asked for that. */
static int cow_finish(struct target *target, int32_t result,
		      struct ring_transfer *transfer)
{
	struct cow *cow = (struct cow *)target;
	int state;

	if (cow->read_only)
		return 0;
	transfer->fd = cow->layer.fd;
	if (!cow->is_loaded) {
		state = cow_load(cow, result, transfer);
		if (state)
			return state;
		result = 0;
	}
	return cow_sync(cow, result, transfer);
}

static int cow_hold(struct target *target, int *fds)
{
	const struct cow *cow = (const struct cow *)target;

	fds[LAYER_FILE] = cow->layer.fd;
	if (!cow->uri)
		fds[BASE_FILE] = cow->base.fd;
	return cow->layer.fd < 0 ? 0 : cow->uri ? 1 : FILES;
}

static int cow_start(struct backend *backend, struct io_port *port)
{
	struct cow *cow = (struct cow *)backend;
	int error = file_start_ring(&cow->layer, port->ring);

	return error ? error : cow_base_start(cow, port);
}

static void cow_stop(struct backend *backend, struct io_port *port)
{
	cow_base_stop((struct cow *)backend, port);
}

static unsigned cow_in_workers(const struct target *target)
{
	const struct cow *cow = (const struct cow *)target;

	return file_waiting(&cow->layer) + cow_base_waiting(cow);
}

static void cow_continue(struct target *target)
{
	cow_go_on((struct cow *)target);
}

static int cow_backing(const struct target *target,
		       struct target_backing *backing)
{
	const struct cow *cow = (const struct cow *)target;

	backing->path = cow->layer.path;
	backing->device = cow->layer.backing.device;
	backing->is_file = 1;
	return 1;
}

static void cow_describe(const struct target *target, char *text, size_t size)
{
	const struct cow *cow = (const struct cow *)target;
	char path[OPTION_PATH_MAX * 4 + 3], base[OPTION_PATH_MAX * 4 + 3];
	const struct cow_base *known = &cow->header.base;
	int at;

	syntax_quote(path, sizeof(path), cow->layer.path);
	syntax_quote(base, sizeof(base), cow->uri ? cow->uri : cow->base.path);
	at = snprintf(text, size,
		      " path=%s base=%s base-known-by=size%s%s%s cluster=%u "
		      "used=%llu waiting=%u flush-errors=%llu",
		      path, base, known->file.modified ? "+mtime" : "",
		      known->file.generation ? "+generation" : "",
		      known->is_export ? "+name" : "",
		      cow->shift ? cow_cluster(cow) : 0,
		      (unsigned long long)backing_used(cow->layer.fd),
		      cow_in_workers(target),
		      (unsigned long long)cow->target.tally);
	if (cow->server && (size_t)at < size)
		cow->server->ops->describe(cow->server, text + at,
					   size - (size_t)at);
}

static int cow_give_up(struct target *target, int *fds)
{
	struct cow *cow = (struct cow *)target;
	int count = cow_hold(target, fds);

	cow->layer.fd = cow->base.fd = -1;
	return count;
}

static void cow_close(struct target *target)
{
	free_cow((struct cow *)target);
}

const struct target_ops target_cow = {
	.name = "cow",
	.help = "a file, disk or export that is only read, and a file with "
		"what was written",
	.options = options,
	.opens = cow_opens,
	.open = cow_open,
	.picks_block_size = 1,
	.prepare = cow_prepare,
	.finish = cow_finish,
	.hold = cow_hold,
	.io = { .submit = cow_submit,
		.forget = cow_forget,
		.completed = cow_completed,
		.expire = cow_expire,
		.copied = cow_copied,
		.start = cow_start,
		.stop = cow_stop },
	.in_workers = cow_in_workers,
	.go_on = cow_continue,
	.backing = cow_backing,
	.describe = cow_describe,
	.give_up = cow_give_up,
	.close = cow_close,
};
