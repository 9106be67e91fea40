#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log.h"

/* Newer than the C library's headers on the oldest supported system. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

static void avoid_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "-1000", 5) != 5)
		log_warning("cannot set oom_score_adj to -1000: %s",
			    strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Allocations made for I/O must not wait for I/O (prctl(2), Linux 5.6). */
static void become_io_flusher(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ||
	    prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) != 1)
		log_warning("cannot become an I/O flusher: %s",
			    strerror(errno));
}

static void lock_memory(void)
{
#ifdef __SANITIZE_ADDRESS__
	log_info("memory is not locked in a sanitizer build");
#else
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_warning("cannot lock memory: %s", strerror(errno));
#endif
}

void process_protect(void)
{
	avoid_oom_killer();
	become_io_flusher();
	lock_memory();
}

void process_allow_files(unsigned long wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted;
	if (limit.rlim_max < wanted) {
		rlim_t hard = limit.rlim_max;

		limit.rlim_max = wanted;
		if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
			return;
		limit.rlim_max = limit.rlim_cur = hard;
	}
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warning("cannot allow %lu open files: %s", wanted,
			    strerror(errno));
}

void process_set_name(const char *name)
{
	prctl(PR_SET_NAME, name, 0, 0, 0);
}
