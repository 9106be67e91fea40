/* The admin socket's path: who owns it, and what happens to what is there. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper/listener.h"
#include "support.h"

/* ---- calls that are faked ---- */

static struct {
	unsigned slept; /* how often it waited */
	int answering;	/* a listener that leaves after some waits */
	unsigned leaves_after;
	struct group group;
	int has_group;
	int listen_error;
	int lock_goes;		/* its holder ends, and removes it */
	mode_t mode_when_bound; /* of the socket, when listen is called */
} fake;

static struct listener listener;
static struct failure failure;
static char path[100], lock[110];

int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);
int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);
int __wrap_usleep(useconds_t us);
struct group *__wrap_getgrnam(const char *name);

int __wrap_flock(int fd, int operation)
{
	if (fake.lock_goes) {
		fake.lock_goes = 0;
		assert_int_equal(unlink(lock), 0);
	}
	return __real_flock(fd, operation);
}

int __wrap_usleep(useconds_t us)
{
	(void)us;
	if (++fake.slept == fake.leaves_after && fake.answering >= 0) {
		close(fake.answering);
		fake.answering = -1;
	}
	return 0;
}

struct group *__wrap_getgrnam(const char *name)
{
	struct stat status;

	assert_string_equal(name, "ublk");
	/* Until it has its group it is for us alone. */
	if (!listener.is_hidden) {
		assert_int_equal(stat(listener.path, &status), 0);
		assert_int_equal(status.st_mode & 0077, 0);
	}
	return fake.has_group ? &fake.group : NULL;
}

int __wrap_listen(int fd, int backlog)
{
	struct stat status;

	if (fake.listen_error) {
		errno = fake.listen_error;
		return -1;
	}
	if (stat(listener.path, &status) == 0)
		fake.mode_when_bound = status.st_mode & 07777;
	return __real_listen(fd, backlog);
}

static int start(void **state)
{
	memset(&fake, 0, sizeof(fake));
	memset(&failure, 0, sizeof(failure));
	fake.answering = -1;
	snprintf(path, sizeof(path), "%s", test_path("s"));
	snprintf(lock, sizeof(lock), "%s.lock", path);
	return 0;
}

static int stop(void **state)
{
	if (fake.answering >= 0)
		close(fake.answering);
	test_folder_remove();
	log_forget();
	return 0;
}

static int exists(const char *name)
{
	struct stat status;

	return lstat(name, &status) == 0;
}

/* The process that the lock's file tells. */
static int locked_by(void)
{
	FILE *file = fopen(lock, "re");
	int pid = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d\n", &pid), 1);
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
	return pid;
}

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, name, strlen(name));
	return address;
}

/* Somebody else's socket at the path. */
static int bind_other(int type, int does_listen)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	if (does_listen)
		assert_int_equal(__real_listen(fd, 1), 0);
	return fd;
}

/* As a keeper does it when no server goes on. */
static int listener_open(struct listener *it, const char *at,
			 struct failure *why)
{
	if (listener_lock(it, at, why) == 0 && listener_bind(it, why) == 0)
		return 0;
	listener_close(it);
	return -1;
}

static int can_connect(void)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int yes = connect(fd, (struct sockaddr *)&address, sizeof(address)) ==
			  0 ||
		  errno == EAGAIN; /* there, but busy */

	close(fd);
	return yes;
}

static void opens(void)
{
	if (listener_open(&listener, path, &failure) < 0)
		fail_msg("%s", failure.text);
	assert_true(can_connect());
}

static void refuses(enum symbol symbol, const char *part)
{
	unsigned fds = count_fds();

	assert_int_equal(listener_open(&listener, path, &failure), -1);
	assert_string_equal(symbol_name(failure.symbol), symbol_name(symbol));
	if (!strstr(failure.text, part))
		fail_msg("'%s' does not tell '%s'", failure.text, part);
	assert_int_equal(count_fds(), fds);
}

static void test_open(void **state)
{
	struct stat status;
	unsigned fds = count_fds();
	mode_t mask = umask(0);

	opens();
	assert_int_equal(umask(mask), 0);
	assert_int_equal(lstat(path, &status), 0);
	assert_true(S_ISSOCK(status.st_mode));
	assert_int_equal(status.st_mode & 07777, 0660);
	assert_int_equal(fake.mode_when_bound, 0660);
	assert_int_equal(status.st_ino, listener.inode);
	assert_true(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(listener.fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(listener.lock, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(stat(lock, &status), 0);
	assert_int_equal(status.st_mode & 0077, 0);
	assert_int_equal(locked_by(), getpid());
	assert_int_equal(fake.slept, 0);
	listener_close(&listener);
	assert_false(exists(path));
	assert_false(exists(lock));
	assert_int_equal(count_fds(), fds);
	assert_int_equal(listener.fd, -1);
	/* Again, and closing twice is harmless. */
	opens();
	listener_close(&listener);
	listener_close(&listener);
}

/* Whatever umask the caller has. */
static void test_strict_umask(void **state)
{
	struct stat status;
	mode_t mask = umask(0777);

	opens();
	umask(mask);
	assert_int_equal(lstat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0660);
	listener_close(&listener);
}

static void test_group(void **state)
{
	struct stat status;

	fake.has_group = 1;
	fake.group.gr_gid = geteuid() == 0 ? 4242 : getegid();
	opens();
	assert_int_equal(lstat(path, &status), 0);
	assert_int_equal(status.st_gid, fake.group.gr_gid);
	assert_int_equal(status.st_mode & 07777, 0660);
	assert_int_equal(status.st_uid, geteuid());
	listener_close(&listener);
}

static void test_stale(void **state)
{
	close(bind_other(SOCK_STREAM, 1));
	assert_true(exists(path));
	opens();
	assert_int_equal(fake.slept, 0);
	listener_close(&listener);
	/* One that was bound and never listened to. */
	close(bind_other(SOCK_STREAM, 0));
	opens();
	listener_close(&listener);
}

/* The file of a lock that nobody holds is no obstacle. */
static void test_stale_lock(void **state)
{
	test_file("s.lock", "99999999999\n");
	opens();
	assert_int_equal(locked_by(), getpid());
	listener_close(&listener);
	assert_false(exists(lock));
}

/* Opened, and gone before it is locked: whoever comes next makes another. */
static void test_lock_goes(void **state)
{
	fake.lock_goes = 1;
	opens();
	assert_int_equal(locked_by(), getpid());
	listener_close(&listener);
}

static void test_living(void **state)
{
	fake.answering = bind_other(SOCK_STREAM, 1);
	refuses(SYMBOL_BUSY, "still answers");
	assert_true(fake.slept > 0);
	assert_true(can_connect());
	assert_false(exists(lock));
}

/* A server whose keeper was killed is dying: it is waited for. */
static void test_dying(void **state)
{
	fake.answering = bind_other(SOCK_STREAM, 1);
	fake.leaves_after = 3;
	opens();
	assert_int_equal(fake.slept, 3);
	listener_close(&listener);
}

/* One with a full backlog lives as well. */
static void test_living_and_full(void **state)
{
	struct sockaddr_un address = address_of(path);
	int fds[8], i;

	fake.answering = bind_other(SOCK_STREAM, 1);
	for (i = 0; i < 8; i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fds[i], (struct sockaddr *)&address,
			       sizeof(address));
	}
	refuses(SYMBOL_BUSY, "still answers");
	assert_true(exists(path));
	for (i = 0; i < 8; i++)
		close(fds[i]);
}

/* A socket of another kind (as /dev/log is one) is nobody's leftover. */
static void test_living_datagram(void **state)
{
	struct stat before, after;
	int fd = bind_other(SOCK_DGRAM, 0);

	assert_int_equal(lstat(path, &before), 0);
	assert_int_equal(listener_open(&listener, path, &failure), -1);
	assert_int_equal(lstat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	close(fd);
}

static void test_not_a_socket(void **state)
{
	FILE *file;
	char text[8] = "";

	test_file("s", "mine");
	refuses(SYMBOL_EXISTS, "not a socket");
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_string_equal(text, "mine");
	assert_false(exists(lock));
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	refuses(SYMBOL_EXISTS, "not a socket");
	rmdir(path);
	/* A link is not followed, wherever it leads. */
	assert_int_equal(symlink("nowhere", path), 0);
	refuses(SYMBOL_EXISTS, "not a socket");
	assert_true(exists(path));
}

static void test_two_of_us(void **state)
{
	struct listener second;
	unsigned fds;

	opens();
	fds = count_fds();
	assert_int_equal(listener_open(&second, path, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_non_null(strstr(failure.text, "another ublkd"));
	assert_non_null(strstr(failure.text, path));
	/* The loser takes nothing away. */
	listener_close(&second);
	assert_int_equal(count_fds(), fds);
	assert_true(exists(lock));
	assert_true(can_connect());
	listener_close(&listener);
}

/* A lock that is a link would be made wherever it leads. */
static void test_lock_is_a_link(void **state)
{
	assert_int_equal(symlink("target", lock), 0);
	assert_int_equal(listener_open(&listener, path, &failure), -1);
	assert_false(exists(test_path("target")));
}

static void test_no_folder(void **state)
{
	snprintf(path, sizeof(path), "%s", test_path("no/s"));
	refuses(SYMBOL_NOTFOUND, path);
}

static void test_listen_fails(void **state)
{
	fake.listen_error = EADDRINUSE;
	refuses(SYMBOL_IO, path);
	assert_false(exists(path));
	assert_false(exists(lock));
}

/* As long as an address has room for it, and not a byte more. */
static void test_long_path(void **state)
{
	size_t have = strlen(test_folder()) + 1;
	char name[120];

	snprintf(name, sizeof(name), "%s/", test_folder());
	memset(name + have, 'x', sizeof(name) - have);
	name[107] = '\0';
	assert_int_equal(listener_open(&listener, name, &failure), 0);
	assert_string_equal(listener.path, name);
	listener_close(&listener);
	assert_false(exists(name));
	name[107] = 'x';
	name[108] = '\0';
	assert_int_equal(listener_open(&listener, name, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_ARG);
	assert_non_null(strstr(failure.text, "107"));
	listener_close(&listener);
	assert_false(exists(name));
}

static void test_empty_path(void **state)
{
	assert_int_equal(chdir(test_folder()), 0);
	path[0] = '\0';
	assert_int_equal(listener_open(&listener, path, &failure), -1);
	listener_close(&listener);
	assert_false(exists(".lock"));
	assert_int_equal(chdir("/"), 0);
}

static void test_relative_path(void **state)
{
	assert_int_equal(chdir(test_folder()), 0);
	assert_int_equal(listener_open(&listener, "s", &failure), 0);
	assert_true(exists(path));
	listener_close(&listener);
	assert_false(exists(path));
	assert_int_equal(chdir("/"), 0);
}

/* What took the place of our socket is not ours to remove. */
static void test_replaced(void **state)
{
	opens();
	/* Moved first, so that its inode cannot be given out again. */
	assert_int_equal(rename(path, test_path("old")), 0);
	test_file("s", "another's");
	listener_close(&listener);
	assert_true(exists(path));
	assert_true(exists(test_path("old")));
}

/* ---- one that a service manager passes ---- */

static void test_adopt(void **state)
{
	int fd = bind_other(SOCK_STREAM, 1);
	struct stat before, after;

	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(listener_adopt(&listener, fd, &failure), 0);
	assert_int_equal(listener.fd, fd);
	assert_string_equal(listener.path, path);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(exists(lock));
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_mode, after.st_mode);
	/* The path is the manager's. */
	listener_close(&listener);
	assert_true(exists(path));
	assert_false(exists(lock));
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void refuses_to_adopt(int fd, enum symbol symbol)
{
	assert_int_equal(listener_adopt(&listener, fd, &failure), -1);
	assert_int_equal(failure.symbol, symbol);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(listener.fd, -1);
	assert_int_equal(listener.lock, -1);
}

static void test_adopt_what_is_none(void **state)
{
	struct sockaddr_un unnamed = { .sun_family = AF_UNIX };
	int pair[2];

	assert_int_equal(pipe(pair), 0);
	refuses_to_adopt(pair[0], SYMBOL_ARG);
	close(pair[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	refuses_to_adopt(pair[0], SYMBOL_ARG);
	close(pair[1]);
	/* Without a path, without listen(), of another type. */
	pair[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(pair[0], (struct sockaddr *)&unnamed,
			      sizeof(unnamed.sun_family)),
			 0);
	assert_int_equal(__real_listen(pair[0], 1), 0);
	refuses_to_adopt(pair[0], SYMBOL_ARG);
	refuses_to_adopt(bind_other(SOCK_STREAM, 0), SYMBOL_ARG);
	unlink(path);
	refuses_to_adopt(bind_other(SOCK_DGRAM, 0), SYMBOL_ARG);
	unlink(path);
	pair[0] = bind_other(SOCK_SEQPACKET, 1);
	refuses_to_adopt(pair[0], SYMBOL_ARG);
	assert_false(exists(lock));
}

static void test_adopt_while_another_runs(void **state)
{
	struct listener second;
	int fd;

	opens();
	fd = dup(listener.fd);
	assert_int_equal(listener_adopt(&second, fd, &failure), -1);
	assert_int_equal(failure.symbol, SYMBOL_BUSY);
	assert_true(exists(lock));
	assert_true(can_connect());
	listener_close(&listener);
}

/* ---- an earlier keeper's ---- */

static void use(int fd, int borrowed, int expected)
{
	assert_int_equal(listener_lock(&listener, path, &failure), 0);
	assert_int_equal(listener_use(&listener, fd, borrowed), expected);
	assert_int_equal(listener.fd, expected ? -1 : fd);
}

static void test_use(void **state)
{
	use(bind_other(SOCK_STREAM, 1), 0, 0);
	listener_close(&listener);
	assert_false(exists(path));
	use(bind_other(SOCK_STREAM, 1), 1, 0);
	listener_close(&listener);
	assert_true(exists(path));
}

static void test_use_through_a_link(void **state)
{
	int fd = bind_other(SOCK_STREAM, 1);

	assert_int_equal(symlink(".", test_path("link")), 0);
	snprintf(path, sizeof(path), "%s", test_path("link/s"));
	use(fd, 0, 0);
	listener_close(&listener);
	assert_false(exists(path));
}

/* It listens somewhere, but nobody would find it where we say that it does. */
static void test_use_of_another_path(void **state)
{
	int fd;

	fd = bind_other(SOCK_STREAM, 1);
	assert_int_equal(rename(path, test_path("moved")), 0);
	use(fd, 0, -ENOENT);
	listener_close(&listener);
	close(fd);
	fd = bind_other(SOCK_STREAM, 1);
	snprintf(path, sizeof(path), "%s", test_path("other"));
	use(fd, 0, -ENOENT);
	assert_int_equal(listener_bind(&listener, &failure), 0);
	assert_true(can_connect());
	listener_close(&listener);
	assert_true(exists(test_path("s")));
	close(fd);
}

/* ---- one that nobody hands over ---- */

static int hidden_open(const char *at)
{
	return listener_lock(&listener, at, &failure) == 0 &&
			       listener_bind_hidden(&listener, &failure) == 0
		       ? 0
		       : -1;
}

/* Whoever is at the path answers there until the other one is shown. */
static void test_hidden(void **state)
{
	struct stat status;
	int old = bind_other(SOCK_STREAM, 1), client;

	fake.has_group = 0;
	/* What another one has left. */
	test_file("s.new", "");
	assert_int_equal(hidden_open(path), 0);
	assert_true(can_connect());
	assert_int_equal(accept(listener.fd, NULL, NULL), -1);
	assert_int_equal(listener_show(&listener), 0);
	assert_false(exists(test_path("s.new")));
	assert_int_equal(lstat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0666);
	assert_true(can_connect());
	client = accept(listener.fd, NULL, NULL);
	assert_true(client >= 0);
	close(client);
	/* A second time is for the next server. */
	assert_int_equal(listener_show(&listener), 0);
	listener_close(&listener);
	assert_false(exists(path));
	assert_false(exists(lock));
	close(old);
}

/* Nothing is taken from the one that goes on. */
static void test_hidden_in_vain(void **state)
{
	int old = bind_other(SOCK_STREAM, 1);

	assert_int_equal(hidden_open(path), 0);
	listener_close(&listener);
	assert_true(can_connect());
	assert_false(exists(test_path("s.new")));
	assert_false(exists(lock));
	close(old);
}

static void test_hidden_mistakes(void **state)
{
	char name[120];

	test_file("s", "mine");
	assert_int_equal(hidden_open(path), -1);
	assert_int_equal(failure.symbol, SYMBOL_EXISTS);
	listener_close(&listener);
	assert_true(exists(path));
	memset(name, 'x', sizeof(name));
	memcpy(name, test_folder(), strlen(test_folder()));
	name[strlen(test_folder())] = '/';
	name[104] = '\0';
	assert_int_equal(hidden_open(name), -1);
	assert_non_null(strstr(failure.text, "at most 103 bytes"));
	listener_close(&listener);
	name[103] = '\0';
	assert_int_equal(hidden_open(name), 0);
	assert_int_equal(listener_show(&listener), 0);
	listener_close(&listener);
	assert_false(exists(name));
	/* Its folder goes meanwhile. */
	assert_int_equal(mkdir(test_path("gone"), 0700), 0);
	assert_int_equal(hidden_open(test_path("gone/s")), 0);
	assert_int_equal(rename(test_path("gone"), test_path("away")), 0);
	assert_int_equal(listener_show(&listener), -ENOENT);
	listener_close(&listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(test_open),
		TEST(test_strict_umask),
		TEST(test_group),
		TEST(test_stale),
		TEST(test_stale_lock),
		TEST(test_lock_goes),
		TEST(test_living),
		TEST(test_dying),
		TEST(test_living_and_full),
		TEST(test_living_datagram),
		TEST(test_not_a_socket),
		TEST(test_two_of_us),
		TEST(test_lock_is_a_link),
		TEST(test_no_folder),
		TEST(test_listen_fails),
		TEST(test_long_path),
		TEST(test_empty_path),
		TEST(test_relative_path),
		TEST(test_replaced),
		TEST(test_adopt),
		TEST(test_adopt_what_is_none),
		TEST(test_adopt_while_another_runs),
		TEST(test_use),
		TEST(test_use_through_a_link),
		TEST(test_use_of_another_path),
		TEST(test_hidden),
		TEST(test_hidden_in_vain),
		TEST(test_hidden_mistakes),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
