#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "io/io.h"
#include "base/memory.h"
#include "base/uapi.h"

#define WORD_BITS  64
#define NO_WINDOW  UINT64_MAX
#define REVIEW_MAX (8 << 20) /* bytes; as much as one request is about */

uint64_t store_whole_max = SIZE_MAX > UINT32_MAX ? UINT64_MAX : 512u << 20;

static uint64_t pages_of(uint64_t size)
{
	return (size + STORE_PAGE - 1) / STORE_PAGE;
}

static int bit_is_set(const struct store *store, uint64_t page)
{
	return store->present[page / WORD_BITS] >> (page % WORD_BITS) & 1;
}

/* All bits of the word that holds `page`, from it upwards, as one value. */
static uint64_t word_from(const struct store *store, uint64_t page, int set)
{
	uint64_t word = store->present[page / WORD_BITS];

	return (set ? word : ~word) >> (page % WORD_BITS);
}

/* The first page in [page, end) whose bit is `set`, or end. */
static uint64_t next_page(const struct store *store, uint64_t page,
			  uint64_t end, int set)
{
	while (page < end) {
		uint64_t word = word_from(store, page, set);

		if (word) {
			page += (uint64_t)__builtin_ctzll(word);
			return page < end ? page : end;
		}
		page += WORD_BITS - page % WORD_BITS;
	}
	return end;
}

/* How many pages of [page, end) are holes. */
static uint64_t count_holes(const struct store *store, uint64_t page,
			    uint64_t end)
{
	uint64_t holes = 0;

	while ((page = next_page(store, page, end, 0)) < end) {
		uint64_t stop = next_page(store, page, end, 1);

		holes += stop - page;
		page = stop;
	}
	return holes;
}

static void set_bits(struct store *store, uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		store->present[page / WORD_BITS] |= 1ULL << (page % WORD_BITS);
}

static void clear_bits(struct store *store, uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		store->present[page / WORD_BITS] &=
			~(1ULL << (page % WORD_BITS));
}

static int open_memfd(uint64_t size)
{
	int fd = memfd_create("ublkd-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

/* Bytes of a bitmap for so many bytes of file. */
static uint64_t bitmap_length(uint64_t extent)
{
	return (pages_of(extent) / WORD_BITS + 1) * 8;
}

/* So many bytes of the file from there on, in place of what is at `at`. */
static uint8_t *map_file(const struct store *store, void *at, uint64_t from,
			 uint64_t length)
{
	return mmap(at, (size_t)length,
		    PROT_READ | (store->read_only ? 0 : PROT_WRITE),
		    MAP_SHARED | MAP_NORESERVE | (at ? MAP_FIXED : 0),
		    store->fd, (off_t)from);
}

/* mmap() maps whole pages, and a part of a huge one cannot be unmapped. */
static uint64_t whole_length(const struct store *store, uint64_t extent)
{
	uint64_t unit = store->unit ? store->unit : 1;

	return (extent + unit - 1) / unit * unit;
}

/* Of what begins there; behind its end a file of huge pages would grow. */
static uint64_t window_length(const struct store *store, uint64_t window)
{
	uint64_t left = whole_length(store, store->extent) - window;

	return left < STORE_WINDOW ? left : STORE_WINDOW;
}

/* Where the mapping begins. */
static uint8_t *mapping_of(const struct store *store)
{
	return store_is_whole(store) ? store->bytes - store->base
				     : store->bytes;
}

/*
 * Map the file, or a window of it, and an empty bitmap; both take memory where
 * touched only.
 */
static int map_store(struct store *store)
{
	uint64_t length = bitmap_length(store->extent);
	int is_whole = store->extent <= store_whole_max;

	if (length > SIZE_MAX || (!is_whole && store->unit > STORE_WINDOW))
		return -ENOMEM;
	store->mapped = is_whole ? (size_t)whole_length(store, store->extent)
				 : STORE_WINDOW;
	store->present_length = (size_t)length;
	store->present =
		mmap(NULL, store->present_length, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (store->present == MAP_FAILED)
		return -ENOMEM;
	store->bytes = map_file(store, NULL, 0, store->mapped);
	if (store->bytes != MAP_FAILED) {
		if (store_is_whole(store))
			store->bytes += store->base;
		return 0;
	}
	munmap(store->present, store->present_length);
	return -ENOMEM;
}

uint8_t *store_move(struct store *store, uint64_t offset, uint64_t *length)
{
	uint64_t at = store->base + offset, window = at - at % STORE_WINDOW;
	uint64_t room = window + STORE_WINDOW - at;

	if (window != store->window) {
		/* In place of the old one: it never lacks an address. */
		if (map_file(store, store->bytes, window,
			     window_length(store, window)) == MAP_FAILED)
			return NULL;
		store->window = window;
	}
	if (*length > room)
		*length = room;
	return store->bytes + (at - window);
}

int store_take(struct store *store, struct io *io)
{
	uint32_t at = 0;
	int error = 0;

	while (at < io->length && !error) {
		uint64_t run = io->length - at;
		uint8_t *to = store_at(store, io->offset + at, &run);

		error = to ? io_take(io, to, at, (uint32_t)run) : -ENOMEM;
		at += (uint32_t)run;
	}
	return error;
}

/* Takes fd, also on failure. */
static int open_on(struct store *store, int fd, uint64_t size, uint64_t limit,
		   uint64_t reserve)
{
	int error;

	memset(store, 0, sizeof(*store));
	store->size = store->length = store->extent = size;
	store->limit = limit;
	store->reserve = reserve;
	store->fd = fd;
	if (fd < 0)
		return fd;
	error = map_store(store);
	if (error) {
		close(store->fd);
		store->fd = -1;
	}
	return error;
}

int store_open(struct store *store, uint64_t size, uint64_t limit,
	       uint64_t reserve)
{
	return open_on(store, open_memfd(size), size, limit, reserve);
}

/* Make the file `size` bytes long, `more` of which are not there yet. */
static int extend(int fd, int overcommit, uint64_t size, uint64_t more)
{
	struct statfs status;

	if (fstatfs(fd, &status) < 0)
		return -errno;
	if (status.f_type != TMPFS_MAGIC)
		return -EOPNOTSUPP;
	/* A tmpfs without a limit says 0 blocks. So does a memfd's. */
	if (status.f_blocks && !overcommit &&
	    more / (uint64_t)status.f_bsize > status.f_bavail)
		return -ENOSPC;
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

int store_open_in(struct store *store, const char *folder, int overcommit,
		  uint64_t size, uint64_t limit, uint64_t reserve)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), error;

	if (fd < 0)
		return -errno;
	error = extend(fd, overcommit, size, size);
	if (!error)
		return open_on(store, fd, size, limit, reserve);
	close(fd);
	return error;
}

/*
 * Behind data at `from`, of what is looked at until `stop`. The kernel looks
 * for a hole page by page, to the end of the file if there is none: that is for
 * large parts. Of a small one each page is asked for.
 */
static off_t end_of_data(const struct store *store, off_t from, off_t stop)
{
	if (stop - from <= REVIEW_MAX)
		return from + STORE_PAGE;
	return lseek(store->fd, from, SEEK_HOLE);
}

/* Set the bits of what the file holds of the pages [page, end). */
static int find_present(struct store *store, uint64_t page, uint64_t end)
{
	off_t base = (off_t)store->base,
	      stop = base + (off_t)(end * STORE_PAGE);
	off_t from = base + (off_t)(page * STORE_PAGE), to;

	while ((from = lseek(store->fd, from, SEEK_DATA)) >= 0 && from < stop) {
		to = end_of_data(store, from, stop);
		if (to < 0)
			return -errno;
		if (to > stop)
			to = stop;
		set_bits(store, (uint64_t)(from - base) / STORE_PAGE,
			 pages_of((uint64_t)(to - base)));
		from = to;
	}
	if (from < 0 && errno != ENXIO)
		return -errno;
	store->used +=
		(end - page - count_holes(store, page, end)) * STORE_PAGE;
	return 0;
}

void store_review(struct store *store, uint64_t offset, uint64_t length)
{
	uint64_t page = offset / STORE_PAGE, end = pages_of(offset + length);

	store->used -=
		(end - page - count_holes(store, page, end)) * STORE_PAGE;
	clear_bits(store, page, end);
	find_present(store, page, end);
}

int store_adopt(struct store *store, int fd, uint64_t size, uint64_t limit,
		uint64_t reserve)
{
	struct stat status;

	memset(store, 0, sizeof(*store));
	store->fd = -1;
	if (fstat(fd, &status) < 0)
		return -errno;
	if ((uint64_t)status.st_size < size)
		return -ESTALE; /* somebody has cut the file short */
	store->fd = fd;
	store->size = size;
	store->length = store->extent = (uint64_t)status.st_size;
	store->limit = limit;
	store->reserve = reserve;
	return map_store(store);
}

int store_open_shared(struct store *store, int fd, int read_only, uint64_t base,
		      uint64_t size, uint32_t unit)
{
	memset(store, 0, sizeof(*store));
	store->fd = fd;
	store->unit = unit;
	store->is_shared = 1;
	store->base = base;
	store->size = size;
	store->extent = base + size;
	store->limit = UINT64_MAX;
	store->reserve = MEMORY_RESERVE_AUTO;
	store->read_only = read_only;
	return map_store(store);
}

int store_resume(struct store *store)
{
	store->used = 0; /* a take-over may be tried again */
	return find_present(store, 0, pages_of(store->extent));
}

/* ---- another size ---- */

/* Nobody has an address in the bitmap: it may move. */
static int grow_bitmap(struct store *store, uint64_t extent)
{
	uint64_t length = bitmap_length(extent);
	void *present;

	if (length > SIZE_MAX)
		return -ENOMEM;
	present = mremap(store->present, store->present_length, (size_t)length,
			 MREMAP_MAYMOVE);
	if (present == MAP_FAILED)
		return -ENOMEM;
	store->present = present;
	store->present_length = (size_t)length;
	return 0;
}

static void unmap_old(struct store *store)
{
	if (store->old)
		munmap(store->old, (size_t)store->old_extent);
	store->old = NULL;
}

/* Of somebody else's file the driver has no addresses between requests. */
static int use_window(struct store *store)
{
	uint8_t *bytes;

	if (!store->is_shared || store->unit > STORE_WINDOW)
		return -ENOMEM;
	bytes = map_file(store, NULL, 0, STORE_WINDOW);
	if (bytes == MAP_FAILED)
		return -ENOMEM;
	munmap(mapping_of(store), store->mapped);
	unmap_old(store);
	store->bytes = bytes;
	store->mapped = STORE_WINDOW;
	store->window = 0;
	return 0;
}

/*
 * Map as much of the file. The driver may still have addresses of the present
 * mapping: where it cannot grow in place it stays beside the new one.
 */
static int grow_mapping(struct store *store, uint64_t extent)
{
	uint8_t *bytes, *old = mapping_of(store);
	size_t length = (size_t)whole_length(store, extent);

	if (!store_is_whole(store)) {
		store->window = NO_WINDOW; /* the last one may be longer */
		return 0;
	}
	if (extent > store_whole_max)
		return use_window(store);
	if (length == store->mapped)
		return 0;
	bytes = mremap(old, store->mapped, length, 0);
	if (bytes != MAP_FAILED) {
		store->mapped = length;
		return 0;
	}
	bytes = map_file(store, NULL, 0, length);
	if (bytes == MAP_FAILED)
		return -ENOMEM;
	unmap_old(store);
	store->old = old;
	store->old_extent = store->mapped;
	store->bytes = bytes + store->base;
	store->mapped = length;
	return 0;
}

static int grow_maps(struct store *store, uint64_t extent)
{
	int error = grow_bitmap(store, extent);

	if (!error)
		error = grow_mapping(store, extent);
	if (!error)
		store->extent = extent;
	return error;
}

/*
 * The maps first: a file that is longer than can be mapped could not become
 * shorter again, and no server after this one could open it.
 */
int store_resize(struct store *store, uint64_t size, int overcommit)
{
	int error = 0;

	if (size > store->extent)
		error = grow_maps(store, size);
	if (!error && size > store->length) {
		error = extend(store->fd, overcommit, size, size - store->used);
		if (!error)
			store->length = size;
	}
	if (!error)
		store->size = size;
	return error;
}

int store_resize_shared(struct store *store, uint64_t size)
{
	int error = 0;

	if (store->base + size > store->extent)
		error = grow_maps(store, store->base + size);
	if (!error)
		store->size = size;
	return error;
}

void store_close(struct store *store)
{
	if (store->fd < 0)
		return;
	munmap(store->present, store->present_length);
	munmap(mapping_of(store), store->mapped);
	unmap_old(store);
	if (!store->is_shared)
		close(store->fd);
	store->fd = -1;
}

uint64_t store_run(const struct store *store, uint64_t offset, uint64_t length,
		   int *is_there)
{
	uint64_t page = offset / STORE_PAGE, end = pages_of(offset + length);
	uint64_t stop;

	*is_there = bit_is_set(store, page);
	stop = next_page(store, page, end, !*is_there) * STORE_PAGE;
	return stop - offset < length ? stop - offset : length;
}

/* What is there already stays as it is. */
static int allocate_pages(struct store *store, uint64_t page, uint64_t end)
{
	while (fallocate(store->fd, FALLOC_FL_KEEP_SIZE,
			 (off_t)(store->base + page * STORE_PAGE),
			 (off_t)((end - page) * STORE_PAGE)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

uint64_t store_room(const struct store *store)
{
	uint64_t most = store->limit < store->size ? store->limit : store->size;
	uint64_t room = memory_room(store->reserve);

	if (store->used >= most || room > most - store->used)
		return most;
	return store->used + room;
}

int store_grow(struct store *store, uint64_t offset, uint64_t length,
	       int allocate)
{
	uint64_t page = offset / STORE_PAGE, end = pages_of(offset + length);
	uint64_t bytes = count_holes(store, page, end) * STORE_PAGE;
	int error;

	if (bytes == 0)
		return 0;
	if (store->used + bytes > store->limit)
		return -ENOSPC;
	error = memory_take(bytes, store->reserve);
	if (!error && allocate)
		error = allocate_pages(store, page, end);
	if (error)
		return error;
	set_bits(store, page, end);
	store->used += bytes;
	return 0;
}

/*
 * Zero what is there of the range; holes stay holes.
 * Returns 0 or a negative errno.
 */
static int zero_present(struct store *store, uint64_t offset, uint64_t length)
{
	while (length) {
		int is_there;
		uint64_t run = store_run(store, offset, length, &is_there);

		if (run > UBLK_MAX_IO_BYTES)
			run = UBLK_MAX_IO_BYTES;
		if (is_there) {
			ssize_t n = pwrite(store->fd, io_zeroes(), (size_t)run,
					   (off_t)(store->base + offset));

			if (n <= 0)
				return n < 0 ? -errno : -EIO;
			run = (uint64_t)n; /* a limit may cut it short */
		}
		offset += run;
		length -= run;
	}
	return 0;
}

static int give_back(struct store *store, uint64_t page, uint64_t end)
{
	uint64_t there = end - page - count_holes(store, page, end);

	if (there == 0 && !store->is_shared)
		return 0;
	if (fallocate(store->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(store->base + page * STORE_PAGE),
		      (off_t)((end - page) * STORE_PAGE)) < 0)
		return -errno;
	clear_bits(store, page, end);
	store->used -= there * STORE_PAGE;
	return 0;
}

int store_zero(struct store *store, uint64_t offset, uint64_t length)
{
	return zero_present(store, offset, length);
}

int store_clear(struct store *store, uint64_t offset, uint64_t length)
{
	uint64_t first = pages_of(offset);
	uint64_t last = (offset + length) / STORE_PAGE;
	int error;

	/* The last page of a store may be cut short: it is whole as it is. */
	if (offset + length == store->size)
		last = pages_of(store->size);
	if (first >= last)
		return zero_present(store, offset, length);
	error = zero_present(store, offset, first * STORE_PAGE - offset);
	if (!error && last * STORE_PAGE < offset + length)
		error = zero_present(store, last * STORE_PAGE,
				     offset + length - last * STORE_PAGE);
	return error ? error : give_back(store, first, last);
}

/*
 * Give back the next `bytes` in [*page, end) from where something is; *page is
 * then where to go on. Returns 1, 0 when there is nothing, or a negative errno.
 */
static int give_back_next(struct store *store, uint64_t *page, uint64_t end,
			  uint64_t bytes)
{
	uint64_t from = next_page(store, *page, end, 1);
	uint64_t to = from + pages_of(bytes);
	int error;

	if (to > end)
		to = end;
	if (from == end)
		return 0;
	error = give_back(store, from, to);
	if (error)
		return error;
	*page = to;
	return 1;
}

int store_trim(struct store *store, uint64_t bytes)
{
	uint64_t last = pages_of(store->extent), page = pages_of(store->size);
	uint64_t end = page * STORE_PAGE;
	int result = give_back_next(store, &page, last, bytes);

	if (result)
		return result;
	/* The page that its end lies in has a part that is not its own. */
	if (end > store->length)
		end = store->length;
	return zero_present(store, store->size, end - store->size);
}

int store_release(struct store *store, uint64_t bytes)
{
	/* What cannot be given back in pieces goes with the store. */
	return give_back_next(store, &store->released, pages_of(store->extent),
			      bytes) > 0 &&
	       store->used > 0;
}
