#include "startup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct startup {
	struct request request; /* first: a request is its run */
	struct session session;
	const char *path;
	FILE *file;
	char *line;
	size_t line_size;
	unsigned number;	/* of the line, from 1 */
	int busy;		/* a command has not ended yet */
	int running;		/* run_lines() is on the stack */
	struct failure failure; /* of the last command */
	startup_done *done;
};

/* Nobody reads the replies. */
static void drop_reply(struct request *request, const char *text, size_t length)
{
	(void)request;
	(void)text;
	(void)length;
}

static void finish_startup(struct startup *startup,
			   const struct failure *failure)
{
	struct command_host *host = startup->request.host;
	startup_done *done = startup->done;

	if (startup->file)
		fclose(startup->file);
	free(startup->line);
	free(startup);
	done(host, failure);
}

/* End with the failure that was noted, its place in front. */
static void fail_line(struct startup *startup)
{
	struct failure failure = startup->failure;

	failure_set(&failure, startup->failure.symbol, failure.error, NULL,
		    "%s:%u: %.200s", startup->path, startup->number,
		    startup->failure.text);
	finish_startup(startup, &failure);
}

/* Nobody takes the lines, so there is nothing to wait for between them. */
static void list_all(struct request *request)
{
	while (command_continue(request))
		;
}

static void run_line(struct startup *startup, size_t length)
{
	struct request *request = &startup->request;
	const char *why;

	if (length && startup->line[length - 1] == '\n')
		length--;
	if (syntax_split(&request->line, startup->line, length, &why) < 0) {
		failure_set(&startup->failure, SYMBOL_SYNTAX, 0, NULL, "%s",
			    why);
		return;
	}
	if (request->line.count == 0)
		return;
	startup->busy = 1;
	if (command_run(request))
		list_all(request);
}

/* The whole file has been run, or the rest of it cannot be read. */
static void end_of_file(struct startup *startup)
{
	struct failure failure;

	if (!ferror(startup->file)) {
		finish_startup(startup, NULL);
		return;
	}
	failure_set(&failure, failure_symbol(errno), errno, NULL, "%s: %s",
		    startup->path, strerror(errno));
	finish_startup(startup, &failure);
}

static void run_lines(struct startup *startup)
{
	ssize_t length;

	startup->running = 1;
	while (!startup->busy) {
		if (startup->failure.symbol != SYMBOL_NONE) {
			fail_line(startup);
			return;
		}
		length = -1;
		if (!startup->session.quits)
			length = getline(&startup->line, &startup->line_size,
					 startup->file);
		if (length < 0) {
			end_of_file(startup);
			return;
		}
		startup->number++;
		run_line(startup, (size_t)length);
	}
	startup->running = 0;
}

static void on_line_done(struct request *request, const struct failure *failure)
{
	struct startup *startup = (struct startup *)request;

	startup->busy = 0;
	if (failure)
		startup->failure = *failure;
	if (!startup->running)
		run_lines(startup);
}

void startup_run(struct command_host *host, const char *path,
		 startup_done *done)
{
	struct startup *startup = calloc(1, sizeof(*startup));
	struct failure failure;

	if (!startup) {
		failure_set(&failure, SYMBOL_LIMIT, ENOMEM, NULL,
			    "%s: out of memory", path);
		done(host, &failure);
		return;
	}
	startup->path = path;
	startup->done = done;
	startup->request.host = host;
	startup->request.session = &startup->session;
	startup->request.configures = 1;
	startup->request.pid = getpid();
	startup->request.emit = drop_reply;
	startup->request.done = on_line_done;
	startup->request.go_on = list_all;
	startup->file = fopen(path, "re");
	if (!startup->file) {
		failure_set(&failure, failure_symbol(errno), errno, NULL,
			    "%s: %s", path, strerror(errno));
		finish_startup(startup, &failure);
		return;
	}
	run_lines(startup);
}
