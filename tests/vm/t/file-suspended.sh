#!/bin/sh
# A disk or a file system that stands still holds up nobody else: with 64 requests
# waiting for each of up to three, another device's writes and flushes take as long
# as before, and each that stands still holds fewer of the kernel's threads.
#
# needs: binaries fio mkfs.ext4 mkfs.xfs dmsetup fsfreeze
# needs: modules ext4 xfs brd dm-mod
# needs: icount
# needs: files tests/vm/lib-longest.sh:/t/lib-longest.sh
# needs: memory 1536
# size: long:file
# time: 450
. /t/lib.sh
# shellcheck source=tests/vm/lib-longest.sh
. /t/lib-longest.sh

requires fio mkfs.ext4 mkfs.xfs dmsetup fsfreeze

MNT=/tmp/t/mnt
SLOW=/tmp/t/slow                # and a number: what device that one lies on

# beside WHAT: how long another device takes meanwhile
beside()
{
	took=$(longest)
	echo "$1: at most $took ms a request, $before ms without"
	[ "$took" -le $((before + 100)) ] || fail "$1: the other device waits as well"
}

# stop disk|fs NUMBER
stop()
{
	case $1 in
	disk) dmsetup suspend --noflush --nolockfs "slow$2" ;;
	fs) fsfreeze --freeze "$SLOW$2" ;;
	esac
}

go_on()
{
	case $1 in
	disk) dmsetup resume "slow$2" ;;
	fs) fsfreeze --unfreeze "$SLOW$2" ;;
	esac
}

# begin NUMBER RW: 64 requests, none beside another, or they would be merged
begin()
{
	fio --name=h --filename="/dev/ublkb$1" --rw="$2" --bs=4k --ba=8k \
		--size=16M --ioengine=libaio --iodepth=64 --iodepth_batch=64 \
		--direct=1 --io_size=1M >"/tmp/t/held$1" 2>&1 &
	echo $! >"/tmp/t/holder$1"
	wait_for 10 "[ \"\$(inflight ublkb$1)\" -ge 64 ]" ||
		fail "$(inflight "ublkb$1") requests of device $1 are held"
}

# end NUMBER: of those that have been held, now that they go on
end()
{
	wait "$(cat "/tmp/t/holder$1")" || fail "$(cat "/tmp/t/held$1")"
}

# hold WHAT RW CASE: on what stands still alone
hold()
{
	echo 3 >/proc/sys/vm/drop_caches
	stop "$1" 0
	begin 0 "$2"
	beside "$3 $2"
	[ "$(inflight ublkb0)" -ge 64 ] || fail "$3: they were not held"
	go_on "$1" 0
	end 0
}

# held_workers: threads of the server that do not come back
held_workers()
{
	# One that is idle may end meanwhile.
	cat /proc/"$(server_pid)"/task/*/status 2>/dev/null |
		awk '/^Name:/ { is_worker = $2 ~ /^iou-wrk/ }
		/^State:/ && is_worker && $2 == "D" { n++ }
		END { print n + 0 }'
}

# hold_three CASE MOST...: so many threads may the first, two, three have held
hold_three()
{
	case=$1
	shift
	for number in 0 2 3; do
		stop fs $number
		begin $number randwrite
		sleep 0.5
		held=$(held_workers)
		echo "$case: $held threads are held"
		[ "$held" -ge 1 ] || fail "$case: none is held"
		[ "$held" -le "$1" ] || fail "$case: more than $1"
		shift
	done
	beside "$case, three stand still"
	# Two files may be in one of io_uring's lines, see file-neighbour: all go on
	# before any has to end.
	for number in 0 2 3; do go_on fs $number; done
	for number in 0 2 3; do end $number; done
}

# fill DEVICE: the file has its space, and all of it is on the disk.
fill()
{
	dd if=/dev/zero of="$1" bs=1M count=16 oflag=direct conv=fsync 2>/dev/null ||
		fail "it cannot be filled"
}

# add_slow NUMBER OPTIONS: a device on a file there
add_slow()
{
	rm -f "$SLOW$1/disk"
	expect_ok "add file id=$1 path=$SLOW$1/disk create=yes size=16M $2"
	fill "/dev/ublkb$1"
}

make_ram_disks 4 327680 # xfs wants 300 MB
mount_ext4 /dev/ram1 $MNT
echo "0 655360 linear /dev/ram0 0" | dmsetup create --noudevsync slow0
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
for kind in ext4 xfs; do
	for number in 0 2 3; do
		disk=/dev/ram$number
		[ $number != 0 ] || disk=/dev/dm-0
		mkdir -p $SLOW$number
		case $kind in
		ext4) mkfs.ext4 -q -F "$disk" ;;
		xfs) mkfs.xfs -q -f "$disk" ;;
		esac
		mount "$disk" $SLOW$number
	done
	for mode in $modes; do
		for direct in yes no; do
			options="direct=$direct mode=$mode"
			add_slow 0 "$options"
			add_slow 2 "$options"
			add_slow 3 "$options"
			hold disk randread "$kind $options"
			# One worker for all that go through the page cache.
			if [ $direct = yes ]; then
				hold_three "$kind $options" 34 52 62
			else
				hold_three "$kind $options" 2 4 6
			fi
			expect_ok "del 0"
			expect_ok "del 2"
			expect_ok "del 3"
		done
	done
	umount ${SLOW}0 ${SLOW}2 ${SLOW}3
done
dmsetup remove --noudevsync slow0
expect_ok "del 1"
umount $MNT
