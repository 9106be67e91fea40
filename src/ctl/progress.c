#include "progress.h"

#include <stdio.h>
#include <unistd.h>

#define FIRST_LINE 2 /* s: of those that stay, when the first one comes */

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

void progress_begin(struct progress *progress, const char *command)
{
	progress->command = command;
	progress->since = now();
	progress->next = isatty(STDERR_FILENO) ? 1 : FIRST_LINE;
	progress->is_shown = 0;
}

void progress_tell(struct progress *progress)
{
	time_t seconds = now() - progress->since;
	int is_terminal = isatty(STDERR_FILENO);

	if (seconds < progress->next)
		return;
	fprintf(stderr, "%sublkctl: '%.40s' is under way: %lld s%s",
		is_terminal ? "\r" : "", progress->command, (long long)seconds,
		is_terminal ? "\033[K" : "\n");
	progress->is_shown = is_terminal;
	progress->next = is_terminal ? seconds + 1 : seconds * 2;
}

void progress_hide(struct progress *progress)
{
	if (progress->is_shown)
		fputs("\r\033[K", stderr);
	progress->is_shown = 0;
}
