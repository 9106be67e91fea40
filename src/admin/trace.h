/* A session that follows a device's events: see `trace` in ublkd-protocol(7). */
#ifndef UBLKD_TRACE_H
#define UBLKD_TRACE_H

struct request;

#define TRACE_PERIOD 0.01 /* s between looks for more events */

/*
 * Tell of what the device that the request's session follows has recorded since,
 * and of what was overwritten meanwhile. Returns 0 if nothing more comes.
 */
int trace_follow(struct request *request) __attribute__((cold));

#endif
