#!/bin/sh
# A mount namespace that ends with ublkd: a disk that is mounted there alone
# hangs if both processes are killed (CAVEATS in ublkd(8)), so it warns at its
# start. Not where process 1 is, and not in a sandbox to which others' mounts
# come.
#
# kernels: 6.12
# time: 60
. /t/lib.sh

warned()
{
	grep -q 'this mount namespace is of its own' "$LOG"
}

# start_in PROPAGATION: in a mount namespace of its own
start_in()
{
	mkdir -p /tmp/t/bin
	cat >/tmp/t/bin/ublkd <<-END
		#!/bin/sh
		exec unshare -m --propagation $1 $PROGRAM "\$@"
	END
	chmod +x /tmp/t/bin/ublkd
	PATH=/tmp/t/bin:$PATH start_ublkd
}

PROGRAM=$(command -v ublkd)
start_ublkd
! warned || fail "it warns where process 1 is"
stop_ublkd
mount --make-rshared /
start_in slave
! warned || fail "it warns in a sandbox"
stop_ublkd
start_in private
warned || fail "it does not warn"
stop_ublkd
mount --make-rprivate /
