/*
 * io_uring, as this program uses it. Nothing else includes liburing.h.
 *
 * A ring signals a non-blocking eventfd for every completion, which a loop
 * watches. Requests are put into the ring by the ring_put_* functions and
 * reach the kernel together, with ring_submit().
 */
#ifndef UBLKD_RING_H
#define UBLKD_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ring;

/* A completion: what was given as data, and the kernel's result. */
struct ring_event {
	uint64_t data;
	int32_t result;
	uint32_t flags; /* the kernel's */
};

/*
 * A request that somebody put into a queue's ring: its address is the request's
 * data, and done is called with the kernel's result. Data below RING_OP_FIRST
 * are those of the queue and its target (request.h).
 */
struct ring_op {
	void (*done)(struct ring_op *op, int32_t result);
};

#define RING_OP_FIRST 65536u

/* With RING_WIDE, SQEs have 128 bytes, as ublk's control commands need. */
#define RING_WIDE 1u

/*
 * With RING_DEFER, completions wait as the kernel's task work until this thread
 * enters the kernel for them, where that is safe (see ring.c): cheaper, and what
 * ring_peek() and ring_look() do. The thread that creates such a ring is the one
 * that uses it.
 */
#define RING_DEFER 2u

/*
 * With RING_ONE_EACH, the completion queue has room for one completion of each of
 * the `entries` requests, and not for two. What exceeds that the kernel keeps for
 * the moment in memory of its own, as it does in any ring.
 */
#define RING_ONE_EACH 4u

#define RING_PREPARED 32 /* requests: 2 KiB, or 4 in a wide ring */

/*
 * A ring for `entries` requests at a time, with room for twice as many
 * completions, or as RING_ONE_EACH says. Those that are prepared go to the kernel RING_PREPARED at a
 * time, so that idle rings are small. Only the calling thread may use it. The
 * process's mount namespace does not end before the kernel has freed the ring.
 * Returns it, to be freed with ring_destroy(), or NULL with *error a negative
 * errno.
 */
struct ring *ring_create(unsigned entries, unsigned flags, int *error)
	__attribute__((cold));

/*
 * Free a ring. The kernel cancels what is still in flight, partly after this
 * returns: files and memory that requests use may be held a little longer.
 */
void ring_destroy(struct ring *ring);

/* The ring's own descriptor, for another process to hold. */
int ring_fd(const struct ring *ring);

/* Whether completions are there, or work of the kernel's that makes some. */
int ring_has_events(const struct ring *ring);

/*
 * Submit, and enter the kernel whether there was anything to submit or not, so
 * that what it has deferred is completed. Returns 0 or as ring_submit().
 */
int ring_look(struct ring *ring);

/* Whether something was put that no submit has handed to the kernel yet. */
int ring_has_unsent(const struct ring *ring);

/* ---- a ring that the thread sleeps in ---- */

/*
 * Hand everything that was put to the kernel, and sleep until there is a
 * completion, or a signal: one system call.
 */
void ring_sleep(struct ring *ring);

/*
 * Whether that sleep can last: it does not count as waiting for I/O, which
 * would look like a busy disk (IORING_FEAT_NO_IOWAIT, Linux 6.15).
 */
int ring_can_stay(const struct ring *ring);

/* Whether completions are signalled through the eventfd; they are at first. */
void ring_signal(struct ring *ring, int is_on);

/*
 * Signal through fd (not owned) in place of the eventfd that it was: its own, at
 * first. What completes meanwhile is not signalled. Returns 0 or a negative errno;
 * then nothing is signalled.
 */
int ring_signal_by(struct ring *ring, int fd);

/*
 * Save the kernel a look-up of the ring at each call. A task can do so with 16
 * rings; where it cannot, all works as before.
 */
void ring_register_self(struct ring *ring);
void ring_unregister_self(struct ring *ring);

/* Tell once when fd is readable; at once if it is. */
int ring_put_poll(struct ring *ring, int fd, uint64_t data);

/* Tell once in so many milliseconds. */
int ring_put_timeout(struct ring *ring, unsigned ms, uint64_t data);

/* ---- its eventfd ---- */

/* The eventfd; owned by the ring. */
int ring_event_fd(const struct ring *ring);

/* Empty the eventfd. To be called before ring_reap(), or a wake is lost. */
void ring_clear_event(struct ring *ring);

/* Make the eventfd readable, so that the loop comes back to this ring. */
void ring_raise_event(struct ring *ring);

/* Fixed files: 0 is a queue's char device, and the others are its target's. */
#define RING_FILE  1
#define RING_FILES 3

/*
 * Make fd the ring's fixed file 0. The ring holds its own reference, which
 * outlives the process until the last request of the ring has ended. Returns 0
 * or a negative errno.
 */
int ring_register_file(struct ring *ring, int fd);

/*
 * Put fd into a fixed file's slot; -1 empties it, and the file is let go once no
 * request uses it. Returns 0 or -errno.
 */
int ring_set_file(struct ring *ring, unsigned slot, int fd);

/*
 * Make a table of `count` buffers, which are registered later, by the driver.
 * Returns 0 or a negative errno.
 */
int ring_make_buffers(struct ring *ring, unsigned count);

/*
 * Let up to `count` requests of this task block in kernel workers at a time.
 * The default is the smaller of the ring's entries and 4 x CPUs; on 6.12
 * pending START_DEVs took all of those and starved the next ADD_DEV.
 */
int ring_allow_workers(struct ring *ring, unsigned count);

/*
 * A driver command on fd that may block: opcode op, with size bytes at command as
 * its argument (at most 16, or 80 in a wide ring). All ring_put_* functions return
 * 0, or -EBUSY if the ring is full even after a submit.
 */
int ring_put_command(struct ring *ring, int fd, uint32_t op,
		     const void *command, size_t size, uint64_t data);

/*
 * One of 16 bytes on fixed file 0, with the address of the request itself, or
 * 0; not in a wide ring.
 */
int ring_put_addressed(struct ring *ring, uint32_t op, const void *command,
		       uint64_t address, uint64_t data);

/*
 * The same for a command that the driver carries out within the submit, which
 * then does not end a ring_sleep() by its completion. With is_quiet there is a
 * completion only if it fails.
 */
int ring_put_immediate(struct ring *ring, uint32_t op, const void *command,
		       uint64_t address, int is_quiet, uint64_t data);

/*
 * A command that stays and completes again and again, each time with so many
 * more bytes in the ring's intake, as long as ring_goes_on(). A negative result
 * is its end: -ENOBUFS if the intake was full, or the ring itself.
 */
int ring_put_lasting(struct ring *ring, uint32_t op, const void *command,
		     uint64_t data);
int ring_goes_on(const struct ring_event *event);

/*
 * Give the ring an intake for that: two halves of at least `half` bytes, which
 * the kernel fills one after the other and again. Sets *half to what they have.
 * Returns 0 or a negative errno; Linux 6.12.
 */
int ring_make_intake(struct ring *ring, uint32_t *half) __attribute__((cold));

/* Both halves, one behind the other. */
const void *ring_intake(const struct ring *ring);

/* All that was in a half (0 or 1) has been read: it can be filled again. */
void ring_refill(struct ring *ring, unsigned which);

/*
 * A lasting command has ended, and all that it has told of up to `at` is read.
 * The kernel may have used more in vain: returns where it goes on.
 */
uint32_t ring_intake_end(struct ring *ring, uint32_t at);

/* open(2) of path, which must live until the completion. */
int ring_put_open(struct ring *ring, const char *path, int flags, mode_t mode,
		  uint64_t data);

/* unlink(2) of path, which must live until the completion. */
int ring_put_unlink(struct ring *ring, const char *path, uint64_t data);

/*
 * close(2), by a worker: it may wait for a disk or a server. The completion comes
 * once the file is free, what was locked with it as well; one with data 0 comes
 * before it. Its result says nothing.
 */
int ring_put_close(struct ring *ring, int fd, uint64_t data);

/* pwrite(2); the bytes must live until the completion. */
int ring_put_write(struct ring *ring, int fd, const void *bytes, size_t size,
		   uint64_t data);
int ring_put_read(struct ring *ring, int fd, void *bytes, size_t size,
		  uint64_t data);

enum ring_file_op {
	RING_READ,
	RING_WRITE,
	RING_FDATASYNC,
	RING_FSYNC, /* and its times */
	RING_FALLOCATE,
};

/* A request on a file: a fixed one, or any descriptor. */
struct ring_transfer {
	enum ring_file_op op;
	int fd; /* -1: the fixed file in slot */
	unsigned slot;
	int wait;	 /* go to a kernel worker at once: it will block */
	int flags;	 /* RWF_... of a transfer, the mode of an allocation */
	void *bytes;	 /* of a transfer; must live until the completion */
	unsigned buffer; /* 1 + the index of a registered one: bytes is NULL */
	uint32_t at;	 /* and where in it the transfer begins */
	uint64_t offset, length;
};

int ring_put_transfer(struct ring *ring, const struct ring_transfer *transfer,
		      uint64_t data);

/*
 * sendmsg(2) and recv(2) on a socket. The message is read by the next submit at
 * the latest; what it points to must live until the completion, as bytes must.
 * All of a message is sent if nothing goes wrong.
 */
struct msghdr;
int ring_put_send(struct ring *ring, int fd, const struct msghdr *message,
		  uint64_t data);
int ring_put_receive(struct ring *ring, int fd, void *bytes, size_t size,
		     uint64_t data);

/* Cancel the request whose data is `victim`. */
int ring_put_cancel(struct ring *ring, uint64_t victim, uint64_t data);

/*
 * Hand everything that was put to the kernel. Returns 0, or a negative errno;
 * then what was not taken is still in the ring and goes with the next call.
 */
int ring_submit(struct ring *ring);

/* Submit, and wait for one completion: at start-up only, it blocks. */
int ring_wait(struct ring *ring, struct ring_event *event);

/*
 * Look at completions where they are. Returns how many follow *events, not
 * always all that there are; 0: none. They stay until ring_seen() gives so many
 * places back to the kernel, which returns whether there are more.
 */
unsigned ring_peek(struct ring *ring, const struct ring_event **events);
int ring_seen(struct ring *ring, unsigned count);

/* Take up to max completions. Returns how many were there. */
unsigned ring_reap(struct ring *ring, struct ring_event *events, unsigned max);

#endif
