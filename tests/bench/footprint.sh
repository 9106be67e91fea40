#!/bin/sh
# What ublkd takes when nothing happens: memory, wakeups, and whether the host
# shows it as waiting for I/O. Prints a table; fails if it wakes up.
#
# needs: binaries stopwatch
# needs: memory 2048
# needs: icount
# time: 600
. /t/lib.sh

SECONDS_IDLE=60

# tasks_of_both: /proc/PID/task/TID, the kernel's io workers among them
tasks_of_both()
{
	for pid in "$KEEPER" "$(server_pid)"; do
		echo "/proc/$pid/task/"*
	done
}

# wakes: how often a task of both processes has begun to run
wakes()
{
	for task in $(tasks_of_both); do
		cat "$task/schedstat"
	done | awk '{ n += $3 } END { print n + 0 }'
}

# iowait: of the whole guest, in hundredths of a second
iowait()
{
	awk '/^cpu / { print $6 }' /proc/stat
}

# grow FROM TO: a disk of each kind in turn, added through one connection
grow()
{
	# shellcheck disable=SC2046 # words without blanks
	[ "$1" = "$2" ] || eval "stopwatch -s $SOCK $(
		for id in $(seq "$1" $(($2 - 1))); do
			[ $((id % 2)) = 0 ] && target=null || target='ram size=16M'
			echo "'add $target id=$id'"
		done | tr '\n' ' ')" >/tmp/t/added || fail "$(tail -n 2 /tmp/t/added)"
}

# line DEVICES: a line of the table
line()
{
	server=$(server_pid)
	# A task that is about to sleep, and workers that nobody needs any more.
	sleep 10
	woken=$(wakes)
	waited=$(iowait)
	sleep $SECONDS_IDLE
	woken=$(($(wakes) - woken))
	waited=$(($(iowait) - waited))
	printf '| %7s %8s %8s %8s %8s %8s %8s %6s %7s %7s\n' "$1" \
		"$(($(pss "$KEEPER") + $(pss "$server")))" \
		"$(pss "$KEEPER")" "$(pss "$server")" \
		"$(($(rss "$KEEPER") + $(rss "$server")))" \
		"$(rss "$KEEPER")" "$(rss "$server")" \
		"$(tasks_of_both | wc -w)" $woken $waited
	[ $woken = 0 ] || bad="$bad; $woken wakeups in $SECONDS_IDLE s with $1"
	[ $waited -le 1 ] || bad="$bad; iowait has grown by $waited with $1"
}

bad=''
start_ublkd
printf '| %7s %8s %8s %8s %8s %8s %8s %6s %7s %7s\n' devices "PSS KiB" keeper \
	server "RSS KiB" keeper server tasks wakeups iowait
have=0
for count in 0 1 16 256; do
	grow $have $count
	have=$count
	line $count
done
[ -z "$bad" ] || fail "${bad#; }"
