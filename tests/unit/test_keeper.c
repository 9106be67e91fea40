/*
 * The keeper: signals, a channel that breaks, and what lies between the question
 * to a server whether it can be left, and the end of this program.
 */
/* NOLINTNEXTLINE(bugprone-suspicious-include): its functions are static */
#include "../../src/keeper.c"
/* NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../src/upgrade.c"

#include "../../src/jobs-parts.h"

#include "support.h"

#define SERVER 4711

static struct keeper_options options = { .socket = "/nowhere",
					 .state = "/nowhere",
					 .ready_fd = -1,
					 .newline_fd = -1 };
static struct keeper keeper;
static unsigned kills;	    /* SIGKILL to the server */
static unsigned execs;	    /* execv() was tried, and has failed */
static struct message sent; /* the last one */
static unsigned sent_count;
static int send_error;

int __wrap_kill(pid_t pid, int number);
int __wrap_execv(const char *path, char *const arguments[]);
int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count);

int __wrap_kill(pid_t pid, int number)
{
	assert_int_equal(number, SIGKILL);
	kills += pid == SERVER;
	return 0;
}

int __wrap_execv(const char *path, char *const arguments[])
{
	(void)path;
	(void)arguments;
	execs++;
	errno = ENOEXEC;
	return -1;
}

int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count)
{
	(void)channel;
	(void)fds;
	(void)fd_count;
	sent = *message;
	sent_count++;
	return send_error;
}

static int setup(void **state)
{
	(void)state;
	test_loop_open();
	memset(&keeper, 0, sizeof(keeper));
	memset(&sent, 0, sizeof(sent));
	kills = execs = sent_count = 0;
	log_forget();
	send_error = 0;
	keeper.options = &options;
	keeper.loop = test_loop;
	keeper.channel.fd = 1000; /* nobody looks at it */
	keeper.candidate.channel.fd = -1;
	keeper.channel.owner = &keeper;
	keeper.takeover.fd = -1;
	keeper.jobs.owner = &keeper;
	keeper.server = SERVER;
	keeper.serving = 1;
	assert_int_equal(open_signals(&keeper), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ev_io_stop(test_loop, &keeper.signals);
	close(keeper.signal_fd);
	sigprocmask(SIG_SETMASK, &keeper.old_signals, NULL);
	test_loop_close();
	return 0;
}

static int is_blocked(const sigset_t *set)
{
	return sigismember(set, SIGTERM) && sigismember(set, SIGCHLD) &&
	       sigismember(set, SIGUSR2);
}

/* ---- signals ---- */

/* It can still hear them when the other program cannot be executed. */
static void test_exec_fails(void **state)
{
	sigset_t now;

	(void)state;
	become(&keeper, "/nowhere/ublkd");
	assert_int_equal(execs, 1);
	assert_int_equal(sent.type, MESSAGE_UPGRADE);
	assert_int_equal(sent.result, -ENOEXEC);
	sigprocmask(SIG_BLOCK, NULL, &now);
	assert_true(is_blocked(&now));
}

/* The program before has left them blocked; servers do not have them so. */
static void test_signals_inherited(void **state)
{
	struct keeper next = { .loop = test_loop };
	sigset_t now;

	(void)state;
	assert_int_equal(open_signals(&next), 0);
	sigprocmask(SIG_BLOCK, NULL, &now);
	assert_true(is_blocked(&now));
	assert_false(sigismember(&next.old_signals, SIGTERM));
	assert_false(sigismember(&next.old_signals, SIGCHLD));
	ev_io_stop(test_loop, &next.signals);
	close(next.signal_fd);
}

/* ---- a channel that breaks ---- */

/* Else both would wait for ever: for its end, and for an answer. */
static void test_channel_breaks(void **state)
{
	(void)state;
	on_gone(&keeper.channel);
	assert_int_equal(kills, 1);
}

/* It leaves by itself, and closes the channel a little before. */
static void test_orderly_end(void **state)
{
	(void)state;
	keeper.stopping = 1;
	on_gone(&keeper.channel);
	assert_int_equal(kills, 0);
}

static void test_answer_is_lost(void **state)
{
	struct message answer = { .magic = MESSAGE_MAGIC,
				  .type = MESSAGE_START };

	(void)state;
	on_answer(&keeper.jobs, &answer);
	assert_int_equal(kills, 0);
	send_error = -ENOMEM;
	on_answer(&keeper.jobs, &answer);
	assert_int_equal(kills, 1);
	assert_true(log_has("cannot be told"));
}

/* ---- tallies ---- */

static struct state state_folder;
static uint64_t noted_tally;

static void take_noted(void *context, struct state_device *device)
{
	(void)context;
	noted_tally = device->tally;
}

static uint64_t read_tally(void)
{
	noted_tally = 0;
	assert_int_equal(state_read_all(&state_folder, take_noted, NULL), 0);
	return noted_tally;
}

/* A device of an earlier keeper's. */
static void restore_device(void)
{
	struct ublk_dev_info info = { .dev_id = 3 };
	struct state_device noted = { .id = 3, .words = "add null" };

	assert_int_equal(jobs_restore(&keeper.jobs, &info, &noted, 0), 0);
}

static void forget_device(void)
{
	struct entry *entry = keeper.jobs.entries;

	keeper.jobs.entries = entry->next;
	free(entry->words);
	free(entry);
}

static void tell_tally(uint32_t id, uint64_t tally)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_TALLY,
				   .id = id,
				   .number = tally };

	on_message(&keeper.channel, &message, NULL, 0);
	assert_int_equal(sent.type, MESSAGE_TALLY);
}

/* For the next server, and written down for the next keeper. */
static void test_tally(void **state)
{
	struct held held = { .id = 3, .tally = 8 };

	(void)state;
	assert_int_equal(state_open(&state_folder, test_path("state"),
				    &keeper.failure),
			 0);
	keeper.jobs.state = &state_folder;
	restore_device();
	tell_tally(4, 6);
	assert_int_equal(sent.result, -ENODEV);
	tell_tally(3, 7);
	assert_int_equal(sent.result, 0);
	assert_int_equal(read_tally(), 7);
	sent_count = 0;
	assert_int_equal(jobs_hand_over(&keeper.jobs, &keeper.channel), 0);
	assert_int_equal(sent_count, 2);
	assert_int_equal(sent.type, MESSAGE_TALLY);
	assert_int_equal(sent.id, 3);
	assert_int_equal(sent.number, 7);
	/* What the old server tells when it leaves goes to the new one. */
	keeper.takeover.held = &held;
	pass_tallies(&keeper);
	assert_int_equal(sent.number, 8);
	assert_int_equal(read_tally(), 8);
	keeper.takeover.held = NULL;
	forget_device();
	state_remove(&state_folder, 3);
	state_close(&state_folder);
	test_folder_remove();
}

/* ---- the question whether the server may leave ---- */

static void hear(uint32_t type, int result, const char *text)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = type,
				   .result = result };

	snprintf(message.text, sizeof(message.text), "%s", text);
	on_message(&keeper.channel, &message, NULL, 0);
}

static void hear_candidate(void)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_PREPARED };

	keeper.candidate.pid = SERVER + 1;
	keeper.candidate.channel.owner = &keeper;
	strcpy(keeper.candidate.program, "/nowhere/ublkd");
	on_candidate_message(&keeper.candidate.channel, &message, NULL, 0);
}

static void begin_restart(void)
{
	keeper.leaving = 1;
	keeper_maybe_hand_over(&keeper);
}

static void expect_refusal(const char *why)
{
	assert_int_equal(execs, 0);
	assert_int_equal(sent.type, MESSAGE_UPGRADE);
	assert_int_equal(sent.result, -EBUSY);
	assert_non_null(strstr(sent.text, why));
	assert_int_equal(keeper.candidate.pid, 0);
}

/* The program is another one once the server has said that it may leave. */
static void test_upgrade_asks(void **state)
{
	(void)state;
	hear_candidate();
	assert_int_equal(execs, 0);
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	hear(MESSAGE_UPGRADE, 0, "");
	expect_refusal("under way");
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_int_equal(execs, 1);
}

static void test_upgrade_denied(void **state)
{
	(void)state;
	hear_candidate();
	hear(MESSAGE_MAY_LEAVE, -EBUSY, "device 7 stands still");
	expect_refusal("device 7 stands still");
	assert_true(log_has("no upgrade: device 7"));
	/* An answer to nothing. */
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_int_equal(execs, 0);
}

/* Nobody would have the devices' memory. */
static void test_upgrade_without_server(void **state)
{
	(void)state;
	keeper.server = 0;
	hear_candidate();
	expect_refusal("no server");
	keeper.server = SERVER;
	keeper.serving = 0;
	hear_candidate();
	expect_refusal("no server");
	keeper.serving = 1;
	hear_candidate();
	keeper.server = 0;
	hear(MESSAGE_MAY_LEAVE, 0, "");
	expect_refusal("no server");
}

static void test_upgrade_and_stop(void **state)
{
	(void)state;
	hear_candidate();
	keeper.stopping = 1;
	hear(MESSAGE_MAY_LEAVE, 0, "");
	expect_refusal("being deleted");
}

static void test_restart_asks(void **state)
{
	(void)state;
	begin_restart();
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	assert_int_equal(sent_count, 1);
	keeper_maybe_hand_over(&keeper);
	assert_int_equal(sent_count, 1);
	assert_false(log_has("goes on without a keeper"));
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_true(log_has("goes on without a keeper"));
}

static void test_restart_denied(void **state)
{
	(void)state;
	begin_restart();
	hear(MESSAGE_MAY_LEAVE, -EBUSY, "device 7 stands still");
	assert_true(log_has("no restart: device 7 stands still"));
	assert_false(log_has("goes on without a keeper"));
	assert_false(keeper.leaving);
	begin_restart();
	assert_int_equal(sent_count, 2);
}

/* The end of a stop is another one: nothing stays behind it. */
static void test_restart_and_stop(void **state)
{
	(void)state;
	keeper.stopping = 1;
	begin_restart();
	assert_int_equal(sent_count, 0);
	keeper.stopping = 0;
	begin_restart();
	keeper.stopping = 1;
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_false(log_has("goes on without a keeper"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_exec_fails),
		TEST(test_signals_inherited),
		TEST(test_channel_breaks),
		TEST(test_orderly_end),
		TEST(test_answer_is_lost),
		TEST(test_tally),
		TEST(test_upgrade_asks),
		TEST(test_upgrade_denied),
		TEST(test_upgrade_without_server),
		TEST(test_upgrade_and_stop),
		TEST(test_restart_asks),
		TEST(test_restart_denied),
		TEST(test_restart_and_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
