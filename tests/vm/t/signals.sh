#!/bin/sh
# SIGTERM and SIGINT stop and delete every device after writing back what the
# kernel still holds; a second signal makes it no worse; the socket is gone.
#
# A file system that is mounted loses its disk here:
# expect-kernel: Buffer I/O error on dev(ice)? ublkb
# expect-kernel: EXT4-fs error .device ublkb
# needs: binaries fio mkfs.ext4
# needs: modules ext4
# time: 120
. /t/lib.sh

requires fio mkfs.ext4

# ends SIGNAL...: sends them in a row; it must end with status 0.
ends()
{
	for signal; do kill "-$signal" "$KEEPER"; done
	forget_ublkd
	[ "$(cat /tmp/t/status)" = 0 ] || fail "status $(cat /tmp/t/status)"
	[ ! -e "$SOCK" ] || fail "the socket is left"
	no_devices
}

# Dirty pages of the disk itself go to the target before it is deleted.
dirty()
{
	start_ublkd
	expect_ok "add ram size=64M"
	expect_ok "add null size=1G"
	dd if=/dev/zero of=/dev/ublkb0 bs=1M count=40 2>/dev/null
	dd if=/dev/zero of=/dev/ublkb1 bs=1M count=40 2>/dev/null
	ends TERM TERM INT
}

under_load()
{
	start_ublkd
	expect_ok "add ram size=64M"
	expect_ok "add ram size=64M"
	fio --name=w --filename=/dev/ublkb0:/dev/ublkb1 --rw=randrw --direct=1 \
		--ioengine=libaio --iodepth=32 --bs=4k --time_based \
		--runtime=3000 >/tmp/t/fio 2>&1 &
	sleep 2
	ends INT
	wait_for 10 '! pidof fio >/dev/null' || fail "fio hangs"
	no_d_state 2
}

# A mounted file system loses its disk; that is what the admin asked for.
mounted()
{
	start_ublkd
	expect_ok "add ram size=64M"
	mount_ext4 /dev/ublkb0 /tmp/t/m
	echo text >/tmp/t/m/file
	ends TERM
	umount /tmp/t/m || fail "cannot unmount"
	no_d_state 2
}

shutdown_command()
{
	start_ublkd
	expect_ok "add ram size=64M"
	request "@bye shutdown"
	[ "$STATUS" = "OK @bye" ] || fail "$REPLY"
	forget_ublkd
	[ "$(cat /tmp/t/status)" = 0 ] || fail "status $(cat /tmp/t/status)"
	[ ! -e "$SOCK" ] || fail "the socket is left"
	no_devices
}

dirty
under_load
mounted
shutdown_command
