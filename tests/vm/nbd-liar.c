/*
 * nbd-liar SOCKET FILE LIE [CONNECTIONS]: an NBD server that serves FILE, read and
 * write, to one client after the other, and lies to the first CONNECTIONS of them
 * (1). LIE is what it does, to each of these, once it has answered some requests
 * as one should:
 *
 *   cookie    answers what nobody has asked
 *   twice     answers a request once more
 *   magic     sends what is no reply
 *   cut       closes the connection in the middle of a reply's data
 *   more      sends more data than were asked for
 *   error     answers with an error that the protocol does not have
 *   silent    says nothing any more
 *
 * or before that, in the handshake:
 *
 *   mute      says nothing
 *   noise     greets in another language
 *   hang-up   closes the connection
 *   smaller   has half of the disk
 *   larger    has twice as much, and an error for what is behind the file's end
 *
 * or "none". The only export has the name "disk".
 *
 * nbd-liar dns: a name server on 127.0.0.1 that says nothing.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HONEST 5 /* replies before a lie */
#define ROOM   (33u << 20)

#define OPTION_MAGIC   UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define ANSWER_MAGIC   UINT64_C(0x0003e889045565a9)
#define REQUEST_MAGIC  0x25609513u
#define REPLY_MAGIC    0x67446698u
#define OPTION_GO      7u
#define ANSWER_ACK     1u
#define ANSWER_INFO    3u
#define ANSWER_UNSUP   0x80000001u
#define ANSWER_UNKNOWN 0x80000006u
#define FLAGS	       0x000du /* has flags, can flush, and FUA */

enum { READ, WRITE, DISCONNECT, FLUSH };

struct option_head {
	uint64_t magic;
	uint32_t option, length;
} __attribute__((packed));

struct answer_head {
	uint64_t magic;
	uint32_t option, type, length;
} __attribute__((packed));

struct request {
	uint32_t magic;
	uint16_t flags, command;
	uint64_t cookie, offset;
	uint32_t length;
} __attribute__((packed));

struct reply {
	uint32_t magic, error;
	uint64_t cookie;
} __attribute__((packed));

static const char *lie; /* of this connection; "none" */
static int file, client;
static uint64_t size;
static uint8_t bytes[ROOM];

static void die(const char *what)
{
	fprintf(stderr, "nbd-liar: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int lies(const char *what)
{
	return strcmp(lie, what) == 0;
}

/* Both return 0, or -1: the client has gone. */
static int get(void *to, size_t count)
{
	ssize_t got = recv(client, to, count, MSG_WAITALL);

	return got == (ssize_t)count ? 0 : -1;
}

static int put(const void *from, size_t count)
{
	ssize_t sent = send(client, from, count, MSG_NOSIGNAL);

	return sent == (ssize_t)count ? 0 : -1;
}

static void wait_for_the_end(void)
{
	while (get(bytes, 1) == 0)
		;
}

/* ---- the handshake ---- */

static int answer(uint32_t option, uint32_t type, const void *data,
		  uint32_t length)
{
	const struct answer_head head = { htobe64(ANSWER_MAGIC),
					  htobe32(option), htobe32(type),
					  htobe32(length) };

	return put(&head, sizeof(head)) < 0 || (length && put(data, length) < 0)
		       ? -1
		       : 0;
}

static int tell_export(void)
{
	struct {
		uint16_t kind;
		uint64_t size;
		uint16_t flags;
	} __attribute__((packed)) info = { 0, htobe64(size), htobe16(FLAGS) };

	if (lies("smaller"))
		info.size = htobe64(size / 2);
	if (lies("larger"))
		info.size = htobe64(size * 2);
	return answer(OPTION_GO, ANSWER_INFO, &info, sizeof(info)) < 0 ||
			       answer(OPTION_GO, ANSWER_ACK, NULL, 0) < 0
		       ? -1
		       : 0;
}

static int asks_for_disk(uint32_t length)
{
	uint32_t count;

	memcpy(&count, bytes, sizeof(count));
	return length >= 8 && be32toh(count) == 4 &&
	       memcmp(bytes + 4, "disk", 4) == 0;
}

static int shake_hands(void)
{
	static const char greeting[] = "NBDMAGICIHAVEOPT\0\3";
	struct option_head head;
	uint32_t flags, option, length;

	if (lies("hang-up"))
		return -1;
	if (lies("mute")) {
		wait_for_the_end();
		return -1;
	}
	if (lies("noise")) {
		put("220 mail.example.com ESMTP\r\n", 28);
		wait_for_the_end();
		return -1;
	}
	if (put(greeting, sizeof(greeting) - 1) < 0 ||
	    get(&flags, sizeof(flags)) < 0)
		return -1;
	while (get(&head, sizeof(head)) == 0) {
		option = be32toh(head.option);
		length = be32toh(head.length);
		if (be64toh(head.magic) != OPTION_MAGIC || length > ROOM ||
		    (length && get(bytes, length) < 0))
			return -1;
		if (option == OPTION_GO && asks_for_disk(length))
			return tell_export();
		if (answer(option,
			   option == OPTION_GO ? ANSWER_UNKNOWN : ANSWER_UNSUP,
			   NULL, 0) < 0)
			return -1;
	}
	return -1;
}

/* ---- requests ---- */

/* Returns 0 or the protocol's error, the data in `bytes`. */
static uint32_t carry_out(const struct request *request, uint32_t length)
{
	off_t offset = (off_t)be64toh(request->offset);
	ssize_t count = 0;

	switch (be16toh(request->command)) {
	case READ:
		count = pread(file, bytes, length, offset);
		break;
	case WRITE:
		count = pwrite(file, bytes, length, offset);
		break;
	case FLUSH:
		return fdatasync(file) < 0 ? 5 : 0;
	default:
		return 22;
	}
	return count == (ssize_t)length ? 0 : 22;
}

/* Returns 0, or -1: the connection ends. */
static int reply_falsely(struct reply *reply, uint32_t data)
{
	if (lies("silent")) {
		wait_for_the_end();
		return -1;
	}
	if (lies("magic"))
		reply->magic = ~reply->magic;
	if (lies("cookie"))
		reply->cookie ^= UINT64_C(1) << 40;
	if (lies("error"))
		reply->error = htobe32(4711);
	if (put(reply, sizeof(*reply)) < 0)
		return -1;
	if (lies("cut")) {
		put(bytes, data / 2);
		return -1;
	}
	if (reply->error)
		return 0;
	if (data && put(bytes, data) < 0)
		return -1;
	if (lies("more"))
		put(bytes, sizeof(*reply));
	if (lies("twice"))
		put(reply, sizeof(*reply));
	return 0;
}

static int serve_one(unsigned count)
{
	struct request request;
	struct reply reply;
	uint32_t length, error;

	if (get(&request, sizeof(request)) < 0 ||
	    be32toh(request.magic) != REQUEST_MAGIC)
		return -1;
	length = be32toh(request.length);
	if (be16toh(request.command) == DISCONNECT || length > ROOM)
		return -1;
	if (be16toh(request.command) == WRITE && get(bytes, length) < 0)
		return -1;
	error = carry_out(&request, length);
	reply = (struct reply){ htobe32(REPLY_MAGIC), htobe32(error),
				request.cookie };
	if (be16toh(request.command) != READ || error)
		length = 0;
	if (count == HONEST)
		return reply_falsely(&reply, length);
	return put(&reply, sizeof(reply)) < 0 ||
			       (length && put(bytes, length) < 0)
		       ? -1
		       : 0;
}

static void serve(void)
{
	unsigned count = 0;

	if (shake_hands() < 0)
		return;
	while (serve_one(count++) == 0)
		;
}

/* ---- clients ---- */

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 5) < 0)
		die(path);
	return fd;
}

static void be_a_dead_name_server(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(53) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("port 53");
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	struct stat status;
	int listener, count, lied = 0;

	if (argc == 2 && strcmp(argv[1], "dns") == 0)
		be_a_dead_name_server();
	if (argc < 4)
		return 2;
	count = argc > 4 ? atoi(argv[4]) : 1;
	file = open(argv[2], O_RDWR);
	if (file < 0 || fstat(file, &status) < 0)
		die(argv[2]);
	size = (uint64_t)status.st_size;
	listener = listen_at(argv[1]);
	for (;;) {
		client = accept(listener, NULL, NULL);
		if (client < 0)
			continue;
		lie = lied++ < count ? argv[3] : "none";
		serve();
		close(client);
	}
}
