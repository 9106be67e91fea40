/*
 * What both processes do for themselves at start, so that they go on when the
 * host's memory is short: a block server that waits for memory that is being
 * reclaimed through itself deadlocks the host.
 */
#ifndef UBLKD_PROCESS_H
#define UBLKD_PROCESS_H

/*
 * oom_score_adj -1000, PR_SET_IO_FLUSHER, memory locked as it is touched. What
 * is denied is told to the log and left out.
 */
void process_protect(void);

/* Raise RLIMIT_NOFILE as far as `wanted`, or as far as it goes. */
void process_allow_files(unsigned long wanted);

/* What a PR_SET_NAME shows in ps and /proc/PID/comm; at most 15 bytes. */
void process_set_name(const char *name);

#endif
