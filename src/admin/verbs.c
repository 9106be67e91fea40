#include "verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "target/ask.h"
#include "command.h"
#include "base/feature.h"
#include "base/hint.h"
#include "base/log.h"
#include "io/recorder.h"

#define LIST_TURN	 16   /* devices listed before others get a turn */
#define UPGRADE_PATIENCE 30.0 /* s for the next keeper to take over */

/* ---- a device named by id=, name= or a bare word ---- */

static const char *first_word(const struct request *request)
{
	size_t length;
	int i;

	for (i = 1; i < request->line.count; i++)
		if (!syntax_value(request->line.words[i], &length))
			return request->line.words[i];
	return NULL;
}

/* A disk's own name has a number, which no other one is meant for. */
static void fail_unknown(const struct device_set *set, const char *which,
			 struct failure *failure)
{
	const struct device *device;
	struct hint hint;

	hint_begin(&hint, which, strlen(which));
	for (device = set->first; device; device = device->next)
		if (device->spec.name[0])
			hint_offer(&hint, device->spec.name);
	failure_set(failure, SYMBOL_NOTFOUND, 0, which,
		    "there is no such device; %s'list' shows all",
		    hint_text(&hint));
}

struct device *verb_find_word(struct device_set *set, const char *word,
			      struct failure *failure)
{
	const char *name = strncmp(word, "/dev/", 5) == 0 ? word + 5 : word;
	struct device *device;
	uint64_t id;

	if (syntax_number(name, &id) == 0 && id < DEVICE_ID_ANY)
		device = device_find(set, (uint32_t)id);
	else
		device = device_find_name(set, name);
	if (!device)
		fail_unknown(set, word, failure);
	return device;
}

int verb_names_device(const struct request *request)
{
	return request->values[VERB_DEVICE_ID].given ||
	       request->values[VERB_DEVICE_NAME].given || first_word(request);
}

struct device *verb_find_device(const struct request *request,
				struct failure *failure)
{
	const struct option_value *id = &request->values[VERB_DEVICE_ID];
	const struct option_value *name = &request->values[VERB_DEVICE_NAME];
	struct device_set *set = &request->host->devices;
	const char *word = first_word(request), *which;
	struct device *device;

	if (id->given + name->given + (word != NULL) != 1) {
		failure_set(failure, SYMBOL_ARG, 0, NULL,
			    "name one device: id=N, name=NAME or just N");
		return NULL;
	}
	if (id->given) {
		which = id->text;
		device = device_find(set, (uint32_t)id->number);
	} else if (name->given) {
		which = name->text;
		device = device_find_name(set, name->text);
	} else {
		return verb_find_word(set, word, failure);
	}
	if (!device)
		fail_unknown(set, which, failure);
	return device;
}

/* ---- list and show ---- */

/*
 * Why a device is not served, and when that is tried again. Returns the length.
 */
static size_t format_lost(const struct device *device, char *text, size_t size)
{
	char why[4 * DEVICE_WHY_MAX + 4];
	double left = device_retry_in(device);
	int at = 0;

	if (device->why) {
		syntax_quote_text(why, sizeof(why), device->why);
		at = snprintf(text, size, " error=%s", why);
	}
	if (left >= 0)
		at += snprintf(text + at, size - (size_t)at, " retry-in=%d",
			       (int)left + 1);
	return (size_t)at;
}

static void print_device(struct request *request, const struct device *device)
{
	const struct device_spec *spec = &device->spec;
	char more[2048 + DEVICE_WHY_MAX] = "";
	const char *waits = "";
	size_t at = 0;

	if (device->step == DEVICE_RECOVER && device->waited)
		waits = " waits-for=dead-server";
	else if (device->step == DEVICE_CLOSE)
		waits = " waits-for=file";
	else if (device->step == DEVICE_LINGER)
		waits = " waits-for=backing";
	else if (device->rests)
		waits = " waits-for=resume";
	if (device->step == DEVICE_LOST)
		at = format_lost(device, more, sizeof(more));
	if (spec->owner[0])
		at += (size_t)snprintf(more + at, sizeof(more) - at,
				       " owner=%s", spec->owner);
	if (spec->node_mode)
		at += (size_t)snprintf(more + at, sizeof(more) - at,
				       " node-mode=%04o", spec->node_mode);
	if (spec->target->ops->describe)
		spec->target->ops->describe(spec->target, more + at,
					    sizeof(more) - at);
	request_print(request,
		      "dev id=%u name=%s state=%s step=%s target=%s size=%llu "
		      "dev=/dev/%s ro=%s queues=%u depth=%u block-size=%u "
		      "max-io=%u mode=%s batch=%s%s%s",
		      spec->id, device_name(device), device_state(device),
		      device_step_name(device), spec->target->ops->name,
		      (unsigned long long)spec->geometry.size, device->disk,
		      spec->read_only ? "yes" : "no", spec->queues, spec->depth,
		      spec->geometry.block_size, spec->max_io,
		      io_mode_name(spec->mode), spec->batch ? "yes" : "no",
		      waits, more);
}

static int is_or_any(const struct option_value *value, const char *text)
{
	return !value->given || strcmp(value->text, text) == 0;
}

static int is_listed(const struct option_value *values,
		     const struct device *device)
{
	return device->disk[0] &&
	       is_or_any(&values[VERB_LIST_NAME], device_name(device)) &&
	       is_or_any(&values[VERB_LIST_TARGET],
			 device->spec.target->ops->name) &&
	       is_or_any(&values[VERB_LIST_STATE], device_state(device));
}

void verb_finish_listing(struct request *request)
{
	request_ok(request, " seq=%llu", (unsigned long long)request->seq);
}

int verb_list(struct request *request, struct failure *failure)
{
	const struct option_value *target = &request->values[VERB_LIST_TARGET];
	const struct device *device = request->host->devices.first;
	int turn = 0;

	if (target->given && !target_find(target->text))
		return target_fail_unknown(target->text, failure);
	for (; device; device = device->next) {
		if (device->spec.id < request->cursor ||
		    !is_listed(request->values, device))
			continue;
		if (turn++ == LIST_TURN)
			return 1;
		print_device(request, device);
		request->cursor = (uint64_t)device->spec.id + 1;
	}
	verb_finish_listing(request);
	return 0;
}

static void print_layers(struct request *request, const struct layers *layers)
{
	const struct layer *layer;
	char more[100];
	int i;

	for (i = 0; i < LAYER_KINDS; i++) {
		layer = layers->layer[i];
		if (!layer)
			continue;
		layer->ops->describe(layer, more, sizeof(more));
		request_print(request, "layer name=%s%s", layer->ops->name,
			      more);
	}
}

static void print_queue(struct request *request, const struct queue *queue)
{
	const struct io_port *port = &queue->port;

	request_print(request,
		      "queue id=%u depth=%u owned=%u reads=%llu "
		      "read-bytes=%llu writes=%llu write-bytes=%llu "
		      "flushes=%llu discards=%llu write-zeroes=%llu "
		      "errors=%llu",
		      port->queue_id, queue->depth, port->owned,
		      (unsigned long long)port->count[IO_READ],
		      (unsigned long long)port->bytes[IO_READ],
		      (unsigned long long)port->count[IO_WRITE],
		      (unsigned long long)port->bytes[IO_WRITE],
		      (unsigned long long)port->count[IO_FLUSH],
		      (unsigned long long)port->count[IO_DISCARD],
		      (unsigned long long)port->count[IO_WRITE_ZEROES],
		      (unsigned long long)port->errors);
}

int verb_show(struct request *request, struct failure *failure)
{
	const struct device *device = verb_find_device(request, failure);
	char words[2 * SYNTAX_LINE_MAX];
	unsigned first = (unsigned)request->cursor, i;

	if (!device)
		return -1;
	if (first == 0) {
		print_device(request, device);
		syntax_quote_text(words, sizeof(words), device->spec.words);
		request_print(request, "config text=%s", words);
		print_layers(request, &device->spec.layers);
	}
	for (i = first; i < device->open_queues; i++) {
		if (i == first + LIST_TURN) {
			request->cursor = i;
			return 1;
		}
		print_queue(request, &device->queues[i]);
	}
	verb_finish_listing(request);
	return 0;
}

/* ---- resize ---- */

void verb_tell_unserved(const struct device *device, char *text, size_t size)
{
	const struct geometry *geometry = &device->spec.geometry;

	text[0] = '\0';
	if (!geometry->unserved)
		return;
	snprintf(text, size, " unserved=%u", geometry->unserved);
	log_warning("%s: the last %u bytes of its file are not served: they "
		    "are no whole block of %u",
		    device->disk, geometry->unserved, geometry->block_size);
}

static void on_resized(void *context, struct device *device,
		       const struct failure *failure)
{
	struct request *request = context;
	char unserved[32];

	if (failure) {
		request_fail(request, failure);
		return;
	}
	verb_tell_unserved(device, unserved, sizeof(unserved));
	request_ok(request, " id=%u size=%llu%s", device->spec.id,
		   (unsigned long long)device->spec.geometry.size, unserved);
}

int verb_resize(struct request *request, struct failure *failure)
{
	uint64_t size = request->values[VERB_RESIZE_SIZE].number;
	struct device *device = verb_find_device(request, failure);

	return device ? device_resize(device, size ? size : DEVICE_SIZE_AUTO,
				      on_resized, request, failure)
		      : -1;
}

/* ---- shutdown ---- */

/* The keeper looks who uses the devices, and says STOP_ALL then. */
static void begin_shutdown(struct request *request)
{
	struct message message = {
		.magic = MESSAGE_MAGIC,
		.type = MESSAGE_SHUTDOWN,
		.number = request->values[VERB_SHUTDOWN_TIMEOUT].number
	};
	struct command_host *host = request->host;

	request->next = host->leaving;
	host->leaving = request;
	host->stopping = 1;
	channel_send(host->devices.channel, &message, NULL, 0);
}

/* Ask one device after the other whether it is in use; all are told of. */
static int check_next(struct request *request, struct failure *failure);

static void on_checked(void *context, struct device *device,
		       const struct failure *failure)
{
	struct request *request = context;
	struct failure next;
	char text[4 * sizeof(failure->text)];

	request->cursor = (uint64_t)device->spec.id + 1;
	if (failure && failure->symbol != SYMBOL_BUSY &&
	    !request->host->stopping) {
		request_fail(request, failure);
		return;
	}
	if (failure) {
		syntax_quote_text(text, sizeof(text), failure->text);
		request_print(request, "busy id=%u name=%s text=%s",
			      device->spec.id, device_name(device), text);
		request->busy++;
	}
	if (check_next(request, &next) < 0)
		request_fail(request, &next);
}

static int check_next(struct request *request, struct failure *failure)
{
	struct device *device = request->host->devices.first;

	while (device && (device->spec.id < request->cursor ||
			  strcmp(device_state(device), "deleting") == 0))
		device = device->next;
	if (!device && request->busy && !request->host->stopping)
		return failure_set(failure, SYMBOL_BUSY, 0, NULL,
				   "devices in use: %u; nothing has changed; "
				   "force=yes does not ask",
				   request->busy);
	if (device && !request->host->stopping)
		return device_check(device, on_checked, request, failure);
	begin_shutdown(request);
	return 0;
}

int verb_shutdown(struct request *request, struct failure *failure)
{
	if (!request->values[VERB_SHUTDOWN_FORCE].number)
		return check_next(request, failure);
	begin_shutdown(request);
	return 0;
}

void command_stop_all(struct command_host *host)
{
	host->stopping = 1;
	device_delete_all(&host->devices);
}

void command_answer_leaving(struct command_host *host)
{
	struct request *request;

	while ((request = host->leaving)) {
		host->leaving = request->next;
		request_ok(request, "%s", "");
	}
}

/* ---- upgrade ---- */

/* Whether another server can take the device over without a failed request. */
static int can_upgrade(const struct device *device, int force,
		       struct failure *failure)
{
	if (device_check_idle(device, NULL, failure) < 0)
		return -1;
	if (!force && device->spec.recovery != RECOVERY_REISSUE)
		return failure_set(failure, SYMBOL_BUSY, EBUSY, NULL,
				   "device %u has another recovery than "
				   "reissue: its users would see errors; "
				   "force=yes does not ask",
				   device->spec.id);
	return 0;
}

int verb_upgrade(struct request *request, struct failure *failure)
{
	struct command_host *host = request->host;
	const struct option_value *values = request->values;
	const struct device *device;
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_UPGRADE };
	int error;

	for (device = host->devices.first; device; device = device->next)
		if (can_upgrade(device, values[VERB_UPGRADE_FORCE].number != 0,
				failure) < 0)
			return -1;
	if (values[VERB_UPGRADE_PROGRAM].given)
		snprintf(message.text, sizeof(message.text), "%s",
			 values[VERB_UPGRADE_PROGRAM].text);
	error = channel_send(host->devices.channel, &message, NULL, 0);
	if (error)
		return failure_set(failure, SYMBOL_STATE, error, NULL,
				   "the keeper cannot be asked: %s",
				   strerror(-error));
	host->upgrade = request;
	return 0;
}

void command_answer_upgraded(struct command_host *host,
			     const struct failure *failure)
{
	struct request *request = host->upgrade;

	if (!request)
		return;
	host->upgrade = NULL;
	loop_timer_stop(host->devices.loop, &host->upgrade_timer);
	if (failure)
		request_fail(request, failure);
	else
		request_ok(request, "%s", "");
}

static void on_upgrade_late(struct loop_timer *timer)
{
	struct failure failure;

	failure_set(&failure, SYMBOL_STATE, ETIMEDOUT, NULL,
		    "the new program has not taken over; the devices are "
		    "served on, without a keeper");
	command_answer_upgraded(timer->data, &failure);
}

/* ---- the rest ---- */

int verb_ping(struct request *request, struct failure *failure)
{
	(void)failure;
	request_ok(request, "%s", "");
	return 0;
}

/* Whoever has the session reads nothing more from it. */
int verb_quit(struct request *request, struct failure *failure)
{
	(void)failure;
	request->session->quits = 1;
	request_ok(request, "%s", "");
	return 0;
}

int verb_version(struct request *request, struct failure *failure)
{
	int keeper = request->host->keeper_gone ? 0 : (int)getppid();

	(void)failure;
	request_ok(request, " version=%s proto=%d pid=%d keeper-pid=%d",
		   PACKAGE_VERSION, COMMAND_PROTO, (int)getpid(), keeper);
	return 0;
}

/*
 * A command whose only word is one of two. Returns 1 for the first, 0 for the second,
 * or -1 with *failure filled.
 */
static int choose(const struct request *request, const char *first,
		  const char *second, struct failure *failure)
{
	const char *word = request->line.count > 1 ? request->line.words[1]
						   : "";

	if (strcmp(word, first) == 0)
		return 1;
	if (strcmp(word, second) == 0)
		return 0;
	return failure_set(failure, SYMBOL_ARG, 0, word, "%s takes %s or %s",
			   request->command->verb, first, second);
}

int verb_on_error(struct request *request, struct failure *failure)
{
	int stop = choose(request, "stop", "continue", failure);

	if (stop < 0)
		return -1;
	request->session->stop_on_error = stop;
	request->session->failed = 0;
	request_ok(request, "%s", "");
	return 0;
}

int verb_prompt(struct request *request, struct failure *failure)
{
	int prompts = choose(request, "on", "off", failure);

	if (prompts < 0)
		return -1;
	request->session->prompts = prompts;
	request_ok(request, "%s", "");
	return 0;
}

#ifndef WITHOUT_JSON
int verb_format(struct request *request, struct failure *failure)
{
	int json = choose(request, "json", "lines", failure);

	if (json < 0)
		return -1;
	request->session->json = json;
	request_ok(request, "%s", "");
	return 0;
}
#endif

/* ---- features ---- */

static void answer_features(struct request *request, uint64_t have)
{
	const struct feature *feature;
	uint64_t unknown = have;
	char more[40] = "";

	for (feature = feature_table; feature->name; feature++) {
		request_print(request, "feature name=%s have=%s required=%s",
			      feature->name, have & feature->bit ? "yes" : "no",
			      feature->required ? "yes" : "no");
		unknown &= ~feature->bit;
	}
	if (BUILD_WITHOUT[0])
		request_print(request, "build without=%s", BUILD_WITHOUT);
	request_print(request, "recorder on=%s",
		      recorder_is_on() ? "yes" : "no");
	if (unknown)
		snprintf(more, sizeof(more), " unknown=0x%llx",
			 (unsigned long long)unknown);
	request_ok(request, " bits=0x%llx%s", (unsigned long long)have, more);
}

void command_features_answer(struct command_host *host,
			     const struct message *message)
{
	struct request *request = host->waiting;
	struct failure failure;

	if (!request)
		return;
	host->waiting = request->next;
	if (message->result == 0) {
		answer_features(request, message->number);
		return;
	}
	device_driver_failure(message->result, &failure);
	request_fail(request, &failure);
}

static const char nobody_to_ask[] =
	"the keeper is gone, and it is the one to ask";

/* The requests of the list wait for the keeper, which is gone. */
static void refuse_waiting(struct request **list, const char *text)
{
	struct request *request;

	while ((request = *list)) {
		*list = request->next;
		request_refuse(request, SYMBOL_STATE, text);
	}
}

void command_keeper_gone(struct command_host *host)
{
	host->keeper_gone = 1;
	/* The keeper is the new program now, which will ask for the devices. */
	if (host->upgrade) {
		loop_timer_init(&host->upgrade_timer, on_upgrade_late, host);
		loop_timer_start(host->devices.loop, &host->upgrade_timer,
				 UPGRADE_PATIENCE);
	}
	ask_keeper_gone();
	device_keeper_gone(&host->devices);
	refuse_waiting(&host->waiting, nobody_to_ask);
	refuse_waiting(&host->leaving,
		       "the keeper is gone, so nothing can be stopped");
}

int verb_features(struct request *request, struct failure *failure)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_FEATURES };
	struct command_host *host = request->host;
	struct request **last = &host->waiting;
	int error;

	if (host->keeper_gone)
		return failure_set(failure, SYMBOL_STATE, 0, NULL, "%s",
				   nobody_to_ask);
	error = channel_send(host->devices.channel, &message, NULL, 0);
	if (error) {
		device_driver_failure(error, failure);
		return -1;
	}
	while (*last)
		last = &(*last)->next;
	*last = request;
	request->next = NULL;
	return 0;
}
