#!/bin/sh
# A small host serves four RAM disks and two files while fio writes and verifies
# all of them. Prints what both processes take of it, and fails if that is much;
# contrib/check runs this with a static program, as such hosts have.
#
# needs: binaries fio mkfs.ext4
# needs: modules ext4 brd
# needs: memory 128
# time: 240
# size: long:footprint
. /t/lib.sh

requires fio mkfs.ext4

MOST=3072 # KiB of PSS, with all disks in use, beside the RAM disks' data
FORMAT='%12s %8s %8s %8s %8s %8s %8s %9s\n'

# sum FIELD PID...: KiB of smaps, beside the RAM disks' data
sum()
{
	field=$1
	shift
	for pid; do
		cat "/proc/$pid/smaps"
	done | awk -v field="$field:" '/^[0-9a-f]+-/ { ours = !/memfd:ublkd-ram/ }
		$1 == field && ours { sum += $2 } END { print sum + 0 }'
}

# line WHEN
line()
{
	server=$(server_pid)
	# shellcheck disable=SC2059 # it is a format
	printf "$FORMAT" "$1" "$(sum Pss "$KEEPER" "$server")" \
		"$(sum Pss "$KEEPER")" "$(sum Pss "$server")" \
		"$(sum Rss "$KEEPER" "$server")" \
		"$(sum Locked "$KEEPER" "$server")" \
		"$(pss_of_both)" "$(mem_available)"
}

# work: fio on all disks, for a while, with little memory of its own
work()
{
	fio --name=all --thread --alloc-size=1024 --rw=randwrite \
		--bsrange=4k-64k --filesize=512k --size=3M --loops=4 --direct=1 \
		--ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 \
		--filename="$DISKS" >/tmp/t/fio 2>&1
}

DISKS=/dev/ublkb0:/dev/ublkb1:/dev/ublkb2:/dev/ublkb3:/dev/ublkb4:/dev/ublkb5
rmmod brd
modprobe brd rd_nr=1 rd_size=16384
mkdir /tmp/t/mnt
mkfs.ext4 -q -O ^has_journal /dev/ram0
mount /dev/ram0 /tmp/t/mnt
start_ublkd
# A host has these on a disk; in this guest they lie in memory.
rm -r /lib/modules
# shellcheck disable=SC2059
printf "$FORMAT" KiB PSS keeper server RSS locked "and data" available
line "no device"
# By default an eighth of the host is left to others, which fio then needs.
for id in 0 1 2 3; do
	expect_ok "add ram id=$id size=1M memory-reserve=1M"
done
for id in 4 5; do
	expect_ok "add file id=$id path=/tmp/t/mnt/$id create=yes size=1M"
done
line "six devices"
work &
fio=$!
sleep 1
most=0
while kill -0 $fio 2>/dev/null; do
	now=$(sum Pss "$KEEPER" "$(server_pid)")
	[ "$now" -le "$most" ] || most=$now
done
wait $fio || fail "$(cat /tmp/t/fio)"
line "after fio"
echo "under fio PSS was $most KiB at most"
[ "$most" -le $MOST ] || fail "PSS was $most KiB, not $MOST or less"
sleep 6
line "idle again"
grep -qx 'oom_kill 0' /proc/vmstat || fail "the OOM killer has come"
