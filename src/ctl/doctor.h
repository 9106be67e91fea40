/*
 * doctor: whether this host is fit for ublkd. A table of checks, each of which says
 * one thing, or a few, and what to do.
 */
#ifndef UBLKD_DOCTOR_H
#define UBLKD_DOCTOR_H

#include <stdio.h>
#include <sys/types.h>

#include "still.h"

/* How bad a thing is, which is also the exit status of the worst. */
enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

enum doctor_daemon {
	DOCTOR_NO_DAEMON,
	DOCTOR_ANSWERS,
	DOCTOR_SILENT,
	DOCTOR_DENIED, /* to whoever asks */
};

/* What the checks look at; a test makes one of its own. */
struct doctor {
	const char *root;   /* as for host_read() */
	const char *folder; /* ublkd's state folder */
	enum doctor_daemon daemon;
	char greeting[100]; /* of one that answers: "ublkd 0.1.0, pid 812" */
	pid_t server;	    /* 0: none */
	int uring_error;    /* errno of making a ring, or 0 */
	int ev_major, ev_minor;
	struct still still;

	FILE *out;
	const char *name; /* of the check that speaks */
	enum doctor_level worst;
};

struct check {
	const char *name;
	void (*look)(struct doctor *doctor);
};

/* Ends with a NULL name. */
extern const struct check check_table[];

/* What the checks say: a line, or more with the same indentation. */
void doctor_say(struct doctor *doctor, enum doctor_level level,
		const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Run the checks. Returns the worst level. */
enum doctor_level doctor_check(struct doctor *doctor) __attribute__((cold));

/* Find out about this host, run the checks. Returns the exit status. */
int doctor_run(const char *socket, const char *folder) __attribute__((cold));

/* Kernels of which faults are known: tells of those of this release. */
void doctor_kernel_faults(struct doctor *doctor, const char *release);

/* How this distribution brings the driver, by its os-release; never NULL. */
const char *doctor_driver_advice(const char *os_release);

#endif
