#!/bin/sh
# What kills and upgrades cost those who use files and disks, in every mode: no
# error, and not a byte. The file system or the disk below has its own memory.
#
# needs: binaries fio mkfs.ext4 kill-probe
# needs: modules ext4 brd
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: memory 1536
# size: long:file
# time: 1100
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio mkfs.ext4

: "${KILLS:=5}" "${CHANGES:=2}"
MNT=/tmp/t/mnt
MEM=/tmp/t/mem
: >/tmp/t/kills

# serves_on: whoever serves it now
serves_on()
{
	await_live 0
	goes_on ublkb0 || {
		dump_state
		fail "requests do not go on: $(cat /tmp/t/fio.log)"
	}
}

# survives OPTIONS
survives()
{
	echo "- at $(now) ms: $1"
	begin_load "add file id=0 size=48M $1" --rw=randwrite \
		--verify=crc32c --verify_backlog=512 --size=48M
	for _ in $(seq "$KILLS"); do kill_under_load ublkb0; done
	for _ in $(seq "$CHANGES"); do
		for change in keeper_killed upgraded both_killed; do
			$change
			serves_on
		done
	done
	end_load
	ended=$((ended + 1))
}

make_ram_disks 2 81920
mkdir -p $MEM
mount_ext4 /dev/ram1 $MNT
mount -t tmpfs -o size=64M mem $MEM
ended=0
start_ublkd
modes="user-copy copy need-get-data"
! ask features | grep -q 'name=auto-buffer have=yes' || modes="$modes zero-copy"
survives "path=$MEM/disk create=yes"
for mode in $modes; do
	for direct in yes no; do
		survives "path=/dev/ram0 mode=$mode direct=$direct"
		survives "path=$MNT/disk create=yes mode=$mode direct=$direct"
	done
done
figures
echo "$((ended * CHANGES * 3)) take-overs and upgrades"
umount $MNT $MEM
