/*
 * Sight: what a server writes down while it works, in a file of memory that
 * outlives it. The keeper's watchdog, the next server and ublkctl read it, also
 * when the server that wrote it stands still or is dead.
 *
 * It is "sight" in the state folder if that is a tmpfs, or else a memfd that only
 * keeper and server have. The keeper makes it and gives its descriptor to each
 * server. It begins with the head, in a page of its own; behind lies a part for
 * each device: a small one in a table, and a large one for a device that has had
 * more than a few requests. Only what has been allocated is touched, so that a full
 * tmpfs kills nobody: the head by the keeper, the parts by the server.
 *
 * One thread writes. Who reads in another process sees what is half written, and
 * takes no word as true without a look at its bounds. Times are microseconds of
 * CLOCK_MONOTONIC, read once a turn of the loop.
 */
#ifndef UBLKD_SIGHT_H
#define UBLKD_SIGHT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SIGHT_NAME    "sight"
#define SIGHT_MAGIC   0x7468676973626c75ull /* "ulbsight" */
#define SIGHT_VERSION 2u		    /* of all that follows */

/* ---- where a request waits ---- */

/* A request's place: one word for what it waits for. */
enum sight_place {
	SIGHT_NOWHERE, /* the tag has no request of ours */
	SIGHT_TARGET,  /* in the target, which has parked it nowhere (yet) */
	SIGHT_DATA,    /* a write's data is on its way from the driver */
	SIGHT_DELAY,   /* in the layer delay */
	SIGHT_LIMIT,   /* in the layer limit */
	SIGHT_WORKER,  /* for a free worker of the kernel */
	SIGHT_BUFFER,  /* for a buffer */
	SIGHT_TURN,    /* for its turn: a neighbour's request, a file's lock */
	SIGHT_READ,    /* the backing reads, */
	SIGHT_WRITE,   /* writes, */
	SIGHT_FLUSH,   /* flushes, */
	SIGHT_DISCARD, /* discards, or allocates, for it */
	SIGHT_COMMIT,  /* its answer was put into the ring; where nothing of the
			  ring is unsent, the driver has it and the tag is free */
	SIGHT_REFUSED, /* the driver refused its answer */
	SIGHT_LATE, /* with its backing still, though it was answered (io/late.h);
			  no tag's entry has this */
	SIGHT_PLACES,
};

/* A word ("backing-write"), and what an admin reads ("waits for ..."). */
const char *sight_place_name(enum sight_place place);
const char *sight_place_text(enum sight_place place);

/* Whether a request waits there, that is not done yet. */
static inline int sight_is_waiting(enum sight_place place)
{
	return place > SIGHT_NOWHERE && place < SIGHT_COMMIT;
}

/* A request that is ours; the place is written last, and first to NOWHERE. */
struct sight_tag {
	uint64_t since;	  /* us: it was delivered in that turn */
	uint32_t backing; /* us from there to its first look at the backing,
			   * and 1; 0: it has not been there */
	uint16_t tag;
	uint8_t queue;
	uint8_t place; /* enum sight_place */
};
_Static_assert(sizeof(struct sight_tag) == 16, "four a cache line");

/* ---- events ---- */

enum sight_what {
	SIGHT_NO_EVENT,
	SIGHT_DELIVERED,  /* op, number: offset, length */
	SIGHT_KEPT,	  /* a layer keeps it; place */
	SIGHT_PASSED,	  /* a layer lets it go */
	SIGHT_SUBMITTED,  /* to the backing; place */
	SIGHT_COMPLETED,  /* the backing has answered; number: its result */
	SIGHT_SERVED,	  /* as DELIVERED, and committed with 0 in that turn */
	SIGHT_COMMITTED,  /* number: 0 or -errno; length: us in ublkd */
	SIGHT_TAKEN_BACK, /* by the driver: nobody answers it */
	SIGHT_STEP,	  /* of the device's life; text */
	SIGHT_WHATS,
};

const char *sight_what_name(enum sight_what what);

#define SIGHT_TEXT 12 /* bytes of an event's text, the last of them zero */

/*
 * What says of which request it is has the order of struct io (io/request.h), from
 * which it is copied at once.
 */
struct sight_event {
	uint64_t when; /* us; above SIGHT_TIME_BITS queue and place, 8 bits each */
	union {
		struct {
			uint64_t number; /* as the event says */
			uint32_t length; /* bytes, or as the event says */
		} __attribute__((packed, aligned(4)));
		char text[SIGHT_TEXT];
	};
	uint16_t tag;
	uint8_t op;   /* enum sight_op */
	uint8_t what; /* enum sight_what */
};
_Static_assert(sizeof(struct sight_event) == 24, "no holes");

#define SIGHT_TIME_BITS 48

static inline uint64_t sight_when(uint64_t us, unsigned queue_id,
				  enum sight_place place)
{
	return us | (uint64_t)queue_id << SIGHT_TIME_BITS |
	       (uint64_t)place << (SIGHT_TIME_BITS + 8);
}

uint64_t sight_event_time(const struct sight_event *event);
unsigned sight_event_queue(const struct sight_event *event);
enum sight_place sight_event_place(const struct sight_event *event);

/* ---- counters and histograms ---- */

/* In the order of enum io_op (io/request.h). */
enum sight_op {
	SIGHT_OP_READ,
	SIGHT_OP_WRITE,
	SIGHT_OP_FLUSH,
	SIGHT_OP_DISCARD,
	SIGHT_OP_WRITE_ZEROES,
	SIGHT_OPS,
};

const char *sight_op_name(enum sight_op op);

enum sight_kind { SIGHT_IN_UBLKD, SIGHT_IN_BACKING, SIGHT_KINDS };

/*
 * What is counted of one request does not lie side by side: the compiler would add
 * two at a time, which takes longer.
 */
struct sight_counts {
	uint64_t count;	  /* answered without an error, later than */
	uint64_t in_turn; /* in the turn in which they came */
	uint64_t errors;
	uint64_t bytes;		       /* of those without an error */
	uint32_t longest[SIGHT_KINDS]; /* us */
	uint64_t sum[SIGHT_KINDS];     /* us, of all that waited */
};

/*
 * Log-linear: 8 buckets for each power of two, in units of SIGHT_UNIT. What ended
 * in the turn in which it came belongs to the first, and is counted apart. A count
 * has 40 bits.
 */
#define SIGHT_UNIT    4u   /* us */
#define SIGHT_BUCKETS 192u /* the last is also what took more than 200 s */

struct sight_histogram {
	uint32_t low[SIGHT_BUCKETS];
	uint8_t high[SIGHT_BUCKETS];
};

#define SIGHT_LONG 251658240u /* us, with which the last bucket begins */

/* The bucket of a time in us below that; and of any. */
static inline unsigned sight_bucket_of(uint32_t us)
{
	uint32_t units = us / SIGHT_UNIT;
	/* The bits below the four that count. */
	unsigned shift = (31 ^ (unsigned)__builtin_clz(units | 8)) - 3;

	return shift * 8 + (units >> shift);
}

static inline unsigned sight_bucket(uint64_t us)
{
	return us < SIGHT_LONG ? sight_bucket_of((uint32_t)us)
			       : SIGHT_BUCKETS - 1;
}

/* Its least time, which is the end of the one before; us. */
uint64_t sight_bucket_begin(unsigned bucket) __attribute__((cold));

static inline uint64_t sight_bucket_count(const struct sight_histogram *of,
					  unsigned bucket)
{
	return (uint64_t)of->high[bucket] << 32 | of->low[bucket];
}

/* How many times the histogram has. */
uint64_t sight_histogram_total(const struct sight_histogram *of)
	__attribute__((cold));

/*
 * The time in us that so many of a million are not above, or 0 if there are none;
 * within a bucket by its share of that.
 */
uint64_t sight_percentile(const struct sight_histogram *of, unsigned millionths)
	__attribute__((cold));

/* ---- a device's parts ---- */

#define SIGHT_SLOTS	   8u /* requests at a time in a small part */
#define SIGHT_FIRST_EVENTS 12u
#define SIGHT_FIRST_TIMES  48u	/* of requests that waited */
#define SIGHT_ENOUGH	   200u /* events: a device that is used gets large */

/* A time of one of the first requests that waited, for the histograms. */
struct sight_time {
	uint8_t op, kind, bucket;
};

struct sight_small {
	_Atomic uint32_t used; /* 1 + the device's number; 0: nobody's */
	uint32_t is_large; /* tags, events and times lie in the large part */
	uint16_t queues, depth;
	uint16_t most; /* requests of one queue that were ours at a time */
	uint16_t times_count;
	char target[16];
	uint64_t began;	 /* us: the counters are from then on */
	uint64_t events; /* that were ever written; the next goes to
			    events modulo the ring's size */
	struct sight_counts counts[SIGHT_OPS];
	struct sight_tag slots[SIGHT_SLOTS]; /* of the tag modulo that */
	struct sight_event ring[SIGHT_FIRST_EVENTS];
	struct sight_time times[SIGHT_FIRST_TIMES];
	uint8_t spare[8];
};
_Static_assert(sizeof(struct sight_small) == 896, "whole cache lines");

#define SIGHT_EVENTS 112u

struct sight_large {
	struct sight_histogram histograms[SIGHT_OPS][SIGHT_KINDS];
	struct sight_event ring[SIGHT_EVENTS];
	struct sight_tag tags[]; /* depth of queue 0, of queue 1, ... */
};
/* With tags of two queues of 128: four pages of 4 KiB. */
_Static_assert(sizeof(struct sight_large) <= 12288, "three pages");

#define SIGHT_DEVICES	 1024u	 /* as DEVICES_MAX of base/message.h */
#define SIGHT_QUEUES_MAX 256u	 /* a device with more has no part */
#define SIGHT_TAGS_MAX	 262144u /* a device with more has no large part */

#define SIGHT_NO_SLOT UINT32_MAX

/* Where parts lie in the file; all of it at multiples of 64 KiB, the largest page. */
#define SIGHT_SMALL_AT	   65536u
#define SIGHT_LARGE_AT	   (1u << 20)
#define SIGHT_LARGE_STRIDE (SIGHT_TAGS_MAX * sizeof(struct sight_tag) + 65536u)

static inline uint64_t sight_small_at(unsigned slot)
{
	return SIGHT_SMALL_AT + (uint64_t)slot * sizeof(struct sight_small);
}

static inline uint64_t sight_large_at(unsigned slot)
{
	return SIGHT_LARGE_AT + (uint64_t)slot * SIGHT_LARGE_STRIDE;
}

static inline uint64_t sight_large_size(unsigned queues, unsigned depth)
{
	return sizeof(struct sight_large) +
	       (uint64_t)queues * depth * sizeof(struct sight_tag);
}

/* ---- the head ---- */

/* What the server's thread does. */
enum sight_phase {
	SIGHT_STARTS,
	SIGHT_SLEEPS,
	SIGHT_TURNS,	 /* a queue's turn; device */
	SIGHT_SUBMITS,	 /* in submit of a device's backend; device */
	SIGHT_COMPLETES, /* the backing's answer goes to the target; device */
	SIGHT_TIMERS,	 /* a timer fires */
	SIGHT_CLIENTS,	 /* a client's command */
	SIGHT_KEEPERS,	 /* a message of the keeper */
	SIGHT_OTHERS,	 /* libev calls something else */
	SIGHT_PHASES,
};

const char *sight_phase_name(enum sight_phase phase);

/*
 * A server, whose process number stands in it. There are two of these, for an old
 * server and a new one may live for a while: a new one has the part of one that is
 * dead. The first two words are the keeper's watch (keeper/watchdog.h), and are
 * there without a recorder, too.
 */
struct sight_server {
	_Atomic uint64_t turns;	  /* that it has taken */
	_Atomic uint32_t watched; /* the keeper looks, or was told to */
	uint32_t pid;
	uint64_t since; /* us: the last reading of the clock */
	uint32_t phase; /* enum sight_phase */
	uint32_t slot;	/* of the device, if the phase has one */
	uint8_t spare[32];
};
_Static_assert(sizeof(struct sight_server) == 64, "a cache line");

struct sight_head {
	uint64_t magic;
	uint32_t version;
	uint32_t head_size, small_size, large_size, tag_size, event_size;
	uint32_t current; /* which of the servers is the last */
	uint32_t slots;	  /* of the table, that have been allocated; with a
			   * recorder at least one */
	uint8_t spare[24];
	struct sight_server servers[2];
};

/* Fill in the constants of a head that is all zero. */
void sight_head_init(struct sight_head *head) __attribute__((cold));

/* Whether a head is of this version: 0, or -EPROTO. */
int sight_head_check(const struct sight_head *head) __attribute__((cold));

/*
 * Which of the servers lives: the last one, unless that is dead and the one before
 * goes on. -1: none of them.
 */
int sight_living(const struct sight_head *head) __attribute__((cold));

/* ---- for readers ---- */

/*
 * "3.2 s in submit of target file, device 3", as of `now` in us; small is the
 * part in the server's slot, or NULL. A phase that says nothing of the time, or a
 * server without a recorder, is told without. Returns text.
 */
const char *sight_describe(const struct sight_server *server,
			   const struct sight_small *small, uint64_t now,
			   char *text, size_t size) __attribute__((cold));

/* The same, with the part of that file that the phase is about, if it has one. */
struct sight_file;
const char *sight_file_describe(const struct sight_file *file,
				const struct sight_server *server, uint64_t now,
				char *text, size_t size) __attribute__((cold));

uint64_t sight_clock(void); /* us, of CLOCK_MONOTONIC */

/* The same without a call, for each turn of a queue. */
static inline uint64_t sight_clock_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000;
}

/*
 * The file of the state folder, of which readers take copies: a page that is looked
 * at in a mapping would be allocated.
 */
struct sight_file {
	int fd;
	struct sight_head head; /* as of the opening */
};

/*
 * Open it. Returns 0 or a negative errno: -ENOENT if there is none, -EPROTO if it
 * is of another version. To be closed.
 */
int sight_file_open(struct sight_file *file, const char *folder)
	__attribute__((cold));
void sight_file_close(struct sight_file *file) __attribute__((cold));

/*
 * Copy the small part in a slot below head.slots. Returns 0, -ENOENT if that is
 * nobody's, or a negative errno.
 */
int sight_file_small(const struct sight_file *file, unsigned slot,
		     struct sight_small *small) __attribute__((cold));

/*
 * A copy of the large part, with all tags, to be freed; NULL if the device has
 * none, or it cannot be read.
 */
struct sight_large *sight_file_large(const struct sight_file *file,
				     unsigned slot,
				     const struct sight_small *small)
	__attribute__((cold));

#endif
