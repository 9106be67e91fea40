#!/bin/sh
# A disk that stands still holds up nobody else: with 64 requests waiting for
# it, another device's writes and flushes take as long as before.
#
# needs: binaries fio mkfs.ext4 dmsetup fsfreeze
# needs: modules ext4 brd dm-mod
# needs: icount
# needs: files tests/vm/lib-longest.sh:/t/lib-longest.sh
# needs: memory 1024
# size: long:file
# time: 300
. /t/lib.sh
# shellcheck source=tests/vm/lib-longest.sh
. /t/lib-longest.sh

requires fio mkfs.ext4 dmsetup fsfreeze

MNT=/tmp/t/mnt
SLOW=/tmp/t/slow

# beside WHAT BEFORE
beside()
{
	took=$(longest)
	echo "$1: at most $took ms a request, $2 ms without"
	[ "$took" -le $(($2 + 100)) ] || fail "the other device waits as well"
}

stop()
{
	case $1 in
	disk) dmsetup suspend --noflush --nolockfs slow ;;
	fs) fsfreeze --freeze $SLOW ;;
	esac
}

go_on()
{
	case $1 in
	disk) dmsetup resume slow ;;
	fs) fsfreeze --unfreeze $SLOW ;;
	esac
}

# hold WHAT RW CASE: 64 requests on what stands still, none beside another, or they
# would be merged
hold()
{
	echo 3 >/proc/sys/vm/drop_caches
	stop "$1"
	fio --name=h --filename=/dev/ublkb0 --rw="$2" --bs=4k --ba=8k --size=16M \
		--ioengine=libaio --iodepth=64 --iodepth_batch=64 --direct=1 \
		--io_size=1M >/tmp/t/held 2>&1 &
	holder=$!
	wait_for 10 '[ "$(inflight ublkb0)" -ge 64 ]' ||
		fail "$3: $(inflight ublkb0) requests are held"
	beside "$3 $2" "$before"
	[ "$(inflight ublkb0)" -ge 64 ] || fail "$3: they were not held"
	go_on "$1"
	wait $holder || fail "$3: $(cat /tmp/t/held)"
}

# The file has its space, and all of it is on the disk.
fill()
{
	dd if=/dev/zero of="$1" bs=1M count=16 oflag=direct conv=fsync 2>/dev/null ||
		fail "it cannot be filled"
}

make_ram_disks 2 65536
mount_ext4 /dev/ram1 $MNT
echo "0 131072 linear /dev/ram0 0" | dmsetup create --noudevsync slow
start_ublkd
modes="user-copy copy need-get-data"
! ask features | grep -q 'name=auto-buffer have=yes' || modes="$modes zero-copy"
expect_ok "add file id=1 path=$MNT/disk create=yes size=16M"
longest >/dev/null
before=$(longest)
for mode in $modes; do
	for direct in yes no; do
		expect_ok "add file id=0 path=/dev/dm-0 direct=$direct mode=$mode"
		# Through the page cache only a read waits for the disk.
		for rw in randread randwrite; do
			[ $direct$rw != norandwrite ] || continue
			hold disk $rw "disk $mode direct=$direct"
		done
		expect_ok "del 0"
	done
done
mount_ext4 /dev/dm-0 $SLOW
for mode in $modes; do
	for direct in yes no; do
		rm -f $SLOW/disk
		expect_ok "add file id=0 path=$SLOW/disk create=yes size=16M \
			direct=$direct mode=$mode"
		fill /dev/ublkb0
		hold disk randread "file $mode direct=$direct"
		hold fs randwrite "file $mode direct=$direct"
		expect_ok "del 0"
	done
done
umount $SLOW
dmsetup remove --noudevsync slow
expect_ok "del 1"
umount $MNT
