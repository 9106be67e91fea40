/* The admin socket and its commands, over real sockets on a real loop. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/json.h"
#include "admin/watch.h"
#include "fake.h"
#include "keeper/helper.h"
#include "io/workers.h"
#include "server/server.h"

#define CLIENTS 200

/* ---- who connects, and whether a connection can be taken ---- */

static uid_t next_uid;
static int peer_error;
static int accept_error;
static unsigned accepts;

int __real_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *length,
		   int flags);

int __wrap_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length)
{
	if (level != SOL_SOCKET || name != SO_PEERCRED)
		return __real_getsockopt(fd, level, name, value, length);
	if (peer_error) {
		errno = peer_error;
		return -1;
	}
	*(struct ucred *)value = (struct ucred){ getpid(), next_uid, 0 };
	return 0;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length,
		   int flags)
{
	accepts++;
	if (accept_error) {
		errno = accept_error;
		return -1;
	}
	return __real_accept4(fd, address, length, flags);
}

/* ---- how much memory an output takes ---- */

static size_t largest; /* that was asked for */

void *__real_realloc(void *old, size_t size);

void *__wrap_realloc(void *old, size_t size)
{
	if (size > largest)
		largest = size;
	return __real_realloc(old, size);
}

/* ---- the server ---- */

static struct admin *admin;
static int listener, reader; /* the admin socket, and the read-only one */

static void on_empty(struct device_set *set)
{
	if (fake_host.stopping)
		command_answer_leaving(&fake_host);
}

static int listen_somewhere(void)
{
	sa_family_t family = AF_UNIX;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* Without a path the kernel chooses a name that is no file. */
	assert_int_equal(bind(fd, (struct sockaddr *)&family, sizeof(family)),
			 0);
	assert_int_equal(listen(fd, 256), 0);
	return fd;
}

/* Connect to that one, wherever it listens. */
static void connect_to(int fd, int server)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);

	assert_int_equal(
		getsockname(server, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
}

/* ---- clients ---- */

struct client {
	int fd;
	char *text; /* what came and was not looked at */
	size_t length;
	size_t checked; /* lines of that */
	int in_line;	/* the text goes on with the rest of one */
};

static struct client clients[CLIENTS];

static struct client *open_client_at(int server)
{
	struct client *client = clients;

	while (client->fd >= 0)
		client++;
	assert_true(client < clients + CLIENTS);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	client->length = client->checked = 0;
	client->in_line = 0;
	connect_to(client->fd, server);
	fake_serve();
	return client;
}

static struct client *open_client(void)
{
	return open_client_at(listener);
}

static void close_client(struct client *client)
{
	close(client->fd);
	client->fd = -1;
	free(client->text);
	client->text = NULL;
	client->length = client->checked = 0;
}

/* Every line that comes is one that is known. */
static void check_lines(struct client *client)
{
	char *line = client->text + client->checked, *end;

	for (; (end = strchr(line, '\n')); line = end + 1) {
		/* A person's own newline has ended that. */
		while (strncmp(line, "ublkd> ", 7) == 0)
			line += 7;
		if (!client->in_line && end > line)
			fake_check_line(line, (size_t)(end - line));
		client->in_line = 0;
	}
	client->checked = (size_t)(line - client->text);
}

static int take(struct client *client)
{
	size_t room = 1 << 16;
	ssize_t n;

	for (;;) {
		client->text =
			__real_realloc(client->text, client->length + room + 1);
		assert_non_null(client->text);
		n = recv(client->fd, client->text + client->length, room, 0);
		if (n > 0)
			client->length += (size_t)n;
		client->text[client->length] = '\0';
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 1;
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			return 0;
		}
	}
}

/* Take what is there. Returns 1 once the server has closed. */
static int hear(struct client *client)
{
	int is_closed = take(client);

	check_lines(client);
	return is_closed;
}

/* And what it has kept back until then. */
static void hear_all(struct client *client)
{
	size_t before;

	do {
		before = client->length;
		fake_serve();
		hear(client);
	} while (client->length != before);
}

static void forget(struct client *client)
{
	client->in_line = client->length > client->checked;
	client->length = client->checked = 0;
	if (client->text)
		client->text[0] = '\0';
}

/* Send it all, reading the replies meanwhile, so that nobody waits. */
static void say_bytes(struct client *client, const char *bytes, size_t length)
{
	int idle = 0;

	while (length) {
		ssize_t n = send(client->fd, bytes, length, MSG_NOSIGNAL);

		if (n > 0) {
			bytes += n;
			length -= (size_t)n;
			idle = 0;
			continue;
		}
		if (++idle > 1000)
			fail_msg("the server does not read");
		fake_serve();
		hear(client);
	}
	fake_serve();
}

static void say_on(struct client *client, const char *text)
{
	say_bytes(client, text, strlen(text));
}

/* All that came must match; * stands for anything. */
static void expect_on(struct client *client, const char *pattern)
{
	hear(client);
	if (fnmatch(pattern, client->text, 0) != 0)
		fail_msg("got: %s\nnot: %s", client->text, pattern);
	forget(client);
}

static void ask_on(struct client *client, const char *line, const char *pattern)
{
	say_on(client, line);
	say_on(client, "\n");
	expect_on(client, pattern);
}

static struct client *greeted(void)
{
	struct client *client = open_client();

	expect_on(client, "HELLO ublkd proto=1 version=* pid=*\n");
	return client;
}

static void expect_closed(struct client *client)
{
	fake_serve();
	assert_int_equal(hear(client), 1);
}

/* What most tests have: one client that is greeted. */

static struct client *me;

static void say(const char *text)
{
	say_on(me, text);
}

static void expect(const char *pattern)
{
	expect_on(me, pattern);
}

static void ask(const char *line, const char *pattern)
{
	ask_on(me, line, pattern);
}

static void ask_text(const char *pattern, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void ask_text(const char *pattern, const char *format, ...)
{
	char line[SYNTAX_LINE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	ask(line, pattern);
}

/* `count` devices with the numbers from 0 on. */
static void add_many(int count)
{
	int i;

	for (i = 0; i < count; i++)
		ask_text("OK *\n", "add null id=%d", i);
}

/* Layers have got other values so often. */
static unsigned layer_changes;

void __real_layers_change(struct layers *layers,
			  const struct option_value *values,
			  const struct option_value *given);

void __wrap_layers_change(struct layers *layers,
			  const struct option_value *values,
			  const struct option_value *given)
{
	layer_changes++;
	__real_layers_change(layers, values, given);
}

/* No strstr(): a sanitizer's looks for the text's end at each call. */
static unsigned count_text(const struct client *client, const char *part)
{
	const char *at = client->text, *end = at + client->length;
	size_t length = strlen(part);
	unsigned count = 0;

	while (at && (at = memchr(at, part[0], (size_t)(end - at)))) {
		int is_there = (size_t)(end - at) >= length &&
			       memcmp(at, part, length) == 0;

		count += is_there;
		at += is_there ? length : 1;
	}
	return count;
}

static void end_keeper(void)
{
	fake_end_keeper();
	command_keeper_gone(&fake_host);
	fake_serve();
}

int before_each(void **state)
{
	unsigned i;

	fake_start();
	fake_host.devices.on_empty = on_empty;
	fake_have_memory(1024);
	next_uid = 0;
	peer_error = 0;
	accept_error = 0;
	accepts = 0;
	for (i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	listener = listen_somewhere();
	reader = listen_somewhere();
	admin = admin_open(test_loop, listener, reader, &fake_host);
	assert_non_null(admin);
	me = greeted();
	return 0;
}

/* Devices first: what waits for them is answered while it is there. */
int after_each(void **state)
{
	unsigned i;

	fake_delete_all();
	command_keeper_gone(&fake_host);
	turn(5);
	for (i = 0; i < CLIENTS; i++)
		if (clients[i].fd >= 0)
			close_client(&clients[i]);
	turn(10);
	admin_close(admin);
	close(listener);
	close(reader);
	fake_stop();
	test_folder_remove();
	return 0;
}

/* ---- framing ---- */

TEST_CASE(test_greeting)
{
	struct client *client = open_client();
	char text[64];

	snprintf(text, sizeof(text), " pid=%d\n", (int)getpid());
	assert_int_equal(hear(client), 0);
	assert_memory_equal(client->text, "HELLO ublkd proto=1 version=", 28);
	assert_non_null(strstr(client->text, text));
	expect_on(client, "HELLO*\n");
	/* And nothing until it is asked. */
	fake_pass_time(2);
	expect_on(client, "");
}

TEST_CASE(test_ping)
{
	ask("ping", "OK\n");
	ask("@a ping", "OK @a\n");
	ask("  @long-tag:7 \t ping  ", "OK @long-tag:7\n");
	ask("\"ping\"", "OK\n");
	ask("@1 p'in'g # now", "OK @1\n");
}

TEST_CASE(test_nothing)
{
	say("\n\n   \n# ping\n \t# ping\n\r\n");
	expect("");
	ask("ping", "OK\n");
}

TEST_CASE(test_carriage_return)
{
	say("ping\r\n@b ping\r\nping\n");
	expect("OK\nOK @b\nOK\n");
	ask("ping \"\r", "ERR syntax text=\"*not closed*\"\n");
}

/* A line, and its answer: symbol, part of the text, arg; "": it has none. */
struct mistake {
	const char *line, *symbol, *text, *arg;
};

/* Nothing comes of them: there are as many devices as before. */
static void check_mistakes(const struct mistake *rows, unsigned count,
			   unsigned devices)
{
	char pattern[300];
	unsigned i;

	fake_forget();
	for (i = 0; i < count; i++) {
		snprintf(pattern, sizeof(pattern), "ERR %s text=\"*%s*\"%s%s\n",
			 rows[i].symbol, rows[i].text,
			 rows[i].arg[0] ? " arg=" : "", rows[i].arg);
		/* Anything may follow. */
		if (strcmp(rows[i].arg, "*") == 0)
			snprintf(pattern, sizeof(pattern),
				 "ERR %s text=\"*%s*\"*\n", rows[i].symbol,
				 rows[i].text);
		ask(rows[i].line, pattern);
		assert_int_equal(fake_host.devices.count, devices);
		fake_expect("");
	}
}

TEST_CASE(test_errors)
{
	static const struct mistake rows[] = {
		{ "frobnicate", "unknown", "", "frobnicate" },
		{ "PING", "unknown", "", "PING" },
		{ "''", "unknown", "", "" },
		{ "ping again", "arg", "", "again" },
		{ "ping a=b", "unknown", "", "*" },
		{ "ping \"unclosed", "syntax", "not closed", "" },
		{ "@ ping", "syntax", "tag", "" },
		{ "on-error", "arg", "", "" },
		{ "on-error maybe", "arg", "", "maybe" },
		{ "add", "arg", "", "" },
		{ "add ramm size=1M", "unknown", "", "ramm" },
		{ "add size=1M", "unknown", "", "*" },
		{ "add ram", "arg", "size", "size" },
		{ "add ram size=1M sise=1M", "unknown", "sise", "*" },
		{ "add ram size=1M extra", "arg", "", "extra" },
		{ "add ram size=1M size=1M", "arg", "twice", "size" },
		{ "add ram size=0", "range", "size", "size" },
		{ "add ram size=-1", "range", "size", "size" },
		{ "add ram size=1000", "range", "512", "size" },
		{ "add ram size=2K block-size=4K", "range", "4096", "size" },
		{ "add ram size=1E", "limit", "", "size*" },
		{ "add ram size=2G", "limit", "1024 MiB", "size*" },
		{ "add ram size=99999999999999999999", "range", "", "size" },
		{ "add ram size=16E", "range", "", "size" },
		{ "add null size=9E", "range", "", "size" },
		{ "add ram size=lots", "arg", "", "size" },
		{ "add ram size=", "arg", "", "size" },
		{ "add null queues=5000", "range", "", "queues" },
		{ "add null queues=0", "range", "", "queues" },
		{ "add null depth=0", "range", "", "depth" },
		{ "add null depth=4097", "range", "", "depth" },
		{ "add null depth=-1", "range", "", "depth" },
		{ "add null id=1048576", "range", "", "id" },
		{ "add null id=-1", "range", "", "id" },
		{ "add null max-io=5000", "range", "", "max-io" },
		{ "add null max-io=64M", "range", "", "max-io" },
		{ "add null block-size=1000", "range", "", "block-size" },
		{ "add null block-size=8K", "range", "", "block-size" },
		{ "add null ro=perhaps", "arg", "", "ro" },
		{ "add null fill=2", "arg", "", "fill" },
		{ "add null name=a/b", "arg", "", "name" },
		{ "add null name=", "arg", "", "name" },
		{ "add null name=7", "arg", "", "name" },
		{ "add null name=ublkb7", "arg", "", "name" },
		{ "add null name=--all", "arg", "an option", "name" },
		{ "del", "arg", "", "" },
		{ "del 7", "notfound", "", "7" },
		{ "del id=7", "notfound", "", "7" },
		{ "del name=x", "notfound", "", "x" },
		{ "del ublkb7", "notfound", "", "ublkb7" },
		{ "del 7 id=7", "arg", "", "" },
		{ "del 7 8", "notfound", "", "7" },
		{ "del --all 7", "arg", "both", "--all" },
		{ "del --all id=7", "arg", "one way", "" },
		{ "del 7 name=x 8", "arg", "one way", "" },
		{ "del 7 force=perhaps", "arg", "", "force" },
		{ "show 7", "notfound", "", "7" },
		{ "show ''", "notfound", "", "" },
		{ "show 4294967295", "notfound", "", "*" },
		{ "show 99999999999999999999", "notfound", "", "*" },
		{ "help frobnicate", "unknown", "", "frobnicate" },
		{ "help add frobnicate", "unknown", "", "frobnicate" },
		{ "shutdown force=perhaps", "arg", "", "force" },
	};

	check_mistakes(rows, COUNT(rows), 0);
	ask("@x frobnicate", "ERR @x unknown text=\"*\" arg=frobnicate\n");
	ask("@t ping 'unclosed", "ERR @t syntax text=\"*not closed*\"\n");
	ask("@t", "ERR @t syntax text=\"*\"\n");
	ask("ping", "OK\n");
	assert_int_equal(fake_host.devices.count, 0);
}

/* Bytes that a terminal would obey never come back as they are. */
TEST_CASE(test_controls_are_escaped)
{
	size_t i;

	say("\x1b[2J\x07\x7f\xc2\x9b ping\n"
	    "\"\\x1b]0;x\\x07\\xff\\n\"\n"
	    "show \x1b[31m\nadd \x1b[1m\nadd null \x1b=\x9b\n"
	    "add ram size=\"\\x1b\\n\"\nhelp \"\\n\"\n");
	hear(me);
	assert_int_equal(count_text(me, "ERR "), 7);
	assert_int_equal(count_text(me, "\n"), 7);
	for (i = 0; i < me->length; i++)
		assert_true((me->text[i] >= 0x20 && me->text[i] < 0x7f) ||
			    me->text[i] == '\n');
}

TEST_CASE(test_byte_at_a_time)
{
	static const char text[] = "@a ping\r\n# x\n\nfrob\n@b ping\n";
	struct client *other = greeted();
	size_t i;

	for (i = 0; i < sizeof(text) - 1; i++) {
		say_bytes(me, &text[i], 1);
		ask_on(other, "ping", "OK\n");
		fake_pass_time(1);
	}
	expect("OK @a\nERR unknown *\nOK @b\n");
}

TEST_CASE(test_pipeline)
{
	char text[16384], expected[16384];
	int i, at = 0, end = 0;

	for (i = 0; i < 500; i++) {
		at += snprintf(text + at, sizeof(text) - (size_t)at,
			       "@%d ping%s\n", i, i % 3 ? "" : "\r");
		end += snprintf(expected + end, sizeof(expected) - (size_t)end,
				"OK @%d\n", i);
	}
	say(text);
	hear_all(me);
	assert_string_equal(me->text, expected);
}

/* An answer that comes late holds back those behind it, on its connection. */
TEST_CASE(test_order)
{
	fake.hold[MESSAGE_START] = 1;
	say("@1 ping\n@2 add null\n@3 ping\n@4 list\n@5 nonsense\n");
	expect("OK @1\n");
	fake_release(MESSAGE_START);
	expect("OK @2 id=0 *\nOK @3\ndev id=0 *\nOK @4 seq=*\n"
	       "ERR @5 unknown *\n");
}

TEST_CASE(test_side_by_side)
{
	struct client *slow = greeted(), *quick = greeted(), *third = greeted();

	fake.hold[MESSAGE_START] = 1;
	ask_on(slow, "@slow add ram size=1M", "");
	ask_on(quick, "ping", "OK\n");
	ask_on(quick, "list",
	       "dev id=0 * state=adding step=start *\nOK seq=*\n");
	fake.hold[MESSAGE_START] = 0;
	ask_on(third, "add null id=9", "OK id=9 dev=/dev/ublkb9 *\n");
	ask_on(quick, "del 9", "OK id=9\n");
	ask_on(quick, "del 0", "ERR busy *\n");
	expect_on(slow, "");
	fake_release(MESSAGE_START);
	expect_on(slow, "OK @slow id=0 dev=/dev/ublkb0 *\n");
}

/* A ping of so many bytes, with blanks behind it. */
static void say_ping(struct client *client, int length, const char *end)
{
	char text[SYNTAX_LINE_MAX + 16];

	snprintf(text, sizeof(text), "%-*s%s", length, "@a ping", end);
	say_on(client, text);
}

TEST_CASE(test_line_limit)
{
	say_ping(me, SYNTAX_LINE_MAX, "\n");
	expect("OK @a\n");
	say_ping(me, SYNTAX_LINE_MAX, "\r\n");
	expect("OK @a\n");
	say_ping(me, SYNTAX_LINE_MAX + 1, "\n");
	expect("ERR*syntax text=\"*4096 bytes*\"\n");
	say_ping(me, SYNTAX_LINE_MAX + 1, "\r\n");
	expect("ERR*syntax text=\"*4096 bytes*\"\n");
	ask("@b ping", "OK @b\n");
}

/* One answer however long it is, then the next line as if nothing was. */
static void say_long(struct client *client, size_t length, const char *end)
{
	char block[65536];

	memset(block, 'x', sizeof(block));
	while (length) {
		size_t n = length < sizeof(block) ? length : sizeof(block);

		say_bytes(client, block, n);
		length -= n;
	}
	say_on(client, end);
}

TEST_CASE(test_long_lines)
{
	static const size_t lengths[] = { 4097,	 4098,	4099,	5000,	8191,
					  8192,	 8193,	12287,	12288,	12289,
					  16384, 65536, 100000, 1000003 };
	size_t i;

	for (i = 0; i < COUNT(lengths); i++) {
		say_long(me, lengths[i], "\n@a ping\n");
		expect("ERR syntax text=\"*4096 bytes*\"\nOK @a\n");
	}
	/* Two in a row are two mistakes. */
	say_long(me, 9000, "\n");
	say_long(me, 9000, "\r\nping\n");
	expect("ERR syntax *\nERR syntax *\nOK\n");
	/* Told at once, not when it ends. */
	say_long(me, 9000, "");
	expect("ERR syntax *\n");
	fake_pass_time(1);
	expect("");
	say("ping\nping\n");
	expect("OK\n");
}

TEST_CASE(test_line_of_10_mb)
{
	struct client *other = greeted();

	say_long(me, 10 << 20, "\n@a ping\n");
	expect("ERR syntax text=\"*4096 bytes*\"\nOK @a\n");
	ask_on(other, "ping", "OK\n");
	/* And one that never ends. */
	say_long(me, 1 << 20, "");
	shutdown(me->fd, SHUT_WR);
	fake_serve();
	expect("ERR syntax *\n");
	expect_closed(me);
}

TEST_CASE(test_bad_bytes)
{
	say_bytes(me, "pi\0ng\n", 6);
	expect("ERR syntax text=\"*NUL*\"\n");
	say_bytes(me, "\0\n", 2);
	expect("ERR syntax text=\"*NUL*\"\n");
	say("ping \xff\n");
	expect("ERR syntax text=\"*UTF-8*\"\n");
	say("ping \xed\xa0\x80\n");
	expect("ERR syntax text=\"*UTF-8*\"\n");
	say("ping \xc0\xaf\n");
	expect("ERR syntax text=\"*UTF-8*\"\n");
	ask("ping", "OK\n");
}

/* ---- the end of input ---- */

TEST_CASE(test_end_without_newline)
{
	say("@a ping\n@b ping");
	expect("OK @a\n");
	shutdown(me->fd, SHUT_WR);
	fake_serve();
	expect("OK @b\n");
	expect_closed(me);
}

TEST_CASE(test_end_at_once)
{
	shutdown(me->fd, SHUT_WR);
	expect_closed(me);
	assert_int_equal(me->length, 0);
}

/* Everything that was asked is answered before the end. */
TEST_CASE(test_end_after_many)
{
	int i;

	for (i = 0; i < 100; i++)
		send(me->fd, "help\nping\n", 10, MSG_NOSIGNAL);
	shutdown(me->fd, SHUT_WR);
	for (i = 0; i < 1000 && !hear(me); i++)
		fake_serve();
	assert_int_equal(hear(me), 1);
	assert_int_equal(count_text(me, "OK\n"), 200);
	assert_int_equal(count_text(me, "ERR"), 0);
}

/* socat leaves half a second after its input has ended and nothing comes. */
TEST_CASE(test_wait)
{
	unsigned waits;

	fake.hold[MESSAGE_START] = 1;
	say("@x add ram size=1M\n");
	/* As long as it could still say something there is no WAIT. */
	fake_pass_time(3);
	expect("");
	shutdown(me->fd, SHUT_WR);
	fake_pass_time(0.45);
	hear(me);
	assert_true(count_text(me, "WAIT @x what=add\n") >= 1);
	forget(me);
	fake_pass_time(2);
	hear(me);
	waits = count_text(me, "WAIT @x what=add\n");
	assert_true(waits >= 7 && waits <= 9);
	assert_int_equal(me->length, waits * strlen("WAIT @x what=add\n"));
	forget(me);
	fake_release(MESSAGE_START);
	expect("OK @x id=0 dev=/dev/ublkb0 *\n");
	expect_closed(me);
	/* The device is there, whoever asked for it is gone. */
	ask_on(greeted(), "list", "dev id=0 * state=live *\nOK seq=*\n");
}

TEST_CASE(test_wait_without_tag)
{
	fake.hold[MESSAGE_STOP] = 1;
	ask("add null", "OK id=0 *\n");
	say("del 0 force=yes\nping\n");
	shutdown(me->fd, SHUT_WR);
	fake_pass_time(0.6);
	expect("WAIT what=del\nWAIT what=del\n");
	fake_release(MESSAGE_STOP);
	expect("OK id=0\nOK\n");
	expect_closed(me);
}

/* Nobody is asked to stay after the answer. */
TEST_CASE(test_no_wait_afterwards)
{
	fake.hold[MESSAGE_START] = 1;
	say("add null\n");
	fake_pass_time(0.3);
	fake_release(MESSAGE_START);
	expect("OK id=0 *\n");
	fake_pass_time(2);
	expect("");
	ask("ping", "OK\n");
}

/* The answer has nobody to go to; all else goes on. */
TEST_CASE(test_vanish_while_pending)
{
	struct client *other = greeted();
	unsigned fds;

	fake.hold[MESSAGE_START] = 1;
	fds = count_fds();
	say("@x add null\n@y ping\n");
	close_client(me);
	fake_pass_time(2);
	ask_on(other, "list", "dev id=0 * state=adding *\nOK seq=*\n");
	fake_release(MESSAGE_START);
	fake_pass_time(1);
	ask_on(other, "list", "dev id=0 * state=live *\nOK seq=*\n");
	/* Its connection is gone; the char device has come. */
	assert_int_equal(count_fds(), fds - 2 + 1);
}

TEST_CASE(test_vanish_in_a_line)
{
	unsigned fds = count_fds();

	say("add nul");
	close_client(me);
	fake_serve();
	assert_int_equal(fake_host.devices.count, 0);
	assert_int_equal(count_fds(), fds - 2);
}

/* A client that is gone before its greeting, and one in a flood of replies. */
TEST_CASE(test_vanish_any_time)
{
	struct client *client;
	int i;

	for (i = 0; i < 20; i++) {
		client = &clients[1];
		client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect_to(client->fd, listener);
		while (i % 2 &&
		       send(client->fd, "help\n", 5, MSG_NOSIGNAL) == 5)
			;
		turn(i / 2);
		close_client(client);
		turn(1);
	}
	turn(20);
	ask("ping", "OK\n");
}

/* Nobody is left to take the rest of a listing: its memory is given back. */
TEST_CASE(test_vanish_in_a_listing)
{
	struct client *client, *other = greeted();
	unsigned fds, pieces, i;

	add_many(60);
	fds = count_fds();
	for (pieces = 1; pieces <= 5; pieces++) {
		client = greeted();
		send(client->fd, "list\n", 5, MSG_NOSIGNAL);
		turn((int)pieces);
		hear(client);
		assert_true(count_text(client, "dev id=") < 60);
		close_client(client);
		settle();
		assert_int_equal(count_fds(), fds);
	}
	/* And in one that has come to a halt because nobody reads it. */
	client = greeted();
	for (i = 0; i < 100; i++)
		say_on(client, "list\n");
	send(client->fd, "list\nlist\nlist\n", 15, MSG_NOSIGNAL);
	close_client(client);
	settle();
	assert_int_equal(count_fds(), fds);
	ask_on(other, "ping", "OK\n");
}

/* ---- replies that are not read ---- */

/* Ask for it until the server stops reading. */
static unsigned flood(struct client *client, const char *line)
{
	const ssize_t length = (ssize_t)strlen(line);
	unsigned sent = 0, idle = 0;

	while (idle < 20) {
		ssize_t n =
			send(client->fd, line, (size_t)length, MSG_NOSIGNAL);

		assert_true(n == length || (n < 0 && errno == EAGAIN));
		sent += n == length;
		idle = n == length ? 0 : idle + 1;
		if (n < 0)
			fake_serve();
	}
	return sent;
}

/* It is not read any more, everyone else is; in the end it is closed. */
TEST_CASE(test_never_reads)
{
	struct client *other = greeted();
	unsigned fds = count_fds();

	assert_true(flood(me, "help\n") > 0);
	ask_on(other, "ping", "OK\n");
	fake_pass_time(ADMIN_DRAIN_TIME - 1);
	assert_int_equal(count_fds(), fds);
	ask_on(other, "ping", "OK\n");
	fake_pass_time(2);
	assert_int_equal(count_fds(), fds - 1);
	assert_true(log_has("does not read"));
	ask_on(other, "ping", "OK\n");
}

/* Most of it has not been made yet, and nobody will take it. */
TEST_CASE(test_leaves_in_a_listing)
{
	struct client *leaves;
	unsigned fds;
	int by_itself;

	add_many(60);
	fds = count_fds();
	for (by_itself = 0; by_itself < 2; by_itself++) {
		leaves = greeted();
		assert_true(flood(leaves, "list\n") > 0);
		if (by_itself)
			close_client(leaves);
		fake_pass_time(by_itself ? 1 : ADMIN_DRAIN_TIME + 1);
		if (!by_itself)
			close_client(leaves);
		assert_int_equal(count_fds(), fds);
	}
	ask("ping", "OK\n");
}

/* So many replies, each like the first. */
static void expect_replies(struct client *client, unsigned count)
{
	unsigned came = count_text(client, "\nOK\n"), i;
	size_t each = client->length / count;

	if (came != count)
		fail_msg("%u of %u replies came", came, count);
	for (i = 1; i < count; i++)
		assert_memory_equal(client->text, client->text + i * each,
				    each);
	assert_int_equal(client->length, count * each);
	forget(client);
}

/* Whatever the pace: every reply comes, in full and in order. */
static void check_slow_reader(size_t piece, int turns)
{
	struct client *client = greeted();
	unsigned sent = flood(client, "help\n"), i;
	char *buffer = malloc(piece);

	assert_non_null(buffer);
	for (i = 0; i < 200000; i++) {
		ssize_t n = recv(client->fd, buffer, piece, 0);

		if (n > 0) {
			client->text = __real_realloc(
				client->text, client->length + (size_t)n + 1);
			memcpy(client->text + client->length, buffer,
			       (size_t)n);
			client->length += (size_t)n;
			client->text[client->length] = '\0';
		}
		turn(turns);
		if (n < 0 && count_text(client, "\nOK\n") == sent)
			break;
	}
	free(buffer);
	if (count_text(client, "\nOK\n") != sent)
		fail_msg("%u of %u replies came", count_text(client, "\nOK\n"),
			 sent);
	forget(client);
	ask_on(client, "ping", "OK\n");
	close_client(client);
	turn(5);
}

TEST_CASE(test_slow_reader)
{
	check_slow_reader(100000, 1);
	check_slow_reader(40000, 1);
	check_slow_reader(1000000, 3);
	check_slow_reader(5000, 1);
}

/*
 * It takes everything in the very moment in which the server wanted to go on
 * but was full: nothing else would wake that connection.
 */
/* In one piece: more replies than the sockets and the output take. */
static unsigned ask_for_help(struct client *client)
{
	char text[3001] = "";
	ssize_t length;
	unsigned i;

	for (i = 0; i < 600; i++)
		add_text(text, sizeof(text), "help\n");
	length = (ssize_t)strlen(text);
	assert_int_equal(send(client->fd, text, (size_t)length, MSG_NOSIGNAL),
			 length);
	return i;
}

TEST_CASE(test_drained_at_once)
{
	unsigned before, turns, i, asked;

	/* How many turns it takes until it is full. */
	before = ev_iteration(test_loop);
	ask_for_help(me);
	settle();
	turns = ev_iteration(test_loop) - before;
	close_client(me);
	settle();
	for (i = turns - 12; i < turns; i++) {
		me = greeted();
		asked = ask_for_help(me);
		turn((int)i);
		hear(me);
		assert_true(count_text(me, "\nOK\n") < asked);
		hear_all(me);
		expect_replies(me, asked);
		close_client(me);
		settle();
	}
}

/* Unread replies do not make the server's memory grow. */
TEST_CASE(test_output_is_bounded)
{
	largest = 0;
	ask_for_help(me);
	fake_serve();
	flood(me, "help\n");
	assert_true(largest > ADMIN_OUTPUT_MAX / 2);
	assert_true(largest <= 4ul * ADMIN_OUTPUT_MAX);
}

/* ---- connections ---- */

static void refused(void)
{
	struct client *client = open_client();

	expect_on(client, "ERR limit text=\"*connections*\"\n");
	/* It gets to read why, whatever it says. */
	send(client->fd, "ping\n", 5, MSG_NOSIGNAL);
	fake_pass_time(1.5);
	expect_closed(client);
	assert_int_equal(client->length, 0);
	close_client(client);
}

TEST_CASE(test_limit_of_a_user)
{
	struct client *mine[ADMIN_UID_MAX];
	int i;

	next_uid = 1000;
	for (i = 0; i < ADMIN_UID_MAX; i++)
		mine[i] = greeted();
	refused();
	ask_on(mine[0], "ping", "OK\n");
	next_uid = 1001;
	greeted();
	next_uid = 0;
	greeted();
	/* One that leaves makes room. */
	next_uid = 1000;
	close_client(mine[3]);
	fake_serve();
	mine[3] = greeted();
	refused();
}

/* Nobody in particular: with the rights and the limits of a user, not root's. */
TEST_CASE(test_peer_cannot_be_told)
{
	struct client *first = NULL;
	int i;

	peer_error = ENOBUFS;
	for (i = 0; i < ADMIN_UID_MAX; i++)
		first = greeted();
	assert_true(log_has("cannot tell who connects: "));
	refused();
	ask_on(first, "upgrade", "ERR denied *\n");
	ask_on(first, "add ram size=1M keep=/dev/shm",
	       "ERR denied *arg=keep*\n");
	ask_on(first, "ping", "OK\n");
	peer_error = 0;
	greeted();
}

TEST_CASE(test_limit_of_users)
{
	int i;

	for (i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		next_uid = (uid_t)(1000 + i / ADMIN_UID_MAX);
		greeted();
	}
	next_uid = 2000;
	refused();
	/* Root is not kept out by them. */
	next_uid = 0;
	ask_on(greeted(), "ping", "OK\n");
}

TEST_CASE(test_limit_of_root)
{
	int i;

	for (i = 1; i < ADMIN_ROOT_MAX; i++)
		greeted();
	refused();
	next_uid = 1000;
	ask_on(greeted(), "ping", "OK\n");
}

/* ---- the read-only socket ---- */

static struct client *greeted_reader(void)
{
	struct client *client = open_client_at(reader);

	expect_on(client, "HELLO ublkd proto=1 version=* pid=* access=read\n");
	return client;
}

/* Also root: whatever is not for reading is refused, and nothing is done. */
TEST_CASE(test_reader)
{
	const struct command *command;
	struct client *client;
	char line[100];

	ask("add null id=3", "OK *\n");
	client = greeted_reader();
	for (command = command_table; command->verb; command++) {
		if (command->access == ACCESS_READ)
			continue;
		snprintf(line, sizeof(line), "%s", command->verb);
		ask_on(client, line,
		       "ERR denied text=\"this socket is for reading only; *"
		       "admin socket\" errno=EPERM\n");
	}
	ask_on(client, "del 3", "ERR denied *\n");
	assert_int_equal(log_count("del"), 0); /* anybody could fill the log */
	ask_on(client, "list", "dev id=3 *OK *\n");
	ask_on(client, "show 3", "dev id=3 *OK *\n");
	ask_on(client, "watch", "OK seq=*\n");
	/* And root's other connection is not hurt by that. */
	ask("del 3", "OK*\n");
	expect_on(client, "EVENT *state=gone*\n");
}

/* Whoever fills one of the sockets keeps nobody from the other one. */
TEST_CASE(test_reader_limits)
{
	struct client *client;
	int i;

	for (i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		next_uid = (uid_t)(1000 + i / ADMIN_UID_MAX);
		greeted_reader();
	}
	next_uid = 2000;
	client = open_client_at(reader);
	expect_on(client, "ERR limit *\n");
	greeted();
	next_uid = 1000;
	greeted();
}

/* Those that are refused and stay are bounded as well. */
TEST_CASE(test_refused_are_bounded)
{
	struct client *client;
	unsigned fds;
	int i;

	next_uid = 1000;
	for (i = 0; i < ADMIN_UID_MAX; i++)
		greeted();
	fds = count_fds();
	for (i = 0; i < 100; i++)
		open_client();
	assert_true(count_fds() <= fds + 100 + ADMIN_REFUSED_MAX);
	client = open_client();
	expect_closed(client);
	fake_pass_time(2);
	assert_int_equal(count_fds(), fds + 101);
}

TEST_CASE(test_accept_fails)
{
	struct client *late = &clients[1];

	accept_error = EMFILE;
	late->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	connect_to(late->fd, listener);
	accepts = 0;
	fake_pass_time(0.5);
	/* It must not spin on a socket that stays readable. */
	assert_true(accepts >= 1 && accepts <= 2);
	assert_true(log_has("cannot accept"));
	ask("ping", "OK\n");
	accept_error = 0;
	fake_pass_time(1.5);
	expect_on(late, "HELLO *\n");
	/* One that was gone already is nothing to wait for. */
	accept_error = ECONNABORTED;
	turn(2);
	accept_error = 0;
	greeted();
}

TEST_CASE(test_many_at_once)
{
	int i;

	for (i = 1; i <= 100; i++) {
		clients[i].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect_to(clients[i].fd, listener);
	}
	fake_serve();
	turn(20);
	for (i = 1; i <= 100; i++)
		expect_on(&clients[i], "HELLO *\n");
}

/* ---- on-error ---- */

TEST_CASE(test_on_error)
{
	struct client *other = greeted();

	/* An error before it does not count. */
	ask("nonsense", "ERR unknown *\n");
	ask("on-error stop", "OK\n");
	ask("ping", "OK\n");
	ask("@1 nonsense", "ERR @1 unknown *\n");
	ask("@2 ping", "ERR @2 skipped *\n");
	ask("@3 add null", "ERR @3 skipped *\n");
	ask("@4 nonsense", "ERR @4 skipped *\n");
	assert_int_equal(fake_host.devices.count, 0);
	/* It is a matter of this connection. */
	ask_on(other, "nonsense", "ERR unknown *\n");
	ask_on(other, "ping", "OK\n");
}

TEST_CASE(test_on_error_continue)
{
	ask("on-error stop", "OK\n");
	ask("on-error continue", "OK\n");
	ask("nonsense", "ERR unknown *\n");
	ask("ping", "OK\n");
	/* A line that cannot be read is an error as well. */
	ask("on-error stop", "OK\n");
	ask("ping \"", "ERR syntax *\n");
	ask("ping", "ERR skipped *\n");
}

/* Also one that comes late. */
TEST_CASE(test_on_error_of_a_late_one)
{
	fake.hold[MESSAGE_START] = 1;
	fake.result[MESSAGE_START] = -EIO;
	say("on-error stop\n@1 add null\n@2 ping\n");
	expect("OK\n");
	fake_release(MESSAGE_START);
	expect("ERR @1 io *\nERR @2 skipped *\n");
}

/* ---- quit ---- */

TEST_CASE(test_quit)
{
	struct client *other = greeted();
	unsigned fds = count_fds();

	ask("@q quit", "OK @q\n");
	expect_closed(me);
	close_client(me);
	/* What came before is answered, and what comes behind is not run. */
	me = greeted();
	say("list\n@1 ping\nquit\nadd null\nping\n");
	expect("OK seq=*\nOK @1\nOK\n");
	expect_closed(me);
	close_client(me);
	fake_serve();
	assert_int_equal(count_fds(), fds - 2);
	assert_int_equal(fake_host.devices.count, 0);
	ask_on(other, "quit now", "ERR arg * arg=now\n");
	/* An earlier mistake keeps nobody there. */
	ask_on(other, "on-error stop", "OK\n");
	ask_on(other, "nonsense", "ERR unknown *\n");
	ask_on(other, "@z quit", "OK @z\n");
	expect_closed(other);
}

/* Not before the one that is under way has been answered. */
TEST_CASE(test_quit_after_a_late_one)
{
	fake.hold[MESSAGE_START] = 1;
	say("@1 add null\n@2 quit\n");
	expect("");
	fake_release(MESSAGE_START);
	expect("OK @1 id=0 *\nOK @2\n");
	expect_closed(me);
	assert_int_equal(fake_host.devices.count, 1);
}

/* ---- what somebody may have meant ---- */

TEST_CASE(test_hints)
{
	static const struct mistake rows[] = {
		{ "lsit", "unknown", "did you mean 'list'", "lsit" },
		{ "ADD null", "unknown", "did you mean 'add'", "ADD" },
		{ "delete scratch", "unknown", "did you mean 'del'", "*" },
		{ "frobnicate", "unknown",
		  "there is no such command; 'help' lists them", "*" },
		{ "help lst", "unknown", "did you mean 'list'", "lst" },
		{ "add rma size=1M", "unknown", "did you mean 'ram'", "rma" },
		{ "help add nul", "unknown", "did you mean 'null'", "*" },
		{ "add null sise=1M", "unknown", "did you mean 'size'",
		  "sise" },
		{ "add null Queues=1", "unknown", "did you mean 'queues'",
		  "Queues" },
		{ "add ram size=1M fil=no", "unknown",
		  "no option fil; 'help add ram'", "*" },
		{ "set scratch error_rate=1", "unknown",
		  "did you mean 'error-rate'", "error_rate" },
		{ "set name=scratch error_rate=1", "unknown",
		  "did you mean 'error-rate'", "error_rate" },
		{ "set scratch size=1G", "unknown", "'resize", "size" },
		{ "set scratch colour=red", "unknown",
		  "set has no option colour; 'help set'", "*" },
		{ "set scrtach error-rate=1", "notfound",
		  "did you mean 'scratch'", "scrtach" },
		{ "show name=Scratch", "notfound", "did you mean 'scratch'",
		  "Scratch" },
		{ "del ublkb7", "notfound",
		  "there is no such device; 'list' shows all", "ublkb7" },
		{ "del 5", "notfound",
		  "there is no such device; 'list' shows all", "5" },
		{ "resize scratch sze=1M", "unknown", "did you mean 'size'",
		  "sze" },
	};

	ask("add null name=scratch", "OK id=0 *\n");
	ask("add null id=7", "OK id=7 *\n");
	ask("del 7", "OK id=7\n");
	check_mistakes(rows, COUNT(rows), 1);
}

/* ---- commands ---- */

TEST_CASE(test_add)
{
	ask("@a add ram size=1.5MiB name=scratch",
	    "OK @a id=0 dev=/dev/ublkb0 name=scratch queues=* depth=128 "
	    "size=1572864\n");
	fake_forget();
	/* It answers when the disk can be opened, not before. */
	fake.node_after = 1000;
	ask("@b add null id=7", "");
	fake.node_after = 0;
	fake_pass_time(0.1);
	expect("OK @b id=7 dev=/dev/ublkb7 *\n");
	ask("add null queues=1", "OK id=1 * queues=1*\n");
}

/* What there is memory for, where that is not all of the disk. */
TEST_CASE(test_fits)
{
	log_forget();
	test_file("proc/meminfo",
		  "MemTotal: 65536 kB\nMemAvailable: 10240 kB\n");
	ask("add ram size=4M name=big", "OK id=0 * fits=2097152\n");
	assert_int_equal(log_count(
				 "device 0 (big): as things stand it can hold "
				 "2 MiB"),
			 1);
	ask("add ram size=4M name=big",
	    "OK id=0 * fits=2097152 existing=yes\n");
	ask("add ram size=2M", "OK id=1 * size=*\n");
	ask("add null size=1P", "OK id=2 * size=*\n");
	assert_int_equal(log_count("as things stand"), 1);
}

TEST_CASE(test_mode)
{
	ask("add ram size=1M", "OK id=0 *\n");
	ask("show 0", "dev id=0 * mode=need-get-data *\nqueue *\nOK*\n");
	ask("add null mode=user-copy", "OK id=1 *\n");
	ask("show 1", "dev id=1 * mode=user-copy *\nqueue *\nOK*\n");
	ask("add null fill=no mode=copy", "ERR arg * arg=mode\n");
	ask("add null mode=quick", "ERR arg * arg=mode\n");
	assert_int_equal(fake_host.devices.count, 2);
}

/* ---- who gets the node ---- */

#define OWNED(user, group) ((uint64_t)(user) << 32 | (uint32_t)(group))

TEST_CASE(test_owner)
{
	fake.owner = OWNED(1000, 50);
	ask("add null owner=alice:staff node-mode=0640", "OK id=0 *\n");
	assert_string_equal(fake.last[MESSAGE_OWNER].text, "alice:staff");
	assert_string_equal(fake.given, "0 1000:50 640");
	ask("show 0", "dev id=0 * owner=alice:staff node-mode=0640 *OK *\n");
	ask("list", "dev id=0 * owner=alice:staff node-mode=0640 *OK *\n");
	ask("add null node-mode=0666", "OK id=1 *\n");
	assert_string_equal(fake.given, "1 -1:-1 666");
	ask("add null", "OK id=2 *\n");
	assert_int_equal(fake.gives, 2);
	assert_int_equal(fake.count[MESSAGE_OWNER], 1);
	ask("add null node-mode=660", "ERR arg *0660*arg=node-mode\n");
	ask("add null owner=a/b", "ERR arg *arg=owner\n");
}

/* Before the driver is asked for anything. */
TEST_CASE(test_no_such_owner)
{
	fake.result[MESSAGE_OWNER] = -ENOENT;
	ask("add null owner=bob",
	    "ERR notfound text=\"owner=bob: the user 'bob': there is none\" "
	    "arg=owner errno=ENOENT\n");
	fake.result[MESSAGE_OWNER] = -ETIMEDOUT;
	ask("add null owner=bob", "ERR timeout *arg=owner*\n");
	assert_int_equal(fake.count[MESSAGE_ADD], 0);
	assert_int_equal(fake_host.devices.count, 0);
}

/* udev may be at it just now: that is tried for a while, and then undone. */
TEST_CASE(test_owner_cannot)
{
	fake.owner = OWNED(1000, -1);
	fake.give_error = -EPERM;
	say("add null owner=alice\n");
	expect("");
	fake.give_error = 0;
	fake_pass_time(0.1);
	expect("OK id=0 *\n");
	fake.give_error = -EROFS;
	say("add null owner=alice\n");
	fake_pass_time(6);
	expect("ERR *of /dev/ublkb1: Read-only*arg=owner errno=EROFS\n");
	assert_int_equal(fake_host.devices.count, 1);
}

/* Others than root may have a device for themselves, and no more. */
TEST_CASE(test_owner_is_the_sender)
{
	struct client *client;

	next_uid = 1000;
	client = greeted();
	fake.owner = OWNED(1000, -1);
	ask_on(client, "add null owner=alice node-mode=0666", "OK id=0 *\n");
	ask_on(client, "add null owner=alice fill=no",
	       "ERR denied *arg=owner*\n");
	ask_on(client, "add null node-mode=0666",
	       "ERR denied *arg=node-mode*\n");
	fake.owner = OWNED(1000, 6);
	ask_on(client, "add null owner=alice:disk", "ERR denied *arg=owner*\n");
	fake.owner = OWNED(1001, -1);
	ask_on(client, "add null owner=bob", "ERR denied *arg=owner*\n");
	fake.owner = OWNED(0, -1);
	ask_on(client, "add null owner=root", "ERR denied *arg=owner*\n");
	assert_int_equal(fake.count[MESSAGE_ADD], 1);
	fake.owner = OWNED(1000, -1);
	ask("add null owner=alice fill=no", "OK id=1 *\n");
}

TEST_CASE(test_batch)
{
	ask("add ram size=1M batch=yes", "OK id=0 *\n");
	ask("show 0",
	    "dev id=0 * mode=user-copy batch=yes *\n"
	    "config text=\"add ram size=1M batch=yes\"\nqueue *\nOK*\n");
	ask("add null mode=copy batch=yes", "OK id=1 *\n");
	ask("show 1", "dev id=1 * mode=copy batch=yes *\nOK*\n");
	ask("add null batch=no", "OK id=2 *\n");
	ask("show 2", "dev id=2 * batch=no *\nOK*\n");
	ask("add null batch=maybe", "ERR arg * arg=batch\n");
	ask("add ram size=1M batch=yes mode=need-get-data",
	    "ERR arg *exclude*arg=batch\n");
	fake_host.devices.features = FAKE_FEATURES_OLD;
	ask("add null batch=yes", "ERR unsupported *batch=yes*arg=batch*\n");
	assert_int_equal(fake_host.devices.count, 3);
}

static struct failure not_adopted;

/* The keeper's table has such a device. */
static int adopt(uint32_t id, const char *text, uint64_t flags, int *fds,
		 int fd_count)
{
	struct message message = { .magic = MESSAGE_MAGIC, .id = id };

	message.info.dev_id = id;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 16;
	message.info.max_io_buf_bytes = 65536;
	message.info.state = UBLK_S_DEV_QUIESCED;
	message.info.flags = UBLK_F_USER_RECOVERY | flags;
	snprintf(message.text, sizeof(message.text), "%s", text);
	return command_adopt(&fake_host, &message, fds, fd_count, &not_adopted);
}

static void recover_all(void)
{
	device_recover_all(&fake_host.devices);
	fake_serve();
}

/* Another server's device: as it is, not as this one would make it. */
static void check_adopted(uint32_t id, const char *text, uint64_t flags,
			  const char *mode)
{
	const struct device *device;

	assert_int_equal(adopt(id, text, flags, NULL, 0), mode ? 0 : -1);
	if (!mode) {
		assert_string_equal(not_adopted.arg, "mode");
		return;
	}
	device = device_find(&fake_host.devices, id);
	assert_string_equal(io_mode_name(device->spec.mode), mode);
	assert_int_equal(device->spec.batch, (flags & UBLK_F_BATCH_IO) != 0);
}

/* ---- devices that rest ---- */

static struct device *add_with(uint64_t features, const char *line)
{
	fake.features = features;
	ask(line, "OK id=0 *\n");
	return device_find(&fake_host.devices, 0);
}

/* Behind the last request that the server had, until somebody resumes it. */
TEST_CASE(test_quiesce)
{
	struct device *device = add_with(FAKE_FEATURES_NEW, "add null");

	ask("resume 0", "ERR state *is not quiesced*");
	device->queues[0].port.owned = 2;
	say("quiesce 0\n");
	fake_pass_time(0.2);
	expect("");
	assert_int_equal(fake.last[MESSAGE_QUIESCE].number, 5000);
	ask_on(greeted(), "list", "dev * state=live step=quiesce *OK *\n");
	ask_on(greeted(), "del 0", "ERR busy *being quiesced*\n");
	device->queues[0].port.owned = 0;
	fake_pass_time(0.2);
	expect("OK id=0\n");
	fake_pass_time(100);
	ask("list", "dev * state=quiesced * waits-for=resume*OK *\n");
	ask("quiesce 0", "ERR state *already*\n");
	assert_int_equal(fake.count[MESSAGE_RECOVER], 0);
	ask("resume 0", "OK id=0\n");
	assert_int_equal(fake.count[MESSAGE_RECOVER], 1);
	ask("list", "dev * state=live *OK *\n");
	ask("quiesce 0", "OK id=0\n");
	ask("del 0", "OK *\n");
}

TEST_CASE(test_cannot_quiesce)
{
	add_with(FAKE_FEATURES_NEW & ~UBLK_F_QUIESCE, "add null");
	ask("quiesce 0", "ERR unsupported *the feature quiesce*\n");
	fake_host.devices.features = FAKE_FEATURES_NEW;
	ask("quiesce 0", "ERR unsupported *earlier ublkd*\n");
	ask("add null recovery=no", "OK id=1 *\n");
	assert_false(fake.last[MESSAGE_ADD].info.flags & UBLK_F_QUIESCE);
	ask("quiesce 1", "ERR unsupported *recovery=no*\n");
	ask("add null", "OK id=2 *\n");
	fake.result[MESSAGE_QUIESCE] = -EIO;
	ask("quiesce 2", "ERR io *cannot quiesce the device*errno=EIO\n");
	ask("list state=live", "dev *dev *dev id=2 *OK *\n");
}

/* The driver gives out nothing any more: so it is taken over at once. */
TEST_CASE(test_quiesce_in_vain)
{
	struct device *device = add_with(FAKE_FEATURES_NEW, "add null");

	fake.result[MESSAGE_QUIESCE] = -EBUSY;
	device->queues[0].port.owned = 1;
	ask("quiesce 0", "ERR timeout *goes on when they are answered*\n");
	ask("set 0 limit-iops=5", "ERR busy *\n");
	device->queues[0].port.owned = 0;
	fake_pass_time(1);
	ask("list", "dev * state=live *OK *\n");
	assert_int_equal(fake.count[MESSAGE_RECOVER], 1);
}

TEST_CASE(test_delete_while_quiescing)
{
	struct device *device = add_with(FAKE_FEATURES_NEW, "add null");

	device->queues[0].port.owned = 1;
	say("quiesce 0\n");
	fake_pass_time(0.2);
	ask_on(greeted(), "del 0 force=yes", "");
	device->queues[0].port.owned = 0;
	fake_pass_time(1);
	assert_int_equal(fake_host.devices.count, 0);
	expect("ERR *\n");
}

/* Also for the next server, until somebody resumes it there. */
TEST_CASE(test_adopted_and_quiesced)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .id = 3,
				   .number = NOTE_QUIESCED | NOTE_CONFIGURED };

	message.info.dev_id = 3;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 16;
	message.info.max_io_buf_bytes = 65536;
	message.info.state = UBLK_S_DEV_QUIESCED;
	message.info.flags = UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE;
	snprintf(message.text, sizeof(message.text), "add null");
	fake_host.devices.features = FAKE_FEATURES_NEW;
	assert_int_equal(
		command_adopt(&fake_host, &message, NULL, 0, &not_adopted), 0);
	assert_true(device_find(&fake_host.devices, 3)->spec.configured);
	recover_all();
	fake_pass_time(100);
	ask("list", "dev * state=quiesced * waits-for=resume *OK *\n");
	assert_int_equal(fake.count[MESSAGE_RECOVER], 0);
	ask("resume 3", "OK id=3\n");
	ask("quiesce 3", "OK id=3\n");
}

/* An earlier build has taken a name that is refused today. */
TEST_CASE(test_adopted_name)
{
	assert_int_equal(adopt(3, "add null name=--all", 0, NULL, 0), 0);
	recover_all();
	ask("list", "dev id=3 name=--all state=live *OK *\n");
	ask("del name=--all", "OK id=3\n");
}

/* One that cannot be opened here stays in sight until somebody deletes it. */
TEST_CASE(test_adopted_in_vain)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0); /* no file, and no disk */
	assert_int_equal(adopt(3, "add file path=/nowhere error-rate=0.5",
			       UBLK_F_USER_COPY, ends, 1),
			 -1);
	assert_int_equal(ends[0], -1); /* kept for the next server */
	recover_all();
	fake_expect("");
	ask("list",
	    "dev id=3 * state=quiesced step=lost target=file *\nOK *\n");
	ask("resize 3 size=1M", "ERR * *\n");
	ask("set 3 error-rate=0.1", "OK*\n");
	ask("del 3 force=yes", "OK*\n");
	ask("list", "OK seq=*\n");
	close(ends[1]);
}

/*
 * A target that was open already has closed what it had: there is nothing to be
 * given to the next keeper, which would take nothing at all then.
 */
TEST_CASE(test_adopted_and_closed)
{
	int fds[MESSAGE_MAX_FDS] = { memfd_create("ram", MFD_CLOEXEC) };

	assert_int_equal(ftruncate(fds[0], 1 << 20), 0);
	assert_int_equal(
		adopt(3, "add ram size=1M", UBLK_F_AUTO_BUF_REG, fds, 1), -1);
	assert_string_equal(not_adopted.arg, "mode");
	assert_int_equal(fds[0], -1);
	assert_int_equal(
		target_hold(device_find(&fake_host.devices, 3)->spec.target,
			    fds),
		0);
	recover_all();
	fake_expect("");
	ask("del 3 force=yes", "OK*\n");
}

/* ---- a file that nobody has open ---- */

/* It was made on the file "disk". */
static void adopt_file(const char *options)
{
	char text[600];

	snprintf(text, sizeof(text), "add file path=%s%s", test_path("disk"),
		 options);
	fake_host.devices.features = FAKE_FEATURES_NEW;
	fake.disk_size = 8192;
	/* Not even tried: that may take a while. */
	assert_int_equal(adopt(3, text, UBLK_F_USER_COPY, NULL, 0), 0);
	assert_int_equal(fake.opened, 0);
	device_recover_all(&fake_host.devices);
}

/* A server that cannot open a target again, not even later. */
TEST_CASE(test_resume_in_vain)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(adopt(3, "add file path=/nowhere", UBLK_F_USER_COPY,
			       ends, 1),
			 -1);
	device_find(&fake_host.devices, 3)->rests = 1;
	device_find(&fake_host.devices, 3)->reopen = NULL;
	recover_all();
	ask("resume 3", "ERR state *cannot be taken over by this server*");
	ask("list", "dev * waits-for=resume*OK *\n");
	ask("del 3 force=yes", "OK*\n");
	close(ends[1]);
}

static void make_file(int size)
{
	test_file("disk", "");
	assert_int_equal(truncate(test_path("disk"), size), 0);
}

/* An add of that file. */
static void add_file(struct client *client, const char *options,
		     const char *pattern)
{
	char line[600];

	snprintf(line, sizeof(line), "add file path=%s %s", test_path("disk"),
		 options);
	ask_on(client, line, pattern);
}

/* By the flags of `add`, and never made anew; what it has told is not lost. */
TEST_CASE(test_reopened)
{
	make_file(8192);
	adopt_file(" size=4K create=yes lock=no error-rate=0.5");
	device_take_tally(&fake_host.devices, 3, 5);
	assert_string_equal(device_state(device_find(&fake_host.devices, 3)),
			    "quiesced");
	fake_serve();
	fake_expect("NOTE q0+ RECOVER open END_RECOVER");
	assert_int_equal(fake.opened, 1);
	assert_int_equal(fake.wish.flags, O_CLOEXEC | O_NOCTTY | O_RDWR);
	assert_false(fake.wish.create);
	assert_true(fake.wish.patient);
	ask("show 3",
	    "dev id=3 * state=live step=live target=file size=8192 * flush-errors=5\n"
	    "*layer name=error *\nOK *\n");
	assert_false(count_text(me, " error="));
}

TEST_CASE(test_reopened_as_before)
{
	static const struct {
		const char *options;
		int flags;
	} rows[] = {
		{ "", O_RDWR | O_EXCL },
		{ " ro=yes", O_RDONLY | O_EXCL },
		{ " ro=yes lock=no", O_RDONLY },
	};
	unsigned i;

	make_file(8192);
	for (i = 0; i < COUNT(rows); i++) {
		fake.opened = 0;
		adopt_file(rows[i].options);
		fake_serve();
		assert_int_equal(fake.wish.flags,
				 O_CLOEXEC | O_NOCTTY | rows[i].flags);
		ask("del 3 force=yes", "OK*\n");
	}
}

TEST_CASE(test_reopened_later)
{
	adopt_file("");
	fake_serve();
	assert_int_equal(fake.opened, 1);
	ask("list",
	    "dev id=3 * state=quiesced * error=\"cannot open */disk: No such "
	    "file or directory\" retry-in=1\nOK *\n");
	fake_pass_time(1.1);
	assert_int_equal(fake.opened, 2);
	ask("list", "dev id=3 * retry-in=2\nOK *\n");
	make_file(8192);
	fake_pass_time(2.1);
	fake_expect("ASK NOTE q0+ RECOVER open END_RECOVER");
	ask("list", "dev id=3 * state=live *\nOK *\n");
	assert_int_equal(log_count("cannot be taken over"), 1);
}

/* Its target is here, but nothing to serve it with. */
TEST_CASE(test_lost_is_told)
{
	check_adopted(3, "add null", UBLK_F_USER_COPY, "user-copy");
	fake.queue_error = -EPERM;
	device_recover_all(&fake_host.devices);
	ask("list", "dev id=3 * state=quiesced * error=\"no ring*Operation not "
		    "permitted\" retry-in=1 fill=yes\nOK *\n");
	fake.queue_error = 0;
	fake_pass_time(1.1);
	ask("list", "dev id=3 * state=live * batch=no fill=yes\nOK *\n");
}

/* The keeper knows which one it was. */
TEST_CASE(test_reopened_another)
{
	unsigned fds = count_fds();

	make_file(8192);
	fake.result[MESSAGE_NOTE] = -ESTALE;
	adopt_file("");
	fake_serve();
	fake_expect("ASK NOTE");
	ask("list", "dev id=3 * state=quiesced * error=\"another file lies*\" "
		    "retry-in=1\nOK *\n");
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_NOTE] = -EMFILE;
	fake_pass_time(1.1);
	ask("list",
	    "dev id=3 * state=quiesced * error=\"the keeper cannot have*\" "
	    "retry-in=2\nOK *\n");
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_NOTE] = 0;
	fake_pass_time(2.1);
	ask("list", "dev id=3 * state=live *\nOK *\n");
}

/* Who has locked it meanwhile may be writing to it. */
TEST_CASE(test_reopened_but_not_locked)
{
	unsigned fds = count_fds();

	make_file(8192);
	fake.result[MESSAGE_ASK] = -EBUSY;
	adopt_file("");
	fake_serve();
	fake_expect("ASK");
	assert_int_equal(fake.last[MESSAGE_ASK].number, HELPER_LOCK);
	assert_string_equal(fake.last[MESSAGE_ASK].text, "w");
	ask("list",
	    "dev id=3 * state=quiesced * error=\"cannot lock */disk: mounted "
	    "on /mnt\" retry-in=1\nOK *\n");
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_ASK] = 0;
	fake_pass_time(1.1);
	fake_expect("ASK NOTE q0+ RECOVER open END_RECOVER");
	ask("list", "dev id=3 * state=live *\nOK *\n");
}

/* The answer comes when the device is gone. */
TEST_CASE(test_deleted_while_locked)
{
	unsigned fds = count_fds();

	make_file(8192);
	fake.hold[MESSAGE_ASK] = 1;
	adopt_file(" ro=yes");
	fake_serve();
	fake_expect("ASK");
	assert_string_equal(fake.last[MESSAGE_ASK].text, "r");
	ask("del 3 force=yes", "OK*\n");
	fake_forget();
	fake_release(MESSAGE_ASK);
	fake_serve();
	fake_expect("");
	assert_int_equal(count_fds(), fds);
}

/* What the keeper has once is not opened again. */
TEST_CASE(test_reopened_but_not_served)
{
	/* It can be opened, and is no file. */
	assert_int_equal(mkdir(test_path("disk"), 0700), 0);
	adopt_file(" ro=yes");
	fake_serve();
	assert_int_equal(fake.opened, 1);
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
	ask("list", "dev id=3 * state=quiesced * error=*\nOK *\n");
	fake_pass_time(1.1);
	assert_int_equal(fake.opened, 1);
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
	ask("del 3 force=yes", "OK*\n");
}

#ifndef WITHOUT_NBD
/* A target that connects by itself gets no connection that it would not take. */
TEST_CASE(test_reopened_by_itself)
{
	assert_int_equal(adopt(3, "add nbd uri=nbd://host/x",
			       UBLK_F_NEED_GET_DATA, NULL, 0),
			 -1);
	assert_string_equal(not_adopted.arg, "mode");
	recover_all();
	fake_pass_time(1.1);
	assert_int_equal(fake.count[MESSAGE_ASK], 0);
	ask("list", "dev id=3 * state=quiesced * error=*\nOK *\n");
	ask("del 3 force=yes", "OK*\n");
}
#endif

/* A file server does not answer, and somebody loses patience. */
TEST_CASE(test_deleted_while_reopened)
{
	unsigned fds = count_fds();

	make_file(8192);
	fake.open_waits = 1;
	adopt_file("");
	fake_pass_time(100);
	assert_int_equal(fake.opened, 1);
	ask("list", "dev id=3 * state=quiesced *\nOK *\n");
	ask("del 3 force=yes", "OK*\n");
	fake.open_waits = 0;
	fake_forget();
	fake_serve();
	fake_expect("");
	assert_int_equal(count_fds(), fds);
}

/* Whoever resumes it waits for its file, and hears what becomes of that. */
TEST_CASE(test_resumed_while_reopened)
{
	adopt_file("");
	device_find(&fake_host.devices, 3)->rests = 1;
	fake_serve();
	fake_pass_time(2);
	fake.open_waits = 1;
	say("resume 3\n");
	fake_pass_time(1);
	expect("");
	ask_on(greeted(), "set 3 error-rate=0.1",
	       "ERR busy *being taken over*\n");
	ask_on(greeted(), "del 3", "ERR busy *being taken over*\n");
	ask_on(greeted(), "del 3 force=yes", "OK*\n");
	expect("ERR state *deleted by force* errno=ECANCELED\n");
	fake.open_waits = 0;
	fake_serve();
}

/* It is opened once, however long that takes. */
TEST_CASE(test_set_before_reopened)
{
	make_file(8192);
	fake.open_waits = 1;
	adopt_file("");
	ask("set 3 error-rate=0.1", "OK id=3\n");
	fake_pass_time(10);
	assert_int_equal(fake.opened, 1);
	ask("list", "dev id=3 * state=quiesced *\nOK *\n");
	fake.open_waits = 0;
	fake_serve();
	ask("show 3", "dev id=3 * state=live *name=error*OK *\n");
	assert_int_equal(fake.opened, 1);
}

/* Another command is at work on it when it is open: it is tried again then. */
TEST_CASE(test_set_while_reopened)
{
	make_file(8192);
	fake.open_waits = 1;
	adopt_file("");
	fake.hold[MESSAGE_NOTE] = 1;
	ask("set 3 error-rate=0.1", "");
	fake.open_waits = 0;
	fake_serve();
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
	fake_release(MESSAGE_NOTE);
	fake_pass_time(0.1);
	expect("OK id=3\n");
	assert_int_equal(fake.opened, 2);
	ask("show 3", "dev id=3 * state=live *name=error*OK *\n");
}

/* An add that cannot be is answered once its file is free again. */
TEST_CASE(test_add_fails_after_opening)
{
	unsigned fds = count_fds();

	fake.close_waits = 1;
	make_file(8);
	add_file(me, "size=1G", "");
	assert_int_equal(fake.closing, 1);
	fake_end_closing(0);
	fake_serve();
	expect("ERR range *arg=size*\n");
	/* By what was found out when it was open already. */
	make_file(8192);
	add_file(me, "mode=need-get-data max-io=1M", "");
	assert_int_equal(fake.closing, 1);
	fake_end_closing(-ETIMEDOUT);
	fake_serve();
	expect("ERR range *arg=max-io*\n");
	/* One that is not there holds nothing. */
	ask("add file path=/nowhere/at-all", "ERR notfound *\n");
	assert_int_equal(count_fds(), fds);
}

/* A file that was made for a device stays if that comes to be, and only then. */
TEST_CASE(test_new_file)
{
	fake.is_new = 1;
	make_file(8);
	add_file(me, "id=3 size=1G", "ERR range *arg=size*\n");
	assert_int_equal(access(test_path("disk"), F_OK), -1);
	make_file(1 << 30);
	add_file(me, "id=3 size=1G", "OK id=3 *\n");
	ask("del 3", "OK *\n");
	assert_int_equal(access(test_path("disk"), F_OK), 0);
}

#ifndef WITHOUT_COW
/* ---- a target with two files ---- */

static void make_layer(void)
{
	test_file("base", "");
	assert_int_equal(truncate(test_path("base"), 1 << 20), 0);
	test_file("layer", "");
	fake.runs = 1;
}

static void add_layer(const char *base, const char *pattern)
{
	char line[900], path[300];

	snprintf(path, sizeof(path), "%s", test_path("layer"));
	snprintf(line, sizeof(line), "add cow id=3 base=%s path=%s",
		 test_path(base), path);
	ask(line, pattern);
}

TEST_CASE(test_two_files)
{
	unsigned fds = count_fds();

	make_layer();
	add_layer("base", "OK id=3 * size=1048576\n");
	assert_int_equal(fake.opened, 2);
	assert_int_equal(fake.wish.flags, O_CLOEXEC | O_NOCTTY | O_RDONLY);
	ask("list", "dev id=3 * target=cow *path=*/layer base=*/base "
		    "base-known-by=size+mtime* cluster=65536 *\nOK *\n");
	ask("del 3", "OK *\n");
	assert_int_equal(count_fds(), fds);
}

/* Whatever fails, nothing is left of it. */
TEST_CASE(test_two_files_in_vain)
{
	unsigned fds = count_fds();

	make_layer();
	add_layer("none", "ERR notfound text=\"cannot open */none: *\" "
			  "arg=base *\n");
	assert_int_equal(access(test_path("layer"), F_OK), 0);
	fake.result[MESSAGE_ASK] = -EBUSY;
	add_layer("base", "ERR busy *layer cannot be locked*arg=path*\n");
	fake.result[MESSAGE_ASK] = 0;
	fake.runs = 0;
	add_layer("base", "ERR io text=\"the layer */layer cannot be read: "
			  "*\" arg=path *\n");
	fake.runs = 1;
	/* One that was made for it goes again. */
	fake.is_new = 1;
	add_layer("none", "ERR notfound *\n");
	assert_int_equal(access(test_path("layer"), F_OK), -1);
	assert_int_equal(count_fds(), fds);
}

/* While its files are read somebody takes the number. */
TEST_CASE(test_two_files_too_late)
{
	struct client *other = greeted();
	unsigned fds = count_fds();

	make_layer();
	fake.run_waits = 1;
	add_layer("base", "");
	ask_on(other, "add null id=3", "OK id=3 *\n");
	fake.run_waits = 0;
	fake_serve();
	expect("ERR exists *\n");
	ask("del 3", "OK *\n");
	assert_int_equal(count_fds(), fds);
}

/* What nobody has open is opened again, both of it. */
TEST_CASE(test_two_files_reopened)
{
	char text[900], path[300];

	make_layer();
	add_layer("base", "OK *\n");
	ask("del 3", "OK *\n");
	snprintf(path, sizeof(path), "%s", test_path("layer"));
	snprintf(text, sizeof(text), "add cow base=%s path=%s",
		 test_path("base"), path);
	fake_host.devices.features = FAKE_FEATURES_NEW;
	fake.disk_size = 1 << 20;
	fake.opened = 0;
	assert_int_equal(adopt(3, text, UBLK_F_USER_COPY, NULL, 0), 0);
	recover_all();
	assert_int_equal(fake.opened, 2);
	assert_false(fake.wish.create);
	assert_true(fake.wish.patient);
	ask("list", "dev id=3 * state=live *\nOK *\n");
	/* What it has not written down cannot be: that is told. */
	fake.runs = 0;
	ask("del 3", "OK *\n");
	assert_true(log_has("may be lost"));
}
#endif

/* One ublkd's table of devices has an end. */
TEST_CASE(test_too_many_devices)
{
	fake_host.devices.count = DEVICES_MAX - 1;
	ask("add null id=7", "OK id=7 *\n");
	ask("add null id=8", "ERR limit *\n");
	ask("del 7", "OK *\n");
	assert_int_equal(fake_host.devices.count, DEVICES_MAX - 1);
	fake_host.devices.count = 0;
}

/* The next server reads the same words, whatever is in them. */
TEST_CASE(test_words_are_noted)
{
	const char *noted = fake.last[MESSAGE_NOTE].text;
	struct syntax_line line;
	const char *why;

	test_file("a disk", "");
	assert_int_equal(truncate(test_path("a disk"), 8192), 0);
	ask_text("OK id=3 *\n", "add file 'path=%s' id=3", test_path("a disk"));
	assert_int_equal(syntax_split(&line, noted, strlen(noted), &why), 0);
	assert_int_equal(line.count, 4);
	assert_string_equal(line.words[2] + 5, test_path("a disk"));
}

/* The lock of an open file is a helper's to get; others are served meanwhile. */
TEST_CASE(test_add_waits_for_lock)
{
	struct client *other = greeted();
	unsigned fds = count_fds();

	make_file(8192);
	fake.hold[MESSAGE_ASK] = 1;
	add_file(me, "id=3", "");
	ask_on(other, "list", "OK seq=*\n");
	assert_int_equal(fake.last[MESSAGE_ASK].number, HELPER_LOCK);
	assert_string_equal(fake.last[MESSAGE_ASK].text, "w");
	fake.result[MESSAGE_ASK] = -EBUSY;
	fake_release(MESSAGE_ASK);
	expect("ERR busy text=\"*cannot be locked: mounted on /mnt*\"*\n");
	fake.result[MESSAGE_ASK] = -ETIMEDOUT;
	add_file(me, "id=3",
		 "ERR timeout text=\"*disk cannot be locked: its file server "
		 "does not answer*\"*\n");
	assert_int_equal(fake_host.devices.count, 0);
	assert_int_equal(fake.count[MESSAGE_ADD], 0);
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_ASK] = 0;
	add_file(me, "id=3", "OK id=3 *\n");
	ask("del 3", "OK *\n");
	add_file(me, "id=3 ro=yes", "OK id=3 *\n");
	assert_string_equal(fake.last[MESSAGE_ASK].text, "r");
	ask("del 3", "OK *\n");
	fake.count[MESSAGE_ASK] = 0;
	add_file(me, "lock=no", "OK *\n");
	assert_int_equal(fake.count[MESSAGE_ASK], 0);
}

/* The world has changed when the lock comes. */
TEST_CASE(test_lock_comes_too_late)
{
	struct client *other = greeted();
	unsigned fds = count_fds();

	make_file(8192);
	fake.hold[MESSAGE_ASK] = 1;
	add_file(me, "name=x", "");
	ask_on(other, "add null name=x", "OK *\n");
	fake_release(MESSAGE_ASK);
	expect("ERR exists *\n");
	ask_on(other, "del x", "OK *\n");
	assert_int_equal(count_fds(), fds);
	/* Nobody will answer any more. */
	fake.hold[MESSAGE_ASK] = 1;
	add_file(me, "name=x", "");
	end_keeper();
	expect("ERR state text=\"*keeper*\"*\n");
}

/*
 * Of two that make the same file one gets the lock, and has data in it when the
 * other one is refused.
 */
TEST_CASE(test_new_file_of_another)
{
	make_file(8192);
	fake.is_new = 1;
	fake.result[MESSAGE_ASK] = -EBUSY;
	add_file(me, "size=8K create=yes", "ERR busy *\n");
	assert_int_equal(access(test_path("disk"), F_OK), 0);
	/* With the lock nobody else has it. */
	fake.result[MESSAGE_ASK] = 0;
	add_file(me, "size=1G create=yes", "ERR range *\n");
	assert_int_equal(access(test_path("disk"), F_OK), -1);
}

/* Each answer goes to its question, and the server does not leave before it. */
TEST_CASE(test_two_locks)
{
	struct client *other = greeted();

	make_file(8192);
	fake.hold[MESSAGE_ASK] = 1;
	add_file(me, "id=1", "");
	add_file(other, "id=2", "");
	assert_int_equal(workers_drain(), 0);
	fake_release(MESSAGE_ASK);
	expect("OK id=1 *\n");
	expect_on(other, "OK id=2 *\n");
	assert_int_equal(workers_drain(), 1);
	workers_resume();
}

/* A helper tells who has a disk; what is busy in other ways is told as that. */
TEST_CASE(test_add_of_a_busy_disk)
{
	fake.disk_error = -EBUSY;
	fake.result[MESSAGE_ASK] = -EBUSY;
	ask("add file path=/dev/sdz",
	    "ERR busy text=\"cannot open /dev/sdz: mounted on /mnt\"*\n");
	assert_int_equal(fake.last[MESSAGE_ASK].number, HELPER_NODE_USER);
	assert_string_equal(fake.last[MESSAGE_ASK].text, "/dev/sdz");
	fake.result[MESSAGE_ASK] = -ETIMEDOUT;
	ask("add file path=/dev/sdz",
	    "ERR busy text=\"*somebody has it for himself\"*\n");
	fake.count[MESSAGE_ASK] = 0;
	fake.disk_error = -EACCES;
	ask("add file path=/dev/sdz", "ERR denied *\n");
	assert_int_equal(fake.count[MESSAGE_ASK], 0);
}

/* The end of a file that makes no whole block is not passed over in silence. */
TEST_CASE(test_unserved)
{
	make_file(8292);
	add_file(me, "id=1 lock=no", "OK id=1 * size=8192 unserved=100\n");
	assert_true(log_has("ublkb1: the last 100 bytes of its file are not "
			    "served: they are no whole block of 512"));
	add_file(me, "id=1 lock=no",
		 "OK id=1 * size=8192 unserved=100 existing=yes\n");
	/* Whoever says how much is served knows. */
	add_file(me, "id=2 lock=no size=4K", "OK id=2 * size=4096\n");
	ask("resize 2 size=auto", "OK id=2 size=8192 unserved=100\n");
	assert_true(log_has("ublkb2: the last 100 bytes"));
	log_forget();
	ask("resize 2 size=2K", "OK id=2 size=2048\n");
	assert_false(log_has("are not served"));
}

TEST_CASE(test_adopted_mode)
{
	check_adopted(1, "add null", UBLK_F_USER_COPY, "user-copy");
	check_adopted(2, "add null", UBLK_F_NEED_GET_DATA, "need-get-data");
	check_adopted(3, "add null", 0, "copy");
	check_adopted(6, "add null", UBLK_F_BATCH_IO, "copy");
	check_adopted(7, "add null batch=yes",
		      UBLK_F_BATCH_IO | UBLK_F_USER_COPY, "user-copy");
	check_adopted(4, "add null fill=no", UBLK_F_USER_COPY, "user-copy");
	/* It would give them old memory, or be killed. */
	check_adopted(5, "add null fill=no", 0, NULL);
	/* They can be deleted once they are taken over. */
	recover_all();
	assert_int_equal(fake_host.devices.count, 7);
}

TEST_CASE(test_existing)
{
	ask("add ram id=4 size=1M", "OK id=4 dev=/dev/ublkb4 *\n");
	fake_forget();
	ask("@x  add   'ram' id=4\tsize=\"1M\"",
	    "OK @x id=4 dev=/dev/ublkb4 * existing=yes\n");
	ask("add ram id=4 size=2M", "ERR exists *\n");
	ask("add null id=4", "ERR exists *\n");
	ask("add null name=n", "OK id=0 *\n");
	ask("add null name=n", "OK id=0 * existing=yes\n");
	ask("add ram size=1M name=n", "ERR exists *\n");
	assert_int_equal(fake_host.devices.count, 2);
	/* Without an id or a name of its own it is another device. */
	ask("add ram size=1M", "OK id=1 *\n");
	ask("add ram size=1M", "OK id=2 *\n");
}

/* The same line while the first is still under way. */
TEST_CASE(test_existing_too_early)
{
	struct client *other = greeted();

	fake.hold[MESSAGE_START] = 1;
	ask("add null id=4", "");
	ask_on(other, "add null id=4", "ERR busy *\n");
	ask_on(other, "add ram size=1M id=4", "ERR exists *\n");
	fake_release(MESSAGE_START);
	expect("OK id=4 *\n");
	ask_on(other, "add null id=4", "OK id=4 * existing=yes\n");
}

TEST_CASE(test_add_fails)
{
	fake.result[MESSAGE_FEATURES] = -ENOENT;
	ask("@a add null",
	    "ERR @a unsupported text=\"*modprobe ublk_drv*\" errno=ENOENT\n");
	fake.result[MESSAGE_FEATURES] = -EACCES;
	ask("add null", "ERR denied text=\"*\" errno=EACCES\n");
	fake.result[MESSAGE_FEATURES] = 0;
	fake.result[MESSAGE_ADD] = -EEXIST;
	ask("add null id=3", "ERR exists text=\"*\" arg=id errno=EEXIST\n");
	fake.result[MESSAGE_ADD] = 0;
	ask("add null id=3", "OK id=3 *\n");
}

TEST_CASE(test_list)
{
	char text[64];
	const char *at;
	int i;

	ask("list", "OK seq=0\n");
	for (i = 0; i < 40; i++)
		ask_text("OK id=* dev=/dev/ublkb*\n", "add null id=%d",
			 (i * 7) % 40);
	say("@l list\n@p ping\n");
	hear_all(me);
	for (i = 0, at = me->text; i < 40; i++) {
		snprintf(text, sizeof(text), "dev id=%d name=ublkb%d ", i, i);
		assert_memory_equal(at, text, strlen(text));
		at = strchr(at, '\n') + 1;
	}
	assert_memory_equal(at, "OK @l seq=", 10);
	assert_string_equal(strchr(at, '\n') + 1, "OK @p\n");
}

/* Devices come and go between the pieces of a long listing. */
TEST_CASE(test_list_of_changing_set)
{
	struct failure failure;
	struct device *device;
	char text[32];
	int i;

	add_many(60);
	snprintf(text, sizeof(text), "\nOK seq=%u\n",
		 (unsigned)fake_host.devices.seq);
	send(me->fd, "list\n", 5, MSG_NOSIGNAL);
	turn(3);
	hear(me);
	i = (int)count_text(me, "dev id=");
	assert_true(i > 0 && i < 60);
	/* The one that would be next. */
	device = device_find(&fake_host.devices, (uint32_t)i);
	assert_int_equal(device_delete(device, 1, NULL, NULL, &failure), 0);
	hear_all(me);
	/* What has changed since has a larger number. */
	assert_int_equal(count_text(me, text), 1);
	assert_true(count_text(me, "dev id=") >= 59);
	for (i = 0; i < 60; i++) {
		snprintf(text, sizeof(text), "dev id=%d ", i);
		assert_true(count_text(me, text) <= 1);
	}
}

TEST_CASE(test_list_of_some)
{
	ask("add null id=0 name=one", "OK *\n");
	ask("add null id=1", "OK *\n");
	ask("add ram size=1M id=2", "OK *\n");
	ask("list name=one", "dev id=0 *\nOK seq=[0-9]*\n");
	ask("list name=ublkb1", "dev id=1 *\nOK seq=[0-9]*\n");
	ask("list name=on", "OK seq=[0-9]*\n");
	ask("list target=null state=live",
	    "dev id=0 *\ndev id=1 *\nOK seq=*\n");
	ask("list state=quiesced", "OK seq=[0-9]*\n");
	ask("list target=ram name=one", "OK seq=[0-9]*\n");
	ask("list target=tape", "ERR unknown text=\"*'targets'*\" arg=tape\n");
	ask("list state=up", "ERR arg text=\"*adding|live|*\" arg=state\n");
	ask("list 1", "ERR arg *\n");
	fake.hold[MESSAGE_STOP] = 1;
	say_on(greeted(), "del 1 force=yes\n");
	ask("list state=deleting", "dev id=1 *\nOK seq=*\n");
	fake_release(MESSAGE_STOP);
	ask("list target=null", "dev id=0 *\nOK seq=*\n");
}

TEST_CASE(test_show)
{
	ask("add ram size=1M name=n id=5 queues=2 ro=yes depth=64",
	    "OK id=5 *\n");
	ask("show 5",
	    "dev id=5 name=n state=live step=live target=ram size=1048576 "
	    "dev=/dev/ublkb5 ro=yes queues=2 depth=64 *used=0*\n"
	    "config text=\"add ram size=1M name=n id=5 queues=2 ro=yes "
	    "depth=64\"\nqueue id=0 *\nqueue id=1 *\nOK seq=*\n");
	ask("show n", "dev id=5 *\nOK seq=*\n");
	ask("show name=n", "dev id=5 *\nOK seq=*\n");
	ask("show id=5", "dev id=5 *\nOK seq=*\n");
	ask("show ublkb5", "dev id=5 *\nOK seq=*\n");
	ask("show /dev/ublkb5", "dev id=5 *\nOK seq=*\n");
}

/* A device that has no number yet cannot be named. */
TEST_CASE(test_show_nobody)
{
	struct client *other = greeted();

	fake.hold[MESSAGE_ADD] = 1;
	ask_on(other, "add null", "");
	ask("list", "OK seq=*\n");
	ask("show ''", "ERR notfound *\n");
	ask("del ''", "ERR notfound *\n");
	ask("show /dev/", "ERR notfound *\n");
}

TEST_CASE(test_many_queues)
{
	fake.max_queues = 100;
	ask("add null queues=100", "OK id=0 * queues=100*\n");
	say("show 0\nping\n");
	hear_all(me);
	assert_int_equal(count_text(me, "queue id="), 100);
	assert_int_equal(count_text(me, "config text="), 1);
	assert_int_equal(count_text(me, "OK"), 2);
}

/* Faults are changed all or none, and the add line says what they are. */
TEST_CASE(test_set)
{
	ask("add null name=n size=1M error-every=3 ro=yes", "OK *\n");
	ask("show n",
	    "dev *\nconfig text=\"add null name=n size=1M error-every=3 "
	    "ro=yes\"\nlayer name=error failed=0\nqueue *\nOK *\n");
	ask("set n error-every=5 delay-time=2ms delay-op=read,write",
	    "OK id=0\n");
	assert_string_equal(fake.last[MESSAGE_NOTE].text,
			    "add null name=n size=1M ro=yes error-every=5 "
			    "delay-time=2ms delay-op=read,write");
	ask("show n",
	    "dev *\nconfig text=\"add null name=n size=1M ro=yes error-every=5 "
	    "delay-time=2ms delay-op=read,write\"\nlayer name=error *\n"
	    "layer name=delay delayed=0 waiting=0\nqueue *\nOK *\n");
	/* A device is what its line says: the old one is another command. */
	ask("add null name=n size=1M error-every=3 ro=yes", "ERR exists *\n");
	ask("set id=0 error-every=0 delay-time=0ms delay-op=all", "OK id=0\n");
	ask("show n",
	    "dev *\nconfig text=\"add null name=n size=1M ro=yes\"\n*OK *\n");
}

/* A device with which something else is under way keeps the layers that it has. */
TEST_CASE(test_set_while_busy)
{
	struct device *device;

	ask("add null", "OK id=0 *\n");
	device = fake_host.devices.first;
	fake.hold[MESSAGE_STOP] = 1;
	ask_on(greeted(), "del 0", "");
	ask("set 0 error-every=5",
	    "ERR busy text=\"*being deleted*\" arg=id *\n");
	assert_null(device->spec.layers.layer[LAYER_ERROR]);
	fake_release(MESSAGE_STOP);
}

/* Without values it tells what there is to be set, and changes nothing. */
TEST_CASE(test_set_shows)
{
	int i;

	ask("add null name=n error-rate=1% delay-op=read,write", "OK *\n");
	say("@s set n\n");
	hear(me);
	for (i = 0; i < LAYER_OPTIONS; i++) {
		char text[64];

		snprintf(text, sizeof(text),
			 "option name=%s value=", layer_options[i].name);
		assert_int_equal(count_text(me, text), 1);
	}
	assert_int_equal(count_text(me, "\n"), LAYER_OPTIONS + 1);
	assert_int_equal(count_text(me, "name=error-rate value=1% "), 1);
	assert_int_equal(count_text(me, "name=delay-op value=read,write "), 1);
	assert_int_equal(count_text(me, "name=limit-iops value=0 "), 1);
	assert_int_equal(count_text(me, "\nOK @s id=0\n"), 1);
	forget(me);
	ask("set n error-rate=0.25", "OK id=0\n");
	ask("set id=0", "option name=error-rate value=0.25 *OK id=0\n");
	assert_int_equal(fake.count[MESSAGE_NOTE], 2);
}

TEST_CASE(test_set_mistakes)
{
	static const struct mistake rows[] = {
		{ "set", "arg", "", "*" },
		{ "set 9 error-every=1", "notfound", "", "*" },
		{ "set error-every=1", "arg", "", "*" },
		{ "set 0 1 error-every=1", "arg", "", "*" },
		{ "set 0 error-every=1 size=2M", "unknown", "", "size*" },
		{ "set 0 error-every=1 error-rate=2", "range", "",
		  "error-rate*" },
		{ "set 0 error-every=1 error-every=2", "arg", "twice", "*" },
		{ "set 0 error-every=1 error-op=none", "arg", "", "error-op*" },
		{ "set 0 error-every=1 delay-time=1s delay-max=1ms", "range",
		  "", "delay-max*" },
		/* With the value that it has. */
		{ "set 0 delay-max=1ms", "range", "", "delay-max*" },
		{ "add null error-every=-1", "range", "", "*" },
		{ "add null delay-time=2ms delay-max=1ms", "range", "", "*" },
	};

	ask("add null delay-time=5ms", "OK id=0 *\n");
	check_mistakes(rows, COUNT(rows), 1);
	ask("show 0", "dev *\nconfig text=\"add null delay-time=5ms\"*");
}

/* OK is said when the keeper has it, and nothing has changed if it has not. */
TEST_CASE(test_set_is_noted)
{
	struct client *other = greeted();

	ask("add null", "OK id=0 *\n");
	layer_changes = 0;
	fake.hold[MESSAGE_NOTE] = 1;
	ask("set 0 error-every=1", "");
	ask_on(other, "set 0 error-every=2", "ERR busy *\n");
	ask_on(other, "add null id=0", "ERR exists *\n");
	assert_int_equal(layer_changes, 0);
	fake_release(MESSAGE_NOTE);
	expect("OK id=0\n");
	assert_int_equal(layer_changes, 1);
	fake.result[MESSAGE_NOTE] = -ENOMEM;
	ask("set 0 error-every=2", "ERR limit *errno=ENOMEM*\n");
	ask("show 0", "dev *\nconfig text=\"add null error-every=1\"*");
	fake.result[MESSAGE_NOTE] = 0;
	fake.hold[MESSAGE_NOTE] = 1;
	ask("set 0 error-every=3", "");
	end_keeper();
	expect("ERR state text=\"*keeper*\"*\n");
	ask("show 0", "dev *\nconfig text=\"add null error-every=1\"*");
	assert_int_equal(layer_changes, 1);
}

/* ---- upgrade ---- */

/* Users who would see errors are asked for first; the rest is the keeper's. */
TEST_CASE(test_upgrade)
{
	struct client *other = greeted();
	struct failure failure;

	ask("add null recovery=fail", "OK id=0 *\n");
	ask("upgrade", "ERR busy *device 0 *recovery*\n");
	assert_int_equal(fake.count[MESSAGE_UPGRADE], 0);
	ask("upgrade force=yes program=/new", "");
	assert_int_equal(fake.count[MESSAGE_UPGRADE], 1);
	assert_string_equal(fake.last[MESSAGE_UPGRADE].text, "/new");
	ask_on(other, "add null", "ERR busy *upgrade*\n");
	ask_on(other, "list", "dev id=0 *\nOK *\n");
	failure_set(&failure, SYMBOL_ARG, 0, "program", "it is none");
	command_answer_upgraded(&fake_host, &failure);
	fake_serve();
	expect("ERR arg *it is none*\n");
	ask("del 0", "OK *\n");
	ask("add null", "OK *\n");
	ask("upgrade", "");
	assert_string_equal(fake.last[MESSAGE_UPGRADE].text, "");
	command_answer_upgraded(&fake_host, NULL);
	fake_serve();
	expect("OK\n");
}

/* The keeper is the new program by then, which does not come. */
TEST_CASE(test_upgrade_is_late)
{
	ask("add null", "OK *\n");
	ask("upgrade", "");
	end_keeper();
	expect("");
	fake_pass_time(60);
	expect("ERR state *not taken over*\n");
}

/* The add line stays one that can be read again. */
TEST_CASE(test_set_too_long)
{
	char text[SYNTAX_LINE_MAX + 1];

	snprintf(text, sizeof(text), "add null error-rate=0.1 size=1M id=");
	while (strlen(text) < SYNTAX_LINE_MAX - 3)
		add_text(text, sizeof(text), "0");
	add_text(text, sizeof(text), "7");
	ask(text, "OK id=7 *\n");
	ask("set 7 error-rate=0.2", "OK id=7\n");
	ask("set 7 error-every=2", "ERR limit *4096 bytes*\n");
	ask("set 7 error-rate=0 error-every=2", "OK id=7\n");
}

/* Sizes as they are typed, and what the add line says then. */
TEST_CASE(test_resize)
{
	ask("add null name=n limit-iops=5", "OK id=0 *\n");
	ask("resize n size=2M", "OK id=0 size=2097152\n");
	assert_int_equal(fake.last[MESSAGE_RESIZE].number, 4096);
	assert_string_equal(fake.last[MESSAGE_NOTE].text,
			    "add null name=n limit-iops=5 size=2M");
	ask("show n",
	    "dev * size=2097152 *\nconfig text=\"add null name=n limit-iops=5 "
	    "size=2M\"\nlayer name=limit limited=0 waiting=0\nqueue *\nOK *\n");
	ask("resize id=0 size=1K", "OK id=0 size=1024\n");
	ask("resize name=n size=3584", "OK id=0 size=3584\n");
	ask("set n limit-iops=0", "OK id=0\n");
	ask("add null name=n size=3584", "OK * existing=yes\n");
	ask("add null name=n", "ERR exists *\n");
}

/* Memory is asked for as at an add, and is there in full afterwards. */
TEST_CASE(test_resize_ram)
{
	ask("add ram size=1M", "OK id=0 *\n");
	ask("resize 0 size=64M", "OK id=0 size=67108864\n");
	ask("resize 0 size=4E", "ERR limit *overcommit=yes*arg=size*\n");
	ask("resize 0 size=4K", "OK id=0 size=4096\n");
	ask("show 0", "dev * size=4096 * used=0*");
	ask("add ram size=1M overcommit=yes", "OK id=1 *\n");
	ask("resize 1 size=4E", "ERR limit *cannot have*arg=size*\n");
	assert_int_equal(fake.count[MESSAGE_RESIZE], 2);
}

TEST_CASE(test_resize_mistakes)
{
	static const struct mistake rows[] = {
		{ "resize", "arg", "size= is missing", "*" },
		{ "resize 0", "arg", "size= is missing", "*" },
		{ "resize 9 size=1M", "notfound", "", "*" },
		{ "resize size=1M", "arg", "name one device", "*" },
		{ "resize 0 size=", "arg", "auto or a size", "size*" },
		{ "resize 0 size=automatic", "arg", "auto or a size", "size*" },
		{ "resize 0 size=0", "range", "", "size*" },
		{ "resize 0 size=8E", "range", "", "size*" },
		{ "resize 0 size=1023", "range", "multiple", "size*" },
		{ "resize 0 size=auto", "arg", "size=auto", "size*" },
	};

	ask("add null size=1M", "OK id=0 *\n");
	check_mistakes(rows, COUNT(rows), 1);
	fake_host.devices.features = FAKE_FEATURES_OLD;
	ask("resize 0 size=2M", "ERR unsupported *6.16*\n");
	ask("add null partscan=no",
	    "ERR unsupported *partscan=no*arg=partscan*\n");
	ask("list", "dev * size=1048576 *\nOK *\n");
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
}

TEST_CASE(test_del)
{
	ask("add null", "OK id=0 *\n");
	ask("add null name=n", "OK id=1 *\n");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	say("@d del 0\n");
	fake_pass_time(1.5);
	expect("ERR @d busy text=\"*mounted on /mnt*\" errno=EBUSY\n");
	ask("list", "dev id=0 * state=live *\ndev id=1 *\nOK *\n");
	ask("@f del 0 force=yes", "OK @f id=0\n");
	fake.result[MESSAGE_BUSY] = 0;
	ask("del n", "OK id=1\n");
	ask("list", "OK seq=*\n");
	ask("del 1", "ERR notfound *\n");
}

TEST_CASE(test_check)
{
	struct client *other;

	ask("check", "ERR state text=\"*--config*\"\n");
	test_file("c", "add null id=1\nfrob\nadd null depth=0\n");
	fake_host.config = test_path("c");
	ask("@t check",
	    "mistake file=*/c line=2 column=1 word=\"frob\" text=\"*\"\n"
	    "mistake file=*/c line=3 column=10 word=\"depth=0\" text=\"*\"\n"
	    "ERR @t arg text=\"*/c has mistakes\"\n");
	/* Whoever is not root may not be able to read it. */
	next_uid = 1000;
	other = greeted();
	ask_on(other, "check",
	       "mistake file=*/c line=2 column=1\n"
	       "mistake file=*/c line=3 column=10\n"
	       "ERR arg text=\"*/c has mistakes\"\n");
	test_file("c word=d", "frob\n");
	fake_host.config = test_path("c word=d");
	ask_on(other, "check",
	       "mistake file=\"*/c word=d\" line=1 column=1\n"
	       "ERR arg text=\"*/c word=d has mistakes\"\n");
	fake_host.config = test_path("c");
	test_file("c", "upgrade\n");
	ask("check",
	    "mistake file=*/c line=1 column=1 word=\"upgrade\" text=\"*\"\n"
	    "ERR arg text=\"*/c has mistakes\"\n");
	test_file("c", "add null id=1\n");
	ask("check", "OK\n");
	assert_int_equal(fake_host.devices.count, 0);
	unlink(test_path("c"));
	ask("check", "ERR notfound text=\"*/c: No such file*\" errno=ENOENT\n");
	end_keeper();
	ask("check", "ERR * text=\"*/c cannot be read: *\" *\n");
	fake_host.config = "";
}

TEST_CASE(test_features)
{
	struct client *one = greeted(), *two = greeted(), *three = greeted();

	ask_on(one, "features",
	       "feature name=* have=* required=*\n*OK bits=0x1*\n");
	fake.features = 0x1fe;
	fake.hold[MESSAGE_FEATURES] = 1;
	ask_on(one, "@1 features", "");
	ask_on(two, "@2 features", "");
	close_client(two);
	ask_on(three, "@3 features", "");
	fake_release(MESSAGE_FEATURES);
	expect_on(one, "*feature name=user-copy have=yes required=yes\n*"
		       "OK @1 bits=0x1fe*\n");
	expect_on(three, "*OK @3 bits=0x1fe*\n");
	fake.result[MESSAGE_FEATURES] = -ENOENT;
	ask_on(one, "features", "ERR unsupported text=\"*modprobe*\" *\n");
}

/* Every bit has a name, up to the newest that is known; others are told of. */
TEST_CASE(test_every_feature)
{
	fake.features = 0x1fffff; /* Linux 7.3 */
	say("features\n");
	hear(me);
	assert_int_equal(count_text(me, "feature name="), 21);
	assert_int_equal(count_text(me, " have=yes "), 21);
	assert_int_equal(count_text(me, "unknown"), 0);
	assert_int_equal(count_text(me, "\nOK bits=0x1fffff\n"), 1);
	forget(me);
	fake.features |= 5ULL << 40 | 1ULL << 21;
	ask("features", "*name=io-desc-size have=yes *OK bits=0x500003fffff "
			"unknown=0x50000200000\n");
	fake.features = 0;
	say("features\n");
	hear(me);
	assert_int_equal(count_text(me, " have=no "), 21);
	assert_int_equal(count_text(me, "OK bits=0x0\n"), 1);
}

/* Every line is either a frame or data, and each word has its place. */
static void check_help(struct client *client, const char *line)
{
	const char *at;

	say_on(client, line);
	say_on(client, "\n");
	hear(client);
	for (at = client->text; *at; at = strchr(at, '\n') + 1) {
		struct syntax_line words;
		const char *why;
		size_t length;
		int i;

		assert_int_equal(
			syntax_split(&words, at, strcspn(at, "\n"), &why), 0);
		if (strcmp(words.words[0], "OK") == 0)
			continue;
		assert_true(words.words[0][0] >= 'a' &&
			    words.words[0][0] <= 'z');
		for (i = 1; i < words.count; i++)
			assert_non_null(syntax_value(words.words[i], &length));
	}
	assert_non_null(strstr(client->text, "OK\n"));
}

TEST_CASE(test_help)
{
	const struct command *command;
	char text[80];
	int i;

	check_help(me, "help");
	for (command = command_table; command->verb; command++) {
		snprintf(text, sizeof(text), "command name=%s ", command->verb);
		assert_int_equal(count_text(me, text), 1);
	}
	forget(me);
	for (command = command_table; command->verb; command++) {
		snprintf(text, sizeof(text), "help %s", command->verb);
		check_help(me, text);
		snprintf(text, sizeof(text), "command name=%s ", command->verb);
		assert_int_equal(count_text(me, text), 1);
		forget(me);
	}
	for (i = 0; target_table[i]; i++) {
		snprintf(text, sizeof(text), "help add %s",
			 target_table[i]->name);
		check_help(me, text);
		assert_true(count_text(me, "option name=") >= 7);
		forget(me);
	}
	check_help(me, "targets");
	assert_int_equal(count_text(me, "target name="), i);
	forget(me);
	ask("version", "OK version=* proto=1 *\n");
}

/* ---- the end ---- */

TEST_CASE(test_shutdown)
{
	struct client *other = greeted();

	ask("add null", "OK *\n");
	ask("add null", "OK *\n");
	fake.hold[MESSAGE_STOP] = 1;
	fake_forget();
	ask("@s shutdown", "");
	assert_non_null(strstr(fake_trace(), "SHUTDOWN"));
	ask_on(other, "add null", "ERR state *\n");
	ask_on(other, "list",
	       "dev id=0 * state=deleting *\n"
	       "dev id=1 * state=deleting *\nOK *\n");
	ask_on(other, "shutdown", "ERR state *\n");
	fake_release(MESSAGE_STOP);
	expect("OK @s\n");
	assert_int_equal(fake_host.devices.count, 0);
}

TEST_CASE(test_shutdown_of_nothing)
{
	ask("shutdown", "OK\n");
	assert_int_equal(fake.count[MESSAGE_SHUTDOWN], 1);
}

/* In use: nothing at all is deleted. */
TEST_CASE(test_shutdown_while_busy)
{
	ask("add null", "OK *\n");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	ask("shutdown",
	    "busy id=0 *\nERR busy text=\"devices in use: 1; *\"\n");
	fake.use_lasts = 0;
	fake.result[MESSAGE_BUSY] = 0;
	ask("add null", "OK *\n");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	say("shutdown\n");
	fake_pass_time(2);
	expect("busy id=0 name=ublkb0 text=\"*\"\n"
	       "busy id=1 name=ublkb1 text=\"*\"\n"
	       "ERR busy text=\"devices in use: 2; *\"\n");
	assert_int_equal(fake.count[MESSAGE_SHUTDOWN], 0);
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
	ask("list", "dev id=0 * state=live *\ndev id=1 * state=live *\n"
		    "OK *\n");
	ask("shutdown force=yes timeout=7", "OK\n");
	assert_int_equal(fake.last[MESSAGE_SHUTDOWN].number, 7);
	assert_int_equal(fake_host.devices.count, 0);
}

/* Without the keeper: what reads is answered, what changes is refused. */
TEST_CASE(test_keeper_gone)
{
	struct client *adding = greeted(), *asking = greeted();

	ask("add null", "OK id=0 *\n");
	fake.hold[MESSAGE_ADD] = fake.hold[MESSAGE_FEATURES] = 1;
	ask_on(adding, "@a add null id=1", "");
	ask_on(asking, "@f features", "");
	end_keeper();
	expect_on(adding, "ERR @a state text=\"*keeper*\"*\n");
	expect_on(asking, "ERR @f *\n");
	ask("list", "dev id=0 *\nOK seq=*\n");
	ask("ping", "OK\n");
	ask("add null", "ERR state text=\"*keeper*\"*\n");
	ask("del 0", "ERR state text=\"*keeper*\"*\n");
	ask("del 0 force=yes", "ERR state text=\"*keeper*\"*\n");
	ask("shutdown", "ERR state text=\"*keeper*\"*\n");
	ask("list", "dev id=0 * state=live *\nOK seq=*\n");
}

TEST_CASE(test_keeper_gone_in_shutdown)
{
	ask("add null", "OK id=0 *\n");
	fake.hold[MESSAGE_STOP] = 1;
	ask("@s shutdown force=yes", "");
	end_keeper();
	expect("ERR @s state text=\"*keeper*\"*\n");
}

/* Who changed what is in the log, with nothing in it that could lie. */
TEST_CASE(test_log)
{
	struct client *client;

	next_uid = 1000;
	client = greeted();
	log_forget();
	ask_on(client, "list", "OK *\n");
	ask_on(client, "help add", "*OK\n");
	assert_false(log_has("uid"));
	ask_on(client, "@t add null name=n", "OK *\n");
	assert_true(log_has("uid 1000"));
	assert_true(log_has("add null name=n"));
	ask_on(client, "del \"n\\n\\x1b[2J\"", "ERR *\n");
	assert_false(log_has("\x1b"));
}

/*
 * Whatever is sent: a frame for every line that is not blank, in order, and
 * the connection can be used afterwards.
 */
TEST_CASE(test_noise)
{
	static const char *const words[] = {
		"ping",	     "list",	"@t",	    "help",    "show",
		"\"",	     "'",	"\\x41",    "#",       "\x1b",
		"\xff",	     "add",	"null",	    "ram",     "size=0",
		"id=-1",     "del",	"on-error", "version", "\xc3\xa9",
		"x=\"\\n\"", "targets", "\t",	    "\r"
	};
	struct syntax_line line;
	const char *why;
	int i, j, frames = 0;

	random_seed(11);
	for (i = 0; i < 2000; i++) {
		char text[256] = "";

		for (j = (int)random_number(6); j > 0; j--) {
			add_text(text, sizeof(text),
				 words[random_number(COUNT(words))]);
			add_text(text, sizeof(text),
				 random_number(3) ? " " : "");
		}
		/* A device would be made, or deleted again. */
		if (syntax_split(&line, text, strlen(text), &why) == 0) {
			if (line.count == 0)
				continue;
			if (strcmp(line.words[0], "add") == 0 &&
			    line.count > 1 &&
			    strcmp(line.words[1], "null") == 0)
				continue;
		}
		add_text(text, sizeof(text), "\n");
		say(text);
		frames++;
		hear(me);
		if (count_text(me, "OK") + count_text(me, "ERR ") == 0)
			fail_msg("no answer to: %s", text);
		forget(me);
	}
	assert_true(frames > 1000);
	assert_int_equal(fake_host.devices.count, 0);
	ask("@end ping", "OK @end\n");
}

/* ---- several at once ---- */

TEST_CASE(test_del_several)
{
	add_many(4);
	ask("add null id=9 name=all", "OK *\n");
	/* Nothing, unless all are there. */
	ask("del 0 1 7", "ERR notfound text=\"*\" arg=7\n");
	ask("del 0 ublkb0", "ERR arg text=\"device 0 is named twice\" *\n");
	assert_int_equal(fake_host.devices.count, 5);
	ask("@d del 0 /dev/ublkb2",
	    "deleted id=0 name=ublkb0\ndeleted id=2 name=ublkb2\n"
	    "OK @d deleted=2\n");
	ask("del all", "OK id=9\n");
	ask("list", "dev id=1 *\ndev id=3 *\nOK *\n");
	ask("del --all", "deleted id=1 *\ndeleted id=3 *\nOK deleted=2\n");
	ask("del --all", "OK deleted=0\n");
}

/* They do not wait for each other, and who is in use stays. */
TEST_CASE(test_del_several_in_use)
{
	add_many(3);
	fake.hold[MESSAGE_STOP] = 1;
	ask("del 0 1 force=yes", "");
	assert_int_equal(fake.count[MESSAGE_STOP], 2);
	ask_on(greeted(), "del --all force=yes", "");
	fake_release(MESSAGE_STOP);
	fake_serve();
	expect("deleted id=0 *deleted id=1 *OK deleted=2\n");
	assert_int_equal(fake_host.devices.count, 0);
	add_many(2);
	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	ask("del --all", "failed id=0 name=ublkb0 symbol=busy text=\"*\"\n"
			 "failed id=1 name=ublkb1 symbol=busy text=\"*\"\n"
			 "ERR busy text=\"2 of 2 devices are not deleted\"\n");
	assert_int_equal(fake_host.devices.count, 2);
}

TEST_CASE(test_del_several_without_keeper)
{
	add_many(2);
	fake.hold[MESSAGE_BUSY] = 1;
	ask("del 0 1", "");
	end_keeper();
	fake_pass_time(0.1);
	expect("failed id=* symbol=state *\nfailed id=* symbol=state *\n"
	       "ERR state text=\"2 of 2 *\"\n");
	ask("del --all", "ERR state *\n");
}

/* ---- complete and prompt ---- */

TEST_CASE(test_complete)
{
	ask("complete",
	    "candidate word=add help=\"*\"\n*candidate word=watch *\nOK\n");
	ask("complete de", "candidate word=del help=\"stop *\"\nOK\n");
	ask("complete 'add '",
	    "candidate word=cow *\ncandidate word=file *\n"
	    "candidate word=null *\ncandidate word=ram help=\"*\"\nOK\n");
	ask("complete 'add fi'", "candidate word=file help=\"*\"\nOK\n");
	ask("complete 'add ram ov'",
	    "candidate word=overcommit= help=\"*\"\nOK\n");
	ask("complete 'add ram size=1M overcommit=n ov'", "OK\n");
	ask("complete 'add null error-op=w'",
	    "candidate word=error-op=write *\n"
	    "candidate word=error-op=write-*\n"
	    "OK\n");
	ask("complete 'add ram ro='", "candidate word=ro=yes *\n"
				      "candidate word=ro=no *\nOK\n");
	ask("complete 'add tape s'", "OK\n");
	ask("complete 'frob '", "OK\n");
	ask("complete 'on-error '", "candidate word=stop help=\"\"\n"
				    "candidate word=continue help=\"\"\nOK\n");
	ask("complete 'on-error stop '", "OK\n");
	ask("complete 'watch dev si'", "candidate word=size *\nOK\n");
	ask("complete 'help in'", "candidate word=inspect *\nOK\n");
	ask("complete 'help add nu'", "candidate word=null *\nOK\n");
	ask("complete \"add 'x\"", "OK\n");
	ask("complete \"add 'x y\"", "ERR syntax *\n");
	ask("complete a b", "ERR arg *\n");
}

TEST_CASE(test_complete_devices)
{
	ask("add null id=3 name=one", "OK *\n");
	ask("add null id=31", "OK *\n");
	ask("complete 'del o'", "candidate word=one help=\"null\"\nOK\n");
	ask("complete 'del one f'", "candidate word=force= *\nOK\n");
	ask("complete 'del one u'", "candidate word=ublkb31 *\nOK\n");
	ask("complete 'del -'", "candidate word=--all *\nOK\n");
	ask("complete 'show one o'", "OK\n");
	ask("complete 'show id=3'", "candidate word=id=3 *\n"
				    "candidate word=id=31 *\nOK\n");
	ask("complete 'list name='", "candidate word=name=one *\n"
				     "candidate word=name=ublkb31 *\nOK\n");
	ask("complete 'add null name='", "OK\n");
	ask("complete 'resize '", "candidate word=one *\n*"
				  "candidate word=size= *\nOK\n");
	ask("complete 'stats one r'", "candidate word=reset help=\"\"\nOK\n");
}

/* Others have their turns in between; each device comes once, and then the rest. */
TEST_CASE(test_complete_many_devices)
{
	char text[40];
	int i;

	add_many(60);
	send(me->fd, "complete 'resize '\n", 19, MSG_NOSIGNAL);
	turn(3);
	hear(me);
	i = (int)count_text(me, "candidate word=ublkb");
	assert_true(i > 0 && i < 60);
	assert_int_equal(count_text(me, "word=size="), 0);
	hear_all(me);
	for (i = 0; i < 60; i++) {
		snprintf(text, sizeof(text), "candidate word=ublkb%d ", i);
		assert_int_equal(count_text(me, text), 1);
	}
	assert_int_equal(count_text(me, "word=size="), 1);
}

/* Every command has words that are understood. */
TEST_CASE(test_complete_all)
{
	const struct command *command;

	for (command = command_table; command->verb; command++) {
		ask_text("*OK\n", "complete %s", command->verb);
		ask_text("*OK\n", "complete '%s '", command->verb);
		ask_text("*OK\n", "complete '%s x y z w '", command->verb);
	}
}

/* Only when there is nothing else to say. */
TEST_CASE(test_prompt)
{
	struct client *other = greeted();

	ask("prompt", "ERR arg text=\"prompt takes on or off\"\n");
	ask("prompt on", "OK\nublkd> ");
	ask("ping\nping", "OK\nOK\nublkd> ");
	ask("", "ublkd> ");
	ask("# nothing", "ublkd> ");
	ask("frob", "ERR *\nublkd> ");
	say("pi");
	expect("");
	ask("ng", "OK\nublkd> ");
	fake.hold[MESSAGE_START] = 1;
	ask("add null", "");
	fake_release(MESSAGE_START);
	fake_serve();
	expect("OK id=0 *\nublkd> ");
	ask("watch fault", "OK seq=*\nublkd> ");
	ask_on(other, "set 0 error-every=9", "OK *\n");
	expect("\nEVENT seq=* fault id=0 *\nublkd> ");
	ask("prompt off", "OK\n");
	ask_on(other, "set 0 error-every=8", "OK *\n");
	expect("EVENT *\n");
	ask("prompt on", "OK\nublkd> ");
	ask("quit", "OK\n");
	expect_closed(me);
}

/* ---- devices that are deleted, and linger ---- */

/* One of the device's requests is with its backing, also when it is deleted. */
static struct device *linger(uint32_t id)
{
	struct device *device = device_find(&fake_host.devices, id);

	assert_int_equal(device_allow_late(device), 0);
	device->queues[0].port.late->count = 1;
	return device;
}

/* Its name is free, and means the next one; it is deleted once. */
TEST_CASE(test_lingers)
{
	struct device *device;

	ask("add null id=3 name=n", "OK id=3 *\n");
	device = linger(3);
	ask("del n", "OK id=3 number=kept\n");
	ask("show n", "dev id=3 name=n state=deleting *OK *\n");
	ask("del --all", "OK deleted=0\n");
	ask("del --all force=yes", "OK deleted=0\n");
	ask("add null id=3", "ERR exists text=\"*keeps its number*\" arg=id\n");
	ask("add null id=5 name=n", "OK id=5 *\n");
	ask("add ram size=1M name=n", "ERR exists *\n");
	ask("show n", "dev id=5 name=n state=live *OK *\n");
	ask("del --all", "deleted id=5 name=n\nOK deleted=1\n");
	fake_end_late(device, 0);
	fake_pass_time(1);
	assert_null(fake_host.devices.first);
}

/* ---- watch ---- */

TEST_CASE(test_watch)
{
	struct client *other = greeted();
	char text[64];

	snprintf(text, sizeof(text), "OK @w seq=%u\n",
		 (unsigned)fake_host.devices.seq);
	ask("@w watch", text);
	ask_on(other, "add null id=3 name=one size=1M", "OK *\n");
	expect("EVENT seq=* dev id=3 name=one state=adding target=null "
	       "size=1048576 dev=/dev/ublkb3\n"
	       "EVENT seq=* dev id=3 name=one state=live *\n");
	ask_on(other, "set one error-every=5", "OK *\n");
	expect("EVENT seq=[0-9]* fault id=3 name=one\n");
	/* Who asks is told as well. */
	ask("@d del one", "EVENT seq=* dev id=3 name=one state=deleting *\n"
			  "EVENT seq=* dev id=3 name=one state=gone *\n"
			  "OK @d id=3\n");
	ask("add null id=9999999", "ERR range *\n");
}

/* It is not gone before its number is free. */
TEST_CASE(test_watch_lingering)
{
	struct device *device;

	ask("add null id=3", "OK id=3 *\n");
	ask("watch", "OK seq=*\n");
	device = linger(3);
	say("del 3\n");
	hear_all(me);
	assert_int_equal(count_text(me, "EVENT"), 1);
	expect("EVENT * state=deleting *\nOK id=3 number=kept\n");
	assert_int_equal(device->step, DEVICE_LINGER);
	fake_end_late(device, 0);
	fake_pass_time(1);
	expect("EVENT seq=* dev id=3 * state=gone *\n");
	assert_null(fake_host.devices.first);
}

/* Numbers grow from that of the answer on; a listing's says what it has. */
TEST_CASE(test_watch_numbers)
{
	unsigned long long last, seq;
	const char *at;

	add_many(3);
	last = fake_host.devices.seq;
	ask("watch", "OK seq=[0-9]*\n");
	say("add null id=4\ndel 4\nlist\n");
	hear_all(me);
	for (at = me->text; (at = strstr(at, "EVENT seq=")); last = seq) {
		at += strlen("EVENT seq=");
		seq = strtoull(at, NULL, 10);
		assert_true(seq > last);
	}
	assert_non_null(strstr(me->text, "OK seq="));
	assert_true(strtoull(strstr(me->text, "OK seq=") + 7, NULL, 10) >=
		    last);
}

TEST_CASE(test_watch_classes)
{
	struct client *other = greeted();

	ask("watch stall fault", "OK seq=0\n");
	ask_on(other, "add null", "OK *\n");
	expect("");
	ask_on(other, "set 0 limit-iops=5", "OK *\n");
	expect("EVENT seq=* fault id=0 name=ublkb0\n");
	ask("watch frob", "ERR arg text=\"*stall*\" arg=frob\n");
	ask("watch none dev", "ERR arg *\n");
	ask_on(other, "set 0 limit-iops=6", "OK *\n");
	expect("EVENT seq=* fault *\n");
	ask("watch none", "OK seq=[0-9]*\n");
	ask_on(other, "set 0 limit-iops=7", "OK *\n");
	expect("");
	ask("watch size", "OK seq=[0-9]*\n");
	fake.features = FAKE_FEATURES_NEW;
	ask("resize 0 size=2M",
	    "EVENT seq=* size id=0 name=ublkb0 size=2097152\nOK *\n");
}

/* Nothing comes between the lines of an answer. */
TEST_CASE(test_watch_in_a_listing)
{
	struct failure failure;
	struct device *device;

	add_many(60);
	ask("watch", "OK seq=[0-9]*\n");
	send(me->fd, "list\n", 5, MSG_NOSIGNAL);
	turn(3);
	hear(me);
	assert_true(count_text(me, "\n") > 0 && count_text(me, "\n") < 60);
	device = device_find(&fake_host.devices, 0);
	assert_int_equal(device_delete(device, 1, NULL, NULL, &failure), 0);
	fake_pass_time(0.1);
	hear_all(me);
	assert_true(fnmatch("dev id=0 *OK seq=[0-9]*\nEVENT seq=* dev id=0 * "
			    "state=deleting *\nEVENT seq=* state=gone *\n",
			    me->text, 0) == 0);
	assert_true(strstr(me->text, "EVENT ") > strstr(me->text, "OK seq="));
}

/* Who does not read has some kept, and is told how many were not. */
TEST_CASE(test_watch_overflow)
{
	struct client *other = greeted();
	unsigned long long lost, told = 0, i;
	const char *at;

	ask("watch", "OK seq=0\n");
	flood(me, "help\n");
	for (i = 0; i < 100; i++) {
		ask_on(other, "add null id=7", "OK *\n");
		ask_on(other, "del 7", "OK *\n");
	}
	for (i = 0; i < 20; i++) {
		fake_pass_time(0.1);
		hear_all(me);
	}
	assert_int_equal(count_text(me, "EVENT overflow lost="), 1);
	at = strstr(me->text, "EVENT overflow lost=");
	lost = strtoull(at + strlen("EVENT overflow lost="), NULL, 10);
	told = count_text(me, "EVENT seq=");
	assert_true(lost > 0);
	assert_true(told >= WATCH_QUEUE);
	assert_int_equal(lost + told, 400);
}

/* One that has said all stays, and goes when it does not listen. */
TEST_CASE(test_watch_half_closed)
{
	struct client *other = greeted();
	unsigned fds = count_fds();

	say("watch dev\n");
	shutdown(me->fd, SHUT_WR);
	fake_pass_time(3);
	expect("OK seq=0\n");
	ask_on(other, "add null", "OK *\n");
	expect("EVENT * state=adding *\nEVENT * state=live *\n");
	ask_on(other, "del 0", "OK *\n");
	fake_pass_time(3);
	assert_int_equal(count_fds(), fds);
	close_client(me);
	fake_pass_time(2);
	assert_int_equal(count_fds(), fds - 2);
}

TEST_CASE(test_watch_until_quit)
{
	ask("watch", "OK seq=0\n");
	ask("quit", "OK\n");
	expect_closed(me);
	ask_on(greeted(), "add null", "OK *\n");
}

#ifndef WITHOUT_JSON
/* ---- format ---- */

/* Numbers, flags, times and texts; a frame's word apart from a record's. */
TEST_CASE(test_json)
{
	ask("format", "ERR arg text=\"format takes json or lines\"\n");
	ask("format xml", "ERR arg text=\"*json or lines\" arg=xml\n");
	ask("@1 format json", "{\"frame\":\"OK\",\"tag\":\"1\"}\n");
	ask("watch fault", "{\"frame\":\"OK\",\"seq\":0}\n");
	ask("add null id=3 size=1M name=one",
	    "{\"frame\":\"OK\",\"id\":3,\"dev\":\"/dev/ublkb3\","
	    "\"name\":\"one\",*\"size\":1048576}\n");
	ask("list", "{\"record\":\"dev\",\"id\":3,\"name\":\"one\","
		    "\"state\":\"live\",*,\"ro\":false,*}\n"
		    "{\"frame\":\"OK\",\"seq\":[0-9]*}\n");
	ask("set one error-every=2",
	    "{\"frame\":\"EVENT\",\"seq\":[0-9]*,\"record\":\"fault\",\"id\":3,"
	    "\"name\":\"one\"}\n{*}\n");
	ask("@x del two", "{\"frame\":\"ERR\",\"tag\":\"x\","
			  "\"symbol\":\"notfound\",\"text\":\"*\","
			  "\"arg\":\"two\"}\n");
	ask("@\\\"y\\ ping", "*\"symbol\":\"syntax\"*}\n");
	ask("version", "{*\"version\":\"*\",\"proto\":1,\"pid\":[0-9]*}\n");
	ask("help del", "{\"record\":\"command\",*}\n"
			"{\"record\":\"option\",\"name\":\"id\",*"
			"\"required\":false,*\"min\":\"0\",*}\n*");
	ask("format lines", "OK\n");
	ask("del 3", "OK id=3\n");
}

/* Every command that only tells, and every frame; hear() parses each line. */
TEST_CASE(test_json_of_all)
{
	const struct command *command;

	ask("add null id=0 error-rate=1%", "OK *\n");
	ask("format json", "{*}\n");
	for (command = command_table; command->verb; command++) {
		if (command->access != ACCESS_READ ||
		    strcmp(command->verb, "quit") == 0)
			continue;
		ask_text("*", "%s", command->verb);
		ask_text("*", "@t %s 0", command->verb);
		ask_text("{\"record\":\"command\",*", "help %s", command->verb);
		hear_all(me);
		forget(me);
	}
	ask("watch none", "{*}\n");
	fake.hold[MESSAGE_STOP] = 1;
	say("@w del 0 force=yes\n");
	shutdown(me->fd, SHUT_WR);
	fake_pass_time(0.3);
	expect("{\"frame\":\"WAIT\",\"tag\":\"w\",\"what\":\"del\"}\n");
	fake_release(MESSAGE_STOP);
	expect("{\"frame\":\"OK\",\"tag\":\"w\",\"id\":0}\n");
}

static char object[100000];

static void gather(void *context, const char *text, size_t length)
{
	strncat(object, text, length);
}

static void expect_object(const char *line, const char *expected)
{
	char text[REQUEST_LINE_MAX + 1];
	size_t length = strlen(line);

	memcpy(text, line, length + 1);
	object[0] = '\0';
	json_line(text, length, gather, NULL);
	fake_check_line(object, strlen(object));
	assert_string_equal(object, expected);
}

/* What is several things is an array, also of one; what is not known, null. */
TEST_CASE(test_json_values)
{
	expect_object("build without=file", "{\"record\":\"build\","
					    "\"without\":[\"file\"]}");
	expect_object("build without=file,ram",
		      "{\"record\":\"build\","
		      "\"without\":[\"file\",\"ram\"]}");
	expect_object("ERR frob a=1 b", "{\"frame\":\"ERR\","
					"\"symbol\":\"frob\","
					"\"a\":\"1\",\"symbol\":\"b\"}");
	expect_object("add ram size=1M", "{\"text\":\"add ram size=1M\"}");
	expect_object("", "{\"text\":\"\"}");
	expect_object("metric_a{b=\"c\"} 1",
		      "{\"text\":\"metric_a{b=\\\"c\\\"} 1\"}");
	expect_object("dev id=unknown oldest=12ms",
		      "{\"record\":\"dev\",\"id\":null,\"oldest\":12000}");
	expect_object("dev id=007 size=18446744073709551615 used=-1",
		      "{\"record\":\"dev\",\"id\":\"007\","
		      "\"size\":18446744073709551615,\"used\":-1}");
	expect_object("dev used=1. oldest=soon ro=maybe",
		      "{\"record\":\"dev\",\"used\":\"1.\","
		      "\"oldest\":\"soon\",\"ro\":\"maybe\"}");
}

/* As long as a line can be, of what becomes longest. */
TEST_CASE(test_json_of_long_line)
{
	static char line[REQUEST_LINE_MAX], expected[4 * REQUEST_LINE_MAX];
	char *from = line, *to = expected;
	int i;

	from = stpcpy(from, "config text=\"");
	to = stpcpy(to, "{\"record\":\"config\",\"text\":\"");
	for (i = 0; i < 4000; i++) {
		from = stpcpy(from, i % 7 ? "\t" : "x");
		to = stpcpy(to, i % 7 ? "\\u0009" : "x");
	}
	stpcpy(to, "\"}");
	expect_object(line, expected);
}

/* Whatever bytes come, an object is UTF-8 and has no control characters. */
TEST_CASE(test_json_bytes)
{
	static const char line[] =
		"config text=\"a\\n\\t\\\"\\\\ \\x1b\\x7f\\xff\\xc2\\x85 \xc3\xa4\"";

	expect_object(line,
		      "{\"record\":\"config\",\"text\":\"a\\u000a\\u0009"
		      "\\\"\\\\ \\u001b\\u007f\\ufffd\\u0085 \xc3\xa4\"}");
	/* A line that was cut. */
	expect_object("config text=\"a \xc3", "{\"record\":\"config\","
					      "\"text\":\"a \\ufffd\"}");
	expect_object("ERR @a\"b syntax text=\"c\\",
		      "{\"frame\":\"ERR\",\"tag\":\"a\\\"b\","
		      "\"symbol\":\"syntax\",\"text\":\"c\"}");
	expect_object("OK @", "{\"frame\":\"OK\",\"tag\":\"\"}");
}

#endif

/* ---- inspect and stuck ---- */

#ifndef WITHOUT_SIGHT
/* Requests of queue 0 of a device, which nobody answers. */
static struct io held[4];

static void hold_requests(uint32_t id, unsigned count)
{
	struct queue *queue = device_find(&fake_host.devices, id)->queues;
	size_t i;

	queue->ios = queue->port.ios = held;
	queue->port.owned = count;
	for (i = 0; i < COUNT(held); i++)
		held[i] = (struct io){ .port = &queue->port,
				       .tag = (uint16_t)i,
				       .owned = i < count,
				       .op = IO_WRITE,
				       .offset = (uint64_t)4096 * i,
				       .length = 512 };
}

#define UNKNOWN                                                       \
	"kernel id=0 reads=unknown writes=unknown scheduler=unknown " \
	"requests=unknown timeout=unknown\n"                          \
	"blk-mq id=0 busy=unknown\n"                                  \
	"behind id=0 disk=unknown\n"                                  \
	"tasks id=0 count=unknown\n"                                  \
	"holder id=0 text=\"unknown\"\n"

/* The helper has its time; what it does not tell is unknown then. */
TEST_CASE(test_inspect)
{
	struct client *other = greeted();

	ask("add null id=0 queues=1 depth=4", "OK *\n");
	hold_requests(0, 3);
	fake.hold[MESSAGE_ASK] = 1;
	ask("inspect 0", "");
	assert_int_equal(fake.last[MESSAGE_ASK].number, HELPER_VIEW);
	ask_on(other, "ping", "OK\n");
	fake_pass_time(1);
	expect("");
	fake_pass_time(1);
	expect("dev id=0 name=ublkb0 state=live waiting=3\n"
	       "place id=0 name=unknown count=3 op=write offset=0 length=512 "
	       "age=unknown\n" UNKNOWN
	       "verdict id=0 verdict=\"3 requests are in the server, one a "
	       "write of 512 bytes at byte 0; where they wait, and since when, "
	       "is not recorded\"\n"
	       "OK format=1 took=*ms\n");
	/* It comes too late: nobody is told once more. */
	fake_release(MESSAGE_ASK);
	fake_serve();
	expect("");
	fake.hold[MESSAGE_ASK] = 0;
	ask("inspect 0 tags=yes",
	    "dev *verdict *"
	    "tag id=0 queue=0 tag=0 place=unknown op=write offset=0 length=512 "
	    "age=unknown\n*tag=1 *tag=2 *\nOK format=1 *\n");
	hold_requests(0, 0);
	ask("inspect 0", "dev id=0 name=ublkb0 state=live waiting=0\n*"
			 "verdict id=0 verdict=\"the server has no request; "
			 "what the kernel has is unknown\"\nOK *\n");
	ask("inspect 9", "ERR notfound *\n");
	ask("inspect 0 tags=maybe", "ERR * arg=tags\n");
}

/* All devices, more than one turn has. */
TEST_CASE(test_inspect_all)
{
	ask("inspect", "OK format=1 took=*ms\n");
	add_many(20);
	say("inspect\n");
	hear_all(me);
	assert_int_equal(count_text(me, "\nverdict id="), 20);
	assert_int_equal(count_text(me, "OK format=1"), 1);
	forget(me);
	ask("stuck", "OK format=1 *\n");
	ask("stuck older-than=2", "ERR * arg=older-than\n");
}

/* Who asked has left: while the helper works, and while there is more to say. */
TEST_CASE(test_inspect_left)
{
	struct client *other = greeted();

	add_many(20);
	fake.hold[MESSAGE_ASK] = 1;
	say_on(other, "inspect\n");
	close_client(other);
	fake_pass_time(2);
	fake_release(MESSAGE_ASK);
	other = greeted();
	say_on(other, "inspect\n");
	close_client(other);
	fake_serve();
	/* A server that ends has neither waited for. */
	say("inspect\n");
	admin_close(admin);
	admin = admin_open(test_loop, listener, -1, &fake_host);
	fake_release(MESSAGE_ASK);
	fake_serve();
}

/* Without a keeper there is no helper: what the server knows is told at once. */
TEST_CASE(test_inspect_alone)
{
	ask("add null id=0 queues=1 depth=4", "OK *\n");
	end_keeper();
	hold_requests(0, 1);
	say("inspect\n");
	hear_all(me);
	expect("dev id=0 *waiting=1\n*\n" UNKNOWN "verdict *\nOK format=1 *\n");
	hold_requests(0, 0);
}
#endif

int main(void)
{
	return tests_run();
}
