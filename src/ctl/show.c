#include "show.h"

#include <string.h>

#include "fields.h"
#include "screen.h"
#include "table.h"

#define LABEL 14   /* columns of the words at the left, and the gap */
#define TEXT  9000 /* more than a line has */

int show_is(const char *verb)
{
	return strcmp(verb, "show") == 0 || strcmp(verb, "help") == 0 ||
	       strcmp(verb, "targets") == 0;
}

/* A label that is too long has a line of its own. */
static void print(FILE *out, const char *label, char *text, size_t columns)
{
	int is_long = strlen(label) >= LABEL;

	fprintf(out, "%s%-*s%s", screen_colour(out, SCREEN_BOLD), LABEL, label,
		screen_colour(out, SCREEN_PLAIN));
	if (is_long)
		fprintf(out, "\n%*s", LABEL, "");
	screen_hide_control(text);
	screen_print(out, text, LABEL, LABEL, columns);
}

static void append(char *text, const char *gap, const char *key,
		   const char *value)
{
	size_t at = strlen(text);

	snprintf(text + at, TEXT - at, "%s%s%s%s", at ? gap : "", key,
		 key[0] ? " " : "", value);
}

/* Each key has a line. */
static void print_device(FILE *out, const struct fields *fields, size_t columns)
{
	const struct field *field = fields->all;
	char text[TEXT];

	for (; field < fields->all + fields->count; field++) {
		table_format(field->key, field->value, text, sizeof(text));
		print(out, field->key, text, columns);
	}
}

/* What is so of most says nothing. */
static int is_usual(const struct field *field)
{
	return (strcmp(field->key, "required") == 0 &&
		strcmp(field->value, "no") == 0) ||
	       (strcmp(field->key, "access") == 0 &&
		strcmp(field->value, "read") == 0);
}

/* Words and help speak for themselves. */
static void append_field(char *text, const struct field *field)
{
	if (strcmp(field->key, "words") == 0 ||
	    strcmp(field->key, "type") == 0 || strcmp(field->key, "text") == 0)
		append(text, ", ", "", field->value);
	else if (strcmp(field->key, "help") == 0)
		append(text, ": ", "", field->value);
	else if (field->value[0] && !is_usual(field))
		append(text, ", ", field->key, field->value);
}

/* "queue 3", or the name of an option, and the rest. */
static void print_other(FILE *out, const struct fields *fields, size_t columns)
{
	char label[300] = "", text[TEXT] = "";
	unsigned i = 0;

	if (strcmp(fields->kind, "queue") == 0 ||
	    strcmp(fields->kind, "layer") == 0)
		snprintf(label, sizeof(label), "%s %s", fields->kind,
			 fields->count ? fields->all[i++].value : "");
	else if (fields->count && strcmp(fields->all[0].key, "name") == 0)
		snprintf(label, sizeof(label), "%s", fields->all[i++].value);
	else
		snprintf(label, sizeof(label), "%s", fields->kind);
	for (; i < fields->count; i++)
		append_field(text, &fields->all[i]);
	print(out, label, text, columns);
}

void show_line(FILE *out, const char *line, size_t columns)
{
	static struct fields fields;

	fields_read(&fields, line);
	if (strcmp(fields.kind, "dev") == 0)
		print_device(out, &fields, columns);
	else
		print_other(out, &fields, columns);
}
