#!/bin/sh
# Faults on demand: requests that fail by number, place, kind and chance, and
# requests that are kept for a while; changed live, kept when the server dies,
# and never in the way of a delete.
#
# needs: binaries fio
# needs: memory 1024
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 240
# kernels: 6.12
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio

# add_ram ARG...: device 0. The kernel looks for partitions once it is live:
# those reads are not to be counted. Nor may it make one request of two.
add_ram()
{
	expect_ok "add ram id=0 size=16M${1:+ }$*"
	sleep 0.5
	echo 2 >/sys/block/ublkb0/queue/nomerges
}

# touches OP N: that many requests of 4K, one after the other, from the start;
# prints how many failed. OP is read or write.
touches()
{
	bad=0
	for n in $(seq 0 $(($2 - 1))); do
		"$1"_at "$n" 2>/dev/null || bad=$((bad + 1))
	done
	echo $bad
}

read_at()
{
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 skip="$1" iflag=direct
}

write_at()
{
	dd if=/dev/zero of=/dev/ublkb0 bs=4k count=1 seek="$1" oflag=direct \
		conv=notrunc
}

# fails_as TEXT OP N: the request fails, and the program says so.
fails_as()
{
	! "$2_at" "$3" 2>/tmp/t/error || fail "$2 of block $3 did not fail"
	grep -q "$1" /tmp/t/error || fail "$(cat /tmp/t/error), not $1"
}

# same WHAT GOT WANTED
same()
{
	[ "$2" = "$3" ] || fail "$1: $2, not $3"
}

# layer NAME KEY: a figure of one of the device's layers
layer()
{
	ask "show 0" | sed -n "s/^layer name=$1 .*\\b$2=\\([0-9]*\\).*/\\1/p"
}

by_number()
{
	add_ram
	expect_ok "set 0 error-every=3 error-op=read"
	same "each third read" "$(touches read 30)" 10
	same "no write" "$(touches write 30)" 0
	same "counted" "$(layer error failed)" 10
	expect_ok "set 0 error-every=1 error-count=4"
	same "four at most" "$(touches read 30)" 4
	# The same again arms it again.
	expect_ok "set id=0 error-count=4"
	same "four more" "$(touches read 30)" 4
	same "counted" "$(layer error failed)" 18
	expect_ok "set 0 error-every=0 error-count=0 error-op=all"
	same "the command as it would be now" "$(config)" \
		"add ram id=0 size=16M"
	same "none any more" "$(touches read 30)" 0
	expect_ok "del 0"
}

# Put on a device that was added without.
by_place()
{
	add_ram name=disk
	same "no layer" "$(ask "show 0" | grep -c '^layer')" 0
	expect_ok "set disk error-rate=100% error-offset=40K error-length=8K"
	same "two bad blocks" "$(touches read 30)" 2
	same "two bad blocks" "$(touches write 30)" 2
	fails_as 'Input/output' read 10
	fails_as 'Input/output' write 11
	# A request that only touches the part.
	! dd if=/dev/ublkb0 of=/dev/null bs=48k count=1 iflag=direct \
		2>/dev/null || fail "a large read over the part did not fail"
	expect_ok "set name=disk error-errno=ENOSPC error-op=write"
	fails_as 'No space' write 10
	read_at 10 2>/dev/null || fail "a read failed"
	expect_ok "set 0 error-errno=ETIMEDOUT"
	fails_as 'timed out' write 10
	expect_ok "del disk"
}

# A failed write never reaches the target, and a discard can fail.
by_kind()
{
	add_ram
	dd if=/dev/urandom of=/tmp/t/data bs=64k count=1 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb0 bs=64k oflag=direct 2>/dev/null
	expect_ok "set 0 error-rate=1 error-op=write,discard,write-zeroes"
	same "each write" "$(touches write 16)" 16
	fio --name=t --filename=/dev/ublkb0 --rw=trim --bs=64k --size=64k \
		>/tmp/t/fio.log 2>&1 && fail "the discard did not fail"
	dd if=/dev/ublkb0 bs=64k count=1 iflag=direct 2>/dev/null |
		cmp - /tmp/t/data || fail "a failed request had an effect"
	expect_ok "set 0 error-rate=0"
	fio --name=t --filename=/dev/ublkb0 --rw=trim --bs=64k --size=64k \
		>/tmp/t/fio.log 2>&1 || fail "$(cat /tmp/t/fio.log)"
	expect_ok "del 0"
}

# errors_by_chance: of 1000 reads, how many fail
errors_by_chance()
{
	before=$(layer error failed)
	fio --name=c --filename=/dev/ublkb0 --rw=read --bs=4k --size=4M \
		--direct=1 --continue_on_error=all --ioengine=psync \
		>/tmp/t/fio.log 2>&1 || true
	echo $(($(layer error failed) - ${before:-0}))
}

by_chance()
{
	add_ram queues=1
	expect_ok "set 0 error-rate=0.1 error-op=read error-seed=7"
	first=$(errors_by_chance)
	if [ "$first" -lt 60 ] || [ "$first" -gt 150 ]; then
		fail "$first of 1024 failed, not about a tenth"
	fi
	expect_ok "set 0 error-seed=7"
	same "the same seed" "$(errors_by_chance)" "$first"
	echo "a rate of 0.1: $first of 1024"
	expect_ok "del 0"
}

mistakes()
{
	expect_ok "add ram id=0 size=16M error-every=5 delay-time=1ms"
	before=$(config)
	expect_err arg "set 0 error-every=2 error-errno=EWHAT"
	expect_err arg "set 0 error-every=2 delay-time=5"
	expect_err arg "set 0 error-every=2 error-op=read,append"
	expect_err range "set 0 error-every=2 error-rate=2"
	expect_err range "set 0 error-every=2 delay-time=5ms delay-max=1ms"
	expect_err range "set 0 delay-max=500us"
	expect_err unknown "set 0 error-every=2 size=32M"
	expect_ok "set 0"
	expect_err arg "set error-every=2"
	expect_err notfound "set 7 error-every=2"
	same "nothing has changed" "$(config)" "$before"
	same "nor does it behave otherwise" "$(touches read 30)" 6
	expect_err range "add ram id=1 size=1M delay-time=2s delay-max=1s"
	[ ! -e /dev/ublkb1 ] || fail "a wrong add made a device"
	expect_ok "del 0"
}

# What was set survives, and what a dump says makes the same device.
survives()
{
	add_ram error-every=7
	expect_ok "set 0 error-every=4 error-op=read delay-time=2ms"
	line=$(config)
	for _ in 1 2; do
		kill_server
		same "the command" "$(config)" "$line"
		same "each fourth" "$(touches read 20)" 5
		same "all were kept" "$(layer delay delayed)" 20
	done
	expect_ok "set 0 error-every=10"
	kill_server
	same "each tenth" "$(touches read 20)" 2
	line=$(config)
	expect_ok "del 0"
	expect_ok "$line"
	same "a dump that is loaded" "$(config)" "$line"
	expect_ok "del 0"
}

# fio_ms ARG...: how long it reads, by its own clock
fio_ms()
{
	fio --name=d --filename=/dev/ublkb0 --rw=read --bs=4k --direct=1 \
		--ioengine=libaio "$@" >/tmp/t/fio.log 2>&1 ||
		fail "$(cat /tmp/t/fio.log)"
	sed -n 's/.* run=\([0-9]*\)-[0-9]*msec.*/\1/p' /tmp/t/fio.log
}

delays()
{
	add_ram queues=1 depth=64
	expect_ok "set 0 delay-time=50ms delay-op=read"
	alone=$(fio_ms --iodepth=1 --size=80k)
	[ "$alone" -ge 1000 ] || fail "20 reads took $alone ms, not 20 times 50"
	same "kept" "$(layer delay delayed)" 20
	# Side by side they wait together, on a host that is as busy as before.
	took=$(fio_ms --iodepth=32 --size=128k)
	echo "20 reads one by one: $alone ms; 32 side by side: $took ms"
	[ "$took" -lt "$alone" ] || fail "32 reads did not wait together"
	same "kept" "$(layer delay delayed)" 52
	same "no write" "$(touches write 5)" 0
	same "kept" "$(layer delay delayed)" 52
	expect_ok "set 0 delay-time=5ms delay-max=20ms"
	took=$(fio_ms --iodepth=1 --size=160k)
	[ "$took" -ge 200 ] || fail "40 reads took $took ms, not 40 times 5"
	expect_ok "set 0 delay-time=0 delay-max=0 delay-mean=2ms"
	fio_ms --iodepth=16 --size=4M >/dev/null
	same "kept" "$(layer delay delayed)" $((92 + 1024))
	expect_ok "set 0 delay-mean=0 delay-op=all"
	same "nothing waits" "$(layer delay waiting)" 0
	same "the command as it would be now" "$(config)" \
		"add ram id=0 size=16M queues=1 depth=64"
	fio_ms --iodepth=16 --size=4M >/dev/null
	same "kept no more" "$(layer delay delayed)" $((92 + 1024))
	expect_ok "del 0"
}

# Data stays right when requests overtake each other.
verified()
{
	expect_ok "add ram id=0 size=16M delay-time=0 delay-mean=1ms"
	fio --name=v --filename=/dev/ublkb0 --rw=randwrite --bsrange=4k-64k \
		--direct=1 --ioengine=libaio --iodepth=32 --verify=crc32c \
		--size=16M >/tmp/t/fio.log 2>&1 || fail "$(tail /tmp/t/fio.log)"
	expect_ok "del 0"
}

# slow_reads: 8 readers whose requests are kept; their ends in /tmp/t/ended
slow_reads()
{
	rm -f /tmp/t/ended
	(
		status=0
		fio --name=s --filename=/dev/ublkb0 --rw=read --bs=4k \
			--size=32k --direct=1 --ioengine=libaio --iodepth=8 \
			--allow_file_create=0 >/tmp/t/fio.log 2>&1 || status=$?
		echo $status >/tmp/t/ended
	) &
	wait_for 10 '[ "$(layer delay waiting)" = 8 ]' ||
		fail "8 requests are not kept: $(layer delay waiting)"
}

ended()
{
	wait_for "$1" '[ -e /tmp/t/ended ]' || {
		dump_state
		fail "the reader hangs"
	}
	[ "$(cat /tmp/t/ended)" = 0 ] || fail "$(cat /tmp/t/fio.log)"
}

# Requests that are kept for an hour, let go in each possible way.
let_go()
{
	add_ram queues=1
	expect_ok "set 0 delay-time=3600s delay-op=read"
	slow_reads
	# Another time is for those that come later.
	expect_ok "set 0 delay-time=3599s"
	same "still kept" "$(layer delay waiting)" 8
	expect_ok "set 0 delay-time=0"
	ended 5
	# The next server may have them before the device is live again.
	expect_ok "set 0 delay-time=3600s"
	slow_reads
	kill_server
	expect_ok "set 0 delay-time=0"
	ended 5
	expect_ok "set 0 delay-time=3600s"
	slow_reads
	begun=$(now)
	expect_ok "del 0 force=yes"
	wait_for 5 '[ -e /tmp/t/ended ]' || fail "the reader hangs"
	echo "deleted by force after $(($(now) - begun)) ms"
	# At the end of the daemon as well.
	add_ram queues=1
	expect_ok "set 0 delay-time=3600s delay-op=read"
	slow_reads
	stop_ublkd
	wait_for 5 '[ -e /tmp/t/ended ]' || fail "the reader hangs"
	start_ublkd
}

# A plain delete waits for what is kept: the last close wrote it.
plain_delete()
{
	expect_ok "add ram id=0 size=16M delay-time=500ms delay-op=write"
	dd if=/dev/zero of=/dev/ublkb0 bs=4k count=4 2>/dev/null &
	wait_for 10 '[ "$(layer delay waiting)" -ge 1 ]' ||
		fail "no write is kept"
	expect_ok "del 0"
	wait $! || fail "the writer saw an error"
}

start_ublkd
by_number
by_place
by_kind
by_chance
mistakes
survives
delays
verified
let_go
plain_delete
