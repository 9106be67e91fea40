#!/bin/sh
# Device mappers on a disk: dm-linear, dm-crypt and a volume of LVM are made, filled,
# checked after the server was killed under them, and removed; while they are there,
# del and inspect name them.
#
# needs: binaries dmsetup lvm
# needs: modules dm-mod dm-crypt xts
# size: long:sight
# time: 240
. /t/lib.sh

requires dmsetup lvm

# Without udev, of which the guest has none.
LVM='activation { udev_sync=0 udev_rules=0 monitoring=0 } devices { obtain_device_list_from_udev=0 use_devicesfile=0 filter=["a|/dev/ublkb0|","r|.*|"] } global { use_lvmpolld=0 } backup { backup=0 archive=0 }'

# lvm_do COMMAND ARGUMENT...
lvm_do()
{
	command=$1
	shift
	lvm "$command" --config "$LVM" "$@" || fail "$command $*"
}

# used NODE: what lies on the disk is filled, and as it was when the server was
# replaced; the disk has a holder that del and inspect name.
used()
{
	dd if=/tmp/t/random of="$1" bs=64k oflag=direct 2>/dev/null ||
		fail "$1 cannot be filled"
	expect_err busy "del 0"
	echo "$STATUS" | grep -q "held by dm-" || fail "$1: $STATUS"
	# A helper that has no time on a busy host says unknown.
	wait_for 30 "ask 'inspect 0' | grep -q '^holder id=0 text=\"held by dm-'" ||
		fail "$1: no holder: $(ask "inspect 0")"
	kill_server
	dd if="$1" bs=64k count=64 iflag=direct 2>/dev/null |
		cmp - /tmp/t/random || fail "$1 has other data"
}

# mapped NAME TABLE
mapped()
{
	echo "- $1"
	echo "$2" | dmsetup create --noudevsync "$1"
	dmsetup mknodes "$1"
	used "/dev/mapper/$1"
	dmsetup remove --noudevsync "$1"
}

volume()
{
	echo "- a volume of LVM"
	lvm_do pvcreate /dev/ublkb0
	lvm_do vgcreate vg0 /dev/ublkb0
	lvm_do lvcreate -y -Zn -Wn -n lv0 -L 16M vg0
	dmsetup mknodes
	used /dev/mapper/vg0-lv0
	lvm_do vgremove -f vg0
	lvm_do pvremove /dev/ublkb0
}

head -c 4194304 /dev/urandom >/tmp/t/random
# shellcheck disable=SC2119 # none are wanted
start_ublkd
expect_ok "add ram id=0 size=64M"
mapped linear0 "0 32768 linear /dev/ublkb0 0"
mapped crypt0 "0 32768 crypt aes-xts-plain64 $(printf '%0128d' 1) 0 /dev/ublkb0 0"
volume
expect_ok "del 0"
