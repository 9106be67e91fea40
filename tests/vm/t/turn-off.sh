#!/bin/sh
# The host is turned off with file systems on ublkd's devices, mounted in each
# way of which ublkd(8) says that it is in order: fstab with _netdev, fstab with
# x-systemd.after=, by hand with _netdev, by hand without (its device is named
# in the unit), and swap (the same). All are gone before ublkd stops, nothing
# waits for a time limit, and what was written and never synced is on the disks:
# each is copied when ublkd is told to stop, and looked at when all is over.
# Programs work in them; those behind _netdev, for which the order is in our own
# unit, take longer to end than all others.
#
# needs: systemd
# needs: binaries mkfs.ext4 e2fsck debugfs
# needs: modules ext4
# needs: files tests/vm/lib-systemd.sh:/t/lib-systemd.sh
# time: 120
. /t/lib.sh
# shellcheck source=tests/vm/lib-systemd.sh
. /t/lib-systemd.sh

requires mkfs.ext4 e2fsck debugfs
# /tmp is unmounted on the way.
LOG=/run/ublkd.log

cat >/run/copy <<'EOF'
for n in 0 1 2 3; do dd if=/dev/ublkb$n of=/run/image$n bs=1M 2>/dev/null; done
cat /proc/mounts /proc/swaps >/run/used-at-stop
EOF

cat >/run/at-end <<'EOF'
. /t/lib-state.sh

complain()
{
	echo "FAIL: $*"
	echo "ublkd's log:"
	cat /run/ublkd.log
	klog | grep -E 'systemd|ublk|EXT4|I/O error' | tail -n 80
	exit 1
}

# line TEXT: its number in the kernel's log, 0 if it is not there.
line()
{
	klog | grep -nF "$1" | tail -n 1 | sed 's/:.*//' | grep . || echo 0
}

took=$(($(sed 's/\..*//' /proc/uptime) - $(cat /run/begun)))
echo "turned off in $took s"
[ $took -lt 25 ] || complain "it took $took s"
klog | grep -E 'systemd.1.: .*(timed out|SIGKILL|Failed|ordering cycle)' |
	grep -v vm.service && complain "not in order"
stopping=$(line 'Stopping ublkd.service')
stopped=$(line 'Stopped ublkd.service')
[ "$stopping" -gt 0 ] && [ "$stopped" -gt "$stopping" ] ||
	complain "ublkd was not stopped"
for what in "Unmounted mnt-a.mount" "Unmounted mnt-b.mount" \
	"Unmounted mnt-c.mount" "Unmounted mnt-d.mount" \
	"Deactivated swap dev-ublkb4.swap"; do
	unmounted=$(line "$what")
	[ "$unmounted" -gt 0 ] && [ "$unmounted" -lt "$stopping" ] ||
		complain "'$what' in line $unmounted, ublkd stops in $stopping"
done
grep ublk /run/used-at-stop && complain "in use when ublkd stops"
grep -q 'Terminated: stopping' /run/ublkd.log || complain "no SIGTERM"
[ -z "$(pidof ublkd ublkd-server)" ] || complain "a process is left"
ls -d /dev/ublk[bc]* 2>/dev/null && complain "a device is left"
for n in 0 1 2 3; do
	e2fsck -fn /run/image$n || complain "the file system on disk $n"
	rm -f /run/back
	debugfs -R "dump /data /run/back" /run/image$n 2>/dev/null
	cmp /run/back /run/data || complain "the data on disk $n"
done
exit 0
EOF

install_service "ExecStop=/bin/sh /run/copy"
cat >>$DROP_IN/test.conf <<'EOF'
[Unit]
Wants=blockdev@dev-ublkb3.target blockdev@dev-ublkb4.target
Before=blockdev@dev-ublkb3.target blockdev@dev-ublkb4.target
EOF
systemctl daemon-reload
systemctl start ublkd || fail "it does not start"
for n in 0 1 2 3 4; do expect_ok "add ram size=32M id=$n"; done
mount_by_fstab ublkb0 /mnt/a _netdev
mount_by_fstab ublkb1 /mnt/b x-systemd.after=ublkd.service
mkdir -p /mnt/c /mnt/d
mkfs.ext4 -q /dev/ublkb2 && mkfs.ext4 -q /dev/ublkb3
# With its path: the shell has one of its own, which does not know _netdev.
/bin/mount -o _netdev /dev/ublkb2 /mnt/c || fail "cannot mount by hand"
/bin/mount /dev/ublkb3 /mnt/d || fail "cannot mount by hand"
mkswap /dev/ublkb4 >/dev/null
/sbin/swapon /dev/ublkb4 || fail "no swap"
cat >/run/systemd/system/worker@.service <<'EOF'
[Unit]
RequiresMountsFor=/mnt/%i
[Service]
WorkingDirectory=/mnt/%i
ExecStart=/bin/sleep 1000
ExecStop=/bin/sh -c 'case %i in a | c) sleep 6 ;; esac'
EOF
systemctl daemon-reload
dd if=/dev/urandom of=/run/data bs=1M count=8 2>/dev/null
for point in a b c d; do
	systemctl start worker@$point || fail "no worker in /mnt/$point"
	cp /run/data /mnt/$point/data
done
sed 's/\..*//' /proc/uptime >/run/begun
systemctl poweroff --no-block
sleep 100
fail "still running"
