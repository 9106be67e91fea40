#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"

/* What is looked for, and where; and the process that is looked at. */
struct search {
	const char *root;
	struct usage *usages;
	unsigned count;
	const char *process;
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

static void find_mounts(const struct search *search)
{
	FILE *file = host_file(search->root, "/proc/self/mountinfo");
	struct host_mount mount;
	struct usage *usage;

	while (host_next_mount(file, &mount)) {
		usage = find_node(search, mount.source);
		if (usage)
			note(usage, USAGE_LASTING, "mounted on %s",
			     mount.point);
	}
	if (file)
		fclose(file);
}

static void find_swap(const struct search *search)
{
	FILE *file = host_file(search->root, "/proc/swaps");
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
static void find_holder_in(const struct search *search, const char *name,
			   struct usage *usage)
{
	DIR *folder =
		host_folder(search->root, "/sys/class/block/%s/holders", name);
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
	struct dirent *entry;
	DIR *folder;

	find_holder_in(search, usage->disk, usage);
	folder = host_folder(search->root, "/sys/class/block/%s", usage->disk);
	while (folder && (entry = readdir(folder)))
		if (usage_is_part(entry->d_name, usage->disk))
			find_holder_in(search, entry->d_name, usage);
	if (folder)
		closedir(folder);
}

static void look_behind_loop(const struct search *search, const char *loop)
{
	FILE *file = host_file(search->root, "/sys/block/%s/loop/backing_file",
			       loop);
	char backing[256];
	struct usage *usage;

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
	DIR *folder = host_folder(search->root, "/sys/block");
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (strncmp(entry->d_name, "loop", 4) == 0)
			look_behind_loop(search, entry->d_name);
	if (folder)
		closedir(folder);
}

static void note_opener(const struct search *search, struct usage *usage,
			const char *pid)
{
	char comm[32];

	if (host_read(search->root, comm, sizeof(comm), "/proc/%s/comm", pid) <=
	    0)
		snprintf(comm, sizeof(comm), "a process");
	note(usage, USAGE_OPEN, "opened by %s, process %.20s", comm, pid);
}

/* The parent of a helper is the keeper, which opens disks to look at them. */
static int is_ourselves(const char *process)
{
	return atol(process) == getpid() || atol(process) == getppid();
}

void usage_note_open(const char *root, struct usage *usages, unsigned count,
		     const char *process, const char *file)
{
	const struct search search = { .root = root,
				       .usages = usages,
				       .count = count };
	struct usage *usage = find_node(&search, file);

	if (usage && !is_ourselves(process))
		note_opener(&search, usage, process);
}

static __attribute__((cold)) host_visit visit_file, visit_process;

static int visit_file(void *context, const char *file)
{
	const struct search *search = context;

	usage_note_open(search->root, search->usages, search->count,
			search->process, file);
	return 0;
}

static int visit_process(void *context, const char *process)
{
	struct search *search = context;

	search->process = process;
	return host_each_file(search->root, process, visit_file, search);
}

static int all_have_users(const struct search *search)
{
	unsigned i;

	for (i = 0; i < search->count; i++)
		if (search->usages[i].kind == USAGE_NONE)
			return 0;
	return 1;
}

void usage_find_lasting(const char *root, struct usage *usages, unsigned count)
{
	const struct search search = { .root = root,
				       .usages = usages,
				       .count = count };
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
}

void usage_find(const char *root, struct usage *usages, unsigned count)
{
	struct search search = { .root = root,
				 .usages = usages,
				 .count = count };

	usage_find_lasting(root, usages, count);
	/* What lasts is worth more to know, and is found sooner. */
	if (!all_have_users(&search))
		host_each_process(root, visit_process, &search);
}
