/* What a device's recorder has of its last events, or what it records from now on. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "io/recorder.h"
#include "trace.h"
#include "verbs.h"

typedef unsigned long long number;

/* ---- one event ---- */

static void format_result(int64_t result, char *text, size_t size)
{
	if (result < 0)
		snprintf(text, size, " result=%s",
			 failure_errno_name((int)-result));
	else
		snprintf(text, size, " result=%lld", (long long)result);
}

/* What an event says beside its time and its request. */
static void COLD format_rest(const struct sight_event *event, char *text,
			     size_t size)
{
	const char *op = sight_op_name((enum sight_op)event->op);
	int64_t value = (int64_t)event->number;
	char result[40];

	text[0] = '\0';
	format_result(value, result, sizeof(result));
	switch ((enum sight_what)event->what) {
	case SIGHT_DELIVERED:
		snprintf(text, size, " op=%s offset=%llu length=%u", op,
			 (number)value, event->length);
		break;
	case SIGHT_KEPT:
	case SIGHT_SUBMITTED:
		snprintf(text, size, " place=%s",
			 sight_place_name(sight_event_place(event)));
		break;
	case SIGHT_COMPLETED:
		snprintf(text, size, "%s", result);
		break;
	case SIGHT_COMMITTED:
		snprintf(text, size, " op=%s%s took=%uus", op, result,
			 event->length);
		break;
	default:
		break;
	}
}

static void COLD print_line(struct request *request, uint32_t id,
			    const struct sight_event *event, const char *frame)
{
	uint64_t us = sight_event_time(event);
	char rest[200], who[40];

	format_rest(event, rest, sizeof(rest));
	if (event->what == SIGHT_STEP)
		snprintf(who, sizeof(who), "name=%s", event->text);
	else
		snprintf(who, sizeof(who), "request=%u.%u",
			 sight_event_queue(event), event->tag);
	request_print(request, "%strace id=%u time=%llu.%06llu event=%s %s%s",
		      frame, id, (number)(us / 1000000), (number)(us % 1000000),
		      sight_what_name((enum sight_what)event->what), who, rest);
}

/* A line on the way in, and one on the way out. */
static void print_event(struct request *request, uint32_t id,
			const struct sight_event *event, const char *frame)
{
	struct sight_event part = *event;

	if (event->what != SIGHT_SERVED) {
		print_line(request, id, event, frame);
		return;
	}
	part.what = SIGHT_DELIVERED;
	print_line(request, id, &part, frame);
	part.what = SIGHT_COMMITTED;
	part.length = 0;
	part.number = 0;
	print_line(request, id, &part, frame);
}

/* ---- follow ---- */

int trace_follow(struct request *request)
{
	struct session *session = request->session;
	const struct device *device =
		device_find_serial(&request->host->devices, session->serial);
	struct sight_event event;
	uint64_t first, lost;

	if (!device || !device->recorder) {
		request_print(request, "EVENT end id=%u", session->followed);
		return 0;
	}
	first = recorder_first_event(device->recorder);
	lost = first > session->next_event ? first - session->next_event : 0;
	session->next_event += lost;
	if (lost)
		request_print(request, "EVENT overflow id=%u lost=%llu",
			      session->followed, (number)lost);
	while (recorder_event(device->recorder, session->next_event, &event) ==
	       0) {
		print_event(request, session->followed, &event, "EVENT ");
		session->next_event++;
	}
	return 1;
}

static int COLD begin_follow(struct request *request,
			     const struct device *device,
			     struct failure *failure)
{
	struct session *session = request->session;

	/* The one before may be gone, and that is told first. */
	if (session->follows)
		session->follows = trace_follow(request);
	if (session->follows)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "this connection follows device %u already: "
				   "another connection can follow another one",
				   session->followed);
	session->followed = device->spec.id;
	session->serial = device->serial;
	session->next_event = device->recorder->small->events;
	session->follows = 1;
	return 0;
}

/* ---- trace ---- */

/* The number of the first event that is asked for. */
static uint64_t begin_at(const struct recorder *recorder, uint64_t last)
{
	uint64_t first = recorder_first_event(recorder);
	uint64_t written = recorder->small->events;

	return last && last < written - first ? written - last : first;
}

/* All in one turn, in which none is overwritten. */
static void print_events(struct request *request, const struct device *device,
			 uint64_t last)
{
	uint64_t at = begin_at(device->recorder, last);
	struct sight_event event;

	for (; recorder_event(device->recorder, at, &event) == 0; at++)
		print_event(request, device->spec.id, &event, "");
}

int verb_trace(struct request *request, struct failure *failure)
{
	const struct option_value *values = request->values;
	const struct device *device = verb_find_device(request, failure);
	const struct recorder *recorder;

	if (!device || verb_check_recorder(failure) < 0)
		return -1;
	recorder = device->recorder;
	if (!recorder)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "nothing is recorded of device %u",
				   device->spec.id);
	if (!values[VERB_TRACE_FOLLOW].number)
		print_events(request, device, values[VERB_TRACE_LAST].number);
	else if (begin_follow(request, device, failure) < 0)
		return -1;
	request_ok(request, " events=%llu", (number)recorder->small->events);
	return 0;
}
