#!/bin/sh
# A write that a server left in a disk which stands still when it died: the
# device is not taken over before that write has ended, so it cannot land on
# what was written after it. Meanwhile that is said.
#
# needs: binaries dmsetup
# needs: modules brd dm-mod
# size: long:file
# time: 240
. /t/lib.sh

requires dmsetup

# pattern CHARACTER: a block of it
pattern()
{
	head -c 4096 /dev/zero | tr '\0' "$1"
}

put()
{
	dd if="/tmp/t/$1" of=/dev/ublkb0 bs=4096 seek=7 count=1 oflag=direct \
		2>/dev/null
}

# has PATTERN FILE: at that block
has()
{
	dd if="$2" bs=4096 skip=7 count=1 iflag=direct 2>/dev/null |
		cmp - "/tmp/t/$1" || fail "$2 has something else than $1"
}

is_late()
{
	ask list | grep -q 'state=quiesced .*waits-for=dead-server'
}

# late WORDS: with options for the device
late()
{
	echo "--- $1"
	expect_ok "add file id=0 path=/dev/dm-0 $1"
	put zeroes || fail "cannot write"
	dmsetup suspend --noflush --nolockfs slow
	put old &
	writer=$!
	wait_for 5 '[ "$(inflight ublkb0)" = 1 ]' || fail "nothing is held"
	sleep 0.2
	# A server that lived for less than a second would be replaced later.
	sleep 1
	server=$(server_pid)
	kill -9 "$server"
	wait_for 20 is_late || {
		ask list
		fail "list does not tell that it waits"
	}
	told=$((told + 1))
	[ "$(grep -c "ublkb0: waits for the dead server's last request" \
		"$LOG")" = $told ] || fail "the log does not tell that it waits"
	# It goes on waiting.
	sleep 2
	is_late || fail "taken over: $(ask list)"
	has zeroes /dev/ram0
	dmsetup resume slow
	await_live 0
	! ask "show 0" | grep -q waits-for || fail "$(ask "show 0")"
	# Failed or not, as recovery= says: it has ended.
	wait $writer || true
	put new || fail "cannot write"
	has new /dev/ublkb0
	sleep 1
	has new /dev/ublkb0
	has new /dev/ram0
	expect_ok "del 0"
}

make_ram_disks 1 32768
pattern 'o' >/tmp/t/old
pattern 'n' >/tmp/t/new
head -c 4096 /dev/zero >/tmp/t/zeroes
echo "0 65536 linear /dev/ram0 0" | dmsetup create --noudevsync slow
start_ublkd
told=0
modes="user-copy copy need-get-data"
! ask features | grep -q 'name=auto-buffer have=yes' || modes="$modes zero-copy"
for mode in $modes; do
	late "direct=yes recovery=queue mode=$mode"
done
late "direct=yes"
dmsetup remove --noudevsync slow
