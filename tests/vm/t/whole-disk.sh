#!/bin/sh
# A whole disk is written from its first byte to its last and read back; parts
# of it at odd places; and its end is where it should be.
#
# sanitizers: long
# needs: files tests/vm/lib-watch.sh:/t/lib-watch.sh
# time: 240
. /t/lib.sh
# shellcheck source=tests/vm/lib-watch.sh
. /t/lib-watch.sh

DISK=/dev/ublkb0
# What the disk should hold.
MODEL=/tmp/t/model

# differs SUM: whether our input is other data than that. (cmp is slower.)
differs()
{
	[ "$(md5sum)" != "$1" ]
}

# same WHAT: the disk is what the model says. cmp then tells what is not. (A
# direct read makes the kernel write back first what the page cache holds.)
same()
{
	model=$(md5sum <$MODEL)
	if dd if=$DISK bs=1M iflag=direct 2>/dev/null | differs "$model"; then
		cmp $DISK $MODEL || true
		fail "$1: the disk has other data"
	fi
}

# same_cached WHAT: and so it is when the page cache reads it.
same_cached()
{
	same "$1"
	echo 3 >/proc/sys/vm/drop_caches
	if differs "$model" <$DISK; then
		cmp $DISK $MODEL || true
		fail "$1: the page cache has other data"
	fi
}

# disk BYTES: a new disk, with a model to go with it that is as long.
disk()
{
	[ ! -e $DISK ] || expect_ok "del id=0"
	SIZE=$1
	BLOCKS=$((SIZE / 512))
	expect_ok "add ram size=$SIZE"
	dd if=/dev/urandom of=$MODEL bs="$SIZE" count=1 2>/dev/null
	dd if=$MODEL of=$DISK bs=1M 2>/dev/null
	same "a disk of $SIZE bytes"
}

# fills DD-ARG...: dd ends because the disk is full, not before.
fills()
{
	echo "--- dd of=$DISK $*"
	if dd of=$DISK "$@" 2>/tmp/t/dd; then
		fail "dd did not come to the end of the disk"
	fi
	grep -q 'No space left on device' /tmp/t/dd || fail "$(cat /tmp/t/dd)"
}

# zeroes DD-ARG...: over the whole disk, which was full of other data.
zeroes()
{
	disk $((16 * 1048576 + 512))
	fills if=/dev/zero "$@"
	dd if=/dev/zero of=$MODEL bs="$SIZE" count=1 2>/dev/null
	same "zeroes"
	expect_ok "show 0"
	[ "$(field used)" = $(((SIZE + 4095) / 4096 * 4096)) ] ||
		fail "$(field used) bytes are in use"
}

# pattern: no two blocks of it are the same.
pattern()
{
	dd if=/dev/urandom of=$MODEL bs="$SIZE" count=1 2>/dev/null
	dd if=$MODEL of=$DISK bs=1M 2>/dev/null
	same "a pattern through the page cache"
	dd if=/dev/urandom of=$MODEL bs="$SIZE" count=1 2>/dev/null
	dd if=$MODEL of=$DISK bs=1M oflag=direct 2>/dev/null
	same_cached "a pattern past the page cache"
}

# part AT COUNT FLAG: new data for these 512-byte blocks of disk and model.
part()
{
	dd if=/dev/urandom of=/tmp/t/part bs=$(($2 * 512)) count=1 2>/dev/null
	dd if=/tmp/t/part of=$MODEL bs=512 seek="$1" conv=notrunc 2>/dev/null
	dd if=/tmp/t/part of=$DISK bs=$(($2 * 512)) seek=$(($1 * 512)) \
		oflag="seek_bytes$3" conv=notrunc 2>/dev/null ||
		fail "cannot write $2 blocks at $1"
	dd if=$DISK bs=$(($2 * 512)) skip=$(($1 * 512)) count=1 \
		iflag=skip_bytes,direct 2>/dev/null >/tmp/t/back
	cmp /tmp/t/part /tmp/t/back || fail "$2 blocks at $1 differ"
}

# Writes and reads that begin and end within pages of the store.
odd_places()
{
	for place in "0 1" "1 1" "7 1" "7 2" "9 15" "1023 1027" "4095 3" \
		"6001 2049" "$((BLOCKS - 1)) 1" "$((BLOCKS - 10)) 10"; do
		# shellcheck disable=SC2086 # two words
		part $place ,direct
		same "$place, past the page cache"
	done
	for place in "3 1" "17 13" "2047 2" "$((BLOCKS - 3)) 3"; do
		# shellcheck disable=SC2086 # two words
		part $place ''
		same "$place, through the page cache"
	done
	same_cached "parts"
}

# copied FLAGS AT: how many bytes come from there on.
copied()
{
	dd if=$DISK bs=4096 count=4 skip="$2" iflag="skip_bytes$1" 2>/dev/null |
		wc -c
}

the_end()
{
	[ "$(blockdev --getsize64 $DISK)" = "$SIZE" ] || fail "the size is wrong"
	for flags in '' ,direct; do
		[ "$(copied "$flags" $((SIZE - 512)))" = 512 ] ||
			fail "no last block"
		[ "$(copied "$flags" $((SIZE - 1536)))" = 1536 ] ||
			fail "no short read at the end"
		[ "$(copied "$flags" "$SIZE")" = 0 ] ||
			fail "there is data past the end"
		if dd if=/dev/zero of=$DISK bs=512 count=1 seek="$SIZE" \
			oflag="seek_bytes$flags" conv=notrunc 2>/tmp/t/dd; then
			fail "the end can be written past"
		fi
		grep -q 'No space left on device' /tmp/t/dd ||
			fail "$(cat /tmp/t/dd)"
	done
	same "after the end was tried"
}

start_ublkd
watch_d_state 10
# As a person types it, in 512-byte blocks through the page cache.
zeroes
zeroes bs=1M
zeroes bs=512k oflag=direct
pattern
# 512 bytes more than pages: the store's last page is cut short.
disk $((4 * 1048576 + 512))
odd_places
the_end
expect_ok "del id=0"
nothing_was_stuck
