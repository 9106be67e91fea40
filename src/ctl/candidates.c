#include "candidates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/syntax.h"
#include "client.h"
#include "table.h"

#define FEW	24   /* that have a line each */
#define LEAST	40   /* columns: in fewer nothing can be read */
#define BETWEEN "  " /* two columns, */
#define GAP	2    /* as many */

/* Commands of ublkctl's own. */
static const struct candidate own_words[] = {
	{ "doctor", "look whether this host is fit for ublkd" },
	{ "find", "the devices that serve a file" },
	{ "top", "what each device does" },
};

static int add(struct candidates *candidates, const char *word,
	       const char *help)
{
	struct candidate *candidate = &candidates->all[candidates->count];

	if (candidates->count == CANDIDATES_MAX ||
	    strncmp(word, candidates->typed, strlen(candidates->typed)) != 0)
		return 0;
	candidate->word = strdup(word);
	candidate->help = strdup(help);
	candidates->count++;
	return candidate->word && candidate->help ? 0 : -ENOMEM;
}

static int take_line(const char *line, void *context)
{
	static struct fields fields;

	fields_read(&fields, line);
	if (strcmp(fields.kind, "candidate") != 0)
		return 0;
	return add(context, fields_value(&fields, "word"),
		   fields_value(&fields, "help"));
}

static void ask_daemon(struct candidates *candidates, const char *socket,
		       const char *line)
{
	static const char verb[] = "complete ";
	char command[SYNTAX_LINE_MAX + 1];
	struct client client = { .fd = -1 };
	const char *last;
	size_t room = sizeof(command) - sizeof(verb);

	memcpy(command, verb, sizeof(verb));
	if (syntax_quote_text(command + sizeof(verb) - 1, room, line) < room &&
	    client_begin(&client, socket, &last) == 0)
		client_ask(&client, command, 1, take_line, candidates, &last);
	client_close(&client);
}

/* What is behind the last blank. */
static const char *last_word(const char *line)
{
	const char *at = line + strlen(line);

	while (at > line && at[-1] != ' ' && at[-1] != '\t')
		at--;
	return at;
}

void candidates_ask(struct candidates *candidates, const char *socket,
		    const char *line)
{
	size_t i;

	candidates->typed = last_word(line);
	candidates->count = 0;
	ask_daemon(candidates, socket, line);
	if (strspn(line, " \t") < (size_t)(candidates->typed - line))
		return;
	for (i = 0; i < sizeof(own_words) / sizeof(own_words[0]); i++)
		add(candidates, own_words[i].word, own_words[i].help);
}

void candidates_free(struct candidates *candidates)
{
	while (candidates->count) {
		candidates->count--;
		free(candidates->all[candidates->count].word);
		free(candidates->all[candidates->count].help);
	}
}

size_t candidates_common(const struct candidates *candidates)
{
	const char *first = candidates->all[0].word, *word;
	size_t length = strlen(first), n;
	unsigned i;

	for (i = 1; i < candidates->count; i++) {
		word = candidates->all[i].word;
		for (n = 0; n < length && word[n] == first[n]; n++)
			;
		length = n;
	}
	return length;
}

/* ---- printing ---- */

static int widest(const struct candidates *candidates)
{
	int width = 0, length;
	unsigned i;

	for (i = 0; i < candidates->count; i++) {
		length = (int)strlen(candidates->all[i].word);
		if (length > width)
			width = length;
	}
	return width;
}

/* Down the columns, as ls does; two have room at least, and long words are cut. */
static void print_words(const struct candidates *candidates, int width,
			FILE *out)
{
	int wanted = widest(candidates) + GAP;
	int cell = wanted < width / 2 ? wanted : width / 2;
	unsigned columns = (unsigned)(width / cell);
	unsigned rows = (candidates->count + columns - 1) / columns, row, at;

	for (row = 0; row < rows; row++) {
		for (at = row; at < candidates->count; at += rows) {
			table_print_text(candidates->all[at].word, cell - GAP,
					 out);
			fputs(at + rows < candidates->count ? BETWEEN : "\n",
			      out);
		}
	}
}

void candidates_print(const struct candidates *candidates, int width, FILE *out)
{
	int cell = widest(candidates) + GAP;
	unsigned i;

	if (width < LEAST)
		width = LEAST;

	if (candidates->count > FEW || cell + GAP > width / 2) {
		print_words(candidates, width, out);
		return;
	}
	for (i = 0; i < candidates->count; i++) {
		table_print_text(candidates->all[i].word, cell, out);
		table_print_text(candidates->all[i].help, width - cell - 1,
				 out);
		fputc('\n', out);
	}
}
