#include "table.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/syntax.h"
#include "fields.h"
#include "screen.h"

#define VALUE_MAX 4096
#define GAP	  2 /* columns between two */

enum kind { TEXT, NUMBER, SIZE };

/* In the order of the default table; what is needed least goes first. */
static const struct column {
	char key[16]; /* here: the loader has nothing to relocate */
	enum kind kind;
	/* Of the default table: 0 is not in it, 1 is always, higher numbers are
	   left out first where it is too wide. */
	unsigned need;
	int least; /* a text is not cut shorter than that; 0: not at all */
} columns[] = {
	{ "id", NUMBER, 1, 0 },
	{ "name", TEXT, 1, 8 },
	{ "dev", TEXT, 1, 0 },
	{ "state", TEXT, 1, 0 },
	{ "target", TEXT, 2, 0 },
	{ "size", SIZE, 1, 0 },
	{ "ro", TEXT, 4, 0 },
	{ "mode", TEXT, 5, 0 },
	{ "queues", NUMBER, 6, 0 },
	{ "depth", NUMBER, 6, 0 },
	{ "path", TEXT, 3, 24 },
	{ "error", TEXT, 2, 16 },
	{ "step", TEXT, 0, 0 },
	{ "block-size", NUMBER, 0, 0 },
	{ "max-io", SIZE, 0, 0 },
	{ "batch", TEXT, 0, 0 },
	{ "waits-for", TEXT, 0, 0 },
	{ "retry-in", NUMBER, 0, 0 },
	{ "fill", TEXT, 0, 0 },
	{ "used", SIZE, 0, 0 },
	{ "backing", TEXT, 0, 16 },
	{ "direct", TEXT, 0, 0 },
	{ "waiting", NUMBER, 0, 0 },
	{ "flush-errors", NUMBER, 0, 0 },
	{ "base", TEXT, 0, 16 },
	{ "base-known-by", TEXT, 0, 0 },
	{ "cluster", SIZE, 0, 0 },
	{ "oldest", TEXT, 0, 0 },
	{ "owner", TEXT, 0, 0 },
	{ "node-mode", TEXT, 0, 0 },
	{ "uri", TEXT, 0, 16 },
	{ "connected", TEXT, 0, 0 },
	{ "connections", NUMBER, 0, 0 },
	{ "reconnects", NUMBER, 0, 0 },
	{ "unanswered", NUMBER, 0, 0 },
	{ "reason", TEXT, 0, 16 },
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

_Static_assert(COLUMNS <= TABLE_COLUMNS_MAX, "each once");

/* Each line is split once, when it comes. */
struct table_row {
	struct table_row *next;
	int is_shown;
	const char *values[COLUMNS]; /* in its text */
	const char *line;	     /* likewise, as it came */
	char text[];
};

/* A table that is laid out. */
struct layout {
	const struct column *columns[TABLE_COLUMNS_MAX];
	int width[TABLE_COLUMNS_MAX]; /* of the widest cell, or to be cut to */
	unsigned count;
};

void table_open(struct table *table)
{
	memset(table, 0, sizeof(*table));
	table->last = &table->first;
}

void table_close(struct table *table)
{
	struct table_row *row;

	while ((row = table->first)) {
		table->first = row->next;
		free(row);
	}
	table->last = &table->first;
}

/* Put a text at *at, before end; *at goes on behind it. */
static const char *put_text(char **at, const char *end, const char *text)
{
	char *begin = *at;

	*at += snprintf(begin, (size_t)(end - begin), "%s", text) + 1;
	return begin;
}

static struct table_row *make_row(const struct fields *fields, const char *line)
{
	const char *values[COLUMNS];
	size_t i, size = strlen(line) + 1;
	struct table_row *row;
	char *to;

	for (i = 0; i < COLUMNS; i++) {
		values[i] = fields_value(fields, columns[i].key);
		size += strlen(values[i]) + 1;
	}
	row = calloc(1, sizeof(*row) + size);
	if (!row)
		return NULL;
	to = row->text;
	row->line = put_text(&to, row->text + size, line);
	for (i = 0; i < COLUMNS; i++)
		row->values[i] = put_text(&to, row->text + size, values[i]);
	return row;
}

int table_add(struct table *table, const char *line)
{
	static struct fields fields;
	struct table_row *row;

	fields_read(&fields, line);
	if (strcmp(fields.kind, "dev") != 0)
		return 0;
	row = make_row(&fields, line);
	if (!row)
		return -ENOMEM;
	*table->last = row;
	table->last = &row->next;
	return 0;
}

/* ---- columns ---- */

static const struct column *find_column(const char *key, size_t length)
{
	size_t i;

	for (i = 0; i < COLUMNS; i++)
		if (strlen(columns[i].key) == length &&
		    strncmp(columns[i].key, key, length) == 0)
			return &columns[i];
	return NULL;
}

const char *table_value(const struct table_row *row, const char *key)
{
	return row->values[find_column(key, strlen(key)) - columns];
}

int table_check_columns(const char *names, const char **unknown, int *length)
{
	unsigned count = 0;
	size_t n;

	for (;; names += n + 1) {
		n = strcspn(names, ",");
		if (!find_column(names, n) || count++ == TABLE_COLUMNS_MAX) {
			*unknown = names;
			*length = (int)n;
			return -1;
		}
		if (!names[n])
			return 0;
	}
}

/* ---- cells ---- */

/* 64M, 1.5G, 1000: at most one digit behind the point, rounded. */
static void format_size(char *text, size_t size, uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	uint64_t tenths;
	int unit = -1;

	while (unit < 5 && bytes >> (10 * (unit + 2)))
		unit++;
	if (unit < 0) {
		snprintf(text, size, "%llu", (unsigned long long)bytes);
		return;
	}
	/* 10 bits less first, so that the tenfold fits. */
	tenths = ((bytes >> (10 * unit)) * 10 + 512) >> 10;
	if (tenths % 10)
		snprintf(text, size, "%llu.%u%c",
			 (unsigned long long)tenths / 10,
			 (unsigned)(tenths % 10), units[unit]);
	else
		snprintf(text, size, "%llu%c", (unsigned long long)tenths / 10,
			 units[unit]);
}

static const char *format_cell(const struct table *table,
			       const struct table_row *row,
			       const struct column *column, char *cell)
{
	uint64_t number;

	snprintf(cell, VALUE_MAX, "%s", row->values[column - columns]);
	if (column->kind == SIZE && !table->bytes &&
	    syntax_number(cell, &number) == 0)
		format_size(cell, VALUE_MAX, number);
	screen_hide_control(cell);
	return cell;
}

/*
 * How wide the text is, in the locale of the process; at most `most` columns of it
 * are *length bytes. What is no text in this locale counts as a column a byte.
 */
static int text_width(const char *text, int most, int *length)
{
	mbstate_t state = { 0 };
	const char *at = text;
	int width = 0, one;
	wchar_t wide;
	size_t n;

	while (*at) {
		n = mbrtowc(&wide, at, MB_CUR_MAX, &state);
		one = 1;
		if (n == (size_t)-1 || n == (size_t)-2) {
			memset(&state, 0, sizeof(state));
			n = 1;
		} else if (wcwidth(wide) >= 0) {
			one = wcwidth(wide);
		}
		if (width + one > most)
			break;
		width += one;
		at += n;
	}
	*length = (int)(at - text);
	return width;
}

#define ANY_WIDTH 1000000

static int whole_width(const char *text)
{
	int length;

	return text_width(text, ANY_WIDTH, &length);
}

/* ---- the layout ---- */

static void add_column(struct layout *layout, const struct column *column)
{
	if (layout->count == TABLE_COLUMNS_MAX)
		return;
	layout->columns[layout->count] = column;
	layout->width[layout->count++] = 0;
}

static void remove_column(struct layout *layout, unsigned at)
{
	layout->count--;
	for (; at < layout->count; at++) {
		layout->columns[at] = layout->columns[at + 1];
		layout->width[at] = layout->width[at + 1];
	}
}

static void choose_columns(const struct table *table, struct layout *layout)
{
	const char *names = table->columns;
	size_t i, n;

	for (i = 0; i < COLUMNS && !names; i++)
		if (columns[i].need)
			add_column(layout, &columns[i]);
	for (; names; names = names[n] ? names + n + 1 : NULL) {
		n = strcspn(names, ",");
		add_column(layout, find_column(names, n));
	}
}

/* Those of the default table in which no device has anything are left out. */
static void measure(const struct table *table, struct layout *layout)
{
	const struct table_row *row;
	char cell[VALUE_MAX];
	unsigned i = 0;
	int width;

	while (i < layout->count) {
		for (row = table->first; row; row = row->next) {
			if (!row->is_shown)
				continue;
			format_cell(table, row, layout->columns[i], cell);
			width = whole_width(cell);
			if (width > layout->width[i])
				layout->width[i] = width;
		}
		if (!layout->width[i] && !table->columns &&
		    layout->columns[i]->need > 1) {
			remove_column(layout, i);
			continue;
		}
		width = (int)strlen(layout->columns[i]->key);
		if (!table->no_headings && width > layout->width[i])
			layout->width[i] = width;
		i++;
	}
}

/* What a column can be cut to. */
static int least_width(const struct layout *layout, unsigned i)
{
	int least = layout->columns[i]->least;

	return least && least < layout->width[i] ? least : layout->width[i];
}

static int total_width(const struct layout *layout, int least)
{
	int width = 0;
	unsigned i;

	for (i = 0; i < layout->count; i++)
		width += (i ? GAP : 0) +
			 (least ? least_width(layout, i) : layout->width[i]);
	return width;
}

/* The column that is needed least, of those that need not be there. */
static int least_needed(const struct layout *layout)
{
	unsigned i, need = 1;
	int found = -1;

	for (i = 0; i < layout->count; i++)
		if (layout->columns[i]->need > need) {
			need = layout->columns[i]->need;
			found = (int)i;
		}
	return found;
}

/*
 * Columns that do not fit, however the texts are cut, are left out; then the widest
 * text is cut first.
 */
static void fit(const struct table *table, struct layout *layout)
{
	int at;
	unsigned i;

	if (!table->width)
		return;
	while (!table->columns && total_width(layout, 1) > table->width &&
	       (at = least_needed(layout)) >= 0)
		remove_column(layout, (unsigned)at);
	while (total_width(layout, 0) > table->width) {
		at = -1;
		for (i = 0; i < layout->count; i++)
			if (layout->width[i] > least_width(layout, i) &&
			    (at < 0 || layout->width[i] > layout->width[at]))
				at = (int)i;
		if (at < 0)
			return;
		layout->width[at]--;
	}
}

/* ---- printing ---- */

/*
 * A text that is cut ends with ~. *blanks are due before the next cell that is not
 * empty, so that no line ends with them.
 */
static void print_cell(FILE *out, const char *cell, int width, int is_number,
		       int *blanks)
{
	int length, used = text_width(cell, width, &length);
	const char *cut = "";

	if (cell[length]) {
		used = text_width(cell, width - 1, &length) + 1;
		cut = "~";
	}
	if (is_number || !used)
		*blanks += width - used;
	if (!used)
		return;
	fprintf(out, "%*s%.*s%s", *blanks, "", length, cell, cut);
	*blanks = is_number ? 0 : width - used;
}

void table_format(const char *key, const char *value, char *text, size_t size)
{
	const struct column *column = find_column(key, strlen(key));
	uint64_t number;

	if (!column || column->kind != SIZE ||
	    syntax_number(value, &number) < 0) {
		snprintf(text, size, "%s", value);
		return;
	}
	format_size(text, size, number);
	if (number >= 1024)
		snprintf(text + strlen(text), size - strlen(text),
			 " (%s bytes)", value);
}

void table_print_text(const char *text, int width, FILE *out)
{
	char cell[VALUE_MAX];
	int blanks = 0;

	snprintf(cell, sizeof(cell), "%s", text);
	screen_hide_control(cell);
	print_cell(out, cell, width, 0, &blanks);
	fprintf(out, "%*s", blanks, "");
}

/* The headings, and what nobody serves. */
static enum screen_colour row_colour(const struct table_row *row)
{
	if (!row)
		return SCREEN_BOLD;
	return strcmp(table_value(row, "state"), "quiesced") == 0
		       ? SCREEN_RED
		       : SCREEN_PLAIN;
}

static void print_row(const struct table *table, const struct layout *layout,
		      const struct table_row *row, FILE *out)
{
	const struct column *column;
	char cell[VALUE_MAX];
	int blanks = 0;
	unsigned i;
	size_t at;

	if (row_colour(row) != SCREEN_PLAIN)
		fputs(screen_colour(out, row_colour(row)), out);
	for (i = 0; i < layout->count; i++) {
		column = layout->columns[i];
		if (row)
			format_cell(table, row, column, cell);
		else
			snprintf(cell, sizeof(cell), "%s", column->key);
		for (at = 0; !row && cell[at]; at++)
			if (cell[at] >= 'a' && cell[at] <= 'z')
				cell[at] = (char)(cell[at] - 'a' + 'A');
		blanks += i ? GAP : 0;
		print_cell(out, cell, layout->width[i], column->kind != TEXT,
			   &blanks);
	}
	if (row_colour(row) != SCREEN_PLAIN)
		fputs(screen_colour(out, SCREEN_PLAIN), out);
	fputc('\n', out);
}

static void print_lines(const struct table *table, FILE *out)
{
	const struct table_row *row;

	for (row = table->first; row; row = row->next)
		if (row->is_shown)
			fprintf(out, "%s\n", row->line);
}

unsigned table_print(struct table *table, table_filter *is_wanted,
		     void *context, FILE *out)
{
	struct layout layout = { .count = 0 };
	struct table_row *row;
	unsigned count = 0;

	for (row = table->first; row; row = row->next) {
		row->is_shown = !is_wanted || is_wanted(row, context);
		count += row->is_shown != 0;
	}
	if (!count)
		return 0;
	if (table->as_lines) {
		print_lines(table, out);
		return count;
	}
	choose_columns(table, &layout);
	measure(table, &layout);
	fit(table, &layout);
	if (!table->no_headings)
		print_row(table, &layout, NULL, out);
	for (row = table->first; row; row = row->next)
		if (row->is_shown)
			print_row(table, &layout, row, out);
	return count;
}
