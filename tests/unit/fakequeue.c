#include "fakequeue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/page.h"

struct queue queue;
struct queue_shape shape;
int device;
struct got got;
struct told told;

static int owner;

/* ---- the target ---- */

/* The driver has all that was put into the ring. */
static void copied(struct backend *backend, struct io *io)
{
	assert_int_equal(fake_ring.submitted, fake_ring.put_count);
	got.back++;
}

static void submit(struct backend *backend, struct io *io)
{
	if (got.lends) {
		/* The memory of its last request is not in use. */
		assert_int_equal(got.back, got.count);
		got.count++;
		assert_int_equal(io_put(io, got.data, 0, io->length), 0);
		io_done_lent(io);
	} else if (got.takes) {
		int error = io_take(io, got.data, 0, io->length);

		got.laters += error == IO_LATER;
		if (error != IO_LATER)
			io_done(io, error);
	} else if (got.at_once) {
		io_done(io, got.error);
	} else {
		assert_true(got.count < COUNT(got.ios));
		got.ios[got.count++] = io;
	}
}

static void forget(struct backend *backend, struct io *io)
{
	assert_int_equal(io->op, IO_WRITE);
	got.forgotten++;
}

/* What the target itself has put into the ring is done, and so is its request. */
static void completed(struct backend *backend, struct io *io, int32_t result)
{
	io_done(io, result);
}

static void expire(struct backend *backend)
{
	unsigned i;

	got.expires++;
	for (i = 0; got.in_line && i < got.count; i++)
		if (got.ios[i]->owned && io_is_due(got.ios[i]))
			io_done(got.ios[i], -EIO);
}

static const struct backend_ops ops = { .submit = submit,
					.forget = forget,
					.completed = completed,
					.expire = expire,
					.copied = copied };
struct backend target = { .ops = &ops };

/* ---- the owner ---- */

static void on_event(struct queue *at, int error)
{
	assert_ptr_equal(at, &queue);
	assert_ptr_equal(at->owner, &owner);
	if (error) {
		told.refused++;
		told.error = error;
		return;
	}
	told.retired++;
	if (told.close)
		queue_close(at);
}

/* ---- the device ---- */

void describe(uint16_t tag, uint32_t op_flags, uint64_t sector,
	      uint32_t sectors)
{
	struct ublk_io_desc descriptor = { .op_flags = op_flags,
					   .nr_sectors = sectors,
					   .start_sector = sector };
	off_t at = (off_t)(QUEUE_ID * page_round_up(UBLK_MAX_QUEUE_DEPTH *
						    sizeof(descriptor)) +
			   tag * sizeof(descriptor));

	assert_int_equal(pwrite(device, &descriptor, sizeof(descriptor), at),
			 sizeof(descriptor));
}

void start_device(uint16_t depth, int batch)
{
	test_loop_open();
	fake_ring_start();
	memset(&got, 0, sizeof(got));
	memset(&told, 0, sizeof(told));
	memset(&queue, 0x5a, sizeof(queue));
	shape = (struct queue_shape){ .depth = depth,
				      .max_io = 65536,
				      .batch = batch };
	device = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(device, 1 << 20), 0);
}

void stop_device(void)
{
	fake_ring_stop();
	close(device);
	test_loop_close();
	log_forget();
}

int open_queue(void)
{
	int error =
		queue_open(&queue, QUEUE_ID, &shape, &target, on_event, &owner);

	if (error)
		return error;
	error = queue_start(&queue, test_loop, device);
	/* One that has not been started has no tags to be waited for. */
	assert_int_equal(queue_is_retired(&queue), error != 0);
	if (error)
		queue_close(&queue);
	return error;
}

void stop_queue(void)
{
	queue.port.owned = 0;
	queue_close(&queue);
	stop_device();
}
