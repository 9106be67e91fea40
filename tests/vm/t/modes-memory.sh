#!/bin/sh
# The buffers of mode=copy are taken when they are written, and given back when
# the disks are idle; and then nothing wakes up.
#
# sanitizers: long
# kernels: 6.12
# needs: binaries fio
# needs: memory 2048
# time: 500
. /t/lib.sh

DISKS=64

requires fio
! sanitized || skip "a sanitizer's own memory spoils the figures"

# locked: KiB of the server that cannot be swapped
locked()
{
	awk '/^VmLck:/ { print $2 }' "/proc/$(server_pid)/status"
}

# jobs RW: of all disks at once
jobs()
{
	for n in $(seq 0 $((DISKS - 1))); do
		echo "[d$n]"
		echo "filename=/dev/ublkb$n"
	done >/tmp/t/jobs
	fio --ioengine=libaio --direct=1 --rw="$1" --bs=512k --iodepth=4 \
		--size=8M --thread --eta=never /tmp/t/jobs >/tmp/t/fio 2>&1 ||
		fail "$(head -n 20 /tmp/t/fio)"
}

start_ublkd
for n in $(seq 0 $((DISKS - 1))); do
	expect_ok "add null id=$n size=1G queues=1 mode=copy"
done
sleep 5
before=$(pss_of_both) locked=$(locked)
[ "$locked" -gt 0 ] || fail "the server is not locked in memory"
jobs read
read=$(pss_of_both)
jobs write
peak=$(pss_of_both)
# shellcheck disable=SC2034 # used by wait_for
begun=$(now)
wait_for 10 "[ \"\$(pss_of_both)\" -lt $((before + 8192)) ]" ||
	fail "PSS is $(pss_of_both) KiB after 10 s, $before before"
echo "PSS: $before KiB, after reads $read KiB, after writes $peak KiB;" \
	"$(pss_of_both) KiB $(($(now) - begun)) ms later"
[ "$read" -lt $((before + 4096)) ] || fail "reads of zeroes took memory"
[ "$peak" -gt $((before + 65536)) ] || fail "writes took no buffers"
now_locked=$(locked)
echo "VmLck: $locked KiB before, $now_locked KiB now"
[ "$now_locked" -ge "$locked" ] || fail "buffers are not locked any more"
sleep 5
wakes=$(awk '/ctxt_switches/ { n += $2 } END { print n }' \
	"/proc/$(server_pid)/status")
sleep 10
more=$(($(awk '/ctxt_switches/ { n += $2 } END { print n }' \
	"/proc/$(server_pid)/status") - wakes))
echo "idle: $more context switches in 10 s"
[ "$more" = 0 ] || fail "the server wakes up"
