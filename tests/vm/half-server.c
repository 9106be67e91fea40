/*
 * half-server ID FETCHED: a ublk server that fetches only so many of the four
 * tags of its one queue. It sends START_DEV, prints "pending" and waits; START_DEV
 * is not answered before the last tag is fetched, so there is never a disk. On
 * SIGTERM it takes START_DEV back and deletes the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/uapi.h"

#define DEPTH	4
#define SECTORS (16u << 11) /* 16 MiB */

enum {
	DATA_COMMAND = 1,
	DATA_START,
	DATA_FETCH,
	DATA_CANCEL,
};

static struct io_uring control, queue;
static int control_fd;
static unsigned id;

static void die(const char *what, int error)
{
	fprintf(stderr, "half-server: %s: %s\n", what, strerror(error));
	exit(1);
}

/* A ring for commands of the control device, which take 128 bytes. */
static void open_ring(struct io_uring *ring, unsigned flags)
{
	struct io_uring_params params = { .flags = flags };
	int error = io_uring_queue_init_params(16, ring, &params);

	if (error)
		die("io_uring", -error);
}

static struct io_uring_sqe *take(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		die("a full ring", EBUSY);
	memset(sqe, 0, ring == &control ? 128 : 64);
	return sqe;
}

static void put(struct io_uring *ring, int fd, unsigned op, const void *command,
		size_t size, unsigned long long data)
{
	struct io_uring_sqe *sqe = take(ring);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = op;
	sqe->user_data = data;
	memcpy(sqe->cmd, command, size);
	io_uring_submit(ring);
}

static void put_control(unsigned op, void *buffer, size_t size,
			unsigned long long number, unsigned long long data)
{
	struct ublk_ctrl_cmd command = { .dev_id = id,
					 .queue_id = 0xffff,
					 .addr = (uintptr_t)buffer,
					 .len = (uint16_t)size,
					 .data = number };

	put(&control, control_fd, op, &command, sizeof(command), data);
}

/* The result of a command of the control device; other completions go. */
static int await(unsigned long long data)
{
	struct io_uring_cqe *cqe;
	unsigned long long found;
	int result;

	do {
		int error = io_uring_wait_cqe(&control, &cqe);

		if (error)
			die("wait", -error);
		found = cqe->user_data;
		result = cqe->res;
		io_uring_cqe_seen(&control, cqe);
	} while (found != data);
	return result;
}

static void command(const char *name, unsigned op, void *buffer, size_t size)
{
	int result;

	put_control(op, buffer, size, 0, DATA_COMMAND);
	result = await(DATA_COMMAND);
	if (result < 0)
		die(name, -result);
}

static void add(void)
{
	struct ublk_dev_info info = { .nr_hw_queues = 1,
				      .queue_depth = DEPTH,
				      .max_io_buf_bytes = 65536,
				      .dev_id = id,
				      .flags = UBLK_F_CMD_IOCTL_ENCODE |
					       UBLK_F_USER_COPY };
	struct ublk_params params = { .len = sizeof(params),
				      .types = UBLK_PARAM_TYPE_BASIC,
				      .basic = { .logical_bs_shift = 9,
						 .physical_bs_shift = 12,
						 .io_opt_shift = 12,
						 .io_min_shift = 9,
						 .max_sectors = 128,
						 .dev_sectors = SECTORS } };

	command("ADD_DEV", UBLK_CMD_ADD_DEV, &info, sizeof(info));
	command("SET_PARAMS", UBLK_CMD_SET_PARAMS, &params, sizeof(params));
}

/* udev or devtmpfs makes the node; it may take a moment. */
static int open_channel(void)
{
	char path[32];
	int fd, tries;

	snprintf(path, sizeof(path), "/dev/ublkc%u", id);
	for (tries = 0; tries < 100; tries++) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		usleep(20000);
	}
	die(path, errno);
	return -1;
}

static void take_back(int channel)
{
	struct io_uring_sqe *sqe = take(&control);

	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = DATA_START;
	sqe->user_data = DATA_CANCEL;
	io_uring_submit(&control);
	await(DATA_START);
	io_uring_queue_exit(&queue);
	close(channel);
	command("DEL_DEV", UBLK_CMD_DEL_DEV, NULL, 0);
}

int main(int argc, char **argv)
{
	sigset_t term;
	unsigned tag, fetched;
	int channel, signal_number;

	if (argc != 3)
		die("usage: half-server ID FETCHED", EINVAL);
	id = (unsigned)atoi(argv[1]);
	fetched = (unsigned)atoi(argv[2]);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	control_fd = open(UBLK_CONTROL_PATH, O_RDWR | O_CLOEXEC);
	if (control_fd < 0)
		die(UBLK_CONTROL_PATH, errno);
	open_ring(&control, IORING_SETUP_SQE128);
	open_ring(&queue, 0);
	add();
	channel = open_channel();
	for (tag = 0; tag < fetched && tag < DEPTH; tag++) {
		struct ublk_io_cmd fetch = { .tag = (uint16_t)tag,
					     .result = -1 };

		put(&queue, channel, UBLK_IO_FETCH_REQ, &fetch, sizeof(fetch),
		    DATA_FETCH);
	}
	put_control(UBLK_CMD_START_DEV, NULL, 0, (unsigned)getpid(),
		    DATA_START);
	puts("pending");
	fflush(stdout);
	sigwait(&term, &signal_number);
	take_back(channel);
	return 0;
}
