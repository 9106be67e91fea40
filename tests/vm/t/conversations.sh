#!/bin/sh
# The conversations of tests/conversations, with the program and a kernel, through
# socat and through ublkctl. In each way in which a client can send the same lines
# conversations-long and tests/unit/test_conversations.c have them.
#
# needs: binaries ublkctl
# needs: files tests/conversations:/t/conversations
# needs: files tests/vm/conversation.awk:/t/conversation.awk
# size: default
# time: 120
# sanitizers: long
# kernels: 7.x
. /t/lib.sh

requires ublkctl

SOCK=/tmp/t/socket # beside which there is no configuration
WAYS=${WAYS:-at_once by_ublkctl}

conversation()
{
	awk -f /t/conversation.awk "$@"
}

# held WAY FILE [TIMES]: what came is what is expected.
held()
{
	sed -i '1{/^HELLO /d}' /tmp/t/came
	conversation -v job=compare -v times="${3:-1}" "$2" /tmp/t/came ||
		fail "$1: ${2##*/}"
	expect_ok list
	! echo "$REPLY" | grep '^dev ' || fail "$1: ${2##*/} has left a device"
}

# socat leaves no connection half open: these clients all close their end first.
at_once()
{
	conversation -v job=typed "$1" | socat -t 60 - "UNIX:$SOCK" >/tmp/t/came
	held "at once" "$1"
}

by_bytes()
{
	conversation -v job=typed "$1" | socat -b 1 -t 60 - "UNIX:$SOCK" \
		>/tmp/t/came
	held "a byte at a time" "$1"
}

with_carriage_returns()
{
	conversation -v job=typed "$1" | sed 's/$/\r/' |
		socat -t 60 - "UNIX:$SOCK" >/tmp/t/came
	held "with carriage returns" "$1"
}

# A thousand commands
pipelined()
{
	! grep -q '^# once: ' "$1" || return 0
	times=$((1000 / $(grep -c '^>' "$1") + 1))
	conversation -v job=typed -v times=$times "$1" |
		socat -t 60 - "UNIX:$SOCK" >/tmp/t/came
	held "pipelined" "$1" $times
	echo "$times times ${1##*/}"
}

# The server ends it, and not the client.
open()
{
	rm -f /tmp/t/input
	mkfifo /tmp/t/input
	exec 9<>/tmp/t/input
	socat - "UNIX:$SOCK" </tmp/t/input >/tmp/t/came &
	conversation -v job=typed "$1" >&9
	grep -q '^> .*quit$' "$1" || echo quit >&9
	wait $! || fail "the connection stays"
	exec 9<&-
	cp "$1" /tmp/t/conversation
	grep -q '^> .*quit$' "$1" || printf '> quit\n< OK\n' >>/tmp/t/conversation
	held "on an open connection" /tmp/t/conversation
}

by_ublkctl()
{
	conversation -v job=words "$1" >/tmp/t/words
	while read -r place line; do
		status=0
		# shellcheck disable=SC2086 # words
		ublkctl -s "$SOCK" $line >/tmp/t/came 2>/tmp/t/errors </dev/null ||
			status=$?
		# Before its sentence there may be how long it takes.
		[ $status = 0 ] || tail -n 1 /tmp/t/errors >>/tmp/t/came
		conversation -v job=said -v place="$place" "$1" /tmp/t/came ||
			fail "ublkctl: ${1##*/}: $line"
		wanted=0
		! grep -q '^ublkctl: ' /tmp/t/came || wanted=1
		[ $status = $wanted ] || fail "ublkctl $line: status $status"
		count=$((count + 1))
	done </tmp/t/words
}

start_ublkd
count=0
for way in $WAYS; do
	begun=$(now)
	for file in /t/conversations/[a-z]*; do
		$way "$file"
	done
	echo "$way: $(($(now) - begun)) ms"
done
[ $count -gt 60 ] || fail "ublkctl has sent $count commands"
