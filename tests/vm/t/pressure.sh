#!/bin/sh
# The guest's memory is full of dirty pages of ublkd's own disks, so whoever
# wants memory waits for ublkd, which itself is in a cgroup with next to none
# left, and that is taken by the page cache of one who reads. All go on all the
# time, nobody is shot by the OOM killer, the admin socket answers, no data is
# lost, and del works afterwards.
#
# size: long:pressure
# needs: binaries mkfs.ext4 e2fsck
# needs: modules ext4
# needs: memory 640
# time: 240
. /t/lib.sh

requires mkfs.ext4 e2fsck
! sanitized || skip "a sanitizer's own memory spoils the figures"

# pressure-long asks for more: s
: "${LASTS:=20}"
GROUP=/sys/fs/cgroup/ublkd-test
CALM=10000 # ms: a disk may have no request completed for so long, no longer
LEFT=128   # MiB that others have, all their page cache among it
DISKS="ublkb0 ublkb1 ublkb2"

# ---- writers, each until /tmp/t/enough exists; a line in its file a round

# round NAME
round()
{
	echo >>"/tmp/t/rounds.$1"
}

# writes_files: copies over copies, in a file system.
writes_files()
{
	while [ ! -e /tmp/t/enough ]; do
		for n in 1 2 3; do
			dd if=/tmp/t/data of=/tmp/t/m/$n bs=64k \
				2>/dev/null || return 1
			round files
		done
	done
}

# writes_disk NAME DISK MEGABYTES: from its beginning on, again and again. The
# last one to close a disk would have to write back all of it each time.
writes_disk()
{
	exec 5<>"/dev/$2" || return 1
	while [ ! -e /tmp/t/enough ]; do
		at=0
		while [ $at -lt "$3" ] && [ ! -e /tmp/t/enough ]; do
			# dd would make a file of that name.
			[ -b "/dev/$2" ] || return 1
			dd if=/tmp/t/data of="/dev/$2" bs=64k count=128 \
				seek=$((at * 16)) conv=notrunc 2>/dev/null ||
				return 1
			at=$((at + 8))
			round "$1"
		done
	done
}

# reads_disk: what nobody writes. Clean pages, because the kernel shoots a writer
# in a small cgroup when all it has there is dirty.
reads_disk()
{
	while [ ! -e /tmp/t/enough ]; do
		for at in 0 1 2 3; do
			dd if=/dev/ublkb2 of=/dev/null bs=64k count=128 \
				skip=$((8192 + at * 128)) 2>/dev/null || return 1
			round reader
		done
	done
}

# writer NAME COMMAND...: leaves a word if it fails.
writer()
{
	: >"/tmp/t/rounds.$1"
	shift
	("$@" || echo "$* has failed" >>/tmp/t/broken) &
	WRITERS="$WRITERS $!"
}

# ---- the daemon's surroundings

# memory KEY: of /proc/meminfo, KiB
memory()
{
	awk -v key="$1:" '$1 == key { print $2 }' /proc/meminfo
}

# reclaimed: how many pages the kernel has looked at for something to free
reclaimed()
{
	awk '/^pgscan_(kswapd|direct) / { all += $2 } END { print all }' \
		/proc/vmstat
}

# in_group COMMAND...
in_group()
{
	echo 0 >$GROUP/cgroup.procs
	"$@"
}

# limit: to what ublkd's two processes have and 8 MiB.
limit()
{
	before=$(cat $GROUP/memory.current)
	echo $((before + (8 << 20))) >$GROUP/memory.max
	echo "in a cgroup with $((before >> 20)) MiB, of which" \
		"$(awk '$1 == "shmem" { print int($2 / 1048576) }' \
			$GROUP/memory.stat) are the disks', and 8 to spare"
}

# weigh_down: takes memory until others have $LEFT MiB and no more. There is no
# swap, so nothing of a tmpfs can be freed.
weigh_down()
{
	echo 3 >/proc/sys/vm/drop_caches
	echo 60 >/proc/sys/vm/dirty_ratio
	echo 40 >/proc/sys/vm/dirty_background_ratio
	excess=$(($(memory MemAvailable) / 1024 - LEFT))
	[ $excess -gt 0 ] || fail "only $(memory MemAvailable) KiB available"
	mkdir /tmp/t/ballast
	mount -t tmpfs -o size=600M ballast /tmp/t/ballast
	dd if=/dev/zero of=/tmp/t/ballast/file bs=1M count=$excess 2>/dev/null
	echo "$(memory MemAvailable) KiB are available to others"
}

# ---- what must hold

# completed DISK: writes
completed()
{
	awk '{ print $5 }' "/sys/block/$1/stat"
}

# moved DISK: since when it had this many writes completed. Sets $idle, ms.
moved()
{
	writes=$(completed "$1")
	last='' since=0
	eval "last=\${writes_$1:-none} since=\${since_$1:-0}"
	if [ "$writes" != "$last" ]; then
		since=$(now)
		eval "writes_$1=$writes since_$1=$since"
	fi
	idle=$(($(now) - since))
}

# look: each disk goes on, and the socket answers.
look()
{
	for disk in $DISKS; do
		moved "$disk"
		[ $idle -le $slowest ] || slowest=$idle
		[ $idle -lt $CALM ] || {
			dump_state
			fail "$disk completes nothing for $idle ms"
		}
	done
	expect_ok ping
	dirty=$(($(memory Dirty) + $(memory Writeback)))
	[ $dirty -le $dirtiest ] || dirtiest=$dirty
}

# no_oom: neither the kernel's nor the cgroup's.
no_oom()
{
	! klog | grep -iE 'out of memory|oom-kill|invoked oom' ||
		fail "the OOM killer has come"
	paste -sd ' ' $GROUP/memory.events
	grep -qx 'oom_kill 0' $GROUP/memory.events || fail "in the cgroup"
	! grep -qx 'max 0' $GROUP/memory.events ||
		fail "the cgroup's limit was never reached"
}

under_pressure()
{
	slowest=0 dirtiest=0 WRITERS=''
	scanned=$(reclaimed)
	writer files writes_files
	writer raw writes_disk raw ublkb1 64
	writer null writes_disk null ublkb2 512
	writer reader in_group reads_disk
	start=$(now)
	while [ $(($(now) - start)) -lt $((LASTS * 1000)) ]; do
		look
		# Commands take memory as well.
		expect_ok "add null id=9 size=1M"
		expect_ok "del id=9"
	done
	touch /tmp/t/enough
	# shellcheck disable=SC2086 # some
	wait_for 60 'for w in $WRITERS; do ! alive $w || false; done' || {
		dump_state
		fail "the writers do not end"
	}
	scanned=$(($(reclaimed) - scanned))
}

was_pressure()
{
	[ ! -e /tmp/t/broken ] || fail "$(cat /tmp/t/broken)"
	for name in files raw null reader; do
		rounds=$(wc -l <"/tmp/t/rounds.$name")
		echo "$name: $rounds rounds of 8 MiB"
		[ "$rounds" -ge 2 ] || fail "it got too few"
	done
	echo "no write completed for $slowest ms at most; $dirtiest KiB were" \
		"dirty at most; $scanned pages were looked at to be freed"
	[ $dirtiest -gt 8192 ] || fail "there was little dirty data"
	[ $scanned -gt 10000 ] || fail "there was no pressure"
}

# mount_files: without a loss of data of ext4's own. When memory is short
# for splitting an extent whose data has been written, it zeroes all of it
# (ext4_end_io_end, ext4_split_convert_extents, ext4_issue_zeroout). With this
# option extents are not split after the data.
mount_files()
{
	mount -o dioread_lock /dev/ublkb0 /tmp/t/m
}

# intact: what was written last, read from the disks.
intact()
{
	sync
	umount /tmp/t/ballast
	umount /tmp/t/m
	echo 3 >/proc/sys/vm/drop_caches
	e2fsck -fn /dev/ublkb0 >/tmp/t/fsck 2>&1 || fail "$(cat /tmp/t/fsck)"
	mount_files
	for n in 1 2 3; do
		cmp /tmp/t/data /tmp/t/m/$n || fail "a file has lost data"
	done
	umount /tmp/t/m
	dd if=/dev/ublkb1 bs=64k count=128 iflag=direct 2>/dev/null |
		cmp - /tmp/t/data || fail "the raw disk has lost data"
}

# ---- the test

dd if=/dev/urandom of=/tmp/t/data bs=1M count=8 2>/dev/null
start_in_group $GROUP
expect_ok "add ram id=0 size=64M"
expect_ok "add ram id=1 size=64M"
expect_ok "add null id=2 size=1G"
mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/ublkb0
# All the memory that the disks will ever take: none is to be had later. A part
# that the file system has zeroed is a hole; so is what it would zero later.
for disk in ublkb0 ublkb1; do
	dd if=/dev/$disk of=/dev/$disk bs=1M count=64 conv=notrunc \
		iflag=direct oflag=direct 2>/dev/null ||
		fail "$disk cannot be written"
	expect_ok "show $disk"
	[ "$(field used)" = $((64 << 20)) ] || fail "$disk has holes: $REPLY"
done
mkdir -p /tmp/t/m
mount_files
weigh_down
limit
under_pressure
was_pressure
no_oom
intact
no_d_state 5
for id in 0 1 2; do expect_ok "del id=$id"; done
stop_ublkd
rmdir $GROUP
