/* The file of sight: who makes it, when it is kept, and how others read it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"
#include "base/sight.h"
#include "io/recorder.h"
#include "keeper/sight-file.h"

static char path[64];
static int folder;

int before_each(void **state)
{
	snprintf(path, sizeof(path), HOST_SHM "/test_sight_file.XXXXXX");
	if (!host_has_shm() || !mkdtemp(path))
		return 0;
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

int after_each(void **state)
{
	if (folder > 0) {
		unlinkat(folder, SIGHT_NAME, 0);
		close(folder);
		rmdir(path);
	}
	folder = 0;
	return 0;
}

static int make(void)
{
	const char *why;
	int fd = sight_file_make(folder, &why);

	assert_true(fd >= 0);
	assert_null(why);
	return fd;
}

static ino_t inode_of(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	return status.st_ino;
}

TEST_CASE(test_is_kept)
{
	int first, next;

	if (!folder)
		skip_without("files in " HOST_SHM);
	first = make();
	next = make();
	assert_int_equal(inode_of(first), inode_of(next));
	close(next);
	sight_file_remove(folder);
	next = make();
	assert_int_not_equal(inode_of(first), inode_of(next));
	close(first);
	close(next);
}

/* Of another version, cut off, or open to others: a server may still have it. */
TEST_CASE(test_is_replaced)
{
	int first, next, i;

	if (!folder)
		skip_without("files in " HOST_SHM);
	for (i = 0; i < 3; i++) {
		first = make();
		if (i == 0)
			assert_int_equal(pwrite(first, "x", 1, 8), 1);
		else if (i == 1)
			assert_int_equal(ftruncate(first, 10), 0);
		else
			assert_int_equal(fchmod(first, 0640), 0);
		next = make();
		assert_int_equal(fchmod(first, 0600), 0);
		assert_int_not_equal(inode_of(first), inode_of(next));
		close(first);
		close(next);
		sight_file_remove(folder);
	}
}

/* No tmpfs: memory without a name, which nobody can cut off. */
TEST_CASE(test_nameless)
{
	const char *why;
	int fd = sight_file_make(-1, &why);

	assert_true(fd >= 0);
	assert_string_equal(why, "the state folder is on no tmpfs");
	assert_int_equal(ftruncate(fd, 0), -1);
	close(fd);
}

TEST_CASE(test_readers)
{
	struct recorder *recorder;
	struct sight_file file;
	struct sight_small small;
	struct sight_large *large;
	struct sight_server server = { .phase = SIGHT_SUBMITS,
				       .since = 1000000 };
	char text[100];
	int fd;

	if (!folder)
		skip_without("files in " HOST_SHM);
	assert_int_equal(sight_file_open(&file, path), -ENOENT);
	fd = make();
	assert_int_equal(recorder_begin(fd, test_loop), 0);
	recorder = recorder_open(3, 1, 2, 4, "ram");
	assert_int_equal(sight_file_open(&file, path), 0);
	assert_int_equal(file.head.slots, 1);
	assert_int_equal(sight_file_small(&file, 0, &small), 0);
	assert_int_equal(small.used, 4);
	assert_string_equal(small.target, "ram");
	assert_null(sight_file_large(&file, 0, &small));
	/* That it says so is not believed. */
	small.is_large = 1;
	assert_null(sight_file_large(&file, 0, &small));
	assert_int_equal(fallocate(fd, 0, (off_t)sight_large_at(0),
				   (off_t)sight_large_size(2, 4)),
			 0);
	large = sight_file_large(&file, 0, &small);
	assert_non_null(large);
	assert_int_equal(large->tags[7].place, SIGHT_NOWHERE);
	free(large);
	assert_string_equal(sight_file_describe(&file, &server, 4250000, text,
						sizeof(text)),
			    "3.2 s in submit of target ram, device 3");
	/* The slot is that of what was done before. */
	server.phase = SIGHT_SLEEPS;
	assert_string_equal(sight_file_describe(&file, &server, 4250000, text,
						sizeof(text)),
			    "in sleep");
	recorder_forget(recorder);
	assert_int_equal(sight_file_small(&file, 0, &small), -ENOENT);
	server.phase = SIGHT_TURNS;
	assert_string_equal(sight_file_describe(&file, &server, 4250000, text,
						sizeof(text)),
			    "3.2 s in a queue's turn");
	sight_file_close(&file);
	recorder_end();
	assert_int_equal(pwrite(fd, "x", 1, 8), 1);
	assert_int_equal(sight_file_open(&file, path), -EPROTO);
	close(fd);
}

TEST_CASE(test_words)
{
	struct sight_small small = { .used = 4, .target = "file" };
	struct sight_server server = { .phase = SIGHT_SUBMITS,
				       .since = 1000000 };
	char text[100];
	unsigned i;

	assert_string_equal(sight_describe(&server, &small, 4250000, text,
					   sizeof(text)),
			    "3.2 s in submit of target file, device 3");
	server.since = 0;
	assert_string_equal(sight_describe(&server, NULL, 4250000, text,
					   sizeof(text)),
			    "in submit");
	server.since = 1000000;
	server.phase = SIGHT_SLEEPS;
	assert_string_equal(sight_describe(&server, NULL, 4250000, text,
					   sizeof(text)),
			    "in sleep");
	for (i = 0; i < SIGHT_PLACES; i++) {
		assert_non_null(sight_place_name((enum sight_place)i));
		assert_non_null(sight_place_text((enum sight_place)i));
	}
	for (i = 0; i < SIGHT_WHATS; i++)
		assert_non_null(sight_what_name((enum sight_what)i));
	for (i = 0; i < SIGHT_PHASES; i++)
		assert_non_null(sight_phase_name((enum sight_phase)i));
}

int main(void)
{
	return tests_run();
}
