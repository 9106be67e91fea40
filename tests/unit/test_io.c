/* One request: its data in pieces, and its completion exactly once. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "fakering.h"
#include "io.h"

#define FD	 1234 /* never used: the calls are faked */
#define QUEUE_ID 5
#define TAG	 77

/* ---- the char device: what the calls were, and what they do ---- */

#define DATA_MAX (UBLK_MAX_IO_BYTES + 4096)

static struct {
	uint8_t *data;	/* of the request */
	uint64_t first; /* offset of its byte 0 */
	unsigned calls;
	size_t at_most;	  /* bytes in one call; 0: all */
	int fail_at;	  /* the call that fails, from 1; 0: none */
	int error;	  /* its errno; 0: it ends with 0 bytes */
	unsigned repeats; /* calls that fail in a row */
} device;

static int fails(void)
{
	device.calls++;
	if (!device.fail_at || device.calls < (unsigned)device.fail_at ||
	    device.calls >= (unsigned)device.fail_at + device.repeats)
		return 0;
	errno = device.error;
	return 1;
}

static uint8_t *place(int fd, int64_t offset, size_t *length)
{
	uint64_t at = (uint64_t)offset - device.first;

	assert_int_equal(fd, FD);
	assert_true((uint64_t)offset >= device.first);
	assert_true(at + *length <= DATA_MAX);
	assert_true(*length > 0);
	if (device.at_most && *length > device.at_most)
		*length = device.at_most;
	return device.data + at;
}

static ssize_t write_at(int fd, const void *from, size_t length, int64_t offset)
{
	uint8_t *to = place(fd, offset, &length);

	if (fails())
		return device.error ? -1 : 0;
	memcpy(to, from, length);
	return (ssize_t)length;
}

static ssize_t read_at(int fd, void *to, size_t length, int64_t offset)
{
	const uint8_t *from = place(fd, offset, &length);

	if (fails())
		return device.error ? -1 : 0;
	memcpy(to, from, length);
	return (ssize_t)length;
}

ssize_t __wrap_pread(int fd, void *to, size_t length, off_t offset);
ssize_t __wrap_pread64(int fd, void *to, size_t length, int64_t offset);
ssize_t __wrap_pwrite(int fd, const void *from, size_t length, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t length,
			int64_t offset);

ssize_t __wrap_pread(int fd, void *to, size_t length, off_t offset)
{
	return read_at(fd, to, length, offset);
}

ssize_t __wrap_pread64(int fd, void *to, size_t length, int64_t offset)
{
	return read_at(fd, to, length, offset);
}

ssize_t __wrap_pwrite(int fd, const void *from, size_t length, off_t offset)
{
	return write_at(fd, from, length, offset);
}

ssize_t __wrap_pwrite64(int fd, const void *from, size_t length, int64_t offset)
{
	return write_at(fd, from, length, offset);
}

/* ---- a request ---- */

static struct io_port port;
static struct io io;
static int ring_error;

static int start(void **state)
{
	(void)state;
	fake_ring_start();
	memset(&port, 0, sizeof(port));
	memset(&io, 0, sizeof(io));
	port.ring = ring_create(1, 0, &ring_error);
	port.fd = FD;
	port.queue_id = QUEUE_ID;
	io.port = &port;
	io.tag = TAG;
	io.length = 65536;
	memset(&device, 0, sizeof(device));
	device.first = UBLK_DATA_OFFSET(QUEUE_ID, TAG);
	device.repeats = 1;
	device.data = calloc(1, DATA_MAX);
	return device.data ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	free(device.data);
	fake_ring_stop();
	log_forget();
	return 0;
}

/* ---- completion ---- */

static void finish(uint8_t op, uint32_t length, int error)
{
	io.op = op;
	io.length = length;
	io_begin(&io);
	io_done(&io, error);
}

static void expect_commit(int32_t result)
{
	const struct fake_command *put = fake_next_command();

	assert_non_null(put);
	assert_int_equal(put->op, UBLK_IO_COMMIT_AND_FETCH_REQ);
	assert_int_equal(put->command.result, result);
	assert_int_equal(put->command.tag, TAG);
	assert_int_equal(put->command.q_id, QUEUE_ID);
	assert_int_equal(put->data, TAG);
	assert_null(fake_next_command());
}

/* In full or failed: a short count would lose data without a word. */
static void test_results(void **state)
{
	static const uint8_t data_ops[] = { IO_READ, IO_WRITE };
	static const uint8_t other_ops[] = { IO_FLUSH, IO_DISCARD,
					     IO_WRITE_ZEROES };
	unsigned i;

	(void)state;
	for (i = 0; i < COUNT(data_ops); i++) {
		finish(data_ops[i], 512, 0);
		expect_commit(512);
		finish(data_ops[i], UBLK_MAX_IO_BYTES, 0);
		expect_commit((int32_t)UBLK_MAX_IO_BYTES);
		finish(data_ops[i], 65536, -EIO);
		expect_commit(-EIO);
		finish(data_ops[i], 65536, -ENOSPC);
		expect_commit(-ENOSPC);
	}
	for (i = 0; i < COUNT(other_ops); i++) {
		finish(other_ops[i], 65536, 0);
		expect_commit(0);
		/* More than 31 bits of length are no error of theirs. */
		finish(other_ops[i], 0xfffffe00u, 0);
		expect_commit(0);
		finish(other_ops[i], 65536, -EIO);
		expect_commit(-EIO);
	}
	assert_int_equal(port.owned, 0);
}

static void test_counters(void **state)
{
	(void)state;
	finish(IO_READ, 4096, 0);
	finish(IO_READ, 512, 0);
	finish(IO_WRITE, 8192, 0);
	finish(IO_WRITE, 8192, -EIO);
	finish(IO_FLUSH, 0, 0);
	finish(IO_DISCARD, 1 << 20, -EOPNOTSUPP);
	assert_int_equal(port.count[IO_READ], 2);
	assert_int_equal(port.bytes[IO_READ], 4608);
	assert_int_equal(port.count[IO_WRITE], 1);
	assert_int_equal(port.bytes[IO_WRITE], 8192);
	assert_int_equal(port.count[IO_FLUSH], 1);
	assert_int_equal(port.count[IO_DISCARD], 0);
	assert_int_equal(port.errors, 2);
}

/* A second completion would be one of the tag's next request. */
static void test_done_twice(void **state)
{
	struct io other = { .port = &port, .tag = 1, .length = 512 };

	(void)state;
	io_begin(&other);
	finish(IO_WRITE, 4096, 0);
	expect_commit(4096);
	io_done(&io, 0);
	io_done(&io, -EIO);
	assert_null(fake_next_command());
	assert_int_equal(log_count("twice"), 2);
	assert_int_equal(port.owned, 1);
	assert_int_equal(port.count[IO_WRITE], 1);
	assert_int_equal(port.errors, 0);
	/* One that was never begun is no better. */
	other.owned = 0;
	io_done(&other, 0);
	assert_null(fake_next_command());
	assert_int_equal(port.owned, 1);
}

static void test_submit(void **state)
{
	(void)state;
	finish(IO_READ, 512, 0);
	assert_int_equal(fake_ring.submits, 1);
	port.in_turn = 1;
	finish(IO_READ, 512, 0);
	finish(IO_READ, 512, 0);
	assert_int_equal(fake_ring.submits, 1);
	assert_int_equal(fake_ring.put_count, 3);
	port.in_turn = 0;
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 1;
	assert_int_equal(fake_ring.raises, 0);
	finish(IO_READ, 512, 0);
	assert_int_equal(fake_ring.raises, 1);
}

static void test_no_room_in_the_ring(void **state)
{
	(void)state;
	fake_ring.put_error = -EBUSY;
	finish(IO_READ, 512, 0);
	assert_true(log_has("cannot be committed"));
}

static void test_fetch(void **state)
{
	const struct fake_command *put;

	(void)state;
	assert_int_equal(io_fetch(&io), 0);
	put = fake_next_command();
	assert_non_null(put);
	assert_int_equal(put->op, UBLK_IO_FETCH_REQ);
	assert_int_equal(put->command.tag, TAG);
	assert_int_equal(put->command.result, 0);
	assert_int_equal(fake_ring.submits, 0);
	fake_ring.put_error = -EBUSY;
	assert_int_equal(io_fetch(&io), -EBUSY);
}

/* ---- data ---- */

static uint8_t pattern[65536], back[65536];

static void fill_pattern(uint64_t seed)
{
	size_t i;

	random_seed(seed);
	for (i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)random_number(256);
}

/* Where the driver has a request's bytes: a span of 32 MiB for every tag. */
static void test_offsets(void **state)
{
	(void)state;
	assert_true(UBLK_DATA_OFFSET(0, 0) == 0x80000000ULL);
	assert_true(UBLK_DATA_OFFSET(0, 1) == 0x80000000ULL + (32ULL << 20));
	assert_true(UBLK_DATA_OFFSET(1, 0) == 0x80000000ULL + (1ULL << 41));
	assert_true(UBLK_DATA_OFFSET(4095, 4095) ==
		    0x80000000ULL + (4095ULL << 41) + (4095ULL << 25));
}

static void test_whole(void **state)
{
	(void)state;
	fill_pattern(7);
	assert_int_equal(io_put(&io, pattern, 0, sizeof(pattern)), 0);
	assert_int_equal(device.calls, 1);
	assert_memory_equal(device.data, pattern, sizeof(pattern));
	assert_int_equal(io_take(&io, back, 0, sizeof(back)), 0);
	assert_int_equal(device.calls, 2);
	assert_memory_equal(back, pattern, sizeof(back));
}

static void test_part(void **state)
{
	(void)state;
	fill_pattern(8);
	assert_int_equal(io_put(&io, pattern, 4096, 512), 0);
	assert_memory_equal(device.data + 4096, pattern, 512);
	assert_int_equal(device.data[4095] | device.data[4096 + 512], 0);
	memset(back, 0, sizeof(back));
	assert_int_equal(io_take(&io, back, 4200, 300), 0);
	assert_memory_equal(back, pattern + 104, 300);
	assert_int_equal(back[300], 0);
}

static void test_nothing(void **state)
{
	(void)state;
	assert_int_equal(io_put(&io, pattern, 0, 0), 0);
	assert_int_equal(io_take(&io, back, 0, 0), 0);
	assert_int_equal(device.calls, 0);
}

/* The driver copies less than was asked: the rest follows where it ended. */
static void test_short(void **state)
{
	(void)state;
	fill_pattern(9);
	device.at_most = 1000;
	assert_int_equal(io_put(&io, pattern, 0, sizeof(pattern)), 0);
	assert_int_equal(device.calls, 66);
	assert_memory_equal(device.data, pattern, sizeof(pattern));
	memset(back, 0, sizeof(back));
	assert_int_equal(io_take(&io, back, 0, sizeof(back)), 0);
	assert_memory_equal(back, pattern, sizeof(back));
}

static void test_interrupted(void **state)
{
	(void)state;
	fill_pattern(10);
	device.at_most = 30000;
	device.fail_at = 2;
	device.repeats = 3;
	device.error = EINTR;
	assert_int_equal(io_put(&io, pattern, 0, sizeof(pattern)), 0);
	assert_memory_equal(device.data, pattern, sizeof(pattern));
	assert_int_equal(device.calls, 6);
	device.calls = 0;
	memset(back, 0, sizeof(back));
	assert_int_equal(io_take(&io, back, 0, sizeof(back)), 0);
	assert_memory_equal(back, pattern, sizeof(back));
	assert_int_equal(device.calls, 6);
}

static void expect_failure(int fail_at, int error, int expected)
{
	device.at_most = 1000;
	device.fail_at = fail_at;
	device.error = error;
	device.calls = 0;
	assert_int_equal(io_put(&io, pattern, 0, sizeof(pattern)), expected);
	assert_int_equal(device.calls, fail_at);
	device.calls = 0;
	assert_int_equal(io_take(&io, back, 0, sizeof(back)), expected);
	assert_int_equal(device.calls, fail_at);
}

/* Also behind a part that went well: it is an error, not a short count. */
static void test_failures(void **state)
{
	(void)state;
	expect_failure(1, EFAULT, -EFAULT);
	expect_failure(2, EFAULT, -EFAULT);
	expect_failure(1, EINVAL, -EINVAL);
	expect_failure(66, EIO, -EIO);
	expect_failure(1, EAGAIN, -EAGAIN);
	/* An end of what has none. */
	expect_failure(1, 0, -EIO);
	expect_failure(3, 0, -EIO);
}

/* As much as the largest request has, and it costs no memory to have them. */
static void test_zeroes(void **state)
{
	uint32_t i;

	(void)state;
	assert_int_equal(io_initialise(), 0);
	assert_int_equal(io_initialise(), 0);
	memset(device.data, 0x5a, DATA_MAX);
	assert_int_equal(io_put_zeroes(&io, 0, UBLK_MAX_IO_BYTES), 0);
	for (i = 0; i < UBLK_MAX_IO_BYTES; i++)
		if (device.data[i])
			fail_msg("byte %u is not zero", i);
	assert_int_equal(device.data[UBLK_MAX_IO_BYTES], 0x5a);
	memset(device.data, 0x5a, 4096);
	device.at_most = 100;
	assert_int_equal(io_put_zeroes(&io, 512, 1024), 0);
	assert_int_equal(device.data[511], 0x5a);
	for (i = 512; i < 1536; i++)
		assert_int_equal(device.data[i], 0);
	assert_int_equal(device.data[1536], 0x5a);
	device.fail_at = 1;
	device.calls = 0;
	device.error = EFAULT;
	assert_int_equal(io_put_zeroes(&io, 0, 512), -EFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(test_results),
		TEST(test_counters),
		TEST(test_done_twice),
		TEST(test_submit),
		TEST(test_no_room_in_the_ring),
		TEST(test_fetch),
		TEST(test_offsets),
		TEST(test_whole),
		TEST(test_part),
		TEST(test_nothing),
		TEST(test_short),
		TEST(test_interrupted),
		TEST(test_failures),
		TEST(test_zeroes),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
