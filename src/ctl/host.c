#include "host.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 600

/* Returns 0, or -ENAMETOOLONG. */
static int make_path(char *full, const char *root, const char *path,
		     va_list arguments) __attribute__((format(printf, 3, 0)));
static int make_path(char *full, const char *root, const char *path,
		     va_list arguments)
{
	int before = snprintf(full, PATH_BYTES, "%s", root), length;

	if (before >= PATH_BYTES)
		return -ENAMETOOLONG;
	length = vsnprintf(full + before, (size_t)(PATH_BYTES - before), path,
			   arguments);
	return before + length < PATH_BYTES ? 0 : -ENAMETOOLONG;
}

/* Returns the length or a negative errno. */
static int read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t got;

	do {
		got = read(fd, text + length, size - 1 - length);
		if (got > 0)
			length += (size_t)got;
	} while (got > 0 && length < size - 1);
	if (got < 0)
		return -errno;
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = '\0';
	return (int)length;
}

int host_read(const char *root, char *text, size_t size, const char *path, ...)
{
	char full[PATH_BYTES];
	va_list arguments;
	int fd, length;

	text[0] = '\0';
	va_start(arguments, path);
	length = make_path(full, root, path, arguments);
	va_end(arguments);
	if (length < 0)
		return length;
	fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	length = read_all(fd, text, size);
	close(fd);
	if (length < 0)
		text[0] = '\0';
	return length;
}

int host_has(const char *root, const char *path, ...)
{
	char full[PATH_BYTES];
	va_list arguments;
	int error;

	va_start(arguments, path);
	error = make_path(full, root, path, arguments);
	va_end(arguments);
	return !error && access(full, F_OK) == 0;
}

DIR *host_folder(const char *root, const char *path)
{
	char full[PATH_BYTES];

	if (snprintf(full, sizeof(full), "%s%s", root, path) >= PATH_BYTES)
		return NULL;
	return opendir(full);
}

int host_value(const char *text, const char *key, char *value, size_t size)
{
	size_t length = strlen(key), end;

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (strncmp(text, key, length) == 0)
			break;
	}
	value[0] = '\0';
	if (!text)
		return -ENOENT;
	text += length;
	text += strspn(text, " \t");
	end = strcspn(text, "\n");
	while (end && isspace((unsigned char)text[end - 1]))
		end--;
	snprintf(value, size, "%.*s", (int)end, text);
	return 0;
}

void host_cgroup(const char *root, const char *process, char *group)
{
	char text[2000];

	host_read(root, text, sizeof(text), "/proc/%s/cgroup", process);
	host_value(text, "0::", group, HOST_CGROUP);
	if (strcmp(group, "/") == 0)
		group[0] = '\0';
}

/* ---- ublk's devices ---- */

static int compare(const void *one, const void *other)
{
	const struct host_device *left = one, *right = other;

	return left->id < right->id ? -1 : left->id > right->id;
}

/* The device of which a process has the char device open behind this link. */
static void note_link(int folder, const char *name, pid_t pid,
		      struct host_device *devices, unsigned count)
{
	char target[64];
	ssize_t length = readlinkat(folder, name, target, sizeof(target) - 1);
	unsigned id, i;

	if (length <= 0)
		return;
	target[length] = '\0';
	if (sscanf(target, "/dev/ublkc%u", &id) != 1)
		return;
	for (i = 0; i < count; i++)
		if (devices[i].id == id)
			devices[i].server = pid;
}

static void find_servers(const char *root, struct host_device *devices,
			 unsigned count)
{
	DIR *processes = host_folder(root, "/proc"), *links;
	struct dirent *process, *link;
	char path[300];

	while (processes && (process = readdir(processes))) {
		if (!isdigit((unsigned char)process->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fd", process->d_name);
		links = host_folder(root, path);
		while (links && (link = readdir(links)))
			note_link(dirfd(links), link->d_name,
				  (pid_t)atoi(process->d_name), devices, count);
		if (links)
			closedir(links);
	}
	if (processes)
		closedir(processes);
}

static void look_at_disk(const char *root, struct host_device *device)
{
	unsigned reads, writes;
	char text[64];

	device->has_disk = host_has(root, "/sys/block/ublkb%u", device->id);
	if (host_read(root, text, sizeof(text), "/sys/block/ublkb%u/inflight",
		      device->id) > 0 &&
	    sscanf(text, "%u %u", &reads, &writes) == 2)
		device->inflight = reads + writes;
}

unsigned host_devices(const char *root, struct host_device *devices)
{
	DIR *folder = host_folder(root, "/sys/class/ublk-char");
	struct dirent *entry;
	unsigned count = 0, id;

	while (folder && count < HOST_DEVICES_MAX &&
	       (entry = readdir(folder))) {
		if (sscanf(entry->d_name, "ublkc%u", &id) != 1)
			continue;
		devices[count] = (struct host_device){ .id = id };
		look_at_disk(root, &devices[count++]);
	}
	if (folder)
		closedir(folder);
	if (count)
		find_servers(root, devices, count);
	qsort(devices, count, sizeof(*devices), compare);
	return count;
}
