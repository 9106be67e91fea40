#!/bin/sh
# What the recorder takes: 1 KiB of a device that has had no more than the partition
# scan, and 16 KiB of one that was used, by what both processes' PSS is without it;
# and no more in the state folder.
#
# needs: memory 2048
# time: 240
# kernels: 6.12
# sanitizers: long
. /t/lib.sh

! sanitized || skip "a sanitizer's memory is not the program's"

COUNT=64

# used_memory OPTION: sets $scanned and $used, KiB, and the file's.
used_memory()
{
	start_ublkd "$@"
	for i in $(seq 0 $((COUNT - 1))); do
		expect_ok "add null id=$i size=64M"
	done
	sleep 6
	scanned=$(pss_of_both)
	scanned_file=$(($(stat -c %b /run/ublkd/sight) / 2))
	for i in $(seq 0 $((COUNT - 1))); do
		dd if=/dev/ublkb$i of=/dev/null bs=4k count=300 iflag=direct 2>/dev/null
		dd if=/dev/zero of=/dev/ublkb$i bs=4k count=100 oflag=direct 2>/dev/null
	done
	sleep 6
	used=$(pss_of_both)
	used_file=$(($(stat -c %b /run/ublkd/sight) / 2))
	echo "$*: PSS $scanned KiB, used $used KiB;" \
		"the file $scanned_file KiB, used $used_file KiB"
	stop_ublkd
}

used_memory --recorder=no
without_scanned=$scanned without_used=$used
used_memory --recorder=yes
scanned=$((scanned - without_scanned))
used=$((used - without_used))
echo "each: $((scanned * 1024 / COUNT)) bytes, used $((used * 1024 / COUNT)) bytes"
[ $scanned -le $COUNT ] || fail "scanned: more than 1 KiB each"
[ $used -le $((16 * COUNT)) ] || fail "used: more than 16 KiB each"
[ $scanned_file -le $((COUNT + 4)) ] || fail "the file has more than 1 KiB each"
[ $used_file -le $((17 * COUNT + 4)) ] || fail "the file has more than 17 KiB each"
