#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "base/syntax.h"

#define FORMAT_VERSION 1
#define TEXT_SIZE      (SYNTAX_LINE_MAX + 4096)

/*
 * A device's file is N.dev, or N.del once it is being deleted. Its lines:
 *
 *   state version=1 id=3 recoverable=1 private=0 configured=1 mark=8457
 *   file path=/dev/shm/ublkd-x device=26 inode=7 born=0 generation=9
 *							(one a descriptor)
 *   add ram size=64M				(always the last)
 */
#define LIVE   "dev"
#define DOOMED "del"

static void name_device_file(char *name, size_t size, uint32_t id,
			     const char *kind)
{
	snprintf(name, size, "%u.%s", (unsigned)id, kind);
}

/* ---- folders ---- */

/*
 * Open a folder whose files decide what root does. Returns a descriptor or a
 * negative errno, -EPERM when others can write to the folder.
 */
static int open_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat status;
	int error = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0)
		error = -errno;
	else if (status.st_uid != geteuid() || (status.st_mode & 022))
		error = -EPERM;
	if (!error)
		return fd;
	close(fd);
	return error;
}

static int lock_folder(const struct state *state, struct failure *failure)
{
	struct dying dying = { .what = state->path };
	int error = dying_lock(&dying, state->fd);

	if (error == -EBUSY)
		return failure_set(failure, SYMBOL_BUSY, 0, NULL,
				   "another ublkd keeps its state in %s; name "
				   "another folder with --state",
				   state->path);
	return error ? dying_failure(&dying, error, failure) : 0;
}

int state_open(struct state *state, const char *path, struct failure *failure)
{
	state->fd = -1;
	if (snprintf(state->path, sizeof(state->path), "%s", path) >=
	    (int)sizeof(state->path))
		return failure_set(failure, SYMBOL_ARG, 0, NULL,
				   "the path of the state folder has at most "
				   "%zu bytes",
				   sizeof(state->path) - 1);
	state->made = mkdir(path, 0700) == 0;
	if (!state->made && errno != EEXIST)
		return failure_set(failure, failure_symbol(errno), errno, NULL,
				   "cannot make the state folder %s: %s", path,
				   strerror(errno));
	state->fd = open_folder(path);
	if (state->fd == -EPERM)
		return failure_set(failure, SYMBOL_DENIED, 0, NULL,
				   "the state folder %s can be written to by "
				   "others; its mode should be 0700",
				   path);
	if (state->fd < 0)
		return failure_set(failure, failure_symbol(state->fd),
				   state->fd, NULL,
				   "cannot open the state folder %s: %s", path,
				   strerror(-state->fd));
	if (lock_folder(state, failure) == 0) {
		/* Of a keeper that was killed while it wrote. */
		unlinkat(state->fd, "new", 0);
		return 0;
	}
	close(state->fd);
	state->fd = -1;
	return -1;
}

void state_close(struct state *state)
{
	if (state->fd < 0)
		return;
	if (state->made)
		rmdir(state->path);
	close(state->fd);
	state->fd = -1;
}

/* ---- writing ---- */

static size_t append_text(char *text, size_t at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Past the end nothing is written, but it is counted. */
static size_t append_text(char *text, size_t at, const char *format, ...)
{
	size_t room = at < TEXT_SIZE ? TEXT_SIZE - at : 0;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(room ? text + at : NULL, room, format, args);
	va_end(args);
	return at + (length > 0 ? (size_t)length : 0);
}

static size_t format_device(char *text, const struct state_device *device)
{
	size_t at;
	int i;

	at = append_text(text, 0,
			 "state version=%d id=%u recoverable=%d private=%d "
			 "configured=%d quiesced=%d mark=%llu tally=%llu\n",
			 FORMAT_VERSION, (unsigned)device->id,
			 device->recoverable, device->private,
			 device->configured, device->quiesced,
			 (unsigned long long)device->mark,
			 (unsigned long long)device->tally);
	for (i = 0; i < device->file_count; i++) {
		const struct held_file *file = &device->files[i];
		char path[sizeof(file->path) * 4];

		syntax_quote(path, sizeof(path), file->path);
		at = append_text(
			text, at,
			"file path=%s device=%llu inode=%llu born=%llu "
			"generation=%llu\n",
			path, (unsigned long long)file->device,
			(unsigned long long)file->inode,
			(unsigned long long)file->born,
			(unsigned long long)file->generation);
	}
	return append_text(text, at, "%s\n", device->words);
}

/*
 * Write a file whole or not at all: udev, for instance, may read it at any time.
 * One that is durable is whole after a power failure, too, if the folder is on a
 * disk; for that the disk is waited for.
 */
static int write_file(int folder, const char *name, const char *temporary,
		      int is_durable, mode_t mode, const char *text,
		      size_t length)
{
	int fd = openat(folder, temporary,
			O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			mode);
	ssize_t written;
	int error;

	if (fd < 0)
		return -errno;
	written = write(fd, text, length);
	error = written < 0 ? -errno : (size_t)written < length ? -ENOSPC : 0;
	if (!error && is_durable && fsync(fd) < 0)
		error = -errno;
	close(fd);
	if (!error && renameat(folder, temporary, folder, name) < 0)
		error = -errno;
	if (error)
		unlinkat(folder, temporary, 0);
	return error;
}

int state_write(const struct state *state, const struct state_device *device)
{
	char text[TEXT_SIZE], name[32];
	size_t length = format_device(text, device);
	int error;

	if (length >= sizeof(text))
		return -ENAMETOOLONG;
	name_device_file(name, sizeof(name), device->id, LIVE);
	error = write_file(state->fd, name, "new", 1, 0600, text, length);
	if (error)
		return error;
	/* The device is not being deleted: state_spare() may have failed. */
	name_device_file(name, sizeof(name), device->id, DOOMED);
	unlinkat(state->fd, name, 0);
	state_write_name(state, device->id, device->words);
	return 0;
}

static int change_kind(const struct state *state, uint32_t id, const char *was,
		       const char *is)
{
	char from[32], to[32];

	name_device_file(from, sizeof(from), id, was);
	name_device_file(to, sizeof(to), id, is);
	return renameat(state->fd, from, state->fd, to) < 0 ? -errno : 0;
}

int state_doom(const struct state *state, uint32_t id)
{
	return change_kind(state, id, LIVE, DOOMED);
}

int state_spare(const struct state *state, uint32_t id)
{
	return change_kind(state, id, DOOMED, LIVE);
}

/* ---- what udev is told ---- */

static void remove_name(const struct state *state, uint32_t id)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/ublkb%u", state->names, (unsigned)id);
	unlink(path);
}

static int write_name(const char *names, uint32_t id, const char *text,
		      size_t length)
{
	char file[32], temporary[40];
	int folder, error;

	if (mkdir(names, 0755) < 0 && errno != EEXIST)
		return -errno;
	folder = open_folder(names);
	if (folder < 0)
		return folder;
	snprintf(file, sizeof(file), "ublkb%u", (unsigned)id);
	snprintf(temporary, sizeof(temporary), "%s.new", file);
	error = write_file(folder, file, temporary, 0, 0644, text, length);
	close(folder);
	return error;
}

/*
 * Lines of a word of the command, for udev. Values have neither blanks nor quotes
 * (OPTION_NAME, OPTION_CHOICE).
 */
static size_t format_word(char *text, size_t at, const char *word)
{
	const char *group = strchr(word, ':');

	if (strncmp(word, "name=", 5) == 0)
		return append_text(text, at, "UBLKD_NAME=%s\n", word + 5);
	if (strncmp(word, "node-mode=", 10) == 0)
		return append_text(text, at, "UBLKD_MODE=%s\n", word + 10);
	if (strncmp(word, "owner=", 6) != 0)
		return at;
	at = append_text(text, at, "UBLKD_OWNER=%.*s\n",
			 (int)strcspn(word + 6, ":"), word + 6);
	return group ? append_text(text, at, "UBLKD_GROUP=%s\n", group + 1)
		     : at;
}

void state_write_name(const struct state *state, uint32_t id, const char *words)
{
	struct syntax_line line = { .count = 0 };
	char text[TEXT_SIZE];
	size_t at = 0;
	const char *why;
	int error, i;

	if (!state->names)
		return;
	if (syntax_split(&line, words, strlen(words), &why) < 0)
		line.count = 0;
	for (i = 0; i < line.count; i++)
		at = format_word(text, at, line.words[i]);
	if (at == 0) {
		remove_name(state, id);
		return;
	}
	error = write_name(state->names, id, text, at);
	if (error)
		log_warning("device %u: udev gets to know neither its name nor "
			    "its owner, which cannot be written to %s: %s",
			    (unsigned)id, state->names, strerror(-error));
}

/* ---- the end of a device ---- */

void state_remove(const struct state *state, uint32_t id)
{
	char name[32];

	name_device_file(name, sizeof(name), id, LIVE);
	unlinkat(state->fd, name, 0);
	name_device_file(name, sizeof(name), id, DOOMED);
	unlinkat(state->fd, name, 0);
	if (state->names)
		remove_name(state, id);
}

/* ---- reading ---- */

/* The number of key=N on the line, or 0 and *error set without it. */
static uint64_t read_number(const struct syntax_line *line, const char *key,
			    uint64_t max, int *error)
{
	uint64_t number;
	size_t length;
	int i;

	for (i = 1; i < line->count; i++) {
		const char *value = syntax_value(line->words[i], &length);

		if (!value || length != strlen(key) ||
		    strncmp(line->words[i], key, length) != 0)
			continue;
		if (syntax_number(value, &number) == 0 && number <= max)
			return number;
		break;
	}
	*error = -EINVAL;
	return 0;
}

static int read_head(const struct syntax_line *line,
		     struct state_device *device)
{
	int error = 0, is_old;

	read_number(line, "version", FORMAT_VERSION, &error);
	device->id =
		(uint32_t)read_number(line, "id", UBLK_MAX_DEVICES - 1, &error);
	device->recoverable = read_number(line, "recoverable", 1, &error) != 0;
	device->private = read_number(line, "private", 1, &error) != 0;
	/* Builds before this was noted knew a device by its socket. */
	device->mark = read_number(line, "mark", UINT64_MAX, &is_old);
	device->tally = read_number(line, "tally", UINT64_MAX, &is_old);
	device->configured = read_number(line, "configured", 1, &is_old) != 0;
	device->quiesced = read_number(line, "quiesced", 1, &is_old) != 0;
	return error;
}

static int read_file_line(const struct syntax_line *line,
			  struct state_device *device)
{
	struct held_file *file = &device->files[device->file_count];
	int error = 0, is_old;
	size_t length;
	const char *path;

	if (device->file_count == MESSAGE_MAX_FDS || line->count < 2)
		return -EINVAL;
	path = syntax_value(line->words[1], &length);
	if (!path || strncmp(line->words[1], "path=", 5) != 0 ||
	    strlen(path) >= sizeof(file->path))
		return -EINVAL;
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->device = (dev_t)read_number(line, "device", UINT64_MAX, &error);
	file->inode = (ino_t)read_number(line, "inode", UINT64_MAX, &error);
	/* Builds before these were noted could not tell a file made anew. */
	file->born = read_number(line, "born", UINT64_MAX, &is_old);
	file->generation = read_number(line, "generation", UINT64_MAX, &is_old);
	file->fd = -1;
	device->file_count++;
	return error;
}

/* Returns 1 after the last line, 0 before it, or -EINVAL. */
static int read_line(const char *text, size_t length, int number,
		     struct state_device *device)
{
	struct syntax_line line;
	const char *why;

	if (syntax_split(&line, text, length, &why) < 0 || line.count == 0)
		return -EINVAL;
	if (number == 0)
		return strcmp(line.words[0], "state") == 0
			       ? read_head(&line, device)
			       : -EINVAL;
	if (strcmp(line.words[0], "file") == 0)
		return read_file_line(&line, device);
	if (strcmp(line.words[0], "add") != 0 || length >= MESSAGE_TEXT)
		return -EINVAL;
	memcpy(device->words, text, length);
	device->words[length] = '\0';
	return 1;
}

static int parse_device(char *text, struct state_device *device)
{
	int number, result = 0;

	for (number = 0; result == 0; number++) {
		char *end = strchr(text, '\n');

		if (!end)
			return -EINVAL;
		result = read_line(text, (size_t)(end - text), number, device);
		text = end + 1;
	}
	return result < 0 ? result : text[0] ? -EINVAL : 0;
}

/* The device's words and files are there until the next device is read. */
static int read_device(const struct state *state, const char *name,
		       struct state_device *device)
{
	static struct held_file files[MESSAGE_MAX_FDS];
	static char words[MESSAGE_TEXT];
	char text[TEXT_SIZE];
	int fd = openat(state->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t length;

	memset(files, 0, sizeof(files));
	*device = (struct state_device){ .files = files, .words = words };
	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length < 0)
		return -errno;
	text[length] = '\0';
	return strlen(text) == (size_t)length ? parse_device(text, device)
					      : -EINVAL;
}

int state_has(const struct state *state, uint32_t id)
{
	struct state_device device;
	char live[32], doomed[32];

	name_device_file(live, sizeof(live), id, LIVE);
	name_device_file(doomed, sizeof(doomed), id, DOOMED);
	return read_device(state, live, &device) == 0 ||
	       read_device(state, doomed, &device) == 0;
}

/* Whether it is a device's file; *doomed tells which kind. */
static int is_device_file(const char *name, int *doomed)
{
	const char *dot = name + strspn(name, "0123456789");

	if (dot == name || *dot != '.')
		return 0;
	*doomed = strcmp(dot + 1, DOOMED) == 0;
	return *doomed || strcmp(dot + 1, LIVE) == 0;
}

static void read_one(const struct state *state, const char *name,
		     void (*take)(void *, struct state_device *), void *context)
{
	struct state_device device;
	int doomed, error;

	if (!is_device_file(name, &doomed))
		return;
	error = read_device(state, name, &device);
	if (!error && device.id != strtoul(name, NULL, 10))
		error = -EINVAL;
	if (error) {
		log_error("%s/%s is no device's state: %s", state->path, name,
			  strerror(-error));
		return;
	}
	device.deleting = doomed;
	take(context, &device);
}

int state_read_all(const struct state *state,
		   void (*take)(void *context, struct state_device *device),
		   void *context)
{
	int fd = openat(state->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!folder) {
		int error = -errno;

		if (fd >= 0)
			close(fd);
		return error;
	}
	while ((entry = readdir(folder)))
		read_one(state, entry->d_name, take, context);
	closedir(folder);
	return 0;
}
