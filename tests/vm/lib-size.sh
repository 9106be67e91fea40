# Functions for tests that change the size of disk 0; they need
#
#   # needs: files tests/vm/lib-size.sh:/t/lib-size.sh
#
# shellcheck shell=sh

# kernel_size: of disk 0, in bytes
kernel_size()
{
	echo $(($(cat /sys/block/ublkb0/size) * 512))
}

# has_size BYTES COMMAND: everybody says so, the state folder as well
has_size()
{
	[ "$(kernel_size)" = "$1" ] || fail "the kernel has $(kernel_size), not $1"
	ask "list" | grep -q " size=$1 " || fail "$(ask list), not $1"
	[ "$(config)" = "$2" ] || fail "$(config), not $2"
	[ "$(tail -n 1 /run/ublkd/0.dev)" = "$2" ] ||
		fail "noted is $(tail -n 1 /run/ublkd/0.dev), not $2"
}
