/*
 * The table that a server gets: a device of an earlier one, made by any command,
 * with any features of the driver, holding anything. It is taken over or shown
 * as quiesced, and can be deleted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "admin/command.h"
#include "fuzz.h"
#include "../unit/fake.h"

static void adopt(struct fuzz_bytes *bytes, uint32_t id)
{
	static struct message message;
	struct failure failure = { .symbol = SYMBOL_INTERNAL };
	int fds[MESSAGE_MAX_FDS], count, i;
	size_t length;

	memset(&message, 0, sizeof(message));
	message.magic = MESSAGE_MAGIC;
	message.type = MESSAGE_DEVICE;
	message.id = id;
	message.info.dev_id = id;
	message.info.nr_hw_queues = 1 + fuzz_byte(bytes) % 8;
	message.info.queue_depth = (uint16_t)(1 + fuzz_byte(bytes) * 17);
	message.info.max_io_buf_bytes = (uint32_t)fuzz_byte(bytes) << 12;
	message.info.state = fuzz_byte(bytes) % 5;
	for (i = 0; i < 3; i++)
		message.info.flags = message.info.flags << 8 | fuzz_byte(bytes);
	count = fuzz_byte(bytes) % (MESSAGE_MAX_FDS + 1);
	length = (size_t)fuzz_byte(bytes) * 17;
	if (length > bytes->left)
		length = bytes->left;
	if (length > sizeof(message.text))
		length = sizeof(message.text);
	memcpy(message.text, bytes->at, length);
	bytes->at += length;
	bytes->left -= length;
	for (i = 0; i < count; i++) {
		fds[i] = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		assert_true(fds[i] >= 0);
		assert_int_equal(ftruncate(fds[i], 1 << 20), 0);
	}
	if (command_adopt(&fake_host, &message, fds, count, &failure) < 0)
		assert_true(failure.text[0] != '\0');
	for (i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]); /* not taken */
}

int LLVMFuzzerTestOneInput(const uint8_t *start, size_t size)
{
	struct fuzz_bytes bytes = { start, size };
	uint32_t id;

	fake_start();
	fake.disk_error = -ENOENT; /* no file of this host is touched */
	fake_have_memory(1024);
	for (id = 0; id < 4 && bytes.left; id++)
		adopt(&bytes, id);
	device_recover_all(&fake_host.devices);
	fake_serve();
	fake_pass_time(2);
	device_delete_all(&fake_host.devices);
	fake_pass_time(2);
	assert_null(fake_host.devices.first);
	fake_stop();
	return 0;
}
