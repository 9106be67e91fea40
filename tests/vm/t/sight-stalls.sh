#!/bin/sh
# What stands still is named rightly by one command: for each planted stall the
# verdict of inspect, or of stuck. What the kernel shows of it is there as well,
# and who holds a disk. An inspection waits for nobody.
#
# needs: binaries mkfs.ext4 dmsetup fsfreeze fuse-file
# needs: modules ext4 brd dm-mod dm-crypt xts
# size: default long:sight
# time: 200
. /t/lib.sh

requires mkfs.ext4 dmsetup fsfreeze

MNT=/tmp/t/mnt
OTHER=/tmp/t/other.sock
FILES=/tmp/t/files
served='' # the process that serves the other ublkd's disk, or FILES

# write_to DISK [COUNT]: that many direct writes, one a process, in the background
write_to()
{
	send_to "$@"
	wait_for 10 "[ \"\$(inflight $1)\" -ge ${2:-1} ]" ||
		misjudged "$(inflight "$1") of ${2:-1} writes are in flight"
	sleep 1.2
}

# send_to DISK [COUNT]: the same, and they may be held before they are in flight
send_to()
{
	blocks=0
	while [ $blocks -lt "${2:-1}" ]; do
		blocks=$((blocks + 1))
		dd if=/dev/zero of="/dev/$1" bs=4096 count=1 seek=$blocks \
			oflag=direct 2>/dev/null &
	done
}

# misjudged MESSAGE: what stands still would keep the test from ending.
misjudged()
{
	dmsetup resume slow0 || true
	[ -z "$served" ] || kill -CONT "$served" || true
	! fsfreeze --unfreeze $MNT 2>/dev/null || true
	fail "$1"
}

# judged ID PATTERN: the device's verdict has that, both of inspect and of stuck.
judged()
{
	expect_ok "stuck"
	echo "$REPLY" | grep "^verdict id=$1 " | grep -q "$2" ||
		misjudged "stuck: not '$2': $REPLY"
	expect_ok "inspect $1"
	echo "$REPLY"
	echo "$REPLY" | grep "^verdict id=$1 " | grep -q "$2" ||
		misjudged "inspect: not '$2': $REPLY"
}

# shows PATTERN: the last inspection has such a line.
shows()
{
	echo "$REPLY" | grep -q "$1" || misjudged "it does not show '$1'"
}

# all_done: what was held is done
all_done()
{
	for disk in /sys/block/ublkb*; do
		wait_for 10 "[ \"\$(inflight ${disk##*/})\" = 0 ]" ||
			fail "${disk##*/} has requests in flight"
	done
}

suspended()
{
	expect_ok "add file id=0 path=/dev/dm-0 stuck-after=2s"
	echo "watch stall" | socat -t 600 - "UNIX:$SOCK" >/tmp/t/stalls &
	watcher=$!
	dmsetup suspend --noflush --nolockfs slow0
	write_to ublkb0 3
	judged 0 'dm-0 (slow0) behind it is suspended'
	shows '^place id=0 name=backing-write count=3 op=write '
	shows '^kernel id=0 reads=0 writes=3 '
	shows '^blk-mq id=0 busy=3 '
	shows '^task id=0 pid=[0-9]* comm=dd state=D wchan='
	shows '^behind id=0 disk=dm-0 .*mapper=slow0 suspended=yes'
	shows '^holder id=0 text="opened by dd, process '
	expect_ok "inspect 0 tags=yes"
	[ "$(echo "$REPLY" | grep -c '^tag id=0 .* place=backing-write ')" = 3 ] ||
		misjudged "not three tags: $REPLY"
	wait_for 10 'grep -q "ublkb0 is stuck: .*is suspended" "$LOG"' ||
		misjudged "the log does not tell"
	dmsetup resume slow0
	all_done
	wait_for 10 'grep -q "ublkb0 is not stuck any more" "$LOG"' ||
		fail "the log does not tell the end"
	[ "$(grep -c "ublkb0 is stuck" "$LOG")" = 1 ] || fail "it tells more than once"
	kill $watcher
	[ "$(sed -n 's/^EVENT .* stall id=0 .*stuck=//p' /tmp/t/stalls)" = "yes
no" ] || fail "who watches was told: $(cat /tmp/t/stalls)"
	expect_ok "trace 0"
	shows 'stuck'
	expect_ok "inspect 0"
	shows '^verdict id=0 verdict="no request waits"'
	expect_ok "stuck"
	! echo "$REPLY" | grep -q "^dev " || fail "it is stuck no longer: $REPLY"
	expect_ok "del 0"
}

frozen()
{
	expect_ok "add file id=0 path=$MNT/disk create=yes size=16M"
	fsfreeze --freeze $MNT
	write_to ublkb0
	judged 0 "the file system on $MNT (ext4) is frozen"
	fsfreeze --unfreeze $MNT
	all_done
	expect_ok "del 0"
}

layers()
{
	expect_ok "add ram id=0 size=16M"
	# The kernel has looked for partitions once somebody can read.
	dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 2>/dev/null ||
		fail "ublkb0 cannot be read"
	expect_ok "set 0 limit-iops=1"
	send_to ublkb0 6
	sleep 2
	judged 0 "for the layer limit, .*set 0 limit-iops=0"
	expect_ok "set 0 limit-iops=0"
	all_done
	expect_ok "set 0 delay-time=300s"
	write_to ublkb0 2
	judged 0 "2 requests wait for the layer delay, .*set 0 delay-time=0"
	expect_ok "set 0 delay-time=0"
	all_done
	expect_ok "del 0"
}

# A write that the server left in the disk when it died has not ended yet.
dead_server()
{
	expect_ok "add file id=0 path=/dev/dm-0"
	dmsetup suspend --noflush --nolockfs slow0
	write_to ublkb0
	kill -9 "$(server_pid)"
	wait_for 30 'ask list | grep -q "waits-for=dead-server"' ||
		misjudged "it does not wait: $(ask list)"
	judged 0 "it waits for the end of the server before"
	dmsetup resume slow0
	await_live 0
	all_done
	expect_ok "del 0"
}

# Its file is not there when the next ublkd wants it.
lost()
{
	truncate -s 16M $MNT/disk
	expect_ok "add file id=0 path=$MNT/disk"
	kill_both
	mv $MNT/disk $MNT/elsewhere
	start_ublkd
	wait_for 30 'ask list | grep -q "state=quiesced.*error="' ||
		fail "it does not miss its file: $(ask list)"
	send_to ublkb0
	sleep 1
	judged 0 "nobody serves it: .*$MNT/disk.*No such file.*; 1 request waits"
	mv $MNT/elsewhere $MNT/disk
	await_live 0
	all_done
	expect_ok "del 0"
}

# A file server that is gone: nobody waits for it but the device's requests.
file_server()
{
	mkdir -p $FILES
	fuse-file $FILES 16 &
	served=$!
	wait_for 10 "[ -e $FILES/disk ]" || fail "no file system"
	dd if=$FILES/disk of=/dev/null count=0 2>/dev/null # the first close
	expect_ok "add file id=0 path=$FILES/disk"
	dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 2>/dev/null ||
		fail "ublkb0 cannot be read"
	sleep 1
	kill -STOP "$served"
	write_to ublkb0 2
	judged 0 "2 requests wait for $FILES/disk, .*; $FILES is a fuse, whose server does not answer"
	[ "$(field took | tr -d ms)" -lt 3000 ] ||
		misjudged "it waits for the file server: $STATUS"
	shows "^behind id=0 mount=$FILES kind=fuse"
	kill -CONT "$served"
	all_done
	expect_ok "del 0"
	umount $FILES
	wait "$served" || fail "the file server has failed"
	served=''
}

# A disk of another server, all of whose tags are taken.
other_server()
{
	ublkd --foreground --socket $OTHER </dev/null >/tmp/t/other.log 2>&1 &
	other=$!
	wait_for 30 "[ -S $OTHER ]" || fail "the other ublkd does not start"
	SOCK=$OTHER expect_ok "add ram id=5 size=16M"
	served=$(children $other | head -n 1)
	expect_ok "add file id=0 path=/dev/ublkb5 queues=1 depth=4"
	# The kernel has looked for partitions once somebody can read.
	dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 2>/dev/null ||
		fail "ublkb0 cannot be read"
	sleep 1
	kill -STOP "$served"
	write_to ublkb0 4
	judged 0 "ublkb5 behind it is served by .*process $served, which is stopped: 'kill -CONT $served'"
	echo "$REPLY" | grep "^verdict " | grep -q "all 4 tags are taken" ||
		misjudged "not that no tag is left: $REPLY"
	kill -CONT "$served"
	all_done
	expect_ok "del 0"
	SOCK=$OTHER expect_ok "shutdown"
	wait_for 20 "! alive $other" || fail "the other ublkd does not end"
}

# stacked NAME TABLE: a device mapper on the disk is what holds it.
stacked()
{
	echo "$2" | dmsetup create --noudevsync "$1"
	dmsetup mknodes "$1"
	dd if=/dev/zero of="/dev/mapper/$1" bs=4096 count=16 oflag=direct \
		2>/dev/null || fail "$1 cannot be filled"
	expect_err busy "del 0"
	echo "$STATUS" | grep -q "held by dm-" || fail "$1: $STATUS"
	expect_ok "inspect 0"
	shows '^holder id=0 text="held by dm-'
	dmsetup remove --noudevsync "$1"
}

holders()
{
	expect_ok "add ram id=0 size=16M"
	stacked linear0 "0 16384 linear /dev/ublkb0 0"
	stacked crypt0 "0 16384 crypt aes-xts-plain64 \
$(printf '%0128d' 1) 0 /dev/ublkb0 0"
	expect_ok "del 0"
}

make_ram_disks 2 65536
echo "0 131072 linear /dev/ram0 0" | dmsetup create --noudevsync slow0
mount_ext4 /dev/ram1 $MNT
start_ublkd
suspended
frozen
layers
lost
dead_server
other_server
served=''
file_server
holders
umount $MNT
dmsetup remove --noudevsync slow0
