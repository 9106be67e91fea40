/* The ublk driver's feature bits, by name. */
#ifndef UBLKD_FEATURE_H
#define UBLKD_FEATURE_H

#include <stddef.h>
#include <stdint.h>

struct feature {
	const char *name;
	uint64_t bit;
	int required; /* without it no device can be served */
};

/* Ends with a NULL name. */
extern const struct feature feature_table[];

/* Write the names of the bits that are missing, with blanks between them. */
void features_missing(uint64_t have, char *text, size_t size);

/* The name of a required bit that is missing, or NULL. */
const char *features_required_missing(uint64_t have);

/*
 * Whether the driver aborts a dead server's I/O when it closes. Those that do have
 * UPDATE_SIZE. Older ones do it in the cancelling of the server's commands, which
 * is a race with requests that are on their way to it (see keeper/rings.h).
 */
int features_abort_on_close(uint64_t have);

#endif
