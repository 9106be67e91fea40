#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *words_join(const struct syntax_line *line)
{
	size_t size = 1, at = 0;
	char *text;
	int i;

	for (i = 0; i < line->count; i++)
		size += syntax_quote(NULL, 0, line->words[i]) + 1;
	text = malloc(size);
	if (!text)
		return NULL;
	for (i = 0; i < line->count; i++) {
		if (i)
			text[at++] = ' ';
		at += syntax_quote(text + at, size - at, line->words[i]);
	}
	return text;
}

/* Where the word that begins so stands, or where it would be put. */
static int find_word(const struct syntax_line *line, const char *begin)
{
	int i;

	for (i = 0; i < line->count; i++)
		if (strncmp(line->words[i], begin, strlen(begin)) == 0)
			break;
	return i;
}

char *words_set_size(const char *words, uint64_t size, int must)
{
	struct syntax_line line;
	char number[32], word[40], *text;
	const char *why;
	int at;

	if (syntax_split(&line, words, strlen(words), &why) < 0)
		return NULL;
	at = find_word(&line, "size=");
	if (at == line.count && !must)
		return words_join(&line);
	if (at == SYNTAX_WORDS_MAX)
		return NULL;
	if (at == line.count)
		line.count++;
	syntax_format_size(number, sizeof(number), size);
	snprintf(word, sizeof(word), "size=%s", number);
	line.words[at] = word;
	text = words_join(&line);
	if (text && strlen(text) <= SYNTAX_LINE_MAX)
		return text;
	free(text);
	return NULL;
}

char *words_drop_size(const char *words, uint64_t size)
{
	struct syntax_line line;
	const char *why;
	int at;

	if (syntax_split(&line, words, strlen(words), &why) < 0)
		return NULL;
	if (find_word(&line, "create=") < line.count)
		return words_set_size(words, size, 0);
	at = find_word(&line, "size=");
	if (at < line.count) {
		line.count--;
		memmove(&line.words[at], &line.words[at + 1],
			(size_t)(line.count - at) * sizeof(line.words[0]));
	}
	return words_join(&line);
}
