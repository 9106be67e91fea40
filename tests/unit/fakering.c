#include "fakering.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct fake_ring fake_ring;

static int event_fd = -1;
static int is_clear;
static unsigned taken; /* by fake_next_command() */

/* There is one ring at a time, and this stands for it. */
static struct ring *const the_ring = (struct ring *)&fake_ring;

struct ring *__wrap_ring_create(unsigned entries, unsigned flags, int *error)
{
	assert_int_equal(flags & RING_WIDE, 0);
	if (fake_ring.create_error) {
		*error = fake_ring.create_error;
		return NULL;
	}
	fake_ring.entries = entries;
	fake_ring.flags = flags;
	fake_ring.created++;
	return the_ring;
}

void __wrap_ring_destroy(struct ring *ring)
{
	if (!ring)
		return;
	assert_ptr_equal(ring, the_ring);
	fake_ring.destroyed++;
}

int __wrap_ring_event_fd(const struct ring *ring)
{
	assert_ptr_equal(ring, the_ring);
	return event_fd;
}

void __wrap_ring_clear_event(struct ring *ring)
{
	eventfd_t count;

	assert_ptr_equal(ring, the_ring);
	eventfd_read(event_fd, &count);
	is_clear = 1;
}

void __wrap_ring_raise_event(struct ring *ring)
{
	assert_ptr_equal(ring, the_ring);
	fake_ring.raises++;
	eventfd_write(event_fd, 1);
}

int __wrap_ring_register_file(struct ring *ring, int fd)
{
	assert_ptr_equal(ring, the_ring);
	fake_ring.registered = fd;
	return fake_ring.register_error;
}

int __wrap_ring_put_command(struct ring *ring, int fd, uint32_t op,
			    const void *command, size_t size, uint64_t data)
{
	struct fake_command *put = &fake_ring.put[fake_ring.put_count];

	assert_ptr_equal(ring, the_ring);
	assert_int_equal(size, sizeof(put->command));
	if (fake_ring.put_error)
		return fake_ring.put_error;
	assert_true(fake_ring.put_count < FAKE_COMMANDS);
	put->fd = fd;
	put->op = op;
	put->data = data;
	put->address = 0;
	put->is_immediate = put->is_quiet = put->is_lasting = 0;
	put->list = NULL;
	memcpy(&put->command, command, size);
	fake_ring.put_count++;
	return 0;
}

int __wrap_ring_put_addressed(struct ring *ring, uint32_t op,
			      const void *command, uint64_t address,
			      uint64_t data)
{
	int error = __wrap_ring_put_command(ring, -1, op, command,
					    sizeof(struct ublk_io_cmd), data);

	if (!error)
		fake_ring.put[fake_ring.put_count - 1].address = address;
	return error;
}

static size_t list_size(const struct fake_command *put)
{
	return (size_t)put->batch.nr_elem * put->batch.elem_bytes;
}

int __wrap_ring_put_immediate(struct ring *ring, uint32_t op,
			      const void *command, uint64_t address,
			      int is_quiet, uint64_t data)
{
	int error = __wrap_ring_put_addressed(ring, op, command, address, data);
	struct fake_command *put;
	uint8_t *list;

	if (error)
		return error;
	put = &fake_ring.put[fake_ring.put_count - 1];
	assert_true(fake_ring.list_count < FAKE_LISTS);
	list = fake_ring.lists[fake_ring.list_count++];
	assert_true(list_size(put) <= sizeof(fake_ring.lists[0]));
	memcpy(list, (const void *)(uintptr_t)address, list_size(put));
	put->list = list;
	put->is_immediate = 1;
	put->is_quiet = is_quiet;
	return 0;
}

int __wrap_ring_put_lasting(struct ring *ring, uint32_t op, const void *command,
			    uint64_t data)
{
	int error = __wrap_ring_put_addressed(ring, op, command, 0, data);

	if (!error)
		fake_ring.put[fake_ring.put_count - 1].is_lasting = 1;
	return error;
}

int __wrap_ring_make_intake(struct ring *ring, uint32_t *half)
{
	assert_ptr_equal(ring, the_ring);
	assert_in_range(*half, 2, FAKE_ELEMENTS * sizeof(uint16_t));
	if (fake_ring.intake_error)
		return fake_ring.intake_error;
	fake_ring.half = *half / (unsigned)sizeof(uint16_t);
	fake_ring.fill = 0;
	fake_ring.is_free[0] = fake_ring.is_free[1] = 1;
	return 0;
}

uint32_t __wrap_ring_intake_end(struct ring *ring, uint32_t at)
{
	unsigned which = at / 2 / fake_ring.half;

	assert_ptr_equal(ring, the_ring);
	if (!fake_ring.is_free[which])
		fake_ring.is_free[which] = 1;
	return fake_ring.fill * 2;
}

const void *__wrap_ring_intake(const struct ring *ring)
{
	assert_ptr_equal(ring, the_ring);
	return fake_ring.intake;
}

void __wrap_ring_refill(struct ring *ring, unsigned which)
{
	assert_ptr_equal(ring, the_ring);
	assert_in_range(which, 0, 1);
	assert_false(fake_ring.is_free[which]);
	fake_ring.is_free[which] = 1;
}

int __wrap_ring_make_buffers(struct ring *ring, unsigned count)
{
	assert_ptr_equal(ring, the_ring);
	fake_ring.buffers = count;
	return fake_ring.register_error;
}

/* Until it is submitted, what it points to must stay what it was. */
static void check_lists(void)
{
	const struct fake_command *put;
	unsigned i;

	for (i = fake_ring.submitted; i < fake_ring.put_count; i++) {
		put = &fake_ring.put[i];
		if (put->list)
			assert_memory_equal(
				put->list,
				(const void *)(uintptr_t)put->address,
				list_size(put));
	}
}

int __wrap_ring_submit(struct ring *ring)
{
	assert_ptr_equal(ring, the_ring);
	check_lists();
	is_clear = 0; /* a turn ends here */
	fake_ring.submits++;
	if (fake_ring.submit_failures) {
		fake_ring.submit_failures--;
		return fake_ring.submit_error;
	}
	fake_ring.submitted = fake_ring.put_count;
	return 0;
}

int __wrap_ring_has_events(const struct ring *ring)
{
	assert_ptr_equal(ring, the_ring);
	return fake_ring.reaped < fake_ring.event_count;
}

int __wrap_ring_has_unsent(const struct ring *ring)
{
	assert_ptr_equal(ring, the_ring);
	return fake_ring.submitted < fake_ring.put_count;
}

/* It never signals by itself. */
void __wrap_ring_signal(struct ring *ring, int is_on)
{
}

unsigned __wrap_ring_peek(struct ring *ring, const struct ring_event **events)
{
	unsigned count = fake_ring.event_count - fake_ring.reaped;

	assert_ptr_equal(ring, the_ring);
	if (!is_clear)
		fake_ring.unclean++;
	*events = &fake_ring.events[fake_ring.reaped];
	/* As a ring that ends here, now and then. */
	return count > 5 && fake_ring.reaped % 7 == 0 ? 5 : count;
}

int __wrap_ring_seen(struct ring *ring, unsigned count)
{
	assert_ptr_equal(ring, the_ring);
	assert_in_range(count, 0, fake_ring.event_count - fake_ring.reaped);
	fake_ring.reaped += count;
	if (count > fake_ring.most)
		fake_ring.most = count;
	return fake_ring.reaped < fake_ring.event_count;
}

unsigned __wrap_ring_reap(struct ring *ring, struct ring_event *events,
			  unsigned max)
{
	const struct ring_event *from;
	unsigned count = 0;

	while (count < max && __wrap_ring_peek(ring, &from)) {
		events[count++] = *from;
		__wrap_ring_seen(ring, 1);
	}
	return count;
}

void fake_complete(uint64_t data, int32_t result)
{
	assert_true(fake_ring.event_count < FAKE_COMMANDS);
	fake_ring.events[fake_ring.event_count].data = data;
	fake_ring.events[fake_ring.event_count].result = result;
	fake_ring.event_count++;
	eventfd_write(event_fd, 1);
}

/* Linux: IORING_CQE_F_MORE */
#define GOES_ON 2

static void fill_intake(const uint16_t *tags, unsigned count)
{
	unsigned which = fake_ring.fill / fake_ring.half;

	assert_true(fake_ring.is_free[which]);
	assert_in_range(count, 1,
			fake_ring.half - fake_ring.fill % fake_ring.half);
	if (tags)
		memcpy(&fake_ring.intake[fake_ring.fill], tags,
		       count * sizeof(*tags));
	fake_ring.fill += count;
	if (fake_ring.fill % fake_ring.half == 0)
		fake_ring.is_free[which] = 0;
	fake_ring.fill %= 2 * fake_ring.half;
}

static void bring_piece(uint64_t data, const uint16_t *tags, unsigned count)
{
	fill_intake(tags, count);
	fake_complete(data, (int32_t)(count * sizeof(*tags)));
	fake_ring.events[fake_ring.event_count - 1].flags = GOES_ON;
}

void fake_bring(uint64_t data, const uint16_t *tags, unsigned count)
{
	unsigned room = fake_ring.half - fake_ring.fill % fake_ring.half;
	unsigned first = count < room ? count : room;

	bring_piece(data, tags, first);
	if (count > first)
		bring_piece(data, tags + first, count - first);
}

void fake_waste(unsigned count)
{
	fill_intake(NULL, count);
}

const struct fake_command *fake_next_command(void)
{
	return taken < fake_ring.put_count ? &fake_ring.put[taken++] : NULL;
}

void fake_ring_start(void)
{
	memset(&fake_ring, 0, sizeof(fake_ring));
	fake_ring.registered = -1;
	taken = 0;
	is_clear = 0;
	event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(event_fd >= 0);
}

void fake_ring_stop(void)
{
	close(event_fd);
	event_fd = -1;
}
