#!/bin/sh
# Copy on write: a base that three devices share stays as it is, and what each writes
# is in its layer, whoever dies meanwhile. A layer belongs to one base, and what was
# discarded is zero.
#
# needs: binaries fio mkfs.ext4 e2fsck blkdiscard cow-check kill-probe nbdkit
# needs: modules ext4 brd
# needs: files /usr/include/linux:/files/tree tests/vm/lib-kill.sh:/t/lib-kill.sh
# needs: files tests/vm/lib-nbd.sh:/t/lib-nbd.sh
# needs: files /usr/lib/x86_64-linux-gnu/libnbd.so.0:/nbd/libnbd.so.0
# needs: files /usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-file-plugin.so:/nbd/file.so
# needs: memory 1024
# time: 240
# kernels: 6.12
. /t/lib.sh
# shellcheck source=tests/vm/lib-kill.sh
. /t/lib-kill.sh
# shellcheck source=tests/vm/lib-nbd.sh
. /t/lib-nbd.sh

requires fio mkfs.ext4 e2fsck nbdkit

# Whichever of ublkd's processes is the one that begins.
export LD_LIBRARY_PATH=/nbd

BLKDISCARD=/usr/local/bin/blkdiscard
MNT=/tmp/t/mnt
BASE=$MNT/base

sum()
{
	md5sum "$1" | cut -d ' ' -f 1
}

# same DISK FILE: each has the other's bytes.
same()
{
	cmp "$1" "$2" || fail "$1 is not as $2"
}

# copy_pieces AT COUNT: so many MiB of a layer to a copy.
copy_pieces()
{
	dd if=$MNT/layer6 of=$MNT/fork bs=1M skip="$1" seek="$1" count="$2" \
		conv=notrunc 2>/dev/null
}

make_ram_disks 1 262144
mount_ext4 /dev/ram0 $MNT
dd if=/dev/urandom of=$BASE bs=1M count=32 2>/dev/null
printf odd >>$BASE
base=$(sum $BASE)
start_ublkd

echo "- three devices on one base"
for id in 0 1 2; do
	expect_ok "add cow id=$id base=$BASE path=$MNT/layer$id"
done
[ "$(field size)" = $((32 << 20)) ] || fail "its size: $REPLY"
[ "$(field unserved)" = 3 ] || fail "the end of the base: $REPLY"
for id in 0 1 2; do
	head -c $((32 << 20)) $BASE | cmp - /dev/ublkb$id || fail "not the base"
done
expect_err busy "add cow base=$BASE path=$BASE"
expect_err busy "add cow base=$BASE path=$MNT/layer1"
expect_err busy "add file path=$BASE"
mkfs.ext4 -q -F /dev/ublkb0
mkdir -p /tmp/t/disk
mount /dev/ublkb0 /tmp/t/disk
cp -r /files/tree /tmp/t/disk/
umount /tmp/t/disk
e2fsck -fn /dev/ublkb0 >/dev/null 2>&1 || fail "the file system"
head -c $((32 << 20)) $BASE | cmp - /dev/ublkb2 || fail "a neighbour's data"

echo "- one sector, and the rest of its cluster"
head -c 512 /dev/zero | tr '\0' x |
	dd of=/dev/ublkb1 bs=512 seek=200 conv=fsync,notrunc 2>/dev/null
head -c $((32 << 20)) $BASE >/tmp/t/expect
head -c 512 /dev/zero | tr '\0' x |
	dd of=/tmp/t/expect bs=512 seek=200 conv=notrunc 2>/dev/null
same /dev/ublkb1 /tmp/t/expect

echo "- what is discarded is zero"
$BLKDISCARD -o 1052672 -l 4194304 /dev/ublkb1
dd if=/dev/zero of=/tmp/t/expect bs=4096 seek=257 count=1024 conv=notrunc \
	2>/dev/null
same /dev/ublkb1 /tmp/t/expect
$BLKDISCARD -z -o 512 -l 1024 /dev/ublkb1
dd if=/dev/zero of=/tmp/t/expect bs=512 seek=1 count=2 conv=notrunc 2>/dev/null
same /dev/ublkb1 /tmp/t/expect

echo "- killed, upgraded, added again"
# Nothing of this is flushed.
dd if=/dev/urandom of=/tmp/t/piece bs=4096 count=100 2>/dev/null
dd if=/tmp/t/piece of=/dev/ublkb1 bs=4096 seek=1000 oflag=direct 2>/dev/null
dd if=/tmp/t/piece of=/tmp/t/expect bs=4096 seek=1000 conv=notrunc 2>/dev/null
kill_server
echo 3 >/proc/sys/vm/drop_caches
same /dev/ublkb1 /tmp/t/expect
both_killed
await_live 0 1 2
echo 3 >/proc/sys/vm/drop_caches
same /dev/ublkb1 /tmp/t/expect
upgraded
await_live 0 1 2
same /dev/ublkb1 /tmp/t/expect
expect_ok "del id=1"
cow-check $BASE $MNT/layer1 /tmp/t/expect || fail "the layer"
expect_ok "add cow id=1 base=$BASE path=$MNT/layer1"
echo 3 >/proc/sys/vm/drop_caches
same /dev/ublkb1 /tmp/t/expect

echo "- verified, while servers are killed"
expect_ok "del id=2"
expect_ok "del id=0"
begin_load "add cow id=0 base=$BASE path=$MNT/layer3" --rw=randwrite \
	--verify=crc32c --verify_backlog=256 \
	--size=16M
kill_under_load ublkb0
kill_under_load ublkb0
upgraded
end_load

echo "- an export, of which the layer is a cache"
head -c $((4 << 20)) $BASE >/tmp/t/export
serve -r /nbd/file.so /tmp/t/export
expect_ok "add cow id=0 base=$URI path=$MNT/layer4 fill=read"
same /dev/ublkb0 /tmp/t/export
cp /tmp/t/export /tmp/t/expect4
dd if=/tmp/t/piece of=/dev/ublkb0 bs=512 seek=77 count=300 conv=fsync,notrunc \
	2>/dev/null
dd if=/tmp/t/piece of=/tmp/t/expect4 bs=512 seek=77 count=300 conv=notrunc \
	2>/dev/null
# All has been read: nobody asks the server any more.
end_server
kill_server
await_live 0
echo 3 >/proc/sys/vm/drop_caches
same /dev/ublkb0 /tmp/t/expect4
expect_ok "del id=0"
cow-check /tmp/t/export $MNT/layer4 /tmp/t/expect4 || fail "the layer"
serve -r /nbd/file.so /tmp/t/export
expect_ok "add cow id=0 base=$URI path=$MNT/layer5"
same /dev/ublkb0 /tmp/t/export
end_server
# It waits for the next one.
dd if=/tmp/t/piece of=/dev/ublkb0 bs=512 seek=77 count=300 conv=fsync,notrunc \
	2>/dev/null &
writer=$!
serve -r /nbd/file.so /tmp/t/export
wait $writer || fail "a write to what is not in the layer"
echo 3 >/proc/sys/vm/drop_caches
same /dev/ublkb0 /tmp/t/expect4
expect_ok "del id=0"
end_server

echo "- a copy of a layer is another one, and one goes to its base"
cp $BASE $MNT/base2
expect_ok "add cow id=0 base=$MNT/base2 path=$MNT/layer6"
dd if=/tmp/t/piece of=/dev/ublkb0 bs=512 seek=77 count=300 conv=fsync,notrunc \
	2>/dev/null
$BLKDISCARD -o 1052672 -l 4194304 /dev/ublkb0
cp /dev/ublkb0 /tmp/t/shown
expect_ok "del id=0"
# All that it has, as cp --sparse=always would.
truncate -s $((224 << 20)) $MNT/fork
for at in 0 64; do copy_pieces $at 1; done
copy_pieces 192 32
expect_ok "add cow id=0 base=$MNT/base2 path=$MNT/fork"
same /dev/ublkb0 /tmp/t/shown
expect_err busy "add cow base=$MNT/base2 path=$MNT/layer6 commit=yes"
expect_ok "del id=0"
expect_ok "add cow id=0 base=$MNT/base2 path=$MNT/layer6 commit=yes"
head -c $((32 << 20)) $MNT/base2 | cmp - /tmp/t/shown || fail "the base"
same /dev/ublkb0 /tmp/t/shown
kill_server
await_live 0
echo 3 >/proc/sys/vm/drop_caches
same /dev/ublkb0 /tmp/t/shown
expect_ok "del id=0"
cow-check $MNT/base2 $MNT/layer6 /tmp/t/shown || fail "the layer"
expect_err arg "add cow base=$MNT/base2 path=$MNT/fork"
expect_ok "add cow id=0 base=$MNT/base2 path=$MNT/layer6"
same /dev/ublkb0 /tmp/t/shown
expect_ok "del id=0"
rm $MNT/base2 $MNT/layer6 $MNT/fork

echo "- another base is refused"
expect_ok "del id=1"
echo x >>$BASE
expect_err arg "add cow base=$BASE path=$MNT/layer1"
echo "$REPLY" | grep -q 'base of another size' || fail "not the reason: $REPLY"
truncate -s $(((32 << 20) + 3)) $BASE
expect_err arg "add cow base=$BASE path=$MNT/layer1"
echo "$REPLY" | grep -q 'written at another time' || fail "not the reason: $REPLY"
expect_err arg "add cow base=$MNT/layer2 path=$BASE create=no"
expect_ok "add cow id=1 base=$BASE path=$MNT/layer1 rebase=yes"
same /dev/ublkb1 /tmp/t/expect
expect_ok "del id=1"
expect_ok "add cow id=1 base=$BASE path=$MNT/layer1 ro=yes"
same /dev/ublkb1 /tmp/t/expect
expect_ok "del id=1"
printf x | dd of=$MNT/layer1 bs=1 seek=300 conv=notrunc 2>/dev/null
expect_err arg "add cow base=$BASE path=$MNT/layer1"
echo "$REPLY" | grep -q 'checksum of its header' || fail "not the reason: $REPLY"
[ "$(sum $BASE)" = "$base" ] || fail "the base has been written to"
stop_ublkd
umount $MNT
