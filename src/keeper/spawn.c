#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/channel.h"
#include "notify.h"
#include "server/server.h"

#define PATIENCE 10000 /* ms for a child to leave our table */

void spawn_reserve(void)
{
	int fd;

	do
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, SERVER_FD);
	while (fd >= 0 && fd < SPAWN_FLOOR - 1);
}

/*
 * In the child, which shares the keeper's table until close_range() (Linux 5.9)
 * gives it one of its own; nothing else may be done to descriptors before. Without
 * that call it copies all of them, as fork() does. Says when it is done.
 */
static void leave_table(void)
{
	if (syscall(SYS_close_range, SPAWN_FLOOR, ~0u, CLOSE_RANGE_UNSHARE) <
		    0 &&
	    syscall(SYS_unshare, CLONE_FILES) < 0)
		_exit(127);
	send(SERVER_FD, "", 1, MSG_NOSIGNAL);
}

static void execute_program(const char *program, char *const arguments[],
			    const sigset_t *signals)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_FAILED };

	sigprocmask(SIG_SETMASK, signals, NULL);
	notify_disown();
	execv(program, arguments);
	message.result = -errno;
	snprintf(message.text, sizeof(message.text), "%.300s: %s", program,
		 strerror(errno));
	channel_send_now(SERVER_FD, &message, NULL, 0);
	_exit(127);
}

/* As fork(), but the child shares our table; and it is held (Linux 5.3). */
static pid_t clone_sharing(struct proc *proc)
{
	struct clone_args arguments = { .flags = CLONE_FILES | CLONE_PIDFD,
					.pidfd = (uintptr_t)&proc->fd,
					.exit_signal = SIGCHLD };

	return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

/* A child that dies, or stands still, says nothing. */
static int wait_until_apart(struct proc *proc, pid_t pid, int fd)
{
	struct pollfd events[] = { { .fd = fd, .events = POLLIN },
				   { .fd = proc->fd, .events = POLLIN } };
	char byte;

	proc->pid = pid;
	poll(events, 2, PATIENCE);
	if (recv(fd, &byte, 1, MSG_DONTWAIT) == 1)
		return 0;
	proc_kill(proc);
	proc_close(proc);
	return -ECHILD;
}

int spawn_program(struct proc *proc, int ours, int theirs, const char *program,
		  char *const arguments[], const sigset_t *signals)
{
	int saved = fcntl(SERVER_FD, F_DUPFD_CLOEXEC, SPAWN_FLOOR);
	int is_sharing, error;
	pid_t pid;

	if (saved < 0)
		return -errno;
	dup2(theirs, SERVER_FD);
	pid = clone_sharing(proc);
	is_sharing = pid >= 0;
	/* An emulator, or a filter of system calls: with what fork() brings. */
	if (pid < 0 && (errno == ENOSYS || errno == EPERM))
		pid = fork();
	if (pid == 0) {
		if (is_sharing)
			leave_table();
		execute_program(program, arguments, signals);
	}
	error = pid < 0	     ? -errno
		: is_sharing ? wait_until_apart(proc, pid, ours)
			     : proc_open(proc, pid);
	dup3(saved, SERVER_FD, O_CLOEXEC);
	close(saved);
	return error;
}
