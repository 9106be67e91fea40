# Functions for tests with systemd; they need
#
#   # needs: systemd
#   # needs: files tests/vm/lib-systemd.sh:/t/lib-systemd.sh
#
# shellcheck shell=sh

UNIT=/lib/systemd/system/ublkd.service
DROP_IN=/run/systemd/system/ublkd.service.d

# install_service [LINE...]: the unit as it is shipped, its log where tests look
# for it, and more lines for [Service].
install_service()
{
	program=$(sed -n 's/^ExecStart=@\([^ ]*\) .*/\1/p' $UNIT)
	mkdir -p "${program%/*}" $DROP_IN
	ln -sf "$(command -v ublkd)" "$program"
	{
		echo "[Service]"
		echo "StandardError=append:$LOG"
		echo "Environment=ASAN_OPTIONS=$ASAN_OPTIONS"
		for line; do echo "$line"; done
	} >$DROP_IN/test.conf
	rm -rf /etc/default
	mkdir -p /etc/default
	systemctl daemon-reload
}

# options WORD...: of ublkd, where an administrator writes them.
options()
{
	echo "UBLKD_OPTIONS=\"$*\"" >/etc/default/ublkd
}

# is VALUE PROPERTY [UNIT]: fails if the unit's property has another value.
is()
{
	its=$(value "$2" "${3:-ublkd.service}")
	[ "$its" = "$1" ] || {
		systemctl status --no-pager "${3:-ublkd.service}" || true
		fail "$2 of ${3:-ublkd.service} is '$its', not '$1'"
	}
}

# value PROPERTY [UNIT]
value()
{
	systemctl show -P "$1" "${2:-ublkd.service}"
}

# mount_by_fstab DISK POINT OPTION: a new ext4, mounted as the boot would.
mount_by_fstab()
{
	mkfs.ext4 -q "/dev/$1" || fail "mkfs.ext4 /dev/$1"
	mkdir -p "$2"
	echo "/dev/$1 $2 ext4 noauto,$3 0 0" >>/etc/fstab
	systemctl daemon-reload
	systemctl start "$2" || fail "cannot mount $2"
	grep -q "^/dev/$1 $2 ext4" /proc/mounts || fail "$2 is not mounted"
}

# unmount POINT
unmount()
{
	systemctl stop "$1" || fail "cannot unmount $1"
	! grep -q " $1 " /proc/mounts || fail "$1 is still mounted"
}

# stop_service: it leaves nothing.
stop_service()
{
	systemctl stop ublkd || fail "systemctl stop has failed"
	is inactive ActiveState
	is success Result
	[ -z "$(pidof ublkd ublkd-server)" ] || fail "a process is left"
	no_devices
}
