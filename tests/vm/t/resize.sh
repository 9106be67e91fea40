#!/bin/sh
# Another size for a live disk: it grows under a load that verifies and under a
# mounted file system, shrinks and gives its memory back, and has the same size
# for the next server. Where the kernel cannot, nothing changes.
#
# sanitizers: long
# needs: binaries fio mkfs.ext4 resize2fs e2fsck
# needs: modules ext4
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: memory 1024
# needs: files tests/vm/lib-size.sh:/t/lib-size.sh
# time: 300
. /t/lib.sh
# shellcheck source=tests/vm/lib-size.sh
. /t/lib-size.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio mkfs.ext4 resize2fs e2fsck

MNT=/tmp/t/mnt

# used: bytes of memory that the disk takes
used()
{
	ask "show 0" | sed -n 's/^dev .* used=\([0-9]*\).*/\1/p'
}

# Where the kernel cannot, it is said and nothing changes.
old_kernel()
{
	expect_err unsupported "resize 0 size=32M"
	echo "$STATUS"
	echo "$STATUS" | grep -q 'update-size (Linux 6.16' || fail "$STATUS"
	has_size 16777216 "add ram id=0 size=16M"
	expect_ok "del 0"
	exit 0
}

under_load()
{
	load ublkb0 --rw=randwrite --bsrange=4k-64k --verify=crc32c \
		--verify_backlog=64 --size=16M
	for size in 24M 40M 64M 200M; do
		expect_ok "resize id=0 size=$size"
		sleep 0.3
	done
	has_size 209715200 "add ram id=0 size=200M"
	# What is new can be written, and reads as zeroes before.
	cmp -n 1048576 -s /dev/zero /dev/ublkb0 2>/dev/null && fail "no data"
	dd if=/dev/ublkb0 bs=1M skip=199 count=1 iflag=direct 2>/dev/null |
		cmp -s -n 1048576 - /dev/zero || fail "what is new is not zero"
	dd if=/dev/urandom of=/tmp/t/data bs=1M count=1 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb0 bs=1M seek=199 oflag=direct \
		2>/dev/null || fail "the last MiB cannot be written"
	kill_server
	has_size 209715200 "add ram id=0 size=200M"
	load_ends
	dd if=/dev/ublkb0 bs=1M skip=199 count=1 iflag=direct 2>/dev/null |
		cmp - /tmp/t/data || fail "the last MiB is lost"
	# The same words answer that it is there, the old ones do not.
	expect_ok "add ram id=0 size=200M"
	expect_err exists "add ram id=0 size=16M"
}

shrink()
{
	dd if=/dev/urandom of=/dev/ublkb0 bs=1M count=64 oflag=direct 2>/dev/null
	before=$(used)
	expect_ok "resize 0 size=8M"
	has_size 8388608 "add ram id=0 size=8M"
	echo "shrunk: used=$before then $(used)"
	[ "$(used)" = 8388608 ] || fail "used=$(used) after the shrinking"
	! dd if=/dev/zero of=/dev/ublkb0 bs=4k seek=2048 count=1 oflag=direct \
		2>/dev/null || fail "a write behind the end was done"
	md5sum /dev/ublkb0 >/tmp/t/sum
	kill_server
	has_size 8388608 "add ram id=0 size=8M"
	md5sum -c /tmp/t/sum >/dev/null || fail "data changed"
	# Grown again there is nothing of what was there.
	expect_ok "resize 0 size=32M"
	dd if=/dev/ublkb0 bs=1M skip=8 iflag=direct 2>/dev/null |
		cmp -s -n 25165824 - /dev/zero || fail "old data are back"
	# A load whose end is cut off gets errors, and nobody hangs.
	fio --name=c --filename=/dev/ublkb0 --rw=randwrite --direct=1 \
		--ioengine=libaio --iodepth=16 --bs=4k --size=32M \
		--time_based --runtime=60 >/tmp/t/fio.log 2>&1 &
	cut=$!
	wait_for 20 '[ "$(inflight ublkb0)" -gt 0 ]' || fail "no load"
	expect_ok "resize 0 size=4M"
	wait_for 20 "! alive $cut" || fail "a load behind the end goes on"
	has_size 4194304 "add ram id=0 size=4M"
	dd if=/dev/ublkb0 of=/dev/null bs=1M iflag=direct 2>/dev/null ||
		fail "what is left cannot be read"
	expect_ok "del 0"
}

mounted()
{
	expect_ok "add ram id=0 size=32M"
	mount_ext4 /dev/ublkb0 $MNT
	cp /bin/busybox $MNT/first
	expect_ok "resize 0 size=128M"
	resize2fs /dev/ublkb0 >/tmp/t/resize2fs 2>&1 ||
		fail "$(cat /tmp/t/resize2fs)"
	blocks=$(df -k $MNT | awk 'NR == 2 { print $2 }')
	echo "ext4 has $blocks KiB of 131072"
	[ "$blocks" -gt 100000 ] || fail "the file system has $blocks KiB"
	dd if=/dev/urandom of=$MNT/second bs=1M count=64 2>/dev/null ||
		fail "no room for 64 MiB"
	(cd $MNT && md5sum first second >/tmp/t/sums)
	kill_server
	umount $MNT
	e2fsck -fn /dev/ublkb0 >/tmp/t/fsck 2>&1 || fail "$(cat /tmp/t/fsck)"
	mount /dev/ublkb0 $MNT
	(cd $MNT && md5sum -c /tmp/t/sums >/dev/null) || fail "files differ"
	umount $MNT
	expect_ok "del 0"
}

start_ublkd
expect_ok "add ram id=0 size=16M"
case $(uname -r) in
6.*) old_kernel ;;
esac
under_load
shrink
mounted

# null has nothing to make larger.
expect_ok "add null id=0 size=1G"
expect_ok "resize 0 size=2T"
[ "$(kernel_size)" = 2199023255552 ] || fail "null has $(kernel_size)"
dd if=/dev/ublkb0 bs=1M skip=2097151 count=1 iflag=direct 2>/dev/null |
	cmp -s -n 1048576 - /dev/zero || fail "null is not zero"
expect_ok "del 0"
