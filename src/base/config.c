#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What is gathered has a mark in front of each of its lines:
 *
 *   @3 /etc/ublkd.conf		the next line is the third of that file
 *   :add null			a line
 */
#define PLACE '@'
#define LINE  ':'

/* In a build without it "include" is a command that is not known. */
#ifdef WITHOUT_RELOAD
#define CAN_INCLUDE 0
#else
#define CAN_INCLUDE 1
#endif

/* ---- gathering ---- */

/* A file that is being read, and the one that includes it. */
struct source {
	const struct source *from;
	const char *path;
	unsigned number; /* of the line that was read last */
	dev_t device;
	ino_t inode;
	FILE *out;
	struct failure *failure;
};

static int gather(const struct source *from, const char *path, int may_lack,
		  FILE *out, struct failure *failure);

/* The line of `source` that was read last is wrong. */
static int fail_at(const struct source *source, enum symbol symbol, int error,
		   size_t column, const char *text)
{
	failure_set(source->failure, symbol, error, NULL, "%.150s:%u:%zu: %s",
		    source->path, source->number, column, text);
	return -1;
}

/* The file of a path, or why there is none, said of who wants it. */
static int fail_file(const struct source *from, const char *path, int error,
		     struct failure *failure)
{
	if (from)
		failure_set(failure, failure_symbol(error), error, NULL,
			    "%.100s:%u:1: cannot include %.150s: %s",
			    from->path, from->number, path, strerror(error));
	else
		failure_set(failure, failure_symbol(error), error, NULL,
			    "%.200s: %s", path, strerror(error));
	return -1;
}

/* The path as it is seen from the folder of the file that names it. */
static char *path_from(const struct source *source, const char *path)
{
	const char *end = strrchr(source->path, '/');
	char *whole;

	if (path[0] == '/' || !end)
		return strdup(path);
	if (asprintf(&whole, "%.*s/%s", (int)(end - source->path), source->path,
		     path) < 0)
		return NULL;
	return whole;
}

static int unread; /* why glob() could not read a folder, for whoever called it */

/* A folder that is not there matches nothing; one that cannot be read may. */
static int on_unread(const char *folder, int error)
{
	(void)folder;
	unread = error;
	return error != ENOENT && error != ENOTDIR;
}

/* What the pattern matches, in the order of its names; nothing is fine. */
static int include_pattern(struct source *source, const char *pattern)
{
	glob_t found = { .gl_pathc = 0 };
	int error = glob(pattern, 0, on_unread, &found), result = 0;
	size_t i;

	if (error && error != GLOB_NOMATCH) {
		globfree(&found);
		return fail_file(source, pattern,
				 error == GLOB_ABORTED ? unread : ENOMEM,
				 source->failure);
	}
	for (i = 0; !error && i < found.gl_pathc && result == 0; i++)
		result = gather(source, found.gl_pathv[i], 0, source->out,
				source->failure);
	globfree(&found);
	return result;
}

static int include(struct source *source, const struct syntax_line *line)
{
	char *path;
	int result;

	if (line->count != 2)
		return fail_at(source, SYMBOL_ARG, 0, line->starts[0] + 1U,
			       "include takes one path, such as conf.d/*.conf");
	path = path_from(source, line->words[1]);
	if (!path)
		return fail_file(source, line->words[1], ENOMEM,
				 source->failure);
	result = strpbrk(path, "*?[") ? include_pattern(source, path)
				      : gather(source, path, 0, source->out,
					       source->failure);
	free(path);
	fprintf(source->out, "%c%u %s\n", PLACE, source->number + 1,
		source->path);
	return result;
}

/* What is no line is for whoever runs it to tell of. */
int config_includes(const char *text, size_t length, struct syntax_line *line)
{
	const char *why;

	return syntax_split(line, text, length, &why) == 0 && line->count &&
	       strcmp(line->words[0], "include") == 0;
}

static int gather_line(struct source *source, const char *text, size_t length)
{
	struct syntax_line line;

	source->number++;
	if (CAN_INCLUDE && config_includes(text, length, &line)) {
		if (include(source, &line) < 0)
			return -1;
	} else {
		fputc(LINE, source->out);
		fwrite(text, 1, length, source->out);
		fputc('\n', source->out);
	}
	/* The places of lines count as well: there may be nothing else. */
	if (ftell(source->out) > (long)CONFIG_MAX)
		return fail_at(source, SYMBOL_LIMIT, 0, 1,
			       "a configuration has at most 4 MiB");
	return 0;
}

static int gather_lines(struct source *source, const char *text, size_t length)
{
	const char *end = text + length, *line_end;
	int result = 0;

	fprintf(source->out, "%c1 %s\n", PLACE, source->path);
	for (; text < end && result == 0; text = line_end + 1) {
		line_end = memchr(text, '\n', (size_t)(end - text));
		if (!line_end)
			line_end = end;
		result = gather_line(source, text, (size_t)(line_end - text));
	}
	return result;
}

/* Whether the file may be read: no circle, and not too deep. */
static int check_includes(const struct source *source)
{
	const struct source *above;
	int depth = 1;

	for (above = source->from; above; above = above->from, depth++)
		if (above->device == source->device &&
		    above->inode == source->inode)
			return fail_at(source->from, SYMBOL_ARG, ELOOP, 1,
				       "the file that is included includes "
				       "this one");
	if (depth > CONFIG_DEPTH)
		return fail_at(source->from, SYMBOL_LIMIT, 0, 1,
			       "more than 8 files include each other");
	return 0;
}

/* Returns the bytes read, of at most size, or -1 with errno set. */
static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t n = 1;

	while (n > 0 && length < size) {
		n = read(fd, text + length, size - length);
		if (n < 0)
			return -1;
		length += (size_t)n;
	}
	return (ssize_t)length;
}

static int gather_open(struct source *source, int fd)
{
	char *text = malloc(CONFIG_MAX);
	struct stat status;
	ssize_t length = -1;
	int result;

	if (text && fstat(fd, &status) == 0)
		length = read_all(fd, text, CONFIG_MAX);
	if (length < 0) {
		result = fail_file(source->from, source->path, errno,
				   source->failure);
	} else {
		source->device = status.st_dev;
		source->inode = status.st_ino;
		result = source->from ? check_includes(source) : 0;
	}
	if (result == 0)
		result = gather_lines(source, text, (size_t)length);
	free(text);
	return result;
}

static int gather(const struct source *from, const char *path, int may_lack,
		  FILE *out, struct failure *failure)
{
	struct source source = {
		.from = from, .path = path, .out = out, .failure = failure
	};
	int fd, result;

	/* A mark of a place is one line. */
	errno = EINVAL;
	fd = strchr(path, '\n') ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && may_lack)
		return 0;
	if (fd < 0)
		return fail_file(from, path, errno, failure);
	result = gather_open(&source, fd);
	close(fd);
	return result;
}

const char *config_path(const char *path)
{
	return path[0] == '-' ? path + 1 : path;
}

int config_gather(const char *path, FILE *out, struct failure *failure)
{
	if (gather(NULL, config_path(path), path[0] == '-', out, failure) < 0)
		return -1;
	if (fflush(out) == 0)
		return 0;
	return fail_file(NULL, config_path(path), errno, failure);
}

/* ---- a helper's answer ---- */

int config_tell(struct message *message, int result,
		const struct failure *failure)
{
	message->text[0] = '\0';
	if (result == 0)
		return 0;
	message->number = failure->symbol;
	snprintf(message->text, sizeof(message->text), "%s", failure->text);
	return failure->error ? -failure->error : -EINVAL;
}

int config_told(const struct message *answer, struct failure *failure)
{
	int error = answer->result;

	if (!error)
		return 0;
	/* A keeper that has had no answer gives no text. */
	if (!answer->text[0])
		return failure_set(failure, failure_symbol(error), error, NULL,
				   "no helper has done anything with the "
				   "configuration file: %s",
				   strerror(-error));
	return failure_set(failure, (enum symbol)answer->number,
			   error == -EINVAL ? 0 : error, NULL, "%s",
			   answer->text);
}

/* ---- what was gathered ---- */

int config_load(struct config *config, int fd)
{
	struct stat status;
	ssize_t n;

	memset(config, 0, sizeof(*config));
	if (fstat(fd, &status) < 0)
		return -errno;
	config->text = malloc((size_t)status.st_size + 1);
	if (!config->text)
		return -ENOMEM;
	n = pread(fd, config->text, (size_t)status.st_size, 0);
	if (n < 0)
		return -errno;
	config->length = (size_t)n;
	config->text[n] = '\0';
	config->path = "";
	return 0;
}

void config_free(struct config *config)
{
	free(config->text);
	config->text = NULL;
}

/* A mark of a place, whose LF has become a NUL. */
static void take_place(struct config *config, const char *text)
{
	char *path;

	config->number = (unsigned)strtoul(text, &path, 10) - 1;
	config->path = *path ? path + 1 : path;
}

const char *config_next(struct config *config, size_t *length)
{
	char *text, *end;

	while (config->at < config->length) {
		text = config->text + config->at;
		end = memchr(text, '\n', config->length - config->at);
		if (!end)
			break;
		config->at += (size_t)(end - text) + 1;
		*end = '\0';
		*length = (size_t)(end - text) - 1;
		if (text[0] == LINE) {
			config->number++;
			return text + 1;
		}
		take_place(config, text + 1);
	}
	return NULL;
}

size_t config_find(const struct syntax_line *line,
		   const struct failure *failure)
{
	if (failure->symbol == SYMBOL_SYNTAX)
		return line->mistake;
	return failure->word ? line->starts[failure->word]
			     : syntax_find(line, failure->arg);
}

void config_locate(const struct config *config, const struct syntax_line *line,
		   struct failure *failure)
{
	const struct failure was = *failure;

	failure_set(failure, was.symbol, was.error, was.arg,
		    "%.150s:%u:%zu: %.220s", config->path, config->number,
		    config_find(line, &was) + 1, was.text);
}
