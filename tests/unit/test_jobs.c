/* The keeper's jobs: how it lets go of what a deleted device held. */
/* NOLINTNEXTLINE(bugprone-suspicious-include): its functions are static */
#include "../../src/jobs.c"

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
} ring;

static struct {
	unsigned answers, idles;
	struct message answer;
} told;

int __wrap_ring_put_close(struct ring *of, int fd, uint64_t data);
int __wrap_ring_submit(struct ring *of);
int __wrap_notify_unstore(const char *name);

int __wrap_ring_put_close(struct ring *of, int fd, uint64_t data)
{
	(void)of;
	if (ring.put_error)
		return ring.put_error;
	ring.closing[ring.closes++] = fd;
	ring.data = data;
	return 0;
}

int __wrap_ring_submit(struct ring *of)
{
	(void)of;
	ring.submits++;
	return 0;
}

static unsigned unstored;

int __wrap_notify_unstore(const char *name)
{
	assert_memory_equal(name, "device-3-", 9);
	unstored++;
	return 0;
}

static void on_told(struct jobs *of, const struct message *message)
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

static int start(void **state)
{
	(void)state;
	test_loop_open();
	memset(&ring, 0, sizeof(ring));
	memset(&told, 0, sizeof(told));
	unstored = 0;
	log_forget();
	assert_int_equal(
		state_open(&state_folder, test_path("state"), &failure), 0);
	jobs = (struct jobs){ .loop = test_loop,
			      .state = &state_folder,
			      .answer = on_told,
			      .idle = on_idle,
			      .generation = 1 };
	return 0;
}

static int stop(void **state)
{
	(void)state;
	assert_null(jobs.entries);
	state_close(&state_folder);
	test_folder_remove();
	test_loop_close();
	return 0;
}

/* The driver has deleted a device that held two files. */
static void delete_device(void)
{
	struct ublk_dev_info info = { .dev_id = ID };
	struct state_device noted = { .id = ID, .words = "add null" };
	int fds[2] = { open("/dev/null", O_RDONLY | O_CLOEXEC),
		       open("/dev/null", O_RDONLY | O_CLOEXEC) };
	struct job *job;

	assert_int_equal(jobs_restore(&jobs, &info, &noted, 0, fds, 2), 0);
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

	(void)state;
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

	(void)state;
	ring.put_error = -EBUSY;
	delete_device();
	assert_int_equal(told.answers, 1);
	assert_int_equal(count_fds(), fds);
}

/* Its number can be used again; but this process cannot end. */
static void test_late(void **state)
{
	(void)state;
	delete_device();
	end_close();
	pass_time(CLOSE_PATIENCE - 1);
	assert_int_equal(told.answers, 0);
	pass_time(2);
	assert_int_equal(told.answers, 1);
	assert_true(log_has("device 3 is deleted, but what it held"));
	assert_false(jobs_has(&jobs, ID));
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

	(void)state;
	delete_device();
	jobs.entries->deleting = 1;
	jobs_set_server(&jobs, 0);
	jobs_server_gone(&jobs, 1, &kept, &deleted);
	end_close();
	end_close();
	assert_int_equal(told.answers, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	static const struct CMUnitTest tests[] = {
		TEST(test_close),
		TEST(test_full_ring),
		TEST(test_late),
		TEST(test_server_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
