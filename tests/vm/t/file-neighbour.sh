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

AT_ONCE=64
MOST=512
FROZEN=/tmp/t/frozen
OTHER=/tmp/t/other

# write_to ID: one block, directly
write_to()
{
	dd if=/tmp/t/block of="/dev/ublkb$1" bs=4k count=1 oflag=direct \
		2>"/tmp/t/dd$1" &&
		: >"/tmp/t/done$1"
}

# find_waiting: sets $waiting to the devices from 1 to $count that have a request
find_waiting()
{
	waiting=$(for id in $(seq "$count"); do
		[ "$(inflight "ublkb$id")" = 0 ] || echo "$id"
	done)
	waited=$(echo "$waiting" | wc -w)
}

# add_more DIRECT: some more devices. One that is made while a file system is frozen
# may wait in a line as well.
add_more()
{
	for id in $(seq $((count + 1)) $((count + AT_ONCE))); do
		expect_ok "add file id=$id path=$OTHER/$id create=yes size=64K \
			block-size=4096 direct=$1"
	done
	count=$((count + AT_ONCE))
}

# write_to_all: beside a write that is held; what does not wait is done
write_to_all()
{
	rm -f /tmp/t/done* /tmp/t/dd*
	fsfreeze --freeze $FROZEN
	write_to 0 &
	wait_for 10 '[ "$(inflight ublkb0)" = 1 ]' || fail "it is not held"
	for id in $(seq "$count"); do
		write_to "$id" &
	done
	# A look takes some seconds in itself.
	for _ in 1 2 3 4 5; do
		find_waiting
		[ "$waited" != 0 ] || break
		sleep 1
	done
	echo "$waited of $count wait for the other file system"
}

# thaw: what has waited is done
thaw()
{
	[ ! -e /tmp/t/done0 ] || fail "it was not held"
	fsfreeze --unfreeze $FROZEN
	wait_for 20 '[ "$(find /tmp/t -name "done*" | wc -l)" = $((count + 1)) ]' ||
		fail "they do not go on: $(tail -n 1 /tmp/t/dd*)"
}

# judge ID: sets $judged to what the device is said to wait for
judge()
{
	expect_ok "inspect $1"
	judged=$(echo "$REPLY" | grep "^verdict id=$1 ")
}

# beside_frozen DIRECT LEAST: until so many wait. Sets $waited, $count and $judged.
beside_frozen()
{
	echo "-- direct=$1"
	count=0
	add_more "$1"
	write_to_all
	while [ "$waited" -lt "$2" ] && [ $count -lt $MOST ]; do
		thaw
		add_more "$1"
		write_to_all
	done
	sleep 2 # what is younger than a second is not explained
	for id in 0 $(echo "$waiting" | head -n 1); do
		judge "$id"
		echo "$judged"
	done
	thaw
	for id in $(seq "$count"); do
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
beside_frozen no 1
[ "$waited" -ge 1 ] || fail "none waits: there are no such lines"
case $judged in
*" $OTHER (ext4) is frozen: "*"; or another device's is, in whose line"*) ;;
*) fail "which of two file systems is frozen nobody knows: $judged" ;;
esac
[ "$waited" -le $((count / 8)) ] || fail "more than share a line"
beside_frozen yes 0
[ "$waited" = 0 ] || fail "there is no such line"
expect_ok "del 0"
umount $FROZEN $OTHER
