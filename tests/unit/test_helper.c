/*
 * Helpers: the keeper's side against real processes, which play what a test
 * wants or do their job with a faked search; and what they answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/channel.h"
#include "keeper/helper.h"
#include "base/proc.h"
#include "server/server.h"
#include "keeper/spawn.h"
#include "support.h"
#include "base/usage.h"
#include "base/view.h"

static struct helpers helpers;
static sigset_t signals;
static struct message answer, question;
static unsigned answers;
static int answer_fd; /* that came with it, or -1 */

/* What the process does in place of the program. */
static enum {
	DO_JOB,
	HANG,
	DIE,
	DIE_UNREAD,
	SAY_TWICE,
	LINGER,
	SAY_FD,
	NO_PROGRAM
} play;
static const char *name = HELPER_NAME;
static int start_error;
static pid_t last_pid;

int __wrap_execv(const char *path, char *const *arguments);
int __real_spawn_program(struct proc *proc, int ours, int theirs,
			 const char *program, char *const arguments[],
			 const sigset_t *mask);
int __wrap_spawn_program(struct proc *proc, int ours, int theirs,
			 const char *program, char *const arguments[],
			 const sigset_t *mask);

static void say_twice(void)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count;

	channel_receive_now(SERVER_FD, &message, fds, &count);
	channel_send_now(SERVER_FD, &message, NULL, 0);
	message.number = 99;
	channel_send_now(SERVER_FD, &message, NULL, 0);
}

int __wrap_execv(const char *path, char *const *arguments)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count;

	if (strcmp(path, "/proc/self/exe") != 0 ||
	    strcmp(arguments[0], name) != 0 ||
	    strcmp(arguments[1], "--helper") != 0 || arguments[2] ||
	    fcntl(SERVER_FD, F_GETFD) != 0)
		_exit(98);
	switch (play) {
	case DO_JOB:
		_exit(helper_run());
	case HANG:
		pause();
		_exit(1);
	case DIE:
		channel_receive_now(SERVER_FD, &message, fds, &count);
		_exit(3);
	case DIE_UNREAD:
		_exit(3);
	case SAY_TWICE:
		say_twice();
		_exit(0);
	case LINGER:
		say_twice();
		pause();
		_exit(1);
	case SAY_FD:
		channel_receive_now(SERVER_FD, &message, fds, &count);
		fds[0] = fds[1] = SERVER_FD;
		channel_send_now(SERVER_FD, &message, fds, 2);
		channel_send_now(SERVER_FD, &message, fds, 1);
		_exit(0);
	case NO_PROGRAM:
		break;
	}
	errno = ENOEXEC;
	return -1;
}

int __wrap_spawn_program(struct proc *proc, int ours, int theirs,
			 const char *program, char *const arguments[],
			 const sigset_t *mask)
{
	int error = start_error;

	assert_ptr_equal(mask, &signals);
	if (!error)
		error = __real_spawn_program(proc, ours, theirs, program,
					     arguments, mask);
	last_pid = proc->pid;
	return error;
}

/* ---- the search, in the process ---- */

void __wrap_usage_find(const char *root, struct usage *usages, unsigned count);
int __wrap_stat(const char *path, struct stat *status);
int __wrap_stat64(const char *path, struct stat *status);
ssize_t __wrap_readlink(const char *path, char *link, size_t size);

/* A disk's user is in its name. */
void __wrap_usage_find(const char *root, struct usage *usages, unsigned count)
{
	unsigned i;

	if (root[0])
		_exit(97);
	for (i = 0; i < count; i++) {
		usages[i].kind = strstr(usages[i].disk, "open") ? USAGE_OPEN
				 : strstr(usages[i].disk, "mount")
					 ? USAGE_LASTING
					 : USAGE_NONE;
		snprintf(usages[i].who, sizeof(usages[i].who), "%s",
			 usages[i].kind ? "somebody, process 9" : "");
	}
}

int __wrap_stat(const char *path, struct stat *status)
{
	memset(status, 0, sizeof(*status));
	status->st_rdev = makedev(8, 3);
	if (strcmp(path, "/dev/disk") == 0)
		return 0;
	errno = ENOENT;
	return -1;
}

int __wrap_stat64(const char *path, struct stat *status)
{
	return __wrap_stat(path, status);
}

ssize_t __wrap_readlink(const char *path, char *link, size_t size)
{
	static const char text[] = "../../devices/block/sda/mounted3";

	/* Of whoever is in D on this host just now. */
	if (strncmp(path, "/proc/", 6) == 0) {
		errno = EACCES;
		return -1;
	}
	if (strcmp(path, "/sys/dev/block/8:3") != 0 || size < sizeof(text))
		_exit(96);
	memcpy(link, text, sizeof(text) - 1);
	return sizeof(text) - 1;
}

/* ---- */

static int setup(void **state)
{
	test_loop_open();
	sigemptyset(&signals);
	helpers_open(&helpers, test_loop, &signals, 0);
	memset(&answer, 0, sizeof(answer));
	memset(&question, 0, sizeof(question));
	question.magic = MESSAGE_MAGIC;
	question.type = MESSAGE_ASK;
	answers = 0;
	play = DO_JOB;
	start_error = 0;
	log_forget();
	return 0;
}

static int teardown(void **state)
{
	helpers_close(&helpers);
	test_loop_close();
	while (waitpid(-1, NULL, 0) > 0)
		;
	return 0;
}

static void on_done(void *context, const struct message *message, int fd)
{
	assert_ptr_equal(context, &answers);
	answer = *message;
	answer_fd = fd;
	answers++;
}

static int ask(enum helper_job job, const char *text)
{
	question.number = job;
	question.serial = 5;
	snprintf(question.text, sizeof(question.text), "%s", text);
	return helper_ask(&helpers, &question, NULL, 0, on_done, &answers);
}

/* Until no process is left; each is one that will end. */
static void until_gone(void)
{
	unsigned tries = 20000;

	while (helpers.first && tries--) {
		turn(1);
		usleep(1000);
	}
	assert_null(helpers.first);
}

static void expect(int result, uint64_t number, const char *text)
{
	until_gone();
	assert_int_equal(answers, 1);
	assert_int_equal(answer.result, result);
	assert_int_equal(answer.number, number);
	assert_string_equal(answer.text, text);
	answers = 0;
}

static void test_disk_user(void **state)
{
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	expect(0, 0, "");
	assert_int_equal(answer.serial, 5);
	assert_int_equal(ask(HELPER_DISK_USER, "opened"), 0);
	expect(-EBUSY, 0, "somebody, process 9");
	assert_int_equal(ask(HELPER_DISK_USER, "mounted"), 0);
	expect(-EBUSY, 1, "somebody, process 9");
	assert_int_equal(ask((enum helper_job)77, ""), 0);
	expect(-EINVAL, 77, "");
}

/* One may leave a relay behind, which the last kill at shutdown is to spare. */
static void test_spared(void **state)
{
	(void)state;
	play = SAY_TWICE;
	helpers.is_spared = 1;
	assert_int_equal(ask(HELPER_DISK_USER, ""), 0);
	expect(0, HELPER_DISK_USER, "");
	name = "@" HELPER_NAME;
	assert_int_equal(ask(HELPER_CONNECT, ""), 0);
	expect(0, HELPER_CONNECT, "");
	name = HELPER_NAME;
}

/* By the link in sysfs, whatever the node is called. */
static void test_node_user(void **state)
{
	assert_int_equal(ask(HELPER_NODE_USER, "/dev/disk"), 0);
	expect(-EBUSY, 1, "somebody, process 9");
	assert_int_equal(ask(HELPER_NODE_USER, "/dev/none"), 0);
	until_gone();
	assert_int_equal(answer.result, -ENOENT);
}

static void test_disk_users(void **state)
{
	char text[sizeof(question.text)] = "", *end;
	unsigned i;

	assert_int_equal(ask(HELPER_DISK_USERS, "ublkb0 open1 ublkb2 mount3 "),
			 0);
	expect(0, 2, "open1 somebody, process 9\nmount3 somebody, process 9\n");
	assert_int_equal(ask(HELPER_DISK_USERS, ""), 0);
	expect(0, 0, "");
	/* More than an answer has room for: whole lines, and the number. */
	for (i = 0; i < 400; i++)
		add_text(text, sizeof(text), "openopen1 ");
	assert_int_equal(ask(HELPER_DISK_USERS, text), 0);
	until_gone();
	assert_int_equal(answer.number, 400);
	assert_true(strlen(answer.text) > sizeof(answer.text) - 40);
	end = answer.text + strlen(answer.text);
	assert_memory_equal(end - 10, "process 9\n", 10);
}

static int open_file(void)
{
	int fd = open(test_path("file"), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int ask_lock(const char *how, int fd)
{
	question.number = HELPER_LOCK;
	snprintf(question.text, sizeof(question.text), "%s", how);
	return helper_ask(&helpers, &question, &fd, 1, on_done, &answers);
}

/* The lock is the open file's: it stays when the helper has gone. */
/* A name of the host, or a number, with a group that is not named. */
static void test_owner(void **state)
{
	assert_int_equal(ask(HELPER_OWNER, "0"), 0);
	expect(0, UINT32_MAX, "");
	assert_int_equal(ask(HELPER_OWNER, "7:5"), 0);
	expect(0, 7ull << 32 | 5, "");
	assert_int_equal(ask(HELPER_OWNER, "0:"), 0);
	expect(-ENOENT, HELPER_OWNER, "the group '': there is none");
}

static void test_lock(void **state)
{
	int one, other;

	test_file("file", "data");
	one = open_file();
	other = open_file();
	assert_int_equal(ask_lock("r", one), 0);
	expect(0, HELPER_LOCK, "");
	assert_int_equal(ask_lock("r", other), 0);
	expect(0, HELPER_LOCK, "");
	assert_int_equal(ask_lock("w", other), 0);
	expect(-EBUSY, HELPER_LOCK, "it is locked by another program");
	close(one);
	assert_int_equal(ask_lock("w", other), 0);
	expect(0, HELPER_LOCK, "");
	one = open_file();
	assert_int_equal(ask_lock("r", one), 0);
	expect(-EBUSY, HELPER_LOCK, "it is locked by another program");
	close(other);
	/* A helper that came too late has it no longer than the asker. */
	play = HANG;
	assert_int_equal(ask_lock("w", one), 0);
	pass_time(HELPER_PATIENCE + 1);
	expect(-ETIMEDOUT, 0, "");
	close(one);
	play = DO_JOB;
	one = open_file();
	assert_int_equal(ask_lock("w", one), 0);
	expect(0, HELPER_LOCK, "");
	close(one);
	test_folder_remove();
}

/* The text comes into the asker's file, or what is wrong with it. */
static void test_config(void **state)
{
	char text[200] = "", path[300];
	int fd = memfd_create("test", MFD_CLOEXEC);

	play = DO_JOB;
	test_file("c", "frob\n");
	snprintf(path, sizeof(path), "%s", test_path("c"));
	question.number = HELPER_CONFIG;
	snprintf(question.text, sizeof(question.text), "%s", path);
	assert_int_equal(
		helper_ask(&helpers, &question, &fd, 1, on_done, &answers), 0);
	expect(0, HELPER_CONFIG, "");
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "\n:frob\n"));
	close(fd);
#ifndef WITHOUT_RELOAD
	fd = memfd_create("test", MFD_CLOEXEC);
	question.number = HELPER_CHECK;
	assert_int_equal(
		helper_ask(&helpers, &question, &fd, 1, on_done, &answers), 0);
	expect(0, HELPER_CHECK, "");
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	assert_memory_equal(text, "mistake file=", 13);
	unlink(path);
	assert_int_equal(
		helper_ask(&helpers, &question, &fd, 1, on_done, &answers), 0);
	add_text(path, sizeof(path), ": No such file or directory");
	expect(-ENOENT, HELPER_CHECK, path);
	close(fd);
#endif
	test_folder_remove();
}

#ifndef WITHOUT_SIGHT
/* The views come into the asker's file. */
static void test_view(void **state)
{
	const struct view_head head = { .magic = VIEW_MAGIC,
					.size = sizeof(struct view),
					.walk = VIEW_WALK };
	struct view_head filled = { .known = 0 };
	int fd = view_file(&head, NULL);

	question.number = HELPER_VIEW;
	assert_int_equal(
		helper_ask(&helpers, &question, &fd, 1, on_done, &answers), 0);
	expect(0, HELPER_VIEW, "");
	assert_int_equal(view_read_head(fd, &filled), 0);
	assert_int_equal(filled.known, VIEW_WAITERS);
	close(fd);
}
#endif

/* Neither its channel nor its process stays. */
static void test_no_leak(void **state)
{
	unsigned fds = count_fds();

	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	expect(0, 0, "");
	assert_int_equal(count_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* It was the keeper that stood still: the answer is there. */
static void test_late_reader(void **state)
{
	siginfo_t info;

	assert_int_equal(ask(HELPER_DISK_USER, "opened"), 0);
	assert_int_equal(
		waitid(P_PID, (id_t)last_pid, &info, WEXITED | WNOWAIT), 0);
	move_clock(HELPER_PATIENCE + 1);
	expect(-EBUSY, 0, "somebody, process 9");
	assert_false(log_has("no answer"));
}

/* It is answered by then, and its process is gone when it can be. */
static void test_deadline(void **state)
{
	play = HANG;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	pass_time(HELPER_PATIENCE - 0.5);
	assert_int_equal(answers, 0);
	/* It cannot be ended by a signal that it does not see. */
	kill(last_pid, SIGSTOP);
	pass_time(1);
	assert_int_equal(answers, 1);
	assert_int_equal(answer.result, -ETIMEDOUT);
	assert_true(log_has("no answer"));
	expect(-ETIMEDOUT, 0, "");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* One that answers is not killed after that. */
static void test_no_second_answer(void **state)
{
	play = SAY_TWICE;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	expect(0, 0, "ublkb0");
	pass_time(HELPER_PATIENCE * 2);
	assert_int_equal(answers, 0);
	assert_false(log_has("no answer"));
}

/* It has answered, and does not end by itself. */
static void test_lingers(void **state)
{
	play = LINGER;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	while (!answers)
		turn(1);
	assert_int_equal(answer.result, 0);
	assert_int_equal(helpers.running, 1);
	pass_time(HELPER_PATIENCE + 1);
	until_gone();
	assert_int_equal(answers, 1);
	assert_false(log_has("no answer"));
}

/* The program may be gone, or crash: that is an answer, too. */
static void test_no_answer(void **state)
{
	play = DIE;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	expect(-ECHILD, 0, "");
	play = DIE_UNREAD;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	expect(-ECHILD, 0, "");
	play = NO_PROGRAM;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	expect(-ENOEXEC, 0, "/proc/self/exe: Exec format error");
}

static void test_no_process(void **state)
{
	unsigned fds = count_fds();

	start_error = -EAGAIN;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), -EAGAIN);
	assert_null(helpers.first);
	assert_int_equal(count_fds(), fds);
	turn(3);
	assert_int_equal(answers, 0);
}

/* Many disks are deleted at once, or files locked again: each gets an answer. */
static void test_many(void **state)
{
	unsigned fds = count_fds(), i;

	for (i = 0; i < HELPERS_MAX + 40; i++)
		assert_int_equal(ask(HELPER_DISK_USER, "opened"), 0);
	/* They would be late all together. */
	assert_int_equal(helpers.running, HELPERS_BUSY);
	/* Its turn comes without another one's question. */
	until_gone();
	assert_int_equal(answers, HELPERS_MAX + 40);
	assert_int_equal(answer.result, -EBUSY);
	assert_int_equal(helpers.running, 0);
	assert_int_equal(count_fds(), fds);
}

/* One that waits gets its descriptor, and an answer also if it fails then. */
static void test_waits(void **state)
{
	unsigned i;
	int one;

	test_file("file", "data");
	one = open_file();
	play = LINGER;
	for (i = 0; i < HELPERS_MAX; i++)
		assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	while (answers < HELPERS_MAX)
		turn(1);
	play = DO_JOB;
	assert_int_equal(ask_lock("w", one), 0);
	turn(3);
	assert_int_equal(answers, HELPERS_MAX);
	kill(last_pid, SIGKILL);
	while (answers == HELPERS_MAX) {
		turn(1);
		usleep(1000);
	}
	assert_int_equal(answer.result, 0);
	assert_int_equal(answer.number, HELPER_LOCK);
	/* Its helper has ended, too, or it gets this one's turn. */
	while (helpers.running == HELPERS_MAX) {
		turn(1);
		usleep(1000);
	}
	play = LINGER;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb1"), 0);
	while (answers < HELPERS_MAX + 2)
		turn(1);
	assert_int_equal(helpers.running, HELPERS_MAX);
	start_error = -EAGAIN;
	kill(last_pid, SIGKILL);
	while (answers < HELPERS_MAX + 3) {
		turn(1);
		usleep(1000);
	}
	assert_int_equal(answer.result, -EAGAIN);
	assert_int_equal(helpers.running, HELPERS_MAX - 1);
	close(one);
	test_folder_remove();
}

/* Those that cannot die count: they take memory. */
static void test_limit(void **state)
{
	unsigned i;

	play = HANG;
	for (i = 0; i <= HELPERS_MAX; i++)
		assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	assert_int_equal(helpers.running, HELPERS_BUSY);
	helpers_close(&helpers);
	assert_null(helpers.first);
	assert_int_equal(answers, HELPERS_MAX + 1);
	assert_int_equal(answer.result, -ECANCELED);
}

/* What comes with an answer is the asker's, but only one; and of one answer. */
static void test_descriptor(void **state)
{
	unsigned fds = count_fds();

	play = SAY_FD;
	assert_int_equal(ask(HELPER_CONNECT, "nbd://"), 0);
	until_gone();
	assert_int_equal(answers, 1);
	assert_true(fcntl(answer_fd, F_GETFD) & FD_CLOEXEC);
	close(answer_fd);
	assert_int_equal(count_fds(), fds);
}

/*
 * Servers that do not answer take turns from nobody else, and leave some for those
 * that do; they fill no log.
 */
static void test_dead_servers(void **state)
{
	unsigned i;

	play = HANG;
	for (i = 0; i < HELPERS_MAX; i++)
		assert_int_equal(ask(HELPER_CONNECT, "nbd://"), 0);
	assert_int_equal(helpers.running, HELPERS_CONNECT);
	for (i = 0; i <= HELPERS_BUSY; i++)
		assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	assert_int_equal(helpers.running, HELPERS_CONNECT + HELPERS_BUSY);
	pass_time(HELPER_PATIENCE + 1);
	assert_int_equal(answers, HELPERS_CONNECT + HELPERS_BUSY);
	assert_int_equal(answer.result, -ETIMEDOUT);
	/* Those of the other ones. */
	assert_int_equal(log_count("no answer"), HELPERS_BUSY);
	helpers_close(&helpers);
}

/* What anybody may ask for often leaves room for what devices need. */
static void test_looks(void **state)
{
	static const uint64_t jobs[] = { HELPER_VIEW, HELPER_CHECK };
	unsigned i;

	play = HANG;
	for (i = 0; i < HELPERS_LOOK; i++)
		assert_int_equal(ask(jobs[i % COUNT(jobs)], ""), 0);
	for (i = 0; i < COUNT(jobs); i++)
		assert_int_equal(ask(jobs[i], ""), -EBUSY);
	for (i = 0; i < HELPERS_BUSY - HELPERS_LOOK; i++)
		assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	assert_int_equal(helpers.running, HELPERS_BUSY);
	helpers_close(&helpers);
	assert_int_equal(answers, HELPERS_BUSY);
}

/* Whose turn does not come is told in time as well. */
static void test_no_turn(void **state)
{
	unsigned fds = count_fds();

	helpers.running = HELPERS_MAX;
	assert_int_equal(ask(HELPER_DISK_USER, "ublkb0"), 0);
	pass_time(HELPER_TURN - 0.5);
	assert_int_equal(answers, 0);
	pass_time(1);
	assert_int_equal(answers, 1);
	assert_int_equal(answer.result, -ETIMEDOUT);
	assert_true(log_has("no helper can be started: as many"));
	assert_null(helpers.first);
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_disk_user),
		TEST(test_spared),
		TEST(test_node_user),
		TEST(test_disk_users),
		TEST(test_owner),
		TEST(test_lock),
		TEST(test_config),
#ifndef WITHOUT_SIGHT
		TEST(test_view),
#endif
		TEST(test_no_leak),
		TEST(test_deadline),
		TEST(test_no_second_answer),
		TEST(test_no_answer),
		TEST(test_no_process),
		TEST(test_limit),
		TEST(test_looks),
		TEST(test_lingers),
		TEST(test_many),
		TEST(test_waits),
		TEST(test_no_turn),
		TEST(test_descriptor),
		TEST(test_dead_servers),
		TEST(test_late_reader),
	};

	reserve_fds();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
