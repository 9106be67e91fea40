#include "view.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host.h"
#include "sight.h"
#include "usage.h"

#define LINK_BYTES  300 /* of where a link of sysfs leads to */
#define MOUNT_BYTES 160
#define DEPTH_MAX   6 /* of disks on disks */
#define STACK_CALLS 5 /* of a stack that is kept */

/* What is looked for, and where. */
struct look {
	const char *root;
	int fd;
	struct view_head head;
	struct view_wish *wishes;
	struct view *views;
	char (*mounts)[MOUNT_BYTES]; /* where each disk is mounted, or "" */

	/* The walk over the processes. */
	uint64_t deadline;	   /* us */
	const char *process;	   /* that it has come to */
	struct usage *usages;	   /* of the disks */
	struct host_device *below; /* ublk disks behind others, */
	unsigned *above;	   /* and the view of each one's other */
	unsigned below_count;
};

static int is_number(const char *name)
{
	return isdigit((unsigned char)name[0]);
}

/* What is known by now goes to the file; a view that is not there, stays so. */
static void tell(const struct look *look)
{
	size_t size = look->head.count * sizeof(*look->views);
	off_t at = (off_t)(sizeof(look->head) +
			   look->head.count * sizeof(*look->wishes));

	if (pwrite(look->fd, look->views, size, at) == (ssize_t)size)
		(void)!pwrite(look->fd, &look->head, sizeof(look->head), 0);
}

/* ---- requests in flight ---- */

static int read_inflight(const struct look *look, const char *disk,
			 uint32_t *reads, uint32_t *writes)
{
	char text[64];

	return host_read(look->root, text, sizeof(text),
			 "/sys/class/block/%.32s/inflight", disk) > 0 &&
	       sscanf(text, "%u %u", reads, writes) == 2;
}

static void find_inflight(struct look *look)
{
	unsigned i;

	for (i = 0; i < look->head.count; i++)
		if (read_inflight(look, look->wishes[i].disk,
				  &look->views[i].reads,
				  &look->views[i].writes))
			look->views[i].known |= VIEW_INFLIGHT;
}

/* ---- tasks that wait ---- */

/* "[<0>] bio_await+0x7b/0xb0" and so on, as "bio_await < submit_bio_wait". */
static void read_stack(const struct look *look, const char *path, char *stack,
		       size_t size)
{
	char text[2048], *line, *rest, *name;
	size_t at = 0;
	int calls = 0;

	stack[0] = '\0';
	if (host_read(look->root, text, sizeof(text), "%s/stack", path) < 0)
		return;
	for (line = strtok_r(text, "\n", &rest); line && calls < STACK_CALLS;
	     line = strtok_r(NULL, "\n", &rest)) {
		name = strchr(line, ' ');
		if (!name)
			continue;
		name++;
		name[strcspn(name, "+ ")] = '\0';
		if (at + strlen(name) + 4 > size)
			break;
		at += (size_t)snprintf(stack + at, size - at, "%s%s",
				       calls++ ? " < " : "", name);
	}
}

/* Returns 1 if the task is in uninterruptible sleep: then *task is filled. */
static int look_at_task(const struct look *look, const char *path, int pid,
			struct view_task *task)
{
	char text[512], *begin, *end;

	if (host_read(look->root, text, sizeof(text), "%s/stat", path) <= 0)
		return 0;
	/* The name may have blanks and brackets. */
	begin = strchr(text, '(');
	end = strrchr(text, ')');
	if (!begin || !end || end[1] != ' ' || end[2] != 'D')
		return 0;
	memset(task, 0, sizeof(*task));
	task->pid = pid;
	task->state = end[2];
	/* Of a worker of the kernel it has more, as what that works on. */
	host_read(look->root, task->comm, sizeof(task->comm), "%s/comm", path);
	host_read(look->root, task->wchan, sizeof(task->wchan), "%s/wchan",
		  path);
	read_stack(look, path, task->stack, sizeof(task->stack));
	return 1;
}

static void keep_task(struct view *view, const struct view_task *task)
{
	if (view->waiters < VIEW_TASKS)
		view->tasks[view->waiters] = *task;
	view->waiters++;
}

/* A thread of the kernel's that has a disk in its name: jbd2/ublkb0-8. */
static int is_named_for(const struct view_task *task, const char *disk)
{
	const char *name = strchr(task->comm, '/');
	size_t length = strlen(disk);

	return name && strncmp(name + 1, disk, length) == 0 &&
	       !isalnum((unsigned char)name[1 + length]);
}

/* One that writes a disk's pages back has its number: kworker/0:1+flush-259:3. */
static int flushes(const struct look *look, const struct view_task *task,
		   const char *disk)
{
	const char *name = strstr(task->comm, "flush-");
	char number[32];

	if (!name || host_read(look->root, number, sizeof(number),
			       "/sys/class/block/%.32s/dev", disk) <= 0)
		return 0;
	return strcmp(name + strlen("flush-"), number) == 0;
}

/* The file that a descriptor is for lies on the disk, or is the disk. */
static int is_file_on(const char *mount, const char *disk, const char *path)
{
	size_t length = strlen(mount);

	if (strncmp(path, "/dev/", 5) == 0 && usage_is_part(path + 5, disk))
		return 1;
	return length && strncmp(path, mount, length) == 0 &&
	       (path[length] == '/' || path[length] == '\0' || length == 1);
}

/* By the links of what a task has open, which ask nobody. */
static void give_by_files(const struct look *look, const char *path,
			  const struct view_task *task)
{
	DIR *folder = host_folder(look->root, "%s/fd", path);
	struct dirent *entry;
	char target[256];
	unsigned i;
	int has = 0;

	while (folder && !has && (entry = readdir(folder))) {
		host_link(look->root, target, sizeof(target), "%s/fd/%s", path,
			  entry->d_name);
		for (i = 0; i < look->head.count && !has; i++) {
			has = is_file_on(look->mounts[i], look->wishes[i].disk,
					 target);
			if (has)
				keep_task(&look->views[i], task);
		}
	}
	if (folder)
		closedir(folder);
}

static void give_task(const struct look *look, const char *path,
		      const struct view_task *task)
{
	unsigned i;

	for (i = 0; i < look->head.count; i++) {
		if (!is_named_for(task, look->wishes[i].disk) &&
		    !flushes(look, task, look->wishes[i].disk))
			continue;
		keep_task(&look->views[i], task);
		return;
	}
	give_by_files(look, path, task);
}

/* What waits for a frozen file system does so in one place of the kernel. */
static void keep_worker(struct look *look, const struct view_task *task)
{
	struct view_head *head = &look->head;

	if (head->workers++ == 0)
		head->worker = *task;
	if (strcmp(task->wchan, "percpu_rwsem_wait") != 0 &&
	    !strstr(task->stack, "percpu_down_read"))
		return;
	if (head->frozen++ == 0)
		head->worker = *task;
}

static void look_at_tasks(struct look *look, const char *process)
{
	DIR *folder = host_folder(look->root, "/proc/%s/task", process);
	struct view_task task;
	struct dirent *entry;
	char path[64];

	while (folder && (entry = readdir(folder))) {
		if (!is_number(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/task/%.20s", process,
			 entry->d_name);
		if (!look_at_task(look, path, atoi(entry->d_name), &task))
			continue;
		if (atoi(process) == look->head.server)
			keep_worker(look, &task);
		else
			give_task(look, path, &task);
	}
	if (folder)
		closedir(folder);
}

/* ---- mounts ---- */

static void note_mount(struct look *look, const struct host_mount *mount)
{
	unsigned i;

	for (i = 0; i < look->head.count; i++) {
		const struct view_wish *wish = &look->wishes[i];
		struct view *view = &look->views[i];

		if (wish->backing && wish->major == mount->major &&
		    wish->minor == mount->minor && !view->mount[0]) {
			snprintf(view->mount, sizeof(view->mount), "%.159s",
				 mount->point);
			snprintf(view->kind, sizeof(view->kind), "%.23s",
				 mount->kind);
		}
		if (!look->mounts[i][0] &&
		    strncmp(mount->source, "/dev/", 5) == 0 &&
		    usage_is_part(mount->source + 5, wish->disk))
			snprintf(look->mounts[i], MOUNT_BYTES, "%.159s",
				 mount->point);
	}
}

static void find_mounts(struct look *look)
{
	FILE *file = host_file(look->root, "/proc/self/mountinfo");
	struct host_mount mount;

	while (host_next_mount(file, &mount))
		note_mount(look, &mount);
	if (file)
		fclose(file);
}

/* ---- what is behind a disk ---- */

/* The last name of a path, and the last but one if that is no "block". */
static void take_disk_name(char *path, char *name, size_t size)
{
	char *last = strrchr(path, '/'), *before;

	if (!last)
		return;
	*last++ = '\0';
	before = strrchr(path, '/');
	/* A partition's folder lies in that of its disk. */
	if (before && strcmp(before + 1, "block") != 0)
		last = before + 1;
	snprintf(name, size, "%.31s", last);
}

static int find_disk(const struct look *look, uint32_t major, uint32_t minor,
		     char *name, size_t size)
{
	char link[LINK_BYTES];

	name[0] = '\0';
	host_link(look->root, link, sizeof(link), "/sys/dev/block/%u:%u", major,
		  minor);
	take_disk_name(link, name, size);
	return name[0] != '\0';
}

static void look_at_disk(const struct look *look, const char *name,
			 struct view_disk *disk)
{
	char text[16];

	memset(disk, 0, sizeof(*disk));
	snprintf(disk->name, sizeof(disk->name), "%.31s", name);
	read_inflight(look, name, &disk->reads, &disk->writes);
	host_read(look->root, disk->mapped, sizeof(disk->mapped),
		  "/sys/class/block/%.32s/dm/name", name);
	disk->suspended = host_read(look->root, text, sizeof(text),
				    "/sys/class/block/%.32s/dm/suspended",
				    name) > 0 &&
			  text[0] == '1';
}

/* A partition that a disk lies on is named for the disk. */
static void take_slave(const struct look *look, const char *slave, char *name,
		       size_t size)
{
	unsigned major, minor;
	char text[32];

	if (host_read(look->root, text, sizeof(text),
		      "/sys/class/block/%.32s/dev", slave) <= 0 ||
	    sscanf(text, "%u:%u", &major, &minor) != 2 ||
	    !find_disk(look, major, minor, name, size))
		snprintf(name, size, "%.31s", slave);
}

/*
 * Down from a disk: the first that is suspended, else the lowest one that has
 * requests in flight. Returns 1 if *best is a suspended one.
 */
static int follow(const struct look *look, const char *name,
		  struct view_disk *best, int depth)
{
	struct view_disk disk;
	struct dirent *entry;
	char below[32];
	int found = 0;
	DIR *folder;

	look_at_disk(look, name, &disk);
	if (disk.suspended || depth == 0 || disk.reads + disk.writes)
		*best = disk;
	if (disk.suspended || depth == DEPTH_MAX)
		return (int)disk.suspended;
	folder = host_folder(look->root, "/sys/class/block/%s/slaves", name);
	while (folder && !found && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		take_slave(look, entry->d_name, below, sizeof(below));
		found = follow(look, below, best, depth + 1);
	}
	if (folder)
		closedir(folder);
	return found;
}

static void find_backings(struct look *look)
{
	unsigned i;
	char name[32];

	for (i = 0; i < look->head.count; i++) {
		const struct view_wish *wish = &look->wishes[i];
		struct view *view = &look->views[i];

		if (wish->backing && find_disk(look, wish->major, wish->minor,
					       name, sizeof(name)))
			follow(look, name, &view->behind, 0);
		view->known |= VIEW_BACKING;
	}
}

/* ---- who serves a ublk disk ---- */

static void note_server(struct view_server *server, const struct look *look,
			pid_t pid)
{
	char text[512], *end;

	if (host_read(look->root, text, sizeof(text), "/proc/%d/stat",
		      (int)pid) <= 0)
		return;
	end = strrchr(text, ')');
	server->pid = pid;
	server->state = '?';
	if (end && end[1] == ' ')
		server->state = end[2];
	host_read(look->root, server->comm, sizeof(server->comm),
		  "/proc/%d/comm", (int)pid);
}

/* Of the ublk disks behind others a server is to be found. */
static void list_below(struct look *look)
{
	unsigned i, id;

	for (i = 0; i < look->head.count; i++) {
		if (sscanf(look->views[i].behind.name, "ublkb%u", &id) != 1)
			continue;
		look->below[look->below_count] =
			(struct host_device){ .id = id };
		look->above[look->below_count++] = i;
	}
}

/* As with users, that there is none is known in the end. */
static void take_servers(struct look *look)
{
	unsigned i;

	for (i = 0; i < look->below_count; i++) {
		struct view *view = &look->views[look->above[i]];

		if (!look->below[i].server)
			continue;
		note_server(&view->behind.server, look, look->below[i].server);
		view->known |= VIEW_SERVER;
	}
}

/* ---- queues ---- */

/* The word in brackets: "none [mq-deadline]". */
static void take_chosen(const char *text, char *word, size_t size)
{
	const char *begin = strchr(text, '['), *end;

	end = begin ? strchr(begin, ']') : NULL;
	if (end)
		snprintf(word, size, "%.*s", (int)(end - begin - 1), begin + 1);
}

static uint32_t read_number(const struct look *look, const char *disk,
			    const char *name)
{
	char text[32];

	host_read(look->root, text, sizeof(text),
		  "/sys/class/block/%.32s/queue/%s", disk, name);
	return (uint32_t)strtoul(text, NULL, 10);
}

/* A queue that somebody changes just now keeps a reader waiting. */
static void find_queues(struct look *look)
{
	char text[128];
	unsigned i;

	for (i = 0; i < look->head.count; i++) {
		const char *disk = look->wishes[i].disk;
		struct view *view = &look->views[i];

		if (host_read(look->root, text, sizeof(text),
			      "/sys/class/block/%.32s/queue/scheduler",
			      disk) <= 0)
			continue;
		take_chosen(text, view->scheduler, sizeof(view->scheduler));
		view->nr_requests = read_number(look, disk, "nr_requests");
		view->timeout = read_number(look, disk, "io_timeout");
		view->known |= VIEW_QUEUE;
		tell(look);
	}
}

/* Add the numbers behind nr_tags= and busy= of a file such as "tags". */
static void add_tags(const struct look *look, const char *path,
		     const char *name, uint32_t *all, uint32_t *busy)
{
	char text[512];
	const char *at;

	if (host_read(look->root, text, sizeof(text), "%s/%s", path, name) <= 0)
		return;
	at = strstr(text, "nr_tags=");
	if (at)
		*all += (uint32_t)strtoul(at + 8, NULL, 10);
	at = strstr(text, "\nbusy=");
	if (at)
		*busy += (uint32_t)strtoul(at + 6, NULL, 10);
}

/* A line for each request that the driver has, or was to have. */
static uint32_t count_lines(FILE *file)
{
	uint32_t count = 0;
	char piece[256];
	size_t got, i;

	while (file && (got = fread(piece, 1, sizeof(piece), file)))
		for (i = 0; i < got; i++)
			count += piece[i] == '\n';
	if (file)
		fclose(file);
	return count;
}

static void look_at_hardware_queue(const struct look *look, const char *disk,
				   const char *name, struct view *view)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/debug/block/%.32s/%.20s",
		 disk, name);
	view->busy += count_lines(host_file(look->root, "%s/busy", path));
	add_tags(look, path, "tags", &view->tags, &view->tags_busy);
	add_tags(look, path, "sched_tags", &view->sched_tags,
		 &view->sched_busy);
}

static void look_at_blk_mq(const struct look *look, const char *disk,
			   struct view *view)
{
	DIR *folder =
		host_folder(look->root, "/sys/kernel/debug/block/%s", disk);
	struct dirent *entry;

	if (!folder)
		return;
	host_read(look->root, view->state, sizeof(view->state),
		  "/sys/kernel/debug/block/%s/state", disk);
	while ((entry = readdir(folder)))
		if (strncmp(entry->d_name, "hctx", 4) == 0)
			look_at_hardware_queue(look, disk, entry->d_name, view);
	closedir(folder);
	view->known |= VIEW_BLK_MQ;
}

static void find_blk_mq(struct look *look)
{
	unsigned i;

	for (i = 0; i < look->head.count; i++)
		look_at_blk_mq(look, look->wishes[i].disk, &look->views[i]);
}

/* ---- who holds a disk ---- */

static void list_usages(struct look *look)
{
	unsigned i;

	for (i = 0; i < look->head.count; i++)
		snprintf(look->usages[i].disk, sizeof(look->usages[i].disk),
			 "%.15s", look->wishes[i].disk);
	usage_find_lasting(look->root, look->usages, look->head.count);
}

/* A user that was found is one; that there is none is known in the end. */
static void take_usages(struct look *look)
{
	unsigned i;

	for (i = 0; i < look->head.count; i++) {
		if (look->usages[i].kind == USAGE_NONE)
			continue;
		snprintf(look->views[i].holder, sizeof(look->views[i].holder),
			 "%.159s", look->usages[i].who);
		look->views[i].known |= VIEW_HOLDER;
	}
}

/* ---- the walk over the processes ---- */

static __attribute__((cold)) host_visit visit_file, visit_process;

static int visit_file(void *context, const char *file)
{
	struct look *look = context;

	host_note_server(look->below, look->below_count, look->process, file);
	usage_note_open(look->root, look->usages, look->head.count,
			look->process, file);
	return 0;
}

static int visit_process(void *context, const char *process)
{
	struct look *look = context;

	if (sight_clock() >= look->deadline)
		return 1;
	look->process = process;
	look_at_tasks(look, process);
	return host_each_file(look->root, process, visit_file, look);
}

/* One for all that processes tell of, since it takes a time that nobody knows. */
static void walk(struct look *look)
{
	uint32_t parts = VIEW_WAITERS | VIEW_SERVER | VIEW_HOLDER;
	int is_cut_off = host_each_process(look->root, visit_process, look);
	unsigned i;

	take_servers(look);
	take_usages(look);
	if (is_cut_off)
		return;
	look->head.known |= VIEW_WAITERS;
	for (i = 0; i < look->head.count; i++)
		look->views[i].known |= parts;
}

/* ---- all ---- */

/*
 * What never hangs comes first; then what takes as long as it may; and what may
 * hang for one disk alone last.
 */
static void fill(struct look *look)
{
	look->deadline = sight_clock() + look->head.walk * (uint64_t)1000;
	find_inflight(look);
	tell(look);
	find_mounts(look);
	find_backings(look);
	list_below(look);
	list_usages(look);
	take_usages(look);
	tell(look);
	walk(look);
	tell(look);
	find_queues(look);
	find_blk_mq(look);
	tell(look);
}

static int check_head(const struct view_head *head)
{
	return head->magic == VIEW_MAGIC && head->count <= VIEWS_MAX &&
			       head->size == sizeof(struct view)
		       ? 0
		       : -EINVAL;
}

/* Returns 0 or -ENOMEM. */
static int allocate(struct look *look)
{
	size_t count = look->head.count + 1;

	look->wishes = calloc(count, sizeof(*look->wishes));
	look->views = calloc(count, sizeof(*look->views));
	look->mounts = calloc(count, sizeof(*look->mounts));
	look->usages = calloc(count, sizeof(*look->usages));
	look->below = calloc(count, sizeof(*look->below));
	look->above = calloc(count, sizeof(*look->above));
	return look->wishes && look->views && look->mounts && look->usages &&
			       look->below && look->above
		       ? 0
		       : -ENOMEM;
}

int view_fill(const char *root, int fd)
{
	struct look look = { .root = root, .fd = fd };
	int error = view_read_head(fd, &look.head);
	size_t size;
	unsigned i;

	if (error)
		return error;
	size = look.head.count * sizeof(*look.wishes);
	error = allocate(&look);
	if (!error &&
	    pread(fd, look.wishes, size, sizeof(look.head)) != (ssize_t)size)
		error = -EIO;
	for (i = 0; !error && i < look.head.count; i++)
		look.wishes[i].disk[sizeof(look.wishes[i].disk) - 1] = '\0';
	if (!error)
		fill(&look);
	free(look.wishes);
	free(look.views);
	free(look.mounts);
	free(look.usages);
	free(look.below);
	free(look.above);
	return error;
}

/* ---- the file ---- */

int view_file(const struct view_head *head, const struct view_wish *wishes)
{
	size_t size = head->count * sizeof(*wishes);
	int fd = memfd_create("ublkd-view", MFD_CLOEXEC), error = 0;

	if (fd < 0)
		return -errno;
	if (pwrite(fd, head, sizeof(*head), 0) != sizeof(*head) ||
	    pwrite(fd, wishes, size, sizeof(*head)) != (ssize_t)size)
		error = errno ? -errno : -EIO;
	if (!error)
		return fd;
	close(fd);
	return error;
}

int view_read_head(int fd, struct view_head *head)
{
	if (pread(fd, head, sizeof(*head), 0) != sizeof(*head))
		return -EIO;
	return check_head(head);
}

/* Behind what was written there is nothing yet, and nothing is known. */
int view_read(int fd, const struct view_head *head, unsigned number,
	      struct view *view)
{
	off_t at =
		(off_t)(sizeof(*head) + head->count * sizeof(struct view_wish) +
			number * sizeof(*view));

	if (number >= head->count)
		return -EINVAL;
	memset(view, 0, sizeof(*view));
	if (pread(fd, view, sizeof(*view), at) < 0)
		return -errno;
	return 0;
}
