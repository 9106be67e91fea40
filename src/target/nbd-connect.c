#include "nbd-connect.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef WITHOUT_TLS
#include "nbd-tls.h"
#endif

#define LIBRARY "libnbd.so.0"

/*
 * Seconds. A server that is alive, but stands still, is given so long before what
 * it has not taken is sent once more, to the same or to another one; one that is
 * gone without a word is noticed as late.
 */
#define SILENCE	    60
#define PROBE_AFTER 15

void nbd_export_write(const struct nbd_export *export, char *text, size_t size)
{
	snprintf(text, size, "%" PRIu64 " %x %u %u %u %s", export->size,
		 export->flags, export->least, export->best, export->most,
		 export->peer);
}

int nbd_export_read(struct nbd_export *export, const char *text)
{
	export->peer[0] = '\0';
	return sscanf(text, "%" SCNu64 " %x %u %u %u %79[^\n]", &export->size,
		      &export->flags, &export->least, &export->best,
		      &export->most, export->peer) >= 5
		       ? 0
		       : -EPROTO;
}
_Static_assert(NBD_PEER == 80, "as nbd_export_read() has it");

/* ---- libnbd ---- */

/* All that is used of it. */
#define FUNCTIONS(F)                      \
	F(create)                         \
	F(close)                          \
	F(get_error)                      \
	F(get_errno)                      \
	F(set_request_structured_replies) \
	F(set_opt_mode)                   \
	F(set_export_name)                \
	F(connect_socket)                 \
	F(connect_uri)                    \
	F(opt_go)                         \
	F(aio_is_negotiating)             \
	F(aio_get_fd)                     \
	F(get_size)                       \
	F(get_block_size)                 \
	F(is_read_only)                   \
	F(is_rotational)                  \
	F(can_flush)                      \
	F(can_fua)                        \
	F(can_trim)                       \
	F(can_zero)                       \
	F(can_multi_conn)

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a name that is declared */
#define AS_MEMBER(name) __typeof__(nbd_##name) *name;
static struct {
	FUNCTIONS(AS_MEMBER)
} lib;

static int find(void *library, const char *name, void *function)
{
	void *found = dlsym(library, name);

	memcpy(function, &found, sizeof(found));
	return found != NULL;
}

/* Returns 0 or -ENOSYS. */
static int load(char *text, size_t size)
{
	void *library = dlopen(LIBRARY, RTLD_NOW);
	int has_all = library != NULL;

#define AS_CALL(name) \
	has_all = has_all && find(library, "nbd_" #name, &lib.name);
	FUNCTIONS(AS_CALL)
	if (has_all)
		return 0;
	snprintf(text, size, "%s",
		 library ? LIBRARY " is older than 1.4" : dlerror());
	return -ENOSYS;
}

/* ---- a connection ---- */

/* Its last call has failed. A size that it takes for negative is no error to it. */
static int fail(char *text, size_t size)
{
	const char *why = lib.get_error();
	int error = lib.get_errno();

	snprintf(text, size, "%s",
		 why ? why : "the export's size is 2^63 bytes or more");
	return error > 0 && error != EBUSY ? -error : -EIO;
}

/* libnbd does not tell these two apart. */
static int fail_go(char *text, size_t size)
{
	int error = fail(text, size);

	if (error != -EOPNOTSUPP)
		return error;
	snprintf(text, size,
		 "the server wants TLS, as with nbds://, or does not know "
		 "NBD_OPT_GO");
	return -EPROTO;
}

/* A server that speaks plainly: that of the URI, or by a socket that there is. */
struct way {
	const char *uri;
	int fd;		     /* libnbd's, or -1: by the URI */
	pid_t relay;	     /* at the other end of the socket */
	char peer[NBD_PEER]; /* behind it, or "" */
};

/*
 * The name that the URI has is replaced before it is asked for. A server of the
 * oldest kind has but one export, and no names. Structured replies are the client's
 * to ask for, and every server has simple ones: those suffice, for a read here is
 * all of its bytes or an error.
 */
static int negotiate(struct nbd_handle *nbd, const struct way *way,
		     const char *export, char *text, size_t size)
{
	if (lib.set_request_structured_replies(nbd, 0) < 0 ||
	    lib.set_opt_mode(nbd, 1) < 0 ||
	    (way->fd >= 0 ? lib.connect_socket(nbd, way->fd)
			  : lib.connect_uri(nbd, way->uri)) < 0)
		return fail(text, size);
	if (!lib.aio_is_negotiating(nbd)) {
		if (!export)
			return 0;
		snprintf(text, size,
			 "the server has one export without a "
			 "name, so that export= is none");
		return -EINVAL;
	}
	if ((export && lib.set_export_name(nbd, export) < 0) ||
	    lib.opt_go(nbd) < 0)
		return fail_go(text, size);
	return 0;
}

/* Of a question that the server has left open: no. */
static uint32_t flag_if(int answer, uint32_t flag)
{
	return answer > 0 ? flag : 0;
}

static uint32_t block_size(struct nbd_handle *nbd, int which)
{
	int64_t bytes = lib.get_block_size(nbd, which);

	return bytes > 0 && bytes <= UINT32_MAX ? (uint32_t)bytes : 0;
}

static int look(struct nbd_handle *nbd, struct nbd_export *export)
{
	int64_t bytes = lib.get_size(nbd);

	if (bytes < 0)
		return -1;
	export->size = (uint64_t)bytes;
	export->flags = flag_if(lib.is_read_only(nbd), NBD_READ_ONLY) |
			flag_if(lib.is_rotational(nbd), NBD_ROTATIONAL) |
			flag_if(lib.can_flush(nbd), NBD_FLUSH) |
			flag_if(lib.can_fua(nbd), NBD_FUA) |
			flag_if(lib.can_trim(nbd), NBD_TRIM) |
			flag_if(lib.can_zero(nbd), NBD_WRITE_ZEROES) |
			flag_if(lib.can_multi_conn(nbd), NBD_MULTI_CONN);
	export->least = block_size(nbd, LIBNBD_SIZE_MINIMUM);
	export->best = block_size(nbd, LIBNBD_SIZE_PREFERRED);
	export->most = block_size(nbd, LIBNBD_SIZE_MAXIMUM);
	return 0;
}

static void name_listener(int fd, char *peer)
{
	struct ucred listener = { .pid = 0 };
	socklen_t length = sizeof(listener);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &length);
	snprintf(peer, NBD_PEER, "pid %d", (int)listener.pid);
}

static void name_host(const struct sockaddr *address, socklen_t length,
		      char *peer)
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE] = "?", port[8] = "?";

	getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(peer, NBD_PEER, "%s:%s", host, port);
}

/* By the server's own socket: what is before it, such as a relay, says nothing. */
static void name_peer(int fd, char *peer)
{
	union {
		struct sockaddr any;
		struct sockaddr_storage room;
		struct sockaddr_vm vsock;
	} address = { .any = { .sa_family = AF_UNSPEC } };
	socklen_t length = sizeof(address);

	getpeername(fd, &address.any, &length);
	if (address.any.sa_family == AF_UNIX)
		name_listener(fd, peer);
	else if (address.any.sa_family == AF_VSOCK)
		snprintf(peer, NBD_PEER, "vsock %u:%u", address.vsock.svm_cid,
			 address.vsock.svm_port);
	else if (address.any.sa_family != AF_UNSPEC)
		name_host(&address.any, length, peer);
}

/* Harmless on a socket that is none of TCP. */
static void prepare_socket(int fd)
{
	const int yes = 1, after = PROBE_AFTER, probes = SILENCE / PROBE_AFTER;
	const unsigned silence = SILENCE * 1000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &after, sizeof(after));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &after, sizeof(after));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence,
		   sizeof(silence));
}

/* A socket of our own, on which the session goes on; or a negative errno. */
static int connect_with(struct nbd_handle *nbd, const struct way *way,
			const char *export, struct nbd_export *found,
			char *text, size_t size)
{
	int error = negotiate(nbd, way, export, text, size), fd;

	if (error)
		return error;
	if (look(nbd, found) < 0)
		return fail(text, size);
	fd = fcntl(lib.aio_get_fd(nbd), F_DUPFD_CLOEXEC, 0);
	if (fd < 0) {
		error = -errno;
		snprintf(text, size, "%s", strerror(-error));
		return error;
	}
	if (way->fd < 0)
		name_peer(fd, found->peer);
	prepare_socket(fd);
	/* In a ring EAGAIN would be an answer. */
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

/* To close the handle tells the server nothing: it closes its own descriptor. */
static int connect_way(const struct way *way, const char *export, char *text,
		       size_t size)
{
	struct nbd_export found = { .size = 0 };
	struct nbd_handle *nbd;
	int fd;

	memcpy(found.peer, way->peer, sizeof(found.peer));
	nbd = lib.create();
	if (!nbd) {
		if (way->fd >= 0)
			close(way->fd);
		return fail(text, size);
	}
	fd = connect_with(nbd, way, export, &found, text, size);
	lib.close(nbd);
	if (fd >= 0)
		nbd_export_write(&found, text, size);
	return fd;
}

#ifndef WITHOUT_TLS

static int connect_tls(const char *text_uri, const char *export, char *text,
		       size_t size)
{
	static struct nbd_uri uri;
	struct way way = { .uri = text_uri };
	gnutls_session_t session;
	const char *why = nbd_uri_read(&uri, text_uri);
	int fd;

	if (why) {
		snprintf(text, size, "%s", why);
		return -EINVAL;
	}
	fd = nbd_tls_connect(&uri, &session, text, size);
	if (fd < 0)
		return fd;
	prepare_socket(fd);
	name_peer(fd, way.peer);
	way.fd = nbd_relay_start(session, fd, &way.relay);
	if (way.fd < 0) {
		snprintf(text, size, "no relay for TLS can be started: %s",
			 strerror(-way.fd));
		return way.fd;
	}
	fd = connect_way(&way, export ? export : uri.export_name, text, size);
	if (fd < 0)
		nbd_relay_explain(way.relay, text, size);
	return fd;
}

#endif

int nbd_connect(const char *uri, const char *export, char *text, size_t size)
{
	const struct way plain = { .uri = uri, .fd = -1 };
	int error = load(text, size);

	if (error)
		return error;
#ifndef WITHOUT_TLS
	if (nbd_uri_is_tls(uri))
		return connect_tls(uri, export, text, size);
#endif
	return connect_way(&plain, export, text, size);
}
