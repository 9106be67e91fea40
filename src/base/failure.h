/*
 * Why a command failed, in the words that its sender gets to read.
 *
 * Functions that can fail for a reason which a user can act upon fill one of
 * these; those below them return a negative errno.
 */
#ifndef UBLKD_FAILURE_H
#define UBLKD_FAILURE_H

enum symbol {
	SYMBOL_NONE,
	SYMBOL_SYNTAX,
	SYMBOL_UNKNOWN,
	SYMBOL_ARG,
	SYMBOL_RANGE,
	SYMBOL_DENIED,
	SYMBOL_NOTFOUND,
	SYMBOL_EXISTS,
	SYMBOL_BUSY,
	SYMBOL_STATE,
	SYMBOL_LIMIT,
	SYMBOL_UNSUPPORTED,
	SYMBOL_IO,
	SYMBOL_TIMEOUT,
	SYMBOL_SKIPPED,
	SYMBOL_INTERNAL,
};

struct failure {
	enum symbol symbol;
	int error;	/* positive errno, 0 where none is behind it */
	char arg[64];	/* the word at fault, "" where none is */
	int word;	/* which one of its line that is, 0: not known */
	char text[400]; /* one sentence: object, operation, reason */
};

/* The symbol's lowercase name; in ERR lines it stands in lower case too. */
const char *symbol_name(enum symbol symbol);

/*
 * Fill *failure. error is an errno of either sign or 0, arg may be NULL.
 * Returns -1, so that a caller can return it at once.
 */
int failure_set(struct failure *failure, enum symbol symbol, int error,
		const char *arg, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* There is no memory for it. Returns -1, *failure is filled. */
int failure_no_memory(struct failure *failure);

/* The name of an errno: "ENOSPC", or its number where it has none here. */
const char *failure_errno_name(int error);

/* The symbol that fits an errno (of either sign) best. */
enum symbol failure_symbol(int error);

#endif
