/*
 * A real ring: which completions end a sleep. The commands are for /dev/null,
 * which takes any (Linux 6.2).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ring.h"
#include "support.h"

#define TIMEOUT_MS 50

static struct ring *ring;

static int start(void **state)
{
	int error, fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	ring = ring_create(8, 0, &error);
	if (ring && ring_register_file(ring, fd) < 0) {
		ring_destroy(ring);
		ring = NULL;
	}
	close(fd);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	ring_destroy(ring);
	return 0;
}

static void put(int is_quiet, uint64_t data)
{
	static const uint8_t command[16];

	assert_int_equal(
		ring_put_immediate(ring, 1, command, 0, is_quiet, data), 0);
}

/* Skips where there are no such commands. */
static void need_commands(void)
{
	struct ring_event event;

	if (!ring)
		skip();
	put(0, 1);
	assert_int_equal(ring_wait(ring, &event), 0);
	if (event.result < 0)
		skip();
}

static unsigned reap(uint64_t *sum)
{
	struct ring_event events[8];
	unsigned count = ring_reap(ring, events, COUNT(events)), i;

	for (*sum = 0, i = 0; i < count; i++)
		*sum += events[i].data;
	return count;
}

/* It lasts until something else happens, and the answers are there then. */
static void test_answers_do_not_wake(void **state)
{
	uint64_t sum;

	(void)state;
	need_commands();
	put(0, 1);
	put(0, 10);
	assert_int_equal(ring_put_timeout(ring, TIMEOUT_MS, 100), 0);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 3);
	assert_int_equal(sum, 111);
	/* And not longer than for that. */
	assert_int_equal(ring_put_timeout(ring, TIMEOUT_MS, 100), 0);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 1);
}

/* What went before the sleep is no reason to sleep longer. */
static void test_answers_before(void **state)
{
	uint64_t sum;

	(void)state;
	need_commands();
	put(0, 1);
	assert_int_equal(ring_submit(ring), 0);
	assert_int_equal(reap(&sum), 1);
	assert_int_equal(ring_put_timeout(ring, TIMEOUT_MS, 100), 0);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 1);
	/* Nor is one that lies there: the sleep ends at once. */
	put(0, 1);
	assert_int_equal(ring_submit(ring), 0);
	put(0, 10);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 2);
	assert_int_equal(sum, 11);
}

static void test_quiet(void **state)
{
	uint64_t sum;

	(void)state;
	need_commands();
	put(1, 1);
	assert_int_equal(ring_put_timeout(ring, TIMEOUT_MS, 100), 0);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 1);
	assert_int_equal(sum, 100);
}

/* Whatever is asked for is there, and more if the pages have it. */
static void test_intake(void **state)
{
	uint32_t half = 200;
	const char *bytes;
	int error;

	(void)state;
	if (!ring)
		skip();
	error = ring_make_intake(ring, &half);
	if (error == -EINVAL)
		skip(); /* Linux 6.12 */
	assert_int_equal(error, 0);
	assert_true(half >= 200 && half < 4096 && half % 8 == 0);
	bytes = ring_intake(ring);
	assert_non_null(bytes);
	assert_int_equal(bytes[0] | bytes[2 * half - 1], 0);
	assert_int_equal(ring_intake_end(ring, 0), 0);
	assert_int_equal(ring_intake_end(ring, half), half);
}

/* Only then is the file free, not when the close itself completes. */
static void test_close(void **state)
{
	struct ring_event event;
	int ends[2], i;
	char byte;

	(void)state;
	if (!ring)
		skip();
	for (i = 0; i < 200; i++) {
		assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
		assert_int_equal(ring_put_close(ring, ends[1], 7), 0);
		do {
			assert_int_equal(ring_wait(ring, &event), 0);
		} while (event.data != 7);
		/* The pipe's end, and not -EAGAIN. */
		assert_int_equal(read(ends[0], &byte, 1), 0);
		close(ends[0]);
	}
}

/* A close needs two places, together; no more than there are. */
static void test_close_in_full_ring(void **state)
{
	uint64_t sum, all = 0;
	int i;

	(void)state;
	if (!ring)
		skip();
	for (i = 0; i < 7; i++)
		assert_int_equal(ring_put_timeout(ring, 1, 1), 0);
	assert_int_equal(ring_put_close(ring, open("/dev/null", O_RDONLY), 100),
			 0);
	assert_int_equal(ring_submit(ring), 0);
	while (all < 107) {
		ring_clear_event(ring);
		reap(&sum);
		all += sum;
		usleep(1000);
	}
	assert_int_equal(all, 107);
}

static void test_unlink(void **state)
{
	struct ring_event event;

	(void)state;
	if (!ring)
		skip();
	test_folder();
	test_file("file", "");
	assert_int_equal(ring_put_unlink(ring, test_path("file"), 7), 0);
	assert_int_equal(ring_wait(ring, &event), 0);
	assert_int_equal(event.result, 0);
	assert_int_equal(access(test_path("file"), F_OK), -1);
	test_folder_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(test_answers_do_not_wake),
		TEST(test_answers_before),
		TEST(test_quiet),
		TEST(test_intake),
		TEST(test_close),
		TEST(test_close_in_full_ring),
		TEST(test_unlink),
#undef TEST
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
