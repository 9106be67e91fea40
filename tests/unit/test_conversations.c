/*
 * The conversations of tests/conversations with the admin socket, over a real
 * socket on a real loop, in every way in which a client can send the same lines.
 * tests/vm/t/conversations.sh has them with socat, ublkctl and a kernel.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/command.h"
#include "fake.h"
#include "io/recorder.h"
#include "keeper/sight-file.h"

#define PROMPT	  "ublkd> "
#define LINES	  400	/* of a conversation */
#define COMMANDS  1000	/* that are sent at once */
#define TEXT_SIZE 65536 /* of a conversation */

/* A line that is typed ('>'), or that comes back ('<'). */
struct line {
	char way;
	int any_number; /* of times, until the next that is typed */
	const char *text;
};

static struct {
	const char *name;
	char file[TEXT_SIZE];
	struct line lines[LINES];
	unsigned count, typed;
	int once; /* it cannot be repeated */
} conversation;

static struct admin *admin;
static int listener, sight;

static int me = -1;   /* the client */
static char *heard;   /* by it, and not yet compared */
static size_t length; /* of that */

/* ---- the files ---- */

static const char *folder(void)
{
	static char path[300];
	const char *srcdir = getenv("srcdir");

	snprintf(path, sizeof(path), "%s/tests/conversations",
		 srcdir ? srcdir : "..");
	return path;
}

static void read_file(const char *name)
{
	char path[600];
	size_t n;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder(), name);
	file = fopen(path, "r");
	assert_non_null(file);
	n = fread(conversation.file, 1, TEXT_SIZE, file);
	fclose(file);
	assert_true(n && n < TEXT_SIZE && conversation.file[n - 1] == '\n');
	conversation.file[n] = '\0';
	conversation.name = name;
}

/* tests/conversations/README has what such a line is. */
static void read_conversation(const char *name)
{
	char *text, *rest;
	struct line *line;

	read_file(name);
	conversation.count = conversation.typed = 0;
	conversation.once = strstr(conversation.file, "\n# once: ") != NULL;
	for (rest = conversation.file; (text = strsep(&rest, "\n")) && rest;) {
		if (*text == '#')
			continue;
		assert_true(*text == '>' || *text == '<');
		assert_true(conversation.count < LINES);
		line = &conversation.lines[conversation.count++];
		line->way = *text++;
		line->any_number = *text == '*';
		text += line->any_number;
		assert_true(!*text || *text == ' ');
		line->text = *text ? text + 1 : text;
		conversation.typed += line->way == '>';
	}
	assert_true(conversation.typed > 0);
}

/* ---- the client ---- */

static void open_client(void)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);

	getsockname(listener, (struct sockaddr *)&address, &size);
	me = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(me, (struct sockaddr *)&address, size), 0);
}

static void close_client(void)
{
	close(me);
	me = -1;
	length = 0;
}

/* Take what is there. Returns 1 once the server has closed. */
static int hear(void)
{
	char *more;
	ssize_t n;

	fake_serve();
	do {
		more = realloc(heard, length + 4097);
		assert_non_null(more);
		heard = more;
		n = recv(me, heard + length, 4096, 0);
		if (n > 0)
			length += (size_t)n;
		heard[length] = '\0';
	} while (n > 0);
	assert_true(n == 0 || errno == EAGAIN || errno == ECONNRESET);
	return n == 0 || errno == ECONNRESET;
}

/* All that comes without more being said. */
static void hear_all(void)
{
	size_t before;

	do {
		before = length;
		if (hear())
			return;
		/* A disk that nobody uses is looked at for a moment. */
		fake_pass_time(0.02);
	} while (length != before);
}

static void say(const char *bytes, size_t size)
{
	ssize_t n;

	while (size) {
		n = send(me, bytes, size, MSG_NOSIGNAL);
		/* After its last command the server does not listen. */
		if (n < 0 && errno == EPIPE)
			return;
		if (n > 0) {
			bytes += n;
			size -= (size_t)n;
		} else
			assert_int_equal(errno, EAGAIN);
		hear();
	}
}

/* ---- what came ---- */

/* * stands for anything. */
static int matches(const char *pattern, const char *line)
{
	for (; *pattern != '*'; pattern++, line++)
		if (*pattern != *line)
			return 0;
		else if (!*line)
			return 1;
	do
		if (matches(pattern + 1, line))
			return 1;
	while (*line++);
	return 0;
}

static int is_wait(const char *line)
{
	return strncmp(line, "WAIT", 4) == 0 ||
	       strncmp(line, "{\"frame\":\"WAIT\"", 15) == 0;
}

/*
 * The next line of what came, which *rest begins with, without prompts, and but for
 * what tells that the server is still at work; NULL: there is none, or only the
 * beginning of one.
 */
static char *next_line(char **rest)
{
	char *line, *end;

	do {
		line = *rest;
		end = strchr(line, '\n');
		if (!end)
			return NULL;
		*end = '\0';
		*rest = end + 1;
		/* Only where nothing had been typed ahead. */
		while (strncmp(line, PROMPT, strlen(PROMPT)) == 0)
			line += strlen(PROMPT);
	} while (is_wait(line));
	return line;
}

/* The line that is wanted here; others that may come as well are passed over. */
static void expect_line(const char *want, const char *more, char **rest)
{
	char *line;

	do
		line = next_line(rest);
	while (line && !matches(want, line) && more && matches(more, line));
	if (!line || !matches(want, line))
		fail_msg("%s: got: %s\nnot: %s", conversation.name,
			 line ? line : "nothing", want);
}

/*
 * What came is what these lines of the conversation are, which are expected
 * `times` times. What is left is the beginning of a line: a prompt.
 */
static void compare(const struct line *first, const struct line *end,
		    unsigned times)
{
	const struct line *line;
	const char *more;
	char *rest = heard, *last;

	while (times--)
		for (line = first, more = NULL; line < end; line++)
			if (line->way == '>')
				more = NULL;
			else if (line->any_number)
				more = line->text;
			else
				expect_line(line->text, more, &rest);
	last = next_line(&rest);
	if (last)
		fail_msg("%s: and then: %s\n%s", conversation.name, last, rest);
	length = strlen(rest);
	memmove(heard, rest, length + 1);
}

static void expect_greeting(void)
{
	static const struct line greeting = {
		'<', 0, "HELLO ublkd proto=1 version=* pid=*"
	};

	hear_all();
	compare(&greeting, &greeting + 1, 1);
}

/* ---- ways to send it ---- */

/* All that is typed, each line with this end; the caller frees it. */
static char *typed(const char *end_of_line, unsigned times)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	unsigned i;

	assert_non_null(file);
	while (times--)
		for (i = 0; i < conversation.count; i++)
			if (conversation.lines[i].way == '>')
				fprintf(file, "%s%s",
					conversation.lines[i].text,
					end_of_line);
	fclose(file);
	return text;
}

static void compare_all(unsigned times)
{
	compare(conversation.lines, conversation.lines + conversation.count,
		times);
}

/* A line, and when its answer is there the next one. */
static void by_hand(void)
{
	const struct line *line = conversation.lines, *block,
			  *end = line + conversation.count;

	for (; line < end; line = block) {
		say(line->text, strlen(line->text));
		say("\n", 1);
		hear_all();
		for (block = line + 1; block < end && block->way == '<';)
			block++;
		compare(line, block, 1);
	}
}

static void by_bytes(void)
{
	char *text = typed("\n", 1), *at;

	for (at = text; *at; at++)
		say(at, 1);
	free(text);
	hear_all();
	compare_all(1);
}

static void at_once(const char *end_of_line, unsigned times)
{
	char *text = typed(end_of_line, times);

	say(text, strlen(text));
	free(text);
	hear_all();
	compare_all(times);
}

static void in_one_write(void)
{
	at_once("\n", 1);
}

static void with_carriage_returns(void)
{
	at_once("\r\n", 1);
}

static void pipelined(void)
{
	at_once("\n",
		conversation.once ? 1 : COMMANDS / conversation.typed + 1);
}

static void half_closed(void)
{
	char *text = typed("\n", 1);

	say(text, strlen(text));
	shutdown(me, SHUT_WR);
	free(text);
	while (!hear())
		fake_pass_time(0.25);
	compare_all(1);
}

/* Calls this once for each file, which has been read then. */
static void for_all(void (*use)(void))
{
	struct dirent **names;
	int count = scandir(folder(), &names, NULL, alphasort), i, used = 0;

	assert_true(count > 0);
	for (i = 0; i < count; i++) {
		if (islower((unsigned char)names[i]->d_name[0])) {
			about(names[i]->d_name);
			read_conversation(names[i]->d_name);
			use();
			used++;
		}
		free(names[i]);
	}
	free(names);
	assert_true(used >= 10);
}

static void (*way)(void);

static void hold(void)
{
	open_client();
	expect_greeting();
	way();
	close_client();
	fake_serve();
	assert_int_equal(fake_host.devices.count, 0);
}

/* Every conversation in this way, on a connection of its own. */
static void hold_all(void (*in_way)(void))
{
	way = in_way;
	for_all(hold);
}

/* What a typed line begins with, behind its tag. */
static const char *verb_of(const char *text)
{
	if (*text == '@')
		text += strcspn(text, " ");
	return text + strspn(text, " ");
}

static int has_verb(const char *verb)
{
	const struct line *line = conversation.lines,
			  *end = line + conversation.count;
	size_t size = strlen(verb);

	for (; line < end; line++)
		if (line->way == '>' &&
		    strcspn(verb_of(line->text), " ") == size &&
		    strncmp(verb_of(line->text), verb, size) == 0)
			return 1;
	return 0;
}

int before_each(void **state)
{
	sa_family_t family = AF_UNIX;
	const char *why;

	fake_start();
	sight = sight_file_make(-1, &why);
	turns_share(sight, 0, NULL, NULL);
	assert_int_equal(recorder_begin(sight, test_loop), 0);
	fake_have_memory(1024);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	/* Without a path the kernel chooses a name that is no file. */
	assert_int_equal(
		bind(listener, (struct sockaddr *)&family, sizeof(family)), 0);
	assert_int_equal(listen(listener, 8), 0);
	admin = admin_open(test_loop, listener, -1, &fake_host);
	assert_non_null(admin);
	return 0;
}

int after_each(void **state)
{
	fake_delete_all();
	command_keeper_gone(&fake_host);
	turn(5);
	if (me >= 0)
		close_client();
	free(heard);
	heard = NULL;
	turn(10);
	admin_close(admin);
	close(listener);
	fake_stop();
	recorder_end();
	close(sight);
	test_folder_remove();
	return 0;
}

TEST_CASE(test_by_hand)
{
	hold_all(by_hand);
}

TEST_CASE(test_by_bytes)
{
	hold_all(by_bytes);
}

TEST_CASE(test_in_one_write)
{
	hold_all(in_one_write);
}

TEST_CASE(test_carriage_returns)
{
	hold_all(with_carriage_returns);
}

TEST_CASE(test_pipelined)
{
	hold_all(pipelined);
}

TEST_CASE(test_half_closed)
{
	hold_all(half_closed);
}

static unsigned char is_typed[100]; /* by the commands' places in their table */

static void note_commands(void)
{
	unsigned i;

	for (i = 0; command_table[i].verb; i++) {
		assert_true(i < COUNT(is_typed));
		is_typed[i] |= has_verb(command_table[i].verb);
	}
}

TEST_CASE(test_every_command)
{
	unsigned i;

	for_all(note_commands);
	for (i = 0; command_table[i].verb; i++)
		if (!is_typed[i])
			fail_msg("no conversation has the command %s",
				 command_table[i].verb);
}

int main(void)
{
	return tests_run();
}
