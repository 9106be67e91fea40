/*
 * Upgrade: a new program is tried as a server beside ours; if that can read the
 * table of devices, this process goes on as it.
 */
#include "keeper-parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "carry.h"
#include "base/log.h"

#define UPGRADE_PATIENCE 10.0 /* s for a new program to read the table */

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

void upgrade_fail(struct keeper *keeper, int error, const char *why)
{
	if (keeper->candidate.process.pid)
		end_candidate(keeper);
	refuse_upgrade(keeper, error, why);
	keeper_maybe_hand_over(keeper);
}

/* What another keeper could not go on with. NULL: nothing. */
static const char *why_not_now(const struct keeper *keeper)
{
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
 * From here on it is as if this keeper had been killed and the next one were
 * started: the server serves until that takes over. The process is the same.
 */
static void become(struct keeper *keeper, const char *program)
{
	const struct keeper_options *options = keeper->options;
	const char *level = log_level_name(options->log_level);
	char text[400], timeout[16];
	int error;
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
	/* The server has them too, but it may die before it is asked. */
	error = jobs_carry(&keeper->jobs);
	if (error)
		log_warning("upgrade: should the server die now, memory of "
			    "devices is lost: %s",
			    strerror(-error));
	execv(program, arguments);
	error = errno;
	carry_undo();
	snprintf(text, sizeof(text), "%.300s: %s", program, strerror(error));
	upgrade_fail(keeper, -error, text);
}

static void on_candidate_message(struct channel *channel,
				 const struct message *message, const int *fds,
				 int fd_count)
{
	struct keeper *keeper = channel->owner;
	const char *why;

	while (fd_count)
		jobs_close_file(&keeper->jobs, fds[--fd_count]);
	if (message->type == MESSAGE_FAILED || message->result < 0) {
		upgrade_fail(keeper, -EINVAL, message->text);
	} else if (message->type == MESSAGE_PREPARED) {
		end_candidate(keeper);
		why = why_not_now(keeper);
		if (!why && keeper_ask_to_leave(keeper, FOR_UPGRADE) < 0)
			why = "the server cannot be asked";
		if (why)
			upgrade_fail(keeper, -EBUSY, why);
	}
}

void upgrade_end(struct keeper *keeper, const struct message *answer)
{
	const char *why = answer->result < 0 ? answer->text
					     : why_not_now(keeper);

	if (why)
		upgrade_fail(keeper, -EBUSY, why);
	else
		become(keeper, keeper->candidate.program);
}

static void on_candidate_gone(struct channel *channel)
{
	upgrade_fail(channel->owner, -EINVAL,
		     "the new program ended before it had read the table of "
		     "devices; is it a ublkd?");
}

void upgrade_ended(struct keeper *keeper)
{
	struct candidate *candidate = &keeper->candidate;

	channel_finish(&candidate->channel);
	/* Unless its last word was one. */
	if (candidate->process.pid)
		on_candidate_gone(&candidate->channel);
}

static void on_candidate_late(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	upgrade_fail(timer->data, -ETIMEDOUT,
		     "the new program does not say that it is ready");
}

void upgrade_begin(struct keeper *keeper, const struct message *message)
{
	struct candidate *candidate = &keeper->candidate;
	const char *why = why_not_now(keeper);

	if (!why) {
		snprintf(candidate->program, sizeof(candidate->program), "%s",
			 message->text[0] ? message->text
					  : keeper->options->program);
		if (keeper_ask_to_leave(keeper, BEFORE_UPGRADE) < 0)
			why = "the server cannot be asked";
	}
	if (why)
		refuse_upgrade(keeper, -EBUSY, why);
}

void upgrade_try(struct keeper *keeper, const struct message *answer)
{
	struct candidate *candidate = &keeper->candidate;
	const char *why = answer->result < 0 ? answer->text
					     : why_not_now(keeper);
	int error;

	if (why) {
		upgrade_fail(keeper, -EBUSY, why);
		return;
	}
	error = keeper_spawn(keeper, candidate->program, &candidate->process,
			     &candidate->channel, on_candidate_message,
			     on_candidate_gone);
	if (error) {
		upgrade_fail(keeper, error, strerror(-error));
		return;
	}
	ev_timer_init(&candidate->patience, on_candidate_late, UPGRADE_PATIENCE,
		      0);
	candidate->patience.data = keeper;
	ev_timer_start(keeper->loop, &candidate->patience);
	error = keeper_send_table(keeper, &candidate->channel);
	/* -EPIPE: it has ended already, and its last word is to be read. */
	if (error && error != -EPIPE)
		upgrade_fail(keeper, -EPIPE, "out of memory");
}
