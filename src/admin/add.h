/*
 * The command that makes a device: read with the tables of its options, and
 * written from them again.
 */
#ifndef UBLKD_ADD_H
#define UBLKD_ADD_H

#include "base/option.h"
#include "device/device.h"

/* An add line as it was read. */
struct add {
	const struct target_ops *target;
	struct option_value common[OPTION_MAX]; /* their texts are the line's */
	struct option_value values[OPTION_MAX]; /* of the target's options */
	struct device_spec spec;
};

/* Room for what add_format() writes: more than all options can take. */
#define ADD_TEXT_MAX 8192u

/* Read a whole `add`. Returns 0, or -1 with *failure filled. */
int add_read(const struct syntax_line *line, struct add *add,
	     struct failure *failure);

/*
 * The same, and say also what would be wrong with it on any host. Returns 0, or
 * -1 with *failure filled.
 */
int add_check(const struct syntax_line *line, struct add *add,
	      struct failure *failure);

/* As add_read(), of a device's words, to which the texts in *line point. */
int add_read_words(const char *words, struct syntax_line *line, struct add *add,
		   struct failure *failure);

/*
 * Write the command that makes the device as it is now, without what is the
 * default: the same text for all who say the same. text has ADD_TEXT_MAX bytes.
 * Returns 0, or -1 with *failure filled.
 */
int add_format(const struct device *device, char *text, size_t size,
	       struct failure *failure);

#endif
