/*
 * The keeper's jobs: what is noted of a device and handed over, what becomes of
 * one whose server dies, and how it lets go of what a deleted device held.
 */
/* NOLINTNEXTLINE(bugprone-suspicious-include): its functions are static */
#include "../../src/keeper/jobs.c"

#include <sys/stat.h>

#include "support.h"

#define ID 3

static struct jobs jobs;
static struct state state_folder;
static struct failure failure;

static struct {
	int put_error;
	int closing[MESSAGE_MAX_FDS];
	unsigned closes, submits;
	uint64_t data;
	struct ring_event done[4]; /* that on_command_ring() will find */
	unsigned done_count;
} ring;

static struct {
	unsigned answers, idles;
	struct message answer;
} told;

/* ---- the ring, the driver, the service manager, the state folder ---- */

int __wrap_ring_put_close(struct ring *of, int fd, uint64_t data);
int __wrap_ring_put_cancel(struct ring *of, uint64_t target, uint64_t data);
int __wrap_ring_submit(struct ring *of);
unsigned __wrap_ring_reap(struct ring *of, struct ring_event *events,
			  unsigned max);
void __wrap_ring_clear_event(struct ring *of);
void __wrap_ring_raise_event(struct ring *of);
int __wrap_notify_store(const char *name, int fd);
int __wrap_notify_unstore(const char *name);
int __wrap_control_put(struct control *control, uint32_t op, uint32_t id,
		       uint64_t number, uint64_t data);
int __wrap_control_put_buffer(struct control *control, uint32_t op, uint32_t id,
			      void *buffer, size_t size, uint64_t data);
int __wrap_ring_put_timeout(struct ring *of, unsigned ms, uint64_t data);
int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count);
int __real_state_write(const struct state *state,
		       const struct state_device *device);
int __wrap_state_write(const struct state *state,
		       const struct state_device *device);

/* What the driver and the service manager were asked for, a word each. */
static char trace[400];

static void put_word(const char *word, uint32_t id)
{
	char text[100];

	snprintf(text, sizeof(text), "%s%s-%u", trace[0] ? " " : "", word, id);
	add_text(trace, sizeof(trace), text);
}

static void expect(const char *expected)
{
	assert_string_equal(trace, expected);
	trace[0] = '\0';
}

int __wrap_ring_put_close(struct ring *of, int fd, uint64_t data)
{
	(void)of;
	if (ring.put_error)
		return ring.put_error;
	ring.closing[ring.closes++] = fd;
	ring.data = data;
	return 0;
}

int __wrap_ring_put_cancel(struct ring *of, uint64_t target, uint64_t data)
{
	const struct job *job = (const struct job *)(uintptr_t)target;

	(void)of;
	assert_true(data == 0);
	put_word(job->message.type == MESSAGE_START	    ? "cancel-start"
		 : job->message.type == MESSAGE_END_RECOVER ? "cancel-end"
		 : job->message.type == MESSAGE_DELETE	    ? "cancel-delete"
							    : "cancel-other",
		 job->message.id);
	return 0;
}

int __wrap_ring_submit(struct ring *of)
{
	(void)of;
	ring.submits++;
	return 0;
}

unsigned __wrap_ring_reap(struct ring *of, struct ring_event *events,
			  unsigned max)
{
	unsigned count = ring.done_count;

	(void)of;
	assert_true(max >= count);
	memcpy(events, ring.done, count * sizeof(*events));
	ring.done_count = 0;
	return count;
}

void __wrap_ring_clear_event(struct ring *of)
{
	(void)of;
}

void __wrap_ring_raise_event(struct ring *of)
{
	(void)of;
}

static unsigned stored, unstored;

int __wrap_notify_store(const char *name, int fd)
{
	assert_memory_equal(name, "device-3-", 9);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	stored++;
	return 0;
}

int __wrap_notify_unstore(const char *name)
{
	assert_memory_equal(name, "device-3-", 9);
	unstored++;
	return 0;
}

static int ask_fake(const char *word, uint32_t id, uint64_t data)
{
	put_word(word, id);
	ring.data = data;
	return 0;
}

int __wrap_control_put(struct control *control, uint32_t op, uint32_t id,
		       uint64_t number, uint64_t data)
{
	(void)control;
	(void)number;
	return ask_fake(op == UBLK_CMD_START_DEV	     ? "start"
			: op == UBLK_CMD_START_USER_RECOVERY ? "recover"
			: op == UBLK_CMD_END_USER_RECOVERY   ? "end-recovery"
			: op == UBLK_CMD_STOP_DEV	     ? "stop"
			: op == UBLK_CMD_TRY_STOP_DEV	     ? "try-stop"
			: op == UBLK_CMD_DEL_DEV	     ? "delete"
			: op == UBLK_CMD_DEL_DEV_ASYNC	     ? "delete-async"
							     : "other",
			id, data);
}

int __wrap_control_put_buffer(struct control *control, uint32_t op, uint32_t id,
			      void *buffer, size_t size, uint64_t data)
{
	struct ublk_dev_info *info = buffer;

	(void)control;
	(void)id;
	assert_int_equal(size, sizeof(*info));
	if (op == UBLK_CMD_GET_DEV_INFO)
		info->state = UBLK_S_DEV_QUIESCED;
	info->dev_id = ID;
	return ask_fake(op == UBLK_CMD_ADD_DEV	      ? "add"
			: op == UBLK_CMD_GET_DEV_INFO ? "get-info"
						      : "other",
			ID, data);
}

int __wrap_ring_put_timeout(struct ring *of, unsigned ms, uint64_t data)
{
	(void)of;
	assert_in_range(ms, 1, 100);
	return ask_fake("moment", ID, data);
}

/* The driver has done what it was asked for last. */
static void driver_answers(int result)
{
	ring.done[0] =
		(struct ring_event){ .data = ring.data, .result = result };
	ring.done_count = 1;
	on_command_ring(test_loop, &jobs.watcher, EV_READ);
}

/* What was handed over. */
static struct {
	struct message messages[8];
	int fd_counts[8];
	unsigned count;
} sent;

int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count)
{
	int i;

	(void)channel;
	assert_true(sent.count < COUNT(sent.messages));
	for (i = 0; i < fd_count; i++)
		assert_true(fcntl(fds[i], F_GETFD) >= 0);
	sent.messages[sent.count] = *message;
	sent.fd_counts[sent.count++] = fd_count;
	return 0;
}

static int write_error;
static unsigned writes;

int __wrap_state_write(const struct state *state,
		       const struct state_device *device)
{
	writes++;
	return write_error ? write_error : __real_state_write(state, device);
}

static void on_told(struct jobs *of, const struct message *message, int fd)
{
	assert_ptr_equal(of, &jobs);
	told.answer = *message;
	told.answers++;
}

static void on_idle(struct jobs *of)
{
	assert_ptr_equal(of, &jobs);
	told.idles++;
}

/* One of the files that were to be closed is. */
static void end_close(void)
{
	struct job *job = (struct job *)(uintptr_t)ring.data;

	assert_int_equal(close(ring.closing[--ring.closes]), 0);
	on_closed(job);
}

/* What the keeper forgets at its end; the devices stay. */
static void forget_all(void)
{
	while (jobs.entries) {
		free(jobs.entries->job);
		entry_forget(&jobs.entries, jobs.entries);
	}
	free(jobs.spare);
	jobs.spare = NULL;
}

static int start(void **state)
{
	test_loop_open();
	memset(&ring, 0, sizeof(ring));
	memset(&told, 0, sizeof(told));
	memset(&sent, 0, sizeof(sent));
	stored = unstored = writes = 0;
	write_error = 0;
	trace[0] = '\0';
	log_forget();
	assert_int_equal(
		state_open(&state_folder, test_path("state"), &failure), 0);
	jobs = (struct jobs){ .loop = test_loop,
			      .state = &state_folder,
			      .answer = on_told,
			      .idle = on_idle,
			      .generation = 1 };
	jobs.watcher.data = &jobs;
	return 0;
}

static int stop(void **state)
{
	forget_all();
	state_close(&state_folder);
	test_folder_remove();
	test_loop_close();
	return 0;
}

/* The driver has deleted a device that held two files. */
static void delete_device(void)
{
	struct ublk_dev_info info = { .dev_id = ID };
	struct held_file files[2];
	struct state_device noted = { .id = ID,
				      .recoverable = 1,
				      .words = "add null",
				      .files = files,
				      .file_count = 2 };
	struct job *job;

	held_describe(&files[0], open("/dev/null", O_RDONLY | O_CLOEXEC));
	held_describe(&files[1], open("/dev/null", O_RDONLY | O_CLOEXEC));
	assert_int_equal(entry_restore(&jobs.entries, &info, &noted, 0), 0);
	job = job_new(&jobs, jobs.entries, MESSAGE_DELETE);
	assert_non_null(job);
	job->generation = 1;
	jobs.entries->job = job;
	job_end(job, 0);
}

/* Who asked is told when the last one is closed: what it held is free then. */
static void test_close(void **state)
{
	unsigned fds = count_fds();

	delete_device();
	assert_int_equal(ring.closes, 2);
	assert_true(ring.submits > 0);
	assert_int_equal(unstored, 2);
	end_close();
	assert_int_equal(told.answers, 0);
	assert_true(jobs_are_busy(&jobs));
	/* It is too late to hurry. */
	jobs_hurry(&jobs);
	end_close();
	assert_int_equal(told.answers, 1);
	assert_int_equal(told.answer.type, MESSAGE_DELETE);
	assert_int_equal(told.answer.id, ID);
	assert_int_equal(told.answer.result, 0);
	assert_false(jobs_are_busy(&jobs));
	assert_int_equal(told.idles, 1);
	assert_int_equal(count_fds(), fds);
	pass_time(CLOSE_PATIENCE + 1);
	assert_int_equal(log_count("not closed"), 0);
}

/* A ring without room closes nothing: then it is done at once. */
static void test_full_ring(void **state)
{
	unsigned fds = count_fds();

	ring.put_error = -EBUSY;
	delete_device();
	assert_int_equal(told.answers, 1);
	assert_int_equal(count_fds(), fds);
}

/* Its number can be used again; but this process cannot end. */
static void test_late(void **state)
{
	delete_device();
	end_close();
	pass_time(CLOSE_PATIENCE - 1);
	assert_int_equal(told.answers, 0);
	pass_time(2);
	assert_int_equal(told.answers, 1);
	assert_true(log_has("device 3 is deleted, but what it held"));
	assert_null(entry_find(jobs.entries, ID));
	assert_true(jobs_are_busy(&jobs));
	told.idles = 0;
	end_close();
	assert_int_equal(told.answers, 1);
	assert_int_equal(told.idles, 1);
	assert_false(jobs_are_busy(&jobs));
}

/* The server dies meanwhile: nobody is told. */
static void test_server_dies(void **state)
{
	unsigned kept, deleted;

	delete_device();
	jobs.entries->state = ENTRY_DELETING;
	jobs_set_server(&jobs, 0);
	jobs_server_gone(&jobs, 1, &kept, &deleted);
	end_close();
	end_close();
	assert_int_equal(told.answers, 0);
	assert_null(jobs.entries);
}

/* ---- what is noted ---- */

/* A live device in the table, as a server has noted it, with that file or none. */
static struct entry *live_device(const char *words, const char *path)
{
	struct message message = { .type = MESSAGE_NOTE,
				   .id = ID,
				   .number = NOTE_RECOVERABLE };
	struct entry *entry = entry_new(&jobs.entries, ID);
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	snprintf(message.text, sizeof(message.text), "%s", words);
	jobs_run(&jobs, &message, &fd, path != NULL);
	if (fd >= 0)
		close(fd); /* the table has one of its own */
	assert_int_equal(told.answer.result, 0);
	entry->state = ENTRY_LIVE;
	sent.count = told.answers = writes = 0;
	return entry;
}

/* A later note. */
static int note(const char *words, const int *fds, int fd_count)
{
	struct message message = { .type = MESSAGE_NOTE,
				   .id = ID,
				   .number = NOTE_RECOVERABLE };

	snprintf(message.text, sizeof(message.text), "%s", words);
	told.answers = 0;
	jobs_run(&jobs, &message, fds, fd_count);
	assert_int_equal(told.answers, 1);
	return told.answer.result;
}

static int take_tally(uint32_t id, uint64_t tally)
{
	struct message message = { .type = MESSAGE_TALLY,
				   .id = id,
				   .number = tally };

	return entry_take_tally(jobs.entries, &state_folder, &message);
}

static struct state_device seen;
static unsigned seen_count;

static void see(void *context, struct state_device *device)
{
	seen = *device;
	seen_count++;
}

/* As the next keeper finds it. */
static const struct state_device *noted(void)
{
	seen_count = 0;
	assert_int_equal(state_read_all(&state_folder, see, NULL), 0);
	assert_int_equal(seen_count, 1);
	assert_int_equal(seen.id, ID);
	return &seen;
}

/* As the next server gets it; more than one message: with a tally. */
static const struct message *handed_over(int fd_count)
{
	struct channel channel = { .fd = -1 };

	sent.count = 0;
	assert_int_equal(jobs_hand_over(&jobs, &channel), 0);
	assert_true(sent.count > 0);
	assert_int_equal(sent.messages[0].type, MESSAGE_DEVICE);
	assert_int_equal(sent.messages[0].id, ID);
	assert_int_equal(sent.fd_counts[0], fd_count);
	return &sent.messages[0];
}

static void test_note(void **state)
{
	unsigned fds = count_fds();

	test_file("data", "1234");
	live_device("add file path=/a", test_path("data"));
	assert_int_equal(count_fds(), fds + 1);
	assert_int_equal(stored, 1);
	assert_string_equal(noted()->words, "add file path=/a");
	assert_int_equal(noted()->recoverable, 1);
	assert_int_equal(noted()->private, 0);
	assert_int_equal(noted()->file_count, 1);
	assert_string_equal(noted()->files[0].path, test_path("data"));
	assert_string_equal(handed_over(1)->text, "add file path=/a");
	/* A file of the user's stays where it is. */
	assert_int_equal(note("add file path=/a discard=no", NULL, 0), 0);
	assert_string_equal(noted()->words, "add file path=/a discard=no");
	assert_string_equal(noted()->files[0].path, test_path("data"));
	assert_string_equal(handed_over(1)->text,
			    "add file path=/a discard=no");
}

/* It is not written down that often. */
static void test_note_the_same(void **state)
{
	live_device("add null", NULL);
	assert_int_equal(note("add null", NULL, 0), 0);
	assert_int_equal(writes, 0);
}

/* Refused is refused, also for the next server, and for the next keeper. */
static void test_note_fails(void **state)
{
	live_device("add null", NULL);
	write_error = -ENOSPC;
	assert_int_equal(note("add null error-rate=1", NULL, 0), -ENOSPC);
	assert_string_equal(handed_over(0)->text, "add null");
	assert_string_equal(noted()->words, "add null");
	/* And nothing brings it to light later. */
	write_error = 0;
	assert_int_equal(take_tally(ID, 5), 0);
	assert_string_equal(noted()->words, "add null");
	assert_int_equal(note("add null error-rate=2", NULL, 0), 0);
	assert_string_equal(noted()->words, "add null error-rate=2");
}

static void test_first_note_fails(void **state)
{
	struct message message = { .type = MESSAGE_NOTE, .id = ID };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned fds = count_fds();

	entry_new(&jobs.entries, ID);
	write_error = -ENOSPC;
	jobs_run(&jobs, &message, &fd, 1);
	assert_int_equal(told.answer.result, -ENOSPC);
	assert_null(jobs.entries->noted.words);
	forget_all();
	assert_int_equal(count_fds(), fds);
	close(fd);
}

/* Only a file of ours gets a name, when it is noted; and goes with its device. */
static void test_note_private(void **state)
{
	struct message message = { .type = MESSAGE_NOTE,
				   .id = ID,
				   .number = NOTE_PRIVATE };
	int fd = open(test_folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[512];

	entry_new(&jobs.entries, ID);
	snprintf(message.text, sizeof(message.text), "add ram");
	jobs_run(&jobs, &message, &fd, 1);
	assert_int_equal(told.answer.result, 0);
	assert_int_equal(noted()->private, 1);
	assert_int_equal(noted()->recoverable, 0);
	snprintf(path, sizeof(path), "%s", noted()->files[0].path);
	assert_non_null(strstr(path, "/ublkd-ram-"));
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	ring.put_error = -EBUSY;
	entry_let_go(jobs.entries, NULL, 0);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_let_go_of_a_user_file(void **state)
{
	struct entry *entry;

	test_file("data", "1234");
	entry = live_device("add file path=/a", test_path("data"));
	ring.put_error = -EBUSY;
	entry_let_go(entry, NULL, 0);
	assert_int_equal(access(test_path("data"), F_OK), 0);
}

/* ---- a file that is away ---- */

/* As after a start that has found nobody who had the file. */
static struct entry *device_without_file(void)
{
	struct entry *entry;

	test_file("data", "1234");
	entry = live_device("add file path=/a", test_path("data"));
	close(entry->noted.files[0].fd);
	entry->noted.files[0].fd = -1;
	return entry;
}

/* What is noted of a file that is away stays noted. */
static void test_note_without_file(void **state)
{
	device_without_file();
	handed_over(0);
	assert_int_equal(note("add file path=/a discard=no", NULL, 0), 0);
	assert_int_equal(noted()->file_count, 1);
	assert_string_equal(noted()->files[0].path, test_path("data"));
	assert_int_equal(take_tally(ID, 5), 0);
	assert_int_equal(noted()->file_count, 1);
	assert_string_equal(noted()->files[0].path, test_path("data"));
	assert_true(noted()->tally == 5);
}

static void test_file_comes_back(void **state)
{
	unsigned fds, stores;
	int fd;

	device_without_file();
	fd = open(test_path("data"), O_RDONLY | O_CLOEXEC);
	fds = count_fds();
	stores = stored;
	assert_int_equal(note("add file path=/a", &fd, 1), 0);
	assert_int_equal(count_fds(), fds + 1);
	assert_int_equal(stored, stores + 1);
	handed_over(1);
	/* There is no place for a second one. */
	assert_int_equal(note("add file path=/a", &fd, 1), -EINVAL);
	assert_int_equal(count_fds(), fds + 1);
	close(fd);
}

static void test_other_file_comes(void **state)
{
	unsigned fds, stores;
	int fd;

	device_without_file();
	test_file("other", "1234");
	fd = open(test_path("other"), O_RDONLY | O_CLOEXEC);
	fds = count_fds();
	stores = stored;
	assert_int_equal(note("add file path=/a", &fd, 1), -ESTALE);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(stored, stores);
	handed_over(0);
	assert_string_equal(noted()->files[0].path, test_path("data"));
	close(fd);
}

/* ---- who is handed over ---- */

static void expect_handed_over(int expected)
{
	struct channel channel = { .fd = -1 };

	sent.count = 0;
	assert_int_equal(jobs_hand_over(&jobs, &channel), 0);
	assert_int_equal(sent.count, expected);
}

static void test_hand_over(void **state)
{
	static const enum entry_state not_to_hand_over[] = {
		ENTRY_NEW,     ENTRY_TAKEN,	ENTRY_DELETING,
		ENTRY_TO_STOP, ENTRY_TO_DELETE,
	};
	struct entry *entry = live_device("add null", NULL);
	unsigned i;

	expect_handed_over(1);
	/* Somebody who can is told whether that would be a loss. */
	assert_int_equal(handed_over(0)->info.state, UBLK_S_DEV_LIVE);
	entry->state = ENTRY_QUIESCED;
	assert_int_equal(handed_over(0)->info.state, UBLK_S_DEV_QUIESCED);
	entry->noted.tally = 9;
	handed_over(0);
	assert_int_equal(sent.count, 2);
	assert_int_equal(sent.messages[1].type, MESSAGE_TALLY);
	assert_true(sent.messages[1].number == 9);
	entry->noted.tally = 0;
	entry->noted.recoverable = 0;
	expect_handed_over(0);
	entry->noted.recoverable = 1;
	for (i = 0; i < COUNT(not_to_hand_over); i++) {
		entry->state = not_to_hand_over[i];
		expect_handed_over(0);
		/* One that cannot be taken over stops no restart. */
		assert_int_equal(jobs_are_busy(&jobs),
				 entry->state != ENTRY_TAKEN);
	}
}

static void test_restore(void **state)
{
	struct ublk_dev_info info = { .dev_id = ID, .state = UBLK_S_DEV_LIVE };
	struct state_device device = { .id = ID,
				       .recoverable = 1,
				       .words = "add null" };

	assert_int_equal(entry_restore(&jobs.entries, &info, &device, 0), 0);
	assert_int_equal(handed_over(0)->info.state, UBLK_S_DEV_LIVE);
	assert_true(jobs_have_devices(&jobs));
	assert_false(jobs_are_busy(&jobs));
	forget_all();
	info.state = UBLK_S_DEV_QUIESCED;
	assert_int_equal(entry_restore(&jobs.entries, &info, &device, 0), 0);
	assert_int_equal(handed_over(0)->info.state, UBLK_S_DEV_QUIESCED);
	forget_all();
	assert_int_equal(entry_restore(&jobs.entries, &info, &device, 1), 0);
	expect_handed_over(0);
	assert_false(jobs_have_devices(&jobs));
	assert_non_null(entry_find(jobs.entries, ID));
	assert_null(entry_find(jobs.entries, ID + 1));
	jobs_clean_up(&jobs);
	expect("stop-3");
	driver_answers(0);
	expect("delete-async-3");
	driver_answers(0);
	assert_null(jobs.entries);
	assert_int_equal(told.answers, 0);
	assert_int_equal(told.idles, 1);
}

/* ---- the server dies ---- */

static void expect_gone(int replaced, unsigned kept, unsigned deleted)
{
	unsigned is_kept = 9, is_deleted = 9;

	jobs_set_server(&jobs, 0);
	jobs_server_gone(&jobs, replaced, &is_kept, &is_deleted);
	assert_int_equal(is_kept, kept);
	assert_int_equal(is_deleted, deleted);
}

static void test_server_gone(void **state)
{
	struct entry *entry = live_device("add null", NULL);

	expect_gone(1, 1, 0);
	expect("");
	assert_int_equal(entry->state, ENTRY_QUIESCED);
	assert_int_equal(handed_over(0)->info.state, UBLK_S_DEV_QUIESCED);
	/* Nobody comes after it. */
	expect_gone(0, 0, 1);
	expect("stop-3");
	/* It is under way already. */
	expect_gone(0, 0, 0);
	expect("");
	driver_answers(0);
	driver_answers(0);
	assert_null(jobs.entries);
}

/* The driver does not hold its I/O for anybody. */
static void test_server_gone_without_recovery(void **state)
{
	live_device("add null", NULL)->noted.recoverable = 0;
	expect_gone(1, 0, 1);
	expect("stop-3");
}

static void run(uint32_t type)
{
	struct message message = { .type = type, .id = ID };

	jobs_run(&jobs, &message, NULL, 0);
}

/* A START would wait for tags that nobody fetches, and STOP for it. */
static void test_server_gone_in_a_start(void **state)
{
	live_device("add null", NULL)->state = ENTRY_NEW;
	run(MESSAGE_START);
	expect("start-3");
	expect_gone(1, 0, 1);
	expect("cancel-start-3");
	driver_answers(-EINTR);
	expect("stop-3");
	assert_int_equal(told.answers, 0);
}

/* Its END_RECOVER is cancelled as well, and the next server tries again. */
static void test_server_gone_in_a_take_over(void **state)
{
	struct entry *entry = live_device("add null", NULL);

	run(MESSAGE_END_RECOVER);
	expect("end-recovery-3");
	expect_gone(1, 1, 0);
	expect("cancel-end-3");
	/* Too late: but for whom has it come to life? */
	driver_answers(0);
	assert_int_equal(told.answers, 0);
	assert_int_equal(entry->state, ENTRY_QUIESCED);
	expect("");
}

/* A driver that cannot give a device out twice has just done so. */
static void test_server_gone_behind_a_recover(void **state)
{
	live_device("add null", NULL);
	run(MESSAGE_RECOVER);
	driver_answers(0);
	driver_answers(-ETIME);
	expect("get-info-3 moment-3 recover-3");
	expect_gone(1, 1, 0);
	driver_answers(0);
	expect("stop-3");
	assert_true(noted()->deleting);
	driver_answers(0);
	driver_answers(0);
	assert_null(jobs.entries);
}

/* Before that nothing is lost. */
static void test_server_gone_before_a_recover(void **state)
{
	live_device("add null", NULL);
	run(MESSAGE_RECOVER);
	driver_answers(0);
	expect_gone(1, 1, 0);
	driver_answers(-ETIME);
	expect("get-info-3 moment-3");
	handed_over(0);
	/* Nor for drivers that do it twice. */
	jobs.features = UINT64_MAX;
	run(MESSAGE_RECOVER);
	expect("recover-3");
	expect_gone(1, 1, 0);
	driver_answers(0);
	expect("");
	handed_over(0);
}

/* What the driver has begun to stop is finished. */
static void test_server_gone_in_a_try_stop(void **state)
{
	live_device("add null", NULL);
	run(MESSAGE_TRY_STOP);
	expect("try-stop-3");
	expect_gone(1, 1, 0);
	driver_answers(0);
	expect("stop-3");
	driver_answers(0);
	driver_answers(0);
	assert_null(jobs.entries);
}

/* Another one may be refused, and then the device goes on. */
static void test_server_gone_in_a_try_stop_that_fails(void **state)
{
	live_device("add null", NULL);
	run(MESSAGE_TRY_STOP);
	expect("try-stop-3");
	expect_gone(1, 1, 0);
	driver_answers(-EBUSY);
	expect("");
	handed_over(0);
}

/* ---- requests ---- */

static void test_start(void **state)
{
	struct entry *entry = live_device("add null", NULL);

	entry->state = ENTRY_NEW;
	assert_true(jobs_are_busy(&jobs));
	run(MESSAGE_START);
	assert_int_equal(told.answers, 0);
	driver_answers(0);
	expect("start-3");
	assert_int_equal(told.answers, 1);
	assert_int_equal(told.answer.type, MESSAGE_START);
	assert_int_equal(entry->state, ENTRY_LIVE);
	assert_false(jobs_are_busy(&jobs));
	assert_int_equal(told.idles, 1);
}

static void test_add(void **state)
{
	struct message message = { .type = MESSAGE_ADD, .serial = 7 };

	jobs_run(&jobs, &message, NULL, 0);
	expect("add-3");
	driver_answers(0);
	assert_int_equal(told.answer.result, 0);
	assert_int_equal(told.answer.id, ID);
	assert_true(told.answer.serial == 7);
	assert_non_null(entry_find(jobs.entries, ID));
	assert_true(jobs_are_busy(&jobs));
}

static void test_add_fails(void **state)
{
	struct message message = { .type = MESSAGE_ADD };

	jobs_run(&jobs, &message, NULL, 0);
	driver_answers(-EEXIST);
	assert_int_equal(told.answer.result, -EEXIST);
	assert_null(jobs.entries);
	assert_int_equal(told.idles, 1);
}

static void test_refused(void **state)
{
	run(MESSAGE_STOP);
	assert_int_equal(told.answer.result, -ENODEV);
	live_device("add null", NULL);
	run(MESSAGE_STOP);
	told.answers = 0;
	run(MESSAGE_DELETE);
	assert_int_equal(told.answers, 1);
	assert_int_equal(told.answer.result, -EBUSY);
	expect("stop-3");
	assert_true(jobs_are_busy(&jobs));
	driver_answers(0);
	jobs.entries->state = ENTRY_TO_STOP;
	run(MESSAGE_DELETE);
	assert_int_equal(told.answer.result, -EBUSY);
	assert_true(jobs_can_run(MESSAGE_CANCEL));
	assert_true(jobs_can_run(MESSAGE_STOP));
	assert_false(jobs_can_run(MESSAGE_GO));
	assert_false(jobs_can_run(1000));
}

/* The id stays taken if the driver does not let go; nobody forgets it then. */
static void test_delete_fails(void **state)
{
	live_device("add null", NULL);
	run(MESSAGE_DELETE);
	driver_answers(-EBUSY);
	assert_int_equal(told.answer.result, -EBUSY);
	assert_non_null(entry_find(jobs.entries, ID));
	assert_true(state_has(&state_folder, ID));
	run(MESSAGE_DELETE);
	driver_answers(-ENODEV);
	assert_null(entry_find(jobs.entries, ID));
	assert_false(state_has(&state_folder, ID));
	assert_false(log_has("cannot be deleted"));
}

/* Of a dead server nobody will ask again. */
static void test_clean_up_fails(void **state)
{
	struct entry *entry = live_device("add null", NULL);

	entry->state = ENTRY_TO_STOP;
	jobs_clean_up(&jobs);
	driver_answers(0);
	expect("stop-3 delete-async-3");
	driver_answers(-EBUSY);
	assert_true(log_has("device 3 cannot be deleted"));
	assert_null(jobs.entries);
}

/* Only what waits for others is cancelled. */
static void test_cancel(void **state)
{
	live_device("add null", NULL);
	run(MESSAGE_CANCEL);
	expect("");
	run(MESSAGE_STOP);
	run(MESSAGE_CANCEL);
	jobs_hurry(&jobs);
	expect("stop-3");
	driver_answers(0);
	run(MESSAGE_DELETE);
	run(MESSAGE_CANCEL);
	jobs_hurry(&jobs);
	expect("delete-3 cancel-delete-3 cancel-delete-3");
	driver_answers(-ENODEV);
}

/* ---- tallies ---- */

static void test_configured(void **state)
{
	struct message message = { .type = MESSAGE_NOTE,
				   .id = ID,
				   .number = NOTE_RECOVERABLE | NOTE_CONFIGURED,
				   .text = "add null" };
	struct entry *entry = live_device("add null", NULL);

	assert_false(entry->noted.configured);
	jobs_run(&jobs, &message, NULL, 0);
	assert_true(entry->noted.configured);
	assert_int_equal(writes, 1);
	jobs_run(&jobs, &message, NULL, 0);
	assert_int_equal(writes, 1);
	assert_true(noted()->configured);
	handed_over(0);
	assert_int_equal(sent.messages[0].number, NOTE_CONFIGURED);
	entry_quiesce(entry, jobs.state, 1);
	assert_int_equal(writes, 2);
	assert_true(noted()->quiesced);
	entry_quiesce(entry, jobs.state, 1);
	assert_int_equal(writes, 2);
	handed_over(0);
	assert_int_equal(sent.messages[0].number,
			 NOTE_CONFIGURED | NOTE_QUIESCED);
	write_error = -ENOSPC;
	assert_int_equal(note("add null", NULL, 0), -ENOSPC);
	assert_true(entry->noted.configured);
}

static void test_tally(void **state)
{
	struct entry *entry = live_device("add null", NULL);

	assert_int_equal(take_tally(ID + 1, 5), -ENODEV);
	assert_int_equal(take_tally(ID, 5), 0);
	assert_int_equal(take_tally(ID, 5), 0);
	assert_int_equal(writes, 1);
	assert_true(noted()->tally == 5);
	/* It has happened, whether that can be written down or not. */
	write_error = -ENOSPC;
	assert_int_equal(take_tally(ID, 6), -ENOSPC);
	handed_over(0);
	assert_true(sent.messages[1].number == 6);
	write_error = 0;
	/* One that is being deleted is noted as that. */
	assert_int_equal(state_doom(&state_folder, ID), 0);
	entry->state = ENTRY_DELETING;
	assert_int_equal(take_tally(ID, 7), 0);
	assert_true(noted()->deleting);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	static const struct CMUnitTest tests[] = {
		TEST(test_close),
		TEST(test_full_ring),
		TEST(test_late),
		TEST(test_server_dies),
		TEST(test_note),
		TEST(test_note_the_same),
		TEST(test_configured),
		TEST(test_note_fails),
		TEST(test_first_note_fails),
		TEST(test_note_private),
		TEST(test_let_go_of_a_user_file),
		TEST(test_note_without_file),
		TEST(test_file_comes_back),
		TEST(test_other_file_comes),
		TEST(test_hand_over),
		TEST(test_restore),
		TEST(test_server_gone),
		TEST(test_server_gone_without_recovery),
		TEST(test_server_gone_in_a_start),
		TEST(test_server_gone_in_a_take_over),
		TEST(test_server_gone_behind_a_recover),
		TEST(test_server_gone_before_a_recover),
		TEST(test_server_gone_in_a_try_stop),
		TEST(test_server_gone_in_a_try_stop_that_fails),
		TEST(test_start),
		TEST(test_add),
		TEST(test_add_fails),
		TEST(test_refused),
		TEST(test_delete_fails),
		TEST(test_clean_up_fails),
		TEST(test_cancel),
		TEST(test_tally),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
