#!/bin/sh
# fio on a base and a layer, in every mode and with small and large clusters, while
# servers are killed, upgraded and taken over from: no error, and not a byte. What is
# in the layer in the end is what the device has shown.
#
# needs: binaries fio mkfs.ext4 cow-check kill-probe
# needs: modules ext4 brd
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: memory 1536
# size: long:network
# time: 1200
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio mkfs.ext4

: "${KILLS:=5}"
MNT=/tmp/t/mnt
BASE=$MNT/base
: >/tmp/t/kills

# survives OPTIONS
survives()
{
	echo "- at $(now) ms: $1"
	add="add cow id=0 base=$BASE path=$MNT/layer $1"
	rm -f $MNT/layer
	begin_load "$add" --rw=randwrite --verify=crc32c \
		--verify_backlog=512 --size=48M
	for _ in $(seq "$KILLS"); do kill_under_load ublkb0; done
	for change in keeper_killed upgraded both_killed; do
		$change
		await_live 0
		goes_on ublkb0 || fail "requests do not go on"
	done
	end_load
	cow-check $BASE $MNT/layer
	expect_ok "$add"
	cp /dev/ublkb0 /tmp/t/shown
	expect_ok "del id=0"
	cow-check $BASE $MNT/layer /tmp/t/shown || fail "the layer"
}

make_ram_disks 1 262144
mount_ext4 /dev/ram0 $MNT
dd if=/dev/urandom of=$BASE bs=1M count=64 2>/dev/null
start_ublkd
modes="user-copy copy need-get-data"
! ask features | grep -q 'name=auto-buffer have=yes' || modes="$modes zero-copy"
for mode in $modes; do survives "mode=$mode"; done
survives "cluster=4K"
survives "cluster=1M"
figures
stop_ublkd
umount $MNT
