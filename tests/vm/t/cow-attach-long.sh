#!/bin/sh
# A hundred devices on one base: how long it takes until each is there, and what they
# cost when all have read the base, whose pages they share.
#
# needs: binaries mkfs.ext4 stopwatch
# needs: modules ext4 brd
# needs: memory 1536
# needs: icount
# size: long:network
# time: 900
. /t/lib.sh

requires mkfs.ext4

: "${DEVICES:=100}"
MNT=/tmp/t/mnt
BASE=$MNT/base

cached()
{
	awk '/^Cached:/ { print $2 }' /proc/meminfo
}

make_ram_disks 1 262144
mount_ext4 /dev/ram0 $MNT
dd if=/dev/urandom of=$BASE bs=1M count=64 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
start_ublkd
set --
for i in $(seq 0 $((DEVICES - 1))); do
	set -- "$@" "add cow id=$i base=$BASE path=$MNT/layer$i queues=1 depth=16"
done
stopwatch -s "$SOCK" "$@" >/tmp/t/times || fail "$(tail -n 1 /tmp/t/times)"
[ "$(grep -c '^one ' /tmp/t/times)" = "$DEVICES" ] || fail "not all are there"
median=$(awk '/^one / { print $2 }' /tmp/t/times | sort -n |
	sed -n "$((DEVICES / 2))p")
echo "median: $((median / 1000)) us from add to open"
[ "$median" -lt 10000000 ] || fail "an add takes too long"

echo "PSS of both processes with $DEVICES devices: $(pss_of_both) KiB"
before=$(cached)
for i in $(seq 0 $((DEVICES - 1))); do
	cmp $BASE "/dev/ublkb$i" || fail "device $i is not the base"
	blockdev --flushbufs "/dev/ublkb$i"
done
more=$(($(cached) - before))
echo "page cache: $more KiB more when all have read the base of 65536 KiB"
# What each device's own pages are was given back above.
[ "$more" -lt $((2 * 65536)) ] || fail "the base is there more than once"
echo "PSS of both processes: $(pss_of_both) KiB"
stop_ublkd
umount $MNT
