#include "sight-file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/sight.h"

/* A file on a disk would have the server wait for that. */
static int is_memory(int folder)
{
	struct statfs status;

	return fstatfs(folder, &status) == 0 && status.f_type == TMPFS_MAGIC;
}

/* Returns 0, or -EPROTO for what is none of ours. */
static int check_file(int fd)
{
	struct sight_head head;
	struct stat status;

	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
	    status.st_uid != geteuid() || (status.st_mode & 077) ||
	    pread(fd, &head, sizeof(head), 0) != sizeof(head))
		return -EPROTO;
	/* One that was cut off would kill whoever looks at the rest. */
	if (head.slots > SIGHT_DEVICES ||
	    (head.slots &&
	     (uint64_t)status.st_size < sight_small_at(head.slots)))
		return -EPROTO;
	return sight_head_check(&head);
}

/* Returns 0 or a negative errno. */
static int write_head(int fd)
{
	struct sight_head head;

	memset(&head, 0, sizeof(head));
	sight_head_init(&head);
	if (fallocate(fd, 0, 0, sizeof(head)) < 0)
		return -errno;
	return pwrite(fd, &head, sizeof(head), 0) == sizeof(head) ? 0 : -EIO;
}

/* Returns a descriptor or a negative errno. */
static int open_file(int folder)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd = openat(folder, SIGHT_NAME, flags), error;

	if (fd >= 0 && check_file(fd) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	/* A server that goes on keeps the one that it has. */
	if (unlinkat(folder, SIGHT_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(folder, SIGHT_NAME, flags | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return -errno;
	error = write_head(fd);
	if (!error)
		return fd;
	close(fd);
	sight_file_remove(folder);
	return error;
}

/* Sealed: a page that is cut off would kill who looks. */
static int open_nameless(void)
{
	int fd = memfd_create("ublkd-sight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	error = write_head(fd);
	if (!error && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		error = -errno;
	if (!error)
		return fd;
	close(fd);
	return error;
}

int sight_file_make(int folder, const char **why)
{
	int fd = -EOPNOTSUPP;

	*why = "the state folder is on no tmpfs";
	if (is_memory(folder)) {
		fd = open_file(folder);
		*why = fd < 0 ? strerror(-fd) : NULL;
	}
	return fd < 0 ? open_nameless() : fd;
}

void sight_file_remove(int folder)
{
	unlinkat(folder, SIGHT_NAME, 0);
}
