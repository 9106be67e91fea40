/* In place of abandon.c in a build in which no target waits (io/late-absent.c). */
#include "steps.h"

int device_allow_late(struct device *device)
{
	(void)device;
	return 0;
}

void abandon_watch(struct device *device)
{
	(void)device;
}

enum device_step abandon_look(struct device *device)
{
	(void)device;
	return DEVICE_STAY;
}

enum device_step abandon_enter_linger(struct device *device)
{
	(void)device;
	return DEVICE_NEXT;
}

enum device_step abandon_poll_linger(struct device *device)
{
	(void)device;
	return DEVICE_NEXT;
}
