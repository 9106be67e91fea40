/*
 * The server's questions to the keeper. The channel is faked, and keeps the last
 * question.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "target/ask.h"
#include "support.h"
#include "io/workers.h"

static struct channel channel;
static struct message sent;
static int sent_fd; /* with the question, -1: none */
static int send_error;

/* Who asked, and what they heard. */
static struct asker {
	unsigned heard;
	int result;
	char text[40];
} first, second;

int __wrap_channel_send(struct channel *to, const struct message *message,
			const int *fds, int fd_count)
{
	assert_ptr_equal(to, &channel);
	assert_int_equal(message->magic, MESSAGE_MAGIC);
	assert_int_equal(message->type, MESSAGE_ASK);
	sent = *message;
	sent_fd = fd_count ? fds[0] : -1;
	return send_error;
}

static void hear(void *context, const struct message *answer)
{
	struct asker *asker = context;

	asker->heard++;
	asker->result = answer->result;
	snprintf(asker->text, sizeof(asker->text), "%.39s", answer->text);
}

int before_each(void **state)
{
	ask_open(&channel);
	send_error = 0;
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	return 0;
}

static void answer(uint64_t serial, int result, const char *text)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_ASK,
				   .serial = serial,
				   .result = result };

	snprintf(message.text, sizeof(message.text), "%s", text);
	ask_answer(&message, NULL, 0);
}

/* Whether the server may leave: nobody waits for an answer. */
static int may_leave(void)
{
	int may = workers_drain();

	workers_resume();
	return may;
}

TEST_CASE(test_question)
{
	assert_int_equal(ask(HELPER_LOCK, "r", 7, hear, &first), 0);
	assert_int_equal(sent.number, HELPER_LOCK);
	assert_string_equal(sent.text, "r");
	assert_int_equal(sent_fd, 7);
	answer(sent.serial, 0, "");
	assert_int_equal(ask(HELPER_NODE_USER, "/dev/x", -1, hear, &first), 0);
	assert_int_equal(sent_fd, -1);
	answer(sent.serial, 0, "");
	assert_int_equal(first.heard, 2);
}

/* Helpers are not equally fast: each answer goes to its own question. */
TEST_CASE(test_any_order)
{
	uint64_t serial;

	assert_int_equal(ask(HELPER_DISK_USER, "a", -1, hear, &first), 0);
	serial = sent.serial;
	assert_int_equal(ask(HELPER_DISK_USER, "b", -1, hear, &second), 0);
	assert_int_not_equal(sent.serial, serial);
	answer(serial, -EBUSY, "mounted");
	assert_int_equal(first.heard, 1);
	assert_int_equal(first.result, -EBUSY);
	assert_string_equal(first.text, "mounted");
	assert_int_equal(second.heard, 0);
	/* It is not asked any more. */
	answer(serial, 0, "");
	assert_int_equal(first.heard + second.heard, 1);
	answer(sent.serial, 0, "");
	assert_int_equal(second.heard, 1);
	assert_int_equal(first.heard, 1);
}

/* A server that left would never hear what it has asked. */
TEST_CASE(test_stays_for_the_answer)
{
	assert_true(may_leave());
	assert_int_equal(ask(HELPER_DISK_USER, "a", -1, hear, &first), 0);
	assert_false(may_leave());
	answer(sent.serial, 0, "");
	assert_true(may_leave());
}

static int taken_fd;

static void take_fd(void *context, const struct message *message)
{
	hear(context, message);
	taken_fd = ask_take_fd();
}

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* The one who asked has what came with the answer; nobody's is closed. */
TEST_CASE(test_descriptor)
{
	struct message message = { .type = MESSAGE_ASK };
	int fds[2] = { dup(0), dup(0) };

	assert_int_equal(ask(HELPER_CONNECT, "nbd://", -1, take_fd, &first), 0);
	message.serial = sent.serial;
	ask_answer(&message, fds, 2);
	assert_int_equal(taken_fd, fds[0]);
	assert_true(is_open(fds[0]));
	assert_false(is_open(fds[1]));
	assert_int_equal(ask_take_fd(), -1);
	/* It is not asked any more. */
	ask_answer(&message, fds, 1);
	assert_false(is_open(fds[0]));
	assert_int_equal(ask(HELPER_CONNECT, "nbd://", -1, take_fd, &first), 0);
	answer(sent.serial, -EPIPE, "");
	assert_int_equal(taken_fd, -1);
}

/* A connection is asked for again by the next server. */
TEST_CASE(test_leaves_without_a_connection)
{
	assert_int_equal(ask(HELPER_CONNECT, "nbd://", -1, hear, &first), 0);
	assert_true(may_leave());
	answer(sent.serial, 0, "");
}

TEST_CASE(test_cannot_be_sent)
{
	send_error = -EPIPE;
	assert_int_equal(ask(HELPER_DISK_USER, "a", -1, hear, &first), -EPIPE);
	assert_true(may_leave());
	ask_keeper_gone();
	assert_int_equal(first.heard, 0);
}

TEST_CASE(test_keeper_gone)
{
	assert_int_equal(ask(HELPER_DISK_USER, "a", -1, hear, &first), 0);
	assert_int_equal(ask(HELPER_DISK_USER, "b", -1, hear, &second), 0);
	ask_keeper_gone();
	assert_int_equal(first.heard, 1);
	assert_int_equal(first.result, -EPIPE);
	assert_int_equal(second.heard, 1);
	assert_int_equal(second.result, -EPIPE);
	assert_true(may_leave());
	ask_keeper_gone();
	assert_int_equal(first.heard, 1);
}

int main(void)
{
	return tests_run();
}
