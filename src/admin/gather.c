#include "gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target/ask.h"

struct gathering {
	int fd; /* the file of memory for the text */
	const char *path;
	gather_done *done;
	void *context;
};

static int fail_path(const char *path, int error, struct failure *failure)
{
	return failure_set(failure, failure_symbol(error), error, NULL,
			   "%.200s cannot be read: %s", config_path(path),
			   strerror(abs(error)));
}

static int take_answer(const struct gathering *gathering,
		       const struct message *answer, struct config *config,
		       struct failure *failure)
{
	int error;

	if (config_told(answer, failure) < 0)
		return -1;
	error = config_load(config, gathering->fd);
	return error ? fail_path(gathering->path, error, failure) : 0;
}

static void on_gathered(void *context, const struct message *answer)
{
	struct gathering *gathering = context, was = *gathering;
	struct config config = { .text = NULL };
	struct failure failure;
	int result = take_answer(gathering, answer, &config, &failure);

	close(gathering->fd);
	free(gathering);
	if (result < 0)
		config_free(&config);
	was.done(was.context, result < 0 ? NULL : &config,
		 result < 0 ? &failure : NULL);
}

int gather_config(const char *path, enum helper_job job, gather_done *done,
		  void *context, struct failure *failure)
{
	struct gathering *gathering;
	int error;

	if (!path[0])
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "this ublkd was started without a "
				   "configuration file (--config)");
	gathering = malloc(sizeof(*gathering));
	if (!gathering)
		return failure_no_memory(failure);
	gathering->path = path;
	gathering->done = done;
	gathering->context = context;
	gathering->fd = memfd_create("ublkd-config", MFD_CLOEXEC);
	if (gathering->fd < 0) {
		error = -errno;
	} else {
		error = ask(job, path, gathering->fd, on_gathered, gathering);
		if (!error)
			return 0; /* it is the answer's */
		close(gathering->fd);
	}
	free(gathering);
	return fail_path(path, error, failure);
}
