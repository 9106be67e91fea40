#!/bin/sh
# A new ublkd goes on where a killed keeper, or all of a killed ublkd, has left
# off; and an upgrade goes on as another program. Nobody who uses a disk sees an
# error, and what each target keeps is as the manual says.
#
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: memory 1536
# time: 300
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio

# takeover-long asks for more, and has another build.
: "${ROUNDS:=3}" "${RESTARTS:=1}" "${UPGRADES:=3}"
STATE=/run/ublkd

# moves DISK: it completes requests.
moves()
{
	goes_on "$1" || {
		dump_state
		cat /tmp/t/fio.log
		fail "$1 does not go on"
	}
}

# served_alone: the keeper is gone, and the server knows.
served_alone()
{
	wait_for 5 '[ "$(ask version | sed "s/.*keeper-pid=//")" = 0 ]' ||
		fail "the server has a keeper: $(ask version)"
}

keepers_die()
{
	echo "- the keeper is killed, $ROUNDS times"
	for _ in $(seq "$ROUNDS"); do
		server=$(server_pid)
		kill_keeper
		served_alone
		moves ublkb0
		expect_err state "del id=1"
		start_ublkd
		[ "$(server_pid)" != "$server" ] || fail "the server stays"
		! alive "$server" || fail "the old server is still there"
		await_live_count 2
		moves ublkb0
	done
}

keeper_told_to_leave()
{
	echo "- the keeper leaves at SIGUSR2: $RESTARTS restarts"
	for _ in $(seq "$RESTARTS"); do
		kill -USR2 "$KEEPER"
		forget_ublkd
		[ "$(cat /tmp/t/status)" = 0 ] ||
			fail "status $(cat /tmp/t/status)"
		served_alone
		moves ublkb0
		start_ublkd
		await_live_count 2
		moves ublkb0
	done
}

upgrades()
{
	echo "- $UPGRADES upgrades"
	cp "$(command -v ublkd-other || command -v ublkd)" /tmp/t/ublkd0
	cp "$(command -v ublkd)" /tmp/t/ublkd1
	for n in $(seq "$UPGRADES"); do
		program=/tmp/t/ublkd$((n % 2))
		upgraded "program=$program"
		for pid in "$KEEPER" "$(server_pid)"; do
			[ "$(readlink "/proc/$pid/exe")" = $program ] ||
				fail "process $pid is another program"
		done
		await_live_count 2
		moves ublkb0
	done
	upgraded
	await_live_count 2
}

# The new program has what the RAM disk holds, also without the server.
server_dies_in_upgrade()
{
	echo "- the server dies in an upgrade"
	cat >/tmp/t/kills <<-'EOF'
		#!/bin/sh
		case " $* " in
		*' --continue '*) kill -9 "$(pidof ublkd-server)" ;;
		esac
		exec ublkd "$@"
	EOF
	chmod 755 /tmp/t/kills
	expect_ok "add ram id=9 size=1M"
	dd if=/dev/urandom of=/tmp/t/data bs=64k count=1 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb9 bs=64k oflag=direct 2>/dev/null
	server=$(server_pid)
	expect_kill "$server"
	ask "upgrade program=/tmp/t/kills" || true
	wait_for 10 "! alive $server" || fail "the old server stays"
	wait_for 10 ublkd_answers || fail "the new one does not answer"
	await_live_count 3
	cmp -n 65536 /tmp/t/data /dev/ublkb9 || fail "the RAM disk lost data"
	expect_ok "del id=9"
	moves ublkb0
}

# Whatever the program is, the old one serves on.
upgrade_fails()
{
	echo "- upgrades that fail"
	server=$(server_pid)
	printf '#!/bin/sh\nexit 0\n' >/tmp/t/ends
	printf '#!/bin/sh\nexec sleep 100\n' >/tmp/t/silent
	chmod 755 /tmp/t/ends /tmp/t/silent
	expect_err arg "upgrade program=/nowhere"
	echo "$REPLY" | grep -q "No such file" || fail "$REPLY"
	expect_err arg "upgrade program=/tmp/t/ends"
	expect_err timeout "upgrade program=/tmp/t/silent"
	expect_err arg "upgrade program=ublkd"
	REPLY=$(as_user member "echo upgrade | socat -t 9 - UNIX-CONNECT:$SOCK")
	echo "$REPLY" | grep -q '^ERR denied' || fail "$REPLY"
	expect_ok "add null size=1M id=9 recovery=no"
	expect_err busy upgrade
	expect_ok "del id=9"
	[ "$(server_pid)" = "$server" ] || fail "the server is another one"
	moves ublkb0
}

# What null and a kept RAM disk hold outlives both processes.
all_killed()
{
	echo "- keeper and server are killed, $ROUNDS times"
	for _ in $(seq "$ROUNDS"); do
		both_killed
		await_live_count 2
		moves ublkb0
	done
}

# Each line of it makes its device once, however often ublkd is killed.
configured()
{
	echo "- with a configuration"
	cat >/tmp/t/config <<-EOF
		add null size=1M
		add null size=1M
		add ram size=1M name=kept keep=yes
		add ram size=1M name=lost
	EOF
	stop_ublkd
	start_ublkd --config /tmp/t/config
	await_live_count 4
	dd if=/dev/urandom of=/tmp/t/data bs=64k count=1 2>/dev/null
	for disk in ublkb2 ublkb3; do
		dd if=/tmp/t/data of=/dev/$disk bs=64k oflag=direct 2>/dev/null
	done
	both_killed --config /tmp/t/config
	await_live_count 4
	cmp -n 65536 /tmp/t/data /dev/ublkb2 || fail "the kept disk has lost data"
	expect_ok "show name=lost"
	[ "$(field used)" = 0 ] || fail "the lost disk is not a new one: $REPLY"
	keeper_killed --config /tmp/t/config
	await_live_count 4
	cmp -n 65536 /tmp/t/data /dev/ublkb2 || fail "the kept disk has lost data"
}

# A live device of which nothing is noted may be somebody's data.
unknown()
{
	echo "- a device that the state folder does not know"
	stop_ublkd
	start_ublkd
	expect_ok "add null size=1M"
	kill_both
	rm $STATE/0.dev
	start_ublkd
	grep -q "$STATE knows nothing of it" "$LOG" || fail "it is not told"
	[ -e /dev/ublkb0 ] || fail "it was deleted"
	stop_ublkd_but 0
	start_ublkd --delete-leftovers
	no_devices
}

# stop_ublkd_but ID: which is not its own.
stop_ublkd_but()
{
	kill -TERM "$KEEPER"
	forget_ublkd
	[ -e "/dev/ublkb$1" ] || fail "ublkb$1 is gone"
}

bad_folder()
{
	echo "- a state folder that cannot be used"
	stop_ublkd
	mkdir -p /tmp/t/open
	chmod 777 /tmp/t/open
	! ublkd -f -s /tmp/t/own.sock --state /tmp/t/open 2>/tmp/t/said ||
		fail "it starts"
	grep -q 'can be written to by others' /tmp/t/said ||
		fail "$(cat /tmp/t/said)"
	start_ublkd
	! ublkd -f -s /tmp/t/own.sock --state $STATE 2>/tmp/t/said ||
		fail "it starts"
	grep -q 'another ublkd keeps its state' /tmp/t/said ||
		fail "$(cat /tmp/t/said)"
}

# What is noted is known by its note; and the socket that is asked for listens.
other_socket()
{
	echo "- another socket, the same state folder"
	expect_ok "add ram size=16M id=5 keep=yes"
	kill_keeper
	served_alone
	SOCK=/tmp/t/other.sock
	start_ublkd --state $STATE
	expect_ok "show 5"
	kill_both
	rm -f /run/ublk.sock /run/ublk.sock.lock
	SOCK=/run/ublk.sock
	start_ublkd --state $STATE
	expect_ok "show 5"
	expect_ok "del 5"
	rm -f /tmp/t/other.sock /tmp/t/other.sock.lock
}

# Neither costs a device that was taken over.
cannot_start()
{
	echo "- a bad configuration, and a file that is away"
	echo "add null size=wrong" >/tmp/t/wrong
	truncate -s 16M /tmp/t/disk
	expect_ok "add null size=1M id=5"
	expect_ok "add file path=/tmp/t/disk id=6"
	kill_both
	mv /tmp/t/disk /tmp/t/away
	start_ublkd --config /tmp/t/wrong
	grep -q '/tmp/t/wrong:1:10: ' "$LOG" || fail "it does not say where"
	wait_for 5 'grep -q "ublkb6: .*/tmp/t/disk: No such file" "$LOG"' ||
		fail "it does not say why"
	expect_ok "show 5"
	[ -e /dev/ublkb6 ] || fail "device 6 was deleted"
	expect_ok "show 6"
	[ "$(field state)" = quiesced ] || fail "$REPLY"
	mv /tmp/t/away /tmp/t/disk
	both_killed
	await_live_count 2
	expect_ok "del 5"
	mv /tmp/t/disk /tmp/t/away
	both_killed
	expect_ok "show 6"
	[ "$(field state)" = quiesced ] || fail "$REPLY"
	expect_ok "del 6 force=yes"
	no_devices
}

# nothing_left: in the folder, or in /dev/shm.
nothing_left()
{
	stop_ublkd
	[ -z "$(ls /dev/shm)" ] || fail "left in /dev/shm: $(ls /dev/shm)"
	[ -z "$(ls -A $STATE 2>/dev/null)" ] || fail "left: $(ls -A $STATE)"
}

mkdir -p /dev/shm
grep -q ' /dev/shm ' /proc/mounts || mount -t tmpfs shm /dev/shm
start_ublkd
expect_ok "add ram size=48M keep=yes"
expect_ok "add null size=64M"
load ublkb0 --rw=randwrite --bsrange=4k-64k --verify=crc32c \
	--verify_backlog=256 --size=48M
keepers_die
keeper_told_to_leave
upgrades
server_dies_in_upgrade
upgrade_fails
all_killed
load_ends
nothing_left
start_ublkd
configured
stop_ublkd
start_ublkd
other_socket
cannot_start
unknown
bad_folder
nothing_left
