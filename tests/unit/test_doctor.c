/* doctor: a host that is fit, and what is said of each thing that is wrong. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"
#include "ctl/doctor.h"

static uid_t user;
static struct doctor doctor;
static char *said;
static size_t said_size;

uid_t __wrap_geteuid(void);
uid_t __wrap_geteuid(void)
{
	return user;
}

/* A host without anything wrong. */
static const struct {
	const char *path, *text;
} fit[] = {
	{ "dev/ublk-control", "" },
	{ "proc/sys/kernel/osrelease", "7.3.4\n" },
	{ "proc/sys/kernel/io_uring_disabled", "0\n" },
	{ "proc/self/status", "Name:\tublkctl\nCapEff:\t000001ffffffffff\n"
			      "Seccomp:\t0\n" },
	{ "proc/self/limits",
	  "Limit                     Soft Limit           Hard Limit\n"
	  "Max locked memory         8388608              8388608 bytes\n" },
	{ "proc/self/cgroup", "0::/system.slice/u.service\n" },
	{ "sys/fs/cgroup/system.slice/u.service/memory.max", "max\n" },
	{ "sys/fs/cgroup/system.slice/u.service/pids.max", "max\n" },
	{ "run/udev/control", "" },
	{ "usr/lib/udev/rules.d/60-ublkd.rules", "" },
	{ "run/ublkd/ublkb0", "" },
	{ "proc/self/mountinfo",
	  "25 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw\n"
	  "26 1 0:26 / /run rw shared:1 - tmpfs tmpfs rw\n" },
	{ "lib/modules/7.3.4/modules.dep", "kernel/fs/ext4/ext4.ko.xz:\n" },
	{ "etc/os-release", "PRETTY_NAME=\"Some\"\nID=debian\n" },
};

int before_each(void **state)
{
	size_t i;

	for (i = 0; i < COUNT(fit); i++)
		test_file(fit[i].path, fit[i].text);
	assert_int_equal(chmod(test_path("run/ublkd"), 0700), 0);
	user = 0;
	memset(&doctor, 0, sizeof(doctor));
	doctor.root = test_folder();
	doctor.folder = "/run/ublkd";
	doctor.ev_major = 4;
	doctor.ev_minor = 33;
	return 0;
}

int after_each(void **state)
{
	free(said);
	said = NULL;
	test_folder_remove();
	return 0;
}

/* Run the checks; what they say is in `said`. */
static void run(void)
{
	free(said);
	said = NULL;
	doctor.worst = DOCTOR_OK;
	doctor.out = open_memstream(&said, &said_size);
	assert_non_null(doctor.out);
	doctor_check(&doctor);
	fclose(doctor.out);
}

/* The lines are said to begin so, and the worst is that. */
static void expect(enum doctor_level level, const char *wanted)
{
	run();
	if (!strstr(said, wanted))
		print_message("not '%s' in:\n%s", wanted, said);
	assert_non_null(strstr(said, wanted));
	assert_int_equal(doctor.worst, level);
}

/* The whole screen; no line has more than 80 columns. */
TEST_CASE(test_fit)
{
	doctor.daemon = DOCTOR_ANSWERS;
	snprintf(doctor.greeting, sizeof(doctor.greeting),
		 "ublkd 0.1.0, pid 812");
	run();
	assert_string_equal(
		said,
		"OK   driver    /dev/ublk-control is there\n"
		"OK   kernel    Linux 7.3.4\n"
		"OK   kernel    known and rare: do not take a CPU offline while "
		"ublkd is being\n"
		"               killed: with a request in flight both may hang "
		"for good\n"
		"OK   io_uring  it can be used\n"
		"OK   seccomp   no filter\n"
		"OK   rights    enough\n"
		"OK   memlock   no limit counts\n"
		"OK   protected no server to look at\n"
		"OK   cgroup    no limit of memory or of threads\n"
		"OK   udev      60-ublkd.rules is in /usr/lib/udev/rules.d\n"
		"OK   state     /run/ublkd lies on a tmpfs\n"
		"OK   libev     4.33, when this was built\n"
		"OK   daemon    ublkd 0.1.0, pid 812, answers\n"
		"OK   devices   there are 0\n");
	assert_int_equal(doctor.worst, DOCTOR_OK);
}

static const struct {
	const char *path, *text;
	enum doctor_level level;
	const char *wanted;
} wrong[] = {
	{ "proc/sys/kernel/osrelease", "5.15.0\n", DOCTOR_FAIL,
	  "FAIL kernel    Linux 5.15.0 has no ublk" },
	{ "proc/sys/kernel/osrelease", "6.1.0-9-amd64\n", DOCTOR_FAIL,
	  "FAIL kernel    the driver is too old" },
	{ "proc/sys/kernel/osrelease", "nonsense\n", DOCTOR_WARN,
	  "WARN kernel    its release is not known" },
	{ "proc/sys/kernel/osrelease", "6.12.95+deb13-amd64\n", DOCTOR_WARN,
	  "WARN kernel    if keeper and server are killed" },
	{ "proc/sys/kernel/osrelease", "6.18.4-arch1-1\n", DOCTOR_FAIL,
	  "FAIL kernel    the first ADD_DEV oopses" },
	{ "proc/sys/kernel/osrelease", "6.18.5\n", DOCTOR_FAIL,
	  "FAIL kernel    the first ADD_DEV oopses" },
	{ "proc/sys/kernel/osrelease", "6.18.44-x\n", DOCTOR_OK,
	  "OK   kernel    Linux 6.18.44-x\n" },
	{ "proc/sys/kernel/osrelease", "6.17.0-1015-azure\n", DOCTOR_FAIL,
	  "FAIL kernel    the first ADD_DEV oopses" },
	{ "proc/sys/kernel/osrelease", "6.17.0-1017-aws\n", DOCTOR_FAIL,
	  "FAIL kernel    the first ADD_DEV oopses" },
	{ "proc/sys/kernel/osrelease", "6.17.0-1009-aws\n", DOCTOR_WARN,
	  "WARN kernel    with some distributions' 6.17 the first ADD_DEV" },
	{ "proc/sys/kernel/osrelease", "6.17.9\n", DOCTOR_WARN,
	  "WARN kernel    with some distributions' 6.17 the first ADD_DEV" },
	{ "proc/sys/kernel/osrelease", "6.8.0-52-generic\n", DOCTOR_WARN,
	  "WARN kernel    no zero-copy, no resize" },
	{ "proc/sys/kernel/io_uring_disabled", "2\n", DOCTOR_FAIL,
	  "FAIL io_uring  it is disabled for all" },
	{ "proc/sys/kernel/io_uring_disabled", "1\n", DOCTOR_WARN,
	  "WARN io_uring  only CAP_SYS_ADMIN" },
	{ "proc/self/status", "CapEff:\t000001ffffffffff\nSeccomp:\t2\n",
	  DOCTOR_WARN,
	  "WARN seccomp   a ublkd started from here has a filter" },
	{ "proc/self/status", "CapEff:\t000001ffffdfffff\nSeccomp:\t0\n",
	  DOCTOR_FAIL,
	  "FAIL rights    a ublkd started from here lacks "
	  "CAP_SYS_ADMIN" },
	{ "proc/self/status", "CapEff:\t000001ffffffbfff\nSeccomp:\t0\n",
	  DOCTOR_WARN,
	  "WARN rights    a ublkd started from here lacks "
	  "CAP_IPC_LOCK" },
	{ "proc/self/status", "CapEff:\t000001ffffffbfff\nSeccomp:\t0\n",
	  DOCTOR_WARN,
	  "WARN memlock   RLIMIT_MEMLOCK of a ublkd started from "
	  "here is 8192 KiB" },
	{ "sys/fs/cgroup/system.slice/u.service/memory.max", "67108864\n",
	  DOCTOR_WARN,
	  "WARN cgroup    /system.slice/u.service/memory.max is "
	  "67108864 bytes" },
	{ "sys/fs/cgroup/system.slice/u.service/pids.max", "20\n", DOCTOR_FAIL,
	  "FAIL cgroup    /system.slice/u.service/pids.max is 20" },
	{ "sys/fs/cgroup/system.slice/memory.max", "134217728\n", DOCTOR_WARN,
	  "WARN cgroup    /system.slice/memory.max is 134217728 bytes" },
	{ "sys/fs/cgroup/system.slice/pids.max", "127\n", DOCTOR_FAIL,
	  "FAIL cgroup    /system.slice/pids.max is 127" },
	{ "proc/self/mountinfo",
	  "25 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
	  "26 1 0:26 / /ru rw - tmpfs tmpfs rw\n"
	  "nonsense\n",
	  DOCTOR_WARN, "WARN state     /run/ublkd lies on ext4" },
};

TEST_CASE(test_wrong)
{
	size_t i;

	for (i = 0; i < COUNT(wrong); i++) {
		about(wrong[i].wanted);
		test_file(wrong[i].path, wrong[i].text);
		expect(wrong[i].level, wrong[i].wanted);
		after_each(NULL);
		before_each(NULL);
	}
}

/* A host that is fit for nothing. */
TEST_CASE(test_screen)
{
	size_t i;

	for (i = 0; i < COUNT(wrong); i++)
		test_file(wrong[i].path, wrong[i].text);
	run();
	screen_is("doctor", said);
}

static const struct {
	const char *release, *wanted;
} brought[] = {
	{ "ID=debian\n", "bookworm-backports" },
	{ "NAME=x\nID=\"ubuntu\"\nID_LIKE=debian\n", "linux-modules-extra-$" },
	{ "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
	  "linux-modules-extra-$" },
	{ "ID=fedora\n", "kernel-modules-" },
	{ "ID=rocky\nID_LIKE=\"rhel centos fedora\"\n", "kernel-modules-" },
	{ "ID=arch\n", "pacman -S linux" },
	{ "ID=alpine\n", "apk add linux-lts" },
	{ "ID=openwrt\n", "OpenWrt has no package" },
	{ "ID=\"amzn\"\nID_LIKE=\"fedora\"\n", "Amazon Linux does not build" },
	{ "ID=talos\n", "Talos does not build" },
	{ "ID=archaic\n", "CONFIG_BLK_DEV_UBLK" },
	{ "", "CONFIG_BLK_DEV_UBLK" },
};

TEST_CASE(test_no_driver)
{
	size_t i;

	assert_int_equal(unlink(test_path("dev/ublk-control")), 0);
	expect(DOCTOR_FAIL, "FAIL driver    this kernel (7.3.4) has no driver");
	for (i = 0; i < COUNT(brought); i++) {
		about(brought[i].release);
		assert_non_null(strstr(doctor_driver_advice(brought[i].release),
				       brought[i].wanted));
	}
	test_file("lib/modules/7.3.4/modules.dep",
		  "kernel/fs/ext4/ext4.ko.xz:\n"
		  "kernel/drivers/block/ublk_drv.ko.xz:\n");
	expect(DOCTOR_FAIL,
	       "FAIL driver    the driver is not loaded: 'modprobe");
	test_file("sys/class/misc/ublk-control/dev", "");
	expect(DOCTOR_FAIL,
	       "FAIL driver    the driver is loaded, but there is");
}

TEST_CASE(test_io_uring)
{
	doctor.uring_error = ENOSYS;
	expect(DOCTOR_FAIL, "FAIL io_uring  this kernel has none");
	doctor.uring_error = EPERM;
	expect(DOCTOR_FAIL, "FAIL io_uring  io_uring_setup fails: Operation");
	/* To whoever asks; root may. */
	test_file("proc/sys/kernel/io_uring_disabled", "1\n");
	expect(DOCTOR_WARN, "WARN io_uring  only CAP_SYS_ADMIN");
}

/* Rights and limits are those of a server that runs. */
TEST_CASE(test_server)
{
	doctor.server = 812;
	test_file("proc/812/status",
		  "CapEff:\t0000000000000000\nSeccomp:\t0\n");
	expect(DOCTOR_FAIL, "FAIL rights    the server lacks CAP_SYS_ADMIN");
}

TEST_CASE(test_protection)
{
	doctor.server = 812;
	test_file("proc/812/oom_score_adj", "-1000\n");
	test_file("proc/812/status", "VmLck:\t    2048 kB\n"
				     "CapEff:\t000001ffffffffff\n");
	test_file("proc/812/stat", "812 (a) b) S 811 812 812 0 -1 524608 7\n");
	test_file("proc/811/oom_score_adj", "-1000\n");
	test_file("proc/811/status", "VmLck:\t    2048 kB\n");
	test_file("proc/811/stat", "811 (ublkd) S 1 811 811 0 -1 320 7\n");
	run();
	assert_non_null(strstr(said, "WARN protected the keeper may wait for"));
	test_file("proc/811/stat", "811 (ublkd) S 1 811 811 0 -1 524608 7\n");
	run();
	assert_non_null(strstr(said, "OK   protected server and keeper are"));
	test_file("proc/811/status", "VmLck:\t       0 kB\n");
	run();
	assert_non_null(strstr(said, "WARN protected the keeper's memory is"));
	test_file("proc/812/stat", "812 (a) b) S 1 812 812 0 -1 320 7\n");
	run();
	assert_non_null(strstr(said, "WARN protected the server may wait for"));
	test_file("proc/812/status", "VmLck:\t       0 kB\n");
	run();
	assert_non_null(strstr(said, "WARN protected the server's memory is"));
	test_file("proc/812/oom_score_adj", "0\n");
	run();
	assert_non_null(strstr(said, "WARN protected the OOM killer may take"));
}

TEST_CASE(test_udev)
{
	assert_int_equal(
		unlink(test_path("usr/lib/udev/rules.d/60-ublkd.rules")), 0);
	expect(DOCTOR_WARN, "WARN udev      there is no 60-ublkd.rules");
	test_file("etc/udev/rules.d/60-ublkd.rules", "");
	expect(DOCTOR_OK,
	       "OK   udev      60-ublkd.rules is in /etc/udev/rules.d");
}

TEST_CASE(test_state)
{
	assert_int_equal(chmod(test_path("run/ublkd"), 0720), 0);
	expect(DOCTOR_FAIL, "FAIL state     /run/ublkd is no folder that root");
	doctor.folder = "/run/ublkd/ublkb0";
	assert_int_equal(chmod(test_path("run/ublkd"), 0700), 0);
	expect(DOCTOR_FAIL, "FAIL state     /run/ublkd/ublkb0 is no folder");
	doctor.folder = "/run/none";
	expect(DOCTOR_OK, "OK   state     /run/none lies on a tmpfs");
}

TEST_CASE(test_libev)
{
	doctor.ev_minor = 31;
	expect(DOCTOR_WARN, "WARN libev     4.31, with which");
}

TEST_CASE(test_daemon)
{
	struct host_device *device = doctor.still.devices;

	snprintf(doctor.still.verdict, STILL_TEXT, "it is stopped");
	doctor.daemon = DOCTOR_SILENT;
	expect(DOCTOR_FAIL, "FAIL daemon    it is stopped\n");
	doctor.daemon = DOCTOR_DENIED;
	expect(DOCTOR_WARN, "WARN daemon    you may not use its socket");
	doctor.daemon = DOCTOR_ANSWERS;
	snprintf(doctor.greeting, sizeof(doctor.greeting), "ublkd 1, pid 2");
	expect(DOCTOR_OK, "OK   daemon    ublkd 1, pid 2, answers\n");
	doctor.daemon = DOCTOR_NO_DAEMON;
	doctor.still.count = 2;
	device[0] = (struct host_device){ 5, 1, 0, 3 };
	device[1] = (struct host_device){ 6, 0, 99, 0 };
	expect(DOCTOR_FAIL,
	       "FAIL devices   ublkb5 is quiesced, 3 requests wait");
	assert_null(strstr(said, "ublkc6"));
	device[1].server = 0;
	expect(DOCTOR_FAIL, "FAIL devices   ublkc6 is left over");
	/* Others are not told who serves a device. */
	user = 1000;
	expect(DOCTOR_WARN, "WARN devices   there are 2; who serves them is");
	user = 0;
	device[0].server = device[1].server = 99;
	expect(DOCTOR_OK, "OK   devices   none is without a server");
	doctor.still.count = 0;
	doctor.server = 812;
	test_file("proc/812/status", "CapEff:\t000001ffffffffff\n");
	expect(DOCTOR_FAIL, "FAIL daemon    its socket is gone; it is stopped");
}

int main(void)
{
	return tests_run();
}
