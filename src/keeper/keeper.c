#include "keeper-parts.h"

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
#include "carry.h"
#include "base/channel.h"
#include "jobs.h"
#include "listener.h"
#include "io/loop.h"
#include "notify.h"
#include "base/process.h"
#include "rings.h"
#include "server/server.h"
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

#define LEFTOVER_PATIENCE 3.0 /* s for a killed one's devices to be deleted */

/* ---- the end of it all ---- */

/* Leave once nothing is left to look after. */
static void maybe_leave(struct keeper *keeper)
{
	if (keeper->stopping && !keeper->server.pid && keeper->channel.fd < 0 &&
	    !keeper->jobs.entries)
		ev_break(keeper->loop, EVBREAK_ALL);
}

int keeper_ask_to_leave(struct keeper *keeper, enum purpose purpose)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_MAY_LEAVE,
				   .number = purpose == BEFORE_UPGRADE };
	int error = channel_send(&keeper->channel, &message, NULL, 0);

	if (error)
		return error;
	keeper->asked = purpose;
	watchdog_look(&keeper->watchdog);
	return 0;
}

void keeper_maybe_hand_over(struct keeper *keeper)
{
	if (!keeper->leaving || keeper->stopping || !keeper->serving ||
	    keeper->asked || keeper->candidate.process.pid ||
	    jobs_are_busy(&keeper->jobs))
		return;
	keeper_ask_to_leave(keeper, FOR_RESTART);
}

static void hand_over(struct keeper *keeper, const struct message *answer)
{
	if (answer->result < 0) {
		keeper->leaving = 0;
		log_error("no restart: %s", answer->text);
		notify_send("STATUS=no restart: %s", answer->text);
	} else if (jobs_are_busy(&keeper->jobs)) {
		keeper_maybe_hand_over(keeper);
	} else if (!keeper->stopping && keeper->server.pid) {
		log_notice("the server goes on without a keeper until the next "
			   "one starts");
		ev_break(keeper->loop, EVBREAK_ALL);
	}
}

/* ---- the server ---- */

static void tell_ready(struct keeper *keeper, const char *failure)
{
	if (keeper->options->ready_fd < 0 || keeper->told)
		return;
	keeper->told = 1;
	if (write(keeper->options->ready_fd, failure, strlen(failure) + 1) < 0)
		log_debug("nobody waits for the start");
	close(keeper->options->ready_fd);
}

/* A service manager, and whoever gave us a descriptor for it. */
static void tell_managers(struct keeper *keeper)
{
	int fd = keeper->options->newline_fd;
	int error = notify_send("READY=1\nSTATUS=ready on %s",
				keeper->listener.path);

	if (error)
		log_warning("the service manager does not hear that we are "
			    "ready: %s",
			    strerror(-error));
	if (fd < 0 || keeper->told_newline)
		return;
	keeper->told_newline = 1;
	if (write(fd, "\n", 1) < 0)
		log_debug("nobody waits on --ready-fd");
	close(fd);
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
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_STOP_ALL };
	unsigned kept, deleted;

	ev_timer_start(keeper->loop, &keeper->stop_limit);
	jobs_hurry(&keeper->jobs);
	watchdog_look(&keeper->watchdog);
	if (channel_send(&keeper->channel, &message, NULL, 0) < 0 &&
	    !keeper->server.pid)
		jobs_server_gone(&keeper->jobs, 0, &kept, &deleted);
	maybe_leave(keeper);
}

/* Who is about to lose a disk has been found out, or that took too long. */
static void on_users(void *context, const struct message *answer)
{
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

/* Undo everything and end; whoever waits for the start is told then. */
static void fail_start(struct keeper *keeper, const char *why)
{
	if (keeper->stopping)
		return;
	keeper->status = 1;
	snprintf(keeper->failure.text, sizeof(keeper->failure.text), "%.399s",
		 why);
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
	keeper->status = keeper->leaving = 1;
	snprintf(keeper->failure.text, sizeof(keeper->failure.text), "%.399s",
		 why);
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
		if (!keeper->was_ready && !keeper->succeeds)
			keeper->config = keeper->options->config;
	}
	if (keeper->takeover.fd >= 0)
		give_up_takeover(keeper, message->text);
	else if (!keeper->was_ready && !keeper->adopted)
		fail_start(keeper, message->text);
	else
		proc_kill(&keeper->server); /* one more death */
}

/* Beside it what the old server, if there is one, can be told to leave by. */
static void tell_to_go(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC, .type = MESSAGE_GO };

	channel_send(&keeper->channel, &message, &keeper->takeover.fd,
		     keeper->takeover.fd >= 0);
}

static void let_go(void *keeper, int fd)
{
	jobs_close_file(&((struct keeper *)keeper)->jobs, fd);
}

/* What the old server has told before it left, after its table. */
static void pass_tallies(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_TALLY };
	const struct held *held = keeper->takeover.held;

	for (; held; held = held->next) {
		message.id = held->id;
		message.number = held->tally;
		if (held->tally && jobs_take_tally(&keeper->jobs, held->id,
						   held->tally) != -ENODEV)
			channel_send(&keeper->channel, &message, NULL, 0);
	}
}

static void end_old_server(struct keeper *keeper)
{
	if (takeover_end(&keeper->takeover) < 0)
		log_warning("process %d, the old server, does not end; its "
			    "devices wait for it",
			    (int)keeper->takeover.server.pid);
	pass_tallies(keeper);
	rings_drop_after(&keeper->takeover.rings, &keeper->takeover.server);
	takeover_drop_rest(&keeper->takeover, let_go, keeper);
	takeover_close(&keeper->takeover);
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
	keeper->was_ready = keeper->serving = 1;
	keeper->succeeds = 0;
	tell_ready(keeper, "");
	tell_managers(keeper);
	keeper_maybe_hand_over(keeper);
}

/* What it asked for may wait for requests that it must answer. */
static void run_job(struct keeper *keeper, const struct message *message,
		    const int *fds, int fd_count)
{
	watchdog_look(&keeper->watchdog);
	if (message->type != MESSAGE_FEATURES && message->type != MESSAGE_ASK)
		rings_release(&keeper->rings, message->id);
	jobs_run(&keeper->jobs, message, fds, fd_count);
}

static void on_may_leave(struct keeper *keeper, const struct message *answer)
{
	enum purpose purpose = keeper->asked;

	keeper->asked = FOR_NOTHING;
	if (purpose == BEFORE_UPGRADE)
		upgrade_try(keeper, answer);
	else if (purpose == FOR_UPGRADE)
		upgrade_end(keeper, answer);
	else if (purpose == FOR_RESTART)
		hand_over(keeper, answer);
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

static void note_tally(struct keeper *keeper, const struct message *message)
{
	struct message answer = *message;

	answer.result =
		jobs_take_tally(&keeper->jobs, message->id, message->number);
	channel_send(&keeper->channel, &answer, NULL, 0);
}

static void on_message(struct channel *channel, const struct message *message,
		       const int *fds, int fd_count)
{
	struct keeper *keeper = channel->owner;

	switch (message->type) {
	case MESSAGE_PREPARED:
		on_prepared(keeper, message);
		break;
	case MESSAGE_READY:
		on_ready(keeper);
		break;
	case MESSAGE_UPGRADE:
		upgrade_begin(keeper, message);
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
		note_tally(keeper, message);
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
		let_go(keeper, fds[--fd_count]);
}

/* Start a server in so many seconds. */
static void start_after(struct keeper *keeper, double delay)
{
	ev_timer_stop(keeper->loop, &keeper->restart);
	ev_timer_set(&keeper->restart, delay, 0);
	ev_timer_start(keeper->loop, &keeper->restart);
}

/* Replace a server that is gone, at once if it had been up for a while. */
static void replace_server(struct keeper *keeper)
{
	double delay = 0;

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

static const char *describe_end(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with status %d",
			 WEXITSTATUS(status));
	return text;
}

static void log_end(const struct keeper *keeper, unsigned kept,
		    unsigned deleted)
{
	char text[100];

	if (keeper->stopping && keeper->server_status == 0)
		return;
	log_error("the server, process %d, %s; %u of its devices wait for the "
		  "next one, %u are deleted",
		  (int)keeper->last_server,
		  describe_end(keeper->server_status, text, sizeof(text)), kept,
		  deleted);
}

/*
 * No server could be started, or it is gone. One that was never ready ends the
 * start, unless there are devices of before: their users wait for a server.
 */
static void go_on(struct keeper *keeper, const char *why)
{
	if (keeper->stopping)
		return;
	if (keeper->was_ready || keeper->adopted)
		replace_server(keeper);
	else
		fail_start(keeper, why);
}

/* The server is gone: has it run the configuration, if it was to? */
static void see_configuration(struct keeper *keeper)
{
	const char *config = keeper->options->config;

	if (keeper->adopted && !keeper->was_ready && !keeper->stopping &&
	    config && !keeper->config && !keeper->succeeds)
		log_error("the server ended while it ran the configuration; "
			  "the rest of %s is not run",
			  config);
}

/* Its process has ended, and all that it had to say has been read. */
static void server_is_gone(struct keeper *keeper)
{
	char end[100], why[160];
	unsigned kept, deleted;

	rings_drop(&keeper->rings);
	if (keeper->takeover.fd >= 0 && !keeper->stopping) {
		give_up_takeover(keeper, "the new server ended at once");
		return;
	}
	if (keeper->takeover.fd >= 0) {
		/* It is all to end, the old one too. */
		takeover_leave(&keeper->takeover);
		end_old_server(keeper);
	}
	keeper->serving = 0;
	if (keeper->candidate.process.pid || keeper->asked == FOR_UPGRADE ||
	    keeper->asked == BEFORE_UPGRADE)
		upgrade_fail(keeper, -ESRCH, "the server has died meanwhile");
	keeper->asked = FOR_NOTHING; /* a restart asks the next one */
	jobs_set_server(&keeper->jobs, 0);
	jobs_server_gone(&keeper->jobs, !keeper->stopping, &kept, &deleted);
	log_end(keeper, kept, deleted);
	see_configuration(keeper);
	describe_end(keeper->server_status, end, sizeof(end));
	snprintf(why, sizeof(why),
		 "the server %s before it was ready; see the log", end);
	go_on(keeper, why);
	maybe_leave(keeper);
}

/*
 * It may live on, cut off by a message that was lost for want of memory or
 * descriptors: the next one takes over. In an orderly end it leaves by itself.
 */
static void on_gone(struct channel *channel)
{
	struct keeper *keeper = channel->owner;

	if (!keeper->stopping || keeper->jobs.entries)
		proc_kill(&keeper->server);
}

/*
 * Somebody else may have its end of the channel: a program that is no server may
 * leave a child behind.
 */
static void end_server(struct keeper *keeper, int status)
{
	keeper->server_status = status;
	keeper->last_server = keeper->server.pid;
	watchdog_end(&keeper->watchdog);
	proc_close(&keeper->server);
	channel_finish(&keeper->channel);
	server_is_gone(keeper);
}

/*
 * Servers, candidates, helpers, the server of what this process was before, and
 * whoever init leaves to process 1 of a container. A number means the same process
 * until this has reaped it.
 */
static void reap_children(struct keeper *keeper)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == keeper->server.pid)
			end_server(keeper, status);
		else if (pid == keeper->candidate.process.pid)
			upgrade_ended(keeper);
}

int keeper_spawn(struct keeper *keeper, const char *program,
		 struct proc *process, struct channel *channel,
		 channel_receive *receive, channel_gone *gone)
{
	const char *level = log_level_name(keeper->options->log_level);
	char *const arguments[] = {
		keeper->options->is_spared ? "@" SERVER_NAME : SERVER_NAME,
		"--server",
		"--log-level",
		(char *)level,
		keeper->options->foreground ? "--foreground" : "--syslog",
		keeper->options->is_plain ? "--hot=no" : "--hot=yes",
		keeper->config ? "--config" : NULL,
		(char *)keeper->config,
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

int keeper_send_table(struct keeper *keeper, struct channel *channel)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_BEGIN };
	int fds[] = { keeper->listener.fd, keeper->handover };
	int error = channel_send(channel, &message, fds, 2);

	if (!error)
		error = jobs_hand_over(&keeper->jobs, channel);
	message.type = MESSAGE_TABLE_END;
	return error ? error : channel_send(channel, &message, NULL, 0);
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
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_PING };
	struct keeper *keeper = watchdog->owner;

	channel_send(&keeper->channel, &message, NULL, 0);
}

static void watch_server(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_TURNS };
	int fd = watchdog_begin(&keeper->watchdog, &keeper->server);

	if (fd < 0) {
		log_warning("the server is not watched: %s", strerror(-fd));
		return;
	}
	channel_send(&keeper->channel, &message, &fd, 1);
	close(fd);
}

static int start_server(struct keeper *keeper)
{
	int error;

	keeper->started = ev_time();
	keeper->starts++;
	error = keeper_spawn(keeper, "/proc/self/exe", &keeper->server,
			     &keeper->channel, on_message, on_gone);
	if (error)
		return error;
	keeper->config = NULL; /* once */
	jobs_set_server(&keeper->jobs, keeper->server.pid);
	watch_server(keeper);
	error = keeper_send_table(keeper, &keeper->channel);
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
	error = start_server(keeper);
	if (error == 0)
		return;
	log_error("cannot start a server: %s", strerror(-error));
	/* Half started: its end is the same as any other's. */
	proc_kill(&keeper->server);
	if (!keeper->server.pid)
		go_on(keeper, strerror(-error));
}

/* ---- start and end ---- */

static void on_signal(struct ev_loop *loop, ev_io *watcher, int events)
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
			keeper_maybe_hand_over(keeper);
			continue;
		}
		if (info.ssi_signo == SIGHUP)
			continue; /* a terminal that is closed ends nothing */
		if (!keeper->stopping)
			log_notice("%s: stopping",
				   strsignal((int)info.ssi_signo));
		stop_all(keeper, 0);
	}
}

/*
 * A program that this process was before has left them blocked, so that it died
 * of none of them on the way; its children never have them so.
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

static void on_answer(struct jobs *jobs, const struct message *message)
{
	struct keeper *keeper = jobs->owner;
	int error = channel_send(&keeper->channel, message, NULL, 0);

	if (!error || !keeper->server.pid)
		return;
	/* It would wait for it for ever; the next server knows better. */
	if (error != -EPIPE)
		log_error("the server, process %d, cannot be told what it "
			  "waits for: %s; it is killed",
			  (int)keeper->server.pid, strerror(-error));
	proc_kill(&keeper->server);
}

static void on_idle(struct jobs *jobs)
{
	struct keeper *keeper = jobs->owner;

	/* The leftovers are gone: the first server need not wait longer. */
	if (keeper->starts == 0 && ev_is_active(&keeper->restart))
		start_after(keeper, 0);
	keeper_maybe_hand_over(keeper);
	maybe_leave(keeper);
}

/*
 * What the service manager gives: the admin socket, and what devices held when
 * all of an earlier ublkd was killed; and that from the program that this one
 * was before an upgrade. Returns the socket or -1.
 */
static int take_given(struct keeper *keeper)
{
	const char *name;
	int fd, listener = -1;

	while ((fd = carry_take(&name)) >= 0)
		if (takeover_keep(&keeper->takeover, name, fd) < 0)
			close(fd);
	while ((fd = notify_take(&name)) >= 0) {
		if (takeover_keep(&keeper->takeover, name, fd) == 0)
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

/* One ublkd a socket, whoever made that. */
static int lock_socket(struct keeper *keeper, struct failure *failure)
{
	int given = take_given(keeper);

	if (given >= 0)
		return listener_adopt(&keeper->listener, given, failure);
	return listener_lock(&keeper->listener, keeper->options->socket,
			     failure);
}

/* The admin socket, the state folder, and what an earlier keeper has left. */
static int open_places(struct keeper *keeper, struct failure *failure)
{
	struct takeover *takeover = &keeper->takeover;

	if (lock_socket(keeper, failure) < 0 ||
	    state_open(&keeper->state, keeper->options->state, failure) < 0 ||
	    takeover_begin(takeover, keeper->state.path, &keeper->handover,
			   failure) < 0)
		return -1;
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

/*
 * The configuration may want ids that leftovers still have, so the first server
 * waits for them, but not for ever. While an old server lives, they wait.
 */
static void begin(struct keeper *keeper)
{
	double delay = 0;

	keeper->succeeds = keeper->takeover.fd >= 0;
	if (!keeper->succeeds)
		keeper->config = keeper->options->config;
	keeper->adopted = keeper->succeeds || jobs_have_devices(&keeper->jobs);
	if (keeper->takeover.fd < 0) {
		takeover_drop_rest(&keeper->takeover, let_go, keeper);
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
	helpers_open(&keeper->helpers, keeper->loop, &keeper->old_signals);
	error = jobs_open(&keeper->jobs, keeper->loop, keeper->listener.path,
			  &keeper->state, &keeper->helpers, on_answer, on_idle,
			  keeper);
	if (error)
		return failure_set(failure, SYMBOL_UNSUPPORTED, error, NULL,
				   "cannot make an io_uring (is sysctl "
				   "kernel.io_uring_disabled 0?): %s",
				   strerror(-error));
	adopt_devices(&keeper->jobs, &keeper->takeover,
		      keeper->options->delete_leftovers);
	begin(keeper);
	return 0;
}

int keeper_run(const struct keeper_options *options)
{
	struct keeper keeper = { .options = options,
				 .channel.fd = -1,
				 .listener = { .fd = -1, .lock = -1 },
				 .state = { .fd = -1, .names = options->names },
				 .handover = -1,
				 .takeover = { .fd = -1, .listener = -1 },
				 .candidate.channel.fd = -1,
				 .delay = DELAY_MIN };

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
		state_close(&keeper.state);
	}
	takeover_close(&keeper.takeover);
	helpers_close(&keeper.helpers);
	jobs_close(&keeper.jobs);
	rings_drop(&keeper.rings);
	if (keeper.loop)
		ev_loop_destroy(keeper.loop);
	if (keeper.status) {
		tell_ready(&keeper, keeper.failure.text);
		notify_send("STATUS=%s", keeper.failure.text);
	}
	notify_close();
	return keeper.status;
}
