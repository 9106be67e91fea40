#!/bin/sh
# Memory that a burst of large requests took is given back soon: 64 devices with
# a buffer for each tag, all of them used at once.
#
# needs: binaries fio
# needs: memory 2048
# sanitizers: long
# time: 120
. /t/lib.sh

COUNT=64
LEFT=8192  # KiB of PSS that may stay ...
PATIENCE=10 # s after the last request
TAKEN=65536 # KiB that were in use, or nothing is shown

requires fio

# both: KiB
both()
{
	echo $(($(pss "$KEEPER") + $(pss "$server")))
}

# burst: 4 x 512 KiB under way on each disk. Sets $peak.
burst()
{
	{
		printf '[global]\nthread\nioengine=libaio\niodepth=4\ndirect=1\n'
		printf 'rw=write\nbs=512k\nsize=64M\nio_size=4M\n'
		for id in $(seq 0 $((COUNT - 1))); do
			printf '[%s]\nfilename=/dev/ublkb%s\n' "$id" "$id"
		done
	} >/tmp/t/ini
	fio /tmp/t/ini >/tmp/t/fio 2>&1 &
	load=$!
	peak=0
	while alive $load; do
		now=$(both)
		[ "$now" -le "$peak" ] || peak=$now
		sleep 0.1
	done
	wait $load || fail "$(cat /tmp/t/fio)"
}

start_ublkd
server=$(server_pid)
for id in $(seq 0 $((COUNT - 1))); do
	expect_ok "add null id=$id size=64M depth=4 mode=copy max-io=512K"
done
before=$(both)
burst
sleep $PATIENCE
after=$(both)
echo "PSS $before KiB, at most $peak under load, $after KiB $PATIENCE s after it"
[ "$peak" -ge $((before + TAKEN)) ] || fail "no buffers were taken"
sanitized || [ "$after" -le $((before + LEFT)) ] ||
	fail "memory is not given back"
for id in $(seq 0 $((COUNT - 1))); do
	expect_ok "del $id"
done
no_devices
