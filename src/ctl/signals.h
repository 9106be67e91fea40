/*
 * The signals with which somebody ends what goes on until then: Ctrl-C and the like.
 * From signals_catch() on they come only within signals_wait(), so that none is
 * missed, and end nothing by themselves.
 */
#ifndef UBLKD_SIGNALS_H
#define UBLKD_SIGNALS_H

/* From now on, until signals_release(); both can be nested. */
void signals_catch(void) __attribute__((cold));
void signals_release(void) __attribute__((cold));

/* The number of the one that has come since, or 0. */
int signals_end(void);

/*
 * From now on, until signals_release_stop(), a stop (Ctrl-Z) is let in by
 * signals_wait_or_resize() alone, and stops nothing by itself: signals_stop() tells
 * of it. For who has the terminal to give back before.
 */
void signals_catch_stop(void) __attribute__((cold));
void signals_release_stop(void) __attribute__((cold));
int signals_stop(void);

/*
 * Wait until fd can be read (-1: for nothing), or for so many ms (-1: for ever).
 * Returns as poll(): EINTR is such a signal; of the second one also that the terminal
 * has another size, or a stop.
 */
int signals_wait(int fd, int ms) __attribute__((cold));
int signals_wait_or_resize(int fd, int ms) __attribute__((cold));

#endif
