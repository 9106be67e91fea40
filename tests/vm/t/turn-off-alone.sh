#!/bin/sh
# The host is turned off while a server has no keeper. The file system on its
# device is unmounted, because systemd's last kill spares the server, and nobody
# waits for the server to end.
#
# sanitizers: long
# needs: systemd
# needs: binaries mkfs.ext4
# needs: modules ext4
# needs: files tests/vm/lib-systemd.sh:/t/lib-systemd.sh
# time: 120
# kernels: 6.12
. /t/lib.sh
# shellcheck source=tests/vm/lib-systemd.sh
. /t/lib-systemd.sh

requires mkfs.ext4
LOG=/run/ublkd.log

cat >/run/at-end <<'EOF'
. /t/lib-state.sh
took=$(($(sed 's/\..*//' /proc/uptime) - $(cat /run/begun)))
echo "turned off in $took s"
{
	# systemd's time limits are of 90 s and more.
	[ $took -lt 80 ] || echo "FAIL: it took $took s"
	grep ublk /proc/mounts && echo "FAIL: still mounted"
	klog | grep 'EXT4-fs (ublkb0): unmounting' >/dev/null ||
		echo "FAIL: it was not unmounted"
	klog | grep -E 'I/O error|JBD2.*(error|abort)' &&
		echo "FAIL: its writes"
	pidof ublkd-server >/dev/null || echo "FAIL: the server was killed"
} >/run/failures
[ -s /run/failures ] || exit 0
cat /run/failures /run/ublkd.log
klog | grep -E 'systemd|ublk|EXT4|I/O error' | tail -n 80
exit 1
EOF

install_service Restart=no
systemctl start ublkd || fail "it does not start"
expect_ok "add ram size=32M"
mount_by_fstab ublkb0 /mnt/a _netdev
kill -9 "$(value MainPID)"
wait_for 10 '[ "$(value ActiveState)" = failed ]' || fail "it lives on"
dd if=/dev/urandom of=/mnt/a/data bs=1M count=8 2>/dev/null ||
	fail "the server does not serve"
sed 's/\..*//' /proc/uptime >/run/begun
systemctl poweroff --no-block
sleep 300
fail "still running"
