/*
 * In place of the layers in a build without them: their options are known, so
 * that the one who gives one is told why there is no such thing.
 */
#include "layer.h"

static int refuse(const struct layer_ops *ops,
		  const struct option_value *values, struct failure *failure)
{
	unsigned i;

	for (i = ops->first; i <= ops->last; i++)
		if (!option_is_default(&layer_options[i], &values[i]))
			return failure_set(
				failure, SYMBOL_UNSUPPORTED, 0,
				layer_options[i].name,
				"%s= needs the layers, without which "
				"this ublkd was built "
				"(--disable-layers)",
				layer_options[i].name);
	return 0;
}

static int check_timeout(const struct option_value *values,
			 struct failure *failure)
{
	return refuse(&layer_timeout, values, failure);
}

void layers_watch(struct layers *layers, struct io_port *port)
{
	(void)layers;
	(void)port;
}

int layers_check_mode(const struct option_value *values, enum io_mode mode,
		      struct failure *failure)
{
	(void)values;
	(void)mode;
	(void)failure;
	return 0;
}

static int check_error(const struct option_value *values,
		       struct failure *failure)
{
	return refuse(&layer_error, values, failure);
}

static int check_delay(const struct option_value *values,
		       struct failure *failure)
{
	return refuse(&layer_delay, values, failure);
}

static int check_limit(const struct option_value *values,
		       struct failure *failure)
{
	return refuse(&layer_limit, values, failure);
}

/* No device gets past the check, so they need nothing else. */
const struct layer_ops layer_timeout = {
	.name = "timeout",
	.first = IO_TIMEOUT,
	.last = IO_TIMEOUT,
	.check = check_timeout,
};

const struct layer_ops layer_error = {
	.name = "error",
	.first = ERROR_RATE,
	.last = ERROR_SEED,
	.check = check_error,
};

const struct layer_ops layer_delay = {
	.name = "delay",
	.first = DELAY_TIME,
	.last = DELAY_SEED,
	.check = check_delay,
};

const struct layer_ops layer_limit = {
	.name = "limit",
	.first = LIMIT_IOPS,
	.last = LIMIT_BANDWIDTH,
	.check = check_limit,
};
