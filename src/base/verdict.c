#include "verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* us. Of what has waited for less nobody can say why. */
#define AGE_SUSPICIOUS 1000000

/* The sentence, as far as it is written. */
struct sentence {
	char *text;
	size_t at, size;
};

static void say(struct sentence *to, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say(struct sentence *to, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(to->text + to->at, to->size - to->at, format,
			   arguments);
	va_end(arguments);
	if (length > 0)
		to->at += (size_t)length;
	if (to->at >= to->size)
		to->at = to->size - 1;
}

/* ---- figures ---- */

static int is_known(const struct verdict_facts *facts, enum view_part part)
{
	return (facts->view->known & part) != 0;
}

/*
 * What the kernel has of requests: those of a queue that is quiesced have a tag,
 * and are not in flight.
 */
static uint32_t inflight(const struct verdict_facts *facts)
{
	const struct view *view = facts->view;
	uint32_t count = view->reads + view->writes;

	if (view->tags_busy > count)
		count = view->tags_busy;
	return view->sched_busy > count ? view->sched_busy : count;
}

uint32_t verdict_count(const struct verdict_facts *facts)
{
	uint32_t count = 0;
	int place;

	for (place = 0; place < SIGHT_LATE; place++)
		count += facts->waits[place].count;
	return count;
}

/* What one counts later than the other: the larger one had them all. */
static uint32_t served(const struct verdict_facts *facts)
{
	uint32_t count = verdict_count(facts);

	return facts->owned > count ? facts->owned : count;
}

uint32_t verdict_undelivered(const struct verdict_facts *facts)
{
	uint32_t all = inflight(facts), ours = served(facts);

	return all > ours && !facts->moves ? all - ours : 0;
}

uint64_t verdict_age(const struct verdict_facts *facts)
{
	uint64_t age = 0;
	int place;

	for (place = 0; place < SIGHT_LATE; place++)
		if (facts->waits[place].count &&
		    verdict_is_older(facts->waits[place].age, age))
			age = facts->waits[place].age;
	return age;
}

static void say_count(struct sentence *to, uint32_t count, const char *what)
{
	say(to, "%u %s%s", count, what, count == 1 ? "" : "s");
}

static void say_age(struct sentence *to, uint64_t age)
{
	if (age < 1000000)
		say(to, "%u ms", (unsigned)(age / 1000));
	else
		say(to, "%llu.%u s", (unsigned long long)(age / 1000000),
		    (unsigned)(age / 100000 % 10));
}

static void say_offset(struct sentence *to, uint64_t offset)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB",
					     "TiB",   "PiB", "EiB" };
	size_t unit = 0;

	while (offset && offset % 1024 == 0) {
		offset /= 1024;
		unit++;
	}
	if (unit)
		say(to, "%llu %s", (unsigned long long)offset, units[unit]);
	else
		say(to, "byte %llu", (unsigned long long)offset);
}

static void say_request(struct sentence *to, const struct verdict_wait *wait)
{
	say(to, "a %s", sight_op_name((enum sight_op)wait->op));
	if (wait->op == SIGHT_OP_FLUSH)
		return;
	say(to, " of %u bytes at ", wait->length);
	say_offset(to, wait->offset);
}

static void say_oldest(struct sentence *to, const struct verdict_wait *wait)
{
	int is_one = wait->count == 1, has_age = wait->age != VERDICT_NO_AGE;

	if (has_age) {
		say(to, is_one ? ", for " : ", the oldest for ");
		say_age(to, wait->age);
	}
	if (wait->op >= SIGHT_OPS)
		return;
	say(to, has_age ? ": " : is_one ? ", " : ", one ");
	say_request(to, wait);
}

/* ---- why the backing does not answer ---- */

/* Each says what it knows, or returns 0: then the next one is asked. */
typedef int reason(const struct verdict_facts *facts, struct sentence *to);

/* Compiled for size. */
static __attribute__((cold)) reason is_suspended, is_on_ublk, is_remote,
	is_frozen, is_slow_disk, is_above_disk, is_unknown;

static int is_suspended(const struct verdict_facts *facts, struct sentence *to)
{
	const struct view_disk *disk = &facts->view->behind;

	if (!disk->suspended)
		return 0;
	say(to,
	    "; %s (%s) behind it is suspended: 'dmsetup resume %s' lets "
	    "it go on",
	    disk->name, disk->mapped, disk->mapped);
	return 1;
}

/* The disk is another ublk server's, or another device of this one. */
static int is_on_ublk(const struct verdict_facts *facts, struct sentence *to)
{
	const struct view_disk *disk = &facts->view->behind;
	const struct view_server *server = &disk->server;

	if (strncmp(disk->name, "ublkb", 5) != 0 ||
	    !is_known(facts, VIEW_SERVER))
		return 0;
	if (!server->pid)
		say(to,
		    "; %s behind it has no server: nobody has its char "
		    "device open",
		    disk->name);
	else if (server->state == 'T' || server->state == 't')
		say(to,
		    "; %s behind it is served by %s, process %d, which is "
		    "stopped: 'kill -CONT %d' lets it go on",
		    disk->name, server->comm, server->pid, server->pid);
	else
		say(to,
		    "; %s behind it answers nothing (%u in flight): it is "
		    "served by %s, process %d, state %c",
		    disk->name, disk->reads + disk->writes, server->comm,
		    server->pid, server->state);
	return 1;
}

/* What changes a file; reads and flushes do not wait for a file system to thaw. */
static uint32_t changes(const struct verdict_facts *facts)
{
	return facts->waits[SIGHT_WRITE].count +
	       facts->waits[SIGHT_DISCARD].count +
	       facts->waits[SIGHT_LATE].count;
}

/*
 * A disk that has something to do is why, though a worker may wait likewise. That
 * worker tells of no file system, and may be another device's: the kernel has what
 * changes files wait in lines, whatever file system they are on.
 */
static int is_frozen(const struct verdict_facts *facts, struct sentence *to)
{
	const struct view *view = facts->view;

	if (!facts->views->frozen || !facts->is_file || !view->mount[0] ||
	    !changes(facts) || view->behind.reads + view->behind.writes)
		return 0;
	say(to,
	    "; the file system on %s (%s) is frozen: 'fsfreeze --unfreeze "
	    "%s' lets it go on",
	    view->mount, view->kind, view->mount);
	if (facts->has_rivals)
		say(to, "; or another device's is, in whose line this one "
			"waits, see CAVEATS of ublkd(8)");
	return 1;
}

/* By its name a file system that another process or host serves. */
static int has_server(const char *kind)
{
	static const char *const kinds[] = { "nfs",  "fuse", "cifs",
					     "smb3", "9p",   "ceph" };
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strncmp(kind, kinds[i], strlen(kinds[i])) == 0)
			return 1;
	return 0;
}

/* No disk of this host is behind it. */
static int is_remote(const struct verdict_facts *facts, struct sentence *to)
{
	const struct view *view = facts->view;

	if (!is_known(facts, VIEW_BACKING) || view->behind.name[0] ||
	    !view->mount[0] || !has_server(view->kind))
		return 0;
	say(to, "; %s is a %s, whose server does not answer", view->mount,
	    view->kind);
	return 1;
}

static int is_slow_disk(const struct verdict_facts *facts, struct sentence *to)
{
	const struct view_disk *disk = &facts->view->behind;

	if (!disk->name[0] || disk->reads + disk->writes == 0)
		return 0;
	say(to, "; the disk itself answers nothing (%s: %u in flight)",
	    disk->name, disk->reads + disk->writes);
	return 1;
}

static int is_above_disk(const struct verdict_facts *facts, struct sentence *to)
{
	const struct view_disk *disk = &facts->view->behind;
	const struct view_task *worker = &facts->views->worker;

	if (!disk->name[0])
		return 0;
	say(to, "; %s behind it has nothing in flight: the cause is above it",
	    disk->name);
	if (worker->pid)
		say(to, ", where a worker of the kernel is in %s",
		    worker->wchan);
	return 1;
}

static int is_unknown(const struct verdict_facts *facts, struct sentence *to)
{
	(void)facts;
	say(to, "; why is unknown: the kernel did not tell what is behind it");
	return 1;
}

static void say_reason(const struct verdict_facts *facts, struct sentence *to)
{
	static reason *const reasons[] = { is_suspended, is_on_ublk,
					   is_remote,	 is_frozen,
					   is_slow_disk, is_above_disk,
					   is_unknown };
	size_t i = 0;

	while (!reasons[i](facts, to))
		i++;
}

/* ---- requests that the server has ---- */

static int is_backing(int place)
{
	return place >= SIGHT_READ && place <= SIGHT_DISCARD;
}

/* Behind others of the same device, mostly. */
static int is_behind(int place)
{
	return place == SIGHT_WORKER || place == SIGHT_BUFFER ||
	       place == SIGHT_TURN;
}

/*
 * Where the oldest one is, of those for which `is` says so; VERDICT_NO_PLACE: there
 * is none, or nobody has written down where.
 */
static int find_oldest(const struct verdict_facts *facts, int (*is)(int place))
{
	int place, oldest = VERDICT_NO_PLACE; /* which is 0 */

	for (place = SIGHT_TARGET; place < SIGHT_LATE; place++)
		if ((!is || is(place)) && facts->waits[place].count &&
		    (!oldest || verdict_is_older(facts->waits[place].age,
						 facts->waits[oldest].age)))
			oldest = place;
	return oldest;
}

/*
 * The place of the oldest; if that but waits behind others, and the backing has
 * some, they are the reason.
 */
static int find_cause(const struct verdict_facts *facts)
{
	int place = find_oldest(facts, NULL);
	int backing = find_oldest(facts, is_backing);

	return is_behind(place) && backing ? backing : place;
}

/* What the admin can do about a place, and what is behind it. */
static void explain_place(const struct verdict_facts *facts, int place,
			  struct sentence *to)
{
	if (is_backing(place) && facts->waits[place].age >= AGE_SUSPICIOUS)
		say_reason(facts, to);
	else if (place == SIGHT_DELAY)
		say(to,
		    "; its own delay keeps them: 'set %u delay-time=0 "
		    "delay-max=0 delay-mean=0' lets them go",
		    facts->id);
	else if (place == SIGHT_LIMIT)
		say(to,
		    "; its own limit keeps them: 'set %u limit-iops=0 "
		    "limit-bandwidth=0' lets them go",
		    facts->id);
	else if (is_behind(place))
		say(to, "; requests that came before have what it needs: "
			"'stuck' shows which stand still");
	else if (place == SIGHT_REFUSED)
		say(to, "; that is a fault: 'trace %u' shows what came before",
		    facts->id);
}

/* Of a file whose requests have come down to the disk, and are not above it. */
static int is_disk_below(const struct verdict_facts *facts)
{
	const struct view_disk *disk = &facts->view->behind;

	return facts->is_file &&
	       (disk->suspended || disk->reads + disk->writes);
}

static void say_backing(const struct verdict_facts *facts, struct sentence *to)
{
	say(to, "%s%s", is_disk_below(facts) ? "the disk behind " : "",
	    facts->backing);
}

static void say_place(const struct verdict_facts *facts, int place,
		      struct sentence *to)
{
	const struct verdict_wait *wait = &facts->waits[place];

	say(to, wait->count == 1 ? " waits for " : " wait for ");
	if (is_backing(place) && facts->backing[0])
		say_backing(facts, to);
	else
		say(to, "%s", sight_place_text((enum sight_place)place));
	say_oldest(to, wait);
	explain_place(facts, place, to);
}

/* What is known of a disk behind the device holds all the same. */
static void say_no_place(const struct verdict_facts *facts, struct sentence *to)
{
	const struct verdict_wait *wait = &facts->waits[VERDICT_NO_PLACE];
	int is_one = wait->count == 1;

	say(to, is_one ? " is in the server" : " are in the server");
	say_oldest(to, wait);
	say(to, is_one ? "; where it waits, and since when, is not recorded"
		       : "; where they wait, and since when, is not recorded");
	is_suspended(facts, to);
}

static void say_waits(const struct verdict_facts *facts, struct sentence *to)
{
	int place = find_cause(facts);
	uint32_t count = facts->waits[place].count;
	uint32_t others = verdict_count(facts) - count;

	say_count(to, count, "request");
	if (place == VERDICT_NO_PLACE)
		say_no_place(facts, to);
	else
		say_place(facts, place, to);
	if (others)
		say(to, "; %u more wait%s elsewhere or behind", others,
		    others == 1 ? "s" : "");
	if (facts->tags && served(facts) >= facts->tags)
		say(to,
		    "; all %u tags are taken, so whatever else comes "
		    "waits in the kernel",
		    facts->tags);
	else if (verdict_undelivered(facts))
		say(to, "; %u more in the kernel, not delivered to the server",
		    verdict_undelivered(facts));
}

/* Why they are is said already of others that wait. */
static void say_late(const struct verdict_facts *facts, struct sentence *to)
{
	const struct verdict_wait *late = &facts->waits[SIGHT_LATE];

	say(to, "; ");
	say_count(to, late->count, "request");
	say(to, late->count == 1
			? " was answered with EIO and is still with "
			: " were answered with EIO and are still with ");
	if (verdict_count(facts) || !facts->backing[0])
		say(to, "its backing");
	else
		say_backing(facts, to);
	say_oldest(to, late);
	if (!verdict_count(facts))
		say_reason(facts, to);
}

/* ---- requests that the server does not have ---- */

static void say_waiters(const struct verdict_facts *facts, struct sentence *to)
{
	const struct view *view = facts->view;

	if (!is_known(facts, VIEW_WAITERS) || !view->waiters)
		return;
	say(to, "; ");
	say_count(to, view->waiters, "task");
	say(to, " in D: %s, process %d, in %s", view->tasks[0].comm,
	    view->tasks[0].pid, view->tasks[0].wchan);
}

/* The driver has them, or holds them; nobody has been given them yet. */
static void say_undelivered(const struct verdict_facts *facts,
			    struct sentence *to, uint32_t count)
{
	say_count(to, count, "request");
	say(to, "%s in the kernel and not delivered to the server",
	    count == 1 ? " is" : " are");
	if (strstr(facts->view->state, "QUIESCED"))
		say(to, ": its queue is quiesced");
	say_waiters(facts, to);
}

static void say_nothing_waits(const struct verdict_facts *facts,
			      struct sentence *to)
{
	if (is_known(facts, VIEW_INFLIGHT))
		say(to, "no request waits");
	else
		say(to, "the server has no request; what the kernel has is "
			"unknown");
	say_waiters(facts, to);
}

/* Nobody serves it now: what there is waits for that. */
static void say_not_served(const struct verdict_facts *facts,
			   struct sentence *to)
{
	switch (facts->state) {
	case VERDICT_DEAD_SERVER:
		say(to, "it waits for the end of the server before, which has "
			"died and still has it");
		break;
	case VERDICT_LOST:
		say(to, "nobody serves it: %s",
		    facts->why[0] ? facts->why : "it could not be taken over");
		if (facts->retry_in >= 0)
			say(to, "; the next try is in %d s", facts->retry_in);
		break;
	case VERDICT_TAKING_OVER:
		say(to, "it is being taken over (%s)", facts->step);
		break;
	case VERDICT_ADDING:
		say(to, "it is being added (%s)", facts->step);
		break;
	default:
		say(to, "it is being deleted (%s)", facts->step);
	}
	if (inflight(facts)) {
		say(to, "; ");
		say_count(to, inflight(facts), "request");
		say(to, inflight(facts) == 1 ? " waits for that"
					     : " wait for that");
	}
	say_waiters(facts, to);
}

const char *verdict(const struct verdict_facts *facts, char *text, size_t size)
{
	struct sentence to = { text, 0, size };
	uint32_t count = verdict_count(facts);

	text[0] = '\0';
	if (count)
		say_waits(facts, &to);
	else if (facts->state != VERDICT_LIVE)
		say_not_served(facts, &to);
	else if (verdict_undelivered(facts))
		say_undelivered(facts, &to, verdict_undelivered(facts));
	else if (inflight(facts) && facts->moves)
		say(&to, "requests come and go; none waits in the server");
	else
		say_nothing_waits(facts, &to);
	if (facts->waits[SIGHT_LATE].count)
		say_late(facts, &to);
	return text;
}
