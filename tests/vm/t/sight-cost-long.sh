#!/bin/sh
# What the recorder costs: at most 3 % of the server's CPU time for a request of
# null, one at a time and 32 at a time, with it against without it. The guest counts
# instructions, a nanosecond each.
#
# needs: binaries fio
# needs: icount
# size: long:sight
# time: 400
. /t/lib.sh

requires fio

REQUESTS=20000
MOST=30 # thousandths

# cost DEPTH: ns of the server's CPU time for a request
cost()
{
	server=$(server_pid)
	begun=$(cut -d ' ' -f 1 "/proc/$server/schedstat")
	fio --name=l --filename=/dev/ublkb0 --rw=randread --bs=4k --direct=1 \
		--ioengine=io_uring --iodepth="$1" --size=64M \
		--io_size=$((REQUESTS * 4))k >/tmp/t/fio || fail "$(cat /tmp/t/fio)"
	ended=$(cut -d ' ' -f 1 "/proc/$server/schedstat")
	echo $(((ended - begun) / REQUESTS))
}

# measure yes|no: sets cost1_yes and so on, the least of what was measured so far
measure()
{
	start_ublkd --recorder="$1"
	expect_ok "add null id=0 size=64M queues=1"
	sleep 2
	for depth in 1 32; do
		cost $depth >/dev/null # all that is grown once has grown
		eval "least=\${cost${depth}_$1:-999999999}"
		now=$(cost $depth)
		[ "$now" -ge "$least" ] || least=$now
		eval "cost${depth}_$1=$least"
		echo "recorder=$1, depth $depth: $now ns a request"
	done
	stop_ublkd
}

for round in 1 2; do
	echo "- round $round"
	measure no
	measure yes
done
# shellcheck disable=SC2154 # set by measure
for depth in 1 32; do
	eval "with=\$cost${depth}_yes without=\$cost${depth}_no"
	echo "depth $depth: $with ns with it, $without ns without it," \
		"$(((with - without) * 1000 / without)) thousandths more"
	[ $(((with - without) * 1000)) -le $((without * MOST)) ] ||
		fail "depth $depth: the recorder costs more than $MOST thousandths"
done
