#include "nbd-uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TCP  "nbds://"
#define UNIX "nbds+unix://"

static int begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

int nbd_uri_is_tls(const char *text)
{
	return begins(text, "nbds:") || begins(text, "nbds+");
}

static int hex(char digit)
{
	const char *digits = "0123456789abcdef";
	const char *at = strchr(digits, tolower((unsigned char)digit));

	return at && *at ? (int)(at - digits) : -1;
}

/* In place. Returns 0, or -EINVAL: a bad escape, or one of a zero byte. */
static int decode(char *text)
{
	char *to = text;
	int high, low;

	while (*text) {
		if (*text != '%') {
			*to++ = *text++;
			continue;
		}
		high = hex(text[1]);
		low = high < 0 ? -1 : hex(text[2]);
		if (low < 0 || high + low == 0)
			return -EINVAL;
		*to++ = (char)(high << 4 | low);
		text += 3;
	}
	*to = '\0';
	return 0;
}

/* Ends the text at the first such byte. Returns what follows, or NULL. */
static char *split(char *text, char at)
{
	char *found = strchr(text, at);

	if (found)
		*found++ = '\0';
	return found;
}

/* libnbd takes any text that is none of these for a yes. */
static const char *read_flag(const char *value, int *flag)
{
	static const char *const words[] = { "0", "no",	 "false",
					     "1", "yes", "true" };
	unsigned i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		*flag = i > 2;
		if (strcmp(value, words[i]) == 0)
			return NULL;
	}
	return "tls-verify-peer= in it is neither yes nor no";
}

static const char *read_parameter(struct nbd_uri *uri, const char *name,
				  const char *value)
{
	const struct {
		const char *name, **to;
	} texts[] = { { "socket", &uri->socket },
		      { "tls-certificates", &uri->certificates },
		      { "tls-psk-file", &uri->psk_file },
		      { "tls-username", &uri->username },
		      { "tls-hostname", &uri->hostname } };
	unsigned i;

	if (strcmp(name, "tls-verify-peer") == 0)
		return read_flag(value, &uri->verifies);
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(name, texts[i].name) != 0)
			continue;
		*texts[i].to = value;
		return value[0] ? NULL : "a parameter in it is empty";
	}
	return "there is no such parameter as one in it; socket, "
	       "tls-certificates, tls-hostname, tls-psk-file, tls-username and "
	       "tls-verify-peer are";
}

/* Those that come later win. */
static const char *read_parameters(struct nbd_uri *uri, char *text)
{
	const char *why;
	char *next, *value;

	for (; text; text = next) {
		next = split(text, '&');
		value = split(text, '=');
		if (decode(text) < 0 || (value && decode(value) < 0))
			return "a % in it is not followed by two digits";
		why = read_parameter(uri, text, value ? value : "");
		if (why)
			return why;
	}
	return NULL;
}

/* HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT */
static const char *read_host(struct nbd_uri *uri, char *text)
{
	char *port;

	uri->host = text;
	if (text[0] == '[') {
		uri->host++;
		port = split(text, ']');
		if (!port || (port[0] && port[0] != ':'))
			return "its address in [] has no good end";
		port = port[0] ? port + 1 : NULL;
	} else {
		port = split(text, ':');
	}
	uri->port = port && port[0] ? port : NBD_PORT;
	if (strspn(uri->port, "0123456789") != strlen(uri->port))
		return "its port is no number";
	return NULL;
}

static const char *read_authority(struct nbd_uri *uri, char *text)
{
	char *host = split(text, '@');

	if (host && decode(text) < 0)
		return "a % in it is not followed by two digits";
	/* One who is named by a parameter wins. */
	if (host && text[0] && !uri->username)
		uri->username = text;
	return read_host(uri, host ? host : text);
}

static const char *check(struct nbd_uri *uri, int is_unix)
{
	if (is_unix && !uri->socket)
		return "it names no socket= of the server";
	if (is_unix && uri->host[0])
		return "it names a host and a socket";
	if (!is_unix && !uri->host[0])
		return "it has no host";
	if (!is_unix && uri->socket)
		return "socket= is for nbds+unix://";
	if (uri->psk_file && uri->certificates)
		return "it is either tls-certificates= or tls-psk-file=";
	if (uri->psk_file && !uri->username)
		return "tls-psk-file= wants a tls-username=";
	if (!uri->hostname && uri->host[0])
		uri->hostname = uri->host;
	if (uri->verifies && !uri->hostname && !uri->certificates &&
	    !uri->psk_file)
		return "with a socket any server with a certificate would do: "
		       "it wants tls-certificates= or tls-hostname=";
	return NULL;
}

const char *nbd_uri_read(struct nbd_uri *uri, const char *text)
{
	int is_unix = begins(text, UNIX);
	size_t size = strlen(text) + 1;
	char *authority, *path, *query;
	const char *why;

	memset(uri, 0, sizeof(*uri));
	if (!is_unix && !begins(text, TCP))
		return "with TLS it begins with nbds:// or nbds+unix://";
	if (size > sizeof(uri->text))
		return "it is too long";
	uri->verifies = 1;
	memcpy(uri->text, text, size);
	authority = uri->text + strlen(is_unix ? UNIX : TCP);
	if (strchr(authority, '#'))
		return "a # in it must be written as %23";
	query = split(authority, '?');
	path = split(authority, '/');
	uri->export_name = path ? path : "";
	if (path && decode(path) < 0)
		return "a % in it is not followed by two digits";
	why = read_parameters(uri, query);
	if (!why)
		why = read_authority(uri, authority);
	return why ? why : check(uri, is_unix);
}

int nbd_uri_add(char *text, size_t size, const char *name, const char *value)
{
	size_t at = strlen(text);

	at += (size_t)snprintf(text + at, size - at,
			       "%c%s=", strchr(text, '?') ? '&' : '?', name);
	for (; *value && at + 4 <= size; value++) {
		unsigned char byte = (unsigned char)*value;
		int is_plain = isalnum(byte) || strchr("/._-:@,=", byte);

		at += (size_t)snprintf(text + at, size - at,
				       is_plain ? "%c" : "%%%02x", byte);
	}
	return *value || at >= size ? -E2BIG : 0;
}
