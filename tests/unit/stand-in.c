/*
 * stand-in SOCKET FILE: a daemon whose conversation is in a file. A line "> COMMAND"
 * there begins the answer to that command, which goes on to the next one; "~" in it is
 * a quarter of a second, and "-" the end of the connection. It greets each client as
 * one process, and goes with its parent.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE 9000

static const char *path;

static void say(FILE *client, const char *line)
{
	if (strcmp(line, "-") == 0)
		exit(0);
	fflush(client);
	if (strcmp(line, "~") == 0)
		poll(NULL, 0, 250);
	else
		fprintf(client, "%s\n", line);
}

static void answer(FILE *client, const char *command)
{
	FILE *file = fopen(path, "re");
	char line[LINE];
	int is_found = 0, is_inside = 0;

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '>') {
			is_inside = !is_found && strcmp(line + 2, command) == 0;
			is_found |= is_inside;
		} else if (is_inside) {
			say(client, line);
		}
	}
	if (file)
		fclose(file);
	if (!is_found)
		fprintf(client,
			"ERR unknown text=\"there is no command '%s'\"\n",
			command);
	fflush(client);
}

static void serve(int fd)
{
	FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
	char line[LINE];

	if (!in || !out)
		exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fprintf(out, "HELLO ublkd proto=1 version=0.1.0 pid=812\n");
	fflush(out);
	while (fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\n")] = '\0';
		answer(out, line);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client;

	if (argc != 3 || fd < 0 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	path = argv[2];
	memcpy(address.sun_path, argv[1], strlen(argv[1]));
	signal(SIGCHLD, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0)
		return 1;
	while ((client = accept(fd, NULL, NULL)) >= 0 || errno == EINTR) {
		if (client >= 0 && fork() == 0)
			serve(client);
		close(client);
	}
	return 1;
}
