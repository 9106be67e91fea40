/* Text for a screen of so many columns: what is longer goes on in the next line. */
#ifndef UBLKD_SCREEN_H
#define UBLKD_SCREEN_H

#include <stddef.h>
#include <stdio.h>

/*
 * Print a line, of which `at` columns are there already. Where it goes on it has an
 * indentation; the last column stays free. A word that is longer stays whole. Less than 40
 * columns are 40, and 0 are as many as it takes.
 */
void screen_print(FILE *out, const char *line, size_t at, size_t indent,
		  size_t columns);

#endif
