/* Who owns a node: how names become numbers, and how the node is given. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/node.h"
#include "base/owner.h"
#include "support.h"

static struct {
	int name_error;	    /* of a look for a name */
	struct stat status; /* of the node */
	char did[60];
	int chmod_error, chown_error;
} fake;

static struct owner owner;
static char why[80];

struct passwd *__wrap_getpwnam(const char *name);
struct group *__wrap_getgrnam(const char *name);
int __wrap_lstat(const char *path, struct stat *status);
int __wrap_lstat64(const char *path, struct stat *status);
int __wrap_chmod(const char *path, mode_t mode);
int __wrap_chown(const char *path, uid_t user, gid_t group);

struct passwd *__wrap_getpwnam(const char *name)
{
	static struct passwd entry = { .pw_uid = 1000 };

	errno = fake.name_error;
	return strcmp(name, "alice") == 0 ? &entry : NULL;
}

struct group *__wrap_getgrnam(const char *name)
{
	static struct group entry = { .gr_gid = 50 };

	errno = fake.name_error;
	return strcmp(name, "staff") == 0 ? &entry : NULL;
}

int __wrap_lstat(const char *path, struct stat *status)
{
	assert_string_equal(path, "/dev/ublkb7");
	*status = fake.status;
	return 0;
}

int __wrap_lstat64(const char *path, struct stat *status)
{
	return __wrap_lstat(path, status);
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *format, ...)
{
	size_t at = strlen(fake.did);
	va_list args;

	va_start(args, format);
	vsnprintf(fake.did + at, sizeof(fake.did) - at, format, args);
	va_end(args);
}

int __wrap_chmod(const char *path, mode_t mode)
{
	note("chmod %o;", (unsigned)mode);
	errno = fake.chmod_error;
	return errno ? -1 : 0;
}

int __wrap_chown(const char *path, uid_t user, gid_t group)
{
	note("chown %d:%d;", (int)user, (int)group);
	errno = fake.chown_error;
	return errno ? -1 : 0;
}

int before_each(void **state)
{
	memset(&fake, 0, sizeof(fake));
	fake.status.st_mode = S_IFBLK | 0600;
	return 0;
}

int after_each(void **state)
{
	return 0;
}

static void finds(const char *text, int user, int group)
{
	assert_int_equal(owner_find(text, &owner, why, sizeof(why)), 0);
	assert_int_equal((int)owner.user, user);
	assert_int_equal((int)owner.group, group);
}

static void fails(const char *text, int error, const char *reason)
{
	assert_int_equal(owner_find(text, &owner, why, sizeof(why)), error);
	assert_string_equal(why, reason);
}

TEST_CASE(test_find)
{
	finds("alice", 1000, -1);
	finds("alice:staff", 1000, 50);
	finds("1001:staff", 1001, 50);
	finds("alice:4294967294", 1000, -2);
	finds("0", 0, -1);
	fails("bob", -ENOENT, "the user 'bob': there is none");
	fails("", -ENOENT, "the user '': there is none");
	fails(":staff", -ENOENT, "the user '': there is none");
	fails("alice:", -ENOENT, "the group '': there is none");
	fails("alice:staff:", -ENOENT, "the group 'staff:': there is none");
	/* All ones say that there is none. */
	fails("4294967295", -ENOENT, "the user '4294967295': there is none");
	fails("-1", -ENOENT, "the user '-1': there is none");
	fake.name_error = EIO;
	fails("bob", -EIO, "the user 'bob': Input/output error");
	fails("1:bob", -EIO, "the group 'bob': Input/output error");
}

static void gives(int user, int group, mode_t mode, const char *expected)
{
	const struct owner to = { (uid_t)user, (gid_t)group };

	fake.did[0] = '\0';
	assert_int_equal(node_give(7, &to, mode), 0);
	assert_string_equal(fake.did, expected);
}

/* The mode first: what is not ours any more we may not change. */
TEST_CASE(test_give)
{
	gives(1000, 50, 0640, "chmod 640;chown 1000:50;");
	gives(1000, -1, 0, "chown 1000:-1;");
	gives(0, 50, 0, "chown 0:50;");
	gives(-1, -1, 0666, "chmod 666;");
	/* udev was first. */
	fake.status.st_uid = 1000;
	fake.status.st_gid = 50;
	fake.status.st_mode = S_IFBLK | 0640;
	gives(1000, 50, 0640, "");
	gives(1000, -1, 0640, "");
	gives(-1, -1, 0, "");
}

TEST_CASE(test_give_fails)
{
	const struct owner to = { 1000, (gid_t)-1 };

	fake.chown_error = EROFS;
	assert_int_equal(node_give(7, &to, 0660), -EROFS);
	assert_string_equal(fake.did, "chmod 660;chown 1000:-1;");
	fake.chmod_error = EPERM;
	fake.did[0] = '\0';
	assert_int_equal(node_give(7, &to, 0660), -EPERM);
	assert_string_equal(fake.did, "chmod 660;");
}

int main(void)
{
	return tests_run();
}
