/* Sessions that watch what changes: see `watch` in ublkd-protocol(7). */
#ifndef UBLKD_WATCH_H
#define UBLKD_WATCH_H

#include "device/device.h"

struct command_host;
struct request;
struct session;

#define WATCH_QUEUE 256 /* changes kept for those who cannot be told now */

/*
 * A device has changed: kept for all sessions that watch. Without any that has, there
 * is nothing to do.
 */
void watch_note(struct command_host *host, const struct device *device,
		enum device_change what);

/* Tell the request's session of all that it has not heard of. */
void watch_tell(struct request *request);

/* Whether there is something like that. */
int watch_has_more(const struct request *request);

/* Nobody watches any more. */
void watch_end(struct command_host *host);

#endif
