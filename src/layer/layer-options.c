#include "layer-options.h"

#include "base/syntax.h"

/* In the order of enum io_op. */
const char *const layer_op_names[] = { "read",	  "write",	  "flush",
				       "discard", "write-zeroes", NULL };

/* Those that reach the users of a disk; the kernel turns others into EIO. */
const char *const layer_errno_names[] = {
	"EIO",	     "ENOSPC",	"ETIMEDOUT",  "ENODATA", "EILSEQ",
	"EREMOTEIO", "ENOLINK", "EOPNOTSUPP", NULL,
};

const struct option layer_options[] = {
	LAYER_OPTION_TABLE(0),
	{ .name = NULL },
};
