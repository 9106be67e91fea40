/*
 * Commands without a client: one at a time, as root, to the host of fake.h.
 */
#ifndef UBLKD_TEST_SAY_H
#define UBLKD_TEST_SAY_H

#include <stddef.h>

struct said {
	char text[65536]; /* the answer to the last one, as far as it has come */
	int done, failed;
};

extern struct said said;

/* Returns whether the answer is there, and is OK. */
int say(const char *line);
int say_bytes(const char *line, size_t length);

#endif
