/*
 * The URI of an NBD server that is reached by TLS, as libnbd and the NBD protocol's
 * doc/uri.md have it:
 *
 *   nbds://[USER@]HOST[:PORT]/EXPORT[?PARAMETERS]
 *   nbds+unix://[USER@]/EXPORT?socket=PATH[&PARAMETERS]
 *
 * (libnbd reads the others itself.)
 */
#ifndef UBLKD_NBD_URI_H
#define UBLKD_NBD_URI_H

#include <stddef.h>

#define NBD_URI_MAX 4096u /* bytes, with the zero byte */
#define NBD_PORT    "10809"

struct nbd_uri {
	const char *socket;	  /* the server's path; NULL: by TCP */
	const char *host, *port;  /* "": by the path */
	const char *export_name;  /* "": the server's first */
	const char *certificates; /* a folder; NULL: the system's, like those: */
	const char *psk_file;	  /* NULL: certificates */
	const char *username;	  /* in the file of keys; NULL: none */
	const char *hostname;	/* that the certificate is to have; NULL: any */
	int verifies;		/* the server's certificate */
	char text[NBD_URI_MAX]; /* all of these lie here */
};

/* Whether a URI asks for TLS. */
int nbd_uri_is_tls(const char *text);

/* Fill in *uri. Returns NULL, or what is wrong with the text. */
const char *nbd_uri_read(struct nbd_uri *uri, const char *text);

/*
 * Append a parameter to the URI that text has. Returns 0, or -E2BIG if that does
 * not fit.
 */
int nbd_uri_add(char *text, size_t size, const char *name, const char *value);

#endif
