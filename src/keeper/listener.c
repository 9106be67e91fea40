#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"

#define GROUP_NAME "ublk"
#define BACKLOG	   128

static void lock_path(const struct listener *listener, char *path, size_t size)
{
	snprintf(path, size, "%s.lock", listener->path);
}

/* Whether the file that we locked is still the one at its path. */
static int lock_is_current(int fd, const char *path)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* As a file of a process's number, for scripts that end it. */
static void note_holder(int fd, const char *path)
{
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_warning("%s does not tell our process number: %s", path,
			    strerror(errno));
}

static int take_lock(struct listener *listener, struct failure *failure)
{
	char path[sizeof(listener->path) + 8];
	struct dying dying = { .what = path };
	int fd, error;

	lock_path(listener, path, sizeof(path));
	for (;;) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			  0600);
		if (fd < 0)
			return failure_set(failure, failure_symbol(errno),
					   errno, NULL, "cannot create %s: %s",
					   path, strerror(errno));
		error = dying_lock(&dying, fd);
		if (error) {
			close(fd);
			return error != -EBUSY
				       ? dying_failure(&dying, error, failure)
				       : failure_set(failure, SYMBOL_BUSY, 0,
						     NULL,
						     "another ublkd is running "
						     "on %s",
						     listener->path);
		}
		if (lock_is_current(fd, path)) {
			note_holder(fd, path);
			listener->lock = fd;
			return 0;
		}
		close(fd);
	}
}

/* Returns 1 if somebody answers, 0 if not; *peer: that process, 0: unknown. */
static int somebody_answers(const struct sockaddr_un *address, pid_t *peer)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int yes;

	*peer = 0;
	if (fd < 0)
		return 1;
	/* EPROTOTYPE: a living socket of another kind. */
	yes = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ==
		      0 ||
	      errno == EAGAIN || errno == EPROTOTYPE;
	*peer = proc_peer(fd);
	close(fd);
	return yes;
}

/*
 * Make room at the path. We hold the lock, so what answers there is a server
 * whose keeper died; one that was killed with it is gone in a moment.
 */
static int clear_path(const struct sockaddr_un *address,
		      struct failure *failure)
{
	const char *path = address->sun_path;
	struct dying dying = { .what = path, .grace = DYING_GRACE };
	struct stat status;
	pid_t peer;
	int error;

	if (lstat(path, &status) < 0)
		return 0;
	if (!S_ISSOCK(status.st_mode))
		return failure_set(failure, SYMBOL_EXISTS, 0, NULL,
				   "%s exists and is not a socket", path);
	while (somebody_answers(address, &peer)) {
		error = dying_wait(&dying, peer);
		if (error == -EBUSY)
			return failure_set(
				failure, SYMBOL_BUSY, 0, NULL,
				"a server without its keeper still answers on "
				"%s; its disks stay up until it is killed",
				path);
		if (error)
			return dying_failure(&dying, error, failure);
	}
	if (unlink(path) < 0 && errno != ENOENT)
		return failure_set(failure, failure_symbol(errno), errno, NULL,
				   "cannot remove the stale %s: %s", path,
				   strerror(errno));
	return 0;
}

static int note_socket(struct listener *listener, const char *path)
{
	struct stat status;

	if (lstat(path, &status) < 0)
		return -errno;
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

/* Ours alone until the group is right; only then does it listen. */
static int bind_safely(struct listener *listener,
		       const struct sockaddr_un *address, mode_t mode)
{
	const char *path = address->sun_path;
	mode_t old = umask(0177);
	int error = bind(listener->fd, (const struct sockaddr *)address,
			 sizeof(*address));
	struct group *group;

	umask(old);
	if (error < 0)
		return -errno;
	if (note_socket(listener, path) < 0)
		return -errno;
	group = getgrnam(GROUP_NAME);
	if (group && chown(path, (uid_t)-1, group->gr_gid) < 0)
		log_warning("cannot give %s to group " GROUP_NAME ": %s", path,
			    strerror(errno));
	if (chmod(path, mode) < 0)
		return -errno;
	return listen(listener->fd, BACKLOG) < 0 ? -errno : 0;
}

int listener_lock(struct listener *listener, const char *path,
		  struct failure *failure)
{
	listener->fd = listener->lock = -1;
	listener->inode = 0;
	listener->is_hidden = 0;
	if (snprintf(listener->path, sizeof(listener->path), "%s", path) >=
	    (int)sizeof(listener->path))
		return failure_set(failure, SYMBOL_ARG, 0, NULL,
				   "the path of a socket has at most %zu bytes",
				   sizeof(listener->path) - 1);
	return take_lock(listener, failure);
}

/* A new socket at that address, where nothing is. */
static int make_socket(struct listener *listener,
		       const struct sockaddr_un *address, mode_t mode,
		       struct failure *failure)
{
	int error;

	listener->fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	error = listener->fd < 0 ? -errno
				 : bind_safely(listener, address, mode);
	if (error == 0)
		return 0;
	return failure_set(failure, failure_symbol(error), error, NULL,
			   "cannot listen on %s: %s", listener->path,
			   strerror(-error));
}

int listener_bind(struct listener *listener, struct failure *failure)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, listener->path, sizeof(address.sun_path));
	if (clear_path(&address, failure) < 0)
		return -1;
	return make_socket(listener, &address, 0660, failure);
}

/* Beside the path. Returns its length, as snprintf() does. */
static int hidden_path(const struct listener *listener, char *path, size_t size)
{
	return snprintf(path, size, "%s.new", listener->path);
}

int listener_bind_hidden(struct listener *listener, struct failure *failure)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;

	if (hidden_path(listener, address.sun_path, sizeof(address.sun_path)) >=
	    (int)sizeof(address.sun_path))
		return failure_set(failure, SYMBOL_ARG, 0, NULL,
				   "the path of a read-only socket has at most "
				   "%zu bytes",
				   sizeof(address.sun_path) - sizeof(".new"));
	if (lstat(listener->path, &status) == 0 && !S_ISSOCK(status.st_mode))
		return failure_set(failure, SYMBOL_EXISTS, 0, NULL,
				   "%s exists and is not a socket",
				   listener->path);
	/* With the lock, what is there is nobody's. */
	unlink(address.sun_path);
	listener->is_hidden = 1;
	return make_socket(listener, &address, 0666, failure);
}

int listener_show(struct listener *listener)
{
	char path[sizeof(listener->path) + 8];

	if (!listener->is_hidden)
		return 0;
	hidden_path(listener, path, sizeof(path));
	if (rename(path, listener->path) < 0)
		return -errno;
	listener->is_hidden = 0;
	return 0;
}

/* Whether the path leads to that socket, be it through a link. */
static int is_bound_at(int fd, const char *path)
{
	struct sockaddr_un address;
	char bound[sizeof(address.sun_path) + 1];
	socklen_t length = sizeof(address);
	struct stat ours, theirs;

	memset(&address, 0, sizeof(address));
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return 0;
	snprintf(bound, sizeof(bound), "%.*s", (int)sizeof(address.sun_path),
		 address.sun_path);
	return lstat(path, &ours) == 0 && lstat(bound, &theirs) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

int listener_use(struct listener *listener, int fd, int borrowed)
{
	if (!is_bound_at(fd, listener->path))
		return -ENOENT;
	listener->fd = fd;
	if (!borrowed)
		note_socket(listener, listener->path);
	return 0;
}

void listener_leave(struct listener *listener)
{
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->lock >= 0)
		close(listener->lock);
	listener->fd = listener->lock = -1;
}

/* Whether that is a socket for listener_adopt(); fills its address if so. */
static int is_listening(int fd, struct sockaddr_un *address)
{
	socklen_t length = sizeof(*address), size = sizeof(int);
	int type, yes;

	memset(address, 0, sizeof(*address));
	if (getsockname(fd, (struct sockaddr *)address, &length) < 0 ||
	    length > sizeof(*address) || address->sun_family != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) < 0)
		return 0;
	return type == SOCK_STREAM && yes && address->sun_path[0] == '/';
}

int listener_adopt(struct listener *listener, int fd, struct failure *failure)
{
	struct sockaddr_un address;
	int flags = fcntl(fd, F_GETFL);

	listener->fd = fd;
	listener->lock = -1;
	listener->inode = 0;
	listener->is_hidden = 0;
	if (!is_listening(fd, &address) || flags < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		failure_set(failure, SYMBOL_ARG, 0, NULL,
			    "the socket that the service manager passes is not "
			    "one that listens at a path");
		goto fail;
	}
	snprintf(listener->path, sizeof(listener->path), "%.*s",
		 (int)sizeof(address.sun_path), address.sun_path);
	if (take_lock(listener, failure) == 0)
		return 0;
fail:
	listener_close(listener);
	return -1;
}

void listener_close(struct listener *listener)
{
	char path[sizeof(listener->path) + 8];
	struct stat status;

	if (listener->is_hidden)
		hidden_path(listener, path, sizeof(path));
	else
		snprintf(path, sizeof(path), "%s", listener->path);
	if (listener->inode && lstat(path, &status) == 0 &&
	    status.st_dev == listener->device &&
	    status.st_ino == listener->inode)
		unlink(path);
	if (listener->lock >= 0) {
		lock_path(listener, path, sizeof(path));
		unlink(path);
	}
	listener_leave(listener);
}
