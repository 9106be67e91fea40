/* The driver's commands, as they are put into the ring. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "keeper/control.h"
#include "support.h"

#define FD	 9
#define ID	 7
#define DATA	 0x123456789abcdef0
#define NO_QUEUE 0xffff

static struct ring *const ring = (struct ring *)&ring; /* it is only passed */
static struct control control;
static struct ublk_dev_info info;
static uint32_t op; /* of the last command, 0: none */
static struct ublk_ctrl_cmd command;
static int put_error;
static int open_error;

int __wrap_ring_put_command(struct ring *to, int fd, uint32_t command_op,
			    const void *bytes, size_t size, uint64_t data);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_ring_put_command(struct ring *to, int fd, uint32_t command_op,
			    const void *bytes, size_t size, uint64_t data)
{
	assert_ptr_equal(to, ring);
	assert_int_equal(fd, FD);
	assert_int_equal(size, sizeof(command));
	assert_int_equal(data, DATA);
	op = command_op;
	memcpy(&command, bytes, size);
	return put_error;
}

int __wrap_open(const char *path, int flags, ...)
{
	assert_string_equal(path, "/dev/ublk-control");
	assert_int_equal(flags, O_RDWR | O_CLOEXEC);
	errno = open_error;
	return open_error ? -1 : FD;
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags);
}

static int start(void **state)
{
	control = (struct control){ .ring = ring, .fd = FD };
	put_error = open_error = 0;
	op = 0;
	return 0;
}

/* The last command has that number of the device, and these values. */
static void expect(uint32_t wanted_op, uint32_t id, const void *buffer,
		   size_t size, uint64_t number)
{
	struct ublk_ctrl_cmd wanted = { .dev_id = id,
					.queue_id = NO_QUEUE,
					.addr = (uintptr_t)buffer,
					.len = (uint16_t)size };

	wanted.data = number;
	assert_int_equal(op, wanted_op);
	assert_memory_equal(&command, &wanted, sizeof(wanted));
	op = 0;
}

static void test_open(void **state)
{
	open_error = EACCES;
	assert_int_equal(control_open(&control), 0); /* it is open */
	control.fd = -1;
	assert_int_equal(control_open(&control), -EACCES);
	assert_true(control.fd < 0);
	open_error = 0;
	assert_int_equal(control_open(&control), 0);
	assert_int_equal(control.fd, FD);
}

static void test_put(void **state)
{
	assert_int_equal(control_put_buffer(&control, UBLK_CMD_ADD_DEV, ID,
					    &info, sizeof(info), DATA),
			 0);
	expect(UBLK_CMD_ADD_DEV, ID, &info, sizeof(info), 0);
	assert_int_equal(control_put(&control, UBLK_CMD_UPDATE_SIZE, ID,
				     UINT64_MAX / 512, DATA),
			 0);
	expect(UBLK_CMD_UPDATE_SIZE, ID, NULL, 0, UINT64_MAX / 512);
}

/* Of a module that is not loaded, and of a ring that is full. */
static void test_errors(void **state)
{
	put_error = -EAGAIN;
	assert_int_equal(control_put(&control, UBLK_CMD_STOP_DEV, ID, 0, DATA),
			 -EAGAIN);
	op = 0;
	control.fd = -1;
	assert_int_equal(control_put(&control, UBLK_CMD_STOP_DEV, ID, 0, DATA),
			 -ENODEV);
	assert_int_equal(op, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_open, start),
		cmocka_unit_test_setup(test_put, start),
		cmocka_unit_test_setup(test_errors, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
