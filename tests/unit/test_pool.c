/* The pool of buffers: shared, bounded, and given back. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/pool.h"
#include "support.h"

static uint64_t has;	  /* of the pool's bytes */
static int no_pages;	  /* the errno of taking some */
static unsigned unmapped; /* bytes */

int __real_madvise(void *from, size_t length, int advice);

int __wrap_madvise(void *from, size_t length, int advice)
{
	if (!no_pages)
		return __real_madvise(from, length, advice);
	errno = no_pages;
	return -1;
}

int __real_munmap(void *from, size_t length);

int __wrap_munmap(void *from, size_t length)
{
	unmapped += (unsigned)length;
	return __real_munmap(from, length);
}

int before_each(void **state)
{
	no_pages = 0;
	unmapped = 0;
	has = 0;
	test_loop_open();
	memory_set_root("/nowhere"); /* as much as anybody wants */
	pool_open(test_loop);
	return 0;
}

int after_each(void **state)
{
	pool_close();
	assert_int_equal(pool_size(), 0);
	test_loop_close();
	return 0;
}

TEST_CASE(test_sizes)
{
	static const uint32_t sizes[] = { 1,	      512,	     4096,
					  4097,	      65536,	     65537,
					  POOL_PIECE, POOL_PIECE + 1 };
	static const uint32_t rooms[] = {
		4096, 4096, 4096, 8192, 65536, 131072, POOL_PIECE, POOL_PIECE
	};
	uint32_t room;
	unsigned i;

	for (i = 0; i < COUNT(sizes); i++) {
		void *buffer = pool_get(&has, sizes[i], &room);

		assert_non_null(buffer);
		assert_int_equal((uintptr_t)buffer % 4096, 0);
		assert_int_equal(room, rooms[i]);
		memset(buffer, 1, room);
		pool_put(&has, buffer, room);
	}
}

/* The same one again; and another while that is in use. */
TEST_CASE(test_same_buffer_again)
{
	uint32_t room;
	void *one = pool_get(&has, 4096, &room), *other;

	pool_put(&has, one, room);
	assert_ptr_equal(pool_get(&has, 4096, &room), one);
	other = pool_get(&has, 4096, &room);
	assert_ptr_not_equal(other, one);
	assert_int_equal(pool_size(), 8192);
	pool_put(&has, one, room);
	pool_put(&has, other, room);
}

/* Idle ones go, those in use and those that are needed again stay. */
TEST_CASE(test_given_back)
{
	uint32_t room;
	void *used = pool_get(&has, 65536, &room),
	     *often = pool_get(&has, 65536, &room);
	void *rarely = pool_get(&has, 65536, &room);
	int i;

	pool_put(&has, rarely, room);
	pool_put(&has, often, room);
	for (i = 0; i < 20; i++) {
		pass_time(POOL_PERIOD / 4);
		pool_put(&has, pool_get(&has, 65536, &room), room);
	}
	assert_int_equal(pool_size(), 2 * 65536);
	memset(used, 2, room);
	assert_int_equal(unmapped, 65536);
	pass_time(3 * POOL_PERIOD);
	assert_int_equal(pool_size(), 65536);
	assert_int_equal(unmapped, 2 * 65536);
	memset(used, 3, room);
	pool_put(&has, used, room);
	pass_time(3 * POOL_PERIOD);
	assert_int_equal(pool_size(), 0);
	/* Nothing wakes up any more. */
	assert_int_equal(ev_pending_count(test_loop), 0);
	assert_false(timer_is_set());
}

/* With what is idle; then nothing wakes up any more. */
TEST_CASE(test_close)
{
	uint32_t room;
	void *buffer = pool_get(&has, 8192, &room);

	pool_put(&has, buffer, room);
	settle();
	assert_true(timer_is_set());
	pool_close();
	assert_int_equal(unmapped, 8192);
	settle();
	assert_false(timer_is_set());
	pool_close();
}

/* One who takes what he can get, and gives it back. */
struct holder {
	uint64_t has;
	void *first; /* each has the next one in its first bytes */
	uint32_t room;
};

static void take_all(struct holder *holder, uint32_t size)
{
	void *buffer;

	while ((buffer = pool_get(&holder->has, size, &holder->room))) {
		memcpy(buffer, &holder->first, sizeof(holder->first));
		holder->first = buffer;
		assert_true(pool_size() <= POOL_MAX);
	}
}

static void give_all(struct holder *holder)
{
	void *buffer;

	while ((buffer = holder->first)) {
		memcpy(&holder->first, buffer, sizeof(holder->first));
		pool_put(&holder->has, buffer, holder->room);
	}
	assert_int_equal(holder->has, 0);
}

/* One alone can have half, and an idle one of another size makes room. */
TEST_CASE(test_limit)
{
	struct holder one = { 0 }, other = { 0 };

	take_all(&one, POOL_PIECE);
	assert_int_equal(one.has, POOL_MAX / 2);
	assert_int_equal(pool_size(), POOL_MAX / 2);
	take_all(&other, POOL_PIECE / 2);
	assert_int_equal(other.has, POOL_MAX / 4);
	give_all(&one);
	take_all(&one, 65536);
	assert_int_equal(one.has, POOL_MAX / 8 * 3);
	give_all(&one);
	take_all(&other, POOL_PIECE / 2);
	assert_int_equal(other.has, POOL_MAX / 2);
	give_all(&other);
}

/* Of the last bytes: nobody gets more than he leaves, and idle ones fit. */
TEST_CASE(test_last_bytes)
{
	struct holder one = { 0 }, other = { 0 };
	void *first;

	take_all(&one, POOL_PIECE);
	give_all(&one);
	take_all(&other, POOL_PIECE / 2);
	assert_int_equal(pool_size(), POOL_MAX);
	give_all(&other);
	first = pool_get(&other.has, POOL_PIECE, &other.room);
	take_all(&one, POOL_PIECE);
	assert_int_equal(one.has, POOL_MAX / 2 - POOL_PIECE);
	pool_put(&other.has, first, other.room);
	give_all(&one);
}

/* However many give nothing back: the next one has as much as the last one. */
TEST_CASE(test_many_who_keep)
{
	struct holder holders[6] = { { 0 } }, next = { 0 };
	uint64_t left = POOL_MAX;
	unsigned i;

	for (i = 0; i < COUNT(holders); i++) {
		take_all(&holders[i], POOL_PIECE);
		left -= holders[i].has;
		assert_int_equal(holders[i].has, left);
	}
	/* What comes back is there for all. */
	left += holders[0].has;
	give_all(&holders[0]);
	take_all(&next, POOL_PIECE);
	assert_int_equal(next.has, left / 2);
	take_all(&holders[5], POOL_PIECE);
	assert_true(holders[5].has > POOL_MAX >> 5);
	for (i = 0; i < COUNT(holders); i++)
		give_all(&holders[i]);
	give_all(&next);
}

TEST_CASE(test_reserve)
{
	uint8_t *bytes = pool_reserve(POOL_RESERVE, POOL_RESERVE);

	assert_non_null(bytes);
	bytes[POOL_RESERVE - 1] = 1;
	assert_int_equal(pool_size(), 0);
	pool_unreserve(bytes, POOL_RESERVE);
	pool_unreserve(NULL, POOL_RESERVE);
}

/* What cannot be touched is no buffer. */
TEST_CASE(test_no_pages)
{
	unsigned char here[16] = { 0 };
	uint32_t room;
	unsigned i;
	void *one;

	no_pages = ENOMEM;
	assert_null(pool_get(&has, 65536, &room));
	assert_null(pool_reserve(POOL_RESERVE, POOL_RESERVE));
	assert_int_equal(pool_size(), 0);
	assert_int_equal(has, 0);
	assert_int_equal(unmapped, 65536 + POOL_RESERVE);
	/* A kernel that cannot take them at once. */
	no_pages = EINVAL;
	one = pool_get(&has, 65536, &room);
	assert_non_null(one);
	pool_put(&has, one, room);
	pass_time(3 * POOL_PERIOD);
	no_pages = 0;
	one = pool_get(&has, 65536, &room);
	assert_non_null(one);
	assert_int_equal(pool_size(), 65536);
	/* An emulator may not know how. */
	if (memory_goes_back() && sysconf(_SC_PAGESIZE) == 4096 &&
	    mincore(one, room, here) == 0)
		for (i = 0; i < 16; i++)
			assert_true(here[i] & 1);
	pool_put(&has, one, room);
}

/*
 * Where the host has none to spare none is touched, for a buffer is asked for in the
 * midst of a request; one that is idle is to be had.
 */
TEST_CASE(test_no_memory)
{
	uint32_t room;
	void *one = pool_get(&has, 65536, &room);

	test_file("proc/meminfo",
		  "MemTotal: 1000000 kB\nMemAvailable: 70000 kB\n"
		  "Dirty: 0 kB\nWriteback: 0 kB\n");
	memory_set_root(test_folder());
	assert_null(pool_get(&has, 65536, &room));
	assert_int_equal(pool_size(), 65536);
	assert_int_equal(has, 65536);
	pool_put(&has, one, room);
	assert_ptr_equal(pool_get(&has, 65536, &room), one);
	pool_put(&has, one, room);
	test_file("proc/meminfo",
		  "MemTotal: 1000000 kB\nMemAvailable: 90000 kB\n"
		  "Dirty: 0 kB\nWriteback: 0 kB\n");
	memory_set_root(test_folder()); /* what was refused may be asked for */
	one = pool_get(&has, 131072, &room);
	assert_non_null(one);
	pool_put(&has, one, room);
	test_folder_remove();
}

int main(void)
{
	return tests_run();
}
