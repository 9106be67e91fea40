/*
 * The host's files in /proc, /sys, /dev and /etc, below a folder: "", but in tests.
 * Cold, so that they are compiled for size.
 */
#ifndef UBLKD_HOST_H
#define UBLKD_HOST_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * Read what a file has, as far as there is room: terminated, without the LF at the
 * end. Returns the length or a negative errno, and text is then "".
 */
int host_read(const char *root, char *text, size_t size, const char *path, ...)
	__attribute__((cold, format(printf, 4, 5)));

/* Whether there is such a file or folder. */
int host_has(const char *root, const char *path, ...)
	__attribute__((cold, format(printf, 2, 3)));

/* NULL if it cannot be read. To be closed by fclose(), and by closedir(). */
FILE *host_file(const char *root, const char *path, ...)
	__attribute__((cold, format(printf, 2, 3)));
DIR *host_folder(const char *root, const char *path, ...)
	__attribute__((cold, format(printf, 2, 3)));

/* Where a link leads to, or "": of a descriptor's link that asks nobody. */
void host_link(const char *root, char *target, size_t size, const char *path,
	       ...) __attribute__((cold, format(printf, 4, 5)));

/*
 * The value behind "key" at the beginning of a line, without blanks around, as the
 * files of /proc have it: cut off at size. Returns 0, or -ENOENT and "".
 */
int host_value(const char *text, const char *key, char *value, size_t size)
	__attribute__((cold));

/* ---- processes ---- */

/* Called for one of many things, by its name; returns 1 if that is enough. */
typedef int host_visit(void *context, const char *name);

/*
 * Visit the processes of the host, by their numbers: "812". Returns 1 if a visit
 * was enough. A walk takes a time that grows with the host.
 */
int host_each_process(const char *root, host_visit *visit, void *context)
	__attribute__((cold));

/*
 * Visit what a process has open, by the names that its descriptors lead to. Only
 * links are read: a stat of somebody's open file could wait for a dead network
 * file system.
 */
int host_each_file(const char *root, const char *process, host_visit *visit,
		   void *context) __attribute__((cold));

/* ---- mounts ---- */

/* Names have blanks and the like as the kernel writes them, "\040". */
struct host_mount {
	unsigned major, minor; /* of its file system */
	char point[256], kind[64], source[256];
};

/*
 * Take the next of /proc/self/mountinfo. Returns 1, or 0 at its end; NULL is a
 * file without any.
 */
int host_next_mount(FILE *mountinfo, struct host_mount *mount)
	__attribute__((cold));

/* ---- cgroups ---- */

#define HOST_CGROUP 250

/*
 * The cgroup (v2) of a process, "self" or a number, below /sys/fs/cgroup: "" for
 * the topmost, or without one. group has room for HOST_CGROUP bytes.
 */
void host_cgroup(const char *root, const char *process, char *group)
	__attribute__((cold));

/* ---- ublk's devices ---- */

#define HOST_DEVICES_MAX 1024 /* of which is told */

struct host_device {
	uint32_t id;
	int has_disk;	   /* /dev/ublkbN, beside /dev/ublkcN */
	pid_t server;	   /* has ublkcN open; 0: nobody is seen to */
	unsigned inflight; /* requests that the disk has */
};

/*
 * Find what devices there are, by id. Returns how many; who serves them is only
 * known to root.
 */
unsigned host_devices(const char *root, struct host_device *devices)
	__attribute__((cold));

/*
 * A process has a file open: if that is the char device of one of these, it serves
 * that.
 */
void host_note_server(struct host_device *devices, unsigned count,
		      const char *process, const char *file)
	__attribute__((cold));

#endif
