/* What doctor looks at, a function each. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"

#define CAP_IPC_LOCK  14
#define CAP_SYS_ADMIN 21

/* A task's flag that PR_SET_IO_FLUSHER sets, in /proc/PID/stat. */
#define PF_MEMALLOC_NOIO 0x00080000u

#define PID_BYTES   12
#define LIMIT_BYTES 40

#define PIDS_LEAST    128 /* threads, most of them the kernel's workers */
#define MEMLOCK_LEAST (64u << 20)

/* Whose limits count: the running server's, or else those of whoever asks. */
static const char *process(const struct doctor *doctor, char *text)
{
	if (doctor->server)
		snprintf(text, PID_BYTES, "%d", (int)doctor->server);
	else
		snprintf(text, PID_BYTES, "self");
	return text;
}

static const char *whose(const struct doctor *doctor)
{
	return doctor->server ? "the server" : "a ublkd started from here";
}

/* ---- the daemon and its devices ---- */

static void check_daemon(struct doctor *doctor)
{
	switch (doctor->daemon) {
	case DOCTOR_ANSWERS:
		doctor_say(doctor, DOCTOR_OK, "%s, answers", doctor->greeting);
		break;
	case DOCTOR_NO_DAEMON:
		if (!doctor->server)
			doctor_say(doctor, DOCTOR_OK, "none runs");
		else
			doctor_say(doctor, DOCTOR_FAIL,
				   "its socket is gone; %s",
				   doctor->still.verdict);
		break;
	case DOCTOR_SILENT:
		doctor_say(doctor, DOCTOR_FAIL, "%s", doctor->still.verdict);
		break;
	case DOCTOR_DENIED:
		doctor_say(
			doctor, DOCTOR_WARN,
			"you may not use its socket: run this as root, or join "
			"the group ublk");
		break;
	}
}

static void check_devices(struct doctor *doctor)
{
	const struct still *still = &doctor->still;
	unsigned i, count = 0;

	if (doctor->server || doctor->daemon == DOCTOR_ANSWERS) {
		doctor_say(doctor, DOCTOR_OK, "there are %u", still->count);
		return;
	}
	for (i = 0; i < still->count; i++) {
		const struct host_device *device = &still->devices[i];

		if (!still_is_orphan(still, device))
			continue;
		count++;
		doctor_say(
			doctor, DOCTOR_FAIL,
			device->has_disk
				? "ublkb%u is quiesced, %u requests wait: no "
				  "server has it; start ublkd, which takes "
				  "its own ones over"
				: "ublkc%u is left over, with %u requests: no "
				  "server has it; start ublkd, which removes "
				  "its own ones",
			device->id, device->inflight);
	}
	if (still->count && geteuid() != 0)
		doctor_say(doctor, DOCTOR_WARN,
			   "there are %u; who serves them is told to root only",
			   still->count);
	else if (!count)
		doctor_say(doctor, DOCTOR_OK, "none is without a server");
}

/* ---- the kernel ---- */

static void read_release(const struct doctor *doctor, char *text, size_t size)
{
	host_read(doctor->root, text, size, "/proc/sys/kernel/osrelease");
}

/* In a list of the modules that this kernel has, loaded or not. */
static int is_listed(const struct doctor *doctor, const char *release,
		     const char *list)
{
	FILE *file =
		host_file(doctor->root, "/lib/modules/%s/%s", release, list);
	char *line = NULL;
	int found = 0;
	size_t room = 0;

	while (file && !found && getline(&line, &room, file) > 0)
		found = strstr(line, "/ublk_drv.ko") != NULL;
	free(line);
	if (file)
		fclose(file);
	return found;
}

static void check_driver(struct doctor *doctor)
{
	char release[100], text[2000];

	read_release(doctor, release, sizeof(release));
	if (host_has(doctor->root, "/dev/ublk-control"))
		doctor_say(doctor, DOCTOR_OK, "/dev/ublk-control is there");
	else if (host_has(doctor->root, "/sys/class/misc/ublk-control"))
		doctor_say(doctor, DOCTOR_FAIL,
			   "the driver is loaded, but there is no "
			   "/dev/ublk-control: give this container the host's "
			   "/dev, or start udev or mdev");
	else if (is_listed(doctor, release, "modules.dep") ||
		 is_listed(doctor, release, "modules.builtin"))
		doctor_say(doctor, DOCTOR_FAIL,
			   "the driver is not loaded: 'modprobe ublk_drv', and "
			   "put ublk_drv into /etc/modules-load.d/ublk.conf");
	else {
		if (host_read(doctor->root, text, sizeof(text),
			      "/etc/os-release") < 0)
			host_read(doctor->root, text, sizeof(text),
				  "/usr/lib/os-release");
		doctor_say(doctor, DOCTOR_FAIL,
			   "this kernel (%s) has no driver ublk_drv: %s",
			   release, doctor_driver_advice(text));
	}
}

static void check_kernel(struct doctor *doctor)
{
	unsigned major, minor;
	char release[100];

	read_release(doctor, release, sizeof(release));
	if (sscanf(release, "%u.%u", &major, &minor) != 2)
		doctor_say(doctor, DOCTOR_WARN,
			   "its release is not known: is /proc mounted?");
	else if (major < 6)
		doctor_say(doctor, DOCTOR_FAIL,
			   "Linux %s has no ublk: ublkd needs 6.5 or newer",
			   release);
	else {
		doctor_say(doctor, DOCTOR_OK, "Linux %s", release);
		doctor_kernel_faults(doctor, release);
	}
}

static void check_io_uring(struct doctor *doctor)
{
	char text[20];
	int disabled = 0;

	if (host_read(doctor->root, text, sizeof(text),
		      "/proc/sys/kernel/io_uring_disabled") > 0)
		disabled = atoi(text);
	if (disabled >= 2)
		doctor_say(doctor, DOCTOR_FAIL,
			   "it is disabled for all: 'sysctl "
			   "kernel.io_uring_disabled=0'");
	else if (doctor->uring_error == ENOSYS)
		doctor_say(
			doctor, DOCTOR_FAIL,
			"this kernel has none, or a seccomp filter hides it: "
			"CONFIG_IO_URING=y is needed, and in a container a "
			"profile that allows io_uring_setup");
	else if (doctor->uring_error && disabled == 0)
		doctor_say(
			doctor, DOCTOR_FAIL,
			"io_uring_setup fails: %s; in a container its seccomp "
			"profile or a security module must allow it",
			strerror(doctor->uring_error));
	else if (disabled)
		doctor_say(
			doctor, DOCTOR_WARN,
			"only CAP_SYS_ADMIN and the group "
			"kernel.io_uring_group may use it: run ublkd as root");
	else
		doctor_say(doctor, DOCTOR_OK, "it can be used");
}

static void check_seccomp(struct doctor *doctor)
{
	char text[4000], value[20], pid[PID_BYTES];

	host_read(doctor->root, text, sizeof(text), "/proc/%s/status",
		  process(doctor, pid));
	if (host_value(text, "Seccomp:", value, sizeof(value)) == 0 &&
	    strcmp(value, "0") != 0)
		doctor_say(doctor, DOCTOR_WARN,
			   "%s has a filter: if something fails with EPERM or "
			   "ENOSYS, allow io_uring_*, and what 'ublkd' logs",
			   whose(doctor));
	else
		doctor_say(doctor, DOCTOR_OK, "no filter");
}

/* ---- rights and limits ---- */

static int has_capability(const struct doctor *doctor, int capability)
{
	char text[4000], value[40], pid[PID_BYTES];

	host_read(doctor->root, text, sizeof(text), "/proc/%s/status",
		  process(doctor, pid));
	host_value(text, "CapEff:", value, sizeof(value));
	return strtoull(value, NULL, 16) >> capability & 1;
}

static void check_capabilities(struct doctor *doctor)
{
	if (!has_capability(doctor, CAP_SYS_ADMIN))
		doctor_say(
			doctor, DOCTOR_FAIL,
			"%s lacks CAP_SYS_ADMIN, and can add no device: run it "
			"as root, in a container privileged",
			whose(doctor));
	else if (!has_capability(doctor, CAP_IPC_LOCK))
		doctor_say(
			doctor, DOCTOR_WARN,
			"%s lacks CAP_IPC_LOCK: its memory is locked only as "
			"far as RLIMIT_MEMLOCK goes",
			whose(doctor));
	else
		doctor_say(doctor, DOCTOR_OK, "enough");
}

static void check_memlock(struct doctor *doctor)
{
	char text[4000], value[100], pid[PID_BYTES];
	unsigned long long limit = 0;

	host_read(doctor->root, text, sizeof(text), "/proc/%s/limits",
		  process(doctor, pid));
	host_value(text, "Max locked memory", value, sizeof(value));
	if (strncmp(value, "unlimited", 9) == 0 ||
	    has_capability(doctor, CAP_IPC_LOCK))
		doctor_say(doctor, DOCTOR_OK, "no limit counts");
	else if (sscanf(value, "%llu", &limit) == 1 && limit >= MEMLOCK_LEAST)
		doctor_say(doctor, DOCTOR_OK, "%llu MiB", limit >> 20);
	else
		doctor_say(
			doctor, DOCTOR_WARN,
			"RLIMIT_MEMLOCK of %s is %llu KiB: with little memory "
			"in the host it may wait for its own disks; LimitMEMLOCK="
			"infinity in the unit, or 'ulimit -l unlimited'",
			whose(doctor), limit >> 10);
}

/*
 * What ublkd asks for at its start, and goes on without. Returns 1 if the process
 * was refused some of that. Its parent is in *parent, or 0.
 */
static int lacks_protection(struct doctor *doctor, const char *name, int pid,
			    int *parent)
{
	char text[4000], value[40], adjust[20];
	unsigned flags = PF_MEMALLOC_NOIO;
	const char *end;

	*parent = 0;
	host_read(doctor->root, adjust, sizeof(adjust),
		  "/proc/%d/oom_score_adj", pid);
	host_read(doctor->root, text, sizeof(text), "/proc/%d/stat", pid);
	end = strrchr(text, ')');
	if (end)
		sscanf(end, ") %*c %d %*d %*d %*d %*d %u", parent, &flags);
	host_read(doctor->root, text, sizeof(text), "/proc/%d/status", pid);
	host_value(text, "VmLck:", value, sizeof(value));
	if (strcmp(adjust, "-1000") != 0)
		doctor_say(doctor, DOCTOR_WARN,
			   "the OOM killer may take the %s (oom_score_adj %s): "
			   "it needs CAP_SYS_RESOURCE, or "
			   "OOMScoreAdjust=-1000 in the unit",
			   name, adjust);
	else if (atoi(value) == 0)
		doctor_say(doctor, DOCTOR_WARN,
			   "the %s's memory is not locked: it needs "
			   "CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit",
			   name);
	else if (!(flags & PF_MEMALLOC_NOIO))
		doctor_say(doctor, DOCTOR_WARN,
			   "the %s may wait for its own disks when memory is "
			   "short: PR_SET_IO_FLUSHER needs CAP_SYS_RESOURCE",
			   name);
	else
		return 0;
	return 1;
}

static void check_protection(struct doctor *doctor)
{
	int keeper, init;

	if (!doctor->server)
		doctor_say(doctor, DOCTOR_OK, "no server to look at");
	else if (!lacks_protection(doctor, "server", (int)doctor->server,
				   &keeper) &&
		 !(keeper > 1 &&
		   lacks_protection(doctor, "keeper", keeper, &init)))
		doctor_say(doctor, DOCTOR_OK,
			   "server and keeper are kept from the OOM killer, "
			   "their memory is locked");
}

/*
 * A limit below `enough` of the process's group, or of one above: then the group
 * and its limit are filled in.
 */
static int is_limited(const struct doctor *doctor, const char *file,
		      unsigned long long enough, char *group, char *limit)
{
	char *end, pid[PID_BYTES];

	host_cgroup(doctor->root, process(doctor, pid), group);
	for (;;) {
		host_read(doctor->root, limit, LIMIT_BYTES,
			  "/sys/fs/cgroup%s/%s", group, file);
		if (limit[0] && strcmp(limit, "max") != 0 &&
		    strtoull(limit, NULL, 10) < enough)
			return 1;
		end = strrchr(group, '/');
		if (!end)
			return 0;
		*end = '\0';
	}
}

static void check_cgroup(struct doctor *doctor)
{
	char group[HOST_CGROUP], limit[LIMIT_BYTES];

	if (is_limited(doctor, "pids.max", PIDS_LEAST, group, limit))
		doctor_say(
			doctor, DOCTOR_FAIL,
			"%s/pids.max is %s: each request to a file may need a "
			"thread; TasksMax=infinity in the unit",
			group, limit);
	else if (is_limited(doctor, "memory.max", ULLONG_MAX, group, limit))
		doctor_say(
			doctor, DOCTOR_WARN,
			"%s/memory.max is %s bytes: RAM disks count, and what is "
			"above that fails; MemoryMax=infinity in the unit",
			group, limit);
	else
		doctor_say(doctor, DOCTOR_OK,
			   "no limit of memory or of threads");
}

/* ---- files ---- */

static void check_udev(struct doctor *doctor)
{
	static const char *const folders[] = {
		"/etc", "/run", "/usr/lib", "/lib", "/usr/local/lib",
	};
	size_t i;

	if (!host_has(doctor->root, "/run/udev")) {
		doctor_say(doctor, DOCTOR_OK, "udev does not run here");
		return;
	}
	for (i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		if (host_has(doctor->root, "%s/udev/rules.d/60-ublkd.rules",
			     folders[i])) {
			doctor_say(doctor, DOCTOR_OK,
				   "60-ublkd.rules is in %s/udev/rules.d",
				   folders[i]);
			return;
		}
	doctor_say(doctor, DOCTOR_WARN,
		   "there is no 60-ublkd.rules, and so no /dev/ublk/by-name: "
		   "install it into /etc/udev/rules.d, then 'udevadm control "
		   "--reload'");
}

/* The type of the file system on which that path lies, by the longest mount. */
static void find_filesystem(const struct doctor *doctor, const char *path,
			    char *type, size_t size)
{
	char full[300], *line = NULL, point[256], found[64], *rest;
	size_t room = 0, longest = 0, length;
	FILE *file;

	snprintf(type, size, "unknown");
	snprintf(full, sizeof(full), "%.200s/proc/self/mountinfo",
		 doctor->root);
	file = fopen(full, "re");
	while (file && getline(&line, &room, file) > 0) {
		rest = strstr(line, " - ");
		if (!rest || sscanf(rest, " - %63s", found) != 1 ||
		    sscanf(line, "%*s %*s %*s %*s %255s", point) != 1)
			continue;
		length = strcmp(point, "/") == 0 ? 0 : strlen(point);
		if (strncmp(path, point, length) != 0 ||
		    (path[length] != '/' && path[length]) || length < longest)
			continue;
		longest = length;
		snprintf(type, size, "%s", found);
	}
	free(line);
	if (file)
		fclose(file);
}

static void check_state(struct doctor *doctor)
{
	char path[600], type[64];
	struct stat status;

	snprintf(path, sizeof(path), "%s%s", doctor->root, doctor->folder);
	find_filesystem(doctor, doctor->folder, type, sizeof(type));
	if (lstat(path, &status) < 0 && errno != ENOENT)
		doctor_say(doctor, DOCTOR_WARN, "%s: %s", doctor->folder,
			   strerror(errno));
	else if (lstat(path, &status) == 0 &&
		 (!S_ISDIR(status.st_mode) || (status.st_mode & 022)))
		doctor_say(doctor, DOCTOR_FAIL,
			   "%s is no folder that root alone can write to, and "
			   "ublkd refuses it: remove it, or 'chmod go-w'",
			   doctor->folder);
	else if (strcmp(type, "tmpfs") != 0 && strcmp(type, "ramfs") != 0)
		doctor_say(
			doctor, DOCTOR_WARN,
			"%s lies on %s, not on a tmpfs: notes of devices outlive "
			"a reboot, and ublkctl cannot see what a server does "
			"that stands still",
			doctor->folder, type);
	else
		doctor_say(doctor, DOCTOR_OK, "%s lies on a %s", doctor->folder,
			   type);
}

static void check_libev(struct doctor *doctor)
{
	if (doctor->ev_major < 4 ||
	    (doctor->ev_major == 4 && doctor->ev_minor < 32))
		doctor_say(doctor, DOCTOR_WARN,
			   "%d.%d, with which an idle ublkd wakes up once a "
			   "minute: 4.32 is the first that does not",
			   doctor->ev_major, doctor->ev_minor);
	else
		doctor_say(doctor, DOCTOR_OK, "%d.%d, when this was built",
			   doctor->ev_major, doctor->ev_minor);
}

const struct check check_table[] = {
	{ "driver", check_driver },
	{ "kernel", check_kernel },
	{ "io_uring", check_io_uring },
	{ "seccomp", check_seccomp },
	{ "rights", check_capabilities },
	{ "memlock", check_memlock },
	{ "protected", check_protection },
	{ "cgroup", check_cgroup },
	{ "udev", check_udev },
	{ "state", check_state },
	{ "libev", check_libev },
	{ "daemon", check_daemon },
	{ "devices", check_devices },
	{ NULL, NULL },
};
