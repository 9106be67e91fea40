#!/bin/sh
# A request that a file system which stands still keeps in a worker of the
# kernel: the server that has it could not end, so "upgrade" and the restart of
# a service say so and change nothing. Nobody else waits meanwhile. Once it has
# ended, both work.
#
# needs: binaries fio mkfs.ext4
# needs: modules ext4 brd
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: memory 1024
# size: long:file
# time: 180
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio mkfs.ext4

# others_until CONDITION: it is true within the limit of 5 s and a little more,
# and meanwhile the flushes of another file and the reads of a RAM disk go on.
others_until()
{
	begun=$(now)
	until eval "$1"; do
		before=$(cat /sys/block/ublkb2/stat)
		dd if=/dev/ublkb1 of=/dev/null bs=4096 count=1 iflag=direct \
			2>/dev/null || fail "the RAM disk has failed"
		sleep 0.3
		[ "$(cat /sys/block/ublkb2/stat)" != "$before" ] ||
			fail "the other file waits as well"
		[ $(($(now) - begun)) -lt 15000 ] || fail "it does not end"
	done
	took=$(($(now) - begun))
	echo "after $took ms"
	[ $took -ge 4000 ] || fail "it did not wait"
}

# nothing_changed: the same server, with its keeper, obeys.
nothing_changed()
{
	[ "$(server_pid)" = "$server" ] || fail "the server is another one"
	expect_ok "add null id=9 size=1M"
	expect_ok "del id=9"
	goes_on ublkb2 || fail "the other file does not go on"
}

make_ram_disks 2 65536
mount_ext4 /dev/ram0 /tmp/t/mnt0
mount_ext4 /dev/ram1 /tmp/t/mnt1
start_ublkd
expect_ok "add file id=0 path=/tmp/t/mnt0/disk create=yes size=16M"
expect_ok "add ram id=1 size=16M"
expect_ok "add file id=2 path=/tmp/t/mnt1/disk create=yes size=16M"
load ublkb2 --rw=randwrite --bs=4k --size=8M --fdatasync=4

echo "- upgrade"
hold_write /tmp/t/mnt0
sleep 1
server=$(server_pid)
ask upgrade >/tmp/t/answer &
others_until 'grep -q "^ERR" /tmp/t/answer'
cat /tmp/t/answer
grep -q '^ERR busy .*device 0 (ublkb0)' /tmp/t/answer || fail "$(cat /tmp/t/answer)"
nothing_changed
[ "$(pidof ublkd-server)" = "$server" ] || fail "the new server is still there"

echo "- restart"
kill -USR2 "$KEEPER"
others_until 'grep -q "no restart: .*device 0 " "$LOG"'
nothing_changed
alive "$KEEPER" || fail "the keeper has left"

echo "- after the thaw"
release_write /tmp/t/mnt0 || fail "the write has failed"
upgraded
await_live_count 3
goes_on ublkb2 || fail "the other file does not go on"
restarted
await_live_count 3
goes_on ublkb2 || fail "the other file does not go on"
load_ends
stop_ublkd
umount /tmp/t/mnt0 /tmp/t/mnt1
