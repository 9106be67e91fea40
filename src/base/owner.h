/*
 * Who a device's node is to belong to, as `add owner=` names it. Names may be on a
 * network: only helpers look for them.
 */
#ifndef UBLKD_OWNER_H
#define UBLKD_OWNER_H

#include <stddef.h>
#include <sys/types.h>

/* A user and a group; (uid_t)-1 and (gid_t)-1: not named. */
struct owner {
	uid_t user;
	gid_t group;
};

/*
 * Find the users' and groups' numbers for "USER", "USER:GROUP" or numbers in their
 * places. Returns 0, or a negative errno with the reason in `why`.
 */
int owner_find(const char *text, struct owner *owner, char *why, size_t size)
	__attribute__((cold));

#endif
