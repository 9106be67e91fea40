#!/bin/sh
# A device in use is not deleted and says who uses it: a mount, swap, a device
# stacked on it, a loop device, an exclusive opener, any opener. A shutdown names
# all of them; SIGTERM goes on and tells the log. Requests that nobody answers do
# not hold up the end.
#
# needs: binaries fio mkfs.ext4 dmsetup losetup flock strace
# needs: modules ext4 dm-mod loop
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 150
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio mkfs.ext4 dmsetup

# Of util-linux: busybox's is another.
LOSETUP=/usr/local/bin/losetup

use_by_mount()
{
	mount_ext4 /dev/ublkb0 /tmp/t/m
}

use_by_swap()
{
	mkswap /dev/ublkb1 >/dev/null
	swapon /dev/ublkb1
}

use_by_holder()
{
	echo "0 8 linear /dev/ublkb2 0" | dmsetup create held
}

use_by_loop()
{
	loop=$($LOSETUP -f --show /dev/ublkb3)
}

# An O_EXCL open of a block device keeps other exclusive ones out.
use_exclusively()
{
	dd if=/dev/ublkb4 of=/dev/null bs=512 count=1 2>/dev/null
	sh -c 'exec flock /dev/ublkb4 sleep 600' &
	exclusive=$!
	wait_for 5 "ls -l /proc/$exclusive/fd | grep -q ublkb4" ||
		fail "nobody opens it"
}

use_by_opener()
{
	# shellcheck disable=SC2217 # it only has it open
	sleep 600 </dev/ublkb5 &
	opener=$!
}

# The words that name each.
WHO="mounted.on./tmp/t/m swap held.by.dm-0 loop opened.by.*process opened.by.sleep"

# each_is_named: by del, and the device stays.
each_is_named()
{
	id=0
	for who in $WHO; do
		expect_err busy "del id=$id"
		echo "$STATUS" | grep -q "$who" || fail "not '$who': $STATUS"
		expect_ok "show $id"
		[ "$(field state)" = live ] || fail "$REPLY"
		id=$((id + 1))
	done
}

# shutdown_names_all: and changes nothing.
shutdown_names_all()
{
	expect_err busy shutdown
	[ "$(echo "$REPLY" | grep -c '^busy id=')" = 6 ] || fail "$REPLY"
	for who in $WHO; do
		echo "$REPLY" | grep '^busy ' | grep -q "$who" ||
			fail "not '$who': $REPLY"
	done
	echo "$STATUS" | grep -q 'devices in use: 6' || fail "$STATUS"
	expect_ok "add null size=1M id=9"
	expect_ok "del id=9"
}

# The end asks nobody, but says in the log whom it hits.
term_goes_on()
{
	swapoff /dev/ublkb1
	umount /tmp/t/m
	dmsetup remove held
	$LOSETUP -d "$loop"
	stop_ublkd
	grep -q 'ublkb5 is stopped while it is in use: opened by sleep' "$LOG" ||
		fail "it is not told"
	kill "$opener" "$exclusive"
}

# ended_within SECONDS
ended_within()
{
	within "$1" '[ -e /tmp/t/status ]' || {
		dump_state
		fail "it does not end"
	}
	[ "$(cat /tmp/t/status)" = 0 ] || fail "status $(cat /tmp/t/status)"
	KEEPER=''
	no_devices
}

# A server that answers nothing, not even that it is to stop.
hung_server_is_ended()
{
	start_ublkd --stop-timeout 3
	expect_kill "$(server_pid)"
	expect_ok "add null size=64M queues=1 depth=8"
	hold_every_tag ublkb0 8
	kill -TERM "$KEEPER"
	sleep 1
	[ ! -e /tmp/t/status ] || fail "it did not wait"
	ended_within 15
	client_ends 3
	grep -q 'the server is killed' "$LOG" || fail "it is not told"
}

# A request that the server holds, at a shutdown with a limit of its own.
shutdown_has_a_limit()
{
	start_ublkd
	expect_ok "add null size=64M queues=1 depth=8"
	client_at_work ublkb0 8
	expect_kill "$(server_pid)"
	stop_server_at sendmsg:when=1 "shutdown force=yes timeout=2"
	# The keeper has been told; the server stands still after that.
	ended_within 15
	wait "$TRACER" || true
	client_ends 3
}

start_ublkd
for id in 0 1 2 3 4 5; do expect_ok "add ram size=16M id=$id"; done
use_by_mount
use_by_swap
use_by_holder
use_by_loop
use_exclusively
use_by_opener
each_is_named
shutdown_names_all
term_goes_on
hung_server_is_ended
shutdown_has_a_limit
