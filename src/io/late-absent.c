/*
 * In place of late.c in a build without files and disks: no target waits for
 * anything, so no request is ever late.
 */
#include "late.h"

int late_allow(struct io_port *port)
{
	(void)port;
	return 0;
}

void late_close(struct io_port *port)
{
	(void)port;
}

void late_note_all(struct io_port *port, uint32_t tick)
{
	(void)port;
	(void)tick;
}

unsigned late_mark(struct io_port *port, uint32_t until,
		   const struct io **first)
{
	(void)port;
	(void)until;
	(void)first;
	return 0;
}

unsigned late_answer(struct io_port *port)
{
	(void)port;
	return 0;
}

unsigned late_restamp(struct io_port *port, uint32_t tick)
{
	(void)port;
	(void)tick;
	return 0;
}

unsigned late_watched(const struct io_port *port)
{
	(void)port;
	return 0;
}

int late_overlaps(const struct io_port *port, const struct io *io)
{
	(void)port;
	(void)io;
	return 0;
}
