/* Without libedit there is no shell. */
#include "shell.h"

int shell_run(const struct run *run, int count)
{
	(void)run;
	(void)count;
	return run_fail_usage("this ublkctl was built without libedit, and has "
			      "no shell");
}
