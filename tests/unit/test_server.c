/*
 * The server's side of what the keeper tells: the word to go, an upgrade that
 * comes to nothing, and the keeper's end.
 */
/* NOLINTNEXTLINE(bugprone-suspicious-include): its functions are static */
#include "../../src/server/server.c"

#include <fcntl.h>
#include <sys/socket.h>

#include "support.h"
#include "io/workers.h"

static struct server server;
static struct message sent; /* the last one */
static unsigned sent_count;
static unsigned admins, handovers; /* that were opened */
static int reader_seen;
static int adopt_result;
static int ask_result; /* of the question for the driver's features */
static int old_keeper; /* the other end of the old server's socket */

int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count)
{
	assert_ptr_equal(channel, &server.channel);
	assert_int_equal(fd_count, 0);
	sent = *message;
	sent_count++;
	return message->type == MESSAGE_FEATURES ? ask_result : 0;
}

struct admin *__wrap_admin_open(struct ev_loop *loop, int listener, int reader,
				struct command_host *host)
{
	assert_ptr_equal(loop, test_loop);
	assert_int_equal(listener, server.listener);
	reader_seen = reader;
	assert_ptr_equal(host, &server.host);
	admins++;
	return (struct admin *)&admins; /* nobody looks into it */
}

void __wrap_handover_open(struct handover *handover)
{
	assert_ptr_equal(handover, &server.handover);
	assert_int_equal(handover->fd, server.handover_fd);
	assert_ptr_equal(handover->leave, on_leave);
	handovers++;
}

int __wrap_command_adopt(struct command_host *host,
			 const struct message *message, int *fds, int fd_count,
			 struct failure *failure)
{
	assert_ptr_equal(host, &server.host);
	if (adopt_result < 0)
		failure_set(failure, SYMBOL_IO, EIO, NULL, "it is broken");
	return adopt_result;
}

#define LINUX_7_3 0x1fffff /* the features of its driver */

int before_each(void **state)
{
	test_loop_open();
	log_forget();
	memset(&server, 0, sizeof(server));
	memset(&sent, 0, sizeof(sent));
	sent_count = admins = handovers = 0;
	adopt_result = ask_result = 0;
	server.loop = server.host.devices.loop = test_loop;
	server.host.devices.channel = &server.channel;
	server.channel.owner = &server;
	server.listener = server.handover_fd = server.old = -1;
	server.reader = reader_seen = -1;
	return 0;
}

int after_each(void **state)
{
	drain_end(&server.drain);
	test_loop_close();
	return 0;
}

/* With that descriptor, -1: with none. */
static void hear_with(struct message message, int fd)
{
	message.magic = MESSAGE_MAGIC;
	on_message(&server.channel, &message, &fd, fd >= 0);
}

static void hear(struct message message)
{
	hear_with(message, -1);
}

/* ---- the table ---- */

static void hear_device(uint16_t state)
{
	struct message device = { .type = MESSAGE_DEVICE, .id = 7 };

	device.info.state = state;
	hear(device);
}

static void expect_prepared(int result)
{
	hear((struct message){ .type = MESSAGE_TABLE_END });
	assert_int_equal(sent.type, MESSAGE_PREPARED);
	assert_int_equal(sent.number, 1); /* it takes a copy of the table */
	assert_int_equal(sent.result, result);
}

/* One that waits for any server is no loss if this one cannot serve it. */
TEST_CASE(test_lost_device)
{
	adopt_result = -1;
	hear_device(UBLK_S_DEV_QUIESCED);
	assert_true(log_has("device 7 cannot be taken over: it is broken"));
	expect_prepared(0);
}

TEST_CASE(test_unfit)
{
	hear_device(UBLK_S_DEV_LIVE);
	expect_prepared(0);
	adopt_result = -1;
	hear_device(UBLK_S_DEV_LIVE);
	expect_prepared(-EINVAL);
	assert_string_equal(sent.text, "device 7: it is broken");
}

/* ---- the configuration ---- */

TEST_CASE(test_configuration_fails)
{
	struct failure failure;

	failure_set(&failure, SYMBOL_ARG, 0, NULL, "f:3: no such target");
	on_started(&server.host, &failure);
	assert_int_equal(sent.type, MESSAGE_FAILED);
	assert_string_equal(sent.text, "f:3: no such target");
	assert_int_equal(server.status, 1);
	assert_int_equal(admins, 0);
}

/* Users of a device that was there before do not suffer from that. */
TEST_CASE(test_configuration_fails_in_take_over)
{
	struct failure failure;

	hear_device(UBLK_S_DEV_QUIESCED);
	failure_set(&failure, SYMBOL_ARG, 0, NULL, "f:3: no such target");
	on_started(&server.host, &failure);
	assert_int_equal(sent.type, MESSAGE_READY);
	assert_int_equal(server.status, 0);
	assert_int_equal(admins, 1);
}

/* ---- an upgrade that comes to nothing ---- */

TEST_CASE(test_upgrade_fails)
{
	hear((struct message){ .type = MESSAGE_MAY_LEAVE });
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	assert_int_equal(sent.result, 0);
	assert_true(workers_are_held());
	hear((struct message){ .type = MESSAGE_UPGRADE, .result = -EBUSY });
	assert_false(workers_are_held());
}

/* ---- the keeper's end ---- */

/* With the socket of the server that was there before. */
static void hear_go(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				    ends),
			 0);
	old_keeper = ends[1];
	hear_with((struct message){ .type = MESSAGE_GO }, ends[0]);
}

static void go(void)
{
	hear_go();
	assert_int_equal(sent.type, MESSAGE_FEATURES);
}

/* Nobody waits for an answer to what was not asked. */
TEST_CASE(test_go_without_memory)
{
	ask_result = -ENOMEM;
	hear_go();
	assert_int_equal(sent.type, MESSAGE_READY);
	close(old_keeper);
}

/* What the driver can do is known before anything is done with it. */
TEST_CASE(test_go)
{
	go();
	hear((struct message){ .type = MESSAGE_FEATURES,
			       .serial = sent.serial,
			       .number = LINUX_7_3 });
	assert_int_equal(sent.type, MESSAGE_READY);
	assert_int_equal(server.host.devices.features, LINUX_7_3);
	assert_int_equal(admins, 1);
	close(old_keeper);
}

/* The read-only socket comes with a message of its own, and may not come. */
TEST_CASE(test_reader)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	hear((struct message){ .type = MESSAGE_READER });
	assert_int_equal(server.reader, -1);
	hear_with((struct message){ .type = MESSAGE_READER }, fd);
	go();
	hear((struct message){ .type = MESSAGE_FEATURES,
			       .serial = sent.serial });
	assert_int_equal(admins, 1);
	assert_int_equal(reader_seen, fd);
	close(fd);
	close(old_keeper);
}

TEST_CASE(test_go_without_driver)
{
	go();
	hear((struct message){ .type = MESSAGE_FEATURES,
			       .serial = sent.serial,
			       .result = -ENOENT });
	assert_true(log_has("modprobe"));
	assert_int_equal(sent.type, MESSAGE_READY);
	close(old_keeper);
}

/* What the old server hears before its socket is closed; 0: nothing. */
static uint32_t heard_by_old(void)
{
	struct message message = { .type = 0 };
	int fds[MESSAGE_MAX_FDS], count;

	if (channel_receive_now(old_keeper, &message, fds, &count) <= 0)
		message.type = 0;
	close(old_keeper);
	return message.type;
}

/* It was killed before it could tell the old server: two would serve. */
TEST_CASE(test_keeper_gone_at_once)
{
	go();
	server.host.devices.count = 1;
	on_keeper_gone(&server.channel);
	assert_int_equal(heard_by_old(), MESSAGE_LEAVE);
	assert_true(server.host.keeper_gone);
	assert_int_equal(handovers, 1);
	assert_int_equal(admins, 1);
}

/* It has told the old server itself, which may be another by now. */
TEST_CASE(test_keeper_gone_later)
{
	go();
	hear((struct message){ .type = MESSAGE_TALLY });
	assert_int_equal(heard_by_old(), 0);
	server.host.devices.count = 1;
	on_keeper_gone(&server.channel);
	assert_int_equal(handovers, 1);
}

int main(void)
{
	return tests_run();
}
