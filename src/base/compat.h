/*
 * What Linux has and a C library may lack: musl leaves some names to the kernel's
 * headers, and has statx() since 1.2.4 and preadv2() since 1.2.5 only.
 */
#ifndef UBLKD_COMPAT_H
#define UBLKD_COMPAT_H

#include <fcntl.h>
#include <linux/falloc.h> /* FALLOC_FL_... */
#include <linux/fs.h>	  /* RWF_... */
#include <sys/stat.h>
#include <sys/uio.h>

/* These are as glibc has them. */
#if !HAVE_DECL_STATX
#include <linux/stat.h>

int statx(int folder, const char *path, int flags, unsigned int mask,
	  struct statx *status);
#endif

#if !HAVE_DECL_PREADV2
ssize_t preadv2(int fd, const struct iovec *pieces, int count, off_t offset,
		int flags);
#endif

#endif
