#include "ring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/page.h"
#include "base/process.h"

/* Newer than the headers of the oldest supported distribution. */
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_URING_CMD_MULTISHOT
#define IORING_URING_CMD_MULTISHOT (1U << 1)
#endif

/* The kernel's struct io_uring_buf_reg; its flags had no name at first. */
struct intake_setup {
	uint64_t table;
	uint32_t entries;
	uint16_t group;
	uint16_t flags;
	uint64_t reserved[3];
};
_Static_assert(sizeof(struct intake_setup) == sizeof(struct io_uring_buf_reg),
	       "kernel ABI");
#define INTAKE_INCREMENTAL 2 /* IOU_PBUF_RING_INC */

struct ring {
	struct io_uring uring;
	int event_fd;
	int is_registered; /* enter_ring_fd is an index */
	unsigned sleep_flags;
	size_t sqe_size;
	unsigned files; /* a bit for each slot above 0 that has one */
	struct __kernel_timespec timeout; /* until it is submitted */
	unsigned answers; /* that the next submit gives by itself */

	/* The intake: a table of what can be filled, and behind it the halves. */
	struct io_uring_buf_ring *table;
	uint32_t half; /* bytes of one */
	size_t intake_size;
};

/*
 * Task work: what completes waits in a list of the kernel's until the thread
 * next enters the kernel, which the flag TASKRUN and the eventfd ask for.
 *
 * Cooperative task work is run by any entry. Deferred task work, which costs
 * less, is run only by one that asks for completions, and the kernel signals
 * only when the list was empty before. That needs care, because
 *
 *  - on 7.x an entry that meets a half-done push runs nothing, and the push
 *    does not signal again: TASKRUN must be looked at before every sleep;
 *  - a push sets TASKRUN after its work is in the list. If that has been run
 *    by then, TASKRUN stays set over an empty list: to enter until it is clear
 *    would never end. So it is cleared here, before the entry; the kernel sets
 *    it again if anything is left.
 *
 * Whoever sleeps in an eventfd thus empties that first, peeks until there is
 * nothing, and does not sleep while ring_has_events(). tests/unit/test_taskrun.c
 * has all interleavings of this. On processors that reorder stores and loads
 * more than x86 does, the push may read whether the eventfd is wanted before its
 * TASKRUN can be seen, so that a look at TASKRUN is not enough: not there.
 */
#if defined(__x86_64__) || defined(__i386__)
#define TASK_WORK_DEFERRED IORING_SETUP_DEFER_TASKRUN
#else
#define TASK_WORK_DEFERRED IORING_SETUP_COOP_TASKRUN
#endif

static unsigned setup_flags(unsigned flags)
{
	unsigned setup = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CLAMP;

	setup |= flags & RING_DEFER ? TASK_WORK_DEFERRED
				    : IORING_SETUP_COOP_TASKRUN;
	if (flags & RING_WIDE)
		setup |= IORING_SETUP_SQE128;
	return setup;
}

/* The last fixed file is our mount namespace, see process_mounts(). */
static int make_files(struct ring *ring)
{
	int fds[RING_FILES + 1], i;

	for (i = 0; i < RING_FILES; i++)
		fds[i] = -1;
	fds[RING_FILES] = process_mounts();
	return io_uring_register_files(&ring->uring, fds, RING_FILES + 1);
}

/*
 * The size of the completion queue. One page holds 128 of them and what the kernel
 * keeps beside, so that a smaller queue saves nothing.
 */
static unsigned completions(unsigned entries, unsigned flags)
{
	return flags & RING_ONE_EACH && entries > 64 ? entries : 2 * entries;
}

struct ring *ring_create(unsigned entries, unsigned flags, int *error)
{
	struct io_uring_params params = {
		.flags = setup_flags(flags) | IORING_SETUP_CQSIZE,
		.cq_entries = completions(entries, flags)
	};
	struct ring *ring;

	ring = calloc(1, sizeof(*ring));
	if (!ring) {
		*error = -ENOMEM;
		return NULL;
	}
	ring->sqe_size = flags & RING_WIDE ? 128 : 64;
	ring->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ring->event_fd < 0) {
		*error = -errno;
		goto free_ring;
	}
	if (entries > RING_PREPARED)
		entries = RING_PREPARED;
	*error = io_uring_queue_init_params(entries, &ring->uring, &params);
	if (*error < 0)
		goto close_event;
	ring->sleep_flags = IORING_ENTER_GETEVENTS;
	if (params.features & IORING_FEAT_NO_IOWAIT)
		ring->sleep_flags |= IORING_ENTER_NO_IOWAIT;
	*error = io_uring_register_eventfd(&ring->uring, ring->event_fd);
	if (*error == 0)
		*error = make_files(ring);
	if (*error == 0)
		return ring;
	io_uring_queue_exit(&ring->uring);
close_event:
	close(ring->event_fd);
free_ring:
	free(ring);
	return NULL;
}

void ring_destroy(struct ring *ring)
{
	unsigned slot;

	if (!ring)
		return;
	/* Now: with the ring they would be let go a little later. */
	for (slot = 1; slot < RING_FILES; slot++)
		if (ring->files & 1u << slot)
			ring_set_file(ring, slot, -1);
	io_uring_queue_exit(&ring->uring);
	if (ring->table)
		munmap(ring->table, ring->intake_size);
	close(ring->event_fd);
	free(ring);
}

int ring_fd(const struct ring *ring)
{
	return ring->uring.ring_fd;
}

int ring_event_fd(const struct ring *ring)
{
	return ring->event_fd;
}

void ring_clear_event(struct ring *ring)
{
	eventfd_t count;

	/* EAGAIN only says that it was empty already. */
	(void)eventfd_read(ring->event_fd, &count);
}

void ring_raise_event(struct ring *ring)
{
	/* EAGAIN only says that it is readable already. */
	(void)eventfd_write(ring->event_fd, 1);
}

int ring_register_file(struct ring *ring, int fd)
{
	int count = io_uring_register_files_update(&ring->uring, 0, &fd, 1);

	return count < 0 ? count : 0;
}

int ring_set_file(struct ring *ring, unsigned slot, int fd)
{
	int count;

	if (slot >= RING_FILES)
		return -EINVAL;
	count = io_uring_register_files_update(&ring->uring, slot, &fd, 1);
	if (count < 0)
		return count;
	ring->files &= ~(1u << slot);
	if (fd >= 0)
		ring->files |= 1u << slot;
	return 0;
}

int ring_make_buffers(struct ring *ring, unsigned count)
{
	return io_uring_register_buffers_sparse(&ring->uring, count);
}

int ring_allow_workers(struct ring *ring, unsigned count)
{
	unsigned limits[2] = { count, 0 }; /* 0: leave it */

	return io_uring_register_iowq_max_workers(&ring->uring, limits);
}

/*
 * An SQE with nothing but its data, which liburing's functions that fill SQEs
 * leave alone; NULL if there is none even after a submit.
 */
static struct io_uring_sqe *next_sqe(struct ring *ring, uint64_t data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	if (!sqe && ring_submit(ring) == 0)
		sqe = io_uring_get_sqe(&ring->uring);
	if (sqe) {
		memset(sqe, 0, ring->sqe_size);
		sqe->user_data = data;
	}
	return sqe;
}

/*
 * In a worker from the beginning, for then the kernel copies the command at once.
 * One that turns out to block is read by Linux 6.12 where it lies in the ring when
 * a worker gets to it, and by then another one may lie there.
 */
int ring_put_command(struct ring *ring, int fd, uint32_t op,
		     const void *command, size_t size, uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_ASYNC;
	sqe->fd = fd;
	sqe->cmd_op = op;
	memcpy(sqe->cmd, command, size);
	return 0;
}

/* Apart, so that the hot path below need not save registers for it. */
static int __attribute__((noinline))
put_after_submit(struct ring *ring, uint32_t op, const void *command,
		 uint64_t address, uint64_t data)
{
	if (ring_submit(ring) < 0)
		return -EBUSY;
	return ring_put_addressed(ring, op, command, address, data);
}

int ring_put_addressed(struct ring *ring, uint32_t op, const void *command,
		       uint64_t address, uint64_t data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	if (!sqe)
		return put_after_submit(ring, op, command, address, data);
	*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_URING_CMD,
				      .flags = IOSQE_FIXED_FILE,
				      .cmd_op = op,
				      .addr = address,
				      .user_data = data };
	memcpy(sqe->cmd, command, 16);
	return 0;
}

int ring_put_immediate(struct ring *ring, uint32_t op, const void *command,
		       uint64_t address, int is_quiet, uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_FIXED_FILE;
	if (is_quiet)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	else
		ring->answers++;
	sqe->cmd_op = op;
	sqe->addr = address;
	memcpy(sqe->cmd, command, 16);
	return 0;
}

int ring_put_lasting(struct ring *ring, uint32_t op, const void *command,
		     uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->rw_flags = IORING_URING_CMD_MULTISHOT;
	sqe->cmd_op = op;
	memcpy(sqe->cmd, command, 16);
	return 0;
}

int ring_goes_on(const struct ring_event *event)
{
	return (event->flags & IORING_CQE_F_MORE) != 0;
}

/*
 * In a worker from the beginning: where the kernel has the names of the path at
 * hand it calls the file's own open here and now, and that of a disk, or of a
 * file of FUSE, may wait.
 */
int ring_put_open(struct ring *ring, const char *path, int flags, mode_t mode,
		  uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_openat(sqe, AT_FDCWD, path, flags, mode);
	sqe->flags |= IOSQE_ASYNC;
	return 0;
}

int ring_put_unlink(struct ring *ring, const char *path, uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_unlinkat(sqe, AT_FDCWD, path, 0);
	return 0;
}

/* Links end where a submit ends. */
static int has_room(struct ring *ring, unsigned count)
{
	if (io_uring_sq_space_left(&ring->uring) < count)
		ring_submit(ring);
	return io_uring_sq_space_left(&ring->uring) >= count;
}

/*
 * A worker that has closed a file lets go of it, which is what can take long,
 * after it has posted the completion; but before it goes on to what is linked
 * behind. Whether the close says that it has failed is no matter: it never has.
 */
int ring_put_close(struct ring *ring, int fd, uint64_t data)
{
	struct io_uring_sqe *sqe;

	if (!has_room(ring, 2))
		return -EBUSY;
	sqe = next_sqe(ring, 0);
	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_ASYNC | IOSQE_IO_HARDLINK;
	sqe = next_sqe(ring, data);
	io_uring_prep_nop(sqe);
	return 0;
}

int ring_put_write(struct ring *ring, int fd, const void *bytes, size_t size,
		   uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_write(sqe, fd, bytes, (unsigned)size, 0);
	return 0;
}

int ring_put_read(struct ring *ring, int fd, void *bytes, size_t size,
		  uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_read(sqe, fd, bytes, (unsigned)size, 0);
	return 0;
}

/* Addresses in a registered buffer begin at 0. */
static void use_buffer(struct io_uring_sqe *sqe,
		       const struct ring_transfer *transfer)
{
	sqe->opcode = transfer->op == RING_READ ? IORING_OP_READ_FIXED
						: IORING_OP_WRITE_FIXED;
	sqe->addr = transfer->at;
	sqe->buf_index = (uint16_t)(transfer->buffer - 1);
}

static void prepare(struct io_uring_sqe *sqe,
		    const struct ring_transfer *transfer, int fd)
{
	switch (transfer->op) {
	case RING_READ:
		io_uring_prep_read(sqe, fd, transfer->bytes,
				   (unsigned)transfer->length,
				   transfer->offset);
		break;
	case RING_WRITE:
		io_uring_prep_write(sqe, fd, transfer->bytes,
				    (unsigned)transfer->length,
				    transfer->offset);
		break;
	case RING_FDATASYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		return;
	case RING_FSYNC:
		io_uring_prep_fsync(sqe, fd, 0);
		return;
	case RING_FALLOCATE:
		io_uring_prep_fallocate(sqe, fd, transfer->flags,
					(off_t)transfer->offset,
					(off_t)transfer->length);
		return;
	}
	sqe->rw_flags = transfer->flags;
	if (transfer->buffer)
		use_buffer(sqe, transfer);
}

int ring_put_transfer(struct ring *ring, const struct ring_transfer *transfer,
		      uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);
	int is_fixed = transfer->fd < 0;

	if (!sqe)
		return -EBUSY;
	prepare(sqe, transfer, is_fixed ? (int)transfer->slot : transfer->fd);
	if (is_fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	if (transfer->wait)
		sqe->flags |= IOSQE_ASYNC;
	return 0;
}

int ring_put_send(struct ring *ring, int fd, const struct msghdr *message,
		  uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_sendmsg(sqe, fd, message, MSG_NOSIGNAL | MSG_WAITALL);
	return 0;
}

/* Most often nothing is there yet: it is not tried before that. */
int ring_put_receive(struct ring *ring, int fd, void *bytes, size_t size,
		     uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_recv(sqe, fd, bytes, size, 0);
	sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
	return 0;
}

int ring_put_cancel(struct ring *ring, uint64_t victim, uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_cancel64(sqe, victim, 0);
	return 0;
}

/* ---- the intake ---- */

/* The table and the halves are in the same pages; it has two entries. */
#define TABLE_SIZE (2 * sizeof(struct io_uring_buf))

static uint8_t *half_of(const struct ring *ring, unsigned which)
{
	return (uint8_t *)ring->table + TABLE_SIZE + (size_t)which * ring->half;
}

const void *ring_intake(const struct ring *ring)
{
	return half_of(ring, 0);
}

void ring_refill(struct ring *ring, unsigned which)
{
	/* Entry `which`: they are used in turn. */
	struct io_uring_buf *entry = &ring->table->bufs[which];

	/* Not all of it: the tail lies in the first one. */
	entry->addr = (uintptr_t)half_of(ring, which);
	entry->len = ring->half;
	entry->bid = (uint16_t)which;
	io_uring_smp_store_release(&ring->table->tail,
				   (uint16_t)(ring->table->tail + 1));
}

/* It keeps its place in the entry: what is left of the half, and 0 if nothing. */
uint32_t ring_intake_end(struct ring *ring, uint32_t at)
{
	unsigned which = at / ring->half;
	const struct io_uring_buf *entry = &ring->table->bufs[which];

	if (entry->len)
		return (uint32_t)(entry->addr - (uintptr_t)half_of(ring, 0));
	ring_refill(ring, which);
	return which ? 0 : ring->half;
}

static int register_intake(struct ring *ring)
{
	struct intake_setup setup = { .table = (uintptr_t)ring->table,
				      .entries = 2,
				      .flags = INTAKE_INCREMENTAL };

	return io_uring_register_buf_ring(&ring->uring,
					  (struct io_uring_buf_reg *)&setup, 0);
}

int ring_make_intake(struct ring *ring, uint32_t *half)
{
	void *memory;
	int error;

	ring->intake_size = page_round_up(TABLE_SIZE + 2 * (size_t)*half);
	memory = mmap(NULL, ring->intake_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	ring->table = memory;
	/* All that the pages have room for, in whole words. */
	ring->half = (uint32_t)((ring->intake_size - TABLE_SIZE) / 2) & ~7U;
	*half = ring->half;
	error = register_intake(ring);
	if (error)
		return error;
	ring_refill(ring, 0);
	ring_refill(ring, 1);
	return 0;
}

int ring_submit(struct ring *ring)
{
	int taken;

	ring->answers = 0;
	do {
		taken = io_uring_submit(&ring->uring);
	} while (taken == -EINTR);
	if (taken < 0)
		return taken;
	return io_uring_sq_ready(&ring->uring) ? -EAGAIN : 0;
}

int ring_wait(struct ring *ring, struct ring_event *event)
{
	struct io_uring_cqe *cqe;
	int error = ring_submit(ring);

	if (error)
		return error;
	do {
		error = io_uring_wait_cqe(&ring->uring, &cqe);
	} while (error == -EINTR);
	return error ? error : (int)ring_reap(ring, event, 1) - 1;
}

_Static_assert(sizeof(struct ring_event) == sizeof(struct io_uring_cqe) &&
		       offsetof(struct ring_event, result) ==
			       offsetof(struct io_uring_cqe, res),
	       "completions are looked at where the kernel has put them");

/* Task work that waits for us to enter the kernel, or completions that had no
 * room. */
static int has_work(const struct ring *ring)
{
	return (IO_URING_READ_ONCE(*ring->uring.sq.kflags) &
		(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Before an entry that runs it; see setup_flags(). */
static void forget_work(struct ring *ring)
{
	__atomic_fetch_and(ring->uring.sq.kflags, ~IORING_SQ_TASKRUN,
			   __ATOMIC_SEQ_CST);
}

unsigned ring_peek(struct ring *ring, const struct ring_event **events)
{
	struct io_uring_cq *cq = &ring->uring.cq;
	unsigned head = *cq->khead, at = head & cq->ring_mask, count;

	if (head == io_uring_smp_load_acquire(cq->ktail) && has_work(ring)) {
		forget_work(ring);
		io_uring_get_events(&ring->uring);
	}
	count = io_uring_smp_load_acquire(cq->ktail) - head;
	*events = (const struct ring_event *)&cq->cqes[at];
	return count < cq->ring_entries - at ? count : cq->ring_entries - at;
}

int ring_seen(struct ring *ring, unsigned count)
{
	struct io_uring_cq *cq = &ring->uring.cq;
	unsigned head = *cq->khead + count;

	io_uring_smp_store_release(cq->khead, head);
	return head != io_uring_smp_load_acquire(cq->ktail) || has_work(ring);
}

unsigned ring_reap(struct ring *ring, struct ring_event *events, unsigned max)
{
	const struct ring_event *from;
	unsigned count = 0, got;

	while (count < max && (got = ring_peek(ring, &from))) {
		if (got > max - count)
			got = max - count;
		memcpy(&events[count], from, got * sizeof(*events));
		ring_seen(ring, got);
		count += got;
	}
	return count;
}

int ring_has_events(const struct ring *ring)
{
	return io_uring_cq_ready(&ring->uring) || has_work(ring);
}

int ring_has_unsent(const struct ring *ring)
{
	return io_uring_sq_ready(&ring->uring) != 0;
}

int ring_look(struct ring *ring)
{
	int error = ring_submit(ring);

	/* By itself: an entry that does not take all does not look either. */
	forget_work(ring);
	io_uring_get_events(&ring->uring);
	return error;
}

/* ---- a ring that the thread sleeps in ---- */

/*
 * The queue was full, and the kernel had no memory to keep a completion in: who
 * waits for that would wait for ever. The next server begins anew.
 */
static void __attribute__((cold)) fail_dropped(void)
{
	log_error("the kernel had no memory for a completion: the server ends, "
		  "so that nothing waits for it");
	abort();
}

/*
 * What was put is made visible to the kernel as liburing's submit does it, which
 * cannot be told of flags before 2.10.
 */
void ring_sleep(struct ring *ring)
{
	struct io_uring_sq *sq = &ring->uring.sq;
	unsigned flags = ring->sleep_flags, least = 1 + ring->answers;

	for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++)
		if (sq->array)
			sq->array[sq->sqe_head & sq->ring_mask] = sq->sqe_head &
								  sq->ring_mask;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	if (ring->is_registered)
		flags |= IORING_ENTER_REGISTERED_RING;
	ring->answers = 0;
	/* EINTR and the like: the next call goes on from there. */
	if (io_uring_enter((unsigned)ring->uring.enter_ring_fd,
			   sq->sqe_tail - io_uring_smp_load_acquire(sq->khead),
			   least, flags, NULL) == -EBADR)
		fail_dropped();
}

int ring_can_stay(const struct ring *ring)
{
	return (ring->sleep_flags & IORING_ENTER_NO_IOWAIT) != 0;
}

void ring_signal(struct ring *ring, int is_on)
{
	io_uring_cq_eventfd_toggle(&ring->uring, is_on);
}

int ring_signal_by(struct ring *ring, int fd)
{
	io_uring_unregister_eventfd(&ring->uring);
	return io_uring_register_eventfd(&ring->uring, fd);
}

void ring_register_self(struct ring *ring)
{
	ring->is_registered = io_uring_register_ring_fd(&ring->uring) == 1;
}

void ring_unregister_self(struct ring *ring)
{
	if (ring->is_registered)
		io_uring_unregister_ring_fd(&ring->uring);
	ring->is_registered = 0;
}

int ring_put_poll(struct ring *ring, int fd, uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_add(sqe, fd, POLLIN);
	return 0;
}

int ring_put_timeout(struct ring *ring, unsigned ms, uint64_t data)
{
	struct io_uring_sqe *sqe = next_sqe(ring, data);

	if (!sqe)
		return -EBUSY;
	ring->timeout.tv_sec = ms / 1000;
	ring->timeout.tv_nsec = ms % 1000 * 1000000L;
	io_uring_prep_timeout(sqe, &ring->timeout, 0, 0);
	return 0;
}
