#!/bin/sh
# The host is turned off with what ublkd(8) shows beside _netdev: a file system
# with x-systemd.after= in fstab; and one that was mounted by hand, and swap,
# whose devices are named in the unit. See lib-turn-off.sh.
#
# sanitizers: long
# needs: systemd
# needs: binaries mkfs.ext4 e2fsck debugfs
# needs: modules ext4
# needs: files tests/vm/lib-systemd.sh:/t/lib-systemd.sh
# needs: files tests/vm/lib-turn-off.sh:/t/lib-turn-off.sh
# time: 120
# kernels: 6.12
. /t/lib.sh
# shellcheck source=tests/vm/lib-systemd.sh
. /t/lib-systemd.sh
# shellcheck source=tests/vm/lib-turn-off.sh
. /t/lib-turn-off.sh

begin "Wants=blockdev@dev-ublkb1.target blockdev@dev-ublkb2.target" \
	"Before=blockdev@dev-ublkb1.target blockdev@dev-ublkb2.target"
for id in 0 1 2; do add_disk $id; done
mount_by_fstab ublkb0 /mnt/a x-systemd.after=ublkd.service
by_hand ublkb1 /mnt/b
work 0 a
work 1 b
mkswap /dev/ublkb2 >/dev/null
/sbin/swapon /dev/ublkb2 || fail "no swap"
echo "Deactivated swap dev-ublkb2.swap" >>/run/before
turn_off
