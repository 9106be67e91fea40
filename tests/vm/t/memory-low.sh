#!/bin/sh
# RAM disks filled past the memory that the host, or their cgroup, has left: the
# writer gets ENOSPC; nobody is shot by the OOM killer, nothing stalls, and all
# else goes on. When memory is given back the disk can be written again.
#
# sanitizers: long
# needs: binaries fio stall-sampler
# needs: files tests/vm/lib-sampler.sh:/t/lib-sampler.sh
# needs: memory 640
# expect-kernel: Buffer I/O error on dev(ice)? ublkb
# time: 300
. /t/lib.sh
# shellcheck source=tests/vm/lib-sampler.sh
. /t/lib-sampler.sh

requires fio stall-sampler
! sanitized || skip "a sanitizer's own memory spoils the figures"

GROUP=/sys/fs/cgroup/ublkd-test
CALM=8000 # ms: what others may have to wait at most, on a busy host too

# ---- all else goes on

# clock: sets $CLOCK to milliseconds. Like all that stands between two of these
# it starts no process: with both CPUs busy that alone can take a second.
clock()
{
	read -r CLOCK _ </proc/uptime
	CLOCK=${CLOCK%.*}${CLOCK#*.}0
}

# timed NAME COMMAND...: keeps the longest time that one of that name took.
timed()
{
	slot=$1
	shift
	clock
	start=$CLOCK
	"$@" || echo "$slot: $*" >>/tmp/t/broken
	clock
	eval "[ $((CLOCK - start)) -le \$slowest_$slot ] ||
		slowest_$slot=$((CLOCK - start))"
}

# bystander: until /tmp/t/enough exists it writes and reads another disk, and
# asks the server.
bystander()
{
	rm -f /tmp/t/enough /tmp/t/broken /tmp/t/rounds /tmp/t/to /tmp/t/from
	slowest_write=0 slowest_read=0 slowest_ping=0 rounds=0
	mkfifo /tmp/t/to /tmp/t/from
	socat - "UNIX:$SOCK" </tmp/t/to >/tmp/t/from &
	exec 7>/tmp/t/to 8</tmp/t/from
	read -r hello <&8
	echo "$hello"
	# dd would make a file of that name when the disk is gone.
	while [ ! -e /tmp/t/enough ] && [ -b /dev/ublkb9 ]; do
		# Another page each time.
		now >/tmp/t/page
		timed write dd if=/tmp/t/page of=/dev/ublkb9 bs=4k count=1 \
			conv=sync oflag=direct status=none
		timed read dd if=/dev/ublkb9 of=/tmp/t/back bs=4k count=1 \
			iflag=direct status=none
		[ "$(head -n 1 /tmp/t/back)" = "$(cat /tmp/t/page)" ] ||
			echo "read something else" >>/tmp/t/broken
		timed ping pinged
		rounds=$((rounds + 1))
	done
	exec 7>&- 8<&-
	echo "$rounds $slowest_write $slowest_read $slowest_ping" >/tmp/t/rounds
}

pinged()
{
	echo ping >&7
	read -r answer <&8
	[ "$answer" = OK ]
}

# watch_others: that, and the stall sampler.
watch_others()
{
	expect_ok "add ram id=9 size=1M"
	# Its memory is there: it needs none from now on.
	dd if=/dev/zero of=/dev/ublkb9 bs=64k count=16 oflag=direct 2>/dev/null
	start_sampler
	bystander &
	BYSTANDER=$!
}

others_were_served()
{
	touch /tmp/t/enough
	wait_for 20 '[ -e /tmp/t/rounds ]' || fail "the other disk hangs"
	wait "$BYSTANDER" || fail "the other disk's user has failed"
	read -r rounds write read ping </tmp/t/rounds
	echo "others: $rounds rounds, the slowest write took $write ms," \
		"the slowest read $read ms, the slowest ping $ping ms"
	[ ! -e /tmp/t/broken ] || fail "others failed: $(cat /tmp/t/broken)"
	for took in "$write" "$read" "$ping"; do
		[ "$took" -lt $CALM ] || fail "others had to wait"
	done
	[ "$rounds" -ge 3 ] || fail "they had few rounds"
	stop_sampler
	no_stall 1
	no_oom
	expect_ok "del id=9"
}

# no_oom: neither the kernel's nor a cgroup's.
no_oom()
{
	! klog | grep -iE 'out of memory|oom-kill|invoked oom' ||
		fail "the OOM killer has come"
	[ ! -e $GROUP ] || grep -qx 'oom_kill 0' $GROUP/memory.events ||
		fail "$(cat $GROUP/memory.events)"
}

# ---- filling

# megabytes DISK: its size
megabytes()
{
	echo $(($(cat "/sys/block/$1/size") / 2048))
}

# fill DISK: direct writes, which must fail before its end.
fill()
{
	if dd if=/dev/zero of="/dev/$1" bs=1M count="$(megabytes "$1")" \
		oflag=direct 2>/tmp/t/dd; then
		fail "$1 took all: $(cat /tmp/t/dd)"
	fi
	grep -q 'No space left' /tmp/t/dd || fail "$(cat /tmp/t/dd)"
	echo "$1: $(sed -n 's/ records out/ MiB written/p' /tmp/t/dd)"
}

# fill_many DISK...: by direct writers of many sizes and depths at once. All must
# end, and because there is no room.
fill_many()
{
	for disk; do
		echo "[$disk]"
		echo "filename=/dev/$disk"
	done >/tmp/t/jobs
	timeout 300 fio --ioengine=libaio --direct=1 --rw=write --iodepth=16 \
		--bsrange=4k-512k --eta=never /tmp/t/jobs >/tmp/t/fio 2>&1 ||
		[ $? != 143 ] || fail "the writers hang"
	for disk; do
		grep -qE "^$disk: .*err=28|$disk.*No space left" /tmp/t/fio ||
			fail "no ENOSPC for $disk: $(head -n 20 /tmp/t/fio)"
	done
}

# fill_cache DISK: through the page cache, which is dirty all the while. The
# error comes from a write or from fsync, and can be no other than ours.
fill_cache()
{
	if dd if=/dev/zero of="/dev/$1" bs=1M count="$(megabytes "$1")" \
		conv=fsync 2>/tmp/t/dd; then
		fail "$1 took all: $(cat /tmp/t/dd)"
	fi
	cat /tmp/t/dd
	grep -qE 'No space left|Input/output error' /tmp/t/dd || fail "no error"
	echo "$1: $(($(used "$1") / 2048)) MiB used"
}

# used DISK: sectors
used()
{
	expect_ok "show $1"
	echo $(($(field used) / 512))
}

# write_at DISK MEGABYTES: writes 16 MiB so far before its end.
write_at()
{
	dd if=/dev/zero of="/dev/$1" bs=1M count=16 \
		seek=$(($(megabytes "$1") - $2)) oflag=direct 2>/dev/null
}

# more DISK: writes 16 MiB more of it, from its end downwards, where nothing is.
more()
{
	at=$((at + 16))
	write_at "$1" $at
}

# has_room DISK: the same, once memory that was given back is available. Since
# Linux 6.7 up to an eighth of all lies on the CPUs' own lists first, which
# MemAvailable does not count; each gives some back once a second.
has_room()
{
	at=$((at + 16))
	wait_for 30 "write_at $1 $at" || {
		awk '/^(Mem|Dirty|Writeback)/' /proc/meminfo
		awk '$1 == "count:" { n += $2 }
			END { print n * 4, "KiB on the lists of the CPUs" }' \
			/proc/zoneinfo
		return 1
	}
}

# is_full DISK: the kernel gives back a little of its own now and then, so that
# there can be room for a little more; but not for long.
is_full()
{
	for _ in 1 2 3 4 5; do
		more "$1" || return 0
	done
	return 1
}

# give_back: after a discard of one disk, or its del, the other has room again.
# Before, neither has.
give_back()
{
	at=0
	is_full ublkb2 || fail "there was room"
	before=$(used ublkb1)
	blkdiscard -o 0 -l $((48 << 20)) /dev/ublkb1
	[ "$(used ublkb1)" -le $((before - 46 * 2048)) ] || fail "no discard"
	has_room ublkb2 || fail "no room after a discard"
	fill ublkb2
	is_full ublkb2 || fail "there was room again"
	expect_ok "del id=1"
	has_room ublkb2 || fail "no room after a del"
	expect_ok "del id=2"
	echo 3 >/proc/sys/vm/drop_caches
}

# disks SIZE OPTION: ublkb1 and ublkb2
disks()
{
	for id in 1 2; do expect_ok "add ram id=$id size=$1 $2"; done
}

# filled SIZE OPTION WAY: two disks, until there is no room.
filled()
{
	echo "- $3: disks of $1"
	disks "$1" "$2"
	case $3 in
	direct) fill ublkb1 ;;
	many)
		# So that its del gives back more than the discard before.
		dd if=/dev/zero of=/dev/ublkb1 bs=1M count=90 oflag=direct \
			2>/dev/null || true
		fill_many ublkb1 ublkb2
		;;
	cached) fill_cache ublkb1 ;;
	esac
	fill ublkb2
	give_back
}

out_of_group()
{
	stop_ublkd
	cat $GROUP/memory.events
	rmdir $GROUP
}

echo "memory: $(mem_available) KiB available"
start_ublkd
# More than there is: refused, unless that is what is wanted.
expect_err limit "add ram size=640M"
watch_others
# Each a little smaller than that.
size=$(($(mem_available) * 15 / 16384))M
filled "$size" "" direct
filled "$size" "" cached
filled 2G overcommit=yes many
others_were_served
stop_ublkd

echo "in a cgroup of 200 MiB"
start_in_group $GROUP 200M
expect_err limit "add ram size=300M"
watch_others
filled 180M "" direct
filled 180M "" cached
filled 2G overcommit=yes many
others_were_served
out_of_group
