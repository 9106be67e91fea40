#!/bin/sh
# Devices come and go, and neither process grows by it: descriptors, memory and
# threads are the same after many cycles as after a few.
#
# time: 240
. /t/lib.sh

# cycles-long asks for more.
: "${CYCLES:=100}"
WARM_UP=20
# KiB; a page lost in each of 80 cycles would be 320.
GROWTH_MAX=128

# batch: ten cycles. Nine go through one connection, and the last one's disk is
# written and read, through a connection for each command.
batch()
{
	for i in 1 2 3 4 5 6 7 8 9; do
		echo "add ram size=64M id=$i queues=2"
		echo "del id=$i"
	done | socat -t 60 - "UNIX-CONNECT:$SOCK" >/tmp/t/batch
	[ "$(grep -c '^OK id=' /tmp/t/batch)" = 18 ] ||
		fail "not every command was done: $(cat /tmp/t/batch)"
	expect_ok "add ram size=64M"
	dd if=/dev/urandom of=/tmp/t/data bs=256k count=1 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb0 bs=64k oflag=direct 2>/dev/null
	dd if=/dev/ublkb0 bs=64k count=4 iflag=direct 2>/dev/null |
		cmp - /tmp/t/data || fail "the disk has other data"
	expect_ok "del id=0"
}

# threads PID: all of its tasks, the kernel's io workers too.
threads()
{
	find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l
}

# mapped PID: KiB. Here a leak shows before it is touched.
mapped()
{
	awk '/^VmSize:/ { print $2 }' "/proc/$1/status"
}

shmem()
{
	awk '/^Shmem:/ { print $2 }' /proc/meminfo
}

# measure NAME: sets NAME_fds_keeper and so on, and prints them. io workers
# leave some seconds after their work: their number is bounded, not flat.
measure()
{
	for who in keeper server; do
		pid=$("${who}_pid")
		eval "$1_fds_$who=$(fds "$pid") $1_rss_$who=$(rss "$pid")"
		eval "$1_mapped_$who=$(mapped "$pid")"
		eval "$1_threads_$who=$(threads "$pid")"
		eval "echo $1 $who: descriptors \$$1_fds_$who," \
			"RSS \$$1_rss_$who KiB, mapped \$$1_mapped_$who KiB," \
			"tasks \$$1_threads_$who"
	done
	eval "$1_shmem=$(shmem)"
	eval "echo $1 host: Shmem \$$1_shmem KiB"
}

# grown WHAT LIMIT: fails if it is more at the end than after the warm-up.
grown()
{
	eval "more=\$((end_$1 - start_$1))"
	# shellcheck disable=SC2154 # set by eval
	[ "$more" -le "$2" ] || fail "$1 has grown by $more"
}

start_ublkd
server=$(server_pid)
cycle=0
while [ $cycle -lt "$CYCLES" ]; do
	[ $cycle != $WARM_UP ] || measure start
	batch
	cycle=$((cycle + 10))
done
measure end
[ "$(server_pid)" = "$server" ] || fail "the server is another one now"
for who in keeper server; do
	grown "fds_$who" 0
	grown "rss_$who" $GROWTH_MAX
	grown "mapped_$who" $GROWTH_MAX
done
# What the disks held is gone with them.
grown shmem 512
# shellcheck disable=SC2154 # set by eval
[ "$end_threads_server" = 1 ] || fail "the server has $end_threads_server tasks"
# shellcheck disable=SC2154
[ "$end_threads_keeper" -le $((start_threads_keeper + 2)) ] ||
	fail "the keeper has $end_threads_keeper tasks"
