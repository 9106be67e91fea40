/*
 * What the kernel shows of disks when one asks it and nobody else: requests in
 * flight, their queues, what is behind a disk, who waits for it and who holds
 * it. Read from /proc, /sys and debugfs, never from a disk or its node.
 *
 * A look takes a time that grows with the host, and some of what is read can
 * hang: it is a helper's job (helper.h). So views lie in a file of memory, and
 * are written there whenever some more of them is known: whoever does not wait
 * for the end has what came until then.
 */
#ifndef UBLKD_VIEW_H
#define UBLKD_VIEW_H

#include <stdint.h>

#define VIEW_MAGIC 0x75767702u /* the last byte is the version */
#define VIEW_TASKS 3	/* of those that wait for a disk so many are kept */
#define VIEW_WALK  1000 /* ms for the processes of the host */

/* A disk of which a view is wanted. */
struct view_wish {
	char disk[16];	  /* "ublkb0" */
	uint32_t backing; /* what is behind that: 1, and its number; 0: nothing */
	uint32_t major,
		minor; /* a disk's own, or that of a file's file system */
};

/* What is known; a part that did not answer is missing here. */
enum view_part {
	VIEW_INFLIGHT = 1u << 0,
	VIEW_WAITERS = 1u << 1, /* waiters and tasks */
	VIEW_BACKING = 1u << 2, /* mount, kind and behind */
	VIEW_SERVER = 1u << 3,	/* behind.server, if that is one of ublk's */
	VIEW_QUEUE = 1u << 4,	/* scheduler, nr_requests and timeout */
	VIEW_HOLDER = 1u << 5,	/* holder */
	VIEW_BLK_MQ = 1u << 6,	/* debugfs: busy, tags and so on */
};

struct view_task {
	int32_t pid; /* of a thread; 0: none */
	char state;
	char comm[35];
	char wchan[40];
	char stack[160]; /* "innermost < its caller < ...", or "" */
};

/* A process that serves a ublk disk. */
struct view_server {
	int32_t pid; /* 0: nobody has its char device open */
	char state;
	char comm[19];
};

/* The disk, on the way down from a backing, that tells most. */
struct view_disk {
	char name[32];	 /* "": there is none, as with NFS */
	char mapped[64]; /* a device mapper's own name for it, or "" */
	uint32_t suspended;
	uint32_t reads, writes; /* in flight */
	struct view_server server;
};

struct view {
	uint32_t known; /* a bit for each enum view_part */
	uint32_t reads, writes;
	uint32_t waiters; /* tasks in D that have to do with the disk */
	struct view_task tasks[VIEW_TASKS];

	char kind[24];	 /* of the file system, "ext4" */
	char mount[160]; /* where that is mounted; "": not known */
	struct view_disk behind;

	char scheduler[20];
	uint32_t nr_requests, timeout; /* ms */

	char holder[160]; /* as struct usage has it, or "" */

	char state[96]; /* flags of the queue, as blk-mq names them */
	uint32_t busy;	/* requests that the driver has */
	uint32_t tags, tags_busy, sched_tags, sched_busy;
};

/* At the beginning of the file; behind it the wishes, and then the views. */
struct view_head {
	uint32_t magic;
	uint32_t count;	  /* of wishes, and of views */
	uint32_t size;	  /* of a view */
	int32_t server;	  /* ublkd's own, whose workers are looked at; or 0 */
	uint32_t known;	  /* VIEW_WAITERS: what follows is */
	uint32_t workers; /* of that server, in D */
	uint32_t frozen;  /* of these, waiting for a file system to thaw */
	uint32_t walk;	  /* ms: what processes do is looked at for so long */
	struct view_task worker; /* one of these */
};

#define VIEWS_MAX 1024u

/* A file of memory for so many views. Returns the descriptor or -errno. */
int view_file(const struct view_head *head, const struct view_wish *wishes);

/*
 * Fill the views of such a file. `root` goes before /proc and /sys: "", but in
 * tests. Returns 0 or a negative errno. Cold, so that it is compiled for size.
 */
int view_fill(const char *root, int fd) __attribute__((cold));

/* Read what is there by now. Returns 0 or a negative errno. */
int view_read_head(int fd, struct view_head *head);
int view_read(int fd, const struct view_head *head, unsigned number,
	      struct view *view);

#endif
