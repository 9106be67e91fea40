#!/bin/sh
# Servers are killed one after the other, then keepers, then there are upgrades,
# and nothing gathers in the two processes: descriptors, memory and mappings are
# the same after many of them as after a few. One disk is under load all along.
#
# sanitizers: long
# needs: binaries fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# time: 240
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio

# restarts-long asks for more, and for a load that never waits. With a delay there
# are as many requests in flight at each kill, and the CPUs are free meanwhile.
: "${KILLS:=10}" "${CHANGES:=4}" "${SPEED=delay-time=100ms}"
WARM_UP=2
# KiB. Each server reads the table of devices and maps their disks; what one of
# them cost the keeper for good would show here, once a kill.
GROWTH_MAX=128

# ---- what they hold

# private PID: KiB of PSS that are its own. The disks' memory is in both
# processes by turns, and no more than the disks have.
private()
{
	awk '/^Pss:/ { all = $2 } /^Pss_Shmem:/ { shared = $2 }
		END { print all - shared }' "/proc/$1/smaps_rollup"
}

# figures: a name and a number a line; KiB. What is still being closed is no
# leak, so each is the least of some looks.
figures()
{
	for _ in 1 2 3 4 5; do
		for who in keeper server; do
			pid=$("${who}_pid")
			echo "$who-descriptors $(fds "$pid")"
			echo "$who-pss $(private "$pid")"
			echo "$who-mapped $(mapped "$pid")"
		done
		echo "host-shmem $(shmem)"
		sleep 0.2
	done | awk '!($1 in least) || $2 < least[$1] { least[$1] = $2 }
		END { for (name in least) print name, least[name] }'
}

# flat COUNT CHANGE: so many of them, after each all there is serves and the loaded
# disk goes on; nothing has grown since the first.
flat()
{
	echo "- $1 times: $2"
	for round in $(seq "$1"); do
		"$2"
		await_live_count 3
		goes_on ublkb0 || {
			dump_state
			fail "ublkb0 does not go on"
		}
		[ "$round" != $WARM_UP ] || figures >/tmp/t/figures.start
	done
	figures >/tmp/t/figures.end
	for who in keeper server; do
		grown "$who-descriptors" 0
		# AddressSanitizer keeps what is freed for a while.
		! sanitized || continue
		grown "$who-pss" $GROWTH_MAX
		grown "$who-mapped" $GROWTH_MAX
	done
	# Neither do disks that nobody has any more stay behind.
	grown host-shmem 1024
}

mkdir -p /dev/shm
grep -q ' /dev/shm ' /proc/mounts || mount -t tmpfs shm /dev/shm
start_ublkd
expect_ok "add ram size=32M queues=2 $SPEED"
expect_ok "add ram size=64M keep=yes"
expect_ok "add null size=64M"
# All the memory that they will ever take.
for disk in ublkb0 ublkb1; do
	dd if=/dev/urandom of=/dev/$disk bs=1M count=32 oflag=direct \
		2>/dev/null || fail "$disk cannot be written"
done
dd if=/dev/ublkb1 bs=1M count=32 iflag=direct 2>/dev/null | md5sum >/tmp/t/sum
load ublkb0 --rw=randwrite --bsrange=4k-64k --iodepth=16 --verify=crc32c \
	--verify_backlog=256 --size=32M
flat "$KILLS" kill_server
flat "$CHANGES" keeper_killed
flat "$CHANGES" upgraded
load_ends
dd if=/dev/ublkb1 bs=1M count=32 iflag=direct 2>/dev/null | md5sum |
	cmp -s - /tmp/t/sum || fail "data was lost"
