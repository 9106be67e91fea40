/*
 * How the keeper starts a process: what that has of the keeper's descriptors, and
 * when. The children are real; what they do in place of a program a test says.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/channel.h"
#include "keeper/spawn.h"
#include "server/server.h"
#include "support.h"

#define MARK 900 /* a child opens that while it shares our table */

static sigset_t signals;
static struct proc child;
static int ends[2];
static int locked; /* a descriptor above SPAWN_FLOOR */
static pid_t test_process;
static int patience; /* ms for poll(), or -1: as it was asked for */

/* What the child does when it is to leave its parent's table. */
static enum { LEAVE, DIE, STAND_STILL, CANNOT_CLOSE, CANNOT } play;
static int clone_error, hold_error;
static int forks, unshares;

int __wrap_execv(const char *path, char *const *arguments);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_proc_open(struct proc *proc, pid_t pid);
int __wrap_proc_open(struct proc *proc, pid_t pid);

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* In place of the program: tell what it has, and wait until it may end. */
int __wrap_execv(const char *path, char *const *arguments)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_ASK };
	int fds[MESSAGE_MAX_FDS], count, fd;

	if (strcmp(path, "/none") == 0) {
		errno = ENOENT;
		return -1;
	}
	if (getpid() == test_process || strcmp(arguments[0], "name") != 0)
		_exit(98);
	for (fd = SPAWN_FLOOR; fd < 1024; fd++)
		message.number += (uint64_t)is_open(fd);
	message.result = fcntl(SERVER_FD, F_GETFD);
	message.serial = (uint64_t)unshares;
	channel_send_now(SERVER_FD, &message, NULL, 0);
	channel_receive_now(SERVER_FD, &message, fds, &count);
	/* Its table is its own. */
	for (fd = 0; fd < 1024; fd++)
		close(fd);
	_exit(7);
}

static long leave(long first, long last, long flags)
{
	switch (play) {
	case LEAVE:
		dup2(STDIN_FILENO, MARK);
		break;
	case DIE:
		_exit(5);
	case STAND_STILL:
		/* raise() may take this for its parent. */
		kill(getpid(), SIGSTOP);
		break;
	case CANNOT_CLOSE:
	case CANNOT:
		errno = ENOSYS;
		return -1;
	}
	return __real_syscall(SYS_close_range, first, last, flags);
}

long __wrap_syscall(long number, ...)
{
	long a, b, c, d;
	va_list args;

	va_start(args, number);
	a = va_arg(args, long);
	b = va_arg(args, long);
	c = va_arg(args, long);
	d = va_arg(args, long);
	va_end(args);
	if (number == SYS_close_range)
		return leave(a, b, c);
	unshares += number == SYS_unshare;
	if (number == SYS_unshare && play == CANNOT) {
		errno = EPERM;
		return -1;
	}
	if (number == SYS_clone3 && clone_error) {
		errno = clone_error;
		return -1;
	}
	return __real_syscall(number, a, b, c, d);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	return __real_poll(fds, count, patience >= 0 ? patience : timeout);
}

int __wrap_proc_open(struct proc *proc, pid_t pid)
{
	forks++;
	return hold_error ? hold_error : __real_proc_open(proc, pid);
}

static ino_t taken; /* the file at SERVER_FD */

/* A socket of the service manager's may lie there, for instance. */
static void take_number(void)
{
	struct stat status;
	int fd;

	test_file("taken", "");
	fd = open(test_path("taken"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(dup3(fd, SERVER_FD, O_CLOEXEC), SERVER_FD);
	close(fd);
	assert_int_equal(fstat(SERVER_FD, &status), 0);
	taken = status.st_ino;
}

static int setup(void **state)
{
	alarm(60);
	reserve_fds();
	test_process = getpid();
	play = LEAVE;
	clone_error = hold_error = forks = unshares = 0;
	patience = -1;
	sigemptyset(&signals);
	child = (struct proc){ 0, -1 };
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	test_file("file", "data");
	locked = open(test_path("file"), O_RDWR | O_CLOEXEC);
	assert_true(locked >= SPAWN_FLOOR);
	take_number();
	return 0;
}

static int teardown(void **state)
{
	if (locked >= 0)
		close(locked);
	close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	proc_close(&child);
	while (waitpid(-1, NULL, 0) > 0)
		;
	test_folder_remove();
	return 0;
}

static int start(const char *program)
{
	static char name[] = "name";
	char *const arguments[] = { name, NULL };

	return spawn_program(&child, ends[0], ends[1], program, arguments,
			     &signals);
}

/* What the child says first. */
static void hear(struct message *message)
{
	int fds[MESSAGE_MAX_FDS], count;

	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(channel_receive_now(ends[0], message, fds, &count), 1);
}

static void expect_exit(int code)
{
	int status;

	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static void let_end(void)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_ASK };

	assert_int_equal(channel_send_now(ends[0], &message, NULL, 0), 0);
	expect_exit(7);
}

/* Only the child has had its end; what was at SERVER_FD before is there again. */
static void expect_own_table(unsigned fds)
{
	struct stat status;
	char byte;

	assert_int_equal(count_fds(), fds);
	assert_int_equal(fcntl(SERVER_FD, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(SERVER_FD, &status), 0);
	assert_int_equal(status.st_ino, taken);
	assert_int_equal(recv(ends[0], &byte, 1, MSG_DONTWAIT), 0);
}

/* ---- numbers ---- */

static void test_reserve(void **state)
{
	unsigned fds = count_fds();
	int fd;

	close(SERVER_FD);
	close(40);
	close(SPAWN_FLOOR - 2);
	close(SPAWN_FLOOR - 1);
	spawn_reserve();
	for (fd = SERVER_FD; fd < SPAWN_FLOOR; fd++)
		assert_true(is_open(fd));
	assert_int_equal(fcntl(40, F_GETFD), FD_CLOEXEC);
	assert_int_equal(count_fds(), fds);
}

/* ---- a child ---- */

/*
 * It has nothing from above, and has had nothing, not even as a copy that it has
 * closed: a lock ends with this process' descriptor.
 */
static void test_own_table(void **state)
{
	unsigned fds = count_fds();
	struct message message;
	int other;

	if (!host_has_clone3())
		skip_without("clone3()");
	assert_int_equal(flock(locked, LOCK_EX), 0);
	assert_int_equal(start("/program"), 0);
	assert_true(child.pid > 0);
	assert_int_equal(fcntl(child.fd, F_GETFD), FD_CLOEXEC);
	assert_true(is_open(MARK));
	close(MARK);
	close(locked);
	other = open(test_path("file"), O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	locked = other;
	hear(&message);
	assert_int_equal(message.number, 0);
	assert_int_equal(message.result, 0); /* exec leaves it open */
	assert_int_equal(forks, 0);
	let_end();
	expect_own_table(fds);
}

static void test_cannot_be_executed(void **state)
{
	struct message message;

	assert_int_equal(start("/none"), 0);
	hear(&message);
	assert_int_equal(message.type, MESSAGE_FAILED);
	assert_int_equal(message.result, -ENOENT);
	assert_string_equal(message.text, "/none: No such file or directory");
	expect_exit(127);
}

/* ---- one that does not leave our table ---- */

/* Nobody waits for its word then, or holds it. */
static void test_dies_early(void **state)
{
	unsigned fds = count_fds();

	if (!host_has_clone3())
		skip_without("clone3()");
	for (play = DIE; play <= CANNOT; play += CANNOT - DIE) {
		assert_int_equal(start("/program"), -ECHILD);
		assert_int_equal(child.pid, 0);
		assert_int_equal(count_fds(), fds);
	}
}

static void test_stands_still(void **state)
{
	unsigned fds = count_fds();
	int status;

	if (!host_has_clone3())
		skip_without("clone3()");
	play = STAND_STILL;
	patience = 200;
	assert_int_equal(start("/program"), -ECHILD);
	assert_int_equal(child.pid, 0);
	assert_true(waitpid(-1, &status, 0) > 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(count_fds(), fds);
}

/* ---- a host that refuses these calls ---- */

/* A table that is a copy is one of its own, too. */
static void test_no_close_range(void **state)
{
	unsigned fds = count_fds();
	struct message message;

	if (!host_has_clone3())
		skip_without("clone3()");
	play = CANNOT_CLOSE;
	assert_int_equal(start("/program"), 0);
	hear(&message);
	assert_int_equal(message.serial, 1);
	assert_true(message.number > 0);
	let_end();
	expect_own_table(fds);
}

static void expect_fork(int error)
{
	unsigned fds = count_fds();
	struct message message;

	clone_error = error;
	play = DIE; /* it need not leave a table */
	assert_int_equal(start("/program"), 0);
	assert_int_equal(forks, 1);
	assert_int_equal(fcntl(child.fd, F_GETFD), FD_CLOEXEC);
	hear(&message);
	assert_int_equal(message.result, 0);
	let_end();
	expect_own_table(fds);
}

static void test_no_clone3(void **state)
{
	expect_fork(ENOSYS);
}

static void test_clone3_is_filtered(void **state)
{
	expect_fork(EPERM);
}

/* One that cannot be held is no process of ours; it ends by itself. */
static void test_not_held(void **state)
{
	struct message message;

	clone_error = ENOSYS;
	hold_error = -EMFILE;
	assert_int_equal(start("/program"), -EMFILE);
	hear(&message);
	shutdown(ends[0], SHUT_RDWR);
}

static void test_no_process(void **state)
{
	unsigned fds = count_fds();

	clone_error = EAGAIN;
	assert_int_equal(start("/program"), -EAGAIN);
	assert_int_equal(forks, 0);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(fcntl(SERVER_FD, F_GETFD), FD_CLOEXEC);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_reserve),
		TEST(test_own_table),
		TEST(test_cannot_be_executed),
		TEST(test_dies_early),
		TEST(test_stands_still),
		TEST(test_no_close_range),
		TEST(test_no_clone3),
		TEST(test_clone3_is_filtered),
		TEST(test_not_held),
		TEST(test_no_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
