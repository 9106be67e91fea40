/*
 * A real ring. What is put is looked at where the kernel would read it, in the
 * pages that the ring's descriptor maps; what it does is seen with files, pipes,
 * and commands for /dev/null, which takes any (Linux 6.2).
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/ring.h"
#include "support.h"

#define ENTRIES	   8
#define TIMEOUT_MS 50
#define SLOT	   1 /* a fixed file */

static struct ring *ring;
static int null_fd;

/* What the next submits return instead of submitting; 1: they do. */
static int submits[2] = { 1, 1 };

int __real_io_uring_submit(struct io_uring *uring);

int __wrap_io_uring_submit(struct io_uring *uring)
{
	int now = submits[0];

	submits[0] = submits[1];
	submits[1] = 1;
	return now == 1 ? __real_io_uring_submit(uring) : now;
}

/* What sleeping in the kernel returns instead of that; 0: it is done. */
static int sleeps;

int __real_io_uring_enter(unsigned fd, unsigned count, unsigned least,
			  unsigned flags, sigset_t *signals);

int __wrap_io_uring_enter(unsigned fd, unsigned count, unsigned least,
			  unsigned flags, sigset_t *signals)
{
	return sleeps ? sleeps
		      : __real_io_uring_enter(fd, count, least, flags, signals);
}

int before_each(void **state)
{
	int error;

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(null_fd >= 0);
	if (!host_has_io_uring())
		return 0;
	ring = ring_create(ENTRIES, 0, &error);
	assert_non_null(ring);
	assert_int_equal(ring_register_file(ring, null_fd), 0);
	return 0;
}

int after_each(void **state)
{
	ring_destroy(ring);
	ring = NULL;
	close(null_fd);
	test_folder_remove();
	return 0;
}

static void need_ring(void)
{
	if (!ring)
		skip_without("io_uring");
}

/* Skips where /dev/null takes no commands. */
static void need_commands(void)
{
	need_ring();
	if (!host_has_linux(6, 2))
		skip_without("Linux 6.2");
}

/* A file with that text, open; its name is gone. */
static int open_file(const char *text)
{
	int fd;

	test_file("file", text);
	fd = open(test_path("file"), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* The next completion, whose data must be that. Returns its result. */
static int result_of(uint64_t data)
{
	struct ring_event event;

	assert_int_equal(ring_wait(ring, &event), 0);
	assert_int_equal(event.data, data);
	return event.result;
}

static unsigned reap(uint64_t *sum)
{
	struct ring_event events[8];
	unsigned count = ring_reap(ring, events, COUNT(events)), i;

	for (*sum = 0, i = 0; i < count; i++)
		*sum += events[i].data;
	return count;
}

static void put_timeout(unsigned ms, uint64_t data)
{
	assert_int_equal(ring_put_timeout(ring, ms, data), 0);
}

/* So many that complete at once, with data from 1 on. */
static void complete(unsigned count)
{
	struct ring_transfer nothing = { .op = RING_READ, .fd = null_fd };
	unsigned i;

	for (i = 1; i <= count; i++)
		assert_int_equal(ring_put_transfer(ring, &nothing, i), 0);
	assert_int_equal(ring_submit(ring), 0);
}

/* ---- making one ---- */

TEST_CASE(test_create)
{
	unsigned fds = count_fds();
	int error, fd;

	need_ring();
	fd = ring_event_fd(ring);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(ring_fd(ring), F_GETFD) & FD_CLOEXEC);
	ring_destroy(ring);
	assert_int_equal(count_fds(), fds - 2);
	ring = ring_create(0, 0, &error);
	assert_null(ring);
	assert_int_equal(error, -EINVAL);
	assert_int_equal(count_fds(), fds - 2);
	ring_destroy(NULL);
}

/* The places in a ring's completion queue. */
static unsigned places(unsigned entries, unsigned flags)
{
	char path[64], line[128];
	unsigned mask = 0;
	struct ring *other;
	FILE *file;
	int error;

	other = ring_create(entries, flags, &error);
	assert_non_null(other);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", ring_fd(other));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "CqMask: %x", &mask);
	fclose(file);
	ring_destroy(other);
	return mask + 1;
}

/* 128 of them share a page with what the kernel has beside. */
TEST_CASE(test_one_each)
{
	need_ring();
	assert_int_equal(places(128, 0), 256);
	assert_int_equal(places(128, RING_ONE_EACH), 128);
	assert_int_equal(places(1, RING_ONE_EACH), places(1, 0));
}

/* What exceeds the completion queue comes as well. */
TEST_CASE(test_more_than_one_each)
{
	struct ring *usual = ring;
	unsigned count, all = 0;
	uint64_t sum, total = 0;
	int error;

	need_ring();
	ring = ring_create(128, RING_ONE_EACH, &error);
	assert_non_null(ring);
	complete(200);
	while ((count = reap(&sum))) {
		all += count;
		total += sum;
	}
	ring_destroy(ring);
	ring = usual;
	assert_int_equal(all, 200);
	assert_int_equal(total, 200 * 201 / 2);
}

/* Descriptors run out: for the eventfd, or for the ring. */
TEST_CASE(test_no_descriptors)
{
	struct rlimit before, few;
	unsigned left;
	int error = 0, lowest;

	need_ring();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	lowest = dup(0);
	close(lowest);
	for (left = 0; left < 2; left++) {
		few = before;
		few.rlim_cur = (rlim_t)lowest + left;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		assert_null(ring_create(ENTRIES, 0, &error));
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		assert_int_equal(error, -EMFILE);
	}
	left = (unsigned)dup(0);
	assert_int_equal(left, lowest);
	close((int)left);
}

/* What the kernel has, asked for by another ring. */
TEST_CASE(test_can_stay)
{
	struct io_uring_params params = { .flags = 0 };
	long fd;

	need_ring();
	fd = syscall(SYS_io_uring_setup, 1, &params);
	assert_true(fd >= 0);
	close((int)fd);
	assert_int_equal(ring_can_stay(ring),
			 (params.features & 1u << 17) != 0);
}

/* A file in a slot is let go with the ring, not a little later. */
TEST_CASE(test_files_go_with_the_ring)
{
	int ends[2];
	char byte;

	need_ring();
	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(ring_set_file(ring, SLOT, ends[1]), 0);
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), -1);
	ring_destroy(ring);
	ring = NULL;
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
}

TEST_CASE(test_set_file)
{
	struct ring_transfer transfer = { .op = RING_READ,
					  .fd = -1,
					  .slot = SLOT };
	int fd = open_file("text");
	char text[8] = "";

	need_ring();
	transfer.bytes = text;
	transfer.length = sizeof(text);
	assert_int_equal(ring_put_transfer(ring, &transfer, 1), 0);
	assert_int_equal(result_of(1), -EBADF);
	assert_int_equal(ring_set_file(ring, SLOT, fd), 0);
	assert_int_equal(ring_put_transfer(ring, &transfer, 2), 0);
	assert_int_equal(result_of(2), 4);
	assert_string_equal(text, "text");
	/* Slot 0 is another one. */
	transfer.slot = 0;
	assert_int_equal(ring_put_transfer(ring, &transfer, 3), 0);
	assert_int_equal(result_of(3), 0);
	assert_int_equal(ring_set_file(ring, SLOT, -1), 0);
	transfer.slot = SLOT;
	assert_int_equal(ring_put_transfer(ring, &transfer, 4), 0);
	assert_int_equal(result_of(4), -EBADF);
	assert_int_equal(ring_set_file(ring, RING_FILES, fd), -EINVAL);
	close(fd);
}

/*
 * Its mount namespace does not end before the ring: what the kernel says of the
 * ring has that among the fixed files.
 */
TEST_CASE(test_holds_mounts)
{
	char path[64], line[256], ours[64] = "";
	int found = 0;
	FILE *file;

	need_ring();
	assert_true(readlink("/proc/self/ns/mnt", ours, sizeof(ours) - 1) > 0);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", ring_fd(ring));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		found += strstr(line, ours) != NULL;
	fclose(file);
	assert_int_equal(found, 1);
}

TEST_CASE(test_make_buffers)
{
	need_ring();
	assert_int_equal(ring_make_buffers(ring, 4), 0);
	assert_int_equal(ring_make_buffers(ring, 4), -EBUSY);
}

/* The kernel gives the limits that were: [bounded, unbounded]. */
TEST_CASE(test_allow_workers)
{
	unsigned before[2] = { 0, 0 }, after[2] = { 0, 0 };

	need_ring();
	assert_int_equal(syscall(SYS_io_uring_register, ring_fd(ring),
				 IORING_REGISTER_IOWQ_MAX_WORKERS, before, 2),
			 0);
	assert_int_equal(ring_allow_workers(ring, before[0] + 3), 0);
	assert_int_equal(syscall(SYS_io_uring_register, ring_fd(ring),
				 IORING_REGISTER_IOWQ_MAX_WORKERS, after, 2),
			 0);
	assert_int_equal(after[0], before[0] + 3);
	assert_int_equal(after[1], before[1]);
}

/* ---- what is put, as the kernel reads it ---- */

/* The first requests that were put into a fresh ring, of `size` bytes each. */
static const struct io_uring_sqe *look(const struct ring *of, unsigned which,
				       size_t size)
{
	static void *map;

	if (map)
		munmap(map, 4096);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_POPULATE,
		   ring_fd(of), (off_t)IORING_OFF_SQES);
	assert_ptr_not_equal(map, MAP_FAILED);
	return (void *)((char *)map + which * size);
}

/* What was put goes to the kernel, until all entries can be used again. */
static void use_all(struct ring *of)
{
	struct ring_event events[ENTRIES];
	unsigned done = 0;

	assert_int_equal(ring_submit(of), 0);
	while (done < ENTRIES)
		done += ring_reap(of, events, ENTRIES);
}

/* Dirties all entries, so that what a put leaves out is seen. */
static void dirty_all(void)
{
	struct ring_transfer write = { .op = RING_WRITE,
				       .fd = null_fd,
				       .wait = 1,
				       .flags = RWF_DSYNC,
				       .bytes = "x",
				       .offset = 0x0101010101010101,
				       .length = 1 };
	unsigned i;

	for (i = 0; i < ENTRIES; i++)
		assert_int_equal(ring_put_transfer(ring, &write, 1), 0);
	use_all(ring);
}

TEST_CASE(test_put_commands)
{
	static const uint8_t command[16] = "fifteen letters";
	const struct io_uring_sqe *sqe;

	need_ring();
	dirty_all();
	assert_int_equal(ring_put_addressed(ring, 11, command, 12, 13), 0);
	assert_int_equal(ring_put_immediate(ring, 21, command, 22, 0, 23), 0);
	assert_int_equal(ring_put_immediate(ring, 31, command, 32, 1, 33), 0);
	assert_int_equal(ring_put_lasting(ring, 41, command, 43), 0);
	sqe = look(ring, 0, 64);
	for (int i = 0; i < 4; i++) {
		unsigned ten = 10 * (i + 1);

		assert_int_equal(sqe[i].opcode, IORING_OP_URING_CMD);
		assert_int_equal(sqe[i].fd, 0);
		assert_int_equal(sqe[i].ioprio, 0);
		assert_int_equal(sqe[i].cmd_op, ten + 1);
		assert_int_equal(sqe[i].addr, i < 3 ? ten + 2 : 0);
		assert_int_equal(sqe[i].len, 0);
		assert_int_equal(sqe[i].user_data, ten + 3);
		assert_memory_equal(sqe[i].cmd, command, sizeof(command));
		assert_int_equal(sqe[i].rw_flags, i < 3 ? 0 : 2);
	}
	assert_int_equal(sqe[0].flags, IOSQE_FIXED_FILE);
	assert_int_equal(sqe[1].flags, IOSQE_FIXED_FILE);
	assert_int_equal(sqe[2].flags,
			 IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS);
	assert_int_equal(sqe[3].flags, IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT);
	assert_true(ring_has_unsent(ring));
}

/* Control commands have 80 bytes, and entries of 128. */
TEST_CASE(test_put_wide)
{
	const struct io_uring_sqe *sqe;
	uint8_t command[80];
	struct ring *wide;
	int error;

	need_ring();
	memset(command, 7, sizeof(command));
	wide = ring_create(ENTRIES, RING_WIDE, &error);
	assert_non_null(wide);
	/* The first ones in places that were used before. */
	for (unsigned i = 0; i < ENTRIES + 2; i++) {
		if (i == ENTRIES)
			use_all(wide);
		assert_int_equal(ring_put_command(wide, null_fd, 21, command,
						  i == ENTRIES ? 32 : 80, 23),
				 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		sqe = look(wide, i, 128);
		assert_int_equal(sqe->opcode, IORING_OP_URING_CMD);
		assert_int_equal(sqe->fd, null_fd);
		/* Or another one may be in its place when it is read. */
		assert_int_equal(sqe->flags, IOSQE_ASYNC);
		assert_int_equal(sqe->cmd_op, 21);
		assert_int_equal(sqe->user_data, 23);
		assert_memory_equal(sqe->cmd, command, i ? 80 : 32);
		assert_int_equal(sqe->cmd[79], i ? 7 : 0);
	}
	ring_destroy(wide);
}

TEST_CASE(test_put_transfers)
{
	static const struct {
		struct ring_transfer transfer;
		struct io_uring_sqe sqe;
	} cases[] = {
		{ { .op = RING_READ,
		    .fd = 9,
		    .bytes = (void *)3,
		    .flags = 2,
		    .offset = 4096,
		    .length = 512 },
		  { .opcode = IORING_OP_READ,
		    .fd = 9,
		    .addr = 3,
		    .rw_flags = 2,
		    .off = 4096,
		    .len = 512 } },
		{ { .op = RING_WRITE,
		    .fd = -1,
		    .slot = 1,
		    .bytes = (void *)3,
		    .flags = 4,
		    .offset = 8192,
		    .length = 1024 },
		  { .opcode = IORING_OP_WRITE,
		    .fd = 1,
		    .addr = 3,
		    .rw_flags = 4,
		    .off = 8192,
		    .len = 1024,
		    .flags = IOSQE_FIXED_FILE } },
		{ { .op = RING_READ,
		    .fd = -1,
		    .slot = 1,
		    .buffer = 6,
		    .at = 44,
		    .offset = 4096,
		    .length = 512,
		    .wait = 1 },
		  { .opcode = IORING_OP_READ_FIXED,
		    .fd = 1,
		    .addr = 44,
		    .buf_index = 5,
		    .off = 4096,
		    .len = 512,
		    .flags = IOSQE_FIXED_FILE | IOSQE_ASYNC } },
		{ { .op = RING_WRITE, .fd = 9, .buffer = 1, .length = 512 },
		  { .opcode = IORING_OP_WRITE_FIXED, .fd = 9, .len = 512 } },
		{ { .op = RING_FDATASYNC, .fd = 9, .wait = 1 },
		  { .opcode = IORING_OP_FSYNC,
		    .fd = 9,
		    .flags = IOSQE_ASYNC,
		    .fsync_flags = IORING_FSYNC_DATASYNC } },
		{ { .op = RING_FALLOCATE,
		    .fd = 9,
		    .flags = 3,
		    .offset = 4096,
		    .length = 512 },
		  { .opcode = IORING_OP_FALLOCATE,
		    .fd = 9,
		    .len = 3,
		    .off = 4096,
		    .addr = 512 } },
	};
	const struct io_uring_sqe *sqe;
	unsigned i;

	need_ring();
	for (i = 0; i < COUNT(cases); i++)
		assert_int_equal(ring_put_transfer(ring, &cases[i].transfer, i),
				 0);
	sqe = look(ring, 0, 64);
	for (i = 0; i < COUNT(cases); i++) {
		struct io_uring_sqe wanted = cases[i].sqe;

		wanted.user_data = i;
		assert_memory_equal(&sqe[i], &wanted, sizeof(wanted));
	}
}

/* A full ring makes room by a submit, and loses nothing. */
TEST_CASE(test_put_more_than_fits)
{
	struct ring_transfer read = { .op = RING_READ, .fd = null_fd };
	uint64_t sum, all = 0;
	unsigned i, count = 0;

	need_ring();
	for (i = 0; i < ENTRIES + 3; i++)
		assert_int_equal(ring_put_transfer(ring, &read, i + 1), 0);
	assert_int_equal(ring_submit(ring), 0);
	assert_false(ring_has_unsent(ring));
	while (count < ENTRIES + 3) {
		count += reap(&sum);
		all += sum;
	}
	assert_int_equal(all, (ENTRIES + 3) * (ENTRIES + 4) / 2);
}

/* A kernel without memory takes less: the rest stays, and goes the next time. */
TEST_CASE(test_submit_takes_less)
{
	struct ring_transfer read = { .op = RING_READ, .fd = null_fd };
	uint64_t sum;

	need_ring();
	assert_int_equal(ring_put_transfer(ring, &read, 1), 0);
	submits[0] = -EINTR; /* it is tried again at once */
	submits[1] = 0;
	assert_int_equal(ring_submit(ring), -EAGAIN);
	assert_true(ring_has_unsent(ring));
	submits[0] = -EBUSY;
	assert_int_equal(ring_submit(ring), -EBUSY);
	assert_int_equal(ring_submit(ring), 0);
	assert_false(ring_has_unsent(ring));
	assert_int_equal(reap(&sum), 1);
}

/* ---- what comes of it ---- */

TEST_CASE(test_files)
{
	char text[8] = "";
	struct stat status;
	int fd;

	need_ring();
	assert_int_equal(ring_put_open(ring, test_path("new"),
				       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
				       0640, 1),
			 0);
	fd = result_of(1);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0640 & ~umask(umask(0)));
	assert_int_equal(ring_put_write(ring, fd, "text", 4, 2), 0);
	assert_int_equal(result_of(2), 4);
	assert_int_equal(ring_put_read(ring, fd, text, sizeof(text), 3), 0);
	assert_int_equal(result_of(3), 4);
	assert_string_equal(text, "text");
	assert_int_equal(ring_put_unlink(ring, test_path("new"), 4), 0);
	assert_int_equal(result_of(4), 0);
	assert_int_equal(access(test_path("new"), F_OK), -1);
	close(fd);
}

/* An open that waits, here for the other end, does not wait in this thread. */
TEST_CASE(test_open_waits)
{
	int fd, other;

	need_ring();
	assert_int_equal(mkfifo(test_path("fifo"), 0600), 0);
	assert_int_equal(access(test_path("fifo"), F_OK), 0);
	assert_int_equal(ring_put_open(ring, test_path("fifo"), O_RDONLY, 0, 1),
			 0);
	assert_int_equal(ring_submit(ring), 0);
	assert_false(ring_has_events(ring));
	other = open(test_path("fifo"), O_WRONLY | O_CLOEXEC);
	assert_true(other >= 0);
	fd = result_of(1);
	assert_true(fd >= 0);
	close(fd);
	close(other);
}

TEST_CASE(test_poll)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t sum;

	need_ring();
	assert_int_equal(ring_put_poll(ring, fd, 1), 0);
	assert_int_equal(ring_submit(ring), 0);
	assert_int_equal(reap(&sum), 0);
	assert_int_equal(eventfd_write(fd, 1), 0);
	assert_int_equal(result_of(1), POLLIN);
	close(fd);
}

/* Only the one that is named. */
TEST_CASE(test_cancel)
{
	need_ring();
	put_timeout(1000000, 7);
	assert_int_equal(ring_submit(ring), 0);
	assert_int_equal(ring_put_cancel(ring, 8, 100), 0);
	assert_int_equal(result_of(100), -ENOENT);
	assert_int_equal(ring_put_cancel(ring, 7, 0), 0);
	assert_int_equal(ring_submit(ring), 0);
	for (int i = 0; i < 2; i++) {
		struct ring_event event;

		assert_int_equal(ring_wait(ring, &event), 0);
		assert_int_equal(event.result, event.data ? -ECANCELED : 0);
	}
}

TEST_CASE(test_timeout)
{
	const struct __kernel_timespec *time;

	need_ring();
	put_timeout(12345, 1);
	time = (void *)(uintptr_t)look(ring, 0, 64)->addr;
	assert_int_equal(time->tv_sec, 12);
	assert_int_equal(time->tv_nsec, 345000000);
	/* All that are submitted together have the last one's time. */
	put_timeout(1, 2);
	assert_int_equal(result_of(1), -ETIME);
	assert_int_equal(result_of(2), -ETIME);
}

/* ---- completions ---- */

TEST_CASE(test_event_fd)
{
	uint64_t sum;
	int fd, other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	need_ring();
	fd = ring_event_fd(ring);
	ring_clear_event(ring);
	assert_false(is_readable(fd));
	ring_clear_event(ring); /* it does not wait */
	ring_raise_event(ring);
	ring_raise_event(ring);
	assert_true(is_readable(fd));
	ring_clear_event(ring);
	assert_false(is_readable(fd));
	complete(1);
	assert_true(is_readable(fd));
	ring_clear_event(ring);
	ring_signal(ring, 0);
	complete(1);
	assert_false(is_readable(fd));
	ring_signal(ring, 1);
	complete(1);
	assert_true(is_readable(fd));
	ring_clear_event(ring);
	assert_int_equal(ring_signal_by(ring, other), 0);
	complete(1);
	assert_false(is_readable(fd));
	assert_true(is_readable(other));
	assert_int_equal(ring_signal_by(ring, null_fd), -EINVAL);
	assert_int_equal(reap(&sum), 4);
	close(other);
}

TEST_CASE(test_completions)
{
	const struct ring_event *events;
	struct ring_event taken[3];

	need_ring();
	assert_false(ring_has_events(ring));
	assert_int_equal(ring_peek(ring, &events), 0);
	complete(5);
	assert_true(ring_has_events(ring));
	assert_int_equal(ring_peek(ring, &events), 5);
	assert_int_equal(events[0].data, 1);
	assert_int_equal(events[4].data, 5);
	assert_true(ring_seen(ring, 1));
	assert_int_equal(ring_reap(ring, taken, 3), 3);
	assert_int_equal(taken[0].data, 2);
	assert_int_equal(taken[2].data, 4);
	assert_int_equal(ring_peek(ring, &events), 1);
	assert_int_equal(events[0].data, 5);
	assert_false(ring_seen(ring, 1));
	assert_false(ring_has_events(ring));
}

/* At the end of the ring's array they go on at its beginning. */
TEST_CASE(test_completions_wrap)
{
	const struct ring_event *events;
	struct ring_event taken[8];
	unsigned i;

	need_ring();
	for (i = 0; i < 2; i++) {
		complete(6);
		assert_int_equal(ring_reap(ring, taken, 8), 6);
	}
	/* 12 of 16 places are used: four there, and two at the beginning. */
	complete(6);
	assert_int_equal(ring_peek(ring, &events), 4);
	assert_int_equal(ring_reap(ring, taken, 8), 6);
	for (i = 0; i < 6; i++)
		assert_int_equal(taken[i].data, i + 1);
}

/* More than the ring has room for: none is lost. */
TEST_CASE(test_overflow)
{
	struct ring_event taken[ENTRIES];
	unsigned i, got, sum = 0, count = 0;

	need_ring();
	for (i = 0; i < 3; i++)
		complete(ENTRIES);
	while (ring_has_events(ring)) {
		got = ring_reap(ring, taken, ENTRIES);
		for (i = 0; i < got; i++)
			sum += (unsigned)taken[i].data;
		count += got;
	}
	assert_int_equal(count, 3 * ENTRIES);
	assert_int_equal(sum, 3 * ENTRIES * (ENTRIES + 1) / 2);
}

TEST_CASE(test_goes_on)
{
	struct ring_event event = { .flags = IORING_CQE_F_MORE };

	assert_true(ring_goes_on(&event));
	event.flags = IORING_CQE_F_BUFFER;
	assert_false(ring_goes_on(&event));
}

/* ---- a sleep ---- */

static void put(int is_quiet, uint64_t data)
{
	static const uint8_t command[16];

	assert_int_equal(
		ring_put_immediate(ring, 1, command, 0, is_quiet, data), 0);
}

/* It lasts until something else happens, and the answers are there then. */
TEST_CASE(test_answers_do_not_wake)
{
	uint64_t sum;

	need_commands();
	put(0, 1);
	put(0, 10);
	put_timeout(TIMEOUT_MS, 100);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 3);
	assert_int_equal(sum, 111);
	/* And not longer than for that. */
	assert_int_equal(ring_put_poll(ring, null_fd, 100), 0);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 1);
}

/* What went before the sleep is no reason to sleep longer. */
TEST_CASE(test_answers_before)
{
	uint64_t sum;

	need_commands();
	put(0, 1);
	assert_int_equal(ring_submit(ring), 0);
	assert_int_equal(reap(&sum), 1);
	put_timeout(TIMEOUT_MS, 100);
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

TEST_CASE(test_quiet)
{
	uint64_t sum;

	need_commands();
	put(1, 1);
	put_timeout(TIMEOUT_MS, 100);
	ring_sleep(ring);
	assert_int_equal(reap(&sum), 1);
	assert_int_equal(sum, 100);
}

/* A signal is no fault; a completion that the kernel has lost ends the server. */
TEST_CASE(test_sleep_fails)
{
	int status;
	pid_t child;

	need_ring();
	sleeps = -EINTR;
	ring_sleep(ring);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		sleeps = -EBADR;
		ring_sleep(ring);
		_exit(0);
	}
	sleeps = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* All works as before, also after it was undone, and if done twice. */
TEST_CASE(test_register_self)
{
	uint64_t sum;
	int i;

	need_ring();
	ring_unregister_self(ring);
	for (i = 0; i < 3; i++) {
		if (i < 2)
			ring_register_self(ring);
		else
			ring_unregister_self(ring);
		put_timeout(1, 100);
		ring_sleep(ring);
		assert_int_equal(reap(&sum), 1);
		complete(1);
		assert_int_equal(reap(&sum), 1);
	}
}

/* ---- the intake ---- */

/* Whatever is asked for is there, and more if the pages have it. */
TEST_CASE(test_intake)
{
	uint32_t half = 200;
	const char *bytes;

	need_ring();
	if (!host_has_linux(6, 12))
		skip_without("Linux 6.12");
	assert_int_equal(ring_make_intake(ring, &half), 0);
	assert_true(half >= 200 && half < 4096 && half % 8 == 0);
	bytes = ring_intake(ring);
	assert_non_null(bytes);
	assert_int_equal(bytes[0] | bytes[2 * half - 1], 0);
	assert_int_equal(ring_intake_end(ring, 0), 0);
	assert_int_equal(ring_intake_end(ring, half), half);
}

static void expect_half(const struct io_uring_buf *table, unsigned which,
			uint32_t half)
{
	const char *bytes = ring_intake(ring);

	assert_ptr_equal(table[which].addr, bytes + (size_t)which * half);
	assert_int_equal(table[which].len, half);
	assert_int_equal(table[which].bid, which);
}

/* The kernel counts an entry's bytes down; the table is before the halves. */
TEST_CASE(test_intake_table)
{
	struct io_uring_buf_ring *table;
	struct io_uring_buf *entries;
	uint32_t half = 200;

	need_ring();
	if (!host_has_linux(6, 12))
		skip_without("Linux 6.12");
	assert_int_equal(ring_make_intake(ring, &half), 0);
	table = (void *)((char *)ring_intake(ring) - 2 * sizeof(*entries));
	entries = table->bufs;
	expect_half(entries, 0, half);
	expect_half(entries, 1, half);
	assert_int_equal(table->tail, 2);
	/* It goes on behind what the kernel has used. */
	entries[0].addr += 24;
	entries[0].len -= 24;
	assert_int_equal(ring_intake_end(ring, 8), 24);
	assert_int_equal(table->tail, 2);
	/* All of a half is used: it is given back, the other one is next. */
	entries[0].len = 0;
	assert_int_equal(ring_intake_end(ring, 8), half);
	expect_half(entries, 0, half);
	assert_int_equal(table->tail, 3);
	entries[1].len = 0;
	assert_int_equal(ring_intake_end(ring, half + 8), 0);
	expect_half(entries, 1, half);
	assert_int_equal(table->tail, 4);
}

/* ---- closing ---- */

/* Only then is the file free, not when the close itself completes. */
TEST_CASE(test_close)
{
	struct ring_event event;
	int ends[2], i;
	char byte;

	need_ring();
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
TEST_CASE(test_close_in_full_ring)
{
	const struct io_uring_sqe *sqe;
	uint64_t sum, all = 0;
	int i;

	need_ring();
	for (i = 0; i < ENTRIES - 1; i++)
		put_timeout(1, 1);
	assert_int_equal(ring_put_close(ring, open("/dev/null", O_RDONLY), 100),
			 0);
	/* Behind what was there, and beyond a submit of that. */
	sqe = look(ring, ENTRIES - 1, 64);
	assert_int_equal(sqe->opcode, IORING_OP_CLOSE);
	assert_int_equal(sqe->flags, IOSQE_ASYNC | IOSQE_IO_HARDLINK);
	assert_int_equal(ring_submit(ring), 0);
	while (all < 107) {
		ring_clear_event(ring);
		reap(&sum);
		all += sum;
		usleep(1000);
	}
	assert_int_equal(all, 107);
}

int main(void)
{
	alarm(60);
	return tests_run();
}
