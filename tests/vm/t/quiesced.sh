#!/bin/sh
# A device that cannot be taken over just now: its file is away, or another one,
# or the kernel gives no ring. It stays quiesced, says why, stops nobody else,
# and goes on by itself when it can. And what a keeper opens again, or a server,
# is opened as it was by `add`; a `set` that was refused never takes effect.
#
# needs: binaries mkfs.ext4
# needs: modules ext4 brd
# time: 150
. /t/lib.sh

requires mkfs.ext4

MNT=/tmp/t/mnt
STATE=/run/ublkd

# is ID STATE: soon
is()
{
	wait_for 20 "ask 'show $1' | grep -q '^dev .* state=$2 '" ||
		fail "not $2: $(ask "show $1")"
}

# says ID WHY: it is quiesced, and tells why, soon
says()
{
	wait_for 20 "ask 'show $1' | grep -q '^dev .* error=\".*$2.*'" ||
		fail "it does not say '$2': $(ask "show $1")"
	is "$1" quiesced
}

# others_work: commands for the rest of them do
others_work()
{
	is 1 live
	expect_ok "add null id=2 size=1M"
	dd if=/dev/ublkb2 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null ||
		fail "ublkb2 cannot be read"
	expect_ok "del 2"
}

file_is_away()
{
	echo "- its file is away"
	dd if=/dev/urandom of=$MNT/a bs=1M count=8 2>/dev/null
	cp $MNT/a /tmp/t/data
	expect_ok "add file id=0 path=$MNT/a"
	expect_ok "add null id=1 size=1M"
	kill_both
	mv $MNT/a $MNT/away
	start_ublkd
	says 0 "$MNT/a: No such file"
	ask list | grep -q '^dev id=0 .* retry-in=[0-9]' ||
		fail "it does not say when: $(ask list)"
	dd if=/dev/ublkb0 of=/tmp/t/read bs=1M iflag=direct 2>/dev/null &
	reader=$!
	others_work

	echo "- ... its note keeps it, a restart and an upgrade go on"
	expect_ok "set 0 limit-iops=100000"
	grep -q "^file path=$MNT/a " $STATE/0.dev || fail "$(cat $STATE/0.dev)"
	restarted
	says 0 "$MNT/a: No such file"
	others_work
	expect_ok upgrade
	wait_for 20 ublkd_answers || fail "no answer"
	says 0 "$MNT/a: No such file"
	others_work

	echo "- ... and it comes back"
	mv $MNT/away $MNT/a
	is 0 live
	wait $reader || fail "the reader failed"
	cmp /tmp/t/read /tmp/t/data || fail "other data"
	config | grep -q limit-iops || fail "$(config)"
}

# ext4 gives the number of the old one at once.
file_is_made_anew()
{
	echo "- its file was made anew"
	kill_both
	# shellcheck disable=SC2034 # wait_for uses it
	inode=$(stat -c %i $MNT/a)
	# Until nobody that was killed has the old one open.
	wait_for 10 'rm $MNT/a && truncate -s 8M $MNT/a &&
		[ "$(stat -c %i $MNT/a)" = "$inode" ]' ||
		fail "not the same number"
	start_ublkd
	says 0 "another file"
	sleep 3
	says 0 "another file"
	others_work
	restarted
	says 0 "another file"
	expect_ok "del 0 force=yes"
	others_work
}

no_ring()
{
	echo "- no ring for a while"
	echo 2 >/proc/sys/kernel/io_uring_disabled
	sleep 1 # or the next one comes later
	kill -9 "$(server_pid)"
	wait_for 20 'ask version >/dev/null' || fail "no server"
	says 1 "not permitted"
	dd if=/dev/ublkb1 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
	reader=$!
	echo 0 >/proc/sys/kernel/io_uring_disabled
	is 1 live
	wait $reader || fail "the reader failed"
}

# flags PATH: those that the server has it open with
flags()
{
	server=$(server_pid)
	for fd in /proc/"$server"/fd/*; do
		[ "$(readlink "$fd")" != "$1" ] ||
			sed -n 's/^flags:[^0-9]*//p' \
				"/proc/$server/fdinfo/${fd##*/}"
	done | head -n 1
}

# Another one may have the disk for himself.
mount_beside()
{
	mount -o ro /dev/ram1 /tmp/t/beside || fail "the disk is taken"
	umount /tmp/t/beside
}

opened_as_before()
{
	echo "- opened as before"
	mkdir -p /tmp/t/beside
	mkfs.ext4 -q /dev/ram1
	truncate -s 1M $MNT/b $MNT/c
	expect_ok "add file id=3 path=/dev/ram1 lock=no"
	expect_ok "add file id=4 path=$MNT/b ro=yes"
	expect_ok "add file id=5 path=$MNT/c direct=yes"
	mount_beside
	before="$(flags /dev/ram1) $(flags $MNT/b) $(flags $MNT/c)"
	kill_both
	start_ublkd
	for id in 3 4 5; do is $id live; done
	mount_beside
	after="$(flags /dev/ram1) $(flags $MNT/b) $(flags $MNT/c)"
	[ "$before" = "$after" ] || fail "$before has become $after"
	for id in 3 4 5; do expect_ok "del $id"; done
}

refused_set()
{
	echo "- a set that is refused"
	stop_ublkd
	mkdir -p /tmp/t/state
	mount -t tmpfs -o size=64k,mode=0700 state /tmp/t/state
	start_ublkd --state /tmp/t/state
	expect_ok "add null size=1M"
	dd if=/dev/zero of=/tmp/t/state/full 2>/dev/null || true
	expect_err limit "set 0 error-rate=1"
	sleep 1
	kill -9 "$(server_pid)"
	is 0 live
	dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null ||
		fail "it has taken effect"
	rm /tmp/t/state/full
	expect_ok "set 0 error-rate=1"
	sleep 1
	kill -9 "$(server_pid)"
	is 0 live
	! dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct \
		2>/dev/null || fail "it is forgotten"
	stop_ublkd
	umount /tmp/t/state
}

make_ram_disks 2 32768
mount_ext4 /dev/ram0 $MNT
start_ublkd
file_is_away
file_is_made_anew
no_ring
opened_as_before
refused_set
umount $MNT
