#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "admin/check.h"
#include "admin/records.h"
#include "admin/save.h"
#include "base/config.h"
#include "base/memory.h"
#include "target/ask.h"
#include "device/device.h"
#include "io/late.h"
#include "io/queue.h"

#define HELD_MAX   64
#define QUEUES_MAX 256

struct fake fake;
struct command_host fake_host;

static struct channel channel;
static int other = -1; /* the keeper's end */
static struct message held[HELD_MAX];
static unsigned held_count;
static struct queue *queues[QUEUES_MAX]; /* that are open */
static unsigned queue_count;
static int device_fds[64];
static unsigned device_fd_count;

/* ---- the trace ---- */

static char trace[1 << 14];

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *format, ...)
{
	size_t at = strlen(trace);
	va_list args;

	if (at + 32 > sizeof(trace))
		return;
	if (at)
		trace[at++] = ' ';
	va_start(args, format);
	vsnprintf(trace + at, sizeof(trace) - at, format, args);
	va_end(args);
}

const char *fake_trace(void)
{
	return trace;
}

void fake_forget(void)
{
	trace[0] = '\0';
}

void fake_expect(const char *expected)
{
	assert_string_equal(trace, expected);
	fake_forget();
}

static const char *type_name(uint32_t type)
{
	static const char *const names[FAKE_TYPES] = {
		[MESSAGE_FEATURES] = "FEATURES",
		[MESSAGE_ADD] = "ADD",
		[MESSAGE_PARAMS] = "PARAMS",
		[MESSAGE_NOTE] = "NOTE",
		[MESSAGE_RECOVER] = "RECOVER",
		[MESSAGE_END_RECOVER] = "END_RECOVER",
		[MESSAGE_START] = "START",
		[MESSAGE_TIMEOUT] = "TIMEOUT",
		[MESSAGE_BUSY] = "BUSY",
		[MESSAGE_TRY_STOP] = "TRY_STOP",
		[MESSAGE_STOP] = "STOP",
		[MESSAGE_DELETE] = "DELETE",
		[MESSAGE_CANCEL] = "CANCEL",
		[MESSAGE_SHUTDOWN] = "SHUTDOWN",
		[MESSAGE_RESIZE] = "RESIZE",
		[MESSAGE_RING] = "RING",
		[MESSAGE_TALLY] = "TALLY",
		[MESSAGE_ASK] = "ASK",
		[MESSAGE_OWNER] = "OWNER",
		[MESSAGE_QUIESCE] = "QUIESCE",
	};

	assert_true(type < FAKE_TYPES);
	return names[type] ? names[type] : "?";
}

int __real_channel_send(struct channel *at, const struct message *message,
			const int *fds, int fd_count);

int __wrap_channel_send(struct channel *at, const struct message *message,
			const int *fds, int fd_count)
{
	if (at->fd >= 0)
		note("%s", type_name(message->type));
	if (fake.unsendable && message->type == (uint32_t)fake.unsendable) {
		if (fake.sendable == 0)
			return -ENOMEM;
		fake.sendable--;
	}
	return __real_channel_send(at, message, fds, fd_count);
}

/* ---- the driver ---- */

int __real_open(const char *path, int flags, ...);
FILE *__real_fopen(const char *path, const char *mode);
int __real_close(int fd);
int __real_lstat(const char *path, struct stat *status);

static int open_device(void)
{
	int fd;

	fake.opens++;
	if (fake.open_failures) {
		fake.open_failures--;
		errno = fake.open_error;
		return -1;
	}
	note("open");
	fd = __real_open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && device_fd_count < COUNT(device_fds));
	device_fds[device_fd_count++] = fd;
	return fd;
}

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	if (strncmp(path, "/dev/ublkc", 10) == 0) {
		assert_true(flags & O_CLOEXEC);
		return open_device();
	}
	if (flags & O_CREAT) {
		va_start(args, flags);
		mode = (mode_t)va_arg(args, int);
		va_end(args);
	}
	return __real_open(path, flags, mode);
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags | O_LARGEFILE, 0600);
}

int __wrap_close(int fd)
{
	unsigned i;

	for (i = 0; i < device_fd_count; i++) {
		if (device_fds[i] != fd)
			continue;
		note("close");
		device_fds[i] = device_fds[--device_fd_count];
		break;
	}
	return __real_close(fd);
}

/* The size of a disk, as sysfs has it. */
FILE *__wrap_fopen(const char *path, const char *mode)
{
	static char text[32];

	if (strncmp(path, "/sys/class/", 11) == 0 && fake.node_number)
		return fmemopen((void *)fake.node_number,
				strlen(fake.node_number), "r");
	if (strncmp(path, "/sys/block/ublkb", 16) != 0)
		return __real_fopen(path, mode);
	if (!fake.disk_size) {
		errno = ENOENT;
		return NULL;
	}
	snprintf(text, sizeof(text), "%llu\n",
		 (unsigned long long)fake.disk_size / 512);
	return fmemopen(text, strlen(text), "r");
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	return __wrap_fopen(path, mode);
}

/* Only nodes in /dev are faked; the others are what they are. */
int __wrap_lstat(const char *path, struct stat *status)
{
	if (strncmp(path, "/dev/ublk", 9) != 0)
		return __real_lstat(path, status);
	memset(status, 0, sizeof(*status));
	if (fake.in_the_way && strstr(path, fake.in_the_way)) {
		status->st_mode = fake.way_mode;
		status->st_rdev = makedev(8, 1);
		return 0;
	}
	if (path[9] == 'c') {
		status->st_mode = S_IFCHR | 0600;
		return 0;
	}
	status->st_mode = S_IFBLK | 0660;
	/* Those that are there before a START are another device's. */
	if (fake.count[MESSAGE_START] && fake.looks++ >= fake.node_after)
		return 0;
	errno = ENOENT;
	return -1;
}

int __wrap_lstat64(const char *path, struct stat *status)
{
	return __wrap_lstat(path, status);
}

int __wrap_queue_open(struct queue *queue, uint16_t id,
		      const struct queue_shape *shape, struct backend *bottom,
		      queue_event *event, void *owner)
{
	memset(queue, 0, sizeof(*queue));
	if (fake.queue_error && id == fake.queue_fails) {
		note("q%u!", id);
		return fake.queue_error;
	}
	note("q%u+", id);
	fake.batch = shape->batch;
	fake.defer = shape->defer;
	queue->port.queue_id = id;
	queue->port.mode = (uint8_t)shape->mode;
	queue->depth = queue->retired = shape->depth;
	queue->top = bottom;
	queue->event = event;
	queue->owner = owner;
	assert_true(queue_count < QUEUES_MAX);
	queues[queue_count++] = queue;
	return 0;
}

int __wrap_queue_start(struct queue *queue, struct ev_loop *loop, int fd)
{
	assert_ptr_equal(loop, test_loop);
	if (fake.start_error) {
		note("q%u?", queue->port.queue_id);
		return fake.start_error;
	}
	queue->port.fd = fd;
	queue->retired = 0;
	return 0;
}

void __wrap_queue_close(struct queue *queue)
{
	unsigned i;

	note("q%u-", queue->port.queue_id);
	for (i = 0; i < queue_count && queues[i] != queue; i++)
		;
	assert_true(i < queue_count);
	queues[i] = queues[--queue_count];
	late_close(&queue->port);
	memset(queue, 0, sizeof(*queue));
}

int __wrap_queue_ring_fd(const struct queue *queue)
{
	return FAKE_RING + queue->port.queue_id;
}

static struct queue *queue_of(uint32_t id, unsigned from)
{
	unsigned i;

	for (i = from; i < queue_count; i++) {
		const struct device *device = queues[i]->owner;

		if (device->spec.id == id)
			return queues[i];
	}
	return NULL;
}

/* A queue's event may close all of them, so look anew after each. */
void fake_retire(uint32_t id)
{
	unsigned i;

	for (i = 0; i < queue_count; i++) {
		struct device *device = queues[i]->owner;

		if (device->spec.id != id || queue_is_retired(queues[i]))
			continue;
		queues[i]->retired = queues[i]->depth;
		queues[i]->event(queues[i], 0);
		i = (unsigned)-1;
	}
}

void fake_refuse_fetch(uint32_t id, int error)
{
	struct queue *queue = queue_of(id, 0);

	assert_non_null(queue);
	queue->retired++;
	queue->event(queue, error);
}

/* ---- the opener ---- */

static struct {
	int fd;
	opener_ended *closed;
	void *context;
} closing[HELD_MAX];

static struct opening {
	char path[512];
	int flags;
	opener_done *done;
	void *context;
} openings[HELD_MAX]; /* in the order in which they were asked for */

static unsigned opening_count;

int __wrap_opener_open(struct ev_loop *loop, const struct opener_wish *wish,
		       opener_done *done, void *context)
{
	struct opening *opening;

	assert_ptr_equal(loop, test_loop);
	assert_true(opening_count < HELD_MAX);
	opening = &openings[opening_count++];
	opening->path[0] = '\0';
	add_text(opening->path, sizeof(opening->path), wish->path);
	opening->flags = wish->flags;
	opening->done = done;
	opening->context = context;
	fake.opened++;
	fake.wish = *wish;
	fake.wish.path = NULL;
	return 0;
}

static void end_opening(void)
{
	struct opener_result result = { .fd = -1 };
	struct opening first = openings[0];

	result.fd = fake.disk_error ? fake.disk_error
				    : __real_open(first.path, first.flags);
	if (result.fd == -1)
		result.fd = -errno;
	result.is_new = fake.is_new && result.fd >= 0;
	opening_count--;
	memmove(openings, openings + 1, opening_count * sizeof(first));
	first.done(first.context, &result);
}

/* ---- what it reads and writes, all of it at once ---- */

static struct running {
	opener_next *next;
	opener_ended *ended;
	void *context;
} runnings[HELD_MAX];

static unsigned running_count;

int __wrap_opener_run(struct ev_loop *loop, opener_next *next,
		      opener_ended *ended, void *context)
{
	assert_ptr_equal(loop, test_loop);
	assert_true(running_count < HELD_MAX);
	runnings[running_count++] = (struct running){ next, ended, context };
	return 0;
}

static int32_t do_transfer(const struct ring_transfer *transfer)
{
	ssize_t done = -1;

	if (!fake.runs)
		return -EIO;
	if (transfer->op == RING_READ)
		done = pread(transfer->fd, transfer->bytes, transfer->length,
			     (off_t)transfer->offset);
	else if (transfer->op == RING_WRITE)
		done = pwrite(transfer->fd, transfer->bytes, transfer->length,
			      (off_t)transfer->offset);
	else if (transfer->op == RING_FALLOCATE)
		done = fallocate(transfer->fd, transfer->flags,
				 (off_t)transfer->offset,
				 (off_t)transfer->length);
	else /* a sync, and no host crashes here */
		done = fcntl(transfer->fd, F_GETFD) < 0 ? -1 : 0;
	return done < 0 ? -errno : (int32_t)done;
}

static void end_running(void)
{
	struct running first = runnings[0];
	int32_t result = 0;
	int state;

	do {
		struct ring_transfer transfer = { .fd = -1 };

		state = first.next(first.context, result, &transfer);
		if (state > 0)
			result = do_transfer(&transfer);
	} while (state > 0);
	running_count--;
	memmove(runnings, runnings + 1, running_count * sizeof(first));
	first.ended(first.context, state);
}

unsigned __wrap_opener_close(struct ev_loop *loop, int fd, const char *path,
			     opener_ended *closed, void *context)
{
	assert_ptr_equal(loop, test_loop);
	if (path)
		unlink(path);
	if (!fake.close_waits) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	assert_true(fake.closing < HELD_MAX);
	closing[fake.closing].fd = fd;
	closing[fake.closing].closed = closed;
	closing[fake.closing++].context = context;
	return 1;
}

void fake_end_closing(int error)
{
	while (fake.closing) {
		fake.closing--;
		if (closing[fake.closing].fd >= 0)
			close(closing[fake.closing].fd);
		if (closing[fake.closing].closed)
			closing[fake.closing].closed(
				closing[fake.closing].context, error);
	}
	settle();
}

/* ---- nodes ---- */

int __wrap_node_give(uint32_t id, const struct owner *owner, mode_t mode)
{
	snprintf(fake.given, sizeof(fake.given), "%u %d:%d %o", (unsigned)id,
		 (int)owner->user, (int)owner->group, (unsigned)mode);
	fake.gives++;
	return fake.give_error;
}

/* ---- the keeper ---- */

static void on_message(struct channel *at, const struct message *message,
		       const int *fds, int fd_count)
{
	assert_true(fd_count == 0 || message->type == MESSAGE_ASK);
	/* As the server sorts them. */
	if (message->type == MESSAGE_FEATURES && message->serial == 0)
		command_features_answer(&fake_host, message);
	else if (message->type == MESSAGE_STOP_ALL)
		command_stop_all(&fake_host);
	else if (message->type == MESSAGE_ASK)
		ask_answer(message, fds, fd_count);
	else
		device_answer(&fake_host.devices, message);
}

static void on_gone(struct channel *at)
{
}

static void fill_info(struct ublk_dev_info *info)
{
	if (info->dev_id == UINT32_MAX)
		info->dev_id = fake.next_id++;
	if (info->nr_hw_queues > fake.max_queues)
		info->nr_hw_queues = (uint16_t)fake.max_queues;
	info->flags &= ~fake.dropped_flags;
}

/* A question about the configuration file, and, by its id, one that was answered. */
#define ANSWERED UINT32_MAX

static int is_about_config(const struct message *message)
{
	return message->type == MESSAGE_ASK &&
	       (message->number == HELPER_CONFIG ||
		message->number == HELPER_CHECK ||
		message->number == HELPER_SAVE);
}

/* An export of 4 MiB that can do all; its socket is none. */
static void answer_connected(struct message *message)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	snprintf(message->text, sizeof(message->text), "4194304 6c 1 4096 0");
	assert_int_equal(channel_send_now(other, message, &fd, 1), 0);
	close(fd);
}

static void answer(const struct message *asked)
{
	struct message message = *asked;
	size_t length;

	if (asked->type != MESSAGE_ASK || asked->id != ANSWERED)
		message.result = fake.result[asked->type];
	if (message.result == 0 && asked->type == MESSAGE_FEATURES)
		message.number = fake.features;
	if (message.result == 0 && asked->type == MESSAGE_ADD)
		fill_info(&message.info);
	if (asked->type == MESSAGE_OWNER) {
		message.number = fake.owner;
		snprintf(message.text, sizeof(message.text), "%s",
			 message.result ? "the user 'bob': there is none" : "");
	}
	if (asked->type == MESSAGE_BUSY ||
	    (asked->type == MESSAGE_ASK && asked->id != ANSWERED)) {
		snprintf(message.text, sizeof(message.text), "%s",
			 message.result ? "mounted on /mnt" : "");
		message.number = message.result && fake.use_lasts;
	}
	if (message.result == 0 && asked->type == MESSAGE_ASK &&
	    asked->number == HELPER_CONNECT) {
		answer_connected(&message);
		return;
	}
	if (!fake.silent &&
	    (asked->type == MESSAGE_STOP ||
	     (asked->type == MESSAGE_TRY_STOP && message.result == 0)))
		fake_retire(asked->id);
	if (asked->type == MESSAGE_SHUTDOWN)
		message.type = MESSAGE_STOP_ALL;
	length = message_length(&message);
	assert_int_equal(send(other, &message, length, 0), length);
}

static void take(const struct message *message)
{
	uint32_t type = message->type;

	assert_int_equal(message->magic, MESSAGE_MAGIC);
	assert_true(type < FAKE_TYPES);
	fake.last[type] = *message;
	fake.count[type]++;
	if (type == MESSAGE_CANCEL || type == MESSAGE_RING)
		return; /* these are not answered */
	if (!fake.hold[type]) {
		answer(message);
		return;
	}
	assert_true(held_count < HELD_MAX);
	held[held_count++] = *message;
}

#ifndef WITHOUT_RELOAD
static int check_or_save(struct message *message, int fd,
			 struct failure *failure)
{
	struct check check = { .path = message->text, .as_records = 1 };
	int flat = message->text[0] == '!', result;

	if (message->number == HELPER_SAVE)
		return save_file(message->text + flat, fd, flat, failure);
	check.out = fdopen(dup(fd), "w");
	result = check_file(&check, failure);
	fclose(check.out);
	return result;
}
#else
#define check_or_save(message, fd, failure) -1
#endif

static int gather(const struct message *message, int fd,
		  struct failure *failure)
{
	FILE *out = fdopen(dup(fd), "w");
	int result;

	assert_non_null(out);
	result = config_gather(message->text, out, failure);
	fclose(out);
	return result;
}

/* What a helper does with the configuration file, at once. */
static void do_config(struct message *message, int fd)
{
	struct failure failure = { .symbol = SYMBOL_NONE };
	int result = message->number == HELPER_CONFIG
			     ? gather(message, fd, &failure)
			     : check_or_save(message, fd, &failure);

	message->id = ANSWERED;
	message->result = config_tell(message, result, &failure);
}

static int take_message(struct message *message)
{
	int fds[MESSAGE_MAX_FDS], count;

	if (!is_readable(other) ||
	    channel_receive_now(other, message, fds, &count) <= 0)
		return 0;
	if (is_about_config(message))
		do_config(message, fds[0]);
	channel_close_fds(fds, count);
	return 1;
}

void fake_serve(void)
{
	struct message message;
	int quiet = 0;

	while (!quiet) {
		settle();
		quiet = 1;
		if (opening_count && !fake.open_waits) {
			end_opening();
			quiet = 0;
		}
		if (running_count && !fake.run_waits) {
			end_running();
			quiet = 0;
		}
		while (other >= 0 && take_message(&message)) {
			take(&message);
			quiet = 0;
		}
	}
}

void fake_end_late(struct device *device, unsigned queue)
{
	struct late *late = device->queues[queue].port.late;

	late->count = 0;
	late->ended(late->owner);
}

void fake_pass_time(double seconds)
{
	int steps = (int)(seconds * 100 + 0.5);

	while (steps-- > 0) {
		pass_time(0.01);
		fake_serve();
	}
}

void fake_release(uint32_t type)
{
	unsigned i = 0;

	fake.hold[type] = 0;
	while (i < held_count) {
		struct message message = held[i];

		if (message.type != type) {
			i++;
			continue;
		}
		memmove(&held[i], &held[i + 1],
			(held_count - i - 1) * sizeof(held[0]));
		held_count--;
		answer(&message);
	}
	fake_serve();
}

unsigned fake_held(void)
{
	return held_count;
}

void fake_end_keeper(void)
{
	if (other >= 0)
		close(other);
	other = -1;
	held_count = 0;
	turn(3);
}

void fake_delete_all(void)
{
	struct message message = { .magic = MESSAGE_MAGIC, .result = -EPIPE };
	struct device_set *set = &fake_host.devices;
	/* What stays is kept in sight of those who look for lost memory. */
	static struct device *stuck[32];
	static unsigned stuck_count;
	int tries;

	fake_end_keeper();
	device_delete_all(set);
	for (tries = 0; set->first && tries < 1000; tries++) {
		message.serial = set->first->serial;
		device_answer(set, &message);
		pass_time(0.1);
	}
	if (set->first && stuck_count < COUNT(stuck))
		stuck[stuck_count++] = set->first;
}

void fake_start(void)
{
	int pair[2];

	test_loop_open();
	memset(&fake, 0, sizeof(fake));
	fake.features = FAKE_FEATURES_NEW & ~UBLK_F_SAFE_STOP_DEV;
	fake.max_queues = 8;
	memset(&fake_host, 0, sizeof(fake_host));
	fake_host.config = "";
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				    pair),
			 0);
	other = pair[1];
	channel_open(&channel, test_loop, pair[0], on_message, on_gone, NULL);
	ask_open(&channel);
	fake_host.devices.loop = test_loop;
	fake_host.devices.channel = &channel;
	held_count = queue_count = device_fd_count = opening_count = 0;
	fake_forget();
}

void fake_have_memory(unsigned mib)
{
	char text[60];

	snprintf(text, sizeof(text), "MemAvailable: %u kB\n", mib * 1024);
	test_file("proc/meminfo", text);
	memory_set_root(test_folder());
}

void fake_stop(void)
{
	channel_close(&channel);
	fake_end_keeper();
	test_loop_close();
	log_forget();
}

/* ---- what is sent ---- */

static const char *skip_json_string(const char *at)
{
	assert_int_equal(*at, '"');
	for (at++; *at != '"'; at++) {
		assert_true((unsigned char)*at >= 0x20);
		if (*at != '\\')
			continue;
		at++;
		assert_non_null(strchr("\"\\u", *at));
		if (*at == 'u')
			assert_int_equal(
				strspn(at + 1, "0123456789abcdef") >= 4, 1);
	}
	return at + 1;
}

static const char *skip_json(const char *at)
{
	static const char *const words[] = { "true", "false", "null" };
	char close = *at == '{' ? '}' : ']';
	char *end;
	size_t i;

	for (i = 0; i < 3; i++)
		if (strncmp(at, words[i], strlen(words[i])) == 0)
			return at + strlen(words[i]);
	if (*at == '"')
		return skip_json_string(at);
	if (*at != '{' && *at != '[') {
		assert_true((*at >= '0' && *at <= '9') || *at == '-');
		assert_false(at[0] == '0' && at[1] >= '0' && at[1] <= '9');
		strtod(at, &end);
		return end;
	}
	at++;
	while (*at != close) {
		if (close == '}') {
			at = skip_json_string(at);
			assert_int_equal(*at++, ':');
		}
		at = skip_json(at);
		if (*at != ',')
			assert_int_equal(*at, close);
		else
			assert_int_not_equal(*++at, close);
	}
	return at + 1;
}

static void check_words(char *at, const char *end)
{
	const char *head = syntax_next(&at, end), *word, *value;
	const char *keys = record_find(head, strlen(head));
	int is_first = 1;
	size_t length;

	if (!*keys)
		fail_msg("src/admin/records.c has no record '%s'", head);
	for (; (word = syntax_next(&at, end)); is_first = 0) {
		value = syntax_value(word, &length);
		if (is_first && word[0] == '@')
			continue;
		if (value && !record_type(keys, word, length))
			fail_msg("src/admin/records.c has no key '%.*s' of %s",
				 (int)length, word, head);
		if (!value && strcmp(head, "EVENT") == 0)
			keys = record_find(word, strlen(word));
		else if (!value)
			assert_string_equal(head, "ERR");
	}
}

void fake_check_line(const char *line, size_t length)
{
	char *text = strndup(line, length);

	assert_non_null(text);
	assert_int_equal(strlen(text), length);
	assert_true(syntax_is_utf8(text, length));
	if (text[0] == '{')
		assert_int_equal(*skip_json(text), '\0');
	else if (strncmp(text, "HELLO ", 6) != 0 && text[0] != '#' &&
		 strncmp(text, "ublkd_", 6) != 0 &&
		 strncmp(text, "add ", 4) != 0)
		check_words(text, text + length);
	free(text);
}
