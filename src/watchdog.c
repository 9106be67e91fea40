#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

#define INTERVAL   1.0 /* s between looks */
#define STILL_MAX  10 /* looks: a host that slept, or stood still, looks once */
#define STAT_BYTES 1024

/* ---- the process ---- */

/*
 * Its state (proc(5): R, S, D, T, t ...) and the CPU time that it has used, in
 * ticks. Returns the state, or 0 if that cannot be told.
 */
static char look_at_process(pid_t pid, uint64_t *ticks)
{
	unsigned long long user, system;
	char path[40], text[STAT_BYTES], state, *end;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	/* The name before it may have blanks and brackets. */
	end = strrchr(text, ')');
	if (!end || sscanf(end,
			   ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			   "%llu %llu",
			   &state, &user, &system) != 3)
		return 0;
	*ticks = user + system;
	return state;
}

/* ---- looks ---- */

static void stop_looking(struct watchdog *watchdog)
{
	ev_timer_stop(watchdog->loop, &watchdog->timer);
	watchdog->still = 0;
}

/*
 * Nothing to look for. The server says when there is; what it did before it
 * could know that it has to, the count tells.
 */
static void rest(struct watchdog *watchdog)
{
	atomic_store(&watchdog->turns->watched, 0);
	if (atomic_load(&watchdog->turns->count) == watchdog->seen)
		stop_looking(watchdog);
	else
		atomic_store(&watchdog->turns->watched, 1);
}

/* First, because the log may be what it hangs in. */
static void kill_server(struct watchdog *watchdog)
{
	kill(watchdog->server, SIGKILL);
	log_error("the server, process %d, hangs: it has done nothing for "
		  "%d s, though it was asked to; it is killed, and the next "
		  "one goes on with its devices",
		  (int)watchdog->server, STILL_MAX);
	stop_looking(watchdog);
}

static void report(struct watchdog *watchdog)
{
	if (!watchdog->reported)
		log_warning("the server, process %d, is stopped, by a "
			    "debugger or SIGSTOP: whoever uses its devices "
			    "waits until it is continued",
			    (int)watchdog->server);
	watchdog->reported = 1;
	watchdog->still = 1;
}

/* It was asked for a turn and has taken none yet. */
static void look_again(struct watchdog *watchdog)
{
	uint64_t ticks = 0;
	char state = look_at_process(watchdog->server, &ticks);
	/* It would go on, but got no CPU: that is not its fault. */
	int is_starved = state == 'R' && ticks == watchdog->ticks;

	watchdog->ticks = ticks;
	if (state == 'T' || state == 't')
		report(watchdog);
	else if (!is_starved && ++watchdog->still > STILL_MAX)
		kill_server(watchdog);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct watchdog *watchdog = timer->data;
	uint64_t count = atomic_load(&watchdog->turns->count);

	(void)loop;
	(void)events;
	if (count != watchdog->seen) {
		watchdog->seen = count;
		watchdog->still = 0;
		watchdog->reported = 0;
	} else if (watchdog->still) {
		look_again(watchdog);
	} else if (watchdog->reason(watchdog)) {
		watchdog->still = 1;
		watchdog->ask(watchdog);
	} else {
		rest(watchdog);
	}
}

/* ---- the page ---- */

/* Sealed: a page that is cut off would kill the keeper. Returns it or -errno. */
static int make_page(size_t size)
{
	int fd = memfd_create("ublkd-turns", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ==
		    0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

/* ---- from outside ---- */

void watchdog_open(struct watchdog *watchdog, struct ev_loop *loop,
		   watchdog_reason *reason, watchdog_ask *ask, void *owner)
{
	memset(watchdog, 0, sizeof(*watchdog));
	watchdog->loop = loop;
	watchdog->reason = reason;
	watchdog->ask = ask;
	watchdog->owner = owner;
	ev_timer_init(&watchdog->timer, on_timer, INTERVAL, INTERVAL);
	watchdog->timer.data = watchdog;
}

int watchdog_begin(struct watchdog *watchdog, pid_t server)
{
	int fd = make_page(sizeof(*watchdog->turns)), error;
	void *map;

	watchdog_end(watchdog);
	if (fd < 0)
		return fd;
	map = mmap(NULL, sizeof(*watchdog->turns), PROT_READ | PROT_WRITE,
		   MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		error = -errno;
		close(fd);
		return error;
	}
	watchdog->turns = map;
	watchdog->server = server;
	watchdog->seen = watchdog->ticks = 0;
	watchdog->reported = 0;
	return fd;
}

void watchdog_look(struct watchdog *watchdog)
{
	if (!watchdog->turns || ev_is_active(&watchdog->timer))
		return;
	atomic_store(&watchdog->turns->watched, 1);
	watchdog->seen = atomic_load(&watchdog->turns->count);
	ev_timer_set(&watchdog->timer, INTERVAL, INTERVAL);
	ev_timer_start(watchdog->loop, &watchdog->timer);
}

void watchdog_end(struct watchdog *watchdog)
{
	if (!watchdog->turns)
		return;
	stop_looking(watchdog);
	munmap(watchdog->turns, sizeof(*watchdog->turns));
	watchdog->turns = NULL;
}
