#include "startup.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "gather.h"

struct startup {
	struct request request; /* first: a request is its run */
	struct session session;
	struct config config;
	int keeps_going;
	unsigned failed;	/* lines, then */
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

	if (failure && startup->keeps_going) {
		log_error("%s", failure->text);
		failure = NULL;
	}
	if (startup->failed)
		log_error("lines of the configuration that have failed: %u; "
			  "all others have been run",
			  startup->failed);
	config_free(&startup->config);
	free(startup);
	done(host, failure);
}

/* The last line has failed. Returns whether that was all. */
static int fail_line(struct startup *startup)
{
	struct failure failure = startup->failure;

	config_locate(&startup->config, &startup->request.line, &failure);
	if (!startup->keeps_going) {
		finish_startup(startup, &failure);
		return 1;
	}
	log_error("%s", failure.text);
	startup->failed++;
	startup->failure.symbol = SYMBOL_NONE;
	return 0;
}

/* Nobody takes the lines, so there is nothing to wait for between them. */
static void list_all(struct request *request)
{
	while (command_continue(request))
		;
}

static void run_line(struct startup *startup, const char *text, size_t length)
{
	struct request *request = &startup->request;
	const char *why;

	if (syntax_split(&request->line, text, length, &why) < 0) {
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

static void run_lines(struct startup *startup)
{
	const char *text;
	size_t length;

	startup->running = 1;
	while (!startup->busy) {
		if (startup->failure.symbol != SYMBOL_NONE &&
		    fail_line(startup))
			return;
		text = startup->session.quits
			       ? NULL
			       : config_next(&startup->config, &length);
		if (!text) {
			finish_startup(startup, NULL);
			return;
		}
		run_line(startup, text, length);
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

static void on_gathered(void *context, struct config *config,
			const struct failure *failure)
{
	struct startup *startup = context;

	if (failure) {
		finish_startup(startup, failure);
		return;
	}
	startup->config = *config;
	run_lines(startup);
}

void startup_run(struct command_host *host, int keeps_going, startup_done *done)
{
	struct startup *startup = calloc(1, sizeof(*startup));
	struct failure failure;

	if (!startup) {
		failure_no_memory(&failure);
		done(host, &failure);
		return;
	}
	startup->keeps_going = keeps_going;
	startup->done = done;
	startup->request.host = host;
	startup->request.session = &startup->session;
	startup->request.configures = CONFIGURES_START;
	startup->request.pid = getpid();
	startup->request.emit = drop_reply;
	startup->request.done = on_line_done;
	startup->request.go_on = list_all;
	if (gather_config(host->config, HELPER_CONFIG, on_gathered, startup,
			  &failure) < 0)
		finish_startup(startup, &failure);
}
