/* Another process' descriptors, held until it has ended. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/rings.h"
#include "support.h"

static struct rings rings;
static pid_t child;
static struct proc held; /* the same */
static int reader;	 /* at its end once nobody has the child's pipe */
static int writer;	 /* the child's descriptor */

static int malloc_fails;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return malloc_fails ? NULL : __real_malloc(size);
}

/* A process that has the pipe alone. */
static void start_child(void)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		poll(NULL, 0, 60000);
		_exit(0);
	}
	assert_int_equal(proc_open(&held, child), 0);
	reader = ends[0];
	writer = ends[1];
	close(writer);
}

static void end_child(void)
{
	proc_kill(&held);
	assert_int_equal(waitpid(child, NULL, 0), child);
	proc_close(&held);
}

static int is_held(void)
{
	struct pollfd end = { .fd = reader, .events = POLLIN };

	return poll(&end, 1, 0) == 0;
}

static int take(uint32_t id)
{
	return rings_take(&rings, &held, id, writer);
}

static void test_until_dropped(void **state)
{
	start_child();
	assert_int_equal(take(3), 0);
	end_child();
	assert_true(is_held());
	rings_drop(&rings);
	assert_false(is_held());
	rings_drop(&rings);
	close(reader);
}

/* The pipe's other end, for a device that goes before the one beside it. */
static void test_one_device(void **state)
{
	start_child();
	assert_int_equal(take(3), 0);
	assert_int_equal(take(4), 0);
	assert_int_equal(take(3), 0);
	end_child();
	rings_release(&rings, 4);
	assert_true(is_held());
	rings_release(&rings, 5);
	assert_true(is_held());
	rings_release(&rings, 3);
	assert_false(is_held());
	close(reader);
}

static void test_errors(void **state)
{
	struct proc dead;

	start_child();
	assert_int_equal(rings_take(&rings, &held, 3, 1000), -EBADF);
	malloc_fails = 1;
	assert_int_equal(take(3), -ENOMEM);
	malloc_fails = 0;
	assert_int_equal(proc_open(&dead, child), 0);
	end_child();
	assert_false(is_held());
	assert_int_equal(take(3), -ESRCH);
	/* Whoever has its number by now is not asked. */
	assert_int_equal(rings_take(&rings, &dead, 3, writer), -ESRCH);
	proc_close(&dead);
	assert_null(rings.first);
	close(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_until_dropped),
		cmocka_unit_test(test_one_device),
		cmocka_unit_test(test_errors),
	};

	/* Containers may forbid it, and kernels before 5.6 cannot. */
	if (!host_has_pidfd_getfd())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
