#!/bin/sh
# What lies in /dev in the place of a device's node is told at once, nothing is
# left of the device, and without id= the next number is taken. Nodes go to their
# owners.
#
# needs: binaries socat
# time: 60
# size: quick
. /t/lib.sh

# refused ID PATTERN: and the kernel has no such device after that.
refused()
{
	expect_err exists "add null size=1M id=$1"
	echo "$STATUS" | grep -q "$2" || fail "not '$2': $STATUS"
	[ ! -e "/sys/class/ublk-char/ublkc$1" ] || fail "the device is there"
}

# As after a dd to a disk that has just been deleted.
dd if=/dev/zero of=/dev/ublkb3 bs=4k count=10 2>/dev/null
mkdir /dev/ublkb4
: >/dev/ublkc5
start_ublkd
refused 3 '/dev/ublkb3 is a regular file'
refused 4 '/dev/ublkb4 is a folder'
refused 5 '/dev/ublkc5 is a regular file'
: >/dev/ublkb0
: >/dev/ublkc1
for id in 2 6 7; do
	expect_ok "add ram size=1M"
	[ "$(field id)" = $id ] || fail "not $id: $REPLY"
	dd if=/dev/zero of=/dev/ublkb$id bs=4k count=4 oflag=direct \
		2>/dev/null || fail "/dev/ublkb$id cannot be written"
done
grep -q '/dev/ublkb0 is a regular file.*number 0 is left out' "$LOG" ||
	fail "it is not told"
# Only what was in the way was wrong.
[ "$(wc -c </dev/ublkb3)" = 40960 ] || fail "the file is another one"
rm -r /dev/ublkb0 /dev/ublkc1 /dev/ublkb3 /dev/ublkb4 /dev/ublkc5
for id in 0 1 3 4 5; do
	expect_ok "add null size=1M"
	[ "$(field id)" = $id ] || fail "not $id: $REPLY"
done

# A node goes to its owner, also without udev, and stays his; and who is not root
# can have one, but give none away.
is_like()
{
	[ "$(stat -c '%u:%G %a' /dev/ublkb8)" = "$1" ] ||
		fail "$(ls -l /dev/ublkb8) is not $1"
}

# says COMMAND: what a member of the group is answered
says()
{
	as_user member "echo '$1' | socat -t 10 - UNIX:$SOCK" | tail -n 1
}

expect_ok "add ram size=1M id=8 owner=user:ublk node-mode=0640"
is_like "$(id -u user):ublk 640"
as_user user "echo mine >/dev/ublkb8" || fail "it is not the user's"
! as_user member "echo not mine >/dev/ublkb8" 2>/dev/null || fail "a member writes"
kill_server
is_like "$(id -u user):ublk 640"
expect_ok "show 8"
[ "$(field owner)" = user:ublk ] || fail "$REPLY"
expect_ok "del 8"
expect_err notfound "add ram size=1M id=8 owner=nobody-there"
case $(says "add ram size=1M id=8 owner=user") in
"ERR denied "*) ;;
*) fail "a member gives a device away" ;;
esac
case $(says "add ram size=1M id=8 owner=member") in
"OK "*) ;;
*) fail "a member can have none" ;;
esac
as_user member "echo mine >/dev/ublkb8" || fail "it is not the member's"
