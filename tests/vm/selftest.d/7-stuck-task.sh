# It leaves a task in D state: one that writes to a frozen file system.
# needs: binaries mkfs.ext4
# needs: modules ext4 loop
. /t/lib.sh
truncate -s 16M /tmp/disk
mkfs.ext4 -q /tmp/disk
mount -o loop /tmp/disk /mnt
fsfreeze --freeze /mnt
touch /mnt/file &
