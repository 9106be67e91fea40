#!/bin/sh
# A server that was busy and has nothing to do any more does not wake up,
# wherever it sleeps, and a host with it does not look busy with I/O.
#
# sanitizers: long
# needs: binaries fio
# time: 300
. /t/lib.sh

requires fio
! sanitized || skip "wakeups.sh is enough for a sanitizer"

DISKS='0 1 2 3'
# idle-long asks for more: s
: "${LASTS:=10}"

# switches PID: of its task, voluntary or not. The kernel's own workers for it
# are others: the last of them looks every 5 s whether it is needed.
switches()
{
	awk '/ctxt_switches:/ { n += $2 } END { print n }' "/proc/$1/status"
}

# iowait: of all CPUs, hundredths of a second
iowait()
{
	awk '$1 == "cpu" { print $6 }' /proc/stat
}

# busy: each disk, alone and with others, one request at a time and many. What is
# busy last is where a server may stay asleep.
busy()
{
	for id in $DISKS; do
		fio --name=a --filename="/dev/ublkb$id" --rw=randrw --bs=4k \
			--direct=1 --ioengine=libaio --iodepth=32 \
			--number_ios=500 >/tmp/t/fio.log 2>&1 ||
			fail "fio: $(tail /tmp/t/fio.log)"
	done
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=500 iflag=direct \
		2>/dev/null || fail "no reads"
}

# sleeps_in FUNCTION: of the kernel.
sleeps_in()
{
	wait_for 5 "grep -q $1 /proc/$server/stack" ||
		fail "it sleeps elsewhere: $(cat "/proc/$server/stack")"
}

# is_idle SECONDS TIMES: neither process has run, and nobody waited for I/O. libev
# itself never sleeps longer than a minute, so that who sleeps there may have
# woken up once.
is_idle()
{
	server_before=$(switches "$server")
	keeper_before=$(switches "$KEEPER")
	waited=$(iowait)
	sleep "$1"
	server_woke=$(($(switches "$server") - server_before))
	keeper_woke=$(($(switches "$KEEPER") - keeper_before))
	waited=$(($(iowait) - waited))
	echo "in $1 s: server woken $server_woke times, keeper $keeper_woke," \
		"iowait $waited hundredths of a second"
	[ $server_woke -le "$2" ] || fail "the server has woken up"
	[ $keeper_woke -le 1 ] || fail "the keeper has woken up"
	# Something else in the guest may have written for a moment.
	[ $waited -le 10 ] || fail "the host looks busy with I/O"
}

# check FUNCTION [ARG...]: of a ublkd with these arguments, which sleeps there.
check()
{
	place=$1
	shift
	start_ublkd "$@"
	server=$(server_pid)
	for id in $DISKS; do
		expect_ok "add ram id=$id size=16M"
	done
	busy
	# What it holds for the next request it gives back within 2 s or so.
	sleep 6
	sleeps_in "$place"
	case $place in
	*epoll*) is_idle "$LASTS" 1 ;;
	*) is_idle "$LASTS" 0 ;;
	esac
	busy
	stop_ublkd
}

case $(uname -r) in
6.12*) check do_epoll_wait ;;
*) check io_cqring_wait ;;
esac
check do_epoll_wait --hot=no
