#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024 /* below PIPE_BUF: see writable() */

/* What every kernel takes as one line: longer ones are refused, not cut. */
#define KERNEL_LINE_MAX 976

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", LOG_ERR },
	[LOG_LEVEL_WARNING] = { "warning", LOG_WARNING },
	[LOG_LEVEL_NOTICE] = { "notice", LOG_NOTICE },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

static struct {
	const char *name;
	enum log_level level;
	int to_syslog;
	int socket; /* of syslog, or -1 */
	unsigned dropped;
} state = { "ublkd", LOG_LEVEL_INFO, 0, -1, 0 };

int log_level_parse(const char *name)
{
	unsigned i;

	for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i].name, name) == 0)
			return (int)i;
	return -1;
}

const char *log_level_name(enum log_level level)
{
	return levels[level].name;
}

/* Connect to the local syslog socket. Returns the descriptor or -1. */
static int syslog_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX,
				       .sun_path = "/dev/log" };
	int fd;

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void log_open(const char *name, enum log_level level, int to_syslog)
{
	state.name = name;
	state.level = level;
	state.to_syslog = to_syslog;
}

/*
 * Whether a short line can be written to stderr without waiting: a pipe that
 * polls writable has room for PIPE_BUF bytes (pipe(7)), a terminal for some.
 */
static int writable(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLOUT };

	return poll(&poller, 1, 0) == 1 && (poller.revents & POLLOUT);
}

/* A syslog that was restarted has a new socket: one more try. */
static int send_syslog(const char *line, size_t length)
{
	int tries;

	for (tries = 0; tries < 2; tries++) {
		if (state.socket < 0)
			state.socket = syslog_connect();
		if (state.socket < 0)
			return -1;
		if (send(state.socket, line, length,
			 MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EAGAIN || errno == ENOBUFS)
			return -1;
		close(state.socket);
		state.socket = -1;
	}
	return -1;
}

/*
 * Where no syslog runs the kernel's log keeps the line, for dmesg. It is opened for
 * each line: of one open file the kernel takes ten lines in five seconds, and drops
 * the others without a word, so that they would not be counted as lost. A line
 * without its end is not shown before the next one. The end is put into the line.
 */
static int write_kernel_log(char *line, size_t length)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t written;

	if (fd < 0)
		return -1;
	if (length > KERNEL_LINE_MAX - 1)
		length = KERNEL_LINE_MAX - 1;
	line[length++] = '\n';
	written = write(fd, line, length);
	close(fd);
	return written < 0 ? -1 : 0;
}

/* Hand one finished line over. Returns 0, or -1 if it was not taken. */
static int write_line(enum log_level level, const char *text)
{
	char line[LINE_MAX_BYTES + 64];
	int length;

	if (state.to_syslog) {
		length = snprintf(line, sizeof(line), "<%d>%s[%d]: %s",
				  LOG_DAEMON | levels[level].priority,
				  state.name, (int)getpid(), text);
		if (send_syslog(line, (size_t)length) == 0)
			return 0;
		/* A syslog that is only busy loses the line, and is told. */
		return state.socket < 0 ? write_kernel_log(line, (size_t)length)
					: -1;
	}
	if (!writable(STDERR_FILENO))
		return -1;
	length = snprintf(line, sizeof(line), "%s[%d]: %s: %s\n", state.name,
			  (int)getpid(), levels[level].name, text);
	return write(STDERR_FILENO, line, (size_t)length) < 0 ? -1 : 0;
}

/* Also U+0080 to U+009F, which some terminals obey. */
static void escape_controls(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
		else if ((unsigned char)text[0] == 0xc2 &&
			 ((unsigned char)text[1] & 0xe0) == 0x80)
			text[0] = text[1] = '?';
}

void log_line(enum log_level level, const char *format, ...)
{
	char text[LINE_MAX_BYTES], lost[64];
	va_list args;

	if (level > state.level)
		return;
	if (state.dropped) {
		snprintf(lost, sizeof(lost), "%u lines of this log were lost",
			 state.dropped);
		if (write_line(LOG_LEVEL_WARNING, lost) == 0)
			state.dropped = 0;
	}
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	escape_controls(text);
	if (write_line(level, text) < 0)
		state.dropped++;
}
