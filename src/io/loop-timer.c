#include "loop-timer.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "turns.h"

static struct loop_timers *timers_of(struct ev_loop *ev)
{
	return ev_userdata(ev);
}

double loop_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void loop_timer_init(struct loop_timer *timer,
		     void (*fire)(struct loop_timer *timer), void *data)
{
	memset(timer, 0, sizeof(*timer));
	timer->fire = fire;
	timer->data = data;
}

int loop_timer_is_active(const struct loop_timer *timer)
{
	return timer->link != NULL;
}

static void note_first(struct loop_timers *timers)
{
	timers->due = timers->first ? timers->first->due : 0;
}

void loop_timer_stop(struct ev_loop *ev, struct loop_timer *timer)
{
	if (!timer->link)
		return;
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	timer->link = NULL;
	note_first(timers_of(ev));
}

void loop_timer_start(struct ev_loop *ev, struct loop_timer *timer,
		      double after)
{
	struct loop_timer **at = &timers_of(ev)->first;

	loop_timer_stop(ev, timer);
	timer->due = loop_now() + (after > 0 ? after : 0);
	while (*at && (*at)->due <= timer->due)
		at = &(*at)->next;
	timer->next = *at;
	timer->link = at;
	if (timer->next)
		timer->next->link = &timer->next;
	*at = timer;
	note_first(timers_of(ev));
}

/* Those that are due now; what they start waits for the next turn. */
static void on_timers(struct ev_loop *ev, ev_io *watcher, int events)
{
	struct loop_timers *timers = timers_of(ev);
	double now = loop_now();
	uint64_t count;

	turns_enter(SIGHT_TIMERS, SIGHT_NO_SLOT);

	(void)events;
	if (read(watcher->fd, &count, sizeof(count)) < 0)
		return; /* stopped or moved meanwhile */
	timers->armed = 0;
	while (timers->first && timers->first->due <= now) {
		struct loop_timer *timer = timers->first;

		loop_timer_stop(ev, timer);
		timer->fire(timer);
	}
}

int loop_timers_open(struct loop_timers *timers)
{
	timers->fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	return timers->fd < 0 ? -errno : 0;
}

void loop_timers_watch(struct loop_timers *timers, struct ev_loop *ev)
{
	ev_io_init(&timers->watcher, on_timers, timers->fd, EV_READ);
	ev_io_start(ev, &timers->watcher);
}

void loop_timers_arm(struct loop_timers *timers)
{
	double due = timers->due;
	struct itimerspec spec = { .it_value.tv_sec = (time_t)due };

	if (due == timers->armed)
		return;
	spec.it_value.tv_nsec =
		(long)((due - (double)spec.it_value.tv_sec) * 1e9);
	timerfd_settime(timers->fd, TFD_TIMER_ABSTIME, &spec, NULL);
	timers->armed = due;
}

void loop_timers_close(struct loop_timers *timers)
{
	if (timers->fd >= 0)
		close(timers->fd);
	timers->fd = -1;
}
