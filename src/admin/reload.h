/*
 * reload without a client: what it says is for the log.
 */
#ifndef UBLKD_RELOAD_H
#define UBLKD_RELOAD_H

#include "command.h"

/* Begin one, as root, without replace=yes. */
void reload_unasked(struct command_host *host);

#endif
