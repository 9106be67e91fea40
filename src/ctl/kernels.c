/* Which kernels have faults that a block server meets, and who brings the driver. */
#include <fnmatch.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "doctor.h"

/* ---- faults ---- */

/* A change that was taken without the one that it needs; 6.18.6 has both. */
#define ADD_DEV_OOPSES \
	"the first ADD_DEV oopses in ublk_init_queues and never returns; "

/* A fault of a driver that is of no use without it mended is a FAIL. */
static const struct {
	const char *release; /* a glob */
	enum doctor_level level;
	const char *text;
} faults[] = {
	{ "6.[0-4].*", DOCTOR_FAIL,
	  "the driver is too old: ublkd needs Linux 6.5 or newer" },
	{ "6.18.[45]", DOCTOR_FAIL, ADD_DEV_OOPSES "start 6.18.6 or newer" },
	{ "6.18.[45][!0-9]*", DOCTOR_FAIL,
	  ADD_DEV_OOPSES "start 6.18.6 or newer" },
	/* Reported: 1015 and 1018 of azure, 1017 of aws. */
	{ "6.17.0-101[5-8]-azure", DOCTOR_FAIL,
	  ADD_DEV_OOPSES "start another kernel" },
	{ "6.17.0-1017-aws", DOCTOR_FAIL,
	  ADD_DEV_OOPSES "start another kernel" },
	{ "6.17.*", DOCTOR_WARN,
	  "with some distributions' 6.17 " ADD_DEV_OOPSES
	  "try one device before you rely on it" },
	{ "6.12.*", DOCTOR_WARN,
	  "if keeper and server are killed at the same instant under load, the "
	  "kernel may panic in io_fallback_tw; stop ublkd with SIGTERM, or "
	  "start 6.15 or newer" },
	{ "6.12.*", DOCTOR_OK,
	  "known and harmless: a server that is killed while the kernel looks "
	  "for partitions leaves a warning of ublk_ch_uring_cmd in the "
	  "kernel's log" },
	{ "6.12.*", DOCTOR_WARN,
	  "a take-over right after a server's death may crash in "
	  "io_uring_cmd_done; ublkd waits a moment to avoid it" },
	{ "6.[5-9].*", DOCTOR_WARN,
	  "no zero-copy, no resize; requests of a server that died fail only by "
	  "a time-out; 6.16 is the first without these limits" },
	{ "6.1[0-5].*", DOCTOR_WARN,
	  "no zero-copy, no resize; requests of a server that died fail only by "
	  "a time-out; 6.16 is the first without these limits" },
	{ "[67].*", DOCTOR_OK,
	  "known and rare: do not take a CPU offline while ublkd is being "
	  "killed: with a request in flight both may hang for good" },
};

void doctor_kernel_faults(struct doctor *doctor, const char *release)
{
	size_t i;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (fnmatch(faults[i].release, release, 0) == 0) {
			doctor_say(doctor, faults[i].level, "%s",
				   faults[i].text);
			/* Nothing else matters then. */
			if (faults[i].level == DOCTOR_FAIL)
				return;
		}
}

/* ---- distributions ---- */

static const struct {
	const char *id; /* as in os-release's ID or ID_LIKE */
	const char *advice;
} distributions[] = {
	{ "talos",
	  "Talos does not build it: use an image with a kernel of your "
	  "own that has CONFIG_BLK_DEV_UBLK" },
	{ "amzn", "Amazon Linux does not build it: build a kernel with "
		  "CONFIG_BLK_DEV_UBLK=m, or take another distribution" },
	{ "openwrt",
	  "OpenWrt has no package of it: build an image whose kernel "
	  "has CONFIG_BLK_DEV_UBLK, CONFIG_IO_URING" },
	{ "alpine",
	  "'apk add linux-lts', and start that kernel: linux-virt may "
	  "be without the driver" },
	{ "arch", "'pacman -S linux' and start it: after an update the running "
		  "kernel's modules are gone" },
	{ "fedora", "'dnf install kernel-modules-$(uname -r)', or "
		    "kernel-modules-extra-$(uname -r)" },
	{ "ubuntu", "'apt install linux-modules-extra-$(uname -r)'" },
	{ "debian",
	  "Debian 12: 'apt install -t bookworm-backports "
	  "linux-image-amd64' (or of your architecture), and start it; "
	  "newer ones have it in their own kernel" },
};

static int has_word(const char *text, const char *word)
{
	size_t length = strlen(word);
	const char *at = text;

	while ((at = strstr(at, word))) {
		if ((at == text || strchr(" \"'", at[-1])) &&
		    strchr(" \"'", at[length]))
			return 1;
		at += length;
	}
	return 0;
}

/* The distribution's own name goes before those that it is like. */
const char *doctor_driver_advice(const char *os_release)
{
	static const char *const keys[] = { "ID=", "ID_LIKE=" };
	char value[200];
	size_t i, key;

	for (key = 0; key < 2; key++) {
		if (host_value(os_release, keys[key], value, sizeof(value)) < 0)
			continue;
		for (i = 0; i < sizeof(distributions) / sizeof(*distributions);
		     i++)
			if (has_word(value, distributions[i].id))
				return distributions[i].advice;
	}
	return "start a kernel that was built with CONFIG_BLK_DEV_UBLK";
}
