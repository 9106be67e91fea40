/*
 * Requests that wait for longer than their device's stuck-after: the log, and the
 * device's recorder, hear of the first, with a verdict, and of the end of it.
 *
 * The server looks once a second while there is something to do, and not when it
 * is idle: by the keeper's watch (io/turns.h) it hears of the next request.
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
/* There may be requests from now on. Harmless at any time. */
void stuck_watch(struct device_set *set);

/* Nobody is there who could be asked, or told: no more watch. */
void stuck_end(void);
#endif

#endif
