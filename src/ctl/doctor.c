#include "doctor.h"

#include <errno.h>
#include <ev.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/proc.h"
#include "client.h"
#include "screen.h"

#define COLUMNS 80
#define INDENT	15

/* ---- what is said ---- */

void doctor_say(struct doctor *doctor, enum doctor_level level,
		const char *format, ...)
{
	static const char *const names[] = { "OK", "WARN", "FAIL" };
	static const enum screen_colour colours[] = {
		SCREEN_GREEN,
		SCREEN_YELLOW,
		SCREEN_RED,
	};
	char text[1000];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fprintf(doctor->out, "%s%-5s%s%-10s",
		screen_colour(doctor->out, colours[level]), names[level],
		screen_colour(doctor->out, SCREEN_PLAIN), doctor->name);
	screen_print(doctor->out, text, INDENT, INDENT, COLUMNS);
	if (level > doctor->worst)
		doctor->worst = level;
}

enum doctor_level doctor_check(struct doctor *doctor)
{
	const struct check *check;

	for (check = check_table; check->name; check++) {
		doctor->name = check->name;
		check->look(doctor);
	}
	return doctor->worst;
}

/* ---- this host ---- */

/* The call is refused before it looks at its arguments, or because of them. */
static int try_io_uring(void)
{
	struct io_uring_params params = { .flags = 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 1u, &params);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* "HELLO ublkd proto=1 version=0.1.0 pid=812" */
static void read_greeting(struct doctor *doctor, const char *line)
{
	char version[41], pid[21];

	snprintf(doctor->greeting, sizeof(doctor->greeting), "ublkd %s, pid %s",
		 fields_find(line, "version", version, sizeof(version)),
		 fields_find(line, "pid", pid, sizeof(pid)));
}

static void ask_daemon(struct doctor *doctor, const char *socket)
{
	struct client client;
	const char *line;
	int error = client_begin(&client, socket, &line);
	int is_open = client.fd >= 0;

	if (is_open)
		doctor->still.listener = proc_peer(client.fd);
	if (error >= 0)
		read_greeting(doctor, line);
	client_close(&client);
	doctor->still.is_heard = is_open || error == -ETIMEDOUT;
	doctor->daemon = error >= 0		  ? DOCTOR_ANSWERS
			 : doctor->still.is_heard ? DOCTOR_SILENT
			 : error == -EACCES	  ? DOCTOR_DENIED
						  : DOCTOR_NO_DAEMON;
}

int doctor_run(const char *socket, const char *folder)
{
	struct doctor doctor = {
		.root = "",
		.folder = folder,
		.uring_error = try_io_uring(),
		.ev_major = EV_VERSION_MAJOR,
		.ev_minor = EV_VERSION_MINOR,
		.still = { .root = "", .folder = folder },
		.out = stdout,
	};

	ask_daemon(&doctor, socket);
	still_look(&doctor.still);
	doctor.server = doctor.still.server;
	doctor_check(&doctor);
	still_close(&doctor.still);
	return (int)doctor.worst;
}
