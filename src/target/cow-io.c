/*
 * I/O of cow. What a request finds in one file goes there as a request to that file
 * would (file-io.c): reads to the base or to the layer, and writes to clusters that
 * are in the layer. No read and no write goes over the end of a cluster, so that each
 * finds what it needs in one place (the device's chunk).
 *
 * A request that changes what clusters are is more work: first the rest of a cluster
 * that it has only a part of is filled in, from the base or with zeroes, then the
 * request itself goes to the layer, then the map says so. (A read that fills the
 * layer is such a request, which reads when that is done.) Until that has ended
 * nobody else changes these clusters. The map in memory is at the same time written
 * to the file, as it is now: a next server finds it there. Only a FLUSH makes the other
 * map in the file follow, the one that counts after a crash of the host: behind the
 * data that it tells of, and durable itself before the FLUSH is answered. A change
 * that is to be durable (FUA) is one that is not, with a FLUSH behind it: so only
 * the sync of a FLUSH is told by the kernel what it has lost.
 *
 * Why no crash shows what was not written: to say that a cluster is here, its data
 * is durable first. To say that it is zero needs nothing. What lies in the layer of
 * a cluster that is not here counts for nothing, so it may be left from anything.
 */
#include <errno.h>
#include <string.h>

#include "base/compat.h"
#include "base/log.h"
#include "cow.h"
#include "io/pool.h"
#include "io/recorder.h"

/* What is under way for a work. */
enum step { READ_REST, WRITE_REST, CLEAR_REST, DATA, MARK };

static void begin(struct cow *cow, struct io *io);
static void run_turns(struct cow *cow);
static void next_rest(struct cow *cow, struct cow_work *work);
static void read_cluster(struct cow *cow, struct io *io);

static struct file *file_of(struct cow *cow, const struct io *io)
{
	return io->in_base ? &cow->base : &cow->layer;
}

static struct cow_work *work_of(struct cow *cow, const struct io *io)
{
	return io->work ? &cow->works[io->work - 1] : NULL;
}

static uint64_t first_of(const struct cow *cow, const struct io *io)
{
	return io->offset >> cow->shift;
}

static uint64_t last_of(const struct cow *cow, const struct io *io)
{
	return (io->offset + io->length - 1) >> cow->shift;
}

static void ask(struct cow *cow, struct file *file, struct io *io,
		enum ring_file_op op)
{
	io->in_base = file == &cow->base;
	file_ask(file, io, op);
}

/* ---- jobs: loading, and making durable ---- */

static void answer_all(struct file_line *line, int error)
{
	struct io *io;

	while ((io = file_line_next(line)))
		io_done(io, error);
}

static void lead(struct cow *cow);

static void end_load(struct cow *cow, int error)
{
	struct file_line line = cow->for_load;
	struct io *io;

	if (error) {
		/* What could only not be read just now is tried again. */
		cow->error = cow->wrong ? error : 0;
		log_error("the layer %s cannot be used: %s", cow->layer.path,
			  cow->wrong ? cow->wrong : strerror(-error));
		answer_all(&cow->for_load, -EIO);
		return;
	}
	cow->for_load = (struct file_line){ NULL, NULL };
	while ((io = file_line_next(&line)))
		begin(cow, io);
}

/* Its leader is given up: the others go on with another one. */
static void give_job_up(struct cow *cow, int is_load)
{
	struct io *io;

	if (is_load)
		return;
	while ((io = file_line_next(&cow->for_sync)))
		file_line_up(&cow->syncing, io, SIGHT_TURN);
	cow->for_sync = cow->syncing;
	cow->syncing = (struct file_line){ NULL, NULL };
}

static void end_job(struct cow *cow, int is_load, int error)
{
	struct io *leader = cow->leader;
	struct file_line line = cow->syncing;

	cow->leader = NULL;
	if (error == -ECANCELED) {
		give_job_up(cow, is_load);
		io_done(leader, -EIO);
	} else if (is_load) {
		end_load(cow, error);
		if (error)
			io_done(leader, -EIO);
		else
			begin(cow, leader);
	} else {
		cow->syncing = (struct file_line){ NULL, NULL };
		io_done(leader, error);
		answer_all(&line, error);
	}
	lead(cow);
}

static void go_on_with_job(struct cow *cow, int32_t result)
{
	int is_load = !cow->is_loaded;
	struct ring_transfer transfer = { .fd = -1 };
	int state = is_load ? cow_load(cow, result, &transfer)
			    : cow_sync(cow, result, &transfer);

	if (state <= 0) {
		end_job(cow, is_load, state);
		return;
	}
	cow->asked = transfer;
	ask(cow, &cow->layer, cow->leader, transfer.op);
}

/* One that waits leads the next job, and all that wait for the same have its end. */
static void lead(struct cow *cow)
{
	if (cow->leader)
		return;
	if (!cow->is_loaded) {
		cow->leader = file_line_next(&cow->for_load);
	} else {
		cow->leader = file_line_next(&cow->for_sync);
		cow->syncing = cow->for_sync;
		cow->for_sync = (struct file_line){ NULL, NULL };
	}
	if (cow->leader)
		go_on_with_job(cow, 0);
}

static void sync_for(struct cow *cow, struct io *io)
{
	file_line_up(&cow->for_sync, io, SIGHT_TURN);
	lead(cow);
}

/* ---- works ---- */

static void work_line_up(struct cow_line *line, struct cow_work *work,
			 enum sight_place place)
{
	recorder_place(work->io, place);
	work->next = NULL;
	if (line->first)
		line->last->next = work;
	else
		line->first = work;
	line->last = work;
}

static struct cow_work *work_line_next(struct cow_line *line)
{
	struct cow_work *work = line->first;

	if (work)
		line->first = work->next;
	return work;
}

static int get_buffer(struct cow *cow, struct cow_work *work)
{
	if (work->buffer)
		return 1;
	work->buffer = pool_get(&cow->pooled, cow_cluster(cow), &work->room);
	if (work->buffer)
		return 1;
	if (cow->reserve_is_used)
		return 0;
	cow->reserve_is_used = 1;
	work->buffer = cow->reserve;
	work->room = POOL_RESERVE;
	return 1;
}

static void drop_buffer(struct cow *cow, struct cow_work *work)
{
	if (work->buffer == cow->reserve)
		cow->reserve_is_used = 0;
	else if (work->buffer)
		pool_put(&cow->pooled, work->buffer, work->room);
	else
		return;
	work->buffer = NULL;
	while (cow->for_buffer.first && get_buffer(cow, cow->for_buffer.first))
		next_rest(cow, work_line_next(&cow->for_buffer));
}

/* Whether its clusters are somebody's who changes them. */
static int is_taken(const struct cow *cow, uint64_t first, uint64_t last)
{
	const struct cow_work *work = cow->works;

	for (; work < cow->works + COW_WORKS; work++)
		if (work->io && work->first <= last && first <= work->last)
			return 1;
	return 0;
}

/* Whether the request has all bytes of a cluster, as far as the device goes. */
static int has_whole(const struct cow *cow, const struct io *io,
		     uint64_t cluster)
{
	uint64_t begin = cluster << cow->shift;
	uint64_t end = begin + cow_cluster(cow);

	return io->offset <= begin &&
	       io->offset + io->length >= (end < cow->size ? end : cow->size);
}

/* What the cluster is once the request is done. */
static enum cow_state becomes(const struct cow *cow, const struct io *io,
			      uint64_t cluster)
{
	enum cow_state is = cow_map_get(&cow->map, cluster);

	if (io->op == IO_WRITE)
		return COW_HERE;
	if (io->op != IO_READ && has_whole(cow, io, cluster))
		return COW_ZERO;
	return is == COW_BASE ? COW_HERE : is;
}

static int changes_map(const struct cow *cow, const struct io *io)
{
	uint64_t cluster = first_of(cow, io), last = last_of(cow, io);
	uint32_t sector = cow_map_sector(cluster);

	for (; cluster <= last; cluster++)
		if (becomes(cow, io, cluster) !=
		    cow_map_get(&cow->map, cluster))
			return 1;
	/* Or the next server would not find what it is. */
	return cow_map_stale(&cow->map, &sector) &&
	       sector <= cow_map_sector(last);
}

static void free_place(struct cow *cow, struct cow_work *work)
{
	work->io->work = 0;
	work->io = NULL;
	drop_buffer(cow, work);
}

/*
 * What it had set is taken back, as far as that would name what is not there. What the
 * file says of it now is not known.
 */
static void unset(struct cow *cow, const struct cow_work *work)
{
	uint32_t sector = cow_map_sector(work->first);

	for (; sector <= work->last_sector; sector++)
		cow_map_noted(&cow->map, sector, -EIO);
	if (cow_map_get(&cow->map, work->first) == COW_HERE)
		cow_map_set(&cow->map, work->first,
			    (enum cow_state)work->was[0]);
	if (cow_map_get(&cow->map, work->last) == COW_HERE)
		cow_map_set(&cow->map, work->last,
			    (enum cow_state)work->was[1]);
}

static int is_given_up(const struct io *io)
{
	return io_is_late(io) || (io->port->late && io_is_due(io));
}

/* The layer cannot have what is read: that is no reason for a read to fail. */
static void stop_filling(struct cow *cow, int error)
{
	if (cow->fills)
		log_warning("the layer %s cannot take what is read: %s; it is "
			    "no longer filled (fill=read)",
			    cow->layer.path, strerror(-error));
	cow->fills = 0;
}

static void end_work(struct cow *cow, struct cow_work *work, int error)
{
	struct io *io = work->io;
	int is_fill = io->op == IO_READ && !is_given_up(io);

	if (error && work->step == MARK)
		unset(cow, work);
	if (error && is_fill && work->step != READ_REST)
		stop_filling(cow, error);
	free_place(cow, work);
	if (is_fill)
		read_cluster(cow, io);
	else if (!error && (io->op == IO_FLUSH || io->flags & IO_FUA))
		sync_for(cow, io);
	else
		io_done(io, error);
	run_turns(cow);
}

/* ---- the map ---- */

/* One sector at a time, so that none is overtaken by what it was before. */
static void next_mark(struct cow *cow)
{
	struct cow_work *work;

	if (cow->marking)
		return;
	work = cow->marking = work_line_next(&cow->for_map);
	if (!work)
		return;
	cow_map_copy(&cow->map, work->sector, cow->image);
	cow_map_noted(&cow->map, work->sector, 0);
	ask(cow, &cow->layer, work->io, RING_WRITE);
}

/* Its sectors are written for the next server. */
static void note(struct cow *cow, struct cow_work *work)
{
	work->step = MARK;
	work_line_up(&cow->for_map, work, SIGHT_TURN);
	next_mark(cow);
}

/* Its data is in the layer. */
static void mark(struct cow *cow, struct cow_work *work)
{
	uint64_t cluster;
	enum cow_state state;

	for (cluster = work->first; cluster <= work->last; cluster++) {
		state = becomes(cow, work->io, cluster);
		if (state != cow_map_get(&cow->map, cluster))
			cow_map_set(&cow->map, cluster, state);
	}
	work->sector = cow_map_sector(work->first);
	work->last_sector = cow_map_sector(work->last);
	note(cow, work);
}

static void end_mark(struct cow *cow, struct cow_work *work, int32_t result)
{
	cow->marking = NULL;
	if (result >= 0 && result < (int32_t)COW_SECTOR)
		result = -EIO;
	if (result >= 0 && work->sector < work->last_sector) {
		work->sector++;
		work_line_up(&cow->for_map, work, SIGHT_TURN);
	} else {
		end_work(cow, work, result < 0 ? result : 0);
	}
	next_mark(cow);
}

/* ---- the rest of a cluster ---- */

static struct cow_rest *rest_of(struct cow_work *work)
{
	return &work->rest[work->rest[0].at == work->rest[0].end];
}

static uint32_t rest_length(struct cow_work *work)
{
	const struct cow_rest *rest = rest_of(work);
	uint64_t left = rest->end - rest->at;

	return left < work->room ? (uint32_t)left : work->room;
}

static void read_rest(struct cow *cow, struct cow_work *work)
{
	uint32_t length = rest_length(work);

	if (!cow->server) {
		ask(cow, &cow->base, work->io, RING_READ);
		return;
	}
	if (length > cow->max_fetch)
		length = cow->max_fetch;
	cow_base_fetch(cow, work->io, work->buffer, rest_of(work)->at, length);
}

static void next_rest(struct cow *cow, struct cow_work *work)
{
	const struct cow_rest *rest = rest_of(work);

	if (rest->at == rest->end && work->io->op == IO_READ) {
		drop_buffer(cow, work);
		mark(cow, work);
	} else if (rest->at == rest->end) {
		work->step = DATA;
		work->io->in_base = 0;
		drop_buffer(cow, work);
		file_transfer(&cow->layer, work->io);
	} else if (rest->is_zero) {
		work->step = CLEAR_REST;
		ask(cow, &cow->layer, work->io, RING_FALLOCATE);
	} else if (get_buffer(cow, work)) {
		work->step = READ_REST;
		read_rest(cow, work);
	} else {
		work_line_up(&cow->for_buffer, work, SIGHT_BUFFER);
	}
}

static void write_rest(struct cow *cow, struct cow_work *work)
{
	work->step = WRITE_REST;
	ask(cow, &cow->layer, work->io, RING_WRITE);
}

static void end_step(struct cow *cow, struct cow_work *work, int32_t result)
{
	struct cow_rest *rest = rest_of(work);

	switch ((enum step)work->step) {
	case READ_REST:
		work->filled = (uint32_t)result;
		work->written = 0;
		write_rest(cow, work);
		break;
	case WRITE_REST:
		work->written += (uint32_t)result;
		if (work->written < work->filled) {
			write_rest(cow, work);
			break;
		}
		rest->at += work->filled;
		next_rest(cow, work);
		break;
	case CLEAR_REST:
		rest->at = rest->end;
		next_rest(cow, work);
		break;
	case DATA:
		mark(cow, work);
		break;
	case MARK:
		break;
	}
}

static void work_ended(struct cow *cow, struct cow_work *work, int32_t result)
{
	int is_copy = work->step == READ_REST || work->step == WRITE_REST;

	if (work->step == MARK)
		end_mark(cow, work, result);
	else if (result < 0)
		end_work(cow, work, result);
	else if (result == 0 && is_copy)
		end_work(cow, work, -EIO); /* the base was cut short */
	else
		end_step(cow, work, result);
}

static void fill_rest(struct cow_work *work, struct ring_transfer *transfer)
{
	const struct cow_rest *rest = rest_of(work);
	uint64_t left = rest->end - rest->at;

	if (work->step == READ_REST) {
		transfer->op = RING_READ;
		transfer->bytes = work->buffer;
		transfer->offset = rest->at;
		transfer->length = rest_length(work);
	} else if (work->step == WRITE_REST) {
		transfer->op = RING_WRITE;
		transfer->bytes = (uint8_t *)work->buffer + work->written;
		transfer->offset = COW_DATA_AT + rest->at + work->written;
		transfer->length = work->filled - work->written;
	} else {
		transfer->op = RING_FALLOCATE;
		transfer->flags = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
		transfer->offset = COW_DATA_AT + rest->at;
		transfer->length = left;
	}
}

void cow_ask(const struct file *file, const struct io *io,
	     struct ring_transfer *transfer)
{
	struct cow *cow = file->target.owner;
	struct cow_work *work = work_of(cow, io);

	if (io == cow->leader) {
		transfer->op = cow->asked.op;
		transfer->flags = cow->asked.flags;
		transfer->bytes = cow->asked.bytes;
		transfer->offset = cow->asked.offset;
		transfer->length = cow->asked.length;
	} else if (work->step == MARK) {
		transfer->op = RING_WRITE;
		transfer->bytes = cow->image;
		transfer->offset =
			COW_NOW_AT + (uint64_t)work->sector * COW_SECTOR;
		transfer->length = COW_SECTOR;
	} else {
		fill_rest(work, transfer);
	}
}

/* ---- changes ---- */

/* A part of the cluster that the request has not, and what is to be in it. */
static void set_rest(const struct io *io, struct cow_rest *rest, uint64_t at,
		     uint64_t end, enum cow_state was)
{
	*rest = (struct cow_rest){ .is_zero = was == COW_ZERO };
	/* Zeroes into zeroes leave all as it is. */
	if (at >= end || was == COW_HERE ||
	    (was == COW_ZERO && io->op != IO_WRITE))
		return;
	rest->at = at;
	rest->end = end;
}

static void begin_work(struct cow *cow, struct cow_work *work, struct io *io)
{
	uint64_t last = last_of(cow, io), end = (last + 1) << cow->shift;

	work->io = io;
	work->first = first_of(cow, io);
	work->last = last;
	work->was[0] = (uint8_t)cow_map_get(&cow->map, work->first);
	work->was[1] = (uint8_t)cow_map_get(&cow->map, last);
	work->buffer = NULL;
	work->step = READ_REST;
	io->work = (uint8_t)(work - cow->works + 1);
	if (end > cow->size)
		end = cow->size;
	/* A read has nothing of its own: it finds all of the cluster there. */
	set_rest(io, &work->rest[0], work->first << cow->shift,
		 io->op == IO_READ ? end : io->offset,
		 (enum cow_state)work->was[0]);
	set_rest(io, &work->rest[1],
		 io->op == IO_READ ? end : io->offset + io->length, end,
		 (enum cow_state)work->was[1]);
	next_rest(cow, work);
}

/*
 * Stale sectors go to the file again before a FLUSH: what it makes durable a next
 * server has to find, too. No cluster becomes anything else.
 */
static void begin_renewal(struct cow *cow, struct cow_work *work, struct io *io)
{
	uint32_t sector = 0;

	work->io = io;
	work->buffer = NULL;
	io->work = (uint8_t)(work - cow->works + 1);
	work->was[0] = work->was[1] = COW_HERE;
	cow_map_stale(&cow->map, &sector);
	work->sector = sector;
	for (; cow_map_stale(&cow->map, &sector); sector++)
		work->last_sector = sector;
	work->first = (uint64_t)work->sector * COW_A_SECTOR;
	work->last = (uint64_t)work->last_sector * COW_A_SECTOR;
	note(cow, work);
}

/* ---- turns ---- */

/*
 * Clusters of requests that wait. A bit stands for many clusters, so that a request
 * may wait for one that it does not meet, but passes none that it does.
 */
struct met {
	uint64_t bits[16];
};

#define MET_BITS 1024u

/* Returns whether one of the request's clusters is there, or puts all of them there. */
static int look_up(struct met *met, const struct cow *cow, const struct io *io,
		   int adds)
{
	uint64_t at = first_of(cow, io), end = last_of(cow, io) + 1;

	if (end - at > MET_BITS)
		end = at + MET_BITS;
	for (; at < end; at++) {
		uint64_t *word = &met->bits[at % MET_BITS / 64];
		uint64_t bit = UINT64_C(1) << at % 64;

		if (adds)
			*word |= bit;
		else if (*word & bit)
			return 1;
	}
	return 0;
}

/* Whether it needs a place among the works. */
static int is_work(const struct cow *cow, const struct io *io)
{
	if (io->op == IO_FLUSH)
		return cow->map.stale != 0;
	if (io->op == IO_READ)
		return cow_map_get(&cow->map, first_of(cow, io)) == COW_BASE;
	return changes_map(cow, io);
}

static int has_rest_of_base(const struct cow *cow, const struct io *io,
			    uint64_t cluster)
{
	return cow_map_get(&cow->map, cluster) == COW_BASE &&
	       (io->op == IO_READ || !has_whole(cow, io, cluster));
}

static int reads_base(const struct cow *cow, const struct io *io)
{
	return io->op != IO_FLUSH &&
	       (has_rest_of_base(cow, io, first_of(cow, io)) ||
		has_rest_of_base(cow, io, last_of(cow, io)));
}

/* One that the request may have, or NULL. */
static struct cow_work *free_work(struct cow *cow, const struct io *io)
{
	struct cow_work *work = cow->works, *end = work + COW_WORKS;

	if (reads_base(cow, io))
		end -= COW_WORKS_WITHOUT_BASE;
	while (work < end && work->io)
		work++;
	return work < end ? work : NULL;
}

/* Whether it has to wait: for a place, or for one that changes the same clusters. */
static int has_to_wait(struct cow *cow, const struct io *io, struct met *before)
{
	if (io->op != IO_FLUSH &&
	    (look_up(before, cow, io, 0) ||
	     is_taken(cow, first_of(cow, io), last_of(cow, io))))
		return 1;
	return !free_work(cow, io) && is_work(cow, io);
}

static void take_turn(struct cow *cow, struct io *io)
{
	struct cow_work *work = is_work(cow, io) ? free_work(cow, io) : NULL;

	if (!work && io->op == IO_FLUSH)
		sync_for(cow, io);
	else if (!work && io->op == IO_READ)
		read_cluster(cow, io);
	else if (!work)
		file_transfer(&cow->layer, io);
	else if (io->op == IO_FLUSH)
		begin_renewal(cow, work, io);
	else
		begin_work(cow, work, io);
}

/*
 * In the order in which they came, but whoever waits keeps none from its turn but
 * those that meet it: the base of one may not answer.
 */
static void take_turns(struct cow *cow)
{
	struct file_line *line = &cow->for_turn;
	struct io **at = &line->first, *io, *last = NULL;
	struct met before = { { 0 } };

	while ((io = *at)) {
		if (has_to_wait(cow, io, &before)) {
			if (io->op != IO_FLUSH)
				look_up(&before, cow, io, 1);
			last = io;
			at = &io->next;
			continue;
		}
		*at = io->next;
		if (line->last == io)
			line->last = last;
		take_turn(cow, io);
	}
}

/* What fails at once ends a turn within another one: then all are looked at again. */
static void run_turns(struct cow *cow)
{
	if (cow->turns++)
		return;
	do {
		cow->turns = 1;
		take_turns(cow);
	} while (cow->turns > 1);
	cow->turns = 0;
}

static void change(struct cow *cow, struct io *io)
{
	file_line_up(&cow->for_turn, io, SIGHT_TURN);
	run_turns(cow);
}

/* ---- requests ---- */

static int is_within_cluster(const struct cow *cow, const struct io *io)
{
	return first_of(cow, io) == last_of(cow, io);
}

static void read_cluster(struct cow *cow, struct io *io)
{
	enum cow_state state = cow_map_get(&cow->map, first_of(cow, io));

	if (state == COW_ZERO) {
		io_done(io, io_put_zeroes(io, 0, io->length));
		return;
	}
	if (state == COW_BASE) {
		cow_base_read(cow, io);
		return;
	}
	io->in_base = 0;
	file_transfer(&cow->layer, io);
}

static void begin(struct cow *cow, struct io *io)
{
	int is_data = io->op == IO_READ || io->op == IO_WRITE;

	if (!cow->is_loaded) {
		file_line_up(&cow->for_load, io, SIGHT_TURN);
		lead(cow);
	} else if (io->op == IO_FLUSH && !cow->map.stale) {
		sync_for(cow, io);
	} else if (is_data && !is_within_cluster(cow, io)) {
		log_error("%s: a request goes over the end of a cluster",
			  cow->layer.path);
		io_done(io, -EIO);
	} else if (io->op == IO_READ && !(cow->fills && is_work(cow, io))) {
		read_cluster(cow, io);
	} else {
		change(cow, io);
	}
}

void cow_submit(struct backend *backend, struct io *io)
{
	struct cow *cow = (struct cow *)backend;

	if (io_is_again(io)) {
		file_transfer(&cow->layer, io);
		return;
	}
	io->work = 0;
	io->in_base = 0;
	io->is_asked = 0;
	/* Beyond the end: on its way while the device shrank. */
	if (cow->error ||
	    (io->op != IO_FLUSH && io->offset + io->length > cow->size))
		io_done(io, -EIO);
	else
		begin(cow, io);
}

/* A request that went to one file, as it was. */
static void plain_ended(struct cow *cow, struct io *io, int32_t result)
{
	if (!result && io->op != IO_READ && io->flags & IO_FUA)
		sync_for(cow, io);
	else
		io_done(io, result);
}

void cow_ended(struct target *part, struct io *io, int32_t result)
{
	struct cow *cow = part->owner;
	struct cow_work *work = work_of(cow, io);

	/* A sync of the layer has failed too late to be its leader's. */
	if (cow->layer.target.tally)
		cow_lose(cow, -EIO);
	if (io == cow->leader)
		go_on_with_job(cow, io_is_late(io) || cow->expires ? -ECANCELED
								   : result);
	else if (work)
		work_ended(cow, work, result);
	else
		plain_ended(cow, io, result);
}

void cow_completed(struct backend *backend, struct io *io, int32_t result)
{
	struct cow *cow = (struct cow *)backend;

	file_completed(&file_of(cow, io)->target.backend, io, result);
}

void cow_copied(struct backend *backend, struct io *io)
{
	struct cow *cow = (struct cow *)backend;

	file_copied(&file_of(cow, io)->target.backend, io);
}

/* Of a write, whose data does not come. */
void cow_forget(struct backend *backend, struct io *io)
{
	struct cow *cow = (struct cow *)backend;
	struct cow_work *work = work_of(cow, io);

	file_forget(&cow->layer.target.backend, io);
	if (!work)
		return;
	free_place(cow, work);
	run_turns(cow);
}

static void expire_works(struct cow *cow, struct cow_line *line)
{
	struct cow_line waits = *line;
	struct cow_work *work;

	*line = (struct cow_line){ NULL, NULL };
	while ((work = work_line_next(&waits))) {
		if (io_is_due(work->io))
			end_work(cow, work, -EIO);
		else
			work_line_up(line, work, SIGHT_TURN);
	}
}

static void expire_line(struct file_line *line)
{
	struct io *io = file_line_due(line), *next;

	for (; io; io = next) {
		next = io->next;
		io_done(io, -EIO);
	}
}

void cow_expire(struct backend *backend)
{
	struct cow *cow = (struct cow *)backend;

	expire_line(&cow->for_load);
	expire_line(&cow->for_turn);
	expire_line(&cow->for_sync);
	expire_line(&cow->syncing);
	expire_works(cow, &cow->for_buffer);
	expire_works(cow, &cow->for_map);
	cow->expires = 1;
	file_expire(&cow->layer.target.backend);
	cow_base_expire(cow);
	cow->expires = 0;
	run_turns(cow);
}

void cow_go_on(struct cow *cow)
{
	file_go_on(&cow->layer);
	cow_base_go_on(cow);
}
