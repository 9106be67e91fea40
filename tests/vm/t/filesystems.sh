#!/bin/sh
# ext4, xfs and btrfs live on a RAM disk: a tree of files survives umount,
# check and mount, and what is deleted gives its memory back.
#
# sanitizers: long
# kernels: 7.x
# needs: binaries mkfs.ext4 e2fsck mkfs.xfs xfs_repair mkfs.btrfs btrfs
# needs: modules ext4 xfs btrfs
# needs: files /usr/include/linux:/files/tree
# needs: memory 2048
# time: 300
. /t/lib.sh

requires mkfs.ext4 mkfs.xfs mkfs.btrfs

MNT=/tmp/t/mnt
TREE=/files/tree

make()
{
	case $1 in
	ext4) mkfs.ext4 -q "$2" ;;
	xfs) mkfs.xfs -q -f "$2" ;;
	btrfs) mkfs.btrfs -q -f "$2" ;;
	esac
}

# check KIND DEVICE: changes nothing, and fails on the least fault.
check()
{
	case $1 in
	ext4) e2fsck -fn "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	btrfs) btrfs check --readonly "$2" ;;
	esac >/tmp/t/check 2>&1 || {
		cat /tmp/t/check
		fail "$1 is not sound"
	}
}

# sums FOLDER: of all its files.
sums()
{
	(cd "$1" && find . -type f -exec md5sum {} + | sort -k 2)
}

# used: bytes of memory that the disk takes.
used()
{
	request "show id=0"
	field used
}

# delete FOLDER: by then the file system holds back nothing.
delete()
{
	rm -r "$1"
	sync
	fstrim "$MNT" || fail "$kind: fstrim"
}

# exercise KIND
exercise()
{
	kind=$1
	begun=$(now)
	expect_ok "add ram size=400M"
	make "$kind" /dev/ublkb0 >/tmp/t/make 2>&1 ||
		fail "mkfs.$kind: $(cat /tmp/t/make)"
	mount -t "$kind" -o discard /dev/ublkb0 $MNT
	cp -a $TREE $MNT/kept
	dd if=/dev/urandom of=$MNT/random bs=1M count=24 2>/dev/null
	md5sum <$MNT/random >/tmp/t/random
	cp $MNT/random $MNT/doomed
	cp -a $TREE $MNT/doomed-tree
	sync
	full=$(used)
	delete "$MNT/doomed"
	delete "$MNT/doomed-tree"
	trimmed=$(used)
	umount $MNT
	check "$kind" /dev/ublkb0
	echo 3 >/proc/sys/vm/drop_caches
	mount -t "$kind" /dev/ublkb0 $MNT
	sums $MNT/kept | cmp - /tmp/t/sums || fail "$kind: the tree differs"
	md5sum <$MNT/random | cmp - /tmp/t/random || fail "$kind: a file differs"
	umount $MNT
	expect_ok "show id=0"
	echo "$REPLY" | grep '^queue '
	! echo "$REPLY" | grep '^queue ' | grep -qv 'errors=0' ||
		fail "$kind: there were errors"
	expect_ok "del id=0"
	echo "$kind: used $((full >> 10)) KiB, $((trimmed >> 10)) KiB after" \
		"deleting and fstrim, $(($(now) - begun)) ms"
	# 24 MiB and a tree were deleted.
	[ $((full - trimmed)) -ge $((24 << 20)) ] ||
		fail "$kind: only $(((full - trimmed) >> 10)) KiB came back"
}

mkdir -p $MNT
sums $TREE >/tmp/t/sums
[ "$(wc -l </tmp/t/sums)" -ge 300 ] || fail "the tree is too small"
start_ublkd
for name in ext4 xfs btrfs; do
	exercise $name
done
