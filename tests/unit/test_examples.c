/*
 * What the manuals show is so: the conversation of ublkd-protocol(7) goes as it
 * stands there, and whatever command is shown anywhere is a line that a
 * configuration may have. tests/vm/t/examples.sh runs what a shell is told.
 */
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"
#include "say.h"

static char config[300];
static char manual[200000];

int before_each(void **state)
{
	fake_start();
	fake_have_memory(8192);
	snprintf(config, sizeof(config), "%s/c", test_folder());
	fake_host.config = config;
	return 0;
}

int after_each(void **state)
{
	fake_delete_all();
	fake_stop();
	test_folder_remove();
	return 0;
}

/* Quotes and blanks as roff writes them */
static void unescape(char *text)
{
	static const struct {
		const char *roff, *plain;
	} rows[] = {
		{ "\\(dq", "\"" },
		{ "\\e", "\\" },
		{ "\\&", "" },
		{ "\\-", "-" },
	};
	unsigned i;
	char *at;

	for (i = 0; i < COUNT(rows); i++)
		while ((at = strstr(text, rows[i].roff))) {
			size_t out = strlen(rows[i].roff),
			       in = strlen(rows[i].plain);

			memcpy(at, rows[i].plain, in);
			memmove(at + in, at + out, strlen(at + out) + 1);
		}
}

static void read_manual(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[600];
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "%s/src/man/%s", srcdir ? srcdir : "..",
		 name);
	file = fopen(path, "r");
	assert_non_null(file);
	n = fread(manual, 1, sizeof(manual) - 1, file);
	fclose(file);
	assert_true(n > 0 && n < sizeof(manual) - 1);
	manual[n] = '\0';
	unescape(manual);
}

/* ---- the conversation ---- */

/* In place of the number behind a key there is one that is always the same. */
static void no_number(char *text, const char *key)
{
	char *at = text, *end;

	while ((at = strstr(at, key))) {
		at += strlen(key);
		for (end = at; isdigit((unsigned char)*end);)
			end++;
		memmove(at, end, strlen(end) + 1);
	}
}

/* A line that is folded goes on with blanks. */
static void unfold(char *text)
{
	char *at = text, *end;

	while ((at = strstr(at, "\n "))) {
		for (end = at + 1; *end == ' ';)
			end++;
		memmove(at + 1, end, strlen(end) + 1);
		*at = ' ';
	}
}

/* What is said here, up to the next line that is typed, is answered so. */
static void check_answer(const char *line, char *answer)
{
	char *got = said.text;

	say(line);
	no_number(got, " seq=");
	no_number(answer, " seq=");
	if (strcmp(got, answer) != 0)
		fail_msg("ublkd-protocol.7: %s\ngot: %snot: %s", line, got,
			 answer);
}

TEST_CASE(test_conversation)
{
	char answer[2000], *line, *rest, typed[200] = "";
	unsigned count = 0;

	read_manual("ublkd-protocol.7");
	rest = strstr(manual, "\n.Sh EXAMPLES\n");
	assert_non_null(rest);
	rest = strstr(rest, ".Bd");
	*strstr(rest, "\n.Ed") = '\0';
	unfold(rest);
	strsep(&rest, "\n");
	assert_int_equal(strncmp(rest, "< HELLO ublkd proto=1 ", 22), 0);
	strsep(&rest, "\n");
	answer[0] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		assert_true(line[1] == ' ');
		if (*line == '<') {
			add_text(answer, sizeof(answer), line + 2);
			add_text(answer, sizeof(answer), "\n");
			continue;
		}
		if (typed[0])
			check_answer(typed, answer);
		answer[0] = '\0';
		snprintf(typed, sizeof(typed), "%s", line + 2);
		count++;
	}
	assert_string_equal(typed, "quit");
	assert_string_equal(answer, "OK\n");
	assert_true(count >= 6);
}

/* ---- commands ---- */

/* The command that a line of an example shows, if any; it may be cut off there. */
static char *command_in(char *line)
{
	static const char *const verbs[] = { "add ", "set ", "resize ",
					     "del " };
	char *at = strstr(line, "echo \""), *end;
	unsigned i;

	if (at) {
		line = at + 6;
		end = strchr(line, '"');
		if (end)
			*end = '\0';
	}
	if (*line == '@')
		line = strchr(line, ' ') + 1;
	for (i = 0; i < COUNT(verbs); i++)
		if (strncmp(line, verbs[i], strlen(verbs[i])) == 0)
			return line;
	return NULL;
}

/* The commands of a manual's examples, as a configuration. */
static unsigned gather(const char *name, char *text, size_t size)
{
	char *rest = manual, *line, *command;
	unsigned count = 0, literal = 0;

	read_manual(name);
	text[0] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		if (strncmp(line, ".Bd", 3) == 0)
			literal = 1;
		if (strncmp(line, ".Ed", 3) == 0)
			literal = 0;
		if (strncmp(line, ".Dl ", 4) == 0)
			command = command_in(line + 4);
		else
			command = literal ? command_in(line) : NULL;
		if (!command)
			continue;
		add_text(text, size, command);
		add_text(text, size, "\n");
		count++;
	}
	return count;
}

TEST_CASE(test_commands)
{
	static const char *const names[] = { "ublkd.8", "ublkd.conf.5",
					     "ublkd-protocol.7",
					     "ublkd-targets.7" };
	char text[4000];
	unsigned i, count = 0;

	for (i = 0; i < COUNT(names); i++) {
		about(names[i]);
		count += gather(names[i], text, sizeof(text));
		test_file("c", text);
		if (!say("check"))
			fail_msg("%s: %s\nof: %s", names[i], said.text, text);
	}
	assert_true(count > 15);
}

int main(void)
{
	return tests_run();
}
