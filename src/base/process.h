/*
 * What both processes do for themselves at start, so that they go on when the
 * host's memory is short: a block server that waits for memory that is being
 * reclaimed through itself deadlocks the host.
 */
#ifndef UBLKD_PROCESS_H
#define UBLKD_PROCESS_H

#include "log.h"

/*
 * oom_score_adj -1000, PR_SET_IO_FLUSHER, memory locked as it is touched. What
 * is denied is left out, and told to the log at that level: a server is denied
 * nothing that its keeper was not.
 */
void process_protect(enum log_level level);

/*
 * Warn where file systems may be mounted that nobody but this process and its
 * server has: in a mount namespace of its own, to which nothing comes from
 * others. The end of the last process of a namespace unmounts them, and waits for
 * their disks: nobody serves those then.
 */
void process_look_at_mounts(void);

/* A child of a protected process is none: the OOM killer may have it. */
void process_be_ordinary(void);

/*
 * Whoever started this process may have left it limits and timers: none of them
 * kills it. What goes beyond RLIMIT_FSIZE is EFBIG to the one request or command
 * that does, and the limit is told to the log at that level: a server has its
 * keeper's.
 */
void process_survive_limits(enum log_level level);

/* Raise RLIMIT_NOFILE as far as `wanted`, or as far as it goes. */
void process_allow_files(unsigned long wanted);

/* What a PR_SET_NAME shows in ps and /proc/PID/comm; at most 15 bytes. */
void process_set_name(const char *name);

#endif
