#include "io.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "uapi.h"

/*
 * A private mapping that is only ever read: every page of it is the kernel's
 * zero page, so that it takes no memory whatever its size.
 */
static const void *zeroes;

int io_initialise(void)
{
	void *map;

	if (zeroes)
		return 0;
	map = mmap(NULL, UBLK_MAX_IO_BYTES, PROT_READ,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	zeroes = map;
	return 0;
}

static int put_command(const struct io *io, uint32_t op, int32_t result)
{
	struct ublk_io_cmd command = { .q_id = io->port->queue_id,
				       .tag = io->tag,
				       .result = result };

	return ring_put_command(io->port->ring, -1, op, &command,
				sizeof(command), io->tag);
}

int io_fetch(struct io *io)
{
	return put_command(io, UBLK_IO_FETCH_REQ, 0);
}

void io_begin(struct io *io)
{
	io->owned = 1;
	io->port->owned++;
}

void io_submit(struct io_port *port)
{
	if (!port->in_turn && ring_submit(port->ring) < 0)
		ring_raise_event(port->ring);
}

const void *io_zeroes(void)
{
	return zeroes;
}

static void account(const struct io *io, int error)
{
	struct io_port *port = io->port;

	if (error) {
		port->errors++;
		return;
	}
	port->count[io->op]++;
	port->bytes[io->op] += io->length;
}

void io_done(struct io *io, int error)
{
	struct io_port *port = io->port;
	int is_data = io->op == IO_READ || io->op == IO_WRITE;
	int32_t result = error ? error : is_data ? (int32_t)io->length : 0;

	if (!io->owned) {
		log_error("tag %u of queue %u was completed twice", io->tag,
			  port->queue_id);
		return;
	}
	io->owned = 0;
	port->owned--;
	account(io, error);
	/* The ring has an entry for every tag: there is room. */
	if (put_command(io, UBLK_IO_COMMIT_AND_FETCH_REQ, result) < 0)
		log_error("tag %u of queue %u cannot be committed", io->tag,
			  port->queue_id);
	io_submit(port);
}

/* Copy between the request and our memory; the driver does it. */
static int copy(const struct io *io, char *bytes, uint32_t at, uint32_t length,
		int into_request)
{
	off_t where =
		(off_t)(UBLK_DATA_OFFSET(io->port->queue_id, io->tag) + at);

	while (length) {
		ssize_t n = into_request
				    ? pwrite(io->port->fd, bytes, length, where)
				    : pread(io->port->fd, bytes, length, where);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		where += n;
		length -= (uint32_t)n;
	}
	return 0;
}

int io_put(const struct io *io, const void *from, uint32_t at, uint32_t length)
{
	return copy(io, (char *)from, at, length, 1);
}

int io_take(const struct io *io, void *to, uint32_t at, uint32_t length)
{
	return copy(io, to, at, length, 0);
}

int io_put_zeroes(const struct io *io, uint32_t at, uint32_t length)
{
	return io_put(io, zeroes, at, length);
}
