#!/bin/sh
# ublk-trace follows the requests of another server as well: kublk, that of the
# kernel's own tests.
#
# needs: binaries kublk
# needs: files contrib/ublk-trace:/t/ublk-trace
# needs: files tests/vm/lib-trace.sh:/t/lib-trace.sh
# needs: cpus 1
# sanitizers: long
# size: default long:sight
. /t/lib.sh
# shellcheck source=tests/vm/lib-trace.sh
. /t/lib-trace.sh

left >/tmp/t/left
kublk add -t null -n 1 -q 1 -d 16 >/tmp/t/kublk 2>&1 || {
	cat /tmp/t/kublk
	fail "kublk"
}
wait_for 10 '[ -b /dev/ublkb1 ]' || fail "no disk of kublk"
way 1 "bio insert queue issue $handed commit done" \
	"bio insert queue issue $handed commit done"
says "nothing of ublkd's recorder: .*no daemon runs"

echo "-- it is stopped"
server=$(pidof kublk)
kill -STOP "$server"
trace -d 1 -t 2 -- dd if=/dev/ublkb1 of=/dev/null bs=4096 count=1 iflag=direct
status 1
says 'was given to the driver and delivered to nobody for [0-9.]* s: read 4096 at 0'
says "its server is process $server (kublk), state T (stopped)"
kill -CONT "$server"
kublk del -n 1 >/dev/null
left | diff /tmp/t/left - || fail "tracefs is not as it was"
