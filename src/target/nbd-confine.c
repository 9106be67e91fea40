/*
 * The rights of a relay: what a server sends could be meant to take its process
 * over, and is to gain nothing by that. A uid is no fence, for a relay is root's as
 * ublkd is, and root's files are there for whoever can call open(). So the kernel
 * takes from it only the calls that GnuTLS, the C library's memory and the relay's
 * own loop need.
 */
#include "nbd-tls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/net.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The numbers of calls are its own; for one that is not here, all are allowed. */
#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define ARCHITECTURE AUDIT_ARCH_I386
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__arm__) && !defined(__ARMEB__)
#define ARCHITECTURE AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#endif

/* A sanitizer calls much more, and reads files. */
#if defined(ARCHITECTURE) && !defined(__SANITIZE_ADDRESS__)

#define LOAD(what) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define ANSWER(how) BPF_STMT(BPF_RET | BPF_K, (how))
#define ALLOW(value)                                        \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1), \
		ANSWER(SECCOMP_RET_ALLOW)

/*
 * As if the kernel had no such call: a C library that tries a new one first takes
 * the older one then.
 */
#define REFUSE ANSWER(SECCOMP_RET_ERRNO | ENOSYS)

/* Not all architectures have all of them: the *_time64 are those of 32 bits. */
static struct sock_filter calls[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
	REFUSE,
	LOAD(nr),
	ALLOW(SYS_recvfrom),
	ALLOW(SYS_sendto),
	ALLOW(SYS_recvmsg),
	ALLOW(SYS_sendmsg),
#ifdef SYS_recv
	ALLOW(SYS_recv),
#endif
#ifdef SYS_send
	ALLOW(SYS_send),
#endif
#ifdef SYS_poll
	ALLOW(SYS_poll),
#endif
	ALLOW(SYS_read),
	ALLOW(SYS_write),
	ALLOW(SYS_writev),
	ALLOW(SYS_shutdown),
#ifdef SYS_ppoll
	ALLOW(SYS_ppoll),
#endif
#ifdef SYS_ppoll_time64
	ALLOW(SYS_ppoll_time64),
#endif
	ALLOW(SYS_brk),
#ifdef SYS_mmap
	ALLOW(SYS_mmap),
#endif
#ifdef SYS_mmap2
	ALLOW(SYS_mmap2),
#endif
	ALLOW(SYS_munmap),
	ALLOW(SYS_mremap),
	ALLOW(SYS_mprotect),
	ALLOW(SYS_madvise),
#ifdef SYS_futex
	ALLOW(SYS_futex),
#endif
#ifdef SYS_futex_time64
	ALLOW(SYS_futex_time64),
#endif
	ALLOW(SYS_getrandom),
	ALLOW(SYS_getpid),
#ifdef SYS_time
	ALLOW(SYS_time),
#endif
	ALLOW(SYS_gettimeofday),
	ALLOW(SYS_clock_gettime),
#ifdef SYS_clock_gettime64
	ALLOW(SYS_clock_gettime64),
#endif
	ALLOW(SYS_rt_sigreturn),
#ifdef SYS_sigreturn
	ALLOW(SYS_sigreturn),
#endif
	ALLOW(SYS_restart_syscall),
	ALLOW(SYS_exit),
	ALLOW(SYS_exit_group),
#ifdef __i386__
	/* glibc has all calls of sockets in one there. */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socketcall, 1, 0),
	REFUSE,
	LOAD(args[0]),
	ALLOW(SYS_SEND),
	ALLOW(SYS_SENDTO),
	ALLOW(SYS_SENDMSG),
	ALLOW(SYS_RECV),
	ALLOW(SYS_RECVFROM),
	ALLOW(SYS_RECVMSG),
	ALLOW(SYS_SHUTDOWN),
#endif
	REFUSE,
};

/* A kernel without it (CONFIG_SECCOMP_FILTER), as well as qemu-user, says EINVAL. */
static int limit_calls(void)
{
	const struct sock_fprog program = {
		.len = sizeof(calls) / sizeof(calls[0]), .filter = calls
	};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 &&
	    errno != EINVAL)
		return -errno;
	return 0;
}

#else

static int limit_calls(void)
{
	return 0;
}

#endif

int nbd_relay_confine(unsigned descriptors)
{
	/* poll() takes as many descriptors as may be open. */
	const struct rlimit files = { descriptors, descriptors },
			    none = { 0, 0 };
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	const struct __user_cap_data_struct sets[2] = { { .effective = 0 } };

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, sets) < 0)
		return -errno;
	return limit_calls();
}
