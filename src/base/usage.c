#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 600 /* of names below /proc and /sys */

/* What is looked for, and where. */
struct search {
	const char *root;
	struct usage *usages;
	unsigned count;
};

int usage_is_part(const char *name, const char *disk)
{
	size_t length = strlen(disk);

	if (length == 0 || strncmp(name, disk, length) != 0)
		return 0;
	name += length;
	if (*name == '\0')
		return 1;
	if (isdigit((unsigned char)disk[length - 1]) && *name++ != 'p')
		return 0;
	return *name && name[strspn(name, "0123456789")] == '\0';
}

static int is_node_of(const char *path, const char *disk)
{
	return strncmp(path, "/dev/", 5) == 0 && usage_is_part(path + 5, disk);
}

/* Of a disk the first user that is found is the one that is told. */
static void note(struct usage *usage, enum usage_kind kind, const char *format,
		 ...) __attribute__((format(printf, 3, 4)));
static void note(struct usage *usage, enum usage_kind kind, const char *format,
		 ...)
{
	va_list arguments;

	if (usage->kind != USAGE_NONE)
		return;
	usage->kind = kind;
	va_start(arguments, format);
	vsnprintf(usage->who, sizeof(usage->who), format, arguments);
	va_end(arguments);
}

/* The disk of which path is a node, and that has no user yet; or NULL. */
static struct usage *find_node(const struct search *search, const char *path)
{
	unsigned i;

	for (i = 0; i < search->count; i++)
		if (search->usages[i].kind == USAGE_NONE &&
		    is_node_of(path, search->usages[i].disk))
			return &search->usages[i];
	return NULL;
}

static FILE *open_file(const struct search *search, const char *path)
{
	char full[PATH_BYTES];

	snprintf(full, sizeof(full), "%s%s", search->root, path);
	return fopen(full, "re");
}

static DIR *open_folder(const struct search *search, const char *path)
{
	char full[PATH_BYTES];

	snprintf(full, sizeof(full), "%s%s", search->root, path);
	return opendir(full);
}

/*
 * mountinfo: id parent major:minor root mount-point options ... - type source
 * options. Spaces in names are written as \040, so words are words.
 */
static void find_mounts(const struct search *search)
{
	FILE *file = open_file(search, "/proc/self/mountinfo");
	char *line = NULL, source[256], point[256];
	struct usage *usage;
	size_t room = 0;

	while (file && getline(&line, &room, file) > 0) {
		char *rest = strstr(line, " - ");

		if (!rest || sscanf(rest, " - %*s %255s", source) != 1 ||
		    sscanf(line, "%*s %*s %*s %*s %255s", point) != 1)
			continue;
		usage = find_node(search, source);
		if (usage)
			note(usage, USAGE_LASTING, "mounted on %s", point);
	}
	free(line);
	if (file)
		fclose(file);
}

static void find_swap(const struct search *search)
{
	FILE *file = open_file(search, "/proc/swaps");
	char *line = NULL, name[256];
	struct usage *usage;
	size_t room = 0;

	while (file && getline(&line, &room, file) > 0) {
		usage = sscanf(line, "%255s", name) == 1
				? find_node(search, name)
				: NULL;
		if (usage)
			note(usage, USAGE_LASTING, "in use as swap");
	}
	free(line);
	if (file)
		fclose(file);
}

/* Devices stacked on a disk or on a partition: dm, md, bcache. */
static void find_holder_in(const struct search *search, const char *path,
			   struct usage *usage)
{
	DIR *folder = open_folder(search, path);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			note(usage, USAGE_LASTING, "held by %.64s",
			     entry->d_name);
	if (folder)
		closedir(folder);
}

static void find_holders(const struct search *search, struct usage *usage)
{
	char path[PATH_BYTES / 2];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/sys/class/block/%s/holders",
		 usage->disk);
	find_holder_in(search, path, usage);
	snprintf(path, sizeof(path), "/sys/class/block/%s", usage->disk);
	folder = open_folder(search, path);
	while (folder && (entry = readdir(folder))) {
		if (!usage_is_part(entry->d_name, usage->disk))
			continue;
		snprintf(path, sizeof(path), "/sys/class/block/%.200s/holders",
			 entry->d_name);
		find_holder_in(search, path, usage);
	}
	if (folder)
		closedir(folder);
}

static void look_behind_loop(const struct search *search, const char *loop)
{
	char path[PATH_BYTES / 2], backing[256];
	struct usage *usage;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/%.200s/loop/backing_file",
		 loop);
	file = open_file(search, path);
	if (!file)
		return;
	usage = fscanf(file, "%255s", backing) == 1 ? find_node(search, backing)
						    : NULL;
	if (usage)
		note(usage, USAGE_LASTING, "behind /dev/%.64s", loop);
	fclose(file);
}

static void find_loops(const struct search *search)
{
	DIR *folder = open_folder(search, "/sys/block");
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (strncmp(entry->d_name, "loop", 4) == 0)
			look_behind_loop(search, entry->d_name);
	if (folder)
		closedir(folder);
}

static void read_comm(const struct search *search, const char *pid, char *comm,
		      size_t size)
{
	char path[64];
	FILE *file;

	snprintf(comm, size, "a process");
	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	file = open_file(search, path);
	if (!file)
		return;
	if (fgets(comm, (int)size, file))
		comm[strcspn(comm, "\n")] = '\0';
	fclose(file);
}

static void note_opener(const struct search *search, struct usage *usage,
			const char *pid)
{
	char comm[32];

	read_comm(search, pid, comm, sizeof(comm));
	note(usage, USAGE_OPEN, "opened by %s, process %.20s", comm, pid);
}

/*
 * What a process has open. Only links are read: a stat of somebody's open file
 * could wait for a dead network file system.
 */
static void look_at_process(const struct search *search, const char *pid)
{
	char path[64], link[PATH_BYTES], target[256];
	struct usage *usage;
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	folder = open_folder(search, path);
	while (folder && (entry = readdir(folder))) {
		ssize_t length;

		snprintf(link, sizeof(link), "%s%s/%.20s", search->root, path,
			 entry->d_name);
		length = readlink(link, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		usage = find_node(search, target);
		if (usage)
			note_opener(search, usage, pid);
	}
	if (folder)
		closedir(folder);
}

/* The parent of a helper is the keeper, which opens disks to look at them. */
static int is_ourselves(const char *pid)
{
	return atol(pid) == getpid() || atol(pid) == getppid();
}

static void find_openers(const struct search *search)
{
	DIR *folder = open_folder(search, "/proc");
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    !is_ourselves(entry->d_name))
			look_at_process(search, entry->d_name);
	if (folder)
		closedir(folder);
}

static int all_have_users(const struct search *search)
{
	unsigned i;

	for (i = 0; i < search->count; i++)
		if (search->usages[i].kind == USAGE_NONE)
			return 0;
	return 1;
}

void usage_find(const char *root, struct usage *usages, unsigned count)
{
	const struct search search = { root, usages, count };
	unsigned i;

	for (i = 0; i < count; i++) {
		usages[i].kind = USAGE_NONE;
		usages[i].who[0] = '\0';
	}
	find_mounts(&search);
	find_swap(&search);
	for (i = 0; i < count; i++)
		find_holders(&search, &usages[i]);
	find_loops(&search);
	/* What lasts is worth more to know, and is found sooner. */
	if (!all_have_users(&search))
		find_openers(&search);
}
