/*
 * What both processes do for themselves at start, so that they go on when the
 * host's memory is short: a block server that waits for memory that is being
 * reclaimed through itself deadlocks the host.
 */
#ifndef UBLKD_PROCESS_H
#define UBLKD_PROCESS_H

#include "log.h"

/*
 * oom_score_adj -1000, PR_SET_IO_FLUSHER, memory locked as it is touched, and
 * process_mounts() held. What is denied is left out, and told to the log at that
 * level: a server is denied nothing that its keeper was not.
 */
void process_protect(enum log_level level) __attribute__((cold));

/*
 * Our mount namespace, as a descriptor that stays open; -1 where /proc does not
 * tell. When the last process of a namespace exits, the kernel unmounts what is
 * mounted there alone, and that before it closes the process's files. If a disk
 * is mounted that this very process serves, both would wait for each other, with
 * all locks and sockets of the process. With a descriptor the namespace is a file
 * like these, and the unmount comes after them. Every ring holds it as well: then
 * a worker of the kernel's unmounts, when the rings are gone and with them the
 * driver's commands, so that the next server can take the disk over.
 */
int process_mounts(void);

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
