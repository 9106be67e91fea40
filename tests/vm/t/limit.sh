#!/bin/sh
# Limits: so many requests or bytes are done in a time as a limit says, by what
# the kernel has counted; changed live, kept when the server dies, and never in
# the way of a forced delete.
#
# sanitizers: long
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: icount
# time: 240
# kernels: 6.12
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio
! sanitized || skip "a sanitizer's time is no measure"

# look WHAT: sets $NOW (ms) and $DONE, by the disk's own statistics. No process
# is started: that could take as long as what is measured.
look()
{
	read -r reads _ read_sectors _ writes _ write_sectors _ \
		</sys/block/ublkb0/stat
	read -r up _ </proc/uptime
	NOW=${up%.*}${up#*.}0
	case $1 in
	requests) DONE=$((reads + writes)) ;;
	bytes) DONE=$(((read_sectors + write_sectors) * 512)) ;;
	esac
}

# rate SECONDS WHAT: how much is done a second, over about that time
rate()
{
	look "$2"
	from=$NOW before=$DONE
	sleep "$1"
	look "$2"
	echo $(((DONE - before) * 1000 / (NOW - from)))
}

# near WHAT GOT WANTED: within 10 %
near()
{
	echo "$1: $2 a second of $3"
	[ "$2" -ge $(($3 * 9 / 10)) ] || fail "$1: $2 a second of $3"
	[ "$2" -le $(($3 * 11 / 10)) ] || fail "$1: $2 a second, above $3"
}

start_ublkd
expect_ok "add ram id=0 size=64M queues=2 limit-iops=200"
echo 2 >/sys/block/ublkb0/queue/nomerges
load ublkb0 --rw=randrw --bs=4k
sleep 1
near "limit-iops" "$(rate 5 requests)" 200

# Live: another limit, then bytes, then both.
expect_ok "set 0 limit-iops=50"
sleep 1
near "a lower limit-iops" "$(rate 5 requests)" 50
expect_ok "set 0 limit-iops=0 limit-bandwidth=1M"
sleep 1
near "limit-bandwidth" "$(rate 5 bytes)" 1048576
expect_ok "set 0 limit-iops=100"
sleep 1
near "the lower one of both" "$(rate 5 requests)" 100

# The next server has them.
kill_server
sleep 1
near "after a kill" "$(rate 5 requests)" 100
ask "show 0" | grep -q 'config text="add ram id=0 size=64M queues=2 limit-bandwidth=1M limit-iops=100"' ||
	fail "$(ask "show 0")"

load_ends

# Without one it is much faster: these would take two seconds.
expect_ok "set 0 limit-iops=0 limit-bandwidth=0"
look requests
from=$NOW
dd if=/dev/ublkb0 of=/dev/null bs=4k count=200 iflag=direct 2>/dev/null
look requests
echo "no limit: 200 requests in $((NOW - from)) ms"
[ $((NOW - from)) -lt 1000 ] || fail "no faster without a limit"

# Hours of waiting are no reason to wait for a forced delete.
expect_ok "set 0 limit-bandwidth=1"
fio --name=w --filename=/dev/ublkb0 --rw=write --direct=1 --bs=4k \
	--ioengine=libaio --iodepth=16 --size=1M >/tmp/t/fio.log 2>&1 &
writer=$!
wait_for 10 "ask 'show 0' | grep -q 'layer name=limit.* waiting=1'" ||
	fail "nothing waits: $(ask "show 0")"
look requests
from=$NOW
expect_ok "del 0 force=yes"
read -r up _ </proc/uptime
took=$((${up%.*}${up#*.}0 - from))
echo "del force=yes took $took ms"
[ "$took" -lt 5000 ] || fail "a forced delete waits for a limit"
wait $writer || true
