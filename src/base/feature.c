#include "feature.h"

#include <stdio.h>

#include "uapi.h"

/* Those of Linux 7.3, which end with bit 20. */
const struct feature feature_table[] = {
	{ "zero-copy", UBLK_F_SUPPORT_ZERO_COPY, 0 },
	{ "uring-cmd-comp-in-task", UBLK_F_URING_CMD_COMP_IN_TASK, 0 },
	{ "need-get-data", UBLK_F_NEED_GET_DATA, 0 },
	{ "recovery", UBLK_F_USER_RECOVERY, 0 },
	{ "recovery-reissue", UBLK_F_USER_RECOVERY_REISSUE, 0 },
	{ "unprivileged", UBLK_F_UNPRIVILEGED_DEV, 0 },
	{ "ioctl-encode", UBLK_F_CMD_IOCTL_ENCODE, 1 },
	{ "user-copy", UBLK_F_USER_COPY, 1 },
	{ "zoned", UBLK_F_ZONED, 0 },
	{ "recovery-fail-io", UBLK_F_USER_RECOVERY_FAIL_IO, 0 },
	{ "update-size", UBLK_F_UPDATE_SIZE, 0 },
	{ "auto-buffer", UBLK_F_AUTO_BUF_REG, 0 },
	{ "quiesce", UBLK_F_QUIESCE, 0 },
	{ "per-io-daemon", UBLK_F_PER_IO_DAEMON, 0 },
	{ "buf-reg-off-daemon", UBLK_F_BUF_REG_OFF_DAEMON, 0 },
	{ "batch", UBLK_F_BATCH_IO, 0 },
	{ "integrity", UBLK_F_INTEGRITY, 0 },
	{ "safe-stop", UBLK_F_SAFE_STOP_DEV, 0 },
	{ "no-partscan", UBLK_F_NO_AUTO_PART_SCAN, 0 },
	{ "shmem-zc", UBLK_F_SHMEM_ZC, 0 },
	{ "io-desc-size", UBLK_F_IO_DESC_SIZE, 0 },
	{ NULL, 0, 0 },
};

void features_missing(uint64_t have, char *text, size_t size)
{
	const struct feature *feature;
	size_t at = 0;

	text[0] = '\0';
	for (feature = feature_table; feature->name && at < size; feature++)
		if (!(have & feature->bit))
			at += (size_t)snprintf(text + at, size - at, "%s%s",
					       at ? " " : "", feature->name);
}

const char *features_required_missing(uint64_t have)
{
	const struct feature *feature;

	for (feature = feature_table; feature->name; feature++)
		if (feature->required && !(have & feature->bit))
			return feature->name;
	return NULL;
}

int features_abort_on_close(uint64_t have)
{
	return (have & UBLK_F_UPDATE_SIZE) != 0;
}
