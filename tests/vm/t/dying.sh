#!/bin/sh
# Both processes are killed and another ublkd is started at once, while they
# cannot end: a request of the server is blocked in the kernel, and so is a
# command of the keeper that waits for that. The start waits for them, says for
# whom, and goes on when they are gone; else it ends with their state, and also
# when it is told to end. One that is well is told at once.
#
# kernels: 6.12
# needs: binaries mkfs.ext4
# needs: modules ext4 brd
# expect-kernel: INFO: task (iou-wrk-|ublkd)
# time: 240
. /t/lib.sh

requires mkfs.ext4

# kill_blocked: keeper and server, which will end later.
kill_blocked()
{
	server=$(server_pid)
	keeper=$KEEPER
	: >"$LOG"
	kill -9 "$keeper" "$server"
}

# begin_start: another one, which may end; its status is in /tmp/t/next.
begin_start()
{
	rm -f /tmp/t/next /tmp/t/pid
	(
		status=0
		sh -c 'echo $$ >/tmp/t/pid; exec ublkd -f' </dev/null \
			>>"$LOG" 2>&1 || status=$?
		echo $status >/tmp/t/next
	) &
	wait_for 20 'grep -q "is dying, and still has" "$LOG"' || {
		cat "$LOG"
		fail "it does not say for whom it waits"
	}
	grep 'is dying' "$LOG"
}

# ends_with_1 PART: the start ends, and says that
ends_with_1()
{
	wait_for 40 '[ -e /tmp/t/next ]' || fail "the start does not end"
	[ "$(cat /tmp/t/next)" = 1 ] || fail "status $(cat /tmp/t/next)"
	tail -n 1 "$LOG"
	tail -n 1 "$LOG" | grep -q "$1" || fail "it does not say '$1'"
}

make_ram_disks 1 65536
mount_ext4 /dev/ram0 /tmp/t/mnt
start_ublkd
expect_ok "add file id=0 path=/tmp/t/mnt/disk create=yes size=16M"

echo "- one that is well"
before=$(now)
status=0
ublkd -f 2>/tmp/t/said || status=$?
[ $status = 1 ] || fail "a second ublkd ended with $status"
grep -q 'another ublkd is running' /tmp/t/said || fail "$(cat /tmp/t/said)"
[ $(($(now) - before)) -lt 9000 ] || fail "it was waited for"

echo "- the server is dying"
hold_write /tmp/t/mnt
kill_blocked
begin_start
grep -q "process $server (ublkd-server, state .) is dying" "$LOG" ||
	fail "it waits for somebody else"
KEEPER=$(cat /tmp/t/pid)
release_write /tmp/t/mnt || fail "the write has failed"
wait_for 20 ublkd_answers || fail "it does not go on"
await_live 0

echo "- the keeper, too"
hold_write /tmp/t/mnt
ask "del 0 force=yes" >/dev/null &
wait_for 10 "d_tasks | grep -q /proc/$KEEPER/" || fail "STOP does not wait"
kill_blocked
begin_start
grep -q "process $keeper (ublkd, state .) is dying, and still has $SOCK.lock" \
	"$LOG" || fail "it waits for somebody else"
kill -TERM "$(cat /tmp/t/pid)"
ends_with_1 "a signal ended the wait"
begin_start
ends_with_1 "process $keeper (ublkd, state .) is dying, but has not let go of $SOCK.lock within 30 s"
release_write /tmp/t/mnt || true
wait_for 10 "! alive $keeper && ! alive $server" || fail "they do not end"
KEEPER=''
start_ublkd
no_devices
umount /tmp/t/mnt
