#!/bin/sh
# "systemctl restart ublkd", and the main process killed with -9, alone and with
# its server, under a file system with I/O going on: systemd starts the next
# keeper, which takes over. Nobody sees an error, and nothing is unmounted.
#
# sanitizers: long
# needs: systemd
# needs: binaries fio mkfs.ext4
# needs: modules ext4
# needs: files tests/vm/lib-systemd.sh:/t/lib-systemd.sh
# needs: files tests/vm/lib-watch.sh:/t/lib-watch.sh
# time: 300
# kernels: 7.x
. /t/lib.sh
# shellcheck source=tests/vm/lib-systemd.sh
. /t/lib-systemd.sh
# shellcheck source=tests/vm/lib-watch.sh
. /t/lib-watch.sh

requires fio mkfs.ext4
mount=mnt-a.mount

# load: writes and verifies in the file system until /tmp/t/enough is there;
# leaves its status in /tmp/t/ended.
load()
{
	rm -f /tmp/t/enough /tmp/t/ended
	(
		status=0
		until [ -e /tmp/t/enough ] || [ $status != 0 ]; do
			fio --name=v --directory=/mnt/a --size=2M --bs=4k \
				--rw=randwrite --ioengine=libaio --iodepth=8 \
				--direct=1 --verify=crc32c --do_verify=1 \
				--verify_fatal=1 >/tmp/t/fio.log 2>&1 ||
				status=$?
			echo >>/tmp/t/rounds
		done
		echo $status >/tmp/t/ended
	) &
}

rounds()
{
	wc -l 2>/dev/null </tmp/t/rounds || echo 0
}

# goes_on: two more rounds of the load end, and nobody has seen an error.
goes_on()
{
	more=$(($(rounds) + 2))
	wait_for 60 "[ -e /tmp/t/ended ] || [ \$(rounds) -ge $more ]" ||
		fail "the load stands still"
	[ ! -e /tmp/t/ended ] || fail "the load: $(cat /tmp/t/fio.log)"
}

# is_whole SINCE: the mount is that of before, and the service answers. It is ready
# before it has taken over each disk.
is_whole()
{
	is active ActiveState
	is "$1" StateChangeTimestampMonotonic $mount
	wait_for 30 "ask list | grep -q '^dev id=0 .*name=disk .*state=live'" ||
		fail "$(ask list)"
	expect_ok "add null size=1G"
	expect_ok "del id=$(field id)"
}

install_service
systemctl start ublkd || fail "it does not start"
expect_ok "add ram size=64M name=disk"
mount_by_fstab ublkb0 /mnt/a _netdev
since=$(value StateChangeTimestampMonotonic $mount)
watch_d_state 5
load
goes_on

for round in 1 2; do
	echo "- restart $round"
	keeper=$(value MainPID)
	systemctl restart ublkd || fail "restart has failed"
	[ "$(value MainPID)" != "$keeper" ] || fail "the keeper is the old one"
	is_whole "$since"
	goes_on
done

# killed ROUND PROCESS...: systemd starts the next keeper.
killed()
{
	round=$1
	shift
	kill -9 "$@"
	wait_for 30 '[ "$(value NRestarts)" = $round ] &&
		[ "$(value ActiveState)" = active ]' || {
		systemctl status ublkd --no-pager || true
		fail "systemd has not started the next one"
	}
	is_whole "$since"
	goes_on
}

echo "- kill -9 of the keeper"
killed 1 "$(value MainPID)"
echo "- kill -9 of both: systemd has the disk's memory in its store"
killed 2 "$(value MainPID)" "$(pidof ublkd-server)"

echo "- the end"
touch /tmp/t/enough
wait_for 60 '[ -e /tmp/t/ended ]' || fail "the load does not end"
[ "$(cat /tmp/t/ended)" = 0 ] || fail "the load: $(cat /tmp/t/fio.log)"
nothing_was_stuck
unmount /mnt/a
stop_service
