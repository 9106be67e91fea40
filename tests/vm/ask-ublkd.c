/*
 * ask-ublkd SOCKET REQUEST: sends a line and prints the answer without greeting
 * and waits. What socat and sed would do, but those spend ten times as long
 * with their libraries, which on an emulated CPU is a third of a second for each
 * of thousands of requests.
 *
 * It waits a minute for more of an answer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT 60 /* s */

static void die(const char *what)
{
	fprintf(stderr, "ask-ublkd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = WAIT };
	size_t length = strlen(path);
	int fd;

	if (length >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(address.sun_path, path, length);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		die("a time limit");
	return fd;
}

/* The last part of an answer that is cut short is printed as well. */
static void print_answer(int fd)
{
	FILE *in = fdopen(fd, "r");
	char *line = NULL;
	size_t size = 0;

	if (!in)
		die("the socket");
	while (getline(&line, &size, in) > 0)
		if (strncmp(line, "HELLO ", 6) != 0 &&
		    strncmp(line, "WAIT", 4) != 0)
			fputs(line, stdout);
	free(line);
	fclose(in);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 3) {
		fputs("usage: ask-ublkd SOCKET REQUEST\n", stderr);
		return 2;
	}
	fd = connect_to(argv[1]);
	/* A server that dies meanwhile gives no answer; that is for the test. */
	if (send(fd, argv[2], strlen(argv[2]), MSG_NOSIGNAL | MSG_MORE) >= 0)
		send(fd, "\n", 1, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	print_answer(fd);
	return 0;
}
