/*
 * TLS with an NBD server, by GnuTLS in a helper process. Only a process of its own
 * has what the session needs from then on: a relay, between the server's socket and
 * one end of a pair of sockets, at whose other end is a server that one might take
 * for one without TLS. It starts with the greeting of that.
 *
 * GnuTLS is loaded by these processes alone. A relay stays for as long as both ends
 * do, is nobody's child when the helper has ended, and can neither open nor start
 * anything (nbd-confine.c).
 */
#ifndef UBLKD_NBD_TLS_H
#define UBLKD_NBD_TLS_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stddef.h>
#include <sys/types.h>

#include "nbd-uri.h"

#define NBD_RELAY_NAME "ublkd-relay" /* in ps */

/* All that is used of GnuTLS. */
#define GNUTLS_FUNCTIONS(F)                      \
	F(alert_get)                             \
	F(alert_get_name)                        \
	F(auth_get_type)                         \
	F(bye)                                   \
	F(certificate_allocate_credentials)      \
	F(certificate_free_credentials)          \
	F(certificate_set_x509_crl_mem)          \
	F(certificate_set_x509_key_mem)          \
	F(certificate_set_x509_system_trust)     \
	F(certificate_set_x509_trust_mem)        \
	F(certificate_verification_status_print) \
	F(credentials_clear)                     \
	F(credentials_set)                       \
	F(deinit)                                \
	F(error_is_fatal)                        \
	F(handshake)                             \
	F(init)                                  \
	F(psk_allocate_client_credentials)       \
	F(psk_free_client_credentials)           \
	F(psk_set_client_credentials)            \
	F(record_get_direction)                  \
	F(record_recv)                           \
	F(record_send)                           \
	F(server_name_set)                       \
	F(session_get_verify_cert_status)        \
	F(session_set_verify_cert2)              \
	F(set_default_priority_append)           \
	F(strerror)                              \
	F(transport_set_int2)

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a name that is declared */
#define GNUTLS_MEMBER(name) __typeof__(gnutls_##name) *name;
struct nbd_gnutls {
	GNUTLS_FUNCTIONS(GNUTLS_MEMBER)
};
extern struct nbd_gnutls nbd_gnutls;

/*
 * Connect to the server that the URI names, and have TLS with it. Blocks. Returns
 * the socket, and *session is the other half of what nbd_relay_start() needs; or a
 * negative errno, and text says why.
 */
int nbd_tls_connect(const struct nbd_uri *uri, gnutls_session_t *session,
		    char *text, size_t size);

/*
 * Start a relay. The session and its socket are that one's, whatever is returned:
 * the other end, the caller's, and *relay is the process; or a negative errno.
 */
int nbd_relay_start(gnutls_session_t session, int fd, pid_t *relay);

/*
 * Leave this process no right but to use its descriptors, of which there are so
 * many, and its memory. Returns 0, also where the kernel has no seccomp; or a
 * negative errno, and it must not go on.
 */
int nbd_relay_confine(unsigned descriptors);

/*
 * Wait for the end of a relay whose other end is closed. If the server has ended it
 * by saying what it dislikes, text is that.
 */
void nbd_relay_explain(pid_t relay, char *text, size_t size);

#endif
