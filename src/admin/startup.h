/*
 * The configuration file: admin commands, run one after the other before the
 * daemon says that it is ready.
 */
#ifndef UBLKD_STARTUP_H
#define UBLKD_STARTUP_H

#include "command.h"

/*
 * The file has been run, failure is NULL; or it ended at a line that failed,
 * and the failure's text begins with "FILE:LINE:COLUMN: ".
 */
typedef void startup_done(struct command_host *host,
			  const struct failure *failure);

/*
 * Read the host's configuration file and run it. One that keeps going is told of
 * no failure; the log is. done is called now or later, once.
 */
void startup_run(struct command_host *host, int keeps_going, startup_done *done)
	__attribute__((cold));

#endif
