#!/bin/sh
# Devices come and go, and neither process grows by it: descriptors, memory and
# threads are the same after many cycles as after a few.
#
# sanitizers: long
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

# tasks PID: how many, the kernel's io workers too.
tasks()
{
	find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l
}

# figures: of both processes and the host, a name and a number a line; KiB.
figures()
{
	for who in keeper server; do
		pid=$("${who}_pid")
		echo "$who-descriptors $(fds "$pid")"
		echo "$who-rss $(rss "$pid")"
		echo "$who-mapped $(mapped "$pid")"
		echo "$who-tasks $(tasks "$pid")"
	done
	echo "host-shmem $(shmem)"
}

start_ublkd
server=$(server_pid)
cycle=0
while [ $cycle -lt "$CYCLES" ]; do
	[ $cycle != $WARM_UP ] || figures >/tmp/t/figures.start
	batch
	cycle=$((cycle + 10))
done
figures >/tmp/t/figures.end
[ "$(server_pid)" = "$server" ] || fail "the server is another one now"
for who in keeper server; do
	grown "$who-descriptors" 0
	# AddressSanitizer keeps what is freed for a while.
	! sanitized || continue
	grown "$who-rss" $GROWTH_MAX
	grown "$who-mapped" $GROWTH_MAX
done
# The kernel's io workers leave some seconds after their work.
grown keeper-tasks 2
grown server-tasks 0
[ "$(figure server-tasks end)" = 1 ] || fail "the server has more than one task"
# What the disks held is gone with them.
grown host-shmem 512
