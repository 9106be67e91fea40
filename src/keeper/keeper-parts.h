/*
 * Between the files of the keeper, and for nobody else: keeper.c starts the
 * server and supervises it, upgrade.c goes on as another program.
 */
#ifndef UBLKD_KEEPER_PARTS_H
#define UBLKD_KEEPER_PARTS_H

#include <ev.h>
#include <signal.h>
#include <sys/types.h>

#include "base/channel.h"
#include "helper.h"
#include "jobs.h"
#include "keeper.h"
#include "listener.h"
#include "base/proc.h"
#include "rings.h"
#include "state.h"
#include "takeover.h"
#include "watchdog.h"

/* A new program that is tried as a server before the keeper becomes it. */
struct candidate {
	struct proc process;
	char program[MESSAGE_TEXT];
	struct channel channel;
	ev_timer patience;
};

/*
 * What the server has been asked for whether it may leave. Before an upgrade it
 * goes on: the new program that is tried gets what the devices hold, and could
 * not end while the server of such a file is silent.
 */
enum purpose { FOR_NOTHING, BEFORE_UPGRADE, FOR_UPGRADE, FOR_RESTART };

struct keeper {
	const struct keeper_options *options;
	struct ev_loop *loop;
	struct listener listener;
	struct state state;
	int handover; /* what a server without a keeper answers on */
	struct takeover takeover; /* a server that is to leave */
	struct helpers helpers;
	struct jobs jobs;
	struct rings rings; /* of the server */
	struct channel channel;
	struct watchdog watchdog;
	struct proc server;
	pid_t last_server;
	int server_status; /* of the last one, as waitpid gave it */
	int serving;	   /* it has said that it is ready */
	struct candidate candidate;
	enum purpose asked;
	unsigned starts; /* of servers */
	ev_tstamp started;
	double delay;
	int stopping;
	int leaving;		/* and the devices stay, for the next keeper */
	const char *config;	/* for the next server to run, or NULL */
	int succeeds;		/* a living server, which has run that; until
				   the next one is ready */
	int adopted;		/* devices of an earlier ublkd go on */
	int was_ready;		/* the configuration has been run */
	int told;		/* who waits for the start has been told */
	int told_newline;	/* and so has --ready-fd */
	int status;		/* of the keeper's own exit */
	struct failure failure; /* why it is not 0 */
	int signal_fd;
	sigset_t old_signals;
	ev_io signals;
	ev_timer restart;
	ev_timer stop_limit;
};

/*
 * The server answers once it has no request in a worker of the kernel, where it
 * could not end, and no command half done; or that it cannot have that. Returns
 * 0 or a negative errno, and nothing has been asked.
 */
int keeper_ask_to_leave(struct keeper *keeper, enum purpose purpose);

/*
 * If that was asked for and nothing is in the way: end so that the next keeper
 * finds a server, and no command half done. Its devices stay up meanwhile.
 */
void keeper_maybe_hand_over(struct keeper *keeper);

/*
 * Start a program as a server; it is held, and the channel is opened to it.
 * Returns 0 or a negative errno.
 */
int keeper_spawn(struct keeper *keeper, const char *program,
		 struct proc *process, struct channel *channel,
		 channel_receive *receive, channel_gone *gone);

/*
 * Give a server all it needs, and the table of devices. Returns 0 or a negative
 * errno.
 */
int keeper_send_table(struct keeper *keeper, struct channel *channel);

/*
 * The server asks for an upgrade, to the program that the message names or to
 * the one that was started. That is tried as a server beside ours before
 * anything is changed. The server is answered if nothing comes of it.
 */
void upgrade_begin(struct keeper *keeper, const struct message *message);

/* The server could leave, so that the new program is worth a try, or cannot. */
void upgrade_try(struct keeper *keeper, const struct message *answer);

/* The server may leave, for an upgrade, or cannot. */
void upgrade_end(struct keeper *keeper, const struct message *answer);

/* The new program that was tried has ended, with or without a word. */
void upgrade_ended(struct keeper *keeper);

/* Nothing comes of it, because of `error`, a negative errno; say why. */
void upgrade_fail(struct keeper *keeper, int error, const char *why);

#endif
