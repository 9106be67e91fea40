#!/bin/sh
# Bad input gets a clear ERR, changes nothing, and the next command works.
#
# size: quick
# time: 120
# kernels: 6.12
. /t/lib.sh

# refuse SYMBOL COMMAND: and it leaves no device.
refuse()
{
	expect_err "$1" "$2"
	echo "$2  ->  $STATUS"
	case $STATUS in
	*text=\"?*) ;;
	*) fail "no text: $STATUS" ;;
	esac
}

# refuse_with TEXT SYMBOL COMMAND: and the reply says so.
refuse_with()
{
	refuse "$2" "$3"
	case $STATUS in
	*"$1"*) ;;
	*) fail "no '$1': $STATUS" ;;
	esac
}

# raw SYMBOL BYTES: printf's format, sent as they are.
raw()
{
	# shellcheck disable=SC2059 # a format is what it is
	reply=$(printf "$2" | socat -t 10 - "UNIX:$SOCK" | grep -v '^HELLO')
	case $reply in
	"ERR $1 "* | "ERR @"*" $1 "*) ;;
	*) fail "'$2' was answered: $reply" ;;
	esac
}

options()
{
	refuse unknown "frobnicate"
	refuse unknown "ADD ram size=1M"
	refuse arg "add"
	refuse unknown "add floppy size=1M"
	refuse arg "add ram"
	refuse range "add ram size=0"
	refuse range "add ram size=-5"
	refuse range "add ram size=1000"
	refuse arg "add ram size=1X"
	refuse arg "add ram size=1.5"
	refuse arg "add ram size=1.0001K"
	refuse arg "add ram size=1.G"
	refuse arg "add ram size=1,5G"
	refuse_with "write 64M or 64MiB" arg "add ram size=64MB"
	refuse range "add ram size=16.5E"
	refuse arg "add ram size="
	refuse arg "add ram 64M"
	refuse arg "add ram size=1M size=2M"
	refuse limit "add ram size=1E"
	refuse limit "add ram size=1E overcommit=yes"
	refuse range "add ram size=99999999999999999999"
	refuse range "add ram size=16E"
	refuse unknown "add ram size=1M colour=red"
	refuse unknown "add ram Size=1M"
	refuse range "add ram size=1M queues=5000"
	refuse range "add ram size=1M queues=0"
	refuse range "add ram size=1M depth=0"
	refuse range "add ram size=1M depth=4097"
	refuse range "add ram size=1M block-size=256"
	refuse range "add ram size=1M block-size=3K"
	refuse range "add ram size=1M block-size=8K"
	refuse range "add ram size=2K block-size=4K"
	refuse range "add ram size=1M max-io=1K"
	refuse range "add ram size=1M max-io=5000"
	refuse range "add ram size=1M max-io=64M"
	refuse arg "add ram size=1M ro=maybe"
	refuse range "add ram size=1M id=1048576"
	refuse range "add ram size=1M id=-1"
	refuse arg "add ram size=1M name=a/b"
	refuse arg "add ram size=1M name="
	refuse notfound "del id=77"
	refuse notfound "show nothing"
	refuse arg "del"
	refuse arg "del 1 id=1"
	refuse unknown "help nonsense"
	refuse arg "on-error maybe"
	refuse arg "list all"
	refuse arg "ping now please"
}

# What was meant is told, and who is not there is not what is wrong with a key.
hints()
{
	expect_ok "add ram size=1M name=scratch"
	refuse_with "did you mean 'list'" unknown "lsit"
	refuse_with "did you mean 'ram'" unknown "add rma size=1M"
	refuse_with "did you mean 'size'" unknown "add ram sise=1M"
	refuse_with "did you mean 'error-rate'" unknown "set scratch error_rate=1"
	refuse_with "no option colour" unknown "set scratch colour=red"
	refuse_with "'resize" unknown "set scratch size=1G"
	refuse_with "did you mean 'scratch'" notfound "del scrtach"
	expect_ok "del scratch"
}

grammar()
{
	raw syntax 'ping "\n'
	raw syntax "ping '\n"
	raw syntax 'ping "\\q"\n'
	raw syntax 'ping "\\x0"\n'
	raw syntax 'ping "\\x00"\n'
	raw syntax 'ping\0\n'
	raw syntax 'ping \377\n'
	raw syntax 'ping \300\257\n'
	raw syntax '@ ping\n'
	raw syntax '@tag\n'
	raw unknown 'p\\ing\n'
	# 65 words
	raw syntax "ping$(for _ in $(seq 64); do printf ' w'; done)\n"
}

# A line of 10 MB is one error, and what follows it works.
long_line()
{
	(
		head -c 10485760 /dev/zero | tr '\0' a
		printf '\n@after ping\n'
	) | socat -t 10 - "UNIX:$SOCK" >/tmp/t/long
	[ "$(grep -c '^ERR syntax ' /tmp/t/long)" = 1 ] ||
		fail "$(head -c 1000 /tmp/t/long)"
	grep -q '^OK @after$' /tmp/t/long || fail "no answer after it"
}

# One that never reads, and one that sends a byte a second, delay nobody.
bad_clients()
{
	before=$(rss "$(server_pid)")
	(
		while :; do echo help; done | socat -u - "UNIX:$SOCK"
	) >/dev/null 2>&1 &
	(
		for c in p i n g; do
			printf '%s' "$c"
			sleep 1
		done
		echo
	) | socat -t 10 - "UNIX:$SOCK" >/tmp/t/slow &
	slow=$!
	for _ in $(seq 20); do
		expect_ok "ping"
	done
	wait $slow
	grep -q '^OK$' /tmp/t/slow || fail "the slow client got no answer"
	grown=$(($(rss "$(server_pid)") - before))
	[ $grown -lt 4096 ] || fail "the server grew by $grown KiB"
}

# 8 connections of a user are served, the 9th is refused; root is not affected.
too_many()
{
	for n in $(seq 8); do
		as_user member "sleep 60 | socat - UNIX:$SOCK" \
			>"/tmp/t/member.$n" 2>&1 &
	done
	wait_for 10 '[ "$(cat /tmp/t/member.* | grep -c ^HELLO)" = 8 ]' ||
		fail "8 connections are not served"
	as_user member "echo ping | socat -t 5 - UNIX:$SOCK" >/tmp/t/ninth || true
	grep -q '^ERR limit ' /tmp/t/ninth || fail "$(cat /tmp/t/ninth)"
	expect_ok ping
}

access()
{
	as_user member "echo 'add null size=1M' | socat -t 9 - UNIX:$SOCK" |
		grep -q '^OK id=' || fail "a member of ublk cannot add"
	expect_ok "del id=0"
	if as_user user "echo ping | socat -t 5 - UNIX:$SOCK" 2>/dev/null; then
		fail "anybody can talk to it"
	fi
	[ "$(stat -c '%a %G' "$SOCK")" = "660 ublk" ] || fail "$(ls -l "$SOCK")"
}

start_ublkd
options
hints
[ "$(ls /dev/ublkb* /dev/ublkc* 2>/dev/null)" = '' ] || fail "left a device"
grammar
long_line
bad_clients
access
too_many
expect_ok "add ram size=1M"
expect_ok "del id=0"
