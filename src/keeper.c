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

#include "channel.h"
#include "jobs.h"
#include "listener.h"
#include "notify.h"
#include "process.h"
#include "server.h"

/*
 * A server that lived longer than GOOD_RUN is replaced at once when it dies,
 * else after DELAY_MIN, doubling up to DELAY_MAX. All in seconds.
 */
#define GOOD_RUN  1.0
#define DELAY_MIN 0.1
#define DELAY_MAX 10.0

#define LEFTOVER_PATIENCE 3.0 /* s for a killed one's devices to be deleted */

struct keeper {
	const struct keeper_options *options;
	struct ev_loop *loop;
	struct listener listener;
	struct jobs jobs;
	struct channel channel;
	pid_t server; /* 0: none */
	pid_t last_server;
	int server_status; /* of the last one, as waitpid gave it */
	unsigned starts;   /* of servers */
	ev_tstamp started;
	double delay;
	int stopping;
	int was_ready;		/* the configuration has been run */
	int told;		/* who waits for the start has been told */
	int told_newline;	/* and so has --ready-fd */
	int status;		/* of the keeper's own exit */
	struct failure failure; /* why it is not 0 */
	int signal_fd;
	sigset_t old_signals;
	ev_io signals;
	ev_timer restart;
};

/* ---- the end of it all ---- */

/* Leave once nothing is left to look after. */
static void maybe_leave(struct keeper *keeper)
{
	if (keeper->stopping && !keeper->server && keeper->channel.fd < 0 &&
	    !keeper->jobs.entries)
		ev_break(keeper->loop, EVBREAK_ALL);
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

static void stop_all(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_STOP_ALL };
	unsigned kept, deleted;

	if (keeper->stopping)
		return;
	keeper->stopping = 1;
	notify_send("STOPPING=1\nSTATUS=deleting every device");
	ev_timer_stop(keeper->loop, &keeper->restart);
	jobs_hurry(&keeper->jobs);
	if (channel_send(&keeper->channel, &message, NULL, 0) < 0 &&
	    !keeper->server)
		jobs_server_gone(&keeper->jobs, 0, &kept, &deleted);
	maybe_leave(keeper);
}

/* Undo everything and end; whoever waits for the start is told then. */
static void fail_start(struct keeper *keeper, const char *why)
{
	if (keeper->stopping)
		return;
	keeper->status = 1;
	snprintf(keeper->failure.text, sizeof(keeper->failure.text), "%.399s",
		 why);
	stop_all(keeper);
}

static void on_message(struct channel *channel, const struct message *message,
		       const int *fds, int fd_count)
{
	struct keeper *keeper = channel->owner;

	switch (message->type) {
	case MESSAGE_READY:
		log_notice("ready on %s", keeper->listener.path);
		keeper->was_ready = 1;
		tell_ready(keeper, "");
		tell_managers(keeper);
		break;
	case MESSAGE_FAILED:
		fail_start(keeper, message->text);
		break;
	case MESSAGE_SHUTDOWN:
		log_notice("shutdown was asked for: stopping");
		stop_all(keeper);
		break;
	default:
		if (message->type < MESSAGE_FEATURES ||
		    message->type > MESSAGE_CANCEL)
			log_error("the server sent an unknown message: %u",
				  message->type);
		else
			jobs_run(&keeper->jobs, message, fds, fd_count);
	}
	while (fd_count)
		close(fds[--fd_count]);
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
	ev_timer_stop(keeper->loop, &keeper->restart);
	ev_timer_set(&keeper->restart, delay, 0);
	ev_timer_start(keeper->loop, &keeper->restart);
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

/* Both the process and its end of the channel are gone: all has been read. */
static void server_is_gone(struct keeper *keeper)
{
	unsigned kept, deleted;

	if (keeper->server || keeper->channel.fd >= 0)
		return;
	jobs_set_server(&keeper->jobs, 0);
	jobs_server_gone(&keeper->jobs, !keeper->stopping, &kept, &deleted);
	log_end(keeper, kept, deleted);
	if (!keeper->was_ready && keeper->options->config)
		fail_start(keeper, "the server ended while it ran the "
				   "configuration; see the log");
	if (!keeper->stopping)
		replace_server(keeper);
	maybe_leave(keeper);
}

static void on_gone(struct channel *channel)
{
	server_is_gone(channel->owner);
}

static void reap_server(struct keeper *keeper)
{
	if (!keeper->server || waitpid(keeper->server, &keeper->server_status,
				       WNOHANG) != keeper->server)
		return;
	keeper->last_server = keeper->server;
	keeper->server = 0;
	server_is_gone(keeper);
}

static void exec_server(struct keeper *keeper, int fd)
{
	const char *level = log_level_name(keeper->options->log_level);
	/* The configuration makes the first server's devices, once. */
	const char *config = keeper->starts == 1 ? keeper->options->config
						 : NULL;
	char *const arguments[] = {
		keeper->options->is_spared ? "@" SERVER_NAME : SERVER_NAME,
		"--server",
		"--log-level",
		(char *)level,
		keeper->options->foreground ? "--foreground" : "--syslog",
		config ? "--config" : NULL,
		(char *)config,
		NULL
	};

	sigprocmask(SIG_SETMASK, &keeper->old_signals, NULL);
	notify_disown();
	if (dup2(fd, SERVER_FD) < 0)
		_exit(127);
	if (fd == SERVER_FD)
		fcntl(fd, F_SETFD, 0);
	execv("/proc/self/exe", arguments);
	_exit(127);
}

static int begin_server(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_BEGIN };
	int error;

	snprintf(message.text, sizeof(message.text), "%s",
		 keeper->listener.path);
	error = channel_send(&keeper->channel, &message, &keeper->listener.fd,
			     1);
	if (!error)
		error = jobs_hand_over(&keeper->jobs, &keeper->channel);
	if (error)
		return error;
	message = (struct message){ .magic = MESSAGE_MAGIC,
				    .type = MESSAGE_TABLE_END };
	return channel_send(&keeper->channel, &message, NULL, 0);
}

static int start_server(struct keeper *keeper)
{
	int pair[2];
	pid_t pid;

	keeper->started = ev_time();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	keeper->starts++;
	pid = fork();
	if (pid == 0)
		exec_server(keeper, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	keeper->server = pid;
	jobs_set_server(&keeper->jobs, pid);
	channel_open(&keeper->channel, keeper->loop, pair[0], on_message,
		     on_gone, keeper);
	return begin_server(keeper);
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
	if (keeper->server)
		kill(keeper->server, SIGKILL);
	else
		replace_server(keeper);
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
			reap_server(keeper);
			continue;
		}
		if (info.ssi_signo == SIGHUP)
			continue; /* a terminal that is closed ends nothing */
		if (!keeper->stopping)
			log_notice("%s: stopping",
				   strsignal((int)info.ssi_signo));
		stop_all(keeper);
	}
}

static int open_signals(struct keeper *keeper)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &keeper->old_signals);
	signal(SIGPIPE, SIG_IGN);
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

	channel_send(&keeper->channel, message, NULL, 0);
}

static void on_idle(struct jobs *jobs)
{
	struct keeper *keeper = jobs->owner;

	/* The leftovers are gone: the first server need not wait longer. */
	if (keeper->starts == 0 && ev_is_active(&keeper->restart)) {
		ev_timer_stop(keeper->loop, &keeper->restart);
		ev_timer_set(&keeper->restart, 0, 0);
		ev_timer_start(keeper->loop, &keeper->restart);
	}
	maybe_leave(jobs->owner);
}

/* The socket that a service manager listens on for us, if there is one. */
static int open_listener(struct keeper *keeper, struct failure *failure)
{
	const char *name;
	int fd, passed = -1;

	while ((fd = notify_take(&name)) >= 0) {
		if (passed < 0 && (strcmp(name, "admin") == 0 ||
				   strcmp(name, "ublkd.socket") == 0)) {
			passed = fd;
			continue;
		}
		log_warning("the service manager passes '%s', of which nothing "
			    "is known",
			    name);
		close(fd);
	}
	return passed < 0 ? listener_open(&keeper->listener,
					  keeper->options->socket, failure)
			  : listener_adopt(&keeper->listener, passed, failure);
}

static int open_all(struct keeper *keeper, struct failure *failure)
{
	int error;

	keeper->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (!keeper->loop)
		return failure_set(failure, SYMBOL_INTERNAL, 0, NULL,
				   "libev cannot make an epoll loop");
	ev_timer_init(&keeper->restart, on_restart, 0, 0);
	keeper->restart.data = keeper;
	if (open_listener(keeper, failure) < 0)
		return -1;
	error = open_signals(keeper);
	if (error)
		return failure_set(failure, SYMBOL_INTERNAL, error, NULL,
				   "cannot watch signals: %s",
				   strerror(-error));
	error = jobs_open(&keeper->jobs, keeper->loop, keeper->listener.path,
			  on_answer, on_idle, keeper);
	if (error)
		return failure_set(failure, SYMBOL_UNSUPPORTED, error, NULL,
				   "cannot make an io_uring (is sysctl "
				   "kernel.io_uring_disabled 0?): %s",
				   strerror(-error));
	jobs_delete_leftovers(&keeper->jobs);
	/*
	 * The configuration may want ids that leftovers still have, so the
	 * first server waits for them, but not for ever.
	 */
	ev_timer_set(&keeper->restart,
		     keeper->jobs.entries ? LEFTOVER_PATIENCE : 0, 0);
	ev_timer_start(keeper->loop, &keeper->restart);
	return 0;
}

int keeper_run(const struct keeper_options *options)
{
	struct keeper keeper = { .options = options,
				 .channel.fd = -1,
				 .listener = { .fd = -1, .lock = -1 },
				 .delay = DELAY_MIN };

	notify_open();
	process_allow_files(SERVER_MAX_FILES);
	process_protect();
	if (open_all(&keeper, &keeper.failure) < 0) {
		log_error("%s", keeper.failure.text);
		keeper.status = 1;
	} else {
		ev_run(keeper.loop, 0);
	}
	listener_close(&keeper.listener);
	jobs_close(&keeper.jobs);
	if (keeper.loop)
		ev_loop_destroy(keeper.loop);
	if (keeper.status) {
		tell_ready(&keeper, keeper.failure.text);
		notify_send("STATUS=%s", keeper.failure.text);
	}
	notify_close();
	return keeper.status;
}
