#include "save.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "target/ask.h"
#include "dump.h"
#include "verbs.h"

/* ---- in the helper ---- */

static int fail_path(struct failure *failure, const char *path,
		     const char *what)
{
	int error = errno;

	return failure_set(failure, failure_symbol(error), error, NULL,
			   "cannot %s %.200s: %s", what, path, strerror(error));
}

/* Returns 0; or -1 with *failure filled if a line includes others. */
static int check_flat(const char *path, FILE *file, struct failure *failure)
{
	struct syntax_line line;
	unsigned number = 0;
	char *text = NULL;
	size_t size = 0;
	ssize_t length;
	int includes = 0;

	while (!includes && (length = getline(&text, &size, file)) >= 0) {
		number++;
		if (length && text[length - 1] == '\n')
			length--;
		includes = config_includes(text, (size_t)length, &line);
	}
	free(text);
	if (!includes)
		return 0;
	failure_set(failure, SYMBOL_STATE, 0, NULL,
		    "%.200s:%u includes other files: flat=yes writes all "
		    "devices into this one, and it includes none any more",
		    path, number);
	return -1;
}

/*
 * Look at the file that is to be replaced. Returns 0, and its status, or that of
 * a new one; or -1 with *failure filled.
 */
static int look_at_old(const char *path, int flat, struct stat *status,
		       struct failure *failure)
{
	FILE *file = fopen(path, "re");
	int result = 0;

	if (!file && errno == ENOENT) {
		status->st_mode = 0644;
		status->st_uid = geteuid();
		status->st_gid = getegid();
		return 0;
	}
	if (!file || fstat(fileno(file), status) < 0) {
		fail_path(failure, path, "read");
		result = -1;
	} else if (!S_ISREG(status->st_mode)) {
		failure_set(failure, SYMBOL_ARG, 0, NULL,
			    "%.200s is no file that can be replaced", path);
		result = -1;
	} else if (!flat) {
		result = check_flat(path, file, failure);
	}
	if (file)
		fclose(file);
	return result;
}

static int copy_text(int from, int to)
{
	char bytes[65536];
	off_t at = 0;
	ssize_t n, done;

	while ((n = pread(from, bytes, sizeof(bytes), at)) > 0) {
		done = write(to, bytes, (size_t)n);
		if (done < 0)
			return -1;
		at += done;
	}
	return (int)n;
}

/*
 * The new file, on its disk, in the place of one that was left there. Returns 0, or
 * -1 with errno set.
 */
static int write_new(const char *path, int text, const struct stat *old)
{
	int fd, error = 0;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		  0600);
	if (fd < 0)
		return -1;
	/* In this order: the mode of another's file is not ours to change. */
	if (copy_text(text, fd) < 0 || fchmod(fd, old->st_mode & 07777) < 0 ||
	    fchown(fd, old->st_uid, old->st_gid) < 0 || fsync(fd) < 0)
		error = errno;
	close(fd);
	errno = error;
	return error ? -1 : 0;
}

/* The folder's entries are on its disk. */
static int sync_folder(const char *path)
{
	const char *end = strrchr(path, '/');
	char folder[PATH_MAX];
	int fd, result;

	snprintf(folder, sizeof(folder), "%.*s/", end ? (int)(end - path) : 1,
		 end ? path : ".");
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	result = fsync(fd);
	close(fd);
	return result;
}

/*
 * The file gets a second name, PATH.old, which stays with what it was; the file that
 * had that name before goes no earlier. Returns 0, also where no file can have two
 * names, or -1 with errno set.
 */
static int keep_former(const char *path)
{
	char former[PATH_MAX], spare[PATH_MAX];
	int result, error;

	snprintf(former, sizeof(former), "%.*s.old", PATH_MAX - 12, path);
	snprintf(spare, sizeof(spare), "%.*s.old.new", PATH_MAX - 12, path);
	unlink(spare);
	if (link(path, spare) < 0) {
		if (errno == EPERM || errno == EOPNOTSUPP)
			log_warning("%s: what it was is not kept, for its "
				    "filesystem has no hard links",
				    path);
		else if (errno != ENOENT)
			return -1;
		return 0;
	}
	result = rename(spare, former);
	error = errno;
	unlink(spare); /* it stays, too, if both are names of one file already */
	errno = error;
	return result;
}

static int replace(const char *path, int text, const struct stat *old,
		   struct failure *failure)
{
	char fresh[PATH_MAX];

	snprintf(fresh, sizeof(fresh), "%.*s.new", PATH_MAX - 8, path);
	if (write_new(fresh, text, old) < 0) {
		fail_path(failure, fresh, "write");
		unlink(fresh);
		return -1;
	}
	if (keep_former(path) < 0 || rename(fresh, path) < 0 ||
	    sync_folder(path) < 0) {
		fail_path(failure, path, "replace");
		unlink(fresh);
		return -1;
	}
	return 0;
}

int save_file(const char *path, int text, int flat, struct failure *failure)
{
	/* Of a link the file behind it. */
	char *whole = realpath(path, NULL);
	struct stat old;
	int result;

	if (whole)
		path = whole;
	result = look_at_old(path, flat, &old, failure);
	if (result == 0)
		result = replace(path, text, &old, failure);
	free(whole);
	return result;
}

/* ---- the command ---- */

struct saving {
	struct request *request;
	int fd;		   /* a file of memory for the text */
	uint32_t next;	   /* device to be written */
	uint64_t *written; /* serials of those that were, */
	unsigned devices;  /* so many, */
	unsigned claimed;  /* of which so many have been claimed */
};

static void drop_saving(struct request *request)
{
	struct saving *saving = request->work;

	if (saving->fd >= 0)
		close(saving->fd);
	free(saving->written);
	free(saving);
	request->work = NULL;
	request->drop = NULL;
}

static void claim_next(struct saving *saving);

/* A device that cannot be claimed just now is still what the file says. */
static void on_claimed(void *context, struct device *device,
		       const struct failure *failure)
{
	(void)device;
	(void)failure;
	claim_next(context);
}

/*
 * What is in the file came from there: for the next reload, also after a crash. A
 * device that was added meanwhile is not in the file.
 */
static void claim_next(struct saving *saving)
{
	struct request *request = saving->request;
	unsigned devices = saving->devices;
	struct device *device;
	struct failure failure;

	while (saving->claimed < devices) {
		device = device_find_serial(&request->host->devices,
					    saving->written[saving->claimed++]);
		if (device && dump_has(device) && !device->spec.configured &&
		    device_claim(device, on_claimed, saving, &failure) == 0)
			return;
	}
	drop_saving(request);
	request_ok(request, " devices=%u", devices);
}

static void on_saved(void *context, const struct message *answer)
{
	struct saving *saving = context;
	struct request *request = saving->request;
	struct failure failure;

	if (config_told(answer, &failure) == 0) {
		claim_next(saving);
		return;
	}
	drop_saving(request);
	request_fail(request, &failure);
}

static int begin_saving(struct request *request, struct failure *failure)
{
	static const char head[] = "# Written by the command save of ublkd.\n";
	struct saving *saving;

	if (!request->host->config[0])
		return failure_set(failure, SYMBOL_STATE, 0, NULL,
				   "this ublkd was started without a "
				   "configuration file (--config)");
	saving = calloc(1, sizeof(*saving));
	if (!saving)
		return failure_no_memory(failure);
	saving->request = request;
	saving->fd = memfd_create("ublkd-save", MFD_CLOEXEC);
	request->work = saving;
	request->drop = drop_saving;
	if (saving->fd >= 0 &&
	    write(saving->fd, head, sizeof(head) - 1) == sizeof(head) - 1)
		return 1;
	drop_saving(request);
	return failure_no_memory(failure);
}

static int remember(struct saving *saving, const struct device *device)
{
	uint64_t *written =
		realloc(saving->written,
			(saving->devices + 1) * sizeof(*saving->written));

	if (!written)
		return -1;
	saving->written = written;
	written[saving->devices++] = device->serial;
	return 0;
}

/* The next few devices. Returns 1 if there are more, 0, or -1. */
static int write_some(struct saving *saving, struct failure *failure)
{
	struct request *request = saving->request;
	const struct device *device = request->host->devices.first;
	char text[ADD_TEXT_MAX + 1];
	int turn = 0;
	size_t length;

	for (; device; device = device->next) {
		if (device->spec.id < saving->next || !dump_has(device))
			continue;
		if (turn++ == DUMP_TURN)
			return 1;
		if (add_format(device, text, ADD_TEXT_MAX, failure) < 0)
			return -1;
		length = strlen(text);
		text[length++] = '\n';
		if (write(saving->fd, text, length) != (ssize_t)length ||
		    remember(saving, device) < 0)
			return failure_no_memory(failure);
		saving->next = device->spec.id + 1;
	}
	return 0;
}

int verb_save(struct request *request, struct failure *failure)
{
	int flat = request->values[VERB_SAVE_FLAT].number != 0, result, error;
	struct saving *saving = request->work;
	char path[MESSAGE_TEXT];

	if (!saving)
		return begin_saving(request, failure);
	result = write_some(saving, failure);
	if (result > 0)
		return 1;
	snprintf(path, sizeof(path), "%s%s", flat ? "!" : "",
		 config_path(request->host->config));
	error = result < 0
			? 0
			: ask(HELPER_SAVE, path, saving->fd, on_saved, saving);
	if (result == 0 && !error)
		return 0;
	drop_saving(request);
	return result < 0 ? -1
			  : failure_set(failure, failure_symbol(error), error,
					NULL, "no helper can be asked to save");
}
