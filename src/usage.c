#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 300 /* of names below /proc and /sys */

/* Whether name is the disk itself or a partition of it: ublkb1, ublkb1p2. */
static int is_part_of(const char *name, const char *disk)
{
	size_t length = strlen(disk);

	if (strncmp(name, disk, length) != 0)
		return 0;
	name += length;
	if (*name == '\0')
		return 1;
	if (*name++ != 'p' || !isdigit((unsigned char)*name))
		return 0;
	return name[strspn(name, "0123456789")] == '\0';
}

static int is_node_of(const char *path, const char *disk)
{
	return strncmp(path, "/dev/", 5) == 0 && is_part_of(path + 5, disk);
}

/*
 * mountinfo: id parent major:minor root mount-point options ... - type source
 * options. Spaces in names are written as \040, so words are words.
 */
static int find_mount(const char *disk, char *who, size_t size)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, source[256], point[256];
	size_t room = 0;
	int found = 0;

	while (file && !found && getline(&line, &room, file) > 0) {
		char *rest = strstr(line, " - ");

		if (!rest || sscanf(rest, " - %*s %255s", source) != 1 ||
		    sscanf(line, "%*s %*s %*s %*s %255s", point) != 1)
			continue;
		found = is_node_of(source, disk);
	}
	if (found)
		snprintf(who, size, "mounted on %s", point);
	free(line);
	if (file)
		fclose(file);
	return found;
}

static int find_swap(const char *disk, char *who, size_t size)
{
	FILE *file = fopen("/proc/swaps", "re");
	char *line = NULL, name[256];
	size_t room = 0;
	int found = 0;

	while (file && !found && getline(&line, &room, file) > 0)
		found = sscanf(line, "%255s", name) == 1 &&
			is_node_of(name, disk);
	if (found)
		snprintf(who, size, "in use as swap");
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* Devices stacked on a disk or on a partition: dm, md, bcache. */
static int find_holder_in(const char *path, char *who, size_t size)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	int found = 0;

	while (folder && !found && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(who, size, "held by %.64s", entry->d_name);
		found = 1;
	}
	if (folder)
		closedir(folder);
	return found;
}

static int find_holder(const char *disk, char *who, size_t size)
{
	char path[PATH_BYTES], part[2 * PATH_BYTES];
	struct dirent *entry;
	DIR *folder;
	int found;

	snprintf(path, sizeof(path), "/sys/block/%s/holders", disk);
	found = find_holder_in(path, who, size);
	snprintf(path, sizeof(path), "/sys/block/%s", disk);
	folder = opendir(path);
	while (folder && !found && (entry = readdir(folder))) {
		if (strcmp(entry->d_name, disk) == 0 ||
		    !is_part_of(entry->d_name, disk))
			continue;
		snprintf(part, sizeof(part), "%.40s/%.200s/holders", path,
			 entry->d_name);
		found = find_holder_in(part, who, size);
	}
	if (folder)
		closedir(folder);
	return found;
}

static int loop_is_on(const char *loop, const char *disk)
{
	char path[2 * PATH_BYTES], backing[256] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/%.200s/loop/backing_file",
		 loop);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%255s", backing) != 1)
		backing[0] = '\0';
	fclose(file);
	return is_node_of(backing, disk);
}

static int find_loop(const char *disk, char *who, size_t size)
{
	DIR *folder = opendir("/sys/block");
	struct dirent *entry;
	int found = 0;

	while (folder && !found && (entry = readdir(folder))) {
		if (strncmp(entry->d_name, "loop", 4) != 0 ||
		    !loop_is_on(entry->d_name, disk))
			continue;
		snprintf(who, size, "behind /dev/%.64s", entry->d_name);
		found = 1;
	}
	if (folder)
		closedir(folder);
	return found;
}

/*
 * Whether a process has a node of the disk open. Only links are read: a stat
 * of somebody's open file could wait for a dead network file system.
 */
static int process_has_open(const char *pid, const char *disk)
{
	char path[PATH_BYTES], link[2 * PATH_BYTES], target[PATH_BYTES];
	struct dirent *entry;
	DIR *folder;
	int found = 0;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	folder = opendir(path);
	while (folder && !found && (entry = readdir(folder))) {
		ssize_t length;

		snprintf(link, sizeof(link), "%.40s/%.20s", path,
			 entry->d_name);
		length = readlink(link, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		found = is_node_of(target, disk);
	}
	if (folder)
		closedir(folder);
	return found;
}

static void read_comm(const char *pid, char *comm, size_t size)
{
	char path[PATH_BYTES];
	FILE *file;

	snprintf(comm, size, "a process");
	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(comm, (int)size, file))
		comm[strcspn(comm, "\n")] = '\0';
	fclose(file);
}

static int find_process(const char *disk, char *who, size_t size)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	char comm[32];
	int found = 0;

	while (folder && !found && (entry = readdir(folder))) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    atol(entry->d_name) == getpid() ||
		    !process_has_open(entry->d_name, disk))
			continue;
		read_comm(entry->d_name, comm, sizeof(comm));
		snprintf(who, size, "opened by %s, process %.20s", comm,
			 entry->d_name);
		found = 1;
	}
	if (folder)
		closedir(folder);
	return found;
}

enum usage usage_find(const char *disk, char *who, size_t size)
{
	if (find_mount(disk, who, size) || find_swap(disk, who, size) ||
	    find_holder(disk, who, size) || find_loop(disk, who, size))
		return USAGE_LASTING;
	return find_process(disk, who, size) ? USAGE_OPEN : USAGE_NONE;
}
