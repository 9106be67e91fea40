/*
 * What a server asks of its keeper: any requests, in any order, while the driver
 * answers each command now, later or never, and servers die. In the end every
 * command is answered, the server is dead, and nothing may be left but devices
 * that wait for another one.
 */
/* NOLINTNEXTLINE(bugprone-suspicious-include): its functions are static */
#include "../../src/keeper/jobs.c"

#include <sys/mman.h>

#include "fuzz.h"
#include "../unit/support.h"

#define PENDING_MAX 256
#define IDS	    3 /* devices that are talked of */

static struct jobs jobs;
static struct state state_folder;

/* ---- the driver, and whoever else answers ---- */

static struct pending {
	uint64_t data;
	int result; /* that it ends with, unless told otherwise */
	uint32_t op;
	void *buffer;
	/* A helper's, whose answer goes to: */
	helper_done *done;
	void *context;
} pending[PENDING_MAX];
static unsigned pending_count;
static struct ring_event ended;

/* What is pending is answered in any case, so that it ends. */
static int hold(uint64_t data, int result, uint32_t op, void *buffer)
{
	if (pending_count == PENDING_MAX)
		return -EBUSY;
	pending[pending_count++] = (struct pending){
		.data = data, .result = result, .op = op, .buffer = buffer
	};
	return 0;
}

int __wrap_control_open(struct control *control)
{
	(void)control;
	return 0;
}

int __wrap_control_put(struct control *control, uint32_t op, uint32_t id,
		       uint64_t number, uint64_t data)
{
	(void)control;
	(void)id;
	(void)number;
	return hold(data, 0, op, NULL);
}

int __wrap_control_put_buffer(struct control *control, uint32_t op, uint32_t id,
			      void *buffer, size_t size, uint64_t data)
{
	(void)control;
	(void)id;
	(void)size;
	return hold(data, 0, op, buffer);
}

int __wrap_ring_put_open(struct ring *ring, const char *path, int flags,
			 mode_t mode, uint64_t data)
{
	(void)ring;
	(void)path;
	(void)flags;
	(void)mode;
	return hold(data, -ENOENT, 0, NULL);
}

int __wrap_ring_put_close(struct ring *ring, int fd, uint64_t data)
{
	int error = hold(data, 0, 0, NULL);

	(void)ring;
	if (!error)
		assert_int_equal(close(fd), 0);
	return error;
}

int __wrap_ring_put_read(struct ring *ring, int fd, void *bytes, size_t size,
			 uint64_t data)
{
	(void)ring;
	(void)fd;
	(void)bytes;
	(void)size;
	return hold(data, 0, 0, NULL);
}

int __wrap_ring_put_write(struct ring *ring, int fd, const void *bytes,
			  size_t size, uint64_t data)
{
	(void)ring;
	(void)fd;
	(void)bytes;
	return hold(data, (int)size, 0, NULL);
}

int __wrap_ring_put_timeout(struct ring *ring, unsigned ms, uint64_t data)
{
	(void)ring;
	(void)ms;
	return hold(data, -ETIME, 0, NULL);
}

int __wrap_ring_put_cancel(struct ring *ring, uint64_t target, uint64_t data)
{
	unsigned i;

	(void)ring;
	(void)data;
	for (i = 0; i < pending_count; i++)
		if (pending[i].data == target)
			pending[i].result = -ECANCELED;
	return 0;
}

int __wrap_ring_submit(struct ring *ring)
{
	(void)ring;
	return 0;
}

unsigned __wrap_ring_reap(struct ring *ring, struct ring_event *events,
			  unsigned max)
{
	unsigned count = ended.data != 0;

	(void)ring;
	assert_true(max >= 1);
	events[0] = ended;
	ended.data = 0;
	return count;
}

void __wrap_ring_clear_event(struct ring *ring)
{
	(void)ring;
}

void __wrap_ring_raise_event(struct ring *ring)
{
	(void)ring;
}

int __wrap_helper_ask(struct helpers *helpers, const struct message *question,
		      const int *fds, int fd_count, helper_done *done,
		      void *context)
{
	int error = hold(0, 0, 0, NULL);

	(void)helpers;
	(void)question;
	(void)fds;
	(void)fd_count;
	if (!error) {
		pending[pending_count - 1].done = done;
		pending[pending_count - 1].context = context;
	}
	return error;
}

int __wrap_fsync(int fd)
{
	(void)fd;
	return 0;
}

int __wrap_notify_store(const char *name, int fd)
{
	(void)name;
	(void)fd;
	return 0;
}

int __wrap_notify_unstore(const char *name)
{
	(void)name;
	return 0;
}

/* To a server that begins. */
int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count)
{
	int i;

	(void)channel;
	assert_true(message->type != 0);
	for (i = 0; i < fd_count; i++)
		assert_true(fcntl(fds[i], F_GETFD) >= 0);
	return 0;
}

static void on_told(struct jobs *of, const struct message *message, int fd)
{
	assert_ptr_equal(of, &jobs);
	assert_int_equal(message->magic, MESSAGE_MAGIC);
}

static void on_idle(struct jobs *of)
{
	assert_ptr_equal(of, &jobs);
}

/* A command of the driver ends with 0 if it went well. Returns its result. */
static int fill_answer(const struct pending *one, int result)
{
	struct ublk_dev_info *info = one->buffer;

	if (result < 0 || !one->op)
		return result;
	if (one->op == UBLK_CMD_GET_DEV_INFO)
		info->state = (uint16_t)result;
	else if (one->op == UBLK_CMD_ADD_DEV && info->dev_id >= IDS)
		info->dev_id = 0;
	else if (one->op == UBLK_CMD_GET_FEATURES)
		*(uint64_t *)one->buffer = UINT64_MAX;
	return 0;
}

/* One that is pending ends. */
static void answer(unsigned which, int result)
{
	static struct message message;
	struct pending one = pending[which];

	pending[which] = pending[--pending_count];
	if (one.done) {
		memset(&message, 0, sizeof(message));
		message.magic = MESSAGE_MAGIC;
		message.type = MESSAGE_ASK;
		message.result = result < 0 ? result : 0;
		one.done(one.context, &message, -1);
		return;
	}
	if (one.result < 0)
		result = one.result;
	ended = (struct ring_event){ .data = one.data,
				     .result = fill_answer(&one, result) };
	on_command_ring(test_loop, &jobs.watcher, EV_READ);
}

/* As one step, in place of many small ones. */
static void pass_moment(double seconds)
{
	move_clock(seconds);
	look_at_timer();
	settle();
}

/* ---- the server ---- */

static void fill_text(struct message *message, struct fuzz_bytes *bytes)
{
	size_t length = fuzz_byte(bytes);

	if (length == 255)
		length = sizeof(message->text); /* without an end */
	if (length > bytes->left)
		length = bytes->left;
	memcpy(message->text, bytes->at, length);
	bytes->at += length;
	bytes->left -= length;
}

static void ask(struct fuzz_bytes *bytes)
{
	static struct message message;
	uint32_t type = fuzz_byte(bytes) % (MESSAGE_ASK + 2);
	int fds[MESSAGE_MAX_FDS], count, i;

	memset(&message, 0, sizeof(message));
	message.magic = MESSAGE_MAGIC;
	message.type = type;
	message.id = fuzz_byte(bytes) % (IDS + 1);
	message.serial = 1;
	message.number = fuzz_byte(bytes);
	message.info.dev_id = message.id == IDS ? UINT32_MAX : message.id;
	message.info.flags = (uint64_t)fuzz_byte(bytes) << 3;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 8;
	count = fuzz_byte(bytes) % (MESSAGE_MAX_FDS + 1);
	fill_text(&message, bytes);
	if (!jobs_can_run(type))
		return;
	for (i = 0; i < count; i++)
		assert_true((fds[i] = memfd_create("fuzz", MFD_CLOEXEC)) >= 0);
	jobs_run(&jobs, &message, fds, count);
	for (i = 0; i < count; i++)
		assert_int_equal(close(fds[i]), 0); /* still the caller's */
}

static void change_server(int replaced)
{
	static struct channel channel;
	unsigned kept, deleted;

	jobs_set_server(&jobs, 0);
	jobs_server_gone(&jobs, replaced, &kept, &deleted);
	if (!replaced)
		return;
	jobs_set_server(&jobs, getpid());
	jobs_hand_over(&jobs, &channel);
}

static void step(struct fuzz_bytes *bytes)
{
	static const int results[] = { 0,	0,	 0,	  1,
				       2,	3,	 -ENODEV, -EBUSY,
				       -EINVAL, -ENOENT, -EIO,	  -ENOMEM };
	uint8_t what = fuzz_byte(bytes), with = fuzz_byte(bytes);

	switch (what % 8) {
	case 0:
	case 1:
	case 2:
		if (pending_count)
			answer(with % pending_count,
			       results[(what / 8) % COUNT(results)]);
		break;
	case 3:
		if (with < 64)
			change_server(with % 2);
		else if (with < 128)
			pass_moment(0.5);
		else if (with < 136)
			jobs_hurry(&jobs);
		break;
	default:
		ask(bytes);
	}
}

/* Nobody asks any more, and whatever was asked is answered. */
static void come_to_an_end(void)
{
	unsigned steps = 0;

	change_server(0);
	while (pending_count || jobs_are_busy(&jobs)) {
		/* A moment, a close or a command each; they come to an end. */
		if (steps++ > 10000)
			fail_msg("the jobs do not end");
		if (pending_count)
			answer(0, 0);
		else
			pass_moment(1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *start, size_t size)
{
	struct fuzz_bytes bytes = { start, size };
	struct failure failure;

	test_loop_open();
	pending_count = 0;
	ended.data = 0;
	assert_int_equal(
		state_open(&state_folder, test_path("state"), &failure), 0);
	jobs = (struct jobs){ .loop = test_loop,
			      .state = &state_folder,
			      .answer = on_told,
			      .idle = on_idle,
			      .mark = 1,
			      .control = { .fd = -1 } };
	jobs.watcher.data = &jobs;
	jobs_set_server(&jobs, getpid());
	while (bytes.left)
		step(&bytes);
	come_to_an_end();
	while (jobs.entries) {
		held_close(jobs.entries->noted.files,
			   jobs.entries->noted.file_count);
		entry_forget(&jobs.entries, jobs.entries);
	}
	free(jobs.spare);
	state_close(&state_folder);
	test_folder_remove();
	test_loop_close();
	log_forget();
	return 0;
}
