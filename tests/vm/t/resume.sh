#!/bin/sh
# How long users wait when the server is killed, in guest time: a read that is
# sent with the kill is answered within 500 ms, half of them within 200, on a
# kernel that aborts a dead server's I/O when it closes; on others within 3 s.
# With requests coming and going, and with every tag in flight.
#
# sanitizers: long
# needs: binaries fio kill-probe
# needs: icount
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 120
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio
! sanitized || skip "a sanitizer's time is no measure"

# resume-long asks for more.
: "${KILLS:=8}"
: >/tmp/t/kills

median_max=200 worst_max=500
case $(uname -r) in
6.*) median_max=3000 worst_max=3000 ;;
esac

# kills ARG...: KILLS of them, a second apart, or the next server comes later.
kills()
{
	for _ in $(seq "$KILLS"); do
		sleep 1.1
		server=$(server_pid)
		expect_kill "$server"
		kill-probe "$@" "$server" ublkb0 >/tmp/t/kill || {
			dump_state
			fail "the disk cannot be read after the kill"
		}
		cat /tmp/t/kill >>/tmp/t/kills
		wait_for 10 '[ -n "$(ask ping 2>/dev/null)" ]' ||
			fail "there is no next server"
	done
}

start_ublkd
# The delays leave the one CPU, whose every instruction is counted, time to sleep.
expect_ok "add ram size=64M queues=1 depth=32 delay-time=5ms"
load ublkb0 --rw=randrw --bs=4k --iodepth=8
kills
load_ends
expect_ok "set 0 delay-time=20ms"
load ublkb0 --rw=randrw --bs=4k --iodepth=64
kills -s 32
load_ends

sort -t = -k 3 -n /tmp/t/kills >/tmp/t/sorted
count=$(wc -l </tmp/t/sorted)
median=$(sed -n "$(((count + 1) / 2))s/.*resumed-ms=//p" /tmp/t/sorted)
worst=$(sed -n '$s/.*resumed-ms=//p' /tmp/t/sorted)
echo "kills=$count in-flight=$(grep -vc '^inflight=0 ' /tmp/t/sorted)" \
	"median=$median ms worst=$worst ms"
[ "$median" -le $median_max ] || fail "median: $median ms"
[ "$worst" -le $worst_max ] || fail "worst: $worst ms"
