#include "screen.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEAST 40 /* columns: in fewer nothing can be read */

/* How much of the text goes into that room: whole words, at least one. */
static size_t fitting(const char *text, size_t room)
{
	size_t length = strlen(text);

	if (length <= room)
		return length;
	for (length = room; length && text[length] != ' '; length--)
		;
	return length ? length : strcspn(text, " ");
}

void screen_print(FILE *out, const char *line, size_t at, size_t indent,
		  size_t columns)
{
	size_t length;

	if (columns && columns < LEAST)
		columns = LEAST;
	length = columns ? fitting(line, columns - at - 1) : strlen(line);

	while (line[length]) {
		fprintf(out, "%.*s\n%*s", (int)length, line, (int)indent, "");
		line += length;
		line += strspn(line, " ");
		length = fitting(line, columns - indent - 1);
	}
	fprintf(out, "%s\n", line);
}

void screen_hide_control(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
		/* U+0080 to U+009F, which some terminals obey */
		else if ((unsigned char)text[0] == 0xc2 &&
			 ((unsigned char)text[1] & 0xe0) == 0x80)
			text[0] = text[1] = '?';
}

const char *screen_colour(FILE *out, enum screen_colour colour)
{
	static const char *const sequences[] = {
		[SCREEN_PLAIN] = "\033[0m",  [SCREEN_BOLD] = "\033[1m",
		[SCREEN_GREEN] = "\033[32m", [SCREEN_YELLOW] = "\033[33m",
		[SCREEN_RED] = "\033[1;31m",
	};
	const char *unwanted = getenv("NO_COLOR"), *terminal = getenv("TERM");

	if ((unwanted && unwanted[0]) || !terminal ||
	    strcmp(terminal, "dumb") == 0 || !isatty(fileno(out)))
		return "";
	return sequences[colour];
}
