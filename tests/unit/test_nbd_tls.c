/*
 * TLS with NBD servers: URIs, files with keys, the handshake, and the relay. The
 * servers are processes of the test, which play what a test wants; GnuTLS and libnbd
 * are real.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"
#include "target/nbd-connect.h"
#include "target/nbd-tls.h"
#include "target/nbd-uri.h"

#define SIZE	 (UINT64_C(64) << 20)
#define LOTS	 (8u << 20)   /* bytes: more than all buffers on the way have */
#define LAST	 (256u << 10) /* bytes: more than a socket has room for */
#define STARTTLS 5
#define GO	 7

static struct {
	enum {
		PLAYS_WELL,
		HAS_NO_TLS,
		WANTS_NO_TLS,
		IS_NO_SERVER,
		SAYS_MORE, /* behind its consent to TLS, before that */
		LEAVES,	   /* when it has TLS */
		COMPLAINS, /* likewise */
		STANDS_STILL,
		ENDS_FIRST
	} play;
	const char *certificate, *key; /* NULL: keys of users */
	pid_t process;
} server;

static char text[1000], path[200];
static const char lots[LAST];

/* ---- certificates ---- */

static gnutls_x509_privkey_t new_key(void)
{
	gnutls_x509_privkey_t key;

	gnutls_x509_privkey_init(&key);
	assert_int_equal(
		gnutls_x509_privkey_generate(
			key, GNUTLS_PK_ECDSA,
			GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
		0);
	return key;
}

static gnutls_x509_crt_t new_certificate(gnutls_x509_privkey_t key,
					 const char *name)
{
	time_t now = time(NULL);
	gnutls_x509_crt_t it;

	gnutls_x509_crt_init(&it);
	gnutls_x509_crt_set_version(it, 3);
	gnutls_x509_crt_set_serial(it, "\1", 1);
	gnutls_x509_crt_set_activation_time(it, now - 3600);
	gnutls_x509_crt_set_expiration_time(it, now + 3600);
	gnutls_x509_crt_set_dn_by_oid(it, GNUTLS_OID_X520_COMMON_NAME, 0, name,
				      (unsigned)strlen(name));
	gnutls_x509_crt_set_key(it, key);
	return it;
}

static void save_pem(const char *name, const gnutls_datum_t *pem)
{
	char all[4000];

	snprintf(all, sizeof(all), "%.*s", (int)pem->size, pem->data);
	test_file(name, all);
	chmod(test_path(name), 0600);
}

static void save(const char *name, gnutls_x509_crt_t certificate,
		 gnutls_x509_privkey_t key)
{
	gnutls_datum_t pem;

	if (certificate)
		gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &pem);
	else
		gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);
	save_pem(name, &pem);
	gnutls_free(pem.data);
}

static void take_back(gnutls_x509_crt_t certificate,
		      gnutls_x509_crt_t authority,
		      gnutls_x509_privkey_t of_authority)
{
	time_t now = time(NULL);
	gnutls_x509_crl_t list;
	gnutls_datum_t pem;

	gnutls_x509_crl_init(&list);
	gnutls_x509_crl_set_version(list, 2);
	gnutls_x509_crl_set_this_update(list, now - 60);
	gnutls_x509_crl_set_next_update(list, now + 3600);
	gnutls_x509_crl_set_crt(list, certificate, now - 60);
	gnutls_x509_crl_set_number(list, "\1", 1);
	assert_int_equal(gnutls_x509_crl_sign2(list, authority, of_authority,
					       GNUTLS_DIG_SHA256, 0),
			 0);
	gnutls_x509_crl_export2(list, GNUTLS_X509_FMT_PEM, &pem);
	save_pem("revoked/ca-crl.pem", &pem);
	gnutls_free(pem.data);
	gnutls_x509_crl_deinit(list);
}

/* An authority's, and what it has signed for storage.example. */
static void make_certificates(void)
{
	gnutls_x509_privkey_t of_authority = new_key(), key = new_key();
	gnutls_x509_crt_t authority =
				  new_certificate(of_authority, "authority"),
			  certificate = new_certificate(key, "server");

	gnutls_x509_crt_set_basic_constraints(authority, 1, -1);
	gnutls_x509_crt_set_key_usage(authority, GNUTLS_KEY_KEY_CERT_SIGN);
	gnutls_x509_crt_sign2(authority, authority, of_authority,
			      GNUTLS_DIG_SHA256, 0);
	gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME,
					     "storage.example", 15,
					     GNUTLS_FSAN_SET);
	gnutls_x509_crt_sign2(certificate, authority, of_authority,
			      GNUTLS_DIG_SHA256, 0);
	save("good/ca-cert.pem", authority, NULL);
	save("good/client-cert.pem", certificate, NULL);
	save("good/client-key.pem", NULL, key);
	save("revoked/ca-cert.pem", authority, NULL);
	take_back(certificate, authority, of_authority);
	/* The same authority's, but a client's. */
	gnutls_x509_crt_set_key_purpose_oid(certificate,
					    GNUTLS_KP_TLS_WWW_CLIENT, 0);
	gnutls_x509_crt_sign2(certificate, authority, of_authority,
			      GNUTLS_DIG_SHA256, 0);
	save("client-alone.pem", certificate, NULL);
	/* Nobody has signed with this one. */
	gnutls_x509_crt_set_key(authority, key);
	gnutls_x509_crt_sign2(authority, authority, key, GNUTLS_DIG_SHA256, 0);
	save("other/ca-cert.pem", authority, NULL);
	gnutls_x509_crt_deinit(certificate);
	gnutls_x509_crt_deinit(authority);
	gnutls_x509_privkey_deinit(key);
	gnutls_x509_privkey_deinit(of_authority);
}

/* ---- the server ---- */

static void must(int is_so)
{
	if (!is_so)
		_exit(3);
}

static void put(int fd, const void *bytes, size_t size)
{
	must(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static void get(int fd, void *bytes, size_t size)
{
	must(recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size);
}

struct __attribute__((packed)) option_head {
	uint64_t magic;
	uint32_t option, length;
};

struct __attribute__((packed)) reply_head {
	uint64_t magic;
	uint32_t option, type, length;
};

static struct reply_head reply(uint32_t option, uint32_t type, uint32_t length)
{
	return (struct reply_head){ htobe64(UINT64_C(0x3e889045565a9)),
				    htobe32(option), htobe32(type),
				    htobe32(length) };
}

/* Until TLS; it ends if nobody has that. */
static void begin(int fd)
{
	static const char greeting[] = "NBDMAGICIHAVEOPT\0\1";
	struct option_head head;
	struct reply_head answer;
	uint32_t flags, type = 1;

	if (server.play == IS_NO_SERVER) {
		put(fd, "220 mail.example ESMTP\r\n", 24);
		must(recv(fd, &flags, 1, 0) <= 0);
		_exit(0);
	}
	put(fd, greeting, 18);
	get(fd, &flags, sizeof(flags));
	get(fd, &head, sizeof(head));
	must(be32toh(head.option) == STARTTLS && head.length == 0);
	if (server.play == HAS_NO_TLS)
		type = 0x80000001u;
	if (server.play == WANTS_NO_TLS)
		type = 0x80000002u;
	answer = reply(STARTTLS, type, 0);
	put(fd, &answer, sizeof(answer));
	if (type == 1 && server.play != SAYS_MORE)
		return;
	if (type == 1) {
		answer = reply(GO, 1, 0);
		put(fd, &answer, sizeof(answer));
	}
	/* Whoever does not get TLS says nothing more, but what belongs to that. */
	while (recv(fd, &head, sizeof(head), 0) > 0)
		must(memcmp(&head, "IHAVEOPT", 8) != 0);
	_exit(0);
}

static gnutls_session_t make_session(int fd)
{
	gnutls_certificate_credentials_t certificates;
	gnutls_psk_server_credentials_t keys;
	gnutls_session_t session;

	gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NO_SIGNAL);
	gnutls_set_default_priority_append(session, "+ECDHE-PSK:+DHE-PSK", NULL,
					   0);
	if (server.certificate) {
		gnutls_certificate_allocate_credentials(&certificates);
		must(gnutls_certificate_set_x509_key_file(
			     certificates, server.certificate, server.key,
			     GNUTLS_X509_FMT_PEM) >= 0);
		gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
				       certificates);
	} else {
		gnutls_psk_allocate_server_credentials(&keys);
		gnutls_psk_set_server_credentials_file(keys, server.key);
		gnutls_credentials_set(session, GNUTLS_CRD_PSK, keys);
	}
	gnutls_transport_set_int2(session, fd, fd);
	return session;
}

static void secure_get(gnutls_session_t session, void *bytes, size_t size)
{
	size_t at = 0;

	while (at < size) {
		ssize_t count = gnutls_record_recv(session, (char *)bytes + at,
						   size - at);
		if (count <= 0)
			_exit(0); /* it is refused, or ended */
		at += (size_t)count;
	}
}

static void secure_put(gnutls_session_t session, const void *bytes, size_t size)
{
	size_t at = 0;

	while (at < size) {
		ssize_t count = gnutls_record_send(
			session, (const char *)bytes + at, size - at);
		if (count <= 0)
			_exit(0);
		at += (size_t)count;
	}
}

static void negotiate(gnutls_session_t session)
{
	struct option_head head;
	struct __attribute__((packed)) {
		struct reply_head head;
		uint16_t what;
		uint64_t size;
		uint16_t flags;
	} info = { reply(GO, 3, 12), 0, htobe64(SIZE), htobe16(0x0d) };
	struct reply_head done = reply(GO, 1, 0);
	char rest[1000];

	secure_get(session, &head, sizeof(head));
	secure_get(session, rest, be32toh(head.length));
	/* An export's name. */
	must(be32toh(head.option) == GO && memcmp(rest + 4, "disk", 4) == 0);
	secure_put(session, &info, sizeof(info));
	secure_put(session, &done, sizeof(done));
}

/* What comes goes back; and then a last word. */
static void echo(gnutls_session_t session)
{
	static char bytes[30000];
	ssize_t count;

	while ((count = gnutls_record_recv(session, bytes, sizeof(bytes))) > 0)
		secure_put(session, bytes, (size_t)count);
	secure_put(session, "end", 3);
	gnutls_bye(session, GNUTLS_SHUT_WR);
}

static void serve(int listener)
{
	int fd = accept(listener, NULL, NULL);
	gnutls_session_t session;

	unsetenv("SSLKEYLOGFILE");
	close(listener);
	begin(fd);
	session = make_session(fd);
	if (gnutls_handshake(session) < 0)
		_exit(0);
	if (server.play == LEAVES)
		_exit(0);
	if (server.play == COMPLAINS) {
		gnutls_alert_send(session, GNUTLS_AL_FATAL,
				  GNUTLS_A_ACCESS_DENIED);
		_exit(0);
	}
	negotiate(session);
	if (server.play == STANDS_STILL)
		for (;;)
			pause();
	if (server.play == ENDS_FIRST)
		secure_put(session, lots, LAST);
	else
		echo(session);
	_exit(0);
}

static void begins_as(int play)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	server.play = play;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		 test_path("socket"));
	unlink(address.sun_path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address,
			      sizeof(address)),
			 0);
	assert_int_equal(listen(listener, 1), 0);
	server.process = fork();
	if (server.process == 0)
		serve(listener);
	close(listener);
}

/* Whatever it has seen was as it must be. */
static void server_ends(void)
{
	int status;

	kill(server.process, SIGCONT);
	assert_int_equal(waitpid(server.process, &status, 0), server.process);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	server.process = 0;
}

/* No process of ours is left: in real time, for they are real. */
static void relay_ends(void)
{
	int status, i;

	for (i = 0; i < 1000; i++) {
		if (waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD)
			return;
		usleep(20000);
	}
	fail_msg("a process is left");
}

/* To the server that has begun, with these parameters. */
static int connects(const char *parameters)
{
	char uri[1000];

	snprintf(uri, sizeof(uri), "nbds+unix:///disk?socket=%s%s",
		 test_path("socket"), parameters);
	text[0] = '\0';
	return nbd_connect(uri, NULL, text, sizeof(text));
}

static const char *with_folder(const char *name, const char *more)
{
	snprintf(path, sizeof(path), "&tls-certificates=%s%s", test_path(name),
		 more);
	return path;
}

static const char *with_keys(const char *name, const char *user)
{
	snprintf(path, sizeof(path), "&tls-psk-file=%s&tls-username=%s",
		 test_path(name), user);
	return path;
}

static void refused(int play, const char *parameters, const char *why)
{
	about(why);
	begins_as(play);
	assert_true(connects(parameters) < 0);
	if (!strstr(text, why))
		fail_msg("'%s' does not say '%s'", text, why);
	server_ends();
	relay_ends();
}

static void is_no_file(const char *parameters, const char *why)
{
	about(why);
	assert_true(connects(parameters) < 0);
	if (!strstr(text, why))
		fail_msg("'%s' does not say '%s'", text, why);
	assert_null(strstr(text, "0123456789"));
}

static int taken(int play, const char *parameters)
{
	char told[100];
	int fd;

	begins_as(play);
	fd = connects(parameters);
	if (fd < 0)
		fail_msg("%s", text);
	/* The server's, and not the relay's. */
	snprintf(told, sizeof(told), "67108864 c 0 0 0 pid %d", (int)getpid());
	assert_string_equal(text, told);
	/* No secret of a session is anywhere. */
	assert_true(access(test_path("secrets"), F_OK) < 0);
	return fd;
}

int before_each(void **state)
{
	static char certificate[200], key[200], user[200];

	(void)state;
	snprintf(certificate, sizeof(certificate), "%s",
		 test_path("good/client-cert.pem"));
	snprintf(key, sizeof(key), "%s", test_path("good/client-key.pem"));
	snprintf(user, sizeof(user), "%s", test_path("keys"));
	make_certificates();
	test_file("keys", "bob:00112233\nalice:0123456789abcdef\n");
	test_file("other-keys", "alice:ffff456789abcdef\n");
	chmod(test_path("keys"), 0600);
	chmod(test_path("other-keys"), 0600);
	server.certificate = certificate;
	server.key = key;
	setenv("SSLKEYLOGFILE", test_path("secrets"), 1);
	return 0;
}

int after_each(void **state)
{
	(void)state;
	if (server.process) {
		kill(server.process, SIGKILL);
		waitpid(server.process, NULL, 0);
		server.process = 0;
	}
	test_folder_remove();
	return 0;
}

/* ---- the relay ---- */

static void put_or_wait(int fd, const char *bytes, size_t *at)
{
	ssize_t count =
		send(fd, bytes + *at, LOTS - *at, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (count > 0)
		*at += (size_t)count;
	else
		assert_int_equal(errno, EAGAIN);
}

static size_t get_or_wait(int fd, char *bytes, size_t size)
{
	struct pollfd end = { .fd = fd, .events = POLLIN };
	ssize_t count;

	poll(&end, 1, 10);
	count = recv(fd, bytes, size, MSG_DONTWAIT);
	assert_true(count > 0 || (count < 0 && errno == EAGAIN));
	return count > 0 ? (size_t)count : 0;
}

/* More than fits on the way goes there and back, and then the end of each way. */
TEST_CASE(test_data)
{
	char *sent = malloc(LOTS), *received = malloc(LOTS), end[8];
	int fd = taken(PLAYS_WELL, with_folder("good", ""));
	size_t out = 0, in = 0;

	for (size_t i = 0; i < LOTS; i++)
		sent[i] = (char)(i * 7 + i / 4096);
	/* Nobody reads, until nothing more can be sent. */
	for (unsigned idle = 0; idle < 3 && out < LOTS;) {
		size_t had = out;

		put_or_wait(fd, sent, &out);
		idle = had == out ? idle + 1 : 0;
		usleep(had == out ? 200000 : 0);
	}
	assert_true(out < LOTS);
	while (in < LOTS) {
		if (out < LOTS)
			put_or_wait(fd, sent, &out);
		in += get_or_wait(fd, received + in, LOTS - in);
	}
	assert_memory_equal(sent, received, LOTS);
	shutdown(fd, SHUT_WR);
	assert_int_equal(recv(fd, end, sizeof(end), MSG_WAITALL), 3);
	assert_memory_equal(end, "end", 3);
	close(fd);
	server_ends();
	relay_ends();
	free(sent);
	free(received);
}

/* What the server has said comes, when it is gone. */
TEST_CASE(test_server_ends)
{
	int fd = taken(ENDS_FIRST, with_folder("good", ""));
	char bytes[4096];
	size_t at = 0;
	ssize_t count;

	server_ends();
	/* The relay hears of that while it has some of the last words. */
	usleep(300000);
	while ((count = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		at += (size_t)count;
	assert_int_equal(at, LAST);
	relay_ends();
	close(fd);
}

/* A server that takes nothing keeps no relay. */
TEST_CASE(test_we_end)
{
	int fd = taken(STANDS_STILL, with_folder("good", ""));
	char *bytes = calloc(1, LOTS);
	size_t at = 0;
	int status;

	for (unsigned idle = 0; idle < 3 && at < LOTS;) {
		size_t had = at;

		put_or_wait(fd, bytes, &at);
		idle = had == at ? idle + 1 : 0;
		usleep(had == at ? 200000 : 0);
	}
	close(fd);
	/* The relay, of the two children. */
	assert_true(waitpid(-1, &status, 0) != server.process);
	assert_int_equal(status, 0);
	free(bytes);
}

/* Ours; 0: there is none. */
static pid_t find_relay(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (!found && (entry = readdir(processes))) {
		char line[300] = "";
		int pid = 0, parent = 0, fd;

		snprintf(line, sizeof(line), "/proc/%s/stat", entry->d_name);
		fd = open(line, O_RDONLY);
		if (fd < 0)
			continue;
		if (read(fd, line, sizeof(line) - 1) > 0 &&
		    sscanf(line, "%d (ublkd-relay) %*c %d", &pid, &parent) ==
			    2 &&
		    parent == getpid())
			found = pid;
		close(fd);
	}
	closedir(processes);
	return found;
}

/* Whoever stops all of ublkd's processes ends no relay: its disk is flushed then. */
TEST_CASE(test_signals)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE,
				       SIGXCPU };
	int fd = taken(PLAYS_WELL, with_folder("good", ""));
	pid_t relay = find_relay();
	char bytes[4];

	assert_true(relay != 0);
	for (unsigned i = 0; i < COUNT(signals); i++)
		assert_int_equal(kill(relay, signals[i]), 0);
	assert_int_equal(send(fd, "word", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(recv(fd, bytes, 4, MSG_WAITALL), 4);
	assert_memory_equal(bytes, "word", 4);
	close(fd);
	server_ends();
	relay_ends();
}

#ifndef __SANITIZE_ADDRESS__ /* which has more to call */

static void need_seccomp(void)
{
	/* Where there is one, this is a bad address. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 &&
	    errno == EINVAL)
		skip_without("seccomp");
}

/* What code could do that has a relay's process, as an exit status. */
static int try_all(void)
{
	const pid_t parent = getppid();
	int could = 0;
	void *memory;

	close(0);
	if (nbd_relay_confine(2) < 0)
		return 128;
	could |= (open("/dev/null", O_RDONLY) >= 0) << 0;
	could |= (socket(AF_UNIX, SOCK_STREAM, 0) >= 0) << 1;
	could |= (kill(parent, 0) == 0) << 2;
	could |= (unlink(path) == 0) << 3;
	could |= (fork() >= 0) << 4;
	execl("/bin/false", "false", NULL);
	memory = malloc(LOTS);
	could |= !memory << 5;
	free(memory);
	return could;
}

TEST_CASE(test_confined)
{
	pid_t process;
	int status;

	need_seccomp();
	test_file("file", "");
	snprintf(path, sizeof(path), "%s", test_path("file"));
	process = fork();
	if (process == 0)
		_exit(try_all());
	assert_int_equal(waitpid(process, &status, 0), process);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A relay is, before anything comes from the server by TLS. */
TEST_CASE(test_relay_is_confined)
{
	char status[4000] = "", file[50];
	int end, fd;

	need_seccomp();
	end = taken(PLAYS_WELL, with_folder("good", ""));
	snprintf(file, sizeof(file), "/proc/%d/status", find_relay());
	fd = open(file, O_RDONLY);
	assert_true(read(fd, status, sizeof(status) - 1) > 0);
	close(fd);
	assert_non_null(strstr(status, "\nSeccomp:\t2\n"));
	close(end);
	server_ends();
	relay_ends();
}

#endif

/* ---- who is who ---- */

TEST_CASE(test_certificate)
{
	int fd;

	refused(PLAYS_WELL, with_folder("other", ""), "is refused");
	refused(PLAYS_WELL, "&tls-hostname=storage.example", "is refused");
	refused(PLAYS_WELL, with_folder("good", "&tls-hostname=else.example"),
		"is not of else.example");
	fd = taken(PLAYS_WELL,
		   with_folder("good", "&tls-hostname=storage.example"));
	close(fd);
	server_ends();
	fd = taken(PLAYS_WELL, with_folder("other", "&tls-verify-peer=no"));
	close(fd);
	server_ends();
	relay_ends();
}

TEST_CASE(test_revoked)
{
	refused(PLAYS_WELL, with_folder("revoked", ""), "revoked");
	test_file("revoked/ca-crl.pem", "this is none\n");
	is_no_file(with_folder("revoked", ""), "ca-crl.pem");
}

TEST_CASE(test_client_as_server)
{
	static char client[200];

	snprintf(client, sizeof(client), "%s", test_path("client-alone.pem"));
	server.certificate = client;
	refused(PLAYS_WELL, with_folder("good", ""), "purpose");
}

TEST_CASE(test_keys)
{
	int fd;

	server.certificate = NULL;
	server.key = test_path("keys");
	fd = taken(PLAYS_WELL, with_keys("keys", "alice"));
	close(fd);
	server_ends();
	relay_ends();
}

TEST_CASE(test_wrong_keys)
{
	static char keys[200];

	snprintf(keys, sizeof(keys), "%s", test_path("keys"));
	server.certificate = NULL;
	server.key = keys;
	refused(PLAYS_WELL, with_keys("other-keys", "alice"), "another key");
	refused(PLAYS_WELL, with_folder("good", ""), "TLS");
}

/* A server with a certificate is not one that has the key. */
TEST_CASE(test_key_and_certificate)
{
	refused(PLAYS_WELL, with_keys("keys", "alice"), "not ask for a key");
}

/* Nothing goes there without TLS, and why is said. */
TEST_CASE(test_refusals)
{
	refused(HAS_NO_TLS, with_folder("good", ""), "has no TLS");
	refused(WANTS_NO_TLS, with_folder("good", ""), "wants no TLS");
	refused(IS_NO_SERVER, with_folder("good", ""), "does not speak NBD");
	refused(SAYS_MORE, with_folder("good", ""), "TLS");
	refused(LEAVES, with_folder("good", ""), "as soon as it has TLS");
	refused(COMPLAINS, with_folder("good", ""), "Access was denied");
}

/* ---- files ---- */

/* They are refused before anybody connects. */
TEST_CASE(test_files)
{
	is_no_file(with_folder("nowhere", ""), "No such file");
	is_no_file(with_keys("nowhere", "alice"), "No such file");
	is_no_file(with_keys("keys", "carol"), "has no key of carol");
	is_no_file(with_keys("good", "alice"), "no regular file");
	chmod(test_path("keys"), 0640);
	is_no_file(with_keys("keys", "alice"), "can read");
	chmod(test_path("keys"), 0604);
	is_no_file(with_keys("keys", "alice"), "can read");
	chmod(test_path("good/client-key.pem"), 0644);
	is_no_file(with_folder("good", ""), "client-key.pem");
	unlink(test_path("good/client-key.pem"));
	is_no_file(with_folder("good", ""), "client-key.pem: No such");
	chmod(test_path("good/ca-cert.pem"), 0646);
	is_no_file(with_folder("good", ""), "can write");
	test_file("bad/ca-cert.pem", "this is none\n");
	is_no_file(with_folder("bad", ""), "ca-cert.pem");
	unlink(test_path("keys"));
	mkfifo(test_path("keys"), 0600);
	is_no_file(with_keys("keys", "alice"), "no regular file");
}

TEST_CASE(test_owner)
{
	if (geteuid() != 0)
		skip_without("root");
	assert_int_equal(chown(test_path("keys"), 1234, 0), 0);
	is_no_file(with_keys("keys", "alice"), "user 1234's");
}

/* ---- URIs ---- */

static void reads(const char *from, const char *as)
{
	static struct nbd_uri uri;
	const char *why = nbd_uri_read(&uri, from);
	char all[2000];

#define OR_NONE(word) ((word) ? (word) : "-")
	about(from);
	snprintf(all, sizeof(all), "%s %s %s [%s] %s %s %s %s %d",
		 OR_NONE(uri.socket), OR_NONE(uri.host), OR_NONE(uri.port),
		 OR_NONE(uri.export_name), OR_NONE(uri.certificates),
		 OR_NONE(uri.psk_file), OR_NONE(uri.username),
		 OR_NONE(uri.hostname), uri.verifies);
	assert_string_equal(why ? why : all, as);
}

TEST_CASE(test_uri)
{
	reads("nbds://host", "- host 10809 [] - - - host 1");
	reads("nbds://host/", "- host 10809 [] - - - host 1");
	reads("nbds://host:1/a/b%20c", "- host 1 [a/b c] - - - host 1");
	reads("nbds://[::1]:20/x", "- ::1 20 [x] - - - ::1 1");
	reads("nbds://[::1]", "- ::1 10809 [] - - - ::1 1");
	reads("nbds://al%40x@h/?tls-psk-file=/k", "- h 10809 [] - /k al@x h 1");
	reads("nbds://a@h/?tls-username=b", "- h 10809 [] - - b h 1");
	reads("nbds://h/?tls-certificates=/c%3f&tls-hostname=n&tls-verify-peer=0",
	      "- h 10809 [] /c? - - n 0");
	reads("nbds+unix:///x?socket=/s&tls-certificates=/c",
	      "/s  10809 [x] /c - - - 1");
	reads("nbds+unix://u@/?tls-verify-peer=no&socket=/s",
	      "/s  10809 [] - - u - 0");
}

TEST_CASE(test_bad_uri)
{
	static const struct {
		const char *uri, *why;
	} rows[] = {
		{ "nbd://host", "begins with" },
		{ "nbds+vsock://1", "begins with" },
		{ "nbds://", "no host" },
		{ "nbds:///x", "no host" },
		{ "nbds://h:x/", "port" },
		{ "nbds://[::1/", "[]" },
		{ "nbds://[::1]x/", "[]" },
		{ "nbds://h/%0", "%" },
		{ "nbds://h/a%00b", "%" },
		{ "nbds://h/%zz", "%" },
		{ "nbds://h/x#y", "#" },
		{ "nbds://h/?tls-certificate=/x", "no such parameter" },
		{ "nbds://h/?tls-certificates=", "empty" },
		{ "nbds://h/?tls-hostname", "empty" },
		{ "nbds://h/?tls-verify-peer=maybe", "neither" },
		{ "nbds://h/?socket=/s", "socket=" },
		{ "nbds+unix:///", "socket=" },
		{ "nbds+unix:///x?socket=/s", "any server" },
		{ "nbds+unix://h/?socket=/s", "a host and" },
		{ "nbds://h/?tls-psk-file=/k", "tls-username=" },
		{ "nbds://u@h/?tls-psk-file=/k&tls-certificates=/c", "either" },
	};
	static struct nbd_uri uri;
	static char long_one[NBD_URI_MAX + 10] = "nbds://";

	for (unsigned i = 0; i < COUNT(rows); i++) {
		const char *why = nbd_uri_read(&uri, rows[i].uri);

		about(rows[i].uri);
		assert_non_null(why);
		if (!strstr(why, rows[i].why))
			fail_msg("%s: %s", rows[i].uri, why);
	}
	memset(long_one + 7, 'a', NBD_URI_MAX);
	assert_non_null(strstr(nbd_uri_read(&uri, long_one), "long"));
}

TEST_CASE(test_uri_add)
{
	char uri[100] = "nbds://h/x";
	static struct nbd_uri read;

	assert_int_equal(nbd_uri_add(uri, sizeof(uri), "tls-certificates",
				     "/a b&c%"),
			 0);
	assert_int_equal(nbd_uri_add(uri, sizeof(uri), "tls-hostname", "n"), 0);
	assert_string_equal(
		uri,
		"nbds://h/x?tls-certificates=/a%20b%26c%25&tls-hostname=n");
	assert_null(nbd_uri_read(&read, uri));
	assert_string_equal(read.certificates, "/a b&c%");
	for (size_t size = strlen(uri) + 1; size < strlen(uri) + 20; size++) {
		char small[100];

		snprintf(small, sizeof(small), "%s", uri);
		assert_int_equal(nbd_uri_add(small, size, "tls-username",
					     "abcdef"),
				 -E2BIG);
		assert_true(strlen(small) < size);
	}
}

int main(void)
{
	return tests_run();
}
