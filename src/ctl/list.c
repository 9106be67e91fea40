#include "list.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syntax.h"
#include "path.h"

/* ---- the words ---- */

static int is_number(const char *text)
{
	uint64_t number;

	return text && syntax_number(text, &number) == 0;
}

/*
 * The words behind the options are the daemon's; a number behind -n alone is a
 * device, as in ublksrv's tool.
 */
static int read_list(struct list *list, int count, char **words,
		     const char **why)
{
	static const struct option options[] = {
		{ "columns", required_argument, NULL, 'o' },
		{ "bytes", no_argument, NULL, 'b' },
		{ "noheadings", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	static char text[200];
	const char *unknown;
	int c, length;

	opterr = 0;
	optind = 0; /* begin anew */
	while ((c = getopt_long(count, words, "o:bn", options, NULL)) != -1) {
		if (c == 'o')
			list->table.columns = optarg;
		else if (c == 'b')
			list->table.bytes = 1;
		else if (c == 'n')
			list->table.no_headings = 1;
		else {
			*why = "list [-o COLUMN,...] [-n] [-b] [name=NAME] "
			       "[target=TARGET] [state=STATE]";
			return -1;
		}
	}
	if (list->table.columns &&
	    table_check_columns(list->table.columns, &unknown, &length) < 0) {
		snprintf(text, sizeof(text),
			 "there is no column '%.*s'; they are the keys of a "
			 "device in ublkd-protocol(7)",
			 length < 60 ? length : 60, unknown);
		*why = text;
		return -1;
	}
	/* getopt has put the options first. */
	list->words = words + optind - 1;
	list->words[0] = words[0];
	list->count = count - optind + 1;
	if (list->count == 2 && list->table.no_headings &&
	    is_number(list->words[1])) {
		list->id = list->words[1];
		list->table.no_headings = 0;
		list->count = 1;
	}
	return 1;
}

int list_read(struct list *list, int count, char **words, const char **why)
{
	static char name[] = "list", *only[] = { name };

	memset(list, 0, sizeof(*list));
	table_open(&list->table);
	if (strcmp(words[0], "list") == 0)
		return read_list(list, count, words, why);
	if (strcmp(words[0], "find") != 0)
		return 0;
	*why = "find FILE";
	if (count != 2)
		return -1;
	list->file = words[1];
	list->words = only;
	list->count = 1;
	return 1;
}

/* ---- what is wanted ---- */

static int is_same_file(const struct stat *one, const char *path)
{
	struct stat other;

	if (stat(path, &other) < 0)
		return 0;
	if (S_ISBLK(one->st_mode))
		return S_ISBLK(other.st_mode) && one->st_rdev == other.st_rdev;
	return one->st_dev == other.st_dev && one->st_ino == other.st_ino;
}

/*
 * By its name, which asks no file system that might be silent; and, if `status` is
 * there, also by another name of the same file.
 */
static int serves(const struct table_row *row, const char *name,
		  const struct stat *status)
{
	const char *path = table_value(row, "path");

	if (!path[0])
		return 0;
	return status ? is_same_file(status, path) : strcmp(path, name) == 0;
}

struct wish {
	const struct list *list;
	const char *name;
	const struct stat *status;
};

static int is_wanted(const struct table_row *row, void *context)
{
	const struct wish *wish = context;

	if (wish->list->id)
		return strcmp(table_value(row, "id"), wish->list->id) == 0;
	return serves(row, wish->name, wish->status);
}

unsigned list_print(struct list *list, FILE *out)
{
	struct wish wish = { .list = list };
	char name[2 * PATH_MAX];
	struct stat status;
	unsigned count;

	if (!list->id && !list->file)
		return table_print(&list->table, NULL, NULL, out);
	if (list->file)
		wish.name =
			realpath(list->file, name)
				? name
				: path_absolute(list->file, name, sizeof(name));
	count = table_print(&list->table, is_wanted, &wish, out);
	if (count || !list->file || stat(list->file, &status) < 0)
		return count;
	wish.status = &status;
	return table_print(&list->table, is_wanted, &wish, out);
}

int list_width(FILE *out)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	uint64_t width;

	if (isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 &&
	    size.ws_col)
		return size.ws_col;
	if (columns && syntax_number(columns, &width) == 0 && width < INT_MAX)
		return (int)width;
	return 0;
}
