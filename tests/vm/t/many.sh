#!/bin/sh
# 64 RAM disks are added by 64 clients at once, then by one that does not wait
# for answers: all are there, all work, and one task serves them. Disks that
# nobody uses take little memory, and what they took comes back with them.
#
# sanitizers: long
# needs: binaries mkfs.ext4
# needs: modules ext4 brd
# needs: memory 2048
# time: 240
. /t/lib.sh

COUNT=64
# KiB of PSS: of a disk, of two queues with a ring and 128 requests each; and what
# all together may leave behind, of the heap, and of code that has been used once.
EACH=48
LEFT=512

# answered START: each command with an OK that begins so.
answered()
{
	[ "$(cat /tmp/t/reply.* | grep -c "^OK $1")" = $COUNT ] || {
		cat /tmp/t/reply.*
		fail "not every $1 was answered with OK"
	}
	rm /tmp/t/reply.*
}

# at_once COMMAND: from a client each, whose number follows.
at_once()
{
	clients=''
	for i in $(seq 0 $((COUNT - 1))); do
		ask "$1$i" >"/tmp/t/reply.$i" &
		clients="$clients $!"
	done
	# shellcheck disable=SC2086 # process ids
	wait $clients || fail "a client was not served"
}

# pipelined COMMAND: all through one connection.
pipelined()
{
	for i in $(seq 0 $((COUNT - 1))); do
		echo "$1" | sed "s/N/$i/g"
	done | socat -t 120 - "UNIX-CONNECT:$SOCK" >/tmp/t/reply.all
}

# listed COUNT: so many lines, of so many different live devices.
listed()
{
	expect_ok list
	[ "$(echo "$REPLY" | sed -n 's/^dev id=\([0-9]*\) .* state=live .*/\1/p' |
		sort -u | wc -l)" = "$1" ] || fail "$REPLY"
	[ "$(echo "$REPLY" | grep -c '^dev ')" = "$1" ] || fail "$REPLY"
}

# block N: what disk N gets as its first block.
block()
{
	printf 'this is disk %s' "$1" | dd bs=4096 conv=sync 2>/dev/null
}

# usable: all are written before any is read, so that mixed up ones show.
usable()
{
	for i in $(seq 0 $((COUNT - 1))); do
		block "$i" | dd of="/dev/ublkb$i" bs=4096 oflag=direct \
			iflag=fullblock 2>/dev/null || fail "cannot write disk $i"
	done
	for i in $(seq 0 $((COUNT - 1))); do
		text=$(dd if="/dev/ublkb$i" bs=4096 count=1 iflag=direct \
			2>/dev/null | tr -d '\0')
		[ "$text" = "this is disk $i" ] || fail "disk $i has '$text'"
	done
}

# one_task: the kernel's own io workers aside, one task serves all of it.
one_task()
{
	tasks=$(cat "/proc/$(server_pid)/task"/*/comm)
	echo "the server's tasks:" "$tasks"
	[ "$(echo "$tasks" | grep -vcE '^iou-(wrk|sqp)-')" = 1 ] ||
		fail "more than one task serves"
	[ "$(children "$KEEPER")" = "$(server_pid)" ] ||
		fail "the keeper has these: $(children "$KEEPER")"
}

# memory WHEN: of both processes; sets $both.
memory()
{
	both=$(pss_of_both)
	server=$(server_pid)
	echo "$1: PSS keeper $(pss "$KEEPER") KiB, server $(pss "$server") KiB," \
		"together $both KiB;" \
		"RSS keeper $(rss "$KEEPER") KiB, server $(rss "$server") KiB;" \
		"descriptors $(fds "$KEEPER") and $(fds "$server")"
}

# takes_little WHAT BEFORE: each of them, since both processes had BEFORE KiB.
takes_little()
{
	each=$(((both - $2) / COUNT))
	echo "$1 takes $each KiB"
	sanitized || [ $each -le $EACH ] ||
		fail "$1 takes $each KiB, not $EACH or less"
}

# The memory that they were used with is given back after some seconds.
files()
{
	make_ram_disks 1 131072
	mount_ext4 /dev/ram0 /tmp/t/mnt
	pipelined "@N add file id=N path=/tmp/t/mnt/N create=yes size=1M"
	answered @
	usable
	sleep 6
	memory "$COUNT files, idle"
	takes_little "a file" "$again"
	pipelined "@N del id=N"
	answered @
	umount /tmp/t/mnt
}

start_ublkd
memory "no device"
none=$both
begun=$(now)
at_once "add ram size=16M id="
answered id=
echo "added by $COUNT clients in $(($(now) - begun)) ms"
listed $COUNT
memory "$COUNT devices"
takes_little "a RAM disk" "$none"
one_task
usable
memory "$COUNT devices, used"
begun=$(now)
at_once "del id="
answered id=
echo "deleted by $COUNT clients in $(($(now) - begun)) ms"
listed 0
no_devices

# Numbers that ublkd chooses, and one connection.
begun=$(now)
pipelined "@N add ram size=16M"
answered @
echo "added through one connection in $(($(now) - begun)) ms"
listed $COUNT
usable
one_task
begun=$(now)
pipelined "@N del id=N"
answered @
echo "deleted through one connection in $(($(now) - begun)) ms"
listed 0
memory "no device again"
again=$both
echo "$((again - none)) KiB are left"
sanitized || [ $((again - none)) -le $LEFT ] ||
	fail "$((again - none)) KiB are left, not $LEFT or less"
files
