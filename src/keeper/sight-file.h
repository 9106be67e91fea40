/* The file of sight (base/sight.h), which the keeper makes for its servers. */
#ifndef UBLKD_SIGHT_FILE_H
#define UBLKD_SIGHT_FILE_H

/*
 * Open the file in the folder (a descriptor), with all that an earlier server has
 * written; a new one if there is none, or none of this version. Where the folder
 * is no tmpfs the file is one of memory without a name, and *why says so; else
 * *why is NULL. The head is allocated. Returns a descriptor or a negative errno.
 */
int sight_file_make(int folder, const char **why) __attribute__((cold));

/* Nobody needs it any more. */
void sight_file_remove(int folder);

#endif
