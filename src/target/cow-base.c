/*
 * The base of cow: a file or a disk, read in the queues' rings as the layer is, or
 * the export of an NBD server, which the target nbd reads. What a request wants of
 * the base goes there as it is. The rest of a cluster, which a change fills in, is
 * no request's: to a server goes one of our own, in copy, with the work's buffer as
 * its tag's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/recorder.h"
#include "cow.h"

int cow_is_uri(const char *base)
{
	return base[0] != '/';
}

/* ---- its export ---- */

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | ('a' ^ 'A')) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* A byte of a URI, which can be %XX. Returns behind it. */
static const char *read_byte(const char *from, char *byte)
{
	int high = *from == '%' ? hex_digit(from[1]) : -1;
	int low = high >= 0 ? hex_digit(from[2]) : -1;

	*byte = low >= 0 ? (char)(high << 4 | low) : *from;
	return from + (low >= 0 ? 3 : 1);
}

void cow_export_name(const char *uri, char *name, size_t size)
{
	const char *at = strstr(uri, "://"), *end;
	size_t length = 0;

	memset(name, 0, size);
	at = at ? at + 3 : uri;
	end = at + strcspn(at, "?#");
	at = memchr(at, '/', (size_t)(end - at));
	if (!at)
		return;
	for (at++; at < end && length < size; length++)
		at = read_byte(at, &name[length]);
}

/* ---- open ---- */

/* The options of nbd, of which one is given. */
static int fill_values(const char *uri, struct option_value *values,
		       struct failure *failure)
{
	const struct option *options = target_nbd.options;
	int which = option_find(options, "uri", 3);

	if (which < 0)
		return failure_set(failure, SYMBOL_UNSUPPORTED, 0, "base",
				   "base=%.200s: this ublkd was built without "
				   "the target nbd",
				   uri);
	option_defaults(options, values);
	return option_read(&options[which], &values[which], uri, failure);
}

/* What nbd calls its uri is our base. */
static int blame_base(struct failure *failure)
{
	if (strcmp(failure->arg, "uri") == 0)
		snprintf(failure->arg, sizeof(failure->arg), "base");
	return -1;
}

int cow_base_wish(const char *uri, struct opener_wish *wish,
		  struct failure *failure)
{
	struct option_value values[OPTION_MAX];
	struct target_args args = { .values = values, .read_only = 1 };

	if (fill_values(uri, values, failure) < 0 ||
	    target_nbd.opens(&args, wish, failure) < 0)
		return blame_base(failure);
	wish->option = "base";
	return 0;
}

static void on_ended(struct target *server, struct io *io, int32_t error)
{
	struct cow *cow = server->owner;
	struct cow_fetch *fetch = cow->fetches, *end = fetch + COW_WORKS;

	while (fetch < end && io != &fetch->io)
		fetch++;
	if (fetch == end) {
		cow_ended(server, io, error);
		return;
	}
	fetch->is_busy = 0;
	if (!error && io_is_late(io))
		error = -ETIMEDOUT;
	cow_ended(server, cow->works[fetch - cow->fetches].io,
		  error ? error : (int32_t)io->length);
}

int cow_base_open(struct cow *cow, const struct target_args *args,
		  struct geometry *geometry, struct failure *failure)
{
	struct option_value values[OPTION_MAX];
	struct target_args own = *args;

	if (fill_values(cow->uri, values, failure) < 0)
		return blame_base(failure);
	cow->fetches = calloc(COW_WORKS, sizeof(*cow->fetches));
	if (!cow->fetches)
		return failure_no_memory(failure);
	own.values = values;
	own.read_only = 1;
	own.lock = 0;
	own.fds++;
	own.fd_count--;
	cow->max_fetch = args->max_io;
	cow->server = target_nbd.open(&own, geometry, failure);
	if (!cow->server)
		return blame_base(failure);
	cow->server->owner = cow;
	cow->server->ended = on_ended;
	return 0;
}

void cow_base_close(struct cow *cow)
{
	if (cow->server)
		cow->server->ops->close(cow->server);
	else if (cow->base.path)
		file_leave(&cow->base);
	free(cow->fetches);
	free(cow->uri);
}

int cow_base_identify(const struct cow *cow, struct cow_base *base)
{
	struct failure failure;

	memset(base, 0, sizeof(*base));
	if (!cow->uri)
		return backing_identify(&cow->base.backing, cow->base.fd,
					&base->file);
	base->is_export = 1;
	cow_export_name(cow->uri, base->name, sizeof(base->name));
	/* That of a device which is taken over is not connected yet. */
	if (!cow->adopted &&
	    cow->server->ops->measure(cow->server, &base->file.size, &failure) <
		    0)
		return -ENOTCONN;
	return 0;
}

/* ---- requests ---- */

void cow_base_read(struct cow *cow, struct io *io)
{
	io->in_base = 1;
	if (cow->server)
		cow->server->backend.ops->submit(&cow->server->backend, io);
	else
		file_transfer(&cow->base, io);
}

void cow_base_fetch(struct cow *cow, struct io *io, void *bytes,
		    uint64_t offset, uint32_t length)
{
	struct cow_fetch *fetch = &cow->fetches[io->work - 1];

	memset(fetch, 0, sizeof(*fetch));
	fetch->is_busy = 1;
	fetch->late.given = &fetch->given;
	fetch->port = (struct io_port){ .mode = IO_COPY,
					.in_turn = 1,
					.depth = 1,
					.buffers = bytes,
					.buffer_size = length,
					.ios = &fetch->io,
					.late = &fetch->late };
	fetch->io = (struct io){ .port = &fetch->port,
				 .op = IO_READ,
				 .offset = offset,
				 .length = length };
	recorder_submitted(io);
	cow->server->backend.ops->submit(&cow->server->backend, &fetch->io);
}

/*
 * What is fetched for a request that is due, and not given up here, is late with the
 * request.
 */
static void expire_server(struct cow *cow)
{
	unsigned i;

	for (i = 0; i < COW_WORKS; i++)
		if (cow->fetches[i].is_busy && io_is_due(cow->works[i].io))
			cow->fetches[i].given = LATE_DUE;
	cow->server->backend.ops->expire(&cow->server->backend);
	for (i = 0; i < COW_WORKS; i++)
		if (cow->fetches[i].is_busy &&
		    cow->fetches[i].given == LATE_DUE)
			cow->fetches[i].io.data = IO_DATA_LATE;
}

void cow_base_expire(struct cow *cow)
{
	if (cow->server)
		expire_server(cow);
	else
		file_expire(&cow->base.target.backend);
}

int cow_base_start(struct cow *cow, struct io_port *port)
{
	if (cow->server)
		return cow->server->backend.ops->start(&cow->server->backend,
						       port);
	return file_start_ring(&cow->base, port->ring);
}

void cow_base_stop(struct cow *cow, struct io_port *port)
{
	if (cow->server)
		cow->server->backend.ops->stop(&cow->server->backend, port);
}

unsigned cow_base_waiting(const struct cow *cow)
{
	return cow->server ? cow->server->ops->in_workers(cow->server)
			   : file_waiting(&cow->base);
}

void cow_base_go_on(struct cow *cow)
{
	if (cow->server)
		cow->server->ops->go_on(cow->server);
	else
		file_go_on(&cow->base);
}
