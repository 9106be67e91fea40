#include "node.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Where things are, and of which type. */
static const struct {
	const char *path;
	const char *number; /* in sysfs: "259:3" */
	mode_t type;
} nodes[] = {
	[NODE_CHAR] = { "/dev/ublkc%u", NODE_DEVICES "/ublkc%u/dev", S_IFCHR },
	[NODE_BLOCK] = { "/dev/ublkb%u", "/sys/class/block/ublkb%u/dev",
			 S_IFBLK },
};

void node_path(enum node node, uint32_t id, char *path, size_t size)
{
	snprintf(path, size, nodes[node].path, id);
}

void node_attribute(uint32_t id, const char *attribute, char *path, size_t size)
{
	snprintf(path, size, "/sys/block/ublkb%u/%s", id, attribute);
}

int node_read_number(const char *path, dev_t *number)
{
	FILE *file = fopen(path, "re");
	unsigned first, second;
	char buffer[64]; /* that of stdio is a page, see process.c */
	int count;

	if (!file)
		return -errno;
	setvbuf(file, buffer, _IOFBF, sizeof(buffer));
	count = fscanf(file, "%u:%u", &first, &second);
	fclose(file);
	if (count != 2)
		return -EINVAL;
	*number = makedev(first, second);
	return 0;
}

/* Whether it is the number that the kernel has for the device, if that is known. */
static int is_number(enum node node, uint32_t id, dev_t number)
{
	dev_t known = 0;
	char path[64];

	snprintf(path, sizeof(path), nodes[node].number, id);
	return node_read_number(path, &known) < 0 || known == number;
}

static int fail_absent(const char *path, struct failure *failure)
{
	failure_set(failure, SYMBOL_TIMEOUT, ETIMEDOUT, NULL,
		    "%s does not appear: is devtmpfs mounted on /dev, or does "
		    "udev or mdev run there?",
		    path);
	return -ENOENT;
}

static const char *name_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a regular file";
	case S_IFDIR:
		return "a folder";
	case S_IFLNK:
		return "a symbolic link";
	default:
		return "another device's node, or a pipe or socket";
	}
}

static int fail_taken(int error, const char *path, mode_t mode,
		      struct failure *failure)
{
	failure_set(failure, SYMBOL_EXISTS, EEXIST, "id",
		    "%s is %s, so the device's node cannot come there: remove "
		    "it, or choose another id",
		    path, name_type(mode));
	return error;
}

/* What lies there is looked at, and not what it leads to. */
int node_look(enum node node, uint32_t id, struct failure *failure)
{
	char path[NODE_PATH_BYTES];
	struct stat status;

	node_path(node, id, path, sizeof(path));
	if (lstat(path, &status) < 0)
		return fail_absent(path, failure);
	if ((status.st_mode & S_IFMT) != nodes[node].type)
		return fail_taken(-EEXIST, path, status.st_mode, failure);
	if (!is_number(node, id, status.st_rdev))
		return fail_taken(-ESTALE, path, status.st_mode, failure);
	return 0;
}

/*
 * What we do not own any more we may not change the mode of, without one more
 * capability: so the mode comes first.
 */
int node_give(uint32_t id, const struct owner *owner, mode_t mode)
{
	char path[NODE_PATH_BYTES];
	struct stat status;

	node_path(NODE_BLOCK, id, path, sizeof(path));
	if (lstat(path, &status) < 0)
		return -errno;
	if (mode && (status.st_mode & 0777) != mode && chmod(path, mode) < 0)
		return -errno;
	if ((owner->user == (uid_t)-1 || owner->user == status.st_uid) &&
	    (owner->group == (gid_t)-1 || owner->group == status.st_gid))
		return 0;
	return chown(path, owner->user, owner->group) < 0 ? -errno : 0;
}

int node_check_free(uint32_t id, struct failure *failure)
{
	struct failure why;

	if (node_look(NODE_CHAR, id, &why) != -EEXIST &&
	    node_look(NODE_BLOCK, id, &why) != -EEXIST)
		return 0;
	*failure = why;
	return -1;
}
