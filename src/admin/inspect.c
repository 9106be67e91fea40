/*
 * inspect, stuck: where requests wait, and why. What the kernel shows is asked of
 * a helper (base/view.h), which has a limited time: whatever it has not told by
 * then is unknown. The answer is made in pieces, between which others have their
 * turn.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/waits.h"
#include "io/turns.h"
#include "verbs.h"
#include "command.h"

#define FORMAT	 1    /* of the answer, see the manual */
#define PATIENCE 1.5  /* s for the helper */
#define TAGS	 2048 /* looked at in one turn, at most */
#define LINES	 64   /* of tags, printed in one turn */
#define DEVICES	 8    /* begun in one turn, at most */

/*
 * One inspection: of the request, whose work it is, and of the helper's answer
 * while that is awaited.
 */
struct inspection {
	struct request *request; /* NULL: it has been answered */
	int is_asked;
	int fd; /* of the views, or -1 */
	struct view_head head;
	struct loop_timer patience;
	uint64_t began, now; /* us: of this turn */
	uint64_t least;	     /* us; 0: all are told of */
	int is_one, all_tags;
	unsigned unknown; /* devices are left out whose kernel's side is */

	/* The devices, and how far they are told. */
	uint32_t *ids;
	uint64_t *answered; /* of each, when the kernel was asked */
	unsigned count, at;
	enum { COUNT_WAITS, LIST_TAGS } stage;
	struct waits_cursor cursor;
	struct verdict_facts facts;
};

/* ---- its beginning and its end ---- */

static void free_inspection(struct inspection *inspection)
{
	if (inspection->request || inspection->is_asked)
		return;
	if (inspection->fd >= 0)
		close(inspection->fd);
	free(inspection->ids);
	free(inspection->answered);
	free(inspection);
}

/* Of the request, which is answered, or whose client is gone. */
static void drop_inspection(struct request *request)
{
	struct inspection *inspection = request->work;

	loop_timer_stop(request->host->devices.loop, &inspection->patience);
	request->work = NULL;
	request->drop = NULL;
	inspection->request = NULL;
	free_inspection(inspection);
}

static void begin_telling(struct inspection *inspection)
{
	struct request *request = inspection->request;

	loop_timer_stop(request->host->devices.loop, &inspection->patience);
	if (inspection->fd < 0 ||
	    view_read_head(inspection->fd, &inspection->head) < 0)
		memset(&inspection->head, 0, sizeof(inspection->head));
	request->go_on(request);
}

static void on_views(void *context, const struct message *answer)
{
	struct inspection *inspection = context;
	int was_late = !loop_timer_is_active(&inspection->patience);

	(void)answer;
	/* The whole answer may be told within, and the request be over then. */
	if (inspection->request && !was_late)
		begin_telling(inspection);
	inspection->is_asked = 0;
	free_inspection(inspection);
}

static void on_patience(struct loop_timer *timer)
{
	begin_telling(timer->data);
}

static int is_inspected(const struct inspection *inspection,
			const struct device *device, const struct device *one)
{
	return device->disk[0] && (!inspection->is_one || device == one);
}

/* Note the devices, and what of them is asked for. Returns 0 or -ENOMEM. */
static int choose(struct inspection *inspection, const struct device *one,
		  struct view_wish **wishes)
{
	const struct device_set *set = &inspection->request->host->devices;
	unsigned size = device_set_size(set) + 1; /* one, if there is none */
	const struct device *device;

	inspection->ids = calloc(size, sizeof(*inspection->ids));
	inspection->answered = calloc(size, sizeof(*inspection->answered));
	*wishes = calloc(size, sizeof(**wishes));
	if (!inspection->ids || !inspection->answered || !*wishes)
		return -ENOMEM;
	for (device = set->first; device; device = device->next) {
		if (!is_inspected(inspection, device, one))
			continue;
		waits_wish(device, &(*wishes)[inspection->count]);
		inspection->answered[inspection->count] =
			waits_answered(device);
		inspection->ids[inspection->count++] = device->spec.id;
	}
	return 0;
}

/* Without a helper there is an answer as well. */
static void ask_kernel(struct inspection *inspection,
		       const struct view_wish *wishes)
{
	struct device_set *set = &inspection->request->host->devices;

	loop_timer_init(&inspection->patience, on_patience, inspection);
	if (!inspection->request->host->keeper_gone)
		inspection->fd = waits_ask(wishes, inspection->count, on_views,
					   inspection);
	inspection->is_asked = inspection->fd >= 0;
	loop_timer_start(set->loop, &inspection->patience,
			 inspection->is_asked ? PATIENCE : 0);
}

static int begin(struct request *request, const struct device *one,
		 uint64_t least, struct failure *failure)
{
	struct inspection *inspection = calloc(1, sizeof(*inspection));
	struct view_wish *wishes = NULL;
	int error = -ENOMEM;

	if (inspection) {
		inspection->request = request;
		inspection->fd = -1;
		inspection->is_one = one != NULL;
		inspection->least = least;
		inspection->began = sight_clock();
		error = choose(inspection, one, &wishes);
	}
	if (error) {
		free(wishes);
		if (inspection)
			inspection->request = NULL;
		if (inspection)
			free_inspection(inspection);
		return failure_no_memory(failure);
	}
	request->work = inspection;
	request->drop = drop_inspection;
	ask_kernel(inspection, wishes);
	free(wishes);
	return 0;
}

/* ---- the lines ---- */

/* A number, or that it is not known. */
static const char *number(char *text, size_t size, int is_known, uint32_t value)
{
	if (is_known)
		snprintf(text, size, "%u", value);
	else
		snprintf(text, size, "unknown");
	return text;
}

static const char *age_text(char *text, size_t size, uint64_t age)
{
	if (age == VERDICT_NO_AGE)
		snprintf(text, size, "unknown");
	else
		snprintf(text, size, "%llums",
			 (unsigned long long)(age / 1000));
	return text;
}

static const char *place_name(enum sight_place place)
{
	return place == VERDICT_NO_PLACE ? "unknown" : sight_place_name(place);
}

static void print_wait(struct request *request, uint32_t id,
		       enum sight_place place, const struct verdict_wait *wait)
{
	char age[32];

	request_print(request,
		      "place id=%u name=%s count=%u op=%s offset=%llu "
		      "length=%u age=%s",
		      id, place_name(place), wait->count,
		      sight_op_name((enum sight_op)wait->op),
		      (unsigned long long)wait->offset, wait->length,
		      age_text(age, sizeof(age), wait->age));
}

static void print_kernel(struct request *request, uint32_t id,
			 const struct view *view)
{
	int has_inflight = (view->known & VIEW_INFLIGHT) != 0;
	int has_queue = (view->known & VIEW_QUEUE) != 0;
	char reads[16], writes[16], requests[16], timeout[16];

	number(reads, sizeof(reads), has_inflight, view->reads);
	number(writes, sizeof(writes), has_inflight, view->writes);
	number(requests, sizeof(requests), has_queue, view->nr_requests);
	number(timeout, sizeof(timeout), has_queue, view->timeout);
	request_print(request,
		      "kernel id=%u reads=%s writes=%s scheduler=%s "
		      "requests=%s timeout=%s%s",
		      id, reads, writes,
		      has_queue ? view->scheduler : "unknown", requests,
		      timeout, has_queue ? "ms" : "");
	if (!(view->known & VIEW_BLK_MQ)) {
		request_print(request, "blk-mq id=%u busy=unknown", id);
		return;
	}
	request_print(request,
		      "blk-mq id=%u busy=%u tags=%u/%u sched-tags=%u/%u "
		      "state=%s",
		      id, view->busy, view->tags_busy, view->tags,
		      view->sched_busy, view->sched_tags,
		      view->state[0] ? view->state : "none");
}

static void print_behind(struct request *request, uint32_t id,
			 const struct view *view)
{
	const struct view_disk *disk = &view->behind;
	const struct view_server *server = &disk->server;
	char name[4 * sizeof(disk->mapped)], mount[4 * sizeof(view->mount)];
	char kind[4 * sizeof(view->kind)];
	char comm[4 * sizeof(server->comm)];

	syntax_quote(name, sizeof(name), disk->mapped);
	syntax_quote(mount, sizeof(mount), view->mount);
	syntax_quote(comm, sizeof(comm), server->comm);
	syntax_quote(kind, sizeof(kind), view->kind);
	if (!(view->known & VIEW_BACKING))
		request_print(request, "behind id=%u disk=unknown", id);
	if (disk->name[0])
		request_print(request,
			      "behind id=%u disk=%s reads=%u writes=%u%s%s%s",
			      id, disk->name, disk->reads, disk->writes,
			      disk->mapped[0] ? " mapper=" : "",
			      disk->mapped[0] ? name : "",
			      disk->suspended ? " suspended=yes" : "");
	if (view->mount[0])
		request_print(request, "behind id=%u mount=%s kind=%s", id,
			      mount, kind);
	if (server->pid)
		request_print(request,
			      "behind id=%u server=%d comm=%s state=%c", id,
			      server->pid, comm, server->state);
}

static void print_tasks(struct request *request, uint32_t id,
			const struct view *view)
{
	char comm[4 * sizeof(view->tasks->comm)];
	const struct view_task *task;
	unsigned i;

	if (!(view->known & VIEW_WAITERS))
		request_print(request, "tasks id=%u count=unknown", id);
	else if (view->waiters)
		request_print(request, "tasks id=%u count=%u", id,
			      view->waiters);
	for (i = 0; i < view->waiters && i < VIEW_TASKS; i++) {
		task = &view->tasks[i];
		syntax_quote(comm, sizeof(comm), task->comm);
		request_print(request,
			      "task id=%u pid=%d comm=%s state=%c wchan=%s", id,
			      task->pid, comm, task->state,
			      task->wchan[0] ? task->wchan : "unknown");
		if (task->stack[0])
			request_print(request, "stack id=%u pid=%d text=\"%s\"",
				      id, task->pid, task->stack);
	}
}

static void print_holder(struct request *request, uint32_t id,
			 const struct view *view)
{
	char who[4 * sizeof(view->holder)];

	if (!(view->known & VIEW_HOLDER)) {
		request_print(request, "holder id=%u text=\"unknown\"", id);
	} else if (view->holder[0]) {
		syntax_quote_text(who, sizeof(who), view->holder);
		request_print(request, "holder id=%u text=%s", id, who);
	}
}

static void print_verdict(struct request *request,
			  const struct verdict_facts *facts)
{
	char text[VERDICT_BYTES], quoted[2 * VERDICT_BYTES];

	verdict(facts, text, sizeof(text));
	syntax_quote_text(quoted, sizeof(quoted), text);
	request_print(request, "verdict id=%u verdict=%s", facts->id, quoted);
}

static void print_head(struct request *request, const struct device *device,
		       const struct verdict_facts *facts)
{
	char oldest[40] = "";

	if (verdict_age(facts))
		snprintf(oldest, sizeof(oldest), " oldest=%llums",
			 (unsigned long long)(verdict_age(facts) / 1000));
	request_print(request, "dev id=%u name=%s state=%s waiting=%u%s",
		      device->spec.id, device_name(device),
		      device_state(device), verdict_count(facts), oldest);
}

/* Whether there is more to be told than that all is well. */
static int is_odd(const struct verdict_facts *facts)
{
	const struct view *view = facts->view;

	return verdict_count(facts) || facts->waits[SIGHT_LATE].count ||
	       facts->state != VERDICT_LIVE || !(view->known & VIEW_INFLIGHT) ||
	       view->reads + view->writes || view->waiters;
}

/*
 * Whether requests wait for too long, or may do so for all that is known: of those
 * that the server has without a recorder, and of those that only the kernel has,
 * nobody knows when they came, but that none was answered since the kernel was
 * asked.
 */
static int is_stuck(const struct verdict_facts *facts)
{
	return verdict_age(facts) || facts->waits[SIGHT_LATE].count ||
	       verdict_undelivered(facts) ||
	       (verdict_count(facts) && !facts->moves) ||
	       facts->state == VERDICT_LOST ||
	       facts->state == VERDICT_DEAD_SERVER;
}

static void print_device(struct inspection *inspection,
			 const struct device *device)
{
	struct request *request = inspection->request;
	struct verdict_facts *facts = &inspection->facts;
	uint32_t id = device->spec.id;
	struct view view = { .known = 0 };
	int place;

	if (inspection->fd >= 0)
		view_read(inspection->fd, &inspection->head, inspection->at,
			  &view);
	facts->views = &inspection->head;
	facts->view = &view;
	waits_describe(device, facts);
	facts->moves = waits_answered(device) !=
		       inspection->answered[inspection->at];
	if (inspection->least && !is_stuck(facts)) {
		inspection->unknown += facts->state == VERDICT_LIVE &&
				       !(view.known & VIEW_INFLIGHT);
		return;
	}
	print_head(request, device, facts);
	for (place = 0; place < SIGHT_PLACES; place++)
		if (facts->waits[place].count)
			print_wait(request, id, (enum sight_place)place,
				   &facts->waits[place]);
	if (inspection->is_one || is_odd(facts)) {
		print_kernel(request, id, &view);
		print_behind(request, id, &view);
		print_tasks(request, id, &view);
		print_holder(request, id, &view);
	}
	print_verdict(request, facts);
}

/* Returns 1 if the budget was not enough. */
static int list_tags(struct inspection *inspection, const struct device *device,
		     unsigned *budget)
{
	struct request *request = inspection->request;
	char age[32];
	const struct io *io;
	struct wait wait;

	if (*budget > LINES)
		*budget = LINES;
	while ((io = waits_next(device, &inspection->cursor, budget))) {
		wait = wait_of(io, inspection->now);
		request_print(request,
			      "tag id=%u queue=%u tag=%u place=%s op=%s "
			      "offset=%llu length=%u age=%s",
			      device->spec.id, io->port->queue_id, io->tag,
			      place_name(wait.place),
			      sight_op_name((enum sight_op)io->op),
			      (unsigned long long)io->offset, io->length,
			      age_text(age, sizeof(age), wait.age));
	}
	return *budget == 0;
}

/* ---- turn by turn ---- */

/*
 * Go on with the device that the inspection has come to, or with the next one.
 * Returns 1 if the budget was not enough.
 */
static int tell_more(struct inspection *inspection, unsigned *budget)
{
	struct device_set *set = &inspection->request->host->devices;
	const struct device *device =
		device_find(set, inspection->ids[inspection->at]);

	if (device && inspection->stage == COUNT_WAITS) {
		if (waits_count(device, &inspection->cursor, budget,
				inspection->now, inspection->least,
				&inspection->facts))
			return 1;
		print_device(inspection, device);
		inspection->cursor = (struct waits_cursor){ 0, 0 };
		inspection->stage = LIST_TAGS;
	}
	if (device && inspection->all_tags &&
	    list_tags(inspection, device, budget))
		return 1;
	inspection->cursor = (struct waits_cursor){ 0, 0 };
	inspection->stage = COUNT_WAITS;
	memset(&inspection->facts, 0, sizeof(inspection->facts));
	inspection->at++;
	return 0;
}

static void finish(struct inspection *inspection)
{
	struct request *request = inspection->request;
	uint64_t took = (sight_clock() - inspection->began) / 1000;
	unsigned unknown = inspection->unknown;
	char text[24] = "";

	if (unknown)
		snprintf(text, sizeof(text), " unknown=%u", unknown);
	drop_inspection(request);
	request_ok(request, " format=%d took=%llums%s", FORMAT,
		   (unsigned long long)took, text);
}

/* Returns what a command's run() does, while there is more. */
static int tell(struct inspection *inspection)
{
	unsigned budget = TAGS, devices = 0;

	inspection->now = turns_now();
	while (inspection->at < inspection->count)
		if (tell_more(inspection, &budget) || ++devices == DEVICES)
			return 1;
	finish(inspection);
	return 0;
}

int verb_inspect(struct request *request, struct failure *failure)
{
	const struct device *one = NULL;
	struct inspection *inspection;

	if (request->work)
		return tell(request->work);
	if (verb_names_device(request)) {
		one = verb_find_device(request, failure);
		if (!one)
			return -1;
	}
	if (begin(request, one, 0, failure) < 0)
		return -1;
	inspection = request->work;
	inspection->all_tags = request->values[VERB_INSPECT_TAGS].number != 0;
	return 0;
}

int verb_stuck(struct request *request, struct failure *failure)
{
	uint64_t least = request->values[VERB_STUCK_OLDER].number;

	if (request->work)
		return tell(request->work);
	return begin(request, NULL, least ? least : 1, failure);
}
