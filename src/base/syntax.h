/*
 * The grammar of a line: words, quotes, key=value, sizes; and back again.
 *
 * The admin protocol and the configuration file share it. Nothing here
 * allocates or keeps state.
 */
#ifndef UBLKD_SYNTAX_H
#define UBLKD_SYNTAX_H

#include <stddef.h>
#include <stdint.h>

#define SYNTAX_LINE_MAX	 4096 /* bytes of a line, its LF not counted */
#define SYNTAX_WORDS_MAX 64   /* words of a line, its @tag not counted */
#define SYNTAX_TAG_MAX	 64   /* bytes of a tag, the @ not counted */

/* A line that was split. The words point into the buffer. */
struct syntax_line {
	const char *tag; /* without its @, or NULL */
	int count;
	const char *words[SYNTAX_WORDS_MAX];
	/* Bytes of the text before each word, and before the one with a mistake,
	   or what is no UTF-8. */
	uint16_t starts[SYNTAX_WORDS_MAX], mistake;
	char buffer[SYNTAX_LINE_MAX + 1];
};

/*
 * Split length bytes (no LF; a trailing CR is taken off) into words. A blank
 * line or one that begins with # has count 0; an unquoted word that begins
 * with # ends the line. Returns 0, or -1 with *why naming the mistake; the
 * tag is valid in both cases if the line began with one.
 */
int syntax_split(struct syntax_line *line, const char *text, size_t length,
		 const char **why) __attribute__((cold));

/*
 * Bytes of the text before the word that a failure's arg names, the whole word
 * or the key of a key=value; 0 if there is none. The line was split.
 */
size_t syntax_find(const struct syntax_line *line, const char *arg)
	__attribute__((cold));

/*
 * The next word of a line that ends at `end`, by the rules of syntax_split(), or NULL;
 * *at goes on behind it. The word takes the place of what stood there, and may have
 * a byte at `end` for its NUL. Of a quote that is not closed there is what there is.
 */
char *syntax_next(char **at, const char *end);

/*
 * If word is key=value, return its value and set *key_length; else NULL. Any
 * key will do, but an empty one: one that is misspelt is still a key.
 */
const char *syntax_value(const char *word, size_t *key_length);

/*
 * A size in bytes: a decimal number, then at most one of K M G T P E (either
 * case) or of KiB MiB GiB TiB PiB EiB, powers of 1024. Returns 0, -EINVAL for a
 * malformed one, -EDOM for one that is no whole number of bytes, or -ERANGE for
 * one that is negative or does not fit.
 */
int syntax_size(const char *text, uint64_t *value) __attribute__((cold));

/* A plain decimal number, with the errors of syntax_size(). */
int syntax_number(const char *text, uint64_t *value);

/*
 * A time in microseconds: digits, then us, ms or s; or just 0. The errors are
 * those of syntax_size().
 */
int syntax_time(const char *text, uint64_t *value);

/*
 * A probability in billionths: a decimal fraction such as 0.01, or 1%, with at
 * most 9 digits behind the point (7 of a percentage). The errors are those of
 * syntax_size(); above 1 is -ERANGE.
 */
int syntax_rate(const char *text, uint64_t *value) __attribute__((cold));

#define SYNTAX_RATE_ONE 1000000000u /* what always happens */

/* yes, no, on, off, true, false, 1, 0. Returns 0 or -EINVAL. */
int syntax_flag(const char *text, int *value);

/* The length of the UTF-8 sequence at text, or 0 if it is malformed, or a NUL. */
size_t syntax_character(const char *text, size_t left);

/* Whether the bytes are well-formed UTF-8 without NUL. */
int syntax_is_utf8(const char *text, size_t length);

/*
 * Write text as one word that syntax_split() reads back as the same bytes:
 * bare if it can be, else in double quotes, control characters escaped always.
 * Truncates at size (always terminated). Returns the length it wanted.
 */
size_t syntax_quote(char *buffer, size_t size, const char *text);

/* The same, always in quotes: for text="..." that people read. */
size_t syntax_quote_text(char *buffer, size_t size, const char *text)
	__attribute__((cold));

/* Format bytes as the shortest exact size, 64M or 1000; at least 24 bytes. */
void syntax_format_size(char *buffer, size_t size, uint64_t bytes);

/* The same for a time, 5ms or 1500us, and a probability, 0.25. */
void syntax_format_time(char *buffer, size_t size, uint64_t time);
void syntax_format_rate(char *buffer, size_t size, uint64_t rate);

#endif
