#!/bin/sh
# ublk-trace follows requests through the driver and our server, and says where
# those are that do not come back. It leaves tracefs as it was. On one CPU, because
# tracing has the kernel patch its own code, which the emulator does not survive now
# and then while another CPU runs that.
#
# needs: binaries half-server ublkctl
# needs: files contrib/ublk-trace:/t/ublk-trace
# needs: files tests/vm/lib-trace.sh:/t/lib-trace.sh
# needs: cpus 1
# sanitizers: long
# size: default long:sight
# expect-kernel: INFO: task (dd|sh):[0-9]+ blocked
# time: 180
. /t/lib.sh
# shellcheck source=tests/vm/lib-trace.sh
. /t/lib-trace.sh

left >/tmp/t/left
start_ublkd
trace -n
says '^channel: ublk_ch_uring_cmd'
expect_ok "add ram id=0 size=16M"
await_live 0
echo none >/sys/block/ublkb0/queue/scheduler
way 0 "bio queue issue $handed commit done" \
	"bio queue issue $handed data deliver commit done"
# Of its turns ublkd knows the beginning only, which may be before "dispatch".
timeline | sort -n >/tmp/t/sorted
timeline | diff /tmp/t/sorted - || fail "not in time's order"
says " ublkd  *delivered ublkb0 [0-9]*:[0-9]* write 4096 at 20480$"
says " ublkd  *committed ublkb0 [0-9]*:[0-9]* write result=0 took=[0-9]*[mu]*s$"
timeline | awk '
$2 == "ublkd" { last = $3; count++ }
$3 == "commit" { exit !(count == 2 && last == "committed") }' ||
	fail "what ublkd has recorded is not in its place"

echo "-- many at once"
trace -d 0 -- dd if=/dev/zero of=/dev/ublkb0 bs=2M count=1 oflag=direct
status 0
given=$(grep -c ' queue ' /tmp/t/trace)
[ "$given" -ge 2 ] || fail "one request of 2 MiB"
says "begun by the driver: $given;"
says "delivered to .*: $given; committed: $given; done: $given$"

echo "-- more than is read"
# shellcheck disable=SC2016 # the shell in between expands
trace -q -d 0 -b 16 -- sh -c '
until reader=$(ls -l /proc/[0-9]*/fd/0 2>/dev/null |
	sed -n "s|.* /proc/\([0-9]*\)/fd/0 -> .*/trace_pipe$|\1|p" | grep .); do
	sleep 0.1
done
kill -STOP $reader
dd if=/dev/ublkb0 of=/dev/null bs=4096 count=100 iflag=direct 2>/dev/null
kill -CONT $reader'
status 0
says '^# [0-9]* events lost, as more came than could be read'
says 'block layer: [0-9]*; begun by the driver: [0-9]*; delivered'
! grep 'is with the server\|is not ended\|delivered to nobody' /tmp/t/trace ||
	fail "of requests that are done it says that they wait"

echo "-- names that are not there"
trace -d 0 -t 1 -a ublk_rq_complete_it
says '^# -a ublk_rq_complete_it: is not there.*like it: [a-z_]*ublk'
trace -d 77
status 2
says 'there is no device ublkb77'

# read_late BLOCK: of disk 1, in the background, where it is kept
read_late()
{
	dd if=/dev/ublkb1 of=/dev/null bs=4096 count=1 skip="$1" iflag=direct \
		2>/dev/null &
}

echo "-- requests that do not reach the driver"
expect_ok "add null id=1 queues=1 depth=2"
await_live 1
dd if=/dev/ublkb1 of=/dev/null bs=4096 count=1 2>/dev/null
echo none >/sys/block/ublkb1/queue/scheduler
expect_ok "set 1 delay-time=300s"
read_late 1
read_late 2
wait_for 10 '[ "$(inflight ublkb1)" = 2 ]' || fail "$(inflight ublkb1) in flight"
late="dd if=/dev/ublkb1 of=/dev/null bs=4096 count=1 iflag=direct"
# shellcheck disable=SC2086 # words are wanted
trace -d 1 -t 2 -- $late
status 1
says '^# ublkb1: no request reached the driver$'
says '^# ublkb1: every tag of queue 0 is taken (2)$'
says '^# ublkb1: of the tasks that have handed it I/O, 1 wait for a tag$'
echo mq-deadline >/sys/block/ublkb1/queue/scheduler &
freezer=$!
wait_for 10 'grep -q freeze_queue_wait /proc/$freezer/wchan' ||
	fail "nothing is frozen: $(cat /proc/$freezer/wchan)"
# shellcheck disable=SC2086
trace -d 1 -t 2 -- $late
status 1
says '^# ublkb1: no request reached the driver$'
says "^# task $freezer ([a-z-]*) has frozen a queue, until all that is in flight"
says 'of the tasks that have handed it I/O, 1 wait for its queue, which is frozen$'
expect_ok "set 1 delay-time=0"
wait_for 10 '[ "$(inflight ublkb1)" = 0 ]' || fail "$(inflight ublkb1) in flight"

echo "-- a server that is stopped"
server=$(server_pid)
# With one CPU it stops once it has run, and would take the request along.
trace -d 0 -t 3 -- sh -c "kill -STOP $server
	until grep -q '^State:.T' /proc/$server/status; do sleep 0.1; done
	exec dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 iflag=direct"
status 1
says 'was given to the driver and delivered to nobody for [0-9.]* s: read 4096 at 0'
says '(ublkd-server), state T (stopped)'
says "no more of ublkd's recorder: .*: the server .* is stopped by a signal"
trace -d 0 -t 1
status 1
says '1 request in flight before the trace began, and nothing has moved'
says "nothing of ublkd's recorder: .*: the server .* is stopped by a signal"
kill -CONT "$server"

echo "-- START_DEV that waits"
half-server 40 3 >/tmp/t/half &
half=$!
wait_for 5 'grep -q pending /tmp/t/half' || fail "no half server"
trace -d 40 -t 1
says '(iou-wrk-[0-9]*) is in START_DEV, until every tag is fetched; waits in '
kill $half
wait $half || fail "the half server: $?"
trace -t 2 -- half-server 40 3
status 1
says '^# START_DEV of device 40 by iou-wrk-.*: no answer for'
says 'it waits until every tag is fetched; in this time were 3$'
says 'fetch .*ublkb40 0:2$'
kill "$(pidof half-server)"

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

echo "-- without a server"
expect_ok "del 0"
kill_both
trace -d 1 -t 2 -- dd if=/dev/ublkb1 of=/dev/null bs=4096 count=1 iflag=direct
status 1
says 'ublkb1: no process has /dev/ublkc1 open: it has no server'
says 'nothing of ublkd.s recorder: .*no daemon runs'
start_ublkd
await_live 1
expect_ok "del 1"
left | diff /tmp/t/left - || fail "tracefs is not as it was"
