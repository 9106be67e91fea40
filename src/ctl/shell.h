/*
 * ublkctl shell: commands that are edited, kept and completed, by libedit; what may
 * follow the beginning of a line is asked from the daemon.
 */
#ifndef UBLKD_SHELL_H
#define UBLKD_SHELL_H

#include "run.h"

/*
 * Run lines of the standard input as commands until it ends, of so many words on the
 * command line. Returns the exit status: that of the last command.
 */
int shell_run(const struct run *run, int count) __attribute__((cold));

#endif
