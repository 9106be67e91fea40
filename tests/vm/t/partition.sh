#!/bin/sh
# A partition table is written, read again and used.
#
# needs: binaries sfdisk mkfs.ext4 e2fsck
# needs: modules ext4
# time: 120
. /t/lib.sh

requires sfdisk mkfs.ext4 e2fsck

MNT=/tmp/t/mnt

# table: what the kernel has as partitions: number, first block and size.
table()
{
	for part in /sys/block/ublkb0/ublkb0p*; do
		[ -d "$part" ] || continue
		echo "$(cat "$part/partition") $(cat "$part/start")" \
			"$(cat "$part/size")"
	done
}

# has TABLE WHEN
has()
{
	wait_for 3 "[ \"\$(table)\" = '$1' ]" || fail "$2: the partitions are $(table)"
	for number in $(echo "$1" | cut -d ' ' -f 1); do
		[ -b "/dev/ublkb0p$number" ] || fail "$2: no ublkb0p$number"
	done
}

# write_table LABEL LINE...
write_table()
{
	label=$1
	shift
	{
		echo "label: $label"
		for line; do echo "$line"; done
	} | sfdisk -q --wipe always /dev/ublkb0 || fail "sfdisk failed"
}

# reread: the kernel forgets the table and reads it from the disk itself.
reread()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	blockdev --rereadpt /dev/ublkb0 || fail "--rereadpt failed"
}

# What is written to a partition is there on the disk, and nowhere else.
place()
{
	dd if=/dev/urandom of=/tmp/t/data bs=64k count=1 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb0p2 bs=64k oflag=direct 2>/dev/null
	dd if=/dev/ublkb0 bs=512 skip=34816 count=128 iflag=direct 2>/dev/null |
		cmp - /tmp/t/data || fail "partition 2 is elsewhere"
}

# A mounted partition keeps the disk, and the answer says so.
busy()
{
	expect_err busy "del id=0"
	echo "$STATUS"
	echo "$STATUS" | grep -q "mounted on $MNT" || fail "$STATUS"
	expect_ok "show id=0"
	[ "$(field state)" = live ] || fail "a refused del changed the state"
}

# check_files: what was written is there after a umount.
check_files()
{
	(cd $MNT && md5sum -c /tmp/t/sums >/dev/null) || fail "$1: files differ"
}

file_system()
{
	mount_ext4 /dev/ublkb0p2 $MNT
	cp /t/* $MNT/ 2>/dev/null || true
	dd if=/dev/urandom of=$MNT/random bs=1M count=8 2>/dev/null
	(cd $MNT && find . -type f -exec md5sum {} + >/tmp/t/sums)
	[ "$(wc -l </tmp/t/sums)" -gt 3 ] || fail "no files were copied"
	busy
	# A table in use is not taken away.
	if blockdev --rereadpt /dev/ublkb0 2>/dev/null; then
		fail "the table of a mounted disk was read again"
	fi
	check_files "mounted"
	umount $MNT
	e2fsck -fn /dev/ublkb0p2 >/tmp/t/fsck 2>&1 || fail "$(cat /tmp/t/fsck)"
	reread
	has "$GPT" "after the umount"
	mount /dev/ublkb0p2 $MNT
	check_files "mounted again"
	umount $MNT
}

start_ublkd
expect_ok "add ram size=96M"
has '' "new"

DOS='1 2048 32768
2 34816 161792'
write_table dos ',16M' ','
has "$DOS" "written"
reread
has "$DOS" "read again"

GPT='1 2048 32768
2 34816 131072
3 165888 28672'
write_table gpt ',16M' ',64M' ',14M'
has "$GPT" "written"
reread
has "$GPT" "read again"
place
file_system

# A partition that a program has open keeps the disk, too.
exec 9</dev/ublkb0p3
expect_err busy "del id=0"
echo "$STATUS" | grep -q "opened by" || fail "$STATUS"
exec 9<&-

# Without its table it has no partitions.
dd if=/dev/zero of=/dev/ublkb0 bs=1M oflag=direct 2>/dev/null || true
reread
has '' "erased"
write_table dos ',16M' ','
has "$DOS" "written once more"
expect_ok "del id=0"
[ -z "$(ls /dev/ublkb0* 2>/dev/null)" ] || fail "left:" /dev/ublkb0*
