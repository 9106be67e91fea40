/*
 * The keeper: starts the server, supervises it, and runs the driver's control
 * commands for it. It never opens a char device and never touches I/O.
 */
#ifndef UBLKD_KEEPER_H
#define UBLKD_KEEPER_H

#include "base/log.h"

/* In the environment of a program that goes on: is_unrecorded. */
#define KEEPER_UNRECORDED "UBLKD_UNRECORDED"

/* The same of config, which that program gets by no option. */
#define KEEPER_CONFIG "UBLKD_CONFIG"

/* ... and of the read-only socket. */
#define KEEPER_READER "UBLKD_READER"

struct keeper_options {
	const char *program; /* the path that was started, for an upgrade */
	const char *socket;
	const char *reader; /* the read-only socket, or NULL */
	const char *state;  /* folder */
	const char *names;  /* folder of names, see state.h, or NULL */
	const char *config; /* the configuration file, or with a "-" in front
			       one that may be missing; "": none */
	int keeps_going;    /* after a line of it that fails */
	int is_configured;  /* an earlier program has run it */
	enum log_level log_level;
	int foreground;
	int stop_timeout;     /* s that a stop waits for requests in flight */
	int delete_leftovers; /* that nothing is noted of */
	int is_plain;	      /* --hot=no, for the server */
	int is_unrecorded;    /* nothing is recorded of requests */
	int borrowed_socket;  /* a service manager's: never removed */
	int ready_fd;	      /* told "" when ready or a sentence of failure;
				   -1 where nobody waits */
	int newline_fd; /* --ready-fd: told a newline when ready, or nothing */
	int is_spared;	/* by the last kill at shutdown, see ublkd(8) */
};

/*
 * Run until SIGTERM, SIGINT or `shutdown`. Returns the exit status: 0 after an
 * orderly end, 1 if it could not start.
 */
int keeper_run(const struct keeper_options *options) __attribute__((cold));

#endif
