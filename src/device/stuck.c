#include "stuck.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "device.h"
#include "io/recorder.h"
#include "io/turns.h"
#include "waits.h"

#define PERIOD 1.0  /* s between looks */
#define TAGS   2048 /* looked at in one turn, at most */

struct suspect {
	uint32_t id;
	uint64_t answered; /* by it, when the kernel was asked */
};

static struct {
	struct device_set *set; /* NULL: nothing has been watched yet */
	int has_ended;
	struct loop_timer timer;

	/* The look that is under way. */
	uint32_t id; /* of the device that it has come to */
	struct waits_cursor cursor;
	struct verdict_facts facts;
	int is_busy;	 /* somebody has a request */
	unsigned untold; /* devices are stuck that the log has not heard of */

	/* Devices that are to be told of, with what the kernel shows of them. */
	struct suspect *suspects;
	unsigned count, at;
	int fd; /* of the views, or -1 */
	struct view_head head;
	int is_asked;
} stuck = { .fd = -1 };

/* ---- telling ---- */

static void tell_of(struct device *device, uint64_t answered,
		    const struct view *view)
{
	struct verdict_facts facts = { .views = &stuck.head, .view = view };
	struct waits_cursor cursor = { 0, 0 };
	unsigned budget = TAGS;
	char text[VERDICT_BYTES];

	device->stuck = STUCK_TOLD;
	waits_describe(device, &facts);
	facts.moves = waits_answered(device) != answered;
	waits_count(device, &cursor, &budget, turns_now(), 0, &facts);
	log_warning("%s is stuck: %s", device->disk,
		    verdict(&facts, text, sizeof(text)));
}

static void end_telling(void)
{
	if (stuck.fd >= 0)
		close(stuck.fd);
	free(stuck.suspects);
	stuck.suspects = NULL;
	stuck.fd = -1;
}

/* One a turn. Returns 1 while there are more. */
static int tell_next(void)
{
	const struct suspect *suspect = &stuck.suspects[stuck.at];
	struct device *device;
	struct view view = { .known = 0 };

	if (stuck.at == stuck.count) {
		end_telling();
		return 0;
	}
	device = device_find(stuck.set, suspect->id);
	if (stuck.fd >= 0)
		view_read(stuck.fd, &stuck.head, stuck.at, &view);
	if (device && device->stuck == STUCK_UNTOLD)
		tell_of(device, suspect->answered, &view);
	stuck.at++;
	return 1;
}

static void on_views(void *context, const struct message *answer)
{
	(void)context;
	(void)answer;
	stuck.is_asked = 0;
	if (view_read_head(stuck.fd, &stuck.head) < 0)
		memset(&stuck.head, 0, sizeof(stuck.head));
	if (stuck.has_ended)
		end_telling();
	else
		loop_timer_start(stuck.set->loop, &stuck.timer, 0);
}

/* Of those that are stuck, and were not told of: what is behind them? */
static void list_suspects(struct view_wish *wishes)
{
	struct device *device;

	stuck.at = stuck.count = stuck.untold = 0;
	for (device = stuck.set->first; device; device = device->next) {
		if (device->stuck != STUCK_UNTOLD)
			continue;
		waits_wish(device, &wishes[stuck.count]);
		stuck.suspects[stuck.count++] =
			(struct suspect){ device->spec.id,
					  waits_answered(device) };
	}
	stuck.head = (struct view_head){ .known = 0 };
	if (stuck.count)
		stuck.fd = waits_ask(wishes, stuck.count, on_views, NULL);
	stuck.is_asked = stuck.fd >= 0;
}

/* Without memory they stay untold, and the next look asks again. */
static void ask_of_all(void)
{
	unsigned size = device_set_size(stuck.set) + 1;
	struct view_wish *wishes = calloc(size, sizeof(*wishes));

	if (wishes)
		stuck.suspects = calloc(size, sizeof(*stuck.suspects));
	if (stuck.suspects)
		list_suspects(wishes);
	free(wishes);
}

/* ---- looking ---- */

static void judge(struct device *device, int is_stuck)
{
	if (!is_stuck == !device->stuck)
		return;
	recorder_step(device->recorder, is_stuck ? "stuck" : "unstuck");
	if (device->stuck == STUCK_TOLD)
		log_notice("%s is not stuck any more", device->disk);
	device->stuck = is_stuck ? STUCK_UNTOLD : STUCK_NOT;
	stuck.untold += (unsigned)is_stuck;
	device_changed(device, DEVICE_CHANGE_STALL);
}

static struct device *next_device(void)
{
	struct device *device = stuck.set->first;

	while (device && device->spec.id < stuck.id)
		device = device->next;
	return device;
}

/* Returns 1 if there is more to be looked at. */
static int look_at_some(void)
{
	unsigned budget = TAGS;
	struct device *device;

	while ((device = next_device())) {
		uint64_t least = device->spec.stuck_after;

		/* The one that the look had come to may be gone. */
		if (device->spec.id != stuck.id) {
			stuck.cursor = (struct waits_cursor){ 0, 0 };
			memset(&stuck.facts, 0, sizeof(stuck.facts));
		}
		stuck.id = device->spec.id;
		if (budget == 0)
			return 1;
		budget--;
		if (least && waits_count(device, &stuck.cursor, &budget,
					 turns_now(), least, &stuck.facts))
			return 1;
		/* How long others wait is not known. */
		judge(device, verdict_age(&stuck.facts) != 0);
		stuck.is_busy |= device_owned(device) != 0;
		stuck.cursor = (struct waits_cursor){ 0, 0 };
		memset(&stuck.facts, 0, sizeof(stuck.facts));
		if (stuck.id == DEVICE_ID_ANY)
			break; /* those that come last have no number yet */
		stuck.id++;
	}
	stuck.id = 0;
	return 0;
}

static void on_parked(void)
{
	recorder_parked = NULL;
	loop_timer_start(stuck.set->loop, &stuck.timer, PERIOD);
}

static void __attribute__((cold)) on_look(struct loop_timer *timer)
{
	double after = PERIOD;
	int goes_on = 1;

	turns_enter(SIGHT_TIMERS, SIGHT_NO_SLOT);
	if (stuck.suspects && !stuck.is_asked) {
		if (tell_next())
			after = 0;
	} else if (look_at_some()) {
		after = 0;
	} else {
		if (stuck.untold && !stuck.suspects)
			ask_of_all();
		goes_on = stuck.is_busy || stuck.suspects;
		stuck.is_busy = 0;
	}
	if (goes_on)
		loop_timer_start(stuck.set->loop, timer, after);
	else
		recorder_parked = on_parked;
}

void stuck_watch(struct device_set *set)
{
	stuck.set = set;
	loop_timer_init(&stuck.timer, on_look, NULL);
	recorder_parked = on_parked;
}

void stuck_end(void)
{
	stuck.has_ended = 1;
	recorder_parked = NULL;
	if (!stuck.set)
		return;
	loop_timer_stop(stuck.set->loop, &stuck.timer);
	if (!stuck.is_asked)
		end_telling();
}
