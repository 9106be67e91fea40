/* dump: the commands that make the devices that there are. */
#include <string.h>

#include "add.h"
#include "command.h"
#include "verbs.h"

#define DUMP_TURN 16 /* devices written before others get a turn */

/* A device that is on its way in or out is not, or no longer, part of it. */
static int is_there(const struct device *device)
{
	const char *state = device_state(device);

	return strcmp(state, "live") == 0 || strcmp(state, "quiesced") == 0;
}

int verb_dump(struct request *request, struct failure *failure)
{
	const struct device_set *set = &request->host->devices;
	const struct device *device;
	char text[ADD_TEXT_MAX];
	int turn = 0;

	for (device = set->first; device; device = device->next) {
		if (device->spec.id < request->cursor || !is_there(device))
			continue;
		if (turn++ == DUMP_TURN)
			return 1;
		if (add_format(device, text, sizeof(text), failure) < 0)
			return -1;
		request_print(request, "%s", text);
		request->cursor = (uint64_t)device->spec.id + 1;
	}
	verb_finish_listing(request);
	return 0;
}
