/*
 * Commands for many requests at once (UBLK_F_BATCH_IO).
 *
 * A single FETCH lasts as long as the queue. Each of its completions is a list of
 * tags in the ring's intake: the driver writes it there in place of completing a
 * command a tag. What the target has done meanwhile is gathered, and goes as one
 * list in one command when the queue's turn ends.
 *
 * A COMMIT may stop in the middle of its list, and that counts as success: a
 * completion that is left out on success would hide it, and the rest of the
 * requests would hang. So lists are answered, and kept until then; the ring's
 * sleep does not end by that answer. A list of one is taken or not, so it can be
 * left out there, and one request at a time costs no more completions.
 *
 * The FETCH ends with ENOBUFS when the driver finds no room for tags or for a
 * completion, and keeps the tags. There is always some: either half of the intake
 * takes all tags of the queue, and they cannot come again before they are
 * committed. It is begun anew all the same.
 *
 * What has to be asked again goes with the next flush, as all the rest does: the
 * ring has room for it then.
 */
#include "batch.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/uapi.h"

/* Data of our commands: all below IO_OWN. */
enum {
	DATA_FETCH,
	DATA_PREPARE,
	DATA_LIST,			 /* and the next: the lists */
	DATA_ONE = UBLK_MAX_QUEUE_DEPTH, /* and the tag */
};

/* Requests that are done: as the driver wants to have them. */
struct list {
	uint8_t *elements; /* room for one a tag */
	uint16_t count;
	uint8_t is_sent; /* and not answered yet */
};

struct batch {
	struct io_port *port;
	struct list lists[2], *open; /* one is filled while one is sent */
	uint8_t *ones;		     /* an element a tag, of those sent alone */
	uint8_t element_size;
	uint16_t flags;
	int is_due; /* the FETCH is to be put */
	int has_ended;

	/* The intake. */
	const uint8_t *bytes;
	uint32_t half; /* bytes */
	uint32_t at;   /* the next tags lie there ... */
	uint32_t done; /* ... and so many bytes of them are taken */
};

/* ---- commands ---- */

static int put_list(struct batch *batch, uint32_t op, const void *elements,
		    uint16_t count, int is_quiet, uint64_t data)
{
	struct ublk_batch_io command = { .q_id = batch->port->queue_id,
					 .flags = batch->flags,
					 .nr_elem = count,
					 .elem_bytes = batch->element_size };

	return ring_put_immediate(batch->port->ring, op, &command,
				  (uintptr_t)elements, is_quiet, data);
}

static int put_fetch(struct batch *batch)
{
	struct ublk_batch_io command = { .q_id = batch->port->queue_id,
					 .elem_bytes = sizeof(uint16_t) };

	return ring_put_lasting(batch->port->ring, UBLK_IO_FETCH_IO_CMDS,
				&command, DATA_FETCH);
}

/* In two steps whose sizes are known: this is done for each request. */
static void put_element(const struct batch *batch, uint8_t *to,
			const struct io *io, int32_t result)
{
	const size_t head = offsetof(struct ublk_batch_element, addr);
	struct ublk_batch_element element = { .tag = io->tag,
					      .buf_index = io->tag,
					      .result = result,
					      .addr = (uintptr_t)io->address };

	memcpy(to, &element, head);
	if (batch->element_size > head)
		memcpy(to + head, &element.addr, sizeof(element.addr));
}

static uint16_t tag_of(const uint8_t *element)
{
	uint16_t tag;

	memcpy(&tag, element, sizeof(tag));
	return tag;
}

/* That of a request that is sent alone, or to make its tag ready. */
static uint8_t *one_of(const struct batch *batch, uint16_t tag)
{
	return batch->ones + (size_t)tag * batch->element_size;
}

/* ---- opening and closing ---- */

static int allocate(struct batch *batch)
{
	size_t size = (size_t)batch->port->depth * batch->element_size;

	batch->lists[0].elements = malloc(3 * size);
	if (!batch->lists[0].elements)
		return -ENOMEM;
	batch->lists[1].elements = batch->lists[0].elements + size;
	batch->ones = batch->lists[1].elements + size;
	batch->open = &batch->lists[0];
	return 0;
}

struct batch *batch_open(struct io_port *port, int *error)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch) {
		*error = -ENOMEM;
		return NULL;
	}
	batch->port = port;
	batch->element_size = offsetof(struct ublk_batch_element, addr);
	if (port->mode == IO_ZERO_COPY) {
		batch->flags = UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK;
	} else if (port->mode == IO_COPY) {
		batch->flags = UBLK_BATCH_F_HAS_BUF_ADDR;
		batch->element_size = sizeof(struct ublk_batch_element);
	}
	batch->half = port->depth * (uint32_t)sizeof(uint16_t);
	*error = allocate(batch);
	if (!*error)
		*error = ring_make_intake(port->ring, &batch->half);
	if (*error) {
		batch_close(batch);
		return NULL;
	}
	batch->bytes = ring_intake(port->ring);
	return batch;
}

void batch_close(struct batch *batch)
{
	if (!batch)
		return;
	free(batch->lists[0].elements);
	free(batch);
}

/* The list lives on, though it is read within the submit. */
int batch_start(struct batch *batch)
{
	const struct io_port *port = batch->port;
	uint16_t tag;
	int error;

	for (tag = 0; tag < port->depth; tag++)
		put_element(batch, one_of(batch, tag), &port->ios[tag], 0);
	error = put_list(batch, UBLK_IO_PREP_IO_CMDS, batch->ones, port->depth,
			 1, DATA_PREPARE);
	return error ? error : put_fetch(batch);
}

/* ---- what comes ---- */

unsigned batch_tags(const struct batch *batch, const struct ring_event *event,
		    const uint16_t **tags)
{
	if (event->data != DATA_FETCH || event->result <= 0)
		return 0;
	*tags = (const uint16_t *)(batch->bytes + batch->at + batch->done);
	return ((uint32_t)event->result - batch->done) / sizeof(uint16_t);
}

int batch_taken(struct batch *batch, const struct ring_event *event,
		unsigned count)
{
	uint32_t end = batch->at + (uint32_t)event->result;

	batch->done += count * (uint32_t)sizeof(uint16_t);
	if (batch->done < (uint32_t)event->result)
		return 0;
	batch->done = 0;
	batch->at = end == 2 * batch->half ? 0 : end;
	if (end == batch->half)
		ring_refill(batch->port->ring, 0);
	else if (end == 2 * batch->half)
		ring_refill(batch->port->ring, 1);
	if (!ring_goes_on(event))
		batch->is_due = 1;
	return 1;
}

/* Nothing is wrong with it: the kernel could not do it just now. */
static int is_passing(int result)
{
	return result == -EAGAIN || result == -ENOMEM || result == -EINTR;
}

static int fetch_ended(struct batch *batch, int result)
{
	if (result >= 0 || result == -ENOBUFS || is_passing(result))
		batch->is_due = 1;
	else
		batch->has_ended = 1;
	batch->at = ring_intake_end(batch->port->ring, batch->at);
	return batch->has_ended ? result : 0;
}

int batch_has_ended(const struct batch *batch)
{
	return batch->has_ended;
}

/* ---- what goes ---- */

static uint8_t *element_at(const struct batch *batch, const struct list *list,
			   unsigned index)
{
	return list->elements + (size_t)index * batch->element_size;
}

/* Into the open list; it has room for all tags, and each is there once. */
static void put_back(struct batch *batch, const void *elements, unsigned count)
{
	struct list *open = batch->open;

	memcpy(element_at(batch, open, open->count), elements,
	       (size_t)count * batch->element_size);
	open->count += (uint16_t)count;
}

void batch_commit(struct batch *batch, const struct io *io, int32_t result)
{
	struct list *open = batch->open;

	put_element(batch, element_at(batch, open, open->count++), io, result);
}

static int send_list(struct batch *batch, struct list *list)
{
	unsigned which = (unsigned)(list - batch->lists);
	int error = put_list(batch, UBLK_IO_COMMIT_IO_CMDS, list->elements,
			     list->count, 0, DATA_LIST + which);

	if (error)
		return error;
	list->is_sent = 1;
	batch->open = &batch->lists[!which];
	return 0;
}

/* From a place that stays as it is until the tag's next request is done. */
static int send_one(struct batch *batch, struct list *list)
{
	uint16_t tag = tag_of(list->elements);
	int error;

	memcpy(one_of(batch, tag), list->elements, batch->element_size);
	error = put_list(batch, UBLK_IO_COMMIT_IO_CMDS, one_of(batch, tag), 1,
			 1, (uint64_t)DATA_ONE + tag);
	if (!error)
		list->count = 0;
	return error;
}

void batch_flush(struct batch *batch)
{
	struct list *list = batch->open;
	struct list *other = &batch->lists[list == &batch->lists[0]];
	int error = 0;

	if (list->count == 1)
		error = send_one(batch, list);
	/*
	 * An answer that has not been taken lies in the ring, or will after the
	 * submit: there is another turn before the thread sleeps.
	 */
	else if (list->count && !other->is_sent)
		error = send_list(batch, list);
	if (!error && batch->is_due) {
		error = put_fetch(batch);
		batch->is_due = error != 0;
	}
	/* The ring has an entry for every tag, and takes more after a submit. */
	if (error)
		log_error("commands of queue %u must wait: %s",
			  batch->port->queue_id, strerror(-error));
}

static int tell_refused_commit(const struct batch *batch,
			       const uint8_t *element, int result)
{
	log_error("the driver refused the commit of tag %u of queue %u: %s",
		  tag_of(element), batch->port->queue_id, strerror(-result));
	return result;
}

/*
 * What was not taken goes once more. If that is all of it, and for a reason, the
 * reason is the first element: it must not keep the others from going.
 */
static int list_answered(struct batch *batch, struct list *list, int result)
{
	unsigned taken = result > 0 ? (unsigned)result / batch->element_size
				    : 0;
	unsigned count = list->count;
	int error = 0;

	if (!taken && !is_passing(result)) {
		error = tell_refused_commit(batch, list->elements, result);
		taken = 1;
	}
	list->is_sent = 0;
	list->count = 0;
	if (taken < count)
		put_back(batch, element_at(batch, list, taken), count - taken);
	return error;
}

static int one_answered(struct batch *batch, uint16_t tag, int result)
{
	if (!is_passing(result))
		return tell_refused_commit(batch, one_of(batch, tag), result);
	put_back(batch, one_of(batch, tag), 1);
	return 0;
}

int batch_answer(struct batch *batch, const struct ring_event *event)
{
	switch (event->data) {
	case DATA_FETCH:
		return fetch_ended(batch, event->result);
	case DATA_PREPARE:
		return event->result;
	case DATA_LIST:
	case DATA_LIST + 1:
		return list_answered(batch,
				     &batch->lists[event->data - DATA_LIST],
				     event->result);
	default:
		return one_answered(batch, (uint16_t)(event->data - DATA_ONE),
				    event->result);
	}
}
