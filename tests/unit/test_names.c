/* What udev is told: a device's name is there as long as its note is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/state.h"
#include "support.h"

static struct state state;
static struct failure failure;
static char names[100];

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

static void note(uint32_t id, const char *words)
{
	struct state_device device = { .id = id, .words = (char *)words };

	assert_int_equal(state_write(&state, &device), 0);
}

static int start(void **unused)
{
	(void)unused;
	log_forget();
	snprintf(names, sizeof(names), "%s", test_path("names"));
	state = (struct state){ .names = names };
	assert_int_equal(state_open(&state, test_path("state"), &failure), 0);
	return 0;
}

static int stop(void **unused)
{
	(void)unused;
	state_close(&state);
	test_folder_remove();
	return 0;
}

static void test_come_and_go(void **unused)
{
	(void)unused;
	note(3, "add ram size=1M name=a");
	note(31, "add file path=/name=x name=b:c.d size=1M");
	assert_string_equal(content("ublkb3"), "UBLKD_NAME=a\n");
	assert_string_equal(content("ublkb31"), "UBLKD_NAME=b:c.d\n");
	/* Other words of the same device, as `set` and `resize` bring them. */
	note(3, "add ram size=2M name=a error-rate=1");
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
static void test_none(void **unused)
{
	(void)unused;
	note(3, "add ram size=1M");
	assert_int_equal(access(names, F_OK), -1);
	note(3, "add ram size=1M name=a");
	note(3, "add ram size=1M");
	assert_string_equal(content("ublkb3"), "");
	state.names = NULL;
	note(3, "add ram size=1M name=a");
	state_remove(&state, 3);
	assert_int_equal(rmdir(names), 0);
}

/* A device is noted all the same, and others cannot choose where links lead. */
static void test_cannot(void **unused)
{
	(void)unused;
	assert_int_equal(mkdir(names, 0700), 0);
	assert_int_equal(chmod(names, 0722), 0);
	note(3, "add null name=a");
	assert_int_equal(log_count("device 3 gets no link"), 1);
	assert_string_equal(content("ublkb3"), "");
	assert_int_equal(rmdir(names), 0);
	assert_int_equal(symlink(test_path("state"), names), 0);
	note(3, "add null name=a");
	assert_int_equal(log_count("device 3 gets no link"), 2);
	assert_int_equal(access(test_path("state/ublkb3"), F_OK), -1);
	assert_int_equal(state_has(&state, 3), 1);
	state_remove(&state, 3);
}

/* Nothing is left of one that cannot be put in its place. */
static void test_place_is_taken(void **unused)
{
	(void)unused;
	test_file("names/ublkb3/x", "");
	note(3, "add null name=a");
	assert_int_equal(log_count("device 3 gets no link"), 1);
	assert_int_equal(access(test_path("names/ublkb3.new"), F_OK), -1);
	state_remove(&state, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_come_and_go, start, stop),
		cmocka_unit_test_setup_teardown(test_none, start, stop),
		cmocka_unit_test_setup_teardown(test_cannot, start, stop),
		cmocka_unit_test_setup_teardown(test_place_is_taken, start,
						stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
