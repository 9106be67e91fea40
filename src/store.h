/*
 * A sparse store in memory: the bytes of a RAM disk.
 *
 * A memfd sealed against shrinking, or a file in a tmpfs, mapped whole, and a
 * bitmap that tells which of its pages are there: a hole must never be read
 * through the mapping, because that would allocate it. Of a file in a tmpfs only
 * the driver, in user copy, may touch the mapping: what is not there, because the
 * file was cut short or its file system is full, is an errno to it, would be
 * SIGBUS to us, and is tried without end by the driver in other modes. Pages of
 * the memfd that are there can be touched by anybody.
 */
#ifndef UBLKD_STORE_H
#define UBLKD_STORE_H

#include <stddef.h>
#include <stdint.h>

struct store {
	int fd;
	uint8_t *bytes; /* the mapping */
	uint64_t size;
	uint64_t *present;     /* a bit a page */
	size_t present_length; /* bytes of the bitmap */
	uint64_t used;	       /* bytes of pages that are there */
	uint64_t limit;	       /* of used */
	uint64_t reserve;      /* bytes that the host must keep free */
	uint64_t released;     /* pages before it have been given back */
};

/*
 * Make an empty store of `size` bytes. Returns 0 or a negative errno: -ENOMEM
 * when the address space is too small for it.
 */
int store_open(struct store *store, uint64_t size, uint64_t limit,
	       uint64_t reserve);

/*
 * The same in a new file in that folder. It has no name until somebody gives it
 * one, so it goes with its last descriptor. -ENOSPC when the file system has
 * less room than `size`, unless `overcommit`; -EOPNOTSUPP when it is none in
 * memory.
 */
int store_open_in(struct store *store, const char *folder, int overcommit,
		  uint64_t size, uint64_t limit, uint64_t reserve);

/*
 * Prepare to go on with the file of another process' store. Takes fd on
 * success. Returns 0 or a negative errno.
 */
int store_adopt(struct store *store, int fd, uint64_t limit, uint64_t reserve);

/*
 * The other process writes no more: see which pages are there, by the holes of
 * the file. Returns 0 or a negative errno.
 */
int store_resume(struct store *store);

/* Harmless on one that could not be opened, or is closed. */
void store_close(struct store *store);

/*
 * How many of `length` bytes from `offset` are alike, all there (*is_there = 1)
 * or all in holes. At least 1 if length is.
 */
uint64_t store_run(const struct store *store, uint64_t offset, uint64_t length,
		   int *is_there);

/*
 * Before a write: see that the range may be there, and count it as there; with
 * allocate it is there then. Returns 0 or a negative errno: -ENOSPC when the
 * limit or the host's memory says no; then nothing has changed.
 */
int store_grow(struct store *store, uint64_t offset, uint64_t length,
	       int allocate);

/*
 * A write into the range has failed half way: look again which pages of it are
 * there.
 */
void store_review(struct store *store, uint64_t offset, uint64_t length);

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
