#!/bin/sh
# Faults that ublkd itself should not have are named rightly by one command, too: a
# thread that goes round in a target, and an answer that the driver refused.
#
# needs: binaries ublkctl ublkd-planted
# sanitizers: long
# size: default long:sight
# time: 90
. /t/lib.sh

requires ublkctl

PLANTED=/tmp/t/planted

# The daemon is the one with the faults, by ublkd's name.
mkdir -p $PLANTED/bin
ln -sf "$(command -v ublkd-planted)" $PLANTED/bin/ublkd
PATH=$PLANTED/bin:$PATH

# read_at MIB: one direct read, in the background; sets $reader
read_at()
{
	dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 skip=$(($1 * 256)) \
		iflag=direct 2>/dev/null &
	reader=$!
}

# The server hears nobody: ublkctl looks by itself. The keeper would kill it in the
# end.
spins()
{
	echo "- a thread that goes round in a target"
	said=''
	: >$PLANTED/spin
	read_at 1
	wait_for 10 '! said=$(ublkctl inspect)' || fail "the server answers"
	rm $PLANTED/spin
	echo "$said"
	echo "$said" | grep -q "^the server (pid $server) is busy: .* s in submit \
of target null, device 0\$" || fail "it is not told where the thread is"
	wait "$reader" || fail "the reader has an error"
}

refused()
{
	echo "- an answer that the driver refused"
	: >$PLANTED/refused
	read_at 2
	wait_for 10 'grep -q "the driver refused a request slot" "$LOG"' ||
		fail "nothing is refused"
	sleep 1.2
	for command in "inspect 0" stuck; do
		expect_ok "$command"
		echo "$REPLY"
		echo "$REPLY" | grep -q "^verdict id=0 verdict=\"1 request waits \
for nobody: the driver refused the answer, for .* s: a read of 4096 bytes at \
2 MiB; that is a fault: 'trace 0'" || fail "$command does not tell it"
	done
	# The next server answers it.
	rm $PLANTED/refused
	kill -9 "$server"
	wait "$reader" || fail "the reader has an error"
	await_live 0
}

# shellcheck disable=SC2119 # none are wanted
start_ublkd
expect_ok "add null id=0 size=16M"
server=$(server_pid)
spins
refused
expect_ok "del 0"
