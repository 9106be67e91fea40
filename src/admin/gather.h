/*
 * The text of the configuration file, which a helper gathers for the server.
 */
#ifndef UBLKD_GATHER_H
#define UBLKD_GATHER_H

#include "base/config.h"
#include "command.h"

/*
 * The text is there, and the receiver's to free; or failure tells why not, and
 * config is NULL.
 */
typedef void gather_done(void *context, struct config *config,
			 const struct failure *failure);

/*
 * Begin to gather the text of the configuration file at path, as of
 * config_gather(), which stays valid until then (HELPER_CONFIG), or what is said
 * of it (HELPER_CHECK). Returns 0, and done is called later, once; or -1 with
 * *failure filled.
 */
int gather_config(const char *path, enum helper_job job, gather_done *done,
		  void *context, struct failure *failure) __attribute__((cold));

#endif
