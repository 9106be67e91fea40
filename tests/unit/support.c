#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <liburing.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "io/loop.h"
#include "keeper/spawn.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

/* ---- the program's tests ---- */

#pragma weak before_each
#pragma weak after_each

static struct CMUnitTest tests[200];
static size_t test_count;

void test_is(const char *name, CMUnitTestFunction run)
{
	if (test_count == COUNT(tests))
		abort();
	tests[test_count++] =
		(struct CMUnitTest){ name, run, before_each, after_each, NULL };
}

/* What cmocka_run_group_tests() calls, which wants an array with a size. */
int tests_run(void)
{
	return _cmocka_run_group_tests("tests", tests, test_count, NULL, NULL);
}

/* ---- the clock and the loop ---- */

struct ev_loop *test_loop;

static uint64_t clock_ns = 1000000000000000ULL;

/* Both in place of the C library's: libev is to get them as well. */
int gettimeofday(struct timeval *now, void *zone)
{
	clock_ns += 1000;
	now->tv_sec = (time_t)(clock_ns / 1000000000);
	now->tv_usec = (suseconds_t)(clock_ns / 1000 % 1000000);
	return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	clock_ns += 1000;
	now->tv_sec = (time_t)(clock_ns / 1000000000);
	now->tv_nsec = (long)(clock_ns % 1000000000);
	return 0;
}

/*
 * The loop's timers, likewise: their descriptor is an eventfd that becomes
 * readable when the clock has been moved so far. libev has one as well, which
 * tells that the time of day has been set: here it never is.
 */
static int timer_fd = -1;
static uint64_t timer_due; /* ns; 0: not set */

int timerfd_create(clockid_t clock, int flags)
{
	assert_int_equal(flags, TFD_NONBLOCK | TFD_CLOEXEC);
	if (clock == CLOCK_REALTIME)
		return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	timer_due = 0;
	timer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return timer_fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *value,
		    struct itimerspec *old)
{
	eventfd_t count;

	if (flags & TFD_TIMER_CANCEL_ON_SET)
		return 0;
	assert_int_equal(fd, timer_fd);
	assert_int_equal(flags, TFD_TIMER_ABSTIME);
	assert_null(old);
	timer_due = (uint64_t)value->it_value.tv_sec * 1000000000 +
		    (uint64_t)value->it_value.tv_nsec;
	eventfd_read(fd, &count);
	return 0;
}

void look_at_timer(void)
{
	if (timer_due && clock_ns >= timer_due) {
		timer_due = 0;
		eventfd_write(timer_fd, 1);
	}
}

int timer_is_set(void)
{
	return timer_due != 0;
}

static unsigned found; /* events in the last turn */

static void invoke(struct ev_loop *loop)
{
	unsigned pending = ev_pending_count(loop);

	/* But for the loop's own look before, or after, it polls. */
	found += pending ? pending - 1 : 0;
	ev_invoke_pending(loop);
}

void turn(int turns)
{
	while (turns-- > 0) {
		look_at_timer();
		ev_run(test_loop, EVRUN_NOWAIT);
	}
}

void move_clock(double seconds)
{
	clock_ns += (uint64_t)(seconds * 1e9);
}

void pass_time(double seconds)
{
	int steps = (int)(seconds * 100 + 0.5);

	while (steps-- > 0) {
		clock_ns += 10000000;
		settle();
	}
}

/* Two of them: a timer of 0 s fires in the turn after the next. */
void settle(void)
{
	int quiet = 0, turns = 0;

	while (quiet < 2) {
		found = 0;
		turn(1);
		quiet = found ? 0 : quiet + 1;
		if (++turns > 1000000)
			fail_msg("the loop never sleeps");
	}
}

void test_loop_open_as(unsigned flags)
{
	ev_tstamp before;

	test_loop = loop_new(flags);
	assert_non_null(test_loop);
	ev_set_invoke_pending_cb(test_loop, invoke);
	before = ev_now(test_loop);
	clock_ns += 1000000000;
	ev_now_update(test_loop);
	/* Else libev asks the kernel directly, and no test can move time. */
	assert_true(ev_now(test_loop) - before > 0.99);
}

void test_loop_open(void)
{
	test_loop_open_as(LOOP_PLAIN);
}

void test_loop_close(void)
{
	loop_free(test_loop);
	test_loop = NULL;
}

/* ---- the log ---- */

static char log_text[1 << 16];
static size_t log_length;

void __wrap_log_line(enum log_level level, const char *format, ...)
{
	char line[1024];
	va_list args;
	size_t length;

	va_start(args, format);
	vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	length = strlen(line);
	line[length++] = '\n';
	line[length] = '\0';
	if (level == LOG_LEVEL_DEBUG || log_length + length >= sizeof(log_text))
		return;
	memcpy(log_text + log_length, line, length + 1);
	log_length += length;
}

unsigned log_count(const char *part)
{
	const char *at = log_text;
	unsigned count = 0;

	while ((at = strstr(at, part))) {
		count++;
		at += strlen(part);
	}
	return count;
}

int log_has(const char *part)
{
	return log_count(part) > 0;
}

void log_forget(void)
{
	log_length = 0;
	log_text[0] = '\0';
}

void about(const char *row)
{
	print_message("%s\n", row);
}

void add_text(char *text, size_t size, const char *more)
{
	size_t at = strlen(text);

	assert_true(at + strlen(more) < size);
	snprintf(text + at, size - at, "%s", more);
}

void test_values(const struct option *table, struct option_value *values,
		 const char *words)
{
	static char copy[512];
	struct failure failure;
	char *word, *rest = copy;
	int which;

	copy[0] = '\0';
	add_text(copy, sizeof(copy), words);
	option_defaults(table, values);
	while ((word = strtok_r(rest, " ", &rest))) {
		which = option_find(table, word, strcspn(word, "="));
		assert_true(which >= 0);
		if (option_read(&table[which], &values[which],
				strchr(word, '=') + 1, &failure) < 0)
			fail_msg("%s", failure.text);
	}
}

int is_readable(int fd)
{
	struct pollfd look = { .fd = fd, .events = POLLIN };

	return poll(&look, 1, 0) == 1;
}

/* ---- random numbers: splitmix64 ---- */

static uint64_t random_state;

void random_seed(uint64_t seed)
{
	random_state = seed;
}

uint64_t random_number(uint64_t below)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) % below;
}

/* ---- files ---- */

static char folder[128];

const char *test_folder(void)
{
	const char *base = getenv("TMPDIR");

	if (folder[0])
		return folder;
	/* The path of a socket must fit in it. */
	if (!base || strlen(base) > 60)
		base = "/tmp";
	snprintf(folder, sizeof(folder), "%s/ublkd-test-XXXXXX", base);
	assert_non_null(mkdtemp(folder));
	return folder;
}

static int remove_one(const char *path, const struct stat *status, int type,
		      struct FTW *where)
{
	return remove(path);
}

void test_folder_remove(void)
{
	if (folder[0])
		nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	folder[0] = '\0';
}

const char *test_path(const char *path)
{
	static char full[4][512];
	static unsigned next;
	char *text = full[next++ % 4];

	snprintf(text, sizeof(full[0]), "%s/%s", test_folder(), path);
	return text;
}

void test_file(const char *path, const char *text)
{
	char full[512], *slash;
	FILE *file;

	snprintf(full, sizeof(full), "%s", test_path(path));
	slash = full + strlen(test_folder());
	while ((slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* ---- the host ---- */

int host_has_linux(unsigned major, unsigned minor)
{
	struct utsname name;
	unsigned its_major, its_minor;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%u.%u", &its_major, &its_minor),
			 2);
	return its_major > major || (its_major == major && its_minor >= minor);
}

int host_has_io_uring(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN |
						   IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_TASKRUN_FLAG };
	long fd = syscall(SYS_io_uring_setup, 1, &params);

	if (fd >= 0)
		return close((int)fd) == 0;
	assert_true(errno == ENOSYS || errno == EPERM || errno == EINVAL);
	return 0;
}

int host_has_pidfd_getfd(void)
{
	long pidfd = syscall(SYS_pidfd_open, getpid(), 0), fd = -1;

	if (pidfd >= 0) {
		fd = syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);
		close((int)pidfd);
	}
	return fd >= 0 && close((int)fd) == 0;
}

int host_has_clone3(void)
{
	return syscall(SYS_clone3, NULL, 0) < 0 && errno == EINVAL;
}

int host_has_shm(void)
{
	struct statfs status;
	int fd;

	if (statfs(HOST_SHM, &status) < 0 || status.f_type != TMPFS_MAGIC)
		return 0;
	fd = open(HOST_SHM, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 && close(fd) == 0;
}

int memory_goes_back(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	char *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int gone;

	assert_ptr_not_equal(page, MAP_FAILED);
	*page = 1;
	if (madvise(page, size, MADV_DONTNEED_LOCKED) < 0)
		madvise(page, size, MADV_DONTNEED);
	gone = *page == 0;
	munmap(page, size);
	return gone;
}

unsigned count_fds(void)
{
	DIR *fds = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(fds);
	while (readdir(fds))
		count++;
	closedir(fds);
	return count;
}

int test_listen(const char *path, int waiting)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	add_text(address.sun_path, sizeof(address.sun_path), path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(listen(fd, waiting), 0);
	return fd;
}

void reserve_fds(void)
{
	int fd;

	do
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	while (fd >= 0 && fd < SPAWN_FLOOR);
	assert_true(fd >= 0);
	close(fd);
}

void open_lasting_pipe(int ends[2])
{
	int pair[2], i;

	reserve_fds();
	assert_int_equal(pipe(pair), 0);
	for (i = 0; i < 2; i++) {
		ends[i] = dup3(pair[i], SPAWN_FLOOR - 2 + i, O_CLOEXEC);
		assert_true(ends[i] >= 0);
		close(pair[i]);
	}
}

/* ---- screens ---- */

static void check_columns(const char *text)
{
	for (; *text; text += strcspn(text, "\n") + 1) {
		size_t length = strcspn(text, "\n");

		/* One word, behind its indentation. */
		if (length > 80 && strcspn(text + strspn(text, " "), " ") <
					   length - strspn(text, " "))
			fail_msg("a line of %zu columns: %.*s", length,
				 (int)length, text);
	}
}

void screen_is(const char *name, const char *text)
{
	const char *srcdir = getenv("srcdir");
	static char wanted[20000];
	char path[500];
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "%s/tests/unit/screens/%s",
		 srcdir ? srcdir : "..", name);
	check_columns(text);
	file = fopen(path, "re");
	if (!file) {
		fail_msg("%s: %s", path, strerror(errno));
		return;
	}
	length = fread(wanted, 1, sizeof(wanted) - 1, file);
	wanted[length] = '\0';
	fclose(file);
	if (strcmp(text, wanted) == 0)
		return;
	/* cmocka's messages have less room. */
	fputs(text, stderr);
	fail_msg("the screen %s is another", name);
}
