/*
 * A line of a reply as an object of JSON: see `format` in ublkd-protocol(7).
 */
#ifndef UBLKD_JSON_H
#define UBLKD_JSON_H

#include <stddef.h>

/* Takes the object, in pieces. */
typedef void json_emit(void *context, const char *text, size_t length);

#ifdef WITHOUT_JSON
static inline void json_line(char *line, size_t length, json_emit *emit,
			     void *context)
{
	emit(context, line, length);
}
#else
/*
 * Whatever is in the line, which is spoilt, the object is UTF-8 and well-formed. A
 * byte behind the line is the caller's to give as well. No newline follows.
 */
__attribute__((cold)) void json_line(char *line, size_t length, json_emit *emit,
				     void *context);
#endif

#endif
