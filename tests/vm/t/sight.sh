#!/bin/sh
# What ublkd has counted is what the kernel has, whoever died meanwhile; the last
# events of a killed server can be read; times are those of a delay that is known;
# and devices work without a recorder, and without room for one.
#
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: icount
# size: default long:sight
# time: 240
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio

# field KEY: of the first line of $REPLY that has it
field()
{
	echo "$REPLY" | sed -n "s/.* $1=\([^ ]*\).*/\1/p" | head -n 1
}

disk=0

# op NAME KEY: of $disk, or 0
op()
{
	expect_ok "stats $disk"
	REPLY=$(echo "$REPLY" | grep " op=$1 ") || true
	value=$(field "$2")
	echo "${value:-0}"
}

# agrees WHEN: reads and writes that were answered are those that the kernel has.
agrees()
{
	read -r reads _ _ _ writes _ </sys/block/ublkb0/stat
	ours="$(op read count) $(op write count)"
	echo "$1: $ours, the kernel has $reads $writes"
	[ "$ours" = "$reads $writes" ] || fail "$1: $ours, not $reads $writes"
}

transfers()
{
	dd if=/dev/ublkb0 of=/dev/null bs=4k count="$1" iflag=direct 2>/dev/null
	dd if=/dev/zero of=/dev/ublkb0 bs=8k count="$1" oflag=direct 2>/dev/null
}

# near WHAT GOT WANTED: within 10 %
near()
{
	echo "$1: $2"
	us=${2%us}
	[ "$us" -ge $(($3 * 9 / 10)) ] || fail "$1 is $2, not about $3us"
	[ "$us" -le $(($3 * 11 / 10)) ] || fail "$1 is $2, not about $3us"
}

counters()
{
	echo "- counters"
	start_ublkd
	expect_ok "add ram id=0 size=64M queues=1"
	[ "$(stat -c %a /run/ublkd/sight)" = 600 ] || fail "others can read it"
	agrees "after the partition scan"
	transfers 20
	agrees "in a small part"
	transfers 200
	agrees "in a large part"
	kill_server
	await_live 0
	agrees "after the server was killed"
	transfers 50
	agrees "and was used"
	kill_keeper
	transfers 50
	start_ublkd
	await_live 0
	agrees "after the keeper was killed"
	transfers 50
	agrees "and was used again"
	[ "$(op write bytes)" = $((8192 * 370)) ] || fail "$(op write bytes) bytes"
	expect_ok "stats 0 reset"
	[ "$(op read count)" = 0 ] || fail "nothing is reset"
	transfers 10
	[ "$(op read count)" = 10 ] || fail "it does not count anew"
}

# What the last server did: requests that it had, and the next server's steps.
last_words()
{
	echo "- a killed server's last events"
	expect_ok "set 0 delay-time=60s"
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 skip=77 iflag=direct 2>/dev/null &
	reader=$!
	wait_for 5 "ask 'show 0' | grep -q 'layer name=delay.* waiting=1'" ||
		fail "nothing waits"
	kill_server
	await_live 0
	expect_ok "trace 0"
	echo "$REPLY" | awk '
	/event=delivered .* offset=315392 length=4096/ { came = came NR "," }
	/event=kept .* place=delay/ && came { kept = 1 }
	/event=step name=end-recover/ && kept { next_one = 1 }
	END { exit !(next_one && came ~ /,./) }' || fail "$REPLY"
	expect_ok "set 0 delay-time=0"
	echo "trace 0 follow=yes" |
		socat -t 60 - "UNIX-CONNECT:$SOCK" >/tmp/t/follow &
	follower=$!
	wait_for 5 "grep -q ^OK /tmp/t/follow" || fail "it does not follow"
	transfers 3
	wait_for 5 "[ \$(grep -c '^EVENT trace.*event=committed' /tmp/t/follow) -ge 6 ]" ||
		fail "$(cat /tmp/t/follow)"
	command kill $follower
	expect_ok "del 0 force=yes"
	wait $reader $follower || true
}

durations()
{
	echo "- times"
	disk=1
	expect_ok "add ram id=1 size=64M queues=1 delay-time=5ms"
	expect_ok "stats reset" # a look for partitions is not delayed on 6.12
	fio --name=r --filename=/dev/ublkb1 --rw=randread --bs=4k --direct=1 \
		--ioengine=libaio --iodepth=4 --number_ios=2000 >/tmp/t/fio.log
	near "p50" "$(op read p50)" 5000
	near "p99" "$(op read p99)" 5000
	[ "$(op read in-turn)" = 0 ] || fail "some were not delayed: $(ask "stats 1") $(ask "trace 1" | head -n 40)"
	expect_ok "set 1 delay-time=0"
	expect_ok "stats reset"
	dd if=/dev/ublkb1 of=/dev/null bs=4k count=100 iflag=direct 2>/dev/null
	[ "$(op read in-turn)" = 100 ] || fail "$(ask stats)"
	expect_ok "del 1"
}

# As many lines as a histogram has, and each family once.
metrics()
{
	echo "- metrics"
	for id in 0 1 2; do
		expect_ok "add null id=$id size=64M queues=1"
		dd if=/dev/ublkb$id of=/dev/null bs=4k count=10 iflag=direct 2>/dev/null
	done
	expect_ok metrics
	[ "$(echo "$REPLY" | grep -c '^# TYPE')" -ge 19 ] || fail "$REPLY"
	[ -z "$(echo "$REPLY" | grep '^# TYPE' | sort | uniq -d)" ] || fail "$REPLY"
	[ "$(echo "$REPLY" |
		grep -c '^ublkd_request_duration_seconds_bucket.*op="read"')" = 36 ] ||
		fail "$REPLY"
	echo "$REPLY" | grep -q '^ublkd_info{device="ublkb2",name="ublkb2",target="null"} 1$' ||
		fail "$REPLY"
	stop_ublkd
	[ ! -e /run/ublkd/sight ] || fail "the file stays"
}

without()
{
	echo "- without a recorder"
	start_ublkd --recorder=no
	expect_ok "add ram id=0 size=64M"
	transfers 10
	expect_err unsupported stats
	expect_err unsupported "trace 0"
	expect_ok features
	echo "$REPLY" | grep -qx 'recorder on=no' || fail "$REPLY"
	[ "$(stat -c %b /run/ublkd/sight)" -le 8 ] || fail "there is more than a page"
	stop_ublkd
}

# A state folder with four pages left: for the head, notes and small parts.
no_room()
{
	echo "- without room"
	mkdir /tmp/t/full
	mount -t tmpfs -o size=64k,mode=700 tmpfs /tmp/t/full
	dd if=/dev/zero of=/tmp/t/full/all bs=1k count=48 2>/dev/null
	start_ublkd --state=/tmp/t/full
	expect_ok "add ram id=0 size=64M"
	transfers 200
	expect_ok "add ram id=1 size=64M"
	dd if=/dev/ublkb1 of=/dev/null bs=4k count=300 iflag=direct 2>/dev/null
	grep -q "device [01]: no memory for its recorder\|has no recorder: no memory" "$LOG" ||
		fail "nobody was told: $(ls -ls /tmp/t/full)"
	expect_ok stats
	stop_ublkd
	umount /tmp/t/full
}

counters
last_words
durations
metrics
without
no_room
