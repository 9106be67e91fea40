/* What each command does. Only the command table needs these. */
#ifndef UBLKD_VERBS_H
#define UBLKD_VERBS_H

#include "base/option.h"
#include "command.h"

struct device;
struct failure;
struct request;

/* Indexes into the options of the commands that have some. */
enum { VERB_DEVICE_ID, VERB_DEVICE_NAME, VERB_DEL_FORCE };
enum { VERB_LIST_NAME, VERB_LIST_TARGET, VERB_LIST_STATE };
enum { VERB_SET_LAYERS = VERB_DEVICE_NAME + 1 };
enum { VERB_RESIZE_SIZE = VERB_DEVICE_NAME + 1 };
enum { VERB_INSPECT_TAGS = VERB_DEVICE_NAME + 1 };
enum { VERB_STUCK_OLDER };
enum { VERB_RELOAD_DRY, VERB_RELOAD_REPLACE, VERB_RELOAD_PRUNE };
enum { VERB_SAVE_FLAT };
enum { VERB_SHUTDOWN_FORCE, VERB_SHUTDOWN_TIMEOUT };
enum { VERB_TRACE_LAST = VERB_DEVICE_NAME + 1, VERB_TRACE_FOLLOW };
enum { VERB_UPGRADE_PROGRAM, VERB_UPGRADE_FORCE };

COLD int verb_add(struct request *request, struct failure *failure);
COLD int verb_check(struct request *request, struct failure *failure);
COLD int verb_complete(struct request *request, struct failure *failure);
COLD int verb_del(struct request *request, struct failure *failure);
COLD int verb_dump(struct request *request, struct failure *failure);
COLD int verb_features(struct request *request, struct failure *failure);
COLD int verb_format(struct request *request, struct failure *failure);
COLD int verb_help(struct request *request, struct failure *failure);
COLD int verb_inspect(struct request *request, struct failure *failure);
COLD int verb_list(struct request *request, struct failure *failure);
COLD int verb_metrics(struct request *request, struct failure *failure);
COLD int verb_on_error(struct request *request, struct failure *failure);
COLD int verb_ping(struct request *request, struct failure *failure);
COLD int verb_prompt(struct request *request, struct failure *failure);
COLD int verb_quiesce(struct request *request, struct failure *failure);
COLD int verb_quit(struct request *request, struct failure *failure);
COLD int verb_reload(struct request *request, struct failure *failure);
COLD int verb_resize(struct request *request, struct failure *failure);
COLD int verb_resume(struct request *request, struct failure *failure);
COLD int verb_save(struct request *request, struct failure *failure);
COLD int verb_set(struct request *request, struct failure *failure);
COLD int verb_show(struct request *request, struct failure *failure);
COLD int verb_shutdown(struct request *request, struct failure *failure);
COLD int verb_stats(struct request *request, struct failure *failure);
COLD int verb_stuck(struct request *request, struct failure *failure);
COLD int verb_targets(struct request *request, struct failure *failure);
COLD int verb_trace(struct request *request, struct failure *failure);
COLD int verb_upgrade(struct request *request, struct failure *failure);
COLD int verb_version(struct request *request, struct failure *failure);
COLD int verb_watch(struct request *request, struct failure *failure);

/* The options that `add` takes for every target. */
extern const struct option verb_add_options[];

/* An option's line, as of `help`; value is the present one, or NULL. */
void verb_print_option(struct request *request, const struct option *option,
		       const char *value);

/*
 * Tell the log that the end of a device's file is not served, if that is so;
 * text becomes " unserved=N", for the reply, or "". At least 24 bytes.
 */
void verb_tell_unserved(const struct device *device, char *text, size_t size);

/*
 * The OK of a listing, whose devices may have changed meanwhile: whatever it has
 * missed has a larger seq.
 */
void verb_finish_listing(struct request *request);

/* Whether there is a recorder. Returns 0, or -1 with *failure filled. */
int verb_check_recorder(struct failure *failure);

/*
 * The device that a request names by id=, name= or a bare word; or NULL, with
 * *failure filled.
 */
struct device *verb_find_device(const struct request *request,
				struct failure *failure) __attribute__((cold));

/* The one that a bare word names, likewise. */
struct device *verb_find_word(struct device_set *set, const char *word,
			      struct failure *failure);

/* Whether the request names one, in any of these ways. */
int verb_names_device(const struct request *request) __attribute__((cold));

/*
 * Read a whole `add` again; its layers' values, LAYER_OPTIONS of them, point
 * nowhere afterwards but have their numbers. Returns 0, or -1 with *failure
 * filled.
 */
int verb_read_layers(const char *words, struct option_value *layers,
		     struct failure *failure);

#endif
