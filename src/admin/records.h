/*
 * The records of what is said on the admin socket: which keys each has, and what
 * their values are. JSON is made by this table, and the manual's is the same.
 */
#ifndef UBLKD_RECORDS_H
#define UBLKD_RECORDS_H

#include <stddef.h>

enum record_type {
	RECORD_UNKNOWN = 0, /* there is no such key */
	RECORD_TEXT = ' ',
	RECORD_NUMBER = '#',
	RECORD_TIME = '~', /* with its unit; in JSON a number of microseconds */
	RECORD_FLAG = '?', /* yes or no; in JSON true or false */

	/* What there can be several of: in JSON an array, also of one. */
	RECORD_WORDS = ',',   /* a,b */
	RECORD_FLAGS = '|',   /* A|B */
	RECORD_NUMBERS = '/', /* 1/2 */
	RECORD_CALLS = '<',   /* a < b */
};

/*
 * A line for each record: its word, then its keys, each with the character of its
 * type behind it, and a blank.
 */
extern const char record_table[];

/*
 * The keys of a record: what record_type() wants. An empty one for a word that is
 * no record. Both are for as long as the program runs.
 */
const char *record_find(const char *word, size_t length);

enum record_type record_type(const char *keys, const char *key, size_t length);

#endif
