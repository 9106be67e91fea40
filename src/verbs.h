/* What each command does. Only the command table needs these. */
#ifndef UBLKD_VERBS_H
#define UBLKD_VERBS_H

#include "option.h"

struct request;

/* Indexes into the options of del, show and shutdown. */
enum { VERB_DEVICE_ID, VERB_DEVICE_NAME, VERB_DEL_FORCE };
enum { VERB_SHUTDOWN_FORCE, VERB_SHUTDOWN_TIMEOUT };
enum { VERB_UPGRADE_PROGRAM, VERB_UPGRADE_FORCE };

int verb_add(struct request *request);
int verb_del(struct request *request);
int verb_features(struct request *request);
int verb_help(struct request *request);
int verb_list(struct request *request);
int verb_on_error(struct request *request);
int verb_ping(struct request *request);
int verb_show(struct request *request);
int verb_shutdown(struct request *request);
int verb_targets(struct request *request);
int verb_upgrade(struct request *request);
int verb_version(struct request *request);

/* The options that `add` takes for every target. */
extern const struct option verb_add_options[];

#endif
