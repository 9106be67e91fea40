#include "keeper.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adopt.h"
#include "base/channel.h"
#include "base/config.h"
#include "base/proc.h"
#include "base/process.h"
#include "helper.h"
#include "io/loop.h"
#include "jobs.h"
#include "listener.h"
#include "notify.h"
#include "rings.h"
#include "server/server.h"
#include "sight-file.h"
#include "spawn.h"
#include "state.h"
#include "takeover.h"
#include "watchdog.h"

/*
 * A server that lived longer than GOOD_RUN is replaced at once when it dies,
 * else after DELAY_MIN, doubling up to DELAY_MAX. All in seconds.
 */
#define GOOD_RUN  1.0
#define DELAY_MIN 0.1
#define DELAY_MAX 10.0

#define UPGRADE_PATIENCE  10.0	    /* s for a new program to read the table */
#define TABLE_SIZE	  (8 << 20) /* bytes, for DEVICES_MAX devices */
#define TABLE_VARIABLE	  "UBLKD_TABLE"
#define LEFTOVER_PATIENCE 3.0 /* s for a killed one's devices to be deleted */

/* A new program that is tried as a server before the keeper becomes this program. */
struct candidate {
	struct proc process;
	char program[MESSAGE_TEXT];
	int takes_table; /* builds before there was a copy would keep it open */
	struct channel channel;
	ev_timer patience;
};

/*
 * What the server has been asked for whether it may leave. Before an upgrade it
 * goes on: the new program that is tried gets what the devices hold, and could
 * not end while the server of such a file is silent.
 */
enum purpose { FOR_NOTHING, BEFORE_UPGRADE, FOR_UPGRADE, FOR_RESTART };

/* The configuration file: a server runs it, once. */
enum configuration {
	CONFIGURATION_DONE, /* or there is none */
	CONFIGURATION_TO_RUN,
	CONFIGURATION_RUNS,
};

struct keeper {
	const struct keeper_options *options;
	struct ev_loop *loop;
	struct listener listener;
	struct listener reader; /* the read-only socket; fd -1: there is none */
	struct state state;
	struct takeover takeover; /* a server that is to leave */
	struct helpers helpers;
	struct jobs jobs;
	struct rings rings; /* of the server */
	struct channel channel;
	struct watchdog watchdog;
	int sight; /* the file of it (sight-file.h), or a negative errno */
	struct proc server;
	int serving; /* it has said that it is ready */
	struct candidate candidate;
	enum purpose asked;
	ev_tstamp started; /* the last server; 0: none was yet */
	double delay;
	int stopping;
	int leaving; /* and the devices stay, for the next keeper */
	enum configuration configuration;
	int has_users; /* it has been ready, or devices of an earlier ublkd go
			  on: a server that dies is replaced */
	int ready_fd, newline_fd; /* of the options; -1: that has been told */
	int status;		  /* of the keeper's own exit */
	struct failure failure;	  /* why it is not 0 */
	int signal_fd;
	sigset_t old_signals;
	ev_io signals;
	ev_timer restart;    /* when it ends the next server is started */
	ev_timer stop_limit; /* ... what devices may take to be deleted */
};

/* ---- a program as a server ---- */

/*
 * Start a program as a server; it is held, and the channel is opened to it.
 * Returns 0 or a negative errno.
 */
static int spawn_server(struct keeper *keeper, const char *program,
			struct proc *process, struct channel *channel,
			channel_receive *receive, channel_gone *gone)
{
	const struct keeper_options *options = keeper->options;
	const char *level = log_level_name(options->log_level);
	char *const arguments[] = {
		options->is_spared ? "@" SERVER_NAME : SERVER_NAME,
		"--server",
		"--log-level",
		(char *)level,
		options->foreground ? "--foreground" : "--syslog",
		options->is_plain ? "--hot=no" : "--hot=yes",
		NULL
	};
	int ends[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	error = spawn_program(process, ends[0], ends[1], program, arguments,
			      &keeper->old_signals);
	close(ends[1]);
	if (error) {
		/* A server that hears nothing ends. */
		close(ends[0]);
		return error;
	}
	channel_open(channel, keeper->loop, ends[0], receive, gone, keeper);
	return 0;
}

/*
 * Give a server all it needs, and the table of devices. Returns 0 or a negative
 * errno.
 */
static int give_table(struct keeper *keeper, struct channel *channel)
{
	const struct keeper_options *options = keeper->options;
	struct message begin = { .magic = MESSAGE_MAGIC,
				 .type = MESSAGE_BEGIN };
	struct message end = { .magic = MESSAGE_MAGIC,
			       .type = MESSAGE_TABLE_END };
	int fds[] = { keeper->listener.fd, keeper->takeover.handover };
	int error;

	snprintf(begin.text, sizeof(begin.text), "%s", options->config);
	if (keeper->configuration == CONFIGURATION_RUNS)
		begin.number = BEGIN_CONFIGURE |
			       (options->keeps_going ? BEGIN_KEEP_GOING : 0);
	error = channel_send(channel, &begin, fds, 2);
	if (!error)
		error = jobs_hand_over(&keeper->jobs, channel);
	return error ? error : channel_send(channel, &end, NULL, 0);
}

/* A message of a type and a number. Returns 0 or a negative errno. */
static int tell_server(struct keeper *keeper, enum message_type type,
		       uint64_t number)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = type,
				   .number = number };

	return channel_send(&keeper->channel, &message, NULL, 0);
}

/* ---- the end of it all ---- */

/* Leave once nothing is left to look after. */
static void maybe_leave(struct keeper *keeper)
{
	if (keeper->stopping && !keeper->server.pid && keeper->channel.fd < 0 &&
	    !keeper->jobs.entries)
		ev_break(keeper->loop, EVBREAK_ALL);
}

/*
 * Ask the server whether it may leave. It answers once it has no request in a
 * worker of the kernel, with which no process can end, and no command half done; or
 * why that cannot be had. Returns NULL, or why nothing has been asked.
 */
static const char *ask_to_leave(struct keeper *keeper, enum purpose purpose)
{
	if (tell_server(keeper, MESSAGE_MAY_LEAVE, purpose == BEFORE_UPGRADE) <
	    0)
		return "the server cannot be asked";
	keeper->asked = purpose;
	watchdog_look(&keeper->watchdog);
	return NULL;
}

/*
 * A restart (SIGUSR2): once nothing is in the way this keeper ends, and leaves the
 * server with no command half done to the next keeper. Devices stay up meanwhile.
 */
static void maybe_hand_over(struct keeper *keeper)
{
	if (keeper->leaving && !keeper->stopping && keeper->serving &&
	    !keeper->asked && !keeper->candidate.process.pid &&
	    !jobs_are_busy(&keeper->jobs))
		ask_to_leave(keeper, FOR_RESTART);
}

static void hand_over(struct keeper *keeper, const struct message *answer)
{
	if (answer->result < 0) {
		keeper->leaving = 0;
		log_error("no restart: %s", answer->text);
		notify_send("STATUS=no restart: %s", answer->text);
	} else if (jobs_are_busy(&keeper->jobs)) {
		maybe_hand_over(keeper);
	} else if (!keeper->stopping && keeper->server.pid) {
		log_notice("the server goes on without a keeper until the next "
			   "one starts");
		ev_break(keeper->loop, EVBREAK_ALL);
	}
}

/*
 * ---- an upgrade: a new program is tried as a server beside ours; if that can
 * read the table of devices, this process goes on as it ----
 */

static void end_candidate(struct keeper *keeper)
{
	struct candidate *candidate = &keeper->candidate;

	ev_timer_stop(keeper->loop, &candidate->patience);
	channel_close(&candidate->channel);
	proc_kill(&candidate->process);
	proc_close(&candidate->process);
}

static void refuse_upgrade(struct keeper *keeper, int error, const char *why)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_UPGRADE,
				   .result = error };

	snprintf(message.text, sizeof(message.text), "%.350s", why);
	log_error("no upgrade: %s", message.text);
	channel_send(&keeper->channel, &message, NULL, 0);
}

/* Nothing comes of an upgrade, for a negative errno that `why` explains. */
static void fail_upgrade(struct keeper *keeper, int error, const char *why)
{
	if (keeper->candidate.process.pid)
		end_candidate(keeper);
	refuse_upgrade(keeper, error, why);
	maybe_hand_over(keeper);
}

/*
 * Why this process cannot become another keeper just now, or NULL. `answer` is the
 * server's word whether it can be left, NULL before the server has been asked.
 */
static const char *why_not_now(const struct keeper *keeper,
			       const struct message *answer)
{
	if (answer && answer->result < 0)
		return answer->text;
	if (keeper->stopping)
		return "every device is being deleted";
	/* The devices' memory would be lost with this process. */
	if (!keeper->server.pid || keeper->channel.fd < 0 || !keeper->serving)
		return "there is no server just now";
	if (keeper->leaving)
		return "a restart was asked for";
	if (jobs_are_busy(&keeper->jobs))
		return "a device is being added or deleted";
	if (keeper->candidate.process.pid || keeper->asked)
		return "another upgrade or restart is under way";
	return NULL;
}

/*
 * The next keeper asks the server for the table of devices. In case the server has
 * died by then, a copy of the table goes along over the exec: in a socket, into
 * which it was written as to a server. Returns the socket, or a negative errno.
 */
static int copy_table(struct keeper *keeper)
{
	int pair[2], size = TABLE_SIZE, error;
	struct channel channel;
	char text[16];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	/* As much as any process may have; and with a capability, all of it. */
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	channel_open(&channel, keeper->loop, pair[0], NULL, NULL, NULL);
	error = jobs_hand_over(&keeper->jobs, &channel);
	if (!error && channel.first)
		error = -ENOBUFS;
	channel_close(&channel);
	snprintf(text, sizeof(text), "%d", pair[1]);
	if (!error && (fcntl(pair[1], F_SETFD, 0) < 0 ||
		       setenv(TABLE_VARIABLE, text, 1) < 0))
		error = -errno;
	if (!error)
		return pair[1];
	close(pair[1]);
	return error;
}

/*
 * Go on as another program: from here on all is as if this keeper had been killed
 * and the next one were started, which takes over from the server that goes on. Only
 * the process is the same.
 */
static void become_program(struct keeper *keeper, const char *program)
{
	const struct keeper_options *options = keeper->options;
	const char *level = log_level_name(options->log_level);
	char text[400], timeout[16];
	int error, table = -1;
	char *const arguments[] = {
		options->is_spared ? "@ublkd" : "ublkd",
		"--continue",
		"--socket",
		keeper->listener.path,
		"--state",
		(char *)options->state,
		"--log-level",
		(char *)level,
		options->foreground ? "--foreground" : "--syslog",
		options->is_plain ? "--hot=no" : "--hot=yes",
		"--stop-timeout",
		timeout,
		keeper->listener.inode ? NULL : "--borrowed-socket",
		NULL
	};

	snprintf(timeout, sizeof(timeout), "%d", options->stop_timeout);
	log_notice("upgrade: going on as %s", program);
	if (keeper->candidate.takes_table)
		table = copy_table(keeper);
	if (keeper->candidate.takes_table && table < 0)
		log_warning("upgrade: should the server die now, memory of "
			    "devices is lost: %s",
			    strerror(-table));
	/* An older program would not know the options. */
	if (options->is_unrecorded)
		setenv(KEEPER_UNRECORDED, "yes", 1);
	setenv(KEEPER_CONFIG, options->config, 1);
	if (options->reader)
		setenv(KEEPER_READER, options->reader, 1);
	execv(program, arguments);
	error = errno;
	unsetenv(KEEPER_UNRECORDED);
	unsetenv(KEEPER_CONFIG);
	unsetenv(KEEPER_READER);
	unsetenv(TABLE_VARIABLE);
	if (table >= 0)
		close(table);
	snprintf(text, sizeof(text), "%.300s: %s", program, strerror(error));
	fail_upgrade(keeper, -error, text);
}

static __attribute__((cold)) void
on_candidate_message(struct channel *channel, const struct message *message,
		     const int *fds, int fd_count)
{
	struct keeper *keeper = channel->owner;
	const char *why;

	while (fd_count)
		jobs_close_file(&keeper->jobs, fds[--fd_count]);
	if (message->type == MESSAGE_FAILED || message->result < 0) {
		fail_upgrade(keeper, -EINVAL, message->text);
	} else if (message->type == MESSAGE_PREPARED) {
		keeper->candidate.takes_table = message->number == 1;
		end_candidate(keeper);
		why = why_not_now(keeper, NULL);
		if (!why)
			why = ask_to_leave(keeper, FOR_UPGRADE);
		if (why)
			fail_upgrade(keeper, -EBUSY, why);
	}
}

static void __attribute__((cold)) on_candidate_gone(struct channel *channel)
{
	fail_upgrade(channel->owner, -EINVAL,
		     "the new program ended before it had read the table of "
		     "devices; is it a ublkd?");
}

static void __attribute__((cold))
on_candidate_late(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	fail_upgrade(timer->data, -ETIMEDOUT,
		     "the new program does not say that it is ready");
}

static void try_program(struct keeper *keeper)
{
	struct candidate *candidate = &keeper->candidate;
	int error = spawn_server(keeper, candidate->program,
				 &candidate->process, &candidate->channel,
				 on_candidate_message, on_candidate_gone);

	if (error) {
		fail_upgrade(keeper, error, strerror(-error));
		return;
	}
	ev_timer_init(&candidate->patience, on_candidate_late, UPGRADE_PATIENCE,
		      0);
	candidate->patience.data = keeper;
	ev_timer_start(keeper->loop, &candidate->patience);
	error = give_table(keeper, &candidate->channel);
	/* -EPIPE: it has ended already, and its last word is to be read. */
	if (error && error != -EPIPE)
		fail_upgrade(keeper, -EPIPE, "out of memory");
}

/*
 * The server asks for an upgrade, to the program that the message names or to
 * the one that was started. The server is answered if nothing comes of it.
 */
static void start_upgrade(struct keeper *keeper, const struct message *message)
{
	struct candidate *candidate = &keeper->candidate;
	const char *why = why_not_now(keeper, NULL);

	if (!why) {
		snprintf(candidate->program, sizeof(candidate->program), "%s",
			 message->text[0] ? message->text
					  : keeper->options->program);
		why = ask_to_leave(keeper, BEFORE_UPGRADE);
	}
	if (why)
		refuse_upgrade(keeper, -EBUSY, why);
}

/* The server's answer whether it can be left now, or for what it was asked. */
static void on_may_leave(struct keeper *keeper, const struct message *answer)
{
	enum purpose purpose = keeper->asked;
	const char *why;

	keeper->asked = FOR_NOTHING;
	if (purpose == FOR_RESTART)
		hand_over(keeper, answer);
	if (purpose != BEFORE_UPGRADE && purpose != FOR_UPGRADE)
		return;
	why = why_not_now(keeper, answer);
	if (why)
		fail_upgrade(keeper, -EBUSY, why);
	else if (purpose == BEFORE_UPGRADE)
		try_program(keeper);
	else
		become_program(keeper, keeper->candidate.program);
}

/* ---- the server ---- */

/* Once: whoever gave us the descriptor waits for that. */
static void tell_once(int *fd, const char *text, size_t length)
{
	if (*fd < 0)
		return;
	if (write(*fd, text, length) < 0)
		log_debug("nobody waits for the start");
	/* The number stays taken: it may be one that children need. */
	dup3(STDIN_FILENO, *fd, O_CLOEXEC);
	*fd = -1;
}

static void tell_failure(struct keeper *keeper, const char *failure)
{
	tell_once(&keeper->ready_fd, failure, strlen(failure) + 1);
}

/* The process that was started, a service manager, and --ready-fd. */
static void tell_ready(struct keeper *keeper)
{
	int error;

	tell_failure(keeper, "");
	error = notify_send("READY=1\nSTATUS=ready on %s",
			    keeper->listener.path);
	if (error)
		log_warning("the service manager does not hear that we are "
			    "ready: %s",
			    strerror(-error));
	tell_once(&keeper->newline_fd, "\n", 1);
}

/*
 * A request that nobody answers would hold up the end for ever, and its users
 * with it: without its server it fails.
 */
static void on_stop_limit(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct keeper *keeper = timer->data;

	(void)loop;
	(void)events;
	if (!keeper->server.pid)
		return;
	log_error("devices are still being stopped: the server is killed, and "
		  "what is in flight fails");
	proc_kill(&keeper->server);
}

static void stop_devices(struct keeper *keeper)
{
	unsigned kept, deleted;

	ev_timer_start(keeper->loop, &keeper->stop_limit);
	jobs_hurry(&keeper->jobs);
	watchdog_look(&keeper->watchdog);
	if (tell_server(keeper, MESSAGE_STOP_ALL, 0) < 0 && !keeper->server.pid)
		jobs_server_gone(&keeper->jobs, 0, &kept, &deleted);
	maybe_leave(keeper);
}

/* The users who are about to lose a disk are known, or that took too long. */
static void on_users(void *context, const struct message *answer, int fd)
{
	(void)fd; /* none comes */
	jobs_log_users(answer);
	stop_devices(context);
}

/* Stop and delete every device, then end. In seconds; 0: as usual. */
static void stop_all(struct keeper *keeper, double limit)
{
	if (keeper->stopping)
		return;
	keeper->stopping = 1;
	ev_timer_init(&keeper->stop_limit, on_stop_limit,
		      limit > 0 ? limit : keeper->options->stop_timeout, 0);
	keeper->stop_limit.data = keeper;
	notify_send("STOPPING=1\nSTATUS=deleting every device");
	ev_timer_stop(keeper->loop, &keeper->restart);
	if (jobs_ask_users(&keeper->jobs, on_users, keeper) < 0)
		stop_devices(keeper);
}

/* Whoever waits for the start is told at the end. */
static void set_failure(struct keeper *keeper, const char *why)
{
	keeper->status = 1;
	snprintf(keeper->failure.text, sizeof(keeper->failure.text), "%.399s",
		 why);
}

/* Undo everything and end. */
static void fail_start(struct keeper *keeper, const char *why)
{
	if (keeper->stopping)
		return;
	set_failure(keeper, why);
	stop_all(keeper, 0);
}

/*
 * The new server cannot go on: the old one, which was not told, still can. That
 * the new one has ended is no news if it said why before.
 */
static void give_up_takeover(struct keeper *keeper, const char *why)
{
	if (keeper->status)
		return;
	log_error("the devices are not taken over: %s; process %d serves them "
		  "on, without a keeper",
		  why, (int)keeper->takeover.server.pid);
	keeper->leaving = 1;
	set_failure(keeper, why);
	proc_kill(&keeper->server);
	ev_break(keeper->loop, EVBREAK_ALL);
}

/*
 * A program that is no server, or one that could not begin. Whoever uses a
 * device that was there before is not to suffer from that.
 */
static void on_failed(struct keeper *keeper, const struct message *message)
{
	if (keeper->stopping)
		return;
	/* A server has told the log itself, and it may have run the file. */
	if (message->result < 0) {
		log_error("cannot start a server: %s", message->text);
		if (keeper->configuration == CONFIGURATION_RUNS)
			keeper->configuration = CONFIGURATION_TO_RUN;
	}
	if (keeper->takeover.fd >= 0)
		give_up_takeover(keeper, message->text);
	else if (!keeper->has_users)
		fail_start(keeper, message->text);
	else
		proc_kill(&keeper->server); /* one more death */
}

/* From here on whoever comes to the read-only socket comes to this server. */
static void give_reader(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_READER };
	int error;

	if (keeper->reader.fd < 0)
		return;
	error = listener_show(&keeper->reader);
	if (error)
		log_error("the read-only socket is not at %s: %s",
			  keeper->reader.path, strerror(-error));
	channel_send(&keeper->channel, &message, &keeper->reader.fd, 1);
}

/* Beside it what the old server, if there is one, can be told to leave by. */
static void tell_to_go(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC, .type = MESSAGE_GO };

	give_reader(keeper);
	channel_send(&keeper->channel, &message, &keeper->takeover.fd,
		     keeper->takeover.fd >= 0);
}

/* What the old server has told before it left, after its table. */
static void pass_tally(void *context, const struct message *tally)
{
	struct keeper *keeper = context;

	if (entry_take_tally(keeper->jobs.entries, keeper->jobs.state, tally) !=
	    -ENODEV)
		channel_send(&keeper->channel, tally, NULL, 0);
}

static void end_old_server(struct keeper *keeper)
{
	struct takeover *takeover = &keeper->takeover;

	if (takeover_end(takeover, pass_tally, keeper) < 0)
		log_warning("process %d, the old server, does not end; its "
			    "devices wait for it",
			    (int)takeover->server.pid);
	adopt_drop_rest(&keeper->jobs, takeover);
	takeover_close(takeover);
}

/* The new server can serve all there is: now the old one may leave. */
static void on_prepared(struct keeper *keeper, const struct message *message)
{
	if (keeper->takeover.fd < 0)
		return; /* it went on at once */
	if (message->result < 0) {
		give_up_takeover(keeper, message->text);
		return;
	}
	/*
	 * In this order: should this process be killed in between, the new
	 * server tells the old one. The other way round, neither would have the
	 * devices' memory.
	 */
	tell_to_go(keeper);
	takeover_leave(&keeper->takeover);
	end_old_server(keeper);
	jobs_clean_up(&keeper->jobs);
}

/* What begins to be deleted when the server is ready is not to be used. */
static void on_ready(struct keeper *keeper)
{
	if (keeper->stopping)
		return;
	log_notice("ready on %s", keeper->listener.path);
	keeper->has_users = keeper->serving = 1;
	keeper->configuration = CONFIGURATION_DONE;
	tell_ready(keeper);
	maybe_hand_over(keeper);
}

/* What it asked for may wait for requests that it must answer. */
static void run_job(struct keeper *keeper, const struct message *message,
		    const int *fds, int fd_count)
{
	watchdog_look(&keeper->watchdog);
	if (message->type != MESSAGE_FEATURES && message->type != MESSAGE_ASK &&
	    message->type != MESSAGE_OWNER)
		rings_release(&keeper->rings, message->id);
	jobs_run(&keeper->jobs, message, fds, fd_count);
}

/* Without that its end is only as risky as it was. */
static void hold_ring(struct keeper *keeper, const struct message *message)
{
	int error = rings_take(&keeper->rings, &keeper->server, message->id,
			       (int)message->number);

	if (error && error != -ESRCH)
		log_warning("device %u: the server's ring cannot be held: %s",
			    message->id, strerror(-error));
}

static void __attribute__((cold))
on_server_message(struct channel *channel, const struct message *message,
		  const int *fds, int fd_count)
{
	struct keeper *keeper = channel->owner;
	struct message answer;

	switch (message->type) {
	case MESSAGE_PREPARED:
		on_prepared(keeper, message);
		break;
	case MESSAGE_READY:
		on_ready(keeper);
		break;
	case MESSAGE_UPGRADE:
		start_upgrade(keeper, message);
		break;
	case MESSAGE_MAY_LEAVE:
		on_may_leave(keeper, message);
		break;
	case MESSAGE_FAILED:
		on_failed(keeper, message);
		break;
	case MESSAGE_RING:
		hold_ring(keeper, message);
		break;
	case MESSAGE_TALLY:
		answer = *message;
		answer.result = entry_take_tally(keeper->jobs.entries,
						 keeper->jobs.state, message);
		channel_send(&keeper->channel, &answer, NULL, 0);
		break;
	case MESSAGE_ACTIVE:
		watchdog_look(&keeper->watchdog);
		break;
	case MESSAGE_SHUTDOWN:
		log_notice("shutdown was asked for: stopping");
		stop_all(keeper, (double)message->number);
		break;
	default:
		if (!jobs_can_run(message->type))
			log_error("the server sent an unknown message: %u",
				  message->type);
		else
			run_job(keeper, message, fds, fd_count);
	}
	/* On a network every close can wait. */
	while (fd_count)
		jobs_close_file(&keeper->jobs, fds[--fd_count]);
}

/* Start a server in so many seconds. */
static void start_after(struct keeper *keeper, double delay)
{
	ev_timer_stop(keeper->loop, &keeper->restart);
	ev_timer_set(&keeper->restart, delay, 0);
	ev_timer_start(keeper->loop, &keeper->restart);
}

/*
 * No server could be started, or the server is gone: the next one starts, at once
 * if the last one had been up for a while. A server that was never ready ends the
 * start, unless there are devices of before: their users wait for a server.
 */
static void __attribute__((cold))
replace_server(struct keeper *keeper, const char *why)
{
	double delay = 0;

	if (!keeper->has_users)
		fail_start(keeper, why);
	if (keeper->stopping)
		return;
	if (ev_time() - keeper->started < GOOD_RUN) {
		delay = keeper->delay;
		keeper->delay = delay * 2 < DELAY_MAX ? delay * 2 : DELAY_MAX;
		log_error("the server lived less than %g s: the next one "
			  "starts in %g s",
			  GOOD_RUN, delay);
	} else {
		keeper->delay = DELAY_MIN;
	}
	start_after(keeper, delay);
}

static void describe_end(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with status %d",
			 WEXITSTATUS(status));
}

/*
 * The server's process has ended. Somebody else may have its end of the channel:
 * a program that is no server may leave a child behind.
 */
static void server_is_gone(struct keeper *keeper, int status)
{
	pid_t server = keeper->server.pid;
	char end[100], why[160];
	unsigned kept, deleted;

	watchdog_end(&keeper->watchdog);
	proc_close(&keeper->server);
	channel_finish(&keeper->channel);
	rings_drop(&keeper->rings);
	if (keeper->takeover.fd >= 0 && !keeper->stopping) {
		give_up_takeover(keeper, "the new server ended at once");
		return;
	}
	if (keeper->takeover.fd >= 0) {
		/* Everything is to end, the old server too. */
		takeover_leave(&keeper->takeover);
		end_old_server(keeper);
	}
	keeper->serving = 0;
	if (keeper->candidate.process.pid || keeper->asked == FOR_UPGRADE ||
	    keeper->asked == BEFORE_UPGRADE)
		fail_upgrade(keeper, -ESRCH, "the server has died meanwhile");
	keeper->asked = FOR_NOTHING; /* a restart asks the next one */
	jobs_set_server(&keeper->jobs, 0);
	jobs_server_gone(&keeper->jobs, !keeper->stopping, &kept, &deleted);
	describe_end(status, end, sizeof(end));
	if (!keeper->stopping || status != 0)
		log_error("the server, process %d, %s; %u of its devices wait "
			  "for the next one, %u are deleted",
			  (int)server, end, kept, deleted);
	if (keeper->configuration == CONFIGURATION_RUNS && keeper->has_users &&
	    !keeper->stopping) {
		log_error("the server ended while it ran the configuration; "
			  "the rest of %s is not run",
			  config_path(keeper->options->config));
		keeper->configuration = CONFIGURATION_DONE;
	}
	snprintf(why, sizeof(why),
		 "the server %s before it was ready; see the log", end);
	replace_server(keeper, why);
	maybe_leave(keeper);
}

/*
 * The server may live on, cut off by a message that was lost for want of memory or
 * descriptors: the next one takes over. In an orderly end it leaves by itself.
 */
static void on_server_cut_off(struct channel *channel)
{
	struct keeper *keeper = channel->owner;

	if (!keeper->stopping || keeper->jobs.entries)
		proc_kill(&keeper->server);
}

/*
 * Children are servers, candidates, helpers, the server of the program that this
 * process was before, and whoever is left to process 1 of a container. A number
 * means the same process until its end has been reaped here.
 */
static void reap_children(struct keeper *keeper)
{
	struct candidate *candidate = &keeper->candidate;
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == keeper->server.pid)
			server_is_gone(keeper, status);
		if (pid != candidate->process.pid)
			continue;
		channel_finish(&candidate->channel);
		/* Unless its last word was one. */
		if (candidate->process.pid)
			on_candidate_gone(&candidate->channel);
	}
}

static int is_waited_for(struct watchdog *watchdog)
{
	struct keeper *keeper = watchdog->owner;

	return keeper->stopping || keeper->asked ||
	       jobs_are_busy(&keeper->jobs) ||
	       jobs_have_requests(&keeper->jobs);
}

static void ask_for_turn(struct watchdog *watchdog)
{
	tell_server(watchdog->owner, MESSAGE_PING, 0);
}

static void watch_server(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_SIGHT };
	int which = keeper->sight < 0
			    ? keeper->sight
			    : watchdog_begin(&keeper->watchdog, &keeper->server,
					     keeper->sight);

	if (which < 0) {
		log_warning("the server is not watched: %s", strerror(-which));
		return;
	}
	message.number = (which ? SIGHT_SECOND : 0) |
			 (keeper->options->is_unrecorded ? 0 : SIGHT_RECORDED);
	channel_send(&keeper->channel, &message, &keeper->sight, 1);
}

static int start_server(struct keeper *keeper)
{
	int error = spawn_server(keeper, "/proc/self/exe", &keeper->server,
				 &keeper->channel, on_server_message,
				 on_server_cut_off);

	if (error)
		return error;
	if (keeper->configuration == CONFIGURATION_TO_RUN)
		keeper->configuration = CONFIGURATION_RUNS;
	jobs_set_server(&keeper->jobs, keeper->server.pid);
	watch_server(keeper);
	error = give_table(keeper, &keeper->channel);
	if (!error && keeper->takeover.fd < 0)
		tell_to_go(keeper);
	return error;
}

static void on_restart(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct keeper *keeper = timer->data;
	int error;

	(void)loop;
	(void)events;
	keeper->started = ev_time();
	error = start_server(keeper);
	if (!error)
		return;
	log_error("cannot start a server: %s", strerror(-error));
	/* The end of one that is half started is the same as any other's. */
	proc_kill(&keeper->server);
	if (!keeper->server.pid)
		replace_server(keeper, strerror(-error));
}

/* ---- start and end ---- */

/* A terminal that is closed ends nothing, and changes nothing. */
static void maybe_reload(struct keeper *keeper)
{
	int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

	if (terminal >= 0) {
		close(terminal);
		log_notice("SIGHUP: nothing is done, for there is a "
			   "controlling terminal; 'reload' works");
		return;
	}
	if (!keeper->serving || keeper->stopping) {
		log_notice("SIGHUP: nothing is done: %s",
			   keeper->stopping ? "it stops"
					    : "no server is ready yet");
		return;
	}
	log_notice("SIGHUP: the configuration is read again");
	tell_server(keeper, MESSAGE_RELOAD, 0);
}

static void __attribute__((cold))
on_signal(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct keeper *keeper = watcher->data;
	struct signalfd_siginfo info;

	(void)loop;
	(void)events;
	while (read(keeper->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			reap_children(keeper);
			continue;
		}
		if (info.ssi_signo == SIGUSR2) {
			keeper->leaving = 1;
			maybe_hand_over(keeper);
			continue;
		}
		if (info.ssi_signo == SIGHUP) {
			maybe_reload(keeper);
			continue;
		}
		if (!keeper->stopping)
			log_notice("%s: stopping",
				   strsignal((int)info.ssi_signo));
		stop_all(keeper, 0);
	}
}

/*
 * The program that this process was before an upgrade has left these signals
 * blocked, so that none of them killed it on the way; children never have them so.
 */
static int open_signals(struct keeper *keeper)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD,
				       SIGUSR2 };
	sigset_t set;
	unsigned i;

	sigemptyset(&set);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, &keeper->old_signals);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigdelset(&keeper->old_signals, numbers[i]);
	process_survive_limits(LOG_LEVEL_WARNING);
	keeper->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (keeper->signal_fd < 0)
		return -errno;
	ev_io_init(&keeper->signals, on_signal, keeper->signal_fd, EV_READ);
	keeper->signals.data = keeper;
	ev_io_start(keeper->loop, &keeper->signals);
	return 0;
}

static void send_answer(struct jobs *jobs, const struct message *message,
			int fd)
{
	struct keeper *keeper = jobs->owner;
	int error = channel_send(&keeper->channel, message, &fd, fd >= 0);

	/* Of a channel that is closed on_server_cut_off() knows whether it may be. */
	if (!error || error == -EPIPE || !keeper->server.pid)
		return;
	/* The server would wait for the answer for ever; the next one does not. */
	log_error("the server, process %d, cannot be told what it waits for: "
		  "%s; it is killed",
		  (int)keeper->server.pid, strerror(-error));
	proc_kill(&keeper->server);
}

static void __attribute__((cold)) on_jobs_idle(struct jobs *jobs)
{
	struct keeper *keeper = jobs->owner;

	/* The leftovers are gone: the first server need not wait longer. */
	if (keeper->started == 0 && ev_is_active(&keeper->restart))
		start_after(keeper, 0);
	maybe_hand_over(keeper);
	maybe_leave(keeper);
}

/*
 * What the service manager gives: the admin socket, and what devices held when
 * all of an earlier ublkd was killed. Returns the socket or -1.
 */
static int take_given(struct keeper *keeper)
{
	const char *name;
	int fd, listener = -1;

	while ((fd = notify_take(&name, SPAWN_FLOOR)) >= 0) {
		if (entry_from_store(&keeper->takeover.found, name, fd) == 0)
			continue;
		if (listener < 0 && (strcmp(name, "admin") == 0 ||
				     strcmp(name, "ublkd.socket") == 0)) {
			listener = fd;
			continue;
		}
		log_warning("the service manager gives us '%s', of which "
			    "nothing is known",
			    name);
		close(fd);
	}
	return listener;
}

/* Of the program before an upgrade: for when its server tells none any more. */
static void take_table(struct takeover *takeover)
{
	const char *number = getenv(TABLE_VARIABLE);

	if (number && takeover->fd < 0)
		takeover_read_table(takeover, atoi(number));
	if (number)
		close(atoi(number));
	unsetenv(TABLE_VARIABLE);
}

/* What the servers write down; without it they work all the same. */
static void open_sight(struct keeper *keeper)
{
	const char *why;

	keeper->sight = sight_file_make(keeper->state.fd, &why);
	if (keeper->sight >= 0 && why)
		log_notice("what the server does can be seen on its socket "
			   "only, not in %s/" SIGHT_NAME ": %s",
			   keeper->state.path, why);
}

/* Returns 0, or -1 with *failure filled. */
static int open_reader(struct keeper *keeper, struct failure *failure)
{
	const struct keeper_options *options = keeper->options;

	if (!options->reader)
		return 0;
	if (listener_lock(&keeper->reader, options->reader, failure) < 0)
		return -1;
	return listener_bind_hidden(&keeper->reader, failure);
}

/* The admin socket, the state folder, and what an earlier keeper has left. */
static int open_places(struct keeper *keeper, struct failure *failure)
{
	struct takeover *takeover = &keeper->takeover;
	int given = take_given(keeper), error;

	/* One ublkd a socket, whoever made that. */
	error = given >= 0 ? listener_adopt(&keeper->listener, given, failure)
			   : listener_lock(&keeper->listener,
					   keeper->options->socket, failure);
	if (error < 0 ||
	    state_open(&keeper->state, keeper->options->state, failure) < 0 ||
	    takeover_begin(takeover, keeper->state.path, failure) < 0 ||
	    open_reader(keeper, failure) < 0)
		return -1;
	open_sight(keeper);
	take_table(takeover);
	if (takeover->fd >= 0)
		log_notice(
			"process %d serves without a keeper: its devices are "
			"taken over",
			(int)takeover->server.pid);
	if (keeper->listener.fd >= 0)
		return 0;
	if (takeover->fd < 0 ||
	    listener_use(&keeper->listener, takeover->listener,
			 keeper->options->borrowed_socket) < 0)
		return listener_bind(&keeper->listener, failure);
	takeover->listener = -1;
	return 0;
}

/* One that may be missing, and is, costs no helper that reads it. */
static int has_configuration(const struct keeper_options *options)
{
	const char *config = options->config;

	return config[0] && !options->is_configured &&
	       (config[0] != '-' || access(config_path(config), F_OK) == 0 ||
		errno != ENOENT);
}

/*
 * The configuration may want ids that leftovers still have, so the first server
 * waits for them, but not for ever. While an old server lives, they wait.
 */
static void start_first(struct keeper *keeper)
{
	double delay = 0;

	keeper->has_users = keeper->takeover.fd >= 0 ||
			    jobs_have_devices(&keeper->jobs);
	/* A living server has run it. */
	if (keeper->takeover.fd < 0) {
		if (has_configuration(keeper->options))
			keeper->configuration = CONFIGURATION_TO_RUN;
		adopt_drop_rest(&keeper->jobs, &keeper->takeover);
		jobs_clean_up(&keeper->jobs);
		if (jobs_are_busy(&keeper->jobs))
			delay = LEFTOVER_PATIENCE;
	}
	start_after(keeper, delay);
}

static int open_all(struct keeper *keeper, struct failure *failure)
{
	int error;

	keeper->loop = loop_new_bare();
	if (!keeper->loop)
		return failure_set(failure, SYMBOL_INTERNAL, 0, NULL,
				   "libev cannot make an epoll loop");
	ev_timer_init(&keeper->restart, on_restart, 0, 0);
	keeper->restart.data = keeper;
	watchdog_open(&keeper->watchdog, keeper->loop, is_waited_for,
		      ask_for_turn, keeper);
	/* Before anything that may take a while: they end it in order. */
	error = open_signals(keeper);
	if (error)
		return failure_set(failure, SYMBOL_INTERNAL, error, NULL,
				   "cannot watch signals: %s",
				   strerror(-error));
	if (open_places(keeper, failure) < 0)
		return -1;
	helpers_open(&keeper->helpers, keeper->loop, &keeper->old_signals,
		     keeper->options->is_spared);
	error = jobs_open(&keeper->jobs, keeper->loop, keeper->listener.path,
			  &keeper->state, &keeper->helpers, send_answer,
			  on_jobs_idle, keeper);
	if (error)
		return failure_set(failure, SYMBOL_UNSUPPORTED, error, NULL,
				   "cannot make an io_uring (is sysctl "
				   "kernel.io_uring_disabled 0?): %s",
				   strerror(-error));
	adopt_devices(&keeper->jobs, &keeper->takeover,
		      keeper->options->delete_leftovers);
	start_first(keeper);
	return 0;
}

int keeper_run(const struct keeper_options *options)
{
	struct keeper keeper = {
		.options = options,
		.channel.fd = -1,
		.listener = { .fd = -1, .lock = -1 },
		.reader = { .fd = -1, .lock = -1 },
		.sight = -ENOENT,
		.state = { .fd = -1, .names = options->names },
		.takeover = { .fd = -1, .listener = -1, .handover = -1 },
		.candidate.channel.fd = -1,
		.ready_fd = options->ready_fd,
		.newline_fd = options->newline_fd,
		.delay = DELAY_MIN
	};

	notify_open();
	process_allow_files(SERVER_FILES_MAX);
	spawn_reserve();
	process_protect(LOG_LEVEL_WARNING);
	if (open_all(&keeper, &keeper.failure) < 0) {
		log_error("%s", keeper.failure.text);
		keeper.status = 1;
	} else {
		ev_run(keeper.loop, 0);
	}
	/* A server that goes on needs the sockets at their places. */
	if (keeper.takeover.listener >= 0) {
		listener_close(&keeper.listener); /* it has another one */
	} else if (keeper.leaving || keeper.takeover.fd >= 0) {
		listener_leave(&keeper.listener);
	} else {
		listener_close(&keeper.listener);
		takeover_remove(&keeper.takeover, keeper.state.path);
		if (keeper.sight >= 0)
			sight_file_remove(keeper.state.fd);
		state_close(&keeper.state);
	}
	if (keeper.leaving && !keeper.reader.is_hidden)
		listener_leave(&keeper.reader);
	else
		listener_close(&keeper.reader);
	takeover_close(&keeper.takeover);
	helpers_close(&keeper.helpers);
	jobs_close(&keeper.jobs);
	watchdog_end(&keeper.watchdog);
	if (keeper.sight >= 0)
		close(keeper.sight);
	rings_drop(&keeper.rings);
	if (keeper.loop)
		ev_loop_destroy(keeper.loop);
	if (keeper.status) {
		tell_failure(&keeper, keeper.failure.text);
		notify_send("STATUS=%s", keeper.failure.text);
	}
	notify_close();
	return keeper.status;
}
