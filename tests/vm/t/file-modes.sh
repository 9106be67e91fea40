#!/bin/sh
# Each way to move data, through the page cache and past it, to a file in
# memory, one on ext4 and a disk: what was written is there, and it was the way
# that was asked for.
#
# needs: binaries fio mkfs.ext4
# needs: modules ext4 brd
# needs: memory 1536
# size: long:file
# time: 900
. /t/lib.sh

requires fio mkfs.ext4

MNT=/tmp/t/mnt
MEM=/tmp/t/mem
MIXED=4k/40:16k/20:64k/15:256k/15:512k/10

# moves WORDS: as mode= of them says, and the disk has the file's bytes.
moves()
{
	echo "--- $1"
	expect_ok "add file id=0 $1"
	mode=${1##*mode=} mode=${mode%% *}
	expect_ok "show 0"
	[ "$(field mode)" = "$mode" ] || fail "not $mode: $REPLY"
	for depth in 1 32; do
		fio --name=v --filename=/dev/ublkb0 --rw=randwrite --direct=1 \
			--ioengine=libaio --iodepth=$depth --bssplit=$MIXED \
			--size=32M --io_size=$((depth / 16 + 1))M --verify=crc32c \
			--verify_fatal=1 --verify_backlog=64 --fdatasync=32 \
			>/tmp/t/fio 2>&1 || {
			cat /tmp/t/fio
			fail "fio, depth $depth, $1"
		}
	done
	# Through the device's own page cache, and with odd memory.
	fio --name=b --filename=/dev/ublkb0 --rw=randwrite --bs=2k --size=4M \
		--ioengine=psync --verify=crc32c --verify_fatal=1 --end_fsync=1 \
		>/tmp/t/fio 2>&1 || fail "$(cat /tmp/t/fio)"
	fio --name=o --filename=/dev/ublkb0 --rw=randwrite --bs=4k --size=1M \
		--ioengine=libaio --direct=1 --iomem_align=512 \
		--mem=malloc --verify=crc32c --verify_fatal=1 \
		>/tmp/t/fio 2>&1 || fail "$(cat /tmp/t/fio)"
	file=${1#path=} file=${file%% *}
	[ "$(dd if=/dev/ublkb0 bs=1M iflag=direct 2>/dev/null | md5sum)" = \
		"$(md5sum <"$file")" ] || fail "the file has other bytes"
	expect_ok "show 0"
	! echo "$REPLY" | grep '^queue ' | grep -qv ' errors=0$' ||
		fail "errors: $REPLY"
	expect_ok "del 0"
}

# refused SYMBOL ARG WORDS
refused()
{
	expect_err "$1" "add file $3"
	echo "$STATUS"
	[ "$(field arg)" = "$2" ] || fail "$STATUS"
}

# What a failed test before this one has left.
umount $MNT $MEM 2>/dev/null || true
make_ram_disks 2 65536
mkdir -p $MEM
mount -t tmpfs -o size=96M tmpfs $MEM
mount_ext4 /dev/ram0 $MNT
truncate -s 32M $MEM/disk
truncate -s 32M $MNT/disk
start_ublkd

for mode in zero-copy copy need-get-data; do
	refused arg mode "path=$MEM/disk mode=$mode"
	echo "$STATUS" | grep -q "lies in memory" || fail "$STATUS"
done
refused range max-io "path=$MNT/disk mode=need-get-data max-io=1M"
moves "path=$MEM/disk mode=user-copy"
modes="user-copy copy need-get-data"
if ask features | grep -q 'name=auto-buffer have=yes'; then
	modes="$modes zero-copy"
else
	refused unsupported mode "path=$MNT/disk mode=zero-copy"
fi
for mode in $modes; do
	for direct in no yes; do
		moves "path=$MNT/disk direct=$direct mode=$mode"
		moves "path=/dev/ram1 direct=$direct mode=$mode"
	done
done

# auto finds the best.
expect_ok "add file id=0 path=$MNT/disk"
expect_ok "show 0"
case $modes in
*zero-copy) [ "$(field mode)" = zero-copy ] || fail "$REPLY" ;;
*) [ "$(field mode)" = user-copy ] || fail "$REPLY" ;;
esac
expect_ok "del 0"
umount $MNT
