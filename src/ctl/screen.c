#include "screen.h"

#include <string.h>

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
