/* The grammar: splitting, quoting, sizes, and back again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "base/syntax.h"

static struct syntax_line line;
static const char *why;

/* The tag and the words as one text: "@tag|word|word". */
static const char *joined(void)
{
	static char text[2 * SYNTAX_LINE_MAX];
	int i, at = 0;

	text[0] = '\0';
	if (line.tag)
		at = snprintf(text, sizeof(text), "@%s", line.tag);
	for (i = 0; i < line.count; i++)
		at += snprintf(text + at, sizeof(text) - (size_t)at, "%s%s",
			       at || i ? "|" : "", line.words[i]);
	return text;
}

/*
 * Split a copy that ends where its memory does, so that a byte read too many
 * is one that AddressSanitizer sees.
 */
static int split(const char *text, size_t length)
{
	char *copy = malloc(length ? length : 1);
	int result;

	assert_non_null(copy);
	memcpy(copy, text, length);
	memset(&line, 0x5a, sizeof(line));
	why = NULL;
	result = syntax_split(&line, copy, length, &why);
	free(copy);
	return result;
}

static void splits(const char *text, const char *expected, int count)
{
	int result = split(text, strlen(text));

	if (result)
		fail_msg("'%s' is refused: %s", text, why);
	assert_string_equal(joined(), expected);
	assert_int_equal(line.count, count);
}

static void refuses(const char *text, const char *reason)
{
	if (split(text, strlen(text)) == 0)
		fail_msg("'%s' is accepted: %s", text, joined());
	assert_non_null(why);
	if (!strstr(why, reason))
		fail_msg("'%s': '%s' does not tell '%s'", text, why, reason);
}

static void test_words(void **state)
{
	splits("list", "list", 1);
	splits("add ram size=1G", "add|ram|size=1G", 3);
	splits("  add\t ram \t", "add|ram", 2);
	splits("a\\nb", "a\\nb", 1); /* outside quotes it is a byte as others */
	splits("key=@x @y", "key=@x|@y", 2);
	splits("gr\xc3\xb6\xc3\x9f"
	       "e \xe2\x82\xac \xf0\x9f\x92\xbe",
	       "gr\xc3\xb6\xc3\x9f"
	       "e|\xe2\x82\xac|\xf0\x9f\x92\xbe",
	       3);
}

static void test_quotes(void **state)
{
	splits("\"a b\" c", "a b|c", 2);
	splits("'a b' c", "a b|c", 2);
	splits("a\"b c\"d'e f'g", "ab cde fg", 1);
	splits("name=\"a b\"", "name=a b", 1);
	splits("\"\"", "", 1);
	splits("'' \"\" x", "||x", 3);
	splits("'a\\nb\"'", "a\\nb\"", 1);
	splits("\"it's\"", "it's", 1);
	splits("'#a' \"#b\"", "#a|#b", 2);
	splits("\"@a\" b", "@a|b", 2);
	assert_null(line.tag);
	refuses("\"a", "not closed");
	refuses("'a", "not closed");
	refuses("a \"b c", "not closed");
	refuses("\"", "not closed");
	refuses("'", "not closed");
	refuses("a'b\"c", "not closed");
}

static void test_escapes(void **state)
{
	splits("\"\\n\\t\\\"\\\\\"", "\n\t\"\\", 1);
	splits("\"\\x41\\x7a\\x7A\\xfF\"", "Azz\xff", 1);
	splits("\"\\x0a\\x0d\\x20\"", "\n\r ", 1);
	splits("a\"\\x2\x30\"b", "a b", 1);
	refuses("\"\\q\"", "unknown escape");
	refuses("\"\\r\"", "unknown escape");
	refuses("\"\\X41\"", "unknown escape");
	refuses("\"\\'\"", "unknown escape");
	refuses("\"\\x\"", "hexadecimal");
	refuses("\"\\x4\"", "hexadecimal");
	refuses("\"\\xg0\"", "hexadecimal");
	refuses("\"\\x0g\"", "hexadecimal");
	refuses("\"\\x:0\"", "hexadecimal");
	refuses("\"\\x@0\"", "hexadecimal");
	refuses("\"\\x`0\"", "hexadecimal");
	refuses("\"\\x/0\"", "hexadecimal");
	refuses("\"\\x", "hexadecimal");
	refuses("\"\\x4", "hexadecimal");
	refuses("\"a\\", "not closed");
	refuses("\"\\x00\"", "NUL");
	refuses("a \"\\n\\x00b\"", "NUL");
}

/* Every byte but NUL can be written as \xHH, in either case. */
static void test_every_hex(void **state)
{
	char text[16];
	unsigned byte;

	for (byte = 1; byte < 256; byte++) {
		snprintf(text, sizeof(text),
			 byte & 1 ? "\"\\x%02x\"" : "\"\\x%02X\"", byte);
		assert_int_equal(split(text, strlen(text)), 0);
		assert_int_equal(line.count, 1);
		assert_int_equal((unsigned char)line.words[0][0], byte);
		assert_int_equal(line.words[0][1], '\0');
	}
}

static void test_tags(void **state)
{
	char text[128];

	splits("@a ping", "@a|ping", 1);
	splits("  @a-1:/ ping x", "@a-1:/|ping|x", 2);
	splits("@a @b", "@a|@b", 1);
	splits("@@ x", "@@|x", 1);
	splits("@gr\xc3\xb6 x", "@gr\xc3\xb6|x", 1);
	splits("ping @a", "ping|@a", 2);
	assert_null(line.tag);
	refuses("@ ping", "empty");
	refuses("@", "empty");
	refuses("@a", "without a command");
	refuses("@a # ping", "without a command");
	assert_string_equal(line.tag, "a");
	refuses("@\"a b\" ping", "blanks");
	refuses("@a\x01 ping", "control");
	refuses("@\"\\n\" ping", "control");
	refuses("@a\x7f ping", "control");

	memset(text, 'x', sizeof(text));
	text[0] = '@';
	memcpy(text + 1 + SYNTAX_TAG_MAX, " ping", 6);
	assert_int_equal(split(text, strlen(text)), 0);
	assert_int_equal(strlen(line.tag), SYNTAX_TAG_MAX);
	text[1 + SYNTAX_TAG_MAX] = 'x';
	memcpy(text + 2 + SYNTAX_TAG_MAX, " ping", 6);
	refuses(text, "64 bytes");
	assert_null(line.tag);
}

/* A tag goes into replies as it is: it must not be able to spoil them. */
static void test_tag_is_text(void **state)
{
	refuses("@a\xc2\x9b ping", "tag");
	refuses("@\"\\x9b\" ping", "tag");
	refuses("@\"\\xc2\" ping", "tag");
}

/* Who pipelines needs the tag of the line that was wrong. */
static void test_tag_of_a_mistake(void **state)
{
	char text[300];

	refuses("@a \"b", "not closed");
	assert_string_equal(line.tag, "a");
	refuses("@a x \"\\q\"", "escape");
	assert_string_equal(line.tag, "a");
	snprintf(text, sizeof(text), "@a");
	while (strlen(text) < 140)
		add_text(text, sizeof(text), " b");
	refuses(text, "64 words");
	assert_string_equal(line.tag, "a");
	refuses("\"b", "not closed");
	assert_null(line.tag);
}

static void test_tag_of_bad_bytes(void **state)
{
	refuses("@a ping \xff", "UTF-8");
	assert_non_null(line.tag);
	assert_string_equal(line.tag, "a");
	assert_int_equal(split("@a x\0y", 6), -1);
	assert_non_null(line.tag);
	assert_string_equal(line.tag, "a");
}

static void test_nothing(void **state)
{
	static const char *const blank[] = { "",     " ",	 "\t \t",
					     "\r",   " \r",	 "#",
					     "# \"", "  # x 'y", "#@a ping" };
	size_t i;

	for (i = 0; i < COUNT(blank); i++) {
		splits(blank[i], "", 0);
		assert_null(line.tag);
	}
	splits("a # b", "a", 1);
	splits("a #", "a", 1);
	splits("a #b \"c", "a", 1);
	splits("a#b c#", "a#b|c#", 2);
	splits("@a ping # b", "@a|ping", 1);
}

static void test_carriage_return(void **state)
{
	splits("a b\r", "a|b", 2);
	splits("a b \r", "a|b", 2);
	splits("a\rb", "a\rb", 1);
	splits("a\r\r", "a\r", 1);
	splits("a # b\r", "a", 1);
	refuses("\"a\r", "not closed");
}

static void test_line_limit(void **state)
{
	char text[SYNTAX_LINE_MAX + 3];

	memset(text, 'a', sizeof(text));
	assert_int_equal(split(text, SYNTAX_LINE_MAX), 0);
	assert_int_equal(line.count, 1);
	assert_int_equal(strlen(line.words[0]), SYNTAX_LINE_MAX);
	text[SYNTAX_LINE_MAX] = '\r';
	assert_int_equal(split(text, SYNTAX_LINE_MAX + 1), 0);
	text[SYNTAX_LINE_MAX] = 'a';
	assert_int_equal(split(text, SYNTAX_LINE_MAX + 1), -1);
	assert_non_null(strstr(why, "4096 bytes"));
	text[SYNTAX_LINE_MAX + 1] = '\r';
	assert_int_equal(split(text, SYNTAX_LINE_MAX + 2), -1);
	assert_non_null(strstr(why, "4096 bytes"));
	/* A comment is a line like others. */
	text[0] = '#';
	assert_int_equal(split(text, SYNTAX_LINE_MAX), 0);
	assert_int_equal(split(text, SYNTAX_LINE_MAX + 1), -1);
}

/* So many words behind what stands there. */
static size_t set_words(char *text, size_t size, const char *first, int count)
{
	snprintf(text, size, "%s", first);
	while (count-- > 0)
		add_text(text, size, " w");
	return strlen(text);
}

static void test_word_limit(void **state)
{
	char text[300];
	size_t length;

	length = set_words(text, sizeof(text), "", SYNTAX_WORDS_MAX);
	assert_int_equal(split(text, length), 0);
	assert_int_equal(line.count, SYNTAX_WORDS_MAX);
	add_text(text, sizeof(text), " ");
	assert_int_equal(split(text, strlen(text)), 0);
	add_text(text, sizeof(text), "# w");
	assert_int_equal(split(text, strlen(text)), 0);
	length = set_words(text, sizeof(text), "@t", SYNTAX_WORDS_MAX);
	assert_int_equal(split(text, length), 0);
	assert_int_equal(line.count, SYNTAX_WORDS_MAX);
	set_words(text, sizeof(text), "w", SYNTAX_WORDS_MAX);
	refuses(text, "64 words");
}

static void test_nul(void **state)
{
	assert_int_equal(split("a\0b", 3), -1);
	assert_non_null(strstr(why, "NUL"));
	assert_int_equal(split("\0", 1), -1);
	assert_int_equal(split("ping\0", 5), -1);
	assert_int_equal(split("# a\0", 4), -1);
}

/* ---- UTF-8 ---- */

/* Table 3-7 of the Unicode standard, as it stands there. */
static size_t reference_sequence(const unsigned char *at, size_t left)
{
	static const struct {
		unsigned char first[2], second[2];
		size_t length;
	} rows[] = {
		{ { 0xc2, 0xdf }, { 0x80, 0xbf }, 2 },
		{ { 0xe0, 0xe0 }, { 0xa0, 0xbf }, 3 },
		{ { 0xe1, 0xec }, { 0x80, 0xbf }, 3 },
		{ { 0xed, 0xed }, { 0x80, 0x9f }, 3 },
		{ { 0xee, 0xef }, { 0x80, 0xbf }, 3 },
		{ { 0xf0, 0xf0 }, { 0x90, 0xbf }, 4 },
		{ { 0xf1, 0xf3 }, { 0x80, 0xbf }, 4 },
		{ { 0xf4, 0xf4 }, { 0x80, 0x8f }, 4 },
	};
	size_t i, j;

	if (at[0] > 0 && at[0] < 0x80)
		return 1;
	for (i = 0; i < COUNT(rows); i++) {
		if (at[0] < rows[i].first[0] || at[0] > rows[i].first[1])
			continue;
		if (left < rows[i].length || at[1] < rows[i].second[0] ||
		    at[1] > rows[i].second[1])
			return 0;
		for (j = 2; j < rows[i].length; j++)
			if (at[j] < 0x80 || at[j] > 0xbf)
				return 0;
		return rows[i].length;
	}
	return 0;
}

static int reference_is_utf8(const unsigned char *at, size_t left)
{
	while (left) {
		size_t n = reference_sequence(at, left);

		if (n == 0)
			return 0;
		at += n;
		left -= n;
	}
	return 1;
}

static void test_utf8_forms(void **state)
{
	static const char *const good[] = { "",
					    "a",
					    "\x7f",
					    "\xc2\x80",
					    "\xdf\xbf",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xee\x80\x80",
					    "\xef\xbf\xbf",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf",
					    "a\xc3\xa9z" };
	static const char *const bad[] = { "\x80",
					   "\xbf",
					   "\xc0\x80",
					   "\xc1\xbf",
					   "\xe0\x80\x80",
					   "\xe0\x9f\xbf",
					   "\xf0\x80\x80\x80",
					   "\xf0\x8f\xbf\xbf",
					   "\xed\xa0\x80",
					   "\xed\xbf\xbf",
					   "\xf4\x90\x80\x80",
					   "\xf5\x80\x80\x80",
					   "\xf7\xbf\xbf\xbf",
					   "\xf8\x88\x80\x80\x80",
					   "\xfc\x84\x80\x80\x80\x80",
					   "\xfe",
					   "\xff",
					   "\xc3",
					   "\xe2\x82",
					   "\xf0\x9f\x92",
					   "\xc3z",
					   "\xe2z\xac",
					   "\xe2\x82z",
					   "\xf0\x9f\x92z",
					   "a\xc3",
					   "\xc3\xa9\xa9" };
	size_t i;

	for (i = 0; i < COUNT(good); i++) {
		if (!syntax_is_utf8(good[i], strlen(good[i])))
			fail_msg("good[%zu] is refused", i);
		assert_int_equal(split(good[i], strlen(good[i])), 0);
	}
	for (i = 0; i < COUNT(bad); i++) {
		if (syntax_is_utf8(bad[i], strlen(bad[i])))
			fail_msg("bad[%zu] is accepted", i);
		refuses(bad[i], "UTF-8");
	}
	assert_false(syntax_is_utf8("\0", 1));
	assert_false(syntax_is_utf8("a\0b", 3));
}

static void check_utf8(const unsigned char *bytes, size_t length)
{
	if (syntax_is_utf8((const char *)bytes, length) !=
	    reference_is_utf8(bytes, length))
		fail_msg("%02x %02x %02x %02x, %zu bytes of it", bytes[0],
			 bytes[1], bytes[2], bytes[3], length);
}

/* Every pair; longer ones with bytes near where the rules change. */
static void test_utf8_against_table(void **state)
{
	static const unsigned char edges[] = {
		0x00, 0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
		0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
		0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xff
	};
	unsigned char bytes[4] = { 0 };
	unsigned a, b, c, d;

	for (a = 0; a < 256; a++)
		for (b = 0; b < 256; b++) {
			bytes[0] = (unsigned char)a;
			bytes[1] = (unsigned char)b;
			check_utf8(bytes, 1);
			check_utf8(bytes, 2);
		}
	for (a = 0; a < COUNT(edges); a++)
		for (b = 0; b < COUNT(edges); b++)
			for (c = 0; c < COUNT(edges); c++)
				for (d = 0; d < COUNT(edges); d++) {
					bytes[0] = edges[a];
					bytes[1] = edges[b];
					bytes[2] = edges[c];
					bytes[3] = edges[d];
					check_utf8(bytes, 3);
					check_utf8(bytes, 4);
				}
}

/* ---- values ---- */

static void test_value(void **state)
{
	static const struct {
		const char *word, *value;
		size_t key_length;
	} pairs[] = {
		{ "size=1G", "1G", 4 },
		{ "a=", "", 1 },
		{ "max-io2=a=b", "a=b", 7 },
		/* No option has such a name, but it was meant for one. */
		{ "Size=1G", "1G", 4 },
		{ "error_rate=1", "1", 10 },
		{ "-a=b", "b", 2 },
		{ "a b=c", "c", 3 },
		{ "/dev=x", "x", 4 },
		{ "\xc3\xa9=a", "a", 2 },
	};
	static const char *const none[] = { "", "=", "=a", "==", "a", "/dev" };
	size_t i, length;

	for (i = 0; i < COUNT(pairs); i++) {
		length = 77;
		assert_string_equal(syntax_value(pairs[i].word, &length),
				    pairs[i].value);
		assert_int_equal(length, pairs[i].key_length);
	}
	for (i = 0; i < COUNT(none); i++)
		if (syntax_value(none[i], &length))
			fail_msg("'%s' passes for key=value", none[i]);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		int error;
		uint64_t value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "1", 0, 1 },
		{ "0000512", 0, 512 },
		{ "1000", 0, 1000 },
		{ "1k", 0, 1024 },
		{ "1K", 0, 1024 },
		{ "3m", 0, 3ULL << 20 },
		{ "3M", 0, 3ULL << 20 },
		{ "250G", 0, 250ULL << 30 },
		{ "2g", 0, 2ULL << 30 },
		{ "7T", 0, 7ULL << 40 },
		{ "7t", 0, 7ULL << 40 },
		{ "9P", 0, 9ULL << 50 },
		{ "9p", 0, 9ULL << 50 },
		{ "15E", 0, 15ULL << 60 },
		{ "15e", 0, 15ULL << 60 },
		{ "0E", 0, 0 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "18446744073709551620", -ERANGE, 0 },
		{ "99999999999999999999999999", -ERANGE, 0 },
		{ "16E", -ERANGE, 0 },
		{ "16384P", -ERANGE, 0 },
		{ "16383P", 0, 16383ULL << 50 },
		{ "18014398509481984K", -ERANGE, 0 },
		{ "18014398509481983K", 0, 18014398509481983ULL << 10 },
		{ "-1", -ERANGE, 0 },
		{ "-1G", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "K", -EINVAL, 0 },
		{ "-", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "1 K", -EINVAL, 0 },
		{ "1KiB", 0, 1024 },
		{ "1kib", 0, 1024 },
		{ "64MiB", 0, 64ULL << 20 },
		{ "3GiB", 0, 3ULL << 30 },
		{ "3TiB", 0, 3ULL << 40 },
		{ "3PiB", 0, 3ULL << 50 },
		{ "15EiB", 0, 15ULL << 60 },
		{ "16EiB", -ERANGE, 0 },
		{ "1.5G", 0, 3ULL << 29 },
		{ "1.5GiB", 0, 3ULL << 29 },
		{ "0.5k", 0, 512 },
		{ "00.50K", 0, 512 },
		{ "0.125M", 0, 128 << 10 },
		{ "2.0009765625K", 0, 2049 },
		{ "1.0", 0, 1 },
		{ "7.000", 0, 7 },
		{ "1.0E", 0, 1ULL << 60 },
		{ "15.5E", 0, 31ULL << 59 },
		{ "15.9375E", 0, 255ULL << 56 },
		{ "16.0E", -ERANGE, 0 },
		/* 2^-60, and the largest number that has 64 bits */
		{ "0.00000000000000000086736173798840354720596224069595336914"
		  "0625E",
		  0, 1 },
		{ "15.99999999999999999913263826201159645279403775930404663085"
		  "9375E",
		  0, UINT64_MAX },
		{ "0.00000000000000000043368086899420177360298112034797668457"
		  "03125E",
		  -EDOM, 0 },
		{ "0.5000000000000000000000000000000000000000000000000000000000"
		  "000000000000000000000000000000000000000000K",
		  0, 512 },
		{ "0.5000000000000000000000000000000000000000000000000000000000"
		  "000000000000000000000000000000000000000001K",
		  -EDOM, 0 },
		{ "1.5", -EDOM, 0 },
		{ "0.1", -EDOM, 0 },
		{ "1.0001K", -EDOM, 0 },
		{ "0.0001K", -EDOM, 0 },
		{ "0.3G", -EDOM, 0 },
		{ "1.", -EINVAL, 0 },
		{ "1.K", -EINVAL, 0 },
		{ ".5K", -EINVAL, 0 },
		{ ".", -EINVAL, 0 },
		{ "1.5.5K", -EINVAL, 0 },
		{ "1.-5K", -EINVAL, 0 },
		{ "-1.5G", -ERANGE, 0 },
		{ "1.5Q", -EINVAL, 0 },
		{ "1.5 G", -EINVAL, 0 },
		{ "99999999999999999999.5G", -ERANGE, 0 },
		{ "1KB", -EINVAL, 0 },
		{ "1kB", -EINVAL, 0 },
		{ "1.5GB", -EINVAL, 0 },
		{ "1Ki", -EINVAL, 0 },
		{ "1KiBs", -EINVAL, 0 },
		{ "1iB", -EINVAL, 0 },
		{ "1KK", -EINVAL, 0 },
		{ "1KMiB", -EINVAL, 0 },
		{ "1Z", -EINVAL, 0 },
		{ "1ZiB", -EINVAL, 0 },
		{ "1B", -EINVAL, 0 },
		{ "1,5G", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "one", -EINVAL, 0 },
		{ "\xd9\xa1", -EINVAL, 0 }, /* a digit, but not of ours */
		{ "--1", -EINVAL, 0 },
	};
	uint64_t value;
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		value = 77;
		if (syntax_size(cases[i].text, &value) != cases[i].error)
			fail_msg("'%s': the wrong result", cases[i].text);
		if (cases[i].error == 0 && value != cases[i].value)
			fail_msg("'%s' becomes %llu", cases[i].text,
				 (unsigned long long)value);
	}
}

/* Any number of bytes, written in any unit, in full; and a little more. */
static void test_sizes_of_fractions(void **state)
{
	static const char units[] = "KMGTPE";
	uint64_t bytes, rest, value, below;
	char text[100];
	int i, unit, at;

	random_seed(6);
	for (i = 0; i < 20000; i++) {
		bytes = random_number(UINT64_MAX) >> random_number(64);
		unit = (int)random_number(6);
		below = (1ULL << 10 * (unit + 1)) - 1;
		at = snprintf(text, sizeof(text), "%llu.",
			      (unsigned long long)(bytes & ~below) >>
				      10 * (unit + 1));
		rest = bytes & below;
		do {
			rest *= 10;
			text[at++] = (char)('0' + (rest >> 10 * (unit + 1)));
			rest &= below;
		} while (rest);
		snprintf(text + at, sizeof(text) - (size_t)at, "%c",
			 units[unit]);
		if (syntax_size(text, &value) != 0 || value != bytes)
			fail_msg("%s is not %llu", text,
				 (unsigned long long)bytes);
		snprintf(text + at, sizeof(text) - (size_t)at, "1%ciB",
			 units[unit]);
		if (syntax_size(text, &value) != -EDOM)
			fail_msg("%s is whole", text);
	}
}

static void test_numbers(void **state)
{
	uint64_t value = 0;

	assert_int_equal(syntax_number("0", &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(syntax_number("18446744073709551615", &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(syntax_number("18446744073709551616", &value),
			 -ERANGE);
	assert_int_equal(syntax_number("-1", &value), -ERANGE);
	assert_int_equal(syntax_number("1K", &value), -EINVAL);
	assert_int_equal(syntax_number("", &value), -EINVAL);
	assert_int_equal(syntax_number("1 ", &value), -EINVAL);
	assert_int_equal(syntax_number("0x1", &value), -EINVAL);
}

static void test_flags(void **state)
{
	static const char *const yes[] = { "yes", "on", "true", "1" };
	static const char *const no[] = { "no", "off", "false", "0" };
	static const char *const bad[] = { "", "y", "YES", "2", "yes ", "tru" };
	size_t i;
	int value;

	for (i = 0; i < COUNT(yes); i++) {
		value = 0;
		assert_int_equal(syntax_flag(yes[i], &value), 0);
		assert_int_equal(value, 1);
		value = 1;
		assert_int_equal(syntax_flag(no[i], &value), 0);
		assert_int_equal(value, 0);
	}
	for (i = 0; i < COUNT(bad); i++)
		assert_int_equal(syntax_flag(bad[i], &value), -EINVAL);
}

/* ---- quoting ---- */

static void quotes(const char *text, const char *expected)
{
	char buffer[256];

	assert_int_equal(syntax_quote(buffer, sizeof(buffer), text),
			 strlen(expected));
	assert_string_equal(buffer, expected);
}

static void quotes_text(const char *text, const char *expected)
{
	char buffer[256];

	assert_int_equal(syntax_quote_text(buffer, sizeof(buffer), text),
			 strlen(expected));
	assert_string_equal(buffer, expected);
}

static void test_quote(void **state)
{
	quotes("ublkb0", "ublkb0");
	quotes("size=1G", "size=1G");
	quotes("a#b@c", "a#b@c");
	quotes("", "\"\"");
	quotes("a b", "\"a b\"");
	quotes("#a", "\"#a\"");
	quotes("@a", "\"@a\"");
	quotes("it's", "\"it's\"");
	quotes("a\\b", "\"a\\\\b\"");
	quotes("a\"b", "\"a\\\"b\"");
	quotes("a\nb\tc", "\"a\\nb\\tc\"");
	quotes("\r\x1b[2J\x7f", "\"\\x0d\\x1b[2J\\x7f\"");
	quotes("\xc2\x9b\xc2\xa0", "\"\\xc2\\x9b\xc2\xa0\"");
	quotes("\xff\xc3", "\"\\xff\\xc3\"");
	quotes("\xed\xa0\x80", "\"\\xed\\xa0\\x80\"");
	quotes("gr\xc3\xbcn", "\"gr\xc3\xbcn\"");
	quotes_text("ublkb0", "\"ublkb0\"");
	quotes_text("", "\"\"");
	quotes_text("a \"b\"\n", "\"a \\\"b\\\"\\n\"");
}

/* All C0 and C1 control characters and DEL are escaped, nothing else is. */
static void test_quote_controls(void **state)
{
	char text[3], buffer[32];
	unsigned c;

	for (c = 1; c < 0x100; c++) {
		int is_control = c < 0x20 || (c >= 0x7f && c < 0xa0);

		if (c < 0x80)
			snprintf(text, sizeof(text), "%c", (int)c);
		else
			snprintf(text, sizeof(text), "%c%c",
				 (int)(0xc0 | c >> 6), (int)(0x80 | (c & 63)));
		syntax_quote_text(buffer, sizeof(buffer), text);
		if (is_control)
			assert_int_equal(buffer[1], '\\');
		else if (c != '"' && c != '\\')
			assert_memory_equal(buffer + 1, text, strlen(text));
	}
}

static void random_text(char *text, size_t length, int kind)
{
	static const char spice[] = " \t\"'\\#@=\n\rx\x7f";
	size_t i;

	for (i = 0; i < length; i++) {
		if (kind == 0)
			text[i] = (char)(1 + random_number(255));
		else if (kind == 1)
			text[i] = spice[random_number(sizeof(spice) - 1)];
		else
			text[i] = (char)(0x21 + random_number(0x5e));
	}
	text[length] = '\0';
}

/* What any text must look like when it is quoted. */
static void check_harmless(const char *text)
{
	const unsigned char *at;

	assert_true(
		reference_is_utf8((const unsigned char *)text, strlen(text)));
	for (at = (const unsigned char *)text; *at; at++) {
		assert_true(*at >= 0x20 && *at != 0x7f);
		if (*at == 0xc2)
			assert_true(at[1] >= 0xa0);
	}
}

typedef size_t quote_function(char *buffer, size_t size, const char *text);

static void check_round_trip(quote_function *quote, const char *text)
{
	static char buffer[2 * SYNTAX_LINE_MAX];
	size_t length = quote(buffer, sizeof(buffer), text);

	assert_int_equal(length, strlen(buffer));
	check_harmless(buffer);
	if (length > SYNTAX_LINE_MAX)
		return;
	if (split(buffer, length) < 0)
		fail_msg("%s is refused: %s", buffer, why);
	assert_null(line.tag);
	assert_int_equal(line.count, 1);
	assert_string_equal(line.words[0], text);
}

static void test_quote_round_trip(void **state)
{
	char text[1101];
	int i;

	random_seed(1);
	for (i = 0; i < 30000; i++) {
		random_text(text, random_number(i % 1000 ? 24 : 1100), i % 3);
		check_round_trip(syntax_quote, text);
		check_round_trip(syntax_quote_text, text);
	}
}

/* A line of several quoted words reads back as the same words. */
static void test_line_round_trip(void **state)
{
	char words[8][25], text[2048];
	int i, j, count;

	random_seed(2);
	for (i = 0; i < 3000; i++) {
		size_t at = 0;

		count = 1 + (int)random_number(8);
		for (j = 0; j < count; j++) {
			random_text(words[j], random_number(24), i % 3);
			if (j)
				text[at++] = ' ';
			at += syntax_quote(text + at, sizeof(text) - at,
					   words[j]);
		}
		assert_int_equal(split(text, at), 0);
		assert_int_equal(line.count, count);
		for (j = 0; j < count; j++)
			assert_string_equal(line.words[j], words[j]);
	}
}

/* At every size: bounded, terminated, a prefix, and the length it wanted. */
static void check_truncation(quote_function *quote, const char *text)
{
	char whole[256], *buffer;
	size_t wanted = quote(whole, sizeof(whole), text), size;

	assert_int_equal(quote(NULL, 0, text), wanted);
	for (size = 1; size < wanted + 3; size++) {
		buffer = malloc(size);
		assert_non_null(buffer);
		memset(buffer, 0x5a, size);
		assert_int_equal(quote(buffer, size, text), wanted);
		assert_true(memchr(buffer, '\0', size) != NULL);
		assert_int_equal(strlen(buffer),
				 size > wanted ? wanted : size - 1);
		assert_memory_equal(buffer, whole, strlen(buffer));
		free(buffer);
	}
}

static void test_quote_truncation(void **state)
{
	char text[41];
	int i;

	random_seed(3);
	check_truncation(syntax_quote, "bare-word");
	check_truncation(syntax_quote, "");
	check_truncation(syntax_quote_text, "");
	for (i = 0; i < 100; i++) {
		random_text(text, random_number(40), i % 3);
		check_truncation(syntax_quote, text);
		check_truncation(syntax_quote_text, text);
	}
}

static void formats(uint64_t bytes, const char *expected)
{
	char buffer[24];

	syntax_format_size(buffer, sizeof(buffer), bytes);
	assert_string_equal(buffer, expected);
}

static void test_format_size(void **state)
{
	char buffer[24];
	uint64_t value, back;
	int i;

	formats(0, "0");
	formats(1, "1");
	formats(1000, "1000");
	formats(1023, "1023");
	formats(1024, "1K");
	formats(1025, "1025");
	formats(1536, "1536");
	formats(64 << 20, "64M");
	formats((64 << 20) + 1024, "65537K");
	formats(250ULL << 30, "250G");
	formats(1ULL << 40, "1T");
	formats(1ULL << 50, "1P");
	formats(1ULL << 60, "1E");
	formats(15ULL << 60, "15E");
	formats(UINT64_MAX, "18446744073709551615");
	random_seed(4);
	for (i = 0; i < 20000; i++) {
		value = random_number(UINT64_MAX) >>
			random_number(64) << random_number(64);
		syntax_format_size(buffer, sizeof(buffer), value);
		assert_int_equal(syntax_size(buffer, &back), 0);
		assert_true(back == value);
	}
}

/* Whatever the bytes: no crash, and words that lie in the buffer. */
static void test_noise(void **state)
{
	char text[200];
	size_t length;
	int i, j;

	random_seed(5);
	for (i = 0; i < 50000; i++) {
		length = random_number(sizeof(text));
		random_text(text, length, 1);
		split(text, length);
		for (j = 0; j < line.count; j++) {
			assert_true(line.words[j] >= line.buffer);
			assert_true(line.words[j] + strlen(line.words[j]) <
				    line.buffer + sizeof(line.buffer));
		}
	}
}

static void takes_time(const char *text, uint64_t us, const char *again)
{
	uint64_t value = 77;
	char buffer[32];

	assert_int_equal(syntax_time(text, &value), 0);
	assert_true(value == us);
	syntax_format_time(buffer, sizeof(buffer), value);
	assert_string_equal(buffer, again);
	assert_int_equal(syntax_time(buffer, &value), 0);
	assert_true(value == us);
}

static void test_times(void **state)
{
	static const char *const bad[] = { "",	   "5",	  "1.5s", "5m",
					   "5sec", "5 s", "ms",	  "5S" };
	uint64_t value;
	unsigned i;

	takes_time("0", 0, "0");
	takes_time("0ms", 0, "0");
	takes_time("1us", 1, "1us");
	takes_time("1500us", 1500, "1500us");
	takes_time("3000us", 3000, "3ms");
	takes_time("60000ms", 60000000, "60s");
	takes_time("18446744073709s", 18446744073709000000ULL,
		   "18446744073709s");
	for (i = 0; i < COUNT(bad); i++)
		assert_int_equal(syntax_time(bad[i], &value), -EINVAL);
	assert_int_equal(syntax_time("18446744073710s", &value), -ERANGE);
	assert_int_equal(syntax_time("-1s", &value), -ERANGE);
}

static void takes_rate(const char *text, uint64_t billionths, const char *again)
{
	uint64_t value = 77;
	char buffer[32];

	assert_int_equal(syntax_rate(text, &value), 0);
	assert_true(value == billionths);
	syntax_format_rate(buffer, sizeof(buffer), value);
	assert_string_equal(buffer, again);
}

static void test_rates(void **state)
{
	static const char *const bad[] = {
		"",	 ".5", "1.", "0.",  "5%%",	   "0,5",	  "0x1",
		"0.1e2", "%",  "a",  "1%.", "0.00000001%", "0.0000000001"
	};
	static const char *const out[] = { "2",	   "1.000000001",
					   "101%", "100.01%",
					   "-1",   "99999999999999999999999" };
	uint64_t value;
	unsigned i;

	takes_rate("0", 0, "0");
	takes_rate("1", SYNTAX_RATE_ONE, "1");
	takes_rate("1.0", SYNTAX_RATE_ONE, "1");
	takes_rate("100%", SYNTAX_RATE_ONE, "1");
	takes_rate("1%", 10000000, "0.01");
	takes_rate("0.01", 10000000, "0.01");
	takes_rate("12.5%", 125000000, "0.125");
	takes_rate("0.000000001", 1, "0.000000001");
	takes_rate("0.0000001%", 1, "0.000000001");
	for (i = 0; i < COUNT(bad); i++)
		assert_int_equal(syntax_rate(bad[i], &value), -EINVAL);
	for (i = 0; i < COUNT(out); i++)
		assert_int_equal(syntax_rate(out[i], &value), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_quotes),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_every_hex),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_tag_is_text),
		cmocka_unit_test(test_tag_of_a_mistake),
		cmocka_unit_test(test_tag_of_bad_bytes),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_carriage_return),
		cmocka_unit_test(test_line_limit),
		cmocka_unit_test(test_word_limit),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_utf8_forms),
		cmocka_unit_test(test_utf8_against_table),
		cmocka_unit_test(test_value),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_sizes_of_fractions),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_quote_controls),
		cmocka_unit_test(test_quote_round_trip),
		cmocka_unit_test(test_line_round_trip),
		cmocka_unit_test(test_quote_truncation),
		cmocka_unit_test(test_format_size),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
