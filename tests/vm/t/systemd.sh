#!/bin/sh
# ublkd as a service of systemd: started is ready, stopped leaves nothing, a
# start that fails says why, and systemd can listen on its socket.
#
# sanitizers: long
# needs: systemd
# needs: files tests/vm/lib-systemd.sh:/t/lib-systemd.sh
# size: quick
# time: 180
# kernels: 6.12
. /t/lib.sh
# shellcheck source=tests/vm/lib-systemd.sh
. /t/lib-systemd.sh

# argument_0 PID
argument_0()
{
	tr '\0' '\n' <"/proc/$1/cmdline" | head -n 1
}

processes_are_as_told()
{
	keeper=$(value MainPID)
	server=$(children "$keeper" | head -n 1)
	names="$(argument_0 "$keeper") $(argument_0 "$server")"
	[ "$names" = "@ublkd @ublkd-server" ] || fail "their names are $names"
	for pid in $keeper $server; do
		[ "$(cat "/proc/$pid/oom_score_adj")" = -1000 ] ||
			fail "oom_score_adj"
		! grep -q 'CapEff:.*ffffffffff' "/proc/$pid/status" ||
			fail "$pid has every capability"
	done
	! tr '\0' '\n' <"/proc/$server/environ" | grep -q NOTIFY_SOCKET ||
		fail "the server could speak for the service"
	! grep -E 'cannot (set|become|lock|allow)' "$LOG" ||
		fail "the unit denies something"
}

# Ready is when the configuration has been run, and the driver is there.
starts()
{
	echo "- start"
	rmmod ublk_drv
	echo "add ram size=64M name=first" >/run/conf
	options --config=/run/conf
	systemctl start ublkd || fail "it does not start"
	is active ActiveState
	is "ready on $SOCK" StatusText
	grep -q ublk_drv /proc/modules || fail "the driver is not loaded"
	[ -b /dev/ublkb0 ] || fail "started before the configuration was run"
	processes_are_as_told
	[ "$(stat -c %a /run/ublkd)" = 700 ] || fail "the mode of /run/ublkd"
	dd if=/dev/zero of=/dev/ublkb0 bs=1M count=8 oflag=direct 2>/dev/null ||
		fail "the disk cannot be written"
}

# is_busy ID: while it is open, which is for a helper to find out, if not for the
# driver
is_busy()
{
	exec 9<"/dev/ublkb$1"
	expect_err busy "del $1"
	exec 9<&-
	echo "$STATUS" | grep -q 'in use: opened by' || fail "$STATUS"
}

# The next keeper gets the disk's memory from systemd, too, and has helpers.
restarts()
{
	echo "- restart"
	systemctl restart ublkd || fail "it does not restart"
	wait_for 30 'ask list | grep -q "name=first state=live"' ||
		fail "$(ask list)"
	is_busy 0
}

# What this systemd, 252, has not heard of yet: the manual says since when. Any
# other key that is unknown is misspelt, or in the wrong section.
keys_are_known()
{
	echo "- keys"
	dmesg | sed -n "s/.*ublkd\.[a-z]*:.*Unknown key '\(.*\)' in section \
\[\(.*\)\].*/\2 \1/p" | sort -u >/tmp/t/unknown
	cat /tmp/t/unknown
	[ "$(cat /tmp/t/unknown)" = "Service FileDescriptorStorePreserve
Unit SurviveFinalKillSignal" ] || fail "a key of the unit is unknown"
}

stops()
{
	echo "- stop"
	stop_service
	[ ! -e "$SOCK" ] || fail "the socket is left"
	grep -q 'Terminated: stopping' "$LOG" || fail "not by SIGTERM"
}

fails_to_start()
{
	echo "- a start that fails"
	install_service Restart=no
	echo "add ram size=nonsense" >/run/conf
	options --config=/run/conf
	expect_log "exited with status 1; 0 of its devices"
	begun=$(now)
	! systemctl start ublkd 2>/dev/null || fail "it starts with nonsense"
	# Its time limit is 90 s.
	[ $(($(now) - begun)) -lt 80000 ] || fail "systemd had to wait for it"
	is failed ActiveState
	is exit-code Result
	value StatusText | grep -q '^/run/conf:1:9: ' ||
		fail "it says: $(value StatusText)"
	echo "- a command line that is wrong: no other try"
	install_service
	options --nonsense
	! systemctl start ublkd 2>/dev/null || fail "it starts with nonsense"
	sleep 2
	is failed ActiveState
	is 0 NRestarts
	systemctl reset-failed ublkd
}

# The first client starts it, and waits.
socket_activation()
{
	echo "- socket activation"
	install_service
	systemctl start ublkd.socket || fail "the socket cannot be opened"
	is inactive ActiveState
	[ "$(stat -c '%a %G' "$SOCK")" = "660 ublk" ] ||
		fail "not its modes"
	expect_ok "add ram size=16M"
	is active ActiveState
	inode=$(stat -c %i "$SOCK")
	echo "- its server dies"
	kill -9 "$(pidof ublkd-server)"
	expect_ok list
	echo "$REPLY" | grep -q '^dev id=0 ' || fail "$REPLY"
	echo "- upgrade"
	keeper=$(value MainPID)
	expect_ok upgrade
	wait_for 10 '[ "$(value StatusText)" = "ready on $SOCK" ]' || fail "status"
	is "$keeper" MainPID
	names="$(argument_0 "$keeper") $(argument_0 "$(pidof ublkd-server)")"
	[ "$names" = "@ublkd @ublkd-server" ] || fail "their names are $names"
	expect_ok "del id=0"
	echo "- shutdown, and the next client"
	expect_ok shutdown
	wait_for 10 '[ "$(value ActiveState)" = inactive ]' ||
		fail "it is $(value ActiveState)"
	is success Result
	expect_ok ping
	[ "$(stat -c %i "$SOCK")" = "$inode" ] || fail "another socket"
	stop_service
	[ -S "$SOCK" ] || fail "it has removed systemd's socket"
	systemctl stop ublkd.socket
	rm -f "$SOCK"
}

# A supervisor without sockets: one newline, and then the end of the file.
ready_fd()
{
	echo "- --ready-fd"
	mkfifo /tmp/t/fifo
	# shellcheck disable=SC2094 # a pipe
	(cat /tmp/t/fifo >/tmp/t/said && echo ended >/tmp/t/ended) &
	ublkd -s "$SOCK" --ready-fd=3 3>/tmp/t/fifo || fail "it does not start"
	wait_for 5 '[ -e /tmp/t/ended ]' || fail "it keeps the descriptor"
	[ "$(od -An -tx1 /tmp/t/said)" = " 0a" ] || fail "$(od -c /tmp/t/said)"
	expect_ok "add null id=0"
	is_busy 0
	expect_ok shutdown
	wait_for 10 '[ -z "$(pidof ublkd ublkd-server)" ]' || fail "it stays"
	(cat /tmp/t/fifo >/tmp/t/said && echo ended >/tmp/t/ended2) &
	! ublkd -s "$SOCK" -c /nowhere --ready-fd=7 7>/tmp/t/fifo 2>/dev/null ||
		fail "it starts with nothing"
	wait_for 5 '[ -e /tmp/t/ended2 ]' || fail "it keeps the descriptor"
	[ ! -s /tmp/t/said ] || fail "it says ready when it is not"
}

install_service
starts
restarts
stops
fails_to_start
socket_activation
keys_are_known
ready_fd
