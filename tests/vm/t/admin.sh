#!/bin/sh
# The administrator's day: add, look, use, delete; and what is refused.
#
# needs: binaries socat jq
# needs: modules ext4
# needs: binaries mkfs.ext4
# size: quick
. /t/lib.sh

requires mkfs.ext4

# The protocol as a person sees it: default socat, one line.
plain_socat()
{
	echo "add ram size=64M" | socat - "UNIX:$SOCK" >/tmp/t/plain
	cat /tmp/t/plain
	grep -q '^HELLO ublkd proto=1 version=[0-9.]* pid=[0-9]*$' /tmp/t/plain ||
		fail "no greeting"
	grep -q '^OK id=0 dev=/dev/ublkb0 .* size=67108864$' /tmp/t/plain ||
		fail "no OK"
	[ -b /dev/ublkb0 ] || fail "no block device"
	expect_ok "del id=0"
	[ ! -e /dev/ublkb0 ] || fail "the block device is still there"
}

# Default socat leaves when it has heard nothing for 0.5 s after its input
# ended: WAITs keep it until the refusal comes, a second later. A guest that
# gets no time from its host may miss that; so it may try again.
slow_reply()
{
	expect_ok "add ram size=64M id=4"
	exec 9</dev/ublkb4
	for _ in 1 2 3; do
		echo "@x del id=4" | socat - "UNIX:$SOCK" >/tmp/t/slow
		! grep -q '^ERR' /tmp/t/slow || break
	done
	exec 9<&-
	cat /tmp/t/slow
	grep -q '^WAIT @x what=del$' /tmp/t/slow || fail "no WAIT"
	grep -q '^ERR @x busy text="ublkb4 is in use: opened by ' /tmp/t/slow ||
		fail "no ERR busy"
	expect_ok "show id=4"
	[ "$(field state)" = live ] || fail "a refused del changed the state"
	dd if=/dev/zero of=/dev/ublkb4 bs=1M count=1 2>/dev/null ||
		fail "a refused del broke the disk"
	expect_ok "del id=4"
}

# Everything that keeps a disk busy is named, and nothing is changed.
busy()
{
	expect_ok "add ram size=64M id=5"
	mount_ext4 /dev/ublkb5 /tmp/t/m
	expect_err busy "del id=5"
	echo "$STATUS" | grep -q 'mounted on /tmp/t/m' || fail "$STATUS"
	expect_err busy "shutdown"
	echo "$REPLY" | grep -q 'mounted on /tmp/t/m' || fail "$STATUS"
	echo still >/tmp/t/m/file
	sync
	umount /tmp/t/m
	mkswap /dev/ublkb5 >/dev/null
	swapon /dev/ublkb5
	expect_err busy "del id=5"
	echo "$STATUS" | grep -q 'swap' || fail "$STATUS"
	swapoff /dev/ublkb5
	expect_ok "del id=5"
}

listing()
{
	expect_ok "add null size=1G name=scratch"
	expect_ok "add ram size=8M id=9 ro=yes block-size=4K queues=1 depth=7"
	expect_ok list
	echo "$REPLY"
	[ "$(echo "$REPLY" | grep -c '^dev id=')" = 2 ] || fail "not two"
	expect_ok "list target=ram state=live"
	[ "$(echo "$REPLY" | grep -c '^dev id=9 ')" = 1 ] || fail "$REPLY"
	expect_ok "list name=scratch"
	echo "$REPLY" | grep -q '^dev id=0 name=scratch state=live step=live target=null size=1073741824 dev=/dev/ublkb0 ' ||
		fail "the null device's line"
	[ "$(cat /sys/block/ublkb9/ro)" = 1 ] || fail "not read-only"
	[ "$(cat /sys/block/ublkb9/queue/logical_block_size)" = 4096 ] ||
		fail "the block size"
	[ "$(cat /sys/block/ublkb9/size)" = $((8 * 2048)) ] || fail "the size"
	if dd if=/dev/zero of=/dev/ublkb9 bs=4k count=1 2>/dev/null; then
		fail "a read-only disk was written"
	fi
	expect_ok "show name=scratch"
	expect_ok "show 9"
	[ "$(echo "$REPLY" | grep -c '^queue ')" = 1 ] || fail "not one queue"
	expect_ok "del name=scratch"
	expect_ok "del /dev/ublkb9"
}

# The same add again is answered, not repeated; another one is refused.
again()
{
	expect_ok "add ram id=3 size=16M"
	expect_ok 'add "ram" id=3 size=16M'
	[ "$(field existing)" = yes ] || fail "$STATUS"
	expect_err exists "add ram id=3 size=32M"
	expect_err exists "add null id=3"
	expect_ok "del id=3"
}

# Sizes as people write them; and what of a file no disk can have is told.
sizes()
{
	expect_ok "add ram size=1.5MiB id=6"
	[ "$(field size)" = 1572864 ] || fail "$STATUS"
	[ "$(cat /sys/block/ublkb6/size)" = 3072 ] || fail "the size"
	expect_ok "del 6"
	head -c 1000100 /dev/zero >/tmp/t/odd
	expect_ok "add file path=/tmp/t/odd id=6"
	[ "$(field size) $(field unserved)" = "999936 164" ] || fail "$STATUS"
	[ "$(cat /sys/block/ublkb6/size)" = 1953 ] || fail "the size"
	grep -q 'ublkb6: the last 164 bytes of its file are not served' "$LOG" ||
		fail "the log does not tell of the rest"
	expect_ok "del 6"
}

# What can be set, and what it is now.
settings()
{
	expect_ok "add null id=8 error-rate=1%"
	expect_ok "set 8"
	echo "$REPLY" | grep -q '^option name=error-rate value=1% ' ||
		fail "$REPLY"
	echo "$REPLY" | grep -q '^option name=limit-iops value=0 ' ||
		fail "$REPLY"
	expect_ok "del 8"
}

# A conversation ends when it is told to, though the client could say more.
quits()
{
	mkfifo /tmp/t/input
	exec 9<>/tmp/t/input
	printf 'ping\n@q quit\nlist\n' >&9
	timeout 20 socat - "UNIX:$SOCK" </tmp/t/input >/tmp/t/quit ||
		fail "the connection stays"
	exec 9<&-
	[ "$(grep -v '^HELLO' /tmp/t/quit)" = "OK
OK @q" ] || fail "$(cat /tmp/t/quit)"
}

# Of this kernel's driver nothing is without a name.
features()
{
	expect_ok features
	[ "$(echo "$REPLY" | grep -c '^feature name=')" -ge 21 ] ||
		fail "$REPLY"
	[ -z "$(field unknown)" ] || fail "$STATUS"
}

# What null gives: zeroes, whatever was written.
null_reads_zeroes()
{
	expect_ok "add null size=16M id=2"
	tr '\0' '\377' </dev/zero | dd of=/dev/ublkb2 bs=1M count=16 \
		iflag=fullblock oflag=direct 2>/dev/null
	echo 3 >/proc/sys/vm/drop_caches
	head -c 16777216 /dev/zero | cmp - /dev/ublkb2 || fail "not zeroes"
	expect_ok "del id=2"
}

# json COMMANDS: what comes as JSON, without the two lines before it
json()
{
	printf 'format json\n%s\n' "$1" | socat -t 60 - "UNIX:$SOCK" | sed 1,2d
}

# lines_to_ask: each command, with and without a word, and some that change
# something; a tag each.
lines_to_ask()
{
	for verb in $(ask help | sed -n 's/^command name=\([^ ]*\) .*/\1/p'); do
		case $verb in
		quit | shutdown | upgrade) echo "$verb nonsense=1" ;;
		del) echo "del 77" ;;
		*) printf '%s\n' "$verb" "$verb 9" "help $verb" ;;
		esac
	done >/tmp/t/verbs
	cat >>/tmp/t/verbs <<-'END'
		add null id=7 name=seven delay-time=1us "limit-iops=1000000"
		add null id=7
		set 7 error-every=1000000
		list name=seven
		show 7
		resize 7 size=2G
		stats 7
		inspect 7 tags=yes
		trace 7 last=3
		complete "set 7 err"
		del 7
		add null id=7 "size=a\"b\\\x1b"
	END
	awk '{ print "@" NR, $0 }' /tmp/t/verbs
}

# Each answer is one that a parser takes; and a list as JSON says what the lines say.
as_json()
{
	expect_ok "add null size=1G name=scratch error-rate=1%"
	expect_ok "add ram size=8M id=9 ro=yes"
	lines_to_ask >/tmp/t/lines
	json "$(cat /tmp/t/lines)" >/tmp/t/json
	jq -r 'select(.symbol or .frame == "OK").tag' </tmp/t/json >/tmp/t/tags
	seq "$(wc -l </tmp/t/lines)" | cmp - /tmp/t/tags || fail "$(cat /tmp/t/json)"
	[ "$(wc -l </tmp/t/lines)" -gt 80 ] || fail "$(cat /tmp/t/lines)"
	expect_ok list
	json list | jq -r 'select(.record == "dev") | [.record, (del(.record) |
		to_entries[] | "\(.key)=" + (.value | if . == true then "yes"
		elif . == false then "no" else tostring end))] | join(" ")' \
		>/tmp/t/listed
	echo "$REPLY" | grep '^dev ' | cmp - /tmp/t/listed ||
		fail "$REPLY and $(cat /tmp/t/listed)"
	expect_ok "del scratch"
	expect_ok "del 9"
}

# What happens is told to who watches, and nothing else.
watching()
{
	mkfifo /tmp/t/watch
	socat - "UNIX:$SOCK" </tmp/t/watch >/tmp/t/events &
	exec 9>/tmp/t/watch
	echo "watch" >&9
	wait_for 10 "grep -q '^OK seq=' /tmp/t/events" || fail "no watch"
	expect_ok "add ram size=8M id=3 name=seen"
	expect_ok "set seen error-every=100000"
	expect_ok "del seen"
	wait_for 10 "grep -q state=gone /tmp/t/events" || fail "no event"
	exec 9>&-
	[ "$(sed -n 's/^EVENT seq=[0-9]* \([a-z]*\) id=3 name=seen\( state=[a-z]*\)\{0,1\}.*/\1\2/p' /tmp/t/events)" = "dev state=adding
dev state=live
fault
dev state=deleting
dev state=gone" ] || fail "$(cat /tmp/t/events)"
}

# A person's conversation: candidates, and a prompt behind each answer.
by_hand()
{
	printf 'prompt on\ncomplete "add fi"\n\nquit\n' |
		socat -t 60 - "UNIX:$SOCK" >/tmp/t/hand
	sed 1d /tmp/t/hand | grep -q '^candidate word=file help="' ||
		fail "$(cat /tmp/t/hand)"
	[ "$(tail -n 1 /tmp/t/hand)" = "OK" ] || fail "$(cat /tmp/t/hand)"
}

# Several at once; who is in use stays.
several()
{
	for i in 11 12 13; do
		expect_ok "add ram id=$i size=8M"
	done
	exec 9</dev/ublkb12
	expect_err busy "del --all"
	exec 9<&-
	[ "$(echo "$REPLY" | cut -d ' ' -f 1,2 | sort)" = "ERR busy
deleted id=11
deleted id=13
failed id=12" ] || fail "$REPLY"
	expect_ok "add null id=13"
	expect_ok "del 12 13"
	[ "$(field deleted)" = 2 ] || fail "$STATUS"
	[ ! -e /dev/ublkb12 ] || fail "a disk is still there"
}

start_ublkd
plain_socat
slow_reply
busy
listing
again
sizes
settings
quits
features
as_json
watching
by_hand
several
null_reads_zeroes
