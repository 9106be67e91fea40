#include "hint.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SLIPS_MAX	2
#define LONG_WORD	5 /* bytes from which a word may have so many */
#define BEGINNING_LEAST 3 /* bytes of a name cut short, or with an end added */

/* Part of a word that has not been compared yet. */
struct rest {
	const char *at;
	size_t length;
};

static struct rest skip(struct rest rest, size_t length)
{
	return (struct rest){ rest.at + length, rest.length - length };
}

static int is_same(char one, char other)
{
	return tolower((unsigned char)one) == tolower((unsigned char)other);
}

static int is_swapped(struct rest one, struct rest other)
{
	return one.length > 1 && other.length > 1 &&
	       is_same(one.at[0], other.at[1]) &&
	       is_same(one.at[1], other.at[0]);
}

/*
 * Whether so many slips make one word of the other: a letter more, a letter
 * less, another letter, or two that have changed places. It calls itself once
 * for each slip.
 */
static __attribute__((cold)) int is_within(struct rest one, struct rest other,
					   int slips)
{
	while (one.length && other.length && is_same(*one.at, *other.at)) {
		one = skip(one, 1);
		other = skip(other, 1);
	}
	if (one.length == 0 || other.length == 0)
		return one.length + other.length <= (size_t)slips;
	if (slips-- == 0)
		return 0;
	return is_within(skip(one, 1), skip(other, 1), slips) ||
	       is_within(skip(one, 1), other, slips) ||
	       is_within(one, skip(other, 1), slips) ||
	       (is_swapped(one, other) &&
		is_within(skip(one, 2), skip(other, 2), slips));
}

/* Such as "delete" for "del", and "feat" for "features". */
static int is_beginning(struct rest one, struct rest other)
{
	size_t length = one.length < other.length ? one.length : other.length;

	return length >= BEGINNING_LEAST &&
	       strncasecmp(one.at, other.at, length) == 0;
}

void hint_begin(struct hint *hint, const char *word, size_t length)
{
	hint->word = word;
	hint->length = length;
	hint->name = NULL;
	hint->slips = length < 2 ? 0 : length < LONG_WORD ? 1 : SLIPS_MAX;
}

void hint_offer(struct hint *hint, const char *name)
{
	struct rest word = { hint->word, hint->length };
	struct rest known = { name, strlen(name) };

	if (!hint->name && is_beginning(word, known))
		hint->name = name;
	while (hint->slips >= 0 && is_within(word, known, hint->slips)) {
		hint->name = name;
		hint->slips--;
	}
}

const char *hint_text(struct hint *hint)
{
	hint->text[0] = '\0';
	if (hint->name)
		snprintf(hint->text, sizeof(hint->text), "did you mean '%s'? ",
			 hint->name);
	return hint->text;
}
