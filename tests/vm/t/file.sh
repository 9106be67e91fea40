#!/bin/sh
# Files and disks as devices: what is written through one is in the file, what
# the file cannot do is refused, and what is given back is free.
#
# needs: binaries fio mkfs.ext4 e2fsck blkdiscard fallocate
# needs: modules ext4 brd loop
# needs: files /usr/include/linux:/files/tree
# needs: memory 1536
# time: 400
. /t/lib.sh

requires fio mkfs.ext4 e2fsck

BLKDISCARD=/usr/local/bin/blkdiscard
FALLOCATE=/usr/local/bin/fallocate
MNT=/tmp/t/mnt
MIXED=4k/40:16k/20:64k/15:256k/15:1m/10
MEM=/tmp/t/mem

# says KEY=VALUE...: show tells all of them.
says()
{
	expect_ok "show id=$ID"
	for pair; do
		echo "$REPLY" | grep -q " $pair\( \|$\)" ||
			fail "show does not tell $pair: $REPLY"
	done
}

add()
{
	expect_ok "add file $1"
	ID=$(field id) DISK=$(field dev)
	echo "--- $1"
}

del()
{
	says flush-errors=0
	! echo "$REPLY" | grep '^queue ' | grep -qv 'owned=0 .*errors=0' ||
		fail "requests are left or have failed: $REPLY"
	expect_ok "del id=$ID"
}

verify()
{
	fio --name=verify --filename="$DISK" --rw=randwrite --direct=1 \
		--ioengine=libaio --verify=crc32c --verify_fatal=1 "$@" \
		>/tmp/t/fio 2>&1 || {
		cat /tmp/t/fio
		fail "fio $*"
	}
}

verify_all()
{
	verify --bs=4k --size=1M --iodepth=1 --fdatasync=16
	verify --bssplit=$MIXED --size=8M --iodepth=32 --verify_backlog=16
}

# in_file FILE: a pattern written through the device is in the file, at the
# device's offset, and the device reads what was written into the file.
in_file()
{
	head -c 65536 /dev/urandom >/tmp/t/pattern
	dd if=/tmp/t/pattern of="$DISK" bs=4096 seek=16 oflag=direct \
		conv=fsync 2>/dev/null || fail "cannot write to $DISK"
	dd if="$1" bs=4096 skip=16 count=16 2>/dev/null | cmp - /tmp/t/pattern ||
		fail "what was written to $DISK is not in $1"
}

# gives_back FILE: what is discarded frees its blocks and reads as zeroes, and
# so does what is zeroed by a hole.
gives_back()
{
	for how in "$BLKDISCARD" "$FALLOCATE -p"; do
		dd if=/dev/urandom of="$DISK" bs=1M count=8 oflag=direct \
			conv=fsync 2>/dev/null || fail "cannot fill $DISK"
		full=$(stat -c %b "$1")
		$how -o 1048576 -l 6291456 "$DISK" || fail "$how $DISK"
		sync
		left=$(stat -c %b "$1")
		echo "$how: $full blocks before, $left after"
		[ $((full - left)) -ge 11000 ] || fail "$1 is as large as before"
		[ "$(dd if="$DISK" bs=1M skip=1 count=6 iflag=direct \
			2>/dev/null | md5sum)" = "$zeroes" ] ||
			fail "$DISK has data that was discarded"
	done
}

# zero_keeps FILE: write-zeroes that may not unmap keep the space.
zero_keeps()
{
	dd if=/dev/urandom of="$DISK" bs=1M count=8 oflag=direct 2>/dev/null
	before=$(stat -c %b "$1")
	$BLKDISCARD -z -o 0 -l 8388608 "$DISK" || fail "cannot zero $DISK"
	sync
	after=$(stat -c %b "$1")
	[ $((before - after)) -lt 1000 ] ||
		fail "$1 has lost blocks: $before before, $after after"
	[ "$(dd if="$DISK" bs=1M count=6 iflag=direct 2>/dev/null |
		md5sum)" = "$zeroes" ] || fail "$DISK is not zero"
}

# filesystem: ext4 with a tree of files.
filesystem()
{
	mount_ext4 "$DISK" /tmp/t/on
	cp -a /files/tree /tmp/t/on/
	umount /tmp/t/on
	e2fsck -fn "$DISK" >/tmp/t/check 2>&1 || {
		cat /tmp/t/check
		fail "ext4 on $DISK is not sound"
	}
	mount "$DISK" /tmp/t/on
	diff -r /files/tree /tmp/t/on/tree || fail "the tree differs"
	umount /tmp/t/on
}

read_only()
{
	add "path=$1 ro=yes"
	[ "$(cat "/sys/block/ublkb$ID/ro")" = 1 ] || fail "not read-only"
	! dd if=/dev/zero of="$DISK" bs=4096 count=1 oflag=direct 2>/dev/null ||
		fail "a read-only device was written to"
	dd if="$DISK" of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null ||
		fail "cannot read"
	del
}

# The loaded one has small disks.
# What a failed test before this one has left.
umount $MNT $MEM 2>/dev/null || true
losetup -d /dev/loop0 2>/dev/null || true
make_ram_disks 2 131072
mkdir -p $MEM
mount -t tmpfs -o size=96M tmpfs $MEM
mount_ext4 /dev/ram0 $MNT
zeroes=$(head -c 6291456 /dev/zero | md5sum)
start_ublkd

add "path=$MEM/disk create=yes size=48M"
says backing=memory direct=no
verify_all
in_file $MEM/disk
gives_back $MEM/disk
zero_keeps $MEM/disk
filesystem
del
read_only $MEM/disk
rm $MEM/disk

add "path=$MNT/disk create=yes size=48M"
says backing=file direct=no
verify_all
in_file $MNT/disk
gives_back $MNT/disk
zero_keeps $MNT/disk
filesystem
del
read_only $MNT/disk

add "path=$MNT/disk direct=yes"
says backing=file direct=yes
verify_all
in_file $MNT/disk
gives_back $MNT/disk
zero_keeps $MNT/disk
filesystem
del

# A part of it only: what lies around stays.
md5=$(head -c 1048576 $MNT/disk | md5sum)
add "path=$MNT/disk offset=1M size=16M"
[ "$(blockdev --getsize64 "$DISK")" = 16777216 ] || fail "another size"
verify_all
del
[ "$(head -c 1048576 $MNT/disk | md5sum)" = "$md5" ] ||
	fail "something was written before the offset"
dd if=$MNT/disk bs=1M skip=1 count=16 2>/dev/null | md5sum >/tmp/t/part
add "path=$MNT/disk offset=1M size=16M ro=yes"
dd if="$DISK" bs=1M 2>/dev/null | md5sum | cmp - /tmp/t/part ||
	fail "the device has other data than the file"
del

losetup /dev/loop0 $MNT/disk
for direct in yes no; do
	add "path=/dev/loop0 direct=$direct"
	says backing=disk direct=$direct
	verify_all
	filesystem
	del
done
losetup -d /dev/loop0
