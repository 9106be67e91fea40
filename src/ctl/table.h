/*
 * The devices as a table for people: lines of "list", aligned, in a terminal no
 * wider than that. The headings are the keys of the protocol.
 */
#ifndef UBLKD_TABLE_H
#define UBLKD_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 40

struct table_row;

struct table {
	const char *columns; /* "id,name,size"; NULL: those that fit */
	int bytes;	     /* sizes as numbers */
	int no_headings;
	int width; /* of the terminal; 0: as wide as it gets */

	struct table_row *first, **last;
};

void table_open(struct table *table);
void table_close(struct table *table);

/*
 * Whether the columns can be had. If not, returns -1 and *unknown is the first that
 * cannot, *length its length.
 */
int table_check_columns(const char *columns, const char **unknown, int *length);

/*
 * Keep a data line, of a record "dev" alone. Returns 0, or -ENOMEM; other records
 * are left out.
 */
int table_add(struct table *table, const char *line);

/*
 * Print a text in just so many columns: cut, or with blanks behind it. Control
 * characters are hidden.
 */
void table_print_text(const char *text, int width, FILE *out);

/* Whether a line is wanted. */
typedef int table_filter(const char *line, void *context);

/*
 * Print what was kept, and is wanted (NULL: all); no headings if that is nothing.
 * Returns how many rows those are.
 */
unsigned table_print(struct table *table, table_filter *is_wanted,
		     void *context, FILE *out);

#endif
