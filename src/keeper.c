#include "keeper.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "control.h"
#include "listener.h"
#include "process.h"
#include "server.h"
#include "usage.h"

#define RING_ENTRIES 256
#define REAP_MAX     64
#define GOOD_RUN \
	1.0		/* s: a server that lived longer is replaced at
				   once when it dies */
#define DELAY_MIN   0.1 /* s: else after this, doubling up to ... */
#define DYING_TRIES 30	/* of 100 ms, for a server that is dying */
#define DELAY_MAX   10.0
#define DEVICE_MARK 0x7562ULL /* top of server_flags in our devices */

/*
 * A device that exists in the driver, or is about to. At most one job of a
 * device is under way, except that a START can be cancelled.
 */
struct entry {
	struct entry *next;
	uint32_t id;
	struct job *job;
	int orphaned; /* its server is dead: stop and delete it */
};

/* One request of the server, or of the clean-up, until its answer. */
struct job {
	struct keeper *keeper;
	struct entry *entry;	/* NULL for FEATURES */
	unsigned generation;	/* of the server that asked; 0: the clean-up */
	struct message message; /* arguments live here while it runs */
	int stage;
	int fd;
	char path[64];
	char bytes[16];
};

struct keeper {
	const struct keeper_options *options;
	struct ev_loop *loop;
	struct listener listener;
	struct control control;
	struct channel channel;
	uint64_t mark;
	struct entry *entries;
	pid_t server; /* 0: none */
	pid_t last_server;
	int server_status; /* of the last one, as waitpid gave it */
	unsigned generation;
	ev_tstamp started;
	double delay;
	int stopping;
	int was_ready;		/* the configuration has been run */
	int told;		/* who waits for the start has been told */
	int status;		/* of the keeper's own exit */
	struct failure failure; /* why it is not 0 */
	int signal_fd;
	sigset_t old_signals;
	ev_io signals, ring_watcher;
	ev_timer restart;
};

static void advance_orphan(struct keeper *keeper, struct entry *entry);

/* ---- the table of devices ---- */

static struct entry *entry_find(struct keeper *keeper, uint32_t id)
{
	struct entry *entry;

	for (entry = keeper->entries; entry; entry = entry->next)
		if (entry->id == id)
			return entry;
	return NULL;
}

static struct entry *entry_new(struct keeper *keeper, uint32_t id)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->id = id;
	entry->next = keeper->entries;
	keeper->entries = entry;
	return entry;
}

static void entry_free(struct keeper *keeper, struct entry *entry)
{
	struct entry **at = &keeper->entries;

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	free(entry);
}

/* ---- the end of it all ---- */

/* Leave once nothing is left to look after. */
static void maybe_leave(struct keeper *keeper)
{
	if (keeper->stopping && !keeper->server && keeper->channel.fd < 0 &&
	    !keeper->entries)
		ev_break(keeper->loop, EVBREAK_ALL);
}

/* ---- jobs: one operation for each type of message ---- */

static void job_free(struct job *job)
{
	if (job->entry)
		job->entry->job = NULL;
	free(job);
}

/* Answer a job whose server still lives, then see what its device needs. */
static void job_end(struct job *job, int result)
{
	struct keeper *keeper = job->keeper;
	struct entry *entry = job->entry;
	uint32_t type = job->message.type;

	job->message.result = result;
	if (job->generation == keeper->generation && keeper->channel.fd >= 0)
		channel_send(&keeper->channel, &job->message, NULL, 0);
	job_free(job);
	if (!entry)
		return;
	if ((type == MESSAGE_ADD && result < 0) ||
	    (type == MESSAGE_DELETE && (result == 0 || result == -ENODEV))) {
		entry_free(keeper, entry);
		maybe_leave(keeper);
	} else if (entry->orphaned) {
		if (type == MESSAGE_DELETE) {
			log_error("device %u cannot be deleted: %s", entry->id,
				  strerror(-result));
			entry_free(keeper, entry);
			maybe_leave(keeper);
			return;
		}
		advance_orphan(keeper, entry);
	}
}

static uint64_t job_data(struct job *job)
{
	return (uint64_t)(uintptr_t)job;
}

static int begin_features(struct job *job)
{
	struct control *control = &job->keeper->control;
	int error = control_open(control);

	if (error)
		return error;
	return control_get_features(control, &job->message.number,
				    job_data(job));
}

static int begin_add(struct job *job)
{
	job->message.info.server_flags = job->keeper->mark;
	return control_add(&job->keeper->control, &job->message.info,
			   job_data(job));
}

static int end_add(struct job *job, int result)
{
	if (result == 0)
		job->entry->id = job->message.id = job->message.info.dev_id;
	return result;
}

static int begin_params(struct job *job)
{
	return control_set_params(&job->keeper->control, job->message.id,
				  &job->message.params, job_data(job));
}

static int begin_start(struct job *job)
{
	return control_start(&job->keeper->control, job->message.id,
			     job->keeper->server, job_data(job));
}

/*
 * The write waits for the disk's I/O on some kernels (it freezes the queue),
 * so it goes through the ring like the rest.
 */
static int begin_timeout(struct job *job)
{
	int length;

	snprintf(job->path, sizeof(job->path),
		 "/sys/block/ublkb%u/queue/io_timeout", job->message.id);
	job->fd = open(job->path, O_WRONLY | O_CLOEXEC);
	if (job->fd < 0)
		return -errno;
	length = snprintf(job->bytes, sizeof(job->bytes), "%u",
			  (unsigned)job->message.number);
	return ring_put_write(job->keeper->control.ring, job->fd, job->bytes,
			      (size_t)length, job_data(job));
}

static int end_timeout(struct job *job, int result)
{
	close(job->fd);
	return result < 0 ? result : 0;
}

/*
 * Is the disk in use? /proc and /sys name most users; the exclusive open sees
 * those that hold it in other ways, such as a mount in another namespace. It
 * runs on the ring, because opening a disk can wait for its I/O.
 */
static int begin_busy(struct job *job)
{
	char disk[32];

	snprintf(disk, sizeof(disk), "ublkb%u", job->message.id);
	job->message.text[0] = '\0';
	job->message.number = 0;
	switch (usage_find(disk, job->message.text,
			   sizeof(job->message.text))) {
	case USAGE_LASTING:
		job->message.number = 1;
		return -EBUSY;
	case USAGE_OPEN:
		return -EBUSY;
	default:
		break;
	}
	snprintf(job->path, sizeof(job->path), "/dev/%s", disk);
	return ring_put_open(job->keeper->control.ring, job->path,
			     O_RDONLY | O_EXCL | O_CLOEXEC, job_data(job));
}

static int end_busy(struct job *job, int result)
{
	if (job->stage == 1)
		return 0;
	if (result == -EBUSY)
		snprintf(job->message.text, sizeof(job->message.text),
			 "held exclusively");
	if (result < 0)
		return result == -ENOENT || result == -ENXIO ? 0 : result;
	job->stage = 1;
	/* The last close can wait for I/O as well. */
	if (ring_put_close(job->keeper->control.ring, result, job_data(job)) <
	    0) {
		close(result);
		return 0;
	}
	return 1;
}

static int begin_try_stop(struct job *job)
{
	return control_try_stop(&job->keeper->control, job->message.id,
				job_data(job));
}

static int begin_stop(struct job *job)
{
	return control_stop(&job->keeper->control, job->message.id,
			    job_data(job));
}

/*
 * A disk that is deleted by force may stay open, a mount for instance, for as
 * long as its user likes: that must hold up nobody.
 */
static int begin_delete(struct job *job)
{
	struct control *control = &job->keeper->control;

	if (job->message.number && job->stage == 0)
		return control_delete_async(control, job->message.id,
					    job_data(job));
	return control_delete(control, job->message.id, job_data(job));
}

/* Kernels before 6.7 only know the command that waits. */
static int end_delete(struct job *job, int result)
{
	if (result != -EOPNOTSUPP || !job->message.number || job->stage)
		return result;
	job->stage = 1;
	return begin_delete(job) < 0 ? result : 1;
}

static const struct operation {
	int (*begin)(struct job *job);
	/* NULL: the result as it is. Returns 1 while the job goes on. */
	int (*end)(struct job *job, int result);
} operations[] = {
	[MESSAGE_FEATURES] = { begin_features, NULL },
	[MESSAGE_ADD] = { begin_add, end_add },
	[MESSAGE_PARAMS] = { begin_params, NULL },
	[MESSAGE_START] = { begin_start, NULL },
	[MESSAGE_TIMEOUT] = { begin_timeout, end_timeout },
	[MESSAGE_BUSY] = { begin_busy, end_busy },
	[MESSAGE_TRY_STOP] = { begin_try_stop, NULL },
	[MESSAGE_STOP] = { begin_stop, NULL },
	[MESSAGE_DELETE] = { begin_delete, end_delete },
};

static void submit(struct keeper *keeper)
{
	if (ring_submit(keeper->control.ring) < 0)
		ring_raise_event(keeper->control.ring); /* again next turn */
}

static void job_begin(struct job *job)
{
	struct keeper *keeper = job->keeper;
	int error;

	if (job->entry)
		job->entry->job = job;
	error = operations[job->message.type].begin(job);
	if (error)
		job_end(job, error);
	else
		submit(keeper);
}

static struct job *job_new(struct keeper *keeper, struct entry *entry,
			   uint32_t type)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->keeper = keeper;
	job->entry = entry;
	job->message.magic = MESSAGE_MAGIC;
	job->message.type = type;
	job->message.id = entry ? entry->id : 0;
	return job;
}

static void on_ring(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct keeper *keeper = watcher->data;
	struct ring *ring = keeper->control.ring;
	struct ring_event done[REAP_MAX];
	unsigned count, i;

	(void)loop;
	(void)events;
	ring_clear_event(ring);
	count = ring_reap(ring, done, REAP_MAX);
	for (i = 0; i < count; i++) {
		struct job *job = (struct job *)(uintptr_t)done[i].data;
		const struct operation *operation;
		int result = done[i].result;

		if (!job)
			continue; /* the answer to a cancel */
		operation = &operations[job->message.type];
		if (operation->end)
			result = operation->end(job, result);
		if (result <= 0)
			job_end(job, result);
	}
	submit(keeper);
	if (count == REAP_MAX)
		ring_raise_event(ring);
}

/* End a START that waits for tags which nobody will fetch. */
static void cancel_start(struct keeper *keeper, struct entry *entry)
{
	if (!entry || !entry->job || entry->job->message.type != MESSAGE_START)
		return;
	if (ring_put_cancel(keeper->control.ring, job_data(entry->job), 0) < 0)
		log_error("the start of device %u cannot be cancelled",
			  entry->id);
	submit(keeper);
}

/* ---- devices whose server is dead ---- */

/* The next step for an orphan that has no job: stop it, then delete it. */
static void advance_orphan(struct keeper *keeper, struct entry *entry)
{
	uint32_t type = entry->orphaned++ == 1 ? MESSAGE_STOP : MESSAGE_DELETE;
	struct job *job = job_new(keeper, entry, type);

	if (!job) {
		log_error("device %u cannot be deleted: out of memory",
			  entry->id);
		return;
	}
	job->message.number = 1;
	job_begin(job);
}

/*
 * Stop and delete what a dead server leaves. A START that waits for tags which
 * nobody will fetch must be cancelled first: STOP and DEL would wait for it.
 */
static void orphan(struct keeper *keeper, struct entry *entry)
{
	entry->orphaned = 1;
	if (!entry->job)
		advance_orphan(keeper, entry);
	else
		cancel_start(keeper, entry);
}

static void orphan_all(struct keeper *keeper)
{
	struct entry *entry, *next;

	for (entry = keeper->entries; entry; entry = next) {
		next = entry->next;
		if (!entry->orphaned)
			orphan(keeper, entry);
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

static void stop_all(struct keeper *keeper)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_STOP_ALL };

	if (keeper->stopping)
		return;
	keeper->stopping = 1;
	ev_timer_stop(keeper->loop, &keeper->restart);
	channel_send(&keeper->channel, &message, NULL, 0);
	maybe_leave(keeper);
}

/* Undo everything and end; whoever waits for the start is told then. */
static void fail_start(struct keeper *keeper, const char *why)
{
	if (keeper->stopping)
		return;
	keeper->status = 1;
	snprintf(keeper->failure.text, sizeof(keeper->failure.text), "%s", why);
	stop_all(keeper);
}

/* A request for a control command: find its device, make a job, run it. */
static void run_request(struct keeper *keeper, const struct message *message)
{
	struct message answer = *message;
	struct entry *entry = NULL;
	struct job *job;

	if (message->type == MESSAGE_ADD)
		entry = entry_new(keeper, UINT32_MAX);
	else if (message->type != MESSAGE_FEATURES)
		entry = entry_find(keeper, message->id);
	answer.result = -ENODEV;
	if (!entry && message->type != MESSAGE_FEATURES)
		goto refuse;
	answer.result = -EBUSY;
	if (entry && (entry->job || entry->orphaned))
		goto refuse;
	answer.result = -ENOMEM;
	job = job_new(keeper, entry, message->type);
	if (!job)
		goto refuse;
	job->message = *message;
	job->generation = keeper->generation;
	job_begin(job);
	return;
refuse:
	channel_send(&keeper->channel, &answer, NULL, 0);
}

static void on_message(struct channel *channel, const struct message *message,
		       const int *fds, int fd_count)
{
	struct keeper *keeper = channel->owner;

	while (fd_count)
		close(fds[--fd_count]);
	switch (message->type) {
	case MESSAGE_READY:
		log_notice("ready on %s", keeper->listener.path);
		keeper->was_ready = 1;
		tell_ready(keeper, "");
		break;
	case MESSAGE_FAILED:
		fail_start(keeper, message->text);
		break;
	case MESSAGE_SHUTDOWN:
		log_notice("shutdown was asked for: stopping");
		stop_all(keeper);
		break;
	case MESSAGE_CANCEL:
		cancel_start(keeper, entry_find(keeper, message->id));
		break;
	default:
		if (message->type < MESSAGE_FEATURES ||
		    message->type > MESSAGE_DELETE)
			log_error("the server sent an unknown message: %u",
				  message->type);
		else
			run_request(keeper, message);
	}
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

static void log_end(const struct keeper *keeper)
{
	const struct entry *entry;
	unsigned lost = 0;
	char text[100];

	if (keeper->stopping && keeper->server_status == 0)
		return;
	for (entry = keeper->entries; entry; entry = entry->next)
		lost += !entry->orphaned;
	log_error("the server, process %d, %s; %u of its devices are deleted",
		  (int)keeper->last_server,
		  describe_end(keeper->server_status, text, sizeof(text)),
		  lost);
}

/* Both the process and its end of the channel are gone: all has been read. */
static void server_is_gone(struct keeper *keeper)
{
	if (keeper->server || keeper->channel.fd >= 0)
		return;
	log_end(keeper);
	orphan_all(keeper);
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
	const char *config = keeper->generation == 1 ? keeper->options->config
						     : NULL;
	char *const arguments[] = { "ublkd-server",
				    "--server",
				    "--log-level",
				    (char *)level,
				    keeper->options->foreground ? "--foreground"
								: "--syslog",
				    config ? "--config" : NULL,
				    (char *)config,
				    NULL };

	sigprocmask(SIG_SETMASK, &keeper->old_signals, NULL);
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

	snprintf(message.text, sizeof(message.text), "%s",
		 keeper->listener.path);
	return channel_send(&keeper->channel, &message, &keeper->listener.fd,
			    1);
}

static int start_server(struct keeper *keeper)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	keeper->generation++;
	pid = fork();
	if (pid == 0)
		exec_server(keeper, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	keeper->server = pid;
	keeper->started = ev_time();
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
	if (error < 0) {
		log_error("cannot start a server: %s", strerror(-error));
		if (!keeper->server)
			replace_server(keeper);
	}
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

static int open_ring(struct keeper *keeper)
{
	struct ring *ring;
	int error;

	ring = ring_create(RING_ENTRIES, RING_WIDE, &error);
	if (!ring)
		return error;
	keeper->control.ring = ring;
	error = ring_allow_workers(ring, SERVER_MAX_DEVICES + 1);
	if (error < 0)
		log_warning("cannot allow more kernel workers: %s",
			    strerror(-error));
	ev_io_init(&keeper->ring_watcher, on_ring, ring_event_fd(ring),
		   EV_READ);
	keeper->ring_watcher.data = keeper;
	ev_io_start(keeper->loop, &keeper->ring_watcher);
	return 0;
}

/* Devices carry this, so that a later keeper on the same socket knows them. */
static uint64_t path_mark(const char *path)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	while (*path)
		hash = (hash ^ (unsigned char)*path++) * 16777619u;
	return DEVICE_MARK << 48 | hash;
}

/* Whether that process is a ublkd server, and alive; 6.12 keeps old pids. */
static int is_server(int32_t pid)
{
	char path[40], comm[32] = "", state = 'X';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = pid > 0 ? fopen(path, "re") : NULL;
	if (!file)
		return 0;
	if (fscanf(file, "%*d (%31[^)]) %c", comm, &state) != 2)
		state = 'X';
	fclose(file);
	return strcmp(comm, SERVER_NAME) == 0 && !strchr("ZX", state);
}

/* One that was just killed gets a moment to be gone. */
static int is_served(int32_t pid)
{
	int tries;

	for (tries = 0; is_server(pid); tries++) {
		if (tries == DYING_TRIES)
			return 1;
		usleep(100000);
	}
	return 0;
}

static void adopt_leftover(struct keeper *keeper, uint32_t id)
{
	struct ublk_dev_info info = { 0 };
	struct ring_event event;
	struct entry *entry;

	if (control_get_info(&keeper->control, id, &info, 0) < 0 ||
	    ring_wait(keeper->control.ring, &event) < 0 || event.result < 0 ||
	    info.server_flags != keeper->mark)
		return;
	if (is_served(info.server_pid)) {
		log_warning("device %u carries our mark but is served by "
			    "process %d: left alone",
			    id, (int)info.server_pid);
		return;
	}
	entry = entry_new(keeper, id);
	if (!entry)
		return;
	log_warning("device %u was left by a ublkd that was killed: deleting",
		    id);
	orphan(keeper, entry);
}

/*
 * Delete devices of an earlier ublkd on this socket that was killed, server and
 * keeper: we hold the lock and nobody answers, so nobody serves them.
 */
static void delete_leftovers(struct keeper *keeper)
{
	DIR *folder = opendir("/sys/class/ublk-char");
	struct dirent *entry;
	unsigned id;

	while (folder && (entry = readdir(folder)))
		if (sscanf(entry->d_name, "ublkc%u", &id) == 1)
			adopt_leftover(keeper, id);
	if (folder)
		closedir(folder);
}

static void open_driver(struct keeper *keeper)
{
	int error = control_open(&keeper->control);

	if (error == -ENOENT)
		log_warning("there is no " UBLK_CONTROL_PATH ": run 'modprobe "
			    "ublk_drv'");
	else if (error)
		log_warning("cannot open " UBLK_CONTROL_PATH ": %s",
			    strerror(-error));
	else
		delete_leftovers(keeper);
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
	if (listener_open(&keeper->listener, keeper->options->socket, failure) <
	    0)
		return -1;
	keeper->mark = path_mark(keeper->listener.path);
	error = open_signals(keeper);
	if (error)
		return failure_set(failure, SYMBOL_INTERNAL, error, NULL,
				   "cannot watch signals: %s",
				   strerror(-error));
	error = open_ring(keeper);
	if (error)
		return failure_set(failure, SYMBOL_UNSUPPORTED, error, NULL,
				   "cannot make an io_uring (is sysctl "
				   "kernel.io_uring_disabled 0?): %s",
				   strerror(-error));
	open_driver(keeper);
	error = start_server(keeper);
	if (error)
		return failure_set(failure, SYMBOL_INTERNAL, error, NULL,
				   "cannot start the server: %s",
				   strerror(-error));
	return 0;
}

int keeper_run(const struct keeper_options *options)
{
	struct keeper keeper = { .options = options,
				 .control.fd = -1,
				 .channel.fd = -1,
				 .listener = { .fd = -1, .lock = -1 },
				 .delay = DELAY_MIN };

	process_allow_files(SERVER_MAX_FILES);
	process_protect();
	if (open_all(&keeper, &keeper.failure) < 0) {
		log_error("%s", keeper.failure.text);
		keeper.status = 1;
	} else {
		ev_run(keeper.loop, 0);
	}
	listener_close(&keeper.listener);
	ring_destroy(keeper.control.ring);
	if (keeper.loop)
		ev_loop_destroy(keeper.loop);
	if (keeper.status)
		tell_ready(&keeper, keeper.failure.text);
	return keeper.status;
}
