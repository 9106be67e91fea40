/* The opener: nothing waits for a path, and nothing is left of one in vain. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakering.h"
#include "target/opener.h"
#include "io/workers.h"

/* ---- what was put into the ring ---- */

static struct {
	unsigned opens, transfers, cancels, closes, unlinks;
	int flags, mode;
	char path[512];
	struct ring_transfer transfer;
	uint64_t data, victim;
	int closing; /* the descriptor, closed when its request completes */
	int close_error, unlink_error, transfer_error; /* no room for it */
	unsigned workers;
} seen;

static struct opener_result told;
static unsigned tells;
static int closed_error;

int __wrap_ring_put_open(struct ring *ring, const char *path, int flags,
			 mode_t mode, uint64_t data)
{
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
	if (seen.transfer_error)
		return seen.transfer_error;
	seen.transfers++;
	seen.transfer = *transfer;
	if (seen.opens)
		assert_int_equal(data, seen.data);
	seen.data = data;
	return 0;
}

int __wrap_ring_put_close(struct ring *ring, int fd, uint64_t data)
{
	if (seen.close_error)
		return seen.close_error;
	assert_int_equal(seen.closing, -1); /* one at a time here */
	seen.closes++;
	seen.closing = fd;
	seen.data = data;
	return 0;
}

int __wrap_ring_put_unlink(struct ring *ring, const char *path, uint64_t data)
{
	if (seen.unlink_error)
		return seen.unlink_error;
	assert_string_equal(path, test_path("file"));
	seen.unlinks++;
	seen.data = data;
	return 0;
}

int __wrap_ring_put_cancel(struct ring *ring, uint64_t victim, uint64_t data)
{
	assert_int_equal(data, 0);
	seen.cancels++;
	seen.victim = victim;
	return 0;
}

int __wrap_ring_allow_workers(struct ring *ring, unsigned count)
{
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

static void begin(int create, uint64_t length)
{
	struct opener_wish wish = { .path = test_path("file"),
				    .flags = O_RDWR,
				    .create = create,
				    .length = length };

	assert_int_equal(opener_open(test_loop, &wish, on_opened, &told), 0);
}

/* Somebody was told once, of this errno. */
static void expect_told(int error)
{
	assert_int_equal(tells, 1);
	assert_int_equal(told.fd, error);
}

static int open_file(int flags)
{
	int fd = open(test_path("file"), O_RDWR | O_CLOEXEC | flags, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void complete(int32_t result)
{
	if (seen.closing >= 0)
		close(seen.closing);
	seen.closing = -1;
	fake_complete(seen.data, result);
	settle();
}

/* Nothing of ours is in a worker. */
static int workers_are_free(void)
{
	int is_free = workers_drain();

	workers_resume();
	return is_free;
}

static unsigned fds;

int before_each(void **state)
{
	test_folder();
	memset(&seen, 0, sizeof(seen));
	memset(&told, 0, sizeof(told));
	seen.closing = -1;
	tells = 0;
	fake_ring_start();
	test_loop_open();
	fds = count_fds();
	return 0;
}

int after_each(void **state)
{
	assert_int_equal(count_fds(), fds);
	assert_int_equal(fake_ring.destroyed, fake_ring.created);
	assert_true(workers_are_free());
	test_loop_close();
	fake_ring_stop();
	test_folder_remove();
	return 0;
}

TEST_CASE(test_open)
{
	test_file("file", "");
	begin(0, 0);
	assert_int_equal(tells, 0);
	assert_int_equal(seen.flags, O_RDWR);
	assert_string_equal(seen.path, test_path("file"));
	complete(open_file(0));
	assert_int_equal(tells, 1);
	assert_true(told.fd >= 0);
	assert_int_equal(told.is_new, 0);
	close(told.fd);
}

TEST_CASE(test_errors)
{
	struct opener_wish wish = { .path = "/" };

	begin(0, 0);
	complete(-ENOENT);
	assert_int_equal(told.fd, -ENOENT);
	begin(1, 4096);
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

/* Whoever refuses the file later has changed nothing of it. */
TEST_CASE(test_open_touches_nothing)
{
	test_file("file", "some bytes");
	begin(1, 1 << 20);
	complete(open_file(0));
	assert_int_equal(tells, 1);
	assert_int_equal(told.is_new, 0);
	assert_int_equal(seen.opens, 1);
	assert_int_equal(seen.transfers, 0);
	close(told.fd);
}

/* A file is being made, and is there now. */
static void create(uint64_t length)
{
	begin(1, length);
	complete(-ENOENT);
	assert_int_equal(seen.opens, 2);
	assert_int_equal(seen.flags, O_RDWR | O_CREAT | O_EXCL);
	assert_int_equal(seen.mode, 0600);
	complete(open_file(O_CREAT));
}

static void expect_extension(uint64_t length)
{
	assert_int_equal(seen.transfer.op, RING_FALLOCATE);
	assert_int_equal(seen.transfer.flags, 0);
	assert_int_equal(seen.transfer.offset, length - 1);
	assert_int_equal(seen.transfer.length, 1);
	assert_int_equal(seen.transfer.wait, 1);
}

TEST_CASE(test_create)
{
	create(12345);
	assert_int_equal(tells, 0);
	assert_int_equal(seen.transfers, 1);
	expect_extension(12345);
	complete(0);
	assert_int_equal(told.is_new, 1);
	assert_int_equal(told.fd, seen.transfer.fd);
	close(told.fd);
}

/* NFS before 4.2, exfat */
TEST_CASE(test_create_without_fallocate)
{
	create(12345);
	complete(-EOPNOTSUPP);
	assert_int_equal(tells, 0);
	assert_int_equal(seen.transfers, 2);
	assert_int_equal(seen.transfer.op, RING_WRITE);
	assert_int_equal(seen.transfer.offset, 12344);
	assert_int_equal(seen.transfer.length, 1);
	assert_int_equal(*(const char *)seen.transfer.bytes, 0);
	assert_int_equal(seen.transfer.wait, 1);
	complete(1);
	assert_int_equal(told.is_new, 1);
	assert_int_equal(told.fd, seen.transfer.fd);
	close(told.fd);
}

/* What is made in vain goes again, before that is told. */
static void expect_undone(int error)
{
	assert_int_equal(tells, 0);
	assert_int_equal(seen.unlinks, 1);
	assert_int_equal(seen.closes, 0);
	complete(0);
	assert_int_equal(tells, 0);
	assert_int_equal(seen.closes, 1);
	complete(0);
	expect_told(error);
}

/* A file that cannot be as long is not left. */
TEST_CASE(test_create_fails)
{
	create(UINT64_MAX);
	complete(-EFBIG);
	expect_undone(-EFBIG);
}

TEST_CASE(test_create_fails_without_fallocate)
{
	create(4096);
	complete(-EOPNOTSUPP);
	complete(-ENOSPC);
	expect_undone(-ENOSPC);
}

/* The write of one byte has not written it. */
TEST_CASE(test_create_writes_nothing)
{
	create(4096);
	complete(-EOPNOTSUPP);
	complete(0);
	expect_undone(-EIO);
}

/* There is no room for requests: then it is done without. */
TEST_CASE(test_undo_without_room)
{
	seen.transfer_error = seen.close_error = seen.unlink_error = -EBUSY;
	create(4096);
	expect_told(-EBUSY);
	assert_int_equal(access(test_path("file"), F_OK), -1);
}

/* ---- what others read and write ---- */

static unsigned asked;
static int32_t was[4];
static unsigned transfers_wanted;

static int next_transfer(void *context, int32_t result,
			 struct ring_transfer *transfer)
{
	assert_ptr_equal(context, &told);
	was[asked++] = result;
	if (result < 0)
		return result;
	if (asked > transfers_wanted)
		return 0;
	transfer->op = RING_READ;
	transfer->fd = 7;
	transfer->offset = (uint64_t)asked * 512;
	return 1;
}

static void on_run(void *context, int error)
{
	assert_ptr_equal(context, &told);
	tells++;
	told.fd = error;
}

static int run_transfers(unsigned count)
{
	asked = 0;
	transfers_wanted = count;
	return opener_run(test_loop, next_transfer, on_run, &told);
}

TEST_CASE(test_run)
{
	assert_int_equal(run_transfers(2), 0);
	assert_int_equal(seen.transfer.offset, 512);
	assert_int_equal(seen.transfer.wait, 1);
	assert_int_equal(seen.transfer.fd, 7);
	assert_false(workers_are_free());
	complete(100);
	assert_int_equal(tells, 0);
	assert_int_equal(seen.transfer.offset, 1024);
	/* It has all the time it needs. */
	pass_time(2 * OPENER_PATIENCE);
	assert_int_equal(tells, 0);
	complete(200);
	expect_told(0);
	assert_int_equal(was[1], 100);
	assert_int_equal(was[2], 200);
	assert_int_equal(seen.closes, 0);
}

TEST_CASE(test_run_fails)
{
	assert_int_equal(run_transfers(2), 0);
	complete(-EIO);
	expect_told(-EIO);
	tells = 0;
	/* There is no room for the second one. */
	assert_int_equal(run_transfers(2), 0);
	seen.transfer_error = -EBUSY;
	complete(1);
	expect_told(-EBUSY);
	tells = 0;
	assert_int_equal(run_transfers(1), -EBUSY);
	assert_int_equal(run_transfers(0), 1);
	fake_ring.create_error = -EMFILE;
	assert_int_equal(run_transfers(1), -EMFILE);
	assert_int_equal(tells, 0);
}

/* Somebody is told in time; what comes later is closed, and removed. */
TEST_CASE(test_late)
{
	begin(1, 4096);
	complete(-ENOENT);
	pass_time(OPENER_PATIENCE - 1);
	assert_int_equal(tells, 0);
	pass_time(2);
	expect_told(-ETIMEDOUT);
	assert_int_equal(seen.cancels, 1);
	assert_int_equal(seen.victim, seen.data);
	fake_complete(0, -EALREADY);
	settle();
	assert_int_equal(fake_ring.destroyed, 0);
	complete(open_file(O_CREAT));
	complete(0);
	assert_int_equal(seen.unlinks, 1);
	complete(0);
	assert_int_equal(seen.closes, 1);
	assert_int_equal(fake_ring.destroyed, 0);
	complete(0);
	assert_int_equal(tells, 1);
}

/* ---- one that is closed ---- */

static void on_closed(void *context, int error)
{
	assert_ptr_equal(context, &told);
	closed_error = error;
	tells++;
}

static void expect_closed(int error)
{
	assert_int_equal(tells, 1);
	assert_int_equal(closed_error, error);
}

static unsigned close_file(const char *path)
{
	return opener_close(test_loop, open_file(O_CREAT), path, on_closed,
			    &told);
}

TEST_CASE(test_close)
{
	unsigned base;

	assert_int_equal(close_file(NULL), 1);
	base = seen.workers;
	settle();
	assert_int_equal(tells, 0);
	assert_int_equal(seen.closes, 1);
	assert_int_equal(seen.unlinks, 0);
	complete(0);
	expect_closed(0);
	assert_int_equal(access(test_path("file"), F_OK), 0);
	assert_int_equal(seen.workers, base - 1);
	/* Nobody need wait for it. */
	assert_int_equal(
		opener_close(test_loop, open_file(0), NULL, NULL, NULL), 1);
	complete(0);
	assert_int_equal(tells, 1);
}

TEST_CASE(test_remove)
{
	assert_int_equal(close_file(test_path("file")), 1);
	expect_undone(0);
	assert_int_equal(closed_error, 0);
	tells = 0;
	assert_int_equal(opener_close(test_loop, -1, test_path("file"),
				      on_closed, &told),
			 1);
	assert_int_equal(seen.unlinks, 2);
	/* Whatever it says. */
	complete(-EROFS);
	assert_int_equal(seen.closes, 1);
	expect_closed(0);
}

/* The answer comes in time, the log says why, and the ring stays for it. */
TEST_CASE(test_close_late)
{
	assert_int_equal(close_file(NULL), 1);
	pass_time(OPENER_PATIENCE - 1);
	assert_int_equal(tells, 0);
	pass_time(2);
	expect_closed(-ETIMEDOUT);
	assert_true(log_has("/file is not closed within"));
	/* It goes on: cancelled, it would be open for ever. */
	assert_int_equal(seen.cancels, 0);
	assert_int_equal(fake_ring.destroyed, 0);
	complete(0);
	assert_int_equal(tells, 1);
	/* Also where nobody waits for the end. */
	log_forget();
	assert_int_equal(
		opener_close(test_loop, open_file(0), NULL, NULL, NULL), 1);
	pass_time(OPENER_PATIENCE + 1);
	assert_true(log_has("/file is not closed within"));
	assert_int_equal(seen.cancels, 0);
	complete(0);
	assert_int_equal(tells, 1);
}

/* The kernel takes it at the second try. */
TEST_CASE(test_close_is_not_taken)
{
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 1;
	assert_int_equal(close_file(NULL), 1);
	assert_int_equal(fake_ring.raises, 1);
	settle();
	assert_true(fake_ring.submits >= 2);
	complete(0);
	assert_int_equal(tells, 1);
}

/* Without a ring, or with a full one, it is closed and removed at once. */
TEST_CASE(test_close_without_ring)
{
	fake_ring.create_error = -EMFILE;
	assert_int_equal(close_file(test_path("file")), 0);
	assert_int_equal(access(test_path("file"), F_OK), -1);
	fake_ring.create_error = 0;
	seen.close_error = seen.unlink_error = -EBUSY;
	assert_int_equal(close_file(test_path("file")), 0);
	assert_int_equal(access(test_path("file"), F_OK), -1);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(tells, 0);
}

/* Its ring is full while another one is under way. */
TEST_CASE(test_close_beside_another)
{
	begin(0, 0);
	seen.close_error = -EBUSY;
	assert_int_equal(close_file(NULL), 0);
	assert_int_equal(fake_ring.destroyed, 0);
	complete(-ENOENT);
	expect_told(-ENOENT);
}

/* Who wants to know when it is closed gets nothing else. */
TEST_CASE(test_close_patiently)
{
	assert_int_equal(opener_close_patiently(test_loop, open_file(O_CREAT),
						on_closed, &told),
			 1);
	pass_time(10 * OPENER_PATIENCE);
	assert_int_equal(tells, 0);
	assert_int_equal(seen.unlinks, 0);
	complete(0);
	expect_closed(0);
}

/* ---- one that becomes longer ---- */

static int longer;

static struct opening *grow(uint64_t size)
{
	struct opening *opening;
	int error = 1;

	longer = open_file(O_CREAT);
	opening =
		opener_grow(test_loop, longer, size, on_closed, &told, &error);
	assert_int_equal(error, 0);
	assert_non_null(opening);
	return opening;
}

/* By a descriptor of the opener's own, which is closed behind it. */
TEST_CASE(test_grow)
{
	unsigned base;

	grow(12345);
	base = seen.workers;
	assert_int_equal(seen.transfers, 1);
	expect_extension(12345);
	assert_int_not_equal(seen.transfer.fd, longer);
	assert_int_equal(fcntl(seen.transfer.fd, F_GETFD), FD_CLOEXEC);
	close(longer);
	/* However long that takes. */
	pass_time(3 * OPENER_PATIENCE);
	assert_int_equal(tells, 0);
	assert_false(workers_are_free());
	complete(-ENOSPC);
	expect_closed(-ENOSPC);
	assert_int_equal(seen.closing, seen.transfer.fd);
	assert_int_equal(seen.unlinks, 0);
	assert_false(workers_are_free());
	complete(0);
	assert_int_equal(tells, 1);
	assert_int_equal(seen.workers, base - 1);
	assert_true(workers_are_free());
}

/* The device is gone before that: nothing is left but a request that ends. */
TEST_CASE(test_grow_is_forgotten)
{
	struct opening *opening = grow(4096);

	opener_forget(opening);
	opener_forget(NULL);
	close(longer);
	assert_false(workers_are_free());
	complete(0);
	complete(0);
	assert_int_equal(tells, 0);
	assert_true(workers_are_free());
}

static void expect_no_growth(int fd, int expected)
{
	int error = 1;

	assert_null(opener_grow(test_loop, fd, 4096, on_closed, &told, &error));
	assert_int_equal(error, expected);
	assert_true(workers_are_free());
}

TEST_CASE(test_grow_errors)
{
	int fd = open_file(O_CREAT);

	expect_no_growth(-1, -EBADF);
	seen.transfer_error = -EBUSY;
	expect_no_growth(fd, -EBUSY);
	fake_ring.create_error = -EMFILE;
	expect_no_growth(fd, -EMFILE);
	close(fd);
	assert_int_equal(tells, 0);
}

/* As many more may block as there are. */
TEST_CASE(test_workers)
{
	unsigned base;

	begin(0, 0);
	base = seen.workers;
	complete(-ENOENT);
	assert_int_equal(seen.workers, base - 1);
}

int main(void)
{
	return tests_run();
}
