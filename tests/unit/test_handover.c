/*
 * A server without a keeper: who may have its table, what that is, and when the
 * server leaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/handover.h"
#include "support.h"

#define DEVICES 3
#define USER	1000 /* who serves */

static struct handover handover;
static struct command_host host;
static struct device devices[DEVICES];
static struct target targets[DEVICES];

static struct {
	uid_t peer;	/* of whoever connects */
	int peer_error; /* it cannot be told */
	int unheld;	/* the device that holds nothing yet */
	int send_error; /* of a tally */
	unsigned tallies, rings;
	unsigned tallies_at_end; /* told when it left */
	unsigned left;
} fake;

int __real_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length);

int __wrap_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length)
{
	if (name != SO_PEERCRED)
		return __real_getsockopt(fd, level, name, value, length);
	((struct ucred *)value)->uid = fake.peer;
	errno = fake.peer_error;
	return fake.peer_error ? -1 : 0;
}

uid_t __wrap_geteuid(void)
{
	return USER;
}

static int hold(struct target *target, int *fds)
{
	int which = (int)(target - targets);

	if (which == fake.unheld)
		return -EAGAIN;
	fds[0] = STDIN_FILENO;
	return which ? 1 : 0;
}

int __wrap_device_send_tally(const struct device *device,
			     struct channel *channel)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_TALLY,
				   .id = device->spec.id };

	fake.tallies++;
	return fake.send_error ? fake.send_error
			       : channel_send(channel, &message, NULL, 0);
}

int __wrap_device_send_rings(const struct device *device,
			     struct channel *channel)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_RING,
				   .id = device->spec.id };

	fake.rings++;
	return channel_send(channel, &message, NULL, 0);
}

static void leave(struct handover *of)
{
	assert_ptr_equal(of, &handover);
	fake.left++;
	fake.tallies_at_end = fake.tallies;
}

/* ---- a test begins ---- */

static const struct target_ops target_fake = { .hold = hold };
static struct sockaddr_un address;

int before_each(void **state)
{
	unsigned i;

	test_loop_open();
	log_forget();
	memset(&fake, 0, sizeof(fake));
	memset(&handover, 0, sizeof(handover));
	memset(&host, 0, sizeof(host));
	fake.unheld = -1;
	fake.peer = USER;
	for (i = 0; i < DEVICES; i++) {
		devices[i].spec.id = i + 10;
		targets[i].ops = &target_fake;
		devices[i].spec.target = &targets[i];
		devices[i].next = i + 1 < DEVICES ? &devices[i + 1] : NULL;
	}
	host.devices.first = devices;
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		 test_path("s"));
	handover.fd = socket(AF_UNIX,
			     SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(handover.fd, (struct sockaddr *)&address,
			      sizeof(address)),
			 0);
	assert_int_equal(listen(handover.fd, 4), 0);
	handover.listener = STDOUT_FILENO;
	handover.loop = test_loop;
	handover.host = &host;
	handover.leave = leave;
	handover_open(&handover);
	return 0;
}

int after_each(void **state)
{
	handover_close(&handover);
	close(handover.fd);
	test_loop_close();
	test_folder_remove();
	return 0;
}

/* A keeper. Returns its socket. */
static int connect_keeper(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);

	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	settle();
	return fd;
}

/* Returns what channel_receive_now() does; its descriptors are closed. */
static int hear(int fd, struct message *message, int *count)
{
	int fds[MESSAGE_MAX_FDS];
	int got = channel_receive_now(fd, message, fds, count);

	if (got > 0)
		channel_close_fds(fds, *count);
	return got;
}

static void expect(int fd, uint32_t type, uint32_t id, int fd_count)
{
	struct message message;
	int count;

	assert_int_equal(hear(fd, &message, &count), 1);
	assert_int_equal(message.type, type);
	assert_int_equal(message.id, id);
	assert_int_equal(count, fd_count);
}

static void expect_end(int fd)
{
	struct message message;
	int count;

	assert_int_equal(hear(fd, &message, &count), -1);
	close(fd);
}

static void expect_device(int fd, uint32_t id, int fd_count)
{
	expect(fd, MESSAGE_DEVICE, id, fd_count);
	expect(fd, MESSAGE_TALLY, id, 0);
	expect(fd, MESSAGE_RING, id, 0);
}

static void expect_begin(int fd)
{
	struct message message;
	int count;

	assert_int_equal(hear(fd, &message, &count), 1);
	assert_int_equal(message.type, MESSAGE_BEGIN);
	assert_int_equal(message.number, getpid());
	assert_int_equal(count, 2);
}

static void expect_table(int fd)
{
	struct message message;
	int count;

	expect_begin(fd);
	expect_device(fd, 10, 0);
	expect_device(fd, 11, 1);
	expect_device(fd, 12, 1);
	assert_int_equal(hear(fd, &message, &count), 1);
	assert_int_equal(message.type, MESSAGE_TABLE_END);
}

static void tell(int fd, uint32_t type)
{
	struct message message = { .magic = MESSAGE_MAGIC, .type = type };

	assert_int_equal(channel_send_now(fd, &message, NULL, 0), 0);
	settle();
}

/* ---- who may have it ---- */

TEST_CASE(test_whole_table)
{
	int keeper = connect_keeper();

	expect_table(keeper);
	close(keeper);
	/* Root, whoever serves. */
	settle();
	fake.peer = 0;
	keeper = connect_keeper();
	expect_table(keeper);
	close(keeper);
}

/* Another user, and one who cannot be told. */
TEST_CASE(test_stranger)
{
	fake.peer = USER + 1;
	expect_end(connect_keeper());
	fake.peer = 0;
	fake.peer_error = ENOPROTOOPT;
	expect_end(connect_keeper());
	assert_int_equal(fake.tallies + fake.rings, 0);
	/* Nobody is kept out by that. */
	fake.peer_error = 0;
	test_whole_table(state);
}

/* The second one gets it when the first has gone. */
TEST_CASE(test_one_at_a_time)
{
	int first = connect_keeper(), second = connect_keeper();
	struct message message;
	int count;

	expect_table(first);
	assert_int_equal(hear(second, &message, &count), 0);
	assert_false(log_has("did not take them"));
	close(first);
	settle();
	assert_true(log_has("did not take them"));
	expect_table(second);
	close(second);
}

/* ---- what is told ---- */

TEST_CASE(test_never_held)
{
	int keeper;

	fake.unheld = 1;
	keeper = connect_keeper();
	expect_begin(keeper);
	expect_device(keeper, 10, 0);
	expect_device(keeper, 12, 1);
	close(keeper);
}

/* Not whole: it is no table, and the next one may ask. */
TEST_CASE(test_send_fails)
{
	int keeper;

	fake.send_error = -ENOMEM;
	keeper = connect_keeper();
	expect_begin(keeper);
	expect(keeper, MESSAGE_DEVICE, 10, 0);
	expect_end(keeper);
	assert_int_equal(fake.rings, 0);
	fake.send_error = 0;
	test_whole_table(state);
}

/* ---- the end ---- */

TEST_CASE(test_leave)
{
	int keeper = connect_keeper();
	unsigned before = fake.tallies, i;

	expect_table(keeper);
	tell(keeper, MESSAGE_PING);
	assert_int_equal(fake.left, 0);
	tell(keeper, MESSAGE_LEAVE);
	assert_int_equal(fake.left, 1);
	/* What has changed is told before. */
	assert_int_equal(fake.tallies_at_end, before + DEVICES);
	for (i = 0; i < DEVICES; i++)
		expect(keeper, MESSAGE_TALLY, 10 + i, 0);
	close(keeper);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	return tests_run();
}
