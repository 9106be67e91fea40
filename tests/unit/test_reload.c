/*
 * reload: which steps there are from what there is to what the configuration
 * says, what is done of them, and what is not touched.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/reload.h"
#include "device/life.h"
#include "fake.h"
#include "say.h"

static char config[300];
static unsigned searches; /* for a device, by its serial; since then: */
static unsigned turns;	  /* that somebody else has had, until all is told */
static struct loop_timer others;

static void have_turn(struct loop_timer *timer)
{
	turns++;
	if (!log_has("reload: plan step=60 "))
		loop_timer_start(test_loop, timer, 0);
}

struct device *__real_device_find_serial(struct device_set *set,
					 uint64_t serial);

struct device *__wrap_device_find_serial(struct device_set *set,
					 uint64_t serial)
{
	if (searches++ == 0 && others.fire)
		loop_timer_start(test_loop, &others, 0);
	return __real_device_find_serial(set, serial);
}

int before_each(void **state)
{
	fake_start();
	fake_have_memory(1024);
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

static void expect_said(const char *pattern)
{
	if (fnmatch(pattern, said.text, 0) != 0)
		fail_msg("got: %snot: %s", said.text, pattern);
}

static void expect(const char *line, const char *pattern)
{
	say(line);
	expect_said(pattern);
}

/* What there is, made by the configuration. */
static void configure(const char *text)
{
	test_file("c", text);
	if (!say("reload"))
		fail_msg("%s", said.text);
	memset(fake.count, 0, sizeof(fake.count));
	fake.count[MESSAGE_START] = 1; /* nodes are there */
	fake_forget();
}

static void expect_dump(const char *text)
{
	assert_true(say("dump"));
	*strstr(said.text, "OK") = '\0';
	assert_string_equal(said.text, text);
}

#define THREE                    \
	"add null id=1 name=a\n" \
	"add ram id=2 size=1M\n" \
	"add null id=3 size=1M depth=16\n"

/* ---- plans ---- */

TEST_CASE(test_nothing_to_do)
{
	configure(THREE);
	expect("reload", "plan step=1 do=keep id=1 name=a\n"
			 "plan step=2 do=keep id=2 name=ublkb2\n"
			 "plan step=3 do=keep id=3 name=ublkb3\n"
			 "OK done=0\n");
	/* Nobody but the helper has been asked for anything. */
	fake_expect("ASK");
}

TEST_CASE(test_spelling_is_no_change)
{
	configure(THREE);
	test_file("c", "add null name=a id=1 depth=128 delay-time=0\n"
		       "add ram id=2 size=1024K ro=off\n"
		       "add null \"id=3\" depth=16 size=1048576\n");
	expect("reload", "*do=keep*do=keep*do=keep*\nOK done=0\n");
	fake_expect("ASK");
}

TEST_CASE(test_all_kinds)
{
	configure(THREE "add null id=4 delay-time=1s\n");
	test_file("c", "add ram id=2 size=2M limit-iops=5\n"
		       "add null id=3 size=1M depth=17\n"
		       "add null id=4\n"
		       "add null id=5\n");
	expect("@t reload dry-run=yes",
	       "plan step=1 do=del id=3 name=ublkb3 command=\"del id=3\" "
	       "fixed=depth\n"
	       "plan step=2 do=del id=1 name=a command=\"del id=1\"\n"
	       "plan step=3 do=set id=2 name=ublkb2 "
	       "command=\"set id=2 limit-iops=5\"\n"
	       "plan step=4 do=resize id=2 name=ublkb2 "
	       "command=\"resize id=2 size=2M\"\n"
	       "plan step=5 do=set id=4 name=ublkb4 "
	       "command=\"set id=4 delay-time=0\"\n"
	       "plan step=6 do=add command=\"add null id=3 size=1M depth=17\"\n"
	       "plan step=7 do=add command=\"add null id=5\"\n"
	       "OK @t changes=7\n");
	fake_expect("ASK");
	expect("reload",
	       "plan *\ndone step=1 result=ok\ndone step=2 result=ok\n"
	       "done step=3 result=ok\ndone step=4 result=ok\n"
	       "done step=5 result=ok\ndone step=6 result=ok\n"
	       "done step=7 result=ok\nOK done=7\n");
	expect_dump("add ram id=2 limit-iops=5 size=2M\n"
		    "add null id=3 depth=17 size=1M\n"
		    "add null id=4\nadd null id=5\n");
	expect("reload", "plan*\nOK done=0\n");
}

/* Another target, or no name any more: none of these can change live. */
TEST_CASE(test_fixed)
{
	static const struct {
		const char *is, *wanted, *fixed;
	} rows[] = {
		{ "add null id=1", "add ram id=1 size=1M", "target" },
		{ "add null id=1 name=a", "add null id=1", "name" },
		{ "add null id=1", "add null id=1 name=a", "name" },
		{ "add null id=1 name=b", "add null id=1 name=a", "name" },
		{ "add null id=1", "add null id=1 queues=2", "queues" },
		{ "add null id=1", "add null id=1 fill=no", "fill" },
		{ "add null id=1", "add null id=1 ro=yes", "ro" },
	};
	char pattern[200];
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].wanted);
		configure(rows[i].is);
		test_file("c", rows[i].wanted);
		snprintf(pattern, sizeof(pattern),
			 "plan step=1 do=del id=1 * fixed=%s\n"
			 "plan step=2 do=add command=\"*\"\nOK *\n",
			 rows[i].fixed);
		expect("reload dry-run=yes", pattern);
		configure("");
	}
}

/* What io-timeout= has chosen a mode for stays as it is when that is gone. */
TEST_CASE(test_mode_is_left_open)
{
	configure("add null id=1 io-timeout=5s\n");
	test_file("c", "add null id=1\n");
	expect("reload",
	       "plan * command=\"set id=1 io-timeout=0\"\n*OK done=1\n");
	expect("reload", "plan step=1 do=keep id=1 name=ublkb1\nOK done=0\n");
	test_file("c", "add null id=1 mode=copy\n");
	expect("reload dry-run=yes", "plan step=1 do=del * fixed=mode\n*");
}

/* Where the kernel cannot change a size. */
TEST_CASE(test_size_is_fixed)
{
	configure("add null id=1 size=1M\n");
	fake_host.devices.features = FAKE_FEATURES_OLD;
	test_file("c", "add null id=1 size=2M\n");
	expect("reload dry-run=yes", "plan step=1 do=del * fixed=size\n*");
}

/* ---- which device a line is of ---- */

/* By its name, where it has no number; in the file's order, without either. */
TEST_CASE(test_without_numbers)
{
	configure("add null name=a\nadd null\nadd null size=1M\n");
	test_file("c", "add null size=1M\nadd null delay-time=1s\n"
		       "add null name=a limit-iops=1\n");
	expect("reload dry-run=yes", "plan step=1 do=keep id=2 name=ublkb2\n"
				     "plan step=2 do=set id=1 name=ublkb1 "
				     "command=\"set id=1 delay-time=1s\"\n"
				     "plan step=3 do=set id=0 name=a "
				     "command=\"set id=0 limit-iops=1\"\n"
				     "OK changes=2\n");
}

/* A line in front does not get what fits another one better. */
TEST_CASE(test_changed_by_hand)
{
	configure("add null depth=16\nadd null depth=32 size=1M\n");
	assert_true(say("set 1 limit-iops=5"));
	assert_true(say("resize 1 size=2M"));
	test_file("c", "add null depth=64\nadd null depth=16\n"
		       "add null depth=32 size=2M\n");
	expect("reload dry-run=yes", "plan step=1 do=keep id=0 name=ublkb0\n"
				     "plan step=2 do=set id=1 name=ublkb1 "
				     "command=\"set id=1 limit-iops=0\"\n"
				     "plan step=3 do=add *\nOK changes=2\n");
}

/* A device of another file is another device. */
TEST_CASE(test_other_path)
{
	char text[700];

	test_file("a", "");
	test_file("b", "");
	assert_int_equal(truncate(test_path("a"), 65536), 0);
	assert_int_equal(truncate(test_path("b"), 65536), 0);
	snprintf(text, sizeof(text), "add file path=%s/a\n", test_folder());
	configure(text);
	snprintf(text, sizeof(text), "add file path=%s/b\n", test_folder());
	test_file("c", text);
	expect("reload dry-run=yes",
	       "plan step=1 do=del id=0 name=ublkb0 command=\"del id=0\"\n"
	       "plan step=2 do=add *\nOK changes=2\n");
	snprintf(text, sizeof(text), "add file path=%s/a depth=16\n",
		 test_folder());
	test_file("c", text);
	expect("reload dry-run=yes", "plan * do=del * fixed=depth\n*");
}

/* The whole file is what it is from then on. */
TEST_CASE(test_size_goes)
{
	char text[700];

	test_file("a", "");
	assert_int_equal(truncate(test_path("a"), 65536), 0);
	snprintf(text, sizeof(text), "add file id=1 path=%s/a size=4K\n",
		 test_folder());
	configure(text);
	snprintf(text, sizeof(text), "add file id=1 path=%s/a\n",
		 test_folder());
	test_file("c", text);
	expect("reload", "plan * command=\"resize id=1 size=auto\"\n*"
			 "OK done=1\n");
	expect_dump(text);
	expect("reload", "plan step=1 do=keep *\nOK done=0\n");
	snprintf(text, sizeof(text),
		 "add file id=1 path=%s/a create=yes size=4K\n", test_folder());
	test_file("c", text);
	expect("reload", "plan * do=del * fixed=create\n*OK done=2\n");
	assert_true(say("resize 1 size=auto"));
	snprintf(text, sizeof(text),
		 "add file id=1 path=%s/a size=64K create=yes\n",
		 test_folder());
	expect_dump(text);
}

/* One more of the same is one more, and one less one less. */
TEST_CASE(test_same_lines)
{
	configure("add null\nadd null\n");
	test_file("c", "add null\nadd null\nadd null\n");
	expect("reload", "plan * do=keep*do=keep*do=add *\nOK done=1\n");
	assert_int_equal(fake_host.devices.count, 3);
	test_file("c", "add null\n");
	expect("reload", "plan *do=del *do=del *do=keep *OK done=2\n");
	assert_int_equal(fake_host.devices.count, 1);
}

/* The name goes from one to the other. */
TEST_CASE(test_name_wanders)
{
	configure("add null id=1 name=a\nadd null id=2\n");
	test_file("c", "add null id=1\nadd null id=2 name=a\n");
	expect("reload", "*OK done=4\n");
	expect_dump("add null id=1\nadd null id=2 name=a\n");
}

/* ---- added by hand ---- */

TEST_CASE(test_by_hand)
{
	configure("add null id=1\n");
	assert_true(say("add null id=2"));
	test_file("c", "");
	expect("reload", "plan step=1 do=del id=1 *\nOK done=1\n");
	expect("reload", "OK done=0\n");
	expect("reload prune=yes",
	       "plan step=1 do=del id=2 * was=by-hand\n*OK done=1\n");
	assert_int_equal(fake_host.devices.count, 0);
}

/* It may be a way around a line that had failed. */
TEST_CASE(test_by_hand_in_the_place_of_a_line)
{
	configure("");
	assert_true(say("add null id=2"));
	test_file("c", "add null id=2 depth=16\n");
	expect("reload",
	       "plan step=1 do=del id=2 name=ublkb2 command=\"del id=2\" "
	       "fixed=depth needs=replace why=\"it was added by hand\" "
	       "was=by-hand\n*result=skipped*result=skipped*ERR busy *");
	expect_dump("add null id=2\n");
	expect("reload replace=yes", "plan *OK done=2\n");
	expect_dump("add null id=2 depth=16\n");
}

/* What the file has come to say belongs to the file from then on. */
TEST_CASE(test_claimed)
{
	configure("");
	assert_true(say("add null id=2"));
	assert_true(say("add null id=3"));
	test_file("c", "add null id=2\nadd null id=3 limit-iops=7\n");
	expect("reload", "plan step=1 do=keep id=2 name=ublkb2 was=by-hand\n"
			 "plan step=2 do=set id=3 * was=by-hand\n"
			 "done step=2 result=ok\nOK done=1\n");
	assert_true(fake.last[MESSAGE_NOTE].number & NOTE_CONFIGURED);
	expect("reload", "plan step=1 do=keep id=2 name=ublkb2\n"
			 "plan step=2 do=keep id=3 name=ublkb3\nOK done=0\n");
	test_file("c", "");
	expect("reload", "plan * do=del *do=del *\nOK done=2\n");
}

/* What the keeper has not noted is by hand still, and the reload ends. */
TEST_CASE(test_claimed_in_vain)
{
	configure("");
	assert_true(say("add null id=2"));
	assert_true(say("add null id=3"));
	test_file("c", "add null id=2\nadd null id=3 limit-iops=7\n");
	fake.unsendable = MESSAGE_NOTE;
	expect("reload", "plan *done step=2 result=failed *ERR state *");
	test_file("c", "add null id=3 limit-iops=7\n");
	fake.sendable = 1; /* what is set, and not that it is claimed */
	expect("reload", "plan *done step=1 result=ok\nOK done=1\n");
	fake.unsendable = 0;
	fake.result[MESSAGE_NOTE] = -EIO;
	expect("reload", "plan * do=keep id=3 * was=by-hand\nOK done=0\n");
	fake.result[MESSAGE_NOTE] = 0;
	test_file("c", "add null id=2\nadd null id=3 limit-iops=7\n");
	expect("reload", "plan * do=keep id=2 * was=by-hand\n"
			 "plan * do=keep id=3 * was=by-hand\nOK done=0\n");
	expect("reload", "plan * do=keep id=2 name=ublkb2\n"
			 "plan * do=keep id=3 name=ublkb3\nOK done=0\n");
}

/* One that another line cannot have made, and that has no number in the file. */
TEST_CASE(test_claimed_without_number)
{
	configure("add null\n");
	assert_true(say("add null depth=16"));
	assert_true(say("add null"));
	test_file("c", "add null depth=16\nadd null\n");
	expect("reload", "plan step=1 do=keep id=1 name=ublkb1 was=by-hand\n"
			 "plan step=2 do=keep id=0 name=ublkb0\nOK done=0\n");
	test_file("c", "");
	expect("reload", "plan * do=del id=0 *do=del id=1 *\nOK done=2\n");
}

/* ---- what is not done unasked ---- */

TEST_CASE(test_data_are_lost)
{
	configure("add ram id=2 size=1M\nadd null id=3\n");
	test_file("c", "add ram id=2 size=1M depth=5\nadd null id=4\n");
	expect("reload",
	       "plan step=1 do=del id=2 name=ublkb2 command=\"del id=2\" "
	       "fixed=depth needs=replace why=\"its data are lost\"\n"
	       "plan step=2 do=del id=3 *\n"
	       "plan step=3 do=add *\n"
	       "plan step=4 do=add *\n"
	       "done step=1 result=skipped text=\"*replace=yes\"\n"
	       "done step=2 result=ok\n"
	       "done step=3 result=skipped text=\"*still there\"\n"
	       "done step=4 result=ok\n"
	       "ERR busy text=\"2 of 4 steps were not done; *replace=yes\"\n");
	expect_dump("add ram id=2 size=1M\nadd null id=4\n");
	expect("reload replace=yes",
	       "plan step=1 do=del * command=\"del id=2 force=yes\" *OK done=2\n");
	expect_dump("add ram id=2 depth=5 size=1M\nadd null id=4\n");
}

TEST_CASE(test_smaller)
{
	configure("add null id=2 size=2M\n");
	test_file("c", "add null id=2 size=1M\n");
	expect("reload",
	       "plan *resize id=2 *needs=replace *skipped*ERR busy *");
	expect("reload replace=yes", "plan*result=ok\nOK done=1\n");
}

TEST_CASE(test_in_use)
{
	configure("add null id=1\nadd null id=2\n");
	test_file("c", "add null id=2\nadd null id=3\n");
	fake.result[MESSAGE_BUSY] = fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	fake.use_lasts = 1;
	say("reload");
	fake_pass_time(2);
	if (!strstr(said.text,
		    "done step=1 result=failed symbol=busy text=\"") ||
	    !strstr(said.text, "done step=3 result=ok\nERR busy "))
		fail_msg("%s", said.text);
	assert_int_equal(fake_host.devices.count, 3);
}

/* What is to take the place of one in use: nothing is tried. */
TEST_CASE(test_in_use_and_another)
{
	configure("add null id=1\n");
	test_file("c", "add null id=1 depth=5\n");
	fake.result[MESSAGE_BUSY] = fake.result[MESSAGE_TRY_STOP] = -EBUSY;
	fake.use_lasts = 1;
	say("reload");
	fake_pass_time(2);
	expect_said("plan *\n"
		    "done step=1 result=failed symbol=busy text=*\n"
		    "done step=2 result=skipped text=\"*still there\"\n"
		    "ERR busy text=\"2 of 2 steps were not done*\"\n");
}

/* ---- what goes wrong ---- */

/* Then nothing has changed. */
TEST_CASE(test_mistakes)
{
	static const struct {
		const char *text, *answer;
	} rows[] = {
		{ "add null id=2\nfrob\n", "ERR unknown text=\"*/c:2:1: *" },
		{ "add null id=2 depth=0\n", "ERR range text=\"*/c:1:15: *" },
		{ "add null \"\n", "ERR syntax text=\"*/c:1:10: *" },
		{ "add null id=2\nadd null id=2\n",
		  "ERR exists text=\"*/c:2:10: */c:1 has the same id\"*" },
		{ "add null id=2\nset 2 limit-iops=1\n",
		  "ERR arg text=\"*/c:2:1: *add says all*" },
		{ "reload\n", "ERR arg text=\"*" },
		{ "include none\n", "ERR notfound text=\"*" },
	};
	unsigned i;

	configure("add null id=1\n");
	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].text);
		test_file("c", rows[i].text);
		expect("reload", rows[i].answer);
		expect_dump("add null id=1\n");
	}
	fake_host.config = "";
	expect("reload", "ERR state *");
}

/* A file that was an empty one at the start, for it was missing. */
TEST_CASE(test_missing_file)
{
	char path[320];

	configure("add null id=1\n");
	assert_int_equal(unlink(test_path("c")), 0);
	snprintf(path, sizeof(path), "-%s", config);
	fake_host.config = path;
	expect("reload", "ERR notfound text=\"*/c: No such file*\n");
	expect_dump("add null id=1\n");
}

/* What only asks does nothing, and behind quit there is nothing. */
TEST_CASE(test_other_lines)
{
	configure("list\nadd null id=1\nquit\nadd null id=2\n");
	expect_dump("add null id=1\n");
}

TEST_CASE(test_step_fails)
{
	configure("add null id=1\n");
	test_file("c", "add null id=1\nadd null id=2\nadd null id=3\n");
	fake.result[MESSAGE_PARAMS] = -EIO;
	expect("reload", "plan *step=2 result=failed symbol=io text=*\n"
			 "done step=3 result=failed *\n"
			 "ERR state text=\"2 of 2 steps were not done\"\n");
	fake.result[MESSAGE_PARAMS] = 0;
	expect("reload", "plan*OK done=2\n");
}

/* One at a time, and others are served meanwhile. */
TEST_CASE(test_two)
{
	configure("");
	test_file("c", "add null id=1\n");
	fake.hold[MESSAGE_START] = 1;
	say("reload");
	assert_false(said.done);
	reload_unasked(&fake_host);
	fake_serve();
	assert_true(log_has("another reload is under way"));
	fake_release(MESSAGE_START);
	expect("reload", "plan step=1 do=keep *");
}

TEST_CASE(test_many)
{
	char text[8192] = "", line[40];
	int i;

	for (i = 0; i < 40; i++) {
		snprintf(line, sizeof(line), "add null id=%d\n", i);
		add_text(text, sizeof(text), line);
	}
	configure(text);
	assert_int_equal(fake_host.devices.count, 40);
	test_file("c", text + strlen("add null id=0\n"));
	expect("reload", "plan step=1 do=del id=0 *OK done=1\n");
}

/* By a signal: the log has it all. */
TEST_CASE(test_unasked)
{
	configure("add ram id=1 size=1M\n");
	test_file("c", "add null id=2\n");
	reload_unasked(&fake_host);
	fake_serve();
	assert_true(log_has("plan step=1 do=del id=1"));
	assert_true(log_has("done step=1 result=skipped"));
	assert_true(log_has("done step=2 result=ok"));
	assert_true(log_has("ERR busy"));
	assert_int_equal(fake_host.devices.count, 2);
}

/* A line for what changes, and one for all that does not. */
TEST_CASE(test_unasked_keeps)
{
	configure(THREE);
	log_forget();
	test_file("c", THREE "add null id=4\n");
	reload_unasked(&fake_host);
	fake_serve();
	assert_int_equal(log_count("reload: plan "), 1);
	assert_true(log_has("reload: plan step=4 do=add"));
	assert_true(log_has("reload: 3 devices stay as they were"));
}

/*
 * Others have their turns in between, and what is looked at grows with the lines
 * and the devices, not with their product.
 */
TEST_CASE(test_unasked_in_turns)
{
	char before[2000] = "", text[4000] = "";
	int i;

	for (i = 0; i < 60; i++) {
		add_text(before, sizeof(before), "add null\n");
		add_text(text, sizeof(text), "add null error-every=9\n");
	}
	configure(before);
	assert_int_equal(fake_host.devices.count, 60);
	test_file("c", text);
	log_forget();
	turns = searches = 0;
	loop_timer_init(&others, have_turn, NULL);
	reload_unasked(&fake_host);
	fake_serve();
	assert_true(log_has("reload: OK done=60"));
	assert_in_range(searches, 1, 10 * 60);
	assert_in_range(turns, 4, 60);
	others.fire = NULL;
}

/* Somebody else has made another device of that number meanwhile. */
TEST_CASE(test_number_is_anothers)
{
	configure("add null id=1\nadd null id=2\n");
	test_file("c", "add null id=2 error-every=5\n");
	fake.hold[MESSAGE_BUSY] = 1;
	reload_unasked(&fake_host);
	fake_serve();
	assert_true(log_has("plan step=2 do=set id=2"));
	fake.hold[MESSAGE_BUSY] = 0;
	assert_true(say("del 2 force=yes"));
	assert_true(say("add null id=2"));
	fake_release(MESSAGE_BUSY);
	fake_serve();
	assert_true(log_has("done step=1 result=ok"));
	assert_true(log_has("done step=2 result=failed symbol=notfound "
			    "text=\"the device is not there any more\""));
	expect_dump("add null id=2\n");
}

int main(void)
{
	return tests_run();
}
