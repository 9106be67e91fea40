/* What may follow the beginning of a line, as the daemon tells. */
#ifndef UBLKD_CANDIDATES_H
#define UBLKD_CANDIDATES_H

#include <stddef.h>
#include <stdio.h>

#define CANDIDATES_MAX 1200 /* there are 1024 devices at most */

struct candidates {
	const char *typed; /* the word that all of them begin with */
	unsigned count;
	struct candidate {
		char *word, *help;
	} all[CANDIDATES_MAX];
};

/*
 * Ask for what its last word can become, as that is written; without an answer these
 * are ublkctl's own words alone. To be freed before the line is.
 */
void candidates_ask(struct candidates *candidates, const char *socket,
		    const char *line) __attribute__((cold));
void candidates_free(struct candidates *candidates);

/* How many bytes all of them begin with. */
size_t candidates_common(const struct candidates *candidates)
	__attribute__((cold));

/* Print them, in so many columns: with their help if there are few. */
void candidates_print(const struct candidates *candidates, int width, FILE *out)
	__attribute__((cold));

#endif
