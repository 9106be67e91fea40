#include "path.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *path_absolute(const char *path, char *text, size_t size)
{
	char folder[PATH_MAX];

	if (path[0] == '/' || !path[0] || !realpath(".", folder))
		return path;
	while (path[0] == '.' && path[1] == '/')
		path += 2 + strspn(path + 2, "/");
	snprintf(text, size, "%s/%s", folder[1] ? folder : "", path);
	return text;
}

const char *path_word(const char *word, char *text, size_t size)
{
	static const char keys[][9] = { "path=", "program=", "keep=" };
	char path[2 * PATH_MAX];
	size_t i, length;

	/* Those are no folders. */
	if (strcmp(word, "keep=yes") == 0 || strcmp(word, "keep=no") == 0)
		return word;
	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		length = strlen(keys[i]);
		if (strncmp(word, keys[i], length) != 0)
			continue;
		snprintf(text, size, "%s%s", keys[i],
			 path_absolute(word + length, path, sizeof(path)));
		return text;
	}
	return word;
}
