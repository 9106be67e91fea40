/*
 * The words of ublk, the tool of ublksrv, which many know: "add -t loop -f FILE",
 * "del -n 0", "del -a", "list -n 0"; and "recover", which ublkd has no need of.
 */
#ifndef UBLKD_REFERENCE_H
#define UBLKD_REFERENCE_H

#define REFERENCE_WORDS_MAX 8

/* A command in ublkd's words. */
struct reference {
	const char *words[REFERENCE_WORDS_MAX];
	int count;
	char texts[REFERENCE_WORDS_MAX][300];
};

/*
 * Translate a command of that tool, or one with its options. Returns 1 if it has been, 0 if
 * there is nothing to translate, -1 with *why if that cannot be done.
 */
int reference_translate(struct reference *to, int count, char **words,
			const char **why) __attribute__((cold));

#endif
