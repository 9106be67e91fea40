/*
 * A sparse store in memory: the bytes of a RAM disk.
 *
 * A memfd sealed against shrinking, or a file in a tmpfs, mapped whole (or one
 * window of it, where addresses are scarce), and a bitmap that tells which of
 * its pages are there: a hole must never be read through the mapping, because
 * that would allocate it. Of a file in a tmpfs only the driver, in user copy,
 * may touch the mapping: what is not there, because the file was cut short or
 * its file system is full, is an errno to it, would be SIGBUS to us, and is
 * tried without end by the driver in other modes. Pages of the memfd that are
 * there can be touched by anybody.
 */
#ifndef UBLKD_STORE_H
#define UBLKD_STORE_H

#include <stddef.h>
#include <stdint.h>

struct io;

struct store {
	int fd;
	int is_shared; /* somebody else's file: others may change it */
	int read_only;
	uint64_t base;	 /* where in the file it begins, in bytes */
	uint8_t *bytes;	 /* that place in a mapping of all of it, or ... */
	uint64_t window; /* ... a window of the file, from here on */
	size_t mapped;	 /* bytes of the mapping */
	uint64_t size;	 /* bytes, for its user */
	uint64_t length; /* of our own file, at least size: it never shrinks */
	uint64_t extent; /* of mapping and bitmap, at least length */
	uint64_t *present;     /* a bit a page, from base on */
	size_t present_length; /* bytes of the bitmap */
	uint64_t used;	       /* bytes of pages that are there */
	uint64_t limit;	       /* of used */
	uint64_t reserve;      /* as memory_take()'s */
	uint64_t released;     /* pages before it have been given back */
	uint8_t *old;	       /* the mapping before the last growth, or NULL */
	uint64_t old_extent;
	uint32_t unit; /* bytes of a page of somebody else's file */
};

/*
 * Make an empty store of `size` bytes. Returns 0 or a negative errno: -ENOMEM
 * when the address space is too small for it.
 */
int store_open(struct store *store, uint64_t size, uint64_t limit,
	       uint64_t reserve) __attribute__((cold));

/*
 * The same in a new file in that folder. It has no name until somebody gives it
 * one, so it goes with its last descriptor. -ENOSPC when the file system has
 * less room than `size`, unless `overcommit`; -EOPNOTSUPP when it is none in
 * memory.
 */
int store_open_in(struct store *store, const char *folder, int overcommit,
		  uint64_t size, uint64_t limit, uint64_t reserve);

/*
 * Prepare to go on with the file of another process' store, which had that
 * size; the file may be longer. Takes fd on success. Returns 0 or a negative
 * errno: -ESTALE when the file is too short.
 */
int store_adopt(struct store *store, int fd, uint64_t size, uint64_t limit,
		uint64_t reserve);

/*
 * A store in somebody else's file of memory, with pages of `unit` bytes: `size`
 * bytes from `base`, a multiple of STORE_PAGE, on. The caller's fd stays the
 * caller's, and must live as long. Its pages count as holes until
 * store_review() has looked; others may fill holes at any time, so a hole is
 * only one for the moment.
 */
int store_open_shared(struct store *store, int fd, int read_only, uint64_t base,
		      uint64_t size, uint32_t unit);

/*
 * The other process writes no more: see which pages are there, by the holes of
 * the file. Returns 0 or a negative errno.
 */
int store_resume(struct store *store);

/*
 * Change its size; what is new reads as zeroes. Growing makes the file longer
 * where it must, and asks the file system for room unless `overcommit`.
 * Shrinking leaves the file as long as it is; store_trim() gives the memory
 * back, and must have ended before the store grows again. Returns 0 or a
 * negative errno, and then nothing has changed.
 *
 * Addresses in the store stay good until the next call but one.
 */
int store_resize(struct store *store, uint64_t size, int overcommit);

/*
 * The same of somebody else's file, which has to be as long already. Addresses
 * in it are good until then.
 */
int store_resize_shared(struct store *store, uint64_t size);

/*
 * Give back the next `bytes` from where something is behind the store's end. To
 * be called until it returns 0, or a negative errno.
 */
int store_trim(struct store *store, uint64_t bytes);

/* Whether all of it has an address, the same for as long as it is open. */
static inline int store_is_whole(const struct store *store)
{
	return store->mapped >= store->extent;
}

/* For store_at(): moves the window. */
uint8_t *store_move(struct store *store, uint64_t offset, uint64_t *length);

/*
 * Where the byte at `offset` is, and up to *length more, which becomes less if
 * not as many can be had at a time. Of a store that is not whole it is valid
 * until the next call. NULL when memory is short.
 */
static inline uint8_t *store_at(struct store *store, uint64_t offset,
				uint64_t *length)
{
	if (store_is_whole(store))
		return store->bytes + offset;
	return store_move(store, offset, length);
}

/*
 * Stores up to that size are mapped whole: any on 64 bits, 512 MiB on 32. For
 * tests to change.
 */
extern uint64_t store_whole_max;

#define STORE_WINDOW (64u << 20) /* bytes; of larger ones */

/*
 * Take all bytes of a WRITE into the store, in one piece unless a window of it
 * ends within. As io_take(), and -ENOMEM when memory is short.
 */
int store_take(struct store *store, struct io *io);

/* Harmless on one that could not be opened, or is closed. */
void store_close(struct store *store);

/*
 * How many of `length` bytes from `offset` are alike, all there (*is_there = 1)
 * or all in holes. At least 1 if length is.
 */
uint64_t store_run(const struct store *store, uint64_t offset, uint64_t length,
		   int *is_there);

/*
 * The bytes that could be there as things stand, with those that are: what the
 * limit and the memory that may still be taken allow, and at most its size.
 */
uint64_t store_room(const struct store *store);

/*
 * Before a write: see that the range may be there, and count it as there; with
 * allocate it is there then. Returns 0 or a negative errno: -ENOSPC when the
 * limit says no, -ENOMEM when memory is short; then nothing has changed.
 */
int store_grow(struct store *store, uint64_t offset, uint64_t length,
	       int allocate);

/*
 * A write into the range has failed half way: look again which pages of it are
 * there.
 */
void store_review(struct store *store, uint64_t offset, uint64_t length);

/*
 * Make the range read as zeroes, and give nothing back. Holes stay holes.
 * Returns 0 or a negative errno.
 */
int store_zero(struct store *store, uint64_t offset, uint64_t length);

/*
 * Make the range read as zeroes. Whole pages of it are given back. Returns 0 or
 * a negative errno.
 */
int store_clear(struct store *store, uint64_t offset, uint64_t length);

/*
 * Before the end: give back the next `bytes` from where something is. To be
 * called until it returns 0; freeing it all at once would take too long.
 */
int store_release(struct store *store, uint64_t bytes);

/* The smallest piece that is given back, in bytes. */
#define STORE_PAGE 4096u

#endif
