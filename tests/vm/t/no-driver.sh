#!/bin/sh
# Without the driver the daemon runs and says what to do; once it is there,
# adding works without a restart.
#
# size: quick
. /t/lib.sh

module=$(find /vm/modules /mod /lib/modules -name '*ublk_drv*' 2>/dev/null |
	head -n 1) || true
rmmod ublk_drv || skip "the driver cannot be removed"
start_ublkd
expect_err unsupported "add ram size=16M"
echo "$STATUS" | grep -q 'modprobe ublk_drv' || fail "$STATUS"
expect_err unsupported features
[ -n "$module" ] || module=$(find / -xdev -name '*ublk_drv*.ko*' | head -n 1)
insmod "$module"
expect_ok "add ram size=16M"
expect_ok "del id=$(field id)"
expect_ok features
