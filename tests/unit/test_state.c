/* The state folder: what is written is read back, and what is wrong is left. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/state.h"
#include "base/syntax.h"
#include "support.h"

static struct state state;
static struct failure failure;

/* ---- calls that fail when told to ---- */

static struct {
	int write, fsync, rename; /* the errno to fail with */
	unsigned synced;
	int short_write;
} fake;

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
	errno = fake.write;
	if (fake.write)
		return -1;
	return __real_write(fd, bytes, fake.short_write ? size / 2 : size);
}

int __wrap_fsync(int fd)
{
	errno = fake.fsync;
	fake.synced++;
	return fake.fsync ? -1 : __real_fsync(fd);
}

int __wrap_renameat(int from, const char *old, int to, const char *new)
{
	errno = fake.rename;
	return fake.rename ? -1 : __real_renameat(from, old, to, new);
}

/* ---- what was read ---- */

static struct state_device seen[4];
static char seen_words[COUNT(seen)][MESSAGE_TEXT];
static struct held_file seen_files[COUNT(seen)][MESSAGE_MAX_FDS];
static unsigned seen_count;

static void take(void *context, struct state_device *device)
{
	assert_ptr_equal(context, &state);
	assert_true(seen_count < COUNT(seen));
	seen[seen_count] = *device;
	snprintf(seen_words[seen_count], MESSAGE_TEXT, "%s", device->words);
	seen[seen_count].words = seen_words[seen_count];
	seen[seen_count].files = memcpy(seen_files[seen_count], device->files,
					sizeof(seen_files[seen_count]));
	seen_count++;
}

static void read_all(unsigned expected)
{
	seen_count = 0;
	assert_int_equal(state_read_all(&state, take, &state), 0);
	assert_int_equal(seen_count, expected);
}

static int exists(const char *name)
{
	return faccessat(state.fd, name, F_OK, 0) == 0;
}

static int start(void **context)
{
	memset(&fake, 0, sizeof(fake));
	test_folder();
	assert_int_equal(state_open(&state, test_path("s"), &failure), 0);
	return 0;
}

static int stop(void **context)
{
	memset(&fake, 0, sizeof(fake));
	state_close(&state);
	state.names = NULL;
	test_folder_remove();
	return 0;
}

static struct state_device new_device(uint32_t id)
{
	static struct held_file files[MESSAGE_MAX_FDS];
	static char words[MESSAGE_TEXT];
	struct state_device device = {
		.id = id, .recoverable = 1, .words = words, .files = files
	};

	memset(files, 0, sizeof(files));
	snprintf(words, sizeof(words), "add null size=1M id=%u", (unsigned)id);
	return device;
}

static void write_device(uint32_t id)
{
	struct state_device device = new_device(id);

	assert_int_equal(state_write(&state, &device), 0);
}

/* ---- devices ---- */

static void test_empty(void **context)
{
	read_all(0);
}

static void test_round_trip(void **context)
{
	struct state_device device = new_device(7);

	device.private = device.configured = device.quiesced = 1;
	device.mark = UINT64_MAX;
	device.tally = UINT64_MAX - 1;
	device.file_count = 2;
	device.files[0].fd = device.files[1].fd = -1;
	strcpy(device.files[1].path, "/a b/\"c\"\n#d");
	device.files[1].device = 26;
	device.files[1].inode = (ino_t)1 << 40;
	device.files[1].born = UINT64_MAX;
	device.files[1].generation = UINT64_MAX - 1;
	assert_int_equal(state_write(&state, &device), 0);
	read_all(1);
	assert_int_equal(seen[0].id, 7);
	assert_int_equal(seen[0].recoverable, 1);
	assert_int_equal(seen[0].private, 1);
	assert_int_equal(seen[0].configured, 1);
	assert_int_equal(seen[0].quiesced, 1);
	assert_int_equal(seen[0].deleting, 0);
	assert_true(seen[0].mark == device.mark);
	assert_true(seen[0].tally == device.tally);
	assert_string_equal(seen[0].words, device.words);
	assert_int_equal(seen[0].file_count, 2);
	assert_memory_equal(seen[0].files, device.files,
			    2 * sizeof(*device.files));
	device = new_device(UBLK_MAX_DEVICES - 1);
	device.recoverable = 0;
	assert_int_equal(state_write(&state, &device), 0);
	read_all(2);
}

static void test_long_words(void **context)
{
	struct state_device device = new_device(1);
	size_t length = strlen("add ");

	memset(device.words, 'x', SYNTAX_LINE_MAX);
	memcpy(device.words, "add ", length);
	device.words[SYNTAX_LINE_MAX] = '\0';
	assert_int_equal(state_write(&state, &device), 0);
	read_all(1);
	assert_string_equal(seen[0].words, device.words);
}

static void test_replace(void **context)
{
	struct state_device device = new_device(3);

	write_device(3);
	snprintf(device.words, MESSAGE_TEXT,
		 "add null size=1M id=3 error-rate=1");
	assert_int_equal(state_write(&state, &device), 0);
	read_all(1);
	assert_string_equal(seen[0].words, device.words);
}

static void test_doom_and_remove(void **context)
{
	write_device(3);
	write_device(4);
	assert_int_equal(state_doom(&state, 3), 0);
	assert_int_equal(state_doom(&state, 5), -ENOENT);
	assert_int_equal(state_doom(&state, 4), 0);
	assert_int_equal(state_spare(&state, 4), 0);
	assert_int_equal(state_spare(&state, 4), -ENOENT);
	read_all(2);
	assert_int_equal(seen[seen[0].id == 3 ? 0 : 1].deleting, 1);
	assert_int_equal(seen[seen[0].id == 4 ? 0 : 1].deleting, 0);
	state_remove(&state, 3);
	state_remove(&state, 4);
	state_remove(&state, 5);
	read_all(0);
}

/* One note a device: whoever writes a new one knows better. */
static void test_spared_in_vain(void **context)
{
	write_device(3);
	assert_int_equal(state_doom(&state, 3), 0);
	fake.rename = EROFS;
	assert_int_equal(state_spare(&state, 3), -EROFS);
	fake.rename = 0;
	write_device(3);
	read_all(1);
	assert_int_equal(seen[0].deleting, 0);
}

/* As builds before the mark was noted have left one. */
static void test_without_mark(void **context)
{
	test_file("s/3.dev", "state version=1 id=3 recoverable=1 private=0\n"
			     "add null\n");
	read_all(1);
	assert_true(seen[0].mark == 0);
	assert_true(seen[0].tally == 0);
}

/* As the builds before wrote what a file is. */
static void test_without_birth(void **context)
{
	test_file("s/3.dev", "state version=1 id=3 recoverable=1 private=0\n"
			     "file path=/a device=1 inode=2\n"
			     "add null\n");
	read_all(1);
	assert_int_equal(seen[0].file_count, 1);
	assert_int_equal(seen[0].files[0].fd, -1);
	assert_int_equal(seen[0].files[0].inode, 2);
	assert_true(seen[0].files[0].born == 0);
	assert_true(seen[0].files[0].generation == 0);
}

/* Whoever can put one there is not to have any file read, or written. */
static void test_symbolic_links(void **context)
{
	struct state_device device = new_device(4);
	struct stat status;

	test_file("elsewhere", "state version=1 id=3 recoverable=1 private=0\n"
			       "add null\n");
	assert_int_equal(symlink("../elsewhere", test_path("s/3.dev")), 0);
	log_forget();
	read_all(0);
	assert_true(log_has("3.dev is no device's state"));
	assert_false(state_has(&state, 3));
	assert_int_equal(unlink(test_path("s/3.dev")), 0);
	assert_int_equal(symlink("../elsewhere", test_path("s/new")), 0);
	assert_int_equal(state_write(&state, &device), -ELOOP);
	assert_int_equal(stat(test_path("elsewhere"), &status), 0);
	assert_true(status.st_size > 40);
	read_all(0);
}

static void test_has(void **context)
{
	write_device(3);
	write_device(4);
	assert_int_equal(state_doom(&state, 4), 0);
	test_file("s/5.dev", "");
	assert_true(state_has(&state, 3));
	assert_true(state_has(&state, 4));
	assert_false(state_has(&state, 5));
	assert_false(state_has(&state, 6));
}

/* A failure leaves what was there before. */
static void check_write_fails(int error)
{
	struct state_device device = new_device(3);

	snprintf(device.words, MESSAGE_TEXT, "add null size=2M id=3");
	assert_int_equal(state_write(&state, &device), error);
	memset(&fake, 0, sizeof(fake));
	assert_false(exists("new"));
	read_all(1);
	assert_string_equal(seen[0].words, new_device(3).words);
}

static void test_write_fails(void **context)
{
	write_device(3);
	fake.write = EIO;
	check_write_fails(-EIO);
	fake.short_write = 1;
	check_write_fails(-ENOSPC);
	fake.fsync = EDQUOT;
	check_write_fails(-EDQUOT);
	fake.rename = EROFS;
	check_write_fails(-EROFS);
}

/* ---- files that are not as they should be ---- */

static void check_left(const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "s/%s", name);
	test_file(path, text);
	log_forget();
	read_all(0);
	if (!log_has("no device's state"))
		fail_msg("'%s' was not told of", text);
	assert_true(exists(name));
	assert_int_equal(unlinkat(state.fd, name, 0), 0);
}

#define HEAD  "state version=1 id=3 recoverable=1 private=0\n"
#define WORDS "add null\n"

static void test_wrong_files(void **context)
{
	check_left("3.dev", "");
	check_left("3.dev", HEAD);
	check_left("3.dev", HEAD "add null");
	check_left("3.dev", HEAD "del 3\n");
	check_left("3.dev", HEAD WORDS "more\n");
	check_left("3.dev", HEAD "\n");
	check_left("3.dev", HEAD "add \"null\n");
	check_left("3.dev", WORDS);
	check_left("4.dev", HEAD WORDS);
	check_left("3.del", "garbage\n" WORDS);
	check_left("3.dev",
		   "state version=2 id=3 recoverable=1 private=0\n" WORDS);
	check_left("3.dev",
		   "state version=1 id=3 recoverable=2 private=0\n" WORDS);
	check_left("3.dev", "state version=1 id=3 private=0\n" WORDS);
	check_left("3.dev",
		   "state version=1 id=-3 recoverable=1 private=0\n" WORDS);
	check_left("3.dev", HEAD "file\n" WORDS);
	check_left("3.dev", HEAD "file path=/a device=1\n" WORDS);
	check_left("3.dev", HEAD "file path=/a inode=1\n" WORDS);
	check_left("3.dev", HEAD "file device=1 inode=1 path=/a\n" WORDS);
}

static void test_too_many_files(void **context)
{
	char text[1024] = HEAD;
	int i;

	for (i = 0; i <= MESSAGE_MAX_FDS; i++)
		add_text(text, sizeof(text), "file path=/a device=1 inode=1\n");
	add_text(text, sizeof(text), WORDS);
	check_left("3.dev", text);
}

static void test_other_files(void **context)
{
	test_file("s/dev", HEAD WORDS);
	test_file("s/3", HEAD WORDS);
	test_file("s/x3.dev", HEAD WORDS);
	test_file("s/3.dev~", HEAD WORDS);
	test_file("s/new", HEAD);
	log_forget();
	read_all(0);
	assert_false(log_has("state"));
}

/* ---- the folder ---- */

static void check_refused(const char *path, enum symbol symbol,
			  const char *part)
{
	struct state other;
	unsigned fds = count_fds();

	assert_int_equal(state_open(&other, path, &failure), -1);
	assert_string_equal(symbol_name(failure.symbol), symbol_name(symbol));
	if (!strstr(failure.text, part))
		fail_msg("'%s' does not tell '%s'", failure.text, part);
	assert_int_equal(count_fds(), fds);
}

static void test_folder_is_ours(void **context)
{
	struct stat status;

	assert_int_equal(stat(state.path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0700);
	check_refused(state.path, SYMBOL_BUSY, "another ublkd");
	assert_int_equal(mkdir(test_path("open"), 0700), 0);
	assert_int_equal(chmod(test_path("open"), 0770), 0);
	check_refused(test_path("open"), SYMBOL_DENIED, "by others");
	test_file("file", "");
	check_refused(test_path("file"), SYMBOL_IO, "Not a directory");
	check_refused(test_path("no/where"), SYMBOL_NOTFOUND, "No such file");
	assert_int_equal(symlink("s", test_path("link")), 0);
	check_refused(test_path("link"), SYMBOL_IO, "link");
}

static void test_path_too_long(void **context)
{
	char path[200];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	path[0] = '/';
	check_refused(path, SYMBOL_ARG, "at most");
}

/* What we made goes, unless there is something in it. */
static void test_close(void **context)
{
	struct stat status;

	write_device(1);
	state_close(&state);
	assert_int_equal(stat(test_path("s"), &status), 0);
	assert_int_equal(state_open(&state, test_path("s"), &failure), 0);
	state_remove(&state, 1);
	state_close(&state);
	/* The second one did not make it. */
	assert_int_equal(stat(test_path("s"), &status), 0);
	assert_int_equal(rmdir(test_path("s")), 0);
	assert_int_equal(state_open(&state, test_path("s"), &failure), 0);
	state_close(&state);
	assert_int_equal(stat(test_path("s"), &status), -1);
}

/* ---- names, for udev: there as long as the device's note is ---- */

static char names[100];

static void begin_names(void)
{
	log_forget();
	snprintf(names, sizeof(names), "%s", test_path("names"));
	state.names = names;
}

/* What the file holds; "": it is not there. */
static const char *content(const char *file)
{
	static char text[200];
	char path[200];
	size_t length;
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", names, file);
	stream = fopen(path, "re");
	if (!stream)
		return "";
	length = fread(text, 1, sizeof(text) - 1, stream);
	text[length] = '\0';
	fclose(stream);
	return text;
}

static void note_words(uint32_t id, const char *words)
{
	struct state_device device = { .id = id, .words = (char *)words };

	assert_int_equal(state_write(&state, &device), 0);
}

static void test_names(void **context)
{
	begin_names();
	fake.synced = 0;
	note_words(3, "add ram size=1M name=a");
	assert_int_equal(fake.synced,
			 1); /* the note: nobody waits for a name */
	note_words(31, "add file path=/name=x name=b:c.d size=1M");
	assert_string_equal(content("ublkb3"), "UBLKD_NAME=a\n");
	assert_string_equal(content("ublkb31"), "UBLKD_NAME=b:c.d\n");
	note_words(4, "add null owner=alice:staff node-mode=0640 name=c");
	assert_string_equal(content("ublkb4"),
			    "UBLKD_OWNER=alice\nUBLKD_GROUP=staff\n"
			    "UBLKD_MODE=0640\nUBLKD_NAME=c\n");
	note_words(4, "add null owner=1000");
	assert_string_equal(content("ublkb4"), "UBLKD_OWNER=1000\n");
	state_remove(&state, 4);
	/* Other words of the same device, as `set` and `resize` bring them. */
	note_words(3, "add ram size=2M name=a error-rate=1");
	assert_string_equal(content("ublkb3"), "UBLKD_NAME=a\n");
	assert_int_equal(state_doom(&state, 3), 0);
	assert_string_equal(content("ublkb3"), "UBLKD_NAME=a\n");
	state_remove(&state, 3);
	assert_string_equal(content("ublkb3"), "");
	assert_string_equal(content("ublkb31"), "UBLKD_NAME=b:c.d\n");
	state_remove(&state, 31);
	state_remove(&state, 31);
	assert_int_equal(rmdir(names), 0);
	assert_false(log_has("names"));
}

/* One that has none does not get that of the one before it. */
static void test_no_name(void **context)
{
	begin_names();
	note_words(3, "add ram size=1M");
	assert_int_equal(access(names, F_OK), -1);
	note_words(3, "add ram size=1M name=a");
	note_words(3, "add ram size=1M");
	assert_string_equal(content("ublkb3"), "");
	state.names = NULL;
	note_words(3, "add ram size=1M name=a");
	state_remove(&state, 3);
	assert_int_equal(rmdir(names), 0);
}

/* A device is noted all the same, and others cannot choose where links lead. */
static void test_names_cannot(void **context)
{
	begin_names();
	assert_int_equal(mkdir(names, 0700), 0);
	assert_int_equal(chmod(names, 0722), 0);
	note_words(3, "add null name=a");
	assert_int_equal(log_count("device 3: udev gets to know neither"), 1);
	assert_string_equal(content("ublkb3"), "");
	assert_int_equal(rmdir(names), 0);
	assert_int_equal(symlink(test_path("s"), names), 0);
	note_words(3, "add null name=a");
	assert_int_equal(log_count("device 3: udev gets to know neither"), 2);
	assert_int_equal(access(test_path("s/ublkb3"), F_OK), -1);
	assert_int_equal(state_has(&state, 3), 1);
	state_remove(&state, 3);
}

/* Nothing is left of one that cannot be put in its place. */
static void test_name_is_taken(void **context)
{
	begin_names();
	test_file("names/ublkb3/x", "");
	note_words(3, "add null name=a");
	assert_int_equal(log_count("device 3: udev gets to know neither"), 1);
	assert_int_equal(access(test_path("names/ublkb3.new"), F_OK), -1);
	state_remove(&state, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty),	    TEST(test_round_trip),
		TEST(test_long_words),	    TEST(test_replace),
		TEST(test_doom_and_remove), TEST(test_spared_in_vain),
		TEST(test_without_mark),    TEST(test_without_birth),
		TEST(test_symbolic_links),  TEST(test_has),
		TEST(test_write_fails),	    TEST(test_wrong_files),
		TEST(test_too_many_files),  TEST(test_other_files),
		TEST(test_folder_is_ours),  TEST(test_path_too_long),
		TEST(test_close),	    TEST(test_names),
		TEST(test_no_name),	    TEST(test_names_cannot),
		TEST(test_name_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
