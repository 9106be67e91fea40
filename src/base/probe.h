/*
 * Static probes, for those who trace with bpftrace, SystemTap or perf; ublkd(8) has
 * their names and arguments. One that nobody looks at is an instruction that does
 * nothing. A build without them does not even evaluate the arguments.
 */
#ifndef UBLKD_PROBE_H
#define UBLKD_PROBE_H

#ifdef WITHOUT_PROBES
#define PROBE(name, ...) ((void)0)
#else
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define PROBE(name, ...) STAP_PROBEV(ublkd, name, __VA_ARGS__)
#endif

#endif
