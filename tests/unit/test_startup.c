/* The file of commands that is run before the daemon says that it is ready. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"
#include "admin/startup.h"

static int calloc_fails;

void *__real_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	return calloc_fails ? NULL : __real_calloc(count, size);
}

static struct {
	unsigned count;
	int failed;
	struct failure failure;
} told;

static void on_done(struct command_host *host, const struct failure *failure)
{
	assert_ptr_equal(host, &fake_host);
	told.count++;
	told.failed = failure != NULL;
	if (failure)
		told.failure = *failure;
}

int before_each(void **state)
{
	fake_start();
	memset(&told, 0, sizeof(told));
	fake_have_memory(1024);
	return 0;
}

int after_each(void **state)
{
	device_delete_all(&fake_host.devices);
	fake_serve();
	assert_null(fake_host.devices.first);
	fake_stop();
	test_folder_remove();
	return 0;
}

static void run_file(const char *path, int keeps_going)
{
	static char config[256];

	snprintf(config, sizeof(config), "%s", path);
	fake_host.config = config;
	startup_run(&fake_host, keeps_going, on_done);
	fake_serve();
}

static void run(const char *text)
{
	test_file("c", text);
	run_file(test_path("c"), 0);
}

static void expect_ready(unsigned devices)
{
	if (told.failed)
		fail_msg("%s", told.failure.text);
	assert_int_equal(told.count, 1);
	assert_int_equal(fake_host.devices.count, devices);
	told.count = 0;
}

/* The message begins with the file and the line. */
static void expect_failed(unsigned line, enum symbol symbol, const char *part)
{
	char place[256];

	assert_int_equal(told.count, 1);
	assert_true(told.failed);
	snprintf(place, sizeof(place), "%s:%u:", test_path("c"), line);
	if (strncmp(told.failure.text, place, strlen(place)) != 0)
		fail_msg("'%s' does not begin with '%s'", told.failure.text,
			 place);
	if (!strstr(told.failure.text, part))
		fail_msg("'%s' does not tell '%s'", told.failure.text, part);
	assert_string_equal(symbol_name(told.failure.symbol),
			    symbol_name(symbol));
	told.count = 0;
}

TEST_CASE(test_commands)
{
	unsigned fds = count_fds();

	run("add null id=3\n@tag add ram size=1M name=scratch\nlist\n");
	expect_ready(2);
	assert_non_null(device_find(&fake_host.devices, 3));
	assert_non_null(device_find_name(&fake_host.devices, "scratch"));
	assert_int_equal(fake_host.devices.first->step, DEVICE_LIVE);
	assert_true(fake.last[MESSAGE_NOTE].number & NOTE_CONFIGURED);
	/* The file is closed; each device has a descriptor of its own, and
	 * the store of one has another. */
	assert_int_equal(count_fds(), fds + 3);
}

TEST_CASE(test_nothing_to_do)
{
	run("");
	expect_ready(0);
	run("\n\n");
	expect_ready(0);
	run("# only\n   # comments\n\t\n\r\n#");
	expect_ready(0);
	fake_expect("ASK ASK ASK");
}

/* They are about the program, or the file itself. */
TEST_CASE(test_no_lines_of_it)
{
	run("add null\nupgrade\n");
	expect_failed(2, SYMBOL_ARG, "upgrade is no line of a configuration");
	run("save\n");
	expect_failed(1, SYMBOL_ARG, "save is no line of a configuration");
	run("reload\n");
	expect_failed(1, SYMBOL_ARG, "reload is no line of a configuration");
}

TEST_CASE(test_comments)
{
	run("# a disk\n\n  add null # with a word about it\n# the end\n");
	expect_ready(1);
}

TEST_CASE(test_ends_of_lines)
{
	run("add null\r\nadd null\r\n# x\r\nadd null");
	expect_ready(3);
}

/* One after the other: each sees what the one before it has done. */
TEST_CASE(test_one_by_one)
{
	fake.hold[MESSAGE_START] = 1;
	run("add null id=1\nadd null id=2\ndel 1\n");
	assert_int_equal(told.count, 0);
	assert_int_equal(fake_host.devices.count, 1);
	fake_release(MESSAGE_START);
	expect_ready(1);
	assert_non_null(device_find(&fake_host.devices, 2));
}

TEST_CASE(test_first_mistake_ends_it)
{
	run("add null id=1\n\n# x\nfrobnicate\nadd null id=2\n");
	expect_failed(4, SYMBOL_UNKNOWN, "no such command");
	assert_int_equal(fake_host.devices.count, 1);
	fake_serve();
	assert_null(device_find(&fake_host.devices, 2));
}

TEST_CASE(test_mistakes)
{
	static const struct {
		const char *text;
		unsigned line;
		enum symbol symbol;
		const char *part;
	} cases[] = {
		{ "nonsense", 1, SYMBOL_UNKNOWN, "no such command" },
		{ "ping\nping \"x\n", 2, SYMBOL_SYNTAX, "not closed" },
		{ "\n\nadd null \xff\n", 3, SYMBOL_SYNTAX, "UTF-8" },
		{ "add ram size=0\n", 1, SYMBOL_RANGE, "size" },
		{ "add ram size=8G\n", 1, SYMBOL_LIMIT, "size" },
		{ "add null depth=0\n", 1, SYMBOL_RANGE, "depth" },
		{ "add null\ndel 7\n", 2, SYMBOL_NOTFOUND, "no such device" },
		{ "@t\n", 1, SYMBOL_SYNTAX, "tag" },
	};
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		run(cases[i].text);
		expect_failed(cases[i].line, cases[i].symbol, cases[i].part);
	}
}

/* A failure that comes late names the line that asked for it. */
TEST_CASE(test_late_failure)
{
	fake.result[MESSAGE_FEATURES] = -ENOENT;
	run("# no driver\nadd null\nadd null\n");
	expect_failed(2, SYMBOL_UNSUPPORTED, "modprobe ublk_drv");
	fake.result[MESSAGE_FEATURES] = 0;
	fake.result[MESSAGE_START] = -EIO;
	run("ping\nadd null\nadd null\n");
	expect_failed(2, SYMBOL_IO, "start");
	assert_int_equal(fake_host.devices.count, 0);
}

TEST_CASE(test_on_error_is_no_way_out)
{
	run("on-error continue\nnonsense\nadd null\n");
	expect_failed(2, SYMBOL_UNKNOWN, "no such command");
	assert_int_equal(fake_host.devices.count, 0);
}

/* The rest of the file is for later, or for nobody. */
TEST_CASE(test_quit)
{
	run("add null\nquit\nadd null\nnonsense\n");
	expect_ready(1);
}

TEST_CASE(test_long_line)
{
	char *text = malloc(100001);

	assert_non_null(text);
	memset(text, 'x', 100000);
	memcpy(text, "ping\n", 5);
	text[100000] = '\0';
	run(text);
	expect_failed(2, SYMBOL_SYNTAX, "4096");
	/* As a comment it is no better, for it is the same grammar. */
	text[5] = '#';
	run(text);
	expect_failed(2, SYMBOL_SYNTAX, "4096");
	free(text);
}

TEST_CASE(test_nul)
{
	FILE *file;

	test_file("c", "");
	file = fopen(test_path("c"), "w");
	assert_non_null(file);
	fwrite("ping\nping\0\nadd null\n", 1, 20, file);
	fclose(file);
	run_file(test_path("c"), 0);
	expect_failed(2, SYMBOL_SYNTAX, "NUL");
}

/* Where the word at fault begins. */
TEST_CASE(test_column)
{
	char place[300];

	run("\nadd null  depth=0\n");
	snprintf(place, sizeof(place), "%s:2:11: depth=0 ", test_path("c"));
	assert_memory_equal(told.failure.text, place, strlen(place));
}

/* One bad line, or all of the file, ends nothing; the log has it. */
TEST_CASE(test_keep_going)
{
	test_file("c", "add null id=1\nfrob\nadd null id=2\n\"\n"
		       "add null id=1 depth=3\nadd null id=3");
	run_file(test_path("c"), 1);
	expect_ready(3);
	assert_true(log_has("c:2:1: there is no such command"));
	assert_true(log_has("c:4:1: a quote is not closed"));
	assert_true(log_has("c:5:10: the id is in use"));
	assert_true(log_has("that have failed: 3"));
	run_file(test_path("none"), 1);
	expect_ready(3);
	assert_true(log_has("none: No such file"));
}

/* What both processes left behind, as they noted it before they knew of this. */
static void adopt(uint32_t id, const char *words)
{
	struct message message = { .magic = MESSAGE_MAGIC, .id = id };
	struct failure failure;

	message.info.dev_id = id;
	message.info.nr_hw_queues = 1;
	message.info.queue_depth = 16;
	message.info.max_io_buf_bytes = 65536;
	message.info.state = UBLK_S_DEV_QUIESCED;
	message.info.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_COPY;
	snprintf(message.text, sizeof(message.text), "%s", words);
	assert_int_equal(command_adopt(&fake_host, &message, NULL, 0, &failure),
			 0);
}

static void expect_configured(uint32_t id)
{
	assert_true(device_find(&fake_host.devices, id)->spec.configured);
}

TEST_CASE(test_left_behind)
{
	adopt(3, "add null");
	adopt(4, "add null name=a depth=16");
	device_recover_all(&fake_host.devices);
	fake_serve();
	/* What is noted is over when the next line begins. */
	run("add null\nset 3 limit-iops=1\nadd null name=a\n");
	expect_ready(2);
	assert_int_equal(fake.count[MESSAGE_NOTE], 3);
	assert_true(fake.last[MESSAGE_NOTE].number & NOTE_CONFIGURED);
	expect_configured(3);
	expect_configured(4);
}

/* It is taken over meanwhile. */
TEST_CASE(test_left_behind_and_not_ready)
{
	adopt(3, "add null");
	run("add null\n");
	expect_ready(1);
	expect_configured(3);
	device_recover_all(&fake_host.devices);
	fake_serve();
	expect_configured(3);
}

TEST_CASE(test_include)
{
	test_file("d/1.conf", "add null id=1\n");
	test_file("d/2.conf", "\nadd null id=1 depth=3\n");
	run("include d/*.conf\nadd null id=3\n");
	assert_int_equal(told.count, 1);
	assert_non_null(strstr(told.failure.text, "d/2.conf:2:10: the id"));
	assert_int_equal(fake_host.devices.count, 1);
}

TEST_CASE(test_no_keeper)
{
	fake_end_keeper();
	run("add null\n");
	assert_int_equal(told.count, 1);
	assert_true(told.failed);
}

/* Longer than one piece of a listing. */
TEST_CASE(test_long_listing)
{
	char text[2048] = "";
	int i;

	for (i = 0; i < 40; i++)
		add_text(text, sizeof(text), "add null\n");
	add_text(text, sizeof(text), "list\nhelp\nshow 1\nadd null\n");
	run(text);
	expect_ready(41);
}

TEST_CASE(test_no_file)
{
	run_file(test_path("none"), 0);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.failure.symbol, SYMBOL_NOTFOUND);
	assert_non_null(strstr(told.failure.text, test_path("none")));
}

/* What cannot be read is not an empty file. */
TEST_CASE(test_folder_as_file)
{
	assert_int_equal(mkdir(test_path("d"), 0700), 0);
	run_file(test_path("d"), 0);
	assert_int_equal(told.count, 1);
	assert_true(told.failed);
	assert_non_null(strstr(told.failure.text, test_path("d")));
}

TEST_CASE(test_out_of_memory)
{
	test_file("c", "ping\n");
	fake_host.config = test_path("c");
	calloc_fails = 1;
	startup_run(&fake_host, 0, on_done);
	calloc_fails = 0;
	assert_int_equal(told.count, 1);
	assert_true(told.failed);
	assert_int_equal(told.failure.symbol, SYMBOL_LIMIT);
}

int main(void)
{
	return tests_run();
}
