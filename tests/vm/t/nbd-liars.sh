#!/bin/sh
# NBD servers that do not keep to the protocol, do not have what they say, or are not
# there: each is a clear error or another connection, never a hang or wrong data.
#
# expect-kernel: (I/O error,|Buffer I/O error on) dev(ice)? ublkb[0-9]+
# expect-kernel: ublkb[0-9]+: unable to read partition table
# kernels: 6.12
# needs: binaries nbd-liar
# needs: files tests/vm/lib-nbd.sh:/t/lib-nbd.sh
# needs: files /usr/lib/x86_64-linux-gnu/libnbd.so.0:/nbd/libnbd.so.0
# time: 90
. /t/lib.sh
# shellcheck source=tests/vm/lib-nbd.sh
. /t/lib-nbd.sh

URI="nbd+unix:///disk?socket=/tmp/t/nbd"

# liar LIE [CONNECTIONS]: such a server, instead of any before
liar()
{
	[ -z "${liar_pid:-}" ] || { kill "$liar_pid"; wait "$liar_pid" || :; } 2>/dev/null
	rm -f /tmp/t/nbd
	nbd-liar /tmp/t/nbd /tmp/t/disk "$@" &
	liar_pid=$!
	wait_for 10 '[ -S /tmp/t/nbd ]' || fail "no nbd-liar"
}

# has_connected TIMES: again
has_connected()
{
	expect_ok list
	[ "$(field reconnects)" = "$1" ] || fail "not $1 reconnects: $REPLY"
}

# data_is_right LIE: by the next connection, whatever the first one says.
data_is_right()
{
	liar "$1"
	expect_ok "add nbd id=0 uri=$URI"
	cmp /tmp/t/disk /dev/ublkb0 || fail "$1: wrong data"
	has_connected 1
	expect_ok "del id=0"
	liar "$1"
	expect_ok "add nbd id=0 uri=$URI"
	dd if=/tmp/t/new of=/dev/ublkb0 bs=64k oflag=direct 2>/dev/null ||
		fail "$1: a write fails"
	cmp /tmp/t/new /tmp/t/disk || fail "$1: not all is written"
	has_connected 1
	cp /tmp/t/old /tmp/t/disk
	expect_ok "del id=0"
	echo "- at $(now) ms: $1"
}

# an_error_is_an_error: one that the protocol does not have, too.
an_error_is_an_error()
{
	liar error
	expect_ok "add nbd id=0 uri=$URI"
	# What is read ahead is read again.
	! dd if=/dev/ublkb0 of=/dev/null bs=64k iflag=direct 2>/dev/null ||
		fail "no error"
	cmp /tmp/t/disk /dev/ublkb0 || fail "wrong data after an error"
	has_connected 0
	expect_ok "del id=0"
}

# gets_reason LIE TEXT: a device waits for its disk, and says why.
gets_reason()
{
	liar "$1" 99
	wait_for 20 'expect_ok list; echo "$REPLY" | grep -q "reason=.*'"$2"'"' ||
		fail "$1: no reason: $REPLY"
	[ "$(field connected)" = no ] || fail "$1: $REPLY"
}

# other_disks: are not taken, and the device has its own when that is back.
other_disks()
{
	liar none
	expect_ok "add nbd id=0 uri=$URI"
	gets_reason smaller "has 2097152 bytes now, and the device 4194304"
	gets_reason hang-up .
	gets_reason noise .
	dd if=/dev/ublkb0 of=/tmp/t/read bs=64k iflag=direct 2>/dev/null &
	reader=$!
	liar larger 99
	wait $reader || fail "a read fails"
	cmp /tmp/t/disk /tmp/t/read || fail "wrong data"
	grep -q "disk has 8388608 bytes, which resize size=auto" "$LOG" ||
		fail "nobody is told of a larger disk"
	expect_ok "del id=0"
	echo "- at $(now) ms: other disks"
}

# larger_than_it_is: what is not there is an error.
larger_than_it_is()
{
	liar larger
	expect_ok "add nbd id=0 uri=$URI"
	cmp -n 4194304 /tmp/t/disk /dev/ublkb0 || fail "wrong data"
	! dd if=/dev/ublkb0 of=/dev/null bs=64k skip=100 count=1 \
		iflag=direct 2>/dev/null || fail "there is data that is not"
	expect_ok "del id=0"
}

# refused WHAT URI ID SYMBOL: in time, with a reason
refused()
{
	expect_err "$4" "add nbd id=$3 uri=$2"
	echo "- $1: $STATUS"
	echo "$STATUS" | grep -q 'text="cannot connect to .*: .*[a-z]' ||
		fail "$1: no reason: $STATUS"
}

# nobody_there: the slow ones at the same time, while a silent server's requests
# time out; other disks are served.
nobody_there()
{
	liar none
	refused "wrong export" "nbd+unix:///other?socket=/tmp/t/nbd" 1 notfound
	refused "nobody listens" "nbd://127.0.0.1/disk" 1 io
	liar noise 99
	refused "no NBD" "$URI" 1 io
	liar silent
	expect_ok "add nbd id=0 uri=$URI io-timeout=2s"
	expect_ok "add null id=3 size=1M"
	nbd-liar dns &
	echo "nameserver 127.0.0.1" >/etc/resolv.conf
	(refused "dead name server" "nbd://storage.example.com/disk" 1 timeout) &
	resolver=$!
	rm -f /tmp/t/mute
	nbd-liar /tmp/t/mute /tmp/t/disk mute 99 &
	(refused "mute" "nbd+unix:///disk?socket=/tmp/t/mute" 2 timeout) &
	mute=$!
	! cmp /tmp/t/disk /dev/ublkb0 2>/dev/null ||
		fail "a silent server's data is there"
	dd if=/dev/ublkb3 of=/dev/null bs=64k iflag=direct 2>/dev/null ||
		fail "another disk is not served"
	wait $resolver || fail "a dead name server"
	wait $mute || fail "a mute server"
	wait_for 30 'is_connected yes; [ "$(field reconnects)" = 1 ]' ||
		fail "a silent server keeps its connection: $REPLY"
	cmp /tmp/t/disk /dev/ublkb0 || fail "wrong data after a silence"
	expect_ok "del id=0"
	expect_ok "del id=3"
	echo "- at $(now) ms: nobody there"
}

dd if=/dev/urandom of=/tmp/t/old bs=64k count=64 2>/dev/null
dd if=/dev/urandom of=/tmp/t/new bs=64k count=64 2>/dev/null
cp /tmp/t/old /tmp/t/disk
start_nbd
for lie in cookie twice magic cut more; do
	data_is_right $lie
done
an_error_is_an_error
larger_than_it_is
other_disks
nobody_there
