#include "carry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "PID FD:NAME FD:NAME ...": of that process alone, no child's. */
#define VARIABLE       "UBLKD_CARRIED"
#define TEXT_MAX       32768 /* for DEVICES_MAX, one each */
#define CARRY_NAME_MAX 63

static char text[TEXT_MAX];

int carry_put(const char *name, int fd)
{
	size_t length = strlen(text);
	int added;

	if (!length)
		length = (size_t)snprintf(text, sizeof(text), "%d",
					  (int)getpid());
	added = snprintf(text + length, sizeof(text) - length, " %d:%s", fd,
			 name);
	if (added >= (int)(sizeof(text) - length)) {
		text[length] = '\0';
		return -E2BIG;
	}
	if (fcntl(fd, F_SETFD, 0) < 0 || setenv(VARIABLE, text, 1) < 0)
		return -errno;
	return 0;
}

static int close_on_exec(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Returns a descriptor, and moves *at behind it; -1 at the end. */
static int next(const char **at, char *name)
{
	int fd, length = 0;

	if (sscanf(*at, " %d:%63s%n", &fd, name, &length) != 2)
		return -1;
	*at += length;
	return fd;
}

void carry_undo(void)
{
	const char *at = strchr(text, ' ');
	char name[CARRY_NAME_MAX + 1];
	int fd;

	while (at && (fd = next(&at, name)) >= 0)
		close_on_exec(fd);
	text[0] = '\0';
	unsetenv(VARIABLE);
}

/* Only to be taken once: not by a server, which is a child. */
static const char *open_text(void)
{
	const char *given = getenv(VARIABLE);
	int pid, length = 0;

	if (!given)
		return NULL;
	snprintf(text, sizeof(text), "%s", given);
	unsetenv(VARIABLE);
	if (sscanf(text, "%d%n", &pid, &length) != 1 || pid != (int)getpid())
		length = (int)strlen(text);
	return text + length;
}

int carry_take(const char **name)
{
	static const char *at;
	static char buffer[CARRY_NAME_MAX + 1];
	int fd = -1;

	if (!at)
		at = open_text();
	while (at && (fd = next(&at, buffer)) >= 0 && close_on_exec(fd) < 0)
		; /* it is not open */
	if (fd < 0) {
		at = NULL;
		text[0] = '\0';
	}
	*name = buffer;
	return fd;
}
