/*
 * reload: what the configuration file says and what there is become the same, in
 * steps that are commands, each printed before anything is done. A device that
 * did not change is not touched.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "add.h"
#include "base/log.h"
#include "base/words.h"
#include "dump.h"
#include "gather.h"
#include "reload.h"
#include "verbs.h"

#define TURN 16 /* lines or devices looked at before others get a turn */

/* A line of the configuration that makes a device. */
struct wanted {
	struct wanted *next;
	char *words;
	const struct target_ops *target;
	uint32_t id; /* or DEVICE_ID_ANY */
	char name[DEVICE_NAME_MAX + 1];
	const char *path; /* where it stands */
	unsigned number;
	struct known *known; /* the device that there is of it, or NULL */
};

/* A device that there was when the reload began; another one may get its number. */
struct known {
	uint64_t serial;
	uint32_t id;
	const struct wanted *wanted; /* the line that it is of, or NULL */
};

enum what { DEL, KEEP, SET, RESIZE, ADD };

struct step {
	struct step *next;
	enum what what;
	uint64_t serial;   /* of its device; 0: that is to be added */
	char *line;	   /* the command; NULL: none */
	const char *fixed; /* the option that cannot change live, or NULL */
	const char *needs; /* replace=yes, because of this, or NULL */
	const struct step *after; /* it is done only if that was, or NULL */
	int done;
};

/* In this order: what is made may need what others have had. */
enum { FIRST, SECOND, LAST, ORDERS };

enum stage { WAIT, READ_LINES, MATCH, COMPARE, PRINT, RUN };

struct reload {
	struct request step_request; /* first: a request is its reload */
	struct session session;
	struct request *request;
	enum stage stage;
	int dry, replace, prune;
	struct config config;
	struct wanted *wanted, **last, *at;
	unsigned pass; /* of the matching */
	struct known *known;
	unsigned known_count;
	struct step *steps[ORDERS], **last_step[ORDERS];
	struct step *step; /* that is printed, or done, next */
	int order;	   /* in that list */
	unsigned number;   /* of the step, from 1 */
	unsigned changes, undone, skipped;
	int busy, running;
	struct failure failure;
};

static const char *const what_names[] = {
	[DEL] = "del", [KEEP] = "keep", [SET] = "set", [RESIZE] = "resize", [ADD] = "add"
};

/* ---- the end ---- */

static void drop_reload(struct request *request)
{
	struct reload *reload = request->work;
	struct wanted *wanted;
	struct step *step;
	int i;

	while ((wanted = reload->wanted)) {
		reload->wanted = wanted->next;
		free(wanted->words);
		free(wanted);
	}
	for (i = 0; i < ORDERS; i++) {
		while ((step = reload->steps[i])) {
			reload->steps[i] = step->next;
			free(step->line);
			free(step);
		}
	}
	config_free(&reload->config);
	free(reload->known);
	free(reload);
	request->host->reloads = 0;
	request->work = NULL;
	request->drop = NULL;
}

/* ---- reading ---- */

static int fail_at(struct reload *reload, struct failure *failure)
{
	config_locate(&reload->config, &reload->step_request.line, failure);
	return -1;
}

/* What is in the file already must not come again. */
static int check_new(const struct reload *reload, const struct wanted *fresh,
		     struct failure *failure)
{
	const struct wanted *wanted;
	const char *what = NULL;

	for (wanted = reload->wanted; wanted && !what; wanted = wanted->next) {
		if (fresh->id != DEVICE_ID_ANY && fresh->id == wanted->id)
			what = "id";
		else if (fresh->name[0] &&
			 strcmp(fresh->name, wanted->name) == 0)
			what = "name";
		if (what)
			failure_set(failure, SYMBOL_EXISTS, 0, what,
				    "%.100s:%u has the same %s", wanted->path,
				    wanted->number, what);
	}
	return what ? -1 : 0;
}

static int take_add(struct reload *reload, struct failure *failure)
{
	const struct syntax_line *line = &reload->step_request.line;
	struct wanted *wanted;
	struct add add;

	if (add_check(line, &add, failure) < 0)
		return -1;
	wanted = calloc(1, sizeof(*wanted));
	if (!wanted)
		return failure_no_memory(failure);
	wanted->target = add.target;
	wanted->id = add.spec.id;
	memcpy(wanted->name, add.spec.name, sizeof(wanted->name));
	wanted->path = reload->config.path;
	wanted->number = reload->config.number;
	wanted->words = words_join(line);
	if (!wanted->words || check_new(reload, wanted, failure) < 0) {
		if (!wanted->words)
			failure_no_memory(failure);
		free(wanted->words);
		free(wanted);
		return -1;
	}
	*reload->last = wanted;
	reload->last = &wanted->next;
	return 0;
}

/* Returns 1 for a line behind which nothing counts, 0, or -1. */
static int take_line(struct reload *reload, const char *text, size_t length,
		     struct failure *failure)
{
	struct request *request = &reload->step_request;
	const char *why;

	if (syntax_split(&request->line, text, length, &why) < 0)
		return failure_set(failure, SYMBOL_SYNTAX, 0, NULL, "%s", why);
	if (request->line.count == 0)
		return 0;
	if (strcmp(request->line.words[0], "add") == 0)
		return take_add(reload, failure);
	if (command_check(request, failure) < 0)
		return -1;
	if (request->command->access != ACCESS_READ)
		return failure_set(failure, SYMBOL_ARG, 0,
				   request->line.words[0],
				   "reload can have no %s in the "
				   "configuration; an add says all of a device",
				   request->line.words[0]);
	return strcmp(request->line.words[0], "quit") == 0;
}

/* The next few lines. Returns 1 if there are more, 0, or -1. */
static int read_lines(struct reload *reload, struct failure *failure)
{
	const char *text = NULL;
	size_t length;
	int i, result = 0;

	for (i = 0; i < TURN && result == 0; i++) {
		text = config_next(&reload->config, &length);
		if (!text)
			return 0;
		result = take_line(reload, text, length, failure);
	}
	if (result < 0)
		return fail_at(reload, failure);
	return result == 0;
}

/* ---- comparing ---- */

static int is_equal(const struct option *option, const struct option_value *one,
		    const struct option_value *other)
{
	if (one->number != other->number ||
	    (!option->fallback && one->given != other->given))
		return 0;
	if (option->type == OPTION_NAME || option->type == OPTION_TEXT ||
	    one->number == OPTION_IS_PATH)
		return !one->given || strcmp(one->text, other->text) == 0;
	return 1;
}

/* How a device differs from its line. */
struct difference {
	char set[ADD_TEXT_MAX]; /* the command that changes what can be set */
	char resize[80];	/* its size; "": it is the same */
	const char *fixed;	/* an option that cannot be changed, or NULL */
	int sets, shrinks, other_path;
};

/* Whether the size of a live device can be another one. */
static int can_resize(const struct device *device)
{
	uint64_t features = device->set->features;

	return device->spec.target->ops->resize &&
	       (!features || features & UBLK_F_UPDATE_SIZE);
}

static void compare_size(const struct device *device,
			 const struct option *option,
			 const struct option_value *wanted,
			 struct difference *difference)
{
	int is_said = wanted->given || option->fallback;
	size_t at;

	if (!can_resize(device)) {
		difference->fixed = option->name;
		return;
	}
	at = (size_t)snprintf(difference->resize, sizeof(difference->resize),
			      "resize id=%u ", device->spec.id);
	if (is_said)
		option_write(option, wanted, difference->resize + at,
			     sizeof(difference->resize) - at);
	else
		snprintf(difference->resize + at,
			 sizeof(difference->resize) - at, "size=auto");
	difference->shrinks = is_said &&
			      wanted->number < device->spec.geometry.size;
}

/* With mode=auto a line leaves the mode open, and any is what it asks for. */
static int is_left_open(const struct option *option,
			const struct option_value *wanted)
{
	return strcmp(option->name, "mode") == 0 &&
	       option_is_default(option, wanted);
}

static void compare_common(const struct add *is, const struct add *wanted,
			   struct difference *difference)
{
	const struct option *option = verb_add_options;
	size_t at = strlen(difference->set);
	int i;

	for (i = 0; option[i].name; i++) {
		if (strcmp(option[i].name, "id") == 0 ||
		    is_left_open(&option[i], &wanted->common[i]) ||
		    is_equal(&option[i], &is->common[i], &wanted->common[i]))
			continue;
		if (option_find(layer_options, option[i].name,
				strlen(option[i].name)) < 0) {
			difference->fixed = option[i].name;
			continue;
		}
		difference->sets = 1;
		difference->set[at++] = ' ';
		at += option_write(&option[i], &wanted->common[i],
				   difference->set + at,
				   sizeof(difference->set) - at);
	}
}

static void compare_fixed(const struct option *option,
			  const struct option_value *is,
			  const struct option_value *wanted,
			  struct difference *difference)
{
	difference->fixed = option->name;
	if (option->type == OPTION_PATH && is->number == OPTION_IS_PATH &&
	    wanted->number == OPTION_IS_PATH)
		difference->other_path = 1;
}

static int compare(const struct device *device, const struct wanted *line,
		   struct difference *difference, struct failure *failure)
{
	struct syntax_line is_line, wanted_line;
	struct add is, wanted;
	const struct option *option;
	int i;

	memset(difference, 0, sizeof(*difference));
	if (add_read_words(device->spec.words, &is_line, &is, failure) < 0 ||
	    add_read_words(line->words, &wanted_line, &wanted, failure) < 0)
		return -1;
	if (is.target != wanted.target) {
		difference->fixed = "target";
		return 0;
	}
	snprintf(difference->set, sizeof(difference->set), "set id=%u",
		 device->spec.id);
	compare_common(&is, &wanted, difference);
	option = is.target->options;
	for (i = 0; option[i].name; i++) {
		if (is_equal(&option[i], &is.values[i], &wanted.values[i]))
			continue;
		if (strcmp(option[i].name, "size") == 0)
			compare_size(device, &option[i], &wanted.values[i],
				     difference);
		else
			compare_fixed(&option[i], &is.values[i],
				      &wanted.values[i], difference);
	}
	return 0;
}

/* ---- matching lines with devices ---- */

static int snapshot(struct reload *reload, struct failure *failure)
{
	const struct device_set *set = &reload->request->host->devices;
	const struct device *device;

	struct known *known;

	reload->known_count = 0;
	reload->known = calloc(set->count + 1, sizeof(*reload->known));
	if (!reload->known) {
		failure_no_memory(failure);
		return -1;
	}
	for (device = set->first; device; device = device->next) {
		if (!dump_has(device))
			continue;
		known = &reload->known[reload->known_count++];
		known->serial = device->serial;
		known->id = device->spec.id;
	}
	return 0;
}

/*
 * Walk through the known devices that are still there: the next one, from *known
 * and *device on, that no line is of. Both are in the order of the numbers, so that
 * all are found in one pass; a number may be that of several devices, of which all
 * but one are deleted. Returns NULL behind the last one.
 */
static struct known *next_free(const struct reload *reload, struct known *known,
			       struct device **device)
{
	const struct known *end = reload->known + reload->known_count;
	struct device *at = *device;

	for (; known < end; known++) {
		while (at && (at->spec.id < known->id ||
			      (at->spec.id == known->id &&
			       at->serial != known->serial)))
			at = at->next;
		*device = at;
		if (at && at->serial == known->serial && !known->wanted)
			return known;
	}
	return NULL;
}

/* NULL: it is not there any more. */
static struct device *find_device(const struct reload *reload, uint64_t serial)
{
	return device_find_serial(&reload->request->host->devices, serial);
}

/* A line that has a number or a name is of the device that has it, too. */
static int is_named(const struct device *device, const struct wanted *wanted)
{
	if (wanted->id != DEVICE_ID_ANY)
		return device->spec.id == wanted->id;
	return strcmp(device->spec.name, wanted->name) == 0;
}

/* One without is of a device that came from the configuration and is the same, */
static int is_same(const struct device *device, const struct wanted *wanted)
{
	return device->spec.configured &&
	       strcmp(device->spec.words, wanted->words) == 0;
}

static int is_of_target(const struct device *device,
			const struct wanted *wanted)
{
	size_t length = strlen(wanted->target->name);
	const char *words = device->spec.words;

	return device->spec.configured && !device->spec.name[0] &&
	       strncmp(words, "add ", 4) == 0 &&
	       strncmp(words + 4, wanted->target->name, length) == 0 &&
	       (words[4 + length] == ' ' || !words[4 + length]);
}

/* or can become so while it is there, */
static int is_changeable(const struct device *device,
			 const struct wanted *wanted)
{
	struct difference difference;
	struct failure failure;

	return is_of_target(device, wanted) &&
	       compare(device, wanted, &difference, &failure) == 0 &&
	       !difference.fixed;
}

/* or is one of the same that nobody knows to be from there, */
static int is_same_by_hand(const struct device *device,
			   const struct wanted *wanted)
{
	return strcmp(device->spec.words, wanted->words) == 0;
}

/* or of the next one of the same target that has no other path. */
static int is_similar(const struct device *device, const struct wanted *wanted)
{
	struct difference difference;
	struct failure failure;

	return is_of_target(device, wanted) &&
	       compare(device, wanted, &difference, &failure) == 0 &&
	       !difference.other_path;
}

/*
 * Each for all lines before the next one, so that nothing takes what fits another
 * one better. The first is for lines with a number or a name, all others are not.
 */
typedef int line_fits(const struct device *device, const struct wanted *wanted);
static line_fits *const passes[] = {
	is_named, is_same, is_changeable, is_same_by_hand, is_similar,
};

#define PASSES (sizeof(passes) / sizeof(passes[0]))

static void match_line(const struct reload *reload, struct wanted *wanted,
		       line_fits *fits)
{
	struct device *device = reload->request->host->devices.first;
	struct known *known = next_free(reload, reload->known, &device);

	while (known && !fits(device, wanted))
		known = next_free(reload, known + 1, &device);
	if (!known)
		return;
	known->wanted = wanted;
	wanted->known = known;
}

/* The next line, which may have to be compared with all devices. */
static int match_next(struct reload *reload)
{
	struct wanted *wanted = reload->at;

	while (wanted && (wanted->known ||
			  (reload->pass == 0) != (wanted->id != DEVICE_ID_ANY ||
						  wanted->name[0])))
		wanted = wanted->next;
	if (wanted) {
		match_line(reload, wanted, passes[reload->pass]);
		reload->at = wanted->next;
		return 1;
	}
	reload->at = reload->wanted;
	return ++reload->pass < PASSES;
}

/* ---- the plan ---- */

static struct step *add_step(struct reload *reload, int order, enum what what,
			     uint64_t serial, const char *line)
{
	struct step *step = calloc(1, sizeof(*step));

	if (!step)
		return NULL;
	step->what = what;
	step->serial = serial;
	if (line) {
		step->line = strdup(line);
		if (!step->line) {
			free(step);
			return NULL;
		}
		reload->changes++;
	}
	*reload->last_step[order] = step;
	reload->last_step[order] = &step->next;
	return step;
}

static struct step *plan_del(struct reload *reload, const struct device *device,
			     const char *fixed)
{
	char line[60];
	struct step *step;

	snprintf(line, sizeof(line), "del id=%u%s", device->spec.id,
		 reload->replace ? " force=yes" : "");
	step = add_step(reload, FIRST, DEL, device->serial, line);
	if (!step)
		return NULL;
	step->fixed = fixed;
	if (device->spec.target->ops->is_private)
		step->needs = "its data are lost";
	return step;
}

static int plan_add(struct reload *reload, const struct wanted *wanted,
		    const struct step *after)
{
	struct step *step = add_step(reload, LAST, ADD, 0, wanted->words);

	if (!step)
		return -1;
	step->after = after;
	return 0;
}

static int plan_change(struct reload *reload, const struct device *device,
		       const struct difference *difference)
{
	uint64_t serial = device->serial;
	struct step *step;

	if (!difference->sets && !difference->resize[0])
		return add_step(reload, SECOND, KEEP, serial, NULL) ? 0 : -1;
	if (difference->sets &&
	    !add_step(reload, SECOND, SET, serial, difference->set))
		return -1;
	if (!difference->resize[0])
		return 0;
	step = add_step(reload, SECOND, RESIZE, serial, difference->resize);
	if (!step)
		return -1;
	if (difference->shrinks)
		step->needs = "what lies behind its new end is lost";
	return 0;
}

/* What becomes of a line. */
static int plan_line(struct reload *reload, const struct wanted *wanted,
		     struct failure *failure)
{
	const struct device *device =
		wanted->known ? find_device(reload, wanted->known->serial)
			      : NULL;
	struct difference difference;
	struct step *del;

	if (!device)
		return plan_add(reload, wanted, NULL) < 0
			       ? failure_no_memory(failure)
			       : 0;
	if (compare(device, wanted, &difference, failure) < 0)
		return -1;
	if (!difference.fixed)
		return plan_change(reload, device, &difference) < 0
			       ? failure_no_memory(failure)
			       : 0;
	del = plan_del(reload, device, difference.fixed);
	if (del && !del->needs && !device->spec.configured)
		del->needs = "it was added by hand";
	return !del || plan_add(reload, wanted, del) < 0
		       ? failure_no_memory(failure)
		       : 0;
}

static int plan_lines(struct reload *reload, struct failure *failure)
{
	int i;

	for (i = 0; i < TURN && reload->at; i++, reload->at = reload->at->next)
		if (plan_line(reload, reload->at, failure) < 0)
			return -1;
	return reload->at != NULL;
}

/* Devices that no line is of. One that was added by hand stays. */
static int plan_rest(struct reload *reload, struct failure *failure)
{
	struct device *device = reload->request->host->devices.first;
	struct known *known = next_free(reload, reload->known, &device);

	for (; known; known = next_free(reload, known + 1, &device))
		if ((device->spec.configured || reload->prune) &&
		    !plan_del(reload, device, NULL))
			return failure_no_memory(failure);
	return 0;
}

/* ---- what is printed ---- */

/* To the first step, or the next one. Returns whether there is one. */
static int next_step(struct reload *reload, int first)
{
	if (first) {
		reload->order = reload->number = 0;
		reload->step = reload->steps[0];
	} else {
		reload->step = reload->step->next;
	}
	while (!reload->step && ++reload->order < ORDERS)
		reload->step = reload->steps[reload->order];
	reload->number++;
	return reload->step != NULL;
}

static void print_step(struct reload *reload)
{
	const struct step *step = reload->step;
	const struct device *device = find_device(reload, step->serial);
	char line[2 * ADD_TEXT_MAX], which[DEVICE_NAME_MAX + 40] = "";
	char why[120] = "";

	if (device)
		snprintf(which, sizeof(which), " id=%u name=%s",
			 device->spec.id, device_name(device));
	syntax_quote_text(line, REQUEST_LINE_MAX - 512,
			  step->line ? step->line : "");
	if (step->fixed)
		snprintf(why, sizeof(why), " fixed=%s", step->fixed);
	request_print(reload->request, "plan step=%u do=%s%s%s%s%s%s%s%s%s",
		      reload->number, what_names[step->what], which,
		      step->line ? " command=" : "", step->line ? line : "",
		      why, step->needs ? " needs=replace why=\"" : "",
		      step->needs ? step->needs : "", step->needs ? "\"" : "",
		      device && !device->spec.configured ? " was=by-hand" : "");
}

/* Returns 1 if there are more. */
static int print_steps(struct reload *reload)
{
	int i;

	for (i = 0; i < TURN && reload->step; i++) {
		print_step(reload);
		next_step(reload, 0);
	}
	return reload->step != NULL;
}

/* `why` NULL: it is done. */
static void tell_result(struct reload *reload, const char *result,
			const char *symbol, const char *why)
{
	char text[4 * sizeof(reload->failure.text)];

	syntax_quote_text(text, sizeof(text), why ? why : "");
	request_print(reload->request, "done step=%u result=%s%s%s%s%s",
		      reload->number, result, symbol ? " symbol=" : "",
		      symbol ? symbol : "", why ? " text=" : "",
		      why ? text : "");
}

/* ---- doing it ---- */

static void run_steps(struct reload *reload);

static void finish_reload(struct reload *reload)
{
	struct request *request = reload->request;
	unsigned changes = reload->changes, undone = reload->undone;
	unsigned skipped = reload->skipped;
	struct failure failure;

	drop_reload(request);
	if (!undone) {
		request_ok(request, " done=%u", changes);
		return;
	}
	failure_set(&failure, skipped == undone ? SYMBOL_BUSY : SYMBOL_STATE, 0,
		    NULL, "%u of %u steps were not done%s", undone, changes,
		    skipped ? "; some need replace=yes" : "");
	request_fail(request, &failure);
}

static void drop_reply(struct request *request, const char *text, size_t length)
{
	(void)request;
	(void)text;
	(void)length;
}

static void on_claimed(void *context, struct device *device,
		       const struct failure *failure)
{
	struct reload *reload = context;

	(void)device;
	(void)failure;
	reload->busy = 0;
	if (!reload->running)
		run_steps(reload);
}

/*
 * A device that was added by hand is from the configuration now. That may have
 * ended when device_claim() returns, and who has called this goes on.
 */
static void claim(struct reload *reload, const struct step *step)
{
	struct device *device = find_device(reload, step->serial);
	int running = reload->running;
	struct failure failure;

	if (step->what == DEL || !device || device->spec.configured)
		return;
	reload->busy = reload->running = 1;
	if (device_claim(device, on_claimed, reload, &failure) < 0)
		reload->busy = 0;
	reload->running = running;
}

static void on_step_done(struct request *request, const struct failure *failure)
{
	struct reload *reload = (struct reload *)request;
	int is_busy = failure && failure->symbol == SYMBOL_BUSY;
	struct step *step = reload->step;

	reload->busy = 0;
	step->done = !failure;
	reload->undone += failure != NULL;
	if (failure)
		tell_result(reload, "failed", symbol_name(failure->symbol),
			    failure->text);
	else
		tell_result(reload, "ok", NULL, NULL);
	reload->skipped += is_busy && step->what == DEL;
	next_step(reload, 0);
	if (!failure)
		claim(reload, step);
	if (!reload->running && !reload->busy)
		run_steps(reload);
}

static void run_command(struct reload *reload, const char *line)
{
	struct request *request = &reload->step_request;
	const char *why;

	/* The line was read before, or made from what was. */
	if (syntax_split(&request->line, line, strlen(line), &why) < 0) {
		request->command = NULL;
		request_refuse(request, SYMBOL_INTERNAL, why);
		return;
	}
	if (command_run(request))
		while (command_continue(request))
			;
}

/* The device may have gone since the plan was made, and its number be another's. */
static void fail_gone(struct reload *reload)
{
	reload->undone++;
	tell_result(reload, "failed", symbol_name(SYMBOL_NOTFOUND),
		    "the device is not there any more");
	next_step(reload, 0);
}

/* A step that is not even tried. */
static void skip_step(struct reload *reload, const char *why)
{
	reload->undone++;
	reload->skipped++;
	tell_result(reload, "skipped", NULL, why);
	next_step(reload, 0);
}

static void run_step(struct reload *reload)
{
	const struct step *step = reload->step;

	if (step->needs && !reload->replace) {
		skip_step(reload, "it needs replace=yes");
	} else if (step->after && !step->after->done) {
		skip_step(reload, "the device before it is still there");
	} else if (step->serial && !find_device(reload, step->serial)) {
		fail_gone(reload);
	} else if (step->line) {
		reload->busy = 1;
		run_command(reload, step->line);
	} else {
		next_step(reload, 0);
		claim(reload, step);
	}
}

static void run_steps(struct reload *reload)
{
	reload->running = 1;
	while (!reload->busy && reload->step)
		run_step(reload);
	reload->running = 0;
	if (!reload->busy)
		finish_reload(reload);
}

/* ---- turn by turn ---- */

/* Returns 1 to be called again, 0 when the request is done or goes on, or -1. */
static int go_on(struct reload *reload, struct failure *failure)
{
	struct request *request = reload->request;
	unsigned changes = reload->changes;
	int result;

	switch (reload->stage) {
	case READ_LINES:
		result = read_lines(reload, failure);
		if (result)
			return result;
		reload->stage = MATCH;
		reload->at = reload->wanted;
		return snapshot(reload, failure) < 0 ? -1 : 1;
	case MATCH:
		if (!match_next(reload))
			reload->stage = COMPARE;
		return 1;
	case COMPARE:
		result = plan_lines(reload, failure);
		if (result)
			return result;
		reload->stage = PRINT;
		if (plan_rest(reload, failure) < 0)
			return -1;
		next_step(reload, 1);
		return 1;
	case PRINT:
		if (print_steps(reload))
			return 1;
		if (reload->dry) {
			drop_reload(request);
			request_ok(request, " changes=%u", changes);
			return 0;
		}
		reload->stage = RUN;
		next_step(reload, 1);
		run_steps(reload);
		return 0;
	default:
		return 0;
	}
}

static void on_text(void *context, struct config *config,
		    const struct failure *failure)
{
	struct reload *reload = context;
	struct request *request = reload->request;

	if (failure) {
		drop_reload(request);
		request_fail(request, failure);
		return;
	}
	reload->config = *config;
	reload->stage = READ_LINES;
	request->go_on(request);
}

static int begin(struct request *request, struct failure *failure)
{
	struct reload *reload;
	int i;

	if (request->host->reloads)
		return failure_set(failure, SYMBOL_BUSY, 0, NULL,
				   "another reload is under way");
	reload = calloc(1, sizeof(*reload));
	if (!reload)
		return failure_no_memory(failure);
	reload->request = request;
	reload->dry = request->values[VERB_RELOAD_DRY].number != 0;
	reload->replace = request->values[VERB_RELOAD_REPLACE].number != 0;
	reload->prune = request->values[VERB_RELOAD_PRUNE].number != 0;
	reload->last = &reload->wanted;
	for (i = 0; i < ORDERS; i++)
		reload->last_step[i] = &reload->steps[i];
	reload->step_request.host = request->host;
	reload->step_request.session = &reload->session;
	reload->step_request.configures = CONFIGURES_RELOAD;
	reload->step_request.uid = request->uid;
	reload->step_request.pid = request->pid;
	reload->step_request.emit = drop_reply;
	reload->step_request.done = on_step_done;
	request->work = reload;
	request->drop = drop_reload;
	request->host->reloads = 1;
	/* That the file is missing does not mean: delete all. */
	if (gather_config(config_path(request->host->config), HELPER_CONFIG,
			  on_text, reload, failure) == 0)
		return 0;
	drop_reload(request);
	return -1;
}

int verb_reload(struct request *request, struct failure *failure)
{
	int result;

	if (!request->work)
		return begin(request, failure);
	result = go_on(request->work, failure);
	if (result < 0)
		drop_reload(request);
	return result;
}

/* ---- by a signal ---- */

/* Nobody reads the reply but the log. */
struct unasked {
	struct request request; /* first: a request is the whole */
	struct session session;
	struct loop_timer timer; /* of its next turn */
	unsigned kept;		 /* devices that stay as they are */
};

/* "plan step=7 do=keep id=..." */
static int is_kept(const char *text, size_t length)
{
	static const char kept[] = " do=keep ";

	return memmem(text, length < 40 ? length : 40, kept,
		      sizeof(kept) - 1) != NULL;
}

/* A host has many devices, and few of them change. */
static void log_reply(struct request *request, const char *text, size_t length)
{
	struct unasked *unasked = (struct unasked *)request;

	if (length > 1 && is_kept(text, length))
		unasked->kept++;
	else if (length > 1)
		log_notice("reload: %.*s", (int)length, text);
}

static void on_unasked_done(struct request *request,
			    const struct failure *failure)
{
	const struct unasked *unasked = (struct unasked *)request;

	(void)failure;
	if (unasked->kept)
		log_notice("reload: %u devices stay as they were",
			   unasked->kept);
	free(request);
}

/* The next turn comes when others have had theirs. */
static void await_turn(struct request *request)
{
	struct unasked *unasked = (struct unasked *)request;

	loop_timer_start(request->host->devices.loop, &unasked->timer, 0);
}

static void on_turn(struct loop_timer *timer)
{
	struct unasked *unasked = timer->data;

	if (command_continue(&unasked->request))
		await_turn(&unasked->request);
}

void reload_unasked(struct command_host *host)
{
	static const char line[] = "reload";
	struct unasked *unasked = calloc(1, sizeof(*unasked));
	const char *why;

	if (!unasked)
		return;
	unasked->request.host = host;
	unasked->request.session = &unasked->session;
	unasked->request.pid = getppid();
	unasked->request.emit = log_reply;
	unasked->request.done = on_unasked_done;
	unasked->request.go_on = await_turn;
	loop_timer_init(&unasked->timer, on_turn, unasked);
	if (syntax_split(&unasked->request.line, line, sizeof(line) - 1,
			 &why) == 0 &&
	    command_run(&unasked->request))
		await_turn(&unasked->request);
}
