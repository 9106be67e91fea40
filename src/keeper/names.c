#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/syntax.h"

/* Returns the value of name= of the command, or NULL. */
static const char *find_name(struct syntax_line *line, const char *words)
{
	const char *why;
	int i;

	if (syntax_split(line, words, strlen(words), &why) < 0)
		return NULL;
	for (i = 0; i < line->count; i++)
		if (strncmp(line->words[i], "name=", 5) == 0)
			return line->words[i] + 5;
	return NULL;
}

/*
 * What lies there decides where links of root's lead. Returns a descriptor of the
 * folder or a negative errno.
 */
static int open_folder(const char *path)
{
	struct stat status;
	int fd, error = 0;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
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

/* Whole or not at all: udev may read it at any time. */
static int write_name(int folder, uint32_t id, const char *name)
{
	char file[32], new[40];
	int fd, error = 0;

	snprintf(file, sizeof(file), "ublkb%u", (unsigned)id);
	snprintf(new, sizeof(new), "%s.new", file);
	fd = openat(folder, new,
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    0644);
	if (fd < 0)
		return -errno;
	if (dprintf(fd, "UBLKD_NAME=%s\n", name) < 0)
		error = -errno;
	close(fd);
	if (!error && renameat(folder, new, folder, file) < 0)
		error = -errno;
	if (error)
		unlinkat(folder, new, 0);
	return error;
}

void names_write(const char *folder, uint32_t id, const char *words)
{
	struct syntax_line line;
	const char *name;
	int fd, error;

	if (!folder)
		return;
	name = find_name(&line, words);
	if (!name) {
		names_remove(folder, id);
		return;
	}
	fd = open_folder(folder);
	error = fd < 0 ? fd : write_name(fd, id, name);
	if (fd >= 0)
		close(fd);
	if (error)
		log_warning("device %u gets no link in /dev/ublk/by-name: its "
			    "name cannot be written to %s: %s",
			    (unsigned)id, folder, strerror(-error));
}

void names_remove(const char *folder, uint32_t id)
{
	char path[128];

	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/ublkb%u", folder, (unsigned)id);
	unlink(path);
}
