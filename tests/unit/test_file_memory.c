/*
 * Files whose pages are memory: what is read, written and given back, also when
 * others change the file. The driver's copies are made by the kernel here as
 * well, into and out of a file that stands for the request: a page that is not to
 * be had is an errno to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"
#include "base/memory.h"
#include "support.h"
#include "target/target.h"

#define PAGE  ((size_t)4096)
#define BASE  (2 * PAGE)  /* of the device in the file */
#define PAGES 64u	  /* of the device */
#define MOST  (16 * PAGE) /* bytes of a request */

static struct target *target;
static int file;    /* a memfd, as somebody else has it */
static int request; /* its data */
static struct io_port port;
static struct io io;
static int answer;
static unsigned done;

static struct {
	unsigned puts, zeroes, takes;
	unsigned bad_puts; /* so many fail */
	int take_error;	   /* the next one fails */
	int memory_error;
} driver;

void __wrap_io_done(struct io *of, int error)
{
	assert_ptr_equal(of, &io);
	answer = error;
	done++;
}

int __wrap_io_take(struct io *of, void *to, uint32_t at, uint32_t length)
{
	assert_true(at + length <= of->length);
	driver.takes++;
	if (driver.take_error)
		return driver.take_error;
	return pread(request, to, length, at) == (ssize_t)length ? 0 : -EFAULT;
}

int __wrap_io_put(struct io *of, const void *from, uint32_t at, uint32_t length)
{
	assert_true(at + length <= of->length);
	driver.puts++;
	if (driver.bad_puts) {
		driver.bad_puts--;
		return -EFAULT;
	}
	return pwrite(request, from, length, at) == (ssize_t)length ? 0
								    : -EFAULT;
}

int __wrap_io_put_zeroes(struct io *of, uint32_t at, uint32_t length)
{
	static const char zeroes[MOST];

	assert_true(at + length <= of->length);
	driver.zeroes++;
	assert_int_equal(pwrite(request, zeroes, length, at), length);
	return 0;
}

int __wrap_memory_take(uint64_t bytes, uint64_t reserve)
{
	return driver.memory_error;
}

/* ---- the target ---- */

static void open_target(void)
{
	static struct option_value values[OPTION_MAX];
	struct failure failure = { .symbol = SYMBOL_NONE };
	struct geometry geometry = { .block_size = 512 };
	int fd = fcntl(file, F_DUPFD_CLOEXEC, 0);
	struct target_args args = { .values = values,
				    .fds = &fd,
				    .fd_count = 1,
				    .mode = IO_MODES,
				    .max_io = MOST };

	test_values(target_file.options, values, "path=/disk offset=8K");
	target = target_file.open(&args, &geometry, &failure);
	assert_non_null(target);
	assert_int_equal(geometry.size, PAGES * PAGE);
	assert_false(geometry.volatile_cache);
}

int before_each(void **state)
{
	assert_int_equal(io_initialise(), 0);
	memset(&driver, 0, sizeof(driver));
	memset(&port, 0, sizeof(port));
	file = memfd_create("file", MFD_CLOEXEC);
	request = memfd_create("request", MFD_CLOEXEC);
	assert_int_equal(ftruncate(file, BASE + PAGES * PAGE), 0);
	open_target();
	return 0;
}

int after_each(void **state)
{
	int fd;

	assert_int_equal(target_file.give_up(target, &fd), 1);
	close(fd);
	target_file.close(target);
	close(file);
	close(request);
	return 0;
}

/* A request of so many pages; returns its answer. */
static int submit(uint8_t op, unsigned page, unsigned pages, uint8_t flags)
{
	memset(&io, 0xa5, sizeof(io));
	io.port = &port;
	io.op = op;
	io.flags = flags;
	io.offset = (uint64_t)page * PAGE;
	io.length = (uint32_t)(pages * PAGE);
	io.data = IO_DATA_HERE;
	done = 0;
	driver.puts = driver.zeroes = driver.takes = 0;
	target_file.io.submit(&target->backend, &io);
	assert_int_equal(done, 1);
	return answer;
}

/* ---- what is where ---- */

/* In pages, a letter each: that is what the page is full of, '.' being zero. */
static void fill_pages(int fd, size_t at, const char *pages)
{
	char bytes[PAGE];

	for (; *pages; pages++, at += PAGE) {
		memset(bytes, *pages == '.' ? 0 : *pages, PAGE);
		assert_int_equal(pwrite(fd, bytes, PAGE, (off_t)at), PAGE);
	}
}

static void expect_pages(int fd, size_t at, const char *pages)
{
	char bytes[PAGE];
	size_t i;

	for (; *pages; pages++, at += PAGE) {
		assert_int_equal(pread(fd, bytes, PAGE, (off_t)at), PAGE);
		for (i = 0; i < PAGE; i++)
			assert_int_equal(bytes[i], *pages == '.' ? 0 : *pages);
	}
}

/* Of the file, as everybody sees it; page 0 is the device's. */
static void expect_file(unsigned page, const char *pages)
{
	expect_pages(file, BASE + page * PAGE, pages);
}

static void fill_file(unsigned page, const char *pages)
{
	fill_pages(file, BASE + page * PAGE, pages);
}

static unsigned pages_of_file(void)
{
	struct stat status;

	assert_int_equal(fstat(file, &status), 0);
	return (unsigned)(status.st_blocks * 512 / PAGE);
}

static void cut_file(unsigned pages)
{
	assert_int_equal(ftruncate(file, (off_t)(BASE + pages * PAGE)), 0);
}

static void punch_file(unsigned page, unsigned pages)
{
	assert_int_equal(
		fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(BASE + page * PAGE), (off_t)(pages * PAGE)),
		0);
}

static void write_pages(unsigned page, const char *pages)
{
	fill_pages(request, 0, pages);
	assert_int_equal(submit(IO_WRITE, page, (unsigned)strlen(pages), 0), 0);
}

static void expect_read(unsigned page, const char *pages)
{
	fill_pages(request, 0, "????????????????");
	assert_int_equal(submit(IO_READ, page, (unsigned)strlen(pages), 0), 0);
	expect_pages(request, 0, pages);
}

/* ---- reads and writes ---- */

TEST_CASE(test_write_and_read)
{
	write_pages(3, "aa");
	write_pages(PAGES - 1, "z");
	expect_file(3, "aa");
	expect_file(PAGES - 1, "z");
	expect_read(3, "aa");
	assert_int_equal(driver.zeroes, 0);
	expect_read(PAGES - 1, "z");
	/* Nothing around it, and nothing before the device's beginning. */
	assert_int_equal(pages_of_file(), 3);
	assert_int_equal(submit(IO_FLUSH, 0, 0, 0), 0);
}

/* A hole is answered with zeroes, and stays one. */
TEST_CASE(test_read_hole)
{
	expect_read(8, "....");
	assert_int_equal(driver.zeroes, 1);
	assert_int_equal(driver.puts, 0);
	assert_int_equal(pages_of_file(), 0);
}

TEST_CASE(test_read_over_holes)
{
	write_pages(1, "b");
	write_pages(4, "ee");
	expect_read(0, ".b..ee..");
	assert_int_equal(pages_of_file(), 3);
}

/* What others fill, or make a hole of, is as they made it. */
TEST_CASE(test_others_change)
{
	expect_read(0, "....");
	fill_file(1, "oo");
	expect_read(0, ".oo.");
	punch_file(1, 2);
	expect_read(0, "....");
}

/* What others have filled around it stays theirs. */
TEST_CASE(test_write_a_part_of_a_page)
{
	char bytes[PAGE];

	fill_file(9, "p");
	fill_pages(request, 0, "q");
	memset(&io, 0, sizeof(io));
	io.port = &port;
	io.op = IO_WRITE;
	io.offset = 9 * PAGE + 512;
	io.length = 512;
	target_file.io.submit(&target->backend, &io);
	assert_int_equal(answer, 0);
	expect_pages(request, 0, "q");
	assert_int_equal(submit(IO_READ, 9, 1, 0), 0);
	assert_int_equal(pread(request, bytes, PAGE, 0), PAGE);
	assert_int_equal(bytes[511], 'p');
	assert_int_equal(bytes[512], 'q');
	assert_int_equal(bytes[1023], 'q');
	assert_int_equal(bytes[1024], 'p');
}

/* What the driver cannot copy is read, piece by piece. */
TEST_CASE(test_read_aside)
{
	write_pages(0, "aaaaabbbbb");
	driver.bad_puts = 1;
	expect_read(0, "aaaaabbbbb..");
	/* From the middle of a request on. */
	assert_int_equal(submit(IO_DISCARD, 0, 2, 0), 0);
	driver.bad_puts = 1;
	expect_read(0, "..aaabbbbb..");
	/* A request that cannot be copied into at all is an error. */
	driver.bad_puts = 1000;
	assert_int_equal(submit(IO_READ, 0, 12, 0), -EFAULT);
	driver.bad_puts = 0;
}

/* ---- a file that is cut short ---- */

TEST_CASE(test_read_beyond_the_end)
{
	write_pages(0, "aaaaaaaaaaaa");
	cut_file(8);
	expect_read(4, "aaaa");
	assert_int_equal(submit(IO_READ, 8, 1, 0), -EIO);
	assert_int_equal(submit(IO_READ, 6, 4, 0), -EIO);
	/* Of a hole as well. */
	assert_int_equal(submit(IO_READ, 20, 1, 0), -EIO);
	punch_file(4, 4);
	expect_read(4, "....");
	cut_file(7);
	assert_int_equal(submit(IO_READ, 7, 1, 0), -EIO);
	/* It comes back. */
	cut_file(PAGES);
	expect_read(8, "....");
}

TEST_CASE(test_write_beyond_the_end)
{
	cut_file(8);
	fill_pages(request, 0, "wwww");
	assert_int_equal(submit(IO_WRITE, 8, 1, 0), -EIO);
	assert_int_equal(submit(IO_WRITE, 6, 4, 0), -EIO);
	write_pages(6, "ww");
	/* It is not made longer, and nothing counts as there. */
	cut_file(PAGES);
	expect_read(8, "..");
	assert_true(driver.zeroes > 0);
}

TEST_CASE(test_zero_beyond_the_end)
{
	cut_file(8);
	assert_int_equal(submit(IO_DISCARD, 7, 2, 0), -EIO);
	assert_int_equal(submit(IO_WRITE_ZEROES, 8, 1, 0), -EIO);
	assert_int_equal(submit(IO_WRITE_ZEROES, 8, 1, IO_KEEP_SPACE), -EIO);
	assert_int_equal(submit(IO_DISCARD, 6, 2, 0), 0);
	assert_int_equal(submit(IO_WRITE_ZEROES, 6, 2, IO_KEEP_SPACE), 0);
}

/* ---- a device that shrinks ---- */

TEST_CASE(test_beyond_a_shrunk_device)
{
	static const uint8_t ops[] = { IO_READ, IO_WRITE, IO_DISCARD,
				       IO_WRITE_ZEROES };
	struct failure failure;
	unsigned i;

	write_pages(4, "aaaaaaaa");
	assert_int_equal(target_file.resize(target, 8 * PAGE, &failure), 0);
	fill_pages(request, 0, "ww");
	for (i = 0; i < COUNT(ops); i++) {
		assert_int_equal(submit(ops[i], 8, 1, 0), -EIO);
		assert_int_equal(submit(ops[i], 7, 2, 0), -EIO);
	}
	assert_int_equal(driver.puts + driver.zeroes + driver.takes, 0);
	/* What lies there is somebody else's, and stays. */
	expect_file(4, "aaaaaaaa");
	expect_read(4, "aaaa");
	assert_int_equal(submit(IO_FLUSH, PAGES, 0, 0), 0);
}

/* ---- no memory ---- */

TEST_CASE(test_full)
{
	fill_pages(request, 0, "w");
	/* The host's is short: the mapping is not even touched. */
	driver.memory_error = -ENOSPC;
	assert_int_equal(submit(IO_WRITE, 0, 1, 0), -ENOSPC);
	assert_int_equal(driver.takes, 0);
	driver.memory_error = 0;
	/* The file system's is: the copy fails, and nothing counts as there. */
	driver.take_error = -EFAULT;
	assert_int_equal(submit(IO_WRITE, 0, 1, 0), -ENOSPC);
	driver.take_error = -EIO;
	assert_int_equal(submit(IO_WRITE, 0, 1, 0), -EIO);
	driver.take_error = 0;
	expect_read(0, ".");
	assert_int_equal(driver.zeroes, 1);
	/* What is there needs no more. */
	write_pages(0, "w");
	driver.memory_error = -ENOSPC;
	write_pages(0, "x");
	expect_file(0, "x");
}

/* ---- giving back ---- */

TEST_CASE(test_discard)
{
	write_pages(0, "aaaaaaaa");
	assert_int_equal(submit(IO_DISCARD, 2, 3, 0), 0);
	assert_int_equal(pages_of_file(), 5);
	expect_file(1, "a...aaa");
	/* It is known as a hole. */
	expect_read(2, "...");
	assert_int_equal(driver.puts, 0);
	assert_int_equal(pages_of_file(), 5);
	/* A discard gives back whatever its flags say. */
	assert_int_equal(submit(IO_DISCARD, 5, 1, IO_KEEP_SPACE), 0);
	assert_int_equal(pages_of_file(), 4);
}

TEST_CASE(test_write_zeroes)
{
	write_pages(0, "aaaaaaaa");
	assert_int_equal(submit(IO_WRITE_ZEROES, 0, 2, IO_KEEP_SPACE), 0);
	assert_int_equal(pages_of_file(), 8);
	expect_file(0, "..aaaaaa");
	assert_int_equal(submit(IO_WRITE_ZEROES, 2, 2, 0), 0);
	assert_int_equal(pages_of_file(), 6);
	expect_file(0, "....aaaa");
	/* Holes need no space to be zero; what others have filled is zeroed. */
	fill_file(11, "o");
	assert_int_equal(submit(IO_WRITE_ZEROES, 10, 4, IO_KEEP_SPACE), 0);
	expect_file(10, "....");
	assert_int_equal(pages_of_file(), 7);
}

int main(void)
{
	return tests_run();
}
