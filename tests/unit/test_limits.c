/* What a process does for itself: no limit that it was started with kills it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "support.h"

/* In a process of its own: how it ended, as waitpid() tells. */
static int run(int (*job)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(job());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void set_limit(int which, rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(which, &limit);
	limit.rlim_cur = bytes;
	if (setrlimit(which, &limit) < 0)
		_exit(100);
}

/* A file is written, and made longer, beyond the limit. */
static int exceed_file_size(void)
{
	int fd = open(test_path("file"), O_RDWR | O_CLOEXEC);

	set_limit(RLIMIT_FSIZE, 4096);
	/* A server says nothing that its keeper has said. */
	process_survive_limits(LOG_LEVEL_DEBUG);
	if (log_has("larger than 4096 bytes"))
		return 4;
	process_survive_limits(LOG_LEVEL_WARNING);
	if (!log_has("larger than 4096 bytes"))
		return 1;
	if (pwrite(fd, "x", 1, 4096) >= 0 || errno != EFBIG)
		return 2;
	if (ftruncate(fd, 8192) == 0 || errno != EFBIG)
		return 3;
	return 0;
}

TEST_CASE(test_file_size)
{
	test_file("file", "");
	assert_int_equal(run(exceed_file_size), 0);
	test_folder_remove();
}

static int take_signals(void)
{
	static const int signals[] = { SIGPIPE, SIGXFSZ,   SIGXCPU,
				       SIGALRM, SIGVTALRM, SIGPROF };
	unsigned i;

	process_survive_limits(LOG_LEVEL_WARNING);
	for (i = 0; i < COUNT(signals); i++)
		raise(signals[i]);
	return 0;
}

TEST_CASE(test_signals)
{
	assert_int_equal(run(take_signals), 0);
}

/* Of its own children it hears, whoever ignored his. */
static int have_a_child(void)
{
	int status = -1;
	pid_t pid;

	signal(SIGCHLD, SIG_IGN);
	process_survive_limits(LOG_LEVEL_WARNING);
	pid = fork();
	if (pid == 0)
		_exit(7);
	return waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7;
}

TEST_CASE(test_children)
{
	assert_int_equal(run(have_a_child), 0);
}

static int lift_cpu_time(void)
{
	struct rlimit limit = { 1000, 1000 };
	int is_lifted;

	if (setrlimit(RLIMIT_CPU, &limit) < 0)
		return 1;
	process_survive_limits(LOG_LEVEL_WARNING);
	getrlimit(RLIMIT_CPU, &limit);
	is_lifted = limit.rlim_cur == RLIM_INFINITY &&
		    limit.rlim_max == RLIM_INFINITY;
	/* Without CAP_SYS_RESOURCE it cannot be, and that is said. */
	return is_lifted == log_has("CPU time");
}

TEST_CASE(test_cpu_time)
{
	assert_int_equal(run(lift_cpu_time), 0);
}

/* Nothing is said where there is nothing to say. */
static int has_no_limits(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	process_survive_limits(LOG_LEVEL_WARNING);
	return limit.rlim_cur == RLIM_INFINITY && log_has("RLIMIT_FSIZE");
}

TEST_CASE(test_no_limits)
{
	assert_int_equal(run(has_no_limits), 0);
}

int main(void)
{
	return tests_run();
}
