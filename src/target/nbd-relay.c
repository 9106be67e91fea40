#include "nbd-tls.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"

/* The only descriptors that a relay has. */
enum { OURS, SERVERS, DESCRIPTORS };

#define LANE_SIZE (128u << 10) /* bytes on their way in one direction */
#define LINGER	  1000 /* ms for a server to take more when ublkd is gone */
#define IGNORE	  4    /* bytes of libnbd's answer to the greeting */

/* How a relay ends, and its exit status: 0, if its other end did; an alert of the server; or: */
#define ENDED	   255 /* without a word */
#define UNCONFINED 254 /* it has not begun: its rights would have stayed */

/* What has been received at one end, and not yet taken by the other one. */
struct lane {
	size_t from, to; /* bytes of the buffer */
	int has_ended;	 /* nothing more comes */
	uint8_t *buffer; /* LANE_SIZE bytes */
};

/* A relay is a process of its own, and this is all that it has. */
static struct {
	gnutls_session_t session;
	struct lane up, down; /* to the server, and from there */
	size_t ignore;	      /* bytes that the server has got already */
	int ending;	      /* see above */
	int is_alone;	      /* nobody is at our end, */
	int is_late;	      /* and the server takes nothing */
} relay;

/* ---- lanes ---- */

static size_t room(struct lane *lane)
{
	if (lane->from == lane->to)
		lane->from = lane->to = 0;
	return LANE_SIZE - lane->to;
}

static int is_empty(const struct lane *lane)
{
	return lane->from == lane->to;
}

/* Nothing of it will be taken any more. */
static void end_lane(struct lane *lane)
{
	lane->from = lane->to = 0;
	lane->has_ended = 1;
}

static void be_alone(void)
{
	relay.is_alone = 1;
	end_lane(&relay.down);
}

static int is_again(ssize_t error)
{
	return error == GNUTLS_E_AGAIN || error == GNUTLS_E_INTERRUPTED;
}

/* ---- from one end to the other; each returns whether anything has moved ---- */

static int take_from_us(void)
{
	struct lane *lane = &relay.up;
	size_t space = room(lane);
	ssize_t count;

	if (lane->has_ended || !space)
		return 0;
	count = recv(OURS, lane->buffer + lane->to, space, MSG_DONTWAIT);
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (count > 0)
		lane->to += (size_t)count;
	else
		lane->has_ended = 1;
	while (relay.ignore && !is_empty(lane)) {
		lane->from++;
		relay.ignore--;
	}
	return 1;
}

static int give_to_us(void)
{
	struct lane *lane = &relay.down;
	ssize_t count;

	if (is_empty(lane))
		return 0;
	count = send(OURS, lane->buffer + lane->from, lane->to - lane->from,
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	if (count < 0) {
		if (errno != EAGAIN && errno != EINTR)
			be_alone();
		return 0;
	}
	lane->from += (size_t)count;
	return 1;
}

/* Unless we have ended it before. */
static void note_ending(ssize_t error)
{
	if (relay.up.has_ended || relay.ending)
		return;
	relay.ending = ENDED;
	if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
		relay.ending = (int)nbd_gnutls.alert_get(relay.session);
}

/* What cannot be sent at once, GnuTLS must be asked for with the same bytes again. */
static int give_to_server(void)
{
	struct lane *lane = &relay.up;
	ssize_t count;

	if (is_empty(lane))
		return 0;
	count = nbd_gnutls.record_send(relay.session, lane->buffer + lane->from,
				       lane->to - lane->from);
	if (count < 0) {
		if (is_again(count))
			return 0;
		note_ending(count);
		end_lane(lane);
		return 1;
	}
	lane->from += (size_t)count;
	return 1;
}

static void end_session(ssize_t error)
{
	note_ending(error);
	relay.down.has_ended = 1;
	end_lane(&relay.up);
}

static int take_from_server(void)
{
	struct lane *lane = &relay.down;
	size_t space = room(lane);
	ssize_t count;

	if (lane->has_ended || !space)
		return 0;
	count = nbd_gnutls.record_recv(relay.session, lane->buffer + lane->to,
				       space);
	if (count > 0) {
		lane->to += (size_t)count;
		return 1;
	}
	if (count < 0 && is_again(count))
		return 0;
	if (count == 0 || nbd_gnutls.error_is_fatal((int)count))
		end_session(count);
	return 1;
}

/* ---- the loop ---- */

static void wait_for_more(void)
{
	struct pollfd ends[] = {
		[OURS] = { .fd = OURS }, [SERVERS] = { .fd = SERVERS }
	};
	int count;

	if (!relay.up.has_ended && room(&relay.up))
		ends[OURS].events |= POLLIN;
	if (!is_empty(&relay.down))
		ends[OURS].events |= POLLOUT;
	/* TLS itself may owe an answer before more can be received. */
	if (!relay.down.has_ended && room(&relay.down))
		ends[SERVERS].events |=
			nbd_gnutls.record_get_direction(relay.session)
				? POLLIN | POLLOUT
				: POLLIN;
	if (!is_empty(&relay.up))
		ends[SERVERS].events |= POLLOUT;
	/* Who is gone is told by every poll. */
	if (relay.is_alone)
		ends[OURS].fd = -1;
	if (!ends[SERVERS].events)
		ends[SERVERS].fd = -1;
	count = poll(ends, DESCRIPTORS, relay.is_alone ? LINGER : -1);
	relay.is_late = count == 0;
	if (ends[OURS].revents & (POLLHUP | POLLERR) &&
	    !(ends[OURS].revents & POLLIN))
		be_alone();
}

static int is_done(const struct lane *lane)
{
	return lane->has_ended && is_empty(lane);
}

static int is_over(void)
{
	return (is_done(&relay.up) && is_done(&relay.down)) || relay.is_late;
}

/* Each in turn, so that neither direction waits for the other. */
static int move(void)
{
	int has_moved = take_from_us();

	has_moved |= give_to_server();
	has_moved |= take_from_server();
	has_moved |= give_to_us();
	return has_moved;
}

static void say_goodbye(void)
{
	if (!relay.ending)
		nbd_gnutls.bye(relay.session, GNUTLS_SHUT_WR);
}

static void run(void)
{
	int has_said = 0;

	while (!is_over()) {
		if (move())
			continue;
		if (is_done(&relay.up) && !has_said) {
			has_said = 1;
			say_goodbye();
		}
		wait_for_more();
	}
	if (!has_said)
		say_goodbye();
}

/* ---- the process ---- */

/*
 * Requests wait for a relay, whatever memory is left. Its locked memory needs no
 * right then, or is not locked.
 */
static void be_like_a_server(void)
{
	const struct rlimit any = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit is = { 0, 0 };

	/* The server of ublkd alone ends a relay, by its end of the pair. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	process_survive_limits(LOG_LEVEL_DEBUG);
	setrlimit(RLIMIT_MEMLOCK, &any);
	process_protect(LOG_LEVEL_DEBUG);
#ifdef M_MMAP_THRESHOLD
	/* Each record has memory of its own, which is to cost no system call. */
	mallopt(M_MMAP_THRESHOLD, LANE_SIZE);
	mallopt(M_TRIM_THRESHOLD, LANE_SIZE);
#endif
	if (getrlimit(RLIMIT_MEMLOCK, &is) < 0 || is.rlim_cur != RLIM_INFINITY)
		munlockall();
}

/* Nothing is left of the helper but these two. */
static void keep_descriptors(int ours, int servers)
{
	/* Neither is the number of the other one. */
	ours = fcntl(ours, F_DUPFD, DESCRIPTORS);
	servers = fcntl(servers, F_DUPFD, DESCRIPTORS);
	dup2(ours, OURS);
	dup2(servers, SERVERS);
	syscall(SYS_close_range, DESCRIPTORS, ~0u, 0);
	fcntl(SERVERS, F_SETFL, fcntl(SERVERS, F_GETFL) | O_NONBLOCK);
	nbd_gnutls.transport_set_int2(relay.session, SERVERS, SERVERS);
}

/* As a server greets that has no TLS; libnbd's answer is what we gave to this one. */
static void greet(void)
{
	const struct __attribute__((packed)) {
		uint64_t magic, option_magic;
		uint16_t flags;
	} greeting = { htobe64(UINT64_C(0x4e42444d41474943)),
		       htobe64(UINT64_C(0x49484156454f5054)), htobe16(1) };

	relay.up.buffer = malloc(LANE_SIZE);
	relay.down.buffer = malloc(LANE_SIZE);
	if (!relay.up.buffer || !relay.down.buffer)
		_exit(0);
	memcpy(relay.down.buffer, &greeting, sizeof(greeting));
	relay.down.to = sizeof(greeting);
	relay.ignore = IGNORE;
}

static __attribute__((noreturn)) void be_relay(gnutls_session_t session,
					       int ours, int servers)
{
	relay.session = session;
	process_set_name(NBD_RELAY_NAME);
	setsid();
	be_like_a_server();
	keep_descriptors(ours, servers);
	greet();
	if (nbd_relay_confine(DESCRIPTORS) < 0)
		_exit(UNCONFINED);
	run();
	_exit(relay.ending);
}

int nbd_relay_start(gnutls_session_t session, int fd, pid_t *process)
{
	int pair[2], error = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error = -errno;
		goto out;
	}
	*process = fork();
	if (*process == 0)
		be_relay(session, pair[1], fd);
	if (*process < 0) {
		error = -errno;
		close(pair[0]);
	}
	close(pair[1]);
out:
	nbd_gnutls.deinit(session);
	close(fd);
	return error ? error : pair[0];
}

void nbd_relay_explain(pid_t process, char *text, size_t size)
{
	int status;

	if (waitpid(process, &status, 0) != process || !WIFEXITED(status))
		return;
	status = WEXITSTATUS(status);
	if (status == ENDED)
		snprintf(
			text, size,
			"the server ends the connection as soon as it has TLS: "
			"it may want a certificate (client-cert.pem), or "
			"another one");
	else if (status == UNCONFINED)
		snprintf(text, size,
			 "the relay for TLS cannot give its rights up, and "
			 "does not begin with them");
	else if (status)
		snprintf(text, size, "the server refuses by TLS: %s",
			 nbd_gnutls.alert_get_name(
				 (gnutls_alert_description_t)status));
}
