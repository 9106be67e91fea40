#!/bin/sh
# No wakeup is lost between the kernel's task work and the loop: the loop and its
# rings by themselves, without a driver, as it sleeps in rings and in libev only.
#
# sanitizers: long
# needs: binaries ring-stress
# needs: cpus 4
# time: 180
. /t/lib.sh

# A loop that does not look once more before it sleeps is seen to lose one, mostly
# within a few seconds.
status=0
ring-stress -n 120 >/tmp/t/stress || status=$?
cat /tmp/t/stress
[ $status = 1 ] || fail "the naive loop has lost none: status $status"

# stress ARG...: and it has taken a lot.
stress()
{
	ring-stress "$@" >/tmp/t/stress || fail "ring-stress $*: $(cat /tmp/t/stress)"
	cat /tmp/t/stress
	posted=$(sed -n 's/^posted=\([0-9]*\) .*/\1/p' /tmp/t/stress)
	[ "$posted" -ge 10000 ] || fail "only $posted"
}

stress "${STRESS_SECONDS:-8}"
stress -p "${STRESS_SECONDS:-8}"
