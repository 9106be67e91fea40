#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
} asking;

void ask_open(struct channel *channel)
{
	asking.channel = channel;
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
	question->mark = job == HELPER_VIEW ? 0 : workers_enter();
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

void ask_answer(const struct message *answer)
{
	struct question **at = &asking.first;

	while (*at && (*at)->serial != answer->serial)
		at = &(*at)->next;
	if (*at)
		end_question(at, answer);
}

void ask_keeper_gone(void)
{
	const struct message answer = { .result = -EPIPE };

	while (asking.first)
		end_question(&asking.first, &answer);
}
