#include "backing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/node.h"

/* Newer than the headers of the oldest supported system; the kernel's ABI. */
#define WANT_DIOALIGN 0x2000u /* Linux 6.1 */
#define AT_DIO_OFFSET 0x9c    /* uint32_t stx_dio_offset_align */

#define LINK_BYTES  512
#define STACK_DEPTH 8 /* devices on devices that are looked through */

/* What the kernel knows; a file server that is gone could block more. */
static int ask_status(int fd, struct statx *status)
{
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		  STATX_BASIC_STATS | WANT_DIOALIGN, status) < 0)
		return -errno;
	return 0;
}

static uint32_t field(const struct statx *status, size_t at)
{
	uint32_t value;

	memcpy(&value, (const char *)status + at, sizeof(value));
	return value;
}

/* ---- disks ---- */

static uint64_t read_sysfs_number(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long number = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%llu", &number) != 1)
		number = 0;
	fclose(file);
	return number;
}

/* An attribute of the disk's queue; a partition has its disk's. */
static uint64_t queue_number(dev_t device, const char *name)
{
	static const char *const places[] = { "", "../" };
	uint64_t number = 0;
	char path[100];
	unsigned i;

	for (i = 0; i < 2 && !number; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s",
			 major(device), minor(device), places[i], name);
		number = read_sysfs_number(path);
	}
	return number;
}

static int look_at_disk(struct backing *backing, int fd)
{
	uint64_t unit = queue_number(backing->device, "discard_granularity");
	int block;

	if (ioctl(fd, BLKSSZGET, &block) < 0 ||
	    ioctl(fd, BLKGETSIZE64, &backing->size) < 0)
		return -errno;
	backing->kind = BACKING_DISK;
	backing->least = backing->direct = (uint32_t)block;
	backing->unit = unit > backing->least && unit <= 1u << 30
				? (uint32_t)unit
				: backing->least;
	backing->can_punch =
		queue_number(backing->device, "write_zeroes_max_bytes") > 0;
	return 0;
}

/* ---- files ---- */

/* Only files of memory have seals, whether any are set or not. */
static int is_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

/* A tmpfs with huge pages has large blocks as well. */
static int is_huge(int fd)
{
	struct statfs status;

	return fstatfs(fd, &status) == 0 &&
	       (unsigned)status.f_type == HUGETLBFS_MAGIC;
}

/*
 * Whether a file system on that device is of this kind. The kernel tells it in
 * sysfs of a local one; fstatfs() would ask the server of a network file system,
 * or of FUSE, perhaps for ever.
 */
static int is_kind(dev_t device, const char *kind)
{
	char name[LINK_BYTES], path[LINK_BYTES + 16];

	if (backing_name(device, name, sizeof(name)) < 0)
		return 0;
	snprintf(path, sizeof(path), "/sys/fs/%s/%s", kind, name);
	return access(path, F_OK) == 0;
}

int backing_read_cached(int fd, void *bytes, size_t length, uint64_t offset)
{
	struct iovec iov = { bytes, length };
	ssize_t n = preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);

	if (n < 0 && errno == EOPNOTSUPP)
		return -EOPNOTSUPP;
	return n == (ssize_t)length;
}

static void look_at_file(struct backing *backing, int fd,
			 const struct statx *status)
{
	char byte;

	backing->size = status->stx_size;
	backing->least = 512;
	backing->unit = status->stx_blksize;
	if (is_memory(fd)) {
		backing->kind = is_huge(fd) ? BACKING_HUGE : BACKING_MEMORY;
		return;
	}
	backing->kind = BACKING_FILE;
	/* The kernel says so before it asks the file system for anything. */
	backing->waits = backing_read_cached(fd, &byte, 1, backing->size) ==
			 -EOPNOTSUPP;
	/* Who does not say may have it; the least that all can do then. */
	backing->direct = 4096;
	if (status->stx_mask & WANT_DIOALIGN)
		backing->direct = field(status, AT_DIO_OFFSET);
	/* A read through the page cache of ext4 does not; others may. */
	backing->locks_reads = !is_kind(backing->device, "ext4");
	backing->can_punch = 1;
}

int backing_look(struct backing *backing, int fd)
{
	struct statx status;
	int error = ask_status(fd, &status);

	memset(backing, 0, sizeof(*backing));
	if (error)
		return error;
	backing->inode = status.stx_ino;
	if (S_ISBLK(status.stx_mode)) {
		backing->device =
			makedev(status.stx_rdev_major, status.stx_rdev_minor);
		return look_at_disk(backing, fd);
	}
	if (!S_ISREG(status.stx_mode))
		return -ENOTBLK;
	backing->device = makedev(status.stx_dev_major, status.stx_dev_minor);
	look_at_file(backing, fd, &status);
	return 0;
}

/*
 * Only file systems with flags for their inodes (nodump) are asked: those know
 * without I/O, and no file server is among them.
 */
static uint64_t generation_of(int fd, const struct statx *status)
{
	uint32_t answer[2] = { 0 }; /* asked for as a long, and told as an int */

	if (!(status->stx_attributes_mask & STATX_ATTR_NODUMP) ||
	    ioctl(fd, FS_IOC_GETVERSION, answer) < 0)
		return 0;
	return answer[0];
}

int backing_identify(const struct backing *backing, int fd,
		     struct backing_identity *identity)
{
	struct statx status;
	int error = ask_status(fd, &status);

	memset(identity, 0, sizeof(*identity));
	if (error)
		return error;
	identity->size = backing->size;
	if (backing->kind == BACKING_DISK)
		return 0;
	identity->modified = (uint64_t)status.stx_mtime.tv_sec * 1000000000 +
			     status.stx_mtime.tv_nsec;
	identity->generation = generation_of(fd, &status);
	return 0;
}

int backing_size(const struct backing *backing, int fd, uint64_t *size)
{
	struct statx status;
	int error;

	if (backing->kind == BACKING_DISK)
		return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	error = ask_status(fd, &status);
	if (!error)
		*size = status.stx_size;
	return error;
}

uint64_t backing_used(int fd)
{
	struct statx status;

	return ask_status(fd, &status) == 0 ? status.stx_blocks * 512 : 0;
}

/* ---- who has it ---- */

int backing_is_disk(int fd)
{
	struct statx status;

	return ask_status(fd, &status) == 0 && S_ISBLK(status.stx_mode);
}

int backing_lock(int fd, int read_only, char *who, size_t size)
{
	struct flock lock = { .l_type = read_only ? F_RDLCK : F_WRLCK,
			      .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	lock.l_pid = 0;
	snprintf(who, size, "it is locked by another program");
	if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK &&
	    lock.l_pid > 0)
		snprintf(who, size, "process %d has it locked",
			 (int)lock.l_pid);
	return -EBUSY;
}

/* The link below /sys/dev/block: its last word is the disk's name. */
static int read_link(dev_t device, char *link, size_t size)
{
	char path[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device),
		 minor(device));
	length = readlink(path, link, size - 1);
	if (length < 0)
		return -errno;
	link[length] = '\0';
	return 0;
}

int backing_name(dev_t device, char *name, size_t size)
{
	char link[LINK_BYTES], *last;
	int error = read_link(device, link, sizeof(link));

	if (error)
		return error;
	last = strrchr(link, '/');
	snprintf(name, size, "%s", last ? last + 1 : link);
	return 0;
}

/* ---- is it one of our own? ---- */

struct search {
	int (*is_own)(void *context, uint32_t id);
	void *context;
	int depth;
};

static int64_t search_device(struct search *search, dev_t device);

/* The number in ".../block/ublkb7/ublkb7p1", or -1. */
static int64_t number_in(const char *link)
{
	const char *name = strstr(link, "/ublkb");
	char *end;
	long number;

	if (!name)
		return -1;
	number = strtol(name + 6, &end, 10);
	return end == name + 6 ? -1 : number;
}

static int64_t search_name(struct search *search, const char *name)
{
	char path[LINK_BYTES];
	dev_t device;

	snprintf(path, sizeof(path), "/sys/class/block/%.200s/dev", name);
	return node_read_number(path, &device) < 0
		       ? -1
		       : search_device(search, device);
}

/* What dm and md devices lie on. */
static int64_t search_slaves(struct search *search, dev_t device)
{
	char path[100];
	struct dirent *entry;
	int64_t found = -1;
	DIR *folder;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/slaves",
		 major(device), minor(device));
	folder = opendir(path);
	while (folder && found < 0 && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			found = search_name(search, entry->d_name);
	if (folder)
		closedir(folder);
	return found;
}

static int64_t search_device(struct search *search, dev_t device)
{
	char link[LINK_BYTES];
	int64_t number, found;

	if (search->depth == STACK_DEPTH ||
	    read_link(device, link, sizeof(link)) < 0)
		return -1;
	number = number_in(link);
	if (number >= 0)
		return search->is_own(search->context, (uint32_t)number)
			       ? number
			       : -1;
	search->depth++;
	found = search_slaves(search, device);
	search->depth--;
	return found;
}

int64_t backing_find_own(const struct backing *backing,
			 int (*is_own)(void *context, uint32_t id),
			 void *context)
{
	struct search search = { is_own, context, 0 };

	return search_device(&search, backing->device);
}
