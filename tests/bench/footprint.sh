#!/bin/sh
# What ublkd takes when nothing happens: memory, wakeups, and whether the host
# shows it as waiting for I/O. Prints a table; fails if it takes too much, or
# wakes up.
#
# needs: binaries stopwatch
# needs: memory 2048
# needs: icount
# time: 600
. /t/lib.sh

SECONDS_IDLE=60
FORMAT='| %7s %8s %8s %8s %8s %8s %8s %6s %8s %8s %7s\n'

# workers_of_both, tasks_of_both: /proc/PID/task/TID; the kernel's own workers for
# their rings, and the others. As long as a process lives the kernel keeps one
# worker, which looks every 5 s whether it is needed.
workers_of_both()
{
	grep -l '^iou-wrk' "/proc/$KEEPER/task/"*/comm \
		"/proc/$server/task/"*/comm | sed 's,/comm$,,'
}

tasks_of_both()
{
	grep -L '^iou-wrk' "/proc/$KEEPER/task/"*/comm \
		"/proc/$server/task/"*/comm | sed 's,/comm$,,'
}

# wakes TASK...: how often they have begun to run
wakes()
{
	for task; do
		cat "$task/schedstat"
	done | awk '{ n += $3 } END { print n + 0 }'
}

# iowait: of the whole guest, in hundredths of a second
iowait()
{
	awk '/^cpu / { print $6 }' /proc/stat
}

# target_of ID: each kind in turn, if this build has both
target_of()
{
	if [ $(($1 % 2)) = 1 ] && [ -n "$has_ram" ]; then
		echo 'ram size=16M'
	else
		echo null
	fi
}

# grow FROM TO: so many disks, added through one connection
grow()
{
	# shellcheck disable=SC2046 # words without blanks
	[ "$1" = "$2" ] || eval "stopwatch -s $SOCK $(
		for id in $(seq "$1" $(($2 - 1))); do
			echo "'add $(target_of "$id") id=$id'"
		done | tr '\n' ' ')" >/tmp/t/added || fail "$(tail -n 2 /tmp/t/added)"
}

# too_much WHAT FOUND AT-MOST DEVICES
too_much()
{
	[ "$2" -le "$3" ] || bad="$bad; $1 is $2 with $4 devices, not $3 or less"
}

# line DEVICES PSS-MAX: a line of the table
line()
{
	server=$(server_pid)
	# A task that is about to sleep, and workers that nobody needs any more.
	sleep 10
	tasks=$(tasks_of_both)
	workers=$(workers_of_both)
	# shellcheck disable=SC2086 # words without blanks
	woken=$(wakes $tasks) workers_woken=$(wakes $workers)
	waited=$(iowait)
	sleep $SECONDS_IDLE
	# shellcheck disable=SC2086
	woken=$(($(wakes $tasks) - woken)) \
		workers_woken=$(($(wakes $workers) - workers_woken))
	waited=$(($(iowait) - waited))
	both=$(($(pss "$KEEPER") + $(pss "$server")))
	# shellcheck disable=SC2059,SC2086 # it is a format; words without blanks
	printf "$FORMAT" "$1" $both "$(pss "$KEEPER")" "$(pss "$server")" \
		"$(($(rss "$KEEPER") + $(rss "$server")))" \
		"$(rss "$KEEPER")" "$(rss "$server")" \
		"$(echo $tasks | wc -w)" $woken $workers_woken $waited
	too_much "PSS in KiB" $both "$2" "$1"
	too_much "the number of wakeups in $SECONDS_IDLE s" $woken 0 "$1"
	too_much "the growth of iowait" $waited 1 "$1"
}

bad='' has_ram=''
start_ublkd
! has_target ram || has_ram=yes
# shellcheck disable=SC2059
printf "$FORMAT" devices "PSS KiB" keeper server "RSS KiB" keeper server tasks \
	wakeups workers\' iowait
have=0
for count in 0 1 16 256; do
	grow $have $count
	have=$count
	case $count in
	0) line 0 3072 ;;
	*) line $count 8192 ;;
	esac
done
[ -z "$bad" ] || fail "${bad#; }"
