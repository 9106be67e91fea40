#include "compat.h"

#include <sys/syscall.h>
#include <unistd.h>

#if !HAVE_DECL_STATX
int statx(int folder, const char *path, int flags, unsigned int mask,
	  struct statx *status)
{
	return (int)syscall(SYS_statx, folder, path, flags, mask, status);
}
#endif

#if !HAVE_DECL_PREADV2
ssize_t preadv2(int fd, const struct iovec *pieces, int count, off_t offset,
		int flags)
{
	/* In two halves; the second one is for 32 bits alone. */
	return syscall(SYS_preadv2, fd, pieces, count, (long)offset,
		       (long)((long long)offset >> 32), flags);
}
#endif
