#!/bin/sh
# Memory that may not be locked whole, as in a container: RLIMIT_MEMLOCK 8 MiB
# and no CAP_IPC_LOCK. It is said once, by the keeper, and all goes on without:
# the start, a disk larger than that, and the next server.
#
# kernels: 6.12
# sanitizers: long
# needs: binaries setpriv
# time: 90
. /t/lib.sh

requires setpriv

said()
{
	grep -c 'cannot lock memory: RLIMIT_MEMLOCK' "$LOG" || true
}

locked()
{
	awk '/^VmLck:/ { print $2 }' "/proc/$1/status"
}

# start_ublkd finds it in place of the program.
mkdir -p /tmp/t/bin
cat >/tmp/t/bin/ublkd <<END
#!/bin/sh
ulimit -l 8192
exec /usr/local/bin/setpriv --bounding-set=-ipc_lock $(command -v ublkd) "\$@"
END
chmod +x /tmp/t/bin/ublkd
PATH=/tmp/t/bin:$PATH start_ublkd
for round in first next; do
	[ "$(said)" = 1 ] || fail "the $round server: said $(said) times"
	[ "$(locked "$(server_pid)")" = 0 ] || fail "the server has locked memory"
	expect_ok "add ram size=64M"
	dd if=/dev/zero of=/dev/ublkb0 bs=1M count=64 oflag=direct 2>/dev/null ||
		fail "the disk cannot be written"
	expect_ok "del 0"
	sleep 1.1
	server=$(server_pid)
	kill -9 "$server"
	wait_for 10 "ublkd_answers && [ \"\$(server_pid)\" != $server ]" ||
		fail "no next server"
done
stop_ublkd

echo "- with the right to lock"
rm /tmp/t/bin/ublkd
start_ublkd
[ "$(said)" = 1 ] || fail "it was said again"
[ "$(locked "$(server_pid)")" -gt 0 ] || sanitized ||
	fail "no memory is locked"
