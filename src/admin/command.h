/*
 * Commands: the table of verbs, and one request from its line to its reply.
 *
 * The admin socket and the configuration file both run requests; they differ
 * in where the lines of the reply go.
 */
#ifndef UBLKD_COMMAND_H
#define UBLKD_COMMAND_H

#include <sys/types.h>

#include "device/life.h"
#include "base/failure.h"
#include "base/option.h"
#include "base/syntax.h"

/* Compiled for size, with all that nobody else calls. */
#define COLD __attribute__((cold))

#define COMMAND_PROTO 1 /* of what is said on the admin socket */

struct changes;
struct request;

/* What commands act on. */
struct command_host {
	struct device_set devices;
	const char *config;	 /* the path of the configuration file, as of
			       config_gather(); "": there is none */
	struct request *waiting; /* for the driver's features */
	struct request *leaving; /* have asked for the shutdown */
	struct request *upgrade; /* has asked for the upgrade, or NULL */
	struct loop_timer upgrade_timer;
	struct changes *changes; /* of devices (watch.h); NULL: nobody watches */
	int reloads;		 /* the configuration is read again */
	int stopping;		 /* every device is being deleted */
	int keeper_gone;
};

enum command_access {
	ACCESS_READ,
	ACCESS_WRITE, /* changes something: logged, needs the keeper */
	ACCESS_ROOT,  /* and names a path or a program: uid 0 only */
};

/* What one connection has set. */
struct session {
	int stop_on_error;
	int failed;	      /* a command has, since on-error stop */
	int quits;	      /* nothing more is to be read from it */
	int json;	      /* an object a line */
	int reads_only;	      /* whoever it is */
	int prompts;	      /* when nothing is under way */
	int follows;	      /* what a device records (trace.h): */
	uint32_t followed;    /* the device's number, */
	uint64_t serial;      /* by which it is known from later ones */
	uint64_t next_event;  /* and what has not been told */
	unsigned watched;     /* classes of changes (watch.h), */
	uint64_t next_change; /* and which has not been told */
};

/* How far several devices of one command are deleted. */
struct deletion {
	unsigned pending, deleted, failed;
	enum symbol symbol; /* of the last one that has */
};

/* Whether a request is a line of the configuration. */
enum configures {
	CONFIGURES_NOT,
	CONFIGURES_START, /* at the start, when what it makes may be there */
	CONFIGURES_RELOAD,
};

struct request {
	struct command_host *host;
	struct session *session;
	enum configures configures;
	uid_t uid; /* of the peer */
	pid_t pid;
	struct syntax_line line;
	const struct command *command;
	enum command_access access; /* that it needs */
	struct option_value values[OPTION_MAX];
	struct request *next;	  /* in the host's list of waiting */
	uint64_t cursor;	  /* of a listing: where it goes on, */
	uint64_t seq;		  /* and the devices' when it began */
	unsigned busy;		  /* devices in use that it has met */
	struct deletion deletion; /* of a del of several */

	/* Take one line of the reply, its newline included. */
	void (*emit)(struct request *request, const char *text, size_t length);
	/* The reply is complete; failure is NULL after OK. */
	void (*done)(struct request *request, const struct failure *failure);
	/* What a command that answers later, with a listing, has waited for is
	   there: command_continue() is to be called from now on. */
	void (*go_on)(struct request *request);

	/* What such a command has; drop frees it if nobody takes the rest. */
	void *work;
	void (*drop)(struct request *request);
};

struct command {
	const char *verb;
	enum command_access access;
	const char *words; /* what follows the verb, as help shows it */
	int max_words;
	const struct option *options; /* NULL: takes its own */
	const char *help;
	/*
	 * Replies with request_ok(), now or later, or later with request_fail();
	 * or returns -1 with *failure filled, which is the reply then. A long
	 * listing returns 1 while there is more, and is called again when its
	 * lines have been taken; else 0.
	 */
	int (*run)(struct request *request, struct failure *failure);
};

/* All commands, ending with a NULL verb. */
extern const struct command command_table[];

const struct command *command_find(const char *verb);

/* There is no command of that name. Returns -1, *failure is filled. */
int command_fail_unknown(const char *verb, struct failure *failure);

/*
 * Run the request's line, which has at least one word. done is called now or
 * later, once. Returns 1 if the command wants to be continued.
 */
COLD int command_run(struct request *request);

/*
 * Whether the request's line could be one of a configuration, as far as that can
 * be told without looking at a host and its devices. Returns 0, or -1 with *failure filled.
 */
int command_check(struct request *request, struct failure *failure);

/* Go on with a listing. Returns 1 if it wants to be called again. */
COLD int command_continue(struct request *request);

/* Begin to delete every device and refuse new work; whoever asked for it. */
void command_stop_all(struct command_host *host);

/*
 * Prepare to take over the device of a MESSAGE_DEVICE; a file that nobody has
 * open is opened once it is taken over. Descriptors that are taken are set to
 * -1. Returns 0, or -1 with *failure filled: then it is shown as quiesced, is
 * tried again, and can be deleted, if there is memory for that.
 */
COLD int command_adopt(struct command_host *host, const struct message *message,
		       int *fds, int fd_count, struct failure *failure);

/*
 * What the request asks for changes something, which its command as such does not:
 * it is logged, and needs what a command with ACCESS_WRITE needs. Returns 0, or -1
 * with *failure filled.
 */
int command_changes(struct request *request, struct failure *failure)
	__attribute__((cold));

/* The upgrade that somebody asked for has failed, or is done (NULL). */
void command_answer_upgraded(struct command_host *host,
			     const struct failure *failure);

/* The keeper is gone: what waits for it is answered, the rest served on. */
void command_keeper_gone(struct command_host *host);

/* Every device is gone: answer who asked for the shutdown. */
void command_answer_leaving(struct command_host *host);

/* The keeper's answer to a request of `features`, first come first served. */
void command_features_answer(struct command_host *host,
			     const struct message *message);

/* One data line: a record word, then key=value pairs. */
COLD void request_print(struct request *request, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* OK; the format gives " key=value" pairs, each with its blank, or "". */
COLD void request_ok(struct request *request, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

COLD void request_fail(struct request *request, const struct failure *failure);

/* WAIT: the command is still under way. */
COLD void request_wait(struct request *request);

/* The same, with no more than a text. */
COLD void request_refuse(struct request *request, enum symbol symbol,
			 const char *text);

#define REQUEST_LINE_MAX 8192 /* bytes of one line of a reply */

#endif
