#!/bin/sh
# Two clients' commands run side by side: while the keeper's answers fail to
# come, and so somebody's add or del is slow, others are answered at once and
# the disks are served.
#
# needs: binaries strace
# time: 120
# size: quick
. /t/lib.sh

requires strace

# send_slow LINE...: from a socat that half-closes, and gives up when nothing comes
# for 2 s; by default that is 0.5 s, in which a busy host's guest may stand still.
send_slow()
{
	(printf '%s\n' "$@" | socat -t 2 - "UNIX:$SOCK" >/tmp/t/slow 2>&1) &
	slow=$!
	wait_for 5 "grep -q '^WAIT @slow' /tmp/t/slow" || fail "no WAIT"
}

# begin_slow LINE...: sends them while the keeper is stopped.
begin_slow()
{
	kill -STOP "$KEEPER"
	send_slow "$@"
}

# end_slow PATTERN: the keeper goes on, and the answer comes.
end_slow()
{
	! grep -qE '^(OK|ERR)' /tmp/t/slow || fail "it was not slow"
	kill -CONT "$KEEPER"
	wait_for 10 "! alive $slow" || fail "the slow client gets no answer"
	cat /tmp/t/slow
	tail -n 1 /tmp/t/slow | grep -q "$1" || fail "not answered with $1"
}

AT_ONCE=10000 # ms: a busy host's guest may take seconds to start a program

# at_once COMMAND: answered while the keeper is stopped, and not only when some
# time is over; that of socat would be a minute.
at_once()
{
	begun=$(now)
	expect_ok "$1"
	took=$(($(now) - begun))
	echo "$1: $took ms"
	[ $took -lt $AT_ONCE ] || fail "'$1' took $took ms"
}

others_are_served()
{
	for _ in 1 2 3; do
		at_once ping
		at_once list
		at_once "show id=7"
	done
	begun=$(now)
	dd if=/dev/zero of=/dev/ublkb7 bs=4k count=64 oflag=direct \
		2>/dev/null || fail "another disk cannot be written"
	[ $(($(now) - begun)) -lt $AT_ONCE ] || fail "another disk was slow"
}

# An add whose device the kernel knows already, but has not started: the keeper
# stops when it has answered ADD and SET_PARAMS.
half_added()
{
	strace -qq -o /tmp/t/strace -p "$KEEPER" \
		-e inject=sendmsg:when=2:signal=SIGSTOP &
	tracer=$!
	wait_for 5 "grep -q 'TracerPid:.*[1-9]' /proc/$KEEPER/status" ||
		fail "strace does not trace the keeper"
	send_slow "@slow add ram id=3 size=16M"
	wait_for 5 "grep -q SIGSTOP /tmp/t/strace" || fail "it was not stopped"
	others_are_served
	expect_ok list
	echo "$REPLY" | grep -q '^dev id=3 .*state=adding' || fail "$REPLY"
	expect_err busy "del id=3"
	end_slow '^OK @slow id=3 '
	kill -TERM $tracer
	wait $tracer || true
	at_once "del id=3"
}

# The answers of one connection come in order, whatever could be ready first.
slow_then_fast()
{
	begin_slow "@slow add ram id=2 size=16M" "@2 ping" "@3 list"
	others_are_served
	end_slow '^OK @3'
	[ "$(sed -n 's/^OK @\([a-z0-9]*\).*/\1/p' /tmp/t/slow | paste -sd ' ')" \
		= "slow 2 3" ] || fail "not in order"
	grep -q '^dev id=2 .*state=live' /tmp/t/slow || fail "list ran too early"
	expect_ok "del id=2"
}

start_ublkd
expect_ok "add ram id=7 size=16M"
begin_slow "@slow add ram id=1 size=16M"
others_are_served
# It cannot be deleted yet, and that is said at once.
expect_err busy "del id=1"
# WAIT comes every 250 ms.
sleep 1
[ "$(grep -c '^WAIT @slow what=add$' /tmp/t/slow)" -ge 4 ] || fail "few WAITs"
end_slow '^OK @slow id=1 dev=/dev/ublkb1'
dd if=/dev/zero of=/dev/ublkb1 bs=4k count=8 oflag=direct 2>/dev/null ||
	fail "the new disk cannot be written"
begin_slow "@slow del id=1"
others_are_served
expect_ok "show id=1"
end_slow '^OK @slow'
[ ! -e /dev/ublkb1 ] || fail "the disk is still there"
half_added
slow_then_fast
