#include "server.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/admin.h"
#include "target/ask.h"
#include "device/stuck.h"
#include "base/channel.h"
#include "admin/command.h"
#include "drain.h"
#include "base/feature.h"
#include "handover.h"
#include "io/io.h"
#include "base/log.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/recorder.h"
#include "io/turns.h"
#include "base/process.h"
#include "admin/reload.h"
#include "admin/startup.h"

/* Of the question for the driver's features that a server begins with. */
#define SERIAL_START UINT64_MAX

struct server {
	struct command_host host; /* first: the host is its server */
	struct ev_loop *loop;
	struct channel channel;
	struct admin *admin;
	char config[MESSAGE_TEXT]; /* the host's */
	uint64_t begin;		   /* BEGIN_... */
	int listener;	 /* the admin socket; 0 before the beginning */
	int reader;	 /* the read-only socket, -1: there is none */
	int handover_fd; /* for the next keeper, when this one is gone */
	int going;	 /* GO has come */
	int old;	 /* to a server that may not know yet that it is to
			    leave, or -1 */
	int took_over;	 /* devices: they are served, whatever becomes of
			    the configuration */
	int unfit; /* so many devices cannot be served here, and are elsewhere */
	char why[400]; /* the first of them */
	struct handover handover;
	struct drain drain;
	int only_asked; /* by the drain's asker, who does not end it */
	int status;
};

/* Returns 0, or -ENOMEM; a keeper that is gone is heard of otherwise. */
static int tell_keeper(struct server *server, uint32_t type, uint64_t serial,
		       const char *text)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = type,
				   .serial = serial };

	snprintf(message.text, sizeof(message.text), "%s", text);
	return channel_send(&server->channel, &message, NULL, 0) == -ENOMEM
		       ? -ENOMEM
		       : 0;
}

static void open_admin(struct server *server)
{
	server->admin = admin_open(server->loop, server->listener,
				   server->reader, &server->host);
}

static void on_started(struct command_host *host, const struct failure *failure)
{
	struct server *server = (struct server *)host;

	if (host->stopping || host->keeper_gone)
		return;
	if (failure) {
		log_error("%s", failure->text);
		if (!server->took_over) {
			server->status = 1;
			tell_keeper(server, MESSAGE_FAILED, 0, failure->text);
			return;
		}
		log_error("the rest of the configuration is not run; the "
			  "devices that were taken over are served");
	}
	open_admin(server);
	tell_keeper(server, server->admin ? MESSAGE_READY : MESSAGE_FAILED, 0,
		    "out of memory");
}

static void begin_serving(struct server *server, const struct message *message,
			  const int *fds, int fd_count)
{
	if (fd_count != 2) {
		log_error("the keeper sent no listening sockets");
		loop_break(server->loop);
		return;
	}
	server->listener = fds[0];
	server->handover_fd = fds[1];
	server->begin = message->number;
	snprintf(server->config, sizeof(server->config), "%s", message->text);
}

/* The table is read, and all of its targets are open. */
static void tell_prepared(struct server *server)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_PREPARED,
				   .number = 1,
				   .result = server->unfit ? -EINVAL : 0 };

	snprintf(message.text, sizeof(message.text), "%s", server->why);
	channel_send(&server->channel, &message, NULL, 0);
}

static int is_known(void *set, uint32_t id)
{
	return device_find(set, id) != NULL;
}

/* Take every device over that there was, and run the configuration. */
static void begin_devices(struct server *server)
{
	recorder_forget_others(is_known, &server->host.devices);
	device_recover_all(&server->host.devices);
	stuck_watch(&server->host.devices);
	if (server->begin & BEGIN_CONFIGURE)
		startup_run(&server->host,
			    (server->begin & BEGIN_KEEP_GOING) != 0,
			    on_started);
	else
		on_started(&server->host, NULL);
}

/*
 * To work. What the driver can do is asked first: it decides how the devices that
 * there were are taken over.
 */
static void begin_work(struct server *server, const int *fds, int fd_count)
{
	server->going = 1;
	/* Who connects is to see this process as the peer, not the keeper. */
	listen(server->listener, SOMAXCONN);
	listen(server->handover_fd, SOMAXCONN);
	if (server->reader >= 0)
		listen(server->reader, SOMAXCONN);
	if (fd_count == 1)
		server->old = fds[0];
	else
		channel_close_fds(fds, fd_count);
	if (tell_keeper(server, MESSAGE_FEATURES, SERIAL_START, "") < 0)
		begin_devices(server); /* unknown: as with an old driver */
}

/* The keeper has gone on since GO, so the old server has been told. */
static void forget_old(struct server *server)
{
	if (server->old >= 0)
		close(server->old);
	server->old = -1;
}

/* The keeper may have been killed before it could; twice does no harm. */
static void tell_old_to_leave(struct server *server)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_LEAVE };

	if (server->old >= 0)
		channel_send_now(server->old, &message, NULL, 0);
	forget_old(server);
}

/*
 * Another server answers its requests, so that it would be a loss if this one
 * could not. A keeper of a build before this was told may say "dead" of it.
 */
static int is_served(const struct message *message)
{
	return message->info.state != UBLK_S_DEV_QUIESCED &&
	       message->info.state != UBLK_S_DEV_FAIL_IO;
}

static void take_over(struct server *server, const struct message *message,
		      const int *fds, int fd_count)
{
	int own[MESSAGE_MAX_FDS];
	struct failure failure;

	server->took_over = 1;
	memcpy(own, fds, sizeof(int) * (size_t)fd_count);
	if (command_adopt(&server->host, message, own, fd_count, &failure) <
	    0) {
		log_error("device %u cannot be taken over: %s", message->id,
			  failure.text);
		if (is_served(message) && server->unfit++ == 0)
			snprintf(server->why, sizeof(server->why),
				 "device %u: %.350s", message->id,
				 failure.text);
	}
	while (fd_count--)
		if (own[fd_count] >= 0)
			opener_close(server->loop, own[fd_count], NULL, NULL,
				     NULL);
}

/* Stopping, and the last device is gone: say so and leave. */
static void on_empty(struct device_set *set)
{
	struct server *server =
		(struct server *)((char *)set -
				  offsetof(struct server, host.devices));

	if (!server->host.stopping)
		return;
	command_answer_leaving(&server->host);
	loop_break(server->loop);
}

/* The answer at start; say at once what this kernel will not do. */
static void log_features(struct server *server, const struct message *message)
{
	struct failure failure;
	char missing[256];

	if (message->result < 0)
		device_driver_failure(message->result, &failure);
	else if (device_set_features(&server->host.devices, message->number,
				     &failure) == 0) {
		features_missing(message->number, missing, sizeof(missing));
		log_info("the ublk driver's features are 0x%llx; missing: %s",
			 (unsigned long long)message->number,
			 missing[0] ? missing : "none");
		return;
	}
	log_warning("%s", failure.text);
}

static void take_features(struct server *server, const struct message *message)
{
	if (message->serial == SERIAL_START) {
		log_features(server, message);
		begin_devices(server);
	} else if (message->serial == 0) {
		command_features_answer(&server->host, message);
	} else {
		device_answer(&server->host.devices, message);
	}
}

/* The keeper answers only an upgrade that it could not do. */
static void fail_upgrade(struct server *server, const struct message *message)
{
	struct failure failure;
	enum symbol symbol = message->result == -EBUSY	     ? SYMBOL_BUSY
			     : message->result == -ETIMEDOUT ? SYMBOL_TIMEOUT
							     : SYMBOL_ARG;

	failure_set(&failure, symbol, 0,
		    symbol == SYMBOL_BUSY ? NULL : "program", "%.350s",
		    message->text);
	drain_end(&server->drain);
	command_answer_upgraded(&server->host, &failure);
}

static void on_drained(struct drain *drain, const struct failure *failure)
{
	struct server *server = (struct server *)drain->host;
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_MAY_LEAVE,
				   .result = failure ? -EBUSY : 0 };

	if (failure)
		snprintf(message.text, sizeof(message.text), "%s",
			 failure->text);
	/* The keeper only asked, or is gone. */
	if (channel_send(&server->channel, &message, NULL, 0) < 0 ||
	    (server->only_asked && !failure))
		drain_end(drain);
}

/* The keeper has not looked at the turns for a while, and now there is work. */
static void on_active(void *owner)
{
	tell_keeper(owner, MESSAGE_ACTIVE, 0, "");
}

static void begin_sight(struct server *server, const struct message *message,
			const int *fds, int fd_count)
{
	unsigned which = (unsigned)message->number & SIGHT_SECOND;
	int error = fd_count == 1
			    ? turns_share(fds[0], which, on_active, server)
			    : -EINVAL;

	if (error)
		log_warning("the keeper cannot see whether this server goes "
			    "on: %s",
			    strerror(-error));
	if (error || !(message->number & SIGHT_RECORDED))
		return;
	error = recorder_begin(fds[0], server->loop);
	if (error)
		log_warning("there is no recorder: %s", strerror(-error));
}

/* With a serial the message answers what a device has told the keeper. */
static void take_tally(struct server *server, const struct message *message)
{
	if (message->serial)
		device_answer(&server->host.devices, message);
	else
		device_take_tally(&server->host.devices, message->id,
				  message->number);
}

static void __attribute__((cold))
on_message(struct channel *channel, const struct message *message,
	   const int *fds, int fd_count)
{
	struct server *server = channel->owner;

	turns_count();
	turns_enter(SIGHT_KEEPERS, SIGHT_NO_SLOT);
	forget_old(server);
	switch (message->type) {
	case MESSAGE_BEGIN:
		begin_serving(server, message, fds, fd_count);
		return;
	case MESSAGE_DEVICE:
		take_over(server, message, fds, fd_count);
		return;
	case MESSAGE_TABLE_END:
		tell_prepared(server);
		break;
	case MESSAGE_READER:
		if (fd_count != 1)
			break;
		server->reader = fds[0];
		return;
	case MESSAGE_GO:
		begin_work(server, fds, fd_count);
		return;
	case MESSAGE_STOP_ALL:
		command_stop_all(&server->host);
		break;
	case MESSAGE_FEATURES:
		take_features(server, message);
		break;
	case MESSAGE_ASK:
		ask_answer(message, fds, fd_count);
		return;
	case MESSAGE_UPGRADE:
		fail_upgrade(server, message);
		break;
	case MESSAGE_MAY_LEAVE:
		server->only_asked = message->number != 0;
		drain_begin(&server->drain, &server->host, on_drained);
		break;
	case MESSAGE_TALLY:
		take_tally(server, message);
		break;
	case MESSAGE_SIGHT:
		begin_sight(server, message, fds, fd_count);
		break;
#ifndef WITHOUT_RELOAD
	case MESSAGE_RELOAD:
		reload_unasked(&server->host);
		break;
#endif
	case MESSAGE_PING:
		break; /* this was the turn */
	default:
		device_answer(&server->host.devices, message);
	}
	channel_close_fds(fds, fd_count);
}

/* The next keeper has all, and a server of its own that is prepared. */
static void on_leave(struct handover *handover)
{
	struct server *server = (struct server *)handover->host;

	log_notice("the next server takes the devices over");
	command_answer_upgraded(&server->host, NULL);
	/* Users wait from here on: what there is to tidy up the kernel does. */
	_exit(0);
}

static void open_handover(struct server *server)
{
	server->handover.loop = server->loop;
	server->handover.fd = server->handover_fd;
	server->handover.listener = server->listener;
	server->handover.host = &server->host;
	server->handover.leave = on_leave;
	handover_open(&server->handover);
}

static void on_keeper_gone(struct channel *channel)
{
	struct server *server = channel->owner;

	/* With nothing to serve, or before all began, the server leaves. */
	if (!server->going ||
	    (!server->admin && server->host.devices.count == 0))
		_exit(server->status); /* the kernel tidies up */
	stuck_end();
	tell_old_to_leave(server);
	open_handover(server);
	log_error("the keeper is gone: %u devices are served on, but nothing "
		  "can be changed",
		  server->host.devices.count);
	command_keeper_gone(&server->host);
	if (!server->admin)
		open_admin(server);
}

/* There is no loop yet. */
static void fail_early(const char *why)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_FAILED };

	log_error("%s", why);
	snprintf(message.text, sizeof(message.text), "%s", why);
	channel_send_now(SERVER_FD, &message, NULL, 0);
}

int server_run(int is_hot)
{
	struct server server = { .reader = -1, .old = -1 };

	/* The keeper alone stops a server, in the right order. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	process_survive_limits(LOG_LEVEL_DEBUG);
	process_allow_files(SERVER_FILES_MAX);
	process_protect(LOG_LEVEL_DEBUG);
	server.loop = loop_new(is_hot ? 0 : LOOP_PLAIN);
	if (!server.loop || io_initialise() < 0) {
		fail_early("cannot start: out of memory or descriptors");
		return 1;
	}
	pool_open(server.loop);
	server.host.config = server.config;
	server.host.devices.loop = server.loop;
	server.host.devices.channel = &server.channel;
	server.host.devices.on_empty = on_empty;
	channel_open(&server.channel, server.loop, SERVER_FD, on_message,
		     on_keeper_gone, &server);
	ask_open(&server.channel);
	loop_run(server.loop);
	admin_close(server.admin);
	handover_close(&server.handover);
	channel_close(&server.channel);
	pool_close();
	loop_free(server.loop);
	return server.status;
}
