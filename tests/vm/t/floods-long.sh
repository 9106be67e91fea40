#!/bin/sh
# Clients that do all they can: 1,000 that come and go each second, a line of 10 MB,
# one that asks and never reads, 32 that say nothing, and a watch that never reads,
# all of them at once, while others change a device 4,000 times. Neither process
# grows by that, no request of the disk takes longer for it, and no event is lost
# without "EVENT overflow". The guest counts instructions, a nanosecond each.
#
# needs: binaries fio flood jq
# needs: files tests/vm/lib-slow.sh:/t/lib-slow.sh
# needs: icount
# size: long:admin
# time: 900
. /t/lib.sh
# shellcheck source=tests/vm/lib-slow.sh
. /t/lib-slow.sh

requires fio flood jq

SECONDS_EACH=12
GROWTH=1024 # KiB, of both processes
RUNS=5

# peak PID: KiB that it has had at most since forget_peak
peak()
{
	awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"
}

forget_peak()
{
	echo 5 >"/proc/$1/clear_refs"
}

# change TIMES: the faults of device 1, so many events
change()
{
	i=0
	while [ $i -lt "$1" ]; do
		echo "set 1 error-every=$((100000 + i))"
		i=$((i + 1))
	done
}

send_changes()
{
	socat -t 60 - "UNIX:$SOCK" </tmp/t/changes
}

# begin COMMAND...: beside the load; its output is in /tmp/t/flood.N
begin()
{
	floods=$((floods + 1))
	"$@" >/tmp/t/flood.$floods 2>&1 &
	pids="$pids $!"
}

flood_all()
{
	pids='' floods=0
	mkfifo /tmp/t/input
	exec 9<>/tmp/t/input
	socat - "UNIX:$SOCK" </tmp/t/input >/tmp/t/watched &
	watcher=$!
	echo "watch" >&9
	wait_for 10 "grep -q '^OK seq=' /tmp/t/watched" || fail "no watch"
	begin flood "$SOCK" late 9 watch
	begin flood "$SOCK" connections 1000 10
	begin flood "$SOCK" line 10
	begin flood "$SOCK" deaf 1 10 100000 list
	begin flood "$SOCK" deaf 32 10 0 ''
	begin flood "$SOCK" deaf 1 10 1 watch
	sleep 1
	begin send_changes
}

end_floods()
{
	for pid in $pids; do
		wait "$pid" || fail "a flood: $(cat /tmp/t/flood.*)"
	done
	echo quit >&9
	wait $watcher || fail "the watcher"
	exec 9<&-
	rm /tmp/t/input
	head -n 3 /tmp/t/flood.[2-6]
	grep -q '^10000 connections' /tmp/t/flood.2 || fail "too few connections"
	grep -A 1 '^ERR syntax ' /tmp/t/flood.3 | grep -qx OK ||
		fail "after the line: $(cat /tmp/t/flood.3)"
	[ "$(grep -c '^OK id=1' /tmp/t/flood.7)" = 4000 ] ||
		fail "not all was changed: $(tail -n 2 /tmp/t/flood.7)"
	events
}

# The one who reads has each event, with rising numbers. The one who reads late has
# those as well, but for what lies where "EVENT overflow" stands, which says how
# many that were at least.
events()
{
	[ "$(grep -c '^EVENT seq=[0-9]* fault id=1' /tmp/t/watched)" = 4000 ] ||
		fail "who watches has $(grep -c '^EVENT' /tmp/t/watched) events"
	! grep '^EVENT overflow' /tmp/t/watched || fail "and lost some"
	grep -q '^EVENT overflow' /tmp/t/flood.1 || fail "no event was lost"
	sed -n 's/^EVENT overflow lost=/lost /p; s/^EVENT seq=\([0-9]*\) .*/seq \1/p' \
		/tmp/t/flood.1 >/tmp/t/late
	sed -n 's/^EVENT seq=\([0-9]*\) .*/\1/p' /tmp/t/watched |
		awk 'NR == FNR { all[++count] = $1; next }
		$1 == "lost" { lost += $2; told += $2; next }
		{
			for (at++; at <= count && all[at] != $2; at++)
				missing++
			if (at > count || missing > lost)
				bad = bad " " $2
			missing = lost = 0
			seen++
		}
		END {
			print seen " of " count " events read late, " told " told as lost"
			# What came last may be lost as well, if that is told.
			if (bad || count - at > lost) {
				print "without being told:" bad
				exit 1
			}
		}' - /tmp/t/late || fail "an event is lost"
}

start_ublkd
expect_ok "add ram id=0 size=16M"
expect_ok "add null id=1 size=16M"
change 4000 >/tmp/t/changes
dd if=/dev/zero of=/dev/ublkb0 bs=1M count=16 oflag=direct 2>/dev/null
load /tmp/t/warm $SECONDS_EACH ublkb0
server=$(server_pid)
without=0 with=0
for run in $(seq $RUNS); do
	load /tmp/t/fio $SECONDS_EACH ublkb0
	without=$((without + $(slow /tmp/t/fio)))
	echo "$run, without: $(tell /tmp/t/fio)"
done
flood_all # once for what grows for good with the first clients
end_floods
sleep 2
forget_peak "$server"
forget_peak "$KEEPER"
before=$(($(rss "$server") + $(rss "$KEEPER")))
for run in $(seq $RUNS); do
	flood_all
	load /tmp/t/fio $SECONDS_EACH ublkb0
	end_floods
	with=$((with + $(slow /tmp/t/fio)))
	echo "$run, with: $(tell /tmp/t/fio)"
done
after=$(($(peak "$server") + $(peak "$KEEPER")))
echo "requests over 10 ms: $without without, $with with"
echo "memory: $before KiB before, $after KiB at most"
[ $with -le $without ] || fail "requests take longer"
[ $((after - before)) -lt $GROWTH ] || fail "$((after - before)) KiB more"
