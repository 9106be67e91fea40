#!/bin/sh
# The server is killed again and again under fio with verification and under a
# mounted file system: nobody sees an error, and not a byte is lost.
#
# sanitizers: long
# needs: binaries fio mkfs.ext4 e2fsck kill-probe
# needs: modules ext4
# needs: files tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: memory 1536
# time: 600
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh

requires fio mkfs.ext4

# recover-long asks for more.
: "${KILLS_FIO:=3}" "${KILLS_TAGS:=2}" "${KILLS_MOUNTED:=3}" "${KILLS_NULL:=2}"
: "${KILLS_LAYERS:=2}" "${KILLS_MODE:=2}"
: >/tmp/t/kills

# under_fio ADD KILLS ARG...
under_fio()
{
	echo "- $1: $2 kills"
	add=$1 kills=$2
	shift 2
	begin_load "$add" "$@"
	for _ in $(seq "$kills"); do kill_under_load ublkb0; done
	end_load
}

# With every tag held. At random places, or the block layer would merge requests
# while they wait for a tag.
all_in_flight()
{
	echo "- every tag in flight: $KILLS_TAGS kills"
	expect_ok "add ram size=16M queues=1 depth=16"
	had=need-get-data
	dd if=/dev/urandom of=/tmp/t/data bs=1M count=16 2>/dev/null
	dd if=/tmp/t/data of=/dev/ublkb0 bs=1M oflag=direct 2>/dev/null
	load ublkb0 --rw=randread --bs=4k
	for _ in $(seq "$KILLS_TAGS"); do kill_under_load ublkb0 -s 16; done
	cmp /tmp/t/data /dev/ublkb0 || fail "data was lost"
	end_load
}

# copy_until_killed FOLDER: again and again, so that the kill hits a copy.
copy_until_killed()
{
	rm -f /tmp/t/killed
	while [ ! -e /tmp/t/killed ]; do
		rm -rf "$1"
		cp -r /bin "$1" && sync || return 1
	done
}

# sums FOLDER: of all its files. busybox's diff would take a minute for these.
sums()
{
	(cd "$1" && find . -type f -exec md5sum {} + | sort)
}

mounted()
{
	sums /bin >/tmp/t/sums
	echo "- a copy to ext4: $KILLS_MOUNTED kills"
	expect_ok "add ram size=128M"
	mount_ext4 /dev/ublkb0 /tmp/t/m
	for n in $(seq "$KILLS_MOUNTED"); do
		copy_until_killed /tmp/t/m/$((n % 4)) &
		kill_under_load ublkb0
		touch /tmp/t/killed
		wait $! || fail "a copy failed"
	done
	umount /tmp/t/m
	e2fsck -fn /dev/ublkb0 >/tmp/t/fsck 2>&1 || fail "$(cat /tmp/t/fsck)"
	mount /dev/ublkb0 /tmp/t/m
	for copy in /tmp/t/m/[0-3]; do
		sums "$copy" | cmp -s - /tmp/t/sums || fail "$copy differs"
	done
	umount /tmp/t/m
	expect_ok "del id=0"
}

verify="--rw=randwrite --verify=crc32c --verify_backlog=512 --size=96M"
start_ublkd
# shellcheck disable=SC2086 # the words
under_fio "add ram size=96M queues=2" "$KILLS_FIO" $verify
for mode in user-copy copy; do
	# shellcheck disable=SC2086
	under_fio "add ram size=96M queues=2 mode=$mode" "$KILLS_MODE" $verify
done
under_fio "add null size=1G" "$KILLS_NULL" --rw=randrw
# Faults where nobody is hit, and requests that wait in the server.
# shellcheck disable=SC2086
under_fio "add ram size=128M error-rate=1 error-offset=96M delay-time=2ms" \
	"$KILLS_LAYERS" $verify
# shellcheck disable=SC2086
under_fio "add ram size=96M delay-time=1ms delay-max=20ms delay-op=write" \
	"$KILLS_LAYERS" $verify
all_in_flight
mounted
figures
