#!/bin/sh
# A file system that is frozen while a write waits for it, and devices on files of
# another one: of those that go through the page cache the kernel holds up a few,
# see CAVEATS of ublkd(8); they go on with the thaw. Past the page cache none waits.
#
# expect-kernel: INFO: task iou-wrk-
# needs: binaries mkfs.ext4 fsfreeze
# needs: modules ext4 brd
# needs: memory 1024
# time: 300
# size: long:file
. /t/lib.sh

requires mkfs.ext4 fsfreeze

COUNT=128
FROZEN=/tmp/t/frozen
OTHER=/tmp/t/other

# write_to ID: one block, directly
write_to()
{
	dd if=/tmp/t/block of="/dev/ublkb$1" bs=4k count=1 oflag=direct \
		2>"/tmp/t/dd$1" &&
		: >"/tmp/t/done$1"
}

# waiting: devices 1 to $COUNT that have a request
waiting()
{
	for id in $(seq $COUNT); do
		[ "$(inflight "ublkb$id")" = 0 ] || echo "$id"
	done | wc -l
}

# beside_frozen DIRECT: sets $waited
beside_frozen()
{
	rm -f /tmp/t/done* /tmp/t/dd*
	for id in $(seq $COUNT); do
		expect_ok "add file id=$id path=$OTHER/$id create=yes size=64K \
			block-size=4096 direct=$1"
	done
	fsfreeze --freeze $FROZEN
	write_to 0 &
	wait_for 10 '[ "$(inflight ublkb0)" = 1 ]' || fail "it is not held"
	for id in $(seq $COUNT); do
		write_to "$id" &
	done
	# A look takes some seconds in itself.
	for _ in 1 2 3 4 5; do
		waited=$(waiting)
		[ "$waited" != 0 ] || break
		sleep 1
	done
	echo "direct=$1: $waited of $COUNT wait for the other file system"
	[ ! -e /tmp/t/done0 ] || fail "it was not held"
	fsfreeze --unfreeze $FROZEN
	wait_for 20 '[ "$(find /tmp/t -name "done*" | wc -l)" = $((COUNT + 1)) ]' ||
		fail "they do not go on: $(tail -n 1 /tmp/t/dd*)"
	for id in $(seq $COUNT); do
		cmp -n 4096 /tmp/t/block "/dev/ublkb$id" || fail "$id has lost it"
		expect_ok "del $id"
		rm "$OTHER/$id"
	done
}

make_ram_disks 2 65536
mount_ext4 /dev/ram0 $FROZEN
mount_ext4 /dev/ram1 $OTHER
tr '\0' x </dev/zero | head -c 4096 >/tmp/t/block
start_ublkd
expect_ok "add file id=0 path=$FROZEN/disk create=yes size=64K"
beside_frozen no
[ "$waited" -le $((COUNT / 8)) ] || fail "more than share a line"
beside_frozen yes
[ "$waited" = 0 ] || fail "there is no such line"
expect_ok "del 0"
umount $FROZEN $OTHER
