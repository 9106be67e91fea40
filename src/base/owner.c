#include "owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "syntax.h"

/* A number is one, also if somebody has it as his name. */
static int is_number(const char *word, uint32_t *id)
{
	uint64_t number;

	if (syntax_number(word, &number) < 0 || number >= UINT32_MAX)
		return 0;
	*id = (uint32_t)number;
	return 1;
}

static int find_user(const char *name, uid_t *user)
{
	const struct passwd *entry;

	if (is_number(name, user))
		return 0;
	errno = 0;
	entry = getpwnam(name);
	if (!entry)
		return errno ? -errno : -ENOENT;
	*user = entry->pw_uid;
	return 0;
}

static int find_group(const char *name, gid_t *group)
{
	const struct group *entry;

	if (is_number(name, group))
		return 0;
	errno = 0;
	entry = getgrnam(name);
	if (!entry)
		return errno ? -errno : -ENOENT;
	*group = entry->gr_gid;
	return 0;
}

static int fail(int error, const char *kind, const char *name, char *why,
		size_t size)
{
	if (error == -ENOENT)
		snprintf(why, size, "there is no %s '%s'", kind, name);
	else
		snprintf(why, size, "cannot look for the %s '%s': %s", kind,
			 name, strerror(-error));
	return error;
}

int owner_find(const char *text, struct owner *owner, char *why, size_t size)
{
	const char *group = strchr(text, ':');
	char user[64];
	int error;

	snprintf(user, sizeof(user), "%.*s",
		 (int)(group ? group - text : (ptrdiff_t)strlen(text)), text);
	owner->group = (gid_t)-1;
	error = find_user(user, &owner->user);
	if (error)
		return fail(error, "user", user, why, size);
	if (group)
		error = find_group(group + 1, &owner->group);
	return error ? fail(error, "group", group + 1, why, size) : 0;
}
