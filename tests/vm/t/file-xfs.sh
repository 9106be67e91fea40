#!/bin/sh
# A file on xfs, where a read through the page cache takes the file's lock: reads
# that miss, writes, flushes and discards at a time, none of which may hang or
# spoil data. The same past the page cache.
#
# needs: binaries fio mkfs.xfs
# needs: modules xfs brd
# needs: memory 1536
# size: long:file
# time: 400
. /t/lib.sh

requires fio mkfs.xfs

MNT=/tmp/t/mnt

# load OPTION...: by fio, on the first 32 MiB of the disk
load()
{
	fio --name=l --filename=/dev/ublkb0 --ioengine=libaio --iodepth=64 \
		--direct=1 --bs=4k --size=32M --verify=crc32c "$@" \
		>/tmp/t/fio 2>&1 || fail "$(cat /tmp/t/fio)"
}

forget_pages()
{
	echo 1 >/proc/sys/vm/drop_caches
}

# mixed: beside it the rest of the disk is discarded
mixed()
{
	while forget_pages; do
		sleep 0.2
	done &
	forgetting=$!
	fio --name=d --filename=/dev/ublkb0 --ioengine=libaio --iodepth=4 \
		--direct=1 --rw=randtrim --bs=64k --offset=32M --size=32M \
		--time_based --runtime=6 >/tmp/t/trims 2>&1 &
	trims=$!
	load --rw=randrw --fsync=16 --time_based --runtime=6
	wait $trims || fail "$(cat /tmp/t/trims)"
	kill $forgetting
	echo "$1:" "$(grep IOPS /tmp/t/fio /tmp/t/trims |
		sed 's/.* \([a-z]*: IOPS=[^,]*\).*/\1/' | tr '\n' ' ')"
}

make_ram_disks 1 524288
mkfs.xfs -q /dev/ram0
mkdir -p $MNT
mount /dev/ram0 $MNT
start_ublkd
modes="user-copy need-get-data copy"
! ask features | grep -q 'name=auto-buffer have=yes' || modes="$modes zero-copy"
for mode in $modes; do
	for direct in no yes; do
		expect_ok "add file id=0 path=$MNT/disk create=yes size=64M \
			mode=$mode direct=$direct"
		load --rw=randwrite --do_verify=0
		forget_pages
		load --rw=randwrite --verify_only
		mixed "$mode direct=$direct"
		expect_ok "show 0"
		[ "$(field mode)" = "$mode" ] || fail "$REPLY"
		[ "$(field direct)" = "$direct" ] || fail "$REPLY"
		[ "$(field waiting)" = 0 ] || fail "$REPLY"
		expect_ok "del 0"
		rm -f $MNT/disk
	done
done
umount $MNT
