#!/bin/sh
# A mount namespace that ends with ublkd, and in which alone a disk of its own is
# mounted: the kernel unmounts that when both processes are killed, and waits for
# the disk. The processes end all the same, the next ublkd takes the disk over,
# and what was written is there, also what only the unmount has written. Where the
# next one is not to have the disk the unmount ends with an error.
#
# needs: binaries mkfs.ext4
# needs: modules ext4
# expect-kernel: (EXT4-fs|JBD2|Buffer I/O|Aborting journal|lost async page write|I/O error, dev ublkb)
# time: 120
. /t/lib.sh

requires mkfs.ext4

# start_apart: in a mount namespace of its own, to which nobody's mounts come
start_apart()
{
	PATH=/tmp/t/bin:$PATH start_ublkd
}

# mount_apart FILE: there alone, with 4 MiB that are not written to the disk yet
mount_apart()
{
	nsenter -t "$KEEPER" -m mount /dev/ublkb0 /tmp/t/mnt
	! grep -q /tmp/t/mnt /proc/mounts || fail "it is mounted here as well"
	cat >/tmp/t/write <<-END
		dd if=/dev/urandom of=/tmp/t/mnt/$1 bs=64k count=64 2>/dev/null
		md5sum </tmp/t/mnt/$1 >/tmp/t/sum
	END
	nsenter -t "$KEEPER" -m sh /tmp/t/write
}

# both_end KEEPER SERVER: each was killed
both_end()
{
	wait_for 10 "! alive $1 && ! alive $2" || {
		for task in "/proc/$1/task"/* "/proc/$2/task"/*; do
			show_task "$task"
		done
		fail "they do not end"
	}
	forget_ublkd
}

# is_whole FILE: it is mounted nowhere any more, and has what was written.
is_whole()
{
	await_live 0
	wait_for 20 '[ "$(inflight ublkb0)" = 0 ] && [ -z "$(d_tasks)" ]' || {
		dump_state
		fail "the unmount does not end"
	}
	mount -o ro /dev/ublkb0 /tmp/t/mnt
	md5sum <"/tmp/t/mnt/$1" | cmp - /tmp/t/sum || fail "$1 is another one"
	umount /tmp/t/mnt
}

mkdir -p /tmp/t/bin /tmp/t/mnt
cat >/tmp/t/bin/ublkd <<-END
	#!/bin/sh
	exec unshare -m --propagation private $(command -v ublkd) "\$@"
END
chmod +x /tmp/t/bin/ublkd

start_apart
expect_ok "add file id=0 path=/tmp/t/disk create=yes size=64M"
mkfs.ext4 -q /dev/ublkb0

echo "- both at once"
mount_apart one
server=$(server_pid)
kill -9 "$KEEPER" "$server"
both_end "$KEEPER" "$server"
start_apart
is_whole one

echo "- the keeper, then the server"
mount_apart two
server=$(server_pid)
kill -9 "$KEEPER"
wait_for 10 'grep -q "the keeper is gone" "$LOG"' || fail "it is not told"
kill -9 "$server"
both_end "$KEEPER" "$server"
start_apart
is_whole two
expect_ok "del 0"

echo "- a disk that the next one deletes"
expect_ok "add ram id=0 size=64M"
mkfs.ext4 -q /dev/ublkb0
mount_apart three
server=$(server_pid)
kill -9 "$KEEPER" "$server"
both_end "$KEEPER" "$server"
start_apart
no_devices
wait_for 20 '[ -z "$(d_tasks)" ]' || fail "the unmount does not end"
