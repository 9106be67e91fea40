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

FILE *host_file(const char *root, const char *path, ...)
{
	char full[PATH_BYTES];
	va_list arguments;
	int error;

	va_start(arguments, path);
	error = make_path(full, root, path, arguments);
	va_end(arguments);
	return error ? NULL : fopen(full, "re");
}

DIR *host_folder(const char *root, const char *path, ...)
{
	char full[PATH_BYTES];
	va_list arguments;
	int error;

	va_start(arguments, path);
	error = make_path(full, root, path, arguments);
	va_end(arguments);
	return error ? NULL : opendir(full);
}

void host_link(const char *root, char *target, size_t size, const char *path,
	       ...)
{
	char full[PATH_BYTES];
	va_list arguments;
	ssize_t length = 0;

	va_start(arguments, path);
	if (make_path(full, root, path, arguments) == 0)
		length = readlink(full, target, size - 1);
	va_end(arguments);
	target[length > 0 ? length : 0] = '\0';
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

int host_each_process(const char *root, host_visit *visit, void *context)
{
	DIR *folder = host_folder(root, "/proc");
	struct dirent *entry;
	int is_enough = 0;

	while (folder && !is_enough && (entry = readdir(folder)))
		if (isdigit((unsigned char)entry->d_name[0]))
			is_enough = visit(context, entry->d_name);
	if (folder)
		closedir(folder);
	return is_enough;
}

int host_each_file(const char *root, const char *process, host_visit *visit,
		   void *context)
{
	DIR *folder = host_folder(root, "/proc/%s/fd", process);
	struct dirent *entry;
	char target[256];
	int is_enough = 0;

	while (folder && !is_enough && (entry = readdir(folder))) {
		host_link(root, target, sizeof(target), "/proc/%s/fd/%s",
			  process, entry->d_name);
		is_enough = visit(context, target);
	}
	if (folder)
		closedir(folder);
	return is_enough;
}

/*
 * A line: id parent major:minor root mount-point options ... - type source
 * options. Spaces in names are written as \040, so words are words.
 */
static int read_mount(const char *line, struct host_mount *mount)
{
	const char *rest = strstr(line, " - ");

	return rest &&
	       sscanf(rest, " - %63s %255s", mount->kind, mount->source) == 2 &&
	       sscanf(line, "%*s %*s %u:%u %*s %255s", &mount->major,
		      &mount->minor, mount->point) == 3;
}

int host_next_mount(FILE *mountinfo, struct host_mount *mount)
{
	char *line = NULL;
	size_t room = 0;
	int found = 0;

	while (mountinfo && !found && getline(&line, &room, mountinfo) > 0)
		found = read_mount(line, mount);
	free(line);
	return found;
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

void host_note_server(struct host_device *devices, unsigned count,
		      const char *process, const char *file)
{
	unsigned id, i;

	if (sscanf(file, "/dev/ublkc%u", &id) != 1)
		return;
	for (i = 0; i < count; i++)
		if (devices[i].id == id)
			devices[i].server = (pid_t)atoi(process);
}

/* Whose servers are looked for; and the process that is looked at. */
struct search {
	const char *root;
	struct host_device *devices;
	unsigned count;
	const char *process;
};

static __attribute__((cold)) host_visit visit_file, visit_process;

static int visit_file(void *context, const char *file)
{
	const struct search *search = context;

	host_note_server(search->devices, search->count, search->process, file);
	return 0;
}

static int visit_process(void *context, const char *process)
{
	struct search *search = context;

	search->process = process;
	return host_each_file(search->root, process, visit_file, search);
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
	struct search search = { .root = root, .devices = devices };
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
	search.count = count;
	if (count)
		host_each_process(root, visit_process, &search);
	qsort(devices, count, sizeof(*devices), compare);
	return count;
}
