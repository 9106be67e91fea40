/* stats, trace and metrics: what they tell of what was recorded. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"
#include "admin/trace.h"
#include "io/recorder.h"
#include "keeper/sight-file.h"

static char output[1000000];
static size_t length;
static int is_done, has_failed;
static struct session session;
static struct request request;
static struct io_port port;

static void emit(struct request *of, const char *text, size_t size)
{
	assert_true(length + size < sizeof(output));
	memcpy(output + length, text, size);
	length += size;
	output[length] = '\0';
}

static void done(struct request *of, const struct failure *failure)
{
	is_done++;
	has_failed = failure != NULL;
}

/* Every line is one that is known. */
static void check_lines(void)
{
	const char *line = output, *end;

	for (; (end = strchr(line, '\n')); line = end + 1)
		fake_check_line(line, (size_t)(end - line));
}

/* Run a command to its end; returns what it said. */
static const char *run(const char *text)
{
	const char *why;

	memset(&request, 0, sizeof(request));
	request.host = &fake_host;
	request.session = &session;
	request.emit = emit;
	request.done = done;
	length = 0;
	is_done = 0;
	assert_int_equal(syntax_split(&request.line, text, strlen(text), &why),
			 0);
	if (command_run(&request))
		while (command_continue(&request))
			;
	fake_serve();
	assert_int_equal(is_done, 1);
	check_lines();
	return output;
}

static int file;

int before_each(void **state)
{
	const char *why;

	fake_start();
	memset(&session, 0, sizeof(session));
	file = sight_file_make(-1, &why);
	turns_share(file, 0, NULL, NULL);
	turns_server->watched = 1;
	assert_int_equal(recorder_begin(file, test_loop), 0);
	run("add null id=4 name=one size=1M");
	assert_false(has_failed);
	port = (struct io_port){
		.recorder = device_find(&fake_host.devices, 4)->recorder
	};
	assert_non_null(port.recorder);
	return 0;
}

int after_each(void **state)
{
	fake_delete_all();
	fake_stop();
	recorder_end();
	close(file);
	return 0;
}

/* One request that waits in its backing for so many us, and as long before. */
static void wait_for(enum io_op op, unsigned us, int error)
{
	struct io io = { .port = &port,
			 .tag = 5,
			 .op = (uint8_t)op,
			 .length = 4096,
			 .offset = 8192,
			 .owned = 1 };

	recorder_turned(&port);
	fake_serve();
	turns_enter(SIGHT_TURNS, 0);
	recorder_delivered(&io);
	recorder_kept(&io, SIGHT_DELAY);
	move_clock(us / 1e6);
	turns_enter(SIGHT_TURNS, 0);
	recorder_passed(&io);
	recorder_submitted(&io);
	move_clock(us / 1e6);
	turns_enter(SIGHT_TURNS, 0);
	recorder_completed(&io, 4096);
	recorder_answered(&io, error);
}

static void serve_at_once(unsigned count)
{
	struct io io = { .port = &port, .tag = 6, .length = 512, .owned = 1 };

	turns_enter(SIGHT_TURNS, 0);
	while (count--) {
		recorder_delivered(&io);
		recorder_answered(&io, 0);
	}
}

static int says(const char *part)
{
	return strstr(output, part) != NULL;
}

TEST_CASE(test_stats)
{
	unsigned i;

	serve_at_once(3);
	for (i = 0; i < 100; i++)
		wait_for(IO_READ, 5000, 0);
	wait_for(IO_WRITE, 20, -EIO);
	run("stats");
	assert_true(says("stats id=4 name=one seconds="));
	/* A second, and what the clock has moved with each look. */
	assert_true(says("op id=4 op=read count=103 bytes=411136 errors=0 "
			 "time=1000"));
	assert_true(says("us in-turn=3 p50="));
	assert_true(says(" backing-p50="));
	assert_true(says("op id=4 op=write count=0 bytes=0 errors=1 "));
	assert_false(says("op=flush"));
	assert_true(says("\nOK\n"));
	run("stats one");
	assert_true(says("op=read"));
	run("stats one reset");
	assert_false(says("op=read"));
	run("stats 4");
	assert_true(says("stats id=4"));
	assert_false(says("op=read"));
	wait_for(IO_READ, 5000, 0);
	run("stats id=4 reset");
	assert_false(has_failed);
	run("stats reset");
	assert_false(has_failed);
	run("stats");
	assert_false(says("op=read"));
	run("stats two reset");
	assert_true(says("ERR notfound"));
}

TEST_CASE(test_trace)
{
	char *line;
	int lines = 0;

	serve_at_once(1);
	wait_for(IO_READ, 5000, 0);
	run("trace 4");
	assert_true(says(" event=step name=live\n"));
	assert_true(says(" event=delivered request=0.6 op=read offset=0 "
			 "length=512\n"));
	assert_true(says(" event=committed request=0.6 op=read result=0 "
			 "took=0us\n"));
	assert_true(says(" event=delivered request=0.5 op=read offset=8192 "
			 "length=4096\n"));
	assert_true(says(" event=kept request=0.5 place=delay\n"));
	assert_true(says(" event=passed request=0.5\n"));
	assert_true(says(" event=submitted request=0.5 place=backing-read\n"));
	assert_true(says(" event=completed request=0.5 result=4096\n"));
	assert_true(says(" event=committed request=0.5 op=read result=0 "
			 "took=1"));
	run("trace 4 last=2");
	for (line = strstr(output, "trace "); line;
	     line = strstr(line + 1, "trace "))
		lines++;
	assert_int_equal(lines, 2);
	wait_for(IO_WRITE, 5000, -ENOSPC);
	run("trace 4 last=1");
	assert_true(says(" op=write result=ENOSPC "));
	run("trace 9");
	assert_true(says("ERR notfound"));
}

/* The ring is the queue of who follows: what is overwritten is lost. */
TEST_CASE(test_follow)
{
	serve_at_once(1);
	run("trace 4 follow=yes");
	assert_string_equal(strrchr(output, 'O'), strstr(output, "OK"));
	assert_int_equal(session.follows, 1);
	length = 0;
	output[0] = '\0';
	assert_int_equal(trace_follow(&request), 1);
	assert_string_equal(output, "");
	wait_for(IO_READ, 5000, 0);
	assert_int_equal(trace_follow(&request), 1);
	assert_true(says("EVENT trace id=4 time="));
	assert_true(says("event=committed request=0.5"));
	assert_false(says("overflow"));
	serve_at_once(1000);
	length = 0;
	assert_int_equal(trace_follow(&request), 1);
	assert_true(says("EVENT overflow id=4 lost="));
	run("del 4");
	length = 0;
	assert_int_equal(trace_follow(&request), 0);
	assert_string_equal(output, "EVENT end id=4\n");
}

/* Another device with the number is not the one that was followed. */
TEST_CASE(test_follow_a_number_again)
{
	run("trace 4 follow=yes");
	run("del 4");
	run("add null id=4 size=1M");
	assert_false(has_failed);
	length = 0;
	assert_int_equal(trace_follow(&request), 0);
	assert_string_equal(output, "EVENT end id=4\n");
}

/* One device a connection: whoever wants more is told so. */
TEST_CASE(test_follow_twice)
{
	run("trace 4 follow=yes");
	run("add null id=5 size=1M");
	run("trace 5 follow=yes");
	assert_true(has_failed);
	assert_true(says("ERR state text=\"this connection follows device 4 "
			 "already"));
	run("trace 4 follow=yes");
	assert_true(says("ERR state "));
	assert_int_equal(session.followed, 4);
	run("del 4");
	run("trace 5 follow=yes");
	assert_false(has_failed);
	assert_memory_equal(output, "EVENT end id=4\nOK ", 18);
	assert_int_equal(session.followed, 5);
	run("trace 5");
	assert_false(has_failed);
}

/* It changes something, as other commands do that the log hears of. */
TEST_CASE(test_reset_is_a_change)
{
	serve_at_once(3);
	log_forget();
	run("stats");
	run("stats 4");
	assert_false(log_has("stats"));
	run("stats 4 reset");
	assert_int_equal(log_count("uid 0, process 0: stats 4 reset"), 1);
	run("stats reset");
	assert_int_equal(log_count("uid 0, process 0: stats reset"), 1);
	serve_at_once(3);
	fake_host.stopping = 1;
	run("stats 4 reset");
	assert_true(says("ERR state text=\"ublkd is stopping\""));
	assert_true(log_has("stats failed: ublkd is stopping"));
	log_forget();
	run("stats reset");
	assert_true(has_failed);
	run("stats");
	assert_true(says("op=read count=3 "));
	assert_int_equal(log_count("process 0: stats"), 2);
	fake_host.stopping = 0;
}

/* Once, however many devices there are. */
TEST_CASE(test_reset_of_many)
{
	unsigned i;

	for (i = 10; i < 50; i++) {
		char add[40];

		snprintf(add, sizeof(add), "add null id=%u size=1M", i);
		run(add);
	}
	log_forget();
	run("stats reset");
	assert_false(has_failed);
	assert_int_equal(log_count("stats reset"), 1);
}

TEST_CASE(test_no_recorder)
{
	run("del 4");
	recorder_end();
	run("stats");
	assert_true(says("ERR unsupported text=\"there is no recorder"));
	run("metrics");
	assert_true(says("ERR unsupported text=\"there is no recorder"));
	run("add null id=4 size=1M");
	assert_false(has_failed);
	run("trace 4");
	assert_true(says("ERR unsupported text=\"there is no recorder"));
	run("del 4");
	assert_int_equal(recorder_begin(file, test_loop), 0);
}

/* Of a device that had no slot the others' metrics are told. */
TEST_CASE(test_device_without)
{
	struct device *device = device_find(&fake_host.devices, 4);

	recorder_forget(device->recorder);
	device->recorder = NULL;
	run("stats");
	assert_false(has_failed);
	run("metrics");
	assert_false(says("ublkb4"));
	run("trace 4");
	assert_true(says("ERR state text=\"nothing is recorded of device 4"));
}

/* ---- what Prometheus makes of it ---- */

#define PYTHON "/usr/bin/python3" /* the system's, that has its packages */

static const char parser[] =
	"import sys\n"
	"from prometheus_client.parser import text_string_to_metric_families\n"
	"text = ''.join(l for l in sys.stdin if not l.startswith('OK'))\n"
	"seen, samples = set(), {}\n"
	"for family in text_string_to_metric_families(text):\n"
	"    assert family.name not in seen, family.name\n"
	"    assert family.name.startswith('ublkd_'), family.name\n"
	"    assert family.type != 'unknown', family.name\n"
	"    assert family.documentation, family.name\n"
	"    seen.add(family.name)\n"
	"    for s in family.samples:\n"
	"        key = (s.name,) + tuple(sorted(s.labels.items()))\n"
	"        assert key not in samples, key\n"
	"        assert s.labels['device'].startswith('ublkb'), key\n"
	"        samples[key] = s.value\n"
	"        if s.name.endswith('_bucket'):\n"
	"            last.append(s.value) if s.labels['le'] != '4e-06' else None\n"
	"            if s.labels['le'] == '4e-06': last = [s.value]\n"
	"            assert last == sorted(last), key\n"
	"            assert len(last) <= 12, key\n"
	"        if s.name.endswith('_count'):\n"
	"            assert len(last) == 12 and last[-1] == s.value, key\n"
	"def value(metric, **labels):\n"
	"    return samples[(metric,) + tuple(sorted(labels.items()))]\n"
	"assert value('ublkd_reads_completed_total', device='ublkb4') == 103\n"
	"assert value('ublkd_read_bytes_total', device='ublkb4') == 411136\n"
	"assert 0.9 < value('ublkd_read_time_seconds_total', "
	"device='ublkb4') < 1.1\n"
	"assert value('ublkd_errors_total', device='ublkb4', op='write') == 1\n"
	"t = 'ublkd_request_duration_seconds'\n"
	"assert value(t + '_bucket', device='ublkb4', op='read', "
	"le='4e-06') == 3\n"
	"assert value(t + '_bucket', device='ublkb4', op='read', "
	"le='0.008192') == 3\n"
	"assert value(t + '_bucket', device='ublkb4', op='read', "
	"le='0.032768') == 103\n"
	"t = 'ublkd_backing_duration_seconds'\n"
	"assert value(t + '_bucket', device='ublkb4', op='read', "
	"le='0.008192') == 100\n"
	"assert 0.45 < value(t + '_sum', device='ublkb4', op='read') < 0.55\n"
	"assert value('ublkd_info', device='ublkb4', name='one', "
	"target='null') == 1\n"
	"assert len(seen) >= 19, len(seen)\n";

TEST_CASE(test_metrics)
{
	FILE *python;
	unsigned i;

	if (system(PYTHON " -c 'import prometheus_client' 2>/dev/null") != 0)
		skip_without("python3-prometheus-client");
	serve_at_once(3);
	for (i = 0; i < 100; i++)
		wait_for(IO_READ, 5000, 0);
	wait_for(IO_WRITE, 20, -EIO);
	for (i = 10; i < 50; i++) {
		char add[40];

		snprintf(add, sizeof(add), "add null id=%u size=1M", i);
		run(add);
	}
	test_file("parser", parser);
	run("metrics");
	setenv("PARSER", test_path("parser"), 1);
	python = popen(PYTHON " \"$PARSER\"", "w");
	assert_non_null(python);
	fwrite(output, 1, length, python);
	assert_int_equal(pclose(python), 0);
	test_folder_remove();
}

int main(void)
{
	return tests_run();
}
