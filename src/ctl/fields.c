#include "fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/syntax.h"

static const char *const frames[] = {
	[FIELDS_OK] = "OK",
	[FIELDS_ERR] = "ERR",
	[FIELDS_WAIT] = "WAIT",
	[FIELDS_EVENT] = "EVENT",
};

enum fields_frame fields_frame(const char *line)
{
	static const char member[] = "{\"frame\":\"";
	size_t i, length;

	if (strncmp(line, member, sizeof(member) - 1) == 0)
		line += sizeof(member) - 1;
	for (i = FIELDS_OK; i <= FIELDS_EVENT; i++) {
		length = strlen(frames[i]);
		if (strncmp(line, frames[i], length) == 0 &&
		    strchr(" \"", line[length]))
			return (enum fields_frame)i;
	}
	return FIELDS_DATA;
}

static void add_field(struct fields *fields, const char *key, const char *value)
{
	if (fields->count < FIELDS_MAX)
		fields->all[fields->count++] = (struct field){ key, value };
}

/* ---- words ---- */

static void read_words(struct fields *fields, size_t length)
{
	char *at = fields->text, *word;
	const char *value;
	size_t n;

	while ((word = syntax_next(&at, fields->text + length))) {
		value = syntax_value(word, &n);
		if (value) {
			word[n] = '\0';
			add_field(fields, word, value);
		} else if (!fields->kind[0]) {
			fields->kind = word;
		}
	}
}

/* ---- JSON ---- */

/* \u00e4 becomes UTF-8; the daemon has no pairs of them. Returns what is behind. */
static char *put_point(char *to, const char *digits)
{
	char text[5];
	unsigned point;

	memcpy(text, digits, 4);
	text[4] = '\0';
	point = (unsigned)strtol(text, NULL, 16);
	if (point < 0x80) {
		*to++ = (char)point;
	} else if (point < 0x800) {
		*to++ = (char)(0xc0 | point >> 6);
		*to++ = (char)(0x80 | (point & 0x3f));
	} else {
		*to++ = (char)(0xe0 | point >> 12);
		*to++ = (char)(0x80 | (point >> 6 & 0x3f));
		*to++ = (char)(0x80 | (point & 0x3f));
	}
	return to;
}

/* What is behind a backslash. Returns what follows, or NULL at the end. */
static char *read_escape(char *from, char **to)
{
	static const char escapes[] = "bfnrt", characters[] = "\b\f\n\r\t";
	const char *escape;

	if (!*from)
		return NULL;
	if (*from == 'u') {
		if (memchr(from, '\0', 5))
			return NULL;
		*to = put_point(*to, from + 1);
		return from + 5;
	}
	escape = strchr(escapes, *from);
	*(*to)++ = escape ? characters[escape - escapes] : *from;
	return from + 1;
}

/*
 * A string, whose opening quote is before *at, where it stands: an escape is longer
 * than its character. *at goes on behind the closing quote. NULL if it has no end.
 */
static const char *read_string(char **at)
{
	char *begin = *at, *from = begin, *to = begin;

	while (*from != '"') {
		if (*from != '\\' && *from)
			*to++ = *from++;
		else if (!*from || !(from = read_escape(from + 1, &to)))
			return NULL;
	}
	*to = '\0';
	*at = from + 1;
	return begin;
}

/* The same for anything else: a number, a word, or an array as it is written. */
static const char *read_other(char **at)
{
	char *begin = *at, *end = begin;
	int depth = 0, in_string = 0;

	for (; *end && (depth || !strchr(",}", *end)); end++) {
		if (*end == '"')
			in_string = !in_string;
		else if (in_string && *end == '\\' && end[1])
			end++;
		else if (!in_string)
			depth += (*end == '[') - (*end == ']');
	}
	*at = end;
	return *end ? begin : NULL;
}

static void read_object(struct fields *fields)
{
	const char *key, *value;
	char *at = fields->text + 1;

	while (*at == '"') {
		at++;
		key = read_string(&at);
		if (!key || *at++ != ':')
			return;
		value = *at == '"' ? (at++, read_string(&at)) : read_other(&at);
		if (!value)
			return;
		/* Of an event the frame comes first, and then its record. */
		if (strcmp(key, "frame") != 0 && strcmp(key, "record") != 0)
			add_field(fields, key, value);
		else if (!fields->kind[0])
			fields->kind = value;
		if (*at)
			*at++ = '\0';
	}
}

/* ---- both ---- */

void fields_read(struct fields *fields, const char *line)
{
	int length = snprintf(fields->text, sizeof(fields->text), "%s", line);

	fields->kind = "";
	fields->count = 0;
	if (*line == '{')
		read_object(fields);
	else if (length < (int)sizeof(fields->text))
		read_words(fields, (size_t)length);
}

const char *fields_value(const struct fields *fields, const char *key)
{
	unsigned i;

	for (i = 0; i < fields->count; i++)
		if (strcmp(fields->all[i].key, key) == 0)
			return fields->all[i].value;
	return "";
}

const char *fields_find(const char *line, const char *key, char *value,
			size_t size)
{
	static struct fields fields;

	fields_read(&fields, line);
	snprintf(value, size, "%s", fields_value(&fields, key));
	return value;
}
