/*
 * What somebody may have meant: of the names that are known, the one that a
 * misspelt word is nearest to.
 */
#ifndef UBLKD_HINT_H
#define UBLKD_HINT_H

#include <stddef.h>

struct hint {
	const char *word; /* as typed; not owned */
	size_t length;	  /* bytes of the word */
	const char *name; /* the nearest so far, or NULL; not owned */
	int slips;	  /* that a nearer one may have at most */
	char text[100];
};

void hint_begin(struct hint *hint, const char *word, size_t length);

/* One of the names that would have been right. It must stay where it is. */
void hint_offer(struct hint *hint, const char *name);

/*
 * "did you mean 'NAME'? ", to stand between two parts of a message, or "" if no
 * name is near. The hint's own.
 */
const char *hint_text(struct hint *hint);

#endif
