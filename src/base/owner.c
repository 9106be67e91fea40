#include "owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "syntax.h"

/* A number is one, also if somebody has it as his name. */
static int find_id(const char *name, int is_group, uint32_t *id)
{
	const struct passwd *user;
	const struct group *group;
	uint64_t number;

	if (syntax_number(name, &number) == 0 && number < UINT32_MAX) {
		*id = (uint32_t)number;
		return 0;
	}
	errno = 0;
	if (is_group) {
		group = getgrnam(name);
		*id = group ? group->gr_gid : UINT32_MAX;
	} else {
		user = getpwnam(name);
		*id = user ? user->pw_uid : UINT32_MAX;
	}
	return *id != UINT32_MAX ? 0 : errno ? -errno : -ENOENT;
}

static int fail(int error, const char *kind, const char *name, char *why,
		size_t size)
{
	if (error)
		snprintf(why, size, "the %s '%s': %s", kind, name,
			 error == -ENOENT ? "there is none" : strerror(-error));
	return error;
}

int owner_find(const char *text, struct owner *owner, char *why, size_t size)
{
	size_t length = strcspn(text, ":");
	char user[64];
	int error;

	snprintf(user, sizeof(user), "%.*s", (int)length, text);
	owner->group = (gid_t)-1;
	error = fail(find_id(user, 0, &owner->user), "user", user, why, size);
	if (!error && text[length])
		error = fail(find_id(text + length + 1, 1, &owner->group),
			     "group", text + length + 1, why, size);
	return error;
}
