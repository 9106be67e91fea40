/* The opener: nothing waits for a path, and nothing is left of one in vain. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakering.h"
#include "opener.h"

/* ---- what was put into the ring ---- */

static struct {
	unsigned opens, probes, cancels;
	int flags, mode;
	char path[512];
	struct ring_transfer probe;
	uint64_t data, victim;
	unsigned workers;
} seen;

static struct opener_result told;
static unsigned tells;

int __wrap_ring_put_open(struct ring *ring, const char *path, int flags,
			 mode_t mode, uint64_t data);
int __wrap_ring_put_transfer(struct ring *ring,
			     const struct ring_transfer *transfer,
			     uint64_t data);
int __wrap_ring_put_cancel(struct ring *ring, uint64_t victim, uint64_t data);
int __wrap_ring_allow_workers(struct ring *ring, unsigned count);

int __wrap_ring_put_open(struct ring *ring, const char *path, int flags,
			 mode_t mode, uint64_t data)
{
	(void)ring;
	if (fake_ring.put_error)
		return fake_ring.put_error;
	seen.opens++;
	seen.flags = flags;
	seen.mode = (int)mode;
	seen.data = data;
	seen.path[0] = '\0';
	add_text(seen.path, sizeof(seen.path), path);
	return 0;
}

int __wrap_ring_put_transfer(struct ring *ring,
			     const struct ring_transfer *transfer,
			     uint64_t data)
{
	(void)ring;
	seen.probes++;
	seen.probe = *transfer;
	assert_int_equal(data, seen.data);
	return 0;
}

int __wrap_ring_put_cancel(struct ring *ring, uint64_t victim, uint64_t data)
{
	(void)ring;
	assert_int_equal(data, 0);
	seen.cancels++;
	seen.victim = victim;
	return 0;
}

int __wrap_ring_allow_workers(struct ring *ring, unsigned count)
{
	(void)ring;
	seen.workers = count;
	return 0;
}

/* ---- one that is opened ---- */

static void on_opened(void *context, const struct opener_result *result)
{
	assert_ptr_equal(context, &told);
	told = *result;
	tells++;
}

static void begin(int create, uint64_t length, int punch)
{
	struct opener_wish wish = { .path = test_path("file"),
				    .flags = O_RDWR,
				    .create = create,
				    .length = length,
				    .punch = punch };

	assert_int_equal(opener_open(test_loop, &wish, on_opened, &told), 0);
}

static int open_file(int flags)
{
	int fd = open(test_path("file"), O_RDWR | O_CLOEXEC | flags, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void complete(int32_t result)
{
	fake_complete(seen.data, result);
	settle();
}

static unsigned fds;

static int setup(void **state)
{
	(void)state;
	test_folder();
	memset(&seen, 0, sizeof(seen));
	memset(&told, 0, sizeof(told));
	tells = 0;
	fake_ring_start();
	test_loop_open();
	fds = count_fds();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(count_fds(), fds);
	assert_int_equal(fake_ring.destroyed, fake_ring.created);
	test_loop_close();
	fake_ring_stop();
	test_folder_remove();
	return 0;
}

static void test_open(void **state)
{
	(void)state;
	test_file("file", "");
	begin(0, 0, 0);
	assert_int_equal(tells, 0);
	assert_int_equal(seen.flags, O_RDWR);
	assert_string_equal(seen.path, test_path("file"));
	complete(open_file(0));
	assert_int_equal(tells, 1);
	assert_true(told.fd >= 0);
	assert_int_equal(told.is_new, 0);
	close(told.fd);
}

static void test_errors(void **state)
{
	struct opener_wish wish = { .path = "/" };

	(void)state;
	begin(0, 0, 1);
	complete(-ENOENT);
	assert_int_equal(told.fd, -ENOENT);
	begin(1, 4096, 1);
	complete(-EACCES);
	assert_int_equal(told.fd, -EACCES);
	fake_ring.put_error = -EBUSY;
	assert_int_equal(opener_open(test_loop, &wish, on_opened, &told),
			 -EBUSY);
	fake_ring.create_error = -EMFILE;
	assert_int_equal(opener_open(test_loop, &wish, on_opened, &told),
			 -EMFILE);
	assert_int_equal(tells, 2);
}

static void test_probe(void **state)
{
	(void)state;
	test_file("file", "some bytes");
	begin(0, 0, 1);
	complete(open_file(0));
	assert_int_equal(tells, 0);
	assert_int_equal(seen.probes, 1);
	assert_int_equal(seen.probe.op, RING_FALLOCATE);
	assert_int_equal(seen.probe.flags,
			 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	/* It touches nothing that is there. */
	assert_true(seen.probe.offset >= 1 << 20);
	complete(0);
	assert_true(told.fd >= 0);
	assert_int_equal(told.can_punch, 1);
	close(told.fd);
	begin(0, 0, 1);
	complete(open_file(0));
	complete(-EOPNOTSUPP);
	assert_true(told.fd >= 0);
	assert_int_equal(told.can_punch, 0);
	close(told.fd);
}

static void test_create(void **state)
{
	struct stat status;

	(void)state;
	begin(1, 12345, 0);
	complete(-ENOENT);
	assert_int_equal(seen.opens, 2);
	assert_int_equal(seen.flags, O_RDWR | O_CREAT | O_EXCL);
	assert_int_equal(seen.mode, 0600);
	complete(open_file(O_CREAT));
	assert_int_equal(told.is_new, 1);
	assert_int_equal(fstat(told.fd, &status), 0);
	assert_int_equal(status.st_size, 12345);
	close(told.fd);
}

/* A file that cannot be as long is not left. */
static void test_create_fails(void **state)
{
	(void)state;
	begin(1, UINT64_MAX, 0);
	complete(-ENOENT);
	complete(open_file(O_CREAT));
	assert_int_equal(told.fd, -EINVAL);
	assert_int_equal(access(test_path("file"), F_OK), -1);
}

/* Somebody is told in time; what comes later is closed, and removed. */
static void test_late(void **state)
{
	(void)state;
	begin(1, 4096, 0);
	complete(-ENOENT);
	pass_time(OPENER_PATIENCE - 1);
	assert_int_equal(tells, 0);
	pass_time(2);
	assert_int_equal(tells, 1);
	assert_int_equal(told.fd, -ETIMEDOUT);
	assert_int_equal(seen.cancels, 1);
	assert_int_equal(seen.victim, seen.data);
	fake_complete(0, -EALREADY);
	settle();
	assert_int_equal(fake_ring.destroyed, 0);
	complete(open_file(O_CREAT));
	assert_int_equal(tells, 1);
	assert_int_equal(access(test_path("file"), F_OK), -1);
}

/* As many more may block as there are. */
static void test_workers(void **state)
{
	unsigned base;

	(void)state;
	begin(0, 0, 0);
	base = seen.workers;
	complete(-ENOENT);
	assert_int_equal(seen.workers, base - 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_open),    TEST(test_errors),	     TEST(test_probe),
		TEST(test_create),  TEST(test_create_fails), TEST(test_late),
		TEST(test_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
