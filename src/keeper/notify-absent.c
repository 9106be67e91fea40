/* In place of notify.c in a build without systemd's interface. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "notify.h"

void notify_open(void)
{
	if (getenv("NOTIFY_SOCKET") || getenv("LISTEN_FDS"))
		log_warning("a service manager listens, but this ublkd was "
			    "built without its interface (--disable-systemd)");
}

void notify_close(void)
{
}

void notify_disown(void)
{
}

int notify_send(const char *format, ...)
{
	(void)format;
	return 0;
}

int notify_store(const char *name, int fd)
{
	(void)name;
	(void)fd;
	return 0;
}

int notify_unstore(const char *name)
{
	(void)name;
	return 0;
}

int notify_take(const char **name, int floor)
{
	(void)name;
	(void)floor;
	return -1;
}
