#!/bin/sh
# A flush that failed is not forgotten by whoever serves the device next; and the
# errno of a durable write that the next flush is to tell is told by it, once.
#
# sanitizers: long
# needs: binaries dmsetup fio
# needs: modules brd dm-mod
# expect-kernel: Buffer I/O error on dev
# time: 120
. /t/lib.sh

requires dmsetup fio

# turn_to TARGET: the disk is that now
turn_to()
{
	dmsetup suspend --noflush --nolockfs disk
	echo "0 65536 $1" | dmsetup load disk
	dmsetup resume disk
}

# flushed: a block is written, and then all is flushed
flushed()
{
	dd if=/dev/zero of=/dev/ublkb0 bs=4096 count=1 oflag=direct conv=fsync \
		2>/dev/null
}

# durable: a block is written so
durable()
{
	fio --name=f --filename=/dev/ublkb0 --rw=write --bs=4k --size=4k \
		--ioengine=psync --direct=1 --sync=dsync >/tmp/t/fio 2>&1
}

# fails HOW: done so while the disk is broken, which is mended then
fails()
{
	turn_to error
	! "$1" || fail "no error of what is $1"
	errors=$((errors + 1))
	remembers "before"
	turn_to "linear /dev/ram0 0"
}

# remembers: soon, and what it has to
remembers()
{
	await_live 0
	ask "show 0" | grep -q "flush-errors=$errors\b" ||
		fail "$1: $(ask "show 0")"
}

# next_one: serves the device; nobody flushes it
next_one()
{
	"$1"
	remembers "$1"
}

make_ram_disks 1 32768
echo "0 65536 linear /dev/ram0 0" | dmsetup create --noudevsync disk
start_ublkd
expect_ok "add file id=0 path=/dev/dm-0 direct=no"
errors=0
remembers "at first"

for event in upgraded restarted kill_server keeper_killed both_killed; do
	echo "- a flush that failed: $event"
	fails flushed
	flushed || fail "a second error"
	next_one $event
done

for event in upgraded restarted kill_server keeper_killed both_killed; do
	echo "- a durable write that failed: $event"
	fails durable
	next_one $event
	! flushed || fail "a flush that should tell it"
	flushed || fail "it is told twice"
	remembers "after"
done
expect_ok "del 0"
dmsetup remove --noudevsync disk
