/* ublkctl's client, and what it finds of a ublkd that does not answer. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"
#include "base/proc.h"
#include "base/process.h"
#include "ctl/candidates.h"
#include "ctl/client.h"
#include "ctl/screen.h"
#include "ctl/signals.h"
#include "ctl/still.h"

static uid_t user;
static pid_t child;
static struct still still;

uid_t __wrap_geteuid(void)
{
	return user;
}

int before_each(void **state)
{
	user = 0;
	child = 0;
	test_folder();
	return 0;
}

int after_each(void **state)
{
	struct proc held;

	if (child > 0 && proc_open(&held, child) == 0) {
		proc_kill(&held);
		proc_close(&held);
		waitpid(child, NULL, 0);
	}
	test_folder_remove();
	return 0;
}

/* ---- the client ---- */

TEST_CASE(test_lines)
{
	const char *path = test_path("socket"), *line;
	struct client client;
	char got[20] = "";
	int fd, end;

	assert_int_equal(client_open(&client, path, 10), -ENOENT);
	fd = test_listen(path, 0);
	assert_int_equal(client_open(&client, path, 10), 0);
	end = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(client_line(&client, &line, 10), -ETIMEDOUT);
	assert_int_equal(write(end, "one\ntw", 6), 6);
	assert_int_equal(client_line(&client, &line, 1000), 0);
	assert_string_equal(line, "one");
	assert_int_equal(client_line(&client, &line, 10), -ETIMEDOUT);
	assert_int_equal(write(end, "o\n\n", 3), 3);
	assert_int_equal(client_line(&client, &line, 1000), 0);
	assert_string_equal(line, "two");
	assert_int_equal(client_line(&client, &line, 1000), 0);
	assert_string_equal(line, "");
	assert_int_equal(client_send(&client, "first", 0), 0);
	assert_int_equal(client_send(&client, "last", 1), 0);
	assert_int_equal(read(end, got, sizeof(got) - 1), 11);
	assert_string_equal(got, "first\nlast\n");
	assert_int_equal(read(end, got, sizeof(got)), 0);
	close(end);
	assert_int_equal(client_line(&client, &line, 1000), -ECONNRESET);
	client_close(&client);
	close(fd);
}

/* A line that is too long is no line; and nobody accepts. */
TEST_CASE(test_bounds)
{
	const char *path = test_path("socket"), *line;
	static char much[FIELDS_LINE_MAX + 2];
	struct client client, others[8];
	int fd = test_listen(path, 0), end, error = 0;
	unsigned i, count = 0;

	assert_int_equal(client_open(&client, path, 10), 0);
	end = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	memset(much, 'x', sizeof(much));
	assert_int_equal(write(end, much, sizeof(much)), sizeof(much));
	assert_int_equal(client_line(&client, &line, 1000), -EPROTO);
	close(end);
	client_close(&client);
	for (i = 0; i < COUNT(others) && !error; i++) {
		error = client_open(&others[i], path, 60);
		count += !error;
	}
	assert_int_equal(error, -ETIMEDOUT);
	while (count)
		client_close(&others[--count]);
	close(fd);
	memset(much, 'x', 200);
	much[200] = '\0';
	assert_int_equal(client_open(&client, much, 10), -ENAMETOOLONG);
}

/* ---- what a line says ---- */

TEST_CASE(test_fields)
{
	static const struct {
		const char *line, *kind, *key, *value;
		enum fields_frame frame;
	} rows[] = {
		{ "OK", "OK", "seq", "", FIELDS_OK },
		{ "OKAY seq=1", "OKAY", "seq", "1", FIELDS_DATA },
		{ "ERR @t exists text=\"a \\\"b\\\"\" arg=x", "ERR", "text",
		  "a \"b\"", FIELDS_ERR },
		{ "EVENT seq=1 dev id=2", "EVENT", "id", "2", FIELDS_EVENT },
		{ "dev id=1 path='a=b c'", "dev", "path", "a=b c",
		  FIELDS_DATA },
		{ "dev id=1 path=\"open", "dev", "id", "1", FIELDS_DATA },
		{ "", "", "id", "", FIELDS_DATA },
		{ "{\"frame\":\"OK\",\"tag\":\"7\",\"seq\":10}", "OK", "seq",
		  "10", FIELDS_OK },
		{ "{\"frame\":\"WAIT\",\"what\":\"del\"}", "WAIT", "what",
		  "del", FIELDS_WAIT },
		{ "{\"frame\":\"EVENT\",\"record\":\"dev\",\"id\":3}", "EVENT",
		  "id", "3", FIELDS_EVENT },
		{ "{\"record\":\"dev\",\"list\":[1,\"]}\\\"\"],\"ro\":false}",
		  "dev", "ro", "false", FIELDS_DATA },
		{ "{\"a\":\"\\u00e4\\u20ac\\u0041\\n\\/\\\"\"}", "", "a",
		  "\xc3\xa4\xe2\x82\xac"
		  "A\n/\"",
		  FIELDS_DATA },
		{ "{\"a\":null,\"b\":\"cut \\u00", "", "a", "null",
		  FIELDS_DATA },
		{ "{\"a\":null,\"b\":\"cut \\", "", "b", "", FIELDS_DATA },
		{ "{\"a\":1,\"b\":[1,", "", "b", "", FIELDS_DATA },
		{ "{\"a\"", "", "a", "", FIELDS_DATA },
		{ "{", "", "a", "", FIELDS_DATA },
	};
	static struct fields fields;
	char value[40];
	size_t i;

	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].line);
		assert_int_equal(fields_frame(rows[i].line), rows[i].frame);
		fields_read(&fields, rows[i].line);
		assert_string_equal(fields.kind, rows[i].kind);
		assert_string_equal(fields_value(&fields, rows[i].key),
				    rows[i].value);
		assert_string_equal(fields_find(rows[i].line, rows[i].key,
						value, sizeof(value)),
				    rows[i].value);
	}
}

/* What has more keys, or bytes, than there is room for is cut. */
TEST_CASE(test_many_fields)
{
	static struct fields fields;
	static char line[FIELDS_LINE_MAX + 100];
	char key[20];
	unsigned i;

	add_text(line, sizeof(line), "dev");
	for (i = 0; i <= FIELDS_MAX; i++) {
		snprintf(key, sizeof(key), " k%u=%u", i, i);
		add_text(line, sizeof(line), key);
	}
	fields_read(&fields, line);
	assert_int_equal(fields.count, FIELDS_MAX);
	snprintf(line, sizeof(line), "%-*s", (int)sizeof(line) - 1, "{\"a\":1");
	fields_read(&fields, line);
	assert_int_equal(fields.count, 0);
	snprintf(line, sizeof(line), "%-*s", (int)sizeof(line) - 1, "dev a=1");
	fields_read(&fields, line);
	assert_string_equal(fields_value(&fields, "a"), "");
}

/* ---- answers ---- */

static int count_line(const char *line, void *context)
{
	unsigned *count = context;

	return ++*count == 3 ? -ENOMEM : 0;
}

/* All but the ERR is handed over, until it is taken no more. */
TEST_CASE(test_answers)
{
	const char *path = test_path("socket"), *line;
	struct client client;
	unsigned count = 0;
	int fd = test_listen(path, 4);
	static const char said[] = "HELLO ublkd pid=1\ndev\nWAIT what=x\n"
				   "ERR io text=a\ndev\nOK\ndev\n";

	child = fork();
	if (child == 0) {
		int end = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (write(end, said, sizeof(said) - 1) < 0)
			_exit(1);
		end = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (write(end, "ERR limit\n", 10) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(client_begin(&client, path, &line), 0);
	assert_string_equal(line, "HELLO ublkd pid=1");
	assert_int_equal(client_ask(&client, "x", 0, count_line, &count, &line),
			 1);
	assert_string_equal(line, "ERR io text=a");
	assert_int_equal(count, 2);
	count = 0;
	assert_int_equal(client_ask(&client, "x", 0, count_line, &count, &line),
			 0);
	assert_int_equal(count, 2);
	count = 2;
	assert_int_equal(client_ask(&client, "x", 0, count_line, &count, &line),
			 -ENOMEM);
	client_close(&client);
	assert_int_equal(client_begin(&client, path, &line), 1);
	assert_string_equal(line, "ERR limit");
	client_close(&client);
	client_close(&client);
	close(fd);
	assert_int_equal(client_begin(&client, test_path("none"), &line),
			 -ENOENT);
	client_close(&client);
}

/* What does not begin as the word is written is none, however the daemon reads it. */
TEST_CASE(test_candidates)
{
	static const char said[] =
		"HELLO ublkd pid=1\n"
		"candidate word=del help=\"delete devices\"\n"
		"candidate word=dump help=\"\"\nOK\n";
	static struct candidates candidates;
	static const struct {
		const char *line;
		unsigned count;
		size_t common;
	} rows[] = {
		{ "d", 3, 1 },	       { "  do", 1, 6 }, { "de", 1, 3 },
		{ "\"\"\"\"d", 0, 0 }, { "x d", 2, 1 },	 { "", 5, 0 },
	};
	int fd = test_listen(test_path("socket"), 4), end;
	size_t i;

	child = fork();
	if (child == 0) {
		for (;;) {
			end = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
			if (write(end, said, sizeof(said) - 1) < 0)
				_exit(1);
		}
	}
	close(fd);
	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].line);
		candidates_ask(&candidates, test_path("socket"), rows[i].line);
		assert_int_equal(candidates.count, rows[i].count);
		if (rows[i].count)
			assert_int_equal(candidates_common(&candidates),
					 rows[i].common);
		candidates_free(&candidates);
	}
	candidates_ask(&candidates, test_path("none"), "t");
	assert_int_equal(candidates.count, 1);
	candidates_free(&candidates);
}

/* A signal is heard also where there is always something to read, and is then forgotten. */
TEST_CASE(test_signals)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	signals_catch();
	signals_catch();
	assert_int_equal(signals_wait(ends[0], 1000), 1);
	raise(SIGINT);
	assert_int_equal(signals_end(), 0);
	assert_int_equal(signals_wait(ends[0], 1000), -1);
	assert_int_equal(errno, EINTR);
	assert_int_equal(signals_end(), SIGINT);
	signals_release();
	assert_int_equal(signals_end(), SIGINT);
	signals_release();
	assert_int_equal(signals_end(), 0);
	signals_catch();
	raise(SIGWINCH);
	assert_int_equal(signals_wait(-1, 1), 0);
	assert_int_equal(signals_wait_or_resize(-1, 1000), -1);
	assert_int_equal(signals_end(), 0);
	signals_release();
	close(ends[0]);
	close(ends[1]);
}

/* ---- the screen ---- */

static void folds(const char *line, size_t at, size_t columns,
		  const char *wanted)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	screen_print(out, line, at, 2, columns);
	fclose(out);
	assert_string_equal(text, wanted);
	free(text);
}

#define LINE "0123456789 0123456789 0123456789 01234567890123456"

TEST_CASE(test_fold)
{
	folds(LINE, 0, 0, LINE "\n");
	folds(LINE, 0, 51, LINE "\n");
	folds(LINE, 0, 50,
	      "0123456789 0123456789 0123456789\n"
	      "  01234567890123456\n");
	folds(LINE, 20, 41,
	      "0123456789\n  0123456789 0123456789\n"
	      "  01234567890123456\n");
	folds(LINE, 0, 1,
	      "0123456789 0123456789 0123456789\n"
	      "  01234567890123456\n");
	folds("one /a/long/path/that/is/longer/than/the/screen/is three", 0, 40,
	      "one\n  /a/long/path/that/is/longer/than/the/screen/is\n"
	      "  three\n");
	folds("", 0, 80, "\n");
}

/* Colours are for terminals, and for those who want them. */
TEST_CASE(test_colour)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	int terminal, other;
	char text[] = "a\033[1mb\x7f\xc2\x9b\xc2\xa0";
	FILE *out;

	screen_hide_control(text);
	assert_string_equal(text, "a?[1mb???\xc2\xa0");
	if (openpty(&terminal, &other, NULL, NULL, &size) < 0)
		skip_without("pseudo-terminal");
	out = fdopen(other, "w");
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	assert_string_equal(screen_colour(out, SCREEN_BOLD), "\033[1m");
	setenv("NO_COLOR", "", 1);
	assert_string_equal(screen_colour(out, SCREEN_PLAIN), "\033[0m");
	setenv("NO_COLOR", "1", 1);
	assert_string_equal(screen_colour(out, SCREEN_RED), "");
	unsetenv("NO_COLOR");
	setenv("TERM", "dumb", 1);
	assert_string_equal(screen_colour(out, SCREEN_RED), "");
	setenv("TERM", "xterm", 1);
	fclose(out);
	close(terminal);
	out = fopen(test_path("out"), "we");
	assert_string_equal(screen_colour(out, SCREEN_RED), "");
	fclose(out);
}

/* ---- what does not answer ---- */

/* A process that looks like a server, and is stopped. */
static void make_server(const char *name)
{
	int status;

	child = fork();
	if (child == 0) {
		process_set_name(name);
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	assert_int_equal(waitpid(child, &status, WUNTRACED), child);
	assert_true(WIFSTOPPED(status));
}

static void write_at(int fd, const void *from, size_t size, uint64_t at)
{
	assert_int_equal(pwrite(fd, from, size, (off_t)at), size);
}

static void add_event(struct sight_small *small, uint64_t time, uint16_t tag,
		      uint8_t op, uint64_t offset)
{
	small->ring[small->events++] = (struct sight_event){
		.when = sight_when(time, 0, SIGHT_TARGET),
		.what = SIGHT_DELIVERED,
		.tag = tag,
		.op = op,
		.length = 4096,
		.number = offset,
	};
}

/* The file of sight: device 3 of target file, with two writes in slot 1. */
static void make_sight(pid_t pid, enum sight_phase phase)
{
	struct sight_small small = {
		.used = 4, .queues = 1, .depth = 8, .target = "file"
	};
	struct sight_head head = { .slots = 2, .current = 1 };
	uint64_t now = sight_clock();
	int fd;

	test_file("state/sight", "");
	fd = open(test_path("state/sight"), O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	sight_head_init(&head);
	head.servers[1].pid = (uint32_t)pid;
	head.servers[1].phase = phase;
	head.servers[1].slot = 1;
	head.servers[1].since = now - 3200000;
	write_at(fd, &head, sizeof(head), 0);
	small.slots[2] = (struct sight_tag){ .since = now - 2000000,
					     .tag = 2,
					     .place = SIGHT_WRITE };
	small.slots[5] = (struct sight_tag){ .since = now - 9000000,
					     .tag = 5,
					     .place = SIGHT_WRITE };
	add_event(&small, now - 9500000, 5, SIGHT_OP_READ, 0);
	add_event(&small, now - 9000000, 5, SIGHT_OP_WRITE, 8192);
	add_event(&small, now - 2000000, 2, SIGHT_OP_READ, 4096);
	small.ring[3] = small.ring[1];
	small.ring[3].what = SIGHT_COMMITTED;
	add_event(&small, now - 1000000, 5, SIGHT_OP_READ, 0);
	small.slots[6] = (struct sight_tag){ .since = now - 9900000,
					     .place = SIGHT_COMMIT };
	small.slots[7] = (struct sight_tag){ .since = now, .place = 200 };
	write_at(fd, &small, sizeof(small), sight_small_at(1));
	memset(&small, 0, sizeof(small));
	write_at(fd, &small, sizeof(small), sight_small_at(0));
	close(fd);
}

static void make_disk(unsigned id, const char *inflight)
{
	char path[80];

	if (inflight) {
		snprintf(path, sizeof(path), "sys/class/block/ublkb%u/inflight",
			 id);
		test_file(path, inflight);
	}

	snprintf(path, sizeof(path), "sys/class/ublk-char/ublkc%u/dev", id);
	test_file(path, "244:0\n");
	if (!inflight)
		return;
	snprintf(path, sizeof(path), "sys/block/ublkb%u/inflight", id);
	test_file(path, inflight);
}

static void look(pid_t listener, int is_heard)
{
	static char folder[200];

	folder[0] = '\0';
	add_text(folder, sizeof(folder), test_path("state"));
	memset(&still, 0, sizeof(still));
	still.root = test_folder();
	still.folder = folder;
	still.listener = listener;
	still.is_heard = is_heard;
	still_look(&still);
}

static void says(const char *begin, const char *end)
{
	char text[STILL_TEXT];

	snprintf(text, sizeof(text), "%s%d) %s", begin, (int)child, end);
	assert_memory_equal(still.verdict, text, strlen(text));
}

/* What is printed has that, and not this. */
static void prints(const char *wanted, const char *unwanted)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	still_print(&still, out, 0);
	fclose(out);
	assert_non_null(strstr(text, wanted));
	assert_null(strstr(text, unwanted));
	free(text);
}

TEST_CASE(test_stopped)
{
	make_server("ublkd-server");
	make_sight(child, SIGHT_SLEEPS);
	make_disk(3, "       1        1\n");
	look(0, 1);
	says("the server (pid ", "is stopped by a signal: 'kill -CONT ");
	prints("ublkb3: 2 in flight\n"
	       "ublkb3: 2 requests wait for a write to the backing, the oldest "
	       "for 9.0 s: a write of 4096 bytes at 8 KiB; why is unknown",
	       "take the answer");
	still_close(&still);
}

/* On a terminal. */
TEST_CASE(test_screen)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	user = 1;
	make_sight(0, SIGHT_SLEEPS);
	make_disk(3, "       0        2\n");
	make_disk(12, "       0        0\n");
	look(0, 1);
	still.server = 812;
	still.sight.head.servers[1].pid = 812;
	still.devices[0].server = 812;
	snprintf(still.verdict, sizeof(still.verdict),
		 "the server (pid 812) is stopped by a signal: 'kill -CONT "
		 "812' lets it go on");
	still_print(&still, out, 80);
	fclose(out);
	screen_is("still", text);
	free(text);
	still_close(&still);
}

/* What nobody has delivered to a server that stands still, and who waits for it. */
TEST_CASE(test_undelivered)
{
	make_server("ublkd-server");
	make_disk(3, "       1        1\n");
	test_file("proc/55/task/55/stat", "55 (jbd2/ublkb3-8) D 2\n");
	test_file("proc/55/task/55/comm", "jbd2/ublkb3-8\n");
	test_file("proc/55/task/55/wchan", "io_schedule");
	look(child, 1);
	prints("\nublkb3: 2 requests are in the kernel and not delivered to the "
	       "server; 1 task in D: jbd2/ublkb3-8, process 55, in "
	       "io_schedule\n",
	       "unknown");
	still_close(&still);
}

/* Of what is not in the ring any more the age is known. */
TEST_CASE(test_forgotten_request)
{
	struct sight_small small;
	int fd;

	make_server("ublkd-server");
	make_sight(child, SIGHT_SLEEPS);
	fd = open(test_path("state/sight"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &small, sizeof(small), sight_small_at(1)),
			 sizeof(small));
	memset(small.ring, 0, sizeof(small.ring));
	write_at(fd, &small, sizeof(small), sight_small_at(1));
	close(fd);
	make_disk(3, "       1        1\n");
	look(0, 1);
	prints("the oldest for 9.0 s; why is unknown", "a read");
	still_close(&still);
}

/* Without a file of sight the one who listens is known. */
TEST_CASE(test_listener)
{
	make_server("ublkd-server");
	look(child, 1);
	says("the server (pid ", "is stopped by a signal");
	still_close(&still);
	/* The keeper is not its server. */
	look(getpid(), 1);
	assert_string_equal(still.verdict, "ublkd's socket is there, but no "
					   "server is seen");
	still_close(&still);
}

/* An emulator of programs may tell its own of its own process. */
static int is_named(const char *name)
{
	char path[40], text[80] = "", wanted[20];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
	snprintf(wanted, sizeof(wanted), "(%s)", name);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	return strstr(text, wanted) != NULL;
}

TEST_CASE(test_listener_of_a_keeper)
{
	char path[80], text[20];

	make_server("ublkd-server");
	process_set_name("ublkd");
	if (!is_named("ublkd"))
		skip_without("name of one's own in /proc/PID/stat");
	snprintf(path, sizeof(path), "proc/%d/task/%d/children", getpid(),
		 getpid());
	snprintf(text, sizeof(text), "%d ", (int)child);
	test_file(path, text);
	look(getpid(), 1);
	says("the server (pid ", "is stopped by a signal");
	still_close(&still);
	process_set_name("test_ctl");
}

static void let_go_on(void)
{
	struct proc_look now = { .state = 'T' };

	assert_int_equal(kill(child, SIGCONT), 0);
	while (now.state != 'S')
		assert_int_equal(proc_look(child, &now), 0);
}

TEST_CASE(test_busy)
{
	char path[80];

	make_server("ublkd-server");
	let_go_on();
	make_sight(child, SIGHT_SUBMITS);
	look(0, 1);
	says("the server (pid ", "sleeps and does not hear its socket: 3.");
	assert_non_null(
		strstr(still.verdict, " s in submit of target file, device 3"));
	still_close(&still);
	make_sight(child, SIGHT_CLIENTS);
	look(0, 1);
	assert_non_null(strstr(still.verdict, " s in a client's command"));
	still_close(&still);
	snprintf(path, sizeof(path), "proc/%d/cgroup", (int)child);
	test_file(path, "1:name=x:/y\n0::/a/b\n");
	test_file("sys/fs/cgroup/a/b/cgroup.events", "populated 1\nfrozen 0\n");
	look(0, 1);
	says("the server (pid ", "sleeps and does not hear");
	still_close(&still);
	test_file("sys/fs/cgroup/a/b/cgroup.events", "populated 1\nfrozen 1\n");
	look(0, 1);
	says("the server (pid ", "is frozen: 'echo 0 >/sys/fs/cgroup/a/b/cg");
	still_close(&still);
}

/* The last server that a keeper began has died, and the one before serves on. */
TEST_CASE(test_given_up)
{
	const uint32_t last = 0;
	int fd;

	make_server("ublkd-server");
	let_go_on();
	make_sight(child, SIGHT_SUBMITS);
	fd = open(test_path("state/sight"), O_WRONLY | O_CLOEXEC);
	write_at(fd, &last, sizeof(last), offsetof(struct sight_head, current));
	close(fd);
	look(0, 1);
	says("the server (pid ", "sleeps and does not hear its socket: 3.");
	still_close(&still);
}

/* The number in the file has been given to another process. */
TEST_CASE(test_killed)
{
	make_server("another");
	make_sight(child, SIGHT_SUBMITS);
	look(0, 0);
	assert_string_equal(still.verdict, "no daemon runs");
	still_close(&still);
	make_disk(12, "       0        3\n");
	make_disk(3, "       0        0\n");
	make_disk(4, NULL);
	look(0, 0);
	assert_string_equal(still.verdict,
			    "no daemon runs; ublkb3, ublkb12 are quiesced; "
			    "ublkc4 is left over");
	prints("ublkb3: 0 in flight, served by nobody\n"
	       "ublkc4: has no disk, served by nobody\n"
	       "ublkb12: 3 in flight, served by nobody\n"
	       "ublkb12: nobody serves it: there is no server; 3 requests wait "
	       "for that\n",
	       "ublkb3: 2 requests");
	still_close(&still);
	user = 1;
	look(0, 0);
	assert_string_equal(still.verdict, "no daemon runs");
	still_close(&still);
}

/* A sentence stays one. */
TEST_CASE(test_many)
{
	unsigned i;

	for (i = 0; i < 11; i++)
		make_disk(i, "       0        0\n");
	look(0, 0);
	assert_string_equal(still.verdict,
			    "no daemon runs; ublkb0, ublkb1, ublkb2, ublkb3, "
			    "ublkb4, ublkb5, ublkb6, ublkb7 and 3 more are "
			    "quiesced");
	still_close(&still);
}

/* Another server's disks are not quiesced. */
TEST_CASE(test_others)
{
	make_disk(1, "       0        3\n");
	make_disk(10, "       0        3\n");
	test_file("proc/77/fd/none", "");
	assert_int_equal(symlink("/dev/ublkc1", test_path("proc/77/fd/3")), 0);
	look(0, 0);
	assert_string_equal(still.verdict,
			    "no daemon runs; ublkb10 is quiesced");
	prints("ublkb1: 3 in flight, served by process 77\n", "process 0");
	still_close(&still);
}

int main(void)
{
	return tests_run();
}
