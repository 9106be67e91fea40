/*
 * What a line of the daemon says, as a line of words or as an object of JSON: its
 * kind, and keys with their values. It is split once for all of them.
 */
#ifndef UBLKD_FIELDS_H
#define UBLKD_FIELDS_H

#include <stddef.h>

#define FIELDS_LINE_MAX \
	32768 /* bytes of a line; objects are longer than words */
#define FIELDS_MAX 64

enum fields_frame {
	FIELDS_DATA, /* no frame */
	FIELDS_OK,
	FIELDS_ERR,
	FIELDS_WAIT,
	FIELDS_EVENT,
};

/* Which frame a line is. */
enum fields_frame fields_frame(const char *line) __attribute__((cold));

struct fields {
	const char *kind; /* "dev", "OK"; "" if it has none */
	unsigned count;
	struct field {
		const char *key, *value;
	} all[FIELDS_MAX];
	char text[FIELDS_LINE_MAX + 1]; /* in which they are */
};

/* Of a line that is broken there is what stands before. */
void fields_read(struct fields *fields, const char *line) __attribute__((cold));

/* The value of a key, "" if there is none. */
const char *fields_value(const struct fields *fields, const char *key)
	__attribute__((cold));

/*
 * The value of one key of a line, into room for size bytes, "" if it has none.
 * Returns value.
 */
const char *fields_find(const char *line, const char *key, char *value,
			size_t size) __attribute__((cold));

#endif
