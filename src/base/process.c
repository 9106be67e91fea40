#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Newer than the C library's headers on the oldest supported system. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

static void set_oom_score(enum log_level level, const char *score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	ssize_t length = (ssize_t)strlen(score);

	if (fd < 0 || write(fd, score, (size_t)length) != length)
		log_line(level, "cannot set oom_score_adj to %s: %s", score,
			 strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Allocations made for I/O must not wait for I/O (prctl(2), Linux 5.6). */
static void become_io_flusher(enum log_level level)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ||
	    prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) != 1)
		log_line(level, "cannot become an I/O flusher: %s",
			 strerror(errno));
}

#ifdef __SANITIZE_ADDRESS__

static void lock_memory(enum log_level level)
{
	(void)level;
	log_info("memory is not locked in a sanitizer build");
}

#else

/*
 * mlockall() succeeds while what there is fits RLIMIT_MEMLOCK, and then whatever
 * is mapped above that fails, though nobody touches it. Without a process that
 * may lock more (CAP_IPC_LOCK of the host: a container's own does not count),
 * which only a trial tells, memory is not locked at all. Returns 0 or -errno.
 */
static int try_more_than_allowed(void)
{
	struct rlimit limit;
	size_t length;
	void *map;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
	    limit.rlim_cur > SIZE_MAX / 4)
		return 0;
	length = (size_t)limit.rlim_cur + (size_t)sysconf(_SC_PAGESIZE);
	map = mmap(NULL, length, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return errno == EAGAIN ? -EAGAIN : 0;
	munmap(map, length);
	return 0;
}

static void lock_memory(enum log_level level)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0) {
		log_line(level, "cannot lock memory: %s", strerror(errno));
	} else if (try_more_than_allowed() < 0) {
		munlockall();
		log_line(level, "cannot lock memory: RLIMIT_MEMLOCK is too low "
				"without CAP_IPC_LOCK");
	}
}

#endif

/*
 * What is freed between other pieces of the heap cannot go back to the system:
 * glibc's advice fails on locked memory. So what is as large as a page, most of
 * which is needed for a moment only, has pages of its own, which go back at once;
 * unless the end of the heap has room, which it therefore is to have none of.
 * musl does so by itself.
 */
static void give_freed_memory_back(void)
{
#ifdef M_MMAP_THRESHOLD
	mallopt(M_MMAP_THRESHOLD, (int)sysconf(_SC_PAGESIZE));
	mallopt(M_TOP_PAD, 0);
	malloc_trim(0);
#endif
}

int process_mounts(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	return fd;
}

void process_protect(enum log_level level)
{
	process_mounts();
	set_oom_score(level, "-1000");
	become_io_flusher(level);
	lock_memory(level);
	give_freed_memory_back();
}

void process_be_ordinary(void)
{
	set_oom_score(LOG_LEVEL_WARNING, "0");
}

/* SIGXCPU could be ignored, but not the SIGKILL at the hard limit. */
static void lift_cpu_limit(enum log_level level)
{
	static const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_CPU, &none) < 0)
		log_line(level, "cannot lift the limit of CPU time: %s",
			 strerror(errno));
}

static void tell_file_limit(enum log_level level)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		log_line(level,
			 "no file or RAM disk can be larger than %llu bytes "
			 "(RLIMIT_FSIZE)",
			 (unsigned long long)limit.rlim_cur);
}

void process_survive_limits(enum log_level level)
{
	static const int signals[] = { SIGPIPE, SIGXFSZ,   SIGXCPU,
				       SIGALRM, SIGVTALRM, SIGPROF };
	unsigned i;

	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would never come */
	lift_cpu_limit(level);
	tell_file_limit(level);
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
