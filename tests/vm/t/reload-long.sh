#!/bin/sh
# Of ten devices under load one changes, again and again, by reload: the requests to
# the other nine do not take longer than without. The guest counts instructions, and
# has one CPU, of which the load and its server get what they need: how long others
# compute, such as who asks for the reload, is no matter here.
#
# needs: binaries fio jq
# needs: files tests/vm/lib-slow.sh:/t/lib-slow.sh
# needs: icount
# size: long:admin
# time: 600
. /t/lib.sh
# shellcheck source=tests/vm/lib-slow.sh
. /t/lib-slow.sh

requires fio jq

RUNS=5
NICE=-19
SECONDS_EACH=8

# configure DEPTH: of the one that changes
configure()
{
	echo "add null id=0 size=64M depth=$1" >/tmp/t/new
	for n in 1 2 3 4 5 6 7 8 9; do
		echo "add null id=$n size=64M"
	done >>/tmp/t/new
	mv /tmp/t/new /tmp/t/c
	echo "$1" >/tmp/t/depth
}

load_nine()
{
	load /tmp/t/fio $SECONDS_EACH ublkb1 ublkb2 ublkb3 ublkb4 ublkb5 ublkb6 \
		ublkb7 ublkb8 ublkb9
}

# reload_all: while there is a file /tmp/t/loaded
reload_all()
{
	times=0
	while [ -e /tmp/t/loaded ]; do
		configure $((48 - $(cat /tmp/t/depth)))
		expect_ok reload
		[ "$STATUS" = "OK done=2" ] || fail "$REPLY"
		[ "$(echo "$REPLY" | grep -c 'do=keep')" = 9 ] || fail "$REPLY"
		times=$((times + 1))
		echo $times >/tmp/t/times
		sleep 0.5
	done
}

configure 32
start_ublkd --config /tmp/t/c
renice -n $NICE -p "$(server_pid)"
load_nine
without=0 with=0
for run in $(seq $RUNS); do
	load_nine
	without=$((without + $(slow /tmp/t/fio)))
	echo "$run, without: $(tell /tmp/t/fio)"
done
for run in $(seq $RUNS); do
	touch /tmp/t/loaded
	reload_all &
	reloader=$!
	load_nine
	rm /tmp/t/loaded
	wait $reloader || fail "a reload"
	with=$((with + $(slow /tmp/t/fio)))
	echo "$run, with $(cat /tmp/t/times) reloads: $(tell /tmp/t/fio)"
	[ "$(cat /tmp/t/times)" -ge 5 ] || fail "too few reloads"
done
echo "requests over 10 ms: $without without, $with with"
[ $with -le $without ] || fail "requests take longer"
