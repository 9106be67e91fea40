/* complete: what may follow, from the tables that the commands are read with. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "verbs.h"

#define COMPLETE_TURN 16 /* devices that are offered before others get a turn */

struct completion {
	struct request *request;
	int *more; /* devices are offered in the next turn, all else behind them */
	const struct syntax_line *line; /* the whole words before */
	const char *prefix;		/* the word that is being typed */
	size_t length;
};

/* Key and value, or one of them, if the word begins like that. */
static void offer(const struct completion *completion, const char *key,
		  const char *value, const char *help)
{
	char word[OPTION_PATH_MAX], quoted[4 * OPTION_PATH_MAX], text[512];

	if (*completion->more)
		return;
	snprintf(word, sizeof(word), "%s%s%s", key ? key : "", key ? "=" : "",
		 value);
	if (strncmp(word, completion->prefix, completion->length) != 0)
		return;
	syntax_quote(quoted, sizeof(quoted), word);
	syntax_quote_text(text, sizeof(text), help);
	request_print(completion->request, "candidate word=%s help=%s", quoted,
		      text);
}

static void offer_verbs(const struct completion *completion)
{
	const struct command *command;

	for (command = command_table; command->verb; command++)
		offer(completion, NULL, command->verb, command->help);
}

static void offer_targets(const struct completion *completion)
{
	int i;

	for (i = 0; target_table[i]; i++)
		offer(completion, NULL, target_table[i]->name,
		      target_table[i]->help);
}

/*
 * By their names, or for the key "id" by their numbers; from the request's cursor
 * on. Each turn begins the command anew: nothing is offered before the last device.
 */
static void offer_devices(const struct completion *completion, const char *key)
{
	struct request *request = completion->request;
	const struct device *device = request->host->devices.first;
	char number[16];
	int turn = 0;

	for (; device; device = device->next) {
		if (!device->disk[0] || device->spec.id < request->cursor)
			continue;
		if (turn++ == COMPLETE_TURN) {
			*completion->more = 1;
			return;
		}
		request->cursor = (uint64_t)device->spec.id + 1;
		snprintf(number, sizeof(number), "%u", device->spec.id);
		offer(completion, key,
		      key && strcmp(key, "id") == 0 ? number
						    : device_name(device),
		      device->spec.target->ops->name);
	}
}

/* ---- options ---- */

static int is_given(const struct syntax_line *line, const struct option *option)
{
	size_t length;
	int i;

	for (i = 1; i < line->count; i++)
		if (syntax_value(line->words[i], &length) &&
		    length == strlen(option->name) &&
		    strncmp(line->words[i], option->name, length) == 0)
			return 1;
	return 0;
}

/* In any command but the one that makes it. */
static int is_of_device(const struct completion *completion,
			const struct option *option)
{
	return strcmp(completion->line->words[0], "add") != 0 &&
	       (strcmp(option->name, "id") == 0 ||
		strcmp(option->name, "name") == 0);
}

/* What can stand behind the key: the words of its type, or devices. */
static void offer_values(const struct completion *completion,
			 const struct option *option)
{
	static const char *const flags[] = { "yes", "no", NULL };
	const char *const *word = option->type == OPTION_FLAG ? flags
							      : option->choices;

	if (is_of_device(completion, option))
		offer_devices(completion, option->name);
	for (; word && *word; word++)
		offer(completion, option->name, *word, option->help);
}

/* Keys; and the values of one that is there already. */
static void offer_options(const struct completion *completion,
			  const struct option *options)
{
	size_t length;
	int which;

	if (syntax_value(completion->prefix, &length)) {
		which = option_find(options, completion->prefix, length);
		if (which >= 0)
			offer_values(completion, &options[which]);
		return;
	}
	for (; options->name; options++)
		if (!is_given(completion->line, options))
			offer(completion, options->name, "", options->help);
}

/* ---- words ---- */

/*
 * The part of a command's `words` that the word of this number is, a copy without
 * brackets: "DEVICE", or "stop|continue"; "" for none. One with "..." stands for all
 * that follow.
 */
static const char *find_part(const char *words, int number, char *part,
			     size_t size)
{
	size_t length;

	for (;; words += length) {
		words += strspn(words, " []");
		length = strcspn(words, " []");
		snprintf(part, size, "%.*s", (int)length, words);
		if (length == 0 || strchr(part, '='))
			return "";
		if (number-- == 0 || strstr(part, "..."))
			return part;
	}
}

/* What such a part stands for: words with | between them, or a kind of them. */
static void offer_part(const struct completion *completion, char *part)
{
	char *word, *rest;

	for (word = strtok_r(part, "|.", &rest); word;
	     word = strtok_r(NULL, "|.", &rest))
		if (strcmp(word, "DEVICE") == 0)
			offer_devices(completion, NULL);
		else if (strcmp(word, "TARGET") == 0)
			offer_targets(completion);
		else if (strcmp(word, "COMMAND") == 0)
			offer_verbs(completion);
		else if (!isupper((unsigned char)word[0]))
			offer(completion, NULL, word, "");
}

static void offer_rest(const struct completion *completion,
		       const struct command *command)
{
	const struct syntax_line *line = completion->line;
	const struct target_ops *target;
	char part[128];
	int i, bare = 0;
	size_t length;

	for (i = 1; i < line->count; i++)
		bare += syntax_value(line->words[i], &length) == NULL;
	/* What has a = is no device. */
	if (!syntax_value(completion->prefix, &length) &&
	    find_part(command->words, bare, part, sizeof(part))[0])
		offer_part(completion, part);
	if (command->options) {
		offer_options(completion, command->options);
	} else if (bare) {
		target = target_find(line->words[1]);
		if (target && target->options)
			offer_options(completion, target->options);
		if (target)
			offer_options(completion, verb_add_options);
	}
}

int verb_complete(struct request *request, struct failure *failure)
{
	const struct syntax_line *asked = &request->line;
	const char *text = asked->count > 1 ? asked->words[1] : "";
	struct syntax_line line;
	int more = 0;
	struct completion completion = { .request = request,
					 .more = &more,
					 .line = &line };
	const struct command *command;
	size_t before = strlen(text);
	const char *why;

	if (asked->count > 2)
		return failure_set(failure, SYMBOL_ARG, 0, asked->words[2],
				   "complete takes one word: quotes keep the "
				   "beginning of a line together");
	while (before && text[before - 1] != ' ' && text[before - 1] != '\t')
		before--;
	completion.prefix = text + before;
	completion.length = strlen(completion.prefix);
	if (syntax_split(&line, text, before, &why) < 0)
		return failure_set(failure, SYMBOL_SYNTAX, 0, NULL, "%s", why);
	command = line.count ? command_find(line.words[0]) : NULL;
	if (command)
		offer_rest(&completion, command);
	else if (line.count == 0)
		offer_verbs(&completion);
	if (more)
		return 1;
	request_ok(request, "%s", "");
	return 0;
}
