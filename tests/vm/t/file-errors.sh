#!/bin/sh
# What goes wrong with files: another writer, no room, a file that is cut
# short, a server that dies. Each is an errno, and what still can be done is.
#
# sanitizers: long
# needs: binaries fio mkfs.ext4
# needs: modules ext4 brd loop
# needs: memory 1024
# time: 480
. /t/lib.sh

requires fio mkfs.ext4

MNT=/tmp/t/mnt
MEM=/tmp/t/mem
# busybox' has no conv=fsync and the like.
WRITE="dd if=/dev/urandom bs=64k oflag=direct"

add()
{
	expect_ok "add file $1"
	DISK=$(field dev)
	echo "--- $1"
}

# errors: of all queues, in $REPLY
errors()
{
	echo "$REPLY" | sed -n 's/^queue .* errors=//p' |
		awk '{ sum += $1 } END { print sum + 0 }'
}

# refused SYMBOL WHY COMMAND: and the text has WHY in it.
refused()
{
	expect_err "$1" "$3"
	echo "$REPLY" | grep -q "$2" || fail "'$3' was answered: $REPLY"
	echo "$REPLY"
}

refusals()
{
	refused notfound "No such file" "add file path=$MNT/none"
	refused arg "needs size=" "add file path=$MNT/none create=yes"
	refused io "Is a directory" "add file path=$MNT"
	refused arg "regular file" "add file path=/dev/null"
	refused range "has only" "add file path=$MNT/disk size=1G"
	refused range "has only" "add file path=$MNT/disk offset=1G"
	refused unsupported "direct I/O" "add file path=$MEM/disk direct=yes"
	# A file that was made for an add that failed is not left.
	refused range "multiple" \
		"add file path=$MNT/made create=yes size=1000000"
	[ ! -e $MNT/made ] || fail "$MNT/made is left"
	# No member of the group may name a path.
	as_user member "echo 'add file path=$MNT/disk' |
		socat - UNIX-CONNECT:$SOCK" | grep -q "^ERR denied" ||
		fail "anybody may name a path"
}

locks()
{
	add "path=$MNT/disk"
	refused busy "another device" "add file path=$MNT/disk"
	refused busy "another device" "add file path=$MNT/disk ro=yes"
	# It outlives the server.
	kill_server
	refused busy "another device" "add file path=$MNT/disk"
	expect_ok "add file path=$MNT/disk lock=no id=7"
	expect_ok "del id=7"
	refused arg "would wait for itself" "add file path=$DISK"
	mount_ext4 "$DISK" /tmp/t/on
	head -c 1048576 /dev/zero >/tmp/t/on/file
	refused arg "would wait for itself" "add file path=/tmp/t/on/file"
	umount /tmp/t/on
	expect_ok "del id=0"
	# And is gone with the device.
	add "path=$MNT/disk ro=yes"
	expect_ok "add file path=$MNT/disk ro=yes"
	refused busy "another device" "add file path=$MNT/disk"
	expect_ok "del id=0"
	expect_ok "del id=1"
	# Disks that somebody has.
	refused busy "mounted on $MNT" "add file path=/dev/ram0"
	add "path=/dev/ram1"
	expect_err busy "add file path=/dev/ram1"
	! mkfs.ext4 -q /dev/ram1 2>/dev/null || fail "mkfs had the disk as well"
	expect_ok "del id=0"
}

# no_room FILE FILLER FOLDER: the device is larger than its file system. The
# writer is told; when there is room again, the rest can be written.
no_room()
{
	add "path=$1 create=yes size=64M $4"
	head -c "$3" /dev/zero >"$2"
	if dd if=/dev/zero of="$DISK" bs=64k count=1024 oflag=direct \
		conv=fsync 2>/tmp/t/dd; then
		fail "more was written than there is room for"
	fi
	grep -q "No space left\|Input/output" /tmp/t/dd || fail "$(cat /tmp/t/dd)"
	# What was there before can be read, and written.
	dd if="$DISK" of=/dev/null bs=1M count=1 iflag=direct 2>/dev/null ||
		fail "cannot read any more"
	rm "$2"
	sync
	head -c 8388608 /dev/urandom >/tmp/t/pattern
	dd if=/tmp/t/pattern of="$DISK" bs=1M oflag=direct conv=fsync \
		2>/tmp/t/dd || fail "cannot write again: $(cat /tmp/t/dd)"
	[ "$(dd if="$DISK" bs=1M count=8 iflag=direct 2>/dev/null |
		md5sum)" = "$(md5sum </tmp/t/pattern)" ] || fail "other data"
	rm /tmp/t/pattern
	expect_ok "show id=0"
	[ "$(errors)" -gt 0 ] || fail "no error was counted: $REPLY"
	expect_ok "del id=0"
	rm "$1"
}

# cut FILE OPTIONS: cut short under load, and made longer again.
cut()
{
	add "path=$1 create=yes size=8M $2"
	$WRITE of="$DISK" count=128 2>/dev/null || fail "cannot fill it"
	fio --name=load --filename="$DISK" --rw=randrw --direct=1 --bs=16k \
		--ioengine=libaio --iodepth=16 --runtime=4 --time_based \
		--continue_on_error=all --size=8M >/tmp/t/load 2>&1 &
	load=$!
	sleep 1
	# Again and again: the next write near its end makes it long again.
	for _ in $(seq 20); do
		: >"$1"
		sleep 0.1
	done
	wait $load || true
	no_d_state 1
	expect_ok "show id=0"
	[ "$(errors)" -gt 0 ] || fail "no error was counted: $REPLY"
	truncate -s 0 "$1"
	! dd if="$DISK" of=/dev/null bs=4096 skip=1024 count=1 iflag=direct \
		2>/dev/null || fail "what is cut off can be read"
	truncate -s 8M "$1"
	$WRITE of="$DISK" count=128 2>/tmp/t/dd || fail "$(cat /tmp/t/dd)"
	[ "$(dd if="$DISK" bs=1M iflag=direct 2>/dev/null | md5sum)" = \
		"$(md5sum <"$1")" ] || fail "other data"
	expect_ok "del id=0"
	rm "$1"
}

# killed FILE OPTIONS: the server, in the middle of fio verify.
killed()
{
	add "path=$1 create=yes size=12M $2"
	fio --name=verify --filename="$DISK" --rw=randwrite --direct=1 \
		--bssplit=4k/50:64k/50 --ioengine=libaio --iodepth=16 \
		--size=12M --loops=2 --verify=crc32c --verify_fatal=1 \
		>/tmp/t/fio 2>&1 &
	load=$!
	for _ in 1 2 3; do kill_server; done
	wait $load || {
		cat /tmp/t/fio
		fail "fio"
	}
	expect_ok "upgrade"
	[ "$(dd if="$DISK" bs=1M iflag=direct 2>/dev/null | md5sum)" = \
		"$(md5sum <"$1")" ] || fail "other data"
	expect_ok "del id=0"
	rm "$1"
}

# What a failed test before this one has left.
umount $MNT $MEM 2>/dev/null || true
losetup -d /dev/loop0 2>/dev/null || true
make_ram_disks 2 65536
mkdir -p $MEM
mount -t tmpfs -o size=48M tmpfs $MEM
mount_ext4 /dev/ram0 $MNT
truncate -s 16M $MNT/disk
truncate -s 16M $MEM/disk
start_ublkd

refusals
locks
rm $MNT/disk $MEM/disk
no_room $MEM/disk $MEM/filler 12582912 ""
no_room $MNT/disk $MNT/filler 16777216 ""
no_room $MNT/disk $MNT/filler 16777216 direct=yes
cut $MEM/disk ""
cut $MNT/disk ""
killed $MEM/disk ""
killed $MNT/disk ""
killed $MNT/disk direct=yes
