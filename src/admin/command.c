#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hint.h"
#include "base/log.h"
#include "json.h"

const struct command *command_find(const char *verb)
{
	const struct command *command;

	for (command = command_table; command->verb; command++)
		if (strcmp(command->verb, verb) == 0)
			return command;
	return NULL;
}

/* ---- replies ---- */

static void emit_json(void *context, const char *text, size_t length)
{
	struct request *request = context;

	request->emit(request, text, length);
}

/* All that is said to a client after its greeting, a line each. */
static void emit_line(struct request *request, char *text, int length)
{
	/* A line that was cut keeps its newline. */
	if (length >= REQUEST_LINE_MAX)
		length = REQUEST_LINE_MAX - 1;
	if (request->session->json)
		json_line(text, (size_t)length, emit_json, request);
	else
		request->emit(request, text, (size_t)length);
	request->emit(request, "\n", 1);
}

void request_print(struct request *request, const char *format, ...)
{
	char text[REQUEST_LINE_MAX];
	va_list args;

	va_start(args, format);
	emit_line(request, text, vsnprintf(text, sizeof(text), format, args));
	va_end(args);
}

/* " @tag" or nothing. */
static const char *format_tag(const struct request *request, char *text,
			      size_t size)
{
	snprintf(text, size, "%s%s", request->line.tag ? " @" : "",
		 request->line.tag ? request->line.tag : "");
	return text;
}

void request_ok(struct request *request, const char *format, ...)
{
	char tag[SYNTAX_TAG_MAX + 3], pairs[REQUEST_LINE_MAX - 256];
	va_list args;

	va_start(args, format);
	vsnprintf(pairs, sizeof(pairs), format, args);
	va_end(args);
	request_print(request, "OK%s%s", format_tag(request, tag, sizeof(tag)),
		      pairs);
	request->done(request, NULL);
}

void request_wait(struct request *request)
{
	char tag[SYNTAX_TAG_MAX + 3];

	request_print(request, "WAIT%s what=%s",
		      format_tag(request, tag, sizeof(tag)),
		      request->command->verb);
}

void request_fail(struct request *request, const struct failure *failure)
{
	char tag[SYNTAX_TAG_MAX + 3], text[4 * sizeof(failure->text)];
	char arg[4 * sizeof(failure->arg)], error[40] = "";

	syntax_quote_text(text, sizeof(text), failure->text);
	syntax_quote(arg, sizeof(arg), failure->arg);
	if (failure->error)
		snprintf(error, sizeof(error), " errno=%s",
			 failure_errno_name(failure->error));
	request_print(request, "ERR%s %s text=%s%s%s%s",
		      format_tag(request, tag, sizeof(tag)),
		      symbol_name(failure->symbol), text,
		      failure->arg[0] ? " arg=" : "",
		      failure->arg[0] ? arg : "", error);
	request->session->failed = 1;
	if (request->command && request->access != ACCESS_READ &&
	    !request->session->reads_only)
		log_notice("uid %u, process %d: %s failed: %s",
			   (unsigned)request->uid, (int)request->pid,
			   request->command->verb, failure->text);
	request->done(request, failure);
}

void request_refuse(struct request *request, enum symbol symbol,
		    const char *text)
{
	struct failure failure;

	failure_set(&failure, symbol, 0, NULL, "%s", text);
	request_fail(request, &failure);
}

int command_fail_unknown(const char *verb, struct failure *failure)
{
	const struct command *command;
	struct hint hint;

	hint_begin(&hint, verb, strlen(verb));
	for (command = command_table; command->verb; command++)
		hint_offer(&hint, command->verb);
	return failure_set(failure, SYMBOL_UNKNOWN, 0, verb,
			   "there is no such command; %s'help' lists them",
			   hint_text(&hint));
}

/* ---- running ---- */

/* Read the key=value pairs. Returns 0, or -1 with *failure filled. */
static int read_options(struct request *request, struct failure *failure)
{
	const struct command *command = request->command;
	const struct option_reader reader = { .owner = command->verb,
					      .topic = command->verb,
					      .sets = { { command->options,
							  request->values } } };
	int stray = option_read_line(&reader, &request->line, 1,
				     command->max_words, failure);

	if (stray > 0)
		return failure_set(failure, SYMBOL_ARG, 0,
				   request->line.words[stray],
				   "%s takes no such word; 'help %s' shows it",
				   command->verb, command->verb);
	/* The size, which some try to `set`, has a command of its own. */
	if (stray < 0 && failure->symbol == SYMBOL_UNKNOWN &&
	    strcmp(failure->arg, "size") == 0 &&
	    strcmp(command->verb, "set") == 0)
		return failure_set(failure, SYMBOL_UNKNOWN, 0, "size",
				   "set does not change the size: 'resize "
				   "DEVICE size=SIZE' does");
	return stray;
}

/* In a configuration: what concerns the program, or that itself, is root's. */
static int check_place(const struct command *command, struct failure *failure)
{
	if (command->access != ACCESS_ROOT)
		return 0;
	return failure_set(failure, SYMBOL_ARG, 0, command->verb,
			   "%s is no line of a configuration", command->verb);
}

static int check_access(const struct request *request, struct failure *failure)
{
	const struct command_host *host = request->host;

	if (request->access != ACCESS_READ && request->session->reads_only)
		return failure_set(failure, SYMBOL_DENIED, EPERM, NULL,
				   "this socket is for reading only; %s is for "
				   "the admin socket",
				   request->command->verb);
	if (request->access == ACCESS_ROOT && request->uid != 0)
		return failure_set(failure, SYMBOL_DENIED, EPERM, NULL,
				   "%s is for root only",
				   request->command->verb);
	if (request->access == ACCESS_READ)
		return 0;
	if (host->keeper_gone)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "the keeper is gone: the devices are served "
				   "but cannot be changed");
	if (host->stopping)
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "ublkd is stopping");
	if (host->upgrade)
		return failure_set(failure, SYMBOL_BUSY, 0, NULL,
				   "an upgrade is under way");
	return 0;
}

/* Not what is refused at the socket for reading: anybody can send that. */
static void log_change(const struct request *request)
{
	char text[512], word[256];
	size_t at = 0;
	int i;

	if (request->access == ACCESS_READ || request->session->reads_only)
		return;
	text[0] = '\0';
	for (i = 0; i < request->line.count && at < sizeof(text) - 1; i++) {
		syntax_quote(word, sizeof(word), request->line.words[i]);
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s",
				       i ? " " : "", word);
	}
	log_notice("uid %u, process %d: %s", (unsigned)request->uid,
		   (int)request->pid, text);
}

int command_changes(struct request *request, struct failure *failure)
{
	request->access = ACCESS_WRITE;
	log_change(request);
	return check_access(request, failure);
}

static int begin_command(struct request *request, struct failure *failure)
{
	const char *verb = request->line.words[0];

	if (request->session->stop_on_error && request->session->failed &&
	    strcmp(verb, "on-error") != 0 && strcmp(verb, "quit") != 0)
		return failure_set(failure, SYMBOL_SKIPPED, 0, NULL,
				   "an earlier command failed, and on-error "
				   "is stop");
	request->cursor = 0;
	request->seq = request->host->devices.seq;
	request->busy = 0;
	request->command = command_find(verb);
	if (!request->command)
		return command_fail_unknown(verb, failure);
	request->access = request->command->access;
	log_change(request);
	if (check_access(request, failure) < 0 ||
	    (request->configures &&
	     check_place(request->command, failure) < 0) ||
	    (request->command->options && read_options(request, failure) < 0))
		return -1;
	return request->command->run(request, failure);
}

int command_run(struct request *request)
{
	struct failure failure;
	int result = begin_command(request, &failure);

	if (result < 0)
		request_fail(request, &failure);
	return result > 0;
}

int command_check(struct request *request, struct failure *failure)
{
	const char *verb = request->line.words[0];

	request->command = command_find(verb);
	if (!request->command)
		return command_fail_unknown(verb, failure);
	if (check_place(request->command, failure) < 0)
		return -1;
	/* Those of add are its target's, see add_check(). */
	return request->command->options ? read_options(request, failure) : 0;
}

int command_continue(struct request *request)
{
	struct failure failure;
	int result = request->command->run(request, &failure);

	if (result < 0)
		request_fail(request, &failure);
	return result > 0;
}
