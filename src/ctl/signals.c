#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };

#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static volatile sig_atomic_t end, stop;
static unsigned depth; /* of signals_catch() */
static struct sigaction actions[NUMBERS];
static sigset_t mask;		/* both as they were before */
static sigset_t without_resize; /* and without a stop, while that is caught */
static struct sigaction stop_action;

static void on_signal(int number)
{
	if (number == SIGTSTP)
		stop = 1;
	else if (number != SIGWINCH)
		end = number;
}

/* What a wait that a resize may end keeps out. */
static void wait_without_resize(void)
{
	without_resize = mask;
	sigaddset(&without_resize, SIGWINCH);
}

void signals_catch(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t blocked;
	size_t i;

	if (depth++)
		return;
	end = 0;
	sigemptyset(&blocked);
	for (i = 0; i < NUMBERS; i++)
		sigaddset(&blocked, numbers[i]);
	sigprocmask(SIG_BLOCK, &blocked, &mask);
	wait_without_resize();
	for (i = 0; i < NUMBERS; i++)
		sigaction(numbers[i], &action, &actions[i]);
}

void signals_release(void)
{
	size_t i;

	if (--depth)
		return;
	end = 0;
	for (i = 0; i < NUMBERS; i++)
		sigaction(numbers[i], &actions[i], NULL);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

int signals_end(void)
{
	return end;
}

/* Let the stop in, or keep it out, as SIG_UNBLOCK or SIG_BLOCK. */
static void mask_stop(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	sigprocmask(how, &set, NULL);
}

/* Where nobody could go on with us it is ignored, and stays so. */
void signals_catch_stop(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	stop = 0;
	mask_stop(SIG_BLOCK);
	sigaddset(&without_resize, SIGTSTP);
	sigaction(SIGTSTP, NULL, &stop_action);
	if (stop_action.sa_handler != SIG_IGN)
		sigaction(SIGTSTP, &action, NULL);
}

void signals_release_stop(void)
{
	sigaction(SIGTSTP, &stop_action, NULL);
	wait_without_resize();
	mask_stop(SIG_UNBLOCK);
}

int signals_stop(void)
{
	return stop;
}

/* Where there is always something to read, ppoll() lets no signal in. */
static void let_in(void)
{
	sigset_t blocked;

	sigprocmask(SIG_SETMASK, &without_resize, &blocked);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
}

static int wait_with(int fd, int ms, const sigset_t *signals)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct timespec time = { ms / 1000, ms % 1000 * 1000000L };
	int count =
		ppoll(&wait, 1, ms < 0 ? NULL : &time, depth ? signals : NULL);

	if (depth && count > 0)
		let_in();
	if (!end)
		return count;
	errno = EINTR;
	return -1;
}

int signals_wait(int fd, int ms)
{
	return wait_with(fd, ms, &without_resize);
}

int signals_wait_or_resize(int fd, int ms)
{
	return wait_with(fd, ms, &mask);
}
