/*
 * In place of the targets that this build leaves out: `add` tells the one who
 * asks for one why there is no such thing. None has an open().
 */
#include "target.h"

#include <stddef.h>

#if defined(WITHOUT_COW) || defined(WITHOUT_FILE) || defined(WITHOUT_NBD) || \
	defined(WITHOUT_RAM)
static const struct option no_options[] = {
	{ .name = NULL },
};
#endif

#if defined(WITHOUT_COW) || defined(WITHOUT_FILE)
const struct target_ops target_cow = {
	.name = "cow",
	.help = "left out of this build (--disable-cow)",
	.options = no_options,
};
#endif

#ifdef WITHOUT_FILE
const struct target_ops target_file = {
	.name = "file",
	.help = "left out of this build (--disable-file)",
	.options = no_options,
};
#endif

#ifdef WITHOUT_NBD
const struct target_ops target_nbd = {
	.name = "nbd",
	.help = "left out of this build (--disable-nbd, or no libnbd)",
	.options = no_options,
};
#endif

#ifdef WITHOUT_RAM
const struct target_ops target_ram = {
	.name = "ram",
	.help = "left out of this build (--disable-ram)",
	.options = no_options,
};
#endif
