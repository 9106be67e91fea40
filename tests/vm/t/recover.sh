#!/bin/sh
# The server is killed again and again under fio with verification and under a
# mounted file system: nobody sees an error, and not a byte is lost.
#
# needs: binaries fio mkfs.ext4 e2fsck
# needs: modules ext4
# needs: memory 1536
# time: 240
. /t/lib.sh

requires fio mkfs.ext4

KILLS=${KILLS:-8}

# kill_server: returns when the next one is there. One that lived for less
# than a second would be replaced later.
kill_server()
{
	sleep 1.1
	server=$(server_pid)
	kill -9 "$server"
	wait_for 10 'has_next' || fail "there is no next server"
}

has_next()
{
	next=$(server_pid)
	[ -n "$next" ] && [ "$next" != "$server" ]
}

# moves DISK: it completes requests.
moves()
{
	before=$(cat "/sys/block/$1/stat")
	wait_for 10 "[ \"\$(cat /sys/block/$1/stat)\" != '$before' ]" || {
		dump_state
		fail "$1 does not go on"
	}
}

under_fio()
{
	expect_ok "add ram size=96M queues=2"
	fio --name=v --filename=/dev/ublkb0 --rw=randwrite --bsrange=4k-64k \
		--direct=1 --ioengine=libaio --iodepth=32 --verify=crc32c \
		--verify_backlog=512 --size=96M --time_based \
		--runtime=900 >/tmp/t/fio.log 2>&1 &
	writer=$!
	for _ in $(seq "$KILLS"); do
		kill_server
		moves ublkb0
	done
	# It says 128 when it was told to end.
	kill -INT $writer
	wait $writer || [ $? = 128 ] || fail "$(tail -n 30 /tmp/t/fio.log)"
	grep -q ' err= 0' /tmp/t/fio.log || fail "$(head -n 30 /tmp/t/fio.log)"
	expect_ok "list"
	[ "$(field state)" = live ] || fail "$REPLY"
	expect_ok "del id=0"
}

# With every tag held. At random places, or the block layer would merge requests
# while they wait for a tag.
all_in_flight()
{
	expect_ok "add ram size=16M queues=1 depth=16"
	dd if=/dev/urandom of=/tmp/t/data bs=1M count=16 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb0 bs=1M oflag=direct 2>/dev/null
	for _ in 1 2 3; do
		server=$(server_pid)
		kill -STOP "$server"
		rm -f /tmp/t/ended
		(fio --name=r --filename=/dev/ublkb0 --rw=randread --direct=1 \
			--ioengine=libaio --iodepth=32 --bs=4k --size=4M \
			>/tmp/t/fio.log 2>&1; echo $? >/tmp/t/ended) &
		wait_for 10 '[ "$(awk "{ print \$1 + \$2 }" /sys/block/ublkb0/inflight)" -ge 16 ]' ||
			fail "not every tag is in flight"
		kill -9 "$server"
		wait_for 10 '[ -e /tmp/t/ended ]' || {
			dump_state
			fail "the reader hangs"
		}
		[ "$(cat /tmp/t/ended)" = 0 ] || fail "fio saw an error"
	done
	cmp /tmp/t/data /dev/ublkb0 || fail "data was lost"
	expect_ok "del id=0"
}

# copy_until_killed FOLDER: again and again, so that the kill hits a copy.
copy_until_killed()
{
	rm -f /tmp/t/killed
	while [ ! -e /tmp/t/killed ]; do
		rm -rf "$1"
		cp -r /bin "$1" || return 1
	done
}

mounted()
{
	expect_ok "add ram size=128M"
	mkfs.ext4 -q /dev/ublkb0
	mkdir -p /tmp/t/m
	mount /dev/ublkb0 /tmp/t/m
	for n in 1 2 3 4; do
		copy_until_killed /tmp/t/m/$n &
		kill_server
		touch /tmp/t/killed
		wait $! || fail "a copy failed"
		sync
	done
	umount /tmp/t/m
	e2fsck -fn /dev/ublkb0 >/tmp/t/fsck 2>&1 || fail "$(cat /tmp/t/fsck)"
	mount /dev/ublkb0 /tmp/t/m
	for n in 1 2 3 4; do
		diff -r /bin /tmp/t/m/$n >/dev/null || fail "copy $n differs"
	done
	umount /tmp/t/m
	expect_ok "del id=0"
}

start_ublkd
under_fio
all_in_flight
mounted
