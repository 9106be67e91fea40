#include "late.h"

#include <errno.h>
#include <stdlib.h>

#include "recorder.h"

static uint32_t index_of(const struct io *io)
{
	return (uint32_t)(io - io->port->ios);
}

int late_allow(struct io_port *port)
{
	uint32_t spares = late_spares(port->depth), all = port->depth + spares;
	struct late *late;
	uint16_t tag;

	if (port->late)
		return 0;
	late = calloc(1, sizeof(*late));
	if (!late)
		return -ENOMEM;
	late->current = calloc(port->depth, sizeof(struct io *));
	late->which = calloc(spares, sizeof(*late->which));
	late->given = calloc(all, sizeof(*late->given));
	late->since = calloc(all, sizeof(*late->since));
	late->port = port;
	late->fresh = port->depth;
	late->spares = spares;
	port->late = late;
	if (!late->current || !late->which || !late->given || !late->since) {
		late_close(port);
		return -ENOMEM;
	}
	for (tag = 0; tag < port->depth; tag++)
		late->current[tag] = &port->ios[tag];
	return 0;
}

void late_close(struct io_port *port)
{
	struct late *late = port->late;

	if (!late)
		return;
	if (late->link)
		*late->link = late->next;
	if (late->next)
		late->next->link = late->link;
	free(late->current);
	free(late->which);
	free(late->given);
	free(late->since);
	free(late);
	port->late = NULL;
}

/* ---- who is due ---- */

/* Its data is neither with the driver nor on its way. */
static int is_whole(const struct io *io)
{
	return io->owned && io->data == IO_DATA_HERE;
}

static int is_waiting(const struct io *io)
{
	return io->owned &&
	       (io->data == IO_DATA_HERE || io->data == IO_DATA_WAITS);
}

static int is_due_by(uint32_t given, uint32_t until)
{
	return until == LATE_ALL || (given && (int32_t)(until - given) >= 0);
}

unsigned late_mark(struct io_port *port, uint32_t until,
		   const struct io **first)
{
	struct late *late = port->late;
	unsigned count = 0;
	uint16_t tag;

	for (tag = 0; port->owned && tag < port->depth; tag++) {
		const struct io *io = late->current[tag];
		uint32_t *given = &late->given[index_of(io)];

		if (!is_waiting(io) || !is_due_by(*given, until))
			continue;
		*given = LATE_DUE;
		if (!*first)
			*first = io;
		count++;
	}
	return count;
}

void late_note_all(struct io_port *port, uint32_t tick)
{
	uint16_t tag;

	for (tag = 0; port->owned && tag < port->depth; tag++) {
		const struct io *io = port->late->current[tag];

		if (io->owned && !(io->flags & IO_KEPT) &&
		    !port->late->given[index_of(io)])
			late_note_given(io, tick);
	}
}

unsigned late_restamp(struct io_port *port, uint32_t tick)
{
	struct late *late = port->late;
	unsigned count = 0;
	uint16_t tag;

	for (tag = 0; port->owned && tag < port->depth; tag++) {
		const struct io *io = late->current[tag];

		if (!io->owned || !late->given[index_of(io)])
			continue;
		late->given[index_of(io)] = tick;
		count++;
	}
	return count;
}

unsigned late_watched(const struct io_port *port)
{
	const struct late *late = port->late;
	unsigned count = 0;
	uint16_t tag;

	for (tag = 0; port->owned && tag < port->depth; tag++)
		count += late->current[tag]->owned &&
			 late->given[index_of(late->current[tag])];
	return count;
}

/* ---- being late ---- */

static struct io *take_spare(struct late *late)
{
	struct io *io = late->spare;

	if (io)
		late->spare = io->next;
	else
		io = &late->port->ios[late->fresh++];
	return io;
}

/*
 * The tag's new struct io answers in the place of the late one, of which the rest
 * is the target's.
 */
static void answer_for(struct io *io)
{
	struct late *late = io->port->late;
	struct io *next = take_spare(late);
	const struct sight_tag *tag = recorder_entry(io);

	late->since[index_of(io)] = tag ? tag->since : 0;
	*next = *io;
	if (io->port->mode == IO_COPY)
		next->address = io_nowhere(io->port);
	late->current[io->tag] = next;
	late->which[late->count++] = (uint16_t)index_of(io);
	io->owned = 0;
	io->data = IO_DATA_LATE;
	io_done(next, -EIO);
}

unsigned late_answer(struct io_port *port)
{
	struct late *late = port->late;
	int was_in_turn = port->in_turn;
	unsigned count = 0;
	uint16_t tag;

	if (port->mode == IO_ZERO_COPY)
		return 0;
	/* All of them are submitted at once. */
	port->in_turn = 1;
	for (tag = 0; port->owned && tag < port->depth; tag++) {
		struct io *io = late->current[tag];

		if (!is_whole(io) || !io_is_due(io) ||
		    late->count == late->spares)
			continue;
		answer_for(io);
		count++;
	}
	port->in_turn = was_in_turn;
	if (count && !was_in_turn)
		io_submit(port);
	return count;
}

static void refuse(struct backend *backend, struct io *io)
{
	(void)backend;
	io_done(io, -EIO);
}

static const struct backend_ops refusing = { .submit = refuse };
struct backend late_refuses = { .ops = &refusing };

static int is_write(const struct io *io)
{
	return io->op == IO_WRITE || io->op == IO_DISCARD ||
	       io->op == IO_WRITE_ZEROES;
}

int late_overlaps(const struct io_port *port, const struct io *io)
{
	const struct late *late = port->late;
	uint32_t i;

	for (i = 0; i < late->count; i++) {
		const struct io *other = &port->ios[late->which[i]];

		if (is_write(other) &&
		    io->offset < other->offset + other->length &&
		    other->offset < io->offset + io->length)
			return 1;
	}
	return 0;
}
