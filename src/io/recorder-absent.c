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

/*
 * Nobody calls these, see recorder_has(): what is left of the calls where a compiler
 * does not optimise.
 */
void recorder_note_delivered(const struct io *io)
{
	(void)io;
}

void recorder_note_refused(const struct io *io)
{
	(void)io;
}

void recorder_note_served(const struct io *io)
{
	(void)io;
}

void recorder_note_waited(const struct io *io)
{
	(void)io;
}

void recorder_note_late(const struct io *io, int error)
{
	(void)io;
	(void)error;
}

void recorder_note_taken_back(const struct io *io)
{
	(void)io;
}

void recorder_note_kept(struct io *io, enum sight_place place)
{
	(void)io;
	(void)place;
}

void recorder_note_passed(struct io *io)
{
	(void)io;
}

void recorder_note_submitted(struct io *io)
{
	(void)io;
}

void recorder_note_completed(struct io *io, int32_t result)
{
	(void)io;
	(void)result;
}

void recorder_park(struct io *io, enum sight_place place)
{
	(void)io;
	(void)place;
}
