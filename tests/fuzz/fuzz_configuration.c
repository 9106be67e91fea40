/*
 * The configuration file: whatever is in it, reading it ends once, with a file
 * and a line where it fails; and what it has made can be deleted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/startup.h"
#include "fuzz.h"
#include "../unit/fake.h"

static unsigned endings;

static void on_done(struct command_host *host, const struct failure *failure)
{
	unsigned line;

	assert_ptr_equal(host, &fake_host);
	endings++;
	if (!failure)
		return;
	/* Of the file, or of one that it includes. */
	assert_int_equal(sscanf(failure->text, "%*[^:]:%u:", &line), 1);
	assert_true(line >= 1);
}

/* A line "shutdown" is answered last. */
static void on_empty(struct device_set *set)
{
	(void)set;
	if (fake_host.stopping)
		command_answer_leaving(&fake_host);
}

static void write_file(const uint8_t *bytes, size_t size)
{
	int fd = open(test_path("c"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		      0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	fake_start();
	fake.disk_error = -ENOENT; /* no file of this host is touched */
	fake_have_memory(1024);
	write_file(bytes, size);
	endings = 0;
	fake_host.devices.on_empty = on_empty;
	fake_host.config = test_path("c");
	startup_run(&fake_host, size % 2, on_done);
	fake_pass_time(1);
	on_empty(&fake_host.devices);
	assert_int_equal(endings, 1);
	device_delete_all(&fake_host.devices);
	fake_pass_time(1);
	assert_null(fake_host.devices.first);
	fake_stop();
	return 0;
}
