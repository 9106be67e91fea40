/*
 * What a keeper finds at its start: devices of an earlier one on the same
 * socket, which the next server takes over or which are deleted.
 */
#ifndef UBLKD_ADOPT_H
#define UBLKD_ADOPT_H

#include "jobs.h"
#include "takeover.h"

/*
 * Restore the devices that the driver still has and that nobody serves but the
 * server that is to leave: with what the state folder notes, and descriptors
 * from that server or from their files. Those that cannot go on wait for
 * jobs_clean_up(). `delete_leftovers` is for live ones of which nothing is
 * noted; else they are left alone. It waits for the driver's answers.
 */
void adopt_devices(struct jobs *jobs, struct takeover *takeover,
		   int delete_leftovers) __attribute__((cold));

/*
 * After that, and when no old server has them any more: what was found and no
 * device took is closed, and kept by a service manager no longer; but for what
 * belongs to devices that were left alone.
 */
void adopt_drop_rest(struct jobs *jobs, struct takeover *takeover)
	__attribute__((cold));

#endif
