# Functions for tests with NBD servers; they need
#
#   # needs: binaries nbdkit
#   # needs: files tests/vm/lib-nbd.sh:/t/lib-nbd.sh
#
# and libnbd with nbdkit's plugins in /nbd, see nbd.sh.
#
# shellcheck shell=sh

# shellcheck disable=SC2034 # for the tests
URI="nbd+unix://?socket=/tmp/t/nbd"

# start_nbd: ublkd, with the libnbd that is not one of tests/vm/stand-ins.
start_nbd()
{
	LD_LIBRARY_PATH=/nbd start_ublkd
}

# serve ARG...: nbdkit with these, instead of any before. With more than one thread
# 1.32 can end by an assertion of its own when a client dies.
serve()
{
	rm -f /tmp/t/nbd /tmp/t/nbdkit.pid
	nbdkit -f -U /tmp/t/nbd -P /tmp/t/nbdkit.pid --threads 1 "$@" \
		>/tmp/t/nbdkit.log 2>&1 &
	wait_for 10 '[ -s /tmp/t/nbdkit.pid ]' ||
		fail "no nbdkit: $(cat /tmp/t/nbdkit.log)"
}

serve_file()
{
	[ -e /tmp/t/disk ] || truncate -s 64M /tmp/t/disk
	serve /nbd/file.so /tmp/t/disk
}

serve_memory()
{
	serve /nbd/memory.so 64M
}

# end_server: it has no time to say anything.
end_server()
{
	command kill -9 "$(cat /tmp/t/nbdkit.pid)"
	rm -f /tmp/t/nbdkit.pid
}

is_connected()
{
	expect_ok list
	[ "$(field connected)" = "$1" ]
}

goes_off()
{
	wait_for 10 'is_connected no' || fail "it has a connection: $REPLY"
}

comes_back()
{
	wait_for 20 'is_connected yes' || {
		tail -n 5 /tmp/t/nbdkit.log
		fail "it has no connection: $REPLY"
	}
}

# has_connections COUNT: at once, or soon
has_connections()
{
	wait_for 20 'expect_ok list; [ "$(field connections)" = '"$1"' ]' ||
		fail "it has not $1 connections: $REPLY"
}

# goes_on_well: with its load
goes_on_well()
{
	goes_on ublkb0 || {
		dump_state
		fail "requests do not go on: $(cat /tmp/t/fio.log)"
	}
}

# stands_still SECONDS: a server that is stopped for that long delays nobody else, and
# the load goes on behind it.
stands_still()
{
	expect_ok "add ram size=16M id=1"
	command kill -STOP "$(cat /tmp/t/nbdkit.pid)"
	for _ in $(seq "$1"); do
		sleep 1
		dd if=/dev/ublkb1 of=/dev/null bs=4k count=8 iflag=direct \
			2>/dev/null || fail "another device fails"
	done
	command kill -CONT "$(cat /tmp/t/nbdkit.pid)"
	goes_on_well
	expect_ok "del id=1"
}

# make_files, find_files: a file system with copies on disk 0, that are there later
make_files()
{
	mkfs.ext4 -q -F /dev/ublkb0
	mount_ext4 /dev/ublkb0 /tmp/t/m
	cp -r /t /tmp/t/m/
	umount /tmp/t/m
}

find_files()
{
	mount -o ro /dev/ublkb0 /tmp/t/m
	diff -r /t /tmp/t/m/t || fail "files differ"
	umount /tmp/t/m
}
