/* dump: the commands that make the devices that there are. */
#include "dump.h"

#include <string.h>

#include "verbs.h"

int dump_has(const struct device *device)
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
		if (device->spec.id < request->cursor || !dump_has(device))
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
