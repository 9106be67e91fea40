/*
 * The names that users gave their devices, for the rule of udev that makes the
 * links in /dev/ublk/by-name (contrib/udev): a file ublkbN for each disk that has
 * one, which is there before the kernel tells udev of the disk.
 *
 * The folder is the host's, like the devices' numbers: all its ublkds share it.
 */
#ifndef UBLKD_NAMES_H
#define UBLKD_NAMES_H

#include <stdint.h>

#define NAMES_FOLDER "/run/ublkd-names" /* the rule names it, too */

/*
 * Write down the name that the command `words` gives device `id`, or forget what
 * was written if it gives none. The folder is made if it is missing; NULL:
 * nothing is written. A failure is told to the log alone: no device depends on it.
 */
void names_write(const char *folder, uint32_t id, const char *words);

/* Forget it. Harmless if nothing was written. */
void names_remove(const char *folder, uint32_t id);

#endif
