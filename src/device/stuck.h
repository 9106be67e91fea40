/*
 * Requests that wait for longer than their device's stuck-after: the log, and the
 * device's recorder, hear of the first, with a verdict, and of the end of it.
 *
 * The server looks once a second while it has requests, and not when it has none:
 * the recorder tells of the next one that waits.
 */
#ifndef UBLKD_STUCK_H
#define UBLKD_STUCK_H

struct device_set;

#ifdef WITHOUT_SIGHT
static inline void stuck_watch(struct device_set *set)
{
	(void)set;
}

static inline void stuck_end(void)
{
}
#else
/* Watch the devices of a set from now on. To be called once. */
void stuck_watch(struct device_set *set);

/* Nobody is there who could be asked, or told: no more watch. */
void stuck_end(void);
#endif

#endif
