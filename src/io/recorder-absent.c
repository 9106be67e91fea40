/* A build without sight: nothing is recorded. */
#include "recorder.h"

#include <errno.h>

int recorder_begin(int fd, struct ev_loop *loop)
{
	(void)fd;
	(void)loop;
	return -EOPNOTSUPP;
}

void recorder_end(void)
{
}

int recorder_is_on(void)
{
	return 0;
}

void recorder_forget_others(int (*is_known)(void *context, uint32_t id),
			    void *context)
{
	(void)is_known;
	(void)context;
}

struct recorder *recorder_open(uint32_t id, int is_new, uint16_t queues,
			       uint16_t depth, const char *target)
{
	(void)id;
	(void)is_new;
	(void)queues;
	(void)depth;
	(void)target;
	return NULL;
}

void recorder_close(struct recorder *recorder)
{
	(void)recorder;
}

void recorder_forget(struct recorder *recorder)
{
	(void)recorder;
}

void recorder_step(struct recorder *recorder, const char *name)
{
	(void)recorder;
	(void)name;
}

void recorder_enter(struct io_port *port)
{
	(void)port;
}

void recorder_leave(struct io_port *port)
{
	(void)port;
}
