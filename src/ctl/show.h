/* "show", "help" and "targets" for people: a word at the left, what it is beside it. */
#ifndef UBLKD_SHOW_H
#define UBLKD_SHOW_H

#include <stddef.h>
#include <stdio.h>

/* Whether that is such a command. */
int show_is(const char *verb);

/* Print a line of its answer, in so many columns (0: any number). */
void show_line(FILE *out, const char *line, size_t columns)
	__attribute__((cold));

#endif
