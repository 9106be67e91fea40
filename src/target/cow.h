/* What the parts of the target cow share. */
#ifndef UBLKD_TARGET_COW_H
#define UBLKD_TARGET_COW_H

#include "cow-map.h"
#include "file.h"
#include "io/late.h"
#include "io/ring.h"
#include "target.h"

/*
 * Requests at a time that change what clusters are; and of these places so many are
 * not for those that read the base, which may not answer.
 */
#define COW_WORKS	       16
#define COW_WORKS_WITHOUT_BASE 4

/* A part of the device that a change has to fill in beside its own data. */
struct cow_rest {
	uint64_t at, end; /* bytes of the device; what is left of it */
	int is_zero;	  /* with zeroes; else from the base */
};

/* A request that changes what clusters are. */
struct cow_work {
	struct io *io;	      /* NULL: the place is free */
	uint64_t first, last; /* clusters that nobody else changes meanwhile */
	uint8_t was[2];	      /* enum cow_state of those two, before */
	uint8_t step;	      /* enum step in cow-io.c */
	struct cow_rest rest[2];
	void *buffer; /* for what is copied, or NULL */
	uint32_t room, filled, written;
	uint32_t sector, last_sector; /* of the map, to be written */
	struct cow_work *next;	      /* of those that wait */
};

struct cow_line {
	struct cow_work *first, *last;
};

/* What is done to the layer, a transfer at a time; see cow-load.c. */
enum cow_job_step {
	COW_IDLE,
	COW_READ_HEADER,
	COW_READ_MAP,
	COW_READ_NOW,
	COW_MAKE_LONG,
	COW_WRITE_HEADER,
	COW_SYNC_HEADER,
	COW_ALLOCATE_MAP,
	COW_CLEAR_NOW,
	COW_PUNCH_NOW,
	COW_SYNC_DATA,
	COW_WRITE_MAP,
	COW_SYNC_MAP,
};

/* Something that is fetched from a server for a work, as a request of our own. */
struct cow_fetch {
	struct io_port port;
	struct io io;
	struct late late;
	uint32_t given; /* as late has it */
	int is_busy;
};

/* See cow-commit.c; those of a header, of clusters, and of the layer then. */
enum cow_commit_step {
	COMMIT_NOT,
	COMMIT_MARK,
	COMMIT_SYNC_MARK,
	COMMIT_READ,
	COMMIT_WRITE,
	COMMIT_HOLE,
	COMMIT_ZEROES,
	COMMIT_SYNC_BASE,
	COMMIT_EMPTY_MAP,
	COMMIT_SYNC_MAP,
	COMMIT_EMPTY_DATA,
	COMMIT_UNMARK,
	COMMIT_SYNC_UNMARK,
};

struct cow_commit {
	enum cow_commit_step step;
	uint64_t cluster; /* the next one */
	uint64_t at, end; /* bytes of the base, or of the map */
	uint8_t *buffer;  /* a cluster */
	uint32_t filled, written;
	int no_holes; /* the base cannot have any */
};

struct cow {
	struct target target;
	struct file base, layer;   /* each one's own ring file */
	char *uri;		   /* of the base, or NULL: it is that file */
	struct target *server;	   /* which reads that then */
	struct cow_fetch *fetches; /* of the works, likewise */
	uint32_t max_fetch;	   /* bytes of one */
	struct cow_header header;
	struct cow_map map;
	uint64_t size;	     /* bytes of the device */
	unsigned shift;	     /* of the size of a cluster */
	uint32_t block_size; /* bytes */
	uint32_t wanted;     /* bytes of a cluster in a new layer, or 0 */
	int adopted, read_only;
	int is_loaded;
	int takes_base;	    /* whatever the layer knows of its own */
	int commits;	    /* to the base, before the device is there */
	int fills;	    /* what is read of the base goes to the layer */
	int error;	    /* the layer cannot be used: negative; or 0 */
	const char *wrong;  /* why, a phrase, or NULL */
	const char *option; /* that is to blame, or NULL */

	struct cow_commit commit;

	/* The job that is being done, and for which request (not at first). */
	enum cow_job_step step;
	struct io *leader;
	struct ring_transfer asked;
	int expires;		    /* what ends now was given up */
	uint8_t sector[COW_SECTOR]; /* the header */
	uint64_t at;		    /* bytes of a map that are read */
	uint32_t frozen, run;	    /* sectors: the next one, and how many */

	struct cow_work works[COW_WORKS];
	struct file_line for_load, for_turn, for_sync, syncing;
	unsigned turns; /* 1: those for_turn are looked at; more: once again */
	struct cow_line for_buffer, for_map;
	struct cow_work *marking; /* writes a sector of the map */
	uint8_t image[COW_SECTOR];
	uint64_t pooled;
	void *reserve;
	int reserve_is_used;
};

/*
 * Load the layer, or make one: as opener_next(). On failure cow->wrong, or error,
 * says why.
 */
int cow_load(struct cow *cow, int32_t result, struct ring_transfer *transfer);

/* A layer that was loaded goes to its base: as opener_next(). */
int cow_commit(struct cow *cow, int32_t result, struct ring_transfer *transfer);

/*
 * What was written since the last flush may be lost: no flush succeeds any more. A
 * next server knows it, too.
 */
void cow_lose(struct cow *cow, int error);

/* Make what was written durable, the map behind the data. */
int cow_sync(struct cow *cow, int32_t result, struct ring_transfer *transfer);

/* ---- the base: cow-base.c ---- */

/* Whether it is a server's, or a path. */
int cow_is_uri(const char *base);

/* The export that a URI names; what is behind that in `name` is zero. */
void cow_export_name(const char *uri, char *name, size_t size);

/* As a target's opens(), of which it is one. Returns 0, or -1 with *failure filled. */
int cow_base_wish(const char *uri, struct opener_wish *wish,
		  struct failure *failure);

/* The server's, with the second of the descriptors: likewise. */
int cow_base_open(struct cow *cow, const struct target_args *args,
		  struct geometry *geometry, struct failure *failure);
void cow_base_close(struct cow *cow);

/* Returns 0 or a negative errno. */
int cow_base_identify(const struct cow *cow, struct cow_base *base);

/* A read goes there as it is; cow_ended() follows. */
void cow_base_read(struct cow *cow, struct io *io);

/* Read for a request's work, from a server; cow_ended() follows. */
void cow_base_fetch(struct cow *cow, struct io *io, void *bytes,
		    uint64_t offset, uint32_t length);

/* As the backend's, and the target's in_workers() and go_on(). */
void cow_base_expire(struct cow *cow);
int cow_base_start(struct cow *cow, struct io_port *port);
void cow_base_stop(struct cow *cow, struct io_port *port);
unsigned cow_base_waiting(const struct cow *cow);
void cow_base_go_on(struct cow *cow);

static inline uint32_t cow_cluster(const struct cow *cow)
{
	return 1u << cow->shift;
}

/* For cow-io.c. */
void cow_submit(struct backend *backend, struct io *io);
void cow_forget(struct backend *backend, struct io *io);
void cow_completed(struct backend *backend, struct io *io, int32_t result);
void cow_expire(struct backend *backend);
void cow_copied(struct backend *backend, struct io *io);
void cow_go_on(struct cow *cow);
void cow_ended(struct target *part, struct io *io, int32_t result);
void cow_ask(const struct file *file, const struct io *io,
	     struct ring_transfer *transfer);

#endif
