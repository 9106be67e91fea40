/*
 * The transmission of NBD: requests and replies on the socket of one connection, in
 * the ring of a queue.
 *
 * At most one message is with the kernel to be sent, and one piece of memory to be
 * received into. What a turn of the queue brings is one message. Replies are read
 * from a buffer of their own, out of which data is put into the request, so that a
 * request has no bytes but those that came for it.
 *
 * A reply that nobody can have meant ends the connection.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* ---- ending a connection ---- */

static void drop_piece(struct nbd_link *link, struct nbd_piece *piece)
{
	if (piece->buffer == link->reserve)
		link->reserve_is_used = 0;
	else if (piece->buffer)
		pool_put(&link->nbd->pooled, piece->buffer, piece->room);
	piece->buffer = NULL;
}

static void drop_pieces(struct nbd_link *link)
{
	struct nbd_send *send = &link->send;

	while (send->first < send->count)
		drop_piece(link, &send->pieces[send->first++]);
	send->first = send->count = 0;
	send->bytes = 0;
}

/* The kernel has let go of the socket, and of what it had of ours. */
static void end_if_idle(struct nbd_link *link)
{
	if (!link->is_broken || nbd_link_is_busy(link))
		return;
	close(link->fd);
	link->fd = -1;
	link->port = NULL;
	link->is_broken = 0;
	link->receive.request = NULL;
	link->receive.have = 0;
	drop_pieces(link);
	nbd_link_ended(link);
}

static void break_off(struct nbd_link *link)
{
	link->is_broken = 1;
	shutdown(link->fd, SHUT_RDWR);
}

/* It may be the server's end. */
static void note_broken(struct nbd *nbd, const char *why)
{
	nbd_say_why(nbd, why);
	nbd->broken = ++nbd->serial;
}

void nbd_break_all(struct nbd *nbd, const char *why)
{
	unsigned i;

	note_broken(nbd, why);
	/* Nothing is sent again: by no other connection, nor by a new one. */
	if (!nbd->reconnects)
		nbd_connect_no_more(nbd);
	for (i = 0; i < nbd->link_count; i++)
		if (nbd_link_is_live(nbd->links[i]))
			break_off(nbd->links[i]);
	for (i = 0; i < nbd->link_count; i++)
		end_if_idle(nbd->links[i]);
}

void nbd_link_break(struct nbd_link *link, const char *why)
{
	if (!nbd_link_is_live(link))
		return;
	if (!link->nbd->reconnects) {
		nbd_break_all(link->nbd, why);
		return;
	}
	note_broken(link->nbd, why);
	break_off(link);
	end_if_idle(link);
}

/* Without a wait: whoever does not listen sees the end of the connection. */
static void say_goodbye(const struct nbd_link *link)
{
	const struct wire_request wire = { .magic = htobe32(REQUEST_MAGIC),
					   .command = htobe16(
						   COMMAND_DISCONNECT) };

	/* Not into the middle of a request. */
	if (link->send.first == link->send.count)
		send(link->fd, &wire, sizeof(wire),
		     MSG_DONTWAIT | MSG_NOSIGNAL);
}

void nbd_link_leave(struct nbd_link *link)
{
	if (!nbd_link_is_live(link))
		return;
	say_goodbye(link);
	link->is_left = 1;
	break_off(link);
	end_if_idle(link);
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

static void write_head(struct nbd_request *request, uint8_t *head)
{
	const struct nbd *nbd = request->link->nbd;
	const struct io *io = request->io;
	enum command command = command_of(request);
	struct wire_request wire = { .magic = htobe32(REQUEST_MAGIC),
				     .command = htobe16(command) };
	unsigned flags = 0;

	nbd_name_request(request);
	wire.cookie = request->cookie;
	if (command != COMMAND_FLUSH) {
		wire.offset = htobe64(io->offset);
		wire.length = htobe32(io->length);
		if (nbd_is_durable(nbd, io) && nbd->export.flags & NBD_FUA)
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
static int get_buffer(struct nbd_link *link, struct nbd_piece *piece,
		      uint32_t length)
{
	piece->buffer = pool_get(&link->nbd->pooled, length, &piece->room);
	if (piece->buffer)
		return 0;
	if (link->reserve_is_used)
		return -EAGAIN;
	link->reserve_is_used = 1;
	piece->buffer = link->reserve;
	piece->room = POOL_RESERVE;
	return 0;
}

/*
 * Add data of a write to a piece. Returns 0, -EAGAIN if there is no buffer now, or
 * another negative errno: its data cannot be had.
 */
static int add_data(struct nbd_request *request, struct nbd_piece *piece,
		    struct iovec *vector)
{
	struct nbd_link *link = request->link;
	struct io *io = request->io;
	uint32_t length = io->length - request->at;
	int error;

	if (io->port->mode == IO_COPY) {
		vector->iov_base = (uint8_t *)io_place(io) + request->at;
	} else {
		error = get_buffer(link, piece, length);
		if (error)
			return error;
		length = least(length, piece->room);
		error = io_take(io, piece->buffer, request->at, length);
		if (error) {
			drop_piece(link, piece);
			return error;
		}
		vector->iov_base = piece->buffer;
	}
	vector->iov_len = length;
	request->at += length;
	link->send.bytes += length;
	return 0;
}

/* Add a request, or some more of it, to the message. As add_data(). */
static int add_piece(struct nbd_link *link, struct nbd_request *request)
{
	struct nbd_send *send = &link->send;
	struct nbd_piece *piece = &send->pieces[send->count];
	struct iovec *vectors = &send->vectors[(size_t)2 * send->count];
	int has_data = command_of(request) == COMMAND_WRITE, error = 0;

	piece->buffer = NULL;
	vectors[0] = (struct iovec){ .iov_base = piece->head };
	vectors[1] = (struct iovec){ .iov_base = NULL };
	if (has_data)
		error = add_data(request, piece, &vectors[1]);
	if (error)
		return error;
	if (!request->cookie) {
		write_head(request, piece->head);
		vectors[0].iov_len = NBD_WIRE_REQUEST;
		recorder_submitted(request->io);
	}
	send->count++;
	if (has_data && request->at < request->io->length)
		return 0;
	/* From here on `at` is what has been received. */
	request->at = 0;
	request->is_queued = 0;
	link->line.first = request->next;
	return 0;
}

/* Its data cannot be had: it has not begun to be sent, or the server waits for it. */
static void refuse(struct nbd_link *link, int error)
{
	if (link->line.first->cookie)
		nbd_link_break(link, "the rest of a write cannot be had");
	else
		nbd_refuse_first(link, error);
}

/* Before an upgrade nothing begins; the server waits for what has. */
static int is_held(const struct nbd_request *request)
{
	return !request->cookie && workers_are_held();
}

static void fill_message(struct nbd_link *link)
{
	struct nbd_send *send = &link->send;

	while (link->line.first && nbd_link_is_live(link) &&
	       send->count < NBD_BATCH && send->bytes < NBD_BATCH_DATA) {
		struct nbd_request *request = link->line.first;
		int error = is_held(request) ? -EAGAIN
					     : add_piece(link, request);

		if (error == -EAGAIN)
			return;
		if (error)
			refuse(link, error);
	}
}

/* Send what there is; and what comes before the kernel has looked. */
void nbd_link_send(struct nbd_link *link)
{
	struct nbd_send *send = &link->send;

	if (!link->port || !nbd_link_is_live(link))
		return;
	fill_message(link);
	if (send->first == send->count || !nbd_link_is_live(link))
		return;
	send->message.msg_iov = &send->vectors[(size_t)2 * send->first];
	send->message.msg_iovlen = (size_t)2 * (send->count - send->first);
	if (send->is_busy)
		return;
	if (ring_put_send(link->port->ring, link->fd, &send->message,
			  (uintptr_t)&send->op) < 0) {
		nbd_link_break(link, "the ring is full");
		return;
	}
	send->is_busy = 1;
	if (!link->port->in_turn)
		io_submit(link->port);
}

/* So many bytes of a vector have gone; returns how many of them were others'. */
static size_t cut(struct iovec *vector, size_t bytes)
{
	size_t here = bytes < vector->iov_len ? bytes : vector->iov_len;

	vector->iov_base = (uint8_t *)vector->iov_base + here;
	vector->iov_len -= here;
	return bytes - here;
}

static void take_sent(struct nbd_link *link, size_t bytes)
{
	struct nbd_send *send = &link->send;

	while (send->first < send->count) {
		struct iovec *vectors = &send->vectors[(size_t)2 * send->first];

		bytes = cut(&vectors[0], bytes);
		if (!vectors[0].iov_len)
			bytes = cut(&vectors[1], bytes);
		if (vectors[0].iov_len || vectors[1].iov_len)
			return;
		drop_piece(link, &send->pieces[send->first++]);
	}
	send->first = send->count = 0;
	send->bytes = 0;
}

static void on_sent(struct ring_op *op, int32_t result)
{
	struct nbd_link *link =
		(struct nbd_link *)((char *)op -
				    offsetof(struct nbd_link, send.op));

	link->send.is_busy = 0;
	if (result > 0 && !link->is_broken)
		take_sent(link, (size_t)result);
	else if (result <= 0 && result != -EINTR && result != -EAGAIN)
		nbd_link_break(link,
			       result ? strerror(-result) : "nothing was sent");
	end_if_idle(link);
	nbd_link_send(link);
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

/* It may end the connection. */
static void take_reply(struct nbd_link *link, const uint8_t *bytes)
{
	struct nbd_request *request;
	struct wire_reply reply;
	uint32_t error;

	memcpy(&reply, bytes, sizeof(reply));
	error = be32toh(reply.error);
	if (be32toh(reply.magic) != REPLY_MAGIC) {
		nbd_link_break(link, "the server sends what is no reply");
		return;
	}
	if (error == SERVER_SHUTS_DOWN) {
		nbd_link_break(link, "the server shuts down");
		return;
	}
	request = nbd_find_request(link, reply.cookie);
	if (!request) {
		nbd_link_break(link,
			       "the server answers what nobody has asked");
		return;
	}
	if (!error && command_of(request) == COMMAND_READ)
		link->receive.request = request;
	else
		nbd_take_answer(request, error ? error_of(error) : 0);
}

/* All of a read's data is there, or not yet. */
static void end_data(struct nbd_link *link, uint32_t count)
{
	struct nbd_request *request = link->receive.request;

	request->at += count;
	if (request->at < request->io->length)
		return;
	link->receive.request = NULL;
	nbd_take_answer(request, request->error);
}

static uint32_t take_data(struct nbd_link *link, const uint8_t *bytes,
			  uint32_t count)
{
	struct nbd_request *request = link->receive.request;
	struct io *io = request->io;

	count = least(count, io->length - request->at);
	if (!io_is_late(io) && !request->error)
		request->error = io_put(io, bytes, request->at, count);
	end_data(link, count);
	return count;
}

/* What is not used of the buffer goes to its start. */
static void take_received(struct nbd_link *link)
{
	struct nbd_receive *receive = &link->receive;
	uint32_t at = 0;

	while (at < receive->have) {
		const uint8_t *bytes = receive->buffer + at;
		uint32_t left = receive->have - at;

		if (receive->request) {
			at += take_data(link, bytes, left);
		} else if (left >= NBD_WIRE_REPLY) {
			take_reply(link, bytes);
			at += NBD_WIRE_REPLY;
		} else {
			break;
		}
		if (!nbd_link_is_live(link))
			return;
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

void nbd_link_receive(struct nbd_link *link)
{
	struct nbd_receive *receive = &link->receive;
	struct nbd_request *request = receive->request;
	uint8_t *to = receive->buffer + receive->have;
	uint32_t room = NBD_RECEIVE - receive->have;

	if (!link->port || !nbd_link_is_live(link) || receive->is_busy)
		return;
	receive->is_direct = can_be_direct(receive);
	if (receive->is_direct) {
		to = (uint8_t *)io_place(request->io) + request->at;
		room = request->io->length - request->at;
	}
	if (ring_put_receive(link->port->ring, link->fd, to, room,
			     (uintptr_t)&receive->op) < 0) {
		nbd_link_break(link, "the ring is full");
		return;
	}
	receive->is_busy = 1;
	if (!link->port->in_turn)
		io_submit(link->port);
}

static void on_received(struct ring_op *op, int32_t result)
{
	struct nbd_link *link =
		(struct nbd_link *)((char *)op -
				    offsetof(struct nbd_link, receive.op));
	struct nbd_receive *receive = &link->receive;

	receive->is_busy = 0;
	link->nbd->has_said |= result > 0;
	if (result > 0 && !link->is_broken) {
		if (receive->is_direct) {
			end_data(link, (uint32_t)result);
		} else {
			receive->have += (uint32_t)result;
			take_received(link);
		}
	} else if (result <= 0 && result != -EINTR && result != -EAGAIN) {
		nbd_link_break(link, result ? strerror(-result)
					    : "the server has closed it");
	}
	end_if_idle(link);
	nbd_link_receive(link);
	nbd_link_send(link);
}

/* ---- a link ---- */

void nbd_link_free(struct nbd_link *link)
{
	pool_unreserve(link->reserve, POOL_RESERVE);
	free(link->receive.buffer);
	free(link);
}

struct nbd_link *nbd_link_new(struct nbd *nbd)
{
	struct nbd_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->nbd = nbd;
	link->fd = -1;
	link->send.op.done = on_sent;
	link->receive.op.done = on_received;
	link->receive.buffer = malloc(NBD_RECEIVE);
	link->reserve = pool_reserve(POOL_RESERVE, POOL_RESERVE);
	if (link->receive.buffer && link->reserve)
		return link;
	nbd_link_free(link);
	return NULL;
}
