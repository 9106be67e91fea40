/* del: one device, several, or all; those of one command at the same time. */
#include <string.h>

#include "command.h"
#include "verbs.h"

#define ALL "--all"

/* The kernel keeps its number until its backing has answered. */
static const char *kept_text(const struct device *device)
{
	return device_late(device) ? " number=kept" : "";
}

/* ---- one ---- */

static void on_deleted(void *context, struct device *device,
		       const struct failure *failure)
{
	struct request *request = context;

	if (failure)
		request_fail(request, failure);
	else
		request_ok(request, " id=%u%s", device->spec.id,
			   kept_text(device));
}

/* ---- several ---- */

/* The last of them has ended: their lines are there. */
static void finish(struct request *request)
{
	const struct deletion *deletion = &request->deletion;
	struct failure failure;

	if (!deletion->failed) {
		request_ok(request, " deleted=%u", deletion->deleted);
		return;
	}
	failure_set(&failure, deletion->symbol, 0, NULL,
		    "%u of %u devices are not deleted", deletion->failed,
		    deletion->failed + deletion->deleted);
	request_fail(request, &failure);
}

static void on_one_deleted(void *context, struct device *device,
			   const struct failure *failure)
{
	struct request *request = context;
	struct deletion *deletion = &request->deletion;
	char text[4 * sizeof(failure->text)];

	if (failure) {
		syntax_quote_text(text, sizeof(text), failure->text);
		request_print(request, "failed id=%u name=%s symbol=%s text=%s",
			      device->spec.id, device_name(device),
			      symbol_name(failure->symbol), text);
		deletion->symbol = failure->symbol;
		deletion->failed++;
	} else {
		request_print(request, "deleted id=%u name=%s%s",
			      device->spec.id, device_name(device),
			      kept_text(device));
		deletion->deleted++;
	}
	if (--deletion->pending == 0)
		finish(request);
}

/* The device may be gone when this returns. */
static void delete_one(struct request *request, struct device *device)
{
	int force = request->values[VERB_DEL_FORCE].number != 0;
	struct failure failure;

	request->deletion.pending++;
	if (device_delete(device, force, on_one_deleted, request, &failure) < 0)
		on_one_deleted(request, device, &failure);
}

/* Those that have a number, and are not deleted already. */
static void delete_all(struct request *request)
{
	struct device *device = request->host->devices.first, *next;

	for (; device; device = next) {
		next = device->next;
		if (device->disk[0] && device->is_counted)
			delete_one(request, device);
	}
}

/* Nothing is deleted unless all are there. Returns how many, or -1. */
static int find_devices(const struct request *request, struct device **devices,
			struct failure *failure)
{
	const struct syntax_line *line = &request->line;
	int count = 0, i, other;
	size_t length;

	for (i = 1; i < line->count; i++) {
		if (syntax_value(line->words[i], &length))
			continue;
		devices[count] = verb_find_word(&request->host->devices,
						line->words[i], failure);
		if (!devices[count])
			return -1;
		for (other = 0; devices[other] != devices[count]; other++)
			;
		if (other < count) {
			failure_set(failure, SYMBOL_ARG, 0, line->words[i],
				    "device %u is named twice",
				    devices[count]->spec.id);
			return -1;
		}
		count++;
	}
	return count;
}

static int count_words(const struct syntax_line *line, int *is_all)
{
	int count = 0, i;
	size_t length;

	for (i = 1; i < line->count; i++) {
		if (syntax_value(line->words[i], &length))
			continue;
		*is_all |= strcmp(line->words[i], ALL) == 0;
		count++;
	}
	return count;
}

static int delete_several(struct request *request, int is_all,
			  struct failure *failure)
{
	struct device *devices[SYNTAX_WORDS_MAX];
	int count = 0, i;

	if (!is_all)
		count = find_devices(request, devices, failure);
	if (count < 0)
		return -1;
	/* One for the loop itself, so that the last one ends behind it. */
	request->deletion = (struct deletion){ .pending = 1 };
	for (i = 0; i < count; i++)
		delete_one(request, devices[i]);
	if (is_all)
		delete_all(request);
	if (--request->deletion.pending == 0)
		finish(request);
	return 0;
}

int verb_del(struct request *request, struct failure *failure)
{
	int force = request->values[VERB_DEL_FORCE].number != 0, is_all = 0;
	int count = count_words(&request->line, &is_all);
	struct device *device;

	if (count > 1 || is_all) {
		if (count > 1 && is_all)
			return failure_set(failure, SYMBOL_ARG, 0, ALL,
					   "name devices, or " ALL
					   ", but not both");
		if (request->values[VERB_DEVICE_ID].given ||
		    request->values[VERB_DEVICE_NAME].given)
			return failure_set(failure, SYMBOL_ARG, 0, NULL,
					   "name devices in one way: id=N, "
					   "name=NAME, or bare words");
		return delete_several(request, is_all, failure);
	}
	device = verb_find_device(request, failure);
	return device ? device_delete(device, force, on_deleted, request,
				      failure)
		      : -1;
}
