/* help and targets: written from the tables that the commands are read with. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "verbs.h"

static void print_command(struct request *request,
			  const struct command *command)
{
	static const char *const access_names[] = { "read", "write", "root" };
	char text[512], words[128];

	syntax_quote_text(text, sizeof(text), command->help);
	syntax_quote_text(words, sizeof(words), command->words);
	request_print(request, "command name=%s words=%s access=%s help=%s",
		      command->verb, words, access_names[command->access],
		      text);
}

/* " min=1 max=4096", or nothing where that has no meaning. */
static void format_range(const struct option *option, char *text, size_t size)
{
	char min[32], max[32];

	text[0] = '\0';
	if (!option_has_range(option))
		return;
	option_format(option, min, sizeof(min), option->min);
	option_format(option, max, sizeof(max), option->max);
	snprintf(text, size, " min=%s max=%s", min, max);
}

void verb_print_option(struct request *request, const struct option *option,
		       const char *value)
{
	char help[512], range[80], type[100];

	syntax_quote_text(help, sizeof(help), option->help);
	format_range(option, range, sizeof(range));
	option_format_type(option, type, sizeof(type));
	request_print(request,
		      "option name=%s%s%s type=%s required=%s%s%s%s "
		      "help=%s",
		      option->name, value ? " value=" : "", value ? value : "",
		      type, option->required ? "yes" : "no",
		      option->fallback ? " default=" : "",
		      option->fallback ? option->fallback : "", range, help);
}

static void print_options(struct request *request, const struct option *options)
{
	for (; options && options->name; options++)
		verb_print_option(request, options, NULL);
}

static void print_target(struct request *request,
			 const struct target_ops *target)
{
	char help[256];

	syntax_quote_text(help, sizeof(help), target->help);
	request_print(request, "target name=%s help=%s", target->name, help);
}

static void print_targets(struct request *request)
{
	int i;

	for (i = 0; target_table[i]; i++)
		print_target(request, target_table[i]);
}

int verb_targets(struct request *request, struct failure *failure)
{
	(void)failure;
	print_targets(request);
	request_ok(request, "%s", "");
	return 0;
}

/* help add: what all targets share. help add ram: what this one has. */
static int help_add(struct request *request, struct failure *failure)
{
	const struct target_ops *target;

	if (request->line.count > 2) {
		target = target_find(request->line.words[2]);
		if (!target)
			return target_fail_unknown(request->line.words[2],
						   failure);
		print_target(request, target);
		print_options(request, target->options);
	} else {
		print_command(request, command_find("add"));
		print_targets(request);
	}
	print_options(request, verb_add_options);
	request_ok(request, "%s", "");
	return 0;
}

int verb_help(struct request *request, struct failure *failure)
{
	const char *verb = request->line.count > 1 ? request->line.words[1]
						   : NULL;
	const struct command *command;

	if (verb && strcmp(verb, "add") == 0)
		return help_add(request, failure);
	if (verb) {
		command = command_find(verb);
		if (!command)
			return command_fail_unknown(verb, failure);
		if (request->line.count > 2)
			return failure_set(failure, SYMBOL_UNKNOWN, 0,
					   request->line.words[2],
					   "there is no help on this; 'help' "
					   "lists the commands");
		print_command(request, command);
		print_options(request, command->options);
	} else {
		for (command = command_table; command->verb; command++)
			print_command(request, command);
	}
	request_ok(request, "%s", "");
	return 0;
}
