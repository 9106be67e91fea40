/*
 * What a start makes of the devices that it finds: only what is known to be
 * ours is touched, and nothing is thrown away that somebody may still want.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/proc.h"
#include "keeper/adopt.h"
#include "server/server.h"
#include "support.h"

#define MARK  0x7562000000000001ULL /* of this socket */
#define OTHER 0x7562000000000002ULL

static struct state state;
static struct takeover takeover;
static struct jobs jobs;
static struct failure failure;

/* ---- the driver, and what is restored ---- */

static struct {
	int open_error;
	int info_error;
	int file_error;	     /* of opening a target's file again */
	uint64_t generation; /* of every file; 0: what the host says */
	uint64_t marks[4];   /* of the devices that there are; 0: none */
	uint16_t device_state;
	pid_t server;	       /* of every device, 0: none that is known */
	const char *server_is; /* what process that is; NULL: none any more */
	char server_state;
	unsigned waits, ends_after; /* for it; 0: it lives on */
	int answer;
	unsigned kept, doomed; /* devices that were restored: a bit each */
	int open, away;	       /* files of the last one */
	uint64_t tally;	       /* of the last one */
	char unstored[200];
} fake;

int __wrap_control_open(struct control *control);
int __wrap_control_put_buffer(struct control *control, uint32_t op, uint32_t id,
			      void *buffer, size_t size, uint64_t data);
int __wrap_ring_wait(struct ring *ring, struct ring_event *event);
int __real_held_open(struct held_file *file);
int __wrap_held_open(struct held_file *file);
void __real_held_describe(struct held_file *file, int fd);
void __wrap_held_describe(struct held_file *file, int fd);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
int __wrap_entry_restore(struct entry **first, const struct ublk_dev_info *info,
			 const struct state_device *noted, int doomed);
int __wrap_proc_look(pid_t pid, struct proc_look *look);
int __wrap_dying_wait(struct dying *dying, pid_t pid);
int __wrap_notify_unstore(const char *name);
int __wrap_ring_put_close(struct ring *ring, int fd, uint64_t data);
int __wrap_ring_submit(struct ring *ring);

int __wrap_control_open(struct control *control)
{
	(void)control;
	return fake.open_error;
}

int __wrap_control_put_buffer(struct control *control, uint32_t op, uint32_t id,
			      void *buffer, size_t size, uint64_t data)
{
	struct ublk_dev_info *info = buffer;

	(void)control;
	(void)data;
	assert_int_equal(op, UBLK_CMD_GET_DEV_INFO);
	assert_int_equal(size, sizeof(*info));
	assert_true(id < COUNT(fake.marks));
	fake.answer = fake.info_error  ? fake.info_error
		      : fake.marks[id] ? 0
				       : -ENODEV;
	info->dev_id = id;
	info->server_flags = fake.marks[id];
	info->state = fake.device_state;
	info->server_pid = fake.server;
	return 0;
}

int __wrap_proc_look(pid_t pid, struct proc_look *look)
{
	assert_int_equal(pid, fake.server);
	if (!fake.server_is)
		return -ESRCH;
	*look = (struct proc_look){ .state = fake.server_state };
	snprintf(look->name, sizeof(look->name), "%s", fake.server_is);
	return 0;
}

int __wrap_dying_wait(struct dying *dying, pid_t pid)
{
	assert_int_equal(pid, fake.server);
	snprintf(dying->who, sizeof(dying->who), "process %d", (int)pid);
	if (!fake.ends_after)
		return -EBUSY;
	if (++fake.waits == fake.ends_after)
		fake.server_is = NULL;
	return 0;
}

int __wrap_ring_wait(struct ring *ring, struct ring_event *event)
{
	(void)ring;
	event->result = fake.answer;
	return 0;
}

int __wrap_held_open(struct held_file *file)
{
	return fake.file_error ? fake.file_error : __real_held_open(file);
}

void __wrap_held_describe(struct held_file *file, int fd)
{
	__real_held_describe(file, fd);
	if (fake.generation)
		file->generation = fake.generation;
}

int __wrap_notify_unstore(const char *name)
{
	add_text(fake.unstored, sizeof(fake.unstored), name);
	add_text(fake.unstored, sizeof(fake.unstored), " ");
	return 0;
}

int __wrap_ring_put_close(struct ring *ring, int fd, uint64_t data)
{
	assert_null(ring);
	assert_int_equal(data, 0);
	return close(fd);
}

int __wrap_ring_submit(struct ring *ring)
{
	assert_null(ring);
	return 0;
}

DIR *__wrap_opendir(const char *path)
{
	int is_driver = strcmp(path, "/sys/class/ublk-char") == 0;

	return __real_opendir(is_driver ? test_path("sys") : path);
}

int __wrap_entry_restore(struct entry **first, const struct ublk_dev_info *info,
			 const struct state_device *noted, int doomed)
{
	int i;

	assert_ptr_equal(first, &jobs.entries);
	*(doomed ? &fake.doomed : &fake.kept) |= 1u << info->dev_id;
	fake.open = fake.away = 0;
	fake.tally = noted ? noted->tally : 0;
	for (i = 0; noted && i < noted->file_count; i++) {
		if (noted->files[i].fd < 0) {
			fake.away++;
			continue;
		}
		fake.open++;
		close(noted->files[i].fd);
	}
	return 0;
}

/* ---- a test begins ---- */

static int start(void **context)
{
	memset(&fake, 0, sizeof(fake));
	fake.device_state = 2; /* quiesced */
	log_forget();
	assert_int_equal(state_open(&state, test_path("state"), &failure), 0);
	assert_int_equal(mkdir(test_path("sys"), 0700), 0);
	jobs = (struct jobs){ .state = &state, .mark = MARK };
	takeover =
		(struct takeover){ .fd = -1, .listener = -1, .handover = -1 };
	return 0;
}

static int stop(void **context)
{
	takeover_close(&takeover);
	state_close(&state);
	test_folder_remove();
	return 0;
}

/* A device that the driver has. */
static void add_device(uint32_t id, uint64_t mark)
{
	char name[32];

	fake.marks[id] = mark;
	snprintf(name, sizeof(name), "sys/ublkc%u", (unsigned)id);
	test_file(name, "");
}

/* As a keeper has noted it, with a file if there is one. */
static struct state_device new_note(uint32_t id, uint64_t mark, int private,
				    const char *file)
{
	static struct held_file held;
	struct state_device device = { .id = id,
				       .recoverable = 1,
				       .words = "add null",
				       .private = private,
				       .mark = mark,
				       .files = &held };
	int fd;

	memset(&held, 0, sizeof(held));
	if (!file)
		return device;
	device.file_count = 1;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		held_describe(&held, fd);
		close(fd);
	}
	snprintf(held.path, sizeof(held.path), "%s", file);
	return device;
}

static void note(uint32_t id, uint64_t mark, int private, const char *file)
{
	struct state_device device = new_note(id, mark, private, file);

	assert_int_equal(state_write(&state, &device), 0);
}

/* Our device, which an earlier keeper has left. */
static void leave(int private, const char *file)
{
	add_device(1, MARK);
	note(1, MARK, private, file);
}

/* Every device has a server: that process is so called, and in that state. */
static void serve_by(const char *name, char how)
{
	fake.server = 4711;
	fake.server_is = name;
	fake.server_state = how;
}

static void keep_file(const char *name, const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	assert_int_equal(entry_from_store(&takeover.found, name, fd), 0);
}

static void keep(const char *name)
{
	keep_file(name, "/dev/null");
}

static void adopt(int delete_leftovers)
{
	unsigned fds = count_fds();

	adopt_devices(&jobs, &takeover, delete_leftovers);
	/* Those that it took are gone, and it has left none. */
	assert_true(count_fds() <= fds);
}

/* What was found of the device that was found last. */
static int is_spared(void)
{
	return takeover.found->state == ENTRY_SPARED;
}

static void check(unsigned kept, unsigned doomed)
{
	assert_int_equal(fake.kept, kept);
	assert_int_equal(fake.doomed, doomed);
}

/* ---- whose they are ---- */

static void test_ours(void **context)
{
	leave(0, NULL);
	adopt(0);
	check(1u << 1, 0);
}

/* The build that noted it had no names for udev, or they are gone. */
static void test_name(void **context)
{
	struct state_device device = new_note(1, MARK, 0, NULL);
	char names[300];

	snprintf(names, sizeof(names), "%s", test_path("names"));
	add_device(1, MARK);
	device.words = "add null name=eve";
	assert_int_equal(state_write(&state, &device), 0);
	state.names = names;
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(access(test_path("names/ublkb1"), F_OK), 0);
	/* One that is to be deleted needs none. */
	state_write_name(&state, 1, "add null");
	fake.device_state = UBLK_S_DEV_DEAD;
	adopt(0);
	assert_int_equal(access(test_path("names/ublkb1"), F_OK), -1);
	state.names = NULL;
}

/* The state folder is the same, and the socket has another path. */
static void test_other_socket(void **context)
{
	test_file("data", "1234");
	add_device(1, OTHER);
	note(1, OTHER, 1, test_path("data"));
	adopt(0);
	check(1u << 1, 0);
	assert_true(state_has(&state, 1));
}

/* By a build that did not note the mark. */
static void test_without_mark(void **context)
{
	add_device(1, MARK);
	note(1, 0, 0, NULL);
	add_device(2, OTHER);
	note(2, 0, 0, NULL);
	adopt(0);
	check(1u << 1, 0);
	assert_true(state_has(&state, 2));
}

/* The driver has another device by now that has this number. */
static void test_not_ours(void **context)
{
	test_file("data", "1234");
	add_device(1, OTHER);
	note(1, MARK, 1, test_path("data"));
	keep("device-1-0");
	adopt(0);
	check(0, 0);
	assert_true(state_has(&state, 1));
	assert_int_equal(access(test_path("data"), F_OK), 0);
	assert_int_equal(log_count("device 1 "), 1);
	assert_true(is_spared());
}

/* Another server has it, which lives on. */
static void test_served(void **context)
{
	leave(0, NULL);
	keep("device-1-0");
	serve_by(SERVER_NAME, 'S');
	adopt(0);
	check(0, 0);
	assert_true(state_has(&state, 1));
	assert_true(is_spared());
	assert_true(log_has("served by process 4711"));
}

/* It was killed a moment ago: its end is waited for. */
static void test_server_is_dying(void **context)
{
	leave(0, NULL);
	serve_by(SERVER_NAME, 'D');
	fake.ends_after = 3;
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(fake.waits, 3);
}

/* Nobody waits for the one that hands over, a zombie, or who has its number. */
static void test_not_served(void **context)
{
	leave(0, NULL);
	serve_by(SERVER_NAME, 'Z');
	adopt(0);
	check(1u << 1, 0);
	fake.kept = 0;
	serve_by("sleep", 'S');
	adopt(0);
	check(1u << 1, 0);
	fake.kept = 0;
	fake.server_is = SERVER_NAME;
	takeover.server.pid = 4711;
	takeover.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	adopt(0);
	check(1u << 1, 0);
	close(takeover.fd);
	takeover.fd = -1;
	takeover.server.pid = 0;
}

static void test_gone(void **context)
{
	test_file("data", "1234");
	note(1, MARK, 1, test_path("data"));
	keep("device-1-0");
	adopt(0);
	check(0, 0);
	assert_false(state_has(&state, 1));
	assert_int_equal(access(test_path("data"), F_OK), -1);
	assert_true(log_has("device 1"));
	assert_false(is_spared());
}

static void test_silent_driver(void **context)
{
	leave(0, NULL);
	keep("device-1-0");
	fake.info_error = -EIO;
	adopt(1);
	check(0, 0);
	assert_true(state_has(&state, 1));
	assert_true(is_spared());
}

static void test_no_control(void **context)
{
	keep("device-1-0");
	fake.open_error = -EMFILE;
	adopt(0);
	assert_true(is_spared());
	assert_true(log_has("cannot look"));
}

/* ---- of which nothing is noted ---- */

static void test_leftovers(void **context)
{
	add_device(1, MARK);
	add_device(2, OTHER);
	keep("device-1-0");
	adopt(0);
	check(0, 0);
	assert_true(is_spared());
	assert_int_equal(log_count("device 1 "), 1);
	assert_int_equal(log_count("device 2 "), 0);
	adopt(1);
	check(0, 1u << 1);
}

/* ---- the file of a user's: that is the server's to open ---- */

static void test_user_file(void **context)
{
	test_file("data", "1234");
	leave(0, test_path("data"));
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(fake.open, 0);
	assert_int_equal(fake.away, 1);
	/* Also where there is none just now, and no file server is asked. */
	assert_int_equal(unlink(test_path("data")), 0);
	fake.kept = 0;
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(fake.away, 1);
	assert_true(state_has(&state, 1));
}

/* That must not need a start that can open it. */
static void test_user_file_is_gone_and_deleted(void **context)
{
	test_file("data", "1234");
	leave(0, test_path("data"));
	adopt(1);
	check(1u << 1, 0);
	assert_int_equal(unlink(test_path("data")), 0);
	fake.kept = 0;
	adopt(1);
	check(0, 1u << 1);
	assert_false(log_has("its data died"));
}

/* The driver knows the device no more: its file is not ours to remove. */
static void test_user_file_of_one_that_is_gone(void **context)
{
	test_file("data", "1234");
	note(1, MARK, 0, test_path("data"));
	adopt(0);
	check(0, 0);
	assert_false(state_has(&state, 1));
	assert_int_equal(access(test_path("data"), F_OK), 0);
}

static struct state_device seen;

static void see(void *context, struct state_device *device)
{
	seen = *device;
}

/* A living server has it; an older build has noted less of it, or nothing. */
static void test_user_file_is_open(void **context)
{
	struct state_device device;
	int noted;

	test_file("data", "1234");
	add_device(1, MARK);
	for (noted = 0; noted < 2; noted++) {
		device = new_note(1, MARK, 0, test_path("data"));
		device.files[0].born = device.files[0].generation = 0;
		device.file_count = noted;
		device.tally = 7;
		assert_int_equal(state_write(&state, &device), 0);
		keep_file("device-1-0", test_path("data"));
		adopt(0);
		check(1u << 1, 0);
		assert_int_equal(fake.open, 1);
		assert_int_equal(fake.away, 0);
		assert_int_equal(state_read_all(&state, see, NULL), 0);
		device = new_note(1, MARK, 0, test_path("data"));
		assert_int_equal(seen.file_count, 1);
		assert_int_equal(seen.tally, 7);
		assert_string_equal(seen.files[0].path, test_path("data"));
		assert_true(seen.files[0].born == device.files[0].born);
	}
}

/* By a build that did not note the generation; the time it knew. */
static void test_user_file_without_generation(void **context)
{
	test_file("data", "1234");
	leave(0, test_path("data"));
	fake.generation = 9;
	keep_file("device-1-0", test_path("data"));
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(state_read_all(&state, see, NULL), 0);
	assert_true(seen.files[0].generation == 9);
}

/* It stays one that is being deleted, though it is known better now. */
static void test_open_and_being_deleted(void **context)
{
	struct state_device device;

	test_file("data", "1234");
	add_device(1, MARK);
	device = new_note(1, MARK, 0, test_path("data"));
	device.file_count = 0;
	assert_int_equal(state_write(&state, &device), 0);
	assert_int_equal(state_doom(&state, 1), 0);
	keep("device-1-0");
	adopt(0);
	check(0, 1u << 1);
	assert_int_equal(state_read_all(&state, see, NULL), 0);
	assert_true(seen.deleting);
}

/* ---- why a device is not kept ---- */

static void check_obstacle(const struct state_device *device, const char *why)
{
	fake.doomed = fake.kept = 0;
	log_forget();
	add_device(1, MARK);
	assert_int_equal(state_write(&state, device), 0);
	adopt(0);
	check(0, 1u << 1);
	assert_true(log_has(why));
}

static void test_obstacles(void **context)
{
	struct state_device device = new_note(1, MARK, 0, NULL);

	device.recoverable = 0;
	check_obstacle(&device, "recovery=no");
	device.recoverable = 1;
	fake.device_state = UBLK_S_DEV_DEAD;
	check_obstacle(&device, "never been live");
}

/* ---- files of ours that cannot be opened again ---- */

static void test_private_opened(void **context)
{
	test_file("data", "1234");
	leave(1, test_path("data"));
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(fake.open, 1);
}

static void check_dead(int private, const char *file, int error)
{
	memset(&fake, 0, sizeof(fake));
	fake.device_state = 2;
	fake.file_error = error;
	log_forget();
	leave(private, file);
	adopt(0);
	check(0, 1u << 1);
	assert_true(log_has("its data died"));
}

static void test_data_is_dead(void **context)
{
	check_dead(0, "", 0);
	check_dead(1, "", 0);
	check_dead(1, "/data", -ENOENT);
	check_dead(1, "/data", -ESTALE);
}

/* A file of ours may be where we may not look just now. */
static void test_private_not_opened(void **context)
{
	leave(1, "/data");
	fake.file_error = -EIO;
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(fake.open, 0);
	assert_true(state_has(&state, 1));
	assert_int_equal(log_count("device 1 "), 1);
	assert_true(log_has("/data"));
	assert_true(log_has(strerror(EIO)));
}

/* ---- what was found of them ---- */

/* From a server, or in the copy of the table that goes along over an exec. */
static void test_tally(void **context)
{
	struct state_device device = new_note(1, MARK, 0, NULL);
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_TALLY,
				   .id = 1,
				   .number = 9 };

	add_device(1, MARK);
	device.tally = 7;
	assert_int_equal(state_write(&state, &device), 0);
	adopt(0);
	assert_int_equal(fake.tally, 7);
	assert_int_equal(entry_from_message(&takeover.found, &message, NULL, 0),
			 0);
	adopt(0);
	assert_int_equal(fake.tally, 9);
	assert_int_equal(state_read_all(&state, see, NULL), 0);
	assert_int_equal(seen.tally, 9);
}

static void test_drop_rest(void **context)
{
	unsigned before = count_fds();

	leave(0, "/dev/null");
	add_device(2, MARK);
	keep("device-1-0");
	keep("device-2-0");
	keep("device-3-0");
	keep("device-3-1");
	adopt(0);
	check(1u << 1, 0);
	adopt_drop_rest(&jobs, &takeover);
	assert_string_equal(fake.unstored, "device-3-1 device-3-0 ");
	assert_int_equal(count_fds(), before + 1);
	/* That of one that was left alone, for somebody later. */
	assert_int_equal(takeover.found->noted.id, 2);
	assert_null(takeover.found->next);
	takeover_close(&takeover);
	assert_string_equal(fake.unstored, "device-3-1 device-3-0 ");
	assert_int_equal(count_fds(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ours),
		TEST(test_name),
		TEST(test_other_socket),
		TEST(test_without_mark),
		TEST(test_not_ours),
		TEST(test_served),
		TEST(test_server_is_dying),
		TEST(test_not_served),
		TEST(test_gone),
		TEST(test_silent_driver),
		TEST(test_no_control),
		TEST(test_leftovers),
		TEST(test_user_file),
		TEST(test_user_file_is_gone_and_deleted),
		TEST(test_user_file_of_one_that_is_gone),
		TEST(test_user_file_is_open),
		TEST(test_user_file_without_generation),
		TEST(test_open_and_being_deleted),
		TEST(test_obstacles),
		TEST(test_private_opened),
		TEST(test_data_is_dead),
		TEST(test_private_not_opened),
		TEST(test_tally),
		TEST(test_drop_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
