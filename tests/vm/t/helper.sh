#!/bin/sh
# Who uses a disk is looked for by a helper: neither keeper nor server opens
# another process's folder, or waits. A helper that hangs is an answer when its
# time is over, is killed, and has no descriptor of anything.
#
# LeakSanitizer does not work in a process that is traced.
#
# sanitizers: long
# needs: binaries mkfs.ext4 strace
# needs: modules ext4
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 150
. /t/lib.sh

requires mkfs.ext4 strace

trace_both()
{
	strace -qq -o /tmp/t/trace -e trace=open,openat,readlink,readlinkat \
		-p "$KEEPER" -p "$(server_pid)" &
	tracer=$!
	for pid in "$KEEPER" "$(server_pid)"; do
		wait_for 5 "grep -q 'TracerPid:.*[1-9]' /proc/$pid/status" ||
			fail "strace does not trace $pid"
	done
}

end_trace()
{
	kill -TERM $tracer
	wait $tracer || true
}

# A device in use is not deleted; a disk in use is not served; and a stop names
# the users. Each tells who it is.
users_are_named()
{
	expect_ok "add ram size=16M id=0"
	mount_ext4 /dev/ublkb0 /tmp/t/m
	expect_ok "add ram size=16M id=1"
	# shellcheck disable=SC2217 # it only has it open
	sleep 600 </dev/ublkb1 &
	opener=$!
	trace_both
	expect_err busy "del 0"
	echo "$STATUS" | grep -q 'mounted on /tmp/t/m' || fail "$STATUS"
	expect_err busy "del 1"
	echo "$STATUS" | grep -q "opened by sleep, process $opener" ||
		fail "$STATUS"
	expect_err busy "add file path=/dev/ublkb0 id=2"
	echo "$STATUS" | grep -q 'mounted on /tmp/t/m' || fail "$STATUS"
	end_trace
	if grep -E '/proc/[0-9]+/fd|"/proc"|mountinfo|swaps' /tmp/t/trace; then
		fail "keeper or server has looked for users itself"
	fi
	umount /tmp/t/m
}

# stop_helpers: each stops as soon as it is this program.
stop_helpers()
{
	rm -f /tmp/t/strace
	strace -qq -f -o /tmp/t/strace -e trace=execve \
		-e inject=execve:signal=SIGSTOP -p "$KEEPER" &
	tracer=$!
	wait_for 5 "grep -q 'TracerPid:.*[1-9]' /proc/$KEEPER/status" ||
		fail "strace does not trace the keeper"
}

helper_pid()
{
	for pid in $(children "$KEEPER"); do
		if tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- --helper; then
			echo "$pid"
		fi
	done
}

# While somebody waits for a helper the disks are served, and others answered.
others_go_on()
{
	dd if=/dev/zero of=/dev/ublkb0 bs=4k count=16 oflag=direct \
		2>/dev/null || fail "a disk cannot be written"
	expect_ok list
	[ ! -s /tmp/t/answer ] || fail "not asked while the helper hung"
}

# has_nothing PID: of anybody's disks, data or rings.
has_nothing()
{
	for link in "/proc/$1/fd"/*; do
		case ${link##*/}:$(readlink "$link") in
		3:socket:*) ;;
		*:socket:* | *:/memfd:* | *:anon_inode:* | *:/dev/ublk*)
			ls -l "/proc/$1/fd"
			fail "the helper has $link"
			;;
		esac
	done
	[ -S "/proc/$1/fd/3" ] || fail "it has no channel either"
}

a_helper_hangs()
{
	stop_helpers
	: >/tmp/t/answer
	(ask "del 1" >/tmp/t/answer 2>&1) &
	asker=$!
	wait_for 10 '[ -n "$(helper_pid)" ]' || fail "no helper"
	helper=$(helper_pid)
	has_nothing "$helper"
	others_go_on
	wait_for 30 "! alive $asker" || fail "no answer"
	cat /tmp/t/answer
	grep -q '^ERR busy' /tmp/t/answer || fail "ublkb1 is in use"
	grep -q 'a helper gives no answer' "$LOG" || fail "it is not told"
	wait_for 10 "! alive $helper" || fail "the helper is still there"
	kill "$opener"
	wait_for 5 "! alive $opener"
	# Only a newer kernel knows by itself that nobody has it open.
	request "del 1"
	case $STATUS in
	OK*) ask features | grep -q 'name=safe-stop have=yes' ||
		fail "deleted, and nobody knows whether it is in use" ;;
	*'cannot be found out'*'force=yes'*) expect_ok "del 1 force=yes" ;;
	*) fail "$REPLY" ;;
	esac
	kill -TERM $tracer
	wait $tracer || true
}

# The end does not wait longer than that either.
the_end_goes_on()
{
	stop_helpers
	kill -TERM "$KEEPER"
	forget_ublkd
	no_devices
	grep -q 'who uses them cannot be found out' "$LOG" ||
		fail "it is not told"
	wait $tracer || true
}

start_ublkd
users_are_named
a_helper_hangs
the_end_goes_on
