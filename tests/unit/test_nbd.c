/*
 * The NBD target: what goes over the wire, and what becomes of requests when a
 * server answers, lies, or ends. The ring only remembers; what a test has the
 * server say comes in pieces of any size.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/message.h"
#include "io/late.h"
#include "io/pool.h"
#include "io/ring.h"
#include "io/workers.h"
#include "support.h"
#include "target/ask.h"
#include "target/nbd.h"

#define DEPTH	128
#define MAX_IO	(512u << 10)
#define CAN_ALL (NBD_FLUSH | NBD_FUA | NBD_TRIM | NBD_WRITE_ZEROES)
#define SIZE	(UINT64_C(64) << 20)
#define LINKS	4
#define QUEUES	2
#define IOS	(DEPTH + LATE_LEAST) /* of a queue */

static struct io_port ports[QUEUES];
static struct io ios[QUEUES * IOS];
static uint8_t data[DEPTH][MAX_IO]; /* of the requests, as their senders see it */
static struct nbd *nbd;
static struct geometry geometry;
static struct failure failure;
static int other_end; /* of the last socket */

/* The kernel's side of the sockets, and what the server has got. */
static struct kernel {
	struct ring_op *sending, *receiving; /* NULL: nothing is under way */
	const struct msghdr *message;
	uint8_t *bytes;
	size_t size;
	unsigned sends, receives;
	int put_error;
	uint8_t wire[1 << 20];
	size_t wired, looked_at;
} kernels[LINKS];

/* The connection that the functions below are about. */
static unsigned on;
static struct kernel *kernel;

static struct {
	int done[QUEUES * IOS], error[QUEUES * IOS];
	unsigned total;
	int take_error, put_error;
	unsigned submits[QUEUES];
	uint64_t pool_left;
} seen;

/* The helper. */
static struct {
	unsigned asked;
	ask_done *done;
	void *context;
	char text[500];
	int fd, error;
} helper;

static void look_at(unsigned link)
{
	on = link;
	kernel = &kernels[link];
}

static unsigned index_of(int fd)
{
	unsigned i = 0;

	assert_true(fd >= 0);
	while (nbd->links[i]->fd != fd)
		assert_true(++i < nbd->link_count);
	return i;
}

int __wrap_ring_put_send(struct ring *ring, int fd,
			 const struct msghdr *message, uint64_t ring_data)
{
	unsigned i = index_of(fd);

	assert_ptr_equal(ring, nbd->links[i]->port->ring);
	assert_null(kernels[i].sending);
	if (kernels[i].put_error)
		return kernels[i].put_error;
	kernels[i].message = message;
	kernels[i].sending = (struct ring_op *)(uintptr_t)ring_data;
	kernels[i].sends++;
	return 0;
}

int __wrap_ring_put_receive(struct ring *ring, int fd, void *bytes, size_t size,
			    uint64_t ring_data)
{
	unsigned i = index_of(fd);

	assert_ptr_equal(ring, nbd->links[i]->port->ring);
	assert_null(kernels[i].receiving);
	assert_true(size > 0);
	kernels[i].bytes = bytes;
	kernels[i].size = size;
	kernels[i].receiving = (struct ring_op *)(uintptr_t)ring_data;
	kernels[i].receives++;
	return 0;
}

void __wrap_io_submit(struct io_port *of)
{
	seen.submits[of - ports]++;
}

void __wrap_io_done(struct io *io, int error)
{
	size_t index = (size_t)(io - ios);

	seen.done[index]++;
	seen.error[index] = error;
	seen.total++;
}

void __wrap_recorder_note_submitted(struct io *io)
{
}

/* It would have a late one owned again, which then is not late when it ends. */
void __wrap_recorder_note_completed(struct io *io, int32_t result)
{
	assert_false(io_is_late(io));
}

int __wrap_io_take(struct io *io, void *to, uint32_t at, uint32_t length)
{
	if (io_is_late(io))
		return -ETIMEDOUT;
	assert_true(at + length <= io->length);
	memcpy(to, data[io->tag] + at, length);
	return seen.take_error;
}

int __wrap_io_put(struct io *io, const void *from, uint32_t at, uint32_t length)
{
	assert_false(io_is_late(io));
	assert_true(at + length <= io->length);
	memcpy(data[io->tag] + at, from, length);
	return seen.put_error;
}

void *__wrap_io_place(struct io *io)
{
	return data[io->tag];
}

void *__real_pool_get(uint64_t *has, uint32_t size, uint32_t *room);
void *__wrap_pool_get(uint64_t *has, uint32_t size, uint32_t *room)
{
	if (size > seen.pool_left)
		return NULL;
	return __real_pool_get(has, size, room);
}

int __wrap_ask(enum helper_job job, const char *text, int fd, ask_done *done,
	       void *context)
{
	assert_int_equal(job, HELPER_CONNECT);
	assert_int_equal(fd, -1);
	assert_null(helper.done);
	helper.asked++;
	if (helper.error)
		return helper.error;
	helper.done = done;
	helper.context = context;
	snprintf(helper.text, sizeof(helper.text), "%s", text);
	return 0;
}

int __wrap_ask_take_fd(void)
{
	int fd = helper.fd;

	helper.fd = -1;
	return fd;
}

/* ---- the kernel, and the server ---- */

static void end_op(struct ring_op **at, int32_t result)
{
	struct ring_op *op = *at;

	*at = NULL;
	op->done(op, result);
}

/* It takes up to so many bytes of what is to be sent, and says so. */
static void sends_at_most(size_t most)
{
	size_t taken = 0, i;

	assert_non_null(kernel->sending);
	for (i = 0; i < kernel->message->msg_iovlen; i++) {
		const struct iovec *vector = &kernel->message->msg_iov[i];
		size_t count = vector->iov_len;

		if (count > most - taken)
			count = most - taken;
		assert_true(kernel->wired + count <= sizeof(kernel->wire));
		if (count)
			memcpy(kernel->wire + kernel->wired, vector->iov_base,
			       count);
		kernel->wired += count;
		taken += count;
	}
	end_op(&kernel->sending, (int32_t)taken);
}

static void sends_all(void)
{
	while (kernel->sending)
		sends_at_most(SIZE_MAX);
}

/* A shut socket ends what is under way. */
static void ends(void)
{
	if (kernel->sending)
		end_op(&kernel->sending, -EPIPE);
	if (kernel->receiving)
		end_op(&kernel->receiving, 0);
}

static void says_in_pieces(const void *bytes, size_t size, size_t piece)
{
	const uint8_t *from = bytes;

	while (size && kernel->receiving) {
		size_t count = size < piece ? size : piece;

		if (count > kernel->size)
			count = kernel->size;
		memcpy(kernel->bytes, from, count);
		from += count;
		size -= count;
		end_op(&kernel->receiving, (int32_t)count);
	}
}

static void says(const void *bytes, size_t size)
{
	says_in_pieces(bytes, size, SIZE_MAX);
}

static uint64_t number(size_t at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | kernel->wire[kernel->looked_at + at++];
	return value;
}

/* The next request that the server has got; returns its cookie, as it came. */
static uint64_t gets(unsigned command, unsigned flags, uint64_t offset,
		     uint32_t length)
{
	uint64_t cookie;

	assert_true(kernel->wired - kernel->looked_at >= NBD_WIRE_REQUEST);
	assert_int_equal(number(0, 4), 0x25609513);
	assert_int_equal(number(4, 2), flags);
	assert_int_equal(number(6, 2), command);
	assert_int_equal(number(16, 8), offset);
	assert_int_equal(number(24, 4), length);
	memcpy(&cookie, kernel->wire + kernel->looked_at + 8, sizeof(cookie));
	kernel->looked_at += NBD_WIRE_REQUEST;
	return cookie;
}

static void gets_data(uint16_t tag, uint32_t length)
{
	assert_true(kernel->wired - kernel->looked_at >= length);
	assert_memory_equal(kernel->wire + kernel->looked_at, data[tag],
			    length);
	kernel->looked_at += length;
}

static size_t reply(uint8_t *to, uint32_t error, uint64_t cookie)
{
	uint32_t head[2] = { htobe32(0x67446698), htobe32(error) };

	memcpy(to, head, sizeof(head));
	memcpy(to + sizeof(head), &cookie, sizeof(cookie));
	return NBD_WIRE_REPLY;
}

static void answers(uint32_t error, uint64_t cookie)
{
	uint8_t bytes[NBD_WIRE_REPLY];

	says(bytes, reply(bytes, error, cookie));
}

/* ---- the target ---- */

static int make_socket(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	if (other_end >= 0)
		close(other_end);
	other_end = pair[1];
	return pair[0];
}

static struct target *try_open(const char *words, const char *told,
			       int read_only)
{
	static struct option_value values[OPTION_MAX];
	static struct target_args args;
	int fds[1] = { make_socket() };
	struct target *target;

	args = (struct target_args){ .values = values,
				     .fds = fds,
				     .fd_count = 1,
				     .read_only = read_only,
				     .max_io = MAX_IO,
				     .told = told,
				     .loop = test_loop };
	test_values(target_nbd.options, values, words);
	memset(&geometry, 0, sizeof(geometry));
	memset(&failure, 0, sizeof(failure));
	target = target_nbd.open(&args, &geometry, &failure);
	if (fds[0] >= 0)
		close(fds[0]);
	return target;
}

static void open_as(const char *words, uint32_t flags)
{
	char told[100];
	const struct nbd_export export = { .size = SIZE, .flags = flags };

	nbd_export_write(&export, told, sizeof(told));
	nbd = (struct nbd *)try_open(words, told, 0);
	assert_non_null(nbd);
	assert_int_equal(nbd_start(&nbd->target.backend, &ports[0]), 0);
}

static void open_nbd(void)
{
	open_as("uri=nbd://host/x", CAN_ALL);
}

static void close_nbd(void)
{
	if (!nbd)
		return;
	while (nbd->port_count)
		nbd_stop(&nbd->target.backend, nbd->ports[nbd->port_count - 1]);
	target_nbd.close(&nbd->target);
	nbd = NULL;
}

unsigned __wrap_ring_reap(struct ring *ring, struct ring_event *events,
			  unsigned max)
{
	unsigned i;

	for (i = 0; i < nbd->link_count; i++) {
		struct ring_op **at = kernels[i].sending
					      ? &kernels[i].sending
					      : &kernels[i].receiving;

		if (!*at || nbd->links[i]->port->ring != ring)
			continue;
		events->data = (uintptr_t)*at;
		events->result = kernels[i].sending ? -EPIPE : 0;
		*at = NULL;
		return 1;
	}
	return 0;
}

int __wrap_ring_look(struct ring *ring)
{
	return 0;
}

static void open_port(unsigned queue)
{
	struct io_port *opened = &ports[queue];
	uint16_t tag;

	/* Not to be looked into. */
	opened->ring = (struct ring *)opened;
	opened->ios = ios + (size_t)queue * IOS;
	opened->depth = DEPTH;
	opened->in_turn = 1;
	opened->mode = IO_USER_COPY;
	for (tag = 0; tag < DEPTH; tag++) {
		opened->ios[tag].port = opened;
		opened->ios[tag].tag = tag;
	}
}

int before_each(void **state)
{
	unsigned i;

	test_loop_open();
	pool_open(test_loop);
	memset(kernels, 0, sizeof(kernels));
	look_at(0);
	memset(&seen, 0, sizeof(seen));
	memset(&helper, 0, sizeof(helper));
	memset(ports, 0, sizeof(ports));
	memset(ios, 0, sizeof(ios));
	helper.fd = -1;
	seen.pool_left = UINT64_MAX;
	other_end = -1;
	for (i = 0; i < QUEUES; i++)
		open_port(i);
	for (i = 0; i < DEPTH; i++)
		memset(data[i], 'a' + i % 26, MAX_IO);
	log_forget();
	return 0;
}

int after_each(void **state)
{
	const struct message nothing = { .result = -EPIPE };

	close_nbd();
	workers_resume();
	/* As with a keeper that is gone: the attempt has no target any more. */
	if (helper.done)
		helper.done(helper.context, &nothing);
	if (other_end >= 0)
		close(other_end);
	pool_close();
	test_loop_close();
	return 0;
}

static void submit_to(unsigned queue, uint16_t tag, enum io_op op,
		      uint64_t offset, uint32_t length, uint8_t flags)
{
	struct io *io = &ios[queue * IOS + tag];

	io->op = (uint8_t)op;
	io->offset = offset;
	io->length = length;
	io->flags = flags;
	io->owned = 1;
	seen.done[io - ios] = 0;
	nbd_submit(&nbd->target.backend, io);
}

static void submit_as(uint16_t tag, enum io_op op, uint64_t offset,
		      uint32_t length, uint8_t flags)
{
	submit_to(0, tag, op, offset, length, flags);
}

static void submit(uint16_t tag, enum io_op op, uint64_t offset,
		   uint32_t length)
{
	submit_as(tag, op, offset, length, 0);
}

static void expect_done(uint16_t tag, int error)
{
	assert_int_equal(seen.done[tag], 1);
	assert_int_equal(seen.error[tag], error);
}

/* The connection has ended, and the next attempt is due. */
static void expect_broken(void)
{
	ends();
	assert_int_equal(nbd->links[on]->fd, -1);
	pass_time(6);
	assert_non_null(helper.done);
}

/* The helper answers: a connection to an export, or an error. */
static void helper_answers(int result, const char *text)
{
	struct message answer = { .result = result };
	ask_done *done = helper.done;

	snprintf(answer.text, sizeof(answer.text), "%s", text);
	assert_non_null(done);
	helper.done = NULL;
	helper.fd = result ? -1 : make_socket();
	kernel->wired = kernel->looked_at = 0;
	done(helper.context, &answer);
}

static void connects_to(uint64_t size, uint32_t flags)
{
	const struct nbd_export export = { .size = size, .flags = flags };
	char text[100];

	nbd_export_write(&export, text, sizeof(text));
	helper_answers(0, text);
}

/* ---- requests and replies ---- */

TEST_CASE(test_every_command)
{
	uint64_t cookie[5];
	unsigned i;

	open_nbd();
	submit(0, IO_READ, 4096, 8192);
	submit(1, IO_WRITE, 512, 1024);
	submit(2, IO_FLUSH, 0, 0);
	submit(3, IO_DISCARD, 1 << 20, 1 << 20);
	submit_as(4, IO_WRITE_ZEROES, 2 << 20, 4096, IO_KEEP_SPACE | IO_FUA);
	/* One message. */
	assert_int_equal(kernel->sends, 1);
	sends_all();
	assert_int_equal(kernel->sends, 1);
	cookie[0] = gets(0, 0, 4096, 8192);
	cookie[1] = gets(1, 0, 512, 1024);
	gets_data(1, 1024);
	cookie[2] = gets(3, 0, 0, 0);
	cookie[3] = gets(4, 0, 1 << 20, 1 << 20);
	cookie[4] = gets(6, 3, 2 << 20, 4096);
	assert_int_equal(kernel->wired, kernel->looked_at);
	/* In any order. */
	for (i = 4; i > 0; i--) {
		answers(0, cookie[i]);
		expect_done((uint16_t)i, 0);
	}
	assert_int_equal(seen.done[0], 0);
	answers(5, cookie[0]);
	expect_done(0, -EIO);
	assert_int_equal(nbd->count, 0);
}

static void expect_read(size_t piece)
{
	static uint8_t bytes[3 * NBD_WIRE_REPLY + 8192 + 4096];
	uint64_t first, second, third;
	size_t at, i;

	submit(0, IO_READ, 0, 8192);
	submit(1, IO_READ, 8192, 4096);
	submit(2, IO_WRITE, 0, 512);
	sends_all();
	first = gets(0, 0, 0, 8192);
	second = gets(0, 0, 8192, 4096);
	third = gets(1, 0, 0, 512);
	gets_data(2, 512);
	at = reply(bytes, 0, second);
	for (i = 0; i < 4096; i++)
		bytes[at++] = (uint8_t)(i * 7);
	at += reply(bytes + at, 0, third);
	at += reply(bytes + at, 0, first);
	for (i = 0; i < 8192; i++)
		bytes[at++] = (uint8_t)(i * 3);
	says_in_pieces(bytes, at, piece);
	for (i = 0; i < 3; i++)
		expect_done((uint16_t)i, 0);
	assert_memory_equal(data[1], bytes + NBD_WIRE_REPLY, 4096);
	assert_memory_equal(data[0], bytes + at - 8192, 8192);
}

TEST_CASE(test_pieces_of_replies)
{
	static const size_t pieces[] = { 1,    7,    15,   16,	    17,
					 4095, 4096, 4112, SIZE_MAX };
	static const enum io_mode modes[] = { IO_USER_COPY, IO_COPY };
	unsigned i, j;

	for (j = 0; j < COUNT(modes); j++) {
		ports[0].mode = (uint8_t)modes[j];
		open_nbd();
		for (i = 0; i < COUNT(pieces); i++)
			expect_read(pieces[i]);
		close_nbd();
	}
}

/* What is large goes to where it belongs, past the buffer. */
TEST_CASE(test_direct)
{
	static uint8_t bytes[MAX_IO];
	uint8_t head[NBD_WIRE_REPLY];

	ports[0].mode = IO_COPY;
	open_nbd();
	submit(5, IO_READ, 0, MAX_IO);
	sends_all();
	reply(head, 0, gets(0, 0, 0, MAX_IO));
	says(head, sizeof(head));
	assert_ptr_equal(kernel->bytes, data[5]);
	assert_int_equal(kernel->size, MAX_IO);
	memset(bytes, 'x', sizeof(bytes));
	says_in_pieces(bytes, sizeof(bytes), 100000);
	expect_done(5, 0);
	assert_memory_equal(data[5], bytes, MAX_IO);
	/* A head again, into the buffer. */
	assert_ptr_equal(kernel->bytes, nbd->links[0]->receive.buffer);
}

TEST_CASE(test_errors_of_the_server)
{
	static const struct {
		uint32_t server;
		int error;
	} rows[] = { { 1, -EPERM },	  { 5, -EIO },	   { 12, -ENOMEM },
		     { 22, -EIO },	  { 28, -ENOSPC }, { 75, -EIO },
		     { 95, -EOPNOTSUPP }, { 4711, -EIO } };
	unsigned i;

	open_nbd();
	for (i = 0; i < COUNT(rows); i++) {
		submit(0, IO_READ, 0, 4096);
		sends_all();
		answers(rows[i].server, gets(0, 0, 0, 4096));
		expect_done(0, rows[i].error);
	}
	assert_int_equal(helper.asked, 0);
}

TEST_CASE(test_data_that_cannot_be_moved)
{
	static uint8_t bytes[NBD_WIRE_REPLY + 4096];

	open_nbd();
	seen.put_error = -EFAULT;
	submit(0, IO_READ, 0, 4096);
	sends_all();
	reply(bytes, 0, gets(0, 0, 0, 4096));
	says_in_pieces(bytes, sizeof(bytes), 1000);
	expect_done(0, -EFAULT);
	seen.take_error = -EFAULT;
	submit(1, IO_WRITE, 0, 4096);
	expect_done(1, -EFAULT);
	assert_null(kernel->sending);
	/* The connection is as good as it was. */
	seen.take_error = 0;
	submit(2, IO_FLUSH, 0, 0);
	sends_all();
	answers(0, gets(3, 0, 0, 0));
	expect_done(2, 0);
}

TEST_CASE(test_cookies_are_used_once)
{
	uint64_t cookies[300];
	unsigned i, j;

	open_nbd();
	for (i = 0; i < COUNT(cookies); i++) {
		submit(0, IO_FLUSH, 0, 0);
		sends_all();
		cookies[i] = gets(3, 0, 0, 0);
		for (j = 0; j < i; j++)
			assert_true(cookies[i] != cookies[j]);
		answers(0, cookies[i]);
		expect_done(0, 0);
	}
}

/* ---- sending ---- */

TEST_CASE(test_pieces_of_messages)
{
	uint16_t tag;

	open_nbd();
	for (tag = 0; tag < 5; tag++)
		submit(tag, IO_WRITE, tag * UINT64_C(8192), 8192);
	while (kernel->sending)
		sends_at_most(1001);
	for (tag = 0; tag < 5; tag++) {
		answers(0, gets(1, 0, tag * UINT64_C(8192), 8192));
		gets_data(tag, 8192);
		expect_done(tag, 0);
	}
	assert_int_equal(nbd->pooled, 0);
}

/* What comes while a message is with the kernel goes with it, or with the next. */
TEST_CASE(test_behind_a_message)
{
	open_nbd();
	submit(0, IO_WRITE, 0, 4096);
	submit(1, IO_READ, 4096, 4096);
	sends_at_most(NBD_WIRE_REQUEST + 4096);
	submit(2, IO_WRITE, 8192, 4096);
	sends_all();
	gets(1, 0, 0, 4096);
	gets_data(0, 4096);
	gets(0, 0, 4096, 4096);
	gets(1, 0, 8192, 4096);
	gets_data(2, 4096);
	assert_int_equal(kernel->wired, kernel->looked_at);
}

TEST_CASE(test_more_than_a_message)
{
	uint16_t tag;

	open_nbd();
	for (tag = 0; tag < DEPTH; tag++)
		submit(tag, IO_READ, tag * UINT64_C(4096), 4096);
	sends_all();
	assert_int_equal(kernel->sends, DEPTH / NBD_BATCH);
	for (tag = 0; tag < DEPTH; tag++)
		gets(0, 0, tag * UINT64_C(4096), 4096);
	assert_int_equal(nbd->count, DEPTH);
}

/* One page is always there: a write goes through that, piece by piece. */
TEST_CASE(test_without_buffers)
{
	open_nbd();
	seen.pool_left = 0;
	submit(0, IO_WRITE, 0, 10000);
	submit(1, IO_WRITE, 16384, 4096);
	submit(2, IO_READ, 0, 4096);
	sends_all();
	answers(0, gets(1, 0, 0, 10000));
	gets_data(0, 10000);
	answers(0, gets(1, 0, 16384, 4096));
	gets_data(1, 4096);
	gets(0, 0, 0, 4096);
	expect_done(0, 0);
	expect_done(1, 0);
}

/* ---- durability ---- */

TEST_CASE(test_durable)
{
	open_as("uri=nbd://host/x durable=yes", CAN_ALL);
	submit(0, IO_WRITE, 0, 4096);
	sends_all();
	answers(0, gets(1, 1, 0, 4096));
	assert_int_equal(nbd->writes, 0);
}

/* Of a server without durable writes: a flush behind each. */
TEST_CASE(test_durable_by_a_flush)
{
	open_as("uri=nbd://host/x", NBD_FLUSH);
	submit_as(0, IO_WRITE, 0, 4096, IO_FUA);
	sends_all();
	answers(0, gets(1, 0, 0, 4096));
	gets_data(0, 4096);
	assert_int_equal(seen.done[0], 0);
	sends_all();
	answers(0, gets(3, 0, 0, 0));
	expect_done(0, 0);
	assert_int_equal(nbd->writes, nbd->flushed);
}

/* ---- connections that end ---- */

TEST_CASE(test_lies_of_a_server)
{
	static const struct {
		const char *what;
		uint32_t magic;
		uint64_t change; /* of the cookie */
	} rows[] = {
		{ "another cookie", 0x67446698, UINT64_C(1) << 40 },
		{ "another index", 0x67446698, 1 },
		{ "no such index", 0x67446698, 0xffff },
		{ "another magic", 0x67446699, 0 },
		{ "a structured reply, which was not asked for", 0x668e33ef,
		  0 },
	};
	uint8_t bytes[NBD_WIRE_REPLY];
	uint64_t cookie;
	uint32_t magic;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].what);
		open_nbd();
		submit(0, IO_READ, 0, 4096);
		sends_all();
		cookie = gets(0, 0, 0, 4096);
		reply(bytes, 0, cookie ^ rows[i].change);
		magic = htobe32(rows[i].magic);
		memcpy(bytes, &magic, sizeof(magic));
		says(bytes, sizeof(bytes));
		assert_false(nbd_link_is_live(nbd->links[0]));
		assert_int_equal(seen.done[0], 0);
		expect_broken();
		connects_to(SIZE, CAN_ALL);
		sends_all();
		/* By another cookie. */
		assert_true(gets(0, 0, 0, 4096) != cookie);
		close_nbd();
	}
}

/* Answered before it was asked for: all of it. */
TEST_CASE(test_answered_too_early)
{
	uint64_t cookie;

	open_nbd();
	seen.pool_left = 0;
	submit(0, IO_WRITE, 0, 10000);
	sends_at_most(NBD_WIRE_REQUEST + 4096);
	cookie = gets(1, 0, 0, 10000);
	answers(0, cookie);
	assert_int_equal(seen.done[0], 0);
	expect_broken();
}

/* In the middle of a reply; then all is asked for again, and none twice. */
TEST_CASE(test_closes_in_a_reply)
{
	static uint8_t bytes[NBD_WIRE_REPLY + 8192];
	uint64_t cookie;
	size_t cut;

	for (cut = 1; cut < sizeof(bytes); cut += 1111) {
		open_nbd();
		submit(0, IO_READ, 0, 8192);
		submit(1, IO_WRITE, 8192, 4096);
		sends_all();
		cookie = gets(0, 0, 0, 8192);
		gets(1, 0, 8192, 4096);
		reply(bytes, 0, cookie);
		memset(bytes + NBD_WIRE_REPLY, 'z', 8192);
		says(bytes, cut);
		assert_int_equal(seen.done[0] + seen.done[1], 0);
		end_op(&kernel->receiving, 0);
		expect_broken();
		connects_to(SIZE, CAN_ALL);
		sends_all();
		cookie = gets(0, 0, 0, 8192);
		answers(0, gets(1, 0, 8192, 4096));
		gets_data(1, 4096);
		reply(bytes, 0, cookie);
		memset(bytes + NBD_WIRE_REPLY, 'y', 8192);
		says(bytes, sizeof(bytes));
		expect_done(0, 0);
		expect_done(1, 0);
		assert_memory_equal(data[0], bytes + NBD_WIRE_REPLY, 8192);
		close_nbd();
	}
}

/* The kernel has the memory of what is under way until it says so. */
TEST_CASE(test_waits_for_the_kernel)
{
	open_nbd();
	submit(0, IO_WRITE, 0, 4096);
	end_op(&kernel->receiving, -ECONNRESET);
	assert_true(nbd->links[on]->fd >= 0);
	assert_true(nbd->pooled > 0);
	assert_int_equal(seen.done[0], 0);
	end_op(&kernel->sending, -EPIPE);
	assert_int_equal(nbd->links[on]->fd, -1);
	assert_int_equal(nbd->pooled, 0);
	assert_true(log_has("no connection: Connection reset"));
}

TEST_CASE(test_server_shuts_down)
{
	open_nbd();
	submit(0, IO_READ, 0, 4096);
	sends_all();
	answers(108, gets(0, 0, 0, 4096));
	assert_int_equal(seen.done[0], 0);
	expect_broken();
	connects_to(SIZE, CAN_ALL);
	sends_all();
	gets(0, 0, 0, 4096);
}

TEST_CASE(test_interrupted)
{
	open_nbd();
	submit(0, IO_FLUSH, 0, 0);
	end_op(&kernel->sending, -EINTR);
	end_op(&kernel->receiving, -EAGAIN);
	sends_all();
	answers(0, gets(3, 0, 0, 0));
	expect_done(0, 0);
}

/* ---- connecting again ---- */

TEST_CASE(test_attempts)
{
	unsigned i;

	open_nbd();
	end_op(&kernel->receiving, 0);
	submit(0, IO_READ, 0, 4096);
	for (i = 0; i < 10; i++) {
		pass_time(5.1);
		assert_int_equal(helper.asked, i + 1);
		assert_string_equal(helper.text, "nbd://host/x");
		helper_answers(-ECONNREFUSED, "nobody listens");
	}
	assert_int_equal(seen.total, 0);
	assert_int_equal(log_count("no connection"), 1);
	assert_string_equal(nbd->why, "nobody listens");
	pass_time(5.1);
	connects_to(SIZE, CAN_ALL);
	pass_time(3);
	assert_int_equal(log_count("a new connection"), 1);
	sends_all();
	gets(0, 0, 0, 4096);
}

TEST_CASE(test_first_attempt_comes_soon)
{
	open_nbd();
	end_op(&kernel->receiving, 0);
	pass_time(0.12);
	assert_int_equal(helper.asked, 1);
}

/* Nor is one that answers a request before that; and the log hears of it once. */
TEST_CASE(test_answers_once)
{
	unsigned i;

	open_nbd();
	for (i = 0; i < 10; i++) {
		submit(0, IO_FLUSH, 0, 0);
		sends_all();
		answers(0, gets(3, 0, 0, 0));
		end_op(&kernel->receiving, 0);
		pass_time(5.1);
		assert_int_equal(helper.asked, i + 1);
		connects_to(SIZE, CAN_ALL);
		pass_time(1);
	}
	end_op(&kernel->receiving, 0);
	pass_time(4);
	assert_int_equal(helper.asked, 10);
	assert_int_equal(log_count("no connection"), 1);
	assert_int_equal(log_count("a new connection"), 0);
}

/* A connection that has lasted is a good one. */
TEST_CASE(test_lasting_connection)
{
	unsigned i;

	open_nbd();
	for (i = 0; i < 3; i++) {
		pass_time(6);
		end_op(&kernel->receiving, 0);
		pass_time(0.15);
		assert_int_equal(helper.asked, i + 1);
		connects_to(SIZE, CAN_ALL);
	}
	assert_int_equal(log_count("no connection"), 3);
	assert_int_equal(log_count("a new connection"), 2);
	pass_time(3);
	assert_int_equal(log_count("a new connection"), 3);
}

/* A server that takes connections and ends them is not asked without a pause. */
TEST_CASE(test_pauses_grow)
{
	unsigned i;

	open_nbd();
	for (i = 0; i < 10; i++) {
		end_op(&kernel->receiving, 0);
		pass_time(5.1);
		assert_int_equal(helper.asked, i + 1);
		connects_to(SIZE, CAN_ALL);
	}
	end_op(&kernel->receiving, 0);
	pass_time(4);
	assert_int_equal(helper.asked, 10);
}

TEST_CASE(test_another_disk)
{
	static const struct {
		uint64_t size;
		uint32_t flags;
		const char *why;
	} rows[] = {
		{ SIZE - 512, CAN_ALL, "bytes now" },
		{ SIZE, CAN_ALL | NBD_READ_ONLY, "read-only" },
		{ SIZE, CAN_ALL & ~NBD_FLUSH, "another cache" },
		{ SIZE, CAN_ALL & ~NBD_TRIM, "do less" },
		{ SIZE, CAN_ALL & ~NBD_WRITE_ZEROES, "do less" },
	};
	unsigned i;

	open_nbd();
	submit(0, IO_READ, 0, 4096);
	end_op(&kernel->receiving, 0);
	ends();
	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].why);
		pass_time(5.1);
		connects_to(rows[i].size, rows[i].flags);
		assert_int_equal(nbd->links[on]->fd, -1);
		assert_non_null(strstr(nbd->why, rows[i].why));
		assert_null(kernel->sending);
	}
	pass_time(5.1);
	helper_answers(0, "67108864 6c 0 0 262144");
	assert_int_equal(nbd->links[on]->fd, -1);
	assert_non_null(strstr(nbd->why, "smaller requests only"));
	pass_time(5.1);
	connects_to(2 * SIZE, CAN_ALL);
	sends_all();
	gets(0, 0, 0, 4096);
	assert_true(log_has("resize size=auto takes"));
}

/* What a device was never told of can go. */
TEST_CASE(test_what_is_not_used_can_go)
{
	static const struct {
		const char *words;
		int read_only;
		uint32_t had, has;
	} rows[] = {
		{ "uri=nbd://host/x discard=no", 0, CAN_ALL,
		  NBD_FLUSH | NBD_FUA },
		{ "uri=nbd://host/x", 1, CAN_ALL, NBD_FLUSH | NBD_READ_ONLY },
	};
	char told[100];
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		const struct nbd_export export = { .size = SIZE,
						   .flags = rows[i].had };

		about(rows[i].words);
		nbd_export_write(&export, told, sizeof(told));
		nbd = (struct nbd *)try_open(rows[i].words, told,
					     rows[i].read_only);
		assert_non_null(nbd);
		nbd_start(&nbd->target.backend, &ports[0]);
		end_op(&kernel->receiving, 0);
		expect_broken();
		connects_to(SIZE, rows[i].has);
		assert_string_equal(nbd->why, "");
		assert_true(nbd->links[on]->fd >= 0);
		close_nbd();
	}
}

TEST_CASE(test_without_reconnect)
{
	open_as("uri=nbd://host/x reconnect=no", CAN_ALL);
	submit(0, IO_READ, 0, 4096);
	sends_all();
	end_op(&kernel->receiving, 0);
	expect_done(0, -EIO);
	submit(1, IO_READ, 0, 4096);
	expect_done(1, -EIO);
	pass_time(20);
	assert_int_equal(helper.asked, 0);
}

static void adopt_as(const char *words, int knows_flags)
{
	struct option_value values[OPTION_MAX];
	struct target_args args = { .values = values,
				    .adopted = 1,
				    .size = SIZE,
				    .max_io = MAX_IO,
				    .loop = test_loop };

	test_values(target_nbd.options, values, words);
	memset(&geometry, 0, sizeof(geometry));
	nbd = (struct nbd *)target_nbd.open(&args, &geometry, &failure);
	assert_non_null(nbd);
	assert_int_equal(geometry.size, SIZE);
	if (knows_flags)
		nbd->target.tally = UINT64_C(1) << 32 | CAN_ALL;
	nbd_start(&nbd->target.backend, &ports[0]);
}

static void adopt(int knows_flags)
{
	adopt_as("uri=nbd://host export=other", knows_flags);
	assert_string_equal(helper.text, "nbd://host\nother");
	submit(0, IO_READ, 0, 4096);
	assert_int_equal(seen.total, 0);
}

/* The next server of ublkd has no connection, and makes one. */
TEST_CASE(test_adopted)
{
	adopt(1);
	connects_to(SIZE, NBD_FLUSH);
	assert_non_null(strstr(nbd->why, "do less"));
	pass_time(5.1);
	connects_to(SIZE, CAN_ALL);
	sends_all();
	gets(0, 0, 0, 4096);
}

/* What nobody knows any more is what the export has. */
TEST_CASE(test_adopted_without_a_tally)
{
	adopt(0);
	connects_to(SIZE, NBD_FLUSH);
	sends_all();
	gets(0, 0, 0, 4096);
	assert_int_equal(nbd->target.tally, UINT64_C(1) << 32 | NBD_FLUSH);
}

TEST_CASE(test_flags_are_noted)
{
	open_nbd();
	assert_int_equal(nbd->target.tally, UINT64_C(1) << 32 | CAN_ALL);
}

TEST_CASE(test_closed_while_it_connects)
{
	open_nbd();
	end_op(&kernel->receiving, 0);
	pass_time(1);
	close_nbd();
	/* The socket that comes is nobody's. */
	connects_to(SIZE, CAN_ALL);
	assert_null(kernel->receiving);
}

/* ---- writes that may be lost ---- */

static void write_and_answer(void)
{
	submit(0, IO_WRITE, 0, 512);
	sends_all();
	answers(0, gets(1, 0, 0, 512));
	kernel->looked_at = kernel->wired;
	expect_done(0, 0);
}

static void flush_and_answer(void)
{
	submit(1, IO_FLUSH, 0, 0);
	sends_all();
	answers(0, gets(3, 0, 0, 0));
	expect_done(1, 0);
}

static void lose_the_connection(void)
{
	end_op(&kernel->receiving, 0);
	expect_broken();
	connects_to(SIZE, CAN_ALL);
}

TEST_CASE(test_lost_writes)
{
	open_nbd();
	write_and_answer();
	lose_the_connection();
	submit(1, IO_FLUSH, 0, 0);
	expect_done(1, -EIO);
	flush_and_answer();
}

TEST_CASE(test_flushed_writes)
{
	open_nbd();
	write_and_answer();
	flush_and_answer();
	lose_the_connection();
	flush_and_answer();
}

/* A flush that is under way does not say that what it is for has reached a disk. */
TEST_CASE(test_lost_under_a_flush)
{
	open_nbd();
	write_and_answer();
	submit(1, IO_FLUSH, 0, 0);
	submit(2, IO_FLUSH, 0, 0);
	sends_all();
	lose_the_connection();
	expect_done(1, -EIO);
	expect_done(2, -EIO);
	flush_and_answer();
}

/* A write that is answered after the flush was sent is not the flush's. */
TEST_CASE(test_write_beside_a_flush)
{
	uint64_t flush, write;

	open_nbd();
	submit(0, IO_WRITE, 0, 512);
	submit(1, IO_FLUSH, 0, 0);
	sends_all();
	write = gets(1, 0, 0, 512);
	gets_data(0, 512);
	flush = gets(3, 0, 0, 0);
	answers(0, write);
	answers(0, flush);
	lose_the_connection();
	submit(2, IO_FLUSH, 0, 0);
	expect_done(2, -EIO);
}

/* A flush that was sent before a write was answered does not speak for it. */
TEST_CASE(test_lost_after_a_flush_was_sent)
{
	uint64_t write;

	open_nbd();
	submit(0, IO_WRITE, 0, 512);
	submit(1, IO_FLUSH, 0, 0);
	sends_all();
	write = gets(1, 0, 0, 512);
	answers(0, write);
	expect_done(0, 0);
	lose_the_connection();
	expect_done(1, -EIO);
	submit(2, IO_FLUSH, 0, 0);
	expect_done(2, -EIO);
	flush_and_answer();
}

static void stop_and_start(void)
{
	nbd_stop(&nbd->target.backend, &ports[0]);
	assert_int_equal(nbd->links[on]->fd, -1);
	assert_int_equal(nbd_start(&nbd->target.backend, &ports[0]), 0);
	connects_to(SIZE, CAN_ALL);
}

/* A connection that ublkd ends, for a while, leaves the server with its writes. */
TEST_CASE(test_stopped_and_started)
{
	open_nbd();
	write_and_answer();
	stop_and_start();
	flush_and_answer();
}

/* They can be lost later. */
TEST_CASE(test_lost_after_a_stop)
{
	open_nbd();
	write_and_answer();
	stop_and_start();
	lose_the_connection();
	submit(1, IO_FLUSH, 0, 0);
	expect_done(1, -EIO);
}

/* The server had ended the connection; the kernel lets go of it at the stop. */
TEST_CASE(test_lost_before_a_stop)
{
	open_nbd();
	write_and_answer();
	submit(0, IO_READ, 0, 4096);
	end_op(&kernel->receiving, 0);
	assert_true(nbd->links[on]->is_broken);
	stop_and_start();
	submit(1, IO_FLUSH, 0, 0);
	expect_done(1, -EIO);
}

/* Of a server of ublkd before, which nobody has flushed, for all that is known. */
TEST_CASE(test_lost_after_an_adoption)
{
	adopt_as("uri=nbd://host export=other", 1);
	connects_to(SIZE, CAN_ALL);
	lose_the_connection();
	submit(1, IO_FLUSH, 0, 0);
	expect_done(1, -EIO);
	flush_and_answer();
}

TEST_CASE(test_flushed_after_an_adoption)
{
	adopt_as("uri=nbd://host export=other", 1);
	connects_to(SIZE, CAN_ALL);
	flush_and_answer();
	lose_the_connection();
	flush_and_answer();
}

TEST_CASE(test_durable_before_an_adoption)
{
	adopt_as("uri=nbd://host export=other durable=yes", 1);
	connects_to(SIZE, CAN_ALL);
	lose_the_connection();
	flush_and_answer();
}

/* It is not forgotten with the server of ublkd. */
TEST_CASE(test_lost_writes_are_noted)
{
	open_nbd();
	write_and_answer();
	end_op(&kernel->receiving, 0);
	assert_true(nbd->target.tally >> 33 & 1);
	submit(1, IO_FLUSH, 0, 0);
	expect_done(1, -EIO);
	assert_false(nbd->target.tally >> 33 & 1);
}

TEST_CASE(test_durable_writes_are_not_lost)
{
	open_as("uri=nbd://host/x durable=yes", CAN_ALL);
	submit(0, IO_WRITE, 0, 512);
	sends_all();
	answers(0, gets(1, 1, 0, 512));
	lose_the_connection();
	flush_and_answer();
}

/* ---- several connections ---- */

#define CAN_MULTI (CAN_ALL | NBD_MULTI_CONN)

/* A device with two queues, and its first connection. */
static void open_first(const char *words)
{
	open_as(words, CAN_MULTI);
	assert_int_equal(nbd_start(&nbd->target.backend, &ports[1]), 0);
	assert_int_equal(nbd->connected, 1);
}

static void connects_link(unsigned link)
{
	look_at(link);
	connects_to(SIZE, CAN_MULTI);
	assert_true(nbd_link_is_live(nbd->links[link]));
}

static void open_links(const char *words, unsigned count)
{
	unsigned i;

	open_first(words);
	for (i = 1; i < count; i++)
		connects_link(i);
	assert_null(helper.done);
	assert_int_equal(nbd->connected, count);
}

/* As many of the server's as queues, each in the ring of its own. */
TEST_CASE(test_a_link_for_each_queue)
{
	open_links("uri=nbd://host/x", 2);
	submit_to(0, 0, IO_READ, 0, 512, 0);
	submit_to(1, 1, IO_READ, 512, 512, 0);
	submit_to(1, 2, IO_READ, 1024, 512, 0);
	look_at(0);
	sends_all();
	gets(0, 0, 0, 512);
	assert_int_equal(kernel->wired, kernel->looked_at);
	look_at(1);
	sends_all();
	gets(0, 0, 512, 512);
	gets(0, 0, 1024, 512);
	assert_int_equal(kernel->wired, kernel->looked_at);
	/* Each queue submits by itself when its turn ends. */
	assert_int_equal(seen.submits[0] + seen.submits[1], 0);
}

TEST_CASE(test_as_many_links_as_asked)
{
	unsigned i;

	open_links("uri=nbd://host/x connections=4", 4);
	for (i = 0; i < 4; i++)
		submit_to(1, (uint16_t)i, IO_READ, i * UINT64_C(512), 512, 0);
	for (i = 0; i < 4; i++) {
		look_at(i);
		assert_int_equal(nbd->links[i]->port == &ports[1], i % 2);
		assert_int_equal(nbd->links[i]->count, i % 2 ? 2 : 0);
	}
}

TEST_CASE(test_one_link_where_the_server_allows_for_one)
{
	open_as("uri=nbd://host/x", CAN_ALL);
	nbd_start(&nbd->target.backend, &ports[1]);
	assert_int_equal(helper.asked, 0);
	ports[0].in_turn = 0;
	submit_to(1, 0, IO_READ, 0, 512, 0);
	assert_int_equal(seen.submits[0], 1);
	sends_all();
	gets(0, 0, 0, 512);
}

/* The server has a connection less: requests go by those that are there. */
TEST_CASE(test_a_link_that_ends)
{
	uint64_t cookie;

	open_links("uri=nbd://host/x", 2);
	submit_to(1, 0, IO_WRITE, 0, 512, 0);
	sends_all();
	cookie = gets(1, 0, 0, 512);
	ends();
	submit_to(1, 1, IO_READ, 512, 512, 0);
	look_at(0);
	sends_all();
	assert_true(gets(1, 0, 0, 512) != cookie);
	gets_data(0, 512);
	gets(0, 0, 512, 512);
	assert_int_equal(seen.total, 0);
	pass_time(0.12);
	connects_link(1);
	submit_to(1, 2, IO_READ, 1024, 512, 0);
	sends_all();
	gets(0, 0, 1024, 512);
	assert_int_equal(nbd->reconnected, 1);
	assert_int_equal(log_count("connection"), 0);
}

/* An answer names a request of another connection. */
TEST_CASE(test_lies_on_another_link)
{
	uint64_t cookie;

	open_links("uri=nbd://host/x", 2);
	look_at(0);
	submit_to(0, 0, IO_WRITE, 0, 512, 0);
	sends_all();
	cookie = gets(1, 0, 0, 512);
	look_at(1);
	answers(0, cookie);
	assert_false(nbd_link_is_live(nbd->links[1]));
	assert_true(nbd_link_is_live(nbd->links[0]));
	assert_int_equal(seen.total, 0);
}

static void write_by(unsigned queue)
{
	look_at(queue);
	submit_to(queue, 9, IO_WRITE, 0, 512, 0);
	sends_all();
	answers(0, gets(1, 0, 0, 512));
	kernel->looked_at = kernel->wired;
}

static void flush_of_queue_1(unsigned link, int error)
{
	submit_to(1, 8, IO_FLUSH, 0, 0, 0);
	look_at(link);
	if (!error) {
		sends_all();
		answers(0, gets(3, 0, 0, 0));
	}
	assert_int_equal(seen.done[IOS + 8], 1);
	assert_int_equal(seen.error[IOS + 8], error);
}

static void link_ends(unsigned link)
{
	look_at(link);
	ends();
}

/* By the oldest, which speaks for the writes of all. */
TEST_CASE(test_flush_by_the_oldest)
{
	open_links("uri=nbd://host/x", 2);
	write_by(0);
	write_by(1);
	flush_of_queue_1(0, 0);
	link_ends(0);
	pass_time(0.12);
	connects_link(0);
	flush_of_queue_1(1, 0);
}

/* Its server lives, as the other one will tell. */
TEST_CASE(test_nothing_is_lost_with_one_link)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		open_links("uri=nbd://host/x", 2);
		write_by(0);
		write_by(1);
		link_ends(i);
		flush_of_queue_1(!i, 0);
		close_nbd();
	}
}

/* One flush is under way meanwhile: the same. */
TEST_CASE(test_flush_under_a_link_that_ends)
{
	open_links("uri=nbd://host/x", 2);
	write_by(1);
	submit_to(0, 0, IO_FLUSH, 0, 0, 0);
	link_ends(0);
	assert_int_equal(seen.done[0], 0);
	look_at(1);
	sends_all();
	answers(0, gets(3, 0, 0, 0));
	expect_done(0, 0);
}

/* The other one may lead to the next server, which knows nothing of the writes. */
TEST_CASE(test_lost_before_a_newer_link)
{
	open_first("uri=nbd://host/x");
	write_by(0);
	connects_link(1);
	write_by(1);
	link_ends(0);
	flush_of_queue_1(1, -EIO);
	flush_of_queue_1(1, 0);
}

/* ... nor of those whose answer was on its way when that link was made. */
TEST_CASE(test_lost_under_a_newer_link)
{
	uint64_t cookie;

	open_first("uri=nbd://host/x");
	submit_to(0, 9, IO_WRITE, 0, 512, 0);
	sends_all();
	cookie = gets(1, 0, 0, 512);
	connects_link(1);
	look_at(0);
	answers(0, cookie);
	expect_done(9, 0);
	link_ends(0);
	flush_of_queue_1(1, -EIO);
	flush_of_queue_1(1, 0);
}

static void stop_and_start_links(void)
{
	nbd_stop(&nbd->target.backend, &ports[1]);
	nbd_stop(&nbd->target.backend, &ports[0]);
	assert_int_equal(nbd->connected, 0);
	nbd_start(&nbd->target.backend, &ports[0]);
	nbd_start(&nbd->target.backend, &ports[1]);
	connects_link(0);
}

/* The end of one may be the server's, and all are left before a flush tells. */
TEST_CASE(test_lost_with_one_link_before_a_stop)
{
	open_links("uri=nbd://host/x", 2);
	write_by(0);
	link_ends(1);
	stop_and_start_links();
	flush_of_queue_1(0, -EIO);
	write_by(0);
	pass_time(0.2);
	connects_link(1);
	stop_and_start_links();
	flush_of_queue_1(0, 0);
}

/* ... but after a flush that has told. */
TEST_CASE(test_flushed_with_one_link_before_a_stop)
{
	open_links("uri=nbd://host/x", 2);
	link_ends(1);
	flush_of_queue_1(0, 0);
	write_by(0);
	stop_and_start_links();
	flush_of_queue_1(0, 0);
}

/* ... also while the older one is broken, and not ended. */
TEST_CASE(test_flush_beside_a_broken_link)
{
	open_first("uri=nbd://host/x");
	write_by(0);
	connects_link(1);
	look_at(0);
	submit_to(0, 0, IO_READ, 0, 512, 0);
	end_op(&kernel->receiving, 0);
	assert_true(nbd->links[0]->is_broken);
	submit_to(1, 8, IO_FLUSH, 0, 0, 0);
	look_at(1);
	assert_null(kernel->sending);
	link_ends(0);
	assert_int_equal(seen.error[IOS + 8], -EIO);
	look_at(1);
	sends_all();
	gets(0, 0, 0, 512);
	flush_of_queue_1(1, 0);
}

TEST_CASE(test_flushed_before_a_newer_link)
{
	open_first("uri=nbd://host/x");
	write_by(0);
	flush_of_queue_1(0, 0);
	connects_link(1);
	write_by(1);
	link_ends(0);
	flush_of_queue_1(1, 0);
}

TEST_CASE(test_lost_with_all_links)
{
	open_links("uri=nbd://host/x", 2);
	write_by(1);
	link_ends(1);
	link_ends(0);
	pass_time(0.3);
	connects_link(0);
	flush_of_queue_1(0, -EIO);
	flush_of_queue_1(0, 0);
	assert_int_equal(log_count("no connection"), 1);
}

/* The log is told once that one is missing, and nobody asks for it often. */
TEST_CASE(test_fewer_links)
{
	char text[1000];
	unsigned i;

	open_first("uri=nbd://host/x connections=2");
	for (i = 0; i < 9; i++) {
		helper_answers(-EUSERS, "no more");
		pass_time(30);
		pass_time(31);
	}
	assert_int_equal(log_count("1 of 2 connections: no more"), 1);
	target_nbd.describe(&nbd->target, text, sizeof(text));
	assert_non_null(strstr(text, "connected=yes connections=1"));
	assert_non_null(strstr(text, "reason=\"no more\""));
	connects_link(1);
	target_nbd.describe(&nbd->target, text, sizeof(text));
	assert_null(strstr(text, "reason"));
	/* Its server is as good as any when that dies. */
	pass_time(3);
	link_ends(0);
	link_ends(1);
	pass_time(0.12);
	assert_non_null(helper.done);
}

/* A server that ends each connection is not asked for the next without a pause. */
TEST_CASE(test_pauses_between_links)
{
	unsigned i, asked;

	open_links("uri=nbd://host/x", 2);
	for (i = 0; i < 10; i++) {
		link_ends(0);
		link_ends(1);
		pass_time(5.1);
		connects_link(0);
		/* The next one is asked for at once, and comes too late. */
		assert_non_null(helper.done);
		link_ends(0);
		asked = helper.asked;
		connects_link(0);
		assert_int_equal(helper.asked, asked);
		assert_null(helper.done);
	}
	link_ends(0);
	pass_time(4);
	assert_int_equal(helper.asked, asked);
}

/* ... nor one that leaves the first one, and ends all others. */
TEST_CASE(test_pauses_between_further_links)
{
	unsigned i, asked;

	open_links("uri=nbd://host/x connections=3", 3);
	link_ends(1);
	link_ends(2);
	for (i = 0; i < 10; i++) {
		pass_time(61);
		connects_link(1);
		link_ends(1);
		asked = helper.asked;
		connects_link(1);
		assert_int_equal(helper.asked, asked);
		link_ends(1);
	}
	pass_time(50);
	assert_int_equal(helper.asked, asked);
}

/* The next server allows for one. */
TEST_CASE(test_fewer_links_with_the_next_server)
{
	open_links("uri=nbd://host/x connections=2", 2);
	link_ends(0);
	pass_time(0.12);
	look_at(0);
	connects_to(SIZE, CAN_ALL);
	assert_non_null(strstr(nbd->why, "can do other things"));
	link_ends(1);
	pass_time(5.1);
	look_at(0);
	connects_to(SIZE, CAN_ALL);
	assert_int_equal(nbd->connected, 1);
	pass_time(61);
	assert_null(helper.done);
}

static void connects_to_peer(const char *peer, uint32_t flags)
{
	struct nbd_export export = { .size = SIZE, .flags = flags };
	char text[200];

	snprintf(export.peer, sizeof(export.peer), "%s", peer);
	nbd_export_write(&export, text, sizeof(text));
	helper_answers(0, text);
}

/* All are to one server: a flush tells nothing of what another one has. */
TEST_CASE(test_links_to_another_server)
{
	open_links("uri=nbd://host/x", 2);
	link_ends(1);
	pass_time(0.12);
	look_at(1);
	connects_to_peer("10.0.0.2:10809", CAN_MULTI);
	assert_int_equal(nbd->connected, 1);
	assert_non_null(strstr(nbd->why, "leads to 10.0.0.2:10809, and"));
	assert_true(log_has("1 of 2 connections: the URI leads to"));
	/* There is none any more: the next may be to any. */
	link_ends(0);
	pass_time(5.1);
	look_at(0);
	connects_to_peer("10.0.0.2:10809", CAN_MULTI);
	look_at(1);
	connects_to_peer("10.0.0.2:10809", CAN_MULTI);
	assert_int_equal(nbd->connected, 2);
}

/* What is under way by the others was asked for as their server can do it. */
TEST_CASE(test_links_that_can_do_other_things)
{
	static const uint32_t changes[] = { NBD_FUA, NBD_MULTI_CONN,
					    NBD_ROTATIONAL };
	unsigned i;

	for (i = 0; i < COUNT(changes); i++) {
		open_first("uri=nbd://host/x");
		submit_to(0, 0, IO_WRITE, 0, 512, IO_FUA);
		sends_all();
		look_at(1);
		connects_to(SIZE, CAN_MULTI ^ changes[i]);
		assert_int_equal(nbd->connected, 1);
		assert_non_null(strstr(nbd->why, "can do other things"));
		look_at(0);
		answers(0, gets(1, 1, 0, 512));
		expect_done(0, 0);
		assert_int_equal(nbd->writes, 0);
		close_nbd();
		look_at(0);
		kernel->wired = kernel->looked_at = 0;
	}
}

TEST_CASE(test_links_without_reconnect)
{
	open_first("uri=nbd://host/x connections=3 reconnect=no");
	connects_link(1);
	submit_to(0, 0, IO_WRITE, 0, 512, 0);
	submit_to(1, 1, IO_WRITE, 512, 512, 0);
	/* The third one is on its way. */
	assert_non_null(helper.done);
	link_ends(0);
	assert_true(nbd->links[1]->is_broken);
	assert_int_equal(seen.total, 0);
	/* ... and comes too late for what was sent by the others. */
	look_at(0);
	connects_to(SIZE, CAN_MULTI);
	assert_int_equal(nbd->connected, 1);
	assert_null(kernel->sending);
	pass_time(61);
	link_ends(1);
	expect_done(0, -EIO);
	assert_int_equal(seen.error[IOS + 1], -EIO);
	pass_time(61);
	assert_null(helper.done);
	assert_int_equal(nbd->connected, 0);
}

/* One that is idle ends at once: it has nothing that another one could send. */
TEST_CASE(test_idle_link_without_reconnect)
{
	open_links("uri=nbd://host/x connections=4 reconnect=no", 4);
	submit_to(0, 0, IO_WRITE, 0, 512, 0);
	submit_to(1, 2, IO_READ, 1024, 512, 0);
	look_at(0);
	sends_all();
	kernels[3].put_error = -EBUSY;
	/* As while its own answer is looked at. */
	kernel->receiving = NULL;
	nbd->links[0]->receive.is_busy = 0;
	submit_to(1, 1, IO_READ, 512, 512, 0);
	assert_int_equal(nbd->links[0]->fd, -1);
	assert_null(kernels[2].sending);
	link_ends(3);
	link_ends(2);
	link_ends(1);
	expect_done(0, -EIO);
	assert_int_equal(seen.error[IOS + 1], -EIO);
	assert_int_equal(seen.error[IOS + 2], -EIO);
}

/* A server tells older connections nothing of a disk that has grown. */
TEST_CASE(test_size_of_all_links)
{
	uint64_t size;

	open_first("uri=nbd://host/x");
	look_at(1);
	connects_to(2 * SIZE, CAN_MULTI);
	assert_int_equal(log_count("resize size=auto takes"), 1);
	target_nbd.measure(&nbd->target, &size, &failure);
	assert_int_equal(size, SIZE);
	link_ends(0);
	target_nbd.measure(&nbd->target, &size, &failure);
	assert_int_equal(size, 2 * SIZE);
	pass_time(0.12);
	look_at(0);
	connects_to(2 * SIZE, CAN_MULTI);
	assert_int_equal(log_count("resize size=auto takes"), 1);
}

/* Each in its own ring; requests that are left to the other one go on. */
TEST_CASE(test_links_are_stopped)
{
	open_links("uri=nbd://host/x connections=4", 4);
	write_by(0);
	nbd_stop(&nbd->target.backend, &ports[1]);
	assert_int_equal(nbd->connected, 2);
	nbd_stop(&nbd->target.backend, &ports[0]);
	assert_int_equal(nbd->connected, 0);
	pass_time(61);
	assert_null(helper.done);
	nbd_start(&nbd->target.backend, &ports[0]);
	nbd_start(&nbd->target.backend, &ports[1]);
	connects_link(0);
	flush_of_queue_1(0, 0);
}

/* ---- an upgrade ---- */

/*
 * It waits for what the server has: that could come to the disk after the next
 * server of ublkd has sent it again. Meanwhile nothing else goes there.
 */
TEST_CASE(test_upgrade)
{
	uint64_t first, second;

	open_nbd();
	seen.pool_left = 0;
	submit(0, IO_READ, 0, 4096);
	sends_all();
	first = gets(0, 0, 0, 4096);
	assert_int_equal(target_nbd.in_workers(&nbd->target), 1);
	assert_int_equal(workers_drain(), 0);
	assert_false(workers_are_held());
	submit(1, IO_WRITE, 0, 10000);
	answers(5, first);
	assert_int_equal(workers_drain(), 0);
	assert_true(workers_are_held());
	submit(2, IO_FLUSH, 0, 0);
	/* All of what has begun. */
	sends_all();
	second = gets(1, 0, 0, 10000);
	gets_data(1, 10000);
	assert_int_equal(kernel->wired, kernel->looked_at);
	answers(0, second);
	assert_int_equal(target_nbd.in_workers(&nbd->target), 0);
	assert_int_equal(workers_drain(), 1);
	workers_resume();
	target_nbd.go_on(&nbd->target);
	sends_all();
	answers(0, gets(3, 0, 0, 0));
	expect_done(2, 0);
}

/* Nobody has what waits for a connection. */
TEST_CASE(test_upgrade_without_a_server)
{
	open_nbd();
	submit(0, IO_READ, 0, 4096);
	sends_all();
	assert_int_equal(workers_drain(), 0);
	end_op(&kernel->receiving, 0);
	assert_int_equal(workers_drain(), 1);
}

/* ---- requests that time out ---- */

static struct late late;
static uint32_t given[IOS];

static void make_due(uint16_t tag)
{
	ports[0].late = &late;
	late.given = given;
	given[tag] = LATE_DUE;
	nbd_expire(&nbd->target.backend);
}

/* As late_answer() leaves it. */
static void make_late(uint16_t tag)
{
	make_due(tag);
	assert_int_equal(seen.done[tag], 0);
	ios[tag].owned = 0;
	ios[tag].data = IO_DATA_LATE;
}

TEST_CASE(test_time_is_over_without_a_server)
{
	open_nbd();
	end_op(&kernel->receiving, 0);
	submit(0, IO_READ, 0, 4096);
	submit(1, IO_READ, 4096, 4096);
	submit(2, IO_READ, 8192, 4096);
	make_due(1);
	expect_done(1, -EIO);
	make_due(2);
	expect_done(2, -EIO);
	submit(3, IO_READ, 12288, 4096);
	expect_broken();
	connects_to(SIZE, CAN_ALL);
	sends_all();
	gets(0, 0, 0, 4096);
	gets(0, 0, 12288, 4096);
	assert_int_equal(kernel->wired, kernel->looked_at);
}

/* What comes late goes nowhere. */
TEST_CASE(test_late_answer)
{
	static uint8_t bytes[NBD_WIRE_REPLY + 4096];

	open_nbd();
	/* Not to be looked into. */
	ports[0].recorder = (struct recorder *)ports;
	submit(0, IO_READ, 0, 4096);
	sends_all();
	reply(bytes, 0, gets(0, 0, 0, 4096));
	make_late(0);
	says(bytes, sizeof(bytes));
	assert_int_equal(seen.done[0], 1);
	assert_int_equal(data[0][0], 'a');
}

/* It is not asked for again. */
TEST_CASE(test_late_without_an_answer)
{
	open_nbd();
	submit(0, IO_READ, 0, 4096);
	sends_all();
	make_late(0);
	lose_the_connection();
	assert_int_equal(seen.done[0], 1);
	assert_null(kernel->sending);
}

/* Nobody hears of lost writes by a flush that has timed out. */
TEST_CASE(test_lost_under_a_late_flush)
{
	open_nbd();
	write_and_answer();
	submit(2, IO_FLUSH, 0, 0);
	sends_all();
	make_late(2);
	lose_the_connection();
	assert_int_equal(seen.done[2], 1);
	submit(3, IO_FLUSH, 0, 0);
	expect_done(3, -EIO);
	flush_and_answer();
}

/* A server that says nothing at all does not keep late requests for ever. */
TEST_CASE(test_silent_server)
{
	open_nbd();
	submit(0, IO_READ, 0, 4096);
	submit(1, IO_READ, 4096, 4096);
	submit(2, IO_FLUSH, 0, 0);
	sends_all();
	make_late(0);
	pass_time(6);
	make_late(1);
	pass_time(3);
	assert_false(nbd->links[on]->is_broken);
	pass_time(2);
	assert_true(nbd->links[on]->is_broken);
	assert_string_equal(nbd->why, "no answer in time");
	expect_broken();
	assert_int_equal(seen.done[0] + seen.done[1], 2);
	assert_int_equal(seen.done[2], 0);
}

/* It says something by another one: it may be at the late write yet. */
TEST_CASE(test_silent_link)
{
	uint64_t cookie;

	open_links("uri=nbd://host/x", 2);
	submit_to(0, 0, IO_WRITE, 0, 4096, 0);
	submit_to(1, 1, IO_FLUSH, 0, 0, 0);
	submit_to(1, 2, IO_WRITE, 4096, 4096, 0);
	look_at(1);
	sends_all();
	cookie = gets(1, 0, 4096, 4096);
	look_at(0);
	sends_all();
	make_late(0);
	pass_time(8);
	look_at(1);
	answers(0, cookie);
	pass_time(8);
	assert_true(nbd_link_is_live(nbd->links[0]));
	/* Now it is silent: all are of no use, and nothing is sent again yet. */
	pass_time(5);
	assert_true(nbd->links[0]->is_broken);
	assert_true(nbd->links[1]->is_broken);
	link_ends(0);
	assert_null(kernels[1].sending);
	link_ends(1);
	assert_int_equal(seen.done[0], 1);
	/* That write was not flushed. */
	assert_int_equal(seen.error[IOS + 1], -EIO);
}

/* The kernel does not let go of a connection: nobody looks at its requests again. */
TEST_CASE(test_closed_with_a_late_request)
{
	struct nbd *left;

	open_nbd();
	submit(0, IO_READ, 0, 4096);
	sends_all();
	make_late(0);
	left = nbd;
	left->links[0]->is_broken = 1;
	target_nbd.close(&left->target);
	assert_false(loop_timer_is_active(&left->silence));
	nbd = NULL;
	look_at(0);
	ends();
	target_nbd.close(&left->target);
}

/* One that is slow is waited for, until it is silent. */
TEST_CASE(test_slow_server)
{
	uint64_t flush;

	open_nbd();
	submit(0, IO_READ, 0, 4096);
	submit(1, IO_FLUSH, 0, 0);
	sends_all();
	gets(0, 0, 0, 4096);
	flush = gets(3, 0, 0, 0);
	make_late(0);
	pass_time(8);
	answers(0, flush);
	expect_done(1, 0);
	pass_time(8);
	assert_false(nbd->links[on]->is_broken);
	pass_time(5);
	assert_true(nbd->links[on]->is_broken);
}

/* The server waits for the rest of a write that nobody has any more. */
TEST_CASE(test_late_in_the_middle)
{
	open_nbd();
	seen.pool_left = 0;
	submit(0, IO_WRITE, 0, 10000);
	make_late(0);
	sends_at_most(NBD_WIRE_REQUEST + 4096);
	expect_broken();
	assert_int_equal(seen.done[0], 1);
}

/* ---- what is refused ---- */

static void expect_refused(const char *words, const char *told, int read_only,
			   const char *why)
{
	about(why);
	assert_null(try_open(words, told, read_only));
	if (!strstr(failure.text, why))
		fail_msg("%s", failure.text);
}

TEST_CASE(test_refused_exports)
{
	const char *uri = "uri=nbd://host/x";

	expect_refused(uri, "67108864 2 0 0 0", 0, "ro=yes takes it so");
	expect_refused(uri, "67108864 0 8192 0 0", 0, "no less than 8192");
	expect_refused(uri, "67108864 0 0 0 65536", 0, "at most 65536");
	expect_refused(uri, "0 0 0 0 0", 0, "size=0");
	expect_refused(uri, "what?", 0, "does not say");
	expect_refused("uri=nbd://host/x durable=yes", "67108864 4 0 0 0", 0,
		       "no durable writes");
	expect_refused("uri=nbd://host/x connections=2", "67108864 4 0 0 0", 0,
		       "does not allow for more than one");
	expect_refused("uri=nbd://host/x size=65M", "67108864 4 0 0 0", 0,
		       "has only 67108864");
}

TEST_CASE(test_geometry)
{
	nbd = (struct nbd *)try_open("uri=nbd://host/x", "1000000 6c 1 4096 0",
				     0);
	assert_non_null(nbd);
	assert_int_equal(geometry.block_size, 512);
	assert_int_equal(geometry.size, 999936);
	assert_int_equal(geometry.unserved, 64);
	assert_int_equal(geometry.physical_block_size, 4096);
	assert_int_equal(geometry.discard_granularity, 4096);
	assert_true(geometry.volatile_cache);
	close_nbd();
	nbd = (struct nbd *)try_open("uri=nbd://host/x", "1048576 0 4096 0 0",
				     0);
	assert_non_null(nbd);
	assert_int_equal(geometry.block_size, 4096);
	assert_false(geometry.volatile_cache);
	assert_int_equal(geometry.discard_granularity, 0);
	assert_int_equal(geometry.max_write_zeroes, 0);
}

TEST_CASE(test_uris)
{
	static const struct {
		const char *words, *why;
	} rows[] = {
		{ "uri=http://host/x", "begins with none" },
		{ "uri=nbds+vsock://1/x", "begins with none" },
#ifdef WITHOUT_TLS
		{ "uri=nbds://host/x", "left out" },
		{ "uri=nbds+unix:///x?socket=/s", "left out" },
#else
		{ "uri=nbd://host/x?tls-certificates=/c", "tls- parameters" },
		{ "uri=nbd+unix:///x?socket=/s&tls-psk-file=/k",
		  "tls- parameters" },
		{ "uri=nbds://host/x tls=no", "asks for TLS" },
		{ "uri=nbds://host:x/x", "port" },
		{ "uri=nbd://host/x tls-psk-file=/k", "is for nbds://" },
		{ "uri=nbd://host/x tls=no tls-verify-peer=no",
		  "is for nbds://" },
		{ "uri=nbd+vsock://1/x tls=yes", "begins with" },
		{ "uri=nbds://host/x tls-psk-file=/k", "tls-username=" },
#endif
	};
	struct option_value values[OPTION_MAX];
	struct target_args args = { .values = values };
	struct opener_wish wish = { .path = NULL };
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		test_values(target_nbd.options, values, rows[i].words);
		assert_int_equal(target_nbd.opens(&args, &wish, &failure), -1);
		assert_non_null(strstr(failure.text, rows[i].why));
	}
	test_values(target_nbd.options, values,
		    "uri=nbd+unix:///x?socket=/s export=y");
	assert_int_equal(target_nbd.opens(&args, &wish, &failure), 1);
	assert_string_equal(wish.connect, "nbd+unix:///x?socket=/s\ny");
}

#ifndef WITHOUT_TLS

/* What the helper is asked for: all of it is in the URI. */
TEST_CASE(test_tls_uris)
{
	static const struct {
		const char *words, *question;
	} rows[] = {
		{ "uri=nbds://host/x", "nbds://host/x" },
		{ "uri=nbds://host/x tls=yes export=y", "nbds://host/x\ny" },
		{ "uri=nbd://host/x tls=yes", "nbds://host/x" },
		{ "uri=nbd://host/x tls=no", "nbd://host/x" },
		{ "uri=nbd+unix:///x?socket=/s tls=yes tls-certificates=/c "
		  "tls-verify-peer=no",
		  "nbds+unix:///x?socket=/s&tls-certificates=/c"
		  "&tls-verify-peer=no" },
		{ "uri=nbds://host/x tls-psk-file=/k tls-username=a&b "
		  "tls-hostname=h",
		  "nbds://host/x?tls-hostname=h&tls-psk-file=/k"
		  "&tls-username=a%26b" },
	};
	struct option_value values[OPTION_MAX];
	struct target_args args = { .values = values };
	struct opener_wish wish = { .path = NULL };
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		about(rows[i].words);
		test_values(target_nbd.options, values, rows[i].words);
		assert_int_equal(target_nbd.opens(&args, &wish, &failure), 1);
		assert_string_equal(wish.connect, rows[i].question);
	}
}

/* The next connection is as safe as the first one. */
TEST_CASE(test_tls_again)
{
	adopt_as("uri=nbd://host/x tls=yes tls-hostname=h", 1);
	assert_string_equal(helper.text, "nbds://host/x?tls-hostname=h");
	connects_to(SIZE, CAN_ALL);
}

#endif

/* Nobody is behind the end of a device that shrank. */
TEST_CASE(test_sizes)
{
	uint64_t size;

	open_nbd();
	assert_int_equal(target_nbd.measure(&nbd->target, &size, &failure), 0);
	assert_int_equal(size, SIZE);
	assert_int_equal(target_nbd.resize(&nbd->target, SIZE + 512, &failure),
			 -1);
	assert_int_equal(target_nbd.resize(&nbd->target, 8192, &failure), 0);
	submit(0, IO_READ, 8192, 4096);
	expect_done(0, -EIO);
}

/* The kernel has another size at a take-over, when no server has been reached. */
TEST_CASE(test_size_of_an_adopted_device)
{
	adopt_as("uri=nbd://host export=other", 1);
	assert_int_equal(target_nbd.resize(&nbd->target, 2 * SIZE, &failure),
			 0);
	connects_to(SIZE, CAN_ALL);
	assert_non_null(strstr(nbd->why, "bytes now"));
	pass_time(5.1);
	connects_to(2 * SIZE, CAN_ALL);
	assert_true(nbd->links[on]->fd >= 0);
	assert_int_equal(target_nbd.resize(&nbd->target, 3 * SIZE, &failure),
			 -1);
}

/* ---- libnbd, as far as a connection needs it ---- */

void *__wrap_dlopen(const char *name, int flags)
{
	return &helper;
}

static void *lib_create(void)
{
	return &helper;
}

static const char *lib_get_error(void)
{
	return NULL;
}

static int64_t lib_size = -1;
static int lib_fd = -1;

static int64_t lib_get_size(void)
{
	return lib_size;
}

static int lib_aio_get_fd(void)
{
	return lib_fd;
}

/* 0 is success, or no. */
static int lib_any(void)
{
	return 0;
}

static void *as_symbol(void (*function)(void))
{
	void *symbol;

	memcpy(&symbol, &function, sizeof(symbol));
	return symbol;
}

void *__wrap_dlsym(void *library, const char *name)
{
	if (strcmp(name, "nbd_create") == 0)
		return as_symbol((void (*)(void))lib_create);
	if (strcmp(name, "nbd_get_error") == 0)
		return as_symbol((void (*)(void))lib_get_error);
	if (strcmp(name, "nbd_get_size") == 0)
		return as_symbol((void (*)(void))lib_get_size);
	if (strcmp(name, "nbd_aio_get_fd") == 0)
		return as_symbol((void (*)(void))lib_aio_get_fd);
	return as_symbol((void (*)(void))lib_any);
}

/* It has a size of 2^63 bytes or more, which is no error of libnbd's. */
TEST_CASE(test_size_that_is_none)
{
	char text[100];

	assert_int_equal(nbd_connect("nbd://host/x", NULL, text, sizeof(text)),
			 -EIO);
	assert_null(strstr(text, "null"));
	assert_non_null(strstr(text, "size"));
}

/* The peer, by which connections to one server are known. */
static void expect_peer(int fd, const char *peer)
{
	struct nbd_export export;
	char text[200];
	int found;

	lib_fd = fd;
	lib_size = SIZE;
	found = nbd_connect("nbd://host/x", NULL, text, sizeof(text));
	lib_size = -1;
	assert_true(found >= 0);
	close(found);
	close(fd);
	assert_int_equal(nbd_export_read(&export, text), 0);
	assert_int_equal(export.size, SIZE);
	assert_string_equal(export.peer, peer);
}

TEST_CASE(test_peer_of_a_unix_socket)
{
	char peer[NBD_PEER];

	snprintf(peer, sizeof(peer), "pid %d", (int)getpid());
	expect_peer(make_socket(), peer);
}

TEST_CASE(test_peer_by_tcp)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char peer[NBD_PEER];

	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(
		getsockname(listener, (struct sockaddr *)&address, &length), 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", ntohs(address.sin_port));
	expect_peer(fd, peer);
	close(listener);
}

/* The server hears that nobody comes any more. */
TEST_CASE(test_goodbye)
{
	uint8_t bytes[100];

	open_nbd();
	close_nbd();
	assert_int_equal(recv(other_end, bytes, sizeof(bytes), MSG_DONTWAIT),
			 NBD_WIRE_REQUEST);
	assert_int_equal(bytes[7], 2);
}

int main(void)
{
	return tests_run();
}
