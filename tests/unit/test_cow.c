/*
 * The target cow, on a kernel of the test's own: two files, of which writes may lie in
 * a cache until they are synced, and requests that end in any order, in part, or not
 * at all. What the device shows is compared with a model.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compat.h"
#include "io/pool.h"
#include "io/workers.h"
#include "target/cow.h"
#include "target/nbd.h"
#include "support.h"

#define CLUSTER	 4096u
#define CLUSTERS 2030u /* two sectors of a map */
#define SIZE	 ((uint64_t)CLUSTERS * CLUSTER - 1024) /* the last one is cut */
#define BLOCKS	 (SIZE / 512)
#define TAGS	 20
#define IO_MAX	 ((uint64_t)4 * CLUSTER)

/* ---- the kernel's files: sectors, in a cache and on the disk ---- */

/* The header, two sectors of each map, and the data. */
#define PLACES (5 + CLUSTERS * 8)

static struct {
	uint8_t cache[PLACES][512], disk[PLACES][512];
	uint8_t is_dirty[PLACES];
	uint8_t has_space[5]; /* none is needed to write there: allocated */
	int moves;	      /* but for a file system that writes elsewhere */
	int is_lazy;	      /* nothing is written back before a sync */
} layer;

/* What was written to the base, which has the same two; it is mostly what it was. */
static struct {
	uint8_t cache[BLOCKS][512], disk[BLOCKS][512];
	uint8_t is_dirty[BLOCKS];
	int is_writable, has_no_holes;
} base;

static uint64_t base_modified, base_generation, base_size;
static uint64_t used; /* bytes of space that the layer takes */
static const char *options;
static uint32_t block_size;
static int base_is_cut;
static const char *server_name; /* the base is a server's, or NULL */

/* Which sector of a file that is mostly holes. */
static unsigned place_of(uint64_t offset)
{
	uint64_t sector = offset % (64 << 20) / 512;

	assert_int_equal(offset % 512, 0);
	if (offset < COW_MAP_AT) {
		assert_int_equal(sector, 0);
		return 0;
	}
	if (offset < COW_DATA_AT) {
		assert_true(sector < 2);
		return (unsigned)(1 + sector + (offset >= COW_NOW_AT ? 2 : 0));
	}
	sector = (offset - COW_DATA_AT) / 512;
	assert_true(sector < (size_t)CLUSTERS * 8);
	return (unsigned)(5 + sector);
}

static void base_sector(uint64_t block, uint8_t *bytes)
{
	uint64_t *words = (uint64_t *)bytes;
	unsigned i;

	for (i = 0; i < 64; i++)
		words[i] = UINT64_C(0xba5e) << 48 | block;
}

static void change_base(uint64_t block, const uint8_t *bytes)
{
	assert_true(base.is_writable);
	memcpy(base.cache[block], bytes, 512);
	base.is_dirty[block] = 1;
	base_modified++;
	if (random_number(4) == 0)
		memcpy(base.disk[block], base.cache[block], 512);
}

static void sync_base(void)
{
	memcpy(base.disk, base.cache, sizeof(base.disk));
	memset(base.is_dirty, 0, sizeof(base.is_dirty));
}

static void change_sector(unsigned place, const uint8_t *bytes)
{
	if (bytes)
		memcpy(layer.cache[place], bytes, 512);
	else
		memset(layer.cache[place], 0, 512);
	layer.is_dirty[place] = 1;
	/* The kernel writes back whatever it likes, whenever. */
	if (!layer.is_lazy && random_number(4) == 0)
		memcpy(layer.disk[place], layer.cache[place], 512);
}

/* What was only in the cache is lost, or not, each sector by itself. */
static void crash_host(void)
{
	unsigned i;

	for (i = 0; i < PLACES; i++) {
		if (layer.is_dirty[i] && random_number(2))
			memcpy(layer.disk[i], layer.cache[i], 512);
		memcpy(layer.cache[i], layer.disk[i], 512);
		layer.is_dirty[i] = 0;
	}
	for (i = 0; i < BLOCKS; i++) {
		if (base.is_dirty[i] && random_number(2))
			memcpy(base.disk[i], base.cache[i], 512);
		memcpy(base.cache[i], base.disk[i], 512);
		base.is_dirty[i] = 0;
	}
}

/* All of it is. */
static void lose_cache(void)
{
	memcpy(layer.cache, layer.disk, sizeof(layer.cache));
	memset(layer.is_dirty, 0, sizeof(layer.is_dirty));
}

/* ---- requests, and the model of what they mean ---- */

static struct io_port port;
static struct io ios[TAGS];

static struct request {
	int is_there, is_done, error;
	int wants_data; /* need-get-data: it is on its way to that place */
	void *to;
	uint64_t id;	  /* of a write */
	uint64_t flushes; /* version that a FLUSH makes durable */
	uint8_t data[IO_MAX];
} requests[TAGS];

static uint64_t versions; /* of all changes */

#define VALUES 40

/* A block's possible contents after a crash: the last durable one, and later ones. */
static struct block {
	uint64_t value[VALUES], version[VALUES];
	unsigned count;
	unsigned sure; /* the last so many are what it may show now */
	int is_busy;
} blocks[BLOCKS];

#define IS_BASE UINT64_MAX /* values: that, 0 for zeroes, or a write's number */

static void fill_value(uint64_t value, uint64_t block, uint8_t *bytes)
{
	uint64_t *words = (uint64_t *)bytes;
	unsigned i;

	if (value == IS_BASE) {
		base_sector(block, bytes);
		return;
	}
	for (i = 0; i < 64; i++)
		words[i] = value ? value << 24 | block : 0;
}

static void forget_oldest(struct block *block)
{
	block->count--;
	memmove(block->value, block->value + 1,
		block->count * sizeof(block->value[0]));
	memmove(block->version, block->version + 1,
		block->count * sizeof(block->version[0]));
}

static void may_become(uint64_t at, uint64_t value)
{
	struct block *block = &blocks[at];

	assert_true(block->count < VALUES);
	block->value[block->count] = value;
	block->version[block->count++] = UINT64_MAX;
	block->sure++;
}

/* It is what it was to become last. */
static void has_become(uint64_t at)
{
	struct block *block = &blocks[at];

	block->version[block->count - 1] = versions;
	block->sure = 1;
}

/* What was there at that version, or came later, may be there after a crash. */
static void is_durable(uint64_t version)
{
	uint64_t at;

	for (at = 0; at < BLOCKS; at++)
		while (blocks[at].count > 1 && blocks[at].version[1] <= version)
			forget_oldest(&blocks[at]);
}

static int is_value(uint64_t at, uint64_t value, const uint8_t *bytes)
{
	uint8_t expected[512];

	fill_value(value, at, expected);
	return memcmp(bytes, expected, 512) == 0;
}

/* Which of the last `sure` values it is, the last one first; or -1. */
static int find_value(uint64_t at, const uint8_t *bytes)
{
	const struct block *block = &blocks[at];
	unsigned i;

	for (i = block->count; i > block->count - block->sure; i--)
		if (is_value(at, block->value[i - 1], bytes))
			return (int)i - 1;
	return -1;
}

static void expect_block(uint64_t at, const uint8_t *bytes)
{
	const struct block *block = &blocks[at];

	if (find_value(at, bytes) >= 0)
		return;
	print_message("block %llu begins with %llx, and could be %llx\n",
		      (unsigned long long)at,
		      (unsigned long long)*(const uint64_t *)bytes,
		      (unsigned long long)block->value[block->count - 1]);
	fail();
}

static uint64_t first_block(const struct io *io)
{
	return io->offset / 512;
}

static uint64_t block_count(const struct io *io)
{
	return io->op == IO_FLUSH ? 0 : io->length / 512;
}

/* ---- what is under way in the kernel ---- */

#define FLIGHT 64

static struct flight {
	struct ring_transfer transfer;
	uint64_t data;
	uint8_t synced[PLACES]; /* what was dirty when a sync began */
} flights[FLIGHT];
static unsigned flying;

static struct {
	unsigned errors;     /* one of so many transfers fails; 0: none */
	unsigned sync_error; /* the same of syncs */
	unsigned bad_sync;   /* the so many-th from now on fails; 0: none */
	unsigned pool;	     /* one of so many buffers is not to be had */
	uint64_t full;	     /* no room from there on in the layer, in bytes */
	unsigned done, failed, puts;
	int refused; /* a failed sync */
} chance;

static struct target *target;
static struct geometry geometry;
static struct failure failure;

static struct cow *cow(void)
{
	return (struct cow *)target;
}

int __wrap_ring_put_transfer(struct ring *ring,
			     const struct ring_transfer *transfer,
			     uint64_t data)
{
	unsigned i;

	assert_true(flying < FLIGHT);
	flights[flying].transfer = *transfer;
	flights[flying].data = data;
	for (i = 0; i < PLACES; i++)
		flights[flying].synced[i] = layer.is_dirty[i];
	flying++;
	chance.puts++;
	return 0;
}

int __wrap_ring_set_file(struct ring *ring, unsigned slot, int fd)
{
	return 0;
}

int __wrap_ring_allow_workers(struct ring *ring, unsigned count)
{
	return 0;
}

void __wrap_io_submit(struct io_port *io_port)
{
}

void __wrap_io_done(struct io *io, int error)
{
	struct request *request = &requests[io->tag];

	assert_true(request->is_there);
	assert_false(request->is_done);
	request->is_done = 1;
	request->error = error;
}

void __wrap_io_done_lent(struct io *io)
{
	__wrap_io_done(io, 0);
	target_cow.io.copied(&target->backend, io);
}

int __wrap_io_take(struct io *io, void *to, uint32_t at, uint32_t length)
{
	struct request *request = &requests[io->tag];

	assert_true(at + length <= io->length);
	if (port.mode != IO_NEED_GET_DATA) {
		memcpy(to, request->data + at, length);
		return 0;
	}
	assert_int_equal(length, io->length);
	if (io->data == IO_DATA_HERE)
		return 0;
	io->data = IO_DATA_ASKED;
	request->wants_data = 1;
	request->to = to;
	return IO_LATER;
}

int __wrap_io_put(struct io *io, const void *from, uint32_t at, uint32_t length)
{
	assert_true(at + length <= io->length);
	/* Not the driver's: of what is fetched from a server. */
	if (io->port != &port) {
		memcpy(io->port->buffers + at, from, length);
		return 0;
	}
	memcpy(requests[io->tag].data + at, from, length);
	return 0;
}

int __wrap_io_put_zeroes(struct io *io, uint32_t at, uint32_t length)
{
	memset(requests[io->tag].data + at, 0, length);
	return 0;
}

int __wrap_backing_look(struct backing *backing, int fd)
{
	static ino_t inodes;

	*backing = (struct backing){ .kind = BACKING_FILE,
				     .device = 1,
				     .inode = ++inodes,
				     .size = SIZE,
				     .least = 512,
				     .unit = 4096,
				     .direct = 4096,
				     .can_punch = 1 };
	return 0;
}

int __wrap_backing_identify(const struct backing *backing, int fd,
			    struct backing_identity *identity)
{
	*identity = (struct backing_identity){ .size = base_size,
					       .modified = base_modified,
					       .generation = base_generation };
	return 0;
}

uint64_t __wrap_backing_used(int fd)
{
	return used;
}

int __wrap_backing_read_cached(int fd, void *bytes, size_t length,
			       uint64_t offset)
{
	return 0;
}

void *__real_pool_get(uint64_t *has, uint32_t size, uint32_t *room);

void *__wrap_pool_get(uint64_t *has, uint32_t size, uint32_t *room)
{
	if (chance.pool && random_number(chance.pool) == 0)
		return NULL;
	return __real_pool_get(has, size, room);
}

/* ---- what the kernel makes of a transfer ---- */

static uint8_t *memory_of(const struct flight *flight)
{
	const struct ring_transfer *transfer = &flight->transfer;

	if (!transfer->buffer)
		return transfer->bytes;
	return requests[transfer->buffer - 1].data + transfer->at;
}

static int32_t do_read(const struct flight *flight, uint64_t length)
{
	const struct ring_transfer *transfer = &flight->transfer;
	int is_base = transfer->slot == RING_FILE + 1;
	uint64_t at;

	if (is_base && base_is_cut)
		return 0;
	for (at = 0; at < length; at += 512) {
		uint64_t offset = transfer->offset + at;

		if (is_base)
			memcpy(memory_of(flight) + at, base.cache[offset / 512],
			       512);
		else
			memcpy(memory_of(flight) + at,
			       layer.cache[place_of(offset)], 512);
	}
	return (int32_t)length;
}

static int32_t do_write(const struct flight *flight, uint64_t length)
{
	const struct ring_transfer *transfer = &flight->transfer;
	int is_base = transfer->slot != RING_FILE;
	uint64_t at;

	for (at = 0; at < length && is_base; at += 512)
		change_base((transfer->offset + at) / 512,
			    memory_of(flight) + at);
	if (is_base)
		return (int32_t)length;
	for (at = 0; at < length; at += 512)
		change_sector(place_of(transfer->offset + at),
			      memory_of(flight) + at);
	if (transfer->flags & RWF_DSYNC)
		for (at = 0; at < length; at += 512) {
			unsigned place = place_of(transfer->offset + at);

			memcpy(layer.disk[place], layer.cache[place], 512);
		}
	return (int32_t)length;
}

static int32_t do_allocate(const struct flight *flight)
{
	const struct ring_transfer *transfer = &flight->transfer;
	static const uint8_t zeroes[512];
	uint64_t at = transfer->offset, end = at + transfer->length;

	if (transfer->slot != RING_FILE && base.has_no_holes)
		return -EOPNOTSUPP;
	for (; at < end && transfer->slot != RING_FILE; at += 512)
		change_base(at / 512, zeroes);
	if (transfer->slot != RING_FILE)
		return 0;
	if (end <= COW_DATA_AT)
		memset(layer.has_space + place_of(at),
		       !(transfer->flags & FALLOC_FL_PUNCH_HOLE),
		       transfer->length / 512);
	if (!(transfer->flags & ~FALLOC_FL_KEEP_SIZE))
		return 0;
	for (; at < end; at += 512)
		change_sector(place_of(at), NULL);
	return 0;
}

static int sync_fails(void)
{
	if (chance.bad_sync && --chance.bad_sync == 0)
		return 1;
	return chance.sync_error && random_number(chance.sync_error) == 0;
}

static int32_t do_sync(const struct flight *flight)
{
	unsigned i;

	if (sync_fails()) {
		/* What was to be written is lost, and nobody tells which. */
		for (i = 0; i < PLACES; i++)
			if (flight->synced[i])
				layer.is_dirty[i] = 0;
		chance.refused = 1;
		return -EIO;
	}
	if (flight->transfer.slot != RING_FILE) {
		sync_base();
		return 0;
	}
	for (i = 0; i < PLACES; i++)
		if (flight->synced[i])
			memcpy(layer.disk[i], layer.cache[i], 512);
	return 0;
}

static int has_no_room(uint64_t offset)
{
	unsigned place = place_of(offset);

	if (!chance.full || offset / chance.full != 1)
		return 0;
	return layer.moves || place >= COUNT(layer.has_space) ||
	       !layer.has_space[place];
}

static int32_t do_transfer(const struct flight *flight)
{
	static const int errors[] = { -EIO, -ENOSPC, -EINTR, -EAGAIN };
	const struct ring_transfer *transfer = &flight->transfer;
	uint64_t length = transfer->length;

	if (transfer->op == RING_FDATASYNC || transfer->op == RING_FSYNC)
		return do_sync(flight);
	if (transfer->op == RING_WRITE && transfer->slot == RING_FILE &&
	    has_no_room(transfer->offset))
		return -ENOSPC;
	if (chance.errors && random_number(chance.errors) == 0) {
		chance.failed++;
		/* Some of it may have been done. */
		if (transfer->op == RING_WRITE && random_number(2))
			do_write(flight, 512);
		return errors[random_number(4)];
	}
	if (transfer->op == RING_FALLOCATE)
		return do_allocate(flight);
	if (chance.errors && length > 512 && random_number(8) == 0)
		length = 512 * (1 + random_number(length / 512 - 1));
	return transfer->op == RING_READ ? do_read(flight, length)
					 : do_write(flight, length);
}

/* ---- a server that has the base ---- */

#ifdef WITHOUT_NBD
static unsigned asked;

static void answer(unsigned which)
{
}
#else
static struct io *asks[FLIGHT];
static unsigned asked;
static struct backend *server;

void __wrap_nbd_submit(struct backend *backend, struct io *io)
{
	server = backend;
	assert_true(asked < FLIGHT);
	assert_int_equal(io->op, IO_READ);
	assert_true(io->length <= IO_MAX);
	asks[asked++] = io;
}

void __wrap_nbd_expire(struct backend *backend)
{
}

unsigned __wrap_nbd_in_workers(const struct target *nbd)
{
	return asked;
}

void __wrap_nbd_go_on(struct target *nbd)
{
}

int __wrap_nbd_start(struct backend *backend, struct io_port *io_port)
{
	return 0;
}

static void answer(unsigned which)
{
	struct io *io = asks[which];
	int fails = chance.errors && random_number(chance.errors) == 0;
	uint8_t bytes[512];
	uint32_t at;

	asks[which] = asks[--asked];
	for (at = 0; at < io->length && !fails && !io_is_late(io); at += 512) {
		base_sector((io->offset + at) / 512, bytes);
		__wrap_io_put(io, bytes, at, 512);
	}
	chance.failed += (unsigned)fails;
	target_done((struct target *)server, io, fails ? -EIO : 0);
}
#endif

static void complete_flight(unsigned which)
{
	struct flight flight;
	struct io *io;
	int32_t result;

	flight = flights[which];
	flights[which] = flights[--flying];
	io = &ios[flight.data - IO_OWN];
	result = do_transfer(&flight);
	target_cow.io.completed(&target->backend, io, result);
}

static void complete_one(void)
{
	unsigned which = (unsigned)random_number(flying + asked);

	if (which < flying)
		complete_flight(which);
	else
		answer(which - flying);
}

/* ---- a device ---- */

static struct target *open_cow(int adopted)
{
	static struct option_value values[OPTION_MAX];
	static char told[200];
	int fds[2] = { open("/dev/null", O_RDWR | O_CLOEXEC),
		       open("/dev/null", O_RDWR | O_CLOEXEC) };
	struct target_args args = { .values = values,
				    .adopted = adopted,
				    .size = adopted ? SIZE : 0,
				    .fds = fds,
				    .fd_count = server_name && adopted ? 1 : 2,
				    .told = told,
				    .mode = port.mode,
				    .max_io = IO_MAX,
				    .loop = test_loop };

#ifndef WITHOUT_NBD
	const struct nbd_export export = { .size = base_size };

	nbd_export_write(&export, told, sizeof(told));
#endif
	test_values(target_cow.options, values, options);
	memset(&geometry, 0, sizeof(geometry));
	geometry.block_size = block_size;
	target = target_cow.open(&args, &geometry, &failure);
	assert_non_null(target);
	if (fds[1] >= 0)
		close(fds[1]);
	return target;
}

static unsigned job_lasts; /* so many transfers, then it is interrupted; 0: all */

/* The opener does what the target asks for. Returns how it ends. */
static int run_job(int (*next)(int32_t result, struct ring_transfer *transfer))
{
	static struct flight flight;
	int32_t result = 0;
	unsigned i;
	int state;

	for (;;) {
		memset(&flight.transfer, 0, sizeof(flight.transfer));
		state = next(result, &flight.transfer);
		if (state <= 0)
			return state;
		flight.transfer.slot =
			RING_FILE + (flight.transfer.fd == cow()->base.fd);
		if (job_lasts && --job_lasts == 0)
			return -EINTR;
		for (i = 0; i < PLACES; i++)
			flight.synced[i] = layer.is_dirty[i];
		result = do_transfer(&flight);
	}
}

static int next_to_prepare(int32_t result, struct ring_transfer *transfer)
{
	return target_cow.prepare(target, &geometry, result, transfer,
				  &failure);
}

static int next_to_finish(int32_t result, struct ring_transfer *transfer)
{
	return target_cow.finish(target, result, transfer);
}

static void close_cow(void)
{
	int fds[4], count = target_cow.give_up(target, fds);

	assert_int_equal(count, server_name ? 1 : 2);
	while (count)
		close(fds[--count]);
	target_cow.close(target);
	target = NULL;
}

/* A new device on the layer. Returns 0, or -1 with the failure. */
static int make_cow(void)
{
	unsigned errors = chance.errors, sync_error = chance.sync_error;
	int state;

	chance.errors = chance.sync_error = 0;
	open_cow(0);
	state = run_job(next_to_prepare);
	chance.errors = errors;
	chance.sync_error = sync_error;
	chance.refused = 0;
	if (state == 0)
		assert_int_equal(target_cow.io.start(&target->backend, &port),
				 0);
	else
		close_cow();
	return state < 0 ? -1 : 0;
}

/* ---- requests ---- */

static struct io *free_tag(void)
{
	unsigned tag;

	for (tag = 0; tag < TAGS; tag++)
		if (!requests[tag].is_there)
			return &ios[tag];
	return NULL;
}

static int set_busy(const struct io *io, int is_busy)
{
	uint64_t at = first_block(io), end = at + block_count(io);

	for (; at < end && is_busy; at++)
		if (blocks[at].is_busy ||
		    (io->op != IO_READ && blocks[at].count > VALUES - 4))
			return 0;
	for (at = first_block(io); at < end; at++)
		blocks[at].is_busy = is_busy;
	return 1;
}

/* Few places, so that requests meet; also where the maps' sectors meet. */
static uint64_t random_block(void)
{
	uint64_t at = random_number(64);

	return random_number(2) ? at : BLOCKS - 1 - at - random_number(64);
}

static void set_length(struct io *io)
{
	uint64_t most = SIZE - io->offset;
	int is_data = io->op == IO_READ || io->op == IO_WRITE;
	uint64_t in_cluster = CLUSTER - io->offset % CLUSTER;

	if (is_data && most > in_cluster)
		most = in_cluster;
	if (most > IO_MAX)
		most = IO_MAX;
	io->length = (uint32_t)(512 * (1 + random_number(most / 512)));
	/* Whole clusters are frequent. */
	if (random_number(3) == 0)
		io->length = (uint32_t)most;
}

static void fill_data(struct io *io)
{
	struct request *request = &requests[io->tag];
	static uint64_t ids;
	uint64_t i;

	request->id = io->op == IO_WRITE ? ++ids : 0;
	for (i = 0; i < block_count(io); i++) {
		if (io->op != IO_READ)
			may_become(first_block(io) + i, request->id);
		fill_value(request->id, first_block(io) + i,
			   request->data + i * 512);
	}
}

/* Returns 0 if no request can be made now. */
static int begin_request(uint8_t op, uint64_t offset, uint32_t length,
			 uint8_t flags)
{
	struct io *io = free_tag();
	uint16_t tag;

	if (!io)
		return 0;
	tag = (uint16_t)(io - ios);
	memset(io, 0xa5, sizeof(*io));
	io->port = &port;
	io->tag = tag;
	io->op = op;
	io->flags = flags;
	io->offset = offset;
	io->length = length;
	if (op != IO_FLUSH && !length)
		set_length(io);
	io->data = port.mode == IO_NEED_GET_DATA && op == IO_WRITE
			   ? IO_DATA_WAITS
			   : IO_DATA_HERE;
	if (!set_busy(io, 1))
		return 0;
	memset(&requests[tag], 0, sizeof(requests[tag]));
	requests[tag].is_there = 1;
	requests[tag].flushes = versions;
	fill_data(io);
	target_cow.io.submit(&target->backend, io);
	return 1;
}

static void begin_random(void)
{
	static const uint8_t ops[] = { IO_READ,	  IO_READ,  IO_WRITE,
				       IO_WRITE,  IO_WRITE, IO_WRITE_ZEROES,
				       IO_DISCARD };
	uint8_t op = ops[random_number(sizeof(ops))];
	uint8_t flags = op != IO_READ && random_number(8) == 0 ? IO_FUA : 0;

	if (random_number(8) == 0)
		begin_request(IO_FLUSH, 0, 0, 0);
	else
		begin_request(op, random_block() * 512, 0, flags);
}

static void end_read(const struct io *io)
{
	uint64_t i;

	for (i = 0; i < block_count(io); i++)
		expect_block(first_block(io) + i,
			     requests[io->tag].data + i * 512);
}

static void end_change(const struct io *io)
{
	uint64_t i;

	versions++;
	for (i = 0; i < block_count(io); i++) {
		has_become(first_block(io) + i);
		if (io->flags & IO_FUA)
			while (blocks[first_block(io) + i].count > 1)
				forget_oldest(&blocks[first_block(io) + i]);
	}
}

/* A transfer fails now, or one that was to be durable has. */
static int may_fail(void)
{
	return chance.errors || chance.refused || chance.full || target->tally;
}

static void end_request(const struct io *io)
{
	struct request *request = &requests[io->tag];

	chance.done++;
	if (io->op == IO_FLUSH && !request->error) {
		assert_false(chance.refused);
		is_durable(request->flushes);
	} else if (io->op == IO_FLUSH) {
		assert_true(may_fail());
	} else if (!request->error) {
		if (io->op == IO_READ)
			end_read(io);
		else
			end_change(io);
	} else {
		assert_true(may_fail());
	}
	set_busy(io, 0);
	request->is_there = 0;
}

/* The driver brings the data of a write. */
static void bring_data(struct io *io)
{
	struct request *request = &requests[io->tag];

	memcpy(request->to, request->data, io->length);
	request->wants_data = 0;
	io->data = IO_DATA_HERE;
	target_cow.io.submit(&target->backend, io);
}

static void look_at_requests(void)
{
	unsigned tag;

	for (tag = 0; tag < TAGS; tag++) {
		if (requests[tag].is_done)
			end_request(&ios[tag]);
		else if (requests[tag].wants_data && random_number(2))
			bring_data(&ios[tag]);
		requests[tag].is_done = 0;
	}
}

static int is_anything_there(void)
{
	unsigned tag;

	for (tag = 0; tag < TAGS; tag++)
		if (requests[tag].is_there)
			return 1;
	return 0;
}

/* All that was begun ends: nothing is forgotten. */
static void run_dry(void)
{
	unsigned i;

	for (i = 0; i < 100000 && is_anything_there(); i++) {
		if (flying + asked)
			complete_one();
		look_at_requests();
	}
	assert_false(is_anything_there());
	assert_int_equal(flying, 0);
	assert_int_equal(target_cow.in_workers(target), 0);
}

/* One begins, and all that is there ends. */
static void do_request(uint8_t op, uint64_t offset, uint32_t length,
		       uint8_t flags)
{
	assert_true(begin_request(op, offset, length, flags));
	run_dry();
}

static void run_requests(unsigned count)
{
	while (count--) {
		begin_random();
		look_at_requests();
		if (flying + asked && random_number(3))
			complete_one();
		look_at_requests();
	}
}

/* ---- what is there now, as a device would read it ---- */

static void check_all(void)
{
	unsigned errors = chance.errors;
	uint64_t at;

	chance.errors = 0;
	for (at = 0; at < SIZE; at += CLUSTER) {
		uint64_t left = SIZE - at;

		assert_true(begin_request(
			IO_READ, at,
			(uint32_t)(left < CLUSTER ? left : CLUSTER), 0));
		if (at == UINT64_C(40) * CLUSTER)
			at = (CLUSTERS - 60) * (uint64_t)CLUSTER;
		run_dry();
	}
	chance.errors = errors;
}

/* The host is up again: each block has one of its contents since the last FLUSH. */
static void settle_blocks(void)
{
	uint64_t at;
	uint8_t bytes[512];

	for (at = 0; at < BLOCKS; at++)
		blocks[at].sure = blocks[at].count;
	check_all();
	/* From now on it is that one. */
	for (at = 0; at < BLOCKS; at++) {
		struct block *block = &blocks[at];
		enum cow_state state =
			cow_map_get(&cow()->map, at * 512 / CLUSTER);
		int which;

		memcpy(bytes, layer.cache[5 + at], 512);
		if (state == COW_ZERO)
			memset(bytes, 0, 512);
		else if (state == COW_BASE)
			memcpy(bytes, base.cache[at], 512);
		which = find_value(at, bytes);
		assert_true(which >= 0);
		block->value[0] = block->value[which];
		block->version[0] = 0;
		block->count = block->sure = 1;
	}
}

/* Whatever is under way may come to its end, or not; nobody is told. */
static void drop_requests(void)
{
	unsigned tag;

	asked = 0;
	while (flying)
		if (random_number(2))
			do_transfer(&flights[--flying]);
		else
			flying--;
	for (tag = 0; tag < TAGS; tag++) {
		if (requests[tag].is_there)
			set_busy(&ios[tag], 0);
		memset(&requests[tag], 0, sizeof(requests[tag]));
	}
}

/*
 * A server is killed. What it gave to the kernel ends before the next one begins,
 * and what was not answered is nobody's here.
 */
static void kill_server(void)
{
	uint64_t tally = target->tally;

	drop_requests();
	close_cow();
	open_cow(1);
	target->tally = tally;
	assert_int_equal(target_cow.resume ? target_cow.resume(target) : 0, 0);
	assert_int_equal(target_cow.io.start(&target->backend, &port), 0);
}

static int setup(void **state)
{
	uint64_t at;

	random_seed(18);
	test_loop_open();
	assert_int_equal(io_initialise(), 0);
	pool_open(test_loop);
	memset(&layer, 0, sizeof(layer));
	memset(&chance, 0, sizeof(chance));
	memset(requests, 0, sizeof(requests));
	memset(&port, 0, sizeof(port));
	memset(&failure, 0, sizeof(failure));
	flying = 0;
	port.ios = ios;
	port.mode = IO_USER_COPY;
	base_modified = 1234567890;
	base_generation = 42;
	base_size = SIZE;
	memset(&base, 0, sizeof(base));
	for (at = 0; at < BLOCKS; at++)
		base_sector(at, base.cache[at]);
	sync_base();
	job_lasts = 0;
	server_name = NULL;
	asked = 0;
	used = 0;
	options = "base=/base path=/layer cluster=4K";
	block_size = 0;
	log_forget();
	versions = 0;
	for (at = 0; at < BLOCKS; at++)
		blocks[at] = (struct block){ .value = { IS_BASE },
					     .count = 1,
					     .sure = 1 };
	return 0;
}

static int teardown(void **state)
{
	if (target)
		close_cow();
	pass_time(3 * POOL_PERIOD);
	pool_close();
	test_loop_close();
	return 0;
}

int before_each(void **state)
{
	return setup(state);
}

int after_each(void **state)
{
	return teardown(state);
}

/* ---- the model ---- */

/* 10,000 requests in each mode, and nothing goes wrong. */
TEST_CASE(test_model)
{
	static const enum io_mode modes[] = { IO_USER_COPY, IO_ZERO_COPY,
					      IO_NEED_GET_DATA };
	unsigned i;

	for (i = 0; i < COUNT(modes); i++) {
		teardown(state);
		setup(state);
		port.mode = (uint8_t)modes[i];
		chance.pool = 3;
		assert_int_equal(make_cow(), 0);
		run_requests(10000);
		run_dry();
		check_all();
		assert_true(chance.done > 5000);
	}
}

/* What is read goes to the layer as well: the same in each mode. */
TEST_CASE(test_model_filled)
{
	static const enum io_mode modes[] = { IO_USER_COPY, IO_ZERO_COPY,
					      IO_NEED_GET_DATA };
	unsigned i;

	for (i = 0; i < COUNT(modes); i++) {
		teardown(state);
		setup(state);
		port.mode = (uint8_t)modes[i];
		options = "base=/base path=/layer cluster=4K fill=read";
		chance.pool = 3;
		assert_int_equal(make_cow(), 0);
		run_requests(3000);
		kill_server();
		run_requests(3000);
		run_dry();
		check_all();
		/* What was read once is in the layer. */
		base_is_cut = 1;
		check_all();
		base_is_cut = 0;
	}
}

/* The same, while transfers fail, or do a part of it. */
TEST_CASE(test_failures)
{
	unsigned i;

	chance.errors = 40;
	assert_int_equal(make_cow(), 0);
	for (i = 0; i < 10; i++) {
		run_requests(1000);
		run_dry();
		check_all();
	}
	assert_true(chance.failed > 100);
}

/* The host crashes: what a FLUSH had answered for is there. */
TEST_CASE(test_crashes)
{
	unsigned i;

	for (i = 0; i < 150; i++) {
		assert_int_equal(make_cow(), 0);
		chance.errors = i % 2 ? 50 : 0;
		run_requests(100 + (unsigned)random_number(100));
		chance.errors = 0;
		drop_requests();
		close_cow();
		crash_host();
		assert_int_equal(make_cow(), 0);
		settle_blocks();
		if (random_number(2))
			run_requests(20);
		run_dry();
		assert_int_equal(run_job(next_to_finish), 0);
		close_cow();
	}
}

/* Servers are killed: all that was answered is there, flushed or not. */
TEST_CASE(test_kills)
{
	unsigned i;

	assert_int_equal(make_cow(), 0);
	for (i = 0; i < 100; i++) {
		chance.errors = i % 2 ? 30 : 0;
		run_requests(100);
		kill_server();
		run_requests(10);
		run_dry();
		chance.errors = 0;
		check_all();
	}
	drop_requests();
	/* And then the host. */
	close_cow();
	crash_host();
	assert_int_equal(make_cow(), 0);
	settle_blocks();
}

/*
 * All of ublkd is killed, and nobody takes the device over: the next one on the layer
 * is as after a crash, also for a server that takes that over.
 */
TEST_CASE(test_device_is_gone)
{
	unsigned i;

	for (i = 0; i < 50; i++) {
		assert_int_equal(make_cow(), 0);
		run_requests(100);
		drop_requests();
		close_cow();
		assert_int_equal(make_cow(), 0);
		settle_blocks();
		kill_server();
		check_all();
		close_cow();
	}
}

/* A device is deleted: all of it is durable, whether it was used at all or not. */
TEST_CASE(test_finish)
{
	unsigned i;
	uint64_t at;

	for (i = 0; i < 20; i++) {
		assert_int_equal(make_cow(), 0);
		run_requests(100);
		run_dry();
		if (i % 2)
			kill_server();
		assert_int_equal(run_job(next_to_finish), 0);
		assert_int_equal(run_job(next_to_finish), 0);
		close_cow();
		crash_host();
		for (at = 0; at < BLOCKS; at++)
			while (blocks[at].count > 1)
				forget_oldest(&blocks[at]);
		assert_int_equal(make_cow(), 0);
		check_all();
		close_cow();
	}
}

/* Also what changes no map. */
TEST_CASE(test_finish_of_data_alone)
{
	layer.is_lazy = 1;
	assert_int_equal(make_cow(), 0);
	do_request(IO_WRITE, 8192, 512, 0);
	do_request(IO_FLUSH, 0, 0, 0);
	do_request(IO_WRITE, 8192, 512, 0);
	assert_int_equal(run_job(next_to_finish), 0);
	close_cow();
	lose_cache();
	assert_int_equal(make_cow(), 0);
	check_all();
}

/* A sync has failed: no FLUSH says that all is well, and the rest of what there was
 * before is not lost. */
TEST_CASE(test_failed_sync)
{
	unsigned i;

	for (i = 0; i < 40; i++) {
		chance.sync_error = 6;
		assert_int_equal(make_cow(), 0);
		run_requests(200);
		run_dry();
		check_all();
		if (chance.refused) {
			kill_server();
			do_request(IO_FLUSH, 0, 0, 0);
		}
		drop_requests();
		close_cow();
		crash_host();
		chance.sync_error = 0;
		assert_int_equal(make_cow(), 0);
		settle_blocks();
		close_cow();
	}
}

/*
 * The kernel takes what it could not write for written: a map, here, that is in its
 * cache alone. For the next device it is not durable.
 */
TEST_CASE(test_failed_sync_before)
{
	unsigned i;

	layer.is_lazy = 1;
	for (i = 1; i <= 2; i++) {
		assert_int_equal(make_cow(), 0);
		do_request(IO_WRITE, (uint64_t)i * 8192, 512, 0);
		chance.bad_sync = i;
		do_request(IO_FLUSH, 0, 0, 0);
		assert_int_equal(requests[0].error, -EIO);
		close_cow();
		assert_int_equal(make_cow(), 0);
		settle_blocks();
		do_request(IO_WRITE, (uint64_t)i * 8192, 512, 0);
		do_request(IO_FLUSH, 0, 0, 0);
		assert_int_equal(requests[0].error, 0);
		close_cow();
		lose_cache();
		assert_int_equal(make_cow(), 0);
		check_all();
		close_cow();
	}
}

/* A layer that is new when the host crashes is one. */
TEST_CASE(test_crash_of_a_new_layer)
{
	layer.is_lazy = 1;
	assert_int_equal(make_cow(), 0);
	close_cow();
	lose_cache();
	used = 1 << 20;
	assert_int_equal(make_cow(), 0);
	check_all();
}

/* ---- what is refused ---- */

/* A layer that has been used and is whole: all of it durable. */
static void use_layer(void)
{
	assert_int_equal(make_cow(), 0);
	assert_true(begin_request(IO_WRITE, 4096, 4096, 0));
	assert_true(begin_request(IO_WRITE, SIZE - 512, 512, 0));
	run_dry();
	assert_int_equal(run_job(next_to_finish), 0);
	close_cow();
}

/* All that was written is durable. */
static void settle_values(void)
{
	uint64_t at;

	for (at = 0; at < BLOCKS; at++)
		while (blocks[at].count > 1)
			forget_oldest(&blocks[at]);
}

static void expect_refused(const char *option, const char *part)
{
	memset(&failure, 0, sizeof(failure));
	assert_int_equal(make_cow(), -1);
	assert_string_equal(failure.arg, option);
	assert_non_null(strstr(failure.text, part));
}

/* Every bit of the header and of the map counts. */
TEST_CASE(test_damage)
{
	unsigned i;

	use_layer();
	for (i = 8; i < 508; i++) {
		layer.cache[0][i] ^= 1u << i % 8;
		expect_refused("path", "checksum of its header");
		layer.cache[0][i] ^= 1u << i % 8;
	}
	for (i = 0; i < 512; i++) {
		layer.cache[2][i] ^= 1u << i % 8;
		expect_refused("path", "checksum of its map");
		layer.cache[2][i] ^= 1u << i % 8;
	}
	/* A sector of another place. */
	memcpy(layer.cache[1], layer.cache[2], 512);
	expect_refused("path", "checksum of its map");
}

TEST_CASE(test_no_layer)
{
	memset(layer.cache[0], 'x', 512);
	expect_refused("path", "is no layer of cow");
	/* Nothing was written to it. */
	assert_int_equal(layer.cache[0][0], 'x');
	assert_int_equal(layer.is_dirty[0], 0);
	memset(layer.cache[0], 0, 512);
	used = 1 << 20;
	expect_refused("path", "is no layer of cow");
	assert_int_equal(layer.is_dirty[0], 0);
}

TEST_CASE(test_another_base)
{
	use_layer();
	base_modified++;
	expect_refused("base", "written at another time");
	base_modified = 0;
	assert_int_equal(make_cow(), 0); /* not known */
	close_cow();
	base_modified = 1234567890;
	base_generation++;
	expect_refused("base", "another base of the same size");
	options = "base=/base path=/layer rebase=yes";
	assert_int_equal(make_cow(), 0);
	check_all();
	close_cow();
	options = "base=/base path=/layer";
	assert_int_equal(make_cow(), 0);
	close_cow();
	base_size -= 512;
	expect_refused("base", "another size");
	options = "base=/base path=/layer rebase=yes";
	expect_refused("base", "another size");
}

/* One that is served goes on, and says so. */
TEST_CASE(test_base_changes_under_a_device)
{
	assert_int_equal(make_cow(), 0);
	base_modified++;
	kill_server();
	check_all();
	assert_true(log_has("while a device used it"));
}

TEST_CASE(test_cluster)
{
	use_layer();
	options = "base=/base path=/layer cluster=8K";
	expect_refused("cluster", "another size");
	options = "base=/base path=/layer";
	assert_int_equal(make_cow(), 0);
	assert_int_equal(geometry.chunk, CLUSTER);
	assert_int_equal(geometry.size, SIZE);
	assert_int_equal(geometry.discard_granularity, CLUSTER);
}

/* The last one would be a part of one. */
TEST_CASE(test_blocks)
{
	use_layer();
	block_size = 4096;
	expect_refused("block-size", "no whole blocks");
	block_size = 1024;
	assert_int_equal(make_cow(), 0);
	assert_int_equal(geometry.size, SIZE);
}

/* A layer that is damaged when a next server looks at it: errors, and no wait. */
TEST_CASE(test_lost_layer)
{
	use_layer();
	layer.cache[2][9] ^= 1;
	open_cow(1);
	assert_int_equal(target_cow.io.start(&target->backend, &port), 0);
	chance.refused = 1;
	assert_true(begin_request(IO_READ, 0, 512, 0));
	assert_true(begin_request(IO_FLUSH, 0, 0, 0));
	run_dry();
	assert_true(log_has("checksum of its map"));
	do_request(IO_READ, 0, 512, 0);
}

/* ---- requests that are late ---- */

/*
 * Whoever leads a sync is given up, and then the kernel tells that one, alone, that
 * it has lost something: no FLUSH succeeds after that.
 */
TEST_CASE(test_late_sync_fails)
{
	assert_int_equal(make_cow(), 0);
	do_request(IO_WRITE, 8192, 512, 0);
	assert_true(begin_request(IO_FLUSH, 0, 0, 0));
	assert_int_equal(flying, 1);
	ios[0].data = IO_DATA_LATE;
	chance.bad_sync = 1;
	do_request(IO_FLUSH, 0, 0, 0);
	assert_int_equal(requests[1].error, -EIO);
	assert_int_equal(target->tally, 1);
}

static struct late late;
static uint32_t given[TAGS];

static void be_able_to_expire(void)
{
	memset(given, 0, sizeof(given));
	late.given = given;
	port.late = &late;
}

/* ---- a server's export, and a base or layer that does not do ---- */

#ifndef WITHOUT_NBD
static void use_server(const char *words)
{
	teardown(NULL);
	setup(NULL);
	server_name = "nbd";
	options = words;
}

/* The base is a server's: while it and the layer fail, and servers are killed. */
TEST_CASE(test_model_of_a_server)
{
	static const char *const words[] = {
		"base=nbd://host/export path=/layer cluster=4K",
		"base=nbd://host/export path=/layer cluster=4K fill=read",
	};
	unsigned i;

	for (i = 0; i < 4; i++) {
		use_server(words[i / 2]);
		chance.pool = 3;
		chance.errors = i % 2 ? 40 : 0;
		assert_int_equal(make_cow(), 0);
		run_requests(5000);
		kill_server();
		run_requests(5000);
		run_dry();
		check_all();
		chance.errors = 0;
		assert_int_equal(run_job(next_to_finish), 0);
		close_cow();
		assert_int_equal(make_cow(), 0);
		check_all();
	}
}

/* An export is known again by its name and its size. */
TEST_CASE(test_another_export)
{
	use_server("base=nbd://host/export path=/layer cluster=4K");
	use_layer();
	options = "base=nbd+unix:///%65xport?socket=/s path=/layer";
	assert_int_equal(make_cow(), 0);
	close_cow();
	options = "base=nbd://host/other path=/layer";
	expect_refused("base", "export of another name");
	options = "base=nbd://host/export path=/layer";
	base_size = 2 * SIZE;
	expect_refused("base", "another size");
	base_size = SIZE;
	server_name = NULL;
	options = "base=/base path=/layer";
	expect_refused("base", "belongs to the export of a server");
	options = "base=/base path=/layer rebase=yes";
	assert_int_equal(make_cow(), 0);
	check_all();
	close_cow();
	server_name = "nbd";
	options = "base=nbd://host/export path=/layer";
	expect_refused("base", "belongs to a file or disk");
}

/*
 * A write is answered while a server has not said what it wants of the base: what
 * comes then is not written.
 */
TEST_CASE(test_late_server)
{
	use_server("base=nbd://host/export path=/layer cluster=4K");
	assert_int_equal(make_cow(), 0);
	be_able_to_expire();
	assert_true(begin_request(IO_WRITE, 8192, 512, 0));
	assert_int_equal(asked, 1);
	given[0] = LATE_DUE;
	target_cow.io.expire(&target->backend);
	assert_int_equal(asked, 1);
	assert_true(io_is_late(asks[0]));
	ios[0].data = IO_DATA_LATE;
	chance.refused = 1;
	run_dry();
	assert_int_equal(requests[0].error, -ETIMEDOUT);
	assert_int_equal(cow_map_get(&cow()->map, 2), COW_BASE);
	check_all();
}

TEST_CASE(test_export_name)
{
	static const char *const names[][2] = {
		{ "nbd://host", "" },
		{ "nbd://host/", "" },
		{ "nbd://host:1/a/b", "a/b" },
		{ "nbd+unix:///a%20b%2fc%?socket=/x", "a b/c%" },
		{ "nbd+unix://?socket=/x", "" },
		{ "nbd+unix:///?socket=/x/y", "" },
	};
	char name[COW_NAME_MAX];
	unsigned i;

	for (i = 0; i < COUNT(names); i++) {
		cow_export_name(names[i][0], name, sizeof(name));
		assert_string_equal(name, names[i][1]);
	}
}
#endif

/* ---- committing ---- */

static void expect_committed(void)
{
	uint64_t at;

	check_all();
	for (at = 0; at < BLOCKS; at++) {
		expect_block(at, base.cache[at]);
		assert_memory_equal(base.cache[at], base.disk[at], 512);
	}
	for (at = 0; at < CLUSTERS; at++)
		assert_int_equal(cow_map_get(&cow()->map, at), COW_BASE);
}

/*
 * The base gets what the device has shown, however often that is interrupted, by a
 * crash or not; until then the layer shows it.
 */
TEST_CASE(test_commit)
{
	unsigned i, interrupted = 0;
	uint64_t knows;

	for (i = 0; i < 40; i++) {
		options = "base=/base path=/layer cluster=4K";
		assert_int_equal(make_cow(), 0);
		run_requests(200);
		run_dry();
		assert_int_equal(run_job(next_to_finish), 0);
		close_cow();
		settle_values();
		options = "base=/base path=/layer commit=yes";
		base.is_writable = 1;
		base.has_no_holes = i % 2;
		job_lasts = 2 + (unsigned)random_number(60);
		while (make_cow() < 0) {
			interrupted++;
			if (random_number(2))
				crash_host();
			options = "base=/base path=/layer";
			memcpy(&knows, layer.cache[0] + 72, 8);
			assert_true(layer.cache[0][496] ||
				    le64toh(knows) == base_modified);
			if (layer.cache[0][496])
				expect_refused("commit", "on its way");
			options = "base=/base path=/layer commit=yes";
			job_lasts = (unsigned)random_number(60);
		}
		job_lasts = 0;
		base.is_writable = 0;
		expect_committed();
		run_requests(20);
		run_dry();
		assert_int_equal(run_job(next_to_finish), 0);
		close_cow();
		settle_values();
	}
	assert_true(interrupted > 20);
}

/* A layer that is full keeps nobody from reading. */
TEST_CASE(test_no_room_to_fill)
{
	options = "base=/base path=/layer cluster=4K fill=read";
	assert_int_equal(make_cow(), 0);
	chance.full = COW_DATA_AT;
	do_request(IO_READ, 8192, 512, 0);
	assert_int_equal(requests[0].error, 0);
	assert_true(log_has("no longer filled"));
	chance.puts = 0;
	do_request(IO_READ, 8192, 512, 0);
	assert_int_equal(chance.puts, 1);
}

/*
 * The base does not answer: whoever does not need it goes on, but not before one that
 * came first and changes the same.
 */
TEST_CASE(test_base_stands_still)
{
	unsigned i, stuck = 14;

	assert_int_equal(make_cow(), 0);
	for (i = 0; i < stuck; i++)
		assert_true(
			begin_request(IO_WRITE, (uint64_t)i * CLUSTER, 512, 0));
	assert_int_equal(flying, COW_WORKS - COW_WORKS_WITHOUT_BASE);
	/* All of a cluster of its own, and one that somebody waits to change. */
	assert_true(
		begin_request(IO_WRITE, UINT64_C(40) * CLUSTER, CLUSTER, 0));
	assert_true(begin_request(IO_DISCARD, 13 * CLUSTER + 1024, 1024, 0));
	assert_true(begin_request(IO_WRITE, UINT64_C(41) * CLUSTER, CLUSTER,
				  IO_FUA));
	for (i = 0; i < 100; i++) {
		unsigned which = flying;

		while (which && flights[which - 1].transfer.slot != RING_FILE)
			which--;
		if (which)
			complete_flight(which - 1);
	}
	assert_true(requests[stuck].is_done);
	assert_false(requests[stuck + 1].is_done);
	assert_true(requests[stuck + 2].is_done);
	run_dry();
	check_all();
}

/* ---- what is asked of the kernel ---- */

/* A read of the base is one request, and so is one of what is in the layer. */
TEST_CASE(test_plain_requests)
{
	assert_int_equal(make_cow(), 0);
	chance.puts = 0;
	do_request(IO_READ, 8192, 4096, 0);
	assert_int_equal(chance.puts, 1);
	/* The whole of a cluster: its data, and what the map says now. */
	do_request(IO_WRITE, 8192, 4096, 0);
	assert_int_equal(chance.puts, 3);
	assert_true(begin_request(IO_READ, 8192, 512, 0));
	assert_true(begin_request(IO_WRITE, 9216, 512, 0));
	run_dry();
	assert_int_equal(chance.puts, 5);
	/* A FLUSH: the data, the map, and the map is durable. */
	do_request(IO_FLUSH, 0, 0, 0);
	assert_int_equal(chance.puts, 8);
	/* All zero: nothing is asked. */
	do_request(IO_DISCARD, 8192, 4096, 0);
	chance.puts = 0;
	do_request(IO_READ, 8192, 4096, 0);
	assert_int_equal(chance.puts, 0);
}

/* The file system is full when the map is to be written: it has space already. */
TEST_CASE(test_space_of_the_maps)
{
	assert_int_equal(make_cow(), 0);
	do_request(IO_WRITE, 8192, 512, 0);
	chance.full = COW_NOW_AT;
	do_request(IO_DISCARD, 8192, 4096, 0);
	assert_int_equal(requests[0].error, 0);
	chance.full = COW_MAP_AT;
	do_request(IO_FLUSH, 0, 0, 0);
	assert_int_equal(requests[0].error, 0);
}

/* Or it writes it elsewhere, and that is full: a later FLUSH does it. */
TEST_CASE(test_no_room_for_the_map)
{
	layer.moves = 1;
	assert_int_equal(make_cow(), 0);
	do_request(IO_WRITE, 8192, 512, 0);
	chance.full = COW_MAP_AT;
	do_request(IO_FLUSH, 0, 0, 0);
	assert_int_equal(requests[0].error, -ENOSPC);
	chance.full = 0;
	do_request(IO_FLUSH, 0, 0, 0);
	assert_int_equal(requests[0].error, 0);
	close_cow();
	crash_host();
	assert_int_equal(make_cow(), 0);
	check_all();
}

/* Or when it is to be noted for the next server. */
TEST_CASE(test_no_room_for_the_next_server)
{
	layer.moves = 1;
	assert_int_equal(make_cow(), 0);
	chance.full = COW_NOW_AT;
	do_request(IO_WRITE, 8192, 512, 0);
	assert_int_equal(requests[0].error, -ENOSPC);
	chance.full = 0;
	do_request(IO_WRITE, 9216, 512, 0);
	kill_server();
	check_all();
}

/*
 * What could not be noted for the next server is, when it is done once more, or before
 * a FLUSH says that all is well.
 */
TEST_CASE(test_noted_again)
{
	static const uint8_t ops[] = { IO_DISCARD, IO_FLUSH };
	unsigned i;

	layer.moves = 1;
	assert_int_equal(make_cow(), 0);
	for (i = 0; i < COUNT(ops); i++) {
		uint64_t offset = UINT64_C(8192) * (i + 1);

		chance.full = COW_NOW_AT;
		do_request(IO_DISCARD, offset, 4096, 0);
		assert_int_equal(requests[0].error, -ENOSPC);
		/* It is tried, and has no room again. */
		do_request(ops[i], offset, 4096, 0);
		assert_int_equal(requests[0].error, -ENOSPC);
		chance.full = 0;
		do_request(ops[i], offset, 4096, 0);
		assert_int_equal(requests[0].error, 0);
		kill_server();
		check_all();
		assert_int_equal(cow_map_get(&cow()->map, offset / CLUSTER),
				 COW_ZERO);
	}
}

/* While another one is being noted it is given up: that does not note it. */
TEST_CASE(test_given_up_while_another_is_noted)
{
	assert_int_equal(make_cow(), 0);
	be_able_to_expire();
	assert_true(begin_request(IO_DISCARD, 8192, 4096, 0));
	complete_one();
	assert_true(begin_request(IO_DISCARD, 16384, 4096, 0));
	/* The data of this one; the first one's sector stays under way. */
	assert_int_equal(flights[1].transfer.op, RING_FALLOCATE);
	complete_flight(1);
	assert_int_equal(flying, 1);
	given[1] = LATE_DUE;
	target_cow.io.expire(&target->backend);
	given[1] = 0;
	chance.refused = 1;
	run_dry();
	chance.refused = 0;
	assert_int_equal(requests[0].error, 0);
	assert_int_equal(requests[1].error, -EIO);
	do_request(IO_DISCARD, 16384, 4096, 0);
	kill_server();
	check_all();
}

/* A write that is to be durable and has no room for itself loses nothing else. */
TEST_CASE(test_no_room_for_a_durable_write)
{
	unsigned i;

	assert_int_equal(make_cow(), 0);
	for (i = 0; i < 2; i++) {
		chance.full = COW_DATA_AT;
		do_request(IO_WRITE, 8192, 512, IO_FUA);
		assert_int_equal(requests[0].error, -ENOSPC);
		chance.full = 0;
		assert_int_equal(target->tally, 0);
		assert_true(begin_request(IO_WRITE, 8192, 512, 0));
		assert_true(begin_request(IO_FLUSH, 0, 0, 0));
		run_dry();
		assert_int_equal(requests[0].error, 0);
		assert_int_equal(requests[1].error, 0);
	}
}

/*
 * A server is killed while it makes the map durable. A write that is to be durable
 * does not take the map that is in the cache for one that is on the disk.
 */
TEST_CASE(test_durable_write_after_a_kill)
{
	layer.is_lazy = 1;
	assert_int_equal(make_cow(), 0);
	do_request(IO_WRITE, 8192, 512, 0);
	assert_true(begin_request(IO_FLUSH, 0, 0, 0));
	complete_one();
	complete_one();
	assert_int_equal(flights[0].transfer.op, RING_FDATASYNC);
	flying = 0;
	kill_server();
	do_request(IO_WRITE, 8192, 512, IO_FUA);
	assert_int_equal(requests[0].error, 0);
	close_cow();
	lose_cache();
	assert_int_equal(make_cow(), 0);
	check_all();
}

/* Nothing where there should be something is an error, and no wait. */
TEST_CASE(test_base_is_cut)
{
	assert_int_equal(make_cow(), 0);
	base_is_cut = 1;
	chance.refused = 1;
	do_request(IO_WRITE, 8192, 512, 0);
	base_is_cut = 0;
	chance.refused = 0;
	check_all();
}

/* The kernel does not send any such thing. */
TEST_CASE(test_two_clusters)
{
	assert_int_equal(make_cow(), 0);
	chance.refused = 1;
	do_request(IO_READ, 4096 - 512, 1024, 0);
	assert_true(log_has("over the end of a cluster"));
}

int main(void)
{
	return tests_run();
}
