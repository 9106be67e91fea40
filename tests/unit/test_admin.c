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
#include "fake.h"
#include "keeper/helper.h"
#include "io/workers.h"
#include "target/memory.h"
#include "server/server.h"

#define CLIENTS 200

/* ---- who connects, and whether a connection can be taken ---- */

static uid_t next_uid;
static int peer_error;
static int accept_error;
static unsigned accepts;

int __real_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length);
int __wrap_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *length,
		   int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length,
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
void *__wrap_realloc(void *old, size_t size);

void *__wrap_realloc(void *old, size_t size)
{
	if (size > largest)
		largest = size;
	return __real_realloc(old, size);
}

/* ---- the server ---- */

static struct admin *admin;
static int listener;
static struct sockaddr_un address;
static socklen_t address_length;

static void on_empty(struct device_set *set)
{
	(void)set;
	if (fake_host.stopping)
		command_answer_leaving(&fake_host);
}

static void listen_somewhere(void)
{
	sa_family_t family = AF_UNIX;

	listener =
		socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* Without a path the kernel chooses a name that is no file. */
	assert_int_equal(
		bind(listener, (struct sockaddr *)&family, sizeof(family)), 0);
	assert_int_equal(listen(listener, 256), 0);
	address_length = sizeof(address);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address,
				     &address_length),
			 0);
}

/* ---- clients ---- */

struct client {
	int fd;
	char *text; /* what came and was not looked at */
	size_t length;
};

static struct client clients[CLIENTS];

static struct client *open_client(void)
{
	struct client *client = clients;

	while (client->fd >= 0)
		client++;
	assert_true(client < clients + CLIENTS);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	client->length = 0;
	assert_int_equal(connect(client->fd, (struct sockaddr *)&address,
				 address_length),
			 0);
	fake_serve();
	return client;
}

static void close_client(struct client *client)
{
	close(client->fd);
	client->fd = -1;
	free(client->text);
	client->text = NULL;
	client->length = 0;
}

/* Take what is there. Returns 1 once the server has closed. */
static int hear(struct client *client)
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
	client->length = 0;
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

static void say(struct client *client, const char *text)
{
	say_bytes(client, text, strlen(text));
}

/* All that came must match; * stands for anything. */
static void expect(struct client *client, const char *pattern)
{
	hear(client);
	if (fnmatch(pattern, client->text, 0) != 0)
		fail_msg("got: %s\nnot: %s", client->text, pattern);
	forget(client);
}

static void ask(struct client *client, const char *line, const char *pattern)
{
	say(client, line);
	say(client, "\n");
	expect(client, pattern);
}

static struct client *greeted(void)
{
	struct client *client = open_client();

	expect(client, "HELLO ublkd proto=1 version=* pid=*\n");
	return client;
}

static void expect_closed(struct client *client)
{
	fake_serve();
	assert_int_equal(hear(client), 1);
}

/* Layers have got other values so often. */
static unsigned layer_changes;

void __real_layers_change(struct layers *layers,
			  const struct option_value *values,
			  const struct option_value *given);
void __wrap_layers_change(struct layers *layers,
			  const struct option_value *values,
			  const struct option_value *given);

void __wrap_layers_change(struct layers *layers,
			  const struct option_value *values,
			  const struct option_value *given)
{
	layer_changes++;
	__real_layers_change(layers, values, given);
}

static unsigned count_text(const struct client *client, const char *part)
{
	const char *at = client->text;
	unsigned count = 0;

	while (at && (at = strstr(at, part))) {
		count++;
		at += strlen(part);
	}
	return count;
}

static int start(void **state)
{
	unsigned i;

	(void)state;
	fake_start();
	fake_host.devices.on_empty = on_empty;
	test_file("proc/meminfo", "MemAvailable: 1048576 kB\n");
	memory_set_root(test_folder());
	next_uid = 0;
	peer_error = 0;
	accept_error = 0;
	accepts = 0;
	for (i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	listen_somewhere();
	admin = admin_open(test_loop, listener, &fake_host);
	return admin ? 0 : -1;
}

/* Devices first: what waits for them is answered while it is there. */
static int stop(void **state)
{
	struct message message = { .magic = MESSAGE_MAGIC, .result = -EPIPE };
	unsigned i;

	(void)state;
	fake_end_keeper();
	device_delete_all(&fake_host.devices);
	for (i = 0; fake_host.devices.first && i < 1000; i++) {
		message.serial = fake_host.devices.first->serial;
		device_answer(&fake_host.devices, &message);
		pass_time(0.1);
	}
	command_keeper_gone(&fake_host);
	turn(5);
	for (i = 0; i < CLIENTS; i++)
		if (clients[i].fd >= 0)
			close_client(&clients[i]);
	turn(10);
	admin_close(admin);
	close(listener);
	fake_stop();
	test_folder_remove();
	return 0;
}

/* ---- framing ---- */

static void test_greeting(void **state)
{
	struct client *client = open_client();
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), " pid=%d\n", (int)getpid());
	assert_int_equal(hear(client), 0);
	assert_memory_equal(client->text, "HELLO ublkd proto=1 version=", 28);
	assert_non_null(strstr(client->text, text));
	expect(client, "HELLO*\n");
	/* And nothing until it is asked. */
	fake_pass_time(2);
	expect(client, "");
}

static void test_ping(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "ping", "OK\n");
	ask(client, "@a ping", "OK @a\n");
	ask(client, "  @long-tag:7 \t ping  ", "OK @long-tag:7\n");
	ask(client, "\"ping\"", "OK\n");
	ask(client, "@1 p'in'g # now", "OK @1\n");
}

static void test_nothing(void **state)
{
	struct client *client = greeted();

	(void)state;
	say(client, "\n\n   \n# ping\n \t# ping\n\r\n");
	expect(client, "");
	ask(client, "ping", "OK\n");
}

static void test_carriage_return(void **state)
{
	struct client *client = greeted();

	(void)state;
	say(client, "ping\r\n@b ping\r\nping\n");
	expect(client, "OK\nOK @b\nOK\n");
	ask(client, "ping \"\r", "ERR syntax text=\"*not closed*\"\n");
}

static void test_errors(void **state)
{
	static const struct {
		const char *line, *reply;
	} cases[] = {
		{ "frobnicate", "ERR unknown text=\"*\" arg=frobnicate\n" },
		{ "@x frobnicate",
		  "ERR @x unknown text=\"*\" arg=frobnicate\n" },
		{ "PING", "ERR unknown text=\"*\" arg=PING\n" },
		{ "''", "ERR unknown text=\"*\"\n" },
		{ "ping again", "ERR arg text=\"*\" arg=again\n" },
		{ "ping a=b", "ERR unknown text=\"*\" arg=*\n" },
		{ "ping \"unclosed", "ERR syntax text=\"*not closed*\"\n" },
		{ "@t ping 'unclosed",
		  "ERR @t syntax text=\"*not closed*\"\n" },
		{ "@t", "ERR @t syntax text=\"*\"\n" },
		{ "@ ping", "ERR syntax text=\"*tag*\"\n" },
		{ "on-error", "ERR arg text=\"*\"\n" },
		{ "on-error maybe", "ERR arg text=\"*\" arg=maybe\n" },
		{ "add", "ERR arg text=\"*\"\n" },
		{ "add ramm size=1M", "ERR unknown text=\"*\" arg=ramm\n" },
		{ "add size=1M", "ERR unknown text=\"*\" arg=*\n" },
		{ "add ram", "ERR arg text=\"*size*\" arg=size\n" },
		{ "add ram size=1M sise=1M",
		  "ERR unknown text=\"*sise*\" arg=*\n" },
		{ "add ram size=1M extra", "ERR arg text=\"*\" arg=extra\n" },
		{ "add ram size=1M size=1M",
		  "ERR arg text=\"*twice*\" arg=size\n" },
		{ "add ram size=0", "ERR range text=\"*size*\" arg=size\n" },
		{ "add ram size=-1", "ERR range text=\"*size*\" arg=size\n" },
		{ "add ram size=1000", "ERR range text=\"*512*\" arg=size\n" },
		{ "add ram size=2K block-size=4K",
		  "ERR range text=\"*4096*\" arg=size\n" },
		{ "add ram size=1E", "ERR limit text=\"*\" arg=size*\n" },
		{ "add ram size=2G",
		  "ERR limit text=\"*1024 MiB*\" arg=size*\n" },
		{ "add ram size=99999999999999999999",
		  "ERR range text=\"*\" arg=size\n" },
		{ "add ram size=16E", "ERR range text=\"*\" arg=size\n" },
		{ "add null size=9E", "ERR range text=\"*\" arg=size\n" },
		{ "add ram size=lots", "ERR arg text=\"*\" arg=size\n" },
		{ "add ram size=", "ERR arg text=\"*\" arg=size\n" },
		{ "add null queues=5000", "ERR range text=\"*\" arg=queues\n" },
		{ "add null queues=0", "ERR range text=\"*\" arg=queues\n" },
		{ "add null depth=0", "ERR range text=\"*\" arg=depth\n" },
		{ "add null depth=4097", "ERR range text=\"*\" arg=depth\n" },
		{ "add null depth=-1", "ERR range text=\"*\" arg=depth\n" },
		{ "add null id=1048576", "ERR range text=\"*\" arg=id\n" },
		{ "add null id=-1", "ERR range text=\"*\" arg=id\n" },
		{ "add null max-io=5000", "ERR range text=\"*\" arg=max-io\n" },
		{ "add null max-io=64M", "ERR range text=\"*\" arg=max-io\n" },
		{ "add null block-size=1000",
		  "ERR range text=\"*\" arg=block-size\n" },
		{ "add null block-size=8K",
		  "ERR range text=\"*\" arg=block-size\n" },
		{ "add null ro=perhaps", "ERR arg text=\"*\" arg=ro\n" },
		{ "add null fill=2", "ERR arg text=\"*\" arg=fill\n" },
		{ "add null name=a/b", "ERR arg text=\"*\" arg=name\n" },
		{ "add null name=", "ERR arg text=\"*\" arg=name\n" },
		{ "add null name=7", "ERR arg text=\"*\" arg=name\n" },
		{ "add null name=ublkb7", "ERR arg text=\"*\" arg=name\n" },
		{ "del", "ERR arg text=\"*\"\n" },
		{ "del 7", "ERR notfound text=\"*\" arg=7\n" },
		{ "del id=7", "ERR notfound text=\"*\" arg=7\n" },
		{ "del name=x", "ERR notfound text=\"*\" arg=x\n" },
		{ "del ublkb7", "ERR notfound text=\"*\" arg=ublkb7\n" },
		{ "del 7 id=7", "ERR arg text=\"*\"\n" },
		{ "del 7 8", "ERR arg text=\"*\" arg=8\n" },
		{ "del 7 force=perhaps", "ERR arg text=\"*\" arg=force\n" },
		{ "show 7", "ERR notfound text=\"*\" arg=7\n" },
		{ "show ''", "ERR notfound text=\"*\"\n" },
		{ "show 4294967295", "ERR notfound text=\"*\" arg=*\n" },
		{ "show 99999999999999999999",
		  "ERR notfound text=\"*\" arg=*\n" },
		{ "help frobnicate",
		  "ERR unknown text=\"*\" arg=frobnicate\n" },
		{ "help add frobnicate",
		  "ERR unknown text=\"*\" arg=frobnicate\n" },
		{ "shutdown force=perhaps", "ERR arg text=\"*\" arg=force\n" },
	};
	struct client *client = greeted();
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		ask(client, cases[i].line, cases[i].reply);
		/* It is a line of one frame, and nothing has changed. */
		assert_int_equal(fake_host.devices.count, 0);
		fake_expect("");
	}
	ask(client, "ping", "OK\n");
}

/* Bytes that a terminal would obey never come back as they are. */
static void test_controls_are_escaped(void **state)
{
	struct client *client = greeted();
	size_t i;

	(void)state;
	say(client, "\x1b[2J\x07\x7f\xc2\x9b ping\n"
		    "\"\\x1b]0;x\\x07\\xff\\n\"\n"
		    "show \x1b[31m\nadd \x1b[1m\nadd null \x1b=\x9b\n"
		    "add ram size=\"\\x1b\\n\"\nhelp \"\\n\"\n");
	hear(client);
	assert_int_equal(count_text(client, "ERR "), 7);
	assert_int_equal(count_text(client, "\n"), 7);
	for (i = 0; i < client->length; i++)
		assert_true(
			(client->text[i] >= 0x20 && client->text[i] < 0x7f) ||
			client->text[i] == '\n');
}

static void test_byte_at_a_time(void **state)
{
	static const char text[] = "@a ping\r\n# x\n\nfrob\n@b ping\n";
	struct client *client = greeted(), *other = greeted();
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(text) - 1; i++) {
		say_bytes(client, &text[i], 1);
		ask(other, "ping", "OK\n");
		fake_pass_time(1);
	}
	expect(client, "OK @a\nERR unknown *\nOK @b\n");
}

static void test_pipeline(void **state)
{
	struct client *client = greeted();
	char text[16384], expected[16384];
	int i, at = 0, end = 0;

	(void)state;
	for (i = 0; i < 500; i++) {
		at += snprintf(text + at, sizeof(text) - (size_t)at,
			       "@%d ping%s\n", i, i % 3 ? "" : "\r");
		end += snprintf(expected + end, sizeof(expected) - (size_t)end,
				"OK @%d\n", i);
	}
	say(client, text);
	hear_all(client);
	assert_string_equal(client->text, expected);
}

/* An answer that comes late holds back those behind it, on its connection. */
static void test_order(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	say(client, "@1 ping\n@2 add null\n@3 ping\n@4 list\n@5 nonsense\n");
	expect(client, "OK @1\n");
	fake_release(MESSAGE_START);
	expect(client, "OK @2 id=0 *\nOK @3\ndev id=0 *\nOK @4 seq=*\n"
		       "ERR @5 unknown *\n");
}

static void test_side_by_side(void **state)
{
	struct client *slow = greeted(), *quick = greeted(), *third = greeted();

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	ask(slow, "@slow add ram size=1M", "");
	ask(quick, "ping", "OK\n");
	ask(quick, "list", "dev id=0 * state=adding step=start *\nOK seq=*\n");
	fake.hold[MESSAGE_START] = 0;
	ask(third, "add null id=9", "OK id=9 dev=/dev/ublkb9 *\n");
	ask(quick, "del 9", "OK id=9\n");
	ask(quick, "del 0", "ERR busy *\n");
	expect(slow, "");
	fake_release(MESSAGE_START);
	expect(slow, "OK @slow id=0 dev=/dev/ublkb0 *\n");
}

/* A ping of so many bytes, with blanks behind it. */
static void say_ping(struct client *client, int length, const char *end)
{
	char text[SYNTAX_LINE_MAX + 16];

	snprintf(text, sizeof(text), "%-*s%s", length, "@a ping", end);
	say(client, text);
}

static void test_line_limit(void **state)
{
	struct client *client = greeted();

	(void)state;
	say_ping(client, SYNTAX_LINE_MAX, "\n");
	expect(client, "OK @a\n");
	say_ping(client, SYNTAX_LINE_MAX, "\r\n");
	expect(client, "OK @a\n");
	say_ping(client, SYNTAX_LINE_MAX + 1, "\n");
	expect(client, "ERR*syntax text=\"*4096 bytes*\"\n");
	say_ping(client, SYNTAX_LINE_MAX + 1, "\r\n");
	expect(client, "ERR*syntax text=\"*4096 bytes*\"\n");
	ask(client, "@b ping", "OK @b\n");
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
	say(client, end);
}

static void test_long_lines(void **state)
{
	static const size_t lengths[] = { 4097,	 4098,	4099,	5000,	8191,
					  8192,	 8193,	12287,	12288,	12289,
					  16384, 65536, 100000, 1000003 };
	struct client *client = greeted();
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(lengths); i++) {
		say_long(client, lengths[i], "\n@a ping\n");
		expect(client, "ERR syntax text=\"*4096 bytes*\"\nOK @a\n");
	}
	/* Two in a row are two mistakes. */
	say_long(client, 9000, "\n");
	say_long(client, 9000, "\r\nping\n");
	expect(client, "ERR syntax *\nERR syntax *\nOK\n");
	/* Told at once, not when it ends. */
	say_long(client, 9000, "");
	expect(client, "ERR syntax *\n");
	fake_pass_time(1);
	expect(client, "");
	say(client, "ping\nping\n");
	expect(client, "OK\n");
}

static void test_line_of_10_mb(void **state)
{
	struct client *client = greeted(), *other = greeted();

	(void)state;
	say_long(client, 10 << 20, "\n@a ping\n");
	expect(client, "ERR syntax text=\"*4096 bytes*\"\nOK @a\n");
	ask(other, "ping", "OK\n");
	/* And one that never ends. */
	say_long(client, 1 << 20, "");
	shutdown(client->fd, SHUT_WR);
	fake_serve();
	expect(client, "ERR syntax *\n");
	expect_closed(client);
}

static void test_bad_bytes(void **state)
{
	struct client *client = greeted();

	(void)state;
	say_bytes(client, "pi\0ng\n", 6);
	expect(client, "ERR syntax text=\"*NUL*\"\n");
	say_bytes(client, "\0\n", 2);
	expect(client, "ERR syntax text=\"*NUL*\"\n");
	say(client, "ping \xff\n");
	expect(client, "ERR syntax text=\"*UTF-8*\"\n");
	say(client, "ping \xed\xa0\x80\n");
	expect(client, "ERR syntax text=\"*UTF-8*\"\n");
	say(client, "ping \xc0\xaf\n");
	expect(client, "ERR syntax text=\"*UTF-8*\"\n");
	ask(client, "ping", "OK\n");
}

/* ---- the end of input ---- */

static void test_end_without_newline(void **state)
{
	struct client *client = greeted();

	(void)state;
	say(client, "@a ping\n@b ping");
	expect(client, "OK @a\n");
	shutdown(client->fd, SHUT_WR);
	fake_serve();
	expect(client, "OK @b\n");
	expect_closed(client);
}

static void test_end_at_once(void **state)
{
	struct client *client = greeted();

	(void)state;
	shutdown(client->fd, SHUT_WR);
	expect_closed(client);
	assert_int_equal(client->length, 0);
}

/* Everything that was asked is answered before the end. */
static void test_end_after_many(void **state)
{
	struct client *client = greeted();
	int i;

	(void)state;
	for (i = 0; i < 100; i++)
		send(client->fd, "help\nping\n", 10, MSG_NOSIGNAL);
	shutdown(client->fd, SHUT_WR);
	for (i = 0; i < 1000 && !hear(client); i++)
		fake_serve();
	assert_int_equal(hear(client), 1);
	assert_int_equal(count_text(client, "OK\n"), 200);
	assert_int_equal(count_text(client, "ERR"), 0);
}

/* socat leaves half a second after its input has ended and nothing comes. */
static void test_wait(void **state)
{
	struct client *client = greeted();
	unsigned waits;

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	say(client, "@x add ram size=1M\n");
	/* As long as it could still say something there is no WAIT. */
	fake_pass_time(3);
	expect(client, "");
	shutdown(client->fd, SHUT_WR);
	fake_pass_time(0.45);
	hear(client);
	assert_true(count_text(client, "WAIT @x what=add\n") >= 1);
	forget(client);
	fake_pass_time(2);
	hear(client);
	waits = count_text(client, "WAIT @x what=add\n");
	assert_true(waits >= 7 && waits <= 9);
	assert_int_equal(client->length, waits * strlen("WAIT @x what=add\n"));
	forget(client);
	fake_release(MESSAGE_START);
	expect(client, "OK @x id=0 dev=/dev/ublkb0 *\n");
	expect_closed(client);
	/* The device is there, whoever asked for it is gone. */
	ask(greeted(), "list", "dev id=0 * state=live *\nOK seq=*\n");
}

static void test_wait_without_tag(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.hold[MESSAGE_STOP] = 1;
	ask(client, "add null", "OK id=0 *\n");
	say(client, "del 0 force=yes\nping\n");
	shutdown(client->fd, SHUT_WR);
	fake_pass_time(0.6);
	expect(client, "WAIT what=del\nWAIT what=del\n");
	fake_release(MESSAGE_STOP);
	expect(client, "OK id=0\nOK\n");
	expect_closed(client);
}

/* Nobody is asked to stay after the answer. */
static void test_no_wait_afterwards(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	say(client, "add null\n");
	fake_pass_time(0.3);
	fake_release(MESSAGE_START);
	expect(client, "OK id=0 *\n");
	fake_pass_time(2);
	expect(client, "");
	ask(client, "ping", "OK\n");
}

/* The answer has nobody to go to; all else goes on. */
static void test_vanish_while_pending(void **state)
{
	struct client *client = greeted(), *other = greeted();
	unsigned fds;

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	fds = count_fds();
	say(client, "@x add null\n@y ping\n");
	close_client(client);
	fake_pass_time(2);
	ask(other, "list", "dev id=0 * state=adding *\nOK seq=*\n");
	fake_release(MESSAGE_START);
	fake_pass_time(1);
	ask(other, "list", "dev id=0 * state=live *\nOK seq=*\n");
	/* Its connection is gone; the char device has come. */
	assert_int_equal(count_fds(), fds - 2 + 1);
}

static void test_vanish_in_a_line(void **state)
{
	struct client *client = greeted();
	unsigned fds = count_fds();

	(void)state;
	say(client, "add nul");
	close_client(client);
	fake_serve();
	assert_int_equal(fake_host.devices.count, 0);
	assert_int_equal(count_fds(), fds - 2);
}

/* A client that is gone before its greeting, and one in a flood of replies. */
static void test_vanish_any_time(void **state)
{
	struct client *client;
	int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		client = &clients[0];
		client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_int_equal(connect(client->fd,
					 (struct sockaddr *)&address,
					 address_length),
				 0);
		while (i % 2 &&
		       send(client->fd, "help\n", 5, MSG_NOSIGNAL) == 5)
			;
		turn(i / 2);
		close_client(client);
		turn(1);
	}
	turn(20);
	ask(greeted(), "ping", "OK\n");
}

static void add_many(struct client *client, int count)
{
	char text[32];
	int i;

	for (i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "add null id=%d", i);
		ask(client, text, "OK *\n");
	}
}

/* Nobody is left to take the rest of a listing: its memory is given back. */
static void test_vanish_in_a_listing(void **state)
{
	struct client *client, *other = greeted();
	unsigned fds, pieces, i;

	(void)state;
	add_many(other, 60);
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
		say(client, "list\n");
	send(client->fd, "list\nlist\nlist\n", 15, MSG_NOSIGNAL);
	close_client(client);
	settle();
	assert_int_equal(count_fds(), fds);
	ask(other, "ping", "OK\n");
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
static void test_never_reads(void **state)
{
	struct client *client = greeted(), *other = greeted();
	unsigned fds = count_fds();

	(void)state;
	assert_true(flood(client, "help\n") > 0);
	ask(other, "ping", "OK\n");
	fake_pass_time(ADMIN_DRAIN_TIME - 1);
	assert_int_equal(count_fds(), fds);
	ask(other, "ping", "OK\n");
	fake_pass_time(2);
	assert_int_equal(count_fds(), fds - 1);
	assert_true(log_has("does not read"));
	ask(other, "ping", "OK\n");
}

/* Most of it has not been made yet, and nobody will take it. */
static void test_leaves_in_a_listing(void **state)
{
	struct client *client = greeted(), *leaves;
	unsigned fds;
	int i, by_itself;

	(void)state;
	for (i = 0; i < 60; i++)
		ask(client, "add null", "OK *\n");
	for (by_itself = 0; by_itself < 2; by_itself++) {
		fds = count_fds();
		leaves = greeted();
		assert_true(flood(leaves, "list\n") > 0);
		if (by_itself)
			close_client(leaves);
		fake_pass_time(by_itself ? 1 : ADMIN_DRAIN_TIME + 1);
		if (!by_itself)
			close_client(leaves);
		assert_int_equal(count_fds(), fds);
	}
	ask(client, "ping", "OK\n");
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
	ask(client, "ping", "OK\n");
	close_client(client);
	turn(5);
}

static void test_slow_reader(void **state)
{
	(void)state;
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

static void test_drained_at_once(void **state)
{
	struct client *client = greeted();
	unsigned before, turns, i, asked;

	(void)state;
	/* How many turns it takes until it is full. */
	before = ev_iteration(test_loop);
	ask_for_help(client);
	settle();
	turns = ev_iteration(test_loop) - before;
	close_client(client);
	settle();
	for (i = turns - 12; i < turns; i++) {
		client = greeted();
		asked = ask_for_help(client);
		turn((int)i);
		hear(client);
		assert_true(count_text(client, "\nOK\n") < asked);
		hear_all(client);
		expect_replies(client, asked);
		close_client(client);
		settle();
	}
}

/* Unread replies do not make the server's memory grow. */
static void test_output_is_bounded(void **state)
{
	struct client *client = greeted();

	(void)state;
	largest = 0;
	ask_for_help(client);
	fake_serve();
	flood(client, "help\n");
	assert_true(largest > ADMIN_OUTPUT_MAX / 2);
	assert_true(largest <= 4ul * ADMIN_OUTPUT_MAX);
}

/* ---- connections ---- */

static void refused(void)
{
	struct client *client = open_client();

	expect(client, "ERR limit text=\"*connections*\"\n");
	/* It gets to read why, whatever it says. */
	send(client->fd, "ping\n", 5, MSG_NOSIGNAL);
	fake_pass_time(1.5);
	expect_closed(client);
	assert_int_equal(client->length, 0);
	close_client(client);
}

static void test_limit_of_a_user(void **state)
{
	struct client *mine[ADMIN_UID_MAX];
	int i;

	(void)state;
	next_uid = 1000;
	for (i = 0; i < ADMIN_UID_MAX; i++)
		mine[i] = greeted();
	refused();
	ask(mine[0], "ping", "OK\n");
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
static void test_peer_cannot_be_told(void **state)
{
	struct client *first = NULL;
	int i;

	(void)state;
	peer_error = ENOBUFS;
	for (i = 0; i < ADMIN_UID_MAX; i++)
		first = greeted();
	assert_true(log_has("cannot tell who connects: "));
	refused();
	ask(first, "upgrade", "ERR denied *\n");
	ask(first, "add ram size=1M keep=/dev/shm", "ERR denied *arg=keep*\n");
	ask(first, "ping", "OK\n");
	peer_error = 0;
	greeted();
}

static void test_limit_of_users(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		next_uid = (uid_t)(1000 + i / ADMIN_UID_MAX);
		greeted();
	}
	next_uid = 2000;
	refused();
	/* Root is not kept out by them. */
	next_uid = 0;
	ask(greeted(), "ping", "OK\n");
}

static void test_limit_of_root(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < ADMIN_ROOT_MAX; i++)
		greeted();
	refused();
	next_uid = 1000;
	ask(greeted(), "ping", "OK\n");
}

/* Those that are refused and stay are bounded as well. */
static void test_refused_are_bounded(void **state)
{
	struct client *client;
	unsigned fds;
	int i;

	(void)state;
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

static void test_accept_fails(void **state)
{
	struct client *client = greeted(), *late = &clients[1];

	(void)state;
	accept_error = EMFILE;
	late->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(late->fd, (struct sockaddr *)&address,
				 address_length),
			 0);
	accepts = 0;
	fake_pass_time(0.5);
	/* It must not spin on a socket that stays readable. */
	assert_true(accepts >= 1 && accepts <= 2);
	assert_true(log_has("cannot accept"));
	ask(client, "ping", "OK\n");
	accept_error = 0;
	fake_pass_time(1.5);
	expect(late, "HELLO *\n");
	/* One that was gone already is nothing to wait for. */
	accept_error = ECONNABORTED;
	turn(2);
	accept_error = 0;
	greeted();
}

static void test_many_at_once(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 100; i++) {
		clients[i].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_int_equal(connect(clients[i].fd,
					 (struct sockaddr *)&address,
					 address_length),
				 0);
	}
	fake_serve();
	turn(20);
	for (i = 0; i < 100; i++)
		expect(&clients[i], "HELLO *\n");
}

/* ---- on-error ---- */

static void test_on_error(void **state)
{
	struct client *client = greeted(), *other = greeted();

	(void)state;
	/* An error before it does not count. */
	ask(client, "nonsense", "ERR unknown *\n");
	ask(client, "on-error stop", "OK\n");
	ask(client, "ping", "OK\n");
	ask(client, "@1 nonsense", "ERR @1 unknown *\n");
	ask(client, "@2 ping", "ERR @2 skipped *\n");
	ask(client, "@3 add null", "ERR @3 skipped *\n");
	ask(client, "@4 nonsense", "ERR @4 skipped *\n");
	assert_int_equal(fake_host.devices.count, 0);
	/* It is a matter of this connection. */
	ask(other, "nonsense", "ERR unknown *\n");
	ask(other, "ping", "OK\n");
}

static void test_on_error_continue(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "on-error stop", "OK\n");
	ask(client, "on-error continue", "OK\n");
	ask(client, "nonsense", "ERR unknown *\n");
	ask(client, "ping", "OK\n");
	/* A line that cannot be read is an error as well. */
	ask(client, "on-error stop", "OK\n");
	ask(client, "ping \"", "ERR syntax *\n");
	ask(client, "ping", "ERR skipped *\n");
}

/* Also one that comes late. */
static void test_on_error_of_a_late_one(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	fake.result[MESSAGE_START] = -EIO;
	say(client, "on-error stop\n@1 add null\n@2 ping\n");
	expect(client, "OK\n");
	fake_release(MESSAGE_START);
	expect(client, "ERR @1 io *\nERR @2 skipped *\n");
}

/* ---- quit ---- */

static void test_quit(void **state)
{
	struct client *client = greeted(), *other = greeted();
	unsigned fds = count_fds();

	(void)state;
	ask(client, "@q quit", "OK @q\n");
	expect_closed(client);
	close_client(client);
	/* What came before is answered, and what comes behind is not run. */
	client = greeted();
	say(client, "list\n@1 ping\nquit\nadd null\nping\n");
	expect(client, "OK seq=*\nOK @1\nOK\n");
	expect_closed(client);
	close_client(client);
	fake_serve();
	assert_int_equal(count_fds(), fds - 2);
	assert_int_equal(fake_host.devices.count, 0);
	ask(other, "quit now", "ERR arg * arg=now\n");
	/* An earlier mistake keeps nobody there. */
	ask(other, "on-error stop", "OK\n");
	ask(other, "nonsense", "ERR unknown *\n");
	ask(other, "@z quit", "OK @z\n");
	expect_closed(other);
}

/* Not before the one that is under way has been answered. */
static void test_quit_after_a_late_one(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	say(client, "@1 add null\n@2 quit\n");
	expect(client, "");
	fake_release(MESSAGE_START);
	expect(client, "OK @1 id=0 *\nOK @2\n");
	expect_closed(client);
	assert_int_equal(fake_host.devices.count, 1);
}

/* ---- what somebody may have meant ---- */

static void test_hints(void **state)
{
	static const char *const cases[][2] = {
		{ "lsit", "ERR unknown *did you mean 'list'*arg=lsit\n" },
		{ "ADD null", "ERR unknown *did you mean 'add'*arg=ADD\n" },
		{ "delete scratch", "ERR unknown *did you mean 'del'*\n" },
		{ "frobnicate", "ERR unknown text=\"there is no such command; "
				"'help' lists them\" *\n" },
		{ "help lst", "ERR unknown *did you mean 'list'*arg=lst\n" },
		{ "add rma size=1M",
		  "ERR unknown *did you mean 'ram'*arg=rma\n" },
		{ "help add nul", "ERR unknown *did you mean 'null'*\n" },
		{ "add null sise=1M",
		  "ERR unknown *did you mean 'size'* arg=sise\n" },
		{ "add null Queues=1",
		  "ERR unknown *did you mean 'queues'* arg=Queues\n" },
		{ "add ram size=1M fil=no",
		  "ERR unknown *no option fil; 'help add ram'*\n" },
		{ "set scratch error_rate=1",
		  "ERR unknown *did you mean 'error-rate'*arg=error_rate\n" },
		{ "set name=scratch error_rate=1",
		  "ERR unknown *did you mean 'error-rate'*arg=error_rate\n" },
		{ "set scratch size=1G", "ERR unknown *'resize *arg=size\n" },
		{ "set scratch colour=red",
		  "ERR unknown *set has no option colour; 'help set'*\n" },
		{ "set scrtach error-rate=1",
		  "ERR notfound *did you mean 'scratch'*arg=scrtach\n" },
		{ "show name=Scratch",
		  "ERR notfound *did you mean 'scratch'*arg=Scratch\n" },
		{ "del ublkb7", "ERR notfound text=\"there is no such device; "
				"'list' shows all\" arg=ublkb7\n" },
		{ "del 5", "ERR notfound text=\"there is no such device; "
			   "'list' shows all\" arg=5\n" },
		{ "resize scratch sze=1M",
		  "ERR unknown *did you mean 'size'*arg=sze\n" },
	};
	struct client *client = greeted();
	size_t i;

	(void)state;
	ask(client, "add null name=scratch", "OK id=0 *\n");
	ask(client, "add null id=7", "OK id=7 *\n");
	ask(client, "del 7", "OK id=7\n");
	for (i = 0; i < COUNT(cases); i++)
		ask(client, cases[i][0], cases[i][1]);
	ask(client, "list", "dev id=0 name=scratch *\nOK seq=*\n");
}

/* ---- commands ---- */

static void test_add(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "@a add ram size=1.5MiB name=scratch",
	    "OK @a id=0 dev=/dev/ublkb0 name=scratch queues=* depth=128 "
	    "size=1572864\n");
	fake_forget();
	/* It answers when the disk can be opened, not before. */
	fake.node_after = 1000;
	ask(client, "@b add null id=7", "");
	fake.node_after = 0;
	fake_pass_time(0.1);
	expect(client, "OK @b id=7 dev=/dev/ublkb7 *\n");
	ask(client, "add null queues=1", "OK id=1 * queues=1*\n");
}

/* What there is memory for, where that is not all of the disk. */
static void test_fits(void **state)
{
	struct client *client = greeted();

	(void)state;
	log_forget();
	test_file("proc/meminfo",
		  "MemTotal: 65536 kB\nMemAvailable: 10240 kB\n");
	ask(client, "add ram size=4M name=big", "OK id=0 * fits=2097152\n");
	assert_int_equal(log_count(
				 "device 0 (big): as things stand it can hold "
				 "2 MiB"),
			 1);
	ask(client, "add ram size=4M name=big",
	    "OK id=0 * fits=2097152 existing=yes\n");
	ask(client, "add ram size=2M", "OK id=1 * size=*\n");
	ask(client, "add null size=1P", "OK id=2 * size=*\n");
	assert_int_equal(log_count("as things stand"), 1);
}

static void test_mode(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add ram size=1M", "OK id=0 *\n");
	ask(client, "show 0",
	    "dev id=0 * mode=need-get-data *\nqueue *\nOK*\n");
	ask(client, "add null mode=user-copy", "OK id=1 *\n");
	ask(client, "show 1", "dev id=1 * mode=user-copy *\nqueue *\nOK*\n");
	ask(client, "add null fill=no mode=copy", "ERR arg * arg=mode\n");
	ask(client, "add null mode=quick", "ERR arg * arg=mode\n");
	assert_int_equal(fake_host.devices.count, 2);
}

static void test_batch(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add ram size=1M batch=yes", "OK id=0 *\n");
	ask(client, "show 0",
	    "dev id=0 * mode=user-copy batch=yes *\n"
	    "config text=\"add ram size=1M batch=yes\"\nqueue *\nOK*\n");
	ask(client, "add null mode=copy batch=yes", "OK id=1 *\n");
	ask(client, "show 1", "dev id=1 * mode=copy batch=yes *\nOK*\n");
	ask(client, "add null batch=no", "OK id=2 *\n");
	ask(client, "show 2", "dev id=2 * batch=no *\nOK*\n");
	ask(client, "add null batch=maybe", "ERR arg * arg=batch\n");
	ask(client, "add ram size=1M batch=yes mode=need-get-data",
	    "ERR arg *exclude*arg=batch\n");
	fake_host.devices.features = FAKE_FEATURES_OLD;
	ask(client, "add null batch=yes",
	    "ERR unsupported *batch=yes*arg=batch*\n");
	assert_int_equal(fake_host.devices.count, 3);
}

/* Another server's device: as it is, not as this one would make it. */
static void check_adopted(uint32_t id, const char *text, uint64_t flags,
			  const char *mode)
{
	struct message message = { .magic = MESSAGE_MAGIC, .id = id };
	struct failure failure;
	const struct device *device;

	message.info.dev_id = id;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 16;
	message.info.max_io_buf_bytes = 65536;
	message.info.flags = UBLK_F_USER_RECOVERY | flags;
	snprintf(message.text, sizeof(message.text), "%s", text);
	assert_int_equal(command_adopt(&fake_host, &message, NULL, 0, &failure),
			 mode ? 0 : -1);
	if (!mode) {
		assert_string_equal(failure.arg, "mode");
		return;
	}
	device = device_find(&fake_host.devices, id);
	assert_string_equal(io_mode_name(device->spec.mode), mode);
	assert_int_equal(device->spec.batch, (flags & UBLK_F_BATCH_IO) != 0);
}

/* One that cannot be opened here stays in sight until somebody deletes it. */
static void test_adopted_in_vain(void **state)
{
	struct message message = { .magic = MESSAGE_MAGIC, .id = 3 };
	struct failure failure;
	struct client *client = greeted();
	int ends[2], fds[1];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	fds[0] = ends[0]; /* no file, and no disk */
	message.info.dev_id = 3;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 16;
	message.info.max_io_buf_bytes = 65536;
	message.info.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_COPY;
	snprintf(message.text, sizeof(message.text),
		 "add file path=/nowhere error-rate=0.5");
	assert_int_equal(command_adopt(&fake_host, &message, fds, 1, &failure),
			 -1);
	assert_int_equal(fds[0], -1); /* kept for the next server */
	device_recover_all(&fake_host.devices);
	fake_serve();
	fake_expect("");
	ask(client, "list",
	    "dev id=3 * state=quiesced step=lost target=file *\nOK *\n");
	ask(client, "resize 3 size=1M", "ERR * *\n");
	ask(client, "set 3 error-rate=0.1", "OK*\n");
	ask(client, "del 3 force=yes", "OK*\n");
	ask(client, "list", "OK seq=*\n");
	close(ends[1]);
}

/*
 * A target that was open already has closed what it had: there is nothing to be
 * given to the next keeper, which would take nothing at all then.
 */
static void test_adopted_and_closed(void **state)
{
	struct message message = { .magic = MESSAGE_MAGIC, .id = 3 };
	struct failure failure;
	struct client *client = greeted();
	int fds[MESSAGE_MAX_FDS] = { memfd_create("ram", MFD_CLOEXEC) };

	(void)state;
	assert_int_equal(ftruncate(fds[0], 1 << 20), 0);
	message.info.dev_id = 3;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 16;
	message.info.max_io_buf_bytes = 65536;
	message.info.flags = UBLK_F_USER_RECOVERY | UBLK_F_AUTO_BUF_REG;
	snprintf(message.text, sizeof(message.text), "add ram size=1M");
	assert_int_equal(command_adopt(&fake_host, &message, fds, 1, &failure),
			 -1);
	assert_string_equal(failure.arg, "mode");
	assert_int_equal(fds[0], -1);
	assert_int_equal(
		target_hold(device_find(&fake_host.devices, 3)->spec.target,
			    fds),
		0);
	device_recover_all(&fake_host.devices);
	fake_serve();
	fake_expect("");
	ask(client, "del 3 force=yes", "OK*\n");
}

/* ---- a file that nobody has open ---- */

/* The keeper's table has such a device: it was made on that file. */
static void adopt_file(const char *options)
{
	struct message message = { .magic = MESSAGE_MAGIC, .id = 3 };
	struct failure failure;

	message.info.dev_id = 3;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 16;
	message.info.max_io_buf_bytes = 65536;
	message.info.state = UBLK_S_DEV_QUIESCED;
	message.info.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_COPY;
	snprintf(message.text, sizeof(message.text), "add file path=%s%s",
		 test_path("disk"), options);
	fake_host.devices.features = FAKE_FEATURES_NEW;
	fake.disk_size = 8192;
	/* Not even tried: that may take a while. */
	assert_int_equal(command_adopt(&fake_host, &message, NULL, 0, &failure),
			 0);
	assert_int_equal(fake.opened, 0);
	device_recover_all(&fake_host.devices);
}

static void make_file(void)
{
	char blocks[8193];

	memset(blocks, 'b', 8192);
	blocks[8192] = '\0';
	test_file("disk", blocks);
}

/* By the flags of `add`, and never made anew; what it has told is not lost. */
static void test_reopened(void **state)
{
	struct client *client = greeted();

	(void)state;
	make_file();
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
	ask(client, "show 3",
	    "dev id=3 * state=live step=live target=file size=8192 * flush-errors=5\n"
	    "*layer name=error *\nOK *\n");
	assert_false(count_text(client, " error="));
}

static void check_flags(const char *options, int flags)
{
	struct client *client = greeted();

	fake.opened = 0;
	adopt_file(options);
	fake_serve();
	assert_int_equal(fake.wish.flags, O_CLOEXEC | O_NOCTTY | flags);
	ask(client, "del 3 force=yes", "OK*\n");
}

static void test_reopened_as_before(void **state)
{
	(void)state;
	make_file();
	check_flags("", O_RDWR | O_EXCL);
	check_flags(" ro=yes", O_RDONLY | O_EXCL);
	check_flags(" ro=yes lock=no", O_RDONLY);
}

static void test_reopened_later(void **state)
{
	struct client *client = greeted();

	(void)state;
	adopt_file("");
	fake_serve();
	assert_int_equal(fake.opened, 1);
	ask(client, "list",
	    "dev id=3 * state=quiesced * error=\"cannot open */disk: No such "
	    "file or directory\" retry-in=1\nOK *\n");
	fake_pass_time(1.1);
	assert_int_equal(fake.opened, 2);
	ask(client, "list", "dev id=3 * retry-in=2\nOK *\n");
	make_file();
	fake_pass_time(2.1);
	fake_expect("ASK NOTE q0+ RECOVER open END_RECOVER");
	ask(client, "list", "dev id=3 * state=live *\nOK *\n");
	assert_int_equal(log_count("cannot be taken over"), 1);
}

/* Its target is here, but nothing to serve it with. */
static void test_lost_is_told(void **state)
{
	struct client *client = greeted();

	(void)state;
	check_adopted(3, "add null", UBLK_F_USER_COPY, "user-copy");
	fake.queue_error = -EPERM;
	device_recover_all(&fake_host.devices);
	ask(client, "list",
	    "dev id=3 * state=quiesced * error=\"no ring*Operation not "
	    "permitted\" retry-in=1 fill=yes\nOK *\n");
	fake.queue_error = 0;
	fake_pass_time(1.1);
	ask(client, "list",
	    "dev id=3 * state=live * batch=no fill=yes\nOK *\n");
}

/* The keeper knows which one it was. */
static void test_reopened_another(void **state)
{
	struct client *client = greeted();
	unsigned fds = count_fds();

	(void)state;
	make_file();
	fake.result[MESSAGE_NOTE] = -ESTALE;
	adopt_file("");
	fake_serve();
	fake_expect("ASK NOTE");
	ask(client, "list",
	    "dev id=3 * state=quiesced * error=\"another file lies*\" "
	    "retry-in=1\nOK *\n");
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_NOTE] = -EMFILE;
	fake_pass_time(1.1);
	ask(client, "list",
	    "dev id=3 * state=quiesced * error=\"the keeper cannot have*\" "
	    "retry-in=2\nOK *\n");
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_NOTE] = 0;
	fake_pass_time(2.1);
	ask(client, "list", "dev id=3 * state=live *\nOK *\n");
}

/* Who has locked it meanwhile may be writing to it. */
static void test_reopened_but_not_locked(void **state)
{
	struct client *client = greeted();
	unsigned fds = count_fds();

	(void)state;
	make_file();
	fake.result[MESSAGE_ASK] = -EBUSY;
	adopt_file("");
	fake_serve();
	fake_expect("ASK");
	assert_int_equal(fake.last[MESSAGE_ASK].number, HELPER_LOCK);
	assert_string_equal(fake.last[MESSAGE_ASK].text, "w");
	ask(client, "list",
	    "dev id=3 * state=quiesced * error=\"cannot lock */disk: mounted "
	    "on /mnt\" retry-in=1\nOK *\n");
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_ASK] = 0;
	fake_pass_time(1.1);
	fake_expect("ASK NOTE q0+ RECOVER open END_RECOVER");
	ask(client, "list", "dev id=3 * state=live *\nOK *\n");
}

/* The answer comes when the device is gone. */
static void test_deleted_while_locked(void **state)
{
	struct client *client = greeted();
	unsigned fds = count_fds();

	(void)state;
	make_file();
	fake.hold[MESSAGE_ASK] = 1;
	adopt_file(" ro=yes");
	fake_serve();
	fake_expect("ASK");
	assert_string_equal(fake.last[MESSAGE_ASK].text, "r");
	ask(client, "del 3 force=yes", "OK*\n");
	fake_forget();
	fake_release(MESSAGE_ASK);
	fake_serve();
	fake_expect("");
	assert_int_equal(count_fds(), fds);
}

/* What the keeper has once is not opened again. */
static void test_reopened_but_not_served(void **state)
{
	struct client *client = greeted();

	(void)state;
	/* It can be opened, and is no file. */
	assert_int_equal(mkdir(test_path("disk"), 0700), 0);
	adopt_file(" ro=yes");
	fake_serve();
	assert_int_equal(fake.opened, 1);
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
	ask(client, "list", "dev id=3 * state=quiesced * error=*\nOK *\n");
	fake_pass_time(1.1);
	assert_int_equal(fake.opened, 1);
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
	ask(client, "del 3 force=yes", "OK*\n");
}

/* A file server does not answer, and somebody loses patience. */
static void test_deleted_while_reopened(void **state)
{
	struct client *client = greeted();
	unsigned fds = count_fds();

	(void)state;
	make_file();
	fake.open_waits = 1;
	adopt_file("");
	fake_pass_time(100);
	assert_int_equal(fake.opened, 1);
	ask(client, "list", "dev id=3 * state=quiesced *\nOK *\n");
	ask(client, "del 3 force=yes", "OK*\n");
	fake.open_waits = 0;
	fake_forget();
	fake_serve();
	fake_expect("");
	assert_int_equal(count_fds(), fds);
}

/* It is opened once, however long that takes. */
static void test_set_before_reopened(void **state)
{
	struct client *client = greeted();

	(void)state;
	make_file();
	fake.open_waits = 1;
	adopt_file("");
	ask(client, "set 3 error-rate=0.1", "OK id=3\n");
	fake_pass_time(10);
	assert_int_equal(fake.opened, 1);
	ask(client, "list", "dev id=3 * state=quiesced *\nOK *\n");
	fake.open_waits = 0;
	fake_serve();
	ask(client, "show 3", "dev id=3 * state=live *name=error*OK *\n");
	assert_int_equal(fake.opened, 1);
}

/* Another command is at work on it when it is open: it is tried again then. */
static void test_set_while_reopened(void **state)
{
	struct client *client = greeted();

	(void)state;
	make_file();
	fake.open_waits = 1;
	adopt_file("");
	fake.hold[MESSAGE_NOTE] = 1;
	ask(client, "set 3 error-rate=0.1", "");
	fake.open_waits = 0;
	fake_serve();
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
	fake_release(MESSAGE_NOTE);
	fake_pass_time(0.1);
	expect(client, "OK id=3\n");
	assert_int_equal(fake.opened, 2);
	ask(client, "show 3", "dev id=3 * state=live *name=error*OK *\n");
}

/* An add that cannot be is answered once its file is free again. */
static void test_add_fails_after_opening(void **state)
{
	struct client *client = greeted();
	char line[600], blocks[8193];
	unsigned fds = count_fds();

	(void)state;
	memset(blocks, 'b', 8192);
	blocks[8192] = '\0';
	fake.close_waits = 1;
	test_file("disk", "not much");
	snprintf(line, sizeof(line), "add file path=%s size=1G",
		 test_path("disk"));
	ask(client, line, "");
	assert_int_equal(fake.closing, 1);
	fake_end_closing(0);
	fake_serve();
	expect(client, "ERR range *arg=size*\n");
	/* By what was found out when it was open already. */
	test_file("disk", blocks);
	snprintf(line, sizeof(line),
		 "add file path=%s mode=need-get-data max-io=1M",
		 test_path("disk"));
	ask(client, line, "");
	assert_int_equal(fake.closing, 1);
	fake_end_closing(-ETIMEDOUT);
	fake_serve();
	expect(client, "ERR range *arg=max-io*\n");
	/* One that is not there holds nothing. */
	ask(client, "add file path=/nowhere/at-all", "ERR notfound *\n");
	assert_int_equal(count_fds(), fds);
}

/* A file that was made for a device stays if that comes to be, and only then. */
static void test_new_file(void **state)
{
	struct client *client = greeted();
	char line[600];

	(void)state;
	fake.is_new = 1;
	test_file("disk", "not much");
	snprintf(line, sizeof(line), "add file path=%s id=3 size=1G",
		 test_path("disk"));
	ask(client, line, "ERR range *arg=size*\n");
	assert_int_equal(access(test_path("disk"), F_OK), -1);
	test_file("disk", "");
	assert_int_equal(truncate(test_path("disk"), 1 << 30), 0);
	ask(client, line, "OK id=3 *\n");
	ask(client, "del 3", "OK *\n");
	assert_int_equal(access(test_path("disk"), F_OK), 0);
}

/* One ublkd's table of devices has an end. */
static void test_too_many_devices(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake_host.devices.count = DEVICES_MAX - 1;
	ask(client, "add null id=7", "OK id=7 *\n");
	ask(client, "add null id=8", "ERR limit *\n");
	ask(client, "del 7", "OK *\n");
	assert_int_equal(fake_host.devices.count, DEVICES_MAX - 1);
	fake_host.devices.count = 0;
}

/* The next server reads the same words, whatever is in them. */
static void test_words_are_noted(void **state)
{
	const char *noted = fake.last[MESSAGE_NOTE].text;
	struct client *client = greeted();
	struct syntax_line line;
	char text[600];
	const char *why;

	(void)state;
	test_file("a disk", "");
	assert_int_equal(truncate(test_path("a disk"), 8192), 0);
	snprintf(text, sizeof(text), "add file 'path=%s' id=3",
		 test_path("a disk"));
	ask(client, text, "OK id=3 *\n");
	assert_int_equal(syntax_split(&line, noted, strlen(noted), &why), 0);
	assert_int_equal(line.count, 4);
	assert_string_equal(line.words[2] + 5, test_path("a disk"));
}

/* The lock of an open file is a helper's to get; others are served meanwhile. */
static void test_add_waits_for_lock(void **state)
{
	struct client *client = greeted(), *other = greeted();
	char line[600], blocks[8193];
	unsigned fds = count_fds();

	(void)state;
	memset(blocks, 'b', 8192);
	blocks[8192] = '\0';
	test_file("disk", blocks);
	snprintf(line, sizeof(line), "add file path=%s id=3",
		 test_path("disk"));
	fake.hold[MESSAGE_ASK] = 1;
	ask(client, line, "");
	ask(other, "list", "OK seq=*\n");
	assert_int_equal(fake.last[MESSAGE_ASK].number, HELPER_LOCK);
	assert_string_equal(fake.last[MESSAGE_ASK].text, "w");
	fake.result[MESSAGE_ASK] = -EBUSY;
	fake_release(MESSAGE_ASK);
	expect(client,
	       "ERR busy text=\"*cannot be locked: mounted on /mnt*\"*\n");
	fake.result[MESSAGE_ASK] = -ETIMEDOUT;
	ask(client, line,
	    "ERR timeout text=\"*disk cannot be locked: its file server does "
	    "not answer*\"*\n");
	assert_int_equal(fake_host.devices.count, 0);
	assert_int_equal(fake.count[MESSAGE_ADD], 0);
	assert_int_equal(count_fds(), fds);
	fake.result[MESSAGE_ASK] = 0;
	ask(client, line, "OK id=3 *\n");
	ask(client, "del 3", "OK *\n");
	snprintf(line, sizeof(line), "add file path=%s id=3 ro=yes",
		 test_path("disk"));
	ask(client, line, "OK id=3 *\n");
	assert_string_equal(fake.last[MESSAGE_ASK].text, "r");
	ask(client, "del 3", "OK *\n");
	fake.count[MESSAGE_ASK] = 0;
	snprintf(line, sizeof(line), "add file path=%s lock=no",
		 test_path("disk"));
	ask(client, line, "OK *\n");
	assert_int_equal(fake.count[MESSAGE_ASK], 0);
}

/* The world has changed when the lock comes. */
static void test_lock_comes_too_late(void **state)
{
	struct client *client = greeted(), *other = greeted();
	char line[600], blocks[8193];
	unsigned fds = count_fds();

	(void)state;
	memset(blocks, 'b', 8192);
	blocks[8192] = '\0';
	test_file("disk", blocks);
	snprintf(line, sizeof(line), "add file path=%s name=x",
		 test_path("disk"));
	fake.hold[MESSAGE_ASK] = 1;
	ask(client, line, "");
	ask(other, "add null name=x", "OK *\n");
	fake_release(MESSAGE_ASK);
	expect(client, "ERR exists *\n");
	ask(other, "del x", "OK *\n");
	assert_int_equal(count_fds(), fds);
	/* Nobody will answer any more. */
	fake.hold[MESSAGE_ASK] = 1;
	ask(client, line, "");
	fake_end_keeper();
	command_keeper_gone(&fake_host);
	fake_serve();
	expect(client, "ERR state text=\"*keeper*\"*\n");
}

/*
 * Of two that make the same file one gets the lock, and has data in it when the
 * other one is refused.
 */
static void test_new_file_of_another(void **state)
{
	struct client *client = greeted();
	char line[600];

	(void)state;
	make_file();
	fake.is_new = 1;
	fake.result[MESSAGE_ASK] = -EBUSY;
	snprintf(line, sizeof(line), "add file path=%s size=8K create=yes",
		 test_path("disk"));
	ask(client, line, "ERR busy *\n");
	assert_int_equal(access(test_path("disk"), F_OK), 0);
	/* With the lock nobody else has it. */
	fake.result[MESSAGE_ASK] = 0;
	snprintf(line, sizeof(line), "add file path=%s size=1G create=yes",
		 test_path("disk"));
	ask(client, line, "ERR range *\n");
	assert_int_equal(access(test_path("disk"), F_OK), -1);
}

/* Each answer goes to its question, and the server does not leave before it. */
static void test_two_locks(void **state)
{
	struct client *one = greeted(), *other = greeted();
	char line[600], blocks[8193];

	(void)state;
	memset(blocks, 'b', 8192);
	blocks[8192] = '\0';
	test_file("disk", blocks);
	fake.hold[MESSAGE_ASK] = 1;
	snprintf(line, sizeof(line), "add file path=%s id=1",
		 test_path("disk"));
	ask(one, line, "");
	snprintf(line, sizeof(line), "add file path=%s id=2",
		 test_path("disk"));
	ask(other, line, "");
	assert_int_equal(workers_drain(), 0);
	fake_release(MESSAGE_ASK);
	expect(one, "OK id=1 *\n");
	expect(other, "OK id=2 *\n");
	assert_int_equal(workers_drain(), 1);
	workers_resume();
}

/* A helper tells who has a disk; what is busy in other ways is told as that. */
static void test_add_of_a_busy_disk(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.disk_error = -EBUSY;
	fake.result[MESSAGE_ASK] = -EBUSY;
	ask(client, "add file path=/dev/sdz",
	    "ERR busy text=\"cannot open /dev/sdz: mounted on /mnt\"*\n");
	assert_int_equal(fake.last[MESSAGE_ASK].number, HELPER_NODE_USER);
	assert_string_equal(fake.last[MESSAGE_ASK].text, "/dev/sdz");
	fake.result[MESSAGE_ASK] = -ETIMEDOUT;
	ask(client, "add file path=/dev/sdz",
	    "ERR busy text=\"*somebody has it for himself\"*\n");
	fake.count[MESSAGE_ASK] = 0;
	fake.disk_error = -EACCES;
	ask(client, "add file path=/dev/sdz", "ERR denied *\n");
	assert_int_equal(fake.count[MESSAGE_ASK], 0);
}

/* The end of a file that makes no whole block is not passed over in silence. */
static void test_unserved(void **state)
{
	struct client *client = greeted();
	char blocks[8293], line[600];

	(void)state;
	memset(blocks, 'b', 8292);
	blocks[8292] = '\0';
	test_file("disk", blocks);
	snprintf(line, sizeof(line), "add file lock=no id=1 path=%s",
		 test_path("disk"));
	ask(client, line, "OK id=1 * size=8192 unserved=100\n");
	assert_true(log_has("ublkb1: the last 100 bytes of its file are not "
			    "served: they are no whole block of 512"));
	ask(client, line, "OK id=1 * size=8192 unserved=100 existing=yes\n");
	/* Whoever says how much is served knows. */
	snprintf(line, sizeof(line), "add file lock=no id=2 path=%s size=4K",
		 test_path("disk"));
	ask(client, line, "OK id=2 * size=4096\n");
	ask(client, "resize 2 size=auto", "OK id=2 size=8192 unserved=100\n");
	assert_true(log_has("ublkb2: the last 100 bytes"));
	log_forget();
	ask(client, "resize 2 size=2K", "OK id=2 size=2048\n");
	assert_false(log_has("are not served"));
}

static void test_adopted_mode(void **state)
{
	(void)state;
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
	device_recover_all(&fake_host.devices);
	fake_serve();
	assert_int_equal(fake_host.devices.count, 7);
}

static void test_existing(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add ram id=4 size=1M", "OK id=4 dev=/dev/ublkb4 *\n");
	fake_forget();
	ask(client, "@x  add   'ram' id=4\tsize=\"1M\"",
	    "OK @x id=4 dev=/dev/ublkb4 * existing=yes\n");
	ask(client, "add ram id=4 size=2M", "ERR exists *\n");
	ask(client, "add null id=4", "ERR exists *\n");
	ask(client, "add null name=n", "OK id=0 *\n");
	ask(client, "add null name=n", "OK id=0 * existing=yes\n");
	ask(client, "add ram size=1M name=n", "ERR exists *\n");
	assert_int_equal(fake_host.devices.count, 2);
	/* Without an id or a name of its own it is another device. */
	ask(client, "add ram size=1M", "OK id=1 *\n");
	ask(client, "add ram size=1M", "OK id=2 *\n");
}

/* The same line while the first is still under way. */
static void test_existing_too_early(void **state)
{
	struct client *client = greeted(), *other = greeted();

	(void)state;
	fake.hold[MESSAGE_START] = 1;
	ask(client, "add null id=4", "");
	ask(other, "add null id=4", "ERR busy *\n");
	ask(other, "add ram size=1M id=4", "ERR exists *\n");
	fake_release(MESSAGE_START);
	expect(client, "OK id=4 *\n");
	ask(other, "add null id=4", "OK id=4 * existing=yes\n");
}

static void test_add_fails(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.result[MESSAGE_FEATURES] = -ENOENT;
	ask(client, "@a add null",
	    "ERR @a unsupported text=\"*modprobe ublk_drv*\" errno=ENOENT\n");
	fake.result[MESSAGE_FEATURES] = -EACCES;
	ask(client, "add null", "ERR denied text=\"*\" errno=EACCES\n");
	fake.result[MESSAGE_FEATURES] = 0;
	fake.result[MESSAGE_ADD] = -EEXIST;
	ask(client, "add null id=3",
	    "ERR exists text=\"*\" arg=id errno=EEXIST\n");
	fake.result[MESSAGE_ADD] = 0;
	ask(client, "add null id=3", "OK id=3 *\n");
}

static void test_list(void **state)
{
	struct client *client = greeted();
	char *at;
	int i;

	(void)state;
	ask(client, "list", "OK seq=0\n");
	for (i = 0; i < 40; i++) {
		char text[32];

		snprintf(text, sizeof(text), "add null id=%d", (i * 7) % 40);
		ask(client, text, "OK id=* dev=/dev/ublkb*\n");
	}
	say(client, "@l list\n@p ping\n");
	hear_all(client);
	for (i = 0, at = client->text; i < 40; i++) {
		char text[64];

		snprintf(text, sizeof(text), "dev id=%d name=ublkb%d ", i, i);
		assert_memory_equal(at, text, strlen(text));
		at = strchr(at, '\n') + 1;
	}
	assert_memory_equal(at, "OK @l seq=", 10);
	assert_string_equal(strchr(at, '\n') + 1, "OK @p\n");
}

/* Devices come and go between the pieces of a long listing. */
static void test_list_of_changing_set(void **state)
{
	struct client *client = greeted();
	struct failure failure;
	struct device *device;
	char text[32];
	int i;

	(void)state;
	for (i = 0; i < 60; i++) {
		snprintf(text, sizeof(text), "add null id=%d", i);
		ask(client, text, "OK *\n");
	}
	send(client->fd, "list\n", 5, MSG_NOSIGNAL);
	turn(3);
	hear(client);
	i = (int)count_text(client, "dev id=");
	assert_true(i > 0 && i < 60);
	/* The one that would be next. */
	device = device_find(&fake_host.devices, (uint32_t)i);
	assert_int_equal(device_delete(device, 1, NULL, NULL, &failure), 0);
	hear_all(client);
	assert_int_equal(count_text(client, "OK seq="), 1);
	assert_true(count_text(client, "dev id=") >= 59);
	for (i = 0; i < 60; i++) {
		snprintf(text, sizeof(text), "dev id=%d ", i);
		assert_true(count_text(client, text) <= 1);
	}
}

static void test_show(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add ram size=1M name=n id=5 queues=2 ro=yes depth=64",
	    "OK id=5 *\n");
	ask(client, "show 5",
	    "dev id=5 name=n state=live step=live target=ram size=1048576 "
	    "dev=/dev/ublkb5 ro=yes queues=2 depth=64 *used=0*\n"
	    "config text=\"add ram size=1M name=n id=5 queues=2 ro=yes "
	    "depth=64\"\nqueue id=0 *\nqueue id=1 *\nOK seq=*\n");
	ask(client, "show n", "dev id=5 *\nOK seq=*\n");
	ask(client, "show name=n", "dev id=5 *\nOK seq=*\n");
	ask(client, "show id=5", "dev id=5 *\nOK seq=*\n");
	ask(client, "show ublkb5", "dev id=5 *\nOK seq=*\n");
	ask(client, "show /dev/ublkb5", "dev id=5 *\nOK seq=*\n");
}

/* A device that has no number yet cannot be named. */
static void test_show_nobody(void **state)
{
	struct client *client = greeted(), *other = greeted();

	(void)state;
	fake.hold[MESSAGE_ADD] = 1;
	ask(other, "add null", "");
	ask(client, "list", "OK seq=*\n");
	ask(client, "show ''", "ERR notfound *\n");
	ask(client, "del ''", "ERR notfound *\n");
	ask(client, "show /dev/", "ERR notfound *\n");
}

static void test_many_queues(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.max_queues = 100;
	ask(client, "add null queues=100", "OK id=0 * queues=100*\n");
	say(client, "show 0\nping\n");
	hear_all(client);
	assert_int_equal(count_text(client, "queue id="), 100);
	assert_int_equal(count_text(client, "config text="), 1);
	assert_int_equal(count_text(client, "OK"), 2);
}

/* Faults are changed all or none, and the add line says what they are. */
static void test_set(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add null name=n size=1M error-every=3 ro=yes", "OK *\n");
	ask(client, "show n",
	    "dev *\nconfig text=\"add null name=n size=1M error-every=3 "
	    "ro=yes\"\nlayer name=error failed=0\nqueue *\nOK *\n");
	ask(client, "set n error-every=5 delay-time=2ms delay-op=read,write",
	    "OK id=0\n");
	assert_string_equal(fake.last[MESSAGE_NOTE].text,
			    "add null name=n size=1M ro=yes error-every=5 "
			    "delay-time=2ms delay-op=read,write");
	ask(client, "show n",
	    "dev *\nconfig text=\"add null name=n size=1M ro=yes error-every=5 "
	    "delay-time=2ms delay-op=read,write\"\nlayer name=error *\n"
	    "layer name=delay delayed=0 waiting=0\nqueue *\nOK *\n");
	/* A device is what its line says: the old one is another command. */
	ask(client, "add null name=n size=1M error-every=3 ro=yes",
	    "ERR exists *\n");
	ask(client, "set id=0 error-every=0 delay-time=0ms delay-op=all",
	    "OK id=0\n");
	ask(client, "show n",
	    "dev *\nconfig text=\"add null name=n size=1M ro=yes\"\n*OK *\n");
}

/* Without values it tells what there is to be set, and changes nothing. */
static void test_set_shows(void **state)
{
	struct client *client = greeted();
	int i;

	(void)state;
	ask(client, "add null name=n error-rate=1% delay-op=read,write",
	    "OK *\n");
	say(client, "@s set n\n");
	hear(client);
	for (i = 0; i < LAYER_OPTIONS; i++) {
		char text[64];

		snprintf(text, sizeof(text),
			 "option name=%s value=", layer_options[i].name);
		assert_int_equal(count_text(client, text), 1);
	}
	assert_int_equal(count_text(client, "\n"), LAYER_OPTIONS + 1);
	assert_int_equal(count_text(client, "name=error-rate value=1% "), 1);
	assert_int_equal(count_text(client, "name=delay-op value=read,write "),
			 1);
	assert_int_equal(count_text(client, "name=limit-iops value=0 "), 1);
	assert_int_equal(count_text(client, "\nOK @s id=0\n"), 1);
	forget(client);
	ask(client, "set n error-rate=0.25", "OK id=0\n");
	ask(client, "set id=0", "option name=error-rate value=0.25 *OK id=0\n");
	assert_int_equal(fake.count[MESSAGE_NOTE], 2);
}

static void test_set_mistakes(void **state)
{
	static const char *const wrong[][2] = {
		{ "set", "ERR arg *\n" },
		{ "set 9 error-every=1", "ERR notfound *\n" },
		{ "set error-every=1", "ERR arg *\n" },
		{ "set 0 1 error-every=1", "ERR arg *\n" },
		{ "set 0 error-every=1 size=2M", "ERR unknown * arg=size*\n" },
		{ "set 0 error-every=1 error-rate=2",
		  "ERR range * arg=error-rate*\n" },
		{ "set 0 error-every=1 error-every=2", "ERR arg *twice*\n" },
		{ "set 0 error-every=1 error-op=none",
		  "ERR arg * arg=error-op*\n" },
		{ "set 0 error-every=1 delay-time=1s delay-max=1ms",
		  "ERR range * arg=delay-max*\n" },
	};
	struct client *client = greeted();
	unsigned i;

	(void)state;
	ask(client, "add null delay-time=5ms", "OK id=0 *\n");
	for (i = 0; i < COUNT(wrong); i++) {
		ask(client, wrong[i][0], wrong[i][1]);
		assert_int_equal(fake.count[MESSAGE_NOTE], 1);
	}
	/* With the value that it has. */
	ask(client, "set 0 delay-max=1ms", "ERR range * arg=delay-max*\n");
	ask(client, "show 0",
	    "dev *\nconfig text=\"add null delay-time=5ms\"*");
	ask(client, "add null error-every=-1", "ERR range *\n");
	ask(client, "add null delay-time=2ms delay-max=1ms", "ERR range *\n");
	assert_int_equal(fake_host.devices.count, 1);
}

/* OK is said when the keeper has it, and nothing has changed if it has not. */
static void test_set_is_noted(void **state)
{
	struct client *client = greeted(), *other = greeted();

	(void)state;
	ask(client, "add null", "OK id=0 *\n");
	layer_changes = 0;
	fake.hold[MESSAGE_NOTE] = 1;
	ask(client, "set 0 error-every=1", "");
	ask(other, "set 0 error-every=2", "ERR busy *\n");
	ask(other, "add null id=0", "ERR exists *\n");
	assert_int_equal(layer_changes, 0);
	fake_release(MESSAGE_NOTE);
	expect(client, "OK id=0\n");
	assert_int_equal(layer_changes, 1);
	fake.result[MESSAGE_NOTE] = -ENOMEM;
	ask(client, "set 0 error-every=2", "ERR limit *errno=ENOMEM*\n");
	ask(client, "show 0", "dev *\nconfig text=\"add null error-every=1\"*");
	fake.result[MESSAGE_NOTE] = 0;
	fake.hold[MESSAGE_NOTE] = 1;
	ask(client, "set 0 error-every=3", "");
	fake_end_keeper();
	command_keeper_gone(&fake_host);
	fake_serve();
	expect(client, "ERR state text=\"*keeper*\"*\n");
	ask(client, "show 0", "dev *\nconfig text=\"add null error-every=1\"*");
	assert_int_equal(layer_changes, 1);
}

/* ---- upgrade ---- */

/* Users who would see errors are asked for first; the rest is the keeper's. */
static void test_upgrade(void **state)
{
	struct client *client = greeted(), *other = greeted();
	struct failure failure;

	(void)state;
	ask(client, "add null recovery=fail", "OK id=0 *\n");
	ask(client, "upgrade", "ERR busy *device 0 *recovery*\n");
	assert_int_equal(fake.count[MESSAGE_UPGRADE], 0);
	ask(client, "upgrade force=yes program=/new", "");
	assert_int_equal(fake.count[MESSAGE_UPGRADE], 1);
	assert_string_equal(fake.last[MESSAGE_UPGRADE].text, "/new");
	ask(other, "add null", "ERR busy *upgrade*\n");
	ask(other, "list", "dev id=0 *\nOK *\n");
	failure_set(&failure, SYMBOL_ARG, 0, "program", "it is none");
	command_answer_upgraded(&fake_host, &failure);
	fake_serve();
	expect(client, "ERR arg *it is none*\n");
	ask(client, "del 0", "OK *\n");
	ask(client, "add null", "OK *\n");
	ask(client, "upgrade", "");
	assert_string_equal(fake.last[MESSAGE_UPGRADE].text, "");
	command_answer_upgraded(&fake_host, NULL);
	fake_serve();
	expect(client, "OK\n");
}

/* The keeper is the new program by then, which does not come. */
static void test_upgrade_is_late(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add null", "OK *\n");
	ask(client, "upgrade", "");
	fake_end_keeper();
	command_keeper_gone(&fake_host);
	fake_serve();
	expect(client, "");
	fake_pass_time(60);
	expect(client, "ERR state *not taken over*\n");
}

/* The add line stays one that can be read again. */
static void test_set_too_long(void **state)
{
	struct client *client = greeted();
	char text[SYNTAX_LINE_MAX + 1];

	(void)state;
	snprintf(text, sizeof(text), "add null error-rate=0.1 size=1M id=");
	while (strlen(text) < SYNTAX_LINE_MAX - 3)
		add_text(text, sizeof(text), "0");
	add_text(text, sizeof(text), "7");
	ask(client, text, "OK id=7 *\n");
	ask(client, "set 7 error-rate=0.2", "OK id=7\n");
	ask(client, "set 7 error-every=2", "ERR limit *4096 bytes*\n");
	ask(client, "set 7 error-rate=0 error-every=2", "OK id=7\n");
}

/* Sizes as they are typed, and what the add line says then. */
static void test_resize(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add null name=n limit-iops=5", "OK id=0 *\n");
	ask(client, "resize n size=2M", "OK id=0 size=2097152\n");
	assert_int_equal(fake.last[MESSAGE_RESIZE].number, 4096);
	assert_string_equal(fake.last[MESSAGE_NOTE].text,
			    "add null name=n limit-iops=5 size=2M");
	ask(client, "show n",
	    "dev * size=2097152 *\nconfig text=\"add null name=n limit-iops=5 "
	    "size=2M\"\nlayer name=limit limited=0 waiting=0\nqueue *\nOK *\n");
	ask(client, "resize id=0 size=1K", "OK id=0 size=1024\n");
	ask(client, "resize name=n size=3584", "OK id=0 size=3584\n");
	ask(client, "set n limit-iops=0", "OK id=0\n");
	ask(client, "add null name=n size=3584", "OK * existing=yes\n");
	ask(client, "add null name=n", "ERR exists *\n");
}

/* Memory is asked for as at an add, and is there in full afterwards. */
static void test_resize_ram(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add ram size=1M", "OK id=0 *\n");
	ask(client, "resize 0 size=64M", "OK id=0 size=67108864\n");
	ask(client, "resize 0 size=4E",
	    "ERR limit *overcommit=yes*arg=size*\n");
	ask(client, "resize 0 size=4K", "OK id=0 size=4096\n");
	ask(client, "show 0", "dev * size=4096 * used=0*");
	ask(client, "add ram size=1M overcommit=yes", "OK id=1 *\n");
	ask(client, "resize 1 size=4E", "ERR limit *cannot have*arg=size*\n");
	assert_int_equal(fake.count[MESSAGE_RESIZE], 2);
}

static void test_resize_mistakes(void **state)
{
	static const char *const wrong[][2] = {
		{ "resize", "ERR arg *size= is missing*\n" },
		{ "resize 0", "ERR arg *size= is missing*\n" },
		{ "resize 9 size=1M", "ERR notfound *\n" },
		{ "resize size=1M", "ERR arg *name one device*\n" },
		{ "resize 0 size=", "ERR arg *auto or a size*arg=size*\n" },
		{ "resize 0 size=automatic",
		  "ERR arg *auto or a size*arg=size*\n" },
		{ "resize 0 size=0", "ERR range *arg=size*\n" },
		{ "resize 0 size=8E", "ERR range *arg=size*\n" },
		{ "resize 0 size=1023", "ERR range *multiple*arg=size*\n" },
		{ "resize 0 size=auto", "ERR arg *size=auto*arg=size*\n" },
	};
	struct client *client = greeted();
	unsigned i;

	(void)state;
	ask(client, "add null size=1M", "OK id=0 *\n");
	for (i = 0; i < COUNT(wrong); i++)
		ask(client, wrong[i][0], wrong[i][1]);
	assert_int_equal(fake.count[MESSAGE_RESIZE], 0);
	fake_host.devices.features = FAKE_FEATURES_OLD;
	ask(client, "resize 0 size=2M", "ERR unsupported *6.16*\n");
	ask(client, "add null partscan=no",
	    "ERR unsupported *partscan=no*arg=partscan*\n");
	ask(client, "list", "dev * size=1048576 *\nOK *\n");
	assert_int_equal(fake.count[MESSAGE_NOTE], 1);
}

static void test_del(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add null", "OK id=0 *\n");
	ask(client, "add null name=n", "OK id=1 *\n");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	say(client, "@d del 0\n");
	fake_pass_time(1.5);
	expect(client, "ERR @d busy text=\"*mounted on /mnt*\" errno=EBUSY\n");
	ask(client, "list", "dev id=0 * state=live *\ndev id=1 *\nOK *\n");
	ask(client, "@f del 0 force=yes", "OK @f id=0\n");
	fake.result[MESSAGE_BUSY] = 0;
	ask(client, "del n", "OK id=1\n");
	ask(client, "list", "OK seq=*\n");
	ask(client, "del 1", "ERR notfound *\n");
}

static void test_features(void **state)
{
	struct client *one = greeted(), *two = greeted(), *three = greeted();

	(void)state;
	ask(one, "features",
	    "feature name=* have=* required=*\n*OK bits=0x1*\n");
	fake.features = 0x1fe;
	fake.hold[MESSAGE_FEATURES] = 1;
	ask(one, "@1 features", "");
	ask(two, "@2 features", "");
	close_client(two);
	ask(three, "@3 features", "");
	fake_release(MESSAGE_FEATURES);
	expect(one, "*feature name=user-copy have=yes required=yes\n*"
		    "OK @1 bits=0x1fe*\n");
	expect(three, "*OK @3 bits=0x1fe*\n");
	fake.result[MESSAGE_FEATURES] = -ENOENT;
	ask(one, "features", "ERR unsupported text=\"*modprobe*\" *\n");
}

/* Every bit has a name, up to the newest that is known; others are told of. */
static void test_every_feature(void **state)
{
	struct client *client = greeted();

	(void)state;
	fake.features = 0x1fffff; /* Linux 7.3 */
	say(client, "features\n");
	hear(client);
	assert_int_equal(count_text(client, "feature name="), 21);
	assert_int_equal(count_text(client, " have=yes "), 21);
	assert_int_equal(count_text(client, "unknown"), 0);
	assert_int_equal(count_text(client, "\nOK bits=0x1fffff\n"), 1);
	forget(client);
	fake.features |= 5ULL << 40 | 1ULL << 21;
	ask(client, "features",
	    "*name=io-desc-size have=yes *OK bits=0x500003fffff "
	    "unknown=0x50000200000\n");
	fake.features = 0;
	say(client, "features\n");
	hear(client);
	assert_int_equal(count_text(client, " have=no "), 21);
	assert_int_equal(count_text(client, "OK bits=0x0\n"), 1);
}

/* Every line is either a frame or data, and each word has its place. */
static void check_help(struct client *client, const char *line)
{
	const char *at;

	say(client, line);
	say(client, "\n");
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

static void test_help(void **state)
{
	const struct command *command;
	struct client *client = greeted();
	char text[80];
	int i;

	(void)state;
	check_help(client, "help");
	for (command = command_table; command->verb; command++) {
		snprintf(text, sizeof(text), "command name=%s ", command->verb);
		assert_int_equal(count_text(client, text), 1);
	}
	forget(client);
	for (command = command_table; command->verb; command++) {
		snprintf(text, sizeof(text), "help %s", command->verb);
		check_help(client, text);
		snprintf(text, sizeof(text), "command name=%s ", command->verb);
		assert_int_equal(count_text(client, text), 1);
		forget(client);
	}
	for (i = 0; target_table[i]; i++) {
		snprintf(text, sizeof(text), "help add %s",
			 target_table[i]->name);
		check_help(client, text);
		assert_true(count_text(client, "option name=") >= 7);
		forget(client);
	}
	check_help(client, "targets");
	assert_int_equal(count_text(client, "target name="), 3);
	forget(client);
	ask(client, "version", "OK version=* proto=1 *\n");
}

/* ---- the end ---- */

static void test_shutdown(void **state)
{
	struct client *client = greeted(), *other = greeted();

	(void)state;
	ask(client, "add null", "OK *\n");
	ask(client, "add null", "OK *\n");
	fake.hold[MESSAGE_STOP] = 1;
	fake_forget();
	ask(client, "@s shutdown", "");
	assert_non_null(strstr(fake_trace(), "SHUTDOWN"));
	ask(other, "add null", "ERR state *\n");
	ask(other, "list",
	    "dev id=0 * state=deleting *\n"
	    "dev id=1 * state=deleting *\nOK *\n");
	ask(other, "shutdown", "ERR state *\n");
	fake_release(MESSAGE_STOP);
	expect(client, "OK @s\n");
	assert_int_equal(fake_host.devices.count, 0);
}

static void test_shutdown_of_nothing(void **state)
{
	(void)state;
	ask(greeted(), "shutdown", "OK\n");
	assert_int_equal(fake.count[MESSAGE_SHUTDOWN], 1);
}

/* In use: nothing at all is deleted. */
static void test_shutdown_while_busy(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add null", "OK *\n");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	fake.use_lasts = 1;
	ask(client, "shutdown",
	    "busy id=0 *\nERR busy text=\"devices in use: 1; *\"\n");
	fake.use_lasts = 0;
	fake.result[MESSAGE_BUSY] = 0;
	ask(client, "add null", "OK *\n");
	fake.result[MESSAGE_BUSY] = -EBUSY;
	say(client, "shutdown\n");
	fake_pass_time(2);
	expect(client, "busy id=0 name=ublkb0 text=\"*\"\n"
		       "busy id=1 name=ublkb1 text=\"*\"\n"
		       "ERR busy text=\"devices in use: 2; *\"\n");
	assert_int_equal(fake.count[MESSAGE_SHUTDOWN], 0);
	assert_int_equal(fake.count[MESSAGE_STOP], 0);
	ask(client, "list",
	    "dev id=0 * state=live *\ndev id=1 * state=live *\n"
	    "OK *\n");
	ask(client, "shutdown force=yes timeout=7", "OK\n");
	assert_int_equal(fake.last[MESSAGE_SHUTDOWN].number, 7);
	assert_int_equal(fake_host.devices.count, 0);
}

/* Without the keeper: what reads is answered, what changes is refused. */
static void test_keeper_gone(void **state)
{
	struct client *client = greeted(), *adding = greeted(),
		      *asking = greeted();

	(void)state;
	ask(client, "add null", "OK id=0 *\n");
	fake.hold[MESSAGE_ADD] = fake.hold[MESSAGE_FEATURES] = 1;
	ask(adding, "@a add null id=1", "");
	ask(asking, "@f features", "");
	fake_end_keeper();
	command_keeper_gone(&fake_host);
	fake_serve();
	expect(adding, "ERR @a state text=\"*keeper*\"*\n");
	expect(asking, "ERR @f *\n");
	ask(client, "list", "dev id=0 *\nOK seq=*\n");
	ask(client, "ping", "OK\n");
	ask(client, "add null", "ERR state text=\"*keeper*\"*\n");
	ask(client, "del 0", "ERR state text=\"*keeper*\"*\n");
	ask(client, "del 0 force=yes", "ERR state text=\"*keeper*\"*\n");
	ask(client, "shutdown", "ERR state text=\"*keeper*\"*\n");
	ask(client, "list", "dev id=0 * state=live *\nOK seq=*\n");
}

static void test_keeper_gone_in_shutdown(void **state)
{
	struct client *client = greeted();

	(void)state;
	ask(client, "add null", "OK id=0 *\n");
	fake.hold[MESSAGE_STOP] = 1;
	ask(client, "@s shutdown force=yes", "");
	fake_end_keeper();
	command_keeper_gone(&fake_host);
	fake_serve();
	expect(client, "ERR @s state text=\"*keeper*\"*\n");
}

/* Who changed what is in the log, with nothing in it that could lie. */
static void test_log(void **state)
{
	struct client *client;

	(void)state;
	next_uid = 1000;
	client = greeted();
	log_forget();
	ask(client, "list", "OK *\n");
	ask(client, "help add", "*OK\n");
	assert_false(log_has("uid"));
	ask(client, "@t add null name=n", "OK *\n");
	assert_true(log_has("uid 1000"));
	assert_true(log_has("add null name=n"));
	ask(client, "del \"n\\n\\x1b[2J\"", "ERR *\n");
	assert_false(log_has("\x1b"));
}

/*
 * Whatever is sent: a frame for every line that is not blank, in order, and
 * the connection can be used afterwards.
 */
static void test_noise(void **state)
{
	static const char *const words[] = {
		"ping",	     "list",	"@t",	    "help",    "show",
		"\"",	     "'",	"\\x41",    "#",       "\x1b",
		"\xff",	     "add",	"null",	    "ram",     "size=0",
		"id=-1",     "del",	"on-error", "version", "\xc3\xa9",
		"x=\"\\n\"", "targets", "\t",	    "\r"
	};
	struct client *client = greeted();
	struct syntax_line line;
	const char *why;
	int i, j, frames = 0;

	(void)state;
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
		say(client, text);
		frames++;
		hear(client);
		if (count_text(client, "OK") + count_text(client, "ERR ") == 0)
			fail_msg("no answer to: %s", text);
		forget(client);
	}
	assert_true(frames > 1000);
	assert_int_equal(fake_host.devices.count, 0);
	ask(client, "@end ping", "OK @end\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(test_greeting),
		TEST(test_ping),
		TEST(test_nothing),
		TEST(test_carriage_return),
		TEST(test_errors),
		TEST(test_controls_are_escaped),
		TEST(test_byte_at_a_time),
		TEST(test_pipeline),
		TEST(test_order),
		TEST(test_side_by_side),
		TEST(test_line_limit),
		TEST(test_long_lines),
		TEST(test_line_of_10_mb),
		TEST(test_bad_bytes),
		TEST(test_end_without_newline),
		TEST(test_end_at_once),
		TEST(test_end_after_many),
		TEST(test_wait),
		TEST(test_wait_without_tag),
		TEST(test_no_wait_afterwards),
		TEST(test_vanish_while_pending),
		TEST(test_vanish_in_a_line),
		TEST(test_vanish_any_time),
		TEST(test_vanish_in_a_listing),
		TEST(test_never_reads),
		TEST(test_leaves_in_a_listing),
		TEST(test_slow_reader),
		TEST(test_drained_at_once),
		TEST(test_output_is_bounded),
		TEST(test_limit_of_a_user),
		TEST(test_peer_cannot_be_told),
		TEST(test_limit_of_users),
		TEST(test_limit_of_root),
		TEST(test_refused_are_bounded),
		TEST(test_accept_fails),
		TEST(test_many_at_once),
		TEST(test_on_error),
		TEST(test_on_error_continue),
		TEST(test_on_error_of_a_late_one),
		TEST(test_hints),
		TEST(test_quit_after_a_late_one),
		TEST(test_quit),
		TEST(test_add),
		TEST(test_fits),
		TEST(test_mode),
		TEST(test_adopted_in_vain),
		TEST(test_adopted_and_closed),
		TEST(test_reopened),
		TEST(test_reopened_as_before),
		TEST(test_reopened_later),
		TEST(test_lost_is_told),
		TEST(test_reopened_another),
		TEST(test_reopened_but_not_locked),
		TEST(test_deleted_while_locked),
		TEST(test_reopened_but_not_served),
		TEST(test_deleted_while_reopened),
		TEST(test_set_before_reopened),
		TEST(test_set_while_reopened),
		TEST(test_add_fails_after_opening),
		TEST(test_new_file),
		TEST(test_words_are_noted),
		TEST(test_too_many_devices),
		TEST(test_add_waits_for_lock),
		TEST(test_lock_comes_too_late),
		TEST(test_new_file_of_another),
		TEST(test_two_locks),
		TEST(test_add_of_a_busy_disk),
		TEST(test_unserved),
		TEST(test_batch),
		TEST(test_adopted_mode),
		TEST(test_existing),
		TEST(test_existing_too_early),
		TEST(test_add_fails),
		TEST(test_list),
		TEST(test_list_of_changing_set),
		TEST(test_show),
		TEST(test_show_nobody),
		TEST(test_many_queues),
		TEST(test_set),
		TEST(test_set_mistakes),
		TEST(test_set_shows),
		TEST(test_set_is_noted),
		TEST(test_upgrade),
		TEST(test_upgrade_is_late),
		TEST(test_set_too_long),
		TEST(test_resize),
		TEST(test_resize_ram),
		TEST(test_resize_mistakes),
		TEST(test_del),
		TEST(test_features),
		TEST(test_every_feature),
		TEST(test_help),
		TEST(test_shutdown),
		TEST(test_shutdown_of_nothing),
		TEST(test_shutdown_while_busy),
		TEST(test_keeper_gone),
		TEST(test_keeper_gone_in_shutdown),
		TEST(test_log),
		TEST(test_noise),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
