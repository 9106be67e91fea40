#!/bin/sh
# A file whose server (FUSE) has stopped holds up nobody but its own device: not
# the server that takes all of them over, and not an upgrade's new program.
#
# needs: binaries fuse-file
# expect-kernel: INFO: task (iou-wrk-|ublkd)
# time: 240
. /t/lib.sh

FOLDER=/tmp/t/fuse

# replaced: by another server than $server
replaced()
{
	next=$(server_pid)
	[ -n "$next" ] && [ "$next" != "$server" ]
}

# reads ID: its first block
reads()
{
	dd if="/dev/ublkb$1" bs=4096 count=1 iflag=direct 2>/dev/null |
		cmp - /tmp/t/random || fail "ublkb$1 has other data"
}

# write_to ID: its first block
write_to()
{
	dd if=/tmp/t/random of="/dev/ublkb$1" bs=4096 count=1 oflag=direct \
		2>/dev/null
}

# begin_server [flush]: of a file system with one file; sets $files
begin_server()
{
	mkdir -p $FOLDER
	fuse-file $FOLDER 16 "$@" &
	files=$!
	wait_for 10 "[ -e $FOLDER/disk ]" || fail "no file system"
	# The first close.
	dd if=$FOLDER/disk of=/dev/null count=0 2>/dev/null
}

end_server()
{
	umount $FOLDER
	wait $files || fail "the file system's server has failed"
}

umount $FOLDER 2>/dev/null || true
begin_server
head -c 4096 /dev/urandom >/tmp/t/random
start_ublkd
expect_ok "add ram id=1 size=16M"
write_to 1 || fail "cannot write to ublkb1"

# The kernel may ask a file's server whether it is ready, before the first write.
for direct in no yes; do
	echo "- a first write waits, direct=$direct"
	expect_ok "add file id=0 path=$FOLDER/disk direct=$direct"
	kill -STOP $files
	write_to 0 &
	writer=$!
	wait_for 10 'ask "show 0" | grep -q " waiting=1 "' ||
		fail "$(ask "show 0")"
	reads 1
	kill -CONT $files
	wait $writer || fail "the write has failed"
	reads 0
	expect_ok "del 0"
done

expect_ok "add file id=0 path=$FOLDER/disk"
write_to 0 || fail "cannot write to ublkb0"
reads 0

echo "- a server is killed meanwhile"
sleep 1.1 # one that lived for less would be replaced later
server=$(server_pid)
kill -STOP $files
kill -9 "$server"
wait_for 20 'replaced && is_live 1' || fail "$(ask list)"
reads 1

echo "- an upgrade"
await_live 0 1
server=$(server_pid)
expect_ok upgrade
wait_for 20 'replaced && is_live 0 1' || fail "$(ask list)"
reads 1

echo "- while a write waits, what the old server cannot leave is what is in the way"
dd if=/tmp/t/random of=/dev/ublkb0 bs=4096 count=1 seek=7 oflag=direct \
	2>/dev/null &
writer=$!
wait_for 10 'ask "show 0" | grep -q " waiting=1 "' || fail "$(ask "show 0")"
server=$(server_pid)
expect_err busy upgrade
echo "$STATUS"
echo "$STATUS" | grep -q "requests of device 0 (ublkb0) stay blocked" ||
	fail "$STATUS"
[ "$(server_pid)" = "$server" ] || fail "the server is another one"
reads 1

echo "- the file's server goes on"
kill -CONT $files
wait $writer || fail "the write has failed"
reads 0
expect_ok upgrade
await_live 0 1
reads 0
expect_ok "del 0"
end_server

echo "- an upgrade, where the end of a process asks the file's server"
begin_server flush
expect_ok "add file id=0 path=$FOLDER/disk"
write_to 0 || fail "cannot write to ublkb0"
server=$(server_pid)
expect_ok upgrade
wait_for 20 'replaced && is_live 0 1' || fail "$(ask list)"
server=$(server_pid)
kill -STOP $files
expect_err busy upgrade
echo "$STATUS"
[ "$(children "$KEEPER")" = "$server" ] ||
	fail "the server is another one, or not alone: $(children "$KEEPER")"
reads 1

echo "- meanwhile other devices come and go: the keeper's helpers begin"
cp /tmp/t/random /tmp/t/plain
expect_ok "add file id=2 path=/tmp/t/plain"
reads 2
expect_ok "del 2"
! grep "a helper gives no answer" "$LOG" ||
	fail "a helper could not begin"
kill -CONT $files
wait_for 20 'ask upgrade | grep -q "^OK"' || fail "$(ask upgrade)"
wait_for 20 'replaced && is_live 0 1' || fail "$(ask list)"

echo "- a server begins while only the keeper has the silent file"
server=$(server_pid)
kill -STOP "$KEEPER"
kill -9 "$server"
wait_for 20 '! alive "$server"' || fail "it has not ended"
kill -STOP $files
kill -CONT "$KEEPER"
wait_for 20 'replaced && is_live 1' || fail "$(ask list)"
reads 1
kill -CONT $files
await_live 0 1
reads 0

echo "- what ends with the silent file open waits for it, and no longer"
sleep 1.1
server=$(server_pid)
kill -STOP $files
kill -9 "$server"
sleep 1
kill -CONT $files
wait_for 20 'replaced && is_live 0 1' || fail "$(ask list)"
reads 0
reads 1
expect_ok "del 0"
expect_ok "del 1"
stop_ublkd
end_server
