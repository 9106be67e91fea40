#!/bin/sh
# A fault of Linux, not a test of ublkd: a CPU is taken offline while a request
# of its queue is held, and the server dies. Taking it offline waits for the
# request and holds the lock of CPU hotplug, which the dying server needs to end
# its io_uring workers: all of that hangs for good (ublkd(8), CAVEATS). It fails
# on a kernel that does not have the fault any more. The guest is lost by it.
#
# size: long:cpu-offline
# time: 120
# expect-kernel: INFO: task .* blocked
. /t/lib.sh

start_ublkd
expect_ok "add null id=0 size=16M queues=2 delay-time=50s"
taskset 2 dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 iflag=direct \
	2>/dev/null &
wait_for 5 '[ "$(inflight ublkb0)" = 1 ]' || fail "no request is held"
server=$(server_pid)
(echo 0 >/sys/devices/system/cpu/cpu1/online) &
hotplug=$!
sleep 2
[ -n "$(d_tasks)" ] || alive $hotplug || fail "the CPU is offline at once"
kill -9 "$server"
sleep 30
alive "$server" || fail "this kernel does not have the fault"
echo "the server cannot end:"
show_task "/proc/$server/task/$server"
# Nothing can be tidied up: the next test gets another guest.
trap - EXIT
touch /run/lost
exit 0
