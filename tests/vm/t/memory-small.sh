#!/bin/sh
# A RAM disk on a small host, and in a small cgroup: it takes most of what is
# available, but for the default reserve and what the kernel may withhold, then the
# writer gets ENOSPC. The OOM killer does not come, and the host still works. `add`
# and the log say that the disk cannot be filled, the log also that a write was
# refused, but not each time.
#
# needs: binaries ask-ublkd
# needs: memory 128
# sanitizers: long
# expect-kernel: Buffer I/O error on dev(ice)? ublkb
# time: 120
. /t/lib.sh

! sanitized || skip "a sanitizer's own memory spoils the figures"

# room: KiB that are available to ublkd, in GROUP if that is set
room()
{
	if [ -z "${GROUP:-}" ]; then
		mem_available
	else
		echo $((($(cat "$GROUP/memory.max") -
			$(cat "$GROUP/memory.current")) / 1024))
	fi
}

# no_oom: neither the kernel's nor a cgroup's.
no_oom()
{
	grep -qx 'oom_kill 0' /proc/vmstat || fail "the OOM killer has come"
}

# refused OPTION...: a write of all of the disk by dd fails, there is no room.
refused()
{
	if dd if=/dev/zero of=/dev/ublkb1 bs=64k count=$((size / 64)) "$@" \
		2>/tmp/t/dd; then
		fail "the disk took all: $(cat /tmp/t/dd)"
	fi
	grep -qE "$expected" /tmp/t/dd || fail "$(cat /tmp/t/dd)"
	no_oom
}

# held: KiB that the disk holds
held()
{
	expect_ok "show 1"
	echo $(($(field used) / 1024))
}

# host_works: programs start, other devices come and go, data is read.
host_works()
{
	for _ in 1 2 3 4 5; do
		[ "$(sh -c 'echo works' | cat)" = works ] || fail "no programs"
	done
	expect_ok "add null id=2 size=1G"
	dd if=/dev/ublkb2 of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null
	expect_ok "del id=2"
	dd if=/tmp/t/page of=/dev/ublkb1 oflag=direct 2>/dev/null
	dd if=/dev/ublkb1 of=/tmp/t/back bs=4k count=1 iflag=direct 2>/dev/null
	cmp /tmp/t/page /tmp/t/back || fail "read something else"
}

# said TEXT: how often the log has that of disk 1
said()
{
	grep -c "device 1 .*$1" "$LOG" || true
}

# fill_disk: a disk a little smaller than what is available
fill_disk()
{
	room=$(room)
	size=$((room * 15 / 16 / 64 * 64)) first=$(said 'no memory for a write')
	expect_ok "add ram id=1 size=${size}K"
	fits=$(field fits)
	expected='No space left'
	refused oflag=direct
	held=$(held)
	echo "$room KiB available, a disk of $size: $fits B fit, it holds $held"
	[ "$held" -gt $((room / 2)) ] || fail "it holds too little"
	[ -n "$fits" ] || fail "all of $size KiB fit"
	fits=$((fits / 1024))
	[ "$fits" -gt $((room / 2)) ] || fail "only $fits of $room KiB fit"
	[ "$(said 'as things stand')" -gt 0 ] || fail "the log does not say it"
	host_works
	refused oflag=direct
	expected='No space left|Input/output error'
	refused conv=fsync
	host_works
	# Of hundreds that were refused the first; after a minute perhaps one more.
	told=$(($(said 'no memory for a write') - first))
	case $told in
	1 | 2) ;;
	*) fail "$told refusals are logged" ;;
	esac
	blkdiscard /dev/ublkb1
	wait_for 30 'dd if=/dev/zero of=/dev/ublkb1 bs=64k count=4 oflag=direct \
		2>/dev/null' || fail "no room after a discard"
	expect_ok "del id=1"
	no_oom
}

head -c 4096 /dev/urandom >/tmp/t/page
start_ublkd
fill_disk
# One that can be filled: nothing to say.
expect_ok "add ram id=1 size=64K"
[ -z "$(field fits)" ] || fail "$STATUS"
stop_ublkd
