/* The null target: reads give zeroes, and a size must be whole. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fakering.h"
#include "target/target.h"

#define BLOCK 4096u

enum { SIZE, FILL, OPTIONS };

static struct io_port port;
static struct io io;
static struct target *target;
static struct option_value values[OPTIONS];
static struct geometry geometry;
static struct failure failure;

static struct target_args args = { .values = values };

static struct target *open_null(uint64_t size, int fill)
{
	option_defaults(target_null.options, values);
	values[SIZE].number = size;
	values[FILL].number = (uint64_t)fill;
	geometry = (struct geometry){ .block_size = 512 };
	return target_null.open(&args, &geometry, &failure);
}

static void open_port(enum io_mode mode)
{
	port.mode = (uint8_t)mode;
	port.fd = -1;
	assert_int_equal(io_open(&port, &io, 1, BLOCK), 0);
}

/* One request; what the driver is told. */
static int32_t request(uint8_t op)
{
	io.op = op;
	io.offset = 0;
	io.length = BLOCK;
	io_begin(&io);
	target->backend.ops->submit(&target->backend, &io);
	assert_int_equal(port.owned, 0);
	return fake_ring.put[fake_ring.put_count - 1].command.result;
}

int before_each(void **state)
{
	int error;

	fake_ring_start();
	memset(&port, 0, sizeof(port));
	memset(&io, 0, sizeof(io));
	port.ring = ring_create(1, 0, &error);
	return io_initialise();
}

int after_each(void **state)
{
	if (target)
		target_null.close(target);
	target = NULL;
	io_close(&port);
	ring_destroy(port.ring);
	fake_ring_stop();
	return 0;
}

TEST_CASE(test_reads_zeroes)
{
	char *place;

	target = open_null(1 << 20, 1);
	assert_non_null(target);
	assert_int_equal(geometry.size, 1 << 20);
	open_port(IO_COPY);
	io.length = BLOCK;
	place = io_place(&io);
	memset(place, 7, BLOCK);
	/* What is written is taken, and left alone. */
	assert_int_equal(request(IO_WRITE), BLOCK);
	assert_int_equal(place[0], 7);
	assert_int_equal(request(IO_READ), BLOCK);
	assert_int_equal(place[0] | place[BLOCK - 1], 0);
	assert_int_equal(request(IO_FLUSH), 0);
}

/* Where the driver's file does not take the zeroes. */
TEST_CASE(test_cannot_fill)
{
	target = open_null(1 << 20, 1);
	open_port(IO_USER_COPY);
	assert_int_equal(request(IO_READ), -EBADF);
	assert_int_equal(request(IO_WRITE), BLOCK);
}

TEST_CASE(test_moves_nothing)
{
	target = open_null(1 << 20, 0);
	assert_null(geometry.modes);
	open_port(IO_USER_COPY);
	assert_int_equal(request(IO_READ), BLOCK);
}

TEST_CASE(test_sizes)
{
	assert_null(open_null(1000, 1));
	assert_int_equal(failure.symbol, SYMBOL_RANGE);
	assert_null(open_null(0, 1));
	target = open_null(512, 1);
	assert_non_null(target);
	assert_int_equal(target_null.resize(target, 1 << 30, &failure), 0);
}

int main(void)
{
	return tests_run();
}
