#!/bin/sh
# An inspection of 256 devices, with 1,024 requests in flight, holds nobody up: no
# turn of the serving thread takes a millisecond of its CPU. The guest counts
# instructions, a nanosecond each, and the kernel tells when the thread sleeps.
#
# needs: binaries fio
# needs: icount
# needs: memory 1536
# size: long:sight
# time: 400
. /t/lib.sh

requires fio

COUNT=256
TRACING=/sys/kernel/tracing
MOST=1000 # us

# to_all COMMAND: each device's, whose number is N there
to_all()
{
	for id in $(seq 0 $((COUNT - 1))); do
		echo "$1" | sed "s/N/$id/"
	done | socat -t 300 - "UNIX-CONNECT:$SOCK" >/tmp/t/answers
	[ "$(grep -c '^OK' /tmp/t/answers)" = $COUNT ] ||
		fail "$1: $(grep '^ERR' /tmp/t/answers | tail -n 3)"
}

all_inflight()
{
	cat /sys/block/ublkb*/inflight | awk '{ sum += $1 + $2 } END { print sum }'
}

# watch_turns: what the server's thread does is traced from now on.
watch_turns()
{
	grep -q " $TRACING tracefs " /proc/mounts ||
		mount -t tracefs tracefs $TRACING
	server_pid >$TRACING/set_event_pid
	echo 16384 >$TRACING/buffer_size_kb
	for event in sched/sched_switch syscalls/sys_enter_epoll_wait \
		syscalls/sys_exit_epoll_wait syscalls/sys_enter_epoll_pwait \
		syscalls/sys_exit_epoll_pwait syscalls/sys_enter_io_uring_enter \
		syscalls/sys_exit_io_uring_enter; do
		echo 1 >"$TRACING/events/$event/enable"
	done
}

# turns: how many there were, and the longest one's us of CPU: from a sleep's end to
# the next one's beginning, without the time in which others ran
turns()
{
	awk -v server="$(server_pid)" '
	function time(i) {
		for (i = 1; i <= NF; i++)
			if ($i ~ /^[0-9]+\.[0-9]+:$/) return $i * 1000000
	}
	function run_until(now) {
		if (runs) used += now - since
		since = now
	}
	/ sched_switch: / {
		run_until(time())
		runs = $0 ~ "next_pid=" server " "
		next
	}
	/ sys_(epoll_p?wait|io_uring_enter)/ {
		run_until(time())
		runs = 1
		if (/ -> /) {
			used = 0
			has_begun = 1
		} else if (has_begun) {
			count++
			if (used > most) most = used
			has_begun = 0
		}
	}
	END { printf "%d %d\n", count, most }
	' $TRACING/trace
}

# inspected COMMAND
inspected()
{
	: >$TRACING/trace
	expect_ok "$1"
	[ "$(echo "$REPLY" | grep -c '^verdict .*requests wait for the layer delay')" = $COUNT ] ||
		fail "$1: not all verdicts: $(echo "$REPLY" | tail -n 9)"
	turns >/tmp/t/turns
	read -r count most </tmp/t/turns
	echo "$1: $STATUS; $count turns, at most $most us"
	[ "$count" -ge 30 ] || fail "turns were not seen"
	[ "$most" -lt $MOST ] || fail "$1: a turn of $most us"
}

# shellcheck disable=SC2119 # none are wanted
start_ublkd
to_all "add null id=N size=16M queues=1 depth=4"
sleep 3
to_all "set N delay-time=600s"
fio --name=l --filename="$(seq -s : 0 $((COUNT - 1)) | sed 's,[0-9]*,/dev/ublkb&,g')" \
	--rw=randread --bs=4k --ioengine=io_uring --direct=1 \
	--iodepth=$((COUNT * 4)) --file_service_type=roundrobin --size=16M \
	--time_based --runtime=600 >/tmp/t/fio 2>&1 &
load=$!
wait_for 100 "[ \"\$(all_inflight)\" = $((COUNT * 4)) ]" ||
	fail "$(all_inflight) requests are in flight"
sleep 2
watch_turns
for command in inspect stuck "inspect tags=yes"; do
	inspected "$command"
done
kill $load || true
to_all "set N delay-time=0"
wait $load || true
