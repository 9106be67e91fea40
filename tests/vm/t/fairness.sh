#!/bin/sh
# One queue is kept full: commands are answered all the same, and the one
# request of another disk has its turn, wherever the server sleeps. Nothing here
# depends on how fast the host is: what is counted is how many requests of the
# busy disk are served for one of the other.
#
# sanitizers: long
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 300
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio
! sanitized || skip "wakeups.sh is enough for a sanitizer"

READS=300
LISTS=20

# completed DISK: its requests, so far
completed()
{
	awk '{ print $1 + $5 }' "/sys/block/$1/stat"
}

# in_between NAME COUNT: what the busy disk did for each of so many.
in_between()
{
	more=$((($(completed ublkb0) - before) / $2))
	echo "$1: $more requests of the busy disk for each of $2"
	goes_on ublkb0 || fail "the load has ended"
	[ $more -le "$3" ] || fail "$1 have to wait"
}

reads()
{
	before=$(completed ublkb0)
	dd if=/dev/ublkb1 of=/dev/null bs=4k count=$READS iflag=direct \
		2>/dev/null || fail "the other disk cannot be read"
	in_between reads $READS 1000
}

# Each is a process or two that the host starts, beside the load.
lists()
{
	before=$(completed ublkb0)
	for _ in $(seq $LISTS); do
		expect_ok list
		[ "$(echo "$REPLY" | grep -c '^dev ')" = 2 ] || fail "$REPLY"
	done
	in_between lists $LISTS 20000
}

# check [ARG...]: a ublkd with these arguments.
check()
{
	start_ublkd "$@"
	expect_ok "add ram id=0 size=64M queues=1 depth=128"
	expect_ok "add ram id=1 size=16M queues=1"
	load ublkb0 --rw=randrw --bs=4k --iodepth=128
	goes_on ublkb0 || fail "no load"
	reads
	lists
	load_ends
	stop_ublkd
}

check
check --hot=no
