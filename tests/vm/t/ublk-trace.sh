#!/bin/sh
# ublk-trace follows requests through the driver, for our server and another, and
# says where those are that do not come back. It leaves tracefs as it was.
#
# needs: binaries half-server
# wants: binaries kublk
# needs: files contrib/ublk-trace:/t/ublk-trace
# sanitizers: long
# size: default long:sight
# time: 120
. /t/lib.sh

TRACING=/sys/kernel/tracing

# trace ARGUMENT...: what ublk-trace prints, and its status
trace()
{
	STATUS=0
	sh /t/ublk-trace "$@" >/tmp/t/trace 2>&1 </dev/null || STATUS=$?
	cat /tmp/t/trace
}

# left: what there is of traces
left()
{
	cat $TRACING/kprobe_events
	ls $TRACING/instances
}

# says REGEX
says()
{
	grep -q "$1" /tmp/t/trace || fail "ublk-trace does not say: $1"
}

# status NUMBER
status()
{
	[ "$STATUS" = "$1" ] || fail "exit status $STATUS, not $1"
}

# steps OPERATION: the request's steps in their order, in one line
steps()
{
	sed -n "s/^ *[0-9]*\.[0-9]* *[^ ]* *\([a-z]*\) .*/\1/p" /tmp/t/trace |
		tr '\n' ' '
}

# way DEVICE [DATA [INSERT]]: one read and one write of dd, each step of them.
# DATA: steps by which a write's data comes; INSERT: that of an I/O scheduler
way()
{
	trace -d "$1" -- dd if="/dev/ublkb$1" of=/dev/null bs=4096 count=1 \
		skip=3 iflag=direct
	status 0
	says "queue .*read 4096 at 12288$"
	says "commit .*result=4096$"
	says "block layer: 1; begun by the driver: 1;$"
	says "delivered to .*: 1; committed: 1; done: 1$"
	case $(steps) in
	"bio ${3:-}queue issue $handed commit done ") ;;
	*) fail "a read's way: $(steps)" ;;
	esac
	trace -d "/dev/ublkb$1" -- dd if=/dev/zero of="/dev/ublkb$1" bs=4096 \
		count=1 seek=5 oflag=direct
	status 0
	says "queue .*write 4096 at 20480$"
	case $(steps) in
	"bio ${3:-}queue issue $handed ${2:-}commit done ") ;;
	*) fail "a write's way: $(steps)" ;;
	esac
}

case $(uname -r) in
6.12.*) handed=deliver ;;
*) handed=dispatch ;;
esac

left >/tmp/t/left
start_ublkd
trace -n
says '^channel: ublk_ch_uring_cmd'
expect_ok "add ram id=0 size=16M"
await_live 0
way 0 "data deliver "

echo "-- many at once"
trace -d 0 -- dd if=/dev/zero of=/dev/ublkb0 bs=2M count=1 oflag=direct
status 0
given=$(grep -c ' queue ' /tmp/t/trace)
[ "$given" -ge 2 ] || fail "one request of 2 MiB"
says "begun by the driver: $given;$"
says "delivered to .*: $given; committed: $given; done: $given$"

echo "-- names that are not there"
trace -d 0 -t 1 -a ublk_rq_complete_it
says '^# -a ublk_rq_complete_it: is not there.*like it: [a-z_]*ublk'
trace -d 77
status 2
says 'there is no device ublkb77'

echo "-- a server that is stopped"
kill -STOP "$(server_pid)"
trace -d 0 -t 2 -- dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 iflag=direct
status 1
says 'was given to the driver and delivered to nobody, since$'
says '(ublkd-server), state T (stopped)'
trace -d 0 -t 1
status 1
says '1 request in flight before the trace began, and nothing has moved'
kill -CONT "$(server_pid)"

echo "-- START_DEV that waits"
half-server 40 3 >/tmp/t/half &
half=$!
wait_for 5 'grep -q pending /tmp/t/half' || fail "no half server"
trace -d 40 -t 1
says '(iou-wrk-[0-9]*) is in START_DEV, until every tag is fetched,$'
kill $half
wait $half || fail "the half server: $?"

echo "-- killed"
sh /t/ublk-trace -d 0 >/dev/null 2>&1 &
tracer=$!
wait_for 20 '[ -d $TRACING/instances/ublk_trace_$tracer ]' ||
	fail "no trace"
sleep 1
kill -9 $tracer
wait $tracer || true
[ "$(left | wc -l)" -gt "$(wc -l </tmp/t/left)" ] ||
	fail "nothing to clean up"
trace -d 0 -t 1
left | diff /tmp/t/left - || fail "tracefs is not as it was"
expect_ok "del 0"

if command -v kublk >/dev/null; then
	echo "-- kublk"
	kublk add -t null -n 1 -q 1 -d 16 >/tmp/t/kublk 2>&1 || {
		cat /tmp/t/kublk
		fail "kublk"
	}
	wait_for 10 '[ -b /dev/ublkb1 ]' || fail "no disk of kublk"
	way 1 "" "insert "
	kublk del -n 1 >/dev/null
fi
left | diff /tmp/t/left - || fail "tracefs is not as it was"
