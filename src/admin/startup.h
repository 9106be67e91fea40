/*
 * The configuration file: admin commands, run one after the other before the
 * daemon says that it is ready.
 */
#ifndef UBLKD_STARTUP_H
#define UBLKD_STARTUP_H

#include "command.h"

/*
 * The file has been run, failure is NULL; or it ended at a line that failed,
 * and the failure's text begins with "FILE:LINE: ".
 */
typedef void startup_done(struct command_host *host,
			  const struct failure *failure);

/* Read the file and run it. done is called now or later, once. */
void startup_run(struct command_host *host, const char *path,
		 startup_done *done);

#endif
