#!/bin/sh
# Keeper and server are killed at the same instant, or one right after the other,
# under load on nine devices of two queues. On Linux 6.12 that can take the host
# down (io_fallback_tw, see known-crashes): with rings that defer the kernel's task
# work one of six such kills did, with the others, which the devices of such a
# driver have, one in more than a hundred.
#
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 400
# size: long:kill-both
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

DISKS='0 1 2 3 4 5 6 7 8'

load_all()
{
	set --
	for i in $DISKS; do
		set -- "$@" --name="j$i" --filename="/dev/ublkb$i"
	done
	fio --thread --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw \
		--bs=4k --time_based --runtime=3000 "$@" >/tmp/t/fio.log 2>&1 &
	LOAD=$!
	for i in 0 8; do moves "$i"; done
}

# moves ID: its requests are completed.
moves()
{
	goes_on "ublkb$1" || fail "disk $1 does not go on: $(cat /tmp/t/fio.log)"
}

start_ublkd
for i in $DISKS; do
	expect_ok "add null id=$i size=64M queues=2 depth=32"
done
load_all
for kill in $(seq 20); do
	sleep 1
	if [ $((kill % 2)) = 0 ]; then
		kill_both
	else
		server=$(server_pid)
		kill -9 "$KEEPER"
		sleep 0.05
		kill -9 "$server"
		forget_ublkd
	fi
	start_ublkd
	for i in $DISKS; do moves "$i"; done
	alive "$LOAD" || fail "$kill: $(tail -n 30 /tmp/t/fio.log)"
done
load_ends
for i in $DISKS; do expect_ok "del $i"; done
