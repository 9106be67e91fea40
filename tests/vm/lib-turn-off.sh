# A host is turned off with file systems on ublkd's devices. They are unmounted
# before ublkd stops, nothing waits for a time limit, and what was written and
# never synced is on the disks: each is copied when ublkd is told to stop, and
# looked at when all is over. Tests that use it need lib-systemd.sh, and
#
#   # needs: binaries mkfs.ext4 e2fsck debugfs
#   # needs: modules ext4
#   # needs: files tests/vm/lib-turn-off.sh:/t/lib-turn-off.sh
#
# shellcheck shell=sh

requires mkfs.ext4 e2fsck debugfs
# /tmp is unmounted on the way.
# shellcheck disable=SC2034 # for lib.sh
LOG=/run/ublkd.log

cat >/run/copy <<'EOF'
for n in $(cat /run/disks); do
	dd if=/dev/ublkb$n of=/run/image$n bs=1M 2>/dev/null
done
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
# The time limits are of 90 s and more.
[ $took -lt 80 ] || complain "it took $took s"
klog | grep -E 'systemd.1.: .*(timed out|SIGKILL|Failed|ordering cycle)' |
	grep -v vm.service && complain "not in order"
stopping=$(line 'Stopping ublkd.service')
stopped=$(line 'Stopped ublkd.service')
[ "$stopping" -gt 0 ] && [ "$stopped" -gt "$stopping" ] ||
	complain "ublkd was not stopped"
while read -r what; do
	at=$(line "$what")
	[ "$at" -gt 0 ] && [ "$at" -lt "$stopping" ] ||
		complain "'$what' in line $at, ublkd stops in $stopping"
done </run/before
grep ublk /run/used-at-stop && complain "in use when ublkd stops"
grep -q 'Terminated: stopping' /run/ublkd.log || complain "no SIGTERM"
[ -z "$(unexpected_ends /run/ublkd.log)" ] || complain "a server has crashed"
[ -z "$(pidof ublkd ublkd-server)" ] || complain "a process is left"
ls -d /dev/ublk[bc]* 2>/dev/null && complain "a device is left"
for n in $(cat /run/disks); do
	e2fsck -fn /run/image$n || complain "the file system on disk $n"
	rm -f /run/back
	debugfs -R "dump /data /run/back" /run/image$n 2>/dev/null
	cmp /run/back /run/data || complain "the data on disk $n"
done
exit 0
EOF

# A program that works there and takes a while to end.
cat >/run/systemd/system/worker@.service <<'EOF'
[Unit]
RequiresMountsFor=/mnt/%i
[Service]
WorkingDirectory=/mnt/%i
ExecStart=/bin/sleep 1000
ExecStop=/bin/sleep 3
EOF

# begin [LINE...]: ublkd, with more lines for its unit.
begin()
{
	install_service "ExecStop=/bin/sh /run/copy" "[Unit]" "$@"
	systemctl start ublkd || fail "it does not start"
	: >/run/disks
	: >/run/before
	dd if=/dev/urandom of=/run/data bs=1M count=8 2>/dev/null
}

# add_disk ID
add_disk()
{
	expect_ok "add ram size=32M id=$1"
}

# by_hand DISK POINT [OPTION...]: a new ext4 there. With mount's path: the shell
# has one of its own, which does not know _netdev.
by_hand()
{
	mkfs.ext4 -q "/dev/$1" || fail "mkfs.ext4 /dev/$1"
	mkdir -p "$2"
	disk=$1 point=$2
	shift 2
	/bin/mount "$@" "/dev/$disk" "$point" || fail "cannot mount $point"
}

# work ID NAME: in the file system of that disk at /mnt/NAME.
work()
{
	systemctl start "worker@$2" || fail "no worker in /mnt/$2"
	cp /run/data "/mnt/$2/data"
	echo "$1" >>/run/disks
	echo "Unmounted mnt-$2.mount" >>/run/before
}

turn_off()
{
	sed 's/\..*//' /proc/uptime >/run/begun
	systemctl poweroff --no-block
	sleep 300
	fail "still running"
}
