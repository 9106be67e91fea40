/*
 * ring-stress [-p | -n] SECONDS
 *
 * The server's loop and its rings (src/loop.c, src/ring.c) without a driver:
 * other threads post completions to the rings, alone and in bursts, with pauses
 * and without, and wait until the loop has taken what they posted. A wakeup is
 * lost when that does not come and the loop's thread sleeps.
 *
 *   -p   the loop sleeps in libev only
 *   -n   likewise, and it is naive: it does not look at its rings once more before
 *        it sleeps. A wakeup is lost then, which ends it, or this program sees none
 *
 * Completions are posted by IORING_OP_MSG_RING, which goes the way of the
 * driver's: as task work of the thread that owns the ring.
 *
 * Prints a line "posted=N turns=N lost=N". Exit status: 0 none was lost, 1 some
 * were, 2 it could not begin.
 */
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../src/io/loop.h"
#include "../../src/io/ring.h"

#define RINGS	  3
#define PRODUCERS 4
#define BURST	  48 /* PRODUCERS of them have room in a ring's completions */
#define ENTRIES	  128
#define BATCH	  16
#define TURN	  64
#define LOOK_US	  200
#define PATIENCE  1.0  /* s without progress, ... */
#define LOOKS	  1000 /* ... and so often seen asleep behind them */
#define PIECE	  0.1  /* s of a naive loop between looks for what is lost */

struct producer {
	pthread_t thread;
	unsigned number, random;
	struct io_uring ring; /* to post from */
	_Atomic unsigned long seen;
	unsigned long posted;
};

static struct loop_ring wakes[RINGS];
static struct producer producers[PRODUCERS];
static struct ev_loop *loop;
static struct loop_timer end_timer;
static unsigned pieces_left; /* of a naive loop's time */
static unsigned long turns;
static _Atomic unsigned long lost;
static _Atomic int stopped;
static long loop_thread;
static int is_naive;

static void die(const char *what, int error)
{
	fprintf(stderr, "ring-stress: %s: %s\n", what, strerror(-error));
	exit(2);
}

/* ---- the loop's thread: as a queue takes its completions ---- */

int __real_ring_has_events(const struct ring *ring);
int __wrap_ring_has_events(const struct ring *ring);
int __wrap_ring_has_events(const struct ring *ring)
{
	return !is_naive && __real_ring_has_events(ring);
}

static void take(const struct ring_event *event)
{
	struct ring_op *op = (struct ring_op *)(uintptr_t)event->data;

	if (event->data < PRODUCERS)
		atomic_fetch_add(&producers[event->data].seen, 1);
	else
		op->done(op, event->result);
}

static int on_turn(struct loop_ring *wake)
{
	const struct ring_event *events;
	unsigned got, count = 0, i;
	int more = 1;

	turns++;
	wake->taken = 0;
	while (more && count < TURN) {
		got = ring_peek(wake->ring, &events);
		if (got > BATCH)
			got = BATCH;
		for (i = 0; i < got; i++) {
			wake->taken += events[i].data < PRODUCERS;
			take(&events[i]);
		}
		count += got;
		more = got && ring_seen(wake->ring, got);
	}
	wake->more = more;
	return 0;
}

static void on_end(struct loop_timer *timer)
{
	if (pieces_left && !atomic_load(&lost)) {
		pieces_left--;
		loop_timer_start(loop, timer, PIECE);
		return;
	}
	loop_break(loop);
}

static void open_rings(void)
{
	int i, error;

	for (i = 0; i < RINGS; i++) {
		wakes[i].ring = ring_create(ENTRIES, RING_DEFER, &error);
		if (!wakes[i].ring)
			die("no ring", error);
		wakes[i].turn = on_turn;
		loop_ring_open(loop, &wakes[i]);
	}
}

/* ---- the others ---- */

static unsigned next_random(struct producer *producer)
{
	producer->random = producer->random * 1103515245 + 12345;
	return producer->random >> 8 & 0xffff;
}

static void submit(struct producer *producer)
{
	struct io_uring_cqe *cqe;

	io_uring_submit(&producer->ring);
	while (io_uring_peek_cqe(&producer->ring, &cqe) == 0) {
		if (cqe->res < 0)
			die("a ring takes no message", cqe->res);
		io_uring_cqe_seen(&producer->ring, cqe);
	}
}

/* In one system call or in several: the kernel's list is met at each length. */
static void post(struct producer *producer, const struct loop_ring *wake,
		 unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&producer->ring);

		io_uring_prep_msg_ring(sqe, ring_fd(wake->ring), 0,
				       producer->number, 0);
		if (next_random(producer) % 2)
			submit(producer);
	}
	submit(producer);
	producer->posted += count;
}

/* A thread that only waits for a CPU does not sleep. */
static int loop_sleeps(void)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", loop_thread);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(file);
	return state == 'S' || state == 'D';
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/*
 * Until all that was posted has been taken. A wakeup that is lost is given. On a
 * busy host a thread may stand still for longer than its patience, between any two
 * lines here; so one look at a loop that sleeps is no proof.
 */
static void wait_for_loop(struct producer *producer,
			  const struct loop_ring *wake)
{
	unsigned long before = 0, seen;
	double since = now();
	unsigned asleep = 0;

	while ((seen = atomic_load(&producer->seen)) != producer->posted &&
	       !atomic_load(&stopped)) {
		if (seen != before) {
			before = seen;
			since = now();
			asleep = 0;
		} else if (asleep < LOOKS) {
			asleep += now() - since > PATIENCE && loop_sleeps();
			usleep(LOOK_US);
		} else {
			atomic_fetch_add(&lost, 1);
			ring_raise_event(wake->ring);
			since = now();
			asleep = 0;
		}
	}
}

/*
 * For a while to one ring, so that the loop sleeps in that, then to another one;
 * together with the other threads, and alone.
 */
static void *produce(void *context)
{
	struct producer *producer = context;
	const struct loop_ring *wake = wakes;
	unsigned left = 0;

	while (!atomic_load(&stopped)) {
		if (left-- == 0) {
			left = next_random(producer) % 200;
			wake = &wakes[next_random(producer) % RINGS];
		}
		post(producer, wake,
		     next_random(producer) % 3
			     ? 1 + next_random(producer) % BURST
			     : 1);
		wait_for_loop(producer, wake);
		if (next_random(producer) % 4 == 0)
			usleep(next_random(producer) % 300);
		else if (next_random(producer) % 64 == 0)
			usleep(3000); /* longer than a ring stays hot */
	}
	return NULL;
}

static void start_producers(void)
{
	unsigned i;
	int error;

	for (i = 0; i < PRODUCERS; i++) {
		producers[i].number = i;
		producers[i].random = i * 7919 + 1;
		error = io_uring_queue_init(64, &producers[i].ring, 0);
		if (error)
			die("no ring to post from", error);
		error = pthread_create(&producers[i].thread, NULL, produce,
				       &producers[i]);
		if (error)
			die("no thread", -error);
	}
}

/* What they wait for is served no more: they see that they are stopped. */
static unsigned long stop_producers(void)
{
	unsigned long posted = 0;
	unsigned i;

	atomic_store(&stopped, 1);
	for (i = 0; i < PRODUCERS; i++) {
		pthread_join(producers[i].thread, NULL);
		posted += producers[i].posted;
	}
	return posted;
}

int main(int argc, char **argv)
{
	int is_plain, seconds;
	unsigned long posted;

	is_naive = argc > 1 && strcmp(argv[1], "-n") == 0;
	is_plain = is_naive || (argc > 1 && strcmp(argv[1], "-p") == 0);
	seconds = argc == 2 + is_plain ? atoi(argv[1 + is_plain]) : 0;
	if (seconds <= 0) {
		fprintf(stderr, "usage: ring-stress [-p | -n] SECONDS\n");
		return 2;
	}
	loop_thread = syscall(SYS_gettid);
	loop = loop_new(is_plain ? LOOP_PLAIN : 0);
	if (!loop)
		die("no loop", -ENOMEM);
	open_rings();
	loop_timer_init(&end_timer, on_end, NULL);
	pieces_left = is_naive ? (unsigned)(seconds / PIECE) : 0;
	loop_timer_start(loop, &end_timer, is_naive ? PIECE : seconds);
	start_producers();
	loop_run(loop);
	posted = stop_producers();
	printf("posted=%lu turns=%lu lost=%lu\n", posted, turns,
	       atomic_load(&lost));
	return atomic_load(&lost) != 0;
}
