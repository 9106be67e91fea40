/* One command of ublkctl: its own, or one of the daemon's. */
#ifndef UBLKD_RUN_H
#define UBLKD_RUN_H

/* Exit statuses. */
enum { RUN_OK, RUN_ERR, RUN_USAGE, RUN_SILENT };

struct run {
	const char *socket;
	const char *state; /* ublkd's state folder */
	int json;	   /* answers are objects */
};

/*
 * Run it and print what comes of it. The words, behind which there is a NULL, may be
 * put in another order. Returns the exit status.
 */
int run_words(const struct run *run, int count, char **words)
	__attribute__((cold));

/* Say what is wrong with the words; returns RUN_USAGE. */
int run_fail_usage(const char *what) __attribute__((cold));

#endif
