/*
 * Options as data: what key=value pairs a command or a target takes.
 *
 * `add`, `help` and the manual come from the same tables.
 */
#ifndef UBLKD_OPTION_H
#define UBLKD_OPTION_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "syntax.h"

enum option_type {
	OPTION_SIZE, /* bytes, see syntax_size(); its one choice is 0 */
	OPTION_NUMBER,
	OPTION_TIME,   /* microseconds, with us, ms or s */
	OPTION_RATE,   /* a probability in billionths: 0.01 or 1% */
	OPTION_FLAG,   /* yes or no */
	OPTION_NAME,   /* letters, digits and . _ - : at most 63 of them */
	OPTION_CHOICE, /* one of choices; its index is the number */
	OPTION_PATH,   /* from the root, or one of choices if it has some */
	OPTION_LIST,   /* all, or some of choices: a bit for each */
	OPTION_URI,    /* a scheme, "://", and at most OPTION_PATH_MAX bytes */
	OPTION_SOURCE, /* a path from the root, or such a URI */
	OPTION_TEXT, /* at most OPTION_PATH_MAX bytes without control characters */
};

struct option {
	const char *name;
	enum option_type type;
	int required;
	const char *fallback; /* the default, as it would be typed, or NULL */
	uint64_t min, max;    /* where it has a range, both included */
	const char *const *choices; /* ends with NULL */
	const char *help;
};

#define OPTION_SIZE_MAX (7ULL << 60) /* what a disk can have, rounded */

#define OPTION_MAX 32 /* options in one table */

#define OPTION_IS_PATH	UINT64_MAX /* the number of a path, and of a URI */
#define OPTION_PATH_MAX 400	   /* bytes */

struct option_value {
	int given;
	uint64_t number;  /* what the type says; for a path OPTION_IS_PATH */
	const char *text; /* as typed; not owned */
};

/* Set every value to its default. The table ends with a NULL name. */
void option_defaults(const struct option *table, struct option_value *values);

/* The index of an option named by length bytes at name, or -1. */
int option_find(const struct option *table, const char *name, size_t length);

/*
 * Read text as the value of *option. A second value for the same option is a
 * mistake. Returns 0, or -1 with *failure filled.
 */
int option_read(const struct option *option, struct option_value *value,
		const char *text, struct failure *failure)
	__attribute__((cold));

/* Check that every required option was given. Returns 0 or -1. */
int option_check_required(const struct option *table,
			  const struct option_value *values,
			  struct failure *failure);

/* What the key=value words of a line can give a value to. */
struct option_reader {
	const char *owner; /* of the options, as a failure names it */
	const char *topic; /* 'help TOPIC' lists them */
	struct option_set {
		const struct option *table;
		struct option_value *values; /* as many, to be filled */
	} sets[3];			     /* ends with a NULL table */
};

/*
 * Read the words of a line from the index `first` (at least 1) on: defaults, then
 * what is given. Returns 0; -1 with *failure filled; or the index of the first
 * word that is no key=value after max_words of that kind.
 */
int option_read_line(const struct option_reader *reader,
		     const struct syntax_line *line, int first, int max_words,
		     struct failure *failure) __attribute__((cold));

/* Whether min and max mean something for it. */
int option_has_range(const struct option *option);

/* Whether the value says the same as the option's default. */
int option_is_default(const struct option *option,
		      const struct option_value *value);

/* Write a number as this option would be typed: 64M or 128. */
void option_format(const struct option *option, char *text, size_t size,
		   uint64_t number);

/*
 * Write key=value as one word of a line that option_read() reads as the same
 * value, always in the same way. The text is cut at size; returns the length
 * that it wanted.
 */
size_t option_write(const struct option *option,
		    const struct option_value *value, char *text, size_t size)
	__attribute__((cold));

/*
 * What can stand there, as help shows it: SIZE, N, TIME, RATE, yes|no, NAME,
 * the choices with | between them, or all|CHOICE,CHOICE...
 */
void option_format_type(const struct option *option, char *text, size_t size)
	__attribute__((cold));

#endif
