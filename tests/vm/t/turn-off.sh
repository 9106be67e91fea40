#!/bin/sh
# The host is turned off with file systems that are mounted with _netdev, in
# fstab and by hand: the order is that of ublkd's own unit. See lib-turn-off.sh.
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

begin ""
add_disk 0
add_disk 1
mount_by_fstab ublkb0 /mnt/a _netdev
by_hand ublkb1 /mnt/b -o _netdev
work 0 a
work 1 b
turn_off
