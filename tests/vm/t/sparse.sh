#!/bin/sh
# A RAM disk takes memory when it is written, not when it is read, and gives it
# back when blocks are discarded or zeroed; what lies beside them stays.
#
# sanitizers: long
# kernels: 6.12
# needs: binaries blkdiscard fallocate
# needs: memory 2048
# time: 300
. /t/lib.sh

# busybox prefers its own, which know less.
BLKDISCARD=/usr/local/bin/blkdiscard
FALLOCATE=/usr/local/bin/fallocate
DISK=/dev/ublkb0
MODEL=/tmp/t/model

requires $BLKDISCARD $FALLOCATE

# sparse-long asks for more: MiB of holes to read, MiB to give back, and every
# command in every mode; and KiB that MemAvailable may fall by. That counts what
# the kernel's own caches and other processes take meanwhile, too, so here it only
# has to show that reading does not take what is read, or a sixteenth of that.
: "${HOLES:=256}" "${FULL:=32}" "${EACH:=no}" "${NOISE:=16384}"

# used: bytes, as the daemon counts them.
used()
{
	request list
	field used
}

# settle: nothing that is not the disk's own business is in the figures.
settle()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
}

# A whole sparse disk, read past the page cache: the disk's memory and the
# processes grow by less than 1 MiB, and nothing else takes more than NOISE.
read_holes()
{
	expect_ok "add ram size=${HOLES}M mode=$1"
	dd if=$DISK of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null
	settle
	shmem=$(shmem) own=$(pss_of_both)
	# shellcheck disable=SC2034 # used by wait_for
	available=$(mem_available)
	dd if=$DISK of=/dev/null bs=1M iflag=direct 2>/tmp/t/dd
	grep -q "^$HOLES+0 records in" /tmp/t/dd || fail "$(cat /tmp/t/dd)"
	settle
	shmem=$(($(shmem) - shmem)) own=$(($(pss_of_both) - own))
	taken=0
	wait_for 5 'settle; taken=$((available - $(mem_available)))
		[ "$taken" -lt "$NOISE" ]' || fail "MemAvailable fell by $taken KiB"
	echo "$1: reading $HOLES sparse MiB: Shmem +$shmem KiB, PSS +$own KiB," \
		"MemAvailable by $taken KiB less, used=$(used)"
	[ $shmem -lt 1024 ] || fail "Shmem rose by $shmem KiB"
	[ $own -lt 1024 ] || fail "the processes grew by $own KiB"
	[ "$(used)" = 0 ] || fail "used=$(used)"
	expect_ok "del id=0"
}

# fill MIB: with data from a file that is as long.
fill()
{
	dd if=$MODEL of=$DISK bs=1M count="$1" oflag=direct 2>/dev/null ||
		fail "cannot fill the disk"
}

# zeroed: every byte of the disk.
zeroed()
{
	[ "$(dd if=$DISK bs=1M iflag=direct 2>/dev/null | md5sum)" = "$zeroes" ] ||
		fail "$1: not all of the disk is zero"
}

# gives_back COMMAND...: of a disk that is full, 95 % of its memory. (Shmem is
# exact but for what each CPU has not told yet.)
gives_back()
{
	before=$(shmem)
	fill "$FULL"
	full=$(($(shmem) - before))
	[ $full -ge $((bytes / 1024 - 536)) ] ||
		fail "a full disk takes only $full KiB"
	[ "$(used)" = $bytes ] || fail "a full disk has used=$(used)"
	"$@" $DISK || fail "$*"
	left=$(($(shmem) - before))
	echo "$*: $full KiB before, $left KiB after, used=$(used)"
	[ $left -le $((full / 20)) ] || fail "$*: $left of $full KiB are left"
	[ "$(used)" -le $((bytes / 20)) ] || fail "$*: used=$(used)"
	zeroed "$*"
}

# clear AT LENGTH COMMAND...: this range, in bytes, becomes zero, and nothing
# else changes.
clear()
{
	at=$1 length=$2
	shift 2
	dd if=/dev/zero of=$MODEL bs="$length" count=1 seek="$at" \
		oflag=seek_bytes conv=notrunc 2>/dev/null
	"$@" -o "$at" -l "$length" $DISK || fail "$*: $length bytes at $at"
	dd if=$DISK bs=1M iflag=direct 2>/dev/null | cmp - $MODEL ||
		fail "$*: after $length bytes at $at the disk has other data"
}

# ranges COMMAND...: whole pages, parts of one, both, and the disk's last bytes.
ranges()
{
	for range in "8192 4096" "131072 65536" "20480 512" "25088 3584" \
		"33280 4096" "40448 13824" "1536 512" "262656 393216" \
		"1045504 3072" "1047552 1024" "0 1024"; do
		# shellcheck disable=SC2086 # two words
		clear $range "$@"
	done
}

# neighbours COMMAND...: on a full disk, and on one with holes.
neighbours()
{
	dd if=/dev/urandom of=$MODEL bs=1048576 count=1 2>/dev/null
	fill 1
	echo "--- $* beside data"
	ranges "$@"
	# The same again: now over holes.
	ranges "$@"
	rm $MODEL
}

start_ublkd
for mode in need-get-data user-copy copy; do read_holes "$mode"; done

bytes=$((FULL << 20))
dd if=/dev/urandom of=$MODEL bs=1M count="$FULL" 2>/dev/null
zeroes=$(head -c $bytes /dev/zero | md5sum)
expect_ok "add ram size=${FULL}M"
gives_back $BLKDISCARD
gives_back $FALLOCATE -p -o 0 -l $bytes
gives_back $BLKDISCARD -z
rm $MODEL
expect_ok "del id=0"

# What is discarded is no data that moves; what is beside it is.
for mode in need-get-data user-copy copy; do
	expect_ok "add ram size=1M mode=$mode"
	case $EACH$mode in
	nouser-copy) neighbours $BLKDISCARD -z ;;
	nocopy) neighbours $FALLOCATE -p ;;
	*)
		neighbours $BLKDISCARD
		neighbours $BLKDISCARD -z
		neighbours $FALLOCATE -p
		;;
	esac
	expect_ok "del id=0"
done
