/*
 * nbd: the export of an NBD server. What it is made of, the options, and how it
 * comes to a connection, again and again; the transmission is in nbd-io.c, and a
 * helper makes the connection (nbd-connect.h).
 *
 * A connection that ends takes no device along: its requests wait for the next
 * one. That must lead to the same disk, as far as a server tells.
 */
#include "nbd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "base/log.h"
#include "base/message.h"
#include "base/syntax.h"
#include "io/pool.h"
#include "nbd-uri.h"

enum {
	URI,
	EXPORT,
	SIZE,
	CONNECTIONS,
	DURABLE,
	RECONNECT,
	DISCARD,
#ifndef WITHOUT_TLS
	TLS,
	TLS_FIRST, /* of those that are parameters of a URI */
	TLS_CERTIFICATES = TLS_FIRST,
	TLS_HOSTNAME,
	TLS_PSK_FILE,
	TLS_USERNAME,
	TLS_VERIFY_PEER,
	OPTIONS,
#endif
};

static const struct option options[] = {
	[URI] = { .name = "uri",
		  .type = OPTION_URI,
		  .required = 1,
		  .help = "the server and its export: nbd://HOST[:PORT]/EXPORT, "
			  "or nbd+unix:///EXPORT?socket=PATH" },
	[EXPORT] = { .name = "export",
		     .type = OPTION_TEXT,
		     .help = "the export's name (default: the URI's)" },
	[SIZE] = { .name = "size",
		   .type = OPTION_SIZE,
		   .min = 512,
		   .max = OPTION_SIZE_MAX,
		   .help = "size of the device in bytes (default: all that the "
			   "export has)" },
	[CONNECTIONS] = { .name = "connections",
			  .type = OPTION_NUMBER,
			  .min = 1,
			  .max = NBD_LINKS,
			  .help = "connections to the server (default: one a "
				  "queue, at most 4, if the server allows for "
				  "several)" },
	[DURABLE] = { .name = "durable",
		      .type = OPTION_FLAG,
		      .fallback = "no",
		      .help = "each write is on the server's disk when it is "
			      "answered" },
	[RECONNECT] = { .name = "reconnect",
			.type = OPTION_FLAG,
			.fallback = "yes",
			.help = "requests wait for a connection that was lost; "
				"with no they fail" },
	[DISCARD] = { .name = "discard",
		      .type = OPTION_FLAG,
		      .fallback = "yes",
		      .help = "give space back that is discarded or zeroed, if "
			      "the server can" },
#ifndef WITHOUT_TLS
	[TLS] = { .name = "tls",
		  .type = OPTION_FLAG,
		  .help = "nothing goes to the server but by TLS (default: "
			  "with nbds:// and nbds+unix://)" },
	[TLS_CERTIFICATES] = { .name = "tls-certificates",
			       .type = OPTION_PATH,
			       .help = "folder with ca-cert.pem, and "
				       "client-cert.pem and client-key.pem if "
				       "the server asks for them (default: the "
				       "host's authorities)" },
	[TLS_HOSTNAME] = { .name = "tls-hostname",
			   .type = OPTION_TEXT,
			   .help = "name that the server's certificate has "
				   "(default: the URI's host)" },
	[TLS_PSK_FILE] = { .name = "tls-psk-file",
			   .type = OPTION_PATH,
			   .help = "file of NAME:KEY lines, in place of "
				   "certificates" },
	[TLS_USERNAME] = { .name = "tls-username",
			   .type = OPTION_TEXT,
			   .help = "name in tls-psk-file (default: the URI's "
				   "user)" },
	[TLS_VERIFY_PEER] = { .name = "tls-verify-peer",
			      .type = OPTION_FLAG,
			      .fallback = "yes",
			      .help = "refuse a server whose certificate is not "
				      "good" },
#endif
	{ .name = NULL },
};

#define PAGE 4096u

/* What one request may give back, in bytes. */
#define TRIM_MAX (256u << 20)

#define PAUSE_LEAST 0.1 /* s between two attempts to connect */
#define PAUSE_MOST  5.0
#define PAUSE_FEWER 60.0 /* PAUSE_MOST while there is another connection */
#define LASTS	    2.0	 /* s after which a connection is a good one */

#define WANTS_MOST 4u /* connections, where nobody says how many */

/* What must not be forgotten, in the target's tally: the export's flags, and: */
#define TALLY_KNOWN (UINT64_C(1) << 32)
#define TALLY_LOST  (UINT64_C(1) << 33) /* the next flush fails */

/* ---- what is there ---- */

static int begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

#ifndef WITHOUT_TLS

static int is_tls(const struct option_value *values)
{
	return nbd_uri_is_tls(values[URI].text) || values[TLS].number;
}

static int check_tls(const struct option_value *values, struct failure *failure)
{
	int i;

	if (is_tls(values) && values[TLS].given && !values[TLS].number)
		return failure_set(failure, SYMBOL_ARG, 0, "tls",
				   "tls=no: uri=%.200s asks for TLS",
				   values[URI].text);
	for (i = TLS_FIRST; !is_tls(values) && i < OPTIONS; i++)
		if (values[i].given)
			return failure_set(failure, SYMBOL_ARG, 0,
					   options[i].name,
					   "%s= is for nbds://, nbds+unix:// "
					   "and tls=yes",
					   options[i].name);
	return 0;
}

/*
 * The URI by which the helper has TLS, with the options as its parameters. Returns
 * NULL, or what is wrong with it.
 */
static const char *write_tls_uri(const struct option_value *values, char *text,
				 size_t size)
{
	static struct nbd_uri uri;
	const char *rest = values[URI].text + strlen("nbd");
	int i;

	snprintf(text, size, "nbds%s", rest[0] == 's' ? rest + 1 : rest);
	for (i = TLS_FIRST; i < OPTIONS; i++)
		if (values[i].given &&
		    nbd_uri_add(text, size, options[i].name,
				options[i].type == OPTION_FLAG
					? values[i].number ? "yes" : "no"
					: values[i].text) < 0)
			return "it is too long with its options";
	return nbd_uri_read(&uri, text);
}

#else

static int is_tls(const struct option_value *values)
{
	(void)values;
	return 0;
}

static int check_tls(const struct option_value *values, struct failure *failure)
{
	if (!begins(values[URI].text, "nbds"))
		return 0;
	return failure_set(failure, SYMBOL_UNSUPPORTED, 0, "uri",
			   "uri=%.200s: TLS is left out of this build "
			   "(--disable-tls, or no GnuTLS)",
			   values[URI].text);
}

static const char *write_tls_uri(const struct option_value *values, char *text,
				 size_t size)
{
	(void)values;
	(void)text;
	(void)size;
	return NULL;
}

#endif

/*
 * What the helper is asked for, MESSAGE_TEXT bytes at most. Returns NULL, or what is
 * wrong with the URI.
 */
static const char *write_question(const struct option_value *values, char *text)
{
	const char *why = NULL;
	size_t at;

	if (is_tls(values))
		why = write_tls_uri(values, text, MESSAGE_TEXT);
	else
		snprintf(text, MESSAGE_TEXT, "%s", values[URI].text);
	if (why || !values[EXPORT].given)
		return why;
	at = strlen(text);
	at += (size_t)snprintf(text + at, MESSAGE_TEXT - at, "\n%s",
			       values[EXPORT].text);
	return at < MESSAGE_TEXT ? NULL : "it is too long with its options";
}

/* libnbd would go there in plain, without a word. */
static int check_plain(const struct option_value *values,
		       struct failure *failure)
{
	const char *at = is_tls(values) ? NULL : strchr(values[URI].text, '?');

	for (; at; at = strchr(at + 1, '&'))
		if (begins(at + 1, "tls-"))
			return failure_set(failure, SYMBOL_ARG, 0, "uri",
					   "uri=%.200s: tls- parameters are "
					   "for nbds://, nbds+unix:// and "
					   "tls=yes",
					   values[URI].text);
	return 0;
}

static int check_scheme(const char *uri, struct failure *failure)
{
	static const char *const schemes[] = { "nbd://", "nbd+unix://",
					       "nbd+vsock://", "nbds://",
					       "nbds+unix://" };
	unsigned i;

	for (i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (begins(uri, schemes[i]))
			return 0;
	return failure_set(failure, SYMBOL_ARG, 0, "uri",
			   "uri=%.200s begins with none of nbd://, "
			   "nbd+unix://, nbd+vsock://, nbds:// and "
			   "nbds+unix://",
			   uri);
}

static int nbd_opens(const struct target_args *args, struct opener_wish *wish,
		     struct failure *failure)
{
	static char question[MESSAGE_TEXT];
	const struct option_value *values = args->values;
	const char *uri = values[URI].text, *why;

	if (check_scheme(uri, failure) < 0 || check_tls(values, failure) < 0 ||
	    check_plain(values, failure) < 0)
		return -1;
	why = write_question(values, question);
	if (why)
		return failure_set(failure, SYMBOL_ARG, 0, "uri",
				   "uri=%.200s: %s", uri, why);
	wish->path = uri;
	wish->option = "uri";
	wish->connect = question;
	return 1;
}

/* The blocks that the device can have, and the requests. */
static int set_blocks(struct nbd *nbd, const struct target_args *args,
		      struct geometry *geometry, struct failure *failure)
{
	const struct nbd_export *export = &nbd->export;
	uint32_t least = export->least > 512 ? export->least : 512;

	if (geometry->block_size == 0)
		geometry->block_size = least <= PAGE ? least : PAGE;
	nbd->block_size = geometry->block_size;
	if (geometry->block_size < export->least)
		return failure_set(failure, SYMBOL_ARG, EINVAL, "block-size",
				   "block-size=%u: the server takes no less "
				   "than %u bytes",
				   geometry->block_size, export->least);
	if (export->most && args->max_io > export->most)
		return failure_set(failure, SYMBOL_RANGE, EINVAL, "max-io",
				   "max-io=%u: the server takes at most %u "
				   "bytes at a time",
				   args->max_io, export->most);
	geometry->physical_block_size =
		export->best && export->best <= PAGE ? export->best : PAGE;
	return 0;
}

static int set_abilities(struct nbd *nbd, const struct target_args *args,
			 struct geometry *geometry, struct failure *failure)
{
	uint32_t flags = nbd->export.flags;
	uint32_t unit = nbd->export.best > nbd->block_size ? nbd->export.best
							   : nbd->block_size;

	if (flags & NBD_READ_ONLY && !args->read_only)
		return failure_set(failure, SYMBOL_ARG, EROFS, "ro",
				   "%.200s is read-only; ro=yes takes it so",
				   nbd->uri);
	if (nbd->durable && flags & NBD_FLUSH && !(flags & NBD_FUA))
		return failure_set(failure, SYMBOL_UNSUPPORTED, 0, "durable",
				   "durable=yes: %.200s has no durable writes "
				   "(FUA)",
				   nbd->uri);
	if (nbd->wants > 1 && !(flags & NBD_MULTI_CONN))
		return failure_set(failure, SYMBOL_UNSUPPORTED, 0,
				   "connections",
				   "connections=%u: %.200s does not allow for "
				   "more than one (multi-conn)",
				   nbd->wants, nbd->uri);
	geometry->volatile_cache = (flags & NBD_FLUSH) != 0;
	if (!nbd->discards)
		return 0;
	if (flags & NBD_TRIM) {
		geometry->discard_granularity = unit;
		geometry->max_discard = TRIM_MAX;
	}
	if (flags & NBD_WRITE_ZEROES)
		geometry->max_write_zeroes = TRIM_MAX;
	return 0;
}

/* What all of its connections have: a server may tell an older one nothing new. */
static uint64_t room(const struct nbd *nbd)
{
	uint64_t size = nbd->connected ? UINT64_MAX : nbd->export.size;
	unsigned i;

	for (i = 0; i < nbd->link_count; i++)
		if (nbd->links[i]->fd >= 0 && nbd->links[i]->size < size)
			size = nbd->links[i]->size;
	return size;
}

static int check_room(const struct nbd *nbd, uint64_t size,
		      struct failure *failure)
{
	if (size <= room(nbd))
		return 0;
	return failure_set(failure, SYMBOL_RANGE, 0, "size",
			   "size=%" PRIu64 ": %.200s has only %" PRIu64
			   " bytes",
			   size, nbd->uri, room(nbd));
}

/* All of the export, in whole blocks, or what was asked for. */
static int set_size(struct nbd *nbd, const struct option_value *value,
		    struct geometry *geometry, struct failure *failure)
{
	nbd->size = value->number;
	if (!value->given) {
		geometry->unserved =
			(uint32_t)(nbd->export.size % nbd->block_size);
		nbd->size = nbd->export.size - geometry->unserved;
	}
	geometry->size = nbd->size;
	return check_room(nbd, nbd->size, failure);
}

static int set_up(struct nbd *nbd, const struct target_args *args,
		  struct geometry *geometry, struct failure *failure)
{
	if (nbd_export_read(&nbd->export, args->told ? args->told : "") < 0)
		return failure_set(failure, SYMBOL_STATE, EPROTO, "uri",
				   "%.200s: the helper does not say what is "
				   "there",
				   nbd->uri);
	if (set_blocks(nbd, args, geometry, failure) < 0 ||
	    set_abilities(nbd, args, geometry, failure) < 0)
		return -1;
	if (set_size(nbd, &args->values[SIZE], geometry, failure) < 0)
		return -1;
	return target_check_size(nbd->size, nbd->block_size, failure);
}

/* ---- the connection ---- */

int nbd_has_lost(const struct nbd *nbd)
{
	return (nbd->target.tally & TALLY_LOST) != 0;
}

void nbd_set_lost(struct nbd *nbd, int has_lost)
{
	uint64_t tally = nbd->target.tally & ~TALLY_LOST;

	target_set_tally(&nbd->target, has_lost ? tally | TALLY_LOST : tally);
}

/*
 * What the device has been told of an export; where nobody knows that any more it
 * is what this one has.
 */
static uint32_t flags_told(const struct nbd *nbd,
			   const struct nbd_export *export)
{
	return nbd->target.tally & TALLY_KNOWN ? (uint32_t)nbd->target.tally
					       : export->flags;
}

void nbd_note_flags(struct nbd *nbd)
{
	uint32_t flags = nbd->export.flags;

	if (!nbd->discards)
		flags &= ~(NBD_TRIM | NBD_WRITE_ZEROES);
	if (!(nbd->target.tally & TALLY_KNOWN))
		target_set_tally(&nbd->target,
				 nbd->target.tally | TALLY_KNOWN | flags);
}

void nbd_say_why(struct nbd *nbd, const char *why)
{
	snprintf(nbd->why, sizeof(nbd->why), "%.*s", (int)sizeof(nbd->why) - 1,
		 why);
}

/* How many connections there are to be, as far as the server is known. */
static unsigned wanted(const struct nbd *nbd)
{
	if (!(nbd->export.flags & NBD_MULTI_CONN))
		return 1;
	if (nbd->wants)
		return nbd->wants;
	return nbd->port_count < WANTS_MOST ? nbd->port_count : WANTS_MOST;
}

static void tell_none(struct nbd *nbd)
{
	if (nbd->is_told)
		return;
	nbd->is_told = 1;
	if (nbd->reconnects)
		log_warning("%s: no connection: %s; its requests wait for one",
			    nbd->uri, nbd->why);
	else
		log_warning("%s: no connection: %s; its requests fail "
			    "(reconnect=no)",
			    nbd->uri, nbd->why);
}

static void tell_fewer(struct nbd *nbd)
{
	if (nbd->is_fewer_told)
		return;
	nbd->is_fewer_told = 1;
	log_warning("%s: %u of %u connections: %s; its requests go by those",
		    nbd->uri, nbd->connected, wanted(nbd), nbd->why);
}

static void connect_later(struct nbd *nbd)
{
	double most = nbd->connected ? PAUSE_FEWER : PAUSE_MOST;

	if (nbd->pause > most)
		nbd->pause = most;
	loop_timer_start(nbd->loop, &nbd->timer, nbd->pause);
	nbd->pause *= 2;
}

/* What comes of an attempt that is under way is nobody's. */
void nbd_connect_no_more(struct nbd *nbd)
{
	loop_timer_stop(nbd->loop, &nbd->timer);
	if (nbd->attempt)
		nbd->attempt->nbd = NULL;
	nbd->attempt = NULL;
}

/* Requests wait for the next attempt, or nobody makes one. */
static void be_without(struct nbd *nbd)
{
	tell_none(nbd);
	if (nbd->reconnects)
		connect_later(nbd);
	else
		nbd_fail_all(nbd);
}

/* While there is another connection nobody need hear of this one at once. */
void nbd_disconnected(struct nbd *nbd)
{
	if (nbd->connected) {
		if (nbd->reconnects && !loop_timer_is_active(&nbd->timer))
			connect_later(nbd);
		return;
	}
	loop_timer_stop(nbd->loop, &nbd->timer);
	loop_timer_stop(nbd->loop, &nbd->lasts);
	loop_timer_stop(nbd->loop, &nbd->silence);
	if (nbd->has_lasted)
		nbd->pause = PAUSE_LEAST;
	nbd->has_lasted = 0;
	if (nbd->port_count)
		be_without(nbd);
}

static void attempt_failed(struct nbd *nbd, const char *why)
{
	nbd_say_why(nbd, why);
	if (!nbd->connected) {
		be_without(nbd);
		return;
	}
	tell_fewer(nbd);
	connect_later(nbd);
}

/*
 * The connections of a device are to one server: only that speaks by a flush for
 * the writes of all. Returns why this one is to another server, or NULL.
 */
static const char *find_other_server(const struct nbd *nbd,
				     const struct nbd_export *export)
{
	static char text[3 * NBD_PEER];

	if (!nbd->connected)
		return NULL;
	if (strcmp(export->peer, nbd->export.peer) != 0) {
		snprintf(text, sizeof(text),
			 "the URI leads to %s, and the other connections are "
			 "to %s",
			 export->peer, nbd->export.peer);
		return text;
	}
	if (export->flags != nbd->export.flags)
		return "the server's disk can do other things than by the "
		       "other connections";
	return NULL;
}

/* Returns why this is not the disk that the device has been, or NULL. */
static const char *find_difference(const struct nbd *nbd,
				   const struct nbd_export *export)
{
	static char text[120];
	uint32_t told = flags_told(nbd, export), has = export->flags;

	if (export->size < nbd->size) {
		snprintf(text, sizeof(text),
			 "the server's disk has %" PRIu64 " bytes now, and the "
			 "device %" PRIu64,
			 export->size, nbd->size);
		return text;
	}
	if (nbd->target.ended && export->size != nbd->export.size)
		return "the base has another size now";
	if (has & NBD_READ_ONLY && !nbd->read_only)
		return "the server's disk is read-only now";
	if ((has ^ told) & NBD_FLUSH)
		return "the server's disk has another cache now";
	if (told & ~has & (NBD_TRIM | NBD_WRITE_ZEROES))
		return "the server's disk can do less now";
	if (nbd->durable && told & ~has & NBD_FUA)
		return "the server's disk has no durable writes now";
	if (nbd->block_size && export->least > nbd->block_size)
		return "the server's disk has larger blocks now";
	if (export->most && export->most < nbd->max_io)
		return "the server takes smaller requests only";
	return NULL;
}

/* A link without a connection, or NULL without memory. */
static struct nbd_link *find_link(struct nbd *nbd)
{
	struct nbd_link *link;
	unsigned i;

	for (i = 0; i < nbd->link_count; i++)
		if (nbd->links[i]->fd < 0)
			return nbd->links[i];
	link = nbd_link_new(nbd);
	if (link)
		nbd->links[nbd->link_count++] = link;
	return link;
}

static void begin(struct nbd *nbd, struct nbd_link *link, int fd)
{
	link->is_again = 1;
	loop_timer_start(nbd->loop, &nbd->lasts, LASTS);
	nbd_use(link, fd, nbd->export.size);
	if (nbd->connected >= wanted(nbd))
		nbd->why[0] = '\0';
}

/* Returns NULL, or why it is of no use. */
static const char *take_connection(struct nbd *nbd, int fd, const char *told)
{
	struct nbd_export export;
	struct nbd_link *link;
	const char *why;

	if (fd < 0 || nbd_export_read(&export, told) < 0)
		return "the helper does not say what is there";
	why = find_other_server(nbd, &export);
	if (!why)
		why = find_difference(nbd, &export);
	if (why)
		return why;
	link = find_link(nbd);
	if (!link)
		return "out of memory";
	if (export.size > nbd->size && export.size != nbd->export.size)
		log_notice("%s: the server's disk has %" PRIu64 " bytes, which "
			   "resize size=auto takes",
			   nbd->uri, export.size);
	nbd->export = export;
	nbd_note_flags(nbd);
	nbd->reconnected += link->is_again;
	begin(nbd, link, fd);
	return NULL;
}

/*
 * The next one follows at once, unless one has ended meanwhile: a server that ends
 * each of them after a moment is to have pauses.
 */
static void on_connected(void *context, const struct message *answer)
{
	struct nbd_attempt *attempt = context;
	struct nbd *nbd = attempt->nbd;
	int fd = ask_take_fd();
	const char *why = "";

	free(attempt);
	if (nbd) {
		nbd->attempt = NULL;
		why = answer->result ? answer->text[0]
					       ? answer->text
					       : strerror(-answer->result)
				     : take_connection(nbd, fd, answer->text);
	}
	if (why && fd >= 0)
		close(fd);
	if (nbd && why)
		attempt_failed(nbd, why);
	else if (nbd && !loop_timer_is_active(&nbd->timer))
		nbd_connect_now(nbd);
}

void nbd_connect_now(struct nbd *nbd)
{
	if (nbd->attempt || !nbd->port_count || nbd->connected >= wanted(nbd))
		return;
	nbd->attempt = calloc(1, sizeof(*nbd->attempt));
	if (nbd->attempt) {
		nbd->attempt->nbd = nbd;
		if (ask(HELPER_CONNECT, nbd->question, -1, on_connected,
			nbd->attempt) == 0)
			return;
		free(nbd->attempt);
		nbd->attempt = NULL;
	}
	attempt_failed(nbd, "nobody can be asked to connect");
}

static void on_timer(struct loop_timer *timer)
{
	nbd_connect_now(timer->data);
}

/*
 * Before that a connection is but another attempt: a server that ends each of them
 * after a moment is to have pauses, and no line in the log for each.
 */
static void on_lasting(struct loop_timer *timer)
{
	struct nbd *nbd = timer->data;

	if (!nbd->connected)
		return;
	nbd->has_lasted = 1;
	if (nbd->is_told)
		log_notice("%s: a new connection; requests go on", nbd->uri);
	nbd->is_told = 0;
	if (nbd->connected < wanted(nbd))
		return;
	nbd->pause = PAUSE_LEAST;
	nbd->is_fewer_told = 0;
}

/* ---- open and close ---- */

static void free_nbd(struct nbd *nbd)
{
	nbd_free_requests(nbd);
	while (nbd->link_count)
		nbd_link_free(nbd->links[--nbd->link_count]);
	free(nbd->question);
	free(nbd->uri);
	free(nbd);
}

static struct nbd *new_nbd(const struct target_args *args)
{
	static char question[MESSAGE_TEXT];
	const struct option_value *values = args->values;
	struct nbd *nbd = calloc(1, sizeof(*nbd));

	if (!nbd)
		return NULL;
	target_init(&nbd->target, &target_nbd);
	nbd->loop = args->loop;
	nbd->read_only = args->read_only;
	nbd->max_io = args->max_io;
	nbd->discards = values[DISCARD].number && !args->read_only;
	nbd->durable = values[DURABLE].number != 0;
	nbd->reconnects = values[RECONNECT].number != 0;
	nbd->wants = (unsigned)values[CONNECTIONS].number;
	nbd->pause = PAUSE_LEAST;
	loop_timer_init(&nbd->timer, on_timer, nbd);
	loop_timer_init(&nbd->lasts, on_lasting, nbd);
	loop_timer_init(&nbd->silence, nbd_on_silence, nbd);
	nbd->uri = strdup(values[URI].text);
	if (!write_question(values, question))
		nbd->question = strdup(question);
	if (nbd->uri && nbd->question && find_link(nbd))
		return nbd;
	free_nbd(nbd);
	return NULL;
}

/*
 * The first one saves two system calls for each request, for which it has memory
 * for each slot; the second one leaves nothing to a request that timed out.
 */
static const enum io_mode modes[] = { IO_COPY, IO_USER_COPY, IO_MODES };

static struct target *nbd_open(struct target_args *args,
			       struct geometry *geometry,
			       struct failure *failure)
{
	struct nbd *nbd = new_nbd(args);

	if (!nbd) {
		failure_set(failure, SYMBOL_LIMIT, ENOMEM, NULL,
			    "nbd: out of memory");
		return NULL;
	}
	geometry->modes = modes;
	if (args->adopted) {
		nbd->size = geometry->size = args->size;
		nbd->block_size = geometry->block_size;
		nbd->links[0]->is_again = 1;
		/* There may be some that nobody has flushed. */
		nbd->writes = !nbd->durable && !nbd->read_only;
		if (!geometry->block_size)
			geometry->block_size = 512;
		return &nbd->target;
	}
	if (set_up(nbd, args, geometry, failure) < 0) {
		free_nbd(nbd);
		return NULL;
	}
	begin(nbd, nbd->links[0], args->fds[0]);
	args->fds[0] = -1;
	return &nbd->target;
}

static int nbd_resize(struct target *target, uint64_t size,
		      struct failure *failure)
{
	struct nbd *nbd = (struct nbd *)target;

	/* Before an adopted device's first connection, which checks that. */
	if (nbd->export.size && check_room(nbd, size, failure) < 0)
		return -1;
	nbd->size = size;
	return 0;
}

static int nbd_measure(struct target *target, uint64_t *size,
		       struct failure *failure)
{
	const struct nbd *nbd = (const struct nbd *)target;

	if (!nbd->export.size)
		return failure_set(failure, SYMBOL_STATE, ENOTCONN, NULL,
				   "%.200s has not been reached yet", nbd->uri);
	*size = room(nbd);
	return 0;
}

static unsigned count_live(const struct nbd *nbd)
{
	unsigned i, count = 0;

	for (i = 0; i < nbd->link_count; i++)
		count += nbd_link_is_live(nbd->links[i]);
	return count;
}

static void nbd_describe(const struct target *target, char *text, size_t size)
{
	const struct nbd *nbd = (const struct nbd *)target;
	char uri[OPTION_PATH_MAX * 4 + 3], why[sizeof(nbd->why) * 4 + 3];
	unsigned live = count_live(nbd);
	int at;

	syntax_quote(uri, sizeof(uri), nbd->uri);
	at = snprintf(text, size,
		      " uri=%s connected=%s connections=%u reconnects=%" PRIu64
		      " unanswered=%u",
		      uri, live ? "yes" : "no", live, nbd->reconnected,
		      nbd->count);
	if ((live && live >= wanted(nbd)) || !nbd->why[0] || (size_t)at >= size)
		return;
	syntax_quote_text(why, sizeof(why), nbd->why);
	snprintf(text + at, size - (size_t)at, " reason=%s", why);
}

static void nbd_close(struct target *target)
{
	struct nbd *nbd = (struct nbd *)target;
	int is_busy = 0;
	unsigned i;

	nbd_connect_no_more(nbd);
	loop_timer_stop(nbd->loop, &nbd->lasts);
	loop_timer_stop(nbd->loop, &nbd->silence);
	for (i = 0; i < nbd->link_count; i++) {
		nbd_link_leave(nbd->links[i]);
		is_busy |= nbd_link_is_busy(nbd->links[i]);
	}
	/* What the kernel has not let go of stays where it is. */
	if (!is_busy)
		free_nbd(nbd);
}

const struct target_ops target_nbd = {
	.name = "nbd",
	.help = "the export of an NBD server, which may come and go",
	.options = options,
	.opens = nbd_opens,
	.adopts_alone = 1,
	.open = nbd_open,
	.picks_block_size = 1,
	.resize = nbd_resize,
	.measure = nbd_measure,
	.in_workers = nbd_in_workers,
	.go_on = nbd_go_on,
	.io = { .submit = nbd_submit,
		.expire = nbd_expire,
		.start = nbd_start,
		.stop = nbd_stop },
	.describe = nbd_describe,
	.close = nbd_close,
};
