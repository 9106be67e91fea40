/* The file target: what each result of the ring makes of a request. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target/backing.h"
#include "base/compat.h"
#include "io/pool.h"
#include "target/store.h"
#include "support.h"
#include "target/target.h"
#include "io/workers.h"

#define MAX 512

/* ---- the ring, the kernel's side of the requests, and what stands behind ---- */

struct asked {
	struct ring_transfer transfer;
	uint16_t tag;
};

static struct asked asked[MAX];
static unsigned put_count, taken;
static int put_error;

static struct {
	int done[MAX]; /* by tag: times that it was */
	int error[MAX];
	unsigned total, submits;
	int take_error, give_error; /* of the copies to and from requests */
	uint32_t take_at, give_at, given;
	int slot_fd;
	unsigned workers;
	uint64_t pool_left;
	struct io *lent[MAX];
	unsigned lent_count;
	const void *given_from;
	void *taken_to;
	int is_cached;	    /* all of the file */
	int cache_error;    /* the kernel cannot look there */
	unsigned looks;	    /* into the page cache */
	void *cached_to;    /* the last one's place ... */
	uint64_t cached_at; /* ... and offset in the file */
} seen;

/* The opener, which makes the file longer. */
static struct {
	unsigned count, forgotten;
	int is_under_way, error;
	int fd;
	uint64_t size;
	opener_ended *ended;
	void *context;
} growth;

static struct target *serves[MAX]; /* by tag: that it was submitted to */
static struct backing looks_like;
static int size_error;	/* it cannot be told how large it is */
static int64_t lies_on; /* a disk of this ublkd's own, or -1 */

int __wrap_ring_put_transfer(struct ring *ring,
			     const struct ring_transfer *transfer,
			     uint64_t data);
int __wrap_ring_set_file(struct ring *ring, unsigned slot, int fd);
int __wrap_ring_allow_workers(struct ring *ring, unsigned count);
void __wrap_io_submit(struct io_port *port);
void __wrap_io_done(struct io *io, int error);
int __wrap_io_take(struct io *io, void *to, uint32_t at, uint32_t length);
int __wrap_io_put(struct io *io, const void *from, uint32_t at,
		  uint32_t length);
void __wrap_io_done_lent(struct io *io);
int __wrap_backing_look(struct backing *backing, int fd);
int __wrap_backing_size(const struct backing *backing, int fd, uint64_t *size);
int64_t __wrap_backing_find_own(const struct backing *backing,
				int (*is_own)(void *context, uint32_t id),
				void *context);
int __wrap_backing_read_cached(int fd, void *bytes, size_t length,
			       uint64_t offset);
struct opening *__wrap_opener_grow(struct ev_loop *loop, int fd, uint64_t size,
				   opener_ended *ended, void *context,
				   int *error);
void __wrap_opener_forget(struct opening *opening);
void *__wrap_pool_get(uint64_t *has, uint32_t size, uint32_t *room);
void *__real_pool_get(uint64_t *has, uint32_t size, uint32_t *room);

int __wrap_ring_put_transfer(struct ring *ring,
			     const struct ring_transfer *transfer,
			     uint64_t data)
{
	(void)ring;
	if (put_error)
		return put_error;
	assert_true(put_count < MAX);
	asked[put_count].transfer = *transfer;
	asked[put_count++].tag = (uint16_t)(data - IO_OWN);
	return 0;
}

int __wrap_ring_set_file(struct ring *ring, unsigned slot, int fd)
{
	(void)ring;
	assert_int_equal(slot, 1);
	seen.slot_fd = fd;
	return 0;
}

int __wrap_ring_allow_workers(struct ring *ring, unsigned count)
{
	(void)ring;
	seen.workers = count;
	return 0;
}

void __wrap_io_submit(struct io_port *port)
{
	(void)port;
	seen.submits++;
}

void __wrap_io_done(struct io *io, int error)
{
	seen.done[io->tag]++;
	seen.error[io->tag] = error;
	seen.total++;
}

int __wrap_io_take(struct io *io, void *to, uint32_t at, uint32_t length)
{
	seen.taken_to = to;
	if (io->port->mode == IO_NEED_GET_DATA && io->data == IO_DATA_WAITS) {
		if (seen.take_error)
			return seen.take_error;
		io->data = IO_DATA_ASKED;
		return IO_LATER;
	}
	memset(to, 0x5a, length);
	seen.take_at = at;
	return seen.take_error;
}

int __wrap_io_put(struct io *io, const void *from, uint32_t at, uint32_t length)
{
	(void)io;
	seen.given_from = from;
	seen.give_at = at;
	seen.given += length;
	return seen.give_error;
}

/* The commit stays in the ring until submit_commits(). */
void __wrap_io_done_lent(struct io *io)
{
	seen.lent[seen.lent_count++] = io;
	__wrap_io_done(io, 0);
}

static void submit_commits(void)
{
	unsigned i, count = seen.lent_count;

	seen.lent_count = 0;
	for (i = 0; i < count; i++)
		target_file.io.copied(&serves[seen.lent[i]->tag]->backend,
				      seen.lent[i]);
}

int __wrap_backing_look(struct backing *backing, int fd)
{
	(void)fd;
	*backing = looks_like;
	return 0;
}

int __wrap_backing_size(const struct backing *backing, int fd, uint64_t *size)
{
	(void)backing;
	(void)fd;
	*size = looks_like.size;
	return size_error;
}

int64_t __wrap_backing_find_own(const struct backing *backing,
				int (*is_own)(void *context, uint32_t id),
				void *context)
{
	assert_int_equal(backing->size, looks_like.size);
	assert_int_equal(is_own(context, 0), 1);
	return lies_on;
}

int __wrap_backing_read_cached(int fd, void *bytes, size_t length,
			       uint64_t offset)
{
	(void)fd;
	memset(bytes, 0x3c, length);
	seen.cached_to = bytes;
	seen.cached_at = offset;
	seen.looks++;
	return seen.cache_error ? seen.cache_error : seen.is_cached;
}

struct opening *__wrap_opener_grow(struct ev_loop *loop, int fd, uint64_t size,
				   opener_ended *ended, void *context,
				   int *error)
{
	assert_ptr_equal(loop, test_loop);
	assert_false(growth.is_under_way);
	*error = growth.error;
	if (growth.error)
		return NULL;
	growth.count++;
	growth.is_under_way = 1;
	growth.fd = fd;
	growth.size = size;
	growth.ended = ended;
	growth.context = context;
	return (struct opening *)&growth;
}

void __wrap_opener_forget(struct opening *opening)
{
	if (!opening)
		return;
	assert_ptr_equal(opening, &growth);
	assert_true(growth.is_under_way);
	growth.is_under_way = 0;
	growth.forgotten++;
}

/* It has ended, and the file has that size. */
static void end_growth(int error, uint64_t size)
{
	assert_true(growth.is_under_way);
	growth.is_under_way = 0;
	looks_like.size = size;
	growth.ended(growth.context, error);
}

/* So many buffers are to be had. */
void *__wrap_pool_get(uint64_t *has, uint32_t size, uint32_t *room)
{
	if (seen.pool_left == 0)
		return NULL;
	seen.pool_left--;
	return __real_pool_get(has, size, room);
}

/* ---- the target ---- */

static struct target *target;
static struct io_port port;
static struct io ios[MAX];
static struct geometry geometry;
static struct failure failure;
static enum io_mode wanted;
static uint32_t max_io;

static int read_values(struct option_value *values, char *words)
{
	const struct option *options = target_file.options;
	char *word, *end;
	int i;

	option_defaults(options, values);
	for (word = strtok_r(words, " ", &end); word;
	     word = strtok_r(NULL, " ", &end)) {
		i = option_find(options, word, strcspn(word, "="));
		assert_true(i >= 0);
		assert_int_equal(option_read(&options[i], &values[i],
					     strchr(word, '=') + 1, &failure),
				 0);
	}
	return 0;
}

static int is_own(void *context, uint32_t id)
{
	assert_ptr_equal(context, &lies_on);
	return id == 0;
}

static void open_target(const char *more, uint32_t block_size, int read_only)
{
	static char words[512];
	static struct option_value values[OPTION_MAX];
	struct target_args args = { .values = values,
				    .fd_count = 1,
				    .read_only = read_only,
				    .mode = wanted,
				    .max_io = max_io,
				    .is_own = is_own,
				    .context = &lies_on,
				    .loop = test_loop };
	int fd;

	test_file("disk", "");
	fd = open(test_path("disk"), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	args.fds = &fd;
	snprintf(words, sizeof(words), "path=%s %s", test_path("disk"), more);
	read_values(values, words);
	memset(&geometry, 0, sizeof(geometry));
	geometry.block_size = block_size;
	memset(&failure, 0, sizeof(failure));
	target = target_file.open(&args, &geometry, &failure);
	port.ring = (struct ring *)&seen;
	if (target)
		assert_int_equal(target_file.io.start(&target->backend, &port),
				 0);
	else
		close(fd);
}

/* A mapping keeps a file open as well. */
static int is_mapped(const char *path)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[700];
	int found = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		found += strstr(line, path) != NULL;
	fclose(maps);
	return found;
}

static void close_target(void)
{
	int fds[4];

	assert_int_equal(target_file.give_up(target, fds), 1);
	assert_false(is_mapped(test_path("disk")));
	assert_int_equal(close(fds[0]), 0);
	/* It has nothing left for anybody. */
	assert_int_equal(target_file.hold(target, fds), 0);
	assert_int_equal(target_file.give_up(target, fds), 0);
	target_file.close(target);
	target = NULL;
}

static struct io *submit(uint16_t tag, uint8_t op, uint64_t offset,
			 uint32_t length, uint8_t flags)
{
	struct io *io = &ios[tag];

	/* What the last request left there must not matter. */
	memset(io, 0xa5, sizeof(*io));
	io->port = &port;
	io->tag = tag;
	io->op = op;
	io->offset = offset;
	io->length = length;
	io->flags = flags;
	io->data = op == IO_WRITE ? IO_DATA_WAITS : IO_DATA_HERE;
	serves[tag] = target;
	target_file.io.submit(&target->backend, io);
	return io;
}

/* The next request in the ring that has not been looked at. */
static const struct ring_transfer *next(void)
{
	assert_true(taken < put_count);
	return &asked[taken++].transfer;
}

/* The kernel's answer to what is under way for a tag ... */
static void complete(uint16_t tag, int32_t result)
{
	target_file.io.completed(&serves[tag]->backend, &ios[tag], result);
}

/* ... to what was put as the n-th, from 0 ... */
static void answer_to(unsigned n, int32_t result)
{
	complete(asked[n].tag, result);
}

/* ... to the one that was looked at last ... */
static void answer(int32_t result)
{
	answer_to(taken - 1, result);
}

/* ... or to that of a tag, of those that are under way at a time. */
static void answer_of(uint16_t tag, int32_t result)
{
	taken = put_count;
	complete(tag, result);
}

static void expect_done(uint16_t tag, int error)
{
	assert_int_equal(seen.done[tag], 1);
	assert_int_equal(seen.error[tag], error);
	seen.done[tag] = 0;
}

static void expect_transfer(enum ring_file_op op, uint64_t offset,
			    uint64_t length, int flags, int wait)
{
	const struct ring_transfer *transfer = next();

	assert_int_equal(transfer->op, op);
	assert_int_equal(transfer->fd, -1);
	assert_int_equal(transfer->slot, 1);
	assert_int_equal(transfer->offset, offset);
	assert_int_equal(transfer->length, length);
	assert_int_equal(transfer->flags, flags);
	assert_int_equal(transfer->wait, wait);
}

static void expect_sync(void)
{
	const struct ring_transfer *transfer = next();

	assert_int_equal(transfer->op, RING_FDATASYNC);
	assert_int_equal(transfer->wait, 1);
}

static int setup(void **state)
{
	test_loop_open();
	pool_open(test_loop);
	memset(&seen, 0, sizeof(seen));
	memset(&growth, 0, sizeof(growth));
	memset(&port, 0, sizeof(port));
	port.ios = ios;
	seen.pool_left = UINT64_MAX;
	put_count = taken = 0;
	put_error = size_error = 0;
	lies_on = -1;
	wanted = IO_MODES;
	max_io = POOL_PIECE;
	looks_like = (struct backing){ .kind = BACKING_FILE,
				       .size = 64 << 20,
				       .least = 512,
				       .unit = 4096,
				       .direct = 4096,
				       .can_punch = 1 };
	open_target("", 0, 0);
	assert_non_null(target);
	return 0;
}

static int teardown(void **state)
{
	if (target)
		close_target();
	pass_time(3 * POOL_PERIOD);
	assert_int_equal(pool_size(), 0);
	pool_close();
	test_loop_close();
	test_folder_remove();
	return 0;
}

/* ---- reads ---- */

static void test_read(void **state)
{
	submit(3, IO_READ, 8192, 65536, 0);
	expect_transfer(RING_READ, 8192, 65536, 0, 0);
	assert_int_equal(seen.submits, 1);
	assert_int_equal(seen.total, 0);
	answer(65536);
	expect_done(3, 0);
	assert_int_equal(seen.given, 65536);
}

/* What the page cache has needs no request in the ring. */
static void test_cached_read(void **state)
{
	close_target();
	open_target("offset=1M", 0, 0);
	submit(3, IO_READ, 8192, POOL_PIECE, 0);
	assert_int_equal(seen.looks, 1);
	expect_transfer(RING_READ, (1 << 20) + 8192, POOL_PIECE, 0, 0);
	answer(POOL_PIECE);
	expect_done(3, 0);
	seen.is_cached = 1;
	seen.given = 0;
	submit(3, IO_READ, 8192, POOL_PIECE, 0);
	expect_done(3, 0);
	assert_int_equal(seen.cached_at, (1 << 20) + 8192);
	assert_int_equal(seen.given, POOL_PIECE);
	seen.give_error = -EFAULT;
	submit(3, IO_READ, 8192, 4096, 0);
	expect_done(3, -EFAULT);
	assert_int_equal(put_count, taken);
	/* What has no room in one buffer goes in pieces. */
	seen.give_error = 0;
	submit(3, IO_READ, 0, POOL_PIECE + 4096, 0);
	assert_int_equal(seen.looks, 3);
	expect_transfer(RING_READ, 1 << 20, POOL_PIECE, RWF_NOWAIT, 0);
	answer(-EIO);
	expect_done(3, -EIO);
}

static void answer_all(void)
{
	while (taken < put_count) {
		next();
		answer(4096);
	}
}

/* On a file system that cannot look there, one read in vain is enough. */
static void test_no_look_into_the_cache(void **state)
{
	seen.cache_error = -EOPNOTSUPP;
	submit(0, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	answer(4096);
	expect_done(0, 0);
	submit(0, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	answer(4096);
	assert_int_equal(seen.looks, 1);
}

/* Nor is the cache asked where that is of no use. */
static void test_not_cached(void **state)
{
	seen.is_cached = 1;
	port.mode = IO_ZERO_COPY;
	submit(0, IO_READ, 0, 4096, 0);
	port.mode = IO_USER_COPY;
	submit(1, IO_WRITE, 0, 4096, 0);
	answer_all();
	close_target();
	open_target("direct=yes", 0, 0);
	submit(2, IO_READ, 0, 4096, 0);
	answer_all();
	close_target();
	looks_like.waits = 1;
	open_target("", 0, 0);
	submit(3, IO_READ, 0, 4096, 0);
	answer_all();
	assert_int_equal(put_count, 4);
	assert_int_equal(seen.looks, 0);
}

/* What came is kept, and the rest is asked for. */
static void test_short_read(void **state)
{
	submit(0, IO_READ, 4096, 16384, 0);
	expect_transfer(RING_READ, 4096, 16384, 0, 0);
	answer(4096);
	assert_int_equal(seen.total, 0);
	expect_transfer(RING_READ, 8192, 12288, RWF_NOWAIT, 0);
	answer(-EINTR);
	expect_transfer(RING_READ, 8192, 12288, 0, 0);
	answer(12288);
	assert_int_equal(seen.give_at, 4096);
	assert_int_equal(seen.given, 16384);
	expect_done(0, 0);
}

/* The file has been cut short. */
static void test_read_at_end(void **state)
{
	submit(0, IO_READ, 0, 8192, 0);
	next();
	answer(4096);
	next();
	answer(0);
	expect_done(0, -EIO);
}

static void test_read_errors(void **state)
{
	submit(0, IO_READ, 0, 4096, 0);
	next();
	answer(-ENODATA);
	expect_done(0, -ENODATA);
	submit(0, IO_READ, 0, 4096, 0);
	next();
	seen.give_error = -EFAULT;
	answer(4096);
	expect_done(0, -EFAULT);
	put_error = -EBUSY;
	submit(0, IO_READ, 0, 4096, 0);
	expect_done(0, -EIO);
}

/* A larger request than a buffer goes in pieces. */
static void test_pieces(void **state)
{
	submit(0, IO_READ, 0, POOL_PIECE + 4096, 0);
	expect_transfer(RING_READ, 0, POOL_PIECE, RWF_NOWAIT, 0);
	answer(POOL_PIECE);
	expect_transfer(RING_READ, POOL_PIECE, 4096, RWF_NOWAIT, 0);
	answer(4096);
	expect_done(0, 0);
}

/* ---- writes ---- */

static void test_write(void **state)
{
	submit(1, IO_WRITE, 4096, 8192, 0);
	expect_transfer(RING_WRITE, 4096, 8192, 0, 0);
	answer(8192);
	expect_done(1, 0);
	submit(1, IO_WRITE, 4096, 8192, 0);
	seen.take_error = 0;
	next();
	answer(-EFBIG);
	expect_done(1, -EFBIG);
	seen.take_error = -EFAULT;
	submit(1, IO_WRITE, 4096, 8192, 0);
	expect_done(1, -EFAULT);
}

static void test_short_write(void **state)
{
	submit(1, IO_WRITE, 0, 8192, 0);
	next();
	answer(512);
	expect_transfer(RING_WRITE, 512, 7680, 0, 0);
	assert_int_equal(seen.take_at, 512);
	answer(0);
	expect_done(1, -EIO);
}

static void open_locking(int locks_reads);

/*
 * Where it is tried first, what cannot be done without a wait goes to io_uring once
 * more, which gives it to a worker, and so does the rest.
 */
static void test_write_waits(void **state)
{
	open_locking(1);
	submit(1, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, RWF_NOWAIT, 0);
	answer(-EAGAIN);
	expect_transfer(RING_WRITE, 0, 4096, 0, 0);
	answer(4096);
	expect_done(1, 0);
	/* That was one request; this is the file system's nature. */
	submit(1, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, RWF_NOWAIT, 0);
	answer(-EOPNOTSUPP);
	expect_transfer(RING_WRITE, 0, 4096, 0, 0);
	answer(4096);
	expect_done(1, 0);
	submit(1, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, 0, 0);
	answer(-EOPNOTSUPP);
	expect_done(1, -EOPNOTSUPP);
}

static void test_endless_again(void **state)
{
	unsigned i;

	submit(1, IO_WRITE, 0, 4096, 0);
	for (i = 0; i < 150 && seen.total == 0; i++) {
		next();
		answer(-EAGAIN);
	}
	assert_in_range(i, 50, 149);
	expect_done(1, -EIO);
}

/* ---- in workers ---- */

#define BORROWED (WORKERS_POOL / 2) /* by the first one that stands still */

static unsigned waiting(void)
{
	return target_file.in_workers(target);
}

/* So many requests of that kind from a tag on; returns how many are in the ring. */
static unsigned submit_many(uint16_t first, unsigned count, enum io_op op)
{
	unsigned before = put_count, i;

	for (i = 0; i < count; i++)
		submit((uint16_t)(first + i), (uint8_t)op, i * 4096ull,
		       op == IO_FLUSH ? 0 : 4096, 0);
	return put_count - before;
}

/* The oldest ones in the ring end, and what has waited for them, and so on. */
static void end_all(void)
{
	while (taken < put_count) {
		const struct ring_transfer *transfer = next();

		answer(transfer->op == RING_READ || transfer->op == RING_WRITE
			       ? (int32_t)transfer->length
			       : 0);
	}
}

/* A part of what all devices share, and beyond that two of its own. */
static void test_tokens(void **state)
{
	const unsigned all = BORROWED + 10;
	unsigned i;

	assert_int_equal(submit_many(0, all, IO_FLUSH), BORROWED + WORKERS_OWN);
	assert_int_equal(waiting(), BORROWED + WORKERS_OWN);
	/* Others, which need no worker, do not wait for them. */
	assert_int_equal(submit_many(100, 1, IO_READ), 1);
	answer_of(100, 4096);
	taken = 0;
	for (i = 0; i < BORROWED + WORKERS_OWN; i++) {
		expect_sync();
		answer(0);
		expect_done((uint16_t)i, 0);
	}
	next(); /* the read */
	while (taken < put_count) {
		expect_sync();
		answer(0);
		expect_done((uint16_t)i++, 0);
	}
	assert_int_equal(i, all);
	assert_int_equal(waiting(), 0);
}

static void open_directly(void)
{
	close_target();
	open_target("direct=yes", 0, 0);
}

/*
 * A write with a token is one that io_uring tries, and gives to a worker; without
 * one it is tried, and waits for a token if that was in vain.
 */
static void test_write_without_token(void **state)
{
	const uint16_t last = BORROWED + WORKERS_OWN;

	open_directly();
	assert_int_equal(submit_many(0, last + 2, IO_WRITE), last + 2);
	while (taken < last)
		expect_transfer(RING_WRITE, taken * 4096ull, 4096, 0, 0);
	expect_transfer(RING_WRITE, last * 4096ull, 4096, RWF_NOWAIT, 0);
	answer(-EAGAIN);
	expect_transfer(RING_WRITE, (last + 1) * 4096ull, 4096, RWF_NOWAIT, 0);
	answer(4096);
	expect_done(last + 1, 0);
	assert_int_equal(put_count, taken);
	answer_of(0, 4096);
	assert_int_equal(put_count, taken + 1);
	expect_transfer(RING_WRITE, last * 4096ull, 4096, 0, 1);
	answer_of(last, 4096);
	for (taken = 1; taken < last; answer(4096))
		next();
	assert_int_equal(seen.total, last + 2);
	assert_int_equal(waiting(), 0);
}

/* Three devices that stand still, and a fourth one. */
static void test_tokens_of_many(void **state)
{
	static const unsigned most[] = { 34, 18, 10, 6 };
	struct target *targets[4];
	unsigned i;

	open_directly();
	for (i = 0; i < 4; i++) {
		if (i)
			open_target("direct=yes lock=no", 0, 0);
		assert_non_null(target);
		targets[i] = target;
		assert_int_equal(submit_many((uint16_t)(i * 64), 64, IO_WRITE),
				 64);
		assert_int_equal(waiting(), most[i]);
	}
	while (i--) {
		target = targets[i];
		for (taken = i * 64; taken < i * 64 + 64; answer(4096))
			next();
		assert_int_equal(waiting(), 0);
		if (i)
			target_file.close(target);
	}
	assert_int_equal(seen.total, 4 * 64);
}

/*
 * What changes one file through the page cache goes one after the other: many
 * have one worker, which is one of the device's own, and a flush another one.
 */
static void test_lined(void **state)
{
	unsigned i;

	assert_int_equal(submit_many(0, 20, IO_WRITE), 20);
	submit_many(20, 20, IO_WRITE);
	for (i = 0; i < 40; i++)
		expect_transfer(RING_WRITE, i % 20 * 4096ull, 4096,
				i < WORKERS_LINE ? 0 : RWF_NOWAIT, 0);
	taken = 0;
	assert_int_equal(waiting(), WORKERS_LINE);
	/* They have borrowed none, and left one of the device's own. */
	assert_int_equal(submit_many(40, 40, IO_FLUSH), BORROWED + 1);
	end_all();
	assert_int_equal(seen.total, 80);
	/* They are not begun while others have all of those. */
	assert_int_equal(submit_many(0, BORROWED + WORKERS_OWN, IO_FLUSH),
			 BORROWED + WORKERS_OWN);
	assert_int_equal(submit_many(40, 2, IO_WRITE), 2);
	answer_of(40, -EAGAIN);
	answer_of(41, -EAGAIN);
	assert_int_equal(waiting(), BORROWED + WORKERS_OWN);
	answer_of(BORROWED + 1, 0);
	assert_int_equal(waiting(), BORROWED + 1 + 2);
	assert_int_equal(asked[put_count - 1].transfer.wait, 0);
	answer_of(40, 4096);
	answer_of(41, 4096);
	for (i = 0; i <= BORROWED; i++)
		answer_of((uint16_t)i, 0);
	assert_int_equal(waiting(), 0);
}

/* Directly there is no such line, nor is there one of a disk. */
static void test_not_lined(void **state)
{
	open_directly();
	submit_many(0, 64, IO_WRITE);
	assert_int_equal(waiting(), BORROWED + WORKERS_OWN);
	end_all();
	close_target();
	looks_like.kind = BACKING_DISK;
	open_target("direct=no", 0, 0);
	submit_many(0, 64, IO_WRITE);
	assert_int_equal(waiting(), BORROWED + WORKERS_OWN);
	end_all();
	assert_int_equal(waiting(), 0);
}

/* What is sent with a token must not hold reads off where they take the lock. */
static void test_tried_before_token(void **state)
{
	open_locking(1);
	submit(0, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, RWF_NOWAIT, 0);
	assert_int_equal(waiting(), 0);
	submit(1, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 0);
	answer_of(1, 4096);
	answer_of(0, 4096);
	/* Past the page cache none waits for pages. */
	looks_like.locks_reads = 1;
	open_directly();
	submit(0, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, 0, 0);
	answer(4096);
}

/* A disk that refuses readahead has each read in a worker: no end of them. */
static void test_wait_for_pages(void **state)
{
	const uint16_t most = BORROWED, all = WORKERS_POOL;
	uint16_t tag;

	for (tag = 0; tag < all; tag++)
		submit(tag, IO_READ, 0, 4096, 0);
	for (tag = 0; tag < most; tag++)
		expect_transfer(RING_READ, 0, 4096, 0, 0);
	/* Beyond that as everything that waits. */
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	assert_int_equal(put_count, most + 2);
	assert_int_equal(waiting(), most + 2);
	/* One ends, one begins. */
	answer_of(most, 4096);
	assert_int_equal(asked[most + 2].transfer.wait, 1);
	answer_of(0, 4096);
	assert_int_equal(asked[most + 3].transfer.wait, 0);
	assert_int_equal(put_count, most + 4);
	for (tag = 0; tag < all; tag++)
		if (tag != 0 && tag != most)
			answer_of(tag, 4096);
	for (tag = 0; tag < all; tag++)
		expect_done(tag, 0);
	assert_int_equal(waiting(), 0);
}

/* One file leaves as many to others as it has. */
static void test_others_wait_for_pages(void **state)
{
	const uint16_t most = BORROWED, others = most / 2;
	struct target *first = target;
	uint16_t tag, end;

	for (tag = 0; tag < most; tag++)
		submit(tag, IO_READ, 0, 4096, 0);
	open_target("lock=no", 0, 0);
	assert_non_null(target);
	for (end = tag + others; tag < end; tag++)
		submit(tag, IO_READ, 0, 4096, 0);
	while (taken < put_count)
		expect_transfer(RING_READ, 0, 4096, 0, 0);
	submit(tag++, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	while (tag--)
		answer_of(tag, 4096);
	assert_int_equal(waiting(), 0);
	target_file.close(first);
}

/* On a file system where reads take the file's lock, or do not. */
static void open_locking(int locks_reads)
{
	close_target();
	looks_like.locks_reads = locks_reads;
	open_target("", 0, 0);
}

/*
 * Where a read takes the file's lock, it would wait for that in the one thread:
 * for a write or an allocation in a worker. A flush has none.
 */
static void test_pages_and_lock(void **state)
{
	open_locking(1);
	submit(0, IO_FLUSH, 0, 0, 0);
	expect_sync();
	submit(1, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 0);
	answer(4096);
	submit(2, IO_WRITE, 0, 4096, IO_FUA);
	expect_transfer(RING_WRITE, 0, 4096, RWF_DSYNC, 1);
	submit(3, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	answer_of(0, 0);
	answer_of(3, 4096);
	answer_of(2, 4096);
	submit(3, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 0);
	answer(4096);
	submit(0, IO_DISCARD, 0, 4096, 0);
	next();
	submit(3, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	answer_of(3, 4096);
	answer_of(0, 0);
}

/* Nor does one begin while such a read is under way, and then it is next. */
static void test_lock_and_pages(void **state)
{
	open_locking(1);
	submit(0, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 0);
	submit(1, IO_WRITE, 0, 4096, IO_FUA);
	submit(2, IO_FLUSH, 0, 0, 0);
	expect_sync();
	/* More reads must not keep it out for ever. */
	submit(3, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	submit(4, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	assert_int_equal(put_count, taken);
	answer_of(0, 4096);
	expect_transfer(RING_WRITE, 0, 4096, RWF_DSYNC, 1);
	answer_of(2, 0);
	answer_of(3, 4096);
	answer_of(1, 4096);
	answer_of(4, 4096);
	assert_int_equal(seen.total, 5);
	assert_int_equal(waiting(), 0);
	/* Others do not care. */
	open_locking(0);
	taken = put_count;
	submit(0, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 0);
	submit(1, IO_WRITE, 0, 4096, IO_FUA);
	expect_transfer(RING_WRITE, 0, 4096, RWF_DSYNC, 1);
	submit(2, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 0);
	answer_of(2, 4096);
	answer_of(1, 4096);
	answer_of(0, 4096);
}

/* Reads that were held up do not wait for flushes that need a worker. */
static void test_two_lines(void **state)
{
	const unsigned flushes = BORROWED + WORKERS_OWN;
	uint16_t tag;

	assert_true(workers_drain());
	assert_int_equal(submit_many(0, 50, IO_FLUSH), 0);
	assert_int_equal(submit_many(50, 4, IO_READ), 0);
	workers_resume();
	target_file.go_on(target);
	assert_int_equal(put_count, flushes + 4);
	for (tag = 50; tag < 54; tag++)
		answer_of(tag, 4096);
	assert_int_equal(put_count, flushes + 4);
	for (tag = 0; tag < 50; tag++)
		answer_of(tag, 0);
	assert_int_equal(seen.total, 54);
}

/* What was not looked for in the cache is tried in the ring first. */
static void test_ring_looks_first(void **state)
{
	port.mode = IO_ZERO_COPY;
	submit(3, IO_READ, 0, 8192, 0);
	expect_transfer(RING_READ, 0, 8192, RWF_NOWAIT, 0);
	answer(-EAGAIN);
	expect_transfer(RING_READ, 0, 8192, 0, 0);
	assert_int_equal(waiting(), 1);
	answer(4096);
	assert_int_equal(waiting(), 0);
	expect_transfer(RING_READ, 4096, 4096, RWF_NOWAIT, 0);
	answer(4096);
	expect_done(3, 0);
}

/* One that was refused holds no place of those. */
static void test_failed_in_worker(void **state)
{
	const uint16_t most = 2 * BORROWED;
	uint16_t tag;

	put_error = -EBUSY;
	for (tag = 0; tag < most; tag++) {
		submit(tag, IO_FLUSH, 0, 0, 0);
		expect_done(tag, -EIO);
	}
	put_error = 0;
	assert_int_equal(submit_many(0, most, IO_FLUSH),
			 BORROWED + WORKERS_OWN);
	end_all();
	assert_int_equal(waiting(), 0);
}

/* While the server wants to leave none begins, and then all do. */
static void test_held_back(void **state)
{
	const struct target_ops *ops = &target_file;
	uint16_t tag;

	submit(0, IO_FLUSH, 0, 0, 0);
	expect_sync();
	assert_int_equal(ops->in_workers(target), 1);
	assert_false(workers_drain());
	answer(0);
	expect_done(0, 0);
	assert_int_equal(ops->in_workers(target), 0);
	assert_true(workers_drain());
	submit(0, IO_FLUSH, 0, 0, 0);
	submit(1, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, RWF_NOWAIT, 0);
	answer(-EAGAIN);
	submit(2, IO_READ, 0, 4096, 0);
	assert_int_equal(put_count, taken);
	assert_true(workers_drain());
	workers_resume();
	ops->go_on(target);
	assert_int_equal(put_count, taken + 3);
	assert_int_equal(ops->in_workers(target), 3);
	assert_false(workers_drain());
	for (tag = 0; tag < 3; tag++) {
		answer_of(tag, tag ? 4096 : 0);
		expect_done(tag, 0);
	}
	assert_true(workers_drain());
	workers_resume();
}

static void test_workers_allowed(void **state)
{
	unsigned one;

	one = seen.workers;
	assert_int_equal(one, 32 + 64 + 64 + 192 + 2);
	close_target();
	open_target("", 0, 0);
	assert_int_equal(seen.workers, one);
}

/* ---- durability ---- */

static unsigned flush_errors(void)
{
	char text[4096];

	target_file.describe(target, text, sizeof(text));
	return (unsigned)atoi(strstr(text, "flush-errors=") + 13);
}

static void test_flush(void **state)
{
	assert_true(geometry.volatile_cache);
	submit(0, IO_FLUSH, 0, 0, 0);
	expect_sync();
	answer(-EINTR);
	expect_sync();
	answer(0);
	expect_done(0, 0);
	assert_int_equal(flush_errors(), 0);
	submit(0, IO_FLUSH, 0, 0, 0);
	next();
	answer(-EIO);
	expect_done(0, -EIO);
	assert_int_equal(flush_errors(), 1);
}

static void test_fua(void **state)
{
	/* Through the page cache it waits for the disk. */
	submit(0, IO_WRITE, 0, 4096, IO_FUA);
	expect_transfer(RING_WRITE, 0, 4096, RWF_DSYNC, 1);
	answer(4096);
	expect_done(0, 0);
	close_target();
	open_target("direct=yes", 0, 0);
	submit(0, IO_WRITE, 0, 4096, IO_FUA);
	expect_transfer(RING_WRITE, 0, 4096, RWF_DSYNC, 0);
	answer(-EAGAIN);
	expect_transfer(RING_WRITE, 0, 4096, RWF_DSYNC, 1);
	answer(4096);
	expect_done(0, 0);
}

/* The kernel tells one of them that something was not written. */
static void test_flush_beside_another(void **state)
{
	submit(0, IO_FLUSH, 0, 0, 0);
	submit(1, IO_FLUSH, 0, 0, 0);
	answer_of(0, -EIO);
	expect_done(0, -EIO);
	answer_of(1, 0);
	expect_done(1, -EIO);
	submit(0, IO_FLUSH, 0, 0, 0);
	answer_of(0, 0);
	expect_done(0, 0);
	assert_int_equal(flush_errors(), 1);
}

/* The kernel told it what a flush should have been told: that tells as well. */
static void test_fua_fails(void **state)
{
	submit(0, IO_WRITE, 0, 4096, IO_FUA);
	next();
	answer(-EIO);
	expect_done(0, -EIO);
	assert_int_equal(flush_errors(), 1);
	submit(0, IO_FLUSH, 0, 0, 0);
	next();
	answer(0);
	expect_done(0, -EIO);
	submit(0, IO_FLUSH, 0, 0, 0);
	next();
	answer(0);
	expect_done(0, 0);
}

/* ---- requests that are late ---- */

static struct late late;
static uint32_t given[MAX];

/* Their time is over: those that wait here are answered. */
static void expire(uint16_t first, uint16_t count)
{
	uint16_t tag;

	memset(given, 0, sizeof(given));
	port.late = &late;
	late.given = given;
	for (tag = first; tag < first + count; tag++)
		given[tag] = LATE_DUE;
	target_file.io.expire(&target->backend);
}

static void expect_not_done(uint16_t tag)
{
	assert_int_equal(seen.done[tag], 0);
}

/* It is answered in the file's place, as io_done() would be for one that is late. */
static void make_late(uint16_t tag)
{
	expect_not_done(tag);
	ios[tag].owned = 0;
	ios[tag].data = IO_DATA_LATE;
}

/* What waits for a buffer has left nothing behind, and others keep their order. */
static void test_due_for_a_buffer(void **state)
{
	uint16_t tag;

	seen.pool_left = 0;
	for (tag = 0; tag < 5; tag++)
		submit(tag, IO_READ, 0, POOL_RESERVE, 0);
	next();
	expire(0, 2);
	expect_done(1, -EIO);
	expire(4, 1);
	expect_done(4, -EIO);
	submit(4, IO_READ, 4096, POOL_RESERVE, 0);
	expect_not_done(0); /* the backing has that one */
	answer(POOL_RESERVE);
	expect_done(0, 0);
	for (tag = 2; tag < 5; tag++) {
		assert_int_equal(asked[taken].tag, tag);
		next();
		answer(POOL_RESERVE);
		expect_done(tag, 0);
	}
	assert_int_equal(put_count, taken);
}

static void test_due_for_a_worker(void **state)
{
	uint16_t most = BORROWED + WORKERS_OWN, tag;

	for (tag = 0; tag < most + 3; tag++)
		submit(tag, IO_FLUSH, 0, 0, 0);
	assert_int_equal(put_count, most);
	expire(0, most + 2);
	expect_done(most, -EIO);
	expect_done(most + 1, -EIO);
	assert_int_equal(seen.total, 2);
	/* The last one is next. */
	answer_of(0, 0);
	assert_int_equal(put_count, most + 1u);
	assert_int_equal(asked[most].tag, most + 2);
	for (tag = 1; tag < most; tag++)
		answer_of(tag, 0);
	answer_of(most + 2, 0);
	assert_int_equal(waiting(), 0);
}

/* The late answer ends it, whatever it is, and nothing else is asked for it. */
static void test_late_answer(void **state)
{
	static const int32_t results[] = { 4096, 512, -EAGAIN, -EINTR, -EIO };
	unsigned i;

	for (i = 0; i < COUNT(results); i++) {
		submit(0, i % 2 ? IO_READ : IO_WRITE, 0, 4096, 0);
		next();
		make_late(0);
		seen.given = 0;
		seen.taken_to = NULL;
		answer(results[i]);
		expect_done(0, -ETIMEDOUT);
		assert_int_equal(put_count, taken);
		assert_int_equal(seen.given, 0);
		assert_null(seen.taken_to);
		assert_int_equal(waiting(), 0);
	}
}

/* Its buffer is its own until then. */
static void test_buffer_of_a_late_one(void **state)
{
	const void *buffer;
	uint16_t tag;

	submit(0, IO_WRITE, 0, 4096, 0);
	buffer = next()->bytes;
	make_late(0);
	for (tag = 1; tag < 20; tag++) {
		submit(tag, IO_WRITE, 4096, 4096, 0);
		assert_ptr_not_equal(next()->bytes, buffer);
	}
	answer_of(0, 4096);
	submit(0, IO_WRITE, 8192, 4096, 0);
	assert_ptr_equal(next()->bytes, buffer);
	for (tag = 0; tag < 20; tag++)
		answer_of(tag, 4096);
}

/* What the kernel told of a writeback that failed nobody has heard. */
static void test_late_flush_fails(void **state)
{
	static const struct {
		uint8_t op, flags;
	} row[] = { { IO_FLUSH, 0 }, { IO_WRITE, IO_FUA } };
	unsigned i;

	for (i = 0; i < COUNT(row); i++) {
		submit(0, row[i].op, 0, 4096, row[i].flags);
		next();
		make_late(0);
		answer(-ENOSPC);
		expect_done(0, -ETIMEDOUT);
		assert_int_equal(flush_errors(), i + 1);
		submit(0, IO_FLUSH, 0, 0, 0);
		next();
		answer(0);
		expect_done(0, -ENOSPC);
		submit(0, IO_FLUSH, 0, 0, 0);
		next();
		answer(0);
		expect_done(0, 0);
	}
}

/* ---- what the next server is to know ---- */

static struct {
	uint64_t tally;
	unsigned count;
} told;

static void on_tally(struct target *of)
{
	assert_ptr_equal(of, target);
	told.tally = of->tally;
	told.count++;
}

/* The target of the server that comes next. */
static void succeed(void)
{
	uint64_t tally = target->tally;

	assert_int_equal(told.tally, tally);
	close_target();
	open_target("", 0, 0);
	target->tally = tally;
	target->changed = on_tally;
}

static void flush(int32_t result, int error)
{
	submit(0, IO_FLUSH, 0, 0, 0);
	next();
	answer(result);
	expect_done(0, error);
}

static void test_tally(void **state)
{
	told.tally = told.count = 0;
	target->changed = on_tally;
	flush(0, 0);
	assert_int_equal(told.count, 0);
	flush(-EIO, -EIO);
	assert_int_equal(told.count, 1);
	succeed();
	assert_int_equal(flush_errors(), 1);
	flush(0, 0);
	submit(0, IO_WRITE, 0, 4096, IO_FUA);
	next();
	answer(-ENOSPC);
	expect_done(0, -ENOSPC);
	succeed();
	assert_int_equal(flush_errors(), 2);
	/* The next one tells it, once; nobody needs to know it any more. */
	flush(0, -ENOSPC);
	succeed();
	assert_int_equal(flush_errors(), 2);
	flush(0, 0);
	assert_int_equal(told.tally, target->tally);
}

/* ---- giving back ---- */

static void test_discard(void **state)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	assert_int_equal(geometry.discard_granularity, 4096);
	submit(0, IO_DISCARD, 4096, 1 << 20, 0);
	expect_transfer(RING_FALLOCATE, 4096, 1 << 20, hole, 1);
	answer(0);
	expect_done(0, 0);
	submit(0, IO_DISCARD, 4096, 1 << 20, 0);
	next();
	answer(-EOPNOTSUPP);
	expect_done(0, -EOPNOTSUPP);
	submit(0, IO_WRITE_ZEROES, 4096, 8192, IO_FUA);
	expect_transfer(RING_FALLOCATE, 4096, 8192, hole, 1);
	answer(0);
	expect_sync();
	answer(0);
	expect_done(0, 0);
}

/* Zeroes that keep their space; and where that is not to be had, written ones. */
static void test_write_zeroes(void **state)
{
	const int zero = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

	submit(0, IO_WRITE_ZEROES, 4096, (1 << 20) + 4096, IO_KEEP_SPACE);
	expect_transfer(RING_FALLOCATE, 4096, (1 << 20) + 4096, zero, 1);
	answer(-EOPNOTSUPP);
	expect_transfer(RING_WRITE, 4096, 1 << 20, 0, 0);
	answer(-EAGAIN);
	expect_transfer(RING_WRITE, 4096, 1 << 20, 0, 0);
	answer(1 << 20);
	expect_transfer(RING_WRITE, (1 << 20) + 4096, 4096, 0, 0);
	answer(4096);
	expect_done(0, 0);
	submit(0, IO_WRITE_ZEROES, 0, 4096, IO_KEEP_SPACE);
	next();
	answer(-ENOSPC);
	expect_done(0, -ENOSPC);
}

/* ---- buffers ---- */

/* Without any but its own, a device goes on, one request after the other. */
static void test_reserve(void **state)
{
	uint16_t tag;

	seen.pool_left = 0;
	for (tag = 0; tag < 3; tag++)
		submit(tag, IO_READ, 0, 2 * POOL_RESERVE, 0);
	for (tag = 0; tag < 3; tag++) {
		assert_int_equal(put_count, 2u * tag + 1);
		expect_transfer(RING_READ, 0, POOL_RESERVE, RWF_NOWAIT, 0);
		answer(POOL_RESERVE);
		expect_transfer(RING_READ, POOL_RESERVE, POOL_RESERVE,
				RWF_NOWAIT, 0);
		answer(POOL_RESERVE);
		expect_done(tag, 0);
	}
}

/* One whose file answers no more leaves half of the pool to others. */
static void test_share_of_the_pool(void **state)
{
	const uint64_t piece = POOL_PIECE, most = POOL_MAX / 2 / piece;
	uint16_t tag;

	close_target();
	open_target("direct=yes", 0, 0);
	for (tag = 0; tag < most + 3; tag++)
		submit(tag, IO_READ, tag * piece, POOL_PIECE, 0);
	assert_int_equal(pool_size(), POOL_MAX / 2);
	assert_int_equal(put_count, most + 1);
	taken = most;
	expect_transfer(RING_READ, most * piece, POOL_RESERVE, RWF_NOWAIT, 0);
	/* What comes back is for those that wait, the first one first. */
	taken = 1;
	answer(POOL_PIECE);
	expect_done(0, 0);
	taken = most + 1;
	expect_transfer(RING_READ, (most + 1) * piece, POOL_PIECE, RWF_NOWAIT,
			0);
	assert_int_equal(put_count, most + 2);
	assert_int_equal(pool_size(), POOL_MAX / 2);
	for (taken = 0; taken < put_count;) {
		const struct ring_transfer *transfer = next();

		if (taken > 1)
			answer((int32_t)transfer->length);
	}
	assert_int_equal(seen.total, most + 3);
	/* It can have as many again. */
	for (tag = 0; tag < most; tag++)
		submit(tag, IO_READ, 0, POOL_PIECE, 0);
	while (taken < put_count) {
		assert_int_equal(next()->length, POOL_PIECE);
		answer(POOL_PIECE);
	}
}

/* Two whose files answer no more leave enough to a third. */
static void test_others_stand_still(void **state)
{
	const uint16_t most = POOL_MAX / 2 / POOL_PIECE, third = most / 4;
	struct target *still[2];
	uint16_t tag = 0;
	unsigned i, n;

	close_target();
	open_target("direct=yes", 0, 0);
	for (i = 0; i < 2; i++) {
		for (n = 0; n < most + 2u; n++)
			submit(tag++, IO_READ, 0, POOL_PIECE, 0);
		still[i] = target;
		open_target("lock=no direct=yes", 0, 0);
		assert_non_null(target);
	}
	taken = put_count;
	for (n = 0; n < third; n++)
		submit(tag++, IO_READ, 0, POOL_PIECE, 0);
	for (n = 0; n < third; n++)
		expect_transfer(RING_READ, 0, POOL_PIECE, RWF_NOWAIT, 0);
	assert_int_equal(taken, put_count);
	for (n = 0; n < put_count; n++)
		answer_to(n, (int32_t)asked[n].transfer.length);
	for (i = 0; i < 2; i++)
		target_file.close(still[i]);
}

/* One that waits for a worker waits without a buffer. */
static void test_reserve_and_workers(void **state)
{
	const uint16_t flushes = BORROWED + WORKERS_OWN, tag = flushes;
	uint16_t i;

	submit_many(0, flushes, IO_FLUSH);
	seen.pool_left = 0;
	taken = put_count;
	submit(tag, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, RWF_NOWAIT, 0);
	submit(tag + 1, IO_READ, 0, 4096, 0);
	assert_int_equal(put_count, taken);
	answer(-EAGAIN);
	expect_transfer(RING_READ, 0, 4096, RWF_NOWAIT, 0);
	answer(4096);
	answer_of(flushes - 1, 0);
	expect_transfer(RING_WRITE, 0, 4096, 0, 0);
	answer(4096);
	for (i = 0; i < flushes - 1; i++)
		answer_of(i, 0);
	for (i = 0; i < flushes + 2; i++)
		expect_done(i, 0);
}

/* ---- direct I/O, and files that wait always ---- */

static void test_direct(void **state)
{
	close_target();
	open_target("direct=yes", 0, 0);
	assert_int_equal(geometry.block_size, 4096);
	submit(0, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, RWF_NOWAIT, 0);
	answer(-EAGAIN);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	answer(4096);
	expect_done(0, 0);
	close_target();
	open_target("direct=yes", 512, 0);
	assert_null(target);
	assert_string_equal(failure.arg, "block-size");
	looks_like.direct = 0;
	open_target("direct=yes", 0, 0);
	assert_null(target);
	assert_string_equal(failure.arg, "direct");
	open_target("", 0, 0);
	assert_int_equal(geometry.block_size, 512);
}

static void test_always_waits(void **state)
{
	uint16_t tag;

	close_target();
	looks_like.waits = 1;
	open_target("", 0, 0);
	assert_int_equal(submit_many(0, 64, IO_READ), BORROWED + WORKERS_OWN);
	for (tag = 0; tag < 64; tag++) {
		expect_transfer(RING_READ, tag * 4096ull, 4096, 0, 1);
		answer(4096);
	}
	assert_int_equal(seen.total, 64);
}

/*
 * io_uring would ask such a file's server in this thread whether it is ready. Not
 * even the first write is tried.
 */
static void test_writes_always_wait(void **state)
{
	close_target();
	looks_like.waits = 1;
	open_target("", 0, 0);
	submit(0, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, 0, 1);
	answer(4096);
	expect_done(0, 0);
	/* They do not stand in line for one worker. */
	assert_int_equal(submit_many(0, 64, IO_WRITE), BORROWED + WORKERS_OWN);
	end_all();
}

/* Linux never has a worker for a direct write to a disk. */
static void test_direct_disk(void **state)
{
	close_target();
	looks_like.kind = BACKING_DISK;
	open_target("direct=yes", 0, 0);
	submit(0, IO_WRITE, 0, 4096, 0);
	expect_transfer(RING_WRITE, 0, 4096, RWF_NOWAIT, 0);
	assert_int_equal(waiting(), 0);
	answer(4096);
	expect_done(0, 0);
}

/* ---- options ---- */

static void expect_refusal(const char *words, const char *arg)
{
	open_target(words, 0, 0);
	assert_null(target);
	assert_string_equal(failure.arg, arg);
}

static void test_place(void **state)
{
	close_target();
	expect_refusal("offset=64M", "offset");
	expect_refusal("offset=100", "offset");
	expect_refusal("offset=1M size=64M", "size");
	expect_refusal("size=1000", "size");
	looks_like.size = 4096 + 700;
	open_target("offset=512", 0, 0);
	assert_int_equal(geometry.size, 3584 + 512);
	submit(0, IO_READ, 1024, 512, 0);
	expect_transfer(RING_READ, 1536, 512, 0, 0);
	answer(512);
}

static void test_no_discard(void **state)
{
	close_target();
	open_target("discard=no", 0, 0);
	assert_int_equal(geometry.discard_granularity, 0);
	close_target();
	open_target("", 0, 1);
	assert_int_equal(geometry.discard_granularity, 0);
	close_target();
	looks_like.kind = BACKING_DISK;
	looks_like.can_punch = 0;
	open_target("direct=no", 0, 0);
	assert_int_equal(geometry.discard_granularity, 0);
}

/* ---- where the data is ---- */

static void expect_in_pages(enum ring_file_op op, uint16_t tag, uint32_t at,
			    uint64_t length)
{
	const struct ring_transfer *transfer = next();

	assert_int_equal(transfer->op, op);
	assert_int_equal(transfer->buffer, tag + 1u);
	assert_int_equal(transfer->at, at);
	assert_null(transfer->bytes);
	assert_int_equal(transfer->offset, 4096 + at);
	assert_int_equal(transfer->length, length);
}

/* No buffer, and nothing is copied; however large the request. */
static void test_zero_copy(void **state)
{
	port.mode = IO_ZERO_COPY;
	seen.pool_left = 0;
	seen.take_error = -EFAULT;
	submit(3, IO_READ, 4096, 2 * POOL_PIECE, 0);
	expect_in_pages(RING_READ, 3, 0, (uint64_t)2 * POOL_PIECE);
	answer(POOL_PIECE);
	expect_in_pages(RING_READ, 3, POOL_PIECE, POOL_PIECE);
	answer(POOL_PIECE);
	expect_done(3, 0);
	assert_int_equal(seen.given, 0);
	submit(3, IO_WRITE, 4096, 8192, 0);
	expect_in_pages(RING_WRITE, 3, 0, 8192);
	answer(-EAGAIN);
	expect_in_pages(RING_WRITE, 3, 0, 8192);
	answer(8192);
	expect_done(3, 0);
}

/* Pages that could not be registered, or that direct I/O does not like. */
static void test_zero_copy_copies(void **state)
{
	const struct ring_transfer *transfer;

	port.mode = IO_ZERO_COPY;
	submit(3, IO_READ, 4096, 8192, IO_NO_BUFFER);
	transfer = next();
	assert_int_equal(transfer->buffer, 0);
	assert_non_null(transfer->bytes);
	answer(8192);
	expect_done(3, 0);
	assert_int_equal(seen.given, 8192);
	submit(3, IO_WRITE, 4096, 8192, 0);
	expect_in_pages(RING_WRITE, 3, 0, 8192);
	answer(-EINVAL);
	transfer = next();
	assert_int_equal(transfer->buffer, 0);
	assert_int_equal(((uint8_t *)transfer->bytes)[8191], 0x5a);
	answer(-EINVAL);
	expect_done(3, -EINVAL);
}

/* The slot's own buffer is the backend's. */
static void test_copy(void **state)
{
	static uint8_t buffers[4][16384];
	const struct ring_transfer *transfer;

	port.mode = IO_COPY;
	port.buffers = buffers[0];
	port.buffer_size = sizeof(buffers[0]);
	seen.pool_left = 0;
	submit(2, IO_READ, 0, 8192, 0)->dirty = 0;
	transfer = next();
	assert_ptr_equal(transfer->bytes, buffers[2]);
	answer(4096);
	transfer = next();
	assert_ptr_equal(transfer->bytes, buffers[2] + 4096);
	answer(4096);
	expect_done(2, 0);
	assert_int_equal(seen.given, 0);
	assert_true(port.holds);
	submit(2, IO_WRITE, 0, 8192, 0);
	transfer = next();
	assert_ptr_equal(transfer->bytes, buffers[2]);
	answer(8192);
	expect_done(2, 0);
	seen.is_cached = 1;
	submit(3, IO_READ, 0, 8192, 0);
	expect_done(3, 0);
	assert_ptr_equal(seen.cached_to, buffers[3]);
	assert_int_equal(seen.given, 0);
}

/* ---- need-get-data ---- */

static void open_need_get_data(uint32_t largest)
{
	close_target();
	wanted = IO_NEED_GET_DATA;
	port.mode = IO_NEED_GET_DATA;
	max_io = largest;
	open_target("", 0, 0);
	assert_non_null(target);
}

/* Its data is there: the request comes once more. */
static void resume(uint16_t tag)
{
	assert_int_equal(ios[tag].data, IO_DATA_ASKED);
	ios[tag].data = IO_DATA_HERE;
	target_file.io.submit(&target->backend, &ios[tag]);
}

/* All of it at once, into what is written then, however often. */
static void test_whole_write(void **state)
{
	const uint8_t *bytes;

	open_need_get_data(POOL_PIECE);
	submit(1, IO_WRITE, 4096, POOL_PIECE, 0);
	assert_int_equal(put_count, 0);
	assert_int_equal(target_file.in_workers(target), 0);
	resume(1);
	bytes = next()->bytes;
	assert_ptr_equal(bytes, seen.taken_to);
	answer(4096);
	assert_ptr_equal(next()->bytes, bytes + 4096);
	answer(-EAGAIN);
	expect_transfer(RING_WRITE, 8192, POOL_PIECE - 4096, 0, 0);
	assert_ptr_equal(asked[taken - 1].transfer.bytes, bytes + 4096);
	answer(POOL_PIECE - 4096);
	expect_done(1, 0);
	assert_int_equal(seen.lent_count, 0);
	/* It cannot be asked for. */
	seen.take_error = -EBUSY;
	submit(1, IO_WRITE, 4096, 8192, 0);
	expect_done(1, -EIO);
}

/* The buffer is the driver's until the commit has been submitted. */
static void test_whole_read(void **state)
{
	const uint8_t *bytes;

	open_need_get_data(65536);
	seen.pool_left = 0;
	submit(1, IO_READ, 4096, 65536, 0);
	submit(2, IO_READ, 4096, 4096, 0);
	assert_int_equal(put_count, 1);
	bytes = next()->bytes;
	answer(4096);
	assert_int_equal(seen.given, 0);
	assert_ptr_equal(next()->bytes, bytes + 4096);
	answer(61440);
	assert_int_equal(seen.given, 65536);
	assert_int_equal(seen.give_at, 0);
	assert_ptr_equal(seen.given_from, bytes);
	expect_done(1, 0);
	assert_int_equal(seen.lent_count, 1);
	assert_int_equal(put_count, 2);
	submit_commits();
	assert_int_equal(put_count, 3);
	assert_ptr_equal(next()->bytes, bytes);
	/* One that fails has no data, and lends nothing. */
	answer(-EIO);
	expect_done(2, -EIO);
	assert_int_equal(seen.lent_count, 0);
	submit(2, IO_READ, 4096, 4096, 0);
	assert_int_equal(put_count, 4);
}

/*
 * Its own buffer is as large as a request, and goes from one to the next. Who
 * has it may wait for a worker, and nobody in a worker waits for it.
 */
static void test_whole_reserve(void **state)
{
	const uint16_t flushes = BORROWED + WORKERS_OWN, last = flushes + 3;
	uint16_t tag;

	open_need_get_data(POOL_PIECE);
	seen.pool_left = 0;
	for (tag = 0; tag < 4; tag++)
		submit(tag, IO_WRITE, 0, POOL_PIECE, IO_FUA);
	assert_int_equal(target_file.in_workers(target), 0);
	assert_int_equal(ios[1].data, IO_DATA_WAITS);
	assert_int_equal(submit_many(4, flushes, IO_FLUSH), flushes);
	resume(0);
	assert_int_equal(put_count, flushes);
	answer_of(last, 0);
	for (tag = 0; tag < 4; tag++) {
		expect_done(tag ? (uint16_t)(tag - 1) : last, 0);
		if (tag)
			resume(tag);
		assert_int_equal(put_count, flushes + 1u + tag);
		answer_of(tag, POOL_PIECE);
	}
	expect_done(3, 0);
	for (tag = 4; tag < last; tag++)
		answer_of(tag, 0);
	assert_int_equal(target_file.in_workers(target), 0);
}

/* The driver takes it back while its data is on its way. */
static void test_whole_forgotten(void **state)
{
	open_need_get_data(65536);
	seen.pool_left = 0;
	submit(0, IO_WRITE, 0, 65536, 0);
	submit(1, IO_WRITE, 0, 65536, 0);
	assert_int_equal(ios[1].data, IO_DATA_WAITS);
	target_file.io.forget(&target->backend, &ios[0]);
	resume(1);
	expect_transfer(RING_WRITE, 0, 65536, 0, 0);
	answer(65536);
	expect_done(1, 0);
	assert_int_equal(seen.total, 1);
	/* It did not fit any more: what has begun goes on to its end. */
	submit(0, IO_WRITE, 1 << 20, 65536, 0);
	assert_int_equal(target_file.resize(target, 1 << 20, &failure), 0);
	resume(0);
	expect_transfer(RING_WRITE, 1 << 20, 65536, 0, 0);
	answer(65536);
	expect_done(0, 0);
}

/* What has no whole buffer, or could fault, is an error that says so. */
static void test_mode_is_refused(void **state)
{
	close_target();
	wanted = IO_NEED_GET_DATA;
	max_io = POOL_PIECE + 4096;
	expect_refusal("", "max-io");
	assert_int_equal(failure.symbol, SYMBOL_RANGE);
	looks_like.kind = BACKING_MEMORY;
	max_io = 4096;
	expect_refusal("", "mode");
	assert_non_null(strstr(failure.text, "memory"));
	looks_like.kind = BACKING_HUGE;
	wanted = IO_COPY;
	expect_refusal("", "mode");
}

/* It would wait for itself. */
static void test_lies_on_our_own(void **state)
{
	close_target();
	lies_on = 7;
	expect_refusal("", "path");
	assert_non_null(strstr(failure.text, "/dev/ublkb7"));
	lies_on = 0;
	expect_refusal("", "path");
}

/* ---- a file in memory that is too large to be mapped whole ---- */

static void check_file(uint64_t offset, uint8_t byte)
{
	uint8_t bytes[8192];
	unsigned i;
	int fd = open(test_path("disk"), O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, bytes, sizeof(bytes), (off_t)offset),
			 sizeof(bytes));
	for (i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], byte);
	close(fd);
}

static void test_windows_of_memory(void **state)
{
	const uint64_t whole_max = store_whole_max, edge = STORE_WINDOW;
	const uint64_t size = 3ULL * STORE_WINDOW;

	close_target();
	looks_like.kind = BACKING_MEMORY;
	looks_like.size = size;
	store_whole_max = size - 1;
	open_target("", 0, 0);
	assert_non_null(target);
	assert_null(geometry.modes); /* none in which a page may be missing */
	assert_int_equal(truncate(test_path("disk"), (off_t)size), 0);
	submit(1, IO_WRITE, edge - 4096, 8192, 0);
	expect_done(1, 0);
	assert_int_equal(seen.take_at, 4096);
	check_file(edge - 4096, 0x5a);
	submit(1, IO_READ, edge - 4096, 8192, 0);
	expect_done(1, 0);
	assert_int_equal(seen.given, 8192);
	assert_int_equal(seen.give_at, 4096);
	assert_int_equal(*(const uint8_t *)seen.given_from, 0x5a);
	submit(1, IO_WRITE, size - 8192, 8192, 0);
	expect_done(1, 0);
	check_file(size - 8192, 0x5a);
	store_whole_max = whole_max;
}

/* ---- another size ---- */

static int resize(uint64_t size)
{
	memset(&failure, 0, sizeof(failure));
	return target_file.resize(target, size, &failure);
}

/* The opener makes the file longer, and the target is asked until it has. */
static void test_grow(void **state)
{
	const struct target_ops *ops = &target_file;
	int fd;

	assert_int_equal(ops->hold(target, &fd), 1);
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	assert_int_equal(growth.fd, fd);
	assert_int_equal(growth.size, 128 << 20);
	assert_int_equal(ops->in_workers(target), 1);
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	assert_int_equal(growth.count, 1);
	submit(0, IO_READ, 100 << 20, 4096, 0);
	expect_done(0, -EIO);
	end_growth(0, 128 << 20);
	assert_int_equal(ops->in_workers(target), 0);
	assert_int_equal(resize(128 << 20), 0);
	submit(0, IO_READ, (128 << 20) - 4096, 4096, 0);
	expect_transfer(RING_READ, (128 << 20) - 4096, 4096, 0, 0);
	answer(4096);
	expect_done(0, 0);
	submit(0, IO_READ, 128 << 20, 4096, 0);
	expect_done(0, -EIO);
}

/* Sizes are the device's, lengths the file's. */
static void test_grow_behind_an_offset(void **state)
{
	close_target();
	open_target("offset=1M size=1M", 0, 0);
	assert_int_equal(resize(63 << 20), 0);
	assert_int_equal(resize((63 << 20) + 512), TARGET_LATER);
	assert_int_equal(growth.size, (64 << 20) + 512);
	/* Somebody else has made it longer still, and it stays so. */
	end_growth(0, 80 << 20);
	assert_int_equal(resize((63 << 20) + 512), 0);
	assert_int_equal(resize(79 << 20), 0);
	assert_int_equal(growth.count, 1);
	/* ... or shorter again: what is there counts, once more. */
	assert_int_equal(resize(100 << 20), TARGET_LATER);
	end_growth(0, 90 << 20);
	assert_int_equal(resize(100 << 20), TARGET_LATER);
	assert_int_equal(growth.count, 3);
	end_growth(0, 101 << 20);
	assert_int_equal(resize(100 << 20), 0);
}

/* A file in memory as any other; its mapping follows. */
static void test_grow_in_memory(void **state)
{
	const uint64_t half = 1 << 20;

	close_target();
	looks_like.kind = BACKING_MEMORY;
	looks_like.size = half;
	open_target("", 0, 0);
	assert_int_equal(truncate(test_path("disk"), (off_t)half), 0);
	assert_int_equal(resize(2 * half), TARGET_LATER);
	assert_int_equal(growth.size, 2 * half);
	submit(1, IO_WRITE, half, 8192, 0);
	expect_done(1, -EIO);
	assert_int_equal(truncate(test_path("disk"), (off_t)(2 * half)), 0);
	end_growth(0, 2 * half);
	assert_int_equal(resize(2 * half), 0);
	submit(1, IO_WRITE, 2 * half - 8192, 8192, 0);
	expect_done(1, 0);
	check_file(2 * half - 8192, 0x5a);
	assert_int_equal(resize(half), 0);
	submit(1, IO_WRITE, half, 4096, 0);
	expect_done(1, -EIO);
	submit(1, IO_WRITE, half - 4096, 8192, 0);
	expect_done(1, -EIO);
	submit(1, IO_WRITE, half - 4096, 4096, 0);
	expect_done(1, 0);
}

static void test_growing_fails(void **state)
{
	growth.error = -ENOMEM;
	assert_int_equal(resize(128 << 20), -1);
	assert_int_equal(failure.error, ENOMEM);
	growth.error = 0;
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	end_growth(-EFBIG, 64 << 20);
	assert_int_equal(resize(128 << 20), -1);
	assert_int_equal(failure.error, EFBIG);
	submit(0, IO_READ, 64 << 20, 4096, 0);
	expect_done(0, -EIO);
	/* That is forgotten: the next one begins anew. */
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	end_growth(-EINTR, 64 << 20);
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	end_growth(-EAGAIN, 64 << 20);
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	end_growth(0, 128 << 20);
	assert_int_equal(resize(128 << 20), 0);
	assert_int_equal(growth.count, 4);
}

/* It says what can be done about it. */
static void test_grow_without_fallocate(void **state)
{
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	end_growth(-EOPNOTSUPP, 64 << 20);
	assert_int_equal(resize(128 << 20), -1);
	assert_int_equal(failure.symbol, SYMBOL_UNSUPPORTED);
	assert_non_null(strstr(failure.text, "size=128M"));
	assert_non_null(strstr(failure.text, "size=auto"));
}

/* A device that is deleted by force meanwhile does not hear of the end. */
static void test_closed_while_growing(void **state)
{
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	close_target();
	assert_int_equal(growth.forgotten, 1);
	open_target("", 0, 0);
	assert_int_equal(waiting(), 0);
	close_target();
	assert_int_equal(growth.forgotten, 1);
}

/* A file system where reads take the file's lock, and growing has that. */
static void test_pages_while_growing(void **state)
{
	open_locking(1);
	assert_int_equal(resize(128 << 20), TARGET_LATER);
	submit(0, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 1);
	answer(4096);
	end_growth(0, 128 << 20);
	submit(0, IO_READ, 0, 4096, 0);
	expect_transfer(RING_READ, 0, 4096, 0, 0);
	answer(4096);
}

/* Nothing is done to the file; what is behind the end fails, but a flush. */
static void test_shrink(void **state)
{
	static const uint8_t ops[] = { IO_READ, IO_WRITE, IO_DISCARD,
				       IO_WRITE_ZEROES };
	unsigned i;

	assert_int_equal(resize(1 << 20), 0);
	for (i = 0; i < COUNT(ops); i++) {
		submit(0, ops[i], (1 << 20) - 4096, 8192, 0);
		expect_done(0, -EIO);
		submit(0, ops[i], 1 << 20, 4096, 0);
		expect_done(0, -EIO);
		submit(0, ops[i], 32 << 20, 4096, 0);
		expect_done(0, -EIO);
	}
	assert_int_equal(put_count, 0);
	/* What ends where the device does is its own. */
	submit(0, IO_WRITE, (1 << 20) - 8192, 8192, 0);
	expect_transfer(RING_WRITE, (1 << 20) - 8192, 8192, 0, 0);
	answer(8192);
	expect_done(0, 0);
	submit(0, IO_FLUSH, (uint64_t)-512, 0, 0);
	expect_sync();
	answer(0);
	expect_done(0, 0);
	/* It grows to what is there. */
	assert_int_equal(resize(64 << 20), 0);
	assert_int_equal(put_count, 2);
	assert_int_equal(growth.count, 0);
	submit(0, IO_READ, (64 << 20) - 4096, 4096, 0);
	expect_transfer(RING_READ, (64 << 20) - 4096, 4096, 0, 0);
	answer(4096);
	expect_done(0, 0);
}

static void test_measure(void **state)
{
	uint64_t size;

	close_target();
	open_target("offset=4K", 4096, 0);
	looks_like.size = (80 << 20) + 700;
	assert_int_equal(target_file.measure(target, &size, &failure), 0);
	assert_int_equal(size, (80 << 20) + 700 - 4096);
	looks_like.size = 4096;
	assert_int_equal(target_file.measure(target, &size, &failure), 0);
	assert_int_equal(size, 0);
	looks_like.size = 100;
	assert_int_equal(target_file.measure(target, &size, &failure), 0);
	assert_int_equal(size, 0);
	/* A size that cannot be told is no size. */
	size_error = -EIO;
	assert_int_equal(target_file.measure(target, &size, &failure), -1);
	assert_int_equal(failure.error, EIO);
	assert_int_equal(resize(128 << 20), -1);
	assert_int_equal(failure.error, EIO);
	assert_int_equal(growth.count, 0);
}

static void test_cannot_grow(void **state)
{
	close_target();
	open_target("offset=4K", 0, 1);
	/* To its end, it can. */
	assert_int_equal(resize((64 << 20) - 4096), 0);
	assert_int_equal(resize(64 << 20), -1);
	assert_string_equal(failure.arg, "size");
	assert_int_equal(failure.symbol, SYMBOL_RANGE);
	assert_non_null(strstr(failure.text, "is read-only"));
	assert_non_null(strstr(failure.text, "67104768 bytes"));
	close_target();
	open_target("offset=4K", 0, 0);
	assert_int_equal(resize(INT64_MAX - 4095), -1);
	assert_int_equal(failure.symbol, SYMBOL_RANGE);
	assert_int_equal(resize(INT64_MAX - 4096), TARGET_LATER);
	end_growth(-EFBIG, 64 << 20);
	close_target();
	looks_like.kind = BACKING_DISK;
	open_target("direct=no", 0, 0);
	assert_int_equal(resize(128 << 20), -1);
	assert_int_equal(failure.symbol, SYMBOL_RANGE);
	assert_non_null(strstr(failure.text, "is a disk"));
	looks_like.size = 128 << 20;
	assert_int_equal(resize(128 << 20), 0);
	assert_int_equal(growth.count, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		/* First: others leave requests in workers for good. */
		TEST(test_held_back),
		TEST(test_read),
		TEST(test_cached_read),
		TEST(test_no_look_into_the_cache),
		TEST(test_not_cached),
		TEST(test_short_read),
		TEST(test_read_at_end),
		TEST(test_read_errors),
		TEST(test_pieces),
		TEST(test_write),
		TEST(test_short_write),
		TEST(test_write_waits),
		TEST(test_endless_again),
		TEST(test_tokens),
		TEST(test_write_without_token),
		TEST(test_tokens_of_many),
		TEST(test_lined),
		TEST(test_not_lined),
		TEST(test_tried_before_token),
		TEST(test_wait_for_pages),
		TEST(test_others_wait_for_pages),
		TEST(test_pages_and_lock),
		TEST(test_lock_and_pages),
		TEST(test_two_lines),
		TEST(test_ring_looks_first),
		TEST(test_failed_in_worker),
		TEST(test_workers_allowed),
		TEST(test_flush),
		TEST(test_fua),
		TEST(test_flush_beside_another),
		TEST(test_fua_fails),
		TEST(test_due_for_a_buffer),
		TEST(test_due_for_a_worker),
		TEST(test_late_answer),
		TEST(test_buffer_of_a_late_one),
		TEST(test_late_flush_fails),
		TEST(test_tally),
		TEST(test_discard),
		TEST(test_write_zeroes),
		TEST(test_reserve),
		TEST(test_share_of_the_pool),
		TEST(test_others_stand_still),
		TEST(test_reserve_and_workers),
		TEST(test_direct),
		TEST(test_always_waits),
		TEST(test_writes_always_wait),
		TEST(test_direct_disk),
		TEST(test_place),
		TEST(test_no_discard),
		TEST(test_zero_copy),
		TEST(test_zero_copy_copies),
		TEST(test_copy),
		TEST(test_whole_write),
		TEST(test_whole_read),
		TEST(test_whole_reserve),
		TEST(test_whole_forgotten),
		TEST(test_mode_is_refused),
		TEST(test_lies_on_our_own),
		TEST(test_windows_of_memory),
		TEST(test_grow),
		TEST(test_grow_behind_an_offset),
		TEST(test_grow_in_memory),
		TEST(test_growing_fails),
		TEST(test_grow_without_fallocate),
		TEST(test_closed_while_growing),
		TEST(test_pages_while_growing),
		TEST(test_shrink),
		TEST(test_measure),
		TEST(test_cannot_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
