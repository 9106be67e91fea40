#!/bin/sh
# The server is killed with -9 at the worst moments: clients end with an error
# within 3 s, nothing stays in D state, and the next add works.
#
# expect-kernel: Buffer I/O error on dev(ice)? ublkb
# needs: binaries fio strace
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 200
# size: quick
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio strace

# next_add_works: a fresh server answers, and serves.
next_add_works()
{
	wait_for 10 '[ -n "$(ask ping 2>/dev/null)" ]' ||
		fail "no fresh server answers"
	disk_works
	no_d_state 3
	# A request that the dead server had not read goes to the next one.
	expect_ok list
	for id in $(echo "$REPLY" | sed -n 's/^dev id=\([0-9]*\) .*/\1/p'); do
		expect_ok "del id=$id"
	done
	within 3 '! ls /dev/ublkc* >/dev/null 2>&1' || fail "left:" /dev/ublk*
}

# killed_under_load: with requests coming and going.
killed_under_load()
{
	expect_ok "add ram size=64M recovery=no"
	client_at_work ublkb0 32
	kill -9 "$(server_pid)"
	client_ends 3
	next_add_works
}

# killed_with_every_tag DEPTH: none is left with which the driver could notice.
killed_with_every_tag()
{
	expect_ok "add null size=64M queues=1 depth=$1 recovery=no"
	hold_every_tag ublkb0 "$1"
	kill -9 "$(server_pid)"
	client_ends 3
	next_add_works
}

# killed_in_del: while STOP waits for requests that the server holds.
killed_in_del()
{
	expect_ok "add null size=64M queues=1 depth=8 recovery=no"
	client_at_work ublkb0 8
	stop_server_at sendmsg:when=1 "del id=0 force=yes"
	# A request that is held has it wait.
	wait_for 5 '[ -n "$(d_tasks)" ]' || fail "STOP does not wait"
	kill -9 "$(server_pid)"
	wait "$TRACER" || true
	client_ends 3
	next_add_works
}

# killed_at INJECTION DEPTH: in an add. Of the ways to move data it is the one in
# which the server makes a call.
killed_at()
{
	stop_server_at "$1" "add ram size=64M queues=2 depth=$2 recovery=no \
mode=user-copy"
	kill -9 "$(server_pid)"
	wait "$TRACER" || true
	next_add_works
}

# keeper_holds COUNT: of the server's rings, beside the one that it has itself.
keeper_holds()
{
	within 3 "[ \$(ls -l /proc/$KEEPER/fd | grep -c io_uring) = $(($1 + 1)) ]" ||
		fail "$(ls -l "/proc/$KEEPER/fd")"
}

# rings_are_held: where the driver needs it, and no longer than the device.
rings_are_held()
{
	expect_ok "add null size=64M queues=2"
	expect_ok "add null size=64M queues=1"
	held=0
	! ask features | grep -q '^feature name=update-size have=no' || held=3
	echo "- the keeper holds $held rings"
	keeper_holds $held
	kill_server
	await_live 1
	keeper_holds $held
	expect_ok "del id=1"
	keeper_holds $((held * 2 / 3))
	expect_ok "del id=0"
	keeper_holds 0
}

start_ublkd
rings_are_held
killed_under_load
killed_with_every_tag 1
killed_with_every_tag 4
killed_with_every_tag 128
killed_in_del
# The first queue's FETCHes are prepared but not submitted; those of the second.
killed_at io_uring_enter:when=1 128
killed_at io_uring_enter:when=2 128
# The partition scan's read is held.
killed_at pwrite64:when=1 128
killed_at pwrite64:when=1 1
# START has been asked for, and its answer is there.
killed_at recvmsg:when=4 128
