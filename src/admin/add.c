/* add: read the options of a new device, and see it live. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/ask.h"
#include "target/backing.h"
#include "command.h"
#include "layer/layer-options.h"
#include "base/log.h"
#include "device/lost.h"
#include "verbs.h"
#include "base/words.h"

enum {
	ID,
	NAME,
	QUEUES,
	DEPTH,
	MAX_IO,
	BLOCK_SIZE,
	RO,
	RECOVERY,
	PARTSCAN,
	MODE,
	BATCH,
	LAYERS,
};

/* In the order of enum recovery. */
static const char *const recovery_names[] = { "reissue", "queue", "fail", "no",
					      NULL };

static const char *const block_size_names[] = { "auto", NULL };

/* "auto", and the others in the order of enum io_mode. */
enum { MODE_AUTO, MODE_FIRST };
static const char *const mode_names[] = { "auto",      "user-copy",
					  "zero-copy", "need-get-data",
					  "copy",      NULL };

const struct option verb_add_options[] = {
	[ID] = { .name = "id",
		 .type = OPTION_NUMBER,
		 .max = UBLK_MAX_DEVICES - 1,
		 .help = "number of the device: /dev/ublkbN (default: the "
			 "first that is free)" },
	[NAME] = { .name = "name",
		   .type = OPTION_NAME,
		   .help = "a name of your own for it (default: ublkbN)" },
	[QUEUES] = { .name = "queues",
		     .type = OPTION_NUMBER,
		     .min = 1,
		     .max = UBLK_MAX_QUEUES,
		     .help = "hardware queues; the driver gives at most one a "
			     "CPU (default: 2, or the CPUs if fewer)" },
	[DEPTH] = { .name = "depth",
		    .type = OPTION_NUMBER,
		    .fallback = "128",
		    .min = 1,
		    .max = UBLK_MAX_QUEUE_DEPTH,
		    .help = "requests in flight in each queue" },
	[MAX_IO] = { .name = "max-io",
		     .type = OPTION_SIZE,
		     .fallback = "512K",
		     .min = 4096,
		     .max = UBLK_MAX_IO_BYTES,
		     .help = "largest request, a multiple of 4K" },
	[BLOCK_SIZE] = { .name = "block-size",
			 .type = OPTION_SIZE,
			 .choices = block_size_names,
			 .fallback = "auto",
			 .min = 512,
			 .max = 4096,
			 .help = "logical block size: 512, 1K, 2K or 4K; auto: "
				 "512, or the least that direct I/O can do" },
	[RO] = { .name = "ro",
		 .type = OPTION_FLAG,
		 .fallback = "no",
		 .help = "read-only" },
	[RECOVERY] = { .name = "recovery",
		       .type = OPTION_CHOICE,
		       .fallback = "reissue",
		       .choices = recovery_names,
		       .help = "when the server dies: requests in flight are "
			       "served by the next one, or fail while new ones "
			       "wait, or all fail until then, or the device is "
			       "deleted" },
	[PARTSCAN] = { .name = "partscan",
		       .type = OPTION_FLAG,
		       .fallback = "yes",
		       .help = "let the kernel look for partitions by itself; "
			       "no needs the feature no-partscan" },
	[MODE] = { .name = "mode",
		   .type = OPTION_CHOICE,
		   .fallback = "auto",
		   .choices = mode_names,
		   .help = "how data moves between kernel and server; auto is "
			   "the target's best that the driver has" },
	[BATCH] = { .name = "batch",
		    .type = OPTION_FLAG,
		    .fallback = "no",
		    .help = "let one command bring or end many requests: better "
			    "for many at a time, worse for one; needs the "
			    "feature batch" },
	LAYER_OPTION_TABLE(LAYERS),
	{ .name = NULL },
};

struct add_values {
	struct option_value common[OPTION_MAX];
	struct option_value target[OPTION_MAX];
};

/* One key=value of an add: an option of all targets, or of this one. */
static int read_pair(const struct target_ops *target, const char *word,
		     struct add_values *values, struct failure *failure)
{
	struct hint hint;
	char topic[64];
	const char *value;
	size_t length;
	int i;

	value = syntax_value(word, &length);
	if (!value)
		return failure_set(failure, SYMBOL_ARG, 0, word,
				   "add takes one target and then key=value "
				   "options; 'help add %s' lists them",
				   target->name);
	i = option_find(verb_add_options, word, length);
	if (i >= 0)
		return option_read(&verb_add_options[i], &values->common[i],
				   value, failure);
	i = option_find(target->options, word, length);
	if (i >= 0)
		return option_read(&target->options[i], &values->target[i],
				   value, failure);
	hint_begin(&hint, word, length);
	option_offer(target->options, &hint);
	option_offer(verb_add_options, &hint);
	snprintf(topic, sizeof(topic), "add %s", target->name);
	return option_fail_unknown(target->name, topic, &hint, failure);
}

static int read_pairs(const struct syntax_line *line,
		      const struct target_ops *target,
		      struct add_values *values, struct failure *failure)
{
	int i;

	option_defaults(verb_add_options, values->common);
	option_defaults(target->options, values->target);
	for (i = 2; i < line->count; i++)
		if (read_pair(target, line->words[i], values, failure) < 0)
			return -1;
	return option_check_required(target->options, values->target, failure);
}

/* Numbers and ublkbN name devices already: such a name would be ambiguous. */
static int is_reserved(const char *name)
{
	if (strncmp(name, "ublkb", 5) == 0)
		name += 5;
	return name[0] && name[strspn(name, "0123456789")] == '\0';
}

static uint16_t default_queues(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1;
}

static int set_spec(const struct option_value *common, struct device_spec *spec,
		    struct failure *failure)
{
	uint64_t block = common[BLOCK_SIZE].number;

	memset(spec, 0, sizeof(*spec));
	/* 0 is auto. */
	if (block & (block - 1))
		return failure_set(failure, SYMBOL_RANGE, 0, "block-size",
				   "block-size=%s is not a power of two",
				   common[BLOCK_SIZE].text);
	if (common[MAX_IO].number % 4096)
		return failure_set(failure, SYMBOL_RANGE, 0, "max-io",
				   "max-io=%s is not a multiple of 4K",
				   common[MAX_IO].text);
	if (common[NAME].given && is_reserved(common[NAME].text))
		return failure_set(failure, SYMBOL_ARG, 0, "name",
				   "name=%s could be mistaken for a device's "
				   "number",
				   common[NAME].text);
	if (layers_check(&common[LAYERS], failure) < 0)
		return -1;
	if (common[BATCH].number &&
	    common[MODE].number == MODE_FIRST + IO_NEED_GET_DATA)
		return failure_set(failure, SYMBOL_ARG, 0, "batch",
				   "batch=yes and mode=need-get-data exclude "
				   "each other; mode=auto finds another");
	spec->id = common[ID].given ? (uint32_t)common[ID].number
				    : DEVICE_ID_ANY;
	if (common[NAME].given)
		snprintf(spec->name, sizeof(spec->name), "%s",
			 common[NAME].text);
	spec->queues = common[QUEUES].given ? (uint16_t)common[QUEUES].number
					    : default_queues();
	spec->depth = (uint16_t)common[DEPTH].number;
	spec->max_io = (uint32_t)common[MAX_IO].number;
	spec->read_only = common[RO].number != 0;
	spec->recovery = (enum recovery)common[RECOVERY].number;
	spec->no_partscan = common[PARTSCAN].number == 0;
	spec->mode = common[MODE].number == MODE_AUTO
			     ? IO_MODES
			     : (enum io_mode)(common[MODE].number - MODE_FIRST);
	spec->batch = common[BATCH].number != 0;
	spec->geometry.block_size = (uint32_t)block;
	return 0;
}

/*
 * Read a whole `add`: the target's and the options' values, and what they say
 * of the device. Returns the target or NULL with *failure filled.
 */
static const struct target_ops *read_add(const struct syntax_line *line,
					 struct add_values *values,
					 struct device_spec *spec,
					 struct failure *failure)
{
	const struct target_ops *target;

	if (line->count < 2) {
		failure_set(failure, SYMBOL_ARG, 0, NULL,
			    "add what? 'targets' lists what there is");
		return NULL;
	}
	target = target_find(line->words[1]);
	if (!target) {
		target_fail_unknown(line->words[1], failure);
		return NULL;
	}
	if (!target->open) {
		failure_set(failure, SYMBOL_UNSUPPORTED, 0, target->name,
			    "this ublkd was built without the target %s "
			    "(--disable-%s)",
			    target->name, target->name);
		return NULL;
	}
	if (read_pairs(line, target, values, failure) < 0 ||
	    set_spec(values->common, spec, failure) < 0)
		return NULL;
	return target;
}

int verb_read_layers(const char *words, struct option_value *layers,
		     struct failure *failure)
{
	struct add_values values;
	struct device_spec spec;
	struct syntax_line line;
	const char *why;

	if (syntax_split(&line, words, strlen(words), &why) < 0)
		return failure_set(failure, SYMBOL_LIMIT, 0, NULL,
				   "the device's add line would have %s", why);
	if (!read_add(&line, &values, &spec, failure))
		return -1;
	memcpy(layers, &values.common[LAYERS], LAYER_OPTIONS * sizeof(*layers));
	return 0;
}

/* Whether it could not be filled as things stand: *room is what would fit. */
static int is_short_of_room(const struct device *device, uint64_t *room)
{
	*room = target_room(device->spec.target);
	return *room < device->spec.geometry.size;
}

static void print_added(struct request *request, const struct device *device,
			const char *more)
{
	char fits[32] = "", unserved[32];
	uint64_t room;

	if (is_short_of_room(device, &room))
		snprintf(fits, sizeof(fits), " fits=%llu",
			 (unsigned long long)room);
	verb_tell_unserved(device, unserved, sizeof(unserved));
	request_ok(
		request,
		" id=%u dev=/dev/%s name=%s queues=%u depth=%u size=%llu%s%s%s",
		device->spec.id, device->disk, device_name(device),
		device->spec.queues, device->spec.depth,
		(unsigned long long)device->spec.geometry.size, fits, unserved,
		more);
}

static void warn_of_room(const struct device *device)
{
	uint64_t room;

	if (is_short_of_room(device, &room))
		log_warning("device %u (%s): as things stand it can hold "
			    "%llu MiB of data; writes of more get ENOSPC",
			    device->spec.id, device_name(device),
			    (unsigned long long)(room >> 20));
}

static void on_added(void *context, struct device *device,
		     const struct failure *failure)
{
	struct request *request = context;

	if (failure) {
		request_fail(request, failure);
		return;
	}
	warn_of_room(device);
	print_added(request, device, "");
}

/*
 * The id or the name is taken: by the same command, or by another. What the
 * configuration made before ublkd was killed may have been changed by `set`.
 */
static int answer_taken(struct request *request, const struct device *device,
			const char *words, const char *arg)
{
	int is_ours = request->configures && device->adopted;

	if (!is_ours && strcmp(device->spec.words, words) != 0)
		return request_refuse(request, SYMBOL_EXISTS, arg,
				      "the %s is in use by device %u, which "
				      "another command made",
				      arg, device->spec.id);
	if (!is_ours && strcmp(device_state(device), "live") != 0)
		return request_refuse(request, SYMBOL_BUSY, arg,
				      "device %u is %s just now",
				      device->spec.id,
				      device_work(device)
					      ? device_work(device)
					      : device_state(device));
	print_added(request, device, " existing=yes");
	return 0;
}

/*
 * A line of the configuration that names no id: after both processes were
 * killed, the device that it made may have been taken over.
 */
static struct device *find_unclaimed(const struct device_set *set,
				     const struct device_spec *spec)
{
	struct device *device;

	for (device = set->first; device; device = device->next)
		if (device->adopted && !device->claimed &&
		    strcmp(device->spec.words, spec->words) == 0)
			return device;
	return NULL;
}

/* Answer a repeated add, or one that collides. Returns 1 if it did. */
static int is_taken(struct request *request, const struct device_spec *spec)
{
	struct device_set *set = &request->host->devices;
	struct device *device = device_find(set, spec->id);

	if (device) {
		answer_taken(request, device, spec->words, "id");
		return 1;
	}
	device = spec->name[0] ? device_find_name(set, spec->name) : NULL;
	if (device) {
		answer_taken(request, device, spec->words, "name");
		return 1;
	}
	device = request->configures ? find_unclaimed(set, spec) : NULL;
	if (device) {
		device->claimed = 1;
		print_added(request, device, " existing=yes");
		return 1;
	}
	return 0;
}

/* No device can be added now. Returns 1 if that was answered. */
static int is_refused(struct request *request)
{
	const struct command_host *host = request->host;

	if (host->stopping || host->keeper_gone) {
		request_refuse(request, SYMBOL_STATE, NULL,
			       host->stopping
				       ? "ublkd is stopping"
				       : "the keeper is gone, so nothing can "
					 "be changed");
		return 1;
	}
	if (host->devices.count < DEVICES_MAX)
		return 0;
	request_refuse(request, SYMBOL_LIMIT, NULL,
		       "there are %u devices already, as many as one ublkd "
		       "serves",
		       host->devices.count);
	return 1;
}

static int is_own_disk(void *context, uint32_t id)
{
	return device_find(context, id) != NULL;
}

/* Whether the target, with these options, can have its data moved so. */
static int check_mode(const struct device_spec *spec, struct failure *failure)
{
	const enum io_mode *mode = spec->geometry.modes;

	if (spec->mode == IO_MODES || (!mode && spec->mode == IO_USER_COPY))
		return 0;
	for (; mode && *mode != IO_MODES; mode++)
		if (*mode == spec->mode)
			return 0;
	return failure_set(failure, SYMBOL_ARG, 0, "mode",
			   "%s with these options cannot have mode=%s; "
			   "mode=auto finds one",
			   spec->target->ops->name, io_mode_name(spec->mode));
}

/* The target and its layers. On failure the spec is to be closed. */
static int open_target(struct command_host *host,
		       const struct target_ops *target,
		       struct target_args *args,
		       const struct add_values *values,
		       struct device_spec *spec, struct failure *failure)
{
	const struct option_value *layers = &values->common[LAYERS];

	args->values = values->target;
	args->read_only = spec->read_only;
	args->mode = spec->mode;
	args->max_io = spec->max_io;
	args->is_own = is_own_disk;
	args->context = &host->devices;
	args->loop = host->devices.loop;
	if (!spec->geometry.block_size && !target->picks_block_size)
		spec->geometry.block_size = 512;
	spec->target = target->open(args, &spec->geometry, failure);
	if (!spec->target || check_mode(spec, failure) < 0)
		return -1;
	if (layers_put_on(&spec->layers, host->devices.loop,
			  &spec->target->backend, layers) < 0)
		return failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
				   "out of memory");
	layers_change(&spec->layers, layers, layers);
	return 0;
}

/* An add while its file is being opened. */
struct pending_add {
	struct request *request;
	const struct target_ops *target;
	struct add_values values; /* their texts are the request's */
	struct device_spec spec;
	const char *path; /* the request's as well */
	char lock;	  /* of struct opener_wish */
	struct opener_result opened;
	struct failure failure;
	unsigned open_files; /* that are being closed */
};

/* Of a target that has nothing to open. */
static void start_add(struct request *request, const struct target_ops *target,
		      const struct add_values *values, struct device_spec *spec)
{
	struct command_host *host = request->host;
	struct target_args args = { .adopted = 0 };
	struct failure failure;
	int error = open_target(host, target, &args, values, spec, &failure);

	if (error)
		device_close_spec(spec, host->devices.loop, NULL, NULL);
	else
		error = device_add(&host->devices, spec, on_added, request,
				   &failure);
	if (error)
		request_fail(request, &failure);
}

/* Its file is free again: now it is answered, if it was not before. */
static void end_add(struct pending_add *add)
{
	if (add->failure.symbol != SYMBOL_NONE)
		request_fail(add->request, &add->failure);
	free(add);
}

static void on_closed(void *context, int error)
{
	struct pending_add *add = context;

	(void)error;
	if (--add->open_files == 0)
		end_add(add);
}

/* It is not to be: what was opened is closed, fd as well unless it is -1. */
static void undo_add(struct pending_add *add, struct ev_loop *loop, int fd)
{
	unsigned begun = device_close_spec(&add->spec, loop, on_closed, add);

	if (fd >= 0)
		begun += opener_close(loop, fd, NULL, on_closed, add);
	add->open_files = begun;
	if (begun == 0)
		end_add(add);
}

static void tell_opening(struct pending_add *add, int error, const char *why)
{
	failure_set(&add->failure, failure_symbol(error), error, "path",
		    "cannot open %.200s: %s", add->path, why);
	undo_add(add, add->request->host->devices.loop, -1);
}

/* A disk that somebody has for himself; perhaps the helper knows who. */
static void on_user(void *context, const struct message *answer)
{
	tell_opening(context, -EBUSY,
		     answer->result == -EBUSY && answer->text[0]
			     ? answer->text
			     : "somebody has it for himself");
}

static void fail_opening(struct pending_add *add, int error)
{
	if (error != -EBUSY ||
	    ask(HELPER_NODE_USER, add->path, -1, on_user, add) < 0)
		tell_opening(add, error, strerror(-error));
}

/* The world may have changed meanwhile. Returns 1 if it was answered. */
static int is_too_late(struct request *request, const struct device_spec *spec)
{
	if (is_refused(request))
		return 1;
	return is_taken(request, spec);
}

/* What it needs is open, and locked if `lock` is 0; `who` may have the lock. */
static void go_on(struct pending_add *add, int lock, const char *who)
{
	struct command_host *host = add->request->host;
	struct device_spec *spec = &add->spec;
	int fds[1] = { add->opened.fd };
	struct target_args args = {
		.fds = fds, .fd_count = 1, .lock = lock, .who = who
	};

	/* Somebody else has locked the file that was made: it is his now. */
	if (lock) {
		free(spec->new_file);
		spec->new_file = NULL;
	}
	if (!is_too_late(add->request, spec) &&
	    open_target(host, add->target, &args, &add->values, spec,
			&add->failure) == 0) {
		device_add(&host->devices, spec, on_added, add->request,
			   &add->failure);
		memset(spec, 0, sizeof(*spec)); /* it is the device's */
	}
	/* The request may have been answered, and be gone. */
	undo_add(add, host->devices.loop, fds[0]);
}

static void on_locked(void *context, const struct message *answer)
{
	go_on(context, answer->result, answer->text);
}

/*
 * Lock a file as its opener_wish says. A lock on a network is given by a server,
 * who may be silent, so a helper asks for it. Returns 0 if the answer comes to
 * done, 1 where there is nothing to lock, or a negative errno.
 */
static int lock_file(int fd, char lock, ask_done *done, void *context)
{
	char how[] = { lock, '\0' };

	if (!lock || backing_is_disk(fd))
		return 1;
	return ask(HELPER_LOCK, how, fd, done, context);
}

static void on_opened(void *context, const struct opener_result *result)
{
	struct pending_add *add = context;
	int state;

	add->opened = *result;
	if (result->fd < 0) {
		fail_opening(add, result->fd);
		return;
	}
	if (result->is_new)
		add->spec.new_file = strdup(add->path);
	state = lock_file(result->fd, add->lock, on_locked, add);
	if (state)
		go_on(add, state < 0 ? state : 0, "");
}

/* Begin to open what the target needs. Takes the spec, also on failure. */
static int begin_opening(struct request *request,
			 const struct target_ops *target,
			 const struct add_values *values,
			 struct device_spec *spec, struct failure *failure)
{
	struct target_args args = { .values = values->target,
				    .read_only = spec->read_only };
	struct pending_add *add = calloc(1, sizeof(*add));
	struct opener_wish wish = { .path = NULL };
	int error = -ENOMEM;

	if (add && target->opens(&args, &wish, failure) < 0) {
		free(add);
		free(spec->words);
		return -1;
	}
	if (add) {
		add->request = request;
		add->target = target;
		add->values = *values;
		add->spec = *spec;
		add->path = wish.path;
		add->lock = wish.lock;
		error = opener_open(request->host->devices.loop, &wish,
				    on_opened, add);
	}
	if (!error)
		return 0;
	free(add);
	free(spec->words);
	return failure_set(failure, failure_symbol(error), error, NULL,
			   "cannot open anything: %s", strerror(-error));
}

/* With the daemon's rights any path can be opened: that is for root. */
static int check_paths(const struct request *request,
		       const struct target_ops *target,
		       const struct option_value *values,
		       struct failure *failure)
{
	int i;

	for (i = 0; target->options[i].name; i++)
		if (target->options[i].type == OPTION_PATH &&
		    values[i].number == OPTION_IS_PATH && request->uid != 0)
			return failure_set(failure, SYMBOL_DENIED, EPERM,
					   target->options[i].name,
					   "%s= names a path, which is for "
					   "root only",
					   target->options[i].name);
	return 0;
}

int verb_add(struct request *request)
{
	const struct target_ops *target;
	struct add_values values;
	struct device_spec spec = { .id = DEVICE_ID_ANY };
	struct failure failure;

	target = read_add(&request->line, &values, &spec, &failure);
	if (!target ||
	    check_paths(request, target, values.target, &failure) < 0) {
		request_fail(request, &failure);
		return 0;
	}
	spec.words = words_join(&request->line);
	if (!spec.words)
		return request_refuse(request, SYMBOL_LIMIT, NULL,
				      "out of memory");
	if (is_taken(request, &spec)) {
		free(spec.words);
		return 0;
	}
	if (is_refused(request))
		free(spec.words);
	else if (!target->opens)
		start_add(request, target, &values, &spec);
	else if (begin_opening(request, target, &values, &spec, &failure) < 0)
		request_fail(request, &failure);
	return 0;
}

/* ---- taking over ---- */

/* What the driver has, whatever this server would choose. */
static int take_from_driver(struct device_spec *spec,
			    const struct message *message,
			    struct failure *failure)
{
	spec->id = message->id;
	spec->queues = message->info.nr_hw_queues;
	spec->depth = message->info.queue_depth;
	spec->max_io = message->info.max_io_buf_bytes;
	spec->mode = device_mode(message->info.flags);
	spec->batch = device_batch(message->info.flags);
	spec->words = strdup(message->text);
	return spec->words ? 0
			   : failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
					 "out of memory");
}

/*
 * What a later try needs of the command that made it: the target, its values,
 * whose texts are the line's, and the spec as the driver has it.
 */
static const struct target_ops *read_again(const struct device *device,
					   struct syntax_line *line,
					   struct add_values *values,
					   struct device_spec *spec,
					   struct failure *failure)
{
	const struct device_spec *had = &device->spec;
	const struct target_ops *target;
	const char *why;

	if (syntax_split(line, had->words, strlen(had->words), &why) < 0) {
		failure_set(failure, SYMBOL_INTERNAL, 0, NULL, "%s", why);
		return NULL;
	}
	target = read_add(line, values, spec, failure);
	if (!target)
		return NULL;
	spec->queues = had->queues;
	spec->depth = had->depth;
	spec->max_io = had->max_io;
	spec->mode = had->mode;
	spec->batch = had->batch;
	return target;
}

/* With the descriptors that the stand-in has, which gets back what is not taken. */
static void open_again(struct command_host *host, struct device *device,
		       const struct target_ops *target,
		       const struct add_values *values,
		       struct device_spec *spec, int *fds, int fd_count)
{
	struct target_args args = { .adopted = 1,
				    .size = device_disk_size(device->spec.id),
				    .fds = fds,
				    .fd_count = fd_count };
	struct failure failure;

	if (open_target(host, target, &args, values, spec, &failure) == 0) {
		device_reopened(device, spec);
		return;
	}
	device_close_spec(spec, host->devices.loop, NULL, NULL);
	lost_take(device->spec.target, fds, fd_count);
	device_reopen_failed(device, failure.text);
}

/* A file that is being opened for a device, which may be gone by then. */
struct reopening {
	struct command_host *host;
	uint64_t serial; /* the device's */
	char lock;	 /* of struct opener_wish */
	int fd;		 /* once it is open, or a negative errno */
	char path[];
};

/* The file is open and locked; or not, and `who` may have the lock. */
static void end_reopening(struct reopening *reopening, int error,
			  const char *who)
{
	struct device_set *set = &reopening->host->devices;
	struct device *device = device_find_serial(set, reopening->serial);
	int fd = reopening->fd;
	char why[200];

	if (device && !error) {
		device_give(device, fd);
		fd = -1;
	} else if (device) {
		snprintf(why, sizeof(why), "cannot %s %.100s: %s",
			 fd < 0 ? "open" : "lock", reopening->path,
			 who[0] ? who : strerror(-error));
		device_reopen_failed(device, why);
	}
	if (fd >= 0)
		opener_close(set->loop, fd, NULL, NULL, NULL);
	free(reopening);
}

static void on_locked_again(void *context, const struct message *answer)
{
	end_reopening(context, answer->result, answer->text);
}

/* The lock went with the last process that had the file open. */
static void on_reopened(void *context, const struct opener_result *result)
{
	struct reopening *reopening = context;
	struct device_set *set = &reopening->host->devices;
	int state = result->fd < 0 ? result->fd : 1;

	reopening->fd = result->fd;
	if (state > 0 && device_find_serial(set, reopening->serial))
		state = lock_file(result->fd, reopening->lock, on_locked_again,
				  reopening);
	if (state)
		end_reopening(reopening, state < 0 ? state : 0, "");
}

/* As `add` has opened it, except that it must be there. */
static int begin_reopening(struct command_host *host,
			   const struct device *device,
			   const struct target_ops *target,
			   const struct add_values *values,
			   struct failure *failure)
{
	struct target_args args = { .values = values->target,
				    .read_only = device->spec.read_only };
	struct opener_wish wish = { .path = NULL };
	struct reopening *reopening;
	int error = -ENOMEM;

	if (target->opens(&args, &wish, failure) < 0)
		return -1;
	wish.create = 0;
	wish.patient = 1;
	reopening = malloc(sizeof(*reopening) + strlen(wish.path) + 1);
	if (reopening) {
		reopening->host = host;
		reopening->serial = device->serial;
		reopening->lock = wish.lock;
		memcpy(reopening->path, wish.path, strlen(wish.path) + 1);
		error = opener_open(host->devices.loop, &wish, on_reopened,
				    reopening);
	}
	if (!error)
		return 0;
	free(reopening);
	return failure_set(failure, SYMBOL_LIMIT, error, NULL,
			   "cannot open anything: %s", strerror(-error));
}

/* The device's reopen(): its file first, unless that is open. */
static void reopen(struct device *device)
{
	/* The set is the host's first. */
	struct command_host *host = (struct command_host *)device->set;
	const struct target_ops *target;
	struct add_values values;
	struct device_spec spec;
	struct syntax_line line;
	struct failure failure;
	int fds[MESSAGE_MAX_FDS], count;

	target = read_again(device, &line, &values, &spec, &failure);
	if (!target) {
		device_reopen_failed(device, failure.text);
		return;
	}
	count = target_give_up(device->spec.target, fds);
	if (count || !target->opens)
		open_again(host, device, target, &values, &spec, fds, count);
	else if (begin_reopening(host, device, target, &values, &failure) < 0)
		device_reopen_failed(device, failure.text);
}

/* What the target holds is here, or can be opened by this process. */
static int can_reopen(const struct target_ops *target, int fd_count)
{
	return fd_count > 0 || target->opens || !target->hold;
}

/*
 * It cannot be served here yet, for the reason `why`, or, without one, because
 * its file is to be opened first: it stays in sight, with what it had.
 */
static void adopt_lost(struct command_host *host, const struct message *message,
		       const struct target_ops *target,
		       const struct add_values *values,
		       struct device_spec *spec, int *fds, int fd_count,
		       const char *why)
{
	struct failure failure;
	struct device *device;

	if (take_from_driver(spec, message, &failure) < 0)
		return;
	spec->geometry.size = device_disk_size(message->id);
	spec->target = lost_new(target, fds, fd_count);
	if (!spec->target || layers_put_on(&spec->layers, host->devices.loop,
					   &spec->target->backend,
					   &values->common[LAYERS]) < 0) {
		device_close_spec(spec, host->devices.loop, NULL, NULL);
		return;
	}
	if (device_adopt(&host->devices, spec, &failure) < 0)
		return;
	device = device_find(&host->devices, message->id);
	device_reopen_later(device,
			    can_reopen(target, fd_count) ? reopen : NULL, why);
}

int command_adopt(struct command_host *host, const struct message *message,
		  int *fds, int fd_count, struct failure *failure)
{
	struct target_args args = { .adopted = 1,
				    .size = device_disk_size(message->id),
				    .fds = fds,
				    .fd_count = fd_count };
	const struct target_ops *target;
	struct add_values values;
	struct device_spec spec, as_read;
	struct syntax_line line;
	const char *why;

	if (syntax_split(&line, message->text, strlen(message->text), &why) < 0)
		return failure_set(failure, SYMBOL_INTERNAL, 0, NULL, "%s",
				   why);
	target = read_add(&line, &values, &spec, failure);
	if (!target)
		return -1;
	as_read = spec;
	if (fd_count == 0 && target->opens) {
		adopt_lost(host, message, target, &values, &spec, fds, 0, "");
		return 0;
	}
	if (!can_reopen(target, fd_count)) {
		failure_set(failure, SYMBOL_STATE, 0, NULL,
			    "what it held cannot be opened");
		adopt_lost(host, message, target, &values, &spec, fds, 0,
			   failure->text);
		return -1;
	}
	if (take_from_driver(&spec, message, failure) < 0)
		return -1;
	if (open_target(host, target, &args, &values, &spec, failure) == 0)
		return device_adopt(&host->devices, &spec, failure);
	device_close_spec(&spec, host->devices.loop, NULL, NULL);
	adopt_lost(host, message, target, &values, &as_read, fds, fd_count,
		   failure->text);
	return -1;
}
