#!/bin/sh
# A device is deleted by force under load: its user gets errors and ends, the
# daemon and the other devices go on, and its number can be used again.
#
# sanitizers: long
# needs: binaries fio
# expect-kernel: Buffer I/O error on dev ublkb0,
# needs: files tests/vm/lib-watch.sh:/t/lib-watch.sh
# time: 240
. /t/lib.sh
# shellcheck source=tests/vm/lib-watch.sh
. /t/lib-watch.sh

requires fio

# load DISK FIO-ARG...: until an error ends it; its status is then in
# /tmp/t/load. A disk that has gone must not become a file in /dev.
load()
{
	rm -f /tmp/t/load
	disk=$1
	shift
	(
		status=0
		fio --name=load --allow_file_create=0 --ioengine=libaio \
			--time_based --runtime=3000 --filename="$disk" "$@" \
			>/tmp/t/load.log 2>&1 || status=$?
		echo $status >/tmp/t/load
	) &
}

# bystander DISK: verifies again and again until /tmp/t/enough is there; the
# rounds that went well are counted in /tmp/t/rounds. It always has something to
# do, and leaves most of the CPUs to the others.
bystander()
{
	rm -f /tmp/t/enough /tmp/t/rounds /tmp/t/bystander
	(
		status=0 rounds=0
		while [ ! -e /tmp/t/enough ] && [ $status = 0 ]; do
			fio --name=bystander --filename="$1" --rw=randwrite \
				--allow_file_create=0 --size=2M --bs=4k \
				--direct=1 --ioengine=libaio --iodepth=16 \
				--rate_iops=300,300 \
				--verify=crc32c --verify_fatal=1 \
				>/tmp/t/bystander.log 2>&1 || status=$?
			rounds=$((rounds + 1))
			echo $rounds >/tmp/t/rounds
		done
		echo $status >/tmp/t/bystander
	) &
}

rounds()
{
	cat /tmp/t/rounds 2>/dev/null || echo 0
}

writes()
{
	awk '{ print $5 }' /sys/block/ublkb0/stat
}

# forced: once, in the midst of requests. The load is the disk's own.
forced()
{
	expect_ok "add ram size=32M id=0"
	load /dev/ublkb0 --rw=randrw --direct=1 --bs=4k --iodepth=64 --numjobs=2
	wait_for 10 '[ "$(writes)" -gt 100 ]' || fail "no load"
	expect_err busy "del id=0"
	begun=$(now)
	expect_ok "del id=0 force=yes"
	deleted=$(($(now) - begun))
	[ ! -e /dev/ublkb0 ] || fail "the disk is still there"
	wait_for 10 '[ -e /tmp/t/load ]' || {
		dump_state
		fail "fio has not ended"
	}
	[ "$(cat /tmp/t/load)" != 0 ] || fail "fio saw no error"
	grep -qE 'error=|err= *[1-9]' /tmp/t/load.log ||
		fail "$(cat /tmp/t/load.log)"
	echo "deleted after $deleted ms, fio ended after $(($(now) - begun)) ms"
	[ "$(server_pid)" = "$server" ] || fail "the server is another one now"
	expect_ok "show id=1"
	[ "$(field state)" = live ] || fail "$REPLY"
}

# A buffered writer has dirty pages that nobody will take.
forced_buffered()
{
	expect_ok "add ram size=32M id=0"
	load /dev/ublkb0 --rw=write --direct=0 --bs=64k --fsync=64
	exec 9<>/dev/ublkb0
	wait_for 10 '[ "$(writes)" -gt 100 ]' || fail "no load"
	expect_ok "del id=0 force=yes"
	wait_for 10 '[ -e /tmp/t/load ]' || fail "the writer has not ended"
	[ "$(cat /tmp/t/load)" != 0 ] || fail "the writer saw no error"
	# A dead disk is empty, and does not make its reader wait.
	dd bs=4k count=1 <&9 2>/dev/null >/tmp/t/read &
	wait_for 5 "! alive $!" || fail "the dead disk makes a reader wait"
	[ ! -s /tmp/t/read ] || fail "the dead disk can be read"
	# Nor is its number free, and nobody waits to find out.
	expect_err exists "add ram size=16M id=0"
	exec 9<&-
}

# again: the number is free now that nobody has the dead disk open.
again()
{
	expect_ok "add ram size=16M id=0"
	dd if=/dev/urandom of=/tmp/t/data bs=1M count=1 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb0 bs=64k oflag=direct 2>/dev/null
	dd if=/dev/ublkb0 bs=64k count=16 iflag=direct 2>/dev/null |
		cmp - /tmp/t/data || fail "the new disk has other data"
	expect_ok "del id=0"
}

start_ublkd
watch_d_state 5
server=$(server_pid)
expect_ok "add ram size=16M id=1"
bystander /dev/ublkb1
for _ in 1 2 3; do
	forced
	again
done
forced_buffered
again
after=$(($(rounds) + 2))
wait_for 20 "[ \$(rounds) -ge $after ]" || fail "the other disk has come to a stop"
touch /tmp/t/enough
wait_for 20 '[ -e /tmp/t/bystander ]' || fail "the other fio hangs"
[ "$(cat /tmp/t/bystander)" = 0 ] || {
	cat /tmp/t/bystander.log
	fail "the other disk had an error"
}
echo "the other disk went through $(rounds) rounds meanwhile"
expect_ok "del id=1"
nothing_was_stuck
