#!/bin/sh
# The read-only socket: anybody can look, nobody can change anything, and it is
# there through all that becomes of the two processes.
#
# needs: binaries socat
# kernels: 6.12
# sanitizers: long
. /t/lib.sh

READER=/run/ublk-read.sock

# reads COMMAND: the answer that any user gets, without the greeting
reads()
{
	as_user user "echo '$1' | socat -t 10 - UNIX:$READER" >/tmp/t/read || true
	head -n 1 /tmp/t/read | grep -q '^HELLO .* access=read$' ||
		fail "no greeting of the read-only socket: $(cat /tmp/t/read)"
	sed 1d /tmp/t/read
}

# looks: disk 0 is seen there
looks()
{
	reads list 2>/dev/null | grep -q '^dev id=0 .*state=live'
}

start_ublkd --read-socket $READER
expect_ok "add null id=0"
looks || fail "nothing to see: $(reads list)"
[ "$(stat -c %a $READER)" = 666 ] || fail "mode $(stat -c %a $READER)"
for command in "del 0" "set 0 delay-time=1s" "add null" shutdown upgrade; do
	reads "$command" | grep -q '^ERR denied ' ||
		fail "'$command' is not refused: $(cat /tmp/t/read)"
done
echo "del 0" | socat -t 10 - "UNIX:$READER" | grep -q '^ERR denied ' ||
	fail "root can delete there"

echo "- the next server"
kill_server
wait_for 10 looks || fail "not with the next server"

echo "- an upgrade"
upgraded
await_live 0
wait_for 10 looks || fail "not after an upgrade"

echo "- no keeper"
kill_keeper
looks || fail "not without a keeper"
start_ublkd --read-socket $READER
await_live 0
wait_for 10 looks || fail "not with the next keeper"

stop_ublkd
[ "$(echo $READER*)" = "$READER*" ] || fail "left:" $READER*
