#!/bin/sh
# Limits that ublkd was started with kill no process of it: what goes beyond the
# size that a file may have is an error to the one command or request that does.
#
# kernels: 7.x
# needs: binaries mkfs.ext4
# needs: modules ext4 brd
# time: 60
. /t/lib.sh

requires mkfs.ext4

# same_server: nobody was killed
same_server()
{
	[ "$(server_pid)" = "$server" ] || fail "the server is another one"
	! grep "was killed by signal" "$LOG" || fail "a server was killed"
}

put()
{
	dd if=/tmp/t/random of=/dev/ublkb0 bs=4096 count=1 seek="$1" \
		oflag=direct conv=fsync 2>/tmp/t/dd
}

make_ram_disks 1 65536
mount_ext4 /dev/ram0 /tmp/t/mnt
truncate -s 16M /tmp/t/mnt/disk
head -c 4096 /dev/urandom >/tmp/t/random

# 8 MiB, in units of 512 bytes; an hour of CPU time.
# shellcheck disable=SC3045 # busybox has these
ulimit -S -f 16384
# shellcheck disable=SC3045
ulimit -t 3600
start_ublkd
# shellcheck disable=SC3045
ulimit -S -f unlimited
server=$(server_pid)

expect_err limit "add ram size=16M"
echo "$STATUS" | grep -q "errno=EFBIG" || fail "$STATUS"
expect_err limit "add file path=/tmp/t/mnt/new create=yes size=16M"
[ ! -e /tmp/t/mnt/new ] || fail "a file is left"
same_server

expect_ok "add file id=0 path=/tmp/t/mnt/disk direct=yes"
put 2047 || fail "cannot write below the limit: $(cat /tmp/t/dd)"
! put 2048 || fail "written above the limit"
same_server
put 2047 || fail "the device is broken: $(cat /tmp/t/dd)"
expect_ok "del 0"
expect_ok "add file id=0 path=/tmp/t/mnt/disk direct=no"
! put 2048 || fail "written above the limit"
same_server
expect_ok "del 0"

if ask features | grep -q 'name=update-size have=yes'; then
	expect_ok "add ram id=0 size=4M"
	expect_err limit "resize 0 size=16M"
	expect_ok "resize 0 size=8M"
	expect_ok "del 0"
	truncate -s 4M /tmp/t/mnt/disk
	expect_ok "add file id=0 path=/tmp/t/mnt/disk"
	expect_err limit "resize 0 size=16M"
	expect_ok "resize 0 size=8M"
	expect_ok "del 0"
fi
same_server
grep -q "larger than 8388608 bytes (RLIMIT_FSIZE)" "$LOG" ||
	fail "the log does not tell the limit"
for pid in "$KEEPER" "$server"; do
	grep -q "^Max cpu time *unlimited *unlimited" "/proc/$pid/limits" ||
		fail "$pid has CPU time: $(cat "/proc/$pid/limits")"
done
stop_ublkd
umount /tmp/t/mnt
