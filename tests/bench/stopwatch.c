/*
 * stopwatch COMMAND [ARG]...: runs it, then prints "all NS": how long it took,
 * in nanoseconds.
 *
 * stopwatch -s SOCKET [-a] REQUEST...: sends the requests to ublkd's admin
 * socket, one after the other or, with -a, all at once, and opens the disk that
 * an answer names with dev=. Prints "one NS ANSWER" for each, counted from when
 * it was sent, and "all NS". Exits with 1 if one was refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "stopwatch: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

static FILE *connect_to(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FILE *stream;

	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(to.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die(path);
	stream = fdopen(fd, "r+");
	if (!stream)
		die("fdopen");
	return stream;
}

static void put_line(FILE *stream, const char *line)
{
	if (fprintf(stream, "%s\n", line) < 0 || fflush(stream))
		die("write to the socket");
}

/* The last line of a reply, without its newline. */
static void get_reply(FILE *stream, char *line, int size)
{
	do {
		if (!fgets(line, size, stream))
			die("read from the socket");
		line[strcspn(line, "\n")] = '\0';
	} while (strncmp(line, "OK", 2) != 0 && strncmp(line, "ERR", 3) != 0);
}

static void open_disk(const char *reply)
{
	const char *from = strstr(reply, " dev=");
	char path[64];
	int fd;

	if (!from)
		return;
	from += strlen(" dev=");
	snprintf(path, sizeof(path), "%.*s", (int)strcspn(from, " "), from);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	close(fd);
}

static int converse(const char *path, int at_once, int count, char **requests)
{
	FILE *stream = connect_to(path);
	long long begun = now_ns(), sent = begun;
	char reply[4096];
	int i, refused = 0;

	for (i = 0; at_once && i < count; i++)
		put_line(stream, requests[i]);
	for (i = 0; i < count; i++) {
		if (!at_once) {
			sent = now_ns();
			put_line(stream, requests[i]);
		}
		get_reply(stream, reply, sizeof(reply));
		open_disk(reply);
		printf("one %lld %s\n", now_ns() - sent, reply);
		refused |= strncmp(reply, "ERR", 3) == 0;
	}
	printf("all %lld\n", now_ns() - begun);
	fclose(stream);
	return refused;
}

static int run(char **command)
{
	long long begun = now_ns();
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(command[0], command);
		die(command[0]);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		die("fork");
	printf("all %lld\n", now_ns() - begun);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	int option, at_once = 0;

	while ((option = getopt(argc, argv, "+s:a")) != -1) {
		if (option == 's')
			path = optarg;
		else if (option == 'a')
			at_once = 1;
		else
			return 2;
	}
	if (optind == argc) {
		fprintf(stderr, "usage: stopwatch [-s SOCKET [-a]] ARG...\n");
		return 2;
	}
	if (!path)
		return run(argv + optind);
	return converse(path, at_once, argc - optind, argv + optind);
}
