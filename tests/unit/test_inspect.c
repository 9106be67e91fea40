/* inspect and stuck, with a helper that has found what the test says. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/screen.h"
#include "device/waits.h"
#include "fake.h"
#include "io/recorder.h"
#include "keeper/sight-file.h"

#define DEPTH 4

static char output[100000];
static size_t length;
static int is_done;
static struct session session;
static struct request request;
static struct io held[8][DEPTH];
static struct view views[8];
static struct view_head head;
static int file;

/* ---- the helper ---- */

static struct {
	int is_silent;
	int fd;
	unsigned count;
	ask_done *done;
	void *context;
} helper;

int __wrap_waits_ask(const struct view_wish *wishes, unsigned count,
		     ask_done *done, void *context);
int __wrap_waits_ask(const struct view_wish *wishes, unsigned count,
		     ask_done *done, void *context)
{
	head.magic = VIEW_MAGIC;
	head.count = count;
	head.size = sizeof(struct view);
	helper.fd = view_file(&head, wishes);
	assert_true(helper.fd >= 0);
	helper.count = count;
	helper.done = done;
	helper.context = context;
	return helper.fd;
}

static void answer_views(void)
{
	const struct message answer = { .result = 0 };
	off_t at =
		(off_t)(sizeof(head) + helper.count * sizeof(struct view_wish));
	size_t size = helper.count * sizeof(*views);

	assert_int_equal(pwrite(helper.fd, views, size, at), size);
	helper.done(helper.context, &answer);
	helper.done = NULL;
}

/* ---- commands ---- */

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
}

static int goes_on;
static unsigned go_ons;

static void go_on(struct request *of)
{
	goes_on = 1;
	go_ons++;
}

static void serve(void)
{
	while (goes_on)
		goes_on = command_continue(&request);
	fake_serve();
}

/* Begin a command, of which the helper may be asked. */
static void begin(const char *text)
{
	const char *why;

	memset(&request, 0, sizeof(request));
	request.host = &fake_host;
	request.session = &session;
	request.emit = emit;
	request.done = done;
	request.go_on = go_on;
	length = 0;
	output[0] = '\0';
	is_done = 0;
	assert_int_equal(syntax_split(&request.line, text, strlen(text), &why),
			 0);
	goes_on = command_run(&request);
	serve();
}

static const char *end(void)
{
	if (helper.done && !helper.is_silent)
		answer_views();
	else
		fake_pass_time(2);
	serve();
	assert_int_equal(is_done, 1);
	return output;
}

static const char *run(const char *text)
{
	begin(text);
	return end();
}

int before_each(void **state)
{
	const char *why;

	fake_start();
	memset(&session, 0, sizeof(session));
	memset(&helper, 0, sizeof(helper));
	memset(views, 0, sizeof(views));
	memset(&head, 0, sizeof(head));
	file = sight_file_make(-1, &why);
	turns_share(file, 0, NULL, NULL);
	turns_server->watched = 1;
	return 0;
}

int after_each(void **state)
{
	if (helper.done)
		answer_views();
	fake_delete_all();
	fake_stop();
	recorder_end();
	close(file);
	return 0;
}

/* A device of one queue, of which the kernel tells that it is idle. */
static struct queue *add(uint32_t id)
{
	struct queue *queue;
	char line[80];

	snprintf(line, sizeof(line), "add null id=%u queues=1 depth=4", id);
	begin(line);
	assert_int_equal(is_done, 1);
	queue = device_find(&fake_host.devices, id)->queues;
	queue->ios = queue->port.ios = held[id];
	queue->depth = DEPTH;
	queue->port.recorder = device_find(&fake_host.devices, id)->recorder;
	views[id].known = VIEW_INFLIGHT | VIEW_WAITERS | VIEW_BACKING |
			  VIEW_SERVER | VIEW_HOLDER;
	return queue;
}

/* So many writes of a queue are ours, in that place since so many ms. */
static void hold(struct queue *queue, uint16_t count, enum sight_place place,
		 unsigned ms)
{
	uint16_t tag;

	turns_enter(SIGHT_TURNS, 0);
	memset(queue->ios, 0, DEPTH * sizeof(*queue->ios));
	for (tag = 0; tag < count; tag++) {
		struct io *io = &queue->ios[tag];

		*io = (struct io){ .port = &queue->port,
				   .tag = tag,
				   .owned = 1,
				   .op = IO_WRITE,
				   .offset = (uint64_t)4096 * tag,
				   .length = 512 };
		recorder_place(io, place);
	}
	queue->port.owned = count;
	move_clock(ms / 1e3);
	turns_enter(SIGHT_CLIENTS, SIGHT_NO_SLOT);
}

static void matches(const char *text, const char *pattern)
{
	if (fnmatch(pattern, text, 0) != 0)
		fail_msg("'%s' is not '%s'", text, pattern);
}

/* ---- stuck ---- */

TEST_CASE(test_stuck_is_old)
{
	struct queue *queue;

	assert_int_equal(recorder_begin(file, test_loop), 0);
	queue = add(0);
	hold(queue, 2, SIGHT_DELAY, 900);
	matches(run("stuck"), "OK format=1 took=*ms\n");
	hold(queue, 2, SIGHT_DELAY, 1100);
	matches(run("stuck"),
		"dev id=0 name=ublkb0 state=live waiting=2 oldest=1100ms\n"
		"place id=0 name=delay count=2 op=write offset=0 length=512 "
		"age=1100ms\n*verdict=\"2 requests wait for the layer delay, "
		"the oldest for 1.1 s: *\"\nOK format=1 took=*ms\n");
	matches(run("stuck older-than=2s"), "OK format=1 took=*ms\n");
	/* Others of its come and go: that helps the old ones nothing. */
	begin("stuck");
	queue->port.count[IO_READ]++;
	matches(end(), "dev id=0 * waiting=2 *\n*OK format=1 took=*ms\n");
	queue->port.owned = 0;
}

/* Nobody knows since when they wait; they do, or were answered meanwhile. */
TEST_CASE(test_stuck_without_recorder)
{
	struct queue *queue = add(0);

	assert_null(queue->port.recorder);
	hold(queue, 2, SIGHT_DELAY, 0);
	matches(run("stuck"),
		"dev id=0 name=ublkb0 state=live waiting=2\n"
		"place id=0 name=unknown count=2 op=write offset=0 length=512 "
		"age=unknown\n*verdict=\"2 requests are in the server, one a "
		"write of 512 bytes at byte 0; where they wait, and since "
		"when, is not recorded\"\nOK format=1 took=*ms\n");
	begin("stuck");
	queue->port.count[IO_READ]++;
	matches(end(), "OK format=1 took=*ms\n");
	queue->port.owned = 0;
	matches(run("stuck"), "OK format=1 took=*ms\n");
}

/* What the kernel has, and the server not. */
TEST_CASE(test_stuck_undelivered)
{
	struct queue *queue = add(0);

	views[0].writes = 3;
	matches(run("stuck"),
		"dev id=0 name=ublkb0 state=live waiting=0\nkernel id=0 "
		"reads=0 writes=3 *verdict=\"3 requests are in the kernel and "
		"not delivered to the server\"\nOK format=1 took=*ms\n");
	/* Requests came and went while the helper looked. */
	begin("stuck");
	queue->port.count[IO_READ]++;
	matches(end(), "OK format=1 took=*ms\n");
	hold(queue, 1, SIGHT_DELAY, 0);
	matches(run("stuck"),
		"*verdict=\"1 request is in the server, *; 2 more in the "
		"kernel, not delivered to the server\"\nOK *\n");
	/* All that the kernel has are ours, and young. */
	queue->port.owned = 0;
	assert_int_equal(recorder_begin(file, test_loop), 0);
	queue = add(1);
	hold(queue, 1, SIGHT_DELAY, 100);
	views[0].writes = 0;
	views[1].writes = 1;
	matches(run("stuck"), "OK format=1 took=*ms\n");
	views[1].writes = 2;
	matches(run("stuck"), "dev id=1 *verdict=\"1 request is in the kernel "
			      "and not delivered to the server\"\nOK *\n");
	queue->port.owned = 0;
}

/* No device is told of, but of that many nobody knows what the kernel has. */
TEST_CASE(test_stuck_unknown)
{
	add(0);
	add(1);
	helper.is_silent = 1;
	matches(run("stuck"), "OK format=1 took=*ms unknown=2\n");
	assert_int_equal(fake_host.devices.count, 2);
}

/* Those that were answered in its backing's place: nobody waits, and yet. */
TEST_CASE(test_late)
{
	struct queue *queue = add(0);
	struct device *device = device_find(&fake_host.devices, 0);
	struct late *late;

	assert_int_equal(device_allow_late(device), 0);
	late = queue->port.late;
	queue->ios[1] = (struct io){ .port = &queue->port,
				     .tag = 1,
				     .op = IO_WRITE,
				     .data = IO_DATA_LATE,
				     .offset = 8192,
				     .length = 512 };
	turns_enter(SIGHT_TURNS, 0);
	late->which[0] = 1;
	late->count = 1;
	late->since[1] = turns_now();
	move_clock(1.5);
	turns_enter(SIGHT_CLIENTS, SIGHT_NO_SLOT);
	matches(run("inspect"),
		"dev id=0 name=ublkb0 state=live waiting=0\n"
		"place id=0 name=late count=1 op=write offset=8192 length=512 "
		"age=1500ms\nkernel id=0 *verdict=\"no request waits; 1 "
		"request was answered with EIO and is still with its backing, "
		"for 1.5 s: a write of 512 bytes at 8 KiB; *\"\n"
		"OK format=1 took=*ms\n");
	matches(run("inspect 0 tags=yes"),
		"*\ntag id=0 queue=0 tag=1 place=late op=write offset=8192 "
		"length=512 age=1500ms\nOK *\n");
	matches(run("stuck"),
		"dev id=0 *place id=0 name=late count=1 *\nOK *\n");
	matches(run("stuck older-than=2s"), "OK format=1 took=*ms\n");
	late->count = 0;
	matches(run("stuck older-than=100ms"), "OK format=1 took=*ms\n");
}

/* The helper answers while what is known without it is being told. */
TEST_CASE(test_late_answer)
{
	add(0);
	begin("inspect");
	go_ons = 0;
	fake_pass_time(2);
	assert_int_equal(go_ons, 1);
	answer_views();
	assert_int_equal(go_ons, 1);
	serve();
	assert_int_equal(is_done, 1);
}

/* Those that linger (LINGER) do not count, and are shown as well. */
TEST_CASE(test_lingers)
{
	unsigned id, count;

	for (id = 0; id < COUNT(views); id++)
		add(id);
	count = fake_host.devices.count;
	assert_int_equal(count, COUNT(views));
	fake_host.devices.count = 0;
	begin("inspect");
	assert_int_equal(helper.count, count);
	fake_host.devices.count = count;
	matches(end(), "dev id=0 *\ndev id=7 *\nOK format=1 took=*ms\n");
}

/* ---- the screens ---- */

/* As ublkctl shows it on a terminal. */
static void shows(const char *name)
{
	char *text = NULL, *line, *rest;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	for (line = strtok_r(output, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest))
		screen_print(out, line, 0, 4, 80);
	fclose(out);
	screen_is(name, text);
	free(text);
}

/* Three devices: a backing that does not answer, a layer, and one that is idle. */
static void make_stalls(void)
{
	struct queue *queue;

	assert_int_equal(recorder_begin(file, test_loop), 0);
	add(2);
	queue = add(1);
	hold(queue, 1, SIGHT_LIMIT, 10300);
	queue = add(0);
	hold(queue, 3, SIGHT_WRITE, 2100);
	queue->port.recorder->tags[2].place = SIGHT_WORKER;
	views[0].known |= VIEW_QUEUE | VIEW_BLK_MQ;
	views[0].writes = 3;
	views[0].behind = (struct view_disk){ .name = "dm-0",
					      .mapped = "vg0-images",
					      .suspended = 1,
					      .writes = 2 };
	strcpy(views[0].mount, "/srv/images of the customers");
	strcpy(views[0].kind, "ext4");
	strcpy(views[0].scheduler, "mq-deadline");
	views[0].nr_requests = 8;
	views[0].timeout = 30000;
	strcpy(views[0].state, "SAME_COMP|INIT_DONE|STATS|REGISTERED|SQ_SCHED");
	views[0].busy = views[0].tags_busy = views[0].sched_busy = 3;
	views[0].tags = 4;
	views[0].sched_tags = 8;
	strcpy(views[0].holder, "mounted on /var/lib/postgresql");
	views[0].waiters = 5;
	views[0].tasks[0] = (struct view_task){ .pid = 951,
						.state = 'D',
						.comm = "postgres",
						.wchan = "submit_bio_wait",
						.stack = "submit_bio_wait < "
							 "blkdev_issue_flush < "
							 "ext4_sync_file" };
	views[0].tasks[1] = (struct view_task){ .pid = 320,
						.state = 'D',
						.comm = "jbd2/ublkb0-8" };
	views[0].tasks[2] = (struct view_task){ .pid = 952,
						.state = 'D',
						.comm = "postgres",
						.wchan = "wait_on_commit" };
	views[1].reads = 1;
}

static void end_stalls(void)
{
	unsigned id;

	for (id = 0; id < 2; id++)
		device_find(&fake_host.devices, id)->queues->port.owned = 0;
}

TEST_CASE(test_screen_inspect)
{
	make_stalls();
	run("inspect");
	shows("inspect");
	end_stalls();
}

TEST_CASE(test_screen_stuck)
{
	make_stalls();
	helper.is_silent = 1;
	run("stuck older-than=5s");
	shows("stuck");
	end_stalls();
}

int main(void)
{
	return tests_run();
}
