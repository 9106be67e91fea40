# Functions for tests that kill ublkd's processes at chosen moments; they need,
# of these programs those that they use,
#
#   # needs: binaries fio strace kill-probe
#   # needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
#
# shellcheck shell=sh

# client DISK COUNT: one with that many direct requests at once. When it ends it
# leaves its status in /tmp/t/ended. It writes as well, because a read behind
# the end of a disk that is gone is no error.
client()
{
	rm -f /tmp/t/ended
	(
		fio --name=c --filename="/dev/$1" --rw=randrw --direct=1 \
			--ioengine=libaio --iodepth="$2" --iodepth_batch="$2" \
			--time_based --runtime=3000 --bs=4k \
			>/tmp/t/fio.log 2>&1 && echo 0 >/tmp/t/ended ||
			echo 1 >/tmp/t/ended
	) &
}

# client_at_work DISK COUNT: it has begun.
client_at_work()
{
	client "$1" "$2"
	wait_for 10 "[ \"\$(inflight $1)\" -gt 0 ]" || fail "no load"
}

# client_ends SECONDS: with an error, within that time.
client_ends()
{
	within "$1" "[ -e /tmp/t/ended ]" || {
		dump_state
		fail "the client has not ended $1 s after the kill"
	}
	[ "$(cat /tmp/t/ended)" = 1 ] || fail "the client saw no error"
}

# hold_every_tag DISK DEPTH: stops the server, and has a client until the driver
# has no tag left of a device with one queue.
hold_every_tag()
{
	kill -STOP "$(server_pid)"
	client "$1" $(($2 * 2))
	wait_for 10 "[ \"\$(inflight $1)\" -ge $2 ]" ||
		fail "inflight is $(inflight "$1"), not $2"
}

# stop_server_at INJECTION COMMAND: runs an admin command, in which the server
# stops at a system call that strace names (-e inject=INJECTION): what it holds
# there stays held. The answer goes to /tmp/t/answer; sets $TRACER.
stop_server_at()
{
	server=$(server_pid)
	strace -qq -f -o /tmp/t/strace -e "inject=$1:signal=SIGSTOP" \
		-p "$server" &
	# shellcheck disable=SC2034 # for the tests
	TRACER=$!
	wait_for 5 "grep -q 'TracerPid:.*[1-9]' /proc/$server/status" ||
		fail "strace does not trace the server"
	(ask "$2" >/tmp/t/answer 2>&1) &
	wait_for 10 "grep -q SIGSTOP /tmp/t/strace" || {
		cat /tmp/t/strace
		fail "the server was not stopped at $1"
	}
	sleep 0.3
}

# load DISK ARG...: fio with 32 requests at once, until load_ends.
load()
{
	disk=$1
	shift
	fio --name=v --filename="/dev/$disk" --direct=1 --ioengine=libaio \
		--iodepth=32 --time_based --runtime=3000 "$@" \
		>/tmp/t/fio.log 2>&1 &
	LOAD=$!
	wait_for 10 "[ \"\$(inflight $disk)\" -gt 0 ]" || fail "no load"
}

# load_ends: it was at work until now, and saw no error.
load_ends()
{
	alive "$LOAD" || fail "$(tail -n 30 /tmp/t/fio.log)"
	# It says 128 when it was told to end.
	kill -INT "$LOAD"
	wait "$LOAD" || [ $? = 128 ] || fail "$(tail -n 30 /tmp/t/fio.log)"
	grep -q ' err= 0' /tmp/t/fio.log || fail "$(head -n 30 /tmp/t/fio.log)"
}

# disk_works: a new disk can be made, written and deleted.
disk_works()
{
	expect_ok "add ram size=16M"
	dd if=/dev/zero of="$(field dev)" bs=64k count=16 oflag=direct \
		2>/dev/null || fail "the new disk cannot be written"
	expect_ok "del id=$(field id)"
}

# kill_under_load DISK [-s COUNT]: as kill_server, by kill-probe, whose line is added
# to /tmp/t/kills.
kill_under_load()
{
	disk=$1
	shift
	sleep 1.1
	server=$(server_pid)
	expect_kill "$server"
	# shellcheck disable=SC2068 # the words
	kill-probe $@ "$server" "$disk" >>/tmp/t/kills || {
		dump_state
		fail "the disk cannot be read after the kill"
	}
	wait_for 10 has_next || fail "there is no next server"
}

# begin_load ADD ARG...: disk 0, and fio on it
begin_load()
{
	expect_ok "$1"
	expect_ok "list"
	had=$(field mode)
	shift
	load ublkb0 --bsrange=4k-64k "$@"
}

# end_load: its users have seen no error, and it is still whole.
end_load()
{
	load_ends
	expect_ok "list"
	[ "$(field state)" = live ] || fail "$REPLY"
	[ "$(field mode)" = "$had" ] || fail "it had mode=$had: $REPLY"
	expect_ok "del id=0"
}

# Of all kills, how many hit requests in flight, and how long a read took.
figures()
{
	sort -t = -k 3 -n /tmp/t/kills | awk -F '[= ]' '
	{ if ($2 > 0) hit++; ms[NR] = $4 }
	END {
		printf "kills=%d in-flight=%d resumed-ms: median=%d worst=%d\n",
			NR, hit, ms[int((NR + 1) / 2)], ms[NR]
	}'
}
