#include "say.h"

#include <string.h>

#include "admin/command.h"
#include "fake.h"

struct said said;

static void emit(struct request *request, const char *text, size_t length)
{
	size_t at = strlen(said.text);

	assert_true(at + length < sizeof(said.text));
	memcpy(said.text + at, text, length);
	said.text[at + length] = '\0';
}

static void on_done(struct request *request, const struct failure *failure)
{
	said.done++;
	said.failed = failure != NULL;
}

static void go_on(struct request *request)
{
	while (command_continue(request))
		;
}

int say_bytes(const char *line, size_t length)
{
	static struct session session;
	static struct request request;
	const char *why;

	memset(&session, 0, sizeof(session));
	memset(&request, 0, sizeof(request));
	request.host = &fake_host;
	request.session = &session;
	request.emit = emit;
	request.done = on_done;
	request.go_on = go_on;
	memset(&said, 0, sizeof(said));
	if (syntax_split(&request.line, line, length, &why) < 0)
		fail_msg("%.*s: %s", (int)length, line, why);
	if (command_run(&request))
		go_on(&request);
	fake_serve();
	return said.done && !said.failed;
}

int say(const char *line)
{
	return say_bytes(line, strlen(line));
}
