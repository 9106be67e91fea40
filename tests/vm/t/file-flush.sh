#!/bin/sh
# A flush of a file's device is answered after a flush of the disk below, which
# was begun when every write before it had ended there; a write that is to be
# durable by itself is, too. The kernel's block events tell, of both disks.
#
# sanitizers: long
# needs: binaries fio mkfs.ext4
# needs: modules null_blk ext4
# needs: cpus 1
# time: 250
. /t/lib.sh

requires fio mkfs.ext4

TRACING=/sys/kernel/tracing
MNT=/tmp/t/mnt
BELOW=/dev/nullb0

# make_below: a disk with a volatile cache
make_below()
{
	disk=/sys/kernel/config/nullb/nullb0
	mount -t configfs configfs /sys/kernel/config 2>/dev/null || true
	[ -e $disk ] || mkdir $disk
	echo 0 >$disk/power
	for setting in memory_backed=1 size=64 cache_size=64 blocksize=512 \
		irqmode=0; do
		echo "${setting#*=}" >"$disk/${setting%%=*}"
	done
	echo 1 >$disk/power
	wait_for 5 "[ -e $BELOW ]" || fail "no $BELOW"
	[ "$(cat /sys/block/nullb0/queue/write_cache)" = "write back" ] ||
		fail "$BELOW has no volatile cache"
}

# events 0|1: seldom, because they change the kernel's text, which is a risk when
# the machine is emulated; tracing_on is what turns them on and off.
events()
{
	echo "$1" >$TRACING/events/block/block_rq_issue/enable
	echo "$1" >$TRACING/events/block/block_rq_complete/enable
}

# number DISK: as the events have it
number()
{
	tr : , <"/sys/block/$1/dev"
}

# judge FILE: of the events; "+ 8" is how many sectors. An event that should not
# be is printed.
judge()
{
	sed -n 's/.*block_rq_\(issue\|complete\): \([0-9,]*\) \([A-Z]*\) .*) \([0-9]*\) + .*/\1 \2 \3 \4/p' \
		"$1" | awk -v up="$(number ublkb0)" -v down="$(number nullb0)" '
	# Events of a disk: "issue" or "complete", its number, what, and where.
	function is_flush() { return $3 ~ /^FF/ }
	function is_write() { return $3 ~ /^F?W/ }
	function is_durable() { return $3 ~ /^F?W.*F/ }
	$2 == down && is_flush() && $1 == "issue" { flushing = NR }
	$2 == down && is_flush() && $1 == "complete" {
		below++
		for (at in done)
			if (done[at] < flushing)
				delete done[at]
	}
	$2 == down && is_write() && $1 == "complete" {
		if (is_durable())
			delete done[$4]
		else
			done[$4] = NR
	}
	$2 == up && is_flush() && $1 == "issue" { asked = NR }
	$2 == up && is_flush() && $1 == "complete" {
		flushes++
		for (at in done)
			if (done[at] < asked) {
				print "line " NR ": " at " is not flushed"
				bad++
			}
	}
	$2 == up && is_write() && $1 == "complete" {
		writes++
		if (is_durable()) {
			durable++
			if (same && $4 in done) {
				print "line " NR ": " $4 " is not durable"
				bad++
			}
		}
	}
	END {
		printf "writes=%d durable=%d flushes=%d flushes-below=%d bad=%d\n",
			writes, durable, flushes, below, bad
	}' same="$2"
}

# had KEY: its value of the last line
had()
{
	sed -n "\$s/.*\b$1=\([0-9]*\).*/\1/p" /tmp/t/judged
}

# ordered PATH OPTIONS SAME: SAME=1 if sectors below have the numbers of those
# above.
ordered()
{
	expect_ok "add file id=0 path=$1 size=16M $2"
	expect_ok "show 0"
	echo "- at $(now) ms: $1, $2: mode=$(field mode)"
	fio --name=warm --filename=/dev/ublkb0 --rw=write --bs=64k --size=16M \
		--direct=1 --end_fsync=1 >/tmp/t/fio || fail "$(cat /tmp/t/fio)"
	echo >$TRACING/trace
	echo 1 >$TRACING/tracing_on
	for load in "--iodepth=1 --fsync=1" "--iodepth=16 --fdatasync=8" \
		"--iodepth=8 --sync=dsync"; do
		# shellcheck disable=SC2086 # words
		fio --name=f --filename=/dev/ublkb0 --rw=randwrite --bs=4k \
			--size=16M --io_size=200k --direct=1 --ioengine=libaio \
			$load >/tmp/t/fio || fail "$(cat /tmp/t/fio)"
	done
	echo 0 >$TRACING/tracing_on
	cat $TRACING/trace >/tmp/t/events
	judge /tmp/t/events "$3" >/tmp/t/judged
	tail -n 20 /tmp/t/judged
	for key in flushes durable flushes-below; do
		[ "$(had $key)" -ge 45 ] ||
			fail "too few $key: $(tail -n 30 /tmp/t/events)"
	done
	[ "$(had bad)" = 0 ] || fail "a flush came too early"
	expect_ok "del 0"
}

rmmod null_blk 2>/dev/null || true # as it was loaded, with its own disks
modprobe null_blk nr_devices=0
make_below
echo 16384 >$TRACING/buffer_size_kb
echo counter >$TRACING/trace_clock
echo 0 >$TRACING/tracing_on
events 1
start_ublkd
modes="user-copy copy need-get-data"
! ask features | grep -q 'name=auto-buffer have=yes' || modes="$modes zero-copy"
for mode in $modes; do
	ordered $BELOW "direct=yes mode=$mode" 1
done
mount_ext4 $BELOW $MNT
for direct in yes no; do
	ordered $MNT/image "create=yes direct=$direct" 0
done
umount $MNT
events 0
echo 1 >$TRACING/tracing_on
echo 1408 >$TRACING/buffer_size_kb
stop_ublkd
rmdir /sys/kernel/config/nullb/nullb0
rmmod null_blk
