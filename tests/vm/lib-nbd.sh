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
