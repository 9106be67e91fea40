/* The configuration file: what it includes, and what is wrong in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/check.h"
#include "base/config.h"
#include "support.h"

static struct failure failure;
static int memory = -1;
static struct config config;

int after_each(void **state)
{
	config_free(&config);
	if (memory >= 0)
		close(memory);
	memory = -1;
	test_folder_remove();
	return 0;
}

/* ---- gathering ---- */

static int gather(const char *path)
{
	FILE *out;
	int result;

	memory = memfd_create("test", MFD_CLOEXEC);
	assert_true(memory >= 0);
	out = fdopen(dup(memory), "w");
	assert_non_null(out);
	memset(&failure, 0, sizeof(failure));
	result = config_gather(path, out, &failure);
	fclose(out);
	if (result == 0)
		assert_int_equal(config_load(&config, memory), 0);
	return result;
}

/* The next line, and where it is. */
static void expect_line(const char *file, unsigned number, const char *text)
{
	size_t length;
	const char *line = config_next(&config, &length);

	assert_non_null(line);
	assert_int_equal(length, strlen(text));
	assert_memory_equal(line, text, length);
	assert_string_equal(config.path, test_path(file));
	assert_int_equal(config.number, number);
}

static void expect_end(void)
{
	size_t length;

	assert_null(config_next(&config, &length));
	config_free(&config);
	close(memory);
	memory = -1;
}

static void expect_lines(void)
{
	if (gather(test_path("c")) < 0)
		fail_msg("%s", failure.text);
}

/* The text is "PLACE PART", the place in the folder. */
static void expect_failure(const char *place, const char *part)
{
	char text[512];

	assert_int_equal(gather(test_path("c")), -1);
	snprintf(text, sizeof(text), "%s/%s", test_folder(), place);
	if (strncmp(failure.text, text, strlen(text)) != 0 ||
	    !strstr(failure.text, part))
		fail_msg("'%s', not '%s' and '%s'", failure.text, text, part);
	close(memory);
	memory = -1;
}

TEST_CASE(test_lines)
{
	test_file("c", "add null\n\n# x\r\nlast");
	expect_lines();
	expect_line("c", 1, "add null");
	expect_line("c", 2, "");
	expect_line("c", 3, "# x\r");
	expect_line("c", 4, "last");
	expect_end();
}

/* Lines that look like marks are lines. */
TEST_CASE(test_marks)
{
	test_file("c", "@1 /etc/passwd\n:x\n@\n");
	expect_lines();
	expect_line("c", 1, "@1 /etc/passwd");
	expect_line("c", 2, ":x");
	expect_line("c", 3, "@");
	expect_end();
}

TEST_CASE(test_missing)
{
	char path[300];

	snprintf(path, sizeof(path), "-%s", test_path("none"));
	assert_int_equal(gather(path), 0);
	expect_end();
	assert_int_equal(gather(path + 1), -1);
	assert_int_equal(failure.error, ENOENT);
	assert_non_null(strstr(failure.text, path + 1));
	snprintf(path, sizeof(path), "-%s", test_path("none/none"));
	test_file("none", "");
	close(memory);
	assert_int_equal(gather(path), -1);
	assert_int_equal(failure.error, ENOTDIR);
}

/* In the order of their names, and then the file goes on. */
TEST_CASE(test_includes)
{
	test_file("d/b.conf", "b\n");
	test_file("d/a.conf", "a1\na2");
	test_file("d/c.txt", "c\n");
	test_file("d/more", "include a.conf\nm\n");
	test_file("c",
		  "1\ninclude d/*.conf # all\n3\n@t \"include\" d/more\n5\n"
		  "include e/*\n");
	expect_lines();
	expect_line("c", 1, "1");
	expect_line("d/a.conf", 1, "a1");
	expect_line("d/a.conf", 2, "a2");
	expect_line("d/b.conf", 1, "b");
	expect_line("c", 3, "3");
	expect_line("d/a.conf", 1, "a1");
	expect_line("d/a.conf", 2, "a2");
	expect_line("d/more", 2, "m");
	expect_line("c", 5, "5");
	expect_end();
}

TEST_CASE(test_circle)
{
	test_file("c", "x\ninclude d\n");
	test_file("d", "\n\ninclude c\n");
	expect_failure("d:3:1: ", "includes this one");
	test_file("c", "include c\n");
	expect_failure("c:1:1: ", "includes this one");
}

TEST_CASE(test_depth)
{
	char name[8], text[24];
	int i;

	for (i = 1; i <= CONFIG_DEPTH; i++) {
		snprintf(name, sizeof(name), i > 1 ? "c%d" : "c", i);
		snprintf(text, sizeof(text), "include c%d\n", i + 1);
		test_file(name, i < CONFIG_DEPTH ? text : "deep\n");
	}
	expect_lines();
	expect_line("c8", 1, "deep");
	expect_end();
	test_file("c8", "include c9\n");
	test_file("c9", "too deep\n");
	expect_failure("c8:1:1: ", "more than 8");
}

TEST_CASE(test_bad_includes)
{
	test_file("c", "\ninclude\n");
	expect_failure("c:2:1: ", "one path");
	test_file("c", "include a b\n");
	expect_failure("c:1:1: ", "one path");
	test_file("c", "include none\n");
	expect_failure("c:1:1: cannot include ", "No such file");
	test_file("d/x", "");
	test_file("c", "include d\n");
	expect_failure("c:1:1: cannot include ", "directory");
}

/* What lies in a folder that cannot be read is not known to be nothing. */
TEST_CASE(test_unreadable_folder)
{
	test_file("c", "include loop/*.conf\n");
	assert_int_equal(symlink("loop", test_path("loop")), 0);
	expect_failure("c:1:1: cannot include ", "symbolic links");
	test_file("c", "include */x/*.conf\n");
	assert_int_equal(unlink(test_path("loop")), 0);
	expect_lines();
	expect_end();
}

TEST_CASE(test_too_much)
{
	char *text = malloc(CONFIG_MAX + 1);

	assert_non_null(text);
	memset(text, 'x', CONFIG_MAX);
	text[CONFIG_MAX] = '\0';
	test_file("c", text);
	expect_failure("c:1:1: ", "4 MiB");
	free(text);
}

/* Each file includes the next one so often: places alone are too much. */
TEST_CASE(test_includes_too_much)
{
	char name[2] = "c", text[4000], line[20];
	int i;

	for (; name[0] < 'g'; name[0]++) {
		snprintf(line, sizeof(line), "include %c\n", name[0] + 1);
		for (i = 0, text[0] = '\0'; i < 30; i++)
			add_text(text, sizeof(text), line);
		test_file(name, text);
	}
	test_file("g", "");
	expect_failure("", "4 MiB");
}

/* A text that nobody gathered is not read beyond its end. */
TEST_CASE(test_strange_text)
{
	size_t length;

	memory = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(pwrite(memory, "@5\n\n:x\n@\nend", 12, 0), 12);
	assert_int_equal(config_load(&config, memory), 0);
	assert_string_equal(config_next(&config, &length), "x");
	assert_null(config_next(&config, &length));
}

/* ---- checking ---- */

static void check(const char *text, int as_records, const char *expected)
{
	struct check run = { .path = test_path("c"), .as_records = as_records };
	char *told;
	size_t size;

	about(text);
	test_file("c", text);
	run.out = open_memstream(&told, &size);
	assert_non_null(run.out);
	if (check_file(&run, &failure) < 0)
		fail_msg("%s", failure.text);
	fclose(run.out);
	assert_string_equal(told, expected);
	free(told);
}

/* One mistake; the text that is told of it begins and ends so. */
static void expect_mistake(const char *text, unsigned line, unsigned column,
			   const char *part)
{
	struct check run = { .path = test_path("c") };
	char place[300], *told;
	size_t size;

	about(text);
	test_file("c", text);
	run.out = open_memstream(&told, &size);
	assert_non_null(run.out);
	assert_int_equal(check_file(&run, &failure), 0);
	fclose(run.out);
	snprintf(place, sizeof(place), "%s:%u:%u: ", test_path("c"), line,
		 column);
	if (run.mistakes != 1 || strncmp(told, place, strlen(place)) != 0 ||
	    !strstr(told, part))
		fail_msg("'%s', not '%s' and '%s'", told, place, part);
	free(told);
}

TEST_CASE(test_nothing_wrong)
{
	check("", 0, "");
	check("# x\nadd null id=3 name=a\n@t add null\nadd null\nset 3 "
	      "delay-time=1s\nping\non-error stop\n",
	      0, "");
	check("add null id=1\nadd null name=b id=2\n", 1, "");
	check("add null id=1\nquit\nadd null id=1\nfrob\n", 0, "");
}

TEST_CASE(test_mistakes)
{
	expect_mistake("nonsense x", 1, 1, "no such command");
	expect_mistake("ping\n  add  nul", 2, 8, "null");
	expect_mistake("add null \tdepth=x", 1, 11, "depth=x");
	expect_mistake("@t add null  depth=5000 ro=yes", 1, 14, "depth=5000");
	expect_mistake("add null 'dep'th=5000", 1, 10, "depth=5000");
	expect_mistake("add null id=1 x", 1, 15, "takes one target");
	expect_mistake("add null frob=1", 1, 10, "frob");
	expect_mistake("add null id=1 id=2", 1, 15, "twice");
	expect_mistake("\n\nadd null \"x", 3, 10, "not closed: \"\\\"x\"");
	expect_mistake("add null \\xff \xff", 1, 15, "UTF-8");
	expect_mistake("add null id=3\r\nadd null id=3\r\n", 2, 10,
		       "same id: "
		       "\"id=3\"");
	expect_mistake("del 1 force=maybe", 1, 7, "force=maybe");
	expect_mistake("add null size=1000", 1, 10, "size");
	expect_mistake("add null batch=yes mode=need-get-data", 1, 10,
		       "exclude");
}

/* What the build has; a size in no proportion to any host's memory is fine. */
TEST_CASE(test_targets)
{
#ifndef WITHOUT_RAM
	check("add ram size=1E\n", 0, "");
	expect_mistake("add ram", 1, 1, "size= is missing");
	expect_mistake("add ram size=4K block-size=1000", 1, 17, "block-size");
#endif
#ifndef WITHOUT_FILE
	check("add file path=/no/such/file\n", 0, "");
	expect_mistake("add file create=yes path=/x", 1, 10, "needs size");
	expect_mistake("add file path=x", 1, 10, "begins with /");
#endif
}

TEST_CASE(test_taken_twice)
{
	expect_mistake("add null id=3\nadd null id=4\nadd null name=x id=3", 3,
		       17, "c:1 has the same id");
	expect_mistake("add null name=x\nadd null\nadd null name=x", 3, 10,
		       "c:1 has the same name");
}

TEST_CASE(test_in_included)
{
	struct check run = { .path = test_path("c") };
	char expected[300], *told;
	size_t size;

	test_file("c", "add null id=1\ninclude d\nfrob\n");
	test_file("d", "\nadd null id=1\n");
	run.out = open_memstream(&told, &size);
	assert_int_equal(check_file(&run, &failure), 0);
	fclose(run.out);
	assert_int_equal(run.mistakes, 2);
	snprintf(expected, sizeof(expected), "%s:2:10: ", test_path("d"));
	assert_memory_equal(told, expected, strlen(expected));
	snprintf(expected, sizeof(expected), "\n%s:3:1: ", test_path("c"));
	assert_non_null(strstr(told, expected));
	free(told);
}

TEST_CASE(test_records)
{
	char expected[400];

	snprintf(expected, sizeof(expected),
		 "mistake file=%s line=2 column=10 word=\"depth=\\\"0\\\"\" "
		 "text=\"depth=0 is out of range: 1 to 4096\"\n",
		 test_path("c"));
	check("ping\nadd null depth=\"0\" # x\n", 1, expected);
}

/* All are counted, and enough told. */
TEST_CASE(test_many)
{
	struct check run = { .path = test_path("c") };
	char *told, text[1000] = "";
	unsigned lines = 0;
	size_t size, i;

	for (i = 0; i < 70; i++)
		add_text(text, sizeof(text), "frob\n");
	test_file("c", text);
	run.out = open_memstream(&told, &size);
	assert_int_equal(check_file(&run, &failure), 0);
	fclose(run.out);
	assert_int_equal(run.mistakes, 70);
	for (i = 0; told[i]; i++)
		lines += told[i] == '\n';
	assert_int_equal(lines, CHECK_TOLD + 1);
	assert_non_null(strstr(told, "and 20 mistakes more\n"));
	free(told);
}

int main(void)
{
	return tests_run();
}
