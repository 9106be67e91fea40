#include "syntax.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Where the splitter reads and writes. Output is never longer than input. */
struct cursor {
	const char *text, *in, *end;
	char *out;
};

static int is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \xHH, the cursor behind the x. A NUL would cut the word short: refused. */
static const char *read_hex(struct cursor *at)
{
	int high, low;

	if (at->end - at->in < 2)
		return "\\x needs two hexadecimal digits";
	high = hex_digit(at->in[0]);
	low = hex_digit(at->in[1]);
	if (high < 0 || low < 0)
		return "\\x needs two hexadecimal digits";
	if (high == 0 && low == 0)
		return "a NUL byte is not allowed";
	*at->out++ = (char)(high * 16 + low);
	at->in += 2;
	return NULL;
}

static const char *read_escape(struct cursor *at)
{
	if (at->in == at->end)
		return "a quote is not closed";
	switch (*at->in++) {
	case 'n':
		*at->out++ = '\n';
		return NULL;
	case 't':
		*at->out++ = '\t';
		return NULL;
	case '"':
		*at->out++ = '"';
		return NULL;
	case '\\':
		*at->out++ = '\\';
		return NULL;
	case 'x':
		return read_hex(at);
	default:
		return "unknown escape: \\n \\t \\\" \\\\ and \\xHH are known";
	}
}

/* The rest of a quoted part, the cursor behind the opening quote. */
static const char *read_quoted(struct cursor *at, char quote)
{
	const char *why;

	while (at->in < at->end) {
		char c = *at->in++;

		if (c == quote)
			return NULL;
		if (c == '\\' && quote == '"') {
			why = read_escape(at);
			if (why)
				return why;
			continue;
		}
		*at->out++ = c;
	}
	return "a quote is not closed";
}

static __attribute__((cold)) const char *read_word(struct cursor *at)
{
	const char *why;

	while (at->in < at->end && !is_blank(*at->in)) {
		char c = *at->in++;

		if (c != '"' && c != '\'') {
			*at->out++ = c;
			continue;
		}
		why = read_quoted(at, c);
		if (why)
			return why;
	}
	*at->out++ = '\0';
	return NULL;
}

/* Graphic characters only: it is echoed to whoever reads the reply. */
static int is_graphic(const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f ||
		    ((unsigned char)text[i] == 0xc2 &&
		     (unsigned char)text[i + 1] < 0xa0))
			return 0;
	return syntax_is_utf8(text, length);
}

static const char *check_tag(const char *tag)
{
	size_t length = strlen(tag);

	if (length == 0)
		return "a tag is empty";
	if (length > SYNTAX_TAG_MAX)
		return "a tag has at most 64 bytes";
	return is_graphic(tag, length)
		       ? NULL
		       : "a tag has no blanks or control characters";
}

/* The tag of a line that is wrong as a whole, if it can be told. */
static void salvage_tag(struct syntax_line *line, const char *text,
			size_t length)
{
	size_t i, end;

	for (i = 0; i < length && is_blank(text[i]); i++)
		;
	if (i == length || text[i] != '@')
		return;
	for (end = ++i; end < length && !is_blank(text[end]); end++)
		;
	if (end == i || end - i > SYNTAX_TAG_MAX ||
	    memchr(text + i, '\0', end - i))
		return;
	memcpy(line->buffer, text + i, end - i);
	line->buffer[end - i] = '\0';
	if (!strpbrk(line->buffer, "\"'") && !check_tag(line->buffer))
		line->tag = line->buffer;
}

/* One word more: the tag if it comes first and begins with @. */
static const char *take_word(struct syntax_line *line, struct cursor *at)
{
	const char *word = at->out, *why;
	int first = line->count == 0 && !line->tag && *at->in == '@';

	line->mistake = (uint16_t)(at->in - at->text);
	if (line->count == SYNTAX_WORDS_MAX)
		return "more than 64 words";
	why = read_word(at);
	if (why)
		return why;
	if (!first) {
		line->starts[line->count] = line->mistake;
		line->words[line->count++] = word;
		return NULL;
	}
	why = check_tag(word + 1);
	if (!why)
		line->tag = word + 1;
	return why;
}

static const char *split(struct syntax_line *line, struct cursor *at)
{
	const char *why;

	for (;;) {
		while (at->in < at->end && is_blank(*at->in))
			at->in++;
		if (at->in == at->end || *at->in == '#')
			return NULL;
		why = take_word(line, at);
		if (why)
			return why;
	}
}

/* How many bytes of the text come before one that is no UTF-8. */
static size_t utf8_length(const char *text, size_t length)
{
	size_t n, at = 0;

	while (at < length && (n = syntax_character(text + at, length - at)))
		at += n;
	return at;
}

int syntax_split(struct syntax_line *line, const char *text, size_t length,
		 const char **why)
{
	struct cursor at = { text, text, text + length, line->buffer };
	size_t valid;

	line->tag = NULL;
	line->count = line->mistake = 0;
	if (length && text[length - 1] == '\r')
		at.end = text + --length;
	if (length > SYNTAX_LINE_MAX) {
		*why = "a line has at most 4096 bytes";
	} else if (memchr(text, '\0', length)) {
		*why = "a NUL byte is not allowed";
	} else if ((valid = utf8_length(text, length)) < length) {
		*why = "not valid UTF-8";
		line->mistake = (uint16_t)valid;
	} else {
		*why = split(line, &at);
	}
	if (*why && !line->tag)
		salvage_tag(line, text, length);
	if (!*why && line->tag && line->count == 0)
		*why = "a tag without a command";
	return *why ? -1 : 0;
}

size_t syntax_find(const struct syntax_line *line, const char *arg)
{
	size_t length;
	int i;

	for (i = 0; i < line->count; i++) {
		if (strcmp(line->words[i], arg) == 0 ||
		    (syntax_value(line->words[i], &length) &&
		     strlen(arg) == length &&
		     strncmp(line->words[i], arg, length) == 0))
			return line->starts[i];
	}
	return 0;
}

char *syntax_next(char **at, const char *end)
{
	struct cursor cursor;
	char *word;

	while (*at < end && is_blank(**at))
		++*at;
	if (*at == end)
		return NULL;
	word = *at;
	cursor = (struct cursor){ word, word, end, word };
	if (read_word(&cursor))
		*cursor.out = '\0';
	/* The NUL may have taken the blank's place. */
	*at += cursor.in - word + (cursor.in < end);
	return word;
}

const char *syntax_value(const char *word, size_t *key_length)
{
	const char *equals = strchr(word, '=');

	if (!equals || equals == word)
		return NULL;
	*key_length = (size_t)(equals - word);
	return equals + 1;
}

/* Digits only. *end is behind the last one. */
static int read_digits(const char *text, uint64_t *value, const char **end)
{
	uint64_t number = 0;

	if (text[0] == '-' && isdigit((unsigned char)text[1]))
		return -ERANGE;
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (number > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		number = number * 10 + digit;
	}
	*value = number;
	*end = text;
	return 0;
}

static const char units[] = "KMGTPE";

/* Powers of two to which a size's unit stands, -1 for none. "": 0. */
static int read_unit(const char *text)
{
	const char *unit;

	if (!*text)
		return 0;
	unit = strchr(units, toupper((unsigned char)*text));
	if (!unit || (text[1] && strcasecmp(text + 1, "ib") != 0))
		return -1;
	return 10 * (int)(unit - units + 1);
}

/* Twice a fraction of decimal digits. Returns what is carried out of it. */
static unsigned double_fraction(unsigned char *digits, size_t length)
{
	unsigned carry = 0, digit;

	while (length--) {
		digit = 2U * digits[length] + carry;
		digits[length] = (unsigned char)(digit % 10);
		carry = digit / 10;
	}
	return carry;
}

/*
 * A fraction of decimal digits times 2^shift, bit by bit. Each doubling takes
 * one digit off at most, so that more digits than `shift` leave a rest.
 */
static int scale_fraction(const char *text, size_t length, int shift,
			  uint64_t *value)
{
	unsigned char digits[60];
	size_t i;

	*value = 0;
	while (length && text[length - 1] == '0')
		length--;
	if (length > (size_t)shift)
		return -EDOM;
	for (i = 0; i < length; i++)
		digits[i] = (unsigned char)(text[i] - '0');
	while (shift--)
		*value = 2 * *value + double_fraction(digits, length);
	for (i = 0; i < length; i++)
		if (digits[i])
			return -EDOM;
	return 0;
}

int syntax_size(const char *text, uint64_t *value)
{
	uint64_t number, fraction = 0;
	const char *end, *point;
	size_t digits = 0;
	int error, shift;

	error = read_digits(text, &number, &end);
	if (error)
		return error;
	point = end;
	if (*point == '.') {
		digits = strspn(point + 1, "0123456789");
		end += digits + 1;
	}
	shift = read_unit(end);
	if (shift < 0 || (*point == '.' && digits == 0))
		return -EINVAL;
	if (digits)
		error = scale_fraction(point + 1, digits, shift, &fraction);
	if (error)
		return error;
	if (number > UINT64_MAX >> shift)
		return -ERANGE;
	*value = (number << shift) + fraction;
	return 0;
}

int syntax_number(const char *text, uint64_t *value)
{
	const char *end;
	uint64_t number;
	int error;

	error = read_digits(text, &number, &end);
	if (error)
		return error;
	if (*end != '\0')
		return -EINVAL;
	*value = number;
	return 0;
}

int syntax_time(const char *text, uint64_t *value)
{
	static const struct {
		const char *name;
		uint64_t length;
	} time_units[] = { { "us", 1 }, { "ms", 1000 }, { "s", 1000000 } };
	const char *end;
	uint64_t number;
	int error, i;

	error = read_digits(text, &number, &end);
	if (error)
		return error;
	*value = 0;
	if (number == 0 && *end == '\0')
		return 0;
	for (i = 0; i < 3; i++) {
		if (strcmp(end, time_units[i].name) != 0)
			continue;
		if (number > UINT64_MAX / time_units[i].length)
			return -ERANGE;
		*value = number * time_units[i].length;
		return 0;
	}
	return -EINVAL;
}

/* What stands behind a decimal point, in billionths. */
static int read_fraction(const char *text, uint64_t *value, const char **end)
{
	uint64_t unit = SYNTAX_RATE_ONE;
	const char *at;

	*value = 0;
	for (at = text; isdigit((unsigned char)*at); at++) {
		unit /= 10;
		if (unit == 0)
			return -EINVAL;
		*value += unit * (uint64_t)(*at - '0');
	}
	*end = at;
	return at == text ? -EINVAL : 0;
}

int syntax_rate(const char *text, uint64_t *value)
{
	uint64_t whole, fraction = 0, divisor;
	const char *end;
	int error;

	error = read_digits(text, &whole, &end);
	if (!error && *end == '.')
		error = read_fraction(end + 1, &fraction, &end);
	if (error)
		return error;
	divisor = *end == '%' ? 100 : 1;
	end += divisor == 100;
	if (*end != '\0' || fraction % divisor)
		return -EINVAL;
	if (whole > divisor || (whole == divisor && fraction))
		return -ERANGE;
	*value = (whole * SYNTAX_RATE_ONE + fraction) / divisor;
	return 0;
}

int syntax_flag(const char *text, int *value)
{
	static const char *const words[] = { "no",    "yes",  "off", "on",
					     "false", "true", "0",   "1" };
	unsigned i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i], text) == 0) {
			*value = (int)(i & 1);
			return 0;
		}
	}
	return -EINVAL;
}

size_t syntax_character(const char *bytes, size_t left)
{
	const unsigned char *text = (const unsigned char *)bytes;
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = { { 0x80, 0x00, 1 },
		      { 0xe0, 0xc0, 0x80 },
		      { 0xf0, 0xe0, 0x800 },
		      { 0xf8, 0xf0, 0x10000 } };
	uint32_t point;
	size_t n, i;

	for (n = 0; n < 4; n++)
		if ((text[0] & forms[n].mask) == forms[n].lead)
			break;
	if (n == 4 || n >= left)
		return 0;
	point = text[0] & (unsigned char)~forms[n].mask;
	for (i = 1; i <= n; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3f);
	}
	if (point < forms[n].least || point > 0x10ffff ||
	    (point >= 0xd800 && point <= 0xdfff))
		return 0;
	return n + 1;
}

int syntax_is_utf8(const char *text, size_t length)
{
	return utf8_length(text, length) == length;
}

/* Where a quoted word is written: cut off at size, but counted in full. */
struct sink {
	char *buffer;
	size_t size, length;
};

static void put(struct sink *sink, char c)
{
	if (sink->length + 1 < sink->size) {
		sink->buffer[sink->length] = c;
		sink->buffer[sink->length + 1] = '\0';
	}
	sink->length++;
}

static void put_hex(struct sink *sink, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";

	put(sink, '\\');
	put(sink, 'x');
	put(sink, digits[c >> 4]);
	put(sink, digits[c & 15]);
}

/* One character of n bytes, 0 for a byte that is not UTF-8. */
static void put_quoted(struct sink *sink, const unsigned char *at, size_t n)
{
	static const char special[] = "\n\t\"\\", letter[] = "nt\"\\";
	const char *found = n == 1 ? strchr(special, *at) : NULL;
	int c1_control = n == 2 && at[0] == 0xc2 && at[1] < 0xa0;
	size_t i;

	if (found) {
		put(sink, '\\');
		put(sink, letter[found - special]);
	} else if (n == 0 || *at < 0x20 || *at == 0x7f || c1_control) {
		for (i = 0; i < (n ? n : 1); i++)
			put_hex(sink, at[i]);
	} else {
		for (i = 0; i < n; i++)
			put(sink, (char)at[i]);
	}
}

size_t syntax_quote_text(char *buffer, size_t size, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	struct sink sink = { buffer, size, 0 };
	size_t left = strlen(text), n;

	if (size)
		buffer[0] = '\0';
	put(&sink, '"');
	while (left) {
		n = syntax_character((const char *)at, left);
		put_quoted(&sink, at, n);
		at += n ? n : 1;
		left -= n ? n : 1;
	}
	put(&sink, '"');
	return sink.length;
}

/* Whether text reads back as itself without quotes, and prints harmlessly. */
static int is_bare(const char *text)
{
	const char *at;

	if (!*text || *text == '#' || *text == '@')
		return 0;
	for (at = text; *at; at++)
		if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f ||
		    strchr("\"'\\", *at))
			return 0;
	return 1;
}

size_t syntax_quote(char *buffer, size_t size, const char *text)
{
	size_t length = strlen(text);

	if (!is_bare(text))
		return syntax_quote_text(buffer, size, text);
	if (size)
		snprintf(buffer, size, "%s", text);
	return length;
}

void syntax_format_size(char *buffer, size_t size, uint64_t bytes)
{
	int unit = -1;

	while (unit < 5 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buffer, size, "%llu", (unsigned long long)bytes);
	else
		snprintf(buffer, size, "%llu%c", (unsigned long long)bytes,
			 units[unit]);
}

void syntax_format_time(char *buffer, size_t size, uint64_t time)
{
	const char *unit = "us";

	if (time && time % 1000 == 0) {
		time /= 1000;
		unit = "ms";
		if (time % 1000 == 0) {
			time /= 1000;
			unit = "s";
		}
	}
	snprintf(buffer, size, "%llu%s", (unsigned long long)time,
		 time ? unit : "");
}

void syntax_format_rate(char *buffer, size_t size, uint64_t rate)
{
	char fraction[12];
	int digits = 9;

	snprintf(fraction, sizeof(fraction), "%09u",
		 (unsigned)(rate % SYNTAX_RATE_ONE));
	while (digits && fraction[digits - 1] == '0')
		digits--;
	snprintf(buffer, size, "%u%s%.*s", (unsigned)(rate / SYNTAX_RATE_ONE),
		 digits ? "." : "", digits, fraction);
}
