#!/bin/sh
# The rule for udev: links in /dev/disk/by-* and /dev/ublk/by-name to disks and
# partitions, which stay over every change of processes, also where udev looks
# again, and go with the device. The daemon runs as a service with the example of
# a configuration.
#
# sanitizers: long
# needs: systemd
# needs: binaries mkfs.ext4 sfdisk
# needs: files tests/vm/lib-systemd.sh:/t/lib-systemd.sh
# needs: files contrib/udev/60-ublkd.rules:/t/60-ublkd.rules
# needs: files contrib/examples/ublkd.conf:/t/example.conf
# time: 240
# kernels: 7.x
. /t/lib.sh
# shellcheck source=tests/vm/lib-systemd.sh
. /t/lib-systemd.sh

requires mkfs.ext4 sfdisk
uuid=01234567-89ab-cdef-0123-456789abcdef
by_name=/dev/ublk/by-name

# looks_again [DISK]...: what udev has to do is done, and then it looks at the
# disks once more, as it would after a boot's second stage.
looks_again()
{
	udevadm settle
	for disk; do
		udevadm trigger --action=change --settle "/dev/$disk"
	done
}

# leads LINK DISK: udev may not have begun yet.
leads()
{
	wait_for 10 "[ -L '$1' ]" || fail "no $1: $(ls -lR /dev/ublk /dev/disk 2>&1)"
	[ "$(readlink -f "$1")" = "/dev/$2" ] ||
		fail "$1 leads to $(readlink "$1"), not to $2"
}

# gone LINK...
gone()
{
	for link; do
		wait_for 10 "[ ! -L '$link' ]" || fail "$link is left"
	done
}

# all_lead: every link of the disks of this test
all_lead()
{
	leads $by_name/scratch ublkb0
	leads /dev/disk/by-uuid/$uuid ublkb0
	leads /dev/disk/by-label/data ublkb0
	leads "/dev/disk/by-diskseq/$(cat /sys/block/ublkb0/diskseq)" ublkb0
	leads $by_name/a.b:c-d_E ublkb1
	leads $by_name/a.b:c-d_E-part1 ublkb1p1
	leads "/dev/disk/by-partlabel/first\\x20part" ublkb1p1
	leads /dev/disk/by-partuuid/$uuid ublkb1p1
}

makes_links()
{
	echo "- the example's disk, and one with partitions"
	systemctl start ublkd || fail "it does not start"
	looks_again
	leads $by_name/scratch ublkb0
	mkfs.ext4 -q -L data -U $uuid /dev/ublkb0 || fail mkfs.ext4
	expect_ok "add ram size=16M name=a.b:c-d_E"
	printf 'label: gpt\nsize=4M, name="first part", uuid=%s\n' $uuid |
		sfdisk -q /dev/ublkb1 || fail sfdisk
	wait_for 20 '[ -b /dev/ublkb1p1 ]' || fail "no partition"
	looks_again
	all_lead
}

stay()
{
	echo "- the server dies"
	kill -9 "$(pidof ublkd-server)"
	expect_ok list
	looks_again ublkb0 ublkb1 ublkb1p1
	all_lead
	echo "- upgrade"
	expect_ok upgrade
	wait_for 20 '[ "$(value StatusText)" = "ready on $SOCK" ]' ||
		fail "status"
	looks_again ublkb0 ublkb1 ublkb1p1
	all_lead
	echo "- both die"
	kill -9 "$(value MainPID)" "$(pidof ublkd-server)"
	wait_for 30 '[ "$(value NRestarts):$(value ActiveState)" = 1:active ]' ||
		fail "systemd has not started the next one"
	looks_again ublkb0 ublkb1 ublkb1p1
	all_lead
}

# udev sets owner and mode whenever it looks at a disk.
owned()
{
	echo "- a disk of a user, and its partition"
	expect_ok "add ram size=16M id=7 owner=user:ublk node-mode=0640"
	printf 'label: gpt\nsize=4M\n' | sfdisk -q /dev/ublkb7 || fail sfdisk
	wait_for 20 '[ -b /dev/ublkb7p1 ]' || fail "no partition"
	looks_again ublkb7 ublkb7p1
	for disk in ublkb7 ublkb7p1; do
		[ "$(stat -c '%u:%G %a' /dev/$disk)" = "$(id -u user):ublk 640" ] ||
			fail "$(ls -l /dev/$disk)"
	done
	expect_ok "del 7"
	expect_ok "add null id=7"
	looks_again ublkb7
	[ "$(stat -c %u /dev/ublkb7)" = 0 ] || fail "$(ls -l /dev/ublkb7)"
	expect_ok "del 7"
}

# A folder of its own for the state, and the same one for the names.
second_daemon()
{
	echo "- another daemon"
	ublkd -s /run/other.sock || fail "it does not start"
	echo "add null size=1G name=elsewhere" |
		socat -t 60 - UNIX:/run/other.sock | grep -q ^OK || fail "add"
	looks_again
	leads $by_name/elsewhere ublkb2
	leads $by_name/scratch ublkb0
	echo shutdown | socat -t 60 - UNIX:/run/other.sock | grep -q ^OK ||
		fail "shutdown"
	wait_for 20 '[ ! -b /dev/ublkb2 ]' || fail "it does not end"
	looks_again
	gone $by_name/elsewhere
}

go()
{
	echo "- del, and a device without a name"
	expect_ok "del scratch"
	looks_again
	gone $by_name/scratch /dev/disk/by-uuid/$uuid /dev/disk/by-label/data
	expect_ok "add ram size=16M"
	[ "$(field id)" = 0 ] || fail "another id: $STATUS"
	looks_again ublkb0
	gone $by_name/scratch $by_name/ublkb0
	leads $by_name/a.b:c-d_E ublkb1
	stop_service
	looks_again
	gone $by_name/a.b:c-d_E $by_name/a.b:c-d_E-part1
	[ -z "$(ls /run/ublkd-names)" ] || fail "$(ls /run/ublkd-names)"
}

mkdir -p /run/udev/rules.d
cp /t/60-ublkd.rules /run/udev/rules.d
udevadm control --reload
install_service
options --config=/t/example.conf
makes_links
owned
stay
second_daemon
go
rm /run/udev/rules.d/60-ublkd.rules
udevadm control --reload
