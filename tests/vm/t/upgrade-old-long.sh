#!/bin/sh
# A daemon of an earlier commit goes on as this one, back and forth, and nothing
# is lost: by upgrade under load, when its keeper was killed, and from its state
# folder when both processes were.
#
# needs: binaries fio ublkd-old
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 300
# size: long:upgrade
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio ublkd-old
NEW=$(command -v ublkd)
OLD=$(command -v ublkd-old)
DATA=/tmp/t/data

# start_old: as start_ublkd does it, with the old program
start_old()
{
	mkdir -p /tmp/t/bin
	ln -sf "$OLD" /tmp/t/bin/ublkd
	PATH=/tmp/t/bin:$PATH start_ublkd
}

# become PROGRAM
become()
{
	echo "- to $1"
	upgraded "program=$1"
	is=$(readlink "/proc/$KEEPER/exe")
	[ "$is" = "$1" ] || fail "it is $is"
	await_live_count 3
}

# keeps DISK: what was written to it
keeps()
{
	cmp -n 65536 $DATA "/dev/$1" || fail "$1 has lost its data"
}

# write_to DISK
write_to()
{
	dd if=$DATA of="/dev/$1" bs=64k oflag=direct 2>/dev/null ||
		fail "cannot write to $1"
}

dd if=/dev/urandom of=$DATA bs=64k count=1 2>/dev/null
truncate -s 16M /tmp/t/disk

start_old
expect_ok "add ram id=0 size=64M"
expect_ok "add ram id=1 size=1M"
expect_ok "add file id=2 path=/tmp/t/disk"
write_to ublkb1
load ublkb0 --rw=randrw --verify=crc32c --verify_backlog=64 --bsrange=4k-64k
cp "$NEW" /tmp/t/new
for program in "$NEW" /tmp/t/new "$OLD" "$NEW"; do become "$program"; done
keeps ublkb1
held=$(for fd in "/proc/$KEEPER/fd"/*; do readlink "$fd"; done | grep -c ublkd-ram)
[ "$held" = 2 ] || fail "the keeper has $held descriptors of two RAM disks"

echo "- the keeper killed"
keeper_killed
await_live_count 3
load_ends
keeps ublkb1
stop_ublkd

echo "- the old one's state folder, both processes killed"
start_old
expect_ok "add ram id=0 size=16M keep=/dev/shm"
expect_ok "add file id=2 path=/tmp/t/disk"
expect_ok "add null id=3 size=1M"
write_to ublkb0
both_killed
await_live_count 3
keeps ublkb0
stop_ublkd

echo "- the old keeper killed"
start_old
expect_ok "add ram id=0 size=16M"
write_to ublkb0
keeper_killed
await_live_count 1
keeps ublkb0
stop_ublkd
