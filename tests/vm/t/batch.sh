#!/bin/sh
# Commands for many requests (batch=yes): data arrive, no wakeup is lost, and a
# device is deleted, killed under and upgraded as any other.
#
# sanitizers: long
# needs: binaries fio stall-sampler
# needs: modules brd
# needs: files tests/vm/lib-sampler.sh:/t/lib-sampler.sh
# needs: files tests/vm/lib-wakeups.sh:/t/lib-wakeups.sh
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: cpus 4
# needs: kernel 7.x
# time: 400
. /t/lib.sh
# shellcheck source=tests/vm/lib-wakeups.sh
. /t/lib-wakeups.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

MIXED=4k/40:16k/20:64k/15:256k/15:512k/10

requires fio

# disk ADD...: it is one with batch=yes, and says so.
disk()
{
	echo "--- $*"
	expect_ok "add $* id=0 batch=yes"
	expect_ok "show 0"
	[ "$(field batch)" = yes ] || fail "$REPLY"
}

# remove_disk: nothing has failed, and nothing is left.
remove_disk()
{
	expect_ok "show 0"
	[ "$(echo "$REPLY" | grep -c '^queue .* owned=0 .* errors=0$')" = \
		"$(echo "$REPLY" | grep -c '^queue ')" ] ||
		fail "requests are left or have failed: $REPLY"
	expect_ok "del 0"
}

# mode MODE: of the disk
mode()
{
	[ "$(field mode)" = "$1" ] || fail "not $1: $REPLY"
}

# verify FIO-ARG...: writes and reads back.
verify()
{
	begun=$(now)
	fio --name=verify --filename=/dev/ublkb0 --rw=randwrite --direct=1 \
		--ioengine=libaio --verify=crc32c --verify_fatal=1 "$@" >/tmp/t/fio 2>&1 || {
		cat /tmp/t/fio
		fail "fio $*"
	}
	echo "fio $*: $(($(now) - begun)) ms"
}

choices()
{
	expect_err arg "add ram size=1M batch=yes mode=need-get-data"
	[ "$(field arg)" = batch ] || fail "it does not name batch: $REPLY"
	disk "ram size=1M"
	mode user-copy
	expect_ok "del 0"
	disk "null"
	mode copy
	expect_ok "del 0"
	expect_ok "add null id=0"
	expect_ok "show 0"
	[ "$(field batch)" = no ] || fail "$REPLY"
	expect_ok "del 0"
}

# arrives QUEUES [OPTION]...
arrives()
{
	queues=$1
	shift
	disk "ram size=64M queues=$queues $*"
	verify --bssplit=4k/100 --size=1M --iodepth=1
	verify --bssplit=$MIXED --size=16M --iodepth=32 --ioengine=io_uring
	verify --bssplit=$MIXED --size=32M --iodepth=128 --verify_backlog=32
	verify --bssplit=4k/100 --size=2M --offset_increment=16M --numjobs=4 \
		--cpus_allowed=0-3 --cpus_allowed_policy=split --iodepth=64
	remove_disk
}

# A tag or two, and more than one page of lists.
depths()
{
	disk "ram size=16M queues=1 depth=1"
	verify --bssplit=$MIXED --size=4M --iodepth=4
	remove_disk
	disk "ram size=16M queues=2 depth=2 mode=copy"
	verify --bssplit=$MIXED --size=8M --iodepth=16
	remove_disk
	disk "ram size=64M queues=1 depth=2048 max-io=16K"
	verify --bssplit=4k/80:16k/20 --size=8M --iodepth=1024
	remove_disk
}

# The pages themselves, into a disk.
zero_copy()
{
	make_ram_disks 1 65536
	disk "file path=/dev/ram0"
	mode zero-copy
	verify --bssplit=$MIXED --size=4M --iodepth=1
	verify --bssplit=$MIXED --size=32M --iodepth=32
	remove_disk
}

wakes()
{
	echo "--- wakeups"
	start_sampler
	expect_ok "add ram id=20 size=64M queues=4 batch=yes"
	clients sync 3 ublkb20
	clients async 3 ublkb20
	expect_ok "add ram id=21 size=64M queues=1 depth=128 batch=yes"
	alone 3 ublkb21
	stop_sampler
	no_stall 15
	expect_ok "del 20"
	expect_ok "del 21"
}

forced()
{
	echo "--- deleted by force"
	for _ in 1 2 3; do
		expect_ok "add ram id=0 size=64M queues=2 batch=yes"
		client_at_work ublkb0 64
		expect_ok "del 0 force=yes"
		client_ends 10
	done
	expect_ok "add ram id=0 size=64M queues=2 batch=yes recovery=no"
	client_at_work ublkb0 64
	kill -9 "$(server_pid)"
	client_ends 3
	wait_for 10 '! ls /dev/ublkc* >/dev/null 2>&1' || fail "it is left"
	wait_for 10 ublkd_answers || fail "no answer"
}

# at_work: it goes on, and is still what it was.
at_work()
{
	wait_for 20 "ask list 2>/dev/null | grep -q 'id=0 .* state=live .* batch=yes'" || {
		dump_state
		fail "$(ask list)"
	}
	goes_on ublkb0 || {
		dump_state
		fail "the load does not go on"
	}
}

# taken_over OPTION...: again and again under a load that verifies.
taken_over()
{
	echo "--- taken over: $*"
	expect_ok "add ram id=0 size=64M batch=yes $*"
	load ublkb0 --rw=randwrite --bssplit=$MIXED --verify=crc32c \
		--verify_fatal=1 --size=32M --loops=100
	for _ in 1 2 3 4 5; do
		server=$(server_pid)
		kill -9 "$server"
		wait_for 10 "! alive $server" || fail "the server does not die"
		at_work
	done
	upgraded
	at_work
	load_ends
	expect_ok "show 0"
	echo "$REPLY" | grep -q '^config text=.*batch=yes' || fail "$REPLY"
	expect_ok "del 0"
}

start_ublkd
choices
zero_copy
forced
taken_over queues=1
taken_over queues=4 mode=copy
wakes
arrives 4
arrives 1 mode=copy
depths
