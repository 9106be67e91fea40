#include "json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/syntax.h"
#include "records.h"

/* Where an object is written, by pieces. */
struct object {
	json_emit *emit;
	void *context;
	int has_members;
	size_t length;
	char piece[256];
};

static void flush(struct object *object)
{
	object->emit(object->context, object->piece, object->length);
	object->length = 0;
}

static void put(struct object *object, const char *text, size_t length)
{
	size_t room;

	while (length) {
		if (object->length == sizeof(object->piece))
			flush(object);
		room = sizeof(object->piece) - object->length;
		if (room > length)
			room = length;
		memcpy(object->piece + object->length, text, room);
		object->length += room;
		text += room;
		length -= room;
	}
}

/* ---- values ---- */

/* One character of n bytes, 0 for a byte that is not UTF-8. */
static void put_character(struct object *object, const char *at, size_t n)
{
	unsigned point = (unsigned char)*at;
	char escape[8];

	if (n == 2 && point == 0xc2)
		point = (unsigned char)at[1];
	if (n == 0)
		put(object, "\\ufffd", 6);
	else if (point < 0x20 || (point >= 0x7f && point < 0xa0))
		put(object, escape,
		    (size_t)snprintf(escape, sizeof(escape), "\\u%04x", point));
	else {
		if (*at == '"' || *at == '\\')
			put(object, "\\", 1);
		put(object, at, n);
	}
}

static void put_text(struct object *object, const char *text, size_t length)
{
	size_t n;

	put(object, "\"", 1);
	while (length) {
		n = syntax_character(text, length);
		put_character(object, text, n);
		text += n ? n : 1;
		length -= n ? n : 1;
	}
	put(object, "\"", 1);
}

/* Digits, with a sign and a point at most, as both grammars have numbers. */
static int is_number(const char *text, size_t length)
{
	size_t sign = text[0] == '-';
	size_t whole = strspn(text + sign, "0123456789");
	size_t at = sign + whole, part;

	if (whole == 0 || (whole > 1 && text[sign] == '0'))
		return 0;
	if (text[at] == '.') {
		part = strspn(text + at + 1, "0123456789");
		at += part ? part + 1 : 0;
	}
	return at == length;
}

/* What is no number is the name of one, or not known. */
static void put_number(struct object *object, const char *text, size_t length)
{
	if (is_number(text, length))
		put(object, text, length);
	else if (strcmp(text, "unknown") == 0)
		put(object, "null", 4);
	else
		put_text(object, text, length);
}

static void put_time(struct object *object, const char *text, size_t length)
{
	char number[24];
	uint64_t us;

	if (syntax_time(text, &us) == 0)
		put(object, number,
		    (size_t)snprintf(number, sizeof(number), "%llu",
				     (unsigned long long)us));
	else
		put_number(object, text, length);
}

static void put_array(struct object *object, enum record_type type,
		      const char *text)
{
	const char between[] = { ' ', (char)type, '\0' };
	const char *comma = "";
	size_t n;

	put(object, "[", 1);
	if (type == RECORD_FLAGS && strcmp(text, "none") == 0)
		text = "";
	for (text += strspn(text, between); *text;
	     text += strspn(text, between)) {
		put(object, comma, strlen(comma));
		n = strcspn(text, between);
		if (type == RECORD_NUMBERS && is_number(text, n))
			put(object, text, n);
		else
			put_text(object, text, n);
		text += n;
		comma = ",";
	}
	put(object, "]", 1);
}

static void put_value(struct object *object, enum record_type type,
		      const char *text)
{
	size_t length = strlen(text);
	int flag;

	switch (type) {
	case RECORD_NUMBER:
		put_number(object, text, length);
		break;
	case RECORD_TIME:
		put_time(object, text, length);
		break;
	case RECORD_FLAG:
		if (syntax_flag(text, &flag) == 0)
			put(object, flag ? "true" : "false", flag ? 4 : 5);
		else
			put_number(object, text, length);
		break;
	case RECORD_WORDS:
	case RECORD_FLAGS:
	case RECORD_NUMBERS:
	case RECORD_CALLS:
		put_array(object, type, text);
		break;
	default:
		put_text(object, text, length);
	}
}

/* ---- members ---- */

static void put_member(struct object *object, const char *key, size_t length,
		       enum record_type type, const char *value)
{
	put(object, object->has_members ? "," : "{", 1);
	object->has_members = 1;
	put_text(object, key, length);
	put(object, ":", 1);
	put_value(object, type, value);
}

static void put_named(struct object *object, const char *key, const char *value)
{
	put_member(object, key, strlen(key), RECORD_TEXT, value);
}

/* A frame's tag is as it was sent: quotes have no meaning in it. */
static void put_tag(struct object *object, char **at, const char *end)
{
	size_t length = strcspn(*at + 1, " ");

	if (*at + 1 + length < end)
		(*at)[1 + length++] = '\0';
	put_named(object, "tag", *at + 1);
	*at += 1 + length;
}

/*
 * A bare word is the symbol of an ERR, or the record of an EVENT, which has the
 * keys that follow. Returns them.
 */
static const char *put_bare(struct object *object, const char *keys,
			    const char *frame, const char *word)
{
	int is_event = strcmp(frame, "EVENT") == 0;

	put_named(object, is_event ? "record" : "symbol", word);
	return is_event ? record_find(word, strlen(word)) : keys;
}

static void put_words(struct object *object, const char *keys, char *at,
		      const char *end)
{
	const char *head = syntax_next(&at, end), *word, *value;
	size_t length;

	put_named(object, head[0] <= 'Z' ? "frame" : "record", head);
	if (at < end && *at == '@')
		put_tag(object, &at, end);
	while ((word = syntax_next(&at, end))) {
		value = syntax_value(word, &length);
		if (value)
			put_member(object, word, length,
				   record_type(keys, word, length), value);
		else
			keys = put_bare(object, keys, head, word);
	}
}

void json_line(char *line, size_t length, json_emit *emit, void *context)
{
	struct object object = { .emit = emit, .context = context };
	char *end = line + length;
	const char *keys;

	*end = '\0';
	keys = record_find(line, strcspn(line, " "));
	if (*keys)
		put_words(&object, keys, line, end);
	else
		put_named(&object, "text", line);
	put(&object, "}", 1);
	flush(&object);
}
