/*
 * top: what each device does, again and again: requests and bytes a second, how
 * long they take, and how many are there.
 */
#ifndef UBLKD_TOP_H
#define UBLKD_TOP_H

#include <stdint.h>
#include <stdio.h>

/* What a device has done until now, from the lines of "stats". */
struct top_device {
	uint32_t id, in_flight;
	char name[80];
	uint64_t reads, writes, others; /* requests */
	uint64_t read_bytes, write_bytes;
	uint64_t errors;
	uint64_t time; /* us that all of them took */
};

/* In the order of their numbers. */
struct top_sample {
	struct top_device *devices;
	unsigned count;
	double at; /* s, of the monotonic clock */
};

/* A line of the answer. Returns 0 or -ENOMEM. */
int top_take(struct top_sample *sample, const char *line) __attribute__((cold));

void top_free(struct top_sample *sample);

/*
 * Print what was done between two samples, the busiest first, in no more lines and
 * columns than there are (0: any number). `end` is behind each line.
 */
void top_print(const struct top_sample *before, const struct top_sample *now,
	       unsigned lines, unsigned columns, const char *end, FILE *out)
	__attribute__((cold));

struct top_options {
	int batch;	/* no terminal: one block behind the other */
	uint64_t count; /* of looks; 0: until somebody ends it */
	double every;	/* s */
};

/* The words, "top" and its options. Returns 0, or -1 with *why. */
int top_read(struct top_options *options, int count, char **words,
	     const char **why) __attribute__((cold));

/*
 * Look and print until that is ended by a signal, the key q or the count. The
 * terminal is then as it was. Returns 0; 1, and *refusal is the ERR with which the
 * daemon answers; or a negative errno when it does not.
 */
int top_run(const struct top_options *options, const char *socket,
	    const char **refusal) __attribute__((cold));

#endif
