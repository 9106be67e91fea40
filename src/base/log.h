/*
 * The log: to stderr in the foreground, to syslog as a daemon, and to the kernel's
 * log as long as there is no syslog.
 *
 * Both processes write it directly, and neither ever waits for it: a line
 * that cannot be taken at once is dropped and counted, and the count is told
 * with the next line that gets through. A server that waits for a log whose
 * disk it serves would never wake up.
 */
#ifndef UBLKD_LOG_H
#define UBLKD_LOG_H

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* The level of that name, or -1. */
int log_level_parse(const char *name);
const char *log_level_name(enum log_level level);

/* Begin to log as `name`, to syslog or to stderr. */
void log_open(const char *name, enum log_level level, int to_syslog);

/* One line, without its newline; control characters in it are escaped. */
void log_line(enum log_level level, const char *format, ...)
	__attribute__((cold, format(printf, 2, 3)));

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
