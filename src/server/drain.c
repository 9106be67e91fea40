#include "drain.h"

#include <errno.h>
#include <fcntl.h>

#include "target/opener.h"
#include "io/workers.h"

#define LOOK_AGAIN 0.01 /* s between two looks */

static int find_command(const struct command_host *host,
			struct failure *failure)
{
	const struct device *device;

	if (host->stopping)
		return failure_set(failure, SYMBOL_BUSY, EBUSY, NULL,
				   "every device is being deleted");
	for (device = host->devices.first; device; device = device->next) {
		if (device_check_idle(device, NULL, failure) < 0)
			return -1;
		/* The next server would wait for those. */
		if (device_late(device))
			return failure_set(
				failure, SYMBOL_BUSY, EBUSY, NULL,
				"device %u (%s) has requests that "
				"its %s has not answered in time (%u)",
				device->spec.id, device_name(device),
				device->spec.target->ops->name,
				device_late(device));
	}
	return 0;
}

static int find_request(const struct drain *drain, struct failure *failure)
{
	const struct device *device;

	for (device = drain->host->devices.first; device;
	     device = device->next) {
		struct target *target = device->spec.target;
		unsigned count = target->ops->in_workers
					 ? target->ops->in_workers(target)
					 : 0;

		if (count)
			return failure_set(
				failure, SYMBOL_BUSY, EBUSY, NULL,
				"requests of device %u (%s) stay blocked (%u): "
				"its file system, disk or server stands still",
				device->spec.id, device_name(device), count);
	}
	if (drain->asked)
		return failure_set(failure, SYMBOL_BUSY, EBUSY, NULL,
				   "the server of a device's file does not "
				   "answer, and this one cannot end before");
	return failure_set(failure, SYMBOL_BUSY, EBUSY, NULL,
			   "a file is being opened, made longer or closed, and "
			   "that takes long");
}

static void on_drain_closed(void *context, int error)
{
	struct drain *drain = context;

	(void)error;
	drain->asked--;
}

/*
 * A process closes its files when it ends, and before all are closed none of
 * its devices is free. So another descriptor of each file is closed now, in a
 * worker, for which the drain waits.
 */
static void ask_file_servers(struct drain *drain)
{
	struct device_set *set = &drain->host->devices;
	struct device *device;
	int fds[MESSAGE_MAX_FDS], count;

	for (device = set->first; device; device = device->next) {
		struct target *target = device->spec.target;

		count = target->ops->give_up ? target_hold(target, fds) : 0;
		while (count-- > 0) {
			int fd = fcntl(fds[count], F_DUPFD_CLOEXEC, 0);

			if (fd >= 0)
				drain->asked += opener_close_patiently(
					set->loop, fd, on_drain_closed, drain);
		}
	}
}

/* The requests that were held go on. */
static void release(struct drain *drain)
{
	struct device *device;

	workers_resume();
	for (device = drain->host->devices.first; device;
	     device = device->next) {
		struct target *target = device->spec.target;

		if (target->ops->go_on)
			target->ops->go_on(target);
	}
}

static void check_again_soon(struct drain *drain)
{
	loop_timer_start(drain->host->devices.loop, &drain->timer, LOOK_AGAIN);
}

static int is_late(struct drain *drain)
{
	double now = loop_now();

	if (!workers_are_held())
		drain->hold_deadline = now + DRAIN_HOLD_PATIENCE;
	return now >= drain->deadline || now >= drain->hold_deadline;
}

static __attribute__((cold)) void check_drained(struct drain *drain)
{
	struct failure failure;
	int is_clear = find_command(drain->host, &failure) == 0;

	if (is_clear && workers_drain()) {
		drain->active = 0;
		drain->deadline = loop_now() + DRAIN_HOLD;
		check_again_soon(drain);
		drain->done(drain, NULL);
	} else if (!is_late(drain) && !drain->host->stopping) {
		check_again_soon(drain);
	} else {
		if (is_clear)
			find_request(drain, &failure);
		drain_end(drain);
		drain->done(drain, &failure);
	}
}

static void on_drain_timer(struct loop_timer *timer)
{
	struct drain *drain = timer->data;

	if (drain->active)
		check_drained(drain);
	else if (loop_now() >= drain->deadline || drain->host->stopping)
		drain_end(drain); /* nobody has told it to leave */
	else
		check_again_soon(drain);
}

void drain_begin(struct drain *drain, struct command_host *host,
		 drain_done *done)
{
	drain_end(drain);
	drain->host = host;
	drain->done = done;
	loop_timer_init(&drain->timer, on_drain_timer, drain);
	drain->active = 1;
	drain->deadline = loop_now() + DRAIN_PATIENCE;
	/*
	 * Those that have not answered the last time are not asked again: each
	 * question stands in a worker.
	 */
	if (!drain->asked)
		ask_file_servers(drain);
	check_drained(drain);
}

void drain_end(struct drain *drain)
{
	if (!drain->host)
		return;
	loop_timer_stop(drain->host->devices.loop, &drain->timer);
	drain->active = 0;
	release(drain);
}
