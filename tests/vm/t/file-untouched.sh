#!/bin/sh
# An "add" that is refused has changed nothing of the file, which somebody else
# may be writing, and one that is not has not either. What its file system can
# give back the first discard tells.
#
# kernels: 7.x
# needs: binaries mkfs.ext4 mkfs.xfs blkdiscard
# needs: modules ext4 xfs vfat nls_cp437 nls_ascii nls_iso8859-1 brd
# needs: memory 1024
# time: 180
. /t/lib.sh

requires mkfs.ext4 mkfs.xfs

BLKDISCARD=/usr/local/bin/blkdiscard

# file_system KIND DISK
file_system()
{
	case $1 in
	ext4) mkfs.ext4 -q "$2" ;;
	xfs) mkfs.xfs -q -f "$2" ;;
	vfat) mkdosfs "$2" ;;
	esac >/tmp/t/mkfs 2>&1 || fail "$1: $(cat /tmp/t/mkfs)"
	mkdir -p "/tmp/t/$1"
	mount -t "$1" "$2" "/tmp/t/$1" || fail "cannot mount $1"
}

# write_slowly FILE: so that there is time to ask for some adds
write_slowly()
{
	for piece in 0 1 2 3 4 5 6 7; do
		dd if=/tmp/t/random bs=4M skip=$piece count=1 2>/dev/null
		sleep 0.2
	done >"$1"
}

# beside OPTIONS FILE: refused adds of a file that is being written; sets $asked
beside()
{
	rm -f "$2"
	write_slowly "$2" &
	writer=$!
	wait_for 10 "[ -e $2 ]" || fail "no $2"
	while alive $writer; do
		expect_err range "add file path=$2 size=1T $1"
		asked=$((asked + 1))
	done
	wait $writer || fail "cannot write $2"
	cmp /tmp/t/random "$2" || fail "$2 is damaged ($1)"
}

# state_of FILE: its bytes, size, blocks and times; a read comes first, because it
# may change the time of the last one
state_of()
{
	md5sum <"$1"
	stat -c '%s %b %X %Y %Z' "$1"
}

head -c 33554432 /dev/urandom >/tmp/t/random
make_ram_disks 3 524288
file_system ext4 /dev/ram0
file_system xfs /dev/ram1
file_system vfat /dev/ram2
start_ublkd

for kind in ext4 xfs vfat; do
	file=/tmp/t/$kind/disk
	asked=0
	for _ in 1 2; do
		beside lock=yes "$file"
		beside lock=no "$file"
	done
	echo "$kind: $asked adds were refused"
	[ $asked -ge 4 ] || fail "only $asked adds were asked for"

	# One that is not refused, and a file that is not ours to make.
	sync
	state_of "$file" >/tmp/t/before
	sleep 1.1
	for options in '' lock=no create=yes; do
		expect_ok "add file id=0 path=$file size=16M $options"
		expect_ok "del 0"
	done
	state_of "$file" >/tmp/t/after
	diff /tmp/t/before /tmp/t/after || fail "$file has changed"
	expect_err range "add file path=/tmp/t/$kind/new create=yes size=1000"
	[ ! -e "/tmp/t/$kind/new" ] || fail "a file is left"
done

# vfat has no holes: a discard changes nothing, and some kernels tell.
expect_ok "add file id=0 path=/tmp/t/vfat/disk"
$BLKDISCARD -o 1048576 -l 1048576 /dev/ublkb0 2>/tmp/t/discard ||
	grep -q "not supported" /tmp/t/discard || fail "$(cat /tmp/t/discard)"
cmp -n 33554432 /tmp/t/random /dev/ublkb0 || fail "a discard has changed data"
$BLKDISCARD -z -o 1048576 -l 1048576 /dev/ublkb0 || fail "cannot zero"
dd if=/dev/ublkb0 bs=1M skip=1 count=1 iflag=direct 2>/dev/null |
	cmp -n 1048576 - /dev/zero || fail "not zero"
expect_ok "del 0"
umount /tmp/t/ext4 /tmp/t/xfs /tmp/t/vfat
