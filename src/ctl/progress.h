/*
 * That a command takes long, on the standard error: one line that is painted anew
 * each second on a terminal, and gone in the end; elsewhere lines, ever fewer.
 */
#ifndef UBLKD_PROGRESS_H
#define UBLKD_PROGRESS_H

#include <time.h>

struct progress {
	const char *command;
	time_t since; /* s of the monotonic clock; 0: not begun */
	time_t next;  /* s after that: when there is more to tell */
	int is_shown; /* on a terminal */
};

/* The command begins. */
void progress_begin(struct progress *progress, const char *command)
	__attribute__((cold));

/* It is still under way. */
void progress_tell(struct progress *progress) __attribute__((cold));

/* Something else is to be printed, or the command has ended. */
void progress_hide(struct progress *progress) __attribute__((cold));

#endif
