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

#include "adopt.h"
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
	int file_error;	   /* of opening a target's file again */
	uint64_t marks[4]; /* of the devices that there are; 0: none */
	uint16_t device_state;
	int answer;
	unsigned kept, doomed; /* devices that were restored: a bit each */
	int fd_count;	       /* of the last one */
} fake;

int __wrap_control_open(struct control *control);
int __wrap_control_get_info(struct control *control, uint32_t id,
			    struct ublk_dev_info *info, uint64_t data);
int __wrap_ring_wait(struct ring *ring, struct ring_event *event);
int __real_state_open_file(const struct state_file *file);
int __wrap_state_open_file(const struct state_file *file);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
int __wrap_jobs_restore(struct jobs *of, const struct ublk_dev_info *info,
			const struct state_device *noted, int doomed,
			const int *fds, int fd_count);

int __wrap_control_open(struct control *control)
{
	(void)control;
	return fake.open_error;
}

int __wrap_control_get_info(struct control *control, uint32_t id,
			    struct ublk_dev_info *info, uint64_t data)
{
	(void)control;
	(void)data;
	assert_true(id < COUNT(fake.marks));
	fake.answer = fake.info_error  ? fake.info_error
		      : fake.marks[id] ? 0
				       : -ENODEV;
	info->dev_id = id;
	info->server_flags = fake.marks[id];
	info->state = fake.device_state;
	return 0;
}

int __wrap_ring_wait(struct ring *ring, struct ring_event *event)
{
	(void)ring;
	event->result = fake.answer;
	return 0;
}

int __wrap_state_open_file(const struct state_file *file)
{
	return fake.file_error ? fake.file_error : __real_state_open_file(file);
}

DIR *__wrap_opendir(const char *path)
{
	int is_driver = strcmp(path, "/sys/class/ublk-char") == 0;

	return __real_opendir(is_driver ? test_path("sys") : path);
}

int __wrap_jobs_restore(struct jobs *of, const struct ublk_dev_info *info,
			const struct state_device *noted, int doomed,
			const int *fds, int fd_count)
{
	assert_ptr_equal(of, &jobs);
	(void)noted;
	*(doomed ? &fake.doomed : &fake.kept) |= 1u << info->dev_id;
	fake.fd_count = fd_count;
	channel_close_fds(fds, fd_count);
	return 0;
}

/* ---- a test begins ---- */

static int start(void **context)
{
	(void)context;
	memset(&fake, 0, sizeof(fake));
	fake.device_state = 2; /* quiesced */
	log_forget();
	assert_int_equal(state_open(&state, test_path("state"), &failure), 0);
	assert_int_equal(mkdir(test_path("sys"), 0700), 0);
	jobs = (struct jobs){ .state = &state, .mark = MARK };
	takeover = (struct takeover){ .fd = -1, .listener = -1 };
	return 0;
}

static int stop(void **context)
{
	(void)context;
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

/* One that is noted, with a file if there is one. */
static void note(uint32_t id, uint64_t mark, int private, const char *file)
{
	struct state_device device = {
		.id = id, .recoverable = 1, .private = private, .mark = mark
	};
	struct stat status;

	snprintf(device.words, sizeof(device.words), "add null");
	if (file) {
		device.file_count = 1;
		snprintf(device.files[0].path, sizeof(device.files[0].path),
			 "%s", file);
		if (stat(file, &status) == 0) {
			device.files[0].device = status.st_dev;
			device.files[0].inode = status.st_ino;
		}
	}
	assert_int_equal(state_write(&state, &device), 0);
}

static void keep(const char *name)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(takeover_keep(&takeover, name, fd), 0);
}

static void adopt(int delete_leftovers)
{
	unsigned fds = count_fds();

	adopt_devices(&jobs, &takeover, delete_leftovers);
	/* Those that it took are gone, and it has left none. */
	assert_true(count_fds() <= fds);
}

static void check(unsigned kept, unsigned doomed)
{
	assert_int_equal(fake.kept, kept);
	assert_int_equal(fake.doomed, doomed);
}

/* ---- whose they are ---- */

static void test_ours(void **context)
{
	(void)context;
	add_device(1, MARK);
	note(1, MARK, 0, NULL);
	adopt(0);
	check(1u << 1, 0);
}

/* The state folder is the same, and the socket has another path. */
static void test_other_socket(void **context)
{
	(void)context;
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
	(void)context;
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
	(void)context;
	test_file("data", "1234");
	add_device(1, OTHER);
	note(1, MARK, 1, test_path("data"));
	keep("device-1-0");
	adopt(0);
	check(0, 0);
	assert_true(state_has(&state, 1));
	assert_int_equal(access(test_path("data"), F_OK), 0);
	assert_int_equal(log_count("device 1 "), 1);
	assert_true(takeover.held->is_spared);
}

static void test_gone(void **context)
{
	(void)context;
	test_file("data", "1234");
	note(1, MARK, 1, test_path("data"));
	keep("device-1-0");
	adopt(0);
	check(0, 0);
	assert_false(state_has(&state, 1));
	assert_int_equal(access(test_path("data"), F_OK), -1);
	assert_true(log_has("device 1"));
	assert_false(takeover.held->is_spared);
}

static void test_silent_driver(void **context)
{
	(void)context;
	add_device(1, MARK);
	note(1, MARK, 0, NULL);
	keep("device-1-0");
	fake.info_error = -EIO;
	adopt(1);
	check(0, 0);
	assert_true(state_has(&state, 1));
	assert_true(takeover.held->is_spared);
}

static void test_no_control(void **context)
{
	(void)context;
	keep("device-1-0");
	fake.open_error = -EMFILE;
	adopt(0);
	assert_true(takeover.held->is_spared);
	assert_true(log_has("cannot look"));
}

/* ---- of which nothing is noted ---- */

static void test_leftovers(void **context)
{
	(void)context;
	add_device(1, MARK);
	add_device(2, OTHER);
	keep("device-1-0");
	adopt(0);
	check(0, 0);
	assert_true(takeover.held->is_spared);
	assert_int_equal(log_count("device 1 "), 1);
	assert_int_equal(log_count("device 2 "), 0);
	adopt(1);
	check(0, 1u << 1);
}

/* ---- what cannot be opened again ---- */

static void test_opened(void **context)
{
	(void)context;
	test_file("data", "1234");
	add_device(1, MARK);
	note(1, MARK, 0, test_path("data"));
	adopt(0);
	check(1u << 1, 0);
}

/* It waits, in sight, whatever the reason, until it can be opened. */
static void test_not_opened(void **context)
{
	static const int errors[] = { -EACCES, -EIO, -EMFILE, -ENOENT,
				      -ESTALE };
	unsigned i;

	(void)context;
	test_file("data", "1234");
	add_device(1, MARK);
	note(1, MARK, 0, test_path("data"));
	for (i = 0; i < COUNT(errors); i++) {
		log_forget();
		fake.kept = 0;
		fake.file_error = errors[i];
		adopt(0);
		check(1u << 1, 0);
		assert_int_equal(fake.fd_count, 0);
		assert_true(state_has(&state, 1));
		assert_int_equal(log_count("device 1 "), 1);
		assert_true(log_has(strerror(-errors[i])));
		assert_true(log_has(test_path("data")));
	}
	fake.file_error = 0;
	adopt(0);
	check(1u << 1, 0);
	assert_int_equal(fake.fd_count, 1);
}

/* That must not need a start that can open it. */
static void test_not_opened_and_deleted(void **context)
{
	(void)context;
	add_device(1, MARK);
	note(1, MARK, 0, "/nowhere");
	adopt(1);
	check(0, 1u << 1);
	assert_false(log_has("its data died"));
}

static void check_dead(int private, const char *file, int error)
{
	memset(&fake, 0, sizeof(fake));
	fake.device_state = 2;
	fake.file_error = error;
	log_forget();
	add_device(1, MARK);
	note(1, MARK, private, file);
	adopt(0);
	check(0, 1u << 1);
	assert_true(log_has("its data died"));
}

static void test_data_is_dead(void **context)
{
	(void)context;
	check_dead(0, "", 0);
	check_dead(1, "", 0);
	check_dead(1, "/data", -ENOENT);
	check_dead(1, "/data", -ESTALE);
}

/* A file of ours may be where we may not look just now. */
static void test_private_not_opened(void **context)
{
	(void)context;
	add_device(1, MARK);
	note(1, MARK, 1, "/data");
	fake.file_error = -EIO;
	adopt(0);
	check(1u << 1, 0);
	assert_true(state_has(&state, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ours),
		TEST(test_other_socket),
		TEST(test_without_mark),
		TEST(test_not_ours),
		TEST(test_gone),
		TEST(test_silent_driver),
		TEST(test_no_control),
		TEST(test_leftovers),
		TEST(test_opened),
		TEST(test_not_opened),
		TEST(test_not_opened_and_deleted),
		TEST(test_data_is_dead),
		TEST(test_private_not_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
