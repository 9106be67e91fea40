/*
 * Other processes: held ones, which are real, and dying ones, which are files
 * that look like those of /proc.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "support.h"

#define OTHER 4711 /* a process of the files */

static struct dying dying;
static unsigned slept;
static unsigned ends_after; /* so many waits it lets go, and is gone */
static int held;	    /* a descriptor with a lock, or -1 */

FILE *LARGE(__real_fopen)(const char *path, const char *mode);

FILE *LARGE(__wrap_fopen)(const char *path, const char *mode)
{
	if (strcmp(path, "/proc/4711/stat") == 0)
		return LARGE(__real_fopen)(test_path("stat"), mode);
	if (strcmp(path, "/proc/locks") == 0)
		return LARGE(__real_fopen)(test_path("locks"), mode);
	return LARGE(__real_fopen)(path, mode);
}

int __wrap_usleep(useconds_t us)
{
	assert_int_equal(us, 100000);
	if (++slept != ends_after)
		return 0;
	unlink(test_path("stat"));
	if (held >= 0)
		close(held);
	held = -1;
	return 0;
}

/* A line as proc(5) has it, of a program with an awkward name. */
static void set_process(char state, unsigned flags, unsigned signals)
{
	char text[200];

	snprintf(text, sizeof(text),
		 "4711 (a) R 1 (b) %c 4 5 6 7 8 %u 10 11 12 13 14 15 16 17 18 "
		 "19 20 21 22 23 24 25 26 27 28 29 30 %u 32 33 34\n",
		 state, flags, signals);
	test_file("stat", text);
}

int before_each(void **state)
{
	log_forget();
	dying = (struct dying){ .what = "/some/lock" };
	slept = ends_after = 0;
	held = -1;
	set_process('S', 0, 0);
	return 0;
}

int after_each(void **state)
{
	if (held >= 0)
		close(held);
	test_folder_remove();
	return 0;
}

/* ---- one that is held ---- */

static pid_t start_child(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		poll(NULL, 0, 60000);
		_exit(0);
	}
	return pid;
}

TEST_CASE(test_kill)
{
	struct proc proc, nobody = { 0, 0 };
	pid_t pid = start_child();
	int status;

	assert_int_equal(proc_open(&proc, pid), 0);
	assert_int_equal(proc.pid, pid);
	assert_int_equal(fcntl(proc.fd, F_GETFD), FD_CLOEXEC);
	proc_kill(&proc);
	proc_wait(&proc, 30000);
	/* It has ended by then. */
	assert_int_equal(waitpid(pid, &status, WNOHANG), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	proc_kill(&proc);
	proc_close(&proc);
	assert_int_equal(proc.pid, 0);
	proc_close(&proc);
	/* Nobody is nobody: not descriptor 0, not this process' group. */
	proc_kill(&nobody);
	proc_wait(&nobody, 30000);
	proc_close(&nobody);
	assert_true(fcntl(0, F_GETFD) >= 0);
}

TEST_CASE(test_wait_is_bounded)
{
	struct proc proc;
	pid_t pid = start_child();

	assert_int_equal(proc_open(&proc, pid), 0);
	proc_wait(&proc, 1);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	proc_kill(&proc);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	proc_close(&proc);
	/* Nobody has that number now. */
	assert_int_equal(proc_open(&proc, pid), -ESRCH);
	assert_int_equal(proc.pid, 0);
}

TEST_CASE(test_peer)
{
	int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(proc_peer(pair[0]), getpid());
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(proc_peer(-1), 0);
}

/* ---- a look ---- */

TEST_CASE(test_look)
{
	struct proc_look look;

	set_process('t', 0x400, 0);
	assert_int_equal(proc_look(OTHER, &look), 0);
	assert_int_equal(look.state, 't');
	assert_int_equal(look.flags, 0x400);
	assert_int_equal(look.ticks, 14 + 15);
	assert_string_equal(look.name, "a) R 1 (b");
	test_file("stat", "nonsense");
	assert_true(proc_look(OTHER, &look) < 0);
	test_file("stat", "4711 (a) R");
	assert_true(proc_look(OTHER, &look) < 0);
	unlink(test_path("stat"));
	assert_true(proc_look(OTHER, &look) < 0);
}

static void check_dying(int is)
{
	assert_int_equal(proc_is_dying(OTHER), is);
	dying.looks = 0;
	assert_int_equal(dying_wait(&dying, OTHER), is ? 0 : -EBUSY);
}

TEST_CASE(test_signs_of_dying)
{
	static const char signs[] = "DZX", well[] = "RStTI";
	unsigned i;

	for (i = 0; signs[i]; i++) {
		set_process(signs[i], 0, 0);
		check_dying(1);
	}
	for (i = 0; well[i]; i++) {
		set_process(well[i], 0x40000, 1u << (SIGTERM - 1));
		check_dying(0);
	}
	set_process('S', 0x4, 0);
	check_dying(1);
	set_process('R', 0x400, 0);
	check_dying(1);
	/* Killed, but it has had no CPU since. */
	set_process('R', 0, 1u << (SIGKILL - 1));
	check_dying(1);
}

/* ---- the wait ---- */

/* A healthy one is told at once, or after its grace. */
TEST_CASE(test_healthy_holder)
{
	unsigned looks = 0;

	assert_int_equal(dying_wait(&dying, OTHER), -EBUSY);
	assert_int_equal(dying_wait(&dying, 0), -EBUSY);
	assert_int_equal(slept, 0);
	dying.grace = 7;
	while (dying_wait(&dying, OTHER) == 0)
		looks++;
	assert_int_equal(looks, 7);
	assert_int_equal(slept, 7);
	assert_false(log_has("dying"));
}

TEST_CASE(test_dying_for_long)
{
	struct failure failure;
	int error;

	set_process('D', 0, 0);
	while ((error = dying_wait(&dying, OTHER)) == 0)
		assert_true(slept <= 300);
	assert_int_equal(error, -ETIMEDOUT);
	assert_int_equal(slept, 300);
	assert_int_equal(log_count("process 4711 (a) R 1 (b, state D) is "
				   "dying, and still has /some/lock"),
			 1);
	assert_int_equal(dying_failure(&dying, error, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "(a) R 1 (b, state D)"));
	assert_non_null(strstr(failure.text, "/some/lock within 30 s"));
}

/* What is over in a moment is not worth a line. */
TEST_CASE(test_dying_is_gone)
{
	unlink(test_path("stat"));
	assert_int_equal(dying_wait(&dying, OTHER), 0);
	assert_int_equal(slept, 1);
	assert_false(log_has("dying"));
	assert_non_null(strstr(dying.who, "gone"));
	assert_false(proc_is_dying(OTHER));
}

static void told_to_end(int number)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_BLOCK, &set, &old);
	set_process('D', 0, 0);
	assert_int_equal(dying_wait(&dying, OTHER), 0);
	raise(number);
	assert_int_equal(dying_wait(&dying, OTHER), -EINTR);
	signal(number, SIG_IGN); /* it is forgotten */
	signal(number, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

TEST_CASE(test_told_to_end)
{
	told_to_end(SIGTERM);
	told_to_end(SIGINT);
}

/* ---- the wait for a lock ---- */

static int open_lock(void)
{
	int fd = open(test_path("lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* Process 4711 has the lock, among others that have what looks like it. */
static void hold_lock(void)
{
	char text[500], line[200] = "", *at;
	struct stat status;
	FILE *file;

	held = open_lock();
	assert_int_equal(flock(held, LOCK_EX), 0);
	assert_int_equal(fstat(held, &status), 0);
	/* The kernel's own line, with another number. */
	file = LARGE(__real_fopen)("/proc/locks", "re");
	assert_non_null(file);
	snprintf(text, sizeof(text), ":%lu 0 EOF",
		 (unsigned long)status.st_ino);
	while (fgets(line, sizeof(line), file) && !strstr(line, text))
		line[0] = '\0';
	fclose(file);
	if (!line[0])
		skip_without("sight of /proc/locks: another namespace's");
	at = strstr(line, "WRITE ");
	assert_non_null(at);
	at += strcspn(at, "0123456789");
	at += strspn(at, "0123456789");
	snprintf(text, sizeof(text),
		 "1: POSIX  ADVISORY  WRITE 1%s"
		 "2: FLOCK  ADVISORY  WRITE 2 00:01:%lu 0 EOF\n"
		 "2: FLOCK  ADVISORY  WRITE 2%.*s:1 0 EOF\n"
		 "3: -> FLOCK  ADVISORY  WRITE 3%s"
		 "4: FLOCK  ADVISORY  WRITE 4711%s",
		 at, (unsigned long)status.st_ino, (int)(strrchr(at, ':') - at),
		 at, at, at);
	test_file("locks", text);
}

TEST_CASE(test_free_lock)
{
	int fd = open_lock();

	assert_int_equal(dying_lock(&dying, fd), 0);
	close(fd);
	assert_int_equal(dying_lock(&dying, -1), -EBADF);
	assert_int_equal(slept, 0);
}

TEST_CASE(test_lock_of_healthy)
{
	int fd = open_lock();

	hold_lock();
	assert_int_equal(dying_lock(&dying, fd), -EBUSY);
	assert_non_null(strstr(dying.who, "process 4711"));
	assert_int_equal(slept, 0);
	/* Nobody knows whose it is. */
	test_file("locks", "");
	assert_int_equal(dying_lock(&dying, fd), -EBUSY);
	close(fd);
}

TEST_CASE(test_lock_of_dying)
{
	int fd = open_lock();

	hold_lock();
	set_process('R', 0, 1u << (SIGKILL - 1));
	ends_after = 9;
	assert_int_equal(dying_lock(&dying, fd), 0);
	assert_int_equal(slept, 9);
	/* And has it. */
	held = open_lock();
	assert_int_equal(flock(held, LOCK_EX | LOCK_NB), -1);
	close(fd);
}

int main(void)
{
	return tests_run();
}
