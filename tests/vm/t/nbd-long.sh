#!/bin/sh
# Exports of three NBD servers: each is killed and started again under a verify, and
# one stands still for a minute; errors and delays of a server are the sender's to
# see, and nobody else's.
#
# expect-kernel: (I/O error,|Buffer I/O error on) dev(ice)? ublkb[09]
# needs: binaries nbdkit nbd-server qemu-nbd qemu-img fio
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/lib-nbd.sh:/t/lib-nbd.sh
# needs: files /usr/lib/x86_64-linux-gnu/libnbd.so.0:/nbd/libnbd.so.0
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so:/nbd/memory.so
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-file-plugin.so:/nbd/file.so
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/filters/nbdkit-error-filter.so:/nbd/error.so
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/filters/nbdkit-delay-filter.so:/nbd/delay.so
# size: long:network
# time: 1500
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh
# shellcheck source=tests/vm/lib-nbd.sh
. /t/lib-nbd.sh

requires nbdkit nbd-server qemu-nbd qemu-img fio

: "${RESTARTS:=50}"

# serve_qemu: a qcow2 image; what is answered outlives it.
serve_qemu()
{
	[ -e /tmp/t/image ] || qemu-img create -q -f qcow2 /tmp/t/image 64M
	rm -f /tmp/t/nbd
	qemu-nbd --persistent --shared=4 --cache=writethrough -f qcow2 \
		--socket=/tmp/t/nbd --pid-file=/tmp/t/nbdkit.pid /tmp/t/image \
		>/tmp/t/nbdkit.log 2>&1 &
	wait_for 10 '[ -s /tmp/t/nbdkit.pid ]' || fail "no qemu-nbd"
}

# serve_nbd_server: on TCP; it has a process for each connection, which all die with
# it.
serve_nbd_server()
{
	ip link set lo up
	truncate -s 64M /tmp/t/plain
	cat >/tmp/t/nbd-server.conf <<-END
		[generic]
		[disk]
		exportname = /tmp/t/plain
		flush = true
		fua = true
		trim = true
	END
	rm -f /tmp/t/nbd-server.pid
	nbd-server -C /tmp/t/nbd-server.conf -p /tmp/t/nbd-server.pid \
		>/tmp/t/nbdkit.log 2>&1
	wait_for 10 '[ -s /tmp/t/nbd-server.pid ]' || fail "no nbd-server"
	echo "-$(cat /tmp/t/nbd-server.pid)" >/tmp/t/nbdkit.pid
}

# all_depths: what is written is read back.
all_depths()
{
	for depth in 1 32 128; do
		fio --name=v --filename=/dev/ublkb0 --direct=1 \
			--ioengine=libaio --iodepth=$depth --rw=randwrite \
			--bsrange=4k-64k --size=16M --verify=crc32c \
			--verify_fatal=1 >/tmp/t/fio.log 2>&1 ||
			fail "depth $depth: $(cat /tmp/t/fio.log)"
	done
}

# verified SERVE [OPTION...]: a server that is killed again and again, by four
# connections
verified()
{
	serve=$1
	shift
	$serve
	wait_for 10 "ask 'add nbd id=0 connections=4 uri=$URI $*' | grep -q '^OK'" ||
		fail "no device: $(cat /tmp/t/nbdkit.log)"
	has_connections 4
	had=$(field mode)
	all_depths
	load ublkb0 --bsrange=4k-64k --rw=randwrite --size=48M \
		--verify=crc32c --verify_backlog=256
	for _ in $(seq "$RESTARTS"); do
		end_server
		goes_off
		$serve
		comes_back
		has_connections 4
		goes_on_well
	done
	end_load
	end_server
	echo "- at $(now) ms: $serve was killed $RESTARTS times, $*"
}

# frozen: nothing is lost, and the rest of ublkd goes on.
frozen()
{
	serve_file
	begin_load "add nbd id=0 uri=$URI" --rw=randwrite --size=16M \
		--verify=crc32c --verify_backlog=64
	stands_still 60
	end_load
	end_server
	echo "- at $(now) ms: a server stood still for a minute"
}

# errors_and_delays: an error is an answer, and a late answer is none, though it ends
# what was late.
errors_and_delays()
{
	serve --filter=/nbd/error.so --filter=/nbd/delay.so /nbd/memory.so 64M \
		error=EIO error-rate=1 error-file=/tmp/t/fails rdelay=3
	expect_ok "add nbd id=9 uri=$URI io-timeout=1s"
	! dd if=/dev/ublkb9 of=/dev/null bs=4k count=1 iflag=direct \
		2>/dev/null || fail "a late answer is no error"
	# It answers one after the other, those too that nobody waits for.
	expect_ok "set 9 io-timeout=0"
	dd if=/dev/ublkb9 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null ||
		fail "an answer in time is an error"
	touch /tmp/t/fails
	! dd if=/dev/zero of=/dev/ublkb9 bs=4k count=1 oflag=direct \
		2>/dev/null || fail "a server's error is none"
	expect_ok list
	[ "$(field reconnects)" = 0 ] || fail "it has connected again: $REPLY"
	wait_for 60 'ask "show 9" | grep -q "timed-out=[1-9][0-9]* late=0 "' ||
		fail "what is answered is late: $(ask "show 9")"
	expect_ok "del id=9"
	end_server
	echo "- at $(now) ms: errors and delays"
}

start_nbd
errors_and_delays
frozen
verified serve_file mode=user-copy
verified serve_file mode=copy
verified serve_qemu
URI=nbd://127.0.0.1/disk
verified serve_nbd_server
