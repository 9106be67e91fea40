/* The names of files in commands: the daemon has another working directory. */
#ifndef UBLKD_PATH_H
#define UBLKD_PATH_H

#include <stddef.h>

/*
 * The path from the root on, in text if it is not that already; or as it is when
 * nobody can tell where we are.
 */
const char *path_absolute(const char *path, char *text, size_t size)
	__attribute__((cold));

/* A word of a command; if its value is a path, with that from the root on. */
const char *path_word(const char *word, char *text, size_t size)
	__attribute__((cold));

#endif
