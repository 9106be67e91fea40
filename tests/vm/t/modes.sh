#!/bin/sh
# Each way to move data: what can have it, and that errors, zeroes and what is
# refused are the same in each.
#
# sanitizers: long
# needs: binaries fio
# time: 240
. /t/lib.sh

MODES="user-copy need-get-data copy"

requires fio

# has MODE ADD...: the device has it, by show and by the kernel's own flags.
has()
{
	mode=$1
	shift
	expect_ok "add $*"
	expect_ok "show 0"
	[ "$(field mode)" = "$mode" ] || fail "$*: $REPLY"
	expect_ok "del 0"
}

# has_not MODE ADD...: it is an error that says so, and nothing is made.
has_not()
{
	expect_err arg "add $2 id=0 mode=$1"
	[ "$(field arg)" = mode ] || fail "it does not name mode: $REPLY"
	[ ! -e /dev/ublkc0 ] || fail "a device was made"
}

choices()
{
	for mode in $MODES; do
		has "$mode" "ram id=0 size=1M mode=$mode"
		has "$mode" "null id=0 mode=$mode"
	done
	has need-get-data "ram id=0 size=1M"
	has need-get-data "ram id=0 size=1M mode=auto"
	has need-get-data "null id=0"
	has user-copy "null id=0 fill=no"
	has user-copy "null id=0 fill=no mode=user-copy"
	has user-copy "ram id=0 size=1M keep=yes"
	for mode in need-get-data copy; do
		has_not "$mode" "null fill=no"
		has_not "$mode" "ram size=1M keep=yes"
	done
	expect_err arg "add null mode=fast"
	! ls /dev/shm/ublkd-ram-* 2>/dev/null || fail "a file is left"
}

# Commands for many requests: where the driver drops that flag without a word,
# it is an error and nothing is made. batch.sh has the rest.
batch()
{
	expect_err arg "add ram size=1M batch=yes mode=need-get-data"
	[ "$(field arg)" = batch ] || fail "it does not name batch: $REPLY"
	if ask features | grep -q 'name=batch have=yes'; then
		has user-copy "ram id=0 size=1M batch=yes"
		return
	fi
	expect_err unsupported "add ram id=0 size=1M batch=yes"
	[ "$(field arg)" = batch ] || fail "it does not name batch: $REPLY"
	[ ! -e /dev/ublkc0 ] || fail "a device was made"
	expect_ok "add ram id=0 size=1M batch=no"
	expect_ok "del 0"
}

# zeroes OFFSET-MIB: a MiB of it reads so.
zeroes()
{
	dd if=/dev/ublkb0 bs=1M count=1 skip="$1" iflag=direct 2>/dev/null |
		cmp - /tmp/t/zeroes || fail "null gives something else"
}

# Reads of null are zeroes, whatever was written under the same tags.
forgets()
{
	expect_ok "add null id=0 size=64M queues=1 depth=4 mode=$1"
	for n in 0 1 2 3 4 5 6 7; do
		dd if=/tmp/t/random of=/dev/ublkb0 bs=$((64 << n % 4))k \
			oflag=direct 2>/dev/null || fail "a write failed"
		zeroes $n
	done
	# Many at once, of many sizes.
	fio --name=w --filename=/dev/ublkb0 --rw=randwrite --direct=1 \
		--ioengine=libaio --iodepth=16 --bsrange=4k-512k --size=32M \
		--io_size=16M >/tmp/t/fio 2>&1 || fail "$(cat /tmp/t/fio)"
	zeroes 1
	expect_ok "del 0"
}

# A write that fails before its data was taken is answered, and its tag lives.
fails()
{
	expect_ok "add ram id=0 size=16M queues=1 depth=4 mode=$1"
	dd if=/tmp/t/random of=/dev/ublkb0 bs=1M oflag=direct 2>/dev/null
	expect_ok "set 0 error-every=1 error-op=write error-errno=ENOSPC"
	for n in 1 2 3 4 5 6 7 8; do
		! dd if=/dev/zero of=/dev/ublkb0 bs=${n}00k count=1 \
			iflag=fullblock oflag=direct 2>/tmp/t/dd ||
			fail "a write did not fail"
		grep -q 'No space left' /tmp/t/dd || fail "$(cat /tmp/t/dd)"
	done
	dd if=/dev/ublkb0 bs=1M count=1 iflag=direct 2>/dev/null |
		cmp - /tmp/t/random || fail "a failed write had an effect"
	# Some fail among others that do not, in each order.
	expect_ok "set 0 error-every=3 error-errno=EIO delay-mean=1ms"
	fio --name=w --filename=/dev/ublkb0 --rw=randrw --direct=1 \
		--ioengine=libaio --iodepth=16 --bsrange=4k-256k --size=16M \
		--continue_on_error=all >/tmp/t/fio 2>&1 || true
	expect_ok "show 0"
	echo "$REPLY" | grep -q '^queue .* owned=0 ' || fail "$REPLY"
	failed=$(echo "$REPLY" | sed -n 's/^layer name=error failed=//p')
	[ "$failed" -gt 20 ] || fail "only $failed writes have failed"
	expect_ok "set 0 error-every=0 delay-mean=0"
	dd if=/tmp/t/random of=/dev/ublkb0 bs=1M oflag=direct 2>/dev/null ||
		fail "a write failed"
	expect_ok "del 0"
}

# The same of the target itself, and over holes.
is_full()
{
	expect_ok "add ram id=0 size=16M memory-limit=2M mode=$1"
	! dd if=/dev/zero of=/dev/ublkb0 bs=256k oflag=direct 2>/tmp/t/dd ||
		fail "a limit of 2 MiB has no effect"
	grep -q 'No space left' /tmp/t/dd || fail "$(cat /tmp/t/dd)"
	expect_ok "show 0"
	[ "$(field used)" = 2097152 ] || fail "$REPLY"
	blkdiscard /dev/ublkb0
	# A hole in the middle of a large read, and data beside it.
	dd if=/tmp/t/random of=/dev/ublkb0 bs=4k count=16 seek=8 oflag=direct \
		2>/dev/null || fail "a write failed"
	{
		head -c 32768 /tmp/t/zeroes
		head -c 65536 /tmp/t/random
		head -c 163840 /tmp/t/zeroes
	} >/tmp/t/expected
	dd if=/dev/ublkb0 bs=256k count=1 iflag=direct 2>/dev/null |
		cmp - /tmp/t/expected || fail "holes read as something else"
	expect_ok "show 0"
	[ "$(field used)" = 65536 ] || fail "a read took memory: $REPLY"
	expect_ok "del 0"
}

dd if=/dev/zero of=/tmp/t/zeroes bs=1M count=1 2>/dev/null
dd if=/dev/urandom of=/tmp/t/random bs=1M count=1 2>/dev/null
start_ublkd
choices
batch
for mode in $MODES; do
	echo "--- $mode"
	forgets "$mode"
	fails "$mode"
	is_full "$mode"
done
