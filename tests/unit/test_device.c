/* The life of a device, step by step, against a keeper that can be told off. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"
#include "device/steps.h"
#include "fake.h"
#include "io/late.h"

#define QUEUES 2

/* What a plain add does on a kernel of today, and its undoing. */
#define NOTED	"FEATURES ADD PARAMS NOTE"
#define ADDED	NOTED " open q0+ q1+ START"
#define DELETED "STOP q1- q0- close DELETE"

/* On an old kernel, where the keeper holds a live device's rings as well. */
#define OLD_ADDED ADDED " TIMEOUT RING RING"

/* A take-over, and one that the driver refuses. */
#define TAKEN "q0+ q1+ RECOVER open END_RECOVER"
#define LOST  "q0+ q1+ RECOVER q1- q0-"

/* ---- memory that runs out ---- */

static int calloc_fails; /* the call that fails, from 1 */

void *__real_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	if (calloc_fails && --calloc_fails == 0)
		return NULL;
	return __real_calloc(count, size);
}

/* ---- targets that only count ---- */

static unsigned targets; /* that are open */
static unsigned pieces;	 /* of memory that a target has to release */
static unsigned submits; /* requests that reached a target */
static unsigned resumed; /* targets, after their old server had gone */
static int resume_error;
static const struct target *gave_up; /* its files */

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
} resizes;

static int release_target(struct target *target)
{
	return pieces && --pieces;
}

static void close_target(struct target *target)
{
	targets--;
	if (gave_up == target)
		gave_up = NULL;
	free(target);
}

static void submit_target(struct backend *backend, struct io *io)
{
	submits++;
}

/* Before its queues ask: nobody may be served from what is stale. */
static int resume_target(struct target *target)
{
	const char *at = fake_trace();
	unsigned opened;

	for (opened = 0; (at = strstr(at, "open")); opened++)
		at++;
	if (opened > resumed)
		fail_msg("it was resumed with the char device open");
	resumed++;
	return resume_error;
}

static int resize_target(struct target *target, uint64_t size,
			 struct failure *failure)
{
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
	*size = resizes.backing;
	if (resizes.backing)
		return 0;
	return failure_set(failure, SYMBOL_IO, EIO, NULL, "it cannot be told");
}

static int trim_target(struct target *target)
{
	resizes.trims++;
	if (resizes.trim_error)
		return resizes.trim_error;
	return resizes.trim_pieces && --resizes.trim_pieces;
}

static int give_up_files(struct target *target, int *fds)
{
	if (gave_up == target)
		return 0;
	gave_up = target;
	fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	fds[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	return 2;
}

static const struct target_ops test_ops = { .name = "test",
					    .io.submit = submit_target,
					    .resume = resume_target,
					    .release = release_target,
					    .close = close_target };
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
static const struct target_ops files_ops = { .name = "test",
					     .io.submit = submit_target,
					     .give_up = give_up_files,
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

/* ---- what whoever asked was told ---- */

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

/* NULL: in any words. */
static void expect_failure(const struct failure *failure, enum symbol symbol,
			   const char *text)
{
	assert_string_equal(symbol_name(failure->symbol), symbol_name(symbol));
	if (text && !strstr(failure->text, text))
		fail_msg("'%s' does not tell '%s'", failure->text, text);
}

static void expect_told(struct told *told, enum symbol symbol, const char *text)
{
	assert_int_equal(told->count, 1);
	expect_failure(&told->failure, symbol, text);
	told->count = 0;
}

static void expect_ok(struct told *told)
{
	expect_told(told, SYMBOL_NONE, NULL);
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

static void expect_gone(void)
{
	assert_int_equal(set->count, 0);
	assert_null(set->first);
	assert_int_equal(targets, 0);
}

static void expect_state(const struct device *device, const char *state)
{
	assert_string_equal(device_state(device), state);
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

/* What is asked for; its answer goes to `told`. */

static struct failure refused; /* why it was not begun */

static int ask_add(const struct device_spec *spec)
{
	return device_add(set, spec, on_done, &added, &refused);
}

static int ask_delete(struct device *device, int force, struct told *told)
{
	return device_delete(device, force, on_done, told, &refused);
}

static int ask_check(struct device *device, struct told *told)
{
	return device_check(device, on_done, told, &refused);
}

static int ask_note(struct device *device, const char *words)
{
	return device_note(device, strdup(words), on_done, &added, &refused);
}

static int ask_resize(struct device *device, uint64_t size)
{
	return device_resize(device, size, on_done, &added, &refused);
}

static void expect_refused(int result, enum symbol symbol, const char *text)
{
	assert_int_equal(result, -1);
	expect_failure(&refused, symbol, text);
}

static void expect_busy(int result, const char *text)
{
	expect_refused(result, SYMBOL_BUSY, text);
}

/* Begun, as far as the keeper answers. */
static void begin(int result)
{
	assert_int_equal(result, 0);
	fake_serve();
}

static void begin_add(uint32_t id)
{
	struct device_spec spec = new_spec(id);

	begin(ask_add(&spec));
}

static void add_spec(struct device_spec spec, enum symbol symbol,
		     const char *text)
{
	begin(ask_add(&spec));
	expect_told(&added, symbol, text);
}

static struct device *add(uint32_t id)
{
	begin_add(id);
	expect_ok(&added);
	assert_non_null(device_find(set, added.id));
	expect_state(device_find(set, added.id), "live");
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
	begin(ask_delete(device, force, &deleted));
}

static void delete_one(struct device *device, int force)
{
	begin_delete(device, force);
	expect_ok(&deleted);
}

/* It was the last one. */
static void expect_deleted(void)
{
	expect_ok(&deleted);
	expect_gone();
}

static void delete_last(struct device *device, int force)
{
	begin_delete(device, force);
	expect_deleted();
}

static void end_keeper(void)
{
	fake_end_keeper();
	device_keeper_gone(set);
}

int before_each(void **state)
{
	fake_start();
	set->on_empty = on_empty;
	empties = targets = pieces = submits = resumed = 0;
	resume_error = calloc_fails = 0;
	new_ops = &test_ops;
	memset(&resizes, 0, sizeof(resizes));
	memset(&added, 0, sizeof(added));
	memset(&deleted, 0, sizeof(deleted));
	return 0;
}

int after_each(void **state)
{
	fake_delete_all();
	fake_stop();
	return 0;
}

/* Between the rows of a table: everything is as at a test's beginning. */
static void restart(void)
{
	after_each(NULL);
	before_each(NULL);
}

/* ---- add ---- */

TEST_CASE(test_add)
{
	struct device_spec spec = new_spec(DEVICE_ID_ANY);
	uint64_t seq = set->seq;
	struct device *device;

	assert_int_equal(ask_add(&spec), 0);
	expect_state(set->first, "adding");
	assert_int_equal(added.count, 0);
	fake_serve();
	fake_expect(ADDED);
	expect_ok(&added);
	device = device_find(set, 0);
	assert_non_null(device);
	expect_state(device, "live");
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
TEST_CASE(test_add_on_old_kernel)
{
	fake.features = FAKE_FEATURES_OLD;
	add(DEVICE_ID_ANY);
	fake_expect(OLD_ADDED);
	assert_in_range(fake.last[MESSAGE_TIMEOUT].number, 1, 3000);
}

/* By number, and again after each command that it lets go of them for. */
TEST_CASE(test_rings_on_old_kernel)
{
	fake.features = FAKE_FEATURES_OLD;
	add_quietly();
	assert_false(fake.defer);
	assert_int_equal(fake.last[MESSAGE_RING].id, 0);
	assert_int_equal(fake.last[MESSAGE_RING].number, FAKE_RING + 1);
	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	begin_delete(set->first, 0);
	fake_expect("BUSY RING RING");
	begin_delete(set->first, 1);
	fake_expect(DELETED);
}

TEST_CASE(test_timeout_fails)
{
	fake.features = FAKE_FEATURES_OLD;
	fake.result[MESSAGE_TIMEOUT] = -EIO;
	add(DEVICE_ID_ANY);
	fake_expect(OLD_ADDED);
	assert_true(log_has("timeout"));
}

TEST_CASE(test_what_the_driver_is_told)
{
	const struct ublk_dev_info *info = &fake.last[MESSAGE_ADD].info;
	const struct ublk_params *params = &fake.last[MESSAGE_PARAMS].params;
	struct device_spec spec = new_spec(7);

	spec.read_only = 1;
	spec.geometry.block_size = 1024;
	spec.geometry.physical_block_size = 4096;
	spec.geometry.discard_granularity = 4096;
	spec.geometry.max_discard = 32 << 20;
	spec.geometry.max_write_zeroes = 16 << 20;
	spec.geometry.volatile_cache = 1;
	add_spec(spec, SYMBOL_NONE, NULL);
	assert_int_equal(info->dev_id, 7);
	assert_int_equal(info->nr_hw_queues, QUEUES);
	assert_int_equal(info->queue_depth, 128);
	assert_int_equal(info->max_io_buf_bytes, 512 << 10);
	assert_true(info->flags & UBLK_F_USER_COPY);
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

/* Without any of it: no attributes, and no parameters of a discard. */
TEST_CASE(test_plain_params)
{
	const struct ublk_params *params = &fake.last[MESSAGE_PARAMS].params;

	add(DEVICE_ID_ANY);
	assert_int_equal(params->types, UBLK_PARAM_TYPE_BASIC);
	assert_int_equal(params->basic.attrs, 0);
	assert_int_equal(params->basic.logical_bs_shift, 9);
	assert_int_equal(params->basic.physical_bs_shift, 9);
}

/* The kernel is told not to look for partitions, where it can be. */
TEST_CASE(test_no_partscan)
{
	const struct ublk_dev_info *info = &fake.last[MESSAGE_ADD].info;
	struct device_spec spec = new_spec(1);

	spec.no_partscan = 1;
	add_spec(spec, SYMBOL_NONE, NULL);
	assert_true(info->flags & UBLK_F_NO_AUTO_PART_SCAN);
	add(2);
	assert_false(info->flags & UBLK_F_NO_AUTO_PART_SCAN);
	set->features &= ~UBLK_F_NO_AUTO_PART_SCAN;
	fake_forget();
	spec = new_spec(3);
	spec.no_partscan = 1;
	add_spec(spec, SYMBOL_UNSUPPORTED, "partscan=no");
	assert_string_equal(added.failure.arg, "partscan");
	fake_expect("");
}

/* A kind of recovery that the driver does not have. */
TEST_CASE(test_no_recovery)
{
	struct device_spec spec = new_spec(1);

	set->features = FAKE_FEATURES_OLD & ~UBLK_F_USER_RECOVERY_FAIL_IO;
	spec.recovery = RECOVERY_FAIL;
	add_spec(spec, SYMBOL_UNSUPPORTED, "recovery");
	assert_string_equal(added.failure.arg, "recovery");
	fake_expect("");
}

/* Commands for many requests, where the driver has them. */
TEST_CASE(test_batch)
{
	static const enum io_mode modes[] = { IO_NEED_GET_DATA, IO_USER_COPY,
					      IO_MODES };
	const struct ublk_dev_info *info = &fake.last[MESSAGE_ADD].info;
	struct device_spec spec = new_spec(1);

	spec.batch = 1;
	spec.depth = 1;
	spec.mode = IO_MODES;
	spec.geometry.modes = modes;
	add_spec(spec, SYMBOL_NONE, NULL);
	assert_true(device_batch(info->flags));
	assert_true(fake.batch);
	/* One does not go with the other, and no queue has fewer than two. */
	assert_int_equal(device_find(set, 1)->spec.mode, IO_USER_COPY);
	assert_int_equal(device_find(set, 1)->spec.depth, 2);
	add(2);
	assert_false(device_batch(info->flags));
	assert_false(fake.batch);
	/* The driver says that it can, and then it cannot. */
	fake.dropped_flags = UBLK_F_BATCH_IO;
	spec = new_spec(3);
	spec.batch = 1;
	add_spec(spec, SYMBOL_UNSUPPORTED, NULL);
	assert_null(device_find(set, 3));
	set->features = FAKE_FEATURES_OLD;
	fake_forget();
	spec = new_spec(4);
	spec.batch = 1;
	add_spec(spec, SYMBOL_UNSUPPORTED, "batch=yes");
	assert_string_equal(added.failure.arg, "batch");
	fake_expect("");
}

/* The driver has the last word on id and queues. */
TEST_CASE(test_what_the_driver_gave)
{
	struct device *device;

	fake.max_queues = 1;
	fake.next_id = 5;
	device = add(DEVICE_ID_ANY);
	fake_expect(NOTED " open q0+ START");
	assert_int_equal(device->spec.id, 5);
	assert_int_equal(device->spec.queues, 1);
	assert_int_equal(device->open_queues, 1);
	assert_string_equal(device->disk, "ublkb5");
}

TEST_CASE(test_set_is_sorted)
{
	static const uint32_t ids[] = { 9, 3, 70, 4 },
			      sorted[] = { 3, 4, 9, 70 };
	struct device *device;
	unsigned i;

	for (i = 0; i < COUNT(ids); i++)
		add(ids[i]);
	for (i = 0, device = set->first; device; device = device->next, i++)
		assert_int_equal(device->spec.id, sorted[i]);
	assert_int_equal(i, COUNT(ids));
	assert_null(device_find(set, 5));
	assert_null(device_find(set, DEVICE_ID_ANY));
}

TEST_CASE(test_find)
{
	struct device_spec spec = new_spec(3);
	struct device *device;

	snprintf(spec.name, sizeof(spec.name), "backup");
	assert_int_equal(ask_add(&spec), 0);
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
	assert_null(device_find_name(set, ""));
	assert_null(device_find(set, DEVICE_ID_ANY));
}

/* ---- how data moves ---- */

TEST_CASE(test_mode)
{
	static const enum io_mode best_last[] = { IO_NEED_GET_DATA, IO_COPY,
						  IO_USER_COPY, IO_MODES };
	static const enum io_mode one_only[] = { IO_NEED_GET_DATA, IO_MODES };
	static const struct {
		enum io_mode mode, expected;
		const enum io_mode *modes; /* of the target */
		uint64_t missing, flags;
	} rows[] = {
		{ IO_USER_COPY, IO_USER_COPY, best_last, 0, UBLK_F_USER_COPY },
		{ IO_NEED_GET_DATA, IO_NEED_GET_DATA, best_last, 0,
		  UBLK_F_NEED_GET_DATA },
		{ IO_COPY, IO_COPY, best_last, 0, 0 },
		{ IO_MODES, IO_NEED_GET_DATA, best_last, 0,
		  UBLK_F_NEED_GET_DATA },
		{ IO_MODES, IO_COPY, best_last + 1, 0, 0 },
		{ IO_MODES, IO_USER_COPY, NULL, 0, UBLK_F_USER_COPY },
		/* A driver that cannot do the best one. */
		{ IO_MODES, IO_COPY, best_last, UBLK_F_NEED_GET_DATA, 0 },
		{ IO_MODES, IO_USER_COPY, one_only, UBLK_F_NEED_GET_DATA,
		  UBLK_F_USER_COPY },
		{ IO_NEED_GET_DATA, IO_MODES, best_last, UBLK_F_NEED_GET_DATA,
		  0 },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		uint64_t flags;
		struct device_spec spec;
		const struct device *device;

		restart();
		set->features = FAKE_FEATURES_OLD & ~rows[i].missing;
		spec = new_spec(i);
		spec.mode = rows[i].mode;
		spec.geometry.modes = rows[i].modes;
		if (rows[i].expected == IO_MODES) {
			add_spec(spec, SYMBOL_UNSUPPORTED,
				 "mode=need-get-data");
			assert_string_equal(added.failure.arg, "mode");
			expect_gone();
			fake_expect("");
			continue;
		}
		add_spec(spec, SYMBOL_NONE, NULL);
		device = device_find(set, i);
		assert_int_equal(device->spec.mode, rows[i].expected);
		assert_int_equal(device->queues[0].port.mode, rows[i].expected);
		assert_int_equal(device->queues[1].port.mode, rows[i].expected);
		flags = fake.last[MESSAGE_ADD].info.flags;
		assert_int_equal(flags & (UBLK_F_USER_COPY |
					  UBLK_F_NEED_GET_DATA),
				 rows[i].flags);
		assert_int_equal(device_mode(flags), rows[i].expected);
	}
}

/* ---- an add that fails ---- */

/* What is undone, and what the user is told. */
static void check_failed_add(const char *trace, enum symbol symbol,
			     const char *text)
{
	unsigned fds = count_fds();

	begin_add(DEVICE_ID_ANY);
	fake_pass_time(7);
	fake_expect(trace);
	expect_told(&added, symbol, text);
	expect_gone();
	assert_int_equal(count_fds(), fds);
	assert_int_equal(empties, 1);
}

/* Each command that can fail. */
TEST_CASE(test_command_fails)
{
	static const struct {
		uint32_t type;
		int result;
		const char *trace;
		enum symbol symbol;
		const char *text, *arg;
	} rows[] = {
		{ MESSAGE_FEATURES, -ENOENT, "FEATURES", SYMBOL_UNSUPPORTED,
		  "modprobe ublk_drv", "" },
		{ MESSAGE_FEATURES, -EACCES, "FEATURES", SYMBOL_DENIED,
		  "/dev/ublk-control", "" },
		{ MESSAGE_ADD, -EPERM, "FEATURES ADD", SYMBOL_DENIED,
		  "add a ublk device", "" },
		{ MESSAGE_ADD, -EEXIST, "FEATURES ADD", SYMBOL_EXISTS, "in use",
		  "id" },
		{ MESSAGE_PARAMS, -EINVAL, "FEATURES ADD PARAMS DELETE",
		  SYMBOL_IO, "parameters", "" },
		/* The next server would not know of it. */
		{ MESSAGE_NOTE, -ENOSPC, NOTED " DELETE", SYMBOL_LIMIT,
		  "note the device", "" },
		{ MESSAGE_START, -EIO, ADDED " " DELETED, SYMBOL_IO, "start",
		  "" },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		restart();
		fake.result[rows[i].type] = rows[i].result;
		check_failed_add(rows[i].trace, rows[i].symbol, rows[i].text);
		assert_string_equal(added.failure.arg, rows[i].arg);
		/* It may be loaded, or mended, any time. */
		fake.result[rows[i].type] = 0;
		add(DEVICE_ID_ANY);
	}
}

TEST_CASE(test_features_are_missing)
{
	fake.features = FAKE_FEATURES_OLD & ~UBLK_F_USER_COPY;
	check_failed_add("FEATURES", SYMBOL_UNSUPPORTED, "user");
	restart();
	fake.features = FAKE_FEATURES_OLD & ~UBLK_F_CMD_IOCTL_ENCODE;
	check_failed_add("FEATURES", SYMBOL_UNSUPPORTED, "ioctl");
}

/* The driver drops flags without a word: what comes back is what counts. */
TEST_CASE(test_flags_are_dropped)
{
	fake.dropped_flags = UBLK_F_USER_COPY;
	check_failed_add("FEATURES ADD DELETE", SYMBOL_UNSUPPORTED, NULL);
}

TEST_CASE(test_open_fails)
{
	fake.open_error = EBUSY;
	fake.open_failures = 1;
	check_failed_add(NOTED " STOP DELETE", SYMBOL_BUSY, "char device");
	assert_int_equal(fake.opens, 1);
}

TEST_CASE(test_queue_fails)
{
	fake.queue_error = -ENOMEM;
	fake.queue_fails = 1;
	check_failed_add(NOTED " open q0+ q1! STOP q0- close DELETE",
			 SYMBOL_LIMIT, "char device");
	restart();
	fake.queue_error = -ENOMEM;
	check_failed_add(NOTED " open q0! STOP close DELETE", SYMBOL_LIMIT,
			 "char device");
}

TEST_CASE(test_out_of_memory)
{
	struct device_spec spec = new_spec(1);

	calloc_fails = 1;
	expect_refused(ask_add(&spec), SYMBOL_LIMIT, NULL);
	assert_int_equal(added.count, 0);
	expect_gone();
	/* The second one is for the queues. */
	spec = new_spec(1);
	assert_int_equal(ask_add(&spec), 0);
	calloc_fails = 1;
	fake_serve();
	fake_expect(NOTED " open STOP close DELETE");
	expect_told(&added, SYMBOL_LIMIT, NULL);
	expect_gone();
}

/* The file that is made for a device goes if that never becomes live. */
TEST_CASE(test_new_file)
{
	static const int results[] = { 0, -EINVAL };
	unsigned i;

	for (i = 0; i < COUNT(results); i++) {
		struct device_spec spec = new_spec(DEVICE_ID_ANY);

		test_file("made", "");
		spec.new_file = strdup(test_path("made"));
		fake.result[MESSAGE_PARAMS] = results[i];
		add_spec(spec, results[i] ? SYMBOL_IO : SYMBOL_NONE, NULL);
		if (!results[i])
			delete_one(device_find(set, added.id), 0);
		assert_int_equal(access(test_path("made"), F_OK),
				 results[i] ? -1 : 0);
	}
	test_folder_remove();
}

/* The first failure is the one to tell; that of the undoing is not. */
TEST_CASE(test_undoing_fails)
{
	fake.result[MESSAGE_START] = -EIO;
	fake.result[MESSAGE_STOP] = -EINVAL;
	fake.result[MESSAGE_DELETE] = -EINVAL;
	check_failed_add(ADDED " " DELETED, SYMBOL_IO, "start");
}

/* The driver refuses a FETCH: START would wait for it for ever. */
TEST_CASE(test_fetch_is_refused)
{
	fake.hold[MESSAGE_START] = 1;
	begin_add(DEVICE_ID_ANY);
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

/* Once it is live there is no START to cancel. */
TEST_CASE(test_fetch_is_refused_later)
{
	struct device *device = add_quietly();

	fake_refuse_fetch(device->spec.id, -EINVAL);
	fake_serve();
	fake_expect("");
	assert_true(log_has("refused"));
}

/* Who deletes what is left of it by force gets that, and not why it failed. */
TEST_CASE(test_delete_of_a_failed_add)
{
	static const int results[] = { 0, -EIO };
	unsigned i;

	for (i = 0; i < COUNT(results); i++) {
		restart();
		fake.result[MESSAGE_START] = -EIO;
		fake.hold[MESSAGE_STOP] = 1;
		begin_add(DEVICE_ID_ANY);
		fake.result[MESSAGE_DELETE] = results[i];
		begin_delete(set->first, 1);
		expect_told(&added, SYMBOL_IO, "start");
		fake_release(MESSAGE_STOP);
		/* Unless it cannot be had. */
		expect_told(&deleted, results[i] ? SYMBOL_IO : SYMBOL_NONE,
			    results[i] ? "cannot be deleted" : NULL);
		expect_gone();
	}
}

/* ---- nodes in /dev ---- */

/* A node that udev has yet to make, or to give its mode. */
TEST_CASE(test_open_is_retried)
{
	fake.open_error = ENOENT;
	fake.open_failures = 7;
	begin_add(DEVICE_ID_ANY);
	assert_int_equal(added.count, 0);
	assert_int_equal(fake.opens, 1);
	fake_pass_time(0.2);
	fake_expect(ADDED);
	expect_ok(&added);
	assert_int_equal(fake.opens, 8);
}

TEST_CASE(test_open_patience)
{
	fake.open_error = ENOENT;
	fake.open_failures = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	fake_pass_time(4.5);
	assert_int_equal(added.count, 0);
	fake_pass_time(1.5);
	fake_expect(NOTED " STOP DELETE");
	expect_told(&added, SYMBOL_NOTFOUND, "char device");
	expect_gone();
}

TEST_CASE(test_node_comes_late)
{
	fake.node_after = 20;
	begin_add(DEVICE_ID_ANY);
	assert_int_equal(added.count, 0);
	expect_state(set->first, "adding");
	fake_pass_time(0.5);
	expect_ok(&added);
	fake_expect(ADDED);
}

TEST_CASE(test_node_never_comes)
{
	fake.node_after = 1 << 20;
	check_failed_add(ADDED " " DELETED, SYMBOL_TIMEOUT,
			 "/dev/ublkb0 does not appear: is devtmpfs mounted");
	/* It looked more than now and then, and less than all the time. */
	assert_in_range(fake.looks, 51, 1999);
}

/* What is no node stays one: the answer comes at once, and says what it is. */
TEST_CASE(test_in_the_way)
{
	static const struct {
		const char *path;
		unsigned mode;
		const char *what;
	} rows[] = {
		{ "/dev/ublkb5", S_IFREG | 0644, "ublkb5 is a regular file" },
		{ "/dev/ublkb5", S_IFDIR | 0755, "ublkb5 is a folder" },
		{ "/dev/ublkb5", S_IFLNK | 0777, "ublkb5 is a symbolic link" },
		{ "/dev/ublkb5", S_IFIFO | 0644, "pipe" },
		{ "/dev/ublkb5", S_IFCHR | 0644, "another device" },
		{ "/dev/ublkc5", S_IFREG | 0644, "ublkc5 is a regular file" },
		{ "/dev/ublkc5", S_IFBLK | 0644, "ublkc5 is another device" },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		fake.in_the_way = rows[i].path;
		fake.way_mode = rows[i].mode;
		begin_add(5);
		expect_told(&added, SYMBOL_EXISTS, rows[i].what);
		assert_null(strstr(fake_trace(), "ADD"));
		fake_forget();
		expect_gone();
	}
	add(6);
}

/* It came only after the look: still the answer does not take seconds. */
TEST_CASE(test_in_the_way_late)
{
	fake.hold[MESSAGE_START] = 1;
	begin_add(5);
	fake.in_the_way = "/dev/ublkb5";
	fake.way_mode = S_IFREG | 0644;
	fake_release(MESSAGE_START);
	fake_expect(ADDED " " DELETED);
	expect_told(&added, SYMBOL_EXISTS, "regular file");
	expect_gone();
}

/* An old node of that name may still be replaced by the right one. */
TEST_CASE(test_old_node)
{
	fake.node_number = "259:3\n";
	fake.in_the_way = "/dev/ublkb5";
	fake.way_mode = S_IFBLK | 0644; /* 8:1 */
	begin_add(5);
	assert_int_equal(added.count, 0);
	fake_pass_time(1);
	assert_int_equal(added.count, 0);
	fake.node_number = "8:1\n";
	fake_pass_time(0.1);
	assert_int_equal(added.count, 0); /* that of the char device is not */
	fake.node_number = NULL;
	fake_pass_time(0.1);
	expect_ok(&added);
	fake.in_the_way = "/dev/ublkb6";
	fake.node_number = "0:0\n"; /* as the char device's */
	begin_add(6);
	fake_pass_time(6);
	expect_told(&added, SYMBOL_EXISTS, "ublkb6 is another device");
}

/* Without id= there is a later number; the driver's own choice goes again. */
TEST_CASE(test_skip_number)
{
	fake.next_id = 4;
	fake.in_the_way = "/dev/ublkb4";
	fake.way_mode = S_IFREG | 0644;
	assert_int_equal(add(DEVICE_ID_ANY)->spec.id, 5);
	assert_string_equal(device_find(set, 5)->disk, "ublkb5");
	fake_expect("FEATURES ADD DELETE ADD PARAMS NOTE open q0+ q1+ START");
	assert_int_equal(fake.last[MESSAGE_DELETE].id, 4);
	assert_int_equal(fake.last[MESSAGE_ADD].info.dev_id, 5);
	assert_true(log_has("ublkb4 is a regular file"));
	/* The next one is ours: it is not asked for. */
	fake.next_id = 4;
	assert_int_equal(add(DEVICE_ID_ANY)->spec.id, 6);
}

/* Others have all of them, or /dev is full of files: that ends. */
TEST_CASE(test_skip_in_vain)
{
	fake.in_the_way = "/dev/ublkb";
	fake.way_mode = S_IFREG | 0644;
	begin_add(DEVICE_ID_ANY);
	expect_told(&added, SYMBOL_EXISTS, "no number is free up to 64");
	assert_int_equal(fake.count[MESSAGE_ADD], 1);
	expect_gone();
}

/* Another program has the number meanwhile. */
TEST_CASE(test_skip_taken)
{
	fake.in_the_way = "/dev/ublkc0";
	fake.way_mode = S_IFREG | 0644;
	fake.hold[MESSAGE_DELETE] = 1;
	begin_add(DEVICE_ID_ANY);
	expect_state(set->first, "deleting");
	fake.hold[MESSAGE_ADD] = 1;
	fake_release(MESSAGE_DELETE);
	fake.result[MESSAGE_ADD] = -EEXIST;
	fake_release(MESSAGE_ADD);
	expect_told(&added, SYMBOL_EXISTS, "no number is free");
	assert_int_equal(fake.count[MESSAGE_ADD], 65);
	expect_gone();
}

/* ---- messages ---- */

/* Every message but FEATURES is about one device, in its words. */
TEST_CASE(test_messages_name_the_device)
{
	unsigned type;

	fake.next_id = 42;
	begin_delete(add(DEVICE_ID_ANY), 0);
	for (type = MESSAGE_PARAMS; type <= MESSAGE_DELETE; type++) {
		if (!fake.count[type])
			continue;
		assert_int_equal(fake.last[type].id, 42);
		assert_int_equal(fake.last[type].serial,
				 fake.last[MESSAGE_ADD].serial);
	}
}

TEST_CASE(test_strange_answers)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_STOP,
				   .result = -EIO,
				   .serial = 999 };
	struct device *device = add_quietly();

	device_answer(set, &message);
	message.serial = device->serial;
	device_answer(set, &message);
	expect_state(device, "live");
	fake_expect("");
}

/* A slow device holds up no other. */
TEST_CASE(test_side_by_side)
{
	fake.hold[MESSAGE_START] = 1;
	begin_add(1);
	assert_int_equal(fake_held(), 1);
	fake.hold[MESSAGE_START] = 0;
	delete_one(add(2), 0);
	expect_state(device_find(set, 1), "adding");
	fake_release(MESSAGE_START);
	expect_ok(&added);
	assert_int_equal(added.id, 1);
}

/* ---- something comes while an add waits for the keeper ---- */

static const struct {
	uint32_t type; /* that is not answered yet */
	const char *before, *after;
} add_waits[] = {
	{ MESSAGE_FEATURES, "FEATURES", "" },
	{ MESSAGE_ADD, "FEATURES ADD", "DELETE" },
	{ MESSAGE_PARAMS, "FEATURES ADD PARAMS", "DELETE" },
	{ MESSAGE_NOTE, NOTED, "DELETE" },
	{ MESSAGE_START, ADDED, DELETED },
	{ MESSAGE_TIMEOUT, ADDED " TIMEOUT", DELETED },
};

static struct device *begin_waiting_add(unsigned row)
{
	restart();
	fake.features = FAKE_FEATURES_OLD;
	fake.hold[add_waits[row].type] = 1;
	begin_add(0);
	fake_expect(add_waits[row].before);
	return set->first;
}

/* The end of all: it is rolled back from there, and told why. */
TEST_CASE(test_delete_all_in_add)
{
	unsigned i;

	for (i = 0; i < COUNT(add_waits); i++) {
		begin_waiting_add(i);
		device_delete_all(set);
		fake_serve();
		assert_int_equal(empties, 0);
		fake_release(add_waits[i].type);
		fake_pass_time(1);
		fake_expect(add_waits[i].after);
		expect_told(&added, SYMBOL_STATE, "stopping");
		expect_gone();
		assert_int_equal(empties, 1);
	}
}

/* Whoever adds it hears of that at once, who deletes it when it is gone. */
TEST_CASE(test_delete_in_add)
{
	unsigned i;

	for (i = 0; i < COUNT(add_waits); i++) {
		struct device *device = begin_waiting_add(i);

		expect_busy(ask_delete(device, 0, &deleted), "being added");
		begin_delete(device, 1);
		expect_told(&added, SYMBOL_STATE, "deleted by force");
		assert_int_equal(deleted.count, 0);
		expect_busy(ask_delete(device, 0, &added), "being deleted");
		fake_serve();
		fake_expect("");
		fake_release(add_waits[i].type);
		fake_expect(add_waits[i].after);
		assert_int_equal(added.count, 0);
		expect_deleted();
	}
}

/* That the command fails as well is nobody's failure: the device is gone. */
TEST_CASE(test_delete_in_add_that_fails)
{
	unsigned i;

	for (i = 0; i < COUNT(add_waits); i++) {
		uint32_t type = add_waits[i].type;
		struct device *device = begin_waiting_add(i);

		begin_delete(device, 1);
		expect_told(&added, SYMBOL_STATE, "deleted by force");
		fake.result[type] = type == MESSAGE_START ? -EINTR : -EPERM;
		fake_release(type);
		/* What the driver has not is not to be deleted. */
		fake_expect(type == MESSAGE_ADD ? "" : add_waits[i].after);
		expect_deleted();
	}
}

/* The end of all of ublkd has no other one to wait for. */
TEST_CASE(test_delete_all_after_force)
{
	fake.hold[MESSAGE_START] = 1;
	begin_add(0);
	begin_delete(set->first, 1);
	expect_told(&added, SYMBOL_STATE, "deleted by force");
	device_delete_all(set);
	fake_release(MESSAGE_START);
	expect_deleted();
}

/* Whatever is waited for, who asked is told once, and nothing more is done. */
static void lose_keeper(struct told *told)
{
	fake_forget();
	end_keeper();
	expect_told(told, SYMBOL_STATE, "keeper");
	fake_pass_time(10);
	fake_expect("");
	assert_int_equal(added.count, 0);
	assert_int_equal(deleted.count, 0);
}

TEST_CASE(test_keeper_gone_in_add)
{
	unsigned i;

	for (i = 0; i < COUNT(add_waits); i++) {
		begin_waiting_add(i);
		lose_keeper(&added);
	}
	/* It waits for the char device. */
	restart();
	fake.open_error = ENOENT;
	fake.open_failures = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	lose_keeper(&added);
	assert_int_equal(fake.opens, 1);
}

TEST_CASE(test_delete_all_in_add_that_fails)
{
	fake.hold[MESSAGE_ADD] = 1;
	begin_add(DEVICE_ID_ANY);
	device_delete_all(set);
	fake.result[MESSAGE_ADD] = -EBUSY;
	fake_release(MESSAGE_ADD);
	fake_expect("FEATURES ADD");
	assert_int_equal(added.count, 1);
	expect_gone();
	assert_int_equal(empties, 1);
}

TEST_CASE(test_delete_all_while_opening)
{
	fake.open_error = ENOENT;
	fake.open_failures = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	fake_pass_time(0.1);
	device_delete_all(set);
	fake_pass_time(6);
	fake_expect(NOTED " STOP DELETE");
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
}

TEST_CASE(test_delete_all_while_looking)
{
	fake.node_after = 1 << 20;
	begin_add(DEVICE_ID_ANY);
	fake_pass_time(0.1);
	fake_forget();
	device_delete_all(set);
	fake_serve();
	fake_expect(DELETED);
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
}

/* ---- taking over ---- */

static void recover_all(void)
{
	device_recover_all(set);
	fake_serve();
}

/* One that another server has had; nothing is begun yet. */
static struct device *adopt(uint32_t id)
{
	struct device_spec spec = new_spec(id);

	set->features = FAKE_FEATURES_NEW;
	begin(device_adopt(set, &spec, &refused));
	fake_expect("");
	expect_state(device_find(set, id), "quiesced");
	return device_find(set, id);
}

TEST_CASE(test_take_over)
{
	struct device *device = adopt(5);

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
	recover_all();
	fake_expect("");
	delete_one(device, 0);
}

TEST_CASE(test_take_over_of_two)
{
	struct device *five = adopt(5), *three = adopt(3);

	fake.hold[MESSAGE_RECOVER] = 1;
	recover_all();
	assert_int_equal(fake_held(), 2);
	fake_release(MESSAGE_RECOVER);
	expect_state(five, "live");
	expect_state(three, "live");
	assert_int_equal(resumed, 2);
}

/* Kernels that do not abort on close want the I/O timeout looked at. */
TEST_CASE(test_take_over_on_old_kernel)
{
	struct device *device = adopt(5);

	set->features = FAKE_FEATURES_OLD;
	recover_all();
	fake_expect(TAKEN " TIMEOUT RING RING");
	expect_state(device, "live");
}

/* The old server takes its time to be gone: often at first, told when late. */
TEST_CASE(test_take_over_waits)
{
	struct device *device = adopt(5);
	unsigned asked;

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

TEST_CASE(test_take_over_of_one_that_is_gone)
{
	adopt(5);
	fake.result[MESSAGE_RECOVER] = -ENODEV;
	recover_all();
	fake_expect(LOST);
	expect_gone();
}

/* It is somebody's data: it stays in sight, and can be deleted. */
TEST_CASE(test_take_over_fails)
{
	static const struct {
		uint32_t type;
		int result, resume_error, open_error;
		const char *trace;
	} rows[] = {
		{ MESSAGE_RECOVER, -EPERM, 0, 0, LOST },
		{ MESSAGE_RECOVER, -EINVAL, 0, 0, LOST },
		{ MESSAGE_RECOVER, 0, -EIO, 0, LOST },
		{ MESSAGE_RECOVER, 0, 0, EBUSY, LOST },
		{ MESSAGE_END_RECOVER, -EINVAL, 0, 0, TAKEN " q1- q0- close" },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		struct device *device;

		restart();
		fake.result[rows[i].type] = rows[i].result;
		resume_error = rows[i].resume_error;
		fake.open_error = rows[i].open_error;
		fake.open_failures = rows[i].open_error != 0;
		device = adopt(5);
		recover_all();
		fake_expect(rows[i].trace);
		expect_state(device, "quiesced");
		assert_true(log_has("cannot be taken over"));
		delete_last(device, 1);
	}
}

/* Its queues are there as long as a request of theirs is: also a late one. */
TEST_CASE(test_lost_with_requests)
{
	struct device *device = adopt(5);
	unsigned i;

	for (i = 0; i < 2; i++) {
		fake.result[MESSAGE_END_RECOVER] = -EIO;
		fake.hold[MESSAGE_END_RECOVER] = 1;
		recover_all();
		fake_pass_time(1.1);
		fake_expect(TAKEN);
		device->queues[1].port.owned = 1;
		fake_release(MESSAGE_END_RECOVER);
		fake_pass_time(10);
		fake_expect("");
		expect_state(device, "quiesced");
		expect_busy(ask_note(device, "add test"), "taken over");
		device->queues[1].port.owned = 0;
		assert_int_equal(device_allow_late(device), 0);
		device->queues[1].port.late->count = 1;
		fake_pass_time(10);
		fake_expect("");
		if (i)
			break;
		fake_end_late(device, 1);
		fake_pass_time(0.2);
		fake_expect("q1- q0- close");
		assert_int_equal(device->step, DEVICE_LOST);
	}
	/* By force it is deleted, whatever its backing does. */
	begin_delete(device, 1);
	fake_pass_time(1);
	expect_ok(&deleted);
	assert_int_equal(device->step, DEVICE_LINGER);
	fake_end_late(device, 1);
	fake_pass_time(1);
	expect_gone();
}

/* Keeper and server were killed between the two commands of a take-over. */
TEST_CASE(test_take_over_a_second_time)
{
	adopt(5);
	set->features = FAKE_FEATURES_OLD;
	fake.result[MESSAGE_RECOVER] = -EINVAL;
	recover_all();
	fake_expect("q0+ q1+ RECOVER STOP q1- q0- DELETE");
	assert_true(log_has("cannot give it out again"));
	expect_gone();
}

/* By force in each step of a take-over: two may want it, and both are told. */
TEST_CASE(test_delete_in_take_over)
{
	static const struct {
		uint32_t type;
		int result;
		uint64_t features;
		const char *after;
	} rows[] = {
		{ MESSAGE_RECOVER, 0, FAKE_FEATURES_NEW,
		  "STOP q1- q0- DELETE" },
		{ MESSAGE_END_RECOVER, 0, FAKE_FEATURES_NEW, DELETED },
		{ MESSAGE_END_RECOVER, -EINVAL, FAKE_FEATURES_NEW, DELETED },
		{ MESSAGE_TIMEOUT, 0, FAKE_FEATURES_OLD, DELETED },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		struct device *device;

		restart();
		device = adopt(5);
		fake.hold[rows[i].type] = 1;
		fake.result[rows[i].type] = rows[i].result;
		set->features = rows[i].features;
		recover_all();
		fake_forget();
		begin_delete(device, 1);
		begin(ask_delete(device, 1, &added));
		expect_busy(ask_delete(device, 1, &added), "being deleted");
		fake_expect("");
		fake_release(rows[i].type);
		fake_expect(rows[i].after);
		expect_ok(&added);
		expect_deleted();
	}
}

/* Its users have waited long enough. */
TEST_CASE(test_delete_while_it_waits)
{
	struct device *device = adopt(5);

	fake.result[MESSAGE_RECOVER] = -EBUSY;
	device_recover_all(set);
	fake_pass_time(0.1);
	expect_busy(ask_delete(device, 0, &deleted), "being taken over");
	begin_delete(device, 1);
	fake_pass_time(0.1);
	expect_deleted();
}

/* The char device does not come: nor is that a reason to keep it then. */
TEST_CASE(test_delete_before_the_node)
{
	struct device *device = adopt(5);

	fake.open_error = ENOENT;
	fake.open_failures = 1000;
	recover_all();
	begin_delete(device, 1);
	fake_pass_time(6);
	expect_deleted();
}

TEST_CASE(test_stop_while_it_waits)
{
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
TEST_CASE(test_stop_before_it_is_lost)
{
	adopt(5);
	device_delete_all(set);
	fake.queue_error = -EPERM;
	fake.queue_fails = 1;
	recover_all();
	expect_gone();
	assert_int_equal(empties, 1);
}

/* ---- what could not be taken over is tried again ---- */

static void expect_why(const struct device *device, const char *why)
{
	if (!strstr(device->why, why))
		fail_msg("'%s' does not tell '%s'", device->why, why);
}

static struct device *lose(void)
{
	struct device *device = adopt(5);

	recover_all();
	expect_state(device, "quiesced");
	assert_int_equal(device->step, DEVICE_LOST);
	fake_forget();
	return device;
}

/* The driver does not give it out, for want of memory. */
static struct device *lose_for_memory(void)
{
	fake.result[MESSAGE_RECOVER] = -ENOMEM;
	return lose();
}

/* At growing intervals, and told once. */
TEST_CASE(test_lost_is_tried_again)
{
	struct device *device = lose_for_memory();
	unsigned asked;

	expect_why(device, strerror(ENOMEM));
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
TEST_CASE(test_lost_for_another_reason)
{
	struct device *device = lose_for_memory();

	fake.result[MESSAGE_RECOVER] = -EPERM;
	fake_pass_time(1.1);
	assert_int_equal(log_count("cannot be taken over"), 2);
	expect_why(device, strerror(EPERM));
}

/* The driver is not asked to give it out before there is a ring for it. */
TEST_CASE(test_lost_without_a_ring)
{
	struct device *device = adopt(5);

	fake.queue_error = -EPERM;
	fake.queue_fails = 1;
	recover_all();
	fake_expect("q0+ q1! q0-");
	expect_why(device, "no ring");
	fake.queue_error = 0;
	fake_pass_time(1.1);
	fake_expect(TAKEN);
	expect_state(device, "live");
}

/* An old driver has given it out, and does so once. */
TEST_CASE(test_lost_behind_the_first_command)
{
	struct device *device = adopt(5);

	fake.open_error = EMFILE;
	fake.open_failures = 1;
	set->features = FAKE_FEATURES_OLD;
	recover_all();
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
TEST_CASE(test_lost_behind_a_fetch)
{
	struct device *device = adopt(5);

	fake.start_error = -ENOMEM;
	set->features = FAKE_FEATURES_OLD;
	recover_all();
	fake_expect("q0+ q1+ RECOVER open q0? q1- q0- close");
	assert_true(device_retry_in(device) < 0);
	assert_false(log_has("tried again"));
	fake_pass_time(100);
	fake_expect("");
	delete_last(device, 1);
	fake_forget();
	device = lose();
	assert_true(log_has("tried again"));
	fake.start_error = 0;
	fake_pass_time(1.1);
	fake_expect(TAKEN);
	expect_state(device, "live");
}

/* Each try fails for a reason of its own. */
TEST_CASE(test_lost_by_a_refusal)
{
	struct device *device = adopt(5);

	fake.hold[MESSAGE_END_RECOVER] = 1;
	recover_all();
	fake_refuse_fetch(5, -EINVAL);
	fake.result[MESSAGE_END_RECOVER] = -EINTR;
	fake_release(MESSAGE_END_RECOVER);
	expect_why(device, strerror(EINVAL));
	fake.result[MESSAGE_END_RECOVER] = -ENOMEM;
	fake_pass_time(1.1);
	expect_why(device, strerror(ENOMEM));
}

/* A command for it in between ends no wait, and begins none too early. */
TEST_CASE(test_commands_for_a_lost_one)
{
	struct device *device = lose_for_memory();

	fake.hold[MESSAGE_NOTE] = 1;
	begin(ask_note(device, "add test x=1"));
	fake_pass_time(2);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 1);
	fake_release(MESSAGE_NOTE);
	expect_ok(&added);
	fake_pass_time(0.1);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 2);
	/* Nothing of it is left when it is deleted. */
	fake.hold[MESSAGE_BUSY] = 1;
	begin_delete(device, 0);
	fake_pass_time(10);
	assert_int_equal(fake.count[MESSAGE_RECOVER], 2);
	assert_int_equal(fake.count[MESSAGE_BUSY], 1);
	fake_release(MESSAGE_BUSY);
	expect_deleted();
}

/* Somebody has it open: it is still another server's device afterwards. */
TEST_CASE(test_delete_of_a_lost_one_refused)
{
	struct device *device = lose_for_memory();

	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	fake.hold[MESSAGE_BUSY] = 1;
	begin_delete(device, 0);
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
TEST_CASE(test_lost_without_a_keeper)
{
	lose_for_memory();
	end_keeper();
	fake_pass_time(100);
	fake_expect("");
}

/* ---- delete ---- */

TEST_CASE(test_delete)
{
	struct device *device = add_quietly();
	uint64_t seq = set->seq;
	unsigned fds = count_fds();

	fake.hold[MESSAGE_STOP] = 1;
	begin_delete(device, 0);
	expect_state(device, "deleting");
	fake_release(MESSAGE_STOP);
	fake_expect("BUSY " DELETED);
	expect_deleted();
	assert_true(set->seq > seq);
	assert_int_equal(empties, 1);
	assert_int_equal(count_fds(), fds - 1);
	assert_int_equal(fake.last[MESSAGE_DELETE].number, 0);
}

TEST_CASE(test_delete_by_force)
{
	fake.result[MESSAGE_BUSY] = -EBUSY;
	delete_last(add_quietly(), 1);
	fake_expect(DELETED);
	assert_int_equal(fake.last[MESSAGE_DELETE].number, 1);
}

/* What the driver refuses, and what is done and told then. */
TEST_CASE(test_delete_is_refused)
{
	static const struct {
		uint64_t features;
		uint32_t type;
		int result;
		const char *trace;
		enum symbol symbol;
		const char *text, *logged;
	} rows[] = {
		{ FAKE_FEATURES_OLD, MESSAGE_STOP, -EINVAL, "BUSY " DELETED,
		  SYMBOL_NONE, NULL, "cannot stop" },
		{ FAKE_FEATURES_OLD, MESSAGE_DELETE, -EIO, "BUSY " DELETED,
		  SYMBOL_IO, "cannot be deleted", NULL },
		/* Gone already is as good. */
		{ FAKE_FEATURES_OLD, MESSAGE_DELETE, -ENODEV, "BUSY " DELETED,
		  SYMBOL_NONE, NULL, NULL },
		{ FAKE_FEATURES_NEW, MESSAGE_TRY_STOP, -EOPNOTSUPP,
		  "BUSY TRY_STOP " DELETED, SYMBOL_NONE, NULL, NULL },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		restart();
		fake.features = rows[i].features;
		fake.result[rows[i].type] = rows[i].result;
		begin_delete(add_quietly(), 0);
		fake_expect(rows[i].trace);
		expect_told(&deleted, rows[i].symbol, rows[i].text);
		if (rows[i].logged)
			assert_true(log_has(rows[i].logged));
		expect_gone();
	}
}

/* Memory goes in pieces, a turn each, and is gone when that is told. */
static struct device *begin_release(unsigned count)
{
	struct message message = { .magic = MESSAGE_MAGIC };
	struct device *device = add_quietly();

	pieces = count;
	fake.hold[MESSAGE_DELETE] = 1;
	begin_delete(device, 0);
	assert_int_equal(pieces, count);
	message.serial = device->serial;
	device_answer(set, &message);
	assert_int_equal(pieces, count - 1);
	return device;
}

TEST_CASE(test_delete_releases)
{
	struct device *device = begin_release(5);
	unsigned before;

	while (pieces) {
		before = pieces;
		assert_int_equal(deleted.count, 0);
		assert_int_equal(targets, 1);
		expect_state(device, "deleting");
		turn(1);
		assert_true(before - pieces <= 1);
	}
	settle();
	expect_deleted();
}

/* Without a keeper, too. */
TEST_CASE(test_release_outlives_the_keeper)
{
	begin_release(100);
	end_keeper();
	assert_true(pieces > 50);
	fake_pass_time(0.1);
	expect_deleted();
}

/* ---- delete: who uses it ---- */

/* A kernel that knows itself whether a disk is in use has the last word. */
TEST_CASE(test_delete_with_try_stop)
{
	fake.features = FAKE_FEATURES_NEW;
	delete_last(add_quietly(), 0);
	fake_expect("BUSY TRY_STOP q1- q0- close DELETE");
	/* By force: no question. */
	delete_last(add_quietly(), 1);
	fake_expect(DELETED);
}

/* On a busy host the look has taken long: who is seen then has a second, too. */
TEST_CASE(test_busy_after_a_long_look)
{
	fake.features = FAKE_FEATURES_NEW;
	fake.hold[MESSAGE_BUSY] = 1;
	begin_delete(add_quietly(), 0);
	pass_time(3);
	fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	fake_release(MESSAGE_BUSY);
	assert_int_equal(fake.count[MESSAGE_TRY_STOP], 1);
	assert_int_equal(deleted.count, 0);
	fake.result[MESSAGE_TRY_STOP] = 0;
	pass_time(0.2);
	fake_serve();
	expect_deleted();
	/* Who has it is looked for again, and can be named. */
	assert_int_equal(fake.count[MESSAGE_BUSY], 2);
	assert_int_equal(fake.count[MESSAGE_TRY_STOP], 2);
}

/* In use: looked at for a second, then refused, and the disk goes on. */
TEST_CASE(test_busy)
{
	struct device *device = add_quietly();

	fake.result[MESSAGE_BUSY] = -EBUSY;
	begin_delete(device, 0);
	fake_pass_time(0.8);
	assert_int_equal(deleted.count, 0);
	expect_state(device, "live");
	fake_pass_time(0.5);
	expect_told(&deleted, SYMBOL_BUSY, "mounted on /mnt");
	assert_non_null(strstr(deleted.failure.text, "ublkb0"));
	expect_state(device, "live");
	assert_in_range(fake.count[MESSAGE_BUSY], 5, 15);
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
	/* Nothing goes on behind it. */
	fake_forget();
	fake_pass_time(3);
	fake_expect("");
	/* And later it can be had. */
	fake.result[MESSAGE_BUSY] = 0;
	delete_last(device, 0);
	fake_expect("BUSY " DELETED);
}

/* A mount does not go away by itself: told at once. */
TEST_CASE(test_busy_for_long)
{
	struct device *device = add_quietly();

	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	begin_delete(device, 0);
	expect_told(&deleted, SYMBOL_BUSY, "mounted on /mnt");
	fake_pass_time(2);
	fake_expect("BUSY");
	expect_state(device, "live");
}

TEST_CASE(test_busy_for_a_moment)
{
	fake.result[MESSAGE_BUSY] = -EBUSY;
	begin_delete(add_quietly(), 0);
	fake_pass_time(0.5);
	fake.result[MESSAGE_BUSY] = 0;
	fake_pass_time(0.2);
	expect_deleted();
}

/* Opened between the look and the stop. */
TEST_CASE(test_try_stop_is_busy)
{
	struct device *device;

	fake.features = FAKE_FEATURES_NEW;
	fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	device = add_quietly();
	begin_delete(device, 0);
	fake_pass_time(0.5);
	assert_int_equal(deleted.count, 0);
	fake_pass_time(1);
	expect_told(&deleted, SYMBOL_BUSY, "ublkb0");
	expect_state(device, "live");
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
	fake.result[MESSAGE_TRY_STOP] = 0;
	delete_last(device, 0);
}

TEST_CASE(test_check)
{
	struct device *device = add_quietly();

	begin(ask_check(device, &deleted));
	fake_expect("BUSY");
	expect_ok(&deleted);
	expect_state(device, "live");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	begin(ask_check(device, &deleted));
	fake_pass_time(1.5);
	expect_told(&deleted, SYMBOL_BUSY, "mounted");
	expect_state(device, "live");
	/* A check is forgotten by the delete that follows. */
	fake.result[MESSAGE_BUSY] = 0;
	delete_last(device, 0);
}

/* Nobody can tell who uses it: the kernel does, or it is not deleted. */
TEST_CASE(test_users_are_unknown)
{
	static const int results[] = { -EIO, -ETIMEDOUT };
	struct device *device;
	unsigned i;

	for (i = 0; i < COUNT(results); i++) {
		restart();
		fake.result[MESSAGE_BUSY] = results[i];
		device = add_quietly();
		begin_delete(device, 0);
		expect_told(&deleted, SYMBOL_BUSY, "cannot be found out");
		expect_state(device, "live");
		assert_int_equal(fake.count[MESSAGE_STOP], 0);
		delete_last(device, 1);
	}
	fake.features = FAKE_FEATURES_NEW;
	set->features = 0;
	device = add_quietly();
	begin(ask_check(device, &deleted));
	expect_told(&deleted, SYMBOL_BUSY, "cannot be found out");
	assert_int_equal(fake.count[MESSAGE_TRY_STOP], 0);
	fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	begin_delete(device, 0);
	fake_pass_time(2);
	expect_told(&deleted, SYMBOL_BUSY, "in use");
	fake.result[MESSAGE_TRY_STOP] = 0;
	delete_last(device, 0);
}

/* One command a device: the second is told what the first is doing. */
TEST_CASE(test_delete_twice)
{
	struct device *device = add_quietly();

	fake.hold[MESSAGE_BUSY] = fake.hold[MESSAGE_STOP] = 1;
	begin_delete(device, 0);
	expect_busy(ask_delete(device, 0, &added), "device 0 is being checked");
	fake_release(MESSAGE_BUSY);
	expect_busy(ask_delete(device, 0, &added), "being deleted");
	expect_busy(ask_check(device, &added), "being deleted");
	fake_release(MESSAGE_STOP);
	assert_int_equal(added.count, 0);
	expect_deleted();
}

/* ---- something comes while a delete waits ---- */

static const struct {
	uint32_t type; /* that is not answered yet */
	int busy;      /* it is, and looked at again soon */
	uint64_t features;
	const char *state;
} delete_waits[] = {
	{ MESSAGE_BUSY, 0, FAKE_FEATURES_OLD, "live" },
	{ MESSAGE_BUSY, -EBUSY, FAKE_FEATURES_OLD, "live" },
	{ MESSAGE_TRY_STOP, 0, FAKE_FEATURES_NEW, "deleting" },
	{ MESSAGE_STOP, 0, FAKE_FEATURES_OLD, "deleting" },
	{ MESSAGE_DELETE, 0, FAKE_FEATURES_OLD, "deleting" },
};

static struct device *begin_waiting_delete(unsigned row)
{
	struct device *device;

	restart();
	fake.features = delete_waits[row].features;
	fake.result[MESSAGE_BUSY] = delete_waits[row].busy;
	fake.hold[delete_waits[row].type] = !delete_waits[row].busy;
	device = add_quietly();
	begin_delete(device, 0);
	expect_state(device, delete_waits[row].state);
	return device;
}

/* The end of all: it ends as it would have, and is told so. */
TEST_CASE(test_delete_all_in_delete)
{
	unsigned i;

	for (i = 0; i < COUNT(delete_waits); i++) {
		begin_waiting_delete(i);
		device_delete_all(set);
		fake.result[MESSAGE_BUSY] = -EBUSY;
		fake.result[MESSAGE_TRY_STOP] = -EBUSY;
		fake_release(delete_waits[i].type);
		fake_pass_time(0.5);
		expect_deleted();
		assert_int_equal(empties, 1);
		assert_int_equal(fake.count[MESSAGE_DELETE], 1);
		assert_in_range(fake.count[MESSAGE_BUSY], 1,
				delete_waits[i].busy ? 2 : 1);
	}
}

TEST_CASE(test_keeper_gone_in_delete)
{
	unsigned i;

	for (i = 0; i < COUNT(delete_waits); i++) {
		struct device *device = begin_waiting_delete(i);

		lose_keeper(&deleted);
		expect_state(device, delete_waits[i].state);
	}
}

/* Somebody does not care to wait: both are told when it is gone. */
TEST_CASE(test_force_in_delete)
{
	unsigned i;

	for (i = 0; i < COUNT(delete_waits); i++) {
		uint32_t type = delete_waits[i].type;
		struct device *device = begin_waiting_delete(i);

		fake_pass_time(0.5);
		assert_int_equal(deleted.count, 0);
		begin(ask_delete(device, 1, &added));
		/* A third one is told that it is busy. */
		if (type != MESSAGE_BUSY)
			expect_busy(ask_delete(device, 1, &added),
				    "being deleted");
		fake.result[MESSAGE_TRY_STOP] = -EBUSY;
		fake_release(type);
		fake_pass_time(0.2);
		expect_ok(&added);
		expect_deleted();
		assert_int_equal(fake.count[MESSAGE_STOP], 1);
		assert_int_equal(fake.count[MESSAGE_CANCEL],
				 type == MESSAGE_DELETE);
	}
}

TEST_CASE(test_delete_all_of_none)
{
	device_delete_all(set);
	assert_int_equal(empties, 1);
	fake_expect("");
}

TEST_CASE(test_delete_all)
{
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

/* A device that is live and not asked for anything goes on. */
TEST_CASE(test_keeper_gone_while_live)
{
	struct device *device = add_quietly();

	end_keeper();
	expect_state(device, "live");
	assert_int_equal(device->open_queues, QUEUES);
	assert_int_equal(added.count, 0);
}

/* The channel is found closed only when something is sent. */
TEST_CASE(test_send_fails)
{
	struct device *device = add_quietly();

	fake_end_keeper();
	begin_delete(device, 0);
	fake_pass_time(1.5);
	expect_told(&deleted, SYMBOL_BUSY, NULL);
	expect_state(device, "live");
	begin_add(5);
	fake_pass_time(0.1);
	assert_int_equal(added.count, 1);
	assert_int_not_equal(added.failure.symbol, SYMBOL_NONE);
	assert_null(device_find(set, 5));
}

/* ---- draining ---- */

/* The driver has stopped the device, and gives no tag up by itself. */
static struct device *begin_drain(unsigned owned)
{
	struct device *device = add_quietly();

	fake.silent = 1;
	device->queues[1].port.owned = owned;
	assert_int_equal(device_owned(device), owned);
	begin_delete(device, 1);
	fake_expect("STOP");
	return device;
}

static void expect_drained(void)
{
	fake_expect("q1- q0- close DELETE");
	expect_deleted();
}

/* Tags are given up in their own time, after the answer to STOP. */
TEST_CASE(test_drain)
{
	begin_drain(0);
	fake_pass_time(0.3);
	fake_expect("");
	fake_retire(0);
	fake_serve();
	expect_drained();
	assert_false(log_has("still holds"));
}

/* One that is never given up is no reason to hang. */
TEST_CASE(test_drain_patience)
{
	begin_drain(0);
	fake_pass_time(1.8);
	fake_expect("");
	fake_pass_time(0.5);
	expect_drained();
	assert_true(log_has("still holds"));
}

/* A queue with requests in hand must not be closed, however long it takes. */
TEST_CASE(test_drain_of_owned)
{
	struct device *device = begin_drain(3);

	fake_pass_time(10);
	fake_expect("");
	device->queues[1].port.owned = 0;
	fake_retire(0);
	fake_serve();
	expect_drained();
}

/* Both: when the last request is done, a silent tag is still no reason. */
TEST_CASE(test_drain_of_owned_and_silent)
{
	struct device *device = begin_drain(1);

	fake_pass_time(1);
	fake_expect("");
	device->queues[1].port.owned = 0;
	device->queues[1].retired = 1;
	fake_pass_time(5);
	expect_drained();
}

/* ---- files that take long to close ---- */

/* Who asked is told once the last file is closed, or waited for in vain. */
TEST_CASE(test_closing)
{
	static const int errors[] = { 0, -ETIMEDOUT };
	unsigned i;

	for (i = 0; i < COUNT(errors); i++) {
		unsigned fds;
		struct device *device;

		restart();
		fds = count_fds();
		new_ops = &files_ops;
		fake.close_waits = 1;
		device = add_quietly();
		begin_delete(device, 1);
		fake_expect(DELETED);
		assert_int_equal(fake.closing, 2);
		assert_int_equal(deleted.count, 0);
		expect_state(device, "deleting");
		/* It waits without a look at a clock. */
		assert_false(timer_is_set());
		fake_end_closing(errors[i]);
		expect_deleted();
		assert_int_equal(count_fds(), fds);
	}
}

/* An add that fails, at once or on the way, is over when its file is free. */
TEST_CASE(test_closing_after_failed_add)
{
	static const uint32_t types[] = { MESSAGE_FEATURES, MESSAGE_ADD,
					  MESSAGE_PARAMS };
	unsigned i;

	for (i = 0; i < COUNT(types); i++) {
		restart();
		new_ops = &files_ops;
		fake.close_waits = 1;
		fake.result[types[i]] = -ENOMEM;
		begin_add(DEVICE_ID_ANY);
		assert_int_equal(fake.closing, 2);
		assert_int_equal(added.count, 0);
		fake_end_closing(0);
		expect_told(&added, SYMBOL_LIMIT, NULL);
		expect_gone();
	}
}

/* That needs no keeper, and force is in no more of a hurry. */
TEST_CASE(test_closing_without_keeper)
{
	struct device *device;

	new_ops = &files_ops;
	fake.close_waits = 1;
	device = add_quietly();
	begin_delete(device, 0);
	begin(ask_delete(device, 1, &added));
	end_keeper();
	assert_int_equal(deleted.count + added.count, 0);
	fake_end_closing(0);
	expect_ok(&added);
	expect_deleted();
}

/* ---- the tally, and want of memory ---- */

static void expect_tally(uint64_t tally)
{
	fake_serve();
	fake_expect("TALLY");
	assert_int_equal(fake.last[MESSAGE_TALLY].number, tally);
	assert_int_equal(fake.last[MESSAGE_TALLY].id, added.id);
}

/* The keeper is told; and again when it has answered, with what is true then. */
TEST_CASE(test_tally)
{
	struct target *target = add_quietly()->spec.target;

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
	fake_expect("TALLY BUSY");
	fake_release(MESSAGE_TALLY);
	fake_expect("");
	fake_release(MESSAGE_BUSY);
	expect_ok(&deleted);
}

/* What the server before had told is not told again. */
TEST_CASE(test_tally_is_taken)
{
	struct device *device = add_quietly();

	device_take_tally(set, added.id, 7);
	assert_int_equal(device->spec.target->tally, 7);
	device_take_tally(set, added.id + 1, 8);
	target_set_tally(device->spec.target, 7);
	fake_serve();
	fake_expect("");
	target_set_tally(device->spec.target, 9);
	expect_tally(9);
	/* Nobody is there to be told: the next keeper asks. */
	end_keeper();
	target_set_tally(device->spec.target, 10);
	assert_int_equal(device->told_tally, 9);
}

TEST_CASE(test_refused_write)
{
	struct target *target = add_quietly()->spec.target;

	log_forget();
	assert_int_equal(target_refuse_write(target, 3 << 20), -ENOSPC);
	assert_int_equal(target_refuse_write(target, 3 << 20), -ENOSPC);
	assert_int_equal(log_count("device 0 ("), 1);
	assert_true(log_has("no memory for a write"));
	assert_true(log_has("3 MiB are held"));
}

/* ---- layers ---- */

static struct option_value values[LAYER_OPTIONS];

static void want_layer(int which, uint64_t number)
{
	option_defaults(layer_options, values);
	values[which].number = number;
	values[which].given = 1;
}

static void expect_top(const struct device *device,
		       const struct backend *backend)
{
	assert_ptr_equal(device->queues[0].top, backend);
	assert_ptr_equal(device->queues[1].top, backend);
}

/*
 * The kernel's first requests, and those of a dead server, go past them: the
 * commands that make the device live wait for these.
 */
TEST_CASE(test_layers_when_live)
{
	struct device_spec spec = new_spec(DEVICE_ID_ANY);
	struct device *device;

	fake.features = FAKE_FEATURES_OLD;
	fake.hold[MESSAGE_TIMEOUT] = 1;
	want_layer(DELAY_TIME, 1000);
	assert_int_equal(layers_put_on(&spec.layers, test_loop,
				       &spec.target->backend, values),
			 0);
	begin(ask_add(&spec));
	device = set->first;
	assert_int_equal(device->step, DEVICE_TIMEOUT);
	/* Nor does it matter when they were put on. */
	want_layer(ERROR_RATE, 1);
	assert_int_equal(device_put_on(device, values), 0);
	expect_top(device, &spec.target->backend);
	fake_release(MESSAGE_TIMEOUT);
	expect_ok(&added);
	expect_top(device, &device->spec.layers.layer[LAYER_DELAY]->backend);
}

TEST_CASE(test_layer_of_a_live_device)
{
	struct device *device = add_quietly();

	expect_top(device, &device->spec.target->backend);
	want_layer(ERROR_RATE, 1);
	assert_int_equal(device_put_on(device, values), 0);
	expect_top(device, &device->spec.layers.layer[LAYER_ERROR]->backend);
	calloc_fails = 1;
	want_layer(DELAY_TIME, 1);
	assert_int_equal(device_put_on(device, values), -ENOMEM);
	expect_top(device, &device->spec.layers.layer[LAYER_ERROR]->backend);
}

/* A request that the device keeps for an hour, and a STOP that is held. */
static struct device *add_slow(void)
{
	static struct io_port port;
	static struct io io = { .port = &port, .op = IO_READ, .length = 4096 };
	struct device *device = add_quietly();

	fake.hold[MESSAGE_STOP] = 1;
	want_layer(DELAY_TIME, 3600000000ull);
	assert_int_equal(device_put_on(device, values), 0);
	layers_change(&device->spec.layers, values, values);
	device->queues[0].top->ops->submit(device->queues[0].top, &io);
	settle();
	assert_int_equal(submits, 0);
	return device;
}

/* By force it is let go, or STOP would wait for it. */
static void expect_let_go(void)
{
	fake_serve();
	assert_int_equal(submits, 1);
	fake_release(MESSAGE_STOP);
	expect_gone();
}

TEST_CASE(test_force_lets_go)
{
	begin_delete(add_slow(), 1);
	expect_let_go();
	expect_ok(&deleted);
}

TEST_CASE(test_delete_all_lets_go)
{
	add_slow();
	device_delete_all(set);
	expect_let_go();
}

/* ---- a backing that does not answer ---- */

static unsigned marks;

/* Requests of a queue that are with the target. */
unsigned __wrap_late_mark(struct io_port *port, uint32_t until,
			  const struct io **first)
{
	assert_int_equal(until, LATE_ALL);
	marks++;
	return port->mode == IO_ZERO_COPY ? 0 : port->owned;
}

unsigned __wrap_late_answer(struct io_port *port)
{
	unsigned count = port->owned;

	port->late->count += count;
	port->errors += count;
	port->owned = 0;
	return count;
}

/* A live device with two requests, and a command that waits for them. */
static struct device *add_silent(uint32_t type)
{
	struct device *device = add_quietly();

	marks = 0;
	device->queues[0].port.owned = 2;
	device->queues[0].port.mode = (uint8_t)device->spec.mode;
	fake.hold[type] = 1;
	return device;
}

static void expect_abandoned(const struct device *device)
{
	assert_int_equal(device->queues[0].port.late->count, 2);
	expect_top(device, &late_refuses);
	assert_true(log_has("2 requests get EIO"));
}

/* The kernel lets go of the disk; the backing has the requests' buffers. */
static void expect_lingers(struct device *device)
{
	assert_int_equal(device->step, DEVICE_LINGER);
	expect_state(device, "deleting");
	assert_int_equal(device->open_queues, 2);
	assert_int_equal(targets, 1);
	assert_int_equal(set->count, 0);
	assert_int_equal(empties, 1);
	assert_int_equal(fake.last[MESSAGE_DELETE].number, 1);
	/* Nothing looks for that end. */
	assert_false(loop_timer_is_active(&device->timer));
	fake_pass_time(100);
	assert_int_equal(device->step, DEVICE_LINGER);
}

static void expect_end(struct device *device)
{
	fake_forget();
	fake_end_late(device, 0);
	fake_pass_time(1);
	fake_expect("q1- q0- close");
	expect_gone();
	assert_int_equal(empties, 1);
	log_forget();
}

TEST_CASE(test_silent_backing)
{
	struct device *device = add_silent(MESSAGE_STOP);

	begin_delete(device, 1);
	fake_pass_time(1.9);
	assert_int_equal(marks, 0);
	fake_pass_time(0.5);
	expect_abandoned(device);
	/* What comes later is answered in the same way, through no new layer. */
	want_layer(ERROR_RATE, 1);
	assert_int_equal(device_put_on(device, values), 0);
	expect_top(device, &late_refuses);
	device->queues[1].port.owned = 3;
	fake_pass_time(0.3);
	assert_int_equal(device->queues[1].port.owned, 0);
	fake_end_late(device, 1);
	fake_release(MESSAGE_STOP);
	expect_ok(&deleted);
	fake_expect("STOP DELETE");
	expect_lingers(device);
	/* It is deleted. */
	assert_int_equal(ask_delete(device, 1, &deleted), 0);
	expect_ok(&deleted);
	expect_end(device);
}

/* Nobody loses what is answered, however long that takes. */
TEST_CASE(test_slow_backing)
{
	struct device *device = add_silent(MESSAGE_STOP);
	unsigned i;

	begin_delete(device, 1);
	for (i = 0; i < 10; i++) {
		fake_pass_time(1.5);
		device->queues[1].port.count[IO_WRITE]++;
	}
	/* Nor is what nobody has asked for an answer. */
	device->queues[0].port.owned = 0;
	fake_pass_time(10);
	assert_int_equal(marks, 0);
	fake_release(MESSAGE_STOP);
	expect_deleted();
	fake_expect(DELETED);
}

/* Without force the backing is waited for; so it is when ublkd ends. */
TEST_CASE(test_silent_without_force)
{
	struct device *device = add_silent(MESSAGE_STOP);

	begin_delete(device, 0);
	fake_pass_time(20);
	assert_int_equal(marks, 0);
	/* That can be said later. */
	begin(ask_delete(device, 1, &added));
	fake_pass_time(2.5);
	expect_abandoned(device);
	fake_release(MESSAGE_STOP);
	expect_ok(&deleted);
	expect_ok(&added);
	expect_lingers(device);
	expect_end(device);
	device = add_silent(MESSAGE_STOP);
	device_delete_all(set);
	fake_pass_time(20);
	assert_int_equal(marks, 0);
	device->queues[0].port.owned = 0;
	fake_release(MESSAGE_STOP);
	expect_gone();
}

/* That requests time out is no answer of the backing. */
TEST_CASE(test_silent_before)
{
	struct device *device = add_silent(MESSAGE_STOP);

	assert_int_equal(device_allow_late(device), 0);
	device->queues[0].port.late->count = 1;
	begin_delete(device, 1);
	fake_pass_time(1.5);
	device->queues[0].port.errors++;
	fake_pass_time(0.9);
	assert_int_equal(device->queues[0].port.owned, 0);
	fake_release(MESSAGE_STOP);
	expect_ok(&deleted);
	expect_lingers(device);
	expect_end(device);
}

/* Such a device is deleted by a plain del as well, if nobody uses it. */
TEST_CASE(test_late_ones_alone)
{
	struct device *device = add_quietly();

	assert_int_equal(device_allow_late(device), 0);
	device->queues[0].port.late->count = 1;
	begin_delete(device, 0);
	expect_ok(&deleted);
	fake_expect("BUSY STOP DELETE");
	expect_lingers(device);
	expect_end(device);
}

/*
 * Before 6.7 the command waits for the char device to be closed, which its rings
 * hold: they go when the backing has answered.
 */
TEST_CASE(test_late_while_it_waits)
{
	struct device *device = add_quietly();

	assert_int_equal(device_allow_late(device), 0);
	device->queues[0].port.late->count = 1;
	fake.hold[MESSAGE_DELETE] = 1;
	begin_delete(device, 1);
	fake_pass_time(100);
	fake_expect("STOP DELETE");
	fake_end_late(device, 0);
	fake_pass_time(1);
	fake_expect("q1- q0- close");
	assert_int_equal(device->step, DEVICE_DELETE);
	fake_pass_time(1);
	assert_int_equal(deleted.count, 0);
	fake_release(MESSAGE_DELETE);
	expect_ok(&deleted);
	expect_gone();
}

/* It is deleted, also when the backing has answered and its files are closed. */
TEST_CASE(test_force_behind_linger)
{
	struct device *device;

	new_ops = &files_ops;
	fake.close_waits = 1;
	device = add_quietly();
	assert_int_equal(device_allow_late(device), 0);
	device->queues[0].port.late->count = 1;
	begin_delete(device, 0);
	expect_ok(&deleted);
	expect_lingers(device);
	fake_end_late(device, 0);
	fake_pass_time(1);
	assert_int_equal(device->step, DEVICE_CLOSE);
	assert_int_equal(ask_delete(device, 1, &deleted), 0);
	expect_ok(&deleted);
	fake_end_closing(0);
	expect_gone();
	assert_int_equal(deleted.count, 0);
}

/* The driver ends no such request, and who has asked is told. */
TEST_CASE(test_silent_in_zero_copy)
{
	struct device *device = add_silent(MESSAGE_STOP);
	unsigned i;

	device->spec.mode = IO_ZERO_COPY;
	device->queues[0].port.mode = IO_ZERO_COPY;
	begin_delete(device, 1);
	for (i = 0; i < 2; i++) {
		fake_pass_time(2.9);
		assert_int_equal(deleted.count, 0);
		fake_pass_time(1);
		expect_told(&deleted, SYMBOL_TIMEOUT, "tells what to cure");
		expect_top(device, &late_refuses);
		fake_pass_time(10);
		begin(ask_delete(device, 1, &deleted));
	}
	device->queues[0].port.owned = 0;
	fake_release(MESSAGE_STOP);
	expect_deleted();
}

/* START waits for the kernel's first look at the disk. */
TEST_CASE(test_silent_from_the_beginning)
{
	struct device_spec spec = new_spec(DEVICE_ID_ANY);
	struct device *device;

	marks = 0;
	fake.hold[MESSAGE_START] = 1;
	begin(ask_add(&spec));
	device = set->first;
	device->queues[0].port.owned = 2;
	fake_pass_time(10);
	assert_int_equal(marks, 0);
	begin_delete(device, 1);
	expect_told(&added, SYMBOL_STATE, "by force");
	fake_pass_time(2.5);
	expect_abandoned(device);
	fake_release(MESSAGE_START);
	expect_ok(&deleted);
	expect_lingers(device);
	expect_end(device);
}

/* Nothing can be changed without memory for that, but a little later it can. */
TEST_CASE(test_silent_without_memory)
{
	struct device *device = add_silent(MESSAGE_STOP);

	begin_delete(device, 1);
	calloc_fails = 1;
	fake_pass_time(2.1);
	assert_int_equal(calloc_fails, 0);
	assert_int_equal(marks, 0);
	fake_pass_time(0.3);
	expect_abandoned(device);
	fake_release(MESSAGE_STOP);
	expect_ok(&deleted);
	expect_lingers(device);
	expect_end(device);
}

/* One that is deleted needs no keeper, and the next one does not get it. */
TEST_CASE(test_lingers_without_a_keeper)
{
	struct device *device = add_silent(MESSAGE_STOP);

	begin_delete(device, 1);
	fake_pass_time(2.5);
	fake_release(MESSAGE_STOP);
	expect_ok(&deleted);
	end_keeper();
	expect_end(device);
}

/* Requests that a layer keeps are not with the backing: they are first. */
TEST_CASE(test_silent_behind_a_layer)
{
	struct device *device = add_slow();

	marks = 0;
	device->queues[0].port.owned = 1;
	assert_int_equal(ask_delete(device, 1, &deleted), 0);
	device->abandoned = 1;
	abandon_look(device);
	assert_int_equal(submits, 0);
	assert_int_equal(marks, 0);
	fake_pass_time(3);
	assert_int_equal(submits, 1);
	assert_true(marks > 0);
	fake_release(MESSAGE_STOP);
	expect_ok(&deleted);
	expect_lingers(device);
	expect_end(device);
}

/* Also one that is being deleted already. */
TEST_CASE(test_late_force_lets_go)
{
	struct device *device = add_slow();

	begin_delete(device, 0);
	fake_pass_time(1);
	assert_int_equal(submits, 0);
	begin(ask_delete(device, 1, &added));
	expect_let_go();
	expect_ok(&added);
	expect_ok(&deleted);
}

TEST_CASE(test_late_delete_all_lets_go)
{
	begin_delete(add_slow(), 0);
	fake_pass_time(1);
	assert_int_equal(submits, 0);
	device_delete_all(set);
	expect_let_go();
	expect_ok(&deleted);
}

/* ---- another command for a live device ---- */

TEST_CASE(test_note_again)
{
	struct device *device = add_quietly();

	fake.hold[MESSAGE_NOTE] = 1;
	begin(ask_note(device, "add test delay-time=1s"));
	fake_expect("NOTE");
	assert_int_equal(added.count, 0);
	expect_state(device, "live");
	assert_string_equal(device->spec.words, "add test");
	fake_release(MESSAGE_NOTE);
	expect_ok(&added);
	assert_string_equal(device->spec.words, "add test delay-time=1s");
	assert_string_equal(fake.last[MESSAGE_NOTE].text,
			    "add test delay-time=1s");
	assert_int_equal(fake.last[MESSAGE_NOTE].number, 1);
	assert_int_equal(device->step, DEVICE_LIVE);
	delete_last(device, 0);
}

TEST_CASE(test_note_again_fails)
{
	struct device *device = add_quietly();

	fake.result[MESSAGE_NOTE] = -ENOMEM;
	begin(ask_note(device, "add test delay-time=1s"));
	expect_told(&added, SYMBOL_LIMIT, "note the change");
	assert_string_equal(device->spec.words, "add test");
	assert_int_equal(device->step, DEVICE_LIVE);
}

/* One thing after the other. */
TEST_CASE(test_note_while_busy)
{
	struct device *device = add_quietly();

	fake.hold[MESSAGE_NOTE] = fake.hold[MESSAGE_STOP] = 1;
	assert_int_equal(ask_note(device, "add test 1"), 0);
	expect_busy(ask_note(device, "add test 2"), "being changed");
	expect_busy(ask_delete(device, 0, &deleted), "being changed");
	fake_serve();
	fake_release(MESSAGE_NOTE);
	assert_string_equal(device->spec.words, "add test 1");
	expect_ok(&added);
	begin_delete(device, 1);
	expect_busy(ask_note(device, "add test 2"), "being deleted");
	fake_release(MESSAGE_STOP);
	expect_deleted();
}

/* ---- another size ---- */

#define OLD_SIZE (64ull << 20)
#define NEW_SIZE (128ull << 20)

static struct device *add_resizable(void)
{
	new_ops = &resize_ops;
	return add_quietly();
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

static void resize(struct device *device, uint64_t size, const char *words)
{
	begin(ask_resize(device, size));
	fake_expect("RESIZE NOTE");
	expect_ok(&added);
	expect_size(device, device->spec.geometry.size, words);
}

static void fail_resize(struct device *device, uint64_t size, const char *trace,
			enum symbol symbol, const char *text)
{
	uint64_t before = device->spec.geometry.size;

	begin(ask_resize(device, size));
	fake_expect(trace);
	expect_told(&added, symbol, text);
	expect_size(device, before, device->spec.words);
}

/* The target first, then the kernel, and the keeper when it is a fact. */
TEST_CASE(test_resize_grows)
{
	struct device *device = add_resizable();
	uint64_t seq = set->seq;

	resize(device, NEW_SIZE, "add test size=128M");
	assert_int_equal(resizes.size, NEW_SIZE);
	assert_int_equal(resizes.after, 0);
	assert_int_equal(fake.last[MESSAGE_RESIZE].number, NEW_SIZE / 512);
	assert_string_equal(fake.last[MESSAGE_NOTE].text, "add test size=128M");
	assert_int_equal(device->spec.geometry.size, NEW_SIZE);
	assert_true(set->seq > seq);
	/* Once more, from one that has a size. */
	resize(device, NEW_SIZE + 512, "add test size=134218240");
	assert_int_equal(device->spec.geometry.size, NEW_SIZE + 512);
}

/* The kernel first, then the target; its memory goes last. */
TEST_CASE(test_resize_shrinks)
{
	struct device *device = add_resizable();

	fake.hold[MESSAGE_NOTE] = 1;
	begin(ask_resize(device, 4096));
	expect_state(device, "live");
	fake_expect("RESIZE NOTE");
	assert_int_equal(resizes.size, 4096);
	assert_int_equal(resizes.after, 1);
	assert_int_equal(added.count, 0);
	resizes.trims = 0;
	resizes.trim_pieces = 5;
	fake_release(MESSAGE_NOTE);
	assert_int_equal(resizes.trims, 5);
	expect_ok(&added);
	expect_size(device, 4096, "add test size=4K");
}

/* What an earlier shrinking has left goes before anything grows over it. */
TEST_CASE(test_resize_trims_first)
{
	struct device *device = add_resizable();

	resizes.trim_pieces = 3;
	assert_int_equal(ask_resize(device, NEW_SIZE), 0);
	assert_int_equal(resizes.calls, 0);
	fake_serve();
	assert_int_equal(resizes.trims, 4);
	fake_expect("RESIZE NOTE");
	expect_ok(&added);
	/* If it cannot go, nothing may grow, but shrink it can. */
	resizes.trim_error = -EIO;
	resizes.calls = 0;
	fail_resize(device, NEW_SIZE * 2, "", SYMBOL_IO, "cannot be cleared");
	expect_size(device, NEW_SIZE, "add test size=128M");
	assert_int_equal(resizes.calls, 0);
	resize(device, OLD_SIZE, "add test size=64M");
	assert_true(log_has("is not given back"));
	assert_int_equal(device->spec.geometry.size, OLD_SIZE);
}

TEST_CASE(test_resize_fails)
{
	struct device *device = add_resizable();

	resizes.fails = 1;
	fail_resize(device, NEW_SIZE, "", SYMBOL_LIMIT, "no memory");
	/* The driver: the target has what it had. */
	resizes.fails = 0;
	fake.result[MESSAGE_RESIZE] = -EIO;
	fail_resize(device, NEW_SIZE, "RESIZE", SYMBOL_IO,
		    "cannot change the size of ublkb0");
	assert_int_equal(resizes.size, OLD_SIZE);
	resizes.calls = 0;
	fake.result[MESSAGE_RESIZE] = -EOPNOTSUPP;
	fail_resize(device, 4096, "RESIZE", SYMBOL_UNSUPPORTED, "6.16");
	assert_int_equal(resizes.calls, 0);
	expect_size(device, OLD_SIZE, "add test");
}

static void refuse_resize(struct device *device, uint64_t size,
			  enum symbol symbol, const char *text)
{
	expect_refused(ask_resize(device, size), symbol, text);
	assert_int_equal(device->spec.geometry.size, OLD_SIZE);
	fake_serve();
	fake_expect("");
	assert_int_equal(added.count, 0);
}

/* What can be said at once. */
TEST_CASE(test_resize_mistakes)
{
	struct device *plain = add_quietly(), *device = add_resizable();
	uint64_t features = set->features;

	refuse_resize(plain, NEW_SIZE, SYMBOL_UNSUPPORTED, "one size");
	refuse_resize(device, DEVICE_SIZE_AUTO, SYMBOL_ARG, "size=auto");
	refuse_resize(device, 0, SYMBOL_RANGE, "at least one block");
	refuse_resize(device, 513, SYMBOL_RANGE, "multiple");
	refuse_resize(device, 1ull << 63, SYMBOL_RANGE, "address");
	set->features = FAKE_FEATURES_OLD;
	refuse_resize(device, NEW_SIZE, SYMBOL_UNSUPPORTED, "6.16");
	set->features = features;
	assert_int_equal(resizes.calls, 0);
	free(device->spec.words);
	device->spec.words = strdup("add \"");
	refuse_resize(device, NEW_SIZE, SYMBOL_LIMIT, "too long");
}

/* A device whose size is its file's is made by the same command as before. */
TEST_CASE(test_resize_auto)
{
	const struct geometry *geometry;
	struct device *device;

	new_ops = &auto_ops;
	device = add_quietly();
	geometry = &device->spec.geometry;
	refuse_resize(device, DEVICE_SIZE_AUTO, SYMBOL_IO, "cannot be told");
	resizes.backing = 500;
	refuse_resize(device, DEVICE_SIZE_AUTO, SYMBOL_RANGE,
		      "at least one block");
	/* In whole blocks; the rest can be told. */
	resizes.backing = NEW_SIZE + 500;
	resize(device, DEVICE_SIZE_AUTO, "add test");
	assert_int_equal(geometry->size, NEW_SIZE);
	assert_int_equal(geometry->unserved, 500);
	resizes.backing = NEW_SIZE;
	resize(device, OLD_SIZE, "add test size=64M");
	assert_int_equal(geometry->size, OLD_SIZE);
	assert_int_equal(geometry->unserved, 0);
	resize(device, DEVICE_SIZE_AUTO, "add test");
	assert_int_equal(geometry->size, NEW_SIZE);
}

/* The size has changed, and that is what is told and kept. */
TEST_CASE(test_resize_cannot_be_noted)
{
	struct device *device = add_resizable();

	fake.result[MESSAGE_NOTE] = -ENOSPC;
	begin(ask_resize(device, 4096));
	fake_expect("RESIZE NOTE");
	expect_told(&added, failure_symbol(-ENOSPC),
		    "cannot note the change: No space left");
	assert_true(log_has("ublkb0: cannot note the change: No space left"));
	assert_int_equal(resizes.trims, 2);
	expect_size(device, 4096, "add test size=4K");
	/* It is no failure of what comes later. */
	fake.result[MESSAGE_NOTE] = 0;
	resize(device, 8192, "add test size=8K");
	delete_last(device, 0);
}

TEST_CASE(test_resize_while_busy)
{
	struct device *device = add_resizable();

	fake.hold[MESSAGE_RESIZE] = fake.hold[MESSAGE_NOTE] = 1;
	begin(ask_resize(device, NEW_SIZE));
	expect_busy(ask_delete(device, 0, &deleted), "being resized");
	fake_release(MESSAGE_RESIZE);
	expect_busy(ask_resize(device, OLD_SIZE), "being resized");
	fake_release(MESSAGE_NOTE);
	expect_ok(&added);
	expect_size(device, NEW_SIZE, "add test size=128M");
}

/* ---- something comes while a change waits for the keeper ---- */

static const struct {
	uint32_t type; /* that is not answered yet */
	const char *before, *after;
} change_waits[] = {
	{ MESSAGE_BUSY, "BUSY", DELETED },
	{ MESSAGE_NOTE, "NOTE", DELETED },
	{ MESSAGE_RESIZE, "RESIZE", "NOTE " DELETED },
	{ MESSAGE_NOTE, "RESIZE NOTE", DELETED },
};

/* A look for a shutdown, other words, or another size. */
static struct device *begin_waiting_change(unsigned row)
{
	const char *before = change_waits[row].before;
	struct device *device;

	restart();
	device = add_resizable();
	fake.hold[change_waits[row].type] = 1;
	if (strcmp(before, "BUSY") == 0)
		begin(ask_check(device, &added));
	else if (strcmp(before, "NOTE") == 0)
		begin(ask_note(device, "add test 1"));
	else
		begin(ask_resize(device, 4096));
	fake_expect(before);
	resizes.trim_pieces = 100;
	return device;
}

/* What is under way is finished, and then the device goes. */
static void expect_finished(unsigned row)
{
	fake_serve();
	fake_expect("");
	assert_int_equal(added.count, 0);
	fake_release(change_waits[row].type);
	fake_expect(change_waits[row].after);
	expect_ok(&added);
	expect_gone();
	assert_int_equal(resizes.trim_pieces, 100);
	assert_int_equal(empties, 1);
}

TEST_CASE(test_delete_all_in_change)
{
	unsigned i;

	for (i = 0; i < COUNT(change_waits); i++) {
		begin_waiting_change(i);
		device_delete_all(set);
		expect_finished(i);
	}
}

TEST_CASE(test_force_in_change)
{
	unsigned i;

	for (i = 0; i < COUNT(change_waits); i++) {
		struct device *device = begin_waiting_change(i);

		/* Whoever uses it. */
		fake.result[MESSAGE_BUSY] = -EBUSY;
		begin_delete(device, 1);
		assert_int_equal(deleted.count, 0);
		expect_finished(i);
		expect_ok(&deleted);
	}
}

TEST_CASE(test_keeper_gone_in_change)
{
	unsigned i;

	for (i = 0; i < COUNT(change_waits); i++) {
		struct device *device = begin_waiting_change(i);

		lose_keeper(&added);
		expect_state(device, "live");
		assert_string_equal(device->spec.words, "add test");
	}
}

/* Who is told that a change has ended asks for the end, as somebody has before. */
static void delete_again(void *context, struct device *device,
			 const struct failure *failure)
{
	on_done(context, device, failure);
	begin_delete(device, 1);
}

TEST_CASE(test_delete_behind_a_change)
{
	struct device *device = add_quietly();

	fake.hold[MESSAGE_NOTE] = 1;
	begin(device_note(device, strdup("add test 1"), delete_again, &added,
			  &refused));
	begin_delete(device, 1);
	fake_release(MESSAGE_NOTE);
	expect_ok(&added);
	assert_int_equal(deleted.count, 2);
	expect_gone();
}

/* Its backing may let it wait for ever: who deletes it by force does not. */
TEST_CASE(test_delete_in_growth)
{
	struct device *device = add_resizable();

	resizes.waits = 1;
	begin(ask_resize(device, NEW_SIZE));
	pass_time(1);
	assert_int_equal(device->step, DEVICE_TRIM);
	expect_busy(ask_delete(device, 0, &deleted), "being resized");
	begin_delete(device, 1);
	assert_int_equal(added.count, 0);
	expect_busy(ask_delete(device, 1, &deleted), "being resized");
	fake.hold[MESSAGE_STOP] = 1;
	pass_time(0.1);
	fake_serve();
	expect_told(&added, SYMBOL_STATE, "deleted");
	assert_int_equal(deleted.count, 0);
	expect_state(device, "deleting");
	fake_release(MESSAGE_STOP);
	fake_expect(DELETED);
	expect_deleted();
}

TEST_CASE(test_delete_all_in_trim)
{
	struct device *device = add_resizable();

	resizes.trim_pieces = 100;
	assert_int_equal(ask_resize(device, NEW_SIZE), 0);
	device_delete_all(set);
	fake_serve();
	fake_expect(DELETED);
	expect_told(&added, SYMBOL_STATE, "stopping");
	expect_gone();
}

/* Whether the keeper could do it before it died, sysfs tells. */
TEST_CASE(test_keeper_gone_in_resize)
{
	struct device *device = add_resizable();

	fake.hold[MESSAGE_RESIZE] = 1;
	fake.disk_size = 4096;
	begin(ask_resize(device, 4096));
	lose_keeper(&added);
	expect_state(device, "live");
	assert_int_equal(device->spec.geometry.size, 4096);
	assert_string_equal(device->spec.words, "add test");
	/* The next keeper's server is to look itself: nothing is cut off. */
	assert_int_equal(resizes.calls, 0);
}

/* A size that was never noted: the kernel's counts, before any request. */
TEST_CASE(test_take_over_of_another_size)
{
	struct device *device;

	new_ops = &resize_ops;
	fake.disk_size = NEW_SIZE;
	device = adopt(5);
	resizes.trim_pieces = 3;
	recover_all();
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
	recover_all();
	fake_expect(TAKEN);
	assert_int_equal(resizes.calls, 0);
	assert_int_equal(resizes.trims, 5);
	expect_size(device, NEW_SIZE, "add test");
}

/* Better served in part than not at all. */
TEST_CASE(test_take_over_of_what_cannot_grow)
{
	struct device *device = adopt(5);

	fake.disk_size = NEW_SIZE;
	recover_all();
	fake_expect(TAKEN " NOTE");
	assert_true(log_has("cannot change its size"));
	expect_size(device, NEW_SIZE, "add test size=128M");
	new_ops = &resize_ops;
	resizes.fails = 1;
	device = adopt(6);
	recover_all();
	assert_true(log_has("no memory for it"));
	expect_size(device, NEW_SIZE, "add test size=128M");
}

/* What was to be settled is not mixed up with what comes later. */
TEST_CASE(test_lost_with_another_size)
{
	struct device *device;

	new_ops = &resize_ops;
	fake.disk_size = NEW_SIZE;
	fake.result[MESSAGE_END_RECOVER] = -EIO;
	device = lose();
	begin(ask_note(device, "add test 1"));
	fake_expect("NOTE");
	expect_ok(&added);
	assert_int_equal(device->step, DEVICE_LOST);
	assert_string_equal(device->spec.words, "add test 1");
}

TEST_CASE(test_resize_of_a_lost_one)
{
	new_ops = &resize_ops;
	expect_refused(ask_resize(lose_for_memory(), NEW_SIZE), SYMBOL_STATE,
		       "not served");
	fake_serve();
	fake_expect("");
}

int main(void)
{
	return tests_run();
}
