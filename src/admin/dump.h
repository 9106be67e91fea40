/*
 * The devices that there are, as a configuration.
 */
#ifndef UBLKD_DUMP_H
#define UBLKD_DUMP_H

#include "add.h"
#include "command.h"

#define DUMP_TURN 16 /* devices written before others get a turn */

/* Whether it is part of that: one on its way in or out is not. */
int dump_has(const struct device *device);

#endif
