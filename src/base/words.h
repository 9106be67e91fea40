/*
 * The command that a device is said to be made by, as text: what `show` tells,
 * and what the next server gets.
 */
#ifndef UBLKD_WORDS_H
#define UBLKD_WORDS_H

#include <stdint.h>

#include "syntax.h"

/* The line in its one canonical form, to be freed; NULL without memory. */
char *words_join(const struct syntax_line *line);

/*
 * The same command with that size in bytes. One without a size= gets it only if
 * `must`: without, its target knows the size by itself. To be freed; NULL
 * without memory, or when a line cannot be that long.
 */
char *words_set_size(const char *words, uint64_t size, int must);

/*
 * The same command without a size=: its target knows the size by itself. With a
 * create=, which needs one, it gets that size. To be freed; NULL likewise.
 */
char *words_drop_size(const char *words, uint64_t size);

#endif
