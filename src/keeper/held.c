#include "held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/log.h"

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t) /* Linux 5.15 */
#endif

#define DELETED " (deleted)" /* behind the links of such files in /proc */

/*
 * Disks count how often the kernel has made one. Of files only file systems
 * with flags for their inodes (nodump) are asked: those know without I/O, and
 * no file server is among them.
 */
static uint64_t generation_of(int fd, const struct statx *status)
{
	uint32_t of_inode[2] = {
		0
	}; /* asked for as a long, and told as an int */
	uint64_t of_disk;

	if (S_ISBLK(status->stx_mode))
		return ioctl(fd, BLKGETDISKSEQ, &of_disk) < 0 ? 0 : of_disk;
	if (!(status->stx_attributes_mask & STATX_ATTR_NODUMP) ||
	    ioctl(fd, FS_IOC_GETVERSION, of_inode) < 0)
		return 0;
	return of_inode[0];
}

/*
 * The link of one that was made without a name is "/folder/#1234 (deleted)",
 * also when it has got one.
 */
static int had_no_name(const char *path, char **base)
{
	size_t length = strlen(path), tail = strlen(DELETED);

	*base = strrchr(path, '/');
	return *base && (*base)[1] == '#' && length > tail &&
	       strcmp(path + length - tail, DELETED) == 0;
}

void held_describe(struct held_file *file, int fd)
{
	struct statx status;
	char link[40], *base;
	ssize_t length;

	memset(file, 0, sizeof(*file));
	file->fd = fd;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_BASIC_STATS | STATX_BTIME, &status) < 0)
		return;
	file->device = makedev(status.stx_dev_major, status.stx_dev_minor);
	file->inode = (ino_t)status.stx_ino;
	file->generation = generation_of(fd, &status);
	/* A disk's node may be made anew for the same disk. */
	if (!S_ISBLK(status.stx_mode) && (status.stx_mask & STATX_BTIME))
		file->born = (uint64_t)status.stx_btime.tv_sec * 1000000000 +
			     status.stx_btime.tv_nsec;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, file->path, sizeof(file->path) - 40);
	file->path[length > 0 ? length : 0] = '\0';
	if (had_no_name(file->path, &base))
		sprintf(base, "/ublkd-ram-%llu",
			(unsigned long long)status.stx_ino);
	else if (status.stx_nlink == 0)
		file->path[0] = '\0';
}

/* What one of the two does not know is no difference. */
static int numbers_differ(uint64_t one, uint64_t other)
{
	return one && other && one != other;
}

static int is_same_file(const struct held_file *file,
			const struct held_file *other)
{
	return file->device == other->device && file->inode == other->inode &&
	       !numbers_differ(file->born, other->born) &&
	       !numbers_differ(file->generation, other->generation);
}

int held_take(struct held_file *file, int fd)
{
	struct held_file now;

	held_describe(&now, fd);
	if (!is_same_file(file, &now))
		return -ESTALE;
	*file = now;
	return 0;
}

int held_open(struct held_file *file)
{
	int fd, error;

	if (!file->path[0])
		return -ENOENT;
	fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	error = held_take(file, fd);
	if (error)
		close(fd);
	return error;
}

int held_is_there(const struct held_file *file)
{
	int fd = open(file->path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	struct held_file now;

	if (fd < 0)
		return 0;
	held_describe(&now, fd);
	close(fd);
	return is_same_file(file, &now);
}

int held_link(const struct held_file *file)
{
	char link[40];
	struct stat status;

	if (!file->path[0] || fstat(file->fd, &status) < 0 ||
	    status.st_nlink > 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file->fd);
	if (linkat(AT_FDCWD, link, AT_FDCWD, file->path, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return 0;
}

void held_remove(const struct held_file *file)
{
	if (held_is_there(file) && unlink(file->path) < 0)
		log_warning("cannot remove %s: %s", file->path,
			    strerror(errno));
}

void held_close(const struct held_file *files, int count)
{
	while (count--)
		if (files[count].fd >= 0)
			close(files[count].fd);
}

int held_fds(const struct held_file *files, int count, int *fds)
{
	int i;

	for (i = 0; i < count; i++) {
		if (files[i].fd < 0)
			return 0;
		fds[i] = files[i].fd;
	}
	return count;
}
