#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/syntax.h"
#include "candidates.h"
#include "list.h"
#include "signals.h"

#define HISTORY_MAX   500 /* lines */
#define WIDTH_UNKNOWN 80

struct shell {
	const struct run *run;
	EditLine *edit; /* NULL, as the history: no terminal */
	History *history;
	char *line; /* then, of so many bytes */
	size_t line_size;
	char file[PATH_MAX]; /* of the history; "" if none is kept */
	int status;	     /* of the last command */
	int is_over;
};

/* ---- the history ---- */

static void choose_file(struct shell *shell)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (state && state[0] == '/')
		snprintf(shell->file, sizeof(shell->file), "%s/ublkctl_history",
			 state);
	else if (home && home[0] == '/')
		snprintf(shell->file, sizeof(shell->file),
			 "%s/.ublkctl_history", home);
}

/* For its owner alone, and no other file by a link that somebody else has made. */
static int write_history(const struct shell *shell)
{
	int fd = open(shell->file,
		      O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		      0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	HistEvent event;
	int failed;

	if (!file)
		return -errno;
	/* Which gives an old file this mode as well. */
	failed = history(shell->history, &event, H_SAVE_FP, file) < 0;
	return fclose(file) == 0 && !failed ? 0 : -errno;
}

/* After each line, for whoever loses the terminal. */
static void keep_line(struct shell *shell, const char *line)
{
	HistEvent event;
	int error;

	history(shell->history, &event, H_ENTER, line);
	if (!shell->file[0])
		return;
	error = write_history(shell);
	if (!error)
		return;
	fprintf(stderr, "ublkctl: %s: %s; the history is not kept\n",
		shell->file, strerror(-error));
	shell->file[0] = '\0';
}

/* ---- keys ---- */

static char *prompt(EditLine *edit)
{
	static char text[] = "ublk> ";

	(void)edit;
	return text;
}

/* Ctrl-C */
static unsigned char clear_line(EditLine *edit, int key)
{
	/* Both count characters. */
	const LineInfoW *line = el_wline(edit);

	(void)key;
	el_cursor(edit, (int)(line->lastchar - line->cursor));
	el_deletestr(edit, (int)(line->lastchar - line->buffer));
	return CC_REDISPLAY;
}

/* Where the daemon has nothing to offer, a path may stand. */
static int wants_path(const char *line, const char *word)
{
	line += strspn(line, " \t");
	return strncmp(line, "find ", 5) == 0 || strchr(word, '=');
}

static unsigned char offer(EditLine *edit, struct candidates *candidates)
{
	size_t typed = strlen(candidates->typed),
	       common = candidates_common(candidates);
	const char *first = candidates->all[0].word;
	int width = list_width(stdout);

	if (candidates->count == 1 && first[common - 1] != '=') {
		el_insertstr(edit, first + typed);
		el_insertstr(edit, " ");
		return CC_REFRESH;
	}
	if (common > typed) {
		candidates->all[0].word[common] = '\0';
		el_insertstr(edit, first + typed);
		return CC_REFRESH;
	}
	fputc('\n', stdout);
	candidates_print(candidates, width ? width : WIDTH_UNKNOWN, stdout);
	fflush(stdout);
	return CC_REDISPLAY;
}

/* Tab */
static unsigned char complete(EditLine *edit, int key)
{
	static struct candidates candidates;
	char text[SYNTAX_LINE_MAX + 1];
	const LineInfo *line = el_line(edit);
	unsigned char result = CC_ERROR;
	struct shell *shell;

	el_get(edit, EL_CLIENTDATA, &shell);
	snprintf(text, sizeof(text), "%.*s", (int)(line->cursor - line->buffer),
		 line->buffer);
	candidates_ask(&candidates, shell->run->socket, text);
	if (candidates.count)
		result = offer(edit, &candidates);
	else if (wants_path(text, candidates.typed))
		result = _el_fn_complete(edit, key);
	candidates_free(&candidates);
	return result;
}

/* ---- commands ---- */

/* Whoever ends a command with Ctrl-C stays; another signal is for the shell. */
static void run_line(struct shell *shell, const char *text, size_t length)
{
	static struct syntax_line line;
	char *words[SYNTAX_WORDS_MAX + 1];
	const char *why;
	int i;

	if (syntax_split(&line, text, length, &why) < 0) {
		shell->status = run_fail_usage(why);
		return;
	}
	if (line.count == 0)
		return;
	if (strcmp(line.words[0], "quit") == 0 ||
	    strcmp(line.words[0], "exit") == 0) {
		shell->is_over = 1;
		return;
	}
	for (i = 0; i < line.count; i++)
		words[i] = (char *)line.words[i];
	words[i] = NULL;
	signals_catch();
	shell->status = run_words(shell->run, line.count, words);
	fflush(stdout);
	if (signals_end() == SIGINT && isatty(STDIN_FILENO))
		fputc('\n', stderr);
	shell->is_over = signals_end() && signals_end() != SIGINT;
	signals_release();
}

static const char *next_line(struct shell *shell)
{
	int length;

	if (shell->edit)
		return el_gets(shell->edit, &length);
	return getline(&shell->line, &shell->line_size, stdin) < 0
		       ? NULL
		       : shell->line;
}

static void read_lines(struct shell *shell)
{
	const char *text;
	int length;

	while (!shell->is_over && (text = next_line(shell))) {
		length = (int)strcspn(text, "\n");
		if (shell->edit && strspn(text, " \t") < (size_t)length)
			keep_line(shell, text);
		run_line(shell, text, (size_t)length);
	}
}

static void set_keys(struct shell *shell)
{
	EditLine *edit = shell->edit;

	el_set(edit, EL_CLIENTDATA, shell);
	el_set(edit, EL_PROMPT, prompt);
	el_set(edit, EL_SIGNAL, 1);
	el_set(edit, EL_EDITOR, "emacs");
	el_set(edit, EL_HIST, history, shell->history);
	el_set(edit, EL_ADDFN, "ublk-complete", "what may follow", complete);
	el_set(edit, EL_ADDFN, "ublk-clear", "clear the line", clear_line);
	el_source(edit, NULL);
	el_set(edit, EL_BIND, "^I", "ublk-complete", NULL);
	el_set(edit, EL_BIND, "^C", "ublk-clear", NULL);
	/* While a line is edited the keys of signals are keys. */
	el_set(edit, EL_SETTY, "-d", "-isig", NULL);
}

/* Returns -1 without memory. */
static int open_terminal(struct shell *shell)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	HistEvent event;

	shell->edit = el_init("ublkctl", stdin, stdout, stderr);
	shell->history = history_init();
	if (!shell->edit || !shell->history)
		return -1;
	history(shell->history, &event, H_SETSIZE, HISTORY_MAX);
	history(shell->history, &event, H_SETUNIQUE, 1);
	choose_file(shell);
	if (shell->file[0])
		history(shell->history, &event, H_LOAD, shell->file);
	set_keys(shell);
	sigaction(SIGINT, &ignore, NULL);
	return 0;
}

static void close_terminal(struct shell *shell)
{
	fputc('\n', stdout);
	el_end(shell->edit);
	history_end(shell->history);
}

int shell_run(const struct run *run, int count)
{
	struct shell shell = { .run = run, .status = RUN_OK };
	int has_terminal = isatty(STDIN_FILENO);

	if (count != 1)
		return run_fail_usage("shell has no words");
	if (has_terminal && open_terminal(&shell) < 0) {
		fputs("ublkctl: no memory for a shell\n", stderr);
		return RUN_USAGE;
	}
	read_lines(&shell);
	if (has_terminal)
		close_terminal(&shell);
	free(shell.line);
	return shell.status;
}
