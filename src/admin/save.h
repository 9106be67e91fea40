/*
 * save: the configuration file is written anew, in a helper.
 */
#ifndef UBLKD_SAVE_H
#define UBLKD_SAVE_H

#include "base/failure.h"

/*
 * Replace the file at path, at once or not at all, by the text in the descriptor;
 * its mode and owner stay, and the former text stays in PATH.old. Unless `flat`, a
 * file that includes others is left as it is. Returns 0, or -1 with *failure filled.
 */
int save_file(const char *path, int text, int flat, struct failure *failure);

#endif
