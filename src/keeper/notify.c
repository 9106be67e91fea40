#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/syntax.h"

#define FIRST_FD       3 /* sd_listen_fds(3): they begin behind the standard ones */
#define TEXT_MAX_BYTES 1024

static struct {
	struct sockaddr_un address;
	socklen_t length; /* of the address */
	int socket;	  /* -1: nobody listens */
	int next, end;	  /* descriptors that nobody has taken yet */
	char *names;	  /* theirs, or NULL */
	char *rest;	  /* of the names */
} manager = { .socket = -1 };

/* A path, or the name of an abstract socket behind a "@". */
static int set_manager_address(const char *path)
{
	size_t length = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || !path[1] ||
	    length >= sizeof(manager.address.sun_path))
		return -EINVAL;
	memset(&manager.address, 0, sizeof(manager.address));
	manager.address.sun_family = AF_UNIX;
	memcpy(manager.address.sun_path, path, length);
	if (path[0] == '@')
		manager.address.sun_path[0] = '\0';
	manager.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				     length + (path[0] == '/'));
	return 0;
}

static void open_socket(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (!path)
		return;
	if (set_manager_address(path) < 0) {
		log_warning("NOTIFY_SOCKET is no address that we know: %s",
			    path);
		return;
	}
	manager.socket =
		socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (manager.socket < 0)
		log_warning("cannot speak to the service manager: %s",
			    strerror(errno));
}

/* The number in that variable, -1 if there is none. */
static int number_of(const char *variable)
{
	const char *text = getenv(variable);
	uint64_t number;

	return text && syntax_number(text, &number) == 0 &&
			       number <= INT_MAX - FIRST_FD
		       ? (int)number
		       : -1;
}

static void note_descriptors(void)
{
	const char *names = getenv("LISTEN_FDNAMES");
	int count = number_of("LISTEN_FDS"), fd;

	/* Meant for another process, which left them in our environment. */
	if (count < 1 || number_of("LISTEN_PID") != getpid())
		return;
	/* The descriptors are one row. */
	for (fd = FIRST_FD; fd < FIRST_FD + count; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			break;
	manager.next = FIRST_FD;
	manager.end = fd;
	manager.rest = manager.names = names ? strdup(names) : NULL;
	if (fd < FIRST_FD + count)
		log_warning("of %d descriptors from the service manager there "
			    "are %d",
			    count, fd - FIRST_FD);
}

void notify_open(void)
{
	open_socket();
	note_descriptors();
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

void notify_close(void)
{
	while (manager.next < manager.end)
		close(manager.next++);
	free(manager.names);
	manager.names = manager.rest = NULL;
	if (manager.socket >= 0)
		close(manager.socket);
	manager.socket = -1;
}

void notify_disown(void)
{
	unsetenv("NOTIFY_SOCKET");
}

/* One datagram, with a descriptor beside it unless fd is -1. */
static int send_text(const char *text, int fd)
{
	struct iovec vector = { (void *)text, strlen(text) };
	struct msghdr header = { .msg_name = &manager.address,
				 .msg_namelen = manager.length,
				 .msg_iov = &vector,
				 .msg_iovlen = 1 };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;

	if (manager.socket < 0)
		return 0;
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	return sendmsg(manager.socket, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int notify_send(const char *format, ...)
{
	char text[TEXT_MAX_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return send_text(text, -1);
}

int notify_store(const char *name, int fd)
{
	char text[TEXT_MAX_BYTES];

	/* FDPOLL=0: it is kept even if it is a socket whose other end closes. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return send_text(text, fd);
}

int notify_unstore(const char *name)
{
	return notify_send("FDSTOREREMOVE=1\nFDNAME=%s", name);
}

/* Nobody else gets the number where it was: there is what 0 is. */
static int move_up(int fd, int floor)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, floor);

	if (moved < 0)
		return fd;
	dup3(STDIN_FILENO, fd, O_CLOEXEC);
	return moved;
}

int notify_take(const char **name, int floor)
{
	int fd = manager.next;

	if (fd >= manager.end)
		return -1;
	*name = manager.rest ? strsep(&manager.rest, ":") : "unknown";
	manager.next++;
	return fd < floor ? move_up(fd, floor) : fd;
}
