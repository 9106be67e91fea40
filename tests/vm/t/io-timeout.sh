#!/bin/sh
# A backing that does not answer: with io-timeout its requests fail in time, its
# late answers reach nobody, and no more of another device's requests are slow. "del
# force=yes" does not wait for it, and its number is free once it has answered.
#
# expect-kernel: Buffer I/O error on dev ublkb0,
# needs: binaries fio mkfs.ext4 dmsetup fsfreeze
# needs: modules ext4 brd dm-mod
# needs: icount
# time: 240
. /t/lib.sh

requires fio mkfs.ext4 dmsetup fsfreeze

MNT=/tmp/t/mnt
DATA=/tmp/t/data # what the disk has

stop()
{
	case $1 in
	disk) dmsetup suspend --noflush --nolockfs slow0 ;;
	fs) fsfreeze --freeze $MNT ;;
	esac
}

go_on()
{
	case $1 in
	disk) dmsetup resume slow0 ;;
	fs) fsfreeze --unfreeze $MNT ;;
	esac
}

# failed MESSAGE: what stands still would keep the test from ending.
failed()
{
	go_on disk || true
	! go_on fs 2>/dev/null || true
	fail "$1"
}

# block N: of what the disk has at first
block()
{
	dd if=$DATA bs=4k count=1 skip="$1" 2>/dev/null
}

# read_block N: into /tmp/t/read.N, in the background; its status is in
# /tmp/t/status.read.N at the end. write_block N: of the first block's data
read_block()
{
	in_background "read.$1" dd if=/dev/ublkb0 of="/tmp/t/read.$1" bs=4k \
		count=1 skip="$1" iflag=direct
}

write_block()
{
	in_background "write.$1" dd if=$DATA of=/dev/ublkb0 bs=4k count=1 \
		seek="$1" oflag=direct
}

in_background()
{
	name=$1
	shift
	rm -f "/tmp/t/status.$name"
	(
		status=0
		"$@" 2>"/tmp/t/log.$name" || status=$?
		echo $status >"/tmp/t/status.$name"
	) &
}

# ends NAME SECONDS STATUS
ends()
{
	within "$2" "[ -s /tmp/t/status.$1 ]" || failed "$1 does not end in $2 s"
	[ "$(cat "/tmp/t/status.$1")" = "$3" ] ||
		failed "$1: $(cat "/tmp/t/log.$1")"
}

# told PATTERN: by the layer
told()
{
	REPLY=$(ask "show 0")
	echo "$REPLY" | grep -q "^layer name=timeout.* $1" ||
		failed "not '$1': $REPLY"
}

# come_out: late requests have ended.
come_out()
{
	wait_for 10 'ask "show 0" | grep -q " late=0 "' ||
		failed "late ones are left: $(ask "show 0")"
}

# beside NAME SECONDS: requests of another device, with what each took in a log
beside()
{
	in_background "$1" fio --name="$1" --filename=/dev/ublkb1 \
		--rw=randrw --bs=4k --size=8M --direct=1 --ioengine=psync \
		--rate_iops=100,100 --time_based --runtime="$2" \
		--write_lat_log="/tmp/t/$1"
}

# count_slow NAME: sets $slow to how many of these took longer than 10 ms
count_slow()
{
	slow=$(awk -F ', *' '
	$2 > 10e6 { slow++ }
	$2 > most { most = $2 }
	END {
		printf "%d\n", slow
		printf "%d requests, %d slow, at most %.1f ms\n", NR, slow,
			most / 1e6 >"/dev/stderr"
		exit NR < 100
	}' "/tmp/t/$1_lat.1.log") || fail "$1: no requests were made"
}

# Two tags, so that what comes has those of late requests.
in_time()
{
	expect_ok "add file id=0 path=/dev/dm-0 queues=1 depth=2 io-timeout=2s"
	expect_ok "show 0"
	[ "$(field mode)" = user-copy ] || fail "$REPLY"
	[ "$(config)" = "add file id=0 path=/dev/dm-0 queues=1 depth=2 io-timeout=2s" ] ||
		fail "$(config)"
	# The kernel has looked for partitions once somebody can read.
	block 0 >/tmp/t/block
	dd if=/dev/ublkb0 bs=4k count=1 iflag=direct 2>/dev/null |
		cmp - /tmp/t/block || fail "it has other data"
	beside alone 3
	ends alone 15 0
	count_slow alone
	before=$slow
	beside beside 8
	stop disk
	read_block 3
	write_block 5
	sleep 1.5
	[ ! -s /tmp/t/status.read.3 ] || failed "it fails too early"
	ends read.3 2 1
	ends write.5 2 1
	told "timed-out=2 late=2 refused=0 last-error=ETIMEDOUT"
	[ "$(grep -c "ublkb0: its file has not answered within io-timeout" "$LOG")" = 1 ] ||
		failed "the log does not tell once"
	# Nobody waits for them, and yet they are shown; the recorder knew their age.
	REPLY=$(ask "inspect 0")
	echo "$REPLY" | grep -qE '^place id=0 name=late count=2 op=[a-z]* offset=[0-9]* length=4096 age=[23][0-9]{3}ms$' ||
		failed "no late ones: $REPLY"
	echo "$REPLY" | grep -q '^verdict .*2 requests were answered with EIO and are still with /dev/dm-0, the oldest for ' ||
		failed "no verdict: $REPLY"
	# Where the late write may still come nobody reads or writes.
	write_block 5
	ends write.5 1 1
	read_block 5
	ends read.5 1 1
	told "timed-out=2 late=2 refused=2"
	# Those are served as if nothing had happened.
	read_block 10
	read_block 11
	wait_for 5 '[ "$(inflight ublkb0)" = 2 ]' || failed "not two wait"
	go_on disk
	ends read.10 5 0
	ends read.11 5 0
	come_out
	for number in 10 11; do
		block $number | cmp - /tmp/t/read.$number ||
			fail "block $number has other data"
	done
	# What was written late is there, and can be written to again.
	read_block 5
	ends read.5 5 0
	block 0 | cmp - /tmp/t/read.5 || fail "the late write was lost"
	dd if=$DATA of=/dev/ublkb0 bs=4k count=1 skip=5 seek=5 oflag=direct \
		2>/dev/null || fail "it cannot be written to"
	dd if=/dev/ublkb0 bs=64k count=16 iflag=direct 2>/dev/null |
		cmp - $DATA || fail "the disk has other data"
	ends beside 15 0
	count_slow beside
	[ "$slow" -le "$before" ] ||
		fail "$slow requests of another device were slow, $before before"
}

# It is the device's, whoever serves it, and can be changed.
changed()
{
	kill_server
	expect_ok "set 0 io-timeout=0"
	stop disk
	read_block 3
	sleep 4
	[ ! -s /tmp/t/status.read.3 ] || failed "it fails without io-timeout"
	expect_ok "set 0 io-timeout=1s"
	ends read.3 2 1
	go_on disk
	come_out
	kill_server
	stop disk
	read_block 4
	ends read.4 2 1
	go_on disk
	come_out
	expect_ok "del 0"
	# shellcheck disable=SC2153 # expect_ok and others set it
	[ "$STATUS" = "OK id=0" ] || fail "$STATUS"
	modes=copy
	! ask features | grep -q 'name=auto-buffer have=yes' ||
		modes="copy zero-copy"
	for mode in $modes; do
		expect_err arg "add file id=0 path=/dev/dm-0 mode=$mode io-timeout=1s"
		expect_ok "add file id=0 path=/dev/dm-0 mode=$mode"
		expect_err arg "set 0 io-timeout=1s"
		expect_ok "del 0"
	done
}

frozen()
{
	expect_ok "add file id=0 path=$MNT/disk io-timeout=1s"
	stop fs
	write_block 7
	ends write.7 2 1
	told "timed-out=1 late=1"
	go_on fs
	come_out
	read_block 7
	ends read.7 5 0
	block 0 | cmp - /tmp/t/read.7 || fail "the late write was lost"
	expect_ok "del 0"
}

# deleted: by force, with a status that is in $STATUS within 5 s
deleted()
{
	begun=$(now)
	request "del 0 force=yes"
	took=$(($(now) - begun))
	echo "$STATUS after $took ms"
	[ $took -le 5000 ] || failed "it takes $took ms"
}

# forced WHAT PATH [OPTION]
forced()
{
	expect_ok "add file id=0 path=$2 $3"
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null ||
		fail "it cannot be read"
	echo 3 >/proc/sys/vm/drop_caches
	stop "$1"
	write_block 5
	wait_for 5 '[ "$(inflight ublkb0)" = 1 ]' || failed "nothing waits"
	deleted
	[ "$STATUS" = "OK id=0 number=kept" ] || failed "$REPLY"
	ends write.5 1 1
	[ ! -e /dev/ublkb0 ] || failed "the disk is there"
	ask list | grep -q "^dev id=0 .*state=deleting.*waits-for=backing" ||
		failed "list does not tell: $(ask list)"
	expect_err_now exists "add null id=0"
	expect_ok_now "add null"
	[ "$(field id)" != 0 ] || failed "the number is given again"
	expect_ok_now "del $(field id)"
	go_on "$1"
	number_comes_free
}

# number_comes_free: the kernel has it for a moment longer than ublkd.
number_comes_free()
{
	wait_for 10 'ask "add null id=0" | grep -q ^OK' ||
		fail "the number is not free: $(ask list)"
	expect_ok "del 0"
}

expect_err_now()
{
	request "$2"
	case $STATUS in "ERR $1 "*) ;; *) failed "'$2': $REPLY" ;; esac
}

expect_ok_now()
{
	request "$1"
	case $STATUS in OK*) ;; *) failed "'$1': $REPLY" ;; esac
}

# The kernel looks for partitions, and the command waits for that on some kernels.
forced_at_once()
{
	stop disk
	in_background add ask "add file id=0 path=/dev/dm-0 mode=user-copy"
	wait_for 10 '[ "$(inflight ublkb0)" = 1 ]' || failed "nothing waits"
	deleted
	[ "$STATUS" = "OK id=0 number=kept" ] || failed "$REPLY"
	ends add 5 0
	go_on disk
	number_comes_free
}

# The kernel ends no request whose pages somebody has: the answer says so, and where
# it is said what to do.
forced_zero_copy()
{
	expect_ok "add file id=0 path=/dev/dm-0 mode=zero-copy"
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null ||
		fail "it cannot be read"
	stop disk
	write_block 5
	wait_for 5 '[ "$(inflight ublkb0)" = 1 ]' || failed "nothing waits"
	deleted
	echo "$STATUS" | grep -q "^ERR timeout .*mode=zero-copy.*'inspect 0' tells" ||
		failed "$REPLY"
	ask "inspect 0" | grep -q "^verdict .*'dmsetup resume slow0' lets it go on" ||
		failed "not what to cure: $(ask "inspect 0")"
	go_on disk
	wait_for 10 '! ask list | grep -q "^dev id=0 "' || fail "it stays"
	ends write.5 5 0
}

# Those that wait for a worker have nobody's pages: they fail at once.
forced_crowd()
{
	expect_ok "add file id=0 path=$MNT/disk direct=yes mode=zero-copy"
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null ||
		fail "it cannot be read"
	stop fs
	in_background crowd fio --name=crowd --filename=/dev/ublkb0 \
		--rw=randwrite --bs=4k --ba=8k --ioengine=libaio --direct=1 \
		--iodepth=48 --iodepth_batch=48 --number_ios=48 --size=1M
	wait_for 10 '[ "$(inflight ublkb0)" = 48 ]' ||
		failed "$(inflight ublkb0) requests wait"
	deleted
	echo "$STATUS" | grep -q "^ERR timeout " || failed "$REPLY"
	left=$(ask "inspect 0" | sed -n 's/^dev id=0 .* waiting=\([0-9]*\).*/\1/p')
	echo "$left of 48 are left"
	{ [ "$left" -gt 0 ] && [ "$left" -le 34 ]; } ||
		failed "$left of 48 requests are left"
	go_on fs
	wait_for 10 '! ask list | grep -q "^dev id=0 "' || fail "it stays"
	wait_for 10 '[ -s /tmp/t/status.crowd ]' || fail "fio does not end"
}

dd if=/dev/urandom of=$DATA bs=64k count=16 2>/dev/null
make_ram_disks 2 65536
dd if=$DATA of=/dev/ram0 bs=64k 2>/dev/null
echo "0 131072 linear /dev/ram0 0" | dmsetup create --noudevsync slow0
mount_ext4 /dev/ram1 $MNT
cp $DATA $MNT/disk
sync
start_ublkd
expect_ok "add ram id=1 size=16M"
in_time
changed
frozen
forced disk /dev/dm-0 mode=user-copy
forced disk /dev/dm-0 mode=need-get-data
forced disk /dev/dm-0 mode=copy
forced fs $MNT/disk mode=user-copy
forced fs $MNT/disk "mode=user-copy direct=yes"
forced_at_once
if ask features | grep -q 'name=auto-buffer have=yes'; then
	forced_zero_copy
	forced_crowd
fi
expect_ok "del 1"
umount $MNT
dmsetup remove --noudevsync slow0
