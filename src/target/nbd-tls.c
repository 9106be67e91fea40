#include "nbd-tls.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LIBRARY "libgnutls.so.30"

#define FILE_SIZE_MAX (1 << 20) /* bytes of keys or certificates */

/* Seconds for each address, and for each word of the server. */
#define CONNECT_PATIENCE 4
#define ANSWER_PATIENCE	 8

/* An older version of TLS than 1.2 is none. Where there is a PSK nothing but that
 * will do. */
#define PRIORITY     "-VERS-TLS1.1:-VERS-TLS1.0"
#define PRIORITY_PSK PRIORITY ":-KX-ALL:+ECDHE-PSK:+DHE-PSK"

struct nbd_gnutls nbd_gnutls;

/* What is being made. */
struct tls {
	const struct nbd_uri *uri;
	int fd; /* of the server */
	gnutls_session_t session;
	gnutls_certificate_credentials_t certificates;
	gnutls_psk_client_credentials_t psk;
	gnutls_typed_vdata_st wanted[2]; /* of the server's certificate */
	char *text;			 /* why there is none */
	size_t size;
};

static __attribute__((format(printf, 3, 4))) int
fail(struct tls *tls, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(tls->text, tls->size, format, arguments);
	va_end(arguments);
	return error;
}

static int fail_gnutls(struct tls *tls, const char *what, int error)
{
	return fail(tls, -EPROTO, "%s: %s", what, nbd_gnutls.strerror(error));
}

static int find(void *library, const char *name, void *function)
{
	void *found = dlsym(library, name);

	memcpy(function, &found, sizeof(found));
	return found != NULL;
}

/*
 * Of whoever started ublkd: GnuTLS would write the secrets of each session to the
 * file that the first two name.
 */
static void forget_environment(void)
{
	unsetenv("SSLKEYLOGFILE");
	unsetenv("GNUTLS_KEYLOGFILE");
	unsetenv("GNUTLS_DEBUG_LEVEL");
}

static int load(struct tls *tls)
{
	void *library;
	int has_all;

	forget_environment();
	library = dlopen(LIBRARY, RTLD_NOW);
	has_all = library != NULL;

#define AS_CALL(name) \
	has_all = has_all && find(library, "gnutls_" #name, &nbd_gnutls.name);
	GNUTLS_FUNCTIONS(AS_CALL)
	if (has_all)
		return 0;
	return fail(tls, -ENOSYS, "%s",
		    library ? LIBRARY " is older than 3.6.3" : dlerror());
}

/* ---- files ---- */

/*
 * Whoever could have written the file could have the session, and whoever can read
 * a key as well.
 */
static int check_file(struct tls *tls, const char *path, int fd, int is_secret)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return fail(tls, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fail(tls, -EINVAL, "%s is no regular file", path);
	if (status.st_uid != 0 && status.st_uid != geteuid())
		return fail(tls, -EACCES, "%s is not root's, but user %u's",
			    path, (unsigned)status.st_uid);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return fail(tls, -EACCES,
			    "others than its owner can write %s (mode %03o)",
			    path, (unsigned)status.st_mode & 0777);
	if (is_secret && status.st_mode & (S_IRWXG | S_IRWXO))
		return fail(tls, -EACCES,
			    "others than its owner can read %s (mode %03o), "
			    "which has a key: chmod 600 helps",
			    path, (unsigned)status.st_mode & 0777);
	if (status.st_size > FILE_SIZE_MAX)
		return fail(tls, -EFBIG, "%s is too long", path);
	return 0;
}

static void forget(gnutls_datum_t *bytes)
{
	if (bytes->data)
		explicit_bzero(bytes->data, bytes->size);
	free(bytes->data);
	bytes->data = NULL;
}

static int read_all(int fd, gnutls_datum_t *bytes)
{
	ssize_t count;

	bytes->size = 0;
	bytes->data = malloc(FILE_SIZE_MAX + 1);
	if (!bytes->data)
		return -ENOMEM;
	while ((count = read(fd, bytes->data + bytes->size,
			     FILE_SIZE_MAX - bytes->size)) > 0)
		bytes->size += (unsigned)count;
	bytes->data[bytes->size] = '\0';
	return count < 0 ? -errno : 0;
}

/* Returns 0, and the bytes are for forget(); or a negative errno. */
static int read_file(struct tls *tls, const char *path, int is_secret,
		     gnutls_datum_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int error;

	if (fd < 0)
		return fail(tls, -errno, "%s: %s", path, strerror(errno));
	error = check_file(tls, path, fd, is_secret);
	if (!error) {
		error = read_all(fd, bytes);
		if (error)
			fail(tls, error, "%s: %s", path, strerror(-error));
	}
	close(fd);
	return error;
}

/* ---- credentials ---- */

static const char *in_folder(const struct tls *tls, const char *name,
			     char *path, size_t size)
{
	snprintf(path, size, "%s/%s", tls->uri->certificates, name);
	return path;
}

/* Returns whether it is there, or a negative errno if nobody can tell. */
static int is_there(struct tls *tls, const char *path)
{
	if (access(path, F_OK) == 0)
		return 1;
	return errno == ENOENT
		       ? 0
		       : fail(tls, -errno, "%s: %s", path, strerror(errno));
}

/* Certificates that the authorities have taken back. */
static int distrust(struct tls *tls)
{
	gnutls_datum_t bytes = { .data = NULL };
	char path[NBD_URI_MAX + 20];
	int count;

	if (!tls->uri->certificates)
		return 0;
	in_folder(tls, "ca-crl.pem", path, sizeof(path));
	count = is_there(tls, path);
	if (count <= 0)
		return count;
	count = read_file(tls, path, 0, &bytes);
	if (count < 0)
		goto out;
	count = nbd_gnutls.certificate_set_x509_crl_mem(
		tls->certificates, &bytes, GNUTLS_X509_FMT_PEM);
	if (count < 0)
		fail_gnutls(tls, path, count);
	else if (count == 0)
		count = fail(tls, -EINVAL, "%s has no revocation list", path);
out:
	forget(&bytes);
	return count < 0 ? count : 0;
}

/* The system's, or those in the folder. */
static int trust(struct tls *tls)
{
	gnutls_datum_t bytes = { .data = NULL };
	char path[NBD_URI_MAX + 20];
	int count;

	if (!tls->uri->certificates) {
		count = nbd_gnutls.certificate_set_x509_system_trust(
			tls->certificates);
		return count < 0 ? fail_gnutls(tls, "the system's certificates",
					       count)
				 : 0;
	}
	in_folder(tls, "ca-cert.pem", path, sizeof(path));
	count = tls->uri->verifies ? 1 : is_there(tls, path);
	if (count <= 0)
		return count;
	count = read_file(tls, path, 0, &bytes);
	if (count < 0)
		goto out;
	count = nbd_gnutls.certificate_set_x509_trust_mem(
		tls->certificates, &bytes, GNUTLS_X509_FMT_PEM);
	if (count < 0)
		fail_gnutls(tls, path, count);
	else if (count == 0)
		count = fail(tls, -EINVAL, "%s has no certificate", path);
out:
	forget(&bytes);
	return count < 0 ? count : 0;
}

/* Of the client, for a server that wants to know. */
static int identify(struct tls *tls)
{
	gnutls_datum_t certificate = { .data = NULL }, key = { .data = NULL };
	char path[NBD_URI_MAX + 20], key_path[NBD_URI_MAX + 20];
	int error;

	if (!tls->uri->certificates)
		return 0;
	in_folder(tls, "client-cert.pem", path, sizeof(path));
	in_folder(tls, "client-key.pem", key_path, sizeof(key_path));
	error = is_there(tls, path);
	if (error == 0)
		error = is_there(tls, key_path);
	if (error <= 0)
		return error;
	error = read_file(tls, path, 0, &certificate);
	if (!error)
		error = read_file(tls, key_path, 1, &key);
	if (!error) {
		error = nbd_gnutls.certificate_set_x509_key_mem(
			tls->certificates, &certificate, &key,
			GNUTLS_X509_FMT_PEM);
		if (error)
			error = fail_gnutls(tls, path, error);
	}
	forget(&key);
	forget(&certificate);
	return error;
}

/* Lines of NAME:KEY, in hexadecimal digits. Returns the key, or NULL. */
static char *find_key(char *lines, const char *name)
{
	size_t length = strlen(name);
	char *line, *rest;

	for (line = strtok_r(lines, "\r\n", &rest); line;
	     line = strtok_r(NULL, "\r\n", &rest))
		if (strncmp(line, name, length) == 0 && line[length] == ':')
			return line + length + 1;
	return NULL;
}

static int set_psk(struct tls *tls)
{
	gnutls_datum_t bytes = { .data = NULL }, key;
	const char *path = tls->uri->psk_file, *name = tls->uri->username;
	int error = read_file(tls, path, 1, &bytes);

	if (error)
		goto out;
	key.data = (unsigned char *)find_key((char *)bytes.data, name);
	if (!key.data) {
		error = fail(tls, -ENOENT, "%s has no key of %s", path, name);
		goto out;
	}
	key.size = (unsigned)strlen((char *)key.data);
	error = nbd_gnutls.psk_set_client_credentials(tls->psk, name, &key,
						      GNUTLS_PSK_KEY_HEX);
	if (error)
		error = fail_gnutls(tls, path, error);
out:
	forget(&bytes);
	return error;
}

static int set_up_psk(struct tls *tls)
{
	int error = nbd_gnutls.psk_allocate_client_credentials(&tls->psk);

	if (error)
		return fail_gnutls(tls, "GnuTLS", error);
	error = set_psk(tls);
	if (!error)
		nbd_gnutls.credentials_set(tls->session, GNUTLS_CRD_PSK,
					   tls->psk);
	return error;
}

static int set_up_certificates(struct tls *tls)
{
	int error =
		nbd_gnutls.certificate_allocate_credentials(&tls->certificates);

	if (error)
		return fail_gnutls(tls, "GnuTLS", error);
	error = trust(tls);
	if (!error)
		error = distrust(tls);
	if (!error)
		error = identify(tls);
	if (!error)
		nbd_gnutls.credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE,
					   tls->certificates);
	return error;
}

/* An address is no name that the server could choose a certificate by. */
static void name_server(struct tls *tls)
{
	const char *name = tls->uri->hostname;
	unsigned char address[sizeof(struct in6_addr)];

	if (name && inet_pton(AF_INET, name, address) != 1 &&
	    inet_pton(AF_INET6, name, address) != 1)
		nbd_gnutls.server_name_set(tls->session, GNUTLS_NAME_DNS, name,
					   strlen(name));
}

/* A client's certificate, of the same authority, makes nobody the server. */
static void verify(struct tls *tls)
{
	const char *name = tls->uri->hostname;

	tls->wanted[0].type = GNUTLS_DT_KEY_PURPOSE_OID;
	tls->wanted[0].data = (unsigned char *)GNUTLS_KP_TLS_WWW_SERVER;
	tls->wanted[1].type = GNUTLS_DT_DNS_HOSTNAME;
	tls->wanted[1].data = (unsigned char *)name;
	nbd_gnutls.session_set_verify_cert2(tls->session, tls->wanted,
					    name ? 2 : 1, 0);
}

static int set_up(struct tls *tls)
{
	const struct nbd_uri *uri = tls->uri;
	int error = nbd_gnutls.init(&tls->session,
				    GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);

	if (error)
		return fail_gnutls(tls, "GnuTLS", error);
	error = nbd_gnutls.set_default_priority_append(
		tls->session, uri->psk_file ? PRIORITY_PSK : PRIORITY, NULL, 0);
	if (error)
		return fail_gnutls(tls, "GnuTLS", error);
	name_server(tls);
	if (uri->psk_file)
		return set_up_psk(tls);
	if (uri->verifies)
		verify(tls);
	return set_up_certificates(tls);
}

/* ---- the server ---- */

static int fail_connect(struct tls *tls, int error)
{
	const struct nbd_uri *uri = tls->uri;

	if (error == EINPROGRESS || error == EAGAIN)
		error = ETIMEDOUT;
	if (uri->socket)
		return fail(tls, -error, "%s: %s", uri->socket,
			    strerror(error));
	return fail(tls, -error, "%s port %s: %s", uri->host, uri->port,
		    strerror(error));
}

static void set_patience(int fd, int seconds)
{
	const struct timeval patience = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

static int connect_to(struct tls *tls, const struct sockaddr *address,
		      socklen_t length)
{
	int error;

	tls->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (tls->fd < 0)
		return fail_connect(tls, errno);
	set_patience(tls->fd, CONNECT_PATIENCE);
	if (connect(tls->fd, address, length) == 0)
		return 0;
	error = errno;
	close(tls->fd);
	tls->fd = -1;
	return fail_connect(tls, error);
}

static int connect_unix(struct tls *tls)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(tls->uri->socket);

	if (length >= sizeof(address.sun_path))
		return fail(tls, -ENAMETOOLONG, "%s is too long for a socket",
			    tls->uri->socket);
	memcpy(address.sun_path, tls->uri->socket, length);
	return connect_to(tls, (struct sockaddr *)&address, sizeof(address));
}

static int connect_tcp(struct tls *tls)
{
	const struct addrinfo wish = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *first, *at;
	int error = getaddrinfo(tls->uri->host, tls->uri->port, &wish, &first);

	if (error)
		return fail(tls, -EHOSTUNREACH, "%s: %s", tls->uri->host,
			    gai_strerror(error));
	error = -EHOSTUNREACH;
	for (at = first; at && error; at = at->ai_next)
		error = connect_to(tls, at->ai_addr, at->ai_addrlen);
	freeaddrinfo(first);
	return error;
}

/* ---- the protocol until TLS begins (NBD's doc/proto.md) ---- */

#define MAGIC	      UINT64_C(0x4e42444d41474943)
#define OPTION_MAGIC  UINT64_C(0x49484156454f5054)
#define REPLY_MAGIC   UINT64_C(0x3e889045565a9)
#define FIXED	      1u
#define STARTTLS      5u
#define REPLY_ACK     1u
#define REPLY_UNKNOWN 0x80000001u
#define REPLY_POLICY  0x80000002u

static int get(struct tls *tls, void *bytes, size_t size)
{
	ssize_t count = recv(tls->fd, bytes, size, MSG_WAITALL);

	if (count == (ssize_t)size)
		return 0;
	if (count >= 0)
		return fail(tls, -ECONNRESET,
			    "the server ends the connection before TLS begins");
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return fail(tls, -ETIMEDOUT, "the server says nothing");
	return fail_connect(tls, errno);
}

static int put(struct tls *tls, const void *bytes, size_t size)
{
	ssize_t count = send(tls->fd, bytes, size, MSG_NOSIGNAL);

	return count == (ssize_t)size
		       ? 0
		       : fail_connect(tls, count < 0 ? errno : EIO);
}

static int greet(struct tls *tls)
{
	struct __attribute__((packed)) {
		uint64_t magic, option_magic;
		uint16_t flags;
	} greeting;
	uint32_t flags = htobe32(FIXED);
	int error = get(tls, &greeting, sizeof(greeting));

	if (error)
		return error;
	if (be64toh(greeting.magic) != MAGIC)
		return fail(tls, -EPROTO, "the server does not speak NBD");
	if (be64toh(greeting.option_magic) != OPTION_MAGIC ||
	    !(be16toh(greeting.flags) & FIXED))
		return fail(tls, -EPROTO,
			    "the server is of an old kind that has no TLS");
	return put(tls, &flags, sizeof(flags));
}

static int fail_refused(struct tls *tls, uint32_t type)
{
	if (type == REPLY_UNKNOWN)
		return fail(tls, -EPROTO, "the server has no TLS");
	if (type == REPLY_POLICY)
		return fail(tls, -EPROTO, "the server wants no TLS");
	return fail(tls, -EPROTO, "the server refuses TLS (%08x)", type);
}

static int ask_for_tls(struct tls *tls)
{
	const struct __attribute__((packed)) {
		uint64_t magic;
		uint32_t option, length;
	} question = { htobe64(OPTION_MAGIC), htobe32(STARTTLS), 0 };
	struct __attribute__((packed)) {
		uint64_t magic;
		uint32_t option, type, length;
	} reply;
	int error = put(tls, &question, sizeof(question));

	if (!error)
		error = get(tls, &reply, sizeof(reply));
	if (error)
		return error;
	if (be64toh(reply.magic) != REPLY_MAGIC ||
	    be32toh(reply.option) != STARTTLS)
		return fail(tls, -EPROTO, "the server does not speak NBD");
	if (be32toh(reply.type) != REPLY_ACK)
		return fail_refused(tls, be32toh(reply.type));
	if (reply.length)
		return fail(tls, -EPROTO, "the server does not speak NBD");
	return 0;
}

/* ---- the handshake ---- */

static int fail_certificate(struct tls *tls)
{
	unsigned status =
		nbd_gnutls.session_get_verify_cert_status(tls->session);
	gnutls_datum_t why = { .data = NULL };

	if (status & GNUTLS_CERT_UNEXPECTED_OWNER)
		return fail(tls, -EPROTO,
			    "the server's certificate is not of %s",
			    tls->uri->hostname);
	nbd_gnutls.certificate_verification_status_print(
		status, GNUTLS_CRT_X509, &why, 0);
	fail(tls, 0, "the server's certificate is refused: %s",
	     why.data ? (char *)why.data : "");
	/* Each of its sentences has a blank behind it. */
	while (tls->text[0] && tls->text[strlen(tls->text) - 1] == ' ')
		tls->text[strlen(tls->text) - 1] = '\0';
	free(why.data); /* gnutls_free() is that */
	return -EPROTO;
}

static int fail_handshake(struct tls *tls, int error)
{
	if (error == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		return fail_certificate(tls);
	if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return fail(tls, -EPROTO, "the server refuses by TLS: %s",
			    nbd_gnutls.alert_get_name(
				    nbd_gnutls.alert_get(tls->session)));
	if (error == GNUTLS_E_PREMATURE_TERMINATION)
		return fail(tls, -EPROTO,
			    "the server ends the connection in the handshake "
			    "of TLS: it may want another %s",
			    tls->uri->psk_file ? "key" : "certificate");
	if (error == GNUTLS_E_INSUFFICIENT_CREDENTIALS && tls->uri->psk_file)
		return fail(tls, -EPROTO, "the server does not ask for a key");
	if (error == GNUTLS_E_AGAIN)
		return fail(tls, -ETIMEDOUT, "the server says nothing by TLS");
	return fail_gnutls(tls, "TLS", error);
}

static int shake_hands(struct tls *tls)
{
	int error;

	nbd_gnutls.transport_set_int2(tls->session, tls->fd, tls->fd);
	do
		error = nbd_gnutls.handshake(tls->session);
	while (error < 0 && error != GNUTLS_E_AGAIN &&
	       !nbd_gnutls.error_is_fatal(error));
	if (error < 0)
		return fail_handshake(tls, error);
	if (tls->uri->psk_file &&
	    nbd_gnutls.auth_get_type(tls->session) != GNUTLS_CRD_PSK)
		return fail(tls, -EPROTO, "the server does not ask for a key");
	return 0;
}

/* ---- all of it ---- */

/* What the session needs no more, such as a hundred certificates. */
static void free_credentials(struct tls *tls)
{
	if (tls->session)
		nbd_gnutls.credentials_clear(tls->session);
	if (tls->certificates)
		nbd_gnutls.certificate_free_credentials(tls->certificates);
	if (tls->psk)
		nbd_gnutls.psk_free_client_credentials(tls->psk);
}

static int establish(struct tls *tls)
{
	int error = load(tls);

	if (!error)
		error = set_up(tls);
	if (!error)
		error = tls->uri->socket ? connect_unix(tls) : connect_tcp(tls);
	if (error)
		return error;
	set_patience(tls->fd, ANSWER_PATIENCE);
	error = greet(tls);
	if (!error)
		error = ask_for_tls(tls);
	if (!error)
		error = shake_hands(tls);
	return error;
}

int nbd_tls_connect(const struct nbd_uri *uri, gnutls_session_t *session,
		    char *text, size_t size)
{
	struct tls tls = { .uri = uri, .fd = -1, .text = text, .size = size };
	int error;

	/* No core file has the keys, nor does a debugger see them. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	error = establish(&tls);
	free_credentials(&tls);
	*session = tls.session;
	if (!error)
		return tls.fd;
	if (tls.session)
		nbd_gnutls.deinit(tls.session);
	if (tls.fd >= 0)
		close(tls.fd);
	return error;
}
