/*
 * The commands of a queue that has UBLK_F_BATCH_IO: one FETCH brings requests
 * many at a time, and COMMITs take lists (see batch.c).
 */
#ifndef UBLKD_BATCH_H
#define UBLKD_BATCH_H

#include <stdint.h>

#include "request.h"

struct batch;

/*
 * For the queue of a port that io_open() has opened, with a ring. Returns it, to
 * be freed with batch_close(), or NULL with *error a negative errno.
 */
struct batch *batch_open(struct io_port *port, int *error)
	__attribute__((cold));

/* Harmless on NULL. */
void batch_close(struct batch *batch);

/*
 * Make all tags ready and ask for requests. Returns 0 or a negative errno; it is
 * under way after the next submit of the ring.
 */
int batch_start(struct batch *batch);

/* ---- what comes ---- */

/*
 * The tags that an event of the queue's own brings, from where batch_taken() has
 * left off; they lie at *tags until that is called. 0: it brings none.
 */
unsigned batch_tags(const struct batch *batch, const struct ring_event *event,
		    const uint16_t **tags);

/*
 * So many of them are taken. Returns 1 if that was all of the event, and its
 * place can be given back; otherwise it is to be looked at once more.
 */
int batch_taken(struct batch *batch, const struct ring_event *event,
		unsigned count);

/*
 * An event without tags: the end of a command. What is to be asked again goes
 * with the next flush. Returns 0, or a negative errno if the driver has refused
 * something, which is -ENODEV once it has given up the queue's tags.
 */
int batch_answer(struct batch *batch, const struct ring_event *event);

/* Whether the driver brings no more requests. */
int batch_has_ended(const struct batch *batch);

/* ---- what goes ---- */

/* The request is done, with the driver's idea of a result. */
void batch_commit(struct batch *batch, const struct io *io, int32_t result);

/* Put what was committed into the ring; before it is submitted. */
void batch_flush(struct batch *batch);

#endif
