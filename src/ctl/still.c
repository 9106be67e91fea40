#include "still.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/verdict.h"
#include "screen.h"

#define LOOK_TIME   1500    /* ms for what the kernel shows of disks */
#define INDENT	    4	    /* of what goes on in the next line */
#define NAMED_MOST  8	    /* disks in a sentence */
#define KEEPER_NAME "ublkd" /* the server's begins likewise */

/* ---- the server ---- */

static const struct sight_server *last_server(const struct still *still)
{
	const struct sight_head *head = &still->sight.head;
	int living = sight_living(head);

	return &head->servers[living < 0 ? head->current & 1 : (unsigned)living];
}

/* Whether that process is one of ublkd's, and not another with its number. */
static int look_at(pid_t pid, struct proc_look *look)
{
	return pid > 0 && proc_look(pid, look) == 0 && look->state != 'X' &&
	       strncmp(look->name, "ublkd", 5) == 0;
}

/* The keeper listens, too: its child is the server. */
static pid_t child_of(const struct still *still, pid_t pid)
{
	struct proc_look look;
	char text[64];

	if (!look_at(pid, &look) || strcmp(look.name, KEEPER_NAME) != 0 ||
	    host_read(still->root, text, sizeof(text),
		      "/proc/%d/task/%d/children", (int)pid, (int)pid) <= 0)
		return pid;
	return (pid_t)atoi(text);
}

static void find_server(struct still *still)
{
	struct proc_look look;
	pid_t pid = still->sight_error ? 0 : (pid_t)last_server(still)->pid;

	if (!look_at(pid, &look))
		pid = child_of(still, still->listener);
	still->server = look_at(pid, &look) ? pid : 0;
}

/* "in folio_wait_writeback", as far as the kernel tells. */
static const char *waits_in(const struct still *still, char *text, size_t size)
{
	char name[80];

	if (host_read(still->root, name, sizeof(name), "/proc/%d/wchan",
		      (int)still->server) <= 0 ||
	    strcmp(name, "0") == 0)
		snprintf(text, size, "at a place that it does not name");
	else
		snprintf(text, size, "in %s", name);
	return text;
}

/* By its cgroup, whose folder is `text` then. */
static int is_frozen(const struct still *still, char *text, size_t size)
{
	char group[HOST_CGROUP], process[12], events[100], value[4];

	snprintf(process, sizeof(process), "%d", (int)still->server);
	host_cgroup(still->root, process, group);
	snprintf(text, size, "/sys/fs/cgroup%s", group);
	host_read(still->root, events, sizeof(events),
		  "/sys/fs/cgroup%s/cgroup.events", group);
	return host_value(events, "frozen", value, sizeof(value)) == 0 &&
	       strcmp(value, "1") == 0;
}

/* What the server's thread says of itself. */
static const char *describe(const struct still *still, char *text, size_t size)
{
	const struct sight_server *server = last_server(still);

	if (still->sight_error || (pid_t)server->pid != still->server) {
		snprintf(text, size, "what it does is not known");
		return text;
	}
	return sight_file_describe(&still->sight, server, sight_clock(), text,
				   size);
}

static void say(struct still *still, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say(struct still *still, const char *format, ...)
{
	size_t length = strlen(still->verdict);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(still->verdict + length, sizeof(still->verdict) - length,
		  format, arguments);
	va_end(arguments);
}

static void judge_server(struct still *still)
{
	struct proc_look look;
	char text[300];

	if (!look_at(still->server, &look))
		look.state = 'X';
	say(still, "the server (pid %d) ", (int)still->server);
	switch (look.state) {
	case 'T':
		say(still,
		    "is stopped by a signal: 'kill -CONT %d' lets it go on",
		    (int)still->server);
		break;
	case 't':
		say(still, "is stopped by a debugger or a tracer");
		break;
	case 'D':
		say(still, "waits in the kernel %s; %s",
		    waits_in(still, text, sizeof(text) / 2),
		    describe(still, text + sizeof(text) / 2, sizeof(text) / 2));
		break;
	case 'X':
	case 'Z':
		say(still,
		    "has just ended; its keeper starts another one, unless "
		    "that is stopped");
		break;
	case 'R':
		say(still, "is busy: %s", describe(still, text, sizeof(text)));
		break;
	default:
		if (is_frozen(still, text, sizeof(text))) {
			say(still,
			    "is frozen: 'echo 0 >%s/cgroup.freeze' lets "
			    "it go on, if no group above is",
			    text);
			break;
		}
		say(still, "sleeps and does not hear its socket: %s",
		    describe(still, text, sizeof(text)));
	}
}

/* ---- devices ---- */

int still_is_orphan(const struct still *still, const struct host_device *device)
{
	return !device->server && !still->server && geteuid() == 0;
}

static unsigned count_orphans(const struct still *still, int has_disk)
{
	unsigned i, count = 0;

	for (i = 0; i < still->count; i++)
		count += still_is_orphan(still, &still->devices[i]) &&
			 still->devices[i].has_disk == has_disk;
	return count;
}

static void judge_orphans(struct still *still, int has_disk, const char *one,
			  const char *many)
{
	unsigned i, count = count_orphans(still, has_disk), named = 0;

	for (i = 0; i < still->count; i++) {
		if (!still_is_orphan(still, &still->devices[i]) ||
		    still->devices[i].has_disk != has_disk)
			continue;
		if (named == NAMED_MOST)
			break;
		say(still, "%subl%s%u", named++ ? ", " : "; ",
		    has_disk ? "kb" : "kc", still->devices[i].id);
	}
	if (named < count)
		say(still, " and %u more", count - named);
	if (count)
		say(still, " %s", count == 1 ? one : many);
}

static void judge(struct still *still)
{
	still->verdict[0] = '\0';
	if (still->server) {
		judge_server(still);
		return;
	}
	say(still, still->is_heard
			   ? "ublkd's socket is there, but no server is seen"
			   : "no daemon runs");
	judge_orphans(still, 1, "is quiesced", "are quiesced");
	judge_orphans(still, 0, "is left over", "are left over");
}

void still_look(struct still *still)
{
	still->sight_error = sight_file_open(&still->sight, still->folder);
	find_server(still);
	still->count = host_devices(still->root, still->devices);
	judge(still);
}

void still_close(struct still *still)
{
	if (!still->sight_error)
		sight_file_close(&still->sight);
	still->sight_error = -1;
}

/* ---- what the kernel shows of them ---- */

/*
 * Look in a process of its own, for a look can hang with a disk. Returns the file
 * of the views, one for each device, to be closed; or -1.
 */
static int find_views(const struct still *still)
{
	struct view_wish *wishes = calloc(still->count + 1, sizeof(*wishes));
	struct view_head head = { .magic = VIEW_MAGIC,
				  .count = still->count,
				  .size = sizeof(struct view),
				  .server = still->server,
				  .walk = VIEW_WALK };
	struct proc proc;
	pid_t child;
	unsigned i;
	int fd;

	for (i = 0; wishes && i < still->count; i++)
		snprintf(wishes[i].disk, sizeof(wishes[i].disk), "ublkb%u",
			 still->devices[i].id);
	fd = wishes ? view_file(&head, wishes) : -1;
	free(wishes);
	child = fd >= 0 ? fork() : -1;
	if (child == 0)
		_exit(view_fill(still->root, fd) < 0);
	if (child > 0 && proc_open(&proc, child) == 0) {
		proc_wait(&proc, LOOK_TIME);
		proc_kill(&proc);
		proc_close(&proc);
	}
	return fd >= 0 ? fd : -1;
}

/* ---- where requests wait ---- */

/* What the driver has asked for, if the event of that is still there. */
static void find_request(const struct sight_event *ring, size_t size,
			 const struct sight_tag *tag, struct verdict_wait *wait)
{
	uint64_t newest = 0, time;
	size_t i;

	wait->op = SIGHT_OPS;
	for (i = 0; i < size; i++) {
		time = sight_event_time(&ring[i]);
		if (ring[i].what != SIGHT_DELIVERED ||
		    ring[i].tag != tag->tag ||
		    sight_event_queue(&ring[i]) != tag->queue ||
		    time > tag->since || time < newest)
			continue;
		newest = time;
		wait->op = ring[i].op;
		wait->offset = ring[i].number;
		wait->length = ring[i].length;
	}
}

struct part {
	const struct sight_tag *tags;
	size_t count;
	const struct sight_event *ring;
	size_t ring_size;
};

static void add_waits(const struct part *part, uint64_t now,
		      struct verdict_facts *facts)
{
	struct verdict_wait *wait;
	uint64_t age;
	size_t i;

	for (i = 0; i < part->count; i++) {
		const struct sight_tag *tag = &part->tags[i];

		if (!sight_is_waiting(tag->place) &&
		    tag->place != SIGHT_REFUSED)
			continue;
		wait = &facts->waits[tag->place];
		age = now > tag->since ? now - tag->since : 0;
		if (wait->count++ && wait->age >= age)
			continue;
		wait->age = age;
		find_request(part->ring, part->ring_size, tag, wait);
	}
}

/* The slot of a device's part; -ENOENT if it has none. */
static int find_part(const struct still *still, uint32_t id,
		     struct sight_small *small)
{
	unsigned slot;

	for (slot = 0; slot < still->sight.head.slots; slot++)
		if (sight_file_small(&still->sight, slot, small) == 0 &&
		    small->used == id + 1)
			return (int)slot;
	return -ENOENT;
}

/* By what the server has written down; a dead one's are the driver's again. */
static void find_waits(const struct still *still, struct verdict_facts *facts)
{
	struct sight_large *large;
	struct sight_small small;
	struct part part;
	int slot = still->sight_error || !still->server
			   ? -ENOENT
			   : find_part(still, facts->id, &small);

	if (slot < 0)
		return;
	facts->tags = (uint32_t)small.queues * small.depth;
	large = sight_file_large(&still->sight, (unsigned)slot, &small);
	if (large)
		part = (struct part){ large->tags, facts->tags, large->ring,
				      SIGHT_EVENTS };
	else
		part = (struct part){ small.slots, SIGHT_SLOTS, small.ring,
				      SIGHT_FIRST_EVENTS };
	add_waits(&part, sight_clock(), facts);
	free(large);
}

/* A verdict as ublkd gives it, if requests wait. */
static void print_verdict(const struct still *still,
			  const struct host_device *device,
			  const struct view_head *head, const struct view *view,
			  FILE *out, size_t columns)
{
	struct verdict_facts facts = { .id = device->id,
				       .why = "there is no server",
				       .retry_in = -1,
				       .backing = "",
				       .views = head,
				       .view = view };
	char text[VERDICT_BYTES], line[VERDICT_BYTES + 20];

	if (still_is_orphan(still, device))
		facts.state = VERDICT_LOST;
	find_waits(still, &facts);
	if (!verdict_count(&facts) && !verdict_undelivered(&facts))
		return;
	snprintf(line, sizeof(line), "ublkb%u: %s", device->id,
		 verdict(&facts, text, sizeof(text)));
	screen_print(out, line, 0, INDENT, columns);
}

static void print_device(const struct still *still,
			 const struct host_device *device, FILE *out)
{
	if (!device->has_disk)
		fprintf(out, "ublkc%u: has no disk", device->id);
	else
		fprintf(out, "ublkb%u: %u in flight", device->id,
			device->inflight);
	if (device->server)
		fprintf(out, ", served by process %d", (int)device->server);
	else if (still_is_orphan(still, device))
		fprintf(out, ", served by nobody");
	fputc('\n', out);
}

void still_print(const struct still *still, FILE *out, size_t columns)
{
	struct view_head head = { .known = 0 };
	struct view view = { .known = 0 };
	int fd = still->count ? find_views(still) : -1;
	unsigned i;

	screen_print(out, still->verdict, 0, INDENT, columns);
	if (fd >= 0 && view_read_head(fd, &head) < 0)
		memset(&head, 0, sizeof(head));
	for (i = 0; i < still->count; i++) {
		print_device(still, &still->devices[i], out);
		if (fd >= 0)
			view_read(fd, &head, i, &view);
		if (still->devices[i].has_disk)
			print_verdict(still, &still->devices[i], &head, &view,
				      out, columns);
	}
	if (fd >= 0)
		close(fd);
}
