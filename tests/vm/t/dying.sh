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

# A write that stays in a worker until the thaw.
freeze()
{
	fsfreeze --freeze /tmp/t/mnt
	dd if=/dev/urandom of=/dev/ublkb0 bs=4096 count=1 oflag=direct \
		2>/dev/null &
	writer=$!
	wait_for 5 'ask "show 0" | grep -q " waiting=1 "' ||
		fail "no write is in a worker: $(ask "show 0")"
}

kill_both()
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

rmmod brd 2>/dev/null || true
modprobe brd rd_nr=1 rd_size=65536
mkdir -p /tmp/t/mnt
mkfs.ext4 -q /dev/ram0
mount /dev/ram0 /tmp/t/mnt
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
freeze
kill_both
begin_start
grep -q "process $server (ublkd-server, state .) is dying" "$LOG" ||
	fail "it waits for somebody else"
fsfreeze --unfreeze /tmp/t/mnt
KEEPER=$(cat /tmp/t/pid)
wait_for 20 ublkd_answers || fail "it does not go on"
wait $writer || fail "the write has failed"
wait_for 10 'ask list | grep -q "^dev id=0 .*state=live"' || fail "$(ask list)"

echo "- the keeper, too"
freeze
ask "del 0 force=yes" >/dev/null &
wait_for 10 "d_tasks | grep -q /proc/$KEEPER/" || fail "STOP does not wait"
kill_both
begin_start
grep -q "process $keeper (ublkd, state .) is dying, and still has $SOCK.lock" \
	"$LOG" || fail "it waits for somebody else"
kill -TERM "$(cat /tmp/t/pid)"
ends_with_1 "a signal ended the wait"
begin_start
ends_with_1 "process $keeper (ublkd, state .) is dying, but has not let go of $SOCK.lock within 30 s"
fsfreeze --unfreeze /tmp/t/mnt
wait $writer || true
wait_for 10 "! alive $keeper && ! alive $server" || fail "they do not end"
KEEPER=''
start_ublkd
no_devices
umount /tmp/t/mnt
