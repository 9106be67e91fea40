#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/page.h"
#include "base/probe.h"
#include "base/sight.h"
#include "loop-timer.h"

_Static_assert((int)SIGHT_OPS == (int)IO_OPS &&
		       (int)SIGHT_OP_WRITE_ZEROES == (int)IO_WRITE_ZEROES,
	       "the same order");

/* What an event copies of struct io lies there as it does in the event. */
#define COPIED (offsetof(struct io, flags) - offsetof(struct io, offset) + 1)
#define SAME_PLACE(theirs, ours)                                               \
	_Static_assert(offsetof(struct sight_event, theirs) -                  \
				       offsetof(struct sight_event, number) == \
			       offsetof(struct io, ours) -                     \
				       offsetof(struct io, offset),            \
		       "as in struct io")
SAME_PLACE(length, length);
SAME_PLACE(tag, tag);
SAME_PLACE(op, op);
SAME_PLACE(what, flags);

/* Of a request, which is named by its device, queue and tag. */
#define PROBE_IO(name, io, ...)                                                \
	PROBE(name, (io)->port->recorder->id, (io)->port->queue_id, (io)->tag, \
	      __VA_ARGS__)

/* Compiled for size: not for each request. */
#define COLD __attribute__((cold))

#define PAUSE 1.0 /* s, when the host has no memory for a large part */

/* What the entries of one table of pages reach over, at least; bytes. */
#define TABLE_SPAN (2u << 20)

static struct {
	int fd;
	struct sight_head *head;
	struct sight_small *table; /* only what is allocated is touched */
	struct ev_loop *loop;
	struct loop_timer growth;
	struct recorder *crowded; /* linked by `next` */
} file = { .fd = -1 };

/* ---- events ---- */

static uint64_t ring_size(const struct recorder *recorder)
{
	return (uint64_t)(recorder->ring_end - recorder->ring);
}

/* A device that is used has many events, whether its requests wait or not. */
static inline struct sight_event *begin_lap(struct recorder *recorder)
{
	if (!recorder->large &&
	    ++recorder->laps > SIGHT_ENOUGH / SIGHT_FIRST_EVENTS)
		recorder->is_crowded = 1;
	return recorder->ring;
}

static inline struct sight_event *add_event(struct recorder *recorder,
					    uint64_t when)
{
	struct sight_event *event = recorder->newest + 1;

	if (event == recorder->ring_end)
		event = begin_lap(recorder);
	recorder->newest = event;
	recorder->small->events++;
	event->when = when;
	return event;
}

/* The rest is the caller's. */
static inline struct sight_event *
add_event_of(const struct io *io, enum sight_what what, enum sight_place place)
{
	const struct io_port *port = io->port;
	struct sight_event *event = add_event(
		port->recorder, sight_when(turns_now(), port->queue_id, place));

	event->tag = io->tag;
	event->op = io->op;
	event->what = (uint8_t)what;
	return event;
}

/* The same, for those of which not every request has one. */
static struct sight_event *__attribute__((noinline))
note_event(const struct io *io, enum sight_what what, enum sight_place place)
{
	return add_event_of(io, what, place);
}

void COLD recorder_step(struct recorder *recorder, const char *name)
{
	struct sight_event *event;

	if (!recorder)
		return;
	event = add_event(recorder, sight_clock());
	event->what = SIGHT_STEP;
	event->tag = event->op = 0;
	strncpy(event->text, name, SIGHT_TEXT - 1);
	event->text[SIGHT_TEXT - 1] = '\0';
}

/* ---- times ---- */

static inline void count_time(struct sight_histogram *histogram,
			      unsigned bucket)
{
	if (++histogram->low[bucket] == 0)
		histogram->high[bucket]++;
}

/* Of one of the first requests, in a part that has no histograms. */
static void COLD keep_time(struct recorder *recorder, unsigned op,
			   enum sight_kind kind, unsigned bucket)
{
	struct sight_small *small = recorder->small;

	if (small->times_count < SIGHT_FIRST_TIMES)
		small->times[small->times_count++] =
			(struct sight_time){ (uint8_t)op, (uint8_t)kind,
					     (uint8_t)bucket };
	if (small->times_count == SIGHT_FIRST_TIMES)
		recorder->is_crowded = 1;
}

/* us, of a time that may be longer than anybody waits */
static inline uint32_t shorten(uint64_t us)
{
	return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static inline void add_time(struct sight_counts *counts, enum sight_kind kind,
			    uint32_t us)
{
	counts->sum[kind] += us;
	if (us > counts->longest[kind])
		counts->longest[kind] = us;
}

/* A request was in ublkd, or in its backing, for so long. */
static void note_time(struct recorder *recorder, unsigned op,
		      enum sight_kind kind, uint32_t us)
{
	const struct recorder_op *of = &recorder->ops[op];

	add_time(of->counts, kind, us);
	if (of->histograms)
		count_time(&of->histograms[kind], sight_bucket(us));
	else
		keep_time(recorder, op, kind, sight_bucket(us));
}

/* ---- the large part ---- */

static uint64_t large_size(const struct sight_small *small)
{
	return page_round_up(
		(size_t)sight_large_size(small->queues, small->depth));
}

static void COLD give_large_back(uint32_t slot)
{
	fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  (off_t)sight_large_at(slot), (off_t)SIGHT_LARGE_STRIDE);
}

/* Has the kernel make the tables of pages, which takes memory, too. */
static void COLD touch_tables(unsigned char *map, size_t size)
{
	size_t at;

	/* Another server may write there. */
	for (at = 0; at < size; at += TABLE_SPAN)
		__atomic_fetch_or(map + at, 0, __ATOMIC_RELAXED);
	__atomic_fetch_or(map + size - 1, 0, __ATOMIC_RELAXED);
}

/*
 * Returns NULL, and an errno, if it cannot be mapped. What of it is not there
 * is allocated first: a hole that is touched while the tmpfs is full kills.
 */
static struct sight_large *COLD map_large(const struct recorder *recorder)
{
	off_t at = (off_t)sight_large_at(recorder->slot);
	size_t size = (size_t)large_size(recorder->small);
	void *map;

	if (fallocate(file.fd, 0, at, (off_t)size) < 0)
		return NULL;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, at);
	if (map == MAP_FAILED)
		return NULL;
	touch_tables(map, size);
	return map;
}

/* Record into that part which the device has. */
static void COLD use_part(struct recorder *recorder)
{
	struct sight_large *large = recorder->large;
	struct sight_small *small = recorder->small;
	unsigned op;

	recorder->tags = large ? large->tags : small->slots;
	recorder->stride = large ? small->depth : 0;
	recorder->mask = large ? UINT32_MAX : SIGHT_SLOTS - 1;
	recorder->ring = large ? large->ring : small->ring;
	recorder->ring_end =
		recorder->ring + (large ? SIGHT_EVENTS : SIGHT_FIRST_EVENTS);
	recorder->newest =
		recorder->ring +
		(small->events + ring_size(recorder) - 1) % ring_size(recorder);
	for (op = 0; op < SIGHT_OPS; op++) {
		recorder->ops[op].counts = &small->counts[op];
		recorder->ops[op].histograms = large ? large->histograms[op]
						     : NULL;
	}
}

/* What the small part has of the first requests, of which some may be ours. */
static void COLD copy_to_large(const struct sight_small *small,
			       struct sight_large *large)
{
	const struct sight_tag *tag;
	uint64_t i = small->events < SIGHT_FIRST_EVENTS
			     ? 0
			     : small->events - SIGHT_FIRST_EVENTS;

	for (; i < small->events; i++)
		large->ring[i % SIGHT_EVENTS] =
			small->ring[i % SIGHT_FIRST_EVENTS];
	for (tag = small->slots; tag < small->slots + SIGHT_SLOTS; tag++)
		if (tag->place != SIGHT_NOWHERE)
			large->tags[tag->queue * small->depth + tag->tag] =
				*tag;
	for (i = 0; i < small->times_count; i++) {
		const struct sight_time *time = &small->times[i];

		count_time(&large->histograms[time->op][time->kind],
			   time->bucket);
	}
}

/* Returns NULL, and an errno, if there is no room. */
static struct sight_large *COLD make_large(const struct recorder *recorder)
{
	const struct sight_small *small = recorder->small;

	if ((uint32_t)small->queues * small->depth > SIGHT_TAGS_MAX) {
		errno = EFBIG;
		return NULL;
	}
	/* Of a server that was killed right here. */
	give_large_back(recorder->slot);
	return map_large(recorder);
}

/*
 * The queue uses the large part. Who had no entry before has one now, and its time
 * is from now on.
 */
static void COLD use_entries(struct io_port *port)
{
	const struct recorder *recorder = port->recorder;
	uint16_t tag;

	port->entries =
		&recorder->large
			 ->tags[(size_t)port->queue_id * recorder->stride];
	for (tag = 0; tag < port->depth; tag++) {
		struct io *io = io_of_tag(port, tag);

		if (io->owned < IO_UNSEEN)
			continue;
		recorder_take(io, &port->entries[tag],
			      (enum sight_place)(io->owned - IO_UNSEEN));
		io->owned = IO_PARKED;
	}
}

static void COLD grow(struct recorder *recorder)
{
	struct sight_small *small = recorder->small;
	struct sight_large *large = make_large(recorder);
	struct io_port *port;

	if (!large) {
		recorder->cannot_grow = 1;
		log_warning("device %u: no memory for its recorder in the "
			    "state folder: %s; its requests are counted, but "
			    "neither their times nor where they wait",
			    small->used - 1, strerror(errno));
		return;
	}
	copy_to_large(small, large);
	recorder->large = large;
	use_part(recorder);
	for (port = recorder->ports; port; port = port->next)
		use_entries(port);
	/* Whoever reads finds it complete. */
	atomic_thread_fence(memory_order_release);
	small->is_large = 1;
}

static void COLD ask_no_more(struct recorder *recorder)
{
	struct recorder **at = &file.crowded;

	while (*at && *at != recorder)
		at = &(*at)->next;
	if (*at)
		*at = recorder->next;
	recorder->is_asking = 0;
}

/*
 * One device a turn. Where memory is short nobody gets more, and whoever has
 * requests asks again.
 */
static void COLD on_growth(struct loop_timer *timer)
{
	struct recorder *recorder = file.crowded;
	int is_short;

	if (!recorder)
		return;
	is_short = memory_take(large_size(recorder->small),
			       MEMORY_RESERVE_AUTO) < 0;
	if (!is_short)
		grow(recorder);
	do
		ask_no_more(file.crowded);
	while (is_short && file.crowded);
	if (is_short || file.crowded)
		loop_timer_start(file.loop, timer, is_short ? PAUSE : 0);
}

/*
 * A large part is made by a timer: while requests are delivered, the kernel that
 * reclaims memory for it may wait for one of them.
 */
static void COLD ask_for_large(struct recorder *recorder)
{
	recorder->is_crowded = 0;
	if (recorder->large || recorder->cannot_grow || recorder->is_asking)
		return;
	recorder->is_asking = 1;
	recorder->next = file.crowded;
	file.crowded = recorder;
	if (!loop_timer_is_active(&file.growth))
		loop_timer_start(file.loop, &file.growth, 0);
}

void (*recorder_parked)(void);

void recorder_note_turned(const struct io_port *port)
{
	struct recorder *recorder = port->recorder;

	if (recorder->is_crowded)
		ask_for_large(recorder);
	if (port->owned > recorder->small->most)
		recorder->small->most = (uint16_t)port->owned;
	if (port->owned && recorder_parked)
		recorder_parked();
}

/* ---- requests ---- */

void recorder_note_delivered(const struct io *io)
{
	const struct io_port *port = io->port;
	struct sight_event *event = add_event(
		port->recorder,
		sight_when(turns_now(), port->queue_id, SIGHT_NOWHERE));

	memcpy((char *)event + offsetof(struct sight_event, number),
	       (const char *)io + offsetof(struct io, offset), COPIED);
	event->what = SIGHT_DELIVERED;
	PROBE_IO(delivered, io, io->op, io->offset, io->length);
}

/*
 * In a small part another request may have the tag's entry, and keeps it: what waits
 * for longest is what somebody looks for.
 */
static int can_have(const struct io *io, const struct sight_tag *tag)
{
	if (!sight_is_waiting(tag->place) ||
	    (tag->tag == io->tag && tag->queue == io->port->queue_id))
		return 1;
	io->port->recorder->is_crowded = 1;
	return 0;
}

/* One that has had no entry before has its time from now on. */
void recorder_park(struct io *io, enum sight_place place)
{
	struct sight_tag *tag = recorder_tag(io);

	if (io->owned == IO_PARKED) {
		tag->place = (uint8_t)place;
	} else if (can_have(io, tag)) {
		recorder_take(io, tag, place);
		io->owned = IO_PARKED;
	} else {
		io->owned = (uint8_t)(IO_UNSEEN + place);
	}
}

void recorder_note_refused(const struct io *io)
{
	struct sight_tag *tag = recorder_tag(io);

	if (can_have(io, tag))
		recorder_take(io, tag, SIGHT_REFUSED);
}

static inline void count_done(struct sight_counts *counts, const struct io *io)
{
	counts->count++;
	counts->bytes += io->length;
}

/* It has waited, or failed. */
void recorder_note_late(const struct io *io, int error)
{
	struct recorder *recorder = io->port->recorder;
	struct sight_tag *tag = recorder_tag(io);
	struct sight_event *event;
	uint32_t took = 0;

	if (error)
		recorder->ops[io->op].counts->errors++;
	else
		count_done(recorder->ops[io->op].counts, io);
	if (io->owned == IO_PARKED) {
		took = shorten(turns_now() - tag->since);
		note_time(recorder, io->op, SIGHT_IN_UBLKD, took);
		if (tag->backing)
			note_time(recorder, io->op, SIGHT_IN_BACKING,
				  took - (tag->backing - 1));
		tag->place = SIGHT_COMMIT;
	}
	event = note_event(io, SIGHT_COMMITTED, SIGHT_NOWHERE);
	event->length = took;
	event->number = (uint64_t)(int64_t)error;
	PROBE_IO(committed, io, io->op, error, took);
}

/*
 * The same, in few instructions, for what most writes are:
 * in a large part, without an error, a backing, or a wait of minutes.
 */
void recorder_note_waited(const struct io *io)
{
	const struct io_port *port = io->port;
	const struct recorder_op *of = &port->recorder->ops[io->op];
	struct sight_tag *tag = port->entries ? &port->entries[io->tag] : NULL;
	uint64_t took = tag ? turns_now() - tag->since : SIGHT_LONG;
	struct sight_event *event;

	if (took >= SIGHT_LONG || tag->backing) {
		recorder_note_late(io, 0);
		return;
	}
	tag->place = SIGHT_COMMIT;
	count_done(of->counts, io);
	add_time(of->counts, SIGHT_IN_UBLKD, (uint32_t)took);
	count_time(&of->histograms[SIGHT_IN_UBLKD],
		   sight_bucket_of((uint32_t)took));
	event = add_event_of(io, SIGHT_COMMITTED, SIGHT_NOWHERE);
	event->length = (uint32_t)took;
	event->number = 0;
	PROBE_IO(committed, io, io->op, 0, (uint32_t)took);
}

/*
 * Most reads end in the submit() of their target. There is nothing to measure then,
 * and the event that they came becomes the one that they were served.
 */
void recorder_note_served(const struct io *io)
{
	const struct recorder *recorder = io->port->recorder;
	struct sight_counts *counts = recorder->ops[io->op].counts;

	if (io->owned != IO_IN_HAND ||
	    recorder->newest->what != SIGHT_DELIVERED) {
		recorder_note_late(io, 0);
		return;
	}
	recorder->newest->what = SIGHT_SERVED;
	counts->in_turn++;
	counts->bytes += io->length;
	PROBE_IO(committed, io, io->op, 0, 0u);
}

void recorder_note_taken_back(const struct io *io)
{
	if (io->owned == IO_PARKED)
		recorder_tag(io)->place = SIGHT_NOWHERE;
	note_event(io, SIGHT_TAKEN_BACK, SIGHT_NOWHERE);
	PROBE_IO(taken_back, io, io->op);
}

void recorder_note_kept(struct io *io, enum sight_place place)
{
	recorder_park(io, place);
	note_event(io, SIGHT_KEPT, place);
	PROBE_IO(kept, io, io->op);
}

void recorder_note_passed(struct io *io)
{
	recorder_park(io, SIGHT_TARGET);
	note_event(io, SIGHT_PASSED, SIGHT_TARGET);
	PROBE_IO(passed, io, io->op);
}

/* The request was first handed to its backing. */
static void note_backing(const struct io *io)
{
	struct sight_tag *tag = recorder_tag(io);
	uint32_t waited = shorten(turns_now() - tag->since);

	if (!tag->backing)
		tag->backing = waited < UINT32_MAX ? waited + 1 : UINT32_MAX;
}

void recorder_note_submitted(struct io *io)
{
	static const uint8_t places[IO_OPS] = {
		[IO_READ] = SIGHT_READ,
		[IO_WRITE] = SIGHT_WRITE,
		[IO_FLUSH] = SIGHT_FLUSH,
		[IO_DISCARD] = SIGHT_DISCARD,
		[IO_WRITE_ZEROES] = SIGHT_DISCARD,
	};
	enum sight_place place = places[io->op];

	recorder_park(io, place);
	if (io->owned == IO_PARKED)
		note_backing(io);
	note_event(io, SIGHT_SUBMITTED, place);
	PROBE_IO(submitted, io, io->op);
}

void recorder_note_completed(struct io *io, int32_t result)
{
	recorder_park(io, SIGHT_TARGET);
	note_event(io, SIGHT_COMPLETED, SIGHT_TARGET)->number =
		(uint64_t)(int64_t)result;
	PROBE_IO(completed, io, io->op, result);
}

/* ---- the table ---- */

/* The slot of the device's part; or as many as there are, if it has none. */
static uint32_t COLD find_slot(uint32_t used)
{
	uint32_t slot = 0;

	while (slot < file.head->slots &&
	       atomic_load(&file.table[slot].used) != used)
		slot++;
	return slot;
}

/* Returns 0 or a negative errno. */
static int allocate_slot(uint32_t slot)
{
	if (slot == SIGHT_DEVICES)
		return -ENOSPC;
	if (fallocate(file.fd, 0, (off_t)sight_small_at(slot),
		      sizeof(struct sight_small)) < 0)
		return -errno;
	file.head->slots = slot + 1;
	return 0;
}

static void COLD give_slot_back(uint32_t slot)
{
	struct sight_small *small = &file.table[slot];

	/* Perhaps of a server that was killed while it made one. */
	give_large_back(slot);
	/* Whoever reads meanwhile sees that it is nobody's. */
	atomic_store(&small->used, 0);
	memset(small, 0, sizeof(*small));
}

/* The device's slot, a new one if it has none. Returns it or a negative errno. */
static int take_slot(uint32_t id, int is_new)
{
	uint32_t slot = find_slot(id + 1);
	int error;

	if (slot < file.head->slots && is_new)
		give_slot_back(slot); /* of a device that had this number */
	else if (slot < file.head->slots)
		return (int)slot;
	slot = find_slot(0);
	error = slot == file.head->slots ? allocate_slot(slot) : 0;
	return error ? error : (int)slot;
}

void recorder_forget_others(int (*is_known)(void *context, uint32_t id),
			    void *context)
{
	uint32_t slot, used;

	if (file.fd < 0)
		return;
	for (slot = 0; slot < file.head->slots; slot++) {
		used = atomic_load(&file.table[slot].used);
		if (used && !is_known(context, used - 1))
			give_slot_back(slot);
	}
}

/* ---- a device ---- */

static void begin_part(struct sight_small *small, uint32_t id, uint16_t queues,
		       uint16_t depth, const char *target)
{
	memset(small, 0, sizeof(*small));
	small->queues = queues;
	small->depth = depth;
	small->began = sight_clock();
	strncpy(small->target, target, sizeof(small->target) - 1);
	atomic_store(&small->used, id + 1);
}

/* Another server's part, of another shape than ours, says nothing to us. */
static int is_usable(const struct sight_small *small, uint16_t queues,
		     uint16_t depth)
{
	return atomic_load(&small->used) && small->queues == queues &&
	       small->depth == depth && small->times_count <= SIGHT_FIRST_TIMES;
}

/* Go on where the part ends, which another server may have written to. */
static void COLD catch_up(struct recorder *recorder)
{
	const struct sight_small *small = recorder->small;

	if (small->is_large && !recorder->large && !recorder->cannot_grow) {
		recorder->large = map_large(recorder);
		recorder->cannot_grow = !recorder->large;
	}
	use_part(recorder);
}

struct recorder *recorder_open(uint32_t id, int is_new, uint16_t queues,
			       uint16_t depth, const char *target)
{
	struct recorder *recorder;
	int slot;

	if (file.fd < 0)
		return NULL;
	if (queues > SIGHT_QUEUES_MAX) {
		log_notice("device %u has no recorder: it has more than %u "
			   "queues",
			   id, SIGHT_QUEUES_MAX);
		return NULL;
	}
	slot = take_slot(id, is_new);
	if (slot < 0) {
		log_warning("device %u has no recorder: no memory in the state "
			    "folder: %s",
			    id, strerror(-slot));
		return NULL;
	}
	recorder = calloc(1, sizeof(*recorder));
	if (!recorder)
		return NULL;
	recorder->id = id;
	recorder->slot = (uint32_t)slot;
	recorder->small = &file.table[slot];
	if (!is_usable(recorder->small, queues, depth)) {
		give_slot_back(recorder->slot);
		begin_part(recorder->small, id, queues, depth, target);
	}
	catch_up(recorder);
	return recorder;
}

void recorder_close(struct recorder *recorder)
{
	if (!recorder)
		return;
	ask_no_more(recorder);
	if (recorder->large)
		munmap(recorder->large, (size_t)large_size(recorder->small));
	free(recorder);
}

void recorder_forget(struct recorder *recorder)
{
	uint32_t slot;

	if (!recorder)
		return;
	slot = recorder->slot;
	recorder_close(recorder);
	give_slot_back(slot);
}

void recorder_histogram(const struct recorder *recorder, enum sight_op op,
			enum sight_kind kind, struct sight_histogram *to)
{
	const struct sight_small *small = recorder->small;
	uint64_t first;
	unsigned i;

	if (recorder->large)
		*to = recorder->large->histograms[op][kind];
	else
		memset(to, 0, sizeof(*to));
	for (i = 0; !recorder->large && i < small->times_count; i++)
		if (small->times[i].op == op && small->times[i].kind == kind)
			count_time(to, small->times[i].bucket);
	if (kind != SIGHT_IN_UBLKD)
		return;
	first = sight_bucket_count(to, 0) + small->counts[op].in_turn;
	to->low[0] = (uint32_t)first;
	to->high[0] = (uint8_t)(first >> 32);
}

int recorder_event(const struct recorder *recorder, uint64_t number,
		   struct sight_event *event)
{
	uint64_t written = recorder->small->events;

	if (number >= written || written - number > ring_size(recorder))
		return -ENOENT;
	*event = recorder->ring[number % ring_size(recorder)];
	return 0;
}

uint64_t recorder_first_event(const struct recorder *recorder)
{
	uint64_t written = recorder->small->events;
	uint64_t size = ring_size(recorder);

	return written > size ? written - size : 0;
}

void recorder_reset(struct recorder *recorder)
{
	struct sight_small *small = recorder->small;

	memset(small->counts, 0, sizeof(small->counts));
	small->most = 0;
	small->times_count = 0;
	small->began = sight_clock();
	if (recorder->large)
		memset(recorder->large->histograms, 0,
		       sizeof(recorder->large->histograms));
}

static void COLD forget_entries(struct recorder *recorder, uint16_t queue_id)
{
	uint32_t tag, first = queue_id * recorder->stride, count;

	count = recorder->large ? recorder->small->depth : SIGHT_SLOTS;
	for (tag = first; tag < first + count; tag++)
		if (recorder->tags[tag].queue == queue_id)
			recorder->tags[tag].place = SIGHT_NOWHERE;
}

void recorder_enter(struct io_port *port)
{
	struct recorder *recorder = port->recorder;

	if (!recorder)
		return;
	/* Until now the server before may have served the device. */
	catch_up(recorder);
	forget_entries(recorder, port->queue_id);
	port->next = recorder->ports;
	recorder->ports = port;
	if (recorder->large)
		use_entries(port);
}

void recorder_leave(struct io_port *port)
{
	struct io_port **at;

	if (!port->recorder)
		return;
	at = &port->recorder->ports;
	while (*at && *at != port)
		at = &(*at)->next;
	if (*at)
		*at = port->next;
}

/* ---- the file ---- */

/* What of the head and the table was given is there; 0 or a negative errno. */
static int allocate_given(int fd, const struct sight_head *head)
{
	if (head->slots > SIGHT_DEVICES)
		return -EPROTO;
	if (fallocate(fd, 0, 0, sizeof(*head)) < 0 ||
	    (head->slots &&
	     fallocate(fd, 0, SIGHT_SMALL_AT,
		       (off_t)(head->slots * sizeof(struct sight_small))) < 0))
		return -errno;
	return 0;
}

int recorder_begin(int fd, struct ev_loop *loop)
{
	size_t size = SIGHT_DEVICES * sizeof(struct sight_small);
	void *head = mmap(NULL, sizeof(struct sight_head),
			  PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	void *table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   SIGHT_SMALL_AT);
	int error = 0;

	if (head == MAP_FAILED || table == MAP_FAILED)
		error = -errno;
	if (!error)
		error = allocate_given(fd, head);
	if (!error)
		file.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (!error && file.fd < 0)
		error = -errno;
	if (error) {
		if (head != MAP_FAILED)
			munmap(head, sizeof(struct sight_head));
		if (table != MAP_FAILED)
			munmap(table, size);
		return error;
	}
	file.head = head;
	file.table = table;
	file.loop = loop;
	loop_timer_init(&file.growth, on_growth, NULL);
	return 0;
}

void recorder_end(void)
{
	if (file.fd < 0)
		return;
	loop_timer_stop(file.loop, &file.growth);
	munmap(file.head, sizeof(struct sight_head));
	munmap(file.table, SIGHT_DEVICES * sizeof(struct sight_small));
	close(file.fd);
	file.fd = -1;
}

int recorder_is_on(void)
{
	return file.fd >= 0;
}
