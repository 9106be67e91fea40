#!/bin/sh
# A resize in which the server or the keeper is killed, at one system call after
# the other: the disk has its old size or the new one, everybody agrees which,
# and what both sizes have in common is not touched.
#
# needs: binaries strace
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/lib-size.sh:/t/lib-size.sh
# size: long:resize
# time: 480
. /t/lib.sh
# shellcheck source=tests/vm/lib-size.sh
. /t/lib-size.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires strace

case $(uname -r) in
6.*) skip "this kernel cannot change a size" ;;
esac

# killed_at PROCESS INJECTION COMMAND: the process is killed at that call.
killed_at()
{
	expect_kill "$1"
	strace -qq -f -o /tmp/t/strace -e "inject=$2:signal=SIGKILL" -p "$1" &
	tracer=$!
	wait_for 5 "grep -q 'TracerPid:.*[1-9]' /proc/$1/status" ||
		fail "strace does not trace process $1"
	(ask "$3" >/tmp/t/answer 2>&1) &
	wait_for 10 "! alive $1" || fail "process $1 was not killed at $2"
	wait $tracer || true
}

# settled: whatever came of it, everybody says the same, and the disk is whole
settled()
{
	is=$(kernel_size)
	want="add ram id=0 size=$((is >> 20))M"
	wait_for 5 "[ \"\$(config)\" = '$want' ]" || fail "$(config), not $want"
	has_size "$is" "$want"
	echo "  killed at $2, on the way to $1: now $is bytes"
	dd if=/dev/ublkb0 of=/dev/null bs=64k iflag=direct 2>/dev/null ||
		fail "the disk cannot be read to its end"
	[ "$(blockdev --getsize64 /dev/ublkb0)" = "$is" ] || fail "sizes"
	dd if=/dev/ublkb0 bs=1M count=8 iflag=direct 2>/dev/null | md5sum |
		cmp -s - /tmp/t/sum || fail "the first 8 MiB have changed"
}

start_ublkd
expect_ok "add ram id=0 size=16M"
dd if=/dev/urandom of=/dev/ublkb0 bs=1M count=16 oflag=direct 2>/dev/null
dd if=/dev/ublkb0 bs=1M count=8 iflag=direct 2>/dev/null | md5sum >/tmp/t/sum

for size in 32M 8M; do
	for at in sendmsg:when=1 recvmsg:when=1 sendmsg:when=2 recvmsg:when=2; do
		expect_ok "resize 0 size=16M"
		sleep 1.1
		server=$(server_pid)
		killed_at "$server" "$at" "resize 0 size=$size"
		wait_for 30 has_next || fail "no next server, or no device"
		settled "$size" "the server's $at"
	done
done
expect_ok "resize 0 size=16M"
dd if=/dev/ublkb0 bs=1M skip=8 iflag=direct 2>/dev/null |
	cmp -s -n 8388608 - /dev/zero || fail "old data are back"

for size in 32M 8M; do
	for at in io_uring_enter:when=1 sendmsg:when=1 renameat:when=1; do
		expect_ok "resize 0 size=16M"
		sleep 1.1
		killed_at "$KEEPER" "$at" "resize 0 size=$size"
		forget_ublkd
		start_ublkd
		await_live 0
		settled "$size" "the keeper's $at"
	done
done
expect_ok "del 0"
