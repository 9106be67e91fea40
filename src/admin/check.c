#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "add.h"
#include "base/config.h"
#include "command.h"
#include "gather.h"
#include "verbs.h"

/* A number or a name that a line has taken. */
struct claim {
	struct claim *next;
	uint32_t id;
	char name[DEVICE_NAME_MAX + 1];
	const char *path; /* where the line is */
	unsigned number;
};

/* A check that is under way. */
struct run {
	struct check *check;
	struct config config;
	struct request request; /* of which only the line and its values count */
	struct claim *claims;
	int quits; /* the rest is not run */
};

/* ---- mistakes ---- */

/* The word of the line that begins there, as it was typed; lines may end with a CR. */
static void copy_word(const char *text, size_t length, size_t start, char *word,
		      size_t size)
{
	size_t end = start;

	while (end < length && !strchr(" \t\r", text[end]))
		end++;
	snprintf(word, size, "%.*s", (int)(end - start), text + start);
}

static void tell_mistake(struct run *run, const char *text, size_t length,
			 struct failure *failure)
{
	const struct config *config = &run->config;
	struct check *check = run->check;
	char typed[64], word[300], path[1024], why[2048];
	size_t start = config_find(&run->request.line, failure);

	if (check->mistakes++ >= CHECK_TOLD)
		return;
	copy_word(text, length, start, typed, sizeof(typed));
	syntax_quote_text(word, sizeof(word), typed);
	if (!check->as_records) {
		config_locate(config, &run->request.line, failure);
		fprintf(check->out, "%s%s%s\n", failure->text,
			strstr(failure->text, typed) ? "" : ": ",
			strstr(failure->text, typed) ? "" : word);
		return;
	}
	syntax_quote(path, sizeof(path), config->path);
	syntax_quote_text(why, sizeof(why), failure->text);
	fprintf(check->out,
		"mistake file=%s line=%u column=%zu word=%s text=%s\n", path,
		config->number, start + 1, word, why);
}

/* ---- lines ---- */

/* What the line would share with the one that has made the claim, or NULL. */
static const char *shared(const struct claim *claim,
			  const struct device_spec *spec)
{
	if (spec->id != DEVICE_ID_ANY && spec->id == claim->id)
		return "id";
	if (spec->name[0] && strcmp(spec->name, claim->name) == 0)
		return "name";
	return NULL;
}

static int take_names(struct run *run, const struct add *add,
		      struct failure *failure)
{
	const struct device_spec *spec = &add->spec;
	struct claim *claim;
	const char *which;

	for (claim = run->claims; claim; claim = claim->next) {
		which = shared(claim, spec);
		if (which)
			return failure_set(failure, SYMBOL_EXISTS, 0, which,
					   "%.100s:%u has the same %s",
					   claim->path, claim->number, which);
	}
	claim = calloc(1, sizeof(*claim));
	if (!claim)
		return failure_no_memory(failure);
	claim->next = run->claims;
	claim->id = spec->id;
	snprintf(claim->name, sizeof(claim->name), "%s", spec->name);
	claim->path = run->config.path;
	claim->number = run->config.number;
	run->claims = claim;
	run->check->devices++;
	return 0;
}

static int check_line(struct run *run, const char *text, size_t length,
		      struct failure *failure)
{
	struct syntax_line *line = &run->request.line;
	const char *why;
	struct add add;

	if (syntax_split(line, text, length, &why) < 0)
		return failure_set(failure, SYMBOL_SYNTAX, 0, NULL, "%s", why);
	if (line->count == 0)
		return 0;
	if (strcmp(line->words[0], "add") != 0) {
		if (command_check(&run->request, failure) < 0)
			return -1;
		run->quits = strcmp(line->words[0], "quit") == 0;
		return 0;
	}
	if (add_check(line, &add, failure) < 0)
		return -1;
	return take_names(run, &add, failure);
}

/* ---- a file ---- */

static int gather_text(struct run *run, struct failure *failure)
{
	FILE *out = open_memstream(&run->config.text, &run->config.length);
	int result;

	if (!out)
		return failure_no_memory(failure);
	result = config_gather(run->check->path, out, failure);
	fclose(out);
	return result;
}

int check_file(struct check *check, struct failure *failure)
{
	struct run *run = calloc(1, sizeof(*run));
	struct claim *claim;
	const char *text;
	size_t length;
	int result;

	if (!run)
		return failure_no_memory(failure);
	run->check = check;
	result = gather_text(run, failure);
	while (result == 0 && !run->quits &&
	       (text = config_next(&run->config, &length)))
		if (check_line(run, text, length, failure) < 0)
			tell_mistake(run, text, length, failure);
	if (check->mistakes > CHECK_TOLD)
		fprintf(check->out,
			check->as_records ? "mistake more=%u\n"
					  : "and %u mistakes more\n",
			check->mistakes - CHECK_TOLD);
	while ((claim = run->claims)) {
		run->claims = claim->next;
		free(claim);
	}
	config_free(&run->config);
	free(run);
	return result;
}

int check_run(const char *path)
{
	struct check check = { .path = path, .out = stderr };
	struct failure failure;

	if (check_file(&check, &failure) < 0) {
		fprintf(stderr, "%s\n", failure.text);
		return 1;
	}
	return check.mistakes != 0;
}

/* ---- the command ---- */

/*
 * What stands in the file may be for root alone to read: anybody else hears where
 * it is wrong. The file's name, in quotes, may look like what follows.
 */
static void hide_words(char *mistake)
{
	char *at;
	int is_quoted = 0;

	for (at = mistake; *at; at++) {
		if (!is_quoted && strncmp(at, " word=", 6) == 0)
			break;
		if (*at == '"')
			is_quoted = !is_quoted;
		if (*at == '\\' && at[1])
			at++;
	}
	*at = '\0';
}

static void on_checked(void *context, struct config *config,
		       const struct failure *failure)
{
	struct request *request = context;
	struct failure mistakes;
	unsigned count = 0;
	char *line, *rest;

	if (failure) {
		request_fail(request, failure);
		return;
	}
	for (line = strtok_r(config->text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest), count++) {
		if (request->uid != 0)
			hide_words(line);
		request_print(request, "%s", line);
	}
	config_free(config);
	if (!count) {
		request_ok(request, "%s", "");
		return;
	}
	failure_set(&mistakes, SYMBOL_ARG, 0, NULL, "%.200s has mistakes",
		    config_path(request->host->config));
	request_fail(request, &mistakes);
}

int verb_check(struct request *request, struct failure *failure)
{
	return gather_config(request->host->config, HELPER_CHECK, on_checked,
			     request, failure);
}
