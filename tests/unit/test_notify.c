/* What is said to a service manager, and the descriptors that it gives. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper/notify.h"
#include "keeper/spawn.h"
#include "support.h"

#define FIRST 3

static int socket_fails;

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);

int __wrap_socket(int domain, int type, int protocol)
{
	if (socket_fails) {
		errno = EMFILE;
		return -1;
	}
	return __real_socket(domain, type, protocol);
}

static int manager; /* its socket, or -1 */

/* What it got last: a text, and a descriptor or -1. */
static struct {
	char text[2048];
	int fd;
} heard;

static int start(void **state)
{
	socket_fails = 0;
	manager = heard.fd = -1;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	return 0;
}

static int stop(void **state)
{
	notify_close();
	if (manager >= 0)
		close(manager);
	if (heard.fd >= 0)
		close(heard.fd);
	test_folder_remove();
	log_forget();
	return 0;
}

/* A manager at a path, or at "@name". */
static void listen_at(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				       strlen(name));

	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	manager = __real_socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&address, length), 0);
	setenv("NOTIFY_SOCKET", name, 1);
}

static int hear(void)
{
	struct iovec vector = { heard.text, sizeof(heard.text) - 1 };
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr header = { .msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control) };
	ssize_t got = recvmsg(manager, &header, MSG_DONTWAIT);

	if (heard.fd >= 0)
		close(heard.fd);
	heard.fd = -1;
	if (got < 0)
		return 0;
	heard.text[got] = '\0';
	if (CMSG_FIRSTHDR(&header))
		memcpy(&heard.fd, CMSG_DATA(CMSG_FIRSTHDR(&header)),
		       sizeof(int));
	return 1;
}

static void assert_heard(const char *text)
{
	assert_true(hear());
	assert_string_equal(heard.text, text);
}

static void test_send(void **state)
{
	unsigned fds;

	listen_at(test_path("notify"));
	fds = count_fds();
	notify_open();
	assert_int_equal(notify_send("READY=1\nSTATUS=%d devices", 3), 0);
	assert_heard("READY=1\nSTATUS=3 devices");
	assert_int_equal(heard.fd, -1);
	assert_int_equal(notify_send("STOPPING=1"), 0);
	assert_heard("STOPPING=1");
	assert_false(hear());
	notify_close();
	assert_int_equal(count_fds(), fds);
	assert_int_equal(notify_send("READY=1"), 0);
	assert_false(hear());
}

static void test_abstract(void **state)
{
	char name[60];

	snprintf(name, sizeof(name), "@ublkd-test-%d", (int)getpid());
	listen_at(name);
	notify_open();
	assert_int_equal(notify_send("READY=1"), 0);
	assert_heard("READY=1");
}

/* As long as an address may be, and one byte more. */
static void test_long_address(void **state)
{
	char name[120];

	snprintf(name, sizeof(name), "@%0106d", (int)getpid());
	assert_int_equal(strlen(name), 107);
	listen_at(name);
	notify_open();
	assert_int_equal(notify_send("READY=1"), 0);
	assert_heard("READY=1");
	notify_close();
	add_text(name, sizeof(name), "0");
	setenv("NOTIFY_SOCKET", name, 1);
	notify_open();
	assert_true(log_has("no address"));
	assert_int_equal(notify_send("READY=1"), 0);
	assert_false(hear());
}

static void test_long_text(void **state)
{
	char text[3000];

	listen_at(test_path("notify"));
	notify_open();
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(notify_send("STATUS=%s", text), 0);
	assert_true(hear());
	assert_int_equal(strlen(heard.text), 1023);
	assert_memory_equal(heard.text, "STATUS=xxx", 10);
}

static void test_no_manager(void **state)
{
	const char *name = "";
	unsigned fds = count_fds();

	notify_open();
	assert_int_equal(notify_send("READY=1"), 0);
	assert_int_equal(notify_store("a", 0), 0);
	assert_int_equal(notify_unstore("a"), 0);
	assert_int_equal(notify_take(&name, SPAWN_FLOOR), -1);
	assert_int_equal(count_fds(), fds);
}

static void test_bad_address(void **state)
{
	const char *const bad[] = { "", "/", "@", "notify", "vsock:2:1234" };
	unsigned fds = count_fds(), i;

	for (i = 0; i < COUNT(bad); i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		notify_open();
		assert_int_equal(log_count("no address"), i + 1);
		assert_int_equal(notify_send("READY=1"), 0);
		assert_int_equal(count_fds(), fds);
	}
}

static void test_no_socket(void **state)
{
	listen_at(test_path("notify"));
	socket_fails = 1;
	notify_open();
	assert_true(log_has("service manager"));
	assert_int_equal(notify_send("READY=1"), 0);
	assert_false(hear());
}

static void test_nobody_there(void **state)
{
	listen_at(test_path("notify"));
	notify_open();
	close(manager);
	manager = -1;
	assert_int_equal(notify_send("READY=1"), -ECONNREFUSED);
	unlink(test_path("notify"));
	assert_int_equal(notify_send("READY=1"), -ENOENT);
}

/* A manager that does not read is not waited for. */
static void test_full(void **state)
{
	int sent = 0, error;

	listen_at(test_path("notify"));
	notify_open();
	while ((error = notify_send("STATUS=%d", sent)) == 0 && sent < 100000)
		sent++;
	assert_int_equal(error, -EAGAIN);
	assert_heard("STATUS=0");
	assert_int_equal(notify_send("READY=1"), 0);
}

static int same_file(int one, int other)
{
	struct stat a, b;

	return fstat(one, &a) == 0 && fstat(other, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void test_store(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	unsigned fds;

	listen_at(test_path("notify"));
	notify_open();
	fds = count_fds();
	assert_int_equal(notify_store("ublk-3", fd), 0);
	assert_int_equal(count_fds(), fds);
	assert_heard("FDSTORE=1\nFDNAME=ublk-3\nFDPOLL=0");
	assert_true(same_file(heard.fd, fd));
	assert_int_equal(notify_unstore("ublk-3"), 0);
	assert_heard("FDSTOREREMOVE=1\nFDNAME=ublk-3");
	assert_int_equal(heard.fd, -1);
	close(fd);
	assert_int_equal(notify_store("ublk-3", fd), -EBADF);
	assert_false(hear());
}

/* ---- descriptors that are given ---- */

/* Three of them, and the environment for this process. */
static void give(const char *count, const char *names)
{
	char pid[20];
	int fd, i;

	for (i = 0; i < 3; i++) {
		fd = memfd_create("given", 0);
		if (fd != FIRST + i) {
			assert_int_equal(dup2(fd, FIRST + i), FIRST + i);
			close(fd);
		}
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", count, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

static void close_given(void)
{
	int i;

	for (i = 0; i < 3; i++)
		close(FIRST + i);
}

static ino_t file_at(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return status.st_ino;
}

/*
 * It is where no child copies it, and nobody else gets the number where it was: a
 * helper has its question there.
 */
static int assert_taken(int given, const char *expected)
{
	ino_t file = file_at(given);
	const char *name = NULL;
	int fd = notify_take(&name, SPAWN_FLOOR);

	assert_string_equal(name, expected);
	assert_true(fd >= SPAWN_FLOOR);
	assert_true(file_at(fd) == file);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_false(file_at(given) == file);
	assert_int_equal(fcntl(given, F_GETFD), FD_CLOEXEC);
	return fd;
}

static void assert_none(void)
{
	const char *name;

	assert_int_equal(notify_take(&name, SPAWN_FLOOR), -1);
}

static void test_take(void **state)
{
	int fds[3], i;

	give("3", "admin:ublk-0:ublk-1");
	notify_open();
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDS"));
	assert_null(getenv("LISTEN_FDNAMES"));
	fds[0] = assert_taken(FIRST, "admin");
	fds[1] = assert_taken(FIRST + 1, "ublk-0");
	fds[2] = assert_taken(FIRST + 2, "ublk-1");
	assert_none();
	/* They are ours now. */
	notify_close();
	for (i = 0; i < 3; i++)
		assert_int_equal(close(fds[i]), 0);
	close_given();
}

/* It stays where it is high enough, and where no number is free above. */
static void test_take_in_place(void **state)
{
	struct rlimit limit, less;
	const char *name;

	give("2", NULL);
	notify_open();
	assert_int_equal(notify_take(&name, FIRST), FIRST);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	less = limit;
	less.rlim_cur = SPAWN_FLOOR;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
	assert_int_equal(notify_take(&name, SPAWN_FLOOR), FIRST + 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_none();
	close_given();
}

static void test_few_names(void **state)
{
	give("3", "admin:");
	notify_open();
	close(assert_taken(FIRST, "admin"));
	close(assert_taken(FIRST + 1, ""));
	close(assert_taken(FIRST + 2, "unknown"));
	assert_none();
	notify_close();
	give("1", NULL);
	notify_open();
	close(assert_taken(FIRST, "unknown"));
	assert_none();
	close_given();
}

static void test_not_taken(void **state)
{
	give("3", NULL);
	notify_open();
	close(assert_taken(FIRST, "unknown"));
	notify_close();
	assert_int_equal(fcntl(FIRST, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(FIRST + 1, F_GETFD), -1);
	assert_int_equal(fcntl(FIRST + 2, F_GETFD), -1);
	assert_none();
	close(FIRST);
}

/* More are promised than there are. */
static void test_missing(void **state)
{
	give("3", "a:b:c");
	close(FIRST + 1);
	notify_open();
	assert_true(log_has("of 3 descriptors"));
	close(assert_taken(FIRST, "a"));
	assert_none();
	close_given();
}

static void test_bad_count(void **state)
{
	const char *const bad[] = {
		"", "0", "-1", "1x", "x", "2147483647", "99999999999999999999"
	};
	unsigned i;

	for (i = 0; i < COUNT(bad); i++) {
		give(bad[i], "a:b:c");
		notify_open();
		assert_none();
		assert_null(getenv("LISTEN_FDS"));
		assert_int_equal(fcntl(FIRST, F_GETFD), 0);
		notify_close();
	}
	close_given();
}

/* Left in the environment by somebody who did not take them. */
static void test_other_pid(void **state)
{
	const char *const bad[] = { "1", "", "x" };
	unsigned i;

	for (i = 0; i < COUNT(bad); i++) {
		give("3", NULL);
		setenv("LISTEN_PID", bad[i], 1);
		notify_open();
		assert_none();
		assert_null(getenv("LISTEN_PID"));
	}
	give("3", NULL);
	unsetenv("LISTEN_PID");
	notify_open();
	assert_none();
	assert_int_equal(fcntl(FIRST, F_GETFD), 0);
	close_given();
}

static void test_disown(void **state)
{
	listen_at(test_path("notify"));
	notify_open();
	assert_non_null(getenv("NOTIFY_SOCKET"));
	notify_disown();
	assert_null(getenv("NOTIFY_SOCKET"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(test_send),	 TEST(test_abstract),
		TEST(test_long_address), TEST(test_long_text),
		TEST(test_no_manager),	 TEST(test_bad_address),
		TEST(test_no_socket),	 TEST(test_nobody_there),
		TEST(test_full),	 TEST(test_store),
		TEST(test_take),	 TEST(test_take_in_place),
		TEST(test_few_names),	 TEST(test_not_taken),
		TEST(test_missing),	 TEST(test_bad_count),
		TEST(test_other_pid),	 TEST(test_disown),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
