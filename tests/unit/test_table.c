/* ublkctl's tables, and its own words for commands. */
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/list.h"
#include "ctl/path.h"
#include "ctl/reference.h"
#include "support.h"

static struct table table;
static char *printed;
static size_t printed_size;

int before_each(void **state)
{
	table_open(&table);
	setlocale(LC_CTYPE, "C.UTF-8");
	return 0;
}

int after_each(void **state)
{
	table_close(&table);
	free(printed);
	printed = NULL;
	unsetenv("COLUMNS");
	test_folder_remove();
	return 0;
}

static void add(const char *line)
{
	assert_int_equal(table_add(&table, line), 0);
}

static const char *print(void)
{
	FILE *out;

	free(printed);
	out = open_memstream(&printed, &printed_size);
	table_print(&table, NULL, NULL, out);
	fclose(out);
	return printed;
}

static void add_three(void)
{
	add("dev id=0 name=ublkb0 state=live step=live target=ram "
	    "size=67108864 dev=/dev/ublkb0 ro=no queues=2 depth=128 "
	    "block-size=512 max-io=524288 mode=need-get-data batch=yes");
	add("queue id=0 depth=128");
	add("dev id=12 name=backups state=quiesced step=lost target=file "
	    "size=1610612736 dev=/dev/ublkb12 ro=yes queues=1 depth=64 "
	    "mode=user-copy error=\"the file is gone\" "
	    "path=\"/srv/images of all kinds/backups-of-the-year-2026.img\"");
	add("dev id=7 name=\"g\xc3\xa4ste\" state=live step=live target=null "
	    "size=1000 dev=/dev/ublkb7 ro=no queues=16 depth=128 "
	    "mode=zero-copy");
	add("OK seq=4");
}

/* ---- the table ---- */

TEST_CASE(test_as_wide_as_it_gets)
{
	add_three();
	table.columns = "id,name,size,block-size";
	assert_string_equal(print(), "ID  NAME     SIZE  BLOCK-SIZE\n"
				     " 0  ublkb0    64M         512\n"
				     "12  backups  1.5G\n"
				     " 7  g\xc3\xa4ste    1000\n");
	table.bytes = table.no_headings = 1;
	table.columns = "size,name";
	assert_string_equal(print(), "  67108864  ublkb0\n"
				     "1610612736  backups\n"
				     "      1000  g\xc3\xa4ste\n");
}

/* What is needed least goes, then texts are cut. */
TEST_CASE(test_fits)
{
	add_three();
	table.width = 80;
	assert_string_equal(
		print(),
		"ID  NAME     DEV           STATE     TARGET  SIZE  ERROR\n"
		" 0  ublkb0   /dev/ublkb0   live      ram      64M\n"
		"12  backups  /dev/ublkb12  quiesced  file    1.5G  "
		"the file is gone\n"
		" 7  g\xc3\xa4ste    /dev/ublkb7   live      null    1000\n");
	table.width = 120;
	assert_string_equal(
		print(),
		"ID  NAME     DEV           STATE     TARGET  SIZE  RO   "
		"MODE           DEPTH  PATH                      ERROR\n"
		" 0  ublkb0   /dev/ublkb0   live      ram      64M  no   "
		"need-get-data    128\n"
		"12  backups  /dev/ublkb12  quiesced  file    1.5G  yes  "
		"user-copy         64  /srv/images of all kind~  "
		"the file is gone\n"
		" 7  g\xc3\xa4ste    /dev/ublkb7   live      null    1000  no   "
		"zero-copy        128\n");
	/* Only what must be there, as narrow as it gets. */
	table.width = 10;
	assert_string_equal(
		print(), "ID  NAME     DEV           STATE     SIZE\n"
			 " 0  ublkb0   /dev/ublkb0   live       64M\n"
			 "12  backups  /dev/ublkb12  quiesced  1.5G\n"
			 " 7  g\xc3\xa4ste    /dev/ublkb7   live      1000\n");
}

TEST_CASE(test_sizes)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{ 0, "0" },	      { 512, "512" },	     { 1023, "1023" },
		{ 1024, "1K" },	      { 1536, "1.5K" },	     { 1075, "1K" },
		{ 1076, "1.1K" },     { 1048575, "1024K" },  { 1048576, "1M" },
		{ 3ULL << 40, "3T" }, { UINT64_MAX, "16E" },
	};
	char line[80], expected[40];
	size_t i;

	table.columns = "size";
	table.no_headings = 1;
	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].text);
		snprintf(line, sizeof(line), "dev size=%llu",
			 (unsigned long long)rows[i].bytes);
		add(line);
		snprintf(expected, sizeof(expected), "%s\n", rows[i].text);
		assert_string_equal(print(), expected);
		table_close(&table);
	}
}

/* What a terminal would obey, and what is no text in this locale. */
TEST_CASE(test_strange_names)
{
	table.columns = "name,id";
	add("dev id=1 name=\"a\\x1b[2Jb\"");
	add("dev id=2 name=\"\\xff\\xfe\"");
	add("dev id=3 name=\"\xe6\x97\xa5\xe6\x9c\xac\""); /* two wide ones */
	assert_string_equal(print(), "NAME    ID\n"
				     "a?[2Jb   1\n"
				     "\xff\xfe       2\n"
				     "\xe6\x97\xa5\xe6\x9c\xac     3\n");
	table.width = 7;
	assert_string_equal(print(), "NAME    ID\n"
				     "a?[2Jb   1\n"
				     "\xff\xfe       2\n"
				     "\xe6\x97\xa5\xe6\x9c\xac     3\n");
}

TEST_CASE(test_columns)
{
	const char *unknown;
	int length;

	assert_int_equal(table_check_columns("id", &unknown, &length), 0);
	assert_int_equal(table_check_columns("id,flush-errors,path", &unknown,
					     &length),
			 0);
	assert_int_equal(table_check_columns("id,siz,path", &unknown, &length),
			 -1);
	assert_int_equal(length, 3);
	assert_memory_equal(unknown, "siz", 3);
	assert_int_equal(table_check_columns("", &unknown, &length), -1);
	assert_int_equal(table_check_columns("id,", &unknown, &length), -1);
}

/* ---- the words ---- */

static struct list list;
static const char *why;

/* Words with a blank between two. */
static int read_words(const char *text)
{
	static char copy[200], *words[20];
	int count = 0;
	char *word;

	copy[0] = '\0';
	add_text(copy, sizeof(copy), text);
	for (word = strtok(copy, " "); word; word = strtok(NULL, " "))
		words[count++] = word;
	words[count] = NULL;
	return list_read(&list, count, words, &why);
}

TEST_CASE(test_list_words)
{
	assert_int_equal(read_words("show 0"), 0);
	assert_int_equal(read_words("list"), 1);
	assert_int_equal(list.count, 1);
	assert_int_equal(read_words("list state=live -no id,size -b"), 1);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.words[0], "list");
	assert_string_equal(list.words[1], "state=live");
	assert_string_equal(list.table.columns, "id,size");
	assert_true(list.table.bytes && list.table.no_headings);
	assert_int_equal(read_words("list -n 3"), 1);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.id, "3");
	assert_false(list.table.no_headings);
	assert_int_equal(read_words("list -x"), -1);
	assert_int_equal(read_words("list -o id,colour"), -1);
	assert_non_null(strstr(why, "no column 'colour'"));
	assert_int_equal(read_words("find"), -1);
	assert_int_equal(read_words("find /a"), 1);
	assert_string_equal(list.file, "/a");
}

static unsigned print_list(void)
{
	unsigned count;
	FILE *out;

	free(printed);
	out = open_memstream(&printed, &printed_size);
	count = list_print(&list, out);
	fclose(out);
	return count;
}

/* By the path, and by another name of the same file. */
TEST_CASE(test_find)
{
	char line[600], other[300];
	int was;

	test_file("img", "x");
	test_file("img2", "x");
	snprintf(other, sizeof(other), "%s", test_path("link"));
	assert_int_equal(symlink(test_path("img"), other), 0);
	assert_int_equal(read_words("find f"), 1);
	snprintf(line, sizeof(line), "dev id=4 size=1 path=%s",
		 test_path("img"));
	assert_int_equal(table_add(&list.table, line), 0);
	assert_int_equal(table_add(&list.table, "dev id=5 size=1"), 0);
	list.table.columns = "id";
	list.file = test_path("img");
	assert_int_equal(print_list(), 1);
	assert_string_equal(printed, "ID\n 4\n");
	list.file = other;
	assert_int_equal(print_list(), 1);
	list.file = test_path("img2");
	assert_int_equal(print_list(), 0);
	assert_string_equal(printed, "");
	list.file = test_path("missing");
	assert_int_equal(print_list(), 0);
	/* Here, and deleted: its name is as it was when it was there. */
	was = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(unlink(test_path("img")), 0);
	assert_int_equal(chdir(test_folder()), 0);
	list.file = "img";
	assert_int_equal(print_list(), 1);
	assert_int_equal(fchdir(was), 0);
	close(was);
	table_close(&list.table);
}

TEST_CASE(test_one_device)
{
	assert_int_equal(read_words("list -n 5"), 1);
	list.table.columns = "id";
	assert_int_equal(table_add(&list.table, "dev id=15"), 0);
	assert_int_equal(print_list(), 0);
	assert_int_equal(table_add(&list.table, "dev id=5"), 0);
	assert_int_equal(print_list(), 1);
	assert_string_equal(printed, "ID\n 5\n");
	table_close(&list.table);
}

TEST_CASE(test_width)
{
	FILE *out = fopen(test_path("out"), "we");

	assert_non_null(out);
	unsetenv("COLUMNS");
	assert_int_equal(list_width(out), 0);
	setenv("COLUMNS", "120", 1);
	assert_int_equal(list_width(out), 120);
	setenv("COLUMNS", "wide", 1);
	assert_int_equal(list_width(out), 0);
	fclose(out);
}

/* ---- ublksrv's words ---- */

static void check_reference(const char *words, const char *expected)
{
	struct reference reference;
	char copy[200] = "", *split[20], text[600] = "", *word;
	int count = 0, result, i;

	about(words);
	add_text(copy, sizeof(copy), words);
	for (word = strtok(copy, " "); word; word = strtok(NULL, " "))
		split[count++] = word;
	split[count] = NULL;
	result = reference_translate(&reference, count, split, &why);
	if (!expected) {
		assert_int_equal(result, -1);
		assert_non_null(why);
		return;
	}
	assert_int_equal(result, expected[0] != '\0');
	for (i = 0; result && i < reference.count; i++) {
		add_text(text, sizeof(text), i ? " " : "");
		add_text(text, sizeof(text), reference.words[i]);
	}
	assert_string_equal(text, expected);
}

TEST_CASE(test_reference)
{
	check_reference("add -t loop -f /a/b -q 2 -d 64 -n 3",
			"add file path=/a/b queues=2 depth=64 id=3");
	check_reference("add -t null", "add null");
	check_reference("add null id=3", "");
	check_reference("add -q 2", NULL);
	check_reference("add -t null -z", NULL);
	check_reference("add -t null -q", NULL);
	check_reference("add -t null more", NULL);
	check_reference("del -n 0", "del id=0");
	check_reference("del -a", "del --all");
	check_reference("del --all", "");
	check_reference("del -a -n 1", NULL);
	check_reference("del -f", NULL);
	check_reference("features", "");
	check_reference("list -n 0", "");
	check_reference("recover -n 0", NULL);
	assert_non_null(strstr(why, "takes devices over by itself"));
	check_reference("recover", NULL);
}

/* ---- paths ---- */

static void check_path_word(const char *word, const char *before,
			    const char *behind)
{
	char text[600], expected[600];

	about(word);
	snprintf(expected, sizeof(expected), "%s%s", before, behind);
	assert_string_equal(path_word(word, text, sizeof(text)), expected);
}

TEST_CASE(test_paths)
{
	char path[300], *folder = realpath(test_folder(), NULL);
	int was = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_non_null(folder);
	assert_int_equal(chdir(folder), 0);
	snprintf(path, sizeof(path), "path=%s", folder);
	check_path_word("path=x y", path, "/x y");
	check_path_word("path=./x", path, "/x");
	check_path_word("path=.//./x", path, "/x");
	check_path_word("path=../x", path, "/../x");
	check_path_word("path=/x", "path=/x", "");
	check_path_word("path=", "path=", "");
	snprintf(path, sizeof(path), "program=%s", folder);
	check_path_word("program=x", path, "/x");
	snprintf(path, sizeof(path), "keep=%s", folder);
	check_path_word("keep=x", path, "/x");
	check_path_word("keep=yes", "keep=yes", "");
	check_path_word("keep=no", "keep=no", "");
	check_path_word("name=x", "name=x", "");
	check_path_word("path", "path", "");
	assert_int_equal(chdir("/"), 0);
	check_path_word("path=x", "path=/x", "");
	assert_int_equal(fchdir(was), 0);
	close(was);
	free(folder);
}

int main(void)
{
	return tests_run();
}
