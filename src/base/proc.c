#include "proc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "log.h"

/* Of the kernel's task flags, which proc(5) shows: it ends, or was killed. */
#define PF_EXITING  0x4u
#define PF_SIGNALED 0x400u

#define LOOK_INTERVAL 100000 /* us */
#define SILENT_LOOKS  5	     /* most are gone by then: not worth a line */

/* ---- a process that is held ---- */

int proc_open(struct proc *proc, pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0u);

	*proc = (struct proc){ fd < 0 ? 0 : pid, fd };
	return fd < 0 ? -errno : 0;
}

void proc_kill(const struct proc *proc)
{
	if (proc->pid)
		syscall(SYS_pidfd_send_signal, proc->fd, SIGKILL, NULL, 0u);
}

void proc_wait(const struct proc *proc, int ms)
{
	struct pollfd end = { .fd = proc->fd, .events = POLLIN };

	if (proc->pid)
		poll(&end, 1, ms);
}

void proc_close(struct proc *proc)
{
	if (proc->pid)
		close(proc->fd);
	proc->pid = 0;
}

/* ---- a look ---- */

int proc_look(pid_t pid, struct proc_look *look)
{
	unsigned long long user, system;
	char path[40], text[1024], *begin, *end;
	size_t length;
	FILE *file;

	*look = (struct proc_look){ .state = 'X' };
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	/* The name may have blanks and brackets. */
	begin = strchr(text, '(');
	end = strrchr(text, ')');
	if (!end ||
	    sscanf(end,
		   ") %c %*s %*s %*s %*s %*s %u %*s %*s %*s %*s %llu %llu %*s "
		   "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
		   "%llu",
		   &look->state, &look->flags, &user, &system,
		   &look->signals) != 5)
		return -ESRCH;
	*end = '\0';
	snprintf(look->name, sizeof(look->name), "%.15s", begin + 1);
	look->ticks = user + system;
	return 0;
}

pid_t proc_peer(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return 0;
	return peer.pid;
}

/*
 * In D it may be dying: one that has ended by itself shows nothing else while it
 * waits for the kernel's workers.
 */
static int is_dying(const struct proc_look *look)
{
	return strchr("DZX", look->state) ||
	       (look->flags & (PF_EXITING | PF_SIGNALED)) ||
	       (look->signals >> (SIGKILL - 1) & 1);
}

int proc_is_dying(pid_t pid)
{
	struct proc_look look;

	return pid && proc_look(pid, &look) == 0 && is_dying(&look);
}

/* ---- the end of one that is dying ---- */

/* Whether what that process has comes free by itself. */
static int comes_free(struct dying *dying, pid_t pid)
{
	struct proc_look look;

	if (!pid)
		return 0;
	if (proc_look(pid, &look) < 0) {
		snprintf(dying->who, sizeof(dying->who),
			 "process %d, which is gone,", (int)pid);
		return 1;
	}
	snprintf(dying->who, sizeof(dying->who), "process %d (%s, state %c)",
		 (int)pid, look.name, look.state);
	return is_dying(&look);
}

/* The keeper has its signals blocked. */
static int is_told_to_end(void)
{
	sigset_t set;

	return sigpending(&set) == 0 && (sigismember(&set, SIGTERM) == 1 ||
					 sigismember(&set, SIGINT) == 1);
}

int dying_wait(struct dying *dying, pid_t pid)
{
	int is_going = comes_free(dying, pid);

	if (!is_going && dying->looks >= dying->grace)
		return -EBUSY;
	if (is_told_to_end())
		return -EINTR;
	if (dying->looks >= DYING_LOOKS)
		return -ETIMEDOUT;
	if (++dying->looks == SILENT_LOOKS && is_going)
		log_notice("%s is dying, and still has %s: that is waited for, "
			   "%d s at most",
			   dying->who, dying->what, DYING_LOOKS / 10);
	usleep(LOOK_INTERVAL);
	return 0;
}

/* Who has a file locked, 0: it is not known. */
static pid_t find_owner(int fd)
{
	FILE *file = fopen("/proc/locks", "re");
	unsigned major_number, minor_number;
	unsigned long long inode;
	struct stat status;
	char line[256];
	int pid, owner = 0;

	while (file && !owner && fstat(fd, &status) == 0 &&
	       fgets(line, sizeof(line), file))
		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%llu", &pid,
			   &major_number, &minor_number, &inode) == 4 &&
		    inode == status.st_ino &&
		    makedev(major_number, minor_number) == status.st_dev)
			owner = pid;
	if (file)
		fclose(file);
	return owner;
}

int dying_lock(struct dying *dying, int fd)
{
	int error = 0;

	while (!error && flock(fd, LOCK_EX | LOCK_NB) < 0)
		error = errno == EWOULDBLOCK ? dying_wait(dying, find_owner(fd))
					     : -errno;
	return error;
}

int dying_failure(const struct dying *dying, int error, struct failure *failure)
{
	if (error == -ETIMEDOUT)
		return failure_set(failure, SYMBOL_BUSY, error, NULL,
				   "%s is dying, but has not let go of %s "
				   "within %d s",
				   dying->who, dying->what, DYING_LOOKS / 10);
	return failure_set(failure, SYMBOL_BUSY, error, NULL,
			   "cannot wait for %s: %s", dying->what,
			   error == -EINTR ? "a signal ended the wait"
					   : strerror(-error));
}
