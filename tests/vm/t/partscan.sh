#!/bin/sh
# Whether the kernel looks for partitions by itself is what partscan= says: when
# a device starts, and when the next server has taken it over.
#
# sanitizers: long
# needs: binaries sfdisk
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 120
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires sfdisk

# parts: how many partitions the kernel has
parts()
{
	count=0
	for part in /sys/block/ublkb0/ublkb0p*; do
		[ ! -d "$part" ] || count=$((count + 1))
	done
	echo $count
}

# stay N WHEN: so many, and no more come
stay()
{
	sleep 1
	[ "$(parts)" = "$1" ] || fail "$2: $(parts) partitions, not $1"
}

# write_table FILE: two partitions, and nobody tells the kernel
write_table()
{
	printf 'label: dos\n,4M\n,\n' |
		sfdisk -q --no-reread --no-tell-kernel "$1" || fail "sfdisk failed"
	sync
}

# What a file has is there when the device starts.
on_file()
{
	dd if=/dev/zero of=/tmp/t/disk bs=1M count=16 2>/dev/null
	write_table /tmp/t/disk
	expect_ok "add file id=0 path=/tmp/t/disk partscan=$1"
	[ "$1" = no ] || wait_for 5 '[ "$(parts)" = 2 ]' ||
		fail "the table of a file is not found"
	stay "$2" "a file, partscan=$1"
	kill_server
	stay "$2" "a file, partscan=$1, taken over"
	expect_ok "del 0"
}

start_ublkd
if ! ask features | grep -q 'name=no-partscan have=yes'; then
	expect_err unsupported "add ram id=0 size=16M partscan=no"
	echo "$STATUS"
	echo "$STATUS" | grep -q 'partscan=no needs the feature' ||
		fail "$STATUS"
	[ ! -e /dev/ublkc0 ] || fail "there is a device"
	expect_ok "add ram id=0 size=16M partscan=yes"
	expect_ok "del 0"
	exit 0
fi

# Nothing that is done with the device makes partitions of the table, ...
expect_ok "add ram id=0 size=16M partscan=no"
write_table /dev/ublkb0
stay 0 "written"
kill_server
stay 0 "taken over"
cmp -n 4096 /dev/ublkb0 /dev/zero >/dev/null 2>&1 && fail "there is no table"
restarted
stay 0 "taken over by another keeper"
expect_ok "resize 0 size=32M"
stay 0 "resized"
# ... but who wants them gets them, and keeps them.
blockdev --rereadpt /dev/ublkb0 || fail "--rereadpt failed"
wait_for 5 '[ "$(parts)" = 2 ]' || fail "--rereadpt found $(parts)"
kill_server
stay 2 "taken over with partitions"
ask "show 0" | grep -q 'config text="add ram id=0 size=32M partscan=no"' ||
	fail "$(ask "show 0")"
expect_ok "del 0"

# The default, and a server that dies: nothing is lost and nothing new comes.
expect_ok "add ram id=0 size=16M"
write_table /dev/ublkb0
stay 0 "written, partscan=yes"
kill_server
echo "partscan=yes: $(parts) partitions after the server was killed"
blockdev --rereadpt /dev/ublkb0 || fail "--rereadpt failed"
wait_for 5 '[ "$(parts)" = 2 ]' || fail "--rereadpt found $(parts)"
kill_server
stay 2 "taken over with partitions, partscan=yes"
expect_ok "del 0"

if has_target file; then
	on_file yes 2
	on_file no 0
fi
