/*
 * set: change the faults and the limits of a live device, also for the next
 * server, or show them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "verbs.h"
#include "base/words.h"

/* The layers' option that a key=value gives a value to, or -1. */
static int layer_option(const char *word)
{
	size_t length;

	if (!syntax_value(word, &length))
		return -1;
	return option_find(layer_options, word, length);
}

/* The words of the old command whose options are not given anew. */
static void keep_old(const struct option_value *given,
		     const struct syntax_line *old, struct syntax_line *line)
{
	int i, which;

	for (i = 0; i < old->count; i++) {
		which = layer_option(old->words[i]);
		if (which < 0 || !given[which].given)
			line->words[line->count++] = old->words[i];
	}
}

/* A default needs no words: a device without layers is as it was added. */
static int append_new(const struct option_value *given,
		      const struct syntax_line *asked, struct syntax_line *line)
{
	int i, which;

	for (i = 1; i < asked->count; i++) {
		which = layer_option(asked->words[i]);
		if (which < 0 ||
		    option_is_default(&layer_options[which], &given[which]))
			continue;
		if (line->count == SYNTAX_WORDS_MAX)
			return -1;
		line->words[line->count++] = asked->words[i];
	}
	return 0;
}

/*
 * What io-timeout= has kept from mode=auto, the device does not have when it is
 * gone: the line names the mode that it has. Returns -1 if there is no room for
 * that.
 */
static int name_mode(const struct device *device,
		     const struct option_value *given, char *text, size_t size,
		     struct syntax_line *line)
{
	int i = 0;

	if (!layers_can_time_out(&device->spec.layers) ||
	    !given[IO_TIMEOUT].given || given[IO_TIMEOUT].number)
		return 0;
	while (i < line->count && strncmp(line->words[i], "mode=", 5) != 0)
		i++;
	if (i < line->count && strcmp(line->words[i], "mode=auto") != 0)
		return 0;
	if (i == SYNTAX_WORDS_MAX)
		return -1;
	snprintf(text, size, "mode=%s", io_mode_name(device->spec.mode));
	line->words[i] = text;
	line->count += i == line->count;
	return 0;
}

/* The device's add line with the new values; to be freed. */
static char *new_words(const struct request *request,
		       const struct device *device, struct failure *failure)
{
	const struct option_value *given = &request->values[VERB_SET_LAYERS];
	struct syntax_line old, line = { .count = 0 };
	char mode[32], *words;
	const char *why;

	if (syntax_split(&old, device->spec.words, strlen(device->spec.words),
			 &why) < 0) {
		failure_set(failure, SYMBOL_INTERNAL, 0, NULL, "%s", why);
		return NULL;
	}
	keep_old(given, &old, &line);
	if (append_new(given, &request->line, &line) < 0 ||
	    name_mode(device, given, mode, sizeof(mode), &line) < 0) {
		failure_set(failure, SYMBOL_LIMIT, 0, NULL,
			    "the device's add line would have more than %d "
			    "words",
			    SYNTAX_WORDS_MAX);
		return NULL;
	}
	words = words_join(&line);
	if (!words)
		failure_no_memory(failure);
	return words;
}

/* The keeper has noted the new words: now the values count. */
static void on_noted(void *context, struct device *device,
		     const struct failure *failure)
{
	struct request *request = context;
	struct option_value values[LAYER_OPTIONS];
	struct failure unread;

	if (!failure &&
	    verb_read_layers(device->spec.words, values, &unread) < 0)
		failure = &unread;
	if (failure) {
		request_fail(request, failure);
		return;
	}
	layers_change(&device->spec.layers, values,
		      &request->values[VERB_SET_LAYERS]);
	device_changed(device, DEVICE_CHANGE_FAULTS);
	request_ok(request, " id=%u", device->spec.id);
}

static int is_any_given(const struct request *request)
{
	int i;

	for (i = 0; i < LAYER_OPTIONS; i++)
		if (request->values[VERB_SET_LAYERS + i].given)
			return 1;
	return 0;
}

/* What can be set, and the values that a device has. */
static void print_values(struct request *request, const struct device *device)
{
	struct option_value values[LAYER_OPTIONS];
	struct syntax_line line;
	const char *why;
	int i, which;

	option_defaults(layer_options, values);
	if (syntax_split(&line, device->spec.words, strlen(device->spec.words),
			 &why) < 0)
		line.count = 0;
	for (i = 0; i < line.count; i++) {
		which = layer_option(line.words[i]);
		if (which >= 0)
			values[which].text = strchr(line.words[i], '=') + 1;
	}
	for (i = 0; i < LAYER_OPTIONS; i++)
		verb_print_option(request, &layer_options[i], values[i].text);
	request_ok(request, " id=%u", device->spec.id);
}

static int begin_set(struct request *request, struct device *device,
		     struct failure *failure)
{
	struct option_value values[LAYER_OPTIONS];
	char *words;

	if (device_check_idle(device, "id", failure) < 0)
		return -1;
	words = new_words(request, device, failure);
	if (!words)
		return -1;
	if (verb_read_layers(words, values, failure) < 0 ||
	    layers_check_mode(values, device->spec.mode, failure) < 0)
		goto fail;
	if (device_put_on(device, values) < 0) {
		failure_no_memory(failure);
		goto fail;
	}
	return device_note(device, words, on_noted, request, failure);
fail:
	free(words);
	return -1;
}

int verb_set(struct request *request, struct failure *failure)
{
	struct device *device = verb_find_device(request, failure);

	if (!device)
		return -1;
	if (is_any_given(request))
		return begin_set(request, device, failure);
	print_values(request, device);
	return 0;
}
