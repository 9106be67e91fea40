#include "reference.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static void put(struct reference *to, const char *word)
{
	to->words[to->count++] = word;
}

/* Returns 0, or -1 if the value is too long for a word. */
static int put_pair(struct reference *to, const char *key, const char *value)
{
	char *text = to->texts[to->count];

	if (!value)
		return 0;
	if (snprintf(text, sizeof(to->texts[0]), "%s=%s", key, value) >=
	    (int)sizeof(to->texts[0]))
		return -1;
	put(to, text);
	return 0;
}

/* What that tool calls our target "file". */
static const char *target_name(const char *type)
{
	return strcmp(type, "loop") == 0 ? "file" : type;
}

static int translate_add(struct reference *to, int count, char **words,
			 const char **why)
{
	const char *type = NULL, *file = NULL, *queues = NULL, *depth = NULL;
	const char *id = NULL;
	int c, error = 0;

	while ((c = getopt(count, words, "t:f:q:d:n:")) != -1) {
		switch (c) {
		case 't':
			type = optarg;
			break;
		case 'f':
			file = optarg;
			break;
		case 'q':
			queues = optarg;
			break;
		case 'd':
			depth = optarg;
			break;
		case 'n':
			id = optarg;
			break;
		default:
			*why = "of the options of 'ublk add', -t -f -q -d and -n "
			       "are known; 'ublkctl help add' shows ublkd's own";
			return -1;
		}
	}
	if (!type || optind < count) {
		*why = "add -t TYPE [-f FILE] [-q QUEUES] [-d DEPTH] [-n ID]";
		return -1;
	}
	put(to, "add");
	put(to, target_name(type));
	error |= put_pair(to, "path", file);
	error |= put_pair(to, "queues", queues);
	error |= put_pair(to, "depth", depth);
	error |= put_pair(to, "id", id);
	*why = "a word is too long";
	return error ? -1 : 1;
}

static int translate_del(struct reference *to, int count, char **words,
			 const char **why)
{
	const char *id = NULL;
	int c, all = 0;

	*why = "del -n ID, or del -a";
	while ((c = getopt(count, words, "an:")) != -1) {
		if (c == 'n')
			id = optarg;
		else if (c == 'a')
			all = 1;
		else
			return -1;
	}
	if (optind < count || all == (id != NULL))
		return -1;
	put(to, "del");
	if (all)
		put(to, "--all");
	return put_pair(to, "id", id) < 0 ? -1 : 1;
}

int reference_translate(struct reference *to, int count, char **words,
			const char **why)
{
	to->count = 0;
	if (strcmp(words[0], "recover") == 0) {
		*why = "recover: nobody has to. ublkd takes devices over by "
		       "itself, and tries lost ones again: 'list' has their "
		       "state, 'show' says why";
		return -1;
	}
	/* Ours have options as well: --all. */
	if (count < 2 || words[1][0] != '-' || words[1][1] == '-')
		return 0;
	opterr = 0;
	optind = 0; /* begin anew */
	if (strcmp(words[0], "add") == 0)
		return translate_add(to, count, words, why);
	if (strcmp(words[0], "del") == 0)
		return translate_del(to, count, words, why);
	return 0;
}
