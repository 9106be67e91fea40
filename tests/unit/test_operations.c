/*
 * What the keeper runs: one operation for each type of message, in stages. The
 * driver, the ring and the helpers are faked, and note what they are asked.
 */
/* NOLINTNEXTLINE(bugprone-suspicious-include): its functions are static */
#include "../../src/keeper/jobs.c"

#include "support.h"

#define ID     7
#define SERVER 4711

static struct jobs jobs;
static struct entry entry;
static struct job *job;
static int put_error;	/* of whatever is asked */
static int help_error;	/* of asking for a helper */
static int opened = -1; /* what open() gives; -1: an errno */
static helper_done *helped;
static struct message question;
static struct message told; /* to the server, when the job ends */

/* ---- what happened, a word each ---- */

static char trace[400];

static int note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int note(const char *format, ...)
{
	size_t at = strlen(trace);
	va_list args;

	if (at)
		trace[at++] = ' ';
	va_start(args, format);
	vsnprintf(trace + at, sizeof(trace) - at, format, args);
	va_end(args);
	return put_error;
}

static void expect(const char *expected)
{
	assert_string_equal(trace, expected);
	trace[0] = '\0';
}

/* ---- fakes ---- */

static void check(const struct control *control, uint64_t data)
{
	assert_ptr_equal(control, &jobs.control);
	assert_int_equal(data, job_data(job));
}

int __wrap_control_put(struct control *control, uint32_t op, uint32_t id,
		       uint64_t number, uint64_t data);
int __wrap_control_put(struct control *control, uint32_t op, uint32_t id,
		       uint64_t number, uint64_t data)
{
	check(control, data);
	switch (op) {
	case UBLK_CMD_START_DEV:
		return note("start%u/%llu", id, (unsigned long long)number);
	case UBLK_CMD_END_USER_RECOVERY:
		return note("end%u/%llu", id, (unsigned long long)number);
	case UBLK_CMD_UPDATE_SIZE:
		return note("size%u=%llu", id, (unsigned long long)number);
	case UBLK_CMD_QUIESCE_DEV:
		return note("quiesce%u/%llu", id, (unsigned long long)number);
	default:
		assert_true(number == 0);
		return note("%s%u",
			    op == UBLK_CMD_START_USER_RECOVERY ? "recover"
			    : op == UBLK_CMD_TRY_STOP_DEV      ? "try-stop"
			    : op == UBLK_CMD_STOP_DEV	       ? "stop"
			    : op == UBLK_CMD_DEL_DEV	       ? "delete"
			    : op == UBLK_CMD_DEL_DEV_ASYNC     ? "async"
							       : "other",
			    id);
	}
}

int __wrap_control_put_buffer(struct control *control, uint32_t op, uint32_t id,
			      void *buffer, size_t size, uint64_t data);
int __wrap_control_put_buffer(struct control *control, uint32_t op, uint32_t id,
			      void *buffer, size_t size, uint64_t data)
{
	struct message *message = &job->message;

	check(control, data);
	if (op == UBLK_CMD_GET_FEATURES) {
		assert_ptr_equal(buffer, &message->number);
		assert_int_equal(size, sizeof(message->number));
		return note("features");
	}
	if (op == UBLK_CMD_SET_PARAMS) {
		assert_ptr_equal(buffer, &message->params);
		assert_int_equal(size, sizeof(message->params));
		return note("params%u", id);
	}
	assert_ptr_equal(buffer, &message->info);
	assert_int_equal(size, sizeof(message->info));
	if (op == UBLK_CMD_GET_DEV_INFO)
		return note("info%u", id);
	assert_int_equal(op, UBLK_CMD_ADD_DEV);
	assert_int_equal(id, message->info.dev_id);
	return note("add%llx", (unsigned long long)message->info.server_flags);
}

int __wrap_control_open(struct control *control);
int __wrap_control_open(struct control *control)
{
	assert_ptr_equal(control, &jobs.control);
	return note("control");
}

int __wrap_ring_put_open(struct ring *ring, const char *path, int flags,
			 mode_t mode, uint64_t data);
int __wrap_ring_put_open(struct ring *ring, const char *path, int flags,
			 mode_t mode, uint64_t data)
{
	(void)ring;
	(void)mode;
	assert_int_equal(flags, O_RDONLY | O_EXCL | O_CLOEXEC);
	assert_ptr_equal(path, job->path);
	check(&jobs.control, data);
	return note("open%s", path);
}

int __wrap_ring_put_close(struct ring *ring, int fd, uint64_t data);
int __wrap_ring_put_close(struct ring *ring, int fd, uint64_t data)
{
	(void)ring;
	check(&jobs.control, data);
	return note("close%d", fd);
}

int __wrap_ring_put_read(struct ring *ring, int fd, void *bytes, size_t size,
			 uint64_t data);
int __wrap_ring_put_read(struct ring *ring, int fd, void *bytes, size_t size,
			 uint64_t data)
{
	(void)ring;
	assert_int_equal(fd, job->fd);
	assert_ptr_equal(bytes, job->bytes);
	assert_int_equal(size, sizeof(job->bytes) - 1);
	check(&jobs.control, data);
	return note("read");
}

int __wrap_ring_put_write(struct ring *ring, int fd, const void *bytes,
			  size_t size, uint64_t data);
int __wrap_ring_put_write(struct ring *ring, int fd, const void *bytes,
			  size_t size, uint64_t data)
{
	(void)ring;
	assert_int_equal(fd, job->fd);
	check(&jobs.control, data);
	return note("write%.*s", (int)size, (const char *)bytes);
}

int __wrap_ring_put_timeout(struct ring *ring, unsigned ms, uint64_t data);
int __wrap_ring_put_timeout(struct ring *ring, unsigned ms, uint64_t data)
{
	(void)ring;
	assert_true(ms >= 10 && ms <= 100);
	check(&jobs.control, data);
	return note("moment");
}

int __wrap_helper_ask(struct helpers *helpers, const struct message *asked,
		      const int *fds, int fd_count, helper_done *done,
		      void *context);
int __wrap_helper_ask(struct helpers *helpers, const struct message *asked,
		      const int *fds, int fd_count, helper_done *done,
		      void *context)
{
	assert_ptr_equal(helpers, jobs.helpers);
	assert_ptr_equal(context, job);
	assert_int_equal(fd_count, job->fd_count);
	assert_ptr_equal(fds, job->fds);
	question = *asked;
	helped = done;
	note("help");
	return help_error;
}

int __wrap_ring_submit(struct ring *ring);
int __wrap_ring_submit(struct ring *ring)
{
	assert_null(ring);
	return 0;
}

static void on_told(struct jobs *of, const struct message *message, int fd)
{
	assert_ptr_equal(of, &jobs);
	told = *message;
}

static void on_idle(struct jobs *of)
{
	assert_ptr_equal(of, &jobs);
}

int __wrap_state_doom(const struct state *state, uint32_t id);
int __wrap_state_doom(const struct state *state, uint32_t id)
{
	assert_ptr_equal(state, jobs.state);
	note("doom%u", id);
	return 0;
}

int __wrap_state_spare(const struct state *state, uint32_t id);
int __wrap_state_spare(const struct state *state, uint32_t id)
{
	assert_ptr_equal(state, jobs.state);
	note("spare%u", id);
	return 0;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	assert_string_equal(path, "/sys/block/ublkb7/queue/io_timeout");
	assert_true(flags & O_CLOEXEC);
	if (opened < 0) {
		errno = ENOENT;
		return -1;
	}
	return opened;
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags | O_LARGEFILE);
}

/* ---- */

/* Another job for the device; the last one ends with it, if it has not. */
static void begin_anew(void)
{
	free(entry.job);
	job = job_new(&jobs, &entry, 0);
	assert_non_null(job);
	job->generation = 3;
	entry.job = job;
}

/* As detach_look() does it. */
static void leave_device(void)
{
	job->entry = NULL;
	entry.job = NULL;
}

static int teardown(void **state)
{
	free(job);
	return 0;
}

static int setup(void **state)
{
	static struct helpers helpers;
	static struct state folder;

	memset(&entry, 0, sizeof(entry));
	memset(&told, 0, sizeof(told));
	jobs = (struct jobs){ .server = SERVER,
			      .generation = 3,
			      .mark = 0xabc,
			      .state = &folder,
			      .helpers = &helpers,
			      .answer = on_told,
			      .idle = on_idle };
	entry.noted.id = ID;
	begin_anew();
	put_error = help_error = 0;
	opened = -1;
	trace[0] = '\0';
	return 0;
}

static int begin(uint32_t type)
{
	job->message.type = type;
	return find_operation(type)->begin(job);
}

static int end(int result)
{
	const struct operation *operation = find_operation(job->message.type);

	return operation->end ? operation->end(job, result) : result;
}

static void test_table(void **state)
{
	uint32_t type;
	unsigned count = 0;

	for (type = 0; type < 200; type++)
		count += find_operation(type) != NULL;
	assert_int_equal(count, 16);
	assert_null(find_operation(MESSAGE_CANCEL));
	assert_null(find_operation(MESSAGE_SHUTDOWN));
	assert_null(find_operation(UINT32_MAX));
}

static void test_features(void **state)
{
	assert_int_equal(begin(MESSAGE_FEATURES), 0);
	expect("control features");
	job->message.number = 0x1fe;
	assert_int_equal(end(-EIO), -EIO);
	assert_int_equal(jobs.features, 0);
	assert_int_equal(end(0), 0);
	assert_int_equal(jobs.features, 0x1fe);
	put_error = -ENOENT;
	assert_int_equal(begin(MESSAGE_FEATURES), -ENOENT);
	expect("control");
}

/* The device has the mark of this keeper, and what the driver made of it. */
static void test_add(void **state)
{
	struct entry *added;

	leave_device();
	assert_int_equal(begin(MESSAGE_ADD), 0);
	expect("addabc");
	added = jobs.entries;
	assert_ptr_equal(job->entry, added);
	assert_ptr_equal(added->job, job);
	job->message.info.dev_id = 9;
	job->message.info.queue_depth = 64;
	assert_int_equal(end(-EEXIST), -EEXIST);
	assert_int_equal(added->noted.id, UINT32_MAX);
	assert_int_equal(end(0), 0);
	assert_int_equal(added->noted.id, 9);
	assert_int_equal(job->message.id, 9);
	assert_int_equal(added->info.queue_depth, 64);
	entry_forget(&jobs.entries, added);
}

static void test_start(void **state)
{
	assert_int_equal(begin(MESSAGE_PARAMS), 0);
	assert_int_equal(begin(MESSAGE_START), 0);
	expect("params7 start7/4711");
	assert_int_equal(end(-EINTR), -EINTR);
	assert_int_equal(entry.state, ENTRY_NEW);
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_LIVE);
	/* Its server has died meanwhile. */
	entry.state = ENTRY_TO_STOP;
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_TO_STOP);
	begin(MESSAGE_RESIZE);
	job->message.number = 2048;
	begin(MESSAGE_RESIZE);
	expect("size7=0 size7=2048");
}

/* ---- a take-over ---- */

static void test_recover(void **state)
{
	jobs.features = UBLK_F_UPDATE_SIZE;
	entry.state = ENTRY_LIVE; /* with the server that is to leave */
	assert_int_equal(begin(MESSAGE_RECOVER), 0);
	assert_int_equal(entry.state, ENTRY_QUIESCED);
	expect("recover7");
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_QUIESCED);
	begin(MESSAGE_END_RECOVER);
	expect("end7/4711");
	assert_int_equal(end(-EINTR), -EINTR);
	assert_int_equal(entry.state, ENTRY_QUIESCED);
	/* Nobody serves it if the server that asked has died meanwhile. */
	job->generation--;
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_QUIESCED);
	job->generation++;
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_LIVE);
}

/* An old driver is not asked before the device is quiesced, and a moment. */
static void test_recover_old(void **state)
{
	entry.state = ENTRY_QUIESCED;
	assert_int_equal(begin(MESSAGE_RECOVER), 0);
	expect("info7");
	job->message.info.state = UBLK_S_DEV_LIVE;
	assert_int_equal(end(0), -EBUSY);
	assert_int_equal(end(-ENODEV), -ENODEV);
	job->message.info.state = UBLK_S_DEV_QUIESCED;
	assert_int_equal(end(0), 1);
	expect("moment");
	assert_int_equal(end(-ETIME), 1);
	expect("recover7");
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_int_equal(entry.state, ENTRY_QUIESCED);
	expect("");
	/* From here on another server could not take it over again. */
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_TAKEN);
	expect("doom7");
	begin(MESSAGE_END_RECOVER);
	assert_int_equal(entry.state, ENTRY_QUIESCED);
	expect("spare7 end7/4711");
}

/* The server that asked has died: there would be no way back. */
static void test_recover_for_nobody(void **state)
{
	begin(MESSAGE_RECOVER);
	job->message.info.state = UBLK_S_DEV_QUIESCED;
	jobs.generation++;
	assert_int_equal(end(0), -ECANCELED);
	expect("info7");
}

/* ---- the I/O timeout ---- */

static void play_timeout(const char *there)
{
	opened = __real_open("/dev/null", O_RDWR | O_CLOEXEC);
	job->message.number = 1000;
	assert_int_equal(begin(MESSAGE_TIMEOUT), 0);
	expect("read");
	memcpy(job->bytes, there, strlen(there));
}

static void expect_closed(void)
{
	assert_int_equal(fcntl(opened, F_GETFD), -1);
}

static void test_timeout(void **state)
{
	play_timeout("30000\n");
	assert_int_equal(end(6), 1);
	expect("write1000");
	assert_int_equal(end(4), 0);
	expect_closed();
}

/* Writing waits for I/O, so what is there already is not written. */
static void test_timeout_is_set(void **state)
{
	play_timeout("1000\n");
	assert_int_equal(end(5), 0);
	expect("");
	expect_closed();
}

static void test_timeout_fails(void **state)
{
	assert_int_equal(begin(MESSAGE_TIMEOUT), -ENOENT);
	play_timeout("");
	assert_int_equal(end(-EIO), -EIO);
	expect_closed();
	memset(job->bytes, 0, sizeof(job->bytes));
	job->stage = 0;
	play_timeout("30000\n");
	put_error = -EBUSY;
	end(6);
	expect("write1000");
	put_error = 0;
	close(opened);
	opened = __real_open("/dev/null", O_RDWR | O_CLOEXEC);
	put_error = -EBUSY;
	assert_int_equal(begin(MESSAGE_TIMEOUT), -EBUSY);
	expect_closed();
}

/* ---- is it in use? ---- */

/*
 * The helper answers. Returns 1 while the job goes on, or its result; what the
 * server is told then is in `told`, and the next job is there.
 */
static int help(int result, uint64_t number, const char *text)
{
	struct message answer = { .result = result, .number = number };

	snprintf(answer.text, sizeof(answer.text), "%s", text);
	told.type = 0;
	helped(job, &answer, -1);
	if (!told.type)
		return 1;
	begin_anew();
	return told.result;
}

static void play_busy(void)
{
	assert_int_equal(begin(MESSAGE_BUSY), 0);
	expect("help");
	assert_int_equal(question.type, MESSAGE_ASK);
	assert_int_equal(question.number, HELPER_DISK_USER);
	assert_string_equal(question.text, "ublkb7");
}

static void test_busy(void **state)
{
	play_busy();
	assert_int_equal(help(-EBUSY, 1, "mounted on /mnt"), -EBUSY);
	assert_int_equal(told.type, MESSAGE_BUSY);
	assert_int_equal(told.number, 1);
	assert_string_equal(told.text, "mounted on /mnt");
	expect("");
}

/* A user that no helper sees has opened it exclusively, perhaps. */
static void test_busy_exclusively(void **state)
{
	play_busy();
	assert_int_equal(help(0, 0, ""), 1);
	expect("open/dev/ublkb7");
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_string_equal(job->message.text, "held exclusively");
}

static void test_not_busy(void **state)
{
	play_busy();
	assert_int_equal(help(0, 0, ""), 1);
	expect("open/dev/ublkb7");
	assert_int_equal(end(55), 1);
	expect("close55");
	assert_int_equal(end(0), 0);
}

/* Its server has died since, and the next one may be taking the disk over. */
static void test_busy_for_nobody(void **state)
{
	play_busy();
	leave_device();
	assert_int_equal(help(0, 0, ""), 0);
	expect("");
	play_busy();
	leave_device();
	assert_int_equal(help(-ECANCELED, 0, ""), -ECANCELED);
	expect("");
}

/* What cannot be opened for another reason is not known to be free. */
static void test_busy_unopened(void **state)
{
	play_busy();
	assert_int_equal(end(0), 1);
	assert_int_equal(end(-ENOENT), 0);
	assert_int_equal(end(-ENXIO), 0);
	assert_int_equal(end(-EMFILE), -EMFILE);
	put_error = -EBUSY;
	job->stage = 0;
	assert_int_equal(end(0), -EBUSY);
}

/* The ring is full: then the close is done here. */
static void test_busy_close_now(void **state)
{
	int fd = __real_open("/dev/null", O_RDONLY | O_CLOEXEC);

	play_busy();
	assert_int_equal(end(0), 1);
	put_error = -EBUSY;
	assert_int_equal(end(fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* No helper can tell: who holds it exclusively is seen all the same. */
static void test_busy_unknown(void **state)
{
	play_busy();
	assert_int_equal(help(-ETIMEDOUT, 0, ""), 1);
	expect("open/dev/ublkb7");
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_int_equal(end(55), 1);
	assert_int_equal(end(0), -ETIMEDOUT);
	expect("close55");
	begin_anew();
	help_error = -EAGAIN;
	assert_int_equal(begin(MESSAGE_BUSY), 0);
	expect("help open/dev/ublkb7");
	assert_int_equal(end(55), 1);
	assert_int_equal(end(0), -EAGAIN);
}

/* The server's own questions go to a helper as they are. */
static void test_ask(void **state)
{
	static const int fds[] = { 12 };

	leave_device();
	job->message.number = HELPER_NODE_USER;
	job->fds = fds;
	job->fd_count = 1;
	snprintf(job->message.text, sizeof(job->message.text), "/dev/sda");
	assert_int_equal(begin(MESSAGE_ASK), 0);
	expect("help");
	assert_int_equal(question.number, HELPER_NODE_USER);
	assert_string_equal(question.text, "/dev/sda");
	assert_int_equal(help(-EBUSY, 0, "in use as swap"), -EBUSY);
	assert_int_equal(told.type, MESSAGE_ASK);
	assert_string_equal(told.text, "in use as swap");
	help_error = -EAGAIN;
	assert_int_equal(begin(MESSAGE_ASK), -EAGAIN);
}

/* For the next server, unless it is there already; a RECOVER ends it. */
static void test_quiesce(void **state)
{
	entry.state = ENTRY_LIVE;
	job->message.number = 5000;
	assert_int_equal(begin(MESSAGE_QUIESCE), 0);
	expect("quiesce7/5000");
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_int_equal(entry.state, ENTRY_LIVE);
	job->generation = jobs.generation - 1;
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.noted.quiesced, 0);
	job->generation = jobs.generation;
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_QUIESCED);
	assert_int_equal(entry.noted.quiesced, 1);
	job->message.type = MESSAGE_RECOVER;
	job->stage = RECOVER_ASKED;
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_int_equal(entry.noted.quiesced, 1);
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.noted.quiesced, 0);
}

/* Of a device that does not exist yet. */
static void test_owner(void **state)
{
	leave_device();
	snprintf(job->message.text, sizeof(job->message.text), "alice");
	assert_int_equal(begin(MESSAGE_OWNER), 0);
	expect("help");
	assert_int_equal(question.number, HELPER_OWNER);
	assert_string_equal(question.text, "alice");
	assert_int_equal(help(0, 1000, ""), 0);
	assert_int_equal(told.type, MESSAGE_OWNER);
	assert_int_equal(told.number, 1000);
	assert_false(needs_device(MESSAGE_OWNER));
}

/* ---- the end of a device ---- */

/* What has begun is finished by the next keeper: it is noted first. */
static void test_stop(void **state)
{
	assert_int_equal(begin(MESSAGE_STOP), 0);
	assert_int_equal(entry.state, ENTRY_DELETING);
	expect("doom7 stop7");
}

static void test_try_stop(void **state)
{
	entry.state = ENTRY_LIVE;
	assert_int_equal(begin(MESSAGE_TRY_STOP), 0);
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_int_equal(entry.state, ENTRY_LIVE);
	expect("try-stop7");
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_DELETING);
	expect("doom7");
	/* Nobody knows how far it came: it is finished. */
	entry.state = ENTRY_QUIESCED;
	assert_int_equal(end(-EIO), -EIO);
	assert_int_equal(entry.state, ENTRY_DELETING);
	/* And no later than by the keeper, once its server is dead. */
	entry.state = ENTRY_TO_STOP;
	assert_int_equal(end(0), 0);
	assert_int_equal(entry.state, ENTRY_TO_STOP);
}

static void test_delete(void **state)
{
	assert_int_equal(begin(MESSAGE_DELETE), 0);
	expect("delete7");
	assert_int_equal(end(-EBUSY), -EBUSY);
	assert_int_equal(end(0), 0);
	/* Interrupted, all is done but the wait for the number. */
	assert_int_equal(end(-EINTR), 0);
	/* Cancelled before it had begun, it does not wait again. */
	assert_int_equal(end(-ECANCELED), 1);
	expect("async7");
}

static void test_delete_by_force(void **state)
{
	job->message.number = 1;
	assert_int_equal(begin(MESSAGE_DELETE), 0);
	expect("async7");
	assert_int_equal(end(-ENODEV), -ENODEV);
	/* Before Linux 6.7. */
	assert_int_equal(end(-EOPNOTSUPP), 1);
	expect("delete7");
	assert_int_equal(end(-EOPNOTSUPP), -EOPNOTSUPP);
	expect("");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_table),
		TEST(test_features),
		TEST(test_add),
		TEST(test_start),
		TEST(test_recover),
		TEST(test_recover_old),
		TEST(test_recover_for_nobody),
		TEST(test_timeout),
		TEST(test_timeout_is_set),
		TEST(test_timeout_fails),
		TEST(test_busy),
		TEST(test_busy_exclusively),
		TEST(test_not_busy),
		TEST(test_busy_unopened),
		TEST(test_busy_for_nobody),
		TEST(test_busy_close_now),
		TEST(test_busy_unknown),
		TEST(test_ask),
		TEST(test_quiesce),
		TEST(test_owner),
		TEST(test_stop),
		TEST(test_try_stop),
		TEST(test_delete),
		TEST(test_delete_by_force),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
