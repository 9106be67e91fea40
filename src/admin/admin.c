#include "admin.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "io/loop.h"
#include "io/turns.h"
#include "trace.h"
#include "watch.h"

#define INPUT_BYTES  8192 /* more than the longest line and its end */
#define ACCEPT_MAX   16	  /* connections taken before others get a turn */
#define REFUSAL_TIME 1.0
#define ACCEPT_PAUSE 1.0 /* s, when no descriptor is left */
#define PROMPT	     "ublkd> "
#define GONE_PERIOD  1.0 /* s between looks whether one that watches is there */

/* A socket that clients come by. Each has limits of its own. */
struct door {
	struct admin *admin;
	ev_io listener;
	int is_for_reading; /* and for nothing else, whoever comes */
};

struct admin {
	struct ev_loop *loop;
	struct command_host *host;
	struct client *clients;
	struct door doors[2]; /* the second may be closed */
	int door_count;
	struct loop_timer pause; /* of all doors */
};

struct client {
	struct request request; /* first: a request is its client */
	struct client *next;
	struct admin *admin;
	const struct door *door;
	struct session session;
	int fd;
	int busy;     /* a command has not been answered yet */
	int more;     /* it is a listing that wants to go on */
	int prompted; /* and has said nothing since */
	int answers;  /* some lines of an answer have been sent, not all */
	int skipping; /* the rest of a line that was too long */
	int ended;    /* the peer has sent all it will */
	int refused;  /* over a limit: told so, and not listened to */
	int dead;     /* to be freed as soon as it is not busy */
	ev_io reader, writer;
	struct loop_timer turn; /* goes on in the loop's next turn */
	struct loop_timer wait;
	struct loop_timer drain;
	struct loop_timer follow;
	size_t input_length;
	char input[INPUT_BYTES];
	char *output;
	size_t output_size, output_start, output_end;
};

static size_t output_length(const struct client *client)
{
	return client->output_end - client->output_start;
}

/* A full client is not read, and sent nothing, until it has taken some. */
static int is_full(const struct client *client)
{
	return output_length(client) > ADMIN_OUTPUT_MAX;
}

/* Start the timer, unless that runs already. */
static void start_timer(struct client *client, struct loop_timer *timer,
			double after)
{
	if (!loop_timer_is_active(timer))
		loop_timer_start(client->admin->loop, timer, after);
}

/* ---- the end of a client ---- */

/* The client is freed in a later turn, when no caller is using it. */
static void kill_client(struct client *client)
{
	client->dead = 1;
	start_timer(client, &client->turn, 0);
}

static void destroy_client(struct client *client)
{
	struct ev_loop *loop = client->admin->loop;

	if (client->request.drop)
		client->request.drop(&client->request);
	ev_io_stop(loop, &client->reader);
	ev_io_stop(loop, &client->writer);
	loop_timer_stop(loop, &client->turn);
	loop_timer_stop(loop, &client->wait);
	loop_timer_stop(loop, &client->drain);
	loop_timer_stop(loop, &client->follow);
	close(client->fd);
	free(client->output);
	free(client);
}

static void free_client(struct client *client)
{
	struct client **at = &client->admin->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	destroy_client(client);
}

/* ---- output ---- */

/* Where `length` bytes more can be written; NULL without memory. */
static char *make_room(struct client *client, size_t length)
{
	size_t size = client->output_size ? client->output_size : 4096;
	char *output;

	if (client->output_start) {
		memmove(client->output, client->output + client->output_start,
			output_length(client));
		client->output_end -= client->output_start;
		client->output_start = 0;
	}
	while (size - client->output_end < length)
		size *= 2;
	if (!client->output || size > client->output_size) {
		output = realloc(client->output, size);
		if (!output)
			return NULL;
		client->output = output;
		client->output_size = size;
	}
	return client->output + client->output_end;
}

static void append_output(struct client *client, const char *text,
			  size_t length)
{
	char *room;

	if (client->dead || length == 0)
		return;
	room = make_room(client, length);
	if (!room) {
		log_warning("a client is dropped: out of memory");
		kill_client(client);
		return;
	}
	memcpy(room, text, length);
	client->output_end += length;
}

/* Which watchers a client needs now. */
static void update_watchers(struct client *client)
{
	struct ev_loop *loop = client->admin->loop;
	int full = is_full(client);
	int can_read = !client->busy && !client->ended && !client->dead &&
		       !full && client->input_length < INPUT_BYTES;

	if (can_read)
		ev_io_start(loop, &client->reader);
	else
		ev_io_stop(loop, &client->reader);
	if (output_length(client) && !client->dead)
		ev_io_start(loop, &client->writer);
	else
		ev_io_stop(loop, &client->writer);
	if (full && !client->dead)
		start_timer(client, &client->drain, ADMIN_DRAIN_TIME);
	else
		loop_timer_stop(loop, &client->drain);
	if (client->busy && !client->more && !client->dead)
		start_timer(client, &client->wait, ADMIN_WAIT_TIME);
	else
		loop_timer_stop(loop, &client->wait);
}

/* Write what the socket takes. */
static void flush_output(struct client *client)
{
	while (output_length(client) && !client->dead) {
		ssize_t n = send(client->fd,
				 client->output + client->output_start,
				 output_length(client),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			kill_client(client);
		if (n < 0)
			break;
		client->output_start += (size_t)n;
	}
	update_watchers(client);
}

/* ---- people ---- */

/* Behind the last answer, when the client is to say more. */
static void give_prompt(struct client *client)
{
	const struct session *session = &client->session;

	if (!session->prompts || session->json || client->prompted ||
	    client->busy || client->ended || client->dead ||
	    client->input_length)
		return;
	append_output(client, PROMPT, strlen(PROMPT));
	client->prompted = 1;
}

/* ---- events ---- */

/* Whether the peer has closed its end, and does not even listen. */
static int is_gone(const struct client *client)
{
	struct pollfd poller = { .fd = client->fd };

	return poll(&poller, 1, 0) == 1 && poller.revents & POLLHUP;
}

/* Whether events may come, also after the client's last line. */
static int hears(const struct client *client)
{
	return client->session.follows || client->session.watched;
}

/*
 * Who does not read is told later how many were lost. Nothing comes between the
 * lines of an answer.
 */
static void tell_events(struct client *client)
{
	if (client->dead || is_full(client) || client->answers)
		return;
	if (client->session.follows)
		client->session.follows = trace_follow(&client->request);
	watch_tell(&client->request);
	client->answers = 0;
}

/*
 * What follows is looked for again and again; what is watched tells itself, but for
 * what could not be told. One that says nothing more does not tell that it is gone.
 */
static COLD void on_follow(struct loop_timer *timer)
{
	struct client *client = timer->data;

	if (is_gone(client))
		kill_client(client);
	tell_events(client);
	if (client->dead || !hears(client))
		start_timer(client, &client->turn, 0);
	else if (client->session.follows || watch_has_more(&client->request))
		start_timer(client, timer, TRACE_PERIOD);
	else if (client->ended)
		start_timer(client, timer, GONE_PERIOD);
	give_prompt(client);
	flush_output(client);
}

/* Told at once, as far as that can be, and sent when the turn has ended. */
static COLD void on_change(void *watcher, const struct device *device,
			   enum device_change what)
{
	struct admin *admin = watcher;
	struct client *client;

	watch_note(admin->host, device, what);
	for (client = admin->clients; client; client = client->next) {
		if (!client->session.watched || client->dead)
			continue;
		tell_events(client);
		loop_timer_start(admin->loop, &client->follow, 0);
	}
}

/* ---- one request ---- */

static COLD void emit_to_client(struct request *request, const char *text,
				size_t length)
{
	struct client *client = (struct client *)request;

	/* An event, for which a person's prompt ends. */
	if (client->prompted)
		append_output(client, "\n", 1);
	client->prompted = 0;
	client->answers = 1;
	append_output(client, text, length);
}

static COLD void on_request_done(struct request *request,
				 const struct failure *failure)
{
	struct client *client = (struct client *)request;

	(void)failure;
	client->busy = client->more = client->answers = 0;
	start_timer(client, &client->turn, 0);
	if (hears(client))
		start_timer(client, &client->follow, TRACE_PERIOD);
	flush_output(client);
}

static COLD void on_request_goes_on(struct request *request)
{
	struct client *client = (struct client *)request;

	client->more = 1;
	start_timer(client, &client->turn, 0);
	update_watchers(client);
}

static void refuse_line(struct client *client, const char *why)
{
	client->busy = 1;
	client->request.command = NULL;
	request_refuse(&client->request, SYMBOL_SYNTAX, why);
}

static void run_line(struct client *client, const char *text, size_t length)
{
	struct request *request = &client->request;
	const char *why;

	if (syntax_split(&request->line, text, length, &why) < 0) {
		refuse_line(client, why);
		return;
	}
	if (request->line.count == 0)
		return;
	client->busy = 1;
	client->more = command_run(request);
}

/* ---- input ---- */

static void drop_input(struct client *client, size_t length)
{
	client->input_length -= length;
	memmove(client->input, client->input + length, client->input_length);
}

/* A line that is too long is told of once and skipped up to its LF. */
static void skip_long(struct client *client, int was_told, const char *end)
{
	client->prompted = 0;
	drop_input(client, end ? (size_t)(end - client->input) + 1
			       : client->input_length);
	client->skipping = !end;
	if (!was_told) {
		client->request.line.tag = NULL;
		refuse_line(client, "a line has at most 4096 bytes");
	}
}

/* Run the next whole line of the input. Returns 0 if there is none. */
static int next_line(struct client *client)
{
	char *end = memchr(client->input, '\n', client->input_length);
	size_t length = end ? (size_t)(end - client->input)
			    : client->input_length;

	/* One byte more for a CR. */
	if (client->skipping || length > SYNTAX_LINE_MAX + 1) {
		skip_long(client, client->skipping, end);
		return client->input_length > 0;
	}
	if (!end && (!client->ended || length == 0))
		return 0;
	client->prompted = 0;
	run_line(client, client->input, length);
	drop_input(client, length + (end ? 1 : 0));
	if (client->session.quits) {
		client->session.follows = 0;
		client->session.watched = 0;
		client->ended = 1;
		client->input_length = 0;
	}
	return 1;
}

/*
 * One command, or one piece of a listing, then others get their turn. Frees
 * the client when it is through.
 */
static void serve_client(struct client *client)
{
	int full = is_full(client);
	int again = 0;

	turns_enter(SIGHT_CLIENTS, SIGHT_NO_SLOT);

	if (client->dead && client->more)
		client->busy = client->more = 0;
	if (client->dead && !client->busy) {
		free_client(client);
		return;
	}
	if (client->more && !full)
		client->more = command_continue(&client->request);
	else if (!client->busy && !full && !client->dead)
		again = next_line(client);
	if ((again && !client->busy) || (client->more && !full))
		start_timer(client, &client->turn, 0);
	if (client->ended && !client->busy && !again && !hears(client) &&
	    output_length(client) == 0 && client->input_length == 0)
		kill_client(client);
	if (client->ended && hears(client))
		start_timer(client, &client->follow, GONE_PERIOD);
	give_prompt(client);
	flush_output(client);
	/* Nobody would come back to one that has taken everything at once. */
	if (full && !is_full(client))
		start_timer(client, &client->turn, 0);
}

static COLD void on_turn(struct loop_timer *timer)
{
	serve_client(timer->data);
}

static COLD void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct client *client = watcher->data;
	ssize_t n;

	(void)loop;
	(void)events;
	n = recv(client->fd, client->input + client->input_length,
		 INPUT_BYTES - client->input_length, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (client->refused && n > 0)
		return;
	if (n < 0)
		kill_client(client);
	else if (n == 0)
		client->ended = 1;
	else
		client->input_length += (size_t)n;
	serve_client(client);
}

static COLD void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct client *client = watcher->data;

	(void)loop;
	(void)events;
	flush_output(client);
	serve_client(client);
}

/* A half-closed client leaves soon if it hears nothing: tell it to stay. */
static COLD void on_wait(struct loop_timer *timer)
{
	struct client *client = timer->data;
	struct pollfd poller = { .fd = client->fd, .events = POLLRDHUP };
	int answers = client->answers;

	if (poll(&poller, 1, 0) != 1) {
		update_watchers(client);
		return;
	}
	request_wait(&client->request);
	client->answers = answers;
	flush_output(client);
}

static COLD void on_drain(struct loop_timer *timer)
{
	struct client *client = timer->data;

	log_notice("process %d does not read its replies: closed",
		   (int)client->request.pid);
	kill_client(client);
	update_watchers(client);
}

/* ---- connections ---- */

enum who { WHO_UID, WHO_USERS, WHO_REFUSED };

static int count_clients(const struct door *door, enum who who, uid_t uid)
{
	const struct client *client = door->admin->clients;
	int count = 0;

	for (; client; client = client->next) {
		if (client->door != door)
			continue;
		if (client->refused || who == WHO_REFUSED)
			count += client->refused && who == WHO_REFUSED;
		else if (who == WHO_UID)
			count += client->request.uid == uid;
		else
			count += client->request.uid != 0;
	}
	return count;
}

/* Root has a limit of its own, so that users cannot keep it out. */
static int is_too_many(const struct door *door, uid_t uid)
{
	if (uid == 0)
		return count_clients(door, WHO_UID, 0) >= ADMIN_ROOT_MAX;
	return count_clients(door, WHO_UID, uid) >= ADMIN_UID_MAX ||
	       count_clients(door, WHO_USERS, 0) >= ADMIN_CLIENTS_MAX;
}

static void greet_client(struct client *client)
{
	char text[100];
	int length = snprintf(text, sizeof(text),
			      "HELLO ublkd proto=%d version=%s pid=%d%s\n",
			      COMMAND_PROTO, PACKAGE_VERSION, (int)getpid(),
			      client->session.reads_only ? " access=read" : "");

	append_output(client, text, (size_t)length);
	flush_output(client);
}

/*
 * The connection stays until the client has read why, or for a second: closed
 * at once, the client's own request would meet a broken pipe, and the client
 * would read nothing.
 */
static void refuse_client(struct client *client)
{
	char text[160];
	int length = snprintf(text, sizeof(text),
			      "ERR limit text=\"too many connections: at most "
			      "%d of a user, %d of all users and %d of "
			      "root\"\n",
			      ADMIN_UID_MAX, ADMIN_CLIENTS_MAX, ADMIN_ROOT_MAX);

	append_output(client, text, (size_t)length);
	flush_output(client);
	client->dead = 1;
	ev_io_start(client->admin->loop, &client->reader);
	start_timer(client, &client->turn, REFUSAL_TIME);
}

/* Returns NULL if there are too many clients. The fd is the new client's. */
static struct client *new_client(const struct door *door, int fd,
				 const struct ucred *peer)
{
	int refused = is_too_many(door, peer->uid);
	struct admin *admin = door->admin;
	struct client *client;

	if (refused && count_clients(door, WHO_REFUSED, 0) >= ADMIN_REFUSED_MAX)
		return NULL;
	client = calloc(1, sizeof(*client));
	if (!client)
		return NULL;
	client->admin = admin;
	client->door = door;
	client->session.reads_only = door->is_for_reading;
	client->fd = fd;
	client->refused = refused;
	client->request.host = admin->host;
	client->request.session = &client->session;
	client->request.uid = peer->uid;
	client->request.pid = peer->pid;
	client->request.emit = emit_to_client;
	client->request.done = on_request_done;
	client->request.go_on = on_request_goes_on;
	client->next = admin->clients;
	admin->clients = client;
	ev_io_init(&client->reader, on_readable, fd, EV_READ);
	ev_io_init(&client->writer, on_writable, fd, EV_WRITE);
	loop_timer_init(&client->turn, on_turn, client);
	loop_timer_init(&client->wait, on_wait, client);
	loop_timer_init(&client->drain, on_drain, client);
	loop_timer_init(&client->follow, on_follow, client);
	client->reader.data = client->writer.data = client;
	return client;
}

static void add_client(const struct door *door, int fd)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t length = sizeof(peer);
	struct client *client;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		log_warning("cannot tell who connects: %s", strerror(errno));
	client = new_client(door, fd, &peer);
	if (!client)
		close(fd);
	else if (client->refused)
		refuse_client(client);
	else
		greet_client(client);
}

static COLD void on_connect(struct ev_loop *loop, ev_io *watcher, int events)
{
	const struct door *door = watcher->data;
	int i, fd;

	(void)events;
	for (i = 0; i < ACCEPT_MAX; i++) {
		fd = accept4(watcher->fd, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			add_client(door, fd);
			continue;
		}
		if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
			return;
		log_error("cannot accept a client: %s", strerror(errno));
		ev_io_stop(loop, watcher);
		loop_timer_start(loop, &door->admin->pause, ACCEPT_PAUSE);
		return;
	}
}

static COLD void on_pause_end(struct loop_timer *timer)
{
	struct admin *admin = timer->data;
	int i;

	for (i = 0; i < admin->door_count; i++)
		ev_io_start(admin->loop, &admin->doors[i].listener);
}

static void open_door(struct admin *admin, int listener, int is_for_reading)
{
	struct door *door = &admin->doors[admin->door_count++];

	door->admin = admin;
	door->is_for_reading = is_for_reading;
	ev_io_init(&door->listener, on_connect, listener, EV_READ);
	door->listener.data = door;
	ev_io_start(admin->loop, &door->listener);
}

struct admin *admin_open(struct ev_loop *loop, int listener, int reader,
			 struct command_host *host)
{
	struct admin *admin = calloc(1, sizeof(*admin));

	if (!admin)
		return NULL;
	admin->loop = loop;
	admin->host = host;
	loop_timer_init(&admin->pause, on_pause_end, admin);
	open_door(admin, listener, 0);
	if (reader >= 0)
		open_door(admin, reader, 1);
	host->devices.watcher = admin;
	host->devices.on_change = on_change;
	return admin;
}

void admin_close(struct admin *admin)
{
	struct client *client, *next;
	int i;

	if (!admin)
		return;
	for (client = admin->clients; client; client = next) {
		next = client->next;
		destroy_client(client);
	}
	for (i = 0; i < admin->door_count; i++)
		ev_io_stop(admin->loop, &admin->doors[i].listener);
	loop_timer_stop(admin->loop, &admin->pause);
	admin->host->devices.on_change = NULL;
	watch_end(admin->host);
	free(admin);
}
