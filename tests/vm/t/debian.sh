#!/bin/bash
# The package for Debian in a guest with systemd and dpkg: installed it serves, its
# own test passes, an upgrade under a mounted file system is seen by nobody, it is
# not removed while a disk is in use, and purged it leaves nothing. Its test is
# skipped where there is no driver. contrib/check has built the package.
#
# needs: host
# needs: binaries mkfs.ext4 dpkg-deb
# needs: files contrib/debian/tests/ram
# size: long:admin
# time: 400
set -euo pipefail
kernel=$1 work=$2
here=$(dirname "$(readlink -f "$0")")/..
top=$here/../..
tree=$("$here/fetch-tree" debian) || {
	echo "no dpkg"
	exit 77
}
package=$(find "$UBLKD_BUILD/debian" -name 'ublkd_*.deb' 2>/dev/null | head -n 1)
[ -n "$package" ] || {
	echo "no package in $UBLKD_BUILD/debian"
	exit 77
}

cat >"$work/script" <<'END'
set -eu

fail()
{
	echo "FAIL: $*"
	cat /tmp/said
	systemctl status --no-pager ublkd || true
	dmesg | tail -n 40
	exit 1
}

# package WORD...: dpkg does it, not busybox's; what is said is in /tmp/said
package()
{
	echo "- dpkg $*"
	/usr/bin/dpkg "$@" >/tmp/said 2>&1
}

# is STATUS VERSION: of the package
is()
{
	its=$(dpkg-query -W -f '${db:Status-Status} ${Version}' ublkd)
	[ "$its" = "$1 $2" ] || fail "it is '$its', not '$1 $2'"
}

installed()
{
	package -i /debs/first.deb || fail "it cannot be installed"
	grep -v 'files list file for package' /tmp/said
	is installed "$FIRST"
	systemctl is-active ublkd && systemctl is-enabled ublkd ||
		fail "the service does not run"
	ublkctl ping >/tmp/said 2>&1 || fail "no answer"
	[ "$(stat -c '%a %G' /run/ublk.sock)" = "660 ublk" ] ||
		fail "the socket: $(stat -c '%a %G' /run/ublk.sock)"
}

its_test()
{
	echo "- its own test"
	sh /debs/ram >/tmp/said 2>&1 || fail "it fails"
	cat /tmp/said
	grep -q 'has outlived the restart' /tmp/said || fail "it has not run"
}

# Somebody writes all the time, and tells of a write that fails.
in_use()
{
	ublkctl add ram size=64M name=data >/tmp/said 2>&1 || fail "no disk"
	disk=$(ublkctl list -n -o dev name=data)
	mkfs.ext4 -q "$disk"
	mount "$disk" /mnt
	(
		while [ ! -e /tmp/enough ]; do
			dd if=/dev/urandom of=/mnt/file bs=64k count=4 conv=fsync \
				2>/tmp/dd || cat /tmp/dd >>/tmp/failed
			echo >>/tmp/written
		done
	) &
	writer=$!
}

# A write that begins from now on ends.
goes_on()
{
	before=$(wc -l </tmp/written)
	for _ in $(seq 300); do
		[ $(($(wc -l </tmp/written) - before)) -lt 2 ] || break
		sleep 0.1
	done
	[ $(($(wc -l </tmp/written) - before)) -ge 2 ] || fail "writes do not end"
	[ ! -e /tmp/failed ] || fail "a write has failed: $(cat /tmp/failed)"
}

upgraded()
{
	keeper=$(systemctl show -P MainPID ublkd)
	goes_on
	package -i /debs/next.deb || fail "no upgrade"
	is installed "$FIRST+next"
	systemctl is-active ublkd || fail "the service does not run"
	[ "$(systemctl show -P MainPID ublkd)" != "$keeper" ] ||
		fail "the old keeper runs on"
	[ "$(ublkctl list -n -o state name=data)" = live ] || fail "the disk"
	goes_on
}

not_removed()
{
	for way in -r -P; do
		! package $way ublkd || fail "it goes though a disk is in use"
		grep -q 'mounted on /mnt' /tmp/said || fail "it does not say why"
		is installed "$FIRST+next"
		systemctl is-active ublkd || fail "the service does not run"
		goes_on
	done
	touch /tmp/enough
	wait $writer
	umount /mnt
}

removed()
{
	package -r ublkd || fail "it cannot be removed"
	is config-files "$FIRST+next"
	[ -z "$(pidof ublkd ublkd-server)" ] || fail "a process is left"
	[ ! -e /run/ublk.sock ] || fail "the socket is left"
	! ls -d /dev/ublk[bc]* 2>/dev/null || fail "a disk is left"
	[ -e /etc/default/ublkd ] || fail "its options are gone"
	package -P ublkd || fail "it cannot be purged"
	left=$(find / -xdev -name '*ublk*' ! -path '/debs/*' ! -path '/lib/modules/*' \
		! -path '/vm/*')
	[ -z "$left" ] || fail "left: $left"
}

skipped()
{
	echo "- its own test, without a driver"
	rmmod ublk_drv
	find /lib/modules -name 'ublk_drv*' -exec rm {} +
	status=0
	sh /debs/ram >/tmp/said 2>&1 || status=$?
	cat /tmp/said
	[ $status = 77 ] || fail "status $status"
}

# What dpkg runs is not busybox's either.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin
ln -s /bin/true /bin/ldconfig
mkdir -p /var/log
sed -i '/^ublk:/d' /etc/group
: >/tmp/said
: >/tmp/written
installed
its_test
in_use
upgraded
not_removed
removed
skipped
! dmesg | grep -E 'WARNING|BUG|Oops|I/O error|blocked for more than' || exit 1
echo "result: ok"
END

# The next version has another number and is else the same.
dpkg-deb -R "$package" "$work/next"
first=$(dpkg-deb -f "$package" Version)
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group -b "$work/next" "$work/next.deb" >/dev/null
"$here/vm" -k "$kernel" -t 1100 -S "$tree" -M ext4 -b mkfs.ext4 -e "FIRST=$first" \
	-f "$package:/debs/first.deb" -f "$work/next.deb:/debs/next.deb" \
	-f "$top/contrib/debian/tests/ram:/debs/ram" "$work/script" |
	tee "$work/log" || exit 1
grep -q '^result: ok' "$work/log"
