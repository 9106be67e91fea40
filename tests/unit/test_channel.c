/* The socketpair between keeper and server: order, descriptors, its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/channel.h"
#include "support.h"

static int malloc_fails;

void *__real_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return malloc_fails ? NULL : __real_malloc(size);
}

/* There were more descriptors than the receiver has room for. */
static int is_cut_off;

ssize_t __real_recvmsg(int fd, struct msghdr *header, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *header, int flags)
{
	ssize_t got = __real_recvmsg(fd, header, flags);

	if (is_cut_off)
		header->msg_flags |= MSG_CTRUNC;
	return got;
}

/* The channel under test, and the bare other end. */
static struct channel channel;
static int other;

static struct {
	unsigned received, gone;
	uint64_t next; /* serial that must come next */
	int fds[MESSAGE_MAX_FDS], fd_count;
	int close_at; /* close the channel at that message */
	int reply;
} seen;

static void on_message(struct channel *at, const struct message *message,
		       const int *fds, int fd_count)
{
	assert_ptr_equal(at, &channel);
	assert_ptr_equal(at->owner, &seen);
	assert_int_equal(message->serial, seen.next);
	seen.next++;
	seen.received++;
	seen.fd_count = fd_count;
	if (fd_count)
		memcpy(seen.fds, fds, sizeof(int) * (size_t)fd_count);
	if (seen.reply)
		assert_int_equal(channel_send(at, message, NULL, 0), 0);
	if (seen.close_at && seen.received == (unsigned)seen.close_at)
		channel_close(at);
}

static void on_gone(struct channel *at)
{
	assert_int_equal(at->fd, -1);
	seen.gone++;
}

int before_each(void **state)
{
	int pair[2];

	memset(&seen, 0, sizeof(seen));
	test_loop_open();
	assert_int_equal(socketpair(AF_UNIX,
				    SOCK_SEQPACKET | SOCK_NONBLOCK |
					    SOCK_CLOEXEC,
				    0, pair),
			 0);
	other = pair[1];
	channel_open(&channel, test_loop, pair[0], on_message, on_gone, &seen);
	return 0;
}

static void close_other(void)
{
	if (other >= 0)
		close(other);
	other = -1;
}

int after_each(void **state)
{
	malloc_fails = is_cut_off = 0;
	channel_close(&channel);
	close_other();
	test_loop_close();
	log_forget();
	return 0;
}

/* In its turn the channel takes so many messages, and sees its end. */
static void expect_end(unsigned received)
{
	turn(2);
	assert_int_equal(seen.received, received);
	assert_int_equal(seen.gone, 1);
}

static struct message numbered(uint64_t serial)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_READY };

	message.serial = serial;
	memset(message.text, (int)(serial % 251), 200);
	return message;
}

/* What the other end gets: that message, or -1 where there is none. */
static long take(void)
{
	struct message message = { .magic = 0 }, expected;
	ssize_t got = recv(other, &message, sizeof(message), 0);

	if (got < 0)
		return -1;
	/* The zero bytes at its end stay away. */
	assert_int_equal(got, message_length(&message));
	expected = numbered(message.serial);
	assert_memory_equal(&message, &expected, sizeof(message));
	return (long)message.serial;
}

static void give(uint64_t serial)
{
	struct message message = numbered(serial);
	size_t length = message_length(&message);

	assert_int_equal(send(other, &message, length, 0), length);
}

static int send_numbered(uint64_t serial)
{
	struct message message = numbered(serial);

	return channel_send(&channel, &message, NULL, 0);
}

TEST_CASE(test_both_ways)
{
	assert_int_equal(send_numbered(5), 0);
	assert_null(channel.first);
	assert_int_equal(take(), 5);
	give(0);
	give(1);
	turn(2);
	assert_int_equal(seen.received, 2);
	assert_int_equal(seen.gone, 0);
}

/* Nothing waits, nothing is lost, and nothing overtakes. */
TEST_CASE(test_full_socket)
{
	long sent = 0, taken = 0, kept_from = -1;
	int i;

	for (i = 0; i < 2000; i++) {
		assert_int_equal(send_numbered((uint64_t)sent++), 0);
		if (kept_from < 0 && channel.first)
			kept_from = sent;
	}
	assert_true(kept_from > 0);
	/* A little room: what was kept goes first, and new ones behind it. */
	for (i = 0; i < 10; i++)
		assert_int_equal(take(), taken++);
	assert_int_equal(send_numbered((uint64_t)sent++), 0);
	while (taken < sent) {
		long got = take();

		if (got < 0) {
			assert_non_null(channel.first);
			turn(1);
			continue;
		}
		assert_int_equal(got, taken++);
	}
	turn(2);
	assert_null(channel.first);
	assert_int_equal(take(), -1);
	assert_int_equal(send_numbered(7), 0);
	assert_int_equal(take(), 7);
}

/* The loop looks for room only while something is kept. */
TEST_CASE(test_writer_is_needed)
{
	while (!channel.first)
		assert_int_equal(send_numbered(0), 0);
	assert_true(ev_is_active(&channel.writer));
	turn(3);
	assert_non_null(channel.first);
	while (take() >= 0)
		turn(1);
	turn(1);
	assert_null(channel.first);
	assert_false(ev_is_active(&channel.writer));
}

TEST_CASE(test_out_of_memory)
{
	uint64_t serial = 0, i;

	while (!channel.first)
		assert_int_equal(send_numbered(serial++), 0);
	malloc_fails = 1;
	assert_int_equal(send_numbered(9999), -ENOMEM);
	malloc_fails = 0;
	assert_int_equal(send_numbered(serial++), 0);
	/* The one that was refused never comes; the others all do. */
	for (i = 0; i < serial; i++) {
		long got = take();

		if (got < 0) {
			turn(1);
			got = take();
		}
		assert_int_equal(got, i);
	}
}

static int same_file(int a, int b)
{
	struct stat one, two;

	assert_int_equal(fstat(a, &one), 0);
	assert_int_equal(fstat(b, &two), 0);
	return one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

TEST_CASE(test_sends_descriptors)
{
	struct message message = numbered(3);
	struct iovec vector = { &message, sizeof(message) };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * MESSAGE_MAX_FDS)];
	} control;
	struct msghdr header = { .msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control) };
	int pipes[2], fds[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(channel_send(&channel, &message, pipes, 2), 0);
	assert_true(recvmsg(other, &header, 0) > 0);
	assert_int_equal(control.header.cmsg_type, SCM_RIGHTS);
	assert_int_equal(control.header.cmsg_len, CMSG_LEN(sizeof(fds)));
	memcpy(fds, CMSG_DATA(&control.header), sizeof(fds));
	assert_true(same_file(fds[0], pipes[0]));
	assert_true(same_file(fds[1], pipes[1]));
	/* The sender's stay the sender's. */
	assert_int_equal(close(pipes[0]) | close(pipes[1]), 0);
	assert_int_equal(close(fds[0]) | close(fds[1]), 0);
}

/* A message with descriptors, from the other end. */
static void give_fds(const struct message *message, size_t length,
		     const int *fds, int count)
{
	struct iovec vector = { (void *)message, length };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * MESSAGE_MAX_FDS)];
	} control;
	size_t bytes = sizeof(int) * (size_t)count;
	struct msghdr header = { .msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = CMSG_SPACE(bytes) };

	memset(&control, 0, sizeof(control));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(&control.header), fds, bytes);
	assert_int_equal(sendmsg(other, &header, 0), length);
}

TEST_CASE(test_receives_descriptors)
{
	struct message message = numbered(0);
	int fds[MESSAGE_MAX_FDS], i;

	for (i = 0; i < MESSAGE_MAX_FDS; i++)
		fds[i] = open(i % 2 ? "/dev/null" : "/dev/zero", O_RDONLY);
	give_fds(&message, sizeof(message), fds, MESSAGE_MAX_FDS);
	turn(2);
	assert_int_equal(seen.received, 1);
	assert_int_equal(seen.fd_count, MESSAGE_MAX_FDS);
	for (i = 0; i < MESSAGE_MAX_FDS; i++) {
		assert_true(same_file(seen.fds[i], fds[i]));
		assert_true(fcntl(seen.fds[i], F_GETFD) & FD_CLOEXEC);
		close(seen.fds[i]);
		close(fds[i]);
	}
	give(1);
	turn(2);
	assert_int_equal(seen.fd_count, 0);
}

/* What was cut off of it would be missed later. */
TEST_CASE(test_too_many_descriptors)
{
	struct message message = numbered(0);
	unsigned open_fds = count_fds();

	is_cut_off = 1;
	give_fds(&message, sizeof(message), &other, 1);
	expect_end(0);
	assert_int_equal(count_fds(), open_fds - 1);
}

TEST_CASE(test_end_of_peer)
{
	give(0);
	close_other();
	/* What came before the end is taken first. */
	expect_end(1);
	assert_int_equal(send_numbered(0), -EPIPE);
	turn(2);
	assert_int_equal(seen.gone, 1);
}

TEST_CASE(test_send_to_nobody)
{
	close_other();
	assert_int_equal(send_numbered(0), -EPIPE);
	turn(2);
	assert_int_equal(seen.gone, 1);
}

/* The peer leaves with messages unread: the kernel says ECONNRESET once. */
TEST_CASE(test_send_to_one_that_left)
{
	assert_int_equal(send_numbered(0), 0);
	close_other();
	assert_int_equal(send_numbered(1), -EPIPE);
	turn(2);
	assert_int_equal(seen.gone, 1);
}

/* The end comes while messages are kept. */
TEST_CASE(test_end_while_full)
{
	uint64_t serial = 0;

	while (!channel.first)
		assert_int_equal(send_numbered(serial++), 0);
	send_numbered(serial++);
	close_other();
	turn(3);
	assert_int_equal(seen.gone, 1);
	assert_null(channel.first);
}

/* Those of messages that could not be sent yet are the channel's. */
TEST_CASE(test_close_with_descriptors)
{
	struct message message = numbered(0);
	unsigned open_fds = count_fds();
	uint64_t serial = 0;
	int i;

	while (!channel.first)
		assert_int_equal(send_numbered(serial++), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(channel_send(&channel, &message, &other, 1),
				 0);
	assert_int_equal(count_fds(), open_fds + 3);
	channel_close(&channel);
	assert_int_equal(count_fds(), open_fds - 1);
}

TEST_CASE(test_wrong_magic)
{
	struct message message = numbered(0);
	unsigned fds = count_fds();
	int null = open("/dev/null", O_RDONLY);

	message.magic++;
	give_fds(&message, sizeof(message), &null, 1);
	expect_end(0);
	assert_true(log_has("another version"));
	/* Its descriptors are closed, and so is the channel. */
	close(null);
	assert_int_equal(count_fds(), fds - 1);
}

TEST_CASE(test_wrong_length)
{
	struct message message = numbered(0);

	/* Not even a whole head. */
	assert_int_equal(send(other, &message, 16, 0), 16);
	expect_end(0);
}

TEST_CASE(test_too_long)
{
	struct message messages[2] = { numbered(0), numbered(1) };

	assert_int_equal(send(other, messages, sizeof(messages), 0),
			 sizeof(messages));
	expect_end(0);
}

/* Messages come in bounded turns, and all of them come. */
TEST_CASE(test_many)
{
	uint64_t i;

	for (i = 0; i < 100; i++)
		give(i);
	turn(1);
	assert_true(seen.received > 0);
	assert_true(seen.received < 100);
	turn(10);
	assert_int_equal(seen.received, 100);
}

TEST_CASE(test_close_in_receive)
{
	seen.close_at = 2;
	give(0);
	give(1);
	give(2);
	turn(3);
	assert_int_equal(seen.received, 2);
	/* Who closes it knows: it is not told. */
	assert_int_equal(seen.gone, 0);
}

TEST_CASE(test_reply_in_receive)
{
	seen.reply = 1;
	give(0);
	give(1);
	turn(2);
	assert_int_equal(take(), 0);
	assert_int_equal(take(), 1);
}

int main(void)
{
	return tests_run();
}
