/* A build that leaves things out: whoever asks for one is told so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "keeper/notify.h"
#include "admin/startup.h"

static struct {
	unsigned count;
	int failed;
	struct failure failure;
} told;

static void on_done(struct command_host *host, const struct failure *failure)
{
	(void)host;
	told.count++;
	told.failed = failure != NULL;
	if (failure)
		told.failure = *failure;
}

static int start(void **state)
{
	fake_start();
	memset(&told, 0, sizeof(told));
	return 0;
}

static int stop(void **state)
{
	device_delete_all(&fake_host.devices);
	fake_serve();
	assert_null(fake_host.devices.first);
	fake_stop();
	test_folder_remove();
	return 0;
}

static void run(const char *text)
{
	test_file("c", text);
	told.count = 0;
	fake_host.config = test_path("c");
	startup_run(&fake_host, 0, on_done);
	fake_serve();
	assert_int_equal(told.count, 1);
}

#if defined(WITHOUT_COW) || defined(WITHOUT_FILE) || defined(WITHOUT_NBD) || \
	defined(WITHOUT_RAM) || defined(WITHOUT_LAYERS)
static void expect_refused(const char *text, const char *option)
{
	run(text);
	assert_true(told.failed);
	assert_int_equal(told.failure.symbol, SYMBOL_UNSUPPORTED);
	assert_non_null(strstr(told.failure.text, option));
	assert_int_equal(fake_host.devices.count, 0);
}
#endif

static void test_what_is_left_works(void **state)
{
	run("add null\nfeatures\ntargets\nhelp add null\n");
	assert_false(told.failed);
	assert_int_equal(fake_host.devices.count, 1);
}

#ifdef WITHOUT_FILE
static void test_file_target(void **state)
{
	expect_refused("add file path=/nowhere\n", "--disable-file");
	run("help add file\n");
	assert_false(told.failed);
}
#endif

#ifdef WITHOUT_NBD
static void test_nbd(void **state)
{
	expect_refused("add nbd uri=nbd://nowhere/x\n", "--disable-nbd");
	run("help add nbd\n");
	assert_false(told.failed);
}
#endif

#if defined(WITHOUT_COW) || defined(WITHOUT_FILE)
static void test_cow(void **state)
{
	expect_refused("add cow base=/nowhere path=/nowhere\n",
		       "built without");
	run("help add cow\n");
	assert_false(told.failed);
}
#endif

#ifdef WITHOUT_RAM
static void test_ram(void **state)
{
	expect_refused("add ram size=1M\n", "--disable-ram");
	run("help add ram\n");
	assert_false(told.failed);
}
#endif

#ifdef WITHOUT_LAYERS
static void test_layers(void **state)
{
	expect_refused("add null delay-time=1s\n", "--disable-layers");
	expect_refused("add null error-every=2\n", "--disable-layers");
	/* What needs no layer is no mistake. */
	run("add null error-every=0\n");
	assert_false(told.failed);
	run("set 0 delay-time=1s\n");
	assert_int_equal(told.failure.symbol, SYMBOL_UNSUPPORTED);
}
#endif

#ifdef WITHOUT_SYSTEMD
static void test_systemd(void **state)
{
	const char *name;

	unsetenv("NOTIFY_SOCKET");
	unsetenv("LISTEN_FDS");
	notify_open();
	assert_int_equal(log_count("--disable-systemd"), 0);
	setenv("NOTIFY_SOCKET", "/nowhere", 1);
	notify_open();
	assert_int_equal(log_count("--disable-systemd"), 1);
	assert_int_equal(notify_send("READY=%d", 1), 0);
	assert_int_equal(notify_take(&name, 0), -1);
	unsetenv("NOTIFY_SOCKET");
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(test_what_is_left_works),
#ifdef WITHOUT_FILE
		TEST(test_file_target),
#endif
#ifdef WITHOUT_NBD
		TEST(test_nbd),
#endif
#if defined(WITHOUT_COW) || defined(WITHOUT_FILE)
		TEST(test_cow),
#endif
#ifdef WITHOUT_RAM
		TEST(test_ram),
#endif
#ifdef WITHOUT_LAYERS
		TEST(test_layers),
#endif
#ifdef WITHOUT_SYSTEMD
		TEST(test_systemd),
#endif
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
