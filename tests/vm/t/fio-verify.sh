#!/bin/sh
# What fio writes is read back with the right checksums: block sizes, depths,
# queues and limits of the device in many combinations.
#
# sanitizers: long
# needs: binaries fio
# needs: cpus 4
# time: 500
. /t/lib.sh

# fio-verify-long asks for more rounds, and for all of the data.
: "${ROUNDS:=1}" "${ALL:=no}"
MIXED=4k/40:16k/20:64k/15:256k/15:1m/10

requires fio

# disk OPTIONS: a fresh disk for what follows. Sets $ID and $DISK.
disk()
{
	expect_ok "add ram $1"
	ID=$(field id)
	DISK=$(field dev)
	echo "--- $1"
}

# remove_disk: after a look at the server's own count of errors.
remove_disk()
{
	expect_ok "show id=$ID"
	[ "$(echo "$REPLY" | grep -c '^queue .* owned=0 .* errors=0$')" = \
		"$(echo "$REPLY" | grep -c '^queue ')" ] ||
		fail "requests are left or have failed: $REPLY"
	expect_ok "del id=$ID"
}

# sum KEY: of all queues of $REPLY.
sum()
{
	echo "$REPLY" | sed -n "s/^queue .* $1=\([0-9]*\).*/\1/p" |
		awk '{ n += $1 } END { print n + 0 }'
}

# verify FIO-ARG...: writes and reads back. The disk is emptied before, so that
# what an earlier round left cannot pass for what this one should have written.
verify()
{
	begun=$(now)
	for round in $(seq "$ROUNDS"); do
		blkdiscard "$DISK"
		fio --name=verify --filename="$DISK" --rw=randwrite --direct=1 \
			--ioengine=libaio --verify=crc32c --verify_fatal=1 \
			--randseed="$round" "$@" >/tmp/t/fio 2>&1 || {
			cat /tmp/t/fio
			fail "fio $*"
		}
	done
	echo "fio $*: $(($(now) - begun)) ms"
}

# size ALL LESS: how much to write. With less there are still more requests than
# are in flight at once, and of every size.
size()
{
	if [ "$ALL" = yes ]; then echo "--size=$1"; else echo "--size=$2"; fi
}

# depths: small and mixed blocks at each depth. At depth 1 an emulated machine
# is slow, and a little tells as much.
depths()
{
	verify --bs=4k "$(size 1M 512k)" --iodepth=1
	verify --bs=4k "$(size 8M 2M)" --iodepth=32
	verify --bs=4k "$(size 12M 4M)" --iodepth=128
	verify --bssplit=$MIXED "$(size 16M 6M)" --iodepth=1
	verify --bssplit=$MIXED "$(size 32M 12M)" --iodepth=32 \
		--ioengine=io_uring
	# Reads of the one kind among writes of the other.
	verify --bssplit=$MIXED "$(size 64M 32M)" --iodepth=128 \
		--verify_backlog=32
}

# jobs: four at once, each with its own quarter of the disk.
jobs()
{
	verify --bs=4k "$(size 2M 1M)" --offset_increment=16M --numjobs=4 \
		--cpus_allowed=0-3 --cpus_allowed_policy=split --iodepth=16
	verify --bssplit=$MIXED "$(size 8M 4M)" --offset_increment=16M --numjobs=4 \
		--iodepth=16 --ioengine=io_uring
}

# given QUEUES: OK, show and the kernel all tell this number of them.
given()
{
	[ "$(field queues)" = "$1" ] || fail "OK tells otherwise: $REPLY"
	expect_ok "show id=$ID"
	[ "$(field queues)" = "$1" ] || fail "show tells otherwise: $REPLY"
	[ "$(echo "$REPLY" | grep -c '^queue ')" = "$1" ] ||
		fail "not $1 queues are shown: $REPLY"
	queues=$(find "/sys/block/ublkb$ID/mq" -mindepth 1 -maxdepth 1 | wc -l)
	[ "$queues" = "$1" ] || fail "the kernel has $queues queues, not $1"
}

# all_queues_write: each of them has served some of the writes.
all_queues_write()
{
	expect_ok "show id=$ID"
	! echo "$REPLY" | grep -q '^queue .* writes=0 ' ||
		fail "a queue has had no write: $REPLY"
}

# More queues than CPUs are cut down by the driver, and we say so.
clamped()
{
	[ "$(nproc)" = 4 ] || fail "the guest has $(nproc) CPUs"
	disk "size=64M queues=64"
	given 4
	jobs
	all_queues_write
	remove_disk
}

# most KIB: the largest request that the kernel will make.
most()
{
	kib=$(cat "/sys/block/ublkb$ID/queue/max_hw_sectors_kb")
	[ "$kib" = "$1" ] || fail "the largest request is $kib KiB, not $1"
}

# writes_of BYTES: every write so far was one of this size.
writes_of()
{
	expect_ok "show id=$ID"
	[ "$(sum write-bytes)" = $(($(sum writes) * $1)) ] ||
		fail "not every write had $1 bytes: $REPLY"
}

# One request is as large as max-io allows, no larger.
request_sizes()
{
	disk "size=64M queues=4 max-io=4K"
	most 4
	verify --bssplit=$MIXED "$(size 4M 2M)" --iodepth=32
	writes_of 4096
	remove_disk
	disk "size=64M queues=2 max-io=512K"
	most 512
	verify --bs=1m "$(size 32M 16M)" --iodepth=8
	remove_disk
	# The kernel makes one request of 1 MiB, or of 4, of huge pages only.
	echo 24 >/proc/sys/vm/nr_hugepages
	disk "size=64M queues=1 max-io=1M"
	most 1024
	verify --bs=1m "$(size 32M 16M)" --iodepth=8 --mem=shmhuge
	writes_of 1048576
	remove_disk
	disk "size=64M queues=1 depth=4 max-io=4M"
	most 4096
	echo 4096 >"/sys/block/ublkb$ID/queue/max_sectors_kb"
	verify --bs=4m --size=32M --iodepth=8 --mem=shmhuge
	writes_of 4194304
	verify --bssplit=$MIXED:4m/10 --size=32M --iodepth=8
	remove_disk
	echo 0 >/proc/sys/vm/nr_hugepages
}

block_size()
{
	disk "size=64M queues=4 block-size=4K"
	verify --bs=4k "$(size 8M 2M)" --iodepth=32
	verify --bssplit=$MIXED "$(size 16M 12M)" --iodepth=32
	remove_disk
	# Pages of the store that are written in parts.
	disk "size=16M queues=4 block-size=512"
	verify --bssplit=512/50:1k/20:1536/10:5k/20 "$(size 2M 1M)" --iodepth=32
	remove_disk
	# A depth that is not the default, and less than what fio has ready.
	disk "size=64M queues=2 depth=3"
	verify --bssplit=$MIXED "$(size 16M 8M)" --iodepth=32
	remove_disk
}

# modes: the other ways to move data; what went before had the default one.
modes()
{
	for mode in user-copy copy; do
		disk "size=64M queues=2 mode=$mode"
		verify --bs=4k "$(size 4M 2M)" --iodepth=32
		verify --bssplit=$MIXED "$(size 32M 24M)" --iodepth=128 \
			--verify_backlog=32 --ioengine=io_uring
		remove_disk
		disk "size=16M queues=2 block-size=512 max-io=4K mode=$mode"
		verify --bssplit=512/50:1k/20:1536/10:5k/20 "$(size 2M 1M)" --iodepth=32
		remove_disk
	done
}

start_ublkd
for queues in 1 4; do
	disk "size=64M queues=$queues"
	given $queues
	depths
	remove_disk
done
clamped
request_sizes
block_size
modes
