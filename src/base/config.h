/*
 * The configuration file with what it includes, as one text.
 *
 * A line of the file is a command, or "include PATH", where the last part of the
 * path may be a pattern. Reading can hang with a disk, so a helper gathers the
 * text (config_gather()), and who runs the commands takes its lines, each with
 * its place (config_next()).
 */
#ifndef UBLKD_CONFIG_H
#define UBLKD_CONFIG_H

#include <stdio.h>

#include "failure.h"
#include "message.h"
#include "syntax.h"

#define CONFIG_DEPTH 8		/* files that include each other */
#define CONFIG_MAX   (4U << 20) /* bytes of all */

/*
 * Write what is in the file to out. A path behind a "-" may lack its file, which
 * is as good as an empty one. Returns 0, or -1 with *failure filled, whose text
 * begins with the place.
 */
int config_gather(const char *path, FILE *out, struct failure *failure)
	__attribute__((cold));

/* Whether a line includes other files; it is split into *line if it can be. */
int config_includes(const char *text, size_t length, struct syntax_line *line);

/* The path without the "-". */
const char *config_path(const char *path);

/*
 * A helper's answer to what was to be done with the file: 0, or -1 and a failure,
 * go into the message, and what the helper returns; and come out of the answer,
 * as 0 or -1 with *failure filled.
 */
int config_tell(struct message *message, int result,
		const struct failure *failure) __attribute__((cold));
int config_told(const struct message *answer, struct failure *failure)
	__attribute__((cold));

struct config {
	char *text; /* that was gathered */
	size_t length, at;
	const char *path; /* of the file of the present line, */
	unsigned number;  /* and which one it is there, from 1 */
};

/*
 * Take what was gathered into a file of memory, which stays the caller's. Returns
 * 0 or a negative errno.
 */
int config_load(struct config *config, int fd) __attribute__((cold));

void config_free(struct config *config);

/*
 * The next line, without its LF; NULL behind the last one. It is valid until
 * config_free().
 */
const char *config_next(struct config *config, size_t *length)
	__attribute__((cold));

/* Bytes of a line before the word that a failure is about. */
size_t config_find(const struct syntax_line *line,
		   const struct failure *failure);

/*
 * Put the place of the present line in front of a failure's text:
 * "FILE:LINE:COLUMN: ". line is as it was split.
 */
void config_locate(const struct config *config, const struct syntax_line *line,
		   struct failure *failure) __attribute__((cold));

#endif
