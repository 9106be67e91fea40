#!/bin/sh
# reload: of ten devices in use one changes, and the requests to the other nine do
# not wait for that; what came from the configuration is known after crash and
# upgrade; what loses data or is in use is left, unless replace=yes; and SIGHUP.
#
# needs: binaries fio
# kernels: 6.12
. /t/lib.sh

LIMIT=2s # of a request meanwhile, in a guest that is emulated
INTERRUPTED=128 # what fio ends with then, and one more for each thing that is wrong

# ten DEPTH: the configuration, of which the first line is another one
ten()
{
	echo "add null id=0 size=64M depth=$1"
	for n in 1 2 3 4 5 6 7 8 9; do
		echo "add null id=$n size=64M"
	done
}

# change FILE: in the configuration's place at once, as an editor does it
change()
{
	mv "$1" /tmp/t/c
}

# has PATTERN: in the answer to the last command
has()
{
	echo "$REPLY" | grep -q "$1" || fail "no '$1' in $REPLY"
}

# disks NUMBER...: there are these, and no others
disks()
{
	there=$(cd /dev && echo ublkb* | sed 's/ublkb//g')
	[ "$there" = "$*" ] || fail "there are disks $there, not $*"
}

in_use()
{
	echo "- one of ten devices changes under load"
	ten 64 >/tmp/t/c
	start_ublkd --config /tmp/t/c
	set --
	for n in 1 2 3 4 5 6 7 8 9; do
		set -- "$@" --name=job$n --filename=/dev/ublkb$n
	done
	(
		status=0
		fio --rw=randrw --bs=4k --direct=1 --ioengine=libaio --iodepth=4 \
			--rate_iops=100,100 --time_based --runtime=300 \
			--max_latency=$LIMIT "$@" >/tmp/t/fio 2>&1 || status=$?
		echo $status >/tmp/t/fio-status
	) &
	wait_for 20 '[ "$(inflight_all)" -gt 0 ]' || fail "no load"
	for depth in 32 16 8 32; do
		ten $depth >/tmp/t/new
		change /tmp/t/new
		expect_ok reload
		[ "$(echo "$REPLY" | grep -c 'do=keep')" = 9 ] || fail "$REPLY"
		has '^plan step=1 do=del id=0 .* fixed=depth$'
		has '^OK done=2$'
		[ ! -e /tmp/t/fio-status ] || break
	done
	killall -INT fio || true # it has ended by itself
	wait_for 60 '[ -e /tmp/t/fio-status ]' || fail "the load does not end"
	[ "$(cat /tmp/t/fio-status)" = $INTERRUPTED ] || {
		cat /tmp/t/fio
		fail "a request took longer than $LIMIT, or failed"
	}
	expect_ok "show 0"
	[ "$(field depth)" = 32 ] || fail "$REPLY"
	stop_ublkd
}

# Requests that have come to any of the ten.
inflight_all()
{
	cat /sys/block/ublkb[1-9]/stat | awk '{ sum += $1 + $5 } END { print sum }'
}

lasting()
{
	echo "- what came from the configuration is known after crash and upgrade"
	cat >/tmp/t/c <<-END
		add null id=0
		add null id=1
		add ram id=2 size=1M keep=yes
	END
	start_ublkd --config /tmp/t/c
	expect_ok "add null id=5"
	both_killed --config /tmp/t/c
	upgraded
	await_live_count 4
	kill_server
	await_live_count 4
	echo "add null id=1" >/tmp/t/c
	expect_err busy reload
	has '^plan step=1 do=del id=0 '
	has '^plan step=2 do=del id=2 .* needs=replace '
	has '^plan step=3 do=keep id=1 name=ublkb1$'
	has '^done step=2 result=skipped '
	has '^ERR busy '
	disks 1 2 5
	expect_ok "reload replace=yes"
	disks 1 5
}

# In use: the device stays. By a signal it always does.
used()
{
	echo "- in use, and by a signal"
	exec 9</dev/ublkb1
	echo "add null id=7" >/tmp/t/c
	kill -HUP "$(keeper_pid)"
	wait_for 20 'grep -q "reload: ERR busy" "$LOG"' || fail "no reload"
	disks 1 5 7
	expect_err busy reload
	has '^done step=1 result=failed symbol=busy text=".*opened by'
	expect_ok "reload replace=yes dry-run=yes"
	disks 1 5 7
	expect_ok "reload replace=yes"
	exec 9<&-
	disks 5 7
	expect_ok "reload prune=yes"
	disks 7
	stop_ublkd
	no_devices
}

in_use
lasting
used
