#!/bin/sh
# Another size for a device on a file: the file is made longer and never
# shorter, a file or a disk that has grown is picked up, and the next server
# has the same size.
#
# sanitizers: long
# needs: binaries mkfs.ext4 resize2fs
# needs: modules ext4 brd loop
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: kernel 7.x
# time: 120
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires mkfs.ext4

MNT=/tmp/t/mnt
MEM=/tmp/t/mem

# has BYTES [ID]: the device's size, for everybody
has()
{
	size=$(($(cat "/sys/block/ublkb${2:-0}/size") * 512))
	[ "$size" = "$1" ] || fail "the kernel has $size, not $1"
	expect_ok "show ${2:-0}"
	[ "$(field size)" = "$1" ] || fail "not $1: $REPLY"
}

# put BLOCK: something into a block of 4096 bytes
put()
{
	dd if=/tmp/t/random of=/dev/ublkb0 bs=4096 count=1 seek="$1" \
		oflag=direct conv=fsync 2>/dev/null || fail "no write at $1"
}

# is_in FILE BLOCK
is_in()
{
	dd if="$1" bs=4096 count=1 skip="$2" 2>/dev/null |
		cmp - /tmp/t/random || fail "block $2 of $1 is something else"
}

# follows FILE: up and down, and what a kill makes of it.
follows()
{
	expect_ok "add file id=0 path=$1 size=8M create=yes"
	put 2047
	expect_ok "resize 0 size=32M"
	has 33554432
	[ "$(stat -c %s "$1")" = 33554432 ] || fail "$1 is not longer"
	put 8191
	is_in "$1" 8191
	is_in /dev/ublkb0 2047
	expect_ok "resize 0 size=4M"
	has 4194304
	[ "$(stat -c %s "$1")" = 33554432 ] || fail "$1 was cut short"
	! dd if=/dev/ublkb0 of=/dev/null bs=4096 skip=1024 count=1 \
		iflag=direct 2>/dev/null | grep -q . || fail "there is more"
	sleep 1.1
	server=$(server_pid)
	kill -9 "$server"
	wait_for 30 has_next || fail "there is no next server"
	has 4194304
	expect_ok "resize 0 size=auto"
	has 33554432
	is_in /dev/ublkb0 8191
	truncate -s 40M "$1"
	expect_ok "resize 0 size=auto"
	has 41943040
	put 10239
	is_in "$1" 10239
	expect_ok "del 0"
	rm "$1"
}

head -c 4096 /dev/urandom >/tmp/t/random
# What a failed test before this one has left.
umount $MNT $MEM 2>/dev/null || true
losetup -d /dev/loop0 2>/dev/null || true
make_ram_disks 2 131072
mkdir -p $MEM
mount -t tmpfs -o size=96M tmpfs $MEM
mount_ext4 /dev/ram0 $MNT
start_ublkd

follows $MEM/disk
follows $MNT/disk

# A part of a file, and a file that may not be written to.
truncate -s 16M $MNT/disk
expect_ok "add file id=0 path=$MNT/disk offset=1M size=1M"
expect_ok "resize 0 size=auto"
has 15728640
expect_ok "del 0"
expect_ok "add file id=0 path=$MNT/disk ro=yes size=8M"
expect_ok "resize 0 size=16M"
expect_err range "resize 0 size=17M"
echo "$STATUS"
has 16777216
expect_ok "del 0"

# A full or frozen file system: an error, or a wait that nobody else shares.
expect_ok "add file id=0 path=$MNT/disk"
expect_ok "add null id=1 size=1M"
fsfreeze --freeze $MNT
ask "resize 0 size=20M" >/tmp/t/answer &
asker=$!
sleep 0.5
ask "show 1" | grep -q '^dev id=1 .*state=live' || fail "the server waits"
dd if=/dev/ublkb1 of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null ||
	fail "another device waits"
! grep -q '^OK' /tmp/t/answer || fail "it was made longer while frozen"
fsfreeze --unfreeze $MNT
wait $asker
grep -q '^OK' /tmp/t/answer || fail "$(cat /tmp/t/answer)"
has 20971520
request "resize 0 size=1P"
case $STATUS in ERR*) ;; *) fail "a file of 1P: $STATUS" ;; esac
echo "$STATUS"
has 20971520
expect_ok "del 0"

# Somebody else makes the file longer still at the same time, a second device on
# it for instance: nothing of that is cut off.
for _ in 1 2 3 4 5; do
	truncate -s 8M $MNT/disk
	expect_ok "add file id=0 path=$MNT/disk lock=no"
	exec 5<>$MNT/disk
	fsfreeze --freeze $MNT
	dd if=/tmp/t/random bs=4096 count=1 seek=10239 conv=notrunc \
		>&5 2>/dev/null &
	writer=$!
	sleep 0.5
	ask "resize 0 size=24M" >/tmp/t/answer &
	asker=$!
	sleep 0.5
	fsfreeze --unfreeze $MNT
	exec 5>&-
	wait $writer || fail "cannot write"
	wait $asker
	grep -q '^OK' /tmp/t/answer || fail "$(cat /tmp/t/answer)"
	has 25165824
	is_in $MNT/disk 10239
	expect_ok "del 0"
done

# Deleted by force while the file is being made longer: what is left of that is
# in the way of an upgrade as long as it lasts, and no longer.
expect_ok "add file id=0 path=$MNT/disk size=8M"
fsfreeze --freeze $MNT
ask "resize 0 size=80M" >/tmp/t/answer &
asker=$!
wait_for 10 'ask list | grep -q "id=0 .*waiting="' || fail "$(ask list)"
sleep 1
[ ! -s /tmp/t/answer ] || fail "it has an answer: $(cat /tmp/t/answer)"
expect_ok "del 0 force=yes"
wait $asker
grep -q '^ERR state' /tmp/t/answer || fail "$(cat /tmp/t/answer)"
expect_err busy upgrade
echo "$STATUS" | grep -q "made longer" || fail "$STATUS"
fsfreeze --unfreeze $MNT
wait_for 10 'ask upgrade | grep -q "^OK"' || fail "$(ask upgrade)"
wait_for 10 ublkd_answers || fail "the next server does not answer"
expect_ok "del 1"

# A disk has the size that it has. The file has got its 80 MiB after all.
truncate -s 24M $MNT/disk
losetup /dev/loop0 $MNT/disk
expect_ok "add file id=0 path=/dev/loop0"
expect_err range "resize 0 size=64M"
echo "$STATUS"
truncate -s 64M $MNT/disk
losetup -c /dev/loop0
expect_ok "resize 0 size=auto"
has 67108864
put 16383
is_in $MNT/disk 16383
expect_ok "del 0"
losetup -d /dev/loop0
