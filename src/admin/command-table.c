/* Every command: its options, and what `help` says of it. */
#include "command.h"

#include "layer/layer-options.h"
#include "verbs.h"

static const struct option no_options[] = { { .name = NULL } };

/* How a command names a device; a bare word does as well. */
#define DEVICE_OPTIONS                                        \
	[VERB_DEVICE_ID] = { .name = "id",                    \
			     .type = OPTION_NUMBER,           \
			     .max = UBLK_MAX_DEVICES - 1,     \
			     .help = "the device's number" }, \
	[VERB_DEVICE_NAME] = { .name = "name",                \
			       .type = OPTION_NAME,           \
			       .help = "the device's name" }

static const struct option show_options[] = {
	DEVICE_OPTIONS,
	{ .name = NULL },
};

static const struct option del_options[] = {
	DEVICE_OPTIONS,
	[VERB_DEL_FORCE] = { .name = "force",
			     .type = OPTION_FLAG,
			     .fallback = "no",
			     .help = "delete it even while it is in use" },
	{ .name = NULL },
};

static const char *const state_names[] = { "adding", "live", "quiesced",
					   "deleting", NULL };

static const struct option list_options[] = {
	[VERB_LIST_NAME] = { .name = "name",
			     .type = OPTION_NAME,
			     .help = "only the device of this name" },
	[VERB_LIST_TARGET] = { .name = "target",
			       .type = OPTION_NAME,
			       .help = "only those of this target" },
	[VERB_LIST_STATE] = { .name = "state",
			      .type = OPTION_CHOICE,
			      .choices = state_names,
			      .help = "only those in this state" },
	{ .name = NULL },
};

static const char *const auto_names[] = { "auto", NULL };

static const struct option resize_options[] = {
	DEVICE_OPTIONS,
	[VERB_RESIZE_SIZE] = { .name = "size",
			       .type = OPTION_SIZE,
			       .min = 512,
			       .max = OPTION_SIZE_MAX,
			       .required = 1,
			       .choices = auto_names,
			       .help = "the new size in bytes; auto: as large "
				       "as what is behind the device now" },
	{ .name = NULL },
};

static const struct option set_options[] = {
	DEVICE_OPTIONS,
	LAYER_OPTION_TABLE(VERB_SET_LAYERS),
	{ .name = NULL },
};

#ifndef WITHOUT_RELOAD
static const struct option reload_options[] = {
	[VERB_RELOAD_DRY] = { .name = "dry-run",
			      .type = OPTION_FLAG,
			      .fallback = "no",
			      .help = "print the steps, and do nothing" },
	[VERB_RELOAD_REPLACE] = { .name = "replace",
				  .type = OPTION_FLAG,
				  .fallback = "no",
				  .help = "also steps that lose data, or take "
					  "a device in use away" },
	[VERB_RELOAD_PRUNE] = { .name = "prune",
				.type = OPTION_FLAG,
				.fallback = "no",
				.help = "also delete devices that were added "
					"by hand" },
	{ .name = NULL },
};

static const struct option save_options[] = {
	[VERB_SAVE_FLAT] = { .name = "flat",
			     .type = OPTION_FLAG,
			     .fallback = "no",
			     .help = "also when the file includes others: it "
				     "includes none then" },
	{ .name = NULL },
};
#endif

static const struct option shutdown_options[] = {
	[VERB_SHUTDOWN_FORCE] = { .name = "force",
				  .type = OPTION_FLAG,
				  .fallback = "no",
				  .help = "also when devices are in use" },
	[VERB_SHUTDOWN_TIMEOUT] = { .name = "timeout",
				    .type = OPTION_NUMBER,
				    .min = 1,
				    .max = 86400,
				    .help = "seconds to wait for requests in "
					    "flight; then they fail (default: "
					    "that of --stop-timeout)" },
	{ .name = NULL },
};

#ifndef WITHOUT_SIGHT
static const struct option inspect_options[] = {
	DEVICE_OPTIONS,
	[VERB_INSPECT_TAGS] = { .name = "tags",
				.type = OPTION_FLAG,
				.fallback = "no",
				.help = "list every request, too" },
	{ .name = NULL },
};

#define STUCK_OLDER_MAX 86400000000ull /* us: a day */

static const struct option stuck_options[] = {
	[VERB_STUCK_OLDER] = { .name = "older-than",
			       .type = OPTION_TIME,
			       .fallback = "1s",
			       .max = STUCK_OLDER_MAX,
			       .help = "what waits for less than that is left "
				       "out" },
	{ .name = NULL },
};

static const struct option trace_options[] = {
	DEVICE_OPTIONS,
	[VERB_TRACE_LAST] = { .name = "last",
			      .type = OPTION_NUMBER,
			      .min = 1,
			      .max = 1000000,
			      .help = "so many of the last events (default: "
				      "all that there are)" },
	[VERB_TRACE_FOLLOW] = { .name = "follow",
				.type = OPTION_FLAG,
				.fallback = "no",
				.help = "none of those, but all that come from "
					"now on" },
	{ .name = NULL },
};
#endif

static const struct option upgrade_options[] = {
	[VERB_UPGRADE_PROGRAM] = { .name = "program",
				   .type = OPTION_PATH,
				   .help = "path of the program (default: the "
					   "one that was started)" },
	[VERB_UPGRADE_FORCE] = { .name = "force",
				 .type = OPTION_FLAG,
				 .fallback = "no",
				 .help = "also when devices have another "
					 "recovery than reissue" },
	{ .name = NULL },
};

const struct command command_table[] = {
	{ "add", ACCESS_WRITE, "TARGET [key=value...]", 1, NULL,
	  "make a block device; answers when it can be opened", verb_add },
#ifndef WITHOUT_RELOAD
	{ "check", ACCESS_READ, "", 0, no_options,
	  "what is wrong in the configuration file; does nothing", verb_check },
#endif
	{ "complete", ACCESS_READ, "BEGINNING", 1, NULL,
	  "what may follow the beginning of a line", verb_complete },
	{ "del", ACCESS_WRITE, "DEVICE...|--all", SYNTAX_WORDS_MAX, del_options,
	  "stop and delete devices that nobody uses", verb_del },
#ifndef WITHOUT_RELOAD
	{ "dump", ACCESS_READ, "", 0, no_options,
	  "the commands that make the devices that there are", verb_dump },
#endif
	{ "features", ACCESS_READ, "", 0, no_options,
	  "what the kernel's ublk driver can do", verb_features },
#ifndef WITHOUT_JSON
	{ "format", ACCESS_READ, "json|lines", 1, no_options,
	  "how this connection's answers are written", verb_format },
#endif
	{ "help", ACCESS_READ, "[COMMAND [TARGET]]", 2, no_options,
	  "the commands, or one command's options", verb_help },
#ifndef WITHOUT_SIGHT
	{ "inspect", ACCESS_READ, "[DEVICE]", 1, inspect_options,
	  "where requests wait, and a verdict on each device", verb_inspect },
#endif
	{ "list", ACCESS_READ, "", 0, list_options,
	  "all devices, or some, a line each", verb_list },
#ifndef WITHOUT_SIGHT
	{ "metrics", ACCESS_READ, "", 0, no_options,
	  "what devices have done, for Prometheus", verb_metrics },
#endif
	{ "on-error", ACCESS_READ, "stop|continue", 1, no_options,
	  "whether an error ends this connection's later commands",
	  verb_on_error },
	{ "ping", ACCESS_READ, "", 0, no_options, "answers OK", verb_ping },
	{ "prompt", ACCESS_READ, "on|off", 1, no_options,
	  "whether this connection gets a prompt, for people", verb_prompt },
	{ "quiesce", ACCESS_WRITE, "DEVICE", 1, show_options,
	  "hold all that a device is asked for, until resume", verb_quiesce },
	{ "quit", ACCESS_READ, "", 0, no_options, "end this connection",
	  verb_quit },
#ifndef WITHOUT_RELOAD
	{ "reload", ACCESS_ROOT, "", 0, reload_options,
	  "make the devices what the configuration file says, step by step",
	  verb_reload },
#endif
	{ "resize", ACCESS_WRITE, "DEVICE size=SIZE|auto", 1, resize_options,
	  "change the size of a live device", verb_resize },
	{ "resume", ACCESS_WRITE, "DEVICE", 1, show_options,
	  "serve a device that was quiesced", verb_resume },
#ifndef WITHOUT_RELOAD
	{ "save", ACCESS_ROOT, "", 0, save_options,
	  "write what dump prints to the configuration file", verb_save },
#endif
	{ "set", ACCESS_WRITE, "DEVICE [key=value...]", 1, set_options,
	  "change the faults and limits that a live device has, or show them",
	  verb_set },
	{ "show", ACCESS_READ, "DEVICE", 1, show_options,
	  "one device in detail", verb_show },
	{ "shutdown", ACCESS_WRITE, "", 0, shutdown_options,
	  "delete every device and end ublkd", verb_shutdown },
#ifndef WITHOUT_SIGHT
	{ "stats", ACCESS_READ, "[DEVICE] [reset]", 2, show_options,
	  "what devices have done, and how long it took", verb_stats },
	{ "stuck", ACCESS_READ, "", 0, stuck_options,
	  "what waits for long, over all devices, as inspect shows it",
	  verb_stuck },
#endif
	{ "targets", ACCESS_READ, "", 0, no_options,
	  "what a device's data can come from", verb_targets },
#ifndef WITHOUT_SIGHT
	{ "trace", ACCESS_READ, "DEVICE", 1, trace_options,
	  "the last events of a device, or all that come", verb_trace },
#endif
	{ "upgrade", ACCESS_ROOT, "", 0, upgrade_options,
	  "go on with another program; every device stays", verb_upgrade },
	{ "version", ACCESS_READ, "", 0, no_options,
	  "the version of ublkd and its protocol", verb_version },
	{ "watch", ACCESS_READ, "[dev|size|fault|stall...|none]", 4, no_options,
	  "tell of what changes from now on", verb_watch },
	{ .verb = NULL },
};
