#!/bin/sh
# A device is quiesced under load: nothing is served and nothing fails until it is
# resumed, also by servers that come meanwhile. On drivers without it that is said.
#
# sanitizers: long
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 120
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio

# requests: those that the disk has answered
requests()
{
	awk '{ print $1 + $5 }' /sys/block/ublkb0/stat
}

# rests: nobody is served, and it is said for what it waits
rests()
{
	wait_for 10 'ask list | grep -q "^dev id=0 .* state=quiesced .* waits-for=resume"' ||
		fail "not quiesced: $(ask list)"
	before=$(requests)
	sleep 1
	[ "$(requests)" = "$before" ] || fail "requests are answered"
	alive "$LOAD" || fail "the load has ended"
}

# resumed: and the load goes on
resumed()
{
	expect_ok "resume 0"
	is_live 0 || fail "not live: $(ask list)"
	goes_on ublkb0 || {
		dump_state
		fail "the load stands still"
	}
}

start_ublkd
expect_ok "add ram id=0 size=64M"
expect_err state "resume 0"
if ! ask features | grep -q 'name=quiesce have=yes'; then
	expect_err unsupported "quiesce 0"
	is_live 0 || fail "not live: $(ask list)"
	exit 0
fi
expect_ok "add null id=1 recovery=no"
expect_err unsupported "quiesce 1"
expect_ok "del 1"
load ublkb0 --rw=randrw --verify=crc32c --verify_backlog=64 --bsrange=4k-64k
for round in 1 2 3; do
	echo "- round $round"
	expect_ok "quiesce 0"
	rests
	resumed
done

echo "- another server, and another keeper"
expect_ok "quiesce 0"
expect_err state "quiesce 0"
server=$(server_pid)
kill -9 "$server"
wait_for 30 '[ -n "$(server_pid)" ] && [ "$(server_pid)" != "$server" ]' ||
	fail "no next server"
rests
upgraded
rests
keeper_killed
rests
resumed
load_ends

echo "- deleted while it rests"
expect_ok "quiesce 0"
dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
reader=$!
sleep 1
alive $reader || fail "a read is answered"
expect_ok "del 0 force=yes"
! wait $reader || fail "a read of a deleted disk succeeds"
