/*
 * The transmission of NBD: requests and replies on a socket, in the ring of a
 * queue.
 *
 * At most one message is with the kernel to be sent, and one piece of memory to be
 * received into. What a turn of the queue brings is one message. Replies are read
 * from a buffer of their own, out of which data is put into the request, so that a
 * request has no bytes but those that came for it.
 *
 * A reply that nobody can have meant ends the connection. Then, and when the socket
 * fails, all that is not answered is sent again on the next one.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "io/pool.h"
#include "io/recorder.h"
#include "io/workers.h"
#include "nbd.h"

#define REQUEST_MAGIC 0x25609513u
#define REPLY_MAGIC   0x67446698u

enum command {
	COMMAND_READ,
	COMMAND_WRITE,
	COMMAND_DISCONNECT,
	COMMAND_FLUSH,
	COMMAND_TRIM,
	COMMAND_WRITE_ZEROES = 6,
};

#define COMMAND_FUA	1u
#define COMMAND_NO_HOLE 2u

#define SERVER_SHUTS_DOWN 108u /* an error of a reply: ask the next server */

/* In so many s a server that has late requests must say something. */
#define SILENCE 10.0

#define STOP_LOOKS 1000 /* at the ring, until the kernel lets go of a socket */

struct wire_request {
	uint32_t magic;
	uint16_t flags;
	uint16_t command;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
} __attribute__((packed));
_Static_assert(sizeof(struct wire_request) == NBD_WIRE_REQUEST, "on the wire");

struct wire_reply {
	uint32_t magic;
	uint32_t error;
	uint64_t cookie; /* as the request has it */
} __attribute__((packed));
_Static_assert(sizeof(struct wire_reply) == NBD_WIRE_REPLY, "on the wire");

static void pump(struct nbd *nbd);

/* ---- requests ---- */

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

static struct nbd_request *request_at(const struct nbd *nbd, unsigned index)
{
	return &nbd->chunks[index / NBD_CHUNK][index % NBD_CHUNK];
}

/* The one that a reply is for, or NULL: nobody has asked for such a thing. */
static struct nbd_request *find_request(const struct nbd *nbd, uint64_t cookie)
{
	unsigned index = cookie & 0xffff;
	struct nbd_request *request;

	if (index >= nbd->chunk_count * NBD_CHUNK)
		return NULL;
	request = request_at(nbd, index);
	return request->io && request->cookie == cookie && !request->is_queued
		       ? request
		       : NULL;
}

/* The server has it no more. */
static void drop_cookie(struct nbd_request *request)
{
	if (request->cookie)
		workers_leave(request->mark);
	request->cookie = 0;
}

static void line_up(struct nbd *nbd, struct nbd_request *request)
{
	drop_cookie(request);
	request->at = 0;
	request->error = 0;
	request->is_queued = 1;
	request->next = NULL;
	if (nbd->first)
		nbd->last->next = request;
	else
		nbd->first = request;
	nbd->last = request;
}

static void end_request(struct nbd *nbd, struct nbd_request *request, int error)
{
	struct io *io = request->io;

	request->io = NULL;
	drop_cookie(request);
	request->next = nbd->spare;
	nbd->spare = request;
	nbd->count--;
	target_done(&nbd->target, io, error);
}

static int is_write(const struct io *io)
{
	return io->op != IO_READ && io->op != IO_FLUSH;
}

static int is_durable(const struct nbd *nbd, const struct io *io)
{
	return is_write(io) && (io->flags & IO_FUA || nbd->durable);
}

/* The server cannot do that by itself, so a flush has to follow. */
static int needs_flush(const struct nbd *nbd, const struct nbd_request *request)
{
	return is_durable(nbd, request->io) && !request->is_flushing &&
	       !(nbd->export.flags & NBD_FUA) && nbd->export.flags & NBD_FLUSH;
}

/* ---- ending a connection ---- */

static void drop_piece(struct nbd *nbd, struct nbd_piece *piece)
{
	if (piece->buffer == nbd->reserve)
		nbd->reserve_is_used = 0;
	else if (piece->buffer)
		pool_put(&nbd->pooled, piece->buffer, piece->room);
	piece->buffer = NULL;
}

static void drop_pieces(struct nbd *nbd)
{
	struct nbd_send *send = &nbd->send;

	while (send->first < send->count)
		drop_piece(nbd, &send->pieces[send->first++]);
	send->first = send->count = 0;
	send->bytes = 0;
}

static int is_flush(const struct nbd_request *request)
{
	return request->io && request->io->op == IO_FLUSH;
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
static void note_lost_writes(struct nbd *nbd)
{
	int has_lost = 1;
	unsigned i;

	if (nbd->writes == nbd->flushed)
		return;
	for (i = 0; i < nbd->chunk_count * NBD_CHUNK; i++) {
		struct nbd_request *request = request_at(nbd, i);

		if (is_flush(request) && tells_of_all(nbd, request))
			has_lost = 0;
	}
	nbd->flushed = nbd->writes;
	nbd_set_lost(nbd, has_lost);
	for (i = 0; i < nbd->chunk_count * NBD_CHUNK; i++) {
		struct nbd_request *request = request_at(nbd, i);

		if (is_flush(request))
			end_request(nbd, request, -EIO);
	}
}

/* All that is not answered goes to the next connection, by a new cookie. */
static void line_up_all(struct nbd *nbd)
{
	unsigned i;

	nbd->first = nbd->last = NULL;
	for (i = 0; i < nbd->chunk_count * NBD_CHUNK; i++) {
		struct nbd_request *request = request_at(nbd, i);

		if (!request->io)
			continue;
		request->is_flushing = 0;
		if (io_is_late(request->io))
			end_request(nbd, request, -ETIMEDOUT);
		else
			line_up(nbd, request);
	}
}

/* The kernel has let go of the socket, and of what it had of ours. */
static void end_if_idle(struct nbd *nbd)
{
	if (!nbd->is_broken || nbd->send.is_busy || nbd->receive.is_busy)
		return;
	close(nbd->fd);
	nbd->fd = -1;
	nbd->is_broken = 0;
	loop_timer_stop(nbd->loop, &nbd->silence);
	nbd->receive.request = NULL;
	nbd->receive.have = 0;
	drop_pieces(nbd);
	if (!nbd->is_left)
		note_lost_writes(nbd);
	nbd->is_left = 0;
	line_up_all(nbd);
	nbd_disconnected(nbd);
}

static void break_off(struct nbd *nbd, const char *why)
{
	if (nbd->fd < 0 || nbd->is_broken)
		return;
	nbd_say_why(nbd, why);
	nbd->is_broken = 1;
	shutdown(nbd->fd, SHUT_RDWR);
	end_if_idle(nbd);
}

void nbd_fail_all(struct nbd *nbd)
{
	unsigned i;

	nbd->first = nbd->last = NULL;
	for (i = 0; i < nbd->chunk_count * NBD_CHUNK; i++) {
		struct nbd_request *request = request_at(nbd, i);

		if (request->io)
			end_request(nbd, request, -EIO);
	}
}

/* ---- sending ---- */

static enum command command_of(const struct nbd_request *request)
{
	static const enum command commands[] = {
		[IO_READ] = COMMAND_READ,
		[IO_WRITE] = COMMAND_WRITE,
		[IO_FLUSH] = COMMAND_FLUSH,
		[IO_DISCARD] = COMMAND_TRIM,
		[IO_WRITE_ZEROES] = COMMAND_WRITE_ZEROES,
	};

	return request->is_flushing ? COMMAND_FLUSH : commands[request->io->op];
}

static void write_head(struct nbd *nbd, struct nbd_request *request,
		       uint8_t *head)
{
	const struct io *io = request->io;
	enum command command = command_of(request);
	struct wire_request wire = { .magic = htobe32(REQUEST_MAGIC),
				     .command = htobe16(command) };
	unsigned flags = 0;

	request->cookie = ++nbd->serial << 16 | request->index;
	request->mark = workers_enter();
	request->writes = nbd->writes;
	wire.cookie = request->cookie;
	if (command != COMMAND_FLUSH) {
		wire.offset = htobe64(io->offset);
		wire.length = htobe32(io->length);
		if (is_durable(nbd, io) && nbd->export.flags & NBD_FUA)
			flags |= COMMAND_FUA;
	}
	if (command == COMMAND_WRITE_ZEROES && io->flags & IO_KEEP_SPACE)
		flags |= COMMAND_NO_HOLE;
	wire.flags = htobe16((uint16_t)flags);
	memcpy(head, &wire, sizeof(wire));
}

static uint32_t least(uint32_t one, uint32_t other)
{
	return one < other ? one : other;
}

/* Returns 0, or -EAGAIN: when one comes back. */
static int get_buffer(struct nbd *nbd, struct nbd_piece *piece, uint32_t length)
{
	piece->buffer = pool_get(&nbd->pooled, length, &piece->room);
	if (piece->buffer)
		return 0;
	if (nbd->reserve_is_used)
		return -EAGAIN;
	nbd->reserve_is_used = 1;
	piece->buffer = nbd->reserve;
	piece->room = POOL_RESERVE;
	return 0;
}

/*
 * Add data of a write to a piece. Returns 0, -EAGAIN if there is no buffer now, or
 * another negative errno: its data cannot be had.
 */
static int add_data(struct nbd *nbd, struct nbd_request *request,
		    struct nbd_piece *piece, struct iovec *vector)
{
	struct io *io = request->io;
	uint32_t length = io->length - request->at;
	int error;

	if (io->port->mode == IO_COPY) {
		vector->iov_base = (uint8_t *)io_place(io) + request->at;
	} else {
		error = get_buffer(nbd, piece, length);
		if (error)
			return error;
		length = least(length, piece->room);
		error = io_take(io, piece->buffer, request->at, length);
		if (error) {
			drop_piece(nbd, piece);
			return error;
		}
		vector->iov_base = piece->buffer;
	}
	vector->iov_len = length;
	request->at += length;
	nbd->send.bytes += length;
	return 0;
}

/* Add a request, or some more of it, to the message. As add_data(). */
static int add_piece(struct nbd *nbd, struct nbd_request *request)
{
	struct nbd_send *send = &nbd->send;
	struct nbd_piece *piece = &send->pieces[send->count];
	struct iovec *vectors = &send->vectors[(size_t)2 * send->count];
	int has_data = command_of(request) == COMMAND_WRITE, error = 0;

	piece->buffer = NULL;
	vectors[0] = (struct iovec){ .iov_base = piece->head };
	vectors[1] = (struct iovec){ .iov_base = NULL };
	if (has_data)
		error = add_data(nbd, request, piece, &vectors[1]);
	if (error)
		return error;
	if (!request->cookie) {
		write_head(nbd, request, piece->head);
		vectors[0].iov_len = NBD_WIRE_REQUEST;
		recorder_submitted(request->io);
	}
	send->count++;
	if (has_data && request->at < request->io->length)
		return 0;
	/* From here on `at` is what has been received. */
	request->at = 0;
	request->is_queued = 0;
	nbd->first = request->next;
	return 0;
}

/* Its data cannot be had: it has not begun to be sent, or the server waits for it. */
static void refuse(struct nbd *nbd, struct nbd_request *request, int error)
{
	if (request->cookie) {
		break_off(nbd, "the rest of a write cannot be had");
		return;
	}
	nbd->first = request->next;
	end_request(nbd, request, error);
}

/* Before an upgrade nothing begins; the server waits for what has. */
static int is_held(const struct nbd_request *request)
{
	return !request->cookie && workers_are_held();
}

static void fill_message(struct nbd *nbd)
{
	struct nbd_send *send = &nbd->send;

	while (nbd->first && !nbd->is_broken && send->count < NBD_BATCH &&
	       send->bytes < NBD_BATCH_DATA) {
		struct nbd_request *request = nbd->first;
		int error = is_held(request) ? -EAGAIN
					     : add_piece(nbd, request);

		if (error == -EAGAIN)
			return;
		if (error)
			refuse(nbd, request, error);
	}
}

/* Send what there is; and what comes before the kernel has looked. */
static void pump(struct nbd *nbd)
{
	struct nbd_send *send = &nbd->send;

	if (nbd->fd < 0 || !nbd->port || nbd->is_broken)
		return;
	fill_message(nbd);
	if (send->first == send->count || nbd->is_broken)
		return;
	send->message.msg_iov = &send->vectors[(size_t)2 * send->first];
	send->message.msg_iovlen = (size_t)2 * (send->count - send->first);
	if (send->is_busy)
		return;
	if (ring_put_send(nbd->port->ring, nbd->fd, &send->message,
			  (uintptr_t)&send->op) < 0) {
		break_off(nbd, "the ring is full");
		return;
	}
	send->is_busy = 1;
	if (!nbd->port->in_turn)
		io_submit(nbd->port);
}

/* So many bytes of a vector have gone; returns how many of them were others'. */
static size_t cut(struct iovec *vector, size_t bytes)
{
	size_t here = bytes < vector->iov_len ? bytes : vector->iov_len;

	vector->iov_base = (uint8_t *)vector->iov_base + here;
	vector->iov_len -= here;
	return bytes - here;
}

static void take_sent(struct nbd *nbd, size_t bytes)
{
	struct nbd_send *send = &nbd->send;

	while (send->first < send->count) {
		struct iovec *vectors = &send->vectors[(size_t)2 * send->first];

		bytes = cut(&vectors[0], bytes);
		if (!vectors[0].iov_len)
			bytes = cut(&vectors[1], bytes);
		if (vectors[0].iov_len || vectors[1].iov_len)
			return;
		drop_piece(nbd, &send->pieces[send->first++]);
	}
	send->first = send->count = 0;
	send->bytes = 0;
}

static void on_sent(struct ring_op *op, int32_t result)
{
	struct nbd_send *send = (struct nbd_send *)op;
	struct nbd *nbd =
		(struct nbd *)((char *)send - offsetof(struct nbd, send));

	send->is_busy = 0;
	if (result > 0 && !nbd->is_broken)
		take_sent(nbd, (size_t)result);
	else if (result <= 0 && result != -EINTR && result != -EAGAIN)
		break_off(nbd, result ? strerror(-result) : "nothing was sent");
	end_if_idle(nbd);
	pump(nbd);
}

/* ---- receiving ---- */

/* What a server can answer, by the protocol's numbers. */
static int error_of(uint32_t error)
{
	switch (error) {
	case 1:
		return -EPERM;
	case 12:
		return -ENOMEM;
	case 28:
		return -ENOSPC;
	case 95:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

static void note_success(struct nbd *nbd, const struct nbd_request *request)
{
	const struct io *io = request->io;

	if (command_of(request) == COMMAND_FLUSH) {
		if (request->writes > nbd->flushed)
			nbd->flushed = request->writes;
	} else if (is_write(io) && nbd->export.flags & NBD_FLUSH &&
		   !(is_durable(nbd, io) && nbd->export.flags & NBD_FUA)) {
		nbd->writes++;
	}
}

/* The server has answered, and its data is there. */
static void take_answer(struct nbd *nbd, struct nbd_request *request, int error)
{
	recorder_completed(request->io, error);
	if (!error)
		note_success(nbd, request);
	if (!error && needs_flush(nbd, request) && !io_is_late(request->io)) {
		request->is_flushing = 1;
		line_up(nbd, request);
		return;
	}
	end_request(nbd, request, error);
}

/* Returns 0, or -1: the connection has ended. */
static int take_reply(struct nbd *nbd, const uint8_t *bytes)
{
	struct nbd_request *request;
	struct wire_reply reply;
	uint32_t error;

	memcpy(&reply, bytes, sizeof(reply));
	error = be32toh(reply.error);
	if (be32toh(reply.magic) != REPLY_MAGIC) {
		break_off(nbd, "the server sends what is no reply");
		return -1;
	}
	if (error == SERVER_SHUTS_DOWN) {
		break_off(nbd, "the server shuts down");
		return -1;
	}
	request = find_request(nbd, reply.cookie);
	if (!request) {
		break_off(nbd, "the server answers what nobody has asked");
		return -1;
	}
	if (!error && command_of(request) == COMMAND_READ)
		nbd->receive.request = request;
	else
		take_answer(nbd, request, error ? error_of(error) : 0);
	return 0;
}

/* All of a read's data is there, or not yet. */
static void end_data(struct nbd *nbd, uint32_t count)
{
	struct nbd_request *request = nbd->receive.request;

	request->at += count;
	if (request->at < request->io->length)
		return;
	nbd->receive.request = NULL;
	take_answer(nbd, request, request->error);
}

static uint32_t take_data(struct nbd *nbd, const uint8_t *bytes, uint32_t count)
{
	struct nbd_request *request = nbd->receive.request;
	struct io *io = request->io;

	count = least(count, io->length - request->at);
	if (!io_is_late(io) && !request->error)
		request->error = io_put(io, bytes, request->at, count);
	end_data(nbd, count);
	return count;
}

/* What is not used of the buffer goes to its start. */
static void take_received(struct nbd *nbd)
{
	struct nbd_receive *receive = &nbd->receive;
	uint32_t at = 0;

	while (at < receive->have) {
		const uint8_t *bytes = receive->buffer + at;
		uint32_t left = receive->have - at;

		if (receive->request) {
			at += take_data(nbd, bytes, left);
			continue;
		}
		if (left < NBD_WIRE_REPLY)
			break;
		if (take_reply(nbd, bytes) < 0)
			return;
		at += NBD_WIRE_REPLY;
	}
	receive->have -= at;
	memmove(receive->buffer, receive->buffer + at, receive->have);
}

/*
 * In copy a read's buffer is there for all of its data, so what is more than a
 * little goes there at once.
 */
static int can_be_direct(const struct nbd_receive *receive)
{
	const struct io *io = receive->request ? receive->request->io : NULL;

	return io && !receive->have && io->port->mode == IO_COPY &&
	       !io_is_late(io) &&
	       io->length - receive->request->at >= NBD_RECEIVE / 4;
}

static void receive_more(struct nbd *nbd)
{
	struct nbd_receive *receive = &nbd->receive;
	struct nbd_request *request = receive->request;
	uint8_t *to = receive->buffer + receive->have;
	uint32_t room = NBD_RECEIVE - receive->have;

	if (nbd->fd < 0 || !nbd->port || nbd->is_broken || receive->is_busy)
		return;
	receive->is_direct = can_be_direct(receive);
	if (receive->is_direct) {
		to = (uint8_t *)io_place(request->io) + request->at;
		room = request->io->length - request->at;
	}
	if (ring_put_receive(nbd->port->ring, nbd->fd, to, room,
			     (uintptr_t)&receive->op) < 0) {
		break_off(nbd, "the ring is full");
		return;
	}
	receive->is_busy = 1;
	if (!nbd->port->in_turn)
		io_submit(nbd->port);
}

static void on_received(struct ring_op *op, int32_t result)
{
	struct nbd_receive *receive = (struct nbd_receive *)op;
	struct nbd *nbd =
		(struct nbd *)((char *)receive - offsetof(struct nbd, receive));

	receive->is_busy = 0;
	nbd->has_said |= result > 0;
	if (result > 0 && !nbd->is_broken) {
		if (receive->is_direct) {
			end_data(nbd, (uint32_t)result);
		} else {
			receive->have += (uint32_t)result;
			take_received(nbd);
		}
	} else if (result <= 0 && result != -EINTR && result != -EAGAIN) {
		break_off(nbd, result ? strerror(-result)
				      : "the server has closed it");
	}
	end_if_idle(nbd);
	receive_more(nbd);
	pump(nbd);
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
	if (nbd->fd < 0 && !nbd->reconnects && !nbd->attempt)
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
	pump(nbd);
}

/* Each has a cookie until it is answered, or its connection has ended. */
unsigned nbd_in_workers(const struct target *target)
{
	const struct nbd *nbd = (const struct nbd *)target;
	unsigned i, count = 0;

	for (i = 0; i < nbd->chunk_count * NBD_CHUNK; i++)
		count += request_at(nbd, i)->cookie != 0;
	return count;
}

void nbd_go_on(struct target *target)
{
	pump((struct nbd *)target);
}

static void listen_for_a_while(struct nbd *nbd)
{
	nbd->has_said = 0;
	loop_timer_start(nbd->loop, &nbd->silence, SILENCE);
}

static int has_late(const struct nbd *nbd)
{
	unsigned i;

	for (i = 0; i < nbd->chunk_count * NBD_CHUNK; i++) {
		const struct nbd_request *request = request_at(nbd, i);

		if (request->io && io_is_late(request->io))
			return 1;
	}
	return 0;
}

void nbd_on_silence(struct loop_timer *timer)
{
	struct nbd *nbd = timer->data;

	if (!has_late(nbd))
		return;
	if (nbd->has_said)
		listen_for_a_while(nbd);
	else
		break_off(nbd, "no answer in time");
}

/*
 * What is not sent is not with the server. What is sent becomes late, and ends with
 * the connection if that brings nothing any more.
 */
void nbd_expire(struct backend *backend)
{
	struct nbd *nbd = (struct nbd *)backend;
	struct nbd_request **at = &nbd->first, *request;

	nbd->last = NULL;
	while ((request = *at)) {
		if (request->cookie || !io_is_due(request->io)) {
			nbd->last = request;
			at = &request->next;
			continue;
		}
		*at = request->next;
		end_request(nbd, request, -EIO);
	}
	if (nbd->fd >= 0 && nbd->count && !loop_timer_is_active(&nbd->silence))
		listen_for_a_while(nbd);
}

int nbd_start(struct backend *backend, struct io_port *port)
{
	struct nbd *nbd = (struct nbd *)backend;

	if (nbd->port)
		return 0;
	nbd->port = port;
	nbd->send.op.done = on_sent;
	nbd->receive.op.done = on_received;
	if (nbd->fd >= 0) {
		nbd_note_flags(nbd);
		receive_more(nbd);
	} else {
		nbd_connect_now(nbd);
	}
	return 0;
}

void nbd_use(struct nbd *nbd, int fd)
{
	nbd->fd = fd;
	nbd->why[0] = '\0';
	receive_more(nbd);
	pump(nbd);
}

/* Without a wait: whoever does not listen sees the end of the connection. */
static void say_goodbye(const struct nbd *nbd)
{
	const struct wire_request wire = { .magic = htobe32(REQUEST_MAGIC),
					   .command = htobe16(
						   COMMAND_DISCONNECT) };

	/* Not into the middle of a request. */
	if (nbd->send.first == nbd->send.count && !nbd->is_broken)
		send(nbd->fd, &wire, sizeof(wire), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void nbd_leave(struct nbd *nbd)
{
	if (nbd->fd < 0)
		return;
	say_goodbye(nbd);
	close(nbd->fd);
	nbd->fd = -1;
}

/*
 * The socket is shut, so that what the kernel has of it ends at once. Requests
 * of the queue's own that come out of its ring are nobody's any more.
 */
void nbd_stop(struct backend *backend, struct io_port *port)
{
	struct nbd *nbd = (struct nbd *)backend;
	struct ring_event event;
	unsigned looks = 0;

	if (nbd->port != port)
		return;
	nbd->port = NULL; /* nothing begins */
	if (nbd->fd >= 0) {
		say_goodbye(nbd);
		nbd->is_left = !nbd->is_broken;
		break_off(nbd, "the device ends");
	}
	while ((nbd->send.is_busy || nbd->receive.is_busy) &&
	       looks++ < STOP_LOOKS) {
		ring_look(port->ring);
		while (ring_reap(port->ring, &event, 1)) {
			struct ring_op *op =
				(struct ring_op *)(uintptr_t)event.data;

			if (op == &nbd->send.op || op == &nbd->receive.op)
				op->done(op, event.result);
		}
	}
	if (nbd->send.is_busy || nbd->receive.is_busy)
		log_error("%s: the kernel does not let go of its socket",
			  nbd->uri);
}
