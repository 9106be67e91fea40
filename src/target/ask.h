/*
 * What the server asks a helper of the keeper's (helper.h): what it may not do
 * itself, because that could hang or take long.
 */
#ifndef UBLKD_ASK_H
#define UBLKD_ASK_H

#include "base/channel.h"

/* The answer: its result is the job's, or says why there is none. */
typedef void ask_done(void *context, const struct message *answer);

/* Questions go to this channel's keeper. */
void ask_open(struct channel *channel);

/*
 * Ask; fd stays the caller's, -1: none. Returns 0, and done is called later,
 * once; or a negative errno.
 */
int ask(enum helper_job job, const char *text, int fd, ask_done *done,
	void *context);

/*
 * While done is called: the descriptor that came with the answer, the caller's
 * from now on; or -1. One that nobody takes is closed.
 */
int ask_take_fd(void);

/* The keeper's answer; what came with it is taken. */
void ask_answer(const struct message *answer, const int *fds, int fd_count);

/* The keeper is gone: whoever waits for it gets -EPIPE. */
void ask_keeper_gone(void);

#endif
