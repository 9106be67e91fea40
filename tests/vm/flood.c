/*
 * flood SOCKET connections RATE SECONDS   comes and goes so often a second
 * flood SOCKET line MEGABYTES             a line as long, and then "ping"
 * flood SOCKET deaf CLIENTS SECONDS TIMES COMMAND
 *                                         clients that say it so often, as far as
 *                                         the server takes it, and read nothing
 * flood SOCKET late SECONDS COMMAND       one that reads and prints the answers
 *                                         after that time, until nothing comes for
 *                                         a second
 *
 * Clients as an admin socket has to stand them.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS 128

static const char *path;

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path);
	return fd;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void sleep_until(double when)
{
	double rest = when - now();
	struct timespec time = { .tv_sec = (time_t)rest };

	if (rest <= 0)
		return;
	time.tv_nsec = (long)((rest - (double)time.tv_sec) * 1e9);
	nanosleep(&time, NULL);
}

/* Those that are late are made up for. */
static void connections(double rate, double seconds)
{
	double begun = now();
	unsigned count = 0, most = (unsigned)(rate * seconds);

	for (; count < most; count++) {
		sleep_until(begun + count / rate);
		close(connect_to());
	}
	printf("%u connections in %.1f s\n", count, now() - begun);
}

static void print_answers(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	char text[4096];
	ssize_t n;

	while (poll(&wait, 1, 1000) > 0 &&
	       (n = read(fd, text, sizeof(text))) > 0)
		fwrite(text, 1, (size_t)n, stdout);
}

static void write_all(int fd, const char *text, size_t size)
{
	ssize_t n;

	for (; size; text += n, size -= (size_t)n) {
		n = write(fd, text, size);
		if (n < 0)
			die("write");
	}
}

static void line(unsigned megabytes)
{
	static char text[1000000];
	int fd = connect_to();

	memset(text, 'a', sizeof(text));
	while (megabytes--)
		write_all(fd, text, sizeof(text));
	write_all(fd, "\nping\n", 6);
	print_answers(fd);
}

/* One whose socket is full, or that was closed, has said enough. */
static void deaf(unsigned clients, double seconds, unsigned times,
		 const char *command)
{
	double end = now() + seconds;
	size_t length = strlen(command);
	unsigned i, said = 0;
	int fds[CLIENTS];

	for (i = 0; i < clients && i < CLIENTS; i++)
		fds[i] = connect_to();
	while (times--)
		for (i = 0; i < clients && i < CLIENTS; i++)
			said += send(fds[i], command, length,
				     MSG_DONTWAIT | MSG_NOSIGNAL) ==
				(ssize_t)length;
	sleep_until(end);
	printf("%u clients, %u times said\n", clients, said);
}

static void late(double seconds, const char *command)
{
	int fd = connect_to();

	write_all(fd, command, strlen(command));
	sleep_until(now() + seconds);
	print_answers(fd);
}

int main(int argc, char **argv)
{
	char command[300] = "";

	if (argc < 4)
		return 2;
	path = argv[1];
	snprintf(command, sizeof(command), "%s\n", argv[argc - 1]);
	if (strcmp(argv[2], "connections") == 0 && argc == 5)
		connections(atof(argv[3]), atof(argv[4]));
	else if (strcmp(argv[2], "line") == 0)
		line((unsigned)atoi(argv[3]));
	else if (strcmp(argv[2], "deaf") == 0 && argc == 7)
		deaf((unsigned)atoi(argv[3]), atof(argv[4]),
		     (unsigned)atoi(argv[5]), command);
	else if (strcmp(argv[2], "late") == 0 && argc == 5)
		late(atof(argv[3]), command);
	else
		return 2;
	return fflush(stdout) ? 1 : 0;
}
