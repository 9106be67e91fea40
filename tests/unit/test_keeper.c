/*
 * The keeper: signals, a channel that breaks, and what lies between the question
 * to a server whether it can be left, and the end of this program.
 */
/* NOLINTNEXTLINE(bugprone-suspicious-include): its functions are static */
#include "../../src/keeper/keeper.c"

#include "support.h"

#define SERVER 4711

static struct keeper_options options = { .program = "/started",
					 .socket = "/nowhere",
					 .state = "/nowhere",
					 .config = "",
					 .ready_fd = -1,
					 .newline_fd = -1 };
static struct keeper keeper;
static unsigned kills; /* SIGKILL to the server */
static unsigned execs; /* execv() was tried, and has failed */
static char arguments_seen[400];
static char config_seen[40], reader_seen[40]; /* in the environment */
static struct message sent;		      /* the last one */
static unsigned sent_count;
static int send_error;
static int old_server; /* the other end of a take-over's socket */
static int is_told_before_go;

void __real_proc_kill(const struct proc *proc);
void __wrap_proc_kill(const struct proc *proc);
int __wrap_execv(const char *path, char *const arguments[]);
int __real_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count);
int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count);

void __wrap_proc_kill(const struct proc *proc)
{
	kills += proc == &keeper.server && proc->pid;
	if (proc == &keeper.candidate.process)
		__real_proc_kill(proc);
}

/* What a new program does, in a process of its own. */
static enum {
	NO_PROGRAM,	/* it cannot be executed */
	SAY_NOTHING,	/* for as long as it lives */
	DIE,		/* at once */
	LEAVE_CHILD,	/* die at once, but for a child with its socket */
	PREPARE_AND_DIE /* it is ready, and a child has its socket */
} act;

static pid_t test_process; /* it plays the keeper */
static int life[2];	   /* its end is that of the test */

static void stay(void)
{
	char byte;

	close(life[1]);
	_exit(read(life[0], &byte, 1) != 0);
}

static void play_program(void)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_PREPARED };

	if (act == SAY_NOTHING)
		stay();
	if (act == PREPARE_AND_DIE)
		channel_send_now(SERVER_FD, &message, NULL, 0);
	if (act != DIE && fork() == 0)
		stay();
	_exit(0);
}

static struct takeover left; /* what the program of an upgrade is left */

/* It is to go along, and to be whole. */
static void take_copy(void)
{
	const char *table = getenv(TABLE_VARIABLE);

	if (!table)
		return;
	assert_int_equal(fcntl(atoi(table), F_GETFD), 0);
	takeover_read_table(&left, atoi(table));
}

int __wrap_execv(const char *path, char *const arguments[])
{
	(void)path;
	if (getpid() == test_process)
		take_copy();
	if (getpid() != test_process && act != NO_PROGRAM)
		play_program();
	execs++;
	snprintf(config_seen, sizeof(config_seen), "%s",
		 getenv(KEEPER_CONFIG) ? getenv(KEEPER_CONFIG) : "");
	snprintf(reader_seen, sizeof(reader_seen), "%s",
		 getenv(KEEPER_READER) ? getenv(KEEPER_READER) : "");
	arguments_seen[0] = '\0';
	for (; *arguments; arguments++) {
		add_text(arguments_seen, sizeof(arguments_seen), " ");
		add_text(arguments_seen, sizeof(arguments_seen), *arguments);
	}
	errno = ENOEXEC;
	return -1;
}

static int has_terminal;

int __real_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/tty") != 0)
		return __real_open(path, flags, 0600);
	if (has_terminal)
		return __real_open("/dev/null", flags);
	errno = ENXIO;
	return -1;
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags);
}

static int hears_something(int fd)
{
	struct message message;

	return recv(fd, &message, sizeof(message), MSG_PEEK | MSG_DONTWAIT) > 0;
}

int __wrap_channel_send(struct channel *channel, const struct message *message,
			const int *fds, int fd_count)
{
	if (channel != &keeper.channel && channel != &keeper.candidate.channel)
		return __real_channel_send(channel, message, fds, fd_count);
	if (message->type == MESSAGE_GO)
		is_told_before_go = hears_something(old_server);
	sent = *message;
	sent_count++;
	return send_error;
}

/* As if a process were held: its descriptor can be closed. */
static void hold(struct proc *proc, pid_t pid)
{
	proc->pid = pid;
	proc->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static struct message question; /* to a helper */
static helper_done *helped;	/* NULL: nobody has asked one */
static int help_error;

int __wrap_helper_ask(struct helpers *helpers, const struct message *asked,
		      const int *fds, int fd_count, helper_done *done,
		      void *context);

int __wrap_helper_ask(struct helpers *helpers, const struct message *asked,
		      const int *fds, int fd_count, helper_done *done,
		      void *context)
{
	assert_ptr_equal(helpers, &keeper.helpers);
	assert_ptr_equal(context, &keeper);
	assert_null(fds);
	assert_int_equal(fd_count, 0);
	question = *asked;
	helped = help_error ? NULL : done;
	return help_error;
}

static int setup(void **state)
{
	open_lasting_pipe(life);
	helped = NULL;
	help_error = 0;
	test_loop_open();
	test_process = getpid();
	alarm(60); /* what waits for ever is a failure */
	act = NO_PROGRAM;
	memset(&keeper, 0, sizeof(keeper));
	memset(&sent, 0, sizeof(sent));
	kills = execs = sent_count = 0;
	log_forget();
	send_error = 0;
	left = (struct takeover){ .fd = -1, .listener = -1 };
	keeper.options = &options;
	keeper.loop = test_loop;
	keeper.channel.fd = 1000; /* nobody looks at it */
	keeper.candidate.channel.fd = -1;
	keeper.ready_fd = keeper.newline_fd = -1;
	keeper.channel.owner = &keeper;
	keeper.takeover.fd = keeper.reader.fd = -1;
	keeper.jobs.owner = &keeper;
	hold(&keeper.server, SERVER);
	keeper.jobs.helpers = &keeper.helpers;
	keeper.serving = 1;
	assert_int_equal(open_signals(&keeper), 0);
	return 0;
}

static int teardown(void **state)
{
	takeover_close(&left);
	proc_close(&keeper.server);
	proc_close(&keeper.candidate.process);
	close(life[0]);
	close(life[1]);
	ev_io_stop(test_loop, &keeper.signals);
	close(keeper.signal_fd);
	sigprocmask(SIG_SETMASK, &keeper.old_signals, NULL);
	test_loop_close();
	return 0;
}

/* The server says something. */
static void hear(uint32_t type, int result, const char *text)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = type,
				   .result = result };

	snprintf(message.text, sizeof(message.text), "%s", text);
	on_server_message(&keeper.channel, &message, NULL, 0);
}

/* A device of an earlier keeper's, which holds that or, with -1, nothing. */
static void restore_device_with(int fd)
{
	struct ublk_dev_info info = { .dev_id = 3 };
	struct held_file file;
	struct state_device noted = { .id = 3,
				      .recoverable = 1,
				      .words = "add null",
				      .files = &file,
				      .file_count = fd >= 0 };

	held_describe(&file, fd);
	assert_int_equal(entry_restore(&keeper.jobs.entries, &info, &noted, 0),
			 0);
}

static void restore_device(void)
{
	restore_device_with(-1);
}

static void forget_devices(void)
{
	while (keeper.jobs.entries)
		entry_forget(&keeper.jobs.entries, keeper.jobs.entries);
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

	become_program(&keeper, "/nowhere/ublkd");
	assert_int_equal(execs, 1);
	assert_int_equal(sent.type, MESSAGE_UPGRADE);
	assert_int_equal(sent.result, -ENOEXEC);
	sigprocmask(SIG_BLOCK, NULL, &now);
	assert_true(is_blocked(&now));
}

/*
 * The server has what the devices hold as well, but may die before the new
 * program asks it. When there is no such program nothing goes along.
 */
static void test_table_goes_along(void **state)
{
	unsigned fds = count_fds();

	restore_device_with(open("/dev/null", O_RDONLY | O_CLOEXEC));
	/* It may be that it could not be written down. */
	keeper.jobs.entries->noted.tally = 6;
	/* A build that does not know of it would keep it for ever. */
	become_program(&keeper, "/nowhere/ublkd");
	assert_int_equal(execs, 1);
	assert_null(left.found);
	assert_false(log_has("should the server die now"));
	execs = 0;
	keeper.candidate.takes_table = 1;
	become_program(&keeper, "/nowhere/ublkd");
	assert_int_equal(execs, 1);
	assert_non_null(left.found);
	assert_int_equal(left.found->noted.id, 3);
	assert_int_equal(left.found->noted.tally, 6);
	assert_int_equal(left.found->noted.file_count, 1);
	assert_true(fcntl(left.found->noted.files[0].fd, F_GETFD) & FD_CLOEXEC);
	assert_null(getenv(TABLE_VARIABLE));
	takeover_close(&left);
	forget_devices();
	assert_int_equal(count_fds(), fds);
}

/* More than the socket takes: the upgrade goes on, and its risk is told. */
static void test_table_is_too_large(void **state)
{
	char words[MESSAGE_TEXT] = "";
	unsigned fds = count_fds(), i;

	memset(words, 'x', sizeof(words) - 1);
	for (i = 0; i < 5000; i++) {
		restore_device();
		free(keeper.jobs.entries->noted.words);
		keeper.jobs.entries->noted.words = strdup(words);
	}
	keeper.candidate.takes_table = 1;
	become_program(&keeper, "/nowhere/ublkd");
	assert_int_equal(execs, 1);
	assert_null(left.found);
	assert_true(log_has("should the server die now"));
	forget_devices();
	assert_int_equal(count_fds(), fds);
}

/* The program before has left them blocked; servers do not have them so. */
static void test_signals_inherited(void **state)
{
	struct keeper next = { .loop = test_loop };
	sigset_t now;

	assert_int_equal(open_signals(&next), 0);
	sigprocmask(SIG_BLOCK, NULL, &now);
	assert_true(is_blocked(&now));
	assert_false(sigismember(&next.old_signals, SIGTERM));
	assert_false(sigismember(&next.old_signals, SIGCHLD));
	ev_io_stop(test_loop, &next.signals);
	close(next.signal_fd);
}

/* SIGHUP is told to the server, or why not to the log. */
static void test_reload(void **state)
{
	unsigned fds = count_fds();

	keeper.serving = 1;
	maybe_reload(&keeper);
	assert_int_equal(sent_count, 1);
	assert_int_equal(sent.type, MESSAGE_RELOAD);
	assert_true(log_has("SIGHUP: the configuration is read again"));

	has_terminal = 1;
	maybe_reload(&keeper);
	has_terminal = 0;
	assert_true(log_has("SIGHUP: nothing is done, for there is a "
			    "controlling terminal"));
	keeper.stopping = 1;
	maybe_reload(&keeper);
	keeper.stopping = 0;
	assert_true(log_has("SIGHUP: nothing is done: it stops"));
	keeper.serving = 0;
	maybe_reload(&keeper);
	assert_true(log_has("SIGHUP: nothing is done: no server is ready"));
	assert_int_equal(sent_count, 1);
	assert_int_equal(count_fds(), fds);
}

/* ---- a channel that breaks ---- */

/* Else both would wait for ever: for its end, and for an answer. */
static void test_channel_breaks(void **state)
{
	on_server_cut_off(&keeper.channel);
	assert_int_equal(kills, 1);
}

/* It leaves by itself, and closes the channel a little before. */
static void test_orderly_end(void **state)
{
	keeper.stopping = 1;
	on_server_cut_off(&keeper.channel);
	assert_int_equal(kills, 0);
}

static void test_answer_is_lost(void **state)
{
	struct message answer = { .magic = MESSAGE_MAGIC,
				  .type = MESSAGE_START };

	send_answer(&keeper.jobs, &answer, -1);
	assert_int_equal(kills, 0);
	/* It has closed its end: that may be the last that it does, in order. */
	send_error = -EPIPE;
	send_answer(&keeper.jobs, &answer, -1);
	assert_int_equal(kills, 0);
	send_error = -ENOMEM;
	send_answer(&keeper.jobs, &answer, -1);
	assert_int_equal(kills, 1);
	assert_true(log_has("cannot be told"));
}

/* ---- tallies ---- */

static struct state state_folder;
static uint64_t noted_tally;

static void take_noted(void *context, struct state_device *device)
{
	noted_tally = device->tally;
}

static uint64_t read_tally(void)
{
	noted_tally = 0;
	assert_int_equal(state_read_all(&state_folder, take_noted, NULL), 0);
	return noted_tally;
}

static void tell_tally(uint32_t id, uint64_t tally)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_TALLY,
				   .id = id,
				   .number = tally };

	on_server_message(&keeper.channel, &message, NULL, 0);
	assert_int_equal(sent.type, MESSAGE_TALLY);
}

/* The device is noted in a folder. */
static void note_device(void)
{
	assert_int_equal(state_open(&state_folder, test_path("state"),
				    &keeper.failure),
			 0);
	keeper.jobs.state = &state_folder;
	restore_device();
}

static void forget_noted(void)
{
	forget_devices();
	state_remove(&state_folder, 3);
	state_close(&state_folder);
	test_folder_remove();
}

/* For the next server, and written down for the next keeper. */
static void test_tally(void **state)
{
	struct message last = { .magic = MESSAGE_MAGIC,
				.type = MESSAGE_TALLY,
				.id = 3,
				.number = 8 };

	note_device();
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
	pass_tally(&keeper, &last);
	assert_int_equal(sent.number, 8);
	assert_int_equal(read_tally(), 8);
	/* But for what no device has. */
	last.id = 4;
	last.number = 9;
	pass_tally(&keeper, &last);
	assert_int_equal(sent.number, 8);
	forget_noted();
}

/*
 * The new server is told to go first: it tells the old one as well, should this
 * process be killed in between. What the old one says at last is passed on.
 */
static void test_old_server_leaves(void **state)
{
	struct message tally = { .magic = MESSAGE_MAGIC,
				 .type = MESSAGE_TALLY,
				 .id = 3,
				 .number = 9 };
	struct message heard;
	int ends[2], fds[MESSAGE_MAX_FDS], count;

	note_device();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	keeper.takeover.fd = ends[0];
	keeper.takeover.listener = -1;
	old_server = ends[1];
	assert_int_equal(channel_send_now(old_server, &tally, NULL, 0), 0);
	assert_int_equal(shutdown(old_server, SHUT_WR), 0);
	is_told_before_go = -1;
	hear(MESSAGE_PREPARED, 0, "");
	assert_int_equal(is_told_before_go, 0);
	assert_int_equal(channel_receive_now(old_server, &heard, fds, &count),
			 1);
	assert_int_equal(heard.type, MESSAGE_LEAVE);
	assert_int_equal(keeper.takeover.fd, -1);
	assert_int_equal(sent.type, MESSAGE_TALLY);
	assert_int_equal(sent.id, 3);
	assert_int_equal(sent.number, 9);
	assert_int_equal(read_tally(), 9);
	close(old_server);
	forget_noted();
}

/* ---- the end of all: users are named before they lose their disks ---- */

static void answer_users(int result, const char *text)
{
	struct message answer = { .result = result };

	snprintf(answer.text, sizeof(answer.text), "%s", text);
	helped(&keeper, &answer, -1);
}

static void test_stop_names_users(void **state)
{
	options.stop_timeout = 60;
	restore_device();
	stop_all(&keeper, 0);
	assert_non_null(helped);
	assert_int_equal(question.type, MESSAGE_ASK);
	assert_int_equal(question.number, HELPER_DISK_USERS);
	assert_string_equal(question.text, "ublkb3 ");
	assert_int_equal(sent_count, 0);
	assert_false(ev_is_active(&keeper.stop_limit));
	/* It is asked once. */
	helped = NULL;
	stop_all(&keeper, 0);
	assert_null(helped);
	helped = on_users;
	answer_users(0, "ublkb3 opened by a b, process 7\nublkb4 in use\n");
	assert_true(log_has("ublkb3 is stopped while it is in use: opened by a "
			    "b, process 7"));
	assert_true(log_has("ublkb4 is stopped while it is in use: in use"));
	assert_int_equal(sent_count, 1);
	assert_int_equal(sent.type, MESSAGE_STOP_ALL);
	assert_true(ev_is_active(&keeper.stop_limit));
	ev_timer_stop(test_loop, &keeper.stop_limit);
	forget_devices();
}

/* The end does not depend on it. */
static void test_stop_unknown_users(void **state)
{
	restore_device();
	stop_all(&keeper, 0);
	answer_users(-ETIMEDOUT, "");
	assert_true(log_has("cannot be found out"));
	assert_int_equal(sent.type, MESSAGE_STOP_ALL);
	ev_timer_stop(test_loop, &keeper.stop_limit);
	keeper.stopping = 0;
	sent_count = 0;
	help_error = -EAGAIN;
	stop_all(&keeper, 0);
	assert_int_equal(sent_count, 1);
	ev_timer_stop(test_loop, &keeper.stop_limit);
	forget_devices();
}

/* Nobody uses what is not there, or is being deleted anyway. */
static void test_stop_of_nothing(void **state)
{
	stop_all(&keeper, 0);
	assert_null(helped);
	assert_int_equal(sent.type, MESSAGE_STOP_ALL);
	ev_timer_stop(test_loop, &keeper.stop_limit);
	keeper.stopping = 0;
	restore_device();
	keeper.jobs.entries->state = ENTRY_TO_STOP;
	stop_all(&keeper, 0);
	assert_null(helped);
	ev_timer_stop(test_loop, &keeper.stop_limit);
	forget_devices();
}

/* ---- the question whether the server may leave ---- */

static void hear_candidate(void)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_PREPARED,
				   .number = 1 };

	hold(&keeper.candidate.process, SERVER + 1);
	keeper.candidate.channel.owner = &keeper;
	strcpy(keeper.candidate.program, "/nowhere/ublkd");
	on_candidate_message(&keeper.candidate.channel, &message, NULL, 0);
}

static void begin_restart(void)
{
	keeper.leaving = 1;
	maybe_hand_over(&keeper);
}

static void expect_refusal(const char *why)
{
	assert_int_equal(execs, 0);
	assert_int_equal(sent.type, MESSAGE_UPGRADE);
	assert_int_equal(sent.result, -EBUSY);
	assert_non_null(strstr(sent.text, why));
	assert_int_equal(keeper.candidate.process.pid, 0);
}

/* The program is another one once the server has said that it may leave. */
static void test_upgrade_asks(void **state)
{
	hear_candidate();
	assert_int_equal(execs, 0);
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	assert_true(keeper.candidate.takes_table);
	hear(MESSAGE_UPGRADE, 0, "");
	expect_refusal("under way");
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_int_equal(execs, 1);
}

static void test_upgrade_denied(void **state)
{
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
	proc_close(&keeper.server);
	hear_candidate();
	expect_refusal("no server");
	hold(&keeper.server, SERVER);
	keeper.serving = 0;
	hear_candidate();
	expect_refusal("no server");
	keeper.serving = 1;
	hear_candidate();
	proc_close(&keeper.server);
	hear(MESSAGE_MAY_LEAVE, 0, "");
	expect_refusal("no server");
}

static void test_upgrade_and_stop(void **state)
{
	hear_candidate();
	keeper.stopping = 1;
	hear(MESSAGE_MAY_LEAVE, 0, "");
	expect_refusal("being deleted");
}

/* Each of these is a reason of its own, and nothing is begun. */
static void expect_not_now(const char *why)
{
	sent_count = 0;
	hear(MESSAGE_UPGRADE, 0, "");
	expect_refusal(why);
	assert_int_equal(sent_count, 1);
	assert_false(ev_is_active(&keeper.candidate.patience));
}

static void test_upgrade_not_now(void **state)
{
	struct jobs busy = keeper.jobs;

	keeper.stopping = 1;
	expect_not_now("being deleted");
	keeper.stopping = 0;
	keeper.channel.fd = -1;
	expect_not_now("no server");
	keeper.channel.fd = 1000;
	keeper.leaving = 1;
	keeper.asked = FOR_RESTART; /* so that it is not asked now */
	expect_not_now("a restart was asked for");
	keeper.leaving = 0;
	expect_not_now("under way");
	keeper.asked = FOR_NOTHING;
	restore_device();
	keeper.jobs.entries->state = ENTRY_DELETING;
	expect_not_now("being added or deleted");
	forget_devices();
	keeper.jobs = busy;
}

/* ---- the new program, a real process ---- */

static int table_error; /* of what the new program is told */

static void ask_for_upgrade(const char *program)
{
	hear(MESSAGE_UPGRADE, 0, program);
	/* The server could leave, and only then a program is started. */
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	assert_int_equal(sent.number, 1);
	assert_int_equal(keeper.candidate.process.pid, 0);
	sent.type = 0;
	send_error = table_error;
	hear(MESSAGE_MAY_LEAVE, 0, "");
	send_error = table_error = 0;
}

/* Until the server has been told something. */
static void wait_until_told(uint32_t type)
{
	int looks;

	for (looks = 0; looks < 3000 && sent.type != type; looks++) {
		usleep(10000);
		turn(3);
	}
	assert_int_equal(sent.type, type);
}

static void expect_end(int result, const char *why)
{
	assert_int_equal(sent.result, result);
	if (!strstr(sent.text, why))
		fail_msg("'%s' does not tell '%s'", sent.text, why);
	assert_int_equal(keeper.candidate.process.pid, 0);
	assert_int_equal(keeper.candidate.channel.fd, -1);
	assert_false(ev_is_active(&keeper.candidate.patience));
	assert_int_equal(execs, 0);
	assert_int_equal(kills, 0);
}

/* The server of a device's file is silent, for instance. */
static void test_upgrade_in_vain(void **state)
{
	hear(MESSAGE_UPGRADE, 0, "");
	expect_not_now("under way");
	hear(MESSAGE_MAY_LEAVE, -EBUSY, "device 7 stands still");
	expect_end(-EBUSY, "device 7 stands still");
	assert_int_equal(keeper.asked, FOR_NOTHING);
}

static void test_program_does_not_run(void **state)
{
	ask_for_upgrade("/new");
	assert_true(keeper.candidate.process.pid);
	assert_string_equal(keeper.candidate.program, "/new");
	wait_until_told(MESSAGE_UPGRADE);
	expect_end(-EINVAL, "/new: Exec format error");
	/* Without a name it is what was started. */
	ask_for_upgrade("");
	assert_string_equal(keeper.candidate.program, "/started");
	wait_until_told(MESSAGE_UPGRADE);
	expect_end(-EINVAL, "/started: Exec format error");
}

/* Its end counts, not that of its socket, which a child of it may have. */
static void test_program_dies(void **state)
{
	for (act = DIE; act <= LEAVE_CHILD; act++) {
		ask_for_upgrade("/new");
		wait_until_told(MESSAGE_UPGRADE);
		expect_end(-EINVAL, "is it a ublkd?");
	}
}

/* What it has said before counts. */
static void test_program_is_ready(void **state)
{
	act = PREPARE_AND_DIE;
	ask_for_upgrade("/new");
	wait_until_told(MESSAGE_MAY_LEAVE);
	expect_end(0, "");
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_int_equal(execs, 1);
}

/* Also where its end is heard of first. */
static void test_program_was_ready(void **state)
{
	siginfo_t info;

	act = PREPARE_AND_DIE;
	ask_for_upgrade("/new");
	assert_int_equal(waitid(P_PID, (id_t)keeper.candidate.process.pid,
				&info, WEXITED | WNOWAIT),
			 0);
	reap_children(&keeper);
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	expect_end(0, "");
}

static void test_program_is_unfit(void **state)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_PREPARED,
				   .result = -EINVAL,
				   .text = "device 3: no" };

	act = SAY_NOTHING;
	ask_for_upgrade("/new");
	on_candidate_message(&keeper.candidate.channel, &message, NULL, 0);
	assert_int_equal(sent.type, MESSAGE_UPGRADE);
	expect_end(-EINVAL, "device 3: no");
}

static void test_program_is_late(void **state)
{
	pid_t pid;
	int status;

	act = SAY_NOTHING;
	ask_for_upgrade("/new");
	pid = keeper.candidate.process.pid;
	ev_io_stop(test_loop, &keeper.signals); /* the test reaps */
	pass_time(9);
	assert_int_equal(sent.type, MESSAGE_TABLE_END);
	/* Nothing else begins meanwhile. */
	hear(MESSAGE_UPGRADE, 0, "/other");
	assert_int_equal(sent.result, -EBUSY);
	assert_int_equal(keeper.candidate.process.pid, pid);
	pass_time(2);
	expect_end(-ETIMEDOUT, "does not say");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* It has ended already, or cannot be told all there is. */
static void test_table_is_not_sent(void **state)
{
	act = SAY_NOTHING;
	table_error = -EPIPE;
	ask_for_upgrade("/new");
	assert_true(keeper.candidate.process.pid);
	fail_upgrade(&keeper, -EIO, "enough");
	table_error = -ENOMEM;
	ask_for_upgrade("/new");
	expect_end(-EPIPE, "out of memory");
}

/* A restart that was asked for meanwhile comes then. */
static void test_restart_after_upgrade(void **state)
{
	act = SAY_NOTHING;
	ask_for_upgrade("/new");
	begin_restart();
	assert_int_equal(sent.type, MESSAGE_TABLE_END);
	fail_upgrade(&keeper, -EIO, "enough");
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	assert_int_equal(keeper.asked, FOR_RESTART);
}

/* ---- what the next keeper is told ---- */

static void test_arguments(void **state)
{
	static const struct keeper_options other = {
		.state = "/s",
		.config = "/c",
		.log_level = LOG_LEVEL_DEBUG,
		.foreground = 1,
		.is_plain = 1,
		.is_spared = 1,
		.stop_timeout = 77,
		.reader = "/r",
	};

	options.stop_timeout = 60;
	options.log_level = LOG_LEVEL_INFO;
	strcpy(keeper.listener.path, "/a");
	keeper.listener.inode = 0;
	become_program(&keeper, "/new");
	assert_string_equal(arguments_seen,
			    " ublkd --continue --socket /a --state /nowhere "
			    "--log-level info --syslog --hot=yes "
			    "--stop-timeout 60 --borrowed-socket");
	keeper.options = &other;
	keeper.listener.inode = 1;
	execs = 0;
	become_program(&keeper, "/new");
	assert_string_equal(arguments_seen,
			    " @ublkd --continue --socket /a --state /s "
			    "--log-level debug --foreground --hot=no "
			    "--stop-timeout 77");
	assert_string_equal(config_seen, "/c");
	assert_null(getenv(KEEPER_CONFIG));
	/* An earlier program knows no such option, and need not. */
	assert_string_equal(reader_seen, "/r");
	assert_null(getenv(KEEPER_READER));
}

/* What a server gets, and an earlier program that is tried as one must not. */
static void test_reader(void **state)
{
	keeper.reader.fd = 1001;
	tell_to_go(&keeper);
	assert_int_equal(sent_count, 2);
	keeper.reader.fd = -1;
	tell_to_go(&keeper);
	assert_int_equal(sent_count, 3);
}

static void test_restart_asks(void **state)
{
	begin_restart();
	assert_int_equal(sent.type, MESSAGE_MAY_LEAVE);
	assert_int_equal(sent_count, 1);
	maybe_hand_over(&keeper);
	assert_int_equal(sent_count, 1);
	assert_false(log_has("goes on without a keeper"));
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_true(log_has("goes on without a keeper"));
}

static void test_restart_denied(void **state)
{
	begin_restart();
	hear(MESSAGE_MAY_LEAVE, -EBUSY, "device 7 stands still");
	assert_true(log_has("no restart: device 7 stands still"));
	assert_false(log_has("goes on without a keeper"));
	assert_false(keeper.leaving);
	begin_restart();
	assert_int_equal(sent_count, 2);
}

/* It may be left, and has died since: it does not go on. */
static void test_restart_without_server(void **state)
{
	begin_restart();
	proc_close(&keeper.server);
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_false(log_has("goes on without a keeper"));
	assert_true(keeper.leaving);
}

/* A command has come meanwhile: its answer would be lost. */
static void test_restart_while_busy(void **state)
{
	begin_restart();
	restore_device();
	keeper.jobs.entries->state = ENTRY_DELETING;
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_false(log_has("goes on without a keeper"));
	assert_int_equal(sent_count, 1);
	forget_devices();
	on_jobs_idle(&keeper.jobs);
	assert_int_equal(sent_count, 2);
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_true(log_has("goes on without a keeper"));
}

/* The end of a stop is another one: nothing stays behind it. */
static void test_restart_and_stop(void **state)
{
	keeper.stopping = 1;
	begin_restart();
	assert_int_equal(sent_count, 0);
	keeper.stopping = 0;
	begin_restart();
	keeper.stopping = 1;
	hear(MESSAGE_MAY_LEAVE, 0, "");
	assert_false(log_has("goes on without a keeper"));
}

/* ---- the start ---- */

/* Whoever waits for it hears nothing of it when the end has begun. */
static void test_ready_and_stop(void **state)
{
	keeper.serving = 0;
	keeper.stopping = 1;
	hear(MESSAGE_READY, 0, "");
	assert_false(log_has("ready on"));
	assert_false(keeper.serving);
	keeper.stopping = 0;
	hear(MESSAGE_READY, 0, "");
	assert_true(log_has("ready on"));
	assert_true(keeper.serving);
}

/* What the new server said is told, and not only that it has ended since. */
static void test_takeover_says_why(void **state)
{
	keeper.takeover.fd = 1000;
	keeper.takeover.server.pid = 0;
	hear(MESSAGE_FAILED, 0, "out of memory");
	server_is_gone(&keeper, 0);
	assert_string_equal(keeper.failure.text, "out of memory");
	assert_int_equal(log_count("are not taken over"), 1);
	assert_int_equal(keeper.status, 1);
	assert_true(keeper.leaving);
	keeper.takeover.fd = -1;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_exec_fails),
		TEST(test_table_goes_along),
		TEST(test_table_is_too_large),
		TEST(test_signals_inherited),
		TEST(test_reload),
		TEST(test_channel_breaks),
		TEST(test_orderly_end),
		TEST(test_answer_is_lost),
		TEST(test_tally),
		TEST(test_old_server_leaves),
		TEST(test_stop_names_users),
		TEST(test_stop_unknown_users),
		TEST(test_stop_of_nothing),
		TEST(test_upgrade_asks),
		TEST(test_upgrade_denied),
		TEST(test_upgrade_without_server),
		TEST(test_upgrade_and_stop),
		TEST(test_upgrade_not_now),
		TEST(test_upgrade_in_vain),
		TEST(test_program_does_not_run),
		TEST(test_program_dies),
		TEST(test_program_is_ready),
		TEST(test_program_was_ready),
		TEST(test_program_is_unfit),
		TEST(test_program_is_late),
		TEST(test_table_is_not_sent),
		TEST(test_restart_after_upgrade),
		TEST(test_arguments),
		TEST(test_reader),
		TEST(test_restart_asks),
		TEST(test_restart_denied),
		TEST(test_restart_while_busy),
		TEST(test_restart_and_stop),
		TEST(test_restart_without_server),
		TEST(test_ready_and_stop),
		TEST(test_takeover_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
