/* add: read the options of a new device, and see it live. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "add.h"
#include "target/ask.h"
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
	STUCK_AFTER,
	PARTSCAN,
	MODE,
	BATCH,
	OWNER,
	NODE_MODE,
	LAYERS,
};

#define STUCK_AFTER_MAX 86400000000ull /* us: a day */

/* In the order of enum recovery. */
static const char *const recovery_names[] = { "reissue", "queue", "fail", "no",
					      NULL };

static const char *const block_size_names[] = { "auto", NULL };

/* "auto", and the others in the order of enum io_mode. */
enum { MODE_AUTO, MODE_FIRST };
static const char *const mode_names[] = { "auto",      "user-copy",
					  "zero-copy", "need-get-data",
					  "copy",      NULL };

static const char *const node_modes[] = { "0400", "0440", "0444", "0600",
					  "0640", "0644", "0660", "0664",
					  "0666", NULL };

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
	[STUCK_AFTER] = { .name = "stuck-after",
			  .type = OPTION_TIME,
			  .fallback = "30s",
			  .max = STUCK_AFTER_MAX,
			  .help = "a request that waits for longer is told "
				  "of in the log; 0: none is" },
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
	[OWNER] = { .name = "owner",
		    .type = OPTION_NAME,
		    .help = "who gets the node /dev/ublkbN: USER or "
			    "USER:GROUP, names or numbers (default: nobody)" },
	[NODE_MODE] = { .name = "node-mode",
			.type = OPTION_CHOICE,
			.choices = node_modes,
			.help = "the node's mode (default: as it comes)" },
	LAYER_OPTION_TABLE(LAYERS),
	{ .name = NULL },
};

static int read_add_options(const struct syntax_line *line, struct add *add,
			    struct failure *failure)
{
	const struct target_ops *target = add->target;
	char topic[64];
	const struct option_reader reader = {
		.owner = target->name,
		.topic = topic,
		.sets = { { target->options, add->values },
			  { verb_add_options, add->common } }
	};
	int stray;

	snprintf(topic, sizeof(topic), "add %s", target->name);
	stray = option_read_line(&reader, line, 2, 0, failure);
	if (stray > 0)
		return failure_set(failure, SYMBOL_ARG, 0, line->words[stray],
				   "add takes one target and then key=value "
				   "options; 'help %s' lists them",
				   topic);
	return stray;
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
	spec->stuck_after = common[STUCK_AFTER].number;
	spec->no_partscan = common[PARTSCAN].number == 0;
	spec->mode = common[MODE].number == MODE_AUTO
			     ? IO_MODES
			     : (enum io_mode)(common[MODE].number - MODE_FIRST);
	spec->batch = common[BATCH].number != 0;
	spec->geometry.block_size = (uint32_t)block;
	if (common[OWNER].given)
		snprintf(spec->owner, sizeof(spec->owner), "%s",
			 common[OWNER].text);
	if (common[NODE_MODE].given)
		spec->node_mode = (uint16_t)strtoul(
			node_modes[common[NODE_MODE].number], NULL, 8);
	return layers_check_mode(&common[LAYERS], spec->mode, failure);
}

/*
 * What has failed returns -1 itself: clang's analyzer does not know that
 * failure_set() does.
 */
int add_read(const struct syntax_line *line, struct add *add,
	     struct failure *failure)
{
	const struct target_ops *target;

	if (line->count < 2) {
		failure_set(failure, SYMBOL_ARG, 0, NULL,
			    "add what? 'targets' lists what there is");
		return -1;
	}
	add->target = target = target_find(line->words[1]);
	if (!target) {
		target_fail_unknown(line->words[1], failure);
		return -1;
	}
	if (!target->open) {
		failure_set(failure, SYMBOL_UNSUPPORTED, 0, target->name,
			    "this ublkd was built without the target %s "
			    "(--disable-%s)",
			    target->name, target->name);
		return -1;
	}
	if (read_add_options(line, add, failure) < 0)
		return -1;
	return set_spec(add->common, &add->spec, failure);
}

/* A device that is taken over may have such a name, and keeps it. */
static int check_new_name(const struct add *add, struct failure *failure)
{
	if (add->spec.name[0] != '-')
		return 0;
	failure_set(failure, SYMBOL_ARG, 0, "name",
		    "name=%s could be mistaken for an option", add->spec.name);
	return -1;
}

/* What a target looks at when it opens, and that no host can change. */
int add_check(const struct syntax_line *line, struct add *add,
	      struct failure *failure)
{
	struct target_args args = { .values = add->values };
	uint64_t block = 512;
	struct opener_wish wishes[OPENER_FILES];
	int size;

	if (add_read(line, add, failure) < 0 ||
	    check_new_name(add, failure) < 0)
		return -1;
	args.read_only = add->spec.read_only;
	if (add->target->opens &&
	    add->target->opens(&args, wishes, failure) < 0)
		return -1;
	if (add->spec.geometry.block_size)
		block = add->spec.geometry.block_size;
	else if (add->target->picks_block_size)
		return 0;
	size = option_find(add->target->options, "size", 4);
	return size < 0 || !add->values[size].number
		       ? 0
		       : target_check_size(add->values[size].number,
					   (uint32_t)block, failure);
}

int add_read_words(const char *words, struct syntax_line *line, struct add *add,
		   struct failure *failure)
{
	const char *why;

	if (syntax_split(line, words, strlen(words), &why) < 0) {
		failure_set(failure, SYMBOL_LIMIT, 0, NULL,
			    "the device's add line would be refused: %s", why);
		return -1;
	}
	return add_read(line, add, failure);
}

/* What the line gives to options of a table and is not the default anyway. */
static size_t write_options(const struct option *table,
			    const struct option_value *values, char *text,
			    size_t size)
{
	size_t at = 0;
	int i;

	for (i = 0; table[i].name; i++) {
		if (!values[i].given ||
		    option_is_default(&table[i], &values[i]))
			continue;
		at += (size_t)snprintf(text + at, size - at, " ");
		at += option_write(&table[i], &values[i], text + at, size - at);
	}
	return at;
}

int add_format(const struct device *device, char *text, size_t size,
	       struct failure *failure)
{
	struct syntax_line line;
	struct add add;
	size_t at;

	if (add_read_words(device->spec.words, &line, &add, failure) < 0)
		return -1;
	add.common[ID].given = 1;
	add.common[ID].number = device->spec.id;
	at = (size_t)snprintf(text, size, "add %s", add.target->name);
	at += write_options(verb_add_options, add.common, text + at, size - at);
	write_options(add.target->options, add.values, text + at, size - at);
	return 0;
}

int verb_read_layers(const char *words, struct option_value *layers,
		     struct failure *failure)
{
	struct syntax_line line;
	struct add add;

	if (add_read_words(words, &line, &add, failure) < 0)
		return -1;
	memcpy(layers, &add.common[LAYERS], LAYER_OPTIONS * sizeof(*layers));
	return 0;
}

/* Whether the device could not be filled as things stand; *room: what fits. */
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

static void on_added(void *context, struct device *device,
		     const struct failure *failure)
{
	struct request *request = context;
	uint64_t room;

	if (failure) {
		request_fail(request, failure);
		return;
	}
	if (is_short_of_room(device, &room))
		log_warning("device %u (%s): as things stand it can hold "
			    "%llu MiB of data; writes of more get ENOSPC",
			    device->spec.id, device_name(device),
			    (unsigned long long)(room >> 20));
	print_added(request, device, "");
}

/* Whether or not that could be noted. */
static void on_claimed(void *context, struct device *device,
		       const struct failure *failure)
{
	(void)failure;
	print_added(context, device, " existing=yes");
}

/*
 * The device that an add would make is there. If the configuration asks for it,
 * it is from there, whoever has made it. Returns 1: that is answered, now or later.
 */
static int answer_existing(struct request *request, struct device *device)
{
	struct failure failure;

	if (request->configures != CONFIGURES_NOT && !device->spec.configured) {
		if (device_claim(device, on_claimed, request, &failure) == 0)
			return 1;
		/* It is being taken over: the keeper hears of it with a change. */
		device->spec.configured = 1;
	}
	print_added(request, device, " existing=yes");
	return 1;
}

/*
 * The id or the name is taken: by the same command, or by another. What the
 * configuration made before ublkd was killed may have been changed by `set`.
 * Returns 1 if that was answered, or -1 with *failure filled.
 */
static __attribute__((cold)) int
answer_taken(struct request *request, struct device *device, const char *words,
	     const char *arg, struct failure *failure)
{
	int is_ours = request->configures == CONFIGURES_START &&
		      device->adopted;
	const char *work = device_work(device);

	if (device->step == DEVICE_LINGER)
		return failure_set(failure, SYMBOL_EXISTS, 0, arg,
				   "device %u is deleted, but the kernel keeps "
				   "its number until its %s has answered",
				   device->spec.id,
				   device->spec.target->ops->name);
	if (!is_ours && strcmp(device->spec.words, words) != 0)
		return failure_set(failure, SYMBOL_EXISTS, 0, arg,
				   "the %s is in use by device %u, which "
				   "another command made",
				   arg, device->spec.id);
	if (!is_ours && strcmp(device_state(device), "live") != 0)
		return failure_set(failure, SYMBOL_BUSY, 0, arg,
				   "device %u is %s just now", device->spec.id,
				   work ? work : device_state(device));
	return answer_existing(request, device);
}

/*
 * A line of the configuration that names no id: after both processes were
 * killed, the device that it made may have been taken over.
 */
static struct device *find_unclaimed(const struct device_set *set,
				     const struct device_spec *spec)
{
	struct device *device = set->first;

	while (device && (!device->adopted || device->claimed ||
			  strcmp(device->spec.words, spec->words) != 0))
		device = device->next;
	return device;
}

/*
 * Returns 0, or 1 if it is a repeated add, which was answered, or -1 with
 * *failure filled if it collides with a device.
 */
static int check_taken(struct request *request, const struct device_spec *spec,
		       struct failure *failure)
{
	struct device_set *set = &request->host->devices;
	struct device *device = device_find(set, spec->id);

	if (device)
		return answer_taken(request, device, spec->words, "id",
				    failure);
	if (spec->name[0])
		device = device_find_name(set, spec->name);
	if (device && device->is_counted)
		return answer_taken(request, device, spec->words, "name",
				    failure);
	device = request->configures == CONFIGURES_START
			 ? find_unclaimed(set, spec)
			 : NULL;
	if (!device)
		return 0;
	device->claimed = 1;
	return answer_existing(request, device);
}

/* Whether a device can be added now. Returns 0, or -1 with *failure filled. */
static int check_host(const struct command_host *host, struct failure *failure)
{
	if (host->stopping)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "ublkd is stopping");
	if (host->keeper_gone)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "the keeper is gone, so nothing can be "
				   "changed");
	if (host->devices.count < DEVICES_MAX)
		return 0;
	return failure_set(failure, SYMBOL_LIMIT, 0, NULL,
			   "there are %u devices already, as many as one "
			   "ublkd serves",
			   host->devices.count);
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
static __attribute__((cold)) int open_target(struct command_host *host,
					     struct add *add,
					     struct target_args *args,
					     struct failure *failure)
{
	const struct option_value *layers = &add->common[LAYERS];
	const struct target_ops *target = add->target;
	struct device_spec *spec = &add->spec;

	args->values = add->values;
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
		return failure_no_memory(failure);
	layers_change(&spec->layers, layers, layers);
	return 0;
}

/* ---- files on their way to a device: each opened, then locked ---- */

struct add_files {
	/*
	 * All are open and locked, or error, negative, says why the one that
	 * it has come to is not; `who` may have the lock.
	 */
	void (*done)(struct add_files *files, int error, const char *who);
	struct device_set *set;
	uint64_t serial; /* of the device, which may be gone; 0: a new one */
	struct opener_wish wishes[OPENER_FILES]; /* paths of our own */
	int wanted;				 /* of them */
	int at;					 /* the one that is opened */
	int count; /* that are open, `at` as well while it is locked */
	int fds[OPENER_FILES];
	int made; /* which one is new, or -1 */
};

static void free_paths(struct add_files *files)
{
	while (files->wanted > 0) {
		files->wanted--;
		free((char *)files->wishes[files->wanted].path);
		free((char *)files->wishes[files->wanted].connect);
	}
}

static const char *path_of(const struct add_files *files)
{
	return files->wishes[files->at].path;
}

static int is_open(const struct add_files *files)
{
	return files->count > files->at;
}

static void open_next(struct add_files *files);

static void on_locked(void *context, const struct message *answer)
{
	struct add_files *files = context;

	if (answer->result)
		files->done(files, answer->result, answer->text);
	else
		open_next(files);
}

/*
 * A lock on a network is given by a server, who may be silent, so a helper asks
 * for it. A disk has none.
 */
static void on_opened(void *context, const struct opener_result *result)
{
	struct add_files *files = context;
	char how[] = { files->wishes[files->at].lock, '\0' };
	int error;

	if (result->fd < 0) {
		files->done(files, result->fd, "");
		return;
	}
	if (result->is_new)
		files->made = files->at;
	files->fds[files->count++] = result->fd;
	if (!how[0] || backing_is_disk(result->fd) ||
	    (files->serial && !device_find_serial(files->set, files->serial))) {
		open_next(files);
		return;
	}
	error = ask(HELPER_LOCK, how, result->fd, on_locked, files);
	if (error)
		files->done(files, error, "");
}

/* The path was a server's; what is told is of its export, or why there is none. */
static void on_connected(void *context, const struct message *answer)
{
	struct add_files *files = context;
	int fd = answer->result ? answer->result : ask_take_fd();

	if (fd >= 0)
		files->fds[files->count++] = fd;
	files->done(files, fd < 0 ? fd : 0, answer->text);
}

static int open_wish(struct add_files *files)
{
	const struct opener_wish *wish = &files->wishes[files->at];

	if (wish->connect)
		return ask(HELPER_CONNECT, wish->connect, -1, on_connected,
			   files);
	return opener_open(files->set->loop, wish, on_opened, files);
}

static void open_next(struct add_files *files)
{
	int error;

	if (files->count == files->wanted) {
		files->done(files, 0, "");
		return;
	}
	files->at++;
	error = open_wish(files);
	if (error)
		files->done(files, error, "");
}

/* The texts of a wish are our own then. Returns 0 or -1. */
static int keep_wish(struct opener_wish *wish)
{
	const char *path = strdup(wish->path);
	const char *connect = wish->connect ? strdup(wish->connect) : NULL;
	int is_whole = path && (connect || !wish->connect);

	wish->path = path;
	wish->connect = connect;
	return is_whole ? 0 : -1;
}

/*
 * A device that is there connects by itself. Returns how many, or -1 with *failure
 * filled.
 */
static __attribute__((cold)) int make_wishes(struct add_files *files,
					     const struct add *add,
					     struct failure *failure)
{
	struct target_args args = { .values = add->values,
				    .read_only = add->spec.read_only };
	int count = add->target->opens(&args, files->wishes, failure), i;

	for (i = 0; i < count; i++) {
		struct opener_wish *wish = &files->wishes[i];

		if (files->serial && wish->connect)
			break;
		files->wanted++;
		if (keep_wish(wish) < 0) {
			free_paths(files);
			failure_no_memory(failure);
			return -1;
		}
		if (!files->serial)
			continue;
		wish->create = 0;
		wish->patient = 1;
	}
	return count;
}

/*
 * Begin to open what the target needs; the files' done, set and serial are given.
 * For a device that is there the files must be there as well. Returns 0, or -1
 * with *failure filled.
 */
static int begin_open(struct add_files *files, const struct add *add,
		      struct failure *failure)
{
	int error;

	files->made = -1;
	if (make_wishes(files, add, failure) < 0)
		return -1;
	error = open_wish(files);
	if (!error)
		return 0;
	free_paths(files);
	failure_set(failure, failure_symbol(error), error, NULL,
		    "cannot open anything: %s", strerror(-error));
	return -1;
}

/* ---- a new device ---- */

/* An add while its files are being opened. */
struct pending_add {
	struct add_files files;
	struct request *request;
	struct add add;
	struct failure failure;
	unsigned open_files; /* that are being closed */
};

/* The file is closed again: now the add is answered, if it was not before. */
static void end_pending(struct pending_add *pending)
{
	if (pending->failure.symbol != SYMBOL_NONE)
		request_fail(pending->request, &pending->failure);
	free_paths(&pending->files);
	free(pending);
}

static void on_undone(void *context, int error)
{
	struct pending_add *pending = context;

	(void)error;
	if (--pending->open_files == 0)
		end_pending(pending);
}

/* No device is made: what was opened is closed, unless the target has it. */
static void undo_add(struct pending_add *pending)
{
	struct ev_loop *loop = pending->files.set->loop;
	unsigned begun =
		device_close_spec(&pending->add.spec, loop, on_undone, pending);
	int i;

	for (i = 0; i < pending->files.count; i++)
		if (pending->files.fds[i] >= 0)
			begun += opener_close(loop, pending->files.fds[i], NULL,
					      on_undone, pending);
	pending->open_files = begun;
	if (begun == 0)
		end_pending(pending);
}

static void fail_open(struct pending_add *pending, int error, const char *why)
{
	const struct add_files *files = &pending->files;
	const struct opener_wish *wish = &files->wishes[files->at];

	failure_set(&pending->failure, failure_symbol(error), error,
		    wish->option, "cannot %s %.200s: %s",
		    wish->connect ? "connect to" : "open", wish->path, why);
	undo_add(pending);
}

/* A disk that somebody has for himself; perhaps the helper knows who. */
static void on_user(void *context, const struct message *answer)
{
	fail_open(context, -EBUSY,
		  answer->result == -EBUSY && answer->text[0]
			  ? answer->text
			  : "somebody has it for himself");
}

/* All is there. The world may have changed meanwhile. */
static __attribute__((cold)) void end_add(struct pending_add *pending)
{
	struct command_host *host = pending->request->host;
	struct device_spec *spec = &pending->add.spec;

	if (check_host(host, &pending->failure) == 0 &&
	    check_taken(pending->request, spec, &pending->failure) == 0) {
		device_add(&host->devices, spec, on_added, pending->request,
			   &pending->failure);
		memset(spec, 0, sizeof(*spec)); /* it is the device's */
	}
	undo_add(pending);
}

static int next_to_prepare(void *context, int32_t result,
			   struct ring_transfer *transfer)
{
	struct pending_add *pending = context;
	struct device_spec *spec = &pending->add.spec;

	return spec->target->ops->prepare(spec->target, &spec->geometry, result,
					  transfer, &pending->failure);
}

/* Unless the target has said why. */
static void fail_prepare(struct pending_add *pending, int error)
{
	if (pending->failure.symbol == SYMBOL_NONE)
		failure_set(&pending->failure, failure_symbol(error), error,
			    NULL, "nothing can be read or written: %s",
			    strerror(-error));
	undo_add(pending);
}

static void on_prepared(void *context, int error)
{
	if (error)
		fail_prepare(context, error);
	else
		end_add(context);
}

static void prepare_target(struct pending_add *pending)
{
	int error = 0;

	if (TARGETS_PREPARE && pending->add.target->prepare)
		error = opener_run(pending->files.set->loop, next_to_prepare,
				   on_prepared, pending);
	else
		end_add(pending);
	if (error)
		fail_prepare(pending, error);
}

/* The add's files are open, or not. */
static __attribute__((cold)) void add_opened(struct add_files *files, int error,
					     const char *who)
{
	struct pending_add *pending = (struct pending_add *)files;
	struct command_host *host = pending->request->host;
	struct device_spec *spec = &pending->add.spec;
	struct target_args args = { .fds = files->fds,
				    .fd_count = files->count,
				    .lock = error,
				    .who = who,
				    .told = who };
	const struct opener_wish *wish = &files->wishes[files->at];

	/* A file that was made here and that another has locked is his. */
	if (files->made >= 0 && !(error && files->made == files->at))
		spec->new_file = strdup(files->wishes[files->made].path);
	if (error && !is_open(files)) {
		if (error != -EBUSY || wish->connect ||
		    ask(HELPER_NODE_USER, wish->path, -1, on_user, pending) < 0)
			fail_open(pending, error,
				  who[0] ? who : strerror(-error));
		return;
	}
	if (check_host(host, &pending->failure) < 0 ||
	    check_taken(pending->request, spec, &pending->failure) ||
	    open_target(host, &pending->add, &args, &pending->failure) < 0)
		undo_add(pending);
	else
		prepare_target(pending);
}

/* Begin to open the target's file. Takes the spec, also on failure. */
static int add_with_file(struct request *request, const struct add *add,
			 struct failure *failure)
{
	struct pending_add *pending = calloc(1, sizeof(*pending));

	if (!pending) {
		free(add->spec.words);
		return failure_no_memory(failure);
	}
	pending->files.done = add_opened;
	pending->files.set = &request->host->devices;
	pending->request = request;
	pending->add = *add;
	if (begin_open(&pending->files, add, failure) == 0)
		return 0;
	free(pending);
	free(add->spec.words);
	return -1;
}

/* Of a target that has nothing to open. Takes the spec, also on failure. */
static int add_at_once(struct request *request, struct add *add,
		       struct failure *failure)
{
	struct device_set *set = &request->host->devices;
	struct target_args args = { .adopted = 0 };

	if (open_target(request->host, add, &args, failure) == 0)
		return device_add(set, &add->spec, on_added, request, failure);
	device_close_spec(&add->spec, set->loop, NULL, NULL);
	return -1;
}

static int is_path(enum option_type type)
{
	return type == OPTION_PATH || type == OPTION_URI ||
	       type == OPTION_SOURCE;
}

/* With the daemon's rights any path can be opened: that is for root. */
static int check_paths(const struct request *request, const struct add *add,
		       struct failure *failure)
{
	const struct option *option = add->target->options;
	const struct option_value *value = add->values;

	for (; option->name; option++, value++)
		if (value->number == OPTION_IS_PATH && request->uid != 0 &&
		    is_path(option->type))
			return failure_set(
				failure, SYMBOL_DENIED, EPERM, option->name,
				"%s= names a %s, which is for "
				"root only",
				option->name,
				value->text[0] == '/' ? "path" : "server");
	return 0;
}

int verb_add(struct request *request, struct failure *failure)
{
	struct add add;
	int taken;

	if (add_read(&request->line, &add, failure) < 0 ||
	    check_new_name(&add, failure) < 0 ||
	    check_paths(request, &add, failure) < 0)
		return -1;
	add.spec.configured = request->configures != CONFIGURES_NOT;
	add.spec.asked_by = request->uid;
	add.spec.words = words_join(&request->line);
	if (!add.spec.words)
		return failure_no_memory(failure);
	taken = check_taken(request, &add.spec, failure);
	if (taken || check_host(request->host, failure) < 0) {
		free(add.spec.words);
		return taken > 0 ? 0 : -1;
	}
	return add.target->opens ? add_with_file(request, &add, failure)
				 : add_at_once(request, &add, failure);
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
	spec->configured = (message->number & NOTE_CONFIGURED) != 0;
	spec->rests = (message->number & NOTE_QUIESCED) != 0;
	spec->can_rest = (message->info.flags & UBLK_F_QUIESCE) != 0;
	spec->words = strdup(message->text);
	return spec->words ? 0 : failure_no_memory(failure);
}

/* What a later try needs: the command that made the device, the driver's spec. */
static int read_again(const struct device *device, struct syntax_line *line,
		      struct add *add, struct failure *failure)
{
	const struct device_spec *had = &device->spec;

	if (add_read_words(had->words, line, add, failure) < 0)
		return -1;
	add->spec.queues = had->queues;
	add->spec.depth = had->depth;
	add->spec.max_io = had->max_io;
	add->spec.mode = had->mode;
	add->spec.batch = had->batch;
	return 0;
}

/* With the descriptors that the stand-in has, which gets back what is not taken. */
static void open_again(struct command_host *host, struct device *device,
		       struct add *add, int *fds, int fd_count)
{
	struct target_args args = { .adopted = 1,
				    .size = device_disk_size(device->spec.id),
				    .fds = fds,
				    .fd_count = fd_count };
	struct failure failure;

	if (open_target(host, add, &args, &failure) == 0) {
		device_reopened(device, &add->spec);
		return;
	}
	device_close_spec(&add->spec, host->devices.loop, NULL, NULL);
	lost_take(device->spec.target, fds, fd_count);
	device_reopen_failed(device, failure.text);
}

/* Locked anew: the lock went with the last process that had the file open. */
static void end_reopening(struct add_files *files, int error, const char *who)
{
	struct device *device = device_find_serial(files->set, files->serial);
	char why[200];
	int i;

	if (device && !error) {
		device_give(device, files->fds, files->count);
	} else if (device) {
		snprintf(why, sizeof(why), "cannot %s %.100s: %s",
			 is_open(files) ? "lock" : "open", path_of(files),
			 who[0] ? who : strerror(-error));
		device_reopen_failed(device, why);
	}
	for (i = 0; i < files->count; i++)
		if (files->fds[i] >= 0)
			opener_close(files->set->loop, files->fds[i], NULL,
				     NULL, NULL);
	free_paths(files);
	free(files);
}

static int begin_reopening(const struct device *device, const struct add *add,
			   struct failure *failure)
{
	struct add_files *files = calloc(1, sizeof(*files));

	if (!files)
		return failure_no_memory(failure);
	files->done = end_reopening;
	files->set = device->set;
	files->serial = device->serial;
	if (begin_open(files, add, failure) == 0)
		return 0;
	free(files);
	return -1;
}

/* The device's reopen(): its file first, unless that is open. */
static void reopen(struct device *device)
{
	/* The set is the host's first. */
	struct command_host *host = (struct command_host *)device->set;
	struct syntax_line line;
	struct failure failure;
	struct add add;
	int fds[MESSAGE_MAX_FDS], count;

	if (read_again(device, &line, &add, &failure) < 0) {
		device_reopen_failed(device, failure.text);
		return;
	}
	count = target_give_up(device->spec.target, fds);
	if (count || !add.target->opens || add.target->adopts_alone)
		open_again(host, device, &add, fds, count);
	else if (begin_reopening(device, &add, &failure) < 0)
		device_reopen_failed(device, failure.text);
}

/* What the target holds is here, or can be opened by this process. */
static int can_reopen(const struct target_ops *target, int fd_count)
{
	return fd_count > 0 || target->opens || !target->hold;
}

/*
 * The device cannot be served here yet, for the reason `why`, or, if that is
 * "", because its file is to be opened first: it is listed, with what it had.
 */
static void adopt_lost(struct command_host *host, const struct message *message,
		       struct add *add, int *fds, int fd_count, const char *why)
{
	struct device_spec *spec = &add->spec;
	struct failure failure;
	struct device *device;

	if (take_from_driver(spec, message, &failure) < 0)
		return;
	spec->geometry.size = device_disk_size(message->id);
	spec->target = lost_new(add->target, fds, fd_count);
	if (!spec->target ||
	    layers_put_on(&spec->layers, host->devices.loop,
			  &spec->target->backend, &add->common[LAYERS]) < 0) {
		device_close_spec(spec, host->devices.loop, NULL, NULL);
		return;
	}
	if (device_adopt(&host->devices, spec, &failure) < 0)
		return;
	device = device_find(&host->devices, message->id);
	device_reopen_later(
		device, can_reopen(add->target, fd_count) ? reopen : NULL, why);
}

int command_adopt(struct command_host *host, const struct message *message,
		  int *fds, int fd_count, struct failure *failure)
{
	struct target_args args = { .adopted = 1,
				    .size = device_disk_size(message->id),
				    .fds = fds,
				    .fd_count = fd_count };
	struct device_spec as_read;
	struct syntax_line line;
	struct add add;

	if (add_read_words(message->text, &line, &add, failure) < 0)
		return -1;
	if (fd_count == 0 && add.target->opens && !add.target->adopts_alone) {
		adopt_lost(host, message, &add, fds, 0, "");
		return 0;
	}
	if (!can_reopen(add.target, fd_count)) {
		failure_set(failure, SYMBOL_STATE, 0, NULL,
			    "what it held cannot be opened");
		adopt_lost(host, message, &add, fds, 0, failure->text);
		return -1;
	}
	as_read = add.spec;
	if (take_from_driver(&add.spec, message, failure) < 0)
		return -1;
	if (open_target(host, &add, &args, failure) == 0)
		return device_adopt(&host->devices, &add.spec, failure);
	device_close_spec(&add.spec, host->devices.loop, NULL, NULL);
	add.spec = as_read;
	adopt_lost(host, message, &add, fds, fd_count, failure->text);
	return -1;
}
