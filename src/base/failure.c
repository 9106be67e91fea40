#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char names[][12] = {
	[SYMBOL_NONE] = "none",
	[SYMBOL_SYNTAX] = "syntax",
	[SYMBOL_UNKNOWN] = "unknown",
	[SYMBOL_ARG] = "arg",
	[SYMBOL_RANGE] = "range",
	[SYMBOL_DENIED] = "denied",
	[SYMBOL_NOTFOUND] = "notfound",
	[SYMBOL_EXISTS] = "exists",
	[SYMBOL_BUSY] = "busy",
	[SYMBOL_STATE] = "state",
	[SYMBOL_LIMIT] = "limit",
	[SYMBOL_UNSUPPORTED] = "unsupported",
	[SYMBOL_IO] = "io",
	[SYMBOL_TIMEOUT] = "timeout",
	[SYMBOL_SKIPPED] = "skipped",
	[SYMBOL_INTERNAL] = "internal",
};

const char *symbol_name(enum symbol symbol)
{
	return names[symbol];
}

int failure_set(struct failure *failure, enum symbol symbol, int error,
		const char *arg, const char *format, ...)
{
	va_list args;

	failure->symbol = symbol;
	failure->error = abs(error);
	failure->word = 0;
	snprintf(failure->arg, sizeof(failure->arg), "%s", arg ? arg : "");
	va_start(args, format);
	vsnprintf(failure->text, sizeof(failure->text), format, args);
	va_end(args);
	return -1;
}

int failure_no_memory(struct failure *failure)
{
	return failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
			   "out of memory");
}

enum symbol failure_symbol(int error)
{
	switch (abs(error)) {
	case EPERM:
	case EACCES:
		return SYMBOL_DENIED;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return SYMBOL_NOTFOUND;
	case EEXIST:
		return SYMBOL_EXISTS;
	case EBUSY:
		return SYMBOL_BUSY;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ENOSPC:
	case EFBIG:
		return SYMBOL_LIMIT;
	case EOPNOTSUPP:
	case ENOSYS:
		return SYMBOL_UNSUPPORTED;
	case ETIMEDOUT:
		return SYMBOL_TIMEOUT;
	default:
		return SYMBOL_IO;
	}
}

/* strerrorname_np() is glibc's alone. */
const char *failure_errno_name(int error)
{
	static char number[16];
	static const struct {
		int error;
		char name[12];
	} known[] = {
#define NAME(e) { e, #e }
		NAME(EACCES),	 NAME(EAGAIN),	NAME(EBADF),	  NAME(EBUSY),
		NAME(ECANCELED), NAME(EEXIST),	NAME(EFAULT),	  NAME(EFBIG),
		NAME(EINTR),	 NAME(EINVAL),	NAME(EIO),	  NAME(EISDIR),
		NAME(ELOOP),	 NAME(EMFILE),	NAME(ENFILE),	  NAME(ENODEV),
		NAME(ENOENT),	 NAME(ENOMEM),	NAME(ENOSPC),	  NAME(ENOSYS),
		NAME(ENOTDIR),	 NAME(ENXIO),	NAME(EOPNOTSUPP), NAME(EPERM),
		NAME(EPIPE),	 NAME(ERANGE),	NAME(EREMOTEIO),  NAME(EROFS),
		NAME(ETIMEDOUT), NAME(ETXTBSY),
#undef NAME
	};
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].error == error)
			return known[i].name;
	snprintf(number, sizeof(number), "%d", error);
	return number;
}
