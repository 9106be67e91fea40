#include "option.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hint.h"

#define NAME_MAX_BYTES 63

static int has_choices(const struct option *option)
{
	return option->type == OPTION_CHOICE || option->type == OPTION_LIST;
}

void option_format_type(const struct option *option, char *text, size_t size)
{
	static const char *const names[] = {
		[OPTION_SIZE] = "SIZE",	      [OPTION_NUMBER] = "N",
		[OPTION_FLAG] = "yes|no",     [OPTION_NAME] = "NAME",
		[OPTION_PATH] = "PATH",	      [OPTION_TIME] = "TIME",
		[OPTION_RATE] = "RATE",	      [OPTION_LIST] = NULL,
		[OPTION_URI] = "URI",	      [OPTION_TEXT] = "TEXT",
		[OPTION_SOURCE] = "PATH|URI",
	};
	const char *between = option->type == OPTION_LIST ? "," : "|";
	size_t at = 0;
	int i;

	if (option->type == OPTION_LIST)
		at = (size_t)snprintf(text, size, "all|");
	for (i = 0; option->choices && option->choices[i] && at < size; i++)
		at += (size_t)snprintf(text + at, size - at, "%s%s",
				       i ? between : "", option->choices[i]);
	if (names[option->type] && at < size)
		snprintf(text + at, size - at, "%s%s", at ? "|" : "",
			 names[option->type]);
}

int option_find(const struct option *table, const char *name, size_t length)
{
	int i;

	for (i = 0; table[i].name; i++)
		if (strlen(table[i].name) == length &&
		    memcmp(table[i].name, name, length) == 0)
			return i;
	return -1;
}

static int read_name(const char *text)
{
	size_t i;

	for (i = 0; text[i]; i++)
		if (!isalnum((unsigned char)text[i]) &&
		    !strchr("._-:", text[i]))
			return -EINVAL;
	/* "." and ".." name no file, as /dev/ublk/by-name would need. */
	return i == strspn(text, ".") || i > NAME_MAX_BYTES ? -EINVAL : 0;
}

/* The index of the choice that is length bytes at text, or -1. */
static int find_choice(const char *const *choices, const char *text,
		       size_t length)
{
	int i;

	for (i = 0; choices[i]; i++)
		if (strlen(choices[i]) == length &&
		    memcmp(choices[i], text, length) == 0)
			return i;
	return -1;
}

static int read_choice(const char *const *choices, const char *text,
		       uint64_t *number)
{
	int which = find_choice(choices, text, strlen(text));

	*number = which < 0 ? 0 : (uint64_t)which;
	return which < 0 ? -EINVAL : 0;
}

/* Choices with commas between them. */
static int read_list(const char *const *choices, const char *text,
		     uint64_t *number)
{
	size_t length;
	int which;

	*number = 0;
	if (strcmp(text, "all") == 0) {
		for (which = 0; choices[which]; which++)
			*number |= 1ULL << which;
		return 0;
	}
	for (;; text += length + 1) {
		length = strcspn(text, ",");
		which = find_choice(choices, text, length);
		if (which < 0)
			return -EINVAL;
		*number |= 1ULL << which;
		if (!text[length])
			return 0;
	}
}

static int read_path(const char *const *choices, const char *text,
		     uint64_t *number)
{
	if (choices && read_choice(choices, text, number) == 0)
		return 0;
	*number = OPTION_IS_PATH;
	return text[0] == '/' && strlen(text) <= OPTION_PATH_MAX ? 0 : -EINVAL;
}

static int read_text(const char *text)
{
	size_t i;

	for (i = 0; text[i]; i++)
		if (iscntrl((unsigned char)text[i]))
			return -EINVAL;
	return i > OPTION_PATH_MAX ? -EINVAL : 0;
}

static int read_uri(const char *text, uint64_t *number)
{
	const char *rest = strstr(text, "://");

	*number = OPTION_IS_PATH;
	return rest && rest > text ? read_text(text) : -EINVAL;
}

/* A choice in place of a number; there is one, and it counts as 0. */
static int is_word(const struct option *option, const char *text)
{
	return option->type == OPTION_SIZE && option->choices &&
	       strcmp(text, option->choices[0]) == 0;
}

static __attribute__((cold)) int parse(const struct option *option,
				       const char *text, uint64_t *number)
{
	int error, flag = 0;

	*number = 0;
	switch (option->type) {
	case OPTION_SIZE:
		if (is_word(option, text))
			return 0;
		return syntax_size(text, number);
	case OPTION_NUMBER:
		return syntax_number(text, number);
	case OPTION_TIME:
		return syntax_time(text, number);
	case OPTION_RATE:
		return syntax_rate(text, number);
	case OPTION_FLAG:
		error = syntax_flag(text, &flag);
		*number = (uint64_t)flag;
		return error;
	case OPTION_NAME:
		return read_name(text);
	case OPTION_CHOICE:
		return read_choice(option->choices, text, number);
	case OPTION_PATH:
		return read_path(option->choices, text, number);
	case OPTION_LIST:
		return read_list(option->choices, text, number);
	case OPTION_URI:
		return read_uri(text, number);
	case OPTION_SOURCE:
		return text[0] == '/' ? read_path(NULL, text, number)
				      : read_uri(text, number);
	case OPTION_TEXT:
		return read_text(text);
	}
	return -EINVAL;
}

/*
 * KB has meant 1000 bytes as well as 1024, so it is none of the units here.
 * Returns -1, or 0 if that is not the mistake.
 */
static int fail_decimal(const struct option *option, const char *text,
			struct failure *failure)
{
	size_t length = strlen(text);
	char number[32];
	uint64_t bytes;

	if (length < 2 || length >= sizeof(number) ||
	    isdigit((unsigned char)text[length - 2]) ||
	    toupper((unsigned char)text[length - 1]) != 'B')
		return 0;
	snprintf(number, sizeof(number), "%.*s", (int)length - 1, text);
	if (syntax_size(number, &bytes) == -EINVAL)
		return 0;
	return failure_set(failure, SYMBOL_ARG, 0, option->name,
			   "%s=%s: write %s or %siB, which are powers of 1024",
			   option->name, text, number, number);
}

static int fail_size(const struct option *option, const char *text, int error,
		     struct failure *failure)
{
	if (error == -EDOM)
		return failure_set(failure, SYMBOL_ARG, 0, option->name,
				   "%s=%s is not a whole number of bytes",
				   option->name, text);
	if (fail_decimal(option, text, failure) < 0)
		return -1;
	return failure_set(failure, SYMBOL_ARG, 0, option->name,
			   "%s=%s is not %s%sa size, such as 1048576, 64M, "
			   "1.5G or 3TiB",
			   option->name, text,
			   option->choices ? option->choices[0] : "",
			   option->choices ? " or " : "");
}

static int fail_value(const struct option *option, const char *text, int error,
		      struct failure *failure)
{
	static const char *const words[] = {
		[OPTION_NUMBER] = "a number",
		[OPTION_TIME] = "a time: digits, then us, ms or s",
		[OPTION_RATE] = "a probability, such as 0.01 or 1%",
		[OPTION_FLAG] = "yes or no",
		[OPTION_NAME] =
			"1 to 63 letters, digits and . _ - :, not just dots",
		[OPTION_URI] = "a URI, such as nbd://HOST:PORT/EXPORT",
		[OPTION_SOURCE] = ("a path, which begins with /, nor a URI, "
				   "such as nbd://HOST:PORT/EXPORT"),
		[OPTION_TEXT] = "a text of at most 400 bytes in one line",
	};
	char choices[100];

	if (option->type == OPTION_SIZE)
		return fail_size(option, text, error, failure);
	option_format_type(option, choices, sizeof(choices));
	if (option->type == OPTION_PATH)
		return failure_set(failure, SYMBOL_ARG, 0, option->name,
				   "%s=%.200s is not %s: a path begins with / "
				   "and has at most %d bytes",
				   option->name, text, choices,
				   OPTION_PATH_MAX);
	return failure_set(failure, SYMBOL_ARG, 0, option->name,
			   "%s=%s is not %s", option->name, text,
			   has_choices(option) ? choices : words[option->type]);
}

void option_format(const struct option *option, char *text, size_t size,
		   uint64_t number)
{
	if (option->type == OPTION_SIZE)
		syntax_format_size(text, size, number);
	else if (option->type == OPTION_TIME)
		syntax_format_time(text, size, number);
	else if (option->type == OPTION_RATE)
		syntax_format_rate(text, size, number);
	else
		snprintf(text, size, "%llu", (unsigned long long)number);
}

/* All, or some choices with commas between them. */
static void format_list(const char *const *choices, uint64_t number, char *text,
			size_t size)
{
	uint64_t all = 0;
	size_t at = 0;
	int i;

	for (i = 0; choices[i]; i++)
		all |= 1ULL << i;
	if (number == all)
		snprintf(text, size, "all");
	for (i = 0; number != all && choices[i] && at < size; i++)
		if (number & 1ULL << i)
			at += (size_t)snprintf(text + at, size - at, "%s%s",
					       at ? "," : "", choices[i]);
}

static void format_value(const struct option *option,
			 const struct option_value *value, char *text,
			 size_t size)
{
	const char *word = NULL;

	if (option->type == OPTION_LIST) {
		format_list(option->choices, value->number, text, size);
		return;
	}
	if (option->type == OPTION_FLAG)
		word = value->number ? "yes" : "no";
	else if (option->type == OPTION_NAME || option->type == OPTION_TEXT ||
		 value->number == OPTION_IS_PATH)
		word = value->text;
	else if (option->choices &&
		 (option->type != OPTION_SIZE || value->number == 0))
		word = option->choices[value->number];
	if (word)
		snprintf(text, size, "%s", word);
	else
		option_format(option, text, size, value->number);
}

size_t option_write(const struct option *option,
		    const struct option_value *value, char *text, size_t size)
{
	char word[OPTION_PATH_MAX + 100];
	size_t at = (size_t)snprintf(word, sizeof(word), "%s=", option->name);

	format_value(option, value, word + at, sizeof(word) - at);
	return syntax_quote(text, size, word);
}

static int fail_range(const struct option *option, const char *text,
		      struct failure *failure)
{
	char min[32], max[32];

	option_format(option, min, sizeof(min), option->min);
	option_format(option, max, sizeof(max), option->max);
	return failure_set(failure, SYMBOL_RANGE, 0, option->name,
			   "%s=%s is out of range: %s to %s", option->name,
			   text, min, max);
}

int option_has_range(const struct option *option)
{
	return option->type == OPTION_SIZE || option->type == OPTION_NUMBER ||
	       option->type == OPTION_TIME || option->type == OPTION_RATE;
}

int option_is_default(const struct option *option,
		      const struct option_value *value)
{
	uint64_t number;

	return option->fallback &&
	       parse(option, option->fallback, &number) == 0 &&
	       number == value->number;
}

int option_read(const struct option *option, struct option_value *value,
		const char *text, struct failure *failure)
{
	uint64_t number;
	int error;

	if (value->given)
		return failure_set(failure, SYMBOL_ARG, 0, option->name,
				   "%s= is given twice", option->name);
	error = parse(option, text, &number);
	if (error == -ERANGE)
		return fail_range(option, text, failure);
	if (error)
		return fail_value(option, text, error, failure);
	if (option_has_range(option) && !is_word(option, text) &&
	    (number < option->min || number > option->max))
		return fail_range(option, text, failure);
	value->given = 1;
	value->number = number;
	value->text = text;
	return 0;
}

void option_defaults(const struct option *table, struct option_value *values)
{
	int i;

	for (i = 0; table[i].name; i++) {
		values[i] = (struct option_value){ .text = table[i].fallback };
		if (table[i].fallback)
			parse(&table[i], table[i].fallback, &values[i].number);
	}
}

int option_check_required(const struct option *table,
			  const struct option_value *values,
			  struct failure *failure)
{
	int i;

	for (i = 0; table[i].name; i++)
		if (table[i].required && !values[i].given)
			return failure_set(failure, SYMBOL_ARG, 0,
					   table[i].name, "%s= is missing: %s",
					   table[i].name, table[i].help);
	return 0;
}

static int read_pair(const struct option_reader *reader, const char *word,
		     size_t length, const char *value, struct failure *failure)
{
	const struct option_set *set;
	const struct option *option;
	char key[sizeof(failure->arg)];
	struct hint hint;

	hint_begin(&hint, word, length);
	for (set = reader->sets; set->table; set++) {
		int which = option_find(set->table, word, length);

		if (which >= 0)
			return option_read(&set->table[which],
					   &set->values[which], value, failure);
		for (option = set->table; option->name; option++)
			hint_offer(&hint, option->name);
	}
	snprintf(key, sizeof(key), "%.*s", (int)length, word);
	return failure_set(failure, SYMBOL_UNKNOWN, 0, key,
			   "%s has no option %s; %s'help %s' lists them",
			   reader->owner, key, hint_text(&hint), reader->topic);
}

int option_read_line(const struct option_reader *reader,
		     const struct syntax_line *line, int first, int max_words,
		     struct failure *failure)
{
	const struct option_set *set;
	const char *value;
	size_t length;
	int i;

	for (set = reader->sets; set->table; set++)
		option_defaults(set->table, set->values);
	for (i = first; i < line->count; i++) {
		value = syntax_value(line->words[i], &length);
		if (!value && --max_words < 0)
			return i;
		if (value && read_pair(reader, line->words[i], length, value,
				       failure) < 0) {
			failure->word = i;
			return -1;
		}
	}
	for (set = reader->sets; set->table; set++)
		if (option_check_required(set->table, set->values, failure) < 0)
			return -1;
	return 0;
}
