#!/bin/sh
# The last close of a disk writes back what is dirty, and waits for a disk that
# stands still: in a worker, where it holds up nobody. "del" answers once the
# disk is free, so that it can be added again at once, or after its patience.
#
# needs: binaries fio dmsetup
# needs: modules brd dm-mod
# expect-kernel: INFO: task iou-wrk-
# needs: files tests/vm/lib-longest.sh:/t/lib-longest.sh
# size: long:file
# time: 240
. /t/lib.sh
# shellcheck source=tests/vm/lib-longest.sh
. /t/lib-longest.sh

requires fio dmsetup

ADD="add file id=0 path=/dev/dm-0 direct=no recovery=no"

# dirty MIB: of what was written the page cache of the disk has so much
dirty()
{
	dd if=/dev/zero of=/dev/ublkb0 bs=1M count="$1" oflag=direct \
		2>/dev/null || fail "cannot write"
}

hold()
{
	dmsetup suspend --noflush --nolockfs slow
}

let_go()
{
	dmsetup resume slow
}

# give_up WHY: with nobody left behind who waits for the disk
give_up()
{
	let_go
	fail "$1"
}

# nobody_waits: for the one that is being closed; who did would wait until the
# disk goes on, so that a busy host makes no difference
nobody_waits()
{
	took=$(longest)
	echo "at most $took ms a request, $before ms without"
	[ "$took" -le $((before + 1000)) ] || give_up "the other device waits"
	for _ in $(seq 5); do
		ask ping | grep -q '^OK' || give_up "no answer"
	done
	expect_ok "add null id=2"
	expect_ok "del 2"
}

# begin_del: the disk stands still, and the device is deleted
begin_del()
{
	dirty 8
	hold
	ask "del 0" >/tmp/t/del &
	deleter=$!
	wait_for 20 'ask list | grep -q "id=0 .*state=deleting .*waits-for=file"' ||
		give_up "$(ask list)"
	nobody_waits
	[ ! -s /tmp/t/del ] || give_up "it is answered: $(cat /tmp/t/del)"
}

end_del()
{
	wait $deleter
	grep -q '^OK' /tmp/t/del || fail "$(cat /tmp/t/del)"
}

make_ram_disks 1 32768
echo "0 65536 linear /dev/ram0 0" | dmsetup create --noudevsync slow
start_ublkd
expect_ok "add ram id=1 size=16M"
longest >/dev/null
before=$(longest)

echo "--- added again at once"
for _ in $(seq 5); do
	for _ in $(seq 10); do
		expect_ok "$ADD"
		dirty 4
		expect_ok "del 0"
	done
done

echo "--- it stands still for a while"
expect_ok "$ADD"
begin_del
let_go
end_del
expect_ok "$ADD"

echo "--- for longer than the patience"
begin_del
end_del
grep -q "/dev/dm-0 is not closed within" "$LOG" || fail "the log does not tell"
! ask list | grep -q id=0 || fail "$(ask list)"
expect_err busy "$ADD"
let_go
wait_for 20 'ask "$ADD" | grep -q ^OK' || fail "it is never free"

echo "--- the last one to close it is the keeper"
dirty 8
hold
kill -9 "$(server_pid)"
await_live 1
wait_for 20 '[ ! -e /dev/ublkb0 ]' || fail "it is not deleted"
nobody_waits
let_go
wait_for 20 'ask "$ADD" | grep -q ^OK' || fail "it is never free"
expect_ok "del 0"
dmsetup remove --noudevsync slow
