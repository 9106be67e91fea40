#!/bin/sh
# The stall sampler finds a stall that was planted, and none where there is
# none: not while the server works, idles, is traced or is stopped.
#
# sanitizers: long
# needs: binaries fio strace stall-sampler
# needs: files tests/vm/lib-sampler.sh:/t/lib-sampler.sh
# time: 120
# kernels: 7.x
. /t/lib.sh
# shellcheck source=tests/vm/lib-sampler.sh
. /t/lib-sampler.sh

requires fio strace stall-sampler

# trace_server OPTION...: with strace; sets $TRACER.
trace_server()
{
	server=$(server_pid)
	strace -qq -o /tmp/t/strace "$@" -p "$server" &
	TRACER=$!
	wait_for 5 "grep -q 'TracerPid:.*[1-9]' /proc/$server/status" ||
		fail "strace does not trace the server"
}

stop_tracing()
{
	kill -TERM "$TRACER"
	wait "$TRACER" || true
}

# reader SECONDS: one request at a time, with pauses; status in /tmp/t/done.
reader()
{
	rm -f /tmp/t/done
	(
		status=0
		fio --name=c --filename=/dev/ublkb0 --rw=randread --bs=4k \
			--ioengine=psync --direct=1 --thinktime=2000 \
			--time_based --runtime="$1" >/tmp/t/fio.log 2>&1 ||
			status=$?
		echo $status >/tmp/t/done
	) &
}

reader_ends()
{
	wait_for 30 '[ -e /tmp/t/done ]' || fail "the reader hangs"
	[ "$(cat /tmp/t/done)" = 0 ] || fail "fio: $(tail /tmp/t/fio.log)"
}

# Where the server has nothing to do there is no stall, and where it cannot
# work there is something else.
no_false_alarm()
{
	sample 5
	no_stall 0
	[ "$LOOKS" = 5 ] || fail "$LOOKS looks, not 5"
	trace_server -e trace=io_uring_enter
	start_sampler
	reader 2
	reader_ends
	stop_tracing
	stop_sampler
	no_stall 1
	kill -STOP "$server"
	reader 2
	wait_for 10 '[ "$(inflight ublkb0)" -gt 0 ]' || fail "no load"
	sample 5
	no_stall 5
	kill -CONT "$server"
	reader_ends
}

# A wakeup that is lost: the commit of a request never reaches the kernel, nor
# does the note to try again that the server writes for itself. In libev only: a
# server that sleeps in the ring does so with the call that commits. What the
# kernel has deferred for that server lies there for good, so the next one has to
# serve the reader.
planted()
{
	start_sampler
	reader 2
	wait_for 10 '[ "$(cut -c 1-8 /sys/block/ublkb0/stat)" -gt 0 ]' ||
		fail "no load"
	trace_server -e inject=io_uring_enter:retval=0 -e inject=write:retval=8
	wait_for 10 "grep -q '^stall: .* ublkb0 has 1 requests' /tmp/t/sampler" ||
		fail "it was not seen"
	stop_tracing
	stop_sampler
	[ "$STALLS" = 1 ] || fail "$STALLS stalls, not 1"
	kill -KILL "$server"
	reader_ends
	grep -q 'hctx0/busy: .*READ' /tmp/t/sampler || fail "no request is named"
}

# What the caller sees: a status for stalls, and one for no server.
status_of_it()
{
	status=0
	stall-sampler -n 2 "$(server_pid)" || status=$?
	[ $status = 0 ] || fail "status $status without a stall"
	status=0
	stall-sampler -t 2 999999 || status=$?
	[ $status = 2 ] || fail "status $status without a server"
}

start_ublkd
expect_ok "add ram size=16M queues=1"
status_of_it
no_false_alarm
stop_ublkd
start_ublkd --hot=no
expect_ok "add ram size=16M queues=1"
no_false_alarm
planted
