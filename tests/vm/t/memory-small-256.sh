#!/bin/sh
# The same on a larger host, and there in a cgroup of 48 MiB: its limit counts.
#
# needs: files tests/vm/t/memory-small.sh:/t/memory-small.sh
# needs: binaries ask-ublkd
# needs: memory 256
# sanitizers: long
# expect-kernel: Buffer I/O error on dev(ice)? ublkb
# time: 180
. /t/memory-small.sh

GROUP=/sys/fs/cgroup/ublkd-test
start_in_group $GROUP 48M
fill_disk
stop_ublkd
grep -qx 'oom_kill 0' $GROUP/memory.events || fail "$(cat $GROUP/memory.events)"
rmdir $GROUP
