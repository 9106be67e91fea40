/* One request: its data in pieces, and its completion exactly once. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "fakering.h"
#include "io/backend.h"
#include "io/io.h"

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

ssize_t LARGE(__wrap_pwrite)(int fd, const void *from, size_t length,
			     off_t offset)
{
	uint8_t *to = place(fd, offset, &length);

	if (fails())
		return device.error ? -1 : 0;
	memcpy(to, from, length);
	return (ssize_t)length;
}

ssize_t LARGE(__wrap_pread)(int fd, void *to, size_t length, off_t offset)
{
	const uint8_t *from = place(fd, offset, &length);

	if (fails())
		return device.error ? -1 : 0;
	memcpy(to, from, length);
	return (ssize_t)length;
}

/* ---- a request ---- */

static struct io_port port;
static struct io io;
static int ring_error;

int before_each(void **state)
{
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

int after_each(void **state)
{
	io_close(&port);
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
TEST_CASE(test_results)
{
	static const uint8_t data_ops[] = { IO_READ, IO_WRITE };
	static const uint8_t other_ops[] = { IO_FLUSH, IO_DISCARD,
					     IO_WRITE_ZEROES };
	unsigned i;

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

TEST_CASE(test_counters)
{
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
TEST_CASE(test_done_twice)
{
	struct io other = { .port = &port, .tag = 1, .length = 512 };

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

TEST_CASE(test_submit)
{
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

TEST_CASE(test_no_room_in_the_ring)
{
	fake_ring.put_error = -EBUSY;
	finish(IO_READ, 512, 0);
	assert_true(log_has("cannot be committed"));
}

TEST_CASE(test_fetch)
{
	const struct fake_command *put;

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
TEST_CASE(test_offsets)
{
	assert_true(UBLK_DATA_OFFSET(0, 0) == 0x80000000ULL);
	assert_true(UBLK_DATA_OFFSET(0, 1) == 0x80000000ULL + (32ULL << 20));
	assert_true(UBLK_DATA_OFFSET(1, 0) == 0x80000000ULL + (1ULL << 41));
	assert_true(UBLK_DATA_OFFSET(4095, 4095) ==
		    0x80000000ULL + (4095ULL << 41) + (4095ULL << 25));
}

static void expect_zeroes(const uint8_t *at, uint32_t length)
{
	uint32_t i;

	for (i = 0; i < length; i++)
		if (at[i])
			fail_msg("byte %u is not zero", i);
}

/* The driver may copy less than was asked: the rest follows where that ended. */
TEST_CASE(test_data)
{
	static const struct transfer {
		const char *name;
		uint32_t at, length;
		size_t at_most;	  /* bytes a call */
		unsigned repeats; /* of EINTR, from the second call on */
		unsigned calls;
	} cases[] = {
		{ "all of it", 0, 65536, 0, 0, 1 },
		{ "a part", 4096, 512, 0, 0, 1 },
		{ "an odd part", 4200, 300, 0, 0, 1 },
		{ "nothing", 0, 0, 0, 0, 0 },
		{ "in short pieces", 0, 65536, 1000, 0, 66 },
		{ "interrupted", 0, 65536, 30000, 3, 6 },
	};
	const struct transfer *is;

	fill_pattern(7);
	device.error = EINTR;
	for (is = cases; is < cases + COUNT(cases); is++) {
		about(is->name);
		memset(device.data, 0, DATA_MAX);
		memset(back, 0, sizeof(back));
		device.at_most = is->at_most;
		device.repeats = is->repeats;
		device.fail_at = 2;
		device.calls = 0;
		assert_int_equal(io_put(&io, pattern, is->at, is->length), 0);
		assert_int_equal(device.calls, is->calls);
		expect_zeroes(device.data, is->at);
		assert_memory_equal(device.data + is->at, pattern, is->length);
		expect_zeroes(device.data + is->at + is->length, 4096);
		device.calls = 0;
		assert_int_equal(io_take(&io, back, is->at, is->length), 0);
		assert_int_equal(device.calls, is->calls);
		assert_memory_equal(back, pattern, is->length);
		expect_zeroes(back + is->length, sizeof(back) - is->length);
	}
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
TEST_CASE(test_failures)
{
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
TEST_CASE(test_zeroes)
{
	assert_int_equal(io_initialise(), 0);
	assert_int_equal(io_initialise(), 0);
	memset(device.data, 0x5a, DATA_MAX);
	assert_int_equal(io_put_zeroes(&io, 0, UBLK_MAX_IO_BYTES), 0);
	expect_zeroes(device.data, UBLK_MAX_IO_BYTES);
	assert_int_equal(device.data[UBLK_MAX_IO_BYTES], 0x5a);
	memset(device.data, 0x5a, 4096);
	device.at_most = 100;
	assert_int_equal(io_put_zeroes(&io, 512, 1024), 0);
	assert_int_equal(device.data[511], 0x5a);
	expect_zeroes(device.data + 512, 1024);
	assert_int_equal(device.data[1536], 0x5a);
	device.fail_at = 1;
	device.calls = 0;
	device.error = EFAULT;
	assert_int_equal(io_put_zeroes(&io, 0, 512), -EFAULT);
}

/* ---- the other modes ---- */

#define DEPTH  128
#define MAX_IO 65536u

static struct io ios[DEPTH];

static void open_in(enum io_mode mode)
{
	assert_int_equal(io_initialise(), 0);
	memset(ios, 0, sizeof(ios));
	port.mode = (uint8_t)mode;
	assert_int_equal(io_open(&port, ios, DEPTH, MAX_IO), 0);
	fill_pattern(11);
}

static struct io *begin(uint16_t tag, uint8_t op, uint32_t length)
{
	ios[tag].op = op;
	ios[tag].length = length;
	io_begin(&ios[tag]);
	return &ios[tag];
}

/* The next command; returns what lies at its address. */
static const uint8_t *expect_put(uint32_t op, const struct io *of,
				 int32_t result)
{
	const struct fake_command *put = fake_next_command();

	assert_non_null(put);
	assert_int_equal(put->op, op);
	assert_int_equal(put->data, of->tag);
	assert_int_equal(put->command.tag, of->tag);
	assert_int_equal(put->command.result, result);
	return (const uint8_t *)(uintptr_t)put->command.addr;
}

/* It ends; returns what lies at the address of its commit. */
static const uint8_t *commit(struct io *of, int error, int32_t result)
{
	io_done(of, error);
	return expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, of, result);
}

/* No byte is moved by us: the driver is told where they are. */
TEST_CASE(test_address_of_a_read)
{
	const uint8_t *at;
	struct io *read;

	open_in(IO_NEED_GET_DATA);
	assert_int_equal(io_fetch(&ios[3]), 0);
	assert_null(expect_put(UBLK_IO_FETCH_REQ, &ios[3], 0));
	read = begin(3, IO_READ, 4096);
	assert_int_equal(io_put(read, pattern, 0, 4096), 0);
	at = commit(read, 0, 4096);
	assert_ptr_equal(at, pattern);
	read = begin(3, IO_READ, MAX_IO);
	assert_int_equal(io_put_zeroes(read, 0, MAX_IO), 0);
	at = commit(read, 0, MAX_IO);
	expect_zeroes(at, MAX_IO);
	/* The driver refuses the commit of a read without one. */
	read = begin(3, IO_READ, 4096);
	assert_non_null(commit(read, -EIO, -EIO));
	read = begin(3, IO_FLUSH, 0);
	assert_null(commit(read, 0, 0));
	assert_int_equal(device.calls, 0);
	assert_false(port.holds);
}

/* Only what is the same at any time can be committed once more. */
TEST_CASE(test_read_again)
{
	struct io *read;

	open_in(IO_NEED_GET_DATA);
	read = begin(3, IO_READ, 4096);
	assert_int_equal(io_put_zeroes(read, 0, 4096), 0);
	commit(read, 0, 4096);
	assert_int_equal(io_again(read), 1);
	expect_zeroes(expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, read, 4096),
		      4096);
	read = begin(3, IO_READ, 4096);
	assert_int_equal(io_put(read, pattern, 0, 4096), 0);
	commit(read, 0, 4096);
	assert_int_equal(io_again(read), 1);
	assert_non_null(expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, read, -EIO));
	assert_int_equal(port.owned, 0);
}

static void put_pieces(struct io *read)
{
	assert_int_equal(io_put(read, pattern, 0, 512), 0);
	assert_int_equal(io_put_zeroes(read, 512, 1024), 0);
	assert_int_equal(io_put(read, pattern + 1536, 1536, 2560), 0);
}

/* They are gathered, and stay until the driver has copied them. */
TEST_CASE(test_pieces_of_a_read)
{
	struct io *first, *second;
	const uint8_t *at;

	open_in(IO_NEED_GET_DATA);
	port.in_turn = 1;
	first = begin(1, IO_READ, 4096);
	put_pieces(first);
	at = commit(first, 0, 4096);
	assert_memory_equal(at, pattern, 512);
	expect_zeroes(at + 512, 1024);
	assert_memory_equal(at + 1536, pattern + 1536, 2560);
	assert_int_equal(fake_ring.submits, 0);
	second = begin(2, IO_READ, 4096);
	put_pieces(second);
	assert_int_equal(fake_ring.submits, 1);
	assert_int_equal(fake_ring.submitted, 1);
	commit(second, 0, 4096);
	/* Or it cannot be submitted: this one has to fail then. */
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 1;
	first = begin(1, IO_READ, 4096);
	assert_int_equal(io_put_zeroes(first, 0, 512), -EIO);
	commit(first, -EIO, -EIO);
	assert_true(port.holds);
}

static unsigned given_back[DEPTH];

static void copied(struct backend *backend, struct io *read)
{
	assert_ptr_equal(backend, port.bottom);
	given_back[read->tag]++;
}

static const struct backend_ops lender_ops = { .copied = copied };
static struct backend lender = { .ops = &lender_ops };

static struct io *lend(uint16_t tag)
{
	struct io *read = begin(tag, IO_READ, 4096);

	assert_int_equal(io_put(read, pattern, 0, 4096), 0);
	port.bottom = &lender;
	io_done_lent(read);
	assert_ptr_equal(expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, read, 4096),
			 pattern);
	return read;
}

/* The driver reads what a COMMIT points to when it gets that, not before. */
TEST_CASE(test_memory_is_wanted_back)
{
	open_in(IO_NEED_GET_DATA);
	memset(given_back, 0, sizeof(given_back));
	port.in_turn = 1;
	lend(4);
	lend(5);
	assert_int_equal(port.owned, 0);
	assert_int_equal(given_back[4] + given_back[5], 0);
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 1;
	assert_false(port.holds);
	assert_int_equal(io_settle(&port), -EAGAIN);
	assert_int_equal(given_back[4] + given_back[5], 0);
	assert_true(port.holds);
	assert_int_equal(io_settle(&port), 0);
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	assert_int_equal(given_back[4], 1);
	assert_int_equal(given_back[5], 1);
	assert_int_equal(io_settle(&port), 0);
	assert_int_equal(given_back[4], 1);
	/* If no other turn comes. */
	lend(4);
	fake_ring.submit_failures = 1;
	assert_int_equal(io_trim(&port), 1);
	assert_int_equal(given_back[4], 1);
	io_trim(&port);
	assert_int_equal(given_back[4], 2);
	/* Between two turns there may be none that does it. */
	port.in_turn = 0;
	lend(5);
	assert_int_equal(given_back[5], 2);
	port.in_turn = 1;
	/* The driver cannot read any more. */
	lend(6);
	io_close(&port);
	assert_int_equal(given_back[6], 1);
}

/* What is idle for a while goes back; then there is nothing left to do. */
TEST_CASE(test_trim_need_get_data)
{
	const uint8_t *at;
	unsigned char here;
	struct io *read;

	if (!memory_goes_back())
		skip_without("memory that goes back at once");
	open_in(IO_NEED_GET_DATA);
	read = begin(1, IO_READ, 4096);
	put_pieces(read);
	at = commit(read, 0, 4096);
	assert_int_equal(mincore((void *)at, 1, &here), 0);
	assert_true(here & 1);
	assert_int_equal(io_trim(&port), IO_TRIM_TIME);
	fake_ring.submit_error = -EAGAIN;
	fake_ring.submit_failures = 1;
	assert_true(io_trim(&port) > 0);
	assert_true(port.holds);
	assert_int_equal(io_trim(&port), 0);
	assert_false(port.holds);
	assert_int_equal(mincore((void *)at, 1, &here), 0);
	assert_false(here & 1);
}

/* The data of a write comes when it is asked for. */
TEST_CASE(test_data_of_a_write)
{
	struct io *write;

	open_in(IO_NEED_GET_DATA);
	write = begin(9, IO_WRITE, 8192);
	assert_true(write->data < IO_DATA_ASKED);
	assert_int_equal(io_take(write, back, 0, 8192), IO_LATER);
	assert_ptr_equal(expect_put(UBLK_IO_NEED_GET_DATA, write, 0), back);
	assert_int_equal(fake_ring.submits, 1);
	assert_true(write->data >= IO_DATA_ASKED);
	assert_int_equal(port.owned, 1);
	assert_int_equal(io_resume(write), 1);
	assert_true(write->data < IO_DATA_ASKED);
	assert_int_equal(io_take(write, back, 0, 8192), 0);
	assert_null(fake_next_command());
	assert_null(commit(write, 0, 8192));
	assert_int_equal(port.owned, 0);
	assert_int_equal(port.count[IO_WRITE], 1);
	/* In a turn it goes with the others. */
	port.in_turn = 1;
	fake_ring.submits = 0;
	write = begin(9, IO_WRITE, 8192);
	assert_int_equal(io_take(write, back, 0, 8192), IO_LATER);
	assert_int_equal(fake_ring.submits, 0);
	expect_put(UBLK_IO_NEED_GET_DATA, write, 0);
	/* It may fail after all. */
	assert_int_equal(io_resume(write), 1);
	commit(write, -ENOSPC, -ENOSPC);
	/* The driver takes it back. */
	write = begin(9, IO_WRITE, 8192);
	assert_int_equal(io_take(write, back, 0, 8192), IO_LATER);
	expect_put(UBLK_IO_NEED_GET_DATA, write, 0);
	io_forget(write);
	assert_int_equal(port.owned, 0);
	assert_true(write->data < IO_DATA_ASKED);
	assert_null(fake_next_command());
}

/* Done before its data was taken: the driver wants that first. */
static void check_dropped(int error)
{
	struct io *write = begin(9, IO_WRITE, 8192);
	int32_t result = error ? error : 8192;
	uint8_t *at;

	io_done(write, error);
	at = (uint8_t *)expect_put(UBLK_IO_NEED_GET_DATA, write, 0);
	memset(at, 0x5a, MAX_IO); /* it can be written */
	assert_null(fake_next_command());
	assert_true(write->data >= IO_DATA_ASKED);
	assert_int_equal(port.owned, 1);
	log_forget();
	io_done(write, 0);
	assert_int_equal(log_count("twice"), 1);
	assert_null(fake_next_command());
	assert_int_equal(io_resume(write), 0);
	assert_null(expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, write, result));
	assert_int_equal(port.owned, 0);
	assert_true(port.holds);
}

TEST_CASE(test_data_is_dropped)
{
	struct io *write;

	open_in(IO_NEED_GET_DATA);
	check_dropped(-EOPNOTSUPP);
	check_dropped(-ENOSPC);
	assert_int_equal(port.errors, 2);
	check_dropped(0);
	assert_int_equal(port.count[IO_WRITE], 1);
	/* While it is on its way to where the target wanted it. */
	write = begin(9, IO_WRITE, 4096);
	assert_int_equal(io_take(write, back, 0, 4096), IO_LATER);
	expect_put(UBLK_IO_NEED_GET_DATA, write, 0);
	io_done(write, -EIO);
	assert_null(fake_next_command());
	assert_int_equal(io_resume(write), 0);
	expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, write, -EIO);
	/* The data is garbage, and must not be read as a zero. */
	assert_int_equal(io_put_zeroes(begin(1, IO_READ, MAX_IO), 0, MAX_IO),
			 0);
	expect_zeroes(ios[1].address, MAX_IO);
	port.owned--;
}

TEST_CASE(test_data_cannot_be_taken)
{
	struct io *write;

	open_in(IO_NEED_GET_DATA);
	write = begin(9, IO_WRITE, 8192);
	assert_int_equal(io_take(write, back, 512, 7680), -EINVAL);
	assert_int_equal(io_take(write, back, 0, 4096), -EINVAL);
	fake_ring.put_error = -EBUSY;
	assert_int_equal(io_take(write, back, 0, 8192), -EBUSY);
	assert_true(write->data < IO_DATA_ASKED);
	io_done(write, -EBUSY);
	assert_true(log_has("cannot be taken"));
	port.owned = 0;
}

/* ---- copy ---- */

static int is_there(const uint8_t *at)
{
	unsigned char here;

	assert_int_equal(mincore((void *)((uintptr_t)at & ~4095UL), 1, &here),
			 0);
	return here & 1;
}

/* The driver delivers a write: its data lies in the buffer. */
static struct io *deliver(uint16_t tag, uint8_t *buffer, const uint8_t *data)
{
	memcpy(buffer, data, 8192);
	return begin(tag, IO_WRITE, 8192);
}

static uint8_t *fetch(uint16_t tag)
{
	assert_int_equal(io_fetch(&ios[tag]), 0);
	return (uint8_t *)expect_put(UBLK_IO_FETCH_REQ, &ios[tag], 0);
}

TEST_CASE(test_buffers)
{
	uint8_t *one, *other;
	struct io *of;

	open_in(IO_COPY);
	one = fetch(4);
	other = fetch(5);
	assert_int_equal((uintptr_t)one % 4096, 0);
	assert_int_equal(other - one, MAX_IO);
	of = deliver(4, one, pattern);
	assert_int_equal(io_take(of, back, 512, 1024), 0);
	assert_memory_equal(back, pattern + 512, 1024);
	io_done(of, 0);
	/* Whatever it was: the driver wants an address for the next one. */
	assert_ptr_equal(expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, of, 8192),
			 one);
	of = begin(5, IO_READ, 8192);
	assert_int_equal(io_put(of, pattern, 0, 4096), 0);
	assert_int_equal(io_put_zeroes(of, 4096, 4096), 0);
	io_done(of, 0);
	assert_ptr_equal(expect_put(UBLK_IO_COMMIT_AND_FETCH_REQ, of, 8192),
			 other);
	assert_memory_equal(other, pattern, 4096);
	expect_zeroes(other + 4096, 4096);
	assert_int_equal(device.calls, 0);
	/* No piece of memory is that large. */
	port.buffers = NULL;
	assert_int_equal(io_open(&port, ios, DEPTH, UINT32_MAX - 8191),
			 sizeof(void *) > 4 ? 0 : -ENOMEM);
}

/* Only what somebody wrote is made zero, and nothing else takes memory. */
TEST_CASE(test_zeroes_in_a_buffer)
{
	uint8_t *buffer;
	struct io *of;

	open_in(IO_COPY);
	buffer = fetch(6);
	of = begin(6, IO_READ, MAX_IO);
	assert_int_equal(io_put_zeroes(of, 0, MAX_IO), 0);
	io_done(of, 0);
	assert_false(is_there(buffer));
	io_done(deliver(6, buffer, pattern), 0);
	of = begin(6, IO_READ, MAX_IO);
	assert_int_equal(io_put_zeroes(of, 4096, 512), 0);
	assert_memory_equal(buffer, pattern, 4096);
	expect_zeroes(buffer + 4096, 512);
	assert_memory_equal(buffer + 4608, pattern + 4608, 8192 - 4608);
	assert_int_equal(io_put_zeroes(of, 0, MAX_IO), 0);
	expect_zeroes(buffer, 8192);
	assert_false(is_there(buffer + 8192));
	io_done(of, 0);
	of = begin(6, IO_READ, MAX_IO);
	assert_int_equal(io_put(of, pattern, 8192, 8192), 0);
	/* A small piece after a large one: all of the large one is not zero. */
	assert_int_equal(io_put(of, pattern, 0, 512), 0);
	assert_int_equal(io_put_zeroes(of, 0, MAX_IO), 0);
	expect_zeroes(buffer, 16384);
	io_done(of, 0);
}

/* A buffer's last page has bytes of no other tag. */
TEST_CASE(test_buffers_have_whole_pages)
{
	assert_int_equal(io_initialise(), 0);
	port.mode = IO_COPY;
	assert_int_equal(io_open(&port, ios, DEPTH, 4096 + 512), 0);
	assert_int_equal(port.buffer_size, 8192);
	assert_int_equal(fetch(5) - fetch(4), 8192);
}

/* A port that is closed has no part in the next one's data. */
TEST_CASE(test_close_with_a_gathered_read)
{
	struct io *of;

	open_in(IO_NEED_GET_DATA);
	of = begin(1, IO_READ, 8192);
	assert_int_equal(io_put(of, pattern, 0, 4096), 0);
	io_done(of, 0);
	io_close(&port);
	open_in(IO_NEED_GET_DATA);
	of = begin(2, IO_READ, 8192);
	fake_ring.submits = 0;
	assert_int_equal(io_put(of, pattern, 0, 4096), 0);
	assert_int_equal(fake_ring.submits, 0);
	io_done(of, 0);
}

TEST_CASE(test_trim_buffers)
{
	uint8_t *buffer;
	struct io *of;

	if (!memory_goes_back())
		skip_without("memory that goes back at once");
	open_in(IO_COPY);
	buffer = fetch(6);
	of = deliver(6, buffer, pattern);
	assert_true(port.holds);
	/* Not while requests come, and not while one is here. */
	assert_int_equal(io_trim(&port), IO_TRIM_TIME);
	assert_int_equal(io_trim(&port), IO_TRIM_TIME);
	assert_memory_equal(buffer, pattern, 8192);
	io_done(of, 0);
	assert_int_equal(io_trim(&port), 0);
	assert_false(port.holds);
	assert_false(is_there(buffer));
	of = begin(6, IO_READ, 8192);
	assert_int_equal(io_put_zeroes(of, 0, 8192), 0);
	assert_false(is_there(buffer));
	expect_zeroes(buffer, 8192);
	io_done(of, 0);
	/* There is nothing to give back again before it is written. */
	assert_false(port.holds);
	of = begin(6, IO_READ, 8192);
	assert_int_equal(io_put(of, pattern, 0, 8192), 0);
	assert_true(port.holds);
	io_done(of, 0);
}

/* A request that lies in the ring has its data in a buffer already. */
TEST_CASE(test_trim_among_requests)
{
	uint8_t *buffer;
	struct io *of;

	if (!memory_goes_back())
		skip_without("memory that goes back at once");
	open_in(IO_COPY);
	buffer = fetch(6);
	memcpy(buffer, pattern, 8192);
	port.holds = 1;
	fake_complete(6, 0);
	assert_int_equal(io_trim(&port), IO_TRIM_TIME);
	/* The driver can put the next one there. */
	memcpy(fetch(7), pattern + 16384, 8192);
	fake_ring.reaped = fake_ring.event_count;
	of = begin(6, IO_WRITE, 8192);
	assert_int_equal(io_take(of, back, 0, 8192), 0);
	assert_memory_equal(back, pattern, 8192);
	io_done(of, 0);
	assert_int_equal(io_trim(&port), IO_TRIM_TIME);
	assert_int_equal(io_trim(&port), 0);
	assert_false(port.holds);
	expect_zeroes(buffer, 8192);
}

/* What mprotect was called with, and what the driver did just before that. */
static int protection;
static int comes_meanwhile;

int __real_mprotect(void *memory, size_t size, int allowed);

int __wrap_mprotect(void *memory, size_t size, int allowed)
{
	if (comes_meanwhile && allowed == PROT_READ) {
		memcpy(memory, pattern, 8192);
		fake_complete(0, 0);
	}
	protection = allowed;
	return __real_mprotect(memory, size, allowed);
}

/*
 * A WRITE that comes just before its buffer is freed keeps its data; while a
 * buffer is freed the driver can put none there, and so loses none.
 */
TEST_CASE(test_trim_while_a_request_comes)
{
	struct io *of;

	open_in(IO_COPY);
	(void)fetch(0);
	port.holds = 1;
	comes_meanwhile = 1;
	assert_int_equal(io_trim(&port), IO_TRIM_TIME);
	comes_meanwhile = 0;
	assert_int_equal(protection, PROT_READ | PROT_WRITE);
	of = begin(0, IO_WRITE, 8192);
	assert_int_equal(io_take(of, back, 0, 8192), 0);
	assert_memory_equal(back, pattern, 8192);
	io_done(of, 0);
}

/* Freeing much takes long: in pieces, and requests may come between them. */
TEST_CASE(test_trim_in_pieces)
{
	unsigned calls = 0;

	if (!memory_goes_back())
		skip_without("memory that goes back at once");
	open_in(IO_COPY);
	io_close(&port);
	assert_int_equal(io_open(&port, ios, DEPTH, 512 << 10), 0);
	memcpy(fetch(0), pattern, 8192);
	memcpy(fetch(DEPTH - 1), pattern, 8192);
	port.holds = 1;
	assert_int_equal(io_trim(&port), 1);
	expect_zeroes((uint8_t *)ios[0].address, 8192);
	assert_memory_equal(ios[DEPTH - 1].address, pattern, 8192);
	/* A request between two pieces: it begins again, later. */
	io_done(begin(0, IO_WRITE, 8192), 0);
	memcpy((uint8_t *)ios[0].address, pattern, 8192);
	assert_int_equal(io_trim(&port), IO_TRIM_TIME);
	while (io_trim(&port) == 1)
		calls++;
	assert_int_equal(calls, 7); /* and the last one: 8.5 MiB each */
	expect_zeroes((uint8_t *)ios[0].address, 8192);
	expect_zeroes((uint8_t *)ios[DEPTH - 1].address, 8192);
	assert_false(port.holds);
}

int main(void)
{
	return tests_run();
}
