/* ublkctl's own commands about what "list" tells: the table, and who serves a file. */
#ifndef UBLKD_LIST_H
#define UBLKD_LIST_H

#include "table.h"

struct list {
	struct table table;
	const char *id;	  /* of one device, or NULL: all */
	const char *file; /* that devices are to serve, or NULL */
	/* What the daemon is asked: "list", and what it is to be of. */
	char **words;
	int count;
};

/*
 * Whether the words are "list" or "find", with their options. Returns 1, and *list
 * has them; 0 if it is another command; -1, and *why says what is wrong.
 */
int list_read(struct list *list, int count, char **words, const char **why)
	__attribute__((cold));

/* Print the devices that are wanted. Returns how many these are. */
unsigned list_print(struct list *list, FILE *out) __attribute__((cold));

/* How many columns a table on this stream may have; 0: any number. */
int list_width(FILE *out);

#endif
