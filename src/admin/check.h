/*
 * What is wrong in a configuration file, without doing anything: for the option
 * --check-config, and, in a helper, for the command check.
 */
#ifndef UBLKD_CHECK_H
#define UBLKD_CHECK_H

#include <stdio.h>

#include "base/failure.h"

#define CHECK_TOLD 50 /* mistakes that are written; the others are counted */

struct check {
	const char *path; /* as of config_gather() */
	FILE *out;
	int as_records; /* data lines, in place of FILE:LINE:COLUMN: TEXT */
	unsigned mistakes, devices;
};

/*
 * Check the file, and write its mistakes. Returns 0; or -1 with *failure filled,
 * when its text cannot be had.
 */
int check_file(struct check *check, struct failure *failure);

/* The same for a person: mistakes go to stderr. Returns the exit status. */
int check_run(const char *path);

#endif
