#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/workers.h"

/* A question that is not answered yet. */
struct question {
	struct question *next;
	uint64_t serial;
	ask_done *done;
	void *context;
	uint8_t mark; /* the server does not leave before the answer; 0: it
		       * does, for nothing is lost with it */
};

static struct {
	struct channel *channel;
	struct question *first;
	uint64_t serial;
	int fd; /* that came with the answer which is being told, or -1 */
} asking = { .fd = -1 };

void ask_open(struct channel *channel)
{
	asking.channel = channel;
}

/* A view, or a connection, that nobody hears of is asked for by the next one. */
static int is_lost_lightly(enum helper_job job)
{
	return job == HELPER_VIEW || job == HELPER_CONNECT;
}

int ask(enum helper_job job, const char *text, int fd, ask_done *done,
	void *context)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_ASK,
				   .serial = ++asking.serial,
				   .number = job };
	struct question *question = calloc(1, sizeof(*question));
	int error;

	if (!question)
		return -ENOMEM;
	snprintf(message.text, sizeof(message.text), "%s", text);
	error = channel_send(asking.channel, &message, &fd, fd >= 0);
	if (error) {
		free(question);
		return error;
	}
	question->serial = message.serial;
	question->done = done;
	question->context = context;
	question->mark = is_lost_lightly(job) ? 0 : workers_enter();
	question->next = asking.first;
	asking.first = question;
	return 0;
}

static void end_question(struct question **at, const struct message *answer)
{
	struct question *question = *at;

	*at = question->next;
	if (question->mark)
		workers_leave(question->mark);
	question->done(question->context, answer);
	free(question);
}

int ask_take_fd(void)
{
	int fd = asking.fd;

	asking.fd = -1;
	return fd;
}

void ask_answer(const struct message *answer, const int *fds, int fd_count)
{
	struct question **at = &asking.first;

	if (fd_count) {
		asking.fd = fds[0];
		channel_close_fds(fds + 1, fd_count - 1);
	}

	while (*at && (*at)->serial != answer->serial)
		at = &(*at)->next;
	if (*at)
		end_question(at, answer);
	if (asking.fd >= 0)
		close(ask_take_fd());
}

void ask_keeper_gone(void)
{
	const struct message answer = { .result = -EPIPE };

	while (asking.first)
		end_question(&asking.first, &answer);
}
