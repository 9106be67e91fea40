/*
 * What the keeper makes of servers that cannot start. They are real processes,
 * which play what a test wants in place of the program; the driver's devices
 * are only counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper/adopt.h"
#include "base/channel.h"
#include "keeper/keeper.h"
#include "server/server.h"
#include "support.h"

#define MAX_STARTS 8

/* What the servers do, one after the other. */
enum act {
	SHUT_DOWN,   /* ready, and asks for the end */
	DIE_READY,   /* ready, and dies */
	LEAVE_CHILD, /* ready, and dies, but a child has its socket */
	DIE,	     /* dies at once */
	SAY_FAILED,
	NO_PROGRAM, /* the program cannot be run: EACCES */
};

/* Also the servers see this. */
static struct play {
	enum act acts[MAX_STARTS];
	int configured[MAX_STARTS]; /* it was told to run the configuration */
	unsigned starts;
} * play;

static int life[2]; /* its end is that of the test */

static struct {
	int devices;		/* of an earlier ublkd */
	unsigned kept, deleted; /* deaths after which devices are ... */
	int old[2]; /* a server that is to leave; [0] the keeper's. -1: none */
} fake;

/* ---- a server ---- */

static void say(uint32_t type, const char *text)
{
	struct message message = { .magic = MESSAGE_MAGIC, .type = type };

	snprintf(message.text, sizeof(message.text), "%s", text);
	channel_send_now(SERVER_FD, &message, NULL, 0);
}

/* Until it is told to go on, or to leave. */
/* Its own copy of the keeper's end keeps the channel open: the test's end counts. */
static void wait_for(uint32_t type)
{
	struct pollfd looks[] = { { .fd = SERVER_FD, .events = POLLIN },
				  { .fd = life[0], .events = POLLIN } };
	struct message message;
	int fds[MESSAGE_MAX_FDS], count;

	close(life[1]);
	do {
		if (poll(looks, 2, -1) < 0 || !looks[0].revents)
			_exit(98);
		if (channel_receive_now(SERVER_FD, &message, fds, &count) <= 0)
			_exit(99);
		channel_close_fds(fds, count);
		if (message.type == MESSAGE_BEGIN)
			play->configured[play->starts - 1] =
				strcmp(message.text, "/config") == 0 &&
				(message.number & BEGIN_CONFIGURE) != 0;
	} while (message.type != type);
}

/* Until the test is over. */
static void stay(void)
{
	char byte;

	close(life[1]);
	_exit(read(life[0], &byte, 1) != 0);
}

int __wrap_execv(const char *path, char *const *arguments);

int __wrap_execv(const char *path, char *const *arguments)
{
	unsigned which = play->starts++;

	(void)path;
	(void)arguments;
	if (which >= MAX_STARTS)
		_exit(3);
	if (play->acts[which] == NO_PROGRAM) {
		errno = EACCES;
		return -1;
	}
	wait_for(MESSAGE_BEGIN);
	if (play->acts[which] == DIE)
		_exit(3);
	wait_for(MESSAGE_GO);
	if (play->acts[which] == SAY_FAILED) {
		say(MESSAGE_FAILED, "it says why");
		wait_for(MESSAGE_STOP_ALL);
		_exit(1);
	}
	say(MESSAGE_READY, "");
	if (play->acts[which] == LEAVE_CHILD && fork() == 0)
		stay();
	if (play->acts[which] != SHUT_DOWN)
		_exit(3);
	say(MESSAGE_SHUTDOWN, "");
	wait_for(MESSAGE_STOP_ALL);
	_exit(0);
}

/* ---- what the keeper uses ---- */

void __wrap_process_protect(enum log_level level);
int __wrap_jobs_open(struct jobs *jobs, struct ev_loop *loop, const char *path,
		     struct state *state, struct helpers *helpers,
		     jobs_answer *answer, jobs_idle *idle, void *owner);
void __wrap_jobs_server_gone(struct jobs *jobs, int replaced, unsigned *kept,
			     unsigned *deleted);
int __wrap_jobs_have_devices(const struct jobs *jobs);
void __wrap_adopt_devices(struct jobs *jobs, struct takeover *takeover,
			  int delete_leftovers);
int __real_takeover_begin(struct takeover *takeover, const char *folder,
			  struct failure *failure);
int __wrap_takeover_begin(struct takeover *takeover, const char *folder,
			  struct failure *failure);

void __wrap_process_protect(enum log_level level)
{
	assert_int_equal(level, LOG_LEVEL_WARNING);
}

int __wrap_jobs_open(struct jobs *jobs, struct ev_loop *loop, const char *path,
		     struct state *state, struct helpers *helpers,
		     jobs_answer *answer, jobs_idle *idle, void *owner)
{
	(void)path;
	jobs->loop = loop;
	jobs->state = state;
	jobs->helpers = helpers;
	jobs->answer = answer;
	jobs->idle = idle;
	jobs->owner = owner;
	return 0;
}

void __wrap_jobs_server_gone(struct jobs *jobs, int replaced, unsigned *kept,
			     unsigned *deleted)
{
	(void)jobs;
	++*(replaced ? &fake.kept : &fake.deleted);
	*kept = *deleted = 0;
}

int __wrap_jobs_have_devices(const struct jobs *jobs)
{
	(void)jobs;
	return fake.devices;
}

void __wrap_adopt_devices(struct jobs *jobs, struct takeover *takeover,
			  int delete_leftovers)
{
	(void)jobs;
	(void)takeover;
	(void)delete_leftovers;
}

int __wrap_takeover_begin(struct takeover *takeover, const char *folder,
			  struct failure *failure)
{
	int result = __real_takeover_begin(takeover, folder, failure);

	if (fake.old[0] >= 0) {
		takeover->fd = fake.old[0];
		takeover->server.pid = 12345;
		takeover->server.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	return result;
}

/*
 * In place of the C library's, for libev. Processes need real time, and timers
 * none: when nothing comes, the clock goes on. The limits of the keeper's
 * patience are far away.
 */
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	int wait = timeout < 0 || timeout > 20 ? 20 : timeout;
	int got = (int)syscall(SYS_epoll_pwait, fd, events, max, wait, NULL, 0);

	if (got == 0 && timeout > 0 && timeout < 20000)
		move_clock(timeout / 1000.0);
	return got;
}

/* ---- a test begins ---- */

static int start(void **state)
{
	memset(&fake, 0, sizeof(fake));
	fake.old[0] = fake.old[1] = -1;
	log_forget();
	open_lasting_pipe(life);
	alarm(60); /* a keeper that waits for ever is a failure */
	play = mmap(NULL, sizeof(*play), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(play, MAP_FAILED);
	return 0;
}

static int stop(void **state)
{
	close(life[0]);
	close(life[1]);
	munmap(play, sizeof(*play));
	test_folder_remove();
	return 0;
}

static void run(const char *config, int status)
{
	char path[100], folder[100];
	struct keeper_options options = { .socket = path,
					  .state = folder,
					  .config = config ? config : "",
					  .stop_timeout = 50000,
					  .ready_fd = -1,
					  .newline_fd = -1 };

	snprintf(path, sizeof(path), "%s", test_path("socket"));
	snprintf(folder, sizeof(folder), "%s", test_path("state"));
	assert_int_equal(keeper_run(&options), status);
}

static void check_deaths(unsigned kept, unsigned deleted)
{
	assert_int_equal(fake.kept, kept);
	assert_int_equal(fake.deleted, deleted);
}

/* ---- after it has been ready once ---- */

static void test_no_replacement(void **state)
{
	static const enum act acts[] = { DIE_READY, NO_PROGRAM, SAY_FAILED,
					 SHUT_DOWN };

	memcpy(play->acts, acts, sizeof(acts));
	run(NULL, 0);
	assert_int_equal(play->starts, 4);
	check_deaths(3, 1);
	assert_int_equal(log_count(strerror(EACCES)), 1);
	assert_true(log_has("starts in 0.1 s"));
	assert_true(log_has("starts in 0.2 s"));
	assert_true(log_has("starts in 0.4 s"));
}

/* The end of the process counts, not that of the socket. */
static void test_child_is_left(void **state)
{
	play->acts[0] = LEAVE_CHILD;
	run(NULL, 0);
	assert_int_equal(play->starts, 2);
	check_deaths(1, 1);
}

/* ---- before that, and nobody uses anything ---- */

static void test_no_program(void **state)
{
	play->acts[0] = NO_PROGRAM;
	run(NULL, 1);
	assert_int_equal(play->starts, 1);
	/* Its word and its death may come in one turn, or in two. */
	assert_int_equal(fake.kept, 0);
	assert_in_range(fake.deleted, 1, 2);
	assert_true(log_has(strerror(EACCES)));
}

/* And a word that nobody has heard is no reason to try again. */
static void test_death_at_once(void **state)
{
	play->acts[0] = DIE;
	run(NULL, 1);
	assert_int_equal(play->starts, 1);
	check_deaths(1, 1);
	assert_true(log_has("exited with status 3"));
}

static void test_bad_configuration(void **state)
{
	play->acts[0] = SAY_FAILED;
	run("/config", 1);
	assert_int_equal(play->starts, 1);
	check_deaths(0, 1);
}

static void test_death_while_configured(void **state)
{
	play->acts[0] = DIE;
	run("/config", 1);
	assert_int_equal(play->starts, 1);
	/* They are kept first, and deleted at the end. */
	check_deaths(1, 1);
}

/* ---- before that, with devices of an earlier one ---- */

static void test_adopted_no_program(void **state)
{
	fake.devices = 1;
	play->acts[0] = NO_PROGRAM;
	run("/config", 0);
	assert_int_equal(play->starts, 2);
	check_deaths(1, 1);
	/* The first one could not even begin with it. */
	assert_true(play->configured[1]);
	assert_true(log_has(strerror(EACCES)));
}

static void test_adopted_death_while_configured(void **state)
{
	fake.devices = 1;
	play->acts[0] = DIE;
	run("/config", 0);
	assert_int_equal(play->starts, 2);
	check_deaths(1, 1);
	assert_true(play->configured[0] && !play->configured[1]);
	assert_true(log_has("the rest of /config is not run"));
}

static void test_adopted_failed(void **state)
{
	fake.devices = 1;
	play->acts[0] = SAY_FAILED;
	run(NULL, 0);
	assert_int_equal(play->starts, 2);
	check_deaths(1, 1);
}

/* The old one, which has everything, is not even told to leave. */
static void test_old_server_stays(void **state)
{
	char bytes[8];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    fake.old),
			 0);
	play->acts[0] = NO_PROGRAM;
	run("/config", 1);
	check_deaths(0, 0);
	assert_false(play->configured[0]);
	assert_int_equal(read(fake.old[1], bytes, sizeof(bytes)), 0);
	close(fake.old[1]);
	assert_true(log_has("serves them on"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_replacement),
		TEST(test_child_is_left),
		TEST(test_no_program),
		TEST(test_death_at_once),
		TEST(test_bad_configuration),
		TEST(test_death_while_configured),
		TEST(test_adopted_no_program),
		TEST(test_adopted_death_while_configured),
		TEST(test_adopted_failed),
		TEST(test_old_server_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
