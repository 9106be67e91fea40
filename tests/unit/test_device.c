/* The life of a device, step by step, against a keeper that can be told off. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"
#include "fake.h"

#define QUEUES 2

/* What a plain add does on a kernel of today, and its undoing. */
#define ADDED	"FEATURES ADD PARAMS NOTE open q0+ q1+ START"
#define DELETED "STOP q1- q0- close DELETE"

/* On an old kernel, where the keeper holds a live device's rings as well. */
#define OLD_ADDED ADDED " TIMEOUT RING RING"

/* ---- memory that runs out ---- */

static int calloc_fails; /* the call that fails, from 1 */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	if (calloc_fails && --calloc_fails == 0)
		return NULL;
	return __real_calloc(count, size);
}

/* ---- a target that only counts ---- */

static unsigned targets; /* that are open */
static unsigned pieces;	 /* of memory that a target has to release */

static int release_target(struct target *target)
{
	(void)target;
	return pieces && --pieces;
}

static const struct target *gave_up; /* its files */

static void close_target(struct target *target)
{
	targets--;
	if (gave_up == target)
		gave_up = NULL;
	free(target);
}

static unsigned submits; /* requests that reached a target */

static void submit_target(struct backend *backend, struct io *io)
{
	(void)backend;
	(void)io;
	submits++;
}

static unsigned resumed; /* targets, after their old server had gone */
static int resume_error;

static int resume_target(struct target *target)
{
	const char *at = fake_trace();
	unsigned opened;

	(void)target;
	/* Before its queues ask: nobody may be served from what is stale. */
	for (opened = 0; (at = strstr(at, "open")); opened++)
		at++;
	if (opened > resumed)
		fail_msg("it was resumed with the char device open");
	resumed++;
	return resume_error;
}

/* What a target of another size was told, and when. */
static struct {
	uint64_t size;	/* the last one */
	unsigned calls; /* and how often */
	unsigned after; /* so many messages to the driver at the last */
	int fails, waits;
	uint64_t backing;     /* for size=auto */
	unsigned trims;	      /* calls */
	unsigned trim_pieces; /* that are left */
	int trim_error;
	unsigned trimmed_at; /* so many messages had been sent at the last */
} resizes;

static int resize_target(struct target *target, uint64_t size,
			 struct failure *failure)
{
	(void)target;
	resizes.calls++;
	if (resizes.fails)
		return failure_set(failure, SYMBOL_LIMIT, ENOMEM, "size",
				   "no memory for it");
	if (resizes.waits)
		return TARGET_LATER;
	resizes.size = size;
	resizes.after = fake.count[MESSAGE_RESIZE];
	return 0;
}

static int measure_target(struct target *target, uint64_t *size,
			  struct failure *failure)
{
	(void)target;
	*size = resizes.backing;
	if (resizes.backing)
		return 0;
	return failure_set(failure, SYMBOL_IO, EIO, NULL, "it cannot be told");
}

static int trim_target(struct target *target)
{
	(void)target;
	resizes.trims++;
	resizes.trimmed_at = fake.count[MESSAGE_NOTE];
	if (resizes.trim_error)
		return resizes.trim_error;
	return resizes.trim_pieces && --resizes.trim_pieces;
}

static const struct target_ops resize_ops = { .name = "test",
					      .io.submit = submit_target,
					      .resume = resume_target,
					      .resize = resize_target,
					      .trim = trim_target,
					      .close = close_target };
static const struct target_ops auto_ops = { .name = "test",
					    .io.submit = submit_target,
					    .resize = resize_target,
					    .measure = measure_target,
					    .close = close_target };

static const struct target_ops test_ops = { .name = "test",
					    .io.submit = submit_target,
					    .resume = resume_target,
					    .release = release_target,
					    .close = close_target };

static const struct target_ops *new_ops; /* of the next target */

static struct target *new_target(void)
{
	struct target *target = calloc(1, sizeof(*target));

	assert_non_null(target);
	target_init(target, new_ops);
	targets++;
	return target;
}

/* ---- what the one who asked was told ---- */

struct told {
	unsigned count;
	struct failure failure;
	uint32_t id;
};

static struct told added, deleted;

static void on_done(void *context, struct device *device,
		    const struct failure *failure)
{
	struct told *told = context;

	assert_non_null(device);
	told->count++;
	told->id = device->spec.id;
	memset(&told->failure, 0, sizeof(told->failure));
	if (failure)
		told->failure = *failure;
}

static void expect_told(struct told *told, enum symbol symbol, const char *text)
{
	assert_int_equal(told->count, 1);
	assert_string_equal(symbol_name(told->failure.symbol),
			    symbol_name(symbol));
	if (text && !strstr(told->failure.text, text))
		fail_msg("'%s' does not tell '%s'", told->failure.text, text);
	told->count = 0;
}

/* ---- devices ---- */

static struct device_set *const set = &fake_host.devices;
static unsigned empties;

static void on_empty(struct device_set *of)
{
	assert_ptr_equal(of, set);
	assert_int_equal(of->count, 0);
	empties++;
}

static struct device_spec new_spec(uint32_t id)
{
	struct device_spec spec = {
		.id = id, .queues = QUEUES, .depth = 128, .max_io = 512 << 10
	};

	spec.geometry.size = 64 << 20;
	spec.geometry.block_size = 512;
	spec.target = new_target();
	spec.words = strdup("add test");
	return spec;
}

static void begin_add(uint32_t id)
{
	struct device_spec spec = new_spec(id);
	struct failure failure;

	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
}

static struct device *add(uint32_t id)
{
	begin_add(id);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_non_null(device_find(set, added.id));
	assert_string_equal(device_state(device_find(set, added.id)), "live");
	return device_find(set, added.id);
}

/* A live device, and what made it forgotten. */
static struct device *add_quietly(void)
{
	struct device *device = add(DEVICE_ID_ANY);

	fake_forget();
	return device;
}

static void begin_delete(struct device *device, int force)
{
	struct failure failure;

	assert_int_equal(
		device_delete(device, force, on_done, &deleted, &failure), 0);
}

static void expect_gone(void)
{
	assert_int_equal(set->count, 0);
	assert_null(set->first);
	assert_int_equal(targets, 0);
}

static int start(void **state)
{
	(void)state;
	fake_start();
	set->on_empty = on_empty;
	empties = targets = pieces = submits = resumed = 0;
	resume_error = 0;
	new_ops = &test_ops;
	memset(&resizes, 0, sizeof(resizes));
	memset(&added, 0, sizeof(added));
	memset(&deleted, 0, sizeof(deleted));
	calloc_fails = 0;
	return 0;
}

/*
 * What a test has left is deleted, also when it failed half way. A device that
 * waits for a node when the keeper goes stays as it is: it is kept in sight.
 */
static int stop(void **state)
{
	struct message message = { .magic = MESSAGE_MAGIC, .result = -EPIPE };
	static struct device *stuck[8];
	static unsigned stuck_count;
	int tries;

	(void)state;
	fake_end_keeper();
	device_delete_all(set);
	for (tries = 0; set->first && tries < 1000; tries++) {
		message.serial = set->first->serial;
		device_answer(set, &message);
		pass_time(0.1);
	}
	if (set->first && stuck_count < COUNT(stuck))
		stuck[stuck_count++] = set->first;
	fake_stop();
	return 0;
}

/* ---- add ---- */

static void test_add(void **state)
{
	uint64_t seq = set->seq;
	struct device *device;

	(void)state;
	begin_add(DEVICE_ID_ANY);
	assert_string_equal(device_state(set->first), "adding");
	assert_int_equal(added.count, 0);
	fake_serve();
	fake_expect(ADDED);
	expect_told(&added, SYMBOL_NONE, NULL);
	device = device_find(set, 0);
	assert_non_null(device);
	assert_string_equal(device_state(device), "live");
	assert_string_equal(device->disk, "ublkb0");
	assert_string_equal(device_name(device), "ublkb0");
	assert_int_equal(device->open_queues, QUEUES);
	assert_int_equal(set->count, 1);
	assert_true(set->seq > seq);
	assert_int_equal(device_owned(device), 0);
	/* The features are known now. */
	add(DEVICE_ID_ANY);
	fake_expect("ADD PARAMS NOTE open q0+ q1+ START");
	assert_true(fake.defer);
	assert_int_equal(empties, 0);
}

/* A kernel that does not end a dead server's I/O gets a short timeout. */
static void test_add_on_old_kernel(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_OLD;
	add(DEVICE_ID_ANY);
	fake_expect(OLD_ADDED);
	assert_true(fake.last[MESSAGE_TIMEOUT].number > 0);
	assert_true(fake.last[MESSAGE_TIMEOUT].number <= 3000);
}

/* By number, and again after each command that it lets go of them for. */
static void test_rings_on_old_kernel(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_OLD;
	add(DEVICE_ID_ANY);
	assert_false(fake.defer);
	assert_int_equal(fake.last[MESSAGE_RING].id, 0);
	assert_int_equal(fake.last[MESSAGE_RING].number, FAKE_RING + 1);
	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	fake_forget();
	begin_delete(set->first, 0);
	fake_serve();
	fake_expect("BUSY RING RING");
	begin_delete(set->first, 1);
	fake_serve();
	fake_expect("STOP q1- q0- close DELETE");
}

static void test_timeout_fails(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_OLD;
	fake.result[MESSAGE_TIMEOUT] = -EIO;
	add(DEVICE_ID_ANY);
	fake_expect(OLD_ADDED);
	assert_true(log_has("timeout"));
}

static void test_what_the_driver_is_told(void **state)
{
	const struct message *message = &fake.last[MESSAGE_ADD];
	const struct ublk_params *params = &fake.last[MESSAGE_PARAMS].params;
	struct device_spec spec = new_spec(7);
	struct failure failure;

	(void)state;
	spec.read_only = 1;
	spec.geometry.block_size = 1024;
	spec.geometry.physical_block_size = 4096;
	spec.geometry.discard_granularity = 4096;
	spec.geometry.max_discard = 32 << 20;
	spec.geometry.max_write_zeroes = 16 << 20;
	spec.geometry.volatile_cache = 1;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(message->info.dev_id, 7);
	assert_int_equal(message->info.nr_hw_queues, QUEUES);
	assert_int_equal(message->info.queue_depth, 128);
	assert_int_equal(message->info.max_io_buf_bytes, 512 << 10);
	assert_true(message->info.flags & UBLK_F_USER_COPY);
	assert_int_equal(params->types,
			 UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD);
	assert_int_equal(params->basic.attrs, UBLK_ATTR_READ_ONLY |
						      UBLK_ATTR_VOLATILE_CACHE |
						      UBLK_ATTR_FUA);
	assert_int_equal(params->basic.logical_bs_shift, 10);
	assert_int_equal(params->basic.physical_bs_shift, 12);
	assert_int_equal(params->basic.max_sectors, 1024);
	assert_int_equal(params->basic.dev_sectors, (64 << 20) / 512);
	assert_int_equal(params->discard.discard_granularity, 4096);
	assert_int_equal(params->discard.max_discard_sectors, 65536);
	assert_int_equal(params->discard.max_write_zeroes_sectors, 32768);
	assert_int_equal(params->discard.max_discard_segments, 1);
}

/* The kernel is told not to look for partitions, where it can be. */
static void test_no_partscan(void **state)
{
	struct device_spec spec = new_spec(1);
	struct failure failure;

	(void)state;
	spec.no_partscan = 1;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_true(fake.last[MESSAGE_ADD].info.flags &
		    UBLK_F_NO_AUTO_PART_SCAN);
	spec = new_spec(2);
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_false(fake.last[MESSAGE_ADD].info.flags &
		     UBLK_F_NO_AUTO_PART_SCAN);
	set->features &= ~UBLK_F_NO_AUTO_PART_SCAN;
	fake_forget();
	spec = new_spec(3);
	spec.no_partscan = 1;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_UNSUPPORTED, "partscan=no");
	assert_string_equal(added.failure.arg, "partscan");
	fake_expect("");
}

/* Commands for many requests, where the driver has them. */
static void test_batch(void **state)
{
	static const enum io_mode modes[] = { IO_NEED_GET_DATA, IO_USER_COPY,
					      IO_MODES };
	struct device_spec spec = new_spec(1);
	struct failure failure;

	(void)state;
	spec.batch = 1;
	spec.depth = 1;
	spec.mode = IO_MODES;
	spec.geometry.modes = modes;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_true(device_batch(fake.last[MESSAGE_ADD].info.flags));
	assert_true(fake.batch);
	/* One does not go with the other, and no queue has fewer than two. */
	assert_int_equal(device_find(set, 1)->spec.mode, IO_USER_COPY);
	assert_int_equal(device_find(set, 1)->spec.depth, 2);
	spec = new_spec(2);
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_false(device_batch(fake.last[MESSAGE_ADD].info.flags));
	assert_false(fake.batch);
	/* The driver says that it can, and then it cannot. */
	fake.dropped_flags = UBLK_F_BATCH_IO;
	spec = new_spec(3);
	spec.batch = 1;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_UNSUPPORTED, NULL);
	assert_null(device_find(set, 3));
	set->features = FAKE_FEATURES_OLD;
	fake_forget();
	spec = new_spec(4);
	spec.batch = 1;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_UNSUPPORTED, "batch=yes");
	assert_string_equal(added.failure.arg, "batch");
	fake_expect("");
}

/* Without any of it: no attributes, and no parameters of a discard. */
static void test_plain_params(void **state)
{
	const struct ublk_params *params = &fake.last[MESSAGE_PARAMS].params;

	(void)state;
	add(DEVICE_ID_ANY);
	assert_int_equal(params->types, UBLK_PARAM_TYPE_BASIC);
	assert_int_equal(params->basic.attrs, 0);
	assert_int_equal(params->basic.logical_bs_shift, 9);
	assert_int_equal(params->basic.physical_bs_shift, 9);
}

/* The driver has the last word on id and queues. */
static void test_what_the_driver_gave(void **state)
{
	struct device *device;

	(void)state;
	fake.max_queues = 1;
	fake.next_id = 5;
	device = add(DEVICE_ID_ANY);
	fake_expect("FEATURES ADD PARAMS NOTE open q0+ START");
	assert_int_equal(device->spec.id, 5);
	assert_int_equal(device->spec.queues, 1);
	assert_int_equal(device->open_queues, 1);
	assert_string_equal(device->disk, "ublkb5");
}

static void test_set_is_sorted(void **state)
{
	static const uint32_t ids[] = { 9, 3, 70, 4 },
			      sorted[] = { 3, 4, 9, 70 };
	struct device *device;
	unsigned i;

	(void)state;
	for (i = 0; i < COUNT(ids); i++)
		add(ids[i]);
	for (i = 0, device = set->first; device; device = device->next, i++)
		assert_int_equal(device->spec.id, sorted[i]);
	assert_int_equal(i, COUNT(ids));
	assert_null(device_find(set, 5));
	assert_null(device_find(set, DEVICE_ID_ANY));
}

static void test_find(void **state)
{
	struct device_spec spec = new_spec(3);
	struct failure failure;
	struct device *device;

	(void)state;
	snprintf(spec.name, sizeof(spec.name), "backup");
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	assert_ptr_equal(device_find_name(set, "backup"), set->first);
	fake_serve();
	device = device_find(set, 3);
	assert_non_null(device);
	assert_string_equal(device_name(device), "backup");
	assert_ptr_equal(device_find_name(set, "backup"), device);
	assert_ptr_equal(device_find_name(set, "ublkb3"), device);
	assert_null(device_find_name(set, "ublkb"));
	assert_null(device_find_name(set, ""));
	/* Not even one that has no name yet. */
	fake.hold[MESSAGE_ADD] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	assert_null(device_find_name(set, ""));
	assert_null(device_find(set, DEVICE_ID_ANY));
}

/* Each command that can fail: what is undone, and what the user is told. */
static void check_failed_add(const char *trace, enum symbol symbol,
			     const char *text)
{
	unsigned fds = count_fds();

	begin_add(DEVICE_ID_ANY);
	fake_serve();
	fake_pass_time(7);
	fake_expect(trace);
	expect_told(&added, symbol, text);
	expect_gone();
	assert_int_equal(count_fds(), fds);
	assert_int_equal(empties, 1);
	empties = 0;
}

static void test_no_driver(void **state)
{
	(void)state;
	fake.result[MESSAGE_FEATURES] = -ENOENT;
	check_failed_add("FEATURES", SYMBOL_UNSUPPORTED, "modprobe ublk_drv");
	/* It may be loaded any time. */
	fake.result[MESSAGE_FEATURES] = 0;
	add(DEVICE_ID_ANY);
}

static void test_no_permission(void **state)
{
	(void)state;
	fake.result[MESSAGE_FEATURES] = -EACCES;
	check_failed_add("FEATURES", SYMBOL_DENIED, "/dev/ublk-control");
}

static void test_features_are_missing(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_OLD & ~UBLK_F_USER_COPY;
	check_failed_add("FEATURES", SYMBOL_UNSUPPORTED, "user");
	fake.features = FAKE_FEATURES_OLD & ~UBLK_F_CMD_IOCTL_ENCODE;
	check_failed_add("FEATURES", SYMBOL_UNSUPPORTED, "ioctl");
}

/* The driver drops flags without a word: what comes back is what counts. */
static void test_flags_are_dropped(void **state)
{
	(void)state;
	fake.dropped_flags = UBLK_F_USER_COPY;
	check_failed_add("FEATURES ADD DELETE", SYMBOL_UNSUPPORTED, NULL);
}

/* ---- how data moves ---- */

static const enum io_mode best_last[] = { IO_NEED_GET_DATA, IO_COPY,
					  IO_USER_COPY, IO_MODES };
static const enum io_mode one_only[] = { IO_NEED_GET_DATA, IO_MODES };

#define MODE_FLAGS (UBLK_F_USER_COPY | UBLK_F_NEED_GET_DATA)

/* An add in that mode, and what its device and its queues have. */
static void check_mode(uint32_t id, enum io_mode mode,
		       const enum io_mode *modes, enum io_mode expected,
		       uint64_t flags)
{
	struct device_spec spec = new_spec(id);
	struct failure failure;
	struct device *device;

	spec.mode = mode;
	spec.geometry.modes = modes;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	device = device_find(set, id);
	assert_int_equal(device->spec.mode, expected);
	assert_int_equal(device->queues[0].port.mode, expected);
	assert_int_equal(device->queues[1].port.mode, expected);
	assert_int_equal(fake.last[MESSAGE_ADD].info.flags & MODE_FLAGS, flags);
	assert_int_equal(device_mode(fake.last[MESSAGE_ADD].info.flags),
			 expected);
	fake_forget();
}

static void test_mode(void **state)
{
	(void)state;
	check_mode(0, IO_USER_COPY, best_last, IO_USER_COPY, UBLK_F_USER_COPY);
	check_mode(1, IO_NEED_GET_DATA, best_last, IO_NEED_GET_DATA,
		   UBLK_F_NEED_GET_DATA);
	check_mode(2, IO_COPY, best_last, IO_COPY, 0);
	check_mode(3, IO_MODES, best_last, IO_NEED_GET_DATA,
		   UBLK_F_NEED_GET_DATA);
	check_mode(4, IO_MODES, best_last + 1, IO_COPY, 0);
	check_mode(5, IO_MODES, NULL, IO_USER_COPY, UBLK_F_USER_COPY);
}

/* A driver that cannot do the best one. */
static void test_mode_is_missing(void **state)
{
	struct device_spec spec = new_spec(9);
	struct failure failure;

	(void)state;
	fake.features = FAKE_FEATURES_OLD & ~UBLK_F_NEED_GET_DATA;
	check_mode(0, IO_MODES, best_last, IO_COPY, 0);
	check_mode(1, IO_MODES, one_only, IO_USER_COPY, UBLK_F_USER_COPY);
	spec.mode = IO_NEED_GET_DATA;
	spec.geometry.modes = best_last;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	expect_told(&added, SYMBOL_UNSUPPORTED, "mode=need-get-data");
	assert_string_equal(added.failure.arg, "mode");
	assert_null(device_find(set, 9));
	fake_expect("");
}

static void test_add_fails(void **state)
{
	(void)state;
	fake.result[MESSAGE_ADD] = -EPERM;
	check_failed_add("FEATURES ADD", SYMBOL_DENIED, "add a ublk device");
	fake.result[MESSAGE_ADD] = -EEXIST;
	check_failed_add("ADD", SYMBOL_EXISTS, "in use");
	assert_string_equal(added.failure.arg, "id");
}

/* The file that is made for a device goes if that never becomes live. */
static void test_new_file(void **state)
{
	char made[512];
	int i, fd;

	(void)state;
	snprintf(made, sizeof(made), "%s", test_path("made.XXXXXX"));
	fd = mkstemp(made);
	assert_true(fd >= 0);
	close(fd);
	for (i = 0; i < 2; i++) {
		struct device_spec spec = new_spec(DEVICE_ID_ANY);
		struct failure failure;

		spec.new_file = strdup(made);
		fake.result[MESSAGE_PARAMS] = i == 0 ? 0 : -EINVAL;
		assert_int_equal(
			device_add(set, &spec, on_done, &added, &failure), 0);
		fake_serve();
		expect_told(&added, i == 0 ? SYMBOL_NONE : SYMBOL_IO, NULL);
		if (i == 0) {
			begin_delete(device_find(set, added.id), 0);
			fake_serve();
			expect_told(&deleted, SYMBOL_NONE, NULL);
		}
		assert_int_equal(access(made, F_OK), i == 0 ? 0 : -1);
	}
	test_folder_remove();
}

static void test_params_fail(void **state)
{
	(void)state;
	fake.result[MESSAGE_PARAMS] = -EINVAL;
	check_failed_add("FEATURES ADD PARAMS DELETE", SYMBOL_IO, "parameters");
}

/* The next server would not know of it. */
static void test_note_fails(void **state)
{
	(void)state;
	fake.result[MESSAGE_NOTE] = -ENOSPC;
	check_failed_add("FEATURES ADD PARAMS NOTE DELETE", SYMBOL_LIMIT,
			 "note the device");
}

static void test_open_fails(void **state)
{
	(void)state;
	fake.open_error = EBUSY;
	fake.open_failures = 1;
	check_failed_add("FEATURES ADD PARAMS NOTE STOP DELETE", SYMBOL_BUSY,
			 "char device");
	assert_int_equal(fake.opens, 1);
}

/* A node that udev has yet to make, or to give its mode. */
static void test_open_is_retried(void **state)
{
	(void)state;
	fake.open_error = ENOENT;
	fake.open_failures = 7;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	assert_int_equal(added.count, 0);
	assert_int_equal(fake.opens, 1);
	fake_pass_time(0.2);
	fake_expect(ADDED);
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(fake.opens, 8);
}

static void test_open_patience(void **state)
{
	(void)state;
	fake.open_error = ENOENT;
	fake.open_failures = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	fake_pass_time(4.5);
	assert_int_equal(added.count, 0);
	fake_pass_time(1.5);
	fake_expect("FEATURES ADD PARAMS NOTE STOP DELETE");
	expect_told(&added, SYMBOL_NOTFOUND, "char device");
	expect_gone();
}

static void test_queue_fails(void **state)
{
	(void)state;
	fake.queue_error = -ENOMEM;
	fake.queue_fails = 1;
	check_failed_add("FEATURES ADD PARAMS NOTE open q0+ q1! STOP q0- close "
			 "DELETE",
			 SYMBOL_LIMIT, "char device");
	fake.queue_fails = 0;
	check_failed_add("ADD PARAMS NOTE open q0! STOP close DELETE",
			 SYMBOL_LIMIT, "char device");
}

static void test_out_of_memory(void **state)
{
	struct device_spec spec = new_spec(1);
	struct failure failure;

	(void)state;
	calloc_fails = 1;
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_LIMIT);
	assert_int_equal(added.count, 0);
	expect_gone();
	/* The second one is for the queues. */
	begin_add(DEVICE_ID_ANY);
	calloc_fails = 1;
	fake_serve();
	fake_expect("FEATURES ADD PARAMS NOTE open STOP close DELETE");
	expect_told(&added, SYMBOL_LIMIT, NULL);
	expect_gone();
}

static void test_start_fails(void **state)
{
	(void)state;
	fake.result[MESSAGE_START] = -EIO;
	check_failed_add(ADDED " " DELETED, SYMBOL_IO, "start");
}

/* The driver refuses a FETCH: START would wait for it for ever. */
static void test_fetch_is_refused(void **state)
{
	(void)state;
	fake.hold[MESSAGE_START] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	fake_expect(ADDED);
	fake_refuse_fetch(0, -EINVAL);
	fake_serve();
	fake_expect("CANCEL");
	assert_int_equal(fake.last[MESSAGE_CANCEL].serial,
			 fake.last[MESSAGE_START].serial);
	assert_int_equal(fake.last[MESSAGE_CANCEL].id, 0);
	fake.result[MESSAGE_START] = -EINTR;
	fake_release(MESSAGE_START);
	fake_expect(DELETED);
	/* The reason is the refusal, not the cancel. */
	expect_told(&added, SYMBOL_IO, strerror(EINVAL));
	expect_gone();
}

/* Who deletes what is left of it by force gets that, and not why it failed. */
static void test_delete_of_a_failed_add(void **state)
{
	(void)state;
	fake.result[MESSAGE_START] = -EIO;
	fake.hold[MESSAGE_STOP] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	begin_delete(set->first, 1);
	expect_told(&added, SYMBOL_IO, "start");
	fake_release(MESSAGE_STOP);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
	/* Unless it cannot be had. */
	fake.hold[MESSAGE_STOP] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	fake.result[MESSAGE_DELETE] = -EIO;
	begin_delete(set->first, 1);
	expect_told(&added, SYMBOL_IO, "start");
	fake_release(MESSAGE_STOP);
	expect_told(&deleted, SYMBOL_IO, "cannot be deleted");
	expect_gone();
}

/* Once it is live there is no START to cancel. */
static void test_fetch_is_refused_later(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake_refuse_fetch(device->spec.id, -EINVAL);
	fake_serve();
	fake_expect("");
	assert_true(log_has("refused"));
}

static void test_node_comes_late(void **state)
{
	(void)state;
	fake.node_after = 20;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	assert_int_equal(added.count, 0);
	assert_string_equal(device_state(set->first), "adding");
	fake_pass_time(0.5);
	expect_told(&added, SYMBOL_NONE, NULL);
	fake_expect(ADDED);
}

static void test_node_never_comes(void **state)
{
	(void)state;
	fake.node_after = 1 << 20;
	check_failed_add(ADDED " " DELETED, SYMBOL_TIMEOUT,
			 "/dev/ublkb0 does not appear: is devtmpfs mounted");
	/* It looked more than now and then, and less than all the time. */
	assert_true(fake.looks > 50 && fake.looks < 2000);
}

/* What is no node stays one: the answer comes at once, and says what it is. */
static void test_in_the_way(void **state)
{
	static const struct {
		const char *path;
		unsigned mode;
		const char *what;
	} things[] = {
		{ "/dev/ublkb5", S_IFREG | 0644, "ublkb5 is a regular file" },
		{ "/dev/ublkb5", S_IFDIR | 0755, "ublkb5 is a folder" },
		{ "/dev/ublkb5", S_IFLNK | 0777, "ublkb5 is a symbolic link" },
		{ "/dev/ublkb5", S_IFIFO | 0644, "pipe" },
		{ "/dev/ublkb5", S_IFCHR | 0644, "another device" },
		{ "/dev/ublkc5", S_IFREG | 0644, "ublkc5 is a regular file" },
		{ "/dev/ublkc5", S_IFBLK | 0644, "ublkc5 is another device" },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < COUNT(things); i++) {
		fake.in_the_way = things[i].path;
		fake.way_mode = things[i].mode;
		begin_add(5);
		fake_serve();
		expect_told(&added, SYMBOL_EXISTS, things[i].what);
		assert_null(strstr(fake_trace(), "ADD"));
		fake_forget();
		expect_gone();
	}
	begin_add(6);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
}

/* It came only after the look: still the answer does not take seconds. */
static void test_in_the_way_late(void **state)
{
	(void)state;
	fake.hold[MESSAGE_START] = 1;
	begin_add(5);
	fake_serve();
	fake.in_the_way = "/dev/ublkb5";
	fake.way_mode = S_IFREG | 0644;
	fake_release(MESSAGE_START);
	fake_serve();
	fake_expect(ADDED " " DELETED);
	expect_told(&added, SYMBOL_EXISTS, "regular file");
	expect_gone();
}

/* An old node of that name may still be replaced by the right one. */
static void test_old_node(void **state)
{
	(void)state;
	fake.node_number = "259:3\n";
	fake.in_the_way = "/dev/ublkb5";
	fake.way_mode = S_IFBLK | 0644; /* 8:1 */
	begin_add(5);
	fake_serve();
	assert_int_equal(added.count, 0);
	fake_pass_time(1);
	assert_int_equal(added.count, 0);
	fake.node_number = "8:1\n";
	fake_pass_time(0.1);
	assert_int_equal(added.count, 0); /* that of the char device is not */
	fake.node_number = NULL;
	fake_pass_time(0.1);
	expect_told(&added, SYMBOL_NONE, NULL);
	fake.in_the_way = "/dev/ublkb6";
	fake.node_number = "0:0\n"; /* as the char device's */
	begin_add(6);
	fake_pass_time(6);
	expect_told(&added, SYMBOL_EXISTS, "ublkb6 is another device");
}

/* Without id= there is a later number; the driver's own choice goes again. */
static void test_skip_number(void **state)
{
	(void)state;
	fake.next_id = 4;
	fake.in_the_way = "/dev/ublkb4";
	fake.way_mode = S_IFREG | 0644;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(added.id, 5);
	assert_string_equal(device_find(set, 5)->disk, "ublkb5");
	fake_expect("FEATURES ADD DELETE ADD PARAMS NOTE open q0+ q1+ START");
	assert_int_equal(fake.last[MESSAGE_DELETE].id, 4);
	assert_int_equal(fake.last[MESSAGE_ADD].info.dev_id, 5);
	assert_true(log_has("ublkb4 is a regular file"));
	/* The next one is ours: it is not asked for. */
	fake.next_id = 4;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(added.id, 6);
}

/* Others have all of them, or /dev is full of files: that ends. */
static void test_skip_in_vain(void **state)
{
	(void)state;
	fake.in_the_way = "/dev/ublkb";
	fake.way_mode = S_IFREG | 0644;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	expect_told(&added, SYMBOL_EXISTS, "no number is free up to 64");
	assert_int_equal(fake.count[MESSAGE_ADD], 1);
	expect_gone();
}

/* Another program has the number meanwhile. */
static void test_skip_taken(void **state)
{
	(void)state;
	fake.in_the_way = "/dev/ublkc0";
	fake.way_mode = S_IFREG | 0644;
	fake.hold[MESSAGE_DELETE] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	assert_string_equal(device_state(set->first), "deleting");
	fake.hold[MESSAGE_ADD] = 1;
	fake_release(MESSAGE_DELETE);
	fake.result[MESSAGE_ADD] = -EEXIST;
	fake_release(MESSAGE_ADD);
	expect_told(&added, SYMBOL_EXISTS, "no number is free");
	assert_int_equal(fake.count[MESSAGE_ADD], 65);
	expect_gone();
}

/* The first failure is the one to tell; that of the undoing is not. */
static void test_undoing_fails(void **state)
{
	(void)state;
	fake.result[MESSAGE_START] = -EIO;
	fake.result[MESSAGE_STOP] = -EINVAL;
	fake.result[MESSAGE_DELETE] = -EINVAL;
	check_failed_add(ADDED " " DELETED, SYMBOL_IO, "start");
}

/* Every message but FEATURES is about one device, in its words. */
static void test_messages_name_the_device(void **state)
{
	struct device *device;
	unsigned type;

	(void)state;
	fake.next_id = 42;
	device = add(DEVICE_ID_ANY);
	begin_delete(device, 0);
	fake_serve();
	for (type = MESSAGE_PARAMS; type <= MESSAGE_DELETE; type++) {
		if (!fake.count[type])
			continue;
		assert_int_equal(fake.last[type].id, 42);
		assert_int_equal(fake.last[type].serial,
				 fake.last[MESSAGE_ADD].serial);
	}
}

static void test_strange_answers(void **state)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_STOP,
				   .result = -EIO,
				   .serial = 999 };
	struct device *device = add_quietly();

	(void)state;
	device_answer(set, &message);
	message.serial = device->serial;
	device_answer(set, &message);
	assert_string_equal(device_state(device), "live");
	fake_expect("");
}

/* A slow device holds up no other. */
static void test_side_by_side(void **state)
{
	(void)state;
	fake.hold[MESSAGE_START] = 1;
	begin_add(1);
	fake_serve();
	assert_int_equal(fake_held(), 1);
	fake.hold[MESSAGE_START] = 0;
	begin_add(2);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(added.id, 2);
	begin_delete(device_find(set, 2), 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	assert_string_equal(device_state(device_find(set, 1)), "adding");
	fake_release(MESSAGE_START);
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(added.id, 1);
}

/* ---- taking over ---- */

#define TAKEN "q0+ q1+ RECOVER open END_RECOVER"
#define LOST  "q0+ q1+ RECOVER q1- q0-"

/* One that another server has had; nothing is begun yet. */
static struct device *adopt(uint32_t id)
{
	struct device_spec spec = new_spec(id);
	struct failure failure;

	set->features = FAKE_FEATURES_NEW;
	assert_int_equal(device_adopt(set, &spec, &failure), 0);
	fake_serve();
	fake_expect("");
	assert_string_equal(device_state(device_find(set, id)), "quiesced");
	return device_find(set, id);
}

static void expect_state(const struct device *device, const char *state)
{
	assert_string_equal(device_state(device), state);
}

static void test_take_over(void **state)
{
	struct device *device = adopt(5);

	(void)state;
	assert_string_equal(device_name(device), "ublkb5");
	assert_int_equal(resumed, 0);
	device_recover_all(set);
	expect_state(device, "quiesced");
	fake_serve();
	fake_expect(TAKEN);
	expect_state(device, "live");
	assert_int_equal(resumed, 1);
	assert_int_equal(fake.last[MESSAGE_END_RECOVER].id, 5);
	/* Later ones are none of its business. */
	device_recover_all(set);
	fake_serve();
	fake_expect("");
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
}

static void test_take_over_of_two(void **state)
{
	struct device *five = adopt(5), *three = adopt(3);

	(void)state;
	fake.hold[MESSAGE_RECOVER] = 1;
	device_recover_all(set);
	fake_serve();
	assert_int_equal(fake_held(), 2);
	fake.hold[MESSAGE_RECOVER] = 0;
	fake_release(MESSAGE_RECOVER);
	expect_state(five, "live");
	expect_state(three, "live");
	assert_int_equal(resumed, 2);
}

/* Kernels that do not abort on close want the I/O timeout looked at. */
static void test_take_over_on_old_kernel(void **state)
{
	struct device *device = adopt(5);

	(void)state;
	set->features = FAKE_FEATURES_OLD;
	device_recover_all(set);
	fake_serve();
	fake_expect(TAKEN " TIMEOUT RING RING");
	expect_state(device, "live");
}

/* The old server takes its time to be gone: often at first, told when late. */
static void test_take_over_waits(void **state)
{
	struct device *device = adopt(5);
	unsigned asked;

	(void)state;
	fake.result[MESSAGE_RECOVER] = -EBUSY;
	device_recover_all(set);
	fake_pass_time(0.5);
	asked = fake.count[MESSAGE_RECOVER];
	assert_in_range(asked, 20, 300);
	assert_false(log_has("dead server's last request"));
	fake_pass_time(10);
	assert_int_equal(log_count("dead server's last request"), 1);
	assert_in_range(fake.count[MESSAGE_RECOVER] - asked, 50, 400);
	expect_state(device, "quiesced");
	assert_int_equal(resumed, 0);
	fake.result[MESSAGE_RECOVER] = 0;
	fake_forget();
	fake_pass_time(0.2);
	fake_expect("RECOVER open END_RECOVER");
	expect_state(device, "live");
}

static void test_take_over_of_one_that_is_gone(void **state)
{
	(void)state;
	adopt(5);
	fake.result[MESSAGE_RECOVER] = -ENODEV;
	device_recover_all(set);
	fake_serve();
	fake_expect(LOST);
	expect_gone();
}

/* It is somebody's data: it stays in sight, and can be deleted. */
static void check_lost(const char *trace)
{
	struct device *device = adopt(5);

	device_recover_all(set);
	fake_serve();
	fake_expect(trace);
	expect_state(device, "quiesced");
	assert_true(log_has("cannot be taken over"));
	begin_delete(device, 1);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	fake_forget();
	log_forget();
	expect_gone();
}

static void test_take_over_fails(void **state)
{
	(void)state;
	fake.result[MESSAGE_RECOVER] = -EPERM;
	check_lost(LOST);
	fake.result[MESSAGE_RECOVER] = 0;
	resume_error = -EIO;
	check_lost(LOST);
	resume_error = 0;
	fake.open_error = EBUSY;
	fake.open_failures = 1;
	check_lost(LOST);
	fake.result[MESSAGE_END_RECOVER] = -EINVAL;
	check_lost(TAKEN " q1- q0- close");
}

/* ---- what could not be taken over is tried again ---- */

static struct device *lose(void)
{
	struct device *device = adopt(5);

	device_recover_all(set);
	fake_serve();
	expect_state(device, "quiesced");
	assert_int_equal(device->step, DEVICE_LOST);
	fake_forget();
	return device;
}

/* At growing intervals, and told once. */
static void test_lost_is_tried_again(void **state)
{
	struct device *device;
	unsigned asked;

	(void)state;
	fake.result[MESSAGE_RECOVER] = -ENOMEM;
	device = lose();
	assert_non_null(strstr(device->why, strerror(ENOMEM)));
	assert_in_range(device_retry_in(device) * 1000, 900, 1000);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 1);
	fake_pass_time(1.1);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 2);
	fake_pass_time(1.8);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 2);
	fake_pass_time(0.3);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 3);
	fake_pass_time(130);
	asked = fake.count[MESSAGE_RECOVER];
	assert_in_range(asked, 7, 10);
	fake_pass_time(121);
	assert_int_equal(fake.count[MESSAGE_RECOVER], asked + 2);
	assert_int_equal(log_count("cannot be taken over"), 1);
	fake.result[MESSAGE_RECOVER] = 0;
	fake_pass_time(61);
	expect_state(device, "live");
	assert_int_equal(resumed, 1);
	/* That is all: nothing is waited for any more. */
	assert_false(timer_is_set());
}

/* Another reason is news. */
static void test_lost_for_another_reason(void **state)
{
	struct device *device;

	(void)state;
	fake.result[MESSAGE_RECOVER] = -ENOMEM;
	device = lose();
	fake.result[MESSAGE_RECOVER] = -EPERM;
	fake_pass_time(1.1);
	assert_int_equal(log_count("cannot be taken over"), 2);
	assert_non_null(strstr(device->why, strerror(EPERM)));
}

/* The driver is not asked to give it out before there is a ring for it. */
static void test_lost_without_a_ring(void **state)
{
	struct device *device;

	(void)state;
	fake.queue_error = -EPERM;
	fake.queue_fails = 1;
	device = adopt(5);
	device_recover_all(set);
	fake_serve();
	fake_expect("q0+ q1! q0-");
	assert_non_null(strstr(device->why, "no ring"));
	fake.queue_error = 0;
	fake_pass_time(1.1);
	fake_expect(TAKEN);
	expect_state(device, "live");
}

/* An old driver has given it out, and does so once. */
static void test_lost_behind_the_first_command(void **state)
{
	struct device *device;

	(void)state;
	fake.open_error = EMFILE;
	fake.open_failures = 1;
	device = adopt(5);
	set->features = FAKE_FEATURES_OLD;
	device_recover_all(set);
	fake_serve();
	fake_expect(LOST);
	resume_error = -EIO;
	fake_pass_time(1.1);
	fake_expect("");
	resume_error = 0;
	fake_pass_time(2.1);
	fake_expect("open q0+ q1+ END_RECOVER TIMEOUT RING RING");
	expect_state(device, "live");
}

/* Once it has seen a FETCH, another round needs a driver that aborts on close. */
static void test_lost_behind_a_fetch(void **state)
{
	struct device *device;

	(void)state;
	fake.start_error = -ENOMEM;
	device = adopt(5);
	set->features = FAKE_FEATURES_OLD;
	device_recover_all(set);
	fake_serve();
	fake_expect("q0+ q1+ RECOVER open q0? q1- q0- close");
	assert_true(device_retry_in(device) < 0);
	assert_false(log_has("tried again"));
	fake_pass_time(100);
	fake_expect("");
	begin_delete(device, 1);
	fake_serve();
	fake_forget();
	device = lose();
	assert_true(log_has("tried again"));
	fake.start_error = 0;
	fake_pass_time(1.1);
	fake_expect(TAKEN);
	expect_state(device, "live");
}

/* Each try fails for a reason of its own. */
static void test_lost_by_a_refusal(void **state)
{
	struct device *device;

	(void)state;
	set->features = FAKE_FEATURES_NEW;
	device = adopt(5);
	fake.hold[MESSAGE_END_RECOVER] = 1;
	device_recover_all(set);
	fake_serve();
	fake_refuse_fetch(5, -EINVAL);
	fake.result[MESSAGE_END_RECOVER] = -EINTR;
	fake_release(MESSAGE_END_RECOVER);
	assert_non_null(strstr(device->why, strerror(EINVAL)));
	fake.result[MESSAGE_END_RECOVER] = -ENOMEM;
	fake_pass_time(1.1);
	assert_non_null(strstr(device->why, strerror(ENOMEM)));
}

/* A command for it in between ends no wait, and begins none too early. */
static void test_commands_for_a_lost_one(void **state)
{
	struct device *device;
	struct failure failure;

	(void)state;
	fake.result[MESSAGE_RECOVER] = -ENOMEM;
	device = lose();
	fake.hold[MESSAGE_NOTE] = 1;
	assert_int_equal(device_note(device, strdup("add test x=1"), on_done,
				     &added, &failure),
			 0);
	fake_pass_time(2);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 1);
	fake_release(MESSAGE_NOTE);
	expect_told(&added, SYMBOL_NONE, NULL);
	fake_pass_time(0.1);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 2);
	/* Nothing of it is left when it is deleted. */
	fake.hold[MESSAGE_BUSY] = 1;
	begin_delete(device, 0);
	fake_pass_time(10);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 2);
	assert_int_equal(fake.count[MESSAGE_BUSY], 1);
	fake_release(MESSAGE_BUSY);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* Somebody has it open: it is still another server's device afterwards. */
static void test_delete_of_a_lost_one_refused(void **state)
{
	struct device *device;

	(void)state;
	fake.result[MESSAGE_RECOVER] = -ENOMEM;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	device = lose();
	fake.hold[MESSAGE_BUSY] = 1;
	begin_delete(device, 0);
	fake_serve();
	expect_state(device, "quiesced");
	assert_string_equal(device_step_name(device), "users");
	fake_release(MESSAGE_BUSY);
	expect_told(&deleted, SYMBOL_BUSY, "mounted");
	assert_string_equal(device_step_name(device), "lost");
	expect_state(device, "quiesced");
	fake.result[MESSAGE_RECOVER] = 0;
	fake.open_error = EMFILE;
	fake.open_failures = 1;
	fake_pass_time(1.1);
	expect_state(device, "quiesced");
	fake_forget();
	fake_pass_time(2.1);
	fake_expect("open q0+ q1+ END_RECOVER");
	expect_state(device, "live");
}

/* Nobody is there to run its commands. */
static void test_lost_without_a_keeper(void **state)
{
	(void)state;
	fake.result[MESSAGE_RECOVER] = -ENOMEM;
	lose();
	fake_end_keeper();
	device_keeper_gone(set);
	fake_pass_time(100);
	fake_expect("");
}

/* Keeper and server were killed between the two commands of a take-over. */
static void test_take_over_a_second_time(void **state)
{
	(void)state;
	fake.result[MESSAGE_RECOVER] = -EINVAL;
	check_lost(LOST);
	adopt(5);
	set->features = FAKE_FEATURES_OLD;
	device_recover_all(set);
	fake_serve();
	fake_expect("q0+ q1+ RECOVER STOP q1- q0- DELETE");
	assert_true(log_has("cannot give it out again"));
	expect_gone();
}

/* Its users have waited long enough. */
static void test_delete_while_it_waits(void **state)
{
	struct device *device = adopt(5);
	struct failure failure;

	(void)state;
	fake.result[MESSAGE_RECOVER] = -EBUSY;
	device_recover_all(set);
	fake_pass_time(0.1);
	assert_int_equal(device_delete(device, 0, on_done, &deleted, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "being taken over"));
	begin_delete(device, 1);
	fake_pass_time(0.1);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* By force in each step of a take-over: two may want it, and both are told. */
static void delete_in_take_over(uint32_t type, const char *after)
{
	struct device *device = adopt(5);
	struct failure failure;

	fake.hold[type] = 1;
	if (type == MESSAGE_TIMEOUT)
		set->features = FAKE_FEATURES_OLD;
	device_recover_all(set);
	fake_serve();
	fake_forget();
	begin_delete(device, 1);
	assert_int_equal(device_delete(device, 1, on_done, &added, &failure),
			 0);
	assert_int_equal(device_delete(device, 1, on_done, &added, &failure),
			 -1);
	assert_non_null(strstr(failure.text, "being deleted"));
	fake_serve();
	fake_expect("");
	fake_release(type);
	fake_expect(after);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_delete_in_take_over(void **state)
{
	(void)state;
	delete_in_take_over(MESSAGE_RECOVER, "STOP q1- q0- DELETE");
	delete_in_take_over(MESSAGE_END_RECOVER, "STOP q1- q0- close DELETE");
	fake.result[MESSAGE_END_RECOVER] = -EINVAL;
	delete_in_take_over(MESSAGE_END_RECOVER, "STOP q1- q0- close DELETE");
	fake.result[MESSAGE_END_RECOVER] = 0;
	delete_in_take_over(MESSAGE_TIMEOUT, "STOP q1- q0- close DELETE");
}

/* The char device does not come: nor is that a reason to keep it then. */
static void test_delete_before_the_node(void **state)
{
	struct device *device = adopt(5);

	(void)state;
	fake.open_error = ENOENT;
	fake.open_failures = 1000;
	device_recover_all(set);
	fake_serve();
	begin_delete(device, 1);
	fake_pass_time(6);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_stop_while_it_waits(void **state)
{
	(void)state;
	adopt(5);
	fake.result[MESSAGE_RECOVER] = -EBUSY;
	device_recover_all(set);
	fake_pass_time(0.1);
	device_delete_all(set);
	fake_pass_time(0.1);
	expect_gone();
	assert_int_equal(empties, 1);
}

/* All is to end before the word to go has come, and then it cannot be taken. */
static void test_stop_before_it_is_lost(void **state)
{
	(void)state;
	adopt(5);
	device_delete_all(set);
	fake.queue_error = -EPERM;
	fake.queue_fails = 1;
	device_recover_all(set);
	fake_serve();
	expect_gone();
	assert_int_equal(empties, 1);
}

/* ---- delete ---- */

/* Memory goes in pieces, a turn each, and is gone when that is told. */
static void test_delete_releases(void **state)
{
	struct device *device = add_quietly();
	int turns;

	(void)state;
	pieces = 5;
	begin_delete(device, 0);
	for (turns = 0; pieces == 5; turns++)
		fake_serve();
	while (pieces) {
		unsigned before = pieces;

		assert_int_equal(deleted.count, 0);
		assert_int_equal(targets, 1);
		assert_string_equal(device_state(device), "deleting");
		pass_time(0.001);
		assert_true(before - pieces <= 1);
	}
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* Without a keeper, too. */
static void test_release_outlives_the_keeper(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	pieces = 3;
	begin_delete(device, 0);
	while (pieces == 3)
		fake_serve();
	fake_end_keeper();
	device_keeper_gone(set);
	fake_pass_time(0.1);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_delete(void **state)
{
	struct device *device = add_quietly();
	uint64_t seq = set->seq;
	unsigned fds = count_fds();

	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	begin_delete(device, 0);
	fake_serve();
	assert_string_equal(device_state(device), "deleting");
	fake_release(MESSAGE_STOP);
	fake_expect("BUSY " DELETED);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
	assert_true(set->seq > seq);
	assert_int_equal(empties, 1);
	assert_int_equal(count_fds(), fds - 1);
	assert_int_equal(fake.last[MESSAGE_DELETE].number, 0);
}

static void test_delete_by_force(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	begin_delete(device, 1);
	fake_serve();
	fake_expect(DELETED);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
	assert_int_equal(fake.last[MESSAGE_DELETE].number, 1);
}

/* A kernel that knows itself whether a disk is in use has the last word. */
static void test_delete_with_try_stop(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_NEW;
	begin_delete(add_quietly(), 0);
	fake_serve();
	fake_expect("BUSY TRY_STOP q1- q0- close DELETE");
	expect_told(&deleted, SYMBOL_NONE, NULL);
	/* By force: no question. */
	begin_delete(add_quietly(), 1);
	fake_serve();
	fake_expect(DELETED);
	expect_gone();
}

/* On a busy host the look has taken long: who is seen then has a second, too. */
static void test_busy_after_a_long_look(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_NEW;
	fake.hold[MESSAGE_BUSY] = 1;
	begin_delete(add_quietly(), 0);
	fake_serve();
	pass_time(3);
	fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	fake_release(MESSAGE_BUSY);
	fake_serve();
	assert_int_equal(fake.count[MESSAGE_TRY_STOP], 1);
	assert_int_equal(deleted.count, 0);
	fake.hold[MESSAGE_BUSY] = 0;
	fake.result[MESSAGE_TRY_STOP] = 0;
	pass_time(0.2);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	/* Who has it is looked for again, and can be named. */
	assert_int_equal(fake.count[MESSAGE_BUSY], 2);
	assert_int_equal(fake.count[MESSAGE_TRY_STOP], 2);
	expect_gone();
}

static void test_try_stop_fails(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_NEW;
	fake.result[MESSAGE_TRY_STOP] = -EOPNOTSUPP;
	begin_delete(add_quietly(), 0);
	fake_serve();
	fake_expect("BUSY TRY_STOP " DELETED);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* In use: looked at for a second, then refused, and the disk goes on. */
static void test_busy(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	begin_delete(device, 0);
	fake_serve();
	fake_pass_time(0.8);
	assert_int_equal(deleted.count, 0);
	assert_string_equal(device_state(device), "live");
	fake_pass_time(0.5);
	expect_told(&deleted, SYMBOL_BUSY, "mounted on /mnt");
	assert_non_null(strstr(deleted.failure.text, "ublkb0"));
	assert_string_equal(device_state(device), "live");
	assert_true(fake.count[MESSAGE_BUSY] >= 5 &&
		    fake.count[MESSAGE_BUSY] <= 15);
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
	/* Nothing goes on behind it. */
	fake_forget();
	fake_pass_time(3);
	fake_expect("");
	/* And later it can be had. */
	fake.result[MESSAGE_BUSY] = 0;
	begin_delete(device, 0);
	fake_serve();
	fake_expect("BUSY " DELETED);
	expect_told(&deleted, SYMBOL_NONE, NULL);
}

/* A mount does not go away by itself: told at once. */
static void test_busy_for_long(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_BUSY, "mounted on /mnt");
	fake_pass_time(2);
	fake_expect("BUSY");
	assert_string_equal(device_state(device), "live");
}

static void test_busy_for_a_moment(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	begin_delete(device, 0);
	fake_serve();
	fake_pass_time(0.5);
	fake.result[MESSAGE_BUSY] = 0;
	fake_pass_time(0.2);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* Opened between the look and the stop. */
static void test_try_stop_is_busy(void **state)
{
	struct device *device;

	(void)state;
	fake.features = FAKE_FEATURES_NEW;
	fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	device = add_quietly();
	begin_delete(device, 0);
	fake_serve();
	fake_pass_time(0.5);
	assert_int_equal(deleted.count, 0);
	fake_pass_time(1);
	expect_told(&deleted, SYMBOL_BUSY, "ublkb0");
	assert_string_equal(device_state(device), "live");
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
	fake.result[MESSAGE_TRY_STOP] = 0;
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
}

static void test_busy_cannot_be_told(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.result[MESSAGE_BUSY] = -EIO;
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_BUSY, NULL);
	assert_string_equal(device_state(device), "live");
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
}

static void test_check(void **state)
{
	struct device *device = add_quietly();
	struct failure failure;

	(void)state;
	assert_int_equal(device_check(device, on_done, &deleted, &failure), 0);
	fake_serve();
	fake_expect("BUSY");
	expect_told(&deleted, SYMBOL_NONE, NULL);
	assert_string_equal(device_state(device), "live");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	assert_int_equal(device_check(device, on_done, &deleted, &failure), 0);
	fake_serve();
	fake_pass_time(1.5);
	expect_told(&deleted, SYMBOL_BUSY, "mounted");
	assert_string_equal(device_state(device), "live");
	/* A check is forgotten by the delete that follows. */
	fake.result[MESSAGE_BUSY] = 0;
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_stop_fails(void **state)
{
	(void)state;
	fake.result[MESSAGE_STOP] = -EINVAL;
	begin_delete(add_quietly(), 0);
	fake_serve();
	fake_expect("BUSY " DELETED);
	assert_true(log_has("cannot stop"));
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_delete_fails(void **state)
{
	(void)state;
	fake.result[MESSAGE_DELETE] = -EIO;
	begin_delete(add_quietly(), 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_IO, "cannot be deleted");
	expect_gone();
	/* Gone already is as good. */
	fake.result[MESSAGE_DELETE] = -ENODEV;
	begin_delete(add_quietly(), 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* Nobody can tell who uses it: the kernel does, or it is not deleted. */
static void test_delete_unknown(void **state)
{
	struct device *device;

	(void)state;
	fake.result[MESSAGE_BUSY] = -ETIMEDOUT;
	device = add_quietly();
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_BUSY, "cannot be found out");
	assert_string_equal(device_state(device), "live");
	begin_delete(device, 1);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
	fake.features = FAKE_FEATURES_NEW;
	set->features = 0;
	device = add_quietly();
	assert_int_equal(
		device_check(device, on_done, &deleted, &device->failure), 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_BUSY, "cannot be found out");
	assert_int_equal(fake.count[MESSAGE_TRY_STOP], 0);
	fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	begin_delete(device, 0);
	fake_pass_time(2);
	expect_told(&deleted, SYMBOL_BUSY, "in use");
	fake.result[MESSAGE_TRY_STOP] = 0;
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* One command a device: the second is told what the first is doing. */
static void test_delete_twice(void **state)
{
	struct device *device = add_quietly();
	struct failure failure;

	(void)state;
	fake.hold[MESSAGE_BUSY] = fake.hold[MESSAGE_STOP] = 1;
	begin_delete(device, 0);
	fake_serve();
	assert_int_equal(device_delete(device, 0, on_done, &added, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "device 0 is being checked"));
	fake_release(MESSAGE_BUSY);
	assert_int_equal(device_delete(device, 0, on_done, &added, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "being deleted"));
	assert_int_equal(device_check(device, on_done, &added, &failure), -1);
	fake_release(MESSAGE_STOP);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	assert_int_equal(added.count, 0);
	expect_gone();
}

/* Who adds it hears of that at once, and who deletes it when it is gone. */
static void delete_in_add(uint32_t type, const char *after)
{
	struct failure failure;
	struct device *device;

	fake.hold[type] = 1;
	begin_add(0);
	fake_serve();
	device = set->first;
	fake_forget();
	assert_int_equal(device_delete(device, 0, on_done, &deleted, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "being added"));
	begin_delete(device, 1);
	expect_told(&added, SYMBOL_STATE, "deleted by force");
	assert_int_equal(deleted.count, 0);
	assert_int_equal(device_delete(device, 0, on_done, &added, &failure),
			 -1);
	assert_non_null(strstr(failure.text, "being deleted"));
	fake_serve();
	fake_expect("");
	fake_release(type);
	fake_expect(after);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	assert_int_equal(added.count, 0);
	expect_gone();
}

static void test_delete_while_adding(void **state)
{
	(void)state;
	delete_in_add(MESSAGE_ADD, "DELETE");
	delete_in_add(MESSAGE_NOTE, "DELETE");
	delete_in_add(MESSAGE_START, "STOP q1- q0- close DELETE");
	/* That it could not start either is nobody's failure. */
	fake.result[MESSAGE_START] = -EINTR;
	delete_in_add(MESSAGE_START, "STOP q1- q0- close DELETE");
	fake.result[MESSAGE_START] = 0;
	/* The end of all of ublkd has no other one to wait for. */
	fake.hold[MESSAGE_START] = 1;
	begin_add(0);
	fake_serve();
	begin_delete(set->first, 1);
	expect_told(&added, SYMBOL_STATE, "deleted by force");
	device_delete_all(set);
	fake_release(MESSAGE_START);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* ---- draining ---- */

/* Tags are given up in their own time, after the answer to STOP. */
static void test_drain(void **state)
{
	(void)state;
	fake.silent = 1;
	begin_delete(add_quietly(), 1);
	fake_serve();
	fake_expect("STOP");
	fake_pass_time(0.3);
	fake_expect("");
	fake_retire(0);
	fake_serve();
	fake_expect("q1- q0- close DELETE");
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
	assert_false(log_has("still holds"));
}

/* One that is never given up is no reason to hang. */
static void test_drain_patience(void **state)
{
	(void)state;
	fake.silent = 1;
	begin_delete(add_quietly(), 1);
	fake_serve();
	fake_pass_time(1.8);
	fake_expect("STOP");
	fake_pass_time(0.5);
	fake_expect("q1- q0- close DELETE");
	assert_true(log_has("still holds"));
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* A queue with requests in hand must not be closed, however long it takes. */
static void test_drain_of_owned(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.silent = 1;
	device->queues[1].port.owned = 3;
	assert_int_equal(device_owned(device), 3);
	begin_delete(device, 1);
	fake_serve();
	fake_pass_time(10);
	fake_expect("STOP");
	device->queues[1].port.owned = 0;
	fake_retire(0);
	fake_serve();
	fake_expect("q1- q0- close DELETE");
	expect_told(&deleted, SYMBOL_NONE, NULL);
}

/* Both: when the last request is done, a silent tag is still no reason. */
static void test_drain_of_owned_and_silent(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.silent = 1;
	device->queues[0].port.owned = 1;
	begin_delete(device, 1);
	fake_serve();
	fake_pass_time(1);
	fake_expect("STOP");
	device->queues[0].port.owned = 0;
	device->queues[0].retired = 1;
	fake_pass_time(5);
	fake_expect("q1- q0- close DELETE");
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* ---- the end of all ---- */

static void test_delete_all_of_none(void **state)
{
	(void)state;
	device_delete_all(set);
	assert_int_equal(empties, 1);
	fake_expect("");
}

static void test_delete_all(void **state)
{
	(void)state;
	add(0);
	add(1);
	add(2);
	fake_forget();
	fake.result[MESSAGE_BUSY] = -EBUSY;
	device_delete_all(set);
	fake_expect("STOP STOP STOP");
	fake_serve();
	expect_gone();
	assert_int_equal(empties, 1);
	assert_int_equal(fake.count[MESSAGE_BUSY], 0);
	assert_int_equal(fake.count[MESSAGE_DELETE], 3);
}

/*
 * While an add waits for the answer of one step: it is rolled back from there,
 * and told why.
 */
static void doom_during(uint32_t type, const char *before, const char *after)
{
	fake.features = FAKE_FEATURES_OLD;
	fake.hold[type] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	fake_expect(before);
	device_delete_all(set);
	fake_serve();
	assert_int_equal(empties, 0);
	fake_release(type);
	fake_pass_time(1);
	fake_expect(after);
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
	assert_int_equal(empties, 1);
}

static void test_doomed_in_features(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_OLD;
	fake.hold[MESSAGE_FEATURES] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	device_delete_all(set);
	fake_release(MESSAGE_FEATURES);
	/* However far it goes, nothing of it stays. */
	assert_int_equal(fake.count[MESSAGE_ADD], fake.count[MESSAGE_DELETE]);
	assert_int_equal(fake.count[MESSAGE_START], 0);
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
}

static void test_doomed_in_add(void **state)
{
	(void)state;
	doom_during(MESSAGE_ADD, "FEATURES ADD", "DELETE");
}

static void test_doomed_in_start(void **state)
{
	(void)state;
	doom_during(MESSAGE_START, ADDED, DELETED);
}

static void test_doomed_in_timeout(void **state)
{
	(void)state;
	doom_during(MESSAGE_TIMEOUT, ADDED " TIMEOUT", DELETED);
}

static void test_doomed_in_params(void **state)
{
	(void)state;
	fake.hold[MESSAGE_PARAMS] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	device_delete_all(set);
	fake_release(MESSAGE_PARAMS);
	assert_int_equal(fake.count[MESSAGE_DELETE], 1);
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
}

static void test_doomed_add_that_fails(void **state)
{
	(void)state;
	fake.hold[MESSAGE_ADD] = 1;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	device_delete_all(set);
	fake.result[MESSAGE_ADD] = -EBUSY;
	fake_release(MESSAGE_ADD);
	fake_expect("FEATURES ADD");
	assert_int_equal(added.count, 1);
	expect_gone();
	assert_int_equal(empties, 1);
}

static void test_doomed_while_opening(void **state)
{
	(void)state;
	fake.open_error = ENOENT;
	fake.open_failures = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	fake_pass_time(0.1);
	device_delete_all(set);
	fake_serve();
	fake_pass_time(6);
	assert_int_equal(fake.count[MESSAGE_DELETE], 1);
	assert_int_equal(fake.count[MESSAGE_START], 0);
	assert_int_equal(added.count, 1);
	assert_int_not_equal(added.failure.symbol, SYMBOL_NONE);
	expect_gone();
}

static void test_doomed_while_looking(void **state)
{
	(void)state;
	fake.node_after = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	fake_serve();
	fake_pass_time(0.1);
	fake_forget();
	device_delete_all(set);
	fake_serve();
	fake_expect(DELETED);
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
}

/* A delete that is under way ends as it would have, and is told so. */
static void finish_during(uint32_t type)
{
	begin_delete(add_quietly(), 0);
	fake_serve();
	assert_true(fake_held() == 1 || type == MESSAGE_BUSY);
	device_delete_all(set);
	fake.result[MESSAGE_BUSY] = fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	fake_release(type);
	fake_pass_time(0.5);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
	assert_int_equal(empties, 1);
	assert_int_equal(fake.count[MESSAGE_DELETE], 1);
}

static void test_delete_all_in_busy(void **state)
{
	(void)state;
	fake.hold[MESSAGE_BUSY] = 1;
	finish_during(MESSAGE_BUSY);
}

/* While it waits to look again. */
static void test_delete_all_between_looks(void **state)
{
	(void)state;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	finish_during(MESSAGE_BUSY);
}

static void test_delete_all_in_try_stop(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_NEW;
	fake.hold[MESSAGE_TRY_STOP] = 1;
	finish_during(MESSAGE_TRY_STOP);
	assert_int_equal(fake.count[MESSAGE_BUSY], 1);
}

static void test_delete_all_in_stop(void **state)
{
	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	finish_during(MESSAGE_STOP);
}

static void test_delete_all_in_delete(void **state)
{
	(void)state;
	fake.hold[MESSAGE_DELETE] = 1;
	finish_during(MESSAGE_DELETE);
}

static void test_delete_all_in_check(void **state)
{
	struct device *device = add_quietly();
	struct failure failure;

	(void)state;
	fake.hold[MESSAGE_BUSY] = 1;
	assert_int_equal(device_check(device, on_done, &deleted, &failure), 0);
	fake_serve();
	device_delete_all(set);
	fake_release(MESSAGE_BUSY);
	fake_expect("BUSY " DELETED);
	assert_int_equal(deleted.count, 1);
	expect_gone();
}

/* ---- without the keeper ---- */

/* Whatever is waited for, who asked is told once, and nothing more is done. */
static void lose_keeper(struct told *told)
{
	fake_serve();
	fake_forget();
	fake_end_keeper();
	device_keeper_gone(set);
	expect_told(told, SYMBOL_STATE, "keeper");
	fake_pass_time(10);
	fake_expect("");
	assert_int_equal(added.count, 0);
	assert_int_equal(deleted.count, 0);
}

static void lose_keeper_in_add(uint32_t type)
{
	fake.features = FAKE_FEATURES_OLD;
	fake.hold[type] = 1;
	begin_add(DEVICE_ID_ANY);
	lose_keeper(&added);
}

static void test_keeper_gone_in_features(void **state)
{
	(void)state;
	lose_keeper_in_add(MESSAGE_FEATURES);
}

static void test_keeper_gone_in_add(void **state)
{
	(void)state;
	lose_keeper_in_add(MESSAGE_ADD);
}

static void test_keeper_gone_in_params(void **state)
{
	(void)state;
	lose_keeper_in_add(MESSAGE_PARAMS);
}

static void test_keeper_gone_in_start(void **state)
{
	(void)state;
	lose_keeper_in_add(MESSAGE_START);
}

static void test_keeper_gone_in_timeout(void **state)
{
	(void)state;
	lose_keeper_in_add(MESSAGE_TIMEOUT);
}

static void test_keeper_gone_while_opening(void **state)
{
	(void)state;
	fake.open_error = ENOENT;
	fake.open_failures = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	lose_keeper(&added);
	assert_int_equal(fake.opens, 1);
}

static void test_keeper_gone_in_busy(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.hold[MESSAGE_BUSY] = 1;
	begin_delete(device, 0);
	lose_keeper(&deleted);
	assert_string_equal(device_state(device), "live");
}

static void test_keeper_gone_between_looks(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	begin_delete(device, 0);
	lose_keeper(&deleted);
	assert_string_equal(device_state(device), "live");
}

/* ---- the tally ---- */

static void expect_tally(uint64_t tally)
{
	fake_serve();
	fake_expect("TALLY");
	assert_int_equal(fake.last[MESSAGE_TALLY].number, tally);
	assert_int_equal(fake.last[MESSAGE_TALLY].id, added.id);
}

/* The keeper is told; and again when it has answered, with what is true then. */
static void test_tally(void **state)
{
	struct target *target = add_quietly()->spec.target;

	(void)state;
	target_set_tally(target, 1);
	expect_tally(1);
	target_set_tally(target, 1);
	fake_serve();
	fake_expect("");
	fake.hold[MESSAGE_TALLY] = 1;
	target_set_tally(target, 2);
	expect_tally(2);
	target_set_tally(target, 3);
	target_set_tally(target, 4);
	fake_serve();
	fake_expect("");
	fake_release(MESSAGE_TALLY);
	expect_tally(4);
	/* An answer to that is none to another question. */
	fake.hold[MESSAGE_TALLY] = fake.hold[MESSAGE_BUSY] = 1;
	target_set_tally(target, 5);
	begin_delete(set->first, 0);
	fake_serve();
	fake_expect("TALLY BUSY");
	fake_release(MESSAGE_TALLY);
	fake_serve();
	fake_expect("");
	fake_release(MESSAGE_BUSY);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
}

/* ---- want of memory ---- */

static void test_refused_write(void **state)
{
	struct target *target = add_quietly()->spec.target;

	(void)state;
	log_forget();
	assert_int_equal(target_refuse_write(target, 3 << 20), -ENOSPC);
	assert_int_equal(target_refuse_write(target, 3 << 20), -ENOSPC);
	assert_int_equal(log_count("device 0 ("), 1);
	assert_true(log_has("no memory for a write"));
	assert_true(log_has("3 MiB are held"));
}

/* What the server before had told is not told again. */
static void test_tally_is_taken(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	device_take_tally(set, added.id, 7);
	assert_int_equal(device->spec.target->tally, 7);
	device_take_tally(set, added.id + 1, 8);
	target_set_tally(device->spec.target, 7);
	fake_serve();
	fake_expect("");
	target_set_tally(device->spec.target, 9);
	expect_tally(9);
	/* Nobody is there to be told: the next keeper asks. */
	fake_end_keeper();
	device_keeper_gone(set);
	target_set_tally(device->spec.target, 10);
	assert_int_equal(device->told_tally, 9);
}

/* ---- what it held is closed ---- */

static int give_up(struct target *target, int *fds)
{
	if (gave_up == target)
		return 0;
	gave_up = target;
	fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	fds[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	return 2;
}

/* Of a target whose files take long to close. */
static void use_slow_target(void)
{
	static struct target_ops ops;

	ops = *new_ops;
	ops.give_up = give_up;
	new_ops = &ops;
	fake.close_waits = 1;
}

/* Who asked is told once the last file is closed, or waited for in vain. */
static void check_closing(int error)
{
	unsigned fds = count_fds();
	struct device *device;

	use_slow_target();
	device = add_quietly();
	begin_delete(device, 1);
	fake_serve();
	fake_expect("STOP q1- q0- close DELETE");
	assert_int_equal(fake.closing, 2);
	assert_int_equal(deleted.count, 0);
	assert_string_equal(device_state(device), "deleting");
	/* It waits without a look at a clock. */
	assert_false(timer_is_set());
	fake_end_closing(error);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
	assert_int_equal(count_fds(), fds);
}

static void test_closing(void **state)
{
	(void)state;
	check_closing(0);
}

static void test_closing_late(void **state)
{
	(void)state;
	check_closing(-ETIMEDOUT);
}

/* An add that fails, at once or on the way, is over when its file is free. */
static void test_closing_after_failed_add(void **state)
{
	static const uint32_t types[] = { MESSAGE_FEATURES, MESSAGE_ADD,
					  MESSAGE_PARAMS };
	unsigned i;

	(void)state;
	use_slow_target();
	for (i = 0; i < COUNT(types); i++) {
		fake.result[types[i]] = -ENOMEM;
		begin_add(DEVICE_ID_ANY);
		fake_serve();
		assert_int_equal(fake.closing, 2);
		assert_int_equal(added.count, 0);
		fake_end_closing(0);
		expect_told(&added, SYMBOL_LIMIT, NULL);
		expect_gone();
		fake.result[types[i]] = 0;
		set->features = 0;
	}
}

/* That needs no keeper, and force is in no more of a hurry. */
static void test_closing_without_keeper(void **state)
{
	struct device *device;

	(void)state;
	use_slow_target();
	device = add_quietly();
	begin_delete(device, 0);
	fake_serve();
	begin_delete(device, 1);
	fake_end_keeper();
	device_keeper_gone(set);
	assert_int_equal(deleted.count, 0);
	fake_end_closing(0);
	assert_int_equal(deleted.count, 2);
	deleted.count = 0;
	expect_gone();
}

static void test_keeper_gone_in_stop(void **state)
{
	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	begin_delete(add_quietly(), 1);
	lose_keeper(&deleted);
}

static void test_keeper_gone_in_delete(void **state)
{
	(void)state;
	fake.hold[MESSAGE_DELETE] = 1;
	begin_delete(add_quietly(), 1);
	lose_keeper(&deleted);
}

static void test_keeper_gone_in_try_stop(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_NEW;
	fake.hold[MESSAGE_TRY_STOP] = 1;
	begin_delete(add_quietly(), 0);
	lose_keeper(&deleted);
}

/* A device that is live and not asked for anything goes on. */
static void test_keeper_gone_while_live(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake_end_keeper();
	device_keeper_gone(set);
	assert_string_equal(device_state(device), "live");
	assert_int_equal(device->open_queues, QUEUES);
	assert_int_equal(added.count, 0);
}

/* The channel is found closed only when something is sent. */
static void test_send_fails(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake_end_keeper();
	begin_delete(device, 0);
	fake_pass_time(1.5);
	assert_int_equal(deleted.count, 1);
	assert_int_not_equal(deleted.failure.symbol, SYMBOL_NONE);
	deleted.count = 0;
	assert_string_equal(device_state(device), "live");
	begin_add(5);
	fake_pass_time(0.1);
	assert_int_equal(added.count, 1);
	assert_int_not_equal(added.failure.symbol, SYMBOL_NONE);
	assert_null(device_find(set, 5));
}

/* ---- layers ---- */

static struct option_value values[LAYER_OPTIONS];

static void want_layer(int which, uint64_t number)
{
	option_defaults(layer_options, values);
	values[which].number = number;
}

/*
 * The kernel's first requests, and those of a dead server, go past them: the
 * commands that make the device live wait for these.
 */
static void test_layers_when_live(void **state)
{
	struct device_spec spec = new_spec(DEVICE_ID_ANY);
	struct failure failure;
	struct device *device;

	(void)state;
	fake.features = FAKE_FEATURES_OLD;
	fake.hold[MESSAGE_TIMEOUT] = 1;
	want_layer(DELAY_TIME, 1000);
	assert_int_equal(layers_put_on(&spec.layers, test_loop,
				       &spec.target->backend, values),
			 0);
	assert_int_equal(device_add(set, &spec, on_done, &added, &failure), 0);
	fake_serve();
	device = set->first;
	assert_int_equal(device->step, DEVICE_TIMEOUT);
	/* Nor does it matter when they were put on. */
	want_layer(ERROR_RATE, 1);
	assert_int_equal(device_put_on(device, values), 0);
	assert_ptr_equal(device->queues[0].top, &spec.target->backend);
	fake_release(MESSAGE_TIMEOUT);
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_ptr_equal(device->queues[0].top,
			 &device->spec.layers.layer[LAYER_DELAY]->backend);
	assert_ptr_equal(device->queues[1].top, device->queues[0].top);
}

static void test_layer_of_a_live_device(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	assert_ptr_equal(device->queues[1].top, &device->spec.target->backend);
	want_layer(ERROR_RATE, 1);
	assert_int_equal(device_put_on(device, values), 0);
	assert_ptr_equal(device->queues[1].top,
			 &device->spec.layers.layer[LAYER_ERROR]->backend);
	calloc_fails = 1;
	want_layer(DELAY_TIME, 1);
	assert_int_equal(device_put_on(device, values), -ENOMEM);
	assert_ptr_equal(device->queues[1].top,
			 &device->spec.layers.layer[LAYER_ERROR]->backend);
}

/* A request that the device keeps for an hour. */
static struct device *add_slow(void)
{
	static struct io io = { .op = IO_READ, .length = 4096 };
	struct device *device = add_quietly();

	want_layer(DELAY_TIME, 3600000000ull);
	values[DELAY_TIME].given = 1;
	assert_int_equal(device_put_on(device, values), 0);
	layers_change(&device->spec.layers, values, values);
	device->queues[0].top->ops->submit(device->queues[0].top, &io);
	settle();
	assert_int_equal(submits, 0);
	return device;
}

/* By force it is let go, or STOP would wait for it. */
static void test_force_lets_go(void **state)
{
	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	begin_delete(add_slow(), 1);
	fake_serve();
	assert_int_equal(submits, 1);
	fake_release(MESSAGE_STOP);
	expect_told(&deleted, SYMBOL_NONE, NULL);
}

static void test_delete_all_lets_go(void **state)
{
	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	add_slow();
	device_delete_all(set);
	fake_serve();
	assert_int_equal(submits, 1);
	fake_release(MESSAGE_STOP);
	expect_gone();
}

/* Also one that is being deleted already. */
static void test_delete_waits(void **state)
{
	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	begin_delete(add_slow(), 0);
	fake_serve();
	fake_pass_time(1);
	assert_int_equal(submits, 0);
	device_delete_all(set);
	fake_serve();
	assert_int_equal(submits, 1);
	fake_release(MESSAGE_STOP);
	expect_told(&deleted, SYMBOL_NONE, NULL);
}

/* A delete that waits, and then somebody who does not care to wait. */
static void hurry_in(uint32_t type, struct device *device)
{
	struct told also = { .count = 0 };
	struct failure failure;

	fake.hold[type] = 1;
	begin_delete(device, 0);
	fake_serve();
	fake_pass_time(1);
	assert_int_equal(deleted.count, 0);
	assert_int_equal(device_delete(device, 1, on_done, &also, &failure), 0);
	fake_serve();
	fake_release(type);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_told(&also, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_hurry_in_stop(void **state)
{
	(void)state;
	hurry_in(MESSAGE_STOP, add_slow());
	/* What was kept was let go. */
	assert_int_equal(submits, 1);
}

static void test_hurry_in_try_stop(void **state)
{
	(void)state;
	fake.features = FAKE_FEATURES_NEW;
	fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	hurry_in(MESSAGE_TRY_STOP, add_quietly());
	assert_int_equal(fake.count[MESSAGE_STOP], 1);
}

static void test_hurry_in_busy(void **state)
{
	(void)state;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	hurry_in(MESSAGE_BUSY, add_quietly());
}

static void test_hurry_in_delete(void **state)
{
	(void)state;
	hurry_in(MESSAGE_DELETE, add_quietly());
	assert_int_equal(fake.count[MESSAGE_CANCEL], 1);
}

/* A third one is told that it is busy, and so is one who only looks. */
static void test_hurry_twice(void **state)
{
	struct device *device = add_quietly();
	struct told also = { .count = 0 };
	struct failure failure;

	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	begin_delete(device, 0);
	fake_serve();
	assert_int_equal(device_delete(device, 1, on_done, &also, &failure), 0);
	assert_int_equal(device_delete(device, 1, on_done, &also, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	fake_release(MESSAGE_STOP);
	expect_told(&also, SYMBOL_NONE, NULL);
	expect_gone();
}

/* ---- another command for a live device ---- */

static void begin_note(struct device *device, const char *words)
{
	struct failure failure;

	assert_int_equal(device_note(device, strdup(words), on_done, &added,
				     &failure),
			 0);
}

static void test_note_again(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.hold[MESSAGE_NOTE] = 1;
	begin_note(device, "add test delay-time=1s");
	fake_serve();
	fake_expect("NOTE");
	assert_int_equal(added.count, 0);
	assert_string_equal(device_state(device), "live");
	assert_string_equal(device->spec.words, "add test");
	fake_release(MESSAGE_NOTE);
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_string_equal(device->spec.words, "add test delay-time=1s");
	assert_string_equal(fake.last[MESSAGE_NOTE].text,
			    "add test delay-time=1s");
	assert_int_equal(fake.last[MESSAGE_NOTE].number, 1);
	assert_int_equal(device->step, DEVICE_LIVE);
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_note_again_fails(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.result[MESSAGE_NOTE] = -ENOMEM;
	begin_note(device, "add test delay-time=1s");
	fake_serve();
	expect_told(&added, SYMBOL_LIMIT, "note the change");
	assert_string_equal(device->spec.words, "add test");
	assert_int_equal(device->step, DEVICE_LIVE);
}

/* One thing after the other. */
static void test_note_while_busy(void **state)
{
	struct device *device = add_quietly();
	struct failure failure;

	(void)state;
	fake.hold[MESSAGE_NOTE] = fake.hold[MESSAGE_STOP] = 1;
	begin_note(device, "add test 1");
	assert_int_equal(device_note(device, strdup("add test 2"), on_done,
				     &deleted, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "being changed"));
	assert_int_equal(device_delete(device, 0, on_done, &deleted, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	fake_serve();
	fake_release(MESSAGE_NOTE);
	assert_string_equal(device->spec.words, "add test 1");
	begin_delete(device, 1);
	assert_int_equal(device_note(device, strdup("add test 2"), on_done,
				     &added, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	fake_serve();
	fake_release(MESSAGE_STOP);
	assert_int_equal(deleted.count, 1);
	expect_gone();
}

static void test_delete_all_in_note(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.hold[MESSAGE_NOTE] = 1;
	begin_note(device, "add test 1");
	fake_serve();
	device_delete_all(set);
	fake_serve();
	fake_expect("NOTE");
	fake_release(MESSAGE_NOTE);
	fake_expect(DELETED);
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_gone();
	assert_int_equal(empties, 1);
}

static void test_keeper_gone_in_note(void **state)
{
	struct device *device = add_quietly();

	(void)state;
	fake.hold[MESSAGE_NOTE] = 1;
	begin_note(device, "add test 1");
	fake_serve();
	fake_end_keeper();
	device_keeper_gone(set);
	expect_told(&added, SYMBOL_STATE, "keeper");
	assert_string_equal(device_state(device), "live");
	assert_string_equal(device->spec.words, "add test");
}

/* ---- another size ---- */

#define OLD_SIZE (64ull << 20)
#define NEW_SIZE (128ull << 20)

static struct device *add_resizable(void)
{
	new_ops = &resize_ops;
	return add_quietly();
}

static void begin_resize(struct device *device, uint64_t size)
{
	struct failure failure;

	assert_int_equal(device_resize(device, size, on_done, &added, &failure),
			 0);
}

static void expect_size(const struct device *device, uint64_t size,
			const char *words)
{
	assert_int_equal(device->spec.geometry.size, size);
	assert_string_equal(device->spec.words, words);
	assert_int_equal(device->step, DEVICE_LIVE);
	assert_null(device->new_words);
	assert_int_equal(device->new_size, 0);
}

/* The target first, then the kernel, and the keeper when it is a fact. */
static void test_resize_grows(void **state)
{
	struct device *device = add_resizable();
	uint64_t seq = set->seq;

	(void)state;
	begin_resize(device, NEW_SIZE);
	assert_string_equal(device_state(device), "live");
	fake_serve();
	fake_expect("RESIZE NOTE");
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(resizes.size, NEW_SIZE);
	assert_int_equal(resizes.after, 0);
	assert_int_equal(fake.last[MESSAGE_RESIZE].number, NEW_SIZE / 512);
	assert_string_equal(fake.last[MESSAGE_NOTE].text, "add test size=128M");
	expect_size(device, NEW_SIZE, "add test size=128M");
	assert_true(set->seq > seq);
	/* Once more, from one that has a size. */
	begin_resize(device, NEW_SIZE + 512);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_size(device, NEW_SIZE + 512, "add test size=134218240");
}

/* The kernel first, then the target; its memory goes last. */
static void test_resize_shrinks(void **state)
{
	struct device *device = add_resizable();

	(void)state;
	fake.hold[MESSAGE_NOTE] = 1;
	begin_resize(device, 4096);
	fake_serve();
	fake_expect("RESIZE NOTE");
	assert_int_equal(resizes.size, 4096);
	assert_int_equal(resizes.after, 1);
	assert_int_equal(added.count, 0);
	resizes.trims = 0;
	resizes.trim_pieces = 5;
	fake_release(MESSAGE_NOTE);
	assert_int_equal(resizes.trims, 5);
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_size(device, 4096, "add test size=4K");
}

/* What an earlier shrinking has left goes before anything grows over it. */
static void test_resize_trims_first(void **state)
{
	struct device *device = add_resizable();

	(void)state;
	resizes.trim_pieces = 3;
	begin_resize(device, NEW_SIZE);
	assert_int_equal(resizes.calls, 0);
	fake_serve();
	assert_int_equal(resizes.trims, 4);
	fake_expect("RESIZE NOTE");
	expect_told(&added, SYMBOL_NONE, NULL);
	/* If it cannot go, nothing may grow, but shrink it can. */
	resizes.trim_error = -EIO;
	resizes.calls = 0;
	begin_resize(device, NEW_SIZE * 2);
	fake_serve();
	fake_expect("");
	expect_told(&added, SYMBOL_IO, "cannot be cleared");
	expect_size(device, NEW_SIZE, "add test size=128M");
	assert_int_equal(resizes.calls, 0);
	begin_resize(device, OLD_SIZE);
	fake_serve();
	fake_expect("RESIZE NOTE");
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_true(log_has("is not given back"));
	expect_size(device, OLD_SIZE, "add test size=64M");
}

static void test_resize_is_refused(void **state)
{
	struct device *device = add_resizable();

	(void)state;
	resizes.fails = 1;
	begin_resize(device, NEW_SIZE);
	fake_serve();
	fake_expect("");
	expect_told(&added, SYMBOL_LIMIT, "no memory");
	expect_size(device, OLD_SIZE, "add test");
	/* The driver: the target has what it had. */
	resizes.fails = 0;
	fake.result[MESSAGE_RESIZE] = -EIO;
	begin_resize(device, NEW_SIZE);
	fake_serve();
	fake_expect("RESIZE");
	expect_told(&added, SYMBOL_IO, "cannot change the size of ublkb0");
	assert_int_equal(resizes.size, OLD_SIZE);
	expect_size(device, OLD_SIZE, "add test");
	resizes.calls = 0;
	fake.result[MESSAGE_RESIZE] = -EOPNOTSUPP;
	begin_resize(device, 4096);
	fake_serve();
	fake_expect("RESIZE");
	expect_told(&added, SYMBOL_UNSUPPORTED, "6.16");
	assert_int_equal(resizes.calls, 0);
	expect_size(device, OLD_SIZE, "add test");
}

static void refuse(struct device *device, uint64_t size, enum symbol symbol,
		   const char *text)
{
	struct failure failure;

	assert_int_equal(device_resize(device, size, on_done, &added, &failure),
			 -1);
	assert_string_equal(symbol_name(failure.symbol), symbol_name(symbol));
	if (!strstr(failure.text, text))
		fail_msg("'%s' does not tell '%s'", failure.text, text);
	assert_int_equal(device->spec.geometry.size, OLD_SIZE);
	fake_serve();
	fake_expect("");
	assert_int_equal(added.count, 0);
}

/* What can be said at once. */
static void test_resize_mistakes(void **state)
{
	struct device *plain = add_quietly(), *device = add_resizable();
	uint64_t features = set->features;

	(void)state;
	refuse(plain, NEW_SIZE, SYMBOL_UNSUPPORTED, "one size");
	refuse(device, DEVICE_SIZE_AUTO, SYMBOL_ARG, "size=auto");
	refuse(device, 0, SYMBOL_RANGE, "at least one block");
	refuse(device, 513, SYMBOL_RANGE, "multiple");
	refuse(device, 1ull << 63, SYMBOL_RANGE, "address");
	set->features = FAKE_FEATURES_OLD;
	refuse(device, NEW_SIZE, SYMBOL_UNSUPPORTED, "6.16");
	set->features = features;
	assert_int_equal(resizes.calls, 0);
	free(device->spec.words);
	device->spec.words = strdup("add \"");
	refuse(device, NEW_SIZE, SYMBOL_LIMIT, "too long");
}

/* A device whose size is its file's is made by the same command as before. */
static void test_resize_auto(void **state)
{
	struct device *device;

	(void)state;
	new_ops = &auto_ops;
	device = add_quietly();
	refuse(device, DEVICE_SIZE_AUTO, SYMBOL_IO, "cannot be told");
	resizes.backing = 500;
	refuse(device, DEVICE_SIZE_AUTO, SYMBOL_RANGE, "at least one block");
	/* In whole blocks; the rest can be told. */
	resizes.backing = NEW_SIZE + 500;
	begin_resize(device, DEVICE_SIZE_AUTO);
	fake_serve();
	fake_expect("RESIZE NOTE");
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_size(device, NEW_SIZE, "add test");
	assert_int_equal(device->spec.geometry.unserved, 500);
	resizes.backing = NEW_SIZE;
	begin_resize(device, OLD_SIZE);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(device->spec.geometry.unserved, 0);
	expect_size(device, OLD_SIZE, "add test size=64M");
	begin_resize(device, DEVICE_SIZE_AUTO);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_size(device, NEW_SIZE, "add test size=128M");
}

/* The size has changed, and that is what is told and kept. */
static void test_resize_cannot_be_noted(void **state)
{
	struct device *device = add_resizable();

	(void)state;
	fake.result[MESSAGE_NOTE] = -ENOSPC;
	resizes.trim_pieces = 0;
	begin_resize(device, 4096);
	fake_serve();
	fake_expect("RESIZE NOTE");
	expect_told(&added, failure_symbol(-ENOSPC), "note the change");
	assert_int_equal(resizes.trims, 2);
	expect_size(device, 4096, "add test size=4K");
	/* It is no failure of what comes later. */
	fake.result[MESSAGE_NOTE] = 0;
	begin_resize(device, 8192);
	fake_serve();
	expect_told(&added, SYMBOL_NONE, NULL);
	begin_delete(device, 0);
	fake_serve();
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

static void test_resize_while_busy(void **state)
{
	struct device *device = add_resizable();
	struct failure failure;

	(void)state;
	fake.hold[MESSAGE_RESIZE] = fake.hold[MESSAGE_NOTE] = 1;
	begin_resize(device, NEW_SIZE);
	fake_serve();
	assert_int_equal(device_delete(device, 0, on_done, &deleted, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "being resized"));
	fake_release(MESSAGE_RESIZE);
	assert_int_equal(device_resize(device, OLD_SIZE, on_done, &deleted,
				       &failure),
			 -1);
	assert_non_null(strstr(failure.text, "being resized"));
	fake_release(MESSAGE_NOTE);
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_size(device, NEW_SIZE, "add test size=128M");
}

/* By force: what is under way is finished, and then it goes. */
static void delete_in_change(struct device *device, uint32_t type)
{
	fake_serve();
	begin_delete(device, 1);
	fake_serve();
	assert_int_equal(added.count, 0);
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
	fake_release(type);
	expect_told(&added, SYMBOL_NONE, NULL);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	assert_int_equal(fake.count[MESSAGE_STOP], 1);
	fake.count[MESSAGE_STOP] = 0;
	expect_gone();
}

static void test_delete_in_change(void **state)
{
	struct device *device = add_resizable();
	struct failure failure;

	(void)state;
	fake.hold[MESSAGE_RESIZE] = 1;
	begin_resize(device, NEW_SIZE);
	delete_in_change(device, MESSAGE_RESIZE);
	device = add_resizable();
	fake.hold[MESSAGE_NOTE] = 1;
	begin_resize(device, 4096);
	delete_in_change(device, MESSAGE_NOTE);
	device = add_quietly();
	fake.hold[MESSAGE_NOTE] = 1;
	begin_note(device, "add test 1");
	delete_in_change(device, MESSAGE_NOTE);
	/* A look for a shutdown learns that it is gone. */
	device = add_quietly();
	fake.hold[MESSAGE_BUSY] = 1;
	fake.result[MESSAGE_BUSY] = -EBUSY;
	assert_int_equal(device_check(device, on_done, &added, &failure), 0);
	delete_in_change(device, MESSAGE_BUSY);
}

/* Who is told that a change has ended asks for the end, as somebody has before. */
static void delete_again(void *context, struct device *device,
			 const struct failure *failure)
{
	on_done(context, device, failure);
	begin_delete(device, 1);
}

static void test_delete_behind_a_change(void **state)
{
	struct device *device = add_quietly();
	struct failure failure;

	(void)state;
	fake.hold[MESSAGE_NOTE] = 1;
	assert_int_equal(device_note(device, strdup("add test 1"), delete_again,
				     &added, &failure),
			 0);
	fake_serve();
	begin_delete(device, 1);
	fake_release(MESSAGE_NOTE);
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(deleted.count, 2);
	deleted.count = 0;
	expect_gone();
}

/* Its backing may let it wait for ever: who deletes it by force does not. */
static void test_delete_in_growth(void **state)
{
	struct device *device = add_resizable();
	struct failure failure;

	(void)state;
	resizes.waits = 1;
	begin_resize(device, NEW_SIZE);
	pass_time(1);
	assert_int_equal(device->step, DEVICE_TRIM);
	assert_int_equal(device_delete(device, 0, on_done, &deleted, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	begin_delete(device, 1);
	assert_int_equal(added.count, 0);
	assert_int_equal(device_delete(device, 1, on_done, &deleted, &failure),
			 -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	fake.hold[MESSAGE_STOP] = 1;
	pass_time(0.1);
	fake_serve();
	expect_told(&added, SYMBOL_STATE, "deleted");
	assert_int_equal(deleted.count, 0);
	assert_string_equal(device_state(device), "deleting");
	fake_release(MESSAGE_STOP);
	fake_expect(DELETED);
	expect_told(&deleted, SYMBOL_NONE, NULL);
	expect_gone();
}

/* It is finished, and then the device goes. */
static void delete_all_in(uint32_t type, const char *before)
{
	struct device *device = add_resizable();

	fake.hold[type] = 1;
	begin_resize(device, 4096);
	fake_serve();
	fake_expect(before);
	device_delete_all(set);
	fake_serve();
	fake_expect("");
	resizes.trim_pieces = 100;
	fake_release(type);
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(resizes.trim_pieces, 100);
	expect_gone();
}

static void test_delete_all_in_resize(void **state)
{
	(void)state;
	delete_all_in(MESSAGE_RESIZE, "RESIZE");
	fake_expect("NOTE " DELETED);
	delete_all_in(MESSAGE_NOTE, "RESIZE NOTE");
	fake_expect(DELETED);
}

static void test_delete_all_in_trim(void **state)
{
	struct device *device = add_resizable();

	(void)state;
	resizes.trim_pieces = 100;
	begin_resize(device, NEW_SIZE);
	device_delete_all(set);
	fake_serve();
	fake_expect(DELETED);
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
}

/* Whether the keeper could do it before it died, sysfs tells. */
static void test_keeper_gone_in_resize(void **state)
{
	struct device *device = add_resizable();

	(void)state;
	fake.hold[MESSAGE_RESIZE] = 1;
	fake.disk_size = 4096;
	begin_resize(device, 4096);
	fake_serve();
	fake_end_keeper();
	device_keeper_gone(set);
	expect_told(&added, SYMBOL_STATE, "keeper");
	assert_string_equal(device_state(device), "live");
	assert_int_equal(device->spec.geometry.size, 4096);
	assert_string_equal(device->spec.words, "add test");
	/* The next keeper's server is to look itself: nothing is cut off. */
	assert_int_equal(resizes.calls, 0);
}

/* A size that was never noted: the kernel's counts, before any request. */
static void test_take_over_of_another_size(void **state)
{
	struct device *device;

	(void)state;
	new_ops = &resize_ops;
	fake.disk_size = NEW_SIZE;
	device = adopt(5);
	resizes.trim_pieces = 3;
	device_recover_all(set);
	fake_serve();
	fake_expect(TAKEN " NOTE");
	assert_int_equal(resizes.size, NEW_SIZE);
	assert_string_equal(fake.last[MESSAGE_NOTE].text, "add test size=128M");
	assert_int_equal(resizes.trims, 3);
	expect_size(device, NEW_SIZE, "add test size=128M");
	/* One with the right size has nothing to note. */
	device = adopt(6);
	device->spec.geometry.size = NEW_SIZE;
	resizes.calls = 0;
	resizes.trim_pieces = 2;
	device_recover_all(set);
	fake_serve();
	fake_expect(TAKEN);
	assert_int_equal(resizes.calls, 0);
	assert_int_equal(resizes.trims, 5);
	expect_size(device, NEW_SIZE, "add test");
}

/* Better served in part than not at all. */
static void test_take_over_of_what_cannot_grow(void **state)
{
	struct device *device;

	(void)state;
	fake.disk_size = NEW_SIZE;
	device = adopt(5);
	new_ops = &resize_ops;
	device_recover_all(set);
	fake_serve();
	fake_expect(TAKEN " NOTE");
	assert_true(log_has("cannot change its size"));
	expect_size(device, NEW_SIZE, "add test size=128M");
	resizes.fails = 1;
	device = adopt(6);
	device_recover_all(set);
	fake_serve();
	assert_true(log_has("no memory for it"));
	expect_size(device, NEW_SIZE, "add test size=128M");
}

/* What was to be settled is not mixed up with what comes later. */
static void test_lost_with_another_size(void **state)
{
	struct device *device;

	(void)state;
	new_ops = &resize_ops;
	fake.disk_size = NEW_SIZE;
	device = adopt(5);
	fake.result[MESSAGE_END_RECOVER] = -EIO;
	device_recover_all(set);
	fake_serve();
	assert_int_equal(device->step, DEVICE_LOST);
	fake_forget();
	begin_note(device, "add test 1");
	fake_serve();
	fake_expect("NOTE");
	expect_told(&added, SYMBOL_NONE, NULL);
	assert_int_equal(device->step, DEVICE_LOST);
	assert_string_equal(device->spec.words, "add test 1");
}

static void test_resize_of_a_lost_one(void **state)
{
	struct device *device;
	struct failure failure;

	(void)state;
	new_ops = &resize_ops;
	device = adopt(5);
	fake.result[MESSAGE_RECOVER] = -EIO;
	device_recover_all(set);
	fake_serve();
	assert_int_equal(device->step, DEVICE_LOST);
	fake_forget();
	assert_int_equal(
		device_resize(device, NEW_SIZE, on_done, &added, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_STATE);
	fake_serve();
	fake_expect("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(test_add),
		TEST(test_add_on_old_kernel),
		TEST(test_rings_on_old_kernel),
		TEST(test_timeout_fails),
		TEST(test_what_the_driver_is_told),
		TEST(test_no_partscan),
		TEST(test_batch),
		TEST(test_plain_params),
		TEST(test_what_the_driver_gave),
		TEST(test_set_is_sorted),
		TEST(test_find),
		TEST(test_no_driver),
		TEST(test_no_permission),
		TEST(test_features_are_missing),
		TEST(test_mode),
		TEST(test_mode_is_missing),
		TEST(test_flags_are_dropped),
		TEST(test_add_fails),
		TEST(test_new_file),
		TEST(test_params_fail),
		TEST(test_note_fails),
		TEST(test_open_fails),
		TEST(test_open_is_retried),
		TEST(test_open_patience),
		TEST(test_queue_fails),
		TEST(test_out_of_memory),
		TEST(test_start_fails),
		TEST(test_fetch_is_refused),
		TEST(test_fetch_is_refused_later),
		TEST(test_delete_of_a_failed_add),
		TEST(test_node_comes_late),
		TEST(test_node_never_comes),
		TEST(test_in_the_way),
		TEST(test_in_the_way_late),
		TEST(test_old_node),
		TEST(test_skip_number),
		TEST(test_skip_in_vain),
		TEST(test_skip_taken),
		TEST(test_undoing_fails),
		TEST(test_messages_name_the_device),
		TEST(test_strange_answers),
		TEST(test_side_by_side),
		TEST(test_take_over),
		TEST(test_take_over_of_two),
		TEST(test_take_over_on_old_kernel),
		TEST(test_take_over_waits),
		TEST(test_take_over_of_one_that_is_gone),
		TEST(test_take_over_fails),
		TEST(test_lost_is_tried_again),
		TEST(test_lost_for_another_reason),
		TEST(test_lost_without_a_ring),
		TEST(test_lost_behind_the_first_command),
		TEST(test_lost_behind_a_fetch),
		TEST(test_lost_by_a_refusal),
		TEST(test_commands_for_a_lost_one),
		TEST(test_delete_of_a_lost_one_refused),
		TEST(test_lost_without_a_keeper),
		TEST(test_take_over_a_second_time),
		TEST(test_delete_while_it_waits),
		TEST(test_delete_in_take_over),
		TEST(test_delete_before_the_node),
		TEST(test_stop_while_it_waits),
		TEST(test_stop_before_it_is_lost),
		TEST(test_delete),
		TEST(test_delete_releases),
		TEST(test_release_outlives_the_keeper),
		TEST(test_delete_by_force),
		TEST(test_delete_with_try_stop),
		TEST(test_busy_after_a_long_look),
		TEST(test_try_stop_fails),
		TEST(test_busy),
		TEST(test_busy_for_long),
		TEST(test_busy_for_a_moment),
		TEST(test_try_stop_is_busy),
		TEST(test_busy_cannot_be_told),
		TEST(test_check),
		TEST(test_stop_fails),
		TEST(test_delete_fails),
		TEST(test_delete_unknown),
		TEST(test_delete_twice),
		TEST(test_delete_while_adding),
		TEST(test_drain),
		TEST(test_drain_patience),
		TEST(test_drain_of_owned),
		TEST(test_drain_of_owned_and_silent),
		TEST(test_delete_all_of_none),
		TEST(test_delete_all),
		TEST(test_doomed_in_features),
		TEST(test_doomed_in_add),
		TEST(test_doomed_in_params),
		TEST(test_doomed_in_start),
		TEST(test_doomed_in_timeout),
		TEST(test_doomed_add_that_fails),
		TEST(test_doomed_while_opening),
		TEST(test_doomed_while_looking),
		TEST(test_delete_all_in_busy),
		TEST(test_delete_all_between_looks),
		TEST(test_delete_all_in_try_stop),
		TEST(test_delete_all_in_stop),
		TEST(test_delete_all_in_delete),
		TEST(test_delete_all_in_check),
		TEST(test_keeper_gone_in_features),
		TEST(test_keeper_gone_in_add),
		TEST(test_keeper_gone_in_params),
		TEST(test_keeper_gone_in_start),
		TEST(test_keeper_gone_in_timeout),
		TEST(test_keeper_gone_while_opening),
		TEST(test_keeper_gone_in_busy),
		TEST(test_keeper_gone_between_looks),
		TEST(test_tally),
		TEST(test_tally_is_taken),
		TEST(test_refused_write),
		TEST(test_closing),
		TEST(test_closing_late),
		TEST(test_closing_after_failed_add),
		TEST(test_closing_without_keeper),
		TEST(test_keeper_gone_in_stop),
		TEST(test_keeper_gone_in_delete),
		TEST(test_keeper_gone_in_try_stop),
		TEST(test_keeper_gone_while_live),
		TEST(test_send_fails),
		TEST(test_layers_when_live),
		TEST(test_layer_of_a_live_device),
		TEST(test_force_lets_go),
		TEST(test_delete_all_lets_go),
		TEST(test_delete_waits),
		TEST(test_hurry_in_stop),
		TEST(test_hurry_in_try_stop),
		TEST(test_hurry_in_busy),
		TEST(test_hurry_in_delete),
		TEST(test_hurry_twice),
		TEST(test_note_again),
		TEST(test_note_again_fails),
		TEST(test_note_while_busy),
		TEST(test_delete_all_in_note),
		TEST(test_keeper_gone_in_note),
		TEST(test_resize_grows),
		TEST(test_resize_shrinks),
		TEST(test_resize_trims_first),
		TEST(test_resize_is_refused),
		TEST(test_resize_mistakes),
		TEST(test_resize_auto),
		TEST(test_resize_cannot_be_noted),
		TEST(test_resize_while_busy),
		TEST(test_delete_in_change),
		TEST(test_delete_behind_a_change),
		TEST(test_delete_in_growth),
		TEST(test_delete_all_in_resize),
		TEST(test_delete_all_in_trim),
		TEST(test_keeper_gone_in_resize),
		TEST(test_take_over_of_another_size),
		TEST(test_take_over_of_what_cannot_grow),
		TEST(test_lost_with_another_size),
		TEST(test_resize_of_a_lost_one),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
