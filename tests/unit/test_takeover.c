/*
 * The hand-over socket: whose it is, who answers there, and what was left with
 * a service manager.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/channel.h"
#include "support.h"
#include "keeper/takeover.h"

static struct takeover takeover;
static struct failure failure;
static char path[100];

/* ---- calls that are faked ---- */

static struct {
	int connect_error; /* the errno to fail with */
	int is_refusing;   /* whoever connects is dropped at once */
	int ring;	   /* whoever connects gets a table with it, 0: none */
	int has_no_begin;  /* that table */
	uint64_t tally;	   /* of its device */
	int served;	   /* the connection to whom it was told, or -1 */
	int leaves_after;  /* so many waits it stops to listen */
	int is_leaving;	   /* it is gone when its table is read */
	int is_dying;	   /* until it has left */
	int connects;
	int listener;
	int slept;
	int waits; /* for the end of its process */
} fake;

int __real_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_proc_is_dying(pid_t pid);
int __wrap_dying_wait(struct dying *dying, pid_t pid);
void __wrap_proc_wait(const struct proc *proc, int ms);

/* A server with one device, whose queue's ring is that descriptor. */
static void tell_table(void)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_BEGIN,
				   .number = (uint64_t)getpid() };
	int fd = accept(fake.listener, NULL, NULL);
	int fds[] = { STDIN_FILENO, STDIN_FILENO };

	if (!fake.has_no_begin)
		assert_int_equal(channel_send_now(fd, &message, fds, 2), 0);
	message.type = MESSAGE_DEVICE;
	message.id = 3;
	assert_int_equal(channel_send_now(fd, &message, NULL, 0), 0);
	message.type = MESSAGE_TALLY;
	message.number = fake.tally;
	assert_int_equal(channel_send_now(fd, &message, NULL, 0), 0);
	message.type = MESSAGE_RING;
	message.number = (uint64_t)fake.ring;
	assert_int_equal(channel_send_now(fd, &message, NULL, 0), 0);
	message.type = MESSAGE_TABLE_END;
	assert_int_equal(channel_send_now(fd, &message, NULL, 0), 0);
	fake.served = fd;
	if (fake.is_leaving || fake.has_no_begin) {
		close(fd);
		fake.served = -1;
	}
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	int result;

	if (fake.connect_error) {
		errno = fake.connect_error;
		return -1;
	}
	fake.connects++;
	result = __real_connect(fd, address, length);
	if (result == 0 && fake.is_refusing)
		close(accept(fake.listener, NULL, NULL));
	else if (result == 0 && fake.ring)
		tell_table();
	return result;
}

/* Whoever listens is this process. */
int __wrap_proc_is_dying(pid_t pid)
{
	assert_int_equal(pid, getpid());
	return fake.is_dying;
}

int __wrap_dying_wait(struct dying *dying, pid_t pid)
{
	assert_int_equal(pid, getpid());
	if (fake.listener < 0)
		return 0; /* it is gone */
	if (!fake.is_dying && dying->looks >= dying->grace)
		return -EBUSY;
	if (dying->looks >= DYING_LOOKS)
		return -ETIMEDOUT;
	dying->looks++;
	if (++fake.slept == fake.leaves_after) {
		close(fake.listener);
		fake.listener = -1;
		fake.is_dying = 0;
	}
	return 0;
}

/* Until then its rings are held. */
void __wrap_proc_wait(const struct proc *proc, int ms)
{
	assert_ptr_equal(proc, &takeover.server);
	assert_true(ms > 0);
	assert_non_null(takeover.rings.first);
	fake.waits++;
}

/* ---- a test begins ---- */

static int start(void **state)
{
	memset(&fake, 0, sizeof(fake));
	fake.listener = fake.served = -1;
	takeover =
		(struct takeover){ .fd = -1, .listener = -1, .handover = -1 };
	snprintf(path, sizeof(path), "%s", test_path("server.sock"));
	return 0;
}

static int stop(void **state)
{
	takeover_close(&takeover);
	if (takeover.handover >= 0)
		close(takeover.handover);
	if (fake.listener >= 0)
		close(fake.listener);
	if (fake.served >= 0)
		close(fake.served);
	test_folder_remove();
	return 0;
}

static ino_t inode(void)
{
	struct stat status;

	return lstat(path, &status) == 0 ? status.st_ino : 0;
}

/* Somebody listens there. */
static void listen_there(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, path, strlen(path));
	fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fake.listener, (struct sockaddr *)&address,
			      sizeof(address)),
			 0);
	assert_int_equal(listen(fake.listener, 1), 0);
}

static int begin(void)
{
	return takeover_begin(&takeover, test_folder(), &failure);
}

/* It is another's, and stays. */
static void check_left_alone(void)
{
	ino_t before = inode();

	assert_int_equal(begin(), -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_int_equal(takeover.fd, -1);
	assert_int_equal(takeover.handover, -1);
	takeover_remove(&takeover, test_folder());
	assert_int_equal(inode(), before);
}

/* ---- whose socket it is ---- */

static void test_nobody(void **state)
{
	assert_int_equal(begin(), 0);
	assert_int_equal(takeover.fd, -1);
	assert_true(takeover.handover >= 0);
	assert_true(inode());
	takeover_remove(&takeover, test_folder());
	assert_false(inode());
}

static void test_stale(void **state)
{
	ino_t before;

	listen_there();
	before = inode();
	close(fake.listener);
	fake.listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
	/* A link keeps the inode from being used again. */
	assert_int_equal(link(path, test_path("old")), 0);
	assert_int_equal(begin(), 0);
	assert_true(inode() && inode() != before);
}

/* Before it was asked who is there, nobody has a right to remove it. */
static void test_not_begun(void **state)
{
	listen_there();
	takeover_remove(&takeover, test_folder());
	assert_true(inode());
}

static void test_busy(void **state)
{
	static const int errors[] = { EAGAIN, ETIMEDOUT, EPROTOTYPE, EACCES };
	unsigned i;

	listen_there();
	for (i = 0; i < COUNT(errors); i++) {
		fake.connect_error = errors[i];
		check_left_alone();
	}
}

/* It answers for as long as anybody asks, and does not tell. */
static void test_refusing(void **state)
{
	listen_there();
	fake.is_refusing = 1;
	check_left_alone();
	assert_in_range(fake.slept, 10, 100);
}

/* A table without the sockets, which the next keeper would answer on. */
static void test_no_begin(void **state)
{
	listen_there();
	fake.ring = STDIN_FILENO + 1;
	fake.has_no_begin = 1;
	check_left_alone();
	assert_int_equal(takeover.listener, -1);
}

static void test_dying(void **state)
{
	listen_there();
	fake.is_refusing = 1;
	fake.leaves_after = 3;
	assert_int_equal(begin(), 0);
	assert_int_equal(takeover.fd, -1);
	assert_true(takeover.handover >= 0);
	assert_int_equal(fake.slept, 3);
}

/* It is not asked meanwhile, and the questions do not pile up. */
static void test_dying_silently(void **state)
{
	listen_there();
	fake.is_dying = 1;
	fake.leaves_after = 200;
	assert_int_equal(begin(), 0);
	assert_int_equal(takeover.fd, -1);
	assert_true(takeover.handover >= 0);
	assert_int_equal(fake.connects, 2); /* and then nobody is there */
	assert_int_equal(fake.slept, 200);
}

/* The socket stays: a later start waits for it as well. */
static void test_dying_for_ever(void **state)
{
	listen_there();
	fake.is_dying = 1;
	check_left_alone();
	assert_int_equal(fake.slept, DYING_LOOKS);
	assert_int_equal(fake.connects, 1);
	assert_non_null(strstr(failure.text, "within 30 s"));
}

/* The number that it tells is another's: it has gone meanwhile. */
static void test_not_held(void **state)
{
	listen_there();
	fake.ring = 1;
	fake.is_leaving = 1;
	begin();
	assert_int_equal(takeover.server.pid, 0);
	assert_null(takeover.rings.first);
}

static void no_tally(void *context, const struct message *tally)
{
	fail_msg("a tally of device %u", tally->id);
}

/* The old server's rings are held until its process has ended. */
static void test_rings(void **state)
{
	struct pollfd end = { .events = POLLIN };
	int ends[2];

	if (!host_has_pidfd_getfd())
		skip_without("permission for pidfd_getfd");
	assert_int_equal(pipe(ends), 0);
	end.fd = ends[0];
	listen_there();
	fake.ring = ends[1];
	assert_int_equal(begin(), 0);
	assert_true(takeover.fd >= 0);
	assert_int_equal(takeover.server.pid, getpid());
	close(ends[1]);
	assert_int_equal(poll(&end, 1, 0), 0);
	close(fake.served);
	fake.served = -1;
	assert_int_equal(takeover_end(&takeover, no_tally, NULL), 0);
	assert_int_equal(fake.waits, 1);
	assert_int_equal(poll(&end, 1, 0), 1);
	/* Without a ring there is nothing to wait for. */
	assert_int_equal(takeover_end(&takeover, no_tally, NULL), 0);
	assert_int_equal(fake.waits, 1);
	close(ends[0]);
}

/* One that is not told to leave is not waited for, and its rings are its own. */
static void test_rings_of_one_that_stays(void **state)
{
	if (!host_has_pidfd_getfd())
		skip_without("permission for pidfd_getfd");
	listen_there();
	fake.ring = STDIN_FILENO + 1;
	assert_int_equal(begin(), 0);
	assert_non_null(takeover.rings.first);
	takeover_close(&takeover);
	assert_null(takeover.rings.first);
	assert_int_equal(fake.waits, 0);
}

static void hear_tally(void *context, const struct message *tally)
{
	*(struct message *)context = *tally;
}

/* What it tells last is what counts. */
static void test_tally(void **state)
{
	struct message last = { .magic = MESSAGE_MAGIC,
				.type = MESSAGE_TALLY,
				.id = 3,
				.number = 6 };
	struct message heard = { .id = 0 };

	listen_there();
	fake.ring = 1;
	fake.tally = 5;
	assert_int_equal(begin(), 0);
	assert_int_equal(takeover.found->noted.id, 3);
	assert_int_equal(takeover.found->noted.tally, 5);
	assert_null(takeover.found->next);
	assert_int_equal(channel_send_now(fake.served, &last, NULL, 0), 0);
	close(fake.served);
	fake.served = -1;
	assert_int_equal(takeover_end(&takeover, hear_tally, &heard), 0);
	assert_memory_equal(&heard, &last, sizeof(last));
}

/* ---- what a service manager has ---- */

/* What is no device's, or lacks the one before it, is not to be served with. */
static void test_keep_refused(void **state)
{
	static const char *const names[] = { "device-7-1", "device-7-0x",
					     "device-7",   "device-x-0",
					     "listener",   "device-7-4" };
	struct entry **found = &takeover.found;
	unsigned i;

	for (i = 0; i < COUNT(names); i++)
		assert_int_equal(entry_from_store(found, names[i], 0), -EINVAL);
	assert_int_equal(
		entry_from_store(found, "device-7-0",
				 open("/dev/null", O_RDONLY | O_CLOEXEC)),
		0);
	assert_int_equal(entry_from_store(found, "device-7-0", 0), -EINVAL);
	assert_int_equal(entry_from_store(found, "device-7-2", 0), -EINVAL);
	assert_int_equal((*found)->noted.file_count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_dying_silently), TEST(test_dying_for_ever),
		TEST(test_not_held),	   TEST(test_nobody),
		TEST(test_stale),	   TEST(test_not_begun),
		TEST(test_busy),	   TEST(test_refusing),
		TEST(test_dying),	   TEST(test_rings),
		TEST(test_tally),	   TEST(test_rings_of_one_that_stays),
		TEST(test_no_begin),	   TEST(test_keep_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
