#include "helper.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/check.h"
#include "admin/save.h"
#include "target/backing.h"
#include "target/nbd-connect.h"
#include "base/channel.h"
#include "base/config.h"
#include "base/log.h"
#include "base/owner.h"
#include "base/proc.h"
#include "base/process.h"
#include "server/server.h"
#include "spawn.h"
#include "base/usage.h"
#include "base/view.h"

/* A question that waits for its turn, and then its helper until that is gone. */
struct helper {
	struct helper *next;
	struct helpers *helpers;
	uint64_t job;  /* enum helper_job */
	int other_end; /* of the channel, with the question; -1: it is taken */
	struct proc process;
	int is_busy; /* it has one, and its answer is not known */
	ev_io end;   /* of the process */
	struct channel channel;
	ev_timer patience;
	helper_done *done; /* NULL: it has been called, or nobody waits */
	void *context;
};

/* ---- in the keeper ---- */

static void unlink_helper(struct helper *helper)
{
	struct helper **at = &helper->helpers->first;

	while (*at != helper)
		at = &(*at)->next;
	*at = helper->next;
}

static void helper_free(struct helper *helper)
{
	struct ev_loop *loop = helper->helpers->loop;

	ev_io_stop(loop, &helper->end);
	ev_timer_stop(loop, &helper->patience);
	channel_close(&helper->channel);
	if (helper->other_end >= 0)
		close(helper->other_end);
	proc_close(&helper->process);
	free(helper);
}

static void set_busy(struct helper *helper, int is_busy)
{
	struct helpers *helpers = helper->helpers;
	unsigned *count = helper->job == HELPER_CONNECT ? &helpers->connecting
							: &helpers->busy;

	*count += (unsigned)is_busy - (unsigned)helper->is_busy;
	helper->is_busy = is_busy;
}

static void tell_asker(struct helper *helper, const struct message *answer,
		       int fd)
{
	helper_done *done = helper->done;

	set_busy(helper, 0);
	helper->done = NULL;
	if (done)
		done(helper->context, answer, fd);
	else if (fd >= 0)
		close(fd);
}

static void tell_asker_error(struct helper *helper, int error)
{
	struct message answer = { .magic = MESSAGE_MAGIC,
				  .type = MESSAGE_ASK,
				  .result = error };

	tell_asker(helper, &answer, -1);
}

/* It is over with a helper; whoever waits for an answer hears the error. */
static void drop_helper(struct helper *helper, int error)
{
	unlink_helper(helper);
	tell_asker_error(helper, error);
	helper_free(helper);
}

static void start_helpers_waiting(struct helpers *helpers);

static void on_helper_answer(struct channel *channel,
			     const struct message *message, const int *fds,
			     int fd_count)
{
	struct helper *helper = channel->owner;

	if (fd_count > 1)
		channel_close_fds(fds + 1, fd_count - 1);
	tell_asker(helper, message, fd_count ? fds[0] : -1);
	start_helpers_waiting(helper->helpers);
}

static void on_helper_silence(struct channel *channel)
{
	struct helper *helper = channel->owner;

	tell_asker_error(helper, -ECHILD);
	start_helpers_waiting(helper->helpers);
}

/* A helper has ended; the keeper, which reaps children, may have been first. */
static void on_helper_end(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct helper *helper = watcher->data;
	struct helpers *helpers = helper->helpers;
	siginfo_t info;

	(void)loop;
	(void)events;
	waitid((idtype_t)P_PIDFD, (id_t)helper->process.fd, &info,
	       WEXITED | WNOHANG);
	channel_finish(&helper->channel);
	drop_helper(helper, -ECHILD);
	helpers->running--;
	start_helpers_waiting(helpers);
}

/* A helper that cannot be held ends by itself; nobody hears its answer. */
static int start_helper(struct helper *helper)
{
	struct helpers *helpers = helper->helpers;
	/* A relay for TLS keeps the name. */
	int is_spared = helpers->is_spared && helper->job == HELPER_CONNECT;
	char *const arguments[] = { is_spared ? "@" HELPER_NAME : HELPER_NAME,
				    "--helper", NULL };
	int error = spawn_program(&helper->process, helper->channel.fd,
				  helper->other_end, "/proc/self/exe",
				  arguments, helpers->signals);

	close(helper->other_end);
	helper->other_end = -1;
	if (error) {
		log_warning("no helper can be started: %s", strerror(-error));
		return error;
	}
	ev_io_init(&helper->end, on_helper_end, helper->process.fd, EV_READ);
	helper->end.data = helper;
	ev_io_start(helpers->loop, &helper->end);
	ev_timer_stop(helpers->loop, &helper->patience);
	ev_timer_set(&helper->patience, HELPER_PATIENCE, 0);
	ev_timer_start(helpers->loop, &helper->patience);
	helpers->running++;
	set_busy(helper, 1);
	return 0;
}

/* Servers that do not answer take no turn from the others. */
static int has_turn(const struct helper *helper)
{
	const struct helpers *helpers = helper->helpers;

	if (helpers->running >= HELPERS_MAX)
		return 0;
	return helper->job == HELPER_CONNECT
		       ? helpers->connecting < HELPERS_CONNECT
		       : helpers->busy < HELPERS_BUSY;
}

/* In the order in which they were asked. */
static void start_helpers_waiting(struct helpers *helpers)
{
	struct helper *helper, *next;
	int error;

	for (helper = helpers->first; helper; helper = next) {
		next = helper->next;
		if (helper->other_end < 0 || !has_turn(helper))
			continue;
		error = start_helper(helper);
		if (error)
			drop_helper(helper, error);
	}
}

/* Who connects tries again and again, and tells that once. */
static int tells_itself(const struct helper *helper)
{
	return helper->job == HELPER_CONNECT;
}

/* The helper may be in a sleep that no signal ends: nobody waits for its end. */
static void on_helper_patience(struct ev_loop *loop, ev_timer *timer,
			       int events)
{
	struct helper *helper = timer->data;

	(void)loop;
	(void)events;
	if (helper->other_end >= 0) {
		if (!tells_itself(helper))
			log_warning("no helper can be started: %s",
				    "as many as may be are not done");
		drop_helper(helper, -ETIMEDOUT);
		return;
	}
	if (helper->done && !tells_itself(helper))
		log_warning("a helper gives no answer within %g s: it is "
			    "killed",
			    HELPER_PATIENCE);
	proc_kill(&helper->process);
	tell_asker_error(helper, -ETIMEDOUT);
	start_helpers_waiting(helper->helpers);
}

/*
 * The question lies in the socket, with its descriptor, before the process that
 * reads it is there.
 */
static int put_question(struct helper *helper, const struct message *question,
			const int *fds, int fd_count)
{
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	error = channel_send_now(pair[0], question, fds, fd_count);
	if (error) {
		close(pair[0]);
		close(pair[1]);
		return error;
	}
	helper->other_end = pair[1];
	channel_open(&helper->channel, helper->helpers->loop, pair[0],
		     on_helper_answer, on_helper_silence, helper);
	return 0;
}

/* A view looks at disks, a check reads files; whoever may only read asks for them. */
static int only_looks(uint64_t job)
{
	return job == HELPER_VIEW || job == HELPER_CHECK;
}

/*
 * Who wonders why nothing moves asks again and again, and just then a helper may
 * not end. All that only look leave room for what add and del need.
 */
static int has_enough(const struct helpers *helpers, uint64_t job)
{
	const struct helper *helper;
	unsigned looking = 0;

	if (!only_looks(job))
		return 0;
	for (helper = helpers->first; helper; helper = helper->next)
		looking += only_looks(helper->job);
	return looking >= HELPERS_LOOK;
}

int helper_ask(struct helpers *helpers, const struct message *question,
	       const int *fds, int fd_count, helper_done *done, void *context)
{
	struct helper **last = &helpers->first;
	struct helper *helper;
	int error = -ENOMEM;

	if (has_enough(helpers, question->number))
		return -EBUSY;
	helper = calloc(1, sizeof(*helper));
	if (helper) {
		helper->helpers = helpers;
		helper->job = question->number;
		error = put_question(helper, question, fds, fd_count);
	}
	if (error) {
		log_warning("no helper can be started: %s", strerror(-error));
		free(helper);
		return error;
	}
	while (*last)
		last = &(*last)->next;
	*last = helper;
	ev_timer_init(&helper->patience, on_helper_patience, HELPER_TURN, 0);
	/* An answer that is there comes first, should we have stood still. */
	ev_set_priority(&helper->patience, EV_MINPRI);
	helper->patience.data = helper;
	ev_timer_start(helpers->loop, &helper->patience);
	if (has_turn(helper))
		error = start_helper(helper);
	if (error) {
		drop_helper(helper, error);
		return error;
	}
	helper->done = done;
	helper->context = context;
	return 0;
}

void helpers_open(struct helpers *helpers, struct ev_loop *loop,
		  const sigset_t *signals, int is_spared)
{
	memset(helpers, 0, sizeof(*helpers));
	helpers->loop = loop;
	helpers->signals = signals;
	helpers->is_spared = is_spared;
}

void helpers_close(struct helpers *helpers)
{
	struct helper *helper;

	while ((helper = helpers->first)) {
		helpers->first = helper->next;
		proc_kill(&helper->process);
		tell_asker_error(helper, -ECANCELED);
		helper_free(helper);
	}
	helpers->running = helpers->busy = helpers->connecting = 0;
}

/* ---- in the helper ---- */

#ifndef WITHOUT_NBD
static int answer_fd = -1; /* what the answer is to have, or -1 */
#else
static const int answer_fd = -1;
#endif

static int tell_user(struct message *message, const char *disk)
{
	struct usage usage;

	snprintf(usage.disk, sizeof(usage.disk), "%.31s", disk);
	usage_find("", &usage, 1);
	message->number = usage.kind == USAGE_LASTING;
	snprintf(message->text, sizeof(message->text), "%s", usage.who);
	return usage.kind == USAGE_NONE ? 0 : -EBUSY;
}

static int find_disk_user(struct message *message, int fd)
{
	(void)fd;
	return tell_user(message, message->text);
}

static int find_node_user(struct message *message, int fd)
{
	struct stat status;
	char disk[32];
	int error;

	(void)fd;
	if (stat(message->text, &status) < 0)
		return -errno;
	error = backing_name(status.st_rdev, disk, sizeof(disk));
	return error ? error : tell_user(message, disk);
}

static unsigned split_disks(char *text, struct usage *usages, unsigned max)
{
	unsigned count = 0;
	char *word, *rest;

	for (word = strtok_r(text, " ", &rest); word && count < max;
	     word = strtok_r(NULL, " ", &rest))
		snprintf(usages[count++].disk, sizeof(usages->disk), "%.31s",
			 word);
	return count;
}

static int find_disk_users(struct message *message, int fd)
{
	struct usage *usages = calloc(DEVICES_MAX, sizeof(*usages));
	size_t at = 0, size = sizeof(message->text);
	unsigned count, i;

	(void)fd;
	if (!usages)
		return -ENOMEM;
	count = split_disks(message->text, usages, DEVICES_MAX);
	usage_find("", usages, count);
	message->number = 0;
	message->text[0] = '\0';
	for (i = 0; i < count; i++) {
		const struct usage *usage = &usages[i];
		size_t length = strlen(usage->disk) + strlen(usage->who) + 2;

		if (usage->kind == USAGE_NONE)
			continue;
		message->number++;
		if (at + length < size)
			at += (size_t)sprintf(message->text + at, "%s %s\n",
					      usage->disk, usage->who);
	}
	free(usages);
	return 0;
}

static int lock_file(struct message *message, int fd)
{
	int read_only = message->text[0] == 'r';

	message->text[0] = '\0';
	return backing_lock(fd, read_only, message->text,
			    sizeof(message->text));
}

__attribute__((cold)) static int gather_text(struct message *message, int fd)
{
	FILE *out = fdopen(fd, "w");
	struct failure failure;

	if (!out)
		return -errno;
	return config_tell(message, config_gather(message->text, out, &failure),
			   &failure);
}

/* A group that is not named is all ones, as chown(2) has it. */
static int look_for_owner(struct message *message, int fd)
{
	char text[64];
	struct owner owner;
	int error;

	(void)fd;
	snprintf(text, sizeof(text), "%.63s", message->text);
	message->text[0] = '\0';
	error = owner_find(text, &owner, message->text, sizeof(message->text));
	if (!error)
		message->number = (uint64_t)owner.user << 32 |
				  (uint32_t)owner.group;
	return error;
}

#ifndef WITHOUT_RELOAD
static int check_text(struct message *message, int fd)
{
	struct check check = { .path = message->text,
			       .out = fdopen(fd, "w"),
			       .as_records = 1 };
	struct failure failure;
	int result;

	if (!check.out)
		return -errno;
	result = check_file(&check, &failure);
	if (result == 0 && fflush(check.out) != 0)
		return -errno;
	return config_tell(message, result, &failure);
}

static int save_text(struct message *message, int fd)
{
	int flat = message->text[0] == '!';
	struct failure failure;

	return config_tell(message,
			   save_file(message->text + flat, fd, flat, &failure),
			   &failure);
}
#endif

#ifndef WITHOUT_SIGHT
static int view_disks(struct message *message, int fd)
{
	(void)message;
	return view_fill("", fd);
}
#endif

#ifndef WITHOUT_NBD
static int connect_nbd(struct message *message, int fd)
{
	char words[sizeof(message->text)];
	char *name;

	(void)fd;
	memcpy(words, message->text, sizeof(words));
	name = strchr(words, '\n');
	if (name)
		*name++ = '\0';
	answer_fd =
		nbd_connect(words, name, message->text, sizeof(message->text));
	return answer_fd < 0 ? answer_fd : 0;
}
#endif

/*
 * What helpers can be asked to do, with a question that becomes the answer, and
 * its descriptor or -1. Each returns 0 or a negative errno.
 */
static int (*const helper_jobs[])(struct message *message, int fd) = {
	[HELPER_DISK_USER] = find_disk_user,
	[HELPER_NODE_USER] = find_node_user,
	[HELPER_DISK_USERS] = find_disk_users,
	[HELPER_LOCK] = lock_file,
	[HELPER_CONFIG] = gather_text,
	[HELPER_OWNER] = look_for_owner,
#ifndef WITHOUT_RELOAD
	[HELPER_CHECK] = check_text,
	[HELPER_SAVE] = save_text,
#endif
#ifndef WITHOUT_SIGHT
	[HELPER_VIEW] = view_disks,
#endif
#ifndef WITHOUT_NBD
	[HELPER_CONNECT] = connect_nbd,
#endif
};

int helper_run(void)
{
	struct message message;
	int fds[MESSAGE_MAX_FDS], count;

	process_be_ordinary();
	if (channel_receive_now(SERVER_FD, &message, fds, &count) <= 0)
		return 1;
	message.result = -EINVAL;
	if (message.number < sizeof(helper_jobs) / sizeof(helper_jobs[0]) &&
	    helper_jobs[message.number])
		message.result = helper_jobs[message.number](
			&message, count ? fds[0] : -1);
	return channel_send_now(SERVER_FD, &message, &answer_fd, answer_fd >= 0)
		       ? 1
		       : 0;
}
