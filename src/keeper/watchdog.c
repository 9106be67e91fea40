#include "watchdog.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"

#define INTERVAL  1.0 /* s between looks */
#define STILL_MAX 10  /* looks: a host that slept, or stood still, looks once */

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
static void stop_unless_busy(struct watchdog *watchdog)
{
	atomic_store(&watchdog->page->watched, 0);
	if (atomic_load(&watchdog->page->turns) == watchdog->seen)
		stop_looking(watchdog);
	else
		atomic_store(&watchdog->page->watched, 1);
}

/* What the server does, by its own word. Returns text. */
static const char *describe(const struct watchdog *watchdog, char *text,
			    size_t size)
{
	const struct sight_file file = { .fd = watchdog->fd };

	return sight_file_describe(&file, watchdog->page, sight_clock(), text,
				   size);
}

/* First, because the log may be what it hangs in. */
static void kill_server(struct watchdog *watchdog)
{
	char what[160];

	proc_kill(watchdog->server);
	log_error(
		"the server, process %d, hangs: it has done nothing for "
		"%d s, though it was asked to (%s); it is killed, and the next "
		"one goes on with its devices",
		(int)watchdog->server->pid, STILL_MAX,
		describe(watchdog, what, sizeof(what)));
	stop_looking(watchdog);
}

static void report_stopped(struct watchdog *watchdog)
{
	if (!watchdog->reported)
		log_warning("the server, process %d, is stopped, by a "
			    "debugger or SIGSTOP: whoever uses its devices "
			    "waits until it is continued",
			    (int)watchdog->server->pid);
	watchdog->reported = 1;
	watchdog->still = 1;
}

/* The server was asked for a turn and has taken none yet. */
static void __attribute__((cold))
look_at_still_server(struct watchdog *watchdog)
{
	struct proc_look look = { .state = 0 };
	int is_starved;

	proc_look(watchdog->server->pid, &look);
	/* A server that gets no CPU is not to be blamed for that. */
	is_starved = look.state == 'R' && look.ticks == watchdog->ticks;
	watchdog->ticks = look.ticks;
	if (look.state == 'T' || look.state == 't')
		report_stopped(watchdog);
	else if (!is_starved && ++watchdog->still > STILL_MAX)
		kill_server(watchdog);
}

static void __attribute__((cold))
on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct watchdog *watchdog = timer->data;
	uint64_t count = atomic_load(&watchdog->page->turns);

	(void)loop;
	(void)events;
	if (count != watchdog->seen) {
		watchdog->seen = count;
		watchdog->still = 0;
		watchdog->reported = 0;
	} else if (watchdog->still) {
		look_at_still_server(watchdog);
	} else if (watchdog->reason(watchdog)) {
		watchdog->still = 1;
		watchdog->ask(watchdog);
	} else {
		stop_unless_busy(watchdog);
	}
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
	ev_timer_init(&watchdog->timer, on_look, INTERVAL, INTERVAL);
	watchdog->timer.data = watchdog;
}

int watchdog_begin(struct watchdog *watchdog, const struct proc *server, int fd)
{
	struct sight_head *head;
	int living;

	watchdog_end(watchdog);
	head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	if (head == MAP_FAILED)
		return -errno;
	/* A server before may still live: not always the last that was begun. */
	living = sight_living(head);
	head->current = !(living < 0 ? head->current & 1 : (unsigned)living);
	watchdog->head = head;
	watchdog->page = &head->servers[head->current];
	memset(watchdog->page, 0, sizeof(*watchdog->page));
	watchdog->page->pid = (uint32_t)server->pid;
	watchdog->page->slot = SIGHT_NO_SLOT;
	watchdog->fd = fd;
	watchdog->server = server;
	watchdog->seen = watchdog->ticks = 0;
	watchdog->reported = 0;
	return (int)head->current;
}

void watchdog_look(struct watchdog *watchdog)
{
	if (!watchdog->page || ev_is_active(&watchdog->timer))
		return;
	atomic_store(&watchdog->page->watched, 1);
	watchdog->seen = atomic_load(&watchdog->page->turns);
	ev_timer_set(&watchdog->timer, INTERVAL, INTERVAL);
	ev_timer_start(watchdog->loop, &watchdog->timer);
}

void watchdog_end(struct watchdog *watchdog)
{
	if (!watchdog->page)
		return;
	stop_looking(watchdog);
	munmap(watchdog->head, sizeof(*watchdog->head));
	watchdog->page = NULL;
}
