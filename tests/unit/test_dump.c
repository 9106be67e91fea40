/*
 * dump: what it writes makes the same devices again, and is written the same way
 * then. Configurations are random, from the tables of all options, and go through
 * the real commands to a stand-in keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/add.h"
#include "admin/command.h"
#include "admin/verbs.h"
#include "fake.h"
#include "say.h"

#define CONFIGURATIONS 10000
#define DEVICES	       3

/* The answer's data lines; to be freed. */
static char *answer(const char *line)
{
	char *text;

	if (!say(line))
		fail_msg("%s: %s", line, said.text);
	*strstr(said.text, "OK") = '\0';
	text = strdup(said.text);
	assert_non_null(text);
	return text;
}

/* Every line of it is answered with OK. */
static void load(const char *text)
{
	const char *end;

	for (; (end = strchr(text, '\n')); text = end + 1)
		if (!say_bytes(text, (size_t)(end - text)))
			fail_msg("%.*s: %s", (int)(end - text), text,
				 said.text);
}

static void delete_all(void)
{
	device_delete_all(&fake_host.devices);
	fake_serve();
	assert_null(fake_host.devices.first);
	fake_forget();
	log_forget();
	memset(fake.count, 0, sizeof(fake.count));
}

static int link_error;

int before_each(void **state)
{
	link_error = 0;
	fake_start();
	fake_have_memory(1024);
	return 0;
}

int after_each(void **state)
{
	fake_delete_all();
	fake_stop();
	test_folder_remove();
	return 0;
}

/* ---- what is written ---- */

TEST_CASE(test_nothing)
{
	char *text = answer("dump");

	assert_string_equal(text, "");
	free(text);
}

/* One device, and the line that dump writes of it. */
static void expect(const char *line, const char *pattern)
{
	char *text;

	about(line);
	if (!say(line))
		fail_msg("%s", said.text);
	text = answer("dump");
	assert_string_equal(text, pattern);
	free(text);
	delete_all();
}

TEST_CASE(test_defaults_are_left_out)
{
	expect("add null id=3", "add null id=3\n");
	expect("add null id=3 size=256000M fill=on depth=128 ro=0 max-io=512K "
	       "stuck-after=30s mode=auto block-size=auto error-op=all",
	       "add null id=3\n");
}

TEST_CASE(test_order_and_spelling)
{
	expect("add ram size=1.5M depth=7 id=2 name=a",
	       "add ram id=2 name=a depth=7 size=1536K\n");
	expect("add null id=2 fill=0 ro=true recovery=queue delay-time=5000us "
	       "error-rate=1% error-op=write,read error-length=4096 "
	       "stuck-after=0",
	       "add null id=2 ro=yes recovery=queue stuck-after=0 "
	       "error-rate=0.01 error-op=read,write error-length=4K "
	       "delay-time=5ms fill=no\n");
	expect("@tag add null block-size=4096 id=2",
	       "add null id=2 block-size=4K\n");
}

/* The number that the driver has chosen, and nothing of those who come and go. */
TEST_CASE(test_number)
{
	char *text;

	fake.next_id = 5;
	assert_true(say("add null"));
	fake.hold[MESSAGE_START] = 1;
	text = answer("dump");
	assert_string_equal(text, "add null id=5\n");
	free(text);
}

TEST_CASE(test_set_and_resize)
{
	char *text;

	assert_true(say("add ram id=1 size=1M delay-time=1s"));
	assert_true(say("set 1 delay-time=0 limit-iops=10"));
	assert_true(say("resize 1 size=2M"));
	text = answer("dump");
	assert_string_equal(text, "add ram id=1 limit-iops=10 size=2M\n");
	free(text);
}

TEST_CASE(test_quoted_path)
{
	char line[600], *text;

	test_file("a b\"\n'#", "");
	assert_int_equal(truncate(test_path("a b\"\n'#"), 65536), 0);
	snprintf(line, sizeof(line),
		 "add file id=1 'path=%s/a b\"'\"\\n\"\"'#\"", test_folder());
	assert_true(say(line));
	snprintf(line, sizeof(line), "add file id=1 \"path=%s/a b\\\"\\n'#\"\n",
		 test_folder());
	text = answer("dump");
	assert_string_equal(text, line);
	free(text);
}

/* More than others would wait for. */
TEST_CASE(test_in_pieces)
{
	char line[40], *text;
	int i, lines = 0;

	for (i = 0; i < 40; i++) {
		snprintf(line, sizeof(line), "add null id=%d", i);
		assert_true(say(line));
	}
	text = answer("dump");
	for (i = 0; text[i]; i++)
		lines += text[i] == '\n';
	assert_int_equal(lines, 40);
	free(text);
}

/* ---- save ---- */

static char *read_file(const char *path)
{
	static char text[4096];
	FILE *file = fopen(path, "r");
	size_t length;

	if (!file)
		return NULL;
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = '\0';
	fclose(file);
	return text;
}

static void expect_file(const char *name, const char *text)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", test_folder(), name);
	assert_non_null(read_file(path));
	assert_string_equal(read_file(path), text);
}

static void expect_refused(const char *line, const char *part)
{
	assert_false(say(line));
	if (!strstr(said.text, part))
		fail_msg("%s", said.text);
}

/* The path of the configuration file in the folder. */
static void use_config(const char *name)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", test_folder(), name);
	fake_host.config = path;
}

#define HEAD "# Written by the command save of ublkd.\n"

TEST_CASE(test_save)
{
	struct stat status;

	expect_refused("save", "ERR state");
	use_config("c");
	assert_true(say("add null id=3 delay-time=1000us"));
	assert_true(say("add ram size=1M name=a"));
	assert_int_equal(fake.last[MESSAGE_NOTE].number & NOTE_CONFIGURED, 0);
	assert_true(say("save"));
	assert_string_equal(said.text, "OK devices=2\n");
	expect_file("c", HEAD "add ram id=0 name=a size=1M\n"
			      "add null id=3 delay-time=1ms\n");
	assert_int_equal(stat(test_path("c"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0644);
	assert_int_equal(access(test_path("c.new"), F_OK), -1);
	assert_int_equal(access(test_path("c.old"), F_OK), -1);
	/* They came from there now, as far as the next server knows. */
	assert_int_equal(fake.count[MESSAGE_NOTE], 4);
	assert_true(fake.last[MESSAGE_NOTE].number & NOTE_CONFIGURED);
	assert_true(say("save"));
	assert_int_equal(fake.count[MESSAGE_NOTE], 4);
}

static void drop_reply(struct request *request, const char *text, size_t length)
{
}

static void drop_done(struct request *request, const struct failure *failure)
{
}

/* By somebody else, while the last command that was said goes on. */
static void add_meanwhile(const char *line)
{
	static struct session session;
	static struct request request;
	const char *why;

	memset(&request, 0, sizeof(request));
	request.host = &fake_host;
	request.session = &session;
	request.emit = drop_reply;
	request.done = drop_done;
	assert_int_equal(syntax_split(&request.line, line, strlen(line), &why),
			 0);
	command_run(&request);
	fake_serve();
}

/* What is added while the file is written does not stand there. */
TEST_CASE(test_save_and_an_add)
{
	use_config("c");
	assert_true(say("add null id=3"));
	fake.hold[MESSAGE_ASK] = 1;
	say("save");
	assert_false(said.done);
	add_meanwhile("add null id=4");
	fake_release(MESSAGE_ASK);
	assert_string_equal(said.text, "OK devices=1\n");
	expect_file("c", HEAD "add null id=3\n");
	assert_true(device_find(&fake_host.devices, 3)->spec.configured);
	assert_non_null(device_find(&fake_host.devices, 4));
	assert_false(device_find(&fake_host.devices, 4)->spec.configured);
}

/* Its mode, what it was, and the link that leads to it. */
TEST_CASE(test_save_keeps)
{
	struct stat status;
	char target[300];

	test_file("d/c", "# mine\n");
	assert_int_equal(chmod(test_path("d/c"), 0640), 0);
	snprintf(target, sizeof(target), "%s/d/c", test_folder());
	assert_int_equal(symlink(target, test_path("link")), 0);
	use_config("link");
	assert_true(say("save"));
	expect_file("d/c", HEAD);
	expect_file("d/c.old", "# mine\n");
	assert_int_equal(lstat(test_path("link"), &status), 0);
	assert_true(S_ISLNK(status.st_mode));
	assert_int_equal(stat(test_path("d/c"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	assert_true(say("add null id=1"));
	assert_true(say("save"));
	expect_file("d/c.old", HEAD);
}

int __real_link(const char *path, const char *other);

int __wrap_link(const char *path, const char *other)
{
	if (!link_error)
		return __real_link(path, other);
	errno = link_error;
	return -1;
}

static int fsync_error;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	if (!fsync_error)
		return __real_fsync(fd);
	errno = fsync_error;
	return -1;
}

/* On vfat; what was kept before is not lost to that. */
TEST_CASE(test_save_without_links)
{
	use_config("c");
	test_file("c", "# mine\n");
	test_file("c.old", "# older\n");
	link_error = EPERM;
	assert_true(say("save"));
	assert_true(log_has("c: what it was is not kept"));
	expect_file("c", HEAD);
	expect_file("c.old", "# older\n");
	test_file("c", "# mine\n");
	link_error = ENOSPC;
	expect_refused("save", "cannot replace ");
	link_error = 0;
	expect_file("c", "# mine\n");
	expect_file("c.old", "# older\n");
	assert_true(say("save"));
	expect_file("c.old", "# mine\n");
	assert_int_equal(access(test_path("c.old.new"), F_OK), -1);
}

/* Of a disk that is full, or broken, nothing stays that is half written. */
TEST_CASE(test_save_and_a_full_disk)
{
	use_config("c");
	test_file("c", "# mine\n");
	fsync_error = ENOSPC;
	expect_refused("save", "c.new: No space left");
	assert_int_equal(access(test_path("c.new"), F_OK), -1);
	expect_file("c", "# mine\n");
	fsync_error = 0;
	assert_true(say("save"));
	expect_file("c", HEAD);
}

/* What lies in the place of the new file is not written into. */
TEST_CASE(test_save_and_a_left_file)
{
	use_config("c");
	test_file("other", "# other\n");
	assert_int_equal(link(test_path("other"), test_path("c.new")), 0);
	assert_true(say("save"));
	expect_file("c", HEAD);
	expect_file("other", "# other\n");
}

TEST_CASE(test_save_and_includes)
{
	use_config("c");
	test_file("c", "# x\ninclude d/*\n");
	assert_true(say("add null id=1"));
	expect_refused("save", "c:2 includes other files: flat=yes");
	expect_file("c", "# x\ninclude d/*\n");
	assert_true(say("save flat=yes"));
	expect_file("c", HEAD "add null id=1\n");
	expect_file("c.old", "# x\ninclude d/*\n");
}

TEST_CASE(test_save_fails)
{
	use_config("none/c");
	expect_refused("save", "ERR notfound text=\"cannot write ");
	test_file("d/x", "");
	use_config("d");
	expect_refused("save", "no file that can be replaced");
	/* Something is in the way of the new one. */
	test_file("c", "# x\n");
	test_file("c.new/x", "");
	use_config("c");
	expect_refused("save", "cannot write ");
	expect_file("c", "# x\n");
	fake_end_keeper();
	command_keeper_gone(&fake_host);
	expect_refused("save", "ERR state");
}

TEST_CASE(test_save_in_pieces)
{
	char line[40];
	int i;

	use_config("c");
	for (i = 0; i < 40; i++) {
		snprintf(line, sizeof(line), "add null id=%d", i);
		assert_true(say(line));
	}
	assert_true(say("save"));
	assert_string_equal(said.text, "OK devices=40\n");
	assert_non_null(strstr(read_file(test_path("c")),
			       "\nadd null id=15\nadd null id=16\n"));
}

/* ---- random configurations ---- */

/* How often something else than the default has been accepted. */
static unsigned used_common[OPTION_MAX], used_values[8][OPTION_MAX];

static const char *pick(const char *const *words)
{
	unsigned count = 0;

	while (words[count])
		count++;
	return words[random_number(count)];
}

/* Often a small one, and often one at the edge. */
static uint64_t pick_number(uint64_t min, uint64_t max)
{
	if (random_number(8) == 0)
		return random_number(2) ? min : max;
	if (max - min > 100000 && random_number(2))
		max = min + 100000;
	return min + random_number(max - min ? max - min : 1);
}

static void put_size(char *text, size_t size, uint64_t bytes)
{
	if (bytes % 1024 == 0 && random_number(2))
		snprintf(text, size, "%llu%s", (unsigned long long)bytes / 1024,
			 random_number(2) ? "k" : "KiB");
	else if (bytes % 512 == 0 && random_number(2))
		snprintf(text, size, "%llu.%dK",
			 (unsigned long long)bytes / 1024,
			 bytes % 1024 ? 50 : 0);
	else
		snprintf(text, size, "%llu", (unsigned long long)bytes);
}

static uint64_t pick_size(const struct option *option)
{
	if (strcmp(option->name, "size") == 0)
		return 4096 * (1 + random_number(255));
	if (strcmp(option->name, "cluster") == 0)
		return 4096ULL << random_number(9);
	if (strcmp(option->name, "offset") == 0)
		return 4096 * random_number(16);
	if (strcmp(option->name, "block-size") == 0)
		return 512ULL << random_number(4);
	if (strcmp(option->name, "max-io") == 0)
		return 4096 * (1 + random_number(256));
	return pick_number(option->min, option->max);
}

static void put_time(char *text, size_t size, uint64_t us)
{
	if (us % 1000 == 0 && random_number(2))
		snprintf(text, size, "%llums", (unsigned long long)us / 1000);
	else
		snprintf(text, size, "%lluus", (unsigned long long)us);
}

static void put_list(const char *const *choices, char *text, size_t size)
{
	int i, count = 1 + (int)random_number(4);

	text[0] = '\0';
	for (i = 0; i < count; i++) {
		if (i)
			add_text(text, size, ",");
		add_text(text, size, pick(choices));
	}
}

/* Each device's own, for one that is committed to is nobody else's. */
static const char *base_path(unsigned which)
{
	char name[20];

	snprintf(name, sizeof(name), "base%u", which);
	return test_path(name);
}

/* A value as somebody might type it. */
static void put_value(const struct option *option, unsigned which, char *text,
		      size_t size)
{
	static const char *const flags[] = { "yes", "no", "on", "off",
					     "1",   "0",  NULL };

	switch (option->type) {
	case OPTION_SIZE:
		if (option->choices && random_number(4) == 0)
			snprintf(text, size, "%s", option->choices[0]);
		else
			put_size(text, size, pick_size(option));
		break;
	case OPTION_NUMBER:
		snprintf(text, size, "%llu",
			 (unsigned long long)pick_number(option->min,
							 option->max));
		break;
	case OPTION_TIME:
		put_time(text, size,
			 random_number(3) * 1000 *
				 pick_number(0, option->max / 3000));
		break;
	case OPTION_RATE:
		snprintf(text, size, random_number(2) ? "0.%u" : "%u%%",
			 (unsigned)random_number(101));
		break;
	case OPTION_FLAG:
		snprintf(text, size, "%s", pick(flags));
		break;
	case OPTION_NAME:
		snprintf(text, size, "n.%u:%u", which,
			 (unsigned)random_number(1000));
		break;
	case OPTION_CHOICE:
		snprintf(text, size, "%s", pick(option->choices));
		break;
	case OPTION_PATH:
		if (option->choices)
			snprintf(text, size, "%s",
				 host_has_shm() ? pick(option->choices)
						: option->choices[0]);
		else
			snprintf(text, size, "%s/f '%u", test_folder(), which);
		break;
	case OPTION_LIST:
		put_list(option->choices, text, size);
		break;
	case OPTION_SOURCE:
		snprintf(text, size, "%s", base_path(which));
		break;
	case OPTION_URI:
		snprintf(text, size, "nbd+unix:///a'b?socket=/%u", which);
		break;
	case OPTION_TEXT:
		snprintf(text, size, "a \"b' %u", which);
	}
}

static void put_option(const struct option *option, unsigned which, char *line,
		       size_t size)
{
	char value[600], word[700], quoted[1500];

	put_value(option, which, value, sizeof(value));
	snprintf(word, sizeof(word), "%s=%s", option->name, value);
	if (random_number(2))
		syntax_quote(quoted, sizeof(quoted), word);
	else
		syntax_quote_text(quoted, sizeof(quoted), word);
	add_text(line, size, " ");
	add_text(line, size, quoted);
}

/* Each option of a table with the chance of one in `rarely`. */
static void put_options(const struct option *table, unsigned rarely,
			unsigned which, char *line, size_t size)
{
	for (; table->name; table++)
		if (table->required || random_number(rarely) == 0)
			put_option(table, which, line, size);
}

static void add_random(unsigned which)
{
	const struct target_ops *target;
	unsigned rarely = 1 + (unsigned)random_number(12);
	char line[SYNTAX_LINE_MAX];
	unsigned targets = 0;

	while (target_table[targets])
		targets++;
	target = target_table[random_number(targets)];
	snprintf(line, sizeof(line), "add %s", target->name);
	put_options(target->options, rarely + 1, which, line, sizeof(line));
	put_options(verb_add_options, rarely + 1, which, line, sizeof(line));
	say(line);
}

/* What can be changed later. */
static void change_random(uint32_t id)
{
	char line[SYNTAX_LINE_MAX];

	snprintf(line, sizeof(line), "set %u", id);
	put_options(layer_options, 4, 0, line, sizeof(line));
	say(line);
	snprintf(line, sizeof(line), "resize %u size=%u", id,
		 4096 * (1 + (unsigned)random_number(300)));
	say(line);
}

static struct device *device_number(unsigned number)
{
	struct device *device = fake_host.devices.first;

	while (device && number--)
		device = device->next;
	return device;
}

/* The numbers of all options of a device. */
struct facts {
	const struct target_ops *target;
	uint64_t common[OPTION_MAX], values[OPTION_MAX];
};

static void take_numbers(const struct option *table,
			 const struct option_value *values, uint64_t *numbers,
			 unsigned *counts)
{
	unsigned i;

	for (i = 0; table[i].name; i++) {
		numbers[i] = values[i].number;
		counts[i] += values[i].given &&
			     !option_is_default(&table[i], &values[i]);
	}
}

static unsigned target_number(const struct target_ops *target)
{
	unsigned i = 0;

	while (target_table[i] != target)
		i++;
	assert_true(i < COUNT(used_values));
	return i;
}

static unsigned take_facts(struct facts *facts)
{
	const struct device *device = fake_host.devices.first;
	struct syntax_line line;
	struct failure failure;
	unsigned count = 0;
	struct add add;

	memset(facts, 0, DEVICES * sizeof(*facts));
	for (; device; device = device->next, count++) {
		assert_int_equal(add_read_words(device->spec.words, &line, &add,
						&failure),
				 0);
		facts[count].target = add.target;
		take_numbers(verb_add_options, add.common, facts[count].common,
			     used_common);
		take_numbers(add.target->options, add.values,
			     facts[count].values,
			     used_values[target_number(add.target)]);
		facts[count].common[0] = device->spec.id;
	}
	return count;
}

static void expect_same(unsigned seed, const char *is, const char *was)
{
	if (strcmp(is, was) != 0)
		fail_msg("seed %u: %snot: %s", seed, is, was);
}

/* Empty ones, of which a layer may have been made before. */
static void make_files(void)
{
	char name[20];
	unsigned i;

	for (i = 0; i < DEVICES; i++) {
		snprintf(name, sizeof(name), "f '%u", i);
		test_file(name, "");
		assert_int_equal(truncate(test_path(name), 4 << 20), 0);
		snprintf(name, sizeof(name), "base%u", i);
		test_file(name, "");
		assert_int_equal(truncate(test_path(name), 4 << 20), 0);
	}
}

/* Returns how many devices there were. */
static unsigned check_configuration(unsigned seed)
{
	struct facts before[DEVICES], after[DEVICES];
	unsigned count, i;
	char *list, *dump, *again, *list_again;

	random_seed(seed);
	make_files();
	count = 1 + (unsigned)random_number(DEVICES);
	for (i = 0; i < count; i++)
		add_random(i);
	for (i = 0; device_number(i); i++)
		if (random_number(4) == 0)
			change_random(device_number(i)->spec.id);
	count = take_facts(before);
	list = answer("list");
	dump = answer("dump");
	delete_all();
	load(dump);
	again = answer("dump");
	list_again = answer("list");
	expect_same(seed, again, dump);
	expect_same(seed, list_again, list);
	take_facts(after);
	if (memcmp(after, before, sizeof(before)) != 0)
		fail_msg("seed %u: other values: %s", seed, dump);
	delete_all();
	free(list);
	free(dump);
	free(again);
	free(list_again);
	return count;
}

static void expect_all_used(const struct option *table, const unsigned *counts)
{
	int i;

	for (i = 0; table[i].name; i++) {
		about(table[i].name);
		if (table[i].type != OPTION_PATH || host_has_shm())
			assert_true(counts[i] > 0);
	}
}

TEST_CASE(test_fixed_point)
{
	unsigned i, whole = 0;

	fake.runs = 1;
	assert_int_equal(io_initialise(), 0);
	for (i = 0; i < CONFIGURATIONS; i++)
		whole += check_configuration(i);
	/* No option has been refused each time. */
	expect_all_used(verb_add_options, used_common);
	for (i = 0; target_table[i]; i++)
		expect_all_used(target_table[i]->options, used_values[i]);
	assert_true(whole > CONFIGURATIONS);
}

int main(void)
{
	return tests_run();
}
