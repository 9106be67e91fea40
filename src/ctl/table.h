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
	int as_lines; /* no table: what is wanted, as it came */
	int width;    /* of the terminal; 0: as wide as it gets */

	struct table_row *first, **last;
};

void table_open(struct table *table);
void table_close(struct table *table);

/*
 * Whether the columns can be had. If not, returns -1 and *unknown is the first that
 * cannot, *length its length.
 */
int table_check_columns(const char *columns, const char **unknown, int *length)
	__attribute__((cold));

/*
 * Keep a data line, of a record "dev" alone, as words or JSON. Returns 0, or -ENOMEM;
 * other records are left out.
 */
int table_add(struct table *table, const char *line) __attribute__((cold));

/*
 * Print a text in just so many columns: cut, or with blanks behind it. Control
 * characters are hidden.
 */
void table_print_text(const char *text, int width, FILE *out)
	__attribute__((cold));

/* A value for people who have room: a size is told in both ways. */
void table_format(const char *key, const char *value, char *text, size_t size)
	__attribute__((cold));

/* What a device has in a column of that name. */
const char *table_value(const struct table_row *row, const char *key);

/* Whether a row is wanted. */
typedef int table_filter(const struct table_row *row, void *context);

/*
 * Print what was kept, and is wanted (NULL: all); no headings if that is nothing.
 * Returns how many rows those are.
 */
unsigned table_print(struct table *table, table_filter *is_wanted,
		     void *context, FILE *out) __attribute__((cold));

#endif
