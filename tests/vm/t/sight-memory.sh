#!/bin/sh
# What the recorder takes: 1 KiB of a device that has had no more than the partition
# scan, and 16 KiB of one that was used: by its mappings, exactly, and by both
# processes' PSS with it and without. The latter says some tens of KiB more or less
# from run to run.
#
# needs: memory 2048
# size: default long:sight
# time: 240
# kernels: 6.12
# sanitizers: long
. /t/lib.sh

! sanitized || skip "a sanitizer's memory is not the program's"

COUNT=64

NOISE=128 # KiB

# of_sight: KiB of PSS that the file has in both processes
of_sight()
{
	cat "/proc/$KEEPER/smaps" "/proc/$(server_pid)/smaps" | awk '
	/^[0-9a-f]+-[0-9a-f]+ / { is_ours = / \/run\/ublkd\/sight/ }
	/^Pss:/ && is_ours { sum += $2 }
	END { print sum + 0 }'
}

# measure OPTION: sets $scanned and $used, KiB of PSS, and those of the file.
measure()
{
	start_ublkd "$@"
	for i in $(seq 0 $((COUNT - 1))); do
		expect_ok "add null id=$i size=64M"
	done
	sleep 6
	scanned=$(pss_of_both) sight_scanned=$(of_sight)
	for i in $(seq 0 $((COUNT - 1))); do
		use "$i"
	done
	sleep 6
	used=$(pss_of_both) sight_used=$(of_sight)
	echo "$*: PSS of $COUNT devices $scanned, used $used KiB;" \
		"of the file $sight_scanned, used $sight_used KiB"
	stop_ublkd
}

# use ID: enough for all that a device gets
use()
{
	dd if=/dev/ublkb"$1" of=/dev/null bs=4k count=300 iflag=direct 2>/dev/null
	dd if=/dev/zero of=/dev/ublkb"$1" bs=4k count=100 oflag=direct 2>/dev/null
}

measure --recorder=no
without_scanned=$scanned without_used=$used
measure --recorder=yes
scanned=$((scanned - without_scanned))
used=$((used - without_used))
echo "the recorder: $scanned KiB, used $used KiB"
[ "$sight_scanned" -gt 0 ] || fail "nothing is recorded"
[ "$sight_scanned" -le $COUNT ] || fail "scanned: more than 1 KiB each"
[ "$sight_used" -le $((16 * COUNT + 4)) ] || fail "used: more than 16 KiB each"
[ $scanned -le $((COUNT + NOISE)) ] || fail "scanned: $scanned KiB in all"
[ $used -le $((16 * COUNT + NOISE)) ] || fail "used: $used KiB in all"
