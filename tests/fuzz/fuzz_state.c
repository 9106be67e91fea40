/*
 * The state folder: a device's file with anything in it is read or left, and
 * what was read is written as what reads the same.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "keeper/state.h"
#include "../unit/support.h"

static struct state state;

struct copy {
	int count;
	struct state_device device;
	char words[MESSAGE_TEXT];
	struct held_file files[MESSAGE_MAX_FDS];
};

/* A disk that is as fast as memory. */
int __wrap_fsync(int fd)
{
	(void)fd;
	return 0;
}

static void take(void *context, struct state_device *device)
{
	struct copy *copy = context;

	copy->count++;
	copy->device = *device;
	snprintf(copy->words, sizeof(copy->words), "%s", device->words);
	memcpy(copy->files, device->files, sizeof(copy->files));
	copy->device.words = copy->words;
	copy->device.files = copy->files;
}

static void read_it(struct copy *copy)
{
	memset(copy, 0, sizeof(*copy));
	assert_int_equal(state_read_all(&state, take, copy), 0);
	assert_true(copy->count <= 1);
}

static void check_same(const struct copy *first, const struct copy *second)
{
	int i;

	assert_int_equal(second->count, 1);
	assert_int_equal(second->device.id, first->device.id);
	assert_int_equal(second->device.recoverable, first->device.recoverable);
	assert_int_equal(second->device.private, first->device.private);
	assert_int_equal(second->device.mark, first->device.mark);
	assert_true(second->device.tally == first->device.tally);
	assert_string_equal(second->words, first->words);
	assert_int_equal(second->device.file_count, first->device.file_count);
	for (i = 0; i < first->device.file_count; i++)
		assert_string_equal(second->files[i].path,
				    first->files[i].path);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct copy first, second;
	struct failure failure;
	char path[300];

	assert_int_equal(state_open(&state, test_path("state"), &failure), 0);
	snprintf(path, sizeof(path), "%s/3.dev", state.path);
	write_file(path, bytes, size);
	read_it(&first);
	if (first.count && state_write(&state, &first.device) == 0) {
		read_it(&second);
		check_same(&first, &second);
	}
	unlink(path);
	state_close(&state);
	log_forget();
	return 0;
}
