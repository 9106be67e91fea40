/*
 * A connection to an NBD server, made by libnbd in a helper process: names are
 * looked up, and the handshake waits for the server. What comes of it is a socket
 * on which requests can be sent.
 *
 * libnbd is loaded by the helper alone: none of the two processes that stay has it,
 * or what it brings along.
 */
#ifndef UBLKD_NBD_CONNECT_H
#define UBLKD_NBD_CONNECT_H

#include <stddef.h>
#include <stdint.h>

/* What an export can do, as the protocol's transmission flags have it. */
#define NBD_READ_ONLY	 0x0002u
#define NBD_FLUSH	 0x0004u
#define NBD_FUA		 0x0008u
#define NBD_ROTATIONAL	 0x0010u
#define NBD_TRIM	 0x0020u
#define NBD_WRITE_ZEROES 0x0040u
#define NBD_MULTI_CONN	 0x0100u

#define NBD_PEER 80

/* What a server says of an export. */
struct nbd_export {
	uint64_t size;	/* bytes */
	uint32_t flags; /* of those above */
	uint32_t least; /* bytes of a block; 0: it does not say */
	uint32_t best;	/* of one that it would like, likewise */
	uint32_t most;	/* of what a request can move, likewise */
	/*
	 * Which server it is: "ADDRESS:PORT", or "pid PID" of who listens on a
	 * Unix socket. "": nobody knows.
	 */
	char peer[NBD_PEER];
};

/* One line, which the other reads. Returns 0, or -EPROTO if it cannot. */
void nbd_export_write(const struct nbd_export *export, char *text, size_t size);
int nbd_export_read(struct nbd_export *export, const char *text);

/*
 * Connect to the server that the URI names, and ask for its export, or for the one
 * named `export` if that is not NULL. Blocks. Returns the socket, the caller's, and
 * text is what nbd_export_write() writes; or a negative errno, never -EBUSY, and
 * text says why.
 */
int nbd_connect(const char *uri, const char *export, char *text, size_t size);

#endif
