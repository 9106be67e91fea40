/*
 * The requests of an NBD device, from submit() to io_done(): by which connection
 * each goes, and what becomes of it when that ends.
 *
 * A queue's requests go by a connection in that queue's own ring where there is one,
 * and by another one else; flushes by the oldest, see nbd_link_ended(). What is not
 * answered when its connection ends is sent again by another one, or waits for the
 * next.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "io/recorder.h"
#include "io/workers.h"
#include "nbd.h"

/* In so many s a server that has late requests must say something. */
#define SILENCE 10.0

#define STOP_LOOKS 1000 /* at the ring, until the kernel lets go of a socket */

/* ---- the table ---- */

static int add_chunk(struct nbd *nbd)
{
	struct nbd_request *chunk;
	unsigned i;

	if (nbd->chunk_count == NBD_CHUNKS)
		return -ENOMEM;
	chunk = calloc(NBD_CHUNK, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	for (i = NBD_CHUNK; i-- > 0;) {
		chunk[i].index = (uint16_t)(nbd->chunk_count * NBD_CHUNK + i);
		chunk[i].next = nbd->spare;
		nbd->spare = &chunk[i];
	}
	nbd->chunks[nbd->chunk_count++] = chunk;
	return 0;
}

void nbd_free_requests(struct nbd *nbd)
{
	while (nbd->chunk_count)
		free(nbd->chunks[--nbd->chunk_count]);
}

static struct nbd_request *request_at(const struct nbd *nbd, unsigned index)
{
	return &nbd->chunks[index / NBD_CHUNK][index % NBD_CHUNK];
}

/*
 * One after the other, from *at = 0 on, in no order; NULL behind the last one. Those
 * that it has given may end meanwhile.
 */
static struct nbd_request *next_request(const struct nbd *nbd, unsigned *at)
{
	while (*at < nbd->chunk_count * NBD_CHUNK) {
		struct nbd_request *request = request_at(nbd, (*at)++);

		if (request->io)
			return request;
	}
	return NULL;
}

struct nbd_request *nbd_find_request(const struct nbd_link *link,
				     uint64_t cookie)
{
	const struct nbd *nbd = link->nbd;
	unsigned index = cookie & 0xffff;
	struct nbd_request *request;

	if (index >= nbd->chunk_count * NBD_CHUNK)
		return NULL;
	request = request_at(nbd, index);
	return request->io && request->cookie == cookie &&
			       request->link == link && !request->is_queued
		       ? request
		       : NULL;
}

void nbd_name_request(struct nbd_request *request)
{
	struct nbd *nbd = request->link->nbd;

	request->cookie = ++nbd->serial << 16 | request->index;
	request->mark = workers_enter();
	request->writes = nbd->writes;
}

/* The server has it no more, nor has any connection. */
static void let_go(struct nbd_request *request)
{
	if (request->cookie)
		workers_leave(request->mark);
	request->cookie = 0;
	if (request->link)
		request->link->count--;
	request->link = NULL;
}

static void end_request(struct nbd *nbd, struct nbd_request *request, int error)
{
	struct io *io = request->io;

	request->io = NULL;
	let_go(request);
	request->next = nbd->spare;
	nbd->spare = request;
	nbd->count--;
	target_done(&nbd->target, io, error);
}

void nbd_fail_all(struct nbd *nbd)
{
	struct nbd_request *request;
	unsigned at = 0;

	nbd->waiting.first = NULL;
	while ((request = next_request(nbd, &at)))
		end_request(nbd, request, -EIO);
}

/* ---- by which connection ---- */

/* The one that was made first; it may be broken. NULL: there is none. */
static struct nbd_link *oldest_link(const struct nbd *nbd)
{
	struct nbd_link *oldest = NULL;
	unsigned i;

	for (i = 0; i < nbd->link_count; i++) {
		struct nbd_link *link = nbd->links[i];

		if (link->fd >= 0 && (!oldest || link->begun < oldest->begun))
			oldest = link;
	}
	return oldest;
}

/* One of the port's own rather than another, then the one with least to do. */
static int is_better(const struct nbd_link *link, const struct nbd_link *other,
		     const struct io_port *port)
{
	if ((link->port == port) != (other->port == port))
		return link->port == port;
	return link->count < other->count;
}

static struct nbd_link *choose_link(const struct nbd *nbd,
				    const struct nbd_request *request)
{
	struct nbd_link *best = NULL;
	unsigned i;

	if (nbd_flushes(request))
		return oldest_link(nbd);
	for (i = 0; i < nbd->link_count; i++) {
		struct nbd_link *link = nbd->links[i];

		if (nbd_link_is_live(link) &&
		    (!best || is_better(link, best, request->io->port)))
			best = link;
	}
	return best;
}

static void append(struct nbd_line *line, struct nbd_request *request)
{
	request->next = NULL;
	if (line->first)
		line->last->next = request;
	else
		line->first = request;
	line->last = request;
}

/* It has no connection: it gets one, and is to be sent, or waits. */
static void line_up(struct nbd *nbd, struct nbd_request *request)
{
	struct nbd_link *link = choose_link(nbd, request);

	request->link = link;
	request->at = 0;
	request->error = 0;
	request->is_queued = 1;
	if (link)
		link->count++;
	append(link ? &link->line : &nbd->waiting, request);
}

static void send_all(struct nbd *nbd)
{
	unsigned i;

	for (i = 0; i < nbd->link_count; i++)
		nbd_link_send(nbd->links[i]);
}

static void line_up_waiting(struct nbd *nbd)
{
	struct nbd_request *request = nbd->waiting.first, *next;

	nbd->waiting.first = NULL;
	for (; request; request = next) {
		next = request->next;
		line_up(nbd, request);
	}
	send_all(nbd);
}

/* The queue that has the fewest connections in its ring. */
static struct io_port *choose_port(const struct nbd *nbd)
{
	struct io_port *best = NULL;
	unsigned i, j, count, least = 0;

	for (i = 0; i < nbd->port_count; i++) {
		for (count = j = 0; j < nbd->link_count; j++)
			count += nbd->links[j]->port == nbd->ports[i];
		if (!best || count < least) {
			best = nbd->ports[i];
			least = count;
		}
	}
	return best;
}

void nbd_use(struct nbd_link *link, int fd, uint64_t size)
{
	struct nbd *nbd = link->nbd;

	link->begun = ++nbd->serial;
	link->since = nbd->writes;
	if (!nbd->connected) {
		link->since = 0;
		nbd->alive = link->begun;
	}
	link->port = choose_port(nbd);
	link->fd = fd;
	link->size = size;
	nbd->connected++;
	nbd_link_receive(link);
	line_up_waiting(nbd);
}

/* ---- when a connection ends ---- */

static int is_flush_of(const struct nbd_request *request,
		       const struct nbd_link *link)
{
	return request->io->op == IO_FLUSH && request->link == link;
}

/*
 * Whether the end of a flush tells of all writes that were answered: not if its
 * sender has an answer already, or if one of them was answered after it was sent.
 */
static int tells_of_all(const struct nbd *nbd,
			const struct nbd_request *request)
{
	return !io_is_late(request->io) &&
	       (request->is_queued || request->writes == nbd->writes);
}

/*
 * What the server has answered and nobody has flushed may be gone with it. A flush
 * that is under way would not tell, so its sender hears of that; and the sender of
 * the next one, unless one of these tells of all.
 */
static void note_lost_writes(const struct nbd_link *link)
{
	struct nbd *nbd = link->nbd;
	struct nbd_request *request;
	int has_lost = 1;
	unsigned at = 0;

	while ((request = next_request(nbd, &at)))
		if (is_flush_of(request, link) && tells_of_all(nbd, request))
			has_lost = 0;
	nbd->flushed = nbd->writes;
	nbd_set_lost(nbd, has_lost);
	at = 0;
	while ((request = next_request(nbd, &at)))
		if (is_flush_of(request, link))
			end_request(nbd, request, -EIO);
}

/* All that it had not answered goes by another one, by a new cookie, or waits. */
static void pass_on(const struct nbd_link *link)
{
	struct nbd *nbd = link->nbd;
	struct nbd_request *request;
	unsigned at = 0;

	while ((request = next_request(nbd, &at))) {
		if (request->link != link)
			continue;
		request->is_flushing = 0;
		if (io_is_late(request->io)) {
			end_request(nbd, request, -ETIMEDOUT);
			continue;
		}
		let_go(request);
		line_up(nbd, request);
	}
}

/*
 * A server that dies takes along what it has answered and nobody has flushed. The
 * end of a connection may be the first that is heard of that: others to the same
 * server may end much later, and a new one may lead to the next server by then. So
 * the answer to a flush tells something only of the time since its own connection
 * was made: as long as that is there its server has lived, and a flush is for the
 * writes of all connections to it (NBD_FLAG_CAN_MULTI_CONN). That is why flushes go
 * by the oldest connection. When that one ends, the next oldest is good enough if
 * all writes that were sent before it was made (`since` is the last of them that was
 * answered) had been flushed; if they had not, or if there is none, they may be
 * lost. The end of any other connection means nothing: should the server be dead,
 * then so is the oldest, and a flush will find out. By what we leave nothing is
 * lost, unless another one has ended, and no flush has found out about that.
 */
void nbd_link_ended(struct nbd_link *link)
{
	struct nbd *nbd = link->nbd;
	const struct nbd_link *oldest;
	int is_left = link->is_left;

	link->is_left = 0;
	link->line.first = NULL;
	nbd->connected--;
	oldest = oldest_link(nbd);
	if (!(is_left && nbd->alive > nbd->broken) &&
	    nbd->writes != nbd->flushed &&
	    (!oldest || oldest->since > nbd->flushed))
		note_lost_writes(link);
	pass_on(link);
	send_all(nbd);
	if (!is_left)
		nbd_disconnected(nbd);
}

/* ---- answers ---- */

static int is_write(const struct io *io)
{
	return io->op != IO_READ && io->op != IO_FLUSH;
}

int nbd_is_durable(const struct nbd *nbd, const struct io *io)
{
	return is_write(io) && (io->flags & IO_FUA || nbd->durable);
}

/* The server cannot do that by itself, so a flush has to follow. */
static int needs_flush(const struct nbd *nbd, const struct nbd_request *request)
{
	return nbd_is_durable(nbd, request->io) && !request->is_flushing &&
	       !(nbd->export.flags & NBD_FUA) && nbd->export.flags & NBD_FLUSH;
}

/*
 * A write was answered that had been sent before some of the connections were made:
 * what has done it may be a server before theirs, whose answer was read only now.
 * The oldest is none of these, for what was sent before that ended with another one.
 */
static void note_write(struct nbd *nbd, const struct nbd_request *request)
{
	unsigned i;

	nbd->writes++;
	for (i = 0; i < nbd->link_count; i++)
		if (nbd->links[i]->begun > request->cookie >> 16)
			nbd->links[i]->since = nbd->writes;
}

static void note_success(struct nbd *nbd, const struct nbd_request *request)
{
	const struct io *io = request->io;

	if (nbd_flushes(request)) {
		if (request->writes > nbd->flushed)
			nbd->flushed = request->writes;
		nbd->alive = request->cookie >> 16;
	} else if (is_write(io) && nbd->export.flags & NBD_FLUSH &&
		   !(nbd_is_durable(nbd, io) && nbd->export.flags & NBD_FUA)) {
		note_write(nbd, request);
	}
}

void nbd_take_answer(struct nbd_request *request, int error)
{
	struct nbd *nbd = request->link->nbd;

	/* One that is late has no entry, nor an owner, which it would get. */
	if (!io_is_late(request->io))
		recorder_completed(request->io, error);
	if (!error)
		note_success(nbd, request);
	if (error || !needs_flush(nbd, request) || io_is_late(request->io)) {
		end_request(nbd, request, error);
		return;
	}
	request->is_flushing = 1;
	let_go(request);
	line_up(nbd, request);
	nbd_link_send(request->link);
}

void nbd_refuse_first(struct nbd_link *link, int error)
{
	struct nbd_request *request = link->line.first;

	link->line.first = request->next;
	end_request(link->nbd, request, error);
}

/* ---- the backend ---- */

/* On its way while the device shrank; a flush has no place. */
static int is_beyond(const struct nbd *nbd, const struct io *io)
{
	return io->op != IO_FLUSH && io->offset + io->length > nbd->size;
}

/* Returns 0, or the negative errno that ends the request. */
static int check(struct nbd *nbd, const struct io *io)
{
	if (is_beyond(nbd, io))
		return -EIO;
	if (!nbd->connected && !nbd->reconnects && !nbd->attempt)
		return -EIO;
	if (io->op == IO_FLUSH && nbd_has_lost(nbd)) {
		nbd_set_lost(nbd, 0);
		return -EIO;
	}
	return nbd->spare ? 0 : add_chunk(nbd);
}

void nbd_submit(struct backend *backend, struct io *io)
{
	struct nbd *nbd = (struct nbd *)backend;
	struct nbd_request *request;
	int error = check(nbd, io);

	if (error) {
		target_done(&nbd->target, io, error);
		return;
	}
	request = nbd->spare;
	nbd->spare = request->next;
	nbd->count++;
	request->io = io;
	request->is_flushing = 0;
	line_up(nbd, request);
	if (request->link)
		nbd_link_send(request->link);
}

/* Each has a cookie until it is answered, or its connection has ended. */
unsigned nbd_in_workers(const struct target *target)
{
	const struct nbd *nbd = (const struct nbd *)target;
	const struct nbd_request *request;
	unsigned at = 0, count = 0;

	while ((request = next_request(nbd, &at)))
		count += request->cookie != 0;
	return count;
}

void nbd_go_on(struct target *target)
{
	send_all((struct nbd *)target);
}

static void listen_for_a_while(struct nbd *nbd)
{
	nbd->has_said = 0;
	loop_timer_start(nbd->loop, &nbd->silence, SILENCE);
}

static int has_late(const struct nbd *nbd)
{
	const struct nbd_request *request;
	unsigned at = 0;

	while ((request = next_request(nbd, &at)))
		if (request->link && io_is_late(request->io))
			return 1;
	return 0;
}

/*
 * A server that says something by any connection has what is late, and may do it
 * yet: nothing that overlaps that is to be sent meanwhile.
 */
void nbd_on_silence(struct loop_timer *timer)
{
	struct nbd *nbd = timer->data;

	if (!has_late(nbd))
		return;
	if (nbd->has_said)
		listen_for_a_while(nbd);
	else
		nbd_break_all(nbd, "no answer in time");
}

/* The first that is due and not sent, so not with the server; NULL: there is none. */
static struct nbd_request *take_due(struct nbd_line *line)
{
	struct nbd_request *before = NULL, *request = line->first;

	while (request && (request->cookie || !io_is_due(request->io))) {
		before = request;
		request = request->next;
	}
	if (!request)
		return NULL;
	if (before)
		before->next = request->next;
	else
		line->first = request->next;
	if (line->last == request)
		line->last = before;
	return request;
}

/* Who hears of the end of one may line up another. */
static void expire_line(struct nbd *nbd, struct nbd_line *line)
{
	struct nbd_request *request;

	while ((request = take_due(line)))
		end_request(nbd, request, -EIO);
}

/* What is sent becomes late, and ends with its connection. */
void nbd_expire(struct backend *backend)
{
	struct nbd *nbd = (struct nbd *)backend;
	unsigned i;

	expire_line(nbd, &nbd->waiting);
	for (i = 0; i < nbd->link_count; i++)
		expire_line(nbd, &nbd->links[i]->line);
	if (nbd->connected && nbd->count &&
	    !loop_timer_is_active(&nbd->silence))
		listen_for_a_while(nbd);
}

/* Connections may be there already. */
int nbd_start(struct backend *backend, struct io_port *port)
{
	struct nbd *nbd = (struct nbd *)backend;
	unsigned i;

	if (nbd->port_count == NBD_LINKS)
		return 0;
	nbd->ports[nbd->port_count++] = port;
	for (i = 0; i < nbd->link_count; i++) {
		struct nbd_link *link = nbd->links[i];

		if (link->fd < 0 || link->port)
			continue;
		link->port = choose_port(nbd);
		nbd_note_flags(nbd);
		nbd_link_receive(link);
	}
	nbd_connect_now(nbd);
	return 0;
}

static void forget_port(struct nbd *nbd, const struct io_port *port)
{
	unsigned i;

	for (i = 0; i < nbd->port_count; i++)
		if (nbd->ports[i] == port)
			nbd->ports[i] = nbd->ports[--nbd->port_count];
}

/* Leave all in the port's ring. Returns whether the kernel has memory of one. */
static int leave_port(struct nbd *nbd, const struct io_port *port)
{
	int is_busy = 0;
	unsigned i;

	for (i = 0; i < nbd->link_count; i++) {
		struct nbd_link *link = nbd->links[i];

		if (link->port != port)
			continue;
		nbd_link_leave(link);
		is_busy |= nbd_link_is_busy(link);
	}
	return is_busy;
}

/* An operation of a link's that has come out of a ring, or NULL. */
static struct ring_op *find_op(const struct nbd *nbd, uint64_t data)
{
	struct ring_op *op = (struct ring_op *)(uintptr_t)data;
	unsigned i;

	for (i = 0; i < nbd->link_count; i++)
		if (op == &nbd->links[i]->send.op ||
		    op == &nbd->links[i]->receive.op)
			return op;
	return NULL;
}

/*
 * The sockets are shut, so that what the kernel has of them ends at once. Requests
 * of the queue's own that come out of its ring are nobody's any more.
 */
void nbd_stop(struct backend *backend, struct io_port *port)
{
	struct nbd *nbd = (struct nbd *)backend;
	struct ring_event event;
	unsigned looks = 0;

	forget_port(nbd, port); /* nothing begins there */
	while (leave_port(nbd, port) && looks++ < STOP_LOOKS) {
		ring_look(port->ring);
		while (ring_reap(port->ring, &event, 1)) {
			struct ring_op *op = find_op(nbd, event.data);

			if (op)
				op->done(op, event.result);
		}
	}
	if (looks > STOP_LOOKS)
		log_error("%s: the kernel does not let go of its socket",
			  nbd->uri);
}
