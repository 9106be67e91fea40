#include "target.h"

#include <errno.h>
#include <string.h>

#include "base/hint.h"
#include "io/loop.h"

#define REFUSAL_PAUSE 60 /* seconds between two refusals that are told */

const struct target_ops *const target_table[] = {
	&target_cow, &target_file, &target_nbd, &target_null, &target_ram, NULL,
};

const struct target_ops *target_find(const char *name)
{
	int i;

	for (i = 0; target_table[i]; i++)
		if (strcmp(target_table[i]->name, name) == 0)
			return target_table[i];
	return NULL;
}

int target_refuse_write(struct target *target, uint64_t used)
{
	double now = loop_now();
	int is_news = target->refused_at == 0 ||
		      (used != target->refused_used &&
		       now - target->refused_at >= REFUSAL_PAUSE);

	if (!is_news)
		return -ENOSPC;
	target->refused_at = now;
	target->refused_used = used;
	if (target->refused)
		target->refused(target, used);
	return -ENOSPC;
}

int target_fail_unknown(const char *name, struct failure *failure)
{
	struct hint hint;
	int i;

	hint_begin(&hint, name, strlen(name));
	for (i = 0; target_table[i]; i++)
		hint_offer(&hint, target_table[i]->name);
	return failure_set(failure, SYMBOL_UNKNOWN, 0, name,
			   "there is no such target; %s'targets' lists them",
			   hint_text(&hint));
}

int target_check_size(uint64_t size, uint32_t block_size,
		      struct failure *failure)
{
	if (size == 0)
		return failure_set(failure, SYMBOL_RANGE, 0, "size",
				   "size=0: a device needs at least one block "
				   "of %u bytes",
				   block_size);
	if (size % block_size)
		return failure_set(failure, SYMBOL_RANGE, 0, "size",
				   "size=%llu is not a multiple of the block "
				   "size of %u bytes",
				   (unsigned long long)size, block_size);
	if (size > INT64_MAX)
		return failure_set(failure, SYMBOL_RANGE, 0, "size",
				   "size=%llu is more than the kernel can "
				   "address",
				   (unsigned long long)size);
	return 0;
}
