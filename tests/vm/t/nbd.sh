#!/bin/sh
# Exports of NBD servers: data is right, and a device outlives its server, ublkd's
# processes and an upgrade.
#
# expect-kernel: (I/O error,|Buffer I/O error on) dev(ice)? ublkb0
# expect-kernel: ublkb0: unable to read partition table
# needs: binaries nbdkit fio mkfs.ext4
# needs: modules ext4
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/lib-nbd.sh:/t/lib-nbd.sh
# needs: files /usr/lib/x86_64-linux-gnu/libnbd.so.0:/nbd/libnbd.so.0
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so:/nbd/memory.so
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-file-plugin.so:/nbd/file.so
# time: 150
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh
# shellcheck source=tests/vm/lib-nbd.sh
. /t/lib-nbd.sh

requires nbdkit fio mkfs.ext4

# files_are_right MODE: a file system with what was copied to it.
files_are_right()
{
	echo "- at $(now) ms: files, $1"
	expect_ok "add nbd id=0 uri=$URI mode=$1"
	make_files
	expect_ok "del id=0"
	expect_ok "add nbd id=0 uri=$URI ro=yes"
	find_files
	expect_ok "del id=0"
}

# outlives: whoever dies, fio sees no error and reads what it has written.
outlives()
{
	begin_load "add nbd id=0 uri=$URI connections=4" --rw=randwrite \
		--size=16M --verify=crc32c --verify_backlog=64
	for _ in 1 2 3; do
		sleep 1
		end_server
		goes_off
		serve_file
		comes_back
		has_connections 4
		goes_on_well
	done
	echo "- at $(now) ms: the server was killed 3 times"
	kill_server
	await_live 0
	comes_back
	has_connections 4
	goes_on_well
	LD_LIBRARY_PATH=/nbd upgraded
	await_live 0
	comes_back
	goes_on_well
	echo "- at $(now) ms: ublkd was killed and upgraded"
	end_load
}

# grows: with the server's disk, when all connections know of it
grows()
{
	expect_ok "add nbd id=0 uri=$URI connections=2"
	has_connections 2
	end_server
	truncate -s 80M /tmp/t/disk
	serve_file
	has_connections 2
	[ "$(grep -c 'has 83886080 bytes, which resize size=auto' "$LOG")" = 1 ] ||
		fail "a larger disk is not told of once"
	case $(uname -r) in
	6.*) expect_err unsupported "resize 0 size=auto" ;;
	*)
		expect_ok "resize 0 size=auto"
		dd if=/dev/ublkb0 of=/dev/null bs=64k skip=1200 iflag=direct \
			2>/dev/null || fail "what is new cannot be read"
		[ "$(cat /sys/block/ublkb0/size)" = 163840 ] ||
			fail "$(cat /sys/block/ublkb0/size) sectors"
		;;
	esac
	expect_ok "del id=0"
}

# lost_writes_are_told: of a server that loses what it had answered.
lost_writes_are_told()
{
	end_server
	serve_memory
	expect_ok "add nbd id=0 uri=$URI"
	dd if=/dev/zero of=/dev/ublkb0 bs=64k count=4 oflag=direct 2>/dev/null
	end_server
	serve_memory
	comes_back
	! dd if=/dev/null of=/dev/ublkb0 conv=fsync,notrunc 2>/dev/null ||
		fail "a flush does not tell that writes are lost"
	dd if=/dev/null of=/dev/ublkb0 conv=fsync,notrunc 2>/dev/null ||
		fail "it is told twice"
	expect_ok "del id=0"
}

# without_a_server: what is asked for is refused, or waits, and can be given up.
without_a_server()
{
	expect_ok "add nbd id=0 uri=$URI"
	end_server
	expect_err io "add nbd id=1 uri=$URI"
	echo "- $REPLY"
	goes_off
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct \
		2>/dev/null &
	reader=$!
	wait_for 5 '[ "$(inflight ublkb0)" -gt 0 ]' || fail "it does not wait"
	expect_ok "del id=0 force=yes"
	! wait $reader || fail "what was not read is no error"
}

start_nbd
serve_file
files_are_right user-copy
files_are_right copy
outlives
grows
lost_writes_are_told
without_a_server
