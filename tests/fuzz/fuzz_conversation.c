/*
 * A client of the admin socket who says anything: what comes back are lines of
 * the protocol, and whatever the client has made can be deleted.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/admin.h"
#include "fuzz.h"
#include "../unit/fake.h"

#define OUTPUT_MAX (1u << 20)

/* The first byte of the input. */
#define BY_BYTES   1u /* each byte comes alone */
#define HALF_CLOSE 2u
#define IS_USER	   4u /* not root */
#define DENIED	   8u /* the keeper says no, to what the second byte names */

static uid_t uid;

int __real_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length);

int __wrap_getsockopt(int fd, int level, int name, void *value,
		      socklen_t *length)
{
	if (level != SOL_SOCKET || name != SO_PEERCRED)
		return __real_getsockopt(fd, level, name, value, length);
	*(struct ucred *)value = (struct ucred){ getpid(), uid, 0 };
	return 0;
}

static void on_empty(struct device_set *set)
{
	(void)set;
	if (fake_host.stopping)
		command_answer_leaving(&fake_host);
}

/* ---- the client ---- */

static char output[OUTPUT_MAX];
static size_t heard;

static void hear(int fd)
{
	ssize_t n;

	while (heard < sizeof(output) &&
	       (n = recv(fd, output + heard, sizeof(output) - heard,
			 MSG_DONTWAIT)) > 0)
		heard += (size_t)n;
}

/* Whoever has closed the connection hears no more. */
static void say(int fd, const uint8_t *bytes, size_t size, size_t at_once)
{
	unsigned idle = 0;

	while (size && idle < 100) {
		ssize_t n = send(fd, bytes, size < at_once ? size : at_once,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			bytes += n;
			size -= (size_t)n;
		}
		idle = n > 0 ? 0 : idle + 1;
		fake_serve();
		hear(fd);
	}
}

static void check_line(const char *line, size_t length)
{
	static const char *const frames[] = { "HELLO", "OK", "ERR", "WAIT",
					      "EVENT" };
	size_t i, word = 0;

	assert_true(syntax_is_utf8(line, length));
	for (i = 0; i < length; i++)
		assert_false(iscntrl((unsigned char)line[i]));
	/* Metrics are in a format of their own, and so is JSON. */
	if (length && (line[0] == '#' || line[0] == '{'))
		return;
	while (word < length && line[word] != ' ')
		word++;
	assert_true(word > 0);
	if (!isupper((unsigned char)line[0]))
		return;
	for (i = 0; i < COUNT(frames); i++)
		if (strlen(frames[i]) == word &&
		    memcmp(frames[i], line, word) == 0)
			return;
	fail_msg("no frame: %.*s", (int)length, line);
}

static void check_output(void)
{
	const char *at = output, *end = output + heard, *stop;

	assert_true(heard >= 6 && memcmp(output, "HELLO ", 6) == 0);
	while ((stop = memchr(at, '\n', (size_t)(end - at)))) {
		check_line(at, (size_t)(stop - at));
		at = stop + 1;
	}
}

static int connect_to(int listener)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(
		getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
	return fd;
}

static int listen_somewhere(void)
{
	sa_family_t family = AF_UNIX;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&family, sizeof(family)),
			 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void talk(struct fuzz_bytes bytes)
{
	uint8_t how = fuzz_byte(&bytes), denied = fuzz_byte(&bytes);
	int listener = listen_somewhere(), fd;
	struct admin *admin = admin_open(test_loop, listener, -1, &fake_host);

	assert_non_null(admin);
	uid = how & IS_USER ? 1000 : 0;
	if (how & DENIED)
		fake.result[denied % FAKE_TYPES] = -EBUSY;
	fd = connect_to(listener);
	fake_serve();
	say(fd, bytes.at, bytes.left, how & BY_BYTES ? 1 : bytes.left);
	if (how & HALF_CLOSE)
		shutdown(fd, SHUT_WR);
	fake_pass_time(0.5);
	hear(fd);
	check_output();
	close(fd);
	fake_serve();
	admin_close(admin);
	close(listener);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	fake_start();
	fake.disk_error = -ENOENT; /* no file of this host is touched */
	fake_host.devices.on_empty = on_empty;
	fake_have_memory(1024);
	heard = 0;
	talk((struct fuzz_bytes){ bytes, size });
	memset(fake.result, 0, sizeof(fake.result));
	device_delete_all(&fake_host.devices);
	fake_pass_time(1);
	assert_null(fake_host.devices.first);
	fake_stop();
	return 0;
}
