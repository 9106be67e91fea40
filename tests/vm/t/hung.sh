#!/bin/sh
# A server that hangs while somebody waits for it is killed by the keeper, and
# the next one answers its requests: nobody sees an error. One that somebody
# has stopped is told of, and left alone. Nothing of this wakes an idle ublkd.
#
# sanitizers: long
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 150
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio
! sanitized || skip "a minute of waiting; the unit tests run with sanitizers"

FREEZER=/sys/fs/cgroup/ublkd-frozen

# hang: the server does nothing any more, though it is not stopped.
hang()
{
	server=$(server_pid)
	[ -d $FREEZER ] || mkdir $FREEZER
	echo "$server" >$FREEZER/cgroup.procs
	echo 1 >$FREEZER/cgroup.freeze
	wait_for 5 "grep -qx 'frozen 1' $FREEZER/cgroup.events" ||
		fail "the server is not frozen"
}

# thaw: what is started next is in another group.
thaw()
{
	echo 0 >$FREEZER/cgroup.freeze
	rmdir $FREEZER
}

# told TEXT TIMES
told()
{
	[ "$(grep -c "$1" "$LOG")" -ge "$2" ]
}

# killed TIMES: so often so far.
killed()
{
	wait_for 30 "told 'hangs: it has done nothing' $1" || {
		dump_state
		fail "a hung server is not killed"
	}
}

under_load()
{
	echo "- under load"
	load ublkb0 --rw=randwrite --bs=4k --verify=crc32c --verify_backlog=64
	hang
	begun=$(now)
	expect_kill "$server"
	expect_log "process $server, hangs: "
	killed 1
	echo "a hung server is killed after $(($(now) - begun)) ms"
	await_live_count 1
	thaw
	goes_on ublkb0 || fail "the disk does not go on"
	[ "$(server_pid)" != "$server" ] || fail "the server is the same"
	load_ends
}

stopped()
{
	echo "- stopped by somebody"
	load ublkb0 --rw=randread --bs=4k
	server=$(server_pid)
	kill -STOP "$server"
	wait_for 10 "told 'is stopped, by a debugger' 1" || fail "it is not told"
	# Longer than a hung one lives.
	sleep 14
	alive "$server" || fail "it was killed"
	kill -CONT "$server"
	goes_on ublkb0 || fail "the disk does not go on"
	[ "$(server_pid)" = "$server" ] || fail "the server is another one"
	told "is stopped, by a debugger" 2 && fail "it is told again and again"
	load_ends
}

# A request that nobody answers, and then the end of all: STOP would wait for
# it. The end has a minute, which it does not need.
at_the_end()
{
	echo "- at the end"
	load ublkb0 --rw=randread --bs=4k
	hang
	expect_kill "$server"
	expect_log "process $server, hangs: "
	kill -TERM "$KEEPER"
	forget_ublkd
	[ "$(cat /tmp/t/status)" = 0 ] || fail "status $(cat /tmp/t/status)"
	told 'hangs: it has done nothing' 2 || fail "it was not killed as hung"
	! grep -q 'devices are still being stopped' "$LOG" ||
		fail "it took the time that a stop may take"
	thaw
	wait "$LOAD" || true
	no_devices
}

# switches PID: how often it went to sleep so far.
switches()
{
	awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$1/status"
}

# both: of keeper and server
both()
{
	echo "$(switches "$KEEPER") $(switches "$(server_pid)")"
}

# The last look comes a few seconds after the last work.
idle()
{
	echo "- idle"
	before=''
	wait_for 20 'before=$(both); sleep 3; [ "$(both)" = "$before" ]' ||
		fail "it does not come to rest"
	sleep 5
	after=$(both)
	[ "$after" = "$before" ] || fail "woken: $before, then $after"
}

start_ublkd
expect_ok "add ram size=32M"
idle
# Which begins the watch again.
under_load
stopped
at_the_end
