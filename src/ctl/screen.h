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
		  size_t columns) __attribute__((cold));

/* Control characters, which would be told to the terminal, become ?. */
void screen_hide_control(char *text) __attribute__((cold));

enum screen_colour {
	SCREEN_PLAIN,
	SCREEN_BOLD,
	SCREEN_GREEN,
	SCREEN_YELLOW,
	SCREEN_RED
};

/*
 * What makes the text behind it so, PLAIN in the end; "" where the stream is no
 * terminal, or somebody wants none: NO_COLOR, TERM=dumb.
 */
const char *screen_colour(FILE *out, enum screen_colour colour)
	__attribute__((cold));

#endif
