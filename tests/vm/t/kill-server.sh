#!/bin/sh
# The server is killed with -9 at the worst moments: clients end with an error
# within 3 s, nothing stays in D state, and the next add works.
#
# needs: binaries fio strace
# time: 200
# size: quick
. /t/lib.sh

requires fio strace

# ends_within SECONDS FILE: FILE, where a client writes its status, appears.
ends_within()
{
	wait_for "$1" "[ -e $2 ]" || {
		dump_state
		fail "the client has not ended $1 s after the kill"
	}
}

inflight()
{
	awk '{ print $1 + $2 }' "/sys/block/$1/inflight"
}

# readers DISK COUNT: that many direct readers, one request each; the last one
# to end leaves /tmp/t/ended.
readers()
{
	rm -f /tmp/t/ended
	(
		fio --name=r --filename="/dev/$1" --rw=randread --direct=1 \
			--ioengine=libaio --iodepth="$2" --iodepth_batch="$2" \
			--time_based --runtime=60 --bs=4k \
			>/tmp/t/fio.log 2>&1 && echo 0 >/tmp/t/ended ||
			echo 1 >/tmp/t/ended
	) &
}

# next_add_works: a fresh server answers, and serves.
next_add_works()
{
	wait_for 10 '[ -n "$(ask ping 2>/dev/null)" ]' ||
		fail "no fresh server answers"
	expect_ok "add ram size=16M"
	dd if=/dev/zero of="$(field dev)" bs=64k count=16 oflag=direct \
		2>/dev/null || fail "the new disk cannot be written"
	expect_ok "del id=$(field id)"
	no_d_state 3
	# A request that the dead server had not read goes to the next one.
	expect_ok list
	for id in $(echo "$REPLY" | sed -n 's/^dev id=\([0-9]*\) .*/\1/p'); do
		expect_ok "del id=$id"
	done
	wait_for 3 '! ls /dev/ublkc* >/dev/null 2>&1' || fail "left:" /dev/ublk*
}

# killed_under_load: with requests coming and going.
killed_under_load()
{
	expect_ok "add ram size=64M"
	readers ublkb0 32
	wait_for 5 '[ "$(inflight ublkb0)" -gt 0 ]' || fail "no load"
	kill -9 "$(server_pid)"
	ends_within 3 /tmp/t/ended
	[ "$(cat /tmp/t/ended)" = 1 ] || fail "fio saw no error"
	next_add_works
}

# killed_with_every_tag DEPTH: none is left with which the driver could notice.
killed_with_every_tag()
{
	expect_ok "add null size=64M queues=1 depth=$1"
	server=$(server_pid)
	kill -STOP "$server"
	readers ublkb0 $(($1 * 2))
	wait_for 10 "[ \"\$(inflight ublkb0)\" -ge $1 ]" ||
		fail "inflight is $(inflight ublkb0), not $1"
	kill -9 "$server"
	ends_within 3 /tmp/t/ended
	[ "$(cat /tmp/t/ended)" = 1 ] || fail "fio saw no error"
	next_add_works
}

# killed_in_del: while STOP waits for requests that the server holds.
killed_in_del()
{
	expect_ok "add null size=64M queues=1 depth=8"
	server=$(server_pid)
	readers ublkb0 8
	wait_for 5 '[ "$(inflight ublkb0)" -gt 0 ]' || fail "no load"
	(ask "del id=0 force=yes" >/tmp/t/del 2>&1) &
	sleep 0.05
	kill -STOP "$server"
	sleep 0.5
	kill -9 "$server"
	ends_within 3 /tmp/t/ended
	next_add_works
}

# killed_at INJECTION: in an add, at a system call that strace names. The server
# is stopped there, so that what it holds is held, and killed a moment later.
killed_at()
{
	server=$(server_pid)
	strace -qq -f -o /tmp/t/strace -e "inject=$1:signal=SIGSTOP" \
		-p "$server" &
	tracer=$!
	wait_for 5 "grep -q 'TracerPid:.*[1-9]' /proc/$server/status" ||
		fail "strace does not trace the server"
	(ask "add ram size=64M queues=2 depth=$2" >/tmp/t/add 2>&1) &
	wait_for 10 "grep -q SIGSTOP /tmp/t/strace" || {
		cat /tmp/t/strace
		fail "the server was not stopped at $1"
	}
	sleep 0.3
	kill -9 "$server"
	wait "$tracer" || true
	next_add_works
}

start_ublkd
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
