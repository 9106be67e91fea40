/*
 * The layers' options, for the tables of the commands that take them: FIRST is
 * the index of the first one there.
 */
#ifndef UBLKD_LAYER_OPTIONS_H
#define UBLKD_LAYER_OPTIONS_H

#include "layer.h"

extern const char *const layer_op_names[], *const layer_errno_names[];

#define LAYER_TIME_MAX	  3600000000ull	 /* us: an hour */
#define LAYER_TIMEOUT_MIN 100000ull	 /* us, or 0 */
#define LAYER_TIMEOUT_MAX 86400000000ull /* us: a day */

#ifdef WITHOUT_LAYERS
#define LAYER_HELP(text) "left out of this build (--disable-layers)"
#else
#define LAYER_HELP(text) text
#endif

/* clang-format off */
#define LAYER_OPTION_TABLE(FIRST)					\
	[(FIRST) + ERROR_RATE] = {					\
		.name = "error-rate",					\
		.type = OPTION_RATE,					\
		.fallback = "0",					\
		.max = SYNTAX_RATE_ONE,					\
		.help = LAYER_HELP(					\
			"how likely a request fails; 0: none does") },	\
	[(FIRST) + ERROR_EVERY] = {					\
		.name = "error-every",					\
		.type = OPTION_NUMBER,					\
		.fallback = "0",					\
		.max = UINT32_MAX,					\
		.help = LAYER_HELP(					\
			"each request of that number fails; 0: "	\
			"none") },					\
	[(FIRST) + ERROR_COUNT] = {					\
		.name = "error-count",					\
		.type = OPTION_NUMBER,					\
		.fallback = "0",					\
		.max = UINT32_MAX,					\
		.help = LAYER_HELP(					\
			"after so many failures there are no "		\
			"more; 0: no limit") },				\
	[(FIRST) + ERROR_ERRNO] = {					\
		.name = "error-errno",					\
		.type = OPTION_CHOICE,					\
		.fallback = "EIO",					\
		.choices = layer_errno_names,				\
		.help = LAYER_HELP(					\
			"the error") },					\
	[(FIRST) + ERROR_OP] = {					\
		.name = "error-op",					\
		.type = OPTION_LIST,					\
		.fallback = "all",					\
		.choices = layer_op_names,				\
		.help = LAYER_HELP(					\
			"the kinds of requests that can fail") },	\
	[(FIRST) + ERROR_OFFSET] = {					\
		.name = "error-offset",					\
		.type = OPTION_SIZE,					\
		.fallback = "0",					\
		.max = OPTION_SIZE_MAX,					\
		.help = LAYER_HELP(					\
			"where the part that can fail begins") },	\
	[(FIRST) + ERROR_LENGTH] = {					\
		.name = "error-length",					\
		.type = OPTION_SIZE,					\
		.fallback = "0",					\
		.max = OPTION_SIZE_MAX,					\
		.help = LAYER_HELP(					\
			"how long it is; 0: up to the device's "	\
			"end") },					\
	[(FIRST) + ERROR_SEED] = {					\
		.name = "error-seed",					\
		.type = OPTION_NUMBER,					\
		.fallback = "1",					\
		.max = UINT32_MAX,					\
		.help = LAYER_HELP(					\
			"the same seed gives the same failures") },	\
	[(FIRST) + DELAY_TIME] = {					\
		.name = "delay-time",					\
		.type = OPTION_TIME,					\
		.fallback = "0",					\
		.max = LAYER_TIME_MAX,					\
		.help = LAYER_HELP(					\
			"how long a request is kept, at least") },	\
	[(FIRST) + DELAY_MAX] = {					\
		.name = "delay-max",					\
		.type = OPTION_TIME,					\
		.fallback = "0",					\
		.max = LAYER_TIME_MAX,					\
		.help = LAYER_HELP(					\
			"and at most, each time between being "		\
			"equally likely; 0: always delay-time") },	\
	[(FIRST) + DELAY_MEAN] = {					\
		.name = "delay-mean",					\
		.type = OPTION_TIME,					\
		.fallback = "0",					\
		.max = LAYER_TIME_MAX,					\
		.help = LAYER_HELP(					\
			"mean of an exponentially distributed "		\
			"time instead, which is added to "		\
			"delay-time") },				\
	[(FIRST) + DELAY_OP] = {					\
		.name = "delay-op",					\
		.type = OPTION_LIST,					\
		.fallback = "all",					\
		.choices = layer_op_names,				\
		.help = LAYER_HELP(					\
			"the kinds of requests that are kept") },	\
	[(FIRST) + DELAY_OFFSET] = {					\
		.name = "delay-offset",					\
		.type = OPTION_SIZE,					\
		.fallback = "0",					\
		.max = OPTION_SIZE_MAX,					\
		.help = LAYER_HELP(					\
			"where the part that is slow begins") },	\
	[(FIRST) + DELAY_LENGTH] = {					\
		.name = "delay-length",					\
		.type = OPTION_SIZE,					\
		.fallback = "0",					\
		.max = OPTION_SIZE_MAX,					\
		.help = LAYER_HELP(					\
			"how long it is; 0: up to the device's "	\
			"end") },					\
	[(FIRST) + DELAY_SEED] = {					\
		.name = "delay-seed",					\
		.type = OPTION_NUMBER,					\
		.fallback = "1",					\
		.max = UINT32_MAX,					\
		.help = LAYER_HELP(					\
			"the same seed gives the same times") },	\
	[(FIRST) + LIMIT_IOPS] = {					\
		.name = "limit-iops",					\
		.type = OPTION_NUMBER,					\
		.fallback = "0",					\
		.max = UINT32_MAX,					\
		.help = LAYER_HELP(					\
			"requests a second, at most; 0: no limit") },	\
	[(FIRST) + LIMIT_BANDWIDTH] = {					\
		.name = "limit-bandwidth",				\
		.type = OPTION_SIZE,					\
		.fallback = "0",					\
		.max = OPTION_SIZE_MAX,					\
		.help = LAYER_HELP(					\
			"bytes that are read and written in a "		\
			"second, at most; 0: no limit") },		\
	[(FIRST) + IO_TIMEOUT] = {					\
		.name = "io-timeout",					\
		.type = OPTION_TIME,					\
		.fallback = "0",					\
		.max = LAYER_TIMEOUT_MAX,				\
		.help = LAYER_HELP(					\
			"a request that the target has not answered "	\
			"in that time fails; 0: however long") }
/* clang-format on */

#endif
