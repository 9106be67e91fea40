/*
 * fuse-file FOLDER MIB [flush]: a file system in user space (FUSE) mounted on
 * FOLDER, with one file, "disk", of that many MiB, in memory. It serves until it
 * is unmounted; stopped by SIGSTOP, it is a file server that is gone. With flush
 * the kernel asks it at each close(2), and waits, else only at the first one. It can
 * be polled, which the kernel asks it for as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DISK	  2u /* its inode; the folder is FUSE_ROOT_ID */
#define WRITE_MAX (128u << 10)

static int device; /* /dev/fuse */
static uint8_t *bytes;
static uint64_t size;
static int wants_flush;

static void die(const char *what)
{
	fprintf(stderr, "fuse-file: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void reply(const struct fuse_in_header *in, int error, const void *data,
		  size_t length)
{
	struct fuse_out_header out = { .len = (uint32_t)(sizeof(out) + length),
				       .error = error,
				       .unique = in->unique };
	struct iovec iov[2] = { { &out, sizeof(out) },
				{ (void *)data, length } };

	/* ENOENT: it was interrupted, and nobody waits any more. */
	if (writev(device, iov, 2) < 0 && errno != ENOENT)
		die("reply");
}

static struct fuse_attr attr_of(uint64_t inode)
{
	struct fuse_attr attr = { .ino = inode, .nlink = 1 };

	attr.mode = inode == DISK ? S_IFREG | 0600 : S_IFDIR | 0700;
	attr.size = inode == DISK ? size : 0;
	attr.blksize = 4096;
	return attr;
}

static void answer_init(const struct fuse_in_header *in,
			const struct fuse_init_in *asked)
{
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION,
				     .minor = asked->minor,
				     .max_write = WRITE_MAX,
				     .max_readahead = asked->max_readahead };

	reply(in, 0, &out, sizeof(out));
}

static void answer_lookup(const struct fuse_in_header *in, const char *name)
{
	struct fuse_entry_out out = { .nodeid = DISK };

	out.attr = attr_of(DISK);
	if (strcmp(name, "disk") == 0)
		reply(in, 0, &out, sizeof(out));
	else
		reply(in, -ENOENT, NULL, 0);
}

static void answer_attr(const struct fuse_in_header *in)
{
	struct fuse_attr_out out = { .attr = attr_of(in->nodeid) };

	reply(in, 0, &out, sizeof(out));
}

static void answer_read(const struct fuse_in_header *in,
			const struct fuse_read_in *asked)
{
	uint64_t left = asked->offset < size ? size - asked->offset : 0;

	reply(in, 0, bytes + asked->offset,
	      left < asked->size ? (size_t)left : asked->size);
}

static void answer_write(const struct fuse_in_header *in,
			 const struct fuse_write_in *asked)
{
	struct fuse_write_out out = { .size = asked->size };

	if (asked->offset > size || asked->size > size - asked->offset) {
		reply(in, -ENOSPC, NULL, 0);
		return;
	}
	memcpy(bytes + asked->offset, asked + 1, asked->size);
	reply(in, 0, &out, sizeof(out));
}

static void answer_statfs(const struct fuse_in_header *in)
{
	struct fuse_statfs_out out = {
		.st = { .bsize = 4096, .frsize = 4096, .namelen = 255 }
	};

	reply(in, 0, &out, sizeof(out));
}

static void answer(const struct fuse_in_header *in, const void *argument)
{
	struct fuse_open_out opened = { .fh = in->nodeid };
	struct fuse_poll_out ready = { .revents = POLLIN | POLLOUT };

	switch (in->opcode) {
	case FUSE_INIT:
		answer_init(in, argument);
		break;
	case FUSE_LOOKUP:
		answer_lookup(in, argument);
		break;
	case FUSE_GETATTR:
		answer_attr(in);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		reply(in, 0, &opened, sizeof(opened));
		break;
	case FUSE_READ:
		answer_read(in, argument);
		break;
	case FUSE_WRITE:
		answer_write(in, argument);
		break;
	case FUSE_STATFS:
		answer_statfs(in);
		break;
	case FUSE_FLUSH:
		reply(in, wants_flush ? 0 : -ENOSYS, NULL, 0);
		break;
	case FUSE_POLL:
		reply(in, 0, &ready, sizeof(ready));
		break;
	case FUSE_FSYNC:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		reply(in, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break; /* no answer is wanted */
	default:
		reply(in, -ENOSYS, NULL, 0);
	}
}

static void serve(void)
{
	static uint8_t request[WRITE_MAX + 4096]
		__attribute__((aligned(sizeof(uint64_t))));
	ssize_t n;

	for (;;) {
		n = read(device, request, sizeof(request));
		if (n >= (ssize_t)sizeof(struct fuse_in_header))
			answer((struct fuse_in_header *)request,
			       request + sizeof(struct fuse_in_header));
		else if (n < 0 && errno == ENODEV)
			return; /* unmounted */
		else if (n >= 0 || (errno != EINTR && errno != ENOENT))
			die("/dev/fuse");
	}
}

int main(int argc, char **argv)
{
	char options[80];

	if (argc != 3 && argc != 4)
		return 2;
	wants_flush = argc == 4 && strcmp(argv[3], "flush") == 0;
	size = (uint64_t)atoi(argv[2]) << 20;
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bytes == MAP_FAILED)
		die("memory");
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device < 0)
		die("/dev/fuse");
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (mount("fuse-file", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) <
	    0)
		die(argv[1]);
	serve();
	return 0;
}
