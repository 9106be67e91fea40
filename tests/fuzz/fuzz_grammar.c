/* The grammar: what is read can be written, and is then read as the same. */
#include <string.h>

#include "base/syntax.h"
#include "fuzz.h"
#include "../unit/support.h"

typedef int reads(const char *text, uint64_t *value);
typedef void writes(char *buffer, size_t size, uint64_t value);

static void check_number(const char *text, reads *read, writes *write)
{
	char again[64];
	uint64_t first, second;

	if (read(text, &first) < 0)
		return;
	write(again, sizeof(again), first);
	assert_int_equal(read(again, &second), 0);
	assert_true(first == second);
}

static void check_word(const char *word)
{
	size_t key_length;
	const char *value = syntax_value(word, &key_length);
	uint64_t number;
	int flag;

	if (value) {
		assert_true(key_length > 0 && word[key_length] == '=');
		assert_ptr_equal(value, word + key_length + 1);
	} else {
		value = word;
	}
	check_number(value, syntax_size, syntax_format_size);
	check_number(value, syntax_time, syntax_format_time);
	check_number(value, syntax_rate, syntax_format_rate);
	syntax_number(value, &number);
	syntax_flag(value, &flag);
}

/* The words, written as a line of their own. Returns 0 if that is too long. */
static size_t write_line(char *text, size_t size,
			 const struct syntax_line *line)
{
	size_t at = 0;
	int i;

	for (i = 0; i < line->count; i++) {
		if (i)
			text[at++] = ' ';
		at += syntax_quote(text + at, size - at, line->words[i]);
		if (at > SYNTAX_LINE_MAX)
			return 0;
	}
	return at;
}

static void check_line(const char *text, size_t length)
{
	static struct syntax_line line, again;
	static char written[2 * SYNTAX_LINE_MAX];
	const char *why = NULL;
	size_t at;
	int i;

	if (syntax_split(&line, text, length, &why) < 0) {
		assert_non_null(why);
		return;
	}
	assert_true(line.count >= 0 && line.count <= SYNTAX_WORDS_MAX);
	for (i = 0; i < line.count; i++)
		check_word(line.words[i]);
	at = write_line(written, sizeof(written), &line);
	if (!at)
		return;
	assert_int_equal(syntax_split(&again, written, at, &why), 0);
	assert_null(again.tag);
	assert_int_equal(again.count, line.count);
	for (i = 0; i < line.count; i++)
		assert_string_equal(again.words[i], line.words[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *text = (const char *)bytes, *end = text + size;

	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t length = (size_t)((stop ? stop : end) - text);

		/* A reader gives longer ones to nobody. */
		if (length <= SYNTAX_LINE_MAX)
			check_line(text, length);
		text += length + 1;
	}
	return 0;
}
