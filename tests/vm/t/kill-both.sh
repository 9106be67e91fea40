#!/bin/sh
# Keeper and server are killed with -9 together, or the keeper first: clients
# end with an error within 3 s, nothing stays in D state, and a new ublkd on the
# same socket deletes what the dead one has left, and works. A second ublkd is
# refused while one lives, and harms nothing.
#
# sanitizers: long
# expect-kernel: Buffer I/O error on dev(ice)? ublkb
# needs: binaries fio strace
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 240
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio strace

# leftovers: how many devices new ublkds have found so far.
leftovers()
{
	grep -c 'was left by a ublkd that was killed' "$LOG" || true
}

# begins_again COUNT: a new ublkd finds that many devices of the dead one,
# deletes them without being asked to, and works.
begins_again()
{
	no_d_state 3
	cleans_up "$1"
}

# cleans_up COUNT: the same, though requests may wait for somebody until then.
cleans_up()
{
	found=$(leftovers)
	start_ublkd
	no_devices
	found=$(($(leftovers) - found))
	[ $found = "$1" ] || fail "it found $found devices, not $1"
	expect_ok list
	[ "$(echo "$REPLY" | wc -l)" = 1 ] || fail "it has devices: $REPLY"
	disk_works
	no_devices
}

under_load()
{
	echo "- under load"
	expect_ok "add ram size=64M recovery=no"
	expect_ok "add null size=64M recovery=no"
	client_at_work ublkb0 32
	kill_both
	client_ends 3
	begins_again 2
}

# What a RAM disk held is gone with the processes: its clients wait for the next
# ublkd, and end when it deletes it.
recoverable()
{
	echo "- a RAM disk with recovery"
	expect_ok "add ram size=64M"
	client_at_work ublkb0 32
	kill_both
	cleans_up 1
	client_ends 3
	grep -q 'its data died with' "$LOG" || fail "it does not say why"
}

# with_every_tag DEPTH: none is left with which the driver could notice.
with_every_tag()
{
	echo "- with $1 tags in flight, all there are"
	expect_ok "add null size=64M queues=1 depth=$1 recovery=no"
	hold_every_tag ublkb0 "$1"
	kill_both
	client_ends 3
	begins_again 1
}

# The server has asked for STOP and is stopped: STOP waits for its requests.
in_del()
{
	echo "- in the middle of a del"
	expect_ok "add null size=64M queues=1 depth=8 recovery=no"
	client_at_work ublkb0 8
	stop_server_at sendmsg:when=1 "del id=0 force=yes"
	# A request that is held has it wait.
	wait_for 5 '[ -n "$(d_tasks)" ]' || fail "STOP does not wait"
	kill_both
	wait "$TRACER" || true
	client_ends 3
	begins_again 1
}

# in_add INJECTION: as in kill-server.sh.
in_add()
{
	echo "- in an add, at $1"
	stop_server_at "$1" "add ram size=64M queues=2 recovery=no mode=user-copy"
	kill_both
	wait "$TRACER" || true
	begins_again 1
}

# The one that takes over is killed while it deletes.
in_the_next_start()
{
	echo "- in the next one's start"
	expect_ok "add ram size=64M recovery=no"
	expect_ok "add ram size=64M recovery=no"
	kill_both
	ublkd -f -s "$SOCK" 2>>"$LOG" &
	next=$!
	wait_for 10 "[ -n \"\$(children $next)\" ]" || fail "it does not start"
	# shellcheck disable=SC2046 # its server as well
	kill -9 $next $(children $next)
	wait $next || true
	no_d_state 3
	start_ublkd
	no_devices
	disk_works
}

# ---- the keeper alone

# refused FILE ARG...: another ublkd must not start; FILE gets what it says.
refused()
{
	said=$1
	shift
	status=0
	timeout 60 ublkd -f "$@" 2>"$said" || status=$?
	[ $status = 1 ] || fail "a second ublkd ended with $status"
}

# still_served: the load goes on, new requests too, and so does the socket.
still_served()
{
	[ ! -e /tmp/t/ended ] || fail "the client has ended: $(cat /tmp/t/fio.log)"
	dd if=/dev/zero of=/dev/ublkb0 bs=4k count=8 oflag=direct 2>/dev/null ||
		fail "the disk cannot be written"
	expect_ok list
	echo "$REPLY" | grep -q '^dev id=0 .*state=live' || fail "$REPLY"
}

# And then the server, before another keeper comes.
keeper_first()
{
	echo "- the keeper, then the server"
	expect_ok "add ram size=64M recovery=no"
	server=$(server_pid)
	client_at_work ublkb0 32
	kill_keeper
	still_served
	for command in "add ram size=16M" "del id=0" "del id=0 force=yes" \
		features shutdown; do
		expect_err state "$command"
	done
	kill -9 "$server"
	client_ends 3
	begins_again 1
}

# A command that the keeper has not answered, and never will, gets an answer.
keeper_first_in_add()
{
	echo "- the keeper, in the middle of an add, then the server"
	server=$(server_pid)
	kill -STOP "$KEEPER"
	(ask "add ram size=16M" >/tmp/t/answer 2>&1) &
	client=$!
	sleep 0.5
	kill_keeper
	wait_for 5 "! alive $client" || fail "the client waits for ever"
	grep -q '^ERR state ' /tmp/t/answer || fail "$(cat /tmp/t/answer)"
	kill -9 "$server"
	wait_for 5 "! alive $server" || fail "the server does not die"
	begins_again 0
}

# ---- two at once

second()
{
	echo "- a second one"
	expect_ok "add ram size=64M recovery=no"
	client_at_work ublkb0 32
	ln -sf /run /tmp/t/run
	for path in "$SOCK" /tmp/t/run/ublk.sock; do
		refused /tmp/t/second -s "$path"
		grep -q 'another ublkd is running' /tmp/t/second ||
			fail "$(cat /tmp/t/second)"
		still_served
	done
	# On a socket of its own it is welcome, and lets others' devices be.
	ublkd -f -s /tmp/t/own.sock 2>/tmp/t/second &
	own=$!
	wait_for 10 'grep -q "ready on" /tmp/t/second' || fail "it does not start"
	still_served
	kill -TERM $own
	wait $own || fail "it ended with an error"
	still_served
	expect_ok "del id=0 force=yes"
	client_ends 3
}

start_ublkd
under_load
recoverable
with_every_tag 1
with_every_tag 4
with_every_tag 128
in_del
# Before the first queue's FETCHes, and those of the second.
in_add io_uring_enter:when=1
in_add io_uring_enter:when=2
# The partition scan's read is held.
in_add pwrite64:when=1
in_the_next_start
keeper_first
keeper_first_in_add
second
